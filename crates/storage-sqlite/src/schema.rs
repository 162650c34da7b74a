//! What a database must be before it is used: no newer than this program, brought up to date, of this key file, and no copy.

use countersign_domain::{Entropy, Timestamp};
use countersign_storage::{Place, StoreError, Vault};
use data_encoding::BASE64URL_NOPAD;
use sqlx::SqliteConnection;
use sqlx::migrate::{MigrateError, Migrator};

use crate::error::{inconsistent, unavailable};
use crate::rare::Sealer;
use crate::rows::Fields;

static MIGRATIONS: Migrator = sqlx::migrate!();

const DEPLOYMENT_CHECK: Place<'_> = Place { table: "deployment", row: "1", column: "check_sealed" };
const CHECK_TEXT: &[u8] = b"countersign";

/// The newest version that this program knows.
pub(crate) fn known() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// The version of a database; `None` when it is empty, or not one of ours.
pub(crate) async fn version(conn: &mut SqliteConnection) -> Result<Option<i64>, StoreError> {
    if !has_table(conn, "_sqlx_migrations").await? {
        return Ok(None);
    }
    let found = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations").fetch_one(conn).await;
    found.map_err(|fault| unavailable(&fault))
}

pub(crate) async fn has_table(conn: &mut SqliteConnection, name: &str) -> Result<bool, StoreError> {
    let table = sqlx::query("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1").bind(name);
    Ok(table.fetch_optional(conn).await.map_err(|fault| unavailable(&fault))?.is_some())
}

/// Refuses what a newer program wrote.
pub(crate) async fn not_newer(conn: &mut SqliteConnection) -> Result<Option<i64>, StoreError> {
    let (found, known) = (version(conn).await?, known());
    match found {
        Some(found) if found > known => Err(StoreError::Newer { found, known }),
        found => Ok(found),
    }
}

pub(crate) async fn migrate(conn: &mut SqliteConnection) -> Result<(), StoreError> {
    let failed = |fault: sqlx::Error| unavailable(&fault);
    not_newer(conn).await?;
    // Tables that others refer to can only be replaced with this off (sqlite.org/lang_altertable.html, section 7), and
    // it cannot be switched within a transaction.
    sqlx::query("PRAGMA foreign_keys = OFF").execute(&mut *conn).await.map_err(failed)?;
    MIGRATIONS.run_direct(None, conn, false).await.map_err(|fault| match fault {
        MigrateError::Execute(_) | MigrateError::ExecuteMigration(..) => unavailable(&fault),
        other => inconsistent("_sqlx_migrations", other.to_string()),
    })?;
    let astray = sqlx::query("PRAGMA foreign_key_check").fetch_optional(&mut *conn).await.map_err(failed)?;
    if astray.is_some() {
        return Err(inconsistent("sqlite_schema", "rows refer to others that are not there"));
    }
    sqlx::query("PRAGMA foreign_keys = ON").execute(&mut *conn).await.map_err(failed)?;
    Ok(())
}

/// Notes a known text, sealed, in a new database; opens it in an old one.
pub(crate) async fn check_vault(
    conn: &mut SqliteConnection,
    vault: &Vault,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<(), StoreError> {
    if opens_under(conn, vault).await? {
        return Ok(());
    }
    let sealer = Sealer { vault, entropy };
    sqlx::query("INSERT INTO deployment (one, id, created_at, check_sealed) VALUES (1, ?1, ?2, ?3)")
        .bind(BASE64URL_NOPAD.encode(&entropy.octets::<16>()))
        .bind(now.as_micros())
        .bind(sealer.seal(DEPLOYMENT_CHECK, CHECK_TEXT)?)
        .execute(conn)
        .await
        .map_err(|fault| unavailable(&fault))?;
    Ok(())
}

/// Whether a database is of this key file; `false` when it is new and of none.
pub(crate) async fn opens_under(conn: &mut SqliteConnection, vault: &Vault) -> Result<bool, StoreError> {
    let row = sqlx::query("SELECT check_sealed FROM deployment").fetch_optional(conn).await;
    let Some(row) = row.map_err(|fault| unavailable(&fault))? else { return Ok(false) };
    let opened = vault.open(DEPLOYMENT_CHECK, Fields::new(&row, "deployment").next()?)?;
    if opened.expose() == CHECK_TEXT {
        Ok(true)
    } else {
        Err(inconsistent("deployment", "the check value holds something else"))
    }
}
