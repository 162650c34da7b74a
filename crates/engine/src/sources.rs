//! Wrong codes by where they come from, as far as clients report it: whoever tries one code with many users is slowed where
//! the counters of no user would do it. In memory only, and never for a client as a whole: its other users would pay.

use core::time::Duration;
use std::num::NonZeroUsize;

use countersign_domain::{ClientId, LoginRequest, SOURCE_POLICY, Throttle, Timestamp};
use lru::LruCache;

/// Sources that are remembered; of more, those that have been quiet for longest are forgotten.
const MOST: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// A place, as one client reports it: another client may report anything.
type Place = (ClientId, Vec<u8>);

pub(crate) struct Sources(LruCache<Place, Throttle>);

impl Default for Sources {
    fn default() -> Self {
        Self(LruCache::new(MOST))
    }
}

impl Sources {
    /// Whether codes from where this request comes from are not looked at.
    pub(crate) fn are_paused(&self, request: &LoginRequest, now: Duration) -> bool {
        place(request).and_then(|place| self.0.peek(&place)).is_some_and(|found| !found.allows(&SOURCE_POLICY, at(now)))
    }

    /// A wrong code came; whether that pauses its place.
    pub(crate) fn count(&mut self, request: &LoginRequest, now: Duration) -> bool {
        let Some(place) = place(request) else { return false };
        self.0.get_or_insert_mut(place, Throttle::default).failed(&SOURCE_POLICY, at(now))
    }
}

fn place(request: &LoginRequest) -> Option<Place> {
    Some((request.client, request.source.address.as_ref()?.as_octets().to_vec()))
}

/// Counters go by one clock; here by the one that nobody turns back.
fn at(now: Duration) -> Timestamp {
    Timestamp::from_micros(0).plus(now)
}
