use std::{borrow::Cow, collections::VecDeque};

use countersign_domain::{ChallengeId, Credential, LoginId, Reason};

use crate::{PrimaryOutcome, Submission, WindowRequest, steps::After, windows::Place};

/// One lane: what is being done and what waits.
#[derive(Default)]
pub(crate) struct LaneState {
    pub(crate) busy: Option<Busy>,
    pub(crate) queue: VecDeque<Work>,
    /// Logins that wait for a device, or for an answer at their prompt.
    pub(crate) open: Vec<LoginId>,
    /// Logins that a retry speaks for, each with the login that does.
    pub(crate) taken_over: Vec<(LoginId, LoginId)>,
}

impl LaneState {
    pub(crate) fn is_idle(&self) -> bool {
        self.busy.is_none() && self.queue.is_empty() && self.open.is_empty() && self.taken_over.is_empty()
    }

    /// `to` speaks for `from` and for all that `from` spoke for.
    pub(crate) fn take_over(&mut self, from: LoginId, to: LoginId) {
        self.open.retain(|login| *login != from);
        for (_, speaker) in self.taken_over.iter_mut().filter(|(_, speaker)| *speaker == from) {
            *speaker = to;
        }
        self.taken_over.push((from, to));
    }

    /// The login that speaks for `older`.
    pub(crate) fn speaker(&self, older: LoginId) -> Option<LoginId> {
        self.taken_over.iter().find(|(from, _)| *from == older).map(|(_, speaker)| *speaker)
    }

    /// A login has ended; those that it spoke for.
    pub(crate) fn close(&mut self, login: LoginId) -> Vec<LoginId> {
        self.open.retain(|open| *open != login);
        let spoken_for =
            self.taken_over.iter().filter(|(_, speaker)| *speaker == login).map(|(from, _)| *from).collect();
        self.taken_over.retain(|(from, speaker)| *speaker != login && *from != login);
        spoken_for
    }
}

pub(crate) struct Busy {
    pub(crate) work: Work,
    pub(crate) tries: u8,
    /// Set while the commit of the work is under way.
    pub(crate) after: Option<Vec<After>>,
}

/// What a lane does, one after the other.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    /// A new login.
    Begin(LoginId),
    /// Its password was checked.
    Password(LoginId, PrimaryOutcome),
    /// Its prompt was answered.
    Answer(LoginId, Credential),
    /// The client will not wait any longer for a device to decide.
    NotYet(LoginId),
    /// A device decided.
    Decide { ticket: u64, challenge: ChallengeId, submission: Box<Submission> },
    /// A login that is turned away at the door.
    Refuse(LoginId, Reason, Option<Cow<'static, str>>),
    /// A login ends without anybody's doing.
    End(LoginId, Reason),
    /// A login that a retry speaks for was heard again.
    HeardAgain(LoginId),
    /// A device opens a sign-in window.
    OpenWindow { ticket: u64, request: Box<WindowRequest> },
    /// The time of a window has come.
    WindowDue(Place),
    /// Somebody else came to a window.
    SpoilWindow(Place),
}

impl Work {
    pub(crate) const fn login(&self) -> Option<LoginId> {
        match self {
            Self::Begin(login)
            | Self::Password(login, _)
            | Self::Answer(login, _)
            | Self::NotYet(login)
            | Self::Refuse(login, ..)
            | Self::End(login, _)
            | Self::HeardAgain(login) => Some(*login),
            Self::Decide { .. } | Self::OpenWindow { .. } | Self::WindowDue(_) | Self::SpoilWindow(_) => None,
        }
    }
}
