//! Whether a server answers, and when it is asked about that (RFC 5997, RFC 3539 section 3.4).

use core::time::Duration;

use super::{Timing, Transport};

/// What is known of one server.
#[derive(Debug)]
pub(super) struct Health {
    /// Since when it is not asked while another one is there.
    down_since: Option<Duration>,
    /// When its silence was noticed last.
    failed_at: Option<Duration>,
    /// How often its silence was noticed since it last answered a login.
    failures: u32,
    /// When it sent the last reply that is believed.
    heard: Option<Duration>,
    /// When it last answered Status-Server. One that never did may not know it.
    status_at: Option<Duration>,
    /// Status-Server that stayed without an answer, one after the other.
    unanswered: u32,
    /// From when on a login may find out whether it is back.
    trial_from: Duration,
    /// When Status-Server is due, or the one that is under way counts as unanswered.
    next: Option<Duration>,
    /// Over connections, where each try shows at once whether it is there.
    transport: Transport,
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It does not answer any more.
    Down,
    /// It answers again, after so long.
    Up(Duration),
}

impl Health {
    /// Nothing is known yet; it is asked at once.
    pub(super) const fn new(transport: Transport) -> Self {
        Self {
            transport,
            down_since: None,
            failed_at: None,
            failures: 0,
            heard: None,
            status_at: None,
            unanswered: 0,
            trial_from: Duration::ZERO,
            next: Some(Duration::ZERO),
        }
    }

    pub(super) const fn next(&self) -> Option<Duration> {
        self.next
    }

    pub(super) const fn down_since(&self) -> Option<Duration> {
        self.down_since
    }

    pub(super) const fn heard(&self) -> Option<Duration> {
        self.heard
    }

    pub(super) const fn answers_status(&self) -> bool {
        self.status_at.is_some()
    }

    /// Whether a login is sent to it in its turn. One that is down and does not answer Status-Server is tried by one login
    /// at a time, after pauses that grow.
    pub(super) fn take_turn(&mut self, now: Duration, timing: &Timing) -> bool {
        if self.down_since.is_none() {
            return true;
        }
        if self.knows_status(now, timing) || now < self.trial_from {
            return false;
        }
        self.trial_from = now.saturating_add(timing.patience.saturating_mul(2));
        true
    }

    /// Whether its silence to Status-Server means that it is not there. What it once could is not believed for ever.
    fn knows_status(&self, now: Duration, timing: &Timing) -> bool {
        let since = self.down_since.unwrap_or(now);
        self.status_at.is_some() && now.saturating_sub(since) < timing.forget_status
    }

    /// A reply that is believed came, to a login or to Status-Server.
    pub(super) fn heard_now(&mut self, now: Duration, to_status: bool, timing: &Timing) -> Option<Change> {
        self.heard = Some(now);
        self.unanswered = 0;
        if to_status {
            self.status_at = Some(now);
        } else {
            self.failures = 0;
        }
        let was_down = self.down_since.take();
        if to_status || was_down.is_some() {
            self.next = self.status_at.map(|_| now.saturating_add(timing.watchdog));
        }
        was_down.map(|since| Change::Up(now.saturating_sub(since)))
    }

    /// What was sent at `sent` stayed without an answer for as long as an answer may take. `jitter` is any number.
    pub(super) fn silent_since(
        &mut self,
        now: Duration,
        sent: Duration,
        jitter: u8,
        timing: &Timing,
    ) -> Option<Change> {
        let heard_since = self.heard.is_some_and(|heard| heard > sent);
        let known = self.failed_at.is_some_and(|failed| failed >= sent);
        if heard_since || known {
            // It answers others, or this was noticed already.
            return None;
        }
        self.failed_at = Some(now);
        let pause = timing.back_off(self.failures, jitter, timing.longest_back_off);
        self.trial_from = now.saturating_add(pause);
        // The first time it is asked at once whether it is there. One that says so and answers no login all the same is
        // believed ever later.
        let status_from = if self.failures == 0 { now } else { self.trial_from };
        self.failures = self.failures.saturating_add(1);
        if self.down_since.is_some() {
            return None;
        }
        self.down_since = Some(now);
        self.unanswered = 0;
        self.next = Some(status_from);
        Some(Change::Down)
    }

    /// No connection to it could be had: it is not there, and asked again after a pause.
    pub(super) fn unreachable(&mut self, now: Duration, jitter: u8, timing: &Timing) -> Option<Change> {
        let change = self.down_since.is_none().then_some(Change::Down);
        let pause = timing.back_off(self.failures, jitter, timing.longest_back_off);
        self.failures = self.failures.saturating_add(1);
        self.failed_at = Some(now);
        self.down_since = self.down_since.or(Some(now));
        self.trial_from = now.saturating_add(pause);
        self.next = Some(self.trial_from);
        change
    }

    /// A connection has ended on which Status-Server was under way: it is asked again over the next.
    pub(super) const fn ask_at_once(&mut self, now: Duration) {
        self.next = Some(now);
    }

    /// Whether Status-Server is to be sent now.
    pub(super) fn status_is_due(&mut self, now: Duration, timing: &Timing) -> bool {
        if self.next.is_none_or(|next| next > now) {
            return false;
        }
        let quiet = self.heard.is_none_or(|heard| now.saturating_sub(heard) >= timing.watchdog);
        if self.down_since.is_none() && !quiet {
            self.next = self.heard.map(|heard| heard.saturating_add(timing.watchdog));
            return false;
        }
        true
    }

    /// Status-Server was sent. The one before it, if there was one, stayed without an answer.
    pub(super) fn status_sent(&mut self, now: Duration, jitter: u8, timing: &Timing) {
        let wait = if self.down_since.is_some() {
            // One that may not know it is not bothered as often: it may write each one into its log.
            let is_blind = self.transport == Transport::Datagrams && !self.answers_status();
            let longest = if is_blind { timing.longest_blind_back_off } else { timing.longest_back_off };
            timing.back_off(self.unanswered.max(self.failures), jitter, longest).max(timing.status_wait)
        } else {
            timing.status_wait
        };
        self.next = Some(now.saturating_add(wait));
    }

    /// Status-Server stayed without an answer.
    pub(super) fn status_unanswered(&mut self, now: Duration, sent: Duration, timing: &Timing) -> Option<Change> {
        self.unanswered = self.unanswered.saturating_add(1);
        if self.down_since.is_some() {
            return None;
        }
        if !self.answers_status() {
            // It may not know Status-Server; logins will show.
            self.next = None;
            return None;
        }
        if self.unanswered < timing.status_tries {
            return None;
        }
        self.silent_since(now, sent, 0, timing)
    }
}
