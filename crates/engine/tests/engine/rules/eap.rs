//! Logins whose first factor other servers have proven in a talk by EAP.

use countersign_domain::{Grant, Methods, Policy, UpstreamId};

use super::*;

const GRANTED: &[u8] = b"of the accept";

struct Wlan {
    play: Play,
    wlan: (Arc<Resource>, ClientId),
}

impl Wlan {
    fn new() -> Self {
        Self::with(Policy { eap: true, ..Policy::default() })
    }

    fn with(policy: Policy) -> Self {
        let play = Play::new();
        let (at, entropy) = (Timestamp::from_seconds(START), &play.entropy);
        let resource = Resource {
            upstream: Some(UpstreamId::new(at, entropy)),
            policy,
            ..Resource::new(ResourceId::new(at, entropy), "Wi-Fi", Primary::Radius, at)
        };
        let wlan = (Arc::new(resource), ClientId::new(at, entropy));
        Self { play, wlan }
    }

    fn request(&self) -> LoginRequest {
        LoginRequest { credential: Credential::Eap, ..self.play.request(&self.wlan, None) }
    }

    fn subject(&self, request: &LoginRequest) -> Subject {
        let users = &mut self.play.database.users.values();
        let known = users.find(|user| Some(user.name.as_str()) == request.user_typed.as_utf8());
        known.map_or(Subject::Unknown, |user| Subject::Known(user.id))
    }

    /// Servers have let in whom the request names.
    fn proven(&mut self, request: &LoginRequest, granted: &[u8]) -> LoginId {
        let subject = self.subject(request);
        let (request, attributes) = (Box::new(request.clone()), UpstreamAttributes::new(granted.to_vec()));
        let id = request.id;
        self.play.feed(Event::Proven { request, subject, arrived: self.play.now, attributes });
        id
    }

    fn login(&mut self) -> LoginId {
        let request = self.request();
        self.proven(&request, GRANTED)
    }
}

fn granted(octets: &[u8]) -> Verdict {
    Verdict::Accept(Grant { upstream: UpstreamAttributes::new(octets.to_vec()), ..Grant::default() })
}

#[test]
fn s51_whoever_is_proven_is_asked_on_the_phone_and_gets_what_the_servers_granted() {
    let mut at = Wlan::new();
    let login = at.login();
    assert_eq!((at.play.verdict(login), at.play.asked.len()), (None, 1));
    assert!(at.play.sent_on.is_empty() && at.play.passwords_checked == 0, "nobody is asked once more");
    at.play.decide(at.play.last_asked(), Decision::Verify);
    assert_eq!(at.play.verdict(login), Some(granted(GRANTED)));
    let login = at.login();
    at.play.decide(at.play.last_asked(), Decision::Deny);
    assert_eq!(at.play.verdict(login), Some(Verdict::Reject { reason: Reason::Denied, after_challenge: true }));
}

#[test]
fn s51_a_round_by_itself_proves_nothing_anywhere() {
    let mut at = Wlan::new();
    let places = [at.wlan.clone(), at.play.rdp.clone(), at.play.gateway.clone()];
    for place in places {
        let forward = Some(b"attributes".as_slice().into());
        let request = LoginRequest { credential: Credential::Eap, forward, ..at.play.request(&place, None) };
        let login = at.play.start(&request);
        assert_eq!(at.play.rejected(login), Reason::PasswordWrong);
    }
    assert!(at.play.asked.is_empty() && at.play.sent_on.is_empty() && at.play.passwords_checked == 0);
}

#[test]
fn s51_nobody_is_asked_at_a_prompt_that_no_peer_can_show() {
    let methods = Methods { code_to_phone: true, typed: true, totp: true };
    let mut at = Wlan::with(Policy { eap: true, prompt: Some(methods), ..Policy::default() });
    let login = at.login();
    assert_eq!(at.play.verdict(login), None);
    assert_eq!(at.play.asked.last().unwrap().number_mode, countersign_domain::NumberMode::None);
    at.play.decide(at.play.last_asked(), Decision::Verify);
    assert_eq!(at.play.verdict(login), Some(granted(GRANTED)));
}

#[test]
fn a_peer_that_begins_anew_takes_its_login_over_with_keys_of_its_own() {
    let mut at = Wlan::new();
    let first = at.login();
    at.play.go(5);
    let again = at.request();
    let second = at.proven(&again, b"of the second accept");
    assert_eq!((at.play.asked.len(), at.play.verdict(second)), (1, None));
    assert_eq!(at.play.verdict(first), Some(Verdict::Unanswered { reason: Reason::Superseded }));
    at.play.decide(at.play.last_asked(), Decision::Verify);
    assert_eq!(at.play.verdict(second), Some(granted(b"of the second accept")));
}

#[test]
fn nothing_that_is_typed_takes_over_what_is_proven() {
    for typed in [None, Some(&b""[..]), Some(b"right"), Some(b"\x03"), Some(b"eap")] {
        let mut at = Wlan::new();
        let first = at.login();
        let forward = Some(b"attributes".as_slice().into());
        let second = LoginRequest { forward, ..at.play.request(&at.wlan, typed) };
        at.play.upstream_says = PrimaryOutcome::Rejected;
        let second = at.play.start(&second);
        assert_eq!(at.play.rejected(second), Reason::PasswordWrong);
        assert_eq!((at.play.verdict(first), at.play.asked.len()), (None, 1));
    }
}

#[test]
fn two_places_at_once_collide() {
    let mut at = Wlan::new();
    let first = at.login();
    let mut elsewhere = at.request();
    elsewhere.source = Source { address: Some("203.0.113.9".into()) };
    let second = at.proven(&elsewhere, GRANTED);
    assert_eq!((at.play.rejected(first), at.play.rejected(second)), (Reason::Collision, Reason::Collision));
    assert_eq!(at.play.alerts(), ["collision"]);
}

#[test]
fn s108_the_clients_time_counts_from_its_request_and_not_from_the_accept() {
    let mut at = Wlan::new();
    let request = at.request();
    let (subject, arrived) = (at.subject(&request), at.play.now);
    at.play.go(40);
    let event = |attributes: &[u8]| Event::Proven {
        request: Box::new(request.clone()),
        subject: subject.clone(),
        arrived,
        attributes: UpstreamAttributes::new(attributes.to_vec()),
    };
    at.play.feed(event(GRANTED));
    assert_eq!(at.play.asked.len(), 1);
    at.play.go(19);
    assert_eq!(at.play.verdict(request.id), None);
    at.play.go(1);
    assert_eq!(at.play.rejected(request.id), Reason::Expired);
    // An Accept that comes when the client has gone asks nobody.
    let late = at.request();
    at.play.go(60);
    let attributes = UpstreamAttributes::new(GRANTED.to_vec());
    at.play.feed(Event::Proven { request: Box::new(late.clone()), subject, arrived, attributes });
    assert_eq!((at.play.rejected(late.id), at.play.asked.len()), (Reason::Expired, 1));
}

#[test]
fn s107_users_who_may_not_come_in_are_refused_and_nobody_is_asked() {
    let mut at = Wlan::new();
    let nobody = LoginRequest { user_typed: "nobody".into(), ..at.request() };
    let login = at.proven(&nobody, GRANTED);
    assert_eq!(at.play.rejected(login), Reason::UserUnknown);
    at.play.database.users.get_mut(&at.play.alice).unwrap().enabled = false;
    let login = at.login();
    assert_eq!(at.play.rejected(login), Reason::UserDisabled);
    at.play.database.users.get_mut(&at.play.alice).unwrap().enabled = true;
    at.play.database.devices.clear();
    let login = at.login();
    assert_eq!(at.play.rejected(login), Reason::NoDevice);
    assert!(at.play.asked.is_empty());
}

#[test]
fn s21_a_pause_after_wrong_passwords_holds_for_proven_logins_too() {
    let mut at = Wlan::new();
    at.play.upstream_says = PrimaryOutcome::Rejected;
    for _ in 0..40 {
        let forward = Some(b"attributes".as_slice().into());
        let wrong = LoginRequest { forward, ..at.play.request(&at.wlan, Some(b"wrong")) };
        at.play.start(&wrong);
    }
    let login = at.login();
    assert_eq!((at.play.rejected(login), at.play.asked.len()), (Reason::Limited, 0));
}
