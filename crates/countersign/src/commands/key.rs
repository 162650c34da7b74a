//! `countersign key rotate`: another key for what is encrypted in the database, in steps of which each may be the last one
//! before a power cut (S94). The server is stopped meanwhile.
//!
//! 1. The new key is written beside the old one (`.new`).
//! 2. Everything is encrypted anew in one transaction, so that the database is always of one of the two.
//! 3. A record says so.
//! 4. The old key gets another name, and the new one takes its place.
//!
//! Whichever key opens the database tells how far an interrupted change got; the same command goes on from there.

use std::{
    fs, io,
    os::unix::{fs::MetadataExt as _, net::UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use countersign_domain::{AuditEvent, Clock, Commit, Entropy, EventKind};
use countersign_storage::{Store as _, Vault, VaultError};
use countersign_storage_sqlite::{DatabasePlace, Location, Options, Resealed, SqliteStore};
use serde_json::json;

use crate::{
    cli::KeyCommand,
    commands::restore::own_like,
    config::Config,
    output::{Failure, Output},
    runtime::{SystemClock, SystemEntropy, guard_process},
};

pub(crate) async fn run(command: KeyCommand, data: &Path, output: Output) -> Result<(), Failure> {
    let KeyCommand::Rotate = command;
    guard_process();
    let config = Config::load(data)?;
    let (done, before) = rotate(&config).await?;
    let before = before.display().to_string();
    if output.is_json() {
        output.document(&json!({
            "rotated": true, "values": done.values, "activations_burnt": done.activations, "key_before": before,
        }));
        return Ok(());
    }
    output.line(&format!("{} values are encrypted under a new key, {}", done.values, config.keys.display()));
    output.line(&format!(
        "The key before is now {before}. Backups that were made until now open with that one alone: move it to"
    ));
    output.line("where you keep copies of keys, for as long as you keep those backups, and delete it here. Copy the new one too.");
    if done.activations > 0 {
        output.line(&format!("{} open activations are void: issue them anew.", done.activations));
    }
    Ok(())
}

/// Where the new key waits until everything is encrypted under it.
pub(crate) fn waiting(keys: &Path) -> PathBuf {
    let mut name = keys.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

async fn rotate(config: &Config) -> Result<(Resealed, PathBuf)> {
    if UnixStream::connect(&config.socket).is_ok() {
        bail!("a server is running ({} answers): stop it first, and nothing was changed", config.socket.display());
    }
    let place = DatabasePlace::take(&config.database)
        .context("the server must be stopped (`systemctl stop countersign`), and nothing was changed")?;
    own_like(&place.lock_file(), folder(&config.database))?;
    if !place.is_taken() {
        bail!("there is no database {}, and so nothing to encrypt anew", config.database.display());
    }
    let entropy = SystemEntropy::new();
    let old = Vault::load(&config.keys).context("nothing was changed")?;
    let next = waiting(&config.keys);
    let is_of_the_old = place.opens_under(&old).await?;
    let new = match Vault::load(&next) {
        // A new key that is not whole was never used.
        Err(VaultError::Length { .. }) if is_of_the_old => {
            fs::remove_file(&next).with_context(|| format!("{} cannot be removed", next.display()))?;
            Vault::create(&next, &*entropy)?
        }
        Err(VaultError::File { fault, .. }) if fault.kind() == io::ErrorKind::NotFound && is_of_the_old => {
            Vault::create(&next, &*entropy)?
        }
        loaded => loaded.with_context(|| {
            format!("the database is not of the key file {}: put the right one there", config.keys.display())
        })?,
    };
    own_like(&next, folder(&config.keys))?;
    // Also one that an interrupted change has left: nothing is encrypted under a key that a power cut could take.
    for path in [next.as_path(), folder(&next)] {
        let synced = fs::File::open(path).and_then(|file| file.sync_all());
        synced.with_context(|| format!("{} cannot be written to the disk, and nothing was changed", path.display()))?;
    }
    let done = if is_of_the_old {
        place.reseal(&old, &new, &*entropy).await.context("nothing was changed")?
    } else if place.opens_under(&new).await? {
        Resealed::default()
    } else {
        bail!(
            "the database is neither of {} nor of {}: put the right key file there",
            config.keys.display(),
            next.display()
        );
    };
    place.wipe_deleted().await.with_context(|| {
        format!(
            "everything is encrypted under the key in {}, so keep that file; what the database keeps of the old key could not \
             be wiped: see that the disk has as much room again as the database takes, and run this command once more",
            next.display()
        )
    })?;
    for end in ["-wal", "-shm"] {
        let mut path = config.database.as_os_str().to_owned();
        path.push(end);
        if Path::new(&path).exists() {
            own_like(Path::new(&path), folder(&config.database))?;
        }
    }
    // The store takes the place for itself. A server that came in between would find that its key does not fit, and stop.
    drop(place);
    record(config, new, entropy, done).await?;
    let before = put_in_place(&config.keys, &next)?;
    Ok((done, before))
}

/// Writes the record, unless an interrupted change has done so.
async fn record(config: &Config, new: Vault, entropy: Arc<dyn Entropy>, done: Resealed) -> Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let options = Options::new(Arc::clone(&clock), entropy);
    // By which the records of two keys are told apart; it says nothing of the key.
    let name = data_encoding::HEXLOWER.encode(new.keyed_hash("name of the key", b"").get(..8).unwrap_or_default());
    let store = SqliteStore::open(Location::File(config.database.clone()), Arc::new(new), options).await?;
    let newest = store.audit_newest(1).await?;
    if newest.iter().all(|record| record.detail.as_ref().is_none_or(|detail| !detail.contains(&name))) {
        let actor = format!("uid:{}", rustix::process::geteuid().as_raw());
        let mut event = AuditEvent::new(clock.now(), EventKind::KeyRotated, &actor);
        let detail = json!({"key": name, "values": done.values, "activations_burnt": done.activations});
        event.detail = Some(detail.to_string());
        store.commit(Commit::record(event)).await.context("the change of the key cannot be recorded")?;
    }
    store.close().await;
    Ok(())
}

/// Gives the old key another name, and its own to the new one: there is never none.
fn put_in_place(keys: &Path, next: &Path) -> Result<PathBuf> {
    let now = SystemClock.now().to_rfc3339();
    let stamp: String = now.chars().take(19).filter(char::is_ascii_alphanumeric).collect();
    let mut name = keys.as_os_str().to_owned();
    name.push(format!(".before-{stamp}"));
    let before = PathBuf::from(name);
    match fs::hard_link(keys, &before) {
        // An interrupted change has done it in this second.
        Err(fault) if fault.kind() == io::ErrorKind::AlreadyExists && is_same(keys, &before) => {}
        linked => linked.with_context(|| format!("{} cannot be made", before.display()))?,
    }
    let folder = folder(keys);
    let sync = || fs::File::open(folder).and_then(|folder| folder.sync_all());
    sync().with_context(|| format!("{}", folder.display()))?;
    fs::rename(next, keys).with_context(|| format!("{} cannot be replaced", keys.display()))?;
    sync().with_context(|| format!("{}", folder.display()))?;
    Ok(before)
}

fn is_same(one: &Path, other: &Path) -> bool {
    let number = |path: &Path| fs::metadata(path).map(|about| (about.dev(), about.ino())).ok();
    number(one).is_some_and(|one| Some(one) == number(other))
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
