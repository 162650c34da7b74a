//! What gets no answer.

use countersign_domain::Decision;
use countersign_radius::{AttributeType, Code, Identifier};
use countersign_testkit::{Ask, Nas, NewResource};

use crate::house::{House, SECRET, SILENCE, SOON};

#[tokio::test]
async fn s41_without_a_valid_message_authenticator_there_is_silence() {
    let house = House::bare(30).await;
    let strict = house.add(NewResource::default()).await;
    let lax = house
        .add(NewResource {
            name: "old",
            secret: "another secret, for the old client",
            networks: &["127.0.0.2/32"],
            require_message_authenticator: false,
            ..NewResource::default()
        })
        .await;
    let mut phone = house.user("alice", None).await;
    let mut nas = house.nas(30).await;
    assert_eq!(nas.ask(&Ask::login("alice").without_message_authenticator(), SILENCE).await, None);
    let mut forged = nas.pack(&Ask::login("alice"));
    forged.octets[30] ^= 1;
    nas.send(&forged).await;
    assert_eq!(nas.reply(&forged, SILENCE).await, None);
    let counts = house.figures.client(strict);
    assert_eq!((counts.missing_message_authenticator, counts.bad_authenticator, counts.proven), (1, 1, 0));

    let mut old = Nas::at([127, 0, 0, 2].into(), house.address, "another secret, for the old client", 31).await;
    let proxied = Ask::login("alice").with(AttributeType::PROXY_STATE, "x").without_message_authenticator();
    assert_eq!(old.ask(&proxied, SILENCE).await, None);
    let eap = Ask::login("alice").with(AttributeType::EAP_MESSAGE, [2, 1, 0, 4]).without_message_authenticator();
    assert_eq!(old.ask(&eap, SILENCE).await, None);
    let mut forged = old.pack(&Ask::login("alice"));
    forged.octets[30] ^= 1;
    old.send(&forged).await;
    assert_eq!(old.reply(&forged, SILENCE).await, None);
    assert_eq!((house.challenges().await, house.site.ends().await.len()), (0, 0));
    assert_eq!(house.counts().requests, 0);

    // A plain one is taken there, and counted for the administrator.
    let packet = old.pack(&Ask::login("alice").without_message_authenticator());
    old.send(&packet).await;
    house.decide(&mut phone, Decision::Verify).await;
    assert_eq!(old.reply(&packet, SOON).await.unwrap().code(), Code::AccessAccept);
    assert_eq!(house.figures.client(lax).missing_message_authenticator, 3);
    house.stop().await;
}

#[tokio::test]
async fn s44_a_bag_of_garbage_gets_no_reply_and_does_no_harm() {
    let house = House::vpn(32).await;
    let mut phone = house.user("alice", None).await;
    let mut nas = house.nas(32).await;
    let good = nas.pack(&Ask::login("alice")).octets;
    let mut bag: Vec<Vec<u8>> = (0..20).map(|length| good[..length].to_vec()).collect();
    let with_length = |length: u16| {
        let mut octets = good.clone();
        octets[2..4].copy_from_slice(&length.to_be_bytes());
        octets
    };
    bag.extend([0, 19, 21, 4097, 65_535].map(with_length));
    bag.push(with_length(u16::try_from(good.len()).unwrap() + 1));
    bag.push([good.clone(), vec![0; 4097 - good.len()]].concat());
    bag.push(vec![0xFF; 60_000]);
    for length in [0, 1, 255] {
        // The first attribute is Message-Authenticator, at octet 20.
        let mut octets = good.clone();
        octets[21] = length;
        bag.push(octets);
    }
    for code in [0, 2, 3, 4, 5, 11, 13, 40, 43, 52, 255] {
        let mut octets = good.clone();
        octets[0] = code;
        bag.push(octets);
    }
    // A vendor's attribute that is cut short is no fault of the packet, so it stands in one that is signed (C072).
    let truncated = [vec![0, 0, 1], vec![0, 0, 1, 55, 11, 0], vec![0, 0, 1, 55, 11, 1], vec![0, 0, 1, 55, 11, 200]];
    for vendor in truncated {
        let mut packet = nas.pack(&Ask::login("alice").with(AttributeType::VENDOR_SPECIFIC, vendor));
        packet.octets[25] ^= 1;
        bag.push(packet.octets);
    }
    let sent = u64::try_from(bag.len()).unwrap();
    for octets in &bag {
        nas.send_octets(octets).await;
    }
    house.settled(|house| house.counts().packets == sent).await;

    let stranger = Nas::at([127, 0, 0, 9].into(), house.address, SECRET, 33).await;
    for octets in bag.iter().chain([&good]) {
        stranger.send_octets(octets).await;
    }
    house.settled(|house| house.counts().unknown_source == sent + 1).await;
    assert_eq!((house.counts().requests, house.challenges().await), (0, 0));

    let packet = nas.pack_as(&Ask::login("alice"), Identifier(200));
    nas.send(&packet).await;
    house.decide(&mut phone, Decision::Verify).await;
    assert_eq!(nas.reply(&packet, SOON).await.unwrap().code(), Code::AccessAccept);
    assert_eq!(house.counts().accepts + house.counts().rejects, 1);
    house.stop().await;
}

#[tokio::test]
async fn too_much_proxy_state_is_dropped() {
    let house = House::vpn(34).await;
    let _phone = house.user("alice", None).await;
    let mut nas = house.nas(34).await;
    let mut many = Ask::login("alice");
    for octet in 0..11_u8 {
        many = many.with(AttributeType::PROXY_STATE, [octet]);
    }
    let mut long = Ask::login("alice");
    for octet in 0..5_u8 {
        long = long.with(AttributeType::PROXY_STATE, [octet; 250]);
    }
    assert_eq!(nas.ask(&many, SILENCE).await, None);
    assert_eq!(nas.ask(&long, SILENCE).await, None);
    assert_eq!((house.counts().proxy_state_refused, house.challenges().await), (2, 0));
    house.stop().await;
}

#[tokio::test]
async fn c006_a_forged_packet_touches_no_pending_login() {
    let house = House::vpn(35).await;
    let mut phone = house.user("alice", None).await;
    let mut nas = house.nas(35).await;
    let waiting = nas.pack(&Ask::login("alice"));
    nas.send(&waiting).await;
    let challenge = phone.asked(&house.site.desk, SOON).await.unwrap();
    let mut forged = nas.pack_as(&Ask::login("alice"), waiting.identifier);
    *forged.octets.last_mut().unwrap() ^= 1;
    nas.send(&forged).await;
    house.settled(|house| house.counts().bad_authenticator == 1).await;
    phone.decide(&house.site.desk, &challenge, Decision::Verify).await;
    assert_eq!(nas.reply(&waiting, SOON).await.unwrap().code(), Code::AccessAccept);
    assert_eq!(house.ends(1).await, ["accept approved"]);
    house.stop().await;
}
