//! Errors as problem documents (RFC 9457) with a stable `code`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::messages::ChallengeState;

/// The media type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $status:literal $text:literal $title:literal;)*) => {
        /// What went wrong, as a text that stays the same over versions. Each code has one HTTP status.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])* $name,)*
        }

        impl ErrorCode {
            /// All codes.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The text in the member `code`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The HTTP status that goes with it.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// A short sentence for people, the member `title`.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// Finds the code with this text.
            pub fn from_text(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|code| code.as_str() == text)
            }
        }
    };
}

codes! {
    /// The request is not what the page describes: broken JSON, unknown members, a value of the wrong form.
    Malformed = 400 "malformed" "The request is malformed";
    /// The number mode asks for a number and none was sent.
    NumberRequired = 400 "number_required" "A number is required";
    /// The proof carries no nonce, or none that is fresh; the answer brings one.
    UseDpopNonce = 401 "use_dpop_nonce" "The proof needs a fresh nonce";
    /// There is no `DPoP` header.
    ProofMissing = 401 "proof_missing" "The request carries no proof";
    /// The proof is malformed, wrongly signed, or made for another request.
    ProofInvalid = 401 "proof_invalid" "The proof is not valid";
    /// The proof was made too long ago, or in the future.
    ProofExpired = 401 "proof_expired" "The proof is too old or from the future";
    /// The proof was used before.
    ProofReplayed = 401 "proof_replayed" "The proof was used before";
    /// No device has this key.
    DeviceUnknown = 401 "device_unknown" "The device is not known";
    /// The device was removed or suspended.
    DeviceRemoved = 403 "device_removed" "The device was removed";
    /// The account is disabled.
    AccountDisabled = 403 "account_disabled" "The account is disabled";
    /// The user reported a login; until an administrator has looked at it, no sign-in window is opened.
    AccountFrozen = 403 "account_frozen" "A sign-in was reported and an administrator has to look at it first";
    /// The policy asks for user verification and the server saw none.
    UserVerificationRequired = 403 "user_verification_required" "User verification is required";
    /// No such path, or no such challenge for this account.
    NotFound = 404 "not_found" "There is nothing here";
    /// The activation is wrong, expired, burnt or used.
    ActivationUnknown = 404 "activation_unknown" "The activation is not known or no longer good";
    /// No registration of a credential was begun, or its time is over.
    RegistrationUnknown = 404 "registration_unknown" "No registration was begun, or its time is over";
    /// The application does not exist or has no sign-in windows.
    ApplicationUnknown = 404 "application_unknown" "The application is not known";
    /// The path exists and does not take this method.
    MethodNotAllowed = 405 "method_not_allowed" "The method is not allowed here";
    /// The account has as many devices as it may have.
    DeviceLimit = 409 "device_limit" "The account has too many devices";
    /// The key belongs to a device already.
    KeyAlreadyKnown = 409 "key_already_known" "The key belongs to another device";
    /// The challenge was decided or has ended.
    ChallengeClosed = 409 "challenge_closed" "The sign-in is no longer waiting";
    /// A sign-in window of the account for this application is open already.
    WindowOpen = 409 "window_open" "A sign-in window is open already";
    /// The window's id was used before, with other fields.
    WindowIdUsed = 409 "window_id_used" "The window's identifier was used before";
    /// A login of the account at this application waits, or came a moment ago.
    LoginUnderWay = 409 "login_under_way" "Somebody is signing in there at this moment";
    /// A login of the account at this application was not approved, not long ago.
    LoginUnapproved = 409 "login_unapproved" "A sign-in there was not approved a short time ago";
    /// The body is longer than 64 KiB.
    BodyTooLarge = 413 "body_too_large" "The request is too large";
    /// The number is wrong; the challenge is dead.
    NumberWrong = 422 "number_wrong" "The number is wrong";
    /// The signature does not verify.
    SignatureInvalid = 422 "signature_invalid" "The signature does not verify";
    /// The new WebAuthn credential does not verify.
    CredentialInvalid = 422 "credential_invalid" "The credential does not verify";
    /// The WebAuthn assertion does not verify.
    AssertionInvalid = 422 "assertion_invalid" "The user verification does not verify";
    /// The server does not send to this push service.
    PushRefused = 422 "push_refused" "The push service is refused";
    /// The server cannot verify this: a kind that it does not know, or a device without a credential.
    UserVerificationUnsupported = 422 "user_verification_unsupported" "This user verification is not supported";
    /// Too many requests; `Retry-After` says when to come again.
    TooManyAttempts = 429 "too_many_attempts" "Too many attempts";
    /// The server failed; nothing was decided.
    Internal = 500 "internal" "The server failed";
    /// The server cannot serve now; nothing was decided.
    Unavailable = 503 "unavailable" "The server is not available";
}

/// The body of an error answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// RFC 9457 section 3.1.1; always `about:blank`, since `code` says it.
    #[serde(rename = "type", default = "about_blank")]
    pub kind: String,
    /// A short sentence for people.
    #[serde(default)]
    pub title: String,
    /// The HTTP status of the answer.
    pub status: u16,
    /// The stable text; a client may meet one that it does not know.
    pub code: String,
    /// What exactly, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The server's clock, with `proof_expired`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// When it may be tried again, with `login_under_way` and `login_unapproved`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// How the challenge ended, with `challenge_closed`; or that its code was shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ChallengeState>,
}

fn about_blank() -> String {
    "about:blank".to_owned()
}

impl Problem {
    /// A problem with a code and what follows from it.
    pub fn new(code: ErrorCode) -> Self {
        Self {
            kind: about_blank(),
            title: code.title().to_owned(),
            status: code.status(),
            code: code.as_str().to_owned(),
            detail: None,
            time: None,
            until: None,
            state: None,
        }
    }

    /// Says what exactly is wrong.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds the server's clock.
    #[must_use]
    pub fn with_time(mut self, time: Timestamp) -> Self {
        self.time = Some(time);
        self
    }

    /// Adds when it may be tried again.
    #[must_use]
    pub fn with_until(mut self, until: Timestamp) -> Self {
        self.until = Some(until);
        self
    }

    /// Adds how the challenge ended, or that its code was shown.
    #[must_use]
    pub fn with_state(mut self, state: impl Into<ChallengeState>) -> Self {
        self.state = Some(state.into());
        self
    }

    /// The code, when this version knows it.
    pub fn known_code(&self) -> Option<ErrorCode> {
        ErrorCode::from_text(&self.code)
    }
}

impl From<ErrorCode> for Problem {
    fn from(code: ErrorCode) -> Self {
        Self::new(code)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_has_one_text_and_the_status_of_the_page() {
        let texts: BTreeSet<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), ErrorCode::ALL.len());
        let page = include_str!("../../../docs/reference/device-protocol.md");
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_text(code.as_str()), Some(*code));
            let row = format!("| {} | `{}` |", code.status(), code.as_str());
            assert!(page.contains(&row), "the page lacks the row {row}");
        }
    }

    #[test]
    fn a_problem_carries_only_what_belongs_to_it() {
        let json = serde_json::to_value(Problem::new(ErrorCode::Malformed)).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"type": "about:blank", "title": "The request is malformed", "status": 400, "code": "malformed"})
        );
        let closed = Problem::new(ErrorCode::ChallengeClosed).with_state(crate::messages::ClosingState::Denied);
        assert_eq!(serde_json::to_value(closed).unwrap()["state"], "denied");
        let expired = Problem::new(ErrorCode::ProofExpired).with_time(Timestamp::from_second(1_769_850_300).unwrap());
        assert_eq!(serde_json::to_value(expired).unwrap()["time"], "2026-01-31T09:05:00Z");
    }

    #[test]
    fn a_client_reads_problems_from_a_later_version() {
        let problem: Problem =
            serde_json::from_str(r#"{"status": 418, "code": "teapot", "short": true, "stout": true}"#).unwrap();
        assert_eq!(problem.known_code(), None);
        assert_eq!(problem.status, 418);
    }
}
