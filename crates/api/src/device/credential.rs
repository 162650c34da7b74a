//! `POST webauthn/registrations`, `PUT` and `DELETE webauthn/credential`: what verifies the user of a device.

use core::{num::NonZeroUsize, time::Duration};
use std::sync::{Mutex, PoisonError};

use axum::{Json, extract::State, http::StatusCode};
use countersign_device_protocol::{
    encoding::{Fixed, Octets},
    problem::ErrorCode,
    webauthn::{NewCredential, Registration},
};
use countersign_domain::{AuditEvent, Commit, Device, DeviceId, EventKind, Passkey, Timestamp, Write};
use countersign_storage::CommitError;
use lru::LruCache;
use tracing::{debug, error};

use super::{
    DeviceApi, Refusal,
    relying_party::{Begun, Fault},
    request::Caller,
};

/// How long a person may take over it.
const LIFE: Duration = Duration::from_secs(300);
/// Registrations under way at once; of more the oldest is forgotten.
const MOST: NonZeroUsize = NonZeroUsize::MIN.saturating_add(9_999);

/// Registrations that were begun, one of each device.
pub(super) struct Registrations(Mutex<LruCache<DeviceId, (Begun, Timestamp)>>);

impl Registrations {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(MOST)))
    }

    fn begin(&self, device: DeviceId, begun: Begun, until: Timestamp) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(device, (begun, until));
    }

    /// There is one try: an authenticator is asked anew for another.
    fn take(&self, device: DeviceId, now: Timestamp) -> Option<Begun> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop(&device);
        found.filter(|(_, until)| now < *until).map(|(begun, _)| begun)
    }
}

pub(super) async fn begin(State(api): State<DeviceApi>, caller: Caller) -> Result<Json<Registration>, Refusal> {
    let relying_party = api.relying_party().ok_or(ErrorCode::UserVerificationUnsupported)?;
    let challenge = api.desk().entropy().octets();
    // Authenticators keep one credential for each handle, and some share them between the devices of a person.
    let handle = *caller.device.id.as_uuid();
    let begun = relying_party.begin(&challenge, handle).map_err(|fault| failed(&fault))?;
    let expires_at = api.desk().clock().now().plus(LIFE);
    let registration = Registration {
        challenge: Fixed::new(challenge),
        user_id: Octets::new(handle.as_bytes().to_vec()),
        algorithms: begun.algorithms.clone(),
        expires_at: expires_at.to_jiff(),
    };
    api.registrations().begin(caller.device.id, begun, expires_at);
    Ok(Json(registration))
}

pub(super) async fn put(State(api): State<DeviceApi>, caller: Caller) -> Result<StatusCode, Refusal> {
    let made: NewCredential = caller.json()?;
    let device = &caller.device;
    let relying_party = api.relying_party().ok_or(ErrorCode::UserVerificationUnsupported)?;
    if device.passkey.as_ref().is_some_and(|passkey| passkey.credential_id == made.credential_id.as_bytes()) {
        // The answer to the first time got lost.
        return Ok(StatusCode::NO_CONTENT);
    }
    let begun = api.registrations().take(device.id, api.desk().clock().now());
    let begun = begun.ok_or(ErrorCode::RegistrationUnknown)?;
    let passkey = relying_party.complete(&begun.state, &made).map_err(|fault| match fault {
        fault @ (Fault::Unreadable(_) | Fault::Layout(_)) => failed(&fault),
        fault => {
            debug!(reason = %fault, device.id = %device.id, "device.credential refused");
            ErrorCode::CredentialInvalid.into()
        }
    })?;
    set(&api, device, Some(passkey)).await
}

pub(super) async fn delete(State(api): State<DeviceApi>, caller: Caller) -> Result<StatusCode, Refusal> {
    if caller.device.passkey.is_none() {
        return Ok(StatusCode::NO_CONTENT);
    }
    set(&api, &caller.device, None).await
}

async fn set(api: &DeviceApi, device: &Device, passkey: Option<Passkey>) -> Result<StatusCode, Refusal> {
    let kind = if passkey.is_some() { EventKind::PasskeyAdded } else { EventKind::PasskeyRemoved };
    let event = AuditEvent {
        user_id: Some(device.user),
        device: Some(device.id),
        ..AuditEvent::new(api.desk().clock().now(), kind, "device")
    };
    let commit = Commit { writes: vec![Write::SetPasskey { id: device.id, passkey }], audit: vec![event] };
    match api.desk().write(commit).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        // Somebody else removed or suspended the device in between.
        Err(CommitError::Conflict(_)) => Err(ErrorCode::DeviceRemoved.into()),
        Err(fault @ CommitError::Store(_)) => Err(fault.into()),
    }
}

fn failed(fault: &Fault) -> Refusal {
    error!(error = %fault, "device.credential failed");
    ErrorCode::Internal.into()
}
