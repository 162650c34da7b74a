//! The door over real UDP, in front of a desk over a real database.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what fails here fails a test"
)]

mod accounting;
mod accounting_over_tls;
mod attributes;
mod bounds;
mod concurrent;
mod credentials;
mod discarded;
mod eap;
mod house;
mod ms_chap;
mod pressure;
mod prompts;
mod rejects;
mod retransmissions;
mod rotation;
mod rules;
mod sockets;
mod streams;
mod upstream;
