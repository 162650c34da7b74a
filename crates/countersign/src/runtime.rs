//! The system's clock and random source, as the services take them; and what is set for the whole process.

use std::sync::Arc;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use countersign_domain::{Clock, Entropy, Timestamp};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};

/// The clock of the machine.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "the one place where the program reads the clock")]
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

/// The generator of the cryptographic library, seeded by the system.
pub(crate) struct SystemEntropy(SystemRandom);

impl SystemEntropy {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(SystemRandom::new()))
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, out: &mut [u8]) {
        if self.0.fill(out).is_err() {
            // Going on without randomness would be worse than not going on.
            std::process::abort();
        }
    }
}

/// For a process that holds secrets: its files are its owner's only, it leaves no image of its memory, and what it says
/// when it panics is where, not with which values.
pub(crate) fn guard_process() {
    umask(rustix::fs::Mode::from_raw_mode(0o077));
    let _unchanged = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    quiet_panics();
}

/// Takes as many file descriptors as the system allows: every phone that listens needs one.
pub(crate) fn raise_file_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _unchanged = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// How many file descriptors the process may have; `None` where nothing bounds them.
pub(crate) fn file_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// A panic message that was put together at run time may hold anything; one that stands in the source does not.
pub(crate) fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let said = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("the message is withheld");
        tracing::error!(%place, %said, "panic: please report this");
        crate::output::Output::new(false).aside(&format!("panicked at {place}: {said}: please report this"));
    }));
}
