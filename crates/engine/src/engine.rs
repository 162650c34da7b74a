mod outcome;

use core::time::Duration;
use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use countersign_domain::{
    Admission, Challenge, ClientId, ClosingState, Credential, Entropy, InGroup, LoginId, LoginRequest, PASSWORD_POLICY,
    Reason, ResourceId, ThrottlePolicy, UpstreamAttributes, UserId, UserSnapshot, Verdict,
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::{
    CommitFault, DecisionAnswer, Effect, Event, Lane, Notice, Now, Subject, WindowAnswer, WindowRefusal,
    brake::Brake,
    checks::Checks,
    exchanges::Exchanges,
    lane::{Busy, LaneState, Work},
    live::{First, Heard, Live, Stage, Turn},
    remembered::Remembered,
    sources::Sources,
    steps::{self, After, Step, View},
    windows::{Part, Windows},
};

/// How much may be open at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Logins that have not ended, all clients together.
    pub logins: usize,
    /// Logins of one client that have not ended.
    pub logins_per_client: usize,
    /// Unapproved pushes of one resource with primary `none` in ten minutes that stop pushes there for fifteen.
    pub unapproved_per_resource: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { logins: 10_000, logins_per_client: 500, unapproved_per_resource: 200 }
    }
}

/// What is open now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Logins that have not ended.
    pub logins: usize,
    /// Of these, waiting for a device or for an answer at their prompt.
    pub pending: usize,
    /// Sign-in windows that are open.
    pub windows: usize,
}

/// The engine; see the crate's documentation.
pub struct Engine {
    bounds: Bounds,
    /// Key of the HMAC under which credentials are compared; never leaves memory.
    key: [u8; 32],
    live: HashMap<LoginId, Live>,
    /// Logins whose newest request is not the one that they began with, by that request.
    requests: HashMap<LoginId, LoginId>,
    /// Logins whose prompts have not been answered, by State.
    states: HashMap<[u8; 16], LoginId>,
    lanes: HashMap<Lane, LaneState>,
    per_client: HashMap<ClientId, usize>,
    /// When something is due, by the monotonic clock.
    deadlines: BTreeSet<(Duration, LoginId)>,
    brakes: HashMap<ResourceId, Brake>,
    checks: Checks,
    windows: Windows,
    remembered: Remembered,
    sources: Sources,
    exchanges: Exchanges,
    /// Lanes of unknown users whose work can be decided at once.
    ready: Vec<Lane>,
}

/// Whose login it is, and what goes with that.
struct Whose {
    user: Option<UserId>,
    groups: Vec<String>,
    policy: ThrottlePolicy,
    /// The attributes with which other servers have let the user in already, where they have.
    proven: Option<UpstreamAttributes>,
}

impl Whose {
    const fn nobodys() -> Self {
        Self { user: None, groups: Vec::new(), policy: PASSWORD_POLICY, proven: None }
    }
}

impl Engine {
    /// A commit is decided anew so often before its login is given up.
    const TRIES: u8 = 8;
    /// What a client is told when storage does not do its part.
    const UNAVAILABLE: Verdict = Verdict::Reject { reason: Reason::Unavailable, after_challenge: false };

    /// An engine with nothing in it, at `now` by the monotonic clock.
    pub fn new(bounds: Bounds, now: Duration, entropy: &dyn Entropy) -> Self {
        Self {
            bounds,
            key: entropy.octets(),
            live: HashMap::new(),
            requests: HashMap::new(),
            states: HashMap::new(),
            lanes: HashMap::new(),
            per_client: HashMap::new(),
            deadlines: BTreeSet::new(),
            brakes: HashMap::new(),
            checks: Checks::default(),
            windows: Windows::new(now),
            remembered: Remembered::default(),
            sources: Sources::default(),
            exchanges: Exchanges::default(),
            ready: Vec::new(),
        }
    }

    /// Takes an event in and appends to `out` what is to be done.
    pub fn handle(&mut self, now: Now, event: Event, entropy: &dyn Entropy, out: &mut Vec<Effect>) {
        match event {
            Event::Start { request, subject, arrived } => self.start(now, *request, subject, arrived, None, out),
            Event::Proven { request, subject, arrived, attributes } => {
                self.start(now, *request, subject, arrived, Some(attributes), out);
            }
            Event::Answered { request } => self.answered(now, *request, out),
            Event::Heard(request) => self.heard(now, request, out),
            Event::Superseded(request) => self.superseded(request, out),
            Event::PrimaryChecked { login, outcome, attributes } => {
                if let Some(live) = self.live.get_mut(&login) {
                    live.sent = attributes;
                }
                // Of a login that has ended a directory has counted the wrong password all the same.
                let lane = self.lane_of(login).or_else(|| self.checks.of(login).map(|(user, _)| Lane::User(user)));
                if let Some(lane) = lane {
                    self.enqueue(lane, Work::Password(login, outcome), out);
                }
            }
            Event::Loaded { lane, snapshot, challenge } => {
                self.loaded(now, lane, snapshot, challenge.as_deref(), entropy, out);
            }
            Event::Committed { lane, outcome } => self.committed(now, lane, outcome, out),
            Event::Decided { ticket, user, challenge, submission } => {
                self.enqueue(Lane::User(user), Work::Decide { ticket, challenge, submission }, out);
            }
            Event::OpenWindow { ticket, user, request } => {
                self.enqueue(Lane::User(user), Work::OpenWindow { ticket, request }, out);
            }
            Event::Tick => self.tick(now, out),
        }
        while let Some(lane) = self.ready.pop() {
            self.loaded(now, lane, Ok(None), None, entropy, out);
        }
    }

    /// When [`Event::Tick`] is due next, by the monotonic clock.
    pub fn next_deadline(&self) -> Option<Duration> {
        let logins = self.deadlines.first().map(|(at, _)| *at);
        logins.into_iter().chain(self.windows.next_deadline()).min()
    }

    /// What is open.
    pub fn figures(&self) -> Figures {
        Figures {
            logins: self.live.len(),
            pending: self.lanes.values().map(|lane| lane.open.len()).sum(),
            windows: self.windows.len(),
        }
    }

    /// Begins a login; `proven` are the attributes with which other servers have let the user in, where they have.
    fn start(
        &mut self,
        now: Now,
        request: LoginRequest,
        subject: Subject,
        arrived: Duration,
        proven: Option<UpstreamAttributes>,
        out: &mut Vec<Effect>,
    ) {
        let login = request.id;
        let resource = &request.resource;
        let of = |user| Whose { user: Some(user), ..Whose::nobodys() };
        let (whose, refused) = match subject {
            // Whoever was added here is in no group.
            Subject::Known(user) if resource.admits(|_| InGroup::No) != Admission::Admitted => {
                (of(user), Some((Reason::NotAllowed, None)))
            }
            Subject::Known(user) => (of(user), None),
            Subject::Entry { user, policy, groups } => (Whose { groups, policy, ..of(user) }, None),
            Subject::Refused { user, reason, detail } => (Whose { user, ..Whose::nobodys() }, Some((reason, detail))),
            Subject::Unknown => (Whose::nobodys(), None),
            Subject::Unavailable => {
                let verdict = Verdict::Reject { reason: Reason::Unavailable, after_challenge: false };
                out.push(Effect::Verdict { login, door: request.door, verdict });
                return;
            }
        };
        self.admit(now, request, Whose { proven, ..whose }, refused, arrived, out);
    }

    /// Begins a login, or refuses it for `refused`.
    fn admit(
        &mut self,
        now: Now,
        request: LoginRequest,
        Whose { user, groups, policy, proven }: Whose,
        refused: Option<(Reason, Option<Cow<'static, str>>)>,
        arrived: Duration,
        out: &mut Vec<Effect>,
    ) {
        let login = request.id;
        let of_client = self.per_client.entry(request.client).or_default();
        let full = *of_client >= self.bounds.logins_per_client || self.live.len() >= self.bounds.logins;
        *of_client += 1;
        // The client of one that was proven has waited for that too.
        let (first, round) = match proven {
            Some(_) => (First::Proven, arrived),
            None => (First::Unchecked, now.monotonic),
        };
        let mut live = Live {
            credential: self.fingerprint(&request.credential),
            request,
            user,
            groups,
            policy,
            started: now,
            turn: Turn::Ours(login),
            round,
            stage: Stage::Checking,
            first,
            sent: proven,
            talk: None,
            heard: Heard::default(),
            part: Part::None,
        };
        let known = &self.live;
        let exchange = (live.credential, login);
        let is_open = |login| known.contains_key(&login);
        let repeated = self.exchanges.is_repeated(live.client(), &live.request.credential, exchange, is_open);
        let refused = match refused {
            _ if full => Some((Reason::Limited, None)),
            None if repeated => Some((Reason::Replayed, Some("ms_chap_challenge_repeated".into()))),
            refused => refused,
        };
        let place = steps::place_of(&live);
        if let Some(place) = place {
            live.part = self.windows.came(now, arrived, place, login, refused.is_some());
        }
        let part = live.part;
        self.live.insert(login, live);
        if let (Part::Spoils, Some(place)) = (part, place) {
            self.enqueue(Lane::User(place.0), Work::SpoilWindow(place), out);
        }
        if let Some((reason, detail)) = refused {
            // Nothing is read for it and nobody is asked; the refusal is recorded in a lane of its own, so that a
            // flood for one user does not hold up that user's real login.
            self.enqueue(Lane::Login(login), Work::Refuse(login, reason, detail), out);
        } else {
            self.enqueue(user.map_or(Lane::Login(login), Lane::User), Work::Begin(login), out);
        }
    }

    /// An answer to a question. One that belongs to no question, or does not come from where that went, is refused as a
    /// login of its own and touches nothing else (S46).
    fn answered(&mut self, now: Now, request: LoginRequest, out: &mut Vec<Effect>) {
        let state = request.state.as_deref().and_then(|state| <[u8; 16]>::try_from(state).ok());
        let asked = state.and_then(|state| Some((state, *self.states.get(&state)?)));
        let asked = asked.and_then(|(state, login)| Some((state, login, self.live.get(&login)?)));
        let (reason, detail, heard) = match asked {
            Some((_, _, live)) if !live.is_answered_by(&request) => (Reason::Expired, Some("foreign_state"), None),
            Some((_, login, Live { stage: Stage::TakenOver, user: Some(user), .. })) => {
                (Reason::Collision, None, Some((*user, login)))
            }
            Some((state, login, Live { turn: Turn::Theirs(_), user: Some(user), .. })) if !self.is_late(now, login) => {
                let user = *user;
                self.states.remove(&state);
                self.turn_to(login, now, request.id);
                self.enqueue(Lane::User(user), Work::Answer(login, request.credential), out);
                return;
            }
            Some(_) | None => (Reason::Expired, Some("unknown_state"), None),
        };
        self.admit(now, request, Whose::nobodys(), Some((reason, detail.map(Cow::Borrowed))), now.monotonic, out);
        if let Some((user, login)) = heard {
            self.enqueue(Lane::User(user), Work::HeardAgain(login), out);
        }
    }

    fn is_late(&self, now: Now, login: LoginId) -> bool {
        self.live.get(&login).is_none_or(|live| live.prompt_until() <= now.monotonic)
    }

    /// A login has a newer request, which waits for a verdict.
    fn turn_to(&mut self, login: LoginId, now: Now, request: LoginId) {
        let before = self.live.get(&login).map(|live| live.turn.request());
        if let Some(before) = before {
            self.requests.remove(&before);
        }
        self.requests.insert(request, login);
        self.adjust(login, |live| {
            live.turn = Turn::Ours(request);
            live.round = now.monotonic;
            live.heard = Heard::default();
        });
    }

    /// The login that a request belongs to.
    fn login_of(&self, request: LoginId) -> LoginId {
        self.requests.get(&request).copied().unwrap_or(request)
    }

    fn heard(&mut self, now: Now, request: LoginId, out: &mut Vec<Effect>) {
        let login = self.login_of(request);
        let Some(live) = self.live.get(&login) else { return };
        match (&live.stage, live.turn) {
            (Stage::TakenOver, _) => {
                if let Some(user) = live.user {
                    self.enqueue(Lane::User(user), Work::HeardAgain(login), out);
                }
            }
            (Stage::Checking | Stage::Pending(_) | Stage::Approved(_), Turn::Ours(newest)) if newest == request => {
                self.adjust(login, |live| live.heard.again(live.round, now.monotonic));
            }
            // It was answered, and the door had not heard of that yet.
            (Stage::Checking | Stage::Pending(_) | Stage::Approved(_), _) => {}
        }
    }

    /// The client has used the place of this request for another one, and will not see what it is told.
    fn superseded(&mut self, request: LoginId, out: &mut Vec<Effect>) {
        let login = self.login_of(request);
        if self.live.get(&login).is_some_and(|live| live.turn.request() == request) {
            self.give_up(login, Reason::Superseded, out);
        }
    }

    /// The client does not want an answer to this login any more.
    fn give_up(&mut self, login: LoginId, reason: Reason, out: &mut Vec<Effect>) {
        if let Some(lane) = self.lane_of(login) {
            self.enqueue(lane, Work::End(login, reason), out);
        }
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Effect>) {
        while let Some((at, login)) = self.deadlines.first().copied() {
            if at > now.monotonic {
                break;
            }
            self.deadlines.remove(&(at, login));
            let Some(live) = self.live.get(&login) else { continue };
            let over = |end: Duration| end <= now.monotonic;
            let expired = live.pending().is_some_and(|pending| over(pending.deadline))
                || live.talk.as_ref().is_some_and(|talk| over(talk.until));
            if expired {
                self.give_up(login, Reason::Expired, out);
            } else if live.talk.is_some()
                && over(live.answer_by())
                && let Some(lane) = self.lane_of(login)
            {
                self.enqueue(lane, Work::NotYet(login), out);
            } else {
                self.give_up(login, Reason::Cancelled, out);
            }
        }
        while let Some(place) = self.windows.due(now.monotonic) {
            self.enqueue(Lane::User(place.0), Work::WindowDue(place), out);
        }
    }

    fn lane_of(&self, login: LoginId) -> Option<Lane> {
        let live = self.live.get(&login)?;
        Some(live.user.map_or(Lane::Login(login), Lane::User))
    }

    fn enqueue(&mut self, lane: Lane, work: Work, out: &mut Vec<Effect>) {
        self.lanes.entry(lane).or_default().queue.push_back(work);
        self.advance(lane, out);
    }

    /// Begins the next piece of work of a lane that is free.
    fn advance(&mut self, lane: Lane, out: &mut Vec<Effect>) {
        let Some(state) = self.lanes.get_mut(&lane) else { return };
        if state.busy.is_some() {
            return;
        }
        let Some(work) = state.queue.pop_front() else {
            if state.is_idle() {
                self.lanes.remove(&lane);
            } else {
                // It may wait for a device for long.
                state.queue.shrink_to_fit();
            }
            return;
        };
        state.busy = Some(Busy { work, tries: 0, after: None });
        self.load(lane, out);
    }

    /// Asks for what the work of a lane is decided from; of a user whom nobody knows there is nothing to read.
    fn load(&mut self, lane: Lane, out: &mut Vec<Effect>) {
        let Some(busy) = self.lanes.get(&lane).and_then(|state| state.busy.as_ref()) else { return };
        let challenge = match &busy.work {
            Work::Decide { challenge, .. } => Some(*challenge),
            _ => None,
        };
        match lane {
            Lane::User(user) => out.push(Effect::Load { lane, user, challenge }),
            Lane::Login(_) => self.ready.push(lane),
        }
    }

    fn loaded(
        &mut self,
        now: Now,
        lane: Lane,
        snapshot: Result<Option<Arc<UserSnapshot>>, ()>,
        challenge: Option<&Challenge>,
        entropy: &dyn Entropy,
        out: &mut Vec<Effect>,
    ) {
        let Some(state) = self.lanes.get_mut(&lane) else { return };
        let Some(busy) = state.busy.as_ref().filter(|busy| busy.after.is_none()) else { return };
        let Ok(snapshot) = snapshot else {
            let work = busy.work.clone();
            self.fail_closed(lane, &work, &[], out);
            return;
        };
        let view = View {
            now,
            entropy,
            live: &self.live,
            open: state.open.iter().filter_map(|login| self.live.get(login)).collect(),
            speaker: match &busy.work {
                Work::HeardAgain(older) => state.speaker(*older).and_then(|login| self.live.get(&login)),
                _ => None,
            },
            snapshot: snapshot.as_deref(),
            brakes: &self.brakes,
            checks: &self.checks,
            windows: &self.windows,
            remembered: &self.remembered,
            sources: &self.sources,
        };
        let step = steps::decide(&view, &busy.work, challenge);
        if busy.tries == 0 {
            for counted in step.after() {
                if let After::WrongCode { login } = counted {
                    self.count_wrong_code(now, *login, out);
                }
            }
        }
        let Some(state) = self.lanes.get_mut(&lane) else { return };
        match step {
            Step::Commit { commit, after } => {
                if let Some(busy) = &mut state.busy {
                    busy.after = Some(after);
                }
                out.push(Effect::Commit { lane, commit: Box::new(commit) });
            }
            Step::Free(after) => {
                if let Some(Busy { work: Work::Password(login, _), .. }) = state.busy.take() {
                    self.checks.end(login);
                }
                for step in after {
                    self.carry_out(now, lane, step, out);
                }
                self.advance(lane, out);
            }
        }
    }

    fn committed(&mut self, now: Now, lane: Lane, outcome: Result<(), CommitFault>, out: &mut Vec<Effect>) {
        let Some(state) = self.lanes.get_mut(&lane) else { return };
        let Some(mut busy) = state.busy.take() else { return };
        match outcome {
            Ok(()) => {
                if let Work::Password(login, _) = &busy.work {
                    self.checks.end(*login);
                }
                for step in busy.after.take().unwrap_or_default() {
                    self.carry_out(now, lane, step, out);
                }
                self.advance(lane, out);
            }
            Err(CommitFault::Conflict) if busy.tries < Self::TRIES => {
                busy.tries += 1;
                busy.after = None;
                state.busy = Some(busy);
                self.load(lane, out);
            }
            Err(CommitFault::Conflict | CommitFault::Unavailable) => {
                let after = busy.after.take().unwrap_or_default();
                self.fail_closed(lane, &busy.work, &after, out);
            }
        }
    }

    /// Storage does not do its part: nobody is let in. A challenge that is still pending there will expire there; the
    /// login behind it has ended here, so no decision can reach it.
    fn fail_closed(&mut self, lane: Lane, work: &Work, after: &[After], out: &mut Vec<Effect>) {
        if let Work::Password(login, _) = work {
            self.checks.end(*login);
        }
        if let Lane::User(user) = lane {
            self.remembered.forget(user);
        }
        // What was found out stands, even if it cannot be written: of two clients that are alive none is let in.
        let mut ends = Vec::new();
        match work {
            // The login goes on waiting: the device sends its decision again.
            Work::Decide { ticket, .. } => {
                out.push(Effect::Answer { ticket: *ticket, answer: DecisionAnswer::Unavailable });
            }
            Work::OpenWindow { ticket, .. } => {
                let answer = WindowAnswer::Refused(WindowRefusal::Unavailable);
                out.push(Effect::WindowAnswer { ticket: *ticket, answer });
            }
            Work::WindowDue(place) | Work::SpoilWindow(place) => {
                match self.windows.at(*place).and_then(|open| open.login) {
                    Some(login) => ends.push(login),
                    None => self.close_window(*place, ClosingState::Cancelled, out),
                }
            }
            Work::HeardAgain(older) => ends.extend(self.lanes.get(&lane).and_then(|state| state.speaker(*older))),
            _ => {
                ends.extend(work.login());
                ends.extend(after.iter().filter_map(|step| match step {
                    After::End { login, .. } => Some(*login),
                    _ => None,
                }));
            }
        }
        for login in ends {
            let Some(live) = self.live.get(&login).filter(|live| live.stage != Stage::TakenOver) else { continue };
            let asked = live.pending().map(|pending| pending.challenge);
            let (verdict, state) = match work {
                Work::End(_, reason @ (Reason::Superseded | Reason::Cancelled)) => {
                    (Verdict::Unanswered { reason: *reason }, ClosingState::Cancelled)
                }
                Work::End(..) => (Self::UNAVAILABLE, ClosingState::Expired),
                _ => (Self::UNAVAILABLE, ClosingState::Cancelled),
            };
            self.end(lane, login, verdict, out);
            out.extend(asked.map(|id| Effect::Publish(Notice::Closed { id, devices: Vec::new(), state })));
        }
        if let Some(state) = self.lanes.get_mut(&lane) {
            state.busy = None;
        }
        self.advance(lane, out);
    }

    fn fingerprint(&self, credential: &Credential) -> [u8; 32] {
        // What is proven is the user, whatever was said to prove it; and nothing that is typed equals that.
        let (kind, octets) = match credential {
            Credential::None => (0, &[][..]),
            Credential::Password(password) => (1, password.expose()),
            Credential::Chap(response) => (2, response.octets().expose()),
            Credential::Eap => (3, &[][..]),
            Credential::MsChap { response, .. } => (4, response.expose()),
        };
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return [0; 32] };
        mac.update(&[kind]);
        if let Credential::MsChap { challenge, .. } = credential {
            mac.update(challenge);
        }
        mac.update(octets);
        mac.finalize().into_bytes().into()
    }
}
