use core::time::Duration;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};

use crate::upstream::{
    Forward, Outcome, Output, ProxyMark, Timing, Transport, UpstreamServer, UpstreamSocket, UpstreamTable, forwarded,
};
use crate::{
    AttributeList, AttributeType, Authenticator, Code, OpenAttributes, PacketView, SharedSecret, encode_reply,
};

/// What servers send, as octets of anybody's making, to a request that waits.
///
/// Laws: nothing panics; no octets but the server's own reply end the request; with one bit flipped that is no reply
/// either; what goes back to the client is whole attributes of the reply, in their order, without those of the hop; what was
/// encrypted for one hop is the same in plain on the next one, and no longer.
///
/// # Panics
/// Where a law is broken.
pub fn upstream_reply(octets: &[u8]) {
    let mut world = World::new(1);
    world.request(Forward::new(octets.get(..64).unwrap_or(octets).into(), Some(b"secret")), Duration::from_secs(10));
    let Some((socket, packet)) = world.sent.pop() else { return };
    assert!(world.receive(socket, octets).is_err());
    let mut right_identifier = octets.to_vec();
    if let (Some(to), Some(from)) = (right_identifier.get_mut(1), packet.get(1)) {
        *to = *from;
    }
    assert!(world.receive(socket, &right_identifier).is_err());
    assert!(world.ended.is_empty());

    // The server's own, with the attributes that the octets are, as far as they are some.
    let mut list = AttributeList::new();
    let mut rest = octets;
    while let Some((&[kind, length], after)) = rest.split_first_chunk::<2>() {
        let value = after.get(..usize::from(length.min(253))).unwrap_or(after);
        if !matches!(kind, 33 | 80) && list.octets().len() + value.len() < 3500 {
            assert_eq!(list.push(AttributeType(kind), value), Ok(()));
        }
        rest = after.get(value.len()..).unwrap_or_default();
    }
    let Ok(request) = PacketView::parse(&packet) else { return };
    let Ok(reply) = encode_reply(Code::AccessAccept, &request, &secret(0), &list) else { return };
    let at = octets.iter().fold(0_usize, |sum, octet| (sum * 31 + usize::from(*octet)) % 65_536) % reply.len();
    let mut forged = reply.clone();
    if let Some(octet) = forged.get_mut(at) {
        *octet ^= 1;
    }
    assert!(world.receive(socket, &forged).is_err());
    if list.iter().count() + 2 + request.attributes(AttributeType::PROXY_STATE).count() > crate::limits::ATTRIBUTES {
        return;
    }
    assert_eq!(world.receive(socket, &reply), Ok(()));
    let Some((0, Outcome::Accept(answer))) = world.ended.pop() else { unreachable!("the reply is the server's") };
    assert!(world.receive(socket, &reply).is_err(), "once only");
    let back = answer.relayed.attributes.expose();
    let mut all = list.iter();
    let mut kept = 0;
    for attribute in crate::Attributes::over(back) {
        assert!(!matches!(attribute.kind.0, 33 | 80));
        kept += attribute.value.len() + 2;
        // A vendor's attribute may have lost a part.
        let encrypted = matches!(attribute.kind.0, 26 | 69);
        let same = |other: crate::Attribute<'_>| {
            other == attribute
                || (encrypted && other.kind == attribute.kind && other.value.len() >= attribute.value.len())
        };
        assert!(all.any(same));
    }
    assert_eq!(kept, back.len(), "whole attributes");
    assert!(back.len() == list.octets().len() || (answer.relayed.left_out > 0 && back.len() < list.octets().len()));
    assert!(list.iter().any(|one| matches!(one.kind.0, 26 | 69 | 214 | 215)) || back == list.octets());
    onwards(&answer.relayed.attributes);

    let open = OpenAttributes::nearest(&list);
    onwards(&open);
    let mut world = World::new(1);
    world.request(Forward::new([].into(), None), Duration::from_secs(10));
    let Some((socket, packet)) = world.sent.pop() else { unreachable!("a request is sent") };
    let Ok(request) = PacketView::parse(&packet) else { unreachable!("it is a packet") };
    let sealed = open.seal(&secret(0), &request.authenticator(), [octets.len().to_le_bytes()[0], 7]);
    let Some(sealed) = sealed else { unreachable!("what is open can be sealed") };
    let Ok(reply) = encode_reply(Code::AccessAccept, &request, &secret(0), &sealed) else {
        unreachable!("it is no longer than before")
    };
    assert_eq!(world.receive(socket, &reply), Ok(()));
    let Some((0, Outcome::Accept(answer))) = world.ended.pop() else { unreachable!("the reply is the server's") };
    assert_eq!((&answer.relayed.attributes, answer.relayed.left_out), (&open, 0), "what was sealed comes back");
}

/// Sends attributes over a hop more.
fn onwards(open: &OpenAttributes) {
    assert_eq!(OpenAttributes::from_octets(open.expose()).as_ref(), Some(open));
    let (client, request) = (SharedSecret::new(*b"a secret of the client"), Authenticator([9; 16]));
    let Some(sealed) = open.seal(&client, &request, [0xff; 2]) else { unreachable!("what is open can be sealed") };
    assert_eq!(sealed.octets().len(), open.expose().len());
    assert_eq!(OpenAttributes::open(&mut sealed.iter(), &client, &request), (open.clone(), 0));
}

/// A sequence of operations on an upstream table, two octets each.
///
/// Laws: each request ends once, by its deadline; an answer is the one that the server gave; all identifiers come free; the
/// invariants hold after every operation.
///
/// # Panics
/// Where a law is broken.
pub fn upstream_table(operations: &[u8]) {
    let Some((&first, operations)) = operations.split_first() else { return };
    let servers = usize::from(first & 3);
    let mut world = World::new(servers);
    let mut deadlines = HashMap::new();
    let mut said = HashMap::new();
    let (pairs, _) = operations.as_chunks::<2>();
    for &[operation, argument] in pairs {
        let chosen = world.sent.len().checked_sub(1 + usize::from(argument >> 2).min(world.sent.len().max(1) - 1));
        let sent = chosen.and_then(|at| world.sent.get(at).cloned());
        match operation & 7 {
            0 | 1 => {
                let budget = Duration::from_millis(u64::from(argument) * 97);
                deadlines.insert(world.made, world.now + budget);
                let attributes = [1, 3, argument, 2, 2];
                world.request(Forward::new(attributes.as_slice().into(), Some(b"secret")), budget);
            }
            2 | 3 => world.advance(Duration::from_millis(u64::from(argument) * u64::from(operation >> 3))),
            4 => {
                if let Some((socket, _)) = sent {
                    match argument & 3 {
                        0 => world.broken(socket, false),
                        1 => world.broken(socket, true),
                        _ => world.refused(socket),
                    }
                }
            }
            kind => {
                let Some((socket, packet)) = sent else { continue };
                let Ok(request) = PacketView::parse(&packet) else { unreachable!("it is a packet") };
                let code = [Code::AccessAccept, Code::AccessReject, Code::AccessChallenge, Code::ProtocolError];
                let Some(code) = code.get(usize::from(argument & 3)).copied() else { continue };
                let made = encode_reply(code, &request, &secret(socket.server), &AttributeList::new());
                let Ok(mut reply) = made else { unreachable!("it is short") };
                if kind == 7 {
                    let at = usize::from(operation >> 3) % reply.len();
                    if let Some(octet) = reply.get_mut(at) {
                        *octet ^= 1 << (argument & 7);
                    }
                    assert!(world.receive(socket, &reply).is_err());
                } else if world.receive(socket, &reply).is_ok()
                    && let Some((ticket, _)) = world.ended.last()
                {
                    said.entry(*ticket).or_insert(code);
                }
            }
        }
        world.table.assert_invariants();
        for (ticket, deadline) in &deadlines {
            let ended = world.ended.iter().filter(|(ended, _)| ended == ticket).count();
            assert!(ended == 1 || (ended == 0 && *deadline > world.ticked));
        }
    }
    world.advance(Duration::from_mins(10));
    assert_eq!(world.ended.len(), deadlines.len());
    assert_eq!(world.table.waiting(), 0);
    assert!(world.table.servers().all(|server| server.waiting == 0));
    for (ticket, outcome) in &world.ended {
        match outcome {
            Outcome::Accept(_) => assert_eq!(said.get(ticket), Some(&Code::AccessAccept)),
            Outcome::Reject(_) => assert_eq!(said.get(ticket), Some(&Code::AccessReject)),
            Outcome::Challenge(_) => assert_eq!(said.get(ticket), Some(&Code::AccessChallenge)),
            Outcome::NoAnswer(_) => {}
            Outcome::Recorded => unreachable!("a login is no record"),
        }
    }
}

struct World {
    table: UpstreamTable<u32>,
    now: Duration,
    /// Up to when all ticks were made.
    ticked: Duration,
    random: u8,
    made: u32,
    sent: Vec<(UpstreamSocket, Vec<u8>)>,
    ended: Vec<(u32, Outcome)>,
}

fn secret(server: usize) -> SharedSecret {
    SharedSecret::new(format!("a secret for the fuzzer {server}"))
}

fn address(server: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 1812 + u16::try_from(server).unwrap_or_default()))
}

/// Every other one is reached over connections.
const fn transport(server: usize) -> Transport {
    if server % 2 == 1 { Transport::Connections } else { Transport::Datagrams }
}

impl World {
    fn new(servers: usize) -> Self {
        let server = |at| UpstreamServer { address: address(at), secret: secret(at), transport: transport(at) };
        let servers = (0..servers).map(server).collect();
        let table = UpstreamTable::new(servers, ProxyMark::new([7; 16]), Timing::default());
        let now = Duration::ZERO;
        Self { table, now, ticked: now, random: 0, made: 0, sent: Vec::new(), ended: Vec::new() }
    }

    fn act<R>(&mut self, act: impl FnOnce(&mut UpstreamTable<u32>, crate::upstream::Random<'_>) -> R) -> R {
        let random = &mut self.random;
        let result = act(&mut self.table, &mut |octets| {
            for octet in octets {
                *random = random.wrapping_mul(5).wrapping_add(113);
                *octet = *random;
            }
        });
        while let Some(output) = self.table.poll() {
            match output {
                Output::Send { socket, packet } => self.sent.push((socket, packet.to_vec())),
                Output::Ended { ticket, outcome } => self.ended.push((ticket, outcome)),
                Output::Close(_) | Output::Changed { .. } => {}
            }
        }
        result
    }

    fn request(&mut self, forward: Forward, budget: Duration) {
        let (now, ticket) = (self.now, self.made);
        self.made += 1;
        self.act(|table, random| table.request(now, ticket, forward, now + budget, random));
    }

    fn receive(&mut self, socket: UpstreamSocket, octets: &[u8]) -> Result<(), crate::upstream::ReplyFault> {
        let now = self.now;
        self.act(|table, random| table.receive(now, socket, address(socket.server), octets, random))
    }

    fn broken(&mut self, socket: UpstreamSocket, heard: bool) {
        let now = self.now;
        self.act(|table, random| table.broken(now, socket, heard, random));
    }

    fn refused(&mut self, socket: UpstreamSocket) {
        let now = self.now;
        self.act(|table, random| table.refused(now, socket, random));
    }

    fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(due) = self.table.next_deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            let now = self.now;
            self.act(|table, random| table.tick(now, random));
        }
        self.now = end;
        self.ticked = end;
    }
}

/// The same attributes go on that came in.
///
/// # Panics
/// Where a law is broken.
pub(super) fn forwarding(packet: &PacketView<'_>) {
    let Ok(octets) = forwarded(packet) else { return };
    let on: Vec<_> = crate::Attributes::over(&octets).collect();
    let gone = packet.attributes(AttributeType::MESSAGE_AUTHENTICATOR).count();
    let in_place = |kind: AttributeType| matches!(kind.0, 2 | 60 | 80);
    assert!(on.len() + gone >= packet.iter().count());
    assert!(on.iter().filter(|a| !in_place(a.kind)).copied().eq(packet.iter().filter(|a| !in_place(a.kind))));
    let passwords = on.iter().filter(|a| a.kind == AttributeType::USER_PASSWORD);
    assert_eq!(passwords.clone().count(), packet.attributes(AttributeType::USER_PASSWORD).count());
    assert!(passwords.clone().all(|password| password.value.is_empty()));
}
