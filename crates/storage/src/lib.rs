//! Storage traits and the conformance suite that every backend passes.
//!
//! There is one way to write: a [`Commit`], all of it with its audit records or nothing, durable before the call
//! returns. Everything else reads. SQL stands in the backend crates only.
#![warn(missing_docs)]

#[cfg(feature = "conformance")]
pub mod conformance;
mod vault;

use async_trait::async_trait;
use countersign_domain::{
    Activation, AuditHash, AuditRecord, Challenge, ChallengeId, Commit, Device, DeviceId, Directory, DirectoryId,
    EntryId, LoginName, RadiusClient, Resource, Secret, SignInWindow, SyncState, Timestamp, Upstream, User, UserId,
    UserSnapshot, WindowId,
};
pub use vault::{KEY_OCTETS, Place, Vault, VaultError};

/// Why a commit was not made.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The condition of the write at this place did not hold; nothing was written.
    #[error("the condition of write {0} does not hold any more")]
    Conflict(usize),
    /// The backend could not write; nothing was written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why the backend did not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It could not be reached, is full or is read-only.
    #[error("the database does not take this: {0}")]
    Unavailable(String),
    /// It was written by a newer countersign.
    #[error(
        "the database has schema version {found}, this program knows {known}: it was written by a newer countersign; use that one, or restore a backup made before the upgrade"
    )]
    Newer {
        /// Version found.
        found: i64,
        /// Newest version known.
        known: i64,
    },
    /// Its contents make no sense: it was damaged or changed by hand.
    #[error("{table}: {fault}")]
    Inconsistent {
        /// Where.
        table: &'static str,
        /// What.
        fault: String,
    },
    /// A value could not be decrypted: wrong key file, or a value moved by hand.
    #[error("{table}.{column} of {row} cannot be decrypted: wrong key file, or the value was moved or changed")]
    Sealed {
        /// Table.
        table: &'static str,
        /// Column.
        column: &'static str,
        /// Row.
        row: String,
    },
}

/// What a database was made as, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// 128 random bits, base64url; part of every signature.
    pub id: String,
    /// When the database was made.
    pub created_at: Timestamp,
}

/// Figures of the writer since start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriterFigures {
    /// Transactions.
    pub batches: u64,
    /// Commits in them.
    pub commits: u64,
    /// Commits in the largest.
    pub largest: u64,
    /// Transactions that failed since the last one that was written: above zero nothing can be written.
    pub failing: u64,
}

/// Whom a login wants to know of.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// The user with this name, in any spelling, who was added here.
    Named(LoginName),
    /// This user.
    User(UserId),
}

/// A backend.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Writes all of `commit`, or nothing. When it returns `Ok` the commit is on disk. Commits that wait at the same
    /// time share a transaction; each holds or fails by itself, in the order of arrival.
    async fn commit(&self, commit: Commit) -> Result<(), CommitError>;

    /// The same for many at once, with a result for each, in order. They are one after the other in the database too, and
    /// share transactions where they can.
    async fn commit_all(&self, commits: Vec<Commit>) -> Vec<Result<(), CommitError>>;

    /// What this database was made as.
    async fn deployment(&self) -> Result<Deployment, StoreError>;

    /// A secret of the server itself (signing key, nonce keys), sealed at rest; the first call with a name stores
    /// `fresh`, every later call returns what was stored then.
    async fn server_secret(&self, name: &'static str, fresh: Secret) -> Result<Secret, StoreError>;

    /// The user with this name, in any spelling, who was added here.
    async fn user_by_name(&self, name: &LoginName) -> Result<Option<User>, StoreError>;
    /// All users with this name, in any spelling, wherever they come from.
    async fn users_named(&self, name: &LoginName) -> Result<Vec<User>, StoreError>;
    /// The user who is this entry of this directory.
    async fn user_by_entry(&self, directory: DirectoryId, entry: &EntryId) -> Result<Option<User>, StoreError>;
    /// The user.
    async fn user(&self, id: UserId) -> Result<Option<User>, StoreError>;
    /// All users, by name.
    async fn users(&self) -> Result<Vec<User>, StoreError>;
    /// Everything that a login has to know of a user.
    async fn snapshot(&self, id: UserId) -> Result<Option<UserSnapshot>, StoreError>;
    /// The same of those who are wanted at one time, in one state of the database: an answer for each, in order.
    async fn look_up(&self, wanted: &[Wanted]) -> Result<Vec<Option<UserSnapshot>>, StoreError>;
    /// The same of many, for whoever goes through all users: those behind `after`, by identifier, at most `limit`.
    async fn snapshots(&self, after: Option<UserId>, limit: u32) -> Result<Vec<UserSnapshot>, StoreError>;

    /// The device.
    async fn device(&self, id: DeviceId) -> Result<Option<Device>, StoreError>;
    /// The device with this key, removed ones included.
    async fn device_by_thumbprint(&self, thumbprint: &str) -> Result<Option<Device>, StoreError>;

    /// The challenge.
    async fn challenge(&self, id: ChallengeId) -> Result<Option<Challenge>, StoreError>;
    /// All that are pending, oldest first.
    async fn pending_challenges(&self) -> Result<Vec<Challenge>, StoreError>;
    /// The newest closed ones of a user, newest first.
    async fn history(&self, user: UserId, limit: u32) -> Result<Vec<Challenge>, StoreError>;

    /// The sign-in window that a device opened under this identifier.
    async fn window(&self, device: DeviceId, id: &WindowId) -> Result<Option<SignInWindow>, StoreError>;
    /// All that are open, oldest first.
    async fn open_windows(&self) -> Result<Vec<SignInWindow>, StoreError>;
    /// The newest closed ones of a user, newest first.
    async fn past_windows(&self, user: UserId, limit: u32) -> Result<Vec<SignInWindow>, StoreError>;

    /// The newest activation with this handle that was not burnt (or, if there is none, the newest burnt one).
    async fn activation_by_handle(&self, handle: &str) -> Result<Option<Activation>, StoreError>;
    /// The activation with this token.
    async fn activation_by_token(&self, token_hash: &[u8; 32]) -> Result<Option<Activation>, StoreError>;

    /// All resources with their clients, by name.
    async fn resources(&self) -> Result<Vec<(Resource, Vec<RadiusClient>)>, StoreError>;

    /// All directories, by name.
    async fn directories(&self) -> Result<Vec<Directory>, StoreError>;

    /// All upstreams, by name.
    async fn upstreams(&self) -> Result<Vec<Upstream>, StoreError>;

    /// Users who come from a directory: those behind `after`, by identifier, at most `limit`.
    async fn users_from(
        &self,
        directory: DirectoryId,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<User>, StoreError>;
    /// What is known of the synchronisation of each directory that had one.
    async fn sync_states(&self) -> Result<Vec<SyncState>, StoreError>;

    /// Records behind number `after`, oldest first, at most `limit`.
    async fn audit(&self, after: i64, limit: u32) -> Result<Vec<AuditRecord>, StoreError>;
    /// The newest `limit` records, newest first.
    async fn audit_newest(&self, limit: u32) -> Result<Vec<AuditRecord>, StoreError>;
    /// Number and hash of the last record; 0 and [`AuditHash::START`] when there is none.
    async fn audit_head(&self) -> Result<(i64, AuditHash), StoreError>;

    /// The newest records of [`countersign_domain::EventKind::MILESTONES`], at most `limit`, newest first.
    async fn milestones(&self, limit: u32) -> Result<Vec<AuditRecord>, StoreError>;

    /// The newest records of logins of a user that were let in without anybody being asked, by a bypass or because an
    /// approval was remembered; at most `limit`, newest first.
    async fn unasked(&self, user: UserId, limit: u32) -> Result<Vec<AuditRecord>, StoreError>;

    /// Figures of the writer.
    fn writer_figures(&self) -> WriterFigures;

    /// Waits until everything queued is written and closes the database.
    async fn close(&self);
}
