//! The RADIUS door: UDP and TLS (RFC 6614) between NAS and desk.
//!
//! One task owns sockets, transaction table and waiting logins; it takes datagrams in batches and never waits for
//! anything but the next event. Connections have tasks of their own, which hand it whole packets. What becomes of a datagram, in
//! this order; a packet of a connection begins at 2, for its handshake has said whose it is:
//!
//! 1. its source belongs to a client, or it is dropped (RFC 2865 section 3);
//! 2. it is a packet, and its Message-Authenticator is what the client's rule asks for, or it is dropped
//!    (RFC 3579 section 3.2, CVE-2024-3596);
//! 3. Status-Server is answered on the spot (RFC 5997);
//! 4. an Access-Request that was heard before gets silence or its old reply (RFC 5080 section 2.2.2);
//! 5. a new one becomes a [`LoginRequest`](countersign_domain::LoginRequest) for the desk.
//!
//! A verdict comes back later and leaves from the address that was asked. A reject that nobody was asked about waits
//! until a second and a bit after the request came in, whatever its reason, so that reasons cannot be told apart.
//!
//! Accounting is another matter, with ports and a task of its own ([`AccountingServer`]); what comes of it over
//! connections is given to that task unread ([`accounting_over_connections`]).
#![warn(missing_docs)]

mod accounting;
mod clients;
mod complaints;
mod door;
mod figures;
mod handover;
mod patience;
mod reply;
mod request;
mod rotation;
mod server;
mod socket;
mod streams;
mod supersedings;
mod ways;

pub use accounting::{AccountingConfig, AccountingServer, Recorders};
pub use countersign_radius::{Limits, upstream::ProxyMark};
pub use figures::{AccountingCounts, ClientCounts, Counts, Figures};
pub use handover::{AccountingGiver, AccountingTaker, accounting_over_connections};
pub use patience::Waits;
pub use rotation::{Proven, SecretsInUse};
pub use server::{BindError, Config, RadiusServer, Setting};
pub use streams::{StreamBounds, TlsConfig};
