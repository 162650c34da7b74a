//! `PATCH device` and `DELETE device`: a device about itself.

use axum::{extract::State, http::StatusCode};
use countersign_device_protocol::{messages::DevicePatch, problem::ErrorCode};
use countersign_domain::{AuditEvent, Commit, DeviceState, EventKind, HostileText, Write};
use countersign_storage::CommitError;

use super::{DeviceApi, Refusal, request::Caller};

pub(super) async fn patch(State(api): State<DeviceApi>, caller: Caller) -> Result<StatusCode, Refusal> {
    let wanted: DevicePatch = caller.json()?;
    let name = HostileText::from(wanted.name.as_str());
    write(&api, Commit { writes: vec![Write::RenameDevice { id: caller.device.id, name }], audit: Vec::new() }).await
}

pub(super) async fn delete(State(api): State<DeviceApi>, caller: Caller) -> Result<StatusCode, Refusal> {
    let device = caller.device;
    let event = AuditEvent {
        user_id: Some(device.user),
        device: Some(device.id),
        ..AuditEvent::new(api.desk().clock().now(), EventKind::DeviceRemoved, "device")
    };
    let removal = Write::SetDeviceState { id: device.id, from: DeviceState::Active, to: DeviceState::Removed };
    write(&api, Commit { writes: vec![removal], audit: vec![event] }).await
}

async fn write(api: &DeviceApi, commit: Commit) -> Result<StatusCode, Refusal> {
    match api.desk().write(commit).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        // Somebody else removed or suspended it in between.
        Err(CommitError::Conflict(_)) => Err(ErrorCode::DeviceRemoved.into()),
        Err(fault @ CommitError::Store(_)) => Err(fault.into()),
    }
}
