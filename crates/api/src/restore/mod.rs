//! A database that was put back from a copy, before it is served again (S95).
//!
//! What is in it was true when the copy was made. So everything that was open then ends, every code that somebody may have
//! seen since is used up, and what is known of the time since (from the database that was there, or from an export of its
//! audit) is applied again where it forbids something. What it allowed is not.

mod later;

use std::{collections::BTreeSet, path::Path, sync::Arc};

use countersign_domain::{
    AuditEvent, Commit, DeviceId, DeviceState, EventKind, Hold, HostileText, LimitScope, ResourceId, Timestamp,
    UserOrigin, UserSnapshot, Write, newest_step,
};
use countersign_storage::{CommitError, Store, StoreError};
use serde::{Deserialize, Serialize};

use crate::{
    admin::audit::{BreakReport, walk},
    seam::SeamMark,
    server_keys::{ServerKey, ServerKeyError},
};

use later::Later;
pub use later::Missing;

/// Users read at once.
const PAGE: u32 = 1000;

/// Why a copy was not put back.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// A database did not answer, or what is in it makes no sense.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The server's key cannot be used.
    #[error(transparent)]
    Key(#[from] ServerKeyError),
    /// The audit in the copy is broken.
    #[error("the audit in the copy is broken at record {}: {}", .0.seq, .0.detail)]
    Broken(BreakReport),
    /// The export of the audit cannot be read.
    #[error("the export of the audit {file}: {fault}")]
    Export {
        /// The file.
        file: String,
        /// Why.
        fault: String,
    },
    /// The export is of another server.
    #[error(
        "the export of the audit {0} has no record in common with the copy: it is another server's, or of another time"
    )]
    Foreign(String),
    /// Nothing was written.
    #[error("the changes were not written: {0}")]
    Refused(String),
}

/// What is in a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// Users.
    pub users: usize,
    /// Devices that are not removed.
    pub devices: usize,
    /// Resources.
    pub resources: usize,
    /// Records of the audit.
    pub records: i64,
}

/// Reads everything that a server would, so that damage shows now and not when somebody logs on: every record of the audit,
/// every secret. With `despite_audit` a broken audit is told and not refused.
///
/// # Errors
/// [`RestoreError`] with the first thing that is wrong.
pub async fn examine(store: &dyn Store, despite_audit: bool) -> Result<(Contents, Option<BreakReport>), RestoreError> {
    let walked = walk(store, |_| {}).await?;
    let broken = match walked.broken {
        Some(broken) if !despite_audit => return Err(RestoreError::Broken(broken)),
        broken => broken,
    };
    let (mut users, mut devices) = (0_usize, 0_usize);
    each_user(store, |snapshot| {
        users = users.saturating_add(1);
        devices = devices.saturating_add(snapshot.devices.len());
    })
    .await?;
    let resources = store.resources().await?.len();
    store.directories().await?;
    store.upstreams().await?;
    for key in [ServerKey::Signing, ServerKey::Push] {
        key.open(store).await?;
    }
    let (records, _) = store.audit_head().await?;
    Ok((Contents { users, devices, resources, records }, broken))
}

async fn each_user(store: &dyn Store, mut see: impl FnMut(UserSnapshot) + Send) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let page = store.snapshots(after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.user.id);
        page.into_iter().for_each(&mut see);
    }
}

/// The database that was there.
pub enum Before {
    /// There was none.
    None,
    /// It is of the same deployment, and can be read.
    Known(Arc<dyn Store>),
    /// It cannot be used, for this reason.
    Unknown(String),
}

/// What somebody restores.
pub struct Restoration<'a> {
    /// When.
    pub now: Timestamp,
    /// Who, as the audit calls them.
    pub actor: &'a str,
    /// The file, as they named it.
    pub file: &'a str,
    /// When the copy was made, if it says so.
    pub made_at: Option<Timestamp>,
    /// What was there.
    pub before: Before,
    /// An export of the audit that goes further than the copy.
    pub export: Option<&'a Path>,
    /// The newest checkpoint that is known.
    pub newest_checkpoint: Option<Timestamp>,
}

/// What a restore did, and what it could not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// Records of the audit that were kept; the next one tells of the restore.
    pub kept: i64,
    /// Time of the last of them.
    pub kept_until: Option<String>,
    /// `none`, `known` or `unknown`: the database that was there.
    pub before: String,
    /// Why it is unknown.
    pub before_fault: Option<String>,
    /// Up to when something is known of the time since the copy; `null` where nothing is.
    pub known_until: Option<String>,
    /// Whether the counters of wrong codes, pushes and pauses are at least those of the database that was there; otherwise
    /// they are those of the copy.
    pub counters_known: bool,
    /// Records behind the kept ones that are not in the database any more.
    pub gone: i64,
    /// Challenges that were pending in the copy.
    pub challenges_ended: usize,
    /// What was forbidden since, and is again.
    pub again: Vec<Again>,
    /// What an administrator or a user did since, and has to do again.
    pub missing: Vec<Missing>,
    /// More of these than are listed.
    pub missing_more: usize,
    /// The time that codes are used up to, where it lies ahead of the clock: it stood ahead once, or it is behind now.
    pub ahead: Option<String>,
}

/// Something that was forbidden since the copy was made, and is again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Again {
    /// `user_disabled`, `user_removed` (who is back, and disabled), `device_removed`, `device_suspended`, `limits`.
    pub what: String,
    /// The user's name.
    pub user: String,
    /// The device.
    pub device: Option<String>,
}

/// Begins a new epoch of a database that was put back, and is not served yet: one commit, all of it or nothing.
///
/// # Errors
/// [`RestoreError`]; then nothing was written.
pub async fn begin_epoch(store: &dyn Store, what: &Restoration<'_>) -> Result<Restored, RestoreError> {
    let kept = store.audit_head().await?;
    let last = store.audit_newest(1).await?.pop().map(|record| Timestamp::from_micros(record.time));
    let mut later = Later::default();
    if let Before::Known(before) = &what.before {
        later.read_store(store, &**before).await?;
    }
    if let Some(export) = what.export {
        later.read_export(store, export).await?;
    }
    let known = [last, later.until, what.newest_checkpoint, what.made_at];
    let until = known.into_iter().flatten().fold(what.now, Timestamp::max);

    let mut writes = vec![Write::BeginEpoch { at: what.now, step: newest_step(until) }];
    let mut applied = Applied { what, writes: Vec::new(), audit: Vec::new(), again: BTreeSet::new() };
    let old = match &what.before {
        // An older one says nothing of what came after it.
        Before::Known(before) if later.from_before => Some(&**before),
        _ => None,
    };
    let resources: BTreeSet<ResourceId> =
        store.resources().await?.into_iter().map(|(resource, _)| resource.id).collect();
    let mut counters_known = old.is_some();
    let mut users = Vec::new();
    each_user(store, |snapshot| users.push(snapshot)).await?;
    for snapshot in &users {
        // Only what both versions of the schema know can be read of a database that another program wrote.
        let limits = match old {
            Some(old) => old.snapshot(snapshot.user.id).await.unwrap_or_else(|_| {
                counters_known = false;
                None
            }),
            None => None,
        };
        applied.user(snapshot, &later, limits.as_ref(), &resources);
    }
    let Applied { writes: more, audit: consequences, again, .. } = applied;
    writes.extend(more);

    let deployment = store.deployment().await?.id;
    let key = ServerKey::Signing.open(store).await?;
    let mark = SeamMark::make(&key, &deployment, kept, what.now, until)
        .map_err(|fault| RestoreError::Refused(fault.to_string()))?;
    let (before, before_fault) = match &what.before {
        Before::None => ("none", None),
        Before::Known(_) => ("known", None),
        Before::Unknown(why) => ("unknown", Some(why.clone())),
    };
    let report = Restored {
        kept: kept.0,
        kept_until: last.map(Timestamp::to_rfc3339),
        before: before.to_owned(),
        before_fault,
        known_until: later.until.filter(|_| later.any).map(Timestamp::to_rfc3339),
        counters_known,
        gone: later.gone,
        challenges_ended: store.pending_challenges().await?.len(),
        again: again.into_iter().collect(),
        missing: later.missing,
        missing_more: later.missing_more,
        ahead: (until > what.now.plus(A_LITTLE)).then(|| until.to_rfc3339()),
    };
    let mut audit = vec![record(what, &mark, &report), AuditEvent::alert(what.now, "restored")];
    audit.extend(consequences);
    match store.commit(Commit { writes, audit }).await {
        Ok(()) => Ok(report),
        Err(CommitError::Store(fault)) => Err(fault.into()),
        Err(fault @ CommitError::Conflict(_)) => Err(RestoreError::Refused(fault.to_string())),
    }
}

/// Clocks may differ by so much without anybody being told.
const A_LITTLE: core::time::Duration = core::time::Duration::from_secs(2);

/// What the record of a restore says; the mark comes first.
#[derive(Serialize)]
struct Detail<'a> {
    #[serde(flatten)]
    mark: &'a SeamMark,
    file: String,
    made_at: Option<String>,
    before: &'a str,
    before_fault: Option<&'a str>,
    known_until: Option<&'a str>,
    counters_known: bool,
    gone: i64,
    challenges_ended: usize,
    again: usize,
}

fn record(what: &Restoration<'_>, mark: &SeamMark, report: &Restored) -> AuditEvent {
    let detail = Detail {
        mark,
        file: HostileText::from(what.file).to_string(),
        made_at: what.made_at.map(Timestamp::to_rfc3339),
        before: &report.before,
        before_fault: report.before_fault.as_deref(),
        known_until: report.known_until.as_deref(),
        counters_known: report.counters_known,
        gone: report.gone,
        challenges_ended: report.challenges_ended,
        again: report.again.len(),
    };
    let mut event = AuditEvent::new(what.now, EventKind::ServerRestored, what.actor);
    event.detail = serde_json::to_string(&detail).ok();
    event
}

/// What is done to the users of a database that was put back.
struct Applied<'a> {
    what: &'a Restoration<'a>,
    writes: Vec<Write>,
    audit: Vec<AuditEvent>,
    again: BTreeSet<Again>,
}

impl Applied<'_> {
    fn user(
        &mut self,
        snapshot: &UserSnapshot,
        later: &Later,
        old: Option<&UserSnapshot>,
        resources: &BTreeSet<ResourceId>,
    ) {
        let user = &snapshot.user;
        let removed = later.users_removed.contains(&user.id);
        let disabled = later.users_disabled.get(&user.id);
        if user.enabled && (removed || disabled.is_some()) {
            self.writes.push(match (disabled, &user.origin) {
                // So that the next synchronisation may enable them again.
                (Some(Some(why)), UserOrigin::Directory { .. }) if !removed => {
                    Write::HoldUser { id: user.id, from: None, hold: Hold { why: *why, since: self.what.now } }
                }
                _ => Write::SetUserEnabled { id: user.id, enabled: false },
            });
            let word = if removed { "user_removed" } else { "user_disabled" };
            self.note(snapshot, EventKind::UserDisabled, word, None, r#"{"enabled":true}"#, r#"{"enabled":false}"#);
        }
        for device in &snapshot.devices {
            let (to, kind, word) = match later.devices.get(&device.id) {
                Some(DeviceState::Removed) => (DeviceState::Removed, EventKind::DeviceRemoved, "device_removed"),
                Some(DeviceState::Suspended) if device.state == DeviceState::Active => {
                    (DeviceState::Suspended, EventKind::DeviceSuspended, "device_suspended")
                }
                _ => continue,
            };
            self.writes.push(Write::SetDeviceState { id: device.id, from: device.state, to });
            let state = |state: DeviceState| serde_json::json!({"state": state.as_str()}).to_string();
            self.note(snapshot, kind, word, Some(device.id), &state(device.state), &state(to));
        }
        self.limits(snapshot, later, old, resources);
    }

    /// Counters that are as strict as both, in the copy and in what was there.
    fn limits(
        &mut self,
        snapshot: &UserSnapshot,
        later: &Later,
        old: Option<&UserSnapshot>,
        resources: &BTreeSet<ResourceId>,
    ) {
        let own = LimitScope::User(snapshot.user.id);
        let mut scopes: BTreeSet<LimitScope> = [own].into();
        scopes.extend(old.iter().flat_map(|old| &old.limits).map(|limits| limits.scope));
        let mut stricter = false;
        for scope in scopes {
            if scope.resource().is_some_and(|resource| !resources.contains(&resource)) {
                continue;
            }
            let (expected, mine) = snapshot.limits(scope);
            let mut limits = old.map_or_else(|| mine.clone(), |old| mine.stricter(&old.limits(scope).1));
            if scope == own && later.frozen.contains(&snapshot.user.id) {
                limits.freeze();
            }
            if limits != mine {
                stricter |= limits.describe(self.what.now) != mine.describe(self.what.now);
                self.writes.push(Write::SetLimits { scope, expected, limits });
            }
        }
        if stricter {
            self.again.insert(Again { what: "limits".to_owned(), user: snapshot.user.name.to_string(), device: None });
        }
    }

    fn note(
        &mut self,
        snapshot: &UserSnapshot,
        kind: EventKind,
        word: &str,
        device: Option<DeviceId>,
        before: &str,
        after: &str,
    ) {
        let user = &snapshot.user;
        self.again.insert(Again {
            what: word.to_owned(),
            user: user.name.to_string(),
            device: device.map(|id| id.to_string()),
        });
        self.audit.push(AuditEvent {
            user_id: Some(user.id),
            user_typed: Some(HostileText::from(user.name.as_str())),
            device,
            detail: Some(format!(
                r#"{{"before":{before},"after":{after},"reason":"it was so before the restore ({word})"}}"#
            )),
            ..AuditEvent::new(self.what.now, kind, self.what.actor)
        });
    }
}
