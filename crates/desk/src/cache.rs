//! What was read of users, kept within bounds, and never older than the last write.

use std::{
    hash::{BuildHasher as _, RandomState},
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use countersign_domain::{DeviceId, ScopedLimits, UserId, UserSnapshot, Write};
use lru::LruCache;

const STRIPES: usize = 256;

/// Snapshots by user, and users by folded login name.
pub(crate) struct Cache {
    snapshots: Mutex<LruCache<UserId, Arc<UserSnapshot>>>,
    names: Mutex<LruCache<String, UserId>>,
    /// Goes up with each write to one of the users that share the stripe.
    epochs: Vec<AtomicU64>,
    hasher: RandomState,
    /// Goes up when a user is added or removed.
    epoch_of_names: AtomicU64,
}

/// Taken before a read; a snapshot that was read across a write is not kept.
#[derive(Clone, Copy)]
pub(crate) struct Epoch(u64);

/// The same of all users.
pub(crate) struct Epochs(Vec<u64>);

impl Epochs {
    pub(crate) fn of(&self, cache: &Cache, user: UserId) -> Epoch {
        Epoch(self.0.get(cache.place(user)).copied().unwrap_or(0))
    }
}

/// What a commit of one user's lane makes of the user.
pub(crate) enum Change {
    /// Nothing that is kept here.
    None,
    /// These rows.
    Rows(Vec<Row>),
    /// More than is followed here: the user is read anew.
    Unknown,
}

/// A row as it is after a commit.
pub(crate) enum Row {
    Limits(Box<ScopedLimits>),
    Step(DeviceId, u64),
}

impl Change {
    pub(crate) fn by(writes: &[Write]) -> Self {
        let mut rows = Vec::new();
        for write in writes {
            match write {
                Write::SetLimits { scope, expected, limits } => rows.push(Row::Limits(Box::new(ScopedLimits {
                    scope: *scope,
                    version: expected.saturating_add(1),
                    limits: limits.clone(),
                }))),
                Write::BurnTotpStep { device, step } => rows.push(Row::Step(*device, *step)),
                // Challenges are not kept here, and a condition changes nothing.
                Write::RequireActive(_)
                | Write::OpenChallenge(_)
                | Write::CloseChallenge { .. }
                | Write::ReassignChallenge { .. }
                | Write::ReportChallenge { .. } => {}
                _ => return Self::Unknown,
            }
        }
        if rows.is_empty() { Self::None } else { Self::Rows(rows) }
    }
}

impl Row {
    fn put_into(self, snapshot: &mut UserSnapshot) {
        match self {
            Self::Limits(limits) => {
                match snapshot.limits.iter_mut().find(|known| known.scope == limits.scope) {
                    Some(known) if known.version < limits.version => *known = *limits,
                    // It was read anew since, after somebody else had written.
                    Some(_) => {}
                    None => {
                        // It stays in memory, so it takes no more room than it needs.
                        snapshot.limits.reserve_exact(1);
                        snapshot.limits.push(*limits);
                    }
                }
            }
            Self::Step(id, step) => {
                if let Some(device) = snapshot.devices.iter_mut().find(|device| device.id == id) {
                    device.totp_last_step = device.totp_last_step.max(step);
                }
            }
        }
    }
}

impl Cache {
    pub(crate) fn new(users: NonZeroUsize) -> Self {
        Self {
            snapshots: Mutex::new(LruCache::new(users)),
            names: Mutex::new(LruCache::new(users)),
            epochs: (0..STRIPES).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            epoch_of_names: AtomicU64::new(0),
        }
    }

    pub(crate) fn snapshot(&self, user: UserId) -> Option<Arc<UserSnapshot>> {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner).get(&user).cloned()
    }

    pub(crate) fn epoch(&self, user: UserId) -> Epoch {
        Epoch(self.stripe(user).map_or(0, |stripe| stripe.load(Ordering::SeqCst)))
    }

    /// Keeps what was read, unless the user was written to since `before`.
    pub(crate) fn keep(&self, before: Epoch, snapshot: &Arc<UserSnapshot>) {
        let user = snapshot.user.id;
        let mut snapshots = self.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        if self.epoch(user).0 == before.0 {
            snapshots.put(user, Arc::clone(snapshot));
        }
    }

    /// All epochs, for a read of users who are not known yet.
    pub(crate) fn epochs(&self) -> Epochs {
        Epochs(self.epochs.iter().map(|stripe| stripe.load(Ordering::SeqCst)).collect())
    }

    /// Notes what was written of a user. What is not in memory stays out of it.
    pub(crate) fn change(&self, user: UserId, change: Change) {
        let rows = match change {
            Change::None => return,
            Change::Unknown => return self.forget(user),
            Change::Rows(rows) => rows,
        };
        let mut snapshots = self.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stripe) = self.stripe(user) {
            stripe.fetch_add(1, Ordering::SeqCst);
        }
        if let Some(snapshot) = snapshots.peek_mut(&user) {
            let snapshot = Arc::make_mut(snapshot);
            for row in rows {
                row.put_into(snapshot);
            }
        }
    }

    /// Forgets a user who was written to.
    pub(crate) fn forget(&self, user: UserId) {
        let mut snapshots = self.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stripe) = self.stripe(user) {
            stripe.fetch_add(1, Ordering::SeqCst);
        }
        snapshots.pop(&user);
    }

    /// Forgets all users: it is not known who was written to.
    pub(crate) fn forget_all(&self) {
        let mut snapshots = self.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        for stripe in &self.epochs {
            stripe.fetch_add(1, Ordering::SeqCst);
        }
        snapshots.clear();
    }

    pub(crate) fn user_of(&self, folded: &str) -> Option<UserId> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).get(folded).copied()
    }

    pub(crate) fn epoch_of_names(&self) -> Epoch {
        Epoch(self.epoch_of_names.load(Ordering::SeqCst))
    }

    /// Keeps whose name it is, unless somebody was added or removed since `before`.
    pub(crate) fn keep_name(&self, before: Epoch, folded: &str, user: UserId) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if self.epoch_of_names().0 == before.0 {
            names.put(folded.to_owned(), user);
        }
    }

    /// Forgets all names: somebody was added or removed.
    pub(crate) fn forget_names(&self) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        self.epoch_of_names.fetch_add(1, Ordering::SeqCst);
        names.clear();
    }

    fn stripe(&self, user: UserId) -> Option<&AtomicU64> {
        self.epochs.get(self.place(user))
    }

    fn place(&self, user: UserId) -> usize {
        let stripes = u64::try_from(STRIPES).unwrap_or(1);
        usize::try_from(self.hasher.hash_one(user) % stripes).unwrap_or(0)
    }
}
