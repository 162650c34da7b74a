//! `PUT push`: where pushes for this device go, if that is a push service that is spoken to (S88).

use axum::{extract::State, http::StatusCode};
use countersign_device_protocol::{
    messages::{PushRequest, PushSubscription as WireSubscription},
    problem::ErrorCode,
};
use countersign_domain::{Commit, PushSubscription, Secret, Write};
use countersign_storage::CommitError;

use super::{DeviceApi, Refusal, request::Caller};

/// What the server does about pushes, as far as devices hear of it.
pub trait PushServices: Send + Sync + 'static {
    /// Whether pushes are sent at all.
    fn is_on(&self) -> bool;

    /// Whether a subscription's endpoint may be sent to.
    ///
    /// # Errors
    /// Why not, for people.
    fn check(&self, endpoint: &str) -> Result<(), String>;
}

pub(super) async fn put(State(api): State<DeviceApi>, caller: Caller) -> Result<StatusCode, Refusal> {
    let PushRequest(wanted) = caller.json()?;
    let push = wanted.as_ref().map(|wanted| subscription(&api, wanted)).transpose()?;
    let commit = Commit { writes: vec![Write::SetPush { id: caller.device.id, push }], audit: Vec::new() };
    match api.desk().write(commit).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(CommitError::Conflict(_)) => Err(ErrorCode::DeviceRemoved.into()),
        Err(fault @ CommitError::Store(_)) => Err(fault.into()),
    }
}

/// Takes a subscription whose endpoint may be sent to. Where its name leads is looked at when something is sent there.
pub(super) fn subscription(api: &DeviceApi, wire: &WireSubscription) -> Result<PushSubscription, Refusal> {
    api.push_services().check(&wire.endpoint).map_err(Refusal::Push)?;
    Ok(PushSubscription {
        endpoint: wire.endpoint.clone(),
        p256dh: wire.p256dh.0.uncompressed().to_vec(),
        auth: Secret::new(wire.auth.as_bytes().to_vec()),
    })
}
