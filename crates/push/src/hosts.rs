//! Which push services are spoken to, and under which addresses (S88).
//!
//! An endpoint comes from a device, so whoever activates one could make the server send requests anywhere. It may go to
//! hosts of a list and nowhere else, and these must have public addresses at the moment of the connection: the names are
//! resolved here, and what passes is what is connected to.

use std::{
    error::Error,
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use async_trait::async_trait;
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

/// The services of the browsers, as they are named in live subscriptions.
const OF_THE_BROWSERS: [&str; 5] = [
    // Chrome, Edge on Android, Samsung Internet, Opera, Brave, Vivaldi.
    "fcm.googleapis.com",
    // The same service for Chromium that was built without Google's branding, as Linux distributions do.
    "jmt17.google.com",
    // Firefox.
    "updates.push.services.mozilla.com",
    // Safari, and every browser on an iPhone.
    "*.push.apple.com",
    // Edge on Windows.
    "*.notify.windows.com",
];

/// The longest endpoint that is taken, in octets.
const LONGEST: usize = 2048;

/// Why an endpoint is not sent to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It is no URL, or none in printable ASCII, or too long.
    #[error("the endpoint is no URL of at most {LONGEST} printable characters")]
    Url,
    /// It is not HTTPS.
    #[error("the endpoint's scheme is {0}, not https")]
    Scheme(String),
    /// A user name or password stands before the host.
    #[error("the endpoint carries a user name")]
    UserInfo,
    /// It goes to another port than 443.
    #[error("the endpoint goes to port {0}, not 443")]
    Port(u16),
    /// It goes to an address instead of a name.
    #[error("the endpoint goes to the address {0}, and push services have names")]
    Address(IpAddr),
    /// Its host is in no list.
    #[error("{0} is no push service known here; one that is trusted is named in [push] hosts")]
    Host(String),
    /// Its name leads to addresses that are not public.
    #[error("{0} has no public address")]
    NotPublic(String),
}

/// Why an entry of `hosts` cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It is neither a name nor an address.
    #[error("neither a host name such as push.example.com or *.push.example.com, nor an address")]
    Form,
    /// A star with less than two labels behind it.
    #[error("too wide: at least two labels must follow the star")]
    Wide,
    /// An address without `allow_private`.
    #[error("an address, which needs allow_private = true")]
    Address,
    /// A port without `allow_private`.
    #[error("a port other than 443, which needs allow_private = true")]
    Port,
}

/// An endpoint that may be sent to.
#[derive(Clone)]
pub struct Endpoint {
    url: Url,
    origin: String,
    service: usize,
}

impl Endpoint {
    /// The URL, which is a secret between browser, server and push service.
    pub(crate) const fn url(&self) -> &Url {
        &self.url
    }

    /// Scheme, host and port where it is not the default: the `aud` of RFC 8292 section 2.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Which entry of the list it falls under.
    pub(crate) const fn service(&self) -> usize {
        self.service
    }

    /// Host and port, to be shown.
    pub(crate) fn host(&self) -> &str {
        self.origin.split_once("://").map_or("", |(_, host)| host)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({}/…)", self.origin)
    }
}

/// Which endpoints are taken, without anything to send with.
#[derive(Debug, Clone)]
pub struct Endpoints(Arc<Hosts>);

impl Endpoints {
    pub(crate) fn new(hosts: Hosts) -> Self {
        Self(Arc::new(hosts))
    }

    pub(crate) fn into_hosts(self) -> Arc<Hosts> {
        self.0
    }

    /// Whether an endpoint may be sent to, as far as its text says; where its name leads is known once it is sent to.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn check(&self, endpoint: &str) -> Result<Endpoint, EndpointError> {
        self.0.check(endpoint)
    }
}

/// The push services that are spoken to.
#[derive(Debug, Clone)]
pub(crate) struct Hosts(Vec<Rule>);

#[derive(Debug, Clone)]
struct Rule {
    host: Pattern,
    /// Where this rule is a private one: the port that is meant, or any.
    private: Option<Ports>,
}

#[derive(Debug, Clone, Copy)]
enum Ports {
    Any,
    One(u16),
}

#[derive(Debug, Clone)]
enum Pattern {
    Name(String),
    /// Names that end in this, which begins with a dot.
    Below(String),
    Address(IpAddr),
}

impl Hosts {
    /// The services of the browsers and those of `configured`; of the latter, with `allow_private`, also what is not
    /// public.
    pub(crate) fn new(configured: &[String], allow_private: bool) -> Result<Self, (String, RuleError)> {
        let configured = configured
            .iter()
            .map(|entry| Rule::configured(entry, allow_private).map_err(|fault| (entry.clone(), fault)));
        let of_the_browsers = OF_THE_BROWSERS.iter().map(|host| {
            let host = match host.strip_prefix('*') {
                Some(below) => Pattern::Below(below.to_owned()),
                None => Pattern::Name((*host).to_owned()),
            };
            Ok(Rule { host, private: None })
        });
        configured.chain(of_the_browsers).collect::<Result<_, _>>().map(Self)
    }

    /// How many entries there are.
    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether this endpoint may be sent to, as far as its text says.
    pub(crate) fn check(&self, endpoint: &str) -> Result<Endpoint, EndpointError> {
        if endpoint.len() > LONGEST || !endpoint.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(EndpointError::Url);
        }
        // The parser of the WHATWG, which also makes the request: 2130706433 and 0x7f.1 come out as addresses, letters
        // that look like others as punycode.
        let url = Url::parse(endpoint).map_err(|_| EndpointError::Url)?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(EndpointError::Scheme(url.scheme().to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EndpointError::UserInfo);
        }
        let host = url.host_str().ok_or(EndpointError::Url)?;
        let port = url.port_or_known_default().ok_or(EndpointError::Url)?;
        let address = literal(host);
        let mut known = false;
        for (service, rule) in self.0.iter().enumerate() {
            if !rule.host.matches(host, address) {
                continue;
            }
            known = true;
            let open = match rule.private {
                Some(Ports::Any) => true,
                Some(Ports::One(meant)) => port == meant,
                None => url.scheme() == "https" && port == 443,
            };
            if open {
                let origin = url.origin().ascii_serialization();
                return Ok(Endpoint { url, origin, service });
            }
        }
        Err(match address {
            Some(address) if !known => EndpointError::Address(address),
            _ if !known => EndpointError::Host(host.to_owned()),
            _ if url.scheme() == "https" => EndpointError::Port(port),
            _ => EndpointError::Scheme("http".to_owned()),
        })
    }

    /// Whether a host may have addresses that are not public.
    pub(crate) fn may_be_private(&self, host: &str) -> bool {
        let address = literal(host);
        self.0.iter().any(|rule| rule.private.is_some() && rule.host.matches(host, address))
    }
}

impl Rule {
    fn configured(entry: &str, allow_private: bool) -> Result<Self, RuleError> {
        let (host, port) = split_port(entry)?;
        let host = Pattern::configured(host)?;
        if allow_private {
            return Ok(Self { host, private: Some(port.map_or(Ports::Any, Ports::One)) });
        }
        match (&host, port) {
            (Pattern::Address(_), _) => Err(RuleError::Address),
            (_, None | Some(443)) => Ok(Self { host, private: None }),
            (_, Some(_)) => Err(RuleError::Port),
        }
    }
}

impl Pattern {
    fn configured(host: &str) -> Result<Self, RuleError> {
        if let Some(address) = literal(host).or_else(|| host.parse().ok()) {
            return Ok(Self::Address(address));
        }
        let host = host.to_ascii_lowercase();
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        let (below, name) = match host.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, host.as_str()),
        };
        if name.len() > 253 || !name.split('.').all(label) {
            return Err(RuleError::Form);
        }
        // What a URL would take for an address would never match.
        if Url::parse(&format!("https://{name}/"))
            .ok()
            .and_then(|url| url.host_str().map(|h| h != name))
            .unwrap_or(true)
        {
            return Err(RuleError::Form);
        }
        if !below {
            return Ok(Self::Name(host));
        }
        if !name.contains('.') {
            return Err(RuleError::Wide);
        }
        Ok(Self::Below(format!(".{name}")))
    }

    /// `host` as a parsed URL has it, `address` what it is where it is an address.
    fn matches(&self, host: &str, address: Option<IpAddr>) -> bool {
        match (self, address) {
            (Self::Address(meant), Some(address)) => *meant == address,
            (Self::Name(name), None) => host == name,
            (Self::Below(suffix), None) => host.strip_suffix(suffix.as_str()).is_some_and(|before| !before.is_empty()),
            _ => false,
        }
    }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`, or a bare v6 address.
fn split_port(entry: &str) -> Result<(&str, Option<u16>), RuleError> {
    if entry.parse::<Ipv6Addr>().is_ok() {
        return Ok((entry, None));
    }
    let after_bracket = entry.rfind(']').and_then(|at| entry.get(at..)).unwrap_or(entry);
    let Some((_, port)) = after_bracket.rsplit_once(':') else { return Ok((entry, None)) };
    let host = entry.strip_suffix(port).and_then(|host| host.strip_suffix(':')).ok_or(RuleError::Form)?;
    let port = port.parse::<u16>().ok().filter(|port| *port != 0).ok_or(RuleError::Form)?;
    Ok((host, Some(port)))
}

/// The address that a URL's host is.
fn literal(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

/// Whether an address belongs to the public internet (the special-purpose registries of RFC 6890).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(v4: Ipv4Addr) -> bool {
    let [a, b, c, _] = v4.octets();
    let special = match (a, b, c) {
        // "This network", loopback, multicast and what is above it.
        (0 | 10 | 127 | 224.., _, _)
        // Shared address space (RFC 6598); benchmarks (RFC 2544).
        | (100, 64..=127, _)
        | (198, 18 | 19, _)
        // Link-local, with the metadata services of the clouds; private.
        | (169, 254, _)
        | (172, 16..=31, _)
        | (192, 168, _)
        // Protocol assignments, documentation, the old 6to4 relays.
        | (192, 0, 0 | 2)
        | (192, 88, 99)
        | (198, 51, 100)
        | (203, 0, 113) => true,
        _ => false,
    };
    !special
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    let segments = v6.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // ::ffff:0:0/96, what a NAT64 makes of IPv4 (RFC 6052), and 6to4 (RFC 3056): as public as the address inside.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            embedded(high, low)
        }
        // Protocol assignments with Teredo and ORCHID (RFC 2928); documentation (RFC 3849, RFC 9637).
        [0x2001, 0..0x0200 | 0x0db8, ..] | [0x3fff, 0..0x1000, ..] => false,
        // What is assigned of global unicast (RFC 4291 section 2.4); everything else is special or nothing yet.
        [first, ..] => (0x2000..0x4000).contains(&first),
    }
}

/// Where addresses come from.
#[async_trait]
pub trait Lookup: Send + Sync + 'static {
    /// The addresses of a name.
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// Asks the system.
#[derive(Debug, Clone, Copy)]
pub struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|found| found.ip()).collect())
    }
}

/// Resolves names for the connection that is about to be made, and lets nothing through that is not public.
pub(crate) struct PublicOnly {
    pub(crate) hosts: Arc<Hosts>,
    /// The proxy's name: it was configured, and may be anywhere.
    pub(crate) proxy: Option<String>,
    pub(crate) lookup: Arc<dyn Lookup>,
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let anywhere = self.proxy.as_deref() == Some(&host) || self.hosts.may_be_private(&host);
        let lookup = Arc::clone(&self.lookup);
        Box::pin(async move {
            let mut found = lookup.lookup(&host).await?;
            if !anywhere {
                found.retain(|address| is_public(*address));
            }
            if found.is_empty() {
                return Err(Box::<dyn Error + Send + Sync>::from(EndpointError::NotPublic(host)));
            }
            let addresses: Addrs = Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn defaults() -> Hosts {
        Hosts::new(&[], false).unwrap()
    }

    fn hosts(entries: &[&str], allow_private: bool) -> Result<Hosts, (String, RuleError)> {
        let entries: Vec<String> = entries.iter().map(|entry| (*entry).to_owned()).collect();
        Hosts::new(&entries, allow_private)
    }

    #[test]
    fn s88_the_services_of_the_browsers_are_known() {
        for (endpoint, origin) in [
            ("https://fcm.googleapis.com/fcm/send/abc:def", "https://fcm.googleapis.com"),
            ("https://FCM.googleapis.com:443/fcm/send/abc", "https://fcm.googleapis.com"),
            ("https://jmt17.google.com/fcm/send/abc", "https://jmt17.google.com"),
            ("https://updates.push.services.mozilla.com/wpush/v2/abc", "https://updates.push.services.mozilla.com"),
            ("https://web.push.apple.com/abc", "https://web.push.apple.com"),
            ("https://wns2-par02p.notify.windows.com/w/?token=abc", "https://wns2-par02p.notify.windows.com"),
        ] {
            assert_eq!(defaults().check(endpoint).unwrap().origin(), origin, "{endpoint}");
        }
    }

    #[test]
    fn s88_no_other_host_however_it_is_written() {
        for endpoint in [
            "https://fcm.googleapis.com.evil.example/x",
            "https://evil-fcm.googleapis.com/x",
            "https://xfcm.googleapis.com/x",
            "https://a.fcm.googleapis.com/x",
            "https://evilpush.apple.com/x",
            "https://push.apple.com/x",
            "https://.push.apple.com/x",
            "https://notify.windows.com.evil.example/x",
            "https://googleapis.com/x",
            "https://fcm.googleapis.com./x",
            "https://evil.example/fcm.googleapis.com",
            "https://evil.example/?https://fcm.googleapis.com",
            "https://evil.example#.push.apple.com",
            "https://evil.example\\.push.apple.com",
            "https://localhost/x",
            "https://metadata.google.internal/x",
            "https://xn--fcm-googleapis-com.example/x",
            // Cyrillic letters, as a browser writes them.
            "https://fcm.xn--ggleapis-p8gb.com/x",
            "https://web.push.xn--pple-43d.com/x",
        ] {
            let refused = defaults().check(endpoint);
            assert!(matches!(refused, Err(EndpointError::Host(_) | EndpointError::Url)), "{endpoint}: {refused:?}");
        }
        assert_eq!(defaults().check("https://fcm.g\u{43e}ogleapis.com/x").unwrap_err(), EndpointError::Url);
    }

    #[test]
    fn s88_https_on_443_without_a_user() {
        let refused = |endpoint: &str| defaults().check(endpoint).unwrap_err();
        assert_eq!(refused("http://fcm.googleapis.com/x"), EndpointError::Scheme("http".to_owned()));
        assert_eq!(refused("http://fcm.googleapis.com:443/x"), EndpointError::Scheme("http".to_owned()));
        assert_eq!(refused("ftp://fcm.googleapis.com/x"), EndpointError::Scheme("ftp".to_owned()));
        assert_eq!(refused("file:///etc/passwd"), EndpointError::Scheme("file".to_owned()));
        assert_eq!(refused("https://fcm.googleapis.com:8443/x"), EndpointError::Port(8443));
        assert_eq!(refused("https://fcm.googleapis.com@evil.example/x"), EndpointError::UserInfo);
        assert_eq!(refused("https://a@fcm.googleapis.com/x"), EndpointError::UserInfo);
        assert_eq!(refused("https://:b@fcm.googleapis.com/x"), EndpointError::UserInfo);
        for nonsense in
            ["", "fcm.googleapis.com/x", "https://", "https:// fcm.googleapis.com/x", "https://fcm.googleapis.com/x\n"]
        {
            assert_eq!(refused(nonsense), EndpointError::Url, "{nonsense:?}");
        }
        assert_eq!(refused(&format!("https://fcm.googleapis.com/{}", "x".repeat(2048))), EndpointError::Url);
    }

    #[test]
    fn s88_addresses_in_any_notation_are_refused() {
        for endpoint in [
            "https://127.0.0.1/x",
            "https://127.0.0.1:8443/x",
            "https://2130706433/x",
            "https://0x7f.1/x",
            "https://0177.0.0.1/x",
            "https://127.1/x",
            "https://[::1]/x",
            "https://[::ffff:127.0.0.1]/x",
            "https://169.254.169.254/latest/meta-data/",
            "https://[fd00:ec2::254]/x",
            "https://100.64.0.1/x",
            "https://0.0.0.0/x",
            "https://[::]/x",
            "https://142.250.185.74/x",
        ] {
            let refused = defaults().check(endpoint);
            assert!(matches!(refused, Err(EndpointError::Address(_))), "{endpoint}: {refused:?}");
        }
    }

    #[test]
    fn s88_what_is_not_public_is_known() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "5f00::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "142.250.185.74",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.0.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2a00:1450:4001:80b::200a",
            "2620:149:a44::1",
            "2001:4860:4860::8888",
            "64:ff9b::8e00:1",
            "::ffff:1.1.1.1",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn s88_configured_hosts_are_public_ones_unless_said_otherwise() {
        let list = hosts(&["push.corp.de", "*.push.corp.de:443"], false).unwrap();
        assert!(list.check("https://push.corp.de/x").is_ok());
        assert!(list.check("https://a.push.corp.de/x").is_ok());
        assert!(list.check("https://fcm.googleapis.com/x").is_ok());
        assert_eq!(list.check("https://push.corp.de:8443/x").unwrap_err(), EndpointError::Port(8443));
        assert_eq!(list.check("http://push.corp.de/x").unwrap_err(), EndpointError::Scheme("http".to_owned()));
        assert!(!list.may_be_private("push.corp.de"));
    }

    #[test]
    fn s88_allow_private_is_about_the_configured_hosts_only() {
        let list = hosts(&["push.corp.lan", "10.0.0.7:8443", "[::1]:9000", "localhost"], true).unwrap();
        for endpoint in [
            "http://push.corp.lan:8080/x",
            "https://push.corp.lan/x",
            "https://10.0.0.7:8443/x",
            "http://[::1]:9000/x",
            "http://localhost:1/x",
        ] {
            assert!(list.check(endpoint).is_ok(), "{endpoint}");
        }
        assert_eq!(list.check("https://10.0.0.7/x").unwrap_err(), EndpointError::Port(443));
        assert_eq!(list.check("http://[::1]:9001/x").unwrap_err(), EndpointError::Scheme("http".to_owned()));
        assert!(matches!(list.check("https://10.0.0.8:8443/x").unwrap_err(), EndpointError::Address(_)));
        assert_eq!(list.check("http://fcm.googleapis.com/x").unwrap_err(), EndpointError::Scheme("http".to_owned()));
        assert!(list.may_be_private("push.corp.lan") && !list.may_be_private("fcm.googleapis.com"));
    }

    #[test]
    fn entries_that_match_nothing_or_too_much_are_refused() {
        for (entry, fault) in [
            ("", RuleError::Form),
            ("https://push.corp.de", RuleError::Form),
            ("push.corp.de/x", RuleError::Form),
            ("push.corp.de:", RuleError::Form),
            ("push.corp.de:0", RuleError::Form),
            ("push.corp.de:66000", RuleError::Form),
            ("pu*sh.corp.de", RuleError::Form),
            ("a@push.corp.de", RuleError::Form),
            ("püsh.corp.de", RuleError::Form),
            ("push.corp.de.", RuleError::Form),
            ("127.1", RuleError::Form),
            ("*", RuleError::Form),
            ("*.", RuleError::Form),
            ("*.de", RuleError::Wide),
            ("10.0.0.7", RuleError::Address),
            ("fd00::7", RuleError::Address),
            ("push.corp.de:8443", RuleError::Port),
        ] {
            assert_eq!(hosts(&[entry], false).unwrap_err(), (entry.to_owned(), fault));
        }
        assert!(hosts(&["fd00::7", "Push.Corp.DE"], true).is_ok());
    }

    /// Answers in turn.
    struct Scripted(std::sync::Mutex<Vec<Vec<IpAddr>>>);

    #[async_trait]
    impl Lookup for Scripted {
        async fn lookup(&self, _host: &str) -> io::Result<Vec<IpAddr>> {
            Ok(self.0.lock().unwrap().remove(0))
        }
    }

    /// What a connection to `host` may be made to, for each answer of the resolver in turn.
    async fn connected(hosts: Hosts, proxy: Option<&str>, host: &str, answers: &[&[&str]]) -> Vec<Vec<String>> {
        let parse = |addresses: &&[&str]| addresses.iter().map(|address| address.parse().unwrap()).collect();
        let lookup = Arc::new(Scripted(std::sync::Mutex::new(answers.iter().map(parse).collect())));
        let resolver = PublicOnly { hosts: Arc::new(hosts), proxy: proxy.map(str::to_owned), lookup };
        let mut out = Vec::new();
        for _ in answers {
            out.push(match resolver.resolve(host.parse().unwrap()).await {
                Ok(addresses) => addresses.map(|address| address.ip().to_string()).collect(),
                Err(fault) => vec![fault.downcast::<EndpointError>().unwrap().to_string()],
            });
        }
        out
    }

    #[tokio::test]
    async fn s88_each_connection_looks_where_the_name_leads_now() {
        let refused = "fcm.googleapis.com has no public address";
        let answers: &[&[&str]] = &[
            &["142.250.185.74", "2a00:1450:4001:80b::200a"],
            &["127.0.0.1"],
            &["10.0.0.1", "142.250.185.74", "::1"],
            &["169.254.169.254", "::ffff:127.0.0.1"],
            &[],
        ];
        let found = connected(defaults(), None, "fcm.googleapis.com", answers).await;
        assert_eq!(
            found,
            [
                vec!["142.250.185.74", "2a00:1450:4001:80b::200a"],
                vec![refused],
                vec!["142.250.185.74"],
                vec![refused],
                vec![refused]
            ]
        );
    }

    #[tokio::test]
    async fn s88_configured_private_hosts_and_the_proxy_may_be_anywhere() {
        let list = || hosts(&["push.corp.lan"], true).unwrap();
        for (host, proxy, allowed) in [
            ("push.corp.lan", None, true),
            ("proxy.corp.lan", Some("proxy.corp.lan"), true),
            ("proxy.corp.lan", None, false),
            ("fcm.googleapis.com", Some("proxy.corp.lan"), false),
        ] {
            let found = connected(list(), proxy, host, &[&["10.0.0.9"]]).await;
            assert_eq!(found == [["10.0.0.9"]], allowed, "{host} {proxy:?}: {found:?}");
        }
    }

    proptest! {
        #[test]
        fn s88_whatever_passes_goes_to_a_known_host(text in "https?://[a-z0-9@:.\\[\\]%/\\\\#?*-]{0,20}(fcm\\.googleapis\\.com|\\.push\\.apple\\.com)?[a-z0-9@:.%/\\\\#?-]{0,20}") {
            if let Ok(endpoint) = defaults().check(&text) {
                let host = endpoint.url().host_str().unwrap();
                let known = ["fcm.googleapis.com", "jmt17.google.com", "updates.push.services.mozilla.com"].contains(&host)
                    || host.ends_with(".push.apple.com") || host.ends_with(".notify.windows.com");
                prop_assert!(known, "{}", text);
                prop_assert_eq!(endpoint.url().scheme(), "https");
                prop_assert_eq!(endpoint.url().port_or_known_default(), Some(443));
            }
        }
    }
}
