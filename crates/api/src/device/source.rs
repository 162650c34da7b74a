//! Where a request comes from, and how often activations may be tried from there.

use core::time::Duration;
use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
};

use axum::{
    extract::ConnectInfo,
    http::{HeaderMap, request::Parts},
};
use countersign_domain::{HostileText, Timestamp};
use ipnet::IpNet;
use lru::LruCache;

/// Tries of one source in a minute that do not succeed (`security.md`, S31).
const TRIES: usize = 10;
const MINUTE: Duration = Duration::from_secs(60);
/// Sources that are remembered.
const SOURCES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(99_999);

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) address: IpAddr,
    /// Whether a proxy said so and we did not see it ourselves.
    pub(super) reported: bool,
}

impl Source {
    /// The peer; behind trusted proxies, the first address of X-Forwarded-For from the right that is none of them
    /// (RFC 7239 section 8.1: what stands further left may be invented).
    pub(super) fn of(parts: &Parts, trusted: &[IpNet]) -> Self {
        let peer = parts
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip().to_canonical());
        behind(peer, &parts.headers, trusted)
    }

    /// As the record has it.
    pub(super) fn text(self) -> HostileText {
        HostileText::from(self.address.to_string().as_str())
    }

    /// How far it is known.
    pub(super) const fn trust(self) -> &'static str {
        if self.reported { "reported" } else { "verified" }
    }

    /// Addresses that one party can take at will count as one: an IPv6 network of 64 bits.
    fn bucket(self) -> IpAddr {
        match self.address {
            IpAddr::V4(_) => self.address,
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        }
    }
}

fn behind(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Source {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut source = Source { address: peer, reported: false };
    let hops: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .flat_map(|value| value.to_str().unwrap_or("?").split(','))
        .map(str::trim)
        .collect();
    for hop in hops.iter().rev() {
        if !is_trusted(&source.address) {
            break;
        }
        // What is no address ends the walk at the proxy that passed it on.
        let Some(address) = address_of(hop) else { break };
        source = Source { address, reported: true };
    }
    source
}

/// An address, with or without a port.
fn address_of(hop: &str) -> Option<IpAddr> {
    let address = hop.parse::<IpAddr>().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    let bracketed = || hop.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    address.or_else(bracketed).map(|address| address.to_canonical())
}

/// Counts tries by source.
pub(super) struct Attempts(Mutex<LruCache<IpAddr, VecDeque<Timestamp>>>);

impl Attempts {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(SOURCES)))
    }

    /// Takes a try.
    ///
    /// # Errors
    /// When there is none left: the time until there is.
    pub(super) fn take(&self, source: Source, now: Timestamp) -> Result<(), Duration> {
        let mut attempts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tries = attempts.get_or_insert_mut(source.bucket(), VecDeque::new);
        tries.retain(|at| now.since(*at) < MINUTE && *at <= now);
        if tries.len() >= TRIES {
            let oldest = tries.front().copied().unwrap_or(now);
            return Err(MINUTE.saturating_sub(now.since(oldest)));
        }
        tries.push_back(now);
        Ok(())
    }

    /// Gives back a try that succeeded: many phones behind one address can be activated in a minute.
    pub(super) fn give_back(&self, source: Source) {
        let mut attempts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tries) = attempts.get_mut(&source.bucket()) {
            tries.pop_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        behind(peer.parse().unwrap(), &headers, &trusted).address.to_string()
    }

    #[test]
    fn c043_x_forwarded_for_is_read_from_the_right_and_only_from_trusted_proxies() {
        let proxies = ["10.0.0.0/8"];
        assert_eq!(source("198.51.100.1", &["203.0.113.9"], &proxies), "198.51.100.1");
        assert_eq!(source("10.0.0.1", &["203.0.113.9, 198.51.100.7"], &proxies), "198.51.100.7");
        assert_eq!(source("10.0.0.1", &["203.0.113.9, 198.51.100.7, 10.0.0.2"], &proxies), "198.51.100.7");
        assert_eq!(source("10.0.0.1", &["203.0.113.9", "198.51.100.7"], &proxies), "198.51.100.7");
        assert_eq!(source("10.0.0.1", &["10.0.0.9"], &proxies), "10.0.0.9");
        assert_eq!(source("10.0.0.1", &["evil, <script>"], &proxies), "10.0.0.1");
        assert_eq!(source("10.0.0.1", &["203.0.113.9, [2001:db8::1]:4711"], &proxies), "2001:db8::1");
        assert_eq!(source("10.0.0.1", &[], &proxies), "10.0.0.1");
        assert_eq!(source("10.0.0.1", &["203.0.113.9"], &[]), "10.0.0.1");
    }

    #[test]
    fn s31_a_source_has_ten_tries_a_minute_and_those_that_succeed_do_not_count() {
        let attempts = Attempts::new();
        let from = |text: &str| Source { address: text.parse().unwrap(), reported: false };
        let at = |second: i64| Timestamp::from_seconds(1_800_000_000 + second);
        for second in 0..10 {
            attempts.take(from("2001:db8::1"), at(second)).unwrap();
        }
        // The same network of 64 bits, another address.
        assert_eq!(attempts.take(from("2001:db8::ffff"), at(10)), Err(Duration::from_secs(50)));
        attempts.take(from("2001:db8:0:1::1"), at(10)).unwrap();
        attempts.take(from("192.0.2.1"), at(10)).unwrap();
        attempts.take(from("2001:db8::1"), at(60)).unwrap();
        assert!(attempts.take(from("2001:db8::1"), at(60)).is_err());
        for _ in 0..100 {
            attempts.take(from("192.0.2.2"), at(0)).unwrap();
            attempts.give_back(from("192.0.2.2"));
        }
    }
}
