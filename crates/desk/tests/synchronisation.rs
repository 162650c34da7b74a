//! Synchronisation, over a directory that is played.
#![cfg(test)]

use core::time::Duration;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use countersign_desk::{
    Directories, FindFault, PasswordAnswer, Person, Trouble,
    sync::{ReadUser, SyncFault, SyncHow, SyncProgress, SyncReport, UserPage, UserPages, plan::Change},
};
use countersign_domain::{
    AuditRecord, Directory, DirectoryId, EntryId, HoldReason, Lockout, Secret, SyncOutcome, SyncSettings, SyncState,
    User, UserId, UserOrigin, Write,
};
use countersign_testkit::Site;
use tokio::sync::{Notify, watch};

/// What the next readings give.
#[derive(Default)]
struct Script {
    users: Vec<ReadUser>,
    /// Deletions that a reading of changes tells; `None` where they are not told.
    deleted: Option<Vec<EntryId>>,
    unusable: Vec<String>,
    /// Breaks off behind so many pages.
    breaks: Option<usize>,
    /// Every reading began with this mark.
    asked: Vec<Option<String>>,
    /// Waited for before the first page.
    gate: Option<Arc<Notify>>,
}

#[derive(Default)]
struct Played(Mutex<Script>);

impl Played {
    fn set<T>(&self, change: impl FnOnce(&mut Script) -> T) -> T {
        change(&mut self.0.lock().unwrap())
    }
}

struct Pages {
    left: Vec<UserPage>,
    breaks: Option<usize>,
    everything: bool,
    told: bool,
    mark: String,
    gate: Option<Arc<Notify>>,
}

#[async_trait]
impl UserPages for Pages {
    async fn next(&mut self) -> Result<Option<UserPage>, Trouble> {
        if let Some(gate) = self.gate.take() {
            gate.notified().await;
        }
        match &mut self.breaks {
            Some(0) => return Err(trouble()),
            Some(pages) => *pages -= 1,
            None => {}
        }
        Ok(if self.left.is_empty() { None } else { Some(self.left.remove(0)) })
    }

    fn is_everything(&self) -> bool {
        self.everything
    }

    fn tells_deletions(&self) -> bool {
        self.told
    }

    fn mark(&self) -> Option<String> {
        Some(self.mark.clone())
    }
}

fn trouble() -> Trouble {
    Trouble { word: "directory_unreachable", text: "the connection was closed".to_owned() }
}

#[async_trait]
impl Directories for Played {
    async fn find(&self, _: &Directory, _: &str, _: &[String]) -> Result<Person, FindFault> {
        Err(FindFault::Unknown(None))
    }

    async fn users(&self, _: &Directory, mark: Option<&str>) -> Result<Box<dyn UserPages>, Trouble> {
        Ok(self.set(|script| {
            script.asked.push(mark.map(str::to_owned));
            let mut pages: Vec<_> =
                script.users.chunks(2).map(|users| UserPage { users: users.to_vec(), ..UserPage::default() }).collect();
            pages.push(UserPage {
                users: Vec::new(),
                unusable: script.unusable.clone(),
                deleted: script.deleted.clone().filter(|_| mark.is_some()).unwrap_or_default(),
            });
            Box::new(Pages {
                left: pages,
                breaks: script.breaks,
                everything: mark.is_none(),
                told: script.deleted.is_some(),
                mark: format!("mark{}", script.asked.len()),
                gate: script.gate.take(),
            })
        }))
    }

    async fn check(&self, _: &Directory, _: &str, _: &Secret) -> PasswordAnswer {
        PasswordAnswer::Wrong
    }
}

fn entry(number: usize) -> EntryId {
    EntryId::from_text(format!("e{number}"))
}

fn there(number: usize, name: &str) -> ReadUser {
    ReadUser {
        entry: entry(number),
        name: name.to_owned(),
        display_name: Some(format!("{name} in full")),
        hold: None,
        rule: Some(0),
    }
}

fn many(numbers: impl Iterator<Item = usize>) -> Vec<ReadUser> {
    numbers.map(|number| there(number, &format!("user{number}"))).collect()
}

struct House {
    site: Site,
    played: Arc<Played>,
    directory: Directory,
}

impl House {
    async fn new(sync: SyncSettings) -> Self {
        let played = Arc::new(Played::default());
        let site = Site::with_directories(7, played.clone()).await;
        let now = site.desk.clock().now();
        let directory = Directory {
            id: DirectoryId::new(now, &*site.entropy),
            name: "corp".to_owned(),
            settings: "{}".to_owned(),
            password: Secret::new(b"secret".to_vec()),
            lockout: Lockout::default(),
            sync,
            created_at: now,
        };
        site.write(Write::AddDirectory(Box::new(directory.clone()))).await;
        Self { site, played, directory }
    }

    async fn run(&self, how: SyncHow) -> SyncReport {
        let progress = watch::Sender::new(SyncProgress::default());
        self.site.desk.synchronise(self.directory.id, how, progress).await.unwrap()
    }

    async fn sync(&self) -> SyncReport {
        self.run(SyncHow::default()).await
    }

    async fn full(&self) -> SyncReport {
        self.run(SyncHow { full: true, ..SyncHow::default() }).await
    }

    async fn users(&self) -> Vec<User> {
        self.site.desk.store().users().await.unwrap()
    }

    async fn user(&self, number: usize) -> User {
        self.site.desk.store().user_by_entry(self.directory.id, &entry(number)).await.unwrap().unwrap()
    }

    /// Names, with a word for those who are disabled.
    async fn shown(&self) -> Vec<String> {
        let word = |user: &User| match (user.enabled, user.held) {
            (true, None) => String::new(),
            (false, None) => " off".to_owned(),
            (false, Some(hold)) => format!(" {}", hold.why.as_str()),
            (true, Some(_)) => panic!("{user:?}"),
        };
        self.users().await.iter().map(|user| format!("{}{}", user.name, word(user))).collect()
    }

    async fn state(&self) -> SyncState {
        self.site.desk.store().sync_states().await.unwrap().remove(0)
    }

    async fn records(&self, event: &str) -> Vec<AuditRecord> {
        self.site.audit().await.into_iter().filter(|record| record.event == event).collect()
    }
}

fn adds() -> SyncSettings {
    SyncSettings { rules: vec!["add:container:DC=example".parse().unwrap()], ..SyncSettings::default() }
}

#[tokio::test]
async fn users_come_are_renamed_go_and_come_back_with_their_devices() {
    let house = House::new(adds()).await;
    house.played.set(|script| script.users = vec![there(1, "alice"), there(2, "bob"), there(3, "carol")]);
    let report = house.sync().await;
    assert_eq!((report.run.outcome, report.run.counts.added, report.run.whole), (SyncOutcome::Done, 3, true));
    assert_eq!(house.shown().await, ["alice", "bob", "carol"]);
    let bob = house.user(2).await;
    house.site.device(bob.id).await;

    // Renamed; disabled; deleted, and made anew under the same name.
    house.played.set(|script| {
        script.users =
            vec![there(1, "ann"), ReadUser { hold: Some(HoldReason::Disabled), ..there(2, "bob") }, there(4, "carol")];
    });
    let report = house.full().await;
    let counts = report.run.counts;
    assert_eq!((counts.renamed, counts.disabled, counts.added), (1, 2, 1));
    assert_eq!(house.shown().await, ["ann", "bob disabled", "carol gone", "carol"]);
    assert_ne!(house.user(3).await.id, house.user(4).await.id, "a new person with an old name is somebody else (C089)");

    house
        .played
        .set(|script| script.users = vec![there(1, "ann"), there(2, "bob"), there(3, "carol"), there(4, "carol2")]);
    house.full().await;
    assert_eq!(house.shown().await, ["ann", "bob", "carol", "carol2"]);
    let snapshot = house.site.desk.store().snapshot(bob.id).await.unwrap().unwrap();
    assert_eq!(snapshot.active_devices().count(), 1);

    let events: Vec<_> = house.site.audit().await.into_iter().filter(|record| record.actor == "sync").collect();
    let count = |event: &str| events.iter().filter(|record| record.event == event).count();
    assert_eq!(
        (count("user.added"), count("user.changed"), count("user.disabled"), count("user.enabled")),
        (4, 2, 2, 2)
    );
    assert_eq!(count("directory.synced"), 3);
    let disabled = events.iter().find(|record| record.event == "user.disabled").unwrap();
    assert!(disabled.detail.as_ref().unwrap().contains(r#""after":{"enabled":false,"held":"#), "{disabled:?}");
}

#[tokio::test]
async fn whom_an_administrator_disabled_stays_so_and_whom_he_enabled_is_the_directorys_again() {
    let house = House::new(adds()).await;
    house.played.set(|script| script.users = vec![there(1, "alice"), there(2, "bob")]);
    house.sync().await;
    let (alice, bob) = (house.user(1).await.id, house.user(2).await.id);
    house.site.disable(alice).await;
    let off = |number, name| ReadUser { hold: Some(HoldReason::Disabled), ..there(number, name) };
    house.played.set(|script| script.users = vec![off(1, "alice"), off(2, "bob")]);
    house.full().await;
    assert_eq!(house.shown().await, ["alice off", "bob disabled"]);
    // The administrator says it once more of somebody whom the directory had disabled: from now on it is his word.
    house.site.disable(bob).await;
    house.played.set(|script| script.users = vec![there(1, "alice"), there(2, "bob")]);
    house.full().await;
    assert_eq!(house.shown().await, ["alice off", "bob off"]);
    house.site.write(Write::SetUserEnabled { id: bob, enabled: true }).await;
    house.played.set(|script| script.users = vec![there(1, "alice"), off(2, "bob")]);
    house.full().await;
    assert_eq!(house.shown().await, ["alice off", "bob disabled"]);
}

#[tokio::test]
async fn s15_a_login_that_waits_is_not_let_in_once_the_synchronisation_has_disabled_its_user() {
    let house = House::new(adds()).await;
    house.played.set(|script| script.users = vec![there(1, "alice"), there(2, "bob")]);
    house.sync().await;
    let alice = house.user(1).await.id;
    let device = house.site.device(alice).await;
    let mut news = house.site.desk.subscribe(device.id);
    house.played.set(|script| script.users = vec![there(2, "bob")]);
    house.full().await;
    assert!(news.recv().await.is_none(), "its stream ends");
    let snapshot = house.site.desk.snapshot(alice).await.unwrap().unwrap();
    assert!(!snapshot.user.enabled, "what was read before is not believed any more");
}

#[tokio::test]
async fn nothing_is_changed_by_a_reading_that_breaks_off_or_shows_nobody() {
    let house = House::new(adds()).await;
    house.played.set(|script| script.users = many(0..6));
    house.sync().await;
    let before = house.state().await;
    for breaks in 0..4 {
        house.played.set(|script| {
            script.users = vec![ReadUser { hold: Some(HoldReason::Disabled), ..there(0, "other") }, there(9, "new")];
            script.users.extend(many(2..5));
            script.breaks = Some(breaks);
        });
        let report = house.full().await;
        assert_eq!((report.run.outcome, report.changes.len()), (SyncOutcome::Failed, 0), "{breaks}");
        assert!(report.run.text.unwrap().contains("the connection was closed"));
    }
    house.played.set(|script| (script.users, script.breaks) = (Vec::new(), None));
    for how in [
        SyncHow { full: true, ..SyncHow::default() },
        SyncHow { full: true, accept_removals: true, ..SyncHow::default() },
    ] {
        let report = house.run(how).await;
        assert_eq!(report.run.outcome, SyncOutcome::Failed);
        let text = report.run.text.unwrap();
        assert!(text.contains("shows no user at all, and 6 have come from it"), "{text}");
    }
    // Entries that could not be read: nobody is taken for gone.
    house.played.set(|script| (script.users, script.unusable) = (many(0..5), vec!["CN=x: it has no DN".to_owned()]));
    let report = house.full().await;
    assert_eq!((report.run.outcome, report.changes.len()), (SyncOutcome::Done, 0));
    assert!(report.run.text.unwrap().contains("1 entries could not be used, so nobody was taken for gone: CN=x"));
    assert_eq!(house.users().await.iter().filter(|user| user.enabled).count(), 6);
    let after = house.state().await;
    assert_eq!(before.last.started_at, after.done_at.unwrap(), "the clock stands");
    assert!(house.records("user.disabled").await.is_empty());
}

#[tokio::test]
async fn the_brake_holds_everything_until_somebody_says_that_it_is_right() {
    let house = House::new(SyncSettings { brake: 2, ..adds() }).await;
    house.played.set(|script| script.users = many(0..10));
    house.sync().await;
    let mark = house.state().await.mark;
    house.played.set(|script| {
        script.users = many(3..10);
        script.users.push(there(20, "new"));
    });
    for _ in 0..3 {
        let report = house.full().await;
        assert_eq!((report.run.outcome, report.run.counts.disabled, report.changes.len()), (SyncOutcome::Held, 3, 4));
        assert!(report.run.text.unwrap().contains("countersign directory sync corp --accept-removals"));
    }
    assert_eq!(house.users().await.len(), 10, "nothing is written, the newcomer neither");
    assert_eq!(house.state().await.mark, mark);
    let alerts = house.records("alert").await;
    assert_eq!((alerts.len(), alerts[0].reason.as_deref()), (1, Some("sync_held")), "one alert, not one for each run");
    assert_eq!(house.records("directory.synced").await.len(), 2);

    let how =
        SyncHow { full: true, accept_removals: true, actor: Some("uid:0 (root)".to_owned()), ..SyncHow::default() };
    let report = house.run(how).await;
    assert_eq!((report.run.outcome, report.changes.len()), (SyncOutcome::Done, 4));
    let accepted = house.records("directory.synced").await.pop().unwrap();
    assert!(accepted.actor == "uid:0 (root)" && accepted.detail.unwrap().contains(r#""accepted":true"#));
    // And it was for once.
    house.played.set(|script| script.users = many(6..10));
    assert_eq!(house.full().await.run.outcome, SyncOutcome::Held);
    assert_eq!(house.records("alert").await.len(), 2);
    // As many as the brake lets through.
    house.played.set(|script| {
        script.users = many(5..10);
        script.users.push(there(20, "new"));
    });
    let report = house.full().await;
    assert_eq!((report.run.outcome, report.run.counts.disabled), (SyncOutcome::Done, 2));
}

#[tokio::test]
async fn a_dry_run_tells_all_and_writes_nothing() {
    let house = House::new(SyncSettings { brake: 1, ..adds() }).await;
    house.played.set(|script| script.users = many(0..5));
    house.sync().await;
    let (users, state, records) = (house.users().await, house.state().await, house.site.audit().await.len());
    house.played.set(|script| script.users = vec![there(0, "other"), there(9, "new"), there(4, "user4")]);
    let how = SyncHow { full: true, dry_run: true, ..SyncHow::default() };
    let report = house.run(how.clone()).await;
    assert_eq!((report.run.outcome, report.run.counts.disabled), (SyncOutcome::Held, 3), "and says what would hold it");
    let report = house.run(SyncHow { accept_removals: true, ..how }).await;
    assert_eq!((report.run.outcome, report.changes.len()), (SyncOutcome::Done, 5));
    let names: Vec<_> = report.changes.iter().map(|change| change.name().as_str()).collect();
    assert_eq!(names, ["new", "other", "user1", "user2", "user3"]);
    assert_eq!((house.users().await, house.state().await, house.site.audit().await.len()), (users, state, records));
}

#[tokio::test]
async fn what_changed_is_read_from_the_mark_on_and_everything_when_the_time_has_come() {
    let house = House::new(adds()).await;
    house.played.set(|script| (script.users, script.deleted) = (many(0..3), Some(Vec::new())));
    let hour = Duration::from_secs(3600);
    house.sync().await;
    house
        .played
        .set(|script| (script.users, script.deleted) = (vec![there(1, "renamed")], Some(vec![entry(2), entry(77)])));
    house.site.clock.advance(hour);
    let report = house.sync().await;
    assert_eq!((report.run.whole, report.changes.len()), (false, 2));
    assert_eq!(house.shown().await, ["renamed", "user0", "user2 gone"]);
    house.site.clock.advance(hour);
    house.sync().await;
    house.full().await;
    // Another rule, so that others may come in.
    let mut changed = house.directory.clone();
    changed.sync.rules.push("add:group:GG-MFA".parse().unwrap());
    house.site.write(Write::SetDirectory(Box::new(changed.clone()))).await;
    house.sync().await;
    // The interval is no matter of reading.
    changed.sync.interval = Some(600);
    house.site.write(Write::SetDirectory(Box::new(changed))).await;
    house.sync().await;
    house.site.clock.advance(hour * 24);
    house.sync().await;
    // From now on deletions are not told.
    house.played.set(|script| script.deleted = None);
    house.site.clock.advance(hour * 24);
    house.sync().await;
    house.site.clock.advance(hour / 2);
    house.sync().await;
    house.site.clock.advance(hour / 2);
    house.sync().await;
    let asked = house.played.set(|script| std::mem::take(&mut script.asked));
    let asked: Vec<_> = asked.iter().map(|mark| mark.as_deref().unwrap_or("all")).collect();
    assert_eq!(asked, ["all", "mark1", "mark2", "all", "all", "mark5", "all", "all", "mark8", "all"]);
}

#[tokio::test]
async fn users_who_are_gone_are_removed_after_their_time_and_not_once_somebody_wants_them() {
    let house = House::new(SyncSettings { remove_after_days: Some(30), ..adds() }).await;
    house.played.set(|script| script.users = many(0..4));
    house.sync().await;
    let kept = house.user(1).await.id;
    house.site.device(house.user(0).await.id).await;
    house.played.set(|script| script.users = many(3..4));
    house.full().await;
    house.site.clock.advance(Duration::from_secs(29 * 86_400));
    assert_eq!(house.full().await.changes.len(), 0);
    house.site.write(Write::SetUserEnabled { id: kept, enabled: true }).await;
    house.site.clock.advance(Duration::from_secs(86_400));
    let report = house.full().await;
    assert_eq!(report.run.counts.removed, 2);
    assert_eq!(house.shown().await, ["user1 gone", "user3"], "the thirty days of user1 begin anew");
    let removed = house.records("user.removed").await;
    assert!(removed.iter().any(|record| record.detail.as_ref().unwrap().contains("devices\":[{")), "{removed:?}");
}

#[tokio::test]
async fn what_somebody_else_changes_at_the_same_time_stands_and_the_rest_is_written() {
    let house = House::new(adds()).await;
    house.played.set(|script| script.users = many(0..3));
    house.sync().await;
    let gate = Arc::new(Notify::new());
    house.played.set(|script| {
        script.gate = Some(Arc::clone(&gate));
        script.users = many(5..8);
        script.users.push(ReadUser { hold: Some(HoldReason::Disabled), ..there(0, "user0") });
        script.users.push(there(1, "other"));
    });
    let run = {
        let (desk, id) = (Arc::clone(&house.site.desk), house.directory.id);
        let how = SyncHow { full: true, ..SyncHow::default() };
        tokio::spawn(async move { desk.synchronise(id, how, watch::Sender::new(SyncProgress::default())).await })
    };
    // It has read who is here, and waits for the directory.
    while house.played.set(|script| script.asked.len()) < 2 {
        tokio::task::yield_now().await;
    }
    let second = house
        .site
        .desk
        .synchronise(house.directory.id, SyncHow::default(), watch::Sender::new(SyncProgress::default()))
        .await;
    assert!(matches!(second, Err(SyncFault::Running)), "one at a time");
    // Meanwhile an administrator disables one, removes another, and one of the newcomers logs on.
    house.site.disable(house.user(0).await.id).await;
    house.site.write(Write::RemoveUser(house.user(1).await.id)).await;
    let newcomer = User {
        id: UserId::new(house.site.desk.clock().now(), &*house.site.entropy),
        origin: UserOrigin::Directory { directory: house.directory.id, entry: entry(6) },
        ..house.user(2).await
    };
    house.site.write(Write::AddUser(newcomer.clone())).await;
    let before = house.state().await.mark;
    gate.notify_one();
    let report = run.await.unwrap().unwrap();
    assert_eq!(report.run.outcome, SyncOutcome::Done);
    assert!(report.run.text.unwrap().contains("3 users were changed by somebody else at the same time"));
    assert_eq!(house.shown().await, ["user0 off", "user2 gone", "user2", "user5", "user7"]);
    assert_eq!(house.user(6).await.id, newcomer.id);
    assert_eq!(house.state().await.mark, before, "they are looked at again");
    let report = house.full().await;
    let [Change::Add { .. }, Change::Rename { .. }] = &report.changes[..] else { panic!("{:?}", report.changes) };
}

#[tokio::test]
async fn a_long_run_tells_how_far_it_is_and_one_without_a_database_says_so() {
    let house = House::new(adds()).await;
    house.played.set(|script| script.users = many(0..250));
    let progress = watch::Sender::new(SyncProgress::default());
    let seen = progress.subscribe();
    let report = house.site.desk.synchronise(house.directory.id, SyncHow::default(), progress).await.unwrap();
    assert_eq!(report.run.counts.added, 250);
    assert_eq!(*seen.borrow(), SyncProgress { read: 250, written: 250, changes: 250 });
    house.site.desk.store().close().await;
    let progress = watch::Sender::new(SyncProgress::default());
    let report = house.site.desk.synchronise(house.directory.id, SyncHow::default(), progress).await;
    assert!(matches!(report, Err(SyncFault::Store(_))), "{report:?}");
}

#[tokio::test]
async fn runs_come_by_the_clock_from_start_to_start() {
    let house = House::new(SyncSettings { interval: Some(600), ..adds() }).await;
    house.played.set(|script| script.users = many(0..3));
    let keeper = tokio::spawn(Arc::clone(&house.site.desk).keep_synchronised());
    let runs = || house.played.set(|script| script.asked.len());
    let wait_for = async |count: usize| {
        while runs() < count || house.site.desk.store().sync_states().await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    // Whoever changes a directory makes the keeper look; otherwise it looks once a minute.
    let look = async |directory: &Directory| {
        house.site.write(Write::SetDirectory(Box::new(directory.clone()))).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    wait_for(1).await;
    house.site.clock.advance(Duration::from_secs(599));
    look(&house.directory).await;
    assert_eq!(runs(), 1, "not before the interval is over");
    house.site.clock.advance(Duration::from_secs(1 + 600 / 16 + 1));
    look(&house.directory).await;
    wait_for(2).await;
    let mut off = house.directory.clone();
    off.sync.interval = None;
    look(&off).await;
    house.site.clock.advance(Duration::from_secs(2000));
    look(&off).await;
    assert_eq!(runs(), 2);
    look(&house.directory).await;
    wait_for(3).await;
    // A start that is still to come, because the clock stood ahead, does not put the next one off.
    let now = house.site.desk.clock().now();
    house.site.clock.set(now.minus(Duration::from_secs(86_400)));
    look(&house.directory).await;
    wait_for(4).await;
    keeper.abort();
}

#[tokio::test]
async fn a_directory_that_is_gone_is_not_synchronised() {
    let house = House::new(adds()).await;
    house.site.write(Write::RemoveDirectory(house.directory.id)).await;
    let progress = watch::Sender::new(SyncProgress::default());
    let report = house.site.desk.synchronise(house.directory.id, SyncHow::default(), progress).await;
    assert!(matches!(report, Err(SyncFault::NoDirectory)));
}
