//! Logins whose first factor other RADIUS servers check.

use countersign_domain::{ChapResponse, Expects, Grant, Policy, UpstreamAttributes, UpstreamId};

use super::*;

const FORWARD: &[u8] = b"attributes of the request";

type Place = (Arc<Resource>, ClientId);

struct Nps {
    play: Play,
    vpn: Place,
    gateway: Place,
}

impl Nps {
    fn new() -> Self {
        let play = Play::new();
        let resource = |name: &str, credential| {
            let (at, entropy) = (Timestamp::from_seconds(START), &play.entropy);
            let resource = Resource {
                upstream: Some(UpstreamId::new(at, entropy)),
                policy: Policy { credential, ..Policy::default() },
                ..Resource::new(ResourceId::new(at, entropy), name, Primary::Radius, at)
            };
            (Arc::new(resource), ClientId::new(at, entropy))
        };
        let (vpn, gateway) = (resource("VPN behind NPS", Expects::Password), resource("RD Gateway", Expects::Nothing));
        Self { play, vpn, gateway }
    }

    fn login(&self, at: &Place, password: Option<&[u8]>) -> LoginRequest {
        LoginRequest { forward: Some(FORWARD.into()), ..self.play.request(at, password) }
    }

    /// A login at the VPN with a password.
    fn vpn(&mut self, password: &[u8]) -> LoginId {
        let request = self.login(&self.vpn, Some(password));
        self.play.start(&request)
    }

    /// A login at the gateway, which sends no password.
    fn gateway(&mut self) -> LoginId {
        let request = self.login(&self.gateway, None);
        self.play.start(&request)
    }

    fn says(&mut self, outcome: PrimaryOutcome) {
        self.play.upstream_says = outcome;
    }

    /// What the newest record of a login's end says beside the reason.
    fn detail(&self) -> Option<&str> {
        self.play.database.audit.iter().rev().find(|event| event.result.is_some()).unwrap().detail.as_deref()
    }
}

fn of_the_upstream() -> Verdict {
    Verdict::Accept(Grant { upstream: UpstreamAttributes::new(b"of the upstream".to_vec()), ..Grant::default() })
}

#[test]
fn the_phone_is_asked_after_the_servers_and_what_they_granted_is_given() {
    let mut at = Nps::new();
    let login = at.vpn(b"right");
    let (attributes, password, budget) = at.play.sent_on.pop().unwrap();
    assert_eq!((attributes.expose(), password.expose()), (FORWARD, &b"right"[..]));
    assert_eq!(budget, Duration::from_secs(40), "the last third of 60 s is the phone's");
    assert_eq!((at.play.verdict(login), at.play.asked.len()), (None, 1));
    at.play.decide(at.play.last_asked(), Decision::Verify);
    assert_eq!(at.play.verdict(login), Some(of_the_upstream()));
}

#[test]
fn a_code_behind_the_password_is_not_sent_on() {
    let mut at = Nps::new();
    let login = at.vpn(&[b"right,".to_vec(), at.play.code_now()].concat());
    assert_eq!(at.play.sent_on[0].1.expose(), b"right");
    assert_eq!((at.play.verdict(login), at.play.asked.len()), (Some(of_the_upstream()), 0));
}

#[test]
fn c027_after_a_reject_nobody_is_asked_and_the_record_says_which_factor_failed() {
    let mut at = Nps::new();
    at.says(PrimaryOutcome::Rejected);
    let login = at.vpn(b"wrong");
    assert_eq!(at.play.rejected(login), Reason::PasswordWrong);
    assert_eq!((at.detail(), at.play.asked.len()), (Some("primary_rejected"), 0));
    let login = at.gateway();
    assert_eq!(at.play.rejected(login), Reason::NotAllowed);
    assert_eq!((at.detail(), at.play.asked.len()), (Some("primary_rejected"), 0));
}

#[test]
fn s109_wrong_passwords_are_counted_and_the_servers_are_left_alone() {
    let mut at = Nps::new();
    at.says(PrimaryOutcome::Rejected);
    for _ in 0..40 {
        at.vpn(b"wrong");
    }
    let sent = at.play.sent_on.len();
    assert!((1..20).contains(&sent), "{sent}");
    assert_eq!(at.play.alerts(), ["password_paused"]);
    at.says(PrimaryOutcome::Right);
    let login = at.vpn(b"right");
    assert_eq!((at.play.rejected(login), at.play.sent_on.len()), (Reason::Limited, sent));
    // A gateway has checked the password itself; what others type elsewhere does not shut it.
    let login = at.gateway();
    assert_eq!((at.play.verdict(login), at.play.asked.len()), (None, 1));
}

#[test]
fn s109_a_refused_authorisation_is_no_wrong_password() {
    let mut at = Nps::new();
    at.says(PrimaryOutcome::Rejected);
    for _ in 0..40 {
        at.gateway();
    }
    assert_eq!((at.play.sent_on.len(), at.play.alerts().len()), (40, 0));
    at.says(PrimaryOutcome::Right);
    at.vpn(b"right");
    assert_eq!(at.play.asked.len(), 1);
}

#[test]
fn s109_side_by_side_no_more_are_sent_on_than_count() {
    let mut at = Nps::new();
    at.says(PrimaryOutcome::Rejected);
    at.play.side_by_side = Some(Vec::new());
    for port in 0..40 {
        let request = at.play.another(at.login(&at.vpn, Some(b"wrong")), port);
        at.play.start(&request);
    }
    let sent = at.play.sent_on.len();
    assert!((1..20).contains(&sent), "{sent}");
}

#[test]
fn s56_what_a_request_carries_is_what_the_resource_expects() {
    let mut at = Nps::new();
    for empty in [None, Some(&b""[..]), Some(b"\0"), Some(b"\0abc")] {
        let request = at.login(&at.vpn, empty);
        at.play.start(&request);
        assert_eq!(at.play.rejected(request.id), Reason::PasswordWrong);
    }
    let request = at.login(&at.gateway, Some(b"right"));
    at.play.start(&request);
    assert_eq!(at.play.rejected(request.id), Reason::PasswordWrong);
    assert_eq!(at.detail(), Some("credential_not_expected"));
    assert!(at.play.sent_on.is_empty(), "nobody is asked");
}

#[test]
fn a_gateways_request_is_sent_on_without_a_password() {
    let mut at = Nps::new();
    let login = at.gateway();
    assert!(at.play.sent_on[0].1.is_empty());
    at.play.decide(at.play.last_asked(), Decision::Verify);
    assert_eq!(at.play.verdict(login), Some(of_the_upstream()));
}

#[test]
fn a_chap_response_is_sent_on_among_the_attributes() {
    let mut at = Nps::new();
    let response = ChapResponse::new(Secret::new(b"response".to_vec()), |_| false);
    let request = LoginRequest { credential: Credential::Chap(response), ..at.login(&at.vpn, None) };
    at.play.start(&request);
    assert!(at.play.sent_on[0].1.is_empty());
    assert_eq!((at.play.verdict(request.id), at.play.asked.len()), (None, 1));
}

#[test]
fn s43_s108_nothing_but_a_yes_lets_anybody_in() {
    let says = [
        (PrimaryOutcome::Unavailable("upstream_silent"), Reason::Unavailable, Some("upstream_silent")),
        (PrimaryOutcome::Refused("upstream_challenge"), Reason::AccountRefused, Some("upstream_challenge")),
        (PrimaryOutcome::SomebodyElse, Reason::EapIdentityUnproven, None),
        (PrimaryOutcome::Looped, Reason::Loop, None),
        (PrimaryOutcome::Busy, Reason::Limited, None),
    ];
    for (outcome, reason, detail) in says {
        let mut at = Nps::new();
        at.says(outcome);
        for _ in 0..20 {
            let login = at.vpn(b"right");
            assert_eq!((at.play.rejected(login), at.detail()), (reason, detail));
        }
        let login = at.gateway();
        assert_eq!(at.play.rejected(login), reason);
        assert!(at.play.asked.is_empty());
        // None of it was a wrong password.
        at.says(PrimaryOutcome::Right);
        at.vpn(b"right");
        assert_eq!(at.play.asked.len(), 1);
    }
}

#[test]
fn without_an_upstream_or_its_attributes_nobody_is_let_in() {
    let mut at = Nps::new();
    let request = LoginRequest { forward: None, ..at.login(&at.vpn, Some(b"right")) };
    at.play.start(&request);
    assert_eq!((at.play.rejected(request.id), at.detail()), (Reason::Unavailable, Some("no_upstream")));
    let mut resource = (*at.vpn.0).clone();
    resource.upstream = None;
    let request = at.login(&(Arc::new(resource), at.vpn.1), Some(b"right"));
    at.play.start(&request);
    assert_eq!((at.play.rejected(request.id), at.detail()), (Reason::Unavailable, Some("no_upstream")));
}

#[test]
fn s109_nobody_is_asked_about_users_whom_nobody_here_knows() {
    let mut at = Nps::new();
    for request in [at.login(&at.vpn, Some(b"right")), at.login(&at.gateway, None)] {
        let request = LoginRequest { user_typed: "nobody".into(), ..request };
        at.play.start(&request);
        assert_eq!(at.play.rejected(request.id), Reason::UserUnknown);
    }
    assert!(at.play.sent_on.is_empty());
}

#[test]
fn s15_a_disabled_user_is_refused_whatever_the_servers_say() {
    let mut at = Nps::new();
    at.play.database.users.get_mut(&at.play.alice).unwrap().enabled = false;
    let login = at.vpn(b"right");
    assert_eq!((at.play.rejected(login), at.play.asked.len()), (Reason::UserDisabled, 0));
    let login = at.gateway();
    assert_eq!((at.play.rejected(login), at.play.asked.len()), (Reason::UserDisabled, 0));
}

#[test]
fn a_retry_is_not_sent_on_again_and_is_given_what_the_servers_granted() {
    let mut at = Nps::new();
    for place in [at.vpn.clone(), at.gateway.clone()] {
        let password = (place.0.policy.credential == Expects::Password).then_some(&b"right"[..]);
        let request = at.login(&place, password);
        at.play.start(&request);
        let sent = at.play.sent_on.len();
        let retry = at.play.retry(request.clone());
        at.play.start(&retry);
        assert_eq!(at.play.sent_on.len(), sent);
        at.play.decide(at.play.last_asked(), Decision::Verify);
        assert_eq!(at.play.verdict(request.id), Some(Verdict::Unanswered { reason: Reason::Superseded }));
        assert_eq!(at.play.verdict(retry.id), Some(of_the_upstream()));
    }
}

#[test]
fn a_gateway_proves_nothing_about_the_user() {
    let mut at = Nps::new();
    let request = at.play.rdp();
    let elsewhere = at.play.start(&request);
    let login = at.gateway();
    assert_eq!(at.play.rejected(login), Reason::Collision);
    assert_eq!(at.play.verdict(elsewhere), None, "it cannot end a login that has proved something");
}
