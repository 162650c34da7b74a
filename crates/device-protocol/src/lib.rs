//! What a device and the server say to each other: texts, signatures, proofs, without I/O.
//!
//! The protocol itself is written down in `docs/reference/device-protocol.md`, which ends with test vectors that a test
//! of this crate compares with the code. Both sides use this crate: the server's HTTP layer and the terminal phone.
//!
//! - [`ids`]: identifiers, and short texts with a bounded length.
//! - [`encoding`]: binary values as base64url text.
//! - [`origin`]: the server's origin and the `htu` values under it.
//! - [`code`]: activation codes, activation tokens and the text of the QR code.
//! - [`keys`]: P-256 keys, JWK, thumbprints, signatures.
//! - [`signed`]: the exact octets that are signed.
//! - [`messages`]: the bodies of requests and answers; [`endpoint`]: their methods and paths; [`events`]: the stream.
//! - [`proof`]: DPoP proofs, nonces, and the memory of used proofs.
//! - [`webauthn`]: what verifies the user.
//! - [`problem`]: error bodies and their codes.
//!
//! Nothing here reads a clock or a random source: times and random octets are arguments. One exception lies below us:
//! ECDSA signing takes its nonces from the generator inside aws-lc.
#![warn(missing_docs)]

pub mod code;
pub mod encoding;
pub mod endpoint;
pub mod events;
pub mod ids;
pub mod keys;
pub mod messages;
#[cfg(feature = "oracles")]
pub mod oracles;
pub mod origin;
pub mod problem;
pub mod proof;
pub mod signed;
pub mod webauthn;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod page;

/// The version of the protocol that this crate speaks, `protocol` in `GET server` and `v` in QR codes and pushes.
pub const PROTOCOL_VERSION: u32 = 1;

/// The longest request body that a server reads, in octets.
pub const MAX_BODY: usize = 64 * 1024;

/// The size of a Web Push plaintext after RFC 8188 padding, in octets.
pub const PUSH_PLAINTEXT: usize = 512;
