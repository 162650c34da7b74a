//! `countersign radius-login`: asks a RADIUS server for one login, as a NAS does, and says what came back.

use core::{fmt, time::Duration};
use std::{
    io::{self, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use anyhow::Context as _;
use countersign_api::admin::to_vec;
use countersign_domain::HostileText;
use countersign_radius::{
    AttributeList, AttributeType, Authenticator, Code, Identifier, MessageAuthenticatorRule, PacketView, ReplyError,
    SharedSecret, UserPassword, describe, encode_request, verify_reply,
};
use serde::Serialize;
use tokio::{
    net::{UdpSocket, lookup_host},
    time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until},
};
use zeroize::Zeroizing;

use crate::output::local_problem;

/// The server let the user in.
pub(crate) const ACCEPTED: u8 = 0;
/// The server did not.
pub(crate) const REJECTED: u8 = 1;
/// No reply came that can be believed.
pub(crate) const NO_ANSWER: u8 = 2;
/// The server asks for more.
pub(crate) const CHALLENGED: u8 = 3;
/// The command makes no sense (`EX_USAGE` of sysexits).
pub(crate) const USAGE: u8 = 64;

/// Where a server listens unless another address is given.
pub(crate) const DEFAULT_SERVER: &str = "127.0.0.1:1812";
/// Ten seconds longer than a push lives by default.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(70);
/// RFC 2865 section 3.
const PORT: u16 = 1812;
/// How this client names itself (RFC 2865 section 5.32).
const NAS_IDENTIFIER: &str = "countersign radius-login";

/// What to ask, and whom.
#[derive(Debug)]
pub(crate) struct Args {
    /// Address or name of the server; port 1812 where none is given.
    pub(crate) server: String,
    /// The secret shared with it.
    pub(crate) secret: Zeroizing<Vec<u8>>,
    /// User-Name.
    pub(crate) user: String,
    /// User-Password, if there is to be one.
    pub(crate) password: Option<Zeroizing<Vec<u8>>>,
    /// Calling-Station-Id, if there is to be one.
    pub(crate) calling_station: Option<String>,
    /// How long to wait.
    pub(crate) timeout: Duration,
    /// Send the same packet again so often; off by default, since the server does not need it.
    pub(crate) resend_every: Option<Duration>,
}

/// Who reads what is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// A person who sees on a terminal that it waits.
    Watching,
    /// A person, later.
    Person,
    /// A script, which gets one JSON document.
    Script,
}

/// What came of a login, for scripts. The members are fixed.
#[derive(Serialize)]
struct Report {
    /// `accepted`, `rejected`, `challenge` or `no_answer`.
    result: &'static str,
    /// How long it took, to the millisecond.
    seconds: f64,
    user: String,
    server: String,
    /// The Reply-Messages.
    messages: Vec<String>,
    /// The other attributes of the reply, as `Name = value`.
    attributes: Vec<String>,
    /// What else is known, for people.
    detail: Option<String>,
}

/// Asks once. What came back goes to `out`, everything beside it to `err`. Gives back the exit code.
///
/// # Errors
/// The system gives no socket or no random octets, or `out` cannot be written to.
pub(crate) async fn run(args: &Args, out: &mut dyn Write, err: &mut dyn Write, reader: Reader) -> anyhow::Result<u8> {
    let attempt = match Attempt::prepare(args).await? {
        Ok(attempt) => attempt,
        Err(usage) => {
            if reader == Reader::Script {
                json_line(err, &local_problem("usage", &usage.to_string()))?;
            } else {
                writeln!(err, "error: {usage}")?;
            }
            return Ok(USAGE);
        }
    };
    let outcome = attempt.wait(args, err, reader == Reader::Watching).await?;
    let seconds = attempt.started.elapsed().as_secs_f64();
    let (user, server) = (HostileText::from(args.user.as_str()), attempt.server);
    let (code, result, detail) = match &outcome {
        Outcome::Reply(reply) => match reply.code {
            Code::AccessAccept => (ACCEPTED, "accepted", None),
            Code::AccessChallenge => (CHALLENGED, "challenge", None),
            Code::ProtocolError => {
                (REJECTED, "rejected", Some("the server does not do what was asked of it".to_owned()))
            }
            _ => {
                let why = "the server does not say why; `countersign audit list` there does";
                (REJECTED, "rejected", Some(why.to_owned()))
            }
        },
        Outcome::Silence(silence) => (NO_ANSWER, "no_answer", Some(silence.explained(&attempt))),
    };
    let (messages, attributes) = match outcome {
        Outcome::Reply(reply) => (reply.messages, reply.attributes),
        Outcome::Silence(_) => (Vec::new(), Vec::new()),
    };
    if reader == Reader::Script {
        let report = Report {
            result,
            seconds: (seconds * 1000.0).round() / 1000.0,
            user: user.to_string(),
            server: server.to_string(),
            messages: messages.iter().map(ToString::to_string).collect(),
            attributes,
            detail,
        };
        json_line(out, &report)?;
        return Ok(code);
    }
    match (code, detail) {
        (NO_ANSWER, why) => {
            writeln!(out, "no answer from {server} ({seconds:.1} s)")?;
            writeln!(err, "{}", why.unwrap_or_default())?;
        }
        (REJECTED, why) => {
            let why = why.unwrap_or_default();
            writeln!(out, "rejected: {user} may not log on ({seconds:.1} s); {why}")?;
        }
        (CHALLENGED, _) => writeln!(out, "challenge: the server asks {user} for more ({seconds:.1} s)")?,
        _ => writeln!(out, "accepted: {user} may log on ({seconds:.1} s)")?,
    }
    for message in &messages {
        writeln!(out, "message: {message}")?;
    }
    for attribute in &attributes {
        writeln!(out, "attribute: {attribute}")?;
    }
    Ok(code)
}

fn json_line(to: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    let mut line = to_vec(value);
    line.push(b'\n');
    to.write_all(&line)
}

/// What is wrong with the command.
#[derive(Debug)]
enum Usage {
    Server(String),
    User,
    Secret,
    Password(usize),
    CallingStation,
    TooLittleTime,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(server) => {
                let server = HostileText::from(server.as_str());
                write!(
                    f,
                    "{server} is no address of a server: give an address or a name, with :PORT where it is not {PORT}"
                )
            }
            Self::User => f.write_str("the user name is empty or longer than the 253 octets that RADIUS can carry"),
            Self::Secret => f.write_str("the shared secret is empty: give the one that the server has for this client"),
            Self::Password(octets) => {
                write!(f, "the password has {octets} octets, RADIUS can carry 128 (RFC 2865 section 5.2)")
            }
            Self::CallingStation => {
                f.write_str("the calling station is longer than the 253 octets that RADIUS can carry")
            }
            Self::TooLittleTime => f.write_str("the time to wait is zero"),
        }
    }
}

/// A reply that was verified.
#[derive(Debug)]
struct Reply {
    code: Code,
    messages: Vec<HostileText>,
    /// All others that were sent for the client, escaped.
    attributes: Vec<String>,
}

/// What came of it.
#[derive(Debug)]
enum Outcome {
    Reply(Reply),
    Silence(Silence),
}

/// Why there is no answer, as far as it shows.
#[derive(Debug, Default)]
struct Silence {
    /// The host says that nobody listens.
    refused: bool,
    /// The last of the replies that were not believed.
    unbelieved: Option<ReplyError>,
}

impl Silence {
    fn explained(&self, attempt: &Attempt) -> String {
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
struct Attempt {
    socket: UdpSocket,
    server: SocketAddr,
    local: SocketAddr,
    secret: SharedSecret,
    identifier: Identifier,
    authenticator: Authenticator,
    packet: Vec<u8>,
    started: Instant,
}

impl Attempt {
    async fn prepare(args: &Args) -> anyhow::Result<Result<Self, Usage>> {
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
    async fn wait(&self, args: &Args, err: &mut dyn Write, terminal: bool) -> anyhow::Result<Outcome> {
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
        let said = [AttributeType::REPLY_MESSAGE, AttributeType::MESSAGE_AUTHENTICATOR, AttributeType::PROXY_STATE];
        let others = packet.iter().filter(|attribute| !said.contains(&attribute.kind));
        let attributes = others.flat_map(|attribute| describe(&attribute)).map(|text| escaped(&text)).collect();
        Ok(Reply { code: packet.code(), messages, attributes })
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

fn check(args: &Args) -> Option<Usage> {
    let fits = |text: &str| text.len() <= HostileText::MAX;
    if args.user.is_empty() || !fits(&args.user) {
        return Some(Usage::User);
    }
    if args.secret.is_empty() {
        return Some(Usage::Secret);
    }
    if let Some(octets) = args.password.as_ref().map(|password| password.len()).filter(|octets| *octets > 128) {
        return Some(Usage::Password(octets));
    }
    if args.calling_station.as_ref().is_some_and(|station| !fits(station)) {
        return Some(Usage::CallingStation);
    }
    args.timeout.is_zero().then_some(Usage::TooLittleTime)
}

/// `ADDRESS`, `NAME`, `ADDRESS:PORT`, `NAME:PORT`, `[V6]:PORT`.
async fn resolve(server: &str) -> Option<SocketAddr> {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use countersign_radius::encode_reply;

    use super::*;

    const SECRET: &[u8] = b"a secret for one test and no other";

    /// Answers with these codes, one to each packet; `None` is silence.
    async fn server(codes: Vec<Option<Code>>, secret: &'static [u8], message: &'static str) -> SocketAddr {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            for code in codes {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                let request = PacketView::parse(&buffer[..length]).unwrap();
                let mut attributes = AttributeList::new();
                attributes.push_text(AttributeType::REPLY_MESSAGE, message).unwrap();
                attributes.push_vendor(9, 1, "shell:priv-lvl=15\u{202e}".as_bytes()).unwrap();
                attributes.push(AttributeType::CLASS, &[0xff; 253]).unwrap();
                let Some(code) = code else { continue };
                let reply = encode_reply(code, &request, &SharedSecret::new(secret), &attributes).unwrap();
                socket.send_to(&reply, from).await.unwrap();
            }
            // Stays, so that what comes later is not refused.
            core::future::pending::<()>().await;
        });
        address
    }

    fn args(server: impl fmt::Display) -> Args {
        Args {
            server: server.to_string(),
            secret: Zeroizing::new(SECRET.to_vec()),
            user: "alice".to_owned(),
            password: Some(Zeroizing::new(b"correct horse".to_vec())),
            calling_station: Some("203.0.113.7".to_owned()),
            timeout: Duration::from_millis(300),
            resend_every: None,
        }
    }

    async fn said(args: &Args) -> (u8, String, String) {
        said_to(args, Reader::Person).await
    }

    async fn said_to(args: &Args, reader: Reader) -> (u8, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(args, &mut out, &mut err, reader).await.unwrap();
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[tokio::test]
    async fn each_reply_has_its_exit_code_and_its_words() {
        for (code, exit, word) in [
            (Code::AccessAccept, ACCEPTED, "accepted"),
            (Code::AccessReject, REJECTED, "rejected"),
            (Code::AccessChallenge, CHALLENGED, "challenge"),
            (Code::ProtocolError, REJECTED, "rejected"),
        ] {
            let address = server(vec![Some(code)], SECRET, "hi\x1b[2J").await;
            let (found, out, err) = said(&args(address)).await;
            assert_eq!((found, err.as_str()), (exit, ""));
            assert!(out.starts_with(word) && out.contains("message: hi\\u{1b}[2J\n"), "{out}");
            assert!(out.contains("\nattribute: Cisco-AVPair = shell:priv-lvl=15\\u{202e}\n"), "{out}");
        }
    }

    #[tokio::test]
    async fn silence_names_its_likely_causes() {
        let (code, out, err) = said(&args(server(vec![None], SECRET, "").await)).await;
        assert_eq!(code, NO_ANSWER);
        assert!(out.contains("no answer") && err.contains("shared secret") && err.contains("127.0.0.1"), "{err}");

        let other = server(vec![Some(Code::AccessAccept)], b"another secret, and a longer one", "").await;
        let (code, _, err) = said(&args(other)).await;
        assert_eq!(code, NO_ANSWER);
        assert!(err.contains("cannot be believed"), "{err}");

        let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let (code, _, err) = said(&args(gone)).await;
        assert_eq!(code, NO_ANSWER);
        assert!(err.contains("nothing listens"), "{err}");
    }

    #[tokio::test]
    async fn a_script_gets_one_document_and_nothing_beside_it() {
        for (code, exit, result) in [
            (Some(Code::AccessAccept), ACCEPTED, "accepted"),
            (Some(Code::AccessReject), REJECTED, "rejected"),
            (Some(Code::AccessChallenge), CHALLENGED, "challenge"),
            (Some(Code::ProtocolError), REJECTED, "rejected"),
            (None, NO_ANSWER, "no_answer"),
        ] {
            let args = Args { user: "al\nice".to_owned(), ..args(server(vec![code], SECRET, "hi\x1b[2J").await) };
            let (found, out, err) = said_to(&args, Reader::Script).await;
            assert_eq!((found, err.as_str(), out.lines().count()), (exit, "", 1));
            let report: serde_json::Value = serde_json::from_str(&out).unwrap();
            assert_eq!((&report["result"], &report["user"]), (&result.into(), &"al\\u{a}ice".into()));
            assert_eq!(report["server"], args.server);
            assert!(report["seconds"].as_f64().unwrap() < 30.0);
            let messages = code.map_or_else(Vec::new, |_| vec!["hi\\u{1b}[2J"]);
            assert_eq!(report["messages"], serde_json::json!(messages));
            let class = format!("Class = 0x{}", "ff".repeat(253));
            let attributes = code.map_or_else(Vec::new, |_| vec!["Cisco-AVPair = shell:priv-lvl=15\\u{202e}", &class]);
            assert_eq!(report["attributes"], serde_json::json!(attributes));
            assert_eq!(report["detail"].is_string(), matches!(exit, REJECTED | NO_ANSWER), "{report}");
        }
        let (code, out, err) = said_to(&Args { user: String::new(), ..args(DEFAULT_SERVER) }, Reader::Script).await;
        let problem: serde_json::Value = serde_json::from_str(&err).unwrap();
        assert_eq!((code, out.as_str(), &problem["code"]), (USAGE, "", &"usage".into()));
    }

    #[tokio::test]
    async fn the_same_packet_is_sent_again_where_that_is_wanted() {
        let address = server(vec![None, None, Some(Code::AccessAccept)], SECRET, "").await;
        let args = Args { resend_every: Some(Duration::from_millis(20)), timeout: DEFAULT_TIMEOUT, ..args(address) };
        assert_eq!(said(&args).await.0, ACCEPTED);
    }

    #[tokio::test]
    async fn what_cannot_be_asked_is_said_and_nothing_is_sent() {
        let to = DEFAULT_SERVER;
        for args in [
            Args { user: String::new(), ..args(to) },
            Args { user: "x".repeat(254), ..args(to) },
            Args { secret: Zeroizing::default(), ..args(to) },
            Args { password: Some(Zeroizing::new(vec![b'x'; 129])), ..args(to) },
            Args { calling_station: Some("x".repeat(254)), ..args(to) },
            Args { timeout: Duration::ZERO, ..args(to) },
            Args { server: "no such:port:here".to_owned(), ..args(to) },
        ] {
            let (code, out, err) = said(&args).await;
            assert_eq!((code, out.as_str()), (USAGE, ""));
            assert!(err.starts_with("error: "), "{err}");
        }
    }

    #[tokio::test]
    async fn the_port_may_be_left_out() {
        for (text, address) in [
            ("192.0.2.1", "192.0.2.1:1812"),
            ("192.0.2.1:1645", "192.0.2.1:1645"),
            ("2001:db8::1", "[2001:db8::1]:1812"),
            ("[2001:db8::1]", "[2001:db8::1]:1812"),
            ("[2001:db8::1]:1645", "[2001:db8::1]:1645"),
        ] {
            assert_eq!(resolve(text).await, Some(address.parse().unwrap()));
        }
    }
}
