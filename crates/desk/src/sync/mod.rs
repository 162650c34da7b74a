//! Users of directories are followed: who is new comes in, who is called otherwise is called so here, and who is disabled,
//! expired or gone there is disabled here.
//!
//! Nothing is written before all was read and looked at ([`plan`]). A reading that breaks off changes nothing, and when too
//! many would be shut out at once somebody has to say that it is right.

mod keep;
pub mod plan;
mod write;

use std::collections::HashSet;

use async_trait::async_trait;
use countersign_domain::{
    AuditEvent, Commit, Directory, DirectoryId, EntryId, EventKind, HoldReason, SyncAction, SyncCounts, SyncOutcome,
    SyncRun, SyncState, Timestamp, Write,
};
use countersign_storage::{CommitError, StoreError};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::{
    Desk,
    directories::{Trouble, display_name, login_name},
};
use plan::{Change, Extent, Planner, Seen, counts};
pub(crate) use write::released;

/// Users of a database that are read at once.
const PAGE: u32 = 1000;
/// All users are read at least so often where deletions are told,
const WHOLE_EVERY: core::time::Duration = core::time::Duration::from_secs(86_400);
/// and so often where they are not, for only then it shows who is gone.
const WHOLE_EVERY_UNTOLD: core::time::Duration = core::time::Duration::from_secs(3600);

/// A user as the directory has him.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadUser {
    /// Whose entry it is, for good.
    pub entry: EntryId,
    /// What the directory calls the person.
    pub name: String,
    /// The name on screens.
    pub display_name: Option<String>,
    /// Why the user is to be disabled, if so.
    pub hold: Option<HoldReason>,
    /// The first rule whose place has the user, by its number.
    pub rule: Option<usize>,
}

/// Some of the users.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserPage {
    /// Those that are there.
    pub users: Vec<ReadUser>,
    /// Entries that could not be used, and why, for people.
    pub unusable: Vec<String>,
    /// Those that were deleted.
    pub deleted: Vec<EntryId>,
}

/// Reads users of a directory, page by page.
#[async_trait]
pub trait UserPages: Send {
    /// The next page; `None` after the last one. After an error what was read must not be taken for everything.
    async fn next(&mut self) -> Result<Option<UserPage>, Trouble>;
    /// Whether everything is read and not only what changed.
    fn is_everything(&self) -> bool;
    /// Whether a reading of what changed tells of deletions.
    fn tells_deletions(&self) -> bool;
    /// Where to go on the next time; after the last page only.
    fn mark(&self) -> Option<String>;
}

/// What somebody wants of a run.
#[derive(Debug, Clone, Default)]
pub struct SyncHow {
    /// Read everything, not only what changed.
    pub full: bool,
    /// Only say what would be written.
    pub dry_run: bool,
    /// Go on where the brake would hold it.
    pub accept_removals: bool,
    /// Who asked for it, for the record; without it nobody did.
    pub actor: Option<String>,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SyncProgress {
    /// Users read.
    pub read: usize,
    /// Changes written,
    pub written: usize,
    /// of so many.
    pub changes: usize,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncReport {
    /// In short.
    pub run: SyncRun,
    /// What was written; of a dry run, or one that was held, what would have been.
    pub changes: Vec<Change>,
}

/// Why there was no run.
#[derive(Debug, thiserror::Error)]
pub enum SyncFault {
    /// It was removed.
    #[error("there is no such directory any more")]
    NoDirectory,
    /// One at a time.
    #[error("a synchronisation of this directory is under way")]
    Running,
    /// The database does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Up to where users were read, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// The settings that they were read with: a mark is worth nothing under others.
    with: String,
    mark: String,
    tells_deletions: bool,
}

/// What was read and planned.
struct Planned {
    changes: Vec<Change>,
    read: usize,
    whole: bool,
    kept: Option<Kept>,
    notes: Vec<String>,
}

/// Directories that are being synchronised.
#[derive(Debug, Default)]
pub(crate) struct Turns(std::sync::Mutex<HashSet<DirectoryId>>);

impl Turns {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<DirectoryId>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The turn of a directory, for as long as it is held.
struct Turn<'a>(&'a Desk, DirectoryId);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.sync_turns().lock().remove(&self.1);
        self.0.sync_sooner().notify_one();
    }
}

impl Desk {
    /// Synchronises a directory. Goes on to its end when the caller goes away.
    ///
    /// # Errors
    /// [`SyncFault`] when there was no run. One that failed is a report.
    pub async fn synchronise(
        self: &std::sync::Arc<Self>,
        directory: DirectoryId,
        how: SyncHow,
        progress: watch::Sender<SyncProgress>,
    ) -> Result<SyncReport, SyncFault> {
        let desk = std::sync::Arc::clone(self);
        let run = tokio::spawn(async move { desk.run_sync(directory, how, &progress).await });
        run.await.unwrap_or_else(|fault| Err(StoreError::Unavailable(fault.to_string()).into()))
    }

    async fn run_sync(
        self: &std::sync::Arc<Self>,
        id: DirectoryId,
        how: SyncHow,
        progress: &watch::Sender<SyncProgress>,
    ) -> Result<SyncReport, SyncFault> {
        if !self.sync_turns().lock().insert(id) {
            return Err(SyncFault::Running);
        }
        let _turn = Turn(self, id);
        let directory = self.directory(id).ok_or(SyncFault::NoDirectory)?;
        let before = self.store().sync_states().await?.into_iter().find(|state| state.directory == id);
        let started_at = self.clock().now();
        let mut planned = None;
        let (outcome, changes, written, text) =
            match self.plan_sync(&directory, before.as_ref(), &how, started_at, progress).await {
                Err(text) => (SyncOutcome::Failed, Vec::new(), SyncCounts::default(), Some(text)),
                Ok(mut plan) => {
                    let changes = std::mem::take(&mut plan.changes);
                    let plan = planned.insert(plan);
                    self.carry_out_sync(&directory, &how, plan, changes, progress).await
                }
            };
        let ended_at = self.clock().now();
        let whole = planned.as_ref().is_some_and(|plan| plan.whole);
        let run = SyncRun { started_at, ended_at, outcome, whole, counts: written, text };
        let report = SyncReport { run, changes };
        if !how.dry_run {
            self.note_sync(&directory, before, &how, planned, &report).await?;
        }
        Ok(report)
    }

    /// Reads, and compares with who is here.
    async fn plan_sync(
        &self,
        directory: &Directory,
        before: Option<&SyncState>,
        how: &SyncHow,
        now: Timestamp,
        progress: &watch::Sender<SyncProgress>,
    ) -> Result<Planned, String> {
        let with = serde_json::to_string(&(&directory.settings, &directory.sync.rules)).unwrap_or_default();
        let since = before.filter(|_| !how.full).and_then(|state| since(state, &with, now));
        let mut planner = Planner::new([]);
        let mut after = None;
        loop {
            let page = self.store().users_from(directory.id, after, PAGE).await.map_err(|fault| fault.to_string())?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            planner.here(page);
        }
        let failed = |trouble: Trouble| trouble.text;
        let mut pages = self.directories().users(directory, since.as_deref()).await.map_err(failed)?;
        let rules = &directory.sync.rules;
        let mut met = vec![false; rules.len()];
        let (mut unusable, mut shown) = (0_usize, Vec::new());
        while let Some(page) = pages.next().await.map_err(failed)? {
            for user in page.users {
                let rule = user.rule.and_then(|number| rules.get(number));
                if let Some(met) = user.rule.and_then(|number| met.get_mut(number)) {
                    *met = true;
                }
                planner.see(seen(user, rule.map(|rule| rule.action)));
            }
            page.deleted.iter().for_each(|entry| planner.deleted(entry));
            unusable = unusable.saturating_add(page.unusable.len());
            shown.extend(page.unusable.into_iter().take(3_usize.saturating_sub(shown.len())));
            progress.send_modify(|progress| progress.read = planner.read());
        }
        let whole = pages.is_everything();
        let extent = match (whole, unusable) {
            (false, _) => Extent::Changes,
            (true, 0) => Extent::Whole,
            (true, _) => Extent::WholeWithGaps,
        };
        let mut notes = Vec::new();
        if unusable > 0 {
            notes.push(format!(
                "{unusable} entries could not be used, so nobody was taken for gone: {}",
                shown.join("; ")
            ));
        }
        if whole {
            notes.extend(rules.iter().zip(&met).filter(|(_, met)| !**met).map(|(rule, _)| {
                format!("the rule {rule} has no user: see whether it is written right, and whether one before it has them all")
            }));
        }
        let read = planner.read();
        let changes = planner.finish(extent, now, directory.sync.remove_after()).map_err(|doubt| doubt.to_string())?;
        let tells_deletions = pages.tells_deletions();
        let kept = pages.mark().map(|mark| Kept { with, mark, tells_deletions });
        Ok(Planned { changes, read, whole, kept, notes })
    }

    /// Writes, unless it is a dry run or too much. What came of it, what was or would be written, and how many of each.
    async fn carry_out_sync(
        self: &std::sync::Arc<Self>,
        directory: &Directory,
        how: &SyncHow,
        plan: &mut Planned,
        changes: Vec<Change>,
        progress: &watch::Sender<SyncProgress>,
    ) -> (SyncOutcome, Vec<Change>, SyncCounts, Option<String>) {
        let all = counts(plan.read, &changes);
        let shut_out = changes.iter().filter(|change| change.shuts_out()).count();
        if shut_out > usize::from(directory.sync.brake) && !how.accept_removals {
            let text = format!(
                "{shut_out} users would be disabled or vanish, and the brake is at {}: nothing was written. Look at them \
                 with `countersign directory sync {name} --dry-run`; if it is right, `countersign directory sync {name} \
                 --accept-removals` goes on",
                directory.sync.brake,
                name = directory.name
            );
            return (SyncOutcome::Held, changes, all, Some(text));
        }
        let mut notes = std::mem::take(&mut plan.notes);
        let joined = |notes: Vec<String>| (!notes.is_empty()).then(|| notes.join(". "));
        if how.dry_run {
            return (SyncOutcome::Done, changes, all, joined(notes));
        }
        let written = self.write_sync(directory, changes, progress).await;
        let done = counts(plan.read, &written.made);
        if let Some(fault) = written.fault {
            return (SyncOutcome::Failed, written.made, done, Some(format!("the database: {fault}")));
        }
        if written.overtaken > 0 {
            // They are looked at again from where they were read.
            plan.kept = None;
            notes.push(format!(
                "{} users were changed by somebody else at the same time: they come with the next run",
                written.overtaken
            ));
        }
        (SyncOutcome::Done, written.made, done, joined(notes))
    }

    /// Keeps what came of a run, with a record where it wrote something or was held.
    async fn note_sync(
        self: &std::sync::Arc<Self>,
        directory: &Directory,
        before: Option<SyncState>,
        how: &SyncHow,
        planned: Option<Planned>,
        report: &SyncReport,
    ) -> Result<(), SyncFault> {
        let run = &report.run;
        let done = run.outcome == SyncOutcome::Done;
        let was_held = before.as_ref().is_some_and(|state| state.last.outcome == SyncOutcome::Held);
        let kept = planned.filter(|_| done).and_then(|plan| plan.kept);
        let (mark, whole_at) = match kept.as_ref().and_then(|kept| serde_json::to_string(kept).ok()) {
            Some(mark) => (Some(mark), run.whole.then_some(run.started_at)),
            None => (before.as_ref().and_then(|state| state.mark.clone()), None),
        };
        let state = SyncState {
            directory: directory.id,
            mark,
            whole_at: whole_at.or_else(|| before.as_ref().and_then(|state| state.whole_at)),
            done_at: if done { Some(run.started_at) } else { before.as_ref().and_then(|state| state.done_at) },
            last: run.clone(),
        };
        let mut audit = Vec::new();
        let detail = serde_json::json!({
            "directory": directory.name,
            "outcome": run.outcome.as_str(),
            "brake": directory.sync.brake,
            "accepted": how.accept_removals,
            "counts": run.counts,
        })
        .to_string();
        let newly_held = run.outcome == SyncOutcome::Held && !was_held;
        if !report.changes.is_empty() && (run.outcome != SyncOutcome::Held || how.actor.is_some() || newly_held) {
            let actor = how.actor.clone().unwrap_or_else(|| "sync".to_owned());
            let mut event = AuditEvent::new(run.ended_at, EventKind::DirectorySynced, actor);
            event.detail = Some(detail.clone());
            audit.push(event);
        }
        if newly_held {
            let mut alert = AuditEvent::alert(run.ended_at, "sync_held");
            alert.detail = Some(detail);
            audit.push(alert);
            warn!(reason = "sync_held", directory.name = directory.name, "alert");
        }
        match run.outcome {
            SyncOutcome::Failed => warn!(
                directory.name = directory.name,
                error = run.text.as_deref().unwrap_or_default(),
                "directory.sync failed"
            ),
            SyncOutcome::Done | SyncOutcome::Held => info!(
                directory.name = directory.name,
                outcome = run.outcome.as_str(),
                whole = run.whole,
                read = run.counts.read,
                changes = report.changes.len(),
                took_ms = u64::try_from(run.ended_at.since(run.started_at).as_millis()).unwrap_or(u64::MAX),
                "directory.sync"
            ),
        }
        let commit = Commit { writes: vec![Write::SetSyncState(Box::new(state))], audit };
        match self.write(commit).await {
            Ok(()) => Ok(()),
            Err(CommitError::Conflict(_)) => Err(SyncFault::NoDirectory),
            Err(CommitError::Store(fault)) => Err(fault.into()),
        }
    }
}

/// From where to go on; `None` where everything is to be read.
fn since(state: &SyncState, with: &str, now: Timestamp) -> Option<String> {
    let kept: Kept = serde_json::from_str(state.mark.as_deref()?).ok()?;
    let every = if kept.tells_deletions { WHOLE_EVERY } else { WHOLE_EVERY_UNTOLD };
    let whole_at = state.whole_at?;
    // A clock that stood ahead must not put the next whole reading off.
    (kept.with == with && whole_at <= now && now.since(whole_at) < every).then_some(kept.mark)
}

fn seen(user: ReadUser, action: Option<SyncAction>) -> Seen {
    Seen {
        name: login_name(&user.name, &user.entry),
        display_name: display_name(user.display_name.as_deref(), &user.name),
        hold: user.hold,
        action,
        entry: user.entry,
    }
}
