//! `GET applications` and `POST windows`: no application has sign-in windows yet.

use axum::Json;
use countersign_device_protocol::{
    messages::{Applications, WindowAnswer, WindowRequest},
    problem::ErrorCode,
};

use super::{Refusal, request::Caller};

pub(super) async fn applications(_caller: Caller) -> Json<Applications> {
    Json(Applications::default())
}

pub(super) async fn post(caller: Caller) -> Result<Json<WindowAnswer>, Refusal> {
    let _: WindowRequest = caller.json()?;
    Err(ErrorCode::ApplicationUnknown.into())
}
