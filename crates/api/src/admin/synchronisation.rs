//! Synchronisation of a directory: a run that tells how far it is, and what came of the last one.

use core::time::Duration;
use std::sync::Arc;

use axum::{
    body::{Body as HttpBody, Bytes},
    extract::State,
    http::{HeaderValue, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use countersign_desk::sync::{SyncFault, SyncHow, SyncProgress, SyncReport, plan::Change};
use countersign_domain::{Directory, SyncCounts, SyncOutcome, SyncPlace, SyncRun, SyncState, Timestamp};
use futures_util::{StreamExt as _, future::BoxFuture, stream};
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::sleep};

use super::{
    Actor, AdminApi, AdminCode, AdminProblem,
    json::{Body, Name, to_vec},
    status::Finding,
};

/// Between two lines that tell how far a run is.
const TELL_EVERY: Duration = Duration::from_millis(250);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "a dry run is called so")]
pub(super) struct Run {
    #[serde(default)]
    full: bool,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    accept_removals: bool,
}

/// What a run answers: one of these to a line, the report last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncLine {
    /// How far it is.
    Progress(ProgressView),
    /// What was written, or would be.
    Change(ChangeView),
    /// What came of it.
    Report(RunView),
    /// It could not be noted.
    Problem(AdminProblem),
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressView {
    /// Users read.
    pub read: usize,
    /// Changes written,
    pub written: usize,
    /// of so many; zero until all is read.
    pub changes: usize,
}

/// A change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeView {
    /// `add`, `rename`, `disable`, `enable`, `remove`.
    pub change: String,
    /// Login name; of somebody who is renamed, the new one.
    pub name: String,
    /// Identifier of the user; `null` for one who is added.
    pub user: Option<String>,
    /// Name on screens, where it is added or changed.
    pub display_name: Option<String>,
    /// What was before: the login name, or why the user was disabled.
    pub before: Option<String>,
    /// Why the user is disabled or removed: `disabled`, `expired`, `gone`.
    pub why: Option<String>,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunView {
    /// `done`, `held`, `failed`.
    pub outcome: SyncOutcome,
    /// When it began.
    pub started_at: String,
    /// When it ended.
    pub ended_at: String,
    /// Whether all users were read, and not only those that changed.
    pub whole: bool,
    /// Users by what became of them.
    pub counts: SyncCounts,
    /// What is wrong, or worth knowing.
    pub text: Option<String>,
}

impl From<&SyncRun> for RunView {
    fn from(run: &SyncRun) -> Self {
        Self {
            outcome: run.outcome,
            started_at: run.started_at.to_rfc3339(),
            ended_at: run.ended_at.to_rfc3339(),
            whole: run.whole,
            counts: run.counts,
            text: run.text.clone(),
        }
    }
}

impl From<&Change> for ChangeView {
    fn from(change: &Change) -> Self {
        let mut view = Self {
            change: String::new(),
            name: change.name().to_string(),
            user: None,
            display_name: None,
            before: None,
            why: None,
        };
        let (word, user) = match change {
            Change::Add { display_name, .. } => {
                view.display_name = Some(display_name.clone());
                ("add", None)
            }
            Change::Rename { user, before, after } => {
                view.before = Some(before.0.to_string());
                view.display_name = Some(after.1.clone());
                ("rename", Some(user))
            }
            Change::Hold { user, before, after, .. } => {
                view.before = before.map(|why| why.as_str().to_owned());
                view.why = Some(after.as_str().to_owned());
                ("disable", Some(user))
            }
            Change::Release { user, before, .. } => {
                view.before = Some(before.why.as_str().to_owned());
                ("enable", Some(user))
            }
            Change::Remove { user, gone, .. } => {
                view.why = Some(gone.why.as_str().to_owned());
                ("remove", Some(user))
            }
        };
        word.clone_into(&mut view.change);
        view.user = user.map(ToString::to_string);
        view
    }
}

impl From<SyncFault> for AdminProblem {
    fn from(fault: SyncFault) -> Self {
        match fault {
            SyncFault::Running => Self::new(AdminCode::SyncRunning, format!("{fault}: wait until it has ended")),
            SyncFault::NoDirectory => Self::new(AdminCode::DirectoryUnknown, fault.to_string()),
            SyncFault::Store(fault) => fault.into(),
        }
    }
}

type Running = BoxFuture<'static, Result<SyncReport, SyncFault>>;

pub(super) async fn run(
    State(api): State<Arc<AdminApi>>,
    actor: Actor,
    Name(name): Name,
    Body(run): Body<Run>,
) -> Result<Response, AdminProblem> {
    let directory = api.directory(&name).await?;
    let how =
        SyncHow { full: run.full, dry_run: run.dry_run, accept_removals: run.accept_removals, actor: Some(actor.0) };
    let progress = watch::Sender::new(SyncProgress::default());
    let mut seen = progress.subscribe();
    let desk = Arc::clone(&api.desk);
    let mut running: Running = Box::pin(async move { desk.synchronise(directory.id, how, progress).await });
    // Whether it runs at all is known before anything is told.
    let ended = tokio::select! {
        ended = &mut running => Some(ended?),
        _ = seen.changed() => None,
    };
    let lines = match ended {
        Some(report) => stream::iter(report_lines(&report)).boxed(),
        None => stream::unfold(Some((running, seen)), |state| async move {
            let (mut running, mut seen) = state?;
            tokio::select! {
                ended = &mut running => Some((match ended {
                    Ok(report) => report_lines(&report),
                    Err(fault) => vec![SyncLine::Problem(fault.into())],
                }, None)),
                () = sleep(TELL_EVERY) => {
                    let SyncProgress { read, written, changes } = *seen.borrow_and_update();
                    Some((vec![SyncLine::Progress(ProgressView { read, written, changes })], Some((running, seen))))
                }
            }
        })
        .flat_map(stream::iter)
        .boxed(),
    };
    let octets = lines.map(|line| {
        let mut octets = to_vec(&line);
        octets.push(b'\n');
        Ok::<_, std::convert::Infallible>(Bytes::from(octets))
    });
    let mut response = HttpBody::from_stream(octets).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/jsonl"));
    Ok(response)
}

fn report_lines(report: &SyncReport) -> Vec<SyncLine> {
    let changes = report.changes.iter().map(|change| SyncLine::Change(change.into()));
    changes.chain([SyncLine::Report((&report.run).into())]).collect()
}

impl AdminApi {
    /// What is known of the synchronisation of a directory.
    pub(super) async fn sync_state(&self, directory: &Directory) -> Result<Option<SyncState>, AdminProblem> {
        let states = self.desk.store().sync_states().await?;
        Ok(states.into_iter().find(|state| state.directory == directory.id))
    }

    /// What there is to say of the synchronisation of a directory.
    pub(super) async fn examine_sync(&self, directory: &Directory, about: &str) -> Result<Vec<Finding>, AdminProblem> {
        let now = self.desk.clock().now();
        let state = self.sync_state(directory).await?;
        let mut out: Vec<_> = examined(directory, state.as_ref(), now)
            .into_iter()
            .map(|finding| Finding { about: about.to_owned(), ..finding })
            .collect();
        for rule in &directory.sync.rules {
            if let SyncPlace::Group(group) = &rule.place
                && let Err(fault) = self.facts.find_group(directory, group).await
            {
                out.push(Finding::wrong(
                    about,
                    format!(
                        "group {group} of a rule: {fault}. Nothing is synchronised until it is there, or the rule gone"
                    ),
                ));
            }
        }
        Ok(out)
    }
}

fn examined(directory: &Directory, state: Option<&SyncState>, now: Timestamp) -> Option<Finding> {
    let name = &directory.name;
    let interval = directory.sync.interval.map(|seconds| Duration::from_secs(seconds.into()));
    let Some(state) = state else {
        return match interval {
            Some(_) => {
                Some(Finding::note("", "its users have not been synchronised yet: the first run comes within a minute"))
            }
            None if directory.sync.rules.is_empty() => None,
            None => Some(Finding::note(
                "",
                format!(
                    "it has rules, and nothing runs them: `countersign directory set {name} --sync-interval 15m`, or \
                     `countersign directory sync {name}`"
                ),
            )),
        };
    };
    let last = &state.last;
    let text = last.text.clone().unwrap_or_default();
    Some(match last.outcome {
        SyncOutcome::Held => Finding::wrong("", format!("the synchronisation of {} is held: {text}", last.started_at)),
        SyncOutcome::Failed => {
            let before = state.done_at.map_or_else(
                || "none has gone well yet".to_owned(),
                |done| format!("the last that went well began at {done}"),
            );
            Finding::wrong("", format!("the synchronisation of {} failed: {text}; {before}", last.started_at))
        }
        // Twice its interval and some minutes: longer than any jitter or run.
        SyncOutcome::Done
            if interval
                .is_some_and(|interval| now.since(last.started_at) > interval * 2 + Duration::from_secs(600)) =>
        {
            Finding::wrong(
                "",
                format!("its users were last synchronised at {}: the log says why not since", last.started_at),
            )
        }
        SyncOutcome::Done if last.text.is_some() => {
            Finding::note("", format!("its users were synchronised at {}; {text}", last.started_at))
        }
        SyncOutcome::Done => {
            let read = last.counts.read;
            let what = if last.whole { format!("all {read}") } else { format!("{read} that had changed") };
            Finding::ok("", format!("its users were synchronised at {}: {what}", last.started_at))
        }
    })
}
