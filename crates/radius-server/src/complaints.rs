//! What an administrator is told of packets that get no answer: each thing once a minute, in words that help.

use core::time::Duration;
use std::{collections::HashMap, net::IpAddr};

use countersign_domain::ClientId;
use countersign_radius::{AccountingError, Code, PacketError, RequestError};
use countersign_radius_tls::Fault;
use tokio::time::Instant;
use tracing::warn;

use crate::{
    clients::Client,
    streams::{Ending, Refusal},
};

/// One thing is said again after so long.
const PAUSE: Duration = Duration::from_secs(60);
/// Unknown addresses that are remembered; with sources that anybody can forge, more would be a gift.
const STRANGERS: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Malformed,
    Code,
    OtherSecret,
    NoMessageAuthenticator,
    ProxyState,
    Eap,
    Full,
    Connections,
}

/// When what was said last.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    clients: HashMap<(Kind, ClientId), Instant>,
    strangers: HashMap<IpAddr, Instant>,
    /// The same of connections.
    callers: HashMap<IpAddr, Instant>,
    unsent: Option<Instant>,
}

impl Complaints {
    pub(crate) fn unknown_source(&mut self, now: Instant, source: IpAddr) {
        let source = source.to_canonical();
        if !is_due(&mut self.strangers, now, source) {
            return;
        }
        warn!(
            nas.address = %source,
            "{source} sent a RADIUS packet and belongs to no client: if it is one of yours, add it with \
             `countersign resource add NAME --client {source}`, or `countersign client add NAME --address {source} \
             --resource RESOURCE`"
        );
    }

    /// Somebody wanted to speak TLS and was not let in.
    pub(crate) fn connection_refused(&mut self, now: Instant, source: IpAddr, why: &Refusal) {
        let source = source.to_canonical();
        if !is_due(&mut self.callers, now, source) {
            return;
        }
        let what_to_do = match why {
            Refusal::Slow => "it did not end its handshake in time: does it speak TLS?",
            Refusal::Full => "there are too many connections or handshakes: is it an attack?",
            Refusal::Fault(Fault::Stranger(_) | Fault::UnknownCa(_)) => {
                "if it is one of yours, add it with `countersign client add NAME --resource RESOURCE --tls-fingerprint …`, or \
                 --tls-name with one of its names where the CA of [radius.tls] made it"
            }
            Refusal::Fault(Fault::NotTls) => {
                "this port takes RADIUS over TLS only (RFC 6614): RADIUS over UDP has another"
            }
            Refusal::Fault(Fault::Refused(_)) => {
                "it did not want our certificate, the one of [radius.tls]: it may lack its CA"
            }
            Refusal::Fault(_) => "`countersign client show` says what is expected",
        };
        let fault = match why {
            Refusal::Fault(fault) => fault.to_string(),
            Refusal::Slow | Refusal::Full => String::new(),
        };
        warn!(nas.address = %source, error = fault, "a RADIUS/TLS connection from {source} was not taken: {fault}; {what_to_do}");
    }

    pub(crate) fn too_many_connections(&mut self, now: Instant, client: &Client, source: IpAddr, most: usize) {
        if self.is_due(now, Kind::Connections, client) {
            let (source, name) = (source.to_canonical(), name(client));
            warn!(
                nas.address = %source, client.name = name,
                "client {name} has {most} RADIUS/TLS connections open and gets no more: it does not close those that it does not \
                 use, or somebody else has its key"
            );
        }
    }

    /// A connection of a client is over; an end that is none of ours and in order is only for who looks closely.
    pub(crate) fn connection_ended(&mut self, now: Instant, client: &Client, source: IpAddr, ending: Ending) {
        let (source, client_name) = (source.to_canonical(), name(client).to_owned());
        let what = match ending {
            Ending::Gone | Ending::Ours | Ending::Idle | Ending::Expired => {
                tracing::debug!(nas.address = %source, client.name = client_name, ?ending, "a RADIUS/TLS connection is over");
                return;
            }
            Ending::Garbage(fault) => format!("it sent {fault}"),
            Ending::Slow => "it did not send the rest of a packet in time, or did not take a reply".to_owned(),
        };
        if self.is_due(now, Kind::Malformed, client) {
            warn!(nas.address = %source, client.name = client_name, "a RADIUS/TLS connection from {source} was closed: {what}");
        }
    }

    pub(crate) fn malformed(&mut self, now: Instant, client: &Client, source: IpAddr, fault: &PacketError) {
        if self.is_due(now, Kind::Malformed, client) {
            let (source, name) = (source.to_canonical(), name(client));
            warn!(
                nas.address = %source, client.name = name, error = %fault,
                "a datagram from {source} is no RADIUS packet ({fault}): another protocol may be pointed at this port"
            );
        }
    }

    pub(crate) fn password_length(&mut self, now: Instant, client: &Client, source: IpAddr) {
        if self.is_due(now, Kind::Malformed, client) {
            let (source, name) = (source.to_canonical(), name(client));
            warn!(
                nas.address = %source, client.name = name,
                "a request from {source} has a User-Password that is not 16 to 128 octets in blocks of 16 \
                 (RFC 2865 section 5.2) and was dropped: a password longer than 128 octets cannot be used with RADIUS"
            );
        }
    }

    pub(crate) fn refused(&mut self, now: Instant, client: &Client, source: IpAddr, fault: RequestError) {
        let kind = match fault {
            RequestError::UnexpectedCode(_) => Kind::Code,
            RequestError::MessageAuthenticatorAbsent => Kind::NoMessageAuthenticator,
            RequestError::MessageAuthenticatorInvalid => Kind::OtherSecret,
            RequestError::ProxyStateUnprotected | RequestError::TooMuchProxyState => Kind::ProxyState,
            RequestError::EapUnprotected => Kind::Eap,
        };
        if !self.is_due(now, kind, client) {
            return;
        }
        let (source, name) = (source.to_canonical(), name(client));
        let text = match fault {
            RequestError::UnexpectedCode(code) => format!(
                "{source} sent RADIUS packets of type {} to this port, which takes Access-Request and Status-Server \
                 only{}",
                code.octet(),
                match code {
                    Code::AccountingRequest if client.seat.client.tls.is_some() =>
                        ": accounting is taken over TLS where [radius] accounting is set; set it, or switch it off there",
                    Code::AccountingRequest =>
                        ": accounting has a port of its own ([radius] accounting), or switch it off there",
                    _ => "",
                }
            ),
            RequestError::MessageAuthenticatorAbsent => format!(
                "requests from {source} carry no Message-Authenticator and are dropped (CVE-2024-3596): update the \
                 client or switch the attribute on there (on NPS, \"Request must contain the message authenticator \
                 attribute\"); only if it cannot send one, `countersign client set {name} \
                 --no-require-message-authenticator`"
            ),
            RequestError::MessageAuthenticatorInvalid if client.seat.client.tls.is_some() => format!(
                "a packet from {source} fails its Message-Authenticator, and its connection was closed: over TLS the shared secret \
                 is \"radsec\" on both sides (RFC 6614 section 2.3); set that in the client"
            ),
            RequestError::MessageAuthenticatorInvalid if client.counters.proven.get() == 0 => {
                format!("every packet from {source} fails its Message-Authenticator: the shared secret differs")
            }
            RequestError::MessageAuthenticatorInvalid => format!(
                "a packet from {source} fails its Message-Authenticator although others did not: it was damaged or \
                 forged, or the shared secret was changed there and not here"
            ),
            RequestError::ProxyStateUnprotected => format!(
                "requests from {source} carry Proxy-State without Message-Authenticator and are dropped \
                 (CVE-2024-3596): the proxy must add Message-Authenticator"
            ),
            RequestError::TooMuchProxyState => format!(
                "a request from {source} carries more Proxy-State than is taken and was dropped (CVE-2024-3596): too \
                 many proxies stand in a row, or it is an attack"
            ),
            RequestError::EapUnprotected => {
                format!("a request from {source} carries EAP-Message without Message-Authenticator and was dropped")
            }
        };
        warn!(nas.address = %source, client.name = name, "{text}");
    }

    /// The same of an accounting port.
    pub(crate) fn refused_accounting(&mut self, now: Instant, client: &Client, source: IpAddr, fault: AccountingError) {
        let kind = match fault {
            AccountingError::UnexpectedCode(_) => Kind::Code,
            AccountingError::RequestAuthenticator | AccountingError::MessageAuthenticator => Kind::OtherSecret,
            AccountingError::TooMuchProxyState => Kind::ProxyState,
            AccountingError::Password => Kind::Malformed,
        };
        if !self.is_due(now, kind, client) {
            return;
        }
        let (source, name) = (source.to_canonical(), name(client));
        let text = match fault {
            AccountingError::UnexpectedCode(code) => format!(
                "{source} sent RADIUS packets of type {} to an accounting port, which takes Accounting-Request and \
                 Status-Server only: logins go to [radius] listen",
                code.octet()
            ),
            AccountingError::RequestAuthenticator | AccountingError::MessageAuthenticator
                if client.seat.client.tls.is_some() =>
            {
                format!(
                    "an accounting packet from {source} was not made with the shared secret, and its connection was \
                     closed: over TLS that is \"radsec\" on both sides (RFC 6614 section 2.3); set that in the client"
                )
            }
            AccountingError::RequestAuthenticator | AccountingError::MessageAuthenticator => format!(
                "an accounting packet from {source} was not made with the shared secret of client {name} and was dropped: \
                 the secret differs, or the packet is damaged or forged"
            ),
            AccountingError::TooMuchProxyState => {
                format!("an accounting packet from {source} carries more Proxy-State than is taken and was dropped")
            }
            AccountingError::Password => format!(
                "an accounting packet from {source} carries a password, which none may (RFC 2866 section 4.1), and was \
                 dropped"
            ),
        };
        warn!(nas.address = %source, client.name = name, "{text}");
    }

    pub(crate) fn full_of_accounting(&mut self, now: Instant, client: &Client, source: IpAddr, pending: usize) {
        if self.is_due(now, Kind::Full, client) {
            let (source, name) = (source.to_canonical(), name(client));
            warn!(
                nas.address = %source, client.name = name, pending_of_client = pending,
                "accounting from {source} is dropped because too much of it waits for an upstream ({pending} of this client): \
                 `countersign doctor` says whether that answers"
            );
        }
    }

    pub(crate) fn too_much_accounting(&mut self, now: Instant, client: &Client, source: IpAddr) {
        if self.is_due(now, Kind::Full, client) {
            let (source, name) = (source.to_canonical(), name(client));
            warn!(
                nas.address = %source, client.name = name,
                "accounting over TLS from {source} is dropped because more of it comes than can be taken: this client or \
                 another one sends a flood of it"
            );
        }
    }

    pub(crate) fn full(&mut self, now: Instant, client: &Client, source: IpAddr, pending_of_client: usize) {
        if self.is_due(now, Kind::Full, client) {
            let (source, name) = (source.to_canonical(), name(client));
            warn!(
                nas.address = %source, client.name = name, pending_of_client,
                "requests from {source} are dropped because too many logins are waiting ({pending_of_client} of this \
                 client): it is flooded or under attack, or the limit is too low for it"
            );
        }
    }

    pub(crate) fn unsent(&mut self, now: Instant, to: IpAddr, fault: &std::io::Error) {
        if self.unsent.is_none_or(|said| now.duration_since(said) >= PAUSE) {
            self.unsent = Some(now);
            let to = to.to_canonical();
            warn!(nas.address = %to, error = %fault, "a reply to {to} could not be sent; the client will ask again");
        }
    }

    /// Forgets clients that do not exist any more.
    pub(crate) fn keep(&mut self, exists: impl Fn(ClientId) -> bool) {
        self.clients.retain(|(_, client), _| exists(*client));
    }

    fn is_due(&mut self, now: Instant, kind: Kind, client: &Client) -> bool {
        let said = self.clients.get(&(kind, client.id()));
        let due = said.is_none_or(|said| now.duration_since(*said) >= PAUSE);
        if due {
            self.clients.insert((kind, client.id()), now);
        }
        due
    }
}

/// Whether something may be said of an address now, which then counts as said. Of more addresses than [`STRANGERS`] nothing is.
fn is_due(said: &mut HashMap<IpAddr, Instant>, now: Instant, source: IpAddr) -> bool {
    let is_fresh = |said: &Instant| now.duration_since(*said) < PAUSE;
    if said.len() >= STRANGERS {
        said.retain(|_, said| is_fresh(said));
    }
    if said.get(&source).is_some_and(is_fresh) || (said.len() >= STRANGERS && !said.contains_key(&source)) {
        return false;
    }
    said.insert(source, now);
    true
}

/// The client, as its administrator named it.
fn name(client: &Client) -> &str {
    &client.seat.client.name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_named_once_a_minute_and_never_fill_memory() {
        let mut complaints = Complaints::default();
        let now = Instant::now();
        for a in 0..=255 {
            for b in 0..=255 {
                complaints.unknown_source(now, IpAddr::from([198, 51, a, b]));
            }
        }
        assert_eq!(complaints.strangers.len(), STRANGERS);
        let later = now + PAUSE;
        complaints.unknown_source(later, IpAddr::from([203, 0, 113, 1]));
        assert_eq!(complaints.strangers.len(), 1);
    }
}
