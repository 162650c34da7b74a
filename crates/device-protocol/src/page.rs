//! The page `docs/reference/device-protocol.md` against the code: its examples can be read, its vectors come out.

use std::collections::BTreeMap;
use std::fmt::Write;

use data_encoding::HEXLOWER;
use serde::de::DeserializeOwned;

use crate::code::{ActivationCode, ActivationLink, ActivationToken};
use crate::encoding::encode;
use crate::fixtures::{Scene, device_key, next_key, server_key};
use crate::ids::{DeviceTime, Number, WindowId};
use crate::keys::{PublicKey, Signature, sha256};
use crate::messages::{
    ActivationAnswer, ActivationRequest, Applications, Challenge, ChallengeClosed, ChallengeStateAnswer, Challenges,
    ContextDocument, Decision, DecisionAnswer, DecisionRequest, DevicePatch, History, NumberMode, PushMessage,
    PushSubscription, ServerInfo, UserVerification, UserVerificationReached, WindowAnswer, WindowClosed, WindowRequest,
    WindowStateAnswer,
};
use crate::problem::Problem;
use crate::proof::{NewProof, Request};
use crate::signed::{SignedChallenge, SignedDecision, SignedWindow, endorsement_octets};
use crate::webauthn::{Assertion, NewCredential, Registration, assertion_challenge};

const PAGE: &str = include_str!("../../../docs/reference/device-protocol.md");

/// The page's code blocks: the words behind the three backticks, and the text.
fn blocks() -> Vec<(&'static str, &'static str)> {
    PAGE.split("\n```").skip(1).step_by(2).map(|block| block.split_once('\n').unwrap()).collect()
}

/// One vector: its value, and for a signature the key and what is signed.
enum Vector {
    Value(String),
    Signature(PublicKey, Vec<u8>),
}

fn vectors() -> Vec<(&'static str, Vector)> {
    let scene = Scene::new();
    let (device, server) = (device_key(), server_key());
    let (device, server) = (device.public(), server.public());
    let number = Number::new("042137").unwrap();
    let challenge = SignedChallenge {
        subject: scene.subject(),
        number_mode: NumberMode::Typed,
        user_verification: UserVerification::None,
    };
    let decision = SignedDecision {
        subject: scene.subject(),
        decision: Decision::Verify,
        number: Some(&number),
        number_mode: NumberMode::Typed,
        user_verification: UserVerificationReached::None,
        device_time: &scene.device_time,
    };
    let verified = SignedDecision { user_verification: UserVerificationReached::WebAuthn, ..decision };
    let denial_time = DeviceTime::new("2026-01-31T09:05:09Z").unwrap();
    let denial = SignedDecision { decision: Decision::DenyReport, number: None, device_time: &denial_time, ..decision };
    let window_id = WindowId::from_bytes(*b"window id 000001");
    let window = SignedWindow {
        party: scene.party(),
        window: &window_id,
        application: &scene.application,
        user_verification: UserVerificationReached::None,
        device_time: &scene.device_time,
    };
    let endorsement = endorsement_octets(&next_key().thumbprint());
    let code = ActivationCode::from_bytes([0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
    let link = ActivationLink {
        origin: scene.origin.clone(),
        token: ActivationToken::from_bytes(*b"activation token"),
        key: server.thumbprint(),
    };
    let body = r#"{"name":"Ada's phone"}"#;
    let proof = NewProof {
        request: Request { method: "PATCH", htu: "https://mfa.example.com/device/v1/device", body: body.as_bytes() },
        iat: 1_769_850_307,
        jti: "anRpIG51bWJlciAwMDAwMQ",
        nonce: Some("a-nonce-as-the-server-gave-it"),
    };
    let empty = NewProof {
        request: Request { method: "GET", htu: "https://mfa.example.com/device/v1/challenges", body: b"" },
        jti: "anRpIG51bWJlciAwMDAwMg",
        ..proof
    };
    let proof = proof.signing_input(device).unwrap();
    let empty = empty.signing_input(device).unwrap();

    let text = |text: &str| Vector::Value(text.to_owned());
    let hex = |octets: &[u8]| Vector::Value(HEXLOWER.encode(octets));
    let signed = |key: &PublicKey, octets: &[u8]| Vector::Signature(key.clone(), octets.to_vec());
    vec![
        ("device_jwk", text(&device.to_jwk())),
        ("device_thumbprint", text(&device.thumbprint().to_string())),
        ("server_jwk", text(&server.to_jwk())),
        ("server_thumbprint", text(&server.thumbprint().to_string())),
        ("next_server_jwk", text(&next_key().to_jwk())),
        ("next_server_thumbprint", text(&next_key().thumbprint().to_string())),
        ("code_random", hex(&[0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef])),
        ("code_shown", text(&code.expose_grouped())),
        ("code_sent", text(code.expose())),
        ("qr_text", text(&link.expose())),
        ("origin", text(scene.origin.as_str())),
        ("deployment_id", text(scene.deployment.as_str())),
        ("account_id", text(scene.account.as_str())),
        ("device_id", text(scene.device.as_str())),
        ("challenge_id", text(scene.challenge.as_str())),
        ("nonce", text(&scene.nonce.to_string())),
        ("application_id", text(scene.application.as_str())),
        ("context_text", text(str::from_utf8(&scene.context).unwrap())),
        ("context", text(&encode(&scene.context))),
        ("context_sha256", hex(&sha256(&scene.context))),
        ("challenge_octets", hex(&challenge.octets())),
        ("challenge_signature", signed(server, &challenge.octets())),
        ("decision_octets", hex(&decision.octets())),
        ("decision_signature", signed(device, &decision.octets())),
        ("webauthn_decision_octets", hex(&verified.octets())),
        ("webauthn_challenge", text(&encode(&assertion_challenge(&verified.octets())))),
        ("denial_octets", hex(&denial.octets())),
        ("denial_signature", signed(device, &denial.octets())),
        ("window_octets", hex(&window.octets())),
        ("window_signature", signed(device, &window.octets())),
        ("endorsement_octets", hex(&endorsement)),
        ("endorsement_signature", signed(server, &endorsement)),
        ("proof_body", text(body)),
        ("proof_input", text(&proof)),
        ("proof_signature", signed(device, proof.as_bytes())),
        ("proof_empty_input", text(&empty)),
        ("proof_empty_signature", signed(device, empty.as_bytes())),
    ]
}

/// When this fails, the page or the code is wrong. The message holds the vectors as the code makes them; signatures stay
/// as they are on the page, since they are not the same each time, and are verified.
#[test]
fn s03_the_vectors_of_the_page_come_out() {
    let text =
        blocks().into_iter().find(|(words, _)| *words == "text vectors").map(|(_, text)| text).unwrap_or_default();
    let page: Vec<(&str, &str)> = text.lines().map(|line| line.split_once(" = ").unwrap()).collect();
    let on_page: BTreeMap<_, _> = page.iter().copied().collect();
    let mut wrong = Vec::new();
    let mut right = String::new();
    for (name, vector) in vectors() {
        let found = on_page.get(name).copied().unwrap_or_default();
        let good = match vector {
            Vector::Value(value) => {
                writeln!(right, "{name} = {value}").unwrap();
                value == found
            }
            Vector::Signature(key, octets) => {
                writeln!(right, "{name} = {found}").unwrap();
                Signature::parse(found).is_ok_and(|signature| key.verify(&octets, &signature).is_ok())
            }
        };
        if !good {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "wrong on the page: {wrong:?}; by the code:\n{right}");
    let names: Vec<_> = vectors().into_iter().map(|(name, _)| name).collect();
    assert_eq!(page.into_iter().map(|(name, _)| name).collect::<Vec<_>>(), names);
}

fn read<T: DeserializeOwned>(json: &str) {
    if let Err(error) = serde_json::from_str::<T>(json) {
        panic!("{} cannot be read: {error}\n{json}", std::any::type_name::<T>());
    }
}

#[test]
fn the_examples_of_the_page_can_be_read() {
    let mut seen = 0;
    for (words, json) in blocks() {
        let Some(kind) = words.strip_prefix("json ") else { continue };
        seen += 1;
        match kind {
            "server" => read::<ServerInfo>(json),
            "activation" => read::<ActivationRequest>(json),
            "activation-answer" => read::<ActivationAnswer>(json),
            "challenges" => read::<Challenges>(json),
            "challenge" => read::<Challenge>(json),
            "context" => read::<ContextDocument>(json),
            "challenge-state" => read::<ChallengeStateAnswer>(json),
            "challenge-closed" => read::<ChallengeClosed>(json),
            "decision" => read::<DecisionRequest>(json),
            "decision-answer" => read::<DecisionAnswer>(json),
            "registration" => read::<Registration>(json),
            "credential" => read::<NewCredential>(json),
            "assertion" => read::<Assertion>(json),
            "push" => read::<PushSubscription>(json),
            "push-message" => read::<PushMessage>(json),
            "device" => read::<DevicePatch>(json),
            "history" => read::<History>(json),
            "applications" => read::<Applications>(json),
            "window" => read::<WindowRequest>(json),
            "window-answer" => read::<WindowAnswer>(json),
            "window-closed" => read::<WindowClosed>(json),
            "window-state" => read::<WindowStateAnswer>(json),
            "problem" => read::<Problem>(json),
            other => panic!("no type for the example {other}"),
        }
    }
    assert!(seen >= 15, "{seen} examples found");
}

/// The challenge and the decision that the page shows as examples belong together, and their signatures verify.
#[test]
fn s03_the_challenge_of_the_page_opens_and_its_decision_verifies() {
    let block = |kind: &str| blocks().into_iter().find(|(words, _)| *words == kind).unwrap().1;
    let scene = Scene::new();
    let challenge: Challenge = serde_json::from_str(block("json challenge")).unwrap();
    let context = challenge.open(scene.party(), server_key().public()).unwrap();
    let decision: DecisionRequest = serde_json::from_str(block("json decision")).unwrap();
    let subject = challenge.subject(scene.party(), &context.application.id);
    assert_eq!(decision.verify(subject, challenge.number_mode, device_key().public()), Ok(()));
    let window: WindowRequest = serde_json::from_str(block("json window")).unwrap();
    assert_eq!(window.verify(scene.party(), device_key().public()), Ok(()));
}
