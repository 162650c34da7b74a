//! Which server is asked, when again, and which reply is believed.

use super::*;
use crate::ReplyError;

#[test]
fn retransmissions_come_after_one_two_and_four_seconds_until_the_deadline() {
    let mut world = World::without_status(1);
    world.request(1, 20.0);
    let (mut times, begin) = (Vec::new(), world.now.as_secs_f64());
    for tick in 0..240 {
        world.to(begin + f64::from(tick) / 10.0);
        times.extend(world.asked().iter().map(|_| f64::from(tick) / 10.0));
    }
    let expected = [0.0, 1.0, 3.0, 7.0, 15.0];
    assert_eq!(times.len(), expected.len(), "{times:?}");
    assert!(times.iter().zip(expected).all(|(is, should)| (is - should).abs() <= should * 0.1 + 0.1), "{times:?}");
    assert_eq!(world.outcome(), Outcome::NoAnswer(NoAnswer::Silent));
}

#[test]
fn s43_only_an_accept_is_a_yes() {
    type Made = fn(Answer) -> Outcome;
    let verdicts: [(Code, Made); 3] = [
        (Code::AccessAccept, Outcome::Accept),
        (Code::AccessReject, Outcome::Reject),
        (Code::AccessChallenge, Outcome::Challenge),
    ];
    for (code, made) in verdicts {
        let mut world = World::without_status(1);
        world.request(1, 10.0);
        let sent = world.one();
        assert_eq!(world.answer(code, &sent), Ok(()));
        assert_eq!(world.outcome(), made(Answer { server: 0, relayed: crate::upstream::Relayed::default() }));
        // Once is enough.
        assert_eq!(world.answer(Code::AccessAccept, &sent), Err(ReplyFault::NotAwaited));
        world.to(30.0);
        assert_eq!(world.ended.len(), 0);
    }
}

#[test]
fn s43_unknown_codes_are_no_answer() {
    for code in [0, 1, 4, 5, 12, 40, 255] {
        let mut world = World::without_status(1);
        world.request(1, 10.0);
        let (socket, packet) = world.one();
        // Right in everything but the code.
        let mut forged = reply(Code::AccessAccept, 0, &packet, &AttributeList::new());
        forged[0] = code;
        resign(&mut forged, &packet);
        let fault = world.receive(socket, address(0), &forged);
        assert_eq!(fault, Err(ReplyFault::Unproven(ReplyError::UnexpectedCode(Code::from(code)))));
        world.to(30.0);
        assert_eq!(world.outcome(), Outcome::NoAnswer(NoAnswer::Silent), "{code}");
    }
}

/// Computes both authenticators of a reply anew.
fn resign(reply: &mut [u8], request: &[u8]) {
    let (head, request): ([u8; 4], [u8; 16]) = (reply[..4].try_into().unwrap(), request[4..20].try_into().unwrap());
    let value = secret(0).message_authenticator(&head, &request, &[80, 18], &reply[38..]);
    reply[22..38].copy_from_slice(&value);
    let authenticator = secret(0).response_authenticator(&head, &request, &reply[20..]);
    reply[4..20].copy_from_slice(&authenticator);
}

#[test]
fn s43_protocol_error_is_a_no_at_once_where_no_other_server_is_left() {
    let mut world = World::without_status(2);
    world.request(1, 10.0);
    let first = world.one();
    assert_eq!(world.answer(Code::ProtocolError, &first), Ok(()));
    let second = world.one();
    assert_eq!((first.0.server, second.0.server), (0, 1));
    assert!(world.ended.is_empty());
    assert_eq!(world.answer(Code::ProtocolError, &second), Ok(()));
    assert_eq!(world.outcome(), Outcome::NoAnswer(NoAnswer::ProtocolError));
    assert!(world.changes.is_empty(), "whoever says so is alive");
}

#[test]
fn s42_c004_a_reply_that_proves_nothing_counts_as_none() {
    let mut world = World::without_status(2);
    world.request(1, 10.0);
    let sent = world.one();
    let (socket, packet) = &sent;
    let good = reply(Code::AccessAccept, 0, packet, &AttributeList::new());
    let request = PacketView::parse(packet).unwrap();
    let unproven = |fault| Err(ReplyFault::Unproven(fault));

    let wrong = SharedSecret::new(*b"another secret than ours");
    let wrong = encode_reply(Code::AccessAccept, &request, &wrong, &AttributeList::new()).unwrap();
    assert_eq!(world.receive(*socket, address(0), &wrong), unproven(ReplyError::ResponseAuthenticator));

    let mut other_secret_outside = good.clone();
    other_secret_outside[30] ^= 1;
    let head: [u8; 4] = other_secret_outside[..4].try_into().unwrap();
    let outside =
        secret(0).response_authenticator(&head, request.authenticator().octets(), &other_secret_outside[20..]);
    other_secret_outside[4..20].copy_from_slice(&outside);
    let fault = unproven(ReplyError::MessageAuthenticatorInvalid);
    assert_eq!(world.receive(*socket, address(0), &other_secret_outside), fault);

    // A Reject that was altered to an Accept, and one without the attribute but with Proxy-State, as the collision of
    // CVE-2024-3596 makes it.
    let mut altered = reply(Code::AccessReject, 0, packet, &AttributeList::new());
    altered[0] = 2;
    assert_eq!(world.receive(*socket, address(0), &altered), unproven(ReplyError::ResponseAuthenticator));
    let mut bare = vec![2, packet[1], 0, 0];
    bare.extend([0; 16]);
    bare.extend([33, 5, b'a', b'b', b'c']);
    let length = u16::try_from(bare.len()).unwrap().to_be_bytes();
    bare[2..4].copy_from_slice(&length);
    let head: [u8; 4] = bare[..4].try_into().unwrap();
    let right = secret(0).response_authenticator(&head, request.authenticator().octets(), &bare[20..]);
    bare[4..20].copy_from_slice(&right);
    assert_eq!(world.receive(*socket, address(0), &bare), unproven(ReplyError::MessageAuthenticatorAbsent));

    // From elsewhere, to elsewhere.
    let mut elsewhere = address(0);
    elsewhere.set_port(1813);
    assert_eq!(world.receive(*socket, elsewhere, &good), Err(ReplyFault::Source(elsewhere)));
    assert_eq!(world.receive(*socket, address(1), &good), Err(ReplyFault::Source(address(1))));
    let other = UpstreamSocket { server: 1, port: socket.port };
    assert_eq!(world.receive(other, address(1), &good), Err(ReplyFault::NotAwaited));
    let mut identifier = good.clone();
    identifier[1] = identifier[1].wrapping_add(1);
    assert_eq!(world.receive(*socket, address(0), &identifier), Err(ReplyFault::NotAwaited));
    for octets in [&[][..], &good[..1], &good[..19], &good[..good.len() - 1]] {
        assert!(world.receive(*socket, address(0), octets).is_err());
    }

    assert!(world.ended.is_empty(), "it goes on waiting");
    assert_eq!(world.receive(*socket, address(0), &good), Ok(()));
    assert!(matches!(world.outcome(), Outcome::Accept(_)));
}

#[test]
fn s42_too_late_is_no_answer() {
    let mut world = World::without_status(1);
    world.request(1, 4.0);
    let sent = world.take().remove(0);
    world.to(6.2);
    assert_eq!(world.outcome(), Outcome::NoAnswer(NoAnswer::Silent));
    assert_eq!(world.answer(Code::AccessAccept, &sent), Err(ReplyFault::NotAwaited));
    world.to(60.0);
    assert!(world.ended.is_empty());
}

#[test]
fn s42_a_reply_to_an_older_request_with_the_same_identifier_is_not_believed() {
    let mut world = World::without_status(1);
    world.request(1, 1.0);
    let old = world.one();
    world.to(4.0);
    assert_eq!(world.outcome(), Outcome::NoAnswer(NoAnswer::Silent));
    world.take();
    let mut newer = None;
    for ticket in 2..600 {
        world.request(ticket, 1.0);
        let sent = world.one();
        if sent.0 == old.0 && sent.1[1] == old.1[1] {
            newer = Some(sent);
            break;
        }
        // Others are answered, so that their identifiers come free again.
        assert_eq!(world.answer(Code::AccessReject, &sent), Ok(()));
        world.ended.clear();
    }
    // The port was retired when the server went silent; its identifiers are not used again.
    assert!(newer.is_none());
    assert!(world.closed.contains(&old.0));
}

#[test]
fn identifiers_are_used_again_as_late_as_possible() {
    let mut world = World::without_status(1);
    let mut seen = Vec::new();
    for ticket in 0..256 {
        world.request(ticket, 10.0);
        let sent = world.one();
        seen.push(sent.1[1]);
        assert_eq!(world.answer(Code::AccessAccept, &sent), Ok(()));
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 256);
}

#[test]
fn more_than_256_wait_at_once_over_several_ports_and_a_full_table_says_so() {
    let mut world = World::without_status(1);
    for ticket in 0..(64 * 256) {
        world.request(ticket, 10.0);
    }
    let sent = world.take();
    let ports: std::collections::HashSet<_> = sent.iter().map(|(socket, _)| *socket).collect();
    let names: std::collections::HashSet<_> = sent.iter().map(|(socket, packet)| (*socket, packet[1])).collect();
    assert_eq!((sent.len(), ports.len(), names.len()), (64 * 256, 64, 64 * 256));
    assert!(world.ended.is_empty());
    world.request(99_999, 10.0);
    assert_eq!(world.outcome(), Outcome::NoAnswer(NoAnswer::Full));
    for sent in sent.iter().rev() {
        assert_eq!(world.answer(Code::AccessAccept, sent), Ok(()));
    }
    assert_eq!(world.ended.len(), 64 * 256);
    assert_eq!(world.table.waiting(), 0);
}

#[test]
fn a_silent_server_is_left_for_the_next_and_its_late_answer_still_counts() {
    for late in [false, true] {
        let mut world = World::without_status(3);
        let begin = world.now.as_secs_f64();
        world.request(1, 20.0);
        let first = world.one();
        assert_eq!(first.0.server, 0);
        world.to(begin + 4.9);
        assert!(world.asked().iter().all(|server| *server == 0));
        world.to(begin + 5.1);
        let second = world.one();
        assert_eq!(second.0.server, 1);
        assert_ne!(first.1[4..20], second.1[4..20], "each request has an authenticator of its own");
        let answered = if late { &first } else { &second };
        assert_eq!(world.answer(Code::AccessAccept, answered), Ok(()));
        let Outcome::Accept(answer) = world.outcome() else { unreachable!() };
        assert_eq!(answer.server, usize::from(!late));
        // Whatever else comes does not matter any more.
        let other = if late { &second } else { &first };
        assert_eq!(world.answer(Code::AccessReject, other), Err(ReplyFault::NotAwaited));
        assert!(world.ended.is_empty());
    }
}

#[test]
fn s108_all_servers_are_asked_within_the_time_that_there_is() {
    let mut world = World::without_status(3);
    let begin = world.now.as_secs_f64();
    world.request(1, 3.0);
    world.to(begin + 2.99);
    let mut asked = world.asked();
    asked.dedup();
    assert_eq!(asked, [0, 1, 2]);
    assert!(world.ended.is_empty());
    world.to(begin + 3.01);
    assert_eq!(world.outcome(), Outcome::NoAnswer(NoAnswer::Silent));
    // None of them is left to wait for, and without time nobody is asked.
    assert_eq!(world.table.waiting(), 0);
    world.request(2, 0.0);
    assert_eq!(world.outcome(), Outcome::NoAnswer(NoAnswer::Silent));
    assert!(world.asked().is_empty());
}

#[test]
fn c023_a_challenge_is_an_answer_of_a_server_that_is_alive() {
    let mut world = World::without_status(2);
    world.request(1, 20.0);
    let sent = world.one();
    world.to(world.now.as_secs_f64() + 4.0);
    assert_eq!(world.answer(Code::AccessChallenge, &sent), Ok(()));
    assert!(matches!(world.outcome(), Outcome::Challenge(Answer { server: 0, .. })));
    world.to(60.0);
    assert!(world.changes.is_empty());
    assert!(world.asked().iter().all(|server| *server == 0), "the next one is not asked");
}

#[test]
fn without_servers_there_is_no_answer() {
    let mut world = World::new(0);
    world.request(1, 10.0);
    assert_eq!(world.outcome(), Outcome::NoAnswer(NoAnswer::NoServer));
}

#[test]
fn a_port_that_nobody_listens_at_is_left_at_once() {
    let mut world = World::without_status(2);
    world.request(1, 20.0);
    let first = world.one();
    world.refused(first.0);
    let second = world.one();
    assert_eq!(second.0.server, 1);
    assert_eq!(world.changes, [(0, Change::Down)]);
    // With nobody else to ask it is asked on: it may be about to start.
    world.refused(second.0);
    assert!(world.asked().is_empty() && world.ended.is_empty());
    world.to(world.now.as_secs_f64() + 1.2);
    assert_eq!(world.asked(), [1]);
    assert_eq!(world.answer(Code::AccessAccept, &second), Ok(()));
    assert!(matches!(world.outcome(), Outcome::Accept(_)));
}

#[test]
fn a_reject_of_a_request_that_came_back_to_us_is_a_loop_and_no_wrong_password() {
    let mut world = World::without_status(1);
    world.request(1, 20.0);
    world.request(2, 20.0);
    let sent = world.take();
    let tag = |at: usize| ProxyMark::new(MARK).find(&PacketView::parse(&sent[at].1).unwrap()).unwrap();
    assert_ne!(tag(0), tag(1));
    assert!(world.table.looped(tag(1)));
    assert_eq!(world.answer(Code::AccessReject, &sent[1]), Ok(()));
    assert_eq!(world.outcome(), Outcome::NoAnswer(NoAnswer::Loop));
    assert_eq!(world.answer(Code::AccessReject, &sent[0]), Ok(()));
    assert!(matches!(world.outcome(), Outcome::Reject(_)));
    assert!(!world.table.looped(tag(1)), "it is over");
    // Somebody further up may have said yes all the same.
    world.request(3, 20.0);
    let sent = world.one();
    assert!(world.table.looped(ProxyMark::new(MARK).find(&PacketView::parse(&sent.1).unwrap()).unwrap()));
    assert_eq!(world.answer(Code::AccessAccept, &sent), Ok(()));
    assert!(matches!(world.outcome(), Outcome::Accept(_)));
}

#[test]
fn s51_what_belongs_to_one_server_goes_to_no_other() {
    let mut world = World::without_status(2);
    let (now, deadline) = (world.now, world.now + seconds(20.0));
    let ask = |world: &mut World, server| {
        let forward = login().only_to(server);
        world.with_random(|table, random| table.request(now, 1, forward, deadline, random));
    };
    ask(&mut world, address(1));
    let first = world.one();
    assert_eq!(first.0.server, 1, "the second, though the first is there");
    world.to(21.9);
    let again = world.asked();
    assert!(!again.is_empty() && again.iter().all(|server| *server == 1), "{again:?}");
    world.to(22.2);
    assert_eq!(world.outcome(), Outcome::NoAnswer(NoAnswer::Silent));
    assert_eq!(world.answer(Code::AccessAccept, &first), Err(ReplyFault::NotAwaited));
    // Nor where the server says that it will not.
    let (now, deadline) = (world.now, world.now + seconds(20.0));
    world.with_random(|table, random| table.request(now, 2, login().only_to(address(1)), deadline, random));
    let sent = world.one();
    assert_eq!(world.answer(Code::ProtocolError, &sent), Ok(()));
    assert_eq!((world.outcome(), world.asked()), (Outcome::NoAnswer(NoAnswer::ProtocolError), vec![]));
}

#[test]
fn s51_a_server_that_is_not_there_any_more_is_asked_nothing() {
    let mut world = World::without_status(2);
    let (now, deadline) = (world.now, world.now + seconds(20.0));
    world.with_random(|table, random| table.request(now, 1, login().only_to(address(7)), deadline, random));
    assert_eq!((world.outcome(), world.asked()), (Outcome::NoAnswer(NoAnswer::NoServer), vec![]));
}
