use std::sync::Arc;

use countersign_device_protocol::messages::Decision;
use countersign_testkit::SoftPhone;
use serde_json::{Value, json};

use super::{Services, World};

const PUSH_KEY: &str = "BDCgQkzSHClEg4otdckrN-duog2fAIk6O07uijwKr-w-4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM";

#[tokio::test]
async fn a_device_renames_itself_and_removes_itself() {
    let world = World::new().await;
    let phone = world.phone(world.ada).await;
    let row = async || world.site.desk.store().device(World::id(&phone)).await.unwrap().unwrap();
    assert_eq!(world.send(&phone, "PATCH", "device", r#"{"name":"Pad\u202e"}"#).await.short(), "204");
    assert_eq!(row().await.name.to_string(), "Pad\\u{202e}");
    let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(65));
    for bad in [r#"{"name":""}"#, r#"{"name":"a","state":"active"}"#, "{}", &long] {
        assert_eq!(world.send(&phone, "PATCH", "device", bad).await.short(), "400 malformed", "{bad}");
    }
    assert_eq!(world.send(&phone, "DELETE", "device", "").await.short(), "204");
    assert_eq!(world.send(&phone, "DELETE", "device", "").await.short(), "403 device_removed");
    let removed = world.records("device.removed").await;
    assert_eq!((removed.len(), removed[0].actor.as_str()), (1, "device"));
    assert_eq!(removed[0].device, Some(World::id(&phone).to_string()));
}

#[tokio::test]
async fn a_subscription_is_kept_replaced_and_dropped() {
    let world = World::new().await;
    let phone = world.phone(world.ada).await;
    let row = async || world.site.desk.store().device(World::id(&phone)).await.unwrap().unwrap();
    let key = "BDCgQkzSHClEg4otdckrN-duog2fAIk6O07uijwKr-w-4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM";
    let push =
        |endpoint: &str, auth: &str| serde_json::json!({"endpoint": endpoint, "p256dh": key, "auth": auth}).to_string();
    let auth = "AQEBAQEBAQEBAQEBAQEBAQ";
    assert_eq!(world.send(&phone, "PUT", "push", push("https://push.example.net/1", auth)).await.short(), "204");
    assert_eq!(world.send(&phone, "PUT", "push", push("https://push.example.net/2", auth)).await.short(), "204");
    assert_eq!(row().await.push.unwrap().endpoint, "https://push.example.net/2");
    for bad in [push("https://push.example.net/1", "AQ"), String::new(), r#"{"endpoint":null}"#.to_owned()] {
        assert_eq!(world.send(&phone, "PUT", "push", bad.clone()).await.short(), "400 malformed", "{bad}");
    }
    assert_eq!(row().await.push.unwrap().endpoint, "https://push.example.net/2");
    assert_eq!(world.send(&phone, "PUT", "push", "null").await.short(), "204");
    assert!(row().await.push.is_none());
}

#[tokio::test]
async fn s17_history_shows_how_logins_ended() {
    let mut world = World::new().await;
    let phone = world.phone(world.ada).await;
    let bob = world.site.user("bob", None).await;
    let bobs = world.phone(bob).await;
    assert_eq!(world.get(&phone, "history").await.json, serde_json::json!({"logins": []}));
    for decision in [Decision::Verify, Decision::Deny] {
        let challenge = world.asked(&phone).await;
        world.site.clock.advance(core::time::Duration::from_secs(1));
        world.decide(&phone, &challenge, decision).await;
        world.verdict().await;
    }
    let logins = world.get(&phone, "history").await.json;
    let row = |at: &str, verdict: &str| json!({"at": at, "application": "VPN Zürich", "place": null, "verdict": verdict, "factor": "push"});
    let wanted = [row("2027-01-15T08:00:02Z", "denied"), row("2027-01-15T08:00:01Z", "approved")];
    assert_eq!(logins, serde_json::json!({"logins": wanted}));
    assert_eq!(world.get(&bobs, "history").await.json, serde_json::json!({"logins": []}));
}

#[tokio::test]
async fn s88_an_endpoint_that_is_not_sent_to_is_refused_when_it_is_said() {
    let world = World::new().await;
    let mut phone = world.phone(world.ada).await;
    let elsewhere =
        |endpoint: &str| json!({"endpoint": endpoint, "p256dh": PUSH_KEY, "auth": "AQEBAQEBAQEBAQEBAQEBAQ"});
    assert_eq!(
        world.send(&phone, "PUT", "push", elsewhere("https://push.example.net/a").to_string()).await.short(),
        "204"
    );
    for endpoint in ["https://push.example.net.evil.example/a", "http://127.0.0.1/", "https://169.254.169.254/", ""] {
        let answer = world.send(&phone, "PUT", "push", elsewhere(endpoint).to_string()).await;
        assert_eq!(answer.short(), "422 push_refused", "{endpoint}");
        assert_eq!(answer.json["detail"], "not one of ours");
    }
    let row = world.site.desk.store().device(World::id(&phone)).await.unwrap().unwrap();
    let kept = row.push.unwrap();
    assert_eq!(kept.endpoint, "https://push.example.net/a", "a refused one replaced it");

    // An activation is not used up by it.
    let issued = world.issue(world.ada).await;
    phone = SoftPhone::new();
    let mut body: Value = serde_json::from_slice(&phone.activation_by_code(&issued.code)).unwrap();
    let plain = body.to_string();
    body["push"] = elsewhere("https://evil.example/a");
    let answer = world.send(&phone, "POST", "activations", body.to_string()).await;
    assert_eq!(answer.short(), "422 push_refused");
    assert_eq!(world.send(&phone, "POST", "activations", plain).await.short(), "201 active");
}

#[tokio::test]
async fn a_server_that_sends_no_pushes_gives_no_key_for_them() {
    let world = World::with(&[], Arc::new(Services { on: false })).await;
    let phone = world.phone(world.ada).await;
    assert_eq!(phone.account().server.push_key, None);
    let on = World::new().await;
    assert!(on.phone(on.ada).await.account().server.push_key.is_some());
}
