//! Names, numbers and value forms of attributes, as the RFCs and the vendors' own documents give them.
//!
//! The tables in `dictionary/` are data: one line for an attribute, with where it stands. A number that no document of
//! its vendor confirms is not in them; `26.VENDOR.TYPE` writes such an attribute all the same.

mod rfc;
mod vendors;

use crate::AttributeType;

/// An attribute that has a name.
#[derive(Debug, PartialEq, Eq)]
pub struct Definition {
    /// As the document writes it.
    pub name: &'static str,
    /// The enterprise number of the vendor whose attribute it is; `None`: one of the RFCs' own.
    pub vendor: Option<u32>,
    /// The type octet, of the attribute or of the vendor's.
    pub kind: u8,
    /// What its value is.
    pub form: Form,
    /// Whether a tag of RFC 2868 section 3 may stand before the value.
    pub tagged: bool,
    /// Whether it may stand in an Access-Accept, and how often.
    pub place: Place,
    /// Where it is defined.
    pub source: &'static str,
}

/// What a value is, and how it stands on the wire (RFC 2865 section 5, RFC 3162).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// UTF-8 without control characters.
    Text,
    /// Octets, written as text or as `0x` with hexadecimal digits.
    Octets,
    /// A 32-bit number with names for some values, the first name of a value being the one that is shown.
    Integer(&'static [(&'static str, u32)]),
    /// A 32-bit number within bounds, both included.
    Number(u32, u32),
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address (RFC 3162 section 2.1).
    Ipv6,
    /// A prefix of IPv6 (RFC 3162 section 2.3).
    Ipv6Prefix,
    /// An interface identifier of 64 bits (RFC 3162 section 2.2).
    InterfaceId,
}

/// Whether an attribute may stand in an Access-Accept by policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Once.
    Once,
    /// As often as is wanted.
    Several,
    /// Not, and why.
    Elsewhere(&'static str),
    /// Not, and why; its value is or holds a credential and is never shown.
    Secret(&'static str),
}

const fn rfc(name: &'static str, kind: u8, form: Form, place: Place, source: &'static str) -> Definition {
    Definition { name, vendor: None, kind, form, tagged: false, place, source }
}

const fn tagged(name: &'static str, kind: u8, form: Form, place: Place, source: &'static str) -> Definition {
    Definition { name, vendor: None, kind, form, tagged: true, place, source }
}

const fn of(vendor: u32, name: &'static str, kind: u8, form: Form, place: Place, source: &'static str) -> Definition {
    Definition { name, vendor: Some(vendor), kind, form, tagged: false, place, source }
}

/// All of them, those of the RFCs first.
pub fn all() -> impl Iterator<Item = &'static Definition> {
    rfc::ATTRIBUTES.iter().chain(vendors::ATTRIBUTES)
}

/// The attribute of a name, in any case.
pub fn find(name: &str) -> Option<&'static Definition> {
    all().find(|definition| definition.name.eq_ignore_ascii_case(name))
}

/// The attribute of a number.
pub fn by_number(vendor: Option<u32>, kind: u8) -> Option<&'static Definition> {
    all().find(|definition| definition.vendor == vendor && definition.kind == kind)
}

/// Whether an attribute may stand once in an Access-Accept.
pub fn stands_once(kind: AttributeType) -> bool {
    by_number(None, kind.0).is_some_and(|definition| definition.place == Place::Once)
}

/// The value that a name of it means, however its words are joined and in any case.
pub fn value_of(definition: &Definition, text: &str) -> Option<u32> {
    let Form::Integer(names) = definition.form else { return None };
    names.iter().find(|(name, _)| same_words(name, text)).map(|(_, value)| *value)
}

/// The name of a value in an attribute with named values.
pub fn name_of(definition: &Definition, value: u32) -> Option<&'static str> {
    let Form::Integer(names) = definition.form else { return None };
    names.iter().find(|(_, number)| *number == value).map(|(name, _)| *name)
}

/// Equal but for case, and for how the words are joined: `NAS Prompt` is `NAS-Prompt`.
fn same_words(left: &str, right: &str) -> bool {
    let plain = |text: &str| -> String {
        let words = text.chars().filter(|sign| !matches!(sign, ' ' | '-' | '_'));
        words.map(|sign| sign.to_ascii_lowercase()).collect()
    };
    plain(left) == plain(right)
}

/// The name that was likely meant: few letters away, or the only end of a longer one.
pub fn nearest(name: &str) -> Option<&'static str> {
    /// Longer than every name here, and short enough to be compared with all of them.
    const LONGEST: usize = 64;
    let asked = name.to_ascii_lowercase();
    if asked.is_empty() || asked.len() > LONGEST {
        return None;
    }
    let far = |known: &&'static str| distance(known.to_ascii_lowercase().as_bytes(), asked.as_bytes());
    let near =
        all().map(|definition| definition.name).min_by_key(far).filter(|known| far(known) <= 2.max(asked.len() / 4));
    near.or_else(|| {
        let mut ends = all()
            .map(|definition| definition.name)
            .filter(|known| known.to_ascii_lowercase().ends_with(&format!("-{asked}")));
        ends.next().filter(|_| ends.next().is_none())
    })
}

/// How many letters must be put in, left out, replaced or swapped with their neighbour to make one text of the other.
fn distance(left: &[u8], right: &[u8]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    let mut previous = None;
    for (row, from) in left.iter().enumerate() {
        let mut line = vec![row + 1];
        for (column, to) in right.iter().enumerate() {
            let at = |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&line, column) + 1).min(at(&last, column + 1) + 1);
            best = best.min(at(&last, column) + usize::from(from != to));
            let neighbour = column.checked_sub(1).and_then(|index| right.get(index));
            if previous == Some(to) && neighbour == Some(from) {
                best = best.min(at(&before_last, column - 1) + 1);
            }
            line.push(best);
        }
        before_last = core::mem::replace(&mut last, line);
        previous = Some(from);
    }
    last.last().copied().unwrap_or_default()
}
