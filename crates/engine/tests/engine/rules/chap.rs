//! CHAP, which only those can answer whose password is kept itself.

use countersign_domain::ChapResponse;

use super::*;

/// A login by somebody who has this password.
fn login(play: &Play, at: &(Arc<Resource>, ClientId), password: &'static [u8]) -> LoginRequest {
    let response = ChapResponse::new(Secret::new(password.to_vec()), move |secret| secret == password);
    LoginRequest { credential: Credential::Chap(response), ..play.request(at, None) }
}

fn keep(play: &mut Play) {
    play.database.chap_secrets.insert(play.alice, Secret::new(b"right".to_vec()));
}

#[test]
fn a_response_is_checked_against_the_password_that_is_kept() {
    let mut play = Play::new();
    keep(&mut play);
    let request = login(&play, &play.rdp, b"right");
    play.start(&request);
    assert_eq!((play.verdict(request.id), play.asked.len()), (None, 1));
    play.decide(play.last_asked(), Decision::Verify);
    assert_eq!(play.verdict(request.id), Some(Verdict::accept()));
    assert_eq!(play.passwords_checked, 0, "nothing is hashed");
}

#[test]
fn s21_wrong_responses_are_counted_with_wrong_passwords() {
    let mut play = Play::new();
    keep(&mut play);
    for _ in 0..4 {
        play.start(&play.request(&play.rdp, Some(b"wrong")));
        let request = login(&play, &play.rdp, b"wrong");
        play.start(&request);
        assert_eq!(play.rejected(request.id), Reason::PasswordWrong);
    }
    let request = login(&play, &play.rdp, b"right");
    play.start(&request);
    assert_eq!((play.rejected(request.id), play.alerts()), (Reason::Limited, vec!["password_paused"]));
    assert!(play.asked.is_empty());
}

#[test]
fn who_did_not_ask_for_it_cannot_use_it() {
    let mut play = Play::new();
    let request = login(&play, &play.rdp, b"right");
    play.start(&request);
    assert_eq!(play.rejected(request.id), Reason::PasswordWrong);
    assert_eq!(play.database.audit.last().unwrap().detail.as_deref(), Some("chap_not_enabled"));
    let mut request = login(&play, &play.rdp, b"right");
    request.user_typed = "nobody".into();
    play.start(&request);
    assert_eq!(play.rejected(request.id), Reason::UserUnknown);
}

#[test]
fn where_nobody_here_checks_a_password_none_is_kept_that_a_response_could_be_of() {
    let mut play = Play::new();
    keep(&mut play);
    let request = login(&play, &play.gateway, b"right");
    play.start(&request);
    assert_eq!(play.rejected(request.id), Reason::CodeWrong);
    let mut resource = (*play.rdp.0).clone();
    resource.primary = Primary::Directory;
    let request = login(&play, &(Arc::new(resource), play.rdp.1), b"right");
    play.start(&request);
    assert_eq!(play.rejected(request.id), Reason::PasswordWrong);
    assert_eq!(play.database.audit.last().unwrap().detail.as_deref(), Some("chap_not_possible"));
}

#[test]
fn s15_a_disabled_user_is_refused_with_a_right_response() {
    let mut play = Play::new();
    keep(&mut play);
    play.database.users.get_mut(&play.alice).unwrap().enabled = false;
    let request = login(&play, &play.rdp, b"right");
    play.start(&request);
    assert_eq!(play.rejected(request.id), Reason::UserDisabled);
}
