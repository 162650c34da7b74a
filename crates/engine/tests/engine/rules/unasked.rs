//! Logins that are let in without anybody being asked: bypasses, and approvals that are remembered. And codes that are not
//! looked at because of where they come from.

use countersign_domain::{Bypass, Methods, SOURCE_POLICY, Write};

use super::*;

fn bypass(play: &mut Play, seconds: u64) {
    let (now, alice) = (play.wall(), play.alice);
    let until = now.plus(Duration::from_secs(seconds));
    let bypass = Bypass { until, reason: "phone lost".to_owned(), issuer: "uid:0".to_owned(), issued_at: now };
    play.database.bypasses.insert(alice, bypass);
}

fn remembering(play: &mut Play, seconds: u32) {
    for place in [&mut play.rdp, &mut play.vpn, &mut play.gateway, &mut play.wiki] {
        let mut resource = Resource::clone(&place.0);
        resource.policy.remember = seconds;
        place.0 = Arc::new(resource);
    }
}

fn from(mut request: LoginRequest, source: Option<&str>) -> LoginRequest {
    request.source.address = source.map(Into::into);
    request
}

/// How a login ended: `factor reason`, or nothing.
fn end(play: &Play, login: LoginId) -> String {
    let ended = |event: &&countersign_domain::AuditEvent| event.login == Some(login) && event.result.is_some();
    let word = |word: Option<&'static str>| word.unwrap_or("-");
    play.database
        .audit
        .iter()
        .find(ended)
        .map_or(String::new(), |event| format!("{} {}", word(event.factor), word(event.reason)))
}

fn approved(play: &mut Play, request: impl FnOnce(&Play) -> LoginRequest) -> LoginId {
    let request = request(play);
    let login = play.start(&request);
    play.decide(play.last_asked(), Decision::Verify);
    assert_eq!(play.verdict(login), Some(Verdict::accept()));
    login
}

#[test]
fn s28_a_bypass_lets_one_login_in_and_tells_of_it() {
    let mut play = Play::new();
    bypass(&mut play, 300);
    let login = play.start(&play.rdp());
    assert_eq!(play.verdict(login), Some(Verdict::accept()));
    assert_eq!(end(&play, login), "bypass bypass");
    assert_eq!(play.alerts(), ["bypass_used"]);
    assert!(play.asked.is_empty() && play.database.bypasses.is_empty());
    let second = play.start(&play.another(play.rdp(), 2));
    assert_eq!((play.verdict(second), play.asked.len()), (None, 1), "the next one is asked");
}

#[test]
fn s28_a_bypass_is_no_first_factor_and_outlives_a_wrong_one() {
    let mut play = Play::new();
    bypass(&mut play, 300);
    for password in [Some(&b"wrong"[..]), Some(b""), None] {
        let login = play.start(&play.request(&play.rdp, password));
        assert_eq!(play.rejected(login), Reason::PasswordWrong);
    }
    assert_eq!(play.database.bypasses.len(), 1);
    let login = play.start(&play.rdp());
    assert_eq!(end(&play, login), "bypass bypass");
}

#[test]
fn s28_a_bypass_ends_in_time_and_begins_in_time() {
    let mut play = Play::new();
    bypass(&mut play, 60);
    play.go(60);
    let login = play.start(&play.rdp());
    assert_eq!((play.verdict(login), play.asked.len()), (None, 1));
    // A clock that was set back does not give it back.
    let mut play = Play::new();
    play.go(100);
    bypass(&mut play, 60);
    play.now = Duration::from_secs(10);
    let login = play.start(&play.rdp());
    assert_eq!((play.verdict(login), play.asked.len()), (None, 1));
}

#[test]
fn s28_somebody_without_a_device_comes_in_by_a_bypass_and_only_so() {
    let mut play = Play::new();
    play.database.devices.clear();
    let login = play.start(&play.rdp());
    assert_eq!(play.rejected(login), Reason::NoDevice);
    bypass(&mut play, 300);
    let login = play.start(&play.rdp());
    assert_eq!(end(&play, login), "bypass bypass");
}

#[test]
fn s28_who_is_disabled_or_has_reported_a_login_is_not_let_in_by_a_bypass() {
    let mut play = Play::new();
    bypass(&mut play, 300);
    play.database.users.get_mut(&play.alice).unwrap().enabled = false;
    for request in [play.rdp(), play.gateway()] {
        let login = play.start(&request);
        assert_eq!(play.rejected(login), Reason::UserDisabled);
    }
    play.database.users.get_mut(&play.alice).unwrap().enabled = true;
    play.database.bypasses.clear();
    play.start(&play.rdp());
    play.decide(play.last_asked(), Decision::DenyReport);
    bypass(&mut play, 300);
    let login = play.start(&play.another(play.rdp(), 2));
    assert_eq!(play.rejected(login), Reason::Limited);
    assert_eq!(play.database.bypasses.len(), 1);
}

#[test]
fn s97_of_two_nodes_one_uses_a_bypass() {
    let mut play = Play::new();
    bypass(&mut play, 300);
    play.database.meanwhile = Some(|database| database.bypasses.clear());
    let login = play.start(&play.rdp());
    assert_eq!((play.verdict(login), play.asked.len()), (None, 1), "the other node was quicker: this one is asked");
    // And nobody is let in by what cannot be written.
    let mut play = Play::new();
    bypass(&mut play, 300);
    play.writable = false;
    let login = play.start(&play.rdp());
    assert_eq!(play.rejected(login), Reason::Unavailable);
    assert_eq!(play.database.bypasses.len(), 1);
}

#[test]
fn s02_a_bypass_does_not_decide_between_two_logins() {
    let mut play = Play::new();
    let first = play.start(&play.rdp());
    bypass(&mut play, 300);
    let second = play.start(&from(play.another(play.rdp(), 2), Some("203.0.113.9")));
    assert_eq!((play.rejected(first), play.rejected(second)), (Reason::Collision, Reason::Collision));
    assert_eq!(play.database.bypasses.len(), 1);
    let third = play.start(&play.another(play.rdp(), 3));
    assert_eq!(end(&play, third), "bypass bypass");
}

#[test]
fn a_retry_of_a_pending_login_takes_it_over_and_leaves_a_bypass_alone() {
    let mut play = Play::new();
    let first = play.rdp();
    play.start(&first);
    bypass(&mut play, 300);
    let retry = play.start(&play.retry(first));
    assert_eq!((play.verdict(retry), play.asked.len()), (None, 1));
    assert_eq!(play.database.bypasses.len(), 1);
}

#[test]
fn where_the_client_checks_the_password_a_bypass_takes_the_place_of_whatever_is_typed() {
    for typed in [None, Some(&b"000000"[..]), Some(b"no code"), Some(b"x")] {
        let mut play = Play::new();
        bypass(&mut play, 300);
        let login = play.start(&play.request(&play.gateway, typed));
        assert_eq!(end(&play, login), "bypass bypass", "{typed:?}");
        let limits = play.database.limits.get(&LimitScope::User(play.alice));
        assert!(limits.is_none(), "no code was counted as wrong");
    }
    // A right code is a code.
    let mut play = Play::new();
    bypass(&mut play, 300);
    let login = play.start(&play.request(&play.gateway, Some(&play.code_now())));
    assert_eq!((end(&play, login).as_str(), play.database.bypasses.len()), ("totp approved", 1));
    // With a password before it, a wrong code is one.
    let login = play.start(&play.request(&play.rdp, Some(&with_code(b"right", b"000000"))));
    assert_eq!(play.rejected(login), Reason::CodeWrong);
}

#[test]
fn a_bypass_takes_the_place_of_a_prompt() {
    let mut play = Play::new();
    let mut resource = Resource::clone(&play.rdp.0);
    resource.policy.prompt = Some(Methods { code_to_phone: true, typed: false, totp: true });
    play.rdp.0 = Arc::new(resource);
    // Another login waits at its prompt; they do not disturb each other.
    play.start(&play.rdp());
    assert_eq!(play.asked.len(), 1);
    bypass(&mut play, 300);
    let login = play.start(&play.another(play.rdp(), 2));
    assert_eq!(end(&play, login), "bypass bypass");
}

#[test]
fn nothing_is_remembered_where_nothing_is_said() {
    let mut play = Play::new();
    approved(&mut play, Play::rdp);
    let next = play.start(&play.another(play.rdp(), 2));
    assert_eq!((play.verdict(next), play.asked.len()), (None, 2));
}

#[test]
fn an_approval_that_is_remembered_lets_in_one_further_login_and_no_more() {
    let mut play = Play::new();
    remembering(&mut play, 30);
    let first = approved(&mut play, Play::rdp);
    play.go(10);
    let second = play.start(&play.another(play.rdp(), 2));
    assert_eq!((play.verdict(second), end(&play, second).as_str()), (Some(Verdict::accept()), "remembered remembered"));
    let stems =
        play.database.audit.iter().find(|event| event.login == Some(second)).and_then(|event| event.detail.clone());
    assert_eq!(stems, Some(first.to_string()), "the record names the login that it stems from");
    assert_eq!(play.asked.len(), 1);
    let third = play.start(&play.another(play.rdp(), 3));
    assert_eq!((play.verdict(third), play.asked.len()), (None, 2));
}

#[test]
fn an_approval_by_code_is_remembered_too() {
    let mut play = Play::new();
    remembering(&mut play, 30);
    let code = play.code_now();
    let first = play.start(&play.request(&play.rdp, Some(&with_code(b"right", &code))));
    assert_eq!(end(&play, first), "totp approved");
    let second = play.start(&play.another(play.rdp(), 2));
    assert_eq!(end(&play, second), "remembered remembered");
}

type Other = fn(&Play) -> LoginRequest;

#[test]
fn an_approval_is_remembered_for_its_time_user_resource_and_place() {
    let wanted = |play: &mut Play, request: LoginRequest| {
        let login = play.start(&request);
        play.verdict(login).is_some()
    };
    let others: [(&str, u64, Other); 5] = [
        ("later", 30, |play| play.another(play.rdp(), 2)),
        ("another place", 5, |play| from(play.another(play.rdp(), 2), Some("203.0.113.9"))),
        ("an unknown place", 5, |play| from(play.another(play.rdp(), 2), None)),
        ("another resource", 5, |play| play.another(play.request(&play.vpn, Some(b"right")), 2)),
        ("a place that proves less", 5, |play| play.another(play.gateway(), 2)),
    ];
    for (what, seconds, other) in others {
        let mut play = Play::new();
        remembering(&mut play, 30);
        approved(&mut play, Play::rdp);
        play.go(seconds);
        let request = other(&play);
        assert!(!wanted(&mut play, request), "{what}");
    }
    // The same, and nothing but the time is near its end.
    let mut play = Play::new();
    remembering(&mut play, 30);
    approved(&mut play, Play::rdp);
    play.go(29);
    let request = play.another(play.rdp(), 2);
    assert!(wanted(&mut play, request));
}

#[test]
fn where_no_request_has_a_place_the_client_is_the_place() {
    let mut play = Play::new();
    remembering(&mut play, 30);
    let nowhere = |play: &Play, port| from(play.another(play.gateway(), port), None);
    approved(&mut play, |play| nowhere(play, 1));
    let mut other = nowhere(&play, 2);
    other.client = play.rdp.1;
    let other = play.start(&other);
    assert_eq!(play.verdict(other), None, "another client");
    play.decide(play.last_asked(), Decision::Verify);
    // That one was asked and approved, and it is the newest.
    let mut same = nowhere(&play, 3);
    same.client = play.rdp.1;
    let same = play.start(&same);
    assert_eq!(end(&play, same), "remembered remembered");
}

#[test]
fn s02_nothing_is_remembered_after_a_collision_or_a_denial() {
    for decision in [Decision::Deny, Decision::DenyReport] {
        let mut play = Play::new();
        remembering(&mut play, 300);
        approved(&mut play, Play::rdp);
        play.start(&play.request(&play.vpn, Some(b"right")));
        play.decide(play.last_asked(), decision);
        let next = play.start(&play.another(play.rdp(), 2));
        assert_ne!(play.verdict(next), Some(Verdict::accept()), "{decision:?}");
    }
    let mut play = Play::new();
    remembering(&mut play, 300);
    approved(&mut play, Play::rdp);
    let vpn = play.request(&play.vpn, Some(b"right"));
    play.start(&vpn);
    // While somebody is asked, what is remembered does not decide who is who.
    let second = play.start(&play.another(play.rdp(), 2));
    assert_eq!(play.rejected(second), Reason::Collision);
    let third = play.start(&play.another(play.rdp(), 3));
    assert_eq!(play.verdict(third), None);
}

#[test]
fn s10_a_report_after_the_end_takes_back_what_is_remembered() {
    let mut play = Play::new();
    remembering(&mut play, 300);
    approved(&mut play, Play::rdp);
    let challenge = play.last_asked();
    assert_eq!(play.decide(challenge, Decision::DenyReport), DecisionAnswer::Taken(ClosingState::Approved));
    let next = play.start(&play.another(play.rdp(), 2));
    assert_eq!(play.rejected(next), Reason::Limited);
}

#[test]
fn s15_an_approval_goes_with_its_device_and_its_user() {
    let mut play = Play::new();
    remembering(&mut play, 300);
    approved(&mut play, Play::rdp);
    play.database.devices.get_mut(&play.phone).unwrap().state = DeviceState::Removed;
    let next = play.start(&play.another(play.rdp(), 2));
    assert_eq!(play.rejected(next), Reason::NoDevice);

    let mut play = Play::new();
    remembering(&mut play, 300);
    approved(&mut play, Play::rdp);
    play.database.users.get_mut(&play.alice).unwrap().enabled = false;
    let next = play.start(&play.another(play.rdp(), 2));
    assert_eq!(play.rejected(next), Reason::UserDisabled);
}

#[test]
fn what_is_remembered_is_lost_with_a_restart_and_with_a_write_that_fails() {
    let mut play = Play::new();
    remembering(&mut play, 300);
    approved(&mut play, Play::rdp);
    play.engine = Engine::new(Bounds::default(), play.now, &play.entropy);
    let next = play.start(&play.another(play.rdp(), 2));
    assert_eq!(play.verdict(next), None);

    let mut play = Play::new();
    remembering(&mut play, 300);
    approved(&mut play, Play::rdp);
    play.writable = false;
    let failed = play.start(&play.another(play.rdp(), 2));
    assert_eq!(play.rejected(failed), Reason::Unavailable);
    play.writable = true;
    let next = play.start(&play.another(play.rdp(), 3));
    assert_eq!(play.verdict(next), None, "whether the failed one is on disk is not known");
}

#[test]
fn what_is_remembered_goes_before_a_bypass() {
    let mut play = Play::new();
    remembering(&mut play, 300);
    approved(&mut play, Play::rdp);
    bypass(&mut play, 300);
    let next = play.start(&play.another(play.rdp(), 2));
    assert_eq!((end(&play, next).as_str(), play.database.bypasses.len()), ("remembered remembered", 1));
    // And what a bypass lets in is not remembered.
    let after = play.start(&play.another(play.rdp(), 3));
    assert_eq!(end(&play, after), "bypass bypass");
    let last = play.start(&play.another(play.rdp(), 4));
    assert_eq!(play.verdict(last), None);
}

/// Users of one office: each tries one code.
fn office(play: &mut Play, count: usize) -> Vec<(UserId, String)> {
    let mut add = |number| {
        let name = format!("user{number}");
        let (user, device) = (UserId::new(play.wall(), &play.entropy), DeviceId::new(play.wall(), &play.entropy));
        play.add_user(user, &name);
        let seed = TotpSeed::new(&play.entropy);
        play.add_device(user, device, seed);
        (user, name)
    };
    (0..count).map(&mut add).collect()
}

fn guess(play: &Play, name: &str, source: Option<&str>) -> LoginRequest {
    let request = play.request(&play.gateway, Some(b"000000"));
    from(LoginRequest { user_typed: name.into(), ..request }, source)
}

#[test]
fn s20_wrong_codes_from_one_place_are_counted_over_all_users() {
    let mut play = Play::new();
    let users = office(&mut play, SOURCE_POLICY.failures + 3);
    for (number, (_, name)) in users.iter().enumerate() {
        let login = play.start(&guess(&play, name, Some("203.0.113.9")));
        let looked_at = number < SOURCE_POLICY.failures;
        assert_eq!(play.rejected(login) == Reason::CodeWrong, looked_at, "{number}");
    }
    assert_eq!(play.alerts(), ["codes_paused_at_source"]);
    // Right ones are not looked at either, from there; from elsewhere, and without a code, everybody goes on.
    let code = play.code_now();
    let there = from(play.request(&play.gateway, Some(&code)), Some("203.0.113.9"));
    let there = play.start(&there);
    assert_eq!(play.rejected(there), Reason::Limited);
    let asked = play.start(&from(play.gateway(), Some("203.0.113.9")));
    assert_eq!((play.verdict(asked), play.asked.len()), (None, 1));
    let elsewhere = play.start(&play.request(&play.wiki, Some(&code)));
    assert_eq!(end(&play, elsewhere), "totp approved");
    // It ends.
    play.go(900);
    let later = play.start(&guess(&play, &users[0].1, Some("203.0.113.9")));
    assert_eq!(play.rejected(later), Reason::CodeWrong);
}

#[test]
fn s109_a_client_that_reports_no_place_is_never_paused_as_a_whole() {
    let mut play = Play::new();
    for (_, name) in office(&mut play, SOURCE_POLICY.failures * 2) {
        let login = play.start(&guess(&play, &name, None));
        assert_eq!(play.rejected(login), Reason::CodeWrong);
    }
    assert!(play.alerts().is_empty());
}

#[test]
fn s21_a_right_code_from_a_place_forgives_it_nothing() {
    let mut play = Play::new();
    let users = office(&mut play, SOURCE_POLICY.failures);
    for (number, (_, name)) in users.iter().enumerate() {
        if number == SOURCE_POLICY.failures - 1 {
            let own = from(play.request(&play.gateway, Some(&play.code_now())), Some("203.0.113.9"));
            let own = play.start(&own);
            assert_eq!(end(&play, own), "totp approved");
        }
        play.start(&guess(&play, name, Some("203.0.113.9")));
    }
    assert_eq!(play.alerts(), ["codes_paused_at_source"]);
}

/// What another client reports as a place may be made up.
#[test]
fn s109_one_client_cannot_pause_a_place_for_another() {
    let mut play = Play::new();
    for (_, name) in office(&mut play, SOURCE_POLICY.failures) {
        play.start(&guess(&play, &name, Some("198.51.100.7")));
    }
    assert_eq!(play.alerts(), ["codes_paused_at_source"]);
    let code = play.code_now();
    let login = play.start(&play.request(&play.wiki, Some(&code)));
    assert_eq!(end(&play, login), "totp approved");
}

#[test]
fn s20_codes_that_are_looked_at_side_by_side_are_counted_before_they_are_written() {
    let mut play = Play::new();
    let users = office(&mut play, SOURCE_POLICY.failures + 20);
    // Everybody is loaded and decided before anything is written.
    let mut commits = Vec::new();
    for (user, name) in &users {
        let request = guess(&play, name, Some("203.0.113.9"));
        let mut events =
            vec![Event::Start { request: Box::new(request), subject: Subject::Known(*user), arrived: play.now }];
        while let Some(event) = events.pop() {
            let mut effects = Vec::new();
            let now = Now { wall: play.wall(), monotonic: play.now };
            play.engine.handle(now, event, &play.entropy, &mut effects);
            for effect in effects {
                match effect {
                    Effect::Load { lane, user, .. } => {
                        let snapshot = Ok(play.database.snapshot(user).map(Arc::new));
                        events.push(Event::Loaded { lane, snapshot, challenge: None });
                    }
                    Effect::Commit { commit, .. } => commits.push(commit),
                    Effect::Record(event) => play.database.audit.push(*event),
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    let counted = |commit: &countersign_domain::Commit| {
        commit.writes.iter().any(|write| matches!(write, Write::SetLimits { .. }))
    };
    assert_eq!(commits.iter().filter(|commit| counted(commit)).count(), SOURCE_POLICY.failures);
}
