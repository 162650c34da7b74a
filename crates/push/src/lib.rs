//! Wakes phones by Web Push (RFC 8030): a push says that something waits, and nothing of what it is.
//!
//! - [`config`]: what can be set, and whether it makes sense.
//! - [`hosts`]: which push services are spoken to, and under which addresses.
//! - [`message`]: encryption (RFC 8291 over RFC 8188); [`vapid`]: who we are (RFC 8292).
//! - [`sender`]: one push, one answer.
//! - [`dispatcher`]: a push for each challenge, tried again for as long as it is of use.
//! - [`trial`]: a push without a challenge, for somebody who wants to know whether it works.
//!
//! A push is only a hint: an app that gets none still finds what waits for it, and no login waits for a push.
#![warn(missing_docs)]

pub mod config;
pub mod dispatcher;
pub mod hosts;
pub mod message;
pub mod sender;
pub mod trial;
pub mod vapid;

pub use config::{ConfigError, PushConfig};
pub use dispatcher::{Dispatcher, FiguresOf, PushFigures};
pub use hosts::Endpoints;
pub use sender::{Outcome, PushError, PushSender};
pub use trial::{TestPush, test_push};
pub use vapid::VapidKey;
