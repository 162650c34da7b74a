//! The client's side of RADIUS: logins go on to other servers that check the first factor.
//!
//! What to send when, and which reply is believed, is decided by [`countersign_radius::upstream`]; here are the sockets
//! and the time. Each server is reached from sockets of its own, connected to its address and bound to ports of the
//! system's choice; over TLS each connection has a task. No request has a task or a timer of its own.
#![warn(missing_docs)]

mod client;
mod complaints;
mod socket;
mod stream;
pub mod trial;

pub use client::{Client, Over, Server};
pub use countersign_radius::upstream::{
    Answer, Forward, NoAnswer, Outcome, ProxyMark, ProxyTag, Relayed, ServerCounts, ServerState,
};
pub use countersign_radius_tls::{Credentials, Fault};
pub use stream::{Broken, Tls};
