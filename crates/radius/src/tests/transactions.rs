use core::time::Duration;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::{Authenticator, Identifier, Limits, LocalSocket, Received, TransactionKey, TransactionTable};

type Table = TransactionTable<u32, u64>;

const A: Authenticator = Authenticator([0xaa; 16]);
const B: Authenticator = Authenticator([0xbb; 16]);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn numbered(number: u64) -> Authenticator {
    Authenticator(u128::from(number).to_be_bytes())
}

fn key(client: u32, port: u16, identifier: u8) -> TransactionKey<u32> {
    let source = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), port));
    TransactionKey { client, source, local: LocalSocket(0), identifier: Identifier(identifier) }
}

fn new(ticket: u64) -> Received<u64> {
    Received::New { ticket, superseded: None }
}

fn reply(text: &str) -> Arc<[u8]> {
    Arc::from(text.as_bytes())
}

fn table() -> Table {
    Table::new(Limits::default())
}

#[test]
fn s45_c010_retransmissions_while_pending_are_silent_and_counted() {
    let mut table = table();
    assert_eq!(table.receive(at(0), key(1, 1000, 7), A, || 1), new(1));
    for (repeats, time) in [(1, 3), (2, 6), (3, 9), (4, 12)] {
        let heard = table.receive(at(time), key(1, 1000, 7), A, || panic!("no second ticket"));
        assert_eq!(heard, Received::Duplicate { ticket: 1, repeats });
    }
    assert_eq!(table.pending(), 1);
    assert_eq!(table.answer(at(13), 1, reply("accept")), Some(key(1, 1000, 7)));
    table.assert_invariants();
}

#[test]
fn s45_c009_after_the_answer_the_same_octets_come_back_for_30_seconds() {
    let mut table = table();
    table.receive(at(0), key(1, 1000, 7), A, || 1);
    table.answer(at(100), 1, reply("accept"));
    for time in [100, 103, 129] {
        table.expire(at(time));
        let Received::Cached(octets) = table.receive(at(time), key(1, 1000, 7), A, || 2) else { panic!("not cached") };
        assert_eq!(&*octets, b"accept");
    }
    assert_eq!(table.receive(at(130), key(1, 1000, 7), A, || 2), Received::Replay);
    table.expire(at(131));
    assert_eq!(table.receive(at(131), key(1, 1000, 7), A, || 2), Received::Replay);
    table.assert_invariants();
}

#[test]
fn s45_c009_a_used_authenticator_is_a_replay_for_an_hour_whatever_the_rest_of_the_key() {
    let mut table = table();
    table.receive(at(0), key(1, 1000, 7), A, || 1);
    table.answer(at(1), 1, reply("accept"));
    table.expire(at(100));
    let other_socket = TransactionKey { local: LocalSocket(1), ..key(1, 1000, 7) };
    for key in [key(1, 1000, 7), key(1, 1000, 8), key(1, 1001, 7), other_socket] {
        assert_eq!(table.receive(at(3599), key, A, || 2), Received::Replay);
    }
    // Another client's authenticators are its own affair.
    assert_eq!(table.receive(at(3599), key(2, 1000, 7), A, || 2), new(2));
    assert_eq!(table.receive(at(3600), key(1, 1000, 7), A, || 3), new(3));
    table.assert_invariants();
}

#[test]
fn c008_another_authenticator_supersedes_the_pending_request() {
    let mut table = table();
    table.receive(at(0), key(1, 1000, 7), A, || 1);
    let heard = table.receive(at(1), key(1, 1000, 7), B, || 2);
    assert_eq!(heard, Received::New { ticket: 2, superseded: Some(1) });
    assert_eq!(table.pending(), 1);
    assert_eq!(table.answer(at(2), 1, reply("late")), None);
    assert_eq!(table.receive(at(2), key(1, 1000, 7), A, || 3), Received::Replay);
    let heard = table.receive(at(2), key(1, 1000, 7), B, || 3);
    assert_eq!(heard, Received::Duplicate { ticket: 2, repeats: 1 });
    assert_eq!(table.answer(at(3), 2, reply("new")), Some(key(1, 1000, 7)));
    table.assert_invariants();
}

#[test]
fn c008_another_authenticator_purges_the_cached_reply() {
    let mut table = table();
    table.receive(at(0), key(1, 1000, 7), A, || 1);
    table.answer(at(1), 1, reply("old"));
    assert_eq!(table.receive(at(2), key(1, 1000, 7), B, || 2), new(2));
    assert_eq!(table.receive(at(3), key(1, 1000, 7), A, || 3), Received::Replay);
    table.answer(at(4), 2, reply("new"));
    // The end of the first reply's life does not take the second's.
    table.expire(at(32));
    assert_eq!(table.receive(at(33), key(1, 1000, 7), B, || 3), Received::Cached(reply("new")));
    table.assert_invariants();
}

#[test]
fn c112_parallel_requests_are_all_new() {
    let mut table = table();
    for number in 0..=255 {
        let heard = table.receive(at(0), key(1, 1000, number), numbered(number.into()), || number.into());
        assert_eq!(heard, new(number.into()));
    }
    let other_port = table.receive(at(0), key(1, 1001, 0), numbered(256), || 256);
    assert_eq!(other_port, new(256));
    let other_socket = TransactionKey { local: LocalSocket(1), ..key(1, 1000, 0) };
    assert_eq!(table.receive(at(0), other_socket, numbered(257), || 257), new(257));
    assert_eq!(table.pending_of(1), 258);
    assert_eq!(table.answer(at(1), 257, reply("x")), Some(other_socket));
    table.assert_invariants();
}

#[test]
fn c076_the_answer_goes_back_to_the_socket_that_was_asked() {
    let mut table = table();
    let asked = TransactionKey { local: LocalSocket(5), ..key(1, 1000, 7) };
    table.receive(at(0), asked, A, || 1);
    assert_eq!(table.key_of(1), Some(asked));
    assert_eq!(table.answer(at(1), 1, reply("x")), Some(asked));
    assert_eq!(table.key_of(1), None);
}

#[test]
fn s45_an_older_request_that_was_taken_over_is_recognised_when_heard_again() {
    let mut table = table();
    table.receive(at(0), key(1, 1000, 7), A, || 1);
    table.receive(at(1), key(1, 1000, 7), A, || 1);
    table.receive(at(5), key(1, 1000, 8), B, || 2);
    assert!(table.forget(at(5), 1));
    assert!(!table.forget(at(5), 1));
    assert_eq!(table.pending(), 1);
    let heard = table.receive(at(6), key(1, 1000, 7), A, || 3);
    assert_eq!(heard, Received::Duplicate { ticket: 1, repeats: 2 });
    assert_eq!(table.answer(at(7), 1, reply("never")), None);
    assert_eq!(table.key_of(1), None);
    let heard = table.receive(at(334), key(1, 1000, 7), A, || 3);
    assert_eq!(heard, Received::Duplicate { ticket: 1, repeats: 3 });
    assert_eq!(table.receive(at(335), key(1, 1000, 7), A, || 3), Received::Replay);
    table.assert_invariants();
}

#[test]
fn a_forgotten_request_is_not_reported_as_superseded_or_given_up() {
    let mut table = table();
    table.receive(at(0), key(1, 1000, 7), A, || 1);
    table.forget(at(0), 1);
    assert_eq!(table.receive(at(1), key(1, 1000, 7), B, || 2), new(2));
    table.forget(at(1), 2);
    assert_eq!(table.expire(at(5000)), []);
    assert_eq!(table.next_deadline(), None);
}

#[test]
fn a_request_that_nobody_answers_is_given_up() {
    let mut table = table();
    table.receive(at(0), key(1, 1000, 7), A, || 1);
    table.receive(at(10), key(1, 1000, 8), B, || 2);
    assert_eq!(table.expire(at(329)), []);
    assert_eq!(table.expire(at(330)), [1]);
    assert_eq!(table.answer(at(330), 1, reply("late")), None);
    // Also when another packet is what brings the time.
    assert_eq!(table.receive(at(400), key(1, 1000, 8), B, || 3), Received::Replay);
    assert_eq!(table.next_deadline(), Some(at(400)));
    assert_eq!(table.expire(at(400)), [2]);
    assert_eq!(table.pending(), 0);
    table.assert_invariants();
}

#[test]
fn time_does_not_run_backwards() {
    let mut table = table();
    table.receive(at(100), key(1, 1000, 7), A, || 1);
    table.receive(at(50), key(1, 1000, 8), B, || 2);
    assert_eq!(table.expire(at(430)), [1, 2]);
}

#[test]
fn s44_the_bounds_for_all_and_for_one_client_hold() {
    let mut table = table();
    for number in 0..500 {
        let port = u16::try_from(1000 + number / 256).unwrap();
        let identifier = u8::try_from(number % 256).unwrap();
        assert_eq!(table.receive(at(0), key(1, port, identifier), numbered(number), || number), new(number));
    }
    assert_eq!(table.receive(at(0), key(1, 2000, 0), numbered(500), || 500), Received::Full);
    assert_eq!(table.receive(at(0), key(2, 2000, 0), numbered(500), || 500), new(500));
    // In place of an older one there is room.
    let heard = table.receive(at(1), key(1, 1000, 0), numbered(501), || 501);
    assert_eq!(heard, Received::New { ticket: 501, superseded: Some(0) });
    // What was turned away may come again.
    table.answer(at(2), 501, reply("x"));
    assert_eq!(table.receive(at(2), key(1, 2000, 0), numbered(500), || 502), new(502));
    table.assert_invariants();

    let mut table = Table::new(Limits { pending: 2, ..Limits::default() });
    table.receive(at(0), key(1, 1, 1), A, || 1);
    table.receive(at(0), key(2, 1, 1), A, || 2);
    assert_eq!(table.receive(at(0), key(3, 1, 1), A, || 3), Received::Full);
    table.forget(at(0), 1);
    assert_eq!(table.receive(at(0), key(3, 1, 1), A, || 3), new(3));
}

#[test]
fn s45_a_loud_client_makes_no_quiet_one_forget() {
    let limits = Limits { authenticators: 1000, authenticators_per_client: 900, ..Limits::default() };
    let mut table = Table::new(limits);
    for number in 0..100 {
        table.receive(at(0), key(2, 1, 0), numbered(number), || number);
    }
    for number in 1000..50_000 {
        table.receive(at(1), key(1, 1, 0), numbered(number), || number);
        table.answer(at(1), number, reply("x"));
    }
    table.assert_invariants();
    assert_eq!(table.authenticators(), 1000);
    for number in 0..99 {
        assert_eq!(table.receive(at(2), key(2, 1, 0), numbered(number), || 0), Received::Replay);
    }
    // A third client gets its share from the loud one.
    for number in 0..300 {
        table.receive(at(3), key(3, 1, 0), numbered(number), || number + 100_000);
    }
    for number in 0..299 {
        assert_eq!(table.receive(at(3), key(3, 1, 0), numbered(number), || 0), Received::Replay);
    }
    for number in 0..99 {
        assert_eq!(table.receive(at(4), key(2, 1, 0), numbered(number), || 0), Received::Replay);
    }
    table.assert_invariants();
}

#[test]
fn s44_memory_stays_bounded_under_a_flood_of_one_key() {
    let mut table = Table::new(Limits { authenticators: 100, ..Limits::default() });
    for number in 0..20_000 {
        table.receive(at(0), key(1, 1, 0), numbered(number), || number);
        if number % 1000 == 0 {
            table.assert_invariants();
        }
    }
    assert_eq!((table.pending(), table.authenticators()), (1, 100));
}

#[test]
fn a_removed_client_leaves_nothing() {
    let mut table = table();
    table.receive(at(0), key(1, 1, 1), A, || 1);
    table.receive(at(0), key(1, 1, 2), B, || 2);
    table.receive(at(0), key(1, 1, 3), numbered(3), || 3);
    table.receive(at(0), key(2, 1, 1), A, || 4);
    table.answer(at(0), 2, reply("under the old secret"));
    table.forget(at(0), 3);
    assert_eq!(table.remove_client(1), [1]);
    table.assert_invariants();
    assert_eq!((table.pending(), table.authenticators()), (1, 1));
    assert_eq!(table.receive(at(1), key(1, 1, 2), B, || 5), new(5));
    assert_eq!(table.remove_client(9), []);
}

#[test]
fn a_ticket_used_twice_ends_the_first_request() {
    let mut table = table();
    table.receive(at(0), key(1, 1, 1), A, || 1);
    table.receive(at(0), key(1, 1, 2), B, || 1);
    table.assert_invariants();
    assert_eq!(table.answer(at(0), 1, reply("x")), Some(key(1, 1, 2)));
    assert_eq!(table.receive(at(1), key(1, 1, 1), A, || 2), Received::Replay);
}

#[test]
fn the_next_deadline_is_when_something_ends() {
    let mut table = table();
    assert_eq!(table.next_deadline(), None);
    table.receive(at(0), key(1, 1, 1), A, || 1);
    let mut wakes = 0;
    while let Some(deadline) = table.next_deadline() {
        table.expire(deadline);
        wakes += 1;
        assert!(wakes < 5000, "no end at {deadline:?}");
    }
    assert_eq!((table.pending(), table.authenticators()), (0, 0));
}

#[test]
fn s48_what_came_over_a_connection_goes_with_it_and_may_come_again_over_the_next() {
    let mut table = table();
    let over =
        |number, identifier| TransactionKey { local: LocalSocket::connection(number), ..key(1, 1000, identifier) };
    assert!(LocalSocket::connection(0).is_connection() && !LocalSocket(u64::from(u32::MAX)).is_connection());
    assert_eq!(table.receive(at(0), over(0, 1), numbered(1), || 1), new(1));
    assert_eq!(table.receive(at(0), over(0, 2), numbered(2), || 2), new(2));
    assert_eq!(table.receive(at(0), over(1, 1), numbered(3), || 3), new(3));
    let heard = table.receive(at(0), over(0, 2), numbered(2), || 4);
    assert_eq!(heard, Received::Duplicate { ticket: 2, repeats: 1 });
    table.answer(at(1), 1, reply("accept"));
    assert!(matches!(table.receive(at(1), over(0, 1), numbered(1), || 4), Received::Cached(_)));
    let closed = over(0, 0);
    assert_eq!(table.close_connection(1, closed.source, closed.local), [2]);
    table.assert_invariants();
    assert_eq!((table.pending(), table.authenticators()), (1, 0));
    assert_eq!(table.answer(at(1), 2, reply("accept")), None);
    assert_eq!(table.receive(at(2), over(2, 2), numbered(2), || 5), new(5));
    // A datagram with the same authenticator is another request: what is remembered of datagrams stays as it was.
    assert_eq!(table.receive(at(2), key(1, 1000, 2), numbered(2), || 6), new(6));
    assert_eq!(table.receive(at(2), key(1, 1001, 2), numbered(2), || 7), Received::Replay);
    table.assert_invariants();
}

#[test]
fn what_was_released_is_new_when_it_comes_again() {
    let mut table = Table::new(Limits { authenticators: 0, ..Limits::default() });
    assert_eq!(table.receive(at(0), key(1, 1000, 7), A, || 1), new(1));
    assert!(table.release(at(1), 1) && !table.release(at(1), 1));
    assert_eq!(table.pending(), 0);
    assert_eq!(table.answer(at(2), 1, reply("late")), None);
    assert_eq!(table.receive(at(2), key(1, 1000, 7), A, || 2), new(2));
    table.assert_invariants();
    table.answer(at(3), 2, reply("done"));
    assert!(!table.release(at(3), 2), "an answer stays");
    assert!(matches!(table.receive(at(4), key(1, 1000, 7), A, || 3), Received::Cached(_)));
    table.assert_invariants();
}
