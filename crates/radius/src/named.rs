//! Attributes of a reply as administrators write them, `Name = value`, and back.

mod describe;
mod value;

use core::{fmt, str::FromStr};

use thiserror::Error;

pub use self::describe::describe;
use crate::{
    AttributeList, AttributeType, EncodeError,
    dictionary::{self, Definition, Place},
    limits,
};

/// Why a text is not an attribute of a reply.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NamedError {
    /// Nothing says where the name ends.
    #[error("{} has no \"=\": write Name = value, for example Filter-Id = staff", quoted(.0))]
    NoEquals(String),
    /// No such name is known.
    #[error("there is no attribute {}{}", quoted(.name), suggestion(*.nearest))]
    Unknown {
        /// As it was written.
        name: String,
        /// What was likely meant.
        nearest: Option<&'static str>,
    },
    /// The attribute stands in no Access-Accept by policy.
    #[error("{name} cannot be a reply attribute: {why} ({source_document})")]
    Elsewhere {
        /// Which.
        name: &'static str,
        /// Why not.
        why: &'static str,
        /// Where that is defined.
        source_document: &'static str,
    },
    /// The value is not one of this attribute.
    #[error("{name}: {fault}")]
    Value {
        /// Which.
        name: String,
        /// What is wrong with the value.
        fault: ValueFault,
    },
    /// All attributes together leave no room for what else stands in a reply.
    #[error("the reply attributes take {octets} octets, at most {most} fit beside everything else in a packet",
        most = limits::POLICY)]
    TooMuch {
        /// How much it would be.
        octets: usize,
    },
}

/// What is wrong with a value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ValueFault {
    /// There is none.
    #[error("the value is empty")]
    Empty,
    /// It does not fit one attribute.
    #[error("the value has {octets} octets, at most {most} fit")]
    TooLong {
        /// How many it has.
        octets: usize,
        /// How many there may be.
        most: usize,
    },
    /// Text with a control character.
    #[error("the value has a control character in it")]
    Control,
    /// A quotation mark or backslash where none may be.
    #[error(
        "the quotation is not closed, or a backslash stands before something else than a backslash or quotation mark"
    )]
    Quotation,
    /// Neither a number nor a name of a value.
    #[error("{} is neither a number nor one of {}", quoted(.text), joined(.names))]
    NotNamed {
        /// As it was written.
        text: String,
        /// What there is.
        names: &'static [(&'static str, u32)],
    },
    /// No number, or none in the range.
    #[error("{} is no number from {least} to {most}", quoted(.text))]
    NotInRange {
        /// As it was written.
        text: String,
        /// The smallest.
        least: u32,
        /// The largest.
        most: u32,
    },
    /// Not an address or the like.
    #[error("{} is no {what}", quoted(.text))]
    Not {
        /// As it was written.
        text: String,
        /// What it must be, with an example.
        what: &'static str,
    },
    /// A tag where there is none, or a wrong one.
    #[error("{} is no tag: only tunnel attributes have one, from 1 to 31", quoted(.0))]
    Tag(String),
}

fn quoted(text: &str) -> impl fmt::Display {
    let mut shown = String::from("\"");
    shown.extend(text.chars().take(80).flat_map(char::escape_debug));
    shown.push_str(if text.chars().nth(80).is_some() { "…\"" } else { "\"" });
    shown
}

fn suggestion(nearest: Option<&'static str>) -> String {
    match nearest {
        Some(name) => format!(": did you mean {name}?"),
        None => ": the documentation of reply attributes lists all; one of a vendor that is not among them is written \
                 26.VENDOR.TYPE = 0x…"
            .to_owned(),
    }
}

fn joined(all: &[(&str, u32)]) -> String {
    all.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// What an attribute is, before its value is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Known {
        definition: &'static Definition,
        tag: Option<u8>,
    },
    /// Of a vendor, by number only.
    Numbered {
        vendor: u32,
        kind: u8,
    },
}

impl Kind {
    fn read(text: &str) -> Result<Self, NamedError> {
        let (name, tag) = match text.split_once(':') {
            Some((name, tag)) => (name.trim_end(), Some(tag.trim_start())),
            None => (text, None),
        };
        let definition = dictionary::find(name).or_else(|| match numbers(name) {
            Some((vendor, kind)) => dictionary::by_number(Some(vendor), kind),
            None => None,
        });
        let Some(definition) = definition else {
            return match (numbers(name), tag) {
                (Some((vendor, kind)), None) => Ok(Self::Numbered { vendor, kind }),
                _ => Err(NamedError::Unknown { name: name.to_owned(), nearest: dictionary::nearest(name) }),
            };
        };
        if let Place::Elsewhere(why) | Place::Secret(why) = definition.place {
            return Err(NamedError::Elsewhere { name: definition.name, why, source_document: definition.source });
        }
        let tag = match tag {
            None => None,
            Some(text) => match text.parse() {
                Ok(tag @ 1..=31) if definition.tagged => Some(tag),
                _ => {
                    let fault = ValueFault::Tag(text.to_owned());
                    return Err(NamedError::Value { name: definition.name.to_owned(), fault });
                }
            },
        };
        Ok(Self::Known { definition, tag })
    }

    fn name(self) -> String {
        match self {
            Self::Known { definition, tag: None } => definition.name.to_owned(),
            Self::Known { definition, tag: Some(tag) } => format!("{}:{tag}", definition.name),
            Self::Numbered { vendor, kind } => format!("26.{vendor}.{kind}"),
        }
    }
}

/// The numbers in `26.VENDOR.TYPE` (RFC 6929 section 2.7).
fn numbers(name: &str) -> Option<(u32, u8)> {
    let (vendor, kind) = name.strip_prefix("26.")?.split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
    if !digits(vendor) || !digits(kind) {
        return None;
    }
    Some((vendor.parse().ok().filter(|vendor| *vendor != 0)?, kind.parse().ok()?))
}

/// One attribute of an Access-Accept that a policy names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedAttribute {
    kind: Kind,
    text: String,
    octets: Vec<u8>,
}

impl NamedAttribute {
    /// From a name, in any case and with a tag where there is one (`Tunnel-Type:1`), and a value.
    ///
    /// # Errors
    /// A [`NamedError`] says what is wrong and, for a name that is not known, what was likely meant.
    pub fn new(name: &str, value: &str) -> Result<Self, NamedError> {
        let kind = Kind::read(name.trim())?;
        let text = value.trim().to_owned();
        let octets = match kind {
            Kind::Known { definition, tag } => value::known(definition, tag, &text),
            Kind::Numbered { .. } => value::octets(&text, value::VENDOR_VALUE),
        };
        let octets = octets.map_err(|fault| NamedError::Value { name: kind.name(), fault })?;
        Ok(Self { kind, text, octets })
    }

    /// Its name as the dictionary writes it, with its tag.
    pub fn name(&self) -> String {
        self.kind.name()
    }

    /// Its value as it was written, without white space around it.
    pub fn value(&self) -> &str {
        &self.text
    }

    /// Whether it may stand once.
    pub fn stands_once(&self) -> bool {
        matches!(self.kind, Kind::Known { definition, .. } if definition.place == Place::Once)
    }

    /// The type of the attribute on the wire.
    pub fn kind(&self) -> AttributeType {
        match self.kind {
            Kind::Known { definition: Definition { vendor: None, kind, .. }, .. } => AttributeType(*kind),
            Kind::Known { .. } | Kind::Numbered { .. } => AttributeType::VENDOR_SPECIFIC,
        }
    }

    /// Adds it to a list.
    ///
    /// # Errors
    /// The list would be longer than a packet.
    pub fn push_to(&self, list: &mut AttributeList) -> Result<(), EncodeError> {
        match self.kind {
            Kind::Known { definition: Definition { vendor: Some(vendor), kind, .. }, .. } => {
                list.push_vendor(*vendor, *kind, &self.octets)
            }
            Kind::Numbered { vendor, kind } => list.push_vendor(vendor, kind, &self.octets),
            Kind::Known { definition, .. } => list.push(AttributeType(definition.kind), &self.octets),
        }
    }
}

impl FromStr for NamedAttribute {
    type Err = NamedError;

    /// Reads `Name = value`.
    fn from_str(text: &str) -> Result<Self, NamedError> {
        let (name, value) = text.split_once('=').ok_or_else(|| NamedError::NoEquals(text.trim().to_owned()))?;
        Self::new(name, value)
    }
}

impl fmt::Display for NamedAttribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.name(), self.text)
    }
}

/// Attributes in their order, as they stand in an Access-Accept. Of one that may stand once, the first is taken.
///
/// # Errors
/// Together they are longer than [`limits::POLICY`].
pub fn reply_attributes(named: &[NamedAttribute]) -> Result<AttributeList, NamedError> {
    let mut list = AttributeList::new();
    let mut octets = 0_usize;
    for attribute in named {
        if attribute.stands_once() && list.iter().any(|before| before.kind == attribute.kind()) {
            continue;
        }
        let pushed = attribute.push_to(&mut list);
        octets = octets.saturating_add(attribute.octets.len()).saturating_add(8);
        if pushed.is_err() || list.octets().len() > limits::POLICY {
            return Err(NamedError::TooMuch { octets: octets.max(list.octets().len()) });
        }
    }
    Ok(list)
}
