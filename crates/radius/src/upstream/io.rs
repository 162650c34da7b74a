//! What goes into the table and what comes out.

use core::time::Duration;
use std::net::SocketAddr;
use std::sync::Arc;

use thiserror::Error;

use super::{Change, Relayed, SourcePort};
use crate::{ReplyError, SharedSecret};

/// Draws random octets.
pub type Random<'a> = &'a mut dyn FnMut(&mut [u8]);

/// What the servers are there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// They say yes or no to Access-Requests.
    Logins,
    /// They keep Accounting-Requests (RFC 2866 section 2.3).
    Accounting,
}

/// How long things take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The first retransmission comes after this, each further one after twice as long (RFC 5080 section 2.2.1: IRT).
    pub retransmit: Duration,
    /// But after no longer than this (RFC 5080 section 2.2.1: MRT).
    pub longest_retransmit: Duration,
    /// A server that is silent for so long is left for the next one. What is left of the time is shared fairly among the
    /// servers, so it may be less.
    pub patience: Duration,
    /// A server that answers Status-Server is asked after so much quiet (RFC 3539 section 3.4.1).
    pub watchdog: Duration,
    /// An answer to Status-Server comes within this.
    pub status_wait: Duration,
    /// So many without an answer, one after the other, mean that the server does not answer.
    pub status_tries: u32,
    /// The first pause before a silent server is asked again; each further one is twice as long.
    pub first_back_off: Duration,
    /// The longest pause.
    pub longest_back_off: Duration,
    /// The longest pause before Status-Server to a server that has never answered one.
    pub longest_blind_back_off: Duration,
    /// A server that answered Status-Server before is not held to that when it has been silent for so long.
    pub forget_status: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            retransmit: Duration::from_secs(1),
            longest_retransmit: Duration::from_secs(16),
            patience: Duration::from_secs(5),
            watchdog: Duration::from_secs(30),
            status_wait: Duration::from_secs(2),
            status_tries: 2,
            first_back_off: Duration::from_secs(1),
            longest_back_off: Duration::from_secs(30),
            longest_blind_back_off: Duration::from_secs(300),
            forget_status: Duration::from_secs(600),
        }
    }
}

impl Timing {
    /// Up to a quarter less by `jitter`, so that many of us do not come back as one.
    pub(super) fn back_off(&self, failures: u32, jitter: u8, longest: Duration) -> Duration {
        let pause = self.first_back_off.saturating_mul(2_u32.saturating_pow(failures.min(16))).min(longest);
        let less = pause.checked_div(1024).unwrap_or_default().saturating_mul(u32::from(jitter));
        pause.saturating_sub(less)
    }
}

/// A server as it is configured.
#[derive(Clone, Debug)]
pub struct UpstreamServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it shares with us.
    pub secret: SharedSecret,
    /// How it is reached.
    pub transport: Transport,
}

/// How a server is reached. One that is reached in one way is never asked in the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// UDP (RFC 2865).
    Datagrams,
    /// Connections that prove both ends and protect what they carry, such as TLS (RFC 6614). What was sent over one is not
    /// sent over it again, and replies over it need no Message-Authenticator (RFC 6613 section 2.6.1).
    Connections,
}

/// One of our sockets: towards which server, and which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpstreamSocket {
    /// The server's place in the order.
    pub server: usize,
    /// The source port.
    pub port: SourcePort,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<T> {
    /// Send this from this socket, which is opened on a port of the system's choice if it is not open yet.
    Send {
        /// From where, and so to whom.
        socket: UpstreamSocket,
        /// All of it.
        packet: Arc<[u8]>,
    },
    /// Close this socket: nobody waits at it.
    Close(UpstreamSocket),
    /// A request has its end.
    Ended {
        /// Which.
        ticket: T,
        /// How.
        outcome: Outcome,
    },
    /// A server is silent, or back.
    Changed {
        /// The server's place in the order.
        server: usize,
        /// What.
        change: Change,
    },
}

/// What became of a request. Nothing but [`Outcome::Accept`] is a yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A server said yes.
    Accept(Answer),
    /// A server said no.
    Reject(Answer),
    /// A server wants to know more.
    Challenge(Answer),
    /// A server has recorded it: the end of an Accounting-Request, and of nothing else.
    Recorded,
    /// No server has said anything that is believed.
    NoAnswer(NoAnswer),
}

/// A reply that is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Who sent it: the server's place in the order.
    pub server: usize,
    /// Its attributes.
    pub relayed: Relayed,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoAnswer {
    /// Nothing came that is believed.
    #[error("no server answered in time")]
    Silent,
    /// There is no server that may be asked.
    #[error("there is no such server any more")]
    NoServer,
    /// All source ports and identifiers are taken.
    #[error("too many requests are waiting for an answer")]
    Full,
    /// With what we add to it the request is longer than a packet.
    #[error("the request is too long to be sent on")]
    TooLong,
    /// A server said Protocol-Error (RFC 7930 section 4), and no other was left.
    #[error("the server answered Protocol-Error")]
    ProtocolError,
    /// The server sent the request back to us instead of answering it.
    #[error("the server sends back to us what it gets from us")]
    Loop,
}

/// Why a datagram is no reply. The request goes on waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReplyFault {
    /// It is not from the address that was asked.
    #[error("reply from {0}, which was not asked")]
    Source(SocketAddr),
    /// Nobody waits for one with this identifier, any more or ever.
    #[error("reply to no request, or to one that is over")]
    NotAwaited,
    /// It does not prove that it is the server's reply to this request.
    #[error(transparent)]
    Unproven(#[from] ReplyError),
}

/// What is known of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerState {
    /// Since when it does not answer.
    pub down_since: Option<Duration>,
    /// When it sent the last reply that was believed.
    pub heard: Option<Duration>,
    /// Whether it has answered Status-Server.
    pub answers_status: bool,
    /// Requests that wait for its answer.
    pub waiting: usize,
    /// What has happened so far.
    pub counts: ServerCounts,
}

/// How often what happened with a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerCounts {
    /// Requests that it was asked.
    pub asked: u64,
    /// Requests that it was sent again.
    pub retransmissions: u64,
    /// Its Access-Accepts.
    pub accepts: u64,
    /// Its Access-Rejects.
    pub rejects: u64,
    /// Its Access-Challenges.
    pub challenges: u64,
    /// Its Accounting-Responses.
    pub recorded: u64,
    /// Its Protocol-Errors.
    pub protocol_errors: u64,
    /// Requests that it did not answer in time, and for which the next server was asked where there was one.
    pub unanswered: u64,
    /// Requests that came back to us, and were then rejected.
    pub loops: u64,
    /// Replies to requests that were over, or that nobody had made.
    pub not_awaited: u64,
    /// Replies without Message-Authenticator.
    pub without_message_authenticator: u64,
    /// Replies that are not proven by its secret, or no packets.
    pub unproven: u64,
}
