use std::path::PathBuf;
use std::sync::Arc;

use countersign_domain::{Clock, Timestamp};
use countersign_storage::conformance::{NOW, Seeded};
use countersign_storage::{StoreError, Vault};
use countersign_storage_sqlite::{Location, Options, SqliteStore};

pub(crate) struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        NOW
    }
}

/// A directory for one database, gone at the end of the test.
pub(crate) struct Dir {
    dir: tempfile::TempDir,
}

impl Dir {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("countersign.db")
    }

    pub(crate) fn options() -> Options {
        Options::new(Arc::new(Still), Arc::new(Seeded::new(1)))
    }

    pub(crate) async fn store(&self) -> Result<SqliteStore, StoreError> {
        self.store_under([7; 32]).await
    }

    pub(crate) async fn store_under(&self, key: [u8; 32]) -> Result<SqliteStore, StoreError> {
        let vault = Arc::new(Vault::from_key(&key).unwrap());
        SqliteStore::open(Location::File(self.path()), vault, Self::options()).await
    }
}
