//! Keys and values that the tests and the page's vectors share. Both private keys are published in RFCs.

use aws_lc_rs::rand::SystemRandom;
use data_encoding::HEXLOWER;

use crate::encoding::Nonce;
use crate::ids::{AccountId, ApplicationId, ChallengeId, DeploymentId, DeviceId, DeviceTime};
use crate::keys::{PublicKey, SigningKey};
use crate::origin::Origin;
use crate::signed::{Party, Subject};

/// RFC 6979 appendix A.2.5, as PKCS#8.
const DEVICE_KEY: &str = "308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420\
    c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721a14403420004\
    60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6\
    7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";

/// RFC 7515 appendix A.3, as PKCS#8.
const SERVER_KEY: &str = "308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420\
    8e9b109e719098bf980487df1f5d77e9cb29606ebed2263b5f57c213df84f4b2a14403420004\
    7fcdce2770f6c45d4183cbee6fdb4b7b580733357be9ef13bacf6e3c7bd15445\
    c7f144cd1bbd9b7e872cdfedb9eeb9f4b3695d6ea90b24ad8a4623288588e5ad";

/// RFC 7517 appendix A.1.
const NEXT_KEY: &str = r#"{"kty":"EC","crv":"P-256",
    "x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    "use":"enc","kid":"1"}"#;

pub(crate) fn device_key() -> SigningKey {
    SigningKey::from_pkcs8(&HEXLOWER.decode(DEVICE_KEY.as_bytes()).unwrap()).unwrap()
}

pub(crate) fn server_key() -> SigningKey {
    SigningKey::from_pkcs8(&HEXLOWER.decode(SERVER_KEY.as_bytes()).unwrap()).unwrap()
}

pub(crate) fn next_key() -> PublicKey {
    PublicKey::from_jwk(NEXT_KEY).unwrap()
}

pub(crate) fn random() -> SystemRandom {
    SystemRandom::new()
}

/// The texts of a challenge, owned, so that tests can change one.
#[derive(Debug, Clone)]
pub(crate) struct Scene {
    pub(crate) origin: Origin,
    pub(crate) deployment: DeploymentId,
    pub(crate) account: AccountId,
    pub(crate) device: DeviceId,
    pub(crate) challenge: ChallengeId,
    pub(crate) nonce: Nonce,
    pub(crate) application: ApplicationId,
    pub(crate) context: Vec<u8>,
    pub(crate) device_time: DeviceTime,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let mut nonce = [0; 32];
        for (value, octet) in (0u8..).zip(nonce.iter_mut()) {
            *octet = value;
        }
        Self {
            origin: Origin::parse("https://mfa.example.com").unwrap(),
            deployment: DeploymentId::new("0198c1de-4a00-7000-8000-000000000001").unwrap(),
            account: AccountId::new("0198c1de-4a00-7000-8000-000000000002").unwrap(),
            device: DeviceId::new("0198c1de-4a00-7000-8000-000000000003").unwrap(),
            challenge: ChallengeId::from_bytes(*b"challenge id 001"),
            nonce: Nonce::new(nonce),
            application: ApplicationId::new("vpn").unwrap(),
            context: concat!(
                r#"{"application":{"id":"vpn","name":"VPN Zürich","kind":"radius"},"user":"ada","protocol":"radius","#,
                r#""client":{"address":"203.0.113.7","trust":"reported"},"place":null,"#,
                r#""requested_at":"2026-01-31T09:05:00Z","expires_at":"2026-01-31T09:06:00Z","recent_approval":null}"#
            )
            .as_bytes()
            .to_vec(),
            device_time: DeviceTime::new("2026-01-31T09:05:07.250Z").unwrap(),
        }
    }

    pub(crate) fn party(&self) -> Party<'_> {
        Party { origin: &self.origin, deployment: &self.deployment, account: &self.account, device: &self.device }
    }

    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject {
            party: self.party(),
            challenge: &self.challenge,
            nonce: &self.nonce,
            application: &self.application,
            context: &self.context,
        }
    }
}
