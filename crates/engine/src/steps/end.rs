//! A login ends without a decision.

use countersign_domain::{
    Closing, ClosingState, Commit, LimitScope, LoginResult, Reason, UserSnapshot, Verdict, Write,
};

use super::{After, Step, View, counters::Counters, push_scope};
use crate::{live::Live, live::Stage, record};

/// Nobody answered in time, the client has gone, or a newer request took its place on the wire.
pub(super) fn end(view: &View<'_>, live: &Live, reason: Reason) -> Step {
    let (result, verdict) = match reason {
        Reason::Superseded | Reason::Cancelled => (LoginResult::Unanswered, Verdict::Unanswered { reason }),
        _ => (LoginResult::Reject, Verdict::Reject { reason, after_challenge: true }),
    };
    let state = match reason {
        Reason::Superseded => ClosingState::Superseded,
        Reason::Cancelled => ClosingState::Cancelled,
        _ => ClosingState::Expired,
    };
    let counters = view.snapshot.map(Counters::of);
    close(view, live, counters, Ending { reason, state, counts: reason != Reason::Superseded }, result, verdict)
}

/// How a login ends that nobody lets in.
#[derive(Clone, Copy)]
pub(super) struct Ending {
    pub(super) reason: Reason,
    /// What becomes of its challenge.
    pub(super) state: ClosingState,
    /// Whether that counts as a push that came to nothing.
    pub(super) counts: bool,
}

/// Turns a login away whose prompt was answered.
pub(super) fn turn_away(view: &View<'_>, live: &Live, counters: Option<Counters<'_>>, ending: Ending) -> Step {
    let verdict = Verdict::Reject { reason: ending.reason, after_challenge: true };
    close(view, live, counters, ending, LoginResult::Reject, verdict)
}

fn close(
    view: &View<'_>,
    live: &Live,
    counters: Option<Counters<'_>>,
    ending: Ending,
    result: LoginResult,
    verdict: Verdict,
) -> Step {
    let now = view.now.wall;
    let Ending { reason, state, counts } = ending;
    let mut after = vec![After::End { login: live.id(), verdict }];
    let (mut writes, mut audit) = (Vec::new(), Vec::new());
    match &live.stage {
        // It had its record when the retry took it over.
        Stage::TakenOver => return Step::Free(Vec::new()),
        Stage::Checking => {
            audit.push(record::ended(live, now, result, reason));
            writes.extend(counters.map(Counters::writes).unwrap_or_default());
        }
        Stage::Approved(_) => {
            audit.push(record::ended_push(live, None, now, result, reason));
            writes.extend(counters.map(Counters::writes).unwrap_or_default());
        }
        Stage::Pending(pending) => {
            audit.push(record::ended_push(live, None, now, result, reason));
            let mut devices = Vec::new();
            if let (Some(snapshot), Some(mut counters)) = (view.snapshot, counters) {
                // A user who was removed took the challenge along.
                let closing = Closing { state, at: now, decision: None };
                writes.push(Write::CloseChallenge { id: pending.challenge, closing });
                devices = snapshot.active_devices().map(|device| device.id).collect();
                if counts {
                    if counters.change(push_scope(snapshot.user.id, live), |limits| limits.push_refused(now)) {
                        audit.push(record::alert(live, now, "push_paused"));
                    }
                    after.extend(unapproved(live));
                }
                writes.extend(counters.writes());
            }
            after.push(After::Closed { id: pending.challenge, devices, state });
        }
    }
    Step::Commit { commit: Commit { writes, audit }, after }
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
