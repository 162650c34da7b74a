//! The sender and the dispatcher against a mock of a push service (see `support`).
#![cfg(test)]

mod support;

use core::{num::NonZeroUsize, time::Duration};
use std::{io, net::IpAddr, sync::Arc};

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use countersign_desk::{DecisionAnswer, Desk};
use countersign_device_protocol::keys::SigningKey;
use countersign_domain::{
    ChallengeId, Clock, Credential, Decision, DeviceId, Door, EventKind, HostileText, LoginRequest, PushSubscription,
    Resource, RetryKey, Source, Timestamp, UserId, Write,
};
use countersign_push::{
    Dispatcher, Outcome, PushConfig, PushFigures, PushSender, VapidKey,
    dispatcher::FiguresOf,
    hosts::{EndpointError, Lookup, SystemLookup},
    sender::{Answer, Trouble},
    test_push,
};
use countersign_testkit::{FakeClock, NewResource, SeededEntropy, Site, SoftDevice};
use serde_json::Value;
use support::{Browser, MockPushService, Script};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

const CONTACT: &str = "mailto:mfa@countersign.dev";

fn config(hosts: &[&str], allow_private: bool) -> PushConfig {
    let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    PushConfig { contact: CONTACT.to_owned(), hosts, allow_private, proxy: None }
}

fn key() -> VapidKey {
    let (_, document) = SigningKey::generate(&SystemRandom::new()).unwrap();
    VapidKey::from_pkcs8(&document).unwrap()
}

fn sender_with(config: &PushConfig, clock: Arc<FakeClock>, lookup: Arc<dyn Lookup>) -> PushSender {
    PushSender::with_lookup(config, key(), clock, Arc::new(SeededEntropy::new(1)), lookup).unwrap()
}

/// A sender, a service that it may send to, and a browser there.
struct Bench {
    clock: Arc<FakeClock>,
    service: MockPushService,
    sender: PushSender,
    browser: Browser,
}

impl Bench {
    async fn new() -> Self {
        let clock = Arc::new(FakeClock::default());
        let service = MockPushService::start(clock.clone()).await;
        let sender = sender_with(&config(&["127.0.0.1"], true), clock.clone(), Arc::new(SystemLookup));
        Self { clock, service, sender, browser: Browser::new() }
    }

    fn subscription(&self) -> PushSubscription {
        self.browser.subscription(self.service.endpoint("push/1"))
    }

    async fn send(&self) -> Outcome {
        self.send_to(&self.subscription()).await
    }

    async fn send_to(&self, subscription: &PushSubscription) -> Outcome {
        self.sender.send(subscription, user(), challenge(), self.clock.now().plus(Duration::from_secs(45))).await
    }

    async fn send_answered(&self, script: Script) -> Outcome {
        self.service.script([script]);
        self.send().await
    }
}

fn user() -> UserId {
    "018f0000-0000-7000-8000-000000000001".parse().unwrap()
}

fn challenge() -> ChallengeId {
    ChallengeId::from_octets([9; 16])
}

fn answer(status: u16, text: &str) -> Answer {
    Answer { status, text: text.to_owned() }
}

// One push.

#[tokio::test]
async fn s89_a_push_holds_two_identifiers_and_nothing_else() {
    let bench = Bench::new().await;
    assert_eq!(bench.send().await, Outcome::Delivered(answer(201, "")));
    let push = bench.service.received(1).await.remove(0);
    assert_eq!((push.ttl, push.urgency.as_str(), push.path.as_str()), (45, "high", "/push/1"));
    assert!(!push.topic.contains(&challenge().to_string()));
    let message = bench.browser.read(&push.body);
    assert_eq!(message.padded, countersign_device_protocol::PUSH_PLAINTEXT);
    let text = r#"{"v":1,"account":"018f0000-0000-7000-8000-000000000001","challenge":"CQkJCQkJCQkJCQkJCQkJCQ"}"#;
    assert_eq!(String::from_utf8(message.text).unwrap(), text);
}

#[tokio::test]
async fn s89_a_hundred_pushes_are_of_one_size_and_share_no_key() {
    let bench = Bench::new().await;
    let expires_at = bench.clock.now().plus(Duration::from_secs(45));
    for number in 0..100 {
        let user = UserId::new(bench.clock.now(), &SeededEntropy::new(number));
        let challenge = ChallengeId::new(&SeededEntropy::new(number));
        let outcome = bench.sender.send(&bench.subscription(), user, challenge, expires_at).await;
        assert!(matches!(outcome, Outcome::Delivered(_)));
    }
    let pushes = bench.service.received(100).await;
    assert!(pushes.iter().all(|push| push.body.len() == 86 + 512 + 16));
    let keys: std::collections::HashSet<_> = pushes.iter().map(|push| push.body[21..86].to_vec()).collect();
    let salts: std::collections::HashSet<_> = pushes.iter().map(|push| push.body[..16].to_vec()).collect();
    let topics: std::collections::HashSet<_> = pushes.iter().map(|push| push.topic.clone()).collect();
    assert_eq!((keys.len(), salts.len(), topics.len()), (100, 100, 100));
}

#[tokio::test]
async fn s90_the_token_is_for_this_service_alone_and_says_whom_to_write_to() {
    let bench = Bench::new().await;
    for _ in 0..2 {
        assert!(matches!(bench.send().await, Outcome::Delivered(_)));
    }
    let pushes = bench.service.received(2).await;
    let claims = &pushes[0].claims;
    assert_eq!(claims["aud"], format!("http://{}", bench.service.address), "with the port");
    assert_eq!(claims["exp"], bench.clock.now().as_seconds() + 3600);
    assert_eq!(claims["sub"], CONTACT);
    assert_eq!(pushes[0].token, pushes[1].token, "one token for many pushes");
}

#[tokio::test]
async fn c066_pushes_work_for_days_and_across_a_clock_that_is_set() {
    let bench = Bench::new().await;
    for minutes in [30, 45, 59, 61, 24 * 60, 25 * 60] {
        bench.clock.advance(Duration::from_secs(minutes * 60));
        assert!(matches!(bench.send().await, Outcome::Delivered(_)), "{minutes}");
    }
    bench.clock.set(Timestamp::from_seconds(1_800_000_000 - 7200));
    assert!(matches!(bench.send().await, Outcome::Delivered(_)));
    bench.service.received(7).await;
}

#[tokio::test]
async fn c041_every_answer_has_its_meaning() {
    let bench = Bench::new().await;
    for (status, outcome) in [
        (200, Outcome::Delivered(answer(200, ""))),
        (201, Outcome::Delivered(answer(201, ""))),
        (202, Outcome::Delivered(answer(202, ""))),
        (204, Outcome::Delivered(answer(204, ""))),
        (400, Outcome::Refused(answer(400, ""))),
        (401, Outcome::Misconfigured(answer(401, ""))),
        (403, Outcome::Misconfigured(answer(403, ""))),
        (404, Outcome::Gone(answer(404, ""))),
        (410, Outcome::Gone(answer(410, ""))),
        (429, Outcome::Retry { trouble: Trouble::Busy(answer(429, "")), after: None }),
        (500, Outcome::Retry { trouble: Trouble::Busy(answer(500, "")), after: None }),
        (503, Outcome::Retry { trouble: Trouble::Busy(answer(503, "")), after: None }),
    ] {
        assert_eq!(bench.send_answered(Script::status(status)).await, outcome);
    }
    let busy = bench.send_answered(Script::with(503, "retry-after", "7")).await;
    assert!(matches!(busy, Outcome::Retry { after: Some(after), .. } if after == Duration::from_secs(7)), "{busy:?}");
    let said = bench.send_answered(Script::saying(403, "{\"reason\":\"BadJwtToken\"}\u{1b}[2J\n")).await;
    assert_eq!(said, Outcome::Misconfigured(answer(403, "{\"reason\":\"BadJwtToken\"}\\u{1b}[2J")));
}

#[tokio::test]
async fn c063_a_message_found_too_large_is_sent_again_without_padding() {
    let bench = Bench::new().await;
    assert_eq!(bench.send_answered(Script::status(413)).await, Outcome::Delivered(answer(201, "")));
    let pushes = bench.service.received(2).await;
    let (full, least) = (bench.browser.read(&pushes[0].body), bench.browser.read(&pushes[1].body));
    assert_eq!(full.text, least.text);
    assert_eq!(least.padded, least.text.len() + 1);
    bench.service.script([Script::status(413), Script::status(413)]);
    assert_eq!(bench.send().await, Outcome::Refused(answer(413, "")));
    assert_eq!(bench.service.received(4).await.len(), 4);
}

#[tokio::test]
async fn a_challenge_that_is_over_is_not_pushed() {
    let bench = Bench::new().await;
    for life in [Duration::ZERO, Duration::from_millis(999)] {
        let over = bench.clock.now().plus(life);
        assert_eq!(bench.sender.send(&bench.subscription(), user(), challenge(), over).await, Outcome::Late);
    }
    assert_eq!(bench.service.received(0).await.len(), 0);
}

#[tokio::test]
async fn keys_that_are_none_are_not_sent_to() {
    let bench = Bench::new().await;
    let mut subscription = bench.subscription();
    subscription.p256dh[30] ^= 1;
    assert!(matches!(bench.send_to(&subscription).await, Outcome::Unusable(_)));
    assert_eq!(bench.service.received(0).await.len(), 0);
}

// Where a push may go.

#[tokio::test]
async fn s88_a_redirection_is_not_followed() {
    let bench = Bench::new().await;
    let inside = MockPushService::start(bench.clock.clone()).await;
    for status in [301, 302, 303, 307, 308] {
        let script = Script::with(status, "location", &inside.endpoint("internal"));
        assert_eq!(bench.send_answered(script).await, Outcome::Refused(answer(status, "")));
    }
    assert_eq!((bench.service.received(5).await.len(), inside.received(0).await.len()), (5, 0));
    assert!(inside.complaints().is_empty());
}

/// Says where names lead, without asking anybody.
struct Leads(Vec<IpAddr>);

#[async_trait]
impl Lookup for Leads {
    async fn lookup(&self, _host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(self.0.clone())
    }
}

#[tokio::test]
async fn s88_a_known_name_that_leads_inside_is_not_connected_to() {
    let clock = Arc::new(FakeClock::default());
    let service = MockPushService::start(clock.clone()).await;
    let inside = ["127.0.0.1", "::1", "169.254.169.254", "10.1.2.3", "100.64.0.1", "::ffff:127.0.0.1"];
    let leads = Arc::new(Leads(inside.iter().map(|address| address.parse().unwrap()).collect()));
    // The same with the mock's port, which shows that it would have been reached.
    for (allow_private, port) in [(false, 443), (true, service.address.port())] {
        let hosts: &[&str] = if allow_private { &["push.corp.lan"] } else { &[] };
        let sender = sender_with(&config(hosts, allow_private), clock.clone(), leads.clone());
        let send = async |host: &str, scheme: &str| {
            let browser = Browser::new();
            let subscription = browser.subscription(format!("{scheme}://{host}:{port}/push/1"));
            sender.send(&subscription, user(), challenge(), clock.now().plus(Duration::from_secs(45))).await
        };
        if allow_private {
            // The mock does not know itself by that name and says so.
            assert!(matches!(send("push.corp.lan", "http").await, Outcome::Misconfigured(_)));
            assert_eq!(service.complaints(), ["aud is not this origin"]);
        } else {
            let refused = Outcome::NotAllowed(EndpointError::NotPublic("fcm.googleapis.com".to_owned()));
            assert_eq!(send("fcm.googleapis.com", "https").await, refused);
        }
    }
}

#[tokio::test]
async fn s88_an_answer_without_an_end_is_read_up_to_four_kib() {
    let bench = Bench::new().await;
    let begun = Instant::now();
    let outcome = bench.send_answered(Script::Babble).await;
    assert!(matches!(&outcome, Outcome::Refused(answer) if answer.text.chars().count() == 200), "{outcome:?}");
    assert!(begun.elapsed() < Duration::from_secs(4), "not read until the time is up");
}

#[tokio::test]
async fn s88_a_service_that_does_not_answer_is_waited_for_five_seconds() {
    let bench = Bench::new().await;
    let begun = Instant::now();
    let outcome = bench.send_answered(Script::Hang).await;
    let unreachable = Trouble::Unreachable("no answer in time".to_owned());
    assert_eq!(outcome, Outcome::Retry { trouble: unreachable, after: None });
    assert!((4..8).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_endpoint_is_in_no_error() {
    let clock = Arc::new(FakeClock::default());
    let sender = sender_with(&config(&["127.0.0.1"], true), clock.clone(), Arc::new(SystemLookup));
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let subscription = Browser::new().subscription(format!("http://{closed}/capability-7f3a"));
    let outcome = sender.send(&subscription, user(), challenge(), clock.now().plus(Duration::from_secs(45))).await;
    assert!(matches!(outcome, Outcome::Retry { trouble: Trouble::Unreachable(_), .. }), "{outcome:?}");
    assert!(!format!("{outcome:?} {sender:?}").contains("capability-7f3a"));
}

/// Takes one connection and gives the first line that comes.
async fn first_line(listener: TcpListener) -> String {
    let (mut connection, _) = listener.accept().await.unwrap();
    let mut octets = vec![0; 1024];
    let length = connection.read(&mut octets).await.unwrap();
    connection.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    String::from_utf8_lossy(&octets[..length]).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn s88_the_configured_proxy_is_used_and_not_for_private_hosts() {
    let clock = Arc::new(FakeClock::default());
    let service = MockPushService::start(clock.clone()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Some(format!("http://localhost:{}", listener.local_addr().unwrap().port()));
    let config = PushConfig { proxy, ..config(&["127.0.0.1"], true) };
    let sender = sender_with(&config, clock.clone(), Arc::new(SystemLookup));
    let send = async |endpoint: String| {
        let subscription = Browser::new().subscription(endpoint);
        sender.send(&subscription, user(), challenge(), clock.now().plus(Duration::from_secs(45))).await
    };
    assert!(matches!(send(service.endpoint("push/1")).await, Outcome::Delivered(_)));
    let (outcome, line) = tokio::join!(send("https://fcm.googleapis.com/fcm/send/x".to_owned()), first_line(listener));
    assert_eq!(line, "CONNECT fcm.googleapis.com:443 HTTP/1.1");
    assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
}

/// Run by the next test with a proxy in its environment.
#[tokio::test]
#[ignore = "run by s88_a_proxy_of_the_environment_is_not_used"]
async fn with_a_proxy_in_the_environment() {
    assert!(std::env::var("HTTP_PROXY").is_ok());
    let bench = Bench::new().await;
    assert!(matches!(bench.send().await, Outcome::Delivered(_)));
    let leads = Arc::new(Leads(vec![IpAddr::from([127, 0, 0, 1])]));
    let sender = sender_with(&config(&[], false), bench.clock.clone(), leads);
    let subscription = bench.browser.subscription("https://fcm.googleapis.com/fcm/send/x".to_owned());
    let outcome =
        sender.send(&subscription, user(), challenge(), bench.clock.now().plus(Duration::from_secs(45))).await;
    assert!(matches!(outcome, Outcome::NotAllowed(_)), "{outcome:?}");
}

#[tokio::test]
async fn s88_a_proxy_of_the_environment_is_not_used() {
    let trap = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", trap.local_addr().unwrap());
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "with_a_proxy_in_the_environment", "--ignored"]);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        child.env(name, &proxy);
    }
    tokio::select! {
        output = child.output() => {
            let output = output.unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains("1 passed"), "{text}");
        }
        _ = trap.accept() => panic!("the proxy of the environment was connected to"),
    }
}

// The dispatcher at a desk.

/// A site with a user `ada`, a device that can be woken, a push service and a dispatcher.
struct House {
    site: Site,
    resource: Arc<Resource>,
    client: countersign_domain::ClientId,
    service: MockPushService,
    browser: Browser,
    user: UserId,
    device: SoftDevice,
    figures: FiguresOf,
    sender: Arc<PushSender>,
    shutdown: CancellationToken,
    _running: AbortOnDropHandle<()>,
}

impl House {
    async fn new() -> Self {
        let site = Site::open(7).await;
        let service = MockPushService::start(site.clock.clone()).await;
        let (resource, client) = site.rows(NewResource::default());
        let rows = (Arc::new(resource.clone()), client.id);
        site.write(Write::AddResource { resource: Box::new(resource), client: Box::new(client) }).await;
        let sender = Arc::new(sender_with(&config(&["127.0.0.1"], true), site.clock.clone(), Arc::new(SystemLookup)));
        let dispatcher = Dispatcher::new(site.desk.clone(), sender.clone());
        let (figures, shutdown) = (dispatcher.figures(), CancellationToken::new());
        let running = AbortOnDropHandle::new(tokio::spawn(dispatcher.run(shutdown.clone())));
        let user = site.user("ada", None).await;
        let device = site.device(user).await;
        let house = Self {
            site,
            resource: rows.0,
            client: rows.1,
            service,
            browser: Browser::new(),
            user,
            device,
            figures,
            sender,
            shutdown,
            _running: running,
        };
        house.subscribe(house.device.id, house.service.endpoint("ada")).await;
        house
    }

    fn desk(&self) -> &Arc<Desk> {
        &self.site.desk
    }

    async fn subscribe(&self, device: DeviceId, endpoint: String) {
        let push = Some(self.browser.subscription(endpoint));
        self.site.write(Write::SetPush { id: device, push }).await;
    }

    async fn endpoint(&self) -> Option<String> {
        let device = self.desk().store().device(self.device.id).await.unwrap().unwrap();
        device.push.map(|push| push.endpoint)
    }

    fn login(&self, name: &str) {
        self.desk().login(LoginRequest {
            id: self.desk().new_login_id(),
            resource: self.resource.clone(),
            client: self.client,
            client_name: "nas".to_owned(),
            peer: [192, 0, 2, 1].into(),
            door: Door::Radius,
            user_typed: HostileText::from(name),
            credential: Credential::None,
            source: Source::default(),
            retry: RetryKey::default(),
            state: None,
            forward: None,
        });
    }

    /// Waits until the figures are as they should be.
    async fn counted(&self, holds: impl Fn(&PushFigures) -> bool) -> PushFigures {
        for _ in 0..1000 {
            let figures = self.figures.read();
            if holds(&figures) {
                return figures;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{:?}", self.figures.read());
    }

    /// Waits until nothing is under way any more.
    async fn done(&self) -> PushFigures {
        self.counted(|figures| figures.under_way == 0 && *figures != PushFigures::default()).await
    }

    async fn alerts(&self) -> Vec<(String, String)> {
        let alert = |word: &str| word == EventKind::Alert.as_str();
        let records = self.site.audit().await.into_iter().filter(|record| alert(&record.event));
        records.map(|record| (record.reason.unwrap_or_default(), record.detail.unwrap_or_default())).collect()
    }
}

#[tokio::test]
async fn a_login_wakes_each_device_that_was_asked_once() {
    let mut house = House::new().await;
    let second = house.site.device(house.user).await;
    house.subscribe(second.id, house.service.endpoint("second")).await;
    house.site.device(house.user).await;
    house.login("ada");
    let challenge = house.device.asked(&house.site.desk.clone(), Duration::from_secs(5)).await.unwrap();
    let mut pushes = house.service.received(2).await;
    pushes.sort_by(|a, b| a.path.cmp(&b.path));
    assert_eq!([pushes[0].path.as_str(), pushes[1].path.as_str()], ["/ada", "/second"]);
    for push in &pushes {
        let message: Value = serde_json::from_slice(&house.browser.read(&push.body).text).unwrap();
        assert_eq!(message["account"], house.user.to_string());
        assert_eq!(message["challenge"], challenge.id.to_string());
        assert_eq!(push.ttl, challenge.expires_at.since(house.site.clock.now()).as_secs());
    }
    let figures = house.done().await;
    assert_eq!(figures, PushFigures { sent: 2, ..PushFigures::default() });
}

#[tokio::test]
async fn c041_a_dead_subscription_is_removed_and_not_tried_again() {
    for status in [404, 410] {
        let house = House::new().await;
        house.service.script([Script::status(status)]);
        house.login("ada");
        let figures = house.done().await;
        assert_eq!(figures, PushFigures { gone: 1, ..PushFigures::default() });
        assert_eq!(house.endpoint().await, None);
        let cached = house.desk().snapshot(house.user).await.unwrap().unwrap();
        assert!(cached.devices.iter().all(|device| device.push.is_none()), "nor is it kept in memory");
        assert_eq!(house.service.received(1).await.len(), 1);
        // The login goes on without it.
        assert_eq!(house.desk().pending_for(house.device.id).len(), 1);
    }
}

#[tokio::test]
async fn c041_a_subscription_that_was_renewed_meanwhile_stays() {
    let house = House::new().await;
    let old = house.endpoint().await.unwrap();
    house.subscribe(house.device.id, house.service.endpoint("renewed")).await;
    assert!(!house.desk().drop_push(house.device.id, &old).await.unwrap());
    assert_eq!(house.endpoint().await, Some(house.service.endpoint("renewed")));
    // Whichever comes first of the removal of an old one and the arrival of a new one, the new one is there afterwards.
    for round in 0..50 {
        let (before, after) = (house.endpoint().await.unwrap(), house.service.endpoint(&format!("round-{round}")));
        let (dropped, ()) = tokio::join!(
            house.desk().drop_push(house.device.id, &before),
            house.subscribe(house.device.id, after.clone())
        );
        dropped.unwrap();
        assert_eq!(house.endpoint().await, Some(after));
    }
}

#[tokio::test]
async fn s90_a_busy_service_is_tried_again_after_as_long_as_it_asks_for() {
    let house = House::new().await;
    house.service.script([Script::status(503), Script::with(429, "retry-after", "2")]);
    house.login("ada");
    let figures = house.done().await;
    assert_eq!(figures, PushFigures { sent: 1, retried: 2, ..PushFigures::default() });
    let pushes = house.service.received(3).await;
    let pauses = [pushes[1].at - pushes[0].at, pushes[2].at - pushes[1].at];
    assert!(pauses[0] >= Duration::from_millis(500) && pauses[1] >= Duration::from_secs(2), "{pauses:?}");
    assert!(pushes.iter().all(|push| push.topic == pushes[0].topic), "the later takes the place of the earlier");
}

#[tokio::test]
async fn s90_nothing_is_tried_beyond_the_life_of_the_challenge() {
    let house = House::new().await;
    house.service.script([Script::with(503, "retry-after", "3600")]);
    house.login("ada");
    let figures = house.done().await;
    assert_eq!(figures, PushFigures { failed: 1, ..PushFigures::default() });
    assert_eq!(house.service.received(1).await.len(), 1);
    assert!(house.endpoint().await.is_some());
}

#[tokio::test]
async fn a_challenge_that_was_decided_is_not_pushed_again() {
    let mut house = House::new().await;
    house.service.script([Script::with(503, "retry-after", "1")]);
    house.login("ada");
    let desk = house.site.desk.clone();
    let challenge = house.device.asked(&desk, Duration::from_secs(5)).await.unwrap();
    house.service.received(1).await;
    let decided = house.device.decide(&desk, &challenge, Decision::Verify).await;
    assert!(matches!(decided, DecisionAnswer::Taken(_)), "{decided:?}");
    house.counted(|figures| figures.under_way == 0).await;
    assert_eq!(house.service.received(1).await.len(), 1);
    assert_eq!(house.figures.read(), PushFigures::default());
}

#[tokio::test]
async fn c066_a_service_that_does_not_know_us_is_an_alarm_once() {
    let house = House::new().await;
    let second = house.site.user("eve", None).await;
    let device = house.site.device(second).await;
    house.subscribe(device.id, house.service.endpoint("eve")).await;
    house.service.script([
        Script::saying(403, r#"{"reason":"BadJwtToken"}"#),
        Script::saying(403, r#"{"reason":"BadJwtToken"}"#),
    ]);
    house.login("ada");
    house.counted(|figures| figures.failed == 1).await;
    house.login("eve");
    house.counted(|figures| figures.failed == 2).await;
    for _ in 0..100 {
        if !house.alerts().await.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let alerts = house.alerts().await;
    let [(reason, detail)] = alerts.as_slice() else { panic!("{alerts:?}") };
    assert_eq!(reason, "push_misconfigured");
    let detail: Value = serde_json::from_str(detail).unwrap();
    assert_eq!((&detail["status"], &detail["service"]), (&403.into(), &house.service.address.to_string().into()));
    assert_eq!(detail["said"], r#"{"reason":"BadJwtToken"}"#);
    // The subscription is not to blame.
    assert!(house.endpoint().await.is_some());
    // And the next token is a new one.
    let pushes = house.service.received(2).await;
    assert_ne!(pushes[0].token, pushes[1].token);
}

#[tokio::test]
async fn c102_a_device_cannot_make_the_server_call_anybody_else() {
    let inside = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let port = inside.local_addr().unwrap().port();
    let house = House::new().await;
    for (number, endpoint) in [
        format!("http://127.0.0.2:{port}/"),
        format!("https://127.0.0.2:{port}/"),
        format!("http://2130706434:{port}/"),
        format!("http://0x7f.2:{port}/"),
        format!("http://[::ffff:127.0.0.2]:{port}/"),
        format!("http://127.0.0.1@127.0.0.2:{port}/"),
        format!("http://a:b@127.0.0.1:{}/", house.service.address.port()),
        format!("http://localhost:{port}/"),
        "https://169.254.169.254/latest/meta-data/".to_owned(),
        "https://[::1]/".to_owned(),
        "https://100.64.0.1/".to_owned(),
        "https://fcm.googleapis.com:8443/".to_owned(),
        "http://fcm.googleapis.com/".to_owned(),
        "https://fcm.googleapis.com.evil.example/".to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("mallory{number}");
        let user = house.site.user(&name, None).await;
        let mut device = house.site.device(user).await;
        house.subscribe(device.id, endpoint.clone()).await;
        house.login(&name);
        let failed = u64::try_from(number).unwrap() + 1;
        house.counted(|figures| figures.failed == failed).await;
        // The login is asked all the same.
        assert!(device.asked(&house.site.desk, Duration::from_secs(5)).await.is_some(), "{endpoint}");
    }
    assert!(tokio::time::timeout(Duration::from_millis(50), inside.accept()).await.is_err(), "somebody was called");
    assert_eq!(house.service.received(0).await.len(), 0);
}

#[tokio::test]
async fn s90_whoever_reads_too_slowly_holds_no_login_up() {
    let house = House::new().await;
    let mut slow = house.desk().watch_opened(NonZeroUsize::MIN);
    for name in ["a", "b", "c"] {
        let user = house.site.user(name, None).await;
        let mut device = house.site.device(user).await;
        house.login(name);
        assert!(device.asked(&house.site.desk, Duration::from_secs(5)).await.is_some());
    }
    assert_eq!(slow.missed().load(std::sync::atomic::Ordering::Relaxed), 2);
    assert!(slow.recv().await.is_some());
}

#[tokio::test]
async fn a_dispatcher_that_is_told_to_stop_gives_up_what_is_under_way() {
    let House { site, shutdown, _running: running, service, figures, resource, client, device, .. } =
        House::new().await;
    service.script([Script::Hang]);
    site.desk.login(LoginRequest {
        id: site.desk.new_login_id(),
        resource,
        client,
        client_name: "nas".to_owned(),
        peer: [192, 0, 2, 1].into(),
        door: Door::Radius,
        user_typed: HostileText::from("ada"),
        credential: Credential::None,
        source: Source::default(),
        retry: RetryKey::default(),
        state: None,
        forward: None,
    });
    service.received(1).await;
    shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(2), running).await.unwrap().unwrap();
    assert_eq!(figures.read(), PushFigures::default());
    assert_eq!(site.desk.pending_for(device.id).len(), 1);
}

// A push for whoever asks whether it works.

#[tokio::test]
async fn a_test_push_says_what_came_back_in_plain_words() {
    let house = House::new().await;
    let host = house.service.address.to_string();
    let ask = async |script: Script| {
        house.service.script([script]);
        test_push(house.desk(), &house.sender, house.device.id).await.unwrap()
    };
    let good = ask(Script::status(201)).await;
    assert!(good.taken && good.words.starts_with(&format!("{host} took the push (201 Created)")), "{good:?}");
    let push = house.service.received(1).await.remove(0);
    let message: Value = serde_json::from_slice(&house.browser.read(&push.body).text).unwrap();
    let challenge: ChallengeId = message["challenge"].as_str().unwrap().parse().unwrap();
    assert!(house.desk().store().challenge(challenge).await.unwrap().is_none(), "nothing is asked");
    for (script, words) in [
        (
            Script::saying(403, r#"{"reason":"BadJwtToken"}"#),
            "does not accept this server (403 Forbidden: {\"reason\":\"BadJwtToken\"}): look at [push] contact, which is mailto:mfa@countersign.dev",
        ),
        (Script::with(302, "location", "http://127.0.0.1/"), "sends us elsewhere (302 Found)"),
        (
            Script::with(429, "retry-after", "30"),
            "is busy or ill (429 Too Many Requests) and wants to be left alone for 30 s",
        ),
        (Script::status(400), "does not take the push (400 Bad Request)"),
        (Script::status(410), "says that the subscription has ended (410 Gone); it was removed"),
    ] {
        let found = ask(script).await;
        assert!(!found.taken && found.words.contains(words), "{found:?}");
    }
    assert_eq!(house.endpoint().await, None);
    let none = test_push(house.desk(), &house.sender, house.device.id).await.unwrap();
    assert!(none.words.contains("no push subscription"), "{none:?}");
    house.subscribe(house.device.id, "https://push.corp.de/x".to_owned()).await;
    let unknown = test_push(house.desk(), &house.sender, house.device.id).await.unwrap();
    assert_eq!(
        unknown.words,
        "not sent: push.corp.de is no push service known here; one that is trusted is named in [push] hosts"
    );
}
