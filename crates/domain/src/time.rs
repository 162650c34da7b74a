use core::time::Duration;
use std::fmt;

/// A point in time: microseconds since the Unix epoch, UTC.
///
/// Stored as a 64-bit integer in every backend, shown as RFC 3339 with `Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Seconds of a day, for limits that are written in days.
    pub const DAY: Duration = Duration::from_secs(86_400);

    /// From microseconds since the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From whole seconds since the Unix epoch; saturates far outside of any calendar.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// This time and `span` later; saturates.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// This time and `span` earlier; saturates.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// For documents; the epoch stands in for a time outside the calendar.
    pub fn to_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_microsecond(self.0).unwrap_or_default()
    }

    /// RFC 3339, UTC, microseconds only where there are any.
    pub fn to_rfc3339(self) -> String {
        self.to_jiff().to_string()
    }

    /// Reads RFC 3339 with any offset; `None` when `text` is not one.
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|t| Self(t.as_microsecond()))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_as_utc_and_read_back() {
        let t = Timestamp::from_micros(1_795_600_000_250_000);
        assert!(t.to_rfc3339().ends_with('Z'), "{t}");
        assert_eq!(Timestamp::from_rfc3339(&t.to_rfc3339()), Some(t));
        assert_eq!(Timestamp::from_rfc3339("yesterday"), None);
    }

    #[test]
    fn since_never_goes_below_zero() {
        let (a, b) = (Timestamp::from_seconds(10), Timestamp::from_seconds(12));
        assert_eq!(b.since(a), Duration::from_secs(2));
        assert_eq!(a.since(b), Duration::ZERO);
    }
}
