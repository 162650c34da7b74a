//! Packets in a stream of octets, one behind the other, each as long as its Length field says (RFC 6613 section 2.6.4, RFC 6614
//! section 2.5).

use thiserror::Error;

use crate::limits;

/// Where the Length field ends.
const LENGTH_END: usize = 4;

/// A Length field that no packet has: where the next packet begins cannot be known, so the stream is worth nothing any more and its
/// connection is closed (RFC 6613 section 2.6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a packet that says it is {length} octets long, and a packet has 20 to 4096")]
pub struct FrameError {
    /// What the field says.
    pub length: usize,
}

/// Cuts a stream into packets.
///
/// INVARIANT: when [`Framer::next`] has given back `None`, fewer octets are kept than the longest packet has.
#[derive(Debug, Default)]
pub struct Framer {
    octets: Vec<u8>,
    /// How many of them were handed out.
    begin: usize,
    fault: Option<FrameError>,
}

impl Framer {
    /// Of a stream of which nothing has come yet.
    pub const fn new() -> Self {
        Self { octets: Vec::new(), begin: 0, fault: None }
    }

    /// More of the stream. What is kept grows with it until [`Framer::next`] takes packets out.
    pub fn push(&mut self, octets: &[u8]) {
        if self.fault.is_none() {
            self.octets.extend_from_slice(octets);
        }
    }

    /// The next packet that is whole; `None` until more comes. Its attributes are not looked at.
    ///
    /// # Errors
    /// A [`FrameError`], from then on each time.
    pub fn next_packet(&mut self) -> Result<Option<&[u8]>, FrameError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let rest = self.octets.get(self.begin..).unwrap_or_default();
        let Some([_, _, high, low]) = rest.first_chunk::<LENGTH_END>().copied() else {
            self.shift();
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if !(limits::HEADER..=limits::PACKET).contains(&length) {
            let fault = FrameError { length };
            *self = Self { fault: Some(fault), ..Self::new() };
            return Err(fault);
        }
        if rest.len() < length {
            self.shift();
            return Ok(None);
        }
        let begin = self.begin;
        self.begin = begin.saturating_add(length);
        Ok(self.octets.get(begin..self.begin))
    }

    /// Whether a packet has begun and not ended. Its sender owes the rest.
    pub const fn is_within_packet(&self) -> bool {
        self.octets.len() > self.begin
    }

    /// Lets go of what was handed out.
    fn shift(&mut self) {
        self.octets.drain(..self.begin.min(self.octets.len()));
        self.begin = 0;
    }
}
