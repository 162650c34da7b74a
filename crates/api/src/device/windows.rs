//! `GET applications`, `POST windows` and `GET windows/{id}`: no application has sign-in windows yet.

use axum::{Json, extract::State};
use countersign_device_protocol::{
    messages::{Applications, WindowAnswer, WindowRequest, WindowState, WindowStateAnswer},
    problem::ErrorCode,
};
use countersign_domain::{WindowId, WindowState as Standing};

use super::{DeviceApi, Refusal, request::Caller};

pub(super) async fn applications(_caller: Caller) -> Json<Applications> {
    Json(Applications::default())
}

pub(super) async fn post(caller: Caller) -> Result<Json<WindowAnswer>, Refusal> {
    let _: WindowRequest = caller.json()?;
    Err(ErrorCode::ApplicationUnknown.into())
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
