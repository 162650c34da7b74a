//! A login ends without a decision.

use countersign_domain::{
    Closing, ClosingState, Commit, LimitScope, LoginResult, Reason, UserSnapshot, Verdict, Write,
};

use super::{After, Step, View, push_scope};
use crate::{live::Live, live::Stage, record};

/// Nobody answered in time, the client has gone, or a newer request took its place on the wire.
pub(super) fn end(view: &View<'_>, live: &Live, reason: Reason) -> Step {
    let now = view.now.wall;
    let (result, verdict) = match reason {
        Reason::Superseded | Reason::Cancelled => (LoginResult::Unanswered, Verdict::Unanswered { reason }),
        _ => (LoginResult::Reject, Verdict::Reject { reason, after_challenge: true }),
    };
    let ended = After::End { login: live.id(), verdict };
    match &live.stage {
        // It had its record when the retry took it over.
        Stage::TakenOver => Step::Free(Vec::new()),
        Stage::Checking => {
            let audit = vec![record::ended(live, now, result, reason)];
            Step::Commit { commit: Commit { writes: Vec::new(), audit }, after: vec![ended] }
        }
        Stage::Pending(pending) => {
            let state = match reason {
                Reason::Superseded => ClosingState::Superseded,
                Reason::Cancelled => ClosingState::Cancelled,
                _ => ClosingState::Expired,
            };
            let closing = Closing { state, at: now, decision: None };
            let mut writes = Vec::new();
            let mut audit = vec![record::ended_push(live, None, now, result, reason)];
            let mut after = vec![ended];
            let mut devices = Vec::new();
            if let Some(snapshot) = view.snapshot {
                // A user who was removed took the challenge along.
                writes.push(Write::CloseChallenge { id: pending.challenge, closing });
                devices = snapshot.active_devices().map(|device| device.id).collect();
                if reason != Reason::Superseded {
                    let (write, paused) = refused(view, live, snapshot);
                    writes.push(write);
                    audit.extend(paused.then(|| record::alert(live, now, "push_paused")));
                    after.extend(unapproved(live));
                }
            }
            after.push(After::Closed { id: pending.challenge, devices, state });
            Step::Commit { commit: Commit { writes, audit }, after }
        }
    }
}

/// Counts a push that came to nothing; whether that pauses further ones.
pub(super) fn refused(view: &View<'_>, live: &Live, snapshot: &UserSnapshot) -> (Write, bool) {
    let scope = push_scope(snapshot.user.id, live);
    let (expected, mut limits) = snapshot.limits(scope);
    let paused = limits.push_refused(view.now.wall);
    (Write::SetLimits { scope, expected, limits }, paused)
}

/// At resources whose client proves nothing, pushes that come to nothing also count against the resource.
pub(super) fn unapproved(live: &Live) -> Option<After> {
    let resource = &live.request.resource;
    (!resource.proves_user()).then_some(After::Unapproved { resource: resource.id })
}

/// The scope of a report: the whole account (S10).
pub(super) const fn report_scope(snapshot: &UserSnapshot) -> LimitScope {
    LimitScope::User(snapshot.user.id)
}
