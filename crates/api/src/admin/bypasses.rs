//! Leave to log on once without a second factor: give it, take it back.

use core::time::Duration;
use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use countersign_domain::{
    AuditEvent, Bypass, Commit, EventKind, HostileText, LimitScope, Resource, Timestamp, User, UserSnapshot, Write,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Actor, AdminApi, AdminCode, AdminProblem, Change,
    json::{Body, Name, answer},
};

/// Characters of a reason that are kept.
const REASON: usize = 500;

/// A bypass as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BypassView {
    /// From this time on it is worth nothing.
    pub until: String,
    /// Whether it lets somebody in now; otherwise nobody used it in time.
    pub open: bool,
    /// Why it was given.
    pub reason: String,
    /// By whom.
    pub issuer: String,
    /// When.
    pub issued_at: String,
}

impl BypassView {
    pub(super) fn new(bypass: &Bypass, now: Timestamp) -> Self {
        Self {
            until: bypass.until.to_rfc3339(),
            open: bypass.is_open(now),
            reason: bypass.reason.clone(),
            issuer: bypass.issuer.clone(),
            issued_at: bypass.issued_at.to_rfc3339(),
        }
    }
}

/// The answer to `POST users/{name}/bypass`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BypassIssued {
    /// Whose it is.
    pub user: String,
    /// What was given.
    pub bypass: BypassView,
    /// Resources where nobody here checks a password: whoever their clients let ask as this user uses it up.
    pub unproved_at: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Issue {
    #[serde(default)]
    seconds: Option<u64>,
    #[serde(default)]
    reason: String,
}

pub(super) async fn issue(
    State(api): State<Arc<AdminApi>>,
    actor: Actor,
    Name(name): Name,
    Body(body): Body<Issue>,
) -> Result<Response, AdminProblem> {
    let reason: String = body.reason.trim().chars().take(REASON).collect();
    if reason.is_empty() {
        return Err(AdminProblem::new(
            AdminCode::ReasonMissing,
            "a bypass needs a reason, which is recorded: --reason \"who asked, and how you knew that it was them\"",
        ));
    }
    let lifetime = body.seconds.map_or(Bypass::LIFETIME, Duration::from_secs);
    if lifetime.is_zero() || lifetime > Bypass::LIFETIME_MAX {
        return Err(AdminProblem::new(
            AdminCode::BypassRefused,
            format!("a bypass lives at least 1 second and at most 24 hours, not {} seconds", lifetime.as_secs()),
        ));
    }
    let _one = api.changes.lock().await;
    let user = api.user(&name).await?;
    let snapshot = api.snapshot(user.id, &name).await?;
    refuse(&snapshot)?;
    let now = api.desk.clock().now();
    let bypass = Bypass { until: now.plus(lifetime), reason, issuer: actor.0.clone(), issued_at: now };
    let view = BypassView::new(&bypass, now);
    let event = record(&actor, &snapshot, EventKind::BypassIssued, Some(&bypass), now);
    let alert = AuditEvent {
        user_id: event.user_id,
        user_typed: event.user_typed.clone(),
        ..AuditEvent::alert(now, "bypass_issued")
    };
    write(&api, &user, Some(bypass), vec![event, alert]).await?;
    let theirs = |resource: &Resource| !resource.proves_user() && resource.directory == user.origin.directory();
    let resources = api.desk.store().resources().await?.into_iter().map(|(resource, _)| resource);
    let unproved_at = resources.filter(theirs).map(|resource| resource.name).collect();
    Ok(answer(StatusCode::CREATED, &BypassIssued { user: user.name.to_string(), bypass: view, unproved_at }))
}

/// Whoever may not log on with a second factor may not without.
fn refuse(snapshot: &UserSnapshot) -> Result<(), AdminProblem> {
    let name = &snapshot.user.name;
    if !snapshot.user.enabled {
        let why = format!("the user {name} is disabled: `countersign user enable {name}` first");
        return Err(AdminProblem::new(AdminCode::UserDisabled, why));
    }
    if snapshot.limits(LimitScope::User(snapshot.user.id)).1.is_frozen() {
        let why = format!(
            "somebody said on a phone of {name} that a login was not theirs: find out what happened, and only then \
             `countersign user unlock {name} --reason …`"
        );
        return Err(AdminProblem::new(AdminCode::UserFrozen, why));
    }
    Ok(())
}

pub(super) async fn cancel(
    State(api): State<Arc<AdminApi>>,
    actor: Actor,
    Name(name): Name,
) -> Result<StatusCode, AdminProblem> {
    let _one = api.changes.lock().await;
    let user = api.user(&name).await?;
    let snapshot = api.snapshot(user.id, &name).await?;
    if snapshot.bypass.is_some() {
        let now = api.desk.clock().now();
        let event = record(&actor, &snapshot, EventKind::BypassCancelled, None, now);
        write(&api, &user, None, vec![event]).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn write(
    api: &AdminApi,
    user: &User,
    bypass: Option<Bypass>,
    audit: Vec<AuditEvent>,
) -> Result<(), AdminProblem> {
    let commit = Commit { writes: vec![Write::SetBypass { user: user.id, bypass }], audit };
    api.desk.write(commit).await.map_err(|fault| AdminProblem::of_commit(fault, |_| AdminProblem::conflict()))
}

fn record(
    actor: &Actor,
    snapshot: &UserSnapshot,
    kind: EventKind,
    after: Option<&Bypass>,
    now: Timestamp,
) -> AuditEvent {
    let until = |bypass: &Bypass| json!({"until": bypass.until.to_rfc3339(), "issuer": bypass.issuer});
    let before = snapshot.bypass.as_ref().filter(|bypass| bypass.is_open(now)).map(until);
    let reason = after.map(|bypass| bypass.reason.as_str());
    let mut event = AuditEvent::new(now, kind, actor.0.clone());
    event.user_id = Some(snapshot.user.id);
    event.user_typed = Some(HostileText::from(snapshot.user.name.as_str()));
    event.detail = serde_json::to_string(&Change { before, after: after.map(until), reason }).ok();
    event
}
