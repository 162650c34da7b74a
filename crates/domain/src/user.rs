use std::fmt;

use crate::{Bypass, Device, Hold, LimitScope, Limits, ScopedLimits, Secret, Timestamp, UserId, UserOrigin};

/// A user of this installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Immutable.
    pub id: UserId,
    /// Where the user comes from.
    pub origin: UserOrigin,
    /// What the person types to log on. Of a user from a directory: what the directory last said, to be shown; whose
    /// typed name is whose, the directory says each time.
    pub name: LoginName,
    /// Shown on screens.
    pub display_name: String,
    /// A disabled user is refused everywhere, also in the middle of a login (S15).
    pub enabled: bool,
    /// Why a synchronisation disabled the user. Never of one who is enabled, and not of one whom an administrator disabled.
    pub held: Option<Hold>,
    /// For resources whose first factor is `local`.
    pub password: Option<PasswordHash>,
    /// When the user was added.
    pub created_at: Timestamp,
}

/// An Argon2id hash in PHC string form; redacted in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// From the PHC string.
    pub const fn from_phc(phc: String) -> Self {
        Self(phc)
    }

    /// The PHC string.
    pub fn as_phc(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// A login name, as the administrator wrote it; two names are the same when they differ in case only.
#[derive(Debug, Clone)]
pub struct LoginName {
    shown: String,
    folded: String,
}

/// Why a text is no login name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing in it.
    #[error("the name is empty")]
    Empty,
    /// Does not fit the RADIUS User-Name attribute (RFC 2865 section 5.1).
    #[error("the name is longer than 253 octets")]
    TooLong,
    /// Would not be seen, or would be mistaken for another.
    #[error("the name starts or ends with a space or holds a control or invisible character")]
    Invisible,
}

impl LoginName {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// [`NameError`] when it is empty, over 253 octets, or has characters that people cannot see.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > crate::HostileText::MAX {
            return Err(NameError::TooLong);
        }
        let escaped = crate::HostileText::from(text).to_string();
        if text.trim() != text || escaped.contains("\\u{") {
            return Err(NameError::Invisible);
        }
        Ok(Self { shown: text.to_owned(), folded: text.to_lowercase() })
    }

    /// For somebody who has no name that could be shown.
    pub fn nobody() -> Self {
        Self { shown: "?".to_owned(), folded: "?".to_owned() }
    }

    /// As the administrator wrote it.
    pub fn as_str(&self) -> &str {
        &self.shown
    }

    /// The form in which names are compared.
    pub fn folded(&self) -> &str {
        &self.folded
    }
}

impl PartialEq for LoginName {
    fn eq(&self, other: &Self) -> bool {
        self.folded == other.folded
    }
}

impl Eq for LoginName {}

impl fmt::Display for LoginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Everything the login engine has to know of one user, read in one go.
#[derive(Debug, Clone)]
pub struct UserSnapshot {
    /// The user.
    pub user: User,
    /// All devices that are not removed.
    pub devices: Vec<Device>,
    /// What counters there are; a scope without a row has none.
    pub limits: Vec<ScopedLimits>,
    /// Leave to log on once without a second factor.
    pub bypass: Option<Bypass>,
    /// The password itself, for those whose clients speak CHAP (RFC 2865 section 2.2) and who asked for it.
    pub chap_secret: Option<Secret>,
}

impl UserSnapshot {
    /// The counters of `scope` with the version that a change must name; fresh ones at version 0 where there are none.
    pub fn limits(&self, scope: LimitScope) -> (u64, Limits) {
        self.limits
            .iter()
            .find(|limits| limits.scope == scope)
            .map_or_else(|| (0, Limits::default()), |limits| (limits.version, limits.limits.clone()))
    }

    /// Devices that may answer and whose codes count.
    pub fn active_devices(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().filter(|device| device.state == crate::DeviceState::Active)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c028_letter_case_makes_no_second_user() {
        assert_eq!(LoginName::new("Joe").unwrap(), LoginName::new("JOE").unwrap());
        assert_eq!(LoginName::new("KÖLBEL").unwrap(), LoginName::new("kölbel").unwrap());
        assert_ne!(LoginName::new("joe").unwrap(), LoginName::new("jo").unwrap());
    }

    #[test]
    fn names_that_cannot_be_seen_are_refused() {
        assert_eq!(LoginName::new("").unwrap_err(), NameError::Empty);
        assert_eq!(LoginName::new(" joe").unwrap_err(), NameError::Invisible);
        assert_eq!(LoginName::new("jo\u{202E}e").unwrap_err(), NameError::Invisible);
        assert_eq!(LoginName::new(&"x".repeat(254)).unwrap_err(), NameError::TooLong);
        assert!(LoginName::new("EXAMPLE\\joe").is_ok());
    }
}
