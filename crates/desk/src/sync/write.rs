//! Changes become writes with their records, so many in one commit that logins beside them hardly wait.

use std::sync::Arc;

use countersign_domain::{
    AuditEvent, Commit, Directory, DirectoryId, EntryId, EventKind, Hold, HoldReason, HostileText, LoginName,
    Timestamp, User, UserId, UserOrigin, UserSnapshot, Write,
};
use countersign_storage::{CommitError, StoreError};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{SyncProgress, plan::Change};
use crate::{Desk, directories::added};

/// Who does it, in records.
pub(super) const ACTOR: &str = "sync";
/// Changes in one commit: about ten milliseconds.
const BATCH: usize = 100;

/// What came of writing.
pub(super) struct Written {
    /// What is on disk.
    pub(super) made: Vec<Change>,
    /// Changes whose condition did not hold any more.
    pub(super) overtaken: usize,
    /// Why it ended early.
    pub(super) fault: Option<StoreError>,
}

impl Desk {
    pub(super) async fn write_sync(
        self: &Arc<Self>,
        directory: &Directory,
        changes: Vec<Change>,
        progress: &watch::Sender<SyncProgress>,
    ) -> Written {
        progress.send_modify(|progress| progress.changes = changes.len());
        let mut out = Written { made: Vec::with_capacity(changes.len()), overtaken: 0, fault: None };
        for batch in changes.chunks(BATCH) {
            match self.write_batch(directory, batch).await {
                Ok(()) => out.made.extend(batch.iter().cloned()),
                Err(CommitError::Store(fault)) => {
                    out.fault = Some(fault);
                    return out;
                }
                // One of them was overtaken by an administrator or a login: each by itself.
                Err(CommitError::Conflict(_)) => {
                    for change in batch {
                        match self.write_batch(directory, std::slice::from_ref(change)).await {
                            Ok(()) => out.made.push(change.clone()),
                            Err(CommitError::Conflict(_)) => out.overtaken = out.overtaken.saturating_add(1),
                            Err(CommitError::Store(fault)) => {
                                out.fault = Some(fault);
                                return out;
                            }
                        }
                    }
                }
            }
            progress.send_modify(|progress| progress.written = out.made.len());
        }
        out
    }

    async fn write_batch(self: &Arc<Self>, directory: &Directory, batch: &[Change]) -> Result<(), CommitError> {
        let now = self.clock().now();
        let mut commit = Commit::default();
        for change in batch {
            match change {
                Change::Add { entry, name, display_name } => {
                    let user = self.new_user(directory.id, entry, name, display_name, now);
                    commit.audit.push(added(&user, directory, ACTOR));
                    commit.writes.push(Write::AddUser(user));
                }
                Change::Rename { user, before, after } => {
                    let (before, shown) = (names(before), names(after));
                    commit.audit.push(record(now, EventKind::UserChanged, (*user, &after.0), ACTOR, &before, &shown));
                    let (name, display_name) = after.clone();
                    commit.writes.push(Write::SetUserName { id: *user, name, display_name });
                }
                Change::Hold { user, name, before, after } => {
                    let was = json!({"enabled": before.is_none(), "held": before.map(HoldReason::as_str)});
                    let is = json!({"enabled": false, "held": after.as_str()});
                    commit.audit.push(record(now, EventKind::UserDisabled, (*user, name), ACTOR, &was, &is));
                    let hold = Hold { why: *after, since: now };
                    commit.writes.push(Write::HoldUser { id: *user, from: *before, hold });
                }
                Change::Release { user, name, before } => {
                    commit.audit.push(released(now, *user, name, *before, ACTOR));
                    commit.writes.push(Write::ReleaseUser(*user));
                }
                Change::Remove { user, name, gone } => {
                    let Some(snapshot) = self.store().snapshot(*user).await? else { continue };
                    let was = facts(&snapshot, directory, *gone);
                    commit.audit.push(record(now, EventKind::UserRemoved, (*user, name), ACTOR, &was, &Value::Null));
                    // Whom an administrator has enabled in the meantime stays.
                    commit.writes.push(Write::HoldUser { id: *user, from: Some(HoldReason::Gone), hold: *gone });
                    commit.writes.push(Write::RemoveUser(*user));
                }
            }
        }
        self.write(commit).await
    }

    pub(crate) fn new_user(
        &self,
        directory: DirectoryId,
        entry: &EntryId,
        name: &LoginName,
        display_name: &str,
        now: Timestamp,
    ) -> User {
        User {
            id: UserId::new(now, &**self.entropy()),
            origin: UserOrigin::Directory { directory, entry: entry.clone() },
            name: name.clone(),
            display_name: display_name.to_owned(),
            enabled: true,
            held: None,
            password: None,
            created_at: now,
        }
    }
}

fn names((name, display_name): &(LoginName, String)) -> Value {
    json!({"name": name.as_str(), "display_name": display_name})
}

fn facts(snapshot: &UserSnapshot, directory: &Directory, gone: Hold) -> Value {
    let devices: Vec<_> = snapshot
        .devices
        .iter()
        .map(|device| json!({"id": device.id.to_string(), "name": device.name.to_string(), "state": device.state.as_str()}))
        .collect();
    json!({
        "name": snapshot.user.name.as_str(),
        "directory": directory.name,
        "gone_since": gone.since.to_rfc3339(),
        "devices": devices,
    })
}

/// The record of somebody who comes back.
pub(crate) fn released(now: Timestamp, user: UserId, name: &LoginName, before: Hold, actor: &str) -> AuditEvent {
    let was = json!({"enabled": false, "held": before.why.as_str()});
    let is = json!({"enabled": true, "held": null});
    record(now, EventKind::UserEnabled, (user, name), actor, &was, &is)
}

fn record(
    now: Timestamp,
    kind: EventKind,
    (user, name): (UserId, &LoginName),
    actor: &str,
    before: &Value,
    after: &Value,
) -> AuditEvent {
    let mut event = AuditEvent::new(now, kind, actor);
    event.user_id = Some(user);
    event.user_typed = Some(HostileText::from(name.as_str()));
    event.detail = Some(json!({"before": before, "after": after}).to_string());
    event
}
