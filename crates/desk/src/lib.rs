//! The desk: runs the login engine over storage, for every door and every device.
//!
//! Doors hand in a [`LoginRequest`] and get a [`Verdict`] through the receiver that they registered; devices decide and
//! subscribe to notices; administrators write through [`Desk::write`], so that nothing read before is believed after.
#![warn(missing_docs)]

mod cache;
mod complaints;
mod desk;
mod directories;
mod eap;
mod hub;
mod leftovers;
mod passwords;
mod resources;
pub mod sync;
mod together;
mod upstreams;
mod windows;

pub use countersign_engine::{
    AssertionCheck, AssertionOutcome, Bounds, DecisionAnswer, Figures, Notice, PasskeyCheck, SignatureCheck,
    Submission, WindowAnswer, WindowRefusal, WindowRequest,
};
pub use desk::{Desk, DeskConfig, DoorVerdict, Peers};
pub use directories::{Directories, FindFault, PasswordAnswer, Person, Trouble};
pub use hub::OpenedChallenges;
pub use passwords::{PasswordError, hash_password};
pub use resources::{ResourceTable, Route, Seat};
pub use upstreams::{Exchange, SentOn, UpstreamAnswer, UpstreamTable, Upstreams};
