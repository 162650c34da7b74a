//! Packets to be sent: Message-Authenticator first, authenticators last (RFC 2865 section 3, RFC 3579 section 3.2).

use thiserror::Error;

use crate::{AttributeList, AttributeType, Authenticator, Code, Identifier, PacketView, SharedSecret, limits};

/// Why a packet cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// A value longer than one attribute holds.
    #[error("value of {octets} octets does not fit attribute {}", .kind.0)]
    ValueTooLong {
        /// The attribute.
        kind: AttributeType,
        /// The octets of the value.
        octets: usize,
    },
    /// Longer than 4096 octets.
    #[error("packet longer than 4096 octets")]
    PacketTooLong,
    /// The code is not one of those that this function makes.
    #[error("code {} does not fit here", .0.octet())]
    WrongCode(Code),
    /// The encoder itself writes this attribute.
    #[error("attribute {} is written by the encoder", .0.0)]
    Reserved(AttributeType),
}

/// Message-Authenticator: type, length and value.
const FIRST: usize = 18;

/// Makes the reply to a request: Message-Authenticator, the given attributes, then the request's Proxy-State
/// attributes unchanged and in their order (RFC 2865 section 5.33). Message-Authenticator is computed with the Request
/// Authenticator in place, the Response Authenticator last of all (RFC 3579 section 3.2, RFC 2865 section 3).
///
/// Nothing else of the request gets into the reply.
///
/// # Errors
/// The code is not Access-Accept, Access-Reject, Access-Challenge or Protocol-Error; the attributes hold a
/// Message-Authenticator or Proxy-State; or the packet would be longer than 4096 octets.
pub fn encode_reply(
    code: Code,
    request: &PacketView<'_>,
    secret: &SharedSecret,
    attributes: &AttributeList,
) -> Result<Vec<u8>, EncodeError> {
    match code {
        Code::AccessAccept | Code::AccessReject | Code::AccessChallenge | Code::ProtocolError => {}
        _ => return Err(EncodeError::WrongCode(code)),
    }
    refuse(attributes, AttributeType::MESSAGE_AUTHENTICATOR)?;
    refuse(attributes, AttributeType::PROXY_STATE)?;
    let mut all = attributes.clone();
    for state in request.attributes(AttributeType::PROXY_STATE) {
        all.push(AttributeType::PROXY_STATE, state)?;
    }
    let (head, body) = compose(code, request.identifier(), &request.authenticator(), secret, &all)?;
    let authenticator = secret.response_authenticator(&head, request.authenticator().octets(), &body);
    Ok(join(head, authenticator, &body))
}

/// Tells the sender of a request of a kind that is not taken that he need not send more of them: Error-Cause 406 (Unsupported
/// Extension, RFC 5176 section 3.6) in an Accounting-Response, CoA-NAK or Disconnect-NAK, with the request's Proxy-State (RFC 6614
/// section 3.4). `None` for every other kind, which is left unanswered. Only for connections: a datagram of such a kind is
/// dropped.
pub fn encode_unsupported(request: &PacketView<'_>, secret: &SharedSecret) -> Option<Vec<u8>> {
    const ERROR_CAUSE: AttributeType = AttributeType(101);
    const UNSUPPORTED_EXTENSION: u32 = 406;
    /// Disconnect-Request and Disconnect-NAK, CoA-Request and CoA-NAK (RFC 5176 section 2.3).
    const DYNAMIC: [(u8, u8); 2] = [(40, 42), (43, 45)];
    let code = match request.code() {
        Code::AccountingRequest => Code::AccountingResponse,
        other => DYNAMIC.iter().find(|(asks, _)| *asks == other.octet()).map(|(_, nak)| Code::from(*nak))?,
    };
    let mut all = AttributeList::new();
    all.push(ERROR_CAUSE, &UNSUPPORTED_EXTENSION.to_be_bytes()).ok()?;
    for state in request.attributes(AttributeType::PROXY_STATE) {
        all.push(AttributeType::PROXY_STATE, state).ok()?;
    }
    let [high, low] = u16::try_from(limits::HEADER.saturating_add(all.octets().len())).ok()?.to_be_bytes();
    let head = [code.octet(), request.identifier().0, high, low];
    let authenticator = secret.response_authenticator(&head, request.authenticator().octets(), all.octets());
    Some(join(head, authenticator, all.octets()))
}

/// Makes a request of our own, Message-Authenticator first. Authenticator and identifier come from the caller; a
/// retransmission sends the same octets again (RFC 5080 section 2.2.1).
///
/// # Errors
/// The code is not Access-Request or Status-Server, the attributes hold a Message-Authenticator, or the packet would
/// be longer than 4096 octets.
pub fn encode_request(
    code: Code,
    identifier: Identifier,
    authenticator: &Authenticator,
    secret: &SharedSecret,
    attributes: &AttributeList,
) -> Result<Vec<u8>, EncodeError> {
    match code {
        Code::AccessRequest | Code::StatusServer => {}
        _ => return Err(EncodeError::WrongCode(code)),
    }
    refuse(attributes, AttributeType::MESSAGE_AUTHENTICATOR)?;
    let (head, body) = compose(code, identifier, authenticator, secret, attributes)?;
    Ok(join(head, *authenticator.octets(), &body))
}

fn refuse(attributes: &AttributeList, kind: AttributeType) -> Result<(), EncodeError> {
    if attributes.iter().any(|attribute| attribute.kind == kind) { Err(EncodeError::Reserved(kind)) } else { Ok(()) }
}

/// The first four octets, and all attributes with Message-Authenticator filled in.
fn compose(
    code: Code,
    identifier: Identifier,
    request: &Authenticator,
    secret: &SharedSecret,
    attributes: &AttributeList,
) -> Result<([u8; 4], Vec<u8>), EncodeError> {
    let length = limits::HEADER.saturating_add(FIRST).saturating_add(attributes.octets().len());
    if length > limits::PACKET {
        return Err(EncodeError::PacketTooLong);
    }
    let [high, low] = u16::try_from(length).map_err(|_| EncodeError::PacketTooLong)?.to_be_bytes();
    let head = [code.octet(), identifier.0, high, low];
    let first = [AttributeType::MESSAGE_AUTHENTICATOR.0, 18];
    let value = secret.message_authenticator(&head, request.octets(), &first, attributes.octets());
    let mut body = Vec::with_capacity(length.saturating_sub(limits::HEADER));
    body.extend_from_slice(&first);
    body.extend_from_slice(&value);
    body.extend_from_slice(attributes.octets());
    Ok((head, body))
}

pub(crate) fn join(head: [u8; 4], authenticator: [u8; 16], body: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(limits::HEADER.saturating_add(body.len()));
    packet.extend_from_slice(&head);
    packet.extend_from_slice(&authenticator);
    packet.extend_from_slice(body);
    packet
}
