//! What of a server's reply goes back to the client (RFC 2865 section 2.3).

use crate::{AttributeType, Authenticator, OpenAttributes, PacketView, SharedSecret};

/// The attributes of a verified reply that go back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Relayed {
    /// In their order, without Message-Authenticator and Proxy-State, which belong to the hop. What was encrypted for it is
    /// opened, everything else is as it came, octet for octet.
    pub attributes: OpenAttributes,
    /// How many were encrypted for the hop in a way that cannot be opened, and are left out.
    pub left_out: usize,
}

/// Sorts the attributes of a verified reply to the request with this authenticator.
pub(crate) fn relayed(reply: &PacketView<'_>, secret: &SharedSecret, request: &Authenticator) -> Relayed {
    let of_hop = |kind| matches!(kind, AttributeType::MESSAGE_AUTHENTICATOR | AttributeType::PROXY_STATE);
    let mut attributes = reply.iter().filter(|attribute| !of_hop(attribute.kind));
    let (attributes, left_out) = OpenAttributes::open(&mut attributes, secret, request);
    Relayed { attributes, left_out }
}
