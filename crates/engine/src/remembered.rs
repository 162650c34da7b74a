//! Approvals that let in one further login each, where a resource remembers them. In memory only: a restart forgets.

use core::time::Duration;
use std::collections::{BTreeSet, HashMap};

use countersign_domain::{ClientId, DeviceId, LoginId, Policy, ResourceId, Source, UserId};

/// An approval that has let in its own login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Approval {
    /// The login that it let in.
    pub(crate) login: LoginId,
    /// The device that gave it, or whose code it was.
    pub(crate) device: DeviceId,
    pub(crate) client: ClientId,
    pub(crate) source: Source,
    /// When.
    pub(crate) at: Duration,
}

/// The newest approval of each user at each resource that remembers.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    approvals: HashMap<(UserId, ResourceId), Approval>,
    /// When they are too old for any resource.
    ends: BTreeSet<(Duration, UserId, ResourceId)>,
}

impl Remembered {
    /// What does not find room is asked about again.
    const MOST: usize = 100_000;
    /// No resource remembers for longer.
    #[expect(clippy::as_conversions, reason = "loses nothing, and From is not const")]
    const LONGEST: Duration = Duration::from_secs(Policy::REMEMBER_MAX as u64);

    pub(crate) fn get(&self, user: UserId, resource: ResourceId) -> Option<&Approval> {
        self.approvals.get(&(user, resource))
    }

    pub(crate) fn keep(&mut self, user: UserId, resource: ResourceId, approval: Approval) {
        let now = approval.at;
        while let Some((end, user, resource)) = self.ends.first().copied().filter(|(end, ..)| *end <= now) {
            self.ends.remove(&(end, user, resource));
            self.approvals.remove(&(user, resource));
        }
        self.spend(user, resource);
        if self.approvals.len() < Self::MOST {
            self.ends.insert((now.saturating_add(Self::LONGEST), user, resource));
            self.approvals.insert((user, resource), approval);
        }
    }

    /// It has let in its further login.
    pub(crate) fn spend(&mut self, user: UserId, resource: ResourceId) {
        if let Some(approval) = self.approvals.remove(&(user, resource)) {
            self.ends.remove(&(approval.at.saturating_add(Self::LONGEST), user, resource));
        }
    }

    /// Something has happened after which nothing lets a user in without being asked.
    pub(crate) fn forget(&mut self, user: UserId) {
        if self.approvals.is_empty() {
            return;
        }
        let theirs: Vec<_> = self.approvals.keys().filter(|(whose, _)| *whose == user).copied().collect();
        for (user, resource) in theirs {
            self.spend(user, resource);
        }
    }
}
