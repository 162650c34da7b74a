//! The part of BER that LDAP uses (RFC 4511 section 5.1): definite lengths, single-octet tags.
//!
//! Reading goes from the outside in and only where a message is known to have something, so no reply, however deeply
//! nested, makes this recurse.

use zeroize::Zeroizing;

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const ENUMERATED: u8 = 0x0a;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
const BOOLEAN: u8 = 0x01;

/// Octets that are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// One element after the other, out of the octets that hold them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tag of the next element.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next element: its tag and what is in it.
    pub(crate) fn any(&mut self) -> Result<(u8, &'a [u8]), Malformed> {
        let header = header(self.0)?.ok_or(Malformed)?;
        let end = header.size.checked_add(header.length).ok_or(Malformed)?;
        let content = self.0.get(header.size..end).ok_or(Malformed)?;
        self.0 = self.0.get(end..).ok_or(Malformed)?;
        Ok((header.tag, content))
    }

    /// What is in the next element, which must have `tag`.
    pub(crate) fn take(&mut self, tag: u8) -> Result<&'a [u8], Malformed> {
        match self.any()? {
            (found, content) if found == tag => Ok(content),
            _ => Err(Malformed),
        }
    }

    /// What is in the next element if it has `tag`; nothing is taken otherwise.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<&'a [u8]>, Malformed> {
        if self.peek() == Some(tag) { self.take(tag).map(Some) } else { Ok(None) }
    }

    /// The elements within the next one, which must have `tag`.
    pub(crate) fn within(&mut self, tag: u8) -> Result<Self, Malformed> {
        self.take(tag).map(Self)
    }

    /// A number that fits LDAP's 31 bits.
    pub(crate) fn number(&mut self, tag: u8) -> Result<u32, Malformed> {
        let content = self.take(tag)?;
        if content.is_empty() || content.len() > 4 || content.first().is_some_and(|first| first & 0x80 != 0) {
            return Err(Malformed);
        }
        Ok(content.iter().fold(0, |number, octet| number << 8 | u32::from(*octet)))
    }

    pub(crate) fn text(&mut self, tag: u8) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.take(tag)?).map_err(|_| Malformed)
    }
}

/// The first octets of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) tag: u8,
    /// Of tag and length themselves.
    pub(crate) size: usize,
    /// Of the content.
    pub(crate) length: usize,
}

/// Reads a header; `None` when more octets are needed.
pub(crate) fn header(octets: &[u8]) -> Result<Option<Header>, Malformed> {
    let (Some(&tag), Some(&first)) = (octets.first(), octets.get(1)) else { return Ok(None) };
    if tag & 0x1f == 0x1f {
        return Err(Malformed);
    }
    if first < 0x80 {
        return Ok(Some(Header { tag, size: 2, length: usize::from(first) }));
    }
    // 0x80 would be the indefinite form, which LDAP forbids; 2^32 octets are more than anybody accepts.
    let count = usize::from(first & 0x7f);
    if count == 0 || count > 4 {
        return Err(Malformed);
    }
    let Some(digits) = octets.get(2..2 + count) else { return Ok(None) };
    let length = digits.iter().fold(0_usize, |length, octet| length << 8 | usize::from(*octet));
    Ok(Some(Header { tag, size: 2 + count, length }))
}

/// Builds elements. What it holds is wiped, since a bind has a password in it.
///
/// Elements are written from the last to the first, so that a length is known when it is written.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    /// Back to front.
    octets: Zeroizing<Vec<u8>>,
}

impl Writer {
    /// With room for `capacity` octets: growing would leave copies behind.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self { octets: Zeroizing::new(Vec::with_capacity(capacity)) }
    }

    fn mark(&self) -> usize {
        self.octets.len()
    }

    /// Puts `tag` and length in front of what was written since `mark`.
    fn close(&mut self, tag: u8, mark: usize) {
        let mut length = self.octets.len().saturating_sub(mark);
        if let Ok(short @ 0..0x80) = u8::try_from(length) {
            self.octets.push(short);
        } else {
            let mut count = 0_u8;
            while length > 0 {
                self.octets.push(u8::try_from(length & 0xff).unwrap_or(0));
                length >>= 8;
                count += 1;
            }
            self.octets.push(0x80 | count);
        }
        self.octets.push(tag);
    }

    /// An element with others in it, which `content` writes from the last to the first.
    pub(crate) fn constructed(&mut self, tag: u8, content: impl FnOnce(&mut Self)) {
        let mark = self.mark();
        content(self);
        self.close(tag, mark);
    }

    pub(crate) fn octets(&mut self, tag: u8, content: &[u8]) {
        let mark = self.mark();
        self.octets.extend(content.iter().rev());
        self.close(tag, mark);
    }

    pub(crate) fn text(&mut self, content: &str) {
        self.octets(OCTET_STRING, content.as_bytes());
    }

    pub(crate) fn boolean(&mut self, value: bool) {
        self.octets(BOOLEAN, &[if value { 0xff } else { 0 }]);
    }

    pub(crate) fn number(&mut self, tag: u8, value: u32) {
        let [a, b, c, d] = value.to_be_bytes();
        // A leading zero keeps it positive; all others go.
        let all = [0, a, b, c, d];
        let needless = all.windows(2).take_while(|pair| matches!(pair, [0, next] if next & 0x80 == 0)).count();
        self.octets(tag, all.get(needless..).unwrap_or_default());
    }

    pub(crate) fn finish(mut self) -> Zeroizing<Vec<u8>> {
        self.octets.reverse();
        self.octets
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut writer = Writer::default();
        write(&mut writer);
        writer.finish().to_vec()
    }

    #[test]
    fn numbers_have_their_shortest_form() {
        for (value, octets) in [
            (0, &[2, 1, 0][..]),
            (127, &[2, 1, 127]),
            (128, &[2, 2, 0, 128]),
            (256, &[2, 2, 1, 0]),
            (0x7fff_ffff, &[2, 4, 0x7f, 0xff, 0xff, 0xff]),
        ] {
            assert_eq!(written(|w| w.number(INTEGER, value)), octets);
            assert_eq!(Reader::new(octets).number(INTEGER), Ok(value));
        }
        assert_eq!(Reader::new(&[2, 1, 0x80]).number(INTEGER), Err(Malformed), "negative");
    }

    #[test]
    fn lengths_are_checked() {
        assert_eq!(header(&[0x30]), Ok(None));
        assert_eq!(header(&[0x30, 0x82, 1]), Ok(None));
        assert_eq!(header(&[0x30, 0x80]), Err(Malformed), "indefinite");
        assert_eq!(header(&[0x30, 0x85, 0, 0, 0, 0, 1]), Err(Malformed));
        assert_eq!(header(&[0x3f, 1]), Err(Malformed), "tag of several octets");
        assert_eq!(Reader::new(&[4, 2, 1]).take(OCTET_STRING), Err(Malformed), "shorter than said");
        assert_eq!(Reader::new(&[4, 0x84, 0xff, 0xff, 0xff, 0xff, 1]).any(), Err(Malformed));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(content in prop::collection::vec(any::<u8>(), 0..70_000)) {
            let octets = written(|w| w.constructed(SEQUENCE, |w| { w.octets(OCTET_STRING, &content); w.boolean(true); }));
            let mut outer = Reader::new(&octets);
            let mut inner = outer.within(SEQUENCE).unwrap();
            // Written from the last to the first.
            prop_assert_eq!(inner.take(BOOLEAN).unwrap(), &[0xff]);
            prop_assert_eq!(inner.take(OCTET_STRING).unwrap(), &content[..]);
            prop_assert!(inner.is_empty() && outer.is_empty());
        }

        #[test]
        fn anything_can_be_read_without_panic(octets in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut reader = Reader::new(&octets);
            while !reader.is_empty() && reader.any().is_ok() {}
        }
    }
}
