//! The line to a server: proofs, nonces, its clock, and what goes wrong in words.

use core::time::Duration;
use std::fmt;

use aws_lc_rs::rand::{SystemRandom, fill};
use countersign_device_protocol::{
    encoding::encode,
    endpoint::Endpoint,
    keys::{SigningKey, Thumbprint},
    messages::{PinError, ServerInfo},
    origin::Origin,
    problem::{ErrorCode, Problem},
    proof::{HEADER, NONCE_HEADER, NewProof, Request},
};
use countersign_domain::{Clock as _, Timestamp};
use jiff::SignedDuration;
use reqwest::{Client, Method, Response, header, redirect::Policy};
use serde::de::DeserializeOwned;

use crate::runtime::SystemClock;

const CONNECT: Duration = Duration::from_secs(5);
const WHOLE_ANSWER: Duration = Duration::from_secs(20);
/// A stream says something every 20 seconds.
const SILENCE: Duration = Duration::from_secs(45);
/// The longest answer that is read; the stream has its own measure.
const LONGEST: usize = 1024 * 1024;

/// Why the server gave no answer that can be used.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Nobody answers there, or the answer broke off.
    Unreachable(Origin, String),
    /// Somebody answers there with a certificate that nobody here vouches for.
    Certificate(Origin, String),
    /// What answers there is no countersign of this protocol.
    Stranger(Origin),
    /// It is not the server that this phone knows.
    Untrusted(Origin, PinError),
    /// It said no.
    Refused(Box<Problem>, Option<u64>),
    /// Our own part failed.
    Own(String),
}

impl Trouble {
    /// The code of a refusal.
    pub(super) fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(problem, _) => problem.known_code(),
            _ => None,
        }
    }

    /// Whether the server has cut this device off, so that asking again is of no use.
    pub(super) fn is_final(&self) -> bool {
        matches!(self.code(), Some(ErrorCode::DeviceRemoved | ErrorCode::DeviceUnknown))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(origin, why) => {
                write!(f, "cannot reach {origin}: {why} (is the address right, and is the server running?)")
            }
            Self::Certificate(origin, why) => write!(
                f,
                "the certificate of {origin} is not trusted on this machine: {why}. The server needs a certificate that \
                 its phones trust (for a test, SSL_CERT_FILE can name another authority)"
            ),
            Self::Stranger(origin) => write!(f, "{origin} is no countersign server, or one of another version"),
            Self::Untrusted(origin, why) => write!(f, "{origin} is not trusted: {why}. Tell your administrator"),
            Self::Own(why) => f.write_str(why),
            Self::Refused(problem, wait) => refused(f, problem, *wait),
        }
    }
}

impl std::error::Error for Trouble {}

fn refused(f: &mut fmt::Formatter<'_>, problem: &Problem, wait: Option<u64>) -> fmt::Result {
    let text = match problem.known_code() {
        Some(ErrorCode::ActivationUnknown) => {
            "the code is wrong, has expired or was used before: ask your administrator for a new one"
        }
        Some(ErrorCode::DeviceLimit) => "the account has as many devices as it may have: have one removed first",
        Some(ErrorCode::DeviceRemoved) => "this device was removed or suspended on the server",
        Some(ErrorCode::DeviceUnknown) => "the server does not know this device: its account was removed",
        Some(ErrorCode::AccountDisabled) => "the account is disabled",
        Some(ErrorCode::ProofExpired) => {
            "the server does not take this machine's time: set its clock right, or look at the server's"
        }
        Some(ErrorCode::TooManyAttempts) => {
            return write!(f, "too many attempts: wait {} seconds", wait.unwrap_or(60));
        }
        Some(ErrorCode::WindowOpen) => "a sign-in window is open already: sign in there now",
        Some(ErrorCode::AccountFrozen) => {
            "you said of a sign-in that it was not you: an administrator has to look at it first"
        }
        Some(ErrorCode::LoginUnderWay) => {
            return not_before(f, problem, "somebody is signing in there, or just did: open the window");
        }
        Some(ErrorCode::LoginUnapproved) => {
            return not_before(f, problem, "a sign-in there was not approved: sign in without a window, or open one");
        }
        Some(ErrorCode::NumberWrong) => "the number was wrong, and the sign-in has ended",
        _ => {
            write!(f, "the server says {}: {}", problem.code, problem.title)?;
            return problem.detail.as_ref().map_or(Ok(()), |detail| write!(f, " ({detail})"));
        }
    };
    f.write_str(text)
}

fn not_before(f: &mut fmt::Formatter<'_>, problem: &Problem, text: &str) -> fmt::Result {
    match problem.until {
        Some(until) => write!(f, "{text} after {until}"),
        None => write!(f, "{text} later"),
    }
}

/// A connection to one server.
#[derive(Debug)]
pub(super) struct Line {
    http: Client,
    pub(super) origin: Origin,
    nonce: Option<String>,
    /// How far the server's clock is ahead of ours.
    pub(super) ahead: SignedDuration,
}

impl Line {
    pub(super) fn new(origin: Origin, ahead_ms: i64) -> Result<Self, Trouble> {
        let mut http = Client::builder()
            .redirect(Policy::none())
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .user_agent(concat!("countersign-phone/", env!("CARGO_PKG_VERSION")));
        if !origin.is_https() {
            // Plain HTTP is for this machine only, and no proxy leads there.
            http = http.no_proxy();
        }
        let http = http.build().map_err(|fault| Trouble::Own(format!("TLS cannot be set up: {fault}")))?;
        Ok(Self { http, origin, nonce: None, ahead: SignedDuration::from_millis(ahead_ms) })
    }

    /// The server's clock, as far as it is known.
    pub(super) fn now(&self) -> jiff::Timestamp {
        SystemClock.now().to_jiff().checked_add(self.ahead).unwrap_or_default()
    }

    /// Asks the server who it is, checks that against what is pinned, and takes its time.
    pub(super) async fn server(&mut self, pinned: Option<&Thumbprint>) -> Result<ServerInfo, Trouble> {
        let before = SystemClock.now();
        let response = self.http.get(Endpoint::Server.url(&self.origin)).timeout(WHOLE_ANSWER).send().await;
        let response = self.heard(response)?;
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        let info: ServerInfo = self.json(response).await?;
        let half = SystemClock.now().since(before) / 2;
        self.set_time(info.time, before.plus(half));
        info.check(&self.origin, pinned).map_err(|why| Trouble::Untrusted(self.origin.clone(), why))?;
        Ok(info)
    }

    /// Sends a request with a proof. A fresh nonce or a better clock is tried once each.
    pub(super) async fn send(
        &mut self,
        key: &SigningKey,
        endpoint: Endpoint<'_>,
        body: Vec<u8>,
    ) -> Result<Response, Trouble> {
        let (mut fresh_nonce, mut better_clock) = (false, false);
        loop {
            let proof = self.proof(key, endpoint, &body)?;
            let method = Method::from_bytes(endpoint.method().as_bytes()).unwrap_or_default();
            let mut request = self.http.request(method, endpoint.url(&self.origin)).header(HEADER, proof);
            if !matches!(endpoint, Endpoint::Events) {
                request = request.timeout(WHOLE_ANSWER);
            }
            if !body.is_empty() {
                request = request.header(header::CONTENT_TYPE, "application/json").body(body.clone());
            }
            let response = request.send().await;
            let response = self.heard(response)?;
            if response.status().is_success() {
                return Ok(response);
            }
            let trouble = self.refusal(response).await;
            match (&trouble, trouble.code()) {
                (_, Some(ErrorCode::UseDpopNonce)) if !fresh_nonce => fresh_nonce = true,
                (Trouble::Refused(problem, _), Some(ErrorCode::ProofExpired)) if !better_clock => {
                    let Some(time) = problem.time else { return Err(trouble) };
                    self.set_time(time, SystemClock.now());
                    better_clock = true;
                }
                _ => return Err(trouble),
            }
        }
    }

    fn proof(&self, key: &SigningKey, endpoint: Endpoint<'_>, body: &[u8]) -> Result<String, Trouble> {
        let own = |_| Trouble::Own("no proof can be made".to_owned());
        let mut jti = [0; 16];
        fill(&mut jti).map_err(own)?;
        let new = NewProof {
            request: Request { method: endpoint.method(), htu: &endpoint.url(&self.origin), body },
            iat: self.now().as_second(),
            jti: &encode(&jti),
            nonce: self.nonce.as_deref(),
        };
        new.sign(key, &SystemRandom::new()).map_err(|_| Trouble::Own("no proof can be made".to_owned()))
    }

    /// Reads an answer.
    pub(super) async fn json<T: DeserializeOwned>(&self, response: Response) -> Result<T, Trouble> {
        let octets = self.octets(response).await?;
        serde_json::from_slice(&octets).map_err(|_| Trouble::Stranger(self.origin.clone()))
    }

    async fn octets(&self, mut response: Response) -> Result<Vec<u8>, Trouble> {
        let mut whole = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|fault| self.unheard(&fault))? {
            if whole.len() + chunk.len() > LONGEST {
                return Err(Trouble::Stranger(self.origin.clone()));
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole)
    }

    /// What the server says no with.
    async fn refusal(&self, response: Response) -> Trouble {
        let wait = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        match self.json(response).await {
            Ok(problem) => Trouble::Refused(Box::new(problem), wait),
            Err(trouble) => trouble,
        }
    }

    /// An answer, whose nonce is kept, or why there is none.
    fn heard(&mut self, answer: Result<Response, reqwest::Error>) -> Result<Response, Trouble> {
        let response = answer.map_err(|fault| self.unheard(&fault))?;
        if let Some(nonce) = response.headers().get(NONCE_HEADER).and_then(|nonce| nonce.to_str().ok()) {
            self.nonce = Some(nonce.to_owned());
        }
        Ok(response)
    }

    /// Why nothing was heard, in words.
    pub(super) fn unheard(&self, fault: &reqwest::Error) -> Trouble {
        // The innermost cause says most; the outer ones repeat the address.
        let mut deepest: &dyn std::error::Error = fault;
        let mut certificate = false;
        loop {
            let text = deepest.to_string().to_lowercase();
            certificate |= text.contains("certificate") || text.contains("unknownissuer");
            match deepest.source() {
                Some(inner) => deepest = inner,
                None => break,
            }
        }
        let why = if fault.is_timeout() { "no answer in time".to_owned() } else { deepest.to_string() };
        if certificate {
            Trouble::Certificate(self.origin.clone(), why)
        } else {
            Trouble::Unreachable(self.origin.clone(), why)
        }
    }

    fn set_time(&mut self, theirs: jiff::Timestamp, ours: Timestamp) {
        self.ahead = theirs.duration_since(ours.to_jiff());
    }

    /// For the state file.
    pub(super) fn ahead_ms(&self) -> i64 {
        i64::try_from(self.ahead.as_millis()).unwrap_or(0)
    }
}
