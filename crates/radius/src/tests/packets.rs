use std::iter;

use super::{REQUEST, hex, list, raw, signed};
use crate::{
    AttributeList, AttributeType, Authenticator, Code, EncodeError, Identifier, PacketError, PacketView, Repeated,
    VendorSpecific, vendor,
};

#[test]
fn s44_datagrams_shorter_than_a_header_are_refused() {
    let packet = raw(1, &[]);
    for length in 0..20 {
        assert_eq!(PacketView::parse(&packet[..length]).unwrap_err(), PacketError::DatagramTooShort(length));
    }
    assert!(PacketView::parse(&packet).is_ok());
}

#[test]
fn s44_the_length_field_is_bounded_by_20_4096_and_the_datagram() {
    let mut packet = raw(1, &[]);
    let mut with_length = |length: u16| {
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        PacketView::parse(&packet).map(|view| view.octets().len())
    };
    for length in (0..20).chain([4097, 65535]) {
        assert_eq!(with_length(length), Err(PacketError::LengthOutOfRange(usize::from(length))));
    }
    assert_eq!(with_length(21), Err(PacketError::Truncated { length: 21, datagram: 20 }));
    assert_eq!(with_length(4096), Err(PacketError::Truncated { length: 4096, datagram: 20 }));
    assert_eq!(with_length(20), Ok(20));
}

#[test]
fn s44_4096_octets_pass_and_4097_do_not() {
    let mut attributes: Vec<u8> = iter::repeat_n([&[33, 255][..], &[0; 253]].concat(), 15).flatten().collect();
    attributes.extend([33, 251]);
    attributes.extend([0; 249]);
    let mut packet = raw(1, &attributes);
    assert_eq!(packet.len(), 4096);
    assert!(PacketView::parse(&packet).is_ok());
    packet.push(0);
    assert_eq!(PacketView::parse(&packet).unwrap_err(), PacketError::DatagramTooLong(4097));
}

#[test]
fn s44_octets_after_length_are_padding() {
    let mut packet = raw(1, b"\x01\x06nemo");
    packet.extend(b"\x01\x00 anything");
    let view = PacketView::parse(&packet).unwrap();
    assert_eq!(view.octets(), raw(1, b"\x01\x06nemo"));
    assert_eq!(view.iter().count(), 1);
}

#[test]
fn s44_c072_attributes_with_a_bad_length_are_refused() {
    for attributes in [&b"\x01\x00"[..], b"\x01\x01", b"\x01", b"\x01\x03", b"\x01\xff", b"\x01\x00\x00\x00\x00"] {
        let packet = raw(1, attributes);
        assert_eq!(PacketView::parse(&packet).unwrap_err(), PacketError::AttributeLength { offset: 20 });
        let packet = raw(1, &[b"\x01\x06nemo", attributes].concat());
        assert_eq!(PacketView::parse(&packet).unwrap_err(), PacketError::AttributeLength { offset: 26 });
    }
}

#[test]
fn s44_200_attributes_pass_and_201_do_not() {
    assert_eq!(PacketView::parse(&raw(1, &[99, 2].repeat(200))).unwrap().iter().count(), 200);
    assert_eq!(PacketView::parse(&raw(1, &[99, 2].repeat(201))).unwrap_err(), PacketError::TooManyAttributes);
}

#[test]
fn attributes_keep_their_order_and_their_octets() {
    let packet = raw(12, b"\x21\x031\x05\x06\0\0\0\x01\x21\x032\x63\x02");
    let view = PacketView::parse(&packet).unwrap();
    assert_eq!((view.code(), view.identifier(), view.authenticator()), (Code::StatusServer, Identifier(7), REQUEST));
    let kinds: Vec<u8> = view.iter().map(|attribute| attribute.kind.0).collect();
    assert_eq!(kinds, [33, 5, 33, 99]);
    assert_eq!(view.attributes(AttributeType::PROXY_STATE).collect::<Vec<_>>(), [b"1", b"2"]);
    assert_eq!(view.attribute(AttributeType::PROXY_STATE), Some(&b"1"[..]));
    assert_eq!(view.one(AttributeType::PROXY_STATE), Err(Repeated(AttributeType::PROXY_STATE)));
    assert_eq!(view.one(AttributeType::NAS_PORT), Ok(Some(&[0, 0, 0, 1][..])));
    assert_eq!(view.one(AttributeType::USER_NAME), Ok(None));
    assert_eq!(view.attribute(AttributeType(99)), Some(&[][..]));
}

#[test]
fn c017_user_name_comes_out_octet_for_octet() {
    for name in [&b"k\xc3\xb6lbel"[..], b"k\xf6lbel", b"a\0b"] {
        let packet = signed(&[(AttributeType::USER_NAME, name)]);
        assert_eq!(PacketView::parse(&packet).unwrap().attribute(AttributeType::USER_NAME), Some(name));
    }
}

#[test]
fn c072_vendor_data_with_a_bad_inner_length_is_opaque() {
    let good = b"\x00\x00\x01\x37\x01\x08abcdef";
    for bad in [&b"\x02\x00"[..], b"\x02\x01", b"\x02", b"\x02\x03", b"\x02\xff\x00"] {
        let value = [&good[..], bad].concat();
        let specific = VendorSpecific::parse(&value).unwrap();
        assert_eq!(specific.vendor, 311);
        assert!(specific.is_opaque());
        assert_eq!(specific.attributes().count(), 0);
        assert_eq!(specific.data, &value[4..]);
    }
    let specific = VendorSpecific::parse(good).unwrap();
    assert!(!specific.is_opaque());
    assert_eq!(specific.attributes().map(|a| (a.kind, a.value)).collect::<Vec<_>>(), [(1, &b"abcdef"[..])]);
    for short in [&b""[..], b"\0", b"\0\0\x01"] {
        assert_eq!(VendorSpecific::parse(short), None);
    }
    assert!(!VendorSpecific::parse(b"\0\0\x01\x37").unwrap().is_opaque());
}

#[test]
fn vendor_attributes_are_found_over_several_instances() {
    let mut attributes = AttributeList::new();
    attributes.push_vendor(9, 1, b"shell:priv-lvl=15").unwrap();
    attributes.push_vendor(vendor::MICROSOFT, 47, &[0, 0, 0, 2]).unwrap();
    attributes.push(AttributeType::USER_NAME, b"nemo").unwrap();
    attributes.push_vendor(9, 1, b"two").unwrap();
    let packet = raw(1, attributes.octets());
    let view = PacketView::parse(&packet).unwrap();
    assert_eq!(view.vendor_attributes(9, 1).collect::<Vec<_>>(), [&b"shell:priv-lvl=15"[..], b"two"]);
    assert_eq!(view.vendor_attributes(311, 47).collect::<Vec<_>>(), [&[0, 0, 0, 2][..]]);
    assert_eq!(view.vendor_attributes(311, 1).count(), 0);
}

#[test]
fn codes_and_names_are_those_of_the_rfcs() {
    for octet in 0..=255 {
        assert_eq!(Code::from(octet).octet(), octet);
    }
    assert_eq!(Code::from(40), Code::Other(40));
    assert_eq!(AttributeType::MESSAGE_AUTHENTICATOR.name(), Some("Message-Authenticator"));
    assert_eq!(AttributeType(80), AttributeType::MESSAGE_AUTHENTICATOR);
    assert_eq!(AttributeType(255).name(), None);
}

#[test]
fn lists_are_bounded_and_split_long_values() {
    let mut attributes = AttributeList::new();
    assert!(attributes.is_empty());
    let too_long = EncodeError::ValueTooLong { kind: AttributeType::CLASS, octets: 254 };
    assert_eq!(attributes.push(AttributeType::CLASS, &[0; 254]), Err(too_long));
    attributes.push_split(AttributeType::EAP_MESSAGE, &[1; 600]).unwrap();
    assert_eq!(attributes.iter().map(|a| a.value.len()).collect::<Vec<_>>(), [253, 253, 94]);
    let before = attributes.clone();
    assert_eq!(attributes.push_split(AttributeType::EAP_MESSAGE, &[1; 5000]), Err(EncodeError::PacketTooLong));
    assert_eq!(attributes, before);
    attributes.push_split(AttributeType::EAP_MESSAGE, &[]).unwrap();
    assert_eq!(attributes, before);
    assert!(attributes.push_vendor(9, 1, &[0; 247]).is_ok());
    assert!(attributes.push_vendor(9, 1, &[0; 248]).is_err());
    assert!(attributes.push_vendor(9, 1, &[0; 254]).is_err());
}

#[test]
fn debug_shows_no_values() {
    let packet = signed(&[(AttributeType::USER_PASSWORD, b"canary-canary-ca"), (AttributeType::CLASS, b"canary")]);
    let view = PacketView::parse(&packet).unwrap();
    let value = [&[0, 0, 0, 9, 1, 8][..], b"canary"].concat();
    let specific = VendorSpecific::parse(&value).unwrap();
    let shown = format!(
        "{view:?} {:?} {:?} {specific:?} {:?} {:?}",
        view.iter(),
        view.iter().collect::<Vec<_>>(),
        specific.attributes().collect::<Vec<_>>(),
        list(&[(AttributeType::CLASS, b"canary")]),
    );
    assert!(!shown.contains("canary") && !shown.contains("99, 97, 110"), "{shown}");
    assert_eq!(format!("{:?}", Authenticator([0xab; 16])), format!("Authenticator({})", "ab".repeat(16)));
    assert_eq!(hex("00 ff"), [0, 255]);
}
