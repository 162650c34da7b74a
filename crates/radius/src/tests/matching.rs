//! Which requests a rule of a client means.

use super::signed;
use crate::{AttributeType, PacketView, RequestTest};

fn holds(attribute: &str, value: &str, request: &[(AttributeType, &[u8])]) -> bool {
    RequestTest::new(attribute, value).unwrap().holds(&PacketView::parse(&signed(request)).unwrap())
}

/// MS-Network-Access-Server-Type as NPS writes it.
const RD_GATEWAY: (AttributeType, &[u8]) = (AttributeType::VENDOR_SPECIFIC, &[0, 0, 1, 0x37, 47, 6, 0, 0, 0, 1]);

#[test]
fn each_attribute_is_compared_in_its_own_form() {
    let request: &[(AttributeType, &[u8])] = &[
        (AttributeType::NAS_IDENTIFIER, b"RDGW1"),
        (AttributeType::NAS_IP_ADDRESS, &[192, 0, 2, 7]),
        (AttributeType::NAS_IPV6_ADDRESS, &[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]),
        (AttributeType::CALLED_STATION_ID, b"UserAuthType:PW"),
        (AttributeType::NAS_PORT_TYPE, &[0, 0, 0, 5]),
        RD_GATEWAY,
    ];
    for (attribute, value) in [
        ("NAS-Identifier", " rdgw1 "),
        ("nas-identifier", "RDGW1"),
        ("NAS-IP-Address", "192.0.2.7"),
        ("NAS-IP-Address", "192.0.2.0/24"),
        ("NAS-IP-Address", "0.0.0.0/0"),
        ("NAS-IP-Address", "2001:db8::7"),
        ("NAS-IP-Address", "2001:db8::/32"),
        ("Called-Station-Id", "userauthtype:pw"),
        ("NAS-Port-Type", "Virtual"),
        ("NAS-Port-Type", "5"),
        ("MS-Network-Access-Server-Type", "Terminal Server Gateway"),
        ("MS-Network-Access-Server-Type", "1"),
    ] {
        assert!(holds(attribute, value, request), "{attribute} = {value}");
        assert!(!holds(attribute, value, &[(AttributeType::USER_NAME, b"alice")]), "{attribute} = {value} of nothing");
    }
    for (attribute, value) in [
        ("NAS-Identifier", "rdgw"),
        ("NAS-Identifier", "rdgw10"),
        ("NAS-IP-Address", "192.0.2.8"),
        ("NAS-IP-Address", "192.0.3.0/24"),
        ("NAS-IP-Address", "2001:db9::/32"),
        ("Called-Station-Id", "UserAuthType"),
        ("NAS-Port-Type", "Ethernet"),
        ("MS-Network-Access-Server-Type", "2"),
    ] {
        assert!(!holds(attribute, value, request), "{attribute} = {value}");
    }
}

#[test]
fn an_attribute_that_is_there_twice_or_malformed_fits_no_rule() {
    let twice: (AttributeType, &[u8]) = (AttributeType::NAS_IDENTIFIER, b"a");
    assert!(holds("NAS-Identifier", "a", &[twice]));
    assert!(!holds("NAS-Identifier", "a", &[twice, twice]));
    assert!(!holds("NAS-Port-Type", "5", &[(AttributeType::NAS_PORT_TYPE, &[5])]));
    assert!(!holds("NAS-IP-Address", "0.0.0.0/0", &[(AttributeType::NAS_IP_ADDRESS, &[192, 0, 2])]));
    assert!(holds("MS-Network-Access-Server-Type", "1", &[RD_GATEWAY]));
    assert!(!holds("MS-Network-Access-Server-Type", "1", &[RD_GATEWAY, RD_GATEWAY]));
    // Length 0 inside: opaque (C072).
    let opaque: &[u8] = &[0, 0, 1, 0x37, 47, 0];
    assert!(!holds("MS-Network-Access-Server-Type", "1", &[(AttributeType::VENDOR_SPECIFIC, opaque)]));
}

#[test]
fn a_rule_is_shown_as_it_is_understood_and_refused_with_what_can_be_had() {
    let shown = |attribute, value| RequestTest::new(attribute, value).unwrap().to_string();
    assert_eq!(shown("NAS-Port-Type", "19"), "Wireless-802.11");
    assert_eq!(shown("NAS-Port-Type", "wireless ieee 802.11"), "Wireless-802.11");
    assert_eq!(shown("NAS-Port-Type", "99"), "99");
    assert_eq!(shown("MS-Network-Access-Server-Type", "1"), "Terminal-Server-Gateway");
    assert_eq!(shown("NAS-IP-Address", "192.0.2.7/32"), "192.0.2.7");
    assert_eq!(shown("NAS-IP-Address", "2001:db8::/32"), "2001:db8::/32");
    for (attribute, value, said) in [
        ("User-Name", "a", "not by User-Name"),
        ("NAS-Identifier", "", "1 to 253 octets"),
        ("NAS-IP-Address", "192.0.2.7/24", "not with 192.0.2.7/24"),
        ("NAS-IP-Address", "192.0.2.0/33", "not with 192.0.2.0/33"),
        ("NAS-IP-Address", "rdgw1", "192.0.2.0/24"),
        ("MS-Network-Access-Server-Type", "RDG", "Terminal-Server-Gateway, Remote-Access-Server"),
        ("NAS-Port-Type", "-1", "Virtual"),
    ] {
        let fault = RequestTest::new(attribute, value).unwrap_err().to_string();
        assert!(fault.contains(said), "{fault}");
    }
}
