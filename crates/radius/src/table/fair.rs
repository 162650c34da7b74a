//! A bounded memory that many clients share: each forgets its own oldest first, and a loud one makes no quiet one
//! forget.

use core::hash::Hash;
use core::time::Duration;
use std::collections::{HashMap, VecDeque};

/// First-in-first-out per client, with one lifetime for all, a bound per client and a bound for all together.
///
/// When all together are at their bound, every client that holds anything may hold an equal share. A client at or
/// above its share gives up its own oldest item for a new one; a client below it takes the room from one above.
#[derive(Debug)]
pub(super) struct FairQueue<C, V> {
    bound: usize,
    bound_per_client: usize,
    lifetime: Duration,
    total: usize,
    /// INVARIANT: `index` says where in `lanes` each client is, and every lane is in `index`.
    lanes: Vec<Lane<C, V>>,
    index: HashMap<C, usize>,
    /// Where the search for a client above its share goes on. A client once passed over comes above its share again
    /// only when further clients make the share smaller, so the search takes constant time on average.
    cursor: usize,
}

#[derive(Debug)]
struct Lane<C, V> {
    client: C,
    /// By end of life, which is also the order of arrival.
    items: VecDeque<(Duration, V)>,
}

impl<C: Copy + Eq + Hash, V> FairQueue<C, V> {
    pub(super) fn new(bound: usize, bound_per_client: usize, lifetime: Duration) -> Self {
        let (lanes, index) = (Vec::new(), HashMap::new());
        Self { bound, bound_per_client, lifetime, total: 0, lanes, index, cursor: 0 }
    }

    pub(super) const fn len(&self) -> usize {
        self.total
    }

    /// Takes an item in and gives back the one that had to go for it, with its client: the item itself where a bound is 0.
    #[must_use]
    pub(super) fn push(&mut self, now: Duration, client: C, value: V) -> Option<(C, V)> {
        if self.bound == 0 || self.bound_per_client == 0 {
            return Some((client, value));
        }
        let at = *self.index.entry(client).or_insert_with(|| {
            self.lanes.push(Lane { client, items: VecDeque::new() });
            self.lanes.len().saturating_sub(1)
        });
        let own = self.lanes.get(at).map_or(0, |lane| lane.items.len());
        let mut evicted = None;
        if own >= self.bound_per_client {
            evicted = self.pop(at);
        } else if self.total >= self.bound {
            let share = self.bound.checked_div(self.lanes.len()).unwrap_or(0);
            let from = if own > 0 && own >= share { Some(at) } else { self.above(share) };
            evicted = self.pop(from.unwrap_or(at));
            if evicted.is_none() {
                return Some((client, value));
            }
        }
        if let Some(lane) = self.lanes.get_mut(at) {
            lane.items.push_back((now.saturating_add(self.lifetime), value));
            self.total = self.total.saturating_add(1);
        }
        evicted
    }

    /// Gives back the client's oldest item if its life is over.
    pub(super) fn pop_expired(&mut self, now: Duration, client: C) -> Option<V> {
        let at = *self.index.get(&client)?;
        let (until, _) = self.lanes.get(at)?.items.front()?;
        if *until <= now { self.pop(at).map(|(_, value)| value) } else { None }
    }

    /// Gives every item to `ended` whose life is over, and drops the lanes that are then empty.
    pub(super) fn sweep(&mut self, now: Duration, mut ended: impl FnMut(C, V)) {
        let mut at = 0;
        while let Some(lane) = self.lanes.get_mut(at) {
            while let Some((_, value)) = lane.items.pop_front_if(|(until, _)| *until <= now) {
                self.total = self.total.saturating_sub(1);
                ended(lane.client, value);
            }
            if lane.items.is_empty() {
                self.drop_lane(at);
            } else {
                at = at.saturating_add(1);
            }
        }
    }

    /// Forgets all that a client has in it.
    pub(super) fn remove_client(&mut self, client: C) -> impl Iterator<Item = V> + use<C, V> {
        let lane = self.index.get(&client).copied().and_then(|at| self.drop_lane(at));
        let items = lane.map(|lane| lane.items).unwrap_or_default();
        self.total = self.total.saturating_sub(items.len());
        items.into_iter().map(|(_, value)| value)
    }

    fn drop_lane(&mut self, at: usize) -> Option<Lane<C, V>> {
        if at >= self.lanes.len() {
            return None;
        }
        let lane = self.lanes.swap_remove(at);
        self.index.remove(&lane.client);
        if let Some(moved) = self.lanes.get(at) {
            self.index.insert(moved.client, at);
        }
        Some(lane)
    }

    fn pop(&mut self, at: usize) -> Option<(C, V)> {
        let lane = self.lanes.get_mut(at)?;
        let (_, value) = lane.items.pop_front()?;
        self.total = self.total.saturating_sub(1);
        Some((lane.client, value))
    }

    /// A lane with more than `share` items.
    fn above(&mut self, share: usize) -> Option<usize> {
        for _ in 0..self.lanes.len() {
            if self.lanes.get(self.cursor).is_some_and(|lane| lane.items.len() > share) {
                return Some(self.cursor);
            }
            self.cursor = self.cursor.saturating_add(1);
            if self.cursor >= self.lanes.len() {
                self.cursor = 0;
            }
        }
        None
    }

    /// All that is held, for checks.
    #[cfg(any(test, feature = "oracles"))]
    pub(super) fn iter(&self) -> impl Iterator<Item = (C, &V)> {
        self.lanes.iter().flat_map(|lane| lane.items.iter().map(|(_, value)| (lane.client, value)))
    }

    /// Asserts what the comments call invariants.
    #[cfg(any(test, feature = "oracles"))]
    pub(super) fn assert_invariants(&self) {
        assert_eq!(self.total, self.iter().count());
        assert!(self.total <= self.bound);
        assert_eq!(self.index.len(), self.lanes.len());
        for (at, lane) in self.lanes.iter().enumerate() {
            assert_eq!(self.index.get(&lane.client), Some(&at));
            assert!(lane.items.len() <= self.bound_per_client);
            assert!(lane.items.iter().zip(lane.items.iter().skip(1)).all(|((a, _), (b, _))| a <= b));
        }
    }
}
