//! Whether the person before the device is verified, where the resource asks for it (S12).

use countersign_domain::{
    AuditEvent, Commit, Device, Passkey, UserSnapshot, UserVerification, UserVerificationReached, Write,
};

use super::{After, Step, View};
use crate::{AssertionOutcome, DecisionAnswer, live::Live, record};

/// What a device shows of the person before it.
pub(super) struct Shown {
    /// The word for the record; nothing where nobody asked and nothing was shown.
    pub(super) word: Option<&'static str>,
    /// What the check leaves behind.
    pub(super) write: Option<Write>,
}

/// Why what a device asks for is not done. Nothing else happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unverified {
    /// The resource asks for a verified person, and nobody says that there was one.
    Required,
    /// It is claimed in a way that cannot be checked, or not for this device.
    Unsupported,
    /// The assertion shows nothing.
    Invalid,
    /// The same, since the counter of the device's passkey went back.
    Copied,
}

/// Whether any of the user's devices can do what is asked for. If not nobody is asked, since nobody's Verify could be taken.
pub(super) fn is_possible(asks: UserVerification, snapshot: &UserSnapshot) -> bool {
    match asks {
        UserVerification::None | UserVerification::Preferred => true,
        UserVerification::Required => snapshot.active_devices().any(|device| device.passkey.is_some()),
    }
}

/// What a device shows that claims to have reached `claim`; `check` checks its assertion. That is done also where none is asked
/// for: a record must not say what was not so.
pub(super) fn shown(
    asks: UserVerification,
    claim: UserVerificationReached,
    device: &Device,
    check: Option<impl Fn(&Passkey) -> AssertionOutcome>,
) -> Result<Shown, Unverified> {
    match claim {
        UserVerificationReached::None => match asks {
            UserVerification::None => Ok(Shown { word: None, write: None }),
            UserVerification::Preferred => Ok(Shown { word: Some("unverified"), write: None }),
            UserVerification::Required => Err(Unverified::Required),
        },
        UserVerificationReached::Pin => Err(Unverified::Unsupported),
        UserVerificationReached::WebAuthn => {
            let passkey = device.passkey.as_ref().ok_or(Unverified::Unsupported)?;
            match check.ok_or(Unverified::Invalid)?(passkey) {
                AssertionOutcome::Holds(after) => {
                    let before = passkey.clone();
                    let write = (before != after).then_some(Write::UsePasskey { id: device.id, before, after });
                    Ok(Shown { word: Some("webauthn"), write })
                }
                AssertionOutcome::Fails => Err(Unverified::Invalid),
                AssertionOutcome::CounterBack => Err(Unverified::Copied),
            }
        }
    }
}

/// Somebody has a copy of the device's passkey, or the authenticator is broken: somebody should look at it.
pub(super) fn copied(view: &View<'_>, live: &Live, ticket: u64, device: &Device) -> Step {
    let alert = record::alert(live, view.now.wall, "passkey_copied");
    let audit = vec![AuditEvent { device: Some(device.id), ..alert }];
    let after = vec![After::Answer { ticket, answer: DecisionAnswer::AssertionInvalid }];
    Step::Commit { commit: Commit { writes: Vec::new(), audit }, after }
}
