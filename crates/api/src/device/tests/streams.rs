use core::time::Duration;
use std::collections::VecDeque;

use axum::body::BodyDataStream;
use countersign_device_protocol::{
    events::{Event, EventReader},
    messages::{ClosingState, Decision},
};
use countersign_domain::{DeviceState, Write};
use countersign_testkit::SoftPhone;
use futures_util::StreamExt as _;
use tokio::time::timeout;
use tower::ServiceExt as _;

use super::{PATIENCE, World};

/// An open stream.
pub(super) struct Stream {
    body: BodyDataStream,
    reader: EventReader,
    events: VecDeque<Event>,
}

impl World {
    pub(super) async fn listen(&self, phone: &SoftPhone) -> Stream {
        let request = self.request(phone, "GET", "events", "");
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert!(response.headers().contains_key("dpop-nonce"));
        Stream { body: response.into_body().into_data_stream(), reader: EventReader::new(), events: VecDeque::new() }
    }
}

impl Stream {
    /// The next event; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Event> {
        while self.events.is_empty() {
            let chunk = timeout(PATIENCE, self.body.next()).await.unwrap()?.unwrap();
            self.events.extend(self.reader.read(&chunk).unwrap());
        }
        self.events.pop_front()
    }

    pub(super) async fn opened(&mut self) -> countersign_device_protocol::messages::Challenge {
        match self.next().await {
            Some(Event::Challenge(challenge)) => *challenge,
            other => panic!("no challenge: {other:?}"),
        }
    }

    pub(super) async fn closed(&mut self) -> ClosingState {
        match self.next().await {
            Some(Event::ChallengeClosed(closed)) => closed.state,
            other => panic!("not closed: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_stream_begins_with_what_is_pending_and_tells_what_becomes_of_it() {
    let world = World::new().await;
    let phone = world.phone(world.ada).await;
    let pending = world.asked(&phone).await;
    let mut stream = world.listen(&phone).await;
    let challenge = stream.opened().await;
    assert_eq!(challenge.id, pending.id);
    phone.open(&challenge);
    world.decide(&phone, &challenge, Decision::Deny).await;
    assert_eq!(stream.closed().await, ClosingState::Denied);
    world.login("ada");
    let next = stream.opened().await;
    assert_ne!(next.id, challenge.id);
    world.decide(&phone, &next, Decision::Verify).await;
    assert_eq!(stream.closed().await, ClosingState::Approved);
}

#[tokio::test]
async fn c093_a_device_without_a_push_subscription_gets_and_answers_challenges() {
    let mut world = World::new().await;
    let phone = world.phone(world.ada).await;
    let row = world.site.desk.store().device(World::id(&phone)).await.unwrap().unwrap();
    assert!(row.push.is_none());
    let challenge = world.asked(&phone).await;
    assert_eq!(world.decide(&phone, &challenge, Decision::Verify).await.short(), "200 approved");
    assert_eq!(world.verdict().await, countersign_domain::Verdict::accept());
}

#[tokio::test]
async fn s36_the_stream_of_a_removed_device_ends_and_its_next_request_is_refused() {
    let world = World::new().await;
    for to in [DeviceState::Removed, DeviceState::Suspended] {
        let phone = world.phone(world.ada).await;
        let mut stream = world.listen(&phone).await;
        let id = World::id(&phone);
        world.site.write(Write::SetDeviceState { id, from: DeviceState::Active, to }).await;
        let ended = timeout(Duration::from_secs(1), stream.next()).await;
        assert_eq!(ended.unwrap(), None);
        for path in ["challenges", "events", "history", "applications"] {
            assert_eq!(world.get(&phone, path).await.short(), "403 device_removed", "{path}");
        }
    }
}

#[tokio::test]
async fn s36_so_do_those_of_a_disabled_and_of_a_removed_user() {
    let world = World::new().await;
    let phone = world.phone(world.ada).await;
    let mut stream = world.listen(&phone).await;
    world.site.disable(world.ada).await;
    assert_eq!(stream.next().await, None);
    world.site.write(Write::SetUserEnabled { id: world.ada, enabled: true }).await;
    let mut stream = world.listen(&phone).await;
    world.site.write(Write::RemoveUser(world.ada)).await;
    assert_eq!(stream.next().await, None);
    assert_eq!(world.get(&phone, "events").await.short(), "401 device_unknown");
}

#[tokio::test]
async fn s36_removing_a_device_drops_its_subscription() {
    let world = World::new().await;
    let phone = world.phone(world.ada).await;
    let push = serde_json::json!({
        "endpoint": "https://push.example.net/send/abc",
        "p256dh": "BDCgQkzSHClEg4otdckrN-duog2fAIk6O07uijwKr-w-4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        "auth": "AQEBAQEBAQEBAQEBAQEBAQ",
    });
    assert_eq!(world.send(&phone, "PUT", "push", push.to_string()).await.short(), "204");
    let row = async || world.site.desk.store().device(World::id(&phone)).await.unwrap().unwrap();
    assert_eq!(row().await.push.unwrap().endpoint, "https://push.example.net/send/abc");
    assert_eq!(world.send(&phone, "DELETE", "device", "").await.short(), "204");
    assert!(row().await.push.is_none());
}

#[tokio::test]
async fn a_quiet_stream_breathes_every_twenty_seconds_and_ends_after_ten_minutes() {
    let world = World::new().await;
    let phone = world.phone(world.ada).await;
    let mut stream = world.listen(&phone).await;
    // From here on nothing asks the database, which does not know of paused time.
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let mut breaths = 0;
    while let Some(chunk) = stream.body.next().await {
        assert_eq!(chunk.unwrap(), ":\n\n");
        breaths += 1;
    }
    assert_eq!(breaths, 29);
    assert_eq!(began.elapsed().as_secs(), 600);
}

#[tokio::test]
async fn a_server_that_stops_ends_all_streams() {
    let world = World::new().await;
    let phone = world.phone(world.ada).await;
    let mut stream = world.listen(&phone).await;
    world.api.close();
    assert_eq!(stream.next().await, None);
    assert_eq!(world.listen(&phone).await.next().await, None);
}

#[tokio::test]
async fn a_device_has_eight_streams_and_a_ninth_ends_the_first() {
    let world = World::new().await;
    let phone = world.phone(world.ada).await;
    let mut streams = Vec::new();
    for _ in 0..9 {
        streams.push(world.listen(&phone).await);
    }
    assert_eq!(streams.remove(0).next().await, None);
    world.login("ada");
    for stream in &mut streams {
        stream.opened().await;
    }
}
