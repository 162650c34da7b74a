//! Laws of what a device and the server say to each other, asserted over arbitrary octets.
//!
//! Each function takes what a fuzzer makes up and panics where a law is broken. The fuzz targets call them, and the
//! test `fuzz_regression` calls them for every file under `testdata/fuzz_regression/<name of the function>/`.

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    code::{ActivationCode, ActivationLink, ActivationToken},
    encoding::{decode, encode},
    events::{Event, EventReader},
    ids::DeviceTime,
    keys::{PublicKey, Signature, SigningKey, sha256},
    messages::{
        ActivationAnswer, ActivationRequest, Applications, Challenge, ChallengeClosed, Challenges, ContextDocument,
        DecisionAnswer, DecisionRequest, DevicePatch, History, PushMessage, PushRequest, ServerInfo, WindowRequest,
    },
    origin::Origin,
    problem::Problem,
    proof::{self, Invalid, JtiCache, LONGEST_PROOF, NonceKey, ProofError, Request},
    webauthn::{Assertion, NewCredential, Registration},
};

/// A text that a person types or a camera reads: an activation code, the text of a QR code, a server's address.
///
/// Laws: nothing panics; what is read has one normal form, which reads as the same; a code has 12 characters of its
/// alphabet whatever was typed; an origin is ASCII without path, user name or default port, and plain HTTP only for this
/// machine; base64url has one text for each value.
///
/// # Panics
/// Where a law is broken.
pub fn device_text(octets: &[u8]) {
    assert_eq!(decode(&encode(octets)).as_deref(), Ok(octets));
    let Ok(text) = str::from_utf8(octets) else { return };
    if let Ok(value) = decode(text) {
        assert_eq!(encode(&value), text, "one text for each value");
    }
    if let Ok(code) = ActivationCode::parse(text) {
        assert_eq!(code.expose().len(), 12);
        assert!(code.expose().bytes().all(|c| c.is_ascii_digit() || (c.is_ascii_uppercase() && !b"ILOU".contains(&c))));
        assert_eq!([code.handle(), code.expose_secret()].concat(), code.expose());
        for form in [code.expose(), &code.expose_grouped(), &code.expose().to_ascii_lowercase()] {
            assert_eq!(ActivationCode::parse(form), Ok(code.clone()));
        }
        assert!(!format!("{code:?}").contains(code.expose_secret()));
    }
    if let Ok(token) = ActivationToken::parse(text) {
        assert_eq!(token.expose().as_str(), text);
    }
    if let Ok(time) = DeviceTime::new(text) {
        assert_eq!(time.as_str(), text);
    }
    if let Ok(origin) = Origin::parse(text) {
        an_origin(&origin);
    }
    if let Ok(link) = ActivationLink::parse(text) {
        an_origin(&link.origin);
        let normal = link.expose();
        assert_eq!(ActivationLink::parse(&normal).as_ref(), Ok(&link));
        // The key is shown, and could be written to look like the token.
        let secret = link.token.expose();
        assert!(link.key.to_string().contains(secret.as_str()) || !format!("{link:?}").contains(secret.as_str()));
    }
}

fn an_origin(origin: &Origin) {
    let text = origin.as_str();
    assert_eq!(Origin::parse_normal(text).as_ref(), Ok(origin));
    assert!(text.is_ascii() && !text.bytes().any(|c| c.is_ascii_uppercase() || c.is_ascii_control() || c == b' '));
    let Some((scheme, authority)) = text.split_once("://") else { unreachable!("{text} has a scheme") };
    assert!(!authority.contains(['/', '?', '#', '@', '\\', '%']), "{text}");
    assert_eq!(scheme == "https", origin.is_https());
    assert!(!(origin.is_https() && authority.ends_with(":443")) && (origin.is_https() || !authority.ends_with(":80")));
    let local = ["localhost", "127.0.0.1", "[::1]"];
    let is_local =
        |host: &str| authority.strip_prefix(host).is_some_and(|port| port.is_empty() || port.starts_with(':'));
    assert!(origin.is_https() || local.into_iter().any(is_local), "{text}");
}

const METHOD: &str = "PUT";
const HTU: &str = "https://mfa.example.com/device/v1/push";
const BODY: &[u8] = b"null";
const NOW: i64 = 1_769_850_300;

static KEY: LazyLock<SigningKey> = LazyLock::new(|| {
    let Ok((key, _)) = SigningKey::generate(&SystemRandom::new()) else {
        unreachable!("the system has a random source")
    };
    key
});
static NONCES: LazyLock<NonceKey> = LazyLock::new(|| NonceKey::new(&[7; 32]));
static HEADER: LazyLock<String> =
    LazyLock::new(|| format!(r#"{{"typ":"dpop+jwt","alg":"ES256","jwk":{}}}"#, KEY.public().to_jwk()));
static CLAIMS: LazyLock<String> = LazyLock::new(|| {
    let (nonce, hash) = (NONCES.issue(NOW), encode(&sha256(BODY)));
    format!(r#"{{"htm":"{METHOD}","htu":"{HTU}","iat":{NOW},"jti":"1","nonce":"{nonce}","bh":"{hash}"}}"#)
});

/// A `DPoP` header. The first octet says what the others are: the whole value, which nobody signed; or the JSON of its
/// header, or of its claims, well signed by a key of this run. `@nonce` stands for a nonce of the server, `@jwk` for that
/// key.
///
/// Laws: nothing panics; what nobody signed is refused; what is taken has the method, the URL, the time, the nonce and
/// the hash of this request, by a reading of its own; it is taken once.
///
/// # Panics
/// Where a law is broken.
pub fn device_proof(octets: &[u8]) {
    let Some((kind, rest)) = octets.split_first() else { return };
    match kind % 4 {
        0 => assert!(check(rest).is_err(), "nobody signed it"),
        // One that was signed for this request, with octets changed or put behind it: only what is as it was is taken.
        1 => {
            let whole = signed(HEADER.as_bytes(), CLAIMS.as_bytes());
            let Some((at, other)) = rest.split_first_chunk::<2>() else { return };
            let at = usize::from(u16::from_be_bytes(*at));
            let mut changed = whole.clone();
            changed.truncate(at.min(whole.len()));
            changed.extend_from_slice(other);
            let tail = changed.len().min(whole.len());
            changed.extend_from_slice(whole.get(tail..).unwrap_or_default());
            assert!(check(&changed).is_err() || changed == whole, "a proof that was changed");
        }
        2 => {
            let header = String::from_utf8_lossy(rest).replace("@jwk", &KEY.public().to_jwk());
            taken_once(&signed(header.as_bytes(), CLAIMS.as_bytes()), |header, _| {
                assert_eq!((&header["typ"], &header["alg"]), (&"dpop+jwt".into(), &"ES256".into()));
                assert!(header.get("crit").is_none() && header["jwk"].get("d").is_none());
            });
        }
        _ => {
            let claims = String::from_utf8_lossy(rest).replace("@nonce", &NONCES.issue(NOW));
            taken_once(&signed(HEADER.as_bytes(), claims.as_bytes()), |_, claims| {
                assert_eq!((&claims["htm"], &claims["htu"]), (&METHOD.into(), &HTU.into()));
                assert_eq!(claims["bh"], encode(&sha256(BODY)));
                let Some(iat) = claims["iat"].as_f64() else { unreachable!("iat is a number: {claims}") };
                assert!((iat - f64::from(i32::try_from(NOW).unwrap_or_default())).abs() <= 61.0, "{claims}");
                let Some(nonce) = claims["nonce"].as_str() else { unreachable!("nonce is a text: {claims}") };
                assert!(NONCES.is_fresh(nonce, NOW));
                assert!(claims.get("ath").is_none() && claims["jti"].as_str().is_some_and(|jti| !jti.is_empty()));
            });
        }
    }
}

fn signed(header: &[u8], claims: &[u8]) -> Vec<u8> {
    let input = format!("{}.{}", encode(header), encode(claims));
    let Ok(signature) = KEY.sign(input.as_bytes(), &SystemRandom::new()) else { unreachable!("the key signs") };
    format!("{input}.{signature}").into_bytes()
}

fn check(header: &[u8]) -> Result<proof::CheckedProof, ProofError> {
    let request = Request { method: METHOD, htu: HTU, body: BODY };
    let outcome = proof::check(&[header], request, &NONCES, NOW);
    if outcome.is_ok() {
        assert!(header.len() <= LONGEST_PROOF);
        assert_eq!(proof::check(&[header, header], request, &NONCES, NOW).err(), Some(Invalid::Headers.into()));
        let others = [("GET", HTU, BODY), (METHOD, "https://mfa.example.com/", BODY), (METHOD, HTU, b"")];
        for (method, htu, body) in others {
            assert!(proof::check(&[header], Request { method, htu, body }, &NONCES, NOW).is_err(), "another request");
        }
    }
    outcome
}

/// `law` is told header and claims of what is taken.
fn taken_once(header: &[u8], law: impl Fn(&Value, &Value)) {
    let Ok(checked) = check(header) else { return };
    let parts: Vec<Value> = header
        .split(|octet| *octet == b'.')
        .filter_map(|part| serde_json::from_slice(&decode(str::from_utf8(part).ok()?).ok()?).ok())
        .collect();
    let [said, claims] = parts.as_slice() else { unreachable!("what is taken is two objects and a signature") };
    law(said, claims);
    assert_eq!(*checked.thumbprint(), KEY.public().thumbprint());
    let mut used = JtiCache::new(4, 4);
    assert!(checked.clone().spend(&mut used, NOW).is_ok());
    assert_eq!(checked.spend(&mut used, NOW).err(), Some(ProofError::Replayed));
    assert_eq!(used.len(), 1);
}

/// A body of a request or an answer, or a stream of events.
///
/// Laws: nothing panics; what is read can be written and reads as the same; keys and signatures have one text; a stream
/// says the same in pieces of any size, and its events can be written and read again.
///
/// # Panics
/// Where a law is broken.
pub fn device_message(octets: &[u8]) {
    said_again::<ActivationRequest>(octets);
    said_again::<DecisionRequest>(octets);
    said_again::<WindowRequest>(octets);
    said_again::<PushRequest>(octets);
    said_again::<DevicePatch>(octets);
    said_again::<NewCredential>(octets);
    said_again::<Assertion>(octets);
    said_again::<ServerInfo>(octets);
    said_again::<ActivationAnswer>(octets);
    said_again::<Challenge>(octets);
    said_again::<Challenges>(octets);
    said_again::<ChallengeClosed>(octets);
    said_again::<ContextDocument>(octets);
    said_again::<DecisionAnswer>(octets);
    said_again::<Applications>(octets);
    said_again::<History>(octets);
    said_again::<Registration>(octets);
    said_again::<PushMessage>(octets);
    said_again::<Problem>(octets);
    if let Ok(text) = str::from_utf8(octets) {
        if let Ok(key) = PublicKey::from_jwk(text) {
            assert_eq!(PublicKey::from_jwk(&key.to_jwk()).as_ref(), Ok(&key));
        }
        if let Ok(signature) = Signature::parse(text) {
            assert_eq!(signature.to_string(), text);
        }
    }
    stream(octets);
}

fn said_again<T: Serialize + DeserializeOwned + PartialEq>(octets: &[u8]) {
    let Ok(message) = serde_json::from_slice::<T>(octets) else { return };
    let Ok(written) = serde_json::to_vec(&message) else { unreachable!("what was read can be written") };
    assert!(serde_json::from_slice::<T>(&written).is_ok_and(|again| again == message), "it says something else");
}

fn stream(octets: &[u8]) {
    let whole = EventReader::new().read(octets);
    let size = octets.first().map_or(1, |octet| usize::from(octet % 16).saturating_add(1));
    let (mut reader, mut pieces, mut fault) = (EventReader::new(), Vec::new(), None);
    for piece in octets.chunks(size) {
        match reader.read(piece) {
            Ok(events) => pieces.extend(events),
            Err(error) => {
                fault = Some(error);
                break;
            }
        }
    }
    match whole {
        Ok(events) => {
            assert!(fault.is_none() && pieces == events, "in pieces it says something else");
            let Ok(text) = events.iter().map(Event::encode).collect::<Result<String, _>>() else {
                unreachable!("what was read can be written")
            };
            assert_eq!(EventReader::new().read(text.as_bytes()).as_ref(), Ok(&events));
        }
        Err(error) => assert_eq!(fault, Some(error)),
    }
}
