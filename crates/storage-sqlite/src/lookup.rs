//! What logins have to know of many users, read with one statement: a way to the thread that reads and back costs more
//! than a row, so many logins share it.

use std::collections::{BTreeMap, HashMap, HashSet};

use countersign_domain::{UserId, UserSnapshot};
use countersign_storage::{StoreError, Vault, Wanted};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::bulk::{Rows, Template, bind};
use crate::rows::{self, Fields, device_columns, nulls, snapshots_of_p, user_columns};

static NAMED: Template = Template::new(
    "WITH p AS MATERIALIZED (SELECT u.id AS id FROM ",
    1,
    concat!(
        " j CROSS JOIN users u INDEXED BY users_local_name ON u.name_folded = j.column1 AND u.directory IS NULL) ",
        snapshots_of_p!()
    ),
);
static USERS: Template =
    Template::new("WITH p AS MATERIALIZED (SELECT j.column1 AS id FROM ", 1, concat!(" j) ", snapshots_of_p!()));

/// An answer for each, in order.
pub(crate) async fn look_up(
    conn: &mut SqliteConnection,
    wanted: &[Wanted],
    vault: &Vault,
) -> Result<Vec<Option<UserSnapshot>>, StoreError> {
    let (mut named, mut users) = (Rows::new(&NAMED), Rows::new(&USERS));
    let (mut names, mut ids) = (HashSet::new(), HashSet::new());
    for one in wanted {
        match one {
            Wanted::Named(name) if names.insert(name.folded()) => {
                named.push(|row| bind!(row; name.folded().to_owned()))?;
            }
            Wanted::User(id) if ids.insert(*id) => users.push(|row| bind!(row; octets(*id)))?,
            Wanted::Named(_) | Wanted::User(_) => {}
        }
    }
    let mut found = snapshots(&named.read(conn).await?, vault)?;
    let by_name: HashMap<String, UserId> =
        found.values().map(|found| (found.user.name.folded().to_owned(), found.user.id)).collect();
    found.append(&mut snapshots(&users.read(conn).await?, vault)?);
    Ok(wanted
        .iter()
        .map(|one| match one {
            Wanted::Named(name) => by_name.get(name.folded()).and_then(|id| found.get(id)).cloned(),
            Wanted::User(id) => found.get(id).cloned(),
        })
        .collect())
}

/// Snapshots from the rows of a statement that ends in [`snapshots_of_p`]; the user's own row comes first. They stay in memory,
/// so they take no more room than they need.
pub(crate) fn snapshots(found: &[SqliteRow], vault: &Vault) -> Result<BTreeMap<UserId, UserSnapshot>, StoreError> {
    let (mut users, mut devices) = (BTreeMap::<UserId, UserSnapshot>::new(), Vec::new());
    for row in found {
        let mut fields = Fields::new(row, "users");
        match fields.next::<i64>()? {
            0 => {
                let user = rows::user(&mut fields)?;
                let (devices, limits) = (Vec::new(), Vec::new());
                users.insert(user.id, UserSnapshot { user, devices, limits, bypass: None, chap_secret: None });
            }
            1 => devices.push(rows::device(&mut fields.of("devices"), vault)?),
            2 => {
                let scoped = rows::limits(&mut fields.of("limits"))?;
                if let Some(snapshot) = users.get_mut(&scoped.scope.user()) {
                    snapshot.limits.reserve_exact(1);
                    snapshot.limits.push(scoped);
                }
            }
            3 => {
                let (user, bypass) = rows::bypass(&mut fields.of("bypasses"))?;
                if let Some(snapshot) = users.get_mut(&user) {
                    snapshot.bypass = Some(bypass);
                }
            }
            _ => {
                let (user, secret) = rows::chap_secret(&mut fields.of("chap_secrets"), vault)?;
                if let Some(snapshot) = users.get_mut(&user) {
                    snapshot.chap_secret = Some(secret);
                }
            }
        }
    }
    devices.sort_by_key(|device| (device.created_at, device.id));
    for device in devices {
        if let Some(snapshot) = users.get_mut(&device.user) {
            snapshot.devices.reserve_exact(1);
            snapshot.devices.push(device);
        }
    }
    Ok(users)
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
        for template in [&NAMED, &USERS] {
            let sql = format!("EXPLAIN QUERY PLAN {}", template.largest());
            let plan: Vec<(i64, i64, i64, String)> =
                sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&mut conn).await.unwrap();
            for (.., step) in plan {
                let bound = step == "SCAN p"
                    || step == "SCAN j"
                    || step.contains("CONSTANT ROW")
                    || step.contains("-ROW VALUES CLAUSE");
                assert!(bound || !step.starts_with("SCAN") && !step.contains("AUTOMATIC"), "{step}");
            }
        }
    }
}
