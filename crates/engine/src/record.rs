//! Audit events of logins.

use countersign_domain::{
    AuditEvent, Credential, DeviceId, EventKind, LoginId, LoginResult, NumberMode, Reason, Timestamp, Trust,
};

use crate::live::Live;

/// Everything about a login that is the same in all its records.
fn about(live: &Live, time: Timestamp, kind: EventKind) -> AuditEvent {
    let request = &live.request;
    AuditEvent {
        login: Some(request.id),
        user_id: live.user,
        user_typed: Some(request.user_typed.clone()),
        resource: Some(request.resource.id),
        client: Some(request.client),
        door: Some(request.door.as_str()),
        source: request.source.address.clone(),
        source_trust: Some(trust_word(request.source.trust())),
        ..AuditEvent::new(time, kind, "server")
    }
}

/// A login waits for devices.
pub(crate) fn challenged(live: &Live, mode: NumberMode, time: Timestamp) -> AuditEvent {
    AuditEvent {
        factor: Some("push"),
        number_mode: Some(mode_word(mode)),
        binding: Some(binding(mode)),
        ..about(live, time, EventKind::LoginChallenged)
    }
}

/// A login ended before any device was asked, or by a typed code.
pub(crate) fn ended(live: &Live, time: Timestamp, result: LoginResult, reason: Reason) -> AuditEvent {
    // A client that writes in another charset than is set for the resource has every password with an accent wrong (C016).
    let garbled = match &live.request.credential {
        Credential::Password(typed) => reason == Reason::PasswordWrong && core::str::from_utf8(typed.expose()).is_err(),
        Credential::None | Credential::Chap(_) | Credential::Eap | Credential::MsChap { .. } => false,
    };
    AuditEvent {
        result: Some(result.as_str()),
        detail: garbled.then(|| "password_not_utf8".to_owned()),
        ..about(live, time, EventKind::LoginEnded)
    }
    .because(reason)
}

/// A login ended by a typed code that is right.
pub(crate) fn accepted_by_code(live: &Live, device: DeviceId, time: Timestamp) -> AuditEvent {
    AuditEvent {
        factor: Some("totp"),
        device: Some(device),
        binding: Some("code"),
        ..ended(live, time, LoginResult::Accept, Reason::Approved)
    }
}

/// A login ended by a sign-in window that was opened for it. Nothing but the time ties the two together.
pub(crate) fn accepted_by_window(live: &Live, device: DeviceId, time: Timestamp) -> AuditEvent {
    AuditEvent {
        factor: Some("window"),
        device: Some(device),
        binding: Some("none"),
        actor: "device".to_owned(),
        ..ended(live, time, LoginResult::Accept, Reason::Approved)
    }
}

/// A login ended because it is let in without anybody being asked; in the case of a remembered approval, of which login.
pub(crate) fn accepted_unasked(live: &Live, reason: Reason, time: Timestamp, from: Option<LoginId>) -> AuditEvent {
    AuditEvent {
        factor: Some(reason.as_str()),
        binding: Some("none"),
        detail: from.map(|login| login.to_string()),
        ..ended(live, time, LoginResult::Accept, reason)
    }
}

/// A login ended while, or because, devices were asked.
pub(crate) fn ended_push(
    live: &Live,
    device: Option<DeviceId>,
    time: Timestamp,
    result: LoginResult,
    reason: Reason,
) -> AuditEvent {
    AuditEvent { result: Some(result.as_str()), ..by_push(live, device, time, EventKind::LoginEnded) }.because(reason)
}

/// What a device did about a login that does not end by it.
pub(crate) fn by_push(live: &Live, device: Option<DeviceId>, time: Timestamp, kind: EventKind) -> AuditEvent {
    AuditEvent {
        factor: Some("push"),
        device,
        number_mode: Some(mode_word(live.mode())),
        binding: Some(binding(live.mode())),
        actor: if device.is_some() { "device".to_owned() } else { "server".to_owned() },
        ..about(live, time, kind)
    }
}

/// The prompt of a login asks for something that no challenge was opened for.
pub(crate) fn asked(live: &Live, factor: Option<&'static str>, time: Timestamp) -> AuditEvent {
    AuditEvent { factor, ..about(live, time, EventKind::LoginChallenged) }
}

/// The prompt of a login asks once more.
pub(crate) fn asked_again(live: &Live, reason: Reason, time: Timestamp) -> AuditEvent {
    about(live, time, EventKind::LoginAskedAgain).because(reason)
}

/// An alert that concerns a login.
pub(crate) fn alert(live: &Live, time: Timestamp, word: &'static str) -> AuditEvent {
    AuditEvent { reason: Some(word), ..about(live, time, EventKind::Alert) }
}

/// What ties an approval to the session that it opens: nothing, unless a number went from one to the other.
const fn binding(mode: NumberMode) -> &'static str {
    match mode {
        NumberMode::None => "none",
        NumberMode::Typed | NumberMode::CodeToPhone => "number",
    }
}

pub(crate) const fn mode_word(mode: NumberMode) -> &'static str {
    match mode {
        NumberMode::None => "none",
        NumberMode::Typed => "typed",
        NumberMode::CodeToPhone => "code_to_phone",
    }
}

const fn trust_word(trust: Trust) -> &'static str {
    match trust {
        Trust::Verified => "verified",
        Trust::Reported => "reported",
        Trust::Unknown => "unknown",
    }
}
