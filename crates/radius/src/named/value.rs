//! From the text of a value to its octets.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::ValueFault;
use crate::{
    dictionary::{self, Definition, Form},
    limits,
};

/// Most octets of the value of a vendor's attribute: one attribute, less the vendor's number, type and length.
pub(super) const VENDOR_VALUE: usize = limits::VALUE - 6;
/// Largest number behind a tag (RFC 2868 section 3.1).
const TAGGED_MOST: u32 = 0x00ff_ffff;

/// The octets of a value.
pub(super) fn known(definition: &Definition, tag: Option<u8>, text: &str) -> Result<Vec<u8>, ValueFault> {
    let most = if definition.vendor.is_some() { VENDOR_VALUE } else { limits::VALUE };
    let whole = |number: u32| match (definition.tagged, number.to_be_bytes()) {
        (false, octets) => octets.to_vec(),
        (true, [_, rest @ ..]) => [&[tag.unwrap_or_default()][..], &rest].concat(),
    };
    let ceiling = if definition.tagged { TAGGED_MOST } else { u32::MAX };
    let not = |what| ValueFault::Not { text: text.to_owned(), what };
    match definition.form {
        Form::Text => {
            let tag = tag.as_slice();
            let value = unquoted(text)?;
            if value.chars().any(char::is_control) {
                return Err(ValueFault::Control);
            }
            sized(&value, most.saturating_sub(tag.len()))?;
            Ok([tag, value.as_bytes()].concat())
        }
        Form::Octets => octets(text, most),
        Form::Integer(names) => {
            let named = dictionary::value_of(definition, text).or_else(|| number(text));
            let value = named.ok_or_else(|| ValueFault::NotNamed { text: text.to_owned(), names })?;
            in_range(value, text, 0, ceiling).map(whole)
        }
        Form::Number(least, most) => {
            let most = most.min(ceiling);
            let value = number(text).ok_or_else(|| ValueFault::NotInRange { text: text.to_owned(), least, most })?;
            in_range(value, text, least, most).map(whole)
        }
        Form::Ipv4 => {
            text.parse().map(|at: Ipv4Addr| at.octets().to_vec()).map_err(|_| not("IPv4 address (192.0.2.7)"))
        }
        Form::Ipv6 => {
            text.parse().map(|at: Ipv6Addr| at.octets().to_vec()).map_err(|_| not("IPv6 address (2001:db8::7)"))
        }
        Form::Ipv6Prefix => prefix(text).ok_or_else(|| not("prefix of IPv6 without bits behind it (2001:db8:7::/48)")),
        Form::InterfaceId => interface(text).ok_or_else(|| not("interface identifier (0:0:0:7)")),
    }
}

fn in_range(value: u32, text: &str, least: u32, most: u32) -> Result<u32, ValueFault> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(ValueFault::NotInRange { text: text.to_owned(), least, most })
}

/// A number, in decimal or with `0x`.
fn number(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("0x");
    let radix = if digits.is_some() { 16 } else { 10 };
    let digits = digits.unwrap_or(text);
    if digits.chars().all(|sign| sign.is_digit(radix)) { u32::from_str_radix(digits, radix).ok() } else { None }
}

/// Text, or `0x` and an even number of hexadecimal digits.
pub(super) fn octets(text: &str, most: usize) -> Result<Vec<u8>, ValueFault> {
    let Some(digits) = text.strip_prefix("0x") else {
        let value = unquoted(text)?;
        if value.chars().any(char::is_control) {
            return Err(ValueFault::Control);
        }
        sized(&value, most)?;
        return Ok(value.into_bytes());
    };
    let pairs: Option<Vec<u8>> = digits
        .as_bytes()
        .chunks(2)
        .map(|pair| match core::str::from_utf8(pair) {
            Ok(pair) if pair.len() == 2 && pair.bytes().all(|octet| octet.is_ascii_hexdigit()) => {
                u8::from_str_radix(pair, 16).ok()
            }
            _ => None,
        })
        .collect();
    let Some(value) = pairs else {
        return Err(ValueFault::Not { text: text.to_owned(), what: "row of octets (0x0a1b)" });
    };
    if value.is_empty() {
        return Err(ValueFault::Empty);
    }
    if value.len() > most {
        return Err(ValueFault::TooLong { octets: value.len(), most });
    }
    Ok(value)
}

fn sized(value: &str, most: usize) -> Result<(), ValueFault> {
    match value.len() {
        0 => Err(ValueFault::Empty),
        octets if octets > most => Err(ValueFault::TooLong { octets, most }),
        _ => Ok(()),
    }
}

/// A value without its quotation marks, if it has some: within them, white space at the ends is kept.
fn unquoted(text: &str) -> Result<String, ValueFault> {
    let Some(rest) = text.strip_prefix('"') else { return Ok(text.to_owned()) };
    let mut out = String::new();
    let mut signs = rest.chars();
    loop {
        match signs.next() {
            Some('"') if signs.as_str().is_empty() => return Ok(out),
            Some('\\') => match signs.next() {
                Some(sign @ ('\\' | '"')) => out.push(sign),
                _ => return Err(ValueFault::Quotation),
            },
            None | Some('"') => return Err(ValueFault::Quotation),
            Some(sign) => out.push(sign),
        }
    }
}

/// A reserved octet, the length, and as many octets as the length needs (RFC 3162 section 2.3).
fn prefix(text: &str) -> Option<Vec<u8>> {
    let (address, length) = text.split_once('/')?;
    let (address, length): (Ipv6Addr, u8) = (address.parse().ok()?, number(length).and_then(|n| n.try_into().ok())?);
    let behind = u128::MAX.checked_shr(u32::from(length)).unwrap_or_default();
    if length > 128 || u128::from(address) & behind != 0 {
        return None;
    }
    let octets = address.octets();
    let taken = octets.get(..usize::from(length.div_ceil(8)))?;
    Some([&[0, length][..], taken].concat())
}

/// Four groups of hexadecimal digits.
fn interface(text: &str) -> Option<Vec<u8>> {
    let groups: Vec<u16> = text
        .split(':')
        .map(|group| match group.len() {
            1..=4 if group.bytes().all(|octet| octet.is_ascii_hexdigit()) => u16::from_str_radix(group, 16).ok(),
            _ => None,
        })
        .collect::<Option<_>>()?;
    (groups.len() == 4).then(|| groups.iter().flat_map(|group| group.to_be_bytes()).collect())
}
