//! ECDSA keys on P-256 (FIPS 186-5), as JWK (RFC 7517, RFC 7518 section 6.2) and by their thumbprint (RFC 7638).

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SecureRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, ParsedPublicKey,
};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroizing;

use crate::encoding::{Fixed, decode_fixed, encode};

/// An ECDSA signature as `r ‖ s`, 32 octets each (RFC 7518 section 3.4).
pub type Signature = Fixed<64>;

/// The SHA-256 thumbprint of a key (RFC 7638): how keys are named.
pub type Thumbprint = Fixed<32>;

/// Why a key was not taken, or why it could not sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The JWK is not of type `EC` on `P-256`, or lacks a member.
    #[error("the key is no P-256 key")]
    NotP256,
    /// A private member came along with a public key.
    #[error("the key carries private members")]
    Private,
    /// The coordinates are not 32 octets each, or no point on the curve.
    #[error("the key is no point on P-256")]
    Point,
    /// The PKCS#8 document does not hold a P-256 key.
    #[error("the document holds no P-256 key")]
    Document,
    /// The library could not make a key or a signature.
    #[error("the key could not be used")]
    Unusable,
}

/// A signature that was not made by the key over these octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct SignatureInvalid;

/// SHA-256 (FIPS 180-4).
pub fn sha256(octets: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    // The digest of SHA-256 has 32 octets; zip copies them without a way to fail.
    for (to, from) in hash.iter_mut().zip(digest(&SHA256, octets).as_ref()) {
        *to = *from;
    }
    hash
}

/// A public key: a point on P-256, checked.
#[derive(Clone)]
pub struct PublicKey {
    point: [u8; 65],
    parsed: ParsedPublicKey,
}

/// The public key of a device.
pub type DeviceKey = PublicKey;

impl PublicKey {
    /// Takes the uncompressed form, `0x04 ‖ x ‖ y` (SEC 1 section 2.3.3).
    ///
    /// # Errors
    /// [`KeyError::Point`] for another form or a point off the curve.
    pub fn from_uncompressed(point: [u8; 65]) -> Result<Self, KeyError> {
        if point.first() != Some(&4) {
            return Err(KeyError::Point);
        }
        let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).map_err(|_| KeyError::Point)?;
        Ok(Self { point, parsed })
    }

    /// Takes the two coordinates.
    ///
    /// # Errors
    /// [`KeyError::Point`] when they are no point on the curve.
    pub fn from_coordinates(x: &[u8; 32], y: &[u8; 32]) -> Result<Self, KeyError> {
        let mut point = [4; 65];
        for (to, from) in point.iter_mut().skip(1).zip(x.iter().chain(y)) {
            *to = *from;
        }
        Self::from_uncompressed(point)
    }

    /// Reads a JWK. Members without meaning for the key (`kid`, `use`, `ext` and the like) are ignored.
    ///
    /// # Errors
    /// [`KeyError`]: another kind of key, private members, or no point on the curve.
    pub fn from_jwk(json: &str) -> Result<Self, KeyError> {
        serde_json::from_str::<RawJwk>(json).map_err(|_| KeyError::NotP256)?.try_into()
    }

    /// The JWK with its four members in the order of RFC 7638 section 3.3; its SHA-256 is the thumbprint.
    pub fn to_jwk(&self) -> String {
        format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, self.x(), self.y())
    }

    fn x(&self) -> String {
        encode(self.point.get(1..33).unwrap_or_default())
    }

    fn y(&self) -> String {
        encode(self.point.get(33..).unwrap_or_default())
    }

    /// The uncompressed form, 65 octets.
    pub const fn uncompressed(&self) -> &[u8; 65] {
        &self.point
    }

    /// The thumbprint (RFC 7638).
    pub fn thumbprint(&self) -> Thumbprint {
        Thumbprint::new(sha256(self.to_jwk().as_bytes()))
    }

    /// Verifies a signature over the SHA-256 of `message`.
    ///
    /// # Errors
    /// [`SignatureInvalid`].
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), SignatureInvalid> {
        self.parsed.verify_sig(message, signature.as_bytes()).map_err(|_| SignatureInvalid)
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.point == other.point
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.thumbprint())
    }
}

#[derive(Serialize)]
struct Jwk<'a> {
    kty: &'a str,
    crv: &'a str,
    x: String,
    y: String,
}

/// The members of a JWK that decide anything. Those that only private or other keys have must not be there at all
/// (RFC 7518 section 6), whatever their value.
#[derive(Deserialize)]
pub(crate) struct RawJwk {
    kty: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    #[serde(default, deserialize_with = "present")]
    d: bool,
    #[serde(default, deserialize_with = "present")]
    p: bool,
    #[serde(default, deserialize_with = "present")]
    q: bool,
    #[serde(default, deserialize_with = "present")]
    dp: bool,
    #[serde(default, deserialize_with = "present")]
    dq: bool,
    #[serde(default, deserialize_with = "present")]
    qi: bool,
    #[serde(default, deserialize_with = "present")]
    oth: bool,
    #[serde(default, deserialize_with = "present")]
    k: bool,
}

/// For members that must not be there, whatever their value.
pub(crate) fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

impl TryFrom<RawJwk> for PublicKey {
    type Error = KeyError;

    fn try_from(raw: RawJwk) -> Result<Self, KeyError> {
        if raw.d || raw.p || raw.q || raw.dp || raw.dq || raw.qi || raw.oth || raw.k {
            return Err(KeyError::Private);
        }
        if raw.kty.as_deref() != Some("EC") || raw.crv.as_deref() != Some("P-256") {
            return Err(KeyError::NotP256);
        }
        let coordinate =
            |text: Option<String>| decode_fixed::<32>(&text.ok_or(KeyError::NotP256)?).map_err(|_| KeyError::Point);
        Self::from_coordinates(&coordinate(raw.x)?, &coordinate(raw.y)?)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Jwk { kty: "EC", crv: "P-256", x: self.x(), y: self.y() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RawJwk::deserialize(deserializer)?.try_into().map_err(de::Error::custom)
    }
}

/// A P-256 key in the form that Web Push uses (RFC 8291, RFC 8292): base64url of the 65 octets, uncompressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushKey(pub PublicKey);

impl Serialize for PushKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(self.0.uncompressed()))
    }
}

impl<'de> Deserialize<'de> for PushKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let point = decode_fixed(&String::deserialize(deserializer)?).map_err(de::Error::custom)?;
        PublicKey::from_uncompressed(point).map(Self).map_err(de::Error::custom)
    }
}

/// A private key that signs: the server's for challenges, or a device's.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    public: PublicKey,
}

impl SigningKey {
    /// Makes a new key and its PKCS#8 document (RFC 5208), which [`SigningKey::from_pkcs8`] takes.
    /// aws-lc has its own generator and does not draw from `random`; the argument marks the calls that need one.
    ///
    /// # Errors
    /// [`KeyError::Unusable`] when the library fails.
    pub fn generate(random: &dyn SecureRandom) -> Result<(Self, Zeroizing<Vec<u8>>), KeyError> {
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, random).map_err(|_| KeyError::Unusable)?;
        let document = Zeroizing::new(document.as_ref().to_vec());
        Ok((Self::from_pkcs8(&document)?, document))
    }

    /// Loads a key from its PKCS#8 document (DER).
    ///
    /// # Errors
    /// [`KeyError::Document`] when the document is broken or holds another kind of key.
    pub fn from_pkcs8(document: &[u8]) -> Result<Self, KeyError> {
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document).map_err(|_| KeyError::Document)?;
        let point = pair.public_key().as_ref().try_into().map_err(|_| KeyError::Document)?;
        Ok(Self { public: PublicKey::from_uncompressed(point)?, pair })
    }

    /// The public half.
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs the SHA-256 of `message`. The signature differs from call to call.
    ///
    /// # Errors
    /// [`KeyError::Unusable`] when the library fails.
    pub fn sign(&self, message: &[u8], random: &dyn SecureRandom) -> Result<Signature, KeyError> {
        let signature = self.pair.sign(random, message).map_err(|_| KeyError::Unusable)?;
        signature.as_ref().try_into().map(Signature::new).map_err(|_| KeyError::Unusable)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public.thumbprint())
    }
}
