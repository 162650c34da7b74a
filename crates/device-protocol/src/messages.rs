//! The bodies of requests and answers.
//!
//! Requests refuse members that they do not know, and members that may be null must still be there. Answers are read
//! tolerantly: members that a client does not know are ignored. Both are written with every member that the page names.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::PROTOCOL_VERSION;
use crate::code::{ActivationCode, ActivationToken};
use crate::encoding::{Fixed, Nonce, Octets};
use crate::ids::{AccountId, ApplicationId, ChallengeId, DeploymentId, DeviceId, DeviceTime, Name, Number};
use crate::keys::{PublicKey, PushKey, Signature, SignatureInvalid, Thumbprint};
use crate::origin::Origin;
use crate::signed::{Party, SignedChallenge, SignedDecision, Subject, endorsement_octets};
use crate::webauthn::Assertion;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$case_doc:meta])* $case:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$case_doc])* #[serde(rename = $text)] $case,)*
        }

        impl $name {
            /// All cases.
            pub const ALL: &'static [Self] = &[$(Self::$case,)*];

            /// The text in JSON and in signed octets.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$case => $text,)* }
            }

            /// Finds the case with this text.
            pub fn from_text(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|case| case.as_str() == text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

mod windows;
pub use windows::{
    Application, Applications, WindowAnswer, WindowClosed, WindowRequest, WindowState, WindowStateAnswer,
};

words!(
    /// What the person said to a challenge.
    Decision {
        /// It was me: let the login in.
        Verify = "verify",
        /// Do not let it in.
        Deny = "deny",
        /// It was not me: do not let it in, and tell somebody.
        DenyReport = "deny_report",
    }
);

words!(
    /// How a number ties the login to the phone.
    NumberMode {
        /// No number.
        None = "none",
        /// The login side shows a number, the person types it into the app.
        Typed = "typed",
        /// The app shows a code, the person types it at the login prompt.
        CodeToPhone = "code_to_phone",
    }
);

words!(
    /// What the policy asks for about the person before the phone.
    UserVerification {
        /// Nothing.
        None = "none",
        /// The app asks where it can; the server refuses nothing over it.
        Preferred = "preferred",
        /// Without it the server refuses.
        Required = "required",
    }
);

words!(
    /// What the device reached of user verification.
    UserVerificationReached {
        /// Nothing.
        None = "none",
        /// A PIN that the server checks.
        Pin = "pin",
        /// A WebAuthn assertion with the flag UV.
        WebAuthn = "webauthn",
    }
);

words!(
    /// How a challenge ended.
    ClosingState {
        /// The login was let in.
        Approved = "approved",
        /// A person denied it, or a number or code was wrong.
        Denied = "denied",
        /// Nobody answered in time.
        Expired = "expired",
        /// The login side gave up, or an administrator ended it.
        Cancelled = "cancelled",
        /// Two logins at once; neither was let in.
        Collision = "collision",
        /// A newer request of the same client took its place.
        Superseded = "superseded",
    }
);

words!(
    /// How a challenge stands.
    ChallengeState {
        /// It waits for a decision.
        Pending = "pending",
        /// Its code was shown on a phone and has not been typed yet.
        CodeShown = "code_shown",
        /// See [`ClosingState::Approved`].
        Approved = "approved",
        /// See [`ClosingState::Denied`].
        Denied = "denied",
        /// See [`ClosingState::Expired`].
        Expired = "expired",
        /// See [`ClosingState::Cancelled`].
        Cancelled = "cancelled",
        /// See [`ClosingState::Collision`].
        Collision = "collision",
        /// See [`ClosingState::Superseded`].
        Superseded = "superseded",
    }
);

impl From<ClosingState> for ChallengeState {
    fn from(state: ClosingState) -> Self {
        match state {
            ClosingState::Approved => Self::Approved,
            ClosingState::Denied => Self::Denied,
            ClosingState::Expired => Self::Expired,
            ClosingState::Cancelled => Self::Cancelled,
            ClosingState::Collision => Self::Collision,
            ClosingState::Superseded => Self::Superseded,
        }
    }
}

impl ChallengeState {
    /// How it ended, or `None` while it is open.
    pub const fn closing(self) -> Option<ClosingState> {
        match self {
            Self::Pending | Self::CodeShown => None,
            Self::Approved => Some(ClosingState::Approved),
            Self::Denied => Some(ClosingState::Denied),
            Self::Expired => Some(ClosingState::Expired),
            Self::Cancelled => Some(ClosingState::Cancelled),
            Self::Collision => Some(ClosingState::Collision),
            Self::Superseded => Some(ClosingState::Superseded),
        }
    }
}

words!(
    /// The hash of a TOTP (RFC 6238).
    TotpAlgorithm {
        /// HMAC-SHA-1.
        Sha1 = "SHA1",
        /// HMAC-SHA-256.
        Sha256 = "SHA256",
        /// HMAC-SHA-512.
        Sha512 = "SHA512",
    }
);

/// How far the address of a login's client can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// The server saw it itself.
    Verified,
    /// Somebody told the server.
    Reported,
    /// Nothing is known. A client reads words of later versions as this.
    #[serde(other)]
    Unknown,
}

impl Trust {
    /// The text in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Reported => "reported",
            Self::Unknown => "unknown",
        }
    }
}

/// For members of requests that may be null and may not be missing: `serde` takes a missing member of type `Option` for
/// null unless a function of its own reads it.
fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

/// For members that may be missing and may not be null.
fn not_null<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

// --- server

/// Answer of `GET server`; also inside the answer of an activation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerInfo {
    /// The version of the protocol, 1.
    pub protocol: u32,
    /// The name that people know the operator by.
    pub organization: String,
    /// The installation.
    pub deployment_id: DeploymentId,
    /// The configured origin.
    pub origin: Origin,
    /// The server's clock.
    pub time: Timestamp,
    /// The VAPID public key (RFC 8292), or null when the server sends no pushes.
    pub push_key: Option<PushKey>,
    /// The key that signs challenges.
    pub signing_key: PublicKey,
    /// After rotations: the chain from older signing keys to this one, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endorsements: Vec<Endorsement>,
}

/// One step from an old signing key to a newer one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endorsement {
    /// The thumbprint of the newer key.
    pub thumbprint: Thumbprint,
    /// The older key, which made the signature.
    pub by: PublicKey,
    /// Over [`endorsement_octets`] of `thumbprint`.
    pub signature: Signature,
}

/// Why an app does not accept what a server says about its signing key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// Another version of the protocol.
    #[error("the server speaks another version of the protocol")]
    Protocol,
    /// The origin differs from the address that the app used.
    #[error("the server says it is at another address")]
    Origin,
    /// The signing key is not the pinned one and no chain of endorsements leads to it.
    #[error("the server's signing key is not the one known to this app")]
    Key,
}

impl ServerInfo {
    /// Checks the answer against the address that was asked and the signing key that is pinned (or came by QR code);
    /// without `pinned`, the key is trusted on first use. Follows a chain of endorsements, and nothing else, to a new key.
    /// The caller pins `signing_key` afterwards.
    ///
    /// # Errors
    /// [`PinError`].
    pub fn check(&self, asked: &Origin, pinned: Option<&Thumbprint>) -> Result<(), PinError> {
        if self.protocol != PROTOCOL_VERSION {
            return Err(PinError::Protocol);
        }
        if self.origin != *asked {
            return Err(PinError::Origin);
        }
        let Some(pinned) = pinned else { return Ok(()) };
        let wanted = self.signing_key.thumbprint();
        let mut trusted = *pinned;
        for step in &self.endorsements {
            if trusted == wanted {
                break;
            }
            let signed = endorsement_octets(&step.thumbprint);
            if step.by.thumbprint() == trusted && step.by.verify(&signed, &step.signature).is_ok() {
                trusted = step.thumbprint;
            }
        }
        if trusted == wanted { Ok(()) } else { Err(PinError::Key) }
    }
}

// --- activation

/// What shows that somebody was asked to add a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActivationSecret {
    /// A typed code.
    Code(ActivationCode),
    /// The token of a QR code.
    Token(ActivationToken),
}

/// Body of `POST activations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawActivation", into = "RawActivation")]
pub struct ActivationRequest {
    /// In JSON, exactly one of `code` and `token`.
    pub secret: ActivationSecret,
    /// What the device says about itself.
    pub device: DeviceInfo,
    /// Where pushes go, if anywhere.
    pub push: Option<PushSubscription>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawActivation {
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    code: Option<ActivationCode>,
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    token: Option<ActivationToken>,
    device: DeviceInfo,
    #[serde(deserialize_with = "nullable")]
    push: Option<PushSubscription>,
}

impl TryFrom<RawActivation> for ActivationRequest {
    type Error = &'static str;

    fn try_from(raw: RawActivation) -> Result<Self, Self::Error> {
        let secret = match (raw.code, raw.token) {
            (Some(code), None) => ActivationSecret::Code(code),
            (None, Some(token)) => ActivationSecret::Token(token),
            _ => return Err("exactly one of code and token"),
        };
        Ok(Self { secret, device: raw.device, push: raw.push })
    }
}

impl From<ActivationRequest> for RawActivation {
    fn from(request: ActivationRequest) -> Self {
        let (code, token) = match request.secret {
            ActivationSecret::Code(code) => (Some(code), None),
            ActivationSecret::Token(token) => (None, Some(token)),
        };
        Self { code, token, device: request.device, push: request.push }
    }
}

/// What a device says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceInfo {
    /// What the person calls it.
    pub name: Name,
    /// What it is, like `android`, `ios`, `terminal`.
    pub platform: Name,
}

/// A Web Push subscription (RFC 8030, RFC 8291). Who knows it can push, so `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushSubscription {
    /// The push service's URL for this browser; the server checks where it leads.
    pub endpoint: String,
    /// The browser's key.
    pub p256dh: PushKey,
    /// The browser's authentication secret, 16 octets.
    pub auth: Fixed<16>,
}

impl fmt::Debug for PushSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PushSubscription(..)")
    }
}

/// Answer 201 of `POST activations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivationAnswer {
    /// The new device.
    pub device_id: DeviceId,
    /// The account it answers for.
    pub account: Account,
    /// As `GET server` gives it.
    pub server: ServerInfo,
    /// The device's seed for one-time passwords, if the account may use them.
    pub totp: Option<Totp>,
    /// `active`.
    pub state: DeviceState,
}

/// The account that a device answers for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its identifier.
    pub id: AccountId,
    /// The name that the person logs in with.
    pub user: String,
    /// The name that people know them by.
    pub display_name: String,
    /// The organization.
    pub organization: String,
}

/// Whether a device may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceState {
    /// It may.
    Active,
    /// A word of a later version; a server of this version does not send it.
    #[serde(other)]
    Unknown,
}

/// A seed for one-time passwords (RFC 6238).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totp {
    /// The seed.
    pub secret: TotpSecret,
    /// The hash.
    pub algorithm: TotpAlgorithm,
    /// How many digits a password has.
    pub digits: u8,
    /// How long a password lives, in seconds.
    pub period: u32,
}

/// A seed as base32 without padding (RFC 4648 section 6). `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct TotpSecret(String);

impl TotpSecret {
    /// Writes the octets of a seed as base32.
    pub fn from_bytes(seed: &[u8]) -> Self {
        Self(data_encoding::BASE32_NOPAD.encode(seed))
    }

    /// The base32 text.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The octets, or `None` when the text is no base32.
    pub fn to_bytes(&self) -> Option<zeroize::Zeroizing<Vec<u8>>> {
        data_encoding::BASE32_NOPAD.decode(self.0.as_bytes()).ok().map(zeroize::Zeroizing::new)
    }
}

impl fmt::Debug for TotpSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TotpSecret(..)")
    }
}

// --- challenges

/// Answer of `GET challenges`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Challenges {
    /// Those that wait for this device.
    pub challenges: Vec<Challenge>,
    /// The WebAuthn credential that the server keeps for this device, if any.
    pub credential_id: Option<Octets>,
}

/// A login that waits for an answer, as a device gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// Its identifier.
    pub id: ChallengeId,
    /// 32 random octets.
    pub nonce: Nonce,
    /// The octets of a [`ContextDocument`]; shown, and signed, as they are.
    pub context: Octets,
    /// By the signing key, over [`SignedChallenge`].
    pub signature: Signature,
    /// The thumbprint of the signing key.
    pub key: Thumbprint,
    /// How a number ties login and phone.
    pub number_mode: NumberMode,
    /// What the policy asks for.
    pub user_verification: UserVerification,
}

/// Why an app does not show a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeError {
    /// It was signed by another key than the pinned one.
    #[error("the challenge was signed by a key that this app does not know")]
    Key,
    /// Its context is no context document.
    #[error("the challenge's context cannot be read")]
    Context,
    /// Its signature does not verify.
    #[error("the challenge's signature does not verify")]
    Signature,
}

impl Challenge {
    /// For the app: reads the context and verifies that the pinned server made this challenge for this device.
    ///
    /// # Errors
    /// [`ChallengeError`]; the app then shows nothing of it and signs nothing.
    pub fn open(&self, party: Party<'_>, pinned: &PublicKey) -> Result<ContextDocument, ChallengeError> {
        if self.key != pinned.thumbprint() {
            return Err(ChallengeError::Key);
        }
        let context: ContextDocument =
            serde_json::from_slice(self.context.as_bytes()).map_err(|_| ChallengeError::Context)?;
        let signed = SignedChallenge {
            subject: self.subject(party, &context.application.id),
            number_mode: self.number_mode,
            user_verification: self.user_verification,
        };
        pinned.verify(&signed.octets(), &self.signature).map_err(|SignatureInvalid| ChallengeError::Signature)?;
        Ok(context)
    }

    /// For the app: fields 2 to 9 of what is signed. The application is the one in the context.
    pub fn subject<'a>(&'a self, party: Party<'a>, application: &'a ApplicationId) -> Subject<'a> {
        Subject { party, challenge: &self.id, nonce: &self.nonce, application, context: self.context.as_bytes() }
    }
}

/// What a person is shown of a login: the JSON inside [`Challenge::context`]. Texts are at most 64 characters long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextDocument {
    /// What the login is for.
    pub application: ContextApplication,
    /// The user name as it was typed.
    pub user: String,
    /// The way the login came in, like `radius` or `pam`.
    pub protocol: String,
    /// Where the login comes from, if anybody said.
    pub client: Option<ContextClient>,
    /// Where that is, roughly.
    pub place: Option<String>,
    /// When the login began.
    pub requested_at: Timestamp,
    /// When the challenge ends.
    pub expires_at: Timestamp,
    /// An approval within the last 60 seconds; the app then puts Deny first.
    pub recent_approval: Option<RecentApproval>,
}

/// The application in a context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextApplication {
    /// Its identifier; field 8 of what is signed.
    pub id: ApplicationId,
    /// Its name.
    pub name: String,
    /// Its kind, like `radius` or `http`.
    pub kind: String,
}

/// The client in a context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextClient {
    /// Its address, as text.
    pub address: String,
    /// How far that can be believed.
    pub trust: Trust,
}

/// An approval shortly before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentApproval {
    /// The name of the application.
    pub application: String,
    /// When.
    pub at: Timestamp,
}

/// Answer of `GET challenges/{id}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChallengeStateAnswer {
    /// How it stands.
    pub state: ChallengeState,
}

/// Body of `POST challenges/{id}/decision`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawDecision", into = "RawDecision")]
pub struct DecisionRequest {
    /// What the person said.
    pub decision: Decision,
    /// The number that the person typed in; with [`Decision::Verify`] only.
    pub number: Option<Number>,
    /// What was reached; of denials nobody asks.
    pub user_verification: UserVerificationReached,
    /// The device's clock.
    pub device_time: DeviceTime,
    /// With [`UserVerificationReached::WebAuthn`], and only then.
    pub assertion: Option<Assertion>,
    /// By the device's key, over [`SignedDecision`].
    pub signature: Signature,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDecision {
    decision: Decision,
    #[serde(deserialize_with = "nullable")]
    number: Option<Number>,
    user_verification: UserVerificationReached,
    device_time: DeviceTime,
    #[serde(deserialize_with = "nullable")]
    assertion: Option<Assertion>,
    signature: Signature,
}

impl TryFrom<RawDecision> for DecisionRequest {
    type Error = &'static str;

    fn try_from(raw: RawDecision) -> Result<Self, Self::Error> {
        if raw.decision != Decision::Verify && raw.number.is_some() {
            return Err("a denial has no number");
        }
        let webauthn = raw.user_verification == UserVerificationReached::WebAuthn;
        if raw.assertion.is_some() && !webauthn {
            return Err("an assertion comes with webauthn only");
        }
        if raw.assertion.is_none() && webauthn && raw.decision == Decision::Verify {
            return Err("webauthn comes with an assertion");
        }
        let RawDecision { decision, number, user_verification, device_time, assertion, signature } = raw;
        Ok(Self { decision, number, user_verification, device_time, assertion, signature })
    }
}

impl From<DecisionRequest> for RawDecision {
    fn from(request: DecisionRequest) -> Self {
        let DecisionRequest { decision, number, user_verification, device_time, assertion, signature } = request;
        Self { decision, number, user_verification, device_time, assertion, signature }
    }
}

impl DecisionRequest {
    /// What the signature stands for, given what the server knows of the challenge.
    pub fn signed<'a>(&'a self, subject: Subject<'a>, number_mode: NumberMode) -> SignedDecision<'a> {
        SignedDecision {
            subject,
            decision: self.decision,
            number: self.number.as_ref(),
            number_mode,
            user_verification: self.user_verification,
            device_time: &self.device_time,
        }
    }

    /// For the server: verifies the signature against its own row.
    ///
    /// # Errors
    /// [`SignatureInvalid`].
    pub fn verify(
        &self,
        subject: Subject<'_>,
        number_mode: NumberMode,
        device: &PublicKey,
    ) -> Result<(), SignatureInvalid> {
        device.verify(&self.signed(subject, number_mode).octets(), &self.signature)
    }
}

/// Answer 200 of `POST challenges/{id}/decision`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawDecisionAnswer", into = "RawDecisionAnswer")]
pub enum DecisionAnswer {
    /// The challenge is over. After a late report: how it had ended.
    Closed(ClosingState),
    /// The code that the person types at the login prompt.
    CodeShown(Number),
}

#[derive(Serialize, Deserialize)]
struct RawDecisionAnswer {
    state: ChallengeState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<Number>,
}

impl TryFrom<RawDecisionAnswer> for DecisionAnswer {
    type Error = &'static str;

    fn try_from(raw: RawDecisionAnswer) -> Result<Self, Self::Error> {
        match (raw.state, raw.state.closing(), raw.code) {
            (ChallengeState::CodeShown, _, Some(code)) => Ok(Self::CodeShown(code)),
            (_, Some(state), _) => Ok(Self::Closed(state)),
            _ => Err("no answer to a decision"),
        }
    }
}

impl From<DecisionAnswer> for RawDecisionAnswer {
    fn from(answer: DecisionAnswer) -> Self {
        match answer {
            DecisionAnswer::Closed(state) => Self { state: state.into(), code: None },
            DecisionAnswer::CodeShown(code) => Self { state: ChallengeState::CodeShown, code: Some(code) },
        }
    }
}

// --- push and events

/// The plaintext of a Web Push message: which account, which challenge, and nothing of the login itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushMessage {
    /// The version of the protocol, 1.
    pub v: u32,
    /// The account.
    pub account: AccountId,
    /// The challenge.
    pub challenge: ChallengeId,
}

impl PushMessage {
    /// A message of this version.
    pub const fn new(account: AccountId, challenge: ChallengeId) -> Self {
        Self { v: PROTOCOL_VERSION, account, challenge }
    }
}

/// Body of `PUT push`: a subscription or null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PushRequest(pub Option<PushSubscription>);

/// The data of the event `challenge-closed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChallengeClosed {
    /// Which challenge.
    pub id: ChallengeId,
    /// How it ended.
    pub state: ClosingState,
}

// --- the rest

/// Body of `PATCH device`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DevicePatch {
    /// The new name.
    pub name: Name,
}

/// Answer of `GET history`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    /// The account's last 50 logins, the newest first.
    pub logins: Vec<HistoryLogin>,
}

/// One login in the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryLogin {
    /// When its challenge or sign-in window ended.
    pub at: Timestamp,
    /// The name of the application.
    pub application: String,
    /// Where it came from, roughly.
    pub place: Option<String>,
    /// How it ended.
    pub verdict: ClosingState,
    /// By what it was let in, or would have been. A server of before sign-in windows does not say.
    #[serde(default)]
    pub factor: HistoryFactor,
}

words!(
    /// What a login in the history hung on.
    #[derive(Default)]
    HistoryFactor {
        /// A challenge.
        #[default]
        Push = "push",
        /// A sign-in window.
        Window = "window",
        /// Nothing: an administrator had given leave to come in once without a second factor.
        Bypass = "bypass",
        /// Nothing: an approval of a moment before counted once more.
        Remembered = "remembered",
    }
);

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::encoding::encode;
    use crate::fixtures::{Scene, device_key, next_key, random, server_key};
    use crate::webauthn::NewCredential;

    fn reads<T: serde::de::DeserializeOwned>(json: &Value) -> bool {
        // Through text, since that is how requests come.
        serde_json::from_str::<T>(&json.to_string()).is_ok()
    }

    fn subscription() -> Value {
        json!({
            "endpoint": "https://push.example.net/abc",
            "p256dh": encode(next_key().uncompressed()),
            "auth": encode(&[1; 16]),
        })
    }

    fn activation() -> Value {
        json!({"code": "04HMASW9NF6Y", "device": {"name": "Ada's phone", "platform": "android"}, "push": subscription()})
    }

    fn decision() -> Value {
        json!({
            "decision": "verify", "number": "042137", "user_verification": "none",
            "device_time": "2026-01-31T09:05:07.250Z", "assertion": null, "signature": encode(&[1; 64]),
        })
    }

    fn assertion() -> Value {
        json!({"credential_id": "AA", "authenticator_data": "AA", "client_data_json": "AA", "signature": "AA"})
    }

    fn window() -> Value {
        json!({
            "window_id": "w", "application": "vpn", "user_verification": "webauthn",
            "device_time": "2026-01-31T09:05:07Z", "assertion": assertion(), "signature": encode(&[1; 64]),
        })
    }

    fn server() -> Value {
        json!({
            "protocol": 1, "organization": "Example", "deployment_id": "d", "origin": "https://mfa.example.com",
            "time": "2026-01-31T09:05:00Z", "push_key": encode(next_key().uncompressed()),
            "signing_key": server_key().public(),
        })
    }

    fn objects_in(json: &Value, path: &str, found: &mut Vec<String>) {
        if let Some(members) = json.as_object() {
            found.push(path.to_owned());
            for (name, value) in members {
                objects_in(value, &format!("{path}/{name}"), found);
            }
        }
    }

    /// Adds a member in every object of a request, one after the other; none may be taken. Then takes each member away.
    fn refuses_more_and_less<T: serde::de::DeserializeOwned>(request: &Value) {
        assert!(reads::<T>(request), "{request}");
        let mut paths = Vec::new();
        objects_in(request, "", &mut paths);
        for path in paths {
            let mut more = request.clone();
            more.pointer_mut(&path).unwrap()["context"] = json!("AA");
            assert!(!reads::<T>(&more), "{more}");
            let names: Vec<_> = request.pointer(&path).unwrap().as_object().unwrap().keys().cloned().collect();
            for name in names {
                let mut less = request.clone();
                less.pointer_mut(&path).unwrap().as_object_mut().unwrap().remove(&name);
                assert!(!reads::<T>(&less), "{less}");
                let text = request.to_string();
                let twice = text.replacen(&format!("\"{name}\":"), &format!("\"{name}\":null,\"{name}\":"), 1);
                assert!(serde_json::from_str::<T>(&twice).is_err(), "{twice}");
            }
        }
    }

    #[test]
    fn s04_unknown_members_missing_members_and_doubled_members_of_requests_are_refused() {
        refuses_more_and_less::<ActivationRequest>(&activation());
        refuses_more_and_less::<DecisionRequest>(&decision());
        let mut webauthn = decision();
        webauthn["user_verification"] = json!("webauthn");
        webauthn["assertion"] = assertion();
        refuses_more_and_less::<DecisionRequest>(&webauthn);
        refuses_more_and_less::<NewCredential>(
            &json!({"credential_id": "AA", "attestation_object": "AA", "client_data_json": "AA"}),
        );
        refuses_more_and_less::<WindowRequest>(&window());
        refuses_more_and_less::<DevicePatch>(&json!({"name": "x"}));
        refuses_more_and_less::<PushRequest>(&subscription());
    }

    #[test]
    fn s04_a_device_cannot_send_context_back() {
        for member in ["context", "nonce", "application", "number_mode", "state", "code"] {
            let mut request = decision();
            request[member] = json!("x");
            assert!(!reads::<DecisionRequest>(&request), "{member}");
        }
    }

    #[test]
    fn s31_exactly_one_of_code_and_token() {
        let mut request = activation();
        request["token"] = json!("paWlpaWlpaWlpaWlpaWlpQ");
        assert!(!reads::<ActivationRequest>(&request), "both");
        request["code"] = json!(null);
        assert!(!reads::<ActivationRequest>(&request), "null is not absent");
        request.as_object_mut().unwrap().remove("code");
        assert!(reads::<ActivationRequest>(&request));
        request["token"] = json!(null);
        assert!(!reads::<ActivationRequest>(&request), "neither");
        let mut request = activation();
        request["push"] = json!(null);
        for code in ["04hm-asw9-nf6y", "O4HM ASW9 NF6Y"] {
            request["code"] = json!(code);
            let read: ActivationRequest = serde_json::from_value(request.clone()).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap()["code"], "04HMASW9NF6Y");
        }
    }

    #[test]
    fn a_denial_has_no_number() {
        for word in ["deny", "deny_report"] {
            let mut request = decision();
            request["decision"] = json!(word);
            assert!(!reads::<DecisionRequest>(&request));
            request["number"] = json!(null);
            assert!(reads::<DecisionRequest>(&request));
        }
    }

    #[test]
    fn s12_webauthn_and_assertion_come_together() {
        let with = |decision_word: &str, reached: &str, assertion: Value| {
            let mut request = decision();
            request["decision"] = json!(decision_word);
            request["number"] = json!(null);
            request["user_verification"] = json!(reached);
            request["assertion"] = assertion;
            reads::<DecisionRequest>(&request)
        };
        assert!(with("verify", "webauthn", assertion()));
        assert!(!with("verify", "webauthn", json!(null)));
        assert!(!with("verify", "none", assertion()));
        assert!(!with("verify", "pin", assertion()));
        // A denial is not refused over it.
        assert!(with("deny", "webauthn", json!(null)));
        assert!(!with("deny", "none", assertion()));
    }

    #[test]
    fn values_of_the_wrong_form_are_refused() {
        for (member, value) in [
            ("decision", json!("approve")),
            ("decision", json!("Verify")),
            ("number", json!(42137)),
            ("number", json!("42 137")),
            ("user_verification", json!("required")),
            ("device_time", json!("now")),
            ("device_time", json!(null)),
            ("signature", json!(encode(&[1; 63]))),
            ("signature", json!(encode(&[1; 72]))),
            ("assertion", json!("AA")),
        ] {
            let mut request = decision();
            request[member] = value.clone();
            assert!(!reads::<DecisionRequest>(&request), "{member} {value}");
        }
        for (member, value) in [("p256dh", json!(encode(&[4; 65]))), ("auth", json!(encode(&[1; 15])))] {
            let mut request = subscription();
            request[member] = value;
            assert!(!reads::<PushRequest>(&request), "{member}");
        }
        assert!(reads::<PushRequest>(&json!(null)));
        let read: PushRequest = serde_json::from_value(subscription()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), subscription());
        assert!(!format!("{read:?}").contains("push.example.net"));
    }

    #[test]
    fn members_that_may_be_null_are_written() {
        let mut denial = decision();
        denial["decision"] = json!("deny");
        denial["number"] = json!(null);
        let read: DecisionRequest = serde_json::from_value(denial.clone()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), denial);
        let mut info = server();
        info["push_key"] = json!(null);
        let read: ServerInfo = serde_json::from_value(info.clone()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), info);
        let context: Value = serde_json::from_slice(&Scene::new().context).unwrap();
        let read: ContextDocument = serde_json::from_value(context.clone()).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap().as_bytes(), Scene::new().context);
        let login = HistoryLogin {
            at: Timestamp::UNIX_EPOCH,
            application: "VPN".to_owned(),
            place: None,
            verdict: ClosingState::Cancelled,
            factor: HistoryFactor::Window,
        };
        let mut json = serde_json::to_value(login).unwrap();
        assert_eq!(
            json,
            json!({"at": "1970-01-01T00:00:00Z", "application": "VPN", "place": null, "verdict": "cancelled", "factor": "window"})
        );
        json.as_object_mut().unwrap().remove("factor");
        assert_eq!(serde_json::from_value::<HistoryLogin>(json).unwrap().factor, HistoryFactor::Push);
    }

    #[test]
    fn a_client_ignores_unknown_members_of_answers() {
        let mut answer = json!({
            "device_id": "v", "account": {"id": "a", "user": "ada", "display_name": "Ada", "organization": "Example"},
            "server": server(), "state": "active",
            "totp": {"secret": "JBSWY3DPEHPK3PXP", "algorithm": "SHA1", "digits": 6, "period": 30},
        });
        let read: ActivationAnswer = serde_json::from_value(answer.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), answer);
        assert!(!format!("{read:?}").contains("JBSWY3DP"));
        assert_eq!(read.totp.as_ref().unwrap().secret.to_bytes().unwrap().as_slice(), b"Hello!\xde\xad\xbe\xef");
        for path in ["", "/account", "/server", "/server/signing_key", "/totp"] {
            answer.pointer_mut(path).unwrap()["later"] = json!({"x": [1]});
        }
        answer["state"] = json!("on_probation");
        let later: ActivationAnswer = serde_json::from_value(answer).unwrap();
        assert_eq!(later.state, DeviceState::Unknown);
        assert_eq!(later.server, read.server);
    }

    #[test]
    fn answers_to_decisions_have_the_form_of_the_page() {
        for (answer, json) in [
            (DecisionAnswer::Closed(ClosingState::Approved), json!({"state": "approved"})),
            (DecisionAnswer::Closed(ClosingState::Denied), json!({"state": "denied"})),
            (
                DecisionAnswer::CodeShown(Number::new("012345").unwrap()),
                json!({"state": "code_shown", "code": "012345"}),
            ),
        ] {
            assert_eq!(serde_json::to_value(&answer).unwrap(), json);
            assert_eq!(serde_json::from_value::<DecisionAnswer>(json).unwrap(), answer);
        }
        for bad in [json!({"state": "code_shown"}), json!({"state": "pending"}), json!({"state": "yes"}), json!({})] {
            assert!(!reads::<DecisionAnswer>(&bad), "{bad}");
        }
    }

    #[test]
    fn states_have_one_text_each() {
        for state in ChallengeState::ALL {
            assert_eq!(ChallengeState::from_text(state.as_str()), Some(*state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
            if let Some(closing) = state.closing() {
                assert_eq!(ChallengeState::from(closing), *state);
                assert_eq!(closing.as_str(), state.as_str());
            }
        }
        for trust in [Trust::Verified, Trust::Reported, Trust::Unknown] {
            assert_eq!(serde_json::to_value(trust).unwrap(), trust.as_str());
        }
        assert_eq!(serde_json::from_value::<Trust>(json!("guessed")).unwrap(), Trust::Unknown);
    }

    #[test]
    fn a_push_carries_ids_only() {
        let push = PushMessage::new("a".parse().unwrap(), "c".parse().unwrap());
        assert_eq!(serde_json::to_string(&push).unwrap(), r#"{"v":1,"account":"a","challenge":"c"}"#);
    }

    fn challenge(scene: &Scene, signer: &crate::keys::SigningKey) -> Challenge {
        let signed = SignedChallenge {
            subject: scene.subject(),
            number_mode: NumberMode::Typed,
            user_verification: UserVerification::None,
        };
        Challenge {
            id: scene.challenge.clone(),
            nonce: scene.nonce,
            context: Octets::new(scene.context.clone()),
            signature: signer.sign(&signed.octets(), &random()).unwrap(),
            key: signer.public().thumbprint(),
            number_mode: NumberMode::Typed,
            user_verification: UserVerification::None,
        }
    }

    #[test]
    fn s03_an_app_opens_only_what_the_pinned_server_signed_for_it() {
        let scene = Scene::new();
        let good = challenge(&scene, &server_key());
        let pinned = server_key();
        let pinned = pinned.public();
        assert_eq!(good.open(scene.party(), pinned).unwrap().user, "ada");
        let again: Challenge = serde_json::from_str(&serde_json::to_string(&good).unwrap()).unwrap();
        assert_eq!(again, good);

        let invented = Scene {
            context: String::from_utf8(scene.context.clone()).unwrap().replace("ada", "eve").into(),
            ..scene.clone()
        };
        for (changed, why) in [
            (challenge(&scene, &device_key()), ChallengeError::Key),
            (Challenge { key: pinned.thumbprint(), ..challenge(&scene, &device_key()) }, ChallengeError::Signature),
            (Challenge { id: "other".parse().unwrap(), ..good.clone() }, ChallengeError::Signature),
            (Challenge { nonce: Nonce::new([9; 32]), ..good.clone() }, ChallengeError::Signature),
            (Challenge { number_mode: NumberMode::None, ..good.clone() }, ChallengeError::Signature),
            (Challenge { user_verification: UserVerification::Required, ..good.clone() }, ChallengeError::Signature),
            (Challenge { context: Octets::new(invented.context), ..good.clone() }, ChallengeError::Signature),
            (Challenge { context: Octets::new(b"{}".to_vec()), ..good.clone() }, ChallengeError::Context),
        ] {
            assert_eq!(changed.open(scene.party(), pinned), Err(why));
        }
        let other = Scene { device: "other".parse().unwrap(), ..scene.clone() };
        assert_eq!(good.open(other.party(), pinned), Err(ChallengeError::Signature));
    }

    #[test]
    fn s03_the_server_verifies_a_decision_against_its_own_row() {
        let scene = Scene::new();
        let mut request: DecisionRequest = serde_json::from_value(decision()).unwrap();
        let octets = request.signed(scene.subject(), NumberMode::Typed).octets();
        request.signature = device_key().sign(&octets, &random()).unwrap();
        let device = device_key();
        let device = device.public();
        assert_eq!(request.verify(scene.subject(), NumberMode::Typed, device), Ok(()));
        assert!(request.verify(scene.subject(), NumberMode::None, device).is_err());
        assert!(request.verify(scene.subject(), NumberMode::Typed, server_key().public()).is_err());
        let wiki = Scene { application: "wiki".parse().unwrap(), ..scene.clone() };
        assert!(request.verify(wiki.subject(), NumberMode::Typed, device).is_err());
        let flipped = DecisionRequest { decision: Decision::Deny, number: None, ..request.clone() };
        assert!(flipped.verify(scene.subject(), NumberMode::Typed, device).is_err());

        let mut request: WindowRequest = serde_json::from_value(window()).unwrap();
        request.signature = device_key().sign(&request.signed(scene.party()).octets(), &random()).unwrap();
        assert_eq!(request.verify(scene.party(), device), Ok(()));
        let other = WindowRequest { application: "wiki".parse().unwrap(), ..request };
        assert!(other.verify(scene.party(), device).is_err());
    }

    #[test]
    fn an_app_follows_a_chain_of_endorsements_and_nothing_else() {
        let origin: Origin = "https://mfa.example.com".parse().unwrap();
        let mut info: ServerInfo = serde_json::from_value(server()).unwrap();
        let old = device_key();
        let pinned = old.public().thumbprint();
        let current = server_key().public().thumbprint();
        assert_eq!(info.check(&origin, None), Ok(()));
        assert_eq!(info.check(&origin, Some(&current)), Ok(()));
        assert_eq!(info.check(&origin, Some(&pinned)), Err(PinError::Key));
        assert_eq!(info.check(&"https://mfa.example.com:8443".parse().unwrap(), None), Err(PinError::Origin));

        let (middle, _) = crate::keys::SigningKey::generate(&random()).unwrap();
        let step = |by: &crate::keys::SigningKey, thumbprint: Thumbprint| Endorsement {
            thumbprint,
            by: by.public().clone(),
            signature: by.sign(&endorsement_octets(&thumbprint), &random()).unwrap(),
        };
        let first = step(&old, middle.public().thumbprint());
        let second = step(&middle, current);
        info.endorsements = vec![first.clone(), second.clone()];
        assert_eq!(info.check(&origin, Some(&pinned)), Ok(()));
        info.endorsements = vec![second.clone()];
        assert_eq!(info.check(&origin, Some(&pinned)), Err(PinError::Key), "the chain does not begin at the pin");
        assert_eq!(info.check(&origin, Some(&middle.public().thumbprint())), Ok(()));
        info.endorsements = vec![Endorsement { by: old.public().clone(), ..second.clone() }];
        assert_eq!(info.check(&origin, Some(&pinned)), Err(PinError::Key), "signed by another key");
        info.endorsements = vec![first.clone(), Endorsement { signature: first.signature, ..second }];
        assert_eq!(info.check(&origin, Some(&pinned)), Err(PinError::Key));
        info.endorsements = vec![first];
        assert_eq!(info.check(&origin, Some(&pinned)), Err(PinError::Key), "the chain does not reach the key");
        info.protocol = 2;
        assert_eq!(info.check(&origin, None), Err(PinError::Protocol));
    }
}
