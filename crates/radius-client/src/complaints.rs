//! What an administrator is told of servers: each thing once a minute, in words that help.

use core::time::Duration;
use std::{collections::HashMap, net::SocketAddr};

use countersign_domain::Seldom;
use countersign_radius::{
    ReplyError,
    upstream::{Change, Purpose, ReplyFault},
};
use countersign_radius_tls::Fault;
use tracing::{debug, info, warn};

use crate::stream::Broken;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    NoMessageAuthenticator,
    OtherSecret,
    Other,
    Broken,
}

#[derive(Debug)]
pub(crate) struct Complaints {
    name: String,
    purpose: Purpose,
    servers: Vec<SocketAddr>,
    told: HashMap<(usize, Kind), Seldom>,
}

impl Complaints {
    pub(crate) fn new(name: &str, purpose: Purpose, servers: Vec<SocketAddr>) -> Self {
        Self { name: name.to_owned(), purpose, servers, told: HashMap::new() }
    }

    pub(crate) fn changed(&self, server: usize, change: Change) {
        let (Some(server), name) = (self.servers.get(server), &self.name) else { return };
        match change {
            Change::Down => warn!(
                upstream.name = name, upstream.server = %server,
                "the RADIUS server {server} of upstream {name} does not answer: others are asked where there are some, \
                 until it answers again; `countersign upstream test {name}` says more"
            ),
            Change::Up(after) => info!(
                upstream.name = name, upstream.server = %server, down_s = after.as_secs(),
                "the RADIUS server {server} of upstream {name} answers again"
            ),
        }
    }

    /// A connection could not be had, or is over. One that brought something and then ended is ordinary.
    pub(crate) fn broken(&mut self, now: Duration, server: usize, heard: bool, why: &Broken) {
        if heard && matches!(why, Broken::Tls(Fault::Closed)) {
            debug!(upstream.name = self.name, "a RADIUS/TLS connection was closed by the server");
            return;
        }
        let Some(times) = self.told.entry((server, Kind::Broken)).or_default().happens(now) else { return };
        let (Some(server), name) = (self.servers.get(server), &self.name) else { return };
        warn!(
            upstream.name = name, upstream.server = %server, times, error = %why,
            "no RADIUS/TLS connection to {server} (upstream {name}): {why}. It is not asked over UDP instead; `countersign \
             upstream test {name}` says more"
        );
    }

    /// A datagram from where the server is that is no reply.
    pub(crate) fn fault(&mut self, now: Duration, server: usize, fault: ReplyFault) {
        let kind = match fault {
            // Late ones are ordinary: the answer to a retransmission, or a server that is slow.
            ReplyFault::Source(_) | ReplyFault::NotAwaited => {
                debug!(upstream.name = self.name, error = %fault, "a reply was not waited for");
                return;
            }
            ReplyFault::Unproven(ReplyError::MessageAuthenticatorAbsent) => Kind::NoMessageAuthenticator,
            ReplyFault::Unproven(
                ReplyError::ResponseAuthenticator | ReplyError::MessageAuthenticatorInvalid | ReplyError::Identifier,
            ) => Kind::OtherSecret,
            ReplyFault::Unproven(ReplyError::Packet(_) | ReplyError::UnexpectedCode(_)) => Kind::Other,
        };
        let Some(times) = self.told.entry((server, kind)).or_default().happens(now) else { return };
        let (Some(server), name) = (self.servers.get(server), &self.name) else { return };
        match kind {
            Kind::NoMessageAuthenticator => warn!(
                upstream.name = name, upstream.server = %server, times,
                "a reply from {server} (upstream {name}) has no Message-Authenticator and was dropped: anybody on the way \
                 could have made it (CVE-2024-3596). `countersign upstream test {name}` says what to do"
            ),
            Kind::OtherSecret => warn!(
                upstream.name = name, upstream.server = %server, times, error = %fault,
                "a reply from {server} (upstream {name}) was not made with the shared secret that is set here and was \
                 dropped: set the same one on both sides (`countersign upstream set {name}`); if they are the same, somebody \
                 changes packets on their way"
            ),
            Kind::Broken => {}
            Kind::Other => warn!(
                upstream.name = name, upstream.server = %server, times, error = %fault,
                "a datagram from {server} (upstream {name}) is no reply to what it was asked ({fault}) and was dropped: is \
                 that the {} port of a RADIUS server?",
                match self.purpose {
                    Purpose::Logins => "authentication",
                    Purpose::Accounting => "accounting",
                }
            ),
        }
    }
}
