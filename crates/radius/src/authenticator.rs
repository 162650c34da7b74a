//! Message-Authenticator, verified over the octets that arrived (RFC 3579 section 3.2).

use hmac::Mac;

use crate::{AttributeType, Authenticator, PacketView, SharedSecret, limits};

/// What a packet's Message-Authenticator says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageAuthenticator {
    /// There is none.
    Absent,
    /// There is exactly one, of 16 octets, and it is right.
    Valid,
    /// It is wrong, of another length, or there are several. The packet is to be discarded silently.
    Invalid,
}

impl MessageAuthenticator {
    /// Checks a packet that carries its own authenticator in the computation: Access-Request and Status-Server.
    pub fn of_request(packet: &PacketView<'_>, secret: &SharedSecret) -> Self {
        Self::check(packet, secret, &packet.authenticator())
    }

    /// Checks a reply: the authenticator of its request stands in the place of its own.
    pub fn of_reply(packet: &PacketView<'_>, secret: &SharedSecret, request: &Authenticator) -> Self {
        Self::check(packet, secret, request)
    }

    /// INVARIANT: the HMAC runs over the received octets, in their order, with only the 16 value octets replaced by
    /// zeros; nothing is encoded again.
    fn check(packet: &PacketView<'_>, secret: &SharedSecret, authenticator: &Authenticator) -> Self {
        let mut found = None;
        let mut offset = limits::HEADER;
        for attribute in packet {
            let value_at = offset.saturating_add(2);
            offset = value_at.saturating_add(attribute.value.len());
            if attribute.kind == AttributeType::MESSAGE_AUTHENTICATOR {
                if found.is_some() {
                    return Self::Invalid;
                }
                found = Some((value_at, offset, attribute.value));
            }
        }
        let Some((value_at, value_end, value)) = found else { return Self::Absent };
        let octets = packet.octets();
        let (Some(head), Some(before), Some(after), 16) =
            (octets.get(..4), octets.get(limits::HEADER..value_at), octets.get(value_end..), value.len())
        else {
            return Self::Invalid;
        };
        let mac = secret.hmac().chain_update(head).chain_update(authenticator.octets()).chain_update(before);
        let verified = mac.chain_update([0; 16]).chain_update(after).verify_slice(value);
        if verified.is_ok() { Self::Valid } else { Self::Invalid }
    }
}
