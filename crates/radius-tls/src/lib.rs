//! RADIUS over TLS (RFC 6614): who may be at the other end of a connection, for servers and for clients.
//!
//! Both sides show a certificate, always, and each is matched with what is configured of the other: a certificate by its
//! fingerprint, or a DNS name in a certificate of the configured CA. That a CA has made a certificate lets nobody in (S48). TLS is
//! 1.3 or 1.2. We speak what RFC 9765 calls RADIUS/1.0 and say so by ALPN: a peer that insists on RADIUS/1.1 is refused in the
//! handshake, and one that knows no ALPN is spoken to as ever. Sessions are never resumed, so that each connection is judged
//! by the certificate that is shown for it.
#![warn(missing_docs)]

mod certificate;
mod client;
mod credentials;
mod fault;
mod server;

pub use client::connect;
pub use credentials::{Credentials, CredentialsError};
pub use fault::Fault;
pub use server::{Known, Peer, accept};

/// A connection to a server.
pub type ClientStream = tokio_rustls::client::TlsStream<tokio::net::TcpStream>;
/// A connection from a client.
pub type ServerStream = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;

/// What we speak, by its name in a handshake (RFC 9765 section 3.1).
const RADIUS_1_0: &[u8] = b"radius/1.0";
