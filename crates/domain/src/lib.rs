//! The words of countersign as types: users, devices, challenges, limits, audit.
//!
//! Core tier: nothing here opens a socket, reads a clock or draws a random number. Time comes in as
//! [`Timestamp`], randomness through [`Entropy`].
#![warn(missing_docs)]

mod activation;
mod audit;
mod bypass;
mod challenge;
mod charset;
mod commit;
mod device;
mod directory;
mod hostile;
mod ids;
mod limits;
mod login;
#[cfg(feature = "oracles")]
pub mod oracles;
mod otp;
mod outside;
mod policy;
mod resource;
mod rotation;
mod secret;
mod seldom;
mod strictness;
mod sync;
mod time;
mod tls;
mod upstream;
mod user;
mod window;

pub use activation::{Activation, ActivationState};
pub use audit::{AuditEvent, AuditHash, AuditRecord, ChainBreak, ChainFault, EventKind, verify_chain};
pub use bypass::Bypass;
pub use challenge::{Challenge, ChallengeState, Closing, DecisionRecord};
pub use commit::{Commit, Write};
pub use countersign_device_protocol::ids::WindowId;
pub use countersign_device_protocol::messages::{
    ClosingState, Decision, NumberMode, Trust, UserVerification, UserVerificationReached,
};
pub use device::{Device, DevicePublicKey, DeviceState, Passkey, PushSubscription};
pub use directory::{Directory, EntryId, Lockout, UserOrigin};
pub use hostile::HostileText;
pub use ids::{
    ActivationId, ChallengeId, ClientId, DeviceId, DirectoryId, IdError, LoginId, ResourceId, UpstreamId, UserId,
};
pub use limits::{
    LastApproval, LimitScope, Limits, OTP_POLICY, PASSWORD_POLICY, PushVerdict, SOURCE_POLICY, ScopedLimits, Throttle,
    ThrottlePolicy,
};
pub use login::{
    ChapResponse, Credential, Door, Grant, LoginRequest, LoginResult, Question, Reason, RetryKey, Source,
    UpstreamAttributes, Verdict,
};
pub use otp::{CODE_DIGITS, CodeMatch, STEP_SECONDS, TotpSeed, is_code, newest_step, split_appended_code, totp};
pub use outside::{Clock, Entropy};
pub use policy::{Charset, Expects, MatchAttribute, MatchRule, Methods, Policy, ReplyAttribute, ReplyRule};
pub use resource::{Admission, InGroup, Network, Primary, RadiusClient, Resource, ResourceKind, Retries};
pub use rotation::PreviousSecret;
pub use secret::Secret;
pub use seldom::Seldom;
pub use sync::{
    Hold, HoldReason, SyncAction, SyncCounts, SyncOutcome, SyncPlace, SyncRule, SyncRuleError, SyncRun, SyncSettings,
    SyncSettingsError, SyncState,
};
pub use time::Timestamp;
pub use tls::{DnsName, TlsIdentity, TlsIdentityError, TlsPeer, radsec_secret};
pub use upstream::{Upstream, UpstreamServer};
pub use user::{LoginName, NameError, PasswordHash, User, UserSnapshot};
pub use window::{SignInWindow, WindowClosing, WindowState};
