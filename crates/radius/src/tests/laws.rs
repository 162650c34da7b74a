//! Laws over made-up input.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{hex, list};
use crate::{
    AttributeType, Authenticator, Code, Identifier, MessageAuthenticatorRule, PacketView, Proof, SharedSecret,
    UserPassword, dictionary, encode_request, oracles, verify_request,
};

/// Octets that look like a packet more often than noise does.
fn packet() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![Just(1_u8), Just(2), Just(3), Just(26), Just(33), Just(79), Just(80), any::<u8>()];
    let attribute = (kind, vec(any::<u8>(), 0..40), any::<Option<prop::sample::Index>>());
    (any::<u8>(), vec(attribute, 0..20), 0..4_usize).prop_map(|(code, attributes, padding)| {
        let mut packet = vec![code & 15, 7, 0, 0];
        packet.extend([9; 16]);
        for (kind, value, lie) in attributes {
            let length =
                lie.map_or(value.len() + 2, |lie| if lie.index(20) == 0 { lie.index(256) } else { value.len() + 2 });
            packet.extend([kind, u8::try_from(length).unwrap()]);
            packet.extend(value);
        }
        let length = u16::try_from(packet.len()).unwrap().to_be_bytes();
        packet[2..4].copy_from_slice(&length);
        packet.extend(vec![0xff; padding]);
        packet
    })
}

/// A name that is known, or nearly, and a value that fits one of the forms.
fn reply_attribute() -> impl Strategy<Value = String> {
    let names: Vec<&str> = dictionary::all().map(|definition| definition.name).collect();
    let name = prop_oneof![
        4 => prop::sample::select(names).prop_map(str::to_owned),
        1 => (any::<u32>(), any::<u8>()).prop_map(|(vendor, kind)| format!("26.{vendor}.{kind}")),
        1 => any::<u8>().prop_map(|kind| format!("26.311.{kind}")),
    ];
    let value = prop_oneof![
        any::<String>(),
        any::<u32>().prop_map(|number| number.to_string()),
        vec(any::<u8>(), 0..260)
            .prop_map(|octets| { octets.iter().fold("0x".to_owned(), |text, octet| format!("{text}{octet:02x}")) }),
        any::<[u8; 4]>().prop_map(|octets| std::net::Ipv4Addr::from(octets).to_string()),
        any::<[u8; 16]>().prop_map(|octets| std::net::Ipv6Addr::from(octets).to_string()),
        (any::<[u8; 16]>(), 0..130_u32).prop_map(|(octets, length)| {
            let kept = u128::from_be_bytes(octets) & !u128::MAX.checked_shr(length).unwrap_or_default();
            format!("{}/{length}", std::net::Ipv6Addr::from(kept))
        }),
        any::<[u16; 4]>().prop_map(|[a, b, c, d]| format!("{a:x}:{b:x}:{c:x}:{d:x}")),
        "\"[ -~]{0,40}\"",
    ];
    let tag = prop_oneof![3 => Just(String::new()), 1 => (0..40_u8).prop_map(|tag| format!(":{tag}"))];
    (name, tag, value).prop_map(|(name, tag, value)| format!("{name}{tag} = {value}"))
}

proptest! {
    #[test]
    fn s44_parsing_never_panics_on_noise(octets in vec(any::<u8>(), 0..300)) {
        oracles::radius_packet(&octets);
    }

    #[test]
    fn s40_c002_c072_laws_of_packets(octets in packet()) {
        oracles::radius_packet(&octets);
    }

    #[test]
    fn c012_passwords_come_back(
        password in vec(any::<u8>(), 0..=128),
        secret in vec(any::<u8>(), 0..200),
        request in any::<[u8; 16]>(),
    ) {
        let (secret, request) = (SharedSecret::new(secret), Authenticator(request));
        let hidden = UserPassword::hide(&password, &secret, &request).unwrap();
        let uncovered = UserPassword::unhide(&hidden, &secret, &request).unwrap();
        let length = password.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1);
        prop_assert_eq!(uncovered.octets(), &password[..length]);
    }

    #[test]
    fn c001_requests_of_ours_are_believed(values in vec((any::<u8>(), vec(any::<u8>(), 0..=253)), 0..12), id in any::<u8>()) {
        let values: Vec<_> = values.iter().filter(|(kind, _)| ![33, 80].contains(kind)).collect();
        let attributes: Vec<_> = values.iter().map(|(kind, value)| (AttributeType(*kind), value.as_slice())).collect();
        let (secret, request) = (super::secret(), Authenticator([id; 16]));
        let packet = encode_request(Code::AccessRequest, Identifier(id), &request, &secret, &list(&attributes)).unwrap();
        let view = PacketView::parse(&packet).unwrap();
        prop_assert_eq!(verify_request(&view, &secret, MessageAuthenticatorRule::Required), Ok(Proof::MessageAuthenticator));
        prop_assert!(view.iter().skip(1).map(|a| (a.kind, a.value)).eq(attributes));
    }

    #[test]
    fn s45_c008_c009_the_table_says_what_a_plain_list_says(operations in vec(any::<u8>(), 0..600)) {
        oracles::radius_table(&[&[0], operations.as_slice()].concat());
    }

    #[test]
    fn s44_the_bounds_of_a_forgetful_table_hold(first in any::<u8>(), operations in vec(any::<u8>(), 0..600)) {
        oracles::radius_table(&[&[first | 1], operations.as_slice()].concat());
    }

    #[test]
    fn laws_of_reply_attributes_over_noise(octets in vec(any::<u8>(), 0..300)) {
        oracles::reply_attribute(&octets);
    }

    #[test]
    fn s55_laws_of_reply_attributes(text in reply_attribute()) {
        oracles::reply_attribute(text.as_bytes());
    }

    #[test]
    fn s42_nothing_but_the_servers_own_reply_ends_a_request(octets in vec(any::<u8>(), 0..300)) {
        oracles::upstream_reply(&octets);
    }

    #[test]
    fn s42_c094_laws_of_replies(octets in packet()) {
        oracles::upstream_reply(&octets);
        oracles::upstream_reply(octets.get(20..).unwrap_or_default());
    }

    #[test]
    fn c050_c075_laws_of_eap(octets in vec(any::<u8>(), 0..1200)) {
        oracles::eap_message(&octets);
    }

    #[test]
    fn c050_c075_laws_of_eap_in_attributes(octets in packet()) {
        oracles::eap_message(octets.get(20..).unwrap_or_default());
    }

    #[test]
    fn s108_each_request_ends_once_by_its_deadline(operations in vec(any::<u8>(), 0..300)) {
        oracles::upstream_table(&operations);
    }

    #[test]
    fn s47_the_policy_never_panics(secret in vec(any::<u8>(), 0..300)) {
        let _ = SharedSecret::check_policy(&secret);
    }
}

#[test]
fn hexadecimal_digits_are_read() {
    assert_eq!(hex("0a\nFf"), [10, 255]);
}
