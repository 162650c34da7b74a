//! Accounting that comes over connections, on its way from the door to the task that takes it. One port is for all packets there
//! (RFC 6614 section 2.1), so the door has them first; it reads nothing of these but that they are packets.

use core::task::{Context, Poll};
use std::{net::SocketAddr, sync::Arc};

use countersign_radius::LocalSocket;
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::{clients::Client, streams::WayBack};

/// Packets that wait at most. Whoever takes them does nothing slow, so there are many only in a flood.
const WAITING: usize = 1024;
/// Packets taken at once.
const AT_ONCE: usize = 64;

/// The door's end: what it gives here is taken as accounting. A door without one tells clients that accounting is not
/// taken.
#[derive(Debug, Clone)]
pub struct AccountingGiver(mpsc::Sender<Handed>);

/// The end of those who take it.
#[derive(Debug)]
pub struct AccountingTaker(mpsc::Receiver<Handed>);

/// A packet that came over a connection of this client, and by which way its response gets back.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) octets: Vec<u8>,
    pub(crate) client: Arc<Client>,
    pub(crate) way: LocalSocket,
    pub(crate) source: SocketAddr,
    pub(crate) back: WayBack,
}

/// Both ends of a way from the door to accounting, which is bounded.
pub fn accounting_over_connections() -> (AccountingGiver, AccountingTaker) {
    let (giver, taker) = mpsc::channel(WAITING);
    (AccountingGiver(giver), AccountingTaker(taker))
}

impl AccountingGiver {
    /// Whether there was room for it; where nobody takes it any more it is lost. Never waits.
    pub(crate) fn give(&self, handed: Handed) -> bool {
        !matches!(self.0.try_send(handed), Err(TrySendError::Full(_)))
    }
}

impl AccountingTaker {
    /// Takes what is there. Where there is no door any more nothing comes.
    pub(crate) fn poll_take(&mut self, context: &mut Context<'_>, taken: &mut Vec<Handed>) -> Poll<()> {
        match self.0.poll_recv_many(context, taken, AT_ONCE) {
            Poll::Ready(1..) => Poll::Ready(()),
            Poll::Ready(0) | Poll::Pending => Poll::Pending,
        }
    }
}
