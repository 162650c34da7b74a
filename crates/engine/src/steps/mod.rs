//! What to do with one piece of work, given everything that is known. Nothing here changes anything: a step says what
//! to write and what follows when that is durable.

mod begin;
mod code;
mod counters;
mod decide;
mod end;
mod meet;
mod prompt;
mod push;
mod question;
mod second;
mod unasked;
mod upstream;
mod verification;
mod window;

use core::time::Duration;
use std::{collections::HashMap, sync::Arc};

use countersign_domain::{
    AuditEvent, Challenge, ChallengeId, ClosingState, Commit, DeviceId, Entropy, LimitScope, LoginId, LoginResult,
    Reason, ResourceId, Secret, SignInWindow, UserId, UserSnapshot, Verdict, Write,
};

use crate::{
    Against, DecisionAnswer, Now, WindowAnswer,
    brake::Brake,
    checks::Checks,
    lane::Work,
    live::{Approved, Binding, Live, Pending, ShownCode, Talk},
    record,
    remembered::{Approval, Remembered},
    sources::Sources,
    windows::{Place, Windows},
};

/// Everything that a step may look at.
pub(crate) struct View<'a> {
    pub(crate) now: Now,
    pub(crate) entropy: &'a dyn Entropy,
    pub(crate) live: &'a HashMap<LoginId, Live>,
    /// The logins of this user that wait for a device, or for an answer at their prompt.
    pub(crate) open: Vec<&'a Live>,
    /// Of a login that was heard again after a retry took it over: the retry.
    pub(crate) speaker: Option<&'a Live>,
    pub(crate) snapshot: Option<&'a UserSnapshot>,
    pub(crate) brakes: &'a HashMap<ResourceId, Brake>,
    pub(crate) checks: &'a Checks,
    pub(crate) windows: &'a Windows,
    pub(crate) remembered: &'a Remembered,
    pub(crate) sources: &'a Sources,
}

/// What to do.
pub(crate) enum Step {
    /// Write, and when it is durable carry out the rest.
    Commit { commit: Commit, after: Vec<After> },
    /// Nothing to write.
    Free(Vec<After>),
}

impl Step {
    /// With something more that follows.
    fn and(mut self, more: After) -> Self {
        let (Self::Commit { after, .. } | Self::Free(after)) = &mut self;
        after.push(more);
        self
    }

    /// What follows.
    pub(crate) fn after(&self) -> &[After] {
        let (Self::Commit { after, .. } | Self::Free(after)) = self;
        after
    }
}

/// What follows.
pub(crate) enum After {
    CheckPrimary {
        login: LoginId,
        against: Against,
        password: Secret,
    },
    Opened {
        login: LoginId,
        challenge: Arc<Challenge>,
        pending: Pending,
    },
    Question {
        login: LoginId,
        talk: Talk,
        message: String,
    },
    Shown {
        login: LoginId,
        shown: ShownCode,
    },
    Approved {
        login: LoginId,
        approved: Approved,
    },
    TakeOver {
        from: LoginId,
        to: LoginId,
        binding: Binding,
    },
    End {
        login: LoginId,
        verdict: Verdict,
    },
    Closed {
        id: ChallengeId,
        devices: Vec<DeviceId>,
        state: ClosingState,
    },
    Answer {
        ticket: u64,
        answer: DecisionAnswer,
    },
    Unapproved {
        resource: ResourceId,
    },
    WindowOpened {
        window: Box<SignInWindow>,
        decided: Duration,
    },
    Hold {
        place: Place,
        until: Duration,
    },
    WindowClosed {
        place: Place,
        state: ClosingState,
    },
    WindowAnswer {
        ticket: u64,
        answer: WindowAnswer,
    },
    /// Counted as soon as it is decided: others of the same place do not wait for this one to be written.
    WrongCode {
        login: LoginId,
    },
    Remember {
        user: UserId,
        resource: ResourceId,
        approval: Approval,
    },
    Spend {
        user: UserId,
        resource: ResourceId,
    },
    Forget {
        user: UserId,
    },
}

/// Decides one piece of work. A login that has ended in the meantime needs nothing.
pub(crate) fn decide(view: &View<'_>, work: &Work, challenge: Option<&Challenge>) -> Step {
    unasked::settle(view, window::settle(view, step(view, work, challenge)))
}

fn step(view: &View<'_>, work: &Work, challenge: Option<&Challenge>) -> Step {
    let live = |login: &LoginId| view.live.get(login);
    match work {
        Work::Begin(login) => live(login).map_or(NOTHING, |live| begin::begin(view, live)),
        Work::Password(login, outcome) => match live(login) {
            Some(live) => begin::password(view, live, *outcome),
            None => begin::late(view, *login, *outcome),
        },
        Work::Refuse(login, reason, detail) => {
            live(login).map_or(NOTHING, |live| turn_away(view, live, *reason, detail.as_deref()))
        }
        Work::End(login, reason) => live(login).map_or(NOTHING, |live| end::end(view, live, *reason)),
        Work::Answer(login, credential) => live(login).map_or(NOTHING, |live| prompt::answered(view, live, credential)),
        Work::NotYet(login) => live(login).map_or(NOTHING, |live| prompt::not_yet(view, live)),
        Work::HeardAgain(login) => live(login).map_or(NOTHING, |live| meet::heard_again(view, live)),
        Work::Decide { ticket, challenge: id, submission } => {
            decide::decide(view, *ticket, challenge.filter(|challenge| challenge.id == *id), submission)
        }
        Work::OpenWindow { ticket, request } => window::open(view, *ticket, request),
        Work::WindowDue(place) => window::due(view, *place),
        Work::SpoilWindow(place) => window::spoil(view, *place),
    }
}

pub(crate) use window::place_of;

const NOTHING: Step = Step::Free(Vec::new());

/// A reject without a challenge, with its record.
fn refuse(view: &View<'_>, live: &Live, reason: Reason, writes: Vec<Write>) -> Step {
    refuse_and(view, live, reason, writes, Vec::new())
}

/// Of a login that was refused before it began.
fn turn_away(view: &View<'_>, live: &Live, reason: Reason, detail: Option<&str>) -> Step {
    let mut event = record::ended(live, view.now.wall, LoginResult::Reject, reason);
    event.detail = detail.map(str::to_owned).or(event.detail);
    Step::Commit { commit: Commit::record(event), after: vec![reject(live, reason)] }
}

/// The same with a word that says more.
fn refuse_because(view: &View<'_>, live: &Live, reason: Reason, detail: Option<&'static str>) -> Step {
    refuse_for(view, live, Refusal { reason, detail }, Vec::new())
}

/// Why a login is refused.
#[derive(Clone, Copy)]
struct Refusal {
    reason: Reason,
    /// A word that says more.
    detail: Option<&'static str>,
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self { reason, detail: None }
    }
}

fn refuse_for(view: &View<'_>, live: &Live, refusal: Refusal, writes: Vec<Write>) -> Step {
    let mut event = record::ended(live, view.now.wall, LoginResult::Reject, refusal.reason);
    if let Some(detail) = refusal.detail {
        event.detail = Some(detail.to_owned());
    }
    Step::Commit { commit: Commit { writes, audit: vec![event] }, after: vec![reject(live, refusal.reason)] }
}

/// The same with further records.
fn refuse_and(view: &View<'_>, live: &Live, reason: Reason, writes: Vec<Write>, more: Vec<AuditEvent>) -> Step {
    let mut audit = vec![record::ended(live, view.now.wall, LoginResult::Reject, reason)];
    audit.extend(more);
    Step::Commit { commit: Commit { writes, audit }, after: vec![reject(live, reason)] }
}

/// Of a login whose devices were not asked; whether its prompt was decides how soon the client hears of it.
fn reject(live: &Live, reason: Reason) -> After {
    let verdict = Verdict::Reject { reason, after_challenge: live.talk.is_some() };
    After::End { login: live.id(), verdict }
}

/// The login is let in.
fn accept(live: &Live) -> After {
    After::End { login: live.id(), verdict: Verdict::Accept(live.grant()) }
}

/// Which counters the pushes of a login go by.
fn push_scope(user: UserId, live: &Live) -> LimitScope {
    if live.request.resource.proves_user() {
        LimitScope::User(user)
    } else {
        LimitScope::UserAt(user, live.request.resource.id)
    }
}
