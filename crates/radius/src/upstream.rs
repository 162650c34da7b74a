//! The client's side of a proxy: which server is asked, when again, and which reply is believed.
//!
//! Like the rest of the crate without I/O: requests, datagrams and the time go in, [`Output`]s come out.

use core::time::Duration;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::{
    AttributeList, Authenticator, Code, EncodeError, Identifier, MessageAuthenticatorRule, PacketView, ReplyError,
    SharedSecret, encode_request, verify_accounting_response, verify_reply,
};

mod forward;
mod health;
mod io;
mod lanes;
mod relay;

pub use forward::{Forward, ProxyMark, ProxyTag, forwarded};
pub use health::Change;
pub use io::{
    Answer, NoAnswer, Outcome, Output, Purpose, Random, ReplyFault, ServerCounts, ServerState, Timing, Transport,
    UpstreamServer, UpstreamSocket,
};
pub use lanes::SourcePort;
pub use relay::Relayed;

use health::Health;
use lanes::{Holder, Lanes, Slot};

struct Server {
    address: SocketAddr,
    secret: SharedSecret,
    transport: Transport,
    lanes: Lanes,
    health: Health,
    probe: Option<Probe>,
    counts: ServerCounts,
}

struct Probe {
    slot: Slot,
    authenticator: Authenticator,
    sent: Duration,
}

struct Pending<T> {
    ticket: T,
    forward: Forward,
    tag: ProxyTag,
    /// It has come back to us.
    looped: bool,
    deadline: Duration,
    /// INVARIANT: at least one, each towards another server, each with a slot of its own. Only the last one is sent again.
    attempts: Vec<Attempt>,
    /// INVARIANT: the entry in `due`.
    due: Duration,
}

struct Attempt {
    server: usize,
    slot: Slot,
    authenticator: Authenticator,
    packet: Arc<[u8]>,
    sent: Duration,
    again_at: Duration,
    interval: Duration,
    /// When its silence counts, until it has counted.
    patience_ends: Option<Duration>,
    /// It was sent over a second connection, since the first one broke.
    anew: bool,
    /// No answer can come any more: its connection is gone.
    broken: bool,
}

impl Attempt {
    fn due(&self, deadline: Duration) -> Duration {
        self.patience_ends.into_iter().fold(deadline.min(self.again_at), Duration::min)
    }
}

/// The requests that wait for servers. Times are counted from any fixed moment and do not run backwards; an earlier one
/// counts as the latest seen.
///
/// Each request ends exactly once, at its deadline at the latest. A reply counts only if it is from the address that was
/// asked, at the port from which it was asked, with the identifier of a request that waits, and if its Response
/// Authenticator and its Message-Authenticator are right.
pub struct UpstreamTable<T> {
    purpose: Purpose,
    timing: Timing,
    mark: ProxyMark,
    now: Duration,
    servers: Vec<Server>,
    serial: u64,
    pending: HashMap<u64, Pending<T>>,
    due: BTreeSet<(Duration, u64)>,
    outputs: VecDeque<Output<T>>,
}

impl<T: Copy> UpstreamTable<T> {
    /// For servers in the order in which they are asked.
    pub fn new(servers: Vec<UpstreamServer>, mark: ProxyMark, timing: Timing) -> Self {
        Self::with_purpose(Purpose::Logins, servers, mark, timing)
    }

    /// The same for requests of another kind.
    pub fn with_purpose(purpose: Purpose, servers: Vec<UpstreamServer>, mark: ProxyMark, timing: Timing) -> Self {
        let server = |UpstreamServer { address, secret, transport }| Server {
            address,
            secret,
            transport,
            lanes: Lanes::default(),
            health: Health::new(transport),
            probe: None,
            counts: ServerCounts::default(),
        };
        Self {
            purpose,
            timing,
            mark,
            now: Duration::ZERO,
            servers: servers.into_iter().map(server).collect(),
            serial: 0,
            pending: HashMap::new(),
            due: BTreeSet::new(),
            outputs: VecDeque::new(),
        }
    }

    /// What is to be done next.
    pub fn poll(&mut self) -> Option<Output<T>> {
        self.outputs.pop_front()
    }

    /// When [`UpstreamTable::tick`] has something to do.
    pub fn next_deadline(&self) -> Option<Duration> {
        let request = self.due.first().map(|(due, _)| *due);
        self.servers.iter().filter_map(|server| server.health.next()).chain(request).min()
    }

    /// The servers, in their order.
    pub fn servers(&self) -> impl Iterator<Item = ServerState> + '_ {
        self.servers.iter().map(|server| ServerState {
            down_since: server.health.down_since(),
            heard: server.health.heard(),
            answers_status: server.health.answers_status(),
            waiting: server.lanes.taken().saturating_sub(usize::from(server.probe.is_some())),
            counts: server.counts,
        })
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// Sends a request on. It ends by `deadline`.
    pub fn request(&mut self, now: Duration, ticket: T, forward: Forward, deadline: Duration, random: Random<'_>) {
        let now = self.advance(now);
        self.serial = self.serial.saturating_add(1);
        let serial = self.serial;
        let mut tag = [0; 8];
        random(&mut tag);
        let tag = ProxyTag(tag);
        let pending = Pending { ticket, forward, tag, looped: false, deadline, attempts: Vec::new(), due: deadline };
        self.pending.insert(serial, pending);
        self.due.insert((deadline, serial));
        if deadline <= now {
            self.end(serial, Outcome::NoAnswer(NoAnswer::Silent));
        } else if let Err(fault) = self.ask_next(now, serial, random) {
            self.end(serial, Outcome::NoAnswer(fault));
        }
    }

    /// A datagram came to a socket.
    ///
    /// # Errors
    /// A [`ReplyFault`] where it counts as none.
    pub fn receive(
        &mut self,
        now: Duration,
        socket: UpstreamSocket,
        source: SocketAddr,
        datagram: &[u8],
        random: Random<'_>,
    ) -> Result<(), ReplyFault> {
        let now = self.advance(now);
        let received = self.believe(now, socket, source, datagram, random);
        if let (Err(fault), Some(server)) = (received, self.servers.get_mut(socket.server)) {
            let counter = match fault {
                ReplyFault::Source(_) | ReplyFault::NotAwaited => &mut server.counts.not_awaited,
                ReplyFault::Unproven(ReplyError::MessageAuthenticatorAbsent) => {
                    &mut server.counts.without_message_authenticator
                }
                ReplyFault::Unproven(_) => &mut server.counts.unproven,
            };
            *counter = counter.saturating_add(1);
        }
        received
    }

    fn believe(
        &mut self,
        now: Duration,
        socket: UpstreamSocket,
        source: SocketAddr,
        datagram: &[u8],
        random: Random<'_>,
    ) -> Result<(), ReplyFault> {
        let server = self.servers.get_mut(socket.server).ok_or(ReplyFault::NotAwaited)?;
        if (source.ip().to_canonical(), source.port()) != (server.address.ip().to_canonical(), server.address.port()) {
            return Err(ReplyFault::Source(source));
        }
        let identifier = Identifier(datagram.get(1).copied().unwrap_or_default());
        let slot = Slot { port: socket.port, identifier };
        let holder = server.lanes.holder(slot).ok_or(ReplyFault::NotAwaited)?;
        let authenticator = match holder {
            Holder::Probe => server.probe.as_ref().map(|probe| probe.authenticator),
            Holder::Request { serial, attempt } => {
                let attempt = self.pending.get(&serial).and_then(|pending| pending.attempts.get(attempt));
                attempt.map(|attempt| attempt.authenticator)
            }
        };
        let authenticator = authenticator.ok_or(ReplyFault::NotAwaited)?;
        let rule = match server.transport {
            Transport::Datagrams => MessageAuthenticatorRule::Required,
            Transport::Connections => MessageAuthenticatorRule::Connection,
        };
        let reply = self.purpose.verify(datagram, &authenticator, identifier, &server.secret, rule)?;
        let to_status = holder == Holder::Probe;
        if let Some(change) = server.health.heard_now(now, to_status, &self.timing) {
            self.outputs.push_back(Output::Changed { server: socket.server, change });
        }
        let Holder::Request { serial, attempt } = holder else {
            self.end_probe(socket.server);
            return Ok(());
        };
        let looped = self.pending.get(&serial).is_some_and(|pending| pending.looped);
        let counter = match reply.code() {
            Code::AccessAccept => &mut server.counts.accepts,
            Code::AccessReject if looped => &mut server.counts.loops,
            Code::AccessReject => &mut server.counts.rejects,
            Code::AccessChallenge => &mut server.counts.challenges,
            Code::AccountingResponse => &mut server.counts.recorded,
            _ => &mut server.counts.protocol_errors,
        };
        *counter = counter.saturating_add(1);
        let relayed = relay::relayed(&reply, &server.secret, &authenticator);
        let answer = Answer { server: socket.server, relayed };
        match reply.code() {
            Code::AccessAccept => self.end(serial, Outcome::Accept(answer)),
            // Whoever sends us back what he got from us is told no, and passes that on.
            Code::AccessReject if looped => self.end(serial, Outcome::NoAnswer(NoAnswer::Loop)),
            Code::AccessReject => self.end(serial, Outcome::Reject(answer)),
            Code::AccessChallenge => self.end(serial, Outcome::Challenge(answer)),
            Code::AccountingResponse => self.end(serial, Outcome::Recorded),
            // It will not answer this one, now or later.
            _ => self.move_on(now, serial, attempt, Some(NoAnswer::ProtocolError), random),
        }
        Ok(())
    }

    /// The network says that nobody listens where a socket sends to. Nothing proves that, so it only makes us ask the
    /// next server sooner.
    pub fn refused(&mut self, now: Duration, socket: UpstreamSocket, random: Random<'_>) {
        let now = self.advance(now);
        let Some(server) = self.servers.get(socket.server) else { return };
        let holders: Vec<_> = server.lanes.holders(socket.port).collect();
        for holder in holders {
            if let Holder::Request { serial, attempt } = holder {
                self.move_on(now, serial, attempt, None, random);
            }
        }
    }

    /// A connection could not be had, or is over. Nothing more comes from it. `heard` says whether anything has come from it: then
    /// its server closed it in good order, perhaps while we sent, and what waits there is sent once more, over another
    /// connection (RFC 6613 section 2.6.1). Otherwise the server is not there, or does not want us.
    pub fn broken(&mut self, now: Duration, socket: UpstreamSocket, heard: bool, random: Random<'_>) {
        let now = self.advance(now);
        let at = socket.server;
        let Some(server) = self.servers.get_mut(at) else { return };
        let holders: Vec<_> = server.lanes.holders(socket.port).collect();
        server.lanes.retire_one(socket.port);
        let was_probed = holders.contains(&Holder::Probe);
        let mut jitter = [0];
        random(&mut jitter);
        let [jitter] = jitter;
        let change = if heard {
            if was_probed {
                server.health.ask_at_once(now);
            }
            None
        } else if holders.is_empty() {
            None
        } else {
            server.health.unreachable(now, jitter, &self.timing)
        };
        if was_probed {
            self.end_probe(at);
        }
        self.changed(at, change);
        for holder in holders {
            if let Holder::Request { serial, attempt } = holder
                && !(heard && self.send_anew(now, serial, attempt, random))
            {
                let or_end = self.break_off(serial, attempt).then_some(NoAnswer::Silent);
                if or_end.is_some() {
                    self.count_silence(now, serial, attempt, random);
                }
                self.move_on(now, serial, attempt, or_end, random);
            }
        }
    }

    /// Notes that an attempt can bring no answer any more; whether none of the request can.
    fn break_off(&mut self, serial: u64, attempt: usize) -> bool {
        let Some(pending) = self.pending.get_mut(&serial) else { return false };
        if let Some(attempt) = pending.attempts.get_mut(attempt) {
            attempt.broken = true;
        }
        pending.attempts.iter().all(|attempt| attempt.broken)
    }

    /// Sends the last attempt of a request over another connection, once; whether it was.
    fn send_anew(&mut self, now: Duration, serial: u64, attempt: usize, random: Random<'_>) -> bool {
        let Some(pending) = self.pending.get_mut(&serial) else { return false };
        let is_last = attempt == pending.attempts.len().saturating_sub(1);
        let Some(last) = pending.attempts.get_mut(attempt).filter(|last| is_last && !last.anew) else { return false };
        let Some(server) = self.servers.get_mut(last.server) else { return false };
        let Some(slot) = server.lanes.take(Holder::Request { serial, attempt }) else { return false };
        let to = (&server.secret, slot.identifier);
        let made = self.purpose.encode(&pending.forward, to, &self.mark, pending.tag, random);
        let unused = if made.is_ok() { last.slot } else { slot };
        let closed = server.lanes.give_back(unused);
        let at = last.server;
        self.outputs.extend(closed.map(|port| Output::Close(UpstreamSocket { server: at, port })));
        let Ok((authenticator, packet)) = made else { return false };
        server.counts.retransmissions = server.counts.retransmissions.saturating_add(1);
        let socket = UpstreamSocket { server: at, port: slot.port };
        self.outputs.push_back(Output::Send { socket, packet: Arc::clone(&packet) });
        (last.slot, last.authenticator, last.packet) = (slot, authenticator, packet);
        (last.sent, last.anew) = (now, true);
        true
    }

    /// A request came back to us: a reject of it says nothing about the login. Whether it is one of this table.
    pub fn looped(&mut self, tag: ProxyTag) -> bool {
        let found = self.pending.values_mut().find(|pending| pending.tag == tag);
        found.map(|pending| pending.looped = true).is_some()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Duration, random: Random<'_>) {
        let now = self.advance(now);
        while let Some((due, serial)) = self.due.first().copied()
            && due <= now
        {
            let Some(pending) = self.pending.get_mut(&serial) else {
                self.due.pop_first();
                continue;
            };
            let last = pending.attempts.len().saturating_sub(1);
            let Some(attempt) = pending.attempts.get_mut(last) else {
                self.end(serial, Outcome::NoAnswer(NoAnswer::Silent));
                continue;
            };
            if pending.deadline <= now {
                self.count_silence(now, serial, last, random);
                self.end(serial, Outcome::NoAnswer(NoAnswer::Silent));
            } else if attempt.patience_ends.is_some_and(|ends| ends <= now) {
                self.move_on(now, serial, last, None, random);
            } else {
                let UpstreamSocket { server, port } =
                    UpstreamSocket { server: attempt.server, port: attempt.slot.port };
                let packet = Arc::clone(&attempt.packet);
                attempt.interval = attempt.interval.saturating_mul(2).min(self.timing.longest_retransmit);
                attempt.again_at = now.saturating_add(jittered(attempt.interval, random));
                self.outputs.push_back(Output::Send { socket: UpstreamSocket { server, port }, packet });
                if let Some(server) = self.servers.get_mut(server) {
                    server.counts.retransmissions = server.counts.retransmissions.saturating_add(1);
                }
                self.set_due(serial);
            }
        }
        for at in 0..self.servers.len() {
            self.ask_status(now, at, random);
        }
    }

    /// Asks the next server that has not been asked yet. The order is the configured one; those that do not answer come
    /// last.
    fn ask_next(&mut self, now: Duration, serial: u64, random: Random<'_>) -> Result<(), NoAnswer> {
        let Some(pending) = self.pending.get_mut(&serial) else { return Err(NoAnswer::Silent) };
        let asked = |at: &usize| pending.attempts.iter().any(|attempt| attempt.server == *at);
        let may = |at: &usize| self.servers.get(*at).is_some_and(|server| pending.forward.may_go_to(server.address));
        let mut candidates: Vec<usize> = (0..self.servers.len()).filter(|at| !asked(at) && may(at)).collect();
        let timing = &self.timing;
        let mut turn = |at: &usize| self.servers.get_mut(*at).is_some_and(|s| s.health.take_turn(now, timing));
        if let Some(first) = candidates.iter().position(&mut turn) {
            let server = candidates.remove(first);
            candidates.insert(0, server);
        }
        let nobody = candidates.is_empty() && pending.attempts.is_empty();
        let mut fault = if nobody { NoAnswer::NoServer } else { NoAnswer::Silent };
        for (tried, &at) in candidates.iter().enumerate() {
            let Some(server) = self.servers.get_mut(at) else { continue };
            let attempt = pending.attempts.len();
            let Some(slot) = server.lanes.take(Holder::Request { serial, attempt }) else {
                fault = NoAnswer::Full;
                continue;
            };
            let (forward, to) = (&pending.forward, (&server.secret, slot.identifier));
            let Ok((authenticator, packet)) = self.purpose.encode(forward, to, &self.mark, pending.tag, random) else {
                let closed = server.lanes.give_back(slot);
                self.outputs.extend(closed.map(|port| Output::Close(UpstreamSocket { server: at, port })));
                return Err(NoAnswer::TooLong);
            };
            let left = candidates.len().saturating_sub(tried);
            let share = pending.deadline.saturating_sub(now).checked_div(u32::try_from(left).unwrap_or(u32::MAX));
            let patience = timing.patience.min(share.unwrap_or_default());
            let socket = UpstreamSocket { server: at, port: slot.port };
            self.outputs.push_back(Output::Send { socket, packet: Arc::clone(&packet) });
            server.counts.asked = server.counts.asked.saturating_add(1);
            pending.attempts.push(Attempt {
                server: at,
                slot,
                authenticator,
                packet,
                sent: now,
                again_at: match server.transport {
                    Transport::Datagrams => now.saturating_add(jittered(timing.retransmit, random)),
                    Transport::Connections => pending.deadline,
                },
                interval: timing.retransmit,
                patience_ends: Some(now.saturating_add(patience)),
                anew: false,
                broken: false,
            });
            self.set_due(serial);
            return Ok(());
        }
        Err(fault)
    }

    /// An attempt has not brought an answer, and the next server is asked where there is one. Without one the request goes
    /// on waiting, unless `or_end` ends it.
    fn move_on(&mut self, now: Duration, serial: u64, attempt: usize, or_end: Option<NoAnswer>, random: Random<'_>) {
        if or_end.is_none() {
            self.count_silence(now, serial, attempt, random);
        }
        let Some(pending) = self.pending.get_mut(&serial) else { return };
        if let Some(attempt) = pending.attempts.get_mut(attempt) {
            attempt.patience_ends = None;
        }
        let is_last = attempt == pending.attempts.len().saturating_sub(1);
        if is_last
            && self.ask_next(now, serial, random).is_err()
            && let Some(fault) = or_end
        {
            self.end(serial, Outcome::NoAnswer(fault));
        } else {
            self.set_due(serial);
        }
    }

    /// A server's silence is noticed, if it has not been for this attempt.
    fn count_silence(&mut self, now: Duration, serial: u64, attempt: usize, random: Random<'_>) {
        let attempt = self.pending.get(&serial).and_then(|pending| pending.attempts.get(attempt));
        let Some(attempt) = attempt.filter(|attempt| attempt.patience_ends.is_some()) else { return };
        let (server, sent) = (attempt.server, attempt.sent);
        let mut jitter = [0];
        random(&mut jitter);
        let [jitter] = jitter;
        let Some(at) = self.servers.get_mut(server) else { return };
        at.counts.unanswered = at.counts.unanswered.saturating_add(1);
        let change = at.health.silent_since(now, sent, jitter, &self.timing);
        self.changed(server, change);
    }

    fn changed(&mut self, server: usize, change: Option<Change>) {
        let Some(change) = change else { return };
        self.outputs.push_back(Output::Changed { server, change });
        if let (Change::Down, Some(at)) = (change, self.servers.get_mut(server)) {
            let closed = at.lanes.retire();
            self.outputs.extend(closed.into_iter().map(|port| Output::Close(UpstreamSocket { server, port })));
        }
    }

    fn ask_status(&mut self, now: Duration, at: usize, random: Random<'_>) {
        let Some(server) = self.servers.get_mut(at) else { return };
        if !server.health.status_is_due(now, &self.timing) {
            return;
        }
        if let Some(sent) = server.probe.as_ref().map(|probe| probe.sent) {
            let change = server.health.status_unanswered(now, sent, &self.timing);
            self.end_probe(at);
            self.changed(at, change);
        }
        let Some(server) = self.servers.get_mut(at).filter(|server| server.health.next().is_some()) else { return };
        let (mut authenticator, mut jitter) = ([0; 16], [0]);
        random(&mut authenticator);
        random(&mut jitter);
        let [jitter] = jitter;
        server.health.status_sent(now, jitter, &self.timing);
        let authenticator = Authenticator(authenticator);
        let Some(slot) = server.lanes.take(Holder::Probe) else { return };
        let list = AttributeList::new();
        let packet = encode_request(Code::StatusServer, slot.identifier, &authenticator, &server.secret, &list);
        server.probe = Some(Probe { slot, authenticator, sent: now });
        let socket = UpstreamSocket { server: at, port: slot.port };
        self.outputs.extend(packet.ok().map(|packet| Output::Send { socket, packet: packet.into() }));
    }

    fn end_probe(&mut self, at: usize) {
        let Some(server) = self.servers.get_mut(at) else { return };
        let closed = server.probe.take().and_then(|probe| server.lanes.give_back(probe.slot));
        self.outputs.extend(closed.map(|port| Output::Close(UpstreamSocket { server: at, port })));
    }

    /// A request is over; all its identifiers are free again.
    fn end(&mut self, serial: u64, outcome: Outcome) {
        let Some(pending) = self.pending.remove(&serial) else { return };
        self.due.remove(&(pending.due, serial));
        for Attempt { server, slot, .. } in pending.attempts {
            let closed = self.servers.get_mut(server).and_then(|at| at.lanes.give_back(slot));
            self.outputs.extend(closed.map(|port| Output::Close(UpstreamSocket { server, port })));
        }
        self.outputs.push_back(Output::Ended { ticket: pending.ticket, outcome });
    }

    fn set_due(&mut self, serial: u64) {
        let Some(pending) = self.pending.get_mut(&serial) else { return };
        let due = pending.attempts.last().map_or(pending.deadline, |attempt| attempt.due(pending.deadline));
        if due != pending.due {
            self.due.remove(&(pending.due, serial));
            pending.due = due;
            self.due.insert((due, serial));
        }
    }

    fn advance(&mut self, now: Duration) -> Duration {
        self.now = self.now.max(now);
        self.now
    }

    /// Asserts what the comments call invariants, for tests.
    #[cfg(any(test, feature = "oracles"))]
    pub(crate) fn assert_invariants(&self) {
        assert_eq!(self.due.len(), self.pending.len());
        let mut slots = 0;
        for (serial, pending) in &self.pending {
            assert!(self.due.contains(&(pending.due, *serial)));
            assert!(pending.due <= pending.deadline);
            assert!(!pending.attempts.is_empty());
            for (index, attempt) in pending.attempts.iter().enumerate() {
                let holder = self.servers.get(attempt.server).and_then(|server| server.lanes.holder(attempt.slot));
                assert_eq!(holder, Some(Holder::Request { serial: *serial, attempt: index }));
                let once = pending.attempts.iter().filter(|other| other.server == attempt.server).count();
                assert_eq!(once, 1);
                slots += 1;
            }
        }
        for server in &self.servers {
            server.lanes.assert_invariants();
            if let Some(probe) = &server.probe {
                assert_eq!(server.lanes.holder(probe.slot), Some(Holder::Probe));
                slots += 1;
            }
        }
        assert_eq!(self.servers.iter().map(|server| server.lanes.taken()).sum::<usize>(), slots);
    }
}

impl Purpose {
    /// The packet for one server, and what its reply is proven with.
    fn encode(
        self,
        forward: &Forward,
        (secret, identifier): (&SharedSecret, Identifier),
        mark: &ProxyMark,
        tag: ProxyTag,
        random: Random<'_>,
    ) -> Result<(Authenticator, Arc<[u8]>), EncodeError> {
        let mut authenticator = [0; 16];
        random(&mut authenticator);
        let authenticator = Authenticator(authenticator);
        let (proof, packet) = match self {
            Self::Logins => (authenticator, forward.encode(identifier, &authenticator, secret, mark, tag)?),
            Self::Accounting => forward.encode_accounting(identifier, secret, mark, tag)?,
        };
        Ok((proof, packet.into()))
    }

    /// Whether a datagram is the reply to a request of ours, Status-Server included (RFC 5997 section 4.3).
    fn verify<'a>(
        self,
        datagram: &'a [u8],
        request: &Authenticator,
        identifier: Identifier,
        secret: &SharedSecret,
        rule: MessageAuthenticatorRule,
    ) -> Result<PacketView<'a>, ReplyError> {
        match self {
            Self::Logins => verify_reply(datagram, request, identifier, secret, rule),
            Self::Accounting => verify_accounting_response(datagram, request, identifier, secret),
        }
    }
}

/// A tenth more or less (RFC 5080 section 2.2.1: RAND).
fn jittered(interval: Duration, random: Random<'_>) -> Duration {
    let mut octet = [0];
    random(&mut octet);
    let [octet] = octet;
    let tenth = interval.checked_div(10).unwrap_or_default();
    let more = tenth.checked_div(128).unwrap_or_default().saturating_mul(u32::from(octet));
    interval.saturating_sub(tenth).saturating_add(more)
}
