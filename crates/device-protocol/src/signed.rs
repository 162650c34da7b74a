//! The octets that are signed: no JSON, but fields in a fixed order, each preceded by its length as four octets,
//! big-endian, and a label first that says what kind of statement it is.
//!
//! A server fills these structures from its own rows, never from what a device sent (except what only the device knows:
//! decision, number, user verification, device time).

use crate::encoding::Nonce;
use crate::ids::{AccountId, ApplicationId, ChallengeId, DeploymentId, DeviceId, DeviceTime, Number, WindowId};
use crate::keys::{Thumbprint, sha256};
use crate::messages::{Decision, NumberMode, UserVerification, UserVerificationReached};
use crate::origin::Origin;

/// The first field of a decision.
pub const DECISION_LABEL: &str = "countersign-decision-v1";
/// The first field of a challenge.
pub const CHALLENGE_LABEL: &str = "countersign-challenge-v1";
/// The first field of a request for a sign-in window.
pub const WINDOW_LABEL: &str = "countersign-window-v1";
/// The first field of an endorsement of a new signing key by the old one.
pub const SIGNING_KEY_LABEL: &str = "countersign-signing-key-v1";

/// Puts fields one after the other, each behind its length.
fn concatenate(fields: &[&[u8]]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(fields.iter().map(|field| 4 + field.len()).sum());
    for field in fields {
        // All fields but the fixed ones are bounded by their types far below 4 GiB.
        let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
        octets.extend_from_slice(&length.to_be_bytes());
        octets.extend_from_slice(field);
    }
    octets
}

/// Fields 2 to 5 of everything that a device signs: for which server, by whom.
#[derive(Debug, Clone, Copy)]
pub struct Party<'a> {
    /// The server's configured origin.
    pub origin: &'a Origin,
    /// The installation.
    pub deployment: &'a DeploymentId,
    /// The account that the device answers for.
    pub account: &'a AccountId,
    /// The device.
    pub device: &'a DeviceId,
}

impl<'a> Party<'a> {
    fn fields(&self) -> [&'a [u8]; 4] {
        [
            self.origin.as_str().as_bytes(),
            self.deployment.as_str().as_bytes(),
            self.account.as_str().as_bytes(),
            self.device.as_str().as_bytes(),
        ]
    }
}

/// Fields 2 to 9 of a challenge and of its decision: which login, and what was shown of it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Server, account, device.
    pub party: Party<'a>,
    /// The challenge.
    pub challenge: &'a ChallengeId,
    /// Its nonce.
    pub nonce: &'a Nonce,
    /// The application that the login is for.
    pub application: &'a ApplicationId,
    /// The octets of the context as they are shown; signed as their SHA-256.
    pub context: &'a [u8],
}

impl<'a> Subject<'a> {
    fn octets(&self, label: &'a str, context_hash: &[u8; 32], tail: &[&[u8]]) -> Vec<u8> {
        let [origin, deployment, account, device] = self.party.fields();
        let head: [&[u8]; 9] = [
            label.as_bytes(),
            origin,
            deployment,
            account,
            device,
            self.challenge.as_str().as_bytes(),
            self.nonce.as_bytes(),
            self.application.as_str().as_bytes(),
            context_hash,
        ];
        concatenate(&[&head, tail].concat())
    }
}

/// What a device signs to answer a challenge, 14 fields.
#[derive(Debug, Clone, Copy)]
pub struct SignedDecision<'a> {
    /// Fields 2 to 9.
    pub subject: Subject<'a>,
    /// Field 10.
    pub decision: Decision,
    /// Field 11: the number that was typed in; an empty field when there is none.
    pub number: Option<&'a Number>,
    /// Field 12.
    pub number_mode: NumberMode,
    /// Field 13: what was reached.
    pub user_verification: UserVerificationReached,
    /// Field 14: the device's clock, as text.
    pub device_time: &'a DeviceTime,
}

impl SignedDecision<'_> {
    /// The octets to sign.
    pub fn octets(&self) -> Vec<u8> {
        self.subject.octets(
            DECISION_LABEL,
            &sha256(self.subject.context),
            &[
                self.decision.as_str().as_bytes(),
                self.number.map(Number::expose).unwrap_or_default().as_bytes(),
                self.number_mode.as_str().as_bytes(),
                self.user_verification.as_str().as_bytes(),
                self.device_time.as_str().as_bytes(),
            ],
        )
    }
}

/// What the server signs when it hands a challenge to a device, 11 fields.
#[derive(Debug, Clone, Copy)]
pub struct SignedChallenge<'a> {
    /// Fields 2 to 9.
    pub subject: Subject<'a>,
    /// Field 10.
    pub number_mode: NumberMode,
    /// Field 11: what the policy asks for.
    pub user_verification: UserVerification,
}

impl SignedChallenge<'_> {
    /// The octets to sign.
    pub fn octets(&self) -> Vec<u8> {
        self.subject.octets(
            CHALLENGE_LABEL,
            &sha256(self.subject.context),
            &[self.number_mode.as_str().as_bytes(), self.user_verification.as_str().as_bytes()],
        )
    }
}

/// What a device signs to open a sign-in window, 9 fields.
#[derive(Debug, Clone, Copy)]
pub struct SignedWindow<'a> {
    /// Fields 2 to 5.
    pub party: Party<'a>,
    /// Field 6.
    pub window: &'a WindowId,
    /// Field 7.
    pub application: &'a ApplicationId,
    /// Field 8: what was reached.
    pub user_verification: UserVerificationReached,
    /// Field 9: the device's clock, as text.
    pub device_time: &'a DeviceTime,
}

impl SignedWindow<'_> {
    /// The octets to sign.
    pub fn octets(&self) -> Vec<u8> {
        let [origin, deployment, account, device] = self.party.fields();
        concatenate(&[
            WINDOW_LABEL.as_bytes(),
            origin,
            deployment,
            account,
            device,
            self.window.as_str().as_bytes(),
            self.application.as_str().as_bytes(),
            self.user_verification.as_str().as_bytes(),
            self.device_time.as_str().as_bytes(),
        ])
    }
}

/// What an old signing key signs to hand over to a new one, 2 fields: the label and the 32 octets of
/// the new key's thumbprint.
pub fn endorsement_octets(new: &Thumbprint) -> Vec<u8> {
    concatenate(&[SIGNING_KEY_LABEL.as_bytes(), new.as_bytes()])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::{Scene, device_key, random, server_key};
    use crate::keys::Signature;

    /// Reads fields back, as a check of the form.
    fn fields(mut octets: &[u8]) -> Vec<Vec<u8>> {
        let mut fields = Vec::new();
        while let Some((length, rest)) = octets.split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap();
            let (field, rest) = rest.split_at(length);
            fields.push(field.to_vec());
            octets = rest;
        }
        assert!(octets.is_empty());
        fields
    }

    fn decision<'a>(scene: &'a Scene, number: Option<&'a Number>) -> SignedDecision<'a> {
        SignedDecision {
            subject: scene.subject(),
            decision: Decision::Verify,
            number,
            number_mode: NumberMode::Typed,
            user_verification: UserVerificationReached::None,
            device_time: &scene.device_time,
        }
    }

    /// Scenes that differ from the first in one field each.
    fn changed_scenes() -> Vec<Scene> {
        let base = Scene::new();
        let mut nonce = *base.nonce.as_bytes();
        nonce[31] ^= 1;
        vec![
            Scene { origin: "https://mfa.example.com:8443".parse().unwrap(), ..base.clone() },
            Scene { origin: "https://staging.example.com".parse().unwrap(), ..base.clone() },
            Scene { deployment: "other".parse().unwrap(), ..base.clone() },
            Scene { account: "other".parse().unwrap(), ..base.clone() },
            Scene { device: "other".parse().unwrap(), ..base.clone() },
            Scene { challenge: "other".parse().unwrap(), ..base.clone() },
            Scene { nonce: Nonce::new(nonce), ..base.clone() },
            Scene { application: "wiki".parse().unwrap(), ..base.clone() },
            Scene { context: [base.context.as_slice(), b" "].concat(), ..base },
        ]
    }

    #[test]
    fn s03_a_decision_has_14_fields_in_the_order_of_the_page() {
        let scene = Scene::new();
        let number = Number::new("042137").unwrap();
        let parts = fields(&decision(&scene, Some(&number)).octets());
        let expected: [&[u8]; 14] = [
            b"countersign-decision-v1",
            b"https://mfa.example.com",
            b"0198c1de-4a00-7000-8000-000000000001",
            b"0198c1de-4a00-7000-8000-000000000002",
            b"0198c1de-4a00-7000-8000-000000000003",
            scene.challenge.as_str().as_bytes(),
            scene.nonce.as_bytes(),
            b"vpn",
            &sha256(&scene.context),
            b"verify",
            b"042137",
            b"typed",
            b"none",
            b"2026-01-31T09:05:07.250Z",
        ];
        assert_eq!(parts, expected);
        assert_eq!(fields(&decision(&scene, None).octets())[10], b"");
    }

    #[test]
    fn s03_a_challenge_has_11_fields_and_a_window_9() {
        let scene = Scene::new();
        let challenge = SignedChallenge {
            subject: scene.subject(),
            number_mode: NumberMode::CodeToPhone,
            user_verification: UserVerification::Preferred,
        };
        let parts = fields(&challenge.octets());
        assert_eq!(parts.len(), 11);
        assert_eq!(parts[0], b"countersign-challenge-v1");
        assert_eq!(parts[1..9], fields(&decision(&scene, None).octets())[1..9]);
        assert_eq!(parts[9..], [b"code_to_phone".to_vec(), b"preferred".to_vec()]);

        let window = "w".parse().unwrap();
        let window = SignedWindow {
            party: scene.party(),
            window: &window,
            application: &scene.application,
            user_verification: UserVerificationReached::Pin,
            device_time: &scene.device_time,
        };
        let parts = fields(&window.octets());
        assert_eq!(parts[0], b"countersign-window-v1");
        assert_eq!(parts[1..5], fields(&challenge.octets())[1..5]);
        assert_eq!(parts[5..], [b"w".to_vec(), b"vpn".to_vec(), b"pin".to_vec(), b"2026-01-31T09:05:07.250Z".to_vec()]);

        let thumbprint = server_key().public().thumbprint();
        let endorsement = fields(&endorsement_octets(&thumbprint));
        assert_eq!(endorsement, [b"countersign-signing-key-v1".to_vec(), thumbprint.as_bytes().to_vec()]);
    }

    /// Each field of the decision is changed alone; no two of the results are alike and the signature fits only one.
    #[test]
    fn s03_each_changed_field_changes_the_octets_and_breaks_the_signature() {
        let scene = Scene::new();
        let (number, other_number) = (Number::new("042137").unwrap(), Number::new("042138").unwrap());
        let base = decision(&scene, Some(&number));
        let key = device_key();
        let signature = key.sign(&base.octets(), &random()).unwrap();
        assert_eq!(key.public().verify(&base.octets(), &signature), Ok(()));

        let time = DeviceTime::new("2026-01-31T09:05:07.251Z").unwrap();
        let scenes = changed_scenes();
        let mut others: Vec<_> = scenes.iter().map(|scene| decision(scene, Some(&number)).octets()).collect();
        others.extend(
            [
                SignedDecision { decision: Decision::Deny, ..base },
                SignedDecision { decision: Decision::DenyReport, ..base },
                SignedDecision { number: None, ..base },
                SignedDecision { number: Some(&other_number), ..base },
                SignedDecision { number_mode: NumberMode::None, ..base },
                SignedDecision { number_mode: NumberMode::CodeToPhone, ..base },
                SignedDecision { user_verification: UserVerificationReached::Pin, ..base },
                SignedDecision { user_verification: UserVerificationReached::WebAuthn, ..base },
                SignedDecision { device_time: &time, ..base },
            ]
            .map(|decision| decision.octets()),
        );
        for octets in &others {
            assert!(key.public().verify(octets, &signature).is_err());
        }
        let count = others.len() + 1;
        let distinct: BTreeSet<_> = others.into_iter().chain([base.octets()]).collect();
        assert_eq!(distinct.len(), count);
    }

    #[test]
    fn s03_each_changed_field_of_a_challenge_breaks_the_servers_signature() {
        let scene = Scene::new();
        let base = SignedChallenge {
            subject: scene.subject(),
            number_mode: NumberMode::Typed,
            user_verification: UserVerification::None,
        };
        let key = server_key();
        let signature = key.sign(&base.octets(), &random()).unwrap();
        let scenes = changed_scenes();
        let others = scenes.iter().map(|scene| SignedChallenge { subject: scene.subject(), ..base }).chain([
            SignedChallenge { number_mode: NumberMode::None, ..base },
            SignedChallenge { number_mode: NumberMode::CodeToPhone, ..base },
            SignedChallenge { user_verification: UserVerification::Preferred, ..base },
            SignedChallenge { user_verification: UserVerification::Required, ..base },
        ]);
        for other in others {
            assert!(key.public().verify(&other.octets(), &signature).is_err(), "{other:?}");
        }
    }

    #[test]
    fn s03_a_signature_of_one_kind_is_no_signature_of_another() {
        let scene = Scene::new();
        let key = server_key();
        let challenge = SignedChallenge {
            subject: scene.subject(),
            number_mode: NumberMode::None,
            user_verification: UserVerification::None,
        };
        let signature: Signature = key.sign(&challenge.octets(), &random()).unwrap();
        assert!(key.public().verify(&decision(&scene, None).octets(), &signature).is_err());
        assert!(key.public().verify(&endorsement_octets(&key.public().thumbprint()), &signature).is_err());
    }

    proptest! {
        /// No two lists of fields have the same octets: nothing can slide from one field into its neighbour.
        #[test]
        fn s03_fields_can_be_read_back(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(fields(&concatenate(&slices)), parts);
        }

        #[test]
        fn s03_text_moved_over_a_border_changes_the_octets(text in "[a-z]{2,20}", at in 1usize..19) {
            let at = at.min(text.len() - 1);
            let base = Scene::new();
            let (left, right) = text.split_at(at);
            let (first, rest) = right.split_at(1);
            let (account, device) = (AccountId::new(left).unwrap(), DeviceId::new(right).unwrap());
            let one = Scene { account, device, ..base.clone() };
            let moved = Scene {
                account: AccountId::new(format!("{left}{first}")).unwrap(),
                device: DeviceId::new(format!("{rest}x")).unwrap(),
                ..base
            };
            prop_assert_ne!(decision(&one, None).octets(), decision(&moved, None).octets());
        }
    }
}
