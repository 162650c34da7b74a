//! A received packet, checked once and then read without copying (RFC 2865 section 3).

use core::fmt;

use thiserror::Error;

use crate::{Attribute, AttributeType};

/// Bounds of the wire format.
pub mod limits {
    /// Octets before the first attribute: Code, Identifier, Length, Authenticator (RFC 2865 section 3).
    pub const HEADER: usize = 20;
    /// Longest packet (RFC 2865 section 3).
    pub const PACKET: usize = 4096;
    /// Longest value of one attribute (RFC 2865 section 5).
    pub const VALUE: usize = 253;
    /// Most attributes in a received packet; ours, no RFC sets one.
    pub const ATTRIBUTES: usize = 200;
    /// Most Proxy-State attributes in a received request; ours, room for prefixes is what CVE-2024-3596 needs.
    pub const PROXY_STATES: usize = 10;
    /// Most octets of Proxy-State values together in a received request; ours.
    pub const PROXY_STATE_OCTETS: usize = 1024;
    /// Most octets of attributes that a policy adds to an Access-Accept; ours. It leaves room for Proxy-State and for as
    /// much again from an upstream server.
    pub const POLICY: usize = 1500;

    /// Whether a request carries more Proxy-State than is taken.
    pub(crate) fn too_much_proxy_state(packet: &super::PacketView<'_>) -> bool {
        let states = packet.attributes(crate::AttributeType::PROXY_STATE);
        let (count, octets) = states.fold((0_usize, 0_usize), |(count, octets), state| {
            (count.saturating_add(1), octets.saturating_add(state.len()))
        });
        count > PROXY_STATES || octets > PROXY_STATE_OCTETS
    }
}

/// Packet type (RFC 2865 section 4, RFC 5997 section 2, RFC 7930 section 4).
///
/// INVARIANT: made from an octet by [`Code::from`], a known type is never [`Code::Other`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// 1, RFC 2865 section 4.1.
    AccessRequest,
    /// 2, RFC 2865 section 4.2.
    AccessAccept,
    /// 3, RFC 2865 section 4.3.
    AccessReject,
    /// 4, RFC 2866 section 4.1.
    AccountingRequest,
    /// 5, RFC 2866 section 4.2.
    AccountingResponse,
    /// 11, RFC 2865 section 4.4.
    AccessChallenge,
    /// 12, RFC 5997 section 2.
    StatusServer,
    /// 52, RFC 7930 section 4.
    ProtocolError,
    /// Any other octet, kept.
    Other(u8),
}

impl Code {
    /// The octet on the wire.
    pub const fn octet(self) -> u8 {
        match self {
            Self::AccessRequest => 1,
            Self::AccessAccept => 2,
            Self::AccessReject => 3,
            Self::AccountingRequest => 4,
            Self::AccountingResponse => 5,
            Self::AccessChallenge => 11,
            Self::StatusServer => 12,
            Self::ProtocolError => 52,
            Self::Other(octet) => octet,
        }
    }
}

impl From<u8> for Code {
    fn from(octet: u8) -> Self {
        match octet {
            1 => Self::AccessRequest,
            2 => Self::AccessAccept,
            3 => Self::AccessReject,
            4 => Self::AccountingRequest,
            5 => Self::AccountingResponse,
            11 => Self::AccessChallenge,
            12 => Self::StatusServer,
            52 => Self::ProtocolError,
            other => Self::Other(other),
        }
    }
}

/// The octet that matches a reply to its request (RFC 2865 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identifier(pub u8);

/// The 16 octets of the Authenticator field (RFC 2865 section 3).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Authenticator(pub [u8; 16]);

impl Authenticator {
    /// Its octets.
    pub const fn octets(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authenticator(")?;
        for octet in self.0 {
            write!(f, "{octet:02x}")?;
        }
        f.write_str(")")
    }
}

/// Why octets are not a packet. Every one of them means: discard silently (RFC 2865 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PacketError {
    /// Fewer octets than a header has.
    #[error("datagram of {0} octets is shorter than a header")]
    DatagramTooShort(usize),
    /// More octets than a packet may have.
    #[error("datagram of {0} octets is longer than a packet may be")]
    DatagramTooLong(usize),
    /// The Length field is outside 20 to 4096.
    #[error("length field says {0}")]
    LengthOutOfRange(usize),
    /// The Length field goes past the end of the datagram.
    #[error("length field says {length}, datagram has {datagram}")]
    Truncated {
        /// What the field says.
        length: usize,
        /// What arrived.
        datagram: usize,
    },
    /// An attribute whose length is below 2 or goes past the end of the packet.
    #[error("attribute at octet {offset} has a bad length")]
    AttributeLength {
        /// Where in the packet the attribute begins.
        offset: usize,
    },
    /// More attributes than [`limits::ATTRIBUTES`].
    #[error("more attributes than a packet may have")]
    TooManyAttributes,
}

/// An attribute that may be present once is present several times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("attribute {} is present several times", .0.0)]
pub struct Repeated(pub AttributeType);

/// A checked view over the octets of one received packet.
///
/// INVARIANT: the octets end where the Length field says, every attribute lies inside, and there are at most
/// [`limits::ATTRIBUTES`] of them.
#[derive(Clone, Copy)]
pub struct PacketView<'a> {
    octets: &'a [u8],
    attributes: &'a [u8],
    code: Code,
    identifier: Identifier,
    authenticator: Authenticator,
}

impl<'a> PacketView<'a> {
    /// Checks a datagram and makes the view. Octets after Length are padding and left out (RFC 2865 section 3).
    ///
    /// # Errors
    /// A [`PacketError`] where the datagram is to be discarded.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, PacketError> {
        if datagram.len() > limits::PACKET {
            return Err(PacketError::DatagramTooLong(datagram.len()));
        }
        let Some((&[code, identifier, high, low], after)) = datagram.split_first_chunk::<4>() else {
            return Err(PacketError::DatagramTooShort(datagram.len()));
        };
        let Some((authenticator, _)) = after.split_first_chunk::<16>() else {
            return Err(PacketError::DatagramTooShort(datagram.len()));
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if !(limits::HEADER..=limits::PACKET).contains(&length) {
            return Err(PacketError::LengthOutOfRange(length));
        }
        let Some(octets) = datagram.get(..length) else {
            return Err(PacketError::Truncated { length, datagram: datagram.len() });
        };
        let attributes = octets.get(limits::HEADER..).unwrap_or_default();
        let mut rest = attributes;
        let mut count = 0_usize;
        while !rest.is_empty() {
            let Some((_, after)) = split_attribute(rest) else {
                return Err(PacketError::AttributeLength { offset: length.saturating_sub(rest.len()) });
            };
            count = count.saturating_add(1);
            if count > limits::ATTRIBUTES {
                return Err(PacketError::TooManyAttributes);
            }
            rest = after;
        }
        Ok(Self {
            octets,
            attributes,
            code: Code::from(code),
            identifier: Identifier(identifier),
            authenticator: Authenticator(*authenticator),
        })
    }

    /// The packet type.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The Identifier field.
    pub const fn identifier(&self) -> Identifier {
        self.identifier
    }

    /// The Authenticator field as received.
    pub const fn authenticator(&self) -> Authenticator {
        self.authenticator
    }

    /// The packet as received, without padding.
    pub const fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// The attributes as received, after the header.
    pub const fn attribute_octets(&self) -> &'a [u8] {
        self.attributes
    }

    /// All attributes in their order.
    pub const fn iter(&self) -> Attributes<'a> {
        Attributes { rest: self.attributes }
    }

    /// The values of one type in their order, which a proxy keeps (RFC 2865 section 5).
    pub fn attributes(&self, kind: AttributeType) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.iter().filter(move |attribute| attribute.kind == kind).map(|attribute| attribute.value)
    }

    /// The first value of one type.
    pub fn attribute(&self, kind: AttributeType) -> Option<&'a [u8]> {
        self.attributes(kind).next()
    }

    /// The value of a type that may be present once.
    ///
    /// # Errors
    /// [`Repeated`] where it is present several times.
    pub fn one(&self, kind: AttributeType) -> Result<Option<&'a [u8]>, Repeated> {
        let mut values = self.attributes(kind);
        let first = values.next();
        if values.next().is_some() { Err(Repeated(kind)) } else { Ok(first) }
    }

    /// All Vendor-Specific attributes in their order that carry a vendor number (RFC 2865 section 5.26).
    pub fn vendor_specifics(&self) -> impl Iterator<Item = crate::VendorSpecific<'a>> + use<'a> {
        self.attributes(AttributeType::VENDOR_SPECIFIC).filter_map(crate::VendorSpecific::parse)
    }

    /// The values of one vendor's sub-attribute, over all Vendor-Specific attributes in their order.
    pub fn vendor_attributes(&self, vendor: u32, kind: u8) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.vendor_specifics()
            .filter(move |specific| specific.vendor == vendor)
            .flat_map(|specific| specific.attributes())
            .filter(move |attribute| attribute.kind == kind)
            .map(|attribute| attribute.value)
    }
}

impl<'a> IntoIterator for PacketView<'a> {
    type Item = Attribute<'a>;
    type IntoIter = Attributes<'a>;

    fn into_iter(self) -> Attributes<'a> {
        self.iter()
    }
}

impl<'a> IntoIterator for &PacketView<'a> {
    type Item = Attribute<'a>;
    type IntoIter = Attributes<'a>;

    fn into_iter(self) -> Attributes<'a> {
        self.iter()
    }
}

impl fmt::Debug for PacketView<'_> {
    /// Types and lengths only: values may be credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacketView")
            .field("code", &self.code)
            .field("identifier", &self.identifier)
            .field("authenticator", &self.authenticator)
            .field("attributes", &self.iter().map(|a| (a.kind, a.value.len())).collect::<Vec<_>>())
            .finish()
    }
}

/// Attributes of a packet in their order.
#[derive(Clone)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// Attributes that follow one another in these octets, until the first that is none.
    pub const fn over(octets: &'a [u8]) -> Self {
        Self { rest: octets }
    }
}

impl fmt::Debug for Attributes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attributes").field("octets", &self.rest.len()).finish()
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let split = split_attribute(self.rest);
        self.rest = split.map_or(&[], |(_, after)| after);
        split.map(|(attribute, _)| attribute)
    }
}

/// Type, Length (of all three), Value (RFC 2865 section 5).
fn split_attribute(octets: &[u8]) -> Option<(Attribute<'_>, &[u8])> {
    let (&[kind, length], _) = octets.split_first_chunk::<2>()?;
    let (whole, after) = octets.split_at_checked(usize::from(length))?;
    let value = whole.get(2..)?;
    Some((Attribute { kind: AttributeType(kind), value }, after))
}
