//! Servers that are reached over connections (RFC 6613, RFC 6614).

use super::*;

#[test]
fn s48_nothing_is_sent_twice_over_a_connection() {
    let mut world = World::over_connections(1);
    world.to(0.1);
    assert_eq!(world.answer_status(), [0]);
    world.request(1, 20.0);
    assert_eq!(world.asked(), [0]);
    world.to(20.0);
    assert_eq!(world.asked(), [0; 0]);
    world.to(21.0);
    assert_eq!(world.outcome(), Outcome::NoAnswer(NoAnswer::Silent));
}

#[test]
fn a_reply_needs_no_message_authenticator_there_and_has_to_be_right_in_all_else() {
    let mut world = World::over_connections(1);
    world.request(1, 20.0);
    let (socket, packet) = world.one();
    // A header alone: its Response Authenticator is all that it has.
    let bare = |code: u8| {
        let head = [code, packet[1], 0, 20];
        let authenticator = secret(0).response_authenticator(&head, packet[4..20].try_into().unwrap(), &[]);
        [&head[..], &authenticator].concat()
    };
    let mut forged = bare(3);
    forged[0] = 2;
    assert!(world.receive(socket, address(0), &forged).is_err());
    assert_eq!(world.receive(socket, address(0), &bare(2)), Ok(()));
    assert!(matches!(world.outcome(), Outcome::Accept(_)));
}

#[test]
fn what_waits_on_a_connection_that_is_closed_goes_over_the_next_once() {
    let mut world = World::over_connections(2);
    world.request(1, 20.0);
    let (first, packet) = world.one();
    world.broken(first, true);
    let (second, again) = world.one();
    assert_eq!((second.server, second.port == first.port), (0, false));
    // Another authenticator, as over any other port.
    assert_ne!(packet[4..20], again[4..20]);
    assert_eq!(world.changes, []);
    world.broken(second, true);
    let (third, _) = world.one();
    assert_eq!(third.server, 1, "a server that closes each time is left");
}

#[test]
fn a_server_that_cannot_be_reached_is_left_at_once_and_tried_again_after_pauses() {
    let mut world = World::over_connections(2);
    world.to(0.1);
    world.take();
    world.request(1, 20.0);
    let (first, _) = world.one();
    world.broken(first, false);
    assert_eq!((world.asked(), world.changes.first()), (vec![1], Some(&(0, Change::Down))));
    // Each try fails; pauses grow to 30 seconds, since nobody is bothered by them.
    let (mut tries, mut last, mut longest) = (0, world.now, 0.0_f64);
    while world.now < seconds(300.0) {
        world.to(world.now.as_secs_f64() + 0.25);
        for (socket, packet) in world.take() {
            if packet[0] == 12 && socket.server == 0 {
                longest = longest.max(world.now.saturating_sub(last).as_secs_f64());
                (tries, last) = (tries + 1, world.now);
                world.broken(socket, false);
            } else if packet[0] == 12 {
                let _ = world.answer(Code::AccessAccept, &(socket, packet));
            }
        }
    }
    assert!((10..40).contains(&tries), "{tries}");
    assert!((20.0..31.0).contains(&longest), "{longest}");
    // It is back.
    while world.table.servers().next().unwrap().down_since.is_some() {
        world.to(world.now.as_secs_f64() + 0.25);
        world.answer_status();
    }
    world.request(2, 20.0);
    assert_eq!(world.asked(), [0]);
}

#[test]
fn where_no_server_can_answer_any_more_nobody_waits() {
    let mut world = World::over_connections(2);
    world.request(1, 20.0);
    let (first, _) = world.one();
    world.broken(first, false);
    let (second, _) = world.one();
    assert_eq!(world.ended, []);
    world.broken(second, false);
    assert_eq!(world.outcome(), Outcome::NoAnswer(NoAnswer::Silent));
    // One that is only slow may still answer.
    let mut world = World::over_connections(2);
    world.request(1, 20.0);
    let slow = world.one();
    world.to(6.0);
    let (second, _) = world.one();
    world.broken(second, false);
    assert_eq!(world.ended, []);
    assert_eq!(world.answer(Code::AccessAccept, &slow), Ok(()));
    assert!(matches!(world.outcome(), Outcome::Accept(_)));
}

#[test]
fn an_idle_connection_that_is_closed_is_no_fault() {
    let mut world = World::over_connections(1);
    world.request(1, 20.0);
    let sent = world.one();
    world.answer(Code::AccessAccept, &sent).unwrap();
    world.to(0.1);
    world.answer_status();
    world.broken(sent.0, true);
    world.request(2, 20.0);
    let (next, _) = world.one();
    assert_ne!(next.port, sent.0.port);
    assert_eq!(world.changes, []);
}

#[test]
fn a_mixed_upstream_never_asks_in_the_other_way() {
    let server = |at, transport| UpstreamServer { address: address(at), secret: secret(at), transport };
    let servers = vec![server(0, Transport::Connections), server(1, Transport::Datagrams)];
    let table = UpstreamTable::new(servers, ProxyMark::new(MARK), Timing::default());
    let mut world = World { table, ..World::new(0) };
    world.request(1, 20.0);
    let (first, _) = world.one();
    world.broken(first, false);
    world.to(4.0);
    let asked = world.asked();
    assert!(asked.len() > 1 && asked.iter().all(|server| *server == 1), "{asked:?}");
}
