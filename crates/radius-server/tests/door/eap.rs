//! EAP conversations between a NAS and servers, which are played here.

use core::time::Duration;
use std::net::SocketAddr;

use countersign_desk::{Exchange, Trouble, UpstreamAnswer};
use countersign_domain::{Clock as _, Decision, HostileText, Policy, UpstreamAttributes, Write};
use countersign_radius::{AttributeList, AttributeType, Code};
use countersign_testkit::{Ask, Nas, NewResource};

use crate::{
    house::{DELAY, SECRET, SILENCE, SOON},
    upstream::{Attributes, Relay},
};

const EAP: AttributeType = AttributeType::EAP_MESSAGE;
/// The identity `a`, with the identifier 7.
const IDENTITY: &[u8] = &[2, 7, 0, 6, 1, b'a'];

async fn wlan(seed: u64) -> Relay {
    Relay::with(seed, Policy { eap: true, ..Policy::default() }).await
}

fn server(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 1812))
}

fn octets(attributes: &[(AttributeType, &[u8])]) -> UpstreamAttributes {
    let mut list = AttributeList::new();
    for (kind, value) in attributes {
        list.push(*kind, value).unwrap();
    }
    UpstreamAttributes::new(list.octets().to_vec())
}

fn round(state: &[u8], eap: &[&[u8]], from: u8) -> UpstreamAnswer {
    let parts = eap.iter().map(|part| (EAP, *part));
    let attributes: Vec<_> = parts.chain([(AttributeType::STATE, state)]).collect();
    UpstreamAnswer::Round { attributes: octets(&attributes), state: state.to_vec(), server: server(from) }
}

fn accept(user: Option<&str>) -> UpstreamAnswer {
    let attributes = octets(&[(EAP, &[3, 7, 0, 4]), (AttributeType::CLASS, b"of the accept")]);
    UpstreamAnswer::Accept { attributes, user: user.map(HostileText::from) }
}

fn ask(user: &str, eap: &[u8]) -> Ask {
    Ask::login(user).with(EAP, eap)
}

fn behind_message_authenticator(reply: &countersign_testkit::Reply) -> Attributes {
    reply.view().iter().skip(1).map(|one| (one.kind.0, one.value.to_vec())).collect()
}

impl Relay {
    /// What is asked gets this kind of answer within the usual time, and its EAP says Failure to the identifier 7.
    async fn told(&mut self, ask: &Ask) -> Duration {
        let reply = self.nas.ask(ask, SOON).await.unwrap();
        assert_eq!(reply.code(), Code::AccessReject);
        assert_eq!(behind_message_authenticator(&reply), [(79, vec![4, 7, 0, 4])]);
        reply.after
    }

    fn exchange(&self) -> Exchange {
        self.played.sent_on.lock().unwrap().last().unwrap().exchange
    }

    async fn details(&self) -> Vec<String> {
        let ended = self.house.site.audit().await;
        ended.into_iter().filter(|one| one.event == "login.ended").map(|one| one.detail.unwrap_or_default()).collect()
    }
}

#[tokio::test]
async fn c050_s51_rounds_pass_octet_for_octet_and_the_end_asks_the_phone() {
    let mut at = wlan(1).await;
    // A packet of 600 octets in parts that are not as long as they could be, and what else came.
    let mut packet = vec![0x0d; 600];
    packet[..4].copy_from_slice(&[1, 8, 2, 88]);
    let parts: Vec<&[u8]> = packet.chunks(250).collect();
    let mut question: Vec<(AttributeType, &[u8])> = vec![(AttributeType::SESSION_TIMEOUT, &[0, 0, 0, 30])];
    question.extend(parts.iter().map(|part| (EAP, *part)));
    question.extend([(AttributeType::STATE, &b"theirs"[..]), (AttributeType(250), b"unknown")]);
    let attributes = octets(&question);
    at.says(UpstreamAnswer::Round { attributes, state: b"theirs".to_vec(), server: server(1) });
    let identity = ask("alice", IDENTITY).with(AttributeType::PROXY_STATE, "p");
    let reply = at.nas.ask(&identity, SOON).await.unwrap();
    assert_eq!(reply.code(), Code::AccessChallenge);
    assert!(reply.after < Duration::from_millis(500), "{:?}", reply.after);
    let mut expected: Attributes = question.iter().map(|(kind, value)| (kind.0, value.to_vec())).collect();
    expected.push((33, b"p".to_vec()));
    assert_eq!(behind_message_authenticator(&reply), expected);
    assert_eq!(at.exchange(), Exchange::Eap { with: None });
    let (sent, password) = at.sent_on();
    assert_eq!(sent, [(1, b"alice".to_vec()), (79, IDENTITY.to_vec()), (33, b"p".to_vec())]);
    assert_eq!(password, None);

    // The peer's answer in two parts, with the State; its end.
    at.says(accept(Some("alice")));
    let mut answer = vec![9; 300];
    answer[..4].copy_from_slice(&[2, 8, 1, 44]);
    let last =
        Ask::login("alice").with(AttributeType::STATE, "theirs").with(EAP, &answer[..253]).with(EAP, &answer[253..]);
    let came_back = at.accepted(&last).await;
    assert_eq!(came_back, [(79, vec![3, 7, 0, 4]), (25, b"of the accept".to_vec())]);
    assert_eq!(at.exchange(), Exchange::Eap { with: Some(server(1)) });
    let expected =
        [(1, b"alice".to_vec()), (24, b"theirs".to_vec()), (79, answer[..253].to_vec()), (79, answer[253..].to_vec())];
    assert_eq!(at.sent_on().0, expected);
    assert_eq!(at.house.ends(1).await, ["accept approved"], "rounds leave no record");
    at.house.stop().await;
}

#[tokio::test]
async fn c051_an_acknowledgement_of_eap_tls_keeps_its_octet_of_flags_both_ways() {
    let mut at = wlan(2).await;
    at.says(round(b"s", &[&[1, 9, 0, 6, 13, 0]], 1));
    let reply = at.nas.ask(&ask("alice", &[2, 8, 0, 6, 13, 0]), SOON).await.unwrap();
    assert_eq!(behind_message_authenticator(&reply)[0], (79, vec![1, 9, 0, 6, 13, 0]));
    assert_eq!(at.sent_on().0[1], (79, vec![2, 8, 0, 6, 13, 0]));
    at.house.stop().await;
}

#[tokio::test]
async fn s45_a_round_that_is_sent_again_is_asked_once_and_gets_the_same_octets() {
    let mut at = wlan(3).await;
    at.says(round(b"s", &[&[1, 8, 0, 5, 25]], 1));
    let packet = at.nas.pack(&ask("alice", IDENTITY));
    at.nas.send(&packet).await;
    let first = at.nas.reply(&packet, SOON).await.unwrap();
    at.nas.send(&packet).await;
    assert_eq!(at.nas.reply(&packet, SOON).await.unwrap().octets, first.octets);
    assert_eq!(at.played.sent_on.lock().unwrap().len(), 1);
    at.house.stop().await;
}

#[tokio::test]
async fn eap_identity_unproven_unless_the_accept_names_the_user() {
    let mut at = wlan(4).await;
    let _other = at.house.user("bob", None).await;
    for (outer, named) in [("ALICE", "alice"), ("", "alice"), ("Anonymous@example.com", "Alice")] {
        at.says(accept(Some(named)));
        at.accepted(&ask(outer, IDENTITY)).await;
    }
    assert!(at.house.ends(3).await.iter().all(|end| end == "accept approved"));
    let said = [
        ("mallory", Some("alice"), "eap_identity_unproven", "other_name: alice"),
        ("bob", Some("alice"), "eap_identity_unproven", "other_name: alice"),
        ("alice@example.com", Some("alice"), "eap_identity_unproven", "other_name: alice"),
        ("alice", None, "eap_identity_unproven", "no_name"),
        ("anonymous", None, "eap_identity_unproven", "no_name"),
        ("anonymous", Some("anonymous"), "eap_identity_unproven", "anonymous_name"),
        ("anonymous@example.com", Some("anonymous@example.com"), "eap_identity_unproven", "anonymous_name"),
        ("alice", Some(""), "eap_identity_unproven", "anonymous_name"),
        ("anonymous", Some("nobody"), "user_unknown", ""),
    ];
    for (outer, named, _, _) in said {
        at.says(accept(named));
        assert!(at.told(&ask(outer, IDENTITY)).await >= DELAY);
    }
    let (ends, details) = (at.house.ends(12).await, at.details().await);
    for (index, (.., reason, detail)) in said.iter().enumerate() {
        assert_eq!((ends[index + 3].as_str(), details[index + 3].as_str()), (&*format!("reject {reason}"), *detail));
    }
    assert_eq!(at.house.challenges().await, 3);
    at.house.stop().await;
}

#[tokio::test]
async fn s51_s52_every_end_is_a_failure_in_eap_and_looks_like_any_other() {
    let mut at = wlan(5).await;
    let trouble = Trouble { word: "upstream_silent", text: String::new() };
    let mut looks = Vec::new();
    let answers = [
        UpstreamAnswer::Reject,
        UpstreamAnswer::Loop,
        UpstreamAnswer::Challenge,
        UpstreamAnswer::Unavailable(trouble),
        accept(Some("nobody")),
    ];
    for answer in answers {
        at.says(answer);
        let reply = at.nas.ask(&ask("anonymous", IDENTITY), SOON).await.unwrap();
        assert!((DELAY..DELAY * 2).contains(&reply.after), "{:?}", reply.after);
        looks.push(reply.without_authenticators());
    }
    assert!(looks.iter().all(|look| *look == looks[0]));
    let ends = at.house.ends(5).await;
    let reasons = ["password_wrong", "loop", "account_refused", "unavailable", "user_unknown"];
    assert!(ends.iter().zip(reasons).all(|(end, reason)| *end == format!("reject {reason}")), "{ends:?}");
    assert_eq!(at.house.challenges().await, 0);

    // Somebody was asked: at once, and the same octets.
    at.says(accept(Some("alice")));
    let packet = at.nas.pack(&ask("alice", IDENTITY));
    at.nas.send(&packet).await;
    at.house.decide(&mut at.phone, Decision::Deny).await;
    let denied = at.nas.reply(&packet, SOON).await.unwrap();
    assert!(denied.after < DELAY && denied.without_authenticators() == looks[0]);
    at.house.stop().await;
}

#[tokio::test]
async fn s46_s51_a_state_is_good_once_where_it_was_given_and_to_its_server() {
    let mut at = wlan(6).await;
    at.says(round(b"theirs", &[&[1, 8, 0, 5, 25]], 4));
    at.nas.ask(&ask("alice", IDENTITY), SOON).await.unwrap();
    let next = |user: &str, state: &str| ask(user, IDENTITY).with(AttributeType::STATE, state);

    // Another client, another name, a State that nobody gave, and one that answers no EAP.
    let site = &at.house.site;
    let elsewhere = NewResource {
        name: "elsewhere",
        secret: "another secret of another client",
        networks: &["127.0.0.9/32"],
        ..NewResource::default()
    };
    let (_, mut client) = site.rows(elsewhere);
    let table = site.desk.resources().borrow().clone();
    client.resource = table.find([127, 0, 0, 1].into()).unwrap().resource.id;
    site.write(Write::AddClient(Box::new(client))).await;
    let mut other = Nas::at([127, 0, 0, 9].into(), at.house.address, "another secret of another client", 9).await;
    at.house.settled(|house| house.figures.clients().len() == 2).await;
    assert_eq!(other.ask(&next("alice", "theirs"), SOON).await.unwrap().code(), Code::AccessReject);
    at.told(&next("bob", "theirs")).await;
    at.told(&next("alice", "nobody's")).await;
    let typed = Ask::login("alice").with(AttributeType::STATE, "theirs").password("123456");
    assert_eq!(at.nas.ask(&typed, SOON).await.unwrap().code(), Code::AccessReject);
    assert_eq!(at.played.sent_on.lock().unwrap().len(), 1, "none of it went on");
    assert_eq!(at.details().await, ["foreign_state", "foreign_state", "unknown_state", "unknown_state"]);

    // Where it belongs it is still good, once.
    at.says(round(b"next", &[&[1, 9, 0, 5, 25]], 4));
    let reply = at.nas.ask(&next("alice", "theirs"), SOON).await.unwrap();
    assert_eq!(reply.code(), Code::AccessChallenge);
    assert_eq!(at.exchange(), Exchange::Eap { with: Some(server(4)) });
    at.told(&next("alice", "theirs")).await;
    assert!(at.house.site.clock.now().as_seconds() > 0);
    assert_eq!(at.played.sent_on.lock().unwrap().len(), 2);
    at.house.stop().await;
}

#[tokio::test]
async fn s51_a_state_of_a_prompt_is_none_of_a_conversation() {
    let methods = countersign_domain::Methods { code_to_phone: false, typed: false, totp: true };
    let mut at = Relay::with(7, Policy { eap: true, prompt: Some(methods), ..Policy::default() }).await;
    at.accepts(&[], None);
    let asked = at.nas.ask(&Ask::login("alice").password("right"), SOON).await.unwrap();
    assert_eq!(asked.code(), Code::AccessChallenge);
    let state = asked.view().attribute(AttributeType::STATE).unwrap().to_vec();
    at.told(&ask("alice", IDENTITY).with(AttributeType::STATE, &state)).await;
    // And the prompt still waits for its own answer.
    let wrong = Ask::login("alice").password("000000").with(AttributeType::STATE, &state);
    assert_eq!(at.nas.ask(&wrong, SOON).await.unwrap().code(), Code::AccessChallenge);
    at.house.stop().await;
}

#[tokio::test]
async fn c075_malformed_eap_is_rejected_and_nobody_is_asked() {
    let mut at = wlan(8).await;
    at.says(accept(Some("alice")));
    let bad: [&[u8]; 9] = [
        &[],
        &[2],
        &[2, 7, 0],
        &[2, 7, 0, 4],
        &[2, 7, 0, 7, 1, b'a'],
        &[2, 7, 0, 5, 1, b'a'],
        &[1, 7, 0, 6, 1, b'a'],
        &[3, 7, 0, 4],
        &[9, 7, 0, 6, 1, b'a'],
    ];
    for eap in bad {
        let reply = at.nas.ask(&ask("alice", eap), SOON).await.unwrap();
        assert_eq!((reply.code(), behind_message_authenticator(&reply)), (Code::AccessReject, vec![]), "{eap:?}");
    }
    let scattered =
        Ask::login("alice").with(EAP, &IDENTITY[..3]).with(AttributeType::CLASS, "c").with(EAP, &IDENTITY[3..]);
    let two = ask("alice", IDENTITY).password("right");
    for ask in [scattered, two] {
        assert_eq!(at.nas.ask(&ask, SOON).await.unwrap().code(), Code::AccessReject);
    }
    let ends = at.house.ends(11).await;
    assert!(ends.iter().all(|end| end == "reject password_wrong"), "{ends:?}");
    assert_eq!(at.house.challenges().await, 0);
    assert_eq!(at.played.sent_on.lock().unwrap().len(), 0);
    at.house.stop().await;
}

#[tokio::test]
async fn c075_s51_eap_without_message_authenticator_is_dropped() {
    let at = wlan(9).await;
    let mut nas = Nas::new(at.house.address, SECRET, 3).await;
    let packet = nas.pack(&ask("alice", IDENTITY).without_message_authenticator());
    nas.send(&packet).await;
    assert_eq!(nas.reply(&packet, SILENCE).await, None);
    assert!(at.house.site.ends().await.is_empty());
    assert_eq!(at.played.sent_on.lock().unwrap().len(), 0);
    at.house.stop().await;
}

#[tokio::test]
async fn s51_where_eap_is_off_a_peer_is_told_at_the_first_word() {
    let mut at = Relay::with(10, Policy::default()).await;
    at.says(accept(Some("alice")));
    at.told(&ask("alice", IDENTITY)).await;
    assert!(at.details().await[0].contains("EAP is not on"));
    assert_eq!(at.played.sent_on.lock().unwrap().len(), 0);
    at.house.stop().await;
}

#[tokio::test]
async fn s51_a_question_that_does_not_fit_ends_the_conversation() {
    let mut at = wlan(11).await;
    let mut packet = vec![0; 3900];
    packet[..4].copy_from_slice(&[1, 8, 0x0f, 0x3c]);
    let parts: Vec<&[u8]> = packet.chunks(253).collect();
    at.says(round(b"s", &parts, 1));
    assert_eq!(at.nas.ask(&ask("alice", IDENTITY), SOON).await.unwrap().code(), Code::AccessChallenge);
    let much = ask("alice", IDENTITY).with(AttributeType::PROXY_STATE, [7; 253]);
    let reply = at.nas.ask(&much, SOON).await.unwrap();
    assert_eq!(reply.code(), Code::AccessReject);
    assert_eq!(reply.view().attribute(EAP), Some(&[4, 7, 0, 4][..]));
    at.house.stop().await;
}
