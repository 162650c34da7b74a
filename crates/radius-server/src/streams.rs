//! RADIUS over TLS (RFC 6614): connections from clients. Each has a task of its own, which knows nothing of RADIUS but where a
//! packet ends; what a packet means is for the door. Nothing here makes the door wait: what comes goes through one bounded queue, in
//! which no connection has more than one place, and what goes out through one of each connection.

use core::{
    future::poll_fn,
    sync::atomic::{AtomicU64, Ordering},
    task::Poll,
    time::Duration,
};
use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use countersign_domain::TlsIdentity;
use countersign_radius::{FrameError, Framer, LocalSocket, limits};
use countersign_radius_tls::{Credentials, Fault, Known, Peer, ServerStream, accept};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{
        mpsc::{self, error::TrySendError},
        watch,
    },
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::error;

/// After a fault of a listener nothing is asked of it for so long.
const REST: Duration = Duration::from_millis(100);
/// Connections may take so long to send what is there when the door closes.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// RADIUS over TLS, where it is served.
#[derive(Debug, Clone)]
pub struct TlsConfig {
    /// Where to listen; port 2083 is the usual one (RFC 6614 section 2.1).
    pub listen: Vec<SocketAddr>,
    /// Our certificate and the CA of clients, as they are now.
    pub credentials: watch::Receiver<Arc<Credentials>>,
    /// Bounds of connections.
    pub bounds: StreamBounds,
}

/// How many connections there may be, and how long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamBounds {
    /// Most connections, with those whose handshake is not over.
    pub connections: usize,
    /// Most connections of one client.
    pub per_client: usize,
    /// Most handshakes at a time.
    pub handshakes: usize,
    /// Of these, of one address, or of one IPv6 network of 64 bits.
    pub handshakes_per_source: usize,
    /// A handshake is over by then.
    pub handshake: Duration,
    /// A packet that has begun is whole by then.
    pub packet: Duration,
    /// A client that sends nothing for so long is gone. Clients watch over a connection by Status-Server, which is something
    /// (RFC 6613 section 2.6.5).
    pub idle: Duration,
    /// A client takes a reply within this.
    pub write: Duration,
    /// Replies that may wait for a client that does not take them.
    pub replies: usize,
}

impl Default for StreamBounds {
    fn default() -> Self {
        Self {
            connections: 1024,
            per_client: 128,
            handshakes: 256,
            handshakes_per_source: 32,
            handshake: Duration::from_secs(10),
            packet: Duration::from_secs(10),
            idle: Duration::from_secs(600),
            write: Duration::from_secs(10),
            replies: 512,
        }
    }
}

/// What connections tell the door.
#[derive(Debug)]
pub(crate) enum News {
    /// Somebody who is known has connected.
    Opened { way: LocalSocket, identity: TlsIdentity, source: SocketAddr, outgoing: Outgoing },
    /// Packets came, each as long as it says.
    Packets { way: LocalSocket, packets: Vec<Vec<u8>> },
    /// A connection is over.
    Closed { way: LocalSocket, ending: Ending },
    /// Somebody was not let in.
    Refused { source: IpAddr, why: Refusal },
    /// Those who are known by a name of the CA before are not known by that any more.
    OtherCa,
}

/// The way to a client.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// When it is dropped, what is in it is sent and the connection closed.
    pub(crate) replies: mpsc::Sender<Arc<[u8]>>,
    /// Closes the connection at once.
    pub(crate) closing: CancellationToken,
}

impl Outgoing {
    /// Sends a reply. Where the connection is over it is lost, as it may be in any network.
    ///
    /// # Errors
    /// The client does not take what it is sent; its connection is closed.
    pub(crate) fn send(&self, reply: &Arc<[u8]>) -> io::Result<()> {
        match self.replies.try_send(Arc::clone(reply)) {
            Ok(()) | Err(TrySendError::Closed(_)) => Ok(()),
            Err(TrySendError::Full(_)) => {
                self.closing.cancel();
                let what = "the client does not take what it is sent; it is cut off";
                Err(io::Error::new(io::ErrorKind::WouldBlock, what))
            }
        }
    }

    /// The same for somebody else, who does not keep the connection open by it.
    pub(crate) fn way_back(&self) -> WayBack {
        WayBack { replies: self.replies.downgrade(), closing: self.closing.clone() }
    }
}

/// The way to a client, as long as the door keeps it open.
#[derive(Debug, Clone)]
pub(crate) struct WayBack {
    replies: mpsc::WeakSender<Arc<[u8]>>,
    closing: CancellationToken,
}

impl WayBack {
    /// The same as [`Outgoing::send`].
    pub(crate) fn send(&self, reply: &Arc<[u8]>) -> io::Result<()> {
        let Some(replies) = self.replies.upgrade() else { return Ok(()) };
        Outgoing { replies, closing: self.closing.clone() }.send(reply)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closing.is_cancelled()
    }

    pub(crate) fn close(&self) {
        self.closing.cancel();
    }
}

/// Why a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The client has closed it, or the network has.
    Gone,
    /// We have.
    Ours,
    /// What came is no packet.
    Garbage(FrameError),
    /// A packet did not become whole, or a reply was not taken, in time.
    Slow,
    /// Nothing came for long.
    Idle,
    /// The certificate is over.
    Expired,
}

/// Why somebody was not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    Fault(Fault),
    Slow,
    Full,
}

/// Listeners, bound and not yet running.
pub(crate) struct Streams {
    listeners: Vec<TcpListener>,
    config: TlsConfig,
}

/// What all connections use.
struct Shared {
    config: TlsConfig,
    known: watch::Receiver<Arc<Known>>,
    news: mpsc::Sender<News>,
    numbers: AtomicU64,
    shaking: Mutex<HashMap<IpAddr, usize>>,
}

impl Streams {
    /// Opens the listeners. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// What the system says, and of which address.
    pub(crate) fn bind(config: TlsConfig) -> Result<Self, (SocketAddr, io::Error)> {
        let bind = |address: &SocketAddr| {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)
        };
        let bind = |address: &SocketAddr| bind(address).map_err(|fault| (*address, fault));
        let listeners = config.listen.iter().map(bind).collect::<Result<_, _>>()?;
        Ok(Self { listeners, config })
    }

    pub(crate) fn local_addrs(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok())
    }

    /// Takes connections until `closing` is cancelled, and waits until all of them have said their last words.
    pub(crate) async fn run(
        self,
        known: watch::Receiver<Arc<Known>>,
        news: mpsc::Sender<News>,
        closing: CancellationToken,
    ) {
        let Self { listeners, config } = self;
        let mut credentials = config.credentials.clone();
        let mut before = Arc::clone(&credentials.borrow_and_update());
        let shared = Arc::new(Shared { config, known, news, numbers: AtomicU64::new(0), shaking: Mutex::default() });
        let mut connections = JoinSet::new();
        loop {
            let accepted = poll_fn(|context| {
                let polled = listeners.iter().map(|listener| listener.poll_accept(context));
                polled.into_iter().find(Poll::is_ready).unwrap_or(Poll::Pending)
            });
            tokio::select! {
                () = closing.cancelled() => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                Ok(()) = credentials.changed() => {
                    let now = Arc::clone(&credentials.borrow_and_update());
                    if !now.has_same_ca(&before) && shared.news.send(News::OtherCa).await.is_err() {
                        break;
                    }
                    before = now;
                }
                accepted = accepted => match accepted {
                    Ok((stream, source)) => {
                        let seat = (connections.len() < shared.config.bounds.connections)
                            .then(|| Seat::take(&shared, source.ip()))
                            .flatten();
                        match seat {
                            Some(seat) => {
                                connections.spawn(connection(Arc::clone(&shared), stream, source, seat));
                            }
                            None => shared.refused(source, Refusal::Full),
                        }
                    }
                    Err(fault) => {
                        error!(error = %fault, "a listener of RADIUS over TLS takes no connections");
                        sleep(REST).await;
                    }
                },
            }
        }
        drop(listeners);
        let all = async { while connections.join_next().await.is_some() {} };
        // Whoever does not take his last words in time is cut off with the set.
        let _ = timeout(LAST_WORDS, all).await;
    }
}

impl Shared {
    fn refused(&self, source: SocketAddr, why: Refusal) {
        // Anybody can have this told as often as he likes, so it finds a place or is lost.
        let _ = self.news.try_send(News::Refused { source: source.ip(), why });
    }
}

/// A handshake, which counts until this is dropped.
struct Seat {
    shared: Arc<Shared>,
    source: IpAddr,
}

impl Seat {
    /// `None` where there are too many, of all or of this source.
    fn take(shared: &Arc<Shared>, source: IpAddr) -> Option<Self> {
        // Addresses that one party can take at will count as one.
        let source = match source.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
            address @ IpAddr::V4(_) => address,
        };
        let bounds = &shared.config.bounds;
        let mut shaking = shared.shaking.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, own) = (shaking.values().sum::<usize>(), shaking.get(&source).copied().unwrap_or(0));
        if all >= bounds.handshakes || own >= bounds.handshakes_per_source {
            return None;
        }
        shaking.insert(source, own.saturating_add(1));
        drop(shaking);
        Some(Self { shared: Arc::clone(shared), source })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut shaking = self.shared.shaking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = shaking.get_mut(&self.source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                shaking.remove(&self.source);
            }
        }
    }
}

/// A connection, from its handshake to its end.
async fn connection(shared: Arc<Shared>, stream: TcpStream, source: SocketAddr, seat: Seat) {
    let bounds = shared.config.bounds;
    // A reply is one small write; without this it could wait for the next.
    let _ = stream.set_nodelay(true);
    let credentials = Arc::clone(&shared.config.credentials.borrow());
    let known = Arc::clone(&shared.known.borrow());
    let shaken = timeout(bounds.handshake, accept(stream, source.ip(), &credentials, &known)).await;
    drop(seat);
    let (stream, peer) = match shaken {
        Ok(Ok(shaken)) => shaken,
        Ok(Err(fault)) => return shared.refused(source, Refusal::Fault(fault)),
        Err(_) => return shared.refused(source, Refusal::Slow),
    };
    let way = LocalSocket::connection(shared.numbers.fetch_add(1, Ordering::Relaxed));
    let Peer { identity, left } = peer;
    let expires = Instant::now() + left;
    let (replies, outgoing) = mpsc::channel(bounds.replies);
    let closing = CancellationToken::new();
    let by_name = matches!(identity, TlsIdentity::Name(_));
    let opened = News::Opened { way, identity, source, outgoing: Outgoing { replies, closing: closing.clone() } };
    if shared.news.send(opened).await.is_err() {
        return;
    }
    // The handshake was judged by the CA that there was when it began. Where that has changed the word of it may have come before
    // this connection was there to be closed; from now on it comes behind it.
    if by_name && !shared.config.credentials.borrow().has_same_ca(&credentials) {
        closing.cancel();
    }
    let serving = Serving { stream, way, news: &shared.news, bounds, expires };
    let ending = tokio::select! {
        () = closing.cancelled() => Ending::Ours,
        ending = serving.run(outgoing) => ending,
    };
    // Where nobody hears it any more, the door is closed.
    let _ = shared.news.send(News::Closed { way, ending }).await;
}

struct Serving<'a> {
    stream: ServerStream,
    way: LocalSocket,
    news: &'a mpsc::Sender<News>,
    bounds: StreamBounds,
    expires: Instant,
}

impl Serving<'_> {
    async fn run(mut self, mut outgoing: mpsc::Receiver<Arc<[u8]>>) -> Ending {
        let mut framer = Framer::new();
        let mut buffer = vec![0; limits::PACKET];
        // When the last whole packet came, and when the one began that is not whole.
        let (mut heard, mut began) = (Instant::now(), Instant::now());
        loop {
            let (due, overdue) = if framer.is_within_packet() {
                (began + self.bounds.packet, Ending::Slow)
            } else {
                (heard + self.bounds.idle, Ending::Idle)
            };
            let (due, overdue) = if self.expires < due { (self.expires, Ending::Expired) } else { (due, overdue) };
            tokio::select! {
                biased;
                reply = outgoing.recv() => {
                    let sent = timeout(self.bounds.write, self.send(reply.as_deref(), &mut outgoing)).await;
                    match (sent, reply) {
                        (Err(_), _) => return Ending::Slow,
                        (Ok(Err(_)), _) => return Ending::Gone,
                        (Ok(Ok(())), None) => return Ending::Ours,
                        (Ok(Ok(())), Some(_)) => {}
                    }
                }
                () = sleep_until(due) => return overdue,
                read = self.stream.read(&mut buffer) => {
                    let Ok(length @ 1..) = read else { return Ending::Gone };
                    let now = Instant::now();
                    let was_within = framer.is_within_packet();
                    framer.push(buffer.get(..length).unwrap_or_default());
                    let mut packets = Vec::new();
                    let fault = loop {
                        match framer.next_packet() {
                            Ok(Some(packet)) => packets.push(packet.to_vec()),
                            Ok(None) => break None,
                            Err(fault) => break Some(fault),
                        }
                    };
                    if !packets.is_empty() {
                        heard = now;
                    }
                    if !was_within || !packets.is_empty() {
                        began = now;
                    }
                    let news = News::Packets { way: self.way, packets };
                    if self.news.send(news).await.is_err() {
                        return Ending::Ours;
                    }
                    if let Some(fault) = fault {
                        return Ending::Garbage(fault);
                    }
                }
            }
        }
    }

    /// Sends a reply with all that wait behind it; without one, takes leave.
    async fn send(&mut self, reply: Option<&[u8]>, outgoing: &mut mpsc::Receiver<Arc<[u8]>>) -> io::Result<()> {
        let Some(reply) = reply else { return self.stream.shutdown().await };
        self.stream.write_all(reply).await?;
        while let Ok(next) = outgoing.try_recv() {
            self.stream.write_all(&next).await?;
        }
        self.stream.flush().await
    }
}
