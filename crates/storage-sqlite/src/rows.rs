//! From rows to the domain's types. What makes no sense is an error, never a default.

use countersign_domain::{
    Activation, ActivationId, ActivationState, AuditHash, AuditRecord, Bypass, Challenge, ChallengeId, ChallengeState,
    ClientId, Closing, ClosingState, Decision, DecisionRecord, Device, DeviceId, DevicePublicKey, DeviceState,
    Directory, DirectoryId, EntryId, Hold, HoldReason, HostileText, LimitScope, Lockout, LoginId, LoginName,
    MatchAttribute, MatchRule, Network, NumberMode, Passkey, PasswordHash, PreviousSecret, Primary, PushSubscription,
    RadiusClient, Resource, ResourceId, ResourceKind, Retries, ScopedLimits, Secret, SyncOutcome, SyncRun, SyncState,
    Timestamp, TlsPeer, TotpSeed, Upstream, UpstreamId, UpstreamServer, User, UserId, UserOrigin, UserVerification,
    UserVerificationReached,
};
use countersign_storage::{Place, StoreError, Vault};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Row as _, Sqlite, Type};
use uuid::Uuid;

/// Words of [`ChallengeState::Pending`] and [`ActivationState`]; the other enums bring their own.
pub(crate) const PENDING: &str = "pending";

/// The columns of a row, read from left to right.
pub(crate) struct Fields<'r> {
    row: &'r SqliteRow,
    at: usize,
    table: &'static str,
}

impl<'r> Fields<'r> {
    pub(crate) const fn new(row: &'r SqliteRow, table: &'static str) -> Self {
        Self { row, at: 0, table }
    }

    /// Goes on with the columns of another table.
    pub(crate) const fn of(self, table: &'static str) -> Self {
        Self { table, ..self }
    }

    pub(crate) fn next<T: Decode<'r, Sqlite> + Type<Sqlite>>(&mut self) -> Result<T, StoreError> {
        let at = self.at;
        self.at += 1;
        self.row.try_get(at).map_err(|fault| self.fault(format!("column {at}: {fault}")))
    }

    fn fault(&self, fault: impl Into<String>) -> StoreError {
        StoreError::Inconsistent { table: self.table, fault: fault.into() }
    }

    fn checked<T>(&self, value: Option<T>, what: &str) -> Result<T, StoreError> {
        value.ok_or_else(|| self.fault(format!("column {} holds no {what}", self.at.saturating_sub(1))))
    }

    fn octets<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let octets: &[u8] = self.next()?;
        let exact = octets.try_into().ok();
        self.checked(exact, "value of the right length")
    }

    pub(crate) fn uuid(&mut self) -> Result<Uuid, StoreError> {
        self.octets().map(Uuid::from_bytes)
    }

    fn maybe_uuid(&mut self) -> Result<Option<Uuid>, StoreError> {
        let octets: Option<&[u8]> = self.next()?;
        let Some(octets) = octets else { return Ok(None) };
        let uuid = Uuid::from_slice(octets).ok();
        self.checked(uuid, "identifier").map(Some)
    }

    pub(crate) fn challenge_id(&mut self) -> Result<ChallengeId, StoreError> {
        self.octets().map(ChallengeId::from_octets)
    }

    pub(crate) fn time(&mut self) -> Result<Timestamp, StoreError> {
        self.next().map(Timestamp::from_micros)
    }

    pub(crate) fn unsigned(&mut self) -> Result<u64, StoreError> {
        let number: i64 = self.next()?;
        self.checked(u64::try_from(number).ok(), "number from 0 up")
    }

    fn flag(&mut self) -> Result<bool, StoreError> {
        match self.next::<i64>()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => self.checked(None, "0 or 1"),
        }
    }

    pub(crate) fn word<T>(&mut self, meaning: impl FnOnce(&str) -> Option<T>) -> Result<T, StoreError> {
        let word: &str = self.next()?;
        self.checked(meaning(word), "known word")
    }

    fn maybe_word<T>(&mut self, meaning: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, StoreError> {
        let Some(word) = self.next::<Option<&str>>()? else { return Ok(None) };
        self.checked(meaning(word), "known word").map(Some)
    }

    fn json<T: serde::de::DeserializeOwned>(&mut self, column: &str) -> Result<T, StoreError> {
        let text: &str = self.next()?;
        serde_json::from_str(text).map_err(|fault| self.fault(format!("{column}: {fault}")))
    }

    fn hostile(&mut self) -> Result<HostileText, StoreError> {
        self.next().map(HostileText::new)
    }
}

macro_rules! user_columns {
    () => {
        "u.id, u.name, u.display_name, u.enabled, u.password, u.created_at, u.directory, u.entry, u.held_why, u.held_since"
    };
}

macro_rules! device_columns {
    () => {
        "d.id, d.user, d.name, d.platform, d.key, d.thumbprint, d.state, d.totp_sealed, t.last_step, \
         d.push_endpoint_sealed, d.push_p256dh, d.push_auth_sealed, d.created_at, d.seen, d.passkey_id, \
         d.passkey"
    };
}

macro_rules! challenge_columns {
    () => {
        "id, login, user, resource, nonce, context, number_mode, user_verification, devices, created_at, expires_at, \
         reported_at IS NOT NULL, state, closed_at, decision"
    };
}

macro_rules! activation_columns {
    () => {
        "id, user, handle, secret_hash, token_hash, issuer, issued_at, expires_at, wrong_secrets, state, device, \
         redeemed_at"
    };
}

macro_rules! audit_columns {
    () => {
        "seq, time, event, login, user_id, user_typed, actor, resource, client, door, source, source_trust, factor, \
         device, number_mode, result, reason, binding, detail, prev, hash"
    };
}

/// So many columns that hold nothing, so that rows of several tables have the same number.
macro_rules! nulls {
    (6) => {
        ", NULL, NULL, NULL, NULL, NULL, NULL"
    };
    (11) => {
        concat!(nulls!(6), ", NULL, NULL, NULL, NULL, NULL")
    };
    (12) => {
        concat!(nulls!(6), nulls!(6))
    };
    (14) => {
        concat!(nulls!(12), ", NULL, NULL")
    };
}

/// All that logins have to know of the users in `p`, the kind of row first. One statement sees one state of the database, and
/// costs one way to its thread and back. Only `CROSS JOIN` keeps SQLite from going through all devices.
macro_rules! snapshots_of_p {
    () => {
        concat!(
            "SELECT 0, ",
            user_columns!(),
            nulls!(6),
            " FROM p CROSS JOIN users u ON u.id = p.id UNION ALL SELECT 1, ",
            device_columns!(),
            " FROM p CROSS JOIN devices d ON d.user = p.id CROSS JOIN totp_steps t ON t.device = d.id \
             WHERE d.state <> 'removed' UNION ALL SELECT 2, l.user, l.resource, l.version, l.state",
            nulls!(12),
            " FROM p CROSS JOIN limits l ON l.user = p.id UNION ALL SELECT 3, b.user, b.until, b.reason, b.issuer, \
             b.issued_at",
            nulls!(11),
            " FROM p CROSS JOIN bypasses b ON b.user = p.id UNION ALL SELECT 4, c.user, c.secret_sealed",
            nulls!(14),
            " FROM p CROSS JOIN chap_secrets c ON c.user = p.id"
        )
    };
}

pub(crate) use {
    activation_columns, audit_columns, challenge_columns, device_columns, nulls, snapshots_of_p, user_columns,
};

pub(crate) fn user(fields: &mut Fields<'_>) -> Result<User, StoreError> {
    Ok(User {
        id: UserId::from_uuid(fields.uuid()?),
        name: fields.word(|text| LoginName::new(text).ok())?,
        display_name: fields.next()?,
        enabled: fields.flag()?,
        password: fields.next::<Option<String>>()?.map(PasswordHash::from_phc),
        created_at: fields.time()?,
        origin: {
            let directory = fields.maybe_uuid()?.map(DirectoryId::from_uuid);
            match (directory, fields.next::<Option<String>>()?) {
                (None, None) => UserOrigin::Local,
                (Some(directory), Some(entry)) => UserOrigin::Directory { directory, entry: EntryId::from_text(entry) },
                _ => return Err(fields.fault("a user comes from nowhere")),
            }
        },
        held: match (fields.maybe_word(HoldReason::from_word)?, fields.next::<Option<i64>>()?) {
            (None, None) => None,
            (Some(why), Some(since)) => Some(Hold { why, since: Timestamp::from_micros(since) }),
            _ => return Err(fields.fault("a hold is not whole")),
        },
    })
}

pub(crate) const DIRECTORY_PASSWORD: &str = "password_sealed";

/// Where the sealed password of a directory stands.
pub(crate) fn directory_place(id: &str) -> Place<'_> {
    Place { table: "directories", row: id, column: DIRECTORY_PASSWORD }
}

pub(crate) fn directory(fields: &mut Fields<'_>, vault: &Vault) -> Result<Directory, StoreError> {
    let id = DirectoryId::from_uuid(fields.uuid()?);
    Ok(Directory {
        id,
        name: fields.next()?,
        settings: fields.next()?,
        password: vault.open(directory_place(&id.to_string()), fields.next()?)?,
        lockout: Lockout {
            threshold: {
                let threshold = fields.unsigned()?;
                fields.checked(u8::try_from(threshold).ok(), "small number")?
            },
            window: core::time::Duration::from_micros(fields.unsigned()?),
        },
        created_at: fields.time()?,
        sync: fields.json("sync")?,
    })
}

pub(crate) fn sync_state(fields: &mut Fields<'_>) -> Result<SyncState, StoreError> {
    let time = |micros: Option<i64>| micros.map(Timestamp::from_micros);
    Ok(SyncState {
        directory: DirectoryId::from_uuid(fields.uuid()?),
        mark: fields.next()?,
        whole_at: time(fields.next()?),
        done_at: time(fields.next()?),
        last: SyncRun {
            started_at: fields.time()?,
            ended_at: fields.time()?,
            outcome: fields.word(SyncOutcome::from_word)?,
            whole: fields.flag()?,
            counts: fields.json("counts")?,
            text: fields.next()?,
        },
    })
}

/// Where the sealed secret of a client stands.
pub(crate) fn client_place(id: &str) -> Place<'_> {
    Place { table: "radius_clients", row: id, column: "secret_sealed" }
}

/// Where the sealed secret stands that a client had before.
pub(crate) fn previous_client_place(id: &str) -> Place<'_> {
    Place { table: "radius_clients", row: id, column: "previous_sealed" }
}

/// Where the sealed secret of an upstream's server stands; `row` is the upstream's identifier and the server's place.
pub(crate) fn upstream_place(row: &str) -> Place<'_> {
    Place { table: "upstream_servers", row, column: "secret_sealed" }
}

/// Where the sealed password of a user who has CHAP stands.
pub(crate) fn chap_place(user: &str) -> Place<'_> {
    Place { table: "chap_secrets", row: user, column: "secret_sealed" }
}

/// Where the sealed values of a device stand.
pub(crate) fn device_place<'a>(id: &'a str, column: &'static str) -> Place<'a> {
    Place { table: "devices", row: id, column }
}

pub(crate) const TOTP: &str = "totp_sealed";
pub(crate) const PUSH_ENDPOINT: &str = "push_endpoint_sealed";
pub(crate) const PUSH_AUTH: &str = "push_auth_sealed";

pub(crate) fn device(fields: &mut Fields<'_>, vault: &Vault) -> Result<Device, StoreError> {
    let id = DeviceId::from_uuid(fields.uuid()?);
    let row = id.to_string();
    let user = UserId::from_uuid(fields.uuid()?);
    let name = fields.hostile()?;
    let platform = fields.hostile()?;
    let key = DevicePublicKey { sec1: fields.octets()?, thumbprint: fields.next()? };
    let state = fields.word(DeviceState::from_word)?;
    let totp = match fields.next::<Option<&[u8]>>()? {
        Some(sealed) => vault.open(device_place(&row, TOTP), sealed)?,
        None if state == DeviceState::Removed => Secret::new(Vec::new()),
        None => return Err(fields.fault("a device that was not removed has no seed")),
    };
    let totp_last_step = fields.unsigned()?;
    let endpoint: Option<&[u8]> = fields.next()?;
    let p256dh: Option<Vec<u8>> = fields.next()?;
    let auth: Option<&[u8]> = fields.next()?;
    let push = match (endpoint, p256dh, auth) {
        (None, None, None) => None,
        (Some(endpoint), Some(p256dh), Some(auth)) => {
            let endpoint = vault.open(device_place(&row, PUSH_ENDPOINT), endpoint)?;
            let Ok(endpoint) = String::from_utf8(endpoint.expose().to_vec()) else {
                return Err(fields.fault("a push endpoint is not UTF-8"));
            };
            Some(PushSubscription { endpoint, p256dh, auth: vault.open(device_place(&row, PUSH_AUTH), auth)? })
        }
        _ => return Err(fields.fault("a push subscription is not whole")),
    };
    Ok(Device {
        id,
        user,
        name,
        platform,
        key,
        state,
        totp: TotpSeed::from_secret(totp),
        totp_last_step,
        push,
        created_at: fields.time()?,
        seen: fields.flag()?,
        passkey: match (fields.next::<Option<Vec<u8>>>()?, fields.next::<Option<String>>()?) {
            (None, None) => None,
            (Some(credential_id), Some(credential)) => Some(Passkey { credential_id, credential }),
            _ => return Err(fields.fault("a passkey is not whole")),
        },
    })
}

pub(crate) fn scope(fields: &mut Fields<'_>) -> Result<LimitScope, StoreError> {
    let user = UserId::from_uuid(fields.uuid()?);
    let resource: &[u8] = fields.next()?;
    if resource.is_empty() {
        return Ok(LimitScope::User(user));
    }
    let resource = Uuid::from_slice(resource).ok();
    Ok(LimitScope::UserAt(user, ResourceId::from_uuid(fields.checked(resource, "identifier")?)))
}

pub(crate) fn limits(fields: &mut Fields<'_>) -> Result<ScopedLimits, StoreError> {
    let scope = scope(fields)?;
    let version = fields.unsigned()?;
    let state: &str = fields.next()?;
    let limits = serde_json::from_str(state).map_err(|fault| fields.fault(format!("state: {fault}")))?;
    Ok(ScopedLimits { scope, version, limits })
}

/// A [`DecisionRecord`] as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredDecision {
    device: DeviceId,
    decision: Decision,
    number: String,
    user_verification: UserVerificationReached,
    device_time: String,
}

impl From<&DecisionRecord> for StoredDecision {
    fn from(record: &DecisionRecord) -> Self {
        Self {
            device: record.device,
            decision: record.decision,
            number: record.number.clone(),
            user_verification: record.user_verification,
            device_time: record.device_time.clone(),
        }
    }
}

impl From<StoredDecision> for DecisionRecord {
    fn from(stored: StoredDecision) -> Self {
        Self {
            device: stored.device,
            decision: stored.decision,
            number: stored.number,
            user_verification: stored.user_verification,
            device_time: stored.device_time,
        }
    }
}

pub(crate) fn challenge(fields: &mut Fields<'_>) -> Result<Challenge, StoreError> {
    Ok(Challenge {
        id: fields.challenge_id()?,
        login: LoginId::from_uuid(fields.uuid()?),
        user: UserId::from_uuid(fields.uuid()?),
        resource: ResourceId::from_uuid(fields.uuid()?),
        nonce: fields.octets()?,
        context: fields.next()?,
        number_mode: fields.word(NumberMode::from_text)?,
        user_verification: fields.word(UserVerification::from_text)?,
        devices: {
            let octets: &[u8] = fields.next()?;
            let (ids, rest) = octets.as_chunks::<16>();
            fields.checked(rest.is_empty().then_some(()), "list of identifiers")?;
            ids.iter().map(|id| DeviceId::from_uuid(Uuid::from_bytes(*id))).collect()
        },
        created_at: fields.time()?,
        expires_at: fields.time()?,
        reported: fields.flag()?,
        state: {
            let state: &str = fields.next()?;
            if state == PENDING {
                ChallengeState::Pending
            } else {
                let state = fields.checked(ClosingState::from_text(state), "known word")?;
                let at = fields.time()?;
                let decision = match fields.next::<Option<&str>>()? {
                    None => None,
                    Some(text) => Some(
                        serde_json::from_str::<StoredDecision>(text)
                            .map_err(|fault| fields.fault(format!("decision: {fault}")))?
                            .into(),
                    ),
                };
                ChallengeState::Closed(Closing { state, at, decision })
            }
        },
    })
}

pub(crate) const OPEN: &str = "open";
pub(crate) const REDEEMED: &str = "redeemed";
pub(crate) const BURNT: &str = "burnt";

pub(crate) fn activation(fields: &mut Fields<'_>) -> Result<Activation, StoreError> {
    Ok(Activation {
        id: ActivationId::from_uuid(fields.uuid()?),
        user: UserId::from_uuid(fields.uuid()?),
        handle: fields.next()?,
        secret_hash: fields.octets()?,
        token_hash: fields.octets()?,
        issuer: fields.next()?,
        issued_at: fields.time()?,
        expires_at: fields.time()?,
        wrong_secrets: {
            let count = fields.unsigned()?;
            fields.checked(u8::try_from(count).ok(), "small number")?
        },
        state: {
            let state: &str = fields.next()?;
            let device = fields.maybe_uuid()?.map(DeviceId::from_uuid);
            let at = fields.next::<Option<i64>>()?.map(Timestamp::from_micros);
            match (state, device, at) {
                (OPEN, None, None) => ActivationState::Open,
                (BURNT, None, None) => ActivationState::Burnt,
                (REDEEMED, Some(device), Some(at)) => ActivationState::Redeemed { device, at },
                _ => return Err(fields.fault("an activation is in no state")),
            }
        },
    })
}

pub(crate) fn resource(fields: &mut Fields<'_>) -> Result<Resource, StoreError> {
    Ok(Resource {
        id: ResourceId::from_uuid(fields.uuid()?),
        name: fields.next()?,
        kind: fields.word(ResourceKind::from_word)?,
        primary: fields.word(Primary::from_word)?,
        retries: fields.word(Retries::from_word)?,
        answer_by: core::time::Duration::from_micros(fields.unsigned()?),
        created_at: fields.time()?,
        directory: fields.maybe_uuid()?.map(DirectoryId::from_uuid),
        allow_groups: fields.json("allow_groups")?,
        upstream: fields.maybe_uuid()?.map(UpstreamId::from_uuid),
        policy: fields.json("policy")?,
    })
}

/// A rule and the client that it belongs to.
pub(crate) fn match_rule(fields: &mut Fields<'_>) -> Result<(ClientId, MatchRule), StoreError> {
    let client = ClientId::from_uuid(fields.uuid()?);
    let attribute = fields.word(MatchAttribute::from_name)?;
    let value = fields.next()?;
    Ok((client, MatchRule { attribute, value, resource: ResourceId::from_uuid(fields.uuid()?) }))
}

/// An upstream without its servers.
pub(crate) fn upstream(fields: &mut Fields<'_>) -> Result<Upstream, StoreError> {
    Ok(Upstream {
        id: UpstreamId::from_uuid(fields.uuid()?),
        name: fields.next()?,
        created_at: fields.time()?,
        servers: Vec::new(),
        accounting: Vec::new(),
    })
}

/// A server, the upstream that it belongs to, and whether it keeps accounting.
pub(crate) fn upstream_server(
    fields: &mut Fields<'_>,
    vault: &Vault,
) -> Result<(UpstreamId, UpstreamServer, bool), StoreError> {
    let upstream = UpstreamId::from_uuid(fields.uuid()?);
    let place: i64 = fields.next()?;
    let address = fields.word(|text| text.parse().ok())?;
    let sealed: &[u8] = fields.next()?;
    let secret = vault.open(upstream_place(&format!("{upstream}/{place}")), sealed)?;
    let tls = fields.maybe_word(|text| text.parse().ok())?;
    Ok((upstream, UpstreamServer { address, secret, tls }, fields.flag()?))
}

pub(crate) fn bypass(fields: &mut Fields<'_>) -> Result<(UserId, Bypass), StoreError> {
    let user = UserId::from_uuid(fields.uuid()?);
    let (until, reason, issuer, issued_at) = (fields.time()?, fields.next()?, fields.next()?, fields.time()?);
    Ok((user, Bypass { until, reason, issuer, issued_at }))
}

pub(crate) fn chap_secret(fields: &mut Fields<'_>, vault: &Vault) -> Result<(UserId, Secret), StoreError> {
    let user = UserId::from_uuid(fields.uuid()?);
    let sealed: &[u8] = fields.next()?;
    Ok((user, vault.open(chap_place(&user.to_string()), sealed)?))
}

pub(crate) fn radius_client(fields: &mut Fields<'_>, vault: &Vault) -> Result<RadiusClient, StoreError> {
    let id = ClientId::from_uuid(fields.uuid()?);
    let resource = ResourceId::from_uuid(fields.uuid()?);
    let networks: Vec<Network> = fields.json("networks")?;
    let sealed: &[u8] = fields.next()?;
    let secret = vault.open(client_place(&id.to_string()), sealed)?;
    let (require_message_authenticator, name) = (fields.flag()?, fields.next()?);
    let (networks, tls) = match fields.maybe_word(|text| text.parse().ok())? {
        None => (networks, None),
        Some(identity) => (Vec::new(), Some(TlsPeer { identity, networks })),
    };
    let (sealed, until): (Option<&[u8]>, Option<i64>) = (fields.next()?, fields.next()?);
    let previous = match sealed.zip(until) {
        Some((sealed, until)) => {
            let secret = vault.open(previous_client_place(&id.to_string()), sealed)?;
            Some(PreviousSecret { secret, until: Timestamp::from_micros(until) })
        }
        None => None,
    };
    Ok(RadiusClient {
        id,
        resource,
        networks,
        secret,
        previous,
        tls,
        require_message_authenticator,
        name,
        // They are in a table of their own.
        rules: Vec::new(),
    })
}

pub(crate) fn audit_record(fields: &mut Fields<'_>) -> Result<AuditRecord, StoreError> {
    Ok(AuditRecord {
        seq: fields.next()?,
        time: fields.next()?,
        event: fields.next()?,
        login: fields.next()?,
        user_id: fields.next()?,
        user_typed: fields.next()?,
        actor: fields.next()?,
        resource: fields.next()?,
        client: fields.next()?,
        door: fields.next()?,
        source: fields.next()?,
        source_trust: fields.next()?,
        factor: fields.next()?,
        device: fields.next()?,
        number_mode: fields.next()?,
        result: fields.next()?,
        reason: fields.next()?,
        binding: fields.next()?,
        detail: fields.next()?,
        prev: audit_hash(fields)?,
        hash: audit_hash(fields)?,
    })
}

pub(crate) fn audit_hash(fields: &mut Fields<'_>) -> Result<AuditHash, StoreError> {
    fields.octets().map(AuditHash)
}
