//! Reads and commits of many logins in one go: whatever comes while one is under way shares the next.

use core::time::Duration;
use std::sync::{Arc, Weak};

use countersign_domain::{AuditEvent, Commit, EventKind, LoginName, LoginRequest, UserId, UserSnapshot};
use countersign_engine::{CommitFault, Event, Lane, Subject};
use countersign_storage::{CommitError, Wanted};
use tokio::sync::mpsc;
use tracing::{error, warn};

use crate::{Desk, cache::Change};

/// Users read at once at most.
const READS: usize = 256;
/// Commits handed in at once at most.
const COMMITS: usize = 2048;

/// Somebody who is not in memory.
pub(crate) enum Lookup {
    /// A login of whoever has the name, and when the door got it.
    Login(Box<LoginRequest>, LoginName, Duration),
    /// A lane waits for its user.
    Load(Lane, UserId),
}

/// Where lookups and commits go. They wait in no bounded queue, for the engine bounds what is open.
pub(crate) struct Together {
    pub(crate) lookups: mpsc::UnboundedSender<Lookup>,
    pub(crate) commits: mpsc::UnboundedSender<(Lane, Commit)>,
}

/// The other ends, for the tasks.
pub(crate) struct Queues {
    lookups: mpsc::UnboundedReceiver<Lookup>,
    commits: mpsc::UnboundedReceiver<(Lane, Commit)>,
}

pub(crate) fn queues() -> (Together, Queues) {
    let ((lookups, looked_up), (commits, committed)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    (Together { lookups, commits }, Queues { lookups: looked_up, commits: committed })
}

/// Runs for as long as the desk is there.
pub(crate) fn spawn(desk: Weak<Desk>, queues: Queues) {
    tokio::spawn(read(Weak::clone(&desk), queues.lookups));
    tokio::spawn(commit(desk, queues.commits));
}

async fn read(desk: Weak<Desk>, mut queue: mpsc::UnboundedReceiver<Lookup>) {
    let mut lookups = Vec::with_capacity(READS);
    while queue.recv_many(&mut lookups, READS).await > 0 {
        let Some(desk) = desk.upgrade() else { return };
        let (names, users) = (desk.cache().epoch_of_names(), desk.cache().epochs());
        let wanted: Vec<Wanted> = lookups
            .iter()
            .map(|lookup| match lookup {
                Lookup::Login(_, name, _) => Wanted::Named(name.clone()),
                Lookup::Load(_, user) => Wanted::User(*user),
            })
            .collect();
        let answers = desk.store().look_up(&wanted).await;
        let mut events = Vec::with_capacity(lookups.len());
        match answers {
            Ok(answers) => {
                for (lookup, found) in lookups.drain(..).zip(answers) {
                    let found = found.map(Arc::new);
                    if let Some(snapshot) = &found {
                        desk.cache().keep(users.of(desk.cache(), snapshot.user.id), snapshot);
                    }
                    if let (Lookup::Login(_, name, _), Some(snapshot)) = (&lookup, &found) {
                        desk.cache().keep_name(names, name.folded(), snapshot.user.id);
                    }
                    events.push(found_event(lookup, found));
                }
            }
            Err(fault) => {
                let subject = desk.lost(&fault);
                for lookup in lookups.drain(..) {
                    events.push(match lookup {
                        Lookup::Login(request, _, arrived) => {
                            Event::Start { request, subject: subject.clone(), arrived }
                        }
                        Lookup::Load(lane, _) => Event::Loaded { lane, snapshot: Err(()), challenge: None },
                    });
                }
            }
        }
        desk.drive_all(events);
    }
}

fn found_event(lookup: Lookup, found: Option<Arc<UserSnapshot>>) -> Event {
    match lookup {
        Lookup::Login(request, _, arrived) => {
            let subject = found.map_or(Subject::Unknown, |snapshot| Subject::Known(snapshot.user.id));
            Event::Start { request, subject, arrived }
        }
        Lookup::Load(lane, _) => Event::Loaded { lane, snapshot: Ok(found), challenge: None },
    }
}

async fn commit(desk: Weak<Desk>, mut queue: mpsc::UnboundedReceiver<(Lane, Commit)>) {
    let mut waiting = Vec::with_capacity(COMMITS);
    while queue.recv_many(&mut waiting, COMMITS).await > 0 {
        let Some(desk) = desk.upgrade() else { return };
        let (mut commits, mut followers) = (Vec::with_capacity(waiting.len()), Vec::with_capacity(waiting.len()));
        for (lane, commit) in waiting.drain(..) {
            followers.push(Follower::of(lane, &commit));
            commits.push(commit);
        }
        let outcomes = desk.store().commit_all(commits).await;
        let events = followers.into_iter().zip(outcomes).map(|(follower, outcome)| follower.end(&desk, outcome));
        let events = events.collect();
        desk.drive_all(events);
    }
}

/// What is to be done when it is known what became of a commit.
struct Follower {
    lane: Lane,
    /// What it makes of the user in memory.
    change: Change,
    alerts: Vec<AuditEvent>,
}

impl Follower {
    fn of(lane: Lane, commit: &Commit) -> Self {
        let alerts = commit.audit.iter().filter(|event| event.kind == EventKind::Alert).cloned().collect();
        Self { lane, change: Change::by(&commit.writes), alerts }
    }

    fn end(self, desk: &Desk, outcome: Result<(), CommitError>) -> Event {
        let outcome = match outcome {
            Ok(()) => Ok(()),
            Err(CommitError::Conflict(_)) => Err(CommitFault::Conflict),
            Err(CommitError::Store(fault)) => {
                desk.complain_of_commit(&fault);
                Err(CommitFault::Unavailable)
            }
        };
        if let Lane::User(user) = self.lane {
            // Of one that failed it may be unknown whether it is on disk, and a conflict says that memory is behind.
            let change = if outcome.is_ok() { self.change } else { Change::Unknown };
            desk.cache().change(user, change);
        }
        if outcome.is_ok() {
            for alert in self.alerts {
                let user = alert.user_id.map(|id| id.to_string()).unwrap_or_default();
                warn!(reason = alert.reason.unwrap_or_default(), user.id = user, "alert");
            }
        }
        Event::Committed { lane: self.lane, outcome }
    }
}

impl Desk {
    fn complain_of_commit(&self, fault: &countersign_storage::StoreError) {
        if let Some(times) = self.complaints().due(&self.complaints().commit) {
            error!(error = %fault, times, "login.commit failed: nobody is let in");
        }
    }
}
