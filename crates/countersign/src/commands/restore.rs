//! `countersign restore`: puts a copy in the place of the database, as the event that it is for everybody's security.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result, anyhow, bail};
use countersign_api::{
    admin::{Peer, audit::BreakReport, checkpoints::Checkpoints},
    restore::{Before, Contents, Restoration, Restored, begin_epoch, examine},
};
use countersign_domain::{Clock, Entropy, Timestamp};
use countersign_storage::{Store, Vault, VaultError};
use countersign_storage_sqlite::{Copy, DatabasePlace, Location, Options, SqliteStore};
use serde_json::json;

use crate::{
    cli::Restore,
    config::{self, Config},
    output::{Failure, Output},
    runtime::{SystemClock, SystemEntropy, guard_process},
    space,
};

pub(crate) async fn run(what: Restore, data: &Path, output: Output) -> Result<(), Failure> {
    guard_process();
    let copy = Copy::open(&what.file).await.context("this cannot be restored, and nothing was changed")?;
    let (config, settings) = settings(data, &copy)?;
    let folder = config.database.parent().unwrap_or(Path::new("."));
    make_folder(data)?;
    make_folder(folder)?;
    if is_same(&what.file, &config.database) {
        return Err(anyhow!("{} is the database itself: name a copy of it", what.file.display()).into());
    }
    let vault = Arc::new(key(&config, &what.file)?);
    // Looking at a copy needs nothing of a server that runs meanwhile.
    let place = if what.check { None } else { Some(take(&config)?) };
    space::for_copy(&config.database, &config.database, copy.octets)?;
    let staged = Staged::make(&copy, &config, what.check, output).await?;
    let store = staged
        .open(&vault)
        .await
        .with_context(|| format!("{} cannot be restored, and nothing was changed", what.file.display()))?;
    let looked = examine(&*store, what.despite_broken_audit).await;
    let looked = match looked {
        Ok(looked) => looked,
        Err(fault) => {
            store.close().await;
            return Err(refused(&what, &anyhow!(fault)).into());
        }
    };
    let story = Story { what: &what, copy: &copy, config: &config, contents: looked.0, broken: looked.1 };
    let Some(place) = place else {
        store.close().await;
        story.tell_check(output);
        return Ok(());
    };
    let done = swap(&story, place, staged, store, vault).await?;
    let written = match settings {
        Some(text) => {
            Config::create(data, &text)?;
            own_like(&config::path(data), data)?;
            true
        }
        None => false,
    };
    story.tell(&done, written, data, output);
    Ok(())
}

fn refused(what: &Restore, fault: &anyhow::Error) -> anyhow::Error {
    anyhow!(
        "{} cannot be restored, and nothing was changed: {fault:#}. Take another copy; if this is the only one and its audit \
         is what is broken, --despite-broken-audit takes it all the same",
        what.file.display()
    )
}

/// The settings of the folder; where it has none, those that the server had which made the copy, and their text.
fn settings(data: &Path, copy: &Copy) -> Result<(Config, Option<String>)> {
    if config::path(data).exists() {
        return Ok((Config::load(data)?, None));
    }
    let text = copy.label.as_ref().map(|label| label.settings.clone()).unwrap_or_default();
    let config = Config::parse(data, &text)
        .with_context(|| format!("the settings in the copy; write {} yourself", config::path(data).display()))?;
    Ok((config, Some(text).filter(|text| !text.is_empty())))
}

fn make_folder(folder: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("the folder {} cannot be made", folder.display()))
}

fn is_same(one: &Path, other: &Path) -> bool {
    let number = |path: &Path| fs::metadata(path).map(|about| (about.dev(), about.ino())).ok();
    number(one).is_some_and(|one| Some(one) == number(other))
}

fn key(config: &Config, file: &Path) -> Result<Vault> {
    Vault::load(&config.keys).map_err(|fault| match fault {
        VaultError::File { fault, .. } if fault.kind() == io::ErrorKind::NotFound => anyhow!(
            "key file {} is missing. It is not in {}: put your copy of it there (mode 0600, owned by the server's account), \
             and repeat. Nothing was changed",
            config.keys.display(),
            file.display()
        ),
        other => other.into(),
    })
}

fn take(config: &Config) -> Result<DatabasePlace> {
    let place = DatabasePlace::take(&config.database)
        .context("the server must be stopped (`systemctl stop countersign`), and nothing was changed")?;
    own_like(&place.lock_file(), config.database.parent().unwrap_or(Path::new(".")))?;
    Ok(place)
}

/// Gives a file that root has made to the account that owns the folder, since the server runs as that one.
pub(crate) fn own_like(path: &Path, folder: &Path) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = fs::metadata(folder).with_context(|| format!("{}", folder.display()))?;
    std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid()))
        .with_context(|| format!("{} cannot be given to the owner of {}", path.display(), folder.display()))
}

/// The copy as a database, beside the one that it may replace. It goes with this value, unless it was installed.
struct Staged(PathBuf);

impl Staged {
    async fn make(copy: &Copy, config: &Config, check: bool, output: Output) -> Result<Self> {
        let end = if check { format!(".check-{}", std::process::id()) } else { ".restoring".to_owned() };
        let staged = Self(with_end(&config.database, &end));
        let mut told = space::Told::new(output, "read");
        copy.unpack(&staged.0, &mut |done, all| told.progress(done, all)).await.context("nothing was changed")?;
        Ok(staged)
    }

    async fn open(&self, vault: &Arc<Vault>) -> Result<Arc<dyn Store>> {
        let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) = (Arc::new(SystemClock), SystemEntropy::new());
        let location = Location::File(self.0.clone());
        Ok(Arc::new(SqliteStore::open(location, Arc::clone(vault), Options::new(clock, entropy)).await?))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        for end in ["", "-wal", "-shm", "-journal", ".lock"] {
            let _gone = fs::remove_file(with_end(&self.0, end));
        }
    }
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// A name that nothing has.
fn unused(path: &Path, end: &str) -> PathBuf {
    let first = with_end(path, end);
    if first.symlink_metadata().is_err() {
        return first;
    }
    let names = (2_u32..).map(|number| with_end(path, &format!("{end}-{number}")));
    names.into_iter().find(|name| name.symlink_metadata().is_err()).unwrap_or(first)
}

/// What a restore did.
struct Done {
    restored: Restored,
    /// Where the database is that was there.
    aside: Option<PathBuf>,
    /// Where the checkpoints of another server are that were there.
    checkpoints_aside: Option<PathBuf>,
    /// Why the file of checkpoints does not tell of the restore.
    checkpoint_fault: Option<String>,
}

async fn swap(
    story: &Story<'_>,
    place: DatabasePlace,
    staged: Staged,
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
) -> Result<Done> {
    let config = story.config;
    let now = SystemClock.now();
    let checkpoints = Checkpoints::open(config.checkpoints.clone(), &*store, Arc::new(SystemClock)).await?;
    let newest = checkpoints.newest().await.and_then(|newest| Timestamp::from_rfc3339(&newest.time));
    let before = before(&place, config, story.copy, vault).await;
    let old = if let Before::Known(old) = &before { Some(Arc::clone(old)) } else { None };
    let what = Restoration {
        now,
        actor: &Peer { uid: Some(rustix::process::geteuid().as_raw()) }.actor().0,
        file: &story.what.file.display().to_string(),
        made_at: story.copy.label.as_ref().map(|label| label.made_at),
        before,
        export: story.what.audit.as_deref(),
        newest_checkpoint: newest,
    };
    let restored = begin_epoch(&*store, &what).await;
    let checkpoint = match &restored {
        Ok(_) => Some(checkpoints.sign(store.audit_head().await?, now)?),
        Err(_) => None,
    };
    // In order: the last to close writes the journal back.
    store.close().await;
    if let Some(old) = old {
        old.close().await;
    }
    let restored = restored.map_err(|fault| refused(story.what, &anyhow!(fault)))?;

    let folder = config.database.parent().unwrap_or(Path::new("."));
    own_like(&staged.0, folder)?;
    let stamp = now.to_jiff().strftime(".before-restore-%Y%m%dT%H%M%SZ").to_string();
    let aside = place.is_taken().then(|| unused(&config.database, &stamp));
    place.install(&staged.0, aside.as_deref().unwrap_or(&config.database)).context("the database was not replaced")?;

    let mut checkpoints_aside = None;
    let mut checkpoint_fault = None;
    if checkpoints.all_foreign().await {
        let to = unused(&config.checkpoints, &stamp);
        match fs::rename(&config.checkpoints, &to) {
            Ok(()) => checkpoints_aside = Some(to),
            Err(fault) => checkpoint_fault = Some(fault.to_string()),
        }
    }
    if let Some(checkpoint) = checkpoint {
        let written = checkpoints.append(&checkpoint).await.map_err(anyhow::Error::from);
        let written = written.and_then(|()| own_like(&config.checkpoints, folder));
        checkpoint_fault = checkpoint_fault.or(written.err().map(|fault| format!("{fault:#}")));
    }
    Ok(Done { restored, aside, checkpoints_aside, checkpoint_fault })
}

/// What the database that is there can tell.
async fn before(place: &DatabasePlace, config: &Config, copy: &Copy, vault: Arc<Vault>) -> Before {
    if !place.is_taken() {
        return Before::None;
    }
    let read = async {
        place.settle().await?;
        let store = SqliteStore::open_to_read(&config.database, vault, SystemEntropy::new()).await?;
        let deployment = store.deployment().await?.id;
        if deployment != copy.deployment {
            store.close().await;
            bail!("it is the database of another server");
        }
        Ok(store)
    };
    match read.await {
        Ok(store) => Before::Known(Arc::new(store)),
        Err(fault) => Before::Unknown(format!("{fault:#}")),
    }
}

/// What is told at the end.
struct Story<'a> {
    what: &'a Restore,
    copy: &'a Copy,
    config: &'a Config,
    contents: Contents,
    broken: Option<BreakReport>,
}

impl Story<'_> {
    fn made_at(&self) -> Option<String> {
        self.copy.label.as_ref().map(|label| label.made_at.to_rfc3339())
    }

    fn head(&self, output: Output) {
        let made_at = self.made_at().map_or_else(
            || "a copy that was made by other means than `countersign backup`".to_owned(),
            |made_at| format!("a copy of {made_at}"),
        );
        let Contents { users, devices, resources, records } = self.contents;
        output.line(&format!(
            "{}: {made_at}, with {users} users, {devices} devices, {resources} resources and {records} audit records",
            self.what.file.display()
        ));
        if let Some(broken) = &self.broken {
            output.line(&format!(
                "WARNING: its audit is broken at record {}: {}. It was changed before the copy was made",
                broken.seq, broken.detail
            ));
        }
    }

    fn tell_check(&self, output: Output) {
        if output.is_json() {
            return output.document(&json!({
                "file": self.what.file.display().to_string(),
                "made_at": self.made_at(),
                "deployment": self.copy.deployment,
                "contents": self.contents,
                "audit_break": self.broken,
                "restored": null,
            }));
        }
        self.head(output);
        output.line(&format!(
            "It is whole, and the key file {} opens it. Nothing was changed: without --check it is put in the place of the \
             database.",
            self.config.keys.display()
        ));
    }

    fn tell(&self, done: &Done, settings_written: bool, data: &Path, output: Output) {
        let shown = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        if output.is_json() {
            return output.document(&json!({
                "file": self.what.file.display().to_string(),
                "made_at": self.made_at(),
                "deployment": self.copy.deployment,
                "contents": self.contents,
                "audit_break": self.broken,
                "restored": done.restored,
                "kept_as": shown(&done.aside),
                "checkpoints_kept_as": shown(&done.checkpoints_aside),
                "checkpoint_fault": done.checkpoint_fault,
                "settings_written": settings_written,
            }));
        }
        self.head(output);
        output.line(&format!("It is the database now: {}", self.config.database.display()));
        if let Some(aside) = &done.aside {
            output.line(&format!(
                "The database that was there is kept as {}: remove it when you are sure",
                aside.display()
            ));
        }
        if let Some(aside) = &done.checkpoints_aside {
            output.line(&format!("Checkpoints of another server that were there are kept as {}", aside.display()));
        }
        if settings_written {
            output.line(&format!("The settings of the copy were written to {}", config::path(data).display()));
        }
        consequences(&done.restored, output);
        if let Some(fault) = &done.checkpoint_fault {
            output.line(&format!("WARNING: {} does not tell of this: {fault}", self.config.checkpoints.display()));
        }
        output.line(&format!(
            "Audit record {} tells of this, and `countersign doctor` will for 30 days. Start the server, and look at both.",
            done.restored.kept.saturating_add(1)
        ));
    }
}

fn consequences(restored: &Restored, output: Output) {
    /// So many of each list are shown; all of them are in `--json`.
    const SHOWN: usize = 20;
    let some = |more: usize| if more > 0 { format!("  … and {more} more: --json lists them") } else { String::new() };
    output.line(&format!(
        "Ended: {} pending sign-ins, and all activations and bypasses that were open. Six-digit codes of this and the next \
         minute are used up on all phones.",
        restored.challenges_ended
    ));
    if let Some(ahead) = &restored.ahead {
        output.line(&format!(
            "WARNING: something was recorded at {ahead}, and this machine's clock shows less. Set the clock if it is wrong. \
             Codes count again after that time, since nobody knows which were used until then"
        ));
    }
    if !restored.again.is_empty() {
        output.line("Forbidden since the copy was made, and now again:");
        for again in restored.again.iter().take(SHOWN) {
            let device = again.device.as_ref().map(|device| format!(", device {device}")).unwrap_or_default();
            let words = match again.what.as_str() {
                "user_disabled" => "disabled",
                "user_removed" => "was removed: is back, and disabled",
                "device_removed" => "device removed",
                "device_suspended" => "device suspended",
                _ => "pauses, freezes and counters",
            };
            output.line(&format!("  {}: {words}{device}", again.user));
        }
        let more = some(restored.again.len().saturating_sub(SHOWN));
        if !more.is_empty() {
            output.line(&more);
        }
    }
    if !restored.missing.is_empty() {
        output.line("Done since the copy was made, and to be done again where it is still wanted:");
        for missing in restored.missing.iter().take(SHOWN) {
            output.line(&format!("  {}  {} {} by {}", missing.time, missing.event, missing.about, missing.actor));
        }
        let more = some(restored.missing.len().saturating_sub(SHOWN).saturating_add(restored.missing_more));
        if !more.is_empty() {
            output.line(&more);
        }
    }
    for line in unknown(restored) {
        output.line(&line);
    }
}

/// What nobody can know, said plainly.
fn unknown(restored: &Restored) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(fault) = &restored.before_fault {
        out.push(format!("The database that was there tells nothing: {fault}"));
    }
    let since = restored.known_until.as_deref().or(restored.kept_until.as_deref()).unwrap_or("the copy");
    if restored.before != "known" {
        out.push(format!("NOT KNOWN is what happened after {since}. So think of, and do again:"));
        out.push("  - phones that were lost or given back: `countersign device list`, `device remove`".to_owned());
        out.push("  - users who left: `countersign user disable`".to_owned());
        out.push("  - shared secrets and passwords that were changed: the old ones count again".to_owned());
        out.push("  - phones that were added: they have to be activated again".to_owned());
    }
    if !restored.counters_known {
        out.push(
            "Counters of wrong codes and pushes, and pauses and freezes, are those of the copy, or stricter where that is \
             known."
                .to_owned(),
        );
    }
    out
}
