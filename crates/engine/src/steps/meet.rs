//! Several logins of one user at once.

use countersign_domain::{AuditEvent, Closing, ClosingState, Commit, LoginResult, Reason, Verdict, Write};

use super::{After, NOTHING, Step, View};
use crate::{live::Live, record};

/// What two logins of one user at once do to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Collision {
    /// Neither is let in.
    Both,
    /// The newer one is turned away and the older stays.
    NewerOnly,
    /// The older one ends and the newer goes on.
    OlderOnly,
}

/// A login that proves nothing about the user (`Resource::proves_user`) must not be able to end a login elsewhere:
/// otherwise one careless or broken client could lock everybody out of every other resource.
pub(super) fn between(older: &Live, newer: &Live) -> Collision {
    let proves = |live: &Live| live.request.resource.proves_user();
    if older.request.resource.id == newer.request.resource.id || (proves(older) && proves(newer)) {
        Collision::Both
    } else if proves(newer) {
        Collision::OlderOnly
    } else {
        Collision::NewerOnly
    }
}

pub(super) fn collide(view: &View<'_>, older: &Live, newer: &Live, writes: Vec<Write>) -> Step {
    let (write, mut audit, mut after) = close_collided(view, older);
    let now = view.now.wall;
    audit.push(record::ended(newer, now, LoginResult::Reject, Reason::Collision));
    if !older.same_known_source(newer) {
        audit.push(record::alert(newer, now, "collision"));
    }
    let verdict = Verdict::Reject { reason: Reason::Collision, after_challenge: false };
    after.push(After::End { login: newer.id(), verdict });
    Step::Commit { commit: Commit { writes: writes.into_iter().chain(write).collect(), audit }, after }
}

/// Ends a pending login as collided.
pub(super) fn close_collided(view: &View<'_>, live: &Live) -> (Option<Write>, Vec<AuditEvent>, Vec<After>) {
    let Some(pending) = live.pending() else { return (None, Vec::new(), Vec::new()) };
    let now = view.now.wall;
    let closing = Closing { state: ClosingState::Collision, at: now, decision: None };
    let devices = view.snapshot.map(|s| s.active_devices().map(|device| device.id).collect()).unwrap_or_default();
    let verdict = Verdict::Reject { reason: Reason::Collision, after_challenge: true };
    (
        Some(Write::CloseChallenge { id: pending.challenge, closing }),
        vec![record::ended_push(live, None, now, LoginResult::Reject, Reason::Collision)],
        vec![
            After::End { login: live.id(), verdict },
            After::Closed { id: pending.challenge, devices, state: ClosingState::Collision },
        ],
    )
}

/// A login that a retry speaks for was heard again: two clients are alive, and one of them is somebody else. That is an
/// alert also from one known place, unlike other collisions: the retry has copied the place with the other marks.
pub(super) fn heard_again(view: &View<'_>, older: &Live) -> Step {
    let Some(newer) = view.speaker else { return NOTHING };
    let (write, mut audit, after) = close_collided(view, newer);
    audit.push(record::alert(older, view.now.wall, "collision"));
    Step::Commit { commit: Commit { writes: write.into_iter().collect(), audit }, after }
}

/// A retry of a pending login: the newer request speaks for it from now on, within the life that it has left.
pub(super) fn take_over(view: &View<'_>, older: &Live, newer: &Live) -> Step {
    let Some(pending) = older.pending() else { return NOTHING };
    let (from, to) = (older.id(), newer.id());
    let write = Write::ReassignChallenge { id: pending.challenge, from, to };
    let audit = vec![record::ended_push(older, None, view.now.wall, LoginResult::Unanswered, Reason::Superseded)];
    Step::Commit { commit: Commit { writes: vec![write], audit }, after: vec![After::TakeOver { from, to }] }
}
