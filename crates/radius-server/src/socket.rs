//! UDP that knows which of its addresses was asked (C076), in batches.

use std::{
    array,
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    task::{Context, Poll},
};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use tokio::{io::Interest, net::UdpSocket};

/// The longest that a kernel hands out at once: one datagram, or several of one sender put together.
const BUFFER: usize = 65_535;
/// Room for a burst while the door does something else; the system may give less.
const BURST: usize = 4 << 20;

/// A bound socket.
#[derive(Debug)]
pub(crate) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
}

/// A datagram with where it came from and which address it was for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Datagram<'a> {
    pub(crate) octets: &'a [u8],
    pub(crate) source: SocketAddr,
    pub(crate) asked: Option<IpAddr>,
}

/// Buffers of one batch. They are only touched as far as packets fill them, so they cost little memory.
pub(crate) struct Batch {
    buffers: Vec<u8>,
    metas: [RecvMeta; BATCH_SIZE],
    filled: usize,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self { buffers: vec![0; BUFFER * BATCH_SIZE], metas: [RecvMeta::default(); BATCH_SIZE], filled: 0 }
    }

    /// What was received last.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        let received = self.buffers.chunks_exact(BUFFER).zip(&self.metas).take(self.filled);
        received.flat_map(|(buffer, meta)| {
            let octets = buffer.get(..meta.len).unwrap_or(buffer);
            // An empty datagram has no chunks; it counts all the same.
            let empty = octets.is_empty().then_some(&[][..]);
            let several = octets.chunks(meta.stride.max(1));
            let (source, asked) = (meta.addr, meta.dst_ip);
            several.chain(empty).map(move |octets| Datagram { octets, source, asked })
        })
    }
}

impl Socket {
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = std::net::UdpSocket::bind(address)?;
        let local = socket.local_addr()?;
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        // As much as the system allows is enough; without any of it the default stays.
        let _ = state.set_recv_buffer_size(UdpSockRef::from(&socket), BURST);
        Ok(Self { io: UdpSocket::from_std(socket)?, state, local })
    }

    pub(crate) const fn local(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_recv_ready(context)
    }

    /// Fills the batch with what is there.
    pub(crate) fn receive(&self, batch: &mut Batch) -> io::Result<()> {
        batch.filled = 0;
        let mut buffers = batch.buffers.chunks_exact_mut(BUFFER);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            array::from_fn(|_| IoSliceMut::new(buffers.next().unwrap_or_default()));
        let metas = &mut batch.metas;
        let received = self.io.try_io(Interest::READABLE, || {
            self.state.recv(UdpSockRef::from(&self.io), &mut slices, metas.as_mut_slice())
        });
        match received {
            Ok(filled) => {
                batch.filled = filled;
                Ok(())
            }
            Err(fault) if matches!(fault.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    /// Sends from the address that was asked. A system that has no room for it loses it, as a network may.
    pub(crate) fn send(&self, to: SocketAddr, asked: Option<IpAddr>, contents: &[u8]) -> io::Result<()> {
        let transmit = Transmit { destination: to, ecn: None, contents, segment_size: None, src_ip: asked };
        self.state.try_send(UdpSockRef::from(&self.io), &transmit)
    }
}
