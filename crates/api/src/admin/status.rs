//! What the server says of itself, and what it finds wrong.

use core::time::Duration;
use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use axum::{extract::State, response::Response};
use countersign_domain::{
    AuditRecord, ClientId, Device, DeviceId, Directory, STEP_SECONDS, Secret, SyncRule, Timestamp, Upstream, UpstreamId,
};
use countersign_storage::StoreError;
use serde::{Deserialize, Serialize};

use super::rotation::SecretUse;
use super::upstreams::{TrialLogin, UpstreamServerView, UpstreamStep};
use super::{AdminApi, AdminProblem, audit::check_newest, directories::DirectoryStep, json::ok};

/// So many of the newest records `doctor` looks at; `audit verify` checks all.
const NEWEST: u32 = 1000;

/// What the program around the API knows of itself.
#[async_trait]
pub trait ServerFacts: Send + Sync + 'static {
    /// What it is and what it has counted.
    fn facts(&self) -> Facts;

    /// Asks its own listeners whether they answer; what is wrong with them.
    async fn probe(&self) -> Vec<Finding>;

    /// Whether pushes are sent at all.
    fn pushes(&self) -> bool;

    /// Sends a push to a device, for somebody who wants to know whether it works. `None` where no pushes are sent.
    async fn test_push(&self, device: DeviceId) -> Option<Result<PushAnswer, StoreError>>;

    /// The settings of a directory with all their defaults, if they make sense, and users of it can be where `rules` say.
    /// Asks no server.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    fn check_directory(
        &self,
        settings: &serde_json::Value,
        password: &Secret,
        rules: &[SyncRule],
    ) -> Result<String, String>;

    /// Walks through everything that a login needs of a directory.
    async fn test_directory(&self, directory: &Directory, user: Option<&str>) -> Vec<DirectoryStep>;

    /// Whether a directory has a group of this name, and if not, what is wrong.
    async fn find_group(&self, directory: &Directory, group: &str) -> Result<(), String>;

    /// How the servers of an upstream do, in their order, and those that keep accounting; empty where it is not known yet.
    fn upstream_servers(&self, upstream: UpstreamId) -> (Vec<UpstreamServerView>, Vec<UpstreamServerView>);

    /// Which of its two secrets a client uses; nothing where it has one.
    fn secret_use(&self, client: ClientId) -> Option<SecretUse>;

    /// Asks each server of an upstream whether it is there, or whether somebody may log on.
    async fn test_upstream(&self, upstream: &Upstream, login: Option<TrialLogin>) -> Vec<UpstreamStep>;
}

/// What a server is and has counted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Facts {
    /// Version of the program.
    pub version: String,
    /// When it started.
    pub started_at: String,
    /// Where RADIUS listens.
    pub radius: Vec<String>,
    /// Where the app's listener is.
    pub app: String,
    /// The public address.
    pub url: String,
    /// Shown in the app.
    pub organization: String,
    /// Where accounting listens; nowhere unless it is set.
    #[serde(default)]
    pub accounting: Vec<String>,
    /// Packets of accounting by what became of them, for all clients together.
    #[serde(default)]
    pub accounting_counters: BTreeMap<String, u64>,
    /// Packets by what became of them, for all clients together.
    pub radius_counters: BTreeMap<String, u64>,
    /// The same for each client, by its name.
    pub client_counters: BTreeMap<String, BTreeMap<String, u64>>,
    /// Pushes by what became of them; nothing where none are sent.
    #[serde(default)]
    pub push_counters: BTreeMap<String, u64>,
}

/// What came back for a push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushAnswer {
    /// Whether the push service took it.
    pub taken: bool,
    /// What came back and what to do about it, in plain words.
    pub words: String,
}

/// The answer to `GET status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// What the program is.
    #[serde(flatten)]
    pub facts: Facts,
    /// Identifier of the database, part of every signature.
    pub deployment: String,
    /// Logins without a verdict.
    pub logins_open: usize,
    /// Of these, waiting for a device.
    pub logins_waiting: usize,
    /// Sign-in windows that are open.
    #[serde(default)]
    pub windows_open: usize,
    /// Number of the last audit record.
    pub audit_records: i64,
    /// Its hash.
    pub audit_hash: String,
    /// Transactions of the database's writer since start.
    pub writer_batches: u64,
    /// Commits in them.
    pub writer_commits: u64,
    /// Commits in the largest.
    pub writer_largest: u64,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Works, and somebody should know.
    Note,
    /// Something is wrong.
    Wrong,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at.
    pub about: String,
    /// What was found, in plain words, and what to do.
    pub text: String,
}

impl Finding {
    /// As it should be.
    pub fn ok(about: &str, text: impl Into<String>) -> Self {
        Self { level: Level::Ok, about: about.to_owned(), text: text.into() }
    }

    /// Works, and somebody should know.
    pub fn note(about: &str, text: impl Into<String>) -> Self {
        Self { level: Level::Note, about: about.to_owned(), text: text.into() }
    }

    /// Something is wrong.
    pub fn wrong(about: &str, text: impl Into<String>) -> Self {
        Self { level: Level::Wrong, about: about.to_owned(), text: text.into() }
    }
}

pub(super) async fn status(State(api): State<Arc<AdminApi>>) -> Result<Response, AdminProblem> {
    let store = api.desk.store();
    let (seq, hash) = store.audit_head().await?;
    let (open, writer) = (api.desk.figures(), store.writer_figures());
    Ok(ok(&Status {
        facts: api.facts.facts(),
        deployment: store.deployment().await?.id,
        logins_open: open.logins,
        logins_waiting: open.pending,
        windows_open: open.windows,
        audit_records: seq,
        audit_hash: hash.to_string(),
        writer_batches: writer.batches,
        writer_commits: writer.commits,
        writer_largest: writer.largest,
    }))
}

pub(super) async fn doctor(State(api): State<Arc<AdminApi>>) -> Result<Response, AdminProblem> {
    let mut out = api.facts.probe().await;
    // What cannot be looked at is a finding too, and no reason to say nothing of the rest.
    for looked in [
        audit(&api).await,
        super::backups::findings(&api).await,
        clock(&api).await,
        users(&api).await,
        resources(&api).await,
        api.examine_directories().await,
        api.examine_upstreams().await,
    ] {
        match looked {
            Ok(found) => out.extend(found),
            Err(problem) => out.push(Finding::wrong("database", problem.detail)),
        }
    }
    let figures = api.desk.store().writer_figures();
    out.push(match figures.failing {
        0 => Finding::ok(
            "database",
            format!(
                "{} commits in {} transactions since start, {} in the largest",
                figures.commits, figures.batches, figures.largest
            ),
        ),
        failing => Finding::wrong(
            "database",
            format!(
                "the last {} nothing could be written, so nobody was let in: the server's log says why, most often a full \
                 disk. What is written next clears this",
                if failing == 1 { "time".to_owned() } else { format!("{failing} times") }
            ),
        ),
    });
    Ok(ok(&out))
}

async fn audit(api: &AdminApi) -> Result<Vec<Finding>, AdminProblem> {
    let store = api.desk.store();
    let (seq, _) = store.audit_head().await?;
    let begin = seq.saturating_sub(i64::from(NEWEST)).max(0);
    let before = match begin {
        0 => Some((0, countersign_domain::AuditHash::START)),
        _ => store.audit(begin.saturating_sub(1), 1).await?.first().map(|record| (record.seq, record.hash)),
    };
    let page = store.audit(begin, NEWEST).await?;
    let checked = before.map(|before| countersign_domain::verify_chain(before, &page));
    let mut out = vec![match checked {
        Some(Ok(_)) => Finding::ok(
            "audit",
            format!("{seq} records, the newest {} checked; `countersign audit verify` checks all", page.len()),
        ),
        Some(Err(fault)) => Finding::wrong(
            "audit",
            format!(
                "{fault}. Somebody changed the database by hand: keep a copy of it, and compare with an export or backup"
            ),
        ),
        None => Finding::wrong("audit", format!("record {begin} is missing: run `countersign audit verify`")),
    }];
    if let Some(fault) = check_newest(&**store, &api.checkpoints).await? {
        out.push(Finding::wrong("audit checkpoints", fault.detail));
    }
    Ok(out)
}

async fn clock(api: &AdminApi) -> Result<Vec<Finding>, AdminProblem> {
    /// The year in which this was written; no clock that is right shows less.
    const EARLIEST: Timestamp = Timestamp::from_seconds(1_767_225_600);
    const A_LITTLE: Duration = Duration::from_secs(2);
    let now = api.desk.clock().now();
    let newest = api.desk.store().audit_newest(NEWEST).await?;
    let ahead = |record: &&AuditRecord| Timestamp::from_micros(record.time) > now.plus(A_LITTLE);
    let last = newest.first().filter(ahead);
    let farthest = newest.iter().filter(ahead).max_by_key(|record| record.time);
    Ok(vec![if now < EARLIEST {
        Finding::wrong(
            "clock",
            format!("it shows {now}, which is long past: set it, and run a time service such as chrony"),
        )
    } else if let Some(last) = last {
        Finding::wrong(
            "clock",
            format!(
                "it shows {now}, and the last audit record is of {}: it is behind now, or it stood ahead then. Codes depend \
                 on it: run a time service such as chrony",
                Timestamp::from_micros(last.time)
            ),
        )
    } else if let Some(farthest) = farthest {
        Finding::note(
            "clock",
            format!(
                "it shows {now}, and audit record {} is of {}, which is still to come: it stood ahead then. Codes that were \
                 used then and pauses that began then hold until that time. Run a time service such as chrony",
                farthest.seq,
                Timestamp::from_micros(farthest.time)
            ),
        )
    } else {
        Finding::ok("clock", format!("it shows {now}; codes of the app need it to be right to 30 seconds"))
    }])
}

async fn users(api: &AdminApi) -> Result<Vec<Finding>, AdminProblem> {
    /// So many names are written out.
    const NAMED: usize = 10;
    let now = api.desk.clock().now();
    let (mut all, mut without, mut limited, mut dead) = (0_usize, Vec::new(), Vec::new(), Vec::new());
    api.each_user(|snapshot| {
        let user = &snapshot.user;
        for device in snapshot.active_devices() {
            if let Some(until) = codes_are_dead_until(device, now) {
                dead.push(format!("{} of {} ({}) until {until}", device.name, user.name, device.id));
            }
        }
        all = all.saturating_add(1);
        if user.enabled && snapshot.active_devices().next().is_none() {
            without.push(user.name.to_string());
        }
        let limits = api.limits(&snapshot);
        if !limits.is_empty() {
            limited.push(format!("{} ({})", user.name, limits.join("; ")));
        }
    })
    .await?;
    without.sort_unstable();
    limited.sort_unstable();
    dead.sort_unstable();
    let named = |names: &[String]| {
        let shown: Vec<_> = names.iter().take(NAMED).map(String::as_str).collect();
        let more = names.len().saturating_sub(shown.len());
        if more > 0 { format!("{} and {more} more", shown.join(", ")) } else { shown.join(", ") }
    };
    let mut out = vec![if all == 0 {
        Finding::note("users", "there are none: `countersign user add NAME` adds one")
    } else {
        Finding::ok("users", format!("{all}"))
    }];
    if !without.is_empty() {
        out.push(Finding::note(
            "users",
            format!("without a device, so nobody asks them and they cannot log on: {}. `countersign activation issue NAME` adds one", named(&without)),
        ));
    }
    if !limited.is_empty() {
        out.push(Finding::note(
            "users",
            format!("limited: {}. `countersign user unlock NAME --reason …` lifts pauses and freezes", named(&limited)),
        ));
    }
    if !dead.is_empty() {
        out.push(Finding::note(
            "codes",
            format!(
                "the clock stood ahead when the codes of some devices were last used, and they take none until it has come so \
                 far again: {}. `countersign device remove DEVICE` and a new activation end it sooner",
                named(&dead)
            ),
        ));
    }
    Ok(out)
}

/// Until when no code of a device is newer than the last one used, where that is longer than clocks may differ.
fn codes_are_dead_until(device: &Device, now: Timestamp) -> Option<Timestamp> {
    const TOLERATED: Duration = Duration::from_secs(60);
    let last = i64::try_from(device.totp_last_step).unwrap_or(i64::MAX);
    let until = Timestamp::from_seconds(last.saturating_mul(STEP_SECONDS));
    (until > now.plus(TOLERATED)).then_some(until)
}

async fn resources(api: &AdminApi) -> Result<Vec<Finding>, AdminProblem> {
    let all = api.desk.store().resources().await?;
    let mut out = vec![if all.is_empty() {
        Finding::note(
            "resources",
            "there are none: `countersign resource add NAME --client ADDRESS --generate-secret` adds one",
        )
    } else {
        Finding::ok("resources", format!("{}", all.len()))
    }];
    for (resource, clients) in all {
        if clients.iter().any(|client| client.tls.is_none() && !client.require_message_authenticator) {
            out.push(Finding::note(
                "resources",
                format!(
                    "{} takes packets without Message-Authenticator: `countersign resource set {} --require-message-authenticator` once its client sends it",
                    resource.name, resource.name
                ),
            ));
        }
    }
    Ok(out)
}
