//! Attributes: their types, vendor sub-attributes, and lists of them to be sent (RFC 2865 section 5).

use core::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use zeroize::Zeroize;

use crate::{Attributes, EncodeError, limits};

/// Vendor numbers (IANA private enterprise numbers) that the product reads or writes.
pub mod vendor {
    /// Microsoft, RFC 2548 and MS-RNAP.
    pub const MICROSOFT: u32 = 311;
    /// RFC 2548 section 2.1.3.
    pub const MS_CHAP_RESPONSE: u8 = 1;
    /// RFC 2548 section 2.1.5.
    pub const MS_CHAP_ERROR: u8 = 2;
    /// RFC 2548 section 2.1.6.
    pub const MS_CHAP_CPW_1: u8 = 3;
    /// RFC 2548 section 2.1.7.
    pub const MS_CHAP_CPW_2: u8 = 4;
    /// RFC 2548 section 2.1.2.
    pub const MS_CHAP_CHALLENGE: u8 = 11;
    /// RFC 2548 section 2.4.1.
    pub const MS_CHAP_MPPE_KEYS: u8 = 12;
    /// RFC 2548 section 2.4.2.
    pub const MS_MPPE_SEND_KEY: u8 = 16;
    /// RFC 2548 section 2.4.3.
    pub const MS_MPPE_RECV_KEY: u8 = 17;
    /// RFC 2548 section 2.3.2.
    pub const MS_CHAP2_RESPONSE: u8 = 25;
    /// RFC 2548 section 2.3.3.
    pub const MS_CHAP2_SUCCESS: u8 = 26;
    /// RFC 2548 section 2.3.4.
    pub const MS_CHAP2_CPW: u8 = 27;
    /// MS-RNAP section 2.2.1.11.
    pub const MS_NETWORK_ACCESS_SERVER_TYPE: u8 = 47;
}

/// Type octet of an attribute; the constants carry the names of the RFCs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttributeType(pub u8);

macro_rules! attribute_types {
    ($($name:ident = $octet:literal, $text:literal, $section:literal;)*) => {
        impl AttributeType {
            $(#[doc = concat!($text, ", ", $section, ".")] pub const $name: Self = Self($octet);)*

            /// The name in the RFC, where the type is one of the constants.
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

attribute_types! {
    USER_NAME = 1, "User-Name", "RFC 2865 section 5.1";
    USER_PASSWORD = 2, "User-Password", "RFC 2865 section 5.2";
    CHAP_PASSWORD = 3, "CHAP-Password", "RFC 2865 section 5.3";
    NAS_IP_ADDRESS = 4, "NAS-IP-Address", "RFC 2865 section 5.4";
    NAS_PORT = 5, "NAS-Port", "RFC 2865 section 5.5";
    SERVICE_TYPE = 6, "Service-Type", "RFC 2865 section 5.6";
    FRAMED_PROTOCOL = 7, "Framed-Protocol", "RFC 2865 section 5.7";
    FRAMED_IP_ADDRESS = 8, "Framed-IP-Address", "RFC 2865 section 5.8";
    FRAMED_IP_NETMASK = 9, "Framed-IP-Netmask", "RFC 2865 section 5.9";
    FRAMED_ROUTING = 10, "Framed-Routing", "RFC 2865 section 5.10";
    FILTER_ID = 11, "Filter-Id", "RFC 2865 section 5.11";
    FRAMED_MTU = 12, "Framed-MTU", "RFC 2865 section 5.12";
    FRAMED_COMPRESSION = 13, "Framed-Compression", "RFC 2865 section 5.13";
    LOGIN_IP_HOST = 14, "Login-IP-Host", "RFC 2865 section 5.14";
    LOGIN_SERVICE = 15, "Login-Service", "RFC 2865 section 5.15";
    LOGIN_TCP_PORT = 16, "Login-TCP-Port", "RFC 2865 section 5.16";
    REPLY_MESSAGE = 18, "Reply-Message", "RFC 2865 section 5.18";
    STATE = 24, "State", "RFC 2865 section 5.24";
    CLASS = 25, "Class", "RFC 2865 section 5.25";
    VENDOR_SPECIFIC = 26, "Vendor-Specific", "RFC 2865 section 5.26";
    SESSION_TIMEOUT = 27, "Session-Timeout", "RFC 2865 section 5.27";
    IDLE_TIMEOUT = 28, "Idle-Timeout", "RFC 2865 section 5.28";
    TERMINATION_ACTION = 29, "Termination-Action", "RFC 2865 section 5.29";
    CALLED_STATION_ID = 30, "Called-Station-Id", "RFC 2865 section 5.30";
    CALLING_STATION_ID = 31, "Calling-Station-Id", "RFC 2865 section 5.31";
    NAS_IDENTIFIER = 32, "NAS-Identifier", "RFC 2865 section 5.32";
    PROXY_STATE = 33, "Proxy-State", "RFC 2865 section 5.33";
    ACCT_SESSION_ID = 44, "Acct-Session-Id", "RFC 2866 section 5.5";
    EVENT_TIMESTAMP = 55, "Event-Timestamp", "RFC 2869 section 5.3";
    CHAP_CHALLENGE = 60, "CHAP-Challenge", "RFC 2865 section 5.40";
    NAS_PORT_TYPE = 61, "NAS-Port-Type", "RFC 2865 section 5.41";
    PORT_LIMIT = 62, "Port-Limit", "RFC 2865 section 5.42";
    TUNNEL_PASSWORD = 69, "Tunnel-Password", "RFC 2868 section 3.5";
    ARAP_PASSWORD = 70, "ARAP-Password", "RFC 2869 section 5.4";
    PROMPT = 76, "Prompt", "RFC 2869 section 5.10";
    CONNECT_INFO = 77, "Connect-Info", "RFC 2869 section 5.11";
    EAP_MESSAGE = 79, "EAP-Message", "RFC 3579 section 3.1";
    MESSAGE_AUTHENTICATOR = 80, "Message-Authenticator", "RFC 3579 section 3.2";
    NAS_PORT_ID = 87, "NAS-Port-Id", "RFC 2869 section 5.17";
    CHARGEABLE_USER_IDENTITY = 89, "Chargeable-User-Identity", "RFC 4372 section 2.2";
    NAS_IPV6_ADDRESS = 95, "NAS-IPv6-Address", "RFC 3162 section 2.1";
    ERROR_CAUSE = 101, "Error-Cause", "RFC 5176 section 3.5";
    EAP_KEY_NAME = 102, "EAP-Key-Name", "RFC 4072 section 2.2";
    EXTENDED_ATTRIBUTE_1 = 241, "Extended-Attribute-1", "RFC 6929 section 3.1";
}

/// One attribute of a received packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its type.
    pub kind: AttributeType,
    /// Its value, 0 to 253 octets.
    pub value: &'a [u8],
}

impl fmt::Debug for Attribute<'_> {
    /// Length only: the value may be a credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attribute").field("kind", &self.kind).field("octets", &self.value.len()).finish()
    }
}

/// A Vendor-Specific value: vendor number and what the vendor put behind it (RFC 2865 section 5.26).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VendorSpecific<'a> {
    /// The vendor's enterprise number, high octet as sent.
    pub vendor: u32,
    /// The octets behind the number.
    pub data: &'a [u8],
}

impl<'a> VendorSpecific<'a> {
    /// Splits the value of a Vendor-Specific attribute; `None` where it has no room for a vendor number.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let (number, data) = value.split_first_chunk::<4>()?;
        Some(Self { vendor: u32::from_be_bytes(*number), data })
    }

    /// The sub-attributes, if all of the data is in the recommended form: type, length, value. Where any inner length
    /// is below 2 or goes past the end, the data is opaque and there are none (RFC 2865 section 5.26).
    pub fn attributes(&self) -> VendorAttributes<'a> {
        let mut check = Attributes::over(self.data);
        let taken: usize = check.by_ref().map(|attribute| attribute.value.len().saturating_add(2)).sum();
        let well_formed = taken == self.data.len();
        VendorAttributes { inner: Attributes::over(if well_formed { self.data } else { &[] }) }
    }

    /// Whether the data is in some form of the vendor's own.
    pub fn is_opaque(&self) -> bool {
        !self.data.is_empty() && self.attributes().next().is_none()
    }
}

impl fmt::Debug for VendorSpecific<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VendorSpecific").field("vendor", &self.vendor).field("octets", &self.data.len()).finish()
    }
}

/// One sub-attribute of a Vendor-Specific attribute.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VendorAttribute<'a> {
    /// The vendor's type octet.
    pub kind: u8,
    /// Its value.
    pub value: &'a [u8],
}

impl fmt::Debug for VendorAttribute<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VendorAttribute").field("kind", &self.kind).field("octets", &self.value.len()).finish()
    }
}

/// Sub-attributes in their order.
#[derive(Clone, Debug)]
pub struct VendorAttributes<'a> {
    inner: Attributes<'a>,
}

impl<'a> Iterator for VendorAttributes<'a> {
    type Item = VendorAttribute<'a>;

    fn next(&mut self) -> Option<VendorAttribute<'a>> {
        self.inner.next().map(|attribute| VendorAttribute { kind: attribute.kind.0, value: attribute.value })
    }
}

/// Attributes to be sent, in the order in which they were pushed.
///
/// INVARIANT: holds whole attributes only, at most [`limits::PACKET`] octets of them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AttributeList {
    octets: Vec<u8>,
}

impl AttributeList {
    /// An empty list.
    pub const fn new() -> Self {
        Self { octets: Vec::new() }
    }

    /// Attributes as they stand on the wire; `None` where one is not whole, or all are longer than a packet.
    pub fn from_octets(octets: &[u8]) -> Option<Self> {
        let taken: usize = Attributes::over(octets).map(|attribute| attribute.value.len().saturating_add(2)).sum();
        (taken == octets.len() && taken <= limits::PACKET).then(|| Self { octets: octets.to_vec() })
    }

    /// Adds one attribute. An empty value is written as it is, for the sake of a proxy; what we make ourselves leaves
    /// the attribute out instead (RFC 2865 section 5).
    ///
    /// # Errors
    /// The value is longer than 253 octets, or the list longer than a packet.
    pub fn push(&mut self, kind: AttributeType, value: &[u8]) -> Result<(), EncodeError> {
        let length = value.len().saturating_add(2);
        let octet = u8::try_from(length).map_err(|_| EncodeError::ValueTooLong { kind, octets: value.len() })?;
        if self.octets.len().saturating_add(length) > limits::PACKET {
            return Err(EncodeError::PacketTooLong);
        }
        self.octets.extend_from_slice(&[kind.0, octet]);
        self.octets.extend_from_slice(value);
        Ok(())
    }

    /// Adds a value of any length as consecutive attributes of one type, as EAP-Message wants it
    /// (RFC 3579 section 3.1). An empty value adds nothing.
    ///
    /// # Errors
    /// The list is longer than a packet; it then stays as it was.
    pub fn push_split(&mut self, kind: AttributeType, value: &[u8]) -> Result<(), EncodeError> {
        let before = self.octets.len();
        for part in value.chunks(limits::VALUE) {
            if let Err(error) = self.push(kind, part) {
                self.octets.truncate(before);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Adds text, which is UTF-8 on the wire (RFC 2865 section 5).
    ///
    /// # Errors
    /// As [`AttributeList::push`].
    pub fn push_text(&mut self, kind: AttributeType, text: &str) -> Result<(), EncodeError> {
        self.push(kind, text.as_bytes())
    }

    /// Adds a 32-bit number, high octet first (RFC 2865 section 5).
    ///
    /// # Errors
    /// The list is longer than a packet.
    pub fn push_u32(&mut self, kind: AttributeType, number: u32) -> Result<(), EncodeError> {
        self.push(kind, &number.to_be_bytes())
    }

    /// Adds an IPv4 address (RFC 2865 section 5).
    ///
    /// # Errors
    /// The list is longer than a packet.
    pub fn push_ipv4(&mut self, kind: AttributeType, address: Ipv4Addr) -> Result<(), EncodeError> {
        self.push(kind, &address.octets())
    }

    /// Adds an IPv6 address (RFC 3162 section 2.1).
    ///
    /// # Errors
    /// The list is longer than a packet.
    pub fn push_ipv6(&mut self, kind: AttributeType, address: Ipv6Addr) -> Result<(), EncodeError> {
        self.push(kind, &address.octets())
    }

    /// Adds a Vendor-Specific attribute with one sub-attribute (RFC 2865 section 5.26).
    ///
    /// # Errors
    /// The value is longer than 247 octets, or the list longer than a packet.
    pub fn push_vendor(&mut self, vendor: u32, kind: u8, value: &[u8]) -> Result<(), EncodeError> {
        let too_long = EncodeError::ValueTooLong { kind: AttributeType::VENDOR_SPECIFIC, octets: value.len() };
        let length = u8::try_from(value.len().saturating_add(2)).map_err(|_| too_long)?;
        let mut data = Vec::with_capacity(value.len().saturating_add(6));
        data.extend_from_slice(&vendor.to_be_bytes());
        data.extend_from_slice(&[kind, length]);
        data.extend_from_slice(value);
        let pushed = self.push(AttributeType::VENDOR_SPECIFIC, &data);
        data.zeroize();
        pushed
    }

    /// The attributes in their order.
    pub fn iter(&self) -> Attributes<'_> {
        Attributes::over(&self.octets)
    }

    /// The attributes as they stand on the wire.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }
}

impl<'a> IntoIterator for &'a AttributeList {
    type Item = Attribute<'a>;
    type IntoIter = Attributes<'a>;

    fn into_iter(self) -> Attributes<'a> {
        self.iter()
    }
}

impl Drop for AttributeList {
    /// The list may hold keys and passwords.
    fn drop(&mut self) {
        self.octets.zeroize();
    }
}

impl fmt::Debug for AttributeList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
