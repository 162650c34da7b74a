//! The writes of logins, in bulk: what a batch of commits needs to know is read with one statement per table, each
//! commit is judged in its order against that, and what holds is written with one statement per table.
//!
//! A statement takes its rows as one JSON text through `json_each`: identifiers and octets in hexadecimal. Each repeats
//! the condition that the judgement rests on, and the number of rows that it changes must be the number that was judged
//! to hold: anything else undoes the whole batch.

use std::collections::{HashMap, HashSet};

use countersign_domain::{
    AuditRecord, Challenge, ChallengeId, ChallengeState, Closing, ClosingState, DeviceId, LimitScope, Limits, LoginId,
    UserId, Write,
};
use countersign_storage::StoreError;
use data_encoding::HEXLOWER;
use serde::{Serialize, Serializer};
use sqlx::SqliteConnection;

use crate::error::{inconsistent, unavailable};
use crate::rows::{Fields, PENDING, StoredDecision, scope};

/// Octets as hexadecimal text.
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut short = [0; 128];
        match short.get_mut(..self.0.len().saturating_mul(2)) {
            Some(out) => {
                HEXLOWER.encode_mut(self.0, out);
                serializer.serialize_str(core::str::from_utf8(out).unwrap_or_default())
            }
            None => serializer.serialize_str(&HEXLOWER.encode(self.0)),
        }
    }
}

/// Rows for one statement: a JSON array that grows.
#[derive(Default)]
struct Rows {
    json: Vec<u8>,
    count: u64,
}

impl Rows {
    fn push(&mut self, row: &impl Serialize) -> Result<(), StoreError> {
        self.json.push(if self.count == 0 { b'[' } else { b',' });
        serde_json::to_writer(&mut self.json, row).map_err(|fault| unavailable(&fault))?;
        self.count += 1;
        Ok(())
    }

    /// Runs `sql` over the rows, which end with it, and requires that it changes as many rows of `table`.
    async fn write(
        &mut self,
        conn: &mut SqliteConnection,
        table: &'static str,
        sql: &'static str,
    ) -> Result<(), StoreError> {
        let Some(json) = self.text()? else { return Ok(()) };
        let wanted = std::mem::take(&mut self.count);
        let changed = sqlx::query(sql).bind(json).execute(conn).await.map_err(|fault| unavailable(&fault))?.rows_affected();
        if changed == wanted {
            Ok(())
        } else {
            Err(inconsistent(table, format!("a write changed {changed} rows where {wanted} were judged to hold")))
        }
    }

    /// Runs `sql` over the rows, which end with it, and returns what it finds.
    async fn read(
        &mut self,
        conn: &mut SqliteConnection,
        sql: &'static str,
    ) -> Result<Vec<sqlx::sqlite::SqliteRow>, StoreError> {
        let Some(json) = self.text()? else { return Ok(Vec::new()) };
        self.count = 0;
        sqlx::query(sql).bind(json).fetch_all(conn).await.map_err(|fault| unavailable(&fault))
    }

    fn text(&mut self) -> Result<Option<String>, StoreError> {
        if self.count == 0 {
            return Ok(None);
        }
        self.json.push(b']');
        String::from_utf8(std::mem::take(&mut self.json)).map(Some).map_err(|fault| unavailable(&fault))
    }
}

/// A row that a write changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Target {
    Challenge(ChallengeId),
    Limits(LimitScope),
    Step(DeviceId),
}

/// The row that a hot write changes; `None` for all others.
fn target(write: &Write) -> Option<Target> {
    match write {
        Write::OpenChallenge(challenge) => Some(Target::Challenge(challenge.id)),
        Write::CloseChallenge { id, .. } | Write::ReassignChallenge { id, .. } => Some(Target::Challenge(*id)),
        Write::SetLimits { scope, .. } => Some(Target::Limits(*scope)),
        Write::BurnTotpStep { device, .. } => Some(Target::Step(*device)),
        _ => None,
    }
}

/// Whether a commit has hot writes only, and not two for one row.
pub(crate) fn is_hot(writes: &[Write]) -> bool {
    match writes {
        [] => true,
        [one] => target(one).is_some(),
        many => {
            let mut seen = HashSet::with_capacity(many.len());
            many.iter().all(|write| target(write).is_some_and(|target| seen.insert(target)))
        }
    }
}

struct ChallengeGuard {
    login: LoginId,
    expires_at: i64,
    pending: bool,
}

/// What the conditions of a batch rest on, kept up as its commits are judged.
#[derive(Default)]
pub(crate) struct Guards {
    challenges: HashMap<ChallengeId, ChallengeGuard>,
    /// Absent: version 0.
    limits: HashMap<LimitScope, u64>,
    /// Last steps of active devices.
    steps: HashMap<DeviceId, u64>,
    users: HashSet<UserId>,
}

impl Guards {
    /// Reads what `writes` need.
    pub(crate) async fn load(
        conn: &mut SqliteConnection,
        writes: impl Iterator<Item = &Write>,
    ) -> Result<Self, StoreError> {
        let mut guards = Self::default();
        let (mut challenges, mut limits, mut steps, mut users) =
            (Rows::default(), Rows::default(), Rows::default(), Rows::default());
        for write in writes {
            match write {
                Write::OpenChallenge(challenge) => {
                    challenges.push(&Hex(challenge.id.as_octets()))?;
                    users.push(&Hex(challenge.user.as_uuid().as_bytes()))?;
                }
                Write::CloseChallenge { id, .. } | Write::ReassignChallenge { id, .. } => {
                    challenges.push(&Hex(id.as_octets()))?;
                }
                Write::SetLimits { scope, .. } => {
                    limits.push(&ScopeRow::from(scope))?;
                    users.push(&Hex(scope.user().as_uuid().as_bytes()))?;
                }
                Write::BurnTotpStep { device, .. } => steps.push(&Hex(device.as_uuid().as_bytes()))?,
                _ => {}
            }
        }
        let found = challenges.read(
            conn,
            "SELECT c.id, c.login, c.expires_at, c.state FROM json_each(?1) j \
             CROSS JOIN challenges c ON c.id = unhex(j.value)",
        );
        for row in found.await? {
            let mut fields = Fields::new(&row, "challenges");
            let id = fields.challenge_id()?;
            let login = LoginId::from_uuid(fields.uuid()?);
            let expires_at = fields.next()?;
            let pending = fields.next::<&str>()? == PENDING;
            guards.challenges.insert(id, ChallengeGuard { login, expires_at, pending });
        }
        let found = limits.read(
            conn,
            "SELECT l.user, l.resource, l.version FROM json_each(?1) j \
             CROSS JOIN limits l ON l.user = unhex(j.value ->> 0) AND l.resource = unhex(j.value ->> 1)",
        );
        for row in found.await? {
            let mut fields = Fields::new(&row, "limits");
            guards.limits.insert(scope(&mut fields)?, fields.unsigned()?);
        }
        let found = steps.read(
            conn,
            "SELECT t.device, t.last_step FROM json_each(?1) j CROSS JOIN totp_steps t ON t.device = unhex(j.value) \
             CROSS JOIN devices d ON d.id = t.device AND d.state = 'active'",
        );
        for row in found.await? {
            let mut fields = Fields::new(&row, "totp_steps");
            guards.steps.insert(DeviceId::from_uuid(fields.uuid()?), fields.unsigned()?);
        }
        let found =
            users.read(conn, "SELECT u.id FROM json_each(?1) j CROSS JOIN users u ON u.id = unhex(j.value)");
        for row in found.await? {
            guards.users.insert(UserId::from_uuid(Fields::new(&row, "users").uuid()?));
        }
        Ok(guards)
    }

    /// Judges a commit whose writes are hot: all conditions hold, and later commits are judged after it; or the place of
    /// the first write whose condition does not hold.
    pub(crate) fn judge(&mut self, writes: &[Write]) -> Result<(), usize> {
        if let Some(place) = writes.iter().position(|write| !self.holds(write)) {
            return Err(place);
        }
        for write in writes {
            self.apply(write);
        }
        Ok(())
    }

    fn holds(&self, write: &Write) -> bool {
        let pending = |id| self.challenges.get(id).filter(|guard| guard.pending);
        match write {
            Write::OpenChallenge(challenge) => {
                !self.challenges.contains_key(&challenge.id)
                    && self.users.contains(&challenge.user)
                    && challenge.state == ChallengeState::Pending
            }
            Write::CloseChallenge { id, closing } => pending(id).is_some_and(|guard| {
                closing.state != ClosingState::Approved || guard.expires_at > closing.at.as_micros()
            }),
            Write::ReassignChallenge { id, from, .. } => pending(id).is_some_and(|guard| guard.login == *from),
            Write::SetLimits { scope, expected, .. } => {
                self.users.contains(&scope.user())
                    && self.limits.get(scope).copied().unwrap_or(0) == *expected
                    && i64::try_from(expected.saturating_add(1)).is_ok()
            }
            Write::BurnTotpStep { device, step } => {
                self.steps.get(device).is_some_and(|last| last < step) && i64::try_from(*step).is_ok()
            }
            _ => false,
        }
    }

    fn apply(&mut self, write: &Write) {
        match write {
            Write::OpenChallenge(challenge) => {
                let guard = ChallengeGuard {
                    login: challenge.login,
                    expires_at: challenge.expires_at.as_micros(),
                    pending: true,
                };
                self.challenges.insert(challenge.id, guard);
            }
            Write::CloseChallenge { id, .. } => {
                if let Some(guard) = self.challenges.get_mut(id) {
                    guard.pending = false;
                }
            }
            Write::ReassignChallenge { id, to, .. } => {
                if let Some(guard) = self.challenges.get_mut(id) {
                    guard.login = *to;
                }
            }
            Write::SetLimits { scope, expected, .. } => {
                self.limits.insert(*scope, expected.saturating_add(1));
            }
            Write::BurnTotpStep { device, step } => {
                self.steps.insert(*device, *step);
            }
            _ => {}
        }
    }
}

#[derive(Serialize)]
struct ScopeRow<'a>(Hex<'a>, Hex<'a>);

impl<'a> From<&'a LimitScope> for ScopeRow<'a> {
    fn from(scope: &'a LimitScope) -> Self {
        match scope {
            LimitScope::User(user) => Self(Hex(user.as_uuid().as_bytes()), Hex(&[])),
            LimitScope::UserAt(user, resource) => {
                Self(Hex(user.as_uuid().as_bytes()), Hex(resource.as_uuid().as_bytes()))
            }
        }
    }
}

#[derive(Serialize)]
struct OpenRow<'a>(
    Hex<'a>,
    Hex<'a>,
    Hex<'a>,
    Hex<'a>,
    Hex<'a>,
    Hex<'a>,
    &'static str,
    &'static str,
    Hex<'a>,
    i64,
    i64,
);

/// Hot writes that hold and wait for their statements.
#[derive(Default)]
pub(crate) struct Pending {
    targets: HashSet<Target>,
    opens: Rows,
    closes: Rows,
    reassigns: Rows,
    limits: Rows,
    steps: Rows,
}

impl Pending {
    /// Adds the writes of a commit that holds. Statements do not keep the order of commits, so before a row is changed
    /// a second time the first change is written.
    pub(crate) async fn add(&mut self, conn: &mut SqliteConnection, writes: &[Write]) -> Result<(), StoreError> {
        if writes.iter().filter_map(target).any(|target| self.targets.contains(&target)) {
            self.flush(conn).await?;
        }
        for write in writes {
            self.targets.extend(target(write));
            match write {
                Write::OpenChallenge(challenge) => self.open(challenge)?,
                Write::CloseChallenge { id, closing } => self.close(id, closing)?,
                Write::ReassignChallenge { id, from, to } => self.reassigns.push(&(
                    Hex(id.as_octets()),
                    Hex(from.as_uuid().as_bytes()),
                    Hex(to.as_uuid().as_bytes()),
                ))?,
                Write::SetLimits { scope, expected, limits } => self.set_limits(scope, *expected, limits)?,
                Write::BurnTotpStep { device, step } => {
                    self.steps.push(&(Hex(device.as_uuid().as_bytes()), step))?;
                }
                _ => return Err(unavailable(&"a write is not of the kind that is made in bulk")),
            }
        }
        Ok(())
    }

    fn open(&mut self, challenge: &Challenge) -> Result<(), StoreError> {
        let devices: Vec<u8> = challenge.devices.iter().flat_map(|id| *id.as_uuid().as_bytes()).collect();
        self.opens.push(&OpenRow(
            Hex(challenge.id.as_octets()),
            Hex(challenge.login.as_uuid().as_bytes()),
            Hex(challenge.user.as_uuid().as_bytes()),
            Hex(challenge.resource.as_uuid().as_bytes()),
            Hex(&challenge.nonce),
            Hex(&challenge.context),
            challenge.number_mode.as_str(),
            challenge.user_verification.as_str(),
            Hex(&devices),
            challenge.created_at.as_micros(),
            challenge.expires_at.as_micros(),
        ))
    }

    fn close(&mut self, id: &ChallengeId, closing: &Closing) -> Result<(), StoreError> {
        let decision = closing
            .decision
            .as_ref()
            .map(|decision| serde_json::to_string(&StoredDecision::from(decision)))
            .transpose()
            .map_err(|fault| unavailable(&fault))?;
        self.closes.push(&(Hex(id.as_octets()), closing.state.as_str(), closing.at.as_micros(), decision))
    }

    fn set_limits(&mut self, scope: &LimitScope, expected: u64, limits: &Limits) -> Result<(), StoreError> {
        let state = serde_json::to_string(limits).map_err(|fault| unavailable(&fault))?;
        self.limits.push(&(ScopeRow::from(scope), expected.saturating_add(1), state))
    }

    /// Writes all that wait.
    pub(crate) async fn flush(&mut self, conn: &mut SqliteConnection) -> Result<(), StoreError> {
        self.targets.clear();
        self.opens.write(conn, "challenges", OPEN_CHALLENGES).await?;
        self.reassigns.write(conn, "challenges", REASSIGN_CHALLENGES).await?;
        self.closes.write(conn, "challenges", CLOSE_CHALLENGES).await?;
        self.limits.write(conn, "limits", SET_LIMITS).await?;
        self.steps.write(conn, "totp_steps", BURN_STEPS).await
    }
}

const OPEN_CHALLENGES: &str = "INSERT INTO challenges (id, login, user, resource, nonce, context, number_mode, \
     user_verification, devices, created_at, expires_at, state) \
     SELECT unhex(value ->> 0), unhex(value ->> 1), unhex(value ->> 2), unhex(value ->> 3), unhex(value ->> 4), \
     unhex(value ->> 5), value ->> 6, value ->> 7, unhex(value ->> 8), value ->> 9, value ->> 10, 'pending' \
     FROM json_each(?1)";

const CLOSE_CHALLENGES: &str = "UPDATE challenges SET state = j.value ->> 1, closed_at = j.value ->> 2, \
     decision = j.value ->> 3 FROM json_each(?1) j \
     WHERE challenges.id = unhex(j.value ->> 0) AND challenges.state = 'pending' \
     AND (j.value ->> 1 <> 'approved' OR challenges.expires_at > j.value ->> 2)";

const REASSIGN_CHALLENGES: &str = "UPDATE challenges SET login = unhex(j.value ->> 2) FROM json_each(?1) j \
     WHERE challenges.id = unhex(j.value ->> 0) AND challenges.state = 'pending' \
     AND challenges.login = unhex(j.value ->> 1)";

// Version 1 is inserted where there is nothing; every other replaces the version before it.
const SET_LIMITS: &str = "INSERT INTO limits (user, resource, version, state) \
     SELECT unhex(j.value ->> '$[0][0]'), unhex(j.value ->> '$[0][1]'), j.value ->> 1, j.value ->> 2 \
     FROM json_each(?1) j WHERE j.value ->> 1 = 1 OR EXISTS (SELECT 1 FROM limits \
     WHERE user = unhex(j.value ->> '$[0][0]') AND resource = unhex(j.value ->> '$[0][1]')) \
     ON CONFLICT (user, resource) DO UPDATE SET version = excluded.version, state = excluded.state \
     WHERE limits.version = excluded.version - 1";

const BURN_STEPS: &str = "UPDATE totp_steps SET last_step = j.value ->> 1 FROM json_each(?1) j \
     WHERE totp_steps.device = unhex(j.value ->> 0) AND totp_steps.last_step < j.value ->> 1 \
     AND EXISTS (SELECT 1 FROM devices WHERE id = totp_steps.device AND state = 'active')";

#[derive(Serialize)]
struct AuditRow<'a>(
    i64,
    i64,
    &'a str,
    Option<&'a str>,
    Option<&'a str>,
    Option<Hex<'a>>,
    Hex<'a>,
    Option<&'a str>,
    Option<&'a str>,
    Option<&'a str>,
    Option<Hex<'a>>,
    Option<&'a str>,
    Option<&'a str>,
    Option<&'a str>,
    Option<&'a str>,
    Option<&'a str>,
    Option<&'a str>,
    Option<&'a str>,
    Option<Hex<'a>>,
    Hex<'a>,
    Hex<'a>,
);

/// Appends audit records. Texts that come from outside travel in hexadecimal: JSON in SQLite ends a text at a NUL.
pub(crate) async fn append_audit(conn: &mut SqliteConnection, records: &[AuditRecord]) -> Result<(), StoreError> {
    let mut rows = Rows::default();
    for record in records {
        rows.push(&AuditRow(
            record.seq,
            record.time,
            &record.event,
            record.login.as_deref(),
            record.user_id.as_deref(),
            record.user_typed.as_deref().map(Hex),
            Hex(record.actor.as_bytes()),
            record.resource.as_deref(),
            record.client.as_deref(),
            record.door.as_deref(),
            record.source.as_deref().map(Hex),
            record.source_trust.as_deref(),
            record.factor.as_deref(),
            record.device.as_deref(),
            record.number_mode.as_deref(),
            record.result.as_deref(),
            record.reason.as_deref(),
            record.binding.as_deref(),
            record.detail.as_ref().map(|detail| Hex(detail.as_bytes())),
            Hex(&record.prev.0),
            Hex(&record.hash.0),
        ))?;
    }
    rows.write(conn, "audit", APPEND_AUDIT).await
}

const APPEND_AUDIT: &str = "INSERT INTO audit (seq, time, event, login, user_id, user_typed, actor, resource, client, \
     door, source, source_trust, factor, device, number_mode, result, reason, binding, detail, prev, hash) \
     SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, unhex(value ->> 5), \
     CAST(unhex(value ->> 6) AS TEXT), value ->> 7, value ->> 8, value ->> 9, unhex(value ->> 10), value ->> 11, \
     value ->> 12, value ->> 13, value ->> 14, value ->> 15, value ->> 16, value ->> 17, \
     CAST(unhex(value ->> 18) AS TEXT), unhex(value ->> 19), unhex(value ->> 20) FROM json_each(?1)";
