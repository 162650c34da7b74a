//! Sign-in windows in the model.

use countersign_domain::{EventKind, SignInWindow, WindowId, WindowState};
use countersign_engine::{WindowAnswer, WindowRequest};

use super::*;

type Key = (DeviceId, WindowId);

/// What the model knows of windows that the engine does not.
#[derive(Default)]
pub(super) struct Watched {
    /// When it was decided that it opens.
    opened: HashMap<Key, Duration>,
    /// When it was decided that it lets somebody in.
    let_in: HashMap<Key, Duration>,
    used: HashSet<Key>,
    asked: HashMap<u64, u32>,
    answered: HashSet<u64>,
    /// Logins that were not approved where windows can be opened, and when.
    unapproved: Vec<(UserId, ResourceId, Duration)>,
}

impl World {
    /// Somebody opens a window and, most times, logs on a little later. Sometimes somebody else does, too.
    pub(super) fn plan_window(&mut self, end: Duration) {
        let places: Vec<_> = self.resources.iter().filter(|(resource, _)| resource.has_windows()).cloned().collect();
        if places.is_empty() {
            return;
        }
        let place = places[self.rng.random_range(0..places.len())].clone();
        let known = if place.0.directory.is_some() { &self.entries } else { &self.users };
        let (user, name) = known[self.rng.random_range(0..known.len())].clone();
        let devices: Vec<_> = self.database.devices.values().filter(|d| d.user == user).map(|d| d.id).collect();
        if devices.is_empty() {
            return;
        }
        let device = devices[self.rng.random_range(0..devices.len())];
        let at = self.within(end);
        let request = WindowRequest {
            id: WindowId::from_bytes(self.rng.random()),
            device,
            resource: Arc::clone(&place.0),
            user_verification: UserVerificationReached::None,
            device_time: "2027-01-15T08:00:00Z".to_owned(),
            assertion: None,
        };
        self.plan(at, Action::OpenWindow(Box::new(request.clone())));
        if self.rng.random_ratio(1, 4) {
            let again = at + self.millis(80_000);
            self.plan(again, Action::OpenWindow(Box::new(request)));
        }
        // Their own logins, and those of others who are quicker, slower, or came before.
        let mut when = at;
        for chance in [4, 2, 1] {
            if !self.rng.random_ratio(chance, 5) {
                continue;
            }
            when = match self.rng.random_range(0..8) {
                0 => at.saturating_sub(self.millis(40_000)),
                1..4 => when + self.millis(5000),
                _ => at + self.millis(70_000),
            };
            self.origins += 1;
            let (origin, mut login) = (self.origins, self.request());
            (login.resource, login.client) = place.clone();
            login.user_typed = HostileText::from(&*name);
            if self.rng.random_ratio(9, 10) {
                login.credential = Credential::None;
            }
            self.introduce(when, login.clone(), origin);
            for _ in 0..self.rng.random_range(0..3) {
                let heard = when + self.millis(4000);
                self.plan(heard, Action::Heard(login.id));
            }
            if self.rng.random_ratio(1, 12) {
                let gone = when + self.millis(4000);
                self.plan(gone, Action::Superseded(login.id));
            }
        }
    }

    /// As the desk hands it on: unless the identifier was used.
    pub(super) fn open_window(&mut self, request: Box<WindowRequest>) -> Option<Event> {
        if self.database.windows.contains_key(&(request.device, request.id.clone())) {
            return None;
        }
        let user = self.database.devices.get(&request.device)?.user;
        self.next_ticket += 1;
        self.windows.asked.insert(self.next_ticket, self.incarnation);
        Some(Event::OpenWindow { ticket: self.next_ticket, user, request })
    }

    pub(super) fn window_answered(&mut self, ticket: u64, answer: WindowAnswer) {
        assert!(self.windows.answered.insert(ticket), "a device was answered twice");
        match answer {
            WindowAnswer::Open { .. } => self.tally.windows += 1,
            WindowAnswer::Refused(_) => self.tally.windows_refused += 1,
        }
    }

    /// Something is about to be written: what was decided about windows was decided now.
    pub(super) fn window_decided(&mut self, commit: &Commit) {
        for write in &commit.writes {
            match write {
                Write::OpenWindow(window) => {
                    self.windows.opened.insert((window.device, window.id.clone()), self.monotonic);
                }
                Write::CloseWindow { device, id, closing } if closing.state == ClosingState::Approved => {
                    self.windows.let_in.insert((*device, id.clone()), self.monotonic);
                }
                _ => {}
            }
        }
    }

    pub(super) fn window_verdict(&mut self, login: LoginId, verdict: &Verdict) {
        let known = &self.logins[&login];
        let resource = &known.request.resource;
        // An answer that belongs to no question is of nobody.
        let here = resource.has_windows() && known.request.state.is_none();
        let (Some(user), true) = (known.user, here) else { return };
        match verdict {
            Verdict::Accept(_)
            | Verdict::Ask(_)
            | Verdict::Relay(_)
            | Verdict::Unanswered { reason: Reason::Superseded }
            // Nothing could be written.
            | Verdict::Reject { reason: Reason::Unavailable, .. } => {}
            Verdict::Unanswered { .. } | Verdict::Reject { .. } => {
                let written = |event: &AuditEvent| event.login == Some(login) && event.result.is_some();
                // Nor could it here, where it is given up in an outage.
                if self.database.audit.iter().any(written) {
                    self.windows.unapproved.push((user, resource.id, self.monotonic));
                }
            }
        }
    }

    /// As the desk does before it opens again. What was kept in memory only is forgotten.
    pub(super) fn windows_crashed(&mut self) {
        let at = self.wall();
        for window in self.database.windows.values_mut() {
            if window.state == WindowState::Open {
                window.state = WindowState::Closed(WindowClosing { state: ClosingState::Cancelled, at });
            }
        }
        self.windows.unapproved.clear();
    }

    pub(super) fn accepted_by_window(&mut self, login: LoginId, user: UserId) {
        self.tally.accepted_window += 1;
        let known = &self.logins[&login];
        let place = known.request.resource.id;
        let closed: Vec<_> = self
            .database
            .audit
            .iter()
            .filter(|event| event.kind == EventKind::WindowClosed && event.login == Some(login))
            .collect();
        assert_eq!(closed.len(), 1, "a login that a window lets in ends one window");
        let key = (closed[0].device.unwrap(), closed[0].detail.as_ref().unwrap().parse::<WindowId>().unwrap());
        let window = &self.database.windows[&key];
        assert_eq!((window.user, window.resource), (user, place), "somebody else's window");
        let WindowState::Closed(WindowClosing { state: ClosingState::Approved, .. }) = window.state else {
            panic!("let in by a window that did not say so: {window:?}");
        };
        assert!(self.windows.used.insert(key.clone()), "one window let in two logins");
        let (opened, let_in) = (self.windows.opened[&key], self.windows.let_in[&key]);
        let started = known.started;
        assert!(
            opened <= started && started < opened + SignInWindow::LIFE,
            "not in the window: {opened:?}, {started:?}"
        );
        assert!(started + SignInWindow::HOLD <= let_in, "let in at {let_in:?} what came at {started:?}");
        for (id, other) in &self.logins {
            let there = other.user == Some(user) && other.request.resource.id == place && *id != login;
            let there = there && other.request.state.is_none();
            let came = other.incarnation != u32::MAX;
            assert!(
                !there || !came || other.started + SignInWindow::BEFORE <= opened || other.started > let_in,
                "{id:?} came at {:?}, and a window of {opened:?} let {login:?} in at {let_in:?}",
                other.started
            );
        }
        if !self.jumps {
            // What is written was decided a little before it was told.
            let told = Duration::from_millis(500);
            for (_, _, at) in self.windows.unapproved.iter().filter(|(who, there, _)| (*who, *there) == (user, place)) {
                let shut = SignInWindow::AFTER_UNAPPROVED.saturating_sub(told);
                assert!(
                    *at >= opened || *at + shut <= opened,
                    "opened at {opened:?}, after an unapproved login at {at:?}"
                );
            }
        }
    }

    pub(super) fn check_windows(&self) {
        for (ticket, incarnation) in &self.windows.asked {
            let answered = self.windows.answered.contains(ticket);
            assert!(answered || *incarnation != self.incarnation, "a device that opens a window never got an answer");
        }
        assert_eq!(self.engine.figures().windows, 0, "a window is left open");
    }
}
