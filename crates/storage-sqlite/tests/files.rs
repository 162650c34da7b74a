//! What shows in the files of a database, and what happens to them.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign_domain::{
    AuditEvent, AuditHash, ChainBreak, ChainFault, Commit, Device, EventKind, Reason, Secret, Timestamp, TotpSeed,
    Write, verify_chain,
};
use countersign_storage::conformance::{Maker, NOW, Seeded, dump};
use countersign_storage::{CommitError, Store, StoreError, Vault, VaultError};
use countersign_storage_sqlite::{Location, Options, SqliteStore};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, SqliteConnection};
use support::Dir;

const SEED: &[u8; 20] = b"canary-seed-of-alice";
const SECRET: &str = "canary-secret-of-the-vpn";
const SERVER_SECRET: &[u8] = b"canary-signing-key-of-the-server";

fn event(seconds: i64) -> AuditEvent {
    AuditEvent::new(Timestamp::from_seconds(seconds), EventKind::LoginEnded, "server").because(Reason::Approved)
}

fn with_record(writes: Vec<Write>) -> Commit {
    Commit { writes, audit: vec![event(1)] }
}

/// A user with a device and a resource, all with known secrets.
async fn fill(store: &SqliteStore) -> [Device; 2] {
    let maker = Maker::default();
    let (alice, bob) = (maker.user("alice"), maker.user("bob"));
    let seed = |seed: &[u8]| TotpSeed::from_secret(Secret::new(seed.to_vec()));
    let devices = [
        Device { totp: seed(SEED), ..maker.device(alice.id) },
        Device { totp: seed(b"another seed for bob"), ..maker.device(bob.id) },
    ];
    let (resource, client) = maker.resource("vpn", SECRET);
    let writes = vec![
        Write::AddUser(alice),
        Write::AddUser(bob),
        Write::AddDevice(Box::new(devices[0].clone())),
        Write::AddDevice(Box::new(devices[1].clone())),
        Write::AddResource { resource: Box::new(resource), client: Box::new(client) },
    ];
    store.commit(with_record(writes)).await.unwrap();
    store.server_secret("signing", Secret::new(SERVER_SECRET.to_vec())).await.unwrap();
    devices
}

async fn raw(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).foreign_keys(false).connect().await.unwrap()
}

/// What the program before wrote is all there afterwards.
#[tokio::test]
async fn a_database_of_the_first_version_is_brought_up_to_date_whole() {
    let (new, old) = (Dir::new(), Dir::new());
    let store = new.store().await.unwrap();
    fill(&store).await;
    let before = dump(&store).await;
    store.close().await;

    let mut first = sqlx::migrate!();
    first.migrations.to_mut().retain(|migration| migration.version == 1);
    let options = SqliteConnectOptions::new().filename(old.path()).create_if_missing(true).foreign_keys(false);
    let mut conn = options.connect().await.unwrap();
    first.run(&mut conn).await.unwrap();
    let attach = format!("ATTACH '{}' AS new", new.path().display());
    sqlx::query(AssertSqlSafe(attach)).execute(&mut conn).await.unwrap();
    for (table, columns) in [
        ("deployment", "*"),
        ("server_secrets", "*"),
        ("users", "id, name, name_folded, display_name, enabled, password, created_at"),
        (
            "devices",
            "id, user, name, platform, key, thumbprint, state, totp_sealed, push_endpoint_sealed, push_p256dh, \
             push_auth_sealed, created_at, seen",
        ),
        ("totp_steps", "*"),
        ("resources", "id, name, name_folded, kind, first_factor, retries, answer_by, created_at"),
        ("radius_clients", "id, resource, networks, secret_sealed, secret_hash, require_message_authenticator"),
        ("audit", "*"),
    ] {
        let copy = format!("INSERT INTO main.{table} SELECT {columns} FROM new.{table}");
        sqlx::query(AssertSqlSafe(copy)).execute(&mut conn).await.unwrap();
    }
    conn.close().await.unwrap();

    let store = old.store().await.unwrap();
    assert_eq!(dump(&store).await, before);
    // What belongs to a user still goes with the user.
    let alice = store.users().await.unwrap().remove(0);
    store.commit(with_record(vec![Write::RemoveUser(alice.id)])).await.unwrap();
    store.close().await;
    let mut conn = raw(&old.path()).await;
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM devices").fetch_one(&mut conn).await.unwrap();
    assert_eq!(left, 1);
}

/// Changes the file behind the store's back.
async fn tamper(path: &Path, sql: &str) {
    let mut conn = raw(path).await;
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
}

fn files(dir: &Dir) -> Vec<std::fs::DirEntry> {
    std::fs::read_dir(dir.path().parent().unwrap()).unwrap().map(Result::unwrap).collect()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window.eq_ignore_ascii_case(needle))
}

#[tokio::test]
async fn s24_s92_no_secret_shows_in_the_files() {
    use data_encoding::{BASE32_NOPAD, BASE64, BASE64URL_NOPAD, HEXLOWER};
    let dir = Dir::new();
    let store = dir.store().await.unwrap();
    let devices = fill(&store).await;
    let push = devices[0].push.clone().unwrap();
    let look = |moment: &str| {
        let mut seen = 0;
        for file in files(&dir) {
            let octets = std::fs::read(file.path()).unwrap();
            seen += octets.len();
            for secret in
                [SEED.as_slice(), SECRET.as_bytes(), SERVER_SECRET, push.auth.expose(), push.endpoint.as_bytes()]
            {
                for text in [
                    secret.to_vec(),
                    HEXLOWER.encode(secret).into_bytes(),
                    BASE32_NOPAD.encode(secret).into_bytes(),
                    // The last characters depend on padding and alphabet.
                    BASE64.encode(&secret[..15]).into_bytes(),
                    BASE64URL_NOPAD.encode(&secret[..15]).into_bytes(),
                ] {
                    assert!(!contains(&octets, &text), "{moment}: a secret stands in {:?}", file.path());
                }
            }
        }
        assert!(seen > 10_000, "{moment}: nothing to look at");
    };
    assert!(files(&dir).iter().any(|file| file.file_name().to_string_lossy().ends_with("-wal")));
    look("open");
    store.close().await;
    look("closed");
    // The search finds what does stand there.
    assert!(contains(&std::fs::read(dir.path()).unwrap(), b"alice in full"));
}

#[tokio::test]
async fn s92_a_value_that_was_moved_does_not_open() {
    let dir = Dir::new();
    let store = dir.store().await.unwrap();
    let [alices, bobs] = fill(&store).await;
    let take = |column: &str, from: &Device| {
        let hex = |device: &Device| data_encoding::HEXLOWER.encode(device.id.as_uuid().as_bytes());
        format!(
            "UPDATE devices SET {column} = (SELECT {column} FROM devices WHERE id = x'{}') WHERE id = x'{}'",
            hex(from),
            hex(&bobs),
        )
    };
    for column in ["totp_sealed", "push_endpoint_sealed", "push_auth_sealed"] {
        let saved = format!("CREATE TABLE saved AS SELECT * FROM devices; {}", take(column, &alices));
        tamper(&dir.path(), &saved).await;
        for refused in [store.device(bobs.id).await.unwrap_err(), store.snapshot(bobs.user).await.unwrap_err()] {
            match &refused {
                StoreError::Sealed { table: "devices", column: found, row } => {
                    assert_eq!((*found, row), (column, &bobs.id.to_string()));
                }
                other => panic!("{other}"),
            }
        }
        assert_eq!(store.device(alices.id).await.unwrap().unwrap().totp, alices.totp);
        let put_back = "DELETE FROM devices; INSERT INTO devices SELECT * FROM saved; DROP TABLE saved";
        tamper(&dir.path(), put_back).await;
        assert_eq!(store.device(bobs.id).await.unwrap().unwrap().totp, bobs.totp);
    }
    tamper(&dir.path(), "UPDATE devices SET totp_sealed = push_auth_sealed").await;
    assert!(matches!(store.device(alices.id).await, Err(StoreError::Sealed { .. })));
    tamper(&dir.path(), "UPDATE radius_clients SET id = randomblob(16)").await;
    assert!(matches!(store.resources().await, Err(StoreError::Sealed { table: "radius_clients", .. })));
    tamper(&dir.path(), "UPDATE server_secrets SET name = 'nonces'").await;
    let moved = store.server_secret("nonces", Secret::new(vec![0; 32])).await;
    assert!(matches!(moved, Err(StoreError::Sealed { table: "server_secrets", .. })));
    store.close().await;
}

#[tokio::test]
async fn s92_another_key_file_is_refused_at_the_door() {
    let dir = Dir::new();
    let store = dir.store().await.unwrap();
    fill(&store).await;
    let before = dump(&store).await;
    store.close().await;
    let refused = dir.store_under([8; 32]).await.unwrap_err();
    assert!(refused.to_string().contains("wrong key file"), "{refused}");
    let store = dir.store().await.unwrap();
    assert_eq!(dump(&store).await, before);
    store.close().await;
}

#[test]
fn s93_a_key_file_that_others_can_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("master.key");
    Vault::load_or_create(&path, &Seeded::new(3)).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = Vault::load_or_create(&path, &Seeded::new(3)).unwrap_err();
    assert!(matches!(refused, VaultError::Exposed { mode: 0o644, .. }));
    assert!(refused.to_string().contains(&format!("`chmod 600 {}`", path.display())), "{refused}");
}

#[tokio::test]
async fn s99_files_are_private() {
    let dir = Dir::new();
    let path = dir.path();
    // One that stood there before with other rights is no exception.
    std::fs::write(&path, b"").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let store = dir.store().await.unwrap();
    fill(&store).await;
    let found = files(&dir);
    assert_eq!(found.len(), 4, "{found:?}");
    for file in found {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
    }
    store.close().await;
}

#[tokio::test]
async fn one_process_at_a_time() {
    let dir = Dir::new();
    let store = dir.store().await.unwrap();
    let refused = dir.store().await.unwrap_err().to_string();
    assert!(refused.contains("another countersign uses this database"), "{refused}");
    assert!(refused.contains(&dir.path().display().to_string()), "{refused}");
    store.close().await;
    dir.store().await.unwrap().close().await;
    // A store that is dropped lets go as well, once its writer has noticed.
    drop(dir.store().await.unwrap());
    let mut again = dir.store().await;
    for _ in 0..100 {
        if again.is_ok() {
            break;
        }
        tokio::task::yield_now().await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        again = dir.store().await;
    }
    again.unwrap().close().await;
}

#[tokio::test]
async fn a_temporary_database_goes_with_its_store() {
    let vault = Arc::new(Vault::from_key(&[1; 32]).unwrap());
    let open = || SqliteStore::open(Location::Temporary, Arc::clone(&vault), Dir::options());
    let (one, other) = (open().await.unwrap(), open().await.unwrap());
    fill(&one).await;
    assert!(other.users().await.unwrap().is_empty());
    let prefix = format!("countersign-{}-", std::process::id());
    let left = || {
        let entries = std::fs::read_dir(std::env::temp_dir()).unwrap();
        entries.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(&prefix)).count()
    };
    assert_eq!(left(), 2);
    one.close().await;
    other.close().await;
    assert_eq!(left(), 0);
}

#[tokio::test]
async fn a_newer_database_is_refused_and_left_alone() {
    let dir = Dir::new();
    let store = dir.store().await.unwrap();
    store.close().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (4711, 'later', 1, x'00', 0)";
    tamper(&dir.path(), newer).await;
    let refused = dir.store().await.unwrap_err();
    assert!(matches!(refused, StoreError::Newer { found: 4711, known } if known < 4711), "{refused}");
    assert!(refused.to_string().contains("newer countersign"), "{refused}");
    tamper(&dir.path(), "DELETE FROM _sqlx_migrations WHERE version = 4711").await;
    dir.store().await.unwrap().close().await;
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let dir = Dir::new();
    let text = "not a database at all\n".repeat(1000);
    std::fs::write(dir.path(), &text).unwrap();
    let refused = dir.store().await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused}");
    assert_eq!(std::fs::read_to_string(dir.path()).unwrap(), text);
}

async fn broken_at(store: &SqliteStore) -> Result<(i64, AuditHash), ChainBreak> {
    verify_chain((0, AuditHash::START), &store.audit(0, 1000).await.unwrap())
}

#[tokio::test]
async fn s102_what_is_done_to_the_record_by_sql_is_found_where_it_was_done() {
    let fields = "time, event, login, user_id, user_typed, actor, resource, client, door, source, source_trust, factor, \
                  device, number_mode, result, reason, binding, detail, prev, hash";
    let copy = format!("INSERT INTO audit SELECT 21, {fields} FROM audit WHERE seq = 7");
    let insert = format!(
        "UPDATE audit SET seq = seq + 1000 WHERE seq > 7; INSERT INTO audit SELECT 8, {fields} FROM audit WHERE seq = 7; \
         UPDATE audit SET seq = seq - 999 WHERE seq > 1000",
    );
    for (sql, seq, fault) in [
        ("UPDATE audit SET reason = 'denied' WHERE seq = 7", 7, ChainFault::Changed),
        ("UPDATE audit SET detail = '' WHERE seq = 7", 7, ChainFault::Changed),
        ("UPDATE audit SET time = time + 1 WHERE seq = 20", 20, ChainFault::Changed),
        ("UPDATE audit SET hash = zeroblob(32) WHERE seq = 7", 7, ChainFault::Changed),
        ("DELETE FROM audit WHERE seq = 7", 8, ChainFault::Gap),
        ("DELETE FROM audit WHERE seq = 1", 2, ChainFault::Gap),
        ("DELETE FROM audit WHERE seq = 7; UPDATE audit SET seq = seq - 1 WHERE seq > 7", 7, ChainFault::Changed),
        (
            "UPDATE audit SET seq = -1 WHERE seq = 7; UPDATE audit SET seq = 7 WHERE seq = 8; \
             UPDATE audit SET seq = 8 WHERE seq = -1",
            7,
            ChainFault::Changed,
        ),
        (&copy, 21, ChainFault::Changed),
        (&insert, 8, ChainFault::Changed),
    ] {
        let dir = Dir::new();
        let store = dir.store().await.unwrap();
        for seconds in 0..20 {
            store.commit(Commit::record(event(seconds))).await.unwrap();
        }
        assert_eq!(broken_at(&store).await.unwrap().0, 20);
        tamper(&dir.path(), sql).await;
        assert_eq!(broken_at(&store).await.unwrap_err(), ChainBreak { seq, fault }, "{sql}");
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s97_a_full_disk_refuses_writes_nothing_half_and_is_survived() {
    let dir = Dir::new();
    let store = Arc::new(dir.store().await.unwrap());
    let [device, _] = fill(&store).await;
    store.limit_pages(1).await.unwrap();
    let (mut held, mut step, mut failures) = (0, 0, 0);
    let detail = "x".repeat(2000);
    while failures < 5 {
        step += 1;
        let audit = vec![AuditEvent { detail: Some(detail.clone()), ..event(1) }];
        let writes = vec![Write::BurnTotpStep { device: device.id, step }];
        match store.commit(Commit { writes, audit }).await {
            Ok(()) => held = step,
            Err(CommitError::Store(StoreError::Unavailable(fault))) => {
                assert!(fault.contains("full"), "{fault}");
                failures += 1;
            }
            Err(other) => panic!("{other}"),
        }
        assert!(step < 10_000, "the file has no bound");
        let found = store.device(device.id).await.unwrap().unwrap().totp_last_step;
        let records = i64::try_from(found).unwrap() + 1;
        assert_eq!((found, store.audit_head().await.unwrap().0), (held, records), "one without the other");
    }
    // Reading goes on, and small commits are refused alike: the writer does not pick.
    let before = dump(&*store).await;
    let maker = Maker::new(2);
    let audit = vec![AuditEvent { detail: Some("y".repeat(100_000)), ..event(1) }];
    let refused = store.commit(Commit { writes: vec![Write::AddUser(maker.user("carol"))], audit }).await;
    assert!(matches!(refused, Err(CommitError::Store(StoreError::Unavailable(_)))), "{refused:?}");
    assert_eq!(dump(&*store).await, before);

    store.limit_pages(u32::MAX - 1).await.unwrap();
    // The step of the last commit that failed has not been used.
    store.commit(with_record(vec![Write::BurnTotpStep { device: device.id, step }])).await.unwrap();
    broken_at(&store).await.unwrap();
    store.close().await;
    let store = dir.store().await.unwrap();
    assert_eq!(store.device(device.id).await.unwrap().unwrap().totp_last_step, step);
    broken_at(&store).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn s97_nothing_is_taken_when_the_files_are_gone() {
    let dir = Dir::new();
    let store = dir.store().await.unwrap();
    fill(&store).await;
    for end in ["", "-wal"] {
        let before = store.audit_head().await.unwrap();
        let file = PathBuf::from(format!("{}{end}", dir.path().display()));
        let aside = file.with_extension("aside");
        std::fs::rename(&file, &aside).unwrap();
        for put in [false, true] {
            if put {
                // Another file of the same name is not the file.
                std::fs::copy(&aside, &file).unwrap();
            }
            let fault = store.commit(with_record(Vec::new())).await.unwrap_err();
            assert!(fault.to_string().contains("while the server had it open"), "{fault}");
        }
        assert_eq!(store.writer_figures().failing, 2);
        std::fs::rename(&aside, &file).unwrap();
        // Only now: a reader may have to open the file, which it cannot where there is none.
        assert_eq!(store.audit_head().await.unwrap(), before);
        store.commit(with_record(Vec::new())).await.unwrap();
        assert_eq!(store.writer_figures().failing, 0);
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s97_a_commit_waits_for_a_lock_and_then_says_so() {
    let dir = Dir::new();
    let store = dir.store().await.unwrap();
    let [device, _] = fill(&store).await;
    let burn = |step| with_record(vec![Write::BurnTotpStep { device: device.id, step }]);
    let mut other = raw(&dir.path()).await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let refused = store.commit(burn(1)).await;
    assert!(matches!(refused, Err(CommitError::Store(StoreError::Unavailable(_)))), "{refused:?}");
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    store.commit(burn(1)).await.unwrap();

    // A row that was changed behind the writer's back: the batch fails as a whole, and the next sees what is true.
    sqlx::query("UPDATE totp_steps SET last_step = 50").execute(&mut other).await.unwrap();
    let refused = store.commit(burn(2)).await;
    assert!(matches!(refused, Err(CommitError::Store(StoreError::Inconsistent { .. }))), "{refused:?}");
    assert!(matches!(store.commit(burn(3)).await, Err(CommitError::Conflict(0))));
    store.commit(burn(51)).await.unwrap();
    other.close().await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn old_rows_go_and_the_record_stays() {
    struct Later;
    impl countersign_domain::Clock for Later {
        fn now(&self) -> Timestamp {
            NOW.plus(40 * Timestamp::DAY)
        }
    }
    let dir = Dir::new();
    let store = dir.store().await.unwrap();
    let [device, _] = fill(&store).await;
    let maker = Maker::new(2);
    let day = |days: u32| NOW.plus(days * Timestamp::DAY);
    let mut writes = Vec::new();
    for days in [0, 5, 15, 39] {
        let challenge = maker.challenge(device.user, day(days));
        let closing = countersign_storage::conformance::closing(countersign_domain::ClosingState::Denied, day(days));
        writes.extend([
            Write::OpenChallenge(Box::new(challenge.clone())),
            Write::CloseChallenge { id: challenge.id, closing },
            Write::AddActivation(Box::new(maker.activation(device.user, "AAAA", day(days)))),
        ]);
    }
    writes.push(Write::OpenChallenge(Box::new(maker.challenge(device.user, NOW))));
    store.commit(with_record(writes)).await.unwrap();
    store.close().await;
    let vault = Arc::new(Vault::from_key(&[7; 32]).unwrap());
    let options = Options { clock: Arc::new(Later), ..Dir::options() };
    let store = SqliteStore::open(Location::File(dir.path()), vault, options).await.unwrap();
    store.commit(Commit::record(event(2))).await.unwrap();
    let closed: Vec<_> = store.history(device.user, 10).await.unwrap().iter().map(|found| found.created_at).collect();
    assert_eq!(closed, [day(39), day(15)]);
    assert_eq!(store.pending_challenges().await.unwrap().len(), 1, "what is pending is for the engine to end");
    assert_eq!(store.activation_by_handle("AAAA").await.unwrap().unwrap().issued_at, day(39));
    assert_eq!(broken_at(&store).await.unwrap().0, 3);
    store.close().await;
}
