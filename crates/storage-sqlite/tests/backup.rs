//! Copies of a database, and databases that are put in the place of others.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use countersign_domain::{AuditEvent, AuditHash, Commit, EventKind, Write, verify_chain};
use countersign_storage::conformance::{Maker, NOW, dump};
use countersign_storage::{Store, StoreError, Vault};
use countersign_storage_sqlite::{Copy, CopyError, DatabasePlace, Label, Location, SqliteStore, back_up};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use support::Dir;

fn label() -> Label {
    Label {
        made_at: NOW,
        program: "9.9.9".to_owned(),
        settings: "[app]\nurl = \"https://mfa.example.com\"\n".to_owned(),
    }
}

async fn backed_up(dir: &Dir, name: &str) -> PathBuf {
    let to = dir.path().with_file_name(name);
    back_up(&dir.path(), &to, &label(), &mut |_, _| {}).await.unwrap();
    to
}

async fn open(path: &Path) -> Result<SqliteStore, StoreError> {
    let vault = Arc::new(Vault::from_key(&[7; 32]).unwrap());
    SqliteStore::open(Location::File(path.to_owned()), vault, Dir::options()).await
}

async fn unpacked(copy: &Path) -> SqliteStore {
    let to = copy.with_extension("unpacked");
    Copy::open(copy).await.unwrap().unpack(&to, &mut |_, _| {}).await.unwrap();
    open(&to).await.unwrap()
}

fn record() -> AuditEvent {
    AuditEvent::new(NOW, EventKind::LoginEnded, "server")
}

fn names(dir: &Dir) -> Vec<String> {
    let folder = dir.path().parent().unwrap().to_owned();
    let mut names: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

async fn sql(path: &Path, text: &str) {
    let mut conn = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_the_database_at_one_moment_while_it_is_written() {
    let dir = Dir::new();
    let store = Arc::new(dir.store().await.unwrap());
    let maker = Maker::default();
    let alice = maker.user("alice");
    let device = maker.device(alice.id);
    let first = vec![Write::AddUser(alice), Write::AddDevice(Box::new(device.clone()))];
    store.commit(Commit { writes: first, audit: vec![record()] }).await.unwrap();
    for _ in 0..50 {
        let detail = Some("x".repeat(50_000));
        store.commit(Commit::record(AuditEvent { detail, ..record() })).await.unwrap();
    }
    // From here on each commit burns a step and leaves a record: the one tells of the other.
    let before = store.audit_head().await.unwrap().0;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (store, stop, device) = (Arc::clone(&store), Arc::clone(&stop), device.id);
        async move {
            let mut step = 0;
            while !stop.load(Ordering::Relaxed) {
                step += 1;
                let writes = vec![Write::BurnTotpStep { device, step }];
                store.commit(Commit { writes, audit: vec![record()] }).await.unwrap();
            }
            step
        }
    });
    let mut copies = Vec::new();
    for n in 0..5 {
        copies.push(backed_up(&dir, &format!("copy-{n}")).await);
    }
    stop.store(true, Ordering::Relaxed);
    let steps = writer.await.unwrap();
    let mut seen = Vec::new();
    for copy in copies {
        let store = unpacked(&copy).await;
        let (head, _) = verify_chain((0, AuditHash::START), &store.audit(0, u32::MAX).await.unwrap()).unwrap();
        let step = store.device(device.id).await.unwrap().unwrap().totp_last_step;
        assert_eq!(i64::try_from(step).unwrap(), head - before);
        seen.push(step);
        store.close().await;
    }
    assert!(seen.is_sorted() && seen[0] < seen[4] && seen[4] <= steps, "{seen:?} of {steps}");
    store.close().await;
}

#[tokio::test]
async fn a_copy_says_what_it_is_and_holds_everything() {
    let dir = Dir::new();
    let store = dir.store().await.unwrap();
    let maker = Maker::default();
    let (resource, client) = maker.resource("vpn", "canary-secret-of-the-vpn");
    let writes = vec![
        Write::AddUser(maker.user("alice")),
        Write::AddResource { resource: Box::new(resource), client: Box::new(client) },
    ];
    store.commit(Commit { writes, audit: vec![record()] }).await.unwrap();
    let before = dump(&store).await;
    let copy = backed_up(&dir, "copy").await;
    assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!names(&dir).iter().any(|name| name.contains(".part")), "{:?}", names(&dir));

    let looked = Copy::open(&copy).await.unwrap();
    assert_eq!(looked.label, Some(label()));
    assert_eq!(looked.deployment, store.deployment().await.unwrap().id);
    let octets = std::fs::read(&copy).unwrap();
    let again = unpacked(&copy).await;
    assert_eq!(dump(&again).await, before);
    again.close().await;
    assert!(std::fs::read(&copy).unwrap() == octets, "who looks at a copy changes nothing in it");
    // It is no database to be served: what S95 asks for would be left out.
    let refused = open(&copy).await.unwrap_err().to_string();
    assert!(refused.contains("countersign restore"), "{refused}");
    assert!(std::fs::read(&copy).unwrap() == octets);
    store.close().await;
}

#[tokio::test]
async fn nothing_is_overwritten_and_leftovers_are_taken_over() {
    let dir = Dir::new();
    let store = dir.store().await.unwrap();
    store.commit(Commit::record(record())).await.unwrap();
    let (to, part) = (dir.path().with_file_name("copy"), dir.path().with_file_name("copy.part"));
    std::fs::write(&part, "what a killed one left").unwrap();
    back_up(&dir.path(), &to, &label(), &mut |_, _| {}).await.unwrap();
    assert!(!part.exists());
    let octets = std::fs::read(&to).unwrap();
    let refused = back_up(&dir.path(), &to, &label(), &mut |_, _| {}).await.unwrap_err();
    assert!(matches!(&refused, CopyError::Exists(file) if *file == to), "{refused}");
    assert!(std::fs::read(&to).unwrap() == octets);
    let taken = dir.path().with_file_name("link");
    std::os::unix::fs::symlink("nowhere", &taken).unwrap();
    assert!(matches!(back_up(&dir.path(), &taken, &label(), &mut |_, _| {}).await, Err(CopyError::Exists(_))));
    let refused = back_up(&dir.path(), Path::new("/no/such/folder/copy"), &label(), &mut |_, _| {}).await.unwrap_err();
    assert!(matches!(refused, CopyError::File { .. }), "{refused}");
    let missing = dir.path().with_file_name("none.db");
    assert!(back_up(&missing, &dir.path().with_file_name("b"), &label(), &mut |_, _| {}).await.is_err());
    assert!(!missing.exists() && !dir.path().with_file_name("b").exists());
    assert!(!dir.path().with_file_name("b.part").exists());
    store.close().await;
}

#[tokio::test]
async fn what_is_no_whole_copy_of_ours_is_refused_with_the_reason() {
    let dir = Dir::new();
    let store = dir.store().await.unwrap();
    for _ in 0..200 {
        let detail = Some("y".repeat(1000));
        store.commit(Commit::record(AuditEvent { detail, ..record() })).await.unwrap();
    }
    let copy = backed_up(&dir, "copy").await;
    store.close().await;
    let whole = std::fs::read(&copy).unwrap();
    let file = dir.path().with_file_name("file");
    let refused = async |octets: &[u8]| {
        std::fs::write(&file, octets).unwrap();
        Copy::open(&file).await.unwrap_err()
    };
    assert!(matches!(refused(b"").await, CopyError::Foreign { .. }));
    assert!(matches!(refused(&b"not a database at all\n".repeat(1000)).await, CopyError::Foreign { .. }));
    // Half of one, as a copy over the network that broke off leaves.
    for length in [whole.len() / 2, whole.len() - 4096, 5000] {
        let fault = refused(&whole[..length]).await;
        assert!(matches!(fault, CopyError::Damaged { .. } | CopyError::Foreign { .. }), "{length}: {fault}");
    }
    let mut zeroed = whole.clone();
    zeroed[whole.len() / 2..whole.len() / 2 + 4096].fill(0);
    assert!(matches!(refused(&zeroed).await, CopyError::Damaged { .. }));
    // A database of somebody else.
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, b"").unwrap();
    sql(&file, "CREATE TABLE songs (name TEXT)").await;
    assert!(matches!(Copy::open(&file).await.unwrap_err(), CopyError::Foreign { .. }));
    // One of a program that is newer than this one.
    std::fs::write(&file, &whole).unwrap();
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (4711, 'later', 1, x'00', 0)";
    sql(&file, newer).await;
    let fault = Copy::open(&file).await.unwrap_err();
    assert!(matches!(fault, CopyError::Store { fault: StoreError::Newer { found: 4711, .. }, .. }), "{fault}");
    assert!(matches!(Copy::open(dir.path().parent().unwrap()).await, Err(CopyError::Foreign { .. })));
    let missing = Copy::open(Path::new("/no/such/file")).await.unwrap_err().to_string();
    assert!(missing.contains("/no/such/file"), "{missing}");
}

/// Everything that stands in an old database and in the one that comes in its place.
async fn two(dir: &Dir) -> (PathBuf, String, String) {
    let staged = dir.path().with_file_name("staged");
    let store = open(&staged).await.unwrap();
    store
        .commit(Commit { writes: vec![Write::AddUser(Maker::new(3).user("new"))], audit: vec![record()] })
        .await
        .unwrap();
    let new = dump(&store).await;
    store.close().await;
    let store = dir.store().await.unwrap();
    store
        .commit(Commit { writes: vec![Write::AddUser(Maker::new(4).user("old"))], audit: vec![record()] })
        .await
        .unwrap();
    let old = dump(&store).await;
    // As kill -9 leaves it: the newest is in the journal only.
    for end in ["", "-wal"] {
        let (from, to) = (format!("{}{end}", dir.path().display()), format!("{}.kept{end}", dir.path().display()));
        std::fs::copy(from, to).unwrap();
    }
    store.close().await;
    for end in ["", "-wal"] {
        let (from, to) = (format!("{}.kept{end}", dir.path().display()), format!("{}{end}", dir.path().display()));
        std::fs::rename(from, to).unwrap();
    }
    assert!(std::fs::metadata(format!("{}-wal", dir.path().display())).unwrap().len() > 0);
    (staged, old, new)
}

#[tokio::test]
async fn a_database_in_the_place_of_another_reads_nothing_of_it_and_the_other_is_kept_whole() {
    for settled in [true, false] {
        let dir = Dir::new();
        let (staged, old, new) = two(&dir).await;
        let place = DatabasePlace::take(&dir.path()).unwrap();
        assert!(place.is_taken());
        if settled {
            place.settle().await.unwrap();
        }
        let aside = dir.path().with_file_name("aside");
        place.install(&staged, &aside).unwrap();
        // Nobody comes in between.
        let refused = dir.store().await.unwrap_err().to_string();
        assert!(refused.contains("another countersign"), "{refused}");
        drop(place);
        let store = dir.store().await.unwrap();
        assert_eq!(dump(&store).await, new, "settled: {settled}");
        store.close().await;
        let store = open(&aside).await.unwrap();
        assert_eq!(dump(&store).await, old, "settled: {settled}");
        store.close().await;
    }
}

#[tokio::test]
async fn what_an_interrupted_one_left_is_not_read_into_the_next() {
    let (dir, other) = (Dir::new(), Dir::new());
    let (staged, old, new) = two(&dir).await;
    let copy = staged.with_file_name("copy");
    back_up(&staged, &copy, &label(), &mut |_, _| {}).await.unwrap();
    // A database whose newest is in its journal stands where the copy is unpacked to.
    for end in ["", "-wal"] {
        let to = format!("{}{end}", other.path().display());
        std::fs::copy(format!("{}{end}", dir.path().display()), to).unwrap();
    }
    let found = other.store().await.unwrap();
    assert_eq!(dump(&found).await, old);
    found.close().await;
    for end in ["", "-wal"] {
        let to = format!("{}{end}", other.path().display());
        std::fs::copy(format!("{}{end}", dir.path().display()), to).unwrap();
    }
    Copy::open(&copy).await.unwrap().unpack(&other.path(), &mut |_, _| {}).await.unwrap();
    let found = other.store().await.unwrap();
    assert_eq!(dump(&found).await, new);
    found.close().await;
}

#[tokio::test]
async fn a_place_is_not_taken_from_a_server_and_an_empty_one_is_filled() {
    let dir = Dir::new();
    let store = dir.store().await.unwrap();
    assert!(DatabasePlace::take(&dir.path()).is_err());
    store.close().await;
    let (other, staged) = (Dir::new(), dir.path());
    let place = DatabasePlace::take(&other.path()).unwrap();
    assert!(!place.is_taken());
    place.install(&staged, &other.path().with_file_name("aside")).unwrap();
    drop(place);
    assert!(!other.path().with_file_name("aside").exists());
    other.store().await.unwrap().close().await;
}

#[tokio::test]
async fn a_database_is_read_as_it_is_and_nothing_is_written() {
    let dir = Dir::new();
    let store = dir.store().await.unwrap();
    store
        .commit(Commit { writes: vec![Write::AddUser(Maker::default().user("alice"))], audit: vec![record()] })
        .await
        .unwrap();
    let before = dump(&store).await;
    store.close().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (4711, 'later', 1, x'00', 0)";
    sql(&dir.path(), newer).await;
    let vault = |key| Arc::new(Vault::from_key(&[key; 32]).unwrap());
    let entropy = Dir::options().entropy;
    let read = SqliteStore::open_to_read(&dir.path(), vault(7), Arc::clone(&entropy)).await.unwrap();
    assert_eq!(dump(&read).await, before);
    assert!(read.commit(Commit::record(record())).await.is_err());
    read.close().await;
    let wrong = SqliteStore::open_to_read(&dir.path(), vault(8), Arc::clone(&entropy)).await.unwrap_err();
    assert!(matches!(wrong, StoreError::Sealed { .. }), "{wrong}");
    assert!(SqliteStore::open_to_read(&dir.path().with_file_name("none"), vault(7), entropy).await.is_err());
    assert!(!dir.path().with_file_name("none").exists());
}
