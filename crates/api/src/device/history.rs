//! `GET history`: how the account's last logins ended.

use core::cmp::Reverse;
use std::collections::HashMap;

use axum::{Json, extract::State};
use countersign_device_protocol::messages::{ContextDocument, History, HistoryFactor, HistoryLogin};
use countersign_domain::{AuditRecord, Challenge, ChallengeState, ClosingState, SignInWindow, Timestamp, WindowState};

use super::{DeviceApi, Refusal, request::Caller};

const LOGINS: usize = 50;

pub(super) async fn get(State(api): State<DeviceApi>, caller: Caller) -> Result<Json<History>, Refusal> {
    let (store, most) = (api.desk().store(), u32::try_from(LOGINS).unwrap_or(u32::MAX));
    let challenges = store.history(caller.device.user, most).await?;
    let windows = store.past_windows(caller.device.user, most).await?;
    let mut logins: Vec<_> = challenges.iter().filter_map(asked).chain(windows.iter().filter_map(opened)).collect();
    let records = store.unasked(caller.device.user, most).await?;
    if !records.is_empty() {
        let resources = store.resources().await?;
        let names = resources.into_iter().map(|(resource, _)| (resource.id.to_string(), resource.name)).collect();
        logins.extend(records.iter().filter_map(|record| unasked(record, &names)));
    }
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

/// A login that nobody was asked about. Its name is that of today; of a resource that is gone it is the identifier.
fn unasked(record: &AuditRecord, names: &HashMap<String, String>) -> Option<HistoryLogin> {
    let factor = HistoryFactor::from_text(record.factor.as_deref()?)?;
    let resource = record.resource.as_deref()?;
    Some(HistoryLogin {
        at: Timestamp::from_micros(record.time).to_jiff(),
        application: names.get(resource).map_or(resource, String::as_str).to_owned(),
        place: None,
        verdict: ClosingState::Approved,
        factor,
    })
}
