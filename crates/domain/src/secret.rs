use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Octets that nobody may see: wiped when dropped, redacted in `Debug`, compared in constant time.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the octets over; the caller's copy, if any, is the caller's to wipe.
    pub fn new(octets: Vec<u8>) -> Self {
        Self(Zeroizing::new(octets))
    }

    /// The octets, for the one place that needs them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s98_debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new(b"correct horse".to_vec())), "Secret(…)");
    }
}
