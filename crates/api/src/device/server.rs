//! `GET server`: who the server is, the only request without a proof.

use axum::{Json, extract::State};
use countersign_device_protocol::messages::ServerInfo;

use super::DeviceApi;

pub(super) async fn get(State(api): State<DeviceApi>) -> Json<ServerInfo> {
    Json(api.server_info())
}
