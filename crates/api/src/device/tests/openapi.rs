//! `docs/reference/device-v1.openapi.json` against the router, the types, the page and real answers: none can change alone.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use countersign_device_protocol::{
    messages::{
        ActivationRequest, ChallengeState, ClosingState, Decision, DecisionRequest, DevicePatch, HistoryFactor,
        NumberMode, PushSubscription, TotpAlgorithm, UserVerification, UserVerificationReached, WindowRequest,
        WindowState,
    },
    problem::ErrorCode,
    webauthn::{Assertion, NewCredential},
};
use countersign_testkit::SoftPhone;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::World;
use crate::device::ROUTES;

const DOCUMENT: &str = include_str!("../../../../../docs/reference/device-v1.openapi.json");
const PAGE: &str = include_str!("../../../../../docs/reference/device-protocol.md");
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

fn document() -> Value {
    serde_json::from_str(DOCUMENT).unwrap()
}

fn schema(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// What is wrong with a value, by the part of JSON Schema that the document uses. Members that a schema does not name are
/// wrong as well: what is sent must be described.
fn faults(document: &Value, schema: &Value, value: &Value, at: &str, out: &mut Vec<String>) {
    if let Some(to) = schema["$ref"].as_str() {
        let target = document.pointer(to.strip_prefix('#').unwrap()).unwrap_or_else(|| panic!("{to} is not there"));
        return faults(document, target, value, at, out);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => vec![kind],
    };
    if !kinds.contains(&kind) {
        return out.push(format!("{at} is {kind}, not {kinds:?}"));
    }
    if schema.get("const").is_some_and(|wanted| wanted != value)
        || schema["enum"].as_array().is_some_and(|words| !words.contains(value))
    {
        out.push(format!("{at}: {value} is not foreseen"));
    }
    if let Some(text) = value.as_str() {
        let length = u64::try_from(text.chars().count()).unwrap();
        if schema["minLength"].as_u64().is_some_and(|least| length < least)
            || schema["maxLength"].as_u64().is_some_and(|most| length > most)
        {
            out.push(format!("{at} has {length} characters"));
        }
    }
    if let Some(required) = schema["required"].as_array() {
        let missing = required.iter().filter_map(Value::as_str).filter(|name| value.get(name).is_none());
        out.extend(missing.map(|name| format!("{at}/{name} is missing")));
    }
    if let (Some(known), Some(members)) = (schema["properties"].as_object(), value.as_object()) {
        for (name, member) in members {
            match known.get(name) {
                Some(schema) => faults(document, schema, member, &format!("{at}/{name}"), out),
                None => out.push(format!("{at}/{name} is not described")),
            }
        }
    }
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        for value in values {
            faults(document, items, value, &format!("{at}[]"), out);
        }
    }
    if let Some(ways) = schema["oneOf"].as_array() {
        let fits = ways.iter().filter(|way| {
            let mut out = Vec::new();
            faults(document, way, value, at, &mut out);
            out.is_empty()
        });
        let fits = fits.count();
        if fits != 1 {
            out.push(format!("{at}: {value} fits {fits} of the ways"));
        }
    }
}

fn check(name: &str, value: &Value) {
    let mut out = Vec::new();
    faults(&document(), &schema(name), value, name, &mut out);
    assert!(out.is_empty(), "{out:?} in {value}");
}

/// Path, method and description of all operations.
fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let each = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().iter();
        methods.map(move |(method, operation)| (path.clone(), method.to_ascii_uppercase(), operation))
    });
    each.collect()
}

#[tokio::test]
async fn the_document_has_the_paths_and_methods_of_the_router() {
    let document = document();
    let routed: BTreeSet<String> = ROUTES.iter().map(|(path, _)| format!("/device/v1{path}")).collect();
    assert_eq!(document["paths"].as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>(), routed);
    let described: BTreeSet<(String, String)> =
        operations(&document).into_iter().map(|(path, method, _)| (path, method)).collect();
    let world = World::new().await;
    let mut taken = BTreeSet::new();
    for path in &routed {
        for method in METHODS {
            let asked = path.replace("{id}", "Y2hhbGxlbmdlIGlkIDAwMQ");
            let answer = world.call(World::with_proof(method, &asked, b"", "none")).await;
            if answer.status != 405 {
                taken.insert((path.clone(), method.to_owned()));
                let open = answer.status == 200;
                let says_open = document["paths"][path][method.to_ascii_lowercase()]["security"] == json!([]);
                assert_eq!(open, says_open, "{method} {path}: whether it needs a proof");
            }
        }
    }
    assert_eq!(taken, described);
}

#[test]
fn the_document_has_the_paths_and_codes_of_the_page() {
    let page = PAGE.split_whitespace().collect::<Vec<_>>().join(" ");
    let document = document();
    for (path, method, operation) in operations(&document) {
        assert!(page.contains(&format!("{method} {path}`")), "{method} {path} is not on the page");
        for (status, answer) in operation["responses"].as_object().unwrap() {
            let status: u16 = status.parse().unwrap();
            if status < 400 {
                continue;
            }
            let problem = &answer["content"]["application/problem+json"]["schema"];
            assert_eq!(*problem, schema("Problem"), "{method} {path} {status}");
            for code in answer["description"].as_str().unwrap().split(", ") {
                let code = ErrorCode::from_text(code.trim_matches('`')).unwrap_or_else(|| panic!("{code}: no code"));
                assert_eq!(code.status(), status, "{method} {path} {code:?}");
            }
        }
    }
    let codes: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"], json!(codes));
    for code in ErrorCode::ALL {
        let row = format!("| {} | `{}` |", code.status(), code.as_str());
        assert!(page.contains(&row), "the page has no row {row}");
    }
}

/// The examples of the page by kind.
fn examples() -> BTreeMap<&'static str, Vec<Value>> {
    let mut out: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for block in PAGE.split("\n```json ").skip(1) {
        let (kind, rest) = block.split_once('\n').unwrap();
        let (text, _) = rest.split_once("\n```").unwrap();
        out.entry(kind).or_default().push(serde_json::from_str(text).unwrap());
    }
    out
}

#[test]
fn the_examples_of_the_page_are_as_the_document_says() {
    let names = BTreeMap::from([
        ("server", "ServerInfo"),
        ("activation", "ActivationRequest"),
        ("activation-answer", "ActivationAnswer"),
        ("challenges", "Challenges"),
        ("challenge", "Challenge"),
        ("context", "Context"),
        ("challenge-state", "ChallengeState"),
        ("challenge-closed", "ChallengeClosed"),
        ("decision", "DecisionRequest"),
        ("decision-answer", "DecisionAnswer"),
        ("registration", "Registration"),
        ("credential", "NewCredential"),
        ("assertion", "Assertion"),
        ("push", "PushSubscription"),
        ("push-message", "PushMessage"),
        ("device", "DevicePatch"),
        ("history", "History"),
        ("applications", "Applications"),
        ("window", "WindowRequest"),
        ("window-answer", "WindowAnswer"),
        ("window-closed", "WindowClosed"),
        ("window-state", "WindowState"),
        ("problem", "Problem"),
    ]);
    let examples = examples();
    assert_eq!(
        examples.keys().collect::<Vec<_>>(),
        names.keys().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    );
    for (kind, values) in examples {
        for value in &values {
            check(names[kind], value);
        }
    }
}

/// A request of the page is taken; without a member that the document requires, or with one more, it is not.
fn held_by_the_type<T: DeserializeOwned>(name: &str, example: &Value) {
    let reads = |value: &Value| serde_json::from_str::<T>(&value.to_string()).is_ok();
    assert!(reads(example), "{name}");
    let schema = &document()["components"]["schemas"][name];
    assert_eq!(schema["additionalProperties"], json!(false), "{name}");
    let mut more = example.clone();
    more["more"] = json!(1);
    assert!(!reads(&more), "{name}: an unknown member is taken");
    for required in schema["required"].as_array().unwrap() {
        let mut less = example.clone();
        less.as_object_mut().unwrap().remove(required.as_str().unwrap());
        assert!(!reads(&less), "{name}: {required} may be missing");
    }
}

#[test]
fn requests_are_as_strict_as_the_document_says() {
    let examples = examples();
    held_by_the_type::<ActivationRequest>("ActivationRequest", &examples["activation"][0]);
    held_by_the_type::<DecisionRequest>("DecisionRequest", &examples["decision"][0]);
    held_by_the_type::<PushSubscription>("PushSubscription", &examples["push"][0]);
    held_by_the_type::<NewCredential>("NewCredential", &examples["credential"][0]);
    held_by_the_type::<Assertion>("Assertion", &examples["assertion"][0]);
    held_by_the_type::<DevicePatch>("DevicePatch", &examples["device"][0]);
    held_by_the_type::<WindowRequest>("WindowRequest", &examples["window"][0]);
}

#[test]
fn the_words_of_the_document_are_those_of_the_types() {
    let document = document();
    macro_rules! words {
        ($($type:ident at $path:literal),* $(,)?) => {
            $({
                let words: Vec<&str> = $type::ALL.iter().map(|word| word.as_str()).collect();
                let described = document.pointer(concat!("/components/schemas/", $path, "/enum")).unwrap();
                assert_eq!(*described, json!(words), $path);
            })*
        };
    }
    words!(
        ChallengeState at "ChallengeState/properties/state",
        ClosingState at "ClosingState",
        Decision at "DecisionRequest/properties/decision",
        NumberMode at "Challenge/properties/number_mode",
        TotpAlgorithm at "Totp/properties/algorithm",
        UserVerification at "Challenge/properties/user_verification",
        UserVerificationReached at "Reached",
        HistoryFactor at "History/properties/logins/items/properties/factor",
        WindowState at "WindowState/properties/state",
        WindowState at "WindowClosed/properties/state",
    );
}

#[tokio::test]
async fn real_answers_are_as_the_document_says() {
    let mut world = World::new().await;
    let issued = world.issue(world.ada).await;
    let mut phone = SoftPhone::new();
    let body = phone.activation_by_code(&issued.code);
    let activated = world.send(&phone, "POST", "activations", body).await;
    check("ActivationAnswer", &activated.json);
    phone.account = serde_json::from_value(activated.json).ok();
    check("ServerInfo", &world.get(&phone, "server").await.json);
    check("Registration", &world.send(&phone, "POST", "webauthn/registrations", "").await.json);
    let challenge = world.asked(&phone).await;
    let waiting = world.get(&phone, "challenges").await.json;
    check("Challenges", &waiting);
    check("Context", &serde_json::from_slice(challenge.context.as_bytes()).unwrap());
    check("ChallengeState", &world.get(&phone, &format!("challenges/{}", challenge.id)).await.json);
    check("DecisionAnswer", &world.decide(&phone, &challenge, Decision::Verify).await.json);
    world.verdict().await;
    check("Problem", &world.decide(&phone, &challenge, Decision::Deny).await.json);
    check("History", &world.get(&phone, "history").await.json);
    check("Applications", &world.get(&phone, "applications").await.json);
    world.resource = world.site.allow_windows(world.resource.id).await;
    check("Applications", &world.get(&phone, "applications").await.json);
    world.site.pass(Duration::from_secs(30)).await;
    let window = phone.open_window(&world.resource.id.to_string());
    let body = serde_json::to_vec(&window).unwrap();
    check("WindowAnswer", &world.send(&phone, "POST", "windows", body).await.json);
    check("WindowState", &world.get(&phone, &format!("windows/{}", window.window_id)).await.json);
    let again = serde_json::to_vec(&phone.open_window(&world.resource.id.to_string())).unwrap();
    check("Problem", &world.send(&phone, "POST", "windows", again).await.json);
    check("Problem", &world.get(&phone, "nothing").await.json);
}
