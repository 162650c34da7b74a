//! Clients whose shared secret is being changed: for a while they are known by the one before as well (S94).

use core::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::Arc;

use countersign_domain::{Clock, Timestamp};
use countersign_radius::SharedSecret;

use crate::clients::Client;

/// What was proven with one of two secrets.
#[derive(Debug, Default)]
pub(crate) struct Proofs {
    count: AtomicU64,
    /// In microseconds; 0 before the first.
    last: AtomicI64,
}

/// What was proven with the secrets of a client, since the newer one was set or the server started.
#[derive(Debug, Clone)]
pub(crate) struct Rotation {
    /// Tells this change from the one before it.
    until: Timestamp,
    pub(crate) by_new: Arc<Proofs>,
    pub(crate) by_previous: Arc<Proofs>,
}

/// How often, and when last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Proven {
    /// So many packets.
    pub packets: u64,
    /// The last of them; `None`: there were none.
    pub last: Option<Timestamp>,
}

/// Which of its two secrets a client uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretsInUse {
    /// Until when the one before is valid.
    pub until: Timestamp,
    /// The one that was set last.
    pub new: Proven,
    /// The one before.
    pub previous: Proven,
}

impl Proofs {
    pub(crate) fn note(&self, now: Timestamp) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.last.fetch_max(now.as_micros(), Ordering::Relaxed);
    }

    fn read(&self) -> Proven {
        let last = Some(self.last.load(Ordering::Relaxed)).filter(|last| *last != 0);
        Proven { packets: self.count.load(Ordering::Relaxed), last: last.map(Timestamp::from_micros) }
    }
}

impl Rotation {
    /// What is kept of a change that ends then; what was kept of another one is forgotten.
    pub(crate) fn of(until: Timestamp, kept: Option<Self>) -> Self {
        let fresh = || Self { until, by_new: Arc::default(), by_previous: Arc::default() };
        kept.filter(|kept| kept.until == until).unwrap_or_else(fresh)
    }

    pub(crate) fn read(&self) -> SecretsInUse {
        SecretsInUse { until: self.until, new: self.by_new.read(), previous: self.by_previous.read() }
    }
}

/// Checks a packet by the client's secret, and where that is another one, by the one before while it is valid. The client as
/// it is known by the secret that fits: replies are made with that one, so that whoever asks by the older one hears us.
///
/// `is_other_secret` says of a fault whether a packet has it that was made with another secret.
pub(crate) fn proven<'a, T, E>(
    client: &'a Arc<Client>,
    clock: &dyn Clock,
    verify: impl Fn(&SharedSecret) -> Result<T, E>,
    is_other_secret: impl Fn(&E) -> bool,
) -> (&'a Arc<Client>, Result<T, E>) {
    let result = verify(&client.secret);
    let (Err(fault), Some((until, before))) = (&result, &client.before) else { return (client, result) };
    if !is_other_secret(fault) || clock.now() >= *until {
        return (client, result);
    }
    match verify(&before.secret) {
        Ok(proof) => (before, Ok(proof)),
        Err(_) => (client, result),
    }
}
