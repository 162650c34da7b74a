//! What goes on and what comes back.

use super::*;
use crate::tests::{hex, secret as client_secret, signed};
use crate::{Authenticator, Identifier, OpenAttributes, limits};

/// What a server gets of a request, and the world in which it got it.
fn sent_on(request: &[u8], password: Option<&[u8]>) -> (World, (UpstreamSocket, Vec<u8>)) {
    let mut world = World::without_status(1);
    let forward = Forward::new(forwarded(&PacketView::parse(request).unwrap()).unwrap().into(), password);
    let (now, deadline) = (world.now, world.now + seconds(10.0));
    world.with_random(|table, random| table.request(now, 1, forward, deadline, random));
    let sent = world.one();
    (world, sent)
}

fn kinds(packet: &[u8]) -> Vec<u8> {
    PacketView::parse(packet).unwrap().iter().map(|attribute| attribute.kind.0).collect()
}

#[test]
fn c004_c007_message_authenticator_is_first_and_right_from_the_first_transmission_on() {
    let mut world = World::without_status(1);
    world.request(1, 10.0);
    world.to(12.0);
    let sent = world.take();
    let logins: Vec<_> = sent.iter().filter(|(_, packet)| packet[0] == 1).collect();
    assert!(logins.len() >= 3);
    assert!(logins.iter().all(|again| *again == logins[0]), "retransmissions are byte-identical, from the same port");
    let request = PacketView::parse(&logins[0].1).unwrap();
    assert_eq!(kinds(&logins[0].1)[0], 80);
    let proof = verify_request(&request, &secret(0), MessageAuthenticatorRule::Required);
    assert_eq!(proof, Ok(Proof::MessageAuthenticator));
}

#[test]
fn c017_all_attributes_go_on_in_their_order_octet_for_octet_with_our_proxy_state_last() {
    let name = "k\u{f6}lbel".as_bytes();
    let attributes: &[(AttributeType, &[u8])] = &[
        (AttributeType::PROXY_STATE, b"one"),
        (AttributeType::USER_NAME, name),
        (AttributeType::VENDOR_SPECIFIC, &hex("00 00 01 37 2f 06 00 00 00 01")),
        (AttributeType::USER_PASSWORD, &[7; 16]),
        (AttributeType(250), &[0, 1, 2]),
        (AttributeType::PROXY_STATE, b""),
        (AttributeType::VENDOR_SPECIFIC, &hex("00 00 ff ff 00")),
        (AttributeType(250), &[]),
        (AttributeType::PROXY_STATE, b"two"),
    ];
    let (_, (_, packet)) = sent_on(&signed(attributes), Some(PASSWORD));
    let view = PacketView::parse(&packet).unwrap();
    let got: Vec<_> = view.iter().skip(1).collect();
    assert_eq!(got.len(), attributes.len() + 1);
    for (got, (kind, value)) in got.iter().zip(attributes) {
        assert_eq!(got.kind, *kind);
        if *kind == AttributeType::USER_PASSWORD {
            let password = UserPassword::unhide(got.value, &secret(0), &view.authenticator()).unwrap();
            assert_eq!(password.octets(), PASSWORD);
        } else {
            assert_eq!(got.value, *value);
        }
    }
    assert!(ProxyMark::new(MARK).find(&view).is_some());
    assert!(ProxyMark::new([1; 16]).find(&view).is_none(), "another deployment's is not ours");
    let ours = got.last().unwrap().value;
    assert_eq!((ours.len(), &ours[..28]), (36, &[b"countersign/".as_slice(), &MARK].concat()[..]));
}

#[test]
fn c013_passwords_of_all_lengths_arrive_whole() {
    for length in [1, 15, 16, 17, 48, 49, 60, 127, 128] {
        let password = vec![b'x'; length];
        let request = signed(&[(AttributeType::USER_NAME, b"nemo"), (AttributeType::USER_PASSWORD, &[7; 16])]);
        let (_, (_, packet)) = sent_on(&request, Some(&password));
        let view = PacketView::parse(&packet).unwrap();
        let hidden = view.attribute(AttributeType::USER_PASSWORD).unwrap();
        assert_eq!(UserPassword::unhide(hidden, &secret(0), &view.authenticator()).unwrap().octets(), password);
    }
}

#[test]
fn c013_a_password_that_cannot_be_carried_is_an_error_and_never_cut() {
    let mut world = World::without_status(1);
    let forward = Forward::new([2, 2].as_slice().into(), Some(&[b'x'; 129]));
    let now = world.now;
    world.with_random(|table, random| table.request(now, 1, forward, now + seconds(10.0), random));
    assert_eq!(world.outcome(), Outcome::NoAnswer(NoAnswer::TooLong));
    assert!(world.take().is_empty());
}

#[test]
fn s56_c030_an_empty_password_is_never_sent() {
    for password in [None, Some(&[][..])] {
        let request = signed(&[(AttributeType::USER_NAME, b"nemo"), (AttributeType::USER_PASSWORD, &[7; 16])]);
        let (_, (_, packet)) = sent_on(&request, password);
        assert_eq!(kinds(&packet), [80, 1, 33]);
    }
}

#[test]
fn chap_without_a_challenge_gets_the_authenticator_that_was_one() {
    let request = signed(&[(AttributeType::CHAP_PASSWORD, &[9; 17]), (AttributeType::USER_NAME, b"nemo")]);
    let (_, (_, packet)) = sent_on(&request, None);
    assert_eq!(kinds(&packet), [80, 3, 60, 1, 33]);
    let view = PacketView::parse(&packet).unwrap();
    assert_eq!(view.attribute(AttributeType::CHAP_CHALLENGE), Some(&crate::tests::REQUEST.octets()[..]));

    let given = signed(&[(AttributeType::CHAP_PASSWORD, &[9; 17]), (AttributeType::CHAP_CHALLENGE, b"given")]);
    let (_, (_, packet)) = sent_on(&given, None);
    assert_eq!(kinds(&packet), [80, 3, 60, 33]);
}

#[test]
fn a_request_that_becomes_too_long_is_not_sent() {
    let mut world = World::without_status(1);
    let full = [[250, 255].as_slice(), &[0; 253]].concat().repeat(16);
    let now = world.now;
    let forward = Forward::new(full.into(), None);
    world.with_random(|table, random| table.request(now, 1, forward, now + seconds(10.0), random));
    assert_eq!(world.outcome(), Outcome::NoAnswer(NoAnswer::TooLong));
    assert!(world.take().is_empty());
}

#[test]
fn attributes_of_an_answer_come_back_in_their_order_octet_for_octet() {
    let attributes: &[(AttributeType, &[u8])] = &[
        (AttributeType::CLASS, b"one"),
        (AttributeType::VENDOR_SPECIFIC, &hex("00 00 01 37 3f 06 00 00 00 04")),
        (AttributeType(250), &[]),
        (AttributeType::EAP_MESSAGE, &[1; limits::VALUE]),
        (AttributeType::EAP_MESSAGE, &[2; 5]),
        (AttributeType::CLASS, b"two"),
        (AttributeType::VENDOR_SPECIFIC, &hex("00 00 00 09 01 03 61 01 03 62")),
        (AttributeType::VENDOR_SPECIFIC, &hex("00 00 00 09 01 00")),
        (AttributeType::VENDOR_SPECIFIC, &hex("ff")),
        (AttributeType::CLASS, b"one"),
    ];
    let request = signed(&[(AttributeType::USER_NAME, b"nemo"), (AttributeType::PROXY_STATE, b"the client's")]);
    let (mut world, (socket, packet)) = sent_on(&request, None);
    let octets = reply(Code::AccessAccept, 0, &packet, &list(attributes));
    assert_eq!(world.receive(socket, address(0), &octets), Ok(()));
    let Outcome::Accept(Answer { server: 0, relayed }) = world.outcome() else { unreachable!() };
    assert_eq!(relayed.attributes.expose(), list(attributes).octets(), "without Message-Authenticator and Proxy-State");
    assert_eq!(relayed.left_out, 0);
}

#[test]
fn c094_what_was_encrypted_for_the_hop_comes_back_opened() {
    let (mut world, (socket, packet)) = sent_on(&signed(&[(AttributeType::USER_NAME, b"nemo")]), None);
    let plain = [&hex("00 00 01 37 10 24 00 00 10")[..], &[7; 31]].concat();
    let open: &[(AttributeType, &[u8])] =
        &[(AttributeType::VENDOR_SPECIFIC, &plain), (AttributeType::CLASS, b"behind")];
    let open = OpenAttributes::from_octets(list(open).octets()).unwrap();
    let authenticator = PacketView::parse(&packet).unwrap().authenticator();
    let mut sent = open.seal(&secret(0), &authenticator, [1, 2]).unwrap();
    sent.push(AttributeType::TUNNEL_PASSWORD, &[1, 0x80]).unwrap();
    assert_eq!(world.receive(socket, address(0), &reply(Code::AccessAccept, 0, &packet, &sent)), Ok(()));
    let Outcome::Accept(Answer { relayed, .. }) = world.outcome() else { unreachable!() };
    assert_eq!((relayed.attributes, relayed.left_out), (open, 1));
}

#[test]
fn nothing_of_a_password_is_shown() {
    let forward = login();
    assert!(!format!("{forward:?}").contains("password"));
    assert!(!format!("{:?}", ProxyMark::new(MARK)).contains("sixteen"));
    let request = crate::encode_request(
        Code::AccessRequest,
        Identifier(1),
        &Authenticator([1; 16]),
        &client_secret(),
        &list(&[(AttributeType::USER_PASSWORD, b"0123456789abcdef")]),
    )
    .unwrap();
    assert_eq!(forwarded(&PacketView::parse(&request).unwrap()).unwrap(), [2, 2], "the client's hiding stays behind");
}
