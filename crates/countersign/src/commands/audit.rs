//! `countersign audit`.

use std::{collections::HashMap, fmt::Write as _, path::Path};

use anyhow::Context as _;
use countersign_api::admin::{
    audit::{AuditLine, VerifyReport},
    resources::ResourceView,
};
use serde_json::json;

use crate::{
    cli::{AuditCommand, ListAudit},
    client::{Client, piece},
    output::{Failure, Output},
};

/// Characters of a text from outside in the table; all of it is in `--json` and in the export.
const SHOWN: usize = 40;
/// Records that a script gets unless it says otherwise.
const FOR_SCRIPTS: u32 = 10_000;

pub(crate) async fn run(command: AuditCommand, data: &Path, output: Output) -> Result<(), Failure> {
    let client = Client::new(data)?;
    match command {
        AuditCommand::List(list) => self::list(&client, list, output).await,
        AuditCommand::Export => client.stream("audit/export", |octets| output.raw(octets)).await,
        AuditCommand::Verify { checkpoints } => verify(&client, checkpoints.as_deref(), output).await,
    }
}

async fn list(client: &Client, list: ListAudit, output: Output) -> Result<(), Failure> {
    let limit = list.limit.or(output.is_json().then_some(FOR_SCRIPTS)).unwrap_or(50);
    let mut path = format!("audit?limit={limit}");
    for (name, value) in
        [("user", &list.user), ("login", &list.login), ("reason", &list.reason), ("event", &list.event)]
    {
        if let Some(value) = value {
            let _infallible = write!(path, "&{name}={}", piece(value));
        }
    }
    let lines: Vec<AuditLine> = client.get(&path).await?;
    if output.is_json() {
        output.document(&lines);
        return Ok(());
    }
    let resources: Vec<ResourceView> = client.get("resources").await?;
    let names: HashMap<_, _> = resources.into_iter().map(|resource| (resource.id, resource.name)).collect();
    let users: HashMap<String, String> = client.get("user-names").await?;
    let rows: Vec<_> = lines
        .into_iter()
        .map(|line| {
            let resource = line.resource.map(|id| names.get(&id).cloned().unwrap_or(id));
            vec![
                line.seq.to_string(),
                line.time,
                line.event,
                shortened(line.user_typed.or_else(|| users.get(&line.user_id?).cloned()).unwrap_or_default()),
                line.result.unwrap_or_default(),
                line.reason.unwrap_or_default(),
                resource.unwrap_or_default(),
                shortened(line.source.unwrap_or_default()),
                shortened(line.actor),
            ]
        })
        .collect();
    output.table(
        &["SEQ", "TIME", "EVENT", "USER", "RESULT", "REASON", "RESOURCE", "SOURCE", "ACTOR"],
        &rows,
        "no records match",
    );
    Ok(())
}

/// So that one long text does not stretch the whole table.
fn shortened(text: String) -> String {
    if text.chars().count() <= SHOWN {
        return text;
    }
    text.chars().take(SHOWN.saturating_sub(1)).chain(['…']).collect()
}

async fn verify(client: &Client, checkpoints: Option<&Path>, output: Output) -> Result<(), Failure> {
    let copy = checkpoints
        .map(|path| path.canonicalize().with_context(|| format!("{} cannot be read", path.display())))
        .transpose()?;
    let report: VerifyReport = client.post("audit/verify", &json!({"checkpoints": copy})).await?;
    if output.is_json() {
        output.document(&report);
    } else {
        print(&report, output);
    }
    if report.ok { Ok(()) } else { Err(Failure::Reported) }
}

fn print(report: &VerifyReport, output: Output) {
    match &report.broken {
        None => output.line(&format!("{} records, each follows the one before; the last has the hash", report.records)),
        Some(broken) => {
            output.line(&format!("BROKEN at record {}: {}", broken.seq, broken.detail));
            output.line(&format!("{} records before it are right; the last of them has the hash", report.records));
        }
    }
    output.line(&format!("  {}", report.hash));
    for restore in &report.restores {
        let gone = match restore.newest_set_aside {
            Some(newest) => format!(
                "{} checkpoints of records {} to {newest} as they were before it are set aside",
                restore.set_aside, restore.seq
            ),
            None => "no checkpoint of what was replaced is known".to_owned(),
        };
        output.line(&if restore.signed {
            format!("RESTORED at {}: record {} tells it, signed by this server; {gone}", restore.time, restore.seq)
        } else {
            format!(
                "NOT SIGNED: record {} tells of a restore at {}, and its signature is not this server's",
                restore.seq, restore.time
            )
        });
    }
    let checkpoints = &report.checkpoints;
    match &checkpoints.newest {
        Some(newest) => output.line(&format!(
            "{} signed checkpoints in {}, the newest of {} for record {}",
            checkpoints.signed, checkpoints.file, newest.time, newest.seq
        )),
        None => output.line(&format!("no signed checkpoints in {}: a cut at the end would not show", checkpoints.file)),
    }
    for fault in &checkpoints.faults {
        match fault.line {
            Some(line) => output.line(&format!("CHECKPOINT, line {line}: {}", fault.detail)),
            None => output.line(&format!("CHECKPOINT: {}", fault.detail)),
        }
    }
    if report.ok {
        output.line("the audit is whole");
    } else {
        output.line(
            "Somebody changed the database or the checkpoints outside of countersign. Keep a copy of both as they are, and \
             compare with an export or a backup.",
        );
    }
}
