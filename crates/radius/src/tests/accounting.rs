//! Accounting packets; the octets were computed by a program that shares nothing with this one.

use core::time::Duration;
use std::net::SocketAddr;

use super::{hex, list, raw};
use crate::upstream::{
    Forward, NoAnswer, Outcome, Output, ProxyMark, Purpose, Timing, Transport, UpstreamServer, UpstreamSocket,
    UpstreamTable, forwarded,
};
use crate::{
    AccountingError, AttributeList, AttributeType, Code, Identifier, PacketView, ReplyError, SharedSecret,
    encode_accounting_request, encode_accounting_response, encode_request, verify_accounting,
    verify_accounting_response,
};

/// Start of nemo's session 42-a, with an attribute of a vendor that nobody knows and a Proxy-State.
const START: &str =
    "04070032dc0c1a1f738280c2404037b4310dc200 28060000000101066e656d6f2c0634322d611a090000ffff070361210370";
const ANSWER: &str = "05070017be346d7f6323e3adbf8741291f35f712 210370";
const SIGNED: &str = "0407002c97c69aa35da2bef77eeec27e1b4dcf86 28060000000150 12ffa0554c8a75940bd76bd8906cd93b83";

fn secret() -> SharedSecret {
    SharedSecret::new(*b"xyzzy5461 and more")
}

#[test]
fn a_request_and_its_response_are_those_of_the_rfc() {
    let octets = hex(START);
    let start = PacketView::parse(&octets).unwrap();
    assert_eq!(verify_accounting(&start, &secret()), Ok(()));
    let attributes = AttributeList::from_octets(start.attribute_octets()).unwrap();
    let (authenticator, ours) = encode_accounting_request(Identifier(7), &secret(), &attributes).unwrap();
    assert_eq!((authenticator, ours.as_slice()), (start.authenticator(), octets.as_slice()));
    let answer = encode_accounting_response(&start, &secret()).unwrap();
    assert_eq!(answer, hex(ANSWER));
    let checked = verify_accounting_response(&answer, &authenticator, Identifier(7), &secret());
    assert_eq!(checked.unwrap().code(), Code::AccountingResponse);
    let signed = hex(SIGNED);
    assert_eq!(verify_accounting(&PacketView::parse(&signed).unwrap(), &secret()), Ok(()));
}

#[test]
fn s54_one_octet_that_is_not_the_clients_makes_it_a_packet_of_nobody() {
    for (octets, fault) in
        [(START, AccountingError::RequestAuthenticator), (SIGNED, AccountingError::RequestAuthenticator)]
    {
        let octets = hex(octets);
        for at in (4..octets.len()).filter(|at| !matches!(octets[*at], 6 | 9 | 3 | 18)) {
            let mut forged = octets.clone();
            forged[at] ^= 0x40;
            let Ok(view) = PacketView::parse(&forged) else { continue };
            assert_eq!(verify_accounting(&view, &secret()), Err(fault), "octet {at}");
        }
    }
    let view = hex(START);
    let other = SharedSecret::new(*b"xyzzy5461 and mor.");
    let fault = verify_accounting(&PacketView::parse(&view).unwrap(), &other);
    assert_eq!(fault, Err(AccountingError::RequestAuthenticator));
    // A Message-Authenticator of anything under a right checksum.
    let wrong = list(&[(AttributeType::MESSAGE_AUTHENTICATOR, &[7; 16])]);
    let (_, octets) = encode_accounting_request(Identifier(7), &secret(), &wrong).unwrap();
    let fault = verify_accounting(&PacketView::parse(&octets).unwrap(), &secret());
    assert_eq!(fault, Err(AccountingError::MessageAuthenticator));
}

#[test]
fn s54_nothing_but_accounting_and_status_is_taken() {
    for code in (0..=255).filter(|code| !matches!(code, 4 | 12)) {
        let octets = raw(code, &[]);
        let fault = verify_accounting(&PacketView::parse(&octets).unwrap(), &secret());
        assert_eq!(fault, Err(AccountingError::UnexpectedCode(Code::from(code))));
    }
    let octets = raw(12, &[]);
    let fault = verify_accounting(&PacketView::parse(&octets).unwrap(), &secret());
    assert_eq!(fault, Err(AccountingError::MessageAuthenticator));
}

#[test]
fn passwords_and_too_much_proxy_state_are_not_taken() {
    let of = |attributes: &AttributeList| {
        let (_, octets) = encode_accounting_request(Identifier(7), &secret(), attributes).unwrap();
        verify_accounting(&PacketView::parse(&octets).unwrap(), &secret())
    };
    assert_eq!(of(&list(&[(AttributeType::USER_PASSWORD, &[0; 16])])), Err(AccountingError::Password));
    assert_eq!(of(&list(&[(AttributeType::CHAP_PASSWORD, &[0; 17])])), Err(AccountingError::Password));
    let states: Vec<(AttributeType, &[u8])> = vec![(AttributeType::PROXY_STATE, b"p"); 11];
    assert_eq!(of(&list(&states)), Err(AccountingError::TooMuchProxyState));
    assert_eq!(of(&list(&states[..10])), Ok(()));
}

#[test]
fn a_response_to_something_else_is_none() {
    let start = hex(START);
    let start = PacketView::parse(&start).unwrap();
    let check = |octets: &[u8], secret: &SharedSecret| {
        verify_accounting_response(octets, &start.authenticator(), Identifier(7), secret).map(drop)
    };
    let answer = hex(ANSWER);
    assert_eq!(check(&answer, &SharedSecret::new(*b"another")), Err(ReplyError::ResponseAuthenticator));
    for at in 4..20 {
        let mut forged = answer.clone();
        forged[at] ^= 1;
        assert_eq!(check(&forged, &secret()), Err(ReplyError::ResponseAuthenticator));
    }
    let mut other = answer.clone();
    other[1] = 8;
    assert_eq!(check(&other, &secret()), Err(ReplyError::Identifier));
    let mut accept = answer;
    accept[0] = 2;
    assert_eq!(check(&accept, &secret()), Err(ReplyError::UnexpectedCode(Code::AccessAccept)));
}

/// A table of one accounting server, and what it puts out.
struct World {
    table: UpstreamTable<u32>,
    outputs: Vec<Output<u32>>,
}

impl World {
    const SERVER: ([u8; 4], u16) = ([192, 0, 2, 1], 1813);

    fn new() -> Self {
        let server = UpstreamServer {
            address: SocketAddr::from(Self::SERVER),
            secret: secret(),
            transport: Transport::Datagrams,
        };
        let mark = ProxyMark::new(*b"sixteen octets !");
        let table = UpstreamTable::with_purpose(Purpose::Accounting, vec![server], mark, Timing::default());
        let mut world = Self { table, outputs: Vec::new() };
        world.to(0);
        world
    }

    fn collect(&mut self) {
        while let Some(output) = self.table.poll() {
            self.outputs.push(output);
        }
        self.table.assert_invariants();
    }

    fn to(&mut self, seconds: u64) {
        self.table.tick(Duration::from_secs(seconds), &mut |octets| octets.fill(9));
        self.collect();
    }

    fn record(&mut self, ticket: u32, now: u64) {
        let start = hex(START);
        let forward = Forward::new(forwarded(&PacketView::parse(&start).unwrap()).unwrap().into(), None);
        let (now, until) = (Duration::from_secs(now), Duration::from_secs(now + 10));
        self.table.request(now, ticket, forward, until, &mut |octets| octets.fill(9));
        self.collect();
    }

    fn receive(&mut self, now: u64, socket: UpstreamSocket, octets: &[u8]) -> bool {
        let source = SocketAddr::from(Self::SERVER);
        let now = Duration::from_secs(now);
        let received = self.table.receive(now, socket, source, octets, &mut |octets| octets.fill(9));
        self.collect();
        received.is_ok()
    }

    /// What was sent of this kind since this was asked last.
    fn sent(&mut self, code: u8) -> Vec<(UpstreamSocket, Vec<u8>)> {
        let outputs = core::mem::take(&mut self.outputs);
        let (sent, others) = outputs.into_iter().partition(|output| match output {
            Output::Send { packet, .. } => packet[0] == code,
            _ => false,
        });
        self.outputs = others;
        let sent: Vec<Output<u32>> = sent;
        sent.into_iter()
            .filter_map(|output| match output {
                Output::Send { socket, packet } => Some((socket, packet.to_vec())),
                _ => None,
            })
            .collect()
    }

    fn ended(&mut self) -> Vec<(u32, Outcome)> {
        let ended = |output: &Output<u32>| match output {
            Output::Ended { ticket, outcome } => Some((*ticket, outcome.clone())),
            _ => None,
        };
        let ended = self.outputs.iter().filter_map(ended).collect();
        self.outputs.retain(|output| !matches!(output, Output::Ended { .. }));
        ended
    }
}

#[test]
fn a_record_goes_on_octet_for_octet_and_only_an_accounting_response_ends_it() {
    let mut world = World::new();
    let [(socket, status)] = &world.sent(12)[..] else { panic!("one Status-Server") };
    let answer = encode_accounting_response(&PacketView::parse(status).unwrap(), &secret()).unwrap();
    assert!(world.receive(0, *socket, &answer));
    assert!(world.table.servers().all(|server| server.answers_status));

    world.record(1, 1);
    let [(socket, packet)] = &world.sent(4)[..] else { panic!("one Accounting-Request") };
    let (request, came) = (PacketView::parse(packet).unwrap(), hex(START));
    assert_eq!(verify_accounting(&request, &secret()), Ok(()));
    let came = &came[20..];
    assert_eq!(&request.attribute_octets()[..came.len()], came);
    let ours: Vec<_> = PacketView::parse(packet).unwrap().iter().skip(5).map(|one| one.kind).collect();
    assert_eq!(ours, [AttributeType::PROXY_STATE]);
    // An Accept proves nothing here, and so does a response to another request.
    let accept = crate::encode_reply(Code::AccessAccept, &request, &secret(), &AttributeList::new()).unwrap();
    assert!(!world.receive(1, *socket, &accept));
    let mut other = packet.clone();
    other[10] ^= 1;
    let wrong = encode_accounting_response(&PacketView::parse(&other).unwrap(), &secret()).unwrap();
    assert!(!world.receive(1, *socket, &wrong));
    assert!(world.ended().is_empty());
    let answer = encode_accounting_response(&request, &secret()).unwrap();
    assert!(world.receive(2, *socket, &answer));
    assert_eq!(world.ended(), [(1, Outcome::Recorded)]);
    assert!(!world.receive(2, *socket, &answer), "once only");
}

#[test]
fn what_no_server_takes_ends_without_an_answer() {
    let mut world = World::new();
    world.record(1, 1);
    for second in 1..=10 {
        world.to(second);
    }
    assert!(world.sent(4).len() > 2, "it is asked again");
    assert!(world.ended().is_empty());
    world.to(11);
    assert_eq!(world.ended(), [(1, Outcome::NoAnswer(NoAnswer::Silent))]);
}

#[test]
fn a_table_of_logins_takes_no_accounting_response() {
    let server =
        UpstreamServer { address: SocketAddr::from(World::SERVER), secret: secret(), transport: Transport::Datagrams };
    let table = UpstreamTable::new(vec![server], ProxyMark::new(*b"sixteen octets !"), Timing::default());
    let mut world = World { table, outputs: Vec::new() };
    world.record(1, 0);
    let [(socket, packet)] = &world.sent(1)[..] else { panic!("one Access-Request") };
    let response = encode_accounting_response(&PacketView::parse(packet).unwrap(), &secret()).unwrap();
    assert!(!world.receive(1, *socket, &response));
    assert!(world.ended().is_empty());
    let none =
        encode_request(Code::AccountingRequest, Identifier(1), &super::REQUEST, &secret(), &AttributeList::new());
    assert!(none.is_err());
}
