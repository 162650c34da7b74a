//! Sends a push to try it out.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use countersign_domain::{Device, DeviceId, HostileText, User};
use serde::{Deserialize, Serialize};

use super::{
    AdminApi, AdminCode, AdminProblem,
    json::{Body, ok},
    status::PushAnswer,
};

/// Whom to send to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// The identifier of a device, or the name of a user: then all devices of the user.
    to: String,
}

/// What came back for one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushTried {
    /// Identifier of the device.
    pub device: String,
    /// Login name of its user.
    pub user: String,
    /// What its owner calls it, escaped.
    pub name: String,
    /// What came back.
    #[serde(flatten)]
    pub answer: PushAnswer,
}

pub(super) async fn test(
    State(api): State<Arc<AdminApi>>,
    Body(Wanted { to }): Body<Wanted>,
) -> Result<Response, AdminProblem> {
    let (user, devices) = api.devices_of(&to).await?;
    let mut out = Vec::new();
    for device in devices {
        let Some(answer) = api.facts.test_push(device.id).await else {
            return Err(AdminProblem::new(
                AdminCode::PushOff,
                "no pushes are sent: set [push] contact in countersign.toml and restart the server",
            ));
        };
        out.push(PushTried {
            device: device.id.to_string(),
            user: user.name.to_string(),
            name: device.name.to_string(),
            answer: answer?,
        });
    }
    Ok(ok(&out))
}

impl AdminApi {
    /// The device of this identifier, or the devices of the user of this name that may answer.
    async fn devices_of(&self, to: &str) -> Result<(User, Vec<Device>), AdminProblem> {
        if to.parse::<DeviceId>().is_ok() {
            let (device, user) = self.device(to).await?;
            return Ok((user, vec![device]));
        }
        let user = self.user(to).await?;
        let snapshot = self.desk.store().snapshot(user.id).await?;
        let devices: Vec<Device> = snapshot.iter().flat_map(|all| all.active_devices().cloned()).collect();
        if devices.is_empty() {
            let name = HostileText::from(to);
            return Err(AdminProblem::new(
                AdminCode::DeviceUnknown,
                format!("{name} has no device: `countersign activation issue {name}` adds one"),
            ));
        }
        Ok((user, devices))
    }
}
