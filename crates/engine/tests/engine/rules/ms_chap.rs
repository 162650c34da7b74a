//! MS-CHAP-V2, which only the servers that it is sent on to can check.

use countersign_domain::{Expects, Methods, Policy, UpstreamId};

use super::*;

struct Vpn {
    play: Play,
    at: (Arc<Resource>, ClientId),
}

impl Vpn {
    fn new(policy: Policy) -> Self {
        let mut play = Play::new();
        play.upstream_says = PrimaryOutcome::Right;
        let (now, entropy) = (Timestamp::from_seconds(START), &play.entropy);
        let resource = Resource {
            upstream: Some(UpstreamId::new(now, entropy)),
            policy,
            ..Resource::new(ResourceId::new(now, entropy), "VPN", Primary::Radius, now)
        };
        let at = (Arc::new(resource), ClientId::new(now, entropy));
        Self { play, at }
    }

    fn that_allows_it() -> Self {
        Self::new(Policy { ms_chap: true, ..Policy::default() })
    }

    fn request(&self, challenge: u8, response: u8) -> LoginRequest {
        let response = Secret::new(vec![response; 50]);
        let credential = Credential::MsChap { challenge: [challenge; 16], response };
        let forward = Some(b"attributes of the request".as_slice().into());
        LoginRequest { credential, forward, ..self.play.request(&self.at, None) }
    }

    fn login(&mut self, challenge: u8, response: u8) -> LoginId {
        let request = self.request(challenge, response);
        self.play.start(&request)
    }

    fn detail(&self) -> Option<&str> {
        self.play.database.audit.iter().rev().find(|event| event.result.is_some()).unwrap().detail.as_deref()
    }
}

#[test]
fn s49_it_goes_on_as_it_is_and_the_phone_is_asked_behind_the_servers() {
    let mut at = Vpn::that_allows_it();
    let login = at.login(1, 1);
    let (attributes, password, _) = at.play.sent_on.pop().unwrap();
    assert_eq!((attributes.expose(), password.expose()), (&b"attributes of the request"[..], &b""[..]));
    assert_eq!((at.play.verdict(login), at.play.asked.len()), (None, 1));
    at.play.decide(at.play.last_asked(), Decision::Verify);
    assert!(matches!(at.play.verdict(login), Some(Verdict::Accept(grant)) if !grant.upstream.is_empty()));
}

#[test]
fn s49_who_has_not_allowed_it_refuses_it_and_asks_nobody() {
    let nothing = Policy { ms_chap: true, credential: Expects::Nothing, ..Policy::default() };
    for (policy, detail) in [(Policy::default(), "ms_chap_not_allowed"), (nothing, "credential_not_expected")] {
        let mut at = Vpn::new(policy);
        let login = at.login(1, 1);
        assert_eq!((at.play.rejected(login), at.detail()), (Reason::PasswordWrong, Some(detail)));
        assert!(at.play.sent_on.is_empty() && at.play.asked.is_empty());
    }
}

#[test]
fn s49_nobody_else_takes_it_for_a_password() {
    let mut at = Vpn::that_allows_it();
    for place in [at.play.rdp.clone(), at.play.gateway.clone()] {
        let request = LoginRequest { credential: at.request(1, 1).credential, ..at.play.request(&place, None) };
        let login = at.play.start(&request);
        assert!(matches!(at.play.verdict(login), Some(Verdict::Reject { .. })));
    }
    assert!(at.play.asked.is_empty());
    assert_eq!(at.play.passwords_checked, 0);
}

#[test]
fn s49_a_challenge_that_comes_again_is_refused_before_anybody_is_asked() {
    let mut at = Vpn::that_allows_it();
    let first = at.login(1, 1);
    at.play.decide(at.play.last_asked(), Decision::Verify);
    assert!(matches!(at.play.verdict(first), Some(Verdict::Accept(_))));
    let sent = at.play.sent_on.len();
    for response in [1, 2] {
        let login = at.login(1, response);
        assert_eq!((at.play.rejected(login), at.detail()), (Reason::Replayed, Some("ms_chap_challenge_repeated")));
    }
    assert_eq!((at.play.sent_on.len(), at.play.asked.len()), (sent, 1));
    let login = at.login(2, 2);
    assert_eq!((at.play.verdict(login), at.play.asked.len()), (None, 2));
}

#[test]
fn s98_what_somebody_could_break_is_shown_nowhere() {
    let at = Vpn::that_allows_it();
    let shown = format!("{:?}", at.request(1, 211));
    assert!(!shown.contains("211") && !shown.contains("97, 116, 116"), "{shown}");
}

#[test]
fn a_retry_of_the_same_exchange_takes_it_over() {
    let mut at = Vpn::that_allows_it();
    let first = at.login(1, 1);
    let retry = at.login(1, 1);
    assert_eq!(at.play.verdict(first), Some(Verdict::Unanswered { reason: Reason::Superseded }));
    assert_eq!((at.play.verdict(retry), at.play.asked.len(), at.play.sent_on.len()), (None, 1, 1));
    at.play.decide(at.play.last_asked(), Decision::Verify);
    assert!(matches!(at.play.verdict(retry), Some(Verdict::Accept(_))));
}

#[test]
fn c025_its_client_is_shown_no_prompt() {
    let prompt = Some(Methods { code_to_phone: true, typed: true, totp: true });
    let mut at = Vpn::new(Policy { ms_chap: true, prompt, ..Policy::default() });
    let login = at.login(1, 1);
    assert_eq!((at.play.verdict(login), at.play.asked.len()), (None, 1));
    at.play.decide(at.play.last_asked(), Decision::Verify);
    assert!(matches!(at.play.verdict(login), Some(Verdict::Accept(_))));
}

#[test]
fn s109_wrong_exchanges_count_as_wrong_passwords() {
    let mut at = Vpn::that_allows_it();
    at.play.upstream_says = PrimaryOutcome::Rejected;
    for challenge in 0..40 {
        at.login(challenge, 1);
    }
    let sent = at.play.sent_on.len();
    assert!((1..20).contains(&sent), "{sent}");
    assert_eq!(at.play.alerts(), ["password_paused"]);
}
