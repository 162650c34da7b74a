use zeroize::Zeroizing;

use crate::Charset;

/// What the octets 0x80 to 0x9f mean in windows-1252. The five that have no meaning there are the control characters of
/// their number, as everywhere where such text is read, so that each octet is one character.
const UPPER: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘', '’',
    '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

impl Charset {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Utf8, Self::Windows1252];

    /// The word for the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Utf8 => "utf-8",
            Self::Windows1252 => "windows-1252",
        }
    }

    /// The charset that a word means.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|charset| charset.as_str() == word)
    }

    /// A text of a client as UTF-8. What should be UTF-8 is handed on as it came, right or wrong: whoever compares it
    /// decides.
    pub fn to_utf8(self, octets: &[u8]) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Utf8 => Zeroizing::new(octets.to_vec()),
            Self::Windows1252 => {
                // Room for the longest outcome, so that no copy is left behind by growing.
                let mut text = Zeroizing::new(Vec::with_capacity(octets.len().saturating_mul(3)));
                for octet in octets {
                    let at = usize::from(octet.wrapping_sub(0x80));
                    let character = UPPER.get(at).copied().unwrap_or(char::from(*octet));
                    text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
                text
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c016_latin_1_becomes_utf8_and_nothing_is_lost() {
        let of = |octets: &[u8]| String::from_utf8(Charset::Windows1252.to_utf8(octets).to_vec()).unwrap();
        assert_eq!(of(&[0x41, 0x7A, 0xE9, 0x72, 0x74, 0xE8, 0x30, 0x31]), "Azértè01");
        assert_eq!(of(b"plain 01"), "plain 01");
        assert_eq!(of(&[0x80, 0x8a, 0x9f, 0xa0, 0xff]), "€ŠŸ\u{a0}ÿ");
        let all: Vec<u8> = (0..=255).collect();
        let text = of(&all);
        let characters: std::collections::BTreeSet<char> = text.chars().collect();
        assert_eq!((text.chars().count(), characters.len()), (256, 256));
        assert!(!text.contains('\u{fffd}'));
    }

    #[test]
    fn c016_utf8_is_handed_on_as_it_came() {
        for octets in [&b"plain"[..], "Azértè01".as_bytes(), &[0x41, 0xE9, 0x00]] {
            assert_eq!(*Charset::Utf8.to_utf8(octets), octets);
        }
    }

    #[test]
    fn a_word_and_what_is_stored_are_the_same() {
        for charset in Charset::ALL {
            assert_eq!(Charset::from_word(charset.as_str()), Some(charset));
            assert_eq!(serde_json::to_string(&charset).unwrap(), format!("\"{}\"", charset.as_str()));
        }
    }
}
