//! A walk to one server, for somebody who sets it up.

use core::time::Duration;
use std::{io::ErrorKind, sync::Arc};

use countersign_domain::Entropy;
use countersign_radius::{
    AttributeList, AttributeType, Authenticator, Code, Identifier, MessageAuthenticatorRule, PacketView, ReplyError,
    SharedSecret, UserPassword, encode_request, upstream::UpstreamServer, verify_accounting_response, verify_reply,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    client::{Over, Server},
    socket::{DATAGRAM, Socket},
    stream::{self, Broken, Tls},
};

/// An answer is waited for so long,
const WAIT: Duration = Duration::from_secs(6);
/// and asked for again after so long each time.
const AGAIN: Duration = Duration::from_secs(2);

/// What to ask.
#[derive(Clone, Copy)]
pub enum Question<'a> {
    /// Whether it is there (Status-Server, RFC 5997).
    Status,
    /// The same of an accounting port (RFC 5997 section 4.3).
    AccountingStatus,
    /// Whether this user may log on, by PAP or without a password.
    Login {
        /// User-Name.
        user: &'a str,
        /// User-Password, not empty; without one the request has none.
        password: Option<&'a [u8]>,
    },
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A proven reply, with its attributes as they stand on the wire.
    Reply {
        /// Of which kind.
        code: Code,
        /// All but Message-Authenticator.
        attributes: Vec<u8>,
    },
    /// Nothing came.
    Silence,
    /// The server's machine says that nobody listens at the port.
    Refused,
    /// Only replies came that prove nothing; the last one's fault.
    Unproven(ReplyError),
    /// No connection came about, or it ended before there was an answer.
    Broken(Broken),
    /// Nothing could be sent.
    Unsent(String),
}

/// Asks one server, from a socket of its own.
pub async fn ask(server: &Server, question: Question<'_>, entropy: &dyn Entropy) -> Finding {
    let as_it_is = server;
    let server = &server.for_table();
    let authenticator = Authenticator(entropy.octets());
    let identifier = Identifier(0);
    let Some(packet) = packet(server, question, identifier, &authenticator) else {
        return Finding::Unsent("the name or the password is too long for RADIUS (253 and 128 octets)".to_owned());
    };
    if let Over::Tls(tls) = &as_it_is.over {
        return timeout(WAIT, ask_over_tls(as_it_is, tls, packet, &authenticator)).await.unwrap_or(Finding::Silence);
    }
    let socket = match Socket::open(server.address) {
        Ok(socket) => socket,
        Err(fault) => return Finding::Unsent(fault.to_string()),
    };
    let end = Instant::now() + WAIT;
    let mut again = Instant::now();
    let mut found = Finding::Silence;
    let mut buffer = vec![0; DATAGRAM];
    loop {
        if again <= Instant::now() {
            again += AGAIN;
            match socket.send(&packet) {
                Err(fault) if fault.kind() == ErrorKind::ConnectionRefused => found = Finding::Refused,
                Err(fault) => return Finding::Unsent(fault.to_string()),
                Ok(()) => {}
            }
        }
        tokio::select! {
            _ = socket.readable() => {}
            () = sleep_until(again.min(end)) => {}
        }
        if end <= Instant::now() {
            return found;
        }
        match socket.receive(&mut buffer) {
            Ok(Some(length)) => {
                let datagram = buffer.get(..length).unwrap_or_default();
                let rule = MessageAuthenticatorRule::Required;
                let reply = match question {
                    Question::AccountingStatus => {
                        verify_accounting_response(datagram, &authenticator, identifier, &server.secret)
                    }
                    _ => verify_reply(datagram, &authenticator, identifier, &server.secret, rule),
                };
                match reply {
                    Ok(reply) => return Finding::Reply { code: reply.code(), attributes: attributes(&reply) },
                    Err(fault) => found = Finding::Unproven(fault),
                }
            }
            Ok(None) => {}
            Err(fault) if fault.kind() == ErrorKind::ConnectionRefused => {
                if found == Finding::Silence {
                    found = Finding::Refused;
                }
            }
            Err(fault) => return Finding::Unsent(fault.to_string()),
        }
    }
}

async fn ask_over_tls(server: &Server, tls: &Tls, packet: Vec<u8>, request: &Authenticator) -> Finding {
    let opened = match stream::open(server, tls).await {
        Ok(opened) => opened,
        Err(broken) => return Finding::Broken(broken),
    };
    let (queue, outgoing) = mpsc::channel(1);
    // It is empty, so there is room.
    let _ = queue.try_send(Arc::from(packet));
    let mut found = None;
    let received = |reply: &[u8]| {
        let rule = MessageAuthenticatorRule::Connection;
        let verified = verify_reply(reply, request, Identifier(0), &SharedSecret::radsec(), rule);
        found = Some(match verified {
            Ok(reply) => Finding::Reply { code: reply.code(), attributes: attributes(&reply) },
            Err(fault) => Finding::Unproven(fault),
        });
        // One is enough.
        false
    };
    let broken = stream::converse(opened, outgoing, received).await;
    found.or_else(|| broken.map(Finding::Broken)).unwrap_or(Finding::Silence)
}

fn packet(
    server: &UpstreamServer,
    question: Question<'_>,
    identifier: Identifier,
    authenticator: &Authenticator,
) -> Option<Vec<u8>> {
    let mut list = AttributeList::new();
    let code = match question {
        Question::Status | Question::AccountingStatus => Code::StatusServer,
        Question::Login { user, password } => {
            list.push_text(AttributeType::USER_NAME, user).ok()?;
            if let Some(password) = password {
                let hidden = UserPassword::hide(password, &server.secret, authenticator).ok()?;
                list.push(AttributeType::USER_PASSWORD, &hidden).ok()?;
            }
            Code::AccessRequest
        }
    };
    list.push_text(AttributeType::NAS_IDENTIFIER, "countersign").ok()?;
    encode_request(code, identifier, authenticator, &server.secret, &list).ok()
}

fn attributes(reply: &PacketView<'_>) -> Vec<u8> {
    let mut list = AttributeList::new();
    for attribute in reply.iter().filter(|attribute| attribute.kind != AttributeType::MESSAGE_AUTHENTICATOR) {
        // They came out of a packet, so they fit.
        let _ = list.push(attribute.kind, attribute.value);
    }
    list.octets().to_vec()
}
