//! The upstream table, driven by a clock of the tests' own.

mod attributes;
mod connections;
mod health;
mod servers;

use core::time::Duration;
use std::net::SocketAddr;

use super::list;
use crate::upstream::{
    Answer, Change, Forward, NoAnswer, Outcome, Output, ProxyMark, ReplyFault, Timing, Transport, UpstreamServer,
    UpstreamSocket, UpstreamTable, forwarded,
};
use crate::{
    AttributeList, AttributeType, Code, MessageAuthenticatorRule, PacketView, Proof, SharedSecret, UserPassword,
    encode_reply, verify_request,
};

const MARK: [u8; 16] = *b"sixteen octets !";
const PASSWORD: &[u8] = b"a password";

/// The table with everything that it put out.
struct World {
    table: UpstreamTable<u32>,
    now: Duration,
    random: u64,
    sent: Vec<(UpstreamSocket, Vec<u8>)>,
    closed: Vec<UpstreamSocket>,
    ended: Vec<(u32, Outcome)>,
    changes: Vec<(usize, Change)>,
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn secret(server: usize) -> SharedSecret {
    SharedSecret::new(format!("the secret of server {server}"))
}

fn address(server: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, u8::try_from(server).unwrap() + 1], 1812))
}

/// A login as a NAS sends it, ready to go on.
fn login() -> Forward {
    let request = super::signed(&[(AttributeType::USER_NAME, b"nemo"), (AttributeType::USER_PASSWORD, &[0; 16])]);
    Forward::new(forwarded(&PacketView::parse(&request).unwrap()).unwrap().into(), Some(PASSWORD))
}

impl World {
    fn new(servers: usize) -> Self {
        Self::with(servers, Timing::default())
    }

    fn with(servers: usize, timing: Timing) -> Self {
        let server = |at| UpstreamServer { address: address(at), secret: secret(at), transport: Transport::Datagrams };
        let servers = (0..servers).map(server).collect();
        Self {
            table: UpstreamTable::new(servers, ProxyMark::new(MARK), timing),
            now: Duration::ZERO,
            random: 1,
            sent: Vec::new(),
            closed: Vec::new(),
            ended: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// The same with servers that are reached over connections.
    fn over_connections(servers: usize) -> Self {
        let server =
            |at| UpstreamServer { address: address(at), secret: secret(at), transport: Transport::Connections };
        let table = UpstreamTable::new((0..servers).map(server).collect(), ProxyMark::new(MARK), Timing::default());
        Self { table, ..Self::new(0) }
    }

    /// The same with servers that have not answered the first Status-Server, and are not held to it.
    fn without_status(servers: usize) -> Self {
        let mut world = Self::new(servers);
        world.to(2.1);
        assert!(world.take().iter().all(|(_, packet)| packet[0] == 12));
        world
    }

    fn collect(&mut self) {
        while let Some(output) = self.table.poll() {
            match output {
                Output::Send { socket, packet } => self.sent.push((socket, packet.to_vec())),
                Output::Close(socket) => self.closed.push(socket),
                Output::Ended { ticket, outcome } => self.ended.push((ticket, outcome)),
                Output::Changed { server, change } => self.changes.push((server, change)),
            }
        }
        // It looks at everything, which takes its time with very much.
        if self.table.waiting() < 1000 || self.random.is_multiple_of(1024) {
            self.table.assert_invariants();
        }
    }

    fn with_random<R>(&mut self, act: impl FnOnce(&mut UpstreamTable<u32>, crate::upstream::Random<'_>) -> R) -> R {
        let state = &mut self.random;
        let result = act(&mut self.table, &mut |octets| {
            for octet in octets {
                *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *octet = u8::try_from(*state >> 56).unwrap();
            }
        });
        self.collect();
        result
    }

    /// Lets the clock run to `end`, with a tick whenever one is due.
    fn to(&mut self, end: f64) {
        let end = seconds(end);
        while let Some(due) = self.table.next_deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            let now = self.now;
            self.with_random(|table, random| table.tick(now, random));
            assert!(self.table.next_deadline().is_none_or(|next| next > now), "a tick leaves nothing that is due");
        }
        self.now = end;
    }

    fn request(&mut self, ticket: u32, budget: f64) {
        let (now, deadline) = (self.now, self.now + seconds(budget));
        self.with_random(|table, random| table.request(now, ticket, login(), deadline, random));
    }

    fn receive(&mut self, socket: UpstreamSocket, source: SocketAddr, datagram: &[u8]) -> Result<(), ReplyFault> {
        let now = self.now;
        self.with_random(|table, random| table.receive(now, socket, source, datagram, random))
    }

    fn refused(&mut self, socket: UpstreamSocket) {
        let now = self.now;
        self.with_random(|table, random| table.refused(now, socket, random));
    }

    fn broken(&mut self, socket: UpstreamSocket, heard: bool) {
        let now = self.now;
        self.with_random(|table, random| table.broken(now, socket, heard, random));
    }

    /// What was sent since this was asked last.
    fn take(&mut self) -> Vec<(UpstreamSocket, Vec<u8>)> {
        core::mem::take(&mut self.sent)
    }

    /// The logins among it: which server each went to.
    fn asked(&mut self) -> Vec<usize> {
        self.take().iter().filter(|(_, packet)| packet[0] == 1).map(|(socket, _)| socket.server).collect()
    }

    /// The one login that was sent since this was asked last.
    fn one(&mut self) -> (UpstreamSocket, Vec<u8>) {
        let mut logins: Vec<_> = self.take().into_iter().filter(|(_, packet)| packet[0] == 1).collect();
        assert_eq!(logins.len(), 1);
        logins.remove(0)
    }

    /// Answers as the server would that was asked.
    fn answer(&mut self, code: Code, (socket, packet): &(UpstreamSocket, Vec<u8>)) -> Result<(), ReplyFault> {
        let reply = reply(code, socket.server, packet, &AttributeList::new());
        self.receive(*socket, address(socket.server), &reply)
    }

    /// Answers all Status-Server that was sent; which servers were asked.
    fn answer_status(&mut self) -> Vec<usize> {
        let (probes, others): (Vec<_>, Vec<_>) = self.take().into_iter().partition(|(_, packet)| packet[0] == 12);
        self.sent = others;
        for probe in &probes {
            assert_eq!(self.answer(Code::AccessAccept, probe), Ok(()));
        }
        probes.iter().map(|(socket, _)| socket.server).collect()
    }

    /// Lets the clock run, and answers all Status-Server to this server meanwhile.
    fn run_while_up(&mut self, end: f64, up: usize) {
        while self.now < seconds(end) {
            let next = self.now.as_secs_f64() + 1.0;
            self.to(next.min(end));
            for probe in self.take().iter().filter(|(socket, packet)| socket.server == up && packet[0] == 12) {
                // Of two that were due in this second the first is over.
                let _ = self.answer(Code::AccessAccept, probe);
            }
        }
    }

    fn outcome(&mut self) -> Outcome {
        assert_eq!(self.ended.len(), 1, "{:?}", self.ended);
        self.ended.remove(0).1
    }
}

/// A server's reply to a packet of ours, which it believes.
fn reply(code: Code, server: usize, packet: &[u8], attributes: &AttributeList) -> Vec<u8> {
    let request = PacketView::parse(packet).unwrap();
    let proof = verify_request(&request, &secret(server), MessageAuthenticatorRule::Required);
    assert_eq!(proof, Ok(Proof::MessageAuthenticator));
    encode_reply(code, &request, &secret(server), attributes).unwrap()
}
