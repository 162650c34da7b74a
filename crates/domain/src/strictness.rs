use crate::{Expects, Methods, Primary, Resource, Retries, UserVerification};

impl Resource {
    /// How a login here would be let in more easily than at `default`, in words for an administrator; `None`: in no way.
    ///
    /// A client's rules lead requests by what stands in them, and whoever has the client's secret can write anything
    /// there. So they may lead to a resource that asks as much as the client's own, or more, and never to one that asks
    /// less.
    pub fn weakens(&self, default: &Self) -> Option<&'static str> {
        let (own, theirs) = (&self.policy, &default.policy);
        if !self.checks_as_much_as(default) {
            return Some("another first factor: primary, directory or upstream servers differ");
        }
        if !is_within(&self.allow_groups, &default.allow_groups) {
            return Some("groups that may log on there and not here");
        }
        if !theirs.require_groups.iter().all(|group| has(&own.require_groups, group)) {
            return Some("a required group less");
        }
        if rank(own.user_verification) < rank(theirs.user_verification) {
            return Some("less user verification on the phone");
        }
        if let Some(methods) = theirs.prompt
            && !own.prompt.is_some_and(|own| has_no_other(own, methods))
        {
            return Some("a second factor that its prompt does not offer here");
        }
        if own.eap && !theirs.eap {
            return Some("EAP");
        }
        if own.ms_chap && !theirs.ms_chap {
            return Some("MS-CHAP");
        }
        if own.windows && !theirs.windows {
            return Some("sign-in windows");
        }
        if own.remember > theirs.remember {
            return Some("approvals that are remembered for longer");
        }
        if takes_over(self) && !takes_over(default) {
            return Some("requests that take a waiting login over");
        }
        None
    }

    fn checks_as_much_as(&self, default: &Self) -> bool {
        let same_users = self.directory == default.directory;
        if self.primary == default.primary {
            let credential = self.policy.credential == Expects::Password
                || self.policy.credential == default.policy.credential
                || self.primary != Primary::Radius;
            return same_users && self.upstream == default.upstream && credential;
        }
        // Anything is more than nothing, as long as nobody comes in whom the directory would not let in.
        default.primary == Primary::None && (default.directory.is_none() || same_users)
    }
}

const fn takes_over(resource: &Resource) -> bool {
    matches!(resource.retries, Retries::Join)
}

const fn rank(verification: UserVerification) -> u8 {
    match verification {
        UserVerification::None => 0,
        UserVerification::Preferred => 1,
        UserVerification::Required => 2,
    }
}

const fn has_no_other(own: Methods, theirs: Methods) -> bool {
    (theirs.code_to_phone || !own.code_to_phone) && (theirs.typed || !own.typed) && (theirs.totp || !own.totp)
}

/// Whether everybody whom `own` lets in is let in by `all`; no groups are everybody.
fn is_within(own: &[String], all: &[String]) -> bool {
    all.is_empty() || (!own.is_empty() && own.iter().all(|group| has(all, group)))
}

fn has(groups: &[String], wanted: &str) -> bool {
    groups.iter().any(|group| group.to_lowercase() == wanted.to_lowercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::{DirectoryId, Policy, ResourceId, Timestamp, UpstreamId};

    fn resource() -> Resource {
        let now = Timestamp::from_seconds(1_800_000_000);
        Resource::new(ResourceId::from_uuid(Uuid::from_bytes([1; 16])), "vpn", Primary::Directory, now)
    }

    fn any_resource() -> impl Strategy<Value = Resource> {
        let primary =
            prop_oneof![Just(Primary::Local), Just(Primary::Directory), Just(Primary::Radius), Just(Primary::None)];
        let groups = || {
            prop::collection::vec(prop_oneof![Just("a"), Just("A"), Just("b"), Just("c")], 0..3)
                .prop_map(|groups| groups.into_iter().map(str::to_owned).collect::<Vec<_>>())
        };
        let number = || prop::option::of(0..2_u8);
        let methods =
            any::<(bool, bool, bool)>().prop_map(|(code_to_phone, typed, totp)| Methods { code_to_phone, typed, totp });
        let verification = prop_oneof![
            Just(UserVerification::None),
            Just(UserVerification::Preferred),
            Just(UserVerification::Required)
        ];
        let policy = (groups(), any::<[bool; 2]>(), prop::option::of(methods), verification, any::<bool>(), 0..3_u32)
            .prop_map(|(require_groups, [password, ms_chap], prompt, user_verification, windows, remember)| Policy {
                require_groups,
                credential: if password { Expects::Password } else { Expects::Nothing },
                ms_chap,
                prompt,
                user_verification,
                windows,
                eap: remember == 2,
                remember,
                ..Policy::default()
            });
        (primary, number(), number(), groups(), policy, any::<bool>()).prop_map(
            |(primary, directory, upstream, allow_groups, policy, join)| Resource {
                primary,
                directory: directory.map(|number| DirectoryId::from_uuid(Uuid::from_bytes([number; 16]))),
                upstream: upstream.map(|number| UpstreamId::from_uuid(Uuid::from_bytes([number; 16]))),
                allow_groups,
                policy,
                retries: if join { Retries::Join } else { Retries::Collide },
                ..resource()
            },
        )
    }

    /// A user as a resource sees him, whatever it asks.
    type Groups = Vec<String>;

    /// Whether the groups of somebody let him in.
    fn lets_in(resource: &Resource, groups: &Groups) -> bool {
        let allowed = &resource.allow_groups;
        (allowed.is_empty() || groups.iter().any(|group| has(allowed, group)))
            && resource.policy.require_groups.iter().all(|group| has(groups, group))
    }

    /// Resources that differ in few things, the later ones from those before.
    fn neighbours() -> impl Strategy<Value = [Resource; 3]> {
        let change = || (0..10_u8, any_resource());
        let changes = || prop::collection::vec(change(), 0..3);
        (any_resource(), changes(), changes()).prop_map(|(first, second, third)| {
            let mixed = |from: &Resource, changes: Vec<(u8, Resource)>| {
                let mut out = from.clone();
                for (what, other) in changes {
                    let policy = &mut out.policy;
                    match what {
                        0 => out.primary = other.primary,
                        1 => out.directory = other.directory,
                        2 => out.allow_groups = other.allow_groups,
                        3 => policy.require_groups = other.policy.require_groups,
                        4 => policy.credential = other.policy.credential,
                        8 => (policy.ms_chap, policy.eap) = (other.policy.ms_chap, other.policy.eap),
                        5 => policy.user_verification = other.policy.user_verification,
                        6 => policy.prompt = other.policy.prompt,
                        7 => (policy.windows, policy.remember) = (other.policy.windows, other.policy.remember),
                        _ => (out.upstream, out.retries) = (other.upstream, other.retries),
                    }
                }
                out
            };
            let second = mixed(&first, second);
            let third = mixed(&second, third);
            [first, second, third]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn strictness_is_an_order([a, b, c] in neighbours()) {
            prop_assert_eq!(a.weakens(&a), None);
            for (x, y, z) in [(&a, &b, &c), (&c, &b, &a), (&b, &a, &c), (&a, &c, &b)] {
                prop_assert!(x.weakens(y).is_some() || y.weakens(z).is_some() || x.weakens(z).is_none());
            }
        }

        #[test]
        fn whoever_a_stricter_one_lets_in_the_default_lets_in(
            [a, default, _] in neighbours(),
            groups in prop::collection::vec(prop_oneof![Just("a".to_owned()), Just("B".to_owned()), Just("c".to_owned())], 0..4),
        ) {
            if a.weakens(&default).is_none() {
                prop_assert!(!lets_in(&a, &groups) || lets_in(&default, &groups));
                prop_assert!(a.proves_user() || !default.proves_user());
                prop_assert!(rank(a.policy.user_verification) >= rank(default.policy.user_verification));
                prop_assert!(default.directory.is_none() || a.directory == default.directory);
            }
        }
    }

    type Change = Box<dyn Fn(&mut Resource)>;

    #[test]
    fn each_way_of_asking_less_is_seen_and_asking_more_is_none() {
        let home = Some(DirectoryId::from_uuid(Uuid::from_bytes([7; 16])));
        let base = Resource {
            directory: home,
            allow_groups: vec!["GG-VPN".to_owned(), "GG-RDP".to_owned()],
            policy: Policy {
                require_groups: vec!["GG-MFA".to_owned()],
                user_verification: UserVerification::Preferred,
                prompt: Some(Methods { code_to_phone: true, typed: false, totp: false }),
                remember: 10,
                ..Policy::default()
            },
            retries: Retries::Collide,
            ..resource()
        };
        let with = |change: &dyn Fn(&mut Resource)| {
            let mut other = base.clone();
            change(&mut other);
            other
        };
        let less: Vec<(&str, Change)> = vec![
            ("first factor", Box::new(|r| r.primary = Primary::None)),
            ("first factor", Box::new(|r| r.primary = Primary::Radius)),
            ("first factor", Box::new(|r| r.directory = Some(DirectoryId::from_uuid(Uuid::from_bytes([8; 16]))))),
            ("first factor", Box::new(|r| r.upstream = Some(UpstreamId::from_uuid(Uuid::from_bytes([8; 16]))))),
            ("groups that may", Box::new(|r| r.allow_groups.clear())),
            ("groups that may", Box::new(|r| r.allow_groups.push("GG-WLAN".to_owned()))),
            ("required group", Box::new(|r| r.policy.require_groups.clear())),
            ("user verification", Box::new(|r| r.policy.user_verification = UserVerification::None)),
            ("prompt", Box::new(|r| r.policy.prompt = None)),
            ("prompt", Box::new(|r| r.policy.prompt = Some(Methods { code_to_phone: true, typed: false, totp: true }))),
            ("MS-CHAP", Box::new(|r| r.policy.ms_chap = true)),
            ("windows", Box::new(|r| r.policy.windows = true)),
            ("EAP", Box::new(|r| r.policy.eap = true)),
            ("remembered", Box::new(|r| r.policy.remember = 11)),
            ("take a waiting", Box::new(|r| r.retries = Retries::Join)),
        ];
        for (said, change) in &less {
            let other = with(change);
            assert!(other.weakens(&base).is_some_and(|why| why.contains(said)), "{said}: {:?}", other.weakens(&base));
        }
        let more: Vec<Change> = vec![
            Box::new(|r| r.allow_groups = vec!["gg-vpn".to_owned()]),
            Box::new(|r| r.policy.require_groups.push("GG-Staff".to_owned())),
            Box::new(|r| r.policy.user_verification = UserVerification::Required),
            Box::new(|r| r.policy.remember = 0),
            Box::new(|r| r.answer_by = Resource::ANSWER_BY_MIN),
            Box::new(|r| r.name = "rdgw".to_owned()),
        ];
        for change in &more {
            assert_eq!(with(change).weakens(&base), None);
        }
    }

    #[test]
    fn anything_is_more_than_a_client_that_checked_for_itself() {
        let home = Some(DirectoryId::from_uuid(Uuid::from_bytes([7; 16])));
        let gateway = Resource { primary: Primary::None, directory: home, ..resource() };
        let vpn = Resource { primary: Primary::Directory, directory: home, ..resource() };
        assert_eq!(vpn.weakens(&gateway), None);
        assert!(gateway.weakens(&vpn).is_some());
        // Nobody whom the directory would not know.
        assert!(Resource { primary: Primary::Local, ..resource() }.weakens(&gateway).is_some());
        assert!(Resource { directory: None, ..gateway.clone() }.weakens(&gateway).is_some());
        // An upstream that decides without a password decides all the same.
        let servers = Some(UpstreamId::from_uuid(Uuid::from_bytes([9; 16])));
        let asks = Policy { credential: Expects::Nothing, ..Policy::default() };
        let decided =
            Resource { primary: Primary::Radius, directory: home, upstream: servers, policy: asks, ..resource() };
        let proven = Resource { policy: Policy::default(), ..decided.clone() };
        assert_eq!(proven.weakens(&decided), None);
        assert!(decided.weakens(&proven).is_some() && vpn.weakens(&decided).is_some());
    }
}
