//! The admin API as its router answers.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]

use core::time::Duration;
use std::sync::Arc;

use async_trait::async_trait;
use axum::{Extension, Router, body::Body, http::Request};
use countersign_api::admin::{
    Actor, AdminApi, AdminCode,
    activations::Issuer,
    audit::check,
    checkpoints::Checkpoints,
    directories::DirectoryStep,
    is_harmless,
    rotation::SecretUse,
    router,
    status::{Facts, Finding, PushAnswer, ServerFacts},
    upstreams::{TrialLogin, UpstreamServerView, UpstreamStep},
};
use countersign_device_protocol::{code::ActivationLink, keys::Thumbprint, origin::Origin};
use countersign_domain::{
    AuditEvent, ClientId, Clock as _, Commit, DeviceId, DeviceState, Directory, EntryId, EventKind, Hold, HoldReason,
    HostileText, LimitScope, Limits, LoginName, Passkey, PushSubscription, Reason, Secret, SyncRule, Upstream,
    UpstreamId, UpstreamServer, User, UserId, UserOrigin, Write,
};
use countersign_storage::{StoreError, Vault};
use countersign_testkit::Site;
use serde_json::{Value, json};
use tower::ServiceExt as _;

struct NoFacts {
    pushes: bool,
}

#[async_trait]
impl ServerFacts for NoFacts {
    fn facts(&self) -> Facts {
        Facts { version: "test".to_owned(), ..Facts::default() }
    }

    async fn probe(&self) -> Vec<Finding> {
        vec![Finding::ok("probe", "asked")]
    }

    fn pushes(&self) -> bool {
        self.pushes
    }

    async fn test_push(&self, device: DeviceId) -> Option<Result<PushAnswer, StoreError>> {
        let words = format!("pushed to {device}");
        self.pushes.then_some(Ok(PushAnswer { taken: true, words }))
    }

    fn check_directory(&self, settings: &Value, password: &Secret, _: &[SyncRule]) -> Result<String, String> {
        if settings["base_dn"].is_null() || password.is_empty() {
            return Err("base_dn or password is missing".to_owned());
        }
        Ok(settings.to_string())
    }

    async fn test_directory(&self, directory: &Directory, user: Option<&str>) -> Vec<DirectoryStep> {
        let text = format!("{} {user:?}", directory.settings);
        let step = |step: &str, ok| DirectoryStep {
            step: step.to_owned(),
            server: Some("ldaps://dc1".to_owned()),
            ok,
            text: text.clone(),
            advice: None,
        };
        vec![step("connect", true), step("bind", directory.password.expose() == b"right")]
    }

    async fn find_group(&self, _: &Directory, group: &str) -> Result<(), String> {
        if group == "GG-VPN" { Ok(()) } else { Err("there is none".to_owned()) }
    }

    fn upstream_servers(&self, _: UpstreamId) -> (Vec<UpstreamServerView>, Vec<UpstreamServerView>) {
        (Vec::new(), Vec::new())
    }

    fn secret_use(&self, _: ClientId) -> Option<SecretUse> {
        None
    }

    async fn test_upstream(&self, upstream: &Upstream, login: Option<TrialLogin>) -> Vec<UpstreamStep> {
        let step = |server: &UpstreamServer| UpstreamStep {
            server: server.address.to_string(),
            step: "login".to_owned(),
            ok: login.is_some(),
            text: login.as_ref().map(|login| login.user.clone()).unwrap_or_default(),
            advice: None,
        };
        upstream.servers.iter().map(step).collect()
    }
}

struct Server {
    site: Site,
    router: Router,
    checkpoints: Arc<Checkpoints>,
    _dir: tempfile::TempDir,
}

impl Server {
    async fn new() -> Self {
        Self::with(true).await
    }

    /// One that sends pushes, or none.
    async fn with(pushes: bool) -> Self {
        let site = Site::open(1).await;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoints.jsonl");
        let desk = Arc::clone(&site.desk);
        let checkpoints = Checkpoints::open(path, &**desk.store(), Arc::clone(desk.clock())).await.unwrap();
        let checkpoints = Arc::new(checkpoints);
        let issuer = Issuer {
            vault: Arc::new(Vault::from_key(&[3; 32]).unwrap()),
            origin: Origin::parse("https://mfa.example.com").unwrap(),
            signing_key: Thumbprint::new([5; 32]),
        };
        let api = AdminApi::new(desk, Arc::new(NoFacts { pushes }), Arc::clone(&checkpoints), Arc::new(issuer));
        let router = router(api).layer(Extension(Actor("uid:0 (root)".to_owned())));
        Self { site, router, checkpoints, _dir: dir }
    }

    async fn text(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let request = Request::builder().method(method).uri(format!("/admin/v1/{path}"));
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let octets = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(octets.to_vec()).unwrap())
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, text) = self.text(method, path, &body).await;
        (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() })
    }

    /// What must succeed.
    async fn done(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, value) = self.ask(method, path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {value}");
        value
    }

    /// What must fail: with which code, and what it says.
    async fn refused(&self, method: &str, path: &str, body: Value, code: AdminCode) -> String {
        let (status, value) = self.ask(method, path, body).await;
        assert_eq!((status, value["code"].as_str()), (code.status(), Some(code.as_str())), "{method} {path}: {value}");
        assert_eq!((value["type"].as_str(), value["status"].as_u64()), (Some("about:blank"), Some(u64::from(status))));
        value["detail"].as_str().unwrap().to_owned()
    }

    async fn last(&self) -> (String, Value) {
        let record = self.site.audit().await.pop().unwrap();
        assert_eq!(record.actor, "uid:0 (root)");
        (record.event, serde_json::from_str(&record.detail.unwrap()).unwrap())
    }
}

#[tokio::test]
async fn s100_every_change_has_its_record_with_before_and_after() {
    let server = Server::new().await;
    server
        .done("POST", "users", json!({"name": "alice", "password": "correct horse", "display_name": "Alice A."}))
        .await;
    let (event, detail) = server.last().await;
    assert_eq!(event, "user.added");
    assert_eq!(detail["before"], Value::Null);
    let after = json!({"name": "alice", "display_name": "Alice A.", "enabled": true, "password": "(set)"});
    assert_eq!(detail["after"], after);

    server.done("POST", "users/ALICE/disable", Value::Null).await;
    let disabled = ("user.disabled".to_owned(), json!({"before": {"enabled": true}, "after": {"enabled": false}}));
    assert_eq!(server.last().await, disabled);
    // What changes nothing is no change.
    let records = server.site.audit().await.len();
    server.done("POST", "users/alice/disable", Value::Null).await;
    assert_eq!(server.site.audit().await.len(), records);
    server.done("POST", "users/alice/enable", Value::Null).await;
    assert_eq!(server.last().await.0, "user.enabled");

    server.done("POST", "users/alice/activations", json!({"expires_in": 60})).await;
    assert_eq!(server.last().await.0, "activation.issued");

    let made = server
        .done(
            "POST",
            "resources",
            json!({"name": "vpn", "clients": ["10.0.0.1"], "secret": "canary canary of the vpn 1"}),
        )
        .await;
    assert_eq!(made["clients"], json!(["10.0.0.1/32"]));
    let (event, detail) = server.last().await;
    assert_eq!((event.as_str(), &detail["after"]["secret"]), ("resource.added", &json!("(set)")));
    server.done("PATCH", "resources/vpn", json!({"answer_by": 30, "secret": "canary canary of the vpn 2"})).await;
    let (event, detail) = server.last().await;
    assert_eq!(event, "resource.changed");
    assert_eq!([&detail["before"]["answer_by"], &detail["after"]["answer_by"]], [60, 30]);
    assert_eq!(detail["after"]["secret"], "(replaced)");
    server.done("DELETE", "resources/VPN", Value::Null).await;
    let (event, detail) = server.last().await;
    assert_eq!((event.as_str(), &detail["after"]), ("resource.removed", &Value::Null));
    assert_eq!(detail["before"]["name"], "vpn");

    let user = user_id(&server).await;
    let device = server.site.device(user).await;
    let states = (DeviceState::Active, DeviceState::Suspended);
    server.site.write(Write::SetDeviceState { id: device.id, from: states.0, to: states.1 }).await;
    server.done("POST", &format!("devices/{}/resume", device.id), Value::Null).await;
    let (event, detail) = server.last().await;
    assert_eq!(event, "device.resumed");
    assert_eq!([&detail["before"]["state"], &detail["after"]["state"]], ["suspended", "active"]);
    server.done("DELETE", &format!("devices/{}", device.id), Value::Null).await;
    assert_eq!(server.last().await.0, "device.removed");
    server.done("DELETE", "users/alice", Value::Null).await;
    let (event, detail) = server.last().await;
    assert_eq!((event.as_str(), &detail["before"]["name"]), ("user.removed", &json!("alice")));

    for record in server.site.audit().await {
        let text = format!("{record:?}");
        assert!(!text.contains("canary") && !text.contains("correct horse"), "{text}");
    }
}

async fn user_id(server: &Server) -> UserId {
    server.done("GET", "users/alice", Value::Null).await["id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn s10_a_freeze_is_lifted_with_a_reason_that_is_recorded() {
    let server = Server::new().await;
    server.done("POST", "users", json!({"name": "alice"})).await;
    let scope = LimitScope::User(user_id(&server).await);
    let mut limits = Limits::default();
    limits.freeze();
    server.site.write(Write::SetLimits { scope, expected: 0, limits }).await;
    let shown = server.done("GET", "users/alice", Value::Null).await;
    assert!(shown["limits"][0].as_str().unwrap().contains("frozen"), "{shown}");
    for body in [json!({}), json!({"reason": " "})] {
        server.refused("POST", "users/alice/unlock", body, AdminCode::ReasonMissing).await;
    }
    let unlocked = server.done("POST", "users/alice/unlock", json!({"reason": "she came to my desk"})).await;
    assert_eq!(unlocked["limits"], json!([]));
    let (event, detail) = server.last().await;
    assert_eq!((event.as_str(), &detail["reason"]), ("user.unlocked", &json!("she came to my desk")));
    assert!(detail["before"]["limits"][0].as_str().unwrap().contains("frozen"));
    assert_eq!(detail["after"]["limits"], json!([]));
}

#[tokio::test]
async fn s47_shared_secrets_are_good_unique_and_shown_once() {
    let server = Server::new().await;
    let add = |name: &str, client: &str, secret: Value| {
        let mut body = json!({"name": name, "clients": [client]});
        body.as_object_mut().unwrap().extend(secret.as_object().unwrap().clone());
        body
    };
    for (secret, part) in [
        ("", "empty"),
        ("fifteen octets.", "15 octets, at least 16"),
        ("passwordpassword", "well-known"),
        ("testing123testing123", "well-known"),
        ("zqzqzqzqzqzqzqzqzqzqzqzq", "repeats"),
    ] {
        let body = add("vpn", "10.0.0.1", json!({"secret": secret}));
        let said = server.refused("POST", "resources", body, AdminCode::SecretRefused).await;
        assert!(said.contains(part) && said.contains("--generate-secret"), "{secret}: {said}");
    }
    server.refused("POST", "resources", add("vpn", "10.0.0.1", json!({})), AdminCode::SecretRefused).await;
    let both = json!({"secret": "0123 4567 abcd efgh ijkl", "generate_secret": true});
    server.refused("POST", "resources", add("vpn", "10.0.0.1", both), AdminCode::SecretRefused).await;

    let made = server.done("POST", "resources", add("vpn", "10.0.0.1", json!({"generate_secret": true}))).await;
    let secret = made["secret"].as_str().unwrap();
    assert!(secret.len() == 32 && secret.is_ascii(), "{secret}");
    let taken = add("other", "10.0.0.2", json!({"secret": secret}));
    let said = server.refused("POST", "resources", taken, AdminCode::SecretInUse).await;
    assert!(!said.contains(secret));
    for path in ["resources", "resources/vpn", "audit", "doctor", "status"] {
        let (_, text) = server.text("GET", path, "").await;
        assert!(!text.contains(secret), "{path}");
    }
    // 64 octets and more are taken; 16 to 23 with a warning.
    server.done("POST", "resources", add("long", "10.0.0.3", json!({"secret": format!("{secret}{secret}x")}))).await;
    let short = server.done("POST", "resources", add("short", "10.0.0.4", json!({"secret": "4f-Zq9.kT2wLm8=x"}))).await;
    assert!(short["warnings"].to_string().contains("24"), "{short}");
    let again = server.done("PATCH", "resources/vpn", json!({"generate_secret": true})).await;
    assert_ne!(again["secret"], made["secret"]);
}

#[tokio::test]
async fn a_resource_has_networks_that_are_nobody_elses() {
    let server = Server::new().await;
    let add = |name: &str, clients: Value| json!({"name": name, "clients": clients, "generate_secret": true});
    for (clients, part) in [
        (json!([]), "needs the address"),
        (json!(["vpn.example.com"]), "no address"),
        (json!(["10.0.0.5/24"]), "10.0.0.0/24"),
        (json!(["::ffff:10.0.0.1"]), "IPv4"),
        (json!(["10.0.0.1\u{202e}"]), "\\u{202e}"),
    ] {
        let said = server.refused("POST", "resources", add("vpn", clients), AdminCode::NetworkRefused).await;
        assert!(said.contains(part), "{said}");
    }
    server.done("POST", "resources", add("vpn", json!(["10.0.0.0/24", "2001:db8::/64", "10.0.0.0/24"]))).await;
    let said = server.refused("POST", "resources", add("gate", json!(["10.0.0.0/24"])), AdminCode::NetworkInUse).await;
    assert!(said.contains("client vpn"), "{said}");
    // A narrower one is another client's: the narrowest network decides.
    server.done("POST", "resources", add("gate", json!(["10.0.0.7"]))).await;
    server.done("PATCH", "resources/gate", json!({"clients": ["10.0.0.7", "10.0.0.8"]})).await;
    server.refused("PATCH", "resources/gate", json!({"clients": ["2001:db8::/64"]}), AdminCode::NetworkInUse).await;
    let said = server.refused("POST", "resources", add("VPN", json!(["10.0.1.1"])), AdminCode::ResourceExists).await;
    assert!(said.contains("exists"), "{said}");
    server.refused("PATCH", "resources/gate", json!({"name": "vpn"}), AdminCode::ResourceExists).await;
    for seconds in [0, 4, 301, u64::MAX] {
        let mut body = add("late", json!(["10.0.2.1"]));
        body["answer_by"] = json!(seconds);
        server.refused("POST", "resources", body, AdminCode::AnswerByRefused).await;
    }
    for name in ["", " x", "x\u{200b}y", &"x".repeat(65)] {
        server.refused("POST", "resources", add(name, json!(["10.0.2.1"])), AdminCode::NameInvalid).await;
    }
    server.refused("GET", "resources/none", Value::Null, AdminCode::ResourceUnknown).await;
}

#[tokio::test]
async fn users_have_names_that_can_be_seen_and_passwords_that_can_be_carried() {
    let server = Server::new().await;
    for name in ["", " bob", "bo\u{202e}b", &"x".repeat(254)] {
        server.refused("POST", "users", json!({"name": name}), AdminCode::NameInvalid).await;
    }
    for (password, part) in [("", "empty"), (&*"x".repeat(129), "128")] {
        let body = json!({"name": "bob", "password": password});
        let said = server.refused("POST", "users", body, AdminCode::PasswordRefused).await;
        assert!(said.contains(part), "{said}");
    }
    server.done("POST", "users", json!({"name": "EXAMPLE\\Böb/.. ?", "password": "x"})).await;
    let said = server.refused("POST", "users", json!({"name": "example\\BÖB/.. ?"}), AdminCode::UserExists).await;
    assert!(said.contains("exists"), "{said}");
    let shown = server.done("GET", "users/example%5Cb%C3%B6b%2F%2E%2E%20%3F", Value::Null).await;
    assert_eq!((&shown["name"], &shown["has_password"]), (&json!("EXAMPLE\\Böb/.. ?"), &json!(true)));
    let said = server.refused("GET", "users/x%1b%5B2J", Value::Null, AdminCode::UserUnknown).await;
    assert!(said.contains("\\u{1b}"), "{said}");
}

#[tokio::test]
async fn an_activation_is_handed_out_whole_and_its_lifetime_is_bounded() {
    let server = Server::new().await;
    server.done("POST", "users", json!({"name": "alice"})).await;
    let issued = server.done("POST", "users/alice/activations", Value::Null).await;
    assert_eq!(issued["url"], "https://mfa.example.com");
    assert_eq!(issued["code"].as_str().unwrap().split('-').map(str::len).collect::<Vec<_>>(), [4, 4, 4]);
    let link = ActivationLink::parse(issued["qr"].as_str().unwrap()).unwrap();
    assert_eq!(link.key, Thumbprint::new([5; 32]));
    assert!(issued["expires_at"].as_str().unwrap().ends_with('Z'));
    for seconds in [0, 86_401, u64::MAX] {
        let body = json!({"expires_in": seconds});
        let said = server.refused("POST", "users/alice/activations", body, AdminCode::ExpiryRefused).await;
        assert!(said.contains("24 hours"), "{said}");
    }
    server.done("POST", "users/alice/activations", json!({"expires_in": 86_400})).await;
    server.done("POST", "users/alice/disable", Value::Null).await;
    server.refused("POST", "users/alice/activations", Value::Null, AdminCode::UserDisabled).await;
    let (_, audit) = server.text("GET", "audit", "").await;
    assert!(!audit.contains(issued["code"].as_str().unwrap().split_at(5).1) && !audit.contains(&*link.token.expose()));
}

#[tokio::test]
async fn requests_are_read_strictly() {
    let server = Server::new().await;
    for (method, path, body) in [
        ("POST", "users", "{"),
        ("POST", "users", "[]"),
        ("POST", "users", r#"{"name": "x", "admin": true}"#),
        ("POST", "users", r#"{"name": 7}"#),
        ("POST", "resources", r#"{"name": "x", "clients": ["10.0.0.1"], "primary": "maybe", "generate_secret": true}"#),
        ("GET", "audit?limits=1", ""),
        ("GET", "audit?limit=x", ""),
    ] {
        let (status, text) = server.text(method, path, body).await;
        assert!(status == 400 && text.contains(r#""code":"malformed""#), "{method} {path} {body}: {status} {text}");
    }
    server.refused("GET", "nothing", Value::Null, AdminCode::NotFound).await;
    server.refused("PUT", "users", Value::Null, AdminCode::MethodNotAllowed).await;
    let long = format!(r#"{{"name": "{}"}}"#, "x".repeat(70_000));
    assert_eq!(server.text("POST", "users", &long).await.0, 413);
    server.refused("DELETE", "devices/x", Value::Null, AdminCode::DeviceUnknown).await;
}

const NASTY: &[&[u8]] = &[
    b"bob\n2026-11-25 ACCEPT alice",
    b"\x1b[2J\x1b]0;x\x07",
    "10.0.0.1\u{202e}gnp.exe<script>".as_bytes(),
    "\u{202e}\u{202e}\u{202e}".as_bytes(),
    b"caf\xe9 \\u{41} \"quoted\"",
];

#[tokio::test]
async fn s101_hostile_text_is_harmless_in_list_and_export() {
    let server = Server::new().await;
    for nasty in NASTY {
        let now = server.site.desk.clock().now();
        let mut event = AuditEvent::new(now, EventKind::LoginEnded, "server").because(Reason::UserUnknown);
        event.user_typed = Some(HostileText::new(nasty));
        event.source = Some(HostileText::new(nasty));
        event.detail = Some(String::from_utf8_lossy(nasty).into_owned());
        server.site.desk.write(Commit::record(event)).await.unwrap();
    }
    for path in ["audit", "audit/export"] {
        let (_, text) = server.text("GET", path, "").await;
        assert!(text.chars().all(|c| c == '\n' || is_harmless(c)), "{text}");
    }
    let (_, export) = server.text("GET", "audit/export", "").await;
    assert_eq!(export.lines().count(), NASTY.len());
    for (line, nasty) in export.lines().zip(NASTY) {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["user_typed"], HostileText::new(nasty).to_string());
        assert_eq!(line["detail"], *String::from_utf8_lossy(nasty));
    }
}

#[tokio::test]
async fn the_audit_is_listed_newest_last_and_filtered() {
    let server = Server::new().await;
    server.done("POST", "users", json!({"name": "alice"})).await;
    let alice = user_id(&server).await;
    for number in 0..2500 {
        let now = server.site.desk.clock().now();
        let mut event = AuditEvent::new(now, EventKind::LoginEnded, "server");
        event = event.because(if number % 100 == 0 { Reason::Denied } else { Reason::Approved });
        event.user_id = (number % 500 == 0).then_some(alice);
        event.user_typed = Some(if number == 7 { "ALICE" } else { "bob" }.into());
        server.site.desk.write(Commit::record(event)).await.unwrap();
    }
    let seqs = async |query: &str| -> Vec<i64> {
        let lines = server.done("GET", &format!("audit{query}"), Value::Null).await;
        lines.as_array().unwrap().iter().map(|line| line["seq"].as_i64().unwrap()).collect()
    };
    assert_eq!(seqs("").await, (2452..=2501).collect::<Vec<_>>());
    assert_eq!(seqs("?limit=2").await, [2500, 2501]);
    assert_eq!(seqs("?user=alice&limit=3").await, [1002, 1502, 2002]);
    assert_eq!(seqs("?user=alice").await, [1, 2, 9, 502, 1002, 1502, 2002]);
    assert_eq!(seqs("?reason=denied&limit=100").await.len(), 25);
    assert_eq!(seqs("?event=user.added").await, [1]);
    assert!(seqs("?login=none").await.is_empty());
    let (_, export) = server.text("GET", "audit/export", "").await;
    assert_eq!(export.lines().count(), 2501);
    let report = server.done("POST", "audit/verify", Value::Null).await;
    assert_eq!((&report["ok"], &report["records"]), (&json!(true), &json!(2501)));
}

#[tokio::test]
async fn s102_checkpoints_are_signed_and_held_against_the_chain() {
    let server = Server::new().await;
    let store = server.site.desk.store();
    for name in ["alice", "bob", "carol"] {
        server.done("POST", "users", json!({"name": name})).await;
        server.checkpoints.make(&**store).await.unwrap();
        // One is enough for one record.
        server.checkpoints.make(&**store).await.unwrap();
    }
    let path = server.checkpoints.path().to_owned();
    let good = std::fs::read_to_string(&path).unwrap();
    assert_eq!(good.lines().count(), 3);
    let verify = async || check(&**store, &server.checkpoints, &path).await.unwrap();
    let report = verify().await;
    assert!(report.ok && report.checkpoints.signed == 3, "{report:?}");

    // A line that was changed, one that is none.
    std::fs::write(&path, good.replace("\"seq\":2", "\"seq\":1")).unwrap();
    let report = verify().await;
    assert_eq!(report.checkpoints.faults.len(), 1);
    assert_eq!((report.ok, report.checkpoints.faults[0].fault.as_str()), (false, "signature"));
    assert_eq!(report.checkpoints.faults[0].line, Some(2));
    std::fs::write(&path, format!("{good}garbage\n")).unwrap();
    assert_eq!(verify().await.checkpoints.faults[0].fault, "unreadable");

    // Another server's checkpoints say nothing here.
    let other = Server::new().await;
    for name in ["alice", "bob", "carol", "dave"] {
        other.done("POST", "users", json!({"name": name})).await;
    }
    other.checkpoints.make(&**other.site.desk.store()).await.unwrap();
    std::fs::copy(other.checkpoints.path(), &path).unwrap();
    assert_eq!(verify().await.checkpoints.faults[0].fault, "signature");

    // No file: nothing to hold against, said so; a copy that is named must be there.
    std::fs::remove_file(&path).unwrap();
    assert!(verify().await.ok);
    let report = server.done("POST", "audit/verify", json!({"checkpoints": "/nowhere/at/all"})).await;
    assert_eq!((&report["ok"], &report["checkpoints"]["faults"][0]["fault"]), (&json!(false), &json!("unreadable")));
}

#[tokio::test]
async fn status_and_doctor_tell_what_there_is() {
    let server = Server::new().await;
    server.done("POST", "users", json!({"name": "alice"})).await;
    let status = server.done("GET", "status", Value::Null).await;
    assert_eq!((&status["version"], &status["audit_records"]), (&json!("test"), &json!(1)));
    let findings = server.done("GET", "doctor", Value::Null).await;
    let findings = findings.as_array().unwrap();
    assert!(findings.iter().all(|finding| finding["level"] != "wrong"), "{findings:?}");
    assert!(findings.iter().any(|finding| finding["text"].as_str().unwrap().contains("alice")));
    // A clock that was set back.
    server.site.clock.set(countersign_domain::Timestamp::from_seconds(1_799_990_000));
    let findings = server.done("GET", "doctor", Value::Null).await;
    let wrong: Vec<_> = findings.as_array().unwrap().iter().filter(|finding| finding["level"] == "wrong").collect();
    assert!(matches!(wrong.as_slice(), [one] if one["about"] == "clock"), "{wrong:?}");
}

#[tokio::test]
async fn s96_doctor_tells_of_a_clock_that_stood_ahead() {
    let server = Server::new().await;
    let now = server.site.clock.now();
    let alice = server.site.user("alice", None).await;
    let (hit, well) = (server.site.device(alice).await, server.site.device(alice).await);
    let step = |seconds: i64| u64::try_from(now.as_seconds() / 30 + seconds / 30).unwrap();
    server.site.clock.advance(Duration::from_secs(3600));
    server.site.write(Write::BurnTotpStep { device: hit.id, step: step(3600) }).await;
    // A phone's clock may be a little ahead of ours.
    server.site.write(Write::BurnTotpStep { device: well.id, step: step(30) }).await;
    server.site.clock.set(now);
    let about = async |what: &str| -> Vec<(String, String)> {
        let findings = server.done("GET", "doctor", Value::Null).await;
        let found = findings.as_array().unwrap().iter().filter(|finding| finding["about"] == what);
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        found.map(|finding| (word(&finding["level"]), word(&finding["text"]))).collect()
    };
    let clock = about("clock").await;
    assert!(clock.len() == 1 && clock[0].0 == "wrong" && clock[0].1.contains("stood ahead"), "{clock:?}");
    // Records with the right time come behind it, and it still lies in the future.
    server.done("POST", "users", json!({"name": "bob"})).await;
    let clock = about("clock").await;
    assert!(clock.len() == 1 && clock[0].0 == "note" && clock[0].1.contains("still to come"), "{clock:?}");
    let codes = about("codes").await;
    assert_eq!((codes.len(), codes[0].0.as_str()), (1, "note"));
    let said = &codes[0].1;
    assert!(
        said.contains(&hit.id.to_string()) && said.contains("alice") && !said.contains(&well.id.to_string()),
        "{said}"
    );
    assert!(said.contains(&now.plus(Duration::from_secs(3600)).to_string()), "{said}");
    server.site.clock.set(now.plus(Duration::from_secs(3601)));
    assert_eq!(about("clock").await[0].0, "ok");
    assert!(about("codes").await.is_empty());
}

#[tokio::test]
async fn a_push_is_tried_for_a_device_or_for_all_of_a_user() {
    let server = Server::new().await;
    let ada = server.site.user("ada", None).await;
    server.refused("POST", "push-test", json!({"to": "ada"}), AdminCode::DeviceUnknown).await;
    let (first, second) = (server.site.device(ada).await, server.site.device(ada).await);
    let states = (DeviceState::Active, DeviceState::Suspended);
    server.site.write(Write::SetDeviceState { id: second.id, from: states.0, to: states.1 }).await;
    for to in ["ada".to_owned(), "ADA".to_owned(), first.id.to_string()] {
        let tried = server.done("POST", "push-test", json!({ "to": to })).await;
        let found: Vec<_> = tried.as_array().unwrap().iter().map(|one| (&one["device"], &one["words"])).collect();
        let words = format!("pushed to {}", first.id);
        assert_eq!(found, [(&json!(first.id.to_string()), &json!(words))], "{to}");
        assert_eq!((&tried[0]["user"], &tried[0]["taken"]), (&json!("ada"), &json!(true)));
    }
    server.refused("POST", "push-test", json!({"to": "nobody"}), AdminCode::UserUnknown).await;
    server
        .refused(
            "POST",
            "push-test",
            json!({"to": UserId::new(server.site.desk.clock().now(), &*server.site.entropy).to_string()}),
            AdminCode::DeviceUnknown,
        )
        .await;

    let off = Server::with(false).await;
    let ada = off.site.user("ada", None).await;
    off.site.device(ada).await;
    off.refused("POST", "push-test", json!({"to": "ada"}), AdminCode::PushOff).await;
}

#[tokio::test]
async fn the_list_of_devices_says_which_can_be_woken() {
    for (pushes, subscribed) in [(true, true), (true, false), (false, true)] {
        let server = Server::with(pushes).await;
        let ada = server.site.user("ada", None).await;
        let device = server.site.device(ada).await;
        let push = subscribed.then(|| PushSubscription {
            endpoint: "https://push.example.net/a".to_owned(),
            p256dh: vec![4; 65],
            auth: Secret::new(vec![1; 16]),
        });
        server.site.write(Write::SetPush { id: device.id, push }).await;
        let listed = server.done("GET", "devices", Value::Null).await;
        assert_eq!(listed[0]["push"], json!(pushes && subscribed));
    }
}

#[tokio::test]
async fn the_list_of_devices_says_which_can_verify_their_user() {
    let server = Server::new().await;
    let ada = server.site.user("ada", None).await;
    let device = server.site.device(ada).await;
    for passkey in [None, Some(Passkey { credential_id: vec![1], credential: "{}".to_owned() })] {
        let can = passkey.is_some();
        server.site.write(Write::SetPasskey { id: device.id, passkey }).await;
        let listed = server.done("GET", "devices", Value::Null).await;
        assert_eq!(listed[0]["user_verification"], json!(can));
    }
}

#[tokio::test]
async fn resources_ask_for_user_verification() {
    let server = Server::new().await;
    let body = |asks: &str| json!({"clients": ["10.0.0.1"], "generate_secret": true, "name": "vpn", "user_verification": asks});
    server.refused("POST", "resources", body("always"), AdminCode::Malformed).await;
    let made = server.done("POST", "resources", body("required")).await;
    assert_eq!((&made["user_verification"], &made["warnings"]), (&json!("required"), &json!([])));
    let (_, detail) = server.last().await;
    assert_eq!(detail["after"]["user_verification"], "required");
    let untouched = server.done("PATCH", "resources/vpn", json!({"answer_by": 30})).await;
    assert_eq!(untouched["user_verification"], "required");
    for asks in ["preferred", "off"] {
        let set = server.done("PATCH", "resources/vpn", json!({"user_verification": asks})).await;
        assert_eq!(set["user_verification"], asks);
    }
    server.refused("PATCH", "resources/vpn", json!({"user_verification": "none"}), AdminCode::Malformed).await;
}

#[tokio::test]
async fn c025_prompts_are_named_and_warned_of_where_nothing_can_be_shown() {
    let server = Server::new().await;
    let body = |name: &str, client: &str, prompt: Value| json!({"name": name, "clients": [client], "generate_secret": true, "prompt": prompt});
    server.refused("POST", "resources", body("vpn", "10.0.0.1", json!(["sms"])), AdminCode::Malformed).await;
    let made = server.done("POST", "resources", body("vpn", "10.0.0.1", json!(["totp", "code-to-phone"]))).await;
    assert_eq!((&made["prompt"], &made["warnings"]), (&json!(["code-to-phone", "totp"]), &json!([])));
    let (_, detail) = server.last().await;
    assert_eq!(detail["after"]["prompt"], json!(["code-to-phone", "totp"]));
    let untouched = server.done("PATCH", "resources/vpn", json!({"answer_by": 30})).await;
    assert_eq!(untouched["prompt"], json!(["code-to-phone", "totp"]));
    assert_eq!(server.done("PATCH", "resources/vpn", json!({"prompt": ["typed"]})).await["prompt"], json!(["typed"]));
    let warned = server.done("PATCH", "resources/vpn", json!({"primary": "none"})).await;
    let warnings = warned["warnings"].to_string();
    assert!(warnings.contains("RD Gateway") && warnings.contains("--no-prompt"), "{warnings}");
    let without = server.done("PATCH", "resources/vpn", json!({"prompt": []})).await;
    assert!(without["prompt"] == json!([]) && !without["warnings"].to_string().contains("RD Gateway"));
    // Without a word about it there is none.
    let other = json!({"name": "gateway", "clients": ["10.0.0.2"], "generate_secret": true});
    assert_eq!(server.done("POST", "resources", other).await["prompt"], json!([]));
}

#[tokio::test]
async fn a_password_is_kept_for_chap_only_where_that_is_asked_for() {
    let server = Server::new().await;
    let refused = async |path: &str, body: Value| server.refused("POST", path, body, AdminCode::PasswordRefused).await;
    let secret = |text: &str| json!({"password": text});
    refused("users", json!({"name": "bob", "chap": true})).await;
    let added = json!({"name": "bob", "password": "correct horse", "chap": true});
    assert_eq!(server.done("POST", "users", added).await["chap"], true);
    let (event, detail) = server.last().await;
    assert_eq!((event.as_str(), &detail["after"]["chap_password"]), ("user.added", &json!("(set)")));

    let added = server.done("POST", "users", json!({"name": "alice", "password": "correct horse"})).await;
    assert_eq!(added["chap"], false);
    let said = refused("users/alice/chap", secret("another")).await;
    assert!(said.contains("not the password of alice") && !said.contains("another"), "{said}");
    refused("users/alice/chap", secret("")).await;
    refused("users/alice/chap", json!({"password": null})).await;
    assert_eq!(server.done("POST", "users/alice/chap", secret("correct horse")).await["chap"], true);
    let (event, detail) = server.last().await;
    assert_eq!(event, "user.changed");
    assert_eq!(detail["before"]["chap_password"], "(none)");
    assert_eq!(detail["after"]["chap_password"], "(set)");
    assert_eq!(server.done("GET", "users/ALICE", Value::Null).await["chap"], true);
    // Once more changes nothing and leaves no record.
    let before = server.site.audit().await.len();
    server.done("POST", "users/alice/chap", secret("correct horse")).await;
    assert_eq!(server.site.audit().await.len(), before);
    assert_eq!(server.done("POST", "users/alice/no-chap", json!({})).await["chap"], false);

    server.done("POST", "users", json!({"name": "eve"})).await;
    assert!(refused("users/eve/chap", secret("anything")).await.contains("no password here"));
    for record in server.site.audit().await {
        assert!(!record.detail.unwrap_or_default().contains("correct horse"), "no record holds it");
    }
}

fn corp() -> Value {
    json!({
        "name": "corp",
        "settings": {"servers": ["ldaps://dc1"], "base_dn": "DC=x", "bind_name": "svc"},
        "password": "right",
    })
}

#[tokio::test]
async fn directories_are_added_changed_and_removed_and_no_password_comes_out() {
    let server = Server::new().await;
    let mut without = corp();
    without.as_object_mut().unwrap().remove("password");
    server.refused("POST", "directories", without, AdminCode::PasswordMissing).await;
    let wrong = json!({"name": "corp", "settings": {}, "password": "right"});
    server.refused("POST", "directories", wrong, AdminCode::DirectoryRefused).await;
    let added = server.done("POST", "directories", corp()).await;
    assert_eq!((&added["lockout_threshold"], &added["users"]), (&json!(5), &json!(0)));
    let (event, detail) = server.last().await;
    assert_eq!((&*event, &detail["after"]["password"]), ("directory.added", &json!("(set)")));
    server.refused("POST", "directories", corp(), AdminCode::DirectoryExists).await;

    let change = json!({"name": "Corp", "settings": {"mail_login": true}, "lockout_threshold": 10});
    server.done("PATCH", "directories/CORP", change).await;
    let (event, detail) = server.last().await;
    assert_eq!(event, "directory.changed");
    assert_eq!((&detail["before"]["name"], &detail["after"]["settings"]["mail_login"]), (&json!("corp"), &json!(true)));
    for bad in [json!({"lockout_threshold": 1}), json!({"lockout_window": 59}), json!({"lockout_window": 90_000})] {
        server.refused("PATCH", "directories/corp", bad, AdminCode::DirectoryRefused).await;
    }
    server.refused("GET", "directories/other", Value::Null, AdminCode::DirectoryUnknown).await;
    let records = server.site.audit().await;
    let all = server.done("GET", "directories", Value::Null).await.to_string();
    assert!(!all.contains("right") && records.iter().all(|r| !r.detail.as_ref().is_some_and(|d| d.contains("right"))));
    server.done("DELETE", "directories/corp", Value::Null).await;
    assert_eq!(server.last().await.0, "directory.removed");
}

#[tokio::test]
async fn s61_the_password_goes_to_nobody_who_was_named_without_it() {
    let server = Server::new().await;
    server.done("POST", "directories", corp()).await;
    for (key, value) in [
        ("servers", json!(["ldaps://evil"])),
        ("ca_file", json!("/tmp/evil.pem")),
        ("bind_name", json!("another")),
        ("bind_name", Value::Null),
    ] {
        let change = json!({"settings": {key: value}});
        let said = server.refused("PATCH", "directories/corp", change, AdminCode::PasswordMissing).await;
        assert!(said.contains(key), "{said}");
    }
    let change = json!({"settings": {"servers": ["ldaps://dc2"]}, "password": "wrong"});
    server.done("PATCH", "directories/corp", change).await;
    let tested = server.done("POST", "directories/corp/test", json!({"user": "alice"})).await;
    assert_eq!((&tested["ok"], &tested["steps"][1]["step"]), (&json!(false), &json!("bind")));
    assert!(tested["steps"][0]["text"].as_str().unwrap().contains("dc2"));
    let findings = server.done("GET", "doctor", Value::Null).await;
    assert!(findings.as_array().unwrap().iter().any(|f| f["about"] == "directory corp" && f["level"] == "wrong"));
}

#[tokio::test]
async fn a_resource_and_its_directory_go_together() {
    let server = Server::new().await;
    server.done("POST", "directories", corp()).await;
    let new = |more: Value| {
        let mut body = json!({"name": "host", "clients": ["192.0.2.1"], "generate_secret": true});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for bad in [
        json!({"primary": "directory"}),
        json!({"primary": "local", "directory": "corp"}),
        json!({"primary": "none", "allow_groups": ["GG-VPN"]}),
        json!({"primary": "none", "require_groups": ["GG-VPN"]}),
    ] {
        server.refused("POST", "resources", new(bad), AdminCode::PrimaryRefused).await;
    }
    let unknown = new(json!({"primary": "directory", "directory": "nowhere"}));
    server.refused("POST", "resources", unknown, AdminCode::DirectoryUnknown).await;
    let good =
        new(json!({"primary": "directory", "directory": "CORP", "allow_groups": ["GG-VPN", "GG-None", "GG-VPN"]}));
    let made = server.done("POST", "resources", good).await;
    assert_eq!((&made["directory"], &made["allow_groups"]), (&json!("corp"), &json!(["GG-VPN", "GG-None"])));
    assert!(made["warnings"].to_string().contains("GG-None"), "{made}");
    let required = json!({"require_groups": ["GG-VPN", "GG-Lost"]});
    let changed = server.done("PATCH", "resources/host", required).await;
    assert_eq!(changed["require_groups"], json!(["GG-VPN", "GG-Lost"]));
    assert!(changed["warnings"].to_string().contains("GG-Lost, which is required"), "{changed}");
    let findings = server.done("GET", "doctor", Value::Null).await;
    assert!(findings.to_string().contains("resource host: group GG-Lost, which is required"), "{findings}");
    server.refused("DELETE", "directories/corp", Value::Null, AdminCode::DirectoryInUse).await;
    server.refused("PATCH", "resources/host", json!({"directory": ""}), AdminCode::PrimaryRefused).await;
    let changed = server.done("PATCH", "resources/host", json!({"primary": "local"})).await;
    assert_eq!((&changed["directory"], &changed["allow_groups"]), (&Value::Null, &json!([])));
    assert_eq!(changed["require_groups"], json!([]));
}

#[tokio::test]
async fn users_of_one_name_are_told_apart_by_their_id() {
    let server = Server::new().await;
    let corp = server.done("POST", "directories", corp()).await;
    let here = server.site.user("alice", None).await;
    let user = User {
        id: UserId::new(server.site.clock.now(), &*server.site.entropy),
        origin: UserOrigin::Directory {
            directory: corp["id"].as_str().unwrap().parse().unwrap(),
            entry: EntryId::from_text("e1".to_owned()),
        },
        name: LoginName::new("Alice").unwrap(),
        display_name: "Alice".to_owned(),
        enabled: true,
        held: None,
        password: None,
        created_at: server.site.clock.now(),
    };
    server.site.write(Write::AddUser(user.clone())).await;
    let said = server.refused("GET", "users/alice", Value::Null, AdminCode::UserAmbiguous).await;
    assert!(said.contains(&here.to_string()) && said.contains("from corp"), "{said}");
    let shown = server.done("GET", &format!("users/{}", user.id), Value::Null).await;
    assert_eq!((&shown["directory"], &shown["entry"]), (&json!("corp"), &json!("e1")));
    assert_eq!(server.done("GET", &format!("users/{here}"), Value::Null).await["directory"], Value::Null);

    let said = server.refused("DELETE", "directories/corp", Value::Null, AdminCode::DirectoryInUse).await;
    assert!(said.contains("--with-users"), "{said}");
    server.done("DELETE", "directories/corp?with_users=true", Value::Null).await;
    assert_eq!(server.done("GET", "users/alice", Value::Null).await["id"], json!(here.to_string()));
}

#[tokio::test]
async fn a_directory_says_how_its_users_are_synchronised_and_what_came_of_it() {
    let server = Server::new().await;
    let mut with = corp();
    with["sync"] = json!({"rules": ["add:group:GG-None"]});
    let added = server.done("POST", "directories", with).await;
    assert_eq!((&added["sync"]["brake"], &added["sync"]["interval"]), (&json!(5), &Value::Null));
    for bad in [
        json!({"interval": 59}),
        json!({"brake": 1000}),
        json!({"remove_after_days": 0}),
        json!({"rules": ["everybody"]}),
        json!({"rules": "add:group:x"}),
        json!({"breake": 5}),
    ] {
        server.refused("PATCH", "directories/corp", json!({"sync": bad}), AdminCode::DirectoryRefused).await;
    }
    let change = json!({"sync": {"interval": 900, "remove_after_days": 30}});
    let changed = server.done("PATCH", "directories/corp", change).await;
    assert_eq!((&changed["sync"]["interval"], &changed["sync"]["rules"]), (&json!(900), &json!(["add:group:GG-None"])));
    let (event, detail) = server.last().await;
    assert_eq!((&*event, &detail["before"]["sync"]["interval"]), ("directory.changed", &Value::Null));
    server.done("PATCH", "directories/corp", json!({"sync": {"interval": null}})).await;
    let found = |findings: &Value, text: &str| {
        findings
            .as_array()
            .unwrap()
            .iter()
            .any(|f| f["about"] == "directory corp" && f["text"].to_string().contains(text))
    };
    let findings = server.done("GET", "doctor", Value::Null).await;
    assert!(found(&findings, "nothing runs them") && found(&findings, "group GG-None of a rule"), "{findings}");

    // This desk speaks to no directories.
    let (status, text) = server.text("POST", "directories/corp/sync", "{\"full\":true}").await;
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((status, lines.len(), &lines[0]["report"]["outcome"]), (200, 1, &json!("failed")));
    let shown = server.done("GET", "directories/corp", Value::Null).await;
    assert_eq!(shown["last_sync"], lines[0]["report"]);
    assert!(found(&server.done("GET", "doctor", Value::Null).await, "none has gone well yet"));
    server.refused("POST", "directories/other/sync", json!({}), AdminCode::DirectoryUnknown).await;
    server.refused("POST", "directories/corp/sync", json!({"force": true}), AdminCode::Malformed).await;
}

#[tokio::test]
async fn whom_the_directory_disabled_an_administrator_can_disable_as_well() {
    let server = Server::new().await;
    let corp = server.done("POST", "directories", corp()).await;
    let now = server.site.clock.now();
    let directory = corp["id"].as_str().unwrap().parse().unwrap();
    let user = User {
        id: UserId::new(now, &*server.site.entropy),
        origin: UserOrigin::Directory { directory, entry: EntryId::from_text("e1".to_owned()) },
        name: LoginName::new("alice").unwrap(),
        display_name: "Alice".to_owned(),
        enabled: false,
        held: Some(Hold { why: HoldReason::Expired, since: now }),
        password: None,
        created_at: now,
    };
    server.site.write(Write::AddUser(user)).await;
    let shown = server.done("GET", "users/alice", Value::Null).await;
    assert_eq!((&shown["enabled"], &shown["held"]), (&json!(false), &json!("expired")));
    let shown = server.done("POST", "users/alice/disable", json!({})).await;
    assert_eq!((&shown["enabled"], &shown["held"]), (&json!(false), &Value::Null));
    let (event, detail) = server.last().await;
    assert_eq!((&*event, &detail["before"]["held"]), ("user.disabled", &json!("expired")));
    let records = server.site.audit().await.len();
    server.done("POST", "users/alice/disable", json!({})).await;
    assert_eq!(server.site.audit().await.len(), records, "once is enough");
}

#[tokio::test]
async fn upstreams_are_added_changed_and_removed_and_no_secret_comes_out() {
    let server = Server::new().await;
    let nps = |secret: &str| json!({"name": "NPS", "servers": [{"address": "192.0.2.7", "secret": secret}]});
    server.refused("POST", "upstreams", nps("fifteen octets."), AdminCode::SecretRefused).await;
    let none = json!({"name": "NPS", "servers": [{"address": "192.0.2.7"}]});
    server.refused("POST", "upstreams", none, AdminCode::SecretRefused).await;
    for address in ["nps.example.org", "0.0.0.0", "192.0.2.7:0"] {
        let body = json!({"name": "NPS", "servers": [{"address": address}], "generate_secrets": true});
        server.refused("POST", "upstreams", body, AdminCode::UpstreamRefused).await;
    }
    let twice = json!({"name": "NPS", "servers": [{"address": "192.0.2.7"}, {"address": "192.0.2.7:1812"}],
                       "generate_secrets": true});
    server.refused("POST", "upstreams", twice, AdminCode::UpstreamRefused).await;
    let nobody = json!({"name": "NPS", "servers": []});
    server.refused("POST", "upstreams", nobody, AdminCode::UpstreamRefused).await;

    let canary = "canary canary of an upstream";
    let added = server.done("POST", "upstreams", nps(canary)).await;
    assert_eq!(added["servers"][0]["address"], "192.0.2.7:1812");
    assert_eq!(server.last().await.0, "upstream.added");
    server.refused("POST", "upstreams", nps(canary), AdminCode::UpstreamExists).await;
    server.refused("GET", "upstreams/other", Value::Null, AdminCode::UpstreamUnknown).await;

    // A server that stays keeps its secret; a new one needs one.
    let servers = json!({"servers": [{"address": "192.0.2.8"}, {"address": "192.0.2.7"}]});
    server.refused("PATCH", "upstreams/nps", servers, AdminCode::SecretRefused).await;
    let servers = json!({"servers": [{"address": "192.0.2.8", "secret": "canary canary of another"},
                                     {"address": "192.0.2.7"}]});
    server.done("PATCH", "upstreams/nps", servers).await;
    let (event, detail) = server.last().await;
    assert_eq!((event.as_str(), &detail["after"]["secrets"]), ("upstream.changed", &json!("(replaced)")));
    assert_eq!(detail["after"]["servers"], json!(["192.0.2.8:1812", "192.0.2.7:1812"]));
    let kept = server.site.desk.store().upstreams().await.unwrap();
    assert_eq!(kept[0].servers[1].secret.expose(), canary.as_bytes());
    let records = server.site.audit().await.len();
    server.done("PATCH", "upstreams/nps", json!({"name": "NPS"})).await;
    assert_eq!(server.site.audit().await.len(), records, "what changes nothing is no change");
    let generated = server.done("PATCH", "upstreams/nps", json!({"generate_secrets": true})).await;
    assert_eq!(generated["secrets"]["192.0.2.7:1812"].as_str().unwrap().len(), 32);
    let again = server.done("GET", "upstreams/nps", Value::Null).await;
    assert_eq!(again["secrets"], Value::Null, "shown once");

    // The secret of a client is not to be that of a server.
    let vpn = json!({"name": "vpn", "clients": ["10.0.0.1"], "secret": canary});
    server.done("POST", "resources", vpn).await;
    let changed =
        server.done("PATCH", "upstreams/nps", json!({"servers": [{"address": "192.0.2.7", "secret": canary}]}));
    assert!(changed.await["warnings"][0].as_str().unwrap().contains("of a client"));

    let tested = server.done("POST", "upstreams/nps/test", json!({"user": "alice", "password": "a password"})).await;
    assert_eq!((&tested["ok"], &tested["steps"][0]["text"]), (&json!(true), &json!("alice")));
    let empty = json!({"user": "alice", "password": ""});
    server.refused("POST", "upstreams/nps/test", empty, AdminCode::PasswordMissing).await;
    let findings = server.done("GET", "doctor", Value::Null).await.to_string();
    assert!(findings.contains("upstream NPS"), "{findings}");

    // Resources whose first factor it checks.
    let gateway = |more: Value| {
        let mut body = json!({"name": "gw", "clients": ["10.0.0.2"], "generate_secret": true, "primary": "radius"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    server.refused("POST", "resources", gateway(json!({})), AdminCode::PrimaryRefused).await;
    server.refused("POST", "resources", gateway(json!({"upstream": "x"})), AdminCode::UpstreamUnknown).await;
    let odd = gateway(json!({"upstream": "nps", "expects": "something"}));
    server.refused("POST", "resources", odd, AdminCode::Malformed).await;
    let odd = gateway(json!({"upstream": "nps", "primary": "none"}));
    server.refused("POST", "resources", odd, AdminCode::PrimaryRefused).await;
    let added = server.done("POST", "resources", gateway(json!({"upstream": "nps", "expects": "nothing"}))).await;
    assert_eq!((&added["upstream"], &added["expects"]), (&json!("NPS"), &json!("nothing")));
    server.refused("DELETE", "upstreams/NPS", Value::Null, AdminCode::UpstreamInUse).await;
    let changed = server.done("PATCH", "resources/gw", json!({"expects": "password"})).await;
    assert_eq!(changed["expects"], "password");

    // An MS-CHAP exchange can be sent to them and checked by nobody else; that it is good for little is said.
    assert_eq!(changed["ms_chap"], false);
    let changed = server.done("PATCH", "resources/gw", json!({"ms_chap": true})).await;
    assert_eq!(changed["ms_chap"], true);
    let said = changed["warnings"].to_string();
    assert!(said.contains("inside of a tunnel"), "{said}");
    for odd in
        [json!({"expects": "nothing"}), json!({"primary": "none", "ms_chap": true}), json!({"prompt": ["typed"]})]
    {
        server.refused("PATCH", "resources/gw", odd, AdminCode::PrimaryRefused).await;
    }
    server.done("PATCH", "resources/gw", json!({"ms_chap": false})).await;

    // EAP is theirs alone, and what it stands and falls with is said.
    assert_eq!(changed["eap"], false);
    let changed = server.done("PATCH", "resources/gw", json!({"eap": true, "remember": 60})).await;
    assert_eq!(changed["eap"], true);
    let said = changed["warnings"].to_string();
    assert!(said.contains("docs/guide/eap.md") && said.contains("can hear and take"), "{said}");
    for odd in [json!({"expects": "nothing"}), json!({"primary": "none", "eap": true}), json!({"prompt": ["typed"]})] {
        server.refused("PATCH", "resources/gw", odd, AdminCode::PrimaryRefused).await;
    }
    let changed = server.done("PATCH", "resources/gw", json!({"primary": "none", "remember": 0})).await;
    assert_eq!(changed["eap"], false);
    assert_eq!((&changed["upstream"], &changed["expects"]), (&Value::Null, &Value::Null));
    assert_eq!(changed["ms_chap"], false);

    let all = server.done("GET", "upstreams", Value::Null).await.to_string();
    for record in server.site.audit().await {
        assert!(!format!("{record:?}{all}").contains("canary"), "{record:?}");
    }
    server.done("DELETE", "upstreams/NPS", Value::Null).await;
    assert_eq!(server.last().await.0, "upstream.removed");
    server.refused("DELETE", "upstreams/nps", Value::Null, AdminCode::UpstreamUnknown).await;
}

const LONG_SECRETS: [&str; 3] = ["canary secret of client 1", "canary secret of client 2", "canary secret of client 3"];

#[tokio::test]
async fn s47_s87_a_resource_has_several_clients_each_with_its_own_secret() {
    let server = Server::new().await;
    let vpn = json!({"name": "vpn", "clients": ["192.0.2.1"], "secret": LONG_SECRETS[0]});
    let made = server.done("POST", "resources", vpn).await;
    assert_eq!(made["client_names"], json!(["vpn"]));
    let new = |more: Value| {
        let mut body =
            json!({"name": "vpn-berlin", "addresses": ["192.0.2.2"], "resource": "VPN", "secret": LONG_SECRETS[1]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (bad, code) in [
        (json!({"name": "Vpn"}), AdminCode::ClientExists),
        (json!({"name": ""}), AdminCode::NameInvalid),
        (json!({"resource": "nothing"}), AdminCode::ResourceUnknown),
        (json!({"addresses": ["192.0.2.1"]}), AdminCode::NetworkInUse),
        (json!({"addresses": []}), AdminCode::NetworkRefused),
        (json!({"addresses": ["somewhere"]}), AdminCode::NetworkRefused),
        (json!({"secret": LONG_SECRETS[0]}), AdminCode::SecretInUse),
        (json!({"secret": "short"}), AdminCode::SecretRefused),
        (json!({"secret": null}), AdminCode::SecretRefused),
        (json!({"generate_secret": true}), AdminCode::SecretRefused),
    ] {
        server.refused("POST", "clients", new(bad), code).await;
    }
    let records = server.site.audit().await.len();
    let made = server.done("POST", "clients", new(json!({}))).await;
    assert_eq!(made["resource"], "vpn");
    assert_eq!(server.site.audit().await.len(), records + 1);
    let (event, detail) = server.last().await;
    assert_eq!(
        (event.as_str(), &detail["before"], &detail["after"]["secret"]),
        ("client.added", &Value::Null, &json!("(set)"))
    );

    let shown = server.done("GET", "resources/vpn", Value::Null).await;
    assert_eq!(
        (&shown["client_names"], &shown["clients"]),
        (&json!(["vpn", "vpn-berlin"]), &json!(["192.0.2.1/32", "192.0.2.2/32"]))
    );
    // What is a client's is now said of one of them.
    let which =
        server.refused("PATCH", "resources/vpn", json!({"generate_secret": true}), AdminCode::ClientUnknown).await;
    assert!(which.contains("client set"), "{which}");
    let renamed = server.done("PATCH", "resources/vpn", json!({"name": "VPN", "answer_by": 30})).await;
    assert_eq!((&renamed["client_names"], &renamed["answer_by"]), (&json!(["vpn", "vpn-berlin"]), &json!(30)));

    server
        .done("PATCH", "clients/vpn-berlin", json!({"require_message_authenticator": false, "secret": LONG_SECRETS[2]}))
        .await;
    let (event, detail) = server.last().await;
    assert_eq!(
        (event.as_str(), &detail["before"]["secret"], &detail["after"]["secret"]),
        ("client.changed", &json!("(set)"), &json!("(replaced)"))
    );
    let records = server.site.audit().await.len();
    let same = server.done("PATCH", "clients/VPN-Berlin", json!({"resource": "vpn"})).await;
    assert!(same["warnings"].to_string().contains("CVE-2024-3596"), "{same}");
    assert_eq!(server.site.audit().await.len(), records);
    server.refused("PATCH", "clients/vpn-berlin", json!({"name": "vpn"}), AdminCode::ClientExists).await;
    server.refused("PATCH", "clients/nobody", json!({"name": "x"}), AdminCode::ClientUnknown).await;

    let all = server.done("GET", "clients", Value::Null).await.to_string();
    let one = server.done("GET", "clients/vpn-berlin", Value::Null).await.to_string();
    server.done("DELETE", "clients/vpn-berlin", Value::Null).await;
    assert_eq!(server.last().await.0, "client.removed");
    server.refused("GET", "clients/vpn-berlin", Value::Null, AdminCode::ClientUnknown).await;
    let audit = format!("{:?}", server.site.audit().await);
    for secret in LONG_SECRETS {
        assert!(![&all, &one, &audit].iter().any(|text| text.contains(secret)), "a secret is shown");
    }
    // The last one goes with its resource, renamed along with it.
    server.done("PATCH", "resources/vpn", json!({"name": "remote"})).await;
    let renamed = server.done("PATCH", "clients/vpn", json!({"name": "remote"})).await;
    assert_eq!((&renamed["name"], &renamed["resource"]), (&json!("remote"), &json!("remote")));
    let again = server.done("PATCH", "resources/remote", json!({"name": "away"})).await;
    assert_eq!(again["client_names"], json!(["away"]));
    server.done("DELETE", "resources/away", Value::Null).await;
    assert_eq!(server.done("GET", "clients", Value::Null).await, json!([]));
}

#[tokio::test]
async fn a_rule_leads_to_what_asks_as_much_or_more_now_and_after_every_change() {
    let server = Server::new().await;
    server.done("POST", "directories", corp()).await;
    let nps = json!({"name": "gateway", "clients": ["192.0.2.1"], "secret": LONG_SECRETS[0], "primary": "none", "directory": "corp"});
    server.done("POST", "resources", nps).await;
    // Without a client of its own.
    let alone = json!({"name": "vpn", "primary": "directory", "directory": "corp"});
    let made = server.done("POST", "resources", alone).await;
    assert_eq!((&made["clients"], &made["client_names"]), (&json!([]), &json!([])));
    let secret = json!({"name": "x", "secret": LONG_SECRETS[1]});
    server.refused("POST", "resources", secret, AdminCode::NetworkRefused).await;
    server.done("POST", "resources", json!({"name": "local", "primary": "local"})).await;

    let rules = |texts: &[&str]| json!({"rules": texts});
    for (bad, said) in [
        ("NAS-Identifier = vpn1", "ATTRIBUTE = VALUE -> RESOURCE"),
        ("vpn1 -> vpn", "ATTRIBUTE = VALUE -> RESOURCE"),
        ("User-Name = alice -> vpn", "not by User-Name"),
        ("NAS-Port-Type = Tin -> vpn", "Virtual"),
        ("NAS-Identifier = a\u{7} -> vpn", "control"),
        ("NAS-Identifier = vpn1 -> local", "first factor"),
    ] {
        let detail = server.refused("PATCH", "clients/gateway", rules(&[bad]), AdminCode::RuleRefused).await;
        assert!(detail.contains(said), "{bad}: {detail}");
    }
    server
        .refused("PATCH", "clients/gateway", rules(&["NAS-Identifier = a -> nothing"]), AdminCode::ResourceUnknown)
        .await;
    let good =
        rules(&["nas-identifier=vpn1->VPN", "NAS-Port-Type = 19 -> gateway", "NAS-IP-Address = 10.0.0.0/8 -> vpn"]);
    let changed = server.done("PATCH", "clients/gateway", good).await;
    let shown = [
        "NAS-Identifier = vpn1 -> vpn",
        "NAS-Port-Type = Wireless-802.11 -> gateway",
        "NAS-IP-Address = 10.0.0.0/8 -> vpn",
    ];
    assert_eq!(changed["rules"], json!(shown));
    // What is shown can be written.
    assert_eq!(server.done("PATCH", "clients/gateway", rules(&shown)).await["rules"], json!(shown));

    // Neither end may be changed so that a rule would weaken.
    for (path, change) in [
        ("resources/vpn", json!({"primary": "local"})),
        ("resources/gateway", json!({"allow_groups": ["GG-VPN"]})),
        ("resources/gateway", json!({"retries": "collide"})),
        ("clients/gateway", json!({"resource": "local"})),
    ] {
        let detail = server.refused("PATCH", path, change, AdminCode::RuleRefused).await;
        assert!(detail.contains("gateway"), "{detail}");
    }
    server.done("PATCH", "resources/vpn", json!({"allow_groups": ["GG-VPN"], "retries": "collide"})).await;
    server.done("PATCH", "resources/gateway", json!({"allow_groups": ["GG-VPN"], "retries": "collide"})).await;
    let detail = server.refused("DELETE", "resources/vpn", Value::Null, AdminCode::ResourceInUse).await;
    assert!(detail.contains("client set gateway"), "{detail}");
    server.done("PATCH", "clients/gateway", rules(&[])).await;
    let (_, detail) = server.last().await;
    assert_eq!((&detail["before"]["rules"], &detail["after"]["rules"]), (&json!(shown), &json!([])));
    server.done("DELETE", "resources/vpn", Value::Null).await;
}

#[tokio::test]
async fn reply_attributes_and_charset_are_read_and_shown_alike() {
    let server = Server::new().await;
    server.done("POST", "directories", corp()).await;
    let reply = json!(["Session-Timeout = 28800", "GG-VPN -> Class = admins", "GG-None -> Class = 0x00ff"]);
    let new = json!({
        "name": "vpn", "clients": ["192.0.2.1"], "secret": LONG_SECRETS[0], "primary": "directory", "directory": "corp",
        "reply": reply, "charset": "windows-1252",
    });
    let made = server.done("POST", "resources", new).await;
    assert_eq!((&made["reply"], &made["charset"]), (&reply, &json!("windows-1252")));
    assert!(made["warnings"].to_string().contains("GG-None"), "{made}");
    for (bad, code) in [
        (json!({"reply": ["Fliter-Id = a"]}), AdminCode::ReplyRefused),
        (json!({"reply": ["User-Password = a"]}), AdminCode::ReplyRefused),
        (json!({"reply": ["Session-Timeout = soon"]}), AdminCode::ReplyRefused),
        (json!({"charset": "latin-1"}), AdminCode::Malformed),
        (json!({"primary": "none", "directory": ""}), AdminCode::PrimaryRefused),
    ] {
        server.refused("PATCH", "resources/vpn", bad, code).await;
    }
    let changed = server.done("PATCH", "resources/vpn", json!({"reply": [], "charset": "utf-8"})).await;
    assert_eq!((&changed["reply"], &changed["charset"]), (&json!([]), &json!("utf-8")));
    let (event, detail) = server.last().await;
    assert_eq!(event, "resource.changed");
    assert_eq!(detail["before"]["reply"][1]["group"], "GG-VPN");
    assert!(detail["before"].get("secret").is_none(), "nothing is said of a client that was not touched");
}

#[tokio::test]
async fn s28_a_bypass_has_a_reason_a_bound_and_an_alert() {
    let server = Server::new().await;
    let alice = server.site.user("alice", Some("correct horse battery")).await;
    for (body, code) in [
        (json!({}), AdminCode::ReasonMissing),
        (json!({"reason": "  "}), AdminCode::ReasonMissing),
        (json!({"reason": "lost", "seconds": 0}), AdminCode::BypassRefused),
        (json!({"reason": "lost", "seconds": 86_401}), AdminCode::BypassRefused),
    ] {
        server.refused("POST", "users/alice/bypass", body, code).await;
    }
    server.refused("POST", "users/bob/bypass", json!({"reason": "lost"}), AdminCode::UserUnknown).await;
    assert_eq!(server.done("GET", "users/alice", Value::Null).await["bypass"], Value::Null);

    server.site.resource(countersign_testkit::NewResource { name: "gateway", ..Default::default() }).await;
    let body = json!({"reason": "phone at home, called back"});
    let (status, issued) = server.ask("POST", "users/ALICE/bypass", body).await;
    assert_eq!(status, 201);
    assert_eq!((&issued["user"], &issued["unproved_at"]), (&json!("alice"), &json!(["gateway"])));
    let shown = server.done("GET", "users/alice", Value::Null).await["bypass"].clone();
    assert_eq!((&shown["open"], &shown["issuer"]), (&json!(true), &json!("uid:0 (root)")));
    let records = server.site.audit().await;
    let [.., event, alert] = records.as_slice() else { panic!("too few records") };
    assert_eq!((event.event.as_str(), alert.reason.as_deref()), ("bypass.issued", Some("bypass_issued")));
    assert_eq!(alert.user_id, Some(alice.to_string()));
    assert!(event.detail.as_deref().unwrap().contains("called back"), "{event:?}");

    // Unused: it is shown, and lets nobody in.
    server.site.clock.advance(Duration::from_secs(300));
    assert_eq!(server.done("GET", "users/alice", Value::Null).await["bypass"]["open"], false);
    server.done("POST", "users/alice/bypass", json!({"reason": "again", "seconds": 60})).await;
    assert_eq!(server.done("GET", "users/alice", Value::Null).await["bypass"]["open"], true);
    server.done("DELETE", "users/alice/bypass", Value::Null).await;
    assert_eq!(server.done("GET", "users/alice", Value::Null).await["bypass"], Value::Null);
    assert_eq!(server.site.audit().await.last().unwrap().event, "bypass.cancelled");
    let count = server.site.audit().await.len();
    server.done("DELETE", "users/alice/bypass", Value::Null).await;
    assert_eq!(server.site.audit().await.len(), count, "nothing was taken back");
}

#[tokio::test]
async fn s28_who_may_not_log_on_gets_no_bypass() {
    let server = Server::new().await;
    let alice = server.site.user("alice", Some("correct horse battery")).await;
    server.done("POST", "users/alice/disable", json!({})).await;
    let body = json!({"reason": "lost phone"});
    server.refused("POST", "users/alice/bypass", body.clone(), AdminCode::UserDisabled).await;
    server.done("POST", "users/alice/enable", json!({})).await;
    let mut limits = Limits::default();
    limits.freeze();
    server.site.write(Write::SetLimits { scope: LimitScope::User(alice), expected: 0, limits }).await;
    server.refused("POST", "users/alice/bypass", body.clone(), AdminCode::UserFrozen).await;
    server.done("POST", "users/alice/unlock", json!({"reason": "looked into it"})).await;
    server.done("POST", "users/alice/bypass", body).await;
}

#[tokio::test]
async fn approvals_are_remembered_only_where_somebody_says_so_and_not_for_long() {
    let server = Server::new().await;
    let body = |remember: u64| json!({"name": "gateway", "clients": ["10.0.0.9"], "generate_secret": true, "primary": "none", "remember": remember});
    server.refused("POST", "resources", body(301), AdminCode::RememberRefused).await;
    let added = server.done("POST", "resources", body(0)).await;
    assert_eq!(added["remember"], 0);
    let changed = server.done("PATCH", "resources/gateway", json!({"remember": 30})).await;
    assert_eq!(changed["remember"], 30);
    assert!(changed["warnings"].to_string().contains("remember 30"), "{changed}");
    let (_, detail) = server.last().await;
    assert_eq!((&detail["before"]["remember"], &detail["after"]["remember"]), (&json!(0), &json!(30)));
    server.refused("PATCH", "resources/gateway", json!({"remember": 1000}), AdminCode::RememberRefused).await;
}

#[tokio::test]
async fn s48_a_client_that_speaks_tls_is_known_by_one_certificate_that_is_its_own() {
    let server = Server::new().await;
    let vpn = json!({"name": "vpn", "clients": ["192.0.2.1"], "secret": LONG_SECRETS[0]});
    server.done("POST", "resources", vpn).await;
    let print = "AB:".repeat(31) + "AB";
    let new = |name: &str, more: Value| {
        let mut body = json!({"name": name, "resource": "vpn"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (bad, code) in [
        (json!({"tls_fingerprint": "AB:CD"}), AdminCode::IdentityRefused),
        (json!({"tls_name": "*.example.org"}), AdminCode::IdentityRefused),
        (json!({"tls_name": "a.example.org", "tls_fingerprint": print}), AdminCode::IdentityRefused),
        (json!({"tls_name": "a.example.org", "secret": LONG_SECRETS[1]}), AdminCode::SecretRefused),
        (json!({"tls_name": "a.example.org", "generate_secret": true}), AdminCode::SecretRefused),
        (json!({"tls_name": "a.example.org", "require_message_authenticator": false}), AdminCode::Malformed),
        (json!({"tls_name": "a.example.org", "addresses": ["nowhere"]}), AdminCode::NetworkRefused),
        (json!({}), AdminCode::SecretRefused),
    ] {
        server.refused("POST", "clients", new("one", bad), code).await;
    }
    // Where it comes from may be where another comes from: the certificate says who it is.
    let named = json!({"tls_name": "VPN.example.org", "addresses": ["192.0.2.1"]});
    let made = server.done("POST", "clients", new("one", named.clone())).await;
    assert_eq!((&made["tls"], &made["addresses"]), (&json!("vpn.example.org"), &json!(["192.0.2.1/32"])));
    assert_eq!((&made["secret"], &made["require_message_authenticator"]), (&Value::Null, &json!(false)));
    assert_eq!(server.last().await.1["after"]["tls"], json!("vpn.example.org"));
    let said = server.refused("POST", "clients", new("two", named), AdminCode::IdentityInUse).await;
    assert!(said.contains("client one"), "{said}");
    let made = server.done("POST", "clients", new("two", json!({"tls_fingerprint": print}))).await;
    let identity = format!("sha256:{}", "ab".repeat(32));
    assert_eq!((&made["tls"], &made["addresses"]), (&json!(identity), &json!([])));

    for (name, body, code) in [
        ("two", json!({"tls_name": "vpn.example.org"}), AdminCode::IdentityInUse),
        ("two", json!({"generate_secret": true}), AdminCode::SecretRefused),
        ("vpn", json!({"tls_name": "b.example.org"}), AdminCode::IdentityRefused),
    ] {
        server.refused("PATCH", &format!("clients/{name}"), body, code).await;
    }
    let changed = server.done("PATCH", "clients/two", json!({"tls_name": "b.example.org", "addresses": ["::1"]})).await;
    assert_eq!((&changed["tls"], &changed["addresses"]), (&json!("b.example.org"), &json!(["::1/128"])));
    let findings = server.done("GET", "doctor", Value::Null).await.to_string();
    assert!(!findings.contains("without Message-Authenticator"), "{findings}");

    // A resource whose only client speaks TLS has no secret to set.
    server.done("DELETE", "clients/vpn", Value::Null).await;
    server.done("DELETE", "clients/two", Value::Null).await;
    let said =
        server.refused("PATCH", "resources/vpn", json!({"generate_secret": true}), AdminCode::IdentityRefused).await;
    assert!(said.contains("client set one"), "{said}");
}

#[tokio::test]
async fn s48_a_server_that_is_asked_over_tls_has_no_secret_and_never_that_of_one_over_udp() {
    let server = Server::new().await;
    let secret = LONG_SECRETS[0];
    let over_tls = "tls://192.0.2.8:2083/radius.example.org";
    let both = json!([{"address": "192.0.2.7", "secret": secret}, {"address": "tls://192.0.2.8/radius.example.org"}]);
    let made = server.done("POST", "upstreams", json!({"name": "nps", "servers": both})).await;
    assert_eq!(made["servers"][1]["address"], over_tls);
    let with_secret = json!({"servers": [{"address": over_tls, "secret": secret}]});
    server.refused("PATCH", "upstreams/nps", with_secret, AdminCode::SecretRefused).await;
    // Over UDP it needs a secret of its own: that of TLS is known to all.
    let over_udp = json!({"servers": [{"address": "192.0.2.8:2083"}]});
    server.refused("PATCH", "upstreams/nps", over_udp, AdminCode::SecretRefused).await;
    server
        .done("PATCH", "upstreams/nps", json!({"servers": [{"address": "tls://192.0.2.7:1812/a.example.org"}]}))
        .await;
    let kept = server.site.desk.store().upstreams().await.unwrap();
    assert_eq!(kept[0].servers[0].secret.expose(), b"radsec");
}
