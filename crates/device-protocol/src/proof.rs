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
use serde::{Deserialize, Serialize};
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

    let header: HeaderIn = serde_json::from_slice(&header_json).map_err(|_| Invalid::Header)?;
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

    let claims: ClaimsIn = serde_json::from_slice(&claims_json).map_err(|_| Invalid::Claims)?;
    if claims.ath {
        return Err(Invalid::AccessToken);
    }
    if claims.jti.is_empty() || claims.jti.len() > LONGEST_JTI {
        return Err(Invalid::Claims);
    }
    Ok((key, claims))
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
