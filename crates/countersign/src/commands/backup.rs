//! `countersign backup`: a copy of the database while the server runs.
//!
//! The account that asks makes the copy itself, beside the server: so the copy goes where that account may write, and there is
//! one when no server starts any more.

use std::{fs, io, path::Path, sync::Arc};

use anyhow::{Context as _, Result, anyhow};
use countersign_api::admin::backups::BackupMade;
use countersign_domain::Clock as _;
use countersign_storage::{Store as _, Vault};
use countersign_storage_sqlite::{Label, SqliteStore, back_up};
use serde_json::json;

use crate::{
    client::Client,
    config::{self, Config},
    output::{Failure, Output},
    runtime::{SystemClock, SystemEntropy, guard_process},
    space,
};

pub(crate) async fn run(file: &Path, data: &Path, output: Output) -> Result<(), Failure> {
    guard_process();
    let config = Config::load(data)?;
    let settings = match fs::read_to_string(config::path(data)) {
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => String::new(),
        read => read.with_context(|| format!("{} cannot be read", config::path(data).display()))?,
    };
    let octets = fs::metadata(&config.database)
        .with_context(|| format!("there is no database to copy: {}", config.database.display()))?
        .len();
    space::for_copy(&config.database, file, octets)?;

    let made_at = SystemClock.now();
    let label = Label { made_at, program: env!("CARGO_PKG_VERSION").to_owned(), settings };
    let mut told = space::Told::new(output, "copied");
    let octets = back_up(&config.database, file, &label, &mut |done, all| told.progress(done, all))
        .await
        .with_context(|| format!("no backup was made of {}", config.database.display()))?;

    let (records, opens) = look(file, &config).await?;
    let whole = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let made = BackupMade { file: whole.display().to_string(), made_at: made_at.to_rfc3339(), octets, records };
    let recorded = Client::new(data)?.post_only("backups", &json!(made)).await;
    tell(&made, &config, &opens, recorded.as_ref().err(), output);
    Ok(())
}

/// How many records are in the copy, and whether the key file opens it.
async fn look(file: &Path, config: &Config) -> Result<(i64, Result<()>)> {
    let read = async |vault: Vault| -> Result<i64> {
        let store = SqliteStore::open_to_read(file, Arc::new(vault), SystemEntropy::new()).await?;
        let (records, _) = store.audit_head().await?;
        store.close().await;
        Ok(records)
    };
    Ok(match Vault::load(&config.keys) {
        Err(fault) => (0, Err(fault.into())),
        Ok(vault) => match read(vault).await {
            Ok(records) => (records, Ok(())),
            Err(fault) => (0, Err(anyhow!("key file {} does not open it: {fault}", config.keys.display()))),
        },
    })
}

fn tell(made: &BackupMade, config: &Config, opens: &Result<()>, unrecorded: Option<&Failure>, output: Output) {
    let keys = config.keys.display();
    if output.is_json() {
        output.document(&json!({
            "file": made.file,
            "made_at": made.made_at,
            "octets": made.octets,
            "records": made.records,
            "key_file": keys.to_string(),
            "key_fault": opens.as_ref().err().map(|fault| format!("{fault:#}")),
            "recorded": unrecorded.is_none(),
        }));
        return;
    }
    output.line(&format!(
        "{}: the database as it was at {}, {}, {} audit records, and countersign.toml",
        made.file,
        made.made_at,
        space::size(made.octets),
        made.records
    ));
    match opens {
        Ok(()) => output.line(&format!(
            "The key file {keys} is not in it, and without that file the copy is worth nothing (this one opens it: \
             checked). Keep a copy of the key file as well, and somewhere else: whoever has both has all secrets. Names and \
             the audit can be read in the copy alone."
        )),
        Err(fault) => output.line(&format!(
            "WARNING: nobody can use this copy as things are: {fault:#}. Find the key file that belongs to this database"
        )),
    }
    output.line(
        "Not in it: the TLS certificate and audit-checkpoints.jsonl. `countersign restore` puts it back; with --check it only \
         looks whether it could.",
    );
    if let Some(failure) = unrecorded {
        output.aside(&format!("note: the backup is not in the audit: {}", failure.words()));
    }
}
