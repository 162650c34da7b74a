//! The admin API, version 1: what the command line does to a running server, over a socket that only its owner opens.
//!
//! JSON in, JSON out, errors as [`AdminProblem`]. Every change is written together with its audit record, which holds
//! what was before and what is after; secrets are left out.

pub mod activations;
pub mod audit;
pub mod backups;
pub mod bypasses;
mod chap;
pub mod checkpoints;
pub mod clients;
pub mod devices;
pub mod directories;
pub mod identity;
mod json;
mod listen;
mod problem;
pub mod push;
mod replies;
pub mod resources;
pub mod rotation;
pub mod status;
pub mod synchronisation;
pub mod upstreams;
pub mod users;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRequestParts},
    http::request::Parts,
    routing::{delete, get, post},
};
use countersign_desk::Desk;
use countersign_domain::{AuditEvent, EventKind, HostileText, LoginName, User, UserId};
use serde::Serialize;
use tokio::sync::Mutex;

pub use json::{is_harmless, to_vec};
pub use listen::{Peer, serve};
pub use problem::{AdminCode, AdminProblem};

use checkpoints::Checkpoints;
use status::ServerFacts;

/// The longest body of a request, in octets.
const MAX_BODY: usize = 64 * 1024;

/// What the handlers share.
pub struct AdminApi {
    desk: Arc<Desk>,
    facts: Arc<dyn ServerFacts>,
    checkpoints: Arc<Checkpoints>,
    issuer: Arc<activations::Issuer>,
    /// One change at a time, so that what is recorded as before is what was before.
    changes: Mutex<()>,
}

impl AdminApi {
    /// An API over a desk.
    pub fn new(
        desk: Arc<Desk>,
        facts: Arc<dyn ServerFacts>,
        checkpoints: Arc<Checkpoints>,
        issuer: Arc<activations::Issuer>,
    ) -> Arc<Self> {
        Arc::new(Self { desk, facts, checkpoints, issuer, changes: Mutex::new(()) })
    }

    /// The user with a name in any spelling, or with an identifier: names of users from directories need not be unique.
    async fn user(&self, name: &str) -> Result<User, AdminProblem> {
        let unknown = || {
            let name = HostileText::from(name);
            AdminProblem::new(
                AdminCode::UserUnknown,
                format!("there is no user {name}: `countersign user list` shows all"),
            )
        };
        let wanted = LoginName::new(name).map_err(|_| unknown())?;
        let store = self.desk.store();
        let mut found = store.users_named(&wanted).await?;
        if found.is_empty() {
            let id = name.parse::<UserId>().map_err(|_| unknown())?;
            return store.user(id).await?.ok_or_else(unknown);
        }
        if found.len() > 1 {
            let all: Vec<_> = found
                .iter()
                .map(|user| match self.origin(user) {
                    None => format!("{} (added here)", user.id),
                    Some(directory) => format!("{} (from {directory})", user.id),
                })
                .collect();
            return Err(AdminProblem::new(
                AdminCode::UserAmbiguous,
                format!(
                    "{} users are called {wanted}: name the one that is meant by its id: {}",
                    all.len(),
                    all.join(", ")
                ),
            ));
        }
        found.pop().ok_or_else(unknown)
    }

    /// The name of the directory that a user comes from.
    fn origin(&self, user: &User) -> Option<String> {
        let id = user.origin.directory()?;
        Some(self.desk.directory_name(id).unwrap_or_else(|| id.to_string()))
    }

    /// A record of a change, with what was before and what is after.
    fn change(
        &self,
        actor: Actor,
        kind: EventKind,
        before: Option<&impl Serialize>,
        after: Option<&impl Serialize>,
    ) -> AuditEvent {
        let mut event = AuditEvent::new(self.desk.clock().now(), kind, actor.0);
        event.detail = serde_json::to_string(&Change { before, after, reason: None }).ok();
        event
    }
}

/// What a record of a change holds as its `detail`.
#[derive(Serialize)]
struct Change<'a, B, A> {
    before: Option<B>,
    after: Option<A>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// The routes.
pub fn router(api: Arc<AdminApi>) -> Router {
    Router::new()
        .route("/admin/v1/users", get(users::list).post(users::add))
        .route("/admin/v1/user-names", get(users::names))
        .route("/admin/v1/users/{name}", get(users::show).delete(users::remove))
        .route("/admin/v1/users/{name}/enable", post(users::enable))
        .route("/admin/v1/users/{name}/disable", post(users::disable))
        .route("/admin/v1/users/{name}/unlock", post(users::unlock))
        .route("/admin/v1/users/{name}/bypass", post(bypasses::issue).delete(bypasses::cancel))
        .route("/admin/v1/users/{name}/chap", post(chap::keep))
        .route("/admin/v1/users/{name}/no-chap", post(chap::forget))
        .route("/admin/v1/users/{name}/activations", post(activations::issue))
        .route("/admin/v1/devices", get(devices::list))
        .route("/admin/v1/devices/{id}", delete(devices::remove))
        .route("/admin/v1/devices/{id}/resume", post(devices::resume))
        .route("/admin/v1/resources", get(resources::list).post(resources::add))
        .route("/admin/v1/resources/{name}", get(resources::show).patch(resources::set).delete(resources::remove))
        .route("/admin/v1/clients", get(clients::list).post(clients::add))
        .route("/admin/v1/clients/{name}", get(clients::show).patch(clients::set).delete(clients::remove))
        .route("/admin/v1/directories", get(directories::list).post(directories::add))
        .route(
            "/admin/v1/directories/{name}",
            get(directories::show).patch(directories::set).delete(directories::remove),
        )
        .route("/admin/v1/directories/{name}/test", post(directories::test))
        .route("/admin/v1/directories/{name}/sync", post(synchronisation::run))
        .route("/admin/v1/upstreams", get(upstreams::list).post(upstreams::add))
        .route("/admin/v1/upstreams/{name}", get(upstreams::show).patch(upstreams::set).delete(upstreams::remove))
        .route("/admin/v1/upstreams/{name}/test", post(upstreams::test))
        .route("/admin/v1/audit", get(audit::list))
        .route("/admin/v1/audit/export", get(audit::export))
        .route("/admin/v1/audit/verify", post(audit::verify))
        .route("/admin/v1/backups", post(backups::record))
        .route("/admin/v1/status", get(status::status))
        .route("/admin/v1/doctor", get(status::doctor))
        .route("/admin/v1/push-test", post(push::test))
        .fallback(async || AdminProblem::new(AdminCode::NotFound, "the admin API has no such path"))
        .method_not_allowed_fallback(async || {
            AdminProblem::new(AdminCode::MethodNotAllowed, "the path does not take this method")
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(api)
}

/// Who makes a request, for the audit: `uid:0 (root)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Actor {
    type Rejection = AdminProblem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AdminProblem> {
        let peer = parts.extensions.get::<axum::extract::ConnectInfo<Peer>>();
        let known = peer.map(|peer| peer.0.actor()).or_else(|| parts.extensions.get::<Self>().cloned());
        known.ok_or_else(|| {
            AdminProblem::new(AdminCode::Internal, "the system does not say who is asking: nothing was done")
        })
    }
}

/// Checks what people will read as the name of something.
fn check_shown(what: &str, text: &str) -> Result<(), AdminProblem> {
    let fault = if text.is_empty() {
        "is empty"
    } else if text.chars().count() > 64 {
        "has more than 64 characters"
    } else if text.trim() != text {
        "starts or ends with a space"
    } else if !text.chars().all(is_harmless) {
        "holds a control or invisible character"
    } else {
        return Ok(());
    };
    Err(AdminProblem::new(AdminCode::NameInvalid, format!("the {what} {fault}: choose another")))
}
