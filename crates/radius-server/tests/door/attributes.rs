//! What is read of a request and what stands in a reply.

use countersign_domain::Decision;
use countersign_radius::{AttributeType, Code, vendor};
use countersign_testkit::{Ask, NewResource};

use crate::house::{DELAY, House, SECRET, SILENCE, SOON};

#[tokio::test]
async fn a_tap_lets_in_and_a_deny_does_not() {
    let house = House::vpn(1).await;
    let mut phone = house.user("alice", None).await;
    let mut nas = house.nas(1).await;
    for (decision, code) in [(Decision::Verify, Code::AccessAccept), (Decision::Deny, Code::AccessReject)] {
        let packet = nas.pack(&Ask::login("alice"));
        nas.send(&packet).await;
        house.decide(&mut phone, decision).await;
        let reply = nas.reply(&packet, SOON).await.expect("an answer");
        assert_eq!(reply.code(), code);
    }
    assert_eq!(house.ends(2).await, ["accept approved", "reject denied"]);
    let counts = house.counts();
    assert_eq!((counts.requests, counts.accepts, counts.rejects), (2, 1, 1));
    house.stop().await;
}

#[tokio::test]
async fn s40_every_kind_of_reply_begins_with_message_authenticator() {
    let house = House::bare(2).await;
    house.add(NewResource { require_message_authenticator: false, ..NewResource::default() }).await;
    let mut phone = house.user("alice", None).await;
    let mut nas = house.nas(2).await;
    let old_client = Ask::login("alice").without_message_authenticator();
    for (ask, decision, code) in [
        (Ask::login("alice"), Some(Decision::Verify), Code::AccessAccept),
        (old_client, Some(Decision::Verify), Code::AccessAccept),
        (Ask::login("alice"), Some(Decision::Deny), Code::AccessReject),
        (Ask::login("nobody"), None, Code::AccessReject),
        (Ask::login("nobody").without_message_authenticator(), None, Code::AccessReject),
        (Ask::status(), None, Code::AccessAccept),
    ] {
        let packet = nas.pack(&ask);
        nas.send(&packet).await;
        if let Some(decision) = decision {
            house.decide(&mut phone, decision).await;
        }
        let reply = nas.reply(&packet, SOON).await.expect("an answer");
        assert_eq!((reply.code(), reply.octets[20], reply.octets[21]), (code, 80, 18));
    }
    house.stop().await;
}

#[tokio::test]
async fn s53_c078_status_server_is_answered_with_message_authenticator_only_and_starts_nothing() {
    let house = House::bare(3).await;
    house.add(NewResource { require_message_authenticator: false, ..NewResource::default() }).await;
    let _phone = house.user("alice", None).await;
    let mut nas = house.nas(3).await;
    let full = Ask::status().with(AttributeType::USER_NAME, "alice").with(AttributeType::PROXY_STATE, "p");
    for ask in [Ask::status(), full] {
        let reply = nas.ask(&ask, SOON).await.expect("an answer");
        assert_eq!(reply.code(), Code::AccessAccept);
        assert_eq!(reply.octets.len(), 38, "nothing but Message-Authenticator");
    }
    // Also where a login may come without it.
    assert_eq!(nas.ask(&Ask::status().without_message_authenticator(), SILENCE).await, None);
    let mut forged = nas.pack(&Ask::status());
    *forged.octets.last_mut().unwrap() ^= 1;
    nas.send(&forged).await;
    assert_eq!(nas.reply(&forged, SILENCE).await, None);
    assert_eq!((house.challenges().await, house.site.ends().await.len()), (0, 0));
    assert_eq!((house.counts().status_server, house.counts().requests), (2, 0));
    house.stop().await;
}

#[tokio::test]
async fn s55_a_reply_echoes_proxy_state_and_nothing_else() {
    let house = House::vpn(4).await;
    let mut phone = house.user("alice", None).await;
    let mut nas = house.nas(4).await;
    let ask = Ask::login("alice")
        .with(AttributeType::PROXY_STATE, [1, 0, 1])
        .with_vendor(9, 1, "shell:priv-lvl=15")
        .with(AttributeType::CLASS, "admins")
        .with(AttributeType::FILTER_ID, "all")
        .with(AttributeType::PROXY_STATE, [2])
        .with(AttributeType::TUNNEL_PASSWORD, [0, 1, 2, 3])
        .with_vendor(vendor::MICROSOFT, vendor::MS_MPPE_SEND_KEY, [7; 32]);
    for decision in [Decision::Verify, Decision::Deny] {
        let packet = nas.pack(&ask);
        nas.send(&packet).await;
        house.decide(&mut phone, decision).await;
        let reply = nas.reply(&packet, SOON).await.expect("an answer");
        let behind = reply.view().iter().skip(1).map(|a| (a.kind, a.value.to_vec())).collect::<Vec<_>>();
        assert_eq!(
            behind,
            [(AttributeType::PROXY_STATE, vec![1, 0, 1]), (AttributeType::PROXY_STATE, vec![2])],
            "in their order"
        );
    }
    house.stop().await;
}

#[tokio::test]
async fn c001_attributes_of_one_kind_may_stand_apart() {
    let house = House::vpn(5).await;
    let mut phone = house.user("alice", None).await;
    let mut nas = house.nas(5).await;
    let ask = Ask::login("alice")
        .with(AttributeType::PROXY_STATE, [1])
        .with(AttributeType::NAS_PORT, [0, 0, 0, 9])
        .with(AttributeType::PROXY_STATE, [2]);
    let packet = nas.pack(&ask);
    nas.send(&packet).await;
    house.decide(&mut phone, Decision::Verify).await;
    assert_eq!(nas.reply(&packet, SOON).await.unwrap().code(), Code::AccessAccept);
    house.stop().await;
}

#[tokio::test]
async fn c017_names_are_taken_octet_for_octet_and_shown_with_their_source() {
    let house = House::vpn(6).await;
    let mut phone = house.user("kölbel", None).await;
    let mut nas = house.nas(6).await;
    let ask = Ask::login("KÖLBEL").with(AttributeType::CALLING_STATION_ID, "203.0.113.7");
    let packet = nas.pack(&ask);
    nas.send(&packet).await;
    let challenge = phone.asked(&house.site.desk, SOON).await.unwrap();
    let context = String::from_utf8(challenge.context.clone()).unwrap();
    assert!(context.contains(r#""user":"KÖLBEL""#) && context.contains(r#""address":"203.0.113.7""#), "{context}");
    phone.decide(&house.site.desk, &challenge, Decision::Verify).await;
    assert_eq!(nas.reply(&packet, SOON).await.unwrap().code(), Code::AccessAccept);

    // Latin-1 is nobody's name here, and the record keeps its octets.
    let reply = nas.ask(&Ask::login(b"k\xf6lbel"), SOON).await.unwrap();
    assert_eq!(reply.code(), Code::AccessReject);
    let audit = house.site.audit().await;
    let last = audit.iter().rev().find(|record| record.event == "login.ended").unwrap();
    assert_eq!(last.user_typed.as_deref(), Some(&b"k\xf6lbel"[..]));
    assert_eq!(last.reason.as_deref(), Some("user_unknown"));
    house.stop().await;
}

#[tokio::test]
async fn c020_a_state_that_is_not_ours_is_refused_with_its_reason() {
    let house = House::vpn(7).await;
    let phone = house.user("alice", None).await;
    let mut nas = house.nas(7).await;
    let code = phone.code(countersign_domain::Clock::now(&*house.site.clock));
    for ask in [
        Ask::login("alice").password(&code).with(AttributeType::STATE, [0xFF; 16]),
        Ask::login("alice").with(AttributeType::STATE, [1]).with(AttributeType::STATE, [2]),
        Ask::login("alice").with(AttributeType::STATE, []),
    ] {
        let reply = nas.ask(&ask, SOON).await.unwrap();
        assert!(reply.code() == Code::AccessReject && reply.after >= DELAY, "{:?}", reply.after);
    }
    house.ends(3).await;
    let audit = house.site.audit().await;
    let refused = audit.iter().filter(|record| record.event == "login.ended").collect::<Vec<_>>();
    let details: Vec<_> = refused.iter().map(|record| record.detail.clone().unwrap_or_default()).collect();
    assert_eq!(details, ["unknown_state", "several State attributes", "unknown_state"]);
    assert_eq!(house.challenges().await, 0);
    // The code was not burnt by it.
    assert_eq!(nas.ask(&Ask::login("alice").password(&code), SOON).await.unwrap().code(), Code::AccessAccept);
    house.stop().await;
}

#[tokio::test]
async fn the_shared_secret_may_be_longer_than_a_block() {
    let house = House::bare(8).await;
    let secret = "0123456789abcdefghijklmnopqrstu!".repeat(4);
    assert_eq!(secret.len(), 128);
    house.add(NewResource { secret: &secret, ..NewResource::default() }).await;
    let phone = house.user("alice", None).await;
    let mut nas = countersign_testkit::Nas::new(house.address, &secret, 8).await;
    let code = phone.code(countersign_domain::Clock::now(&*house.site.clock));
    assert_eq!(nas.ask(&Ask::login("alice").password(code), SOON).await.unwrap().code(), Code::AccessAccept);
    let mut other = countersign_testkit::Nas::new(house.address, SECRET, 9).await;
    assert_eq!(other.ask(&Ask::login("alice"), SILENCE).await, None);
    house.stop().await;
}
