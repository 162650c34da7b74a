//! Where a server is: scheme, host and port, in one normal form.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Why a text is no origin that this protocol takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// There is no `https://` (or `http://`) at the beginning.
    #[error("the address does not begin with https://")]
    Scheme,
    /// Plain HTTP to another host than this machine.
    #[error("plain http is for localhost only")]
    PlainHttp,
    /// A user name or password stands before the host.
    #[error("the address carries a user name")]
    UserInfo,
    /// The address has a path, a query or a fragment.
    #[error("the address has a path, a query or a fragment")]
    Path,
    /// The host is neither a DNS name (in ASCII) nor an IP address.
    #[error("the host is no DNS name and no IP address")]
    Host,
    /// The port is no number from 1 to 65535.
    #[error("the port is no number from 1 to 65535")]
    Port,
    /// The origin is good and not written in its normal form.
    #[error("the origin is not in its normal form")]
    NotNormal,
}

/// A server's origin (RFC 6454) in normal form: lower case, no default port, no slash at the end. HTTPS, or plain HTTP to
/// `localhost`, `127.0.0.1` or `[::1]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(String);

impl Origin {
    /// Reads an address that a person typed or configured and brings it into normal form. One slash at the end is dropped.
    ///
    /// # Errors
    /// [`OriginError`] for everything that is not just scheme, host and port.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        let (scheme, rest) = text.split_once("://").ok_or(OriginError::Scheme)?;
        let https = scheme.eq_ignore_ascii_case("https");
        if !https && !scheme.eq_ignore_ascii_case("http") {
            return Err(OriginError::Scheme);
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#', '\\']) {
            return Err(OriginError::Path);
        }
        if authority.contains('@') {
            return Err(OriginError::UserInfo);
        }
        let (host, port) = split_port(authority)?;
        let host = normal_host(host)?;
        if !https && !matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]") {
            return Err(OriginError::PlainHttp);
        }
        let (scheme, default) = if https { ("https", 443) } else { ("http", 80) };
        Ok(Self(match port {
            Some(port) if port != default => format!("{scheme}://{host}:{port}"),
            _ => format!("{scheme}://{host}"),
        }))
    }

    /// Takes an origin that must already be in normal form, as it comes in answers.
    ///
    /// # Errors
    /// [`OriginError`]; [`OriginError::NotNormal`] for a good origin written in another way.
    pub fn parse_normal(text: &str) -> Result<Self, OriginError> {
        let origin = Self::parse(text)?;
        if origin.0 == text { Ok(origin) } else { Err(OriginError::NotNormal) }
    }

    /// The normal form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the scheme is HTTPS.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https:")
    }

    /// The `htu` of a request (RFC 9449 section 4.2): the origin and the path, without query and fragment.
    /// `path` begins with a slash; whatever follows a `?` or `#` in it is dropped.
    pub fn htu(&self, path: &str) -> String {
        let path = path.split(['?', '#']).next().unwrap_or_default();
        format!("{}{path}", self.0)
    }
}

/// Splits `host[:port]`; the colon inside brackets belongs to the host.
fn split_port(authority: &str) -> Result<(&str, Option<u16>), OriginError> {
    let after_bracket = match authority.rfind(']') {
        Some(at) => authority.get(at..).unwrap_or_default(),
        None => authority,
    };
    let Some((_, port)) = after_bracket.rsplit_once(':') else { return Ok((authority, None)) };
    let host = authority.strip_suffix(port).and_then(|h| h.strip_suffix(':')).ok_or(OriginError::Port)?;
    if port.starts_with('0') || !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(OriginError::Port);
    }
    port.parse::<u16>().map(|port| (host, Some(port))).map_err(|_| OriginError::Port)
}

fn normal_host(host: &str) -> Result<String, OriginError> {
    if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or(OriginError::Host)?;
        let address = inner.parse::<Ipv6Addr>().map_err(|_| OriginError::Host)?;
        // Browsers and this standard library write mapped addresses differently; nobody serves an app from one.
        if address.to_ipv4_mapped().is_some() {
            return Err(OriginError::Host);
        }
        return Ok(format!("[{address}]"));
    }
    let host = host.to_ascii_lowercase();
    let label_ok = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.len() > 253 || !host.split('.').all(label_ok) {
        return Err(OriginError::Host);
    }
    // Browsers read a host whose last label is a number as an IPv4 address, also `127.1` and `0x7f.1`: only the plain
    // four-part form is taken.
    let last = host.rsplit('.').next().unwrap_or_default();
    let numeric = last.bytes().all(|b| b.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    if numeric && host.parse::<Ipv4Addr>().is_err() {
        return Err(OriginError::Host);
    }
    Ok(host)
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        Self::parse(text)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({})", self.0)
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse_normal(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_origin_is_brought_into_normal_form() {
        for (text, normal) in [
            ("https://mfa.example.com", "https://mfa.example.com"),
            ("HTTPS://MFA.Example.COM/", "https://mfa.example.com"),
            ("https://mfa.example.com:443", "https://mfa.example.com"),
            ("https://mfa.example.com:80", "https://mfa.example.com:80"),
            ("https://mfa.example.com:8443", "https://mfa.example.com:8443"),
            ("https://192.0.2.7", "https://192.0.2.7"),
            ("https://[2001:DB8:0:0::1]:8443", "https://[2001:db8::1]:8443"),
            ("http://localhost:80", "http://localhost"),
            ("http://localhost:8080", "http://localhost:8080"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
            ("http://[::1]", "http://[::1]"),
        ] {
            assert_eq!(Origin::parse(text).unwrap().as_str(), normal, "{text}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused_with_a_reason() {
        for (text, why) in [
            ("", OriginError::Scheme),
            ("mfa.example.com", OriginError::Scheme),
            ("ftp://mfa.example.com", OriginError::Scheme),
            (" https://mfa.example.com", OriginError::Scheme),
            ("http://mfa.example.com", OriginError::PlainHttp),
            ("http://localhost.example.com", OriginError::PlainHttp),
            ("http://127.0.0.2", OriginError::PlainHttp),
            ("https://user@mfa.example.com", OriginError::UserInfo),
            ("https://user:pw@mfa.example.com", OriginError::UserInfo),
            ("https://mfa.example.com/app", OriginError::Path),
            ("https://mfa.example.com//", OriginError::Path),
            ("https://mfa.example.com?x", OriginError::Path),
            ("https://mfa.example.com#x", OriginError::Path),
            ("https://mfa.example.com\\x", OriginError::Path),
            ("https://", OriginError::Host),
            ("https://mfa.example.com.", OriginError::Host),
            ("https://mfa..example.com", OriginError::Host),
            ("https://-mfa.example.com", OriginError::Host),
            ("https://mfa_x.example.com", OriginError::Host),
            ("https://mfa.exämple.com", OriginError::Host),
            ("https://mfa%2eexample.com", OriginError::Host),
            ("https://127.1", OriginError::Host),
            ("https://0x7f.1", OriginError::Host),
            ("https://example.0x7f", OriginError::Host),
            ("https://[::1", OriginError::Host),
            ("https://[::ffff:192.0.2.1]", OriginError::Host),
            ("https://[fe80::1%25eth0]", OriginError::Host),
            ("https://[::1]x", OriginError::Host),
            ("https://mfa.example.com:", OriginError::Port),
            ("https://mfa.example.com:0", OriginError::Port),
            ("https://mfa.example.com:0443", OriginError::Port),
            ("https://mfa.example.com:65536", OriginError::Port),
            ("https://mfa.example.com:+443", OriginError::Port),
        ] {
            assert_eq!(Origin::parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn answers_carry_the_normal_form_only() {
        assert!(Origin::parse_normal("https://mfa.example.com").is_ok());
        for text in ["https://mfa.example.com/", "https://MFA.example.com", "https://mfa.example.com:443"] {
            assert_eq!(Origin::parse_normal(text), Err(OriginError::NotNormal));
            assert!(serde_json::from_value::<Origin>(text.into()).is_err());
        }
    }

    #[test]
    fn htu_has_no_query_and_no_fragment() {
        let origin = Origin::parse("https://mfa.example.com:8443").unwrap();
        assert_eq!(origin.htu("/device/v1/history?x=1#y"), "https://mfa.example.com:8443/device/v1/history");
    }

    proptest! {
        #[test]
        fn the_normal_form_is_a_fixed_point(text in "(https|HTTP|http)://[a-zA-Z0-9.:\\[\\]-]{0,20}(:[0-9]{0,6})?/?") {
            if let Ok(origin) = Origin::parse(&text) {
                prop_assert_eq!(Origin::parse_normal(origin.as_str()), Ok(origin));
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,60}") {
            let _ = Origin::parse(&text);
            let _ = Origin::parse(&format!("https://{text}"));
        }
    }
}
