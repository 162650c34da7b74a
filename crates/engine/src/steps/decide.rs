//! A device decides.

use countersign_domain::{
    AuditEvent, Challenge, ChallengeState, Closing, ClosingState, Commit, Decision, DeviceState, EventKind, Limits,
    LoginResult, Passkey, Reason, Secret, UserSnapshot, Verdict, Write,
};

use super::verification::{Shown, Unverified};
use super::{After, Step, View, accept, counters::Counters, end, prompt::six_digits, push, push_scope, verification};
use crate::{
    DecisionAnswer, Submission,
    live::{Approved, Binding, Live, ShownCode, Stage, Turn},
    record,
};

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
        // A Verify that ended the login had the wrong number.
        let wrong = first.decision == Decision::Verify && *state == ClosingState::Denied;
        return answer(if wrong { DecisionAnswer::NumberWrong } else { DecisionAnswer::Taken(*state) });
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
    let Some((live, pending)) = live.and_then(|live| Some((live, live.pending()?))) else {
        return orphaned(view, ticket, challenge);
    };
    if !challenge.is_open(view.now.wall) || pending.deadline <= view.now.monotonic {
        return ended(view, live, ticket, Reason::Expired, DecisionAnswer::Closed(ClosingState::Expired));
    }
    if let Binding::CodeToPhone(Some(shown)) = &pending.binding {
        if shown.to == *taken && submission.signature.holds(challenge) {
            return answer(DecisionAnswer::CodeShown(shown.code.clone()));
        }
        if taken.decision == Decision::Verify {
            return answer(DecisionAnswer::CodeShownBefore);
        }
    }
    if !submission.signature.holds(challenge) {
        return answer(DecisionAnswer::SignatureInvalid);
    }
    if !snapshot.user.enabled {
        return disabled(view, live, ticket, challenge);
    }
    let shown = if taken.decision == Decision::Verify {
        let check = submission.assertion.as_ref().map(|check| |passkey: &Passkey| check.of(challenge, passkey));
        match verification::shown(challenge.user_verification, taken.user_verification, device, check) {
            Ok(shown) => Some(shown),
            Err(Unverified::Required) => return answer(DecisionAnswer::UserVerificationRequired),
            Err(Unverified::Unsupported) => return answer(DecisionAnswer::UserVerificationUnsupported),
            Err(Unverified::Invalid) => return answer(DecisionAnswer::AssertionInvalid),
            Err(Unverified::Copied) => return verification::copied(view, live, ticket, device),
        }
    } else {
        None
    };
    match shown {
        Some(shown) => match &pending.binding {
            Binding::Typed(_) if taken.number.is_empty() => answer(DecisionAnswer::NumberMalformed),
            Binding::Typed(number) if Secret::new(taken.number.clone().into_bytes()) == *number => {
                verify(view, live, ticket, challenge, snapshot, submission, shown)
            }
            Binding::Typed(_) => refused(view, live, ticket, challenge, snapshot, submission),
            Binding::None | Binding::CodeToPhone(_) if !taken.number.is_empty() => {
                answer(DecisionAnswer::NumberMalformed)
            }
            Binding::None => verify(view, live, ticket, challenge, snapshot, submission, shown),
            Binding::CodeToPhone(_) => show_code(view, live, ticket, submission, shown),
        },
        None if !taken.number.is_empty() => answer(DecisionAnswer::NumberMalformed),
        None => refused(view, live, ticket, challenge, snapshot, submission),
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
    let device = submission.record.device;
    let mut counters = Counters::of(snapshot);
    push::approved(live, &mut counters, now);
    let mut writes = vec![close(view, challenge, ClosingState::Approved, submission)];
    writes.extend(counters.writes());
    writes.extend(shown.write);
    let state = ClosingState::Approved;
    let (event, first) = match live.turn {
        Turn::Ours(_) if view.now.monotonic < live.answer_by() => {
            (record::ended_push(live, Some(device), now, LoginResult::Accept, Reason::Approved), accept(live))
        }
        // Somebody has still to say so at the prompt, or the client waits no longer and will be asked again.
        Turn::Ours(_) | Turn::Theirs(_) => {
            let approved = Approved { challenge: challenge.id, device, verification: shown.word };
            let event = record::by_push(live, Some(device), now, EventKind::ChallengeApproved);
            (event, After::Approved { login: live.id(), approved })
        }
    };
    let after = vec![
        first,
        After::Closed { id: challenge.id, devices: challenge.devices.clone(), state },
        After::Answer { ticket, answer: DecisionAnswer::Taken(state) },
    ];
    let audit = vec![AuditEvent { detail: shown.word.map(str::to_owned), ..event }];
    Step::Commit { commit: Commit { writes, audit }, after }
}

/// Makes the code that is to be typed at the prompt. Nobody is let in by it yet.
fn show_code(view: &View<'_>, live: &Live, ticket: u64, submission: &Submission, verified: Shown) -> Step {
    let code = six_digits(view);
    let shown = ShownCode { code: code.clone(), to: submission.record.clone(), verification: verified.word };
    let device = Some(submission.record.device);
    let event = record::by_push(live, device, view.now.wall, EventKind::ChallengeCodeShown);
    let audit = vec![AuditEvent { detail: verified.word.map(str::to_owned), ..event }];
    let after = vec![
        After::Shown { login: live.id(), shown },
        After::Answer { ticket, answer: DecisionAnswer::CodeShown(code) },
    ];
    Step::Commit { commit: Commit { writes: verified.write.into_iter().collect(), audit }, after }
}

/// The login is not let in: somebody denied it, or the number is wrong. Whoever typed a wrong one does not have the prompt
/// before them or mistook a digit, and is not asked again in either case (S06).
fn refused(
    view: &View<'_>,
    live: &Live,
    ticket: u64,
    challenge: &Challenge,
    snapshot: &UserSnapshot,
    submission: &Submission,
) -> Step {
    let now = view.now.wall;
    let (reason, answer) = match submission.record.decision {
        Decision::Verify => (Reason::CodeWrong, DecisionAnswer::NumberWrong),
        Decision::Deny => (Reason::Denied, DecisionAnswer::Taken(ClosingState::Denied)),
        Decision::DenyReport => (Reason::DeniedReported, DecisionAnswer::Taken(ClosingState::Denied)),
    };
    let mut counters = Counters::of(snapshot);
    let device = Some(submission.record.device);
    let mut audit = vec![record::ended_push(live, device, now, LoginResult::Reject, reason)];
    if counters.change(push_scope(snapshot.user.id, live), |limits| limits.push_refused(now)) {
        audit.push(record::alert(live, now, "push_paused"));
    }
    if submission.record.decision == Decision::DenyReport {
        audit.push(record::alert(live, now, "reported"));
        counters.change(end::report_scope(snapshot), Limits::freeze);
    }
    let mut writes = vec![close(view, challenge, ClosingState::Denied, submission)];
    writes.extend(counters.writes());
    let verdict = Verdict::Reject { reason, after_challenge: true };
    let mut after = vec![
        After::End { login: live.id(), verdict },
        After::Closed { id: challenge.id, devices: challenge.devices.clone(), state: ClosingState::Denied },
        After::Answer { ticket, answer },
    ];
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
    let mut audit = vec![about(EventKind::ChallengeReported).because(Reason::DeniedReported), alert];
    let mut counters = Counters::of(snapshot);
    counters.change(end::report_scope(snapshot), Limits::freeze);
    let mut writes = vec![Write::ReportChallenge { id: challenge.id, device, at: now }];
    writes.extend(counters.writes());
    let mut after = vec![After::Answer { ticket, answer: DecisionAnswer::Taken(state) }];
    let waits = |live: &&Live| matches!(&live.stage, Stage::Approved(approved) if approved.challenge == challenge.id);
    if let Some(live) = view.live.get(&challenge.login).filter(waits) {
        // It was approved, and nobody has answered its prompt yet.
        let reason = Reason::DeniedReported;
        audit.push(record::ended_push(live, Some(device), now, LoginResult::Reject, reason));
        after.push(After::End { login: live.id(), verdict: Verdict::Reject { reason, after_challenge: true } });
    }
    Step::Commit { commit: Commit { writes, audit }, after }
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
