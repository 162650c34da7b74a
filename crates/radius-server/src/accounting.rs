//! Accounting (RFC 2866): answered, sent on where an upstream keeps it, and believed in nothing.
//!
//! It has ports and a task of its own, so that a flood of it does not hold logins up, and it is given no desk: what is said
//! here can open, end or change no login (S54). What comes over TLS comes through the door (RFC 6614 section 2.1), by a
//! bounded queue, and is answered without it. What becomes of a datagram, in this order; a packet of a connection begins
//! at 2, and where it was not made with the secret its connection is closed:
//!
//! 1. its source belongs to a client, or it is dropped;
//! 2. it is a packet, and its Request Authenticator is right, or it is dropped (RFC 2866 section 3);
//! 3. Status-Server is answered on the spot (RFC 5997);
//! 4. a record that was heard before gets silence or its old response; the same record with another Acct-Delay-Time is
//!    another one (RFC 2866 section 4.1);
//! 5. a new one is sent on where the upstream of its resource keeps accounting, and answered when a server there has
//!    answered; without an answer it is forgotten, so that the client asks again (RFC 2866 section 2.3). Elsewhere it is
//!    answered at once.

use core::{
    future::poll_fn,
    num::NonZeroU64,
    pin::pin,
    task::{Context, Poll},
    time::Duration,
};
use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use async_trait::async_trait;
use countersign_desk::ResourceTable;
use countersign_domain::{ClientId, Clock, UpstreamId};
use countersign_radius::{
    AccountingError, Code, Limits, LocalSocket, PacketView, Received, TransactionKey, TransactionTable,
    encode_accounting_response,
    upstream::{ProxyMark, ProxyTag, forwarded},
    verify_accounting,
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{
    clients::{Client, Clients},
    complaints::Complaints,
    figures::Figures,
    handover::{AccountingTaker, Handed},
    request, rotation,
    server::{BindError, IDLE, REST, Readable, Setting, bind_all},
    socket::{Batch, Datagram},
    streams::WayBack,
    ways::Ways,
};

/// Keeps records somewhere else; the program brings one.
#[async_trait]
pub trait Recorders: Send + Sync + 'static {
    /// Whether this upstream keeps accounting.
    fn keeps(&self, upstream: UpstreamId) -> bool;

    /// Sends on the attributes of a record. Whether a server has said that it has it; ends by itself.
    async fn record(&self, upstream: UpstreamId, attributes: Arc<[u8]>) -> bool;

    /// A record that was sent on under this tag has come back to one of our own ports.
    fn looped(&self, tag: [u8; 8]);
}

/// What can be set.
pub struct AccountingConfig {
    /// Where to listen; port 1813 is the usual one (RFC 2866 section 3).
    pub listen: Vec<SocketAddr>,
    /// How many records may wait for an upstream, and how long responses are kept.
    pub limits: Limits,
    /// By which records are known that we have sent on and that come back.
    pub mark: ProxyMark,
    /// By which secrets end.
    pub clock: Arc<dyn Clock>,
    /// What the door has taken over TLS; `None`: nothing.
    pub connections: Option<AccountingTaker>,
}

/// The accounting ports, bound and not yet running.
pub struct AccountingServer {
    ways: Ways,
    connections: Option<AccountingTaker>,
    accounting: Accounting,
    resources: watch::Receiver<Arc<ResourceTable>>,
}

impl AccountingServer {
    /// Opens the sockets. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// A [`BindError`] that says which address cannot be used, and what to do.
    pub fn bind(
        config: AccountingConfig,
        mut resources: watch::Receiver<Arc<ResourceTable>>,
        recorders: Arc<dyn Recorders>,
        figures: Arc<Figures>,
    ) -> Result<Self, BindError> {
        let ways = Ways::new(bind_all(config.listen, Setting::Accounting)?);
        // An authenticator is a checksum, so equal records have equal ones, and none is a sign of a replay.
        let limits = Limits { authenticators: 0, ..config.limits };
        let table = Arc::clone(&resources.borrow_and_update());
        let accounting = Accounting {
            clients: Clients::new(&table, &figures),
            figures,
            table: TransactionTable::new(limits),
            limits,
            mark: config.mark,
            clock: config.clock,
            waiting: HashMap::new(),
            made: 0,
            under_way: HashMap::new(),
            records: JoinSet::new(),
            recorders,
            complaints: Complaints::default(),
            started: Instant::now(),
        };
        Ok(Self { ways, connections: config.connections, accounting, resources })
    }

    /// The addresses of all sockets.
    pub fn local_addrs(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.ways.sockets().map(crate::socket::Socket::local)
    }

    /// Serves until `shutdown` is cancelled. What waits for an upstream by then stays unanswered, and is asked again.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { ways, mut connections, mut accounting, mut resources } = self;
        for socket in ways.sockets() {
            info!(radius.address = %socket.local(), "listening for RADIUS accounting");
        }
        let mut batch = Batch::new();
        let mut handed = Vec::new();
        let (mut turn, mut connections_first) = (0_usize, false);
        let mut cancelled = pin!(shutdown.cancelled());
        let mut timer = pin!(sleep_until(Instant::now() + IDLE));
        loop {
            if let Some(due) = accounting.next_deadline().filter(|due| *due != timer.deadline()) {
                timer.as_mut().reset(due);
            }
            // Neither sockets nor connections hold the others up.
            let readable = poll_fn(|context| {
                let mut of_connections = |context: &mut Context<'_>| {
                    connections.as_mut().map_or(Poll::Pending, |taker| taker.poll_take(context, &mut handed))
                };
                if connections_first && of_connections(context).is_ready() {
                    return Poll::Ready(Readable::Connections);
                }
                if let Poll::Ready((index, ready)) = ways.poll_readable(turn, context) {
                    return Poll::Ready(Readable::Socket(index, ready));
                }
                if connections_first {
                    return Poll::Pending;
                }
                of_connections(context).map(|()| Readable::Connections)
            });
            tokio::select! {
                biased;
                () = &mut cancelled => return,
                Some(ended) = accounting.records.join_next() => {
                    if let Ok(ended) = ended {
                        accounting.ended(Instant::now(), ended, &ways);
                    }
                }
                Ok(()) = resources.changed() => {
                    let table = Arc::clone(&resources.borrow_and_update());
                    accounting.resources_changed(&table);
                }
                () = &mut timer => {
                    accounting.tick(Instant::now());
                    timer.as_mut().reset(Instant::now() + IDLE);
                }
                readable = readable => {
                    connections_first = matches!(readable, Readable::Socket(..));
                    let Readable::Socket(index, ready) = readable else {
                        let now = Instant::now();
                        for packet in handed.drain(..) {
                            accounting.handed(now, packet, &ways);
                        }
                        continue;
                    };
                    turn = index.wrapping_add(1);
                    let Ok(way) = u64::try_from(index).map(LocalSocket) else { continue };
                    let Some(socket) = ways.socket(way) else { continue };
                    if let Err(fault) = ready.and_then(|()| socket.receive(&mut batch)) {
                        error!(radius.address = %socket.local(), error = %fault, "a RADIUS socket does not receive");
                        sleep(REST).await;
                        continue;
                    }
                    let now = Instant::now();
                    for datagram in batch.datagrams() {
                        accounting.datagram(now, way, datagram, &ways);
                    }
                }
            }
        }
    }
}

/// A record that is on its way, by a number that is not used twice.
type Ticket = u64;

/// What is needed to answer a record.
struct Waiting {
    client: Arc<Client>,
    /// Header and Proxy-State of the request.
    kernel: Box<[u8]>,
    origin: Origin,
}

/// Where a packet came from, and how its response gets back.
#[derive(Clone)]
struct Origin {
    way: LocalSocket,
    source: SocketAddr,
    /// The address that was asked.
    asked: Option<IpAddr>,
    /// Of a connection.
    back: Option<WayBack>,
}

/// How a record that was sent on ended.
struct Ended {
    ticket: Ticket,
    client: ClientId,
    recorded: bool,
}

struct Accounting {
    clients: Clients,
    figures: Arc<Figures>,
    table: TransactionTable<ClientId, Ticket>,
    limits: Limits,
    mark: ProxyMark,
    clock: Arc<dyn Clock>,
    waiting: HashMap<Ticket, Waiting>,
    made: Ticket,
    /// How many of `records` are each client's. One that the client has begun anew counts until its upstream is done with
    /// it, so that nobody has more under way than his share (S105).
    ///
    /// INVARIANT: as many as `records` has.
    under_way: HashMap<ClientId, NonZeroU64>,
    records: JoinSet<Ended>,
    recorders: Arc<dyn Recorders>,
    complaints: Complaints,
    started: Instant,
}

impl Accounting {
    fn since_start(&self, now: Instant) -> Duration {
        now.duration_since(self.started)
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.table.next_deadline().map(|due| self.started + due)
    }

    fn datagram(&mut self, now: Instant, way: LocalSocket, datagram: Datagram<'_>, ways: &Ways) {
        let all = &self.figures.accounting;
        all.packets.count();
        let source = datagram.source.ip();
        let Some(client) = self.clients.find(source) else {
            all.unknown_source.count();
            self.complaints.unknown_source(now, source);
            return;
        };
        let client = Arc::clone(client);
        let origin = Origin { way, source: datagram.source, asked: datagram.asked, back: None };
        self.packet(now, datagram.octets, &client, &origin, ways);
    }

    /// A packet came over a connection. Behind one that closes it, and where its client is not what it was, nothing
    /// counts.
    fn handed(&mut self, now: Instant, handed: Handed, ways: &Ways) {
        let Handed { octets, client, way, source, back } = handed;
        self.figures.accounting.packets.count();
        if !back.is_closed() {
            let origin = Origin { way, source, asked: None, back: Some(back) };
            self.packet(now, &octets, &client, &origin, ways);
        }
    }

    /// A packet of a client.
    fn packet(&mut self, now: Instant, octets: &[u8], client: &Arc<Client>, origin: &Origin, ways: &Ways) {
        let all = &self.figures.accounting;
        let source = origin.source.ip();
        let packet = match PacketView::parse(octets) {
            Ok(packet) => packet,
            Err(fault) => {
                all.malformed.count();
                self.complaints.malformed(now, client, source, &fault);
                return;
            }
        };
        let other_secret =
            |fault: &_| matches!(fault, AccountingError::RequestAuthenticator | AccountingError::MessageAuthenticator);
        let verify = |secret: &_| verify_accounting(&packet, secret);
        let (client, proof) = rotation::proven(client, &*self.clock, verify, other_secret);
        if let Err(fault) = proof {
            match fault {
                AccountingError::UnexpectedCode(_) => all.unexpected_code.count(),
                AccountingError::RequestAuthenticator | AccountingError::MessageAuthenticator => {
                    all.bad_authenticator.count();
                    client.counters.bad_accounting.count();
                    // Nothing behind it is worth anything (RFC 6613 section 2.6.4).
                    if let Some(back) = &origin.back {
                        back.close();
                    }
                }
                AccountingError::TooMuchProxyState | AccountingError::Password => all.malformed.count(),
            }
            self.complaints.refused_accounting(now, client, source, fault);
            return;
        }
        client.note_proof(&*self.clock);
        let client = Arc::clone(client);
        if packet.code() == Code::StatusServer {
            all.status_server.count();
            // All other attributes are ignored, Proxy-State too (RFC 5997 section 3).
            if let Some(reply) = response(&request::kernel(&packet, false), &client) {
                self.send(now, origin, &reply, ways);
            }
            return;
        }
        self.record(now, origin, &packet, &client, ways);
    }

    /// A verified Accounting-Request.
    fn record(&mut self, now: Instant, origin: &Origin, packet: &PacketView<'_>, client: &Arc<Client>, ways: &Ways) {
        let (source, local) = (origin.source, origin.way);
        let key = TransactionKey { client: client.id(), source, local, identifier: packet.identifier() };
        let since_start = self.since_start(now);
        let made = self.made;
        match self.table.receive(since_start, key, packet.authenticator(), || made) {
            Received::New { ticket, superseded } => {
                self.made = self.made.wrapping_add(1);
                self.figures.accounting.requests.count();
                client.counters.accounting.count();
                if let Some(old) = superseded {
                    self.waiting.remove(&old);
                }
                let kernel = request::kernel(packet, true);
                let waiting = Waiting { client: Arc::clone(client), kernel, origin: origin.clone() };
                self.waiting.insert(ticket, waiting);
                self.take(now, ticket, packet, client, ways);
            }
            Received::Duplicate { .. } | Received::Replay => self.figures.accounting.duplicates.count(),
            Received::Cached(reply) => {
                self.figures.accounting.cached_resent.count();
                self.send(now, origin, &reply, ways);
            }
            Received::Full => self.full(now, client, source.ip()),
        }
    }

    /// Where a new record belongs.
    fn take(&mut self, now: Instant, ticket: Ticket, packet: &PacketView<'_>, client: &Client, ways: &Ways) {
        if let Some(ProxyTag(tag)) = self.mark.find(packet) {
            self.figures.accounting.loops.count();
            self.recorders.looped(tag);
            self.forget(now, ticket);
            return;
        }
        let Ok(resource) = client.resource_of(packet) else {
            self.figures.accounting.misled.count();
            self.forget(now, ticket);
            return;
        };
        let Some(upstream) = resource.upstream.filter(|upstream| self.recorders.keeps(*upstream)) else {
            self.answer(now, ticket, ways);
            return;
        };
        let share = u64::try_from(self.limits.pending_per_client).unwrap_or(u64::MAX);
        let of_client = self.under_way.get(&client.id()).map_or(0, |count| count.get());
        if of_client >= share || self.records.len() >= self.limits.pending {
            if let Some(key) = self.table.key_of(ticket) {
                self.full(now, client, key.source.ip());
            }
            self.forget(now, ticket);
            return;
        }
        let Ok(attributes) = forwarded(packet) else {
            self.forget(now, ticket);
            return;
        };
        self.figures.accounting.forwarded.count();
        let (recorders, client) = (Arc::clone(&self.recorders), client.id());
        self.under_way.entry(client).and_modify(|count| *count = count.saturating_add(1)).or_insert(NonZeroU64::MIN);
        self.records.spawn(async move {
            let recorded = recorders.record(upstream, attributes.into()).await;
            Ended { ticket, client, recorded }
        });
    }

    /// An upstream has answered, or has not.
    fn ended(&mut self, now: Instant, Ended { ticket, client, recorded }: Ended, ways: &Ways) {
        let left = self.under_way.get(&client).and_then(|count| NonZeroU64::new(count.get().saturating_sub(1)));
        match left {
            Some(left) => drop(self.under_way.insert(client, left)),
            None => drop(self.under_way.remove(&client)),
        }
        if recorded {
            self.answer(now, ticket, ways);
            return;
        }
        self.figures.accounting.unanswered.count();
        if let Some(Waiting { client, .. }) = self.waiting.get(&ticket) {
            client.counters.accounting_unanswered.count();
        }
        self.forget(now, ticket);
    }

    /// Takes a record as not heard, so that its retransmission is a new one.
    fn forget(&mut self, now: Instant, ticket: Ticket) {
        self.waiting.remove(&ticket);
        self.table.release(self.since_start(now), ticket);
    }

    /// Sends the response to a record, if its client still waits for one, and keeps it for retransmissions.
    fn answer(&mut self, now: Instant, ticket: Ticket, ways: &Ways) {
        let Some(Waiting { client, kernel, origin }) = self.waiting.remove(&ticket) else { return };
        let Some(reply) = response(&kernel, &client) else { return };
        if self.table.answer(self.since_start(now), ticket, Arc::clone(&reply)).is_some() {
            self.figures.accounting.responses.count();
            self.send(now, &origin, &reply, ways);
        }
    }

    fn full(&mut self, now: Instant, client: &Client, source: IpAddr) {
        self.figures.accounting.full.count();
        let pending = self.table.pending_of(client.id());
        self.complaints.full_of_accounting(now, client, source, pending);
    }

    fn tick(&mut self, now: Instant) {
        for ticket in self.table.expire(self.since_start(now)) {
            self.waiting.remove(&ticket);
        }
    }

    fn resources_changed(&mut self, resources: &ResourceTable) {
        let newer = Clients::new(resources, &self.figures);
        let gone = self.clients.gone_in(&newer);
        self.clients = newer;
        for client in gone {
            for ticket in self.table.remove_client(client) {
                self.waiting.remove(&ticket);
            }
        }
        let clients = &self.clients;
        self.complaints.keep(|client| clients.exists(client));
    }

    fn send(&mut self, now: Instant, origin: &Origin, reply: &Arc<[u8]>, ways: &Ways) {
        let sent = match &origin.back {
            Some(back) => back.send(reply),
            None => ways.send(origin.way, origin.source, origin.asked, reply),
        };
        if let Err(fault) = sent {
            self.figures.accounting.unsent.count();
            self.complaints.unsent(now, origin.source.ip(), &fault);
        }
    }
}

/// An Accounting-Response with Proxy-State of the request and nothing else.
fn response(kernel: &[u8], client: &Client) -> Option<Arc<[u8]>> {
    let request = PacketView::parse(kernel).ok()?;
    match encode_accounting_response(&request, &client.secret) {
        Ok(reply) => Some(Arc::from(reply)),
        Err(fault) => {
            error!(error = %fault, "a reply could not be made");
            None
        }
    }
}
