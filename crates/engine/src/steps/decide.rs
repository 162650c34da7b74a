//! A device decides.

use countersign_domain::{
    AuditEvent, Challenge, ChallengeState, Closing, ClosingState, Commit, Decision, DeviceState, EventKind, LimitScope,
    LoginResult, NumberMode, Reason, UserSnapshot, Verdict, Write,
};

use super::verification::{Shown, Unverified};
use super::{After, Step, View, end, push_scope, verification};
use crate::{DecisionAnswer, Submission, live::Live, record};

/// The order of the judgement is that of the device protocol: known to this account, a repeat of the same fields,
/// closed, signature, user verification, number.
pub(super) fn decide(view: &View<'_>, ticket: u64, challenge: Option<&Challenge>, submission: &Submission) -> Step {
    let answer = |answer| Step::Free(vec![After::Answer { ticket, answer }]);
    let taken = &submission.record;
    let Some(snapshot) = view.snapshot else { return answer(DecisionAnswer::DeviceRemoved) };
    let device = snapshot.devices.iter().find(|device| device.id == taken.device);
    let Some(device) = device.filter(|device| device.state == DeviceState::Active) else {
        return answer(DecisionAnswer::DeviceRemoved);
    };
    let Some(challenge) = challenge.filter(|c| c.user == snapshot.user.id && c.devices.contains(&taken.device)) else {
        return answer(DecisionAnswer::NotFound);
    };
    if let ChallengeState::Closed(Closing { state, decision: Some(first), .. }) = &challenge.state
        && first == taken
        && submission.signature.holds(challenge)
    {
        return answer(DecisionAnswer::Taken(*state));
    }
    if let ChallengeState::Closed(closing) = &challenge.state {
        let in_time = view.now.wall < closing.at.plus(Challenge::AFTERLIFE);
        if taken.decision == Decision::DenyReport && in_time && submission.signature.holds(challenge) {
            if challenge.reported {
                return answer(DecisionAnswer::Taken(closing.state));
            }
            return report_afterwards(view, ticket, challenge, closing.state, snapshot, submission);
        }
        return answer(DecisionAnswer::Closed(closing.state));
    }
    let live =
        view.live.get(&challenge.login).filter(|live| live.pending().is_some_and(|p| p.challenge == challenge.id));
    let Some((live, deadline)) = live.and_then(|live| Some((live, live.pending()?.deadline))) else {
        return orphaned(view, ticket, challenge);
    };
    if !challenge.is_open(view.now.wall) || deadline <= view.now.monotonic {
        return ended(view, live, ticket, Reason::Expired, DecisionAnswer::Closed(ClosingState::Expired));
    }
    if !submission.signature.holds(challenge) {
        return answer(DecisionAnswer::SignatureInvalid);
    }
    if !snapshot.user.enabled {
        return disabled(view, live, ticket, challenge);
    }
    let shown = if taken.decision == Decision::Verify {
        match verification::shown(challenge, device, submission) {
            Ok(shown) => Some(shown),
            Err(Unverified::Refused(refusal)) => return answer(refusal),
            Err(Unverified::Copied) => return verification::copied(view, live, ticket, device),
        }
    } else {
        None
    };
    if !taken.number.is_empty() || challenge.number_mode != NumberMode::None {
        return answer(DecisionAnswer::NumberMalformed);
    }
    match shown {
        Some(shown) => verify(view, live, ticket, challenge, snapshot, submission, shown),
        None => deny(view, live, ticket, challenge, snapshot, submission),
    }
}

fn verify(
    view: &View<'_>,
    live: &Live,
    ticket: u64,
    challenge: &Challenge,
    snapshot: &UserSnapshot,
    submission: &Submission,
    shown: Shown,
) -> Step {
    let now = view.now.wall;
    let user_scope = LimitScope::User(snapshot.user.id);
    let scope = push_scope(snapshot.user.id, live);
    let mut writes = vec![close(view, challenge, ClosingState::Approved, submission)];
    let scopes = if scope == user_scope { vec![scope] } else { vec![scope, user_scope] };
    for each in scopes {
        let (expected, mut limits) = snapshot.limits(each);
        if each == scope {
            limits.push_approved(&live.request.resource.name, now);
        } else {
            limits.note_approval(&live.request.resource.name, now);
        }
        writes.push(Write::SetLimits { scope: each, expected, limits });
    }
    let device = Some(submission.record.device);
    writes.extend(shown.write);
    let mut event = record::ended_push(live, device, now, LoginResult::Accept, Reason::Approved);
    event.detail = shown.word.map(str::to_owned);
    let audit = vec![event];
    let after = done(live, ticket, challenge, ClosingState::Approved, Verdict::accept());
    Step::Commit { commit: Commit { writes, audit }, after }
}

fn deny(
    view: &View<'_>,
    live: &Live,
    ticket: u64,
    challenge: &Challenge,
    snapshot: &UserSnapshot,
    submission: &Submission,
) -> Step {
    let now = view.now.wall;
    let reported = submission.record.decision == Decision::DenyReport;
    let reason = if reported { Reason::DeniedReported } else { Reason::Denied };
    let device = Some(submission.record.device);
    let mut writes = vec![close(view, challenge, ClosingState::Denied, submission)];
    let mut audit = vec![record::ended_push(live, device, now, LoginResult::Reject, reason)];
    let scope = push_scope(snapshot.user.id, live);
    let report_scope = end::report_scope(snapshot);
    let (expected, mut limits) = snapshot.limits(scope);
    if limits.push_refused(now) {
        audit.push(record::alert(live, now, "push_paused"));
    }
    if reported {
        audit.push(record::alert(live, now, "reported"));
        if scope == report_scope {
            limits.freeze();
        } else {
            writes.push(freeze(snapshot));
        }
    }
    writes.push(Write::SetLimits { scope, expected, limits });
    let verdict = Verdict::Reject { reason, after_challenge: true };
    let mut after = done(live, ticket, challenge, ClosingState::Denied, verdict);
    after.extend(end::unapproved(live));
    Step::Commit { commit: Commit { writes, audit }, after }
}

/// "It wasn't me" after the end: whoever it was, no push goes out until an administrator has looked at it.
fn report_afterwards(
    view: &View<'_>,
    ticket: u64,
    challenge: &Challenge,
    state: ClosingState,
    snapshot: &UserSnapshot,
    submission: &Submission,
) -> Step {
    let now = view.now.wall;
    let device = submission.record.device;
    let about = |kind| AuditEvent {
        login: Some(challenge.login),
        user_id: Some(challenge.user),
        resource: Some(challenge.resource),
        factor: Some("push"),
        device: Some(device),
        ..AuditEvent::new(now, kind, "device")
    };
    let alert = AuditEvent { reason: Some("reported"), ..about(EventKind::Alert) };
    let audit = vec![about(EventKind::ChallengeReported).because(Reason::DeniedReported), alert];
    let writes = vec![Write::ReportChallenge { id: challenge.id, device, at: now }, freeze(snapshot)];
    let after = vec![After::Answer { ticket, answer: DecisionAnswer::Taken(state) }];
    Step::Commit { commit: Commit { writes, audit }, after }
}

fn freeze(snapshot: &UserSnapshot) -> Write {
    let scope = end::report_scope(snapshot);
    let (expected, mut limits) = snapshot.limits(scope);
    limits.freeze();
    Write::SetLimits { scope, expected, limits }
}

/// The challenge is pending in storage and nobody waits for it: the server was restarted in between.
fn orphaned(view: &View<'_>, ticket: u64, challenge: &Challenge) -> Step {
    let now = view.now.wall;
    let closing = Closing { state: ClosingState::Cancelled, at: now, decision: None };
    let event = AuditEvent {
        login: Some(challenge.login),
        user_id: Some(challenge.user),
        resource: Some(challenge.resource),
        factor: Some("push"),
        result: Some(LoginResult::Unanswered.as_str()),
        ..AuditEvent::new(now, EventKind::LoginEnded, "server")
    };
    let state = ClosingState::Cancelled;
    Step::Commit {
        commit: Commit {
            writes: vec![Write::CloseChallenge { id: challenge.id, closing }],
            audit: vec![event.because(Reason::Cancelled)],
        },
        after: vec![
            After::Closed { id: challenge.id, devices: challenge.devices.clone(), state },
            After::Answer { ticket, answer: DecisionAnswer::Closed(state) },
        ],
    }
}

/// The user was disabled while the login waited (S15).
fn disabled(view: &View<'_>, live: &Live, ticket: u64, challenge: &Challenge) -> Step {
    let now = view.now.wall;
    let closing = Closing { state: ClosingState::Cancelled, at: now, decision: None };
    let reason = Reason::UserDisabled;
    let verdict = Verdict::Reject { reason, after_challenge: true };
    Step::Commit {
        commit: Commit {
            writes: vec![Write::CloseChallenge { id: challenge.id, closing }],
            audit: vec![record::ended_push(live, None, now, LoginResult::Reject, reason)],
        },
        after: vec![
            After::End { login: live.id(), verdict },
            After::Closed { id: challenge.id, devices: challenge.devices.clone(), state: ClosingState::Cancelled },
            After::Answer { ticket, answer: DecisionAnswer::AccountDisabled },
        ],
    }
}

/// Ends the login for `reason` and tells the device so.
fn ended(view: &View<'_>, live: &Live, ticket: u64, reason: Reason, answer: DecisionAnswer) -> Step {
    match end::end(view, live, reason) {
        Step::Commit { commit, mut after } => {
            after.push(After::Answer { ticket, answer });
            Step::Commit { commit, after }
        }
        Step::Free(mut after) => {
            after.push(After::Answer { ticket, answer });
            Step::Free(after)
        }
    }
}

fn close(view: &View<'_>, challenge: &Challenge, state: ClosingState, submission: &Submission) -> Write {
    let closing = Closing { state, at: view.now.wall, decision: Some(submission.record.clone()) };
    Write::CloseChallenge { id: challenge.id, closing }
}

fn done(live: &Live, ticket: u64, challenge: &Challenge, state: ClosingState, verdict: Verdict) -> Vec<After> {
    vec![
        After::End { login: live.id(), verdict },
        After::Closed { id: challenge.id, devices: challenge.devices.clone(), state },
        After::Answer { ticket, answer: DecisionAnswer::Taken(state) },
    ]
}
