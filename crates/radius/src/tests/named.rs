//! Reply attributes as administrators write them, and the tables behind them.

use std::collections::HashSet;

use super::hex;
use crate::{
    Attribute, AttributeList, AttributeType, NamedAttribute, NamedError, ValueFault, describe,
    dictionary::{self, Form, Place},
    limits, reply_attributes,
};

/// The attribute on the wire.
fn wire(text: &str) -> Vec<u8> {
    let named: NamedAttribute = text.parse().unwrap();
    let mut list = AttributeList::new();
    named.push_to(&mut list).unwrap();
    list.octets().to_vec()
}

fn refused(text: &str) -> String {
    text.parse::<NamedAttribute>().unwrap_err().to_string()
}

#[test]
fn each_form_stands_on_the_wire_as_its_rfc_draws_it() {
    for (text, octets) in [
        ("Filter-Id = staff", "0b 07 7374616666"),
        ("  filter-id=staff ", "0b 07 7374616666"),
        ("Class = vpn", "19 05 76706e"),
        ("Class = 0x00FF", "19 04 00ff"),
        ("Class = \"0x00\"", "19 06 30783030"),
        ("Reply-Message = \" a\\\"b\\\\ \"", "12 08 206122625c20"),
        ("Session-Timeout = 28800", "1b 06 00007080"),
        ("Session-Timeout = 0x7080", "1b 06 00007080"),
        ("Service-Type = NAS Prompt", "06 06 00000007"),
        ("Service-Type = administrative-user", "06 06 00000006"),
        ("Service-Type = 6", "06 06 00000006"),
        ("Framed-IP-Address = 192.0.2.7", "08 06 c0000207"),
        // RFC 2868 sections 3.1 and 3.6: a tag, or none.
        ("Tunnel-Type = VLAN", "40 06 0000000d"),
        ("Tunnel-Type:1 = VLAN", "40 06 0100000d"),
        ("Tunnel-Medium-Type : 1 = IEEE-802", "41 06 01000006"),
        ("Tunnel-Private-Group-Id = 20", "51 04 3230"),
        ("Tunnel-Private-Group-ID:31 = 20", "51 05 1f3230"),
        // RFC 3162 sections 2.2 to 2.4.
        ("Framed-Interface-Id = 0:0:0:7", "60 0a 0000000000000007"),
        ("Framed-IPv6-Prefix = 2001:db8:7::/48", "61 0a 0030 20010db80007"),
        ("Framed-IPv6-Prefix = ::/0", "61 04 0000"),
        ("Framed-IPv6-Prefix = 2001:db8::f/128", "61 14 0080 20010db800000000000000000000000f"),
        ("Login-IPv6-Host = 2001:db8::7", "62 12 20010db8000000000000000000000007"),
        // RFC 2865 section 5.26.
        ("Cisco-AVPair = shell:priv-lvl=15", "1a 19 00000009 01 13 7368656c6c3a707269762d6c766c3d3135"),
        ("26.9.1 = a", "1a 09 00000009 01 03 61"),
        ("26.4242.9 = 0x0102", "1a 0a 00001092 09 04 0102"),
        ("MS-RDG-Device-Redirection = Disable-Clipboard", "1a 0c 00000137 3f 06 00000008"),
        ("MS-RDG-Device-Redirection = 0x0b", "1a 0c 00000137 3f 06 0000000b"),
        ("Fortinet-Group-Name = vpn", "1a 0b 00003044 01 05 76706e"),
    ] {
        assert_eq!(wire(text), hex(octets), "{text}");
    }
}

#[test]
fn a_name_is_shown_as_the_dictionary_writes_it() {
    let shown = |text: &str| text.parse::<NamedAttribute>().unwrap().to_string();
    assert_eq!(shown("tunnel-private-group-id:1=20"), "Tunnel-Private-Group-Id:1 = 20");
    assert_eq!(shown("26.9.1 =x"), "Cisco-AVPair = x");
    assert_eq!(shown("26.4242.9 = 0x01"), "26.4242.9 = 0x01");
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    for (text, said) in [
        ("Filter-Id staff", "\"Filter-Id staff\" has no \"=\": write Name = value, for example Filter-Id = staff"),
        ("Fliter-Id = staff", "there is no attribute \"Fliter-Id\": did you mean Filter-Id?"),
        ("SessionTimeout = 1", "there is no attribute \"SessionTimeout\": did you mean Session-Timeout?"),
        ("Group-Name = a", "there is no attribute \"Group-Name\": did you mean Fortinet-Group-Name?"),
        ("Cisco-AV-Pair = a", "there is no attribute \"Cisco-AV-Pair\": did you mean Cisco-AVPair?"),
        ("Session-Timeout = soon", "Session-Timeout: \"soon\" is no number from 0 to 4294967295"),
        ("Framed-MTU = 63", "Framed-MTU: \"63\" is no number from 64 to 65535"),
        ("Tunnel-Type = 16777216", "Tunnel-Type: \"16777216\" is no number from 0 to 16777215"),
        (
            "Termination-Action = Never",
            "Termination-Action: \"Never\" is neither a number nor one of Default, RADIUS-Request",
        ),
        ("Framed-IP-Address = 192.0.2", "Framed-IP-Address: \"192.0.2\" is no IPv4 address (192.0.2.7)"),
        (
            "Framed-IPv6-Prefix = 2001:db8::1/64",
            "Framed-IPv6-Prefix: \"2001:db8::1/64\" is no prefix of IPv6 without bits behind it (2001:db8:7::/48)",
        ),
        ("Class = ", "Class: the value is empty"),
        ("Class = \"\"", "Class: the value is empty"),
        ("Class = 0x0", "Class: \"0x0\" is no row of octets (0x0a1b)"),
        ("Filter-Id = a\u{7}", "Filter-Id: the value has a control character in it"),
        ("Filter-Id:1 = a", "Filter-Id: \"1\" is no tag: only tunnel attributes have one, from 1 to 31"),
        ("Tunnel-Type:0 = VLAN", "Tunnel-Type: \"0\" is no tag: only tunnel attributes have one, from 1 to 31"),
    ] {
        assert_eq!(refused(text), said, "{text}");
    }
    assert!(refused("Wholly-Unheard-Of = 1").ends_with("26.VENDOR.TYPE = 0x…"));
    assert!(refused("26.0.1 = a").starts_with("there is no attribute"));
    assert!(refused("26.9.256 = a").starts_with("there is no attribute"));
    let (long, most) = ("x".repeat(254), "x".repeat(253));
    assert_eq!(refused(&format!("Filter-Id = {long}")), "Filter-Id: the value has 254 octets, at most 253 fit");
    assert_eq!(wire(&format!("Filter-Id = {most}")).len(), 255);
    assert_eq!(refused(&format!("Cisco-AVPair = {long}")), "Cisco-AVPair: the value has 254 octets, at most 247 fit");
    assert_eq!(
        refused(&format!("Tunnel-Client-Endpoint:1 = {most}")).split(": ").nth(1).unwrap(),
        "the value has 253 octets, at most 252 fit"
    );
}

#[test]
fn s55_what_the_server_or_an_exchange_makes_is_not_for_a_policy() {
    for name in [
        "User-Name",
        "User-Password",
        "CHAP-Password",
        "State",
        "Proxy-State",
        "EAP-Message",
        "Message-Authenticator",
        "Tunnel-Password",
        "Vendor-Specific",
        "Error-Cause",
        "Prompt",
        "NAS-Port",
        "MS-MPPE-Send-Key",
        "MS-MPPE-Recv-Key",
        "MS-CHAP-MPPE-Keys",
        "MS-CHAP2-Success",
        // The same by their numbers.
        "26.311.16",
        "26.311.17",
        "26.311.26",
    ] {
        let fault = NamedAttribute::new(name, "0x00").unwrap_err();
        assert!(matches!(fault, NamedError::Elsewhere { .. }), "{name}: {fault}");
    }
    assert_eq!(
        refused("state = 1"),
        "State cannot be a reply attribute: the server itself writes it, bound to one login (RFC 2865 section 5.24)"
    );
}

#[test]
fn of_one_that_may_stand_once_the_first_is_taken() {
    let named: Vec<NamedAttribute> = ["Session-Timeout = 60", "Class = a", "Session-Timeout = 90", "Class = b"]
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
    let list = reply_attributes(&named).unwrap();
    assert_eq!(list.octets(), hex("1b06 0000003c 1903 61 1903 62"));
}

#[test]
fn together_they_leave_room_for_the_rest_of_a_reply() {
    let one: NamedAttribute = format!("Class = {}", "x".repeat(248)).parse().unwrap();
    let mut named = vec![one.clone(); limits::POLICY / 250];
    assert_eq!(reply_attributes(&named).unwrap().octets().len(), limits::POLICY);
    named.push(one);
    let fault = reply_attributes(&named).unwrap_err();
    assert_eq!(fault.to_string().split(" octets, at most 1500").count(), 2, "{fault}");
    let rest = limits::HEADER + 18 + limits::PROXY_STATES * 2 + limits::PROXY_STATE_OCTETS;
    assert!(limits::POLICY * 2 + rest <= limits::PACKET);
}

#[test]
fn a_reply_is_described_in_the_words_that_a_policy_is_written_in() {
    let of = |octets: &str| {
        let octets = hex(octets);
        describe(&Attribute { kind: AttributeType(octets[0]), value: &octets[2..] })
    };
    assert_eq!(of("4006 0100000d"), ["Tunnel-Type:1 = VLAN"]);
    assert_eq!(of("5104 3230"), ["Tunnel-Private-Group-Id = 20"]);
    assert_eq!(of("5106 01 323020"), ["Tunnel-Private-Group-Id:1 = \"20 \""]);
    assert_eq!(of("1904 00ff"), ["Class = 0x00ff"]);
    assert_eq!(of("0604 0001"), ["Service-Type = 0x0001"]);
    assert_eq!(of("0606 00000063"), ["Service-Type = 99"]);
    assert_eq!(of("610a 0030 20010db80007"), ["Framed-IPv6-Prefix = 2001:db8:7::/48"]);
    assert_eq!(of("fa04 6162"), ["250 = ab"]);
    // Two sub-attributes in one, an unknown vendor, a form of the vendor's own.
    assert_eq!(of("1a0e 00000009 0103 61 0105 626364"), ["Cisco-AVPair = a", "Cisco-AVPair = bcd"]);
    assert_eq!(of("1a09 00001092 0903 01"), ["26.4242.9 = 0x01"]);
    assert_eq!(of("1a08 00001092 0900"), ["26.4242 = 0x0900"]);
}

#[test]
fn a_credential_is_not_described() {
    for (kind, value) in [(2, "aabbccdd"), (24, "aabbccdd"), (69, "01aabbccdd")] {
        let value = hex(value);
        let said = describe(&Attribute { kind: AttributeType(kind), value: &value }).join("");
        assert!(said.ends_with("octets)") && !said.contains("bb"), "{said}");
    }
    let key = hex("00000137 10 06 aabbccdd");
    let said = describe(&Attribute { kind: AttributeType::VENDOR_SPECIFIC, value: &key });
    assert_eq!(said, ["MS-MPPE-Send-Key = (4 octets)"]);
}

#[test]
fn every_line_of_the_tables_can_be_found_and_written() {
    let (mut names, mut numbers) = (HashSet::new(), HashSet::new());
    for definition in dictionary::all() {
        let name = definition.name;
        assert!(names.insert(name.to_ascii_lowercase()), "{name} twice");
        assert!(numbers.insert((definition.vendor, definition.kind)), "{name} has the number of another");
        assert!(name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-'), "{name}");
        assert!(!definition.tagged || matches!(definition.form, Form::Text | Form::Integer(_) | Form::Number(..)));
        let value = match definition.form {
            Form::Text | Form::Octets => "text".to_owned(),
            Form::Integer(values) => {
                let words: HashSet<_> = values.iter().map(|(word, _)| word.to_ascii_lowercase()).collect();
                assert_eq!(words.len(), values.len(), "a name of a value of {name} twice");
                for (word, number) in values {
                    assert_eq!(dictionary::value_of(definition, word), Some(*number));
                }
                values.last().unwrap().0.to_owned()
            }
            Form::Number(least, most) => {
                assert!(least < most);
                most.min(0x00ff_ffff).to_string()
            }
            Form::Ipv4 => "192.0.2.7".to_owned(),
            Form::Ipv6 => "2001:db8::7".to_owned(),
            Form::Ipv6Prefix => "2001:db8::/32".to_owned(),
            Form::InterfaceId => "0:0:0:7".to_owned(),
        };
        let made = NamedAttribute::new(name, &value);
        match definition.place {
            Place::Once | Place::Several => assert_eq!(made.unwrap().name(), name),
            Place::Elsewhere(_) | Place::Secret(_) => assert!(matches!(made, Err(NamedError::Elsewhere { .. }))),
        }
    }
    // The constants of the codec and the table speak of the same attributes.
    for octet in 0..=255 {
        let known = dictionary::by_number(None, octet).map(|definition| definition.name);
        if let (Some(constant), Some(known)) = (AttributeType(octet).name(), known) {
            assert_eq!(constant, known);
        }
    }
}

#[test]
fn a_quotation_that_does_not_end_is_refused() {
    for text in ["Class = \"a", "Class = \"a\" b", "Class = \"a\\n\"", "Class = \"a\\"] {
        let fault = text.parse::<NamedAttribute>().unwrap_err();
        assert!(matches!(fault, NamedError::Value { fault: ValueFault::Quotation, .. }), "{text}: {fault}");
    }
}
