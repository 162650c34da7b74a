use std::fmt;

use crate::{DeviceId, Secret, Timestamp, TotpSeed, UserId};

/// A phone with the app (or another authenticator) that holds a key pair for one account.
#[derive(Debug, Clone)]
pub struct Device {
    /// Immutable.
    pub id: DeviceId,
    /// Whose it is.
    pub user: UserId,
    /// What its owner calls it; comes from the device, so it is escaped wherever it is shown.
    pub name: crate::HostileText,
    /// What it runs on, in its own words.
    pub platform: crate::HostileText,
    /// The key that its decisions and proofs are checked with.
    pub key: DevicePublicKey,
    /// Whether it may answer.
    pub state: DeviceState,
    /// Seed of its six-digit codes.
    pub totp: TotpSeed,
    /// The newest time step whose code was accepted; only newer ones are (RFC 6238 section 5.2).
    pub totp_last_step: u64,
    /// How to wake it, if it can be woken.
    pub push: Option<PushSubscription>,
    /// What it verifies its user with, if that was set up.
    pub passkey: Option<Passkey>,
    /// When it was activated.
    pub created_at: Timestamp,
    /// Whether it has made a request after its activation.
    pub seen: bool,
}

/// Whether a device may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceState {
    /// It may.
    Active,
    /// It may not until an administrator resumes it: its activation secret was shown by a second key.
    Suspended,
    /// It was removed; kept so that the app can be told so.
    Removed,
}

impl DeviceState {
    /// The word for storage and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Removed => "removed",
        }
    }

    /// The state that a stored word means.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Active, Self::Suspended, Self::Removed].into_iter().find(|state| state.as_str() == word)
    }
}

/// A P-256 public key, uncompressed (SEC 1 section 2.3.3), with its RFC 7638 thumbprint.
#[derive(Clone, PartialEq, Eq)]
pub struct DevicePublicKey {
    /// 65 octets, the first 0x04.
    pub sec1: [u8; 65],
    /// base64url of the SHA-256 thumbprint; no two devices have the same.
    pub thumbprint: String,
}

impl fmt::Debug for DevicePublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DevicePublicKey({})", self.thumbprint)
    }
}

/// A platform authenticator that verifies the device's user (WebAuthn).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passkey {
    /// By which the authenticator finds its key.
    pub credential_id: Vec<u8>,
    /// The public key with its counter, JSON. Whoever checks assertions knows what is in there.
    pub credential: String,
}

/// A Web Push subscription (RFC 8030, keys of RFC 8291).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushSubscription {
    /// Where to send; a capability URL.
    pub endpoint: String,
    /// The user agent's public key, 65 octets uncompressed.
    pub p256dh: Vec<u8>,
    /// The user agent's authentication secret, 16 octets.
    pub auth: Secret,
}
