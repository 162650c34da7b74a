//! `PUT push`: where pushes for this device go. Nothing is sent there yet.

use axum::{extract::State, http::StatusCode};
use countersign_device_protocol::{
    messages::{PushRequest, PushSubscription as WireSubscription},
    problem::ErrorCode,
};
use countersign_domain::{Commit, PushSubscription, Secret, Write};
use countersign_storage::CommitError;

use super::{DeviceApi, Refusal, request::Caller};

/// The longest endpoint that is kept, in octets.
const LONGEST_ENDPOINT: usize = 2048;

pub(super) async fn put(State(api): State<DeviceApi>, caller: Caller) -> Result<StatusCode, Refusal> {
    let PushRequest(wanted) = caller.json()?;
    let push = wanted.as_ref().map(subscription).transpose()?;
    let commit = Commit { writes: vec![Write::SetPush { id: caller.device.id, push }], audit: Vec::new() };
    match api.desk().write(commit).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(CommitError::Conflict(_)) => Err(ErrorCode::DeviceRemoved.into()),
        Err(fault @ CommitError::Store(_)) => Err(fault.into()),
    }
}

/// Takes a subscription. Where its endpoint leads is looked at when something is sent there.
pub(super) fn subscription(wire: &WireSubscription) -> Result<PushSubscription, Refusal> {
    let plausible = wire.endpoint.len() <= LONGEST_ENDPOINT
        && wire.endpoint.strip_prefix("https://").is_some_and(|rest| !rest.is_empty())
        && wire.endpoint.bytes().all(|octet| octet.is_ascii_graphic());
    if !plausible {
        return Err(Refusal::Malformed("the endpoint is no https URL of at most 2048 octets".to_owned()));
    }
    Ok(PushSubscription {
        endpoint: wire.endpoint.clone(),
        p256dh: wire.p256dh.0.uncompressed().to_vec(),
        auth: Secret::new(wire.auth.as_bytes().to_vec()),
    })
}
