//! Users: list, add, show, enable, disable, unlock, remove.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use countersign_desk::hash_password;
use countersign_domain::{
    Commit, DeviceState, EventKind, HostileText, LimitScope, LoginName, Secret, User, UserId, UserOrigin, UserSnapshot,
    Write,
};
use countersign_storage::{CommitError, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Actor, AdminApi, AdminCode, AdminProblem, Change,
    bypasses::BypassView,
    check_shown,
    json::{Body, Name, answer, ok, secret},
};

/// A user as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserView {
    /// Immutable identifier.
    pub id: String,
    /// Login name.
    pub name: String,
    /// Name on screens.
    pub display_name: String,
    /// The directory that the user comes from; `null` for one who was added here.
    #[serde(default)]
    pub directory: Option<String>,
    /// Which entry of it, for good.
    #[serde(default)]
    pub entry: Option<String>,
    /// Whether logins are taken.
    pub enabled: bool,
    /// What the directory says of a user whom its synchronisation has disabled: `disabled`, `expired`, `gone`; `null` for
    /// one whom an administrator has.
    #[serde(default)]
    pub held: Option<String>,
    /// When it was found.
    #[serde(default)]
    pub held_since: Option<String>,
    /// Whether there is a local password.
    pub has_password: bool,
    /// Whether the password itself is kept, for CHAP.
    #[serde(default)]
    pub chap: bool,
    /// Devices that may answer.
    pub devices: usize,
    /// Devices that were suspended.
    pub devices_suspended: usize,
    /// What is paused, spent or frozen, in words; empty when nothing is.
    pub limits: Vec<String>,
    /// Leave to log on once without a second factor; also one that nobody used in time, until there is another.
    #[serde(default)]
    pub bypass: Option<BypassView>,
    /// When the user was added.
    pub created_at: String,
}

/// What `POST users` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AddUser {
    name: String,
    #[serde(default)]
    display_name: Option<String>,
    /// Absent: the user has no local password.
    #[serde(default, deserialize_with = "secret")]
    password: Option<Secret>,
    /// Keep the password itself too, for CHAP.
    #[serde(default)]
    chap: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Unlock {
    #[serde(default)]
    reason: String,
}

impl AdminApi {
    pub(super) async fn snapshot(&self, id: UserId, name: &str) -> Result<UserSnapshot, AdminProblem> {
        self.desk.store().snapshot(id).await?.ok_or_else(|| {
            AdminProblem::new(AdminCode::UserUnknown, format!("the user {name} was removed at the same time"))
        })
    }

    /// Goes through all users, a page at a time, in no order that people know.
    pub(super) async fn each_user(&self, mut see: impl FnMut(UserSnapshot) + Send) -> Result<(), StoreError> {
        const PAGE: u32 = 1000;
        let mut after = None;
        loop {
            let page = self.desk.store().snapshots(after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.user.id);
            page.into_iter().for_each(&mut see);
        }
    }

    /// What is limited, in words, with the resource where it is one.
    pub(super) fn limits(&self, snapshot: &UserSnapshot) -> Vec<String> {
        let now = self.desk.clock().now();
        let table = Arc::clone(&self.desk.resources().borrow());
        let mut out = Vec::new();
        for scoped in &snapshot.limits {
            let place = match scoped.scope {
                LimitScope::User(_) => String::new(),
                LimitScope::UserAt(_, resource) => {
                    let known = table.resource(resource);
                    let name = known.map_or_else(|| resource.to_string(), |resource| resource.name.clone());
                    format!(" (at {name})")
                }
            };
            out.extend(scoped.limits.describe(now).into_iter().map(|words| words + &place));
        }
        out
    }

    fn view(&self, snapshot: &UserSnapshot) -> UserView {
        let user = &snapshot.user;
        UserView {
            id: user.id.to_string(),
            name: user.name.to_string(),
            display_name: user.display_name.clone(),
            directory: self.origin(user),
            entry: match &user.origin {
                UserOrigin::Local => None,
                UserOrigin::Directory { entry, .. } => Some(entry.as_str().to_owned()),
            },
            enabled: user.enabled,
            held: user.held.map(|hold| hold.why.as_str().to_owned()),
            held_since: user.held.map(|hold| hold.since.to_rfc3339()),
            has_password: user.password.is_some(),
            chap: snapshot.chap_secret.is_some(),
            devices: snapshot.active_devices().count(),
            devices_suspended: snapshot.devices.iter().filter(|device| device.state == DeviceState::Suspended).count(),
            limits: self.limits(snapshot),
            bypass: snapshot.bypass.as_ref().map(|bypass| BypassView::new(bypass, self.desk.clock().now())),
            created_at: user.created_at.to_rfc3339(),
        }
    }

    pub(super) async fn view_of(&self, name: &str) -> Result<UserView, AdminProblem> {
        let user = self.user(name).await?;
        Ok(self.view(&self.snapshot(user.id, name).await?))
    }
}

pub(super) async fn list(State(api): State<Arc<AdminApi>>) -> Result<Response, AdminProblem> {
    let mut out = Vec::new();
    api.each_user(|snapshot| out.push((snapshot.user.name.folded().to_owned(), api.view(&snapshot)))).await?;
    // Names need not be unique.
    out.sort_by(|(one, view), (other, of_other)| (one, &view.id).cmp(&(other, &of_other.id)));
    Ok(ok(&out.into_iter().map(|(_, view)| view).collect::<Vec<_>>()))
}

/// Names by identifier: for people who read records.
pub(super) async fn names(State(api): State<Arc<AdminApi>>) -> Result<Response, AdminProblem> {
    let users = api.desk.store().users().await?;
    let names: std::collections::BTreeMap<_, _> =
        users.iter().map(|user| (user.id.to_string(), user.name.as_str())).collect();
    Ok(ok(&names))
}

pub(super) async fn show(State(api): State<Arc<AdminApi>>, Name(name): Name) -> Result<Response, AdminProblem> {
    Ok(ok(&api.view_of(&name).await?))
}

pub(super) async fn add(
    State(api): State<Arc<AdminApi>>,
    actor: Actor,
    Body(new): Body<AddUser>,
) -> Result<Response, AdminProblem> {
    let name = LoginName::new(&new.name)
        .map_err(|fault| AdminProblem::new(AdminCode::NameInvalid, format!("{fault}: choose another")))?;
    let display_name = new.display_name.unwrap_or_else(|| name.as_str().chars().take(64).collect());
    check_shown("display name", &display_name)?;
    let chap_secret = if new.chap { new.password.clone() } else { None };
    if new.chap && chap_secret.is_none() {
        let text = "for CHAP the password is kept, and the user has none: give one";
        return Err(AdminProblem::new(AdminCode::PasswordRefused, text));
    }
    let password = match new.password {
        None => None,
        Some(password) => {
            let entropy = Arc::clone(api.desk.entropy());
            let hashed = tokio::task::spawn_blocking(move || hash_password(&password, &*entropy)).await;
            let hashed = hashed.map_err(|_| AdminProblem::new(AdminCode::Internal, "the password was not hashed"))?;
            Some(
                hashed.map_err(|fault| {
                    AdminProblem::new(AdminCode::PasswordRefused, format!("{fault}: choose another"))
                })?,
            )
        }
    };
    let now = api.desk.clock().now();
    let user = User {
        id: UserId::new(now, &**api.desk.entropy()),
        origin: UserOrigin::Local,
        name,
        display_name,
        enabled: true,
        held: None,
        password,
        created_at: now,
    };
    let view = api.view(&UserSnapshot {
        user: user.clone(),
        devices: Vec::new(),
        limits: Vec::new(),
        bypass: None,
        chap_secret: chap_secret.clone(),
    });
    let mut after = facts(&user);
    if let (true, Some(after)) = (chap_secret.is_some(), after.as_object_mut()) {
        after.insert("chap_password".to_owned(), "(set)".into());
    }
    let mut event = api.change(actor, EventKind::UserAdded, None::<&()>, Some(&after));
    event.user_id = Some(user.id);
    event.user_typed = Some(HostileText::from(user.name.as_str()));
    let name = user.name.to_string();
    let id = user.id;
    let mut writes = vec![Write::AddUser(user)];
    writes.extend(chap_secret.map(|secret| Write::SetChapSecret { user: id, secret: Some(secret) }));
    let commit = Commit { writes, audit: vec![event] };
    api.desk.write(commit).await.map_err(|fault| {
        AdminProblem::of_commit(fault, |_| {
            AdminProblem::new(
                AdminCode::UserExists,
                format!("a user {name} exists already (letter case makes no difference): choose another name"),
            )
        })
    })?;
    Ok(answer(StatusCode::CREATED, &view))
}

/// What a record says of a user.
fn facts(user: &User) -> serde_json::Value {
    json!({
        "name": user.name.as_str(),
        "display_name": user.display_name,
        "enabled": user.enabled,
        "password": if user.password.is_some() { "(set)" } else { "(none)" },
    })
}

pub(super) async fn enable(
    State(api): State<Arc<AdminApi>>,
    actor: Actor,
    Name(name): Name,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Response, AdminProblem> {
    set_enabled(&api, actor, &name, true).await
}

pub(super) async fn disable(
    State(api): State<Arc<AdminApi>>,
    actor: Actor,
    Name(name): Name,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Response, AdminProblem> {
    set_enabled(&api, actor, &name, false).await
}

/// An empty body, or `{}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

async fn set_enabled(api: &AdminApi, actor: Actor, name: &str, enabled: bool) -> Result<Response, AdminProblem> {
    let _one = api.changes.lock().await;
    let user = api.user(name).await?;
    // Whom the directory has disabled does not come back with it once an administrator has said so too.
    if user.enabled != enabled || user.held.is_some() {
        let kind = if enabled { EventKind::UserEnabled } else { EventKind::UserDisabled };
        let mut before = json!({"enabled": user.enabled});
        if let (Some(hold), Some(before)) = (user.held, before.as_object_mut()) {
            before.insert("held".to_owned(), hold.why.as_str().into());
        }
        let after = json!({"enabled": enabled});
        let mut event = api.change(actor, kind, Some(&before), Some(&after));
        event.user_id = Some(user.id);
        event.user_typed = Some(HostileText::from(user.name.as_str()));
        let commit = Commit { writes: vec![Write::SetUserEnabled { id: user.id, enabled }], audit: vec![event] };
        api.desk.write(commit).await.map_err(|fault| AdminProblem::of_commit(fault, |_| AdminProblem::conflict()))?;
    }
    Ok(ok(&api.view_of(name).await?))
}

pub(super) async fn unlock(
    State(api): State<Arc<AdminApi>>,
    actor: Actor,
    Name(name): Name,
    Body(body): Body<Unlock>,
) -> Result<Response, AdminProblem> {
    /// Logins change counters too, so somebody may be quicker.
    const TRIES: usize = 10;
    let reason = body.reason.trim();
    if reason.is_empty() {
        return Err(AdminProblem::new(
            AdminCode::ReasonMissing,
            "unlocking needs a reason, which is recorded: --reason \"who asked, and how you knew that it was them\"",
        ));
    }
    let _one = api.changes.lock().await;
    let user = api.user(&name).await?;
    for _ in 0..TRIES {
        let snapshot = api.snapshot(user.id, &name).await?;
        let before = api.limits(&snapshot);
        let now = api.desk.clock().now();
        let writes: Vec<Write> = snapshot.limits.iter().filter_map(unlocked).collect();
        let after = UserSnapshot { limits: after(&snapshot, &writes), ..snapshot };
        let after = api.limits(&after);
        let mut event = countersign_domain::AuditEvent::new(now, EventKind::UserUnlocked, actor.0.clone());
        event.user_id = Some(user.id);
        event.user_typed = Some(HostileText::from(user.name.as_str()));
        let reason: String = reason.chars().take(500).collect();
        let (before, after) = (json!({"limits": before}), json!({"limits": after}));
        event.detail =
            serde_json::to_string(&Change { before: Some(before), after: Some(after), reason: Some(&reason) }).ok();
        match api.desk.write(Commit { writes, audit: vec![event] }).await {
            Ok(()) => return Ok(ok(&api.view_of(&name).await?)),
            Err(CommitError::Conflict(_)) => {}
            Err(CommitError::Store(fault)) => return Err(fault.into()),
        }
    }
    Err(AdminProblem::conflict())
}

fn unlocked(scoped: &countersign_domain::ScopedLimits) -> Option<Write> {
    let mut limits = scoped.limits.clone();
    limits.unlock();
    (limits != scoped.limits).then_some(Write::SetLimits { scope: scoped.scope, expected: scoped.version, limits })
}

fn after(snapshot: &UserSnapshot, writes: &[Write]) -> Vec<countersign_domain::ScopedLimits> {
    let mut all = snapshot.limits.clone();
    for write in writes {
        if let Write::SetLimits { scope, limits, .. } = write
            && let Some(scoped) = all.iter_mut().find(|scoped| scoped.scope == *scope)
        {
            scoped.limits = limits.clone();
        }
    }
    all
}

pub(super) async fn remove(
    State(api): State<Arc<AdminApi>>,
    actor: Actor,
    Name(name): Name,
) -> Result<StatusCode, AdminProblem> {
    let _one = api.changes.lock().await;
    let user = api.user(&name).await?;
    let snapshot = api.snapshot(user.id, &name).await?;
    let mut before = facts(&user);
    if let Some(before) = before.as_object_mut() {
        let devices: Vec<_> = snapshot
            .devices
            .iter()
            .map(|device| json!({"id": device.id.to_string(), "name": device.name.to_string(), "state": device.state.as_str()}))
            .collect();
        before.insert("devices".to_owned(), devices.into());
    }
    let mut event = api.change(actor, EventKind::UserRemoved, Some(&before), None::<&()>);
    event.user_id = Some(user.id);
    event.user_typed = Some(HostileText::from(user.name.as_str()));
    // Streams of the devices end with them.
    let mut writes: Vec<Write> = snapshot
        .devices
        .iter()
        .map(|device| Write::SetDeviceState { id: device.id, from: device.state, to: DeviceState::Removed })
        .collect();
    writes.push(Write::RemoveUser(user.id));
    api.desk
        .write(Commit { writes, audit: vec![event] })
        .await
        .map_err(|fault| AdminProblem::of_commit(fault, |_| AdminProblem::conflict()))?;
    Ok(StatusCode::NO_CONTENT)
}
