use core::time::Duration;

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use countersign_device_protocol::{
    keys::KeyError,
    messages::ChallengeState,
    problem::{ErrorCode, MEDIA_TYPE, Problem},
    proof::ProofError,
};
use countersign_domain::Timestamp;
use countersign_storage::{CommitError, StoreError};
use tracing::error;

/// When to come again after the memory of used proofs was full: by then some of it has been forgotten.
const COME_AGAIN: Duration = Duration::from_secs(30);

/// Why a request is not served.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Nothing beside the code is to be said.
    Code(ErrorCode),
    /// The request is not as the page says, in this respect.
    Malformed(String),
    /// The push service is not spoken to, and why.
    Push(String),
    /// `iat` is off by more than it may; the client needs the server's clock.
    Expired(Timestamp),
    /// The challenge has ended like this, or its code was shown.
    Closed(ChallengeState),
    /// Come again after this time.
    TooMany(Duration),
    /// Not before this time.
    Until(ErrorCode, Timestamp),
}

impl Refusal {
    fn problem(&self) -> Problem {
        match self {
            Self::Code(code) => Problem::new(*code),
            Self::Malformed(detail) => Problem::new(ErrorCode::Malformed).with_detail(detail.clone()),
            Self::Push(detail) => Problem::new(ErrorCode::PushRefused).with_detail(detail.clone()),
            Self::Expired(now) => Problem::new(ErrorCode::ProofExpired).with_time(now.to_jiff()),
            Self::Closed(state) => Problem::new(ErrorCode::ChallengeClosed).with_state(*state),
            Self::Until(code, until) => Problem::new(*code).with_until(until.to_jiff()),
            Self::TooMany(_) => Problem::new(ErrorCode::TooManyAttempts),
        }
    }

    /// A proof that is not taken; `now` is the server's clock.
    pub(super) fn of_proof(fault: ProofError, now: Timestamp) -> Self {
        match fault {
            ProofError::Expired => Self::Expired(now),
            ProofError::TooMany => Self::TooMany(COME_AGAIN),
            _ => Self::Code(fault.code()),
        }
    }
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self::Code(code)
    }
}

impl From<StoreError> for Refusal {
    fn from(fault: StoreError) -> Self {
        error!(error = %fault, "device.request failed");
        Self::Code(ErrorCode::Unavailable)
    }
}

impl From<CommitError> for Refusal {
    fn from(fault: CommitError) -> Self {
        error!(error = %fault, "device.request failed");
        Self::Code(ErrorCode::Unavailable)
    }
}

impl From<KeyError> for Refusal {
    fn from(fault: KeyError) -> Self {
        error!(error = %fault, "device.request failed: the server cannot sign");
        Self::Code(ErrorCode::Internal)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let problem = self.problem();
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let status = response.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if status == StatusCode::UNAUTHORIZED {
            // RFC 9449 sections 7.1 and 9.
            let challenge = match &self {
                Self::Code(ErrorCode::UseDpopNonce) => r#"DPoP error="use_dpop_nonce", algs="ES256""#,
                Self::Code(ErrorCode::ProofMissing | ErrorCode::DeviceUnknown) => r#"DPoP algs="ES256""#,
                _ => r#"DPoP error="invalid_dpop_proof", algs="ES256""#,
            };
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Self::TooMany(wait) = &self {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        response
    }
}
