//! Parts for tests: a clock that is turned by hand, randomness that can be repeated, a desk over a database of its own,
//! a scripted NAS and a device that answers.
#![expect(clippy::missing_panics_doc, reason = "what fails here fails the test that uses it")]

mod authenticator;
mod device;
mod nas;
mod phone;
pub mod pki;
mod site;
mod upstream;

pub use authenticator::{Ceremony, SoftAuthenticator};
pub use device::SoftDevice;
pub use nas::{Ask, Nas, Packet, Reply};
pub use phone::SoftPhone;
pub use site::{NewResource, Site};
pub use upstream::{Says, ScriptedServer};

use std::sync::{Mutex, PoisonError};

use core::time::Duration;
use countersign_domain::{Clock, Entropy, Timestamp};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// A clock that stands still until it is turned.
#[derive(Debug)]
pub struct FakeClock(Mutex<Timestamp>);

impl FakeClock {
    /// Shows `now`.
    pub fn at(now: Timestamp) -> Self {
        Self(Mutex::new(now))
    }

    /// Goes forward.
    pub fn advance(&self, span: Duration) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = now.plus(span);
    }

    /// Jumps anywhere.
    pub fn set(&self, now: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

impl Default for FakeClock {
    fn default() -> Self {
        Self::at(Timestamp::from_seconds(1_800_000_000))
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same octets for the same seed.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<ChaCha8Rng>);

impl SeededEntropy {
    /// Everything follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(ChaCha8Rng::seed_from_u64(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, out: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(out);
    }
}
