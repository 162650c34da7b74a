//! Binary values: base64url without padding (RFC 4648 section 5), read strictly.

use std::fmt;
use std::hash::{Hash, Hasher};

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use subtle::ConstantTimeEq;

/// A text that is not the base64url form of what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    /// A character outside the alphabet, padding, or bits left over at the end.
    #[error("not base64url without padding")]
    NotBase64Url,
    /// The text is well formed and has another length.
    #[error("expected {expected} octets, got {got}")]
    Length {
        /// Octets that the value must have.
        expected: usize,
        /// Octets that it has.
        got: usize,
    },
}

/// Writes octets as base64url without padding.
pub fn encode(octets: &[u8]) -> String {
    BASE64URL_NOPAD.encode(octets)
}

/// Reads base64url without padding. One value has one text: padding, white space and stray bits at the end are refused.
///
/// # Errors
/// [`EncodingError::NotBase64Url`].
pub fn decode(text: &str) -> Result<Vec<u8>, EncodingError> {
    BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| EncodingError::NotBase64Url)
}

/// Reads base64url without padding of exactly `N` octets.
///
/// # Errors
/// [`EncodingError`], either kind.
pub fn decode_fixed<const N: usize>(text: &str) -> Result<[u8; N], EncodingError> {
    let octets = decode(text)?;
    let got = octets.len();
    <[u8; N]>::try_from(octets).map_err(|_| EncodingError::Length { expected: N, got })
}

/// Exactly `N` octets, base64url in JSON. Comparison takes the same time for all values.
#[derive(Clone, Copy)]
pub struct Fixed<const N: usize>([u8; N]);

/// The 32 random octets that make a challenge unique.
pub type Nonce = Fixed<32>;

impl<const N: usize> Fixed<N> {
    /// Takes the octets as they are.
    pub const fn new(octets: [u8; N]) -> Self {
        Self(octets)
    }

    /// The octets.
    pub const fn as_bytes(&self) -> &[u8; N] {
        &self.0
    }

    /// Reads the base64url form.
    ///
    /// # Errors
    /// [`EncodingError`] when the text is no base64url or of another length.
    pub fn parse(text: &str) -> Result<Self, EncodingError> {
        decode_fixed(text).map(Self)
    }
}

impl<const N: usize> PartialEq for Fixed<N> {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl<const N: usize> Eq for Fixed<N> {}

impl<const N: usize> Hash for Fixed<N> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<const N: usize> fmt::Display for Fixed<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(&self.0))
    }
}

impl<const N: usize> fmt::Debug for Fixed<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fixed({self})")
    }
}

impl<const N: usize> Serialize for Fixed<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Fixed<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// Octets of any length, base64url in JSON.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Octets(Vec<u8>);

impl Octets {
    /// Takes the octets as they are.
    pub const fn new(octets: Vec<u8>) -> Self {
        Self(octets)
    }

    /// The octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Gives the octets away.
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

impl fmt::Debug for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Octets({})", encode(&self.0))
    }
}

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        decode(&String::deserialize(deserializer)?).map(Self).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_value_has_one_text() {
        assert_eq!(decode("_-8").unwrap(), [0xff, 0xef]);
        for bad in ["_-8=", "/+8", "_-9", "_", " _-8", "_-8\n", "_ -8"] {
            assert_eq!(decode(bad), Err(EncodingError::NotBase64Url), "{bad:?}");
        }
        assert_eq!(Fixed::<2>::parse("_w"), Err(EncodingError::Length { expected: 2, got: 1 }));
        assert!(serde_json::from_str::<Fixed<2>>("[255, 239]").is_err());
    }

    proptest! {
        #[test]
        fn octets_survive_json(octets: Vec<u8>, fixed: [u8; 32]) {
            let octets = Octets::new(octets);
            let json = serde_json::to_string(&octets).unwrap();
            prop_assert_eq!(serde_json::from_str::<Octets>(&json).unwrap(), octets);
            let json = serde_json::to_string(&Fixed::new(fixed)).unwrap();
            prop_assert_eq!(serde_json::from_str::<Fixed<32>>(&json).unwrap(), Fixed::new(fixed));
        }
    }
}
