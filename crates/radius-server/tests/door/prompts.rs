//! Access-Challenge, and CHAP.

use core::time::Duration;

use countersign_domain::{Clock as _, Decision, Methods, Primary, Secret, Write};
use countersign_radius::{AttributeType, Code, Identifier};
use countersign_testkit::{Ask, Nas, NewResource, Reply, SoftDevice};
use md5::{Digest as _, Md5};

use crate::house::{DELAY, House, SILENCE, SOON};

const CODE: Methods = Methods { code_to_phone: true, typed: false, totp: false };
const TYPED: Methods = Methods { code_to_phone: false, typed: true, totp: false };

/// A server with a resource that asks, and a user with a phone.
async fn portal(seed: u64, methods: Methods, answer_by: u64) -> (House, SoftDevice, Nas) {
    let house = House::bare(seed).await;
    let new = NewResource {
        primary: Primary::Local,
        prompt: Some(methods),
        answer_by: Duration::from_secs(answer_by),
        ..NewResource::default()
    };
    house.add(new).await;
    let phone = house.user("alice", Some("correct horse")).await;
    let nas = house.nas(seed).await;
    (house, phone, nas)
}

fn first() -> Ask {
    Ask::login("alice").password("correct horse")
}

fn answer(question: &Reply, text: &str) -> Ask {
    Ask::login("alice").password(text).with(AttributeType::STATE, state(question))
}

fn state(question: &Reply) -> Vec<u8> {
    assert_eq!(question.code(), Code::AccessChallenge);
    question.view().one(AttributeType::STATE).unwrap().unwrap().to_vec()
}

fn message(question: &Reply) -> String {
    let view = question.view();
    String::from_utf8(view.one(AttributeType::REPLY_MESSAGE).unwrap().unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn c018_c024_a_challenge_has_one_state_one_message_and_says_what_may_be_seen() {
    let (house, mut phone, mut nas) = portal(70, CODE, 10).await;
    let ask = first().with(AttributeType::PROXY_STATE, "a").with(AttributeType::PROXY_STATE, "b");
    let packet = nas.pack(&ask);
    nas.send(&packet).await;
    let question = nas.reply(&packet, SOON).await.unwrap();
    assert!(question.after < DELAY);
    let view = question.view();
    let kinds: Vec<_> = view.iter().map(|attribute| attribute.kind.0).collect();
    // Message-Authenticator, Reply-Message, State, Prompt, Proxy-State (RFC 2865 section 4.4).
    assert_eq!(kinds, [80, 18, 24, 76, 33, 33]);
    assert_eq!((state(&question).len(), view.attribute(AttributeType::PROMPT).unwrap()), (16, &[0, 0, 0, 1][..]));
    assert!(message(&question).contains("six digits"));
    assert_eq!(view.attributes(AttributeType::PROXY_STATE).collect::<Vec<_>>(), [b"a", b"b"]);
    // Sent again, the same octets and no second push.
    nas.send(&packet).await;
    assert_eq!(nas.reply(&packet, SOON).await.unwrap().octets, question.octets);
    let challenge = phone.asked(&house.site.desk, SOON).await.unwrap();
    let code = phone.code_for(&house.site.desk, &challenge).await;
    let packet = nas.pack(&answer(&question, &code));
    nas.send(&packet).await;
    let accept = nas.reply(&packet, SOON).await.unwrap();
    assert_eq!(accept.code(), Code::AccessAccept);
    // And so is the answer.
    nas.send(&packet).await;
    assert_eq!(nas.reply(&packet, SOON).await.unwrap().octets, accept.octets);
    assert_eq!((house.ends(1).await, house.challenges().await), (vec!["accept approved".to_owned()], 1));
    let counts = house.counts();
    assert_eq!((counts.challenges, counts.accepts, counts.cached_resent), (1, 1, 2));
    house.stop().await;
}

#[tokio::test]
async fn a_wrong_code_is_asked_again_at_once_and_the_second_one_rejected_at_once() {
    let (house, mut phone, mut nas) = portal(71, CODE, 10).await;
    let question = nas.ask(&first(), SOON).await.unwrap();
    let challenge = phone.asked(&house.site.desk, SOON).await.unwrap();
    let code = phone.code_for(&house.site.desk, &challenge).await;
    let wrong = if code == "000000" { "000001" } else { "000000" };
    let again = nas.ask(&answer(&question, wrong), SOON).await.unwrap();
    assert_ne!(state(&again), state(&question));
    let end = nas.ask(&answer(&again, wrong), SOON).await.unwrap();
    assert!(end.code() == Code::AccessReject && end.after < DELAY, "a reject after a challenge is not delayed");
    assert_eq!(end.view().iter().count(), 1, "it says nothing");
    assert_eq!(house.ends(1).await, ["reject code_wrong"]);
    house.stop().await;
}

#[tokio::test]
async fn s46_a_state_is_for_one_answer_from_its_own_client_address_and_name() {
    let (house, mut phone, mut nas) = portal(72, CODE, 10).await;
    let other = NewResource {
        name: "other",
        secret: "another secret of another client",
        networks: &["127.0.0.2/32"],
        primary: Primary::Local,
        prompt: Some(CODE),
        ..NewResource::default()
    };
    house.add(other).await;
    let mut elsewhere = Nas::at([127, 0, 0, 2].into(), house.address, other.secret, 73).await;
    let question = nas.ask(&first(), SOON).await.unwrap();
    let challenge = phone.asked(&house.site.desk, SOON).await.unwrap();
    let code = phone.code_for(&house.site.desk, &challenge).await;
    let mut flipped = state(&question);
    flipped[0] ^= 0x80;
    let named = |name: &str| Ask::login(name).password(&code).with(AttributeType::STATE, state(&question));
    let packets = [
        nas.pack(&named("bob")),
        nas.pack(&named("Alice")),
        nas.pack(&Ask::nobody().password(&code).with(AttributeType::STATE, state(&question))),
        nas.pack(&Ask::login("alice").password(&code).with(AttributeType::STATE, &flipped)),
    ];
    for packet in &packets {
        nas.send(packet).await;
    }
    let stolen = elsewhere.pack(&answer(&question, &code));
    elsewhere.send(&stolen).await;
    for packet in &packets {
        assert_eq!(nas.reply(packet, SOON).await.unwrap().code(), Code::AccessReject);
    }
    assert_eq!(elsewhere.reply(&stolen, SOON).await.unwrap().code(), Code::AccessReject);
    // Two at once: one is let in. Another port of the same address is the same client.
    let mut same = house.nas(74).await;
    let (one, two) = (nas.pack(&answer(&question, &code)), same.pack(&answer(&question, &code)));
    nas.send(&one).await;
    same.send(&two).await;
    let mut codes = [nas.reply(&one, SOON).await.unwrap().code(), same.reply(&two, SOON).await.unwrap().code()];
    codes.sort_by_key(|code| code.octet());
    assert_eq!(codes, [Code::AccessAccept, Code::AccessReject]);
    assert_eq!(nas.ask(&answer(&question, &code), SOON).await.unwrap().code(), Code::AccessReject, "after success");
    let audit = house.site.audit().await;
    let mut details: Vec<_> = audit.iter().filter_map(|record| record.detail.as_deref()).collect();
    details.sort_unstable();
    assert_eq!(
        details,
        [
            "foreign_state",
            "foreign_state",
            "foreign_state",
            "foreign_state",
            "unknown_state",
            "unknown_state",
            "unknown_state"
        ]
    );
    house.stop().await;
}

#[tokio::test]
async fn s05_c047_the_number_is_shown_at_the_prompt_before_the_phone_has_decided() {
    let (house, mut phone, mut nas) = portal(75, TYPED, 30).await;
    let question = nas.ask(&first(), SOON).await.unwrap();
    let number: String = message(&question).chars().filter(char::is_ascii_digit).collect();
    assert_eq!(number.len(), 6);
    let challenge = phone.asked(&house.site.desk, SOON).await.unwrap();
    assert!(!String::from_utf8_lossy(&challenge.context).contains(&number));
    // The answer waits; its retransmissions are silent.
    let waiting = nas.pack(&answer(&question, "x"));
    nas.send(&waiting).await;
    nas.send(&waiting).await;
    assert_eq!(nas.reply(&waiting, SILENCE).await, None);
    phone.type_number(&house.site.desk, &challenge, &number).await;
    let accept = nas.reply(&waiting, SOON).await.unwrap();
    assert_eq!((accept.code(), accept.view().iter().count()), (Code::AccessAccept, 1), "no number in an Accept");
    house.stop().await;
}

#[tokio::test]
async fn c111_before_a_client_gives_up_it_is_asked_again() {
    let (house, mut phone, mut nas) = portal(76, TYPED, 1).await;
    let question = nas.ask(&first(), SOON).await.unwrap();
    let again = nas.ask(&answer(&question, ""), SOON).await.unwrap();
    assert!(again.after >= Duration::from_secs(1), "{:?}", again.after);
    assert!(message(&again).starts_with("Not confirmed yet"));
    let challenge = phone.asked(&house.site.desk, SOON).await.unwrap();
    let number: String = message(&again).chars().filter(char::is_ascii_digit).collect();
    phone.type_number(&house.site.desk, &challenge, &number).await;
    assert_eq!(nas.ask(&answer(&again, ""), SOON).await.unwrap().code(), Code::AccessAccept);
    house.stop().await;
}

#[tokio::test]
async fn c008_an_answer_whose_place_is_used_again_ends_its_login() {
    let (house, mut phone, mut nas) = portal(77, TYPED, 30).await;
    let question = nas.ask(&first(), SOON).await.unwrap();
    let challenge = phone.asked(&house.site.desk, SOON).await.unwrap();
    let waiting = nas.pack_as(&answer(&question, ""), Identifier(200));
    nas.send(&waiting).await;
    house.settled(|house| house.counts().requests == 2).await;
    let newer = nas.pack_as(&first(), Identifier(200));
    nas.send(&newer).await;
    assert_eq!(nas.reply(&newer, SOON).await.unwrap().code(), Code::AccessChallenge);
    let number: String = message(&question).chars().filter(char::is_ascii_digit).collect();
    let late = phone.type_number(&house.site.desk, &challenge, &number).await;
    assert!(matches!(late, countersign_desk::DecisionAnswer::Closed(_)), "{late:?}");
    assert_eq!(house.ends(1).await, ["unanswered superseded"]);
    house.stop().await;
}

#[tokio::test]
async fn c025_a_client_without_a_prompt_is_never_sent_a_challenge() {
    let house = House::bare(78).await;
    house.add(NewResource { primary: Primary::Local, ..NewResource::default() }).await;
    let mut phone = house.user("alice", Some("correct horse")).await;
    let mut nas = house.nas(78).await;
    let packet = nas.pack(&first());
    nas.send(&packet).await;
    house.decide(&mut phone, Decision::Verify).await;
    assert_eq!(nas.reply(&packet, SOON).await.unwrap().code(), Code::AccessAccept);
    assert_eq!(house.counts().challenges, 0);
    house.stop().await;
}

/// CHAP-Password for a challenge (RFC 2865 section 5.3).
fn chap(identifier: u8, password: &str, challenge: &[u8]) -> Vec<u8> {
    let digest = Md5::new().chain_update([identifier]).chain_update(password).chain_update(challenge).finalize();
    [&[identifier][..], &digest].concat()
}

#[tokio::test]
async fn chap_is_for_users_whose_password_is_kept() {
    let house = House::bare(79).await;
    house.add(NewResource { primary: Primary::Local, ..NewResource::default() }).await;
    let mut phone = house.user("alice", Some("correct horse")).await;
    let mut nas = house.nas(79).await;
    let ask = |password: &str| {
        Ask::login("alice")
            .with(AttributeType::CHAP_PASSWORD, chap(7, password, b"sixteen octets.."))
            .with(AttributeType::CHAP_CHALLENGE, b"sixteen octets..")
    };
    assert_eq!(nas.ask(&ask("correct horse"), SOON).await.unwrap().code(), Code::AccessReject);
    let details: Vec<_> = house.site.audit().await.into_iter().filter_map(|record| record.detail).collect();
    assert_eq!(details, ["chap_not_enabled"]);
    let secret = Some(Secret::new(b"correct horse".to_vec()));
    house.site.write(Write::SetChapSecret { user: phone.user, secret }).await;
    assert_eq!(nas.ask(&ask("correct house"), SOON).await.unwrap().code(), Code::AccessReject);
    let packet = nas.pack(&ask("correct horse"));
    nas.send(&packet).await;
    house.decide(&mut phone, Decision::Verify).await;
    assert_eq!(nas.reply(&packet, SOON).await.unwrap().code(), Code::AccessAccept);
    // Where there is no CHAP-Challenge the Request Authenticator is the challenge.
    let plain = nas.pack(&Ask::login("alice"));
    let value = chap(9, "correct horse", plain.authenticator.octets());
    let packet = nas.pack_with(&Ask::login("alice").with(AttributeType::CHAP_PASSWORD, value), &plain);
    nas.send(&packet).await;
    house.decide(&mut phone, Decision::Verify).await;
    assert_eq!(nas.reply(&packet, SOON).await.unwrap().code(), Code::AccessAccept);
    house.stop().await;
}

#[tokio::test]
async fn s53_status_server_asks_nobody_while_prompts_are_open() {
    let (house, _phone, mut nas) = portal(80, CODE, 10).await;
    nas.ask(&first(), SOON).await.unwrap();
    let status = nas.ask(&Ask::status().with(AttributeType::USER_NAME, "alice"), SOON).await.unwrap();
    assert_eq!((status.code(), status.view().iter().count()), (Code::AccessAccept, 1));
    assert_eq!((house.challenges().await, house.counts().requests), (1, 1));
    house.stop().await;
}

#[tokio::test]
async fn s20_codes_at_many_prompts_are_counted_together() {
    let totp = Methods { code_to_phone: false, typed: false, totp: true };
    let (house, phone, mut nas) = portal(81, totp, 10).await;
    let mut looked_at = 0;
    for round in 0..6 {
        let mut question = nas.ask(&first(), SOON).await.unwrap();
        for guess in 0..2 {
            if question.code() != Code::AccessChallenge {
                break;
            }
            looked_at += 1;
            question = nas.ask(&answer(&question, &format!("00{round}00{guess}")), SOON).await.unwrap();
        }
        assert_eq!(question.code(), Code::AccessReject);
    }
    assert_eq!(looked_at, 5);
    let code = phone.code(house.site.clock.now());
    let appended = nas.ask(&Ask::login("alice").password(format!("correct horse,{code}")), SOON).await.unwrap();
    assert_eq!(appended.code(), Code::AccessReject, "a right one too, while paused");
    house.stop().await;
}
