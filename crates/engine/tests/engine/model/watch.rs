//! What the engine does is carried out, and held against the rules.

use super::*;

impl World {
    pub(super) fn effect(&mut self, effect: Effect) {
        let incarnation = self.incarnation;
        match effect {
            Effect::Load { lane, user, challenge } => {
                self.soon(20, Action::Load { lane, user, challenge, incarnation });
            }
            Effect::CheckPrimary { login, against, password } => {
                let outcome = self.check(&against, password.expose() == PASSWORD);
                self.soon(200, Action::Checked { login, outcome, incarnation });
            }
            Effect::Commit { lane, commit } => {
                self.window_decided(&commit);
                self.soon(20, Action::Write { lane, commit, incarnation });
            }
            Effect::Record(event) => self.database.audit.push(*event),
            Effect::Verdict { login, verdict, .. } => self.verdict(login, &verdict),
            Effect::Publish(Notice::Opened(challenge)) => self.opened(&challenge),
            Effect::Publish(Notice::CodeShown(_)) => {}
            Effect::Publish(Notice::Closed { id, .. }) => {
                for open in self.pending.values_mut() {
                    open.retain(|(pending, _)| *pending != id);
                }
                // Some people report afterwards.
                if self.rng.random_ratio(1, 20) {
                    let device = self.database.challenges.get(&id).and_then(|c| c.devices.first().copied());
                    if let Some(device) = device {
                        self.soon(5000, Action::Decide { device, challenge: id, decision: Decision::DenyReport });
                    }
                }
            }
            Effect::Publish(Notice::WindowClosed { state, .. }) => {
                self.tally.windows_spoilt += u64::from(state == ClosingState::Collision);
            }
            Effect::WindowAnswer { ticket, answer } => self.window_answered(ticket, answer),
            Effect::Answer { ticket, answer } => {
                assert!(self.answered.insert(ticket), "a decision was answered twice");
                self.device_told(ticket, answer);
            }
        }
    }

    fn device_told(&mut self, ticket: u64, answer: DecisionAnswer) {
        let challenge = self.decisions[&ticket];
        match answer {
            DecisionAnswer::Taken(ClosingState::Approved) => {
                let row = &self.database.challenges[&challenge];
                assert_eq!(row.closing_state(self.wall()), Some(ClosingState::Approved), "told before it was written");
            }
            DecisionAnswer::CodeShown(code) => {
                let row = &self.database.challenges[&challenge];
                assert_eq!((row.number_mode, &row.state), (NumberMode::CodeToPhone, &ChallengeState::Pending));
                let code = code.expose().to_vec();
                let first = self.codes.entry(challenge).or_insert_with(|| code.clone());
                assert_eq!(*first, code, "two codes for one challenge");
            }
            DecisionAnswer::NumberWrong => {
                self.tally.number_wrong += 1;
                let row = &self.database.challenges[&challenge];
                assert_eq!(row.closing_state(self.wall()), Some(ClosingState::Denied), "a wrong number kills it (S06)");
            }
            _ => {}
        }
    }

    fn check(&mut self, against: &Against, right: bool) -> PrimaryOutcome {
        match against {
            _ if self.rng.random_ratio(1, 50) => PrimaryOutcome::Busy,
            Against::Local { hash: Some(_) } if right => PrimaryOutcome::Right,
            Against::Directory { .. } | Against::Upstream { .. } if self.rng.random_ratio(1, 30) => {
                PrimaryOutcome::Refused("locked")
            }
            Against::Directory { .. } | Against::Upstream { .. } if self.rng.random_ratio(1, 30) => {
                PrimaryOutcome::Unavailable("directory_unreachable")
            }
            Against::Upstream { origin: UserOrigin::Local, .. } => panic!("a user of another place was sent on"),
            Against::Local { .. } | Against::Directory { entry: None, .. } => PrimaryOutcome::Wrong,
            // Those servers ask the same directory.
            Against::Directory { entry: Some(entry), .. }
            | Against::Upstream { origin: UserOrigin::Directory { entry, .. }, .. }
                if right =>
            {
                self.wrong_in_directory.remove(entry);
                PrimaryOutcome::Right
            }
            Against::Directory { entry: Some(entry), .. }
            | Against::Upstream { origin: UserOrigin::Directory { entry, .. }, .. } => {
                // As Active Directory counts: from one wrong password to the next.
                let (count, last) = self.wrong_in_directory.get(entry).copied().unwrap_or_default();
                let again = self.monotonic.saturating_sub(last) >= LOCKOUT.window;
                let count = if again { 1 } else { count + 1 };
                self.wrong_in_directory.insert(entry.clone(), (count, self.monotonic));
                self.tally.wrong_in_directory += 1;
                // What could not be written, or was forgotten with the memory of a server that fell, is not counted.
                assert!(!self.undisturbed || count < u32::from(LOCKOUT.threshold), "the directory locked an account");
                PrimaryOutcome::Wrong
            }
        }
    }

    fn opened(&mut self, challenge: &Challenge) {
        let known = &self.logins[&challenge.login];
        let scope = if known.request.resource.proves_user() {
            LimitScope::User(challenge.user)
        } else {
            LimitScope::UserAt(challenge.user, challenge.resource)
        };
        self.origin_of_challenge.insert(challenge.id, known.origin);
        self.opened_for.insert(challenge.id, challenge.login);
        self.opened.entry(scope).or_default().push(challenge.created_at);
        let plain = challenge.number_mode == NumberMode::None;
        assert_eq!(plain, known.request.resource.policy.prompt.is_none(), "the mode is that of the policy (S07)");
        let open = self.pending.entry(challenge.user).or_default();
        open.push((challenge.id, plain));
        assert!(open.len() <= 3 && (open.len() == 1 || open.iter().all(|(_, plain)| !plain)), "{open:?}");
        for device in challenge.devices.clone() {
            let decision = match self.rng.random_range(0..20) {
                0..11 => Decision::Verify,
                11..14 => Decision::Deny,
                14 => Decision::DenyReport,
                _ => continue,
            };
            self.soon(
                if plain { 40_000 } else { 15_000 },
                Action::Decide { device, challenge: challenge.id, decision },
            );
            if self.rng.random_ratio(1, 4) {
                // Sent again, or another one decides otherwise.
                let other = if self.rng.random_ratio(1, 2) { decision } else { Decision::Deny };
                self.soon(40_000, Action::Decide { device, challenge: challenge.id, decision: other });
            }
        }
    }

    fn verdict(&mut self, request: LoginId, verdict: &Verdict) {
        let known = self.logins.get_mut(&request).expect("a verdict for a request that was never handed in");
        assert!(known.verdict.is_none(), "two verdicts for {request:?}: {:?}, then {verdict:?}", known.verdict);
        known.verdict = Some(verdict.clone());
        self.window_verdict(request, verdict);
        let known = &self.logins[&request];
        let (of, strange, state) = (known.of, known.strange, known.request.state.clone());
        if strange {
            self.tally.strange += 1;
            let refused = [Reason::Expired, Reason::Limited, Reason::Unavailable];
            assert!(matches!(verdict, Verdict::Reject { reason, .. } if refused.contains(reason)), "{verdict:?}");
        }
        if let (Some(state), Verdict::Accept(_) | Verdict::Ask(_) | Verdict::Reject { reason: Reason::CodeWrong, .. }) =
            (state, verdict)
        {
            let state = <[u8; 16]>::try_from(state).expect("what counted was of our making");
            assert_eq!(self.states.get(&state), Some(&of), "the answer to a question of another login");
            assert!(self.spent.insert(state), "two answers to one question");
        }
        let asked = matches!(verdict, Verdict::Ask(_));
        match verdict {
            Verdict::Accept(grant) => {
                let known = &self.logins[&of];
                assert_eq!(
                    grant.upstream,
                    granted(known).unwrap_or_default(),
                    "granted by nobody, or to somebody else"
                );
                self.tally.accepted_behind += u64::from(!grant.upstream.is_empty());
                self.accepted(request, of);
            }
            Verdict::Ask(question) => self.asked(request, of, question),
            Verdict::Relay(_) => panic!("the engine passes nothing on"),
            Verdict::Reject { reason: Reason::Collision, .. } => {
                self.tally.collisions += 1;
                self.collided.insert(of);
            }
            Verdict::Reject { reason: Reason::Expired, .. } => self.tally.expired += 1,
            Verdict::Reject { reason: Reason::Denied | Reason::DeniedReported, .. } => self.tally.denied += 1,
            Verdict::Reject { reason: Reason::Limited, .. } => self.tally.limited += 1,
            Verdict::Reject { reason: Reason::CodeUsed, .. } => self.tally.code_used += 1,
            Verdict::Reject { reason: Reason::Unavailable, .. } => self.tally.unavailable += 1,
            Verdict::Unanswered { reason: Reason::Superseded } => self.tally.takeovers += 1,
            Verdict::Reject { .. } | Verdict::Unanswered { .. } => {}
        }
        if !matches!(verdict, Verdict::Reject { reason: Reason::Unavailable, .. }) {
            let mut records =
                self.database.audit.iter().filter(|event| event.login == Some(of) || event.login == Some(request));
            let recorded = records.any(|event| event.result.is_some() || asked);
            let outage = matches!(verdict, Verdict::Unanswered { .. });
            assert!(recorded || outage, "{request:?} has a verdict and no record");
        }
    }

    /// The prompt of a login asks.
    fn asked(&mut self, request: LoginId, login: LoginId, question: &Question) {
        self.tally.asked += 1;
        let known = &self.logins[&login];
        assert!(known.request.resource.policy.prompt.is_some(), "a client without a prompt was asked (C025)");
        let proved = match (&known.request.credential, known.request.resource.primary) {
            (Credential::Password(password), _) => password.expose() == PASSWORD,
            (Credential::None, Primary::None) => true,
            _ => false,
        };
        assert!(proved && known.user.is_some(), "asked before the first factor was right (S05)");
        assert!(self.monotonic.saturating_sub(known.started) <= Duration::from_secs(121));
        assert!(self.states.insert(question.state, login).is_none(), "a State was given twice (S46)");
        let digits: String = question.message.chars().filter(char::is_ascii_digit).collect();
        if digits.len() == 6 {
            let shown = self.numbers.insert(login, digits.clone());
            assert!(shown.is_none_or(|shown| shown == digits), "the number of a prompt has changed");
            self.tally.waited += u64::from(question.message.starts_with("Not"));
        }
        if login == request && self.retried(login) {
            self.tally.prompts_taken_over += 1;
        }
        let again = |event: &&AuditEvent| event.login == Some(login) && event.kind == EventKind::LoginAskedAgain;
        assert!(self.database.audit.iter().filter(again).count() <= 1, "more than one wrong answer was forgiven");
        self.plan_answers(login, question.state);
    }

    /// Whether its challenge was made for another login.
    fn retried(&self, login: LoginId) -> bool {
        let mine = self.database.challenges.values().find(|challenge| challenge.login == login);
        mine.is_some_and(|challenge| self.opened_for[&challenge.id] != login)
    }

    fn accepted(&mut self, request: LoginId, login: LoginId) {
        let known = &self.logins[&login];
        assert!(!self.collided.contains(&login));
        let user = known.user.expect("nobody was let in");
        if let Some(since) = self.disabled_since.get(&user) {
            // A decision that was read just before may be on its way to the disk.
            let ago = self.monotonic.saturating_sub(*since);
            assert!(ago < Duration::from_millis(100), "let in {ago:?} after the user was disabled");
        }
        let records: Vec<_> =
            self.database.audit.iter().filter(|event| event.login == Some(login) && event.result.is_some()).collect();
        assert_eq!(records.len(), 1, "a login ends once");
        let record = records[0].clone();
        assert_eq!(record.result, Some("accept"), "an accepted login has a record that says so");
        self.accepted_at.insert(login, self.monotonic);
        if matches!(record.factor, Some("bypass" | "remembered")) {
            return self.let_in_unasked(login, user, &record);
        }
        let known = &self.logins[&login];
        let device = record.device.expect("a factor of some device");
        assert_eq!(self.database.devices[&device].user, user, "another user's device");
        let now = self.monotonic;
        let waited = now.saturating_sub(self.logins[&request].started);
        assert!(waited <= known.request.resource.answer_by + Duration::from_secs(1), "let in after {waited:?}");
        let since = now.saturating_sub(known.started);
        assert!(request == login || since <= Duration::from_secs(121), "a prompt of {since:?}");
        match record.factor {
            Some("push") => {
                self.tally.accepted_push += 1;
                let challenge = self
                    .database
                    .challenges
                    .values()
                    .find(|challenge| challenge.login == login)
                    .expect("the challenge names the login that it let in");
                let ChallengeState::Closed(Closing { state: ClosingState::Approved, at, decision: Some(decision) }) =
                    &challenge.state
                else {
                    panic!("let in by a challenge that was not approved: {challenge:?}");
                };
                assert!(self.accepted_challenges.insert(challenge.id), "one challenge let in two logins");
                assert_eq!(decision.decision, Decision::Verify);
                assert!(challenge.devices.contains(&decision.device));
                assert!(*at < challenge.expires_at, "approved after its end");
                assert_eq!(
                    self.origin_of_challenge[&challenge.id], known.origin,
                    "the approval of one attempt let another one in"
                );
                match challenge.number_mode {
                    NumberMode::None => self.nobody_else_was_there(login, user),
                    NumberMode::Typed => {
                        self.tally.accepted_typed += 1;
                        assert_eq!(Some(&decision.number), self.numbers.get(&login), "not the number of this prompt");
                        assert_ne!(request, login, "the prompt was not answered");
                    }
                    NumberMode::CodeToPhone => {
                        self.tally.accepted_shown += 1;
                        let typed = &self.logins[&request].request.credential;
                        let code = Secret::new(self.codes[&challenge.id].clone());
                        assert_eq!(*typed, Credential::Password(code), "not the code of this challenge");
                        assert_ne!(request, login, "the prompt was not answered");
                    }
                }
            }
            Some("window") => self.accepted_by_window(request, user),
            Some("totp") => {
                self.tally.accepted_code += 1;
                let step = self.database.devices[&device].totp_last_step;
                assert!(self.accepted_steps.insert((device, step)), "one code let in two logins");
                let methods = known.request.resource.policy.prompt;
                assert!(request == login || methods.is_some_and(|methods| methods.totp), "nobody asked for that code");
            }
            other => panic!("let in by {other:?}"),
        }
    }

    /// While a login waited for its Verify, nobody else with the password came to the point of asking a device.
    fn nobody_else_was_there(&self, login: LoginId, user: UserId) {
        let mine = &self.logins[&login];
        let asked = |id: LoginId, event: &str, reason: Option<&str>| {
            self.database.audit.iter().position(|e| {
                // A prompt that asks for a code of the account list asks no device.
                e.login == Some(id)
                    && e.kind.as_str() == event
                    && (reason.is_none() || e.reason == reason)
                    && (event != "login.challenged" || e.factor == Some("push"))
            })
        };
        // A retry speaks for the first request of its attempt, which was the one that asked.
        let opened = self
            .logins
            .iter()
            .filter(|(_, other)| other.origin == mine.origin)
            .filter_map(|(id, _)| asked(*id, "login.challenged", None))
            .max();
        let approved = asked(login, "login.ended", Some("approved"));
        let (Some(opened), Some(approved)) = (opened, approved) else { panic!("no trace of the approval") };
        for (id, other) in &self.logins {
            let proves = other.request.resource.primary != Primary::None
                || other.request.resource.id == mine.request.resource.id;
            if other.user != Some(user) || other.origin == mine.origin || !proves {
                continue;
            }
            if let Some(collided) = asked(*id, "login.ended", Some("collision")) {
                // Its own collision may have been with somebody else, before or after.
                assert!(
                    collided < opened || collided > approved || mine.request.resource.primary == Primary::None,
                    "{id:?} collided while {login:?} waited, and {login:?} was let in"
                );
            }
            if let Some(challenged) = asked(*id, "login.challenged", None) {
                assert!(challenged < opened || challenged > approved, "two challenges of one user at once");
            }
        }
    }
}
