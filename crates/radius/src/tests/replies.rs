use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};

use super::{REQUEST, list, raw, secret, signed};
use crate::{
    AttributeList, AttributeType, Authenticator, Code, EncodeError, Identifier, MessageAuthenticator,
    MessageAuthenticatorRule, PacketView, Proof, ReplyError, RequestError, SharedSecret, encode_reply, encode_request,
    verify_reply, verify_request,
};

const REQUIRED: MessageAuthenticatorRule = MessageAuthenticatorRule::Required;
const OPTIONAL: MessageAuthenticatorRule = MessageAuthenticatorRule::Optional;
const REPLIES: [Code; 4] = [Code::AccessAccept, Code::AccessReject, Code::AccessChallenge, Code::ProtocolError];

/// HMAC-MD5 over whole octets, without anything of ours.
fn hmac_md5(octets: &[u8]) -> [u8; 16] {
    Hmac::<Md5>::new_from_slice(secret().expose()).unwrap().chain_update(octets).finalize().into_bytes().into()
}

/// Puts the right value where the first 16 zeros of a Message-Authenticator are.
fn sign_in_place(mut packet: Vec<u8>) -> Vec<u8> {
    let at = packet.windows(18).position(|part| part[..2] == [80, 18] && part[2..] == [0; 16]).unwrap();
    let value = hmac_md5(&packet);
    packet[at + 2..at + 18].copy_from_slice(&value);
    packet
}

fn check(packet: &[u8]) -> MessageAuthenticator {
    MessageAuthenticator::of_request(&PacketView::parse(packet).unwrap(), &secret())
}

const ZEROS: &[u8] = b"\x50\x12\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

#[test]
fn c001_the_received_octets_are_verified_in_their_order() {
    let packet = sign_in_place(raw(1, &[b"\x01\x06nemo\x21\x031\x05\x06\0\0\0\x01\x21\x032", ZEROS].concat()));
    assert_eq!(check(&packet), MessageAuthenticator::Valid);
    let vendors = b"\x1a\x09\0\0\0\x09\x01\x03a\x01\x06nemo\x1a\x09\0\0\0\x09\x01\x03b";
    assert_eq!(check(&sign_in_place(raw(1, &[vendors, ZEROS].concat()))), MessageAuthenticator::Valid);
    let opaque = b"\x1a\x08\0\0\0\x09\x01\x00\x63\x02";
    assert_eq!(check(&sign_in_place(raw(1, &[opaque, ZEROS].concat()))), MessageAuthenticator::Valid);
}

#[test]
fn s41_any_position_is_right() {
    let others: [&[u8]; 3] = [b"\x01\x06nemo", b"\x05\x06\0\0\0\x01", b"\x21\x031"];
    for position in 0..=3 {
        let mut parts = others.to_vec();
        parts.insert(position, ZEROS);
        let mut packet = sign_in_place(raw(1, &parts.concat()));
        assert_eq!(check(&packet), MessageAuthenticator::Valid);
        packet.extend(b"padding");
        assert_eq!(check(&packet), MessageAuthenticator::Valid);
    }
}

#[test]
fn c006_every_flipped_bit_is_seen() {
    let packet = signed(&[(AttributeType::USER_NAME, b"nemo"), (AttributeType::PROXY_STATE, b"1")]);
    assert_eq!(check(&packet), MessageAuthenticator::Valid);
    for bit in 0..packet.len() * 8 {
        let mut forged = packet.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        if let Ok(view) = PacketView::parse(&forged) {
            assert_ne!(MessageAuthenticator::of_request(&view, &secret()), MessageAuthenticator::Valid, "bit {bit}");
            assert!(verify_request(&view, &secret(), REQUIRED).is_err());
        }
    }
}

#[test]
fn s41_several_or_of_another_length_are_invalid() {
    let once = sign_in_place(raw(1, ZEROS));
    assert_eq!(check(&once), MessageAuthenticator::Valid);
    assert_eq!(check(&raw(1, &[&once[20..], &once[20..]].concat())), MessageAuthenticator::Invalid);
    // Also where one of the two would be right over the other.
    let other = [&[80, 18][..], &[1; 16]].concat();
    for pair in [[ZEROS, &other], [&other, ZEROS]] {
        assert_eq!(check(&sign_in_place(raw(1, &pair.concat()))), MessageAuthenticator::Invalid);
    }
    for length in (0..=20).filter(|length| *length != 16) {
        let attribute = [&[80, length + 2][..], &vec![0; usize::from(length)]].concat();
        assert_eq!(check(&raw(1, &attribute)), MessageAuthenticator::Invalid);
    }
    assert_eq!(check(&raw(1, b"\x01\x06nemo")), MessageAuthenticator::Absent);
}

#[test]
fn s41_without_message_authenticator() {
    let verdict = |attributes: &[u8], rule| {
        let packet = raw(1, attributes);
        verify_request(&PacketView::parse(&packet).unwrap(), &secret(), rule)
    };
    assert_eq!(verdict(b"\x01\x06nemo", REQUIRED), Err(RequestError::MessageAuthenticatorAbsent));
    assert_eq!(verdict(b"\x01\x06nemo", OPTIONAL), Ok(Proof::SourceAddress));
    assert_eq!(verdict(b"\x01\x06nemo\x21\x031", OPTIONAL), Err(RequestError::ProxyStateUnprotected));
    assert_eq!(verdict(b"\x01\x06nemo\x4f\x06\x02\0\0\x04", OPTIONAL), Err(RequestError::EapUnprotected));
    assert_eq!(verdict(ZEROS, OPTIONAL), Err(RequestError::MessageAuthenticatorInvalid));
    assert_eq!(verdict(ZEROS, REQUIRED), Err(RequestError::MessageAuthenticatorInvalid));
}

#[test]
fn c075_eap_message_needs_message_authenticator_in_both_directions() {
    for length in [0, 1, 3, 253] {
        let eap = [&[79, length + 2][..], &vec![2; usize::from(length)]].concat();
        let packet = raw(1, &eap);
        let view = PacketView::parse(&packet).unwrap();
        assert_eq!(verify_request(&view, &secret(), OPTIONAL), Err(RequestError::EapUnprotected));
        let reply = answered_without(2, &eap);
        assert_eq!(believe(&reply, OPTIONAL), Err(ReplyError::MessageAuthenticatorAbsent));
    }
}

#[test]
fn s53_c078_status_server_needs_message_authenticator_whatever_the_rule() {
    for rule in [REQUIRED, OPTIONAL] {
        let bare = raw(12, &[]);
        let verdict = verify_request(&PacketView::parse(&bare).unwrap(), &secret(), rule);
        assert_eq!(verdict, Err(RequestError::MessageAuthenticatorAbsent));
        let attributes = list(&[(AttributeType::PROXY_STATE, b"1")]);
        let query = encode_request(Code::StatusServer, Identifier(0), &REQUEST, &secret(), &attributes).unwrap();
        let view = PacketView::parse(&query).unwrap();
        assert_eq!(verify_request(&view, &secret(), rule), Ok(Proof::MessageAuthenticator));
        let reply = encode_reply(Code::AccessAccept, &view, &secret(), &AttributeList::new()).unwrap();
        assert_eq!(PacketView::parse(&reply).unwrap().attribute(AttributeType::PROXY_STATE), Some(&b"1"[..]));
    }
}

#[test]
fn s44_other_codes_are_no_requests() {
    for code in (0..=255).filter(|code| ![1, 12].contains(code)) {
        let packet = sign_in_place(raw(code, ZEROS));
        let verdict = verify_request(&PacketView::parse(&packet).unwrap(), &secret(), OPTIONAL);
        assert_eq!(verdict, Err(RequestError::UnexpectedCode(Code::from(code))));
    }
}

#[test]
fn s44_proxy_state_is_bounded() {
    let with = |count: usize, octets: usize| {
        let states: Vec<(AttributeType, Vec<u8>)> = vec![(AttributeType::PROXY_STATE, vec![1; octets]); count];
        let states: Vec<_> = states.iter().map(|(kind, value)| (*kind, value.as_slice())).collect();
        let packet = signed(&states);
        verify_request(&PacketView::parse(&packet).unwrap(), &secret(), REQUIRED)
    };
    assert_eq!(with(10, 102), Ok(Proof::MessageAuthenticator));
    assert_eq!(with(11, 1), Err(RequestError::TooMuchProxyState));
    assert_eq!(with(4, 253), Ok(Proof::MessageAuthenticator));
    assert_eq!(with(5, 205), Err(RequestError::TooMuchProxyState));
}

#[test]
fn s40_c002_c005_replies_of_all_kinds_begin_with_a_right_message_authenticator() {
    let requests = [
        signed(&[(AttributeType::USER_NAME, b"nemo"), (AttributeType::PROXY_STATE, b"1")]),
        raw(1, b"\x01\x06nemo"),
        raw(12, &[]),
    ];
    for request in &requests {
        let view = PacketView::parse(request).unwrap();
        for code in REPLIES {
            for extra in 0..84 {
                let attributes = list(&[(AttributeType::REPLY_MESSAGE, &vec![b'x'; extra])]);
                let reply = encode_reply(code, &view, &secret(), &attributes).unwrap();
                assert_eq!(reply[20..22], [80, 18]);
                assert_eq!(reply[..2], [code.octet(), 7]);
                // RFC 3579 section 3.2: Request Authenticator in its place, 16 zeros in the value's.
                let mut signed = reply.clone();
                signed[4..20].copy_from_slice(REQUEST.octets());
                signed[22..38].fill(0);
                assert_eq!(reply[22..38], hmac_md5(&signed));
                // RFC 2865 section 3: last, over the packet with the value filled in.
                let mut hashed = reply.clone();
                hashed[4..20].copy_from_slice(REQUEST.octets());
                hashed.extend(secret().expose());
                assert_eq!(reply[4..20], Md5::digest(&hashed)[..]);
            }
        }
    }
}

#[test]
fn s55_only_proxy_state_is_echoed_in_its_order_behind_the_attributes() {
    let cisco = [&[0, 0, 0, 9, 1, 19][..], b"shell:priv-lvl=15"].concat();
    let request = signed(&[
        (AttributeType::PROXY_STATE, b"1"),
        (AttributeType::VENDOR_SPECIFIC, &cisco),
        (AttributeType::CLASS, b"admins"),
        (AttributeType::PROXY_STATE, b""),
        (AttributeType::FILTER_ID, b"all"),
        (AttributeType::PROXY_STATE, b"3"),
    ]);
    let view = PacketView::parse(&request).unwrap();
    let attributes = list(&[(AttributeType::REPLY_MESSAGE, b"hello"), (AttributeType::CLASS, b"users")]);
    let reply = encode_reply(Code::AccessAccept, &view, &secret(), &attributes).unwrap();
    let reply = PacketView::parse(&reply).unwrap();
    let all: Vec<_> = reply.iter().skip(1).map(|attribute| (attribute.kind.0, attribute.value)).collect();
    assert_eq!(all, [(18, &b"hello"[..]), (25, b"users"), (33, b"1"), (33, b""), (33, b"3")]);
}

#[test]
fn c004_what_the_encoder_writes_itself_cannot_be_handed_in() {
    let request = signed(&[]);
    let view = PacketView::parse(&request).unwrap();
    for kind in [AttributeType::MESSAGE_AUTHENTICATOR, AttributeType::PROXY_STATE] {
        let attributes = list(&[(kind, &[0; 16])]);
        let reply = encode_reply(Code::AccessAccept, &view, &secret(), &attributes);
        assert_eq!(reply, Err(EncodeError::Reserved(kind)));
    }
    let attributes = list(&[(AttributeType::MESSAGE_AUTHENTICATOR, &[0; 16])]);
    let made = encode_request(Code::AccessRequest, Identifier(1), &REQUEST, &secret(), &attributes);
    assert_eq!(made, Err(EncodeError::Reserved(AttributeType::MESSAGE_AUTHENTICATOR)));
}

#[test]
fn codes_that_do_not_fit_are_not_encoded() {
    let request = signed(&[]);
    let view = PacketView::parse(&request).unwrap();
    for code in (0..=255).map(Code::from) {
        let none = AttributeList::new();
        assert_eq!(encode_reply(code, &view, &secret(), &none).is_ok(), REPLIES.contains(&code));
        let made = encode_request(code, Identifier(1), &REQUEST, &secret(), &none);
        assert_eq!(made.is_ok(), [Code::AccessRequest, Code::StatusServer].contains(&code));
    }
}

#[test]
fn s44_a_packet_of_ours_has_4096_octets_at_most() {
    let request = signed(&[(AttributeType::PROXY_STATE, b"12345678")]);
    let view = PacketView::parse(&request).unwrap();
    // 4096 = 20 header + 18 Message-Authenticator + 10 Proxy-State + 4048.
    let mut attributes = AttributeList::new();
    (0..15).for_each(|_| attributes.push(AttributeType::CLASS, &[1; 253]).unwrap());
    let mut longer = attributes.clone();
    attributes.push(AttributeType::CLASS, &[1; 4048 - 15 * 255 - 2]).unwrap();
    longer.push(AttributeType::CLASS, &[1; 4048 - 15 * 255 - 1]).unwrap();
    let reply = encode_reply(Code::AccessAccept, &view, &secret(), &attributes).unwrap();
    assert_eq!(reply.len(), 4096);
    assert!(believe(&reply, REQUIRED).is_ok());
    let reply = encode_reply(Code::AccessAccept, &view, &secret(), &longer);
    assert_eq!(reply, Err(EncodeError::PacketTooLong));
}

#[test]
fn c007_a_request_of_ours_is_complete_when_it_is_made() {
    let packet = signed(&[(AttributeType::USER_NAME, b"nemo")]);
    assert_eq!(packet[20..22], [80, 18]);
    assert_eq!(&packet[4..20], REQUEST.octets());
    assert_eq!(check(&packet), MessageAuthenticator::Valid);
    assert_eq!(packet, signed(&[(AttributeType::USER_NAME, b"nemo")]));
}

fn believe(reply: &[u8], rule: MessageAuthenticatorRule) -> Result<Code, ReplyError> {
    verify_reply(reply, &REQUEST, Identifier(7), &secret(), rule).map(|view| view.code())
}

/// A reply with a right Response Authenticator and exactly these attributes.
fn answered_without(code: u8, attributes: &[u8]) -> Vec<u8> {
    let mut reply = raw(code, attributes);
    let digest = Md5::digest([&reply[..], secret().expose()].concat());
    reply[4..20].copy_from_slice(&digest);
    reply
}

#[test]
fn s42_a_reply_must_be_right_in_everything() {
    let request = signed(&[]);
    let view = PacketView::parse(&request).unwrap();
    let message = list(&[(AttributeType::REPLY_MESSAGE, b"hello")]);
    let reply = encode_reply(Code::AccessAccept, &view, &secret(), &message).unwrap();
    assert_eq!(believe(&reply, REQUIRED), Ok(Code::AccessAccept));
    let other = verify_reply(&reply, &REQUEST, Identifier(8), &secret(), REQUIRED);
    assert_eq!(other.unwrap_err(), ReplyError::Identifier);
    let later = Authenticator([1; 16]);
    let other = verify_reply(&reply, &later, Identifier(7), &secret(), REQUIRED);
    assert_eq!(other.unwrap_err(), ReplyError::ResponseAuthenticator);
    let wrong = SharedSecret::new(*b"another shared secret");
    let other = verify_reply(&reply, &REQUEST, Identifier(7), &wrong, REQUIRED);
    assert_eq!(other.unwrap_err(), ReplyError::ResponseAuthenticator);
    for bit in 0..reply.len() * 8 {
        let mut forged = reply.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert!(believe(&forged, OPTIONAL).is_err(), "bit {bit}");
    }
}

#[test]
fn s42_c004_a_reply_without_message_authenticator_counts_as_none() {
    for attributes in [&b""[..], b"\x21\x031"] {
        let reply = answered_without(2, attributes);
        assert_eq!(believe(&reply, REQUIRED), Err(ReplyError::MessageAuthenticatorAbsent));
        assert_eq!(believe(&reply, OPTIONAL), Ok(Code::AccessAccept));
    }
    let reply = answered_without(2, ZEROS);
    assert_eq!(believe(&reply, OPTIONAL), Err(ReplyError::MessageAuthenticatorInvalid));
}

#[test]
fn s42_a_reject_altered_to_accept_is_refused() {
    let request = signed(&[]);
    let view = PacketView::parse(&request).unwrap();
    let mut reply = encode_reply(Code::AccessReject, &view, &secret(), &AttributeList::new()).unwrap();
    reply[0] = 2;
    assert_eq!(believe(&reply, REQUIRED), Err(ReplyError::ResponseAuthenticator));
    // Even with a Response Authenticator that somebody has found a collision for.
    let reply = answered_without(2, &reply[20..]);
    assert_eq!(believe(&reply, REQUIRED), Err(ReplyError::MessageAuthenticatorInvalid));
}

#[test]
fn s43_other_codes_are_no_replies() {
    for code in (0..=255).filter(|code| ![2, 3, 11, 52].contains(code)) {
        let reply = answered_without(code, &[]);
        assert_eq!(believe(&reply, OPTIONAL), Err(ReplyError::UnexpectedCode(Code::from(code))));
    }
    assert_eq!(believe(&signed(&[]), REQUIRED), Err(ReplyError::UnexpectedCode(Code::AccessRequest)));
}

#[test]
fn c073_a_bad_reply_is_only_an_error() {
    let noise = vec![0xff; 200];
    assert!(matches!(believe(&noise, REQUIRED), Err(ReplyError::Packet(_))));
}

#[test]
fn c018_a_challenge_without_state_or_text_is_read() {
    let request = signed(&[]);
    let view = PacketView::parse(&request).unwrap();
    let reply = encode_reply(Code::AccessChallenge, &view, &secret(), &AttributeList::new()).unwrap();
    let reply = verify_reply(&reply, &REQUEST, Identifier(7), &secret(), REQUIRED).unwrap();
    assert_eq!((reply.attribute(AttributeType::STATE), reply.attribute(AttributeType::REPLY_MESSAGE)), (None, None));
}
