//! Sign-in windows that are open, and who came to where they can be opened. In memory only: what was open when a server
//! fell is closed.

use core::time::Duration;
use std::collections::{BTreeSet, HashMap};

use countersign_domain::{ClosingState, LoginId, ResourceId, SignInWindow, Timestamp, UserId};

use crate::Now;

/// One user at one resource.
pub(crate) type Place = (UserId, ResourceId);

/// What a login is to the window of its user at its resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// There is none, or it is over.
    None,
    /// The window is for this login.
    Claims,
    /// The window is for another one, and is worth nothing since this one came.
    Spoils,
}

/// A window that is open.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) window: SignInWindow,
    /// Whoever came before this is not who it was opened for.
    since: Duration,
    /// No login begins in it from here on.
    deadline: Duration,
    /// The login that it is for.
    pub(crate) login: Option<LoginId>,
    /// Until when that login is held, once its first factor is done with.
    pub(crate) held_until: Option<Duration>,
    /// How it is going to end, since it lets nobody in any more.
    pub(crate) spoilt: Option<ClosingState>,
}

impl Open {
    /// Whether no login begins in it any more.
    pub(crate) fn is_over(&self, now: Now) -> bool {
        let overdue = self.deadline <= now.monotonic || self.window.expires_at <= now.wall;
        self.spoilt == Some(ClosingState::Expired) || self.login.is_none() && overdue
    }

    fn due(&self) -> Option<Duration> {
        if self.login.is_some() { self.held_until } else { Some(self.deadline) }
    }
}

/// Who came to a place.
#[derive(Debug, Default)]
struct Visits {
    newest: Duration,
    /// Logins that have not ended.
    open: usize,
    /// When the newest came that was refused without being looked at. Others that are not approved are written down.
    refused: Option<Duration>,
}

impl Visits {
    fn matter(&self, now: Duration) -> bool {
        let refused = self.refused.is_some_and(|at| now < at.saturating_add(SignInWindow::AFTER_UNAPPROVED));
        self.open > 0 || refused || !is_past(self.newest, now)
    }
}

pub(crate) struct Windows {
    /// What came before this is not known.
    known_since: Duration,
    open: HashMap<Place, Open>,
    deadlines: BTreeSet<(Duration, Place)>,
    visits: HashMap<Place, Visits>,
    /// When so many places are remembered, those are forgotten that do not matter any more.
    sweep_at: usize,
}

impl Windows {
    const FEW: usize = 1024;

    pub(crate) fn new(started: Duration) -> Self {
        Self {
            known_since: started,
            open: HashMap::new(),
            deadlines: BTreeSet::new(),
            visits: HashMap::new(),
            sweep_at: Self::FEW,
        }
    }

    /// A login begins that the door got at `arrived`. A `hopeless` one is going to be refused without being looked at.
    pub(crate) fn came(&mut self, now: Now, arrived: Duration, place: Place, login: LoginId, hopeless: bool) -> Part {
        if self.visits.len() >= self.sweep_at {
            self.visits.retain(|_, visits| visits.matter(now.monotonic));
            self.sweep_at = self.visits.len().saturating_mul(2).max(Self::FEW);
        }
        let visits = self.visits.entry(place).or_default();
        visits.newest = now.monotonic;
        visits.open = visits.open.saturating_add(1);
        if hopeless {
            visits.refused = Some(now.monotonic);
        }
        let Some(open) = self.open.get_mut(&place) else { return Part::None };
        if open.is_over(now) {
            // For good, should the clock be set back.
            open.spoilt.get_or_insert(ClosingState::Expired);
            return Part::None;
        }
        if open.login.is_some() || open.spoilt.is_some() || arrived < open.since {
            open.spoilt = Some(ClosingState::Collision);
            return Part::Spoils;
        }
        if hopeless {
            open.spoilt = Some(ClosingState::Cancelled);
            return Part::Spoils;
        }
        self.deadlines.remove(&(open.deadline, place));
        open.login = Some(login);
        Part::Claims
    }

    /// A login that came has ended.
    pub(crate) fn went(&mut self, place: Place) {
        if let Some(visits) = self.visits.get_mut(&place) {
            visits.open = visits.open.saturating_sub(1);
        }
    }

    /// Until when no window is opened because somebody is there, or came a moment ago.
    pub(crate) fn busy_until(&self, place: Place, now: Now) -> Option<Timestamp> {
        let free_at = match self.visits.get(&place) {
            Some(visits) if visits.open > 0 => now.monotonic.saturating_add(SignInWindow::BEFORE),
            Some(visits) => visits.newest.max(self.known_since).saturating_add(SignInWindow::BEFORE),
            None => self.known_since.saturating_add(SignInWindow::BEFORE),
        };
        (now.monotonic < free_at).then(|| now.wall.plus(free_at.saturating_sub(now.monotonic)))
    }

    /// Until when no window is opened because somebody was refused there without being looked at.
    pub(crate) fn refused_until(&self, place: Place, now: Now) -> Option<Timestamp> {
        let until = self.visits.get(&place)?.refused?.saturating_add(SignInWindow::AFTER_UNAPPROVED);
        (now.monotonic < until).then(|| now.wall.plus(until.saturating_sub(now.monotonic)))
    }

    pub(crate) fn at(&self, place: Place) -> Option<&Open> {
        self.open.get(&place)
    }

    /// A window whose opening was decided at `decided` is on disk. Whether somebody came in between: then it is worth
    /// nothing.
    pub(crate) fn opened(&mut self, now: Now, decided: Duration, window: SignInWindow) -> bool {
        let place = (window.user, window.resource);
        let came = self.visits.get(&place).is_some_and(|visits| visits.open > 0 || !is_past(visits.newest, decided));
        let spoilt = came.then_some(ClosingState::Collision);
        let deadline = decided.saturating_add(SignInWindow::LIFE);
        let open = Open { window, since: now.monotonic, deadline, login: None, held_until: None, spoilt };
        self.deadlines.insert((deadline, place));
        self.open.insert(place, open);
        came
    }

    /// The login of a window has done with its first factor.
    pub(crate) fn hold(&mut self, place: Place, until: Duration) {
        if let Some(open) = self.open.get_mut(&place) {
            open.held_until = Some(until);
            self.deadlines.insert((until, place));
        }
    }

    /// A window is over.
    pub(crate) fn close(&mut self, place: Place) -> Option<Open> {
        let open = self.open.remove(&place)?;
        if let Some(due) = open.due() {
            self.deadlines.remove(&(due, place));
        }
        Some(open)
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// A window whose time has come; each is told once.
    pub(crate) fn due(&mut self, now: Duration) -> Option<Place> {
        let (at, place) = self.deadlines.first().copied().filter(|(at, _)| *at <= now)?;
        self.deadlines.remove(&(at, place));
        Some(place)
    }
}

/// Whether what came at `came` is too long ago to matter to a window.
fn is_past(came: Duration, now: Duration) -> bool {
    came.saturating_add(SignInWindow::BEFORE) <= now
}
