//! Examples of the RFCs.

use hmac::Mac;

use super::hex;
use crate::{
    AttributeType, Code, Credential, Identifier, MessageAuthenticator, MessageAuthenticatorRule, PacketView,
    PasswordForm, Proof, SharedSecret, UserPassword, chap_matches, verify_reply, verify_request,
};

fn secret() -> SharedSecret {
    SharedSecret::new(*b"xyzzy5461")
}

/// The examples of RFC 2865 are from before Message-Authenticator.
const RULE: MessageAuthenticatorRule = MessageAuthenticatorRule::Optional;

const TELNET_REQUEST: &str = include_str!("../../testdata/rfc2865_7.1_access_request.hex");
const TELNET_ACCEPT: &str = include_str!("../../testdata/rfc2865_7.1_access_accept.hex");
const CHAP_REQUEST: &str = include_str!("../../testdata/rfc2865_7.2_access_request.hex");
const CHAP_ACCEPT: &str = include_str!("../../testdata/rfc2865_7.2_access_accept.hex");
const CHALLENGE_REQUEST: &str = include_str!("../../testdata/rfc2865_7.3_access_request.hex");
const CHALLENGE: &str = include_str!("../../testdata/rfc2865_7.3_access_challenge.hex");
const STATUS_SERVER: &str = include_str!("../../testdata/rfc5997_6.1_status_server.hex");
const STATUS_ACCEPT: &str = include_str!("../../testdata/rfc5997_6.1_access_accept.hex");

#[test]
fn rfc2865_7_1_pap() {
    let (request, accept) = (hex(TELNET_REQUEST), hex(TELNET_ACCEPT));
    let request = PacketView::parse(&request).unwrap();
    assert_eq!((request.code(), request.identifier()), (Code::AccessRequest, Identifier(0)));
    assert_eq!(request.attribute(AttributeType::USER_NAME), Some(&b"nemo"[..]));
    assert_eq!(request.attribute(AttributeType::NAS_IP_ADDRESS), Some(&[192, 168, 1, 16][..]));
    let Ok(Credential::UserPassword(hidden)) = Credential::of(&request) else { panic!("no password") };
    let password = UserPassword::unhide(hidden, &secret(), &request.authenticator()).unwrap();
    assert_eq!((password.octets(), password.form()), (&b"arctangent"[..], PasswordForm::Plain));
    assert_eq!(UserPassword::hide(b"arctangent", &secret(), &request.authenticator()).unwrap(), hidden);
    let accept = verify_reply(&accept, &request.authenticator(), Identifier(0), &secret(), RULE).unwrap();
    assert_eq!(accept.attribute(AttributeType::LOGIN_IP_HOST), Some(&[192, 168, 1, 3][..]));
}

#[test]
fn rfc2865_7_2_chap() {
    let (request, accept) = (hex(CHAP_REQUEST), hex(CHAP_ACCEPT));
    let request = PacketView::parse(&request).unwrap();
    let Ok(Credential::Chap { identifier, response, challenge }) = Credential::of(&request) else { panic!("no chap") };
    assert_eq!((identifier, challenge), (0x16, &request.authenticator().octets()[..]));
    assert!(chap_matches(identifier, response, challenge, b"arctangent"));
    assert!(!chap_matches(identifier, response, challenge, b"arctangenu"));
    assert!(!chap_matches(identifier ^ 1, response, challenge, b"arctangent"));
    verify_reply(&accept, &request.authenticator(), Identifier(1), &secret(), RULE).unwrap();
}

#[test]
fn rfc2865_7_3_challenge() {
    let (request, challenge) = (hex(CHALLENGE_REQUEST), hex(CHALLENGE));
    let request = PacketView::parse(&request).unwrap();
    let hidden = request.attribute(AttributeType::USER_PASSWORD).unwrap();
    let password = UserPassword::unhide(hidden, &secret(), &request.authenticator()).unwrap();
    assert_eq!(password.octets(), b"challenge");
    let challenge = verify_reply(&challenge, &request.authenticator(), Identifier(2), &secret(), RULE).unwrap();
    assert_eq!(challenge.code(), Code::AccessChallenge);
    assert_eq!(challenge.attribute(AttributeType::STATE), Some(&b"32769430"[..]));
}

#[test]
fn s53_c078_rfc5997_6_1_status_server() {
    let (request, accept) = (hex(STATUS_SERVER), hex(STATUS_ACCEPT));
    let request = PacketView::parse(&request).unwrap();
    assert_eq!(MessageAuthenticator::of_request(&request, &secret()), MessageAuthenticator::Valid);
    assert_eq!(verify_request(&request, &secret(), RULE), Ok(Proof::MessageAuthenticator));
    verify_reply(&accept, &request.authenticator(), request.identifier(), &secret(), RULE).unwrap();
}

#[test]
fn rfc2202_2_hmac_md5_with_short_and_long_keys() {
    let long = [0xaa; 80];
    let cases: [(&[u8], &[u8], &str); 3] = [
        (b"Jefe", b"what do ya want for nothing?", "750c783e6ab0b503eaa86e310a5db738"),
        (&long, b"Test Using Larger Than Block-Size Key - Hash Key First", "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd"),
        (&[0x0b; 16], b"Hi There", "9294727a3638bb1c13f48ef8158bfc9d"),
    ];
    for (key, data, digest) in cases {
        let mac = SharedSecret::new(key).hmac().chain_update(data).finalize().into_bytes();
        assert_eq!(mac.as_slice(), hex(digest));
    }
}
