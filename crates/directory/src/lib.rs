//! Active Directory and LDAP as first factor: who somebody is, whether the password is right, which groups he is in, and
//! reading users for synchronisation.
//!
//! - [`config`]: what can be set, and whether it makes sense.
//! - [`Directory`]: names, passwords, groups.
//! - [`sync`]: users page by page, all or those that changed.
//! - [`trial`]: a walk through everything, for somebody who sets it up.
//!
//! Nothing is sent to a server before TLS has shown that it is the one that was meant, and no password goes to a server
//! that is not configured.
#![warn(missing_docs)]

mod ber;
pub mod config;
mod connection;
mod directory;
mod dn;
mod entry;
mod error;
mod filter;
mod groups;
mod names;
#[cfg(feature = "oracles")]
pub mod oracles;
mod places;
mod pool;
mod reason;
pub mod sync;
mod tls;
pub mod trial;
mod wire;

pub use config::{ConfigError, DirectoryConfig, Kind};
pub use directory::{Authenticated, Directory};
pub use entry::{AccountState, Entry, EntryId, Group, GroupId, Groups, Names};
pub use error::{AuthError, DirectoryError, EntryFault, LookupError, NameFault, Phase, Refusal, ServerFault, TlsFault};
pub use filter::FilterError;
pub use groups::Membership;
pub use places::Place;
