//! The transaction table: which request is new, which was heard before (RFC 5080 section 2.2.2).

use core::hash::Hash;
use core::time::Duration;
use std::collections::hash_map::Entry as MapEntry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::{Authenticator, Identifier};

mod fair;
use fair::FairQueue;

/// Names one of the server's receiving sockets, or a connection of a client; no name is used twice. A reply leaves from where
/// its request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LocalSocket(pub u64);

impl LocalSocket {
    const CONNECTIONS: u64 = 1 << 32;

    /// The name of the connection with this number, of those that were opened since the start.
    pub const fn connection(number: u64) -> Self {
        Self(Self::CONNECTIONS.saturating_add(number))
    }

    /// Whether it is a connection: one peer, and nothing comes over it that was not sent over it now (RFC 6613).
    pub const fn is_connection(self) -> bool {
        self.0 >= Self::CONNECTIONS
    }
}

/// What tells requests of one moment apart, beside the Request Authenticator (RFC 5080 section 2.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TransactionKey<C> {
    /// The configured client that the packet was verified for. Limits and the memory of authenticators are per client.
    pub client: C,
    /// Source address and port.
    pub source: SocketAddr,
    /// The socket that received it.
    pub local: LocalSocket,
    /// The Identifier field.
    pub identifier: Identifier,
}

/// Bounds and lifetimes of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most unanswered transactions.
    pub pending: usize,
    /// Most unanswered transactions of one client.
    pub pending_per_client: usize,
    /// After this an unanswered transaction is given up. Longer than any login may take.
    pub pending_lifetime: Duration,
    /// Most replies kept, and most transactions left unanswered that are remembered.
    pub kept: usize,
    /// The same for one client.
    pub kept_per_client: usize,
    /// How long a reply is kept, counted from the answer (RFC 5080 section 2.2.2: 5 to 30 s).
    pub reply_lifetime: Duration,
    /// How long a transaction left unanswered is remembered, counted from [`TransactionTable::forget`].
    pub unanswered_lifetime: Duration,
    /// Most Request Authenticators remembered.
    pub authenticators: usize,
    /// The same for one client.
    pub authenticators_per_client: usize,
    /// How long a Request Authenticator is remembered, counted from its first arrival.
    pub authenticator_lifetime: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pending: 10_000,
            pending_per_client: 500,
            pending_lifetime: Duration::from_secs(330),
            kept: 65_536,
            kept_per_client: 16_384,
            reply_lifetime: Duration::from_secs(30),
            unanswered_lifetime: Duration::from_secs(330),
            authenticators: 262_144,
            authenticators_per_client: 65_536,
            authenticator_lifetime: Duration::from_hours(1),
        }
    }
}

/// What to do with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received<T> {
    /// Heard for the first time: process it.
    New {
        /// Its ticket, made by the caller's function.
        ticket: T,
        /// A pending request of the same key with another authenticator, which ends here, unanswered.
        superseded: Option<T>,
    },
    /// A retransmission while there is no answer: no reply, no processing.
    Duplicate {
        /// The ticket of the first arrival.
        ticket: T,
        /// How many retransmissions came so far, with this one.
        repeats: u32,
    },
    /// A retransmission after the answer: send these octets again, process nothing.
    Cached(Arc<[u8]>),
    /// The client has used the authenticator within the last hour, and the table holds neither its request nor its
    /// reply any more: no reply, no processing.
    Replay,
    /// The table, or the client's part of it, is full: no reply; a retransmission may fare better.
    Full,
}

#[derive(Debug)]
struct Entry<T> {
    authenticator: Authenticator,
    serial: u64,
    state: State<T>,
}

#[derive(Debug)]
enum State<T> {
    Pending { ticket: T, repeats: u32, until: Duration },
    LeftUnanswered { ticket: T, repeats: u32, until: Duration },
    Answered { reply: Arc<[u8]>, until: Duration },
}

impl<T> State<T> {
    const fn until(&self) -> Duration {
        match self {
            Self::Pending { until, .. } | Self::LeftUnanswered { until, .. } | Self::Answered { until, .. } => *until,
        }
    }
}

/// What a queue holds about an entry: it is still the same entry where the serial is.
type Mark<C> = (TransactionKey<C>, u64);

/// How often the parts are swept whose ends nobody waits for.
const SWEEP: Duration = Duration::from_secs(1);

/// The table. Times are counted from any fixed moment and do not run backwards; an earlier one counts as the latest
/// seen.
///
/// INVARIANT: only packets that [`crate::verify_request`] has let pass come in. A forged packet that got here could
/// end a pending login; with [`crate::Proof::SourceAddress`] that stays possible, which is what such a client costs.
///
/// Every operation takes constant time on average.
#[derive(Debug)]
pub struct TransactionTable<C, T> {
    limits: Limits,
    now: Duration,
    serial: u64,
    /// INVARIANT: at most one entry per key, the one heard last.
    entries: HashMap<TransactionKey<C>, Entry<T>>,
    /// INVARIANT: exactly the tickets of entries in `Pending` and `LeftUnanswered`.
    tickets: HashMap<T, TransactionKey<C>>,
    /// INVARIANT: the number of entries in `Pending`, per client, none of them 0.
    pending_of: HashMap<C, usize>,
    pending: usize,
    /// Pending entries by age, with leftovers of entries that are not pending any more.
    pending_ends: VecDeque<(Duration, Mark<C>)>,
    replies: FairQueue<C, Mark<C>>,
    unanswered: FairQueue<C, Mark<C>>,
    authenticators: FairQueue<C, Authenticator>,
    /// INVARIANT: exactly what `authenticators` holds.
    seen: HashSet<(C, Authenticator)>,
    /// Tickets of pending entries whose life ended, until [`TransactionTable::expire`] hands them out.
    given_up: Vec<T>,
    next_sweep: Duration,
}

impl<C: Copy + Eq + Hash, T: Copy + Eq + Hash> TransactionTable<C, T> {
    /// An empty table.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            now: Duration::ZERO,
            serial: 0,
            entries: HashMap::new(),
            tickets: HashMap::new(),
            pending_of: HashMap::new(),
            pending: 0,
            pending_ends: VecDeque::new(),
            replies: FairQueue::new(limits.kept, limits.kept_per_client, limits.reply_lifetime),
            unanswered: FairQueue::new(limits.kept, limits.kept_per_client, limits.unanswered_lifetime),
            authenticators: FairQueue::new(
                limits.authenticators,
                limits.authenticators_per_client,
                limits.authenticator_lifetime,
            ),
            seen: HashSet::new(),
            given_up: Vec::new(),
            next_sweep: SWEEP,
        }
    }

    /// Takes an authenticated request in. `make_ticket` is called for [`Received::New`] only.
    ///
    /// INVARIANT: `make_ticket` gives a ticket that is not in the table.
    ///
    /// A byte-identical packet that reaches another socket, port or identifier is a [`Received::Replay`], also while
    /// the first one is pending: its authenticator is used up. Not so on a connection: nobody can repeat there what somebody
    /// else has sent, and when it breaks the client may send the same request again over the next one (RFC 6613 section
    /// 2.6.1).
    pub fn receive(
        &mut self,
        now: Duration,
        key: TransactionKey<C>,
        authenticator: Authenticator,
        make_ticket: impl FnOnce() -> T,
    ) -> Received<T> {
        let now = self.advance(now);
        let mut superseded = None;
        if let Some(entry) = self.entries.get_mut(&key)
            && entry.state.until() > now
        {
            if entry.authenticator == authenticator {
                match &mut entry.state {
                    State::Pending { ticket, repeats, .. } | State::LeftUnanswered { ticket, repeats, .. } => {
                        *repeats = repeats.saturating_add(1);
                        return Received::Duplicate { ticket: *ticket, repeats: *repeats };
                    }
                    State::Answered { reply, .. } => return Received::Cached(Arc::clone(reply)),
                }
            }
            if let State::Pending { ticket, .. } = entry.state {
                superseded = Some(ticket);
            }
        }
        self.forget_old_authenticators(now, key.client);
        let replayable = !key.local.is_connection();
        if replayable && self.seen.contains(&(key.client, authenticator)) {
            return Received::Replay;
        }
        if superseded.is_none() {
            let of_client = self.pending_of.get(&key.client).copied().unwrap_or(0);
            if self.pending >= self.limits.pending || of_client >= self.limits.pending_per_client {
                return Received::Full;
            }
        }
        self.remove(&key);
        if replayable {
            self.remember(now, key.client, authenticator);
        }
        let ticket = make_ticket();
        if let Some(clash) = self.tickets.get(&ticket).copied() {
            self.remove(&clash);
        }
        self.serial = self.serial.saturating_add(1);
        let until = now.saturating_add(self.limits.pending_lifetime);
        let state = State::Pending { ticket, repeats: 0, until };
        self.entries.insert(key, Entry { authenticator, serial: self.serial, state });
        self.tickets.insert(ticket, key);
        self.pending = self.pending.saturating_add(1);
        let of_client = self.pending_of.entry(key.client).or_insert(0);
        *of_client = of_client.saturating_add(1);
        self.pending_ends.push_back((until, (key, self.serial)));
        self.compact();
        Received::New { ticket, superseded }
    }

    /// Stores the answer to a pending request for its retransmissions, and says where to send it. `None` where the
    /// ticket is not pending: superseded, left unanswered, answered, given up or unknown. Then nothing is sent.
    pub fn answer(&mut self, now: Duration, ticket: T, reply: Arc<[u8]>) -> Option<TransactionKey<C>> {
        let now = self.advance(now);
        let key = self.tickets.get(&ticket).copied()?;
        let entry = self.entries.get_mut(&key)?;
        let State::Pending { .. } = entry.state else { return None };
        entry.state = State::Answered { reply, until: now.saturating_add(self.limits.reply_lifetime) };
        let mark = (key, entry.serial);
        self.tickets.remove(&ticket);
        self.one_pending_less(key.client);
        if let Some((_, evicted)) = self.replies.push(now, key.client, mark) {
            self.remove_marked(evicted);
        }
        self.compact();
        Some(key)
    }

    /// Leaves a pending request unanswered because another one took its login over. Its retransmissions are still
    /// recognised: [`Received::Duplicate`] with this ticket means that its sender is alive. Says whether the ticket
    /// was pending.
    pub fn forget(&mut self, now: Duration, ticket: T) -> bool {
        let now = self.advance(now);
        let Some(key) = self.tickets.get(&ticket).copied() else { return false };
        let Some(entry) = self.entries.get_mut(&key) else { return false };
        let State::Pending { repeats, .. } = entry.state else { return false };
        let until = now.saturating_add(self.limits.unanswered_lifetime);
        entry.state = State::LeftUnanswered { ticket, repeats, until };
        let mark = (key, entry.serial);
        self.one_pending_less(key.client);
        if let Some((_, evicted)) = self.unanswered.push(now, key.client, mark) {
            self.remove_marked(evicted);
        }
        self.compact();
        true
    }

    /// Takes a pending request out as if it had not come, so that its retransmission is [`Received::New`]: it could not be
    /// carried out. Its authenticator stays used up where the table remembers those. Says whether the ticket was pending.
    pub fn release(&mut self, now: Duration, ticket: T) -> bool {
        self.advance(now);
        let Some(key) = self.key_of(ticket) else { return false };
        self.remove(&key);
        self.compact();
        true
    }

    /// Ends what is over, and gives back the tickets of requests that nobody answered in their lifetime.
    pub fn expire(&mut self, now: Duration) -> Vec<T> {
        let now = self.advance(now);
        if self.next_sweep <= now {
            self.next_sweep = now.saturating_add(SWEEP);
            let mut ended = Vec::new();
            self.replies.sweep(now, |_, mark| ended.push(mark));
            self.unanswered.sweep(now, |_, mark| ended.push(mark));
            for mark in ended {
                self.remove_marked(mark);
            }
            let seen = &mut self.seen;
            self.authenticators.sweep(now, |client, authenticator| {
                seen.remove(&(client, authenticator));
            });
        }
        core::mem::take(&mut self.given_up)
    }

    /// When [`TransactionTable::expire`] has something to do next; `None` where the table is empty.
    pub fn next_deadline(&self) -> Option<Duration> {
        if !self.given_up.is_empty() {
            return Some(self.now);
        }
        let pending = self.pending_ends.front().map(|(until, _)| *until);
        let kept = self.replies.len().max(self.unanswered.len()).max(self.authenticators.len());
        let sweep = (kept > 0).then_some(self.next_sweep);
        pending.into_iter().chain(sweep).min()
    }

    /// Forgets all of a client, when it is removed or gets another secret, and gives back its pending tickets. Takes
    /// time in proportion to the whole table.
    pub fn remove_client(&mut self, client: C) -> Vec<T> {
        let keys: Vec<_> = self.entries.keys().filter(|key| key.client == client).copied().collect();
        let mut tickets = Vec::new();
        for key in keys {
            if let Some(Entry { state: State::Pending { ticket, .. }, .. }) = self.remove(&key) {
                tickets.push(ticket);
            }
        }
        self.replies.remove_client(client).for_each(drop);
        self.unanswered.remove_client(client).for_each(drop);
        for authenticator in self.authenticators.remove_client(client) {
            self.seen.remove(&(client, authenticator));
        }
        self.compact();
        tickets
    }

    /// A connection was closed: forgets all that came over it, its replies too, and gives back the tickets of what is
    /// pending, for which no answer can be sent any more (RFC 6613 section 2.6.1).
    pub fn close_connection(&mut self, client: C, source: SocketAddr, local: LocalSocket) -> Vec<T> {
        let mut tickets = Vec::new();
        for identifier in 0..=u8::MAX {
            let key = TransactionKey { client, source, local, identifier: Identifier(identifier) };
            if let Some(Entry { state: State::Pending { ticket, .. }, .. }) = self.remove(&key) {
                tickets.push(ticket);
            }
        }
        self.compact();
        tickets
    }

    /// How many requests are pending.
    pub const fn pending(&self) -> usize {
        self.pending
    }

    /// How many requests of one client are pending.
    pub fn pending_of(&self, client: C) -> usize {
        self.pending_of.get(&client).copied().unwrap_or(0)
    }

    /// Whether [`Self::receive`] would end a request that is pending in the same place.
    pub fn would_supersede(&self, now: Duration, key: &TransactionKey<C>, authenticator: Authenticator) -> bool {
        let now = now.max(self.now);
        let other = |entry: &Entry<T>| {
            matches!(entry.state, State::Pending { until, .. } if until > now) && entry.authenticator != authenticator
        };
        self.entries.get(key).is_some_and(other) && !self.seen.contains(&(key.client, authenticator))
    }

    /// How many Request Authenticators are remembered.
    pub const fn authenticators(&self) -> usize {
        self.authenticators.len()
    }

    /// Where the reply to a pending request would go.
    pub fn key_of(&self, ticket: T) -> Option<TransactionKey<C>> {
        let key = self.tickets.get(&ticket).copied()?;
        matches!(self.entries.get(&key)?.state, State::Pending { .. }).then_some(key)
    }

    /// Moves the time forward and gives up what has been pending for too long.
    fn advance(&mut self, now: Duration) -> Duration {
        self.now = self.now.max(now);
        let now = self.now;
        while let Some((_, (key, serial))) = self.pending_ends.pop_front_if(|(until, _)| *until <= now) {
            if self.is_pending(&key, serial)
                && let Some(Entry { state: State::Pending { ticket, .. }, .. }) = self.remove(&key)
            {
                self.given_up.push(ticket);
            }
        }
        now
    }

    fn is_pending(&self, key: &TransactionKey<C>, serial: u64) -> bool {
        self.entries
            .get(key)
            .is_some_and(|entry| entry.serial == serial && matches!(entry.state, State::Pending { .. }))
    }

    fn remove(&mut self, key: &TransactionKey<C>) -> Option<Entry<T>> {
        let entry = self.entries.remove(key)?;
        match entry.state {
            State::Pending { ticket, .. } => {
                self.tickets.remove(&ticket);
                self.one_pending_less(key.client);
            }
            State::LeftUnanswered { ticket, .. } => {
                self.tickets.remove(&ticket);
            }
            State::Answered { .. } => {}
        }
        Some(entry)
    }

    /// Removes an entry that left a queue, unless another one has its key by now.
    fn remove_marked(&mut self, (key, serial): Mark<C>) {
        if self.entries.get(&key).is_some_and(|entry| entry.serial == serial) {
            self.remove(&key);
        }
    }

    fn one_pending_less(&mut self, client: C) {
        self.pending = self.pending.saturating_sub(1);
        if let MapEntry::Occupied(mut count) = self.pending_of.entry(client) {
            *count.get_mut() = count.get().saturating_sub(1);
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    fn remember(&mut self, now: Duration, client: C, authenticator: Authenticator) {
        self.seen.insert((client, authenticator));
        if let Some((client, evicted)) = self.authenticators.push(now, client, authenticator) {
            self.seen.remove(&(client, evicted));
        }
    }

    fn forget_old_authenticators(&mut self, now: Duration, client: C) {
        while let Some(authenticator) = self.authenticators.pop_expired(now, client) {
            self.seen.remove(&(client, authenticator));
        }
    }

    /// Keeps the queue of pending entries in proportion to what is pending.
    fn compact(&mut self) {
        while let Some((_, (key, serial))) = self.pending_ends.front().copied()
            && !self.is_pending(&key, serial)
        {
            self.pending_ends.pop_front();
        }
        if self.pending_ends.len() > self.pending.saturating_mul(2).saturating_add(64) {
            let mut ends = core::mem::take(&mut self.pending_ends);
            ends.retain(|(_, (key, serial))| self.is_pending(key, *serial));
            self.pending_ends = ends;
        }
    }

    /// Asserts what the comments call invariants, for tests.
    #[cfg(any(test, feature = "oracles"))]
    pub(crate) fn assert_invariants(&self) {
        let pending = |entry: &&Entry<T>| matches!(entry.state, State::Pending { .. });
        assert_eq!(self.pending, self.entries.values().filter(pending).count());
        assert!(self.pending <= self.limits.pending);
        assert_eq!(self.pending, self.pending_of.values().sum::<usize>());
        assert!(self.pending_of.values().all(|count| (1..=self.limits.pending_per_client).contains(count)));
        let mut tickets = 0;
        for (key, entry) in &self.entries {
            if let State::Pending { ticket, .. } | State::LeftUnanswered { ticket, .. } = &entry.state {
                assert!(self.tickets.get(ticket) == Some(key));
                tickets += 1;
            }
        }
        assert_eq!(self.tickets.len(), tickets);
        assert!(self.entries.len() <= self.pending + self.replies.len() + self.unanswered.len());
        assert!(self.pending_ends.len() <= self.pending * 2 + 64);
        let ends = self.pending_ends.iter().filter(|(_, (key, serial))| self.is_pending(key, *serial)).count();
        assert_eq!(ends, self.pending);
        assert_eq!(self.seen.len(), self.authenticators.len());
        assert!(
            self.authenticators.iter().all(|(client, authenticator)| self.seen.contains(&(client, *authenticator)))
        );
        self.replies.assert_invariants();
        self.unanswered.assert_invariants();
        self.authenticators.assert_invariants();
    }
}
