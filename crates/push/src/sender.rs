//! One push to one subscription (RFC 8030 section 5), and what came back.

use core::time::Duration;
use std::{error::Error as _, fmt, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};
use countersign_device_protocol::{encoding::encode, ids, messages::PushMessage};
use countersign_domain::{ChallengeId, Clock, Entropy, HostileText, PushSubscription, Timestamp, UserId};
use reqwest::{
    Client, Proxy, Response, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER},
    redirect,
};

use crate::{
    config::{ConfigError, PushConfig},
    hosts::{Endpoint, EndpointError, Hosts, Lookup, PublicOnly, SystemLookup},
    message::{self, MessageError, Padding, Recipient},
    vapid::{Vapid, VapidKey},
};

/// How long a connection may take to come about, and a request from beginning to end.
const CONNECT: Duration = Duration::from_secs(2);
const TOTAL: Duration = Duration::from_secs(5);
/// How much of an answer is read, in octets.
const ANSWER: usize = 4096;
/// How much of it is shown, in characters.
const SHOWN: usize = 200;
/// Longer pauses than this are of no use to any challenge.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// Why there is no sender.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// TLS cannot be set up: the system's certificates cannot be read, for one.
    #[error("the HTTP client for push services cannot be set up: {0}")]
    Client(#[source] reqwest::Error),
}

/// What a push service said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The beginning of the text, escaped; may be empty.
    pub text: String,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if let Some(reason) = StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason()) {
            write!(f, " {reason}")?;
        }
        if self.text.is_empty() { Ok(()) } else { write!(f, ": {}", self.text) }
    }
}

/// Why a push may get through a little later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The push service asks for patience (429) or is ill (5xx).
    Busy(Answer),
    /// No answer came.
    Unreachable(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy(answer) => answer.fmt(f),
            Self::Unreachable(why) => f.write_str(why),
        }
    }
}

/// What became of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// The push service took it.
    Delivered(Answer),
    /// The subscription has ended for good: 404 or 410 (RFC 8030 section 7.3).
    Gone(Answer),
    /// Not now.
    Retry {
        /// Why.
        trouble: Trouble,
        /// How long the push service wants to be left alone (RFC 9110 section 10.2.3).
        after: Option<Duration>,
    },
    /// The push service does not accept who we say we are: 401 or 403 (RFC 8292 section 4.2).
    Misconfigured(Answer),
    /// The push service does not take it, and will not: another 4xx, or a redirection, which is never followed.
    Refused(Answer),
    /// We do not send there (S88).
    NotAllowed(EndpointError),
    /// The subscription's keys are none.
    Unusable(MessageError),
    /// The challenge is over before a push could be of use.
    Late,
}

/// Sends pushes. Connections are kept; one of HTTP/2 carries all pushes to a service that offers it.
pub struct PushSender {
    client: Client,
    hosts: Arc<Hosts>,
    vapid: Vapid,
    contact: String,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl fmt::Debug for PushSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushSender").field("hosts", &self.hosts).field("vapid", &self.vapid).finish_non_exhaustive()
    }
}

impl PushSender {
    /// A sender that says it is `key`.
    ///
    /// # Errors
    /// [`PushError`].
    pub fn new(
        config: &PushConfig,
        key: VapidKey,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, PushError> {
        Self::with_lookup(config, key, clock, entropy, Arc::new(SystemLookup))
    }

    /// The same, with names resolved by `lookup`.
    ///
    /// # Errors
    /// [`PushError`].
    pub fn with_lookup(
        config: &PushConfig,
        key: VapidKey,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        lookup: Arc<dyn Lookup>,
    ) -> Result<Self, PushError> {
        let settings = config.settings()?;
        let hosts = settings.hosts;
        let proxy_host = settings.proxy.as_ref().and_then(|proxy| proxy.host_str()).map(str::to_owned);
        let resolver = PublicOnly { hosts: Arc::clone(&hosts), proxy: proxy_host, lookup };
        let mut client = Client::builder()
            .dns_resolver(Arc::new(resolver))
            .redirect(redirect::Policy::none())
            .referer(false)
            // Also keeps the proxy of the environment out.
            .no_proxy()
            .connect_timeout(CONNECT)
            .timeout(TOTAL)
            .http2_keep_alive_interval(Duration::from_secs(30))
            .http2_keep_alive_timeout(TOTAL);
        if let Some(proxy) = settings.proxy {
            let hosts = Arc::clone(&hosts);
            client = client.proxy(Proxy::custom(move |url| {
                let direct = url.host_str().is_some_and(|host| hosts.may_be_private(host));
                (!direct).then(|| proxy.clone())
            }));
        }
        let client = client.build().map_err(PushError::Client)?;
        let vapid = Vapid::new(key, settings.contact.clone());
        Ok(Self { client, hosts, vapid, contact: settings.contact, clock, entropy })
    }

    /// Whether an endpoint may be sent to, as far as its text says; where its name leads is known once it is sent to.
    ///
    /// # Errors
    /// [`EndpointError`].
    pub fn check(&self, endpoint: &str) -> Result<Endpoint, EndpointError> {
        self.hosts.check(endpoint)
    }

    /// How many push services there are, [`Endpoint::service`] counting from zero.
    pub(crate) fn services(&self) -> usize {
        self.hosts.len()
    }

    /// The configured contact.
    pub(crate) fn contact(&self) -> &str {
        &self.contact
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn entropy(&self) -> &dyn Entropy {
        &*self.entropy
    }

    /// Sends one push: to the account `user` that `challenge` waits until `expires_at`. Nothing is tried again here,
    /// but a message that was found too large, once and without padding.
    pub async fn send(
        &self,
        subscription: &PushSubscription,
        user: UserId,
        challenge: ChallengeId,
        expires_at: Timestamp,
    ) -> Outcome {
        match self.check(&subscription.endpoint) {
            Ok(endpoint) => self.send_to(&endpoint, subscription, user, challenge, expires_at).await,
            Err(fault) => Outcome::NotAllowed(fault),
        }
    }

    pub(crate) async fn send_to(
        &self,
        endpoint: &Endpoint,
        subscription: &PushSubscription,
        user: UserId,
        challenge: ChallengeId,
        expires_at: Timestamp,
    ) -> Outcome {
        let recipient = match Recipient::new(subscription) {
            Ok(recipient) => recipient,
            Err(fault) => return Outcome::Unusable(fault),
        };
        let Some(message) = plaintext(user, challenge) else { return Outcome::Unusable(MessageError::Library) };
        let push = Push { endpoint, recipient: &recipient, message: &message, challenge, expires_at };
        match self.post(&push, Padding::Constant).await {
            Outcome::Refused(answer) if answer.status == StatusCode::PAYLOAD_TOO_LARGE.as_u16() => {
                self.post(&push, Padding::Least).await
            }
            outcome => outcome,
        }
    }

    async fn post(&self, push: &Push<'_>, padding: Padding) -> Outcome {
        let now = self.clock.now();
        // The push service forgets what it could not deliver when the challenge ends (RFC 8030 section 5.2).
        let ttl = push.expires_at.since(now).as_secs();
        if ttl == 0 {
            return Outcome::Late;
        }
        let salt = self.entropy.octets();
        let body = match message::encrypt(push.recipient, push.message, padding, salt) {
            Ok(body) => body,
            Err(fault) => return Outcome::Unusable(fault),
        };
        let Ok(authorization) = self.vapid.authorization(push.endpoint.origin(), now) else {
            return Outcome::Unusable(MessageError::Library);
        };
        let request = self
            .client
            .post(push.endpoint.url().clone())
            .header("ttl", ttl)
            // Somebody waits at a login (RFC 8030 section 5.3).
            .header("urgency", "high")
            // A second push for a challenge takes the place of the first (RFC 8030 section 5.4).
            .header("topic", topic(push.challenge))
            .header(CONTENT_ENCODING, "aes128gcm")
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(reqwest::header::AUTHORIZATION, authorization)
            .body(body);
        let response = match request.send().await {
            Ok(response) => response,
            Err(fault) => return unanswered(&fault),
        };
        let outcome = self.judge(response).await;
        if matches!(outcome, Outcome::Misconfigured(_)) {
            self.vapid.forget(push.endpoint.origin());
        }
        outcome
    }

    async fn judge(&self, response: Response) -> Outcome {
        let status = response.status();
        let after = retry_after(response.headers(), self.clock.now());
        let answer = Answer { status: status.as_u16(), text: beginning(response).await };
        match status {
            StatusCode::OK | StatusCode::CREATED | StatusCode::ACCEPTED | StatusCode::NO_CONTENT => {
                Outcome::Delivered(answer)
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => Outcome::Gone(answer),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Outcome::Misconfigured(answer),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Outcome::Retry { trouble: Trouble::Busy(answer), after }
            }
            status if status.is_server_error() => Outcome::Retry { trouble: Trouble::Busy(answer), after },
            _ => Outcome::Refused(answer),
        }
    }
}

struct Push<'a> {
    endpoint: &'a Endpoint,
    recipient: &'a Recipient,
    message: &'a [u8],
    challenge: ChallengeId,
    expires_at: Timestamp,
}

/// The message of the device protocol: which account, which challenge, and nothing of the login.
fn plaintext(user: UserId, challenge: ChallengeId) -> Option<Vec<u8>> {
    let account = ids::AccountId::new(user.to_string()).ok()?;
    let challenge = ids::ChallengeId::from_bytes(*challenge.as_octets());
    serde_json::to_vec(&PushMessage::new(account, challenge)).ok()
}

/// 22 characters of the base64url alphabet; at most 32 are allowed. Not the identifier itself, which is nobody's business.
fn topic(challenge: ChallengeId) -> String {
    let hash = digest(&SHA256, &[b"countersign-push-topic".as_slice(), challenge.as_octets()].concat());
    encode(hash.as_ref().get(..16).unwrap_or_default())
}

/// The beginning of an answer, escaped. The rest is not read.
async fn beginning(mut response: Response) -> String {
    let mut text = Vec::new();
    let mut read = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        text.extend_from_slice(chunk.get(..ANSWER.saturating_sub(read)).unwrap_or(&chunk));
        read += chunk.len();
        if read >= ANSWER {
            break;
        }
    }
    HostileText::new(text.trim_ascii()).shown(SHOWN)
}

/// Seconds or a date (RFC 9110 section 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER).map(HeaderValue::to_str)?.ok()?.trim();
    let pause = if text.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than fit are a long time too.
        text.parse().map_or(LONGEST_PAUSE, Duration::from_secs)
    } else {
        let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
        Timestamp::from_micros(date.as_microsecond()).since(now)
    };
    Some(pause.min(LONGEST_PAUSE))
}

/// Why there was no answer: we did not want to connect, or could not.
fn unanswered(fault: &reqwest::Error) -> Outcome {
    let mut source = fault.source();
    let mut deepest = None;
    while let Some(cause) = source {
        if let Some(ours) = cause.downcast_ref::<EndpointError>() {
            return Outcome::NotAllowed(ours.clone());
        }
        deepest = Some(cause);
        source = cause.source();
    }
    // The error itself shows the URL, which is a secret.
    let why = match deepest {
        _ if fault.is_timeout() => "no answer in time".to_owned(),
        Some(cause) => HostileText::new(cause.to_string().as_bytes()).shown(SHOWN),
        None => "the request cannot be made".to_owned(),
    };
    Outcome::Retry { trouble: Trouble::Unreachable(why), after: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c041_retry_after_is_seconds_or_a_date() {
        let now = Timestamp::from_rfc3339("2026-11-06T08:49:07Z").unwrap();
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers, now)
        };
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("0"), Some(Duration::ZERO));
        assert_eq!(read("Fri, 06 Nov 2026 08:49:37 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(read("Fri, 06 Nov 2026 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("99999999999999999999999"), Some(LONGEST_PAUSE));
        assert_eq!(read("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn a_topic_has_a_form_that_push_services_take() {
        let (one, other) = (ChallengeId::from_octets([1; 16]), ChallengeId::from_octets([2; 16]));
        assert_eq!(topic(one).len(), 22);
        assert_eq!(topic(one), topic(one));
        assert_ne!(topic(one), topic(other));
        assert_ne!(topic(one), one.to_string());
    }
}
