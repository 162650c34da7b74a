//! From attributes of a received packet to text.

use core::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::{
    Attribute, AttributeType, VendorSpecific,
    dictionary::{self, Form, Place},
};

/// An attribute of a received packet as text, each attribute of a vendor in it for itself. A credential is not shown.
pub fn describe(attribute: &Attribute<'_>) -> Vec<String> {
    if attribute.kind == AttributeType::VENDOR_SPECIFIC
        && let Some(specific) = VendorSpecific::parse(attribute.value)
    {
        if specific.is_opaque() || specific.data.is_empty() {
            return vec![format!("26.{} = {}", specific.vendor, hexadecimal(specific.data))];
        }
        return specific
            .attributes()
            .map(|inner| describe_one(Some(specific.vendor), inner.kind, inner.value))
            .collect();
    }
    vec![describe_one(None, attribute.kind.0, attribute.value)]
}

fn describe_one(vendor: Option<u32>, kind: u8, value: &[u8]) -> String {
    let Some(definition) = dictionary::by_number(vendor, kind) else {
        let value = as_text(value).unwrap_or_else(|| hexadecimal(value));
        return match vendor {
            Some(vendor) => format!("26.{vendor}.{kind} = {value}"),
            None => format!("{kind} = {value}"),
        };
    };
    if let Place::Secret(_) = definition.place {
        return format!("{} = ({} octets)", definition.name, value.len());
    }
    let (tag, rest) = match value.split_first() {
        Some((tag @ 1..=31, rest)) if definition.tagged => (Some(*tag), rest),
        Some((0, rest)) if definition.tagged => (None, rest),
        _ => (None, value),
    };
    let known = match definition.form {
        Form::Text => text_of(rest),
        Form::Octets => as_text(rest),
        Form::Integer(_) | Form::Number(..) => {
            let number = match *rest {
                [a, b, c, d] => Some(u32::from_be_bytes([a, b, c, d])),
                [b, c, d] if definition.tagged => Some(u32::from_be_bytes([0, b, c, d])),
                _ => None,
            };
            number.map(|number| match dictionary::name_of(definition, number) {
                Some(name) => name.to_owned(),
                None => number.to_string(),
            })
        }
        Form::Ipv4 => <[u8; 4]>::try_from(rest).ok().map(|octets| Ipv4Addr::from(octets).to_string()),
        Form::Ipv6 => <[u8; 16]>::try_from(rest).ok().map(|octets| Ipv6Addr::from(octets).to_string()),
        Form::Ipv6Prefix => prefix_of(rest),
        Form::InterfaceId => <[u8; 8]>::try_from(rest).ok().map(|octets| {
            let groups = octets.chunks(2).map(|pair| match *pair {
                [high, low] => format!("{:x}", u16::from_be_bytes([high, low])),
                _ => String::new(),
            });
            groups.collect::<Vec<_>>().join(":")
        }),
    };
    match (known, tag) {
        (Some(value), None) => format!("{} = {value}", definition.name),
        (Some(value), Some(tag)) => format!("{}:{tag} = {value}", definition.name),
        (None, _) => format!("{} = {}", definition.name, hexadecimal(value)),
    }
}

fn prefix_of(value: &[u8]) -> Option<String> {
    let (&[0, length @ 0..=128], rest) = value.split_first_chunk::<2>()? else { return None };
    let mut octets = [0; 16];
    octets.get_mut(..rest.len())?.copy_from_slice(rest);
    Some(format!("{}/{length}", Ipv6Addr::from(octets)))
}

/// Octets as the text that `Form::Octets` makes the same octets of, where there is one.
fn as_text(value: &[u8]) -> Option<String> {
    text_of(value).map(|text| if text.starts_with("0x") { format!("\"{text}\"") } else { text })
}

/// Text, in quotation marks where it would be read as something else without them.
fn text_of(value: &[u8]) -> Option<String> {
    let text = core::str::from_utf8(value).ok()?;
    if text.chars().any(char::is_control) {
        return None;
    }
    if text.is_empty() || text.starts_with('"') || text.trim().len() < text.len() {
        return Some(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")));
    }
    Some(text.to_owned())
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().fold(String::from("0x"), |mut out, octet| {
        // Writing to a String cannot fail.
        let _written = write!(out, "{octet:02x}");
        out
    })
}
