//! The listener with real connections.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use axum::{body::Body, http::Version, routing::get};
use futures_util::stream;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        self, ClientConfig, RootCertStore, crypto,
        pki_types::{CertificateDer, ServerName},
    },
};

use super::*;
use crate::tls::HTTP_2;

const LONG: Duration = Duration::from_secs(20);
const HTTP_1: &[u8] = b"http/1.1";
/// What a client of HTTP/2 says first (RFC 9113 section 3.4), with an empty SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A certificate for localhost that speaks for itself.
struct Pair {
    cert: String,
    key: String,
    der: CertificateDer<'static>,
}

impl Pair {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        Self { cert: made.cert.pem(), key: made.signing_key.serialize_pem(), der: made.cert.der().clone() }
    }
}

struct World {
    folder: tempfile::TempDir,
    address: SocketAddr,
    certificate: Option<Arc<Certificate>>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl World {
    async fn new(pair: Option<&Pair>) -> Self {
        Self::with(pair, Patience::default()).await
    }

    async fn with(pair: Option<&Pair>, patience: Patience) -> Self {
        Self::bounded(pair, patience, |_| {}).await
    }

    async fn bounded(pair: Option<&Pair>, patience: Patience, bound: impl FnOnce(&mut Bounds)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut text = "[app]\nlisten = \"127.0.0.1:0\"\n".to_owned();
        if let Some(pair) = pair {
            write(folder.path(), pair);
            text.push_str("url = \"https://localhost\"\ntls_cert = \"cert.pem\"\ntls_key = \"key.pem\"\n");
        } else {
            text.push_str("url = \"http://localhost:1\"\n");
        }
        fs::write(crate::config::path(folder.path()), text).unwrap();
        let mut listener = AppListener::bind(&Config::load(folder.path()).unwrap()).await.unwrap();
        listener.patience = patience;
        bound(&mut listener.bounds);
        listener.look = Duration::from_millis(20);
        let (address, certificate, stop) = (listener.address(), listener.certificate(), CancellationToken::new());
        let router = Router::new()
            .route("/", get(async || "hello"))
            .route("/endless", get(async || Body::from_stream(stream::pending::<Result<String, io::Error>>())));
        let running = tokio::spawn(listener.run(router, stop.clone()));
        Self { folder, address, certificate, stop, running }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn connect(&self, roots: &[&Pair], versions: &[&[u8]]) -> io::Result<TlsStream<TcpStream>> {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots.iter().map(|pair| pair.der.clone()));
        let mut config = ClientConfig::builder_with_provider(Arc::new(crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS12, &rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(store)
            .with_no_client_auth();
        config.alpn_protocols = versions.iter().map(|version| version.to_vec()).collect();
        let stream = TcpStream::connect(self.address).await?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
    }

    /// The certificate that is shown now.
    async fn shown(&self, roots: &[&Pair]) -> CertificateDer<'static> {
        let stream = self.connect(roots, &[HTTP_1]).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    }

    fn client(pair: &Pair) -> reqwest::Client {
        let root = reqwest::Certificate::from_der(&pair.der).unwrap();
        reqwest::Client::builder().tls_certs_only([root]).no_proxy().build().unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    async fn ends(self) {
        self.stop.cancel();
        timeout(LONG, self.running).await.expect("it does not end").unwrap();
    }
}

fn write(folder: &Path, pair: &Pair) {
    fs::write(folder.join("cert.pem"), &pair.cert).unwrap();
    write_key(folder, pair);
}

fn write_key(folder: &Path, pair: &Pair) {
    let key = folder.join("key.pem");
    fs::write(&key, &pair.key).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
}

async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let waited = async {
        while !is().await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, waited).await.unwrap_or_else(|_| panic!("{what}: not in {LONG:?}"));
}

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_restart_and_a_broken_one_is_not() {
    let (first, second, third) = (Pair::new(), Pair::new(), Pair::new());
    let all = [&first, &second, &third];
    let world = World::new(Some(&first)).await;
    let certificate = world.certificate.clone().unwrap();
    assert_eq!(world.shown(&all).await, first.der);
    // A connection that is open goes on with what it began with.
    let client = World::client(&first);
    assert_eq!(client.get(world.url("/")).send().await.unwrap().text().await.unwrap(), "hello");

    write(world.folder.path(), &second);
    until("the second is shown", async || world.shown(&all).await == second.der).await;
    assert_eq!(certificate.fault(), None);
    assert_eq!(client.get(world.url("/")).send().await.unwrap().text().await.unwrap(), "hello");

    // Half of a new pair, no PEM at all, no file: the second stays, and it is said why.
    fs::write(world.file("cert.pem"), &third.cert).unwrap();
    until("half is noticed", async || certificate.fault().is_some_and(|fault| fault.contains("do not go together")))
        .await;
    assert_eq!(world.shown(&all).await, second.der);
    fs::write(world.file("cert.pem"), "nonsense").unwrap();
    until("nonsense is noticed", async || certificate.fault().is_some_and(|fault| fault.contains("no certificate")))
        .await;
    fs::remove_file(world.file("cert.pem")).unwrap();
    until("absence is noticed", async || certificate.fault().is_some_and(|fault| fault.contains("No such file"))).await;
    fs::write(world.file("cert.pem"), &third.cert).unwrap();
    fs::set_permissions(world.file("key.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    until("an open key is noticed", async || certificate.fault().is_some_and(|fault| fault.contains("chmod o="))).await;
    assert_eq!(world.shown(&all).await, second.der);

    write_key(world.folder.path(), &third);
    until("the third is shown", async || world.shown(&all).await == third.der).await;
    assert_eq!(certificate.fault(), None);
    drop(client);
    world.ends().await;
}

#[tokio::test]
async fn http2_is_spoken_with_those_who_can_and_http1_with_the_others() {
    let pair = Pair::new();
    let world = World::new(Some(&pair)).await;
    let answer = World::client(&pair).get(world.url("/")).send().await.unwrap();
    assert_eq!((answer.version(), answer.text().await.unwrap().as_str()), (Version::HTTP_2, "hello"));
    let root = reqwest::Certificate::from_der(&pair.der).unwrap();
    let old = reqwest::Client::builder().tls_certs_only([root]).http1_only().no_proxy().build().unwrap();
    let answer = old.get(world.url("/")).send().await.unwrap();
    assert_eq!((answer.version(), answer.text().await.unwrap().as_str()), (Version::HTTP_11, "hello"));
    let stream = world.connect(&[&pair], &[]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), None);
    drop((old, stream));
    world.ends().await;
}

#[tokio::test]
async fn http2_says_its_bounds() {
    let pair = Pair::new();
    let world = World::new(Some(&pair)).await;
    let mut stream = world.connect(&[&pair], &[HTTP_2]).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 4, "the first frame is SETTINGS");
    let mut settings = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
    stream.read_exact(&mut settings).await.unwrap();
    let said = |wanted: u16| {
        settings.chunks(6).find_map(|setting| {
            let value = u32::from_be_bytes(setting[2..].try_into().unwrap());
            (u16::from_be_bytes([setting[0], setting[1]]) == wanted).then_some(value)
        })
    };
    // RFC 9113 section 6.5.2: concurrent streams, window of a stream, list of headers.
    assert_eq!((said(3), said(4).unwrap_or(65_535), said(6)), (Some(64), 65_536, Some(16_384)));
    drop(stream);
    world.ends().await;
}

#[tokio::test]
async fn headers_are_bounded_in_both_versions() {
    let pair = Pair::new();
    let world = World::new(Some(&pair)).await;
    let root = reqwest::Certificate::from_der(&pair.der).unwrap();
    let old = reqwest::Client::builder().tls_certs_only([root]).http1_only().no_proxy().build().unwrap();
    for client in [World::client(&pair), old] {
        let long = |length: usize| client.get(world.url("/")).header("x-long", "x".repeat(length)).send();
        assert_eq!(long(8_000).await.unwrap().status(), 200);
        let refused = long(40_000).await;
        assert!(refused.as_ref().map_or(true, |answer| answer.status() == 431), "{refused:?}");
    }
    world.ends().await;
}

/// Waits until the server hangs up; how long that took.
async fn hung_up(mut stream: impl tokio::io::AsyncRead + Unpin) -> Duration {
    let begin = Instant::now();
    let mut rest = Vec::new();
    let _reset = timeout(LONG, stream.read_to_end(&mut rest)).await.expect("the connection stays open");
    begin.elapsed()
}

#[tokio::test]
async fn who_says_nothing_or_half_of_something_is_not_waited_for() {
    let pair = Pair::new();
    let patience = Patience { slow: Duration::from_millis(300), idle: Duration::from_millis(900) };
    let world = World::with(Some(&pair), patience).await;
    // No handshake; none of the preface; the preface and no request; half a head of HTTP/1.1.
    let silent = TcpStream::connect(world.address).await.unwrap();
    let unsaid = world.connect(&[&pair], &[HTTP_2]).await.unwrap();
    let mut asleep = world.connect(&[&pair], &[HTTP_2]).await.unwrap();
    asleep.write_all(PREFACE).await.unwrap();
    let mut half = world.connect(&[&pair], &[HTTP_1]).await.unwrap();
    half.write_all(b"GET / HTTP/1.1\r\nHost: loc").await.unwrap();
    let all = tokio::join!(hung_up(silent), hung_up(unsaid), hung_up(asleep), hung_up(half));
    for waited in [all.0, all.1, all.2, all.3] {
        assert!(waited < Duration::from_secs(10), "{all:?}");
    }
    world.ends().await;
}

#[tokio::test]
async fn a_stream_keeps_a_connection_of_http2_and_ends_with_the_server() {
    let pair = Pair::new();
    let patience = Patience { slow: Duration::from_millis(200), idle: Duration::from_millis(200) };
    let world = World::with(Some(&pair), patience).await;
    let client = World::client(&pair);
    let mut answer = client.get(world.url("/endless")).send().await.unwrap();
    assert!(timeout(Duration::from_secs(1), answer.chunk()).await.is_err(), "it was ended while in use");
    let stopped = tokio::spawn(world.ends());
    assert!(timeout(LONG, answer.chunk()).await.unwrap().is_err());
    stopped.await.unwrap();
}

#[tokio::test]
async fn without_tls_http1_is_spoken() {
    let world = World::new(None).await;
    assert!(world.certificate.is_none());
    let url = format!("http://{}/", world.address);
    let answer = reqwest::Client::builder().no_proxy().build().unwrap().get(url).send().await.unwrap();
    assert_eq!((answer.version(), answer.text().await.unwrap().as_str()), (Version::HTTP_11, "hello"));
    world.ends().await;
}

/// Whether a request over an open connection is answered within `patience`.
async fn answers(stream: &mut TcpStream, patience: Duration) -> bool {
    let answered = async {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"hello") {
            answer.push(stream.read_u8().await?);
        }
        io::Result::Ok(())
    };
    matches!(timeout(patience, answered).await, Ok(Ok(())))
}

#[tokio::test]
async fn one_source_cannot_take_every_place() {
    let world = World::bounded(None, Patience::default(), |bounds| {
        *bounds = Bounds { all: 100, of_one_source: 2, proxies: Vec::new() };
    })
    .await;
    let mut first = TcpStream::connect(world.address).await.unwrap();
    let mut second = TcpStream::connect(world.address).await.unwrap();
    assert!(answers(&mut first, LONG).await && answers(&mut second, LONG).await);
    assert!(hung_up(TcpStream::connect(world.address).await.unwrap()).await < Duration::from_secs(5));
    assert!(answers(&mut second, LONG).await, "those who have a place keep it");
    drop(first);
    until("there is a place again", async || {
        let mut third = TcpStream::connect(world.address).await.unwrap();
        answers(&mut third, LONG).await
    })
    .await;
    drop(second);
    world.ends().await;
}

#[tokio::test]
async fn who_finds_no_place_waits_for_one() {
    let world = World::bounded(None, Patience::default(), |bounds| bounds.all = 2).await;
    let mut first = TcpStream::connect(world.address).await.unwrap();
    let mut second = TcpStream::connect(world.address).await.unwrap();
    assert!(answers(&mut first, LONG).await && answers(&mut second, LONG).await);
    let mut third = TcpStream::connect(world.address).await.unwrap();
    assert!(!answers(&mut third, Duration::from_millis(500)).await);
    drop(first);
    assert!(answers(&mut third, LONG).await);
    drop((second, third));
    world.ends().await;
}
