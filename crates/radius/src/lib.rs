//! RADIUS wire codec, authenticators and transaction table, without I/O.
//!
//! Octets and times come in as arguments; octets and outcomes go out. Nothing here opens a socket, reads a clock or
//! draws a random number, and nothing here panics on any input.
//!
//! The order in which a server uses the parts:
//!
//! 1. [`PacketView::parse`] over the received datagram (RFC 2865 section 3);
//! 2. [`verify_request`] with the client's [`SharedSecret`] (RFC 3579 section 3.2, RFC 5997 section 3);
//! 3. [`TransactionTable::receive`] (RFC 5080 section 2.2.2);
//! 4. [`Credential::of`] and [`UserPassword::unhide`] (RFC 2865 section 5.2);
//! 5. [`encode_reply`], then [`TransactionTable::answer`], which says where the reply goes.
//!
//! A client uses [`encode_request`] and [`verify_reply`], a proxy the [`upstream`] table over them, and
//! [`OpenAttributes::seal`] for what comes back.
#![warn(missing_docs)]

mod accounting;
mod attribute;
mod authenticator;
mod credential;
pub mod dictionary;
mod eap;
mod encode;
mod hop;
mod matching;
mod named;
#[cfg(feature = "oracles")]
pub mod oracles;
mod packet;
mod password;
mod secret;
mod stream;
mod table;
#[cfg(test)]
mod tests;
pub mod upstream;
mod verify;

pub use accounting::{
    AccountingError, encode_accounting_request, encode_accounting_response, verify_accounting,
    verify_accounting_response,
};
pub use attribute::{
    Attribute, AttributeList, AttributeType, VendorAttribute, VendorAttributes, VendorSpecific, vendor,
};
pub use authenticator::MessageAuthenticator;
pub use credential::{Credential, CredentialError, chap_matches, ms_chap_v2_error, ms_chap_v2_identifier};
pub use eap::{EapCode, EapError, EapMessage};
pub use encode::{EncodeError, encode_reply, encode_request, encode_unsupported};
pub use hop::OpenAttributes;
pub use matching::{RequestTest, RequestTestError};
pub use named::{NamedAttribute, NamedError, ValueFault, describe, reply_attributes};
pub use packet::{Attributes, Authenticator, Code, Identifier, PacketError, PacketView, Repeated, limits};
pub use password::{PasswordError, PasswordForm, UserPassword};
pub use secret::{SecretPolicyError, SecretStrength, SharedSecret};
pub use stream::{FrameError, Framer};
pub use table::{Limits, LocalSocket, Received, TransactionKey, TransactionTable};
pub use verify::{MessageAuthenticatorRule, Proof, ReplyError, RequestError, verify_reply, verify_request};
