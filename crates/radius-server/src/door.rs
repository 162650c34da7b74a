//! What becomes of datagrams and verdicts. No I/O but sending, no waiting.

mod connections;

use core::{cmp::Reverse, ops::ControlFlow, time::Duration};
use std::{
    collections::{BinaryHeap, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use countersign_desk::{Desk, DoorVerdict, ResourceTable};
use countersign_domain::{ClientId, Grant, LoginId, LoginResult, Question, Reason, UpstreamAttributes, Verdict};
use countersign_radius::{
    Code, Limits, LocalSocket, PacketView, Proof, Received, RequestError, TransactionKey, TransactionTable,
    upstream::{ProxyMark, ProxyTag},
    verify_request,
};
use tokio::time::Instant;

use crate::{
    clients::{Client, Clients},
    complaints::Complaints,
    figures::Figures,
    handover::AccountingGiver,
    patience::Arrivals,
    reply,
    request::{self, Reading, Words},
    rotation,
    socket::Datagram,
    supersedings::Supersedings,
    ways::Ways,
};

/// A reject that nobody was asked about leaves so long after its request came in.
const REJECT_AFTER: Duration = Duration::from_secs(1);
/// And up to so much more, in microseconds.
const JITTER_MICROS: u32 = 250_000;
/// Replays of one client that are recorded one by one in a minute; the others are counted.
const REPLAY_RECORDS: u32 = 20;
const REPLAY_WINDOW: Duration = Duration::from_secs(60);

/// The state of the door.
pub(crate) struct Door {
    desk: Arc<Desk>,
    figures: Arc<Figures>,
    clients: Clients,
    table: TransactionTable<ClientId, LoginId>,
    mark: ProxyMark,
    /// Where accounting goes that comes over connections; `None`: it is not taken.
    accounting: Option<AccountingGiver>,
    /// Logins without a reply.
    waiting: HashMap<LoginId, Waiting>,
    /// When which reject is due. An entry without a waiting login is left over from one that has ended.
    rejects: BinaryHeap<Reverse<(Instant, LoginId)>>,
    complaints: Complaints,
    replays: HashMap<ClientId, ReplayRecords>,
    supersedings: Supersedings,
    started: Instant,
}

/// What is needed to answer a login.
#[derive(Debug)]
struct Waiting {
    client: Arc<Client>,
    /// Header and Proxy-State of the request, and the EAP-Failure that would answer it.
    kernel: Box<[u8]>,
    /// In which words it is refused.
    words: Words,
    /// The address that was asked.
    asked: Option<IpAddr>,
    arrivals: Arrivals,
}

/// What a client is told.
#[derive(Clone, Copy)]
enum Say<'a> {
    Accept(&'a Grant),
    Challenge(&'a Question),
    /// What another server asks.
    Relay(&'a UpstreamAttributes),
    Reject,
}

/// How many replays were recorded since when.
#[derive(Debug)]
struct ReplayRecords {
    since: Instant,
    recorded: u32,
    skipped: u64,
}

impl Door {
    pub(crate) fn new(
        desk: Arc<Desk>,
        figures: Arc<Figures>,
        (limits, mark): (Limits, ProxyMark),
        resources: &ResourceTable,
    ) -> Self {
        Self {
            clients: Clients::new(resources, &figures),
            desk,
            figures,
            table: TransactionTable::new(limits),
            mark,
            accounting: None,
            waiting: HashMap::new(),
            rejects: BinaryHeap::new(),
            complaints: Complaints::default(),
            replays: HashMap::new(),
            supersedings: Supersedings::new(limits.pending_per_client),
            started: Instant::now(),
        }
    }

    /// When [`Self::tick`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let reject = self.rejects.peek().map(|Reverse((due, _))| *due);
        let table = self.table.next_deadline().map(|due| self.started + due);
        reject.into_iter().chain(table).min()
    }

    fn since_start(&self, now: Instant) -> Duration {
        now.duration_since(self.started)
    }

    /// A datagram came in.
    pub(crate) fn datagram(&mut self, now: Instant, way: LocalSocket, datagram: Datagram<'_>, ways: &Ways) {
        let all = &self.figures.all;
        all.packets.count();
        let source = datagram.source.ip();
        let Some(client) = self.clients.find(source).map(Arc::clone) else {
            all.unknown_source.count();
            self.complaints.unknown_source(now, source);
            return;
        };
        // One datagram says nothing of the next.
        let _ = self.packet(now, way, datagram, &client, ways);
    }

    /// A packet of a client; whether those that come behind it on a connection are worth anything.
    fn packet(
        &mut self,
        now: Instant,
        way: LocalSocket,
        datagram: Datagram<'_>,
        client: &Arc<Client>,
        ways: &Ways,
    ) -> ControlFlow<()> {
        let source = datagram.source.ip();
        let packet = match PacketView::parse(datagram.octets) {
            Ok(packet) => packet,
            Err(fault) => {
                self.figures.all.malformed.count();
                self.complaints.malformed(now, client, source, &fault);
                return Self::drop_or_hang_up(way);
            }
        };
        if packet.code() == Code::AccountingRequest && self.hand_over(now, way, datagram, client, ways).is_break() {
            return ControlFlow::Continue(());
        }
        let all = &self.figures.all;
        let clock = self.desk.clock();
        let verify = |secret: &_| verify_request(&packet, secret, client.rule);
        let other_secret = |fault: &_| matches!(fault, RequestError::MessageAuthenticatorInvalid);
        let (client, proof) = rotation::proven(client, &**clock, verify, other_secret);
        match proof {
            Ok(Proof::MessageAuthenticator) => {
                client.counters.proven.count();
                client.note_proof(&**clock);
            }
            Ok(Proof::Connection) => {}
            Ok(Proof::SourceAddress) => {
                all.missing_message_authenticator.count();
                client.counters.missing_message_authenticator.count();
            }
            Err(fault) => {
                self.count_refused(client, fault);
                self.complaints.refused(now, client, source, fault);
                return match fault {
                    RequestError::MessageAuthenticatorInvalid => Self::drop_or_hang_up(way),
                    RequestError::UnexpectedCode(_) => {
                        self.unsupported(now, way, datagram, (&packet, client), ways);
                        ControlFlow::Continue(())
                    }
                    _ => ControlFlow::Continue(()),
                };
            }
        }
        if packet.code() == Code::StatusServer {
            all.status_server.count();
            // All other attributes are ignored, Proxy-State too (RFC 5997 section 3).
            let kernel = request::kernel(&packet, false);
            if let Some(reply) = reply::bare(Code::AccessAccept, &kernel, client) {
                self.send(now, way, (datagram.source, datagram.asked), &reply, ways);
            }
        } else if request::has_impossible_password(&packet) {
            all.malformed.count();
            self.complaints.password_length(now, client, source);
        } else {
            self.access_request(now, way, datagram, &packet, client, ways);
        }
        ControlFlow::Continue(())
    }

    fn count_refused(&self, client: &Client, fault: RequestError) {
        let all = &self.figures.all;
        match fault {
            RequestError::UnexpectedCode(_) => all.unexpected_code.count(),
            RequestError::MessageAuthenticatorInvalid => {
                all.bad_authenticator.count();
                client.counters.bad_authenticator.count();
            }
            RequestError::MessageAuthenticatorAbsent | RequestError::EapUnprotected => {
                all.missing_message_authenticator.count();
                client.counters.missing_message_authenticator.count();
            }
            RequestError::ProxyStateUnprotected => {
                all.proxy_state_refused.count();
                all.missing_message_authenticator.count();
                client.counters.missing_message_authenticator.count();
            }
            RequestError::TooMuchProxyState => all.proxy_state_refused.count(),
        }
    }

    /// A verified Access-Request (RFC 5080 section 2.2.2).
    fn access_request(
        &mut self,
        now: Instant,
        way: LocalSocket,
        datagram: Datagram<'_>,
        packet: &PacketView<'_>,
        client: &Arc<Client>,
        ways: &Ways,
    ) {
        let (source, identifier) = (datagram.source, packet.identifier());
        let key = TransactionKey { client: client.id(), source, local: way, identifier };
        let since_start = self.since_start(now);
        if self.table.would_supersede(since_start, &key, packet.authenticator())
            && !self.supersedings.take(now, client.id())
        {
            self.full(now, client, source.ip());
            return;
        }
        let desk = &self.desk;
        let all = &self.figures.all;
        match self.table.receive(since_start, key, packet.authenticator(), || desk.new_login_id()) {
            Received::New { ticket, superseded } => {
                all.requests.count();
                if let Some(old) = superseded {
                    all.superseding.count();
                    self.waiting.remove(&old);
                    self.desk.superseded(old);
                }
                let kernel = request::kernel(packet, true);
                let asked = datagram.asked;
                let (words, arrivals) = (request::words(packet), Arrivals::new(now));
                let waiting = Waiting { client: Arc::clone(client), kernel, words, asked, arrivals };
                self.waiting.insert(ticket, waiting);
                if let Some(tag) = self.mark.find(packet) {
                    self.came_back(now, ticket, tag, packet, client, ways);
                    return;
                }
                match request::read(packet, client, datagram.source.ip(), ticket) {
                    Reading::Login(request) => self.desk.login(*request),
                    Reading::Refuse(refusal) => {
                        let outcome = (LoginResult::Reject, refusal.reason, Some(refusal.detail.into_owned()));
                        let time = self.desk.clock().now();
                        self.desk.record(request::record(packet, client, Some(ticket), time, outcome));
                        self.reject_later(ticket, now);
                    }
                }
            }
            Received::Duplicate { ticket, .. } => {
                all.duplicates.count();
                client.counters.duplicates.count();
                if let Some(waiting) = self.waiting.get_mut(&ticket) {
                    client.patience.repeated(waiting.arrivals.again(now));
                }
                self.desk.heard(ticket);
            }
            Received::Cached(reply) => {
                all.cached_resent.count();
                self.send(now, way, (datagram.source, datagram.asked), &reply, ways);
            }
            Received::Replay => {
                all.replays.count();
                client.counters.replays.count();
                self.record_replay(now, packet, client);
            }
            Received::Full => self.full(now, client, source.ip()),
        }
    }

    /// There is no room for a request of a client: it is dropped.
    fn full(&mut self, now: Instant, client: &Client, source: IpAddr) {
        self.figures.all.full.count();
        client.counters.full.count();
        self.complaints.full(now, client, source, self.table.pending_of(client.id()));
    }

    /// A login that we have sent on came back to us: somebody sends to us what he gets from us. Refused at once, for it would
    /// go round and round.
    fn came_back(
        &mut self,
        now: Instant,
        login: LoginId,
        ProxyTag(tag): ProxyTag,
        packet: &PacketView<'_>,
        client: &Client,
        ways: &Ways,
    ) {
        self.figures.all.loops.count();
        client.counters.loops.count();
        self.desk.looped(tag);
        let outcome = (LoginResult::Reject, Reason::Loop, None);
        self.desk.record(request::record(packet, client, Some(login), self.desk.clock().now(), outcome));
        self.answer(now, login, Say::Reject, ways);
    }

    /// Records a replay; of a flood of them only the first of each minute, with the number of the others.
    fn record_replay(&mut self, now: Instant, packet: &PacketView<'_>, client: &Client) {
        let fresh = || ReplayRecords { since: now, recorded: 0, skipped: 0 };
        let records = self.replays.entry(client.id()).or_insert_with(fresh);
        if now.duration_since(records.since) >= REPLAY_WINDOW {
            *records = ReplayRecords { since: now, recorded: 0, skipped: records.skipped };
        }
        if records.recorded >= REPLAY_RECORDS {
            records.skipped = records.skipped.saturating_add(1);
            return;
        }
        records.recorded = records.recorded.saturating_add(1);
        let skipped = core::mem::take(&mut records.skipped);
        let detail = (skipped > 0).then(|| format!("{skipped} more replays of this client were not recorded before"));
        let outcome = (LoginResult::Unanswered, Reason::Replayed, detail);
        self.desk.record(request::record(packet, client, None, self.desk.clock().now(), outcome));
    }

    /// The desk has decided.
    pub(crate) fn verdict(&mut self, now: Instant, verdict: DoorVerdict, ways: &Ways) {
        let DoorVerdict { login, verdict } = verdict;
        match verdict {
            Verdict::Accept(grant) => self.answer(now, login, Say::Accept(&grant), ways),
            Verdict::Ask(question) => self.answer(now, login, Say::Challenge(&question), ways),
            Verdict::Relay(attributes) => self.answer(now, login, Say::Relay(&attributes), ways),
            Verdict::Reject { after_challenge, reason } => {
                let Some(waiting) = self.waiting.get(&login) else { return };
                if reason == Reason::Collision {
                    waiting.client.counters.collided.count();
                }
                if after_challenge {
                    self.answer(now, login, Say::Reject, ways);
                } else {
                    let arrived = waiting.arrivals.first;
                    self.reject_later(login, arrived);
                }
            }
            // Its retransmissions are still told apart: one that is heard after a takeover means two clients.
            Verdict::Unanswered { reason } => {
                if let Some(Waiting { client, arrivals, .. }) = self.waiting.remove(&login) {
                    if reason == Reason::Cancelled {
                        client.counters.given_up.count();
                        client.patience.gave_up(arrivals.waited());
                    } else {
                        client.counters.begun_anew.count();
                    }
                }
                self.table.forget(self.since_start(now), login);
            }
        }
    }

    /// Counted from the arrival, so that the time that checking took does not show.
    fn reject_later(&mut self, login: LoginId, arrived: Instant) {
        let random = u32::from_le_bytes(self.desk.entropy().octets::<4>());
        let jitter = Duration::from_micros(u64::from(random % (JITTER_MICROS + 1)));
        self.rejects.push(Reverse((arrived + REJECT_AFTER + jitter, login)));
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Instant, ways: &Ways) {
        while let Some(Reverse((due, login))) = self.rejects.peek().copied()
            && due <= now
        {
            self.rejects.pop();
            self.answer(now, login, Say::Reject, ways);
        }
        for login in self.table.expire(self.since_start(now)) {
            self.waiting.remove(&login);
            self.desk.superseded(login);
        }
    }

    /// Clients or resources were changed. What is pending for a client that is gone ends unanswered, and its connections are
    /// closed.
    pub(crate) fn resources_changed(&mut self, resources: &ResourceTable, ways: &mut Ways) {
        let newer = Clients::new(resources, &self.figures);
        let gone = self.clients.gone_in(&newer);
        self.clients = newer;
        for client in gone {
            for way in ways.connections_where(|connection| connection.client == client) {
                self.hang_up(way, ways);
            }
            for login in self.table.remove_client(client) {
                self.waiting.remove(&login);
                self.desk.superseded(login);
            }
        }
        let clients = &self.clients;
        self.replays.retain(|client, _| clients.exists(*client));
        self.supersedings.keep(|client| clients.exists(client));
        self.complaints.keep(|client| clients.exists(client));
    }

    /// Sends the reply to a login, if it still waits for one, and keeps it for retransmissions: an Access-Accept with
    /// what is granted, an Access-Reject where nothing is.
    fn answer(&mut self, now: Instant, login: LoginId, say: Say<'_>, ways: &Ways) {
        let Some(waiting) = self.waiting.remove(&login) else { return };
        let Waiting { kernel, client, words, .. } = &waiting;
        let entropy = &**self.desk.entropy();
        let (code, reply) = match say {
            Say::Accept(grant) => reply::accept(kernel, client, *words, grant, entropy),
            Say::Challenge(question) => (Code::AccessChallenge, reply::challenge(kernel, client, question)),
            Say::Relay(attributes) => reply::relay(kernel, client, attributes, entropy),
            Say::Reject => (Code::AccessReject, reply::reject(kernel, client, *words, entropy)),
        };
        let Some(reply) = reply else { return };
        let Some(key) = self.table.answer(self.since_start(now), login, Arc::clone(&reply)) else { return };
        match code {
            Code::AccessAccept => self.figures.all.accepts.count(),
            Code::AccessChallenge => self.figures.all.challenges.count(),
            _ => self.figures.all.rejects.count(),
        }
        self.send(now, key.local, (key.source, waiting.asked), &reply, ways);
    }

    /// To somebody, from the address that he asked.
    fn send(
        &mut self,
        now: Instant,
        way: LocalSocket,
        (to, asked): (SocketAddr, Option<IpAddr>),
        reply: &Arc<[u8]>,
        ways: &Ways,
    ) {
        if let Err(fault) = ways.send(way, to, asked, reply) {
            self.figures.all.unsent.count();
            self.complaints.unsent(now, to.ip(), &fault);
        }
    }
}

#[cfg(test)]
mod tests {
    use countersign_domain::Reason;
    use countersign_testkit::{Ask, Nas, NewResource, Site};

    use super::*;
    use crate::socket::Socket;

    #[tokio::test]
    async fn s52_a_reject_is_due_by_its_arrival_however_long_the_checks_took() {
        let site = Site::open(1).await;
        site.resource(NewResource::default()).await;
        let socket = Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local();
        let ways = Ways::new(vec![socket]);
        let resources = Arc::clone(&site.desk.resources().borrow());
        let mut door =
            Door::new(Arc::clone(&site.desk), Arc::default(), (Limits::default(), ProxyMark::new([7; 16])), &resources);
        let mut nas = Nas::new(address, NewResource::default().secret, 1).await;
        let source = "127.0.0.1:50000".parse().unwrap();
        let arrived = Instant::now();
        for checking in [0, 700, 1100].map(Duration::from_millis) {
            let packet = nas.pack(&Ask::login("alice"));
            let datagram = Datagram { octets: &packet.octets, source, asked: None };
            door.datagram(arrived, LocalSocket(0), datagram, &ways);
            let login = *door.waiting.keys().next().unwrap();
            let verdict = Verdict::Reject { reason: Reason::PasswordWrong, after_challenge: false };
            door.verdict(arrived + checking, DoorVerdict { login, verdict }, &ways);
            let due = door.rejects.peek().unwrap().0.0.duration_since(arrived);
            assert!((Duration::from_secs(1)..=Duration::from_millis(1250)).contains(&due), "{due:?}");
            door.tick(arrived + Duration::from_millis(999), &ways);
            assert_eq!(door.waiting.len(), 1, "not before");
            door.tick(arrived + Duration::from_millis(1250), &ways);
            assert!(door.waiting.is_empty() && door.rejects.is_empty());
        }
        assert_eq!(door.figures.counts().rejects, 3);
    }
    #[tokio::test]
    async fn c111_how_a_client_waits_shows_in_its_retransmissions() {
        let site = Site::open(2).await;
        let (_, client) = site.resource(NewResource::default()).await;
        let socket = Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local();
        let ways = Ways::new(vec![socket]);
        let resources = Arc::clone(&site.desk.resources().borrow());
        let mut door =
            Door::new(Arc::clone(&site.desk), Arc::default(), (Limits::default(), ProxyMark::new([7; 16])), &resources);
        let mut nas = Nas::new(address, NewResource::default().secret, 1).await;
        let source = "127.0.0.1:50000".parse().unwrap();
        let start = Instant::now();
        for (reason, expected) in [(Reason::Cancelled, (1, 0, 12)), (Reason::Superseded, (1, 1, 12))] {
            let packet = nas.pack(&Ask::login("alice"));
            for seconds in [0, 3, 6, 9] {
                let datagram = Datagram { octets: &packet.octets, source, asked: None };
                door.datagram(start + Duration::from_secs(seconds), LocalSocket(0), datagram, &ways);
            }
            let login = *door.waiting.keys().next().unwrap();
            let verdict = Verdict::Unanswered { reason };
            door.verdict(start + Duration::from_secs(20), DoorVerdict { login, verdict }, &ways);
            let (counts, waits) = (door.figures.client(client), door.figures.waits(client));
            assert_eq!((counts.given_up, counts.begun_anew, waits.longest.as_secs()), expected);
            assert_eq!(waits.interval(), Some(Duration::from_secs(3)));
        }
    }
}
