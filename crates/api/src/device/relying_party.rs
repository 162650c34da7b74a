//! WebAuthn: makes credentials of devices and checks their assertions, by webauthn-rs.
//!
//! The library begins each ceremony with a challenge of its own. Ours come from elsewhere: of an assertion it is the hash
//! of what the device signs, and random octets are the desk's. So the state that the library made is written out, as it
//! allows for those who keep it in a database, gets our challenge, and is read back (`docs/design/user-verification.md`).

use countersign_desk::AssertionOutcome;
use countersign_device_protocol::{
    encoding::encode,
    origin::Origin,
    webauthn::{Assertion, NewCredential},
};
use countersign_domain::Passkey;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tracing::{debug, error};
use webauthn_rs::prelude::{
    Passkey as Credential, PasskeyRegistration, PublicKeyCredential, RegisterPublicKeyCredential, Url, Uuid, Webauthn,
    WebauthnBuilder, WebauthnError,
};

/// Why a credential or an assertion is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// It does not verify.
    #[error("{0}")]
    Invalid(#[from] WebauthnError),
    /// It is another credential than the one that is kept or named.
    #[error("another credential")]
    Other,
    /// The page that asked for it lies inside a page of another origin.
    #[error("asked for by a frame")]
    Frame,
    /// Its signature counter is not higher than the last one: there may be a copy of the credential.
    #[error("the signature counter went back")]
    CounterBack,
    /// What is stored, or what the library wrote, cannot be read.
    #[error("what the library wrote cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// The library keeps the challenge elsewhere than it did.
    #[error("the library's state of a ceremony has no {0}")]
    Layout(&'static str),
}

/// This server, as authenticators know it.
pub(super) struct RelyingParty(Webauthn);

/// Whether phones can verify their users for a server of this address: not under an IP address (C108).
pub(crate) fn can_verify_users(origin: &Origin) -> bool {
    RelyingParty::new(origin).is_some()
}

/// A registration under way, and the algorithms that it may use.
pub(super) struct Begun {
    pub(super) state: PasskeyRegistration,
    pub(super) algorithms: Vec<i64>,
}

impl RelyingParty {
    /// `None` where the origin's host is an IP address: there is no relying party of that name (C108).
    pub(super) fn new(origin: &Origin) -> Option<Self> {
        let url = Url::parse(origin.as_str()).ok()?;
        WebauthnBuilder::new(url.domain()?, &url).and_then(WebauthnBuilder::build).ok().map(Self)
    }

    /// Begins the registration of a credential for the user handle `handle`.
    pub(super) fn begin(&self, challenge: &[u8; 32], handle: Uuid) -> Result<Begun, Fault> {
        // The names in the library's options are for people; the device knows better ones.
        let (options, state) = self.0.start_passkey_registration(handle, "device", "device", None)?;
        let state = with_challenge(&state, "/rs/challenge", challenge)?;
        let algorithms = options.public_key.pub_key_cred_params.iter().map(|param| param.alg).collect();
        Ok(Begun { state, algorithms })
    }

    /// Takes what an authenticator made of it.
    pub(super) fn complete(&self, state: &PasskeyRegistration, made: &NewCredential) -> Result<Passkey, Fault> {
        let answer: RegisterPublicKeyCredential = serde_json::from_value(json!({
            "id": made.credential_id,
            "rawId": made.credential_id,
            "type": "public-key",
            "response": {"attestationObject": made.attestation_object, "clientDataJSON": made.client_data_json},
        }))?;
        let credential = self.0.finish_passkey_registration(&answer, state)?;
        if credential.cred_id() != made.credential_id.as_bytes() {
            return Err(Fault::Other);
        }
        keep(&credential)
    }

    /// What an assertion says of the person: see [`Self::check`].
    pub(super) fn verified_user(&self, passkey: &Passkey, challenge: &[u8; 32], made: &Assertion) -> AssertionOutcome {
        self.check(passkey, challenge, made).map_or_else(
            |fault| {
                debug!(reason = %fault, "device.assertion refused");
                match fault {
                    Fault::CounterBack => AssertionOutcome::CounterBack,
                    Fault::Invalid(_) | Fault::Other | Fault::Frame => AssertionOutcome::Fails,
                    Fault::Unreadable(_) | Fault::Layout(_) => {
                        error!(error = %fault, "device.assertion cannot be checked");
                        AssertionOutcome::Fails
                    }
                }
            },
            AssertionOutcome::Holds,
        )
    }

    /// Checks an assertion by this credential over this challenge: type, challenge, origin, relying party, presence and
    /// verification of the user, signature, counter. Gives the credential as it is to be kept from now on.
    fn check(&self, passkey: &Passkey, challenge: &[u8; 32], made: &Assertion) -> Result<Passkey, Fault> {
        if made.credential_id.as_bytes() != passkey.credential_id {
            return Err(Fault::Other);
        }
        let mut credential: Credential = serde_json::from_str(&passkey.credential)?;
        let (_, state) = self.0.start_passkey_authentication(core::slice::from_ref(&credential))?;
        let state = with_challenge(&state, "/ast/challenge", challenge)?;
        let answer: PublicKeyCredential = serde_json::from_value(json!({
            "id": made.credential_id,
            "rawId": made.credential_id,
            "type": "public-key",
            "response": {
                "authenticatorData": made.authenticator_data,
                "clientDataJSON": made.client_data_json,
                "signature": made.signature,
                "userHandle": null,
            },
        }))?;
        let result = self.0.finish_passkey_authentication(&answer, &state).map_err(|fault| match fault {
            WebauthnError::CredentialPossibleCompromise => Fault::CounterBack,
            fault => Fault::Invalid(fault),
        })?;
        // The library asks for it already; nothing else here would notice if that changed.
        if !result.user_verified() {
            return Err(Fault::Invalid(WebauthnError::UserNotVerified));
        }
        // It looks at this in registrations only (Level 2 section 5.8.1).
        let page: Page = serde_json::from_slice(made.client_data_json.as_bytes()).map_err(|_| Fault::Frame)?;
        if page.cross_origin {
            return Err(Fault::Frame);
        }
        match credential.update_credential(&result) {
            Some(true) => keep(&credential),
            Some(false) => Ok(passkey.clone()),
            None => Err(Fault::Other),
        }
    }
}

/// Of the client data, what the library leaves to us.
#[derive(Deserialize)]
struct Page {
    #[serde(default, rename = "crossOrigin")]
    cross_origin: bool,
}

fn keep(credential: &Credential) -> Result<Passkey, Fault> {
    let text = serde_json::to_string(credential)?;
    Ok(Passkey { credential_id: credential.cred_id().clone(), credential: text })
}

/// The same state of a ceremony with another challenge.
fn with_challenge<T: Serialize + DeserializeOwned>(
    state: &T,
    at: &'static str,
    challenge: &[u8; 32],
) -> Result<T, Fault> {
    let mut written = serde_json::to_value(state)?;
    let place = written.pointer_mut(at).filter(|place| place.is_string());
    *place.ok_or(Fault::Layout(at))? = Value::String(encode(challenge));
    Ok(serde_json::from_value(written)?)
}

#[cfg(test)]
mod tests {
    use countersign_device_protocol::encoding::Octets;

    use super::*;

    const PAGE: &str = include_str!("../../../../docs/reference/device-protocol.md");

    fn example<T: DeserializeOwned>(kind: &str) -> T {
        let (_, rest) = PAGE.split_once(&format!("\n```json {kind}\n")).unwrap();
        serde_json::from_str(rest.split_once("\n```").unwrap().0).unwrap()
    }

    fn vector(name: &str) -> [u8; 32] {
        let (_, rest) = PAGE.split_once(&format!("\n{name} = ")).unwrap();
        countersign_device_protocol::encoding::decode_fixed(rest.split_once('\n').unwrap().0).unwrap()
    }

    #[test]
    fn s12_credential_and_assertion_of_the_page_verify() {
        let party = RelyingParty::new(&Origin::parse("https://mfa.example.com").unwrap()).unwrap();
        let registration: countersign_device_protocol::webauthn::Registration = example("registration");
        let begun = party.begin(registration.challenge.as_bytes(), Uuid::nil()).unwrap();
        assert_eq!(begun.algorithms, registration.algorithms);
        let passkey = party.complete(&begun.state, &example("credential")).unwrap();
        let challenge = vector("webauthn_challenge");
        let used = party.check(&passkey, &challenge, &example("assertion")).unwrap();
        assert_eq!(used.credential_id, passkey.credential_id);
        let again = party.check(&used, &challenge, &example("assertion"));
        assert!(matches!(again, Err(Fault::CounterBack)), "{again:?}");
        let elsewhere = RelyingParty::new(&Origin::parse("https://mfa.example.com:8443").unwrap()).unwrap();
        assert!(matches!(elsewhere.check(&passkey, &challenge, &example("assertion")), Err(Fault::Invalid(_))));
        let broken = Passkey { credential: "{}".to_owned(), ..passkey };
        assert!(matches!(party.check(&broken, &challenge, &example("assertion")), Err(Fault::Unreadable(_))));
    }

    /// Every text that differs from this one in one octet, and every one that ends too soon.
    fn spoilt(octets: &Octets) -> impl Iterator<Item = Octets> {
        let whole = octets.as_bytes().to_vec();
        let flipped = (0..whole.len()).map({
            let whole = whole.clone();
            move |at| {
                let mut other = whole.clone();
                other[at] ^= 1 << (at % 8);
                other
            }
        });
        let cut = (0..whole.len()).map(move |length| whole[..length].to_vec());
        flipped.chain(cut).map(Octets::new)
    }

    #[test]
    fn s113_no_octet_of_an_assertion_may_be_another_and_nothing_makes_the_check_panic() {
        let party = RelyingParty::new(&Origin::parse("https://mfa.example.com").unwrap()).unwrap();
        let registration: countersign_device_protocol::webauthn::Registration = example("registration");
        let state = party.begin(registration.challenge.as_bytes(), Uuid::nil()).unwrap().state;
        let made: NewCredential = example("credential");
        for attestation_object in spoilt(&made.attestation_object) {
            // Some of it says nothing that is checked, such as the model of the authenticator.
            let _ = party.complete(&state, &NewCredential { attestation_object, ..made.clone() });
        }
        for client_data_json in spoilt(&made.client_data_json) {
            let _ = party.complete(&state, &NewCredential { client_data_json, ..made.clone() });
        }
        let passkey = party.complete(&state, &made).unwrap();
        let challenge = vector("webauthn_challenge");
        let good: Assertion = example("assertion");
        let refused = |what: &str, assertion: &Assertion| {
            assert!(party.check(&passkey, &challenge, assertion).is_err(), "{what}: {assertion:?}");
        };
        for authenticator_data in spoilt(&good.authenticator_data) {
            refused("authenticator data", &Assertion { authenticator_data, ..good.clone() });
        }
        for client_data_json in spoilt(&good.client_data_json) {
            refused("client data", &Assertion { client_data_json, ..good.clone() });
        }
        for signature in spoilt(&good.signature) {
            refused("signature", &Assertion { signature, ..good.clone() });
        }
        for credential_id in spoilt(&good.credential_id) {
            refused("credential", &Assertion { credential_id, ..good.clone() });
        }
    }

    #[test]
    fn c108_the_relying_party_is_the_host_of_the_configured_address() {
        for (origin, host) in [
            ("https://mfa.example.org", Some("mfa.example.org")),
            ("https://mfa.example.org:8443", Some("mfa.example.org")),
            ("http://localhost:8080", Some("localhost")),
            ("https://192.0.2.7", None),
            ("http://127.0.0.1:8080", None),
            ("https://[2001:db8::1]:8443", None),
        ] {
            let party = RelyingParty::new(&Origin::parse(origin).unwrap());
            let options = party.map(|party| party.0.start_passkey_registration(Uuid::nil(), "a", "a", None).unwrap().0);
            assert_eq!(options.map(|options| options.public_key.rp.id).as_deref(), host, "{origin}");
        }
    }
}
