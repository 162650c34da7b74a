//! A phone that speaks the device protocol, over whatever carries its requests.
#![expect(clippy::expect_used, reason = "what fails here fails the test that uses it")]

use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::rand::SystemRandom;
use countersign_device_protocol::{
    code::{ActivationCode, ActivationLink},
    ids::{ApplicationId, DeviceTime, Name, WindowId},
    keys::{PublicKey, Signature, SigningKey},
    messages::{
        ActivationAnswer, ActivationRequest, ActivationSecret, Challenge, ContextDocument, Decision, DecisionRequest,
        DeviceInfo, UserVerificationReached, WindowRequest,
    },
    origin::Origin,
    proof::{NewProof, Request},
    signed::Party,
    webauthn::assertion_challenge,
};
use countersign_domain::Entropy;

use crate::{Ceremony, SeededEntropy, SoftAuthenticator};

/// A phone with one account. It keeps its key and what the server said at activation; sending is the test's.
#[derive(Debug)]
pub struct SoftPhone {
    /// Its key; public, so that a test can sign whatever it wants.
    pub key: SigningKey,
    /// What the server answered to the activation.
    pub account: Option<ActivationAnswer>,
    proofs: AtomicU64,
}

impl Default for SoftPhone {
    fn default() -> Self {
        Self::new()
    }
}

impl SoftPhone {
    /// A phone with a new key and no account.
    pub fn new() -> Self {
        let (key, _) = SigningKey::generate(&SystemRandom::new()).expect("a key can be made");
        Self { key, account: None, proofs: AtomicU64::new(0) }
    }

    /// A proof for a request, with a `jti` of its own.
    pub fn proof(
        &self,
        origin: &Origin,
        method: &str,
        path: &str,
        body: &[u8],
        iat: i64,
        nonce: Option<&str>,
    ) -> String {
        let jti = format!("jti-{}", self.proofs.fetch_add(1, Ordering::SeqCst));
        let request = Request { method, htu: &origin.htu(path), body };
        NewProof { request, iat, jti: &jti, nonce }.sign(&self.key, &SystemRandom::new()).expect("the key can sign")
    }

    /// The body of an activation by a typed code.
    pub fn activation_by_code(&self, code: &ActivationCode) -> Vec<u8> {
        activation(ActivationSecret::Code(code.clone()))
    }

    /// The body of an activation by the text of a QR code.
    pub fn activation_by_qr(&self, text: &str) -> Vec<u8> {
        activation(ActivationSecret::Token(ActivationLink::parse(text).expect("the text of a QR code").token))
    }

    /// What a phone checks before it shows a challenge: that its server made it, for this device.
    pub fn open(&self, challenge: &Challenge) -> ContextDocument {
        let account = self.account();
        challenge.open(party(account), &account.server.signing_key).expect("a challenge that the server signed")
    }

    /// A signed decision over a challenge.
    pub fn decide(&self, challenge: &Challenge, decision: Decision) -> DecisionRequest {
        self.sign(
            challenge,
            DecisionRequest {
                decision,
                number: None,
                user_verification: UserVerificationReached::None,
                device_time: DeviceTime::new("2027-01-15T08:00:07.250Z").expect("a time"),
                assertion: None,
                signature: Signature::new([0; 64]),
            },
        )
    }

    /// A signed Verify with an assertion by this authenticator, as it answers to `ceremony`.
    pub fn verify_with(
        &self,
        challenge: &Challenge,
        authenticator: &SoftAuthenticator,
        ceremony: &Ceremony,
    ) -> DecisionRequest {
        let decision = DecisionRequest {
            user_verification: UserVerificationReached::WebAuthn,
            ..self.decide(challenge, Decision::Verify)
        };
        let over = assertion_challenge(&self.octets(challenge, &decision));
        let assertion = Some(authenticator.get(&over, ceremony));
        self.sign(challenge, DecisionRequest { assertion, ..decision })
    }

    /// The same decision with this device's signature over it.
    pub fn sign(&self, challenge: &Challenge, decision: DecisionRequest) -> DecisionRequest {
        let octets = self.octets(challenge, &decision);
        DecisionRequest {
            signature: self.key.sign(&octets, &SystemRandom::new()).expect("the key can sign"),
            ..decision
        }
    }

    fn octets(&self, challenge: &Challenge, decision: &DecisionRequest) -> Vec<u8> {
        let context: ContextDocument =
            serde_json::from_slice(challenge.context.as_bytes()).expect("a context document");
        let subject = challenge.subject(party(self.account()), &context.application.id);
        decision.signed(subject, challenge.number_mode).octets()
    }

    /// A signed request for a sign-in window, for the application with this identifier.
    pub fn open_window(&self, application: &str) -> WindowRequest {
        let random = SeededEntropy::new(self.proofs.fetch_add(1, Ordering::SeqCst));
        let entropy: &dyn Entropy = &random;
        self.sign_window(WindowRequest {
            window_id: WindowId::from_bytes(entropy.octets()),
            application: ApplicationId::new(application).expect("an identifier"),
            user_verification: UserVerificationReached::None,
            device_time: DeviceTime::new("2027-01-15T08:00:07.250Z").expect("a time"),
            assertion: None,
            signature: Signature::new([0; 64]),
        })
    }

    /// The same request with this device's signature over it.
    pub fn sign_window(&self, request: WindowRequest) -> WindowRequest {
        let octets = request.signed(party(self.account())).octets();
        WindowRequest { signature: self.key.sign(&octets, &SystemRandom::new()).expect("the key can sign"), ..request }
    }

    /// The same window with an assertion by this authenticator, as it answers to `ceremony`.
    pub fn window_with(
        &self,
        request: WindowRequest,
        authenticator: &SoftAuthenticator,
        ceremony: &Ceremony,
    ) -> WindowRequest {
        let request = WindowRequest { user_verification: UserVerificationReached::WebAuthn, ..request };
        let over = assertion_challenge(&request.signed(party(self.account())).octets());
        self.sign_window(WindowRequest { assertion: Some(authenticator.get(&over, ceremony)), ..request })
    }

    /// The public half of its key.
    pub fn public(&self) -> &PublicKey {
        self.key.public()
    }

    /// What the server answered to the activation.
    pub fn account(&self) -> &ActivationAnswer {
        self.account.as_ref().expect("the phone has been activated")
    }
}

fn party(account: &ActivationAnswer) -> Party<'_> {
    Party {
        origin: &account.server.origin,
        deployment: &account.server.deployment_id,
        account: &account.account.id,
        device: &account.device_id,
    }
}

fn activation(secret: ActivationSecret) -> Vec<u8> {
    let name = |text| Name::new(text).expect("a name");
    let device = DeviceInfo { name: name("Ada's phone"), platform: name("test") };
    serde_json::to_vec(&ActivationRequest { secret, device, push: None }).expect("a body")
}
