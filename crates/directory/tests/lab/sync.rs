//! Reading users for synchronisation.

use std::sync::Arc;

use countersign_directory::{
    Directory, DirectoryError, Entry, EntryId, Place,
    sync::{Deletions, Mark, SyncQuery},
};
use countersign_domain::Secret;

use crate::support::{PASSWORD, Relay, directory, lab};

struct Read {
    users: Vec<Entry>,
    places: Vec<Option<usize>>,
    deleted: Vec<EntryId>,
    everything: bool,
    deletions: Deletions,
    mark: Option<Mark>,
    pages: usize,
}

async fn read(directory: &Arc<Directory>, query: SyncQuery) -> Read {
    let mut pages = directory.list_users(&query).await.unwrap();
    let (mut users, mut places, mut deleted, mut count) = (Vec::new(), Vec::new(), Vec::new(), 0);
    while let Some(page) = pages.next().await.unwrap() {
        for placed in page.users {
            users.push(placed.entry);
            places.push(placed.place);
        }
        assert_eq!(page.unusable, []);
        deleted.extend(page.deleted);
        count += 1;
    }
    Read {
        users,
        places,
        deleted,
        everything: pages.is_everything(),
        deletions: pages.deletions(),
        mark: pages.mark(),
        pages: count,
    }
}

fn names(users: &[Entry]) -> Vec<&str> {
    users.iter().filter_map(|user| user.names.login()).collect()
}

#[tokio::test]
async fn active_directory_is_read_whole_and_then_what_changed() {
    let Some(lab) = lab() else { return };
    // Alone, since other tests change users too.
    let _alone = lab.alone().await;
    let ordinary = directory(&lab.ad());
    let mut config = lab.ad();
    config.bind_name = "EXAMPLE\\Administrator".to_owned();
    config.bind_password = Secret::new(format!("Adm1n-{PASSWORD}").into_bytes());
    let administrator = directory(&config);

    // The first logon after a while is a change of the account that logs on.
    let leaver = administrator.lookup("leaver").await.unwrap().id;
    let whole = read(&ordinary, SyncQuery::default()).await;
    assert!(whole.everything && whole.deletions == Deletions::NotTold);
    for name in ["alice", "bob", "jane", "disabled", "leaver", "Administrator"] {
        assert!(names(&whole.users).contains(&name), "{name}");
    }
    let state = |name: &str| whole.users.iter().find(|user| user.names.login() == Some(name)).unwrap().state;
    assert!(state("disabled").disabled && !state("alice").disabled);
    let mark = whole.mark.unwrap();
    let since = || SyncQuery { since: Some(mark.clone()), ..SyncQuery::default() };
    let nothing = read(&ordinary, since()).await;
    assert!(!nothing.everything && nothing.users.is_empty(), "{:?}", names(&nothing.users));

    lab.controller(
        "ldif",
        "dn: CN=Bob Test,CN=Users,DC=example,DC=test\n\
         changetype: modify\n\
         replace: displayName\n\
         displayName: Robert\n\
         \n\
         dn: CN=Leaver,OU=Staff,DC=example,DC=test\n\
         changetype: delete\n",
    )
    .await;
    let changed = read(&administrator, since()).await;
    assert_eq!(names(&changed.users), ["bob"]);
    assert_eq!((changed.deletions, changed.deleted), (Deletions::Told, vec![leaver.clone()]));
    assert_eq!(administrator.find_by_id(&leaver).await, Ok(None));
    // Without the right to see deleted objects it is said that they are not told.
    let changed = read(&ordinary, since()).await;
    assert_eq!(names(&changed.users), ["bob"]);
    assert_eq!((changed.deletions, changed.deleted), (Deletions::NotTold, vec![]));

    // A mark of another domain controller is worth nothing here.
    let foreign = SyncQuery {
        since: Some(Mark::Usn { database: "00000000-0000-0000-0000-000000000000".to_owned(), usn: 1 << 40, at: 0 }),
        ..SyncQuery::default()
    };
    assert!(read(&ordinary, foreign).await.everything);
}

#[tokio::test]
async fn openldap_is_read_page_by_page() {
    let Some(lab) = lab() else { return };
    let directory = directory(&lab.ldap());
    let whole = read(&directory, SyncQuery::default()).await;
    assert!(whole.pages >= 3 && whole.everything, "{} pages", whole.pages);
    assert_eq!(whole.users.iter().filter(|user| user.names.short[0].starts_with("many")).count(), 600);
    let mut ids: Vec<&EntryId> = whole.users.iter().map(|user| &user.id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), whole.users.len());
    // The time of the last change is included, since another may have come within the same second.
    let again = read(&directory, SyncQuery { since: whole.mark.clone(), ..SyncQuery::default() }).await;
    assert!(!again.everything && again.deletions == Deletions::NotTold);
    let at = |mark: &Option<Mark>| match mark {
        Some(Mark::Modified { at }) => at.clone(),
        other => panic!("{other:?}"),
    };
    assert!(at(&again.mark) >= at(&whole.mark), "{:?} after {:?}", again.mark, whole.mark);
    let later = Mark::Modified { at: "29990101000000Z".to_owned() };
    let none = read(&directory, SyncQuery { since: Some(later.clone()), ..SyncQuery::default() }).await;
    assert_eq!((none.users.len(), none.mark), (0, Some(later)));
}

fn placed(read: &Read, place: Option<usize>) -> Vec<&str> {
    let mut names: Vec<_> = read
        .users
        .iter()
        .zip(&read.places)
        .filter(|(_, found)| **found == place)
        .filter_map(|(user, _)| user.names.login())
        .collect();
    names.sort_unstable();
    names
}

fn query(places: &[Place]) -> SyncQuery {
    SyncQuery { places: places.to_vec(), since: None }
}

#[tokio::test]
async fn each_user_is_in_the_first_place_that_has_him() {
    let Some(lab) = lab() else { return };
    let _shared = lab.shared().await;
    let below = |dn: &str| Place::Below(dn.to_owned());
    let group = |name: &str| Place::Group(name.to_owned());
    let ad = directory(&lab.ad());
    let places = [below("ou=staff,dc=EXAMPLE,dc=test"), group("GG-All"), group("GG-Primary"), group("GG-Other")];
    let whole = read(&ad, query(&places)).await;
    assert_eq!(placed(&whole, Some(1)), ["alice"], "through two other groups");
    assert_eq!(placed(&whole, Some(2)), ["primary"], "as primary group (C079)");
    assert_eq!(placed(&whole, Some(3)), [""; 0]);
    assert!(placed(&whole, Some(0)).contains(&"jane") && placed(&whole, None).contains(&"bob"));
    let whole = read(&ad, query(&[group("Domain Users"), below("DC=example,DC=test")])).await;
    assert!(placed(&whole, Some(0)).contains(&"bob"), "as primary group (C079)");
    assert!(placed(&whole, Some(1)).contains(&"Guest") && placed(&whole, None).is_empty());
    // With a group everything is read, whatever the mark.
    let since = SyncQuery { since: whole.mark.clone(), ..query(&[group("GG-All")]) };
    assert!(read(&ad, since).await.everything);

    let ldap = directory(&lab.ldap());
    let places = [group("all"), below("ou=people,dc=example,dc=test"), group("posix-primary")];
    let whole = read(&ldap, query(&places)).await;
    assert_eq!(placed(&whole, Some(0)), ["alice"], "groups that are in each other end nothing");
    assert!(placed(&whole, Some(1)).contains(&"posix") && placed(&whole, None).contains(&"many1"));
    for (name, member) in [("posix-primary", "posix"), ("posix-other", "posix"), ("other", "bob")] {
        assert_eq!(placed(&read(&ldap, query(&[group(name)])).await, Some(0)), [member], "{name}");
    }
}

#[tokio::test]
async fn c115_a_rules_group_that_is_not_there_is_an_error_and_not_an_empty_one() {
    let Some(lab) = lab() else { return };
    let _shared = lab.shared().await;
    for config in [lab.ad(), lab.ldap()] {
        let directory = directory(&config);
        let asked = directory.list_users(&query(&[Place::Group("GG-None".to_owned())])).await;
        assert!(matches!(asked, Err(DirectoryError::NoSuchGroup(_))), "{asked:?}");
    }
    // Twenty deep: nothing is said, rather than that the last ones are in none.
    let directory = directory(&lab.ldap());
    let asked = directory.list_users(&query(&[Place::Group("deep20".to_owned())])).await;
    assert!(matches!(asked, Err(DirectoryError::TooMany { .. })), "{asked:?}");
}

#[tokio::test]
async fn a_base_that_is_gone_is_an_error_and_no_empty_directory() {
    let Some(lab) = lab() else { return };
    let _shared = lab.shared().await;
    for (mut config, base) in [(lab.ad(), "OU=None,DC=example,DC=test"), (lab.ldap(), "ou=none,dc=example,dc=test")] {
        config.base_dn = base.to_owned();
        let directory = directory(&config);
        let mut pages = directory.list_users(&SyncQuery::default()).await.unwrap();
        assert!(matches!(pages.next().await, Err(DirectoryError::Answer { code: 32, .. })));
    }
}

#[tokio::test]
async fn a_read_that_is_cut_is_an_error_and_not_the_end() {
    let Some(lab) = lab() else { return };
    let relay = Relay::to(lab.slapd("LDAP_PORT")).await;
    let mut config = lab.ldap();
    config.servers = vec![relay.url("ldap")];
    let directory = directory(&config);
    let mut pages = directory.list_users(&SyncQuery::default()).await.unwrap();
    assert_eq!(pages.next().await.unwrap().unwrap().users.len(), 250);
    relay.cut().await;
    assert!(matches!(pages.next().await, Err(DirectoryError::Unavailable { .. })));
}

#[tokio::test]
async fn an_account_whose_end_comes_is_read_though_nobody_changed_it() {
    let Some(lab) = lab() else { return };
    let _alone = lab.alone().await;
    let ad = directory(&lab.ad());
    let now = read(&ad, SyncQuery::default()).await;
    let Some(Mark::Usn { database, usn, at }) = now.mark else { panic!("{:?}", now.mark) };
    // `expired` ended in January 2020.
    let between = Mark::Usn { database: database.clone(), usn, at: 1_500_000_000 };
    let since = |mark| SyncQuery { since: Some(mark), ..SyncQuery::default() };
    let changed = read(&ad, since(between)).await;
    assert!(!changed.everything && names(&changed.users) == ["expired"], "{:?}", names(&changed.users));
    assert!(changed.users[0].state.expired);
    let later = read(&ad, since(Mark::Usn { database, usn, at })).await;
    assert_eq!(names(&later.users), [""; 0]);
}
