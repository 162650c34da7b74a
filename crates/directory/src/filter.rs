//! Search filters (RFC 4511 section 4.5.1.7).
//!
//! Filters are values: what a user typed is an assertion value in one and never becomes text that somebody parses. Text
//! is read in one place only, for the filters that an administrator writes into the configuration (RFC 4515).

use std::fmt;

use crate::ber::Writer;

/// Which entries a search finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Not(Box<Filter>),
    Equals(String, Vec<u8>),
    AtLeast(String, Vec<u8>),
    AtMost(String, Vec<u8>),
    Approximately(String, Vec<u8>),
    Present(String),
    Substrings { attribute: String, initial: Option<Vec<u8>>, any: Vec<Vec<u8>>, last: Option<Vec<u8>> },
    Matches { rule: Option<String>, attribute: Option<String>, value: Vec<u8>, dn_attributes: bool },
}

/// Why a text is no filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Brackets do not fit, or something is missing.
    #[error("it ends or breaks off at character {0}: look for a bracket too many or missing")]
    Syntax(usize),
    /// A backslash is followed by two hexadecimal digits.
    #[error("the backslash at character {0} is not followed by two hexadecimal digits (RFC 4515)")]
    Escape(usize),
    /// Nobody needs that.
    #[error("it is nested more than 16 deep")]
    TooDeep,
}

impl Filter {
    const MAX_DEPTH: usize = 16;

    pub(crate) fn equals(attribute: &str, value: impl AsRef<[u8]>) -> Self {
        Self::Equals(attribute.to_owned(), value.as_ref().to_vec())
    }

    pub(crate) fn at_least(attribute: &str, value: &str) -> Self {
        Self::AtLeast(attribute.to_owned(), value.as_bytes().to_vec())
    }

    pub(crate) fn at_most(attribute: &str, value: &str) -> Self {
        Self::AtMost(attribute.to_owned(), value.as_bytes().to_vec())
    }

    /// Reads the text form.
    pub(crate) fn parse(text: &str) -> Result<Self, FilterError> {
        let text = text.trim();
        let mut parser = Parser { text: text.as_bytes(), at: 0 };
        let filter = if text.starts_with('(') { parser.bracketed(Self::MAX_DEPTH)? } else { parser.item()? };
        if parser.at == parser.text.len() { Ok(filter) } else { Err(FilterError::Syntax(parser.at)) }
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        let pair = |writer: &mut Writer, tag: u8, attribute: &str, value: &[u8]| {
            writer.constructed(tag, |w| {
                w.octets(crate::ber::OCTET_STRING, value);
                w.text(attribute);
            });
        };
        match self {
            Self::And(all) => writer.constructed(0xa0, |w| all.iter().rev().for_each(|filter| filter.write(w))),
            Self::Or(all) => writer.constructed(0xa1, |w| all.iter().rev().for_each(|filter| filter.write(w))),
            Self::Not(filter) => writer.constructed(0xa2, |w| filter.write(w)),
            Self::Equals(attribute, value) => pair(writer, 0xa3, attribute, value),
            Self::Substrings { attribute, initial, any, last } => writer.constructed(0xa4, |w| {
                w.constructed(crate::ber::SEQUENCE, |w| {
                    if let Some(last) = last {
                        w.octets(0x82, last);
                    }
                    any.iter().rev().for_each(|part| w.octets(0x81, part));
                    if let Some(initial) = initial {
                        w.octets(0x80, initial);
                    }
                });
                w.text(attribute);
            }),
            Self::AtLeast(attribute, value) => pair(writer, 0xa5, attribute, value),
            Self::AtMost(attribute, value) => pair(writer, 0xa6, attribute, value),
            Self::Present(attribute) => writer.octets(0x87, attribute.as_bytes()),
            Self::Approximately(attribute, value) => pair(writer, 0xa8, attribute, value),
            Self::Matches { rule, attribute, value, dn_attributes } => writer.constructed(0xa9, |w| {
                if *dn_attributes {
                    w.octets(0x84, &[0xff]);
                }
                w.octets(0x83, value);
                if let Some(attribute) = attribute {
                    w.octets(0x82, attribute.as_bytes());
                }
                if let Some(rule) = rule {
                    w.octets(0x81, rule.as_bytes());
                }
            }),
        }
    }
}

impl fmt::Display for Filter {
    /// The text form of RFC 4515, for logs and for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = |f: &mut fmt::Formatter<'_>, sign: &str, filters: &[Self]| {
            write!(f, "({sign}")?;
            filters.iter().try_for_each(|filter| write!(f, "{filter}"))?;
            f.write_str(")")
        };
        match self {
            Self::And(filters) => all(f, "&", filters),
            Self::Or(filters) => all(f, "|", filters),
            Self::Not(filter) => write!(f, "(!{filter})"),
            Self::Equals(attribute, value) => write!(f, "({attribute}={})", Escaped(value)),
            Self::AtLeast(attribute, value) => write!(f, "({attribute}>={})", Escaped(value)),
            Self::AtMost(attribute, value) => write!(f, "({attribute}<={})", Escaped(value)),
            Self::Approximately(attribute, value) => write!(f, "({attribute}~={})", Escaped(value)),
            Self::Present(attribute) => write!(f, "({attribute}=*)"),
            Self::Substrings { attribute, initial, any, last } => {
                write!(f, "({attribute}={}*", Escaped(initial.as_deref().unwrap_or_default()))?;
                any.iter().try_for_each(|part| write!(f, "{}*", Escaped(part)))?;
                write!(f, "{})", Escaped(last.as_deref().unwrap_or_default()))
            }
            Self::Matches { rule, attribute, value, dn_attributes } => {
                write!(f, "({}", attribute.as_deref().unwrap_or_default())?;
                if *dn_attributes {
                    f.write_str(":dn")?;
                }
                if let Some(rule) = rule {
                    write!(f, ":{rule}")?;
                }
                write!(f, ":={})", Escaped(value))
            }
        }
    }
}

/// An assertion value as RFC 4515 section 3 writes it: whatever could mean something else is `\xx`.
struct Escaped<'a>(&'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '*' | '(' | ')' | '\\' | '\0'..='\u{1f}' | '\u{7f}' => write!(f, "\\{:02x}", u32::from(c))?,
                    c => write!(f, "{c}")?,
                }
            }
            chunk.invalid().iter().try_for_each(|octet| write!(f, "\\{octet:02x}"))?;
        }
        Ok(())
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    const fn fault<T>(&self) -> Result<T, FilterError> {
        Err(FilterError::Syntax(self.at))
    }

    fn expect(&mut self, octet: u8) -> Result<(), FilterError> {
        if self.peek() == Some(octet) {
            self.at += 1;
            return Ok(());
        }
        self.fault()
    }

    fn bracketed(&mut self, depth: usize) -> Result<Filter, FilterError> {
        let depth = depth.checked_sub(1).ok_or(FilterError::TooDeep)?;
        self.expect(b'(')?;
        let filter = match self.peek() {
            Some(b'&') => Filter::And(self.list(depth)?),
            Some(b'|') => Filter::Or(self.list(depth)?),
            Some(b'!') => {
                self.at += 1;
                Filter::Not(Box::new(self.bracketed(depth)?))
            }
            _ => self.item()?,
        };
        self.expect(b')')?;
        Ok(filter)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Filter>, FilterError> {
        self.at += 1;
        let mut filters = Vec::new();
        while self.peek() == Some(b'(') {
            filters.push(self.bracketed(depth)?);
        }
        if filters.is_empty() { self.fault() } else { Ok(filters) }
    }

    /// Letters, digits and what object identifiers and options need.
    fn word(&mut self) -> String {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let word = rest.iter().take_while(|c| c.is_ascii_alphanumeric() || b"-._;".contains(c)).count();
        self.at += word;
        rest.get(..word).map(|word| String::from_utf8_lossy(word).into_owned()).unwrap_or_default()
    }

    fn item(&mut self) -> Result<Filter, FilterError> {
        let attribute = self.word();
        if self.peek() == Some(b':') {
            return self.extended(attribute);
        }
        if attribute.is_empty() {
            return self.fault();
        }
        let kind = self.peek();
        self.at += 1;
        if matches!(kind, Some(b'>' | b'<' | b'~')) {
            self.expect(b'=')?;
        }
        match kind {
            Some(b'=') => Ok(match self.pieces()?.as_slice() {
                [only] => Filter::Equals(attribute, only.clone()),
                // Without any text, LDAP has no such thing as substrings (RFC 4511 section 4.5.1.7.2).
                all @ [_, _, ..] if all.iter().all(Vec::is_empty) => Filter::Present(attribute),
                [first, any @ .., last] => Filter::Substrings {
                    attribute,
                    initial: Some(first.clone()).filter(|part| !part.is_empty()),
                    any: any.iter().filter(|part| !part.is_empty()).cloned().collect(),
                    last: Some(last.clone()).filter(|part| !part.is_empty()),
                },
                [] => return self.fault(),
            }),
            Some(b'>') => Ok(Filter::AtLeast(attribute, self.value()?)),
            Some(b'<') => Ok(Filter::AtMost(attribute, self.value()?)),
            Some(b'~') => Ok(Filter::Approximately(attribute, self.value()?)),
            _ => {
                self.at -= 1;
                self.fault()
            }
        }
    }

    fn extended(&mut self, attribute: String) -> Result<Filter, FilterError> {
        self.expect(b':')?;
        let (mut dn_attributes, mut rule) = (false, None);
        while self.peek() != Some(b'=') {
            match self.word() {
                word if word == "dn" && !dn_attributes && rule.is_none() => dn_attributes = true,
                word if !word.is_empty() && rule.is_none() => rule = Some(word),
                _ => return self.fault(),
            }
            self.expect(b':')?;
        }
        self.at += 1;
        let attribute = Some(attribute).filter(|attribute| !attribute.is_empty());
        if attribute.is_none() && rule.is_none() {
            return self.fault();
        }
        Ok(Filter::Matches { rule, attribute, value: self.value()?, dn_attributes })
    }

    /// A value without asterisks.
    fn value(&mut self) -> Result<Vec<u8>, FilterError> {
        let mut pieces = self.pieces()?;
        match (pieces.pop(), pieces.is_empty()) {
            (Some(value), true) => Ok(value),
            _ => self.fault(),
        }
    }

    /// A value up to its bracket, cut at asterisks.
    fn pieces(&mut self) -> Result<Vec<Vec<u8>>, FilterError> {
        let mut pieces = Vec::new();
        let mut piece = Vec::new();
        loop {
            match self.peek() {
                None | Some(b')') => break,
                Some(b'(' | 0) => return self.fault(),
                Some(b'*') => pieces.push(std::mem::take(&mut piece)),
                Some(b'\\') => {
                    let digits =
                        self.text.get(self.at + 1..self.at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
                    let octet = digits
                        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
                        .and_then(|digits| u8::from_str_radix(digits, 16).ok());
                    piece.push(octet.ok_or(FilterError::Escape(self.at))?);
                    self.at += 2;
                }
                Some(octet) => piece.push(octet),
            }
            self.at += 1;
        }
        pieces.push(piece);
        Ok(pieces)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn c033_values_are_escaped_where_they_become_text() {
        for (value, text) in [
            (&b"*"[..], "(uid=\\2a)"),
            (b"x)(|(uid=*", "(uid=x\\29\\28|\\28uid=\\2a)"),
            (b"a\\", "(uid=a\\5c)"),
            (b"nul\0", "(uid=nul\\00)"),
            (b"caf\xe9", "(uid=caf\\e9)"),
            ("k\u{f6}lbel".as_bytes(), "(uid=k\u{f6}lbel)"),
        ] {
            let filter = Filter::equals("uid", value);
            assert_eq!(filter.to_string(), text);
            assert_eq!(Filter::parse(text), Ok(filter));
        }
    }

    #[test]
    fn filters_of_administrators_are_read() {
        for text in [
            "(&(objectCategory=person)(objectClass=user))",
            "(&(objectClass=user)(!(userAccountControl:1.2.840.113556.1.4.803:=2)))",
            "(|(cn=a*b*c)(cn=*)(sn=*x)(sn=x*)(uidNumber>=1000)(uidNumber<=2000)(cn~=jon))",
            "(memberOf=CN=Doe\\5c, Jane,DC=example,DC=test)",
            "(ou:dn:=People)",
            "(:dn:2.4.6.8.10:=x)",
        ] {
            assert_eq!(Filter::parse(text).map(|filter| filter.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(Filter::parse(" objectClass=user "), Ok(Filter::equals("objectClass", "user")));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in
            ["", "(", "()", "(&)", "(a=b", "(a=b))", "(a=b)(c=d)", "(=x)", "(a>b)", "(:=x)", "(a=(b))", "(!(a=b)(c=d))"]
        {
            assert!(matches!(Filter::parse(text), Err(FilterError::Syntax(_))), "{text}: {:?}", Filter::parse(text));
        }
        assert_eq!(Filter::parse("(a=\\zz)"), Err(FilterError::Escape(3)));
        assert_eq!(Filter::parse("(a=\\+1)"), Err(FilterError::Escape(3)));
        let deep = format!("{}(a=b){}", "(!".repeat(100_000), ")".repeat(100_000));
        assert_eq!(Filter::parse(&deep), Err(FilterError::TooDeep));
    }

    #[test]
    fn written_as_rfc_4511_has_it() {
        let mut writer = Writer::default();
        Filter::And(vec![Filter::equals("a", "1"), Filter::Present("b".to_owned())]).write(&mut writer);
        assert_eq!(*writer.finish(), [0xa0, 11, 0xa3, 6, 4, 1, b'a', 4, 1, b'1', 0x87, 1, b'b']);
    }

    proptest! {
        #[test]
        fn c033_any_value_comes_back_as_itself(value in prop::collection::vec(any::<u8>(), 0..40)) {
            let filter = Filter::equals("uid", value);
            prop_assert_eq!(Filter::parse(&filter.to_string()), Ok(filter));
        }

        #[test]
        fn any_text_is_read_without_panic(text in "[(&|!)a:=<>~*\\\\0-9]{0,30}") {
            if let Ok(filter) = Filter::parse(&text) {
                prop_assert_eq!(Filter::parse(&filter.to_string()), Ok(filter));
            }
        }
    }
}
