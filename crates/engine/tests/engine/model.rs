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
    AuditEvent, Challenge, ChallengeId, ChallengeState, ClientId, Closing, ClosingState, Commit, Credential, Decision,
    DecisionRecord, Device, DeviceId, DevicePublicKey, DeviceState, DirectoryId, Door, EntryId, EventKind, HostileText,
    LimitScope, Lockout, LoginId, LoginName, LoginRequest, Methods, NumberMode, PasswordHash, Policy, Primary,
    Question, Reason, Resource, ResourceId, Retries, RetryKey, Secret, Source, Timestamp, TotpSeed, UpstreamAttributes,
    UpstreamId, User, UserId, UserOrigin, UserVerificationReached, Verdict, WindowClosing, Write, totp,
};
use countersign_engine::{
    Against, Bounds, CommitFault, DecisionAnswer, Effect, Engine, Event, Lane, Notice, Now, PrimaryOutcome,
    SignatureCheck, Subject, Submission, WindowRequest,
};
use countersign_testkit::SeededEntropy;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::database::Database;

mod unasked;
mod watch;
mod windows;

const PASSWORD: &[u8] = b"right";
const LOCKOUT: Lockout = Lockout { threshold: 3, window: Duration::from_secs(120) };

#[test]
fn s02_s14_s22_s97_no_run_breaks_a_rule() {
    let only = std::env::var("COUNTERSIGN_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let seeds = std::env::var("COUNTERSIGN_SOAK_SEEDS").ok().and_then(|n| n.parse::<u64>().ok()).unwrap_or(900);
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
    if only.is_none() && seeds >= 900 {
        // The runs are worth nothing when they do not get to the interesting places.
        let Tally { accepted_push, accepted_code, collisions, takeovers, expired, crashes, limited, code_used, .. } =
            seen;
        let wrong = seen.wrong_in_directory;
        let Tally { accepted_bypass, accepted_remembered, .. } = seen;
        let Tally { asked, accepted_shown, accepted_typed, strange, prompts_taken_over, number_wrong, waited, .. } =
            seen;
        for reached in [
            accepted_push,
            seen.accepted_behind,
            accepted_code,
            collisions,
            takeovers,
            expired,
            crashes,
            limited,
            code_used,
            wrong,
            asked,
            accepted_shown,
            accepted_typed,
            strange,
            prompts_taken_over,
            number_wrong,
            waited,
            accepted_bypass,
            accepted_remembered,
        ] {
            assert!(reached > 20, "{seen:?}");
        }
        for reached in [seen.windows, seen.windows_refused, seen.accepted_window, seen.windows_spoilt] {
            assert!(reached > 20, "{seen:?}");
        }
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    logins: u64,
    accepted_push: u64,
    accepted_code: u64,
    accepted_behind: u64,
    collisions: u64,
    takeovers: u64,
    expired: u64,
    denied: u64,
    limited: u64,
    code_used: u64,
    unavailable: u64,
    crashes: u64,
    wrong_in_directory: u64,
    /// Questions.
    asked: u64,
    /// Let in by a code that the phone showed, and by a number typed into it.
    accepted_shown: u64,
    accepted_typed: u64,
    /// Answers that belong to no question, or do not come from where it went.
    strange: u64,
    /// Retries of a first request that was answered with a question.
    prompts_taken_over: u64,
    number_wrong: u64,
    /// Answers that waited for the phone until the client would not wait any longer.
    waited: u64,
    windows: u64,
    windows_refused: u64,
    windows_spoilt: u64,
    accepted_window: u64,
    /// Let in without anybody being asked.
    accepted_bypass: u64,
    accepted_remembered: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.logins += other.logins;
        self.accepted_push += other.accepted_push;
        self.accepted_code += other.accepted_code;
        self.accepted_behind += other.accepted_behind;
        self.collisions += other.collisions;
        self.takeovers += other.takeovers;
        self.expired += other.expired;
        self.denied += other.denied;
        self.limited += other.limited;
        self.code_used += other.code_used;
        self.unavailable += other.unavailable;
        self.crashes += other.crashes;
        self.wrong_in_directory += other.wrong_in_directory;
        self.asked += other.asked;
        self.accepted_shown += other.accepted_shown;
        self.accepted_typed += other.accepted_typed;
        self.strange += other.strange;
        self.prompts_taken_over += other.prompts_taken_over;
        self.number_wrong += other.number_wrong;
        self.waited += other.waited;
        self.windows += other.windows;
        self.windows_refused += other.windows_refused;
        self.windows_spoilt += other.windows_spoilt;
        self.accepted_window += other.accepted_window;
        self.accepted_bypass += other.accepted_bypass;
        self.accepted_remembered += other.accepted_remembered;
    }
}

/// Something that is going to happen.
#[derive(Debug)]
enum Action {
    Start(Box<LoginRequest>),
    /// Somebody at the prompt of a login answers a question.
    Answer {
        login: LoginId,
        state: [u8; 16],
        reply: Reply,
    },
    Heard(LoginId),
    Superseded(LoginId),
    Load {
        lane: Lane,
        user: UserId,
        challenge: Option<ChallengeId>,
        incarnation: u32,
    },
    Checked {
        login: LoginId,
        outcome: PrimaryOutcome,
        incarnation: u32,
    },
    Write {
        lane: Lane,
        commit: Box<Commit>,
        incarnation: u32,
    },
    Written {
        lane: Lane,
        outcome: Result<(), CommitFault>,
        incarnation: u32,
    },
    Decide {
        device: DeviceId,
        challenge: ChallengeId,
        decision: Decision,
    },
    OpenWindow(Box<WindowRequest>),
    Tick,
    Crash,
    ClockJump(i64),
    SetEnabled(UserId, bool),
    Bypass(UserId, u64),
    Outage(bool),
}

/// What is typed at a prompt.
#[derive(Debug, Clone, Copy)]
enum Reply {
    /// The code that a phone has shown for this login, or nothing where none has.
    Shown,
    /// The code that a phone has shown for whatever login.
    ShownElsewhere,
    OfAccount,
    Wrong,
    Nothing,
    Junk,
    First,
    Second,
    /// Anything, by somebody who is not the one who was asked.
    Stranger,
}

/// What the model knows of a request that the engine does not.
struct Known {
    request: LoginRequest,
    /// The login that it belongs to: itself, but for answers.
    of: LoginId,
    /// Whether somebody else sent it than whoever was asked.
    strange: bool,
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
    /// The login that it was made for.
    opened_for: HashMap<ChallengeId, LoginId>,
    opened: HashMap<LimitScope, Vec<Timestamp>>,
    accepted_steps: HashSet<(DeviceId, u64)>,
    accepted_challenges: HashSet<ChallengeId>,
    bypasses_given: usize,
    /// Approvals that have let in a further login, and when they let in their own.
    remembered: HashSet<LoginId>,
    accepted_at: HashMap<LoginId, Duration>,
    /// By the device that asked for it: the code of a challenge.
    codes: HashMap<ChallengeId, Vec<u8>>,
    /// The number that the prompt of a login shows.
    numbers: HashMap<LoginId, String>,
    /// Whom a State was sent to.
    states: HashMap<[u8; 16], LoginId>,
    /// States whose answer counted.
    spent: HashSet<[u8; 16]>,
    /// What is pending for a user, and whether it is plain.
    pending: HashMap<UserId, Vec<(ChallengeId, bool)>>,
    decisions: HashMap<u64, ChallengeId>,
    /// Collisions between logins that both proved a password, by user: neither may be let in.
    collided: HashSet<LoginId>,
    next_ticket: u64,
    answered: HashSet<u64>,
    asked: HashMap<u64, u32>,
    windows: windows::Watched,
    tally: Tally,
}

/// What the servers grant a login that it is sent on to; it shows whose login it is.
fn granted(known: &Known) -> Option<UpstreamAttributes> {
    let sent_on = known.request.resource.primary == Primary::Radius;
    sent_on.then(|| UpstreamAttributes::new(format!("{:?} {:?}", known.user, known.origin).into_bytes()))
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let entropy = SeededEntropy::new(seed);
        let bounds = Bounds { logins: rng.random_range(3..50), logins_per_client: 20, unapproved_per_resource: 10 };
        let mut world = Self {
            engine: Engine::new(bounds, Duration::ZERO, &entropy),
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
            opened_for: HashMap::new(),
            opened: HashMap::new(),
            accepted_steps: HashSet::new(),
            accepted_challenges: HashSet::new(),
            bypasses_given: 0,
            remembered: HashSet::new(),
            accepted_at: HashMap::new(),
            codes: HashMap::new(),
            numbers: HashMap::new(),
            states: HashMap::new(),
            spent: HashSet::new(),
            pending: HashMap::new(),
            decisions: HashMap::new(),
            collided: HashSet::new(),
            next_ticket: 0,
            answered: HashSet::new(),
            asked: HashMap::new(),
            windows: windows::Watched::default(),
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
            ("portal", Primary::Local, None),
            ("kiosk", Primary::None, None),
            ("mail", Primary::Directory, Some(corp)),
            ("relay", Primary::Radius, Some(corp)),
        ] {
            let prompts = matches!(name, "portal" | "kiosk" | "mail");
            let windows = primary == Primary::None && self.rng.random_ratio(2, 3);
            let remember = if self.rng.random_ratio(1, 2) { self.rng.random_range(5..=300) } else { 0 };
            let policy = Policy { prompt: prompts.then(|| self.methods()), windows, remember, ..Policy::default() };
            let resource = Resource {
                policy,
                directory,
                upstream: (primary == Primary::Radius).then(|| UpstreamId::new(now, &self.entropy)),
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

    fn methods(&mut self) -> Methods {
        let [code_to_phone, typed, totp] = [(); 3].map(|()| self.rng.random_ratio(1, 2));
        Methods { code_to_phone: code_to_phone || !typed && !totp, typed, totp }
    }

    fn run(mut self) -> Tally {
        let end = Duration::from_secs(self.rng.random_range(60..1800));
        // Where many fail no window is opened.
        let calm = self.rng.random_ratio(1, 6);
        let logins = self.rng.random_range(1..if calm { 5 } else { 40 });
        for _ in 0..logins {
            let at = self.within(end);
            self.plan_attempt(at);
        }
        for _ in 0..self.rng.random_range(0..if calm { 16 } else { 5 }) {
            self.plan_window(end);
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
        for _ in 0..self.rng.random_range(0..3) {
            let known = if self.rng.random_ratio(2, 3) { &self.users } else { &self.entries };
            let user = known[self.rng.random_range(0..known.len())].0;
            let (at, seconds) = (self.within(end), self.rng.random_range(5..300));
            self.plan(at, Action::Bypass(user, seconds));
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
        self.check_bypasses();
        assert_eq!(self.engine.figures().logins, 0, "a login is left over");
        assert_eq!(self.engine.figures().pending, 0, "a lane is left over");
        self.check_windows();
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
            Known {
                request: request.clone(),
                of: request.id,
                strange: false,
                user,
                origin,
                verdict: None,
                started: at,
                incarnation: u32::MAX,
            },
        );
        self.plan(at, Action::Start(Box::new(request)));
    }

    /// What becomes of a question: mostly one answer, sometimes none, several, late ones, or somebody else's.
    fn plan_answers(&mut self, login: LoginId, state: [u8; 16]) {
        for _ in 0..self.rng.random_range(0..6) {
            let reply = match self.rng.random_range(0..24) {
                0..8 => Reply::Shown,
                8 | 9 => Reply::ShownElsewhere,
                10..13 => Reply::OfAccount,
                13 => Reply::Wrong,
                14 | 15 => Reply::Nothing,
                16 => Reply::Junk,
                17..20 => Reply::First,
                20..23 => Reply::Second,
                _ => Reply::Stranger,
            };
            let most = if self.rng.random_ratio(1, 8) { 150_000 } else { 30_000 };
            self.soon(most, Action::Answer { login, state, reply });
            if self.rng.random_ratio(3, 5) {
                return;
            }
        }
    }

    /// An answer as it comes in, or what is like one.
    fn answer(&mut self, login: LoginId, state: [u8; 16], reply: Reply) -> LoginRequest {
        let first = &self.logins[&login];
        let (origin, user) = (first.origin, first.user);
        let mut request = first.request.clone();
        request.id = LoginId::new(self.wall(), &self.entropy);
        request.state = Some(state.to_vec());
        let mine = self.database.challenges.values().find(|challenge| challenge.login == login).map(|c| c.id);
        let text = match reply {
            Reply::Shown | Reply::Stranger => mine.and_then(|id| self.codes.get(&id)).cloned().unwrap_or_default(),
            Reply::ShownElsewhere => {
                let codes: Vec<_> = self.codes.values().collect();
                let place = self.rng.random_range(0..codes.len().max(1));
                codes.get(place).copied().cloned().unwrap_or_default()
            }
            Reply::OfAccount => user.map(|user| self.some_code(user)).unwrap_or_default(),
            Reply::Wrong => b"000000".to_vec(),
            Reply::Nothing => Vec::new(),
            Reply::Junk => b"\xFFcode?".to_vec(),
            Reply::First => b"1".to_vec(),
            Reply::Second => b"2".to_vec(),
        };
        request.credential = if text.is_empty() { Credential::None } else { Credential::Password(Secret::new(text)) };
        let strange = matches!(reply, Reply::Stranger);
        if strange {
            match self.rng.random_range(0..4) {
                0 => request.client = ClientId::new(self.wall(), &self.entropy),
                1 => request.peer = [203, 0, 113, 9].into(),
                2 => request.user_typed = "USER0".into(),
                _ => request.state.as_mut().unwrap()[7] ^= 1,
            }
        }
        if self.rng.random_ratio(1, 4) {
            // Clients leave out what they sent before.
            request.source = Source::default();
            request.retry = RetryKey::default();
        }
        let known = Known {
            request: request.clone(),
            of: login,
            strange,
            user,
            origin,
            verdict: None,
            started: self.monotonic,
            incarnation: self.incarnation,
        };
        self.logins.insert(request.id, known);
        for _ in 0..self.rng.random_range(0..3) {
            self.soon(8000, Action::Heard(request.id));
        }
        if self.rng.random_ratio(1, 12) {
            self.soon(8000, Action::Superseded(request.id));
        }
        request
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
            (_, 0..6) => Credential::Password(Secret::new(PASSWORD.to_vec())),
            (_, 6 | 7) => Credential::Password(Secret::new([PASSWORD, b",", &code].concat())),
            (_, 8) => Credential::Password(Secret::new(b"wrong".to_vec())),
            (_, _) => Credential::None,
        };
        let known_source = self.rng.random_ratio(3, 4);
        LoginRequest {
            id: LoginId::new(self.wall(), &self.entropy),
            resource,
            client,
            client_name: "nas".to_owned(),
            peer: [192, 0, 2, 1].into(),
            door: Door::Radius,
            user_typed: HostileText::from(&*name),
            credential,
            source: Source { address: known_source.then(|| "192.0.2.7".into()) },
            retry: RetryKey {
                nas_port: self.rng.random_ratio(3, 4).then(|| self.rng.random::<[u8; 4]>().to_vec()),
                ..RetryKey::default()
            },
            state: None,
            forward: Some(UpstreamAttributes::default()),
        }
    }

    /// The number that somebody types into the phone: mostly the one before them, sometimes that of another login.
    fn number_for(&mut self, challenge: ChallengeId) -> String {
        let Some(row) = self.database.challenges.get(&challenge) else { return String::new() };
        if row.number_mode != NumberMode::Typed || self.rng.random_ratio(1, 20) {
            return String::new();
        }
        let right = self.numbers.get(&row.login).cloned();
        if self.rng.random_ratio(1, 4) {
            let numbers: Vec<_> = self.numbers.values().filter(|number| Some(*number) != right.as_ref()).collect();
            let place = self.rng.random_range(0..numbers.len().max(1));
            return numbers.get(place).map_or_else(|| "123456".to_owned(), |number| (*number).clone());
        }
        right.unwrap_or_default()
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
                        let (reason, detail) = (Reason::Unavailable, Some("directory_unreachable".into()));
                        Subject::Refused { user: Some(user), reason, detail }
                    }
                    Some(user) if in_directory => Subject::Entry { user, policy: LOCKOUT.policy(), groups: Vec::new() },
                    Some(user) => Subject::Known(user),
                    None => Subject::Unknown,
                };
                Event::Start { request, subject, arrived: self.monotonic }
            }
            Action::Answer { login, state, reply } => {
                Event::Answered { request: Box::new(self.answer(login, state, reply)) }
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
                let attributes = self.logins.get(&login).filter(|_| outcome == PrimaryOutcome::Right);
                let attributes = attributes.and_then(granted);
                Event::PrimaryChecked { login, outcome, attributes }
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
                self.decisions.insert(self.next_ticket, challenge);
                let record = DecisionRecord {
                    device,
                    decision,
                    number: if decision == Decision::Verify { self.number_for(challenge) } else { String::new() },
                    user_verification: UserVerificationReached::None,
                    device_time: "2027-01-15T08:00:00Z".to_owned(),
                };
                let right = self.rng.random_ratio(19, 20);
                let signature = SignatureCheck::new(move |row: &Challenge| right && row.id == challenge);
                let submission = Box::new(Submission { record, signature, assertion: None });
                Event::Decided { ticket: self.next_ticket, user, challenge, submission }
            }
            Action::OpenWindow(request) => match self.open_window(request) {
                Some(event) => event,
                None => return,
            },
            Action::Crash => return self.crash(),
            Action::ClockJump(micros) => {
                self.undisturbed = false;
                self.wall_offset += micros;
                return;
            }
            Action::Bypass(user, seconds) => return self.give_bypass(user, seconds),
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
        self.engine = Engine::new(Bounds::default(), self.monotonic, &self.entropy);
        self.windows_crashed();
        self.pending.clear();
        // As the desk does before it opens.
        let at = self.wall();
        for challenge in self.database.challenges.values_mut() {
            if challenge.state == ChallengeState::Pending {
                challenge.state =
                    ChallengeState::Closed(Closing { state: ClosingState::Cancelled, at, decision: None });
            }
        }
    }
}
