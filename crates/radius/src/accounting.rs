//! Accounting: packets whose authenticator is a checksum under the secret (RFC 2866 section 3).

use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::encode::join;
use crate::{
    AttributeList, AttributeType, Authenticator, Code, EncodeError, Identifier, MessageAuthenticator,
    MessageAuthenticatorRule, PacketView, ReplyError, RequestError, SharedSecret, limits, verify_request,
};

/// What stands in the place of the authenticator while it is computed (RFC 2866 section 3).
const NOTHING: Authenticator = Authenticator([0; 16]);

/// Why a packet at an accounting port is discarded: silently, and with no effect on anything (RFC 2866 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AccountingError {
    /// Not Accounting-Request or Status-Server.
    #[error("code {} is not a request for an accounting port", .0.octet())]
    UnexpectedCode(Code),
    /// The Request Authenticator is wrong: another secret, or a forged packet.
    #[error("invalid request authenticator")]
    RequestAuthenticator,
    /// There is a Message-Authenticator and it is wrong, or Status-Server has none (RFC 5997 section 3).
    #[error("invalid message-authenticator")]
    MessageAuthenticator,
    /// More Proxy-State than [`limits`] allow.
    #[error("too much proxy-state")]
    TooMuchProxyState,
    /// It carries a password, which it must not (RFC 2866 section 4.1) and which would go on to others.
    #[error("a password in an accounting request")]
    Password,
}

/// Says whether a packet at an accounting port is believed. Comes before every look at its content.
///
/// The Message-Authenticator of an Accounting-Request is computed before its authenticator, with zeros in the place of
/// that (as in RFC 5176 section 3.1, which computes authenticators alike).
///
/// # Errors
/// An [`AccountingError`] where the packet is to be discarded silently.
pub fn verify_accounting(packet: &PacketView<'_>, secret: &SharedSecret) -> Result<(), AccountingError> {
    match packet.code() {
        Code::AccountingRequest => {}
        Code::StatusServer => {
            let proof = verify_request(packet, secret, MessageAuthenticatorRule::Required);
            return proof.map(drop).map_err(|fault| match fault {
                RequestError::UnexpectedCode(code) => AccountingError::UnexpectedCode(code),
                RequestError::TooMuchProxyState => AccountingError::TooMuchProxyState,
                _ => AccountingError::MessageAuthenticator,
            });
        }
        other => return Err(AccountingError::UnexpectedCode(other)),
    }
    let head = packet.octets().get(..4).unwrap_or_default();
    let expected = secret.response_authenticator(head, NOTHING.octets(), packet.attribute_octets());
    if !bool::from(expected.ct_eq(packet.authenticator().octets())) {
        return Err(AccountingError::RequestAuthenticator);
    }
    // As a reply is checked whose request had zeros as its authenticator.
    if MessageAuthenticator::of_reply(packet, secret, &NOTHING) == MessageAuthenticator::Invalid {
        return Err(AccountingError::MessageAuthenticator);
    }
    if limits::too_much_proxy_state(packet) {
        return Err(AccountingError::TooMuchProxyState);
    }
    let passwords = [AttributeType::USER_PASSWORD, AttributeType::CHAP_PASSWORD];
    if passwords.into_iter().any(|kind| packet.attribute(kind).is_some()) {
        return Err(AccountingError::Password);
    }
    Ok(())
}

/// Makes an Accounting-Request of these attributes, and its Request Authenticator: MD5 over the packet with zeros in its
/// place, then the secret (RFC 2866 section 3). Without Message-Authenticator, which servers need not know here.
///
/// # Errors
/// The packet would be longer than 4096 octets.
pub fn encode_accounting_request(
    identifier: Identifier,
    secret: &SharedSecret,
    attributes: &AttributeList,
) -> Result<(Authenticator, Vec<u8>), EncodeError> {
    encode(Code::AccountingRequest, identifier, &NOTHING, secret, attributes)
}

/// Makes the Accounting-Response to an Accounting-Request or Status-Server: the request's Proxy-State attributes unchanged
/// and in their order, and nothing else (RFC 2866 section 4.2, RFC 5997 section 4.3).
///
/// # Errors
/// The packet would be longer than 4096 octets.
pub fn encode_accounting_response(request: &PacketView<'_>, secret: &SharedSecret) -> Result<Vec<u8>, EncodeError> {
    let mut attributes = AttributeList::new();
    for state in request.attributes(AttributeType::PROXY_STATE) {
        attributes.push(AttributeType::PROXY_STATE, state)?;
    }
    let code = Code::AccountingResponse;
    encode(code, request.identifier(), &request.authenticator(), secret, &attributes).map(|(_, packet)| packet)
}

/// Says whether a datagram is the Accounting-Response to a request of ours, and gives it back as a view. The caller has
/// compared source and destination address before.
///
/// # Errors
/// A [`ReplyError`] where the datagram counts as no reply.
pub fn verify_accounting_response<'a>(
    datagram: &'a [u8],
    request: &Authenticator,
    identifier: Identifier,
    secret: &SharedSecret,
) -> Result<PacketView<'a>, ReplyError> {
    let packet = PacketView::parse(datagram)?;
    if packet.identifier() != identifier {
        return Err(ReplyError::Identifier);
    }
    if packet.code() != Code::AccountingResponse {
        return Err(ReplyError::UnexpectedCode(packet.code()));
    }
    let head = packet.octets().get(..4).unwrap_or_default();
    let expected = secret.response_authenticator(head, request.octets(), packet.attribute_octets());
    if !bool::from(expected.ct_eq(packet.authenticator().octets())) {
        return Err(ReplyError::ResponseAuthenticator);
    }
    match MessageAuthenticator::of_reply(&packet, secret, request) {
        MessageAuthenticator::Invalid => Err(ReplyError::MessageAuthenticatorInvalid),
        MessageAuthenticator::Valid | MessageAuthenticator::Absent => Ok(packet),
    }
}

fn encode(
    code: Code,
    identifier: Identifier,
    request: &Authenticator,
    secret: &SharedSecret,
    attributes: &AttributeList,
) -> Result<(Authenticator, Vec<u8>), EncodeError> {
    let length = limits::HEADER.saturating_add(attributes.octets().len());
    let length = u16::try_from(length).ok().filter(|length| usize::from(*length) <= limits::PACKET);
    let [high, low] = length.ok_or(EncodeError::PacketTooLong)?.to_be_bytes();
    let head = [code.octet(), identifier.0, high, low];
    let authenticator = secret.response_authenticator(&head, request.octets(), attributes.octets());
    Ok((Authenticator(authenticator), join(head, authenticator, attributes.octets())))
}
