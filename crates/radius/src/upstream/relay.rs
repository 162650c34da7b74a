//! What of a server's reply goes back to the client (RFC 2865 section 2.3).

use crate::{Attribute, AttributeType, PacketView, VendorSpecific, vendor};

/// Attributes that are encrypted for one hop, so that they mean nothing on the next: type numbers of the RFCs,
/// then by vendor. Sources: RFC 2548 sections 2.4.1 to 2.4.3, RFC 2868 section 3.5, and the vendors' dictionaries.
const BOUND_TO_A_HOP: &[AttributeType] = &[AttributeType::TUNNEL_PASSWORD, AttributeType(214), AttributeType(215)];
const VENDORS_BOUND_TO_A_HOP: &[(u32, &[u8])] = &[
    (vendor::MICROSOFT, &[vendor::MS_CHAP_MPPE_KEYS, vendor::MS_MPPE_SEND_KEY, vendor::MS_MPPE_RECV_KEY]),
    (161, &[11]),
    (529, &[214, 215]),
    (831, &[116, 117, 118, 119]),
    (2356, &[19, 20]),
    (4874, &[58, 59, 60, 61]),
    (5535, &[58]),
    (6527, &[122, 123, 124, 125, 138, 139, 142]),
    (14823, &[44]),
    (24757, &[5, 10, 12, 14, 15, 19, 40, 66, 67, 70, 75, 86, 87, 131]),
    (26928, &[3]),
];
/// Cisco's key of LEAP, which is text in its general attribute.
const CISCO: u32 = 9;
const CISCO_AVPAIR: u8 = 1;
const LEAP_KEY: &[u8] = b"leap:session-key=";
/// Lucent's types have two octets.
const LUCENT: u32 = 4846;

/// The attributes of a verified reply that go back, as they stand on the wire.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Relayed {
    /// Octet for octet and in their order. Without Message-Authenticator and Proxy-State, which belong to the hop, and
    /// without what is encrypted for it.
    pub attributes: Vec<u8>,
    /// How many were encrypted for the hop and are left out.
    pub left_out: usize,
}

impl core::fmt::Debug for Relayed {
    /// Lengths only: values may be secrets.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let octets = self.attributes.len();
        f.debug_struct("Relayed").field("octets", &octets).field("left_out", &self.left_out).finish()
    }
}

/// Sorts the attributes of a verified reply.
pub(crate) fn relayed(reply: &PacketView<'_>) -> Relayed {
    let mut relayed = Relayed::default();
    for attribute in reply {
        match attribute.kind {
            AttributeType::MESSAGE_AUTHENTICATOR | AttributeType::PROXY_STATE => {}
            kind if BOUND_TO_A_HOP.contains(&kind) => relayed.left_out = relayed.left_out.saturating_add(1),
            AttributeType::VENDOR_SPECIFIC => vendor_specific(attribute, &mut relayed),
            _ => push(&mut relayed.attributes, attribute.kind.0, attribute.value),
        }
    }
    relayed
}

/// Leaves out the sub-attributes that are encrypted; where there are none the whole stays as it is.
fn vendor_specific(attribute: Attribute<'_>, relayed: &mut Relayed) {
    let whole = |relayed: &mut Relayed| push(&mut relayed.attributes, attribute.kind.0, attribute.value);
    let Some(specific) = VendorSpecific::parse(attribute.value) else { return whole(relayed) };
    if specific.vendor == LUCENT && matches!(specific.data, [0, 214 | 215, ..]) {
        relayed.left_out = relayed.left_out.saturating_add(1);
        return;
    }
    let listed = VENDORS_BOUND_TO_A_HOP.iter().find(|(vendor, _)| *vendor == specific.vendor).map(|(_, kinds)| *kinds);
    if listed.is_some() && specific.is_opaque() {
        // What is in it cannot be told.
        relayed.left_out = relayed.left_out.saturating_add(1);
        return;
    }
    let is_bound = |kind: u8, value: &[u8]| {
        listed.is_some_and(|kinds| kinds.contains(&kind))
            || (specific.vendor == CISCO && kind == CISCO_AVPAIR && value.starts_with(LEAP_KEY))
    };
    let bound = specific.attributes().filter(|inner| is_bound(inner.kind, inner.value)).count();
    if bound == 0 {
        return whole(relayed);
    }
    relayed.left_out = relayed.left_out.saturating_add(bound);
    let mut rest = specific.vendor.to_be_bytes().to_vec();
    for inner in specific.attributes().filter(|inner| !is_bound(inner.kind, inner.value)) {
        push(&mut rest, inner.kind, inner.value);
    }
    if rest.len() > 4 {
        push(&mut relayed.attributes, attribute.kind.0, &rest);
    }
}

fn push(octets: &mut Vec<u8>, kind: u8, value: &[u8]) {
    // A value came out of an attribute, so its length is one.
    let Ok(length) = u8::try_from(value.len().saturating_add(2)) else { return };
    octets.extend_from_slice(&[kind, length]);
    octets.extend_from_slice(value);
}
