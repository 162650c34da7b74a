//! `GET applications`, `POST windows`, `GET windows/{id}`.

use core::time::Duration;
use std::sync::Arc;

use countersign_device_protocol::{
    events::Event,
    messages::{Decision, UserVerificationReached, WindowRequest, WindowState},
};
use countersign_domain::{UserVerification, Verdict, Write};
use countersign_testkit::{Ceremony, NewResource, SoftPhone};
use serde_json::json;

use super::{Answer, World};

impl World {
    /// A server half a minute after its start, whose resource has windows.
    async fn with_windows() -> Self {
        let mut world = Self::new().await;
        world.resource = world.site.allow_windows(world.resource.id).await;
        world.site.pass(Duration::from_secs(30)).await;
        world
    }

    async fn send_window(&self, phone: &SoftPhone, request: &WindowRequest) -> Answer {
        self.send(phone, "POST", "windows", serde_json::to_vec(request).unwrap()).await
    }

    /// The resource asks for verified users, in the database.
    async fn require_verification(&mut self) {
        let mut all = self.site.desk.store().resources().await.unwrap().into_iter();
        let (mut resource, mut clients) = all.find(|(resource, _)| resource.id == self.resource.id).unwrap();
        resource.policy.user_verification = UserVerification::Required;
        let client = Box::new(clients.remove(0));
        self.site.write(Write::SetResource { resource: Box::new(resource.clone()), client }).await;
        self.resource = Arc::new(resource);
    }

    fn window(&self, phone: &SoftPhone) -> WindowRequest {
        phone.open_window(&self.resource.id.to_string())
    }

    async fn state_of(&self, phone: &SoftPhone, request: &WindowRequest) -> String {
        self.get(phone, &format!("windows/{}", request.window_id)).await.short()
    }
}

#[tokio::test]
async fn s18_a_window_lets_one_login_in_and_the_device_is_told() {
    let mut world = World::with_windows().await;
    let phone = world.phone(world.ada).await;
    let id = world.resource.id.to_string();
    let applications = world.get(&phone, "applications").await.json;
    assert_eq!(applications, json!({"applications": [{"id": id, "name": "VPN Zürich"}]}));

    let mut stream = world.listen(&phone).await;
    let request = world.window(&phone);
    let answer = world.send_window(&phone, &request).await;
    assert_eq!(answer.json, json!({"expires_at": "2027-01-15T08:01:30Z"}), "{answer:?}");
    assert_eq!(world.state_of(&phone, &request).await, "200 open");
    world.login("ada");
    world.site.pass(Duration::from_secs(4)).await;
    assert_eq!(world.verdict().await, Verdict::accept());
    match stream.next().await {
        Some(Event::WindowClosed(closed)) => {
            assert_eq!((closed.id, closed.state), (request.window_id.clone(), WindowState::Approved));
        }
        other => panic!("not told: {other:?}"),
    }
    assert_eq!(world.state_of(&phone, &request).await, "200 approved");
    // The same again is answered as before and opens nothing; anything else under the identifier is refused.
    assert_eq!(world.send_window(&phone, &request).await.json, answer.json);
    let other = phone.sign_window(WindowRequest { device_time: "2027-01-15T09:00:00Z".parse().unwrap(), ..request });
    assert_eq!(world.send_window(&phone, &other).await.short(), "409 window_id_used");
    assert_eq!(world.records("window.opened").await.len(), 1);
    let history = world.get(&phone, "history").await.json;
    let login = json!({"at": "2027-01-15T08:00:34Z", "application": "VPN Zürich", "place": null, "verdict": "approved", "factor": "window"});
    assert_eq!(history, json!({"logins": [login]}));
}

#[tokio::test]
async fn s17_windows_stand_in_the_history_with_how_they_ended_between_the_pushes() {
    let mut world = World::with_windows().await;
    let phone = world.phone(world.ada).await;
    let challenge = world.asked(&phone).await;
    world.decide(&phone, &challenge, Decision::Verify).await;
    world.verdict().await;
    world.site.pass(Duration::from_secs(30)).await;
    for spoilt in [false, true] {
        world.site.pass(Duration::from_secs(1)).await;
        assert_eq!(world.send_window(&phone, &world.window(&phone)).await.status, 200);
        if spoilt {
            world.login("ada");
            world.login("ada");
            world.verdict().await;
            world.verdict().await;
        }
        world.site.pass(Duration::from_secs(61)).await;
        world.settle("window.closed", if spoilt { 2 } else { 1 }).await;
    }
    let history = world.get(&phone, "history").await.json;
    let rows: Vec<_> =
        history["logins"].as_array().unwrap().iter().map(|row| (&row["factor"], &row["verdict"])).collect();
    let row = |factor: &str, verdict: &str| (json!(factor), json!(verdict));
    let wanted = [row("window", "collision"), row("window", "expired"), row("push", "approved")];
    assert_eq!(rows, wanted.iter().map(|(factor, verdict)| (factor, verdict)).collect::<Vec<_>>());
}

#[tokio::test]
async fn s18_what_keeps_a_window_shut_is_told_with_its_time() {
    let mut world = World::with_windows().await;
    let phone = world.phone(world.ada).await;
    let challenge = world.asked(&phone).await;
    let refused = world.send_window(&phone, &world.window(&phone)).await;
    assert_eq!(
        (refused.short(), &refused.json["until"]),
        ("409 login_under_way".to_owned(), &json!("2027-01-15T08:01:00Z"))
    );
    world.decide(&phone, &challenge, Decision::Deny).await;
    world.verdict().await;
    world.site.pass(Duration::from_secs(30)).await;
    let refused = world.send_window(&phone, &world.window(&phone)).await;
    assert_eq!(
        (refused.short(), &refused.json["until"]),
        ("409 login_unapproved".to_owned(), &json!("2027-01-15T08:15:30Z"))
    );
    assert_eq!(world.records("window.refused").await.len(), 2);
    world.site.pass(Duration::from_secs(870)).await;
    for _ in 0..6 {
        assert_eq!(world.send_window(&phone, &world.window(&phone)).await.status, 200);
        assert_eq!(world.send_window(&phone, &world.window(&phone)).await.short(), "409 window_open");
        let ended = world.records("window.closed").await.len();
        world.site.pass(Duration::from_secs(61)).await;
        world.settle("window.closed", ended + 1).await;
    }
    let spent = world.send_window(&phone, &world.window(&phone)).await;
    assert_eq!(
        (spent.short(), &spent.headers["retry-after"]),
        ("429 too_many_attempts".to_owned(), &"3234".parse().unwrap())
    );
}

#[tokio::test]
async fn s03_a_window_is_opened_by_what_its_device_signed_and_nothing_else() {
    let world = World::with_windows().await;
    let (phone, other) = (world.phone(world.ada).await, world.phone(world.ada).await);
    let request = world.window(&phone);
    for wrong in [
        other.sign_window(request.clone()),
        WindowRequest { window_id: "another".parse().unwrap(), ..request.clone() },
        WindowRequest { device_time: "2027-01-15T08:00:08Z".parse().unwrap(), ..request.clone() },
    ] {
        assert_eq!(world.send_window(&phone, &wrong).await.short(), "422 signature_invalid");
    }
    let pin = WindowRequest { user_verification: UserVerificationReached::Pin, ..request.clone() };
    assert_eq!(world.send_window(&phone, &pin).await.short(), "422 signature_invalid");
    let pin = phone.sign_window(pin);
    assert_eq!(world.send_window(&phone, &pin).await.short(), "422 user_verification_unsupported");
    let mut body = serde_json::to_value(&request).unwrap();
    body["more"] = json!(1);
    assert_eq!(world.send(&phone, "POST", "windows", body.to_string()).await.short(), "400 malformed");
    assert!(world.records("window.opened").await.is_empty());
    assert_eq!(world.state_of(&phone, &request).await, "404 not_found");
    // What one device opened, another one knows nothing of.
    assert_eq!(world.send_window(&phone, &request).await.status, 200);
    assert_eq!(world.state_of(&other, &request).await, "404 not_found");
}

#[tokio::test]
async fn s12_a_window_is_opened_by_a_verified_user_where_that_is_required() {
    let mut world = World::with_windows().await;
    world.require_verification().await;
    let (phone, authenticator) = world.phone_with(b"one", &Ceremony::default()).await;
    let (_, of_other) = world.phone_with(b"two", &Ceremony::default()).await;
    let counter = |counter| Ceremony { counter, ..Ceremony::default() };
    let request = world.window(&phone);
    assert_eq!(world.send_window(&phone, &request).await.short(), "403 user_verification_required");
    let claimed = WindowRequest { user_verification: UserVerificationReached::WebAuthn, ..request.clone() };
    assert_eq!(world.send_window(&phone, &phone.sign_window(claimed)).await.short(), "400 malformed");
    let unverified = Ceremony { user_verified: false, ..Ceremony::default() };
    let other = phone.window_with(world.window(&phone), &authenticator, &counter(5));
    let good = phone.window_with(request.clone(), &authenticator, &counter(5));
    for bad in [
        phone.window_with(request.clone(), &authenticator, &unverified),
        phone.window_with(request.clone(), &of_other, &counter(5)),
        // Over another window.
        WindowRequest { assertion: other.assertion, ..good.clone() },
    ] {
        assert_eq!(world.send_window(&phone, &bad).await.short(), "422 assertion_invalid");
    }
    assert_eq!(world.records("window.opened").await.len(), 0);
    for _ in 0..2 {
        // Once more, as after a lost answer: the counter has not gone on, and is not looked at.
        assert_eq!(world.send_window(&phone, &good).await.status, 200);
    }
    assert_eq!(world.records("window.opened").await.len(), 1);
    let copy = phone.window_with(world.window(&phone), &authenticator, &counter(5));
    assert_eq!(world.send_window(&phone, &copy).await.short(), "422 assertion_invalid");
    let alerts = world.records("alert").await;
    assert_eq!(alerts.iter().map(|alert| alert.reason.as_deref()).collect::<Vec<_>>(), [Some("passkey_copied")]);
}

#[tokio::test]
async fn applications_are_those_that_the_account_can_open_windows_for() {
    let world = World::new().await;
    let phone = world.phone(world.ada).await;
    assert_eq!(world.get(&phone, "applications").await.json, json!({"applications": []}));
    let none = world.window(&phone);
    assert_eq!(world.send_window(&phone, &none).await.short(), "404 application_unknown");
    for unknown in ["vpn", "01a3185c-5000-721b-a89a-3b02ee317649"] {
        assert_eq!(world.send_window(&phone, &phone.open_window(unknown)).await.short(), "404 application_unknown");
    }
    for (name, network) in [("zoo", "192.0.2.1/32"), ("Farm", "192.0.2.2/32")] {
        let new = NewResource { name, secret: name, networks: &[network], ..NewResource::default() };
        world.site.allow_windows(world.site.resource(new).await.0).await;
    }
    let applications = world.get(&phone, "applications").await.json;
    let names: Vec<_> = applications["applications"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["Farm", "zoo"]);
}

#[tokio::test]
async fn s18_what_a_server_left_open_is_closed_at_the_next_start() {
    let world = World::with_windows().await;
    let phone = world.phone(world.ada).await;
    let request = world.window(&phone);
    assert_eq!(world.send_window(&phone, &request).await.status, 200);
    let challenged = world.phone(world.site.user("bob", None).await).await;
    world.login("bob");
    world.pending(&challenged).await;
    let started = countersign_domain::AuditEvent::new(
        countersign_domain::Clock::now(&*world.site.clock),
        countersign_domain::EventKind::ServerStarted,
        "server",
    );
    world.site.desk.begin(started).await.unwrap();
    assert_eq!(world.state_of(&phone, &request).await, "200 cancelled");
    let closed = world.records("window.closed").await;
    assert_eq!((closed.len(), closed[0].reason.as_deref()), (1, Some("cancelled")));
    // A login that the server could not answer any more was not approved.
    let bob = challenged.account().account.id.as_str().parse().unwrap();
    let snapshot = world.site.desk.store().snapshot(bob).await.unwrap().unwrap();
    let scope = countersign_domain::LimitScope::UserAt(bob, world.resource.id);
    let now = countersign_domain::Clock::now(&*world.site.clock);
    assert!(snapshot.limits(scope).1.unapproved_until(now).is_some());
}
