//! How often a client may begin anew in the place of a request that waits (S105).
//!
//! Such a request takes no further place in the transaction table, so the client's share of places does not hold it back; but
//! each one is a login of its own, with a record on disk. Through its places a client gets at most so many logins refused in
//! a second, for no reject leaves earlier; here it gets as many.

use core::time::Duration;
use std::collections::HashMap;

use countersign_domain::ClientId;
use tokio::time::Instant;

const WINDOW: Duration = Duration::from_secs(1);

/// What each client has begun anew within the present second.
#[derive(Debug)]
pub(crate) struct Supersedings {
    most: usize,
    of: HashMap<ClientId, (Instant, usize)>,
}

impl Supersedings {
    /// `most` of each client in a second.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, of: HashMap::new() }
    }

    /// Whether a client may do it once more, which then is counted.
    pub(crate) fn take(&mut self, now: Instant, client: ClientId) -> bool {
        let (since, count) = self.of.entry(client).or_insert((now, 0));
        if now.duration_since(*since) >= WINDOW {
            (*since, *count) = (now, 0);
        }
        let may = *count < self.most;
        *count = count.saturating_add(usize::from(may));
        may
    }

    /// Forgets clients that do not exist any more.
    pub(crate) fn keep(&mut self, exists: impl Fn(ClientId) -> bool) {
        self.of.retain(|client, _| exists(*client));
    }
}
