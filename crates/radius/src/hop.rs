//! Attributes whose values are encrypted for one hop: a proxy opens them with the secret of the server that sent them, and
//! encrypts them anew with the secret of the client that gets them.

use core::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{Attribute, AttributeList, AttributeType, Attributes, Authenticator, SharedSecret, VendorSpecific, vendor};

/// How a value is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// A salt in the clear, then the length of the value, the value, and padding, encrypted (RFC 2548 section 2.4.2).
    Salted,
    /// The same behind a tag (RFC 2868 section 3.5).
    Tagged,
    /// Whole blocks, as User-Password is hidden (RFC 2548 section 2.4.1, RFC 2865 section 5.2).
    Hidden,
    /// Somehow else. Nobody but the two of the hop can read it.
    Unknown,
}

/// Type numbers of the RFCs, with two that old devices use for passwords without leave.
const STYLES: &[(AttributeType, Style)] = &[
    (AttributeType::TUNNEL_PASSWORD, Style::Tagged),
    (AttributeType(214), Style::Unknown),
    (AttributeType(215), Style::Unknown),
];

/// By vendor, each with types that have one style. Sources: RFC 2548 sections 2.4.1 to 2.4.3, and the vendors' dictionaries.
const VENDOR_STYLES: &[(u32, &[u8], Style)] = &[
    (vendor::MICROSOFT, &[vendor::MS_MPPE_SEND_KEY, vendor::MS_MPPE_RECV_KEY], Style::Salted),
    (vendor::MICROSOFT, &[vendor::MS_CHAP_MPPE_KEYS], Style::Hidden),
    (161, &[11], Style::Salted),
    (529, &[214, 215], Style::Unknown),
    (831, &[116, 117, 118, 119], Style::Salted),
    (2356, &[19, 20], Style::Tagged),
    (4874, &[58, 59, 60, 61], Style::Salted),
    (5535, &[58], Style::Salted),
    (6527, &[122, 123, 124, 125, 138, 139, 142], Style::Salted),
    (14823, &[44], Style::Salted),
    // WiMAX can split one value over several attributes.
    (24757, &[5, 10, 12, 14, 15, 19, 40, 66, 67, 70, 75, 86, 87, 131], Style::Unknown),
    (26928, &[3], Style::Salted),
];
/// Cisco's key of LEAP, which is text in its general attribute.
const CISCO: u32 = 9;
const CISCO_AVPAIR: u8 = 1;
const LEAP_KEY: &[u8] = b"leap:session-key=";
/// Lucent's types have two octets.
const LUCENT: u32 = 4846;

const SALT: usize = 2;

/// Attributes of a verified reply on their way from one hop to the next: as they stand on the wire, but that values which
/// were encrypted for the hop are in plain, in their place, with zeros where their salt was. Wiped when dropped, redacted
/// in `Debug`.
///
/// INVARIANT: whole attributes, at most a packet of them; each encrypted one has a style that is known, and its length
/// octet, where it has one, is right.
#[derive(Clone, Default)]
pub struct OpenAttributes(Zeroizing<Vec<u8>>);

impl OpenAttributes {
    /// What [`OpenAttributes::expose`] gave; `None` where it cannot be that.
    pub fn from_octets(octets: &[u8]) -> Option<Self> {
        let list = AttributeList::from_octets(octets)?;
        let (open, left_out) =
            each(&mut list.iter(), |style, value| style.is_open(value).then(|| Zeroizing::new(value.to_vec())));
        (left_out == 0).then_some(Self(open))
    }

    /// Opens what was encrypted with a secret for the request with this authenticator; with it, how many attributes had to
    /// be left out, because their style is not known or their length octet cannot be right.
    pub fn open(
        attributes: &mut dyn Iterator<Item = Attribute<'_>>,
        secret: &SharedSecret,
        request: &Authenticator,
    ) -> (Self, usize) {
        let (open, left_out) = each(attributes, |style, value| style.open(value, secret, request));
        (Self(open), left_out)
    }

    /// The attributes for the next hop, in the same order and of the same lengths: encrypted with its secret, for its
    /// request, each with a salt of its own (RFC 2548 section 2.4.2: the highest bit set, unique within the packet). `salt`
    /// is random, drawn for this packet.
    ///
    /// `None` if one of them cannot be encrypted, which the invariant of this type excludes.
    pub fn seal(&self, secret: &SharedSecret, request: &Authenticator, salt: [u8; 2]) -> Option<AttributeList> {
        let mut salt = u16::from_be_bytes(salt);
        let (sealed, left_out) = each(&mut self.iter(), |style, value| {
            // A packet has room for far fewer attributes than there are salts.
            salt = salt.wrapping_add(1);
            style.seal(value, secret, request, (salt | 0x8000).to_be_bytes())
        });
        if left_out == 0 { AttributeList::from_octets(&sealed) } else { None }
    }

    /// What octets of anybody's making are when they are taken for attributes in plain, with what is wrong put right.
    #[cfg(feature = "oracles")]
    pub(crate) fn nearest(list: &AttributeList) -> Self {
        let (open, _) = each(&mut list.iter(), |style, value| {
            let mut value = Zeroizing::new(value.to_vec());
            if let Some(before) = style.before_salt() {
                let (salt, plain) = value.get_mut(before..)?.split_first_chunk_mut::<SALT>()?;
                let (length, rest) = plain.split_first_mut()?;
                *salt = [0; SALT];
                *length = u8::try_from(rest.len()).unwrap_or(u8::MAX).min(*length);
            }
            style.is_open(&value).then_some(value)
        });
        Self(open)
    }

    /// The attributes in their order.
    pub fn iter(&self) -> Attributes<'_> {
        Attributes::over(&self.0)
    }

    /// The octets, to be kept as what they are: secret.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl<'a> IntoIterator for &'a OpenAttributes {
    type Item = Attribute<'a>;
    type IntoIter = Attributes<'a>;

    fn into_iter(self) -> Attributes<'a> {
        self.iter()
    }
}

impl PartialEq for OpenAttributes {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for OpenAttributes {}

impl fmt::Debug for OpenAttributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAttributes").field("octets", &self.0.len()).finish_non_exhaustive()
    }
}

impl Style {
    /// How many octets stand in the clear before the salt; `None` for styles without one.
    const fn before_salt(self) -> Option<usize> {
        match self {
            Self::Salted => Some(0),
            Self::Tagged => Some(1),
            Self::Hidden | Self::Unknown => None,
        }
    }

    /// Whether a value in plain is one that can be encrypted.
    fn is_open(self, value: &[u8]) -> bool {
        match self {
            Self::Salted | Self::Tagged => {
                let parts =
                    self.before_salt().and_then(|before| value.get(before..)).and_then(<[u8]>::split_first_chunk);
                let Some((&[0, 0], plain)) = parts else { return false };
                plain.split_first().is_some_and(|(&length, rest)| usize::from(length) <= rest.len())
            }
            Self::Hidden => !value.is_empty() && value.len().is_multiple_of(16),
            Self::Unknown => false,
        }
    }

    fn open(self, value: &[u8], secret: &SharedSecret, request: &Authenticator) -> Option<Zeroizing<Vec<u8>>> {
        let mut value = Zeroizing::new(value.to_vec());
        if self == Self::Hidden {
            secret.uncover(request.octets(), &mut value);
        } else {
            let (salt, cipher) = value.get_mut(self.before_salt()?..)?.split_first_chunk_mut::<SALT>()?;
            secret.uncover(&seed(request, *salt), cipher);
            *salt = [0; SALT];
        }
        self.is_open(&value).then_some(value)
    }

    fn seal(
        self,
        value: &[u8],
        secret: &SharedSecret,
        request: &Authenticator,
        fresh: [u8; SALT],
    ) -> Option<Zeroizing<Vec<u8>>> {
        if !self.is_open(value) {
            return None;
        }
        let mut value = Zeroizing::new(value.to_vec());
        if self == Self::Hidden {
            secret.cover(request.octets(), &mut value);
        } else {
            let (salt, plain) = value.get_mut(self.before_salt()?..)?.split_first_chunk_mut::<SALT>()?;
            secret.cover(&seed(request, fresh), plain);
            *salt = fresh;
        }
        Some(value)
    }
}

/// What the first block is encrypted with, beside the secret (RFC 2548 section 2.4.2).
fn seed(request: &Authenticator, [high, low]: [u8; SALT]) -> [u8; 18] {
    let mut seed = [0; 18];
    seed.iter_mut().zip(request.octets().iter().chain(&[high, low])).for_each(|(to, from)| *to = *from);
    seed
}

/// Attributes with another value in the place of each that is encrypted for a hop, and how many of those got none and are
/// left out. All others stay as they are.
fn each(
    attributes: &mut dyn Iterator<Item = Attribute<'_>>,
    mut other: impl FnMut(Style, &[u8]) -> Option<Zeroizing<Vec<u8>>>,
) -> (Zeroizing<Vec<u8>>, usize) {
    // All of them came out of a packet, so nothing moves while it grows, and leaves plain octets behind.
    let mut all = Zeroizing::new(Vec::with_capacity(crate::limits::PACKET));
    let mut left_out = 0_usize;
    for attribute in attributes {
        let style = STYLES.iter().find(|(kind, _)| *kind == attribute.kind).map(|(_, style)| *style);
        if attribute.kind == AttributeType::VENDOR_SPECIFIC {
            left_out = left_out.saturating_add(vendor_specific(attribute, &mut all, &mut other));
        } else if let Some(style) = style {
            match other(style, attribute.value) {
                Some(value) => push(&mut all, attribute.kind.0, &value),
                None => left_out = left_out.saturating_add(1),
            }
        } else {
            push(&mut all, attribute.kind.0, attribute.value);
        }
    }
    (all, left_out)
}

/// One Vendor-Specific attribute: where nothing in it is encrypted, the whole stays as it is. How many were left out.
fn vendor_specific(
    attribute: Attribute<'_>,
    all: &mut Vec<u8>,
    other: &mut impl FnMut(Style, &[u8]) -> Option<Zeroizing<Vec<u8>>>,
) -> usize {
    let Some(specific) = VendorSpecific::parse(attribute.value) else {
        push(all, attribute.kind.0, attribute.value);
        return 0;
    };
    if specific.vendor == LUCENT && matches!(specific.data, [0, 214 | 215, ..]) {
        return 1;
    }
    if specific.is_opaque() && VENDOR_STYLES.iter().any(|(vendor, ..)| *vendor == specific.vendor) {
        // What is in it cannot be told.
        return 1;
    }
    let style = |kind: u8, value: &[u8]| {
        let listed =
            VENDOR_STYLES.iter().find(|(vendor, kinds, _)| *vendor == specific.vendor && kinds.contains(&kind));
        let leap = specific.vendor == CISCO && kind == CISCO_AVPAIR && value.starts_with(LEAP_KEY);
        listed.map(|(.., style)| *style).or(leap.then_some(Style::Unknown))
    };
    if specific.attributes().all(|inner| style(inner.kind, inner.value).is_none()) {
        push(all, attribute.kind.0, attribute.value);
        return 0;
    }
    let mut left_out = 0_usize;
    let mut rest = Zeroizing::new(Vec::with_capacity(attribute.value.len()));
    rest.extend_from_slice(&specific.vendor.to_be_bytes());
    let empty = rest.len();
    for inner in specific.attributes() {
        match style(inner.kind, inner.value) {
            None => push(&mut rest, inner.kind, inner.value),
            Some(style) => match other(style, inner.value) {
                Some(value) => push(&mut rest, inner.kind, &value),
                None => left_out = left_out.saturating_add(1),
            },
        }
    }
    if rest.len() > empty {
        push(all, attribute.kind.0, &rest);
    }
    left_out
}

fn push(octets: &mut Vec<u8>, kind: u8, value: &[u8]) {
    // A value came out of an attribute, so its length is one.
    let Ok(length) = u8::try_from(value.len().saturating_add(2)) else { return };
    octets.extend_from_slice(&[kind, length]);
    octets.extend_from_slice(value);
}
