//! `GET events`: news as server-sent events (HTML Standard, section 9.2).

use core::{convert::Infallible, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderName, HeaderValue, header},
    response::Response,
};
use bytes::Bytes;
use countersign_desk::Notice;
use countersign_device_protocol::{
    events::{Event, HEARTBEAT, HEARTBEAT_S, STREAM_LIFE_S},
    ids::ChallengeId as WireChallengeId,
    messages::{ChallengeClosed, WindowClosed, WindowState},
    problem::ErrorCode,
};
use countersign_domain::DeviceState;
use futures_util::stream;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use super::{DeviceApi, Refusal, api::Names, challenges::signed_for, request::Caller};

pub(super) async fn get(State(api): State<DeviceApi>, caller: Caller) -> Result<Response, Refusal> {
    let notices = api.desk().subscribe(caller.device.id);
    // A device that was removed before it listened was not hung up on.
    match api.desk().store().device(caller.device.id).await? {
        Some(device) if device.state == DeviceState::Active => {}
        _ => return Err(ErrorCode::DeviceRemoved.into()),
    }
    let now = Instant::now();
    let line = Line {
        closing: api.closing(),
        api,
        names: caller.names,
        notices,
        ends: now + Duration::from_secs(STREAM_LIFE_S),
        quiet_until: now + Duration::from_secs(HEARTBEAT_S),
    };
    let mut response = Response::new(Body::from_stream(stream::unfold(line, Line::next)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // nginx would hold events back otherwise.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

/// One open stream.
struct Line {
    api: DeviceApi,
    names: Names,
    notices: mpsc::Receiver<Notice>,
    closing: watch::Receiver<bool>,
    ends: Instant,
    quiet_until: Instant,
}

impl Line {
    /// The next octets; `None` at the end.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        let text = loop {
            let notice = tokio::select! {
                biased;
                _ = self.closing.wait_for(|closing| *closing) => return None,
                () = sleep_until(self.ends) => return None,
                // None: the device may not listen any more, or is too slow.
                notice = self.notices.recv() => notice?,
                () = sleep_until(self.quiet_until) => break HEARTBEAT.to_owned(),
            };
            // What cannot be written down is told by the list and the state; the stream has nothing more to say.
            if let Some(event) = self.event(notice)? {
                break event.encode().ok()?;
            }
        };
        self.quiet_until = Instant::now() + Duration::from_secs(HEARTBEAT_S);
        Some((Ok(Bytes::from(text)), self))
    }

    /// The event of a notice, if it still is one; `None` when it cannot be made.
    #[expect(clippy::option_option, reason = "the outer one is for `?`")]
    fn event(&self, notice: Notice) -> Option<Option<Event>> {
        match notice {
            Notice::Opened(challenge) if !challenge.is_open(self.api.desk().clock().now()) => Some(None),
            Notice::Opened(challenge) => {
                let signed = signed_for(&self.api, &self.names, &challenge).ok()?;
                Some(Some(Event::Challenge(Box::new(signed))))
            }
            // It has not ended, and the stream has no word for it: a device that would answer it is told so then.
            Notice::CodeShown(_) => Some(None),
            Notice::Closed { id, state, .. } => {
                let id = WireChallengeId::from_bytes(*id.as_octets());
                Some(Some(Event::ChallengeClosed(ChallengeClosed { id, state })))
            }
            Notice::WindowClosed { id, state, .. } => {
                let state = WindowState::ended(state)?;
                Some(Some(Event::WindowClosed(WindowClosed { id, state })))
            }
        }
    }
}
