//! The rules one by one, over a storage that answers at once.

mod chap;
mod directed;
mod eap;
mod ms_chap;
mod prompts;
mod unasked;
mod upstream;
mod verified;
mod windows;

use core::time::Duration;
use std::{collections::HashMap, sync::Arc};

use countersign_device_protocol::messages::{ContextDocument, Trust};
use countersign_domain::{
    Challenge, ChallengeId, ChallengeState, ClientId, ClosingState, Credential, Decision, DecisionRecord, Device,
    DeviceId, DevicePublicKey, DeviceState, Door, LimitScope, Limits, LoginId, LoginName, LoginRequest, PasswordHash,
    Primary, Reason, Resource, ResourceId, Retries, RetryKey, Secret, Source, Timestamp, TotpSeed, UpstreamAttributes,
    User, UserId, UserOrigin, UserVerificationReached, Verdict, totp,
};
use countersign_engine::{
    Against, Bounds, CommitFault, DecisionAnswer, Effect, Engine, Event, Notice, Now, PrimaryOutcome, SignatureCheck,
    Subject, Submission, WindowAnswer,
};
use countersign_testkit::SeededEntropy;

use crate::database::Database;

const START: i64 = 1_800_000_000;

/// The engine with everything around it played on the spot.
struct Play {
    engine: Engine,
    entropy: SeededEntropy,
    database: Database,
    available: bool,
    /// Whether the database takes writes.
    writable: bool,
    now: Duration,
    /// How far the wall clock was set forward.
    ahead: Duration,
    alice: UserId,
    phone: DeviceId,
    seed: TotpSeed,
    rdp: (Arc<Resource>, ClientId),
    vpn: (Arc<Resource>, ClientId),
    gateway: (Arc<Resource>, ClientId),
    wiki: (Arc<Resource>, ClientId),
    verdicts: HashMap<LoginId, Verdict>,
    asked: Vec<Arc<Challenge>>,
    closed: Vec<(ChallengeId, ClosingState)>,
    /// Challenges whose code a device has got.
    shown: Vec<ChallengeId>,
    answers: Vec<DecisionAnswer>,
    window_answers: Vec<WindowAnswer>,
    windows_closed: Vec<ClosingState>,
    passwords_checked: usize,
    /// What the directory says of a password that is not `right`.
    directory_says: PrimaryOutcome,
    /// What the servers say that logins are sent on to.
    upstream_says: PrimaryOutcome,
    /// What was sent on: the attributes, the password, and the time for an answer.
    sent_on: Vec<(UpstreamAttributes, Secret, Duration)>,
    /// What came of passwords that are looked at side by side; `None` while each is answered at once.
    side_by_side: Option<Vec<Event>>,
}

impl Play {
    fn new() -> Self {
        Self::with(Bounds::default())
    }

    fn with(bounds: Bounds) -> Self {
        let entropy = SeededEntropy::new(7);
        let at = Timestamp::from_seconds(START);
        let resource = |name: &str, primary| {
            let resource = Resource::new(ResourceId::new(at, &entropy), name, primary, at);
            (Arc::new(resource), ClientId::new(at, &entropy))
        };
        let mut play = Self {
            rdp: resource("Remote Desktop", Primary::Local),
            vpn: resource("VPN", Primary::Local),
            gateway: resource("Gateway", Primary::None),
            wiki: resource("Wiki", Primary::None),
            engine: Engine::new(bounds, Duration::ZERO, &entropy),
            database: Database::default(),
            available: true,
            writable: true,
            now: Duration::ZERO,
            ahead: Duration::ZERO,
            alice: UserId::new(at, &entropy),
            phone: DeviceId::new(at, &entropy),
            seed: TotpSeed::new(&entropy),
            verdicts: HashMap::new(),
            asked: Vec::new(),
            closed: Vec::new(),
            shown: Vec::new(),
            answers: Vec::new(),
            window_answers: Vec::new(),
            windows_closed: Vec::new(),
            passwords_checked: 0,
            directory_says: PrimaryOutcome::Wrong,
            upstream_says: PrimaryOutcome::Right,
            sent_on: Vec::new(),
            side_by_side: None,
            entropy,
        };
        let (alice, phone, seed) = (play.alice, play.phone, play.seed.clone());
        play.add_user(alice, "alice");
        play.add_device(alice, phone, seed);
        play
    }

    fn add_user(&mut self, id: UserId, name: &str) {
        let user = User {
            id,
            origin: UserOrigin::Local,
            name: LoginName::new(name).unwrap(),
            display_name: name.to_owned(),
            enabled: true,
            held: None,
            password: Some(PasswordHash::from_phc("hash".to_owned())),
            created_at: self.wall(),
        };
        self.database.users.insert(id, user);
    }

    fn add_device(&mut self, user: UserId, id: DeviceId, totp: TotpSeed) {
        let device = Device {
            id,
            user,
            name: "phone".into(),
            platform: "test".into(),
            key: DevicePublicKey { sec1: [4; 65], thumbprint: id.to_string() },
            state: DeviceState::Active,
            totp,
            totp_last_step: 0,
            passkey: None,
            push: None,
            created_at: self.wall(),
            seen: true,
        };
        self.database.devices.insert(id, device);
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_seconds(START).plus(self.now).plus(self.ahead)
    }

    fn request(&self, at: &(Arc<Resource>, ClientId), password: Option<&[u8]>) -> LoginRequest {
        LoginRequest {
            id: LoginId::new(self.wall(), &self.entropy),
            resource: Arc::clone(&at.0),
            client: at.1,
            client_name: "192.0.2.1".to_owned(),
            peer: [192, 0, 2, 1].into(),
            door: Door::Radius,
            user_typed: "alice".into(),
            credential: password.map_or(Credential::None, |p| Credential::Password(Secret::new(p.to_vec()))),
            source: Source { address: Some("198.51.100.7".into()) },
            retry: RetryKey { nas_port: Some(vec![0, 0, 0, 1]), ..RetryKey::default() },
            state: None,
            forward: None,
        }
    }

    fn rdp(&self) -> LoginRequest {
        self.request(&self.rdp, Some(b"right"))
    }

    fn gateway(&self) -> LoginRequest {
        self.request(&self.gateway, None)
    }

    /// Another login of the same user: by another port.
    fn another(&self, mut request: LoginRequest, port: u8) -> LoginRequest {
        request.id = LoginId::new(self.wall(), &self.entropy);
        request.retry.nas_port = Some(vec![0, 0, 0, port]);
        request
    }

    fn retry(&self, mut request: LoginRequest) -> LoginRequest {
        request.id = LoginId::new(self.wall(), &self.entropy);
        request
    }

    fn start(&mut self, request: &LoginRequest) -> LoginId {
        let known = self.database.users.values().find(|user| Some(user.name.as_str()) == request.user_typed.as_utf8());
        let subject = known.map_or(Subject::Unknown, |user| Subject::Known(user.id));
        self.feed(Event::Start { request: Box::new(request.clone()), subject, arrived: self.now });
        request.id
    }

    fn go(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.feed(Event::Tick);
    }

    fn decide(&mut self, challenge: ChallengeId, decision: Decision) -> DecisionAnswer {
        self.decide_as(self.alice, self.phone, challenge, decision, true)
    }

    fn decide_as(
        &mut self,
        user: UserId,
        device: DeviceId,
        challenge: ChallengeId,
        decision: Decision,
        signed: bool,
    ) -> DecisionAnswer {
        let record = Self::record(device, decision, "");
        self.submit(user, challenge, record, signed)
    }

    fn record(device: DeviceId, decision: Decision, number: &str) -> DecisionRecord {
        DecisionRecord {
            device,
            decision,
            number: number.to_owned(),
            user_verification: UserVerificationReached::None,
            device_time: "2027-01-15T08:00:00Z".to_owned(),
        }
    }

    fn submit(&mut self, user: UserId, challenge: ChallengeId, record: DecisionRecord, signed: bool) -> DecisionAnswer {
        let signature = SignatureCheck::new(move |_| signed);
        let submission = Box::new(Submission { record, signature, assertion: None });
        self.feed(Event::Decided { ticket: 1, user, challenge, submission });
        self.answers.pop().unwrap()
    }

    fn feed(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let now = Now { wall: self.wall(), monotonic: self.now };
            let mut effects = Vec::new();
            self.engine.handle(now, event, &self.entropy, &mut effects);
            for effect in effects {
                match effect {
                    Effect::Load { lane, user, challenge } => events.push(Event::Loaded {
                        lane,
                        snapshot: if self.available { Ok(self.database.snapshot(user).map(Arc::new)) } else { Err(()) },
                        challenge: challenge.and_then(|id| self.database.challenges.get(&id)).cloned().map(Box::new),
                    }),
                    Effect::CheckPrimary { login, against, password } => {
                        self.passwords_checked += 1;
                        let right = password.expose() == b"right";
                        let mut attributes = None;
                        let outcome = match against {
                            Against::Upstream { attributes: sent, budget, .. } => {
                                self.sent_on.push((sent, password, budget));
                                let right = self.upstream_says == PrimaryOutcome::Right;
                                attributes = right.then(|| UpstreamAttributes::new(b"of the upstream".to_vec()));
                                self.upstream_says
                            }
                            Against::Local { hash: Some(_) } | Against::Directory { entry: Some(_), .. } if right => {
                                PrimaryOutcome::Right
                            }
                            Against::Local { .. } => PrimaryOutcome::Wrong,
                            Against::Directory { .. } => self.directory_says,
                        };
                        let checked = Event::PrimaryChecked { login, outcome, attributes };
                        self.side_by_side.as_mut().unwrap_or(&mut events).push(checked);
                    }
                    Effect::Commit { lane, commit } => {
                        let works = self.available && self.writable;
                        let outcome = if works { self.database.commit(&commit) } else { Err(CommitFault::Unavailable) };
                        events.push(Event::Committed { lane, outcome });
                    }
                    Effect::Record(event) => self.database.audit.push(*event),
                    Effect::Verdict { login, verdict, .. } => {
                        assert!(self.verdicts.insert(login, verdict).is_none(), "two verdicts for one request");
                    }
                    Effect::Publish(Notice::Opened(challenge)) => self.asked.push(challenge),
                    Effect::Publish(Notice::CodeShown(id)) => self.shown.push(id),
                    Effect::Publish(Notice::Closed { id, state, .. }) => self.closed.push((id, state)),
                    Effect::Publish(Notice::WindowClosed { state, .. }) => self.windows_closed.push(state),
                    Effect::Answer { answer, .. } => self.answers.push(answer),
                    Effect::WindowAnswer { answer, .. } => self.window_answers.push(answer),
                }
            }
        }
    }

    fn verdict(&self, login: LoginId) -> Option<Verdict> {
        self.verdicts.get(&login).cloned()
    }

    /// Why a login was rejected.
    fn rejected(&self, login: LoginId) -> Reason {
        match self.verdict(login) {
            Some(Verdict::Reject { reason, .. }) => reason,
            other => panic!("not rejected: {other:?}"),
        }
    }

    fn last_asked(&self) -> ChallengeId {
        self.asked.last().expect("nobody was asked").id
    }

    fn alerts(&self) -> Vec<&'static str> {
        self.database.audit.iter().filter(|e| e.kind.as_str() == "alert").filter_map(|e| e.reason).collect()
    }

    fn code_now(&self) -> Vec<u8> {
        self.code_at(0)
    }

    fn code_at(&self, steps: i64) -> Vec<u8> {
        let step = u64::try_from(self.wall().as_seconds() / 30 + steps).unwrap();
        totp(self.seed.secret(), step).into_bytes()
    }
}

fn with_code(password: &[u8], code: &[u8]) -> Vec<u8> {
    [password, b",", code].concat()
}

#[test]
fn a_verify_lets_in_and_a_deny_does_not() {
    let mut play = Play::new();
    let login = play.start(&play.rdp());
    assert_eq!((play.verdict(login), play.asked.len()), (None, 1));
    assert_eq!(play.decide(play.last_asked(), Decision::Verify), DecisionAnswer::Taken(ClosingState::Approved));
    assert_eq!(play.verdict(login), Some(Verdict::accept()));

    let login = play.start(&play.rdp());
    assert_eq!(play.decide(play.last_asked(), Decision::Deny), DecisionAnswer::Taken(ClosingState::Denied));
    assert_eq!(play.verdict(login), Some(Verdict::Reject { reason: Reason::Denied, after_challenge: true }));
}

#[test]
fn s01_the_same_decision_gets_the_first_answer_and_another_one_is_refused() {
    let mut play = Play::new();
    play.start(&play.rdp());
    let challenge = play.last_asked();
    for _ in 0..3 {
        assert_eq!(play.decide(challenge, Decision::Verify), DecisionAnswer::Taken(ClosingState::Approved));
    }
    assert_eq!(play.decide(challenge, Decision::Deny), DecisionAnswer::Closed(ClosingState::Approved));
    let accepts = play.database.audit.iter().filter(|event| event.result == Some("accept")).count();
    assert_eq!(accepts, 1);
}

#[test]
fn s02_two_logins_that_know_the_password_are_both_refused() {
    let mut play = Play::new();
    let mine = play.start(&play.rdp());
    let mut other = play.another(play.rdp(), 2);
    other.source.address = Some("203.0.113.9".into());
    let other = play.start(&other);
    assert_eq!(play.rejected(mine), Reason::Collision);
    assert_eq!(play.rejected(other), Reason::Collision);
    assert_eq!(play.closed, [(play.asked[0].id, ClosingState::Collision)]);
    assert_eq!(play.asked.len(), 1, "the second login started no push");
    assert_eq!(play.decide(play.last_asked(), Decision::Verify), DecisionAnswer::Closed(ClosingState::Collision));
    assert_eq!(play.alerts(), ["collision"]);
}

#[test]
fn s02_starting_once_more_from_the_same_place_raises_no_alert() {
    let mut play = Play::new();
    let mine = play.start(&play.rdp());
    let again = play.start(&play.another(play.rdp(), 2));
    assert_eq!((play.rejected(mine), play.rejected(again)), (Reason::Collision, Reason::Collision));
    assert!(play.alerts().is_empty());
    let third = play.start(&play.another(play.rdp(), 3));
    play.decide(play.last_asked(), Decision::Verify);
    assert_eq!(play.verdict(third), Some(Verdict::accept()));
}

#[test]
fn c110_a_retry_of_the_same_login_takes_the_challenge_over() {
    let mut play = Play::new();
    let first = play.rdp();
    play.start(&first);
    play.go(10);
    let second = play.start(&play.retry(first.clone()));
    assert_eq!(play.verdict(first.id), Some(Verdict::Unanswered { reason: Reason::Superseded }));
    assert_eq!(play.asked.len(), 1, "one login, one push");
    assert_eq!(play.passwords_checked, 1, "an equal credential is not hashed again");
    play.decide(play.last_asked(), Decision::Verify);
    assert_eq!(play.verdict(second), Some(Verdict::accept()));
}

#[test]
fn a_takeover_happens_three_times_at_most_and_extends_nothing() {
    let mut play = Play::new();
    let first = play.rdp();
    play.start(&first);
    for _ in 0..3 {
        play.go(5);
        let retry = play.start(&play.retry(first.clone()));
        assert_eq!(play.verdict(retry), None);
    }
    let fourth = play.start(&play.retry(first.clone()));
    assert_eq!(play.rejected(fourth), Reason::Collision);

    let mut play = Play::new();
    let first = play.rdp();
    play.start(&first);
    play.go(50);
    let retry = play.start(&play.retry(first));
    play.go(10);
    assert_eq!(play.rejected(retry), Reason::Expired, "60 seconds after the first request, not after the retry");
}

#[test]
fn a_retry_needs_every_mark_and_the_credential_to_be_equal() {
    type Change = fn(&mut LoginRequest);
    let changes: [(&str, Change); 6] = [
        ("port", |r| r.retry.nas_port = Some(vec![9])),
        ("identifier of the NAS", |r| r.retry.nas_identifier = Some(b"nas".to_vec())),
        ("session", |r| r.retry.acct_session_id = Some(b"1".to_vec())),
        ("source", |r| r.source.address = Some("203.0.113.9".into())),
        ("no source", |r| r.source.address = None),
        ("no mark", |r| r.retry = RetryKey::default()),
    ];
    for (what, change) in changes {
        let mut play = Play::new();
        let first = play.rdp();
        play.start(&first);
        let mut retry = play.retry(first.clone());
        change(&mut retry);
        play.start(&retry);
        assert_eq!(play.rejected(first.id), Reason::Collision, "{what}");
        assert_eq!(play.rejected(retry.id), Reason::Collision, "{what}");
    }
    // Every mark copied, the password not known: neither joins nor disturbs.
    let mut play = Play::new();
    let first = play.rdp();
    play.start(&first);
    let mut other = play.retry(first.clone());
    other.credential = Credential::Password(Secret::new(b"wrong".to_vec()));
    play.start(&other);
    assert_eq!(play.rejected(other.id), Reason::PasswordWrong);
    assert_eq!(play.verdict(first.id), None);
}

#[test]
fn a_resource_can_switch_joining_off() {
    let mut play = Play::new();
    let mut resource = (*play.rdp.0).clone();
    resource.retries = Retries::Collide;
    play.rdp.0 = Arc::new(resource);
    let first = play.rdp();
    play.start(&first);
    let second = play.start(&play.retry(first.clone()));
    assert_eq!((play.rejected(first.id), play.rejected(second)), (Reason::Collision, Reason::Collision));
}

#[test]
fn the_older_request_heard_again_after_a_takeover_is_a_collision() {
    let mut play = Play::new();
    let first = play.rdp();
    play.start(&first);
    let second = play.start(&play.retry(first.clone()));
    play.feed(Event::Heard(first.id));
    assert_eq!(play.rejected(second), Reason::Collision);
    assert_eq!(play.alerts(), ["collision"], "though both say that they come from the same place");
    assert_eq!(play.engine.figures().logins, 0);
}

#[test]
fn s108_the_collision_stands_when_it_cannot_be_recorded() {
    let mut play = Play::new();
    let first = play.rdp();
    play.start(&first);
    let second = play.start(&play.retry(first.clone()));
    play.available = false;
    play.feed(Event::Heard(first.id));
    assert_eq!(play.rejected(second), Reason::Unavailable);
    play.available = true;
    assert_eq!(play.decide(play.last_asked(), Decision::Verify), DecisionAnswer::Closed(ClosingState::Cancelled));
    assert_eq!(play.engine.figures().logins, 0);
}

#[test]
fn s108_of_two_logins_that_collide_none_waits_on_when_it_cannot_be_recorded() {
    let mut play = Play::new();
    let first = play.start(&play.rdp());
    play.writable = false;
    let second = play.start(&play.another(play.rdp(), 2));
    assert_eq!((play.rejected(first), play.rejected(second)), (Reason::Unavailable, Reason::Unavailable));
    assert_eq!(play.closed, [(play.last_asked(), ClosingState::Cancelled)], "the phone is told");
    play.writable = true;
    assert_eq!(play.decide(play.last_asked(), Decision::Verify), DecisionAnswer::Closed(ClosingState::Cancelled));
    assert_eq!(play.engine.figures().logins, 0);
}

#[test]
fn c008_a_newer_request_in_the_same_place_ends_the_older_one_unanswered() {
    let mut play = Play::new();
    let first = play.start(&play.rdp());
    play.feed(Event::Superseded(first));
    let second = play.start(&play.another(play.rdp(), 1));
    assert_eq!(play.verdict(first), Some(Verdict::Unanswered { reason: Reason::Superseded }));
    assert_eq!(play.closed, [(play.asked[0].id, ClosingState::Superseded)]);
    assert_eq!(play.decide(play.asked[0].id, Decision::Verify), DecisionAnswer::Closed(ClosingState::Superseded));
    play.decide(play.asked[1].id, Decision::Verify);
    assert_eq!(play.verdict(second), Some(Verdict::accept()));
}

#[test]
fn a_client_that_proves_nothing_cannot_end_a_login_elsewhere() {
    // The login that checked a password stays.
    let mut play = Play::new();
    let proved = play.start(&play.rdp());
    let unproved = play.start(&play.gateway());
    assert_eq!(play.rejected(unproved), Reason::Collision);
    play.decide(play.last_asked(), Decision::Verify);
    assert_eq!(play.verdict(proved), Some(Verdict::accept()));

    // And it takes the place of one that proved nothing.
    let mut play = Play::new();
    let unproved = play.start(&play.gateway());
    let proved = play.start(&play.rdp());
    assert_eq!(play.rejected(unproved), Reason::Collision);
    assert_eq!(play.closed, [(play.asked[0].id, ClosingState::Collision)]);
    play.decide(play.asked[1].id, Decision::Verify);
    assert_eq!(play.verdict(proved), Some(Verdict::accept()));

    // Between two that prove nothing the first one stays.
    let mut play = Play::new();
    let first = play.start(&play.gateway());
    let second = play.start(&play.request(&play.wiki, None));
    assert_eq!((play.verdict(first), play.rejected(second)), (None, Reason::Collision));

    // At one resource both are refused.
    let mut play = Play::new();
    let first = play.start(&play.gateway());
    let second = play.start(&play.another(play.gateway(), 2));
    assert_eq!((play.rejected(first), play.rejected(second)), (Reason::Collision, Reason::Collision));
}

#[test]
fn two_resources_that_check_passwords_collide() {
    let mut play = Play::new();
    let first = play.start(&play.rdp());
    let second = play.start(&play.request(&play.vpn, Some(b"right")));
    assert_eq!((play.rejected(first), play.rejected(second)), (Reason::Collision, Reason::Collision));
}

#[test]
fn s08_a_wrong_password_asks_nobody() {
    let mut play = Play::new();
    for _ in 0..20 {
        let login = play.start(&play.request(&play.rdp, Some(b"wrong")));
        assert!(matches!(play.rejected(login), Reason::PasswordWrong | Reason::Limited));
    }
    assert!(play.asked.is_empty());
    assert_eq!(play.passwords_checked, 8, "then it is not even looked at for a while");
    assert_eq!(play.alerts(), ["password_paused"]);
    play.go(31);
    let login = play.start(&play.rdp());
    assert_eq!(play.verdict(login), None);
}

#[test]
fn s09_twenty_five_logins_make_three_pushes_and_codes_still_work() {
    let mut play = Play::new();
    for number in 0..25 {
        let login = play.start(&play.another(play.rdp(), number));
        if play.verdict(login).is_none() {
            play.decide(play.last_asked(), Decision::Verify);
        }
        play.go(20);
    }
    assert_eq!(play.asked.len(), 3);
    let login = play.start(&play.request(&play.rdp, Some(&with_code(b"right", &play.code_now()))));
    assert_eq!(play.verdict(login), Some(Verdict::accept()));
}

#[test]
fn c118_three_ignored_pushes_pause_further_ones() {
    let mut play = Play::new();
    for _ in 0..3 {
        let login = play.start(&play.rdp());
        play.go(61);
        assert_eq!(play.rejected(login), Reason::Expired);
    }
    play.go(500);
    let login = play.start(&play.rdp());
    assert_eq!(play.rejected(login), Reason::Limited);
    assert_eq!(play.alerts(), ["push_paused"]);
    play.go(900);
    let login = play.start(&play.rdp());
    assert_eq!(play.verdict(login), None);
}

#[test]
fn s10_a_report_freezes_pushes_everywhere_until_somebody_unlocks() {
    let mut play = Play::new();
    let login = play.start(&play.gateway());
    play.decide(play.last_asked(), Decision::DenyReport);
    assert_eq!(play.rejected(login), Reason::DeniedReported);
    assert_eq!(play.alerts(), ["reported"]);
    play.go(100_000);
    let login = play.start(&play.rdp());
    assert_eq!(play.rejected(login), Reason::Limited);
    for limits in play.database.limits.values_mut() {
        limits.limits.unlock();
    }
    let login = play.start(&play.rdp());
    assert_eq!(play.verdict(login), None);
}

#[test]
fn s10_a_report_is_taken_for_ten_minutes_after_the_end() {
    let mut play = Play::new();
    play.start(&play.rdp());
    play.start(&play.another(play.rdp(), 2));
    let challenge = play.last_asked();
    assert_eq!(play.decide(challenge, Decision::DenyReport), DecisionAnswer::Taken(ClosingState::Collision));
    let login = play.start(&play.rdp());
    assert_eq!(play.rejected(login), Reason::Limited);

    let mut play = Play::new();
    play.start(&play.rdp());
    play.decide(play.last_asked(), Decision::Verify);
    play.go(601);
    assert_eq!(play.decide(play.last_asked(), Decision::DenyReport), DecisionAnswer::Closed(ClosingState::Approved));
}

#[test]
fn pushes_of_a_client_that_proves_nothing_are_paused_there_only() {
    let mut play = Play::new();
    for _ in 0..3 {
        play.start(&play.gateway());
        play.go(61);
    }
    let login = play.start(&play.gateway());
    assert_eq!(play.rejected(login), Reason::Limited);
    let login = play.start(&play.rdp());
    assert_eq!(play.verdict(login), None);
}

#[test]
fn too_many_unapproved_pushes_stop_pushes_at_that_resource() {
    let mut play = Play::with(Bounds { unapproved_per_resource: 4, ..Bounds::default() });
    for number in 0..4 {
        let id = UserId::new(play.wall(), &play.entropy);
        let (device, seed) = (DeviceId::new(play.wall(), &play.entropy), TotpSeed::new(&play.entropy));
        let name = format!("user{number}");
        play.add_user(id, &name);
        play.add_device(id, device, seed);
        let mut request = play.gateway();
        request.user_typed = (*name).into();
        play.start(&request);
    }
    play.go(61);
    assert_eq!(play.alerts(), ["push_stopped_at_resource"]);
    let login = play.start(&play.gateway());
    assert_eq!(play.rejected(login), Reason::Limited);
    let login = play.start(&play.rdp());
    assert_eq!(play.verdict(login), None, "elsewhere nothing is stopped");
}

#[test]
fn s14_c111_the_answer_comes_before_the_client_gives_up() {
    let mut play = Play::new();
    let mut resource = (*play.rdp.0).clone();
    resource.answer_by = Duration::from_secs(10);
    play.rdp.0 = Arc::new(resource);
    let login = play.start(&play.rdp());
    play.now += Duration::from_secs(10);
    // The timer has not fired; the decision finds the end by itself.
    assert_eq!(play.decide(play.last_asked(), Decision::Verify), DecisionAnswer::Closed(ClosingState::Expired));
    assert_eq!(play.verdict(login), Some(Verdict::Reject { reason: Reason::Expired, after_challenge: true }));
}

#[test]
fn s14_turning_the_clock_back_extends_nothing() {
    let mut play = Play::new();
    let login = play.start(&play.rdp());
    play.now += Duration::from_secs(61);
    let challenge = play.last_asked();
    // The wall clock says that no time has passed.
    play.database.challenges.get_mut(&challenge).unwrap().expires_at = Timestamp::from_seconds(START + 100_000);
    assert_eq!(play.decide(challenge, Decision::Verify), DecisionAnswer::Closed(ClosingState::Expired));
    assert_eq!(play.rejected(login), Reason::Expired);
}

#[test]
fn s15_a_user_who_was_disabled_in_the_meantime_is_not_let_in() {
    let mut play = Play::new();
    let login = play.start(&play.rdp());
    play.database.users.get_mut(&play.alice).unwrap().enabled = false;
    assert_eq!(play.decide(play.last_asked(), Decision::Verify), DecisionAnswer::AccountDisabled);
    assert_eq!(play.rejected(login), Reason::UserDisabled);
}

#[test]
fn s16_only_devices_that_were_asked_may_answer() {
    let mut play = Play::new();
    let login = play.start(&play.rdp());
    let challenge = play.last_asked();
    // Another user's device.
    let (mallory, hers) = (UserId::new(play.wall(), &play.entropy), DeviceId::new(play.wall(), &play.entropy));
    let seed = TotpSeed::new(&play.entropy);
    play.add_user(mallory, "mallory");
    play.add_device(mallory, hers, seed);
    assert_eq!(play.decide_as(mallory, hers, challenge, Decision::Verify, true), DecisionAnswer::NotFound);
    // A device of the same user that came later.
    let (late, seed) = (DeviceId::new(play.wall(), &play.entropy), TotpSeed::new(&play.entropy));
    play.add_device(play.alice, late, seed);
    assert_eq!(play.decide_as(play.alice, late, challenge, Decision::Verify, true), DecisionAnswer::NotFound);
    // Removed, and suspended.
    for state in [DeviceState::Removed, DeviceState::Suspended] {
        play.database.devices.get_mut(&play.phone).unwrap().state = state;
        assert_eq!(play.decide(challenge, Decision::Verify), DecisionAnswer::DeviceRemoved);
    }
    // A signature that is not over this.
    play.database.devices.get_mut(&play.phone).unwrap().state = DeviceState::Active;
    let wrong = play.decide_as(play.alice, play.phone, challenge, Decision::Verify, false);
    assert_eq!(wrong, DecisionAnswer::SignatureInvalid);
    assert_eq!(play.verdict(login), None, "nothing of it counted");
    play.decide(challenge, Decision::Verify);
    assert_eq!(play.verdict(login), Some(Verdict::accept()));
}

#[test]
fn s13_the_context_is_made_here_escaped_and_says_how_far_it_is_known() {
    let mut play = Play::new();
    let mut request = play.rdp();
    request.source.address = Some("10.0.0.1\u{202E}gnp.exe<script>".into());
    play.start(&request);
    let context: ContextDocument = serde_json::from_slice(&play.asked[0].context).unwrap();
    let client = context.client.unwrap();
    assert_eq!((&*client.address, client.trust), ("10.0.0.1\\u{202e}gnp.exe<script>", Trust::Reported));
    assert_eq!((&*context.application.name, &*context.user, &*context.protocol), ("Remote Desktop", "alice", "radius"));
    assert_eq!(context.expires_at.as_second() - context.requested_at.as_second(), 60);
    assert!(context.recent_approval.is_none());
    play.decide(play.last_asked(), Decision::Verify);
    play.go(30);
    let mut request = play.request(&play.vpn, Some(b"right"));
    request.source.address = None;
    play.start(&request);
    let context: ContextDocument = serde_json::from_slice(&play.asked[1].context).unwrap();
    assert!(context.client.is_none());
    assert_eq!(context.recent_approval.unwrap().application, "Remote Desktop");
}

#[test]
fn s20_wrong_codes_are_counted_on_the_account_wherever_they_are_typed() {
    let mut play = Play::new();
    let mut evaluated = 0;
    for number in 0..200_u32 {
        let at = if number % 2 == 0 { &play.rdp } else { &play.gateway };
        let guess = format!("{number:06}");
        let typed = if number % 2 == 0 { with_code(b"right", guess.as_bytes()) } else { guess.into_bytes() };
        let login = play.start(&play.request(at, Some(&typed)));
        evaluated += u32::from(play.rejected(login) == Reason::CodeWrong);
    }
    assert_eq!(evaluated, 5);
    assert_eq!(play.alerts(), ["codes_paused"]);
    let login = play.start(&play.request(&play.gateway, Some(&play.code_now())));
    assert_eq!(play.rejected(login), Reason::Limited, "a right one too, while paused");
}

#[test]
fn s21_a_right_password_forgives_no_wrong_code() {
    let mut play = Play::new();
    for _ in 0..4 {
        play.start(&play.request(&play.rdp, Some(&with_code(b"right", b"000000"))));
    }
    play.start(&play.rdp());
    play.decide(play.last_asked(), Decision::Verify);
    play.start(&play.request(&play.rdp, Some(&with_code(b"right", b"000000"))));
    let login = play.start(&play.request(&play.rdp, Some(&with_code(b"right", &play.code_now()))));
    assert_eq!(play.rejected(login), Reason::Limited);
}

#[test]
fn s21_of_many_passwords_at_once_no_more_count_than_one_after_the_other() {
    let mut play = Play::new();
    play.side_by_side = Some(Vec::new());
    let mut typed = vec![b"wrong".as_slice(); 40];
    typed.push(b"right");
    let logins: Vec<_> = typed.iter().map(|typed| play.start(&play.request(&play.rdp, Some(typed)))).collect();
    assert_eq!(play.passwords_checked, 41);
    for checked in play.side_by_side.take().unwrap() {
        play.feed(checked);
    }
    let reasons: Vec<_> = logins.iter().map(|login| play.rejected(*login)).collect();
    assert!(reasons[..8].iter().all(|reason| *reason == Reason::PasswordWrong));
    assert!(reasons[8..].iter().all(|reason| *reason == Reason::Limited), "the right one too: {reasons:?}");
    assert!(play.asked.is_empty());
    assert_eq!(play.alerts(), ["password_paused"]);
    play.go(31);
    let login = play.start(&play.rdp());
    assert_eq!(play.verdict(login), None, "thirty seconds later it is looked at");
}

#[test]
fn s22_c038_a_code_is_taken_once_and_never_an_older_one_after_a_newer() {
    let mut play = Play::new();
    let (now, older) = (play.code_now(), play.code_at(-1));
    let login = play.start(&play.request(&play.gateway, Some(&now)));
    assert_eq!(play.verdict(login), Some(Verdict::accept()));
    for code in [now, older] {
        let login = play.start(&play.request(&play.gateway, Some(&code)));
        assert_eq!(play.rejected(login), Reason::CodeUsed);
    }
    play.go(30);
    let login = play.start(&play.request(&play.gateway, Some(&play.code_now())));
    assert_eq!(play.verdict(login), Some(Verdict::accept()));
}

#[test]
fn s22_s20_the_code_accepted_last_is_refused_without_end_and_counts_as_no_guess() {
    let mut play = Play::new();
    let used = play.code_now();
    let login = play.start(&play.request(&play.gateway, Some(&used)));
    assert_eq!(play.verdict(login), Some(Verdict::accept()));
    // In the step after its own as well, and with a password that was wrong before.
    play.start(&play.request(&play.rdp, Some(b"wrong")));
    for seconds in [0, 30] {
        play.go(seconds);
        for number in 0..10 {
            let typed = with_code(b"right", &used);
            let (at, typed) = if number % 2 == 0 { (&play.gateway, &used) } else { (&play.rdp, &typed) };
            let login = play.start(&play.request(at, Some(typed)));
            assert_eq!(play.rejected(login), Reason::CodeUsed);
        }
    }
    assert!(play.alerts().is_empty());
    let recorded = play.database.audit.iter().filter(|event| event.reason == Some("code_used")).count();
    assert_eq!(recorded, 20, "each has its record");
    let scope = LimitScope::User(play.alice);
    assert_eq!(play.database.limits[&scope].limits, Limits::default(), "the wrong password is forgiven all the same");
    let login = play.start(&play.request(&play.gateway, Some(&play.code_now())));
    assert_eq!(play.verdict(login), Some(Verdict::accept()));
}

#[test]
fn s22_s20_a_code_older_than_the_last_one_counts_as_a_guess() {
    let mut play = Play::new();
    let older = play.code_at(-1);
    let login = play.start(&play.request(&play.gateway, Some(&play.code_now())));
    assert_eq!(play.verdict(login), Some(Verdict::accept()));
    for _ in 0..5 {
        let login = play.start(&play.request(&play.gateway, Some(&older)));
        assert_eq!(play.rejected(login), Reason::CodeUsed);
    }
    assert_eq!(play.alerts(), ["codes_paused"]);
    let login = play.start(&play.request(&play.gateway, Some(&play.code_at(1))));
    assert_eq!(play.rejected(login), Reason::Limited);
}

#[test]
fn s23_c048_what_is_no_code_is_neither_compared_nor_counted() {
    let mut play = Play::new();
    for typed in ["right", "12345", " 123456", "1234567", "٠١٢٣٤٥"] {
        for _ in 0..3 {
            let login = play.start(&play.request(&play.gateway, Some(typed.as_bytes())));
            assert_eq!(play.rejected(login), Reason::CodeWrong);
        }
    }
    let login = play.start(&play.request(&play.gateway, Some(&play.code_now())));
    assert_eq!(play.verdict(login), Some(Verdict::accept()));
}

#[test]
fn s56_c030_an_empty_password_is_refused_before_anything_is_asked() {
    let mut play = Play::new();
    let empty_before_a_code = with_code(b"", &play.code_now());
    for typed in [None, Some(&b""[..]), Some(b"\0"), Some(b"\0abc"), Some(&empty_before_a_code)] {
        let login = play.start(&play.request(&play.rdp, typed));
        assert_eq!(play.rejected(login), Reason::PasswordWrong);
    }
    assert_eq!((play.passwords_checked, play.asked.len()), (0, 0));
}

#[test]
fn s67_a_wrong_password_burns_no_code_and_counts_as_no_wrong_code() {
    let mut play = Play::new();
    let code = play.code_now();
    for _ in 0..6 {
        let login = play.start(&play.request(&play.rdp, Some(&with_code(b"wrong", &code))));
        assert_eq!(play.rejected(login), Reason::PasswordWrong);
    }
    let login = play.start(&play.request(&play.rdp, Some(&with_code(b"right", &code))));
    assert_eq!(play.verdict(login), Some(Verdict::accept()));
}

#[test]
fn s67_who_has_no_codes_may_have_a_password_that_looks_like_one() {
    let mut play = Play::new();
    play.database.devices.clear();
    let login = play.start(&play.request(&play.rdp, Some(b"right,123456")));
    assert_eq!(play.rejected(login), Reason::PasswordWrong, "the whole was tried, and is not the password");
    let login = play.start(&play.rdp());
    assert_eq!(play.rejected(login), Reason::NoDevice);
}

#[test]
fn s29_who_has_no_device_is_refused() {
    let mut play = Play::new();
    play.database.devices.get_mut(&play.phone).unwrap().state = DeviceState::Suspended;
    let push = play.start(&play.gateway());
    let code = play.start(&play.request(&play.gateway, Some(&play.code_now())));
    assert_eq!((play.rejected(push), play.rejected(code)), (Reason::NoDevice, Reason::NoDevice));
}

#[test]
fn s107_nobody_costs_the_same_work_as_somebody() {
    let mut play = Play::new();
    let mut request = play.rdp();
    request.user_typed = "nobody".into();
    let login = play.start(&request);
    assert_eq!((play.rejected(login), play.passwords_checked), (Reason::UserUnknown, 1));
    assert_eq!(play.engine.figures().logins, 0);
}

#[test]
fn s105_one_client_cannot_use_more_than_its_share_and_nothing_old_is_dropped() {
    let mut play = Play::with(Bounds { logins: 5, logins_per_client: 3, ..Bounds::default() });
    let mut names = (0..8).map(|n| format!("user{n}")).collect::<Vec<_>>();
    for name in &names {
        let (id, device) = (UserId::new(play.wall(), &play.entropy), DeviceId::new(play.wall(), &play.entropy));
        let seed = TotpSeed::new(&play.entropy);
        play.add_user(id, name);
        play.add_device(id, device, seed);
    }
    let mut ask = |play: &mut Play, at: (Arc<Resource>, ClientId)| {
        let mut request = play.request(&at, None);
        request.user_typed = (*names.pop().unwrap()).into();
        play.start(&request)
    };
    let (gateway, wiki) = (play.gateway.clone(), play.wiki.clone());
    let flood: Vec<_> = (0..5).map(|_| ask(&mut play, gateway.clone())).collect();
    assert_eq!(flood.iter().filter(|login| play.verdict(**login).is_none()).count(), 3);
    assert_eq!(play.rejected(flood[4]), Reason::Limited);
    let others: Vec<_> = (0..3).map(|_| ask(&mut play, wiki.clone())).collect();
    assert_eq!((play.verdict(others[0]), play.verdict(others[1])), (None, None));
    assert_eq!(play.rejected(others[2]), Reason::Limited, "the whole server is full");
    play.go(61);
    assert_eq!(play.engine.figures().logins, 0);
}

#[test]
fn s97_s108_without_storage_nobody_is_let_in() {
    let mut play = Play::new();
    play.available = false;
    let login = play.start(&play.rdp());
    assert_eq!(play.rejected(login), Reason::Unavailable);
    play.available = true;
    let login = play.start(&play.rdp());
    play.available = false;
    assert_eq!(play.decide(play.last_asked(), Decision::Verify), DecisionAnswer::Unavailable);
    assert_eq!(play.verdict(login), None);
    play.available = true;
    play.decide(play.last_asked(), Decision::Verify);
    assert_eq!(play.verdict(login), Some(Verdict::accept()), "the decision counts once it can be written");
}

#[test]
fn a_client_that_has_given_up_cancels_the_challenge() {
    let mut play = Play::new();
    let login = play.start(&play.rdp());
    for _ in 0..2 {
        play.go(5);
        play.feed(Event::Heard(login));
    }
    play.go(14);
    assert_eq!(play.verdict(login), None);
    play.go(1);
    assert_eq!(play.verdict(login), Some(Verdict::Unanswered { reason: Reason::Cancelled }));
    assert_eq!(play.closed, [(play.last_asked(), ClosingState::Cancelled)]);
}

#[test]
fn after_a_restart_a_decision_reaches_nobody() {
    let mut play = Play::new();
    let login = play.start(&play.rdp());
    play.engine = Engine::new(Bounds::default(), play.now, &play.entropy);
    assert_eq!(play.decide(play.last_asked(), Decision::Verify), DecisionAnswer::Closed(ClosingState::Cancelled));
    assert_eq!(play.verdict(login), None);
    let state = &play.database.challenges[&play.last_asked()].state;
    assert!(matches!(state, ChallengeState::Closed(closing) if closing.state == ClosingState::Cancelled));
}
