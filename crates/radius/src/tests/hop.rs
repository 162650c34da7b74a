//! What is encrypted for one hop, on its way over two.

use std::collections::HashSet;

use proptest::{collection::vec, prelude::*};

use super::{hex, list, secret as client_secret};
use crate::{
    Attribute, AttributeList, AttributeType, Authenticator, OpenAttributes, SharedSecret, UserPassword, VendorSpecific,
    oracles, vendor,
};

const CLIENTS: Authenticator = Authenticator(*b"of the client...");
const OURS: Authenticator = Authenticator(*b"of our own......");

fn server_secret() -> SharedSecret {
    SharedSecret::new(*b"the secret of the server above")
}

fn opened(attributes: &AttributeList) -> (OpenAttributes, usize) {
    OpenAttributes::open(&mut attributes.iter(), &server_secret(), &OURS)
}

fn microsoft(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(value.len() + 2).unwrap();
    [&vendor::MICROSOFT.to_be_bytes(), &[kind, length][..], value].concat()
}

/// As the server above encrypts one.
fn salted(salt: [u8; 2], plain: &[u8]) -> Vec<u8> {
    let mut value = plain.to_vec();
    server_secret().cover(&[OURS.octets(), &salt[..]].concat(), &mut value);
    [&salt[..], &value].concat()
}

/// The salts of Tunnel-Password and of Microsoft's keys, in their order.
fn salts(attributes: &AttributeList) -> Vec<[u8; 2]> {
    let salt = |attribute: Attribute<'_>| match attribute.kind {
        AttributeType::TUNNEL_PASSWORD => attribute.value.get(1..3).map(|salt| vec![salt.try_into().unwrap()]),
        AttributeType::VENDOR_SPECIFIC => {
            let keys =
                VendorSpecific::parse(attribute.value)?.attributes().filter(|inner| matches!(inner.kind, 16 | 17));
            Some(keys.map(|key| *key.value.first_chunk().unwrap()).collect())
        }
        _ => None,
    };
    attributes.iter().filter_map(salt).flatten().collect()
}

#[test]
fn c094_a_key_that_another_program_encrypted_is_opened() {
    // From the tests of libradius (OpenBSD), which are not ours.
    let secret = SharedSecret::new(*b"hogehogefugafuga");
    let request = Authenticator(hex("678ae6ed696e1bd10ae2fea105d46a56").try_into().unwrap());
    let value = hex("8036 f4abbe2117fb3e4a7874dce91c5b0449 8ec7720f168688562dbc88e21cab6271");
    let plain = hex("0000 10fc6ea418373d8e90c136fae3735e37 d1000000000000000000000000000000");
    let key = list(&[(AttributeType::VENDOR_SPECIFIC, &microsoft(vendor::MS_MPPE_SEND_KEY, &value))]);
    let (open, left_out) = OpenAttributes::open(&mut key.iter(), &secret, &request);
    assert_eq!((&open.expose()[8..], left_out), (&plain[..], 0));
    // And encrypted with its salt it is what that program made: the salt that is drawn is counted up once.
    assert_eq!(open.seal(&secret, &request, [0x80, 0x35]), Some(key));
}

#[test]
fn c094_keys_are_encrypted_anew_in_their_places_and_the_rest_stays_as_it_is() {
    let plain = |length: u8, octet: u8| [&[length][..], &[octet; 31]].concat();
    let (send, receive, password) = (plain(16, b's'), plain(16, b'r'), plain(9, b'p'));
    let chap = [b'c'; 32];
    let mut hidden = chap;
    server_secret().cover(OURS.octets(), &mut hidden);
    let kept = "3f 06 00 00 00 04";
    let several = [
        &microsoft(vendor::MS_MPPE_RECV_KEY, &salted([0x81, 0], &receive))[..],
        &hex(kept),
        &microsoft(vendor::MS_CHAP_MPPE_KEYS, &hidden)[4..],
    ]
    .concat();
    let success = microsoft(vendor::MS_CHAP2_SUCCESS, b"\x01S=0123456789ABCDEF0123456789ABCDEF01234567");
    let tunnel = [&[1][..], &salted([0x80, 0], &password)].concat();
    let send = microsoft(vendor::MS_MPPE_SEND_KEY, &salted([0x80, 0], &send));
    let sent: &[(AttributeType, &[u8])] = &[
        (AttributeType::CLASS, b"one"),
        (AttributeType::VENDOR_SPECIFIC, &send),
        (AttributeType::VENDOR_SPECIFIC, &success),
        (AttributeType::VENDOR_SPECIFIC, &several),
        (AttributeType::TUNNEL_PASSWORD, &tunnel),
        (AttributeType::CLASS, b"two"),
    ];
    let (open, left_out) = opened(&list(sent));
    assert_eq!(left_out, 0);
    let sealed = open.seal(&client_secret(), &CLIENTS, [0xff, 0xfe]).unwrap();
    let got: Vec<_> = sealed.iter().collect();
    assert!(
        got.iter().map(|one| (one.kind, one.value.len())).eq(sent.iter().map(|(kind, value)| (*kind, value.len())))
    );
    for at in [0, 2, 5] {
        assert_eq!(got[at].value, sent[at].1);
    }
    for at in [1, 3, 4] {
        assert_ne!(got[at].value, sent[at].1);
    }
    assert_eq!(&got[3].value[40..46], hex(kept));
    assert_eq!(salts(&sealed), [[0xff, 0xff], [0x80, 0x00], [0x80, 0x02]], "the highest bit set, none of them twice");

    // The client reads them with what it has, by its own means.
    let read = |salted: &[u8]| {
        let (salt, cipher) = salted.split_at(2);
        let mut plain = cipher.to_vec();
        client_secret().uncover(&[CLIENTS.octets(), salt].concat(), &mut plain);
        plain
    };
    assert_eq!(read(&got[1].value[6..]), plain(16, b's'));
    assert_eq!(read(&got[3].value[6..40]), receive);
    assert_eq!((got[4].value[0], read(&got[4].value[1..])), (1, password));
    let chap_keys = UserPassword::unhide(&got[3].value[48..], &client_secret(), &CLIENTS).unwrap();
    assert_eq!(chap_keys.octets(), chap);
}

#[test]
fn c094_what_cannot_be_opened_is_left_out_and_counted() {
    let kept = "3f 06 00 00 00 04";
    let text = |inner: &str| [&vendor::MICROSOFT.to_be_bytes(), &hex(inner)[..]].concat();
    let too_long = salted([0x80, 1], &[&[32][..], &[7; 31]].concat());
    let left_out: &[(AttributeType, &[u8])] = &[
        // Without a length octet, without a whole salt, and with a length that goes past the end.
        (AttributeType::VENDOR_SPECIFIC, &text("10 04 80 01")),
        (AttributeType::VENDOR_SPECIFIC, &text("11 03 80")),
        (AttributeType::VENDOR_SPECIFIC, &microsoft(vendor::MS_MPPE_SEND_KEY, &too_long)),
        (AttributeType::TUNNEL_PASSWORD, &[]),
        (AttributeType::TUNNEL_PASSWORD, &[1, 0x80]),
        (AttributeType::TUNNEL_PASSWORD, &[&[1][..], &too_long].concat()),
        // No whole blocks.
        (AttributeType::VENDOR_SPECIFIC, &microsoft(vendor::MS_CHAP_MPPE_KEYS, &[7; 24])),
        (AttributeType::VENDOR_SPECIFIC, &microsoft(vendor::MS_CHAP_MPPE_KEYS, &[])),
        // What is in it cannot be told.
        (AttributeType::VENDOR_SPECIFIC, &text("10 00")),
        // Encrypted in a way of the vendor's own.
        (AttributeType(214), &[7; 16]),
        (AttributeType::VENDOR_SPECIFIC, &[&[0, 0, 0, 9, 1, 20][..], b"leap:session-key=x"].concat()),
        (AttributeType::VENDOR_SPECIFIC, &hex("00 00 12 ee 00 d6 05 61 62")),
        (AttributeType::VENDOR_SPECIFIC, &hex("00 00 60 b5 05 05 00 80 01")),
    ];
    for (kind, value) in left_out {
        assert_eq!(opened(&list(&[(*kind, value)])), (OpenAttributes::default(), 1), "{kind:?} {value:?}");
    }
    let beside: &[(AttributeType, &[u8])] = &[
        (AttributeType::VENDOR_SPECIFIC, &text(&format!("11 04 80 01 {kept} 0c 03 07"))),
        (AttributeType::VENDOR_SPECIFIC, &[&[0, 0, 0, 9, 1, 19][..], b"shell:priv-lvl=15"].concat()),
        (AttributeType::VENDOR_SPECIFIC, &hex("00 00 12 ee 00 02 05 61 62")),
        (AttributeType::VENDOR_SPECIFIC, &hex("ff")),
    ];
    let (open, left_out) = opened(&list(beside));
    let expected: &[(AttributeType, &[u8])] =
        &[(AttributeType::VENDOR_SPECIFIC, &text(kept)), beside[1], beside[2], beside[3]];
    assert_eq!((open.expose(), left_out), (list(expected).octets(), 2));
}

#[test]
fn s98_keys_are_shown_nowhere_and_are_not_taken_from_anywhere() {
    let value = salted([0x80, 1], &[&[16][..], b"a key of 16 octets  "].concat());
    let (open, _) = opened(&list(&[(AttributeType::VENDOR_SPECIFIC, &microsoft(17, &value))]));
    assert!(open.expose().windows(5).any(|part| part == b"a key"));
    assert_eq!(format!("{open:?}"), "OpenAttributes { octets: 31, .. }");
    assert_eq!(OpenAttributes::from_octets(open.expose()), Some(open.clone()));
    let mut octets = open.expose().to_vec();
    octets[10] = 32;
    assert_eq!(OpenAttributes::from_octets(&octets), None, "a length that goes past the end");
    octets[10] = 16;
    octets[8] = 0x80;
    assert_eq!(OpenAttributes::from_octets(&octets), None, "still encrypted");
    assert_eq!(OpenAttributes::from_octets(&[25, 9, 1]), None);
}

/// Attributes of a reply, many of them encrypted or nearly.
fn attributes() -> impl Strategy<Value = AttributeList> {
    let value = (vec(any::<u8>(), 0..60), any::<Option<u8>>());
    let kind = prop_oneof![
        3 => prop::sample::select(vec![(311_u32, 16_u8), (311, 17), (311, 12), (311, 26), (2356, 19), (14823, 44), (9, 1)])
            .prop_map(Some),
        2 => Just(None),
    ];
    let plain = prop_oneof![
        Just(25_u8),
        Just(69),
        Just(214),
        any::<u8>().prop_filter("of the hop", |kind| ![33, 80].contains(kind))
    ];
    vec((kind, plain, value, any::<bool>()), 0..20).prop_map(|made| {
        let mut list = AttributeList::new();
        for (vendor, plain, (mut value, blocks), twice) in made {
            if let Some(blocks) = blocks {
                value.resize(usize::from(blocks % 6) * 16, blocks);
            }
            match vendor {
                Some((vendor, kind)) => {
                    let inner = [&[kind, u8::try_from(value.len() + 2).unwrap()][..], &value].concat();
                    let inner = inner.repeat(1 + usize::from(twice));
                    list.push(AttributeType::VENDOR_SPECIFIC, &[&vendor.to_be_bytes(), &inner[..]].concat()).unwrap();
                }
                None => list.push(AttributeType(plain), &value).unwrap(),
            }
        }
        list
    })
}

proptest! {
    #[test]
    fn c094_over_two_hops_everything_is_the_same_in_plain(
        attributes in attributes(),
        secrets in any::<[Vec<u8>; 2]>(),
        requests in any::<[[u8; 16]; 2]>(),
        salt in any::<[u8; 2]>(),
    ) {
        let open = OpenAttributes::nearest(&attributes);
        let [server, client] = secrets.map(SharedSecret::new);
        let [ours, theirs] = requests.map(Authenticator);
        let sent = open.seal(&server, &ours, salt).unwrap();
        let (passing, left_out) = OpenAttributes::open(&mut sent.iter(), &server, &ours);
        prop_assert_eq!((&passing, left_out), (&open, 0));
        let got = passing.seal(&client, &theirs, salt).unwrap();
        prop_assert_eq!(OpenAttributes::open(&mut got.iter(), &client, &theirs), (open, 0));
        prop_assert_eq!(got.octets().len(), sent.octets().len());
        let salts = salts(&got);
        prop_assert!(salts.iter().all(|[high, _]| high & 0x80 != 0));
        prop_assert_eq!(salts.iter().collect::<HashSet<_>>().len(), salts.len());
    }

    #[test]
    fn c094_laws_of_replies_with_keys(attributes in attributes()) {
        // The oracle reads type, length of the value, value.
        let written = |one: Attribute<'_>| [&[one.kind.0, u8::try_from(one.value.len()).unwrap()], one.value].concat();
        oracles::upstream_reply(&attributes.iter().flat_map(written).collect::<Vec<_>>());
    }
}
