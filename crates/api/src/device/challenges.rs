//! `GET challenges` and `GET challenges/{id}`.

use axum::{Json, extract::State};
use countersign_device_protocol::{
    encoding::{Nonce, Octets},
    ids::{ApplicationId, ChallengeId as WireChallengeId},
    messages::{Challenge as WireChallenge, ChallengeState as WireState, ChallengeStateAnswer, Challenges},
    problem::ErrorCode,
    signed::{SignedChallenge, Subject},
};
use countersign_domain::{Challenge, ChallengeState};

use super::{DeviceApi, Refusal, api::Names, request::Caller};

pub(super) async fn list(State(api): State<DeviceApi>, caller: Caller) -> Result<Json<Challenges>, Refusal> {
    let now = api.desk().clock().now();
    let pending = api.desk().pending_for(caller.device.id);
    let challenges = pending
        .iter()
        .filter(|challenge| challenge.is_open(now))
        .map(|challenge| signed_for(&api, &caller.names, challenge))
        .collect::<Result<_, _>>()?;
    let credential_id = caller.device.passkey.map(|passkey| Octets::new(passkey.credential_id));
    Ok(Json(Challenges { challenges, credential_id }))
}

pub(super) async fn get(State(api): State<DeviceApi>, caller: Caller) -> Result<Json<ChallengeStateAnswer>, Refusal> {
    let challenge = api.desk().store().challenge(caller.named()?).await?;
    let now = api.desk().clock().now();
    let challenge = challenge.filter(|challenge| {
        let ended = match &challenge.state {
            ChallengeState::Pending => challenge.expires_at,
            ChallengeState::Closed(closing) => closing.at,
        };
        challenge.user == caller.device.user && now < ended.plus(Challenge::AFTERLIFE)
    });
    let challenge = challenge.ok_or(ErrorCode::NotFound)?;
    let open = if api.desk().has_shown_code(challenge.id) { WireState::CodeShown } else { WireState::Pending };
    let state = challenge.closing_state(now).map_or(open, WireState::from);
    Ok(Json(ChallengeStateAnswer { state }))
}

/// A challenge as the wire names its parts: what a signature over it is made of.
pub(super) struct Wording {
    id: WireChallengeId,
    nonce: Nonce,
    application: ApplicationId,
}

impl Wording {
    /// `None` when an identifier of ours does not have the form of the protocol, which none lacks.
    pub(super) fn of(challenge: &Challenge) -> Option<Self> {
        Some(Self {
            id: WireChallengeId::from_bytes(*challenge.id.as_octets()),
            nonce: Nonce::new(challenge.nonce),
            application: ApplicationId::new(challenge.resource.to_string()).ok()?,
        })
    }

    /// Fields 2 to 9 of what is signed, all from the server's own row.
    pub(super) fn subject<'a>(&'a self, api: &'a DeviceApi, names: &'a Names, challenge: &'a Challenge) -> Subject<'a> {
        Subject {
            party: names.party(api),
            challenge: &self.id,
            nonce: &self.nonce,
            application: &self.application,
            context: &challenge.context,
        }
    }
}

/// A challenge as this device gets it, signed for it.
pub(super) fn signed_for(api: &DeviceApi, names: &Names, challenge: &Challenge) -> Result<WireChallenge, Refusal> {
    let wording = Wording::of(challenge).ok_or(ErrorCode::Internal)?;
    let signed = SignedChallenge {
        subject: wording.subject(api, names, challenge),
        number_mode: challenge.number_mode,
        user_verification: challenge.user_verification,
    };
    let signature = api.sign(&signed.octets())?;
    Ok(WireChallenge {
        id: wording.id,
        nonce: wording.nonce,
        context: Octets::new(challenge.context.clone()),
        signature,
        key: api.signing_thumbprint(),
        number_mode: challenge.number_mode,
        user_verification: challenge.user_verification,
    })
}
