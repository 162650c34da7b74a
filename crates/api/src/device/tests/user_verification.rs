use core::time::Duration;
use std::sync::Arc;

use countersign_device_protocol::{
    encoding::{Fixed, Octets},
    messages::{Challenge, Decision, DecisionRequest, UserVerificationReached},
    webauthn::{Assertion, Registration},
};
use countersign_domain::{
    Credential, Grant, Passkey, Reason, Resource, STEP_SECONDS, Secret, UserVerification, Verdict, totp,
};
use countersign_testkit::{Ceremony, SoftAuthenticator, SoftPhone};
use serde_json::Value;

use super::{Answer, World};

impl World {
    /// From now on the resource asks for it.
    fn ask_for(&mut self, user_verification: UserVerification) {
        let mut resource = Resource::clone(&self.resource);
        resource.policy.user_verification = user_verification;
        self.resource = Arc::new(resource);
    }

    async fn begin_registration(&self, phone: &SoftPhone) -> Registration {
        let answer = self.send(phone, "POST", "webauthn/registrations", "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        serde_json::from_value(answer.json).unwrap()
    }

    async fn complete(&self, phone: &SoftPhone, made: &impl serde::Serialize) -> Answer {
        self.send(phone, "PUT", "webauthn/credential", serde_json::to_vec(made).unwrap()).await
    }

    /// A phone with an authenticator.
    pub(super) async fn phone_with(&self, name: &[u8], ceremony: &Ceremony) -> (SoftPhone, SoftAuthenticator) {
        let phone = self.phone(self.ada).await;
        let authenticator = SoftAuthenticator::new(name);
        let registration = self.begin_registration(&phone).await;
        assert_eq!(self.complete(&phone, &authenticator.create(&registration, ceremony)).await.short(), "204");
        (phone, authenticator)
    }

    async fn answer(&self, phone: &SoftPhone, challenge: &Challenge, decision: &DecisionRequest) -> String {
        let body = serde_json::to_vec(decision).unwrap();
        self.send(phone, "POST", &format!("challenges/{}/decision", challenge.id), body).await.short()
    }

    async fn waits(&self, phone: &SoftPhone, challenge: &Challenge) -> bool {
        self.get(phone, &format!("challenges/{}", challenge.id)).await.short() == "200 pending"
    }

    async fn kept(&self, phone: &SoftPhone) -> Option<Passkey> {
        self.site.desk.store().device(Self::id(phone)).await.unwrap().unwrap().passkey
    }

    /// What the records say of how logins ended: reason and detail.
    async fn ended(&self) -> Vec<String> {
        let records = self.records("login.ended").await;
        let word = |text: Option<String>| text.unwrap_or_default();
        records.into_iter().map(|record| format!("{} {}", word(record.reason), word(record.detail))).collect()
    }
}

#[tokio::test]
async fn a_credential_is_registered_shown_and_removed() {
    let world = World::new().await;
    let phone = world.phone(world.ada).await;
    let (one, two) = (SoftAuthenticator::new(b"one"), SoftAuthenticator::new(b"two"));
    let fine = Ceremony::default();
    assert_eq!(world.get(&phone, "challenges").await.json["credential_id"], Value::Null);
    let registration = world.begin_registration(&phone).await;
    assert_eq!(registration.user_id.as_bytes(), World::id(&phone).as_uuid().as_bytes());
    assert!(registration.algorithms.contains(&-7), "{:?}", registration.algorithms);
    let made = one.create(&registration, &fine);
    assert_eq!(world.complete(&phone, &made).await.short(), "204");
    assert_eq!(world.get(&phone, "challenges").await.json["credential_id"], "b25l");
    // Once more, as after a lost answer; another one cannot be made of it.
    assert_eq!(world.complete(&phone, &made).await.short(), "204");
    assert_eq!(world.complete(&phone, &two.create(&registration, &fine)).await.short(), "404 registration_unknown");
    // The next one takes its place.
    let registration = world.begin_registration(&phone).await;
    assert_eq!(world.complete(&phone, &two.create(&registration, &fine)).await.short(), "204");
    assert_eq!(world.kept(&phone).await.unwrap().credential_id, b"two");
    for _ in 0..2 {
        assert_eq!(world.send(&phone, "DELETE", "webauthn/credential", "").await.short(), "204");
    }
    assert_eq!(world.get(&phone, "challenges").await.json["credential_id"], Value::Null);
    let device = Some(World::id(&phone).to_string());
    for (kind, times) in [("device.passkey_added", 2), ("device.passkey_removed", 1)] {
        let records = world.records(kind).await;
        assert_eq!(records.len(), times, "{kind}");
        assert!(records.iter().all(|record| record.device == device && record.actor == "device"));
    }
}

#[tokio::test]
async fn s12_a_credential_that_does_not_verify_is_not_kept_and_ends_its_registration() {
    let world = World::new().await;
    let (phone, other) = (world.phone(world.ada).await, world.phone(world.ada).await);
    let soft = SoftAuthenticator::new(b"one");
    let fine = Ceremony::default();
    for (what, ceremony) in wrong_ceremonies("webauthn.get") {
        let registration = world.begin_registration(&phone).await;
        let answer = world.complete(&phone, &soft.create(&registration, &ceremony)).await;
        assert_eq!(answer.short(), "422 credential_invalid", "{what}");
        let again = world.complete(&phone, &soft.create(&registration, &fine)).await;
        assert_eq!(again.short(), "404 registration_unknown", "{what}");
    }
    let registration = world.begin_registration(&phone).await;
    let stale = Registration { challenge: Fixed::new([7; 32]), ..registration };
    assert_eq!(world.complete(&phone, &soft.create(&stale, &fine)).await.short(), "422 credential_invalid");
    let registration = world.begin_registration(&phone).await;
    let mut misnamed = soft.create(&registration, &fine);
    misnamed.credential_id = Octets::new(b"two".to_vec());
    assert_eq!(world.complete(&phone, &misnamed).await.short(), "422 credential_invalid");
    let registration = world.begin_registration(&phone).await;
    let mut broken = soft.create(&registration, &fine);
    broken.attestation_object = Octets::new(vec![0xa3; 40]);
    assert_eq!(world.complete(&phone, &broken).await.short(), "422 credential_invalid");
    // What one device began no other completes, nor anybody too late.
    let registration = world.begin_registration(&phone).await;
    assert_eq!(world.complete(&other, &soft.create(&registration, &fine)).await.short(), "404 registration_unknown");
    world.site.clock.advance(Duration::from_secs(300));
    assert_eq!(world.complete(&phone, &soft.create(&registration, &fine)).await.short(), "404 registration_unknown");
    assert_eq!((world.kept(&phone).await, world.kept(&other).await), (None, None));
}

/// What an authenticator or a browser may say that is not right.
fn wrong_ceremonies(other_kind: &'static str) -> Vec<(&'static str, Ceremony)> {
    let fine = Ceremony { counter: 9, ..Ceremony::default() };
    vec![
        ("UV=0", Ceremony { user_verified: false, ..fine.clone() }),
        ("UP=0", Ceremony { user_present: false, ..fine.clone() }),
        ("other rpId", Ceremony { rp_id: "example.com", ..fine.clone() }),
        ("other origin", Ceremony { origin: "https://mfa.example.com.evil.example", ..fine.clone() }),
        ("other port", Ceremony { origin: "https://mfa.example.com:8443", ..fine.clone() }),
        ("other scheme", Ceremony { origin: "http://mfa.example.com", ..fine.clone() }),
        ("a frame", Ceremony { cross_origin: true, ..fine.clone() }),
        ("other type", Ceremony { kind: Some(other_kind), ..fine }),
    ]
}

#[tokio::test]
async fn s12_required_takes_a_verify_with_a_verified_user_only() {
    let mut world = World::new().await;
    world.ask_for(UserVerification::Required);
    let (phone, authenticator) = world.phone_with(b"one", &Ceremony::default()).await;
    let challenge = world.asked(&phone).await;
    assert_eq!(challenge.user_verification, UserVerification::Required);
    phone.open(&challenge);
    let without = phone.decide(&challenge, Decision::Verify);
    assert_eq!(world.answer(&phone, &challenge, &without).await, "403 user_verification_required");
    // To claim it is not enough.
    let claimed = DecisionRequest { user_verification: UserVerificationReached::WebAuthn, ..without.clone() };
    let claimed = phone.sign(&challenge, claimed);
    assert_eq!(world.answer(&phone, &challenge, &claimed).await, "400 malformed");
    let pin = DecisionRequest { user_verification: UserVerificationReached::Pin, ..without };
    let pin = phone.sign(&challenge, pin);
    assert_eq!(world.answer(&phone, &challenge, &pin).await, "422 user_verification_unsupported");
    assert!(world.waits(&phone, &challenge).await);
    let with = phone.verify_with(&challenge, &authenticator, &Ceremony::default());
    assert_eq!(world.answer(&phone, &challenge, &with).await, "200 approved");
    assert_eq!(world.verdict().await, Verdict::Accept(Grant::default()));
    assert_eq!(world.ended().await, ["approved webauthn"]);
    // The same once more, with another assertion.
    let again = phone.verify_with(&challenge, &authenticator, &Ceremony::default());
    assert_eq!(world.answer(&phone, &challenge, &again).await, "200 approved");

    let challenge = world.asked(&phone).await;
    assert_eq!(world.decide(&phone, &challenge, Decision::Deny).await.short(), "200 denied", "a denial needs nobody");
}

/// Also where nothing is asked for: what was not so must not stand in a record.
#[tokio::test]
async fn s12_an_assertion_that_is_not_right_is_refused_and_uses_nothing_up() {
    for asks in [UserVerification::Required, UserVerification::Preferred, UserVerification::None] {
        bad_assertions(asks).await;
    }
}

async fn bad_assertions(asks: UserVerification) {
    let mut world = World::new().await;
    world.ask_for(asks);
    let (phone, authenticator) = world.phone_with(b"one", &Ceremony::default()).await;
    let (_, of_other) = world.phone_with(b"two", &Ceremony::default()).await;
    let before = world.kept(&phone).await;
    let challenge = world.asked(&phone).await;
    let fine = Ceremony { counter: 9, ..Ceremony::default() };
    let good = phone.verify_with(&challenge, &authenticator, &fine);
    let with = |change: &dyn Fn(&mut Assertion)| {
        let mut assertion = good.assertion.clone().unwrap();
        change(&mut assertion);
        DecisionRequest { assertion: Some(assertion), ..good.clone() }
    };
    let stranger = SoftAuthenticator::new(b"one");
    let mut counted = good.assertion.clone().unwrap().authenticator_data.into_vec();
    *counted.last_mut().unwrap() = 200;
    let later = DecisionRequest { device_time: "2027-01-15T08:00:09Z".parse().unwrap(), ..good.clone() };
    let mut bad: Vec<(&str, DecisionRequest)> = wrong_ceremonies("webauthn.create")
        .into_iter()
        .map(|(what, ceremony)| (what, phone.verify_with(&challenge, &authenticator, &ceremony)))
        .collect();
    bad.extend([
        ("of another device", phone.verify_with(&challenge, &of_other, &fine)),
        ("by another key", phone.verify_with(&challenge, &stranger, &fine)),
        ("other challenge", with(&|a| *a = authenticator.get(&[7; 32], &fine))),
        ("other credential", with(&|a| a.credential_id = Octets::new(b"two".to_vec()))),
        ("no signature", with(&|a| a.signature = Octets::default())),
        ("no data", with(&|a| a.authenticator_data = Octets::default())),
        ("no client data", with(&|a| a.client_data_json = Octets::new(b"{}".to_vec()))),
        ("counter changed", with(&|a| a.authenticator_data = Octets::new(counted.clone()))),
        // The assertion stands for these very fields.
        ("for another time", phone.sign(&challenge, later)),
    ]);
    for (what, decision) in &bad {
        assert_eq!(world.answer(&phone, &challenge, decision).await, "422 assertion_invalid", "{what}");
    }
    assert!(world.waits(&phone, &challenge).await);
    assert_eq!(world.kept(&phone).await, before);
    assert_eq!(world.records("alert").await.len(), 0);
    assert_eq!(world.answer(&phone, &challenge, &good).await, "200 approved");
    assert_eq!(world.verdict().await, Verdict::Accept(Grant::default()));
    assert_ne!(world.kept(&phone).await, before, "the counter is noted");
    assert_eq!(world.ended().await, ["approved webauthn"]);

    // It opens no other login.
    let next = world.asked(&phone).await;
    let theirs = phone.verify_with(&next, &authenticator, &fine);
    let stolen = DecisionRequest { assertion: good.assertion.clone(), ..theirs };
    assert_eq!(world.answer(&phone, &next, &stolen).await, "422 assertion_invalid");
    assert!(world.waits(&phone, &next).await);
}

#[tokio::test]
async fn s12_a_signature_counter_that_goes_back_is_refused_and_raises_an_alert() {
    let mut world = World::new().await;
    world.ask_for(UserVerification::Required);
    let counter = |counter| Ceremony { counter, ..Ceremony::default() };
    let (phone, authenticator) = world.phone_with(b"one", &counter(5)).await;
    let challenge = world.asked(&phone).await;
    for (alerts, back) in [(1, 5), (2, 4), (3, 0)] {
        let copy = phone.verify_with(&challenge, &authenticator, &counter(back));
        assert_eq!(world.answer(&phone, &challenge, &copy).await, "422 assertion_invalid", "{back}");
        let records = world.records("alert").await;
        assert_eq!(records.len(), alerts);
        assert!(records.iter().all(|record| record.reason.as_deref() == Some("passkey_copied")));
        assert_eq!(records[0].device, Some(World::id(&phone).to_string()));
    }
    assert!(world.waits(&phone, &challenge).await);
    let on = phone.verify_with(&challenge, &authenticator, &counter(6));
    assert_eq!(world.answer(&phone, &challenge, &on).await, "200 approved");
    world.verdict().await;
    let challenge = world.asked(&phone).await;
    let again = phone.verify_with(&challenge, &authenticator, &counter(6));
    assert_eq!(world.answer(&phone, &challenge, &again).await, "422 assertion_invalid");
    let on = phone.verify_with(&challenge, &authenticator, &counter(7));
    assert_eq!(world.answer(&phone, &challenge, &on).await, "200 approved");
}

#[tokio::test]
async fn s12_required_of_a_user_without_an_authenticator_asks_nobody() {
    let mut world = World::new().await;
    world.ask_for(UserVerification::Required);
    let phone = world.phone(world.ada).await;
    world.login("ada");
    assert_eq!(world.verdict().await, Verdict::Reject { reason: Reason::NoDevice, after_challenge: false });
    assert_eq!(world.ended().await, ["no_device no_user_verification"]);
    assert_eq!(world.get(&phone, "challenges").await.json["challenges"], serde_json::json!([]));
    // A code of the account list needs nobody to be asked.
    let device = world.site.desk.store().device(World::id(&phone)).await.unwrap().unwrap();
    let code = totp(device.totp.secret(), u64::try_from(world.now() / STEP_SECONDS).unwrap());
    world.login_with("ada", None, Credential::Password(Secret::new(code.into_bytes())));
    assert_eq!(world.verdict().await, Verdict::Accept(Grant::default()));
    // Where one of two devices can, both are asked: the other one may deny.
    let (able, authenticator) = world.phone_with(b"one", &Ceremony::default()).await;
    let challenge = world.asked(&phone).await;
    let foreign = phone.verify_with(&challenge, &authenticator, &Ceremony::default());
    assert_eq!(world.answer(&phone, &challenge, &foreign).await, "422 user_verification_unsupported");
    assert_eq!(world.decide(&phone, &challenge, Decision::Verify).await.short(), "403 user_verification_required");
    let challenge = world.pending(&able).await;
    let verify = able.verify_with(&challenge, &authenticator, &Ceremony::default());
    assert_eq!(world.answer(&able, &challenge, &verify).await, "200 approved");
}

#[tokio::test]
async fn preferred_refuses_nothing_and_the_record_says_what_was_reached() {
    let mut world = World::new().await;
    world.ask_for(UserVerification::Preferred);
    let (phone, authenticator) = world.phone_with(b"one", &Ceremony::default()).await;
    let challenge = world.asked(&phone).await;
    assert_eq!(challenge.user_verification, UserVerification::Preferred);
    assert_eq!(world.decide(&phone, &challenge, Decision::Verify).await.short(), "200 approved");
    world.verdict().await;
    let challenge = world.asked(&phone).await;
    let verify = phone.verify_with(&challenge, &authenticator, &Ceremony::default());
    assert_eq!(world.answer(&phone, &challenge, &verify).await, "200 approved");
    world.verdict().await;
    let said = ["approved unverified", "approved webauthn"];
    assert_eq!(world.ended().await, said);
}

#[tokio::test]
async fn s07_a_challenge_asks_for_what_it_asked_for_when_it_was_made() {
    let mut world = World::new().await;
    world.ask_for(UserVerification::Required);
    let (phone, _) = world.phone_with(b"one", &Ceremony::default()).await;
    let challenge = world.asked(&phone).await;
    world.ask_for(UserVerification::None);
    assert_eq!(world.send(&phone, "DELETE", "webauthn/credential", "").await.short(), "204");
    assert_eq!(world.decide(&phone, &challenge, Decision::Verify).await.short(), "403 user_verification_required");
    assert!(world.waits(&phone, &challenge).await);
}

#[tokio::test]
async fn s12_a_removed_or_replaced_credential_shows_nothing_any_more() {
    let mut world = World::new().await;
    world.ask_for(UserVerification::Required);
    let fine = Ceremony::default();
    let (phone, old) = world.phone_with(b"one", &fine).await;
    let challenge = world.asked(&phone).await;
    let verify = phone.verify_with(&challenge, &old, &fine);
    assert_eq!(world.send(&phone, "DELETE", "webauthn/credential", "").await.short(), "204");
    assert_eq!(world.answer(&phone, &challenge, &verify).await, "422 user_verification_unsupported");
    let new = SoftAuthenticator::new(b"one");
    let registration = world.begin_registration(&phone).await;
    assert_eq!(world.complete(&phone, &new.create(&registration, &fine)).await.short(), "204");
    assert_eq!(world.answer(&phone, &challenge, &verify).await, "422 assertion_invalid");
    let verify = phone.verify_with(&challenge, &new, &fine);
    assert_eq!(world.answer(&phone, &challenge, &verify).await, "200 approved");
}
