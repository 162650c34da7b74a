//! What becomes of connections, and of what comes over them (RFC 6614).

use core::ops::ControlFlow;
use std::net::IpAddr;

use countersign_domain::TlsIdentity;
use countersign_radius::{LocalSocket, PacketView, encode_unsupported};
use countersign_radius_tls::Known;
use tokio::time::Instant;

use super::{Arc, Client, Datagram, Door};
use crate::{
    handover::{AccountingGiver, Handed},
    streams::{Ending, News, Refusal},
    ways::{Connection, Ways},
};

impl Door {
    /// Where accounting goes that comes over connections; without this it is not taken.
    pub(crate) fn give_accounting_to(&mut self, accounting: Option<AccountingGiver>) {
        self.accounting = accounting;
    }

    /// Whose connections are taken.
    pub(crate) fn known(&self) -> Known {
        self.clients.known()
    }

    /// Something has happened to a connection. A client has at most `most` of them.
    pub(crate) fn news(&mut self, now: Instant, news: News, most: usize, ways: &mut Ways) {
        match news {
            News::Opened { way, identity, source, outgoing } => {
                // What holds now; the handshake may have begun before the last change.
                let Some(client) = self.clients.with_certificate(&identity, source.ip()) else {
                    outgoing.closing.cancel();
                    return;
                };
                if ways.connections_of(client.id()) >= most {
                    outgoing.closing.cancel();
                    self.figures.all.tls_refused.count();
                    self.complaints.too_many_connections(now, client, source.ip(), most);
                    return;
                }
                self.figures.all.tls_connections.count();
                tracing::debug!(nas.address = %source, client.name = client.seat.client.name, "a client has connected");
                ways.open(way, Connection { client: client.id(), identity, source, outgoing });
            }
            News::Packets { way, packets } => self.packets(now, way, &packets, ways),
            News::Closed { way, ending } => self.closed(now, way, ending, ways),
            News::Refused { source, why } => self.refused(now, source, &why),
            News::OtherCa => {
                for way in ways.connections_where(|connection| matches!(connection.identity, TlsIdentity::Name(_))) {
                    self.hang_up(way, ways);
                }
            }
        }
    }

    fn packets(&mut self, now: Instant, way: LocalSocket, packets: &[Vec<u8>], ways: &mut Ways) {
        let Some(connection) = ways.connection(way) else { return };
        let source = connection.source;
        let Some(client) = self.clients.by_id(connection.client).map(Arc::clone) else { return };
        for octets in packets {
            self.figures.all.packets.count();
            let datagram = Datagram { octets, source, asked: None };
            if self.packet(now, way, datagram, &client, ways).is_break() {
                self.hang_up(way, ways);
                return;
            }
        }
    }

    /// Closes a connection. What is pending there can never be answered, so it ends, unanswered (RFC 6613 section 2.6.1).
    pub(super) fn hang_up(&mut self, way: LocalSocket, ways: &mut Ways) {
        let Some(connection) = ways.close(way) else { return };
        for login in self.table.close_connection(connection.client, connection.source, way) {
            self.waiting.remove(&login);
            self.desk.superseded(login);
        }
    }

    fn closed(&mut self, now: Instant, way: LocalSocket, ending: Ending, ways: &mut Ways) {
        let Some(connection) = ways.connection(way) else { return };
        if let Some(client) = self.clients.by_id(connection.client) {
            self.complaints.connection_ended(now, client, connection.source.ip(), ending);
        }
        self.hang_up(way, ways);
    }

    fn refused(&mut self, now: Instant, source: IpAddr, why: &Refusal) {
        self.figures.all.tls_refused.count();
        self.complaints.connection_refused(now, source, why);
    }

    /// Gives an Accounting-Request that came over a connection to those who take it. Nothing of it is believed here, and
    /// none of it reaches the desk (S54). Where there is no room for it, it is dropped. Goes on where accounting is not
    /// taken.
    pub(super) fn hand_over(
        &mut self,
        now: Instant,
        way: LocalSocket,
        datagram: Datagram<'_>,
        client: &Arc<Client>,
        ways: &Ways,
    ) -> ControlFlow<()> {
        let (Some(accounting), Some(connection)) = (&self.accounting, ways.connection(way)) else {
            return ControlFlow::Continue(());
        };
        let (octets, back) = (datagram.octets.to_vec(), connection.outgoing.way_back());
        let handed = Handed { octets, client: Arc::clone(client), way, source: datagram.source, back };
        if !accounting.give(handed) {
            self.figures.accounting.full.count();
            self.complaints.too_much_accounting(now, client, datagram.source.ip());
        }
        ControlFlow::Break(())
    }

    /// A packet of a kind that is not taken. Over a connection its sender is told, so that he stops (RFC 6614 section 3.4).
    pub(super) fn unsupported(
        &mut self,
        now: Instant,
        way: LocalSocket,
        datagram: Datagram<'_>,
        (packet, client): (&PacketView<'_>, &Client),
        ways: &Ways,
    ) {
        if way.is_connection()
            && let Some(answer) = encode_unsupported(packet, &client.secret)
        {
            self.send(now, way, (datagram.source, datagram.asked), &Arc::from(answer), ways);
        }
    }

    /// What is worth nothing over UDP and is dropped there means on a connection that nothing behind it is worth anything
    /// (RFC 6613 section 2.6.4).
    pub(super) const fn drop_or_hang_up(way: LocalSocket) -> ControlFlow<()> {
        if way.is_connection() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
