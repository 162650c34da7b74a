//! Identifiers and short texts, each checked once, where it comes in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::ZeroizeOnDrop;

use crate::encoding::encode;

/// A text that cannot be the value it was given for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Identifiers are 1 to 64 characters out of `A-Z`, `a-z`, `0-9`, `-` and `_`.
    #[error("not an identifier: 1 to 64 characters of A-Z, a-z, 0-9, - and _")]
    Identifier,
    /// Numbers are 1 to 16 ASCII digits.
    #[error("not a number: 1 to 16 ASCII digits")]
    Number,
    /// Names are 1 to 64 characters long.
    #[error("not a name: 1 to 64 characters")]
    Name,
    /// Device times are RFC 3339 in UTC, with `T` and `Z`, and at most nine decimals.
    #[error("not an RFC 3339 time in UTC ending in Z")]
    Time,
}

fn is_identifier(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $check:expr, $error:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks a text and takes it.
            ///
            /// # Errors
            /// [`TextError`] when the text has another form.
            pub fn new(text: impl Into<String>) -> Result<Self, TextError> {
                let text = text.into();
                let check: fn(&str) -> bool = $check;
                if check(&text) { Ok(Self(text)) } else { Err($error) }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = TextError;

            fn try_from(text: String) -> Result<Self, TextError> {
                Self::new(text)
            }
        }

        impl FromStr for $name {
            type Err = TextError;

            fn from_str(text: &str) -> Result<Self, TextError> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), self.0)
            }
        }
    };
}

text_type!(
    /// Names one installation of the server, for ever.
    DeploymentId, is_identifier, TextError::Identifier
);
text_type!(
    /// Names the account (a person on this server) that a device answers for.
    AccountId, is_identifier, TextError::Identifier
);
text_type!(
    /// Names one device of an account.
    DeviceId, is_identifier, TextError::Identifier
);
text_type!(
    /// Names one challenge.
    ChallengeId, is_identifier, TextError::Identifier
);
text_type!(
    /// Names the application that somebody signs in to.
    ApplicationId, is_identifier, TextError::Identifier
);
text_type!(
    /// Names a sign-in window; made by the app.
    WindowId, is_identifier, TextError::Identifier
);
text_type!(
    /// A name that a device gives to itself: 1 to 64 characters of any kind, to be escaped wherever it is shown.
    Name, |text| !text.is_empty() && text.chars().nth(64).is_none(), TextError::Name
);
text_type!(
    /// The device's clock as the device wrote it: RFC 3339 in UTC. It is signed as this exact text and decides nothing.
    DeviceTime, is_device_time, TextError::Time
);

impl ChallengeId {
    /// The 22 base64url characters of 128 random bits.
    pub fn from_bytes(random: [u8; 16]) -> Self {
        Self(encode(&random))
    }
}

impl WindowId {
    /// The 22 base64url characters of 128 random bits.
    pub fn from_bytes(random: [u8; 16]) -> Self {
        Self(encode(&random))
    }
}

impl From<jiff::Timestamp> for DeviceTime {
    fn from(time: jiff::Timestamp) -> Self {
        Self(time.to_string())
    }
}

/// `YYYY-MM-DDTHH:MM:SS`, up to nine decimals, `Z` (RFC 3339 section 5.6), and a time that exists.
fn is_device_time(text: &str) -> bool {
    let Some((whole, rest)) = text.split_at_checked(19) else { return false };
    let shape = whole.bytes().enumerate().all(|(at, b)| match at {
        4 | 7 => b == b'-',
        10 => b == b'T',
        13 | 16 => b == b':',
        _ => b.is_ascii_digit(),
    });
    let decimals = match rest.strip_suffix('Z') {
        Some("") => true,
        Some(tail) => tail
            .strip_prefix('.')
            .is_some_and(|digits| (1..=9).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())),
        None => false,
    };
    shape && decimals && text.parse::<jiff::Timestamp>().is_ok()
}

/// The digits of a number mode: ASCII digits, 1 to 16 of them. Leading zeros count. `Debug` does not show them, and
/// comparison takes the same time for all numbers of one length.
#[derive(Clone, Serialize, Deserialize, ZeroizeOnDrop)]
#[serde(try_from = "String")]
pub struct Number(String);

impl Number {
    /// Checks a text and takes it.
    ///
    /// # Errors
    /// [`TextError::Number`] unless the text is 1 to 16 ASCII digits; nothing is trimmed.
    pub fn new(text: impl Into<String>) -> Result<Self, TextError> {
        let text = text.into();
        if (1..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()) {
            Ok(Self(text))
        } else {
            Err(TextError::Number)
        }
    }

    /// The digits.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Number {
    type Error = TextError;

    fn try_from(text: String) -> Result<Self, TextError> {
        Self::new(text)
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Number {}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Number(..)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn identifiers_have_the_alphabet_and_the_length_of_the_page() {
        for good in ["a", "A-_9", &"x".repeat(64)] {
            assert!(AccountId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a.b", "a/b", "é", "a\n", &"x".repeat(65)] {
            assert_eq!(AccountId::new(bad), Err(TextError::Identifier), "{bad:?}");
        }
        assert_eq!(ChallengeId::from_bytes([0xff; 16]).as_str().len(), 22);
    }

    #[test]
    fn s23_numbers_are_ascii_digits_and_nothing_is_trimmed() {
        for good in ["0", "000123", "1234567890123456"] {
            assert_eq!(Number::new(good).unwrap().expose(), good);
        }
        for bad in [
            "",
            " 123456",
            "123456 ",
            "12345a",
            "+12345",
            "\u{661}\u{662}\u{663}",
            "\u{ff11}\u{ff12}\u{ff13}",
            "12345678901234567",
        ] {
            assert_eq!(Number::new(bad), Err(TextError::Number), "{bad:?}");
        }
        assert!(serde_json::from_str::<Number>("123456").is_err(), "a JSON number is no number text");
        assert!(!format!("{:?}", Number::new("918273").unwrap()).contains("918273"));
        assert_ne!(Number::new("0123").unwrap(), Number::new("123").unwrap());
    }

    #[test]
    fn device_times_are_rfc_3339_in_utc() {
        for good in ["2026-01-31T09:05:00Z", "2026-01-31T09:05:00.1Z", "2026-01-31T09:05:00.123456789Z"] {
            assert_eq!(DeviceTime::new(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "2026-01-31",
            "2026-01-31 09:05:00Z",
            "2026-01-31T09:05:00",
            "2026-01-31T09:05:00z",
            "2026-01-31T09:05:00+00:00",
            "2026-02-30T09:05:00Z",
            "2026-01-31T25:05:00Z",
            "2026-01-31T09:05:00.Z",
            "2026-01-31T09:05:00.1234567890Z",
            "2026-01-31T09:05:00Z[UTC]",
            "\u{ff12}026-01-31T09:05:00Z",
        ] {
            assert_eq!(DeviceTime::new(bad), Err(TextError::Time), "{bad:?}");
        }
    }

    #[test]
    fn names_count_characters_not_octets() {
        assert!(Name::new("é".repeat(64)).is_ok());
        assert!(Name::new("é".repeat(65)).is_err());
        assert!(Name::new("").is_err());
    }

    proptest! {
        #[test]
        fn any_timestamp_makes_a_device_time(seconds in 0i64..4_000_000_000, nanos in 0i32..1_000_000_000) {
            let time = jiff::Timestamp::new(seconds, nanos).unwrap();
            let text = DeviceTime::from(time);
            prop_assert!(is_device_time(text.as_str()));
        }

        #[test]
        fn no_text_makes_a_check_panic(text in ".{0,80}") {
            let _ = (AccountId::new(text.clone()), Number::new(text.clone()), DeviceTime::new(text.clone()), Name::new(text));
        }
    }
}
