//! What tells one kind of request of a client from another.

use core::{fmt, net::IpAddr};

use thiserror::Error;

use crate::{AttributeType, PacketView, dictionary, vendor};

/// Why a test of requests cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RequestTestError {
    /// Requests cannot be told apart by this attribute.
    #[error(
        "requests are told apart by NAS-Identifier, NAS-IP-Address, Called-Station-Id, NAS-Port-Type or \
         MS-Network-Access-Server-Type, not by {0}"
    )]
    Attribute(String),
    /// There is nothing to compare with, or more than an attribute holds.
    #[error("{0} is compared with 1 to 253 octets of text")]
    Text(&'static str),
    /// No address and no network.
    #[error("NAS-IP-Address is compared with an address or a network, as 192.0.2.7 or 192.0.2.0/24, not with {0}")]
    Address(String),
    /// Neither a number nor a name of a value.
    #[error("{name} is compared with a number or one of {values}, not with {given}")]
    Value {
        /// Which attribute.
        name: &'static str,
        /// Its named values.
        values: String,
        /// What was given.
        given: String,
    },
}

/// A test of one attribute of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestTest {
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// NAS-Identifier or Called-Station-Id, but for the case of ASCII letters.
    Text(AttributeType, String),
    /// NAS-IP-Address or NAS-IPv6-Address: the first bits, and how many of them count.
    Address(IpAddr, u8),
    /// NAS-Port-Type.
    PortType(u32),
    /// MS-Network-Access-Server-Type.
    ServerType(u32),
}

const PORT_TYPE: &str = "NAS-Port-Type";
const SERVER_TYPE: &str = "MS-Network-Access-Server-Type";

impl RequestTest {
    /// A test that an attribute has a value; a number may be given by its name in the dictionary.
    ///
    /// # Errors
    /// The attribute is none of those that requests are told apart by, or cannot have the value.
    pub fn new(attribute: &str, value: &str) -> Result<Self, RequestTestError> {
        let is = |name: &str| attribute.eq_ignore_ascii_case(name);
        let value = value.trim();
        let what = if is("NAS-Identifier") {
            text(AttributeType::NAS_IDENTIFIER, "NAS-Identifier", value)?
        } else if is("Called-Station-Id") {
            text(AttributeType::CALLED_STATION_ID, "Called-Station-Id", value)?
        } else if is("NAS-IP-Address") {
            let (address, bits) =
                network(value).ok_or_else(|| RequestTestError::Address(value.escape_debug().to_string()))?;
            What::Address(address, bits)
        } else if is(PORT_TYPE) {
            What::PortType(number(PORT_TYPE, value)?)
        } else if is(SERVER_TYPE) {
            What::ServerType(number(SERVER_TYPE, value)?)
        } else {
            return Err(RequestTestError::Attribute(attribute.escape_debug().to_string()));
        };
        Ok(Self { what })
    }

    /// Whether a request has the value. One that has the attribute several times, or malformed, has not.
    pub fn holds(&self, request: &PacketView<'_>) -> bool {
        let one = |kind| request.one(kind).ok().flatten();
        match &self.what {
            What::Text(kind, text) => one(*kind).is_some_and(|value| value.eq_ignore_ascii_case(text.as_bytes())),
            What::Address(IpAddr::V4(network), bits) => {
                let value = one(AttributeType::NAS_IP_ADDRESS).and_then(|value| <[u8; 4]>::try_from(value).ok());
                let behind = u32::MAX.checked_shr(u32::from(*bits)).unwrap_or_default();
                value.is_some_and(|value| (u32::from_be_bytes(value) ^ u32::from(*network)) & !behind == 0)
            }
            What::Address(IpAddr::V6(network), bits) => {
                let value = one(AttributeType::NAS_IPV6_ADDRESS).and_then(|value| <[u8; 16]>::try_from(value).ok());
                let behind = u128::MAX.checked_shr(u32::from(*bits)).unwrap_or_default();
                value.is_some_and(|value| (u128::from_be_bytes(value) ^ u128::from(*network)) & !behind == 0)
            }
            What::PortType(number) => one(AttributeType::NAS_PORT_TYPE) == Some(&number.to_be_bytes()),
            What::ServerType(number) => {
                let mut all = request.vendor_attributes(vendor::MICROSOFT, vendor::MS_NETWORK_ACCESS_SERVER_TYPE);
                let first = all.next();
                all.next().is_none() && first == Some(&number.to_be_bytes())
            }
        }
    }
}

impl fmt::Display for RequestTest {
    /// The value that is compared with, a number by its name where it has one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |f: &mut fmt::Formatter<'_>, name, number: u32| match dictionary::find(name)
            .and_then(|definition| dictionary::name_of(definition, number))
        {
            Some(name) => f.write_str(name),
            None => write!(f, "{number}"),
        };
        match &self.what {
            What::Text(_, text) => f.write_str(text),
            What::Address(address, bits) if *bits == longest(*address) => write!(f, "{address}"),
            What::Address(address, bits) => write!(f, "{address}/{bits}"),
            What::PortType(number) => named(f, PORT_TYPE, *number),
            What::ServerType(number) => named(f, SERVER_TYPE, *number),
        }
    }
}

fn text(kind: AttributeType, name: &'static str, value: &str) -> Result<What, RequestTestError> {
    match value.len() {
        1..=253 => Ok(What::Text(kind, value.to_owned())),
        _ => Err(RequestTestError::Text(name)),
    }
}

const fn longest(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// An address, or one with a number of bits behind which it has none.
fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address.parse().ok()?, Some(bits.parse::<u8>().ok()?)),
        None => (text.parse().ok()?, None),
    };
    let most = longest(address);
    let bits = bits.unwrap_or(most);
    let behind = match address {
        IpAddr::V4(address) => {
            u128::from(u32::from(address) & u32::MAX.checked_shr(u32::from(bits)).unwrap_or_default())
        }
        IpAddr::V6(address) => u128::from(address) & u128::MAX.checked_shr(u32::from(bits)).unwrap_or_default(),
    };
    (bits <= most && behind == 0).then_some((address, bits))
}

fn number(name: &'static str, text: &str) -> Result<u32, RequestTestError> {
    let definition = dictionary::find(name);
    let named = definition.and_then(|definition| dictionary::value_of(definition, text));
    let digits = || text.bytes().all(|octet| octet.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    named.or_else(digits).ok_or_else(|| {
        let values = match definition.map(|definition| definition.form) {
            Some(dictionary::Form::Integer(names)) => {
                names.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
            }
            _ => String::new(),
        };
        RequestTestError::Value { name, values, given: text.escape_debug().to_string() }
    })
}
