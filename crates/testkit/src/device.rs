//! A device that answers at the desk, with a key of its own.
#![expect(clippy::expect_used, clippy::panic, reason = "what fails here fails the test that uses it")]

use core::time::Duration;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use countersign_desk::{DecisionAnswer, Desk, Notice, SignatureCheck, Submission};
use countersign_device_protocol::{
    encoding::Nonce,
    ids::{AccountId, ApplicationId, ChallengeId, DeploymentId, DeviceId, DeviceTime, Number},
    keys::{PublicKey, SigningKey},
    origin::Origin,
    signed::{Party, SignedDecision, Subject},
};
use countersign_domain::{
    Challenge, Decision, DecisionRecord, Device, DevicePublicKey, DeviceState, STEP_SECONDS, Timestamp, TotpSeed,
    UserId, UserVerificationReached, totp,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

/// A phone without a screen.
#[derive(Debug)]
pub struct SoftDevice {
    /// Whose it is.
    pub user: UserId,
    /// Which it is.
    pub id: countersign_domain::DeviceId,
    key: SigningKey,
    seed: TotpSeed,
    notices: Option<mpsc::Receiver<Notice>>,
}

impl SoftDevice {
    /// A new device, and the row for it.
    pub fn new(user: UserId, now: Timestamp, entropy: &dyn countersign_domain::Entropy) -> (Self, Device) {
        let (key, _) = SigningKey::generate(&SystemRandom::new()).expect("a key can be made");
        let id = countersign_domain::DeviceId::new(now, entropy);
        let seed = TotpSeed::new(entropy);
        let row = Device {
            id,
            user,
            name: "soft".into(),
            platform: "test".into(),
            key: DevicePublicKey {
                sec1: *key.public().uncompressed(),
                thumbprint: key.public().thumbprint().to_string(),
            },
            state: DeviceState::Active,
            totp: seed.clone(),
            totp_last_step: 0,
            passkey: None,
            push: None,
            created_at: now,
            seen: true,
        };
        (Self { user, id, key, seed, notices: None }, row)
    }

    /// The code of the step that `now` is in.
    pub fn code(&self, now: Timestamp) -> String {
        totp(self.seed.secret(), u64::try_from(now.as_seconds() / STEP_SECONDS).unwrap_or(0))
    }

    /// The next challenge that this device is asked, those included that are pending already.
    pub async fn asked(&mut self, desk: &Desk, within: Duration) -> Option<Arc<Challenge>> {
        let until = Instant::now() + within;
        let id = self.id;
        let notices = self.notices.get_or_insert_with(|| desk.subscribe(id));
        loop {
            if let Notice::Opened(challenge) = timeout_at(until, notices.recv()).await.ok()?? {
                return Some(challenge);
            }
        }
    }

    /// Signs a decision over what it was shown, and hands it in.
    pub async fn decide(&self, desk: &Arc<Desk>, shown: &Challenge, decision: Decision) -> DecisionAnswer {
        self.hand_in(desk, shown, decision, "").await
    }

    /// Says Verify with the number that somebody typed.
    pub async fn type_number(&self, desk: &Arc<Desk>, shown: &Challenge, number: &str) -> DecisionAnswer {
        self.hand_in(desk, shown, Decision::Verify, number).await
    }

    /// Says Verify and gets the code that is to be typed at the prompt.
    pub async fn code_for(&self, desk: &Arc<Desk>, shown: &Challenge) -> String {
        match self.decide(desk, shown, Decision::Verify).await {
            DecisionAnswer::CodeShown(code) => String::from_utf8_lossy(code.expose()).into_owned(),
            other => panic!("no code: {other:?}"),
        }
    }

    async fn hand_in(&self, desk: &Arc<Desk>, shown: &Challenge, decision: Decision, number: &str) -> DecisionAnswer {
        let record = DecisionRecord {
            device: self.id,
            decision,
            number: number.to_owned(),
            user_verification: UserVerificationReached::None,
            device_time: "2026-11-25T12:00:00Z".to_owned(),
        };
        let signature =
            self.key.sign(&signed_octets(shown, &record), &SystemRandom::new()).expect("the key can be used");
        let (public, signed) = (self.key.public().clone(), record.clone());
        let check = SignatureCheck::new(move |row: &Challenge| verifies(&public, row, &signed, &signature));
        let submission = Submission { record, signature: check, assertion: None };
        desk.decide(self.user, shown.id, submission).await
    }
}

fn verifies(
    key: &PublicKey,
    row: &Challenge,
    record: &DecisionRecord,
    signature: &countersign_device_protocol::keys::Signature,
) -> bool {
    key.verify(&signed_octets(row, record), signature).is_ok()
}

/// What is signed, from a challenge as the device saw it or as the server stored it.
fn signed_octets(challenge: &Challenge, record: &DecisionRecord) -> Vec<u8> {
    let text = "an identifier is one in the device protocol too";
    let subject = Subject {
        party: Party {
            origin: &Origin::parse("https://mfa.example.com").expect("an origin"),
            deployment: &DeploymentId::new("test").expect(text),
            account: &AccountId::new(challenge.user.to_string()).expect(text),
            device: &DeviceId::new(record.device.to_string()).expect(text),
        },
        challenge: &ChallengeId::from_bytes(*challenge.id.as_octets()),
        nonce: &Nonce::new(challenge.nonce),
        application: &ApplicationId::new(challenge.resource.to_string()).expect(text),
        context: &challenge.context,
    };
    let number = Number::new(&record.number).ok();
    SignedDecision {
        subject,
        decision: record.decision,
        number: number.as_ref(),
        number_mode: challenge.number_mode,
        user_verification: record.user_verification,
        device_time: &DeviceTime::new(record.device_time.clone()).expect("a time"),
    }
    .octets()
}
