//! Users whom a device verifies (S12).

use countersign_domain::{Methods, Passkey, UserVerification};
use countersign_engine::{AssertionCheck, AssertionOutcome};

use super::*;

/// A passkey that was used so often.
fn passkey(counter: u32) -> Passkey {
    Passkey { credential_id: b"one".to_vec(), credential: counter.to_string() }
}

impl Play {
    /// A login at a resource that asks for a verified user; the phone has a passkey.
    fn verified(asks: UserVerification) -> (Self, LoginId) {
        let mut play = Self::new();
        let mut resource = Resource::clone(&play.rdp.0);
        resource.policy.user_verification = asks;
        play.rdp.0 = Arc::new(resource);
        play.database.devices.get_mut(&play.phone).unwrap().passkey = Some(passkey(1));
        let login = play.start(&play.rdp());
        (play, login)
    }

    fn verify_with(&mut self, check: AssertionCheck) -> DecisionAnswer {
        let record = DecisionRecord {
            device: self.phone,
            decision: Decision::Verify,
            number: String::new(),
            user_verification: UserVerificationReached::WebAuthn,
            device_time: "2027-01-15T08:00:00Z".to_owned(),
        };
        let signature = SignatureCheck::new(|_| true);
        let submission = Box::new(Submission { record, signature, assertion: Some(check) });
        let (user, challenge) = (self.alice, self.last_asked());
        self.feed(Event::Decided { ticket: 1, user, challenge, submission });
        self.answers.pop().unwrap()
    }
}

/// Counts on.
fn right() -> AssertionCheck {
    AssertionCheck::new(|_, used| {
        let counter: u32 = used.credential.parse().unwrap();
        AssertionOutcome::Holds(passkey(counter + 1))
    })
}

#[test]
fn s12_the_use_of_a_passkey_is_noted_with_the_approval() {
    let (mut play, login) = Play::verified(UserVerification::Required);
    assert_eq!(play.verify_with(right()), DecisionAnswer::Taken(ClosingState::Approved));
    assert!(matches!(play.verdict(login), Some(Verdict::Accept(_))));
    assert_eq!(play.database.devices[&play.phone].passkey, Some(passkey(2)));
}

#[test]
fn s12_a_passkey_that_goes_away_while_it_is_checked_does_not_come_back_and_shows_nothing() {
    let (mut play, login) = Play::verified(UserVerification::Required);
    play.database.meanwhile = Some(|database| {
        database.devices.values_mut().for_each(|device| device.passkey = None);
    });
    assert_eq!(play.verify_with(right()), DecisionAnswer::UserVerificationUnsupported);
    assert_eq!(play.database.devices[&play.phone].passkey, None);
    assert_eq!(play.verdict(login), None, "it waits on");
}

#[test]
fn s12_a_passkey_that_was_used_elsewhere_meanwhile_is_checked_anew() {
    let (mut play, login) = Play::verified(UserVerification::Required);
    play.database.meanwhile = Some(|database| {
        database.devices.values_mut().for_each(|device| device.passkey = Some(passkey(7)));
    });
    // Its counter is 2, as it was when the assertion was made.
    let check = AssertionCheck::new(|_, used| {
        let higher = used.credential.parse::<u32>().unwrap() < 2;
        if higher { AssertionOutcome::Holds(passkey(2)) } else { AssertionOutcome::CounterBack }
    });
    assert_eq!(play.verify_with(check), DecisionAnswer::AssertionInvalid);
    assert_eq!(play.database.devices[&play.phone].passkey, Some(passkey(7)));
    assert_eq!(play.alerts(), ["passkey_copied"]);
    assert_eq!(play.verdict(login), None, "it waits on");
}

#[test]
fn s12_what_is_claimed_without_an_assertion_shows_nothing() {
    for asks in [UserVerification::None, UserVerification::Preferred, UserVerification::Required] {
        let (mut play, login) = Play::verified(asks);
        let record = DecisionRecord {
            device: play.phone,
            decision: Decision::Verify,
            number: String::new(),
            user_verification: UserVerificationReached::WebAuthn,
            device_time: "2027-01-15T08:00:00Z".to_owned(),
        };
        let submission = Box::new(Submission { record, signature: SignatureCheck::new(|_| true), assertion: None });
        let (user, challenge) = (play.alice, play.last_asked());
        play.feed(Event::Decided { ticket: 1, user, challenge, submission });
        assert_eq!(play.answers.pop(), Some(DecisionAnswer::AssertionInvalid), "{asks:?}");
        assert_eq!(play.verdict(login), None);
    }
}

#[test]
fn s12_no_code_is_shown_to_whom_nobody_has_verified() {
    let (mut play, _) = Play::verified(UserVerification::Required);
    let mut resource = Resource::clone(&play.rdp.0);
    resource.policy.prompt = Some(Methods { code_to_phone: true, typed: false, totp: false });
    play.rdp.0 = Arc::new(resource);
    let request = play.another(play.rdp(), 2);
    // The plain one before it ends by that.
    play.start(&request);
    let Some(Verdict::Ask(question)) = play.verdict(request.id) else { panic!("not asked") };
    let challenge = play.last_asked();
    assert_eq!(play.decide(challenge, Decision::Verify), DecisionAnswer::UserVerificationRequired);
    let DecisionAnswer::CodeShown(code) = play.verify_with(right()) else { panic!("no code") };
    assert_eq!(play.database.devices[&play.phone].passkey, Some(passkey(2)));
    let mut answer = play.another(play.rdp(), 2);
    answer.state = Some(question.state.to_vec());
    answer.credential = Credential::Password(code);
    let id = answer.id;
    play.feed(Event::Answered { request: Box::new(answer) });
    assert_eq!(play.verdict(id), Some(Verdict::accept()));
    assert_eq!(play.database.audit.last().unwrap().detail.as_deref(), Some("webauthn"));
}
