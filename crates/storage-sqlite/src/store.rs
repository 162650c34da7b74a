use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use countersign_domain::{
    Activation, AuditHash, AuditRecord, Challenge, ChallengeId, Clock, Commit, Device, DeviceId, Directory,
    DirectoryId, Entropy, EntryId, LoginName, RadiusClient, Resource, ResourceId, Secret, Seldom, SignInWindow,
    SyncState, Timestamp, Upstream, User, UserId, UserSnapshot, WindowId,
};
use countersign_storage::{CommitError, Deployment, Place, Store, StoreError, Vault, Wanted, WriterFigures};
use sqlx::query::Query;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Sqlite, SqliteConnection, SqlitePool};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::backup::LABEL;
use crate::error::{inconsistent, unavailable};
use crate::hot::Guards;
use crate::lookup;
use crate::place::{Held, Location};
use crate::rare::Sealer;
use crate::rows::{
    self, Fields, activation_columns, audit_columns, challenge_columns, device_columns, nulls, snapshots_of_p,
    user_columns,
};
use crate::schema;
use crate::windows::{self, window_columns};
use crate::writer::{Figures, Job, MAX_BATCH, QUEUE, Work, Writer};

/// How long a connection waits for a lock that another program holds.
pub(crate) const BUSY: Duration = Duration::from_secs(5);

/// What a store takes from outside.
#[derive(Clone)]
pub struct Options {
    /// Dates the deployment and finds rows that are too old; decides nothing else.
    pub clock: Arc<dyn Clock>,
    /// For the deployment's identifier and the nonces of sealed values.
    pub entropy: Arc<dyn Entropy>,
    /// Connections that read at the same time; at least one.
    pub readers: u32,
}

impl Options {
    /// With four readers.
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { clock, entropy, readers: 4 }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("readers", &self.readers).finish_non_exhaustive()
    }
}

/// An open database.
pub struct SqliteStore {
    jobs: mpsc::Sender<Job>,
    closing: Arc<Notify>,
    /// Ends when the writer has.
    done: watch::Receiver<()>,
    readers: SqlitePool,
    vault: Arc<Vault>,
    entropy: Arc<dyn Entropy>,
    figures: Arc<Figures>,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("figures", &self.figures.read()).finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens a database, makes it where there is none, and brings an older one up to date. Runs its writer as a task.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it cannot be used or another process does; [`StoreError::Newer`] when it was
    /// written by a newer program; [`StoreError::Sealed`] when `vault` is not the one that it was made with.
    pub async fn open(location: Location, vault: Arc<Vault>, options: Options) -> Result<Self, StoreError> {
        let mut held = Held::take(location, &*options.entropy)?;
        let connect = SqliteConnectOptions::new().filename(&held.path).foreign_keys(true).busy_timeout(BUSY);
        let connect = connect.disable_statement_logging().row_buffer_size(MAX_BATCH);
        // Before anything is changed in it.
        let mut conn = connect.connect().await.map_err(|fault| unavailable(&fault))?;
        if schema::has_table(&mut conn, LABEL).await? {
            let what = "this is a backup, and is put in its place by `countersign restore FILE`";
            return Err(inconsistent(LABEL, what));
        }
        conn.close().await.map_err(|fault| unavailable(&fault))?;
        let write = connect
            .clone()
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("cache_size", "-16000")
            .pragma("journal_size_limit", "67108864");
        let mut conn = write.connect().await.map_err(|fault| unavailable(&fault))?;
        schema::migrate(&mut conn).await?;
        schema::check_vault(&mut conn, &vault, options.clock.now(), &*options.entropy).await?;
        let head = audit_head(&mut conn).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(options.readers.max(1))
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(BUSY)
            .connect_with(connect.read_only(true))
            .await
            .map_err(|fault| unavailable(&fault))?;
        held.note_files();

        let (jobs, queue) = mpsc::channel(QUEUE);
        let (ended, done) = watch::channel(());
        let (closing, figures) = (Arc::new(Notify::new()), Arc::new(Figures::default()));
        let writer = Writer {
            connect: write,
            conn: Some(conn),
            head,
            guards: Guards::default(),
            vault: Arc::clone(&vault),
            clock: options.clock,
            entropy: Arc::clone(&options.entropy),
            figures: Arc::clone(&figures),
            pages: None,
            next_purge: Timestamp::from_micros(i64::MIN),
            started: Instant::now(),
            complaint: Seldom::default(),
            held,
        };
        tokio::spawn(writer.run(queue, Arc::clone(&closing), ended));
        Ok(Self { jobs, closing, done, readers, vault, entropy: options.entropy, figures })
    }

    /// Opens a database to read it as it is. Nothing in it is changed, also not to bring it up to date: of one of another
    /// version only what both know can be read. Nothing can be written.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when there is none or it cannot be read; [`StoreError::Sealed`] when `vault` is not the
    /// one that it was made with.
    pub async fn open_to_read(path: &Path, vault: Arc<Vault>, entropy: Arc<dyn Entropy>) -> Result<Self, StoreError> {
        let connect = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(connect.disable_statement_logging());
        let readers = pool.await.map_err(|fault| unavailable(&fault))?;
        let mut conn = readers.acquire().await.map_err(|fault| unavailable(&fault))?;
        if !schema::opens_under(&mut conn, &vault).await? {
            return Err(inconsistent("deployment", "it is empty"));
        }
        drop(conn);
        // Nobody takes jobs.
        let (jobs, (_, done)) = (mpsc::channel(1).0, watch::channel(()));
        let (closing, figures) = (Arc::default(), Arc::default());
        Ok(Self { jobs, closing, done, readers, vault, entropy, figures })
    }

    /// Lets the file grow to so many pages (of 4096 octets) and no further. A commit that does not fit is refused as it
    /// is on a full disk.
    ///
    /// # Errors
    /// [`CommitError::Store`] when the database is closed or does not answer.
    pub async fn limit_pages(&self, pages: u32) -> Result<(), CommitError> {
        self.submit(Work::LimitPages(pages)).await
    }

    async fn submit(&self, work: Work) -> Result<(), CommitError> {
        self.submit_all(vec![work]).await?.pop().unwrap_or_else(|| Err(closed().into()))
    }

    /// A result for each, in order.
    async fn submit_all(&self, works: Vec<Work>) -> Result<Vec<Result<(), CommitError>>, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(Job { works, reply }).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())
    }

    async fn all(&self, query: Query<'_, Sqlite, SqliteArguments>) -> Result<Vec<SqliteRow>, StoreError> {
        query.fetch_all(&self.readers).await.map_err(|fault| unavailable(&fault))
    }

    /// What two statements find in one state of the database.
    async fn both(
        &self,
        first: Query<'_, Sqlite, SqliteArguments>,
        second: Query<'_, Sqlite, SqliteArguments>,
    ) -> Result<(Vec<SqliteRow>, Vec<SqliteRow>), StoreError> {
        let mut reading = self.readers.begin().await.map_err(|fault| unavailable(&fault))?;
        let first = first.fetch_all(&mut *reading).await.map_err(|fault| unavailable(&fault))?;
        let second = second.fetch_all(&mut *reading).await.map_err(|fault| unavailable(&fault))?;
        Ok((first, second))
    }

    async fn one(&self, query: Query<'_, Sqlite, SqliteArguments>) -> Result<Option<SqliteRow>, StoreError> {
        query.fetch_optional(&self.readers).await.map_err(|fault| unavailable(&fault))
    }

    async fn one_device(&self, query: Query<'_, Sqlite, SqliteArguments>) -> Result<Option<Device>, StoreError> {
        let row = self.one(query).await?;
        row.map(|row| rows::device(&mut Fields::new(&row, "devices"), &self.vault)).transpose()
    }

    async fn challenges(&self, query: Query<'_, Sqlite, SqliteArguments>) -> Result<Vec<Challenge>, StoreError> {
        let rows = self.all(query).await?;
        rows.iter().map(|row| rows::challenge(&mut Fields::new(row, "challenges"))).collect()
    }

    async fn windows(&self, query: Query<'_, Sqlite, SqliteArguments>) -> Result<Vec<SignInWindow>, StoreError> {
        let rows = self.all(query).await?;
        rows.iter().map(|row| windows::read(&mut Fields::new(row, windows::TABLE))).collect()
    }

    async fn activation(&self, query: Query<'_, Sqlite, SqliteArguments>) -> Result<Option<Activation>, StoreError> {
        let row = self.one(query).await?;
        row.map(|row| rows::activation(&mut Fields::new(&row, "activations"))).transpose()
    }

    async fn audit_records(&self, query: Query<'_, Sqlite, SqliteArguments>) -> Result<Vec<AuditRecord>, StoreError> {
        let rows = self.all(query).await?;
        rows.iter().map(|row| rows::audit_record(&mut Fields::new(row, "audit"))).collect()
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".to_owned())
}

/// Users behind one, with all that logins have to know of them.
const SNAPSHOTS: &str =
    concat!("WITH p AS MATERIALIZED (SELECT id FROM users WHERE id > ?1 ORDER BY id LIMIT ?2) ", snapshots_of_p!());
const SNAPSHOT: &str = concat!("WITH p AS MATERIALIZED (SELECT ?1 AS id) ", snapshots_of_p!());
const AUDIT_HEAD: &str = "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1";

async fn audit_head(conn: &mut SqliteConnection) -> Result<(i64, AuditHash), StoreError> {
    let row = sqlx::query(AUDIT_HEAD).fetch_optional(conn).await.map_err(|fault| unavailable(&fault))?;
    row.as_ref().map_or(Ok((0, AuditHash::START)), read_head)
}

fn read_head(row: &SqliteRow) -> Result<(i64, AuditHash), StoreError> {
    let mut fields = Fields::new(row, "audit");
    Ok((fields.next()?, rows::audit_hash(&mut fields)?))
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        self.submit(Work::Commit(commit)).await
    }

    async fn commit_all(&self, commits: Vec<Commit>) -> Vec<Result<(), CommitError>> {
        let number = commits.len();
        match self.submit_all(commits.into_iter().map(Work::Commit).collect()).await {
            Ok(outcomes) => outcomes,
            Err(fault) => (0..number).map(|_| Err(fault.clone().into())).collect(),
        }
    }

    async fn look_up(&self, wanted: &[Wanted]) -> Result<Vec<Option<UserSnapshot>>, StoreError> {
        let mut conn = self.readers.acquire().await.map_err(|fault| unavailable(&fault))?;
        lookup::look_up(&mut conn, wanted, &self.vault).await
    }

    async fn deployment(&self) -> Result<Deployment, StoreError> {
        let row = self.one(sqlx::query("SELECT id, created_at FROM deployment")).await?;
        let row = row.ok_or_else(|| inconsistent("deployment", "it is empty"))?;
        let mut fields = Fields::new(&row, "deployment");
        Ok(Deployment { id: fields.next()?, created_at: fields.time()? })
    }

    async fn server_secret(&self, name: &'static str, fresh: Secret) -> Result<Secret, StoreError> {
        const READ: &str = "SELECT value_sealed FROM server_secrets WHERE name = ?1";
        let place = Place { table: "server_secrets", row: name, column: "value_sealed" };
        let mut row = self.one(sqlx::query(READ).bind(name)).await?;
        if row.is_none() {
            let sealer = Sealer { vault: &self.vault, entropy: &*self.entropy };
            let sealed = sealer.seal(place, fresh.expose())?;
            match self.submit(Work::Secret { name, sealed }).await {
                Ok(()) => {}
                Err(CommitError::Store(fault)) => return Err(fault),
                Err(CommitError::Conflict(_)) => return Err(inconsistent("server_secrets", "a write was refused")),
            }
            row = self.one(sqlx::query(READ).bind(name)).await?;
        }
        let row = row.ok_or_else(|| inconsistent("server_secrets", "a secret was not stored"))?;
        self.vault.open(place, Fields::new(&row, "server_secrets").next()?)
    }

    async fn user_by_name(&self, name: &LoginName) -> Result<Option<User>, StoreError> {
        const READ: &str =
            concat!("SELECT ", user_columns!(), " FROM users u WHERE u.name_folded = ?1 AND u.directory IS NULL");
        let row = self.one(sqlx::query(READ).bind(name.folded())).await?;
        row.map(|row| rows::user(&mut Fields::new(&row, "users"))).transpose()
    }

    async fn users_named(&self, name: &LoginName) -> Result<Vec<User>, StoreError> {
        const READ: &str =
            concat!("SELECT ", user_columns!(), " FROM users u WHERE u.name_folded = ?1 ORDER BY u.directory, u.entry");
        let rows = self.all(sqlx::query(READ).bind(name.folded())).await?;
        rows.iter().map(|row| rows::user(&mut Fields::new(row, "users"))).collect()
    }

    async fn user_by_entry(&self, directory: DirectoryId, entry: &EntryId) -> Result<Option<User>, StoreError> {
        const READ: &str = concat!("SELECT ", user_columns!(), " FROM users u WHERE u.directory = ?1 AND u.entry = ?2");
        let query = sqlx::query(READ).bind(directory.as_uuid().as_bytes().as_slice()).bind(entry.as_str());
        let row = self.one(query).await?;
        row.map(|row| rows::user(&mut Fields::new(&row, "users"))).transpose()
    }

    async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        const READ: &str = concat!("SELECT ", user_columns!(), " FROM users u WHERE u.id = ?1");
        let row = self.one(sqlx::query(READ).bind(id.as_uuid().as_bytes().as_slice())).await?;
        row.map(|row| rows::user(&mut Fields::new(&row, "users"))).transpose()
    }

    async fn users(&self) -> Result<Vec<User>, StoreError> {
        const READ: &str =
            concat!("SELECT ", user_columns!(), " FROM users u ORDER BY u.name_folded, u.directory, u.entry");
        let rows = self.all(sqlx::query(READ)).await?;
        rows.iter().map(|row| rows::user(&mut Fields::new(row, "users"))).collect()
    }

    async fn snapshot(&self, id: UserId) -> Result<Option<UserSnapshot>, StoreError> {
        let found = self.all(sqlx::query(SNAPSHOT).bind(id.as_uuid().as_bytes().as_slice())).await?;
        Ok(lookup::snapshots(&found, &self.vault)?.remove(&id))
    }

    async fn snapshots(&self, after: Option<UserId>, limit: u32) -> Result<Vec<UserSnapshot>, StoreError> {
        // No identifier comes before no octets at all.
        let after = after.map(|user| user.as_uuid().into_bytes().to_vec()).unwrap_or_default();
        let found = self.all(sqlx::query(SNAPSHOTS).bind(after).bind(i64::from(limit))).await?;
        Ok(lookup::snapshots(&found, &self.vault)?.into_values().collect())
    }

    async fn device(&self, id: DeviceId) -> Result<Option<Device>, StoreError> {
        const READ: &str = concat!(
            "SELECT ",
            device_columns!(),
            " FROM devices d JOIN totp_steps t ON t.device = d.id WHERE d.id = ?1"
        );
        self.one_device(sqlx::query(READ).bind(id.as_uuid().as_bytes().as_slice())).await
    }

    async fn device_by_thumbprint(&self, thumbprint: &str) -> Result<Option<Device>, StoreError> {
        const READ: &str = concat!(
            "SELECT ",
            device_columns!(),
            " FROM devices d JOIN totp_steps t ON t.device = d.id WHERE d.thumbprint = ?1"
        );
        self.one_device(sqlx::query(READ).bind(thumbprint)).await
    }

    async fn challenge(&self, id: ChallengeId) -> Result<Option<Challenge>, StoreError> {
        const READ: &str = concat!("SELECT ", challenge_columns!(), " FROM challenges WHERE id = ?1");
        Ok(self.challenges(sqlx::query(READ).bind(id.as_octets().as_slice())).await?.pop())
    }

    async fn pending_challenges(&self) -> Result<Vec<Challenge>, StoreError> {
        const READ: &str =
            concat!("SELECT ", challenge_columns!(), " FROM challenges WHERE state = 'pending' ORDER BY created_at");
        self.challenges(sqlx::query(READ)).await
    }

    async fn history(&self, user: UserId, limit: u32) -> Result<Vec<Challenge>, StoreError> {
        const READ: &str = concat!(
            "SELECT ",
            challenge_columns!(),
            " FROM challenges WHERE user = ?1 AND closed_at IS NOT NULL ORDER BY closed_at DESC LIMIT ?2"
        );
        self.challenges(sqlx::query(READ).bind(user.as_uuid().as_bytes().as_slice()).bind(i64::from(limit))).await
    }

    async fn window(&self, device: DeviceId, id: &WindowId) -> Result<Option<SignInWindow>, StoreError> {
        const READ: &str = concat!("SELECT ", window_columns!(), " FROM sign_in_windows WHERE device = ?1 AND id = ?2");
        let query = sqlx::query(READ).bind(device.as_uuid().as_bytes().as_slice()).bind(id.as_str());
        Ok(self.windows(query).await?.pop())
    }

    async fn open_windows(&self) -> Result<Vec<SignInWindow>, StoreError> {
        const READ: &str =
            concat!("SELECT ", window_columns!(), " FROM sign_in_windows WHERE state = 'open' ORDER BY opened_at");
        self.windows(sqlx::query(READ)).await
    }

    async fn past_windows(&self, user: UserId, limit: u32) -> Result<Vec<SignInWindow>, StoreError> {
        const READ: &str = concat!(
            "SELECT ",
            window_columns!(),
            " FROM sign_in_windows WHERE user = ?1 AND closed_at IS NOT NULL ORDER BY closed_at DESC LIMIT ?2"
        );
        self.windows(sqlx::query(READ).bind(user.as_uuid().as_bytes().as_slice()).bind(i64::from(limit))).await
    }

    async fn activation_by_handle(&self, handle: &str) -> Result<Option<Activation>, StoreError> {
        const READ: &str = concat!(
            "SELECT ",
            activation_columns!(),
            " FROM activations WHERE handle = ?1 ORDER BY state = 'burnt', issued_at DESC LIMIT 1"
        );
        self.activation(sqlx::query(READ).bind(handle)).await
    }

    async fn activation_by_token(&self, token_hash: &[u8; 32]) -> Result<Option<Activation>, StoreError> {
        const READ: &str = concat!("SELECT ", activation_columns!(), " FROM activations WHERE token_hash = ?1");
        self.activation(sqlx::query(READ).bind(token_hash.as_slice())).await
    }

    async fn resources(&self) -> Result<Vec<(Resource, Vec<RadiusClient>)>, StoreError> {
        const READ: &str = "SELECT r.id, r.name, r.kind, r.first_factor, r.retries, r.answer_by, r.created_at, \
             r.directory, r.allow_groups, r.upstream, r.policy, c.id IS NOT NULL, c.id, c.resource, c.networks, \
             c.secret_sealed, c.require_message_authenticator, c.name, c.tls_identity, c.previous_sealed, \
             c.previous_until \
             FROM resources r LEFT JOIN radius_clients c ON c.resource = r.id ORDER BY r.name_folded, c.id";
        const READ_RULES: &str = "SELECT client, attribute, value, resource FROM match_rules ORDER BY client, place";
        let mut resources: Vec<(Resource, Vec<RadiusClient>)> = Vec::new();
        let mut last: Option<ResourceId> = None;
        let (found, rules) = self.both(sqlx::query(READ), sqlx::query(READ_RULES)).await?;
        for row in &found {
            let mut fields = Fields::new(row, "resources");
            let resource = rows::resource(&mut fields)?;
            if last != Some(resource.id) {
                last = Some(resource.id);
                resources.push((resource, Vec::new()));
            }
            if fields.next::<i64>()? == 1
                && let Some((_, clients)) = resources.last_mut()
            {
                clients.push(rows::radius_client(&mut fields.of("radius_clients"), &self.vault)?);
            }
        }
        for row in &rules {
            let (id, rule) = rows::match_rule(&mut Fields::new(row, "match_rules"))?;
            let client = resources.iter_mut().flat_map(|(_, clients)| clients).find(|client| client.id == id);
            if let Some(client) = client {
                client.rules.push(rule);
            }
        }
        Ok(resources)
    }

    async fn upstreams(&self) -> Result<Vec<Upstream>, StoreError> {
        const READ: &str = "SELECT id, name, created_at FROM upstreams ORDER BY name_folded";
        const READ_SERVERS: &str = "SELECT upstream, place, address, secret_sealed, tls_identity, accounting \
             FROM upstream_servers ORDER BY upstream, place";
        let (found, servers) = self.both(sqlx::query(READ), sqlx::query(READ_SERVERS)).await?;
        let mut upstreams: Vec<Upstream> =
            found.iter().map(|row| rows::upstream(&mut Fields::new(row, "upstreams"))).collect::<Result<_, _>>()?;
        for row in &servers {
            let (id, server, keeps) = rows::upstream_server(&mut Fields::new(row, "upstream_servers"), &self.vault)?;
            if let Some(upstream) = upstreams.iter_mut().find(|upstream| upstream.id == id) {
                let servers = if keeps { &mut upstream.accounting } else { &mut upstream.servers };
                servers.push(server);
            }
        }
        Ok(upstreams)
    }

    async fn directories(&self) -> Result<Vec<Directory>, StoreError> {
        const READ: &str = "SELECT id, name, settings, password_sealed, lockout_threshold, lockout_window, created_at, \
             sync FROM directories ORDER BY name_folded";
        let rows = self.all(sqlx::query(READ)).await?;
        rows.iter().map(|row| rows::directory(&mut Fields::new(row, "directories"), &self.vault)).collect()
    }

    async fn users_from(
        &self,
        directory: DirectoryId,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<User>, StoreError> {
        // The sign keeps SQLite from sorting all of them for each page.
        const READ: &str = concat!(
            "SELECT ",
            user_columns!(),
            " FROM users u WHERE u.id > ?2 AND +u.directory = ?1 ORDER BY u.id LIMIT ?3"
        );
        let after = after.map(|user| user.as_uuid().into_bytes().to_vec()).unwrap_or_default();
        let query =
            sqlx::query(READ).bind(directory.as_uuid().as_bytes().as_slice()).bind(after).bind(i64::from(limit));
        self.all(query).await?.iter().map(|row| rows::user(&mut Fields::new(row, "users"))).collect()
    }

    async fn sync_states(&self) -> Result<Vec<SyncState>, StoreError> {
        const READ: &str = "SELECT directory, mark, whole_at, done_at, started_at, ended_at, outcome, whole, counts, text \
             FROM directory_syncs ORDER BY directory";
        let rows = self.all(sqlx::query(READ)).await?;
        rows.iter().map(|row| rows::sync_state(&mut Fields::new(row, "directory_syncs"))).collect()
    }

    async fn audit(&self, after: i64, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        const READ: &str = concat!("SELECT ", audit_columns!(), " FROM audit WHERE seq > ?1 ORDER BY seq LIMIT ?2");
        self.audit_records(sqlx::query(READ).bind(after).bind(i64::from(limit))).await
    }

    async fn audit_newest(&self, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        const READ: &str = concat!("SELECT ", audit_columns!(), " FROM audit ORDER BY seq DESC LIMIT ?1");
        self.audit_records(sqlx::query(READ).bind(i64::from(limit))).await
    }

    async fn audit_head(&self) -> Result<(i64, AuditHash), StoreError> {
        let row = self.one(sqlx::query(AUDIT_HEAD)).await?;
        row.as_ref().map_or(Ok((0, AuditHash::START)), read_head)
    }

    async fn milestones(&self, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        const READ: &str = concat!(
            "SELECT ",
            audit_columns!(),
            " FROM audit WHERE event IN ('backup.made', 'server.restored') ORDER BY seq DESC LIMIT ?1"
        );
        self.audit_records(sqlx::query(READ).bind(i64::from(limit))).await
    }

    async fn unasked(&self, user: UserId, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        const READ: &str = concat!(
            "SELECT ",
            audit_columns!(),
            " FROM audit WHERE user_id = ?1 AND factor IN ('bypass', 'remembered') ORDER BY seq DESC LIMIT ?2"
        );
        self.audit_records(sqlx::query(READ).bind(user.to_string()).bind(i64::from(limit))).await
    }

    fn writer_figures(&self) -> WriterFigures {
        self.figures.read()
    }

    async fn close(&self) {
        // The last connection to close writes the journal back, and only the writer's can.
        self.readers.close().await;
        self.closing.notify_one();
        // An error says that the writer has gone, which is what is waited for.
        while self.done.clone().changed().await.is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Connection as _};

    use super::*;

    #[tokio::test]
    async fn a_page_of_users_is_found_by_key() {
        let mut conn = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        schema::migrate(&mut conn).await.unwrap();
        let plan = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {SNAPSHOTS}"));
        let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(plan).fetch_all(&mut conn).await.unwrap();
        assert!(plan.len() > 10);
        for (.., step) in plan {
            assert!(step == "SCAN p" || !step.contains("SCAN") && !step.contains("AUTOMATIC"), "{step}");
        }
    }
}
