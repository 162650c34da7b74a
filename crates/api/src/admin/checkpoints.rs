//! Signed checkpoints of the audit (S102): a file of JSON lines, made to be copied elsewhere. A chain alone cannot show
//! that its end was cut off, or that an older database was put in its place; a checkpoint that is elsewhere can.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::rand::SystemRandom;
use countersign_device_protocol::keys::{Signature, SigningKey};
use countersign_domain::{AuditHash, AuditRecord, Clock, Seldom, Timestamp};
use countersign_storage::{Store, StoreError};
use serde::{Deserialize, Serialize};
use tokio::{io::AsyncWriteExt as _, sync::Mutex, time::Instant};

use crate::{
    seam::Seam,
    server_keys::{ServerKey, ServerKeyError},
};

/// First line of what is signed.
const LABEL: &str = "countersign-audit-checkpoint-v1";
/// A checkpoint is due after so many records,
const RECORDS: i64 = 1000;
/// or after so long, if there is any.
const EVERY: Duration = Duration::from_secs(300);
/// How often it is looked whether one is due.
const LOOK: Duration = Duration::from_secs(1);

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Number of the record.
    pub seq: i64,
    /// Its hash, hexadecimal.
    pub hash: String,
    /// When the checkpoint was made.
    pub time: String,
    /// Thumbprint of the key that signs.
    pub key: String,
    /// Over the label, the deployment, `seq`, `hash` and `time`, each with a line end; base64url of `r ‖ s`.
    pub signature: String,
}

impl Checkpoint {
    fn octets(&self, deployment: &str) -> Vec<u8> {
        format!("{LABEL}\n{deployment}\n{}\n{}\n{}\n", self.seq, self.hash, self.time).into_bytes()
    }

    /// Whether what it was made of went with a database that was replaced at this seam.
    pub(super) fn went(&self, seam: &Seam) -> bool {
        Timestamp::from_rfc3339(&self.time).is_some_and(|time| seam.took(self.seq, time))
    }

    /// Compares it with the record that stands in its place, if one does.
    pub(super) fn compare(&self, found: Option<(i64, AuditHash)>) -> Option<CheckpointFault> {
        let (fault, detail) = match found {
            Some((seq, hash)) if seq == self.seq && hash.to_string() == self.hash => return None,
            Some((seq, _)) if seq == self.seq => (
                "differs",
                format!(
                    "record {} is another than the one that was signed at {}: the audit was rewritten, or an older \
                     database was put in its place",
                    self.seq, self.time
                ),
            ),
            _ => (
                "cut",
                format!(
                    "record {} was signed at {} and is not there: the end of the audit was cut off, or an older database \
                     was put in its place",
                    self.seq, self.time
                ),
            ),
        };
        Some(CheckpointFault { seq: Some(self.seq), line: None, fault: fault.to_owned(), detail })
    }
}

/// What is wrong with a checkpoint, or with the audit as seen from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointFault {
    /// The record.
    pub seq: Option<i64>,
    /// The line of the file.
    pub line: Option<usize>,
    /// `cut`, `differs`, `other`, `signature` or `unreadable`.
    pub fault: String,
    /// In words.
    pub detail: String,
}

/// What the checkpoints say.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CheckpointReport {
    /// The file.
    pub file: String,
    /// Checkpoints in it that are well signed.
    pub signed: usize,
    /// The newest of them.
    pub newest: Option<Checkpoint>,
    /// What is wrong.
    pub faults: Vec<CheckpointFault>,
}

/// Makes checkpoints.
pub struct Checkpoints {
    path: PathBuf,
    deployment: String,
    key: SigningKey,
    clock: Arc<dyn Clock>,
    /// Record and time of the last one that was made here.
    last: Mutex<Option<(i64, Timestamp)>>,
}

/// Why no checkpoint was made.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file cannot be written.
    #[error("checkpoint file {}: {fault}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        fault: io::Error,
    },
    /// The cryptographic library did not sign.
    #[error("the cryptographic library did not sign a checkpoint")]
    Sign,
    /// The server's key cannot be used.
    #[error(transparent)]
    Key(#[from] ServerKeyError),
}

impl Checkpoints {
    /// Checkpoints of the audit in `store`, in the file `path`, signed with the key that signs challenges.
    ///
    /// # Errors
    /// [`CheckpointError`] when the database does not give that key.
    pub async fn open(path: PathBuf, store: &dyn Store, clock: Arc<dyn Clock>) -> Result<Self, CheckpointError> {
        let deployment = store.deployment().await?.id;
        let key = ServerKey::Signing.open(store).await?;
        Ok(Self { path, deployment, key, clock, last: Mutex::new(None) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes one of the last record, unless there is one of it already.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub async fn make(&self, store: &dyn Store) -> Result<(), CheckpointError> {
        let mut last = self.last.lock().await;
        let head = store.audit_head().await?;
        if head.0 == 0 || last.is_some_and(|(made, _)| made == head.0) {
            return Ok(());
        }
        let now = self.clock.now();
        self.append(&self.sign(head, now)?).await?;
        *last = Some((head.0, now));
        Ok(())
    }

    /// One of the record `head`.
    ///
    /// # Errors
    /// [`CheckpointError::Sign`].
    pub fn sign(&self, (seq, hash): (i64, AuditHash), now: Timestamp) -> Result<Checkpoint, CheckpointError> {
        let mut checkpoint = Checkpoint {
            seq,
            hash: hash.to_string(),
            time: now.to_rfc3339(),
            key: self.key.public().thumbprint().to_string(),
            signature: String::new(),
        };
        let signature = self.key.sign(&checkpoint.octets(&self.deployment), &SystemRandom::new());
        checkpoint.signature = signature.map_err(|_| CheckpointError::Sign)?.to_string();
        Ok(checkpoint)
    }

    /// Writes one to the end of the file.
    ///
    /// # Errors
    /// [`CheckpointError::File`].
    pub async fn append(&self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        let mut line = super::to_vec(checkpoint);
        line.push(b'\n');
        let written = async {
            let mut options = tokio::fs::OpenOptions::new();
            let mut file = options.create(true).append(true).mode(0o600).open(&self.path).await?;
            file.write_all(&line).await?;
            file.flush().await?;
            file.sync_data().await
        };
        written.await.map_err(|fault| CheckpointError::File { path: self.path.clone(), fault })
    }

    /// The seam that `record` is, if it is one.
    pub(super) fn seam(&self, record: &AuditRecord) -> Option<Seam> {
        Seam::of(record, self.key.public(), &self.deployment)
    }

    /// Whether the file holds checkpoints, and none of them is of this database.
    pub async fn all_foreign(&self) -> bool {
        let Ok(text) = tokio::fs::read_to_string(&self.path).await else { return false };
        let mut lines = text.lines().peekable();
        lines.peek().is_some() && lines.all(|line| self.read(line).is_err())
    }

    /// Makes checkpoints for as long as it is polled: every 1000 records or five minutes, whichever comes first.
    pub async fn keep(&self, store: &dyn Store) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut seen = store.writer_figures().commits;
        let mut waiting = true;
        let (begin, mut unanswered, mut unmade) = (Instant::now(), Seldom::default(), Seldom::default());
        loop {
            look.tick().await;
            let commits = store.writer_figures().commits;
            waiting |= std::mem::replace(&mut seen, commits) != commits;
            if !waiting {
                continue;
            }
            let last = *self.last.lock().await;
            let due = match (last, store.audit_head().await) {
                (_, Err(fault)) => {
                    if let Some(times) = unanswered.happens(begin.elapsed()) {
                        tracing::error!(error = %fault, times, "audit.checkpoint: the database did not answer");
                    }
                    false
                }
                (None, Ok(_)) => true,
                (Some((made, at)), Ok((seq, _))) => {
                    waiting = seq != made;
                    seq.saturating_sub(made) >= RECORDS || (waiting && self.clock.now().since(at) >= EVERY)
                }
            };
            if due {
                match self.make(store).await {
                    Ok(()) => waiting = false,
                    Err(fault) => {
                        if let Some(times) = unmade.happens(begin.elapsed()) {
                            tracing::error!(error = %fault, times, "audit.checkpoint was not made");
                        }
                    }
                }
            }
        }
    }

    /// The newest well-signed checkpoint in the file.
    pub async fn newest(&self) -> Option<Checkpoint> {
        let text = tokio::fs::read_to_string(&self.path).await.ok()?;
        text.lines().rev().find_map(|line| self.read(line).ok())
    }

    /// The newest checkpoint of another database, which was here before this one was made at `made`: it was lost, and
    /// what is beside it was not.
    pub(super) async fn of_another(&self, made: Timestamp) -> Option<CheckpointFault> {
        let text = tokio::fs::read_to_string(&self.path).await.ok()?;
        let own = self.key.public().thumbprint().to_string();
        // Ours come behind them.
        let others = text.lines().filter_map(|line| serde_json::from_str::<Checkpoint>(line).ok());
        let newest = others.take_while(|checkpoint| checkpoint.key != own).last()?;
        let earlier = Timestamp::from_rfc3339(&newest.time).is_some_and(|time| time < made);
        earlier.then(|| CheckpointFault {
            seq: Some(newest.seq),
            line: None,
            fault: "other".to_owned(),
            detail: format!(
                "this database was made at {made}, and {} has a checkpoint of another one from {}, of record {}: the \
                 database that was here was lost or replaced. Put back your copy of it; if it is to be gone, move the file \
                 of checkpoints away",
                self.path.display(),
                newest.time,
                newest.seq
            ),
        })
    }

    fn read(&self, line: &str) -> Result<Checkpoint, CheckpointFault> {
        let fault = |seq, fault: &str, detail: &str| CheckpointFault {
            seq,
            line: None,
            fault: fault.to_owned(),
            detail: detail.to_owned(),
        };
        let checkpoint: Checkpoint =
            serde_json::from_str(line).map_err(|_| fault(None, "unreadable", "the line is no checkpoint"))?;
        let unsigned = || {
            fault(
                Some(checkpoint.seq),
                "signature",
                "the signature is not that of this server over this line: the file was changed, or is another server's",
            )
        };
        let signature = Signature::parse(&checkpoint.signature).map_err(|_| unsigned())?;
        if self.key.public().verify(&checkpoint.octets(&self.deployment), &signature).is_err() {
            return Err(unsigned());
        }
        Ok(checkpoint)
    }
}

/// Checkpoints held against a chain that goes by.
pub(super) struct Watch {
    report: CheckpointReport,
    expected: BTreeMap<i64, Vec<Checkpoint>>,
    seams: Vec<SeenSeam>,
}

/// A seam, and what it explains.
struct SeenSeam {
    seam: Seam,
    /// Checkpoints of records that went.
    set_aside: usize,
    newest: Option<i64>,
}

/// A restore, as a check of the audit tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreSeen {
    /// The record that says it. Those before it were kept.
    pub seq: i64,
    /// When.
    pub time: String,
    /// Whether this server signed it. If not, it explains nothing.
    pub signed: bool,
    /// Signed checkpoints of records that went with the database before.
    pub set_aside: usize,
    /// The highest number among them.
    pub newest_set_aside: Option<i64>,
}

impl Watch {
    /// Reads a file of checkpoints. One that is not there holds none.
    pub(super) async fn open(checkpoints: &Checkpoints, path: &Path) -> Self {
        let mut report = CheckpointReport { file: path.display().to_string(), ..CheckpointReport::default() };
        let mut expected: BTreeMap<i64, Vec<Checkpoint>> = BTreeMap::new();
        let text = match tokio::fs::read(path).await {
            Ok(octets) => String::from_utf8_lossy(&octets).into_owned(),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound && path == checkpoints.path() => String::new(),
            Err(fault) => {
                report.faults.push(CheckpointFault {
                    seq: None,
                    line: None,
                    fault: "unreadable".to_owned(),
                    detail: format!("the file {} cannot be read: {fault}", path.display()),
                });
                String::new()
            }
        };
        for (line, number) in text.lines().zip(1..) {
            match checkpoints.read(line) {
                Ok(checkpoint) => {
                    report.signed = report.signed.saturating_add(1);
                    report.newest = Some(checkpoint.clone());
                    expected.entry(checkpoint.seq).or_default().push(checkpoint);
                }
                Err(fault) => report.faults.push(CheckpointFault { line: Some(number), ..fault }),
            }
        }
        Self { report, expected, seams: Vec::new() }
    }

    /// Records that are in the chain.
    pub(super) fn passes(&mut self, checkpoints: &Checkpoints, records: &[AuditRecord]) {
        for record in records {
            let seam = checkpoints.seam(record);
            self.seams.extend(seam.map(|seam| SeenSeam { seam, set_aside: 0, newest: None }));
            for checkpoint in self.expected.remove(&record.seq).into_iter().flatten() {
                if let Some(fault) = checkpoint.compare(Some((record.seq, record.hash)))
                    && !self.explains(&checkpoint)
                {
                    self.report.faults.push(fault);
                }
            }
        }
    }

    /// Whether what a checkpoint was made of went in a restore.
    fn explains(&mut self, checkpoint: &Checkpoint) -> bool {
        let Some(seam) = self.seams.iter_mut().find(|seen| checkpoint.went(&seen.seam)) else { return false };
        seam.set_aside = seam.set_aside.saturating_add(1);
        seam.newest = seam.newest.max(Some(checkpoint.seq));
        true
    }

    /// The chain has ended behind record `last`; where it did not break, what is still expected was cut off.
    pub(super) fn end(mut self, last: i64, whole: bool) -> (CheckpointReport, Vec<RestoreSeen>) {
        let left = std::mem::take(&mut self.expected).into_values().flatten();
        let left: Vec<_> = left.filter(|checkpoint| whole && checkpoint.seq > last).collect();
        let cut = left.into_iter().filter(|checkpoint| !self.explains(checkpoint));
        // The newest tells all of it.
        if let Some(newest) = cut.max_by_key(|checkpoint| checkpoint.seq) {
            self.report.faults.extend(newest.compare(None));
        }
        let restores = self.seams.into_iter().map(|seen| RestoreSeen {
            seq: seen.seam.seq,
            time: seen.seam.at.to_rfc3339(),
            signed: seen.seam.until.is_some(),
            set_aside: seen.set_aside,
            newest_set_aside: seen.newest,
        });
        (self.report, restores.collect())
    }
}
