use std::fmt::{self, Write as _};

/// Text from outside that may hold anything: kept as the octets that came, escaped wherever it is shown.
///
/// `Display` is the escaped form: printable characters as they are, everything that could steer a terminal, a log or
/// a reader's eye (controls, line ends, bidirectional and other format characters) as `\u{…}`, octets that are no
/// UTF-8 as `\x…`, a backslash doubled so that the escape is unambiguous.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct HostileText(Vec<u8>);

impl HostileText {
    /// At most this many octets are kept; RADIUS attributes hold no more (RFC 2865 section 5).
    pub const MAX: usize = 253;

    /// Keeps the first [`Self::MAX`] octets.
    pub fn new(octets: &[u8]) -> Self {
        Self(octets.get(..Self::MAX).unwrap_or(octets).to_vec())
    }

    /// The octets as they came.
    pub fn as_octets(&self) -> &[u8] {
        &self.0
    }

    /// As text, when it is UTF-8.
    pub fn as_utf8(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The escaped form, at most `limit` characters with an ellipsis at the end of a longer one.
    pub fn shown(&self, limit: usize) -> String {
        let all = self.to_string();
        if all.chars().count() <= limit {
            return all;
        }
        let mut out: String = all.chars().take(limit.saturating_sub(1)).collect();
        out.push('…');
        out
    }
}

/// Characters that print as themselves and change nothing around them.
fn harmless(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
            | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}'
            | '\u{E0000}'..='\u{E0FFF}')
}

impl fmt::Display for HostileText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\\' => f.write_str("\\\\")?,
                    c if harmless(c) => f.write_char(c)?,
                    c => write!(f, "\\u{{{:x}}}", u32::from(c))?,
                }
            }
            for octet in chunk.invalid() {
                write!(f, "\\x{octet:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for HostileText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl From<&str> for HostileText {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s101_controls_bidi_and_bad_octets_are_escaped() {
        let shown = |octets: &[u8]| HostileText::new(octets).to_string();
        assert_eq!(shown(b"bob\n2026-11-25 ACCEPT alice"), "bob\\u{a}2026-11-25 ACCEPT alice");
        assert_eq!(shown(b"\x1b[2J"), "\\u{1b}[2J");
        assert_eq!(shown("10.0.0.1\u{202E}gnp.exe<script>".as_bytes()), "10.0.0.1\\u{202e}gnp.exe<script>");
        assert_eq!(shown(b"caf\xe9 \\"), "caf\\xe9 \\\\");
        assert_eq!(shown("kölbel".as_bytes()), "kölbel");
        let long = "\u{202E}".repeat(200);
        assert_eq!(HostileText::new(long.as_bytes()).as_octets().len(), HostileText::MAX);
        assert!(HostileText::new(long.as_bytes()).to_string().is_ascii());
        assert_eq!(HostileText::from("abcdef").shown(4), "abc…");
    }
}
