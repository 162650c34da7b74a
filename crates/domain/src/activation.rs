use crate::{ActivationId, DeviceId, Timestamp, UserId};

/// A way to add one device: handed out by an administrator, used once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activation {
    /// Immutable.
    pub id: ActivationId,
    /// Whose device it adds.
    pub user: UserId,
    /// First four characters of the typed code: finds the activation, is no secret.
    pub handle: String,
    /// Keyed hash of the other eight characters.
    pub secret_hash: [u8; 32],
    /// Keyed hash of the token in the QR code.
    pub token_hash: [u8; 32],
    /// Who handed it out.
    pub issuer: String,
    /// When.
    pub issued_at: Timestamp,
    /// Until when it can be used.
    pub expires_at: Timestamp,
    /// Wrong secrets shown under its handle; the fifth burns it (S31).
    pub wrong_secrets: u8,
    /// Where it stands.
    pub state: ActivationState,
}

/// Where an activation stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActivationState {
    /// Waiting for a device.
    Open,
    /// Used.
    Redeemed {
        /// The device that it made.
        device: DeviceId,
        /// When.
        at: Timestamp,
    },
    /// Ended by too many wrong secrets, by the administrator, or by a newer activation.
    Burnt,
}

impl Activation {
    /// How many wrong secrets end it.
    pub const WRONG_SECRETS: u8 = 5;
    /// Lifetime unless the issuer says otherwise.
    pub const LIFETIME: core::time::Duration = core::time::Duration::from_secs(600);
    /// The longest lifetime that can be asked for.
    pub const LIFETIME_MAX: core::time::Duration = core::time::Duration::from_secs(86_400);

    /// Whether a right secret makes a device at `now`.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.state == ActivationState::Open && now < self.expires_at && self.wrong_secrets < Self::WRONG_SECRETS
    }
}
