//! Who sends: VAPID tokens (RFC 8292).

use core::{num::NonZeroUsize, time::Duration};
use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::rand::SystemRandom;
use countersign_device_protocol::{
    encoding::encode,
    keys::{PublicKey, SigningKey},
};
use countersign_domain::Timestamp;
use lru::LruCache;
use reqwest::header::HeaderValue;
use serde::Serialize;

/// How long a token lives. RFC 8292 section 2 allows a day; an hour leaves room for clocks that differ.
pub const LIFE: Duration = Duration::from_secs(3600);
/// A token that is older is made anew, so that none is sent that is about to expire.
pub const REFRESH: Duration = Duration::from_secs(2700);
/// Tokens kept, one for each origin. Some services have a name for each of their machines.
const KEPT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);

/// Why there is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VapidError {
    /// The octets are no PKCS#8 document of a P-256 key.
    #[error("the VAPID key is no PKCS#8 document of a P-256 key")]
    Key,
    /// The library does not sign.
    #[error("the VAPID token cannot be signed")]
    Sign,
}

/// The key that browsers were given when they subscribed.
#[derive(Debug)]
pub struct VapidKey(SigningKey);

impl VapidKey {
    /// Loads the key from its PKCS#8 document.
    ///
    /// # Errors
    /// [`VapidError::Key`].
    pub fn from_pkcs8(document: &[u8]) -> Result<Self, VapidError> {
        SigningKey::from_pkcs8(document).map(Self).map_err(|_| VapidError::Key)
    }

    /// The public half.
    pub const fn public(&self) -> &PublicKey {
        self.0.public()
    }
}

/// Makes tokens and keeps them for as long as they are good.
pub(crate) struct Vapid {
    key: VapidKey,
    contact: String,
    random: SystemRandom,
    tokens: Mutex<LruCache<String, Token>>,
}

struct Token {
    made: Timestamp,
    header: HeaderValue,
}

#[derive(Serialize)]
struct Claims<'a> {
    aud: &'a str,
    exp: i64,
    sub: &'a str,
}

impl Vapid {
    pub(crate) fn new(key: VapidKey, contact: String) -> Self {
        Self { key, contact, random: SystemRandom::new(), tokens: Mutex::new(LruCache::new(KEPT)) }
    }

    /// The `Authorization` of a request to `origin` at `now` (RFC 8292 section 3).
    pub(crate) fn authorization(&self, origin: &str, now: Timestamp) -> Result<HeaderValue, VapidError> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = tokens.get(origin)
            // A token from the future was made before the clock was set back.
            && token.made <= now
            && now.since(token.made) < REFRESH
        {
            return Ok(token.header.clone());
        }
        let header = self.sign(origin, now)?;
        tokens.put(origin.to_owned(), Token { made: now, header: header.clone() });
        Ok(header)
    }

    /// Forgets the token of an origin that did not take it.
    pub(crate) fn forget(&self, origin: &str) {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).pop(origin);
    }

    fn sign(&self, origin: &str, now: Timestamp) -> Result<HeaderValue, VapidError> {
        let claims = Claims { aud: origin, exp: now.plus(LIFE).as_seconds(), sub: &self.contact };
        let claims = serde_json::to_vec(&claims).map_err(|_| VapidError::Sign)?;
        let signed = format!("{}.{}", encode(br#"{"typ":"JWT","alg":"ES256"}"#), encode(&claims));
        let signature = self.key.0.sign(signed.as_bytes(), &self.random).map_err(|_| VapidError::Sign)?;
        let public = encode(self.key.public().uncompressed());
        let text = format!("vapid t={signed}.{}, k={public}", encode(signature.as_bytes()));
        let mut header = HeaderValue::from_str(&text).map_err(|_| VapidError::Sign)?;
        header.set_sensitive(true);
        Ok(header)
    }
}

impl fmt::Debug for Vapid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vapid").field("key", &self.key).field("contact", &self.contact).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use countersign_device_protocol::{encoding::decode, keys::Signature};
    use serde_json::{Value, json};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000 + second)
    }

    fn vapid() -> Vapid {
        let (_, document) = SigningKey::generate(&SystemRandom::new()).unwrap();
        Vapid::new(VapidKey::from_pkcs8(&document).unwrap(), "mailto:mfa@corp.test".to_owned())
    }

    /// Checks form and signature and gives back the claims.
    fn claims(vapid: &Vapid, header: &HeaderValue) -> Value {
        let text = header.to_str().unwrap();
        let (token, key) = text.strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
        assert_eq!(decode(key).unwrap(), vapid.key.public().uncompressed());
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = Signature::new(decode(signature).unwrap().try_into().unwrap());
        vapid.key.public().verify(signed.as_bytes(), &signature).unwrap();
        let (head, claims) = signed.split_once('.').unwrap();
        let head: Value = serde_json::from_slice(&decode(head).unwrap()).unwrap();
        assert_eq!(head, json!({"typ": "JWT", "alg": "ES256"}));
        serde_json::from_slice(&decode(claims).unwrap()).unwrap()
    }

    #[test]
    fn s90_a_token_names_the_origin_and_lives_an_hour() {
        let vapid = vapid();
        for origin in ["https://fcm.googleapis.com", "https://push.corp.test:8443"] {
            let header = vapid.authorization(origin, at(0)).unwrap();
            assert!(header.is_sensitive());
            assert_eq!(
                claims(&vapid, &header),
                json!({"aud": origin, "exp": 1_800_003_600, "sub": "mailto:mfa@corp.test"})
            );
        }
    }

    #[test]
    fn c066_no_token_is_sent_near_or_past_its_end() {
        let vapid = vapid();
        let mut made = std::collections::BTreeSet::new();
        for minute in 0..26 * 60 {
            let now = at(minute * 60);
            let claims = claims(&vapid, &vapid.authorization("https://fcm.googleapis.com", now).unwrap());
            let left = claims["exp"].as_i64().unwrap() - now.as_seconds();
            assert!((900..=3600).contains(&left), "minute {minute}: {left} s left");
            made.insert(claims["exp"].as_i64().unwrap());
        }
        assert!(made.len() < 40, "tokens are kept for a while: {}", made.len());
    }

    #[test]
    fn c066_a_clock_that_is_set_takes_the_token_along() {
        let vapid = vapid();
        for second in [7200, 0, 7200] {
            let claims = claims(&vapid, &vapid.authorization("https://fcm.googleapis.com", at(second)).unwrap());
            assert_eq!(claims["exp"].as_i64(), Some(at(second + 3600).as_seconds()));
        }
    }

    #[test]
    fn a_token_that_was_not_taken_is_made_anew() {
        let vapid = vapid();
        let first = vapid.authorization("https://fcm.googleapis.com", at(0)).unwrap();
        assert_eq!(vapid.authorization("https://fcm.googleapis.com", at(0)).unwrap(), first);
        vapid.forget("https://fcm.googleapis.com");
        assert_ne!(vapid.authorization("https://fcm.googleapis.com", at(0)).unwrap(), first);
    }

    #[test]
    fn a_key_of_another_kind_is_refused() {
        assert_eq!(VapidKey::from_pkcs8(b"x").unwrap_err(), VapidError::Key);
    }
}
