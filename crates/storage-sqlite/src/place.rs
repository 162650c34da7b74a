//! The files of a database: where they are, who may read them, who has them.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use countersign_domain::Entropy;
use countersign_storage::StoreError;

/// Where a database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// In this file; its directory exists. Beside it stand files with the same name and `-wal`, `-shm` and `.lock`.
    File(PathBuf),
    /// In a directory under the system's temporary one that goes with the database: for tests and demonstrations.
    Temporary,
}

/// The files of an open database: nobody else opens it while this lives.
pub(crate) struct Held {
    pub(crate) path: PathBuf,
    lock: Option<File>,
    temporary: Option<PathBuf>,
    /// Device and number of each file that holds records.
    files: Vec<(PathBuf, Option<(u64, u64)>)>,
}

impl Held {
    /// Makes the files that are not there, private to their owner, and takes the lock.
    pub(crate) fn take(location: Location, entropy: &dyn Entropy) -> Result<Self, StoreError> {
        let (path, temporary) = match location {
            Location::File(path) => (path, None),
            Location::Temporary => {
                let dir = temporary_dir(entropy)?;
                (dir.join("countersign.db"), Some(dir))
            }
        };
        let mut held = Self { path, lock: None, temporary, files: Vec::new() };
        held.lock = Some(lock(&held.path)?);
        for end in ["", "-wal", "-shm"] {
            held.make_private(end)?;
        }
        Ok(held)
    }

    /// Notes which files they are, once SQLite has opened them.
    pub(crate) fn note_files(&mut self) {
        self.files = ["", "-wal"].map(|end| beside(&self.path, end)).map(|path| (path.clone(), number(&path))).into();
    }

    /// Whether the files are still where they were opened. SQLite would go on with files that were removed, and whatever
    /// it writes there is gone when it closes them: a login would be let in without a record that stays.
    pub(crate) fn are_in_place(&self) -> Result<(), StoreError> {
        match self.files.iter().find(|(path, file)| file.is_none() || number(path) != *file) {
            None => Ok(()),
            Some((path, _)) => Err(failed(
                path,
                &"the file was removed, or another one was put in its place, while the server had it open: put it back \
                  if it was moved; otherwise stop the server, restore a backup and start again",
            )),
        }
    }

    /// SQLite gives its other files the permissions of the first, which it would make with those of the umask.
    fn make_private(&self, end: &str) -> Result<(), StoreError> {
        let path = beside(&self.path, end);
        let done = if end.is_empty() { open_private(&path).map(drop) } else { Ok(()) };
        let done = done.and_then(|()| std::fs::set_permissions(&path, Permissions::from_mode(0o600)));
        match done {
            Err(fault) if fault.kind() == io::ErrorKind::NotFound && !end.is_empty() => Ok(()),
            done => done.map_err(|fault| failed(&path, &fault)),
        }
    }
}

/// The file whose name is that of `path` with `end` behind it.
pub(crate) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(end);
    path.into()
}

/// Takes the lock of the database `path`; it is let go with the file.
pub(crate) fn lock(path: &Path) -> Result<File, StoreError> {
    let lock = beside(path, ".lock");
    let file = open_private(&lock).map_err(|fault| failed(&lock, &fault))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(failed(path, &"another countersign uses this database; stop that one first"))
        }
        Err(TryLockError::Error(fault)) => Err(failed(&lock, &fault)),
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(dir) = self.temporary.take()
            && let Err(fault) = std::fs::remove_dir_all(&dir)
        {
            tracing::warn!(path = %dir.display(), error = %fault, "a temporary database was not removed");
        }
    }
}

/// What tells a file from another one of the same name.
fn number(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn failed(path: &Path, fault: &dyn std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("{}: {fault}", path.display()))
}

fn temporary_dir(entropy: &dyn Entropy) -> Result<PathBuf, StoreError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    // Process and count keep databases of one machine apart, the random part those of different containers.
    let random = data_encoding::HEXLOWER.encode(&entropy.octets::<8>());
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("countersign-{}-{count}-{random}", std::process::id()));
    DirBuilder::new().mode(0o700).create(&dir).map_err(|fault| failed(&dir, &fault))?;
    Ok(dir)
}
