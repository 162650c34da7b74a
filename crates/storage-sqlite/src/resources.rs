//! Resources, their clients, and the servers behind them.

use countersign_domain::{PreviousSecret, RadiusClient, Resource, ResourceId, Upstream};
use countersign_storage::StoreError;
use sqlx::SqliteConnection;

use crate::error::unavailable;
use crate::rare::{Sealer, changed, id, micros, run};
use crate::rows::{client_place, previous_client_place, upstream_place};

fn json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|fault| unavailable(&fault))
}

pub(crate) async fn add_resource(
    conn: &mut SqliteConnection,
    resource: &Resource,
    client: &RadiusClient,
    sealer: Sealer<'_>,
) -> Result<u64, StoreError> {
    if client.resource != resource.id {
        return Ok(0);
    }
    if add_row(conn, resource).await? == 0 { Ok(0) } else { add_client(conn, client, sealer).await }
}

/// The resource alone.
pub(crate) async fn add_row(conn: &mut SqliteConnection, resource: &Resource) -> Result<u64, StoreError> {
    Ok(changed!(
        conn,
        "INSERT INTO resources (id, name, name_folded, kind, first_factor, retries, answer_by, created_at, directory, \
         allow_groups, upstream, policy) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12 \
         WHERE (?9 IS NULL OR EXISTS (SELECT 1 FROM directories WHERE id = ?9)) \
         AND (?11 IS NULL OR EXISTS (SELECT 1 FROM upstreams WHERE id = ?11)) ON CONFLICT DO NOTHING",
        id!(resource.id),
        resource.name.as_str(),
        resource.name.to_lowercase(),
        resource.kind.as_str(),
        resource.primary.as_str(),
        resource.retries.as_str(),
        micros(resource.answer_by)?,
        resource.created_at.as_micros(),
        resource.directory.as_ref().map(|id| id!(id)),
        json(&resource.allow_groups)?,
        resource.upstream.as_ref().map(|id| id!(id)),
        json(&resource.policy)?,
    ))
}

pub(crate) async fn set_resource(
    conn: &mut SqliteConnection,
    resource: &Resource,
    client: &RadiusClient,
    sealer: Sealer<'_>,
) -> Result<u64, StoreError> {
    if client.resource != resource.id {
        return Ok(0);
    }
    if set_row(conn, resource).await? == 0 {
        return Ok(0);
    }
    let is_its_own = changed!(
        conn,
        "UPDATE radius_clients SET resource = resource WHERE id = ?1 AND resource = ?2",
        id!(client.id),
        id!(resource.id),
    );
    if is_its_own == 0 { Ok(0) } else { set_client(conn, client, sealer).await }
}

/// The resource alone.
pub(crate) async fn set_row(conn: &mut SqliteConnection, resource: &Resource) -> Result<u64, StoreError> {
    Ok(changed!(
        conn,
        "UPDATE resources SET name = ?2, name_folded = ?3, kind = ?4, first_factor = ?5, retries = ?6, answer_by = ?7, \
         directory = ?8, allow_groups = ?9, upstream = ?10, policy = ?11 \
         WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM resources WHERE name_folded = ?3 AND id <> ?1) \
         AND (?8 IS NULL OR EXISTS (SELECT 1 FROM directories WHERE id = ?8)) \
         AND (?10 IS NULL OR EXISTS (SELECT 1 FROM upstreams WHERE id = ?10))",
        id!(resource.id),
        resource.name.as_str(),
        resource.name.to_lowercase(),
        resource.kind.as_str(),
        resource.primary.as_str(),
        resource.retries.as_str(),
        micros(resource.answer_by)?,
        resource.directory.as_ref().map(|id| id!(id)),
        json(&resource.allow_groups)?,
        resource.upstream.as_ref().map(|id| id!(id)),
        json(&resource.policy)?,
    ))
}

pub(crate) async fn remove_resource(conn: &mut SqliteConnection, id: ResourceId) -> Result<u64, StoreError> {
    let removed = changed!(
        conn,
        "DELETE FROM resources WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM match_rules m \
         JOIN radius_clients c ON c.id = m.client WHERE m.resource = ?1 AND c.resource <> ?1)",
        id!(id),
    );
    changed!(conn, "DELETE FROM limits WHERE resource = ?1", id!(id));
    Ok(removed)
}

pub(crate) async fn add_client(
    conn: &mut SqliteConnection,
    client: &RadiusClient,
    sealer: Sealer<'_>,
) -> Result<u64, StoreError> {
    let added = changed!(
        conn,
        "INSERT INTO radius_clients (id, resource, networks, secret_sealed, secret_hash, \
         require_message_authenticator, name, name_folded, tls_identity, previous_sealed, previous_until) \
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11 \
         WHERE EXISTS (SELECT 1 FROM resources WHERE id = ?2) ON CONFLICT DO NOTHING",
        id!(client.id),
        id!(client.resource),
        json(client.tls.as_ref().map_or(&client.networks, |peer| &peer.networks))?,
        sealer.seal(client_place(&client.id.to_string()), client.secret.expose())?,
        secret_hash(client, sealer).as_slice(),
        i64::from(client.require_message_authenticator),
        client.name.as_str(),
        client.name.to_lowercase(),
        client.tls.as_ref().map(|peer| peer.identity.to_string()),
        previous_sealed(client, sealer)?,
        client.previous.as_ref().map(|previous| previous.until.as_micros()),
    );
    if added == 0 { Ok(0) } else { set_rules(conn, client).await }
}

pub(crate) async fn set_client(
    conn: &mut SqliteConnection,
    client: &RadiusClient,
    sealer: Sealer<'_>,
) -> Result<u64, StoreError> {
    let changed = changed!(
        conn,
        "UPDATE radius_clients SET resource = ?2, networks = ?3, secret_sealed = ?4, secret_hash = ?5, \
         require_message_authenticator = ?6, name = ?7, name_folded = ?8, tls_identity = ?9, \
         previous_sealed = ?10, previous_until = ?11 WHERE id = ?1 \
         AND EXISTS (SELECT 1 FROM resources WHERE id = ?2) \
         AND NOT EXISTS (SELECT 1 FROM radius_clients WHERE (secret_hash = ?5 OR name_folded = ?8) AND id <> ?1)",
        id!(client.id),
        id!(client.resource),
        json(client.tls.as_ref().map_or(&client.networks, |peer| &peer.networks))?,
        sealer.seal(client_place(&client.id.to_string()), client.secret.expose())?,
        secret_hash(client, sealer).as_slice(),
        i64::from(client.require_message_authenticator),
        client.name.as_str(),
        client.name.to_lowercase(),
        client.tls.as_ref().map(|peer| peer.identity.to_string()),
        previous_sealed(client, sealer)?,
        client.previous.as_ref().map(|previous| previous.until.as_micros()),
    );
    if changed == 0 { Ok(0) } else { set_rules(conn, client).await }
}

fn previous_sealed(client: &RadiusClient, sealer: Sealer<'_>) -> Result<Option<Vec<u8>>, StoreError> {
    let seal = |previous: &PreviousSecret| {
        sealer.seal(previous_client_place(&client.id.to_string()), previous.secret.expose())
    };
    client.previous.as_ref().map(seal).transpose()
}

/// What clients are known by is hashed for.
pub(crate) const BY_SECRET: &str = "radius client secret";
pub(crate) const BY_CERTIFICATE: &str = "radius client certificate";

/// Finds a secret that two clients would share, or a certificate.
fn secret_hash(client: &RadiusClient, sealer: Sealer<'_>) -> [u8; 32] {
    match &client.tls {
        None => sealer.vault.keyed_hash(BY_SECRET, client.secret.expose()),
        Some(peer) => sealer.vault.keyed_hash(BY_CERTIFICATE, peer.identity.to_string().as_bytes()),
    }
}

/// 1, or 0 when a rule leads to no resource.
async fn set_rules(conn: &mut SqliteConnection, client: &RadiusClient) -> Result<u64, StoreError> {
    changed!(conn, "DELETE FROM match_rules WHERE client = ?1", id!(client.id));
    for (place, rule) in (0_i64..).zip(&client.rules) {
        let added = changed!(
            conn,
            "INSERT INTO match_rules (client, place, attribute, value, resource) SELECT ?1, ?2, ?3, ?4, ?5 \
             WHERE EXISTS (SELECT 1 FROM resources WHERE id = ?5)",
            id!(client.id),
            place,
            rule.attribute.as_str(),
            rule.value.as_str(),
            id!(rule.resource),
        );
        if added == 0 {
            return Ok(0);
        }
    }
    Ok(1)
}

pub(crate) async fn add_upstream(
    conn: &mut SqliteConnection,
    upstream: &Upstream,
    sealer: Sealer<'_>,
) -> Result<u64, StoreError> {
    let added = changed!(
        conn,
        "INSERT INTO upstreams (id, name, name_folded, created_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        id!(upstream.id),
        upstream.name.as_str(),
        upstream.name.to_lowercase(),
        upstream.created_at.as_micros(),
    );
    if added == 0 { Ok(0) } else { set_servers(conn, upstream, sealer).await }
}

pub(crate) async fn set_upstream(
    conn: &mut SqliteConnection,
    upstream: &Upstream,
    sealer: Sealer<'_>,
) -> Result<u64, StoreError> {
    let changed = changed!(
        conn,
        "UPDATE upstreams SET name = ?2, name_folded = ?3 WHERE id = ?1 \
         AND NOT EXISTS (SELECT 1 FROM upstreams WHERE name_folded = ?3 AND id <> ?1)",
        id!(upstream.id),
        upstream.name.as_str(),
        upstream.name.to_lowercase(),
    );
    if changed == 0 { Ok(0) } else { set_servers(conn, upstream, sealer).await }
}

/// 1, or 0 when there are none.
async fn set_servers(conn: &mut SqliteConnection, upstream: &Upstream, sealer: Sealer<'_>) -> Result<u64, StoreError> {
    changed!(conn, "DELETE FROM upstream_servers WHERE upstream = ?1", id!(upstream.id));
    let logins = upstream.servers.iter().map(|server| (server, 0_i64));
    let accounting = upstream.accounting.iter().map(|server| (server, 1));
    for (place, (server, accounting)) in (0_i64..).zip(logins.chain(accounting)) {
        let row = format!("{}/{place}", upstream.id);
        changed!(
            conn,
            "INSERT INTO upstream_servers (upstream, place, address, secret_sealed, tls_identity, accounting) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            id!(upstream.id),
            place,
            server.address.to_string(),
            sealer.seal(upstream_place(&row), server.secret.expose())?,
            server.tls.as_ref().map(ToString::to_string),
            accounting,
        );
    }
    Ok(u64::from(!upstream.servers.is_empty()))
}
