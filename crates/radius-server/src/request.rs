//! An Access-Request read for the desk (RFC 2865 section 4.1).

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use countersign_domain::{
    AuditEvent, ChapResponse, Credential, Door, EventKind, HostileText, LoginId, LoginRequest, LoginResult, Primary,
    Reason, Resource, RetryKey, Secret, Source, Timestamp, UpstreamAttributes,
};
use countersign_radius::{
    AttributeType, Credential as OnTheWire, CredentialError, EapCode, EapError, EapMessage, PacketView, PasswordForm,
    UserPassword, chap_matches, limits, ms_chap_v2_identifier, upstream::forwarded,
};

use crate::clients::Client;

/// What a request is good for.
#[derive(Debug)]
pub(crate) enum Reading {
    /// A login for the desk.
    Login(Box<LoginRequest>),
    /// A reject, without asking anybody.
    Refuse(Refusal),
}

/// Why the door itself refuses a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    pub(crate) detail: Cow<'static, str>,
}

impl Refusal {
    const fn new(reason: Reason, detail: &'static str) -> Self {
        Self { reason, detail: Cow::Borrowed(detail) }
    }
}

/// Whether User-Password has a length that it cannot have: such a request is dropped and has no effect
/// (RFC 2865 section 5.2).
pub(crate) fn has_impossible_password(packet: &PacketView<'_>) -> bool {
    packet
        .attributes(AttributeType::USER_PASSWORD)
        .any(|hidden| hidden.is_empty() || hidden.len() > 128 || !hidden.len().is_multiple_of(16))
}

/// Reads a verified request.
pub(crate) fn read(packet: &PacketView<'_>, client: &Client, source: IpAddr, id: LoginId) -> Reading {
    let Ok(user) = packet.one(AttributeType::USER_NAME) else {
        return Reading::Refuse(Refusal::new(Reason::UserUnknown, "several User-Name attributes"));
    };
    let Ok(state) = packet.one(AttributeType::STATE) else {
        return Reading::Refuse(Refusal::new(Reason::Expired, "several State attributes"));
    };
    let resource = match client.resource_of(packet) {
        Ok(resource) => Arc::clone(resource),
        Err(why) => return Reading::Refuse(Refusal { reason: Reason::Unavailable, detail: Cow::Owned(why) }),
    };
    let charset = resource.policy.charset;
    let user = charset.to_utf8(user.unwrap_or_default());
    if user.len() > HostileText::MAX {
        return Reading::Refuse(Refusal::new(Reason::UserUnknown, "a name that is longer than a name can be"));
    }
    let credential = match credential(packet, client, &resource) {
        Ok(credential) => credential,
        Err(detail) => return Reading::Refuse(Refusal::new(Reason::PasswordWrong, detail)),
    };
    let forward = match forward(packet, &resource, &credential) {
        Ok(forward) => forward,
        Err(detail) => return Reading::Refuse(Refusal::new(Reason::Unavailable, detail)),
    };
    let octets = |kind| packet.attribute(kind).map(<[u8]>::to_vec);
    Reading::Login(Box::new(LoginRequest {
        id,
        resource,
        client: client.id(),
        client_name: source.to_canonical().to_string(),
        peer: source.to_canonical(),
        door: Door::Radius,
        user_typed: HostileText::new(&user),
        credential,
        source: Source { address: calling_station(packet) },
        retry: RetryKey {
            nas_port: octets(AttributeType::NAS_PORT),
            nas_port_id: octets(AttributeType::NAS_PORT_ID),
            acct_session_id: octets(AttributeType::ACCT_SESSION_ID),
            nas_identifier: octets(AttributeType::NAS_IDENTIFIER),
            nas_ip_address: nas_addresses(packet),
        },
        state: state.map(<[u8]>::to_vec),
        forward,
    }))
}

/// What goes on to the servers that check the first factor, where some do. An answer to a prompt is ours alone; a State in
/// EAP is theirs.
fn forward(
    packet: &PacketView<'_>,
    resource: &Resource,
    credential: &Credential,
) -> Result<Option<UpstreamAttributes>, &'static str> {
    let answers_prompt = packet.attribute(AttributeType::STATE).is_some() && *credential != Credential::Eap;
    if resource.primary != Primary::Radius || answers_prompt {
        return Ok(None);
    }
    let attributes = forwarded(packet).map_err(|_| "the request is too long to be sent on")?;
    Ok(Some(UpstreamAttributes::new(attributes)))
}

/// The one credential.
fn credential(packet: &PacketView<'_>, client: &Client, resource: &Resource) -> Result<Credential, &'static str> {
    let charset = resource.policy.charset;
    let hidden = match OnTheWire::of(packet) {
        Ok(OnTheWire::None) => return Ok(Credential::None),
        Ok(OnTheWire::UserPassword(hidden)) => hidden,
        Ok(OnTheWire::Chap { identifier, response, challenge })
            if matches!(resource.primary, Primary::Local | Primary::Radius) =>
        {
            return Ok(Credential::Chap(chap(identifier, *response, challenge)));
        }
        Ok(OnTheWire::Chap { .. }) => return Err("CHAP is not supported for this resource: set the client to PAP"),
        Ok(OnTheWire::MsChapV2 { challenge, response })
            if resource.primary == Primary::Radius && resource.policy.ms_chap =>
        {
            return Ok(Credential::MsChap { challenge: *challenge, response: Secret::new(response.to_vec()) });
        }
        Ok(OnTheWire::MsChapV2 { .. }) => {
            return Err(
                "MS-CHAP is not allowed for this resource: set the client to PAP, or see `resource set --ms-chap`",
            );
        }
        Ok(OnTheWire::MsChap { .. }) => {
            return Err("MS-CHAP of version 1 is not supported: set the client to version 2");
        }
        Ok(OnTheWire::Eap) => return eap(packet, resource),
        Err(CredentialError::Several) => return Err("more than one credential in one request"),
        Err(CredentialError::Malformed) => return Err("malformed credential"),
        Err(CredentialError::PasswordChange) => return Err("a password cannot be changed through here (MS-CHAP2-CPW)"),
        Err(CredentialError::Unsupported(_)) => return Err("a kind of credential that is not supported"),
    };
    let password =
        UserPassword::unhide(hidden, &client.secret, &packet.authenticator()).map_err(|_| "malformed credential")?;
    Ok(match password.form() {
        PasswordForm::Empty => Credential::None,
        // Nothing but padding, in more blocks than padding takes: not empty, and never right.
        PasswordForm::LeadingNul if password.octets().is_empty() => Credential::Password(Secret::new(vec![0])),
        // Whoever checks it reads it as the client wrote it (C017).
        _ if resource.primary == Primary::Radius => Credential::Password(Secret::new(password.octets().to_vec())),
        PasswordForm::Plain | PasswordForm::LeadingNul | PasswordForm::EmbeddedNul => {
            Credential::Password(Secret::new(charset.to_utf8(password.octets()).to_vec()))
        }
    })
}

/// A round of an EAP conversation, where the servers behind the resource may hold one (RFC 3579 section 2.1).
fn eap(packet: &PacketView<'_>, resource: &Resource) -> Result<Credential, &'static str> {
    if resource.primary != Primary::Radius || !resource.policy.eap {
        return Err("EAP is not on for this resource: `resource set --eap on`, or set the client to PAP");
    }
    match EapMessage::of(packet.iter()) {
        Ok(Some(EapMessage { code: EapCode::Response, .. })) => Ok(Credential::Eap),
        Err(EapError::Start) => Err("EAP-Start is not supported: set the client to ask for the identity itself"),
        Ok(_) | Err(_) => Err("malformed EAP-Message"),
    }
}

/// The EAP-Failure that a reject of this request carries: where it is a response of an EAP peer, which would otherwise
/// wait and begin anew (RFC 3579 section 2.6.3).
fn eap_failure(packet: &PacketView<'_>) -> Option<[u8; 4]> {
    match EapMessage::of(packet.iter()) {
        Ok(Some(EapMessage { code: EapCode::Response, identifier, .. })) => Some(EapMessage::failure(identifier)),
        Ok(_) | Err(_) => None,
    }
}

/// A CHAP response with what it answers (RFC 2865 section 2.2).
fn chap(identifier: u8, response: [u8; 16], challenge: &[u8]) -> ChapResponse {
    let octets = [&[identifier][..], &response, challenge].concat();
    let challenge = challenge.to_vec();
    ChapResponse::new(Secret::new(octets), move |password| chap_matches(identifier, &response, &challenge, password))
}

/// Calling-Station-Id, where it says anything (RFC 2865 section 5.31).
fn calling_station(packet: &PacketView<'_>) -> Option<HostileText> {
    packet.attribute(AttributeType::CALLING_STATION_ID).filter(|value| !value.is_empty()).map(HostileText::new)
}

/// NAS-IP-Address and NAS-IPv6-Address, whichever are there (RFC 2865 section 5.4, RFC 3162 section 2.1).
fn nas_addresses(packet: &PacketView<'_>) -> Option<Vec<u8>> {
    let four = packet.attribute(AttributeType::NAS_IP_ADDRESS);
    let six = packet.attribute(AttributeType::NAS_IPV6_ADDRESS);
    (four.is_some() || six.is_some()).then(|| [four.unwrap_or_default(), six.unwrap_or_default()].concat())
}

/// In which words a request is refused. It depends on the request alone, never on the reason, so that all rejects of one
/// request look the same (S52).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Words {
    /// None: the code says it.
    None,
    /// Those of MS-CHAP-V2, for the exchange with this identifier. Without them a client hangs, or asks for the password again.
    MsChapV2(u8),
}

/// In which words it would be refused.
pub(crate) fn words(packet: &PacketView<'_>) -> Words {
    ms_chap_v2_identifier(packet).map_or(Words::None, Words::MsChapV2)
}

/// What a reply needs of its request: header and Proxy-State, and in the place of EAP-Message the EAP-Failure that would
/// answer it. Nothing that could be a credential is kept.
pub(crate) fn kernel(packet: &PacketView<'_>, with_proxy_state: bool) -> Box<[u8]> {
    let states = || packet.attributes(AttributeType::PROXY_STATE).filter(|_| with_proxy_state);
    let failure = eap_failure(packet);
    let kept = || {
        let failure = failure.iter().map(|failure| (AttributeType::EAP_MESSAGE, &failure[..]));
        states().map(|state| (AttributeType::PROXY_STATE, state)).chain(failure)
    };
    let length = kept().fold(limits::HEADER, |sum, (_, value)| sum.saturating_add(value.len()).saturating_add(2));
    let mut octets = Vec::with_capacity(length);
    octets.extend_from_slice(&[packet.code().octet(), packet.identifier().0]);
    octets.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
    octets.extend_from_slice(packet.authenticator().octets());
    for (kind, value) in kept() {
        let length = u8::try_from(value.len().saturating_add(2)).unwrap_or(u8::MAX);
        octets.extend_from_slice(&[kind.0, length]);
        octets.extend_from_slice(value);
    }
    octets.into_boxed_slice()
}

/// The record of a request that the door ends by itself.
pub(crate) fn record(
    packet: &PacketView<'_>,
    client: &Client,
    login: Option<LoginId>,
    now: Timestamp,
    (result, reason, detail): (LoginResult, Reason, Option<String>),
) -> AuditEvent {
    let source = Source { address: calling_station(packet) };
    let resource = client.resource_of(packet).unwrap_or(&client.seat.resource);
    AuditEvent {
        login,
        user_typed: packet.attribute(AttributeType::USER_NAME).map(HostileText::new),
        resource: Some(resource.id),
        client: Some(client.id()),
        door: Some(Door::Radius.as_str()),
        source_trust: Some(if source.address.is_some() { "reported" } else { "unknown" }),
        source: source.address,
        result: Some(result.as_str()),
        detail,
        ..AuditEvent::new(now, EventKind::LoginEnded, "server")
    }
    .because(reason)
}
