use core::time::Duration;

/// Something that may happen often and is told of seldom: the first time at once, then once a minute, with how often it
/// has happened. Otherwise a full disk fills the log as well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seldom {
    told: Option<Duration>,
    times: u64,
}

impl Seldom {
    /// Between two tellings.
    pub const PAUSE: Duration = Duration::from_secs(60);

    /// It happens at `now`, by a clock that only goes forward. When it is to be told: how often it has happened since it was
    /// told last, this time included.
    pub fn happens(&mut self, now: Duration) -> Option<u64> {
        self.times = self.times.saturating_add(1);
        if self.told.is_some_and(|told| now.saturating_sub(told) < Self::PAUSE) {
            return None;
        }
        self.told = Some(now);
        Some(core::mem::take(&mut self.times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_others_once_a_minute_with_their_number() {
        let mut seldom = Seldom::default();
        let told: Vec<_> =
            (0..=1500).filter_map(|n| seldom.happens(Duration::from_millis(n * 100)).map(|t| (n, t))).collect();
        assert_eq!(told, [(0, 1), (600, 600), (1200, 600)]);
        assert_eq!(seldom.happens(Duration::from_secs(500)), Some(301));
        assert_eq!(seldom.happens(Duration::from_secs(559)), None);
    }
}
