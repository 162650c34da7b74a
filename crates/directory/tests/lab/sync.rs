//! Reading users for synchronisation.

use countersign_directory::{
    Directory, Entry, EntryId,
    sync::{Deletions, Mark, SyncQuery},
};
use countersign_domain::Secret;

use crate::support::{PASSWORD, directory, lab};

struct Read {
    users: Vec<Entry>,
    deleted: Vec<EntryId>,
    everything: bool,
    deletions: Deletions,
    mark: Option<Mark>,
    pages: usize,
}

async fn read(directory: &Directory, query: SyncQuery) -> Read {
    let mut pages = directory.list_users(&query).await.unwrap();
    let (mut users, mut deleted, mut count) = (Vec::new(), Vec::new(), 0);
    while let Some(page) = pages.next().await.unwrap() {
        users.extend(page.users);
        assert_eq!(page.unusable, []);
        deleted.extend(page.deleted);
        count += 1;
    }
    Read {
        users,
        deleted,
        everything: pages.is_everything(),
        deletions: pages.deletions(),
        mark: pages.mark().cloned(),
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
    let narrow = SyncQuery {
        base: Some("OU=Staff,DC=example,DC=test".to_owned()),
        filter: Some("(displayName=J*)".parse().unwrap()),
        since: None,
    };
    assert_eq!(names(&read(&ordinary, narrow).await.users), ["jane"]);

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
        since: Some(Mark::Usn { database: "00000000-0000-0000-0000-000000000000".to_owned(), usn: 1 << 40 }),
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
    assert!(!again.everything && again.deletions == Deletions::NotTold && again.mark == whole.mark);
    let later = Mark::Modified { at: "29990101000000Z".to_owned() };
    let none = read(&directory, SyncQuery { since: Some(later.clone()), ..SyncQuery::default() }).await;
    assert_eq!((none.users.len(), none.mark), (0, Some(later)));
}
