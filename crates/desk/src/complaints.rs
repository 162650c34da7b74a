//! What goes wrong when the database does not do its part, told of seldom: with a full disk it is the same for each login.

use std::sync::{Mutex, PoisonError};

use countersign_domain::Seldom;
use tokio::time::Instant;

/// One kind each.
pub(crate) struct Complaints {
    since: Instant,
    pub(crate) lookup: Mutex<Seldom>,
    pub(crate) load: Mutex<Seldom>,
    pub(crate) commit: Mutex<Seldom>,
    pub(crate) record: Mutex<Seldom>,
}

impl Complaints {
    pub(crate) fn new() -> Self {
        let (lookup, load, commit, record) = Default::default();
        Self { since: Instant::now(), lookup, load, commit, record }
    }

    /// When it is to be told: how often it has happened since it was told last.
    pub(crate) fn due(&self, kind: &Mutex<Seldom>) -> Option<u64> {
        kind.lock().unwrap_or_else(PoisonError::into_inner).happens(self.since.elapsed())
    }
}
