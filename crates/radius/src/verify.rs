//! Which packets are believed (RFC 2865 section 3, RFC 3579 section 3.2, RFC 5997 section 3).

use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::{
    AttributeType, Authenticator, Code, Identifier, MessageAuthenticator, PacketError, PacketView, SharedSecret, limits,
};

/// What a client's packets must carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageAuthenticatorRule {
    /// A packet without a valid Message-Authenticator is discarded. The default everywhere.
    Required,
    /// A packet may come without one, if it carries neither Proxy-State nor EAP-Message; one that is there must be
    /// valid.
    Optional,
    /// The packet comes over a connection that proves its sender and that nobody can alter anything on, such as RADIUS/TLS
    /// (RFC 6614). It may come without one, if it carries no EAP-Message (RFC 3579 section 3.1); one that is there must be
    /// valid.
    Connection,
}

/// What stands behind a request that is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A valid Message-Authenticator: the sender knows the secret, and nobody changed the packet.
    MessageAuthenticator,
    /// Only its source address (RFC 2865 section 3): anybody who can send from there may have made it.
    SourceAddress,
    /// The connection that it came over.
    Connection,
}

/// Why a request is discarded: silently, and with no effect on anything (RFC 3579 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// Not Access-Request or Status-Server.
    #[error("code {} is not a request for this port", .0.octet())]
    UnexpectedCode(Code),
    /// No Message-Authenticator where one is required.
    #[error("no message-authenticator")]
    MessageAuthenticatorAbsent,
    /// A wrong one: another secret, or a forged packet.
    #[error("invalid message-authenticator")]
    MessageAuthenticatorInvalid,
    /// Proxy-State without Message-Authenticator, from a client that may leave the latter out (CVE-2024-3596).
    #[error("proxy-state without message-authenticator")]
    ProxyStateUnprotected,
    /// EAP-Message without Message-Authenticator (RFC 3579 section 3.1).
    #[error("eap-message without message-authenticator")]
    EapUnprotected,
    /// More Proxy-State than [`limits`] allow.
    #[error("too much proxy-state")]
    TooMuchProxyState,
}

/// Says whether a request is believed, and why. Comes before every look at its content and before the transaction
/// table. [`Proof::SourceAddress`] is possible under [`MessageAuthenticatorRule::Optional`] only, [`Proof::Connection`] under
/// [`MessageAuthenticatorRule::Connection`] only.
///
/// # Errors
/// A [`RequestError`] where the packet is to be discarded silently.
pub fn verify_request(
    packet: &PacketView<'_>,
    secret: &SharedSecret,
    rule: MessageAuthenticatorRule,
) -> Result<Proof, RequestError> {
    let rule = match packet.code() {
        Code::AccessRequest => rule,
        Code::StatusServer => MessageAuthenticatorRule::Required,
        other => return Err(RequestError::UnexpectedCode(other)),
    };
    let proof = match (MessageAuthenticator::of_request(packet, secret), rule) {
        (MessageAuthenticator::Valid, _) => Proof::MessageAuthenticator,
        (MessageAuthenticator::Invalid, _) => return Err(RequestError::MessageAuthenticatorInvalid),
        (MessageAuthenticator::Absent, MessageAuthenticatorRule::Required) => {
            return Err(RequestError::MessageAuthenticatorAbsent);
        }
        (MessageAuthenticator::Absent, MessageAuthenticatorRule::Optional) => {
            if packet.attribute(AttributeType::PROXY_STATE).is_some() {
                return Err(RequestError::ProxyStateUnprotected);
            }
            if packet.attribute(AttributeType::EAP_MESSAGE).is_some() {
                return Err(RequestError::EapUnprotected);
            }
            Proof::SourceAddress
        }
        (MessageAuthenticator::Absent, MessageAuthenticatorRule::Connection) => {
            if packet.attribute(AttributeType::EAP_MESSAGE).is_some() {
                return Err(RequestError::EapUnprotected);
            }
            Proof::Connection
        }
    };
    if limits::too_much_proxy_state(packet) {
        return Err(RequestError::TooMuchProxyState);
    }
    Ok(proof)
}

/// Why a reply counts as none. The client goes on waiting (RFC 2865 section 3, RFC 5080 section 2.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReplyError {
    /// Not a packet.
    #[error("malformed reply: {0}")]
    Packet(#[from] PacketError),
    /// The identifier is not that of the request.
    #[error("reply to another identifier")]
    Identifier,
    /// Not Access-Accept, Access-Reject, Access-Challenge or Protocol-Error.
    #[error("code {} is not a reply", .0.octet())]
    UnexpectedCode(Code),
    /// The Response Authenticator is wrong.
    #[error("invalid response authenticator")]
    ResponseAuthenticator,
    /// No Message-Authenticator where one is required, or beside EAP-Message.
    #[error("no message-authenticator")]
    MessageAuthenticatorAbsent,
    /// A wrong one.
    #[error("invalid message-authenticator")]
    MessageAuthenticatorInvalid,
}

/// Says whether a datagram is the reply to a request of ours, and gives it back as a view. The caller has compared
/// source and destination address before.
///
/// # Errors
/// A [`ReplyError`] where the datagram counts as no reply.
pub fn verify_reply<'a>(
    datagram: &'a [u8],
    request: &Authenticator,
    identifier: Identifier,
    secret: &SharedSecret,
    rule: MessageAuthenticatorRule,
) -> Result<PacketView<'a>, ReplyError> {
    let packet = PacketView::parse(datagram)?;
    if packet.identifier() != identifier {
        return Err(ReplyError::Identifier);
    }
    match packet.code() {
        Code::AccessAccept | Code::AccessReject | Code::AccessChallenge | Code::ProtocolError => {}
        other => return Err(ReplyError::UnexpectedCode(other)),
    }
    let head = packet.octets().get(..4).unwrap_or_default();
    let expected = secret.response_authenticator(head, request.octets(), packet.attribute_octets());
    if !bool::from(expected.ct_eq(packet.authenticator().octets())) {
        return Err(ReplyError::ResponseAuthenticator);
    }
    match (MessageAuthenticator::of_reply(&packet, secret, request), rule) {
        (MessageAuthenticator::Valid, _) => Ok(packet),
        (MessageAuthenticator::Invalid, _) => Err(ReplyError::MessageAuthenticatorInvalid),
        (MessageAuthenticator::Absent, MessageAuthenticatorRule::Optional | MessageAuthenticatorRule::Connection)
            if packet.attribute(AttributeType::EAP_MESSAGE).is_none() =>
        {
            Ok(packet)
        }
        (MessageAuthenticator::Absent, _) => Err(ReplyError::MessageAuthenticatorAbsent),
    }
}
