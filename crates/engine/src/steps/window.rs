//! Sign-in windows: a user opens one, a login is let in by it, or it comes to nothing.

use countersign_domain::{
    AuditEvent, ClosingState, Commit, DeviceState, EventKind, LimitScope, LoginId, Passkey, Reason, SignInWindow,
    Timestamp, UserSnapshot, Verdict, WindowClosing, Write,
};

use super::{
    After, NOTHING, Step, View, accept,
    counters::Counters,
    refuse,
    verification::{self, Unverified},
};
use crate::{
    WindowAnswer, WindowRefusal, WindowRequest,
    live::Live,
    record,
    windows::{Open, Place},
};

/// A device opens a window. The order is that of the device protocol.
pub(super) fn open(view: &View<'_>, ticket: u64, request: &WindowRequest) -> Step {
    let answer = |answer| Step::Free(vec![After::WindowAnswer { ticket, answer }]);
    let refused = |refusal| answer(WindowAnswer::Refused(refusal));
    let Some(snapshot) = view.snapshot else { return refused(WindowRefusal::DeviceRemoved) };
    let device = snapshot.devices.iter().find(|device| device.id == request.device);
    let Some(device) = device.filter(|device| device.state == DeviceState::Active) else {
        return refused(WindowRefusal::DeviceRemoved);
    };
    if !snapshot.user.enabled {
        return refused(WindowRefusal::AccountDisabled);
    }
    let resource = &request.resource;
    if !resource.has_windows() || snapshot.user.origin.directory() != resource.directory {
        return refused(WindowRefusal::ApplicationUnknown);
    }
    let now = view.now.wall;
    let window = request.window(snapshot.user.id, now);
    let place = (snapshot.user.id, resource.id);
    let there = view.windows.at(place);
    if let Some(there) = there.filter(|there| there.window.says_the_same(&window)) {
        return answer(WindowAnswer::Open { expires_at: there.window.expires_at });
    }
    let mut counters = Counters::of(snapshot);
    let check = request.assertion.as_ref().map(|check| |passkey: &Passkey| check.of(passkey));
    let shown = verification::shown(resource.policy.user_verification, request.user_verification, device, check);
    let refusal = match &shown {
        Ok(_) => refusal(view, place, there, &mut counters),
        Err(Unverified::Required) => Some(WindowRefusal::UserVerificationRequired),
        Err(Unverified::Unsupported) => Some(WindowRefusal::UserVerificationUnsupported),
        Err(Unverified::Invalid | Unverified::Copied) => Some(WindowRefusal::AssertionInvalid),
    };
    if let Some(refusal) = refusal {
        let event = about(&window, now, EventKind::WindowRefused);
        let mut audit = vec![AuditEvent { reason: Some(refusal.as_str()), actor: "device".to_owned(), ..event }];
        if matches!(shown, Err(Unverified::Copied)) {
            let alert = about(&window, now, EventKind::Alert);
            audit.push(AuditEvent { reason: Some("passkey_copied"), ..alert });
        }
        let after = vec![After::WindowAnswer { ticket, answer: WindowAnswer::Refused(refusal) }];
        return Step::Commit { commit: Commit { writes: Vec::new(), audit }, after };
    }
    counters.change(counters.everywhere(), |limits| limits.window_opened(now));
    let mut writes = counters.writes();
    writes.extend(shown.ok().and_then(|shown| shown.write));
    writes.push(Write::OpenWindow(Box::new(window.clone())));
    let audit = vec![AuditEvent { actor: "device".to_owned(), ..about(&window, now, EventKind::WindowOpened) }];
    let answer = WindowAnswer::Open { expires_at: window.expires_at };
    let opened = After::WindowOpened { window: Box::new(window), decided: view.now.monotonic };
    Step::Commit { commit: Commit { writes, audit }, after: vec![opened, After::WindowAnswer { ticket, answer }] }
}

fn refusal(view: &View<'_>, place: Place, there: Option<&Open>, counters: &mut Counters<'_>) -> Option<WindowRefusal> {
    let now = view.now.wall;
    let everywhere = counters.everywhere();
    if counters.get(everywhere).is_frozen() {
        return Some(WindowRefusal::Frozen);
    }
    if there.is_some() {
        return Some(WindowRefusal::AlreadyOpen);
    }
    if let Some(until) = view.windows.busy_until(place, view.now) {
        return Some(WindowRefusal::LoginUnderWay { until });
    }
    let written = counters.get(LimitScope::UserAt(place.0, place.1)).unapproved_until(now);
    if let Some(until) = written.max(view.windows.refused_until(place, view.now)) {
        return Some(WindowRefusal::LoginUnapproved { until });
    }
    let until = counters.get(everywhere).windows_spent_until(now)?;
    Some(WindowRefusal::Spent { until })
}

/// A login that a window is for has done with its first factor: it is held, for others to show.
pub(super) fn hold(view: &View<'_>, live: &Live, place: Place, counters: Counters<'_>) -> Step {
    let writes = counters.writes();
    if view.windows.at(place).is_none_or(|open| open.login != Some(live.id()) || open.spoilt.is_some()) {
        return refuse(view, live, Reason::Collision, writes);
    }
    // Counted from its arrival: while its first factor was looked at, others would have shown as well.
    let until = live.started.monotonic.saturating_add(SignInWindow::HOLD).max(view.now.monotonic);
    let after = vec![After::Hold { place, until }];
    if writes.is_empty() {
        Step::Free(after)
    } else {
        Step::Commit { commit: Commit { writes, audit: Vec::new() }, after }
    }
}

/// The time of a window has come: nobody came, or its login was held for long enough.
pub(super) fn due(view: &View<'_>, place: Place) -> Step {
    let Some(open) = view.windows.at(place) else { return NOTHING };
    let Some(login) = open.login else {
        return if open.is_over(view.now) { end(view, open, ClosingState::Expired) } else { NOTHING };
    };
    let held = open.held_until.is_some_and(|until| until <= view.now.monotonic);
    match view.live.get(&login) {
        Some(live) if held && open.spoilt.is_none() => let_in(view, open, live),
        _ => NOTHING,
    }
}

fn let_in(view: &View<'_>, open: &Open, live: &Live) -> Step {
    let now = view.now.wall;
    let Some(snapshot) = view.snapshot else { return refuse(view, live, Reason::UserUnknown, Vec::new()) };
    let mut counters = Counters::of(snapshot);
    let everywhere = counters.everywhere();
    let reason = if !snapshot.user.enabled {
        Some(Reason::UserDisabled)
    } else if !snapshot.active_devices().any(|device| device.id == open.window.device) {
        Some(Reason::NoDevice)
    } else if counters.get(everywhere).is_frozen() {
        Some(Reason::Limited)
    } else if live.answer_by() <= view.now.monotonic {
        Some(Reason::Expired)
    } else {
        None
    };
    if let Some(reason) = reason {
        return refuse(view, live, reason, Vec::new());
    }
    counters.change(everywhere, |limits| limits.note_approval(&live.request.resource.name, now));
    let mut writes = counters.writes();
    let mut audit = vec![record::accepted_by_window(live, open.window.device, now)];
    let mut after = Vec::new();
    close(view, open, ClosingState::Approved, &mut writes, &mut audit, &mut after);
    after.push(accept(live));
    Step::Commit { commit: Commit { writes, audit }, after }
}

/// Somebody else came, or somebody who is turned away: nobody is let in.
pub(super) fn spoil(view: &View<'_>, place: Place) -> Step {
    let Some(open) = view.windows.at(place) else { return NOTHING };
    let Some(state) = open.spoilt else { return NOTHING };
    match open.login.and_then(|login| view.live.get(&login)) {
        // What becomes of the window is seen to with the end of its login.
        Some(live) => refuse(view, live, Reason::Collision, Vec::new()),
        None => end(view, open, state),
    }
}

fn end(view: &View<'_>, open: &Open, state: ClosingState) -> Step {
    let (mut writes, mut audit, mut after) = (Vec::new(), Vec::new(), Vec::new());
    close(view, open, state, &mut writes, &mut audit, &mut after);
    Step::Commit { commit: Commit { writes, audit }, after }
}

/// Adds what ends a window. It stands before the end of its login, which would end it in another way.
fn close(
    view: &View<'_>,
    open: &Open,
    state: ClosingState,
    writes: &mut Vec<Write>,
    audit: &mut Vec<AuditEvent>,
    after: &mut Vec<After>,
) {
    let (window, now) = (&open.window, view.now.wall);
    if view.snapshot.is_some() {
        // A user who was removed took the window along.
        let closing = WindowClosing { state, at: now };
        writes.push(Write::CloseWindow { device: window.device, id: window.id.clone(), closing });
    }
    let event = about(window, now, EventKind::WindowClosed);
    audit.push(AuditEvent { login: open.login, reason: Some(state.as_str()), ..event });
    if state == ClosingState::Collision {
        let alert = about(window, now, EventKind::Alert);
        audit.push(AuditEvent { login: open.login, reason: Some("window_spoilt"), ..alert });
    }
    after.insert(0, After::WindowClosed { place: (window.user, window.resource), state });
}

/// What the end of logins means to windows, whatever ended them: a login that was not approved keeps windows shut for a
/// time, and with its login a window ends. In the same transaction.
pub(super) fn settle(view: &View<'_>, step: Step) -> Step {
    let (mut commit, mut after) = match step {
        Step::Commit { commit, after } => (commit, after),
        Step::Free(after) => (Commit::default(), after),
    };
    let ends: Vec<(LoginId, bool)> = after.iter().filter_map(ending).collect();
    for (login, unapproved) in ends {
        let Some(live) = view.live.get(&login) else { continue };
        let (Some(place), Some(snapshot)) = (place_of(live), view.snapshot) else { continue };
        if unapproved {
            note_unapproved(snapshot, place, view.now.wall, &mut commit.writes);
        }
        let closed = |step: &After| matches!(step, After::WindowClosed { place: closed, .. } if *closed == place);
        if let Some(open) = view.windows.at(place).filter(|open| open.login == Some(login))
            && !after.iter().any(closed)
        {
            let state = open.spoilt.unwrap_or(ClosingState::Cancelled);
            close(view, open, state, &mut commit.writes, &mut commit.audit, &mut after);
        }
    }
    if commit.writes.is_empty() && commit.audit.is_empty() { Step::Free(after) } else { Step::Commit { commit, after } }
}

/// The login that a step ends, and whether it was not approved. For one that was superseded the newer one speaks.
const fn ending(step: &After) -> Option<(LoginId, bool)> {
    match step {
        After::End { login, verdict } => {
            let approved = matches!(verdict, Verdict::Accept(_) | Verdict::Unanswered { reason: Reason::Superseded });
            Some((*login, !approved))
        }
        _ => None,
    }
}

fn note_unapproved(snapshot: &UserSnapshot, place: Place, now: Timestamp, writes: &mut Vec<Write>) {
    let at = LimitScope::UserAt(place.0, place.1);
    let changed = writes.iter_mut().find_map(|write| match write {
        Write::SetLimits { scope, limits, .. } if *scope == at => Some(limits),
        _ => None,
    });
    if let Some(limits) = changed {
        limits.note_unapproved(now);
    } else {
        let (expected, mut limits) = snapshot.limits(at);
        limits.note_unapproved(now);
        writes.push(Write::SetLimits { scope: at, expected, limits });
    }
}

/// The user and the resource of a login, where windows can be opened.
pub(crate) fn place_of(live: &Live) -> Option<Place> {
    let user = live.user.filter(|_| live.request.resource.has_windows())?;
    Some((user, live.request.resource.id))
}

/// Everything about a window that is the same in all its records.
fn about(window: &SignInWindow, time: Timestamp, kind: EventKind) -> AuditEvent {
    AuditEvent {
        user_id: Some(window.user),
        resource: Some(window.resource),
        device: Some(window.device),
        factor: Some("window"),
        binding: Some("none"),
        detail: Some(window.id.as_str().to_owned()),
        ..AuditEvent::new(time, kind, "server")
    }
}
