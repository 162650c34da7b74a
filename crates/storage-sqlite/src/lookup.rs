//! What logins have to know of many users, read in one transaction with one statement per table: a way to the thread that
//! reads and back costs more than a row, so many logins share it.

use std::collections::HashMap;

use countersign_domain::{UserId, UserSnapshot};
use countersign_storage::{StoreError, Vault, Wanted};
use sqlx::SqliteConnection;

use crate::bulk::{Rows, Template, bind};
use crate::rows::{self, Fields, device_columns, user_columns};

static NAMED: Template = Template::new(
    "WITH w AS MATERIALIZED ",
    1,
    concat!(
        " SELECT ",
        user_columns!(),
        " FROM w CROSS JOIN users u INDEXED BY users_local_name ON u.name_folded = w.column1 AND u.directory IS NULL"
    ),
);
static USERS: Template = Template::new(
    "WITH w AS MATERIALIZED ",
    1,
    concat!(" SELECT ", user_columns!(), " FROM w CROSS JOIN users u ON u.id = w.column1"),
);
static DEVICES: Template = Template::new(
    "WITH w AS MATERIALIZED ",
    1,
    concat!(
        " SELECT ",
        device_columns!(),
        " FROM w CROSS JOIN devices d ON d.user = w.column1 CROSS JOIN totp_steps t ON t.device = d.id \
         WHERE d.state <> 'removed'"
    ),
);
static LIMITS: Template = Template::new(
    "WITH w AS MATERIALIZED ",
    1,
    " SELECT l.user, l.resource, l.version, l.state FROM w CROSS JOIN limits l ON l.user = w.column1",
);
static BYPASSES: Template = Template::new(
    "WITH w AS MATERIALIZED ",
    1,
    " SELECT b.user, b.until, b.reason, b.issuer, b.issued_at FROM w CROSS JOIN bypasses b ON b.user = w.column1",
);
static CHAP_SECRETS: Template = Template::new(
    "WITH w AS MATERIALIZED ",
    1,
    " SELECT c.user, c.secret_sealed FROM w CROSS JOIN chap_secrets c ON c.user = w.column1",
);

/// Reads inside a transaction of the caller; an answer for each, in order.
pub(crate) async fn look_up(
    conn: &mut SqliteConnection,
    wanted: &[Wanted],
    vault: &Vault,
) -> Result<Vec<Option<UserSnapshot>>, StoreError> {
    let (mut named, mut users) = (Rows::new(&NAMED), Rows::new(&USERS));
    for one in wanted {
        match one {
            Wanted::Named(name) => named.push(|row| bind!(row; name.folded().to_owned()))?,
            Wanted::User(id) => users.push(|row| bind!(row; octets(*id)))?,
        }
    }
    let mut found: HashMap<UserId, UserSnapshot> = HashMap::with_capacity(wanted.len());
    let mut by_name: HashMap<String, UserId> = HashMap::new();
    for row in named.read(conn).await?.iter().chain(&users.read(conn).await?) {
        let user = rows::user(&mut Fields::new(row, "users"))?;
        if user.origin.directory().is_none() {
            by_name.insert(user.name.folded().to_owned(), user.id);
        }
        let (devices, limits) = (Vec::new(), Vec::new());
        found.insert(user.id, UserSnapshot { user, devices, limits, bypass: None, chap_secret: None });
    }
    fill(conn, &mut found, vault).await?;
    Ok(wanted
        .iter()
        .map(|one| match one {
            Wanted::Named(name) => by_name.get(name.folded()).and_then(|id| found.get(id)).cloned(),
            Wanted::User(id) => found.get(id).cloned(),
        })
        .collect())
}

/// Adds what belongs to the users.
async fn fill(
    conn: &mut SqliteConnection,
    found: &mut HashMap<UserId, UserSnapshot>,
    vault: &Vault,
) -> Result<(), StoreError> {
    let of_all = |template| {
        let mut rows = Rows::new(template);
        found.keys().try_for_each(|id| rows.push(|row| bind!(row; octets(*id)))).map(|()| rows)
    };
    let (mut devices, mut limits) = (of_all(&DEVICES)?, of_all(&LIMITS)?);
    let (mut bypasses, mut chap_secrets) = (of_all(&BYPASSES)?, of_all(&CHAP_SECRETS)?);
    for row in devices.read(conn).await? {
        let device = rows::device(&mut Fields::new(&row, "devices"), vault)?;
        if let Some(snapshot) = found.get_mut(&device.user) {
            snapshot.devices.push(device);
        }
    }
    for row in limits.read(conn).await? {
        let scoped = rows::limits(&mut Fields::new(&row, "limits"))?;
        if let Some(snapshot) = found.get_mut(&scoped.scope.user()) {
            snapshot.limits.push(scoped);
        }
    }
    for row in bypasses.read(conn).await? {
        let (user, bypass) = rows::bypass(&mut Fields::new(&row, "bypasses"))?;
        if let Some(snapshot) = found.get_mut(&user) {
            snapshot.bypass = Some(bypass);
        }
    }
    for row in chap_secrets.read(conn).await? {
        let (user, secret) = rows::chap_secret(&mut Fields::new(&row, "chap_secrets"), vault)?;
        if let Some(snapshot) = found.get_mut(&user) {
            snapshot.chap_secret = Some(secret);
        }
    }
    for snapshot in found.values_mut() {
        snapshot.devices.sort_by_key(|device| (device.created_at, device.id));
    }
    Ok(())
}

fn octets(id: UserId) -> Vec<u8> {
    id.as_uuid().as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Connection as _};

    use super::*;

    #[tokio::test]
    async fn many_users_are_found_by_key() {
        let mut conn = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        crate::schema::migrate(&mut conn).await.unwrap();
        for template in [&NAMED, &USERS, &DEVICES, &LIMITS, &BYPASSES, &CHAP_SECRETS] {
            let sql = format!("EXPLAIN QUERY PLAN {}", template.largest());
            let plan: Vec<(i64, i64, i64, String)> =
                sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&mut conn).await.unwrap();
            for (.., step) in plan {
                let bound = step == "SCAN w" || step.contains("CONSTANT ROW") || step.contains("-ROW VALUES CLAUSE");
                assert!(bound || !step.starts_with("SCAN") && !step.contains("AUTOMATIC"), "{step}");
            }
        }
    }
}
