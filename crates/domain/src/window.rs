use core::time::Duration;

use countersign_device_protocol::ids::WindowId;

use crate::{ClosingState, DeviceId, ResourceId, Timestamp, UserId, UserVerificationReached};

/// What a user opened to be let in at a resource without being asked: one login, within a minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInWindow {
    /// By which device.
    pub device: DeviceId,
    /// Made by the device; no two of its windows have the same.
    pub id: WindowId,
    /// For whom.
    pub user: UserId,
    /// For logins where.
    pub resource: ResourceId,
    /// What the resource was called then.
    pub application: String,
    /// How the user was verified.
    pub user_verification: UserVerificationReached,
    /// The device's clock, as signed; decides nothing.
    pub device_time: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// From this time on no login begins in it.
    pub expires_at: Timestamp,
    /// Where it stands.
    pub state: WindowState,
}

/// Where a window stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowState {
    /// It waits for its login, or holds it.
    Open,
    /// Over. There is no way back.
    Closed(WindowClosing),
}

/// How and when a window ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowClosing {
    /// How: `Approved`, `Expired`, `Collision` or `Cancelled`.
    pub state: ClosingState,
    /// When.
    pub at: Timestamp,
}

impl SignInWindow {
    /// How long a window waits for its login.
    pub const LIFE: Duration = Duration::from_secs(60);
    /// How long its login is held, for others to show.
    pub const HOLD: Duration = Duration::from_secs(3);
    /// A login that came so shortly before the opening spoils the window.
    pub const BEFORE: Duration = Duration::from_secs(30);
    /// After a login that was not approved no window is opened there for so long.
    pub const AFTER_UNAPPROVED: Duration = Duration::from_secs(900);
    /// How many windows a user opens at most...
    pub const MOST: usize = 6;
    /// ...in this time.
    pub const MOST_WITHIN: Duration = Duration::from_secs(3600);

    /// Whether both were asked for by the same fields.
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.device == other.device
            && self.id == other.id
            && self.user == other.user
            && self.resource == other.resource
            && self.user_verification == other.user_verification
            && self.device_time == other.device_time
    }
}
