//! Another key for everything that is sealed (S94).
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use std::path::Path;

use countersign_domain::{
    AuditEvent, Commit, Device, EventKind, PreviousSecret, PushSubscription, Secret, TotpSeed, Write,
};
use countersign_storage::conformance::{Maker, NOW, Seeded};
use countersign_storage::{Store, StoreError, Vault};
use countersign_storage_sqlite::{DatabasePlace, SqliteStore};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use support::Dir;

fn vault(octet: u8) -> Vault {
    Vault::from_key(&[octet; 32]).unwrap()
}

/// Something in every column of sealed values.
async fn fill(store: &SqliteStore) {
    let maker = Maker::default();
    let alice = maker.user("alice");
    let subscription = PushSubscription {
        endpoint: "https://push.example.org/x".to_owned(),
        p256dh: vec![4; 65],
        auth: Secret::new(b"sixteen octets !".to_vec()),
    };
    let device = Device {
        totp: TotpSeed::from_secret(Secret::new(b"canary-seed-of-alice".to_vec())),
        push: Some(subscription),
        ..maker.device(alice.id)
    };
    let (vpn, mut client) = maker.resource("vpn", "a secret of the vpn and us");
    client.previous = Some(PreviousSecret {
        secret: Secret::new(b"the one before".to_vec()),
        until: NOW.plus(PreviousSecret::LONGEST),
    });
    let writes = vec![
        Write::AddUser(alice.clone()),
        Write::AddDevice(Box::new(device)),
        Write::SetChapSecret { user: alice.id, secret: Some(Secret::new(b"password of alice".to_vec())) },
        Write::AddResource { resource: Box::new(vpn), client: Box::new(client) },
        Write::AddUpstream(Box::new(maker.upstream("NPS"))),
        Write::AddDirectory(Box::new(maker.directory("corp"))),
    ];
    let audit = vec![AuditEvent::new(NOW, EventKind::ServerStarted, "server")];
    store.commit(Commit { writes, audit }).await.unwrap();
    store.server_secret("signing", Secret::new(b"the server's signing key".to_vec())).await.unwrap();
}

/// All sealed values with where they stand.
async fn sealed(path: &Path) -> Vec<(String, String, Vec<u8>)> {
    let mut conn = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT s.name, c.name FROM sqlite_schema s, pragma_table_info(s.name) c \
         WHERE s.type = 'table' AND c.name LIKE '%sealed'",
    )
    .fetch_all(&mut conn)
    .await
    .unwrap();
    let mut out = Vec::new();
    for (table, column) in columns {
        let read = format!("SELECT {column} FROM {table} WHERE {column} IS NOT NULL");
        let values: Vec<(Vec<u8>,)> = sqlx::query_as(AssertSqlSafe(read)).fetch_all(&mut conn).await.unwrap();
        assert!(!values.is_empty(), "the test puts nothing into {table}.{column}");
        out.extend(values.into_iter().map(|(value,)| (table.clone(), column.clone(), value)));
    }
    conn.close().await.unwrap();
    out
}

#[tokio::test]
async fn s94_no_value_is_left_under_the_old_key_and_all_are_there_under_the_new() {
    let dir = Dir::new();
    let path = dir.path();
    let store = dir.store().await.unwrap();
    fill(&store).await;
    let (resources, upstreams, directories) =
        (store.resources().await.unwrap(), store.upstreams().await.unwrap(), store.directories().await.unwrap());
    store.close().await;
    let before = sealed(&path).await;

    let place = DatabasePlace::take(&path).unwrap();
    assert!(place.opens_under(&vault(7)).await.unwrap() && !place.opens_under(&vault(2)).await.unwrap());
    let entropy = Seeded::new(2);
    // With a key that it is not of nothing happens.
    assert!(matches!(place.reseal(&vault(3), &vault(2), &entropy).await, Err(StoreError::Sealed { .. })));
    assert_eq!(sealed(&path).await, before);
    let done = place.reseal(&vault(7), &vault(2), &entropy).await.unwrap();
    place.wipe_deleted().await.unwrap();
    assert_eq!(usize::try_from(done.values).unwrap(), before.len());
    assert!(!place.opens_under(&vault(7)).await.unwrap() && place.opens_under(&vault(2)).await.unwrap());
    drop(place);

    let after = sealed(&path).await;
    assert_eq!(after.len(), before.len());
    // Not even where SQLite keeps what was deleted.
    for end in ["", "-wal"] {
        let mut name = path.clone().into_os_string();
        name.push(end);
        let octets = std::fs::read(name).unwrap_or_default();
        for (table, column, old) in &before {
            assert!(!octets.windows(old.len()).any(|part| part == old), "an old value of {table}.{column} is left");
        }
        assert!(!end.is_empty() || after.iter().all(|(.., new)| octets.windows(new.len()).any(|part| part == new)));
    }
    assert!(matches!(dir.store().await.map(drop), Err(StoreError::Sealed { .. })));
    let store = dir.store_under([2; 32]).await.unwrap();
    assert_eq!(store.resources().await.unwrap(), resources);
    assert_eq!(store.upstreams().await.unwrap(), upstreams);
    assert_eq!(store.directories().await.unwrap(), directories);
    let kept = store.server_secret("signing", Secret::new(b"another".to_vec())).await.unwrap();
    assert_eq!(kept.expose(), b"the server's signing key");
    // Secrets that two clients would share are still found.
    let (mut twin, mut client) = Maker::default().resource("twin", "a secret of the vpn and us");
    (twin.id, client.id) =
        (countersign_domain::ResourceId::new(NOW, &entropy), countersign_domain::ClientId::new(NOW, &entropy));
    client.resource = twin.id;
    let write = Write::AddResource { resource: Box::new(twin), client: Box::new(client) };
    assert!(store.commit(Commit { writes: vec![write], audit: Vec::new() }).await.is_err());
    store.close().await;
}
