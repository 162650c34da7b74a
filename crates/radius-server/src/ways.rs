//! Where packets come in and replies leave.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    task::{Context, Poll},
};

use countersign_radius::LocalSocket;

use crate::socket::Socket;

/// All ways, each by the number that the transaction table knows it by.
#[derive(Debug)]
pub(crate) struct Ways {
    /// INVARIANT: each has its place as its number.
    sockets: Vec<Socket>,
}

impl Ways {
    pub(crate) const fn new(sockets: Vec<Socket>) -> Self {
        Self { sockets }
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

    /// Sends a reply the way that its request came, from the address that was asked. What there is no way for any more is
    /// lost, as it may be in any network.
    pub(crate) fn send(
        &self,
        way: LocalSocket,
        to: SocketAddr,
        asked: Option<IpAddr>,
        contents: &[u8],
    ) -> io::Result<()> {
        self.socket(way).map_or(Ok(()), |socket| socket.send(to, asked, contents))
    }
}
