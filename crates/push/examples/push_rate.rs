//! Measures how long it takes from a login at the desk until the request to the push service is there, against a mock
//! of a push service in the same process (which costs the same two cores and is counted in).
//!
//! `cargo run --release -p countersign-push --example push_rate -- [LOGINS_PER_SECOND] [SECONDS]`
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a measurement for the terminal"
)]

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/support/mod.rs"]
mod support;

use core::time::Duration;
use std::{collections::HashMap, sync::Arc};

use aws_lc_rs::rand::SystemRandom;
use countersign_desk::{Bounds, DeskConfig};
use countersign_device_protocol::keys::SigningKey;
use countersign_domain::{
    ChallengeId, Clock, Commit, Credential, Door, HostileText, LoginName, LoginRequest, RetryKey, Source, User, UserId,
    UserOrigin, Write,
};
use countersign_push::{Dispatcher, PushConfig, PushSender, VapidKey};
use countersign_testkit::{NewResource, Site, SoftDevice};
use futures_util::future::join_all;
use support::{Browser, MockPushService};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u32>().expect("a number"));
    let (rate, seconds) = (arguments.next().unwrap_or(1000), arguments.next().unwrap_or(5));
    let logins = usize::try_from(rate * seconds).unwrap();

    let bounds = Bounds { logins: 1_000_000, logins_per_client: 1_000_000, unapproved_per_resource: 1_000_000 };
    let site = Site::open_with(1, DeskConfig { bounds, ..DeskConfig::default() }).await;
    let service = MockPushService::start(site.clock.clone()).await;
    let (resource, client) = site.rows(NewResource::default());
    let (shared, client_id) = (Arc::new(resource.clone()), client.id);
    site.write(Write::AddResource { resource: Box::new(resource), client: Box::new(client) }).await;
    add_users(&site, &service, logins).await;

    let (_, document) = SigningKey::generate(&SystemRandom::new()).unwrap();
    let config = PushConfig {
        contact: "mailto:mfa@countersign.dev".to_owned(),
        hosts: vec!["127.0.0.1".to_owned()],
        allow_private: true,
        proxy: None,
    };
    let key = VapidKey::from_pkcs8(&document).unwrap();
    let sender = PushSender::new(&config, key, site.clock.clone(), site.entropy.clone()).unwrap();
    let dispatcher = Dispatcher::new(site.desk.clone(), Arc::new(sender));
    let (figures, shutdown) = (dispatcher.figures(), CancellationToken::new());
    let running = tokio::spawn(dispatcher.run(shutdown.clone()));

    let mut opened = site.desk.watch_opened(core::num::NonZeroUsize::MIN.saturating_add(logins));
    let opened = tokio::spawn(async move {
        let mut seen: HashMap<ChallengeId, (UserId, Instant)> = HashMap::new();
        while seen.len() < logins {
            let Some(challenge) = opened.recv().await else { break };
            seen.insert(challenge.id, (challenge.user, Instant::now()));
        }
        seen.into_values().collect::<HashMap<_, _>>()
    });

    let begun = Instant::now();
    let mut asked = Vec::with_capacity(logins);
    for number in 0..logins {
        let due = begun + Duration::from_secs(1) * u32::try_from(number).unwrap() / rate;
        sleep_until(due).await;
        asked.push(Instant::now());
        site.desk.login(LoginRequest {
            id: site.desk.new_login_id(),
            resource: shared.clone(),
            client: client_id,
            client_name: "nas".to_owned(),
            peer: [192, 0, 2, 1].into(),
            door: Door::Radius,
            user_typed: HostileText::from(name(number).as_str()),
            credential: Credential::None,
            source: Source::default(),
            retry: RetryKey::default(),
            state: None,
            forward: None,
        });
    }
    let offered = f64::from(rate * seconds) / begun.elapsed().as_secs_f64();
    let received = service.received(logins).await;
    let opened = opened.await.unwrap();

    let mut from_login = Vec::new();
    let mut from_opening = Vec::new();
    for push in &received {
        let (number, user) = push.path.trim_start_matches('/').split_once('-').unwrap();
        from_login.push(push.at - asked[number.parse::<usize>().unwrap()]);
        from_opening.push(push.at.saturating_duration_since(opened[&user.parse::<UserId>().unwrap()]));
    }
    println!("{logins} logins, {offered:.0}/s offered, {} pushes arrived, {:?}", received.len(), figures.read());
    println!("{:<42} {:>9} {:>9} {:>9}", "", "median", "p99", "most");
    line("login at the desk to push request", from_login);
    line("challenge durable and told to push request", from_opening);
    shutdown.cancel();
    running.await.unwrap();
}

fn name(number: usize) -> String {
    format!("user{number}")
}

async fn add_users(site: &Site, service: &MockPushService, count: usize) {
    let browser = Browser::new();
    let numbers: Vec<usize> = (0..count).collect();
    for chunk in numbers.chunks(200) {
        join_all(chunk.iter().map(|number| {
            let user = User {
                id: UserId::new(site.clock.now(), &*site.entropy),
                origin: UserOrigin::Local,
                name: LoginName::new(&name(*number)).unwrap(),
                display_name: name(*number),
                enabled: true,
                held: None,
                password: None,
                created_at: site.clock.now(),
            };
            let (_, mut device) = SoftDevice::new(user.id, site.clock.now(), &*site.entropy);
            device.push = Some(browser.subscription(service.endpoint(&format!("{number}-{}", user.id))));
            let writes = vec![Write::AddUser(user), Write::AddDevice(Box::new(device))];
            async { site.desk.write(Commit { writes, audit: Vec::new() }).await.unwrap() }
        }))
        .await;
    }
}

fn line(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 1000].as_secs_f64() * 1000.0;
    println!("{what:<42} {:>6.2} ms {:>6.2} ms {:>6.2} ms", at(500), at(990), at(1000));
}
