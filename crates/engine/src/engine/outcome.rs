//! What follows when a step is durable.

use core::time::Duration;

use countersign_domain::{AuditEvent, ClosingState, Door, LoginId, Question, Reason, Verdict};

use super::Engine;
use crate::{
    Against, Effect, Lane, Notice, Now,
    lane::Work,
    live::{Approved, Binding, Heard, Live, Pending, Stage, Talk, Turn},
    steps::{self, After},
    windows::{Open, Place},
};

impl Engine {
    pub(super) fn carry_out(&mut self, now: Now, lane: Lane, step: After, out: &mut Vec<Effect>) {
        match step {
            After::CheckPrimary { login, against, password } => {
                if let (Lane::User(user), Against::Directory { .. } | Against::Upstream { .. }) = (lane, &against)
                    && let Some(live) = self.live.get(&login)
                    && live.request.resource.proves_user()
                {
                    self.checks.begin(login, user, live.policy);
                }
                out.push(Effect::CheckPrimary { login, against, password });
            }
            After::Opened { login, challenge, pending } => {
                self.set_pending(lane, login, pending);
                out.push(Effect::Publish(Notice::Opened(challenge)));
            }
            After::Question { login, talk, message } => self.ask(lane, login, talk, message, out),
            After::Shown { login, shown } => {
                let Some(Stage::Pending(pending)) = self.live.get_mut(&login).map(|live| &mut live.stage) else {
                    return;
                };
                pending.binding = Binding::CodeToPhone(Some(shown));
                out.push(Effect::Publish(Notice::CodeShown(pending.challenge)));
            }
            After::Approved { login, approved } => self.set_approved(login, approved),
            After::TakeOver { from, to, binding } => self.take_over(lane, from, to, binding, out),
            After::End { login, verdict } => self.end(lane, login, verdict, out),
            After::Closed { id, devices, state } => out.push(Effect::Publish(Notice::Closed { id, devices, state })),
            After::Answer { ticket, answer } => out.push(Effect::Answer { ticket, answer }),
            After::WindowAnswer { ticket, answer } => out.push(Effect::WindowAnswer { ticket, answer }),
            After::WindowOpened { window, decided } => {
                let place = (window.user, window.resource);
                if self.windows.opened(now, decided, *window) {
                    self.enqueue(lane, Work::SpoilWindow(place), out);
                }
            }
            After::Hold { place, until } => self.windows.hold(place, until),
            After::WindowClosed { place, state } => self.close_window(place, state, out),
            // Counted already.
            After::WrongCode { .. } => {}
            After::Remember { user, resource, approval } => self.remembered.keep(user, resource, approval),
            After::Spend { user, resource } => self.remembered.spend(user, resource),
            After::Forget { user } => self.remembered.forget(user),
            After::Unapproved { resource } => {
                let most = self.bounds.unapproved_per_resource;
                if self.brakes.entry(resource).or_default().count(now.monotonic, most) {
                    let event = AuditEvent::alert(now.wall, "push_stopped_at_resource");
                    out.push(Effect::Record(Box::new(AuditEvent { resource: Some(resource), ..event })));
                }
            }
        }
    }

    pub(super) fn close_window(&mut self, place: Place, state: ClosingState, out: &mut Vec<Effect>) {
        if let Some(Open { window, .. }) = self.windows.close(place) {
            out.push(Effect::Publish(Notice::WindowClosed { device: window.device, id: window.id, state }));
        }
    }

    /// Counts a wrong code by where it came from.
    pub(super) fn count_wrong_code(&mut self, now: Now, login: LoginId, out: &mut Vec<Effect>) {
        let Some(request) = self.live.get(&login).map(|live| &live.request) else { return };
        if self.sources.count(request, now.monotonic) {
            let event = AuditEvent {
                client: Some(request.client),
                resource: Some(request.resource.id),
                source: request.source.address.clone(),
                source_trust: Some("reported"),
                ..AuditEvent::alert(now.wall, "codes_paused_at_source")
            };
            out.push(Effect::Record(Box::new(event)));
        }
    }

    /// Changes a login, and when something is due for it.
    pub(super) fn adjust(&mut self, login: LoginId, change: impl FnOnce(&mut Live)) {
        let Some(live) = self.live.get_mut(&login) else { return };
        let before: Option<Duration> = live.due();
        change(live);
        let after = live.due();
        if before != after {
            self.deadlines.extend(after.map(|due| (due, login)));
            if let Some(due) = before {
                self.deadlines.remove(&(due, login));
            }
        }
    }

    fn open(&mut self, lane: Lane, login: LoginId) {
        if let Some(state) = self.lanes.get_mut(&lane)
            && !state.open.contains(&login)
        {
            state.open.push(login);
        }
    }

    fn set_pending(&mut self, lane: Lane, login: LoginId, pending: Pending) {
        self.adjust(login, |live| live.stage = Stage::Pending(pending));
        self.open(lane, login);
    }

    fn set_approved(&mut self, login: LoginId, approved: Approved) {
        self.adjust(login, |live| live.stage = Stage::Approved(approved));
    }

    /// Answers the newest request of a login with a question.
    fn ask(&mut self, lane: Lane, login: LoginId, talk: Talk, message: String, out: &mut Vec<Effect>) {
        let Some(live) = self.live.get(&login) else { return };
        let Turn::Ours(request) = live.turn else { return };
        let (door, state) = (live.request.door, talk.state);
        self.states.insert(state, login);
        self.adjust(login, |live| {
            live.turn = Turn::Theirs(request);
            live.talk = Some(talk);
            live.heard = Heard::default();
        });
        self.open(lane, login);
        let verdict = Verdict::Ask(Question { state, message, echo: true });
        out.push(Effect::Verdict { login: request, door, verdict });
    }

    fn take_over(&mut self, lane: Lane, from: LoginId, to: LoginId, binding: Binding, out: &mut Vec<Effect>) {
        let Some(old) = self.live.get(&from) else { return };
        let Some(mut pending) = old.pending().cloned() else { return };
        let (turn, door, sent) = (old.turn, old.request.door, old.sent.clone());
        self.adjust(from, |live| live.stage = Stage::TakenOver);
        pending.takeovers = pending.takeovers.saturating_add(1);
        pending.binding = binding;
        // It is the same login, and the servers that let it in were asked once, unless they have let this one in too.
        self.adjust(to, |live| live.sent = live.sent.take().or(sent));
        self.set_pending(lane, to, pending);
        if let Some(state) = self.lanes.get_mut(&lane) {
            state.take_over(from, to);
        }
        if let Turn::Ours(login) = turn {
            out.push(Effect::Verdict { login, door, verdict: Verdict::Unanswered { reason: Reason::Superseded } });
        }
    }

    /// A login has ended; whoever waits for its verdict gets it. The logins that it spoke for are forgotten with it.
    pub(super) fn end(&mut self, lane: Lane, login: LoginId, verdict: Verdict, out: &mut Vec<Effect>) {
        // Of a window nothing is left to write here: it ended with its login, or could not be written.
        let place = self.live.get(&login).and_then(steps::place_of);
        if let Some(place) = place.filter(|place| self.windows.at(*place).is_some_and(|open| open.login == Some(login)))
        {
            self.close_window(place, ClosingState::Cancelled, out);
        }
        let waiting = self.forget(login);
        let spoken_for = self.lanes.get_mut(&lane).map(|state| state.close(login)).unwrap_or_default();
        for older in spoken_for {
            self.forget(older);
        }
        if let Some((Turn::Ours(login), door)) = waiting {
            out.push(Effect::Verdict { login, door, verdict });
        }
    }

    /// Takes a login out of all tables.
    fn forget(&mut self, login: LoginId) -> Option<(Turn, Door)> {
        let live = self.live.remove(&login)?;
        if let Some(place) = steps::place_of(&live) {
            self.windows.went(place);
        }
        if let Some(due) = live.due() {
            self.deadlines.remove(&(due, login));
        }
        self.requests.remove(&live.turn.request());
        if let Some(talk) = &live.talk {
            self.states.remove(&talk.state);
        }
        if let Some(count) = self.per_client.get_mut(&live.client()) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.per_client.remove(&live.client());
            }
        }
        Some((live.turn, live.request.door))
    }
}
