use core::time::Duration;
use std::{borrow::Cow, sync::Arc};

use countersign_domain::{
    AuditEvent, Challenge, ChallengeId, ClosingState, Commit, DecisionRecord, DeviceId, DirectoryId, Door, EntryId,
    HostileText, LoginId, LoginRequest, Passkey, PasswordHash, Reason, Resource, Secret, SignInWindow, ThrottlePolicy,
    Timestamp, UpstreamAttributes, UpstreamId, UserId, UserOrigin, UserSnapshot, UserVerificationReached, Verdict,
    WindowId, WindowState,
};

/// The time, twice: as people and databases know it, and as a clock that nobody can turn back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// UTC; may jump.
    pub wall: Timestamp,
    /// Since some start; only goes forward.
    pub monotonic: Duration,
}

/// Who a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The name belongs to this user, who was added here.
    Known(UserId),
    /// The name belongs to this user, who is an entry of the resource's directory.
    Entry {
        /// Who.
        user: UserId,
        /// How many wrong passwords the directory is asked about.
        policy: ThrottlePolicy,
        /// Those of the groups that the resource names that have the user.
        groups: Vec<String>,
    },
    /// The directory has said enough to turn the login away.
    Refused {
        /// Whose name it is, where that is known.
        user: Option<UserId>,
        /// Why.
        reason: Reason,
        /// More of it, one word for the record.
        detail: Option<Cow<'static, str>>,
    },
    /// Nobody has the name.
    Unknown,
    /// The name could not be looked up.
    Unavailable,
}

/// What happens in one lane happens one thing at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Everything of one user.
    User(UserId),
    /// A login of nobody we know.
    Login(LoginId),
}

/// What comes in.
#[derive(Debug)]
pub enum Event {
    /// A door has a new login.
    Start {
        /// The request.
        request: Box<LoginRequest>,
        /// Who it is about.
        subject: Subject,
        /// When the door got it, by the monotonic clock.
        arrived: Duration,
    },
    /// A login whose first factor other servers have proven before it came here, in a talk of their own with the client. Made
    /// from their verified Accept, and from nothing that a request says.
    Proven {
        /// The newest request of that talk, in the name that the servers gave.
        request: Box<LoginRequest>,
        /// Who it is about.
        subject: Subject,
        /// When the door got it, by the monotonic clock.
        arrived: Duration,
        /// The attributes with which they let the user in.
        attributes: UpstreamAttributes,
    },
    /// A door has an answer to a [`countersign_domain::Question`]: a request with State.
    Answered {
        /// The request. Its identifier names the verdict on it; the login keeps that of its first request.
        request: Box<LoginRequest>,
    },
    /// A door heard a retransmission of a request that has no answer yet.
    Heard(LoginId),
    /// A door got a newer request in the place of this one (RFC 5080 section 2.2.2).
    Superseded(LoginId),
    /// Answer to [`Effect::Load`].
    Loaded {
        /// The lane that asked.
        lane: Lane,
        /// The user; `None` when there is no such user any more; `Err` when storage did not answer.
        snapshot: Result<Option<Arc<UserSnapshot>>, ()>,
        /// The challenge that was asked for.
        challenge: Option<Box<Challenge>>,
    },
    /// Answer to [`Effect::CheckPrimary`]; there is exactly one.
    PrimaryChecked {
        /// The login.
        login: LoginId,
        /// What came of it.
        outcome: PrimaryOutcome,
        /// Of [`Against::Upstream`], if it is right: the attributes with which the servers let the login in.
        attributes: Option<UpstreamAttributes>,
    },
    /// Answer to [`Effect::Commit`].
    Committed {
        /// The lane that asked.
        lane: Lane,
        /// Whether it is durable.
        outcome: Result<(), CommitFault>,
    },
    /// A device decided. Its proof is checked, the decision is not.
    Decided {
        /// Names the answer.
        ticket: u64,
        /// The user that the device belongs to.
        user: UserId,
        /// The challenge it names.
        challenge: ChallengeId,
        /// What it sent.
        submission: Box<Submission>,
    },
    /// A device opens a sign-in window. Its proof, its signature and its assertion are checked, and that it has opened none
    /// under this identifier.
    OpenWindow {
        /// Names the answer.
        ticket: u64,
        /// The user that the device belongs to.
        user: UserId,
        /// What it asks for.
        request: Box<WindowRequest>,
    },
    /// Time has passed; see [`crate::Engine::next_deadline`].
    Tick,
}

/// A sign-in window that a device opens.
#[derive(Debug, Clone)]
pub struct WindowRequest {
    /// Made by the device.
    pub id: WindowId,
    /// Which device.
    pub device: DeviceId,
    /// For logins where.
    pub resource: Arc<Resource>,
    /// How the user was verified.
    pub user_verification: UserVerificationReached,
    /// The device's clock, as signed.
    pub device_time: String,
    /// Whether the assertion is right, if one came along.
    pub assertion: Option<PasskeyCheck>,
}

/// Checks an assertion over what is known already against the device's passkey.
#[derive(Clone)]
pub struct PasskeyCheck(Arc<CheckPasskey>);

type CheckPasskey = dyn Fn(&Passkey) -> AssertionOutcome + Send + Sync;

impl PasskeyCheck {
    /// From a function that verifies the assertion.
    pub fn new(check: impl Fn(&Passkey) -> AssertionOutcome + Send + Sync + 'static) -> Self {
        Self(Arc::new(check))
    }

    pub(crate) fn of(&self, passkey: &Passkey) -> AssertionOutcome {
        (self.0)(passkey)
    }
}

impl std::fmt::Debug for PasskeyCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasskeyCheck")
    }
}

impl WindowRequest {
    /// The window that it asks for, if it is opened at `now`.
    pub fn window(&self, user: UserId, now: Timestamp) -> SignInWindow {
        SignInWindow {
            device: self.device,
            id: self.id.clone(),
            user,
            resource: self.resource.id,
            application: self.resource.name.clone(),
            user_verification: self.user_verification,
            device_time: self.device_time.clone(),
            opened_at: now,
            expires_at: now.plus(SignInWindow::LIFE),
            state: WindowState::Open,
        }
    }
}

/// What a device is told about a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowAnswer {
    /// It is open, now or since the same was sent before.
    Open {
        /// From when on no login begins in it.
        expires_at: Timestamp,
    },
    /// It is not.
    Refused(WindowRefusal),
}

/// Why a window is not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowRefusal {
    /// The device may not open any.
    DeviceRemoved,
    /// The account is disabled.
    AccountDisabled,
    /// The user cannot open windows there.
    ApplicationUnknown,
    /// The device used the identifier for another one.
    IdUsed,
    /// The policy asks for user verification.
    UserVerificationRequired,
    /// Verification of this kind cannot be checked, or not for this device.
    UserVerificationUnsupported,
    /// The assertion shows nothing.
    AssertionInvalid,
    /// A login was reported and nobody has looked at it.
    Frozen,
    /// One is open there.
    AlreadyOpen,
    /// A login of the user is there, or came a moment ago.
    LoginUnderWay {
        /// Until when at least.
        until: Timestamp,
    },
    /// A login of the user there was not approved.
    LoginUnapproved {
        /// Until when that counts.
        until: Timestamp,
    },
    /// The user has opened too many.
    Spent {
        /// Until when.
        until: Timestamp,
    },
    /// Storage does not answer.
    Unavailable,
}

impl WindowRefusal {
    /// The word for the record, which is that of the device protocol.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DeviceRemoved => "device_removed",
            Self::AccountDisabled => "account_disabled",
            Self::ApplicationUnknown => "application_unknown",
            Self::IdUsed => "window_id_used",
            Self::UserVerificationRequired => "user_verification_required",
            Self::UserVerificationUnsupported => "user_verification_unsupported",
            Self::AssertionInvalid => "assertion_invalid",
            Self::Frozen => "account_frozen",
            Self::AlreadyOpen => "window_open",
            Self::LoginUnderWay { .. } => "login_under_way",
            Self::LoginUnapproved { .. } => "login_unapproved",
            Self::Spent { .. } => "too_many_attempts",
            Self::Unavailable => "unavailable",
        }
    }
}

/// A decision as it came from a device.
#[derive(Debug, Clone)]
pub struct Submission {
    /// The fields that are signed.
    pub record: DecisionRecord,
    /// Whether the signature is right, computed over the server's own row: given by a function because the row is only
    /// read when the decision's turn has come.
    pub signature: SignatureCheck,
    /// Whether the assertion is right, if one came along.
    pub assertion: Option<AssertionCheck>,
}

/// Checks a submission's signature against the server's row of the challenge.
#[derive(Clone)]
pub struct SignatureCheck(Arc<dyn Fn(&Challenge) -> bool + Send + Sync>);

impl SignatureCheck {
    /// From a function that rebuilds the signed octets from the row and verifies.
    pub fn new(check: impl Fn(&Challenge) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(check))
    }

    pub(crate) fn holds(&self, challenge: &Challenge) -> bool {
        (self.0)(challenge)
    }
}

impl std::fmt::Debug for SignatureCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SignatureCheck")
    }
}

/// Checks a submission's WebAuthn assertion against the server's row of the challenge and the device's passkey.
#[derive(Clone)]
pub struct AssertionCheck(Arc<CheckAssertion>);

type CheckAssertion = dyn Fn(&Challenge, &Passkey) -> AssertionOutcome + Send + Sync;

impl AssertionCheck {
    /// From a function that rebuilds the signed octets from the row and verifies the assertion over them.
    pub fn new(check: impl Fn(&Challenge, &Passkey) -> AssertionOutcome + Send + Sync + 'static) -> Self {
        Self(Arc::new(check))
    }

    pub(crate) fn of(&self, challenge: &Challenge, passkey: &Passkey) -> AssertionOutcome {
        (self.0)(challenge, passkey)
    }
}

impl std::fmt::Debug for AssertionCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AssertionCheck")
    }
}

/// What came of checking an assertion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AssertionOutcome {
    /// The user was verified, for this decision. The passkey as it is to be kept.
    Holds(Passkey),
    /// It shows nothing.
    Fails,
    /// It would hold, but its counter is not higher than the last one: there may be a copy of the passkey.
    CounterBack,
}

/// What came of checking a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrimaryOutcome {
    /// It is right.
    Right,
    /// It is wrong, or there is none.
    Wrong,
    /// Too many are being checked; it was not looked at.
    Busy,
    /// The directory does not let the account log on. One word for the record says why; it is no wrong password.
    Refused(&'static str),
    /// Nothing is known about the password. One word for the record says why.
    Unavailable(&'static str),
    /// The servers that the login was sent on to do not let it in.
    Rejected,
    /// They let in somebody else.
    SomebodyElse,
    /// They sent it back to us, so nothing is known.
    Looped,
}

/// What a password is checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Against {
    /// A hash of our own. Without one the same work is done for nothing.
    Local {
        /// The hash.
        hash: Option<PasswordHash>,
    },
    /// A directory.
    Directory {
        /// Which.
        directory: DirectoryId,
        /// The name as it was typed.
        name: HostileText,
        /// The only entry whose password counts; without one nobody's does.
        entry: Option<EntryId>,
    },
    /// Other RADIUS servers, which the request is sent on to.
    Upstream {
        /// Which.
        upstream: UpstreamId,
        /// The attributes of the request, without the password.
        attributes: UpstreamAttributes,
        /// The answer is needed by then.
        budget: Duration,
        /// The name as it was typed.
        name: HostileText,
        /// Whose name that is; an Accept may name nobody else.
        user: UserId,
        /// Where that user comes from.
        origin: UserOrigin,
    },
}

/// Why a commit was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitFault {
    /// A condition does not hold any more.
    Conflict,
    /// Storage does not take it.
    Unavailable,
}

/// What a device is told about its decision, in the words of the device protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecisionAnswer {
    /// Taken, now or when the same was sent before.
    Taken(ClosingState),
    /// Taken, now or when the same was sent before; this code is to be typed where the login is.
    CodeShown(Secret),
    /// Its code has been shown already, to this or another device.
    CodeShownBefore,
    /// The number is wrong, now or when the same was sent before; the login has been ended.
    NumberWrong,
    /// No such challenge for this device.
    NotFound,
    /// It is over.
    Closed(ClosingState),
    /// The signature is not over this challenge and these fields.
    SignatureInvalid,
    /// Verification of this kind cannot be checked, or not for this device.
    UserVerificationUnsupported,
    /// The challenge asks for user verification.
    UserVerificationRequired,
    /// The assertion shows nothing.
    AssertionInvalid,
    /// A number where the mode has none, or none where it asks for one.
    NumberMalformed,
    /// The account is disabled; the login has been ended.
    AccountDisabled,
    /// The device may not answer.
    DeviceRemoved,
    /// Storage does not answer; nothing was taken.
    Unavailable,
}

/// News for devices.
#[derive(Debug, Clone)]
pub enum Notice {
    /// Asked.
    Opened(Arc<Challenge>),
    /// A device has got the code; the challenge waits for that to be typed, and no device need be asked any more.
    CodeShown(ChallengeId),
    /// Over.
    Closed {
        /// Which.
        id: ChallengeId,
        /// Who was asked.
        devices: Vec<DeviceId>,
        /// How it ended.
        state: ClosingState,
    },
    /// A sign-in window is over.
    WindowClosed {
        /// The device that opened it.
        device: DeviceId,
        /// Which.
        id: WindowId,
        /// How it ended.
        state: ClosingState,
    },
}

/// What is to be done.
#[derive(Debug)]
pub enum Effect {
    /// Read the user of the lane and, where named, a challenge; answer with [`Event::Loaded`].
    Load {
        /// The lane.
        lane: Lane,
        /// Whom.
        user: UserId,
        /// Which challenge.
        challenge: Option<ChallengeId>,
    },
    /// Check a password; answer with [`Event::PrimaryChecked`].
    CheckPrimary {
        /// The login.
        login: LoginId,
        /// What it is checked against.
        against: Against,
        /// The password; empty where it is not known or there is none.
        password: Secret,
    },
    /// Write; answer with [`Event::Committed`] when it is durable.
    Commit {
        /// The lane.
        lane: Lane,
        /// What.
        commit: Box<Commit>,
    },
    /// Write a record that nobody waits for.
    Record(Box<AuditEvent>),
    /// Tell the door.
    Verdict {
        /// The request: of a login whose prompt was asked, that of the newest answer.
        login: LoginId,
        /// Whose it is.
        door: Door,
        /// The verdict.
        verdict: Verdict,
    },
    /// Tell devices.
    Publish(Notice),
    /// Tell the device that decided.
    Answer {
        /// From the event.
        ticket: u64,
        /// The answer.
        answer: DecisionAnswer,
    },
    /// Tell the device that opens a window.
    WindowAnswer {
        /// From the event.
        ticket: u64,
        /// The answer.
        answer: WindowAnswer,
    },
}
