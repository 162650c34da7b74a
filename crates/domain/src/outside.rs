use crate::Timestamp;

/// Where services get the time. The core takes a [`Timestamp`] as an argument instead.
pub trait Clock: Send + Sync {
    /// The time now, UTC.
    fn now(&self) -> Timestamp;
}

/// Where random octets come from: the operating system in a server, a seeded generator in tests.
pub trait Entropy: Send + Sync {
    /// Fills `out` with octets that nobody can predict.
    fn fill(&self, out: &mut [u8]);
}

impl dyn Entropy + '_ {
    /// `N` random octets.
    pub fn octets<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }
}
