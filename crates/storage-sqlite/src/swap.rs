//! Putting another database in the place of one, so that at every moment the one or the other is there, whole.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use countersign_storage::StoreError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::backup::{CopyError, remove, sync_folder};
use crate::error::unavailable;
use crate::place::{beside, lock};
use crate::store::BUSY;

/// The place of a database, which nobody opens while this lives.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    _lock: File,
}

impl Place {
    /// Takes the place of the database `path`, whether or not there is one.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when somebody uses it.
    pub fn take(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { path: path.to_owned(), _lock: lock(path)? })
    }

    /// The database.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file that keeps others away. It stays.
    pub fn lock_file(&self) -> PathBuf {
        beside(&self.path, ".lock")
    }

    /// Whether there is a database.
    pub fn is_taken(&self) -> bool {
        // An empty one is none, and SQLite sees it so as well.
        std::fs::metadata(&self.path).is_ok_and(|about| about.len() > 0)
    }

    /// Writes what is in the journal of the database into the database, as its server does when it stops.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it cannot be opened.
    pub async fn settle(&self) -> Result<(), StoreError> {
        let failed = |fault: sqlx::Error| unavailable(&fault);
        let connect = SqliteConnectOptions::new().filename(&self.path).busy_timeout(BUSY);
        let connect = connect.journal_mode(SqliteJournalMode::Wal).disable_statement_logging();
        let mut conn = connect.connect().await.map_err(failed)?;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut conn).await.map_err(failed)?;
        conn.close().await.map_err(failed)
    }

    /// Puts the closed database `staged` in this place. What was there keeps its contents under the name `aside`.
    ///
    /// # Errors
    /// [`CopyError`]; then what was there is still there, and under `aside` as well when it got so far.
    pub fn install(&self, staged: &Path, aside: &Path) -> Result<(), CopyError> {
        File::open(staged).and_then(|file| file.sync_all()).map_err(CopyError::file(staged))?;
        if self.is_taken() {
            link(&self.path, aside)?;
            let journal = beside(&self.path, "-wal");
            // Only where it could not be settled: it belongs to the database that goes.
            if std::fs::metadata(&journal).is_ok_and(|about| about.len() > 0) {
                link(&journal, &beside(aside, "-wal"))?;
            }
            sync_folder(aside)?;
        }
        // SQLite would read the journal of one database into the other.
        for end in ["-wal", "-shm", "-journal"] {
            remove(&beside(&self.path, end))?;
        }
        std::fs::rename(staged, &self.path).map_err(CopyError::file(&self.path))?;
        sync_folder(&self.path)
    }
}

/// Gives a file a second name. One that an interrupted try gave it already will do.
fn link(from: &Path, to: &Path) -> Result<(), CopyError> {
    match std::fs::hard_link(from, to) {
        Err(fault) if fault.kind() == io::ErrorKind::AlreadyExists && is_same(from, to) => Ok(()),
        Err(fault) if fault.kind() == io::ErrorKind::AlreadyExists => Err(CopyError::Exists(to.to_owned())),
        done => done.map_err(CopyError::file(to)),
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    let number = |path: &Path| std::fs::metadata(path).map(|about| (about.dev(), about.ino())).ok();
    number(one).is_some_and(|one| Some(one) == number(other))
}
