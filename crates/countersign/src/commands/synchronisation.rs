//! `countersign directory sync`, and what the other commands say of synchronisation.

use core::time::Duration;

use anyhow::anyhow;
use countersign_api::admin::{
    directories::DirectoryView,
    synchronisation::{ChangeView, ProgressView, RunView, SyncLine},
};
use countersign_domain::{SyncCounts, SyncOutcome};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    client::{Client, piece},
    output::{Failure, Output},
};

/// Between two lines that tell people how far it is.
const TELL_EVERY: Duration = Duration::from_secs(2);

pub(crate) async fn run(
    client: &Client,
    name: &str,
    how: &Value,
    dry_run: bool,
    output: Output,
) -> Result<(), Failure> {
    let (mut changes, mut report, mut problem) = (Vec::new(), None, None);
    let mut next = Instant::now() + TELL_EVERY;
    client
        .lines(&format!("directories/{}/sync", piece(name)), how, |line: SyncLine| match line {
            SyncLine::Progress(progress) => {
                if !output.is_json() && Instant::now() >= next {
                    next = Instant::now() + TELL_EVERY;
                    output.aside(&told(&progress));
                }
            }
            SyncLine::Change(change) => changes.push(change),
            SyncLine::Report(run) => report = Some(run),
            SyncLine::Problem(fault) => problem = Some(fault),
        })
        .await?;
    if let Some(problem) = problem {
        return Err(problem.into());
    }
    let run = report.ok_or_else(|| anyhow!("the answer broke off: the server's log says why"))?;
    if output.is_json() {
        let mut document = serde_json::to_value(&run).unwrap_or_default();
        if let Some(document) = document.as_object_mut() {
            document.insert("directory".to_owned(), name.into());
            document.insert("dry_run".to_owned(), dry_run.into());
            document.insert("changes".to_owned(), json!(changes));
        }
        output.document(&document);
    } else {
        say(name, &run, &changes, dry_run, output);
    }
    if run.outcome == SyncOutcome::Done { Ok(()) } else { Err(Failure::Reported) }
}

fn told(progress: &ProgressView) -> String {
    match progress.changes {
        0 => format!("{} users read", progress.read),
        changes => format!("{} of {changes} changes written", progress.written),
    }
}

fn say(name: &str, run: &RunView, changes: &[ChangeView], dry_run: bool, output: Output) {
    // Of a run that went well only the number of those who came is of interest.
    let all = dry_run || run.outcome != SyncOutcome::Done;
    let rows: Vec<_> = changes.iter().filter(|change| all || change.change != "add").map(row).collect();
    if !rows.is_empty() {
        output.table(&["CHANGE", "NAME", "DISPLAY NAME", "WHY"], &rows, "");
    }
    let read = run.counts.read;
    let read = if run.whole { format!("all {read} users read") } else { format!("{read} users read that had changed") };
    let what = counted(&run.counts);
    output.line(&match (run.outcome, dry_run) {
        (SyncOutcome::Failed, _) => format!("directory {name} was not synchronised ({what})"),
        (SyncOutcome::Held, _) | (SyncOutcome::Done, true) => {
            format!("directory {name}: {read}; nothing written. It would be: {what}")
        }
        (SyncOutcome::Done, false) => format!("directory {name}: {read}; {what}"),
    });
    if let Some(text) = &run.text {
        output.line(text);
    }
}

fn row(change: &ChangeView) -> Vec<String> {
    let why = match (change.change.as_str(), &change.before, &change.why) {
        ("rename", Some(before), _) => format!("was {before}"),
        ("enable", Some(before), _) => format!("was {before}, and is not any more"),
        (_, _, Some(why)) => why.clone(),
        _ => String::new(),
    };
    vec![change.change.clone(), change.name.clone(), change.display_name.clone().unwrap_or_default(), why]
}

fn counted(counts: &SyncCounts) -> String {
    let SyncCounts { added, renamed, disabled, enabled, removed, .. } = counts;
    format!("{added} added, {renamed} renamed, {disabled} disabled, {enabled} enabled again, {removed} removed")
}

/// What `directory show` says.
pub(crate) fn facts(directory: &DirectoryView) -> Vec<(&'static str, String)> {
    let sync = &directory.sync;
    let mut facts = vec![(
        "synchronised",
        match sync.interval {
            None => "by `directory sync` only".to_owned(),
            Some(interval) => format!("every {} min", interval.div_ceil(60)),
        },
    )];
    facts.extend(sync.rules.iter().map(|rule| ("sync rule", rule.to_string())));
    if sync.interval.is_some() || !sync.rules.is_empty() || directory.last_sync.is_some() {
        facts.push(("sync brake", format!("{} users", sync.brake)));
        facts.push((
            "gone users",
            match sync.remove_after_days {
                None => "stay, disabled".to_owned(),
                Some(days) => format!("are removed after {days} days"),
            },
        ));
    }
    if let Some(run) = &directory.last_sync {
        facts.push(("last run", format!("{} at {}: {}", run.outcome.as_str(), run.started_at, counted(&run.counts))));
        facts.extend(run.text.iter().map(|text| ("", text.clone())));
    }
    facts
}

/// What `directory list` says.
pub(crate) fn short(directory: &DirectoryView) -> String {
    match (&directory.last_sync, directory.sync.interval) {
        (Some(run), _) => format!("{} {}", run.outcome.as_str(), run.started_at),
        (None, Some(_)) => "not yet".to_owned(),
        (None, None) => "-".to_owned(),
    }
}
