//! Which credentials are taken, and which are refused before anything is asked.

use countersign_domain::{Clock as _, Decision, Primary};
use countersign_radius::{AttributeType, Authenticator, Code, Identifier, vendor};
use countersign_testkit::{Ask, Nas, NewResource};

use crate::house::{DELAY, House, SILENCE, SOON};

/// An Access-Request whose credentials are given as they stand on the wire, under an authenticator of zeros and `nth`.
async fn raw(nas: &mut Nas, attributes: &[(AttributeType, &[u8])], with_vendor: bool) -> countersign_testkit::Packet {
    let mut ask = Ask::login("alice");
    for (kind, value) in attributes {
        ask = ask.with(*kind, value);
    }
    if with_vendor {
        ask = ask.with_vendor(vendor::MICROSOFT, vendor::MS_CHAP_CHALLENGE, [3; 16]).with_vendor(
            vendor::MICROSOFT,
            vendor::MS_CHAP2_RESPONSE,
            [4; 50],
        );
    }
    let packet = nas.pack(&ask);
    nas.send(&packet).await;
    packet
}

#[tokio::test]
async fn s50_several_credentials_and_unsupported_kinds_are_rejected_and_nobody_is_asked() {
    let house = House::vpn(20).await;
    let _phone = house.user("alice", None).await;
    let mut nas = house.nas(20).await;
    let hidden = nas.hide(b"123456", &Authenticator([0; 16]));
    let (pap, chap, eap) = (AttributeType::USER_PASSWORD, AttributeType::CHAP_PASSWORD, AttributeType::EAP_MESSAGE);
    let start = [2, 1, 0, 10, 1, b'a', b'l', b'i', b'c', b'e'];
    let mut packets = Vec::new();
    for attributes in [
        &[(pap, &hidden[..]), (chap, &[7; 17])][..],
        &[(pap, &hidden), (pap, &hidden)],
        &[(pap, &hidden), (eap, &start)],
        &[(chap, &[7; 17])],
        &[(chap, &[7; 5])],
        &[(eap, &start)],
        &[(AttributeType::ARAP_PASSWORD, &[7; 16])],
        &[(AttributeType::USER_NAME, b"bob")],
    ] {
        packets.push(raw(&mut nas, attributes, false).await);
    }
    packets.push(raw(&mut nas, &[], true).await);
    packets.push(raw(&mut nas, &[(pap, &hidden)], true).await);
    for packet in &packets {
        let reply = nas.reply(packet, SOON).await.expect("a reject");
        assert_eq!(reply.code(), Code::AccessReject);
        assert!(reply.after >= DELAY, "{:?}", reply.after);
    }
    house.ends(packets.len()).await;
    let audit = house.site.audit().await;
    let refused = audit.iter().filter(|record| record.event == "login.ended").collect::<Vec<_>>();
    assert_eq!(refused.len(), packets.len());
    assert!(refused.iter().all(|record| record.detail.is_some() && record.result.as_deref() == Some("reject")));
    assert_eq!(house.challenges().await, 0);
    house.stop().await;
}

#[tokio::test]
async fn s50_a_password_attribute_of_impossible_length_is_dropped_and_changes_nothing() {
    let house = House::vpn(21).await;
    let mut phone = house.user("alice", None).await;
    let mut nas = house.nas(21).await;
    let waiting = nas.pack_as(&Ask::login("alice"), Identifier(9));
    nas.send(&waiting).await;
    let challenge = phone.asked(&house.site.desk, SOON).await.unwrap();
    for length in [0_usize, 1, 15, 17, 129, 144, 253] {
        let value = vec![5; length];
        let packet = nas.pack_as(&Ask::login("alice").with(AttributeType::USER_PASSWORD, &value), Identifier(9));
        nas.send(&packet).await;
    }
    house.settled(|house| house.counts().malformed == 7).await;
    phone.decide(&house.site.desk, &challenge, Decision::Verify).await;
    assert_eq!(nas.reply(&waiting, SOON).await.unwrap().code(), Code::AccessAccept);
    assert_eq!(house.ends(1).await, ["accept approved"]);
    house.stop().await;
}

#[tokio::test]
async fn s56_where_a_password_is_checked_here_an_empty_one_asks_nobody() {
    let house = House::bare(22).await;
    house.add(NewResource { primary: Primary::Local, ..NewResource::default() }).await;
    let _phone = house.user("alice", Some("abc")).await;
    let mut nas = house.nas(22).await;
    let asks = [
        Ask::login("alice"),
        Ask::login("alice").password(""),
        Ask::login("alice").password("\0"),
        Ask::login("alice").password("\0abc"),
        Ask::login("alice").password([0; 17]),
        Ask::login("alice").password(",123456"),
        Ask::login("alice").password("abc\0def"),
        Ask::nobody(),
    ];
    let mut packets = Vec::new();
    for ask in &asks {
        let packet = nas.pack(ask);
        nas.send(&packet).await;
        packets.push(packet);
    }
    for packet in &packets {
        let reply = nas.reply(packet, SOON).await.expect("a reject");
        assert_eq!(reply.code(), Code::AccessReject);
    }
    assert_eq!(house.challenges().await, 0);
    let ends = house.ends(asks.len()).await;
    assert!(ends.iter().all(|end| end == "reject password_wrong"), "{ends:?}");
    house.stop().await;
}

#[tokio::test]
async fn under_none_no_password_is_a_push_and_a_password_is_a_code_and_nothing_else() {
    let house = House::vpn(23).await;
    let mut phone = house.user("alice", None).await;
    let mut nas = house.nas(23).await;
    for ask in [Ask::login("alice"), Ask::login("alice").password("")] {
        let packet = nas.pack(&ask);
        nas.send(&packet).await;
        house.decide(&mut phone, Decision::Verify).await;
        assert_eq!(nas.reply(&packet, SOON).await.unwrap().code(), Code::AccessAccept);
    }
    let code = phone.code(house.site.clock.now());
    assert_eq!(nas.ask(&Ask::login("alice").password(&code), SOON).await.unwrap().code(), Code::AccessAccept);
    let wrong = [Ask::login("alice").password(&code), Ask::login("alice").password([0; 17])];
    for ask in wrong {
        assert_eq!(nas.ask(&ask, SOON).await.unwrap().code(), Code::AccessReject);
    }
    assert_eq!(
        house.ends(5).await,
        ["accept approved", "accept approved", "accept approved", "reject code_used", "reject code_wrong"]
    );
    assert_eq!(house.challenges().await, 2);
    house.stop().await;
}

#[tokio::test]
async fn c012_c014_c016_passwords_of_any_length_and_octets_arrive_whole() {
    let house = House::bare(24).await;
    house.add(NewResource { primary: Primary::Local, ..NewResource::default() }).await;
    let mut nas = house.nas(24).await;
    let mut devices = Vec::new();
    let lengths = [1, 16, 17, 32, 33, 48, 49, 60, 128];
    for (index, length) in lengths.iter().enumerate() {
        let password = "pässwörd, very long; 100% ".repeat(6).chars().take(200).collect::<String>();
        let mut password = password.into_bytes();
        password.truncate(*length);
        let password = String::from_utf8_lossy(&password).replace('\u{FFFD}', "x");
        let mut password = password;
        while password.len() > *length {
            password.pop();
        }
        let name = format!("user{index}");
        devices.push((house.user(&name, Some(&password)).await, name, password));
    }
    for (device, name, password) in &mut devices {
        let packet = nas.pack(&Ask::login(&name).password(&password));
        nas.send(&packet).await;
        house.decide(device, Decision::Verify).await;
        assert_eq!(nas.reply(&packet, SOON).await.unwrap().code(), Code::AccessAccept, "{} octets", password.len());
    }
    // Octets that are no UTF-8 are a wrong password and nothing worse.
    let latin = Ask::login("user1").password([0x41, 0x7A, 0xE9, 0x72, 0x74, 0xE8, 0x30, 0x31]);
    assert_eq!(nas.ask(&latin, SOON).await.unwrap().code(), Code::AccessReject);
    house.ends(lengths.len() + 1).await;
    let audit = house.site.audit().await;
    let last = audit.iter().rev().find(|record| record.event == "login.ended").unwrap();
    assert_eq!((last.reason.as_deref(), last.detail.as_deref()), (Some("password_wrong"), Some("password_not_utf8")));
    assert_eq!(nas.ask(&Ask::status(), SILENCE).await.unwrap().code(), Code::AccessAccept);
    house.stop().await;
}
