//! The client against servers over TLS that behave well, badly, or not at all.
#![cfg(test)]

use core::time::Duration;
use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use countersign_domain::TlsIdentity;
use countersign_radius::{
    AttributeList, AttributeType, Code, Framer, PacketView, SharedSecret, encode_reply, upstream::Timing,
};
use countersign_radius_client::{
    Broken, Client, Credentials, Fault, Forward, NoAnswer, Outcome, Over, ProxyMark, Server, Tls,
    trial::{self, Finding, Question},
};
use countersign_radius_tls::{Known, accept};
use countersign_testkit::{
    ScriptedServer, SeededEntropy,
    pki::{MadeFor, Pair, TestCa},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

/// Ten times as fast as in life.
const FAST: Timing = Timing {
    retransmit: Duration::from_millis(100),
    longest_retransmit: Duration::from_millis(1600),
    patience: Duration::from_millis(500),
    watchdog: Duration::from_secs(3),
    status_wait: Duration::from_millis(200),
    status_tries: 2,
    first_back_off: Duration::from_millis(100),
    longest_back_off: Duration::from_secs(3),
    longest_blind_back_off: Duration::from_secs(30),
    forget_status: Duration::from_secs(60),
};
const SERVER: &str = "radius.example.org";
const US: &str = "mfa.example.org";
const SOON: Duration = Duration::from_secs(5);

fn credentials(pair: &Pair, ca: &TestCa) -> Arc<Credentials> {
    let ca = ca.cert();
    Arc::new(Credentials::from_pem(pair.cert.as_bytes(), pair.key.as_bytes(), Some(ca.as_bytes())).unwrap())
}

/// What a server does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Accept,
    /// Closes the connection instead of answering the first login; later ones are accepted.
    CloseOnce,
    /// Closes it each time.
    Close,
    Silence,
    /// A reply under another secret than "radsec".
    OtherSecret,
    Garbage,
}

/// A server over TLS.
struct Scripted {
    address: SocketAddr,
    ca: Arc<TestCa>,
    logins: Arc<Mutex<Vec<Vec<u8>>>>,
    connections: Arc<AtomicUsize>,
    running: JoinSet<()>,
}

impl Scripted {
    async fn new(does: Does) -> Self {
        let ca = Arc::new(TestCa::new("house"));
        Self::with(&ca, &ca.issue(&[SERVER], MadeFor::Servers), US, does).await
    }

    /// One that shows a certificate, and knows a client by this name.
    async fn with(ca: &Arc<TestCa>, shows: &Pair, client: &str, does: Does) -> Self {
        let own = credentials(shows, ca);
        let known = Arc::new(Known::from([(TlsIdentity::name(client).unwrap(), Vec::new())]));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (logins, connections) = (Arc::<Mutex<Vec<Vec<u8>>>>::default(), Arc::<AtomicUsize>::default());
        let mut running = JoinSet::new();
        let (heard, opened) = (Arc::clone(&logins), Arc::clone(&connections));
        running.spawn(async move {
            let mut all = JoinSet::new();
            loop {
                let (stream, source) = listener.accept().await.unwrap();
                let (own, known, heard, opened) = (own.clone(), known.clone(), heard.clone(), opened.clone());
                all.spawn(async move {
                    let source: IpAddr = source.ip();
                    let Ok((mut stream, _)) = accept(stream, source, &own, &known).await else { return };
                    opened.fetch_add(1, Ordering::SeqCst);
                    let (mut framer, mut buffer) = (Framer::new(), [0; 4096]);
                    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                        framer.push(&buffer[..length]);
                        while let Ok(Some(octets)) = framer.next_packet() {
                            let Some(reply) = answer(does, octets, &heard) else {
                                let _ = stream.shutdown().await;
                                return;
                            };
                            stream.write_all(&reply).await.unwrap();
                            stream.flush().await.unwrap();
                        }
                    }
                });
            }
        });
        Self { address, ca: Arc::clone(ca), logins, connections, running }
    }

    fn logins(&self) -> Vec<Vec<u8>> {
        self.logins.lock().unwrap().clone()
    }

    /// This server as we would have it, and what we show.
    fn server(&self) -> Server {
        let (_, shown) = watch::channel(credentials(&self.ca.issue(&[US], MadeFor::Clients), &self.ca));
        self.known_as(TlsIdentity::name(SERVER).unwrap(), Some(shown))
    }

    fn known_as(&self, identity: TlsIdentity, credentials: Option<watch::Receiver<Arc<Credentials>>>) -> Server {
        Server { address: self.address, over: Over::Tls(Tls { identity, credentials }) }
    }
}

fn answer(does: Does, octets: &[u8], heard: &Mutex<Vec<Vec<u8>>>) -> Option<Vec<u8>> {
    let request = PacketView::parse(octets).unwrap();
    let with = |secret: &SharedSecret| {
        let mut list = AttributeList::new();
        if let Some(name) = request.attribute(AttributeType::USER_NAME) {
            list.push(AttributeType::CLASS, name).unwrap();
        }
        encode_reply(Code::AccessAccept, &request, secret, &list).unwrap()
    };
    let accept = || Some(with(&SharedSecret::radsec()));
    if request.code() == Code::StatusServer {
        return accept();
    }
    let mut heard = heard.lock().unwrap();
    heard.push(octets.to_vec());
    match does {
        Does::Accept => accept(),
        Does::CloseOnce if heard.len() > 1 => accept(),
        Does::CloseOnce | Does::Close => None,
        Does::Silence => Some(Vec::new()),
        Does::OtherSecret => Some(with(&SharedSecret::new(*b"another secret than radsec"))),
        Does::Garbage => Some(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
    }
}

fn client(servers: Vec<Server>) -> Client {
    Client::with_timing("test", servers, ProxyMark::new([7; 16]), Arc::new(SeededEntropy::new(1)), FAST)
}

fn login(name: &str) -> Forward {
    let mut list = AttributeList::new();
    list.push_text(AttributeType::USER_NAME, name).unwrap();
    Forward::new(list.octets().into(), None)
}

/// Which server has accepted.
fn by(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Accept(answer) => answer.server,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn s48_a_login_goes_over_tls_and_each_gets_its_own_answer() {
    let server = Scripted::new(Does::Accept).await;
    let client = client(vec![server.server()]);
    let mut logins = JoinSet::new();
    for number in 0..600 {
        let client = client.clone();
        logins.spawn(async move {
            let name = format!("user{number}");
            let Outcome::Accept(answer) = client.ask(login(&name), SOON).await else { panic!("an accept") };
            let class = answer.relayed.attributes.iter().next().map(|one| one.value.to_vec());
            assert_eq!(class, Some(name.into_bytes()));
        });
    }
    while let Some(done) = logins.join_next().await {
        done.unwrap();
    }
    assert_eq!(server.logins().len(), 600);
    assert!((1..=3).contains(&server.connections.load(Ordering::SeqCst)), "256 identifiers for each");
}

#[tokio::test]
async fn s48_no_server_that_is_another_gets_a_login_and_none_is_asked_over_udp() {
    let ca = Arc::new(TestCa::new("house"));
    let other = TestCa::new("other");
    let (_, ours) = watch::channel(credentials(&ca.issue(&[US], MadeFor::Clients), &ca));
    let right = ca.issue(&[SERVER], MadeFor::Servers);
    let name = || TlsIdentity::name(SERVER).unwrap();
    let cases = [
        (ca.issue(&["other.example.org"], MadeFor::Servers), US, name()),
        (other.issue(&[SERVER], MadeFor::Servers), US, name()),
        (ca.issue_until(&[SERVER], MadeFor::Servers, 2020), US, name()),
        (ca.issue(&[SERVER], MadeFor::Clients), US, name()),
        (right.clone(), US, TlsIdentity::Fingerprint([1; 32])),
        // It does not know us.
        (right.clone(), "other.example.org", name()),
    ];
    let mut trials = JoinSet::new();
    for (shows, knows, identity) in cases {
        let (ca, ours) = (Arc::clone(&ca), ours.clone());
        trials.spawn(async move {
            let server = Scripted::with(&ca, &shows, knows, Does::Accept).await;
            // Somebody who listens at the same port of UDP hears nothing.
            let udp = tokio::net::UdpSocket::bind(server.address).await;
            let honest = Scripted::with(&ca, &ca.issue(&[SERVER], MadeFor::Servers), US, Does::Accept).await;
            let wrong = server.known_as(identity, Some(ours.clone()));
            let alone = client(vec![wrong.clone()]);
            let silent = alone.ask(login("alice"), Duration::from_millis(900)).await;
            assert_eq!(silent, Outcome::NoAnswer(NoAnswer::Silent));
            assert!(alone.servers()[0].1.down_since.is_some());
            // Another one is asked at once.
            let begin = Instant::now();
            let both = client(vec![wrong, honest.known_as(TlsIdentity::name(SERVER).unwrap(), Some(ours))]);
            assert_eq!(by(&both.ask(login("alice"), SOON).await), 1);
            assert!(begin.elapsed() < SOON / 2);
            assert_eq!((server.logins().len(), server.connections.load(Ordering::SeqCst)), (0, 0));
            if let Ok(udp) = udp {
                let mut buffer = [0; 4096];
                assert!(udp.try_recv(&mut buffer).is_err(), "nothing comes by UDP");
            }
        });
    }
    while let Some(done) = trials.join_next().await {
        done.unwrap();
    }
    // Without a certificate of our own nothing is sent at all.
    let server = Scripted::new(Does::Accept).await;
    let bare = client(vec![server.known_as(TlsIdentity::name(SERVER).unwrap(), None)]);
    assert!(matches!(bare.ask(login("alice"), Duration::from_millis(300)).await, Outcome::NoAnswer(_)));
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_connection_that_is_closed_in_good_order_costs_no_login() {
    let server = Scripted::new(Does::CloseOnce).await;
    let client = client(vec![server.server()]);
    // So that something has come over the connection.
    while client.servers()[0].1.heard.is_none() {
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(by(&client.ask(login("alice"), SOON).await), 0);
    let [first, second] = server.logins().try_into().unwrap();
    assert_ne!(first[4..20], second[4..20], "made anew for the other connection");
    assert!(client.servers()[0].1.down_since.is_none());
}

#[tokio::test]
async fn s42_what_is_not_proven_or_no_packet_is_no_answer_and_another_server_is_asked() {
    let honest = ScriptedServer::answering(Code::AccessAccept).await;
    for does in [Does::Close, Does::OtherSecret, Does::Garbage, Does::Silence] {
        let server = Scripted::new(does).await;
        let over_udp = Server::udp(honest.address(), SharedSecret::new(ScriptedServer::SECRET));
        let alone = client(vec![server.server()]);
        let outcome = alone.ask(login("alice"), Duration::from_millis(900)).await;
        assert_eq!(outcome, Outcome::NoAnswer(NoAnswer::Silent), "{does:?}");
        assert!(server.logins().len() <= 2, "{does:?}: once more at most");
        // A mixed upstream.
        assert_eq!(by(&client(vec![server.server(), over_udp]).ask(login("alice"), SOON).await), 1, "{does:?}");
    }
}

#[tokio::test]
async fn a_server_that_comes_back_is_found_and_new_certificates_are_shown() {
    let mut server = Scripted::new(Does::Accept).await;
    let (show, shown) =
        watch::channel(credentials(&server.ca.issue(&["old.example.org"], MadeFor::Clients), &server.ca));
    let client = client(vec![server.known_as(TlsIdentity::name(SERVER).unwrap(), Some(shown))]);
    let outcome = client.ask(login("alice"), Duration::from_millis(500)).await;
    assert!(matches!(outcome, Outcome::NoAnswer(_)), "it does not know that one");
    show.send_replace(credentials(&server.ca.issue(&[US], MadeFor::Clients), &server.ca));
    let found = async |client: &Client| {
        for _ in 0..200 {
            if client.servers()[0].1.down_since.is_none() {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("it is not found again");
    };
    found(&client).await;
    assert_eq!(by(&client.ask(login("alice"), SOON).await), 0);
    server.running.shutdown().await;
    let outcome = client.ask(login("alice"), Duration::from_millis(500)).await;
    assert!(matches!(outcome, Outcome::NoAnswer(_)) && client.servers()[0].1.down_since.is_some());
}

#[tokio::test]
async fn s48_a_trial_says_in_plain_words_what_is_wrong() {
    let entropy = SeededEntropy::new(1);
    let ask = async |server: &Server| trial::ask(server, Question::Status, &entropy).await;
    let good = Scripted::new(Does::Accept).await;
    assert!(matches!(ask(&good.server()).await, Finding::Reply { code: Code::AccessAccept, .. }));
    let login = Question::Login { user: "alice", password: Some(b"a password") };
    assert!(matches!(trial::ask(&good.server(), login, &entropy).await, Finding::Reply { .. }));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = Server { address: closed, ..good.server() };
    assert!(matches!(ask(&nobody).await, Finding::Broken(Broken::Unreachable(_))));
    let ca = Arc::new(TestCa::new("house"));
    let (_, ours) = watch::channel(credentials(&ca.issue(&[US], MadeFor::Clients), &ca));
    let name = || TlsIdentity::name(SERVER).unwrap();
    let stranger = good.known_as(name(), Some(ours.clone()));
    assert!(matches!(ask(&stranger).await, Finding::Broken(Broken::Tls(Fault::UnknownCa(_)))));
    let old = ca.issue_until(&[SERVER], MadeFor::Servers, 2020);
    let old = Scripted::with(&ca, &old, US, Does::Accept).await;
    assert!(matches!(
        ask(&old.known_as(name(), Some(ours.clone()))).await,
        Finding::Broken(Broken::Tls(Fault::Expired(_)))
    ));
    let other = Scripted::with(&ca, &ca.issue(&[SERVER], MadeFor::Servers), "x.example.org", Does::Accept).await;
    let refused = ask(&other.known_as(name(), Some(ours.clone()))).await;
    assert!(matches!(refused, Finding::Broken(Broken::Tls(Fault::Refused(_)))), "{refused:?}");
    assert_eq!(ask(&good.known_as(name(), None)).await, Finding::Broken(Broken::NoCredentials));
    let other_secret = Scripted::new(Does::OtherSecret).await;
    assert!(matches!(trial::ask(&other_secret.server(), login, &entropy).await, Finding::Unproven(_)));
}
