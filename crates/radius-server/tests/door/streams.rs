//! RADIUS over TLS.

use core::time::Duration;
use std::{net::SocketAddr, sync::Arc};

use countersign_domain::{Decision, RadiusClient, Resource, TlsIdentity, TlsPeer, Write, radsec_secret};
use countersign_radius::{AttributeType, Code, Framer, Identifier, Limits};
use countersign_radius_server::{AccountingGiver, StreamBounds, TlsConfig};
use countersign_radius_tls::{ClientStream, Credentials, Fault, connect};
use countersign_testkit::{
    Ask, Nas, NewResource, Packet, Site,
    pki::{MadeFor, Pair, TestCa},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    time::timeout,
};

use crate::house::{House, SECRET, SILENCE, SOON};

const SERVER: &str = "radius.example.org";
const VPN: &str = "vpn.example.org";

fn credentials(pair: &Pair, ca: &TestCa) -> Arc<Credentials> {
    let ca = ca.cert();
    Arc::new(Credentials::from_pem(pair.cert.as_bytes(), pair.key.as_bytes(), Some(ca.as_bytes())).unwrap())
}

/// A server with a client that is known by [`VPN`], of a resource that checks nothing first.
pub(crate) struct Secure {
    pub(crate) house: House,
    ca: TestCa,
    shown: watch::Sender<Arc<Credentials>>,
    pub(crate) client: (Resource, RadiusClient),
}

impl Secure {
    async fn new(seed: u64) -> Self {
        Self::with(seed, Limits::default(), StreamBounds::default()).await
    }

    async fn with(seed: u64, limits: Limits, bounds: StreamBounds) -> Self {
        Self::with_accounting(seed, limits, bounds, None).await
    }

    pub(crate) async fn with_accounting(
        seed: u64,
        limits: Limits,
        bounds: StreamBounds,
        accounting: Option<AccountingGiver>,
    ) -> Self {
        let ca = TestCa::new("house");
        let (shown, credentials) = watch::channel(credentials(&ca.issue(&[SERVER], MadeFor::Servers), &ca));
        let tls = TlsConfig { listen: vec!["127.0.0.1:0".parse().unwrap()], credentials, bounds };
        let house = House::with_tls(Site::open(seed).await, "127.0.0.1:0", limits, Some(tls), accounting);
        let (resource, mut client) = house.site.rows(NewResource::default());
        client.networks.clear();
        client.secret = radsec_secret();
        client.tls = Some(TlsPeer { identity: TlsIdentity::name(VPN).unwrap(), networks: Vec::new() });
        let (added, of) = (Box::new(resource.clone()), Box::new(client.clone()));
        house.site.write(Write::AddResource { resource: added, client: of }).await;
        house.settled(|house| !house.figures.clients().is_empty()).await;
        Self { house, ca, shown, client: (resource, client) }
    }

    fn address(&self) -> SocketAddr {
        self.house.tls_address.unwrap()
    }

    /// A connection with a certificate of these names.
    async fn call(&self, names: &[&str]) -> Result<Caller, Fault> {
        self.shake(TcpStream::connect(self.address()).await.unwrap(), names).await
    }

    async fn shake(&self, stream: TcpStream, names: &[&str]) -> Result<Caller, Fault> {
        let own = credentials(&self.ca.issue(names, MadeFor::Clients), &self.ca);
        let stream = connect(stream, &TlsIdentity::name(SERVER).unwrap(), &own).await?;
        Ok(Caller { stream, framer: Framer::new(), packer: self.packer(1).await })
    }

    pub(crate) async fn vpn(&self) -> Caller {
        self.call(&[VPN]).await.unwrap()
    }

    async fn packer(&self, seed: u64) -> Nas {
        Nas::new(self.house.address, "radsec", seed).await
    }
}

/// A client on a connection.
pub(crate) struct Caller {
    pub(crate) stream: ClientStream,
    framer: Framer,
    /// Makes packets; its own socket stays unused.
    packer: Nas,
}

impl Caller {
    pub(crate) fn pack(&mut self, ask: &Ask) -> Packet {
        self.packer.pack(ask)
    }

    pub(crate) async fn send(&mut self, octets: &[u8]) {
        // The server may have closed it; then no answer comes either.
        let _ = self.stream.write_all(octets).await;
        let _ = self.stream.flush().await;
    }

    /// Code and identifier of what comes next; `None` where the connection ends.
    pub(crate) async fn next(&mut self) -> Option<(Code, u8, Vec<u8>)> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(packet) = self.framer.next_packet().unwrap() {
                return Some((Code::from(packet[0]), packet[1], packet.to_vec()));
            }
            match timeout(SOON, self.stream.read(&mut buffer)).await.expect("an answer or the end") {
                Ok(0) | Err(_) => return None,
                Ok(length) => self.framer.push(&buffer[..length]),
            }
        }
    }

    async fn ask(&mut self, ask: &Ask) -> Option<Code> {
        let packet = self.pack(ask);
        self.send(&packet.octets).await;
        self.next().await.map(|(code, ..)| code)
    }

    pub(crate) async fn is_served(&mut self) -> bool {
        self.ask(&Ask::status()).await == Some(Code::AccessAccept)
    }
}

#[tokio::test]
async fn s48_logins_go_both_ways_over_one_connection() {
    let secure = Secure::new(300).await;
    let house = &secure.house;
    let (mut alice, mut bob) = (house.user("alice", None).await, house.user("bob", None).await);
    let mut vpn = secure.vpn().await;
    assert!(vpn.is_served().await);
    // Two at once, in pieces and in one piece; without Message-Authenticator and with Proxy-State, as proxies of RFC 6614 may send.
    let bare = Ask::login("alice").without_message_authenticator().with(AttributeType::PROXY_STATE, "p");
    let (first, second) = (vpn.pack(&bare), vpn.pack(&Ask::login("bob")));
    let both = [first.octets.clone(), second.octets.clone()].concat();
    for piece in both.chunks(7) {
        vpn.send(piece).await;
    }
    house.decide(&mut bob, Decision::Verify).await;
    let (code, identifier, _) = vpn.next().await.unwrap();
    assert_eq!((code, identifier), (Code::AccessAccept, second.identifier.0));
    house.decide(&mut alice, Decision::Verify).await;
    let (code, identifier, reply) = vpn.next().await.unwrap();
    assert_eq!((code, identifier), (Code::AccessAccept, first.identifier.0));
    assert!(reply.windows(3).any(|part| part == [33, 3, b'p']));
    // The same octets again get the same answer.
    vpn.send(&first.octets).await;
    assert_eq!(vpn.next().await.unwrap().2, reply);
    assert_eq!(vpn.ask(&Ask::login("nobody")).await, Some(Code::AccessReject));
    assert_eq!((house.counts().tls_connections, house.counts().accepts), (1, 2));
    let ended = house.site.audit().await.into_iter().find(|record| record.event == "login.ended").unwrap();
    assert_eq!(ended.client, Some(secure.client.1.id.to_string()));
    secure.house.stop().await;
}

#[tokio::test]
async fn s48_a_stranger_of_the_same_ca_is_not_heard() {
    let secure = Secure::new(301).await;
    for names in [&["other.example.org"][..], &["*.example.org"]] {
        let mut stranger = secure.call(names).await.unwrap();
        assert!(!stranger.is_served().await);
    }
    secure.house.settled(|house| house.counts().tls_refused == 2).await;
    assert_eq!((secure.house.counts().tls_connections, secure.house.counts().status_server), (0, 0));
    secure.house.stop().await;
}

#[tokio::test]
async fn s48_a_tls_client_is_never_served_over_udp_and_a_udp_client_never_over_tls() {
    let secure = Secure::new(302).await;
    let mut udp = secure.packer(9).await;
    assert!(udp.ask(&Ask::status(), SILENCE).await.is_none() && udp.ask(&Ask::login("alice"), SILENCE).await.is_none());
    assert_eq!(secure.house.counts().unknown_source, 2);
    // From its address another may speak UDP, with a secret of its own, and never with that of TLS.
    secure.house.add(NewResource { name: "udp", ..NewResource::default() }).await;
    let mut other = Nas::new(secure.house.address, SECRET, 10).await;
    assert!(other.ask(&Ask::status(), SOON).await.is_some());
    assert!(udp.ask(&Ask::status(), SILENCE).await.is_none());
    assert_eq!(secure.house.counts().bad_authenticator, 1);
    let mut plain = TcpStream::connect(secure.address()).await.unwrap();
    plain.write_all(&other.pack(&Ask::status()).octets).await.unwrap();
    let mut rest = Vec::new();
    let _ = timeout(SOON, plain.read_to_end(&mut rest)).await.expect("it is closed");
    assert!(rest.first() != Some(&2), "no RADIUS comes back");
    secure.house.stop().await;
}

#[tokio::test]
async fn s48_what_is_no_packet_ends_the_connection_and_nothing_else() {
    let secure = Secure::new(303).await;
    let mut good = secure.vpn().await;
    let length = |length: u16| [&[1, 1][..], &length.to_be_bytes(), &[0; 4093]].concat();
    let broken_attribute = [&[1, 1, 0, 22][..], &[7; 16], &[1, 1]].concat();
    for garbage in [length(4097), length(19), length(0), b"GET / HTTP/1.1\r\n\r\n".to_vec(), broken_attribute] {
        let mut bad = secure.vpn().await;
        bad.send(&garbage).await;
        assert_eq!(bad.next().await, None, "{:?}", &garbage[..4]);
    }
    // A wrong Message-Authenticator: the shared secret is not "radsec" there (RFC 6613 section 2.6.4).
    let mut other = Nas::new(secure.house.address, "another secret", 5).await;
    let mut bad = secure.vpn().await;
    bad.send(&other.pack(&Ask::login("alice")).octets).await;
    assert_eq!(bad.next().await, None);
    // EAP needs one.
    let eap = Ask::login("alice").with(AttributeType::EAP_MESSAGE, [2, 1, 0, 4]).without_message_authenticator();
    let eap = good.pack(&eap);
    good.send(&eap.octets).await;
    // What is impossible in itself is dropped, and the connection stays.
    let impossible = Ask::login("alice").with(AttributeType::USER_PASSWORD, [7; 15]);
    let impossible = good.pack(&impossible);
    good.send(&impossible.octets).await;
    assert!(good.is_served().await);
    assert_eq!(secure.house.counts().requests, 0);
    secure.house.stop().await;
}

/// RFC 6614 section 3.4: so that whoever sends them stops.
#[tokio::test]
async fn requests_that_are_not_taken_are_said_to_be_that() {
    let secure = Secure::new(304).await;
    let mut vpn = secure.vpn().await;
    for (asks, answers) in [(4, 5), (40, 42), (43, 45)] {
        vpn.send(&[&[asks, 9, 0, 25][..], &[7; 16], &[33, 5, 1, 2, 3]].concat()).await;
        let (code, identifier, octets) = vpn.next().await.unwrap();
        assert_eq!(
            (code, identifier, &octets[20..]),
            (Code::from(answers), 9, &[101, 6, 0, 0, 1, 150, 33, 5, 1, 2, 3][..])
        );
    }
    // An answer that nobody asked for is nothing.
    vpn.send(&[&[2, 9, 0, 20][..], &[7; 16]].concat()).await;
    assert!(vpn.is_served().await);
    secure.house.stop().await;
}

#[tokio::test]
async fn s48_when_a_connection_breaks_its_logins_end_and_may_come_again() {
    let secure = Secure::new(305).await;
    let mut alice = secure.house.user("alice", None).await;
    let mut vpn = secure.vpn().await;
    let packet = vpn.pack(&Ask::login("alice"));
    vpn.send(&packet.octets).await;
    let challenge = alice.asked(&secure.house.site.desk, SOON).await.unwrap();
    drop(vpn);
    assert_eq!(secure.house.ends(1).await, ["unanswered superseded"]);
    alice.decide(&secure.house.site.desk, &challenge, Decision::Verify).await;
    // The same octets over the next connection are the same request, and no replay (RFC 6613 section 2.6.1).
    let mut again = secure.vpn().await;
    again.send(&packet.octets).await;
    secure.house.decide(&mut alice, Decision::Verify).await;
    let (code, identifier, _) = again.next().await.unwrap();
    assert_eq!((code, identifier), (Code::AccessAccept, packet.identifier.0));
    assert_eq!(secure.house.counts().replays, 0);
    secure.house.stop().await;
}

#[tokio::test]
async fn s48_a_client_that_is_changed_or_removed_loses_its_connections() {
    let secure = Secure::new(306).await;
    let mut before = secure.vpn().await;
    assert!(before.is_served().await);
    let (resource, mut client) = secure.client.clone();
    client.tls = Some(TlsPeer { identity: TlsIdentity::name("new.example.org").unwrap(), networks: Vec::new() });
    let (resource, client) = (Box::new(resource), Box::new(client));
    secure.house.site.write(Write::SetResource { resource: resource.clone(), client: client.clone() }).await;
    assert_eq!(before.next().await, None);
    assert!(!secure.vpn().await.is_served().await);
    let mut after = secure.call(&["new.example.org"]).await.unwrap();
    assert!(after.is_served().await);
    secure.house.site.remove_resource(resource.id).await;
    assert_eq!(after.next().await, None);
    assert!(!secure.call(&["new.example.org"]).await.unwrap().is_served().await);
    secure.house.stop().await;
}

#[tokio::test]
async fn s48_with_another_ca_those_of_the_old_one_go() {
    let mut secure = Secure::new(307).await;
    let mut before = secure.vpn().await;
    assert!(before.is_served().await);
    let old = std::mem::replace(&mut secure.ca, TestCa::new("another"));
    secure.shown.send_replace(credentials(&secure.ca.issue(&[SERVER], MadeFor::Servers), &secure.ca));
    assert_eq!(before.next().await, None);
    assert!(secure.vpn().await.is_served().await);
    let new = std::mem::replace(&mut secure.ca, old);
    assert!(matches!(secure.call(&[VPN]).await, Err(Fault::UnknownCa(_))), "the server shows the new one");
    drop(new);
    secure.house.stop().await;
}

#[tokio::test]
async fn s48_a_handshake_that_began_under_the_old_ca_lets_nobody_stay() {
    let secure = Secure::new(310).await;
    let early = TcpStream::connect(secure.address()).await.unwrap();
    // The server has taken it when the next one, which comes behind it, is served.
    assert!(secure.vpn().await.is_served().await);
    let another = TestCa::new("another");
    secure.shown.send_replace(credentials(&another.issue(&[SERVER], MadeFor::Servers), &another));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut early = secure.shake(early, &[VPN]).await.unwrap();
    // It may be closed before or behind a first answer.
    let closed = async { while early.ask(&Ask::status()).await.is_some() {} };
    timeout(SOON, closed).await.expect("it is closed");
    secure.house.stop().await;
}

#[tokio::test]
async fn s105_half_packets_silence_and_slow_handshakes_are_not_waited_for() {
    let short = Duration::from_millis(200);
    let bounds = StreamBounds { packet: short, handshake: short, idle: short * 5, ..StreamBounds::default() };
    let secure = Secure::with(308, Limits::default(), bounds).await;
    let mut half = secure.vpn().await;
    let packet = half.pack(&Ask::status());
    // One octet each time does not make it last longer.
    for octet in &packet.octets[..10] {
        half.send(&[*octet]).await;
        tokio::time::sleep(short / 5).await;
    }
    assert_eq!(half.next().await, None);
    let mut idle = secure.vpn().await;
    assert!(idle.is_served().await);
    assert_eq!(idle.next().await, None);
    let mut silent = TcpStream::connect(secure.address()).await.unwrap();
    let mut octets = Vec::new();
    let ended = timeout(SOON, silent.read_to_end(&mut octets)).await.expect("it is closed");
    assert!(ended.is_err() || octets.is_empty());
    assert!(secure.vpn().await.is_served().await);
    secure.house.stop().await;
}

#[tokio::test]
async fn s105_a_thousand_connections_that_say_nothing_keep_nobody_out() {
    let secure = Secure::new(309).await;
    let mut silent = Vec::new();
    for _ in 0..1000 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.66:0".parse().unwrap()).unwrap();
        silent.push(socket.connect(secure.address()).await.unwrap());
    }
    secure.house.settled(|house| house.counts().tls_refused > 900).await;
    assert!(secure.vpn().await.is_served().await);
    secure.house.add(NewResource { name: "udp", ..NewResource::default() }).await;
    let mut udp = Nas::new(secure.house.address, SECRET, 10).await;
    assert!(udp.ask(&Ask::status(), SOON).await.is_some());
    drop(silent);
    secure.house.stop().await;
}

#[tokio::test]
async fn s105_a_client_has_its_part_of_the_connections_and_of_the_table() {
    let limits = Limits { pending_per_client: 2, ..Limits::default() };
    let secure = Secure::with(310, limits, StreamBounds { per_client: 2, ..StreamBounds::default() }).await;
    let (mut one, mut two) = (secure.vpn().await, secure.vpn().await);
    assert!(one.is_served().await && two.is_served().await);
    assert!(!secure.vpn().await.is_served().await, "a third");
    // What waits is counted over all of its connections.
    for name in ["alice", "bob"] {
        secure.house.user(name, None).await;
        let packet = one.pack(&Ask::login(name));
        one.send(&packet.octets).await;
    }
    secure.house.settled(|house| house.counts().requests == 2).await;
    let third = two.packer.pack_as(&Ask::login("carol"), Identifier(200));
    two.send(&third.octets).await;
    assert!(two.is_served().await);
    assert_eq!(secure.house.counts().full, 1);
    drop(one);
    let mut three = secure.vpn().await;
    secure.house.ends(2).await;
    assert!(three.is_served().await);
    secure.house.stop().await;
}

#[tokio::test]
async fn s105_a_client_that_takes_no_replies_is_cut_off() {
    let bounds =
        StreamBounds { write: Duration::from_millis(300), replies: 16, per_client: 1, ..StreamBounds::default() };
    let secure = Secure::with(311, Limits::default(), bounds).await;
    let mut deaf = secure.vpn().await;
    let burst = vec![deaf.pack(&Ask::status()).octets; 500].concat();
    let flood = async { while deaf.stream.write_all(&burst).await.is_ok() {} };
    timeout(SOON * 3, flood).await.expect("the server has closed it");
    secure.house.settled(|house| house.counts().unsent > 0 || house.counts().status_server > 500).await;
    // Its one place is free again.
    let mut served = false;
    for _ in 0..100 {
        served = served || secure.vpn().await.is_served().await;
    }
    assert!(served);
    secure.house.stop().await;
}

#[tokio::test]
async fn a_verdict_that_is_there_when_the_door_closes_still_leaves_over_tls() {
    let secure = Secure::new(312).await;
    let mut alice = secure.house.user("alice", None).await;
    let mut vpn = secure.vpn().await;
    let packet = vpn.pack(&Ask::login("alice"));
    vpn.send(&packet.octets).await;
    secure.house.decide(&mut alice, Decision::Verify).await;
    secure.house.stop().await;
    assert_eq!(vpn.next().await.map(|(code, ..)| code), Some(Code::AccessAccept));
    assert_eq!(vpn.next().await, None);
}
