//! Sign-in windows (S18).

use countersign_domain::{DirectoryId, Methods, Policy, SignInWindow, UserVerification, WindowId, WindowState};
use countersign_engine::{WindowRefusal, WindowRequest};

use super::*;

/// Alice, her phone, and a gateway where windows can be opened; half a minute after the server has started.
struct Farm {
    play: Play,
    gateway: (Arc<Resource>, ClientId),
    /// Of windows; each is another one.
    next: u8,
}

impl Farm {
    fn new() -> Self {
        let mut play = Play::new();
        let (resource, client) = &play.gateway;
        let gateway = (Arc::new(with_windows(resource)), *client);
        play.go(30);
        Self { play, gateway, next: 0 }
    }

    fn request(&mut self) -> WindowRequest {
        self.next += 1;
        WindowRequest {
            id: WindowId::from_bytes([self.next; 16]),
            device: self.play.phone,
            resource: Arc::clone(&self.gateway.0),
            user_verification: UserVerificationReached::None,
            device_time: "2027-01-15T08:00:00Z".to_owned(),
            assertion: None,
        }
    }

    fn ask(&mut self, request: WindowRequest) -> WindowAnswer {
        let user = self.play.alice;
        self.play.feed(Event::OpenWindow { ticket: 1, user, request: Box::new(request) });
        self.play.window_answers.pop().expect("an answer")
    }

    fn open(&mut self) -> WindowAnswer {
        let request = self.request();
        self.ask(request)
    }

    /// Opens a window, which nothing must keep shut.
    fn opened(&mut self) {
        let expires_at = self.play.wall().plus(SignInWindow::LIFE);
        assert_eq!(self.open(), WindowAnswer::Open { expires_at });
    }

    fn refused(&mut self) -> WindowRefusal {
        match self.open() {
            WindowAnswer::Refused(refusal) => refusal,
            WindowAnswer::Open { .. } => panic!("a window is open"),
        }
    }

    /// A login at the gateway, as it sends it: no password, no source, no port.
    fn comes(&mut self) -> LoginId {
        let request = self.login();
        self.play.start(&request)
    }

    fn login(&self) -> LoginRequest {
        let (source, retry) = (Source::default(), RetryKey::default());
        LoginRequest { source, retry, ..self.play.request(&self.gateway, None) }
    }

    fn states(&self) -> Vec<WindowState> {
        self.play.database.windows.values().map(|window| window.state).collect()
    }

    fn records(&self, kind: &str) -> Vec<Option<&str>> {
        self.play.database.audit.iter().filter(|event| event.kind.as_str() == kind).map(|event| event.reason).collect()
    }
}

fn with_windows(resource: &Resource) -> Resource {
    let mut resource = resource.clone();
    resource.policy.windows = true;
    resource
}

#[test]
fn s18_the_first_login_in_a_window_is_held_for_three_seconds_and_let_in_without_a_push() {
    let mut farm = Farm::new();
    farm.opened();
    farm.play.go(20);
    let login = farm.comes();
    farm.play.go(2);
    assert_eq!((farm.play.verdict(login), farm.play.asked.len()), (None, 0));
    farm.play.go(1);
    assert_eq!(farm.play.verdict(login), Some(Verdict::accept()));
    assert_eq!((farm.play.asked.len(), farm.play.windows_closed.as_slice()), (0, &[ClosingState::Approved][..]));
    let accepted = farm.play.database.audit.iter().find(|event| event.result == Some("accept")).unwrap();
    assert_eq!(
        (accepted.factor, accepted.binding, accepted.device),
        (Some("window"), Some("none"), Some(farm.play.phone))
    );
    assert_eq!(farm.records("window.closed"), [Some("approved")]);
    assert_eq!(farm.play.engine.figures().logins, 0);

    // It is used up: the next one is asked about, and told that one was let in just now.
    let next = farm.comes();
    assert_eq!((farm.play.verdict(next), farm.play.asked.len()), (None, 1));
    let context: ContextDocument = serde_json::from_slice(&farm.play.asked[0].context).unwrap();
    assert_eq!(context.recent_approval.unwrap().application, "Gateway");
}

#[test]
fn s18_two_logins_in_one_window_are_both_refused_with_an_alert() {
    let mut farm = Farm::new();
    farm.opened();
    let first = farm.comes();
    farm.play.go(2);
    let second = farm.comes();
    assert_eq!((farm.play.rejected(first), farm.play.rejected(second)), (Reason::Collision, Reason::Collision));
    farm.play.go(10);
    assert_eq!((farm.play.asked.len(), farm.play.windows_closed.as_slice()), (0, &[ClosingState::Collision][..]));
    assert_eq!(farm.play.alerts(), ["window_spoilt"]);
    assert_eq!(farm.records("window.closed"), [Some("collision")]);
    assert_eq!(farm.play.engine.figures().logins, 0);
    // Nobody is let in by a window for a quarter of an hour.
    assert!(matches!(farm.refused(), WindowRefusal::LoginUnderWay { .. }));
    farm.play.go(30);
    assert!(matches!(farm.refused(), WindowRefusal::LoginUnapproved { .. }));
}

#[test]
fn s18_a_retry_under_a_new_identifier_spoils_the_window() {
    let mut farm = Farm::new();
    farm.opened();
    // With every mark that would let it join a push.
    let first = farm.play.request(&farm.gateway, None);
    farm.play.start(&first);
    let again = farm.play.retry(first.clone());
    let again = farm.play.start(&again);
    assert_eq!((farm.play.rejected(first.id), farm.play.rejected(again)), (Reason::Collision, Reason::Collision));

    // Also one that takes the place of the first on the wire (RFC 5080 section 2.2.2).
    let mut farm = Farm::new();
    farm.opened();
    let first = farm.login();
    farm.play.start(&first);
    farm.play.feed(Event::Superseded(first.id));
    assert_eq!(farm.play.verdict(first.id), Some(Verdict::Unanswered { reason: Reason::Superseded }));
    assert_eq!(farm.play.windows_closed, [ClosingState::Cancelled]);
    let again = farm.comes();
    assert_eq!(
        (farm.play.verdict(again), farm.play.asked.len()),
        (None, 1),
        "the window let nobody in; the phone is asked"
    );
}

#[test]
fn s18_a_retransmission_neither_spoils_a_window_nor_makes_it_longer() {
    let mut farm = Farm::new();
    farm.opened();
    let login = farm.comes();
    for _ in 0..2 {
        farm.play.go(1);
        farm.play.feed(Event::Heard(login));
    }
    farm.play.go(1);
    assert_eq!(farm.play.verdict(login), Some(Verdict::accept()));
}

#[test]
fn s18_a_login_elsewhere_does_not_touch_a_window() {
    let mut farm = Farm::new();
    farm.opened();
    let vpn = farm.play.start(&farm.play.rdp());
    let wiki = farm.play.start(&farm.play.request(&farm.play.wiki, None));
    assert_eq!((farm.play.verdict(vpn), farm.play.rejected(wiki)), (None, Reason::Collision), "as without a window");
    let mine = farm.comes();
    farm.play.go(3);
    assert_eq!(farm.play.verdict(mine), Some(Verdict::accept()));
    // The push for the other login is still there, and lets that in and nothing else.
    farm.play.decide(farm.play.last_asked(), Decision::Verify);
    assert_eq!(farm.play.verdict(vpn), Some(Verdict::accept()));
}

#[test]
fn s18_an_unused_window_expires_and_is_recorded() {
    let mut farm = Farm::new();
    farm.opened();
    farm.play.go(59);
    assert_eq!(farm.play.windows_closed, []);
    farm.play.go(1);
    assert_eq!(farm.play.windows_closed, [ClosingState::Expired]);
    assert_eq!((farm.records("window.opened").len(), farm.records("window.closed")), (1, vec![Some("expired")]));
    let late = farm.comes();
    assert_eq!((farm.play.verdict(late), farm.play.asked.len()), (None, 1), "it is asked about as any other");
}

#[test]
fn s18_a_login_in_the_last_second_is_held_beyond_the_end_of_the_window() {
    let mut farm = Farm::new();
    farm.opened();
    farm.play.go(59);
    let login = farm.comes();
    farm.play.go(2);
    assert_eq!((farm.play.verdict(login), farm.play.windows_closed.len()), (None, 0));
    let second = farm.comes();
    assert_eq!((farm.play.rejected(login), farm.play.rejected(second)), (Reason::Collision, Reason::Collision));
}

#[test]
fn s18_no_window_is_opened_while_a_login_is_there_or_was_a_moment_ago() {
    let mut farm = Farm::new();
    let login = farm.comes();
    farm.play.go(40);
    assert!(matches!(farm.refused(), WindowRefusal::LoginUnderWay { .. }), "the phone is still asked");
    farm.play.decide(farm.play.last_asked(), Decision::Verify);
    assert_eq!(farm.play.verdict(login), Some(Verdict::accept()));
    farm.opened();

    let mut farm = Farm::new();
    farm.comes();
    farm.play.decide(farm.play.last_asked(), Decision::Verify);
    farm.play.go(29);
    let until = farm.play.wall().plus(Duration::from_secs(1));
    assert_eq!(farm.refused(), WindowRefusal::LoginUnderWay { until });
    farm.play.go(1);
    farm.opened();
    assert_eq!(farm.records("window.refused"), [Some("login_under_way")]);
}

#[test]
fn s18_a_login_that_the_door_had_before_the_opening_spoils_the_window() {
    let mut farm = Farm::new();
    let before = farm.play.now;
    farm.play.go(1);
    farm.opened();
    // Its name was looked up in a directory meanwhile.
    let request = farm.login();
    let subject = Subject::Known(farm.play.alice);
    farm.play.feed(Event::Start { request: Box::new(request.clone()), subject, arrived: before });
    assert_eq!(farm.play.rejected(request.id), Reason::Collision);
    assert_eq!(
        (farm.play.windows_closed.as_slice(), farm.play.alerts()),
        (&[ClosingState::Collision][..], vec!["window_spoilt"])
    );
}

#[test]
fn s18_a_login_that_comes_while_the_window_is_written_spoils_it() {
    let mut farm = Farm::new();
    let (request, login, user) = (farm.request(), farm.login(), farm.play.alice);
    let (play, mut effects) = (&mut farm.play, Vec::new());
    let now = Now { wall: play.wall(), monotonic: play.now };
    let snapshot = || Ok(play.database.snapshot(user).map(Arc::new));
    play.engine.handle(
        now,
        Event::OpenWindow { ticket: 1, user, request: Box::new(request) },
        &play.entropy,
        &mut effects,
    );
    let Some(Effect::Load { lane, .. }) = effects.pop() else { panic!() };
    let loaded = Event::Loaded { lane, snapshot: snapshot(), challenge: None };
    play.engine.handle(now, loaded, &play.entropy, &mut effects);
    let Some(Effect::Commit { commit, .. }) = effects.pop() else { panic!() };
    let start = Event::Start { request: Box::new(login.clone()), subject: Subject::Known(user), arrived: play.now };
    play.engine.handle(now, start, &play.entropy, &mut effects);
    let outcome = play.database.commit(&commit);
    play.feed(Event::Committed { lane, outcome });
    assert_eq!(play.windows_closed, [ClosingState::Collision]);
    // It came before anybody could know of the window: it is asked about.
    assert_eq!((play.verdict(login.id), play.asked.len()), (None, 1));
}

#[test]
fn s18_a_login_that_comes_when_the_first_is_about_to_be_let_in_still_spoils_it() {
    let mut farm = Farm::new();
    farm.opened();
    let mine = farm.comes();
    let (other, user) = (farm.login(), farm.play.alice);
    let (play, mut effects) = (&mut farm.play, Vec::new());
    play.now += SignInWindow::HOLD;
    let now = Now { wall: play.wall(), monotonic: play.now };
    play.engine.handle(now, Event::Tick, &play.entropy, &mut effects);
    let Some(Effect::Load { lane, .. }) = effects.pop() else { panic!() };
    let start = Event::Start { request: Box::new(other.clone()), subject: Subject::Known(user), arrived: play.now };
    play.engine.handle(now, start, &play.entropy, &mut effects);
    let snapshot = Ok(play.database.snapshot(user).map(Arc::new));
    play.feed(Event::Loaded { lane, snapshot, challenge: None });
    assert_eq!((play.rejected(mine), play.rejected(other.id)), (Reason::Collision, Reason::Collision));
    assert_eq!(play.windows_closed, [ClosingState::Collision]);
}

#[test]
fn s18_after_an_unapproved_login_no_window_is_opened_for_a_quarter_of_an_hour() {
    type Ending = (&'static str, fn(&mut Farm));
    let endings: [Ending; 6] = [
        ("denied", |farm| {
            farm.comes();
            farm.play.decide(farm.play.last_asked(), Decision::Deny);
        }),
        ("expired", |farm| {
            farm.comes();
            farm.play.go(60);
        }),
        ("collided", |farm| {
            farm.comes();
            farm.comes();
        }),
        ("a wrong code", |farm| {
            let request =
                LoginRequest { credential: Credential::Password(Secret::new(b"000000".to_vec())), ..farm.login() };
            farm.play.start(&request);
        }),
        ("given up", |farm| {
            let login = farm.comes();
            for _ in 0..2 {
                farm.play.go(2);
                farm.play.feed(Event::Heard(login));
            }
            farm.play.go(6);
        }),
        ("no device", |farm| {
            let phone = farm.play.phone;
            farm.play.database.devices.get_mut(&phone).unwrap().state = DeviceState::Suspended;
            farm.comes();
            farm.play.database.devices.get_mut(&phone).unwrap().state = DeviceState::Active;
        }),
    ];
    for (name, ending) in endings {
        let mut farm = Farm::new();
        ending(&mut farm);
        let ended = farm.play.wall();
        farm.play.go(899);
        let until = ended.plus(SignInWindow::AFTER_UNAPPROVED);
        assert_eq!(farm.refused(), WindowRefusal::LoginUnapproved { until }, "{name}");
        farm.play.go(1);
        farm.opened();
    }
    // One that was let in, and one elsewhere, keep nothing shut.
    let mut farm = Farm::new();
    farm.play.start(&farm.play.rdp());
    farm.play.decide(farm.play.last_asked(), Decision::Deny);
    farm.opened();
}

#[test]
fn s18_one_window_at_a_time_and_the_same_fields_get_the_same_answer() {
    let mut farm = Farm::new();
    let request = farm.request();
    let first = farm.ask(request.clone());
    farm.play.go(5);
    assert_eq!(farm.ask(request.clone()), first);
    assert_eq!(farm.refused(), WindowRefusal::AlreadyOpen);
    // Also by another device.
    let tablet = DeviceId::new(farm.play.wall(), &farm.play.entropy);
    farm.play.add_device(farm.play.alice, tablet, TotpSeed::new(&farm.play.entropy));
    let other = WindowRequest { device: tablet, ..farm.request() };
    assert_eq!(farm.ask(other), WindowAnswer::Refused(WindowRefusal::AlreadyOpen));
    let login = farm.comes();
    farm.play.go(3);
    assert_eq!(farm.play.verdict(login), Some(Verdict::accept()));
    // The identifier is used up for good, whatever asks.
    farm.play.go(3600);
    assert_eq!(farm.ask(request), WindowAnswer::Refused(WindowRefusal::Unavailable));
    assert_eq!(farm.states().len(), 1);
}

#[test]
fn s18_a_login_that_is_turned_away_unlooked_at_ends_a_window_and_keeps_it_shut() {
    let mut farm = Farm::new();
    farm.opened();
    let request = farm.login();
    let (arrived, reason) = (farm.play.now, Reason::NotAllowed);
    let subject = Subject::Refused { user: Some(farm.play.alice), reason, detail: None };
    farm.play.feed(Event::Start { request: Box::new(request.clone()), subject: subject.clone(), arrived });
    assert_eq!((farm.play.rejected(request.id), farm.play.alerts().len()), (Reason::NotAllowed, 0));
    assert_eq!(farm.play.windows_closed, [ClosingState::Cancelled]);
    farm.play.go(30);
    let until = farm.play.wall().plus(Duration::from_secs(870));
    assert_eq!(farm.refused(), WindowRefusal::LoginUnapproved { until });
    farm.play.go(870);
    // With one that is held it makes two.
    farm.opened();
    let mine = farm.comes();
    let other = farm.login();
    farm.play.feed(Event::Start { request: Box::new(other), subject, arrived: farm.play.now });
    assert_eq!((farm.play.rejected(mine), farm.play.alerts()), (Reason::Collision, vec!["window_spoilt"]));
}

#[test]
fn s18_six_windows_an_hour() {
    let mut farm = Farm::new();
    let begin = farm.play.wall();
    for _ in 0..6 {
        farm.opened();
        farm.play.go(60);
    }
    assert_eq!(farm.refused(), WindowRefusal::Spent { until: begin.plus(Duration::from_secs(3600)) });
    farm.play.go(3600 - 360);
    farm.opened();
}

#[test]
fn s18_whoever_may_not_log_on_opens_no_window_and_is_let_in_by_none() {
    let mut farm = Farm::new();
    let (alice, phone) = (farm.play.alice, farm.play.phone);
    let enable = |farm: &mut Farm, enabled| farm.play.database.users.get_mut(&alice).unwrap().enabled = enabled;
    let set = |farm: &mut Farm, state| farm.play.database.devices.get_mut(&phone).unwrap().state = state;
    enable(&mut farm, false);
    assert_eq!(farm.refused(), WindowRefusal::AccountDisabled);
    enable(&mut farm, true);
    set(&mut farm, DeviceState::Suspended);
    assert_eq!(farm.refused(), WindowRefusal::DeviceRemoved);
    set(&mut farm, DeviceState::Active);
    let other = WindowRequest { device: DeviceId::new(farm.play.wall(), &farm.play.entropy), ..farm.request() };
    assert_eq!(farm.ask(other), WindowAnswer::Refused(WindowRefusal::DeviceRemoved));

    farm.opened();
    let login = farm.comes();
    enable(&mut farm, false);
    farm.play.go(3);
    assert_eq!(
        (farm.play.rejected(login), farm.play.windows_closed.as_slice()),
        (Reason::UserDisabled, &[ClosingState::Cancelled][..])
    );

    let mut farm = Farm::new();
    let tablet = DeviceId::new(farm.play.wall(), &farm.play.entropy);
    farm.play.add_device(alice, tablet, TotpSeed::new(&farm.play.entropy));
    farm.opened();
    let login = farm.comes();
    set(&mut farm, DeviceState::Suspended);
    farm.play.go(3);
    assert_eq!(farm.play.rejected(login), Reason::NoDevice, "another device of the user does not speak for it");
}

#[test]
fn s10_after_a_report_no_window_is_opened_until_somebody_has_looked_at_it() {
    let mut farm = Farm::new();
    farm.play.start(&farm.play.rdp());
    farm.play.decide(farm.play.last_asked(), Decision::DenyReport);
    farm.play.go(10_000);
    assert_eq!(farm.refused(), WindowRefusal::Frozen);
    let scope = LimitScope::User(farm.play.alice);
    farm.play.database.limits.get_mut(&scope).unwrap().limits.unlock();
    farm.opened();
    // One that comes while a window is open shuts it.
    let login = farm.comes();
    farm.play.database.limits.get_mut(&scope).unwrap().limits.freeze();
    farm.play.go(3);
    assert_eq!(farm.play.rejected(login), Reason::Limited);
}

#[test]
fn s12_where_user_verification_is_required_none_is_opened_without() {
    let mut farm = Farm::new();
    for (policy, refused) in [(UserVerification::Required, true), (UserVerification::Preferred, false)] {
        let mut resource = (*farm.gateway.0).clone();
        resource.policy.user_verification = policy;
        let request = WindowRequest { resource: Arc::new(resource), ..farm.request() };
        let expected = if refused {
            WindowAnswer::Refused(WindowRefusal::UserVerificationRequired)
        } else {
            WindowAnswer::Open { expires_at: farm.play.wall().plus(SignInWindow::LIFE) }
        };
        assert_eq!(farm.ask(request), expected);
    }
}

#[test]
fn s18_windows_are_for_resources_that_can_show_nothing_and_check_nothing() {
    let mut farm = Farm::new();
    let prompting = Methods { code_to_phone: true, typed: false, totp: true };
    for resource in [
        (*farm.play.gateway.0).clone(),
        with_windows(&farm.play.rdp.0),
        Resource {
            policy: Policy { prompt: Some(prompting), ..farm.gateway.0.policy.clone() },
            ..(*farm.gateway.0).clone()
        },
        Resource {
            directory: Some(DirectoryId::new(farm.play.wall(), &farm.play.entropy)),
            ..(*farm.gateway.0).clone()
        },
    ] {
        let request = WindowRequest { resource: Arc::new(resource), ..farm.request() };
        assert_eq!(farm.ask(request), WindowAnswer::Refused(WindowRefusal::ApplicationUnknown));
    }
}

#[test]
fn s108_where_nothing_can_be_written_no_window_opens_and_none_lets_in() {
    let mut farm = Farm::new();
    farm.play.writable = false;
    assert_eq!(farm.refused(), WindowRefusal::Unavailable);
    farm.play.writable = true;
    farm.opened();
    let login = farm.comes();
    farm.play.writable = false;
    farm.play.go(3);
    assert_eq!(farm.play.rejected(login), Reason::Unavailable);
    assert_eq!(farm.play.windows_closed, [ClosingState::Cancelled]);
    farm.play.writable = true;
    farm.play.go(60);
    assert_eq!(farm.play.engine.figures().logins, 0);
    assert_eq!(farm.states(), [WindowState::Open], "what is left is closed at the next start");

    // Nor is it there any more for the next login when its end could not be written.
    let mut farm = Farm::new();
    farm.opened();
    farm.play.writable = false;
    farm.play.go(60);
    farm.play.writable = true;
    assert_eq!(farm.play.windows_closed, [ClosingState::Cancelled]);
}

#[test]
fn s18_a_server_that_has_just_started_knows_of_nobody_and_opens_no_window() {
    let mut play = Play::new();
    let (resource, client) = &play.gateway;
    let gateway = (Arc::new(with_windows(resource)), *client);
    play.go(29);
    let mut farm = Farm { play, gateway, next: 0 };
    let until = farm.play.wall().plus(Duration::from_secs(1));
    assert_eq!(farm.refused(), WindowRefusal::LoginUnderWay { until });
    farm.play.go(1);
    farm.opened();
}

#[test]
fn s18_a_typed_code_in_a_window_is_judged_as_a_code_and_uses_the_window_up() {
    for right in [true, false] {
        let mut farm = Farm::new();
        farm.opened();
        let code = if right { farm.play.code_now() } else { b"000000".to_vec() };
        let request = LoginRequest { credential: Credential::Password(Secret::new(code)), ..farm.login() };
        let login = farm.play.start(&request);
        if right {
            assert_eq!(farm.play.verdict(login), Some(Verdict::accept()));
        } else {
            assert_eq!(farm.play.rejected(login), Reason::CodeWrong);
        }
        assert_eq!(farm.play.windows_closed, [ClosingState::Cancelled]);
    }
}

#[test]
fn s96_a_clock_that_is_set_forward_closes_a_window() {
    let mut farm = Farm::new();
    farm.opened();
    farm.play.ahead = Duration::from_secs(60);
    let login = farm.comes();
    farm.play.go(3);
    assert_eq!((farm.play.verdict(login), farm.play.asked.len()), (None, 1), "it is asked about");
}
