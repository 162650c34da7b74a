//! Error answers of the admin API: RFC 9457 problem documents with a stable `code` and a text that says what to do.

use axum::{
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use countersign_storage::{CommitError, StoreError};
use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $status:literal $text:literal $title:literal;)*) => {
        /// What went wrong, as a text that stays the same over versions.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum AdminCode {
            $($(#[$doc])* $name,)*
        }

        impl AdminCode {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The text in the member `code`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The HTTP status that goes with it.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// A short sentence for people.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// Broken JSON, unknown members, a value of the wrong form.
    Malformed = 400 "malformed" "The request is malformed";
    /// No such path.
    NotFound = 404 "not_found" "There is nothing here";
    /// Nobody has this name.
    UserUnknown = 404 "user_unknown" "There is no such user";
    /// No device has this identifier.
    DeviceUnknown = 404 "device_unknown" "There is no such device";
    /// Nothing has this name.
    ResourceUnknown = 404 "resource_unknown" "There is no such resource";
    /// No client has this name, or the resource has several.
    ClientUnknown = 404 "client_unknown" "There is no such client";
    /// No directory has this name.
    DirectoryUnknown = 404 "directory_unknown" "There is no such directory";
    /// No upstream has this name.
    UpstreamUnknown = 404 "upstream_unknown" "There is no such upstream";
    /// The path exists and does not take this method.
    MethodNotAllowed = 405 "method_not_allowed" "The method is not allowed here";
    /// Somebody has this name already.
    UserExists = 409 "user_exists" "There is such a user already";
    /// Something has this name already.
    ResourceExists = 409 "resource_exists" "There is such a resource already";
    /// A rule of a client leads to the resource.
    ResourceInUse = 409 "resource_in_use" "The resource is in use";
    /// A client has this name already.
    ClientExists = 409 "client_exists" "There is such a client already";
    /// Several users have this name.
    UserAmbiguous = 409 "user_ambiguous" "There are several such users";
    /// A directory has this name already.
    DirectoryExists = 409 "directory_exists" "There is such a directory already";
    /// Resources use the directory, or users come from it.
    DirectoryInUse = 409 "directory_in_use" "The directory is in use";
    /// One run at a time.
    SyncRunning = 409 "sync_running" "A synchronisation is under way";
    /// An upstream has this name already.
    UpstreamExists = 409 "upstream_exists" "There is such an upstream already";
    /// Resources use the upstream.
    UpstreamInUse = 409 "upstream_in_use" "The upstream is in use";
    /// Another client has this secret.
    SecretInUse = 409 "secret_in_use" "The shared secret belongs to another client";
    /// Another client has this certificate.
    IdentityInUse = 409 "identity_in_use" "The certificate belongs to another client";
    /// Another client has this network.
    NetworkInUse = 409 "network_in_use" "The network belongs to another client";
    /// The device is not in the state that this needs.
    DeviceState = 409 "device_state" "The device is in another state";
    /// The user is disabled.
    UserDisabled = 409 "user_disabled" "The user is disabled";
    /// A login of the user was reported, and nobody has looked at it.
    UserFrozen = 409 "user_frozen" "A login of the user was reported";
    /// No pushes are sent, since none are configured.
    PushOff = 409 "push_off" "No pushes are sent";
    /// Somebody changed the same thing at the same time.
    Conflict = 409 "conflict" "It was changed at the same time";
    /// The body is longer than 64 KiB.
    BodyTooLarge = 413 "body_too_large" "The request is too large";
    /// The text is no name.
    NameInvalid = 422 "name_invalid" "The name cannot be used";
    /// The password cannot be taken.
    PasswordRefused = 422 "password_refused" "The password is refused";
    /// The shared secret cannot be taken.
    SecretRefused = 422 "secret_refused" "The shared secret is refused";
    /// It is no fingerprint and no name of a certificate.
    IdentityRefused = 422 "identity_refused" "The identity is refused";
    /// It is no network, or not one that a client can have.
    NetworkRefused = 422 "network_refused" "The network is refused";
    /// It is no rule, or one that would let in more easily.
    RuleRefused = 422 "rule_refused" "The rule is refused";
    /// It is no attribute that can stand in an Access-Accept, or has no such value.
    ReplyRefused = 422 "reply_refused" "The reply attribute is refused";
    /// It is not from 5 to 300 seconds.
    AnswerByRefused = 422 "answer_by_refused" "The answer-by time is refused";
    /// It is not more than nothing and at most 24 hours.
    ExpiryRefused = 422 "expiry_refused" "The lifetime of the activation is refused";
    /// It is more than 300 seconds.
    RememberRefused = 422 "remember_refused" "Approvals are not remembered for so long";
    /// It is not more than nothing and at most 24 hours.
    BypassRefused = 422 "bypass_refused" "The lifetime of the bypass is refused";
    /// The settings of a directory make no sense.
    DirectoryRefused = 422 "directory_refused" "The settings of the directory are refused";
    /// The servers of an upstream make no sense.
    UpstreamRefused = 422 "upstream_refused" "The servers of the upstream are refused";
    /// A password is needed, or needed again.
    PasswordMissing = 422 "password_missing" "The password is missing";
    /// The first factor and the directory of a resource do not go together.
    PrimaryRefused = 422 "primary_refused" "The first factor is refused";
    /// A change that needs a reason came without one.
    ReasonMissing = 422 "reason_missing" "A reason is missing";
    /// The server failed; nothing was changed.
    Internal = 500 "internal" "The server failed";
    /// The database does not answer; nothing was changed.
    Unavailable = 503 "unavailable" "The database is not available";
}

/// The body of an error answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminProblem {
    /// RFC 9457 section 3.1.1; always `about:blank`, since `code` says it.
    #[serde(rename = "type")]
    pub kind: String,
    /// A short sentence for people.
    pub title: String,
    /// The HTTP status of the answer.
    pub status: u16,
    /// The stable text.
    pub code: String,
    /// What exactly is wrong, with the values that matter, and what to do.
    pub detail: String,
}

impl AdminProblem {
    /// A problem with its code and what exactly is wrong.
    pub fn new(code: AdminCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: code.title().to_owned(),
            status: code.status(),
            code: code.as_str().to_owned(),
            detail: detail.into(),
        }
    }

    /// What became of a commit whose conditions are explained by `conflict`, called with the place of the write.
    pub(crate) fn of_commit(fault: CommitError, conflict: impl FnOnce(usize) -> Self) -> Self {
        match fault {
            CommitError::Conflict(place) => conflict(place),
            CommitError::Store(fault) => fault.into(),
        }
    }

    /// Somebody else was quicker.
    pub(crate) fn conflict() -> Self {
        Self::new(AdminCode::Conflict, "it was changed or removed at the same time: look at it again and repeat")
    }
}

impl From<StoreError> for AdminProblem {
    fn from(fault: StoreError) -> Self {
        tracing::error!(error = %fault, "admin.request failed: the database did not answer");
        let code = match fault {
            StoreError::Unavailable(_) => AdminCode::Unavailable,
            StoreError::Newer { .. } | StoreError::Inconsistent { .. } | StoreError::Sealed { .. } => {
                AdminCode::Internal
            }
        };
        Self::new(code, fault.to_string())
    }
}

impl IntoResponse for AdminProblem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, super::json::to_vec(&self)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_has_one_text_and_an_error_status() {
        let texts: BTreeSet<_> = AdminCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(texts.len(), AdminCode::ALL.len());
        assert!(AdminCode::ALL.iter().all(|code| (400..600).contains(&code.status())));
    }
}
