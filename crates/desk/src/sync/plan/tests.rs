use countersign_domain::{DirectoryId, Entropy};
use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
const MONTH: Duration = Duration::from_secs(30 * 86_400);

struct Zero;

impl Entropy for Zero {
    fn fill(&self, out: &mut [u8]) {
        out.fill(0);
    }
}

fn entry(number: u8) -> EntryId {
    EntryId::from_text(format!("e{number}"))
}

/// A user who is here, with an id of his own.
fn user(number: u8, name: &str, enabled: bool, held: Option<Hold>) -> User {
    let at = |number: u8| Timestamp::from_seconds(1_700_000_000 + i64::from(number));
    User {
        id: UserId::new(at(number), &Zero),
        origin: UserOrigin::Directory { directory: DirectoryId::new(at(0), &Zero), entry: entry(number) },
        name: LoginName::new(name).unwrap(),
        display_name: name.to_uppercase(),
        enabled: enabled && held.is_none(),
        held,
        password: None,
        created_at: at(number),
    }
}

fn seen(number: u8, name: &str) -> Seen {
    Seen {
        entry: entry(number),
        name: LoginName::new(name).unwrap(),
        display_name: name.to_uppercase(),
        hold: None,
        action: Some(SyncAction::Add),
    }
}

const fn held(why: HoldReason) -> Hold {
    Hold { why, since: NOW }
}

fn plan(here: &[User], there: &[Seen], extent: Extent) -> Vec<Change> {
    let mut planner = Planner::new(here.to_vec());
    planner.see_all(there);
    planner.finish(extent, NOW, Some(MONTH)).unwrap()
}

impl Planner {
    fn see_all(&mut self, there: &[Seen]) {
        for seen in there {
            self.see(seen.clone());
        }
    }
}

/// What is here after the changes were made, as the database makes them.
fn made(here: &[User], changes: &[Change], there: &[Seen]) -> Vec<User> {
    let mut after = here.to_vec();
    for change in changes {
        let of = |after: &[User], user: &UserId| after.iter().position(|one| one.id == *user).unwrap();
        match change {
            Change::Add { entry, name, .. } => {
                let number = entry.as_str().trim_start_matches('e').parse().unwrap();
                assert!(!after.iter().any(|user| user.origin == self::user(number, "x", true, None).origin));
                after.push(user(number, name.as_str(), true, None));
            }
            Change::Rename { user, after: (name, display_name), .. } => {
                let at = of(&after, user);
                after[at].name = name.clone();
                after[at].display_name.clone_from(display_name);
            }
            Change::Hold { user, before, after: why, .. } => {
                let at = of(&after, user);
                let one = &mut after[at];
                assert!(before.is_some() || one.enabled, "the condition of the write");
                assert_eq!(one.held.map(|hold| hold.why), *before, "the condition of the write");
                (one.enabled, one.held) = (false, Some(held(*why)));
            }
            Change::Release { user, .. } => {
                let at = of(&after, user);
                assert!(after[at].held.is_some(), "the condition of the write");
                (after[at].enabled, after[at].held) = (true, None);
            }
            Change::Remove { user, .. } => {
                let at = of(&after, user);
                after.remove(at);
            }
        }
    }
    assert!(after.iter().all(|user| user.held.is_none() || !user.enabled));
    // Nobody keeps a name that the directory does not give.
    for seen in there {
        let of_entry =
            |user: &&User| matches!(&user.origin, UserOrigin::Directory { entry, .. } if *entry == seen.entry);
        if let Some(user) = after.iter().find(of_entry) {
            assert_eq!((user.name.as_str(), &user.display_name), (seen.name.as_str(), &seen.display_name));
        }
    }
    after
}

#[test]
fn c089_a_new_person_with_an_old_name_is_somebody_else() {
    let here = [user(1, "alice", true, None)];
    let there = [Seen { display_name: "Ann".to_owned(), ..seen(1, "ann") }, seen(2, "alice")];
    let changes = plan(&here, &there, Extent::Whole);
    let [Change::Add { entry: new, .. }, Change::Rename { user, after, .. }] = &changes[..] else {
        panic!("{changes:?}")
    };
    assert_eq!((new, *user, after.0.as_str(), after.1.as_str()), (&entry(2), here[0].id, "ann", "Ann"));
}

#[test]
fn whom_an_administrator_disabled_stays_disabled() {
    let here = [user(1, "alice", false, None), user(2, "bob", false, None), user(3, "carol", false, None)];
    let there = [seen(1, "alice"), Seen { hold: Some(HoldReason::Disabled), ..seen(2, "bob") }];
    assert_eq!(plan(&here, &there, Extent::Whole), []);
}

#[test]
fn whom_the_directory_disabled_comes_back_with_it() {
    for why in [HoldReason::Disabled, HoldReason::Expired, HoldReason::Gone] {
        let here = [user(1, "alice", true, Some(held(why)))];
        assert!(matches!(plan(&here, &[seen(1, "alice")], Extent::Changes)[..], [Change::Release { .. }]));
    }
}

#[test]
fn nobody_comes_in_whom_no_rule_adds_or_who_may_not_log_on() {
    let there = [
        Seen { action: None, ..seen(1, "a") },
        Seen { action: Some(SyncAction::Skip), ..seen(2, "b") },
        Seen { hold: Some(HoldReason::Expired), ..seen(3, "c") },
    ];
    assert_eq!(plan(&[], &there, Extent::Whole), []);
}

#[test]
fn who_is_here_is_followed_whatever_the_rules_say() {
    let here = [user(1, "alice", true, None)];
    let there = [Seen { action: Some(SyncAction::Skip), hold: Some(HoldReason::Disabled), ..seen(1, "alice") }];
    assert!(matches!(
        plan(&here, &there, Extent::Changes)[..],
        [Change::Hold { before: None, after: HoldReason::Disabled, .. }]
    ));
}

#[test]
fn no_answer_and_half_an_answer_disable_nobody() {
    let here = [user(1, "alice", true, None), user(2, "bob", true, None)];
    for extent in [Extent::Whole, Extent::WholeWithGaps] {
        let fault = Planner::new(here.to_vec()).finish(extent, NOW, None).unwrap_err();
        assert_eq!(fault, Doubt::NobodyThere(2));
    }
    assert_eq!(plan(&here, &[seen(1, "alice")], Extent::WholeWithGaps), []);
    assert_eq!(plan(&here, &[seen(1, "alice")], Extent::Changes), []);
    assert_eq!(plan(&here, &[seen(1, "alice")], Extent::Whole).len(), 1);
    // Where all have been gone already there is nobody to lose.
    let gone = [user(1, "alice", true, Some(held(HoldReason::Gone)))];
    assert_eq!(Planner::new(gone).finish(Extent::Whole, NOW, None), Ok(vec![]));
}

#[test]
fn who_is_gone_is_removed_when_the_time_has_come_and_not_before() {
    let here = [user(1, "alice", true, Some(held(HoldReason::Gone))), user(2, "bob", true, None)];
    let at = |now, kept| {
        let mut planner = Planner::new(here.to_vec());
        planner.see(seen(2, "bob"));
        planner.finish(Extent::Whole, now, kept).unwrap()
    };
    assert_eq!(at(NOW.plus(MONTH), None), []);
    assert_eq!(at(NOW.plus(MONTH).minus(Duration::from_micros(1)), Some(MONTH)), []);
    assert!(matches!(at(NOW.plus(MONTH), Some(MONTH))[..], [Change::Remove { user, .. }] if user == here[0].id));
    assert!(!at(NOW.plus(MONTH), Some(MONTH))[0].shuts_out(), "it was the brake's turn when the user went");
}

#[test]
fn the_brake_counts_who_is_shut_out_or_vanishes() {
    let here = [
        user(1, "a", true, None),
        user(2, "b", true, Some(held(HoldReason::Disabled))),
        user(3, "c", true, Some(held(HoldReason::Disabled))),
        user(4, "d", true, None),
    ];
    let there = [
        Seen { hold: Some(HoldReason::Expired), ..seen(2, "b") },
        Seen { hold: Some(HoldReason::Disabled), ..seen(4, "d") },
    ];
    let changes = plan(&here, &there, Extent::Whole);
    let of: Vec<_> = changes.iter().filter(|change| change.shuts_out()).map(|change| change.name().as_str()).collect();
    assert_eq!((changes.len(), of), (4, vec!["a", "c", "d"]));
    assert_eq!(counts(2, &changes), SyncCounts { read: 2, disabled: 3, ..SyncCounts::default() });
}

fn reason() -> impl Strategy<Value = Option<HoldReason>> {
    prop_oneof![
        3 => Just(None),
        1 => Just(Some(HoldReason::Disabled)),
        1 => Just(Some(HoldReason::Expired)),
    ]
}

prop_compose! {
    fn people()(users in prop::collection::btree_map(0_u8..20, (0_u8..6, any::<bool>(), prop_oneof![
        Just(None), Just(Some(HoldReason::Disabled)), Just(Some(HoldReason::Expired)), Just(Some(HoldReason::Gone)),
    ]), 0..12)) -> Vec<User> {
        users.into_iter().map(|(number, (name, enabled, why))| {
            user(number, &format!("n{name}"), enabled, why.map(held))
        }).collect()
    }
}

prop_compose! {
    fn entries()(there in prop::collection::btree_map(0_u8..20, (0_u8..6, reason(), prop_oneof![
        Just(None), Just(Some(SyncAction::Add)), Just(Some(SyncAction::Skip)),
    ]), 1..12)) -> Vec<Seen> {
        there.into_iter().map(|(number, (name, hold, action))| {
            Seen { hold, action, ..seen(number, &format!("n{name}")) }
        }).collect()
    }
}

fn extent() -> impl Strategy<Value = Extent> {
    prop_oneof![Just(Extent::Whole), Just(Extent::WholeWithGaps), Just(Extent::Changes)]
}

proptest! {
    #[test]
    fn once_made_there_is_nothing_more_to_do(here in people(), there in entries(), extent in extent()) {
        let changes = plan(&here, &there, extent);
        let after = made(&here, &changes, &there);
        let mut planner = Planner::new(after);
        planner.see_all(&there);
        prop_assert_eq!(planner.finish(extent, NOW, Some(MONTH)).unwrap(), vec![]);
    }

    #[test]
    fn after_a_whole_reading_everybody_is_as_the_directory_says(here in people(), there in entries()) {
        let after = made(&here, &plan(&here, &there, Extent::Whole), &there);
        for user in &after {
            let UserOrigin::Directory { entry, .. } = &user.origin else { unreachable!() };
            let by_administrator = here.iter().any(|one| one.id == user.id && !one.enabled && one.held.is_none());
            let there = there.iter().find(|seen| seen.entry == *entry);
            if by_administrator {
                prop_assert!(!user.enabled && user.held.is_none());
            } else {
                let says = there.map_or(Some(HoldReason::Gone), |seen| seen.hold);
                prop_assert_eq!(user.held.map(|hold| hold.why), says);
                prop_assert_eq!(user.enabled, says.is_none());
            }
        }
        let has = |users: &[User], seen: &Seen| {
            let of = |user: &User| matches!(&user.origin, UserOrigin::Directory { entry, .. } if *entry == seen.entry);
            users.iter().any(of)
        };
        for seen in &there {
            let comes = seen.action == Some(SyncAction::Add) && seen.hold.is_none();
            prop_assert_eq!(has(&after, seen), has(&here, seen) || comes);
        }
    }

    #[test]
    fn what_was_not_read_whole_makes_nobody_vanish(
        here in people(),
        there in entries(),
        extent in prop_oneof![Just(Extent::WholeWithGaps), Just(Extent::Changes)],
    ) {
        for change in plan(&here, &there, extent) {
            let gone = matches!(change, Change::Remove { .. } | Change::Hold { after: HoldReason::Gone, .. });
            prop_assert!(!gone, "{change:?}");
        }
    }

    #[test]
    fn the_order_of_the_pages_and_entries_that_come_twice_change_nothing(
        here in people(),
        there in entries().prop_shuffle(),
        extent in extent(),
    ) {
        let mut sorted = there.clone();
        sorted.sort_by(|one, other| one.entry.cmp(&other.entry));
        let key = |changes: Vec<Change>| {
            let mut lines: Vec<String> = changes.iter().map(|change| format!("{change:?}")).collect();
            lines.sort();
            lines
        };
        let twice: Vec<Seen> = there.iter().chain(&there).cloned().collect();
        prop_assert_eq!(key(plan(&here, &there, extent)), key(plan(&here, &sorted, extent)));
        prop_assert_eq!(key(plan(&here, &twice, extent)), key(plan(&here, &there, extent)));
    }

    #[test]
    fn a_deletion_that_is_told_is_one_that_is_not_seen(here in people(), there in entries()) {
        let mut told = Planner::new(here.clone());
        told.see_all(&there);
        let missing = here.iter().filter_map(|user| match &user.origin {
            UserOrigin::Directory { entry, .. } if there.iter().all(|seen| seen.entry != *entry) => Some(entry),
            _ => None,
        });
        missing.for_each(|entry| told.deleted(entry));
        let mut told = told.finish(Extent::Changes, NOW, None).unwrap();
        let mut planner = Planner::new(here.clone());
        planner.see_all(&there);
        let mut found = planner.finish(Extent::Whole, NOW, None).unwrap();
        let key = |change: &Change| format!("{change:?}");
        told.sort_by_key(key);
        found.sort_by_key(key);
        prop_assert_eq!(told, found);
    }
}
