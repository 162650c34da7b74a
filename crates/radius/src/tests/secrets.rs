use super::{REQUEST, hex};
use crate::{
    AttributeList, Code, Identifier, MessageAuthenticator, MessageAuthenticatorRule, PacketView, SecretPolicyError,
    SecretStrength, SharedSecret, encode_reply, encode_request, verify_reply,
};

#[test]
fn s47_well_known_words_are_refused() {
    for word in [
        "testing123",
        "secret",
        "radius",
        "password",
        "Passwort",
        "SECRET",
        "cisco",
        "changeme",
        "test",
        "xyzzy5461",
        "testing123testing123",
        "Secret-Password-2024",
        "radius.shared.secret",
        "this is a secret",
        "123456",
        "p",
        "1234567890123456",
        "password12345678901234567890",
        "MySuperSecretPassword!!!",
        "countersign-radius",
    ] {
        let refused = SharedSecret::check_policy(word.as_bytes()).unwrap_err();
        let expected = if word == "p" { SecretPolicyError::TooShort(1) } else { SecretPolicyError::WellKnown };
        assert_eq!(refused, expected, "{word}");
    }
}

#[test]
fn s47_fewer_than_16_octets_are_refused() {
    assert_eq!(SharedSecret::check_policy(b""), Err(SecretPolicyError::TooShort(0)));
    assert_eq!(SharedSecret::check_policy(b"kV9!qPz#7LmX2wR"), Err(SecretPolicyError::TooShort(15)));
    assert_eq!(SharedSecret::check_policy(b"kV9!qPz#7LmX2wRt"), Ok(SecretStrength::Short));
    assert_eq!(SharedSecret::check_policy(b"kV9!qPz#7LmX2wRtB4nHd8s"), Ok(SecretStrength::Short));
    assert_eq!(SharedSecret::check_policy(b"kV9!qPz#7LmX2wRtB4nHd8sy"), Ok(SecretStrength::Recommended));
}

#[test]
fn s47_repetition_is_refused() {
    for text in [
        "bbbbbbbbbbbbbbbbbbbb",
        "bcbcbcbcbcbcbcbcbc",
        "kV9!qPz#kV9!qPz#kV9!qPz#",
        "fghijklmnopqrstuv",
        "ZYXWVUTSRQPONMLK",
    ] {
        assert_eq!(SharedSecret::check_policy(text.as_bytes()), Err(SecretPolicyError::Repetitive), "{text}");
    }
}

#[test]
fn s47_generated_secrets_pass() {
    for text in [
        "0f2a9c7be1d84630a5f7c2e9b8d14a63",
        "Wq7rT2vXbN5mK8pLzG3hJ6dF9sYcA4eR",
        "7391846205938417",
        "correct horse battery staple",
    ] {
        assert!(SharedSecret::check_policy(text.as_bytes()).is_ok(), "{text}");
    }
    assert!(SharedSecret::check_policy(&(0..=255).rev().step_by(3).collect::<Vec<u8>>()).is_ok());
}

#[test]
fn s47_secrets_of_every_length_up_to_256_octets_work_on_the_wire() {
    for length in 1..=256 {
        let secret = SharedSecret::new(vec![0xa5; length]);
        let request =
            encode_request(Code::AccessRequest, Identifier(1), &REQUEST, &secret, &AttributeList::new()).unwrap();
        let request = PacketView::parse(&request).unwrap();
        assert_eq!(MessageAuthenticator::of_request(&request, &secret), MessageAuthenticator::Valid);
        let shorter = SharedSecret::new(vec![0xa5; length - 1]);
        assert_eq!(MessageAuthenticator::of_request(&request, &shorter), MessageAuthenticator::Invalid);
        let reply = encode_reply(Code::AccessReject, &request, &secret, &AttributeList::new()).unwrap();
        let rule = MessageAuthenticatorRule::Required;
        assert!(verify_reply(&reply, &REQUEST, Identifier(1), &secret, rule).is_ok());
        assert!(verify_reply(&reply, &REQUEST, Identifier(1), &shorter, rule).is_err());
    }
}

#[test]
fn s47_duplicates_are_found() {
    let one = SharedSecret::new(*b"kV9!qPz#7LmX2wRt");
    assert!(one.is_same_as(&one.clone()));
    assert!(!one.is_same_as(&SharedSecret::new(*b"kV9!qPz#7LmX2wRT")));
    assert!(!one.is_same_as(&SharedSecret::new(*b"kV9!qPz#7LmX2wR")));
}

#[test]
fn debug_shows_nothing() {
    let secret = SharedSecret::new(hex("6b563921"));
    assert_eq!(format!("{secret:?}"), "SharedSecret(redacted)");
}
