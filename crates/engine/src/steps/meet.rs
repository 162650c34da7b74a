//! Several logins of one user at once.

use countersign_domain::{AuditEvent, Closing, ClosingState, Commit, LoginResult, NumberMode, Reason, Verdict, Write};

use super::{After, NOTHING, Step, View, reject};
use crate::{
    live::{Binding, Live},
    record,
};

/// What becomes of a login that would have devices asked, and of those for which they are asked already.
pub(super) enum Meeting<'a> {
    /// It goes on, and these end.
    GoesOn { without: Vec<&'a Live> },
    /// It is turned away, and these end with it.
    TurnedAway { with: Vec<&'a Live> },
}

/// What two logins of one user at once do to each other.
enum Collision {
    /// Neither is let in.
    Both,
    /// The newer one is turned away and the older stays.
    NewerOnly,
    /// The older one ends and the newer goes on.
    OlderOnly,
}

/// Where nothing can be shown at the login, a Verify can only mean the one challenge that is pending. Logins with a
/// prompt each have a number or code of their own: they do not disturb each other, and are not disturbed by a login
/// without one that is no better proved than they are.
pub(super) fn meet<'a>(open: &[&'a Live], newer: &Live, mode: NumberMode) -> Meeting<'a> {
    let (mut away, mut both, mut older_only) = (false, Vec::new(), Vec::new());
    for older in open {
        let Some(pending) = older.pending() else { continue };
        let collision = match (pending.binding.mode(), mode) {
            (NumberMode::None, NumberMode::None) => between(older, newer),
            (NumberMode::None, _) => match between(older, newer) {
                Collision::Both => Collision::OlderOnly,
                other => other,
            },
            (_, NumberMode::None) => match between(older, newer) {
                Collision::Both => Collision::NewerOnly,
                other => other,
            },
            (_, _) => continue,
        };
        match collision {
            Collision::Both => {
                away = true;
                both.push(*older);
            }
            Collision::NewerOnly => away = true,
            Collision::OlderOnly => older_only.push(*older),
        }
    }
    if away { Meeting::TurnedAway { with: both } } else { Meeting::GoesOn { without: older_only } }
}

/// A login that proves nothing about the user (`Resource::proves_user`) must not be able to end a login elsewhere:
/// otherwise one careless or broken client could lock everybody out of every other resource.
fn between(older: &Live, newer: &Live) -> Collision {
    let proves = |live: &Live| live.request.resource.proves_user();
    if older.request.resource.id == newer.request.resource.id || (proves(older) && proves(newer)) {
        Collision::Both
    } else if proves(newer) {
        Collision::OlderOnly
    } else {
        Collision::NewerOnly
    }
}

/// Whether two logins that met are a sign that somebody else is at work: neither proves less than the other, and they do
/// not come from one known place.
pub(super) fn is_evidence(older: &Live, newer: &Live) -> bool {
    matches!(between(older, newer), Collision::Both) && !older.same_known_source(newer)
}

/// Turns a login away that has met others.
pub(super) fn turn_away(view: &View<'_>, with: &[&Live], newer: &Live, mut writes: Vec<Write>) -> Step {
    let now = view.now.wall;
    let (mut audit, mut after) = (Vec::new(), Vec::new());
    for older in with {
        let (write, records, then) = close_collided(view, older);
        writes.extend(write);
        audit.extend(records);
        after.extend(then);
    }
    audit.push(record::ended(newer, now, LoginResult::Reject, Reason::Collision));
    let pending = view.open.iter().filter(|older| older.pending().is_some());
    if pending.into_iter().any(|older| is_evidence(older, newer)) {
        audit.push(record::alert(newer, now, "collision"));
    }
    after.push(reject(newer, Reason::Collision));
    Step::Commit { commit: Commit { writes, audit }, after }
}

/// Ends a login as collided whose devices are, or were, asked.
pub(super) fn close_collided(view: &View<'_>, live: &Live) -> (Option<Write>, Vec<AuditEvent>, Vec<After>) {
    let now = view.now.wall;
    let verdict = Verdict::Reject { reason: Reason::Collision, after_challenge: true };
    let audit = vec![record::ended_push(live, None, now, LoginResult::Reject, Reason::Collision)];
    let mut after = vec![After::End { login: live.id(), verdict }];
    let Some(pending) = live.pending() else { return (None, audit, after) };
    let closing = Closing { state: ClosingState::Collision, at: now, decision: None };
    let devices = view.snapshot.map(|s| s.active_devices().map(|device| device.id).collect()).unwrap_or_default();
    after.push(After::Closed { id: pending.challenge, devices, state: ClosingState::Collision });
    (Some(Write::CloseChallenge { id: pending.challenge, closing }), audit, after)
}

/// A login that a retry speaks for was heard again: two clients are alive, and one of them is somebody else. That is an
/// alert also from one known place, unlike other collisions: the retry has copied the place with the other marks.
pub(super) fn heard_again(view: &View<'_>, older: &Live) -> Step {
    let Some(newer) = view.speaker else { return NOTHING };
    let (write, mut audit, after) = close_collided(view, newer);
    audit.push(record::alert(older, view.now.wall, "collision"));
    Step::Commit { commit: Commit { writes: write.into_iter().collect(), audit }, after }
}

/// A retry of a pending login: the newer request speaks for it from now on, within the life that it has left. What binds
/// the challenge to its login is made anew.
pub(super) fn take_over(view: &View<'_>, older: &Live, newer: &Live, binding: Binding) -> Step {
    let Some(pending) = older.pending() else { return NOTHING };
    let (from, to) = (older.id(), newer.id());
    let write = Write::ReassignChallenge { id: pending.challenge, from, to };
    let audit = vec![record::ended_push(older, None, view.now.wall, LoginResult::Unanswered, Reason::Superseded)];
    let after = vec![After::TakeOver { from, to, binding }];
    Step::Commit { commit: Commit { writes: vec![write], audit }, after }
}
