//! Logins whose client can show a prompt.

use countersign_domain::{Methods, NumberMode, Question};

use super::*;

const CODE: Methods = Methods { code_to_phone: true, typed: false, totp: false };
const TYPED: Methods = Methods { code_to_phone: false, typed: true, totp: false };
const TOTP: Methods = Methods { code_to_phone: false, typed: false, totp: true };
const EITHER: Methods = Methods { code_to_phone: true, typed: false, totp: true };
const ALL: Methods = Methods { code_to_phone: true, typed: true, totp: true };

/// A prompt and the person before it.
struct Prompted {
    play: Play,
    portal: (Arc<Resource>, ClientId),
}

impl Prompted {
    fn new(methods: Methods) -> Self {
        let play = Play::new();
        let mut portal = Resource { answer_by: Duration::from_secs(10), ..(*play.rdp.0).clone() };
        portal.policy.prompt = Some(methods);
        let portal = (Arc::new(portal), play.rdp.1);
        Self { play, portal }
    }

    /// At a client that proves nothing.
    fn unproved(methods: Methods) -> Self {
        let mut at = Self::new(methods);
        at.portal.0 = Arc::new(Resource { primary: Primary::None, ..(*at.portal.0).clone() });
        at
    }

    fn request(&self) -> LoginRequest {
        let password = (self.portal.0.primary == Primary::Local).then_some(&b"right"[..]);
        self.play.request(&self.portal, password)
    }

    fn another(&self, port: u8) -> LoginRequest {
        self.play.another(self.request(), port)
    }

    /// Begins a login that is asked; what it is asked.
    fn begin(&mut self) -> (LoginId, Question) {
        let request = self.request();
        let login = self.play.start(&request);
        (login, self.question(login))
    }

    fn question(&self, request: LoginId) -> Question {
        match self.play.verdict(request) {
            Some(Verdict::Ask(question)) => question,
            other => panic!("not asked: {other:?}"),
        }
    }

    fn answer(&mut self, question: &Question, text: &[u8]) -> LoginId {
        self.answer_as(question, text, |_| {})
    }

    fn answer_as(&mut self, question: &Question, text: &[u8], change: impl FnOnce(&mut LoginRequest)) -> LoginId {
        let mut request = self.request();
        request.state = Some(question.state.to_vec());
        request.credential =
            if text.is_empty() { Credential::None } else { Credential::Password(Secret::new(text.to_vec())) };
        change(&mut request);
        let id = request.id;
        self.play.feed(Event::Answered { request: Box::new(request) });
        id
    }

    /// Says Verify; the code that the phone shows.
    fn show(&mut self, challenge: ChallengeId) -> Vec<u8> {
        match self.play.decide(challenge, Decision::Verify) {
            DecisionAnswer::CodeShown(code) => code.expose().to_vec(),
            other => panic!("no code: {other:?}"),
        }
    }

    fn type_number(&mut self, challenge: ChallengeId, number: &str) -> DecisionAnswer {
        let record = Play::record(self.play.phone, Decision::Verify, number);
        self.play.submit(self.play.alice, challenge, record, true)
    }

    fn last_record(&self) -> &countersign_domain::AuditEvent {
        self.play.database.audit.last().unwrap()
    }

    fn state(&self, challenge: ChallengeId) -> Option<ClosingState> {
        match &self.play.database.challenges[&challenge].state {
            ChallengeState::Closed(closing) => Some(closing.state),
            ChallengeState::Pending => None,
        }
    }
}

/// The number in a question.
fn number_in(question: &Question) -> String {
    let digits: String = question.message.chars().filter(char::is_ascii_digit).collect();
    assert_eq!(digits.len(), 6, "{}", question.message);
    digits
}

fn wrong(code: &[u8]) -> Vec<u8> {
    let mut code = code.to_vec();
    code[0] = if code[0] == b'9' { b'0' } else { code[0] + 1 };
    code
}

#[test]
fn the_code_that_the_phone_shows_lets_in_at_the_prompt() {
    let mut at = Prompted::new(CODE);
    let (login, question) = at.begin();
    assert_eq!(at.play.asked[0].number_mode, NumberMode::CodeToPhone);
    let challenge = at.play.last_asked();
    let code = at.show(challenge);
    assert_eq!((at.play.verdict(login), at.state(challenge)), (Some(Verdict::Ask(question.clone())), None));
    assert_eq!(at.play.shown, [challenge], "no other device need be asked");
    let answer = at.answer(&question, &code);
    assert_eq!(at.play.verdict(answer), Some(Verdict::accept()));
    assert_eq!(at.state(challenge), Some(ClosingState::Approved));
    let record = at.last_record();
    assert_eq!((record.login, record.factor, record.device), (Some(login), Some("push"), Some(at.play.phone)));
    assert_eq!((record.number_mode, record.binding), (Some("code_to_phone"), Some("number")));
    assert_eq!(at.play.engine.figures(), countersign_engine::Figures::default());
    assert_eq!(at.play.decide(challenge, Decision::Verify), DecisionAnswer::Taken(ClosingState::Approved));
}

#[test]
fn a_code_outlives_the_patience_of_the_client_but_not_two_minutes() {
    for (seconds, accepted) in [(119, true), (120, false)] {
        let mut at = Prompted::new(CODE);
        let (login, question) = at.begin();
        let code = at.show(at.play.last_asked());
        at.play.now += Duration::from_secs(seconds);
        let answer = at.answer(&question, &code);
        assert_eq!(at.play.verdict(answer) == Some(Verdict::accept()), accepted);
        at.play.go(0);
        if !accepted {
            let ended = at.play.database.audit.iter().find(|e| e.login == Some(login) && e.result.is_some()).unwrap();
            assert_eq!(ended.reason, Some("expired"));
            assert_eq!(at.state(at.play.last_asked()), Some(ClosingState::Expired));
        }
        assert_eq!(at.play.engine.figures().logins, 0);
    }
}

#[test]
fn the_same_verify_gets_the_same_code_and_another_one_none() {
    let mut at = Prompted::new(CODE);
    let (_, question) = at.begin();
    let challenge = at.play.last_asked();
    let code = at.show(challenge);
    assert_eq!(at.show(challenge), code);
    let later = DecisionRecord { device_time: "later".to_owned(), ..Play::record(at.play.phone, Decision::Verify, "") };
    let (alice, phone) = (at.play.alice, at.play.phone);
    assert_eq!(at.play.submit(alice, challenge, later, true), DecisionAnswer::CodeShownBefore);
    assert_eq!(
        at.play.decide_as(alice, phone, challenge, Decision::Verify, false),
        DecisionAnswer::CodeShownBefore,
        "nobody gets a code for fields that were seen"
    );
    assert_eq!(at.type_number(challenge, "123456"), DecisionAnswer::CodeShownBefore);
    let answer = at.answer(&question, &code);
    assert_eq!(at.play.verdict(answer), Some(Verdict::accept()));
}

#[test]
fn two_wrong_codes_end_the_login_and_count_as_a_push_that_came_to_nothing() {
    let mut at = Prompted::new(CODE);
    for round in 0..3 {
        let (login, question) = at.begin();
        let challenge = at.play.last_asked();
        let code = at.show(challenge);
        let first = at.answer(&question, &wrong(&code));
        let again = at.question(first);
        assert_ne!(again.state, question.state);
        assert_eq!(
            (at.last_record().kind.as_str(), at.last_record().reason),
            ("login.asked_again", Some("code_wrong"))
        );
        let second = at.answer(&again, &wrong(&code));
        let rejected = Verdict::Reject { reason: Reason::CodeWrong, after_challenge: true };
        assert_eq!(at.play.verdict(second), Some(rejected));
        assert_eq!(at.state(challenge), Some(ClosingState::Denied));
        let ended = at.play.database.audit.iter().find(|e| e.login == Some(login) && e.result.is_some()).unwrap();
        assert_eq!(ended.reason, Some("code_wrong"));
        assert_eq!(at.play.alerts(), if round == 2 { vec!["push_paused"] } else { vec![] });
        // The right one is worth nothing any more.
        let late = at.answer(&again, &code);
        assert_eq!(at.play.rejected(late), Reason::Expired);
    }
    at.play.go(600);
    let request = at.request();
    let login = at.play.start(&request);
    assert_eq!(at.play.rejected(login), Reason::Limited, "a new challenge forgives nothing (S06)");
}

#[test]
fn one_wrong_code_is_forgiven_by_the_right_one() {
    let mut at = Prompted::new(CODE);
    let (_, question) = at.begin();
    let code = at.show(at.play.last_asked());
    let first = at.answer(&question, &wrong(&code));
    let second = at.answer(&at.question(first), &code);
    assert_eq!(at.play.verdict(second), Some(Verdict::accept()));
}

#[test]
fn what_is_typed_before_the_phone_shows_a_code_is_wrong_and_nothing_asks_again() {
    let mut at = Prompted::new(CODE);
    let (_, question) = at.begin();
    // Enter alone is no try.
    let empty = at.answer(&question, b"");
    let guess = at.answer(&at.question(empty), b"123456");
    let again = at.question(guess);
    let code = at.show(at.play.last_asked());
    let right = at.answer(&again, &code);
    assert_eq!(at.play.verdict(right), Some(Verdict::accept()));
}

#[test]
fn questions_come_to_an_end() {
    for (methods, text) in [(CODE, &b""[..]), (ALL, b"3"), (TOTP, b"")] {
        let mut at = Prompted::new(methods);
        let (_, mut question) = at.begin();
        let mut asked = 1;
        let end = loop {
            let answer = at.answer(&question, text);
            match at.play.verdict(answer) {
                Some(Verdict::Ask(next)) => question = next,
                other => break other,
            }
            asked += 1;
        };
        assert_eq!((asked, end), (6, Some(Verdict::Reject { reason: Reason::CodeWrong, after_challenge: true })));
        assert_eq!(at.play.engine.figures().logins, 0);
    }
}

#[test]
fn a_denial_ends_the_login_also_after_the_code_was_shown() {
    for decision in [Decision::Deny, Decision::DenyReport] {
        let mut at = Prompted::new(CODE);
        let (login, question) = at.begin();
        let challenge = at.play.last_asked();
        let code = at.show(challenge);
        assert_eq!(at.play.decide(challenge, decision), DecisionAnswer::Taken(ClosingState::Denied));
        let answer = at.answer(&question, &code);
        assert_eq!(
            (at.play.rejected(answer), at.last_record().detail.as_deref()),
            (Reason::Expired, Some("unknown_state"))
        );
        let ended = at.play.database.audit.iter().find(|e| e.login == Some(login) && e.result.is_some()).unwrap();
        assert_eq!(ended.reason, Some(if decision == Decision::Deny { "denied" } else { "denied_reported" }));
        assert_eq!(at.play.engine.figures().logins, 0);
    }
}

#[test]
fn the_number_that_the_prompt_shows_is_typed_into_the_phone_before_or_after_enter() {
    // Before: the prompt is answered later.
    let mut at = Prompted::new(TYPED);
    let (login, question) = at.begin();
    let challenge = at.play.last_asked();
    assert_eq!(at.play.asked[0].number_mode, NumberMode::Typed);
    assert_eq!(at.type_number(challenge, &number_in(&question)), DecisionAnswer::Taken(ClosingState::Approved));
    assert_eq!(at.last_record().kind.as_str(), "challenge.approved");
    assert_eq!(at.play.engine.figures().logins, 1, "nobody is let in yet");
    at.play.go(60);
    let answer = at.answer(&question, b"anything");
    assert_eq!(at.play.verdict(answer), Some(Verdict::accept()));
    let record = at.last_record();
    assert_eq!((record.login, record.result, record.device), (Some(login), Some("accept"), Some(at.play.phone)));
    assert_eq!((record.number_mode, record.binding), (Some("typed"), Some("number")));

    // After: the answer waits for the phone.
    let mut at = Prompted::new(TYPED);
    let (_, question) = at.begin();
    let answer = at.answer(&question, b"");
    assert_eq!(at.play.verdict(answer), None);
    at.play.go(9);
    let answered = at.type_number(at.play.last_asked(), &number_in(&question));
    assert_eq!(answered, DecisionAnswer::Taken(ClosingState::Approved));
    assert_eq!(at.play.verdict(answer), Some(Verdict::accept()));
    assert_eq!(at.play.engine.figures().logins, 0);
}

#[test]
fn a_client_that_waits_no_longer_is_asked_again_with_the_same_number() {
    let mut at = Prompted::new(TYPED);
    let (_, mut question) = at.begin();
    let number = number_in(&question);
    for _ in 1..6 {
        let answer = at.answer(&question, b"");
        at.play.go(10);
        question = at.question(answer);
        assert_eq!(number_in(&question), number);
    }
    let answer = at.answer(&question, b"");
    at.play.go(10);
    assert_eq!(at.play.verdict(answer), Some(Verdict::Reject { reason: Reason::Expired, after_challenge: true }));
    assert_eq!((at.state(at.play.last_asked()), at.play.asked.len()), (Some(ClosingState::Expired), 1));
}

#[test]
fn c111_a_number_that_comes_when_the_client_may_have_gone_lets_in_at_the_next_question() {
    let mut at = Prompted::new(TYPED);
    let (_, question) = at.begin();
    let answer = at.answer(&question, b"");
    at.play.now += Duration::from_secs(10);
    // The timer has not fired.
    let typed = at.type_number(at.play.last_asked(), &number_in(&question));
    assert_eq!((typed, at.play.verdict(answer)), (DecisionAnswer::Taken(ClosingState::Approved), None));
    at.play.go(0);
    let question = at.question(answer);
    assert!(question.message.starts_with("Confirmed"));
    let answer = at.answer(&question, b"");
    assert_eq!(at.play.verdict(answer), Some(Verdict::accept()));
}

#[test]
fn s06_a_wrong_number_kills_the_challenge() {
    let mut at = Prompted::new(TYPED);
    for round in 0..3 {
        let (_, question) = at.begin();
        let challenge = at.play.last_asked();
        let number = number_in(&question);
        let wrong = String::from_utf8(wrong(number.as_bytes())).unwrap();
        let waiting = at.answer(&question, b"");
        assert_eq!(at.type_number(challenge, &wrong), DecisionAnswer::NumberWrong);
        assert_eq!(
            at.play.verdict(waiting),
            Some(Verdict::Reject { reason: Reason::CodeWrong, after_challenge: true })
        );
        assert_eq!(at.type_number(challenge, &number), DecisionAnswer::Closed(ClosingState::Denied));
        assert_eq!(at.type_number(challenge, &wrong), DecisionAnswer::NumberWrong, "the same again");
        assert_eq!(at.play.alerts(), if round == 2 { vec!["push_paused"] } else { vec![] });
    }
    at.play.go(601);
    let request = at.request();
    let login = at.play.start(&request);
    assert_eq!(at.play.rejected(login), Reason::Limited, "a new challenge and a new number forgive nothing");
}

#[test]
fn s06_of_a_thousand_numbers_at_once_one_is_looked_at() {
    let mut at = Prompted::new(TYPED);
    let (_, question) = at.begin();
    let (challenge, number) = (at.play.last_asked(), number_in(&question));
    let (alice, phone) = (at.play.alice, at.play.phone);
    let guesses = (0..1000).map(|guess| format!("{guess:06}")).filter(|guess| *guess != number);
    let answers: Vec<_> = guesses
        .map(|guess| at.play.submit(alice, challenge, Play::record(phone, Decision::Verify, &guess), true))
        .collect();
    assert_eq!(answers.iter().filter(|answer| **answer == DecisionAnswer::NumberWrong).count(), 1);
    assert_eq!(at.type_number(challenge, &number), DecisionAnswer::Closed(ClosingState::Denied));
}

#[test]
fn s07_a_number_is_wanted_where_the_mode_has_one_and_nowhere_else() {
    let mut at = Prompted::new(TYPED);
    let (login, question) = at.begin();
    let challenge = at.play.last_asked();
    assert_eq!(at.type_number(challenge, ""), DecisionAnswer::NumberMalformed);
    let denial = Play::record(at.play.phone, Decision::Deny, "123456");
    assert_eq!(at.play.submit(at.play.alice, challenge, denial, true), DecisionAnswer::NumberMalformed);
    assert_eq!(at.play.verdict(login), Some(Verdict::Ask(question.clone())), "nothing of it counted");
    let right = at.type_number(challenge, &number_in(&question));
    assert_eq!(right, DecisionAnswer::Taken(ClosingState::Approved));

    let mut at = Prompted::new(CODE);
    at.begin();
    assert_eq!(at.type_number(at.play.last_asked(), "123456"), DecisionAnswer::NumberMalformed);
    let mut play = Play::new();
    play.start(&play.rdp());
    let record = Play::record(play.phone, Decision::Verify, "123456");
    assert_eq!(play.submit(play.alice, play.last_asked(), record, true), DecisionAnswer::NumberMalformed);
}

#[test]
fn s07_a_policy_that_becomes_weaker_changes_no_login_that_waits() {
    let mut at = Prompted::new(TYPED);
    let (_, question) = at.begin();
    let mut weaker = (*at.portal.0).clone();
    weaker.policy.prompt = None;
    at.portal.0 = Arc::new(weaker);
    let waiting = at.answer(&question, b"");
    assert_eq!(at.type_number(at.play.last_asked(), ""), DecisionAnswer::NumberMalformed);
    assert_eq!(at.play.verdict(waiting), None);
    // The same login again, from a client that is now not asked: it takes nothing over that has a number.
    let request = at.request();
    let plain = at.play.start(&request);
    assert_eq!(at.play.rejected(plain), Reason::Collision);
    assert_eq!(
        at.type_number(at.play.last_asked(), &number_in(&question)),
        DecisionAnswer::Taken(ClosingState::Approved)
    );
    assert_eq!(at.play.verdict(waiting), Some(Verdict::accept()));
}

#[test]
fn s07_a_second_factor_that_is_asked_beside_changes_no_mode() {
    let mut at = Prompted::new(EITHER);
    let (_, question) = at.begin();
    let challenge = at.play.last_asked();
    let appended = at.play.request(&at.portal, Some(&with_code(b"right", &at.play.code_now())));
    at.play.start(&appended);
    assert_eq!(at.play.verdict(appended.id), Some(Verdict::accept()), "codes behind the password work as ever");
    assert!(matches!(at.play.decide(challenge, Decision::Verify), DecisionAnswer::CodeShown(_)));
    assert_eq!(at.play.verdict(appended.id), Some(Verdict::accept()));
    let unanswered = at.answer(&question, b"");
    assert!(matches!(at.play.verdict(unanswered), Some(Verdict::Ask(_))), "a Verify alone lets nobody in");
}

#[test]
fn s05_the_number_is_in_the_question_and_in_nothing_that_a_device_gets() {
    let mut at = Prompted::new(TYPED);
    let (_, question) = at.begin();
    let number = number_in(&question);
    let challenge = format!("{:?} {}", at.play.asked[0], String::from_utf8_lossy(&at.play.asked[0].context));
    let (front, back) = number.split_at(3);
    for text in [number.clone(), format!("{front} {back}")] {
        assert!(!challenge.contains(&text), "{challenge}");
        let records = format!("{:?}", at.play.database.audit);
        assert!(!records.contains(&text), "{records}");
    }
    assert!(!format!("{question:?}").contains(back), "nor in a log");
    let wrong = String::from_utf8(wrong(number.as_bytes())).unwrap();
    let answer = format!("{:?}", at.type_number(at.play.last_asked(), &wrong));
    assert!(!answer.contains(&number));
}

#[test]
fn s05_no_number_is_shown_before_the_password_is_right() {
    for methods in [CODE, TYPED, TOTP, EITHER, ALL] {
        let mut at = Prompted::new(methods);
        for password in [None, Some(&b"wrong"[..]), Some(b"")] {
            let login = at.play.start(&at.play.request(&at.portal, password));
            assert_eq!(at.play.rejected(login), Reason::PasswordWrong);
        }
        assert!(at.play.asked.is_empty());
    }
}

#[test]
fn a_code_of_the_account_list_is_taken_where_it_is_asked_for() {
    let mut at = Prompted::new(TOTP);
    let (login, question) = at.begin();
    assert!(at.play.asked.is_empty(), "no phone is disturbed");
    let record = at.last_record();
    assert_eq!((record.kind.as_str(), record.factor), ("login.challenged", Some("totp")));
    let answer = at.answer(&question, &at.play.code_now());
    assert_eq!(at.play.verdict(answer), Some(Verdict::accept()));
    assert_eq!((at.last_record().login, at.last_record().factor), (Some(login), Some("totp")));
    // It is used up.
    let (_, question) = at.begin();
    let used = at.answer(&question, &at.play.code_now());
    assert_eq!(at.last_record().reason, Some("code_used"));
    let end = at.answer(&at.question(used), &at.play.code_now());
    assert_eq!(at.play.verdict(end), Some(Verdict::Reject { reason: Reason::CodeUsed, after_challenge: true }));
    // Where it is not asked for it is a wrong answer.
    let mut at = Prompted::new(CODE);
    let (_, question) = at.begin();
    let answer = at.answer(&question, &at.play.code_now());
    assert!(matches!(at.play.verdict(answer), Some(Verdict::Ask(_))));
}

#[test]
fn one_prompt_takes_either_code_and_a_wrong_one_counts_against_both() {
    let mut at = Prompted::new(EITHER);
    let (_, question) = at.begin();
    let challenge = at.play.last_asked();
    let answer = at.answer(&question, &at.play.code_now());
    assert_eq!(at.play.verdict(answer), Some(Verdict::accept()));
    assert_eq!(at.state(challenge), Some(ClosingState::Approved), "the phone need not be asked any more");
    assert_eq!(at.play.closed, [(challenge, ClosingState::Approved)]);
    assert_eq!((at.last_record().factor, at.last_record().binding), (Some("totp"), Some("code")));

    at.play.go(30);
    let (_, question) = at.begin();
    let challenge = at.play.last_asked();
    let code = at.show(challenge);
    let first = at.answer(&question, &wrong(&code));
    let answer = at.answer(&at.question(first), &code);
    assert_eq!(at.play.verdict(answer), Some(Verdict::accept()));
    let limits = &at.play.database.limits[&LimitScope::User(at.play.alice)].limits;
    assert_ne!(*limits.otp(), countersign_domain::Throttle::default(), "the wrong one was counted as a wrong code too");
}

#[test]
fn s20_wrong_codes_at_prompts_are_counted_with_all_others() {
    let mut at = Prompted::new(TOTP);
    for _ in 0..2 {
        let (_, question) = at.begin();
        let first = at.answer(&question, b"000000");
        let second = at.answer(&at.question(first), b"000001");
        assert_eq!(at.play.rejected(second), Reason::CodeWrong);
    }
    let (_, question) = at.begin();
    let fifth = at.answer(&question, b"000002");
    assert_eq!(at.play.rejected(fifth), Reason::CodeWrong, "there is no use in asking again");
    assert_eq!(at.play.alerts(), ["codes_paused"]);
    let request = at.request();
    let login = at.play.start(&request);
    assert_eq!(at.play.rejected(login), Reason::Limited);
    let elsewhere = at.play.start(&at.play.request(&at.play.gateway, Some(&at.play.code_now())));
    assert_eq!(at.play.rejected(elsewhere), Reason::Limited);
}

#[test]
fn s20_what_a_paused_account_types_is_not_compared_with_its_codes() {
    let mut at = Prompted::new(EITHER);
    for _ in 0..5 {
        at.play.start(&at.play.request(&at.play.gateway, Some(b"000000")));
    }
    let (_, question) = at.begin();
    let right = at.answer(&question, &at.play.code_now());
    assert!(matches!(at.play.verdict(right), Some(Verdict::Ask(_))));
    assert_eq!(at.last_record().reason, Some("limited"));
    let code = at.show(at.play.last_asked());
    let answer = at.answer(&at.question(right), &code);
    assert_eq!(at.play.verdict(answer), Some(Verdict::accept()), "the phone's code is another thing");
}

#[test]
fn s09_where_no_push_may_go_out_the_prompt_asks_for_a_code_of_the_account() {
    let mut at = Prompted::new(EITHER);
    for port in 0..3 {
        let request = at.another(port);
        let login = at.play.start(&request);
        let code = at.show(at.play.last_asked());
        let answer = at.answer(&at.question(login), &code);
        assert_eq!(at.play.verdict(answer), Some(Verdict::accept()));
    }
    let (_, question) = at.begin();
    assert_eq!(at.play.asked.len(), 3);
    let answer = at.answer(&question, &at.play.code_now());
    assert_eq!(at.play.verdict(answer), Some(Verdict::accept()));
    let mut at = Prompted::new(CODE);
    let scope = LimitScope::User(at.play.alice);
    let mut limits = Limits::default();
    limits.freeze();
    at.play.database.limits.insert(scope, countersign_domain::ScopedLimits { scope, version: 1, limits });
    let request = at.request();
    let login = at.play.start(&request);
    assert_eq!(at.play.rejected(login), Reason::Limited);
}

#[test]
fn a_choice_comes_first_where_there_is_one() {
    let mut at = Prompted::new(ALL);
    let (login, choice) = at.begin();
    assert!(at.play.asked.is_empty());
    let chosen = at.answer(&choice, b" 1 ");
    let question = at.question(chosen);
    assert_eq!(at.play.asked[0].number_mode, NumberMode::Typed);
    let waiting = at.answer(&question, b"");
    at.type_number(at.play.last_asked(), &number_in(&question));
    assert_eq!(at.play.verdict(waiting), Some(Verdict::accept()));
    assert_eq!(at.last_record().login, Some(login));

    let (_, choice) = at.begin();
    let chosen = at.answer(&choice, b"2");
    let question = at.question(chosen);
    assert_eq!(at.play.asked[1].number_mode, NumberMode::CodeToPhone);
    let code = at.show(at.play.last_asked());
    let answer = at.answer(&question, &code);
    assert_eq!(at.play.verdict(answer), Some(Verdict::accept()));
}

#[test]
fn s46_c020_a_state_is_good_once_from_where_its_question_went_and_in_the_name_that_began() {
    type Change = fn(&mut LoginRequest);
    let changes: [(&str, &str, Change); 8] = [
        ("another client", "foreign_state", |r| {
            r.client = ClientId::new(Timestamp::from_seconds(1), &SeededEntropy::new(3));
        }),
        ("another address", "foreign_state", |r| r.peer = [192, 0, 2, 9].into()),
        ("another name", "foreign_state", |r| r.user_typed = "mallory".into()),
        ("another spelling", "foreign_state", |r| r.user_typed = "ALICE".into()),
        ("a bit flipped", "unknown_state", |r| r.state.as_mut().unwrap()[3] ^= 1),
        ("shortened", "unknown_state", |r| r.state.as_mut().unwrap().truncate(15)),
        ("lengthened", "unknown_state", |r| r.state.as_mut().unwrap().push(0)),
        ("empty, and not text", "unknown_state", |r| r.state = Some(vec![0xFF, 0, 0xC3])),
    ];
    for (what, detail, change) in changes {
        let mut at = Prompted::new(CODE);
        let (_, question) = at.begin();
        let code = at.show(at.play.last_asked());
        let strange = at.answer_as(&question, &code, change);
        assert_eq!(at.play.rejected(strange), Reason::Expired, "{what}");
        assert_eq!(at.last_record().detail.as_deref(), Some(detail), "{what}");
        let answer = at.answer(&question, &code);
        assert_eq!(at.play.verdict(answer), Some(Verdict::accept()), "{what}: it touches nothing else");
        // After success.
        let replayed = at.answer(&question, &code);
        assert_eq!(at.play.rejected(replayed), Reason::Expired, "{what}");
        assert_eq!(at.last_record().detail.as_deref(), Some("unknown_state"));
    }
}

#[test]
fn s46_of_two_answers_one_counts_and_an_older_state_is_unknown() {
    let mut at = Prompted::new(TYPED);
    let (_, question) = at.begin();
    let first = at.answer(&question, b"");
    let second = at.answer(&question, b"");
    assert_eq!((at.play.verdict(first), at.play.rejected(second)), (None, Reason::Expired));
    at.play.go(10);
    let newer = at.question(first);
    let older = at.answer(&question, b"");
    assert_eq!(at.play.rejected(older), Reason::Expired);
    at.type_number(at.play.last_asked(), &number_in(&newer));
    let answer = at.answer(&newer, b"");
    assert_eq!(at.play.verdict(answer), Some(Verdict::accept()));
    let after = at.answer(&newer, b"");
    assert_eq!(at.play.rejected(after), Reason::Expired);
}

#[test]
fn s46_a_restart_forgets_every_state() {
    let mut at = Prompted::new(CODE);
    let (_, question) = at.begin();
    let code = at.show(at.play.last_asked());
    at.play.engine = Engine::new(Bounds::default(), at.play.now, &at.play.entropy);
    let answer = at.answer(&question, &code);
    assert_eq!(at.play.rejected(answer), Reason::Expired);
}

#[test]
fn s46_a_hundred_thousand_states_are_all_different() {
    let mut at = Prompted::new(Methods { totp: true, ..TYPED });
    let mut seen = std::collections::HashSet::new();
    let mut question = at.begin().1;
    while seen.len() < 100_000 {
        assert!(seen.insert(question.state));
        let answer = at.answer(&question, b"");
        question = match at.play.verdict(answer) {
            Some(Verdict::Ask(next)) => next,
            _ => at.begin().1,
        };
        at.play.database.audit.clear();
        at.play.verdicts.clear();
    }
}

#[test]
fn c022_what_is_missing_in_the_second_request_loosens_nothing() {
    let mut at = Prompted::new(CODE);
    let (login, question) = at.begin();
    let code = at.show(at.play.last_asked());
    let bare = |request: &mut LoginRequest| {
        request.source = Source::default();
        request.retry = RetryKey::default();
    };
    let wrong = at.answer_as(&question, &wrong(&code), bare);
    let question = at.question(wrong);
    // Nor does it matter for which resource the door takes it.
    let other = Arc::clone(&at.play.wiki.0);
    let answer = at.answer_as(&question, &code, |request| {
        bare(request);
        request.resource = other;
    });
    assert_eq!(at.play.verdict(answer), Some(Verdict::accept()));
    let record = at.last_record();
    assert_eq!((record.login, record.resource), (Some(login), Some(at.portal.0.id)));
    assert_eq!(record.source.as_ref().and_then(|source| source.as_utf8()), Some("198.51.100.7"));
}

#[test]
fn s15_who_may_not_log_on_any_more_is_not_let_in_by_a_prompt() {
    for methods in [CODE, TYPED, TOTP] {
        let mut at = Prompted::new(methods);
        let (_, question) = at.begin();
        let code = match methods {
            CODE => at.show(at.play.last_asked()),
            TYPED => {
                at.type_number(at.play.last_asked(), &number_in(&question));
                Vec::new()
            }
            _ => at.play.code_now(),
        };
        at.play.database.users.get_mut(&at.play.alice).unwrap().enabled = false;
        let answer = at.answer(&question, &code);
        assert_eq!(at.play.rejected(answer), Reason::UserDisabled);
        assert_eq!(at.play.engine.figures().logins, 0);
    }
    for (methods, reason) in [(CODE, Reason::NoDevice), (TYPED, Reason::NoDevice)] {
        let mut at = Prompted::new(methods);
        let (_, question) = at.begin();
        let code = if methods == CODE {
            at.show(at.play.last_asked())
        } else {
            at.type_number(at.play.last_asked(), &number_in(&question));
            Vec::new()
        };
        at.play.database.devices.get_mut(&at.play.phone).unwrap().state = DeviceState::Suspended;
        let answer = at.answer(&question, &code);
        assert_eq!(at.play.rejected(answer), reason, "the device that decided was suspended");
    }
}

#[test]
fn s15_who_is_disabled_in_the_last_moment_is_not_let_in() {
    for methods in [CODE, TYPED, TOTP] {
        let mut at = Prompted::new(methods);
        let (_, question) = at.begin();
        let code = match methods {
            CODE => at.show(at.play.last_asked()),
            TYPED => {
                at.type_number(at.play.last_asked(), &number_in(&question));
                Vec::new()
            }
            _ => at.play.code_now(),
        };
        at.play.database.meanwhile = Some(|database| database.users.values_mut().for_each(|user| user.enabled = false));
        let answer = at.answer(&question, &code);
        assert_eq!(at.play.rejected(answer), Reason::UserDisabled);
    }
}

#[test]
fn a_report_after_the_number_was_typed_ends_the_login_that_waits_for_its_prompt() {
    let mut at = Prompted::new(TYPED);
    let (login, question) = at.begin();
    let challenge = at.play.last_asked();
    at.type_number(challenge, &number_in(&question));
    assert_eq!(at.play.decide(challenge, Decision::DenyReport), DecisionAnswer::Taken(ClosingState::Approved));
    let answer = at.answer(&question, b"");
    assert_eq!(at.play.rejected(answer), Reason::Expired);
    let ended = at.play.database.audit.iter().find(|e| e.login == Some(login) && e.result.is_some()).unwrap();
    assert_eq!(ended.reason, Some("denied_reported"));
    assert_eq!(at.play.engine.figures().logins, 0);
}

#[test]
fn a_number_that_was_typed_is_not_collected_after_the_end() {
    let mut at = Prompted::new(TYPED);
    let (login, question) = at.begin();
    at.type_number(at.play.last_asked(), &number_in(&question));
    at.play.go(120);
    let answer = at.answer(&question, b"");
    assert_eq!(at.play.rejected(answer), Reason::Expired);
    let ended = at.play.database.audit.iter().find(|e| e.login == Some(login) && e.result.is_some()).unwrap();
    assert_eq!((ended.result, ended.reason), (Some("reject"), Some("expired")));
    assert!(at.play.alerts().is_empty());
}

#[test]
fn logins_with_a_prompt_do_not_disturb_each_other() {
    let mut at = Prompted::new(CODE);
    let requests: Vec<_> = (1..=3).map(|port| at.another(port)).collect();
    let mut open = Vec::new();
    for request in &requests {
        at.play.start(request);
        let challenge = at.play.last_asked();
        open.push((at.question(request.id), at.show(challenge)));
    }
    assert!(at.play.alerts().is_empty() && at.play.closed.is_empty());
    let fourth = at.another(4);
    at.play.start(&fourth);
    assert_eq!(at.play.rejected(fourth.id), Reason::Limited, "three at once");
    // The code of one is nothing at the prompt of another.
    let mistaken = at.answer(&open[0].0, &open[1].1.clone());
    let again = at.question(mistaken);
    open[0].0 = again;
    for (question, code) in open {
        let answer = at.answer(&question, &code);
        assert_eq!(at.play.verdict(answer), Some(Verdict::accept()));
    }
    assert_eq!(at.play.engine.figures().logins, 0);
}

#[test]
fn s02_a_number_is_matched_against_the_challenge_that_it_was_typed_for() {
    let mut at = Prompted::new(TYPED);
    let (mine, other) = (at.another(1), at.another(2));
    at.play.start(&mine);
    let my_challenge = at.play.last_asked();
    at.play.start(&other);
    let their_challenge = at.play.last_asked();
    let (my_number, their_number) = (number_in(&at.question(mine.id)), number_in(&at.question(other.id)));
    assert_ne!(my_number, their_number);
    assert_eq!(at.type_number(their_challenge, &my_number), DecisionAnswer::NumberWrong);
    assert_eq!(at.type_number(my_challenge, &my_number), DecisionAnswer::Taken(ClosingState::Approved));
    let question = at.question(mine.id);
    let answer = at.answer(&question, b"");
    assert_eq!(at.play.verdict(answer), Some(Verdict::accept()));
}

#[test]
fn s02_beside_a_login_with_a_prompt_no_plain_one_is_asked_for() {
    // The one with a prompt stays.
    let mut at = Prompted::new(CODE);
    let (_, question) = at.begin();
    let mut plain = at.play.another(at.play.request(&at.play.vpn, Some(b"right")), 9);
    plain.source.address = Some("203.0.113.9".into());
    at.play.start(&plain);
    assert_eq!((at.play.rejected(plain.id), at.play.asked.len()), (Reason::Collision, 1));
    assert_eq!(at.play.alerts(), ["collision"]);
    let code = at.show(at.play.last_asked());
    let answer = at.answer(&question, &code);
    assert_eq!(at.play.verdict(answer), Some(Verdict::accept()));

    // And it ends a plain one that waits, since a Verify of that would no longer be for sure what it means.
    let mut at = Prompted::new(CODE);
    let mut plain = at.play.request(&at.play.vpn, Some(b"right"));
    plain.source.address = Some("203.0.113.9".into());
    at.play.start(&plain);
    let (_, question) = at.begin();
    assert_eq!((at.play.rejected(plain.id), at.play.alerts()), (Reason::Collision, vec!["collision"]));
    let code = at.show(at.play.last_asked());
    let answer = at.answer(&question, &code);
    assert_eq!(at.play.verdict(answer), Some(Verdict::accept()));
}

#[test]
fn a_prompt_at_a_client_that_proves_nothing_ends_no_login_elsewhere() {
    let mut at = Prompted::unproved(CODE);
    let plain = at.play.start(&at.play.request(&at.play.vpn, Some(b"right")));
    // They are one resource only in this test.
    let mut elsewhere = (*at.portal.0).clone();
    elsewhere.id = at.play.wiki.0.id;
    at.portal.0 = Arc::new(elsewhere);
    let request = at.request();
    let unproved = at.play.start(&request);
    assert_eq!((at.play.verdict(plain), at.play.rejected(unproved)), (None, Reason::Collision));
    at.play.decide(at.play.last_asked(), Decision::Verify);
    assert_eq!(at.play.verdict(plain), Some(Verdict::accept()));
    // And one that proves more takes its place.
    let unproved = at.play.start(&at.another(2));
    let question = at.question(unproved);
    let plain = at.play.start(&at.play.request(&at.play.vpn, Some(b"right")));
    assert_eq!(at.play.verdict(plain), None);
    let late = at.answer(&question, b"123456");
    assert_eq!(at.play.rejected(late), Reason::Expired);
}

#[test]
fn c110_a_retry_of_the_first_request_takes_the_challenge_over_with_a_number_of_its_own() {
    let mut at = Prompted::new(TYPED);
    let first = at.request();
    at.play.start(&first);
    let old = at.question(first.id);
    at.play.go(5);
    let retry = at.play.retry(first.clone());
    at.play.start(&retry);
    let new = at.question(retry.id);
    assert_eq!((at.play.asked.len(), at.play.passwords_checked), (1, 1), "one login, one push, one password");
    assert_ne!(number_in(&old), number_in(&new));
    let challenge = at.play.last_asked();
    assert_eq!(at.type_number(challenge, &number_in(&new)), DecisionAnswer::Taken(ClosingState::Approved));
    let answer = at.answer(&new, b"");
    assert_eq!(at.play.verdict(answer), Some(Verdict::accept()));
    assert_eq!(at.last_record().login, Some(retry.id));
    assert_eq!(at.play.engine.figures().logins, 0);

    // What was read at the old prompt lets nobody in.
    let mut at = Prompted::new(TYPED);
    let first = at.request();
    at.play.start(&first);
    let old = at.question(first.id);
    let retry = at.play.retry(first);
    at.play.start(&retry);
    assert_eq!(at.type_number(at.play.last_asked(), &number_in(&old)), DecisionAnswer::NumberWrong);
}

#[test]
fn the_older_prompt_answered_after_a_takeover_is_a_collision() {
    for methods in [CODE, TYPED] {
        let mut at = Prompted::new(methods);
        let first = at.request();
        at.play.start(&first);
        let old = at.question(first.id);
        let retry = at.play.retry(first);
        at.play.start(&retry);
        let new = at.question(retry.id);
        let mut text = b"".to_vec();
        if methods == CODE {
            text = at.show(at.play.last_asked());
        } else {
            at.type_number(at.play.last_asked(), &number_in(&new));
        }
        let answer = at.answer(&old, &text);
        assert_eq!((at.play.rejected(answer), at.play.alerts()), (Reason::Collision, vec!["collision"]));
        let answer = at.answer(&new, &text);
        assert_eq!(at.play.rejected(answer), Reason::Expired, "neither is let in");
        assert_eq!(at.play.engine.figures().logins, 0);
    }
}

#[test]
fn a_retry_joins_only_while_nobody_has_answered_or_been_shown_a_code() {
    let mut at = Prompted::new(CODE);
    let first = at.request();
    at.play.start(&first);
    let question = at.question(first.id);
    let code = at.show(at.play.last_asked());
    let retry = at.play.retry(first);
    at.play.start(&retry);
    assert_eq!(at.play.asked.len(), 2, "the code is for the prompt that it was asked for");
    let mistaken = at.answer(&at.question(retry.id), &code);
    assert!(matches!(at.play.verdict(mistaken), Some(Verdict::Ask(_))));
    let answer = at.answer(&question, &code);
    assert_eq!(at.play.verdict(answer), Some(Verdict::accept()));

    let mut at = Prompted::new(TYPED);
    let first = at.request();
    at.play.start(&first);
    let waiting = at.answer(&at.question(first.id), b"");
    let retry = at.play.retry(first);
    at.play.start(&retry);
    assert_eq!((at.play.asked.len(), at.play.verdict(waiting)), (2, None));
}

#[test]
fn retransmissions_between_the_rounds_are_of_the_newest_request() {
    let mut at = Prompted::new(TYPED);
    at.portal.0 = Arc::new(Resource { answer_by: Duration::from_secs(60), ..(*at.portal.0).clone() });
    let (login, question) = at.begin();
    let answer = at.answer(&question, b"");
    // Of the first one the door has the reply; what it heard before it knew of that says nothing.
    at.play.feed(Event::Heard(login));
    for _ in 0..2 {
        at.play.go(2);
        at.play.feed(Event::Heard(answer));
    }
    at.play.go(5);
    assert_eq!(at.play.verdict(answer), None);
    at.play.go(1);
    assert_eq!(at.play.verdict(answer), Some(Verdict::Unanswered { reason: Reason::Cancelled }), "the client has gone");
    assert_eq!(at.state(at.play.last_asked()), Some(ClosingState::Cancelled));
}

#[test]
fn c008_a_newer_request_in_the_place_of_an_answer_ends_the_login() {
    let mut at = Prompted::new(TYPED);
    let (login, question) = at.begin();
    let answer = at.answer(&question, b"");
    at.play.feed(Event::Superseded(login));
    assert_eq!(at.play.verdict(answer), None, "that place was answered long ago");
    at.play.feed(Event::Superseded(answer));
    assert_eq!(at.play.verdict(answer), Some(Verdict::Unanswered { reason: Reason::Superseded }));
    assert_eq!(at.state(at.play.last_asked()), Some(ClosingState::Superseded));

    // And in the place of a question that was not sent any more.
    let mut at = Prompted::new(CODE);
    let (login, _) = at.begin();
    at.play.feed(Event::Superseded(login));
    assert_eq!(at.state(at.play.last_asked()), Some(ClosingState::Superseded));
    assert_eq!(at.play.engine.figures().logins, 0);
}

#[test]
fn s29_who_has_no_device_is_not_asked() {
    for methods in [CODE, TYPED, TOTP, ALL] {
        let mut at = Prompted::new(methods);
        at.play.database.devices.get_mut(&at.play.phone).unwrap().state = DeviceState::Suspended;
        let request = at.request();
        let login = at.play.start(&request);
        assert_eq!(at.play.verdict(login), Some(Verdict::Reject { reason: Reason::NoDevice, after_challenge: false }));
    }
}

#[test]
fn s97_s108_without_storage_no_answer_lets_in() {
    for methods in [CODE, TYPED, TOTP] {
        let mut at = Prompted::new(methods);
        let (_, question) = at.begin();
        let code = match methods {
            CODE => at.show(at.play.last_asked()),
            TYPED => {
                at.type_number(at.play.last_asked(), &number_in(&question));
                Vec::new()
            }
            _ => at.play.code_now(),
        };
        at.play.writable = false;
        let answer = at.answer(&question, &code);
        assert_eq!(at.play.rejected(answer), Reason::Unavailable);
        assert_eq!(at.play.engine.figures().logins, 0);
    }
    // A code that cannot be recorded is not shown, and the login waits on.
    let mut at = Prompted::new(CODE);
    let (_, question) = at.begin();
    at.play.writable = false;
    let challenge = at.play.last_asked();
    assert_eq!(at.play.decide(challenge, Decision::Verify), DecisionAnswer::Unavailable);
    at.play.writable = true;
    let code = at.show(challenge);
    let answer = at.answer(&question, &code);
    assert_eq!(at.play.verdict(answer), Some(Verdict::accept()));
}

#[test]
fn c025_nobody_is_asked_where_nothing_can_be_shown() {
    let mut play = Play::new();
    for request in [play.rdp(), play.request(&play.gateway, Some(&play.code_now()))] {
        play.start(&request);
    }
    play.go(61);
    let asked = play.verdicts.values().any(|verdict| matches!(verdict, Verdict::Ask(_)));
    assert!(!asked, "{:?}", play.verdicts);
}

#[test]
fn s105_logins_that_wait_at_a_prompt_count_as_open() {
    let mut at = Prompted::new(TOTP);
    at.play.engine = Engine::new(Bounds { logins: 1, ..Bounds::default() }, at.play.now, &at.play.entropy);
    at.begin();
    let request = at.another(2);
    at.play.start(&request);
    assert_eq!(at.play.rejected(request.id), Reason::Limited);
    at.play.go(120);
    assert_eq!(at.play.engine.figures().logins, 0);
}
