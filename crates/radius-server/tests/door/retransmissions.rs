//! The same packet again, and other packets in its place (RFC 5080 section 2.2.2).

use core::time::Duration;

use countersign_desk::DecisionAnswer;
use countersign_domain::{Clock as _, ClosingState, Decision};
use countersign_radius::{AttributeType, Code};
use countersign_testkit::{Ask, NewResource};

use crate::house::{House, SILENCE, SOON};

#[tokio::test]
async fn s45_c010_retransmissions_make_one_challenge_and_get_one_answer() {
    let house = House::vpn(40).await;
    let mut phone = house.user("alice", None).await;
    let mut nas = house.nas(40).await;
    let packet = nas.pack(&Ask::login("alice"));
    for _ in 0..5 {
        nas.send(&packet).await;
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    house.settled(|house| house.counts().duplicates == 4).await;
    let challenge = phone.asked(&house.site.desk, SOON).await.unwrap();
    assert_eq!(nas.reply(&packet, SILENCE).await, None, "nothing while it is pending");
    phone.decide(&house.site.desk, &challenge, Decision::Verify).await;
    let first = nas.reply(&packet, SOON).await.expect("one answer");
    assert_eq!(first.code(), Code::AccessAccept);
    assert_eq!(nas.reply(&packet, SILENCE).await, None, "and one only");
    for _ in 0..5 {
        nas.send(&packet).await;
        assert_eq!(nas.reply(&packet, SOON).await.expect("the same again").octets, first.octets);
    }
    assert_eq!(house.challenges().await, 1);
    assert_eq!(house.site.ends().await, ["accept approved"]);
    assert_eq!((house.counts().cached_resent, house.counts().accepts), (5, 1));
    house.stop().await;
}

#[tokio::test]
async fn c009_a_lost_accept_is_sent_again_and_the_code_is_not_checked_again() {
    let house = House::vpn(41).await;
    let phone = house.user("alice", None).await;
    let mut nas = house.nas(41).await;
    let packet = nas.pack(&Ask::login("alice").password(phone.code(house.site.clock.now())));
    nas.send(&packet).await;
    let first = nas.reply(&packet, SOON).await.unwrap();
    assert_eq!(first.code(), Code::AccessAccept);
    nas.send(&packet).await;
    assert_eq!(nas.reply(&packet, SOON).await.unwrap().octets, first.octets);
    assert_eq!(house.site.ends().await, ["accept approved"]);
    house.stop().await;
}

#[tokio::test]
async fn a_retransmission_while_its_reject_is_delayed_gets_that_reject_once() {
    let house = House::vpn(42).await;
    let mut nas = house.nas(42).await;
    let packet = nas.pack(&Ask::login("nobody"));
    nas.send(&packet).await;
    nas.send(&packet).await;
    assert_eq!(nas.reply(&packet, SOON).await.unwrap().code(), Code::AccessReject);
    assert_eq!(nas.reply(&packet, SILENCE).await, None);
    assert_eq!(house.site.ends().await, ["reject user_unknown"]);
    house.stop().await;
}

#[tokio::test]
async fn c008_another_request_under_the_same_identifier_takes_the_place_of_the_first() {
    let house = House::vpn(43).await;
    let mut alice = house.user("alice", None).await;
    let mut bob = house.user("bob", None).await;
    let mut nas = house.nas(43).await;
    let first = nas.pack(&Ask::login("alice"));
    nas.send(&first).await;
    let of_alice = alice.asked(&house.site.desk, SOON).await.unwrap();
    let second = nas.pack_as(&Ask::login("bob"), first.identifier);
    nas.send(&second).await;
    house.decide(&mut bob, Decision::Verify).await;
    let reply = nas.reply(&second, SOON).await.expect("the newer one is answered");
    assert_eq!(reply.code(), Code::AccessAccept);
    let late = alice.decide(&house.site.desk, &of_alice, Decision::Verify).await;
    assert_eq!(late, DecisionAnswer::Closed(ClosingState::Superseded));
    assert_eq!(nas.reply(&first, SILENCE).await, None, "the older one is not");
    let mut ends = house.ends(2).await;
    ends.sort();
    assert_eq!(ends, ["accept approved", "unanswered superseded"]);
    house.stop().await;
}

#[tokio::test]
async fn a_replay_from_elsewhere_is_silent_and_recorded() {
    let house = House::vpn(44).await;
    let phone = house.user("alice", None).await;
    let mut nas = house.nas(44).await;
    let ask = Ask::login("alice")
        .password(phone.code(house.site.clock.now()))
        .with(AttributeType::CALLING_STATION_ID, "203.0.113.7");
    let packet = nas.pack(&ask);
    nas.send(&packet).await;
    assert_eq!(nas.reply(&packet, SOON).await.unwrap().code(), Code::AccessAccept);

    let mut thief = house.nas(45).await;
    for _ in 0..100 {
        thief.send(&packet).await;
    }
    assert_eq!(thief.reply(&packet, SILENCE).await, None);
    house.settled(|house| house.counts().replays == 100).await;
    let ends = house.ends(21).await;
    assert_eq!(ends.len(), 21, "a flood of them does not fill the audit");
    assert!(ends[1..].iter().all(|end| end == "unanswered replayed"), "{ends:?}");
    let audit = house.site.audit().await;
    let last = audit.last().unwrap();
    assert_eq!(last.source.as_deref(), Some(&b"203.0.113.7"[..]));
    assert_eq!(last.user_typed.as_deref(), Some(&b"alice"[..]));
    assert!(last.resource.is_some() && last.client.is_some() && last.door.as_deref() == Some("radius"));
    house.stop().await;
}

/// A request that a NAS repeats under a new identifier.
fn retry(port: u8) -> Ask {
    Ask::login("alice")
        .with(AttributeType::CALLING_STATION_ID, "203.0.113.7")
        .with(AttributeType::NAS_PORT, [0, 0, 0, port])
        .with(AttributeType::NAS_IDENTIFIER, "gateway")
}

#[tokio::test]
async fn c110_a_retry_takes_the_challenge_over_and_the_older_one_stays_silent() {
    let house = House::vpn(46).await;
    let mut phone = house.user("alice", None).await;
    let mut nas = house.nas(46).await;
    let older = nas.pack(&retry(1));
    nas.send(&older).await;
    let challenge = phone.asked(&house.site.desk, SOON).await.unwrap();
    let newer = nas.pack(&retry(1));
    nas.send(&newer).await;
    house.ends(1).await;
    phone.decide(&house.site.desk, &challenge, Decision::Verify).await;
    assert_eq!(nas.reply(&newer, SOON).await.unwrap().code(), Code::AccessAccept);
    assert_eq!(nas.reply(&older, SILENCE).await, None);
    assert_eq!(house.challenges().await, 1);
    assert_eq!(house.site.ends().await, ["unanswered superseded", "accept approved"]);
    house.stop().await;
}

#[tokio::test]
async fn an_older_request_that_is_heard_after_the_takeover_is_a_collision() {
    let house = House::vpn(47).await;
    let mut phone = house.user("alice", None).await;
    let mut nas = house.nas(47).await;
    let older = nas.pack(&retry(1));
    nas.send(&older).await;
    let challenge = phone.asked(&house.site.desk, SOON).await.unwrap();
    let newer = nas.pack(&retry(1));
    nas.send(&newer).await;
    house.ends(1).await;
    nas.send(&older).await;
    assert_eq!(nas.reply(&newer, SOON).await.unwrap().code(), Code::AccessReject);
    let late = phone.decide(&house.site.desk, &challenge, Decision::Verify).await;
    assert_eq!(late, DecisionAnswer::Closed(ClosingState::Collision));
    assert_eq!(house.site.ends().await, ["unanswered superseded", "reject collision"]);
    house.stop().await;
}

#[tokio::test]
async fn c111_before_the_client_gives_up_it_gets_its_reject_and_a_late_verify_is_told() {
    let house = House::bare(48).await;
    house.add(NewResource { answer_by: Duration::from_millis(300), ..NewResource::default() }).await;
    let mut phone = house.user("alice", None).await;
    let mut nas = house.nas(48).await;
    let packet = nas.pack(&Ask::login("alice"));
    nas.send(&packet).await;
    let challenge = phone.asked(&house.site.desk, SOON).await.unwrap();
    let reply = nas.reply(&packet, SOON).await.expect("an answer in time");
    assert_eq!(reply.code(), Code::AccessReject);
    let late = phone.decide(&house.site.desk, &challenge, Decision::Verify).await;
    assert_eq!(late, DecisionAnswer::Closed(ClosingState::Expired));
    assert_eq!(house.site.ends().await, ["reject expired"]);
    house.stop().await;
}
