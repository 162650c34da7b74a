//! Users who come from a directory.

use countersign_domain::{DirectoryId, EntryId, Lockout, ReplyAttribute, ReplyRule};

use super::*;

/// Dora, who comes from a directory, and a host whose users it has.
struct Directed {
    play: Play,
    dora: UserId,
    host: (Arc<Resource>, ClientId),
}

impl Directed {
    const LOCKOUT: Lockout = Lockout { threshold: 5, window: Duration::from_secs(1800) };

    fn new(primary: Primary) -> Self {
        let mut play = Play::new();
        let directory = DirectoryId::new(play.wall(), &play.entropy);
        let (dora, phone) = (UserId::new(play.wall(), &play.entropy), DeviceId::new(play.wall(), &play.entropy));
        let seed = TotpSeed::new(&play.entropy);
        // Of the same name as a user who was added here.
        play.add_user(dora, "alice");
        play.add_device(dora, phone, seed);
        let user = play.database.users.get_mut(&dora).unwrap();
        user.origin = UserOrigin::Directory { directory, entry: EntryId::from_text("e1".to_owned()) };
        user.password = None;
        let host = Resource { primary, directory: Some(directory), ..(*play.rdp.0).clone() };
        let host = (Arc::new(host), play.rdp.1);
        Self { play, dora, host }
    }

    fn start(&mut self, password: Option<&[u8]>) -> LoginId {
        let subject = Subject::Entry { user: self.dora, policy: Self::LOCKOUT.policy(), groups: Vec::new() };
        self.start_as(password, subject)
    }

    fn start_as(&mut self, password: Option<&[u8]>, subject: Subject) -> LoginId {
        let request = self.play.request(&self.host, password);
        let login = request.id;
        self.play.feed(Event::Start { request: Box::new(request), subject, arrived: self.play.now });
        login
    }

    fn wrong(&mut self) -> Reason {
        let login = self.start(Some(b"wrong"));
        self.play.rejected(login)
    }

    /// Whether the right password gets as far as the phone.
    fn is_asked(&mut self) -> bool {
        let login = self.start(Some(b"right"));
        self.play.verdict(login).is_none()
    }

    fn detail(&self) -> Option<&str> {
        self.play.database.audit.last().unwrap().detail.as_deref()
    }
}

#[test]
fn a_directory_checks_the_password_and_the_phone_decides() {
    let mut at = Directed::new(Primary::Directory);
    let login = at.start(Some(b"right"));
    assert_eq!((at.play.verdict(login), at.play.passwords_checked), (None, 1));
    let (device, asked) = (at.play.asked[0].devices[0], at.play.last_asked());
    let answer = at.play.decide_as(at.dora, device, asked, Decision::Verify, true);
    assert_eq!(answer, DecisionAnswer::Taken(ClosingState::Approved));
    assert_eq!(at.play.verdict(login), Some(Verdict::accept()));
}

#[test]
fn s63_nobody_of_the_same_name_from_elsewhere_logs_on_in_a_directory_or_the_other_way_round() {
    for primary in [Primary::Directory, Primary::None] {
        let mut at = Directed::new(primary);
        let password = (primary == Primary::Directory).then_some(&b"right"[..]);
        let login = at.start_as(password, Subject::Known(at.play.alice));
        assert_eq!(at.play.rejected(login), Reason::UserUnknown);
        let request = at.play.rdp();
        let login = request.id;
        let arrived = at.play.now;
        at.play.feed(Event::Start { request: Box::new(request), subject: Subject::Known(at.dora), arrived });
        assert_eq!(at.play.rejected(login), Reason::UserUnknown);
        assert_eq!((at.play.passwords_checked, at.play.asked.len()), (0, 0));
    }
}

#[test]
fn s56_an_empty_password_is_asked_of_nobody() {
    let mut at = Directed::new(Primary::Directory);
    let code = with_code(b"", &at.play.code_now());
    for empty in [None, Some(&b""[..]), Some(b"\0"), Some(b"\0right"), Some(&*code)] {
        let login = at.start(empty);
        assert_eq!(at.play.rejected(login), Reason::PasswordWrong);
    }
    assert_eq!(at.play.passwords_checked, 0);
}

#[test]
fn s107_for_a_name_that_the_directory_does_not_know_it_is_asked_all_the_same() {
    let mut at = Directed::new(Primary::Directory);
    let login = at.start_as(Some(b"right"), Subject::Unknown);
    assert_eq!((at.play.rejected(login), at.play.passwords_checked), (Reason::UserUnknown, 1));
}

#[test]
fn c082_a_directory_that_does_not_answer_is_no_wrong_password() {
    let mut at = Directed::new(Primary::Directory);
    at.play.directory_says = PrimaryOutcome::Unavailable("directory_unreachable");
    for _ in 0..20 {
        assert_eq!(at.wrong(), Reason::Unavailable);
        assert_eq!(at.detail(), Some("directory_unreachable"));
    }
    assert!(at.is_asked(), "nothing was counted");
}

#[test]
fn s62_c034_an_account_that_may_not_log_on_is_no_wrong_password_and_asks_no_phone() {
    let mut at = Directed::new(Primary::Directory);
    for word in ["disabled", "expired", "locked", "must_change", "password_expired", "hours", "place"] {
        at.play.directory_says = PrimaryOutcome::Refused(word);
        for _ in 0..5 {
            assert_eq!(at.wrong(), Reason::AccountRefused);
            assert_eq!(at.detail(), Some(word));
        }
    }
    assert!(at.play.asked.is_empty());
    assert!(at.is_asked(), "nothing was counted");
}

#[test]
fn s109_wrong_passwords_stop_below_the_directorys_own_lockout() {
    let mut at = Directed::new(Primary::Directory);
    let reasons: Vec<_> = (0..6).map(|_| at.wrong()).collect();
    assert_eq!(reasons[..4], [Reason::PasswordWrong; 4]);
    assert_eq!(reasons[4..], [Reason::Limited; 2]);
    assert_eq!(at.play.passwords_checked, 4);
    at.play.go(1799);
    assert_eq!(at.wrong(), Reason::Limited);
    at.play.go(1);
    assert_eq!(at.wrong(), Reason::PasswordWrong);
    assert!(at.is_asked());
    assert_eq!(at.play.alerts(), ["password_paused"]);
}

#[test]
fn s109_as_many_at_once_as_may_be_wrong_and_no_more() {
    let mut at = Directed::new(Primary::Directory);
    at.wrong();
    at.play.side_by_side = Some(Vec::new());
    let logins: Vec<_> = (0..10).map(|_| at.start(Some(b"wrong"))).collect();
    assert_eq!(at.play.passwords_checked, 4, "one before, three side by side");
    for answer in at.play.side_by_side.take().unwrap() {
        at.play.feed(answer);
    }
    let reasons: Vec<_> = logins.iter().map(|login| at.play.rejected(*login)).collect();
    assert_eq!(reasons.iter().filter(|reason| **reason == Reason::PasswordWrong).count(), 3);
    assert_eq!(reasons.iter().filter(|reason| **reason == Reason::Limited).count(), 7);
    at.play.go(1800);
    assert_eq!(at.wrong(), Reason::PasswordWrong, "none of them is under way any more");
}

#[test]
fn s109_a_wrong_password_of_a_login_that_was_given_up_counts() {
    let mut at = Directed::new(Primary::Directory);
    at.play.side_by_side = Some(Vec::new());
    for _ in 0..4 {
        let login = at.start(Some(b"wrong"));
        at.play.feed(Event::Superseded(login));
    }
    assert_eq!(at.wrong(), Reason::Limited, "four are under way");
    for answer in at.play.side_by_side.take().unwrap() {
        at.play.feed(answer);
    }
    assert_eq!((at.wrong(), at.play.passwords_checked), (Reason::Limited, 4));
    assert_eq!(at.play.engine.figures().logins, 0);
}

#[test]
fn a_login_that_the_directory_has_turned_away_is_recorded_with_its_reason() {
    let mut at = Directed::new(Primary::None);
    for (reason, detail) in [
        (Reason::NotAllowed, None),
        (Reason::AccountRefused, Some("disabled")),
        (Reason::UserUnknown, Some("ambiguous")),
        (Reason::Unavailable, Some("directory_unreachable")),
    ] {
        let login = at.start_as(None, Subject::Refused { user: Some(at.dora), reason, detail: detail.map(Into::into) });
        assert_eq!(at.play.rejected(login), reason);
        assert_eq!(at.detail(), detail);
    }
    assert!(at.play.asked.is_empty());
    // Who is not turned away is asked, as everywhere where nothing is proved.
    let login = at.start(None);
    assert_eq!((at.play.verdict(login), at.play.asked.len()), (None, 1));
}

#[test]
fn c115_what_is_given_by_group_is_given_to_those_in_it() {
    let mut at = Directed::new(Primary::Directory);
    let rule = |group: Option<&str>, value: &str| ReplyRule {
        group: group.map(str::to_owned),
        attributes: vec![ReplyAttribute { name: "Class".to_owned(), value: value.to_owned() }],
    };
    let mut host = (*at.host.0).clone();
    host.policy.reply = vec![rule(None, "all"), rule(Some("GG-Admins"), "admins"), rule(Some("GG-VPN"), "vpn")];
    at.host.0 = Arc::new(host);
    for (groups, given) in
        [(&[][..], &["all"][..]), (&["GG-VPN", "gg-admins"], &["all", "vpn"]), (&["GG-Admins"], &["all", "admins"])]
    {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let subject = Subject::Entry { user: at.dora, policy: Directed::LOCKOUT.policy(), groups };
        let login = at.start_as(Some(b"right"), subject);
        let (device, asked) = (at.play.asked.last().unwrap().devices[0], at.play.last_asked());
        at.play.decide_as(at.dora, device, asked, Decision::Verify, true);
        let Some(Verdict::Accept(grant)) = at.play.verdict(login) else { panic!("not let in") };
        assert_eq!(grant.named.iter().map(|attribute| attribute.value.as_str()).collect::<Vec<_>>(), given);
        at.play.go(120);
    }
}

#[test]
fn c115_who_was_added_here_is_in_no_group() {
    let mut play = Play::new();
    let mut host = (*play.rdp.0).clone();
    host.policy.require_groups = vec!["GG-MFA".to_owned()];
    let host = (Arc::new(host), play.rdp.1);
    let request = play.request(&host, Some(b"right"));
    let login = request.id;
    let subject = Subject::Known(play.alice);
    let arrived = play.now;
    play.feed(Event::Start { request: Box::new(request), subject, arrived });
    assert_eq!(play.rejected(login), Reason::NotAllowed);
}
