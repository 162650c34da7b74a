//! The login engine: what to do next with a login.
//!
//! Events go in ([`Event`]), effects come out ([`Effect`]); nothing here waits, reads a clock or draws a random number.
//! Whoever drives it carries effects out and reports back with events. The rules for concurrent logins are those of
//! `docs/design/concurrent-logins.md`.
//!
//! Everything of one user happens in one *lane*, one thing at a time: load the user, decide, commit, and only when the
//! commit is durable tell the client and the devices. A commit whose conditions do not hold any more (another node, a
//! racing decision) is decided anew from a fresh snapshot; one that cannot be written ends in a reject.
#![warn(missing_docs)]

mod brake;
mod checks;
mod engine;
mod exchanges;
mod io;
mod lane;
mod live;
mod record;
mod remembered;
mod sources;
mod steps;
mod windows;

pub use engine::{Bounds, Engine, Figures};
pub use io::{
    Against, AssertionCheck, AssertionOutcome, CommitFault, DecisionAnswer, Effect, Event, Lane, Notice, Now,
    PasskeyCheck, PrimaryOutcome, SignatureCheck, Subject, Submission, WindowAnswer, WindowRefusal, WindowRequest,
};
