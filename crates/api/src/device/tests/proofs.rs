use axum::http::Request;
use countersign_testkit::SoftPhone;

use super::{PEER, World};

#[tokio::test]
async fn get_server_needs_no_proof_and_says_who_it_is() {
    let world = World::new().await;
    let answer = world.call(World::from(Request::get("/device/v1/server"), PEER, Vec::new())).await;
    assert_eq!(answer.status, 200);
    let names: Vec<_> = answer.json.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["deployment_id", "organization", "origin", "protocol", "push_key", "signing_key", "time"]);
    assert_eq!(answer.json["protocol"], 1);
    assert_eq!(answer.json["organization"], "Example Ltd");
    assert_eq!(answer.json["origin"], "https://mfa.example.com");
    assert_eq!(answer.json["time"], "2027-01-15T08:00:00Z");
    assert_eq!(answer.json["push_key"].as_str().unwrap().len(), 87);
}

#[tokio::test]
async fn s38_a_proof_is_good_once_here_now_and_for_this_body() {
    let world = World::new().await;
    let phone = world.phone(world.ada).await;
    let (list, device) = ("/device/v1/challenges", "/device/v1/device");
    let origin = world.api.origin().clone();
    let (now, nonce) = (world.now(), world.api.nonce());
    let proof = |iat, nonce: Option<&str>| phone.proof(&origin, "GET", list, b"", iat, nonce);

    let good = proof(now, Some(&nonce));
    let send = async |proof: &str| world.call(World::with_proof("GET", list, b"", proof)).await.short();
    assert_eq!(send(&good).await, "200");
    assert_eq!(send(&good).await, "401 proof_replayed");
    // A replay after five seconds, and after the proof has grown old.
    world.site.clock.advance(std::time::Duration::from_secs(5));
    assert_eq!(send(&good).await, "401 proof_replayed");

    // Another path, another method, another origin, another body.
    let good = || phone.proof(&origin, "GET", list, b"", now, Some(&nonce));
    let elsewhere = world.call(World::with_proof("GET", "/device/v1/history", b"", &good())).await;
    assert_eq!(elsewhere.short(), "401 proof_invalid");
    assert_eq!(world.call(World::with_proof("DELETE", device, b"", &good())).await.short(), "401 proof_invalid");
    let foreign = countersign_device_protocol::origin::Origin::parse("https://evil.example").unwrap();
    let proof_elsewhere = phone.proof(&foreign, "GET", list, b"", now, Some(&nonce));
    assert_eq!(send(&proof_elsewhere).await, "401 proof_invalid");
    let rename = phone.proof(&origin, "PATCH", device, br#"{"name":"a"}"#, now, Some(&nonce));
    let changed = world.call(World::with_proof("PATCH", device, br#"{"name":"b"}"#, &rename)).await;
    assert_eq!(changed.short(), "401 proof_invalid");
    assert_eq!(world.call(World::with_proof("GET", list, b"x", &good())).await.short(), "401 proof_invalid");

    // The clock: the answer to an old iat brings the server's.
    let late = world.call(World::with_proof("GET", list, b"", &proof(now - 600, Some(&nonce)))).await;
    assert_eq!(
        (late.short().as_str(), late.json["time"].as_str()),
        ("401 proof_expired", Some("2027-01-15T08:00:05Z"))
    );
    assert_eq!(send(&proof(now + 600, Some(&nonce))).await, "401 proof_expired");

    // The nonce: none, foreign, old. The answer brings a good one.
    assert_eq!(send(&proof(now, None)).await, "401 use_dpop_nonce");
    assert_eq!(send(&proof(now, Some("abc"))).await, "401 use_dpop_nonce");
    world.site.clock.advance(std::time::Duration::from_secs(60));
    let old = world.call(World::with_proof("GET", list, b"", &proof(world.now(), Some(&nonce)))).await;
    assert_eq!(old.short(), "401 use_dpop_nonce");
    assert!(old.headers["www-authenticate"].to_str().unwrap().contains("use_dpop_nonce"));
    let fresh = old.headers["dpop-nonce"].to_str().unwrap();
    assert_eq!(send(&proof(world.now(), Some(fresh))).await, "200");

    // No proof, two proofs, none that could be one.
    let none = world.call(World::from(Request::get(list), PEER, Vec::new())).await;
    assert_eq!(none.short(), "401 proof_missing");
    let one = world.request(&phone, "GET", "challenges", "");
    let proof = one.headers()["dpop"].clone();
    let two = Request::get(list).header("DPoP", &proof).header("DPoP", &proof);
    assert_eq!(world.call(World::from(two, PEER, Vec::new())).await.short(), "401 proof_invalid");
    assert_eq!(send("x.y.z").await, "401 proof_invalid");
    // Neither used up the jti.
    assert_eq!(world.call(one).await.short(), "200");
}

#[tokio::test]
async fn c107_host_headers_do_not_matter() {
    let world = World::new().await;
    let phone = world.phone(world.ada).await;
    let proof = world.request(&phone, "GET", "challenges", "").headers()["dpop"].clone();
    let lured = Request::get("http://evil.example/device/v1/challenges?host=evil.example")
        .header("Host", "evil.example")
        .header("X-Forwarded-Host", "evil.example")
        .header("Forwarded", "host=evil.example;proto=http")
        .header("DPoP", &proof);
    assert_eq!(world.call(World::from(lured, PEER, Vec::new())).await.status, 200);
    let server = Request::get("/device/v1/server").header("X-Forwarded-Host", "evil.example");
    let answer = world.call(World::from(server, PEER, Vec::new())).await;
    assert_eq!(answer.json["origin"], "https://mfa.example.com");
    let issued = world.issue(world.ada).await;
    assert_eq!(issued.url, "https://mfa.example.com");
    assert!(issued.qr.starts_with("https://mfa.example.com/activate#v=1&t="));
}

#[tokio::test]
async fn a_key_without_a_device_is_unknown() {
    let world = World::new().await;
    let answer = world.get(&SoftPhone::new(), "challenges").await;
    assert_eq!(answer.short(), "401 device_unknown");
}

#[tokio::test]
async fn whatever_is_not_there_is_said_in_one_form() {
    let world = World::new().await;
    let phone = world.phone(world.ada).await;
    for path in ["nothing", "challenges/", "server/"] {
        let answer = world.get(&phone, path).await;
        assert_eq!(answer.short(), "404 not_found", "{path}");
    }
    for (method, path) in [("POST", "server"), ("OPTIONS", "challenges"), ("PUT", "device"), ("TRACE", "events")] {
        let answer = world.send(&phone, method, path, "").await;
        assert_eq!(answer.short(), "405 method_not_allowed", "{method} {path}");
        assert!(answer.headers.contains_key("allow"), "{method} {path}");
    }
    for path in ["challenges/short", "challenges/AAAAAAAAAAAAAAAAAAAAAA", "challenges/%00"] {
        assert_eq!(world.get(&phone, path).await.short(), "404 not_found", "{path}");
    }
}

#[tokio::test]
async fn a_body_over_64_kib_is_refused_unread() {
    let world = World::new().await;
    let phone = world.phone(world.ada).await;
    let body = vec![b' '; 64 * 1024 + 1];
    assert_eq!(world.send(&phone, "PUT", "push", body).await.short(), "413 body_too_large");
    let mut body = b"null".to_vec();
    body.resize(64 * 1024, b' ');
    assert_eq!(world.send(&phone, "PUT", "push", body).await.short(), "204");
    // Said and not sent.
    let lie = Request::put("/device/v1/push").header("Content-Length", "70000");
    assert_eq!(world.call(World::from(lie, PEER, b"null".to_vec())).await.short(), "413 body_too_large");
}
