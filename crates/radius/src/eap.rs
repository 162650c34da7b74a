//! EAP packets inside of RADIUS packets (RFC 3579 section 3.1): looked at as a whole, never made but for one.

use thiserror::Error;

use crate::{AttributeType, Attributes};

/// Octets before the type: code, identifier, length (RFC 3748 section 4).
const HEADER: usize = 4;

/// What an EAP packet is (RFC 3748 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EapCode {
    /// A server asks.
    Request,
    /// A peer answers.
    Response,
    /// The peer is let in.
    Success,
    /// The peer is not let in.
    Failure,
}

/// Why the EAP-Message attributes of a packet are no EAP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EapError {
    /// Other attributes stand between them (RFC 3579 section 3.1).
    #[error("EAP-Message attributes that are not consecutive")]
    Scattered,
    /// EAP-Start, by which a NAS asks the server to begin (RFC 3579 section 2.1). Nobody can pass that on, for it says no name.
    #[error("an empty EAP-Message")]
    Start,
    /// Too short for what it says it is.
    #[error("an EAP packet of {octets} octets")]
    Short {
        /// How many there are.
        octets: usize,
    },
    /// Its length field says another length than it has.
    #[error("an EAP packet of {octets} octets that says {said}")]
    Length {
        /// By the field.
        said: u16,
        /// In truth.
        octets: usize,
    },
    /// Not one of the four codes.
    #[error("an EAP packet with the code {0}")]
    Code(u8),
}

/// The EAP packet that the EAP-Message attributes of a RADIUS packet make up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EapMessage {
    /// What it is.
    pub code: EapCode,
    /// By which requests and responses belong together.
    pub identifier: u8,
    /// How long it is, which its length field says too.
    pub octets: usize,
}

impl EapMessage {
    /// Puts the EAP-Message attributes among these together, in their order; `None` where there are none.
    ///
    /// Nothing is copied: what follows the header may be a password, and belongs to the peer and its server.
    ///
    /// # Errors
    /// An [`EapError`] where they are no EAP packet. Padding behind one is an error here: nothing pads in between.
    pub fn of(attributes: Attributes<'_>) -> Result<Option<Self>, EapError> {
        let mut head = Vec::with_capacity(HEADER);
        let mut octets = 0_usize;
        let (mut found, mut over) = (false, false);
        for attribute in attributes {
            if attribute.kind != AttributeType::EAP_MESSAGE {
                over = found;
                continue;
            }
            if over {
                return Err(EapError::Scattered);
            }
            found = true;
            octets = octets.saturating_add(attribute.value.len());
            head.extend(attribute.value.iter().copied().take(HEADER.saturating_sub(head.len())));
        }
        if !found {
            return Ok(None);
        }
        let &[code, identifier, high, low] = head.as_slice() else {
            return Err(if octets == 0 { EapError::Start } else { EapError::Short { octets } });
        };
        let said = u16::from_be_bytes([high, low]);
        if usize::from(said) != octets {
            return Err(EapError::Length { said, octets });
        }
        let (code, fits) = match code {
            // With a type (RFC 3748 section 4.1).
            1 => (EapCode::Request, octets > HEADER),
            2 => (EapCode::Response, octets > HEADER),
            // Without one (RFC 3748 section 4.2).
            3 => (EapCode::Success, octets == HEADER),
            4 => (EapCode::Failure, octets == HEADER),
            other => return Err(EapError::Code(other)),
        };
        if fits { Ok(Some(Self { code, identifier, octets })) } else { Err(EapError::Short { octets }) }
    }

    /// The EAP-Failure that answers a response, so that its peer stops at once: it has the identifier of that response
    /// (RFC 3748 section 4.2, RFC 3579 section 2.6.3).
    pub const fn failure(identifier: u8) -> [u8; HEADER] {
        [4, identifier, 0, 4]
    }
}
