use core::time::Duration;
use std::fmt;

use crate::{DirectoryId, PASSWORD_POLICY, Secret, SyncSettings, ThrottlePolicy, Timestamp};

/// A directory that users come from: Active Directory, or another that speaks LDAP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// Immutable.
    pub id: DirectoryId,
    /// What administrators see.
    pub name: String,
    /// How it is reached and read, JSON, without the password. Whoever speaks to it knows what is in there.
    pub settings: String,
    /// The password of the account that searches.
    pub password: Secret,
    /// When the directory itself locks an account.
    pub lockout: Lockout,
    /// Whether and how its users are read ahead.
    pub sync: SyncSettings,
    /// When it was added.
    pub created_at: Timestamp,
}

/// What never changes about an entry of a directory (objectGUID, entryUUID), as the text that is kept of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(String);

impl EntryId {
    /// From its text.
    pub const fn from_text(text: String) -> Self {
        Self(text)
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a user comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserOrigin {
    /// Added here, by an administrator.
    Local,
    /// Is an entry of a directory, and of no other for good, whatever becomes of its name.
    Directory {
        /// Which directory.
        directory: DirectoryId,
        /// Which entry.
        entry: EntryId,
    },
}

impl UserOrigin {
    /// The directory, where it is one.
    pub const fn directory(&self) -> Option<DirectoryId> {
        match self {
            Self::Local => None,
            Self::Directory { directory, .. } => Some(*directory),
        }
    }
}

/// When a directory locks an account after wrong passwords. We stop asking it one wrong password earlier, so that nobody
/// can lock people out of everything by typing nonsense at one of our doors (S109).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lockout {
    /// It locks at so many in a row; zero: never.
    pub threshold: u8,
    /// After so long without a wrong one it begins to count anew.
    pub window: Duration,
}

impl Default for Lockout {
    fn default() -> Self {
        Self { threshold: 5, window: Duration::from_secs(1800) }
    }
}

impl Lockout {
    /// The longest window that can be set.
    pub const WINDOW_MAX: Duration = Duration::from_secs(86_400);

    /// How many wrong passwords pause for how long.
    ///
    /// A directory does not count how many there were within its window: each wrong one begins the window anew. So all
    /// since the last right one count, a day at most, and the pause is as long as the directory remembers.
    pub fn policy(self) -> ThrottlePolicy {
        if self.threshold == 0 {
            return PASSWORD_POLICY;
        }
        ThrottlePolicy {
            failures: usize::from(self.threshold.saturating_sub(1)).clamp(1, PASSWORD_POLICY.failures),
            window: Self::WINDOW_MAX,
            first_pause: self.window,
            longest_pause: self.window,
            stop_after: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Throttle;

    /// Counts as Active Directory does: from wrong password to wrong password.
    fn locks(lockout: Lockout, every: u64) -> bool {
        let policy = lockout.policy();
        let (mut ours, mut theirs, mut last) = (Throttle::default(), 0, None::<Timestamp>);
        let mut now = Timestamp::from_seconds(1_800_000_000);
        let end = now.plus(Timestamp::DAY.saturating_mul(3));
        while now < end {
            if ours.allows(&policy, now) {
                ours.failed(&policy, now);
                theirs = if last.is_some_and(|last| now.since(last) < lockout.window) { theirs + 1 } else { 1 };
                last = Some(now);
                if theirs >= lockout.threshold {
                    return true;
                }
            }
            now = now.plus(Duration::from_secs(every));
        }
        false
    }

    #[test]
    fn s109_no_pace_of_wrong_passwords_reaches_the_directorys_own_lockout() {
        for threshold in [2, 3, 5, 10, 50] {
            for minutes in [1, 10, 30, 120] {
                let lockout = Lockout { threshold, window: Duration::from_secs(minutes * 60) };
                for every in [1, 30, 59, 61, 599, 601, 1200, 1799, 7100] {
                    assert!(!locks(lockout, every), "{lockout:?} every {every} s");
                }
            }
        }
        assert_eq!(Lockout { threshold: 0, ..Lockout::default() }.policy(), PASSWORD_POLICY);
    }
}
