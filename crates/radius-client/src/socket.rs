//! UDP towards one server.

use std::{
    io::{self, ErrorKind},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
};
use tokio::{io::Interest, net::UdpSocket};

/// A longer datagram is no packet (RFC 2865 section 3); one octet more shows that it is longer.
pub(crate) const DATAGRAM: usize = 4097;

/// What a socket has to say.
const NEWS: Interest = Interest::READABLE.add(Interest::ERROR);

/// A socket that hears nobody but the server that it sends to.
#[derive(Debug)]
pub(crate) struct Socket {
    io: UdpSocket,
    server: SocketAddr,
}

impl Socket {
    /// Opens it on a port of the system's choice.
    pub(crate) fn open(server: SocketAddr) -> io::Result<Self> {
        let local: SocketAddr = match server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = std::net::UdpSocket::bind(local)?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        Ok(Self { io: UdpSocket::from_std(socket)?, server })
    }

    pub(crate) const fn server(&self) -> SocketAddr {
        self.server
    }

    /// Sends at once or not at all; what finds no room is lost, as it may be in any network.
    pub(crate) fn send(&self, packet: &[u8]) -> io::Result<()> {
        // Not through tokio, which would first wait to hear that a new socket has room.
        let sending = || send(&self.io, packet, SendFlags::empty());
        match sending() {
            // Of an earlier packet: this one has not been sent yet.
            Err(Errno::CONNREFUSED) => sending()?,
            sent => sent?,
        };
        Ok(())
    }

    /// Waits for a datagram, or for the news that nobody listens at the server's port.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.io.ready(NEWS).await.map(drop)
    }

    /// A datagram that is there; `None` when there is no further one.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        // One kind of news at a time: for several, tokio says that there is none.
        for news in [Interest::READABLE, Interest::ERROR] {
            match self.io.try_io(news, || Ok(recv(&self.io, &mut *buffer, RecvFlags::empty())?)) {
                Ok((_, length)) => return Ok(Some(length)),
                Err(fault) if matches!(fault.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(None)
    }
}
