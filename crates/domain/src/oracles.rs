//! Laws of text from outside, asserted over arbitrary octets.
//!
//! The function takes what a fuzzer makes up and panics where a law is broken. The fuzz target calls it, and the test
//! `fuzz_regression` calls it for every file under `testdata/fuzz_regression/hostile_text/`.

use crate::{CODE_DIGITS, Charset, HostileText, LoginName, is_code, split_appended_code};

/// A name or a password as somebody typed it.
///
/// Laws: nothing panics; what is shown has nothing in it that steers a terminal, a log or a reader's eye, is one line, and
/// says which octets came; no more is kept or shown than may be; a login name is as it was typed and equal to itself in
/// other case; an appended code and its password are the whole; a charset loses nothing.
///
/// # Panics
/// Where a law is broken.
pub fn hostile_text(octets: &[u8]) {
    let text = HostileText::new(octets);
    let kept = octets.get(..HostileText::MAX).unwrap_or(octets);
    assert_eq!(text.as_octets(), kept);
    let shown = text.to_string();
    assert!(!shown.chars().any(steers), "{shown:?}");
    assert_eq!(said(&shown).as_deref(), Some(kept), "{shown:?}");
    for limit in [0, 1, 2, 64, usize::MAX] {
        let short = text.shown(limit);
        assert!(short.chars().count() <= limit.max(1) && !short.chars().any(steers));
        assert!(short == shown || short.strip_suffix('…').is_some_and(|begin| shown.starts_with(begin)));
    }

    if let Some(name) = text.as_utf8()
        && let Ok(name) = LoginName::new(name)
    {
        assert_eq!(name.as_str().as_bytes(), kept);
        assert!(!name.as_str().chars().any(steers) && !name.as_str().is_empty());
        assert_eq!(LoginName::new(name.as_str()).as_ref(), Ok(&name));
    }
    if let Some((password, code)) = split_appended_code(octets) {
        assert!(is_code(code) && code.len() == CODE_DIGITS);
        assert_eq!([password, b",", code].concat(), octets);
    }
    assert_eq!(*Charset::Utf8.to_utf8(octets), octets);
    let read = Charset::Windows1252.to_utf8(octets);
    assert_eq!(str::from_utf8(&read).map(|read| read.chars().count()), Ok(octets.len()));
}

/// Line ends, other controls, bidirectional marks, and characters that cannot be seen.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
        || matches!(c, '\u{E0000}'..='\u{E007F}' | '\u{FE00}'..='\u{FE0F}' | '\u{00AD}')
}

/// The octets that an escaped form stands for.
fn said(shown: &str) -> Option<Vec<u8>> {
    let (mut out, mut rest) = (Vec::new(), shown);
    while let Some(c) = rest.chars().next() {
        rest = rest.strip_prefix(c)?;
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        } else if let Some(after) = rest.strip_prefix('\\') {
            out.push(b'\\');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('x') {
            let (digits, after) = after.split_at_checked(2)?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after;
        } else {
            let (digits, after) = rest.strip_prefix("u{")?.split_once('}')?;
            let c = char::from_u32(u32::from_str_radix(digits, 16).ok()?)?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            rest = after;
        }
    }
    Some(out)
}
