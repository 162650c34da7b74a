//! What a trial of a server has found, in plain words.

use core::time::Duration;

use countersign_api::admin::upstreams::{SIGN_REPLIES, TrialLogin, UpstreamStep};
use countersign_domain::HostileText;
use countersign_radius::{AttributeList, Code, ReplyError, describe};
use countersign_radius_client::{Broken, Fault, trial::Finding};

/// What to look at where nothing comes back.
const SILENCE: &str = "See whether the server runs and listens on this port, whether a firewall is between, and whether it knows \
     this machine as a RADIUS client with this shared secret: a server drops what it cannot verify without a word, and its own \
     log says so (NPS: event 18)";

/// What one question to one server brought.
pub(super) fn step(server: &str, login: Option<&TrialLogin>, found: &Finding, took: Duration) -> UpstreamStep {
    let (ok, text, advice) = match (found, login) {
        (Finding::Reply { code, attributes }, None) => status(*code, attributes, took),
        (Finding::Reply { code, attributes }, Some(login)) => answered(*code, attributes, login, took),
        (Finding::Silence, None) => (
            false,
            "no answer to Status-Server".to_owned(),
            Some(format!(
                "NPS does not know Status-Server, so of an NPS this says nothing: try a login with --user NAME. Otherwise: {SILENCE}"
            )),
        ),
        (Finding::Silence, Some(_)) => (false, "no answer".to_owned(), Some(SILENCE.to_owned())),
        (Finding::Refused, _) => (
            false,
            "the machine is there, and nobody listens on the port".to_owned(),
            Some("Start the RADIUS server there, or name its authentication port: 1812, of old ones 1645".to_owned()),
        ),
        (Finding::Unproven(fault), _) => unproven(*fault),
        (Finding::Broken(broken), _) => broken_words(broken),
        (Finding::Unsent(fault), _) => (false, format!("nothing could be sent: {fault}"), None),
    };
    let step = if login.is_some() { "login" } else { "status" };
    UpstreamStep { server: server.to_owned(), step: step.to_owned(), ok, text, advice }
}

/// What Status-Server to one server that keeps accounting brought.
pub(super) fn accounting(server: &str, found: &Finding, took: Duration) -> UpstreamStep {
    let (ok, text, advice) = match found {
        Finding::Reply { .. } => (true, format!("keeps accounting, and answers after {} ms", took.as_millis()), None),
        Finding::Silence => (
            false,
            "no answer to Status-Server on its accounting port".to_owned(),
            Some(format!("NPS does not know Status-Server, so of an NPS this says nothing. Otherwise: {SILENCE}")),
        ),
        Finding::Refused => (
            false,
            "the machine is there, and nobody listens on the accounting port".to_owned(),
            Some("Start accounting there, or name its port: 1813, of old ones 1646".to_owned()),
        ),
        Finding::Unproven(ReplyError::UnexpectedCode(_)) => (
            false,
            "it sends something that is no answer of an accounting port".to_owned(),
            Some("Name its accounting port: 1813, of old ones 1646".to_owned()),
        ),
        Finding::Unproven(fault) => unproven(*fault),
        Finding::Broken(broken) => broken_words(broken),
        Finding::Unsent(fault) => (false, format!("nothing could be sent: {fault}"), None),
    };
    UpstreamStep { server: server.to_owned(), step: "accounting".to_owned(), ok, text, advice }
}

type Words = (bool, String, Option<String>);

fn status(code: Code, attributes: &[u8], took: Duration) -> Words {
    let took = took.as_millis();
    if code == Code::AccessAccept {
        return (true, format!("answers Status-Server after {took} ms"), None);
    }
    let text = format!("answers Status-Server after {took} ms, with {}{}", word(code), shown(attributes));
    (true, text, None)
}

fn answered(code: Code, attributes: &[u8], login: &TrialLogin, took: Duration) -> Words {
    let user = HostileText::from(login.user.as_str());
    let text = format!("says {} to {user} after {} ms{}", word(code), took.as_millis(), shown(attributes));
    let advice = match code {
        Code::AccessAccept => return (true, text, None),
        Code::AccessReject => {
            "The server is there and has decided so; its own log says why (NPS: event 6273 in the security log). A wrong \
             password counts there as one"
        }
        Code::AccessChallenge => {
            "The server wants to ask the user for more, which cannot be passed on: switch that off for this server, the second \
             factor is asked for here"
        }
        _ => "The server could not decide; its own log says why",
    };
    (false, text, Some(advice.to_owned()))
}

fn unproven(fault: ReplyError) -> Words {
    match fault {
        ReplyError::MessageAuthenticatorAbsent => (
            false,
            "it answers without Message-Authenticator, which proves nothing: anybody on the way could have made the answer \
             (CVE-2024-3596)"
                .to_owned(),
            Some(SIGN_REPLIES.to_owned()),
        ),
        ReplyError::ResponseAuthenticator | ReplyError::MessageAuthenticatorInvalid | ReplyError::Identifier => (
            false,
            format!("it answers, and not with the shared secret that is set here ({fault})"),
            Some(
                "Set the same shared secret on both sides: `countersign upstream set NAME --secret-stdin`, and there the RADIUS \
                 client that is this machine"
                    .to_owned(),
            ),
        ),
        ReplyError::Packet(_) | ReplyError::UnexpectedCode(_) => (
            false,
            format!("it sends something that is no answer to this ({fault})"),
            Some("Is that the authentication port of a RADIUS server? Accounting has another, 1813".to_owned()),
        ),
    }
}

/// What to look at where no connection over TLS comes about.
fn broken_words(broken: &Broken) -> Words {
    let advice = match broken {
        Broken::NoCredentials => "Over TLS both sides show a certificate",
        Broken::Unreachable(_) | Broken::Timeout => {
            "See whether the server runs and listens for RADIUS over TLS on this port (usually 2083, TCP), and whether a firewall \
             is between"
        }
        Broken::Tls(Fault::UnknownCa(_) | Fault::NoCa) => {
            "Set [radius.tls] ca to the CA that made the server's certificate, or name its fingerprint"
        }
        Broken::Tls(Fault::Stranger(_)) => {
            "Somebody else answers there, or the name is another than in the certificate: `countersign upstream set NAME --server \
             tls://…` says whose it has to be"
        }
        Broken::Tls(Fault::Expired(_) | Fault::NotValidYet(_)) => {
            "The server needs a new certificate, or a clock is wrong"
        }
        Broken::Tls(Fault::Refused(_) | Fault::Closed) => {
            "The server does not want us: see that it knows the CA of our certificate ([radius.tls] cert), that it knows us as a \
             client by it, and that our certificate is not over; its own log says why"
        }
        Broken::Tls(Fault::NotTls) => "Is that the port of RADIUS over TLS? Over UDP it has another",
        Broken::Unproven => "Set \"radsec\" as the shared secret of this client there",
        Broken::Tls(_) | Broken::Garbage(_) => "The server's own log may say more",
    };
    (false, broken.to_string(), Some(advice.to_owned()))
}

const fn word(code: Code) -> &'static str {
    match code {
        Code::AccessAccept => "Access-Accept",
        Code::AccessReject => "Access-Reject",
        Code::AccessChallenge => "Access-Challenge",
        Code::ProtocolError => "Protocol-Error",
        _ => "something else",
    }
}

/// The attributes, as an administrator reads them.
fn shown(attributes: &[u8]) -> String {
    let list = AttributeList::from_octets(attributes).unwrap_or_default();
    let all: Vec<String> = list.iter().flat_map(|attribute| describe(&attribute)).collect();
    if all.is_empty() { String::new() } else { format!(", with {}", all.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_says_what_to_do() {
        let login = TrialLogin { user: "alice".to_owned(), password: None };
        let reply = |code| Finding::Reply { code, attributes: vec![18, 4, b'n', b'o'] };
        let server = "192.0.2.7:1812";
        let found = [
            (reply(Code::AccessReject), "Access-Reject to alice", "6273"),
            (reply(Code::AccessChallenge), "Access-Challenge", "switch that off"),
            (Finding::Silence, "no answer", "firewall"),
            (Finding::Refused, "nobody listens", "1645"),
            (Finding::Broken(Broken::Tls(Fault::Expired("sha256:ab".to_owned()))), "expired", "new certificate"),
            (Finding::Broken(Broken::Tls(Fault::Refused("access denied".to_owned()))), "refused us", "knows us"),
            (Finding::Broken(Broken::Tls(Fault::Stranger("sha256:ab".to_owned()))), "not the one", "tls://"),
            (Finding::Broken(Broken::Unreachable("connection refused".to_owned())), "reached", "2083"),
            (Finding::Unproven(ReplyError::MessageAuthenticatorAbsent), "CVE-2024-3596", "July 2024"),
            (Finding::Unproven(ReplyError::ResponseAuthenticator), "not with the shared secret", "both sides"),
            (Finding::Unproven(ReplyError::UnexpectedCode(Code::AccountingResponse)), "no answer to this", "1813"),
        ];
        for (found, text, advice) in found {
            let step = step(server, Some(&login), &found, Duration::from_millis(3));
            assert!(!step.ok && step.text.contains(text), "{step:?}");
            assert!(step.advice.as_ref().is_some_and(|given| given.contains(advice)), "{step:?}");
        }
        let step_ok = step(server, Some(&login), &reply(Code::AccessAccept), Duration::from_millis(3));
        assert!(step_ok.ok && step_ok.text.contains("Reply-Message"), "{step_ok:?}");
        let silent = step(server, None, &Finding::Silence, Duration::ZERO);
        assert!(silent.advice.is_some_and(|advice| advice.contains("NPS does not know Status-Server")));
    }
}
