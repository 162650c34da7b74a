//! Sign-in windows: what they can be opened for, how they are opened, and how they end.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ClosingState, UserVerificationReached, nullable};
use crate::ids::{ApplicationId, DeviceTime, WindowId};
use crate::keys::{PublicKey, Signature, SignatureInvalid};
use crate::signed::{Party, SignedWindow};
use crate::webauthn::Assertion;

words!(
    /// How a sign-in window stands.
    WindowState {
        /// It waits for its login, or holds it.
        Open = "open",
        /// Its login was let in.
        Approved = "approved",
        /// No login came.
        Expired = "expired",
        /// Its login ended without being let in, or the server was restarted.
        Cancelled = "cancelled",
        /// Two logins came; neither was let in.
        Collision = "collision",
    }
);

impl WindowState {
    /// The state after an end; windows do not end in the other ways.
    pub const fn ended(state: ClosingState) -> Option<Self> {
        match state {
            ClosingState::Approved => Some(Self::Approved),
            ClosingState::Expired => Some(Self::Expired),
            ClosingState::Cancelled => Some(Self::Cancelled),
            ClosingState::Collision => Some(Self::Collision),
            ClosingState::Denied | ClosingState::Superseded => None,
        }
    }
}

/// Answer of `GET applications`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Applications {
    /// Those that a window can be opened for.
    pub applications: Vec<Application>,
}

/// An application that a window can be opened for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Application {
    /// Its identifier.
    pub id: ApplicationId,
    /// Its name.
    pub name: String,
}

/// Body of `POST windows`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowRequest {
    /// Made by the app.
    pub window_id: WindowId,
    /// For which application.
    pub application: ApplicationId,
    /// What was reached.
    pub user_verification: UserVerificationReached,
    /// The device's clock.
    pub device_time: DeviceTime,
    /// With [`UserVerificationReached::WebAuthn`].
    #[serde(deserialize_with = "nullable")]
    pub assertion: Option<Assertion>,
    /// By the device's key, over [`SignedWindow`].
    pub signature: Signature,
}

impl WindowRequest {
    /// What the signature stands for.
    pub fn signed<'a>(&'a self, party: Party<'a>) -> SignedWindow<'a> {
        SignedWindow {
            party,
            window: &self.window_id,
            application: &self.application,
            user_verification: self.user_verification,
            device_time: &self.device_time,
        }
    }

    /// For the server: verifies the signature.
    ///
    /// # Errors
    /// [`SignatureInvalid`].
    pub fn verify(&self, party: Party<'_>, device: &PublicKey) -> Result<(), SignatureInvalid> {
        device.verify(&self.signed(party).octets(), &self.signature)
    }
}

/// Answer 200 of `POST windows`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowAnswer {
    /// When the window closes.
    pub expires_at: Timestamp,
}

/// Answer of `GET windows/{id}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowStateAnswer {
    /// How it stands.
    pub state: WindowState,
}

/// The data of the event `window-closed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowClosed {
    /// Which window.
    pub id: WindowId,
    /// How it ended.
    pub state: WindowState,
}
