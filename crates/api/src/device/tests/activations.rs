use core::time::Duration;
use std::{path::Path, sync::Arc};

use axum::http::Request;
use countersign_desk::{Desk, DeskConfig};
use countersign_device_protocol::{code::ActivationCode, keys::SigningKey, origin::Origin};
use countersign_domain::{Clock, Entropy, LoginName, User, UserId, UserOrigin, Write};
use countersign_storage::Vault;
use countersign_storage_sqlite::{Location, Options, SqliteStore};
use countersign_testkit::{FakeClock, SeededEntropy, SoftPhone};
use futures_util::future::join_all;

use super::Services;
use super::{PEER, World};
use crate::{activation::issue_activation, device::DeviceApi};

/// Another secret under the handle of `code`.
fn wrong(code: &ActivationCode, number: u8) -> ActivationCode {
    ActivationCode::parse(&format!("{}0000000{number}", code.handle())).unwrap()
}

impl World {
    async fn activate(&self, phone: &SoftPhone, code: &ActivationCode) -> super::Answer {
        self.send(phone, "POST", "activations", phone.activation_by_code(code)).await
    }

    /// Activates from another address each time, so that only the activation's own limits count.
    async fn activate_from(&self, peer: &str, phone: &SoftPhone, code: &ActivationCode) -> super::Answer {
        let body = phone.activation_by_code(code);
        let mut request = self.request(phone, "POST", "activations", body);
        let peer: std::net::SocketAddr = peer.parse().unwrap();
        request.extensions_mut().insert(axum::extract::ConnectInfo(peer));
        self.call(request).await
    }
}

#[tokio::test]
async fn a_code_makes_a_device_and_so_does_a_qr_code() {
    let world = World::new().await;
    let issued = world.issue(world.ada).await;
    let phone = SoftPhone::new();
    let answer = world.activate(&phone, &issued.code).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.json["account"]["id"], world.ada.to_string());
    assert_eq!(answer.json["account"]["user"], "ada");
    assert_eq!(answer.json["account"]["organization"], "Example Ltd");
    assert_eq!(answer.json["server"]["origin"], "https://mfa.example.com");
    assert_eq!(answer.json["state"], "active");
    assert_eq!(answer.json["totp"]["algorithm"], "SHA1");
    assert_eq!((answer.json["totp"]["digits"].as_u64(), answer.json["totp"]["period"].as_u64()), (Some(6), Some(30)));

    let issued = world.issue(world.ada).await;
    let second = SoftPhone::new();
    let answer = world.send(&second, "POST", "activations", second.activation_by_qr(&issued.qr)).await;
    assert_eq!(answer.status, 201);
    assert_eq!(world.get(&second, "challenges").await.status, 200);

    let issued = world.records("activation.issued").await;
    assert!(issued.iter().all(|record| record.actor == "admin" && record.user_id == Some(world.ada.to_string())));
    let redeemed = world.records("activation.redeemed").await;
    assert_eq!((issued.len(), redeemed.len()), (2, 2));
    assert_eq!(redeemed[1].device.as_deref(), answer.json["device_id"].as_str());
    assert_eq!(redeemed[1].source.as_deref(), Some(&b"192.0.2.1"[..]));
    assert_eq!(redeemed[1].source_trust.as_deref(), Some("verified"));
    assert!(redeemed[1].detail.as_deref().unwrap().contains("Ada's phone"));
    assert!(issued.iter().chain(&redeemed).all(|record| record.user_typed.as_deref() == Some(b"ada")));
}

#[tokio::test]
async fn s31_the_sixth_guess_is_refused_even_if_it_is_right() {
    let world = World::new().await;
    let issued = world.issue(world.ada).await;
    let phone = SoftPhone::new();
    for guess in 0..5 {
        let answer = world.activate(&phone, &wrong(&issued.code, guess)).await;
        assert_eq!(answer.short(), "404 activation_unknown");
    }
    assert_eq!(world.activate(&phone, &issued.code).await.short(), "404 activation_unknown");
    let by_qr = world.send(&phone, "POST", "activations", phone.activation_by_qr(&issued.qr)).await;
    assert_eq!(by_qr.short(), "404 activation_unknown");
    let refused = world.records("activation.refused").await;
    assert!(refused.iter().all(|record| record.user_typed.as_deref() == Some(b"ada")));
    let reasons: Vec<_> = refused.into_iter().map(|record| record.reason.unwrap()).collect();
    assert_eq!(reasons, [&["secret_wrong"; 5][..], &["burnt"; 2]].concat());
    assert_eq!(world.records("alert").await[0].reason.as_deref(), Some("activation_guessed"));
}

#[tokio::test]
async fn s31_four_wrong_guesses_are_forgiven() {
    let world = World::new().await;
    let issued = world.issue(world.ada).await;
    let phone = SoftPhone::new();
    for guess in 0..4 {
        world.activate(&phone, &wrong(&issued.code, guess)).await;
    }
    assert_eq!(world.activate(&phone, &issued.code).await.status, 201);
}

#[tokio::test]
async fn s31_a_code_is_no_longer_good_a_second_after_its_time() {
    let world = World::new().await;
    let issued = world.issue(world.ada).await;
    world.site.clock.advance(Duration::from_secs(601));
    assert_eq!(world.activate(&SoftPhone::new(), &issued.code).await.short(), "404 activation_unknown");
    let issued = world.issue(world.ada).await;
    world.site.clock.advance(Duration::from_secs(599));
    assert_eq!(world.activate(&SoftPhone::new(), &issued.code).await.status, 201);
}

#[tokio::test]
async fn s31_a_newer_activation_burns_the_older() {
    let world = World::new().await;
    let (older, newer) = (world.issue(world.ada).await, world.issue(world.ada).await);
    assert_eq!(world.activate(&SoftPhone::new(), &older.code).await.short(), "404 activation_unknown");
    assert_eq!(world.activate(&SoftPhone::new(), &newer.code).await.status, 201);
}

#[tokio::test]
async fn s31_a_source_has_ten_tries_a_minute_and_c043_cannot_invent_another() {
    let world = World::behind(&["10.0.0.0/8"]).await;
    let phone = SoftPhone::new();
    let code = ActivationCode::from_bytes([9; 8]);
    let try_from = async |peer: &str, forwarded: &str| {
        let body = phone.activation_by_code(&code);
        let mut request = world.request(&phone, "POST", "activations", body);
        let peer: std::net::SocketAddr = peer.parse().unwrap();
        request.extensions_mut().insert(axum::extract::ConnectInfo(peer));
        request.headers_mut().insert("x-forwarded-for", forwarded.parse().unwrap());
        world.call(request).await
    };
    for number in 0..10 {
        let answer = try_from(PEER, &format!("203.0.113.{number}")).await;
        assert_eq!(answer.short(), "404 activation_unknown");
    }
    let limited = try_from(PEER, "203.0.113.99").await;
    assert_eq!(limited.short(), "429 too_many_attempts");
    assert_eq!(limited.headers["retry-after"], "60");
    // The proxy's word counts, from the right.
    for number in 0..10 {
        let answer = try_from("10.0.0.1:1", &format!("203.0.113.{number}, 198.51.100.7")).await;
        assert_eq!(answer.short(), "404 activation_unknown");
    }
    assert_eq!(try_from("10.0.0.1:1", "203.0.113.99, 198.51.100.7").await.short(), "429 too_many_attempts");
    assert_eq!(try_from("10.0.0.1:1", "198.51.100.8").await.short(), "404 activation_unknown");
    world.site.clock.advance(Duration::from_secs(60));
    assert_eq!(try_from(PEER, "").await.short(), "404 activation_unknown");
}

#[tokio::test]
async fn s31_c119_used_twice_at_once_a_code_makes_one_device() {
    let world = World::new().await;
    for round in 0..5 {
        let user = world.site.user(&format!("user{round}"), None).await;
        let issued = world.issue(user).await;
        let phones: Vec<_> = (0..8).map(|_| SoftPhone::new()).collect();
        let tries = phones.iter().enumerate().map(async |(number, phone)| {
            world.activate_from(&format!("198.51.{round}.{number}:1"), phone, &issued.code).await.status.as_u16()
        });
        let mut answers = join_all(tries).await;
        answers.sort_unstable();
        assert_eq!(answers, [&[201][..], &[404; 7]].concat());
        assert_eq!(world.site.desk.store().snapshot(user).await.unwrap().unwrap().devices.len(), 1);
    }
}

#[tokio::test]
async fn c119_a_second_key_with_the_right_secret_suspends_the_device_and_alerts() {
    let world = World::new().await;
    let issued = world.issue(world.ada).await;
    let mut phone = SoftPhone::new();
    let answer = world.activate(&phone, &issued.code).await;
    phone.account = Some(serde_json::from_value(answer.json).unwrap());
    assert_eq!(world.get(&phone, "challenges").await.status, 200);

    let thief = SoftPhone::new();
    assert_eq!(world.activate(&thief, &issued.code).await.short(), "404 activation_unknown");
    assert_eq!(world.get(&phone, "challenges").await.short(), "403 device_removed");
    assert_eq!(world.get(&thief, "challenges").await.short(), "401 device_unknown");
    let suspended = world.records("device.suspended").await;
    assert_eq!(suspended[0].device, Some(World::id(&phone).to_string()));
    assert_eq!(suspended[0].reason.as_deref(), Some("activation_shared"));
    assert_eq!(world.records("alert").await[0].reason.as_deref(), Some("activation_shared"));
    assert_eq!(world.records("activation.refused").await[0].reason.as_deref(), Some("used"));

    // Once is enough.
    world.activate(&thief, &issued.code).await;
    assert_eq!((world.records("device.suspended").await.len(), world.records("alert").await.len()), (1, 1));
}

#[tokio::test]
async fn c119_after_its_time_a_second_key_is_only_recorded() {
    let world = World::new().await;
    let issued = world.issue(world.ada).await;
    let phone = SoftPhone::new();
    assert_eq!(world.activate(&phone, &issued.code).await.status, 201);
    world.site.clock.advance(Duration::from_secs(600));
    assert_eq!(world.activate(&SoftPhone::new(), &issued.code).await.short(), "404 activation_unknown");
    assert_eq!(world.get(&phone, "challenges").await.status, 200);
    assert_eq!(world.records("activation.refused").await.len(), 1);
    assert!(world.records("alert").await.is_empty());
}

#[tokio::test]
async fn a_lost_answer_is_given_again_until_the_device_has_made_a_request() {
    let world = World::new().await;
    let issued = world.issue(world.ada).await;
    let phone = SoftPhone::new();
    let first = world.activate(&phone, &issued.code).await;
    let mut again = world.send(&phone, "POST", "activations", phone.activation_by_qr(&issued.qr)).await;
    assert_eq!(again.status, 201);
    again.json["server"]["time"] = first.json["server"]["time"].clone();
    assert_eq!(again.json, first.json);
    assert_eq!(world.get(&phone, "challenges").await.status, 200);
    assert_eq!(world.activate(&phone, &issued.code).await.short(), "404 activation_unknown");
    // Its own key is no alarm.
    assert!(world.records("device.suspended").await.is_empty());
    assert_eq!(world.get(&phone, "challenges").await.status, 200);
}

#[tokio::test]
async fn s34_a_key_belongs_to_one_device_for_ever() {
    let world = World::new().await;
    let phone = world.phone(world.ada).await;
    let bob = world.site.user("bob", None).await;
    let issued = world.issue(bob).await;
    assert_eq!(world.activate(&phone, &issued.code).await.short(), "409 key_already_known");
    assert_eq!(world.send(&phone, "DELETE", "device", "").await.short(), "204");
    assert_eq!(world.activate(&phone, &issued.code).await.short(), "409 key_already_known");
    // The activation is as good as before.
    assert_eq!(world.activate(&SoftPhone::new(), &issued.code).await.status, 201);
}

#[tokio::test]
async fn s34_a_key_must_be_on_p256_and_be_proven() {
    use countersign_device_protocol::{encoding::encode, keys::sha256};
    let world = World::new().await;
    let issued = world.issue(world.ada).await;
    let (mine, theirs) = (SoftPhone::new(), SoftPhone::new());
    let body = mine.activation_by_code(&issued.code);
    let forge = |jwk: serde_json::Value| {
        let header = serde_json::json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk});
        let claims = serde_json::json!({
            "htm": "POST", "htu": "https://mfa.example.com/device/v1/activations", "iat": world.now(), "jti": "x",
            "nonce": world.api.nonce(), "bh": encode(&sha256(&body)),
        });
        let input = format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
        let signature = mine.key.sign(input.as_bytes(), &aws_lc_rs::rand::SystemRandom::new()).unwrap();
        format!("{input}.{signature}")
    };
    let other = serde_json::to_value(theirs.public()).unwrap();
    let mut off_curve = serde_json::to_value(mine.public()).unwrap();
    off_curve["y"] = off_curve["x"].clone();
    let mut private = serde_json::to_value(mine.public()).unwrap();
    private["d"] = serde_json::Value::Null;
    let rsa = serde_json::json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"});
    for jwk in [other, off_curve, private, rsa] {
        let request = World::with_proof("POST", "/device/v1/activations", &body, &forge(jwk));
        assert_eq!(world.call(request).await.short(), "401 proof_invalid");
    }
    let good = forge(serde_json::to_value(mine.public()).unwrap());
    let answer = world.call(World::with_proof("POST", "/device/v1/activations", &body, &good)).await;
    assert_eq!(answer.status, 201);
}

#[tokio::test]
async fn the_sixth_device_is_one_too_many() {
    let world = World::new().await;
    let mut phones = Vec::new();
    for _ in 0..5 {
        phones.push(world.phone(world.ada).await);
    }
    let issued = world.issue(world.ada).await;
    let sixth = SoftPhone::new();
    assert_eq!(world.activate(&sixth, &issued.code).await.short(), "409 device_limit");
    world.send(&phones[0], "DELETE", "device", "").await;
    assert_eq!(world.activate(&sixth, &issued.code).await.status, 201);
}

#[tokio::test]
async fn s04_an_activation_has_what_the_page_names_and_nothing_else() {
    let world = World::new().await;
    let issued = world.issue(world.ada).await;
    let code = issued.code.expose();
    let device = r#""device":{"name":"a","platform":"b"}"#;
    for body in [
        format!(r#"{{"code":"{code}",{device},"push":null,"account":"admin"}}"#),
        format!(r#"{{"code":"{code}",{device}}}"#),
        format!(r#"{{"code":"{code}","code":"{code}",{device},"push":null}}"#),
        format!(r#"{{"code":"{code}","token":"AAAAAAAAAAAAAAAAAAAAAA",{device},"push":null}}"#),
        format!(r#"{{"code":null,{device},"push":null}}"#),
        format!(r#"{{"code":"{code}","device":{{"name":"a","platform":"b","id":"x"}},"push":null}}"#),
        format!(r#"{{"code":"{code}",{device},"push":{{"endpoint":"http://x","p256dh":"","auth":""}}}}"#),
        String::new(),
        "[]".to_owned(),
    ] {
        let answer = world.send(&SoftPhone::new(), "POST", "activations", body.clone()).await;
        assert_eq!(answer.short(), "400 malformed", "{body}");
        assert!(!answer.json.to_string().contains(code));
        world.site.clock.advance(Duration::from_secs(10));
    }
    assert_eq!(world.activate(&SoftPhone::new(), &issued.code).await.status, 201);
}

#[tokio::test]
async fn s15_a_disabled_user_gets_no_device() {
    let world = World::new().await;
    let issued = world.issue(world.ada).await;
    world.site.disable(world.ada).await;
    assert_eq!(world.activate(&SoftPhone::new(), &issued.code).await.short(), "403 account_disabled");
    world.site.write(Write::SetUserEnabled { id: world.ada, enabled: true }).await;
    assert_eq!(world.activate(&SoftPhone::new(), &issued.code).await.status, 201);
}

#[tokio::test]
async fn s31_the_secret_is_in_no_url_and_no_answer() {
    let world = World::new().await;
    let issued = world.issue(world.ada).await;
    let token = issued.token.expose();
    let (address, fragment) = issued.qr.split_once('#').unwrap();
    assert!(fragment.contains(&**token) && !address.contains(&**token));
    let answer = world.activate(&SoftPhone::new(), &wrong(&issued.code, 1)).await;
    assert!(!answer.json.to_string().contains(issued.code.handle()));
    // The path that a scanned code opens in a browser is the app's business, not the API's.
    let opened = world.call(World::from(Request::get("/device/v1/activate"), PEER, Vec::new())).await;
    assert_eq!(opened.short(), "404 not_found");
}

#[tokio::test]
async fn s24_s31_neither_seed_nor_code_nor_token_nor_key_is_in_the_database() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, entropy) = (Arc::new(FakeClock::default()), Arc::new(SeededEntropy::new(9)));
    let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) = (clock, entropy);
    let vault = Arc::new(Vault::from_key(&[7; 32]).unwrap());
    let open = async || {
        let options = Options::new(clock.clone(), entropy.clone());
        let location = Location::File(folder.path().join("countersign.db"));
        Arc::new(SqliteStore::open(location, vault.clone(), options).await.unwrap())
    };
    let api_over = async |desk: &Arc<Desk>| {
        let origin = Origin::parse("https://mfa.example.com").unwrap();
        DeviceApi::new(desk.clone(), origin, "Example Ltd".to_owned(), vault.clone(), Vec::new(), Services::on())
            .await
            .unwrap()
    };
    let desk = Desk::open(open().await, clock.clone(), entropy.clone(), DeskConfig::default()).await.unwrap();
    let api = api_over(&desk).await;
    let ada = UserId::new(clock.now(), &*entropy);
    let user = User {
        id: ada,
        origin: UserOrigin::Local,
        name: LoginName::new("ada").unwrap(),
        display_name: "Ada".to_owned(),
        enabled: true,
        held: None,
        password: None,
        created_at: clock.now(),
    };
    let commit = countersign_domain::Commit { writes: vec![Write::AddUser(user)], audit: Vec::new() };
    desk.write(commit).await.unwrap();
    let key = api.signing_thumbprint();
    let issued =
        issue_activation(&desk, &vault, api.origin(), key, ada, Duration::from_secs(600), "admin").await.unwrap();
    let phone = SoftPhone::new();
    let body = phone.activation_by_code(&issued.code);
    let path = "/device/v1/activations";
    let proof = phone.proof(api.origin(), "POST", path, &body, clock.now().as_seconds(), Some(&api.nonce()));
    let request = Request::post(path).header("DPoP", proof);
    let response =
        tower::ServiceExt::oneshot(super::router(api.clone()), World::from(request, PEER, body)).await.unwrap();
    assert_eq!(response.status(), 201);
    let answer = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();

    let seed = answer["totp"]["secret"].as_str().unwrap();
    let octets = data_of(seed);
    assert_eq!(octets.len(), 20, "160 bits");
    let (signing, push) = (secret_of(&desk, "signing_key").await, secret_of(&desk, "push_key").await);
    assert!(SigningKey::from_pkcs8(&signing).is_ok() && SigningKey::from_pkcs8(&push).is_ok());
    // The private part of a PKCS#8 document of P-256 begins at octet 36.
    let private = [signing[36..68].to_vec(), push[36..68].to_vec()];
    let secrets = [
        seed.as_bytes().to_vec(),
        octets.clone(),
        hex(&octets).into_bytes(),
        issued.code.expose_secret().as_bytes().to_vec(),
        issued.token.expose().as_bytes().to_vec(),
        issued.token.expose_bytes().to_vec(),
        private[0].clone(),
        private[1].clone(),
    ];
    let look = |secrets: &[Vec<u8>]| {
        for (name, content) in files(folder.path()) {
            for secret in secrets {
                assert!(!content.windows(secret.len()).any(|window| window == secret), "{name}: {secret:02x?}");
            }
        }
    };
    look(&secrets);
    desk.store().close().await;
    drop((api, desk));
    look(&secrets);

    // After a restart the keys are the same.
    let desk = Desk::open(open().await, clock.clone(), entropy.clone(), DeskConfig::default()).await.unwrap();
    assert_eq!(api_over(&desk).await.signing_thumbprint(), key);
}

async fn secret_of(desk: &Desk, name: &'static str) -> Vec<u8> {
    let fresh = countersign_domain::Secret::new(b"not used".to_vec());
    desk.store().server_secret(name, fresh).await.unwrap().expose().to_vec()
}

fn data_of(base32: &str) -> Vec<u8> {
    let secret: countersign_device_protocol::messages::TotpSecret =
        serde_json::from_value(serde_json::Value::from(base32)).unwrap();
    secret.to_bytes().unwrap().to_vec()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |text, octet| format!("{text}{octet:02x}"))
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.display().to_string(), std::fs::read(path).unwrap())).collect()
}
