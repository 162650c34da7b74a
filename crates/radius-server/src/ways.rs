//! Where packets come in and replies leave.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
};

use countersign_domain::{ClientId, TlsIdentity};
use countersign_radius::LocalSocket;

use crate::{socket::Socket, streams::Outgoing};

/// All ways, each by the number that the transaction table knows it by.
#[derive(Debug)]
pub(crate) struct Ways {
    /// INVARIANT: each has its place as its number.
    sockets: Vec<Socket>,
    connections: HashMap<LocalSocket, Connection>,
}

/// A connection whose client is known.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) client: ClientId,
    pub(crate) identity: TlsIdentity,
    pub(crate) source: SocketAddr,
    pub(crate) outgoing: Outgoing,
}

impl Ways {
    pub(crate) fn new(sockets: Vec<Socket>) -> Self {
        Self { sockets, connections: HashMap::new() }
    }

    pub(crate) fn sockets(&self) -> impl Iterator<Item = &Socket> {
        self.sockets.iter()
    }

    pub(crate) fn socket(&self, way: LocalSocket) -> Option<&Socket> {
        self.sockets.get(usize::try_from(way.0).ok()?)
    }

    /// The first socket that has something to take, asked from the `turn`th on.
    pub(crate) fn poll_readable(&self, turn: usize, context: &mut Context<'_>) -> Poll<(usize, io::Result<()>)> {
        let asked = self.sockets.iter().enumerate().cycle().skip(turn % self.sockets.len().max(1));
        for (index, socket) in asked.take(self.sockets.len()) {
            if let Poll::Ready(ready) = socket.poll_readable(context) {
                return Poll::Ready((index, ready));
            }
        }
        Poll::Pending
    }

    pub(crate) fn connection(&self, way: LocalSocket) -> Option<&Connection> {
        self.connections.get(&way)
    }

    /// How many connections a client has.
    pub(crate) fn connections_of(&self, client: ClientId) -> usize {
        self.connections.values().filter(|connection| connection.client == client).count()
    }

    pub(crate) fn open(&mut self, way: LocalSocket, connection: Connection) {
        self.connections.insert(way, connection);
    }

    /// Ends a connection at once; `None` where it is not there any more.
    pub(crate) fn close(&mut self, way: LocalSocket) -> Option<Connection> {
        let connection = self.connections.remove(&way)?;
        connection.outgoing.closing.cancel();
        Some(connection)
    }

    /// The connections that something is true of.
    pub(crate) fn connections_where(&self, is: impl Fn(&Connection) -> bool) -> Vec<LocalSocket> {
        self.connections.iter().filter(|(_, connection)| is(connection)).map(|(way, _)| *way).collect()
    }

    /// Sends a reply the way that its request came, from the address that was asked. What there is no way for any more is
    /// lost, as it may be in any network. A client that does not take what it is sent loses its connection.
    pub(crate) fn send(
        &self,
        way: LocalSocket,
        to: SocketAddr,
        asked: Option<IpAddr>,
        contents: &Arc<[u8]>,
    ) -> io::Result<()> {
        if let Some(socket) = self.socket(way) {
            return socket.send(to, asked, contents);
        }
        self.connections.get(&way).map_or(Ok(()), |connection| connection.outgoing.send(contents))
    }
}
