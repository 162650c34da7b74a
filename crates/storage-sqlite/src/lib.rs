//! SQLite behind the storage traits: one writer with group commit.
//!
//! All writes go through one task that owns the only connection that can write. While it commits, more commits queue;
//! it takes all of them into its next transaction, so that durability costs one `fsync` for each batch and not for each
//! login. Reads have connections of their own and never wait for it (WAL).
#![warn(missing_docs)]

mod backup;
mod bulk;
mod error;
mod hot;
mod lookup;
mod place;
mod rare;
mod rekey;
mod resources;
mod rows;
mod schema;
mod store;
mod swap;
mod windows;
mod writer;

pub use backup::{Copy, CopyError, Label, Progress, back_up};
pub use place::Location;
pub use rekey::Resealed;
pub use store::{Options, SqliteStore};
pub use swap::Place as DatabasePlace;
