//! Which credential an Access-Request carries: one at most (RFC 2865 section 4.1).

use core::fmt;

use md5::{Digest, Md5};
use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::{AttributeType, PacketView, vendor};

/// Octets of the response to the challenge, the last ones of MS-CHAP2-Response (RFC 2548 section 2.3.2).
const NT_RESPONSE: usize = 24;

/// Why a request's credentials are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CredentialError {
    /// Several kinds in one request, or one kind several times.
    #[error("more than one credential")]
    Several,
    /// A length that the kind cannot have, or half of a pair.
    #[error("malformed credential")]
    Malformed,
    /// A new password for an old one, by MS-CHAP (RFC 2548 sections 2.1.6, 2.1.7 and 2.3.4).
    #[error("a change of the password by MS-CHAP")]
    PasswordChange,
    /// A kind that nobody here verifies.
    #[error("attribute {} is not a supported credential", .0.0)]
    Unsupported(AttributeType),
}

/// The one credential of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Credential<'a> {
    /// There is none: for clients that have checked the first factor themselves.
    None,
    /// User-Password, still hidden, 16 to 128 octets in blocks of 16 (RFC 2865 section 5.2).
    UserPassword(&'a [u8]),
    /// CHAP (RFC 2865 sections 5.3 and 5.40).
    Chap {
        /// The CHAP identifier.
        identifier: u8,
        /// The response.
        response: &'a [u8; 16],
        /// CHAP-Challenge, or the Request Authenticator where there is none.
        challenge: &'a [u8],
    },
    /// MS-CHAP (RFC 2548 section 2.1).
    MsChap {
        /// MS-CHAP-Challenge.
        challenge: &'a [u8],
        /// MS-CHAP-Response.
        response: &'a [u8],
    },
    /// MS-CHAP-V2 (RFC 2548 section 2.3).
    MsChapV2 {
        /// MS-CHAP-Challenge.
        challenge: &'a [u8; 16],
        /// MS-CHAP2-Response, in which the response to the challenge is not empty.
        response: &'a [u8; 50],
    },
    /// EAP (RFC 3579 section 3.1): the values of EAP-Message, to be put together in their order.
    Eap,
}

impl<'a> Credential<'a> {
    /// Finds the credential.
    ///
    /// # Errors
    /// A [`CredentialError`] where the request is to be refused.
    pub fn of(packet: &PacketView<'a>) -> Result<Self, CredentialError> {
        let one = |kind| packet.one(kind).map_err(|_| CredentialError::Several);
        let mut found = Self::None;
        let mut take = |credential| {
            if found == Self::None {
                found = credential;
                Ok(())
            } else {
                Err(CredentialError::Several)
            }
        };
        if let Some(hidden) = one(AttributeType::USER_PASSWORD)? {
            if hidden.is_empty() || hidden.len() > 128 || hidden.len().checked_rem(16) != Some(0) {
                return Err(CredentialError::Malformed);
            }
            take(Self::UserPassword(hidden))?;
        }
        let challenge = one(AttributeType::CHAP_CHALLENGE)?;
        if let Some(value) = one(AttributeType::CHAP_PASSWORD)? {
            let Some((&[identifier], rest)) = value.split_first_chunk::<1>() else {
                return Err(CredentialError::Malformed);
            };
            let response = rest.try_into().map_err(|_| CredentialError::Malformed)?;
            let challenge = match challenge {
                Some([]) => return Err(CredentialError::Malformed),
                Some(challenge) => challenge,
                None => packet.octets().get(4..20).ok_or(CredentialError::Malformed)?,
            };
            take(Self::Chap { identifier, response, challenge })?;
        }
        for kind in [vendor::MS_CHAP_CPW_1, vendor::MS_CHAP_CPW_2, vendor::MS_CHAP2_CPW] {
            if packet.vendor_attributes(vendor::MICROSOFT, kind).next().is_some() {
                return Err(CredentialError::PasswordChange);
            }
        }
        let challenge = at_most_one(packet.vendor_attributes(vendor::MICROSOFT, vendor::MS_CHAP_CHALLENGE))?;
        let first = at_most_one(packet.vendor_attributes(vendor::MICROSOFT, vendor::MS_CHAP_RESPONSE))?;
        let second = at_most_one(packet.vendor_attributes(vendor::MICROSOFT, vendor::MS_CHAP2_RESPONSE))?;
        match (challenge, first, second) {
            (_, Some(_), Some(_)) => return Err(CredentialError::Several),
            (Some(challenge), Some(response), None) if challenge.len() == 8 && response.len() == 50 => {
                take(Self::MsChap { challenge, response })?;
            }
            (Some(challenge), None, Some(response)) => {
                let (Ok(challenge), Ok(response)) = (challenge.try_into(), <&[u8; 50]>::try_from(response)) else {
                    return Err(CredentialError::Malformed);
                };
                if response.iter().rev().take(NT_RESPONSE).all(|octet| *octet == 0) {
                    return Err(CredentialError::Malformed);
                }
                take(Self::MsChapV2 { challenge, response })?;
            }
            (None, None, None) => {}
            _ => return Err(CredentialError::Malformed),
        }
        if packet.attribute(AttributeType::ARAP_PASSWORD).is_some() {
            return Err(CredentialError::Unsupported(AttributeType::ARAP_PASSWORD));
        }
        if packet.attribute(AttributeType::EAP_MESSAGE).is_some() {
            take(Self::Eap)?;
        }
        Ok(found)
    }
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::UserPassword(_) => "UserPassword(redacted)",
            Self::Chap { .. } => "Chap(redacted)",
            Self::MsChap { .. } => "MsChap(redacted)",
            Self::MsChapV2 { .. } => "MsChapV2(redacted)",
            Self::Eap => "Eap",
        })
    }
}

fn at_most_one<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Result<Option<&'a [u8]>, CredentialError> {
    let first = values.next();
    if values.next().is_some() { Err(CredentialError::Several) } else { Ok(first) }
}

/// The identifier of the MS-CHAP-V2 exchange that a request belongs to, whole or not; `None` where it belongs to none.
pub fn ms_chap_v2_identifier(packet: &PacketView<'_>) -> Option<u8> {
    let of = |kind| packet.vendor_attributes(vendor::MICROSOFT, kind).next();
    // In a change of the password it comes second, behind a code (RFC 2548 section 2.3.4).
    let response = of(vendor::MS_CHAP2_RESPONSE).and_then(<[u8]>::first);
    response.or_else(|| of(vendor::MS_CHAP2_CPW)?.get(1)).copied()
}

/// The value of MS-CHAP-Error: the login is refused, and another try begins with another challenge (RFC 2548 section 2.1.5,
/// RFC 2759 section 6). It is the same for all reasons; 691 means that name or password were wrong. `challenge` is random.
pub fn ms_chap_v2_error(identifier: u8, challenge: &[u8; 16]) -> Vec<u8> {
    let digits: String = challenge.iter().flat_map(|octet| [octet >> 4, octet & 15]).map(hex_digit).collect();
    [&[identifier][..], format!("E=691 R=0 C={digits} V=3").as_bytes()].concat()
}

fn hex_digit(nibble: u8) -> char {
    char::from_digit(nibble.into(), 16).unwrap_or('0').to_ascii_uppercase()
}

/// Whether a CHAP response is the one for this password, compared in constant time (RFC 1994 section 4.1).
pub fn chap_matches(identifier: u8, response: &[u8; 16], challenge: &[u8], password: &[u8]) -> bool {
    let digest = Md5::new().chain_update([identifier]).chain_update(password).chain_update(challenge).finalize();
    digest.as_slice().ct_eq(response).into()
}
