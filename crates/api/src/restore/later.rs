//! What happened after a copy was made, as far as records tell it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
};

use countersign_domain::{AuditRecord, DeviceId, DeviceState, EventKind, HoldReason, Reason, Timestamp, UserId};
use countersign_storage::{Store, StoreError};
use serde::{Deserialize, Serialize};

use super::RestoreError;
use crate::admin::audit::AuditLine;

/// Records read at once.
const PAGE: u32 = 1000;
/// So much is listed of what has to be done again.
const LISTED: usize = 1000;

/// Something that was done after the copy was made, and is not in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Its number in the audit that is gone.
    pub seq: i64,
    /// When.
    pub time: String,
    /// What: `user.added`, `activation.redeemed`, `resource.changed`, …
    pub event: String,
    /// To whom or what, as far as the record has a name for it.
    pub about: String,
    /// Who did it.
    pub actor: String,
}

/// What is known of the time after the copy.
#[derive(Default)]
pub(super) struct Later {
    /// Whether anything was found that reaches further than the copy.
    pub(super) any: bool,
    /// Whether the database that was there does.
    pub(super) from_before: bool,
    /// Time of the newest record.
    pub(super) until: Option<Timestamp>,
    /// Records behind those of the copy.
    pub(super) gone: i64,
    /// And for what, where a synchronisation did it.
    pub(super) users_disabled: BTreeMap<UserId, Option<HoldReason>>,
    pub(super) users_removed: BTreeSet<UserId>,
    pub(super) devices: BTreeMap<DeviceId, DeviceState>,
    /// Users who reported a login, or whose device did.
    pub(super) frozen: BTreeSet<UserId>,
    pub(super) missing: Vec<Missing>,
    pub(super) missing_more: usize,
    /// Up to which number it was read already: what two sources have in common is counted once.
    read: i64,
}

impl Later {
    /// Reads what the database that was there has behind the last record that both have.
    pub(super) async fn read_store(&mut self, copy: &dyn Store, before: &dyn Store) -> Result<(), StoreError> {
        let (common, (head, _)) = (common(copy, before).await?, before.audit_head().await?);
        let mut at = common;
        while at < head {
            // What cannot be read any more tells nothing; what comes before it does.
            let Ok(page) = before.audit(at, PAGE).await else { break };
            let Some(last) = page.last() else { break };
            at = last.seq;
            for record in page {
                self.see(&record.into());
            }
        }
        self.from_before = at > common;
        self.read = at;
        Ok(())
    }

    /// The same from an export.
    pub(super) async fn read_export(&mut self, copy: &dyn Store, file: &Path) -> Result<(), RestoreError> {
        let name = || file.display().to_string();
        let broken = |fault: String| RestoreError::Export { file: name(), fault };
        let lines = || -> Result<_, RestoreError> {
            let opened = File::open(file).map_err(|fault| broken(fault.to_string()))?;
            Ok(BufReader::new(opened).lines().zip(1_u64..).map(move |(line, number)| {
                let line = line.map_err(|fault| broken(fault.to_string()))?;
                serde_json::from_str::<AuditLine>(&line)
                    .map_err(|fault| broken(format!("line {number} is no record of the audit: {fault}")))
            }))
        };
        let (head, _) = copy.audit_head().await?;
        let mut hashes = Vec::new();
        for line in lines()? {
            let line = line?;
            if line.seq <= head {
                hashes.push((line.seq, line.hash));
            }
        }
        // From its end: where one record is the same, all before it are.
        let mut common = None;
        for (seq, hash) in hashes.into_iter().rev() {
            let found = copy.audit(seq.saturating_sub(1), 1).await?.pop();
            if found.is_some_and(|record| record.seq == seq && record.hash.to_string() == hash) {
                common = Some(seq);
                break;
            }
        }
        let common = common.ok_or_else(|| RestoreError::Foreign(name()))?;
        for line in lines()? {
            let line = line?;
            if line.seq > common.max(self.read) {
                self.see(&line);
            }
        }
        Ok(())
    }

    fn see(&mut self, line: &AuditLine) {
        self.any = true;
        self.gone = self.gone.saturating_add(1);
        self.until = self.until.max(Timestamp::from_rfc3339(&line.time));
        let user = line.user_id.as_deref().and_then(|id| id.parse::<UserId>().ok());
        let device = line.device.as_deref().and_then(|id| id.parse::<DeviceId>().ok());
        let Some(kind) = EventKind::from_word(&line.event) else { return self.miss(line) };
        match kind {
            EventKind::UserDisabled => self.users_disabled.extend(user.map(|user| (user, held(line)))),
            EventKind::UserEnabled => {
                user.map(|user| self.users_disabled.remove(&user));
                self.miss(line);
            }
            EventKind::UserRemoved => self.users_removed.extend(user),
            EventKind::DeviceRemoved => self.devices.extend(device.map(|device| (device, DeviceState::Removed))),
            EventKind::DeviceSuspended => {
                if let Some(device) = device {
                    self.devices.entry(device).or_insert(DeviceState::Suspended);
                }
            }
            EventKind::DeviceResumed => {
                if let Some(device) = device
                    && self.devices.get(&device) == Some(&DeviceState::Suspended)
                {
                    self.devices.remove(&device);
                }
                self.miss(line);
            }
            EventKind::ChallengeReported => self.frozen.extend(user),
            EventKind::LoginEnded if line.reason.as_deref() == Some(Reason::DeniedReported.as_str()) => {
                self.frozen.extend(user);
            }
            EventKind::UserUnlocked => {
                user.map(|user| self.frozen.remove(&user));
                self.miss(line);
            }
            // Logins, alerts, what ended by the restore, and what the server does by itself.
            EventKind::LoginEnded
            | EventKind::LoginChallenged
            | EventKind::LoginAskedAgain
            | EventKind::ChallengeCodeShown
            | EventKind::ChallengeApproved
            | EventKind::BypassIssued
            | EventKind::BypassCancelled
            | EventKind::WindowOpened
            | EventKind::WindowRefused
            | EventKind::WindowClosed
            | EventKind::DirectorySynced
            | EventKind::Alert
            | EventKind::ActivationIssued
            | EventKind::ActivationRefused
            | EventKind::ServerStarted
            | EventKind::ServerStopped
            | EventKind::ServerRestored
            | EventKind::BackupMade => {}
            _ => self.miss(line),
        }
    }

    fn miss(&mut self, line: &AuditLine) {
        if self.missing.len() >= LISTED {
            self.missing_more = self.missing_more.saturating_add(1);
            return;
        }
        let named = line.detail.as_deref().and_then(|detail| serde_json::from_str::<serde_json::Value>(detail).ok());
        let name = |detail: &serde_json::Value| {
            ["after", "before"].iter().find_map(|side| Some(detail.get(side)?.get("name")?.as_str()?.to_owned()))
        };
        let about = line.user_typed.clone().or_else(|| named.as_ref().and_then(name)).or_else(|| line.device.clone());
        self.missing.push(Missing {
            seq: line.seq,
            time: line.time.clone(),
            event: line.event.clone(),
            about: about.unwrap_or_default(),
            actor: line.actor.clone(),
        });
    }
}

/// What a synchronisation disabled somebody for.
fn held(line: &AuditLine) -> Option<HoldReason> {
    let detail: serde_json::Value = serde_json::from_str(line.detail.as_deref()?).ok()?;
    HoldReason::from_word(detail.get("after")?.get("held")?.as_str()?)
}

/// The last record that two audits have in common; each holds the hash of the one before, so all before it are the same too.
async fn common(one: &dyn Store, other: &dyn Store) -> Result<i64, StoreError> {
    let at = async |store: &dyn Store, seq: i64| -> Result<Option<AuditRecord>, StoreError> {
        Ok(store.audit(seq.saturating_sub(1), 1).await?.pop().filter(|record| record.seq == seq))
    };
    let (mut same, mut different) = (0, one.audit_head().await?.0.min(other.audit_head().await?.0).saturating_add(1));
    while different - same > 1 {
        let middle = i64::midpoint(same, different);
        let equal = match (at(one, middle).await?, at(other, middle).await?) {
            (Some(one), Some(other)) => one.hash == other.hash,
            _ => false,
        };
        *(if equal { &mut same } else { &mut different }) = middle;
    }
    Ok(same)
}
