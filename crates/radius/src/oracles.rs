//! Laws of the codec and of the table, asserted over arbitrary octets.
//!
//! Each function takes what a fuzzer makes up and panics where a law is broken. The fuzz targets call them, and the
//! test `fuzz_regression` calls them for every file under `testdata/fuzz_regression/<name of the function>/`.

mod eap;
mod upstream;

use core::time::Duration;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::{
    Attribute, AttributeList, AttributeType, Authenticator, Code, Credential, EncodeError, Framer, Identifier, Limits,
    LocalSocket, MessageAuthenticatorRule, NamedAttribute, PacketError, PacketView, Proof, Received, RequestError,
    SharedSecret, TransactionKey, TransactionTable, UserPassword, VendorSpecific, describe,
    dictionary::{self, Place},
    encode_reply, encode_request, limits, verify_reply, verify_request,
};

pub use eap::eap_message;
pub use upstream::{upstream_reply, upstream_table};

/// A datagram as it comes from the network.
///
/// Laws: nothing panics; what is parsed is bounded; decoding, encoding and decoding again gives the same octets; padding
/// changes nothing; a reply made for it is believed, carries Message-Authenticator first and Proxy-State unchanged, and is
/// not believed any more with one bit flipped.
///
/// # Panics
/// Where a law is broken.
pub fn radius_packet(datagram: &[u8]) {
    let secret = SharedSecret::new(*b"a secret for the fuzzer");
    let request = Authenticator([7; 16]);
    let required = MessageAuthenticatorRule::Required;
    let optional = MessageAuthenticatorRule::Optional;
    let believed = verify_reply(datagram, &request, Identifier(0), &secret, required).is_ok();
    assert!(!believed || verify_reply(datagram, &request, Identifier(0), &secret, optional).is_ok());

    let Ok(packet) = PacketView::parse(datagram) else { return };
    assert!((limits::HEADER..=limits::PACKET).contains(&packet.octets().len()));
    assert!(packet.iter().count() <= limits::ATTRIBUTES);
    assert_eq!(Code::from(packet.code().octet()), packet.code());

    let list = copy(&packet, |_| true);
    assert_eq!(list.octets(), packet.attribute_octets());
    assert!(list.iter().eq(packet.iter()));
    let mut again = packet.octets().to_vec();
    let trimmed = PacketView::parse(&again).map(|view| view.octets().len());
    assert_eq!(trimmed, Ok(packet.octets().len()));
    if again.len() < limits::PACKET {
        again.push(0xff);
        assert_eq!(PacketView::parse(&again).map(|view| view.octets()), Ok(packet.octets()));
    }

    for specific in packet.vendor_specifics() {
        let taken: usize = specific.attributes().map(|attribute| attribute.value.len() + 2).sum();
        assert!(taken == specific.data.len() || (taken == 0 && specific.is_opaque()));
    }
    if let Ok(Credential::UserPassword(hidden)) = Credential::of(&packet) {
        let Ok(password) = UserPassword::unhide(hidden, &secret, &packet.authenticator()) else {
            unreachable!("a credential has a length that can be uncovered")
        };
        assert!(password.octets().len() <= hidden.len());
    }

    if let Ok(proof) = verify_request(&packet, &secret, required) {
        assert_eq!(proof, Proof::MessageAuthenticator);
        assert_eq!(verify_request(&packet, &secret, optional), Ok(proof));
    }
    upstream::forwarding(&packet);
    replies_to(&packet, &secret);
    requests_with(&packet, &secret);
}

/// A reply attribute as an administrator writes it, and octets as attributes.
///
/// Laws: nothing panics; what is taken is one attribute that a policy may name, of a length that the wire has room for;
/// its name and value say the same octets again, and so does what they are described as; nothing that a policy may not
/// name is made by way of a number.
///
/// # Panics
/// Where a law is broken.
pub fn reply_attribute(input: &[u8]) {
    let mut rest = input;
    while let Some((&[kind, length], _)) = rest.split_first_chunk::<2>() {
        let Some((whole, after)) = rest.split_at_checked(usize::from(length).max(2)) else { break };
        let value = whole.get(2..).unwrap_or_default();
        let described = describe(&Attribute { kind: AttributeType(kind), value });
        assert!(described.iter().all(|line| line.contains(" = ") && !line.chars().any(char::is_control)));
        rest = after;
    }
    let Ok(text) = core::str::from_utf8(input) else { return };
    let Ok(named) = text.parse::<NamedAttribute>() else { return };
    let octets = |named: &NamedAttribute| {
        let mut list = AttributeList::new();
        assert_eq!(named.push_to(&mut list), Ok(()));
        list
    };
    let list = octets(&named);
    assert!((3..=255).contains(&list.octets().len()));
    assert_eq!(list.iter().count(), 1);
    let Some(attribute) = list.iter().next() else { unreachable!("one was counted") };
    assert_eq!(attribute.kind, named.kind());
    let specific = VendorSpecific::parse(attribute.value).filter(|_| attribute.kind == AttributeType::VENDOR_SPECIFIC);
    let (vendor, kind) = match specific.map(|specific| (specific.vendor, specific.attributes().next())) {
        Some((vendor, inner)) => (Some(vendor), inner.map_or(0, |inner| inner.kind)),
        None => (None, attribute.kind.0),
    };
    let place = dictionary::by_number(vendor, kind).map(|definition| definition.place);
    assert!(!matches!(place, Some(Place::Elsewhere(_) | Place::Secret(_))));
    assert_eq!(NamedAttribute::new(&named.name(), named.value()).as_ref(), Ok(&named));
    assert_eq!(named.to_string().parse().as_ref(), Ok(&named));
    let described = describe(&attribute).join("");
    let Ok(again) = described.parse::<NamedAttribute>() else {
        unreachable!("{described:?} is what {named:?} is described as")
    };
    assert_eq!(octets(&again), list);
}

fn replies_to(packet: &PacketView<'_>, secret: &SharedSecret) {
    let required = MessageAuthenticatorRule::Required;
    let mut attributes = AttributeList::new();
    assert_eq!(attributes.push_text(AttributeType::REPLY_MESSAGE, "text"), Ok(()));
    for code in [Code::AccessAccept, Code::AccessReject, Code::AccessChallenge, Code::ProtocolError] {
        let reply = match encode_reply(code, packet, secret, &attributes) {
            Ok(reply) => reply,
            Err(error) => {
                assert_eq!(error, EncodeError::PacketTooLong);
                continue;
            }
        };
        let Ok(view) = verify_reply(&reply, &packet.authenticator(), packet.identifier(), secret, required) else {
            unreachable!("our own reply is believed")
        };
        assert_eq!(view.code(), code);
        assert_eq!(view.iter().next().map(|first| first.kind), Some(AttributeType::MESSAGE_AUTHENTICATOR));
        let states = packet.attributes(AttributeType::PROXY_STATE);
        assert!(view.attributes(AttributeType::PROXY_STATE).eq(states));
        assert_eq!(view.iter().count(), 2 + packet.attributes(AttributeType::PROXY_STATE).count());

        let mut forged = reply.clone();
        let at =
            packet.octets().iter().fold(0_usize, |sum, octet| sum * 31 % 4096 + usize::from(*octet)) % forged.len();
        if let Some(octet) = forged.get_mut(at) {
            *octet ^= 1;
        }
        assert!(verify_reply(&forged, &packet.authenticator(), packet.identifier(), secret, required).is_err());
    }
}

fn requests_with(packet: &PacketView<'_>, secret: &SharedSecret) {
    let attributes = copy(packet, |kind| kind != AttributeType::MESSAGE_AUTHENTICATOR);
    let made = encode_request(Code::AccessRequest, packet.identifier(), &packet.authenticator(), secret, &attributes);
    let Ok(request) = made else {
        assert_eq!(made, Err(EncodeError::PacketTooLong));
        return;
    };
    let Ok(view) = PacketView::parse(&request) else {
        assert_eq!(attributes.iter().count(), limits::ATTRIBUTES);
        return;
    };
    let verified = verify_request(&view, secret, MessageAuthenticatorRule::Required);
    assert!(matches!(verified, Ok(Proof::MessageAuthenticator) | Err(RequestError::TooMuchProxyState)));
    assert!(view.iter().skip(1).eq(attributes.iter()));
}

fn copy(packet: &PacketView<'_>, keep: impl Fn(AttributeType) -> bool) -> AttributeList {
    let mut list = AttributeList::new();
    for attribute in packet.iter().filter(|attribute| keep(attribute.kind)) {
        assert_eq!(list.push(attribute.kind, attribute.value), Ok(()));
    }
    list
}

/// A sequence of operations on a transaction table, two octets each.
///
/// Laws: the table says what a plain list of all requests ever heard says; its counters and bounds hold after every
/// operation. With an odd first octet the memories are so small that they forget, and only the bounds are looked at.
///
/// # Panics
/// Where a law is broken.
pub fn radius_table(operations: &[u8]) {
    let Some((&first, operations)) = operations.split_first() else { return };
    let forgetful = first & 1 == 1;
    let mut bounds = Limits { pending: 6, pending_per_client: 3, ..Limits::default() };
    if forgetful {
        let kept = usize::from((first >> 1) & 7);
        bounds = Limits {
            kept,
            kept_per_client: 3,
            authenticators: usize::from((first >> 4) & 7),
            authenticators_per_client: 3,
            ..bounds
        };
    }
    let mut table = TransactionTable::new(bounds);
    let mut model = Model { bounds, requests: Vec::new(), given_up: Vec::new(), now: Duration::ZERO };
    let mut made = 0_u32;
    let (pairs, _) = operations.as_chunks::<2>();
    for &[operation, argument] in pairs {
        let now = model.now;
        let ticket = made.saturating_sub(u32::from(argument & 15));
        match operation & 7 {
            0..=3 => {
                let key = key(operation, argument);
                let authenticator = Authenticator([argument >> 5; 16]);
                let received = table.receive(now, key, authenticator, || made + 1);
                if matches!(received, Received::New { .. }) {
                    made += 1;
                }
                if !forgetful {
                    assert_eq!(received, model.receive(key, authenticator, made));
                }
            }
            4 => {
                let reply: Arc<[u8]> = Arc::from([argument]);
                let sent = table.answer(now, ticket, Arc::clone(&reply));
                if !forgetful {
                    assert_eq!(sent, model.answer(ticket, reply));
                }
            }
            5 => {
                let left = table.forget(now, ticket);
                if !forgetful {
                    assert_eq!(left, model.forget(ticket));
                }
            }
            6 => {
                model.advance(argument);
                model.give_up();
                assert!(forgetful || model.given_up.is_empty() || table.next_deadline() <= Some(model.now));
                let ended = table.expire(model.now);
                if !forgetful {
                    assert_eq!(ended, core::mem::take(&mut model.given_up));
                }
            }
            _ if argument < 4 => {
                let mut removed = table.remove_client(argument);
                removed.sort_unstable();
                if !forgetful {
                    assert_eq!(removed, model.remove_client(argument));
                }
            }
            _ => model.advance(argument),
        }
        table.assert_invariants();
    }
    // After the longest lifetime nothing is left.
    let end = model.now.saturating_add(Duration::from_hours(2));
    table.expire(end);
    table.assert_invariants();
    assert_eq!((table.pending(), table.authenticators(), table.next_deadline()), (0, 0, None));
}

/// A stream comes out in the same packets, however it is cut; what is kept of it is bounded, and packets put together again are the
/// stream. The first octet says how many of the next ones are places to cut at.
///
/// # Panics
/// Where a law is broken.
pub fn radius_stream(data: &[u8]) {
    let Some((count, rest)) = data.split_first() else { return };
    let (cuts, stream) = rest.split_at(usize::from(count % 16).min(rest.len()));
    let mut pieces = Vec::new();
    let mut left = stream;
    for cut in cuts {
        let (piece, after) = left.split_at((usize::from(*cut) * 17).min(left.len()));
        pieces.push(piece);
        left = after;
    }
    pieces.push(left);
    let whole = framed(&[stream]);
    assert_eq!(framed(&pieces), whole);
    let (packets, fault, owed) = whole;
    let together = packets.concat();
    assert!(stream.starts_with(&together));
    for packet in &packets {
        assert!((limits::HEADER..=limits::PACKET).contains(&packet.len()));
        assert!(!matches!(PacketView::parse(packet), Err(PacketError::Truncated { .. })));
    }
    assert_eq!(fault || owed, together.len() < stream.len());
    assert!(fault || stream.len() - together.len() < limits::PACKET);
}

/// The packets, whether a fault ended them, and whether one is not whole.
fn framed(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, bool, bool) {
    let (mut framer, mut out) = (Framer::new(), Vec::new());
    for piece in pieces {
        framer.push(piece);
        loop {
            match framer.next_packet() {
                Ok(Some(packet)) => out.push(packet.to_vec()),
                Ok(None) => break,
                Err(_) => return (out, true, false),
            }
        }
    }
    let owed = framer.is_within_packet();
    (out, false, owed)
}

fn key(operation: u8, argument: u8) -> TransactionKey<u8> {
    TransactionKey {
        client: operation >> 3 & 3,
        source: SocketAddr::from((Ipv4Addr::LOCALHOST, 1024 + u16::from(operation >> 5 & 1))),
        local: LocalSocket(u64::from(operation >> 6 & 1)),
        identifier: Identifier(argument & 3),
    }
}

struct Model {
    bounds: Limits,
    /// All requests ever processed, oldest first.
    requests: Vec<Request>,
    given_up: Vec<u32>,
    now: Duration,
}

struct Request {
    key: TransactionKey<u8>,
    authenticator: Authenticator,
    arrived: Duration,
    ticket: u32,
    repeats: u32,
    state: RequestState,
}

#[derive(Clone, PartialEq, Eq)]
enum RequestState {
    Pending,
    Left(Duration),
    Answered(Duration, Arc<[u8]>),
    Over,
}

impl Model {
    fn advance(&mut self, argument: u8) {
        let steps = [0, 1, 999, 5_000, 29_999, 30_000, 330_000, 3_600_000];
        self.now += Duration::from_millis(steps.get(usize::from(argument & 7)).copied().unwrap_or(0));
    }

    /// Gives up what has been pending for too long; the table does it when it next hears the time.
    fn give_up(&mut self) {
        for request in &mut self.requests {
            if request.state == RequestState::Pending && request.arrived + self.bounds.pending_lifetime <= self.now {
                request.state = RequestState::Over;
                self.given_up.push(request.ticket);
            }
        }
    }

    fn receive(&mut self, key: TransactionKey<u8>, authenticator: Authenticator, next: u32) -> Received<u32> {
        self.give_up();
        let (now, bounds) = (self.now, self.bounds);
        let pending = |request: &&Request| request.state == RequestState::Pending;
        let total = self.requests.iter().filter(pending).count();
        let of_client = self.requests.iter().filter(pending).filter(|request| request.key.client == key.client).count();
        let used = self.requests.iter().any(|request| {
            let remembered = request.arrived + bounds.authenticator_lifetime > now;
            request.key.client == key.client && request.authenticator == authenticator && remembered
        });
        let mut superseded = None;
        if let Some(current) = self.requests.iter_mut().rfind(|request| request.key == key) {
            let same = current.authenticator == authenticator;
            let unanswered = match current.state {
                RequestState::Pending => true,
                RequestState::Left(since) => since + bounds.unanswered_lifetime > now,
                _ => false,
            };
            if same && unanswered {
                current.repeats += 1;
                return Received::Duplicate { ticket: current.ticket, repeats: current.repeats };
            }
            match &current.state {
                RequestState::Answered(since, reply) if same && *since + bounds.reply_lifetime > now => {
                    return Received::Cached(Arc::clone(reply));
                }
                RequestState::Pending if !used => {
                    superseded = Some(current.ticket);
                    current.state = RequestState::Over;
                }
                _ => {}
            }
        }
        if used {
            return Received::Replay;
        }
        if superseded.is_none() && (total >= bounds.pending || of_client >= bounds.pending_per_client) {
            return Received::Full;
        }
        let state = RequestState::Pending;
        self.requests.push(Request { key, authenticator, arrived: now, ticket: next, repeats: 0, state });
        Received::New { ticket: next, superseded }
    }

    fn end(&mut self, ticket: u32, state: RequestState) -> Option<TransactionKey<u8>> {
        self.give_up();
        let pending = |request: &&mut Request| request.ticket == ticket && request.state == RequestState::Pending;
        let request = self.requests.iter_mut().find(pending)?;
        request.state = state;
        Some(request.key)
    }

    fn answer(&mut self, ticket: u32, reply: Arc<[u8]>) -> Option<TransactionKey<u8>> {
        self.end(ticket, RequestState::Answered(self.now, reply))
    }

    fn forget(&mut self, ticket: u32) -> bool {
        self.end(ticket, RequestState::Left(self.now)).is_some()
    }

    fn remove_client(&mut self, client: u8) -> Vec<u32> {
        let mut removed = Vec::new();
        self.requests.retain(|request| {
            if request.key.client == client && request.state == RequestState::Pending {
                removed.push(request.ticket);
            }
            request.key.client != client
        });
        removed
    }
}
