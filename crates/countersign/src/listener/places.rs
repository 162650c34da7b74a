//! How many connections there may be: of all, and of each source.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

use ipnet::IpNet;

/// Connections at a time where the system allows as many; more wait in the system's queue.
pub(super) const CONNECTIONS: usize = 8192;
/// File descriptors that are left for everything else: database, RADIUS, command line, pushes.
const RESERVED: u64 = 128;
/// One source may have such a part of the connections: an office behind one address is many phones.
const PART: usize = 8;
/// This machine's own addresses: from there comes a reverse proxy, or somebody who could do worse.
const OWN: [IpNet; 2] =
    [IpNet::new_assert(IpAddr::V4(Ipv4Addr::LOCALHOST), 8), IpNet::new_assert(IpAddr::V6(Ipv6Addr::LOCALHOST), 128)];

/// How many connections there may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bounds {
    /// All together.
    pub(super) all: usize,
    /// Of one address, or of one IPv6 network of 64 bits.
    pub(super) of_one_source: usize,
    /// Who brings the connections of many, and is bounded with all only.
    pub(super) proxies: Vec<IpNet>,
}

impl Bounds {
    /// What fits under a limit of file descriptors.
    pub(super) fn within(file_limit: Option<u64>, trusted_proxies: &[IpNet]) -> Self {
        let left = file_limit.map(|limit| limit.saturating_sub(RESERVED).max(limit / 4));
        let left = left.and_then(|left| usize::try_from(left).ok()).unwrap_or(usize::MAX);
        let all = CONNECTIONS.min(left).max(1);
        Self { all, of_one_source: all.div_ceil(PART), proxies: [trusted_proxies, &OWN].concat() }
    }
}

type Counts = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// Who has how many connections.
pub(super) struct Sources {
    most: usize,
    proxies: Vec<IpNet>,
    open: Counts,
}

impl Sources {
    pub(super) fn new(bounds: &Bounds) -> Self {
        Self { most: bounds.of_one_source, proxies: bounds.proxies.clone(), open: Arc::default() }
    }

    /// A seat for a connection from `address`; `None` when it has as many as it may.
    pub(super) fn admit(&self, address: IpAddr) -> Option<Seat> {
        let address = address.to_canonical();
        if self.proxies.iter().any(|network| network.contains(&address)) {
            return Some(Seat { of: None });
        }
        // Addresses that one party can take at will count as one.
        let source = match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(source).or_default();
        // Whoever is refused has some already, so no entry is left that nobody takes away.
        if *count >= self.most {
            return None;
        }
        *count = count.saturating_add(1);
        Some(Seat { of: Some((Arc::clone(&self.open), source)) })
    }
}

/// A connection that counts until this is dropped.
pub(super) struct Seat {
    of: Option<(Counts, IpAddr)>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some((open, source)) = &self.of else { return };
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_stay_below_what_the_system_allows() {
        let bounds = |limit| {
            let bounds = Bounds::within(limit, &[]);
            (bounds.all, bounds.of_one_source)
        };
        assert_eq!(bounds(None), (8192, 1024));
        assert_eq!(bounds(Some(1 << 20)), (8192, 1024));
        assert_eq!(bounds(Some(1024)), (896, 112));
        assert_eq!(bounds(Some(256)), (128, 16));
        assert_eq!(bounds(Some(64)), (16, 2));
        assert_eq!(bounds(Some(0)), (1, 1));
    }

    #[test]
    fn a_source_has_its_part_and_a_proxy_is_no_source() {
        let trusted = ["192.0.2.10/32".parse().unwrap()];
        let sources = Sources::new(&Bounds { of_one_source: 2, ..Bounds::within(None, &trusted) });
        let admit = |address: &str| sources.admit(address.parse().unwrap());
        let first = admit("198.51.100.1").unwrap();
        let second = admit("::ffff:198.51.100.1").unwrap();
        assert!(admit("198.51.100.1").is_none());
        assert!(admit("198.51.100.2").is_some());
        drop(first);
        let third = admit("198.51.100.1");
        assert!(third.is_some() && admit("198.51.100.1").is_none());
        // An IPv6 network of 64 bits is one source.
        let six = [admit("2001:db8::1"), admit("2001:db8::ffff:1")];
        assert!(six.iter().all(Option::is_some) && admit("2001:db8::2").is_none());
        assert!(admit("2001:db8:0:1::1").is_some());
        for proxy in ["127.0.0.1", "127.1.2.3", "::1", "192.0.2.10", "::ffff:127.0.0.1"] {
            let many: Vec<_> = (0..10).map(|_| admit(proxy)).collect();
            assert!(many.iter().all(Option::is_some), "{proxy}");
        }
        drop((second, third, six));
        assert!(sources.open.lock().unwrap().is_empty(), "nothing is remembered of those who have gone");
    }
}
