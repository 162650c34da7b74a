//! Directories: list, add, show, test, set, remove. The password of the account that searches goes in and never comes
//! out, and is not sent to a server that was named without it (S61).

use core::time::Duration;
use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use countersign_domain::{
    Commit, Directory, DirectoryId, EventKind, HostileText, Lockout, Secret, SyncRule, SyncSettings, User, Write,
};
use countersign_storage::CommitError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    Actor, AdminApi, AdminCode, AdminProblem, check_shown,
    json::{Body, Name, Query, answer, ok, secret},
    status::Finding,
    synchronisation::RunView,
};

/// Settings that say to whom the password goes.
const TO_WHOM: [&str; 3] = ["servers", "ca_file", "bind_name"];

/// A directory as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryView {
    /// Immutable identifier.
    pub id: String,
    /// What administrators see.
    pub name: String,
    /// How it is reached and read; without the password.
    pub settings: Map<String, Value>,
    /// The directory locks accounts at so many wrong passwords in a row; 0: never.
    pub lockout_threshold: u8,
    /// Seconds after which it begins to count anew.
    pub lockout_window: u64,
    /// Whether and how its users are read ahead.
    #[serde(default)]
    pub sync: SyncSettings,
    /// The last run of that.
    #[serde(default)]
    pub last_sync: Option<RunView>,
    /// Resources that use it.
    pub resources: Vec<String>,
    /// Users who come from it.
    pub users: usize,
    /// When it was added.
    pub created_at: String,
}

/// A step of a walk through a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryStep {
    /// What was tried: `connect`, `tls`, `bind`, `search`, `user`, `groups`.
    pub step: String,
    /// With which server; `None` where any would do.
    pub server: Option<String>,
    /// Whether it went well.
    pub ok: bool,
    /// What was found, or what is wrong.
    pub text: String,
    /// What to do about it.
    pub advice: Option<String>,
}

/// The answer to a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryTested {
    /// Whether all steps went well.
    pub ok: bool,
    /// One after the other.
    pub steps: Vec<DirectoryStep>,
    /// How long all of it took.
    pub milliseconds: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AddDirectory {
    name: String,
    settings: Map<String, Value>,
    #[serde(default, deserialize_with = "secret")]
    password: Option<Secret>,
    #[serde(default)]
    lockout_threshold: Option<u8>,
    #[serde(default)]
    lockout_window: Option<u64>,
    /// As the settings.
    #[serde(default)]
    sync: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SetDirectory {
    #[serde(default)]
    name: Option<String>,
    /// Those that are named, in the place of those before; null takes one away.
    #[serde(default)]
    settings: Map<String, Value>,
    #[serde(default, deserialize_with = "secret")]
    password: Option<Secret>,
    #[serde(default)]
    lockout_threshold: Option<u8>,
    #[serde(default)]
    lockout_window: Option<u64>,
    /// As the settings.
    #[serde(default)]
    sync: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Test {
    #[serde(default)]
    user: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remove {
    #[serde(default)]
    with_users: bool,
}

fn settings(directory: &Directory) -> Map<String, Value> {
    serde_json::from_str(&directory.settings).unwrap_or_default()
}

fn view(directory: &Directory, last_sync: Option<RunView>, resources: Vec<String>, users: usize) -> DirectoryView {
    DirectoryView {
        id: directory.id.to_string(),
        name: directory.name.clone(),
        settings: settings(directory),
        lockout_threshold: directory.lockout.threshold,
        lockout_window: directory.lockout.window.as_secs(),
        sync: directory.sync.clone(),
        last_sync,
        resources,
        users,
        created_at: directory.created_at.to_rfc3339(),
    }
}

/// What a record says of a directory; `password` says what became of it.
fn facts(directory: &Directory, password: &str) -> Value {
    json!({
        "name": directory.name,
        "settings": settings(directory),
        "password": password,
        "lockout_threshold": directory.lockout.threshold,
        "lockout_window": directory.lockout.window.as_secs(),
        "sync": directory.sync,
    })
}

impl AdminApi {
    /// The directory with a name in any letter case.
    pub(super) async fn directory(&self, name: &str) -> Result<Directory, AdminProblem> {
        let folded = name.to_lowercase();
        let all = self.desk.store().directories().await?;
        all.into_iter().find(|directory| directory.name.to_lowercase() == folded).ok_or_else(|| {
            let name = HostileText::from(name);
            AdminProblem::new(
                AdminCode::DirectoryUnknown,
                format!("there is no directory {name}: `countersign directory list` shows all"),
            )
        })
    }

    async fn users_of(&self, directory: DirectoryId) -> Result<Vec<User>, AdminProblem> {
        let all = self.desk.store().users().await?;
        Ok(all.into_iter().filter(|user| user.origin.directory() == Some(directory)).collect())
    }

    async fn resources_of(&self, directory: DirectoryId) -> Result<Vec<String>, AdminProblem> {
        let all = self.desk.store().resources().await?;
        let its = all.into_iter().filter(|(resource, _)| resource.directory == Some(directory));
        Ok(its.map(|(resource, _)| resource.name).collect())
    }

    async fn directory_view(&self, directory: &Directory) -> Result<DirectoryView, AdminProblem> {
        let last = self.sync_state(directory).await?.map(|state| RunView::from(&state.last));
        let users = self.users_of(directory.id).await?.len();
        Ok(view(directory, last, self.resources_of(directory.id).await?, users))
    }

    /// The settings in full, if they make sense.
    fn checked(
        &self,
        given: Map<String, Value>,
        password: &Secret,
        rules: &[SyncRule],
    ) -> Result<String, AdminProblem> {
        self.facts
            .check_directory(&Value::Object(given), password, rules)
            .map_err(|fault| AdminProblem::new(AdminCode::DirectoryRefused, fault))
    }

    /// What there is to say of every directory, and of the groups that resources name.
    pub(super) async fn examine_directories(&self) -> Result<Vec<Finding>, AdminProblem> {
        let resources = self.desk.store().resources().await?;
        let mut out = Vec::new();
        for directory in self.desk.store().directories().await? {
            let about = format!("directory {}", directory.name);
            let tested = self.tested(&directory, None).await;
            for step in tested.steps.iter().filter(|step| !step.ok) {
                let server = step.server.as_ref().map(|server| format!("{server}: ")).unwrap_or_default();
                let advice = step.advice.as_ref().map(|advice| format!(". {advice}")).unwrap_or_default();
                out.push(Finding::wrong(&about, format!("{server}{}{advice}", step.text)));
            }
            let servers: std::collections::BTreeSet<_> =
                tested.steps.iter().filter_map(|s| s.server.as_ref()).collect();
            if tested.ok {
                let text = format!("{} servers answer, asked in {} ms", servers.len(), tested.milliseconds);
                out.push(Finding::ok(&about, text));
            }
            out.extend(self.examine_sync(&directory, &about).await?);
            for (resource, _) in resources.iter().filter(|(resource, _)| resource.directory == Some(directory.id)) {
                for fault in self.group_faults(resource, &directory).await {
                    out.push(Finding::wrong(&about, format!("resource {}: {fault}", resource.name)));
                }
            }
        }
        Ok(out)
    }

    async fn tested(&self, directory: &Directory, user: Option<&str>) -> DirectoryTested {
        let begin = tokio::time::Instant::now();
        let steps = self.facts.test_directory(directory, user).await;
        let milliseconds = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        DirectoryTested { ok: steps.iter().all(|step| step.ok), steps, milliseconds }
    }
}

fn lockout(before: Lockout, threshold: Option<u8>, window: Option<u64>) -> Result<Lockout, AdminProblem> {
    let refuse = |detail: String| Err(AdminProblem::new(AdminCode::DirectoryRefused, detail));
    let threshold = threshold.unwrap_or(before.threshold);
    let window = window.map_or(before.window, Duration::from_secs);
    if threshold == 1 {
        return refuse(
            "a directory that locks an account at the first wrong password cannot be protected from that: lockout-threshold \
             is 0 (it never locks) or at least 2"
                .to_owned(),
        );
    }
    if window < Duration::from_secs(60) || window > Lockout::WINDOW_MAX {
        return refuse(format!("lockout-window is {} s: it must be from 1 minute to 24 hours", window.as_secs()));
    }
    Ok(Lockout { threshold, window })
}

/// What was before with what is named in its place; null takes one away.
fn merged(mut before: Map<String, Value>, named: Map<String, Value>) -> Map<String, Value> {
    for (key, value) in named {
        if value.is_null() {
            before.remove(&key);
        } else {
            before.insert(key, value);
        }
    }
    before
}

fn synced(before: &SyncSettings, named: Map<String, Value>) -> Result<SyncSettings, AdminProblem> {
    let refuse = |detail: String| AdminProblem::new(AdminCode::DirectoryRefused, format!("synchronisation: {detail}"));
    let before = match serde_json::to_value(before) {
        Ok(Value::Object(before)) => before,
        _ => Map::new(),
    };
    let sync: SyncSettings =
        serde_json::from_value(Value::Object(merged(before, named))).map_err(|fault| refuse(fault.to_string()))?;
    sync.check().map_err(|fault| refuse(fault.to_string()))?;
    Ok(sync)
}

fn exists(name: &str) -> AdminProblem {
    AdminProblem::new(
        AdminCode::DirectoryExists,
        format!(
            "a directory {name} exists already: choose another name, or change it with `countersign directory set`"
        ),
    )
}

pub(super) async fn list(State(api): State<Arc<AdminApi>>) -> Result<Response, AdminProblem> {
    let mut out = Vec::new();
    for directory in api.desk.store().directories().await? {
        out.push(api.directory_view(&directory).await?);
    }
    Ok(ok(&out))
}

pub(super) async fn show(State(api): State<Arc<AdminApi>>, Name(name): Name) -> Result<Response, AdminProblem> {
    let directory = api.directory(&name).await?;
    Ok(ok(&api.directory_view(&directory).await?))
}

pub(super) async fn test(
    State(api): State<Arc<AdminApi>>,
    Name(name): Name,
    Body(body): Body<Test>,
) -> Result<Response, AdminProblem> {
    let directory = api.directory(&name).await?;
    Ok(ok(&api.tested(&directory, body.user.as_deref()).await))
}

pub(super) async fn add(
    State(api): State<Arc<AdminApi>>,
    actor: Actor,
    Body(new): Body<AddDirectory>,
) -> Result<Response, AdminProblem> {
    check_shown("name of the directory", &new.name)?;
    let password = new.password.ok_or_else(|| {
        AdminProblem::new(AdminCode::PasswordMissing, "a directory needs the password of the account that searches")
    })?;
    let _one = api.changes.lock().await;
    let now = api.desk.clock().now();
    let sync = synced(&SyncSettings::default(), new.sync)?;
    let directory = Directory {
        id: DirectoryId::new(now, &**api.desk.entropy()),
        name: new.name,
        settings: api.checked(new.settings, &password, &sync.rules)?,
        password,
        lockout: lockout(Lockout::default(), new.lockout_threshold, new.lockout_window)?,
        sync,
        created_at: now,
    };
    let event = api.change(actor, EventKind::DirectoryAdded, None::<&()>, Some(&facts(&directory, "(set)")));
    let write = Write::AddDirectory(Box::new(directory.clone()));
    api.desk
        .write(Commit { writes: vec![write], audit: vec![event] })
        .await
        .map_err(|fault| AdminProblem::of_commit(fault, |_| exists(&directory.name)))?;
    Ok(answer(StatusCode::CREATED, &view(&directory, None, Vec::new(), 0)))
}

pub(super) async fn set(
    State(api): State<Arc<AdminApi>>,
    actor: Actor,
    Name(name): Name,
    Body(new): Body<SetDirectory>,
) -> Result<Response, AdminProblem> {
    let _one = api.changes.lock().await;
    let before = api.directory(&name).await?;
    let mut directory = before.clone();
    if let Some(name) = new.name {
        check_shown("name of the directory", &name)?;
        directory.name = name;
    }
    directory.lockout = lockout(before.lockout, new.lockout_threshold, new.lockout_window)?;
    directory.sync = synced(&before.sync, new.sync)?;
    let old = settings(&before);
    let merged = merged(old.clone(), new.settings);
    let typed = new.password.is_some();
    if let Some(changed) = TO_WHOM.iter().find(|key| old.get(**key) != merged.get(**key))
        && !typed
    {
        return Err(AdminProblem::new(
            AdminCode::PasswordMissing,
            format!(
                "{changed} says to whom the password goes: a change of it needs the password again \
                 (--bind-password-stdin). Nothing was changed"
            ),
        ));
    }
    directory.password = new.password.unwrap_or(directory.password);
    directory.settings = api.checked(merged, &directory.password, &directory.sync.rules)?;
    if directory != before {
        let replaced = if directory.password == before.password { "(set)" } else { "(replaced)" };
        let event = api.change(
            actor,
            EventKind::DirectoryChanged,
            Some(&facts(&before, "(set)")),
            Some(&facts(&directory, replaced)),
        );
        let write = Write::SetDirectory(Box::new(directory.clone()));
        api.desk
            .write(Commit { writes: vec![write], audit: vec![event] })
            .await
            .map_err(|fault| AdminProblem::of_commit(fault, |_| exists(&directory.name)))?;
    }
    Ok(ok(&api.directory_view(&directory).await?))
}

pub(super) async fn remove(
    State(api): State<Arc<AdminApi>>,
    actor: Actor,
    Name(name): Name,
    Query(how): Query<Remove>,
) -> Result<StatusCode, AdminProblem> {
    let _one = api.changes.lock().await;
    let directory = api.directory(&name).await?;
    let in_use = |detail: String| Err(AdminProblem::new(AdminCode::DirectoryInUse, detail));
    let resources = api.resources_of(directory.id).await?;
    if !resources.is_empty() {
        return in_use(format!(
            "{} is the directory of {}: give them another first, or remove them",
            directory.name,
            resources.join(", ")
        ));
    }
    let users = api.users_of(directory.id).await?;
    if !users.is_empty() && !how.with_users {
        return in_use(format!(
            "{} users come from {}; they and their devices would be gone for good: --with-users removes them too",
            users.len(),
            directory.name
        ));
    }
    let mut writes: Vec<Write> = users.iter().map(|user| Write::RemoveUser(user.id)).collect();
    writes.push(Write::RemoveDirectory(directory.id));
    let mut audit = Vec::new();
    for user in &users {
        let before = json!({"name": user.name.as_str(), "directory": directory.name});
        let mut event = api.change(actor.clone(), EventKind::UserRemoved, Some(&before), None::<&()>);
        event.user_id = Some(user.id);
        event.user_typed = Some(HostileText::from(user.name.as_str()));
        audit.push(event);
    }
    audit.push(api.change(actor, EventKind::DirectoryRemoved, Some(&facts(&directory, "(set)")), None::<&()>));
    match api.desk.write(Commit { writes, audit }).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(CommitError::Conflict(_)) => Err(AdminProblem::conflict()),
        Err(CommitError::Store(fault)) => Err(fault.into()),
    }
}
