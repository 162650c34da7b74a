//! What an administrator hands out to add a device: a typed code, or a QR code with a token.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::encoding::{EncodingError, decode_fixed, encode};
use crate::keys::Thumbprint;
use crate::origin::{Origin, OriginError};

/// Crockford's base32 alphabet: no `I`, `L`, `O`, `U`.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Characters of a code, of its handle, and thereby of its secret (8).
const CODE_LENGTH: usize = 12;
const HANDLE_LENGTH: usize = 4;

/// The longest text that is looked at as a typed code, in octets.
const LONGEST_TYPED: usize = 64;

/// Why a typed text is no activation code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// A character that codes do not contain.
    #[error("activation codes have no {0:?}")]
    Character(char),
    /// Too many or too few characters, hyphens and spaces not counted.
    #[error("an activation code has 12 characters, this one has {0}")]
    Length(usize),
}

/// An activation code: 60 random bits as 12 characters, written `ABCD-EFGH-JKMN`. The first four characters are a handle
/// that finds the activation, the other eight are the secret. `Debug` shows the handle only.
#[derive(Clone, ZeroizeOnDrop)]
pub struct ActivationCode(String);

impl ActivationCode {
    /// Makes a code from random octets; the first 60 bits are used.
    pub fn from_bytes(random: [u8; 8]) -> Self {
        let bits = u64::from_be_bytes(random);
        let code = (0..CODE_LENGTH)
            .filter_map(|at| {
                let index = usize::try_from((bits >> (59 - 5 * at)) & 31).ok()?;
                ALPHABET.get(index).copied().map(char::from)
            })
            .collect();
        Self(code)
    }

    /// Reads a code as a person types it: upper and lower case alike, `O` for `0`, `I` and `L` for `1`, hyphens and ASCII
    /// white space anywhere.
    ///
    /// # Errors
    /// [`CodeError`]: another character, or not 12 of them.
    pub fn parse(typed: &str) -> Result<Self, CodeError> {
        if typed.len() > LONGEST_TYPED {
            return Err(CodeError::Length(typed.len()));
        }
        let mut code = Zeroizing::new(String::with_capacity(LONGEST_TYPED));
        for c in typed.chars().filter(|c| *c != '-' && !c.is_ascii_whitespace()) {
            code.push(match c.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                upper if ALPHABET.iter().any(|a| char::from(*a) == upper) => upper,
                _ => return Err(CodeError::Character(c)),
            });
        }
        if code.len() == CODE_LENGTH { Ok(Self((*code).clone())) } else { Err(CodeError::Length(code.len())) }
    }

    /// The four characters that find the activation. Not secret.
    pub fn handle(&self) -> &str {
        self.0.get(..HANDLE_LENGTH).unwrap_or_default()
    }

    /// The eight secret characters, 40 bits. To be hashed before they are stored.
    pub fn expose_secret(&self) -> &str {
        self.0.get(HANDLE_LENGTH..).unwrap_or_default()
    }

    /// All 12 characters as they go over the wire.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The form that is shown to people, `ABCD-EFGH-JKMN`.
    pub fn expose_grouped(&self) -> Zeroizing<String> {
        let mut shown = String::with_capacity(CODE_LENGTH + 2);
        for (at, c) in self.0.chars().enumerate() {
            if at > 0 && at % 4 == 0 {
                shown.push('-');
            }
            shown.push(c);
        }
        Zeroizing::new(shown)
    }
}

impl PartialEq for ActivationCode {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for ActivationCode {}

impl FromStr for ActivationCode {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        Self::parse(text)
    }
}

impl fmt::Debug for ActivationCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActivationCode({}-..)", self.handle())
    }
}

impl Serialize for ActivationCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ActivationCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        // The message must not repeat what was typed: it may end in a log.
        Self::parse(&text).map_err(|_| de::Error::custom("not an activation code"))
    }
}

/// The secret of a QR code: 128 random bits, 22 base64url characters. `Debug` shows nothing.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ActivationToken([u8; 16]);

impl ActivationToken {
    /// Takes 128 random bits.
    pub const fn from_bytes(random: [u8; 16]) -> Self {
        Self(random)
    }

    /// Reads the 22 characters.
    ///
    /// # Errors
    /// [`EncodingError`] when the text is no base64url or of another length.
    pub fn parse(text: &str) -> Result<Self, EncodingError> {
        decode_fixed(text).map(Self)
    }

    /// The 16 octets. To be hashed before they are stored.
    pub const fn expose_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The 22 characters.
    pub fn expose(&self) -> Zeroizing<String> {
        Zeroizing::new(encode(&self.0))
    }
}

impl PartialEq for ActivationToken {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for ActivationToken {}

impl fmt::Debug for ActivationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ActivationToken(..)")
    }
}

impl Serialize for ActivationToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.expose())
    }
}

impl<'de> Deserialize<'de> for ActivationToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        Self::parse(&text).map_err(de::Error::custom)
    }
}

/// Why a scanned text is no activation link of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// There is no fragment, so there is no secret.
    #[error("the link has no part behind #")]
    NoFragment,
    /// The part before the path is no origin.
    #[error("the link's address is wrong: {0}")]
    Origin(#[from] OriginError),
    /// The path is not `/activate`, or there is a query.
    #[error("the link does not lead to /activate")]
    Path,
    /// The link was made for another version of the protocol.
    #[error("the link is for another version of the protocol")]
    Version,
    /// A parameter is not there.
    #[error("the link lacks {0}")]
    Missing(&'static str),
    /// A parameter stands there twice.
    #[error("the link has {0} twice")]
    Twice(&'static str),
    /// A parameter that version 1 does not know.
    #[error("the link has a parameter that is not known")]
    Unknown,
    /// `t` is no token.
    #[error("the link's token is wrong: {0}")]
    Token(EncodingError),
    /// `k` is no thumbprint.
    #[error("the link's key is wrong: {0}")]
    Key(EncodingError),
}

/// The text of a QR code: `https://host/activate#v=1&t=<token>&k=<thumbprint>`. All of it that is secret is in the
/// fragment, which browsers do not send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActivationLink {
    /// The server.
    pub origin: Origin,
    /// The secret.
    pub token: ActivationToken,
    /// The thumbprint of the server's signing key.
    pub key: Thumbprint,
}

impl ActivationLink {
    /// The text for the QR code.
    pub fn expose(&self) -> Zeroizing<String> {
        let token = self.token.expose();
        Zeroizing::new(format!("{}/activate#v=1&t={}&k={}", self.origin, *token, self.key))
    }

    /// Reads the text of a QR code. The parameters may come in any order; each exactly once, and no others.
    ///
    /// # Errors
    /// [`LinkError`] says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, LinkError> {
        let (address, fragment) = text.split_once('#').ok_or(LinkError::NoFragment)?;
        let origin = match address.strip_suffix("/activate") {
            Some(origin) if !origin.ends_with('/') => Origin::parse(origin)?,
            _ => return Err(LinkError::Path),
        };
        let (mut version, mut token, mut key) = (None, None, None);
        for parameter in fragment.split('&') {
            let (name, value) = parameter.split_once('=').ok_or(LinkError::Unknown)?;
            let (place, name) = match name {
                "v" => (&mut version, "v"),
                "t" => (&mut token, "t"),
                "k" => (&mut key, "k"),
                // A later version may have others; say what the person can act on.
                _ if version.is_some_and(|v| v != "1") => return Err(LinkError::Version),
                _ => return Err(LinkError::Unknown),
            };
            if place.replace(value).is_some() {
                return Err(LinkError::Twice(name));
            }
        }
        if version.ok_or(LinkError::Missing("v"))? != "1" {
            return Err(LinkError::Version);
        }
        Ok(Self {
            origin,
            token: ActivationToken::parse(token.ok_or(LinkError::Missing("t"))?).map_err(LinkError::Token)?,
            key: Thumbprint::parse(key.ok_or(LinkError::Missing("k"))?).map_err(LinkError::Key)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::server_key;

    #[test]
    fn s31_a_code_is_60_bits_in_crockford_base32() {
        let code = ActivationCode::from_bytes([0; 8]);
        assert_eq!(code.expose(), "000000000000");
        let code = ActivationCode::from_bytes([0xff; 8]);
        assert_eq!(code.expose_grouped().as_str(), "ZZZZ-ZZZZ-ZZZZ");
        let code = ActivationCode::from_bytes([0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
        assert_eq!(code.expose(), "04HMASW9NF6Y");
        assert_eq!((code.handle(), code.expose_secret()), ("04HM", "ASW9NF6Y"));
    }

    #[test]
    fn s31_a_code_is_read_in_every_form_people_type() {
        let code = ActivationCode::parse("0AB1-1DEF-GH0K").unwrap();
        for typed in [
            "0AB11DEFGH0K",
            "0ab1-1def-gh0k",
            "oab1-ldef-ghok",
            "OABI-LDEF-GHOK",
            "  0AB1 1DEF GH0K ",
            "0-A-B-1-1-D-E-F-G-H-0-K",
            "0ab1\t1def\ngh0k\r\n",
        ] {
            assert_eq!(ActivationCode::parse(typed).unwrap(), code, "{typed:?}");
        }
    }

    #[test]
    fn s31_what_is_no_code_is_refused_with_a_reason() {
        for (typed, why) in [
            ("", CodeError::Length(0)),
            ("0AB1-1DEF-GH0", CodeError::Length(11)),
            ("0AB1-1DEF-GH0KK", CodeError::Length(13)),
            ("UAB1-1DEF-GH0K", CodeError::Character('U')),
            ("0AB1_1DEF_GH0K", CodeError::Character('_')),
            ("0AB1–1DEF–GH0K", CodeError::Character('–')),
            ("0AB1-1DEF-GH0é", CodeError::Character('é')),
            ("٠AB1-1DEF-GH0K", CodeError::Character('٠')),
        ] {
            assert_eq!(ActivationCode::parse(typed), Err(why), "{typed:?}");
        }
        assert_eq!(ActivationCode::parse(&"-".repeat(65)), Err(CodeError::Length(65)));
    }

    #[test]
    fn s31_debug_and_errors_show_no_secret() {
        let code = ActivationCode::parse("0AB1-1DEF-GH0K").unwrap();
        assert_eq!(format!("{code:?}"), "ActivationCode(0AB1-..)");
        let token = ActivationToken::from_bytes([7; 16]);
        assert_eq!(format!("{token:?}"), "ActivationToken(..)");
        let error = serde_json::from_str::<ActivationCode>("\"0AB1-1DEF-GH0U\"").unwrap_err().to_string();
        assert!(!error.contains("1DEF"), "{error}");
        let link = ActivationLink {
            origin: "https://a.example".parse().unwrap(),
            token,
            key: server_key().public().thumbprint(),
        };
        assert!(!format!("{link:?}").contains("BwcH"));
    }

    #[test]
    fn s31_the_secret_of_a_link_is_in_its_fragment_and_has_128_bits() {
        let link = ActivationLink {
            origin: "https://mfa.example.com".parse().unwrap(),
            token: ActivationToken::from_bytes([0xa5; 16]),
            key: server_key().public().thumbprint(),
        };
        let text = link.expose();
        let (address, fragment) = text.split_once('#').unwrap();
        assert_eq!(address, "https://mfa.example.com/activate");
        assert!(fragment.starts_with("v=1&t=paWlpaWlpaWlpaWlpaWlpQ&k="));
        assert_eq!(ActivationLink::parse(&text).unwrap(), link);
    }

    #[test]
    fn a_link_that_is_wrong_is_refused_with_a_reason() {
        let t = "t=paWlpaWlpaWlpaWlpaWlpQ";
        let k = format!("k={}", server_key().public().thumbprint());
        let good = "https://mfa.example.com/activate";
        assert!(ActivationLink::parse(&format!("{good}#{k}&{t}&v=1")).is_ok(), "the order is free");
        for (text, why) in [
            (good.to_owned(), LinkError::NoFragment),
            (format!("https://mfa.example.com#v=1&{t}&{k}"), LinkError::Path),
            (format!("https://mfa.example.com/activate/#v=1&{t}&{k}"), LinkError::Path),
            (format!("https://mfa.example.com//activate#v=1&{t}&{k}"), LinkError::Path),
            (format!("https://mfa.example.com/activate?x#v=1&{t}&{k}"), LinkError::Path),
            (format!("https://mfa.example.com/x/activate#v=1&{t}&{k}"), LinkError::Origin(OriginError::Path)),
            (format!("http://mfa.example.com/activate#v=1&{t}&{k}"), LinkError::Origin(OriginError::PlainHttp)),
            (format!("otpauth://totp/activate#v=1&{t}&{k}"), LinkError::Origin(OriginError::Scheme)),
            (format!("{good}#"), LinkError::Unknown),
            (format!("{good}#{t}&{k}"), LinkError::Missing("v")),
            (format!("{good}#v=1&{k}"), LinkError::Missing("t")),
            (format!("{good}#v=1&{t}"), LinkError::Missing("k")),
            (format!("{good}#v=2&{t}&{k}"), LinkError::Version),
            (format!("{good}#v=2&{t}&new=1"), LinkError::Version),
            (format!("{good}#v=1&{t}&{t}&{k}"), LinkError::Twice("t")),
            (format!("{good}#v=1&{t}&{k}&x=1"), LinkError::Unknown),
            (format!("{good}#v=1&{t}&{k}&"), LinkError::Unknown),
            (format!("{good}#v=1&t=paWl&{k}"), LinkError::Token(EncodingError::Length { expected: 16, got: 3 })),
            (format!("{good}#v=1&{t}==&{k}"), LinkError::Token(EncodingError::NotBase64Url)),
            (format!("{good}#v=1&t=paWlpaWlpaWlpaWlpaWlpR&{k}"), LinkError::Token(EncodingError::NotBase64Url)),
            (format!("{good}#v=1&{t}&k=abcd"), LinkError::Key(EncodingError::Length { expected: 32, got: 3 })),
        ] {
            assert_eq!(ActivationLink::parse(&text), Err(why), "{text}");
        }
    }

    proptest! {
        #[test]
        fn s31_every_code_survives_being_shown_and_typed(random: [u8; 8], lower: bool) {
            let code = ActivationCode::from_bytes(random);
            let mut typed = code.expose_grouped().to_string();
            if lower {
                typed.make_ascii_lowercase();
            }
            prop_assert_eq!(ActivationCode::parse(&typed).unwrap(), code.clone());
            prop_assert_eq!(code.handle().len(), 4);
            prop_assert_eq!(code.expose_secret().len(), 8);
        }

        #[test]
        fn every_link_survives_the_qr_code(token: [u8; 16], key: [u8; 32], port in 1u16..) {
            let origin = Origin::parse(&format!("https://mfa.example.com:{port}")).unwrap();
            let link = ActivationLink { origin, token: ActivationToken::from_bytes(token), key: Thumbprint::new(key) };
            prop_assert_eq!(ActivationLink::parse(&link.expose()), Ok(link));
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in ".{0,100}") {
            let _ = ActivationCode::parse(&text);
            let _ = ActivationLink::parse(&text);
            let _ = ActivationLink::parse(&format!("https://a.example/activate#{text}"));
        }
    }
}
