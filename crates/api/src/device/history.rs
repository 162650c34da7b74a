//! `GET history`: how the account's last logins ended.

use core::cmp::Reverse;

use axum::{Json, extract::State};
use countersign_device_protocol::messages::{ContextDocument, History, HistoryFactor, HistoryLogin};
use countersign_domain::{Challenge, ChallengeState, SignInWindow, WindowState};

use super::{DeviceApi, Refusal, request::Caller};

const LOGINS: usize = 50;

pub(super) async fn get(State(api): State<DeviceApi>, caller: Caller) -> Result<Json<History>, Refusal> {
    let (store, most) = (api.desk().store(), u32::try_from(LOGINS).unwrap_or(u32::MAX));
    let challenges = store.history(caller.device.user, most).await?;
    let windows = store.past_windows(caller.device.user, most).await?;
    let mut logins: Vec<_> = challenges.iter().filter_map(asked).chain(windows.iter().filter_map(opened)).collect();
    logins.sort_by_key(|login| Reverse(login.at));
    logins.truncate(LOGINS);
    Ok(Json(History { logins }))
}

fn asked(challenge: &Challenge) -> Option<HistoryLogin> {
    let ChallengeState::Closed(closing) = &challenge.state else { return None };
    let context: Option<ContextDocument> = serde_json::from_slice(&challenge.context).ok();
    let (application, place) = context
        .map_or_else(|| (challenge.resource.to_string(), None), |context| (context.application.name, context.place));
    let factor = HistoryFactor::Push;
    Some(HistoryLogin { at: closing.at.to_jiff(), application, place, verdict: closing.state, factor })
}

fn opened(window: &SignInWindow) -> Option<HistoryLogin> {
    let WindowState::Closed(closing) = window.state else { return None };
    Some(HistoryLogin {
        at: closing.at.to_jiff(),
        application: window.application.clone(),
        place: None,
        verdict: closing.state,
        factor: HistoryFactor::Window,
    })
}
