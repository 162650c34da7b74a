//! Copies of the database, and restores: recorded, and told by `doctor`.

use core::time::Duration;
use std::sync::Arc;

use axum::{extract::State, http::StatusCode};
use countersign_domain::{AuditEvent, AuditRecord, Commit, EventKind, HostileText, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Actor, AdminApi, AdminProblem, json::Body, status::Finding};

/// A copy of the database should not be older.
const OLD: Duration = Duration::from_secs(7 * 86_400);
/// For so long a restore is told of.
const TOLD: Duration = Duration::from_secs(30 * 86_400);
/// So many of the newest records of copies and restores are looked at.
const NEWEST: u32 = 1000;

/// A copy that was made, as the command that made it tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupMade {
    /// Where it is.
    pub file: String,
    /// When it was made.
    pub made_at: String,
    /// Its size.
    pub octets: u64,
    /// Audit records in it.
    pub records: i64,
}

pub(super) async fn record(
    State(api): State<Arc<AdminApi>>,
    actor: Actor,
    Body(made): Body<BackupMade>,
) -> Result<StatusCode, AdminProblem> {
    let mut event = AuditEvent::new(api.desk.clock().now(), EventKind::BackupMade, actor.0);
    let made = BackupMade { file: HostileText::from(made.file.as_str()).to_string(), ..made };
    event.detail = serde_json::to_string(&made).ok();
    let written = api.desk.write(Commit::record(event)).await;
    written.map_err(|fault| AdminProblem::of_commit(fault, |_| AdminProblem::conflict()))?;
    Ok(StatusCode::NO_CONTENT)
}

/// What `doctor` says of copies and restores.
pub(super) async fn findings(api: &AdminApi) -> Result<Vec<Finding>, AdminProblem> {
    let store = api.desk.store();
    let now = api.desk.clock().now();
    let newest = store.milestones(NEWEST).await?;
    let of = |kind: EventKind| newest.iter().find(|record| record.event == kind.as_str());
    let mut out = Vec::new();
    out.extend(backup(of(EventKind::BackupMade), store.deployment().await?.created_at, now));
    out.extend(of(EventKind::ServerRestored).and_then(|record| restore(record, now)));
    Ok(out)
}

fn backup(made: Option<&AuditRecord>, begun: Timestamp, now: Timestamp) -> Option<Finding> {
    const HOW: &str = "`countersign backup FILE` makes one while the server runs";
    let Some(made) = made else {
        return (now.since(begun) > OLD)
            .then(|| Finding::note("backup", format!("none was ever made by this program: {HOW}")));
    };
    let at = Timestamp::from_micros(made.time);
    let detail = made.detail.as_deref().and_then(|detail| serde_json::from_str::<BackupMade>(detail).ok());
    let file = detail.map_or_else(String::new, |made| format!(" to {}", made.file));
    Some(if now.since(at) > OLD {
        let days = now.since(at).as_secs() / Timestamp::DAY.as_secs();
        Finding::note("backup", format!("the last one was made {days} days ago, at {at}{file}: {HOW}"))
    } else {
        Finding::ok("backup", format!("the last one was made at {at}{file}"))
    })
}

fn restore(record: &AuditRecord, now: Timestamp) -> Option<Finding> {
    /// What is read of the detail.
    #[derive(Deserialize)]
    struct Told {
        made_at: Option<String>,
        before: String,
        known_until: Option<String>,
        counters_known: bool,
    }
    let at = Timestamp::from_micros(record.time);
    if now.since(at) > TOLD {
        return None;
    }
    let told = record.detail.as_deref().and_then(|detail| serde_json::from_str::<Told>(detail).ok());
    let copy = told.as_ref().and_then(|told| told.made_at.clone());
    let copy = copy.map_or_else(|| "a copy".to_owned(), |made_at| format!("a copy of {made_at}"));
    let since = match told {
        Some(Told { before, counters_known: true, .. }) if before == "known" => {
            "What was forbidden since is forbidden again; what was added or changed since has to be made again".to_owned()
        }
        Some(Told { known_until: Some(until), .. }) => format!(
            "What was forbidden until {until} is forbidden again, but counters and later changes are not known: look \
             whether devices were lost or users left since"
        ),
        _ => "Nothing is known of the time since that copy: look whether devices were lost or users left, and remove them \
              again"
            .to_owned(),
    };
    Some(Finding::note(
        "restore",
        format!(
            "{} put {copy} in the place of the database at {at} (audit record {}). {since}",
            record.actor, record.seq
        ),
    ))
}
