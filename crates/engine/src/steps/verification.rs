//! Whether the person before the device is verified, where the resource asks for it (S12).

use countersign_domain::{
    AuditEvent, Challenge, Commit, Device, UserSnapshot, UserVerification, UserVerificationReached, Write,
};

use super::{After, Step, View};
use crate::{AssertionOutcome, DecisionAnswer, Submission, live::Live, record};

/// What a Verify shows of the person.
pub(super) struct Shown {
    /// The word for the record; nothing where nobody asked and nothing was shown.
    pub(super) word: Option<&'static str>,
    /// What the check leaves behind.
    pub(super) write: Option<Write>,
}

/// Why a Verify does not count. The login waits on.
pub(super) enum Unverified {
    /// The device is told so, and nothing else happens.
    Refused(DecisionAnswer),
    /// The counter of the device's passkey went back.
    Copied,
}

/// Whether any of the user's devices can do what is asked for. If not nobody is asked, since nobody's Verify could be taken.
pub(super) fn is_possible(asks: UserVerification, snapshot: &UserSnapshot) -> bool {
    match asks {
        UserVerification::None | UserVerification::Preferred => true,
        UserVerification::Required => snapshot.active_devices().any(|device| device.passkey.is_some()),
    }
}

/// What a Verify shows. An assertion is checked also where none is asked for: a record must not say what was not so.
pub(super) fn shown(challenge: &Challenge, device: &Device, submission: &Submission) -> Result<Shown, Unverified> {
    let refused = |answer| Err(Unverified::Refused(answer));
    match submission.record.user_verification {
        UserVerificationReached::None => match challenge.user_verification {
            UserVerification::None => Ok(Shown { word: None, write: None }),
            UserVerification::Preferred => Ok(Shown { word: Some("unverified"), write: None }),
            UserVerification::Required => refused(DecisionAnswer::UserVerificationRequired),
        },
        UserVerificationReached::Pin => refused(DecisionAnswer::UserVerificationUnsupported),
        UserVerificationReached::WebAuthn => {
            let Some(passkey) = &device.passkey else { return refused(DecisionAnswer::UserVerificationUnsupported) };
            let Some(check) = &submission.assertion else { return refused(DecisionAnswer::AssertionInvalid) };
            match check.of(challenge, passkey) {
                AssertionOutcome::Holds(after) => {
                    let before = passkey.clone();
                    let write = (before != after).then_some(Write::UsePasskey { id: device.id, before, after });
                    Ok(Shown { word: Some("webauthn"), write })
                }
                AssertionOutcome::Fails => refused(DecisionAnswer::AssertionInvalid),
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
