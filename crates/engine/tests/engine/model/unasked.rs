//! Logins that are let in without anybody being asked.

use countersign_domain::Bypass;

use super::*;

impl World {
    /// An administrator lets somebody in once.
    pub(super) fn give_bypass(&mut self, user: UserId, seconds: u64) {
        let issued_at = self.wall();
        let until = issued_at.plus(Duration::from_secs(seconds));
        let bypass = Bypass { until, reason: String::new(), issuer: String::new(), issued_at };
        self.database.bypasses.insert(user, bypass);
        self.bypasses_given += 1;
    }

    /// Each bypass was used up by the one login that it let in.
    pub(super) fn check_bypasses(&self) {
        let records = self.database.audit.iter().filter(|event| event.factor == Some("bypass")).count();
        assert_eq!(records, self.database.bypasses_used, "a bypass let in more than one login, or none");
        assert!(self.database.bypasses_used <= self.bypasses_given);
    }

    pub(super) fn let_in_unasked(&mut self, login: LoginId, user: UserId, record: &AuditEvent) {
        let known = &self.logins[&login];
        let proved = match (&known.request.credential, known.request.resource.primary) {
            (Credential::Password(password), Primary::Local | Primary::Directory | Primary::Radius) => {
                password.expose() == PASSWORD
            }
            (_, Primary::None) => true,
            _ => false,
        };
        assert!(proved, "let in without a first factor");
        assert_eq!(record.device, None);
        if self.incarnation == 0 {
            let limits = self.database.limits.get(&LimitScope::User(user));
            assert!(limits.is_none_or(|limits| !limits.limits.is_frozen()), "let in after a report");
        }
        match record.factor {
            Some("bypass") => self.tally.accepted_bypass += 1,
            _ => self.let_in_by_another(login, user, record),
        }
    }

    fn let_in_by_another(&mut self, login: LoginId, user: UserId, record: &AuditEvent) {
        self.tally.accepted_remembered += 1;
        let from: LoginId =
            record.detail.as_deref().and_then(|login| login.parse().ok()).expect("the login that it stems from");
        assert!(self.remembered.insert(from), "one approval let in two further logins");
        let (first, further) = (&self.logins[&from], &self.logins[&login]);
        assert_eq!((first.user, first.incarnation), (Some(user), further.incarnation), "remembered over a restart");
        let (one, other) = (&first.request, &further.request);
        assert_eq!(one.resource.id, other.resource.id);
        assert_eq!(one.source, other.source, "from another place");
        assert!(one.source.address.is_some() || one.client == other.client, "from nowhere, by another client");
        let life = Duration::from_secs(u64::from(one.resource.policy.remember));
        let since = self.monotonic.saturating_sub(self.accepted_at[&from]);
        assert!(!life.is_zero() && since <= life + Duration::from_secs(1), "remembered for {since:?} of {life:?}");

        let place = |login, reason: &str| {
            self.database.audit.iter().position(|event| event.login == Some(login) && event.reason == Some(reason))
        };
        let approved = place(from, "approved").expect("what is remembered was an approval");
        assert!(matches!(self.database.audit[approved].factor, Some("push" | "totp")));
        let here = place(login, "remembered").expect("its record");
        let taken_back = self.database.audit[approved..here].iter().any(|event| {
            let mine = event.login.and_then(|login| self.logins.get(&login));
            event.user_id == Some(user)
                && mine.is_some_and(|known| known.incarnation == self.incarnation)
                && matches!(event.reason, Some("collision" | "denied" | "denied_reported"))
                && event.kind == EventKind::LoginEnded
        });
        assert!(!taken_back, "remembered after a collision or a denial");
    }
}
