//! User verification by WebAuthn (Web Authentication Level 2): what registers a credential, and the assertion beside a
//! decision. Making and checking them is not the business of this crate.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::encoding::{Fixed, Octets};
use crate::keys::sha256;

/// Answer 200 of `POST webauthn/registrations`: what the server adds to the call that makes a credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// What the new credential's client data must name.
    pub challenge: Fixed<32>,
    /// The handle of the user towards authenticators: this device's own, so that no two devices of an account take each
    /// other's credential away.
    pub user_id: Octets,
    /// The algorithms that the server verifies (COSE identifiers), the one that it likes best first.
    pub algorithms: Vec<i64>,
    /// Until then the registration can be completed.
    pub expires_at: Timestamp,
}

/// Body of `PUT webauthn/credential`: what the authenticator made of a [`Registration`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewCredential {
    /// The identifier that the authenticator gave it.
    pub credential_id: Octets,
    /// What the authenticator says, with the public key in it.
    pub attestation_object: Octets,
    /// What the browser saw.
    pub client_data_json: Octets,
}

/// A WebAuthn assertion (section 5.2.2) whose challenge is the [`assertion_challenge`] of the signed octets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    /// Which credential.
    pub credential_id: Octets,
    /// What the authenticator signed, first part.
    pub authenticator_data: Octets,
    /// What the browser saw; its SHA-256 is the second part.
    pub client_data_json: Octets,
    /// By the credential's key.
    pub signature: Octets,
}

/// The challenge of the assertion that goes with signed octets: their SHA-256.
pub fn assertion_challenge(signed: &[u8]) -> [u8; 32] {
    sha256(signed)
}
