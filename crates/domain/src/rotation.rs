use core::time::Duration;

use crate::{Secret, Timestamp};

/// The shared secret that a client had before, and by which it is still known for a while, so that it can be changed on both
/// sides without a login that fails in between (S94).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviousSecret {
    /// What it was.
    pub secret: Secret,
    /// From then on it proves nothing.
    pub until: Timestamp,
}

impl PreviousSecret {
    /// The longest time in which two secrets are valid (S94).
    pub const LONGEST: Duration = Duration::from_hours(7 * 24);

    /// Whether it still proves something.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        now < self.until
    }
}
