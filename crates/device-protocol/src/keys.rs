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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::{device_key, next_key, random, server_key};

    #[test]
    fn thumbprint_of_rfc_9449_section_6_1() {
        let key = PublicKey::from_jwk(
            r#"{"kty":"EC","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
                "y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA","crv":"P-256"}"#,
        )
        .unwrap();
        assert_eq!(key.thumbprint().to_string(), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
    }

    /// RFC 6979 appendix A.2.5, SHA-256, message "sample".
    #[test]
    fn signature_of_rfc_6979_appendix_a_2_5() {
        let signature = data_encoding::HEXLOWER
            .decode(
                b"efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716\
                  f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
                    .iter()
                    .copied()
                    .filter(u8::is_ascii_hexdigit)
                    .collect::<Vec<_>>()
                    .as_slice(),
            )
            .unwrap();
        let signature = Signature::new(signature.try_into().unwrap());
        assert_eq!(device_key().public().verify(b"sample", &signature), Ok(()));
        assert_eq!(device_key().public().verify(b"Sample", &signature), Err(SignatureInvalid));
    }

    #[test]
    fn s34_only_points_on_p_256_are_keys() {
        let x = device_key().public().x();
        let y = device_key().public().y();
        let other_y = next_key().y();
        let rsa = r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86z","e":"AQAB"}"#;
        for (jwk, why) in [
            (rsa.to_owned(), KeyError::NotP256),
            (r#"{"kty":"oct"}"#.to_owned(), KeyError::NotP256),
            (
                r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#.to_owned(),
                KeyError::NotP256,
            ),
            (format!(r#"{{"kty":"EC","crv":"P-384","x":"{x}","y":"{y}"}}"#), KeyError::NotP256),
            (format!(r#"{{"kty":"EC","crv":"secp256k1","x":"{x}","y":"{y}"}}"#), KeyError::NotP256),
            (format!(r#"{{"kty":"ec","crv":"P-256","x":"{x}","y":"{y}"}}"#), KeyError::NotP256),
            (format!(r#"{{"crv":"P-256","x":"{x}","y":"{y}"}}"#), KeyError::NotP256),
            (format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}"}}"#), KeyError::NotP256),
            (format!(r#"{{"kty":"EC","kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}"#), KeyError::NotP256),
            ("[]".to_owned(), KeyError::NotP256),
            (format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{other_y}"}}"#), KeyError::Point),
            (format!(r#"{{"kty":"EC","crv":"P-256","x":"{y}","y":"{x}"}}"#), KeyError::Point),
            (format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"AA"}}"#), KeyError::Point),
            (format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}=","y":"{y}"}}"#), KeyError::Point),
            (format!(r#"{{"kty":"EC","crv":"P-256","x":"{0}","y":"{0}"}}"#, encode(&[0; 32])), KeyError::Point),
            (format!(r#"{{"kty":"EC","crv":"P-256","x":"{0}","y":"{0}"}}"#, encode(&[0xff; 32])), KeyError::Point),
            (format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}","d":"{x}"}}"#), KeyError::Private),
            (format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}","d":null}}"#), KeyError::Private),
            (format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}","k":""}}"#), KeyError::Private),
        ] {
            assert_eq!(PublicKey::from_jwk(&jwk), Err(why), "{jwk}");
        }
        let extra = format!(r#"{{"ext":true,"key_ops":["verify"],"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}"#);
        assert_eq!(PublicKey::from_jwk(&extra).unwrap(), *device_key().public());
    }

    #[test]
    fn s34_points_in_other_forms_are_no_keys() {
        let mut point = *device_key().public().uncompressed();
        assert!(PublicKey::from_uncompressed(point).is_ok());
        for first in [0, 2, 3, 5, 6, 7] {
            point[0] = first;
            assert_eq!(PublicKey::from_uncompressed(point), Err(KeyError::Point), "{first}");
        }
        assert_eq!(PublicKey::from_uncompressed([0; 65]), Err(KeyError::Point));
        let compressed = encode(&device_key().public().uncompressed()[..33]);
        assert!(serde_json::from_value::<PushKey>(compressed.into()).is_err());
    }

    #[test]
    fn documents_with_other_keys_are_refused() {
        let p384 =
            EcdsaKeyPair::generate_pkcs8(&aws_lc_rs::signature::ECDSA_P384_SHA384_FIXED_SIGNING, &random()).unwrap();
        assert_eq!(SigningKey::from_pkcs8(p384.as_ref()).unwrap_err(), KeyError::Document);
        assert_eq!(SigningKey::from_pkcs8(b"").unwrap_err(), KeyError::Document);
        let (_, document) = SigningKey::generate(&random()).unwrap();
        assert_eq!(SigningKey::from_pkcs8(&document[1..]).unwrap_err(), KeyError::Document);
        assert_eq!(SigningKey::from_pkcs8(&document[..document.len() - 1]).unwrap_err(), KeyError::Document);
    }

    #[test]
    fn a_new_key_survives_its_document() {
        let (key, document) = SigningKey::generate(&random()).unwrap();
        let again = SigningKey::from_pkcs8(&document).unwrap();
        assert_eq!(key.public(), again.public());
        let signature = again.sign(b"x", &random()).unwrap();
        assert_eq!(key.public().verify(b"x", &signature), Ok(()));
        assert_eq!(server_key().public().verify(b"x", &signature), Err(SignatureInvalid));
        assert!(!format!("{key:?}").contains("d:"));
    }

    #[test]
    fn keys_go_from_thread_to_thread() {
        fn check<T: Send + Sync>() {}
        check::<PublicKey>();
        check::<SigningKey>();
        check::<crate::proof::NonceKey>();
    }

    #[test]
    fn zeros_are_no_signature() {
        assert!(device_key().public().verify(b"x", &Signature::new([0; 64])).is_err());
        assert!(device_key().public().verify(b"x", &Signature::new([0xff; 64])).is_err());
    }

    proptest! {
        #[test]
        fn s34_no_point_is_taken_that_is_off_the_curve(x: [u8; 32], y: [u8; 32]) {
            // A random pair lies on the curve with a chance of 2^-256.
            prop_assert_eq!(PublicKey::from_coordinates(&x, &y), Err(KeyError::Point));
        }

        #[test]
        fn a_changed_signature_or_message_does_not_verify(message: Vec<u8>, at in 0usize..64, bit in 0u8..8) {
            let key = device_key();
            let signature = key.sign(&message, &random()).unwrap();
            prop_assert_eq!(key.public().verify(&message, &signature), Ok(()));
            let mut changed = *signature.as_bytes();
            changed[at] ^= 1 << bit;
            prop_assert_eq!(key.public().verify(&message, &Signature::new(changed)), Err(SignatureInvalid));
            let longer = [message.as_slice(), &[0]].concat();
            prop_assert_eq!(key.public().verify(&longer, &signature), Err(SignatureInvalid));
        }
    }
}
