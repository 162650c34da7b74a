//! The servers of one upstream, and all that wait for them.

use core::time::Duration;
use std::{
    collections::HashMap,
    io::ErrorKind,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use countersign_domain::{Entropy, Seldom};
use countersign_radius::{
    SharedSecret,
    upstream::{
        Forward, NoAnswer, Outcome, Output, ProxyMark, ProxyTag, Purpose, ReplyFault, ServerState, Timing, Transport,
        UpstreamServer, UpstreamSocket, UpstreamTable,
    },
};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until},
};
use tracing::warn;

use crate::{
    complaints::Complaints,
    socket::{DATAGRAM, Socket},
    stream::{self, Broken, Tls, WAITING},
};

/// Datagrams taken at once.
const BATCH: usize = 32;
/// The timer is set to this where nothing is due.
const IDLE: Duration = Duration::from_secs(3600);
/// After a fault of a socket nothing is asked of it for so long.
const REST: Duration = Duration::from_millis(100);

/// A server as it is configured.
#[derive(Debug, Clone)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// How it is asked, and never otherwise.
    pub over: Over,
}

/// How a server is asked.
#[derive(Debug, Clone)]
pub enum Over {
    /// By datagrams, with the secret that it shares with us.
    Udp(SharedSecret),
    /// Over TLS (RFC 6614).
    Tls(Tls),
}

impl Server {
    /// One that is asked by datagrams.
    pub const fn udp(address: SocketAddr, secret: SharedSecret) -> Self {
        Self { address, over: Over::Udp(secret) }
    }

    pub(crate) fn for_table(&self) -> UpstreamServer {
        let (secret, transport) = match &self.over {
            Over::Udp(secret) => (secret.clone(), Transport::Datagrams),
            Over::Tls(_) => (SharedSecret::radsec(), Transport::Connections),
        };
        UpstreamServer { address: self.address, secret, transport }
    }
}

/// The way to a server.
enum Way {
    Datagrams(Arc<Socket>, AbortHandle),
    /// When it is dropped, the connection is closed.
    Connection(mpsc::Sender<Arc<[u8]>>),
}

/// Servers that are asked in order. Cheap to clone; when the last clone goes, its sockets are closed.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    servers: Vec<Server>,
    entropy: Arc<dyn Entropy>,
    started: Instant,
    state: Mutex<State>,
    /// Something is due sooner than the timer knows.
    sooner: Arc<Notify>,
}

struct State {
    table: UpstreamTable<u64>,
    sockets: HashMap<UpstreamSocket, Way>,
    waiters: HashMap<u64, oneshot::Sender<Outcome>>,
    made: u64,
    /// When the timer wakes.
    armed: Option<Duration>,
    complaints: Complaints,
    cannot_open: Seldom,
    /// Whoever receives, and the timer. They end with this.
    tasks: JoinSet<()>,
}

/// What is done when the lock has been let go.
#[derive(Default)]
struct Work {
    send: Vec<(UpstreamSocket, Arc<Socket>, Arc<[u8]>)>,
    tell: Vec<(oneshot::Sender<Outcome>, Outcome)>,
}

impl Client {
    /// A client of these servers, which is called `name` in the log. It asks each at once whether it is there. Needs a
    /// tokio runtime around it.
    pub fn new(name: &str, servers: Vec<Server>, mark: ProxyMark, entropy: Arc<dyn Entropy>) -> Self {
        Self::with_timing(name, servers, mark, entropy, Timing::default())
    }

    /// A client of servers that keep accounting, which gives nothing but [`Outcome::Recorded`] and
    /// [`Outcome::NoAnswer`].
    pub fn accounting(name: &str, servers: Vec<Server>, mark: ProxyMark, entropy: Arc<dyn Entropy>) -> Self {
        Self::made(name, (Purpose::Accounting, servers), mark, entropy, Timing::default())
    }

    /// The same with other times.
    pub fn with_timing(
        name: &str,
        servers: Vec<Server>,
        mark: ProxyMark,
        entropy: Arc<dyn Entropy>,
        timing: Timing,
    ) -> Self {
        Self::made(name, (Purpose::Logins, servers), mark, entropy, timing)
    }

    fn made(
        name: &str,
        (purpose, servers): (Purpose, Vec<Server>),
        mark: ProxyMark,
        entropy: Arc<dyn Entropy>,
        timing: Timing,
    ) -> Self {
        let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
        let inner = Arc::new(Inner {
            entropy,
            started: Instant::now(),
            sooner: Arc::default(),
            state: Mutex::new(State {
                complaints: Complaints::new(name, purpose, addresses.clone()),
                table: UpstreamTable::with_purpose(
                    purpose,
                    servers.iter().map(Server::for_table).collect(),
                    mark,
                    timing,
                ),
                sockets: HashMap::new(),
                waiters: HashMap::new(),
                made: 0,
                armed: None,
                cannot_open: Seldom::default(),
                tasks: JoinSet::new(),
            }),
            servers,
        });
        let timer = keep_time(Arc::downgrade(&inner), Arc::clone(&inner.sooner));
        inner.lock().tasks.spawn(timer);
        Self { inner }
    }

    /// Sends a request on; how it ends, after `budget` at the latest.
    pub async fn ask(&self, forward: Forward, budget: Duration) -> Outcome {
        let (sender, receiver) = oneshot::channel();
        self.inner.act(|state, now, entropy| {
            let ticket = state.made;
            state.made = state.made.wrapping_add(1);
            state.waiters.insert(ticket, sender);
            let deadline = now.saturating_add(budget);
            state.table.request(now, ticket, forward, deadline, &mut |octets| entropy.fill(octets));
        });
        receiver.await.unwrap_or(Outcome::NoAnswer(NoAnswer::Silent))
    }

    /// A login came back to us. Whether it is one of those that wait here.
    pub fn looped(&self, tag: ProxyTag) -> bool {
        self.inner.lock().table.looped(tag)
    }

    /// Where the server with this place in the order is.
    pub fn address(&self, server: usize) -> Option<SocketAddr> {
        self.inner.servers.get(server).map(|server| server.address)
    }

    /// The servers, in their order, as they are now; times are spans before now.
    pub fn servers(&self) -> Vec<(SocketAddr, ServerState)> {
        let now = self.inner.now();
        let ago = |time: Option<Duration>| time.map(|time| now.saturating_sub(time));
        let state = self.inner.lock();
        let states = state.table.servers().map(|server| ServerState {
            down_since: ago(server.down_since),
            heard: ago(server.heard),
            ..server
        });
        self.inner.servers.iter().map(|server| server.address).zip(states).collect()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Changes the table and carries out what comes of it.
    fn act<R>(self: &Arc<Self>, act: impl FnOnce(&mut State, Duration, &dyn Entropy) -> R) -> R {
        let now = self.now();
        let mut work = Work::default();
        let mut state = self.lock();
        let result = act(&mut state, now, &*self.entropy);
        while let Some(output) = state.table.poll() {
            self.take_down(&mut state, now, output, &mut work);
        }
        let next = state.table.next_deadline();
        let sooner = next.is_some_and(|next| state.armed.is_none_or(|armed| next < armed));
        if sooner {
            state.armed = next;
        }
        drop(state);
        if sooner {
            self.sooner.notify_one();
        }
        for (socket, io, packet) in work.send {
            match io.send(&packet) {
                Err(fault) if fault.kind() == ErrorKind::ConnectionRefused => self.refused(socket),
                // It is sent again, and by then the network may be there.
                Err(fault) => tracing::debug!(radius.server = %io.server(), error = %fault, "a packet was not sent"),
                Ok(()) => {}
            }
        }
        for (waiter, outcome) in work.tell {
            // Whoever asked may have gone.
            let _ = waiter.send(outcome);
        }
        result
    }

    fn take_down(self: &Arc<Self>, state: &mut State, now: Duration, output: Output<u64>, work: &mut Work) {
        match output {
            Output::Send { socket, packet } => {
                if !state.sockets.contains_key(&socket) {
                    self.open(state, now, socket);
                }
                match state.sockets.get(&socket) {
                    Some(Way::Datagrams(io, _)) => work.send.push((socket, Arc::clone(io), packet)),
                    // There is room for more than may wait there; and what is lost all the same ends as unanswered.
                    Some(Way::Connection(queue)) => drop(queue.try_send(packet)),
                    None => {}
                }
            }
            Output::Close(socket) => {
                if let Some(Way::Datagrams(_, receiver)) = state.sockets.remove(&socket) {
                    receiver.abort();
                }
            }
            Output::Ended { ticket, outcome } => {
                work.tell.extend(state.waiters.remove(&ticket).map(|waiter| (waiter, outcome)));
            }
            Output::Changed { server, change } => state.complaints.changed(server, change),
        }
    }

    fn open(self: &Arc<Self>, state: &mut State, now: Duration, socket: UpstreamSocket) {
        let Some(server) = self.servers.get(socket.server) else { return };
        while state.tasks.try_join_next().is_some() {}
        if let Over::Tls(tls) = &server.over {
            let (queue, outgoing) = mpsc::channel(WAITING);
            state.tasks.spawn(keep_connection(Arc::downgrade(self), socket, (server.clone(), tls.clone()), outgoing));
            state.sockets.insert(socket, Way::Connection(queue));
            return;
        }
        let address = server.address;
        match Socket::open(address) {
            Ok(io) => {
                let io = Arc::new(io);
                let receiver = state.tasks.spawn(receive(Arc::downgrade(self), socket, Arc::clone(&io)));
                state.sockets.insert(socket, Way::Datagrams(io, receiver));
            }
            Err(fault) => {
                if let Some(times) = state.cannot_open.happens(now) {
                    warn!(radius.server = %address, error = %fault, times, "no socket towards a RADIUS server can be opened");
                }
            }
        }
    }

    /// A connection could not be had, or is over; `heard` says whether anything had come from it.
    fn broken(self: &Arc<Self>, socket: UpstreamSocket, heard: bool, why: &Broken) {
        self.act(|state, now, entropy| {
            state.sockets.remove(&socket);
            state.complaints.broken(now, socket.server, heard, why);
            state.table.broken(now, socket, heard, &mut |octets| entropy.fill(octets));
        });
    }

    /// A packet came over a connection; whether it is one that may come there.
    fn heard(self: &Arc<Self>, socket: UpstreamSocket, source: SocketAddr, packet: &[u8]) -> bool {
        self.act(|state, now, entropy| {
            let received = state.table.receive(now, socket, source, packet, &mut |octets| entropy.fill(octets));
            if let Err(fault) = received {
                state.complaints.fault(now, socket.server, fault);
            }
            !matches!(received, Err(ReplyFault::Unproven(_)))
        })
    }

    fn refused(self: &Arc<Self>, socket: UpstreamSocket) {
        self.act(|state, now, entropy| state.table.refused(now, socket, &mut |octets| entropy.fill(octets)));
    }

    /// Datagrams came to a socket.
    fn received(
        self: &Arc<Self>,
        socket: UpstreamSocket,
        source: SocketAddr,
        datagrams: &mut dyn Iterator<Item = &[u8]>,
    ) {
        self.act(|state, now, entropy| {
            for datagram in datagrams {
                let received = state.table.receive(now, socket, source, datagram, &mut |octets| entropy.fill(octets));
                if let Err(fault) = received {
                    state.complaints.fault(now, socket.server, fault);
                }
            }
        });
    }
}

/// Takes what comes to a socket, until it is closed.
async fn receive(inner: Weak<Inner>, socket: UpstreamSocket, io: Arc<Socket>) {
    let mut buffer = vec![0; DATAGRAM.saturating_mul(BATCH)];
    loop {
        let ready = io.readable().await;
        let mut lengths = Vec::with_capacity(BATCH);
        let mut fault = ready.err();
        for place in buffer.chunks_exact_mut(DATAGRAM) {
            match io.receive(place) {
                Ok(Some(length)) => lengths.push(length),
                Ok(None) => break,
                Err(found) => {
                    fault = Some(found);
                    break;
                }
            }
        }
        let Some(inner) = inner.upgrade() else { return };
        let datagrams = buffer.chunks_exact(DATAGRAM).zip(&lengths);
        let mut datagrams = datagrams.filter_map(|(place, length)| place.get(..*length));
        if !lengths.is_empty() {
            inner.received(socket, io.server(), &mut datagrams);
        }
        match fault {
            Some(fault) if fault.kind() == ErrorKind::ConnectionRefused => inner.refused(socket),
            Some(fault) => {
                tracing::debug!(radius.server = %io.server(), error = %fault, "a socket does not receive");
                drop(inner);
                tokio::time::sleep(REST).await;
            }
            None => {}
        }
    }
}

/// Has a connection, and what goes over it, until it is over.
async fn keep_connection(
    inner: Weak<Inner>,
    socket: UpstreamSocket,
    (server, tls): (Server, Tls),
    outgoing: mpsc::Receiver<Arc<[u8]>>,
) {
    let mut heard = false;
    let broken = match stream::open(&server, &tls).await {
        Err(broken) => Some(broken),
        Ok(opened) => {
            let received = |packet: &[u8]| {
                let Some(inner) = inner.upgrade() else { return false };
                heard = true;
                inner.heard(socket, server.address, packet)
            };
            stream::converse(opened, outgoing, received).await
        }
    };
    if let (Some(broken), Some(inner)) = (broken, inner.upgrade()) {
        inner.broken(socket, heard, &broken);
    }
}

/// Tells the table the time when something is due.
async fn keep_time(inner: Weak<Inner>, sooner: Arc<Notify>) {
    loop {
        let due = {
            let Some(inner) = inner.upgrade() else { return };
            inner.act(|state, now, entropy| {
                state.table.tick(now, &mut |octets| entropy.fill(octets));
                state.armed = state.table.next_deadline();
                inner.started + state.armed.unwrap_or_else(|| now.saturating_add(IDLE))
            })
        };
        tokio::select! {
            () = sleep_until(due) => {}
            () = sooner.notified() => {}
        }
    }
}
