//! How often a user may be asked, and how often a code or a password may be tried (`security.md` section 4).
//!
//! Pure: the state goes in, the time goes in, the state comes out. The states are stored in the same transaction as the
//! record of what happened, so a restart forgives nothing.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{ResourceId, SignInWindow, Timestamp, UserId};

/// What a set of counters is kept for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LimitScope {
    /// Everywhere that the user's password was checked, and all codes wherever they were typed.
    User(UserId),
    /// One resource whose client proves nothing about the user (primary `none`): what happens there pauses pushes
    /// there only.
    UserAt(UserId, ResourceId),
}

impl LimitScope {
    /// The user.
    pub const fn user(self) -> UserId {
        match self {
            Self::User(user) | Self::UserAt(user, _) => user,
        }
    }

    /// The resource, where the scope is one resource.
    pub const fn resource(self) -> Option<ResourceId> {
        match self {
            Self::User(_) => None,
            Self::UserAt(_, resource) => Some(resource),
        }
    }
}

/// Counters with the version that a change has to name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopedLimits {
    /// What they are kept for.
    pub scope: LimitScope,
    /// Goes up by one with each change.
    pub version: u64,
    /// The counters.
    pub limits: Limits,
}

/// The counters of one scope.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Pushes of the last 24 hours, oldest first, microseconds since the epoch.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pushes: Vec<i64>,
    /// Pushes in a row that were denied or ignored.
    refused: u8,
    /// Pauses since the last approval.
    pauses: u8,
    /// No push before this time.
    paused_until: Option<i64>,
    /// No push until an administrator unlocks it: the third pause.
    stopped: bool,
    /// No push until an administrator unlocks it: a deny_report.
    frozen: bool,
    /// Wrong codes.
    otp: Throttle,
    /// Wrong passwords.
    password: Throttle,
    /// The newest approval.
    last_approval: Option<LastApproval>,
    /// Sign-in windows of the last hour, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    windows: Vec<i64>,
    /// The newest login that was not approved, where windows can be opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    unapproved: Option<i64>,
}

/// The newest approval of a user, for the context of a challenge that follows within a minute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastApproval {
    /// Name of the resource.
    pub application: String,
    /// When, microseconds since the epoch.
    pub at: i64,
}

/// Whether a push may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushVerdict {
    /// It may.
    Allowed,
    /// Too many in a window.
    BudgetSpent,
    /// Denied or ignored too often.
    Paused,
    /// Reported by the user; needs an administrator.
    Frozen,
}

impl Limits {
    const BUDGET: [(usize, Duration); 3] =
        [(3, Duration::from_secs(600)), (6, Duration::from_secs(3600)), (20, Timestamp::DAY)];
    const REFUSED_IN_A_ROW: u8 = 3;
    /// Length of the first and the second pause; the third lasts until somebody unlocks it.
    const PAUSES: [Duration; 2] = [Duration::from_secs(900), Duration::from_secs(3600)];
    /// How long an approval is told to the devices that are asked again.
    const RECENT: Duration = Duration::from_secs(60);

    /// Whether a push may be sent at `now`.
    pub fn push_verdict(&self, now: Timestamp) -> PushVerdict {
        if self.frozen {
            return PushVerdict::Frozen;
        }
        if self.stopped || self.paused_until.is_some_and(|until| now.as_micros() < until) {
            return PushVerdict::Paused;
        }
        for (most, window) in Self::BUDGET {
            if self.pushes.iter().filter(|at| is_within(**at, window, now)).count() >= most {
                return PushVerdict::BudgetSpent;
            }
        }
        PushVerdict::Allowed
    }

    /// A push goes out at `now`.
    pub fn push_sent(&mut self, now: Timestamp) {
        self.pushes.retain(|at| is_within(*at, Timestamp::DAY, now));
        self.pushes.push(now.as_micros());
    }

    /// A push was denied, ignored or cancelled; whether that starts a pause.
    pub fn push_refused(&mut self, now: Timestamp) -> bool {
        self.refused = self.refused.saturating_add(1);
        if self.refused < Self::REFUSED_IN_A_ROW {
            return false;
        }
        self.refused = 0;
        match Self::PAUSES.get(usize::from(self.pauses)) {
            Some(pause) => self.paused_until = Some(now.plus(*pause).as_micros()),
            None => self.stopped = true,
        }
        self.pauses = self.pauses.saturating_add(1);
        true
    }

    /// A push was approved at `now`.
    pub fn push_approved(&mut self, application: &str, now: Timestamp) {
        self.refused = 0;
        self.pauses = 0;
        self.note_approval(application, now);
    }

    /// An approval that these counters do not go by, to be told to devices that are asked again within a minute.
    pub fn note_approval(&mut self, application: &str, now: Timestamp) {
        self.last_approval = Some(LastApproval { application: application.to_owned(), at: now.as_micros() });
    }

    /// A user reported that a login was not theirs.
    pub fn freeze(&mut self) {
        self.frozen = true;
    }

    /// Whether a user reported a login and nobody has looked at it since.
    pub const fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Lifts pauses, the freeze and the stop of codes; the budgets of pushes and windows stay as they were spent.
    pub fn unlock(&mut self) {
        let (pushes, windows) = (std::mem::take(&mut self.pushes), std::mem::take(&mut self.windows));
        let last_approval = self.last_approval.take();
        *self = Self { pushes, last_approval, windows, ..Self::default() };
    }

    /// A sign-in window was opened.
    pub fn window_opened(&mut self, now: Timestamp) {
        self.windows.retain(|at| is_within(*at, SignInWindow::MOST_WITHIN, now));
        self.windows.push(now.as_micros());
    }

    /// When the next sign-in window may be opened, where too many were.
    pub fn windows_spent_until(&self, now: Timestamp) -> Option<Timestamp> {
        let mut spent: Vec<i64> = self.windows.clone();
        spent.retain(|at| is_within(*at, SignInWindow::MOST_WITHIN, now));
        spent.sort_unstable();
        let last_but = spent.len().checked_sub(SignInWindow::MOST)?;
        spent.get(last_but).map(|at| Timestamp::from_micros(*at).plus(SignInWindow::MOST_WITHIN))
    }

    /// A login was not approved where sign-in windows can be opened.
    pub fn note_unapproved(&mut self, now: Timestamp) {
        self.unapproved = Some(now.as_micros());
    }

    /// Until when no sign-in window is opened for a login that was not approved.
    pub fn unapproved_until(&self, now: Timestamp) -> Option<Timestamp> {
        let at = self.unapproved.filter(|at| is_within(*at, SignInWindow::AFTER_UNAPPROVED, now))?;
        Some(Timestamp::from_micros(at).plus(SignInWindow::AFTER_UNAPPROVED))
    }

    /// Lets nothing be done that either of the two forbids: for a database that was put back, and what was there before.
    #[must_use]
    pub fn stricter(&self, other: &Self) -> Self {
        let newer = |one: &LastApproval, two: &LastApproval| one.at.cmp(&two.at);
        Self {
            pushes: merged(&self.pushes, &other.pushes),
            refused: self.refused.max(other.refused),
            pauses: self.pauses.max(other.pauses),
            paused_until: self.paused_until.max(other.paused_until),
            stopped: self.stopped || other.stopped,
            frozen: self.frozen || other.frozen,
            otp: self.otp.stricter(&other.otp),
            password: self.password.stricter(&other.password),
            last_approval: [&self.last_approval, &other.last_approval]
                .into_iter()
                .flatten()
                .max_by(|a, b| newer(a, b))
                .cloned(),
            windows: merged(&self.windows, &other.windows),
            unapproved: self.unapproved.max(other.unapproved),
        }
    }

    /// The approval of the last minute, if there was one.
    pub fn recent_approval(&self, now: Timestamp) -> Option<&LastApproval> {
        self.last_approval.as_ref().filter(|last| now.since(Timestamp::from_micros(last.at)) < Self::RECENT)
    }

    /// Wrong codes.
    pub const fn otp(&self) -> &Throttle {
        &self.otp
    }

    /// Wrong codes, to change.
    pub const fn otp_mut(&mut self) -> &mut Throttle {
        &mut self.otp
    }

    /// Wrong passwords.
    pub const fn password(&self) -> &Throttle {
        &self.password
    }

    /// Wrong passwords, to change.
    pub const fn password_mut(&mut self) -> &mut Throttle {
        &mut self.password
    }

    /// What an administrator should know, in a few words; empty when nothing is limited.
    pub fn describe(&self, now: Timestamp) -> Vec<String> {
        let mut out = Vec::new();
        match self.push_verdict(now) {
            PushVerdict::Allowed => {}
            PushVerdict::BudgetSpent => out.push("push: budget spent, codes still work".to_owned()),
            PushVerdict::Frozen => out.push("push: frozen after a report, needs user unlock".to_owned()),
            PushVerdict::Paused if self.stopped => {
                out.push("push: stopped after refusals, needs user unlock".to_owned());
            }
            PushVerdict::Paused => out.push(format!(
                "push: paused after refusals until {}",
                Timestamp::from_micros(self.paused_until.unwrap_or_default())
            )),
        }
        for (what, throttle, policy) in
            [("codes", &self.otp, &OTP_POLICY), ("password", &self.password, &PASSWORD_POLICY)]
        {
            if throttle.is_stopped(policy) {
                out.push(format!("{what}: stopped after too many wrong ones, needs user unlock"));
            } else if let Some(until) = throttle.paused_until(now) {
                out.push(format!("{what}: paused until {until}"));
            }
        }
        out
    }
}

/// All times of both, each once: what the two have in common happened once.
fn merged(one: &[i64], other: &[i64]) -> Vec<i64> {
    let mut all: Vec<i64> = one.iter().chain(other).copied().collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Whether something happened in the window before `now`. What lies ahead counts as well, because a clock may have been
/// set back; but no more than a day, because it may have stood years ahead, and no budget is used up for so long.
fn is_within(at: i64, window: Duration, now: Timestamp) -> bool {
    (now.minus(window).as_micros() + 1..=now.plus(Timestamp::DAY).as_micros()).contains(&at)
}

/// How many failures in which window pause for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThrottlePolicy {
    /// Failures in the window that start a pause.
    pub failures: usize,
    /// The window.
    pub window: Duration,
    /// The first pause; each further one is twice as long.
    pub first_pause: Duration,
    /// No pause is longer.
    pub longest_pause: Duration,
    /// So many failures without a success stop it until an administrator unlocks it; zero: never.
    pub stop_after: u32,
}

/// Wrong codes: 5 in 15 minutes pause for 15 minutes, doubling to a day; 100 in a row stop codes.
pub const OTP_POLICY: ThrottlePolicy = ThrottlePolicy {
    failures: 5,
    window: Duration::from_secs(900),
    first_pause: Duration::from_secs(900),
    longest_pause: Duration::from_secs(86_400),
    stop_after: 100,
};

/// Wrong codes from one place, whosever they are meant to be: 30 in 15 minutes pause for 15 minutes.
pub const SOURCE_POLICY: ThrottlePolicy = ThrottlePolicy {
    failures: 30,
    window: Duration::from_secs(900),
    first_pause: Duration::from_secs(900),
    longest_pause: Duration::from_secs(900),
    stop_after: 0,
};

/// Wrong passwords: 8 in 15 minutes pause for 30 seconds, doubling to 15 minutes; they slow and never lock (S109).
pub const PASSWORD_POLICY: ThrottlePolicy = ThrottlePolicy {
    failures: 8,
    window: Duration::from_secs(900),
    first_pause: Duration::from_secs(30),
    longest_pause: Duration::from_secs(900),
    stop_after: 0,
};

/// Counts failures of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Throttle {
    /// Failures in the present window, microseconds since the epoch.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failures: Vec<i64>,
    /// Failures since the last success.
    in_a_row: u32,
    /// Pauses since the last success.
    pauses: u8,
    /// No try before this time.
    paused_until: Option<i64>,
}

impl Throttle {
    /// Whether a try is evaluated at `now`.
    pub fn allows(&self, policy: &ThrottlePolicy, now: Timestamp) -> bool {
        !self.is_stopped(policy) && self.paused_until(now).is_none()
    }

    /// How many tries may be evaluated side by side at `now`: were all of them wrong, the last one would start a pause.
    pub fn left(&self, policy: &ThrottlePolicy, now: Timestamp) -> usize {
        if !self.allows(policy, now) {
            return 0;
        }
        let since = now.minus(policy.window).as_micros();
        policy.failures.saturating_sub(self.failures.iter().filter(|at| **at > since).count())
    }

    /// When the newest wrong one came, as far as it is remembered.
    pub fn newest(&self) -> Option<Timestamp> {
        self.failures.iter().max().copied().map(Timestamp::from_micros)
    }

    /// Whether only an administrator can open it again.
    pub const fn is_stopped(&self, policy: &ThrottlePolicy) -> bool {
        policy.stop_after > 0 && self.in_a_row >= policy.stop_after
    }

    /// The end of the present pause.
    pub fn paused_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.paused_until.map(Timestamp::from_micros).filter(|until| now < *until)
    }

    /// A wrong one at `now`; whether that starts a pause.
    pub fn failed(&mut self, policy: &ThrottlePolicy, now: Timestamp) -> bool {
        self.in_a_row = self.in_a_row.saturating_add(1);
        let since = now.minus(policy.window).as_micros();
        self.failures.retain(|at| *at > since);
        self.failures.push(now.as_micros());
        if self.failures.len() < policy.failures {
            return false;
        }
        self.failures.clear();
        let pause = policy.first_pause.saturating_mul(1 << self.pauses.min(16)).min(policy.longest_pause);
        self.pauses = self.pauses.saturating_add(1);
        self.paused_until = Some(now.plus(pause).as_micros());
        true
    }

    fn stricter(&self, other: &Self) -> Self {
        Self {
            failures: merged(&self.failures, &other.failures),
            in_a_row: self.in_a_row.max(other.in_a_row),
            pauses: self.pauses.max(other.pauses),
            paused_until: self.paused_until.max(other.paused_until),
        }
    }

    /// A right one: everything is forgiven. Whether that changed anything.
    pub fn succeeded(&mut self) -> bool {
        let changed = *self != Self::default();
        *self = Self::default();
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000 + seconds)
    }

    #[test]
    fn s09_three_pushes_in_ten_minutes_six_in_an_hour_twenty_a_day() {
        let mut limits = Limits::default();
        let mut sent = Vec::new();
        for second in (0..86_400).step_by(30) {
            if limits.push_verdict(at(second)) == PushVerdict::Allowed {
                limits.push_sent(at(second));
                sent.push(second);
            }
        }
        let most_in = |window: i64| {
            sent.iter().map(|from| sent.iter().filter(|s| (*from..from + window).contains(*s)).count()).max().unwrap()
        };
        assert_eq!((most_in(600), most_in(3600), sent.len()), (3, 6, 20));
        assert_eq!(limits.push_verdict(at(3600)), PushVerdict::BudgetSpent);
    }

    #[test]
    fn s96_a_clock_that_stood_ahead_uses_no_budget_up_for_years() {
        let day = 86_400;
        for ahead in [3600, 365 * day] {
            let mut limits = Limits::default();
            for second in 0..3 {
                limits.push_sent(at(ahead + second));
            }
            let verdict = limits.push_verdict(at(0));
            assert_eq!(verdict == PushVerdict::BudgetSpent, ahead < day, "{ahead}");
            assert_eq!(limits.push_verdict(at(2 * day)), PushVerdict::Allowed);
        }
    }

    #[test]
    fn c118_three_refusals_pause_then_longer_then_until_unlocked() {
        let mut limits = Limits::default();
        let mut now = 0;
        for (pause, round) in [(900, 0), (3600, 1)] {
            assert!(!limits.push_refused(at(now)) && !limits.push_refused(at(now)), "{round}");
            assert!(limits.push_refused(at(now)));
            assert_eq!(limits.push_verdict(at(now + pause - 1)), PushVerdict::Paused);
            now += pause;
            assert_eq!(limits.push_verdict(at(now)), PushVerdict::Allowed);
        }
        for _ in 0..3 {
            limits.push_refused(at(now));
        }
        assert_eq!(limits.push_verdict(at(now + 1_000_000)), PushVerdict::Paused);
        limits.unlock();
        assert_eq!(limits.push_verdict(at(now)), PushVerdict::Allowed);
    }

    #[test]
    fn s10_a_report_freezes_until_unlocked() {
        let mut limits = Limits::default();
        limits.freeze();
        assert_eq!(limits.push_verdict(at(100_000_000)), PushVerdict::Frozen);
        limits.push_approved("vpn", at(1));
        assert_eq!(limits.push_verdict(at(2)), PushVerdict::Frozen);
        limits.unlock();
        assert_eq!(limits.push_verdict(at(2)), PushVerdict::Allowed);
        assert!(limits.recent_approval(at(2)).is_some());
        assert!(limits.recent_approval(at(62)).is_none());
    }

    #[test]
    fn s20_five_wrong_codes_pause_and_the_pause_doubles() {
        let mut otp = Throttle::default();
        let mut now = 0;
        for pause in [900, 1800, 3600] {
            for failure in 1..=5 {
                assert!(otp.allows(&OTP_POLICY, at(now)));
                assert_eq!(otp.failed(&OTP_POLICY, at(now)), failure == 5);
            }
            assert!(!otp.allows(&OTP_POLICY, at(now + pause - 1)));
            now += pause;
        }
        assert!(otp.succeeded() && otp.allows(&OTP_POLICY, at(now)) && !otp.succeeded());
        for round in 0..20 {
            for _ in 0..5 {
                otp.failed(&OTP_POLICY, at(now + round * 90_000));
            }
        }
        assert!(otp.is_stopped(&OTP_POLICY) && !otp.allows(&OTP_POLICY, at(1 << 30)));
    }

    #[test]
    fn s21_wrong_codes_and_wrong_passwords_are_counted_apart() {
        let mut limits = Limits::default();
        for _ in 0..4 {
            limits.otp_mut().failed(&OTP_POLICY, at(0));
        }
        limits.password_mut().succeeded();
        for _ in 0..100 {
            limits.password_mut().failed(&PASSWORD_POLICY, at(1));
        }
        assert!(limits.otp().allows(&OTP_POLICY, at(1)));
        assert!(limits.otp_mut().failed(&OTP_POLICY, at(2)));
        assert!(!limits.otp().allows(&OTP_POLICY, at(3)));
    }

    #[test]
    fn s109_wrong_passwords_slow_but_never_lock() {
        let mut password = Throttle::default();
        for second in 0..10_000 {
            password.failed(&PASSWORD_POLICY, at(second));
        }
        assert!(password.allows(&PASSWORD_POLICY, at(10_000 + 901)));
    }

    #[test]
    fn s95_the_stricter_of_two_forbids_what_either_does() {
        let (mut one, mut other) = (Limits::default(), Limits::default());
        for second in 0..2 {
            one.push_sent(at(second));
            other.push_sent(at(second));
        }
        other.push_sent(at(2));
        for _ in 0..5 {
            one.otp_mut().failed(&OTP_POLICY, at(3));
        }
        one.note_approval("vpn", at(3));
        other.note_approval("wiki", at(4));
        for both in [one.stricter(&other), other.stricter(&one)] {
            assert_eq!(both.push_verdict(at(5)), PushVerdict::BudgetSpent);
            assert_eq!(both.pushes.len(), 3, "what both remember is counted once");
            assert!(!both.otp().allows(&OTP_POLICY, at(5)));
            assert_eq!(both.recent_approval(at(5)).unwrap().application, "wiki");
        }
        other.freeze();
        assert_eq!(one.stricter(&other).push_verdict(at(100_000)), PushVerdict::Frozen);
        assert_eq!(one.stricter(&one), one);
    }

    #[test]
    fn s18_six_windows_an_hour_and_none_soon_after_an_unapproved_login() {
        let mut limits = Limits::default();
        for minute in 0..6 {
            assert_eq!(limits.windows_spent_until(at(minute * 60)), None);
            limits.window_opened(at(minute * 60));
        }
        assert_eq!(limits.windows_spent_until(at(301)), Some(at(3600)));
        assert_eq!(limits.windows_spent_until(at(3600)), None);
        limits.window_opened(at(3600));
        assert_eq!(limits.windows_spent_until(at(3600)), Some(at(3660)));

        assert_eq!(limits.unapproved_until(at(0)), None);
        limits.note_unapproved(at(0));
        assert_eq!(limits.unapproved_until(at(899)), Some(at(900)));
        assert_eq!(limits.unapproved_until(at(900)), None);
        // A clock that was set back forgives nothing, one that stood years ahead does not hold for years (S96).
        assert_eq!(limits.unapproved_until(at(-600)), Some(at(900)));
        assert_eq!(limits.unapproved_until(at(-1_000_000)), None);
        limits.unlock();
        assert_eq!((limits.unapproved_until(at(1)), limits.windows_spent_until(at(3601))), (None, Some(at(3660))));
    }

    #[test]
    fn stored_form_is_read_back() {
        let mut limits = Limits::default();
        limits.window_opened(at(0));
        limits.note_unapproved(at(1));
        limits.push_sent(at(0));
        limits.push_approved("vpn", at(1));
        limits.otp_mut().failed(&OTP_POLICY, at(1));
        let text = serde_json::to_string(&limits).unwrap();
        assert_eq!(serde_json::from_str::<Limits>(&text).unwrap(), limits);
        assert!(serde_json::from_str::<Limits>(r#"{"surprise":1}"#).is_err());
    }
}
