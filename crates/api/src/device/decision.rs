//! `POST challenges/{id}/decision`: what a person said.

use std::sync::Arc;

use axum::{Json, extract::State};
use countersign_desk::{DecisionAnswer as Judged, SignatureCheck};
use countersign_device_protocol::{
    keys::PublicKey,
    messages::{DecisionAnswer, DecisionRequest, UserVerificationReached},
    problem::ErrorCode,
};
use countersign_domain::{Challenge, ChallengeId, DecisionRecord};

use super::{
    DeviceApi, Refusal,
    api::Names,
    challenges::Wording,
    request::{AnyAccount, Caller},
};

pub(super) async fn post(State(api): State<DeviceApi>, from: AnyAccount) -> Result<Json<DecisionAnswer>, Refusal> {
    let AnyAccount { caller, enabled } = from;
    let request: DecisionRequest = caller.json()?;
    if request.assertion.is_some() && request.user_verification != UserVerificationReached::WebAuthn {
        return Err(Refusal::Malformed("an assertion comes with webauthn only".to_owned()));
    }
    let id = caller.named()?;
    let record = DecisionRecord {
        device: caller.device.id,
        decision: request.decision,
        number: request.number.as_ref().map(|number| number.expose().to_owned()).unwrap_or_default(),
        user_verification: request.user_verification,
        device_time: request.device_time.as_str().to_owned(),
    };
    let has_number = request.number.is_some();
    let user = caller.device.user;
    let check = signature_check(&api, caller, id, request);
    // A disabled account's decision is judged too: it ends the login that waits.
    match api.desk().decide(user, id, record, check).await {
        _ if !enabled => Err(ErrorCode::AccountDisabled.into()),
        Judged::Taken(state) => Ok(Json(DecisionAnswer::Closed(state))),
        Judged::Closed(state) => Err(Refusal::Closed(state)),
        Judged::NotFound => Err(ErrorCode::NotFound.into()),
        Judged::SignatureInvalid => Err(ErrorCode::SignatureInvalid.into()),
        Judged::UserVerificationUnsupported => Err(ErrorCode::UserVerificationUnsupported.into()),
        Judged::UserVerificationRequired => Err(ErrorCode::UserVerificationRequired.into()),
        Judged::NumberMalformed if has_number => Err(Refusal::Malformed("this challenge has no number".to_owned())),
        Judged::NumberMalformed => Err(ErrorCode::NumberRequired.into()),
        Judged::AccountDisabled => Err(ErrorCode::AccountDisabled.into()),
        Judged::DeviceRemoved => Err(ErrorCode::DeviceRemoved.into()),
        Judged::Unavailable => Err(ErrorCode::Unavailable.into()),
    }
}

/// Verifies over the server's row. Where the challenge is pending, as nearly always, the work is done here and now and
/// not while the engine holds its lock; the engine's row must then say the same.
fn signature_check(api: &DeviceApi, caller: Caller, id: ChallengeId, request: DecisionRequest) -> SignatureCheck {
    let signer = Signer { api: api.clone(), names: caller.names, key: caller.key, request };
    let pending = api.desk().pending_for(caller.device.id).into_iter().find(|challenge| challenge.id == id);
    let judged: Option<(Arc<Challenge>, bool)> = pending.map(|row| {
        let verifies = signer.made_this(&row);
        (row, verifies)
    });
    SignatureCheck::new(move |row| match &judged {
        Some((seen, verifies)) if says_the_same(seen, row) => *verifies,
        _ => signer.made_this(row),
    })
}

/// Whether a signature over one is a signature over the other.
fn says_the_same(one: &Challenge, other: &Challenge) -> bool {
    one.id == other.id
        && one.resource == other.resource
        && one.nonce == other.nonce
        && one.context == other.context
        && one.number_mode == other.number_mode
}

struct Signer {
    api: DeviceApi,
    names: Names,
    key: PublicKey,
    request: DecisionRequest,
}

impl Signer {
    fn made_this(&self, row: &Challenge) -> bool {
        Wording::of(row).is_some_and(|wording| {
            let subject = wording.subject(&self.api, &self.names, row);
            self.request.verify(subject, row.number_mode, &self.key).is_ok()
        })
    }
}
