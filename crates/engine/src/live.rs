use core::time::Duration;

use countersign_domain::{ChallengeId, ClientId, LoginId, LoginRequest, Retries, ThrottlePolicy, UserId};

use crate::Now;

/// A login that has no verdict yet.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) request: LoginRequest,
    pub(crate) user: Option<UserId>,
    /// How many wrong passwords of the user are evaluated.
    pub(crate) policy: ThrottlePolicy,
    /// HMAC of the credential under a key that lives in memory only.
    pub(crate) credential: [u8; 32],
    pub(crate) started: Now,
    pub(crate) stage: Stage,
    pub(crate) heard: Heard,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its first factor or its code is being checked.
    Checking,
    /// Its devices are asked.
    Pending(Pending),
    /// A retry speaks for it; hearing it again means that two clients are alive.
    TakenOver,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) challenge: ChallengeId,
    /// How often a retry has taken the challenge over.
    pub(crate) takeovers: u8,
    /// The end of the challenge by the clock that nobody turns back.
    pub(crate) deadline: Duration,
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
    pub(crate) const fn pending(&self) -> Option<&Pending> {
        match &self.stage {
            Stage::Pending(pending) => Some(pending),
            Stage::Checking | Stage::TakenOver => None,
        }
    }

    pub(crate) const fn id(&self) -> LoginId {
        self.request.id
    }

    pub(crate) const fn client(&self) -> ClientId {
        self.request.client
    }

    /// Until when the door's client waits.
    pub(crate) fn answer_by(&self) -> Duration {
        self.started.monotonic.saturating_add(self.request.resource.answer_by)
    }

    /// Whether `newer` is this very login, sent again under a new identifier.
    pub(crate) fn is_retried_by(&self, newer: &Self) -> bool {
        const TAKEOVERS: u8 = 3;
        let (old, new) = (&self.request, &newer.request);
        let Some(pending) = self.pending() else { return false };
        old.resource.retries == Retries::Join
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
