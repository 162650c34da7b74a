//! Sign-ins with a number or a code, as a device sees them.

use std::sync::Arc;

use aws_lc_rs::digest;
use countersign_device_protocol::{
    encoding,
    ids::{DeviceTime, Number},
    messages::{Challenge, Decision, DecisionRequest, NumberMode},
};
use countersign_domain::{Credential, Methods, Question, Resource, Verdict};
use countersign_testkit::SoftPhone;
use futures_util::future::join_all;

use super::{Answer, World};

const CODE: Methods = Methods { code_to_phone: true, typed: false, totp: false };
const TYPED: Methods = Methods { code_to_phone: false, typed: true, totp: false };

impl World {
    /// A world whose client asks at a prompt, with a phone; the login of `ada` there, and what its prompt says.
    async fn prompted(methods: Methods) -> (Self, SoftPhone, Challenge, Question) {
        let mut world = Self::new().await;
        let mut resource = Resource::clone(&world.resource);
        resource.policy.prompt = Some(methods);
        world.resource = Arc::new(resource);
        let phone = world.phone(world.ada).await;
        let challenge = world.asked(&phone).await;
        let question = world.question().await;
        (world, phone, challenge, question)
    }

    async fn question(&mut self) -> Question {
        match self.verdict().await {
            Verdict::Ask(question) => question,
            other => panic!("not asked: {other:?}"),
        }
    }

    /// What becomes of an answer at the prompt.
    async fn typed(&mut self, question: &Question, credential: Credential) -> Verdict {
        self.login_as("ada", None, credential, Some(question.state.to_vec()));
        self.verdict().await
    }

    async fn type_number(&self, phone: &SoftPhone, challenge: &Challenge, number: &str) -> Answer {
        let unsigned = phone.decide(challenge, Decision::Verify);
        let decision = DecisionRequest { number: Some(Number::new(number).unwrap()), ..unsigned };
        self.hand_in(phone, challenge, &phone.sign(challenge, decision)).await
    }

    async fn hand_in(&self, phone: &SoftPhone, challenge: &Challenge, decision: &DecisionRequest) -> Answer {
        let body = serde_json::to_vec(decision).unwrap();
        self.send(phone, "POST", &format!("challenges/{}/decision", challenge.id), body).await
    }

    async fn challenge_state(&self, phone: &SoftPhone, challenge: &Challenge) -> String {
        self.get(phone, &format!("challenges/{}", challenge.id)).await.short()
    }
}

fn number_in(question: &Question) -> String {
    question.message.chars().filter(char::is_ascii_digit).collect()
}

fn hexadecimal(octets: &[u8]) -> String {
    octets
        .iter()
        .flat_map(|octet| [octet >> 4, octet & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

fn other_than(number: &str) -> String {
    let other = (number.parse::<u32>().unwrap() + 1) % 1_000_000;
    format!("{other:06}")
}

#[tokio::test]
async fn a_verify_shows_a_code_that_is_shown_again_to_the_same_verify_and_to_no_other() {
    let (mut world, phone, challenge, question) = World::prompted(CODE).await;
    let other = world.phone(world.ada).await;
    assert_eq!(challenge.number_mode, NumberMode::CodeToPhone);
    let decision = phone.decide(&challenge, Decision::Verify);
    let shown = world.hand_in(&phone, &challenge, &decision).await;
    assert_eq!((shown.status.as_u16(), &shown.json["state"]), (200, &"code_shown".into()));
    let code = shown.json["code"].as_str().unwrap().to_owned();
    assert_eq!(code.len(), 6);
    assert_eq!(world.challenge_state(&phone, &challenge).await, "200 code_shown");
    assert_eq!(world.get(&phone, "challenges").await.json["challenges"], serde_json::json!([]));
    // The same fields, under a fresh signature too.
    let again = phone.decide(&challenge, Decision::Verify);
    assert_eq!(world.hand_in(&phone, &challenge, &again).await.json, shown.json);
    // Other fields, and a device that came later.
    let later = DecisionRequest { device_time: DeviceTime::new("2027-01-15T08:00:08Z").unwrap(), ..decision };
    let later = world.hand_in(&phone, &challenge, &phone.sign(&challenge, later)).await;
    assert_eq!((later.short().as_str(), later.json["state"].as_str()), ("409 challenge_closed", Some("code_shown")));
    assert!(later.json.get("code").is_some_and(|code| code == "challenge_closed"));
    assert_eq!(world.decide(&other, &challenge, Decision::Verify).await.short(), "404 not_found");

    let right = Credential::Password(countersign_domain::Secret::new(code.into_bytes()));
    assert_eq!(world.typed(&question, right).await, Verdict::accept());
    assert_eq!(world.challenge_state(&phone, &challenge).await, "200 approved");
    assert_eq!(world.hand_in(&phone, &challenge, &again).await.short(), "200 approved", "a code is not told any more");
    let history = world.get(&phone, "history").await;
    assert_eq!(history.json["logins"][0]["verdict"], "approved");
}

#[tokio::test]
async fn while_a_code_is_shown_any_device_that_was_asked_can_deny() {
    let mut world = World::new().await;
    let mut resource = Resource::clone(&world.resource);
    resource.policy.prompt = Some(CODE);
    world.resource = Arc::new(resource);
    let (one, two) = (world.phone(world.ada).await, world.phone(world.ada).await);
    let challenge = world.asked(&one).await;
    let theirs = world.pending(&two).await;
    let question = world.question().await;
    let mut stream = world.listen(&two).await;
    stream.opened().await;
    let shown = world.decide(&one, &challenge, Decision::Verify).await;
    assert_eq!((shown.status.as_u16(), &shown.json["state"]), (200, &"code_shown".into()));
    let second = world.decide(&two, &theirs, Decision::Verify).await;
    assert_eq!((second.short().as_str(), second.json["state"].as_str()), ("409 challenge_closed", Some("code_shown")));
    assert_eq!(world.decide(&two, &theirs, Decision::Deny).await.short(), "200 denied");
    assert_eq!(stream.closed().await.as_str(), "denied");
    assert_eq!(world.challenge_state(&one, &challenge).await, "200 denied");
    let code = shown.json["code"].as_str().unwrap().as_bytes().to_vec();
    let late = world.typed(&question, Credential::Password(countersign_domain::Secret::new(code))).await;
    assert!(matches!(late, Verdict::Reject { .. }), "{late:?}");
}

#[tokio::test]
async fn s05_nothing_that_a_device_can_get_holds_the_number() {
    let (world, phone, challenge, question) = World::prompted(TYPED).await;
    let number = number_in(&question);
    let mut stream = world.listen(&phone).await;
    let mut texts = vec![
        serde_json::to_string(&challenge).unwrap(),
        String::from_utf8(challenge.context.as_bytes().to_vec()).unwrap(),
        serde_json::to_string(&stream.opened().await).unwrap(),
        world.get(&phone, &format!("challenges/{}", challenge.id)).await.json.to_string(),
        world.get(&phone, "challenges").await.json.to_string(),
        world.get(&phone, "history").await.json.to_string(),
        // What a push carries are identifiers.
        format!("{} {}", challenge.id, phone.account().account.id),
    ];
    let denied = world.hand_in(&phone, &challenge, &phone.decide(&challenge, Decision::Verify)).await;
    assert_eq!(denied.short(), "400 number_required");
    texts.push(denied.json.to_string());
    let wrong = world.type_number(&phone, &challenge, &other_than(&number)).await;
    assert_eq!(wrong.short(), "422 number_wrong");
    texts.push(wrong.json.to_string());
    texts.push(world.get(&phone, &format!("challenges/{}", challenge.id)).await.json.to_string());
    texts.push(format!("{:?}", world.site.audit().await));
    let (front, back) = number.split_at(3);
    let sha256 = digest::digest(&digest::SHA256, number.as_bytes());
    let sha1 = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, number.as_bytes());
    for text in texts {
        for form in [
            number.clone(),
            format!("{front} {back}"),
            encoding::encode(sha256.as_ref()),
            encoding::encode(sha1.as_ref()),
            hexadecimal(sha256.as_ref()),
            hexadecimal(sha1.as_ref()),
        ] {
            assert!(!text.contains(&form), "{form} in {text}");
        }
    }
}

#[tokio::test]
async fn s06_a_wrong_number_kills_the_challenge_and_of_many_at_once_one_is_looked_at() {
    let (mut world, phone, challenge, question) = World::prompted(TYPED).await;
    let number = number_in(&question);
    let guesses: Vec<String> = (0..200).map(|guess| format!("{guess:06}")).filter(|guess| *guess != number).collect();
    let answers = join_all(guesses.iter().map(|guess| world.type_number(&phone, &challenge, guess))).await;
    let short: Vec<String> = answers.iter().map(Answer::short).collect();
    assert_eq!(short.iter().filter(|short| *short == "422 number_wrong").count(), 1);
    assert_eq!(short.iter().filter(|short| *short == "409 challenge_closed").count(), guesses.len() - 1);
    let right = world.type_number(&phone, &challenge, &number).await;
    assert_eq!((right.short().as_str(), right.json["state"].as_str()), ("409 challenge_closed", Some("denied")));
    let late = world.typed(&question, Credential::None).await;
    assert!(matches!(late, Verdict::Reject { .. }), "{late:?}");
    assert_eq!(world.site.ends().await, ["reject code_wrong", "reject expired"]);
}

#[tokio::test]
async fn s07_a_number_goes_with_its_mode_only() {
    let (mut world, phone, challenge, question) = World::prompted(TYPED).await;
    let denial =
        DecisionRequest { number: Some(Number::new("123456").unwrap()), ..phone.decide(&challenge, Decision::Deny) };
    assert_eq!(world.hand_in(&phone, &challenge, &phone.sign(&challenge, denial)).await.short(), "400 malformed");
    // A decision that was signed as if the mode had no number.
    let plain = Challenge { number_mode: NumberMode::None, ..challenge.clone() };
    let downgraded = phone.decide(&plain, Decision::Verify);
    assert_eq!(world.hand_in(&phone, &challenge, &downgraded).await.short(), "422 signature_invalid");
    let number = number_in(&question);
    assert_eq!(world.type_number(&phone, &challenge, &number).await.short(), "200 approved");
    assert_eq!(world.type_number(&phone, &challenge, &number).await.short(), "200 approved", "the same again");
    assert_eq!(world.typed(&question, Credential::None).await, Verdict::accept());
    let records = world.records("challenge.approved").await;
    assert_eq!(records.len(), 1);

    let (world, phone, challenge, _) = World::prompted(CODE).await;
    assert_eq!(world.type_number(&phone, &challenge, "123456").await.short(), "400 malformed");
    assert_eq!(world.challenge_state(&phone, &challenge).await, "200 pending");
}
