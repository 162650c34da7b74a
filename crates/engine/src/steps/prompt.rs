//! A login whose client can show a prompt: what is asked there, and what becomes of the answers.

use countersign_domain::{
    AuditEvent, CODE_DIGITS, Closing, ClosingState, Commit, Credential, DeviceId, LoginResult, Methods, OTP_POLICY,
    Reason, Secret, Timestamp, UserSnapshot, Write, is_code,
};

use super::{
    After, NOTHING, Step, View, accept, code,
    counters::Counters,
    end::{self, Ending},
    meet, push, question, refuse, refuse_for,
};
use crate::{
    live::{Approved, Binding, Live, Pending, ShownCode, Stage, Talk, Topic, Turn},
    record,
};

/// Logins of one user that wait at a prompt.
const AT_ONCE: usize = 3;
/// Questions of one login.
const QUESTIONS: u8 = 6;
/// Wrong answers that end a login.
const WRONG_ANSWERS: u8 = 2;

/// The first factor is right: the prompt asks for the second.
pub(super) fn begin(
    view: &View<'_>,
    live: &Live,
    snapshot: &UserSnapshot,
    counters: Counters<'_>,
    methods: Methods,
) -> Step {
    if let Some(older) = view.open.iter().find(|older| older.is_retried_by(live)) {
        return take_over(view, older, live, methods);
    }
    if snapshot.active_devices().next().is_none() {
        return refuse(view, live, Reason::NoDevice, counters.writes());
    }
    if view.open.iter().filter(|other| other.talk.is_some()).count() >= AT_ONCE {
        return refuse(view, live, Reason::Limited, counters.writes());
    }
    match methods {
        Methods { typed: true, code_to_phone: false, totp: false } => number(view, live, snapshot, counters),
        Methods { typed: true, .. } => {
            let audit = vec![record::asked(live, None, view.now.wall)];
            let then = question(view, live, Topic::Choice, question::choice());
            Step::Commit { commit: Commit { writes: counters.writes(), audit }, after: vec![then] }
        }
        Methods { typed: false, .. } => code(view, live, snapshot, counters, methods),
    }
}

/// Asks for a code. Where no push may go out, the account list still has one.
fn code(view: &View<'_>, live: &Live, snapshot: &UserSnapshot, mut counters: Counters<'_>, methods: Methods) -> Step {
    let binding = Binding::CodeToPhone(None);
    let text = question::code(&binding, methods);
    let opened = if methods.code_to_phone {
        push::open(view, live, snapshot, &mut counters, binding, live.prompt_until())
    } else {
        Err(Reason::Limited.into())
    };
    let everywhere = counters.everywhere();
    match opened {
        Ok(opened) => opened.step(counters, vec![question(view, live, Topic::Code, text)]),
        Err(_) if methods.totp && counters.get(everywhere).otp().allows(&OTP_POLICY, view.now.wall) => {
            let text = question::code(&Binding::None, methods);
            let audit = vec![record::asked(live, Some("totp"), view.now.wall)];
            let then = question(view, live, Topic::Code, text);
            Step::Commit { commit: Commit { writes: counters.writes(), audit }, after: vec![then] }
        }
        Err(refusal) => refuse_for(view, live, refusal, counters.writes()),
    }
}

/// Shows a number that is to be typed into the phone. Nobody but this prompt gets it (S05).
fn number(view: &View<'_>, live: &Live, snapshot: &UserSnapshot, mut counters: Counters<'_>) -> Step {
    let binding = Binding::Typed(six_digits(view));
    let text = question::number(&binding);
    match push::open(view, live, snapshot, &mut counters, binding, live.prompt_until()) {
        Ok(opened) => opened.step(counters, vec![question(view, live, Topic::Number, text)]),
        Err(refusal) => refuse_for(view, live, refusal, counters.writes()),
    }
}

/// A retry of a login whose first question nobody has answered. The new prompt shows a number of its own, so that what
/// was read at the old one lets nobody in.
fn take_over(view: &View<'_>, older: &Live, newer: &Live, methods: Methods) -> Step {
    let Some(pending) = older.pending() else { return NOTHING };
    let (binding, topic) = match &pending.binding {
        Binding::Typed(_) => (Binding::Typed(six_digits(view)), Topic::Number),
        Binding::CodeToPhone(_) => (Binding::CodeToPhone(None), Topic::Code),
        // No login with a prompt has such a challenge.
        Binding::None => return refuse(view, newer, Reason::Collision, Vec::new()),
    };
    let text = match topic {
        Topic::Number => question::number(&binding),
        Topic::Code | Topic::Choice => question::code(&binding, methods),
    };
    let talk = Talk { until: pending.deadline, ..first(view, newer, topic) };
    let then = After::Question { login: newer.id(), talk, message: text };
    let asked = record::challenged(newer, binding.mode(), view.now.wall);
    match meet::take_over(view, older, newer, binding) {
        Step::Commit { mut commit, mut after } => {
            commit.audit.push(asked);
            after.push(then);
            Step::Commit { commit, after }
        }
        free @ Step::Free(_) => free,
    }
}

/// The client has answered.
pub(super) fn answered(view: &View<'_>, live: &Live, credential: &Credential) -> Step {
    let (Some(talk), Some(methods)) = (&live.talk, live.request.resource.policy.prompt) else { return NOTHING };
    let (reason, state, counts) = (Reason::UserUnknown, ClosingState::Cancelled, false);
    let Some(snapshot) = view.snapshot else {
        return end::turn_away(view, live, None, Ending { reason, state, counts });
    };
    let counters = Counters::of(snapshot);
    if !snapshot.user.enabled {
        return end::turn_away(view, live, Some(counters), Ending { reason: Reason::UserDisabled, state, counts });
    }
    let overdue = live.pending().is_some_and(|pending| pending.expires_at <= view.now.wall);
    if overdue || talk.until <= view.now.monotonic {
        return end::end(view, live, Reason::Expired);
    }
    let typed = match credential {
        Credential::None => &[][..],
        Credential::Password(typed) => typed.expose(),
        // What cannot be read is a wrong one.
        Credential::Chap(_) | Credential::Eap | Credential::MsChap { .. } => b"?",
    };
    match (talk.topic, &live.stage) {
        (Topic::Choice, _) if typed.trim_ascii() == b"1" => number(view, live, snapshot, counters),
        (Topic::Choice, _) if typed.trim_ascii() == b"2" => code(view, live, snapshot, counters, methods),
        (Topic::Choice, _) => again(view, live, talk, counters, question::choice()),
        (Topic::Code, _) => code_typed(view, live, snapshot, talk, typed),
        (Topic::Number, Stage::Approved(approved)) => collect(view, live, snapshot, approved),
        // The phone has not decided yet: the request waits for it, as one without a prompt does.
        (Topic::Number, _) => NOTHING,
    }
}

/// A code was typed: that which the phone shows for this login, or one of the account list.
fn code_typed(view: &View<'_>, live: &Live, snapshot: &UserSnapshot, talk: &Talk, typed: &[u8]) -> Step {
    let methods = live.request.resource.policy.prompt;
    let mut counters = Counters::of(snapshot);
    let now = view.now.wall;
    let binding = live.pending().map_or(&Binding::None, |pending| &pending.binding);
    if typed.is_empty() {
        let Some(methods) = methods else { return NOTHING };
        return again(view, live, talk, counters, question::code(binding, methods));
    }
    if let (Some(pending), Binding::CodeToPhone(Some(shown))) = (live.pending(), binding)
        && is_code(typed)
        && Secret::new(typed.to_vec()) == shown.code
    {
        return let_in(view, live, snapshot, pending, shown);
    }
    let everywhere = counters.everywhere();
    let mut reason = Reason::CodeWrong;
    let (mut audit, mut counted) = (Vec::new(), None);
    if methods.is_some_and(|methods| methods.totp) && is_code(typed) {
        let paused = view.sources.are_paused(&live.request, view.now.monotonic);
        if !paused && counters.get(everywhere).otp().allows(&OTP_POLICY, now) {
            let found = code::find(snapshot, typed, now);
            match found {
                code::Found::Right { device, step } => return let_in_by_code(view, live, counters, device, step),
                code::Found::Repeated | code::Found::Used => reason = Reason::CodeUsed,
                code::Found::Wrong => {}
            }
            if !matches!(found, code::Found::Repeated) {
                counted = Some(After::WrongCode { login: live.id() });
                if counters.change(everywhere, |limits| limits.otp_mut().failed(&OTP_POLICY, now)) {
                    audit.push(record::alert(live, now, "codes_paused"));
                }
            }
        } else {
            reason = Reason::Limited;
        }
    }
    let wrong = talk.wrong.saturating_add(1);
    let hopeless = live.pending().is_none() && !counters.get(everywhere).otp().allows(&OTP_POLICY, now);
    if wrong >= WRONG_ANSWERS || talk.asked >= QUESTIONS || hopeless {
        let ending = Ending { reason, state: ClosingState::Denied, counts: true };
        let ended = with(end::turn_away(view, live, Some(counters), ending), audit);
        return counted.into_iter().fold(ended, Step::and);
    }
    audit.push(record::asked_again(live, reason, now));
    let talk = Talk { wrong, ..next(view, talk) };
    let then = After::Question { login: live.id(), talk, message: question::another_code() };
    let after = counted.into_iter().chain([then]).collect();
    Step::Commit { commit: Commit { writes: counters.writes(), audit }, after }
}

/// The code that the phone showed was typed where it belongs.
fn let_in(view: &View<'_>, live: &Live, snapshot: &UserSnapshot, pending: &Pending, shown: &ShownCode) -> Step {
    let now = view.now.wall;
    let device = shown.to.device;
    if !is_active(snapshot, device) {
        return removed(view, live, snapshot);
    }
    let mut counters = Counters::of(snapshot);
    push::approved(live, &mut counters, now);
    let mut writes = counters.writes();
    let closing = Closing { state: ClosingState::Approved, at: now, decision: Some(shown.to.clone()) };
    writes.push(Write::CloseChallenge { id: pending.challenge, closing });
    let audit = vec![by_device(live, device, shown.verification, now)];
    let after = vec![accept(live), approved(snapshot, pending)];
    Step::Commit { commit: Commit { writes, audit }, after }
}

/// A code of the account list was typed. Where a challenge is pending nobody need decide it any more.
fn let_in_by_code(view: &View<'_>, live: &Live, mut counters: Counters<'_>, device: DeviceId, step: u64) -> Step {
    let now = view.now.wall;
    counters.change_if(counters.everywhere(), |limits| limits.otp_mut().succeeded());
    let mut writes = counters.writes();
    writes.push(Write::BurnTotpStep { device, step });
    let mut after = vec![accept(live)];
    if let (Some(pending), Some(snapshot)) = (live.pending(), view.snapshot) {
        let closing = Closing { state: ClosingState::Approved, at: now, decision: None };
        writes.push(Write::CloseChallenge { id: pending.challenge, closing });
        after.push(approved(snapshot, pending));
    }
    let audit = vec![record::accepted_by_code(live, device, now)];
    Step::Commit { commit: Commit { writes, audit }, after }
}

/// The prompt of a login was answered whose number a device has typed.
fn collect(view: &View<'_>, live: &Live, snapshot: &UserSnapshot, approved: &Approved) -> Step {
    if !is_active(snapshot, approved.device) {
        return removed(view, live, snapshot);
    }
    let now = view.now.wall;
    let writes = vec![Write::RequireActive(approved.device)];
    let audit = vec![by_device(live, approved.device, approved.verification, now)];
    Step::Commit { commit: Commit { writes, audit }, after: vec![accept(live)] }
}

/// The record of a login that is let in by what a device did before.
fn by_device(live: &Live, device: DeviceId, verification: Option<&str>, now: Timestamp) -> AuditEvent {
    let event = record::ended_push(live, Some(device), now, LoginResult::Accept, Reason::Approved);
    AuditEvent { detail: verification.map(str::to_owned), ..event }
}

/// The request has waited for the phone as long as its client does: there is time for another one.
pub(super) fn not_yet(view: &View<'_>, live: &Live) -> Step {
    let (Some(talk), Turn::Ours(_)) = (&live.talk, live.turn) else { return NOTHING };
    if talk.topic != Topic::Number || live.answer_by() > view.now.monotonic {
        return NOTHING;
    }
    let message = match &live.stage {
        Stage::Pending(pending) => question::number_again(&pending.binding),
        // The phone has decided in the last moment, when the client may have gone.
        Stage::Approved(_) => question::confirmed(),
        Stage::Checking | Stage::TakenOver => return NOTHING,
    };
    if talk.asked >= QUESTIONS {
        return end::end(view, live, Reason::Expired);
    }
    Step::Free(vec![After::Question { login: live.id(), talk: next(view, talk), message }])
}

/// Asks once more after an answer that says nothing.
fn again(view: &View<'_>, live: &Live, talk: &Talk, counters: Counters<'_>, message: String) -> Step {
    if talk.asked >= QUESTIONS {
        let ending = Ending { reason: Reason::CodeWrong, state: ClosingState::Denied, counts: true };
        return end::turn_away(view, live, Some(counters), ending);
    }
    Step::Free(vec![After::Question { login: live.id(), talk: next(view, talk), message }])
}

/// The device that decided may not answer any more.
fn removed(view: &View<'_>, live: &Live, snapshot: &UserSnapshot) -> Step {
    let ending = Ending { reason: Reason::NoDevice, state: ClosingState::Cancelled, counts: false };
    end::turn_away(view, live, Some(Counters::of(snapshot)), ending)
}

fn is_active(snapshot: &UserSnapshot, device: DeviceId) -> bool {
    snapshot.active_devices().any(|active| active.id == device)
}

fn approved(snapshot: &UserSnapshot, pending: &Pending) -> After {
    let devices = snapshot.active_devices().map(|device| device.id).collect();
    After::Closed { id: pending.challenge, devices, state: ClosingState::Approved }
}

fn with(step: Step, more: Vec<AuditEvent>) -> Step {
    match step {
        Step::Commit { mut commit, after } => {
            commit.audit.extend(more);
            Step::Commit { commit, after }
        }
        free @ Step::Free(_) => free,
    }
}

/// Asks something new.
fn question(view: &View<'_>, live: &Live, topic: Topic, message: String) -> After {
    let talk = live.talk.as_ref().map_or_else(|| first(view, live, topic), |talk| Talk { topic, ..next(view, talk) });
    After::Question { login: live.id(), talk, message }
}

fn first(view: &View<'_>, live: &Live, topic: Topic) -> Talk {
    Talk { topic, state: view.entropy.octets(), asked: 1, wrong: 0, until: live.prompt_until() }
}

fn next(view: &View<'_>, talk: &Talk) -> Talk {
    Talk { state: view.entropy.octets(), asked: talk.asked.saturating_add(1), ..talk.clone() }
}

/// Six digits that no other open login of the user has.
pub(super) fn six_digits(view: &View<'_>) -> Secret {
    let draw = || {
        // Of 2^64 values the last digits are as good as evenly spread.
        let digits = u64::from_le_bytes(view.entropy.octets()) % 1_000_000;
        Secret::new(format!("{digits:0CODE_DIGITS$}").into_bytes())
    };
    let taken = |number: &Secret| {
        view.open.iter().any(|live| live.pending().is_some_and(|pending| pending.binding.number() == Some(number)))
    };
    let mut number = draw();
    while taken(&number) {
        number = draw();
    }
    number
}
