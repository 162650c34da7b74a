//! Copies of a database: making one while it is served, and looking at one before it is put back.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use countersign_domain::Timestamp;
use countersign_storage::StoreError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use crate::error::{inconsistent, unavailable};
use crate::place::beside;
use crate::rows::Fields;
use crate::schema;
use crate::store::BUSY;

/// The table that makes a database a copy. It is written last, so a copy that has it was finished.
pub(crate) const LABEL: &str = "backup_label";
/// SQLITE_FULL.
const FULL: &str = "13";
/// How often somebody who waits is told how far it is.
const TELL: Duration = Duration::from_millis(500);

/// What a copy says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// When it was made.
    pub made_at: Timestamp,
    /// The version of the program that made it.
    pub program: String,
    /// The settings that the server had, as its file says them.
    pub settings: String,
}

/// Why a database was not copied, or a copy not put back.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The system refuses something.
    #[error("{}: {fault}", path.display())]
    File {
        /// What it is about.
        path: PathBuf,
        /// What the system said.
        fault: io::Error,
    },
    /// There is a file of that name.
    #[error("{} is there already, and nothing is overwritten: name another file, or move that one away", .0.display())]
    Exists(PathBuf),
    /// Somebody else writes there.
    #[error("another copy is being written to {}: wait for it, or name another file", .0.display())]
    Busy(PathBuf),
    /// The file is something else.
    #[error("{} is no database of countersign: {fault}", path.display())]
    Foreign {
        /// Which.
        path: PathBuf,
        /// What it is, as far as it is known.
        fault: String,
    },
    /// The file is not whole.
    #[error("{} is damaged: {fault}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// The first thing that is wrong.
        fault: String,
    },
    /// No room is left.
    #[error("{} could not be written whole: the disk is full, or a quota is used up. The unfinished file was removed", .0.display())]
    Full(PathBuf),
    /// The database does not do it.
    #[error("{}: {fault}", path.display())]
    Store {
        /// What it is about.
        path: PathBuf,
        /// Why.
        fault: StoreError,
    },
}

impl CopyError {
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |fault| match fault.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => Self::Full(path),
            _ => Self::File { path, fault },
        }
    }

    fn store(path: &Path) -> impl Fn(StoreError) -> Self {
        let path = path.to_owned();
        move |fault| Self::Store { path: path.clone(), fault }
    }

    fn sql(path: &Path) -> impl Fn(sqlx::Error) -> Self {
        let path = path.to_owned();
        move |fault| match fault.as_database_error().and_then(sqlx::error::DatabaseError::code) {
            Some(code) if code == FULL => Self::Full(path.clone()),
            _ => Self::Store { path: path.clone(), fault: unavailable(&fault) },
        }
    }
}

/// How far it is: octets that were written, and that there will be, as far as it can be known.
pub type Progress<'a> = &'a mut (dyn FnMut(u64, u64) + Send);

/// Copies the database in `database`, as it is at one moment, into the new file `to`, which only its owner can read; its
/// octets. Whoever reads or writes the database meanwhile does not wait. Until it is whole and on disk the copy has another
/// name, `to` with `.part` behind it.
///
/// # Errors
/// [`CopyError`]; then there is no file `to`, unless there was one before.
pub async fn back_up(database: &Path, to: &Path, label: &Label, progress: Progress<'_>) -> Result<u64, CopyError> {
    if to.symlink_metadata().is_ok() {
        return Err(CopyError::Exists(to.to_owned()));
    }
    let part = beside(to, ".part");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&part);
    let file = file.map_err(CopyError::file(&part))?;
    match file.try_lock() {
        // Some file systems have no locks.
        Ok(()) | Err(TryLockError::Error(_)) => {}
        Err(TryLockError::WouldBlock) => return Err(CopyError::Busy(to.to_owned())),
    }
    let made = async {
        // What an interrupted one left.
        file.set_len(0).map_err(CopyError::file(&part))?;
        remove(&beside(&part, "-journal"))?;
        let mut conn = to_read(database, false).await.map_err(CopyError::sql(database))?;
        copy(&mut conn, &part, progress).await?;
        close(conn, database).await?;
        let mut conn = to_change(&part).await.map_err(CopyError::sql(&part))?;
        write_label(&mut conn, label).await.map_err(CopyError::sql(&part))?;
        whole(&mut conn, &part).await?;
        close(conn, &part).await?;
        file.sync_all().map_err(CopyError::file(&part))?;
        put_new(&part, to)?;
        Ok(file.metadata().map_err(CopyError::file(to))?.len())
    };
    let made = made.await;
    if made.is_err() {
        let _gone = (std::fs::remove_file(&part), std::fs::remove_file(beside(&part, "-journal")));
    }
    made
}

/// Gives `part` the name `to`, if nothing has it.
fn put_new(part: &Path, to: &Path) -> Result<(), CopyError> {
    match std::fs::hard_link(part, to) {
        Ok(()) => std::fs::remove_file(part).map_err(CopyError::file(part))?,
        Err(fault) if fault.kind() == io::ErrorKind::AlreadyExists => return Err(CopyError::Exists(to.to_owned())),
        // A file system without links.
        Err(_) if to.symlink_metadata().is_ok() => return Err(CopyError::Exists(to.to_owned())),
        Err(_) => std::fs::rename(part, to).map_err(CopyError::file(to))?,
    }
    sync_folder(to)
}

/// Makes names in the folder of `path` last.
pub(crate) fn sync_folder(path: &Path) -> Result<(), CopyError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(CopyError::file(folder))
}

/// A copy (or a database that nobody uses), looked at and found to be whole.
#[derive(Debug)]
pub struct Copy {
    file: PathBuf,
    /// What it says of itself; `None` when it was made by other means than [`back_up`].
    pub label: Option<Label>,
    /// Identifier of the deployment.
    pub deployment: String,
    /// Version of its schema.
    pub version: i64,
    /// Its size.
    pub octets: u64,
}

impl Copy {
    /// Looks at `file`, and changes nothing in it.
    ///
    /// # Errors
    /// [`CopyError`] when it is not ours, not whole, or written by a newer program.
    pub async fn open(file: &Path) -> Result<Self, CopyError> {
        let about = std::fs::metadata(file).map_err(CopyError::file(file))?;
        let foreign = |fault: &str| CopyError::Foreign { path: file.to_owned(), fault: fault.to_owned() };
        if !about.is_file() {
            return Err(foreign("it is no file"));
        }
        if about.len() == 0 {
            return Err(foreign("it is empty"));
        }
        let mut conn = to_read(file, is_alone(file)).await.map_err(|fault| foreign(&fault.to_string()))?;
        // The first that is read of it.
        let ours = schema::has_table(&mut conn, "deployment").await.map_err(|fault| foreign(&fault.to_string()))?;
        let store = CopyError::store(file);
        let version = match schema::not_newer(&mut conn).await.map_err(&store)? {
            Some(version) if ours => version,
            _ => return Err(foreign("the tables in it are others, or it was not finished")),
        };
        whole(&mut conn, file).await?;
        let row = sqlx::query("SELECT id FROM deployment").fetch_optional(&mut conn).await;
        let row = row.map_err(CopyError::sql(file))?.ok_or_else(|| foreign("its table deployment is empty"))?;
        let deployment = Fields::new(&row, "deployment").next().map_err(&store)?;
        let label = read_label(&mut conn).await.map_err(&store)?;
        close(conn, file).await?;
        Ok(Self { file: file.to_owned(), label, deployment, version, octets: about.len() })
    }

    /// Writes its contents to `to`, which is then a database like any other, readable by its owner only. What was there is
    /// overwritten.
    ///
    /// # Errors
    /// [`CopyError`]; then there is no file `to`.
    pub async fn unpack(&self, to: &Path, progress: Progress<'_>) -> Result<(), CopyError> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to);
        let file = file.map_err(CopyError::file(to))?;
        let unpacked = async {
            // What an interrupted one left would be read into this one.
            for end in ["-wal", "-shm", "-journal"] {
                remove(&beside(to, end))?;
            }
            let mut conn = to_read(&self.file, is_alone(&self.file)).await.map_err(CopyError::sql(&self.file))?;
            copy(&mut conn, to, progress).await?;
            close(conn, &self.file).await?;
            let mut conn = to_change(to).await.map_err(CopyError::sql(to))?;
            let dropped = sqlx::query("DROP TABLE IF EXISTS backup_label").execute(&mut conn).await;
            dropped.map_err(CopyError::sql(to))?;
            close(conn, to).await?;
            file.sync_all().map_err(CopyError::file(to))
        };
        let unpacked = unpacked.await;
        if unpacked.is_err() {
            let _gone = (std::fs::remove_file(to), std::fs::remove_file(beside(to, "-journal")));
        }
        unpacked
    }
}

/// Removes a file, if there is one.
pub(crate) fn remove(path: &Path) -> Result<(), CopyError> {
    match std::fs::remove_file(path) {
        Err(fault) if fault.kind() != io::ErrorKind::NotFound => Err(CopyError::file(path)(fault)),
        _ => Ok(()),
    }
}

/// Nobody has the file open, so nothing has to be made beside it to read it: it may be on a disk that cannot be written.
fn is_alone(file: &Path) -> bool {
    !beside(file, "-wal").exists() && !beside(file, "-journal").exists()
}

async fn to_read(path: &Path, alone: bool) -> Result<SqliteConnection, sqlx::Error> {
    let connect = SqliteConnectOptions::new().filename(path).read_only(true).immutable(alone).busy_timeout(BUSY);
    connect.disable_statement_logging().connect().await
}

/// Nobody else uses it, and what is left of it after a fault is thrown away: a journal in memory will do.
async fn to_change(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    let connect = SqliteConnectOptions::new().filename(path).foreign_keys(false);
    let connect = connect.journal_mode(SqliteJournalMode::Memory).synchronous(SqliteSynchronous::Off);
    connect.disable_statement_logging().connect().await
}

async fn close(conn: SqliteConnection, path: &Path) -> Result<(), CopyError> {
    conn.close().await.map_err(CopyError::sql(path))
}

/// Writes what `conn` sees at this moment into the empty file `to`.
async fn copy(conn: &mut SqliteConnection, to: &Path, progress: Progress<'_>) -> Result<(), CopyError> {
    let text = to.to_str().ok_or_else(|| CopyError::File {
        path: to.to_owned(),
        fault: io::Error::new(io::ErrorKind::InvalidInput, "the name is not UTF-8"),
    })?;
    // A name that begins with a letter could be taken for a URI.
    let absolute = std::path::absolute(text).map_err(CopyError::file(to))?;
    let pages = "SELECT (page_count - freelist_count) * page_size \
                 FROM pragma_page_count(), pragma_freelist_count(), pragma_page_size()";
    let all: i64 = sqlx::query_scalar(pages).fetch_one(&mut *conn).await.map_err(CopyError::sql(to))?;
    let all = u64::try_from(all).unwrap_or(0);
    let copied = sqlx::query("VACUUM INTO ?1").bind(absolute.to_string_lossy().into_owned()).execute(conn);
    let mut copied = std::pin::pin!(copied);
    loop {
        match tokio::time::timeout(TELL, &mut copied).await {
            Ok(done) => {
                done.map_err(CopyError::sql(to))?;
                return Ok(());
            }
            Err(_) => progress(std::fs::metadata(to).map_or(0, |about| about.len()), all),
        }
    }
}

async fn whole(conn: &mut SqliteConnection, path: &Path) -> Result<(), CopyError> {
    let damaged = |fault: String| CopyError::Damaged { path: path.to_owned(), fault };
    let said: String = sqlx::query_scalar("PRAGMA integrity_check(1)")
        .fetch_one(&mut *conn)
        .await
        .map_err(|fault| damaged(fault.to_string()))?;
    if said != "ok" {
        return Err(damaged(said));
    }
    let astray = sqlx::query("PRAGMA foreign_key_check").fetch_optional(conn).await;
    match astray.map_err(|fault| damaged(fault.to_string()))? {
        None => Ok(()),
        Some(_) => Err(damaged("rows refer to others that are not there".to_owned())),
    }
}

async fn write_label(conn: &mut SqliteConnection, label: &Label) -> Result<(), sqlx::Error> {
    let mut all = conn.begin().await?;
    sqlx::query(
        "CREATE TABLE backup_label (one INTEGER PRIMARY KEY CHECK (one = 1), made_at INTEGER NOT NULL, \
         program TEXT NOT NULL, settings TEXT NOT NULL) STRICT",
    )
    .execute(&mut *all)
    .await?;
    sqlx::query("INSERT INTO backup_label (one, made_at, program, settings) VALUES (1, ?1, ?2, ?3)")
        .bind(label.made_at.as_micros())
        .bind(label.program.as_str())
        .bind(label.settings.as_str())
        .execute(&mut *all)
        .await?;
    all.commit().await
}

async fn read_label(conn: &mut SqliteConnection) -> Result<Option<Label>, StoreError> {
    if !schema::has_table(conn, LABEL).await? {
        return Ok(None);
    }
    let row = sqlx::query("SELECT made_at, program, settings FROM backup_label").fetch_optional(conn).await;
    let row = row.map_err(|fault| unavailable(&fault))?;
    let row = row.ok_or_else(|| inconsistent(LABEL, "it is empty"))?;
    let mut fields = Fields::new(&row, LABEL);
    Ok(Some(Label { made_at: fields.time()?, program: fields.next()?, settings: fields.next()? }))
}
