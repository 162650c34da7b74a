//! `countersign phone`: an authenticator in the terminal, to try things out with and for tests. It does what the app
//! does, by the device protocol and nothing else; its keys are in a file, which is less than a phone can do.

mod accounts;
mod activate;
mod codes;
mod line;
mod listen;
mod show;
#[cfg(test)]
mod tests;
mod watch;
mod windows;

pub(crate) use activate::{activate, activate_qr};
pub(crate) use codes::codes;
pub(crate) use watch::{Standing, watch};
pub(crate) use windows::{applications, open_window};
