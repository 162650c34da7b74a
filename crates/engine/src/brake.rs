use core::time::Duration;
use std::collections::VecDeque;

/// Stops pushes of a resource whose client proves nothing, when too many come to nothing.
#[derive(Default)]
pub(crate) struct Brake {
    unapproved: VecDeque<Duration>,
    until: Option<Duration>,
}

impl Brake {
    const WINDOW: Duration = Duration::from_secs(600);
    const PAUSE: Duration = Duration::from_secs(900);

    pub(crate) fn is_on(&self, now: Duration) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Counts one that came to nothing; whether that puts the brake on.
    pub(crate) fn count(&mut self, now: Duration, most: usize) -> bool {
        while self.unapproved.front().is_some_and(|at| at.saturating_add(Self::WINDOW) <= now) {
            self.unapproved.pop_front();
        }
        self.unapproved.push_back(now);
        let trips = self.unapproved.len() >= most && !self.is_on(now);
        if trips {
            self.unapproved.clear();
            self.until = Some(now.saturating_add(Self::PAUSE));
        }
        trips
    }
}
