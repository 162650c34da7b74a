use core::{future::poll_fn, task::Poll, time::Duration};

use countersign_device_protocol::{
    encoding::{Nonce, Octets},
    ids::{AccountId, ApplicationId, ChallengeId, DeploymentId, DeviceId, DeviceTime, Number, WindowId},
    keys::SigningKey,
    messages::{Challenge, Decision, DecisionRequest, NumberMode, UserVerificationReached},
    origin::Origin,
    signed::{Party, SignedWindow, Subject},
    webauthn::Assertion,
};
use countersign_domain::{Commit, DeviceState, Reason, Verdict, Write};
use countersign_testkit::SoftPhone;
use futures_util::future::join_all;

use super::{Answer, World};

impl World {
    /// Sends a decision as it stands.
    async fn submit(&self, phone: &SoftPhone, challenge: &Challenge, decision: &DecisionRequest) -> Answer {
        let body = serde_json::to_vec(decision).unwrap();
        self.send(phone, "POST", &format!("challenges/{}/decision", challenge.id), body).await
    }

    async fn state(&self, phone: &SoftPhone, challenge: &Challenge) -> String {
        self.get(phone, &format!("challenges/{}", challenge.id)).await.short()
    }

    async fn login_ends(&self) -> Vec<String> {
        self.site.ends().await
    }
}

const fn rejected(reason: Reason) -> Verdict {
    Verdict::Reject { reason, after_challenge: true }
}

#[tokio::test]
async fn s01_one_verify_sent_fifty_times_at_once_is_one_login() {
    let mut world = World::new().await;
    let phone = world.phone(world.ada).await;
    let challenge = world.asked(&phone).await;
    assert_eq!(world.state(&phone, &challenge).await, "200 pending");
    let decision = phone.decide(&challenge, Decision::Verify);
    let answers = join_all((0..50).map(|_| world.submit(&phone, &challenge, &decision))).await;
    for answer in answers {
        assert_eq!(answer.short(), "200 approved");
    }
    assert_eq!(world.verdict().await, Verdict::accept());
    assert_eq!(world.login_ends().await, ["accept approved"]);

    // The same fields under a fresh signature are the same; other fields are another decision.
    let again = phone.decide(&challenge, Decision::Verify);
    assert_ne!(again.signature, decision.signature);
    assert_eq!(world.submit(&phone, &challenge, &again).await.short(), "200 approved");
    let denial = world.decide(&phone, &challenge, Decision::Deny).await;
    assert_eq!((denial.short().as_str(), denial.json["state"].as_str()), ("409 challenge_closed", Some("approved")));
    let later = DecisionRequest { device_time: DeviceTime::new("2027-01-15T08:00:08Z").unwrap(), ..decision.clone() };
    let later = phone.sign(&challenge, later);
    assert_eq!(world.submit(&phone, &challenge, &later).await.short(), "409 challenge_closed");

    // The same octets for another login.
    let next = world.asked(&phone).await;
    assert_eq!(world.submit(&phone, &next, &decision).await.short(), "422 signature_invalid");
    assert_eq!(world.state(&phone, &next).await, "200 pending");
    assert_eq!(world.login_ends().await, ["accept approved"]);
}

#[tokio::test]
async fn s01_two_phones_at_once_one_decision_counts() {
    let mut world = World::new().await;
    let (one, two) = (world.phone(world.ada).await, world.phone(world.ada).await);
    let first = world.asked(&one).await;
    let second = world.pending(&two).await;
    assert_eq!(first.id, second.id);
    assert_ne!(first.signature, second.signature);
    let (yes, no) =
        tokio::join!(world.decide(&one, &first, Decision::Verify), world.decide(&two, &second, Decision::Deny));
    let mut short = [yes.short(), no.short()];
    short.sort();
    let verdict = world.verdict().await;
    match verdict {
        Verdict::Accept(_) => assert_eq!(short, ["200 approved", "409 challenge_closed"]),
        _ => assert_eq!(short, ["200 denied", "409 challenge_closed"]),
    }
    assert_eq!(world.login_ends().await.len(), 1);
}

#[tokio::test]
async fn s03_a_change_of_any_signed_field_is_refused() {
    let mut world = World::new().await;
    let phone = world.phone(world.ada).await;
    let bob = world.site.user("bob", None).await;
    let bobs = world.phone(bob).await;
    let challenge = world.asked(&phone).await;
    phone.open(&challenge);
    let good = phone.decide(&challenge, Decision::Deny);
    let random = aws_lc_rs::rand::SystemRandom::new();

    // Sent otherwise than signed.
    let time = || DeviceTime::new("2027-01-15T08:00:09Z").unwrap();
    let sent = [
        DecisionRequest { decision: Decision::Verify, ..good.clone() },
        DecisionRequest { decision: Decision::DenyReport, ..good.clone() },
        DecisionRequest { device_time: time(), ..good.clone() },
        DecisionRequest { user_verification: UserVerificationReached::Pin, ..good.clone() },
        DecisionRequest { decision: Decision::Verify, number: Some(Number::new("1").unwrap()), ..good.clone() },
    ];
    for decision in &sent {
        assert_eq!(world.submit(&phone, &challenge, decision).await.short(), "422 signature_invalid", "{decision:?}");
    }

    // Signed over something else than the server has.
    let mine = phone.account().clone();
    let theirs = bobs.account().clone();
    let context = phone.open(&challenge);
    let sign = |change: &dyn Fn(&mut Parts)| {
        let mut parts = Parts {
            origin: mine.server.origin.clone(),
            deployment: mine.server.deployment_id.clone(),
            account: mine.account.id.clone(),
            device: mine.device_id.clone(),
            challenge: challenge.id.clone(),
            nonce: challenge.nonce,
            application: context.application.id.clone(),
            context: challenge.context.as_bytes().to_vec(),
            mode: challenge.number_mode,
        };
        change(&mut parts);
        let octets = good.signed(parts.subject(), parts.mode).octets();
        DecisionRequest { signature: phone.key.sign(&octets, &random).unwrap(), ..good.clone() }
    };
    let their_account = theirs.account.id.clone();
    let their_device = theirs.device_id.clone();
    let changes: Vec<Change> = vec![
        ("origin", Box::new(|p| p.origin = "https://evil.example".parse().unwrap())),
        ("deployment", Box::new(|p| p.deployment = "another".parse().unwrap())),
        ("account", Box::new(move |p| p.account = their_account.clone())),
        ("device", Box::new(move |p| p.device = their_device.clone())),
        ("challenge", Box::new(|p| p.challenge = "AAAAAAAAAAAAAAAAAAAAAA".parse().unwrap())),
        ("nonce", Box::new(|p| p.nonce = Nonce::new([0; 32]))),
        ("application", Box::new(|p| p.application = "another".parse().unwrap())),
        ("context", Box::new(|p| p.context.push(b' '))),
        ("number mode", Box::new(|p| p.mode = NumberMode::Typed)),
    ];
    for (what, change) in &changes {
        assert_eq!(world.submit(&phone, &challenge, &sign(change)).await.short(), "422 signature_invalid", "{what}");
    }
    // The label of another statement, another key, another device's session.
    let window = SignedWindow {
        party: Party {
            origin: &mine.server.origin,
            deployment: &mine.server.deployment_id,
            account: &mine.account.id,
            device: &mine.device_id,
        },
        window: &WindowId::new(challenge.id.as_str()).unwrap(),
        application: &context.application.id,
        user_verification: UserVerificationReached::None,
        device_time: &good.device_time,
    };
    let labelled = DecisionRequest { signature: phone.key.sign(&window.octets(), &random).unwrap(), ..good.clone() };
    assert_eq!(world.submit(&phone, &challenge, &labelled).await.short(), "422 signature_invalid");
    let (stranger, _) = SigningKey::generate(&random).unwrap();
    let octets = good.signed(challenge.subject(window.party, &context.application.id), challenge.number_mode).octets();
    let foreign = DecisionRequest { signature: stranger.sign(&octets, &random).unwrap(), ..good.clone() };
    assert_eq!(world.submit(&phone, &challenge, &foreign).await.short(), "422 signature_invalid");

    // Nothing of all this used the challenge up.
    assert_eq!(world.state(&phone, &challenge).await, "200 pending");
    assert_eq!(world.submit(&phone, &challenge, &good).await.short(), "200 denied");
    assert_eq!(world.verdict().await, rejected(Reason::Denied));
}

/// A change and its name.
type Change = (&'static str, Box<dyn Fn(&mut Parts)>);

/// What the signed octets are made of, to be changed.
struct Parts {
    origin: Origin,
    deployment: DeploymentId,
    account: AccountId,
    device: DeviceId,
    challenge: ChallengeId,
    nonce: Nonce,
    application: ApplicationId,
    context: Vec<u8>,
    mode: NumberMode,
}

impl Parts {
    fn subject(&self) -> Subject<'_> {
        Subject {
            party: Party {
                origin: &self.origin,
                deployment: &self.deployment,
                account: &self.account,
                device: &self.device,
            },
            challenge: &self.challenge,
            nonce: &self.nonce,
            application: &self.application,
            context: &self.context,
        }
    }
}

#[tokio::test]
async fn s04_a_decision_has_what_the_page_names_and_nothing_else() {
    let world = World::new().await;
    let phone = world.phone(world.ada).await;
    let challenge = world.asked(&phone).await;
    let path = format!("challenges/{}/decision", challenge.id);
    let good = serde_json::to_value(phone.decide(&challenge, Decision::Verify)).unwrap();
    let mut bodies = Vec::new();
    for name in ["account", "sub", "app", "context", "device_id"] {
        let mut body = good.clone();
        body[name] = "admin".into();
        bodies.push(body.to_string());
    }
    for name in ["decision", "number", "user_verification", "device_time", "assertion", "signature"] {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(name);
        bodies.push(body.to_string());
    }
    for (name, value) in [("decision", "allow"), ("device_time", "now"), ("signature", "AA"), ("number", "12a")] {
        let mut body = good.clone();
        body[name] = value.into();
        bodies.push(body.to_string());
    }
    bodies.push(good.to_string().replacen('{', r#"{"decision":"deny","#, 1));
    bodies.push(format!("{good} {{}}"));
    let empty = || Octets::new(Vec::new());
    let assertion = Assertion {
        credential_id: empty(),
        authenticator_data: empty(),
        client_data_json: empty(),
        signature: empty(),
    };
    let stray = DecisionRequest { assertion: Some(assertion), ..phone.decide(&challenge, Decision::Verify) };
    bodies.push(serde_json::to_string(&stray).unwrap());
    for body in bodies {
        assert_eq!(world.send(&phone, "POST", &path, body.clone()).await.short(), "400 malformed", "{body}");
    }
    assert_eq!(world.state(&phone, &challenge).await, "200 pending");
}

#[tokio::test]
async fn user_verification_and_numbers_are_judged_for_verify_only() {
    let world = World::new().await;
    let phone = world.phone(world.ada).await;
    let challenge = world.asked(&phone).await;
    let verify = phone.decide(&challenge, Decision::Verify);
    let pin = DecisionRequest { user_verification: UserVerificationReached::Pin, ..verify.clone() };
    let pin = world.submit(&phone, &challenge, &phone.sign(&challenge, pin)).await;
    assert_eq!(pin.short(), "422 user_verification_unsupported");
    let number = DecisionRequest { number: Some(Number::new("123456").unwrap()), ..verify };
    let number = world.submit(&phone, &challenge, &phone.sign(&challenge, number)).await;
    assert_eq!(number.short(), "400 malformed");
    let denial = phone.decide(&challenge, Decision::Deny);
    let denial = DecisionRequest { user_verification: UserVerificationReached::Pin, ..denial };
    assert_eq!(world.submit(&phone, &challenge, &phone.sign(&challenge, denial)).await.short(), "200 denied");
}

#[tokio::test]
async fn s14_after_its_time_a_challenge_takes_no_verify() {
    let mut world = World::new().await;
    let phone = world.phone(world.ada).await;
    let challenge = world.asked(&phone).await;
    world.site.clock.advance(Duration::from_secs(60));
    // Nobody has noticed yet, and still it is over.
    assert_eq!(world.get(&phone, "challenges").await.json["challenges"], serde_json::json!([]));
    assert_eq!(world.state(&phone, &challenge).await, "200 expired");
    let late = world.decide(&phone, &challenge, Decision::Verify).await;
    assert_eq!((late.short().as_str(), late.json["state"].as_str()), ("409 challenge_closed", Some("expired")));
    assert_eq!(world.verdict().await, rejected(Reason::Expired));
    assert_eq!(world.state(&phone, &challenge).await, "200 expired");
    world.site.clock.advance(Duration::from_secs(600));
    assert_eq!(world.state(&phone, &challenge).await, "404 not_found");
}

#[tokio::test]
async fn s15_a_user_disabled_in_between_is_not_let_in() {
    let mut world = World::new().await;
    let phone = world.phone(world.ada).await;
    let challenge = world.asked(&phone).await;
    world.site.disable(world.ada).await;
    for path in ["challenges", "history", "applications", "events"] {
        assert_eq!(world.get(&phone, path).await.short(), "403 account_disabled", "{path}");
    }
    let verify = world.decide(&phone, &challenge, Decision::Verify).await;
    assert_eq!(verify.short(), "403 account_disabled");
    // It was not only refused: the login that waited has ended.
    assert_eq!(world.verdict().await, rejected(Reason::UserDisabled));
    world.site.write(Write::SetUserEnabled { id: world.ada, enabled: true }).await;
    assert_eq!(world.decide(&phone, &challenge, Decision::Verify).await.short(), "409 challenge_closed");
    assert_eq!(world.login_ends().await, ["reject user_disabled"]);
}

#[tokio::test]
async fn s15_a_device_suspended_by_somebody_who_did_not_wait_is_not_asked_any_more() {
    let world = World::new().await;
    let phone = world.phone(world.ada).await;
    let (desk, id) = (&world.site.desk, World::id(&phone));
    let remembered = async || desk.snapshot(world.ada).await.unwrap().unwrap().devices[0].state;
    assert_eq!(remembered().await, DeviceState::Active);
    let suspend = Write::SetDeviceState { id, from: DeviceState::Active, to: DeviceState::Suspended };
    {
        // The connection breaks as soon as the change is on its way.
        let mut write = std::pin::pin!(desk.write(Commit { writes: vec![suspend], audit: Vec::new() }));
        let polled = poll_fn(|context| Poll::Ready(write.as_mut().poll(context))).await;
        assert!(polled.is_pending());
    }
    for _ in 0..100 {
        if remembered().await == DeviceState::Suspended {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("what was read before is believed for good");
}

#[tokio::test]
async fn s15_a_user_or_device_removed_in_between_is_not_let_in() {
    let mut world = World::new().await;
    let (phone, other) = (world.phone(world.ada).await, world.phone(world.ada).await);
    let challenge = world.asked(&phone).await;
    let id = World::id(&phone);
    world.site.write(Write::SetDeviceState { id, from: DeviceState::Active, to: DeviceState::Removed }).await;
    assert_eq!(world.decide(&phone, &challenge, Decision::Verify).await.short(), "403 device_removed");
    let challenge = world.pending(&other).await;
    world.site.write(Write::RemoveUser(world.ada)).await;
    assert_eq!(world.decide(&other, &challenge, Decision::Verify).await.short(), "401 device_unknown");
    assert!(world.verdicts.try_recv().is_err());
}

#[tokio::test]
async fn s16_only_devices_that_were_asked_may_answer() {
    let mut world = World::new().await;
    let phone = world.phone(world.ada).await;
    let bob = world.site.user("bob", None).await;
    let bobs = world.phone(bob).await;
    let challenge = world.asked(&phone).await;
    let younger = world.phone(world.ada).await;
    for stranger in [&bobs, &younger] {
        assert_eq!(world.decide(stranger, &challenge, Decision::Verify).await.short(), "404 not_found");
        assert_eq!(world.decide(stranger, &challenge, Decision::Deny).await.short(), "404 not_found");
        assert_eq!(world.get(stranger, "challenges").await.json["challenges"], serde_json::json!([]));
    }
    assert_eq!(world.state(&bobs, &challenge).await, "404 not_found");
    // How it stands is the account's to know.
    assert_eq!(world.state(&younger, &challenge).await, "200 pending");
    let id = World::id(&phone);
    world.site.write(Write::SetDeviceState { id, from: DeviceState::Active, to: DeviceState::Suspended }).await;
    assert_eq!(world.decide(&phone, &challenge, Decision::Verify).await.short(), "403 device_removed");
    world.site.write(Write::SetDeviceState { id, from: DeviceState::Suspended, to: DeviceState::Active }).await;
    assert_eq!(world.decide(&phone, &challenge, Decision::Verify).await.short(), "200 approved");
    assert_eq!(world.verdict().await, Verdict::accept());
}

#[tokio::test]
async fn c091_a_denied_challenge_is_over_for_everybody() {
    let mut world = World::new().await;
    let (one, two) = (world.phone(world.ada).await, world.phone(world.ada).await);
    let mine = world.asked(&one).await;
    let theirs = world.pending(&two).await;
    assert_eq!(world.decide(&one, &mine, Decision::Deny).await.short(), "200 denied");
    assert_eq!(world.verdict().await, rejected(Reason::Denied));
    for (phone, challenge) in [(&one, &mine), (&two, &theirs)] {
        assert_eq!(world.get(phone, "challenges").await.json["challenges"], serde_json::json!([]));
        assert_eq!(world.state(phone, challenge).await, "200 denied");
        let verify = world.decide(phone, challenge, Decision::Verify).await;
        assert_eq!((verify.short().as_str(), verify.json["state"].as_str()), ("409 challenge_closed", Some("denied")));
    }
    assert_eq!(world.login_ends().await, ["reject denied"]);
}

#[tokio::test]
async fn a_report_is_taken_for_ten_minutes_after_the_end() {
    let mut world = World::new().await;
    let phone = world.phone(world.ada).await;
    let challenge = world.asked(&phone).await;
    assert_eq!(world.decide(&phone, &challenge, Decision::Verify).await.short(), "200 approved");
    assert_eq!(world.verdict().await, Verdict::accept());
    let report = world.decide(&phone, &challenge, Decision::DenyReport).await;
    assert_eq!(report.short(), "200 approved", "the state does not change");
    assert_eq!(world.records("challenge.reported").await.len(), 1);
    assert_eq!(world.records("alert").await[0].reason.as_deref(), Some("reported"));
    // And the account is frozen.
    world.login("ada");
    assert_eq!(world.verdict().await, Verdict::Reject { reason: Reason::Limited, after_challenge: false });
    world.site.clock.advance(Duration::from_secs(600));
    assert_eq!(world.decide(&phone, &challenge, Decision::DenyReport).await.short(), "409 challenge_closed");
}

#[tokio::test]
async fn a_report_may_be_sent_again_like_any_decision() {
    let mut world = World::new().await;
    let phone = world.phone(world.ada).await;
    let challenge = world.asked(&phone).await;
    world.decide(&phone, &challenge, Decision::Deny).await;
    world.verdict().await;
    for _ in 0..2 {
        assert_eq!(world.decide(&phone, &challenge, Decision::DenyReport).await.short(), "200 denied");
    }
    assert_eq!(world.records("challenge.reported").await.len(), 1);
}

#[tokio::test]
async fn s02_a_collision_is_shown_as_what_it_is() {
    let mut world = World::new().await;
    let phone = world.phone(world.ada).await;
    let challenge = world.asked(&phone).await;
    world.login_from("ada", Some("203.0.113.9"));
    for _ in 0..2 {
        assert!(matches!(world.verdict().await, Verdict::Reject { reason: Reason::Collision, .. }));
    }
    assert_eq!(world.state(&phone, &challenge).await, "200 collision");
    let verify = world.decide(&phone, &challenge, Decision::Verify).await;
    assert_eq!((verify.short().as_str(), verify.json["state"].as_str()), ("409 challenge_closed", Some("collision")));
    assert_eq!(world.get(&phone, "history").await.json["logins"][0]["verdict"], "collision");
}

#[tokio::test]
async fn s05_what_a_device_gets_of_a_challenge_is_what_the_page_names() {
    let world = World::new().await;
    let phone = world.phone(world.ada).await;
    let challenge = world.asked(&phone).await;
    let context = phone.open(&challenge);
    assert_eq!(context.application.name, "VPN Zürich");
    assert_eq!((context.user.as_str(), context.protocol.as_str()), ("ada", "radius"));
    let list = world.get(&phone, "challenges").await.json;
    let names: Vec<_> = list["challenges"][0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["context", "id", "key", "nonce", "number_mode", "signature", "user_verification"]);
}

#[tokio::test]
async fn s23_a_code_typed_instead_must_be_six_digits() {
    use countersign_domain::{Credential, Door, HostileText, LoginRequest, RetryKey, Secret, Source};
    let mut world = World::new().await;
    let phone = world.phone(world.ada).await;
    let seed = phone.account().totp.as_ref().unwrap().secret.to_bytes().unwrap();
    let step = u64::try_from(world.now() / 30).unwrap();
    let right = countersign_domain::totp(&Secret::new(seed.to_vec()), step);
    let mut typed: Vec<String> = ["5", "٠١٢٣٤٥", "123456\0", "+12345"].map(str::to_owned).to_vec();
    typed.extend([format!(" {right}"), format!("{right} "), format!("0{right}"), right.clone()]);
    for code in typed {
        world.site.desk.login(LoginRequest {
            id: world.site.desk.new_login_id(),
            resource: world.resource.clone(),
            client: world.client,
            client_name: "nas".to_owned(),
            peer: [192, 0, 2, 1].into(),
            door: Door::Radius,
            user_typed: HostileText::from("ada"),
            credential: Credential::Password(Secret::new(code.clone().into_bytes())),
            source: Source::default(),
            retry: RetryKey::default(),
            state: None,
            forward: None,
        });
        assert_eq!(world.verdict().await == Verdict::accept(), code == right, "{code:?}");
    }
}
