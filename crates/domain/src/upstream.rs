use core::net::SocketAddr;

use crate::{Secret, Timestamp, TlsIdentity, UpstreamId};

/// RADIUS servers that check the first factor for us, asked in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Immutable.
    pub id: UpstreamId,
    /// What administrators see.
    pub name: String,
    /// The first that answers counts; at least one.
    pub servers: Vec<UpstreamServer>,
    /// Where accounting goes on to, asked in the same way; with none it goes nowhere.
    pub accounting: Vec<UpstreamServer>,
    /// When it was added.
    pub created_at: Timestamp,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// The secret that it shares with us (RFC 2865 section 3).
    pub secret: Secret,
    /// Of whom its certificate has to be, where it is asked over TLS; `None`: over UDP.
    pub tls: Option<TlsIdentity>,
}
