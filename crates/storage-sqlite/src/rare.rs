//! The writes of administrators and activations: one conditional statement each.

use countersign_domain::{
    Activation, ActivationState, Bypass, ClosingState, Device, DeviceId, DeviceState, Directory, DirectoryId, Entropy,
    HoldReason, PushSubscription, Secret, SyncState, Timestamp, User, UserId, UserOrigin, Write,
};
use countersign_storage::{Place, StoreError, Vault};
use serde::Serialize;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Sqlite, SqliteConnection};

use crate::error::unavailable;
use crate::hot::{Guards, Pending};
use crate::rows::{
    BURNT, OPEN, PENDING, PUSH_AUTH, PUSH_ENDPOINT, REDEEMED, TOTP, chap_place, device_place, directory_place,
};
use crate::{resources, windows};

/// What sealing takes.
#[derive(Clone, Copy)]
pub(crate) struct Sealer<'a> {
    pub(crate) vault: &'a Vault,
    pub(crate) entropy: &'a dyn Entropy,
}

impl Sealer<'_> {
    pub(crate) fn seal(self, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.vault.seal(place, plain, self.entropy).map_err(|fault| unavailable(&fault))
    }
}

/// Runs one statement; how many rows it changed.
pub(crate) async fn run(
    conn: &mut SqliteConnection,
    query: Query<'_, Sqlite, SqliteArguments>,
) -> Result<u64, StoreError> {
    Ok(query.execute(conn).await.map_err(|fault| unavailable(&fault))?.rows_affected())
}

/// Runs a statement with its values; how many rows it changed.
macro_rules! changed {
    ($conn:expr, $sql:expr $(, $value:expr)* $(,)?) => {
        run($conn, sqlx::query($sql)$(.bind($value))*).await?
    };
}

/// The octets of an identifier.
macro_rules! id {
    ($id:expr) => {
        $id.as_uuid().as_bytes().as_slice()
    };
}

pub(crate) use {changed, id};

/// Makes one write, unless its condition does not hold: then `false`, and what it may have done is to be undone.
pub(crate) async fn write(conn: &mut SqliteConnection, write: &Write, sealer: Sealer<'_>) -> Result<bool, StoreError> {
    let rows = match write {
        Write::OpenChallenge(_)
        | Write::CloseChallenge { .. }
        | Write::ReassignChallenge { .. }
        | Write::SetLimits { .. }
        | Write::BurnTotpStep { .. }
        | Write::RequireActive(_) => return one_hot(conn, write).await,
        Write::ReportChallenge { id, device, at } => changed!(
            conn,
            "UPDATE challenges SET reported_by = ?2, reported_at = ?3 \
             WHERE id = ?1 AND state <> ?4 AND reported_at IS NULL",
            id.as_octets().as_slice(),
            id!(device),
            at.as_micros(),
            PENDING,
        ),
        Write::OpenWindow(window) => windows::open(conn, window).await?,
        Write::CloseWindow { device, id, closing } => windows::close(conn, *device, id, *closing).await?,
        Write::AddUser(user) => add_user(conn, user).await?,
        Write::SetUserName { id, name, display_name } => changed!(
            conn,
            "UPDATE users SET name = ?2, name_folded = ?3, display_name = ?4 WHERE id = ?1 AND directory IS NOT NULL",
            id!(id),
            name.as_str(),
            name.folded(),
            display_name.as_str(),
        ),
        Write::SetUserEnabled { id, enabled } => {
            changed!(
                conn,
                "UPDATE users SET enabled = ?2, held_why = NULL, held_since = NULL WHERE id = ?1",
                id!(id),
                i64::from(*enabled),
            )
        }
        Write::SetBypass { user, bypass } => set_bypass(conn, *user, bypass.as_ref()).await?,
        Write::UseBypass { user, at } => changed!(
            conn,
            "DELETE FROM bypasses WHERE user = ?1 AND issued_at <= ?2 AND until > ?2 \
             AND EXISTS (SELECT 1 FROM users WHERE id = ?1 AND enabled = 1)",
            id!(user),
            at.as_micros(),
        ),
        Write::SetChapSecret { user, secret } => set_chap_secret(conn, *user, secret.as_ref(), sealer).await?,
        Write::HoldUser { id, from, hold } => changed!(
            conn,
            "UPDATE users SET enabled = 0, held_why = ?3, held_since = ?4 WHERE id = ?1 AND directory IS NOT NULL \
             AND ((?2 IS NULL AND enabled = 1) OR held_why = ?2)",
            id!(id),
            from.map(HoldReason::as_str),
            hold.why.as_str(),
            hold.since.as_micros(),
        ),
        Write::ReleaseUser(id) => changed!(
            conn,
            "UPDATE users SET enabled = 1, held_why = NULL, held_since = NULL WHERE id = ?1 AND held_why IS NOT NULL",
            id!(id),
        ),
        // Devices, activations, challenges and counters go with it.
        Write::RemoveUser(id) => changed!(conn, "DELETE FROM users WHERE id = ?1", id!(id)),
        Write::AddDevice(device) => add_device(conn, device, sealer).await?,
        Write::SetDeviceState { id, from, to } => set_device_state(conn, *id, *from, *to).await?,
        Write::MarkDeviceSeen(id) => changed!(conn, "UPDATE devices SET seen = 1 WHERE id = ?1", id!(id)),
        Write::RenameDevice { id, name } => changed!(
            conn,
            "UPDATE devices SET name = ?2 WHERE id = ?1 AND state <> 'removed'",
            id!(id),
            name.as_octets(),
        ),
        Write::SetPush { id, push } => {
            let push = SealedPush::new(*id, push.as_ref(), sealer)?;
            changed!(
                conn,
                "UPDATE devices SET push_endpoint_sealed = ?2, push_p256dh = ?3, push_auth_sealed = ?4 \
                 WHERE id = ?1 AND state <> 'removed'",
                id!(id),
                push.endpoint,
                push.p256dh,
                push.auth,
            )
        }
        Write::SetPasskey { id, passkey } => changed!(
            conn,
            "UPDATE devices SET passkey_id = ?2, passkey = ?3 WHERE id = ?1 AND state = 'active'",
            id!(id),
            passkey.as_ref().map(|passkey| passkey.credential_id.as_slice()),
            passkey.as_ref().map(|passkey| passkey.credential.as_str()),
        ),
        Write::UsePasskey { id, before, after } => changed!(
            conn,
            "UPDATE devices SET passkey_id = ?4, passkey = ?5 \
             WHERE id = ?1 AND state = 'active' AND passkey_id = ?2 AND passkey = ?3",
            id!(id),
            before.credential_id.as_slice(),
            before.credential.as_str(),
            after.credential_id.as_slice(),
            after.credential.as_str(),
        ),
        Write::AddActivation(activation) => add_activation(conn, activation).await?,
        Write::CountWrongSecret(id) => changed!(
            conn,
            "UPDATE activations SET wrong_secrets = wrong_secrets + 1, \
             state = CASE WHEN wrong_secrets + 1 < ?2 THEN state ELSE ?3 END \
             WHERE id = ?1 AND state = ?4 AND wrong_secrets < ?2",
            id!(id),
            i64::from(Activation::WRONG_SECRETS),
            BURNT,
            OPEN,
        ),
        Write::RedeemActivation { id, device, at } => changed!(
            conn,
            "UPDATE activations SET state = ?2, device = ?3, redeemed_at = ?4 \
             WHERE id = ?1 AND state = ?5 AND expires_at > ?4 AND wrong_secrets < ?6",
            id!(id),
            REDEEMED,
            id!(device),
            at.as_micros(),
            OPEN,
            i64::from(Activation::WRONG_SECRETS),
        ),
        Write::AddResource { resource, client } => resources::add_resource(conn, resource, client, sealer).await?,
        Write::SetResource { resource, client } => resources::set_resource(conn, resource, client, sealer).await?,
        Write::AddBareResource(resource) => resources::add_row(conn, resource).await?,
        Write::SetBareResource(resource) => resources::set_row(conn, resource).await?,
        Write::RemoveResource(id) => resources::remove_resource(conn, *id).await?,
        Write::AddClient(client) => resources::add_client(conn, client, sealer).await?,
        Write::SetClient(client) => resources::set_client(conn, client, sealer).await?,
        Write::RemoveClient(id) => changed!(conn, "DELETE FROM radius_clients WHERE id = ?1", id!(id)),
        Write::AddUpstream(upstream) => resources::add_upstream(conn, upstream, sealer).await?,
        Write::SetUpstream(upstream) => resources::set_upstream(conn, upstream, sealer).await?,
        Write::RemoveUpstream(id) => changed!(
            conn,
            "DELETE FROM upstreams WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM resources WHERE upstream = ?1)",
            id!(id),
        ),
        Write::AddDirectory(directory) => add_directory(conn, directory, sealer).await?,
        Write::SetDirectory(directory) => set_directory(conn, directory, sealer).await?,
        Write::SetSyncState(state) => set_sync_state(conn, state).await?,
        Write::RemoveDirectory(id) => remove_directory(conn, *id).await?,
        Write::BeginEpoch { at, step } => {
            begin_epoch(conn, *at, *step).await?;
            1
        }
    };
    Ok(rows == 1)
}

/// A hot write that shares a commit with others that are not.
async fn one_hot(conn: &mut SqliteConnection, write: &Write) -> Result<bool, StoreError> {
    let write = std::slice::from_ref(write);
    let mut guards = Guards::default();
    guards.load(conn, write.iter()).await?;
    if guards.judge(write).is_err() {
        return Ok(false);
    }
    let mut pending = Pending::new();
    pending.add(conn, write).await?;
    pending.flush(conn).await?;
    Ok(true)
}

async fn add_user(conn: &mut SqliteConnection, user: &User) -> Result<u64, StoreError> {
    let (directory, entry) = match &user.origin {
        UserOrigin::Local => (None, None),
        UserOrigin::Directory { directory, entry } => {
            (Some(directory.as_uuid().as_bytes().as_slice()), Some(entry.as_str()))
        }
    };
    Ok(changed!(
        conn,
        "INSERT INTO users (id, name, name_folded, display_name, enabled, password, created_at, directory, entry, \
         held_why, held_since) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11 \
         WHERE ?8 IS NULL OR EXISTS (SELECT 1 FROM directories WHERE id = ?8) ON CONFLICT DO NOTHING",
        id!(user.id),
        user.name.as_str(),
        user.name.folded(),
        user.display_name.as_str(),
        i64::from(user.enabled),
        user.password.as_ref().map(countersign_domain::PasswordHash::as_phc),
        user.created_at.as_micros(),
        directory,
        entry,
        user.held.map(|hold| hold.why.as_str()),
        user.held.map(|hold| hold.since.as_micros()),
    ))
}

async fn set_bypass(conn: &mut SqliteConnection, user: UserId, bypass: Option<&Bypass>) -> Result<u64, StoreError> {
    changed!(conn, "DELETE FROM bypasses WHERE user = ?1", id!(user));
    let Some(bypass) = bypass else { return user_is_there(conn, user).await };
    Ok(changed!(
        conn,
        "INSERT INTO bypasses (user, until, reason, issuer, issued_at) SELECT ?1, ?2, ?3, ?4, ?5 \
         WHERE EXISTS (SELECT 1 FROM users WHERE id = ?1)",
        id!(user),
        bypass.until.as_micros(),
        bypass.reason.as_str(),
        bypass.issuer.as_str(),
        bypass.issued_at.as_micros(),
    ))
}

async fn set_chap_secret(
    conn: &mut SqliteConnection,
    user: UserId,
    secret: Option<&Secret>,
    sealer: Sealer<'_>,
) -> Result<u64, StoreError> {
    changed!(conn, "DELETE FROM chap_secrets WHERE user = ?1", id!(user));
    let Some(secret) = secret else { return user_is_there(conn, user).await };
    Ok(changed!(
        conn,
        "INSERT INTO chap_secrets (user, secret_sealed) SELECT ?1, ?2 \
         WHERE EXISTS (SELECT 1 FROM users WHERE id = ?1 AND directory IS NULL)",
        id!(user),
        sealer.seal(chap_place(&user.to_string()), secret.expose())?,
    ))
}

/// 1 if there is such a user, as a write that changes one row has it.
async fn user_is_there(conn: &mut SqliteConnection, user: UserId) -> Result<u64, StoreError> {
    Ok(changed!(conn, "UPDATE users SET enabled = enabled WHERE id = ?1", id!(user)))
}

async fn add_directory(
    conn: &mut SqliteConnection,
    directory: &Directory,
    sealer: Sealer<'_>,
) -> Result<u64, StoreError> {
    Ok(changed!(
        conn,
        "INSERT INTO directories (id, name, name_folded, settings, password_sealed, lockout_threshold, lockout_window, \
         created_at, sync) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING",
        id!(directory.id),
        directory.name.as_str(),
        directory.name.to_lowercase(),
        directory.settings.as_str(),
        sealer.seal(directory_place(&directory.id.to_string()), directory.password.expose())?,
        i64::from(directory.lockout.threshold),
        micros(directory.lockout.window)?,
        directory.created_at.as_micros(),
        json(&directory.sync)?,
    ))
}

async fn set_directory(
    conn: &mut SqliteConnection,
    directory: &Directory,
    sealer: Sealer<'_>,
) -> Result<u64, StoreError> {
    Ok(changed!(
        conn,
        "UPDATE directories SET name = ?2, name_folded = ?3, settings = ?4, password_sealed = ?5, \
         lockout_threshold = ?6, lockout_window = ?7, sync = ?8 WHERE id = ?1 \
         AND NOT EXISTS (SELECT 1 FROM directories WHERE name_folded = ?3 AND id <> ?1)",
        id!(directory.id),
        directory.name.as_str(),
        directory.name.to_lowercase(),
        directory.settings.as_str(),
        sealer.seal(directory_place(&directory.id.to_string()), directory.password.expose())?,
        i64::from(directory.lockout.threshold),
        micros(directory.lockout.window)?,
        json(&directory.sync)?,
    ))
}

async fn set_sync_state(conn: &mut SqliteConnection, state: &SyncState) -> Result<u64, StoreError> {
    Ok(changed!(
        conn,
        "INSERT INTO directory_syncs (directory, mark, whole_at, done_at, started_at, ended_at, outcome, whole, counts, \
         text) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10 WHERE EXISTS (SELECT 1 FROM directories WHERE id = ?1) \
         ON CONFLICT DO UPDATE SET mark = ?2, whole_at = ?3, done_at = ?4, started_at = ?5, ended_at = ?6, outcome = ?7, \
         whole = ?8, counts = ?9, text = ?10",
        id!(state.directory),
        state.mark.as_deref(),
        state.whole_at.map(Timestamp::as_micros),
        state.done_at.map(Timestamp::as_micros),
        state.last.started_at.as_micros(),
        state.last.ended_at.as_micros(),
        state.last.outcome.as_str(),
        i64::from(state.last.whole),
        json(&state.last.counts)?,
        state.last.text.as_deref(),
    ))
}

fn json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|fault| unavailable(&fault))
}

async fn remove_directory(conn: &mut SqliteConnection, id: DirectoryId) -> Result<u64, StoreError> {
    Ok(changed!(
        conn,
        "DELETE FROM directories WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM resources WHERE directory = ?1) \
         AND NOT EXISTS (SELECT 1 FROM users WHERE directory = ?1)",
        id!(id),
    ))
}

async fn begin_epoch(conn: &mut SqliteConnection, at: Timestamp, step: u64) -> Result<(), StoreError> {
    let step = i64::try_from(step).map_err(|fault| unavailable(&fault))?;
    changed!(
        conn,
        "UPDATE challenges SET state = ?1, closed_at = ?2 WHERE state = ?3",
        ClosingState::Cancelled.as_str(),
        at.as_micros(),
        PENDING,
    );
    changed!(conn, "UPDATE activations SET state = ?1 WHERE state = ?2", BURNT, OPEN);
    changed!(
        conn,
        "UPDATE sign_in_windows SET state = ?1, closed_at = ?2 WHERE state = 'open'",
        ClosingState::Cancelled.as_str(),
        at.as_micros(),
    );
    changed!(conn, "DELETE FROM bypasses");
    changed!(conn, "UPDATE totp_steps SET last_step = ?1 WHERE last_step < ?1", step);
    Ok(())
}

struct SealedPush<'a> {
    endpoint: Option<Vec<u8>>,
    p256dh: Option<&'a [u8]>,
    auth: Option<Vec<u8>>,
}

impl<'a> SealedPush<'a> {
    fn new(device: DeviceId, push: Option<&'a PushSubscription>, sealer: Sealer<'_>) -> Result<Self, StoreError> {
        let Some(push) = push else { return Ok(Self { endpoint: None, p256dh: None, auth: None }) };
        let row = device.to_string();
        Ok(Self {
            endpoint: Some(sealer.seal(device_place(&row, PUSH_ENDPOINT), push.endpoint.as_bytes())?),
            p256dh: Some(&push.p256dh),
            auth: Some(sealer.seal(device_place(&row, PUSH_AUTH), push.auth.expose())?),
        })
    }
}

async fn add_device(conn: &mut SqliteConnection, device: &Device, sealer: Sealer<'_>) -> Result<u64, StoreError> {
    let Ok(last_step) = i64::try_from(device.totp_last_step) else { return Ok(0) };
    if device.state != DeviceState::Active {
        return Ok(0);
    }
    let push = SealedPush::new(device.id, device.push.as_ref(), sealer)?;
    let totp = sealer.seal(device_place(&device.id.to_string(), TOTP), device.totp.secret().expose())?;
    let added = changed!(
        conn,
        "INSERT INTO devices (id, user, name, platform, key, thumbprint, state, totp_sealed, push_endpoint_sealed, \
         push_p256dh, push_auth_sealed, created_at, seen) \
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13 \
         WHERE EXISTS (SELECT 1 FROM users WHERE id = ?2) ON CONFLICT DO NOTHING",
        id!(device.id),
        id!(device.user),
        device.name.as_octets(),
        device.platform.as_octets(),
        device.key.sec1.as_slice(),
        device.key.thumbprint.as_str(),
        device.state.as_str(),
        totp,
        push.endpoint,
        push.p256dh,
        push.auth,
        device.created_at.as_micros(),
        i64::from(device.seen),
    );
    if added == 0 {
        return Ok(0);
    }
    Ok(changed!(conn, "INSERT INTO totp_steps (device, last_step) VALUES (?1, ?2)", id!(device.id), last_step))
}

async fn set_device_state(
    conn: &mut SqliteConnection,
    id: DeviceId,
    from: DeviceState,
    to: DeviceState,
) -> Result<u64, StoreError> {
    Ok(match to {
        DeviceState::Removed => changed!(
            conn,
            "UPDATE devices SET state = ?3, totp_sealed = NULL, push_endpoint_sealed = NULL, push_p256dh = NULL, \
             push_auth_sealed = NULL, passkey_id = NULL, passkey = NULL WHERE id = ?1 AND state = ?2",
            id!(id),
            from.as_str(),
            to.as_str(),
        ),
        // The seed of a removed device is gone, so there is no way back.
        DeviceState::Active | DeviceState::Suspended => changed!(
            conn,
            "UPDATE devices SET state = ?3 WHERE id = ?1 AND state = ?2 AND state <> 'removed'",
            id!(id),
            from.as_str(),
            to.as_str(),
        ),
    })
}

async fn add_activation(conn: &mut SqliteConnection, activation: &Activation) -> Result<u64, StoreError> {
    if activation.state != ActivationState::Open {
        return Ok(0);
    }
    changed!(
        conn,
        "UPDATE activations SET state = ?2 WHERE user = ?1 AND state = ?3",
        id!(activation.user),
        BURNT,
        OPEN,
    );
    Ok(changed!(
        conn,
        "INSERT INTO activations (id, user, handle, secret_hash, token_hash, issuer, issued_at, expires_at, \
         wrong_secrets, state) SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10 \
         WHERE EXISTS (SELECT 1 FROM users WHERE id = ?2) AND NOT EXISTS (SELECT 1 FROM activations \
         WHERE handle = ?3 AND state = ?10 AND expires_at > ?7 AND wrong_secrets < ?11) ON CONFLICT DO NOTHING",
        id!(activation.id),
        id!(activation.user),
        activation.handle.as_str(),
        activation.secret_hash.as_slice(),
        activation.token_hash.as_slice(),
        activation.issuer.as_str(),
        activation.issued_at.as_micros(),
        activation.expires_at.as_micros(),
        i64::from(activation.wrong_secrets),
        OPEN,
        i64::from(Activation::WRONG_SECRETS),
    ))
}

pub(crate) fn micros(span: core::time::Duration) -> Result<i64, StoreError> {
    i64::try_from(span.as_micros()).map_err(|fault| unavailable(&fault))
}
