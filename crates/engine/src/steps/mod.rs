//! What to do with one piece of work, given everything that is known. Nothing here changes anything: a step says what
//! to write and what follows when that is durable.

mod begin;
mod code;
mod counters;
mod decide;
mod end;
mod meet;
mod push;
mod second;
mod verification;

use core::time::Duration;
use std::{collections::HashMap, sync::Arc};

use countersign_domain::{
    AuditEvent, Challenge, ChallengeId, ClosingState, Commit, DeviceId, Entropy, LimitScope, LoginId, LoginResult,
    Reason, ResourceId, Secret, UserId, UserSnapshot, Verdict, Write,
};

use crate::{Against, DecisionAnswer, Now, brake::Brake, checks::Checks, lane::Work, live::Live, record};

/// Everything that a step may look at.
pub(crate) struct View<'a> {
    pub(crate) now: Now,
    pub(crate) entropy: &'a dyn Entropy,
    pub(crate) live: &'a HashMap<LoginId, Live>,
    /// The logins of this user whose challenges are pending.
    pub(crate) open: Vec<&'a Live>,
    /// Of a login that was heard again after a retry took it over: the retry.
    pub(crate) speaker: Option<&'a Live>,
    pub(crate) snapshot: Option<&'a UserSnapshot>,
    pub(crate) brakes: &'a HashMap<ResourceId, Brake>,
    pub(crate) checks: &'a Checks,
}

/// What to do.
pub(crate) enum Step {
    /// Write, and when it is durable carry out the rest.
    Commit { commit: Commit, after: Vec<After> },
    /// Nothing to write.
    Free(Vec<After>),
}

/// What follows.
pub(crate) enum After {
    CheckPrimary { login: LoginId, against: Against, password: Secret },
    Ask { login: LoginId, challenge: Arc<Challenge>, deadline: Duration },
    TakeOver { from: LoginId, to: LoginId },
    End { login: LoginId, verdict: Verdict },
    Closed { id: ChallengeId, devices: Vec<DeviceId>, state: ClosingState },
    Answer { ticket: u64, answer: DecisionAnswer },
    Unapproved { resource: ResourceId },
}

/// Decides one piece of work. A login that has ended in the meantime needs nothing.
pub(crate) fn decide(view: &View<'_>, work: &Work, challenge: Option<&Challenge>) -> Step {
    let live = |login: &LoginId| view.live.get(login);
    match work {
        Work::Begin(login) => live(login).map_or(NOTHING, |live| begin::begin(view, live)),
        Work::Password(login, outcome) => match live(login) {
            Some(live) => begin::password(view, live, *outcome),
            None => begin::late(view, *login, *outcome),
        },
        Work::Refuse(login, reason, detail) => {
            live(login).map_or(NOTHING, |live| refuse_because(view, live, *reason, *detail))
        }
        Work::End(login, reason) => live(login).map_or(NOTHING, |live| end::end(view, live, *reason)),
        Work::HeardAgain(login) => live(login).map_or(NOTHING, |live| meet::heard_again(view, live)),
        Work::Decide { ticket, challenge: id, submission } => {
            decide::decide(view, *ticket, challenge.filter(|challenge| challenge.id == *id), submission)
        }
    }
}

const NOTHING: Step = Step::Free(Vec::new());

/// A reject before anybody was asked, with its record.
fn refuse(view: &View<'_>, live: &Live, reason: Reason, writes: Vec<Write>) -> Step {
    refuse_and(view, live, reason, writes, Vec::new())
}

/// The same with a word that says more.
fn refuse_because(view: &View<'_>, live: &Live, reason: Reason, detail: Option<&'static str>) -> Step {
    let mut event = record::ended(live, view.now.wall, LoginResult::Reject, reason);
    event.detail = detail.map(str::to_owned);
    let verdict = Verdict::Reject { reason, after_challenge: false };
    let commit = Commit { writes: Vec::new(), audit: vec![event] };
    Step::Commit { commit, after: vec![After::End { login: live.id(), verdict }] }
}

/// The same with further records.
fn refuse_and(view: &View<'_>, live: &Live, reason: Reason, writes: Vec<Write>, more: Vec<AuditEvent>) -> Step {
    let mut audit = vec![record::ended(live, view.now.wall, LoginResult::Reject, reason)];
    audit.extend(more);
    let verdict = Verdict::Reject { reason, after_challenge: false };
    Step::Commit { commit: Commit { writes, audit }, after: vec![After::End { login: live.id(), verdict }] }
}

/// Which counters the pushes of a login go by.
fn push_scope(user: UserId, live: &Live) -> LimitScope {
    if live.request.resource.proves_user() {
        LimitScope::User(user)
    } else {
        LimitScope::UserAt(user, live.request.resource.id)
    }
}
