//! `GET applications`, `POST windows` and `GET windows/{id}`: what a sign-in window can be opened for, and how it stands.

use axum::{Json, extract::State};
use countersign_desk::{
    AssertionOutcome, PasskeyCheck, WindowAnswer as Judged, WindowRefusal, WindowRequest as Opening,
};
use countersign_device_protocol::{
    ids::ApplicationId,
    messages::{
        Application, Applications, UserVerificationReached, WindowAnswer, WindowRequest, WindowState, WindowStateAnswer,
    },
    problem::ErrorCode,
    webauthn::assertion_challenge,
};
use countersign_domain::{Resource, ResourceId, Timestamp, WindowId, WindowState as Standing};

use super::{DeviceApi, Refusal, request::Caller};

pub(super) async fn applications(State(api): State<DeviceApi>, caller: Caller) -> Result<Json<Applications>, Refusal> {
    let resources = api.desk().windows_for(caller.device.user).await?;
    let applications = resources.iter().map(|resource| application(resource)).collect::<Result<_, _>>()?;
    Ok(Json(Applications { applications }))
}

fn application(resource: &Resource) -> Result<Application, Refusal> {
    let id = ApplicationId::new(resource.id.to_string()).map_err(|_| ErrorCode::Internal)?;
    Ok(Application { id, name: resource.name.clone() })
}

/// The order of the judgement is that of the device protocol.
pub(super) async fn post(State(api): State<DeviceApi>, caller: Caller) -> Result<Json<WindowAnswer>, Refusal> {
    let request: WindowRequest = caller.json()?;
    if request.assertion.is_some() && request.user_verification != UserVerificationReached::WebAuthn {
        return Err(Refusal::Malformed("an assertion comes with webauthn only".to_owned()));
    }
    if request.assertion.is_none() && request.user_verification == UserVerificationReached::WebAuthn {
        return Err(Refusal::Malformed("webauthn comes with an assertion".to_owned()));
    }
    let (user, device) = (caller.device.user, caller.device.id);
    let resource = match request.application.as_str().parse::<ResourceId>() {
        Ok(id) => api.desk().window_for(user, id).await?,
        Err(_) => None,
    };
    let resource = resource.ok_or(ErrorCode::ApplicationUnknown)?;
    request.verify(caller.names.party(&api), &caller.key).map_err(|_| ErrorCode::SignatureInvalid)?;
    let challenge = assertion_challenge(&request.signed(caller.names.party(&api)).octets());
    let checking = api.clone();
    let assertion = request.assertion.map(|made| {
        PasskeyCheck::new(move |passkey| match checking.relying_party() {
            Some(relying_party) => relying_party.verified_user(passkey, &challenge, &made),
            None => AssertionOutcome::Fails,
        })
    });
    let opening = Opening {
        id: request.window_id,
        device,
        resource,
        user_verification: request.user_verification,
        device_time: request.device_time.as_str().to_owned(),
        assertion,
    };
    match api.desk().open_window(user, opening).await {
        Judged::Open { expires_at } => Ok(Json(WindowAnswer { expires_at: expires_at.to_jiff() })),
        Judged::Refused(refusal) => Err(refused(refusal, api.desk().clock().now())),
    }
}

fn refused(refusal: WindowRefusal, now: Timestamp) -> Refusal {
    match refusal {
        WindowRefusal::DeviceRemoved => ErrorCode::DeviceRemoved.into(),
        WindowRefusal::AccountDisabled => ErrorCode::AccountDisabled.into(),
        WindowRefusal::ApplicationUnknown => ErrorCode::ApplicationUnknown.into(),
        WindowRefusal::IdUsed => ErrorCode::WindowIdUsed.into(),
        WindowRefusal::UserVerificationRequired => ErrorCode::UserVerificationRequired.into(),
        WindowRefusal::UserVerificationUnsupported => ErrorCode::UserVerificationUnsupported.into(),
        WindowRefusal::AssertionInvalid => ErrorCode::AssertionInvalid.into(),
        WindowRefusal::Frozen => ErrorCode::AccountFrozen.into(),
        WindowRefusal::AlreadyOpen => ErrorCode::WindowOpen.into(),
        WindowRefusal::LoginUnderWay { until } => Refusal::Until(ErrorCode::LoginUnderWay, until),
        WindowRefusal::LoginUnapproved { until } => Refusal::Until(ErrorCode::LoginUnapproved, until),
        WindowRefusal::Spent { until } => Refusal::TooMany(until.since(now)),
        WindowRefusal::Unavailable => ErrorCode::Unavailable.into(),
    }
}

pub(super) async fn get(State(api): State<DeviceApi>, caller: Caller) -> Result<Json<WindowStateAnswer>, Refusal> {
    let id: WindowId = caller.named()?;
    let window = api.desk().store().window(caller.device.id, &id).await?.ok_or(ErrorCode::NotFound)?;
    let state = match window.state {
        Standing::Open => WindowState::Open,
        Standing::Closed(closing) => WindowState::ended(closing.state).ok_or(ErrorCode::Internal)?,
    };
    Ok(Json(WindowStateAnswer { state }))
}
