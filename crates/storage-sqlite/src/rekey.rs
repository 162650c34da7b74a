//! Sealing all that is sealed in a database anew, under another key (S94).

use countersign_domain::Entropy;
use countersign_storage::{Place as Seat, StoreError, Vault};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, SqliteConnection};
use uuid::Uuid;

use crate::error::{inconsistent, unavailable};
use crate::rare::Sealer;
use crate::resources::{BY_CERTIFICATE, BY_SECRET};
use crate::rows::{DIRECTORY_PASSWORD, PUSH_AUTH, PUSH_ENDPOINT, TOTP};
use crate::schema;
use crate::store::BUSY;
use crate::swap::Place;

/// How a row is named where a value is sealed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    /// By an identifier.
    Uuid,
    /// By an identifier, and a place among those that belong to it.
    UuidAndPlace,
    /// By a text.
    Text,
}

/// A column of sealed values: table, column, the column that tells rows apart, and how that names them.
type Column = (&'static str, &'static str, &'static str, Name);

/// All of them.
///
/// INVARIANT: every column of the schema whose name ends in `_sealed`; one that is not here stops the change.
const COLUMNS: &[Column] = &[
    ("deployment", "check_sealed", "one", Name::Text),
    ("server_secrets", "value_sealed", "name", Name::Text),
    ("devices", TOTP, "id", Name::Uuid),
    ("devices", PUSH_ENDPOINT, "id", Name::Uuid),
    ("devices", PUSH_AUTH, "id", Name::Uuid),
    ("directories", DIRECTORY_PASSWORD, "id", Name::Uuid),
    ("radius_clients", "secret_sealed", "id", Name::Uuid),
    ("radius_clients", "previous_sealed", "id", Name::Uuid),
    ("upstream_servers", "secret_sealed", "upstream", Name::UuidAndPlace),
    ("chap_secrets", "secret_sealed", "user", Name::Uuid),
];

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Values that were sealed anew.
    pub values: u64,
    /// Open activations that were burnt: their codes are known by a hash under the key before.
    pub activations: u64,
}

impl Place {
    /// Whether the database here is of this key.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read, or is no database of ours.
    pub async fn opens_under(&self, vault: &Vault) -> Result<bool, StoreError> {
        let mut conn = self.connect().await?;
        schema::not_newer(&mut conn).await?;
        let opened = schema::opens_under(&mut conn, vault).await;
        conn.close().await.map_err(|fault| unavailable(&fault))?;
        match opened {
            Err(StoreError::Sealed { .. }) => Ok(false),
            opened => opened,
        }
    }

    /// Seals everything under the key of `new` that was sealed under that of `old`: all of it or nothing. What SQLite keeps of
    /// what was there before is for [`Place::wipe_deleted`].
    ///
    /// # Errors
    /// [`StoreError::Sealed`] when a value does not open under `old`; [`StoreError::Inconsistent`] when there is a column of
    /// sealed values that this program does not know. Then nothing was changed.
    pub async fn reseal(&self, old: &Vault, new: &Vault, entropy: &dyn Entropy) -> Result<Resealed, StoreError> {
        let failed = |fault: sqlx::Error| unavailable(&fault);
        let mut conn = self.connect().await?;
        schema::migrate(&mut conn).await?;
        sqlx::query("PRAGMA secure_delete = ON").execute(&mut conn).await.map_err(failed)?;
        let mut transaction = conn.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
        knows_all(&mut transaction).await?;
        let sealer = Sealer { vault: new, entropy };
        let mut done = Resealed::default();
        for column in COLUMNS {
            done.values = done.values.saturating_add(reseal(&mut transaction, *column, old, sealer).await?);
        }
        hash_clients(&mut transaction, new).await?;
        let burn = sqlx::query("UPDATE activations SET state = 'burnt' WHERE state = 'open'");
        done.activations = burn.execute(&mut *transaction).await.map_err(failed)?.rows_affected();
        transaction.commit().await.map_err(failed)?;
        // It is done, whatever closing says.
        let _ = conn.close().await;
        Ok(done)
    }

    /// Overwrites what is deleted in the file, so that nothing is left in it that was sealed under the key before. It needs as
    /// much room again as the database takes, and may be done once more.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it cannot be written.
    pub async fn wipe_deleted(&self) -> Result<(), StoreError> {
        let mut conn = self.connect().await?;
        for step in ["VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"] {
            sqlx::query(step).execute(&mut conn).await.map_err(|fault| unavailable(&fault))?;
        }
        conn.close().await.map_err(|fault| unavailable(&fault))
    }

    async fn connect(&self) -> Result<SqliteConnection, StoreError> {
        let connect = SqliteConnectOptions::new().filename(self.path()).busy_timeout(BUSY).foreign_keys(true);
        let connect = connect.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
        connect.disable_statement_logging().connect().await.map_err(|fault| unavailable(&fault))
    }
}

/// Refuses a schema that has sealed values of which we would not know.
async fn knows_all(conn: &mut SqliteConnection) -> Result<(), StoreError> {
    const READ: &str = "SELECT s.name, c.name FROM sqlite_schema s, pragma_table_info(s.name) c \
         WHERE s.type = 'table' AND c.name LIKE '%\\_sealed' ESCAPE '\\'";
    let found: Vec<(String, String)> =
        sqlx::query_as(READ).fetch_all(conn).await.map_err(|fault| unavailable(&fault))?;
    let is_known = |(table, column): &(String, String)| {
        COLUMNS.iter().any(|(known, name, ..)| (*known, *name) == (table.as_str(), column.as_str()))
    };
    match found.iter().find(|found| !is_known(found)) {
        Some((table, column)) => {
            Err(inconsistent("sqlite_schema", format!("sealed values in {table}.{column} are not known here")))
        }
        None if found.len() == COLUMNS.len() => Ok(()),
        None => Err(inconsistent("sqlite_schema", "columns of sealed values are missing")),
    }
}

/// Seals one column anew; how many values it had.
async fn reseal(
    conn: &mut SqliteConnection,
    (table, column, key, name): Column,
    old: &Vault,
    sealer: Sealer<'_>,
) -> Result<u64, StoreError> {
    let failed = |fault: sqlx::Error| unavailable(&fault);
    let place = if name == Name::UuidAndPlace { "place" } else { "0" };
    // Names of our own only.
    let read = format!("SELECT CAST({key} AS BLOB), {place}, {column} FROM {table} WHERE {column} IS NOT NULL");
    // An identifier is octets in the database, and is found by the index as it is; the tables with a text have few rows.
    let is = if name == Name::Text { format!("CAST({key} AS BLOB)") } else { key.to_owned() };
    let write = format!("UPDATE {table} SET {column} = ?1 WHERE {is} = ?2 AND {place} = ?3");
    let found = sqlx::query(AssertSqlSafe(read)).fetch_all(&mut *conn).await.map_err(failed)?;
    let mut count = 0_u64;
    for row in &found {
        let key: &[u8] = row.try_get(0).map_err(failed)?;
        let place: i64 = row.try_get(1).map_err(failed)?;
        let sealed: &[u8] = row.try_get(2).map_err(failed)?;
        let uuid = || Uuid::from_slice(key).map_err(|fault| inconsistent(table, fault.to_string()));
        let row = match name {
            Name::Uuid => uuid()?.to_string(),
            Name::UuidAndPlace => format!("{}/{place}", uuid()?),
            Name::Text => String::from_utf8(key.to_vec()).map_err(|fault| inconsistent(table, fault.to_string()))?,
        };
        let seat = Seat { table, row: &row, column };
        let plain = old.open(seat, sealed)?;
        let again = sealer.seal(seat, plain.expose())?;
        let changed = sqlx::query(AssertSqlSafe(write.clone())).bind(again).bind(key).bind(place);
        if changed.execute(&mut *conn).await.map_err(failed)?.rows_affected() != 1 {
            return Err(inconsistent(table, format!("the row {row} is not there once")));
        }
        count = count.saturating_add(1);
    }
    Ok(count)
}

/// The hashes by which it is found that two clients would share a secret.
async fn hash_clients(conn: &mut SqliteConnection, new: &Vault) -> Result<(), StoreError> {
    let failed = |fault: sqlx::Error| unavailable(&fault);
    let read = sqlx::query("SELECT id, secret_sealed, tls_identity FROM radius_clients");
    let found = read.fetch_all(&mut *conn).await.map_err(failed)?;
    for row in &found {
        let id: &[u8] = row.try_get(0).map_err(failed)?;
        let sealed: &[u8] = row.try_get(1).map_err(failed)?;
        let identity: Option<&str> = row.try_get(2).map_err(failed)?;
        let name = Uuid::from_slice(id).map_err(|fault| inconsistent("radius_clients", fault.to_string()))?.to_string();
        let hash = match identity {
            None => new.keyed_hash(BY_SECRET, new.open(crate::rows::client_place(&name), sealed)?.expose()),
            Some(identity) => new.keyed_hash(BY_CERTIFICATE, identity.as_bytes()),
        };
        let write = sqlx::query("UPDATE radius_clients SET secret_hash = ?1 WHERE id = ?2");
        write.bind(hash.as_slice()).bind(id).execute(&mut *conn).await.map_err(failed)?;
    }
    Ok(())
}
