//! `countersign radius-login`: asks a RADIUS server for one login, as a NAS does, and says what came back.

mod attempt;

use core::{fmt, time::Duration};
use std::io::{self, Write};

use attempt::{Attempt, Outcome, Reply};
use countersign_api::admin::to_vec;
use countersign_domain::HostileText;
use countersign_radius::Code;
use data_encoding::HEXLOWER;
use serde::Serialize;
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
    /// State, where the password is the answer to a question.
    pub(crate) state: Option<Vec<u8>>,
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
    /// With `challenge`: what `--state` of the answer is.
    state: Option<String>,
    /// What else is known, for people.
    detail: Option<String>,
}

/// Who answers the questions of a server; `None`: nobody.
pub(crate) trait Answers {
    /// Shows a question and reads the answer, which may be seen while it is typed where `echo` says so.
    fn answer(&mut self, question: &str, echo: bool) -> Option<Zeroizing<Vec<u8>>>;
}

/// Asks, and answers the server's questions for as long as somebody does. What came back goes to `out`, everything beside
/// it to `err`. Gives back the exit code.
///
/// # Errors
/// The system gives no socket or no random octets, or `out` cannot be written to.
pub(crate) async fn run(
    mut args: Args,
    answers: &mut dyn Answers,
    out: &mut dyn Write,
    err: &mut dyn Write,
    reader: Reader,
) -> anyhow::Result<u8> {
    loop {
        let attempt = match Attempt::prepare(&args).await? {
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
        let outcome = attempt.wait(&args, err, reader == Reader::Watching).await?;
        if let Outcome::Reply(Reply { code: Code::AccessChallenge, messages, state, echo, .. }) = &outcome {
            let said: Vec<String> = messages.iter().map(ToString::to_string).collect();
            let question = if said.is_empty() { "the server asks for more:".to_owned() } else { said.join(" ") };
            if let Some(answer) = answers.answer(&question, *echo) {
                args.password = Some(answer);
                args.state.clone_from(state);
                continue;
            }
        }
        return report(&args, &attempt, outcome, out, err, reader);
    }
}

fn report(
    args: &Args,
    attempt: &Attempt,
    outcome: Outcome,
    out: &mut dyn Write,
    err: &mut dyn Write,
    reader: Reader,
) -> anyhow::Result<u8> {
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
        Outcome::Silence(silence) => (NO_ANSWER, "no_answer", Some(silence.explained(attempt))),
    };
    let (messages, attributes, state) = match outcome {
        Outcome::Reply(reply) => (reply.messages, reply.attributes, reply.state),
        Outcome::Silence(_) => (Vec::new(), Vec::new(), None),
    };
    let state = state.filter(|_| code == CHALLENGED).map(|state| HEXLOWER.encode(&state));
    if reader == Reader::Script {
        let report = Report {
            result,
            seconds: (seconds * 1000.0).round() / 1000.0,
            user: user.to_string(),
            server: server.to_string(),
            messages: messages.iter().map(ToString::to_string).collect(),
            attributes,
            state,
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
    if let Some(state) = state {
        writeln!(out, "state: {state} (the answer goes with --state)")?;
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
    State(usize),
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
            Self::State(octets) => write!(f, "the state has {octets} octets, RADIUS can carry 1 to 253"),
            Self::TooLittleTime => f.write_str("the time to wait is zero"),
        }
    }
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
    if let Some(octets) = args.state.as_ref().map(Vec::len).filter(|octets| !(1..=HostileText::MAX).contains(octets)) {
        return Some(Usage::State(octets));
    }
    args.timeout.is_zero().then_some(Usage::TooLittleTime)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use countersign_radius::{AttributeList, AttributeType, PacketView, SharedSecret, UserPassword, encode_reply};
    use std::net::SocketAddr;
    use tokio::net::UdpSocket;

    use super::{attempt::resolve, *};

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
            state: None,
            timeout: Duration::from_millis(300),
            resend_every: None,
        }
    }

    struct Nobody;

    impl Answers for Nobody {
        fn answer(&mut self, _: &str, _: bool) -> Option<Zeroizing<Vec<u8>>> {
            None
        }
    }

    async fn said(args: Args) -> (u8, String, String) {
        said_to(args, Reader::Person).await
    }

    async fn said_to(args: Args, reader: Reader) -> (u8, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(args, &mut Nobody, &mut out, &mut err, reader).await.unwrap();
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
            let (found, out, err) = said(args(address)).await;
            assert_eq!((found, err.as_str()), (exit, ""));
            assert!(out.starts_with(word) && out.contains("message: hi\\u{1b}[2J\n"), "{out}");
            assert!(out.contains("\nattribute: Cisco-AVPair = shell:priv-lvl=15\\u{202e}\n"), "{out}");
        }
    }

    /// Asks `questions` times, then accepts; each answer must carry the State of its question and the text `answer`.
    async fn asking(questions: u8, with_state: bool) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let (secret, mut buffer) = (SharedSecret::new(SECRET), [0; 4096]);
            for round in 0..=questions {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                let request = PacketView::parse(&buffer[..length]).unwrap();
                let hidden = request.attribute(AttributeType::USER_PASSWORD).unwrap();
                let typed = UserPassword::unhide(hidden, &secret, &request.authenticator()).unwrap();
                let expected: &[u8] = if round == 0 { b"correct horse" } else { b"answer" };
                let state = (round > 0 && with_state).then_some([round; 16]);
                // The other attributes are repeated (C022).
                let right = typed.octets() == expected
                    && request.attribute(AttributeType::STATE) == state.as_ref().map(|state| &state[..])
                    && request.attribute(AttributeType::CALLING_STATION_ID) == Some(b"203.0.113.7")
                    && request.attribute(AttributeType::USER_NAME) == Some(b"alice");
                let mut attributes = AttributeList::new();
                let code = match (right, round < questions) {
                    (false, _) => Code::AccessReject,
                    (true, false) => Code::AccessAccept,
                    (true, true) => {
                        if with_state {
                            attributes.push(AttributeType::STATE, &[round + 1; 16]).unwrap();
                            attributes.push_text(AttributeType::REPLY_MESSAGE, "a code\x1b, please:").unwrap();
                            attributes.push(AttributeType::PROMPT, &[0, 0, 0, 1]).unwrap();
                        }
                        Code::AccessChallenge
                    }
                };
                let reply = encode_reply(code, &request, &secret, &attributes).unwrap();
                socket.send_to(&reply, from).await.unwrap();
            }
        });
        address
    }

    /// Types the same each time, so often.
    struct Typist(usize, Vec<(String, bool)>);

    impl Answers for Typist {
        fn answer(&mut self, question: &str, echo: bool) -> Option<Zeroizing<Vec<u8>>> {
            self.1.push((question.to_owned(), echo));
            let typed = Zeroizing::new(b"answer".to_vec());
            (self.1.len() <= self.0).then_some(typed)
        }
    }

    #[tokio::test]
    async fn c018_c022_questions_are_answered_with_state_and_everything_that_was_sent_before() {
        for (with_state, question, echo) in
            [(true, "a code\\u{1b}, please:", true), (false, "the server asks for more:", false)]
        {
            let mut typist = Typist(2, Vec::new());
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let args = Args { timeout: DEFAULT_TIMEOUT, ..args(asking(2, with_state).await) };
            let code = run(args, &mut typist, &mut out, &mut err, Reader::Person).await.unwrap();
            assert_eq!(code, ACCEPTED, "{}", String::from_utf8_lossy(&out));
            assert_eq!(typist.1, [(question.to_owned(), echo), (question.to_owned(), echo)]);
        }
    }

    #[tokio::test]
    async fn a_script_gets_the_state_and_answers_with_it() {
        let address = asking(1, true).await;
        let (code, out, _) = said_to(args(address), Reader::Script).await;
        let report: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!((code, &report["state"]), (CHALLENGED, &"01".repeat(16).into()));
        let answer =
            Args { password: Some(Zeroizing::new(b"answer".to_vec())), state: Some(vec![1; 16]), ..args(address) };
        let (code, out, _) = said_to(answer, Reader::Script).await;
        let report: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!((code, &report["state"]), (ACCEPTED, &serde_json::Value::Null));
    }

    #[tokio::test]
    async fn silence_names_its_likely_causes() {
        let (code, out, err) = said(args(server(vec![None], SECRET, "").await)).await;
        assert_eq!(code, NO_ANSWER);
        assert!(out.contains("no answer") && err.contains("shared secret") && err.contains("127.0.0.1"), "{err}");

        let other = server(vec![Some(Code::AccessAccept)], b"another secret, and a longer one", "").await;
        let (code, _, err) = said(args(other)).await;
        assert_eq!(code, NO_ANSWER);
        assert!(err.contains("cannot be believed"), "{err}");

        let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let (code, _, err) = said(args(gone)).await;
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
            let at = args.server.clone();
            let (found, out, err) = said_to(args, Reader::Script).await;
            assert_eq!((found, err.as_str(), out.lines().count()), (exit, "", 1));
            let report: serde_json::Value = serde_json::from_str(&out).unwrap();
            assert_eq!((&report["result"], &report["user"]), (&result.into(), &"al\\u{a}ice".into()));
            assert_eq!(report["server"], at);
            assert!(report["seconds"].as_f64().unwrap() < 30.0);
            let messages = code.map_or_else(Vec::new, |_| vec!["hi\\u{1b}[2J"]);
            assert_eq!(report["messages"], serde_json::json!(messages));
            let class = format!("Class = 0x{}", "ff".repeat(253));
            let attributes = code.map_or_else(Vec::new, |_| vec!["Cisco-AVPair = shell:priv-lvl=15\\u{202e}", &class]);
            assert_eq!(report["attributes"], serde_json::json!(attributes));
            assert_eq!(report["detail"].is_string(), matches!(exit, REJECTED | NO_ANSWER), "{report}");
        }
        let (code, out, err) = said_to(Args { user: String::new(), ..args(DEFAULT_SERVER) }, Reader::Script).await;
        let problem: serde_json::Value = serde_json::from_str(&err).unwrap();
        assert_eq!((code, out.as_str(), &problem["code"]), (USAGE, "", &"usage".into()));
    }

    #[tokio::test]
    async fn the_same_packet_is_sent_again_where_that_is_wanted() {
        let address = server(vec![None, None, Some(Code::AccessAccept)], SECRET, "").await;
        let args = Args { resend_every: Some(Duration::from_millis(20)), timeout: DEFAULT_TIMEOUT, ..args(address) };
        assert_eq!(said(args).await.0, ACCEPTED);
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
            Args { state: Some(Vec::new()), ..args(to) },
            Args { state: Some(vec![0; 254]), ..args(to) },
            Args { server: "no such:port:here".to_owned(), ..args(to) },
        ] {
            let (code, out, err) = said(args).await;
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
