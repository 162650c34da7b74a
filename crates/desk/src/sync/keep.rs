//! Runs by the clock: from start to start, each directory by its own interval.

use core::time::Duration;
use std::{collections::HashMap, sync::Arc};

use countersign_domain::{DirectoryId, Timestamp};
use countersign_storage::StoreError;
use tokio::{sync::watch, task::JoinSet};
use tracing::warn;

use super::{SyncFault, SyncHow, SyncProgress};
use crate::Desk;

/// Not waited for longer than this, so that a clock that was set is noticed.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Each interval is longer by up to this part of it, so that servers that were started together do not ask together.
const JITTER_PART: u32 = 16;

/// When a directory was synchronised last, and how much later than its interval the next run begins.
struct Pace {
    /// Also of a run that could not be noted: it must not be due again at once.
    started: Option<Timestamp>,
    jitter: Duration,
}

impl Desk {
    /// Runs synchronisations when their time has come. Ends never; a run under way ends with it, and what it had not
    /// written comes with the next one.
    pub async fn keep_synchronised(self: Arc<Self>) {
        let mut runs = JoinSet::new();
        let mut paces = HashMap::new();
        loop {
            while runs.try_join_next().is_some() {}
            let wait = match self.due(&mut paces).await {
                Ok(due) => {
                    let now = self.clock().now();
                    for (directory, _) in due.iter().filter(|(_, at)| *at <= now) {
                        if let Some(pace) = paces.get_mut(directory) {
                            pace.started = Some(now);
                        }
                        let (desk, directory) = (Arc::clone(&self), *directory);
                        runs.spawn(async move {
                            let progress = watch::Sender::new(SyncProgress::default());
                            match desk.run_sync(directory, SyncHow::default(), &progress).await {
                                Ok(_) | Err(SyncFault::Running | SyncFault::NoDirectory) => {}
                                Err(SyncFault::Store(fault)) => {
                                    warn!(error = %fault, "directory.sync: the database does not answer");
                                }
                            }
                        });
                    }
                    due.iter().filter(|(_, at)| *at > now).map(|(_, at)| at.since(now)).min().unwrap_or(LOOK_AGAIN)
                }
                Err(fault) => {
                    warn!(error = %fault, "directory.sync: the database does not answer");
                    LOOK_AGAIN
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait.min(LOOK_AGAIN)) => {}
                () = self.sync_sooner().notified() => {}
            }
        }
    }

    /// When each directory that has an interval is due, without those under way.
    async fn due(&self, paces: &mut HashMap<DirectoryId, Pace>) -> Result<Vec<(DirectoryId, Timestamp)>, StoreError> {
        let states = self.store().sync_states().await?;
        let now = self.clock().now();
        let table = self.directory_table();
        paces.retain(|id, _| table.contains_key(id));
        let mut due = Vec::new();
        for directory in table.values() {
            let Some(interval) = directory.sync.interval.map(|seconds| Duration::from_secs(seconds.into())) else {
                continue;
            };
            if self.sync_turns().lock().contains(&directory.id) {
                continue;
            }
            let noted = states.iter().find(|state| state.directory == directory.id).map(|state| state.last.started_at);
            let pace = paces.entry(directory.id).or_insert(Pace { started: None, jitter: self.jitter(interval) });
            // A start that is still to come is of a clock that stood ahead.
            let last = noted.max(pace.started).filter(|last| *last <= now);
            if pace.started != last {
                *pace = Pace { started: last, jitter: self.jitter(interval) };
            }
            due.push((directory.id, last.map_or(now, |last| last.plus(interval).plus(pace.jitter))));
        }
        Ok(due)
    }

    fn jitter(&self, interval: Duration) -> Duration {
        (interval / JITTER_PART).mul_f64(f64::from(u16::from_be_bytes(self.entropy().octets())) / f64::from(u16::MAX))
    }
}
