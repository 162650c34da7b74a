use core::time::Duration;

use countersign_domain::{
    ChallengeId, ClientId, Credential, DecisionRecord, DeviceId, Grant, LoginId, LoginRequest, Methods, NumberMode,
    Retries, Secret, ThrottlePolicy, Timestamp, UpstreamAttributes, UserId,
};

use crate::{Now, windows::Part};

/// A login that has no verdict yet.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) request: LoginRequest,
    pub(crate) user: Option<UserId>,
    /// Those of the groups that the resource names that have the user.
    pub(crate) groups: Vec<String>,
    /// How many wrong passwords of the user are evaluated.
    pub(crate) policy: ThrottlePolicy,
    /// HMAC of the credential under a key that lives in memory only.
    pub(crate) credential: [u8; 32],
    pub(crate) started: Now,
    pub(crate) turn: Turn,
    /// When the newest of its requests came in.
    pub(crate) round: Duration,
    pub(crate) stage: Stage,
    pub(crate) first: First,
    /// The attributes with which other servers let it in, where they were asked.
    pub(crate) sent: Option<UpstreamAttributes>,
    /// What its prompt has asked; `None` where there has been none.
    pub(crate) talk: Option<Talk>,
    /// Retransmissions of the newest of its requests.
    pub(crate) heard: Heard,
    /// What it is to the sign-in window of its user.
    pub(crate) part: Part,
}

/// How far the first factor of a login is when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    /// It is to be checked.
    Unchecked,
    /// Other servers have proven it.
    Proven,
}

/// Whose turn it is in the talk between client and server; both name the newest request of the login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The request waits for a verdict.
    Ours(LoginId),
    /// It was answered with a question, and the answer to that will be another request.
    Theirs(LoginId),
}

impl Turn {
    pub(crate) const fn request(self) -> LoginId {
        match self {
            Self::Ours(request) | Self::Theirs(request) => request,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stage {
    /// No device is asked: its first factor or its code is being checked, or its prompt asks for something else.
    Checking,
    /// Its devices are asked.
    Pending(Pending),
    /// A device has approved it, and the answer to its prompt has not come yet.
    Approved(Approved),
    /// A retry speaks for it; hearing it again means that two clients are alive.
    TakenOver,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) challenge: ChallengeId,
    pub(crate) binding: Binding,
    /// How often a retry has taken the challenge over.
    pub(crate) takeovers: u8,
    /// The end of the challenge by the clock that nobody turns back.
    pub(crate) deadline: Duration,
    /// The same as it is stored.
    pub(crate) expires_at: Timestamp,
}

/// What goes by way of the user's eyes from the login to the phone or back, so that an approval is for this login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Binding {
    /// Nothing.
    None,
    /// The number that the prompt shows.
    Typed(Secret),
    /// The code that the phone shows, once it does.
    CodeToPhone(Option<ShownCode>),
}

/// A code that a device has got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShownCode {
    pub(crate) code: Secret,
    /// The Verify that it is the answer to.
    pub(crate) to: DecisionRecord,
    /// The word for what that showed of the person.
    pub(crate) verification: Option<&'static str>,
}

impl Binding {
    pub(crate) const fn mode(&self) -> NumberMode {
        match self {
            Self::None => NumberMode::None,
            Self::Typed(_) => NumberMode::Typed,
            Self::CodeToPhone(_) => NumberMode::CodeToPhone,
        }
    }

    /// The number or code, where there is one.
    pub(crate) const fn number(&self) -> Option<&Secret> {
        match self {
            Self::Typed(number) | Self::CodeToPhone(Some(ShownCode { code: number, .. })) => Some(number),
            Self::None | Self::CodeToPhone(None) => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Approved {
    pub(crate) challenge: ChallengeId,
    pub(crate) device: DeviceId,
    /// The word for what its Verify showed of the person.
    pub(crate) verification: Option<&'static str>,
}

/// What has been asked at the prompt of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Talk {
    pub(crate) topic: Topic,
    /// By which the answer to the newest question is known; good for one.
    pub(crate) state: [u8; 16],
    /// Questions so far.
    pub(crate) asked: u8,
    /// Wrong answers so far.
    pub(crate) wrong: u8,
    /// No answer counts from then on.
    pub(crate) until: Duration,
}

/// What is asked at a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topic {
    /// In which way to go on.
    Choice,
    /// For a code: that of the challenge, that of the account list, or either.
    Code,
    /// For nothing but that the user says when the number is typed into the phone.
    Number,
}

/// Retransmissions heard, from which it shows that the client has given up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    last: Option<Duration>,
    interval: Duration,
    count: u32,
}

impl Heard {
    /// Silence of so many of the longest intervals seen means that the client has gone.
    const SILENCE: u32 = 3;
    /// It is not inferred from less silence than this.
    const LEAST: Duration = Duration::from_secs(5);
    /// It is not inferred from fewer retransmissions than this.
    const ENOUGH: u32 = 2;

    pub(crate) fn again(&mut self, started: Duration, now: Duration) {
        let before = self.last.unwrap_or(started);
        self.interval = self.interval.max(now.saturating_sub(before));
        self.last = Some(now);
        self.count = self.count.saturating_add(1);
    }

    /// When the client counts as gone; `None` while too little is known.
    pub(crate) fn gone_at(&self) -> Option<Duration> {
        let last = self.last.filter(|_| self.count >= Self::ENOUGH)?;
        Some(last.saturating_add(self.interval.saturating_mul(Self::SILENCE).max(Self::LEAST)))
    }
}

impl Live {
    /// A login with a prompt lives so long, whatever is asked in that time: no State and no challenge outlives it
    /// (`security.md` section 4).
    const PROMPT_LIFE: Duration = Duration::from_secs(120);

    pub(crate) const fn pending(&self) -> Option<&Pending> {
        match &self.stage {
            Stage::Pending(pending) => Some(pending),
            Stage::Checking | Stage::Approved(_) | Stage::TakenOver => None,
        }
    }

    /// What binds the login to the challenge that it has or had.
    pub(crate) fn mode(&self) -> NumberMode {
        match &self.stage {
            Stage::Pending(pending) => pending.binding.mode(),
            Stage::Approved(_) => NumberMode::Typed,
            Stage::Checking | Stage::TakenOver => NumberMode::None,
        }
    }

    /// What may be asked at its prompt. Whoever is proven by other servers talked to them by EAP, in which nobody can ask
    /// anything but they; and a client that speaks MS-CHAP speaks of passwords only.
    pub(crate) fn prompt(&self) -> Option<Methods> {
        match (self.first, &self.request.credential) {
            (First::Proven, _) | (First::Unchecked, Credential::MsChap { .. }) => None,
            (First::Unchecked, _) => self.request.resource.policy.prompt,
        }
    }

    /// Until when its prompt may be answered.
    pub(crate) fn prompt_until(&self) -> Duration {
        self.talk.as_ref().map_or_else(|| self.started.monotonic.saturating_add(Self::PROMPT_LIFE), |talk| talk.until)
    }

    /// Whether `answer` may answer its prompt: it comes from where the question went, in the name that began (S46).
    pub(crate) fn is_answered_by(&self, answer: &LoginRequest) -> bool {
        let first = &self.request;
        first.door == answer.door
            && first.client == answer.client
            && first.peer == answer.peer
            && first.user_typed == answer.user_typed
    }

    /// When something is due for it: its challenge or its prompt is over, its request must be answered, or its client
    /// counts as gone.
    pub(crate) fn due(&self) -> Option<Duration> {
        let talk = self.talk.as_ref();
        let challenge = match &self.stage {
            Stage::TakenOver => return None,
            Stage::Pending(pending) => Some(pending.deadline),
            Stage::Approved(_) | Stage::Checking => None,
        };
        let prompt = talk.map(|talk| talk.until);
        let waits = talk.is_some_and(|talk| talk.topic == Topic::Number);
        match self.turn {
            Turn::Theirs(_) => prompt,
            Turn::Ours(_) if challenge.is_some() || waits => {
                let answer = waits.then(|| self.answer_by());
                [challenge, prompt, answer, self.heard.gone_at()].into_iter().flatten().min()
            }
            Turn::Ours(_) => None,
        }
    }

    pub(crate) const fn id(&self) -> LoginId {
        self.request.id
    }

    pub(crate) const fn client(&self) -> ClientId {
        self.request.client
    }

    /// What the login is given when it is accepted.
    pub(crate) fn grant(&self) -> Grant {
        let named = self.request.resource.policy.reply_to(|group| self.groups.iter().any(|known| known == group));
        Grant { named, upstream: self.sent.clone().unwrap_or_default() }
    }

    /// Until when the door's client waits for a verdict on the newest request.
    pub(crate) fn answer_by(&self) -> Duration {
        self.round.saturating_add(self.request.resource.answer_by)
    }

    /// Whether `newer` is this very login, sent again under a new identifier.
    pub(crate) fn is_retried_by(&self, newer: &Self) -> bool {
        const TAKEOVERS: u8 = 3;
        let (old, new) = (&self.request, &newer.request);
        let Some(pending) = self.pending() else { return false };
        // Whoever has answered a question has got it, and whoever has been shown a code has a prompt to type it at.
        let unanswered = self.talk.as_ref().is_none_or(|talk| talk.asked == 1 && matches!(self.turn, Turn::Theirs(_)));
        old.resource.retries == Retries::Join
            && unanswered
            && !matches!(pending.binding, Binding::CodeToPhone(Some(_)))
            && self.prompt() == newer.prompt()
            && pending.takeovers < TAKEOVERS
            && newer.started.monotonic < pending.deadline
            && old.resource.id == new.resource.id
            && old.client == new.client
            && self.credential == newer.credential
            && old.source.address.is_some()
            && old.source == new.source
            && new.retry.tells_logins_apart()
            && old.retry == new.retry
    }

    /// Whether both come from one known place.
    pub(crate) fn same_known_source(&self, other: &Self) -> bool {
        self.request.source.address.is_some() && self.request.source == other.request.source
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_gone_only_after_two_retransmissions_and_three_silent_intervals() {
        let s = Duration::from_secs;
        let mut heard = Heard::default();
        assert_eq!(heard.gone_at(), None);
        heard.again(s(0), s(5));
        assert_eq!(heard.gone_at(), None);
        heard.again(s(0), s(15));
        assert_eq!(heard.gone_at(), Some(s(45)));
    }
}
