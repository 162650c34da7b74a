//! The secret that a client and the server share (RFC 2865 section 3).

use core::fmt;

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

/// Block of MD5 in octets (RFC 1321, RFC 2104 section 2).
const BLOCK: usize = 64;

/// Fewest octets that a secret may have (RFC 2865 section 3).
const SHORTEST: usize = 16;

/// Fewest octets that a secret should have.
const RECOMMENDED: usize = 24;

/// Fewest different octets that a secret may be made of.
const DIFFERENT: usize = 6;

/// What documents, installers and tired people put where a secret should be. Lower case, letters and digits only.
const WELL_KNOWN: &[&str] = &[
    "1234567890",
    "123456",
    "abc",
    "abcd",
    "abcdef",
    "admin",
    "cambiar",
    "change",
    "changeit",
    "changeme",
    "cisco",
    "client",
    "countersign",
    "default",
    "demo",
    "duo",
    "example",
    "freeradius",
    "fortinet",
    "geheim",
    "gateway",
    "guest",
    "hallo",
    "hello",
    "key",
    "letmein",
    "localhost",
    "me",
    "mein",
    "mfa",
    "my",
    "mysecret",
    "nas",
    "nps",
    "pass",
    "passwd",
    "passwort",
    "password",
    "psk",
    "qwerty",
    "qwertz",
    "radius",
    "radiussecret",
    "radsec",
    "rad",
    "root",
    "s3cr3t",
    "secret",
    "server",
    "shared",
    "sharedsecret",
    "supersecret",
    "super",
    "test",
    "testing",
    "testing123",
    "the",
    "this",
    "is",
    "a",
    "topsecret",
    "top",
    "vpn",
    "welcome",
    "whatever",
    "xyz",
    "xyzzy",
    "xyzzy5461",
];

/// Why a secret is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SecretPolicyError {
    /// It consists of words that everybody tries, with or without digits and punctuation between them.
    #[error("the shared secret is a well-known word or made of such words")]
    WellKnown,
    /// It has fewer than 16 octets.
    #[error("the shared secret has {0} octets, at least 16 are needed")]
    TooShort(usize),
    /// It is made of too few different octets, or repeats one piece.
    #[error("the shared secret repeats itself")]
    Repetitive,
}

/// What to say about a secret that is not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretStrength {
    /// 16 to 23 octets: warn.
    Short,
    /// 24 octets or more.
    Recommended,
}

/// A shared secret, with the key set-up of HMAC-MD5 and of the MD5 streams paid once.
#[derive(Clone)]
pub struct SharedSecret {
    octets: Zeroizing<Vec<u8>>,
    hmac: Hmac<Md5>,
    prefix: Md5,
}

impl SharedSecret {
    /// Takes a secret of any length over. What an administrator types goes through
    /// [`SharedSecret::check_policy`] first.
    pub fn new(octets: impl Into<Vec<u8>>) -> Self {
        let octets = Zeroizing::new(octets.into());
        let mut block = [0_u8; BLOCK];
        if let Some(head) = block.get_mut(..octets.len()) {
            head.copy_from_slice(&octets);
        } else {
            // A key longer than the block is hashed first (RFC 2104 section 2).
            let digest = Md5::digest(octets.as_slice());
            block.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        }
        let hmac = Hmac::<Md5>::new(&block.into());
        block.zeroize();
        let prefix = Md5::new().chain_update(octets.as_slice());
        Self { octets, hmac, prefix }
    }

    /// What both sides of RADIUS/TLS use, since there TLS keeps what the secret would (RFC 6614 section 2.3).
    pub fn radsec() -> Self {
        Self::new(*b"radsec")
    }

    /// Says whether a secret that somebody chose may be used.
    ///
    /// # Errors
    /// A [`SecretPolicyError`] that says why not.
    pub fn check_policy(octets: &[u8]) -> Result<SecretStrength, SecretPolicyError> {
        if is_made_of_well_known_words(octets) {
            return Err(SecretPolicyError::WellKnown);
        }
        if octets.len() < SHORTEST {
            return Err(SecretPolicyError::TooShort(octets.len()));
        }
        if is_repetitive(octets) {
            return Err(SecretPolicyError::Repetitive);
        }
        Ok(if octets.len() < RECOMMENDED { SecretStrength::Short } else { SecretStrength::Recommended })
    }

    /// Whether two secrets are the same, in time that depends on their lengths only.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.octets.ct_eq(&other.octets).into()
    }

    /// The octets themselves, to be stored encrypted or shown once.
    pub fn expose(&self) -> &[u8] {
        &self.octets
    }

    /// HMAC-MD5 keyed with the secret (RFC 3579 section 3.2).
    pub(crate) fn hmac(&self) -> Hmac<Md5> {
        self.hmac.clone()
    }

    /// MD5 that has taken the secret in (RFC 2865 section 5.2).
    pub(crate) fn md5_of_secret_and(&self, octets: &[u8]) -> [u8; 16] {
        self.prefix.clone().chain_update(octets).finalize().into()
    }

    /// Encrypts in place, 16 octets at a time: the first with MD5 of the secret and a seed, each further ones with MD5 of the
    /// secret and the encrypted ones before (RFC 2865 section 5.2, RFC 2548 section 2.4.2).
    pub(crate) fn cover(&self, seed: &[u8], octets: &mut [u8]) {
        let mut mask = Zeroizing::new(self.md5_of_secret_and(seed));
        for block in octets.chunks_mut(mask.len()) {
            block.iter_mut().zip(mask.iter()).for_each(|(octet, mask)| *octet ^= mask);
            *mask = self.md5_of_secret_and(block);
        }
    }

    /// What [`SharedSecret::cover`] has encrypted, in plain again, in place.
    pub(crate) fn uncover(&self, seed: &[u8], octets: &mut [u8]) {
        let mut mask = Zeroizing::new(self.md5_of_secret_and(seed));
        for block in octets.chunks_mut(mask.len()) {
            let next = self.md5_of_secret_and(block);
            block.iter_mut().zip(mask.iter()).for_each(|(octet, mask)| *octet ^= mask);
            *mask = next;
        }
    }

    /// Response Authenticator: MD5 over the packet with the Request Authenticator in its place, then the secret
    /// (RFC 2865 section 3).
    pub(crate) fn response_authenticator(&self, head: &[u8], request: &[u8; 16], attributes: &[u8]) -> [u8; 16] {
        let digest = Md5::new().chain_update(head).chain_update(request).chain_update(attributes);
        digest.chain_update(self.octets.as_slice()).finalize().into()
    }

    /// Message-Authenticator over the packet with zeros in its place (RFC 3579 section 3.2).
    pub(crate) fn message_authenticator(
        &self,
        head: &[u8],
        request: &[u8; 16],
        before: &[u8],
        after: &[u8],
    ) -> [u8; 16] {
        let mac = self.hmac().chain_update(head).chain_update(request).chain_update(before);
        mac.chain_update([0; 16]).chain_update(after).finalize().into_bytes().into()
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(redacted)")
    }
}

/// Whether nothing is left when well-known words, digits and punctuation are taken away.
fn is_made_of_well_known_words(octets: &[u8]) -> bool {
    let mut text: Zeroizing<Vec<u8>> = Zeroizing::new(Vec::with_capacity(octets.len()));
    text.extend(octets.iter().filter(|octet| !octet.is_ascii_punctuation() && !octet.is_ascii_whitespace()));
    text.make_ascii_lowercase();
    // reached[n]: the first n octets can be taken away; true inside if a word was among them.
    let mut reached: Vec<Option<bool>> = vec![None; text.len().saturating_add(1)];
    if let Some(first) = reached.first_mut() {
        *first = Some(false);
    }
    for at in 0..text.len() {
        let (Some(&Some(word_before)), Some(rest)) = (reached.get(at), text.get(at..)) else { continue };
        if rest.first().is_some_and(u8::is_ascii_digit)
            && let Some(next) = reached.get_mut(at.saturating_add(1))
        {
            *next = Some(next.unwrap_or(false) || word_before);
        }
        for word in WELL_KNOWN {
            if rest.starts_with(word.as_bytes())
                && let Some(next) = reached.get_mut(at.saturating_add(word.len()))
            {
                *next = Some(true);
            }
        }
    }
    reached.last().copied().flatten() == Some(true)
}

/// Whether the octets are few different ones, one piece again and again, or each the neighbour of the one before.
fn is_repetitive(octets: &[u8]) -> bool {
    let mut seen = [false; 256];
    for &octet in octets {
        if let Some(flag) = seen.get_mut(usize::from(octet)) {
            *flag = true;
        }
    }
    if seen.iter().filter(|flag| **flag).count() < DIFFERENT {
        return true;
    }
    let period_repeats = (1..=octets.len().checked_div(2).unwrap_or(0))
        .any(|period| octets.iter().zip(octets.iter().skip(period)).all(|(a, b)| a == b));
    let steps = octets.iter().zip(octets.iter().skip(1)).filter(|(a, b)| a.abs_diff(**b) <= 1).count();
    period_repeats || steps.saturating_mul(4) >= octets.len().saturating_mul(3)
}
