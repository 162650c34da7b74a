//! One request: made, sent, and its reply believed or not.

use core::time::Duration;
use std::{
    io::{self, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use anyhow::Context as _;
use countersign_domain::HostileText;
use countersign_radius::{
    AttributeList, AttributeType, Authenticator, Code, Identifier, MessageAuthenticatorRule, PacketView, ReplyError,
    SharedSecret, UserPassword, describe, encode_request, verify_reply,
};
use tokio::{
    net::{UdpSocket, lookup_host},
    time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until},
};

use super::{Args, PORT, Usage, check};

/// How this client names itself (RFC 2865 section 5.32).
const NAS_IDENTIFIER: &str = "countersign radius-login";

/// A reply that was verified.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) code: Code,
    pub(super) messages: Vec<HostileText>,
    /// All others that were sent for the client, escaped.
    pub(super) attributes: Vec<String>,
    /// What an answer must carry (RFC 2865 section 5.24).
    pub(super) state: Option<Vec<u8>>,
    /// Whether what is typed may be seen (RFC 2869 section 5.10).
    pub(super) echo: bool,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Outcome {
    Reply(Reply),
    Silence(Silence),
}

/// Why there is no answer, as far as it shows.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// The host says that nobody listens.
    refused: bool,
    /// The last of the replies that were not believed.
    unbelieved: Option<ReplyError>,
}

impl Silence {
    pub(super) fn explained(&self, attempt: &Attempt) -> String {
        let Attempt { server, local, .. } = attempt;
        if self.refused {
            return format!(
                "nothing listens on UDP port {} there: is the server running, and is that its [radius] listen?",
                server.port()
            );
        }
        if let Some(fault) = &self.unbelieved {
            return format!(
                "replies came, but they cannot be believed ({fault}): the shared secret differs, the server is older \
                 than the fix of CVE-2024-3596 and sends no Message-Authenticator, or somebody forges them"
            );
        }
        let from = local.ip().to_canonical();
        format!(
            "likely causes, the most frequent first:\n\
             - the shared secret differs: a server drops such packets without a word and warns in its log\n\
             - {from} belongs to no resource there: `countersign resource list` on the server\n\
             - a firewall drops UDP port {} between {from} and {}\n\
             - the server waits longer for the user than this command does: --timeout\n\
             `countersign doctor` on the server says which packets it has seen",
            server.port(),
            server.ip()
        )
    }
}

/// One request on its way.
#[derive(Debug)]
pub(super) struct Attempt {
    socket: UdpSocket,
    pub(super) server: SocketAddr,
    local: SocketAddr,
    secret: SharedSecret,
    identifier: Identifier,
    authenticator: Authenticator,
    packet: Vec<u8>,
    pub(super) started: Instant,
}

impl Attempt {
    pub(super) async fn prepare(args: &Args) -> anyhow::Result<Result<Self, Usage>> {
        if let Some(usage) = check(args) {
            return Ok(Err(usage));
        }
        let Some(server) = resolve(&args.server).await else { return Ok(Err(Usage::Server(args.server.clone()))) };
        let mut random = [0; 17];
        aws_lc_rs::rand::fill(&mut random).ok().context("the system gives no random octets")?;
        let [identifier, authenticator @ ..] = random;
        let (identifier, authenticator) = (Identifier(identifier), Authenticator(authenticator));
        let secret = SharedSecret::new(args.secret.as_slice());

        let mut attributes = AttributeList::new();
        attributes.push_text(AttributeType::USER_NAME, &args.user)?;
        if let Some(password) = &args.password {
            let hidden = UserPassword::hide(password, &secret, &authenticator)?;
            attributes.push(AttributeType::USER_PASSWORD, &hidden)?;
        }
        attributes.push_text(AttributeType::NAS_IDENTIFIER, NAS_IDENTIFIER)?;
        if let Some(station) = &args.calling_station {
            attributes.push_text(AttributeType::CALLING_STATION_ID, station)?;
        }
        if let Some(state) = &args.state {
            attributes.push(AttributeType::STATE, state)?;
        }
        let packet = encode_request(Code::AccessRequest, identifier, &authenticator, &secret, &attributes)?;

        let any: SocketAddr = match server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await.context("no UDP socket can be opened")?;
        socket.connect(server).await.with_context(|| format!("{server} cannot be reached from here"))?;
        let local = socket.local_addr().context("no UDP socket can be opened")?;
        let started = Instant::now();
        Ok(Ok(Self { socket, server, local, secret, identifier, authenticator, packet, started }))
    }

    /// Sends, waits and shows that it waits.
    pub(super) async fn wait(&self, args: &Args, err: &mut dyn Write, terminal: bool) -> anyhow::Result<Outcome> {
        let until = self.started + args.timeout;
        let mut silence = Silence::default();
        let mut buffer = vec![0; usize::from(u16::MAX)];
        let mut seconds = ticks(self.started, Duration::from_secs(1));
        let mut resend = ticks(self.started, args.resend_every.unwrap_or(Duration::MAX));
        // What is wrong with sending shows in the reply that does not come.
        let _lost = self.socket.send(&self.packet).await;
        let outcome = loop {
            tokio::select! {
                received = self.socket.recv(&mut buffer) => match received {
                    Ok(length) => match self.believe(buffer.get(..length).unwrap_or_default()) {
                        Ok(reply) => break Outcome::Reply(reply),
                        Err(fault) => silence.unbelieved = Some(fault),
                    },
                    Err(fault) if fault.kind() == io::ErrorKind::ConnectionRefused => {
                        silence.refused = true;
                        break Outcome::Silence(silence);
                    }
                    Err(fault) => return Err(fault).context("nothing can be received"),
                },
                () = sleep_until(until) => break Outcome::Silence(silence),
                _ = resend.tick(), if args.resend_every.is_some() => {
                    let _lost = self.socket.send(&self.packet).await;
                }
                _ = seconds.tick(), if terminal => {
                    let waited = self.started.elapsed().as_secs();
                    write!(err, "\rwaiting for {}: {waited} s", self.server)?;
                    err.flush()?;
                }
            }
        };
        if terminal {
            // Takes the line away again.
            write!(err, "\r\x1b[K")?;
            err.flush()?;
        }
        Ok(outcome)
    }

    fn believe(&self, datagram: &[u8]) -> Result<Reply, ReplyError> {
        let rule = MessageAuthenticatorRule::Required;
        let packet: PacketView<'_> = verify_reply(datagram, &self.authenticator, self.identifier, &self.secret, rule)?;
        let messages = packet.attributes(AttributeType::REPLY_MESSAGE).map(HostileText::new).collect();
        let state = packet.attribute(AttributeType::STATE).map(<[u8]>::to_vec);
        let echo = packet.attribute(AttributeType::PROMPT) == Some(&[0, 0, 0, 1]);
        let said = [
            AttributeType::REPLY_MESSAGE,
            AttributeType::MESSAGE_AUTHENTICATOR,
            AttributeType::PROXY_STATE,
            AttributeType::STATE,
            AttributeType::PROMPT,
        ];
        let others = packet.iter().filter(|attribute| !said.contains(&attribute.kind));
        let attributes = others.flat_map(|attribute| describe(&attribute)).map(|text| escaped(&text)).collect();
        Ok(Reply { code: packet.code(), messages, attributes, state, echo })
    }
}

/// The whole of a text, which may be longer than a [`HostileText`].
fn escaped(text: &str) -> String {
    text.chars().map(|sign| HostileText::from(&*sign.encode_utf8(&mut [0; 4])).to_string()).collect()
}

/// Goes off every `period`, the first time one period from `start`.
fn ticks(start: Instant, period: Duration) -> Interval {
    const LONG: Duration = Duration::from_secs(86_400);
    let period = period.clamp(Duration::from_millis(1), LONG);
    let mut ticks = interval_at(start + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// `ADDRESS`, `NAME`, `ADDRESS:PORT`, `NAME:PORT`, `[V6]:PORT`.
pub(super) async fn resolve(server: &str) -> Option<SocketAddr> {
    if let Ok(address) = server.parse() {
        return Some(address);
    }
    let bare = server.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(server);
    if let Ok(address) = bare.parse() {
        return Some(SocketAddr::new(address, PORT));
    }
    let named = if server.contains(':') { server.to_owned() } else { format!("{server}:{PORT}") };
    lookup_host(named).await.ok()?.next()
}
