//! `GET history`: how the account's last logins ended.

use axum::{Json, extract::State};
use countersign_device_protocol::messages::{ContextDocument, History, HistoryLogin};
use countersign_domain::{Challenge, ChallengeState};

use super::{DeviceApi, Refusal, request::Caller};

const LOGINS: u32 = 50;

pub(super) async fn get(State(api): State<DeviceApi>, caller: Caller) -> Result<Json<History>, Refusal> {
    let closed = api.desk().store().history(caller.device.user, LOGINS).await?;
    Ok(Json(History { logins: closed.iter().filter_map(login).collect() }))
}

fn login(challenge: &Challenge) -> Option<HistoryLogin> {
    let ChallengeState::Closed(closing) = &challenge.state else { return None };
    let context: Option<ContextDocument> = serde_json::from_slice(&challenge.context).ok();
    let (application, place) = context
        .map_or_else(|| (challenge.resource.to_string(), None), |context| (context.application.name, context.place));
    Some(HistoryLogin { at: closing.at.to_jiff(), application, place, verdict: closing.state })
}
