//! A WebAuthn authenticator that does as it is told, wrong things too.
#![expect(clippy::expect_used, reason = "what fails here fails the test that uses it")]

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use countersign_device_protocol::{
    encoding::{Octets, encode},
    webauthn::{Assertion, NewCredential, Registration},
};
use serde_json::json;

/// One credential, and the browser around it.
#[derive(Debug)]
pub struct SoftAuthenticator {
    /// The identifier of its credential.
    pub credential_id: Vec<u8>,
    key: EcdsaKeyPair,
}

/// What authenticator and browser say of a ceremony.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ceremony {
    /// The relying party.
    pub rp_id: &'static str,
    /// The page that asked.
    pub origin: &'static str,
    /// Whether the page is a frame in a page of another origin.
    pub cross_origin: bool,
    /// `webauthn.create` or `webauthn.get`, instead of the one that it is.
    pub kind: Option<&'static str>,
    /// Somebody touched it.
    pub user_present: bool,
    /// Somebody showed a fingerprint, a face or a PIN.
    pub user_verified: bool,
    /// The signature counter.
    pub counter: u32,
}

impl Default for Ceremony {
    fn default() -> Self {
        Self {
            rp_id: "mfa.example.com",
            origin: "https://mfa.example.com",
            cross_origin: false,
            kind: None,
            user_present: true,
            user_verified: true,
            counter: 0,
        }
    }
}

impl SoftAuthenticator {
    /// One with a new key.
    pub fn new(credential_id: &[u8]) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key can be made");
        Self { credential_id: credential_id.to_vec(), key }
    }

    /// Answers `navigator.credentials.create`, without an attestation (Web Authentication Level 2 section 8.7).
    pub fn create(&self, registration: &Registration, ceremony: &Ceremony) -> NewCredential {
        let data = self.with_key(ceremony.data(0x40));
        let length = u8::try_from(data.len()).expect("a short identifier");
        let object = [b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58", [length].as_slice(), &data].concat();
        NewCredential {
            credential_id: Octets::new(self.credential_id.clone()),
            attestation_object: Octets::new(object),
            client_data_json: Octets::new(ceremony.client_data("webauthn.create", registration.challenge.as_bytes())),
        }
    }

    /// Answers `navigator.credentials.get`.
    pub fn get(&self, challenge: &[u8; 32], ceremony: &Ceremony) -> Assertion {
        let data = ceremony.data(0);
        let client_data = ceremony.client_data("webauthn.get", challenge);
        let signed = [data.as_slice(), digest(&SHA256, &client_data).as_ref()].concat();
        let signature = self.key.sign(&SystemRandom::new(), &signed).expect("the key can sign");
        Assertion {
            credential_id: Octets::new(self.credential_id.clone()),
            authenticator_data: Octets::new(data),
            client_data_json: Octets::new(client_data),
            signature: Octets::new(signature.as_ref().to_vec()),
        }
    }

    /// Attested credential data (section 6.5.1): model, identifier, and the key as COSE_Key (RFC 9053 section 7.1.1).
    fn with_key(&self, mut data: Vec<u8>) -> Vec<u8> {
        let length = u16::try_from(self.credential_id.len()).expect("a short identifier");
        let point = self.key.public_key().as_ref();
        let (x, y) = point.get(1..).expect("an uncompressed point").split_at(32);
        data.extend([0; 16]);
        data.extend(length.to_be_bytes());
        data.extend(&self.credential_id);
        data.extend(b"\xa5\x01\x02\x03\x26\x20\x01\x21\x58\x20");
        data.extend(x);
        data.extend(b"\x22\x58\x20");
        data.extend(y);
        data
    }
}

impl Ceremony {
    /// Authenticator data (section 6.1).
    fn data(&self, flags: u8) -> Vec<u8> {
        let flags = flags | u8::from(self.user_present) | (u8::from(self.user_verified) << 2);
        let mut data = digest(&SHA256, self.rp_id.as_bytes()).as_ref().to_vec();
        data.push(flags);
        data.extend(self.counter.to_be_bytes());
        data
    }

    /// Collected client data (section 5.8.1).
    fn client_data(&self, kind: &str, challenge: &[u8; 32]) -> Vec<u8> {
        let data = json!({
            "type": self.kind.unwrap_or(kind),
            "challenge": encode(challenge),
            "origin": self.origin,
            "crossOrigin": self.cross_origin,
        });
        data.to_string().into_bytes()
    }
}
