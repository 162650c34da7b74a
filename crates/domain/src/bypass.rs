use crate::Timestamp;

/// Leave to log on once without a second factor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bypass {
    /// From this time on it is worth nothing.
    pub until: Timestamp,
    /// Why it was given, in the words of whoever gave it.
    pub reason: String,
    /// Who gave it.
    pub issuer: String,
    /// When.
    pub issued_at: Timestamp,
}

impl Bypass {
    /// Lifetime unless the issuer says otherwise.
    pub const LIFETIME: core::time::Duration = core::time::Duration::from_secs(300);
    /// The longest lifetime that can be asked for.
    pub const LIFETIME_MAX: core::time::Duration = core::time::Duration::from_secs(86_400);

    /// Whether it still lets somebody in.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.issued_at <= now && now < self.until
    }
}
