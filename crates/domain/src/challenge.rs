use crate::{
    ChallengeId, ClosingState, Decision, DeviceId, LoginId, NumberMode, ResourceId, Timestamp, UserId,
    UserVerification, UserVerificationReached,
};

/// What a user's devices are asked to decide: one login, once.
#[derive(Debug, Clone)]
pub struct Challenge {
    /// 128 random bits; may be seen by push services.
    pub id: ChallengeId,
    /// The login that a Verify lets in. A retry of the same login may take the challenge over; nothing else changes it.
    pub login: LoginId,
    /// Whose login it is.
    pub user: UserId,
    /// Where the login is.
    pub resource: ResourceId,
    /// 256 random bits, signed with the decision; only devices that proved their key see it.
    pub nonce: [u8; 32],
    /// The octets that the devices show and sign: a JSON document of the device protocol.
    pub context: Vec<u8>,
    /// Fixed when the challenge is made.
    pub number_mode: NumberMode,
    /// Fixed when the challenge is made.
    pub user_verification: UserVerification,
    /// The devices that were asked; no other may answer (S16).
    pub devices: Vec<DeviceId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From this time on no Verify is taken, whether or not anybody has noticed (S14).
    pub expires_at: Timestamp,
    /// Whether somebody said after its end that it was not them.
    pub reported: bool,
    /// Where it stands.
    pub state: ChallengeState,
}

/// Where a challenge stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChallengeState {
    /// Nobody has decided and it has not been closed.
    Pending,
    /// Over. There is no way back.
    Closed(Closing),
}

/// How and when a challenge ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// How.
    pub state: ClosingState,
    /// When.
    pub at: Timestamp,
    /// The decision that closed it, if one did; kept so that the same decision sent again gets the same answer.
    pub decision: Option<DecisionRecord>,
}

/// A decision with a valid signature, as taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRecord {
    /// Who decided.
    pub device: DeviceId,
    /// What.
    pub decision: Decision,
    /// The number typed, empty where the mode has none.
    pub number: String,
    /// How the user was verified.
    pub user_verification: UserVerificationReached,
    /// The device's clock, as signed; decides nothing.
    pub device_time: String,
}

impl Challenge {
    /// How long a closed challenge is told about and a `deny_report` of it is taken.
    pub const AFTERLIFE: core::time::Duration = core::time::Duration::from_secs(600);

    /// Whether a Verify would still be taken at `now`.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.state == ChallengeState::Pending && now < self.expires_at
    }

    /// The closing state as a device sees it at `now`: an overdue challenge is expired even before anything closed it.
    pub fn closing_state(&self, now: Timestamp) -> Option<ClosingState> {
        match &self.state {
            ChallengeState::Closed(closing) => Some(closing.state),
            ChallengeState::Pending if now >= self.expires_at => Some(ClosingState::Expired),
            ChallengeState::Pending => None,
        }
    }
}
