//! A MOCK of a push service and of a browser that subscribed at it. A vendor's push service cannot be had in a test; this
//! one checks what RFC 8030, RFC 8291 and RFC 8292 ask of a sender, more strictly than the vendors do, and delivers to
//! nobody. It is written from the RFCs and shares no code with the sender but the cryptography library.

use core::time::Duration;
use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use aws_lc_rs::{
    aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree},
    hkdf::{HKDF_SHA256, KeyType, Prk, Salt},
    signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey as Verifier},
};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri},
    response::Response,
};
use countersign_domain::{Clock, PushSubscription, Secret};
use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;
use tokio::{net::TcpListener, sync::Notify, time::Instant};

/// A push as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// When the request was there as a whole.
    pub(crate) at: Instant,
    /// The capability part of the endpoint.
    pub(crate) path: String,
    /// `TTL`.
    pub(crate) ttl: u64,
    /// `Urgency`.
    pub(crate) urgency: String,
    /// `Topic`.
    pub(crate) topic: String,
    /// The encrypted message.
    pub(crate) body: Bytes,
    /// The claims of the VAPID token.
    pub(crate) claims: Value,
    /// The token itself.
    pub(crate) token: String,
}

/// What to answer to a push.
#[derive(Debug, Clone)]
pub(crate) enum Script {
    /// This, with these headers and this text.
    Say(u16, Vec<(&'static str, String)>, String),
    /// A text without an end.
    Babble,
    /// Nothing, ever.
    Hang,
}

impl Script {
    /// A status and nothing else.
    pub(crate) fn status(status: u16) -> Self {
        Self::Say(status, Vec::new(), String::new())
    }

    /// A status with one header.
    pub(crate) fn with(status: u16, header: &'static str, value: &str) -> Self {
        Self::Say(status, vec![(header, value.to_owned())], String::new())
    }

    /// A status with a text.
    pub(crate) fn saying(status: u16, text: &str) -> Self {
        Self::Say(status, Vec::new(), text.to_owned())
    }
}

/// The mock, on a port of its own.
#[derive(Clone)]
pub(crate) struct MockPushService {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    origin: String,
    clock: Arc<dyn Clock>,
    received: Mutex<Vec<Received>>,
    scripts: Mutex<VecDeque<Script>>,
    complaints: Mutex<Vec<String>>,
    news: Notify,
}

impl MockPushService {
    /// Listens; answers 201 to every push that is in order until it is told otherwise.
    pub(crate) async fn start(clock: Arc<dyn Clock>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            origin: format!("http://{address}"),
            clock,
            received: Mutex::default(),
            scripts: Mutex::default(),
            complaints: Mutex::default(),
            news: Notify::new(),
        });
        let app = Router::new().fallback(take).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, shared }
    }

    /// An endpoint at this service.
    pub(crate) fn endpoint(&self, path: &str) -> String {
        format!("{}/{path}", self.shared.origin)
    }

    /// What it answers to the next pushes, one each.
    pub(crate) fn script(&self, scripts: impl IntoIterator<Item = Script>) {
        self.shared.scripts.lock().unwrap().extend(scripts);
    }

    /// All that came in, after at least `count` did. Fails the test when a push was not in order.
    pub(crate) async fn received(&self, count: usize) -> Vec<Received> {
        let waiting = async {
            loop {
                let news = self.shared.news.notified();
                if self.shared.received.lock().unwrap().len() >= count {
                    return;
                }
                let _ = tokio::time::timeout(Duration::from_millis(50), news).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(15), waiting).await;
        let complaints = self.complaints();
        assert!(complaints.is_empty(), "the push service complains: {complaints:?}");
        let received = self.shared.received.lock().unwrap().clone();
        assert!(in_time.is_ok(), "{count} pushes were awaited, {} came", received.len());
        received
    }

    /// What was not in order.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.shared.complaints.lock().unwrap().clone()
    }
}

async fn take(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let at = Instant::now();
    match check(&shared, at, &uri, &headers, body) {
        Ok(received) => shared.received.lock().unwrap().push(received),
        Err((status, complaint)) => {
            shared.complaints.lock().unwrap().push(complaint.clone());
            shared.news.notify_waiters();
            return answer(Script::saying(status, &complaint)).await;
        }
    }
    shared.news.notify_waiters();
    let script = shared.scripts.lock().unwrap().pop_front();
    answer(script.unwrap_or_else(|| Script::status(201))).await
}

async fn answer(script: Script) -> Response {
    let (status, headers, body) = match script {
        Script::Say(status, headers, text) => (status, headers, Body::from(text)),
        Script::Babble => {
            let chunk = || Some((Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 1024])), ()));
            (400, Vec::new(), Body::from_stream(futures_util::stream::unfold((), move |()| async move { chunk() })))
        }
        Script::Hang => std::future::pending().await,
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_str(&value).unwrap());
    }
    response
}

type Complaint = (u16, String);

fn check(shared: &Shared, at: Instant, uri: &Uri, headers: &HeaderMap, body: Bytes) -> Result<Received, Complaint> {
    let header = |name: &str| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(value.to_str().unwrap().to_owned()),
            (found, _) => Err((400, format!("{name}: {}", if found.is_some() { "twice" } else { "missing" }))),
        }
    };
    let ensure = |holds: bool, status: u16, what: &str| if holds { Ok(()) } else { Err((status, what.to_owned())) };
    // RFC 8030 section 5.
    let ttl = header("ttl")?.parse().map_err(|_| (400, "ttl is no number".to_owned()))?;
    let urgency = header("urgency")?;
    ensure(["very-low", "low", "normal", "high"].contains(&urgency.as_str()), 400, "urgency")?;
    let topic = header("topic")?;
    let base64url = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    ensure((1..=32).contains(&topic.len()) && topic.bytes().all(base64url), 400, "topic")?;
    ensure(body.len() <= 4096, 413, "body")?;
    // RFC 8291 section 4.
    ensure(header("content-encoding")? == "aes128gcm", 400, "content-encoding")?;
    ensure(header("content-type")? == "application/octet-stream", 400, "content-type")?;
    ensure(body.len() > 86 + 16, 400, "no message")?;
    for unwanted in ["cookie", "referer", "crypto-key", "encryption"] {
        ensure(!headers.contains_key(unwanted), 400, unwanted)?;
    }
    // RFC 8292 sections 2 and 3.
    let authorization = header("authorization")?;
    let token = |rest: &str| {
        let (token, key) = rest.split_once(", k=")?;
        let (signed, signature) = token.rsplit_once('.')?;
        let (head, claims) = signed.split_once('.')?;
        let decode = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).ok();
        let head: Value = serde_json::from_slice(&decode(head)?).ok()?;
        let claims: Value = serde_json::from_slice(&decode(claims)?).ok()?;
        let key = Verifier::new(&ECDSA_P256_SHA256_FIXED, decode(key)?);
        key.verify(signed.as_bytes(), &decode(signature)?).ok()?;
        (head["alg"] == "ES256" && head["typ"] == "JWT").then(|| (claims, token.to_owned()))
    };
    let (claims, token) =
        authorization.strip_prefix("vapid t=").and_then(token).ok_or((401, "no valid vapid token".to_owned()))?;
    ensure(claims["aud"] == shared.origin.as_str(), 401, "aud is not this origin")?;
    let (now, exp) = (shared.clock.now().as_seconds(), claims["exp"].as_i64().unwrap_or_default());
    ensure(exp > now, 401, "exp has passed")?;
    ensure(exp <= now + 86_400, 401, "exp is more than a day away")?;
    let sub = claims["sub"].as_str().unwrap_or_default();
    ensure(sub.starts_with("mailto:") || sub.starts_with("https:"), 403, "sub")?;
    Ok(Received { at, path: uri.path().to_owned(), ttl, urgency, topic, body, claims, token })
}

/// A browser's subscription with the private key.
pub(crate) struct Browser {
    private: PrivateKey,
    public: Vec<u8>,
    auth: [u8; 16],
}

/// A message as a browser reads it.
#[derive(Debug)]
pub(crate) struct Message {
    /// The plaintext without padding.
    pub(crate) text: Vec<u8>,
    /// The size with padding.
    pub(crate) padded: usize,
}

impl Browser {
    /// Makes the keys.
    pub(crate) fn new() -> Self {
        let private = PrivateKey::generate(&ECDH_P256).unwrap();
        let public = private.compute_public_key().unwrap().as_ref().to_vec();
        let mut auth = [0; 16];
        aws_lc_rs::rand::fill(&mut auth).unwrap();
        Self { private, public, auth }
    }

    /// What the app hands to the server.
    pub(crate) fn subscription(&self, endpoint: String) -> PushSubscription {
        PushSubscription { endpoint, p256dh: self.public.clone(), auth: Secret::new(self.auth.to_vec()) }
    }

    /// Reads a message (RFC 8188 section 2, RFC 8291 section 3.4).
    pub(crate) fn read(&self, body: &[u8]) -> Message {
        let (salt, rest) = body.split_at(16);
        let (size, rest) = rest.split_at(4);
        let size = u32::from_be_bytes(size.try_into().unwrap());
        assert_eq!(rest[0], 65, "the key id is an uncompressed point");
        let (theirs, record) = rest[1..].split_at(65);
        assert!(record.len() <= usize::try_from(size).unwrap(), "one record");
        let secret: [u8; 32] = agree(&self.private, UnparsedPublicKey::new(&ECDH_P256, theirs), (), |agreed| {
            let prk = Salt::new(HKDF_SHA256, &self.auth).extract(agreed);
            Ok(expand(&prk, &[b"WebPush: info\0".as_slice(), &self.public, theirs].concat()))
        })
        .unwrap();
        let prk = Salt::new(HKDF_SHA256, salt).extract(&secret);
        let key = expand::<16>(&prk, b"Content-Encoding: aes128gcm\0");
        let nonce = Nonce::assume_unique_for_key(expand(&prk, b"Content-Encoding: nonce\0"));
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).unwrap());
        let mut record = record.to_vec();
        let text = key.open_in_place(nonce, Aad::empty(), &mut record).unwrap();
        let delimiter = text.iter().rposition(|octet| *octet != 0).unwrap();
        assert_eq!(text[delimiter], 2, "the delimiter of a last record");
        Message { text: text[..delimiter].to_vec(), padded: text.len() }
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand<const N: usize>(prk: &Prk, info: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    prk.expand(&[info], Length(N)).unwrap().fill(&mut out).unwrap();
    out
}
