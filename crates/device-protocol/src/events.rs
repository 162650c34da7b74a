//! The stream of `GET events`: server-sent events (HTML Standard, section 9.2) written and read without I/O.

use crate::messages::{Challenge, ChallengeClosed, WindowClosed};

/// How often a server writes a comment line when it has nothing else to say, in seconds.
pub const HEARTBEAT_S: u64 = 20;

/// How long a stream lives before the server ends it, in seconds.
pub const STREAM_LIFE_S: u64 = 600;

/// A comment line, to be written as a heartbeat.
pub const HEARTBEAT: &str = ":\n\n";

/// The longest event that a client reads, in octets.
const LONGEST_EVENT: usize = 256 * 1024;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A challenge waits for this device.
    Challenge(Box<Challenge>),
    /// A challenge ended.
    ChallengeClosed(ChallengeClosed),
    /// A sign-in window that this device opened is over.
    WindowClosed(WindowClosed),
}

impl Event {
    /// The event's name on the wire.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Challenge(_) => "challenge",
            Self::ChallengeClosed(_) => "challenge-closed",
            Self::WindowClosed(_) => "window-closed",
        }
    }

    /// The event's data on the wire: one line of JSON.
    ///
    /// # Errors
    /// Passes on what `serde_json` says; our own types give it no reason to.
    pub fn data(&self) -> Result<String, serde_json::Error> {
        match self {
            Self::Challenge(challenge) => serde_json::to_string(challenge),
            Self::ChallengeClosed(closed) => serde_json::to_string(closed),
            Self::WindowClosed(closed) => serde_json::to_string(closed),
        }
    }

    /// The whole event as it is written.
    ///
    /// # Errors
    /// As [`Event::data`].
    pub fn encode(&self) -> Result<String, serde_json::Error> {
        Ok(format!("event: {}\ndata: {}\n\n", self.name(), self.data()?))
    }

    /// Reads an event. `None` for a name that this version does not know.
    ///
    /// # Errors
    /// [`StreamError::Data`] when the data does not fit the name.
    pub fn decode(name: &str, data: &str) -> Result<Option<Self>, StreamError> {
        match name {
            "challenge" => serde_json::from_str(data).map(|challenge| Some(Self::Challenge(challenge))),
            "challenge-closed" => serde_json::from_str(data).map(|closed| Some(Self::ChallengeClosed(closed))),
            "window-closed" => serde_json::from_str(data).map(|closed| Some(Self::WindowClosed(closed))),
            _ => Ok(None),
        }
        .map_err(|_| StreamError::Data)
    }
}

/// Why a stream cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// An event is longer than a client reads.
    #[error("an event of the stream is too long")]
    TooLong,
    /// The stream is not UTF-8.
    #[error("the stream is not UTF-8")]
    Utf8,
    /// The data of an event is not what its name says.
    #[error("an event of the stream cannot be read")]
    Data,
}

/// Reads a stream as its octets arrive, in pieces of any size. After an error the stream is to be closed.
#[derive(Debug, Default)]
pub struct EventReader {
    line: Vec<u8>,
    after_cr: bool,
    name: String,
    data: String,
}

impl EventReader {
    /// A reader at the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next octets and gives the events that they complete. Comments and unknown events are dropped.
    ///
    /// # Errors
    /// [`StreamError`].
    pub fn read(&mut self, octets: &[u8]) -> Result<Vec<Event>, StreamError> {
        let mut events = Vec::new();
        for octet in octets {
            let after_cr = std::mem::replace(&mut self.after_cr, *octet == b'\r');
            match octet {
                b'\n' if after_cr => {}
                b'\n' | b'\r' => {
                    let line = String::from_utf8(std::mem::take(&mut self.line)).map_err(|_| StreamError::Utf8)?;
                    events.extend(self.line(&line)?);
                }
                _ if self.line.len() + self.data.len() >= LONGEST_EVENT => return Err(StreamError::TooLong),
                _ => self.line.push(*octet),
            }
        }
        Ok(events)
    }

    fn line(&mut self, line: &str) -> Result<Option<Event>, StreamError> {
        if line.is_empty() {
            let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
            return if data.is_empty() { Ok(None) } else { Event::decode(&name, data.trim_end_matches('\n')) };
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            _ => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::messages::ClosingState;

    fn closed(id: &str) -> Event {
        Event::ChallengeClosed(ChallengeClosed { id: id.parse().unwrap(), state: ClosingState::Superseded })
    }

    #[test]
    fn an_event_is_two_lines_and_an_empty_one() {
        let text = closed("a").encode().unwrap();
        assert_eq!(text, "event: challenge-closed\ndata: {\"id\":\"a\",\"state\":\"superseded\"}\n\n");
        assert_eq!(EventReader::new().read(text.as_bytes()), Ok(vec![closed("a")]));
        let window = Event::WindowClosed(WindowClosed {
            id: "w".parse().unwrap(),
            state: crate::messages::WindowState::Collision,
        });
        let text = window.encode().unwrap();
        assert_eq!(text, "event: window-closed\ndata: {\"id\":\"w\",\"state\":\"collision\"}\n\n");
        assert_eq!(EventReader::new().read(text.as_bytes()), Ok(vec![window]));
    }

    #[test]
    fn comments_unknown_events_and_other_line_ends_do_no_harm() {
        let stream = format!(
            "{HEARTBEAT}: hello\r\nretry: 3\r\rid: 7\nevent: weather\ndata: {{}}\n\nevent:challenge-closed\r\n\
             data:{{\"id\":\"a\",\r\ndata: \"state\":\"superseded\",\"later\":1}}\r\n\r\n{HEARTBEAT}"
        );
        assert_eq!(EventReader::new().read(stream.as_bytes()), Ok(vec![closed("a")]));
    }

    #[test]
    fn a_stream_that_is_wrong_is_an_error() {
        assert_eq!(EventReader::new().read(b"event: challenge\ndata: {}\n\n"), Err(StreamError::Data));
        assert_eq!(EventReader::new().read(b"data: \xff\n"), Err(StreamError::Utf8));
        assert_eq!(EventReader::new().read(&vec![b'x'; LONGEST_EVENT + 1]), Err(StreamError::TooLong));
        let lines = b"data: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n".repeat(10_000);
        assert_eq!(EventReader::new().read(&lines), Err(StreamError::TooLong));
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_same_events(ids in proptest::collection::vec("[a-z]{1,9}", 0..5), size in 1usize..50) {
            let events: Vec<_> = ids.iter().map(|id| closed(id)).collect();
            let stream: String = events.iter().map(|event| event.encode().unwrap() + HEARTBEAT).collect();
            let mut reader = EventReader::new();
            let mut read = Vec::new();
            for piece in stream.as_bytes().chunks(size) {
                read.extend(reader.read(piece).unwrap());
            }
            prop_assert_eq!(read, events);
        }

        #[test]
        fn any_octets_do_no_harm(octets: Vec<u8>) {
            let _ = EventReader::new().read(&octets);
        }
    }
}
