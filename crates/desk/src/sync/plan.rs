//! What a synchronisation changes: from who is here and who is there. It asks nobody and writes nothing.

use core::time::Duration;
use std::collections::{HashMap, HashSet};

use countersign_domain::{
    EntryId, Hold, HoldReason, LoginName, SyncAction, SyncCounts, Timestamp, User, UserId, UserOrigin,
};

/// A user as the directory has him now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Whose entry it is, for good.
    pub entry: EntryId,
    /// What the directory calls him.
    pub name: LoginName,
    /// The name on screens.
    pub display_name: String,
    /// Why he is to be disabled here, if so.
    pub hold: Option<HoldReason>,
    /// What the first rule that has him says; `None` where none has.
    pub action: Option<SyncAction>,
}

/// One thing to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Somebody comes in.
    Add {
        /// Whose entry it is.
        entry: EntryId,
        /// Login name.
        name: LoginName,
        /// Name on screens.
        display_name: String,
    },
    /// The directory calls a user otherwise.
    Rename {
        /// Who.
        user: UserId,
        /// Login name and name on screens as they were.
        before: (LoginName, String),
        /// As they are.
        after: (LoginName, String),
    },
    /// A user is disabled, or held for another reason.
    Hold {
        /// Who.
        user: UserId,
        /// The login name, for people.
        name: LoginName,
        /// What the user was held for; `None` of one who was enabled.
        before: Option<HoldReason>,
        /// What for now.
        after: HoldReason,
    },
    /// A user comes back.
    Release {
        /// Who.
        user: UserId,
        /// The login name, for people.
        name: LoginName,
        /// What the user was held for.
        before: Hold,
    },
    /// A user who has been gone for long is removed.
    Remove {
        /// Who.
        user: UserId,
        /// The login name, for people.
        name: LoginName,
        /// Since when.
        gone: Hold,
    },
}

impl Change {
    /// Whether somebody is shut out by it who was not before, or vanishes: what the brake counts.
    pub const fn shuts_out(&self) -> bool {
        match self {
            Self::Hold { before: None, .. } | Self::Hold { after: HoldReason::Gone, .. } => true,
            Self::Add { .. } | Self::Rename { .. } | Self::Hold { .. } | Self::Release { .. } | Self::Remove { .. } => {
                false
            }
        }
    }

    /// Whose change it is, for people.
    pub const fn name(&self) -> &LoginName {
        match self {
            Self::Add { name, .. }
            | Self::Hold { name, .. }
            | Self::Release { name, .. }
            | Self::Remove { name, .. }
            | Self::Rename { after: (name, _), .. } => name,
        }
    }
}

/// How much of the directory was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it: who was not seen is not there.
    Whole,
    /// All of it, but some entries could not be read: nothing follows from not being seen.
    WholeWithGaps,
    /// What changed.
    Changes,
}

/// Why no plan is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// Not even one where there were some.
    #[error(
        "the directory shows no user at all, and {0} have come from it. Look at base_dn and user_filter, and whether the \
         account may read users: `countersign directory test` walks there. Nothing was changed"
    )]
    NobodyThere(usize),
}

struct Known {
    user: UserId,
    name: LoginName,
    display_name: String,
    enabled: bool,
    held: Option<Hold>,
    seen: bool,
}

/// Compares, entry by entry.
pub struct Planner {
    known: HashMap<EntryId, Known>,
    added: HashSet<EntryId>,
    changes: Vec<Change>,
    read: usize,
}

impl Planner {
    /// With those who are here.
    pub fn new(users: impl IntoIterator<Item = User>) -> Self {
        let mut planner = Self { known: HashMap::new(), added: HashSet::new(), changes: Vec::new(), read: 0 };
        planner.here(users);
        planner
    }

    /// With more who are here.
    pub fn here(&mut self, users: impl IntoIterator<Item = User>) {
        for user in users {
            let UserOrigin::Directory { entry, .. } = user.origin else { continue };
            let User { id, name, display_name, enabled, held, .. } = user;
            self.known.insert(entry, Known { user: id, name, display_name, enabled, held, seen: false });
        }
    }

    /// How many were read.
    pub const fn read(&self) -> usize {
        self.read
    }

    /// Somebody who is there. Who is seen twice, moved while the pages were read, counts once.
    pub fn see(&mut self, seen: Seen) {
        self.read = self.read.saturating_add(1);
        let Some(known) = self.known.get_mut(&seen.entry) else {
            // Nobody comes in who may not log on.
            if seen.action == Some(SyncAction::Add) && seen.hold.is_none() && self.added.insert(seen.entry.clone()) {
                let Seen { entry, name, display_name, .. } = seen;
                self.changes.push(Change::Add { entry, name, display_name });
            }
            return;
        };
        if std::mem::replace(&mut known.seen, true) {
            return;
        }
        let user = known.user;
        if known.name.as_str() != seen.name.as_str() || known.display_name != seen.display_name {
            let before = (known.name.clone(), known.display_name.clone());
            self.changes.push(Change::Rename { user, before, after: (seen.name.clone(), seen.display_name) });
        }
        match (known.held, seen.hold) {
            (Some(before), None) => self.changes.push(Change::Release { user, name: seen.name, before }),
            (Some(before), Some(after)) if before.why != after => {
                self.changes.push(Change::Hold { user, name: seen.name, before: Some(before.why), after });
            }
            (None, Some(after)) if known.enabled => {
                self.changes.push(Change::Hold { user, name: seen.name, before: None, after });
            }
            // As it was; or an administrator disabled the user, and it stays so.
            (_, Some(_)) | (None, None) => {}
        }
    }

    /// An entry that the directory says was deleted.
    pub fn deleted(&mut self, entry: &EntryId) {
        if let Some(known) = self.known.get_mut(entry)
            && !std::mem::replace(&mut known.seen, true)
        {
            self.changes.extend(missing(known));
        }
    }

    /// What is to be changed, when everything was read.
    ///
    /// # Errors
    /// [`Doubt`] when what was read cannot be right.
    pub fn finish(
        mut self,
        extent: Extent,
        now: Timestamp,
        remove_after: Option<Duration>,
    ) -> Result<Vec<Change>, Doubt> {
        if extent != Extent::Changes {
            self.finish_whole(extent, now, remove_after)?;
        }
        self.changes.sort_by(|one, other| one.name().folded().cmp(other.name().folded()));
        Ok(self.changes)
    }

    fn finish_whole(&mut self, extent: Extent, now: Timestamp, remove_after: Option<Duration>) -> Result<(), Doubt> {
        let here =
            self.known.values().filter(|known| known.held.is_none_or(|hold| hold.why != HoldReason::Gone)).count();
        if self.read == 0 && here > 0 {
            return Err(Doubt::NobodyThere(here));
        }
        if extent == Extent::WholeWithGaps {
            return Ok(());
        }
        for known in self.known.values().filter(|known| !known.seen) {
            self.changes.extend(missing(known));
            if let (Some(gone @ Hold { why: HoldReason::Gone, since }), Some(kept)) = (known.held, remove_after)
                && since.plus(kept) <= now
            {
                self.changes.push(Change::Remove { user: known.user, name: known.name.clone(), gone });
            }
        }
        Ok(())
    }
}

/// What becomes of somebody who is not there.
fn missing(known: &Known) -> Option<Change> {
    let hold =
        |before| Some(Change::Hold { user: known.user, name: known.name.clone(), before, after: HoldReason::Gone });
    match known.held {
        Some(Hold { why: HoldReason::Gone, .. }) => None,
        Some(before) => hold(Some(before.why)),
        None if known.enabled => hold(None),
        // By an administrator.
        None => None,
    }
}

/// How many of each there are.
pub fn counts(read: usize, changes: &[Change]) -> SyncCounts {
    let mut counts = SyncCounts { read, ..SyncCounts::default() };
    for change in changes {
        let count = match change {
            Change::Add { .. } => &mut counts.added,
            Change::Rename { .. } => &mut counts.renamed,
            Change::Hold { .. } if change.shuts_out() => &mut counts.disabled,
            Change::Hold { .. } => continue,
            Change::Release { .. } => &mut counts.enabled,
            Change::Remove { .. } => &mut counts.removed,
        };
        *count = count.saturating_add(1);
    }
    counts
}

#[cfg(test)]
mod tests;
