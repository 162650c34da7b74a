//! The one connection that writes, and its queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use countersign_domain::{AuditEvent, AuditHash, AuditRecord, Clock, Commit, Entropy, Seldom, Timestamp};
use countersign_storage::{CommitError, StoreError, Vault, WriterFigures};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::error::unavailable;
use crate::hot::{Guards, Pending, append_audit, is_hot};
use crate::place::Held;
use crate::rare::{self, Sealer};

/// Commits that share a transaction at most.
pub(crate) const MAX_BATCH: usize = 2048;
/// Commits that wait at most; whoever comes then waits for a place.
pub(crate) const QUEUE: usize = 8192;
/// Closed challenges and old activations are kept for so long.
const KEPT: core::time::Duration = core::time::Duration::from_secs(30 * 86_400);
/// Between two looks for rows that are older.
const PURGE_EVERY: core::time::Duration = core::time::Duration::from_secs(3600);
/// Rows that one look removes at most from each table.
const PURGE_STEP: i64 = 500;

/// Something to write.
pub(crate) enum Work {
    Commit(Commit),
    /// Stores a secret of the server unless its name has one.
    Secret {
        name: &'static str,
        sealed: Vec<u8>,
    },
    /// Bounds the file.
    LimitPages(u32),
}

/// What to write and whom to tell: a result for each, in order.
pub(crate) struct Job {
    pub(crate) works: Vec<Work>,
    pub(crate) reply: oneshot::Sender<Vec<Result<(), CommitError>>>,
}

#[derive(Default)]
pub(crate) struct Figures {
    batches: AtomicU64,
    commits: AtomicU64,
    largest: AtomicU64,
    failing: AtomicU64,
}

impl Figures {
    pub(crate) fn read(&self) -> WriterFigures {
        WriterFigures {
            batches: self.batches.load(Ordering::Relaxed),
            commits: self.commits.load(Ordering::Relaxed),
            largest: self.largest.load(Ordering::Relaxed),
            failing: self.failing.load(Ordering::Relaxed),
        }
    }

    fn count(&self, commits: usize) {
        let commits = u64::try_from(commits).unwrap_or(u64::MAX);
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.commits.fetch_add(commits, Ordering::Relaxed);
        self.largest.fetch_max(commits, Ordering::Relaxed);
    }
}

type Head = (i64, AuditHash);

/// Owns the connection. Runs until it is told to close or nobody can send any more.
pub(crate) struct Writer {
    pub(crate) connect: SqliteConnectOptions,
    /// `None` after a fault that the connection may not have survived.
    pub(crate) conn: Option<SqliteConnection>,
    pub(crate) head: Head,
    pub(crate) guards: Guards,
    pub(crate) vault: Arc<Vault>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) figures: Arc<Figures>,
    pub(crate) pages: Option<u32>,
    pub(crate) next_purge: Timestamp,
    pub(crate) started: Instant,
    /// With a full disk it is the same for each batch.
    pub(crate) complaint: Seldom,
    /// The files; let go after the connection.
    pub(crate) held: Held,
}

impl Writer {
    /// Takes jobs until the queue is closed and empty. `_done` is dropped at the very end.
    pub(crate) async fn run(mut self, mut jobs: mpsc::Receiver<Job>, closing: Arc<Notify>, _done: watch::Sender<()>) {
        let mut batch = Vec::with_capacity(MAX_BATCH);
        self.purge().await;
        loop {
            let received = tokio::select! {
                received = jobs.recv_many(&mut batch, MAX_BATCH) => received,
                () = closing.notified() => {
                    jobs.close();
                    continue;
                }
            };
            if received == 0 {
                break;
            }
            self.batch(&mut batch).await;
            self.purge().await;
        }
        if let Some(conn) = self.conn.take()
            && let Err(fault) = conn.close().await
        {
            tracing::warn!(error = %fault, "the database was not closed in order");
        }
        drop(self.held);
    }

    async fn batch(&mut self, jobs: &mut Vec<Job>) {
        let mut works = Vec::with_capacity(jobs.len());
        let mut replies = Vec::with_capacity(jobs.len());
        for Job { works: of_one, reply } in jobs.drain(..) {
            replies.push((reply, of_one.len()));
            works.extend(of_one);
        }
        let outcome = self.transaction(&mut works).await;
        self.figures.count(works.len());
        match outcome {
            Ok(verdicts) => {
                let failed = self.figures.failing.swap(0, Ordering::Relaxed);
                if failed > 0 {
                    tracing::info!(failed, "the database takes writes again");
                }
                let mut verdicts = verdicts.into_iter().map(|verdict| verdict.map_err(CommitError::Conflict));
                for (reply, number) in replies {
                    // Whoever asked may have gone; the commits stand all the same.
                    drop(reply.send(verdicts.by_ref().take(number).collect()));
                }
            }
            Err(fault) => {
                self.figures.failing.fetch_add(1, Ordering::Relaxed);
                if let Some(times) = self.complaint.happens(self.started.elapsed()) {
                    tracing::error!(error = %fault, commits = works.len(), times, "nothing of a batch was written");
                }
                for (reply, number) in replies {
                    drop(reply.send((0..number).map(|_| Err(fault.clone().into())).collect()));
                }
            }
        }
    }

    /// Writes a batch: durable when this returns verdicts, undone when it returns an error.
    async fn transaction(&mut self, works: &mut [Work]) -> Result<Vec<Result<(), usize>>, StoreError> {
        self.held.are_in_place()?;
        let mut conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.reconnect().await?,
        };
        let sealer = Sealer { vault: &self.vault, entropy: &*self.entropy };
        let outcome = match execute(&mut conn, "BEGIN IMMEDIATE").await {
            Ok(()) => match write_all(&mut conn, works, self.head, &mut self.guards, sealer).await {
                Ok(written) => execute(&mut conn, "COMMIT").await.map(|()| written),
                Err(fault) => Err(fault),
            },
            Err(fault) => Err(fault),
        };
        match outcome {
            Ok((verdicts, head)) => {
                self.head = head;
                for work in works {
                    if let Work::LimitPages(pages) = work {
                        self.pages = Some(*pages);
                    }
                }
                self.conn = Some(conn);
                Ok(verdicts)
            }
            Err(fault) => {
                self.guards = Guards::default();
                // Where this fails too the transaction is over already, or the connection is not to be trusted: a new
                // one is made for the next batch.
                if execute(&mut conn, "ROLLBACK").await.is_ok() {
                    self.conn = Some(conn);
                }
                Err(fault)
            }
        }
    }

    async fn reconnect(&self) -> Result<SqliteConnection, StoreError> {
        let mut conn = self.connect.connect().await.map_err(|fault| unavailable(&fault))?;
        if let Some(pages) = self.pages {
            limit_pages(&mut conn, pages).await?;
        }
        Ok(conn)
    }

    /// Now and then removes some rows that are too old for anybody to ask for.
    async fn purge(&mut self) {
        let now = self.clock.now();
        if now < self.next_purge {
            return;
        }
        let Some(conn) = self.conn.as_mut() else { return };
        let before = now.minus(KEPT).as_micros();
        self.guards = Guards::default();
        match purge_step(conn, before).await {
            // There may be more: go on after the next batch.
            Ok(removed) if removed >= PURGE_STEP.unsigned_abs() => {}
            Ok(_) => self.next_purge = now.plus(PURGE_EVERY),
            Err(fault) => {
                tracing::warn!(error = %fault, "old rows were not removed");
                self.next_purge = now.plus(PURGE_EVERY);
            }
        }
    }
}

async fn execute(conn: &mut SqliteConnection, sql: &'static str) -> Result<(), StoreError> {
    sqlx::query(sql).execute(conn).await.map(drop).map_err(|fault| unavailable(&fault))
}

async fn purge_step(conn: &mut SqliteConnection, before: i64) -> Result<u64, StoreError> {
    let mut most = 0;
    for sql in [
        "DELETE FROM challenges WHERE id IN \
         (SELECT id FROM challenges WHERE closed_at < ?1 ORDER BY closed_at LIMIT ?2)",
        "DELETE FROM sign_in_windows WHERE (device, id) IN \
         (SELECT device, id FROM sign_in_windows WHERE closed_at < ?1 ORDER BY closed_at LIMIT ?2)",
        "DELETE FROM activations WHERE id IN \
         (SELECT id FROM activations WHERE issued_at < ?1 ORDER BY issued_at LIMIT ?2)",
    ] {
        let removed = sqlx::query(sql).bind(before).bind(PURGE_STEP).execute(&mut *conn).await;
        most = most.max(removed.map_err(|fault| unavailable(&fault))?.rows_affected());
    }
    Ok(most)
}

async fn limit_pages(conn: &mut SqliteConnection, pages: u32) -> Result<(), StoreError> {
    // A PRAGMA takes no parameters; a number is safe to write into it.
    let sql = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
    sqlx::query(sql).execute(conn).await.map(drop).map_err(|fault| unavailable(&fault))
}

/// Makes all writes of a batch inside its transaction; a verdict for each, and the head of the audit chain after it.
async fn write_all(
    conn: &mut SqliteConnection,
    works: &mut [Work],
    head: Head,
    guards: &mut Guards,
    sealer: Sealer<'_>,
) -> Result<(Vec<Result<(), usize>>, Head), StoreError> {
    let mut verdicts = Vec::with_capacity(works.len());
    let mut chain = Chain { head, records: Vec::with_capacity(works.len()) };
    let mut rest = works;
    guards.trim();
    while !rest.is_empty() {
        let hot = rest.iter().take_while(|work| matches!(work, Work::Commit(commit) if is_hot(&commit.writes))).count();
        let (run, behind) = rest.split_at_mut(hot);
        hot_run(conn, run, guards, &mut chain, &mut verdicts).await?;
        let Some((work, behind)) = behind.split_first_mut() else { break };
        verdicts.push(match work {
            Work::Commit(commit) => {
                let verdict = rare_commit(conn, commit, sealer).await?;
                if verdict.is_ok() {
                    *guards = Guards::default();
                    chain.append(&mut commit.audit);
                }
                verdict
            }
            Work::Secret { name, sealed } => {
                sqlx::query("INSERT INTO server_secrets (name, value_sealed) VALUES (?1, ?2) ON CONFLICT DO NOTHING")
                    .bind(*name)
                    .bind(sealed.as_slice())
                    .execute(&mut *conn)
                    .await
                    .map_err(|fault| unavailable(&fault))?;
                Ok(())
            }
            Work::LimitPages(pages) => {
                limit_pages(conn, *pages).await?;
                Ok(())
            }
        });
        rest = behind;
    }
    append_audit(conn, chain.records).await?;
    Ok((verdicts, chain.head))
}

/// The audit records of a batch, each with its place.
struct Chain {
    head: Head,
    records: Vec<AuditRecord>,
}

impl Chain {
    fn append(&mut self, events: &mut Vec<AuditEvent>) {
        for event in events.drain(..) {
            let record = AuditRecord::chain(event, self.head.0.saturating_add(1), self.head.1);
            self.head = (record.seq, record.hash);
            self.records.push(record);
        }
    }
}

/// Commits that have nothing but hot writes.
async fn hot_run(
    conn: &mut SqliteConnection,
    run: &mut [Work],
    guards: &mut Guards,
    chain: &mut Chain,
    verdicts: &mut Vec<Result<(), usize>>,
) -> Result<(), StoreError> {
    let writes = run.iter().flat_map(|work| match work {
        Work::Commit(commit) => commit.writes.as_slice(),
        _ => &[],
    });
    guards.load(conn, writes).await?;
    let mut pending = Pending::new();
    for work in run {
        let Work::Commit(commit) = work else { continue };
        let verdict = guards.judge(&commit.writes);
        if verdict.is_ok() {
            pending.add(conn, &commit.writes).await?;
            chain.append(&mut commit.audit);
        }
        verdicts.push(verdict);
    }
    pending.flush(conn).await
}

/// A commit with other writes: one statement each, undone to where it began when a condition does not hold.
async fn rare_commit(
    conn: &mut SqliteConnection,
    commit: &Commit,
    sealer: Sealer<'_>,
) -> Result<Result<(), usize>, StoreError> {
    execute(conn, "SAVEPOINT one").await?;
    for (place, write) in commit.writes.iter().enumerate() {
        if !rare::write(conn, write, sealer).await? {
            execute(conn, "ROLLBACK TO one").await?;
            execute(conn, "RELEASE one").await?;
            return Ok(Err(place));
        }
    }
    execute(conn, "RELEASE one").await?;
    Ok(Ok(()))
}
