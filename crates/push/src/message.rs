//! Encryption of a push: RFC 8291 (keys) over RFC 8188 (`aes128gcm`, one record).

use aws_lc_rs::{
    aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{self, ECDH_P256, PrivateKey, UnparsedPublicKey},
    hkdf::{HKDF_SHA256, KeyType, Prk, Salt},
};
use countersign_device_protocol::{PUSH_PLAINTEXT, keys::PublicKey};
use countersign_domain::{PushSubscription, Secret};

/// The record size in the header (RFC 8188 section 2.1). A push has one record, which may be shorter.
const RECORD_SIZE: u32 = 4096;
/// Salt, record size, length of the key id, and the key id: an uncompressed point (RFC 8291 section 4).
const HEADER: usize = 16 + 4 + 1 + 65;
/// The tag of AES-GCM.
const TAG: usize = 16;
/// The largest body that every push service takes (RFC 8030 section 7.2).
pub const MAX_BODY: usize = 4096;
/// The longest plaintext that fits: the body without header, delimiter and tag (RFC 8291 section 4).
pub const MAX_PLAINTEXT: usize = MAX_BODY - HEADER - TAG - 1;

/// Why a message cannot be encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The plaintext does not fit one record.
    #[error("a plaintext of {length} octets does not fit, {MAX_PLAINTEXT} is the most")]
    TooLong {
        /// Its length.
        length: usize,
    },
    /// The browser's public key is no point on P-256.
    #[error("the subscription's p256dh is no point on P-256")]
    PublicKey,
    /// The browser's authentication secret has another length than 16 octets.
    #[error("the subscription's auth has {length} octets, not 16")]
    Auth {
        /// Its length.
        length: usize,
    },
    /// The library fails, which it does not.
    #[error("the cryptography library fails")]
    Library,
}

/// Who may read a push.
#[derive(Debug, Clone)]
pub struct Recipient {
    public: [u8; 65],
    auth: Secret,
}

impl Recipient {
    /// Takes the keys of a subscription.
    ///
    /// # Errors
    /// [`MessageError::PublicKey`] and [`MessageError::Auth`].
    pub fn new(subscription: &PushSubscription) -> Result<Self, MessageError> {
        let point = subscription.p256dh.as_slice().try_into().map_err(|_| MessageError::PublicKey)?;
        let public = *PublicKey::from_uncompressed(point).map_err(|_| MessageError::PublicKey)?.uncompressed();
        let length = subscription.auth.expose().len();
        if length != 16 {
            return Err(MessageError::Auth { length });
        }
        Ok(Self { public, auth: subscription.auth.clone() })
    }
}

/// How much padding a record gets (RFC 8188 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// Plaintext, delimiter and padding are [`PUSH_PLAINTEXT`] octets together, so that all pushes are of one size.
    Constant,
    /// The delimiter and nothing more: for a push service that found the message too large.
    Least,
}

/// Encrypts a message under a key pair made for it. `salt` must be random.
///
/// # Errors
/// [`MessageError::TooLong`]; [`MessageError::Library`].
pub fn encrypt(
    recipient: &Recipient,
    plaintext: &[u8],
    padding: Padding,
    salt: [u8; 16],
) -> Result<Vec<u8>, MessageError> {
    let ours = PrivateKey::generate(&ECDH_P256).map_err(|_| MessageError::Library)?;
    encrypt_under(&ours, recipient, plaintext, padding, salt)
}

fn encrypt_under(
    ours: &PrivateKey,
    recipient: &Recipient,
    plaintext: &[u8],
    padding: Padding,
    salt: [u8; 16],
) -> Result<Vec<u8>, MessageError> {
    let length = plaintext.len();
    if length > MAX_PLAINTEXT {
        return Err(MessageError::TooLong { length });
    }
    let our_point = ours.compute_public_key().map_err(|_| MessageError::Library)?;
    let secret = shared_secret(ours, our_point.as_ref(), recipient)?;
    let (key, nonce) = content_keys(&secret, salt)?;

    // The delimiter of a last record is 2, zeros follow (RFC 8188 section 2).
    let mut record = plaintext.to_vec();
    record.push(2);
    if padding == Padding::Constant && record.len() < PUSH_PLAINTEXT {
        record.resize(PUSH_PLAINTEXT, 0);
    }
    key.seal_in_place_append_tag(nonce, Aad::empty(), &mut record).map_err(|_| MessageError::Library)?;

    let mut body = Vec::with_capacity(HEADER + record.len());
    body.extend_from_slice(&salt);
    body.extend_from_slice(&RECORD_SIZE.to_be_bytes());
    body.push(65);
    body.extend_from_slice(our_point.as_ref());
    body.extend_from_slice(&record);
    Ok(body)
}

/// The input keying material that both sides come to (RFC 8291 section 3.4).
fn shared_secret(ours: &PrivateKey, our_point: &[u8], recipient: &Recipient) -> Result<[u8; 32], MessageError> {
    let theirs = UnparsedPublicKey::new(&ECDH_P256, &recipient.public);
    agreement::agree(ours, theirs, MessageError::PublicKey, |agreed| {
        let prk = Salt::new(HKDF_SHA256, recipient.auth.expose()).extract(agreed);
        expand(&prk, &[b"WebPush: info\0", &recipient.public, our_point])
    })
}

/// Content encryption key and nonce of the first record (RFC 8188 sections 2.2 and 2.3).
fn content_keys(secret: &[u8], salt: [u8; 16]) -> Result<(LessSafeKey, Nonce), MessageError> {
    let prk = Salt::new(HKDF_SHA256, &salt).extract(secret);
    let key = expand::<16>(&prk, &[b"Content-Encoding: aes128gcm\0"])?;
    let nonce = expand::<12>(&prk, &[b"Content-Encoding: nonce\0"])?;
    let key = UnboundKey::new(&AES_128_GCM, &key).map_err(|_| MessageError::Library)?;
    Ok((LessSafeKey::new(key), Nonce::assume_unique_for_key(nonce)))
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand<const N: usize>(prk: &Prk, info: &[&[u8]]) -> Result<[u8; N], MessageError> {
    let mut out = [0; N];
    prk.expand(info, Length(N)).and_then(|okm| okm.fill(&mut out)).map_err(|_| MessageError::Library)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64URL_NOPAD;

    use super::*;

    fn octets(text: &str) -> Vec<u8> {
        BASE64URL_NOPAD.decode(text.as_bytes()).unwrap()
    }

    fn subscription() -> PushSubscription {
        PushSubscription {
            endpoint: String::new(),
            p256dh: octets("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"),
            auth: Secret::new(octets("BTBZMqHH6r4Tts7J_aSIgg")),
        }
    }

    #[test]
    fn example_of_rfc_8291_appendix_a() {
        let ours =
            PrivateKey::from_private_key(&ECDH_P256, &octets("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw")).unwrap();
        let body = encrypt_under(
            &ours,
            &Recipient::new(&subscription()).unwrap(),
            b"When I grow up, I want to be a watermelon",
            Padding::Least,
            octets("DGv6ra1nlYgDCS1FRnbzlw").try_into().unwrap(),
        )
        .unwrap();
        assert_eq!(
            BASE64URL_NOPAD.encode(&body),
            "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl\
             7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
        );
    }

    #[test]
    fn c063_a_body_of_4096_octets_is_the_largest() {
        let recipient = Recipient::new(&subscription()).unwrap();
        let body = |length: usize| encrypt(&recipient, &vec![b'x'; length], Padding::Least, [7; 16]);
        assert_eq!(MAX_PLAINTEXT, 3993);
        assert_eq!(body(3992).unwrap().len(), 4095);
        assert_eq!(body(3993).unwrap().len(), 4096);
        assert_eq!(body(3994), Err(MessageError::TooLong { length: 3994 }));
    }

    #[test]
    fn s89_whatever_is_said_the_size_is_the_same() {
        let recipient = Recipient::new(&subscription()).unwrap();
        for length in [0, 1, 100, 510, 511] {
            let body = encrypt(&recipient, &vec![b'x'; length], Padding::Constant, [7; 16]).unwrap();
            assert_eq!(body.len(), HEADER + PUSH_PLAINTEXT + TAG, "{length}");
        }
    }

    #[test]
    fn two_messages_share_no_key() {
        let recipient = Recipient::new(&subscription()).unwrap();
        let body = || encrypt(&recipient, b"x", Padding::Constant, [7; 16]).unwrap();
        assert_ne!(body()[21..86], body()[21..86]);
    }

    #[test]
    fn keys_that_are_none_are_refused() {
        let bad = |change: fn(&mut PushSubscription)| {
            let mut subscription = subscription();
            change(&mut subscription);
            Recipient::new(&subscription).unwrap_err()
        };
        assert_eq!(bad(|s| s.p256dh[40] ^= 1), MessageError::PublicKey);
        assert_eq!(bad(|s| s.p256dh.truncate(64)), MessageError::PublicKey);
        assert_eq!(bad(|s| s.auth = Secret::new(vec![1; 15])), MessageError::Auth { length: 15 });
    }
}
