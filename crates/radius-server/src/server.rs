//! Binding and running.

use core::{fmt, future::poll_fn, pin::pin, task::Poll, time::Duration};
use std::{io, net::SocketAddr, sync::Arc};

use countersign_desk::{Desk, DoorVerdict};
use countersign_domain::Door as Kind;
use countersign_radius::{Limits, LocalSocket, upstream::ProxyMark};
use tokio::{
    sync::{
        mpsc::{self, UnboundedReceiver},
        watch,
    },
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{
    door::Door,
    figures::Figures,
    handover::AccountingGiver,
    socket::{Batch, Socket},
    streams::{StreamBounds, Streams, TlsConfig},
    ways::Ways,
};

/// Verdicts taken at once.
const VERDICTS: usize = 256;
/// After a fault of a socket nothing is asked of it for so long.
pub(crate) const REST: Duration = Duration::from_millis(10);
/// News of connections that wait at most, and that are taken at once.
const NEWS: usize = 256;
const NEWS_AT_ONCE: usize = 64;
/// The timer is set to this where nothing is due.
pub(crate) const IDLE: Duration = Duration::from_secs(3600);

/// What has something to take.
pub(crate) enum Readable {
    Socket(usize, io::Result<()>),
    Connections,
}

/// What can be set.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 1812 is the usual one (RFC 2865 section 3).
    pub listen: Vec<SocketAddr>,
    /// Bounds of the transaction table.
    pub limits: Limits,
    /// By which requests are known that we have sent on and that come back.
    pub mark: ProxyMark,
    /// RADIUS over TLS; `None`: not served.
    pub tls: Option<TlsConfig>,
    /// Where accounting goes that comes over TLS; `None`: clients are told that it is not taken.
    pub accounting: Option<AccountingGiver>,
}

/// Which setting has the addresses of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// Of logins.
    Listen,
    /// Of accounting.
    Accounting,
}

impl Setting {
    /// The usual port (RFC 2865 section 3, RFC 2866 section 3).
    const fn port(self) -> u16 {
        match self {
            Self::Listen => 1812,
            Self::Accounting => 1813,
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Listen => "[radius] listen",
            Self::Accounting => "[radius] accounting",
        })
    }
}

/// Why the door cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// There is no address to listen on.
    #[error("no address to listen on for RADIUS: set {setting}, for example to \"0.0.0.0:{}\"", .setting.port())]
    NoAddress {
        /// Where it is to be set.
        setting: Setting,
    },
    /// Another program has the port.
    #[error(
        "RADIUS port {address} (UDP) is taken by another program: stop that program (`ss -lunp sport = :{}` names it) \
         or set {setting} to another port", .address.port()
    )]
    Taken {
        /// Which.
        address: SocketAddr,
        /// Where it is set.
        setting: Setting,
    },
    /// Another entry of ours has it already.
    #[error(
        "RADIUS address {address} is covered by {by}, which is listed too: remove one of them from {setting} \
         ([::] takes IPv4 as well)"
    )]
    Covered {
        /// Which.
        address: SocketAddr,
        /// Where it is set.
        setting: Setting,
        /// By which.
        by: SocketAddr,
    },
    /// The system does not let us.
    #[error(
        "RADIUS port {address} (UDP) may not be opened by this user: set {setting} to a port from 1024 on, or \
         give the program the capability CAP_NET_BIND_SERVICE"
    )]
    Forbidden {
        /// Which.
        address: SocketAddr,
        /// Where it is set.
        setting: Setting,
    },
    /// It is not an address of this machine.
    #[error(
        "RADIUS address {address} is not one of this machine: set {setting} to one that `ip address` shows, or \
         to 0.0.0.0 or [::] for all of them"
    )]
    NotHere {
        /// Which.
        address: SocketAddr,
        /// Where it is set.
        setting: Setting,
    },
    /// A port of RADIUS over TLS.
    #[error(
        "RADIUS/TLS port {address} (TCP) cannot be opened: {fault}. Set [radius] tls_listen to an address of this machine and a port \
         that is free"
    )]
    Tls {
        /// Which.
        address: SocketAddr,
        /// What the system says.
        fault: io::Error,
    },
    /// Something else.
    #[error("RADIUS port {address} (UDP) cannot be opened: {fault}")]
    Other {
        /// Which.
        address: SocketAddr,
        /// What the system says.
        fault: io::Error,
    },
}

impl BindError {
    fn of(address: SocketAddr, setting: Setting, fault: io::Error) -> Self {
        match fault.kind() {
            io::ErrorKind::AddrInUse => Self::Taken { address, setting },
            io::ErrorKind::PermissionDenied => Self::Forbidden { address, setting },
            io::ErrorKind::AddrNotAvailable => Self::NotHere { address, setting },
            _ => Self::Other { address, fault },
        }
    }
}

/// Opens a socket for each address.
pub(crate) fn bind_all(listen: Vec<SocketAddr>, setting: Setting) -> Result<Vec<Socket>, BindError> {
    let mut sockets: Vec<Socket> = Vec::new();
    for address in listen {
        let ours = sockets.iter().map(Socket::local).find(|ours| ours.port() == address.port());
        sockets.push(Socket::bind(address).map_err(|fault| match (BindError::of(address, setting, fault), ours) {
            (BindError::Taken { address, setting }, Some(by)) => BindError::Covered { address, setting, by },
            (error, _) => error,
        })?);
    }
    if sockets.is_empty() { Err(BindError::NoAddress { setting }) } else { Ok(sockets) }
}

/// The RADIUS door, bound and not yet running.
pub struct RadiusServer {
    sockets: Vec<Socket>,
    streams: Option<(Streams, StreamBounds)>,
    accounting: Option<AccountingGiver>,
    limits: Limits,
    mark: ProxyMark,
    desk: Arc<Desk>,
    figures: Arc<Figures>,
    verdicts: UnboundedReceiver<DoorVerdict>,
}

impl RadiusServer {
    /// Opens the sockets and registers with the desk. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// A [`BindError`] that says which address cannot be used, and what to do.
    pub fn bind(config: Config, desk: Arc<Desk>) -> Result<Self, BindError> {
        let sockets = bind_all(config.listen, Setting::Listen)?;
        let bounds = config.tls.as_ref().map(|tls| tls.bounds);
        let streams = config.tls.map(Streams::bind).transpose();
        let streams = streams.map_err(|(address, fault)| BindError::Tls { address, fault })?;
        let streams = streams.zip(bounds);
        let verdicts = desk.register(Kind::Radius);
        let (limits, mark, accounting) = (config.limits, config.mark, config.accounting);
        Ok(Self { sockets, streams, accounting, limits, mark, desk, figures: Arc::default(), verdicts })
    }

    /// The address of the first socket, with the port that the system chose where port 0 was asked for.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addrs().next()
    }

    /// The addresses of all sockets.
    pub fn local_addrs(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.sockets.iter().map(Socket::local)
    }

    /// The addresses where TLS is spoken.
    pub fn tls_addrs(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.streams.iter().flat_map(|(streams, _)| streams.local_addrs())
    }

    /// What is counted, readable while the door runs.
    pub fn figures(&self) -> Arc<Figures> {
        Arc::clone(&self.figures)
    }

    /// Serves until `shutdown` is cancelled. Verdicts that are there by then still leave; a login without one stays
    /// unanswered, and its client asks again or elsewhere.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { sockets, streams, accounting, limits, mark, desk, figures, mut verdicts } = self;
        let mut resources = desk.resources();
        let table = Arc::clone(&resources.borrow_and_update());
        let mut ways = Ways::new(sockets);
        let mut door = Door::new(desk, figures, (limits, mark), &table);
        door.give_accounting_to(accounting);
        for socket in ways.sockets() {
            info!(radius.address = %socket.local(), "listening for RADIUS");
        }
        let (known, of_clients) = watch::channel(Arc::new(door.known()));
        // One end is kept here, so that the other waits where nothing is served over TLS.
        let (sender, mut news) = mpsc::channel(NEWS);
        let most = streams.as_ref().map_or(0, |(_, bounds)| bounds.per_client);
        let hang_up = CancellationToken::new();
        let mut connections = JoinSet::new();
        if let Some((streams, _)) = streams {
            for address in streams.local_addrs() {
                info!(radius.address = %address, "listening for RADIUS over TLS");
            }
            connections.spawn(streams.run(of_clients, sender.clone(), hang_up.clone()));
        }
        let mut told = Vec::with_capacity(NEWS_AT_ONCE);
        let mut batch = Batch::new();
        let mut arrived = Vec::with_capacity(VERDICTS);
        let mut turn = 0_usize;
        let mut cancelled = pin!(shutdown.cancelled());
        let mut timer = pin!(sleep_until(Instant::now() + IDLE));
        loop {
            let due = door.next_deadline();
            if let Some(due) = due.filter(|due| *due != timer.deadline()) {
                timer.as_mut().reset(due);
            }
            // Another one is asked first each time, so that none starves.
            let readable = poll_fn(|context| {
                let connections_first = turn % 2 == 1;
                if connections_first && let Poll::Ready(_) = news.poll_recv_many(context, &mut told, NEWS_AT_ONCE) {
                    return Poll::Ready(Readable::Connections);
                }
                if let Poll::Ready((index, ready)) = ways.poll_readable(turn, context) {
                    return Poll::Ready(Readable::Socket(index, ready));
                }
                if connections_first {
                    return Poll::Pending;
                }
                news.poll_recv_many(context, &mut told, NEWS_AT_ONCE).map(|_| Readable::Connections)
            });
            tokio::select! {
                biased;
                () = &mut cancelled => break,
                taken = verdicts.recv_many(&mut arrived, VERDICTS) => {
                    if taken == 0 {
                        error!("another RADIUS door took this one's place at the desk: it stops");
                        return;
                    }
                    let now = Instant::now();
                    for verdict in arrived.drain(..) {
                        door.verdict(now, verdict, &ways);
                    }
                }
                Ok(()) = resources.changed() => {
                    let table = Arc::clone(&resources.borrow_and_update());
                    door.resources_changed(&table, &mut ways);
                    known.send_replace(Arc::new(door.known()));
                }
                () = &mut timer => {
                    door.tick(Instant::now(), &ways);
                    timer.as_mut().reset(Instant::now() + IDLE);
                }
                readable = readable => {
                    turn = turn.wrapping_add(1);
                    let Readable::Socket(index, ready) = readable else {
                        let now = Instant::now();
                        for news in told.drain(..) {
                            door.news(now, news, most, &mut ways);
                        }
                        continue;
                    };
                    let way = LocalSocket(u64::try_from(index).unwrap_or(u64::MAX));
                    let Some(socket) = ways.socket(way) else { continue };
                    if let Err(fault) = ready.and_then(|()| socket.receive(&mut batch)) {
                        error!(radius.address = %socket.local(), error = %fault, "a RADIUS socket does not receive");
                        sleep(REST).await;
                        continue;
                    }
                    let now = Instant::now();
                    for datagram in batch.datagrams() {
                        door.datagram(now, way, datagram, &ways);
                    }
                }
            }
        }
        verdicts.close();
        let now = Instant::now();
        while let Ok(verdict) = verdicts.try_recv() {
            door.verdict(now, verdict, &ways);
        }
        // What is on its way to clients still gets there; what comes from them is not heard any more.
        hang_up.cancel();
        drop((news, ways));
        while connections.join_next().await.is_some() {}
    }
}
