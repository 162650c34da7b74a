//! Who somebody is by his certificate (RFC 6614 section 2.4).

use core::{fmt, str::FromStr};

use data_encoding::HEXLOWER;

use crate::{Network, Secret};

/// What both sides of RADIUS/TLS use as the shared secret: it keeps nothing, TLS does (RFC 6614 section 2.3).
const RADSEC: &[u8] = b"radsec";
/// Longest name (RFC 1035 section 2.3.4), and longest part of one.
const LONGEST: (usize, usize) = (253, 63);

/// Of whom a certificate has to be.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TlsIdentity {
    /// It is this one: SHA-256 over all of it.
    Fingerprint([u8; 32]),
    /// It is from the configured CA, and this is one of its DNS names (RFC 5280 section 4.2.1.6).
    Name(DnsName),
}

/// A name as a certificate carries it: ASCII in lower case, no wildcard, no address, no dot at its end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DnsName(String);

/// Why a text is no identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TlsIdentityError {
    /// Not 64 digits.
    #[error("a fingerprint is SHA-256 in 64 hexadecimal digits, as `openssl x509 -fingerprint -sha256` shows it")]
    Fingerprint,
    /// Not a name.
    #[error("a name is one such as vpn1.example.org, without wildcard; other letters than ASCII are written as xn--")]
    Name,
}

impl DnsName {
    /// Reads a name in any letter case.
    ///
    /// # Errors
    /// [`TlsIdentityError::Name`] where no certificate should carry it, or it could mean several.
    pub fn new(text: &str) -> Result<Self, TlsIdentityError> {
        let (longest, longest_part) = LONGEST;
        let is_part = |part: &str| {
            let inner = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
            !part.is_empty() && part.len() <= longest_part && part.bytes().all(inner)
        };
        // What ends in a number is an address, or looks like one.
        let ends_in_number =
            text.rsplit('.').next().is_some_and(|part| part.bytes().all(|octet| octet.is_ascii_digit()));
        if text.len() > longest || ends_in_number || !text.split('.').all(is_part) {
            return Err(TlsIdentityError::Name);
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TlsIdentity {
    const FINGERPRINT: &str = "sha256:";

    /// Reads a fingerprint as programs show it: hexadecimal, with or without colons.
    ///
    /// # Errors
    /// [`TlsIdentityError::Fingerprint`] where it is none.
    pub fn fingerprint(text: &str) -> Result<Self, TlsIdentityError> {
        let digits: String = text.chars().filter(|letter| *letter != ':').collect();
        let octets = HEXLOWER.decode(digits.to_ascii_lowercase().as_bytes());
        let octets = octets.map_err(|_| TlsIdentityError::Fingerprint)?;
        Ok(Self::Fingerprint(octets.try_into().map_err(|_| TlsIdentityError::Fingerprint)?))
    }

    /// Reads a name.
    ///
    /// # Errors
    /// [`TlsIdentityError::Name`] where it is none.
    pub fn name(text: &str) -> Result<Self, TlsIdentityError> {
        DnsName::new(text).map(Self::Name)
    }
}

impl fmt::Display for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fingerprint(octets) => write!(f, "{}{}", Self::FINGERPRINT, HEXLOWER.encode(octets)),
            Self::Name(name) => f.write_str(&name.0),
        }
    }
}

/// `sha256:` and a fingerprint, or a name.
impl FromStr for TlsIdentity {
    type Err = TlsIdentityError;

    fn from_str(text: &str) -> Result<Self, TlsIdentityError> {
        // Not by the octets: a text of another form could be cut within a letter.
        match text.split_once(':') {
            Some((kind, rest)) if kind.eq_ignore_ascii_case("sha256") => Self::fingerprint(rest),
            Some(_) => Err(TlsIdentityError::Name),
            None => Self::name(text),
        }
    }
}

/// A client that speaks RADIUS over TLS, and never otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsPeer {
    /// By what it is known. No other client has it.
    pub identity: TlsIdentity,
    /// Where its connections may come from; anywhere, where none is named.
    pub networks: Vec<Network>,
}

/// The secret of everybody who speaks RADIUS over TLS.
pub fn radsec_secret() -> Secret {
    Secret::new(RADSEC.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_read_as_programs_write_them_and_shown_in_one_form() {
        let digits = "AB".repeat(32);
        let colons = ["AB"; 32].join(":");
        for text in [&digits, &colons, &digits.to_lowercase()] {
            let read = TlsIdentity::fingerprint(text).unwrap();
            assert_eq!(read, TlsIdentity::Fingerprint([0xab; 32]));
            assert_eq!(read.to_string().parse(), Ok(read));
        }
        let name = TlsIdentity::name("VPN1.Example.org").unwrap();
        assert_eq!((name.to_string().as_str(), name.to_string().parse()), ("vpn1.example.org", Ok(name)));
    }

    #[test]
    fn s48_what_could_mean_several_is_no_identity() {
        for text in
            ["", ".", "a..b", "a.", ".a", "*.example.org", "a b", "münchen.de", "192.0.2.7", "::1", "a:b", "a\n", "10"]
        {
            assert_eq!(text.parse::<TlsIdentity>(), Err(TlsIdentityError::Name), "{text}");
        }
        assert!(TlsIdentity::name(&"a".repeat(64)).is_err() && TlsIdentity::name(&["a"; 128].join(".")).is_err());
        for text in ["", "ab", &"ab".repeat(31), &"ab".repeat(33), &"xy".repeat(32), "ü"] {
            assert!(format!("sha256:{text}").parse::<TlsIdentity>().is_err(), "{text}");
        }
    }
}
