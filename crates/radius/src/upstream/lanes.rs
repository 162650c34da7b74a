//! Source ports and identifiers of one server (RFC 2865 section 5: 256 requests at a time and port).

use crate::Identifier;

/// Most source ports in use towards one server.
const LANES: usize = 64;
const IDENTIFIERS: usize = 256;

/// A source port, by a number that is not used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourcePort(pub u64);

/// What stands behind an identifier: whose request it is, and which of its attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    Request { serial: u64, attempt: usize },
    Probe,
}

/// An identifier on a source port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) port: SourcePort,
    pub(super) identifier: Identifier,
}

#[derive(Debug)]
struct Lane {
    port: SourcePort,
    /// INVARIANT: 256 of them.
    holders: Vec<Option<Holder>>,
    /// INVARIANT: how many of them are taken.
    taken: usize,
    /// Where the search for a free one begins, so that one that was given back is used again as late as possible.
    next: u8,
    /// Takes no new requests: it is closed when the last one is given back.
    retired: bool,
}

/// All source ports towards one server.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    made: u64,
}

impl Lanes {
    /// Takes a free identifier; `None` where all are taken.
    pub(super) fn take(&mut self, holder: Holder) -> Option<Slot> {
        let free = |lane: &Lane| !lane.retired && lane.taken < IDENTIFIERS;
        let at = match self.lanes.iter().position(free) {
            Some(at) => at,
            None if self.lanes.len() < LANES => {
                let port = SourcePort(self.made);
                self.made = self.made.saturating_add(1);
                self.lanes.push(Lane { port, holders: vec![None; IDENTIFIERS], taken: 0, next: 0, retired: false });
                self.lanes.len().saturating_sub(1)
            }
            None => return None,
        };
        let lane = self.lanes.get_mut(at)?;
        for step in 0..=u8::MAX {
            let identifier = lane.next.wrapping_add(step);
            if let Some(place @ None) = lane.holders.get_mut(usize::from(identifier)) {
                *place = Some(holder);
                lane.taken = lane.taken.saturating_add(1);
                lane.next = identifier.wrapping_add(1);
                return Some(Slot { port: lane.port, identifier: Identifier(identifier) });
            }
        }
        None
    }

    /// Who waits for a reply with this identifier at this port.
    pub(super) fn holder(&self, slot: Slot) -> Option<Holder> {
        let lane = self.lanes.iter().find(|lane| lane.port == slot.port)?;
        lane.holders.get(usize::from(slot.identifier.0)).copied().flatten()
    }

    /// Gives an identifier back; the port, where that closes it.
    #[must_use]
    pub(super) fn give_back(&mut self, slot: Slot) -> Option<SourcePort> {
        let at = self.lanes.iter().position(|lane| lane.port == slot.port)?;
        let lane = self.lanes.get_mut(at)?;
        if let Some(place) = lane.holders.get_mut(usize::from(slot.identifier.0))
            && place.take().is_some()
        {
            lane.taken = lane.taken.saturating_sub(1);
        }
        (lane.retired && lane.taken == 0).then(|| self.lanes.swap_remove(at).port)
    }

    /// From now on other ports are used: the network may look different now from what it was when these were opened. The
    /// ports that nobody waits at, which are closed.
    #[must_use]
    pub(super) fn retire(&mut self) -> Vec<SourcePort> {
        let mut closed = Vec::new();
        self.lanes.retain_mut(|lane| {
            lane.retired = true;
            if lane.taken == 0 {
                closed.push(lane.port);
            }
            lane.taken > 0
        });
        closed
    }

    /// Nothing more is sent from this port.
    pub(super) fn retire_one(&mut self, port: SourcePort) {
        self.lanes.retain_mut(|lane| {
            lane.retired = lane.retired || lane.port == port;
            lane.port != port || lane.taken > 0
        });
    }

    /// Everybody who waits at a port.
    pub(super) fn holders(&self, port: SourcePort) -> impl Iterator<Item = Holder> + '_ {
        let lane = self.lanes.iter().filter(move |lane| lane.port == port);
        lane.flat_map(|lane| lane.holders.iter().copied().flatten())
    }

    /// How many identifiers are taken.
    pub(super) fn taken(&self) -> usize {
        self.lanes.iter().map(|lane| lane.taken).sum()
    }

    /// Asserts what the comments call invariants, for tests.
    #[cfg(any(test, feature = "oracles"))]
    pub(super) fn assert_invariants(&self) {
        assert!(self.lanes.len() <= LANES);
        for lane in &self.lanes {
            assert_eq!(lane.holders.len(), IDENTIFIERS);
            assert_eq!(lane.taken, lane.holders.iter().flatten().count());
            assert!(!lane.retired || lane.taken > 0);
            assert!(lane.port.0 < self.made);
        }
    }
}
