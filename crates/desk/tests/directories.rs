//! Who comes in from a directory, over a directory that is played.
#![cfg(test)]

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use countersign_desk::{Directories, DoorVerdict, FindFault, PasswordAnswer, Person, Trouble, sync::UserPages};
use countersign_domain::{
    ClientId, Credential, Directory, DirectoryId, Door, EntryId, EventKind, Hold, HoldReason, Lockout, LoginRequest,
    Primary, Reason, ReplyRule, Resource, ResourceId, RetryKey, Secret, Source, SyncSettings, UserOrigin, Verdict,
    Write,
};
use countersign_testkit::Site;
use tokio::sync::mpsc::UnboundedReceiver;

/// Names, and whose they are.
#[derive(Default)]
struct Played {
    people: Mutex<Vec<(&'static str, Person)>>,
    down: Mutex<bool>,
    /// The groups that were asked about last.
    asked: Mutex<Vec<String>>,
    passwords: AtomicUsize,
}

fn person(entry: &str, name: &str) -> Person {
    Person {
        entry: EntryId::from_text(entry.to_owned()),
        name: name.to_owned(),
        display_name: Some(format!("{name} in full")),
        refused: None,
        groups: vec!["GG-VPN".to_owned()],
        no_groups: Vec::new(),
    }
}

impl Played {
    fn trouble(&self) -> Option<Trouble> {
        (*self.down.lock().unwrap()).then(|| Trouble { word: "directory_unreachable", text: "down".to_owned() })
    }

    fn set(&self, people: Vec<(&'static str, Person)>) {
        *self.people.lock().unwrap() = people;
    }
}

#[async_trait]
impl Directories for Played {
    async fn find(&self, _: &Directory, typed: &str, groups: &[String]) -> Result<Person, FindFault> {
        *self.asked.lock().unwrap() = groups.to_vec();
        // Others come in between.
        tokio::task::yield_now().await;
        if let Some(trouble) = self.trouble() {
            return Err(FindFault::Unavailable(trouble));
        }
        let people = self.people.lock().unwrap();
        let mut found = people.iter().filter(|(name, _)| *name == typed).map(|(_, person)| person.clone());
        match (found.next(), found.next()) {
            (Some(person), None) => Ok(person),
            (None, _) => Err(FindFault::Unknown(None)),
            (Some(_), Some(_)) => Err(FindFault::Unknown(Some("ambiguous"))),
        }
    }

    async fn users(&self, _: &Directory, _: Option<&str>) -> Result<Box<dyn UserPages>, Trouble> {
        panic!("nobody synchronises here")
    }

    async fn check(&self, directory: &Directory, typed: &str, password: &Secret) -> PasswordAnswer {
        self.passwords.fetch_add(1, Ordering::SeqCst);
        match self.find(directory, typed, &[]).await {
            Err(FindFault::Unavailable(trouble)) => PasswordAnswer::Unavailable(trouble),
            Ok(person) if password.expose() == b"right" => PasswordAnswer::Right(person.entry),
            _ => PasswordAnswer::Wrong,
        }
    }
}

struct House {
    site: Site,
    played: Arc<Played>,
    directory: Directory,
    resource: Arc<Resource>,
    client: ClientId,
    verdicts: UnboundedReceiver<DoorVerdict>,
}

impl House {
    async fn new(primary: Primary) -> Self {
        let played = Arc::new(Played::default());
        let site = Site::with_directories(3, played.clone()).await;
        let now = site.desk.clock().now();
        let directory = Directory {
            id: DirectoryId::new(now, &*site.entropy),
            name: "corp".to_owned(),
            settings: "{}".to_owned(),
            password: Secret::new(b"secret".to_vec()),
            lockout: Lockout::default(),
            sync: SyncSettings::default(),
            created_at: now,
        };
        site.write(Write::AddDirectory(Box::new(directory.clone()))).await;
        let resource = Arc::new(Resource {
            directory: Some(directory.id),
            allow_groups: vec!["GG-VPN".to_owned()],
            ..Resource::new(ResourceId::new(now, &*site.entropy), "host", primary, now)
        });
        let client = ClientId::new(now, &*site.entropy);
        let verdicts = site.desk.register(Door::Radius);
        Self { site, played, directory, resource, client, verdicts }
    }

    fn start(&self, name: &str, password: Option<&str>) {
        self.site.desk.login(LoginRequest {
            id: self.site.desk.new_login_id(),
            resource: Arc::clone(&self.resource),
            client: self.client,
            client_name: "nas".to_owned(),
            peer: [192, 0, 2, 1].into(),
            door: Door::Radius,
            user_typed: name.into(),
            credential: password
                .map_or(Credential::None, |text| Credential::Password(Secret::new(text.as_bytes().to_vec()))),
            source: Source::default(),
            retry: RetryKey::default(),
            state: None,
            forward: None,
        });
    }

    async fn rejected(&mut self) -> Reason {
        match self.verdicts.recv().await.unwrap().verdict {
            Verdict::Reject { reason, .. } => reason,
            other => panic!("{other:?}"),
        }
    }

    async fn login(&mut self, name: &str, password: &str) -> Reason {
        self.start(name, Some(password));
        self.rejected().await
    }

    async fn users(&self) -> Vec<String> {
        self.site.desk.store().users().await.unwrap().iter().map(|user| user.name.to_string()).collect()
    }
}

#[tokio::test]
async fn of_many_first_logins_at_once_one_user_comes() {
    let mut house = House::new(Primary::Directory).await;
    house.played.set(vec![("alice", person("e1", "alice")), ("EXAMPLE\\Alice", person("e1", "alice"))]);
    for spelling in ["alice", "EXAMPLE\\Alice", "alice", "EXAMPLE\\Alice"] {
        house.start(spelling, Some("right"));
    }
    for _ in 0..4 {
        assert_eq!(house.rejected().await, Reason::NoDevice, "a first login is refused: nobody can be asked (S29)");
    }
    assert_eq!(house.users().await, ["alice"]);
    let added: Vec<_> = house.site.audit().await;
    let added: Vec<_> = added.iter().filter(|record| record.event == EventKind::UserAdded.as_str()).collect();
    assert_eq!((added.len(), added[0].actor.as_str()), (1, "directory"));
    let user = house.site.desk.store().users().await.unwrap().remove(0);
    let entry = EntryId::from_text("e1".to_owned());
    assert_eq!(user.origin, UserOrigin::Directory { directory: house.directory.id, entry });
}

#[tokio::test]
async fn nobody_comes_in_who_may_not_log_on() {
    let mut house = House::new(Primary::Directory).await;
    let refused = Person { refused: Some("disabled"), ..person("e1", "gone") };
    let outside = Person { groups: Vec::new(), ..person("e2", "outside") };
    house.played.set(vec![
        ("gone", refused),
        ("outside", outside),
        ("two", person("e3", "two")),
        ("two", person("e4", "two")),
    ]);
    assert_eq!(house.login("gone", "right").await, Reason::AccountRefused);
    assert_eq!(house.login("outside", "right").await, Reason::NotAllowed);
    assert_eq!(house.login("two", "right").await, Reason::UserUnknown);
    assert_eq!(house.login("nobody", "right").await, Reason::UserUnknown);
    *house.played.down.lock().unwrap() = true;
    assert_eq!(house.login("gone", "right").await, Reason::Unavailable);
    assert!(house.users().await.is_empty());
    assert_eq!(house.played.passwords.load(Ordering::SeqCst), 1, "only for the name that nobody has (S107)");
    let records = house.site.audit().await;
    let details: Vec<_> = records.iter().filter(|r| r.event == "login.ended").map(|r| r.detail.as_deref()).collect();
    assert_eq!(details, [Some("disabled"), None, Some("ambiguous"), None, Some("directory_unreachable")]);
}

#[tokio::test]
async fn s62_where_no_password_is_checked_the_state_of_the_account_decides_each_time() {
    let mut house = House::new(Primary::None).await;
    house.played.set(vec![("alice", person("e1", "alice"))]);
    house.start("alice", None);
    assert_eq!(house.rejected().await, Reason::NoDevice);
    house.played.set(vec![("alice", Person { refused: Some("locked"), ..person("e1", "alice") })]);
    house.start("alice", None);
    assert_eq!(house.rejected().await, Reason::AccountRefused);
}

#[tokio::test]
async fn c089_who_is_renamed_stays_and_a_new_person_of_the_old_name_is_somebody_else() {
    let mut house = House::new(Primary::Directory).await;
    // Somebody of that name was also added here, with a password that is right.
    house.site.user("alice", Some("right")).await;
    house.played.set(vec![("alice", person("e1", "alice"))]);
    house.login("alice", "right").await;
    house.played.set(vec![("ann", person("e1", "ann")), ("alice", person("e2", "alice"))]);
    house.login("ann", "right").await;
    house.login("alice", "right").await;
    let users = house.site.desk.store().users().await.unwrap();
    let mut seen: Vec<_> = users
        .iter()
        .map(|user| match &user.origin {
            UserOrigin::Local => (user.name.as_str(), "local"),
            UserOrigin::Directory { entry, .. } => (user.name.as_str(), entry.as_str()),
        })
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, [("alice", "e2"), ("alice", "local"), ("ann", "e1")]);
    let changed = house.site.audit().await.into_iter().filter(|record| record.event == "user.changed").count();
    assert_eq!(changed, 1);
}

#[tokio::test]
async fn a_password_counts_for_the_entry_that_was_found_and_for_no_other() {
    /// The name changes hands between the two questions.
    struct Swapped;

    #[async_trait]
    impl Directories for Swapped {
        async fn find(&self, _: &Directory, _: &str, _: &[String]) -> Result<Person, FindFault> {
            Ok(person("e1", "alice"))
        }

        async fn users(&self, _: &Directory, _: Option<&str>) -> Result<Box<dyn UserPages>, Trouble> {
            panic!("nobody synchronises here")
        }

        async fn check(&self, _: &Directory, _: &str, _: &Secret) -> PasswordAnswer {
            PasswordAnswer::Right(EntryId::from_text("e2".to_owned()))
        }
    }

    let mut house = House::new(Primary::Directory).await;
    let site = Site::with_directories(4, Arc::new(Swapped)).await;
    site.write(Write::AddDirectory(Box::new(house.directory.clone()))).await;
    house.verdicts = site.desk.register(Door::Radius);
    house.site = site;
    assert_eq!(house.login("alice", "right").await, Reason::AccountRefused);
}

#[tokio::test]
async fn c115_every_required_group_must_have_the_person_and_one_that_is_not_there_lets_nobody_in() {
    let mut house = House::new(Primary::Directory).await;
    let mut resource =
        Resource { allow_groups: vec!["GG-VPN".to_owned(), "GG-RDP".to_owned()], ..(*house.resource).clone() };
    resource.policy.require_groups = vec!["GG-MFA".to_owned(), "GG-Staff".to_owned()];
    resource.policy.reply = vec![ReplyRule { group: Some("GG-Admins".to_owned()), attributes: Vec::new() }];
    house.resource = Arc::new(resource);
    let groups = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let of = |has: &[&str], without: &[&str]| Person {
        groups: groups(has),
        no_groups: groups(without),
        ..person("e1", "alice")
    };
    let all = ["GG-RDP", "GG-MFA", "GG-Staff"];
    for (person, reason, detail) in [
        (of(&all, &[]), Reason::NoDevice, None),
        (of(&all, &["GG-VPN"]), Reason::NoDevice, None),
        // What its members are given may be what bounds them.
        (of(&all, &["GG-VPN", "GG-Admins"]), Reason::Unavailable, Some("group_unknown")),
        (of(&["GG-RDP", "GG-MFA"], &[]), Reason::NotAllowed, Some("required_group")),
        (of(&["GG-MFA", "GG-Staff"], &[]), Reason::NotAllowed, None),
        (of(&["GG-RDP", "GG-MFA"], &["GG-Staff"]), Reason::Unavailable, Some("group_unknown")),
        (of(&["GG-MFA", "GG-Staff"], &["GG-VPN"]), Reason::Unavailable, Some("group_unknown")),
        // Contradicts itself: what is not there counts.
        (of(&all, &["GG-Staff"]), Reason::Unavailable, Some("group_unknown")),
        (of(&[], &[]), Reason::NotAllowed, Some("required_group")),
    ] {
        house.played.set(vec![("alice", person.clone())]);
        assert_eq!(house.login("alice", "right").await, reason, "{person:?}");
        let ended = house.site.audit().await.into_iter().rfind(|record| record.event == "login.ended").unwrap();
        assert_eq!(ended.detail.as_deref(), detail, "{person:?}");
    }
    assert_eq!(
        *house.played.asked.lock().unwrap(),
        ["GG-MFA", "GG-Staff", "GG-VPN", "GG-RDP", "GG-Admins"],
        "in one go"
    );
}

#[tokio::test]
async fn who_is_let_on_again_by_the_directory_need_not_wait_for_the_next_synchronisation() {
    let mut house = House::new(Primary::Directory).await;
    house.played.set(vec![("alice", person("e1", "alice"))]);
    house.login("alice", "right").await;
    let alice = house.site.desk.store().users().await.unwrap().remove(0);
    let hold = Hold { why: HoldReason::Disabled, since: house.site.desk.clock().now() };
    house.site.write(Write::HoldUser { id: alice.id, from: None, hold }).await;
    // While the directory says no, nothing changes.
    house.played.set(vec![("alice", Person { refused: Some("disabled"), ..person("e1", "alice") })]);
    assert_eq!(house.login("alice", "right").await, Reason::UserDisabled);
    house.played.set(vec![("alice", person("e1", "alice"))]);
    assert_eq!(house.login("alice", "right").await, Reason::NoDevice);
    let now = house.site.desk.store().user(alice.id).await.unwrap().unwrap();
    assert!(now.enabled && now.held.is_none());
    let record = house.site.audit().await.into_iter().find(|record| record.event == "user.enabled").unwrap();
    assert_eq!(record.actor, "directory");
    // Whom an administrator disabled stays so.
    house.site.disable(alice.id).await;
    assert_eq!(house.login("alice", "right").await, Reason::UserDisabled);
}
