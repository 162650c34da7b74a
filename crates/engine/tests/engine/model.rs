//! The engine against random logins, retries, decisions, codes, outages, crashes and clock jumps in simulated time.
//!
//! Each run follows from its seed, which is printed when a run fails: `COUNTERSIGN_SEED=n cargo test -p
//! countersign-engine model`. `COUNTERSIGN_SOAK_SEEDS` sets how many seeds are run.

use core::time::Duration;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, HashSet},
    sync::Arc,
};

use countersign_domain::{
    Challenge, ChallengeId, ChallengeState, ClientId, Closing, ClosingState, Commit, Credential, Decision,
    DecisionRecord, Device, DeviceId, DevicePublicKey, DeviceState, DirectoryId, Door, EntryId, HostileText,
    LimitScope, Lockout, LoginId, LoginName, LoginRequest, PasswordHash, Primary, Reason, Resource, ResourceId,
    Retries, RetryKey, Secret, Source, Timestamp, TotpSeed, User, UserId, UserOrigin, UserVerificationReached, Verdict,
    totp,
};
use countersign_engine::{
    Against, Bounds, CommitFault, DecisionAnswer, Effect, Engine, Event, Lane, Notice, Now, PrimaryOutcome,
    SignatureCheck, Subject, Submission,
};
use countersign_testkit::SeededEntropy;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::database::Database;

const PASSWORD: &[u8] = b"right";
const LOCKOUT: Lockout = Lockout { threshold: 3, window: Duration::from_secs(120) };

#[test]
fn s02_s14_s22_s97_no_run_breaks_a_rule() {
    let only = std::env::var("COUNTERSIGN_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let seeds = std::env::var("COUNTERSIGN_SOAK_SEEDS").ok().and_then(|n| n.parse::<u64>().ok()).unwrap_or(400);
    let mut seen = Tally::default();
    for seed in only.map_or(0..seeds, |seed| seed..seed + 1) {
        let run = std::panic::catch_unwind(|| World::new(seed).run());
        match run {
            Ok(tally) => seen.add(&tally),
            Err(cause) => {
                eprintln!("model: seed {seed} breaks a rule; run it alone with COUNTERSIGN_SEED={seed}");
                std::panic::resume_unwind(cause);
            }
        }
    }
    eprintln!("model: {seen:?}");
    if only.is_none() && seeds >= 400 {
        // The runs are worth nothing when they do not get to the interesting places.
        let Tally { accepted_push, accepted_code, collisions, takeovers, expired, crashes, limited, code_used, .. } =
            seen;
        let wrong = seen.wrong_in_directory;
        for reached in
            [accepted_push, accepted_code, collisions, takeovers, expired, crashes, limited, code_used, wrong]
        {
            assert!(reached > 20, "{seen:?}");
        }
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    logins: u64,
    accepted_push: u64,
    accepted_code: u64,
    collisions: u64,
    takeovers: u64,
    expired: u64,
    denied: u64,
    limited: u64,
    code_used: u64,
    unavailable: u64,
    crashes: u64,
    wrong_in_directory: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.logins += other.logins;
        self.accepted_push += other.accepted_push;
        self.accepted_code += other.accepted_code;
        self.collisions += other.collisions;
        self.takeovers += other.takeovers;
        self.expired += other.expired;
        self.denied += other.denied;
        self.limited += other.limited;
        self.code_used += other.code_used;
        self.unavailable += other.unavailable;
        self.crashes += other.crashes;
        self.wrong_in_directory += other.wrong_in_directory;
    }
}

/// Something that is going to happen.
#[derive(Debug)]
enum Action {
    Start(Box<LoginRequest>),
    Heard(LoginId),
    Superseded(LoginId),
    Load { lane: Lane, user: UserId, challenge: Option<ChallengeId>, incarnation: u32 },
    Checked { login: LoginId, outcome: PrimaryOutcome, incarnation: u32 },
    Write { lane: Lane, commit: Box<Commit>, incarnation: u32 },
    Written { lane: Lane, outcome: Result<(), CommitFault>, incarnation: u32 },
    Decide { device: DeviceId, challenge: ChallengeId, decision: Decision },
    Tick,
    Crash,
    ClockJump(i64),
    SetEnabled(UserId, bool),
    Outage(bool),
}

/// What the model knows of a login that the engine does not.
struct Known {
    request: LoginRequest,
    user: Option<UserId>,
    /// Requests with the same origin are one person's one attempt and its retries.
    origin: u64,
    verdict: Option<Verdict>,
    started: Duration,
    incarnation: u32,
}

struct World {
    rng: ChaCha8Rng,
    entropy: SeededEntropy,
    engine: Engine,
    incarnation: u32,
    database: Database,
    available: bool,
    monotonic: Duration,
    wall_offset: i64,
    jumps: bool,
    /// How late timers fire.
    late: Duration,
    disabled_since: HashMap<UserId, Duration>,
    queue: BinaryHeap<Reverse<(Duration, u64)>>,
    actions: HashMap<u64, Action>,
    next_action: u64,
    resources: Vec<(Arc<Resource>, ClientId)>,
    users: Vec<(UserId, String)>,
    /// Users who come from the directory.
    entries: Vec<(UserId, String)>,
    wrong_in_directory: HashMap<EntryId, (u32, Duration)>,
    /// Nothing has kept a wrong password from being counted so far.
    undisturbed: bool,
    logins: BTreeMap<LoginId, Known>,
    origins: u64,
    /// Who began the login that a challenge was made for.
    origin_of_challenge: HashMap<ChallengeId, u64>,
    opened: HashMap<LimitScope, Vec<Timestamp>>,
    accepted_steps: HashSet<(DeviceId, u64)>,
    accepted_challenges: HashSet<ChallengeId>,
    /// Collisions between logins that both proved a password, by user: neither may be let in.
    collided: HashSet<LoginId>,
    next_ticket: u64,
    answered: HashSet<u64>,
    asked: HashMap<u64, u32>,
    tally: Tally,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let entropy = SeededEntropy::new(seed);
        let bounds = Bounds { logins: rng.random_range(3..50), logins_per_client: 20, unapproved_per_resource: 10 };
        let mut world = Self {
            engine: Engine::new(bounds, &entropy),
            entropy,
            incarnation: 0,
            database: Database::default(),
            available: true,
            monotonic: Duration::ZERO,
            wall_offset: 1_800_000_000_000_000,
            jumps: rng.random_ratio(1, 3),
            late: Duration::from_millis(rng.random_range(0..8000)),
            disabled_since: HashMap::new(),
            queue: BinaryHeap::new(),
            actions: HashMap::new(),
            next_action: 0,
            resources: Vec::new(),
            users: Vec::new(),
            entries: Vec::new(),
            wrong_in_directory: HashMap::new(),
            undisturbed: true,
            logins: BTreeMap::new(),
            origins: 0,
            origin_of_challenge: HashMap::new(),
            opened: HashMap::new(),
            accepted_steps: HashSet::new(),
            accepted_challenges: HashSet::new(),
            collided: HashSet::new(),
            next_ticket: 0,
            answered: HashSet::new(),
            asked: HashMap::new(),
            tally: Tally::default(),
            rng,
        };
        world.furnish();
        world
    }

    fn furnish(&mut self) {
        let now = self.wall();
        let corp = DirectoryId::new(now, &self.entropy);
        for (name, primary, directory) in [
            ("desk", Primary::Local, None),
            ("vpn", Primary::Local, None),
            ("gateway", Primary::None, None),
            ("host", Primary::Directory, Some(corp)),
            ("farm", Primary::None, Some(corp)),
        ] {
            let resource = Resource {
                directory,
                retries: if self.rng.random_ratio(4, 5) { Retries::Join } else { Retries::Collide },
                answer_by: Duration::from_secs(self.rng.random_range(5..70)),
                ..Resource::new(ResourceId::new(now, &self.entropy), name, primary, now)
            };
            self.resources.push((Arc::new(resource), ClientId::new(now, &self.entropy)));
        }
        let (local, corporate) = (self.rng.random_range(1..4), self.rng.random_range(1..3));
        for number in 0..local + corporate {
            let id = UserId::new(now, &self.entropy);
            let name = format!("user{number}");
            let origin = if number < local {
                UserOrigin::Local
            } else {
                UserOrigin::Directory { directory: corp, entry: EntryId::from_text(name.clone()) }
            };
            let own = number < local;
            let user = User {
                id,
                origin,
                name: LoginName::new(&name).unwrap(),
                display_name: name.clone(),
                enabled: true,
                held: None,
                password: own.then(|| PasswordHash::from_phc("a hash".to_owned())),
                created_at: now,
            };
            self.database.users.insert(id, user);
            for _ in 0..self.rng.random_range(0..3) {
                let device = Device {
                    id: DeviceId::new(now, &self.entropy),
                    user: id,
                    name: "phone".into(),
                    platform: "test".into(),
                    key: DevicePublicKey { sec1: [4; 65], thumbprint: String::new() },
                    state: DeviceState::Active,
                    totp: TotpSeed::new(&self.entropy),
                    totp_last_step: 0,
                    passkey: None,
                    push: None,
                    created_at: now,
                    seen: true,
                };
                self.database.devices.insert(device.id, device);
            }
            if own { &mut self.users } else { &mut self.entries }.push((id, name));
        }
    }

    fn run(mut self) -> Tally {
        let end = Duration::from_secs(self.rng.random_range(60..1800));
        let logins = self.rng.random_range(1..40);
        for _ in 0..logins {
            let at = self.within(end);
            self.plan_attempt(at);
        }
        for _ in 0..self.rng.random_range(0..4) {
            let at = self.within(end);
            self.plan(at, Action::Crash);
        }
        if self.jumps {
            for _ in 0..self.rng.random_range(1..12) {
                let (at, jump) = (self.within(end), self.rng.random_range(-1_200_000_000..1_200_000_000));
                self.plan(at, Action::ClockJump(jump));
            }
        }
        for _ in 0..self.rng.random_range(0..2) {
            let at = self.within(end);
            let back = at + self.millis(5000);
            self.plan(at, Action::Outage(true));
            self.plan(back, Action::Outage(false));
        }
        for _ in 0..self.rng.random_range(0..4) {
            let user = self.users[self.rng.random_range(0..self.users.len())].0;
            let at = self.within(end);
            let back = at + self.millis(60_000);
            self.plan(at, Action::SetEnabled(user, false));
            self.plan(back, Action::SetEnabled(user, true));
        }
        while let Some(Reverse((at, number))) = self.queue.pop() {
            self.monotonic = self.monotonic.max(at);
            let action = self.actions.remove(&number).unwrap();
            self.act(action);
            if let Some(due) = self.engine.next_deadline() {
                // Timers fire late on a busy machine.
                self.plan(due.max(self.monotonic) + self.late, Action::Tick);
            }
        }
        self.check_end();
        self.tally
    }

    fn check_end(&self) {
        assert_eq!(self.engine.figures().logins, 0, "a login is left over");
        assert_eq!(self.engine.figures().pending, 0, "a lane is left over");
        for (id, known) in &self.logins {
            assert!(known.verdict.is_some() || known.incarnation != self.incarnation, "{id:?} never got a verdict");
        }
        for (ticket, incarnation) in &self.asked {
            assert!(
                self.answered.contains(ticket) || *incarnation != self.incarnation,
                "a decision never got an answer"
            );
        }
        if !self.jumps {
            for times in self.opened.values() {
                for from in times {
                    let in_window = times.iter().filter(|at| *at >= from && at.since(*from) < Duration::from_secs(600));
                    assert!(in_window.count() <= 3, "more than three pushes in ten minutes");
                }
            }
        }
    }

    fn within(&mut self, end: Duration) -> Duration {
        Duration::from_millis(self.rng.random_range(0..u64::try_from(end.as_millis()).unwrap()))
    }

    fn millis(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(0..=most))
    }

    fn plan(&mut self, at: Duration, action: Action) {
        self.next_action += 1;
        self.actions.insert(self.next_action, action);
        self.queue.push(Reverse((at, self.next_action)));
    }

    fn soon(&mut self, most: u64, action: Action) {
        let at = self.monotonic + self.millis(most);
        self.plan(at, action);
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_micros(self.wall_offset).plus(self.monotonic)
    }

    fn now(&self) -> Now {
        Now { wall: self.wall(), monotonic: self.monotonic }
    }

    /// One person's attempt with what its client makes of it: retransmissions, retries, newer requests, and sometimes
    /// somebody else at the same moment.
    fn plan_attempt(&mut self, at: Duration) {
        self.origins += 1;
        let origin = self.origins;
        let mut request = self.request();
        let mut at = at;
        self.introduce(at, request.clone(), origin);
        for _ in 0..self.rng.random_range(0..4) {
            at += self.millis(6000);
            match self.rng.random_range(0..6) {
                0 | 1 => self.plan(at, Action::Heard(request.id)),
                2 => {
                    // The client sends the same login again under a new identifier.
                    let mut retry = request.clone();
                    retry.id = LoginId::new(self.wall(), &self.entropy);
                    self.introduce(at, retry.clone(), origin);
                    if self.rng.random_ratio(1, 6) {
                        let again = at + self.millis(3000);
                        self.plan(again, Action::Heard(request.id));
                    }
                    request = retry;
                }
                3 => {
                    // The identifier is used again for something new.
                    self.plan(at, Action::Superseded(request.id));
                    let mut next = request.clone();
                    next.id = LoginId::new(self.wall(), &self.entropy);
                    self.introduce(at, next.clone(), origin);
                    request = next;
                }
                4 => {
                    // Somebody else: who has the password and comes by another port, or who copies every mark of the
                    // login and does not have the password.
                    self.origins += 1;
                    let mut other = request.clone();
                    other.id = LoginId::new(self.wall(), &self.entropy);
                    if self.rng.random_ratio(1, 2) {
                        other.retry.nas_port = Some(self.rng.random::<[u8; 4]>().to_vec());
                    } else {
                        other.credential = Credential::Password(Secret::new(b"wrong".to_vec()));
                    }
                    let other_origin = self.origins;
                    self.introduce(at, other, other_origin);
                }
                _ => {}
            }
        }
    }

    fn introduce(&mut self, at: Duration, request: LoginRequest, origin: u64) {
        let user = self
            .users
            .iter()
            .chain(&self.entries)
            .find(|(_, name)| request.user_typed.as_utf8() == Some(name))
            .map(|(id, _)| *id);
        self.logins.insert(
            request.id,
            Known { request: request.clone(), user, origin, verdict: None, started: at, incarnation: u32::MAX },
        );
        self.plan(at, Action::Start(Box::new(request)));
    }

    fn request(&mut self) -> LoginRequest {
        let number = self.rng.random_range(0..self.resources.len());
        let (resource, client) = self.resources[number].clone();
        let known = if resource.directory.is_some() { &self.entries } else { &self.users };
        let (user, mut name) = known[self.rng.random_range(0..known.len())].clone();
        if self.rng.random_ratio(1, 20) {
            name = "nobody".to_owned();
        }
        let code = self.some_code(user);
        let credential = match (resource.primary, self.rng.random_range(0..10)) {
            (Primary::None, 0..6) => Credential::None,
            (Primary::None, _) => Credential::Password(Secret::new(code)),
            (Primary::Local | Primary::Directory, 0..6) => Credential::Password(Secret::new(PASSWORD.to_vec())),
            (Primary::Local | Primary::Directory, 6 | 7) => {
                Credential::Password(Secret::new([PASSWORD, b",", &code].concat()))
            }
            (Primary::Local | Primary::Directory, 8) => Credential::Password(Secret::new(b"wrong".to_vec())),
            (Primary::Local | Primary::Directory | Primary::Radius, _) => Credential::None,
        };
        let known_source = self.rng.random_ratio(3, 4);
        LoginRequest {
            id: LoginId::new(self.wall(), &self.entropy),
            resource,
            client,
            client_name: "nas".to_owned(),
            door: Door::Radius,
            user_typed: HostileText::from(&*name),
            credential,
            source: Source { address: known_source.then(|| "192.0.2.7".into()) },
            retry: RetryKey {
                nas_port: self.rng.random_ratio(3, 4).then(|| self.rng.random::<[u8; 4]>().to_vec()),
                ..RetryKey::default()
            },
        }
    }

    /// Often a right code, sometimes an old or a wrong one.
    fn some_code(&mut self, user: UserId) -> Vec<u8> {
        let seeds: Vec<_> = self.database.devices.values().filter(|d| d.user == user).map(|d| d.totp.clone()).collect();
        if seeds.is_empty() || self.rng.random_ratio(1, 4) {
            return b"000000".to_vec();
        }
        let seed = &seeds[self.rng.random_range(0..seeds.len())];
        // For a moment at which the attempt may or may not be made: small runs hit it often.
        let step = u64::try_from(self.wall().as_seconds() / 30).unwrap() + self.rng.random_range(0..3);
        totp(seed.secret(), step).into_bytes()
    }

    fn act(&mut self, action: Action) {
        let event = match action {
            Action::Start(request) => {
                self.tally.logins += 1;
                let known = self.logins.get_mut(&request.id).unwrap();
                known.incarnation = self.incarnation;
                known.started = self.monotonic;
                let (user, in_directory) = (known.user, request.resource.directory.is_some());
                let subject = match user {
                    Some(user) if in_directory && self.rng.random_ratio(1, 20) => {
                        let (reason, detail) = (Reason::Unavailable, Some("directory_unreachable"));
                        Subject::Refused { user: Some(user), reason, detail }
                    }
                    Some(user) if in_directory => Subject::Entry { user, policy: LOCKOUT.policy() },
                    Some(user) => Subject::Known(user),
                    None => Subject::Unknown,
                };
                Event::Start { request, subject }
            }
            Action::Heard(login) => Event::Heard(login),
            Action::Superseded(login) => Event::Superseded(login),
            Action::Tick => Event::Tick,
            Action::Load { lane, user, challenge, incarnation } => {
                if incarnation != self.incarnation {
                    return;
                }
                let snapshot = if self.available { Ok(self.database.snapshot(user).map(Arc::new)) } else { Err(()) };
                let challenge = challenge.and_then(|id| self.database.challenges.get(&id)).cloned().map(Box::new);
                Event::Loaded { lane, snapshot, challenge }
            }
            Action::Checked { login, outcome, incarnation } => {
                if incarnation != self.incarnation {
                    return;
                }
                Event::PrimaryChecked { login, outcome }
            }
            Action::Write { lane, commit, incarnation } => {
                // A write that was on its way when the server crashed may still have reached the disk.
                if incarnation != self.incarnation && self.rng.random_ratio(1, 2) {
                    return;
                }
                let outcome =
                    if self.available { self.database.commit(&commit) } else { Err(CommitFault::Unavailable) };
                self.soon(20, Action::Written { lane, outcome, incarnation });
                return;
            }
            Action::Written { lane, outcome, incarnation } => {
                if incarnation != self.incarnation {
                    return;
                }
                Event::Committed { lane, outcome }
            }
            Action::Decide { device, challenge, decision } => {
                let Some(user) = self.database.devices.get(&device).map(|device| device.user) else { return };
                self.next_ticket += 1;
                self.asked.insert(self.next_ticket, self.incarnation);
                let record = DecisionRecord {
                    device,
                    decision,
                    number: String::new(),
                    user_verification: UserVerificationReached::None,
                    device_time: "2027-01-15T08:00:00Z".to_owned(),
                };
                let right = self.rng.random_ratio(19, 20);
                let signature = SignatureCheck::new(move |row: &Challenge| right && row.id == challenge);
                let submission = Box::new(Submission { record, signature, assertion: None });
                Event::Decided { ticket: self.next_ticket, user, challenge, submission }
            }
            Action::Crash => return self.crash(),
            Action::ClockJump(micros) => {
                self.undisturbed = false;
                self.wall_offset += micros;
                return;
            }
            Action::SetEnabled(user, enabled) => {
                self.database.users.get_mut(&user).unwrap().enabled = enabled;
                if enabled {
                    self.disabled_since.remove(&user);
                } else {
                    self.disabled_since.insert(user, self.monotonic);
                }
                return;
            }
            Action::Outage(on) => {
                self.undisturbed = false;
                self.available = !on;
                return;
            }
        };
        let mut effects = Vec::new();
        self.engine.handle(self.now(), event, &self.entropy, &mut effects);
        for effect in effects {
            self.effect(effect);
        }
    }

    fn crash(&mut self) {
        self.tally.crashes += 1;
        self.undisturbed = false;
        self.incarnation += 1;
        self.engine = Engine::new(Bounds::default(), &self.entropy);
        // As the desk does before it opens.
        let at = self.wall();
        for challenge in self.database.challenges.values_mut() {
            if challenge.state == ChallengeState::Pending {
                challenge.state =
                    ChallengeState::Closed(Closing { state: ClosingState::Cancelled, at, decision: None });
            }
        }
    }

    fn effect(&mut self, effect: Effect) {
        let incarnation = self.incarnation;
        match effect {
            Effect::Load { lane, user, challenge } => {
                self.soon(20, Action::Load { lane, user, challenge, incarnation });
            }
            Effect::CheckPrimary { login, against, password } => {
                let outcome = self.check(&against, password.expose() == PASSWORD);
                self.soon(200, Action::Checked { login, outcome, incarnation });
            }
            Effect::Commit { lane, commit } => self.soon(20, Action::Write { lane, commit, incarnation }),
            Effect::Record(event) => self.database.audit.push(*event),
            Effect::Verdict { login, verdict, .. } => self.verdict(login, verdict),
            Effect::Publish(Notice::Opened(challenge)) => self.opened(&challenge),
            Effect::Publish(Notice::Closed { id, .. }) => {
                // Some people report afterwards.
                if self.rng.random_ratio(1, 20) {
                    let device = self.database.challenges.get(&id).and_then(|c| c.devices.first().copied());
                    if let Some(device) = device {
                        self.soon(5000, Action::Decide { device, challenge: id, decision: Decision::DenyReport });
                    }
                }
            }
            Effect::Answer { ticket, answer } => {
                assert!(self.answered.insert(ticket), "a decision was answered twice");
                if let DecisionAnswer::Taken(ClosingState::Approved) = answer {
                    assert!(self.available || self.database.audit.iter().any(|e| e.result == Some("accept")));
                }
            }
        }
    }

    fn check(&mut self, against: &Against, right: bool) -> PrimaryOutcome {
        match against {
            _ if self.rng.random_ratio(1, 50) => PrimaryOutcome::Busy,
            Against::Local { hash: Some(_) } if right => PrimaryOutcome::Right,
            Against::Directory { .. } if self.rng.random_ratio(1, 30) => PrimaryOutcome::Refused("locked"),
            Against::Directory { .. } if self.rng.random_ratio(1, 30) => {
                PrimaryOutcome::Unavailable("directory_unreachable")
            }
            Against::Local { .. } | Against::Directory { entry: None, .. } => PrimaryOutcome::Wrong,
            Against::Directory { entry: Some(entry), .. } if right => {
                self.wrong_in_directory.remove(entry);
                PrimaryOutcome::Right
            }
            Against::Directory { entry: Some(entry), .. } => {
                // As Active Directory counts: from one wrong password to the next.
                let (count, last) = self.wrong_in_directory.get(entry).copied().unwrap_or_default();
                let again = self.monotonic.saturating_sub(last) >= LOCKOUT.window;
                let count = if again { 1 } else { count + 1 };
                self.wrong_in_directory.insert(entry.clone(), (count, self.monotonic));
                self.tally.wrong_in_directory += 1;
                // What could not be written, or was forgotten with the memory of a server that fell, is not counted.
                assert!(!self.undisturbed || count < u32::from(LOCKOUT.threshold), "the directory locked an account");
                PrimaryOutcome::Wrong
            }
        }
    }

    fn opened(&mut self, challenge: &Challenge) {
        let known = &self.logins[&challenge.login];
        let scope = if known.request.resource.proves_user() {
            LimitScope::User(challenge.user)
        } else {
            LimitScope::UserAt(challenge.user, challenge.resource)
        };
        self.origin_of_challenge.insert(challenge.id, known.origin);
        self.opened.entry(scope).or_default().push(challenge.created_at);
        for device in challenge.devices.clone() {
            let decision = match self.rng.random_range(0..20) {
                0..11 => Decision::Verify,
                11..14 => Decision::Deny,
                14 => Decision::DenyReport,
                _ => continue,
            };
            self.soon(40_000, Action::Decide { device, challenge: challenge.id, decision });
            if self.rng.random_ratio(1, 4) {
                // Sent again, or another one decides otherwise.
                let other = if self.rng.random_ratio(1, 2) { decision } else { Decision::Deny };
                self.soon(40_000, Action::Decide { device, challenge: challenge.id, decision: other });
            }
        }
    }

    fn verdict(&mut self, login: LoginId, verdict: Verdict) {
        let known = self.logins.get_mut(&login).expect("a verdict for a login that was never handed in");
        assert!(known.verdict.is_none(), "two verdicts for {login:?}: {:?}, then {verdict:?}", known.verdict);
        known.verdict = Some(verdict.clone());
        match verdict {
            Verdict::Accept(_) => self.accepted(login),
            Verdict::Ask(question) => unreachable!("nothing here asks: {question:?}"),
            Verdict::Reject { reason: Reason::Collision, .. } => {
                self.tally.collisions += 1;
                self.collided.insert(login);
            }
            Verdict::Reject { reason: Reason::Expired, .. } => self.tally.expired += 1,
            Verdict::Reject { reason: Reason::Denied | Reason::DeniedReported, .. } => self.tally.denied += 1,
            Verdict::Reject { reason: Reason::Limited, .. } => self.tally.limited += 1,
            Verdict::Reject { reason: Reason::CodeUsed, .. } => self.tally.code_used += 1,
            Verdict::Reject { reason: Reason::Unavailable, .. } => self.tally.unavailable += 1,
            Verdict::Unanswered { reason: Reason::Superseded } => self.tally.takeovers += 1,
            Verdict::Reject { .. } | Verdict::Unanswered { .. } => {}
        }
        if !matches!(verdict, Verdict::Reject { reason: Reason::Unavailable, .. }) {
            let recorded = self.database.audit.iter().any(|event| event.login == Some(login) && event.result.is_some());
            let outage = matches!(verdict, Verdict::Unanswered { .. });
            assert!(recorded || outage, "{login:?} has a verdict and no record");
        }
    }

    fn accepted(&mut self, login: LoginId) {
        let known = &self.logins[&login];
        assert!(!self.collided.contains(&login));
        let user = known.user.expect("nobody was let in");
        if let Some(since) = self.disabled_since.get(&user) {
            // A decision that was read just before may be on its way to the disk.
            let ago = self.monotonic.saturating_sub(*since);
            assert!(ago < Duration::from_millis(100), "let in {ago:?} after the user was disabled");
        }
        let records: Vec<_> = self
            .database
            .audit
            .iter()
            .filter(|event| event.login == Some(login) && event.result == Some("accept"))
            .collect();
        assert_eq!(records.len(), 1, "an accepted login has one record that says so");
        let record = records[0];
        let device = record.device.expect("a factor of some device");
        assert_eq!(self.database.devices[&device].user, user, "another user's device");
        match record.factor {
            Some("push") => {
                self.tally.accepted_push += 1;
                let challenge = self
                    .database
                    .challenges
                    .values()
                    .find(|challenge| challenge.login == login)
                    .expect("the challenge names the login that it let in");
                let ChallengeState::Closed(Closing { state: ClosingState::Approved, at, decision: Some(decision) }) =
                    &challenge.state
                else {
                    panic!("let in by a challenge that was not approved: {challenge:?}");
                };
                assert!(self.accepted_challenges.insert(challenge.id), "one challenge let in two logins");
                assert_eq!(decision.decision, Decision::Verify);
                assert!(challenge.devices.contains(&decision.device));
                assert!(*at < challenge.expires_at, "approved after its end");
                assert_eq!(
                    self.origin_of_challenge[&challenge.id], known.origin,
                    "the approval of one attempt let another one in"
                );
                let waited = self.monotonic.saturating_sub(known.started);
                assert!(waited <= known.request.resource.answer_by + Duration::from_secs(1), "let in after {waited:?}");
                self.nobody_else_was_there(login, user);
            }
            Some("totp") => {
                self.tally.accepted_code += 1;
                let step = self.database.devices[&device].totp_last_step;
                assert!(self.accepted_steps.insert((device, step)), "one code let in two logins");
            }
            other => panic!("let in by {other:?}"),
        }
    }

    /// While a login waited for its Verify, nobody else with the password came to the point of asking a device.
    fn nobody_else_was_there(&self, login: LoginId, user: UserId) {
        let mine = &self.logins[&login];
        let asked = |id: LoginId, event: &str, reason: Option<&str>| {
            self.database.audit.iter().position(|e| {
                e.login == Some(id) && e.kind.as_str() == event && (reason.is_none() || e.reason == reason)
            })
        };
        // A retry speaks for the first request of its attempt, which was the one that asked.
        let opened = self
            .logins
            .iter()
            .filter(|(_, other)| other.origin == mine.origin)
            .filter_map(|(id, _)| asked(*id, "login.challenged", None))
            .max();
        let approved = asked(login, "login.ended", Some("approved"));
        let (Some(opened), Some(approved)) = (opened, approved) else { panic!("no trace of the approval") };
        for (id, other) in &self.logins {
            let proves = other.request.resource.primary != Primary::None
                || other.request.resource.id == mine.request.resource.id;
            if other.user != Some(user) || other.origin == mine.origin || !proves {
                continue;
            }
            if let Some(collided) = asked(*id, "login.ended", Some("collision")) {
                // Its own collision may have been with somebody else, before or after.
                assert!(
                    collided < opened || collided > approved || mine.request.resource.primary == Primary::None,
                    "{id:?} collided while {login:?} waited, and {login:?} was let in"
                );
            }
            if let Some(challenged) = asked(*id, "login.challenged", None) {
                assert!(challenged < opened || challenged > approved, "two challenges of one user at once");
            }
        }
    }
}
