//! Distinguished names, read for comparison only (RFC 4514). What is sent to a server is always the text that it gave.

/// The parts of a DN, folded so that two spellings of one are equal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Dn(Vec<Vec<Pair>>);

/// A DN folded into one run of octets, equal exactly where the DNs are: for large sets of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct DnKey(Box<[u8]>);

/// An attribute's name and value, folded.
type Pair = (String, Vec<u8>);

impl Dn {
    /// Reads a DN; `None` when the text is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.trim().is_empty() {
            return Some(Self(Vec::new()));
        }
        let mut parts = Vec::new();
        let mut part = Vec::new();
        let mut rest = text.as_bytes();
        loop {
            let (pair, end, after) = attribute_value(rest)?;
            part.push(pair);
            rest = after;
            if end != Some(b'+') {
                part.sort();
                parts.push(std::mem::take(&mut part));
            }
            if end.is_none() {
                return Some(Self(parts));
            }
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is `base` or below it.
    pub(crate) fn is_within(&self, base: &Self) -> bool {
        self.0.ends_with(&base.0)
    }

    pub(crate) fn key(&self) -> DnKey {
        let mut key = Vec::new();
        let mut put = |octets: &[u8]| {
            key.extend(octets.len().to_be_bytes());
            key.extend(octets);
        };
        for part in &self.0 {
            put(&part.len().to_be_bytes());
            for (attribute, value) in part {
                put(attribute.as_bytes());
                put(value);
            }
        }
        DnKey(key.into_boxed_slice())
    }

    /// `example.test` of `…,DC=example,DC=test`.
    pub(crate) fn domain(&self) -> Option<String> {
        let labels: Vec<&str> = self
            .0
            .iter()
            .filter_map(|part| match part.as_slice() {
                [(attribute, value)] if attribute == "dc" => std::str::from_utf8(value).ok(),
                _ => None,
            })
            .collect();
        (!labels.is_empty()).then(|| labels.join("."))
    }
}

/// The first `attribute=value`, what ends it, and what comes after.
fn attribute_value(text: &[u8]) -> Option<(Pair, Option<u8>, &[u8])> {
    let sign = text.iter().position(|octet| *octet == b'=')?;
    let attribute = std::str::from_utf8(text.get(..sign)?).ok()?.trim().to_ascii_lowercase();
    if attribute.is_empty() || !attribute.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-.".contains(&octet)) {
        return None;
    }
    let mut rest = text.get(sign + 1..)?;
    while let [b' ', after @ ..] = rest {
        rest = after;
    }
    let mut value = Vec::new();
    // Spaces at the end count only if they were escaped.
    let mut kept = 0;
    let mut quoted = false;
    let end = loop {
        match rest {
            [] => break None,
            [b'"', after @ ..] => {
                quoted = !quoted;
                rest = after;
                kept = value.len();
            }
            [end @ (b',' | b';' | b'+'), after @ ..] if !quoted => {
                rest = after;
                break Some(*end);
            }
            [b'\\', a, b, after @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => {
                value.push(u8::from_str_radix(std::str::from_utf8(&[*a, *b]).ok()?, 16).ok()?);
                kept = value.len();
                rest = after;
            }
            [b'\\', octet, after @ ..] => {
                value.push(*octet);
                kept = value.len();
                rest = after;
            }
            [b'\\'] => return None,
            [octet, after @ ..] => {
                value.push(*octet);
                if *octet != b' ' || quoted {
                    kept = value.len();
                }
                rest = after;
            }
        }
    };
    value.truncate(kept);
    if quoted || value.is_empty() {
        return None;
    }
    let folded = match std::str::from_utf8(&value) {
        Ok(text) => text.to_lowercase().into_bytes(),
        Err(_) => value,
    };
    Some(((attribute, folded), end, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dn(text: &str) -> Dn {
        Dn::parse(text).unwrap_or_else(|| panic!("{text:?} is no DN"))
    }

    #[test]
    fn c031_spellings_of_one_dn_are_equal() {
        for text in [
            "CN=Doe\\, Jane,OU=Staff,DC=example,DC=test",
            "cn=doe\\2c jane, ou=staff, dc=EXAMPLE, dc=test",
            "CN=\"Doe, Jane\";OU=Staff;DC=example;DC=test",
        ] {
            assert_eq!(dn(text), dn("CN=Doe\\, Jane,OU=Staff,DC=example,DC=test"), "{text}");
        }
        assert_eq!(dn("cn=a+uid=b,dc=x"), dn("UID=b+CN=a,DC=x"));
        assert_ne!(dn("cn=a\\ ,dc=x"), dn("cn=a,dc=x"));
        assert_ne!(dn("cn=a,dc=x"), dn("cn=a+dc=x"));
        assert_eq!(dn("cn=\\#a\\\"\\+,dc=x"), dn("cn=\\23a\\22\\2b,dc=x"));
    }

    #[test]
    fn below_a_base_means_whole_parts() {
        let base = dn("OU=Staff,DC=example,DC=test");
        assert!(dn("CN=a,ou=staff,dc=example,dc=test").is_within(&base));
        assert!(base.is_within(&base));
        assert!(!dn("CN=a\\,OU=Staff,DC=example,DC=test").is_within(&base));
        assert!(!dn("CN=a,OU=NoStaff,DC=example,DC=test").is_within(&base));
        assert!(!dn("DC=example,DC=test").is_within(&base));
    }

    #[test]
    fn the_domain_is_made_of_its_components() {
        assert_eq!(dn("OU=Staff,DC=Example,DC=test").domain().as_deref(), Some("example.test"));
        assert_eq!(dn("o=example").domain(), None);
    }

    #[test]
    fn other_texts_are_none() {
        for text in ["example.test", "EXAMPLE\\svc", "a@b", "=x", "cn=", "cn=a,", "cn=a\\", "cn=\"a", ",cn=a", "c n=a"]
        {
            assert_eq!(Dn::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "[a-c=,+;\"\\\\ #0-9\u{e9}]{0,24}") {
            let _ = Dn::parse(&text);
        }
    }
}
