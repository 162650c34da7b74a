//! The octets that are signed: no JSON, but fields in a fixed order, each preceded by its length as four octets,
//! big-endian, and a label first that says what kind of statement it is.
//!
//! A server fills these structures from its own rows, never from what a device sent (except what only the device knows:
//! decision, number, user verification, device time).

use crate::encoding::Nonce;
use crate::ids::{AccountId, ApplicationId, ChallengeId, DeploymentId, DeviceId, DeviceTime, Number, WindowId};
use crate::keys::{Thumbprint, sha256};
use crate::messages::{Decision, NumberMode, UserVerification, UserVerificationReached};
use crate::origin::Origin;

/// The first field of a decision.
pub const DECISION_LABEL: &str = "countersign-decision-v1";
/// The first field of a challenge.
pub const CHALLENGE_LABEL: &str = "countersign-challenge-v1";
/// The first field of a request for a sign-in window.
pub const WINDOW_LABEL: &str = "countersign-window-v1";
/// The first field of an endorsement of a new signing key by the old one.
pub const SIGNING_KEY_LABEL: &str = "countersign-signing-key-v1";

/// Puts fields one after the other, each behind its length.
fn concatenate(fields: &[&[u8]]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(fields.iter().map(|field| 4 + field.len()).sum());
    for field in fields {
        // All fields but the fixed ones are bounded by their types far below 4 GiB.
        let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
        octets.extend_from_slice(&length.to_be_bytes());
        octets.extend_from_slice(field);
    }
    octets
}

/// Fields 2 to 5 of everything that a device signs: for which server, by whom.
#[derive(Debug, Clone, Copy)]
pub struct Party<'a> {
    /// The server's configured origin.
    pub origin: &'a Origin,
    /// The installation.
    pub deployment: &'a DeploymentId,
    /// The account that the device answers for.
    pub account: &'a AccountId,
    /// The device.
    pub device: &'a DeviceId,
}

impl<'a> Party<'a> {
    fn fields(&self) -> [&'a [u8]; 4] {
        [
            self.origin.as_str().as_bytes(),
            self.deployment.as_str().as_bytes(),
            self.account.as_str().as_bytes(),
            self.device.as_str().as_bytes(),
        ]
    }
}

/// Fields 2 to 9 of a challenge and of its decision: which login, and what was shown of it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Server, account, device.
    pub party: Party<'a>,
    /// The challenge.
    pub challenge: &'a ChallengeId,
    /// Its nonce.
    pub nonce: &'a Nonce,
    /// The application that the login is for.
    pub application: &'a ApplicationId,
    /// The octets of the context as they are shown; signed as their SHA-256.
    pub context: &'a [u8],
}

impl<'a> Subject<'a> {
    fn octets(&self, label: &'a str, context_hash: &[u8; 32], tail: &[&[u8]]) -> Vec<u8> {
        let [origin, deployment, account, device] = self.party.fields();
        let head: [&[u8]; 9] = [
            label.as_bytes(),
            origin,
            deployment,
            account,
            device,
            self.challenge.as_str().as_bytes(),
            self.nonce.as_bytes(),
            self.application.as_str().as_bytes(),
            context_hash,
        ];
        concatenate(&[&head, tail].concat())
    }
}

/// What a device signs to answer a challenge, 14 fields.
#[derive(Debug, Clone, Copy)]
pub struct SignedDecision<'a> {
    /// Fields 2 to 9.
    pub subject: Subject<'a>,
    /// Field 10.
    pub decision: Decision,
    /// Field 11: the number that was typed in; an empty field when there is none.
    pub number: Option<&'a Number>,
    /// Field 12.
    pub number_mode: NumberMode,
    /// Field 13: what was reached.
    pub user_verification: UserVerificationReached,
    /// Field 14: the device's clock, as text.
    pub device_time: &'a DeviceTime,
}

impl SignedDecision<'_> {
    /// The octets to sign.
    pub fn octets(&self) -> Vec<u8> {
        self.subject.octets(
            DECISION_LABEL,
            &sha256(self.subject.context),
            &[
                self.decision.as_str().as_bytes(),
                self.number.map(Number::expose).unwrap_or_default().as_bytes(),
                self.number_mode.as_str().as_bytes(),
                self.user_verification.as_str().as_bytes(),
                self.device_time.as_str().as_bytes(),
            ],
        )
    }
}

/// What the server signs when it hands a challenge to a device, 11 fields.
#[derive(Debug, Clone, Copy)]
pub struct SignedChallenge<'a> {
    /// Fields 2 to 9.
    pub subject: Subject<'a>,
    /// Field 10.
    pub number_mode: NumberMode,
    /// Field 11: what the policy asks for.
    pub user_verification: UserVerification,
}

impl SignedChallenge<'_> {
    /// The octets to sign.
    pub fn octets(&self) -> Vec<u8> {
        self.subject.octets(
            CHALLENGE_LABEL,
            &sha256(self.subject.context),
            &[self.number_mode.as_str().as_bytes(), self.user_verification.as_str().as_bytes()],
        )
    }
}

/// What a device signs to open a sign-in window, 9 fields.
#[derive(Debug, Clone, Copy)]
pub struct SignedWindow<'a> {
    /// Fields 2 to 5.
    pub party: Party<'a>,
    /// Field 6.
    pub window: &'a WindowId,
    /// Field 7.
    pub application: &'a ApplicationId,
    /// Field 8: what was reached.
    pub user_verification: UserVerificationReached,
    /// Field 9: the device's clock, as text.
    pub device_time: &'a DeviceTime,
}

impl SignedWindow<'_> {
    /// The octets to sign.
    pub fn octets(&self) -> Vec<u8> {
        let [origin, deployment, account, device] = self.party.fields();
        concatenate(&[
            WINDOW_LABEL.as_bytes(),
            origin,
            deployment,
            account,
            device,
            self.window.as_str().as_bytes(),
            self.application.as_str().as_bytes(),
            self.user_verification.as_str().as_bytes(),
            self.device_time.as_str().as_bytes(),
        ])
    }
}

/// What an old signing key signs to hand over to a new one, 2 fields: the label and the 32 octets of
/// the new key's thumbprint.
pub fn endorsement_octets(new: &Thumbprint) -> Vec<u8> {
    concatenate(&[SIGNING_KEY_LABEL.as_bytes(), new.as_bytes()])
}
