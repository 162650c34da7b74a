//! Servers that are silent, and how they come back.

use super::*;

/// Lets a login find out that server 0 is silent; server 1 answers it.
fn silence_first(world: &mut World) {
    world.request(900, 20.0);
    world.to(world.now.as_secs_f64() + 5.1);
    let sent = world.take().into_iter().rfind(|(socket, packet)| socket.server == 1 && packet[0] == 1).unwrap();
    assert_eq!(world.answer(Code::AccessAccept, &sent), Ok(()));
    assert!(matches!(world.outcome(), Outcome::Accept(_)));
    assert_eq!(core::mem::take(&mut world.changes), [(0, Change::Down)]);
}

/// A login that is answered at once; by whom.
fn answered_by(world: &mut World, ticket: u32) -> usize {
    world.request(ticket, 20.0);
    let sent = world.one();
    assert_eq!(world.answer(Code::AccessAccept, &sent), Ok(()));
    world.outcome();
    sent.0.server
}

#[test]
fn each_server_is_asked_for_its_status_at_the_start() {
    let mut world = World::new(2);
    world.to(0.0);
    assert_eq!(world.answer_status(), [0, 1]);
    assert!(world.table.servers().all(|server| server.answers_status && server.waiting == 0));
}

#[test]
fn a_server_that_does_not_know_status_server_is_not_down_and_not_bothered_again() {
    let mut world = World::new(1);
    world.to(3600.0);
    assert_eq!(world.take().len(), 1);
    assert!(world.changes.is_empty());
    assert_eq!(world.table.next_deadline(), None);
}

#[test]
fn after_much_quiet_a_server_is_asked_whether_it_is_still_there() {
    let mut world = World::new(1);
    world.to(0.0);
    assert_eq!(world.answer_status(), [0]);
    world.to(29.0);
    assert!(world.take().is_empty());
    world.to(30.0);
    assert_eq!(world.answer_status(), [0]);
    world.to(50.0);
    assert_eq!(answered_by(&mut world, 1), 0);
    world.to(79.0);
    assert!(world.take().is_empty(), "a login says the same");
    world.to(81.0);
    assert_eq!(world.take().len(), 1);
    // Two in a row without an answer: down. Then it is asked on and on, and the first answer brings it back.
    assert!(world.changes.is_empty());
    world.to(85.0);
    assert_eq!(world.changes, [(0, Change::Down)]);
    world.to(200.0);
    let asked = world.take().len();
    assert!((5..12).contains(&asked), "{asked}");
    let due = world.table.next_deadline().unwrap().as_secs_f64();
    world.to(due);
    assert_eq!(world.answer_status(), [0]);
    assert!(matches!(world.changes[..], [_, (0, Change::Up(_))]));
}

#[test]
fn c083_a_server_that_was_silent_is_passed_over_and_used_again_when_it_answers_status_server() {
    let mut world = World::new(2);
    world.to(0.0);
    assert_eq!(world.answer_status(), [0, 1]);
    silence_first(&mut world);
    assert_eq!(answered_by(&mut world, 1), 1, "not asked while it is silent");
    let mut times = Vec::new();
    let begin = world.now.as_secs_f64();
    for tick in 0..1200 {
        world.to(begin + f64::from(tick) / 10.0);
        let asked = world.take().iter().filter(|(socket, packet)| socket.server == 0 && packet[0] == 12).count();
        times.extend((0..asked).map(|_| f64::from(tick) / 10.0));
    }
    let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.len() >= 5 && gaps.iter().all(|gap| (1.4..=30.2).contains(gap)), "{gaps:?}");
    assert!(gaps.last() > gaps.first(), "{gaps:?}");
    assert!(world.table.servers().next().unwrap().down_since.is_some());
    let due = world.table.next_deadline().unwrap().as_secs_f64();
    world.to(due);
    while !world.answer_status().contains(&0) {
        let due = world.table.next_deadline().unwrap().as_secs_f64();
        world.to(due);
    }
    assert_eq!(answered_by(&mut world, 2), 0);
}

#[test]
fn c083_a_server_that_does_not_know_status_server_is_found_again_by_one_login_at_a_time() {
    let mut world = World::without_status(2);
    silence_first(&mut world);
    assert_eq!(answered_by(&mut world, 1), 1);
    world.to(world.now.as_secs_f64() + 1.1);
    // One finds out, the others do not wait with it.
    world.request(2, 20.0);
    let trial = world.one();
    assert_eq!(trial.0.server, 0);
    assert_eq!(answered_by(&mut world, 3), 1);
    world.to(world.now.as_secs_f64() + 5.1);
    let other = world.take().into_iter().rfind(|(socket, packet)| socket.server == 1 && packet[0] == 1).unwrap();
    assert_eq!(world.answer(Code::AccessAccept, &other), Ok(()));
    world.outcome();
    assert!(world.changes.is_empty(), "it was known to be down");
    // The pauses grow.
    world.to(world.now.as_secs_f64() + 1.1);
    assert_eq!(answered_by(&mut world, 4), 1);
    world.to(world.now.as_secs_f64() + 1.0);
    world.request(5, 20.0);
    let trial = world.one();
    assert_eq!(trial.0.server, 0);
    assert_eq!(world.answer(Code::AccessAccept, &trial), Ok(()));
    world.outcome();
    assert!(matches!(world.changes[..], [(0, Change::Up(_))]));
    assert_eq!(answered_by(&mut world, 6), 0);
    assert_eq!(answered_by(&mut world, 7), 0);
}

#[test]
fn a_down_server_is_asked_where_there_is_no_other() {
    let mut world = World::new(1);
    world.to(0.0);
    assert_eq!(world.answer_status(), [0]);
    world.request(1, 6.0);
    world.to(6.1);
    assert_eq!(world.outcome(), Outcome::NoAnswer(NoAnswer::Silent));
    assert_eq!(world.changes, [(0, Change::Down)]);
    world.take();
    assert_eq!(answered_by(&mut world, 2), 0);
    assert!(matches!(world.changes[..], [_, (0, Change::Up(_))]));
}

#[test]
fn a_server_that_answers_others_is_not_down_for_one_that_it_ignores() {
    let mut world = World::without_status(2);
    world.request(1, 20.0);
    world.take();
    world.to(world.now.as_secs_f64() + 3.0);
    world.take();
    assert_eq!(answered_by(&mut world, 2), 0);
    world.to(world.now.as_secs_f64() + 2.1);
    assert_eq!(world.asked().last(), Some(&1));
    assert!(world.changes.is_empty());
}

#[test]
fn one_that_answers_status_server_but_no_login_is_tried_ever_more_seldom() {
    let mut world = World::new(2);
    world.to(0.0);
    let mut tried = std::collections::HashSet::new();
    for ticket in 0..600 {
        world.answer_status();
        world.request(ticket, 20.0);
        let sent = world.take();
        for sent in sent.iter().filter(|(_, packet)| packet[0] == 1) {
            if sent.0.server == 1 {
                assert_eq!(world.answer(Code::AccessAccept, sent), Ok(()));
            } else {
                tried.insert(sent.1.clone());
            }
        }
        world.to(world.now.as_secs_f64() + 1.0);
    }
    // Each time it is found out again, five seconds of logins wait.
    assert!((20..150).contains(&tried.len()), "{}", tried.len());
}

#[test]
fn a_server_that_went_silent_is_asked_from_other_ports() {
    let mut world = World::new(2);
    world.to(0.0);
    world.answer_status();
    world.request(1, 20.0);
    let first = world.one();
    world.to(5.1);
    assert_eq!(world.changes, [(0, Change::Down)]);
    assert!(!world.closed.contains(&first.0), "an answer may still come");
    let status = world.take().into_iter().find(|(socket, packet)| socket.server == 0 && packet[0] == 12).unwrap();
    assert_ne!(status.0, first.0);
    assert_eq!(world.answer(Code::AccessAccept, &first), Ok(()));
    assert!(world.closed.contains(&first.0));
}

#[test]
fn what_a_server_once_could_is_not_believed_for_ever() {
    let mut world = World::new(2);
    world.to(0.0);
    world.answer_status();
    silence_first(&mut world);
    world.run_while_up(world.now.as_secs_f64() + 590.0, 1);
    assert_eq!(answered_by(&mut world, 1), 1);
    world.run_while_up(world.now.as_secs_f64() + 15.0, 1);
    assert_eq!(answered_by(&mut world, 2), 0, "a login finds out");
}
