//! How a client waits: how often it repeats itself, and how soon it gives up. What it is set to shows in nothing else.

use core::time::Duration;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use crate::figures::Counter;

/// Intervals are counted by whole seconds, the last of these for all that are longer.
const SECONDS: usize = 31;

/// What was seen of one client; goes up only.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    /// By seconds between two arrivals of one request.
    intervals: [Counter; SECONDS],
    /// Milliseconds that the most patient of those waited who gave up.
    longest: AtomicU64,
}

impl Patience {
    /// A request was heard again so long after the time before.
    pub(crate) fn repeated(&self, interval: Duration) {
        // To the nearest second: no timer fires early, and networks are late by less.
        let seconds = usize::try_from(interval.saturating_add(Duration::from_millis(500)).as_secs());
        let place = seconds.unwrap_or(usize::MAX).min(SECONDS.saturating_sub(1));
        if let Some(counter) = self.intervals.get(place) {
            counter.count();
        }
    }

    /// Nothing more was heard of a request.
    pub(crate) fn gave_up(&self, waited: Duration) {
        self.longest.fetch_max(u64::try_from(waited.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Waits {
        Waits {
            intervals: self.intervals.each_ref().map(Counter::get),
            longest: Duration::from_millis(self.longest.load(Ordering::Relaxed)),
        }
    }
}

/// How a client waits, as far as it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    intervals: [u64; SECONDS],
    /// How long the most patient request waited whose client gave up; zero where none has.
    pub longest: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self { intervals: [0; SECONDS], longest: Duration::ZERO }
    }
}

impl Waits {
    /// Fewer say nothing.
    const ENOUGH: u64 = 3;

    /// As if it had been seen.
    pub fn of(intervals: impl IntoIterator<Item = Duration>, longest: Duration) -> Self {
        let patience = Patience::default();
        intervals.into_iter().for_each(|interval| patience.repeated(interval));
        patience.gave_up(longest);
        patience.read()
    }

    /// The seconds after which the client repeats itself, if it does so more often than after any other time.
    pub fn interval(&self) -> Option<Duration> {
        let all: u64 = self.intervals.iter().sum();
        let (seconds, most) = (0_u64..).zip(self.intervals).max_by_key(|(_, count)| *count)?;
        (most >= Self::ENOUGH && most.saturating_mul(2) > all).then_some(Duration::from_secs(seconds))
    }

    /// How often a request was heard again after so many seconds, where it was.
    pub fn intervals(&self) -> impl Iterator<Item = (usize, u64)> {
        self.intervals.into_iter().enumerate().filter(|(_, count)| *count > 0)
    }
}

/// When one request was heard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrivals {
    pub(crate) first: Instant,
    last: Instant,
    longest: Duration,
}

impl Arrivals {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { first: now, last: now, longest: Duration::ZERO }
    }

    /// Heard again; how long after the time before.
    pub(crate) fn again(&mut self, now: Instant) -> Duration {
        let interval = now.saturating_duration_since(self.last);
        self.last = now;
        self.longest = self.longest.max(interval);
        interval
    }

    /// How long its client has waited, if it gave up when it would have asked again.
    pub(crate) fn waited(&self) -> Duration {
        self.last.saturating_duration_since(self.first).saturating_add(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_told_when_it_is_the_usual_one() {
        let patience = Patience::default();
        for millis in [2960, 3020] {
            patience.repeated(Duration::from_millis(millis));
        }
        assert_eq!(patience.read().interval(), None, "two say nothing");
        patience.repeated(Duration::from_millis(3400));
        assert_eq!(patience.read().interval(), Some(Duration::from_secs(3)));
        for seconds in [5, 10, 9999] {
            patience.repeated(Duration::from_secs(seconds));
        }
        assert_eq!(patience.read().interval(), None, "half of them say nothing either");
        assert_eq!(patience.read().intervals().collect::<Vec<_>>(), [(3, 3), (5, 1), (10, 1), (30, 1)]);
    }

    #[test]
    fn a_client_has_waited_until_it_would_have_asked_again() {
        let start = Instant::now();
        let mut arrivals = Arrivals::new(start);
        for seconds in [5, 10] {
            assert_eq!(arrivals.again(start + Duration::from_secs(seconds)), Duration::from_secs(5));
        }
        assert_eq!(arrivals.waited(), Duration::from_secs(15));
    }
}
