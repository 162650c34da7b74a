//! DPoP proofs (RFC 9449): each request shows that it comes from the device's key, now, with this body.
//!
//! The server checks in two steps, so that work that needs no lock is done outside of it and so that nobody fills the
//! memory of used proofs with keys that belong to no device:
//! 1. [`check`] looks at form, signature, nonce, `iat` and `bh` and gives a [`CheckedProof`], whose key may be looked up
//!    and nothing else.
//! 2. [`CheckedProof::spend`] uses the `jti` up and gives a [`Proven`]. Only then may the request do anything.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SecureRandom;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use subtle::ConstantTimeEq;

use crate::encoding::{decode, decode_fixed, encode};
use crate::keys::{KeyError, PublicKey, RawJwk, Signature, SigningKey, Thumbprint, present, sha256};
use crate::problem::ErrorCode;

/// The name of the header that carries a proof.
pub const HEADER: &str = "DPoP";

/// The name of the header that carries the next nonce.
pub const NONCE_HEADER: &str = "DPoP-Nonce";

/// How far `iat` may be from the server's clock, either way, in seconds.
pub const IAT_WINDOW_S: i64 = 60;

/// How long a nonce lives, in seconds.
pub const NONCE_LIFE_S: i64 = 60;

/// How far in the future a nonce of another node of the cluster may lie, in seconds.
pub const NONCE_SKEW_S: i64 = 5;

/// How long a used `jti` is remembered, in seconds: longer than a proof can be good, which is twice [`IAT_WINDOW_S`].
pub const JTI_LIFE_S: i64 = 150;

/// The longest proof that is looked at, in octets.
pub const LONGEST_PROOF: usize = 4096;

/// The longest `jti`, in octets.
pub const LONGEST_JTI: usize = 128;

/// What exactly makes a proof invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// There is more than one `DPoP` header.
    #[error("more than one DPoP header")]
    Headers,
    /// It is longer than 4096 octets or not ASCII.
    #[error("too long, or not ASCII")]
    Size,
    /// It is not three parts of base64url.
    #[error("not a JWS in compact form")]
    Jws,
    /// The header is no JSON object with the members it needs, or has `crit`.
    #[error("the header cannot be read")]
    Header,
    /// `typ` is not `dpop+jwt`.
    #[error("typ is not dpop+jwt")]
    Type,
    /// `alg` is not `ES256`.
    #[error("alg is not ES256")]
    Algorithm,
    /// `jwk` is no public P-256 key.
    #[error("jwk is wrong: {0}")]
    Key(KeyError),
    /// The signature does not verify.
    #[error("the signature does not verify")]
    Signature,
    /// The claims are no JSON object with the members it needs, or `jti` is empty or too long.
    #[error("the claims cannot be read")]
    Claims,
    /// There is an `ath`, and this protocol has no access tokens.
    #[error("ath has no place here")]
    AccessToken,
    /// `htm` is another method.
    #[error("htm is another method")]
    Method,
    /// `htu` is another URL.
    #[error("htu is another URL")]
    Url,
    /// `bh` is the hash of another body.
    #[error("bh is the hash of another body")]
    Body,
}

/// Why a request is not proven to come from a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// There is no header.
    #[error("there is no proof")]
    Missing,
    /// The proof is not valid for this request, whenever it was made.
    #[error("the proof is not valid: {0}")]
    Invalid(Invalid),
    /// There is no nonce, or none of ours that lives.
    #[error("the proof has no fresh nonce")]
    Nonce,
    /// `iat` is more than 60 seconds away.
    #[error("the proof was not made now")]
    Expired,
    /// The `jti` was used.
    #[error("the proof was used before")]
    Replayed,
    /// The memory of used proofs is full, for all or for this device.
    #[error("too many proofs at once")]
    TooMany,
}

impl ProofError {
    /// The code to answer with. The server adds a nonce to every answer, and `time` to `proof_expired`.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Missing => ErrorCode::ProofMissing,
            Self::Invalid(_) => ErrorCode::ProofInvalid,
            Self::Nonce => ErrorCode::UseDpopNonce,
            Self::Expired => ErrorCode::ProofExpired,
            Self::Replayed => ErrorCode::ProofReplayed,
            Self::TooMany => ErrorCode::TooManyAttempts,
        }
    }
}

impl From<Invalid> for ProofError {
    fn from(why: Invalid) -> Self {
        Self::Invalid(why)
    }
}

/// The request that a proof is for, as the server sees it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The method, in upper case.
    pub method: &'a str,
    /// The configured origin and the path, without query and fragment.
    pub htu: &'a str,
    /// The octets of the body, also when empty.
    pub body: &'a [u8],
}

/// What a client puts into a proof.
#[derive(Debug, Clone, Copy)]
pub struct NewProof<'a> {
    /// The request.
    pub request: Request<'a>,
    /// The server's clock as far as the client knows it, in Unix seconds.
    pub iat: i64,
    /// A text that no other proof of this key has; 128 random bits will do.
    pub jti: &'a str,
    /// The nonce that the server gave last; without one, the server answers `use_dpop_nonce`.
    pub nonce: Option<&'a str>,
}

#[derive(Serialize)]
struct HeaderOut<'a> {
    typ: &'a str,
    alg: &'a str,
    jwk: &'a PublicKey,
}

#[derive(Serialize)]
struct ClaimsOut<'a> {
    htm: &'a str,
    htu: &'a str,
    iat: i64,
    jti: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    bh: String,
}

impl NewProof<'_> {
    /// The part of the proof that is signed: header and claims.
    ///
    /// # Errors
    /// [`KeyError::Unusable`] when JSON cannot be written, which our types give no reason for.
    pub fn signing_input(&self, key: &PublicKey) -> Result<String, KeyError> {
        let header = HeaderOut { typ: "dpop+jwt", alg: "ES256", jwk: key };
        let claims = ClaimsOut {
            htm: self.request.method,
            htu: self.request.htu,
            iat: self.iat,
            jti: self.jti,
            nonce: self.nonce,
            bh: encode(&sha256(self.request.body)),
        };
        let header = serde_json::to_vec(&header).map_err(|_| KeyError::Unusable)?;
        let claims = serde_json::to_vec(&claims).map_err(|_| KeyError::Unusable)?;
        Ok(format!("{}.{}", encode(&header), encode(&claims)))
    }

    /// Makes the value of the `DPoP` header.
    ///
    /// # Errors
    /// [`KeyError::Unusable`] when the key cannot sign.
    pub fn sign(&self, key: &SigningKey, random: &dyn SecureRandom) -> Result<String, KeyError> {
        let input = self.signing_input(key.public())?;
        let signature = key.sign(input.as_bytes(), random)?;
        Ok(format!("{input}.{signature}"))
    }
}

#[derive(Deserialize)]
struct HeaderIn {
    typ: String,
    alg: String,
    jwk: RawJwk,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

#[derive(Deserialize)]
struct ClaimsIn {
    htm: String,
    htu: String,
    iat: serde_json::Number,
    jti: String,
    #[serde(default)]
    nonce: Option<String>,
    bh: String,
    #[serde(default, deserialize_with = "present")]
    ath: bool,
}

/// A proof that is good for its request, except that nobody has asked yet whether it was used before.
#[derive(Debug, Clone)]
#[must_use = "a proof counts only when it has been spent"]
pub struct CheckedProof {
    key: PublicKey,
    thumbprint: Thumbprint,
    jti: String,
}

impl CheckedProof {
    /// The thumbprint of the key, to look up whether any device has it. Nothing else may follow from it before
    /// [`CheckedProof::spend`].
    pub const fn thumbprint(&self) -> &Thumbprint {
        &self.thumbprint
    }

    /// Uses the `jti` up. `now` is in Unix seconds.
    ///
    /// # Errors
    /// [`ProofError::Replayed`] or [`ProofError::TooMany`].
    pub fn spend(self, used: &mut JtiCache, now: i64) -> Result<Proven, ProofError> {
        used.insert(&self.thumbprint, &self.jti, now)?;
        Ok(Proven { key: self.key, thumbprint: self.thumbprint })
    }
}

/// The sender of a request holds this key. Only [`CheckedProof::spend`] makes one.
#[derive(Debug, Clone)]
pub struct Proven {
    key: PublicKey,
    thumbprint: Thumbprint,
}

impl Proven {
    /// The key.
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Its thumbprint.
    pub const fn thumbprint(&self) -> &Thumbprint {
        &self.thumbprint
    }
}

/// Checks a proof against its request: form and signature, then nonce, `iat`, `bh`. `headers` are the values of all
/// `DPoP` headers of the request; `now` is in Unix seconds.
///
/// # Errors
/// [`ProofError`], the first thing that is wrong in this order.
pub fn check(headers: &[&[u8]], request: Request<'_>, nonces: &NonceKey, now: i64) -> Result<CheckedProof, ProofError> {
    let header = match headers {
        [] => return Err(ProofError::Missing),
        [header] => header,
        _ => return Err(Invalid::Headers.into()),
    };
    let (key, claims) = open(header)?;
    if claims.htm != request.method {
        return Err(Invalid::Method.into());
    }
    if claims.htu != request.htu {
        return Err(Invalid::Url.into());
    }
    if !claims.nonce.is_some_and(|nonce| nonces.is_fresh(&nonce, now)) {
        return Err(ProofError::Nonce);
    }
    let iat = whole_seconds(&claims.iat).ok_or(Invalid::Claims)?;
    if iat.abs_diff(now) > IAT_WINDOW_S.unsigned_abs() {
        return Err(ProofError::Expired);
    }
    let body = decode_fixed::<32>(&claims.bh).map_err(|_| Invalid::Claims)?;
    if !bool::from(body.ct_eq(&sha256(request.body))) {
        return Err(Invalid::Body.into());
    }
    let thumbprint = key.thumbprint();
    Ok(CheckedProof { key, thumbprint, jti: claims.jti })
}

/// Form and signature of a proof.
fn open(proof: &[u8]) -> Result<(PublicKey, ClaimsIn), Invalid> {
    if proof.len() > LONGEST_PROOF || !proof.is_ascii() {
        return Err(Invalid::Size);
    }
    let proof = str::from_utf8(proof).map_err(|_| Invalid::Size)?;
    let (input, signature) = proof.rsplit_once('.').ok_or(Invalid::Jws)?;
    let (header, claims) = input.split_once('.').ok_or(Invalid::Jws)?;
    let (header_json, claims_json) =
        (decode(header).map_err(|_| Invalid::Jws)?, decode(claims).map_err(|_| Invalid::Jws)?);
    let signature = Signature::parse(signature).map_err(|_| Invalid::Jws)?;

    let header: HeaderIn = object(&header_json).ok_or(Invalid::Header)?;
    if header.crit {
        return Err(Invalid::Header);
    }
    if header.typ != "dpop+jwt" {
        return Err(Invalid::Type);
    }
    if header.alg != "ES256" {
        return Err(Invalid::Algorithm);
    }
    let key = PublicKey::try_from(header.jwk).map_err(Invalid::Key)?;
    key.verify(input.as_bytes(), &signature).map_err(|_| Invalid::Signature)?;

    let claims: ClaimsIn = object(&claims_json).ok_or(Invalid::Claims)?;
    if claims.ath {
        return Err(Invalid::AccessToken);
    }
    if claims.jti.is_empty() || claims.jti.len() > LONGEST_JTI {
        return Err(Invalid::Claims);
    }
    Ok((key, claims))
}

/// Reads a JSON object, as header and claims are (RFC 7515 section 4, RFC 7519 section 4). serde alone would take an array of
/// the members' values as well.
fn object<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    let is_object = json.trim_ascii_start().starts_with(b"{");
    serde_json::from_slice(json).ok().filter(|_| is_object)
}

/// The whole seconds of a NumericDate (RFC 7519 section 2), which may have decimals.
fn whole_seconds(number: &serde_json::Number) -> Option<i64> {
    number.as_i64().or_else(|| {
        // Rust writes floats without an exponent, and without decimals when they are whole.
        number.as_f64().and_then(|seconds| seconds.floor().to_string().parse().ok())
    })
}

/// The key that nonces are made and known by. A server makes one from random octets when it starts, or shares one within a
/// cluster; nonces need no memory.
pub struct NonceKey(hmac::Key);

impl NonceKey {
    /// A key from 32 random octets.
    pub fn new(random: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, random))
    }

    /// The nonce of this moment; `now` is in Unix seconds. It is the time and a MAC over it, 54 characters.
    pub fn issue(&self, now: i64) -> String {
        let time = now.to_be_bytes();
        encode(&[&time, self.mac(time).as_ref()].concat())
    }

    /// Whether a nonce was made under this key and still lives; `now` is in Unix seconds.
    pub fn is_fresh(&self, nonce: &str, now: i64) -> bool {
        let Ok(octets) = decode_fixed::<40>(nonce) else { return false };
        let Some((time, mac)) = octets.split_first_chunk::<8>() else { return false };
        let age = now.saturating_sub(i64::from_be_bytes(*time));
        let ours: bool = self.mac(*time).as_ref().ct_eq(mac).into();
        ours && (-NONCE_SKEW_S..=NONCE_LIFE_S).contains(&age)
    }

    fn mac(&self, time: [u8; 8]) -> hmac::Tag {
        hmac::sign(&self.0, &[b"countersign-dpop-nonce-v1".as_slice(), &time].concat())
    }
}

impl fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NonceKey(..)")
    }
}

/// Remembers which `jti` each key has used, for [`JTI_LIFE_S`]. It never forgets one before its time: when it is full,
/// for all keys or for one, it refuses new proofs.
#[derive(Debug)]
pub struct JtiCache {
    capacity: usize,
    per_key: usize,
    /// SHA-256 of key and `jti`.
    used: BTreeSet<[u8; 32]>,
    live_of_key: BTreeMap<[u8; 32], usize>,
    /// In the order of their use: when to forget which.
    queue: VecDeque<(i64, [u8; 32], [u8; 32])>,
}

impl JtiCache {
    /// A memory for `capacity` proofs, and `per_key` of them from one key. One proof takes some 200 octets.
    pub const fn new(capacity: usize, per_key: usize) -> Self {
        Self { capacity, per_key, used: BTreeSet::new(), live_of_key: BTreeMap::new(), queue: VecDeque::new() }
    }

    /// How many proofs are remembered.
    pub fn len(&self) -> usize {
        self.used.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.used.is_empty()
    }

    /// Forgets what is older than [`JTI_LIFE_S`]; `now` is in Unix seconds. Each insertion does it too.
    pub fn forget_old(&mut self, now: i64) {
        while self.queue.front().is_some_and(|(until, ..)| *until < now) {
            let Some((_, entry, key)) = self.queue.pop_front() else { return };
            self.used.remove(&entry);
            if let Some(count) = self.live_of_key.get_mut(&key) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.live_of_key.remove(&key);
                }
            }
        }
    }

    fn insert(&mut self, key: &Thumbprint, jti: &str, now: i64) -> Result<(), ProofError> {
        self.forget_old(now);
        let entry = sha256(&[key.as_bytes().as_slice(), jti.as_bytes()].concat());
        if self.used.contains(&entry) {
            return Err(ProofError::Replayed);
        }
        let of_key = self.live_of_key.get(key.as_bytes()).copied().unwrap_or_default();
        if self.used.len() >= self.capacity || of_key >= self.per_key {
            return Err(ProofError::TooMany);
        }
        self.used.insert(entry);
        self.live_of_key.insert(*key.as_bytes(), of_key + 1);
        self.queue.push_back((now.saturating_add(JTI_LIFE_S), entry, *key.as_bytes()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::fixtures::{device_key, random, server_key};

    const NOW: i64 = 1_769_850_300;
    const HTU: &str = "https://mfa.example.com/device/v1/push";
    const REQUEST: Request<'_> = Request { method: "PUT", htu: HTU, body: b"null" };

    fn nonces() -> NonceKey {
        NonceKey::new(&[7; 32])
    }

    fn claims() -> Value {
        json!({
            "htm": "PUT", "htu": HTU, "iat": NOW, "jti": "jti-1", "nonce": nonces().issue(NOW),
            "bh": encode(&sha256(b"null")),
        })
    }

    fn header() -> Value {
        json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": device_key().public()})
    }

    /// A proof with any header and claims, well signed.
    fn sign(header: &str, claims: &str) -> String {
        let input = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
        let signature = device_key().sign(input.as_bytes(), &random()).unwrap();
        format!("{input}.{signature}")
    }

    fn with_claim(name: &str, value: Value) -> String {
        let mut claims = claims();
        claims[name] = value;
        sign(&header().to_string(), &claims.to_string())
    }

    fn with_header(name: &str, value: Value) -> String {
        let mut header = header();
        header[name] = value;
        sign(&header.to_string(), &claims().to_string())
    }

    fn without(name: &str) -> String {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        sign(&header().to_string(), &claims.to_string())
    }

    fn good() -> String {
        sign(&header().to_string(), &claims().to_string())
    }

    fn check_at(proof: &str, request: Request<'_>, now: i64) -> Result<CheckedProof, ProofError> {
        check(&[proof.as_bytes()], request, &nonces(), now)
    }

    fn fault(proof: &str) -> ProofError {
        check_at(proof, REQUEST, NOW).unwrap_err()
    }

    #[test]
    fn s38_a_proof_that_a_client_makes_is_taken_once() {
        let nonce = nonces().issue(NOW - 30);
        let new = NewProof { request: REQUEST, iat: NOW + 3, jti: "abc", nonce: Some(&nonce) };
        let proof = new.sign(&device_key(), &random()).unwrap();
        let mut used = JtiCache::new(10, 10);
        let checked = check_at(&proof, REQUEST, NOW).unwrap();
        assert_eq!(*checked.thumbprint(), device_key().public().thumbprint());
        let proven = checked.spend(&mut used, NOW).unwrap();
        assert_eq!(proven.key(), device_key().public());
        assert_eq!(*proven.thumbprint(), device_key().public().thumbprint());
        for later in [NOW, NOW + 1, NOW + 30] {
            let again = check_at(&proof, REQUEST, later).unwrap();
            assert_eq!(again.spend(&mut used, later).unwrap_err(), ProofError::Replayed);
        }
    }

    #[test]
    fn s38_no_proof_and_two_proofs() {
        assert_eq!(check(&[], REQUEST, &nonces(), NOW).unwrap_err(), ProofError::Missing);
        let proof = good();
        let two = [proof.as_bytes(), proof.as_bytes()];
        assert_eq!(check(&two, REQUEST, &nonces(), NOW).unwrap_err(), ProofError::Invalid(Invalid::Headers));
        let joined = format!("{proof}, {proof}");
        assert_eq!(fault(&joined), ProofError::Invalid(Invalid::Jws));
    }

    #[test]
    fn s38_a_proof_for_another_request_is_refused() {
        let proof = good();
        for (request, why) in [
            (Request { method: "POST", ..REQUEST }, Invalid::Method),
            (Request { htu: "https://mfa.example.com/device/v1/device", ..REQUEST }, Invalid::Url),
            (Request { htu: "https://mfa.example.com/device/v1/push/", ..REQUEST }, Invalid::Url),
            (Request { htu: "https://other.example.com/device/v1/push", ..REQUEST }, Invalid::Url),
            (Request { htu: "https://mfa.example.com:8443/device/v1/push", ..REQUEST }, Invalid::Url),
            (Request { htu: "http://mfa.example.com/device/v1/push", ..REQUEST }, Invalid::Url),
            (Request { body: b"", ..REQUEST }, Invalid::Body),
            (Request { body: b"null ", ..REQUEST }, Invalid::Body),
        ] {
            assert_eq!(check_at(&proof, request, NOW).unwrap_err(), ProofError::Invalid(why), "{request:?}");
        }
        for htu in [&format!("{HTU}?x=1"), &format!("{HTU}#x"), "HTTPS://mfa.example.com/device/v1/push"] {
            assert_eq!(fault(&with_claim("htu", htu.into())), ProofError::Invalid(Invalid::Url));
        }
        assert_eq!(fault(&with_claim("htm", "put".into())), ProofError::Invalid(Invalid::Method));
    }

    #[test]
    fn s38_iat_is_within_60_seconds() {
        let at = |iat: Value| check_at(&with_claim("iat", iat), REQUEST, NOW);
        for good in [json!(NOW - 60), json!(NOW + 60), json!(1_769_850_300.25), json!(1_769_850_359.9)] {
            assert!(at(good.clone()).is_ok(), "{good}");
        }
        for expired in [json!(NOW - 61), json!(NOW + 61), json!(0), json!(-1), json!(i64::MIN), json!(1_769_850_361.5)]
        {
            assert_eq!(at(expired.clone()).unwrap_err(), ProofError::Expired, "{expired}");
        }
        for broken in [json!(NOW.to_string()), json!(null), json!(u64::MAX), json!(1e300), json!(true)] {
            assert_eq!(at(broken.clone()).unwrap_err(), ProofError::Invalid(Invalid::Claims), "{broken}");
        }
    }

    #[test]
    fn s38_a_proof_needs_a_fresh_nonce_of_this_server() {
        let other = NonceKey::new(&[8; 32]).issue(NOW);
        let mut forged = decode_fixed::<40>(&nonces().issue(NOW - 100)).unwrap();
        forged[..8].copy_from_slice(&NOW.to_be_bytes());
        for bad in [
            json!(null),
            json!(""),
            json!("x"),
            json!(other),
            json!(encode(&forged)),
            json!(nonces().issue(NOW - 61)),
            json!(nonces().issue(NOW + 6)),
        ] {
            assert_eq!(fault(&with_claim("nonce", bad.clone())), ProofError::Nonce, "{bad}");
        }
        assert_eq!(fault(&without("nonce")), ProofError::Nonce);
        for good in [NOW - 60, NOW, NOW + 5] {
            assert!(check_at(&with_claim("nonce", nonces().issue(good).into()), REQUEST, NOW).is_ok());
        }
    }

    #[test]
    fn s38_checks_come_in_the_order_of_the_page() {
        // Everything wrong at once; then one thing after the other is mended.
        let mut claims = claims();
        claims["htm"] = "GET".into();
        claims["nonce"] = "old".into();
        claims["iat"] = 0.into();
        claims["bh"] = encode(&[0; 32]).into();
        let mut fault_then_mend = |name: &str, value: Value| {
            let error = fault(&sign(&header().to_string(), &claims.to_string()));
            claims[name] = value;
            error
        };
        assert_eq!(fault_then_mend("htm", "PUT".into()), ProofError::Invalid(Invalid::Method));
        assert_eq!(fault_then_mend("nonce", nonces().issue(NOW).into()), ProofError::Nonce);
        assert_eq!(fault_then_mend("iat", NOW.into()), ProofError::Expired);
        assert_eq!(fault_then_mend("bh", encode(&sha256(b"null")).into()), ProofError::Invalid(Invalid::Body));
        assert!(check_at(&sign(&header().to_string(), &claims.to_string()), REQUEST, NOW).is_ok());
    }

    #[test]
    fn s38_only_a_fully_valid_proof_uses_up_its_jti() {
        let mut used = JtiCache::new(10, 10);
        for bad in [with_claim("nonce", "x".into()), with_claim("iat", 0.into()), with_claim("htm", "GET".into())] {
            assert!(check_at(&bad, REQUEST, NOW).and_then(|proof| proof.spend(&mut used, NOW)).is_err());
        }
        assert!(used.is_empty());
        assert!(check_at(&good(), REQUEST, NOW).unwrap().spend(&mut used, NOW).is_ok());
        assert_eq!(used.len(), 1);
    }

    #[test]
    fn s38_the_header_is_read_strictly() {
        let rsa = json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"});
        let mut private = serde_json::to_value(device_key().public()).unwrap();
        private["d"] = "AA".into();
        let mut off_curve = serde_json::to_value(device_key().public()).unwrap();
        off_curve["y"] = off_curve["x"].clone();
        for (proof, why) in [
            (with_header("typ", "JWT".into()), Invalid::Type),
            (with_header("typ", "DPoP+JWT".into()), Invalid::Type),
            (with_header("alg", "none".into()), Invalid::Algorithm),
            (with_header("alg", "HS256".into()), Invalid::Algorithm),
            (with_header("alg", "ES384".into()), Invalid::Algorithm),
            (with_header("crit", json!(["b64"])), Invalid::Header),
            (with_header("crit", json!(null)), Invalid::Header),
            (with_header("jwk", json!(null)), Invalid::Header),
            (with_header("jwk", rsa), Invalid::Key(KeyError::NotP256)),
            (with_header("jwk", private), Invalid::Key(KeyError::Private)),
            (with_header("jwk", off_curve), Invalid::Key(KeyError::Point)),
            (with_header("jwk", json!(server_key().public())), Invalid::Signature),
            (sign("{}", &claims().to_string()), Invalid::Header),
            (sign(&header().to_string().replacen('{', r#"{"alg":"none","#, 1), &claims().to_string()), Invalid::Header),
            (sign(&format!("{} x", header()), &claims().to_string()), Invalid::Header),
        ] {
            assert_eq!(fault(&proof), ProofError::Invalid(why));
        }
        assert!(check_at(&with_header("kid", "x".into()), REQUEST, NOW).is_ok(), "RFC 7515 section 4: ignored");
    }

    #[test]
    fn s38_the_claims_are_read_strictly() {
        for proof in [
            without("htm"),
            without("htu"),
            without("iat"),
            without("jti"),
            without("bh"),
            with_claim("jti", "".into()),
            with_claim("jti", "x".repeat(129).into()),
            with_claim("jti", 7.into()),
            with_claim("bh", "AAAA".into()),
            with_claim("bh", json!(null)),
            sign(&header().to_string(), &claims().to_string().replacen('{', r#"{"jti":"2","#, 1)),
            sign(&header().to_string(), "[]"),
        ] {
            assert_eq!(fault(&proof), ProofError::Invalid(Invalid::Claims));
        }
        assert_eq!(fault(&with_claim("ath", "x".into())), ProofError::Invalid(Invalid::AccessToken));
        assert_eq!(fault(&with_claim("ath", json!(null))), ProofError::Invalid(Invalid::AccessToken));
        assert!(check_at(&with_claim("exp", 1.into()), REQUEST, NOW).is_ok(), "exp has no meaning here");
    }

    #[test]
    fn s38_the_three_parts_have_one_form() {
        let proof = good();
        for (bad, why) in [
            (String::new(), Invalid::Jws),
            ("..".to_owned(), Invalid::Jws),
            (format!("{proof}="), Invalid::Jws),
            (format!("{proof}."), Invalid::Jws),
            (format!("{proof}.x"), Invalid::Jws),
            (format!(" {proof}"), Invalid::Jws),
            (format!("DPoP {proof}"), Invalid::Jws),
            (proof.chars().take(proof.len() - 2).collect(), Invalid::Jws),
            (proof.rsplit_once('.').unwrap().0.to_owned(), Invalid::Jws),
            ("x".repeat(4097), Invalid::Size),
            (format!("{proof}é"), Invalid::Size),
        ] {
            assert_eq!(fault(&bad), ProofError::Invalid(why), "{bad}");
        }
    }

    /// The proof of RFC 9449 section 4.1 is well signed and lacks what this protocol adds.
    #[test]
    fn the_proof_of_rfc_9449_verifies_and_lacks_bh() {
        let proof = concat!(
            "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOX",
            "pDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNy",
            "diI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1",
            "wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0",
            "x7NVY-FNyJK70nfbV37xRZT3Lg"
        );
        assert_eq!(fault(proof), ProofError::Invalid(Invalid::Claims));
        assert_eq!(fault(&proof.replace("fQ.2-", "fQ.3-")), ProofError::Invalid(Invalid::Signature));
    }

    #[test]
    fn s38_a_used_jti_is_remembered_150_seconds() {
        let key = device_key().public().thumbprint();
        let mut used = JtiCache::new(10, 10);
        used.insert(&key, "a", NOW).unwrap();
        assert_eq!(used.insert(&key, "a", NOW + 150), Err(ProofError::Replayed));
        assert_eq!(used.insert(&key, "a", NOW + 151), Ok(()));
        assert_eq!(used.len(), 1);
    }

    #[test]
    fn s38_a_full_memory_refuses_the_new_and_keeps_the_old() {
        let key = device_key().public().thumbprint();
        let other = server_key().public().thumbprint();
        let mut used = JtiCache::new(4, 3);
        for jti in ["a", "b", "c"] {
            used.insert(&key, jti, NOW).unwrap();
        }
        assert_eq!(used.insert(&key, "d", NOW), Err(ProofError::TooMany), "one key does not fill it");
        assert_eq!(used.insert(&other, "a", NOW + 100), Ok(()), "keys do not share their jti");
        assert_eq!(used.insert(&other, "b", NOW + 100), Err(ProofError::TooMany));
        assert_eq!(used.insert(&key, "a", NOW + 100), Err(ProofError::Replayed), "nothing was forgotten");
        assert_eq!(used.len(), 4);
        assert_eq!(used.insert(&key, "d", NOW + 151), Ok(()));
        assert_eq!(used.len(), 2);
        used.forget_old(NOW + 1000);
        assert!(used.is_empty() && used.live_of_key.is_empty() && used.queue.is_empty());
        assert_eq!(JtiCache::new(0, 0).insert(&key, "a", NOW), Err(ProofError::TooMany));
    }

    #[test]
    fn errors_have_the_codes_of_the_page() {
        for (error, code) in [
            (ProofError::Missing, "proof_missing"),
            (ProofError::Invalid(Invalid::Jws), "proof_invalid"),
            (ProofError::Nonce, "use_dpop_nonce"),
            (ProofError::Expired, "proof_expired"),
            (ProofError::Replayed, "proof_replayed"),
            (ProofError::TooMany, "too_many_attempts"),
        ] {
            assert_eq!(error.code().as_str(), code);
        }
    }

    proptest! {
        #[test]
        fn s38_a_changed_octet_is_never_taken(at in 0usize..1000, with in any::<u8>()) {
            let proof = good().into_bytes();
            let mut changed = proof.clone();
            let at = at % changed.len();
            changed[at] = with;
            prop_assume!(changed != proof);
            prop_assert!(check(&[&changed], REQUEST, &nonces(), NOW).is_err());
        }

        #[test]
        fn s38_any_octets_do_no_harm(octets: Vec<u8>, header in ".{0,40}", claims in ".{0,40}") {
            prop_assert!(check(&[&octets], REQUEST, &nonces(), NOW).is_err());
            prop_assert!(check(&[sign(&header, &claims).as_bytes()], REQUEST, &nonces(), NOW).is_err());
            prop_assert!(!nonces().is_fresh(&claims, NOW));
        }

        #[test]
        fn s38_a_nonce_lives_from_its_issue_for_60_seconds(issued in any::<i64>(), age in -100i64..100) {
            let now = issued.saturating_add(age);
            let age = now.saturating_sub(issued);
            prop_assert_eq!(nonces().is_fresh(&nonces().issue(issued), now), (-5..=60).contains(&age));
        }

        #[test]
        fn s38_no_jti_is_taken_twice_while_it_could_be_good(
            uses in proptest::collection::vec((0i64..20, 0u8..6), 0..60), capacity in 0usize..8, per_key in 0usize..8,
        ) {
            let key = device_key().public().thumbprint();
            let mut used = JtiCache::new(capacity, per_key);
            let (mut now, mut taken) = (NOW, BTreeMap::new());
            for (step, jti) in uses {
                now += step;
                if used.insert(&key, &jti.to_string(), now).is_ok()
                    && let Some(before) = taken.insert(jti, now)
                {
                    prop_assert!(now - before > JTI_LIFE_S);
                }
                prop_assert!(used.len() <= capacity.min(per_key));
                prop_assert_eq!(used.len(), used.queue.len());
            }
        }
    }
}
