//! Activations: handing one out. Code, address and QR text are shown once and kept nowhere.

use core::time::Duration;
use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use countersign_device_protocol::{keys::Thumbprint, origin::Origin};
use countersign_domain::Activation;
use countersign_storage::Vault;
use serde::{Deserialize, Serialize};

use super::{
    Actor, AdminApi, AdminCode, AdminProblem,
    json::{Body, Name, answer},
};
use crate::activation::{IssueError, issue_activation};

/// What handing out takes beside the desk.
pub struct Issuer {
    /// Hashes code and token.
    pub vault: Arc<Vault>,
    /// The public address.
    pub origin: Origin,
    /// Names the key that signs challenges.
    pub signing_key: Thumbprint,
}

/// An activation as handed out. `code` and `qr` are secrets.
#[derive(Clone, Serialize, Deserialize)]
pub struct IssuedView {
    /// Whose device it adds.
    pub user: String,
    /// To be typed: `ABCD-EFGH-JKMN`.
    pub code: String,
    /// The address that goes with the code.
    pub url: String,
    /// The text in the QR code.
    pub qr: String,
    /// Until when it can be used.
    pub expires_at: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Issue {
    /// Seconds.
    #[serde(default)]
    expires_in: Option<u64>,
}

pub(super) async fn issue(
    State(api): State<Arc<AdminApi>>,
    actor: Actor,
    Name(name): Name,
    Body(body): Body<Issue>,
) -> Result<Response, AdminProblem> {
    let lifetime = body.expires_in.map_or(Activation::LIFETIME, Duration::from_secs);
    let user = api.user(&name).await?;
    if !user.enabled {
        return Err(AdminProblem::new(
            AdminCode::UserDisabled,
            format!("the user {} is disabled: `countersign user enable {}` first", user.name, user.name),
        ));
    }
    let Issuer { vault, origin, signing_key } = &*api.issuer;
    let issued = issue_activation(&api.desk, vault, origin, *signing_key, user.id, lifetime, &actor.0).await;
    let issued = issued.map_err(|fault| match fault {
        IssueError::UserUnknown => {
            AdminProblem::new(AdminCode::UserUnknown, format!("the user {} was removed at the same time", user.name))
        }
        IssueError::Lifetime => AdminProblem::new(
            AdminCode::ExpiryRefused,
            format!("an activation lives at least 1 second and at most 24 hours, not {} seconds", lifetime.as_secs()),
        ),
        IssueError::Store(fault) => fault.into(),
    })?;
    let view = IssuedView {
        user: user.name.to_string(),
        code: issued.code.expose_grouped().to_string(),
        url: issued.url,
        qr: issued.qr.to_string(),
        expires_at: issued.expires_at.to_rfc3339(),
    };
    Ok(answer(StatusCode::CREATED, &view))
}
