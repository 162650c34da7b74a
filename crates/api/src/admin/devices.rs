//! Devices: list, resume, remove. They are added by an activation.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use countersign_domain::{Commit, Device, DeviceId, DeviceState, EventKind, HostileText, User, UserSnapshot, Write};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Actor, AdminApi, AdminCode, AdminProblem,
    json::{Body, Name, Query, ok},
    users::Nothing,
};

/// A device as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceView {
    /// Immutable identifier.
    pub id: String,
    /// Login name of its user.
    pub user: String,
    /// What its owner calls it, escaped.
    pub name: String,
    /// What it runs on, in its own words, escaped.
    pub platform: String,
    /// `active` or `suspended`.
    pub state: String,
    /// Thumbprint of its key.
    pub key: String,
    /// Whether it can be woken by a push: it has subscribed, and pushes are sent.
    pub push: bool,
    /// Whether it can verify its user: it has registered an authenticator.
    pub user_verification: bool,
    /// When it was activated.
    pub created_at: String,
}

impl DeviceView {
    fn new(api: &AdminApi, device: &Device, user: &User) -> Self {
        Self {
            id: device.id.to_string(),
            user: user.name.to_string(),
            name: device.name.to_string(),
            platform: device.platform.to_string(),
            state: device.state.as_str().to_owned(),
            key: device.key.thumbprint.clone(),
            push: device.push.is_some() && api.facts.pushes(),
            user_verification: device.passkey.is_some(),
            created_at: device.created_at.to_rfc3339(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Whose {
    user: Option<String>,
}

pub(super) async fn list(
    State(api): State<Arc<AdminApi>>,
    Query(whose): Query<Whose>,
) -> Result<Response, AdminProblem> {
    let mut out = Vec::new();
    let mut see = |snapshot: &UserSnapshot| {
        let of_one = snapshot.devices.iter().map(|device| DeviceView::new(&api, device, &snapshot.user));
        out.push((snapshot.user.name.folded().to_owned(), snapshot.user.id, of_one.collect::<Vec<_>>()));
    };
    match whose.user {
        Some(name) => {
            let user = api.user(&name).await?;
            api.desk.store().snapshot(user.id).await?.iter().for_each(see);
        }
        None => api.each_user(|snapshot| see(&snapshot)).await?,
    }
    out.sort_by(|one, other| (&one.0, one.1).cmp(&(&other.0, other.1)));
    let out: Vec<_> = out.into_iter().flat_map(|(_, _, of_one)| of_one).collect();
    Ok(ok(&out))
}

impl AdminApi {
    pub(super) async fn device(&self, id: &str) -> Result<(Device, User), AdminProblem> {
        let unknown = || {
            let id = HostileText::from(id);
            AdminProblem::new(
                AdminCode::DeviceUnknown,
                format!("there is no device {id}: `countersign device list` shows their identifiers"),
            )
        };
        let id: DeviceId = id.parse().map_err(|_| unknown())?;
        let device = self.desk.store().device(id).await?;
        let device = device.filter(|device| device.state != DeviceState::Removed).ok_or_else(unknown)?;
        let user = self.desk.store().user(device.user).await?.ok_or_else(unknown)?;
        Ok((device, user))
    }

    async fn set_device_state(
        &self,
        actor: Actor,
        kind: EventKind,
        (device, user): (&Device, &User),
        to: DeviceState,
    ) -> Result<(), AdminProblem> {
        let about = |state: DeviceState| {
            json!({
                "name": device.name.to_string(),
                "platform": device.platform.to_string(),
                "key": device.key.thumbprint,
                "state": state.as_str(),
            })
        };
        let mut event = self.change(actor, kind, Some(&about(device.state)), Some(&about(to)));
        event.user_id = Some(user.id);
        event.user_typed = Some(HostileText::from(user.name.as_str()));
        event.device = Some(device.id);
        let commit = Commit {
            writes: vec![Write::SetDeviceState { id: device.id, from: device.state, to }],
            audit: vec![event],
        };
        self.desk.write(commit).await.map_err(|fault| AdminProblem::of_commit(fault, |_| AdminProblem::conflict()))
    }
}

pub(super) async fn resume(
    State(api): State<Arc<AdminApi>>,
    actor: Actor,
    Name(id): Name,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Response, AdminProblem> {
    let _one = api.changes.lock().await;
    let (mut device, user) = api.device(&id).await?;
    if device.state != DeviceState::Suspended {
        return Err(AdminProblem::new(
            AdminCode::DeviceState,
            format!("the device {} is {}: only a suspended one can be resumed", device.id, device.state.as_str()),
        ));
    }
    api.set_device_state(actor, EventKind::DeviceResumed, (&device, &user), DeviceState::Active).await?;
    device.state = DeviceState::Active;
    Ok(ok(&DeviceView::new(&api, &device, &user)))
}

pub(super) async fn remove(
    State(api): State<Arc<AdminApi>>,
    actor: Actor,
    Name(id): Name,
) -> Result<StatusCode, AdminProblem> {
    let _one = api.changes.lock().await;
    let (device, user) = api.device(&id).await?;
    api.set_device_state(actor, EventKind::DeviceRemoved, (&device, &user), DeviceState::Removed).await?;
    Ok(StatusCode::NO_CONTENT)
}
