//! `POST challenges/{id}/decision`: what a person said.

use std::sync::Arc;

use axum::{Json, extract::State};
use countersign_desk::{AssertionCheck, AssertionOutcome, DecisionAnswer as Judged, SignatureCheck, Submission};
use countersign_device_protocol::{
    ids::Number,
    keys::PublicKey,
    messages::{ChallengeState, DecisionAnswer, DecisionRequest},
    problem::ErrorCode,
    webauthn::assertion_challenge,
};
use countersign_domain::{Challenge, ChallengeId, DecisionRecord, Passkey, Secret};

use super::{
    DeviceApi, Refusal,
    api::Names,
    challenges::Wording,
    request::{AnyAccount, Caller},
};

pub(super) async fn post(State(api): State<DeviceApi>, from: AnyAccount) -> Result<Json<DecisionAnswer>, Refusal> {
    let AnyAccount { caller, enabled } = from;
    let request: DecisionRequest = caller.json()?;
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
    let submission = submission(&api, caller, id, record, request);
    // A disabled account's decision is judged too: it ends the login that waits.
    match api.desk().decide(user, id, submission).await {
        _ if !enabled => Err(ErrorCode::AccountDisabled.into()),
        Judged::Taken(state) => Ok(Json(DecisionAnswer::Closed(state))),
        Judged::CodeShown(code) => Ok(Json(DecisionAnswer::CodeShown(number(&code)?))),
        Judged::CodeShownBefore => Err(Refusal::Closed(ChallengeState::CodeShown)),
        Judged::Closed(state) => Err(Refusal::Closed(state.into())),
        Judged::NumberWrong => Err(ErrorCode::NumberWrong.into()),
        Judged::NotFound => Err(ErrorCode::NotFound.into()),
        Judged::SignatureInvalid => Err(ErrorCode::SignatureInvalid.into()),
        Judged::UserVerificationUnsupported => Err(ErrorCode::UserVerificationUnsupported.into()),
        Judged::UserVerificationRequired => Err(ErrorCode::UserVerificationRequired.into()),
        Judged::AssertionInvalid => Err(ErrorCode::AssertionInvalid.into()),
        Judged::NumberMalformed if has_number => Err(Refusal::Malformed("this challenge has no number".to_owned())),
        Judged::NumberMalformed => Err(ErrorCode::NumberRequired.into()),
        Judged::AccountDisabled => Err(ErrorCode::AccountDisabled.into()),
        Judged::DeviceRemoved => Err(ErrorCode::DeviceRemoved.into()),
        Judged::Unavailable => Err(ErrorCode::Unavailable.into()),
    }
}

/// A code of ours as the device protocol carries it.
fn number(code: &Secret) -> Result<Number, Refusal> {
    let digits = core::str::from_utf8(code.expose()).ok().and_then(|digits| Number::new(digits).ok());
    digits.ok_or_else(|| ErrorCode::Internal.into())
}

/// Verifies over the server's row. Where the challenge is pending, as nearly always, the work is done here and now and
/// not while the engine holds its lock; the engine's rows must then say the same.
fn submission(
    api: &DeviceApi,
    caller: Caller,
    id: ChallengeId,
    record: DecisionRecord,
    request: DecisionRequest,
) -> Submission {
    let pending = api.desk().pending_for(caller.device.id).into_iter().find(|challenge| challenge.id == id);
    let passkey = caller.device.passkey;
    let has_assertion = request.assertion.is_some();
    let signer = Arc::new(Signer { api: api.clone(), names: caller.names, key: caller.key, request });
    let seen = pending.map(|row| {
        let verifies = signer.made_this(&row);
        let outcome = passkey.filter(|_| verifies && has_assertion).map(|passkey| {
            let outcome = signer.verified_user(&row, &passkey);
            (passkey, outcome)
        });
        (row, verifies, outcome)
    });
    let seen = Arc::new(seen);
    let signature = {
        let (signer, seen) = (Arc::clone(&signer), Arc::clone(&seen));
        SignatureCheck::new(move |row| match &*seen {
            Some((before, verifies, _)) if says_the_same(before, row) => *verifies,
            _ => signer.made_this(row),
        })
    };
    let assertion = has_assertion.then(|| {
        AssertionCheck::new(move |row, passkey| match &*seen {
            Some((before, _, Some((of, outcome)))) if says_the_same(before, row) && of == passkey => outcome.clone(),
            _ => signer.verified_user(row, passkey),
        })
    });
    Submission { record, signature, assertion }
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

    /// Whether the assertion is one by this passkey over what was signed.
    fn verified_user(&self, row: &Challenge, passkey: &Passkey) -> AssertionOutcome {
        let (Some(wording), Some(relying_party)) = (Wording::of(row), self.api.relying_party()) else {
            return AssertionOutcome::Fails;
        };
        let Some(assertion) = &self.request.assertion else { return AssertionOutcome::Fails };
        let subject = wording.subject(&self.api, &self.names, row);
        let challenge = assertion_challenge(&self.request.signed(subject, row.number_mode).octets());
        relying_party.verified_user(passkey, &challenge, assertion)
    }
}
