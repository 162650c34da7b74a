//! The writes of logins, in bulk: what a batch of commits needs to know is read with one statement per table, each
//! commit is judged in its order against that, and what holds is written with one statement per table.
//!
//! Each statement repeats the condition that the judgement rests on, and the number of rows that it changes must be the
//! number that was judged to hold: anything else undoes the whole batch.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use countersign_domain::{
    AuditRecord, Challenge, ChallengeId, ChallengeState, Closing, ClosingState, DeviceId, LimitScope, Limits, LoginId,
    UserId, Write,
};
use countersign_storage::StoreError;
use sqlx::SqliteConnection;

use crate::bulk::{Rows, Template, bind};
use crate::error::unavailable;
use crate::rows::{Fields, PENDING, StoredDecision, scope};

/// A row that a write changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Target {
    Challenge(ChallengeId),
    Limits(LimitScope),
    Step(DeviceId),
}

/// The row that a hot write changes or rests on; `None` for all others.
fn target(write: &Write) -> Option<Target> {
    match write {
        Write::OpenChallenge(challenge) => Some(Target::Challenge(challenge.id)),
        Write::CloseChallenge { id, .. } | Write::ReassignChallenge { id, .. } => Some(Target::Challenge(*id)),
        Write::SetLimits { scope, .. } => Some(Target::Limits(*scope)),
        Write::BurnTotpStep { device, .. } | Write::RequireActive(device) => Some(Target::Step(*device)),
        _ => None,
    }
}

/// Whether a commit has hot writes only, a few of them, and not two for one row.
pub(crate) fn is_hot(writes: &[Write]) -> bool {
    writes.len() <= 16
        && writes.iter().enumerate().all(|(place, write)| {
            let found = target(write);
            found.is_some() && !writes.iter().take(place).any(|earlier| target(earlier) == found)
        })
}

struct ChallengeGuard {
    login: LoginId,
    expires_at: i64,
    pending: bool,
    /// Whether its user may log on.
    enabled: bool,
}

/// Rows of one table as the writer knows them; `None` is known to be absent.
struct Known<K, V>(HashMap<K, Option<V>>);

impl<K, V> Default for Known<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash, V> Known<K, V> {
    /// Takes a row for absent until it is found; whether it has to be looked for.
    fn ask(&mut self, key: K) -> bool {
        let mut asked = false;
        self.0.entry(key).or_insert_with(|| {
            asked = true;
            None
        });
        asked
    }

    fn get(&self, key: &K) -> Option<&V> {
        self.0.get(key)?.as_ref()
    }

    fn set(&mut self, key: K, value: V) {
        self.0.insert(key, Some(value));
    }
}

/// What the conditions of hot writes rest on, kept up as commits are judged. Nobody else writes to the database, so it
/// stays true from batch to batch, until a batch fails or something else than a hot write is made: then it is forgotten.
#[derive(Default)]
pub(crate) struct Guards {
    challenges: Known<ChallengeId, ChallengeGuard>,
    /// Versions.
    limits: Known<LimitScope, u64>,
    /// Last steps of active devices whose users may log on.
    steps: Known<DeviceId, u64>,
    /// Whether they may log on.
    users: Known<UserId, bool>,
}

static FIND_CHALLENGES: Template = Template::new(
    "SELECT c.id, c.login, c.expires_at, c.state, u.enabled FROM ",
    1,
    " j CROSS JOIN challenges c ON c.id = j.column1 CROSS JOIN users u ON u.id = c.user",
);
static FIND_LIMITS: Template = Template::new(
    "SELECT l.user, l.resource, l.version FROM ",
    2,
    " j CROSS JOIN limits l ON l.user = j.column1 AND l.resource = j.column2",
);
static FIND_STEPS: Template = Template::new(
    "SELECT t.device, t.last_step FROM ",
    1,
    " j CROSS JOIN totp_steps t ON t.device = j.column1 CROSS JOIN devices d ON d.id = t.device AND d.state = 'active' \
     CROSS JOIN users u ON u.id = d.user AND u.enabled = 1",
);
static FIND_USERS: Template =
    Template::new("SELECT u.id, u.enabled FROM ", 1, " j CROSS JOIN users u ON u.id = j.column1");

impl Guards {
    /// Rows that are remembered at most, about.
    const MOST: usize = 65_536;

    /// Forgets everything when it has become much.
    pub(crate) fn trim(&mut self) {
        let rows = self.challenges.0.len() + self.limits.0.len() + self.steps.0.len() + self.users.0.len();
        if rows > Self::MOST {
            *self = Self::default();
        }
    }

    /// Reads what `writes` need and is not known.
    pub(crate) async fn load(
        &mut self,
        conn: &mut SqliteConnection,
        writes: impl Iterator<Item = &Write>,
    ) -> Result<(), StoreError> {
        let (mut challenges, mut limits, mut steps, mut users) =
            (Rows::new(&FIND_CHALLENGES), Rows::new(&FIND_LIMITS), Rows::new(&FIND_STEPS), Rows::new(&FIND_USERS));
        for write in writes {
            let user = match write {
                Write::OpenChallenge(challenge) => Some(challenge.user),
                Write::SetLimits { scope, .. } => Some(scope.user()),
                _ => None,
            };
            if let Some(user) = user
                && self.users.ask(user)
            {
                users.push(|row| bind!(row; octets(user.as_uuid())))?;
            }
            if let Write::CloseChallenge { closing, .. } = write
                && let Some(device) = approved_by(closing)
                && self.steps.ask(device)
            {
                steps.push(|row| bind!(row; octets(device.as_uuid())))?;
            }
            match target(write) {
                Some(Target::Challenge(id)) if self.challenges.ask(id) => {
                    challenges.push(|row| bind!(row; id.as_octets().to_vec()))?;
                }
                Some(Target::Limits(scope)) if self.limits.ask(scope) => {
                    limits.push(|row| bind!(row; octets(scope.user().as_uuid()), resource(scope)))?;
                }
                Some(Target::Step(device)) if self.steps.ask(device) => {
                    steps.push(|row| bind!(row; octets(device.as_uuid())))?;
                }
                _ => {}
            }
        }
        for row in challenges.read(conn).await? {
            let mut fields = Fields::new(&row, "challenges");
            let id = fields.challenge_id()?;
            let login = LoginId::from_uuid(fields.uuid()?);
            let expires_at = fields.next()?;
            let pending = fields.next::<&str>()? == PENDING;
            let enabled = fields.next::<i64>()? == 1;
            self.challenges.set(id, ChallengeGuard { login, expires_at, pending, enabled });
        }
        for row in limits.read(conn).await? {
            let mut fields = Fields::new(&row, "limits");
            self.limits.set(scope(&mut fields)?, fields.unsigned()?);
        }
        for row in steps.read(conn).await? {
            let mut fields = Fields::new(&row, "totp_steps");
            self.steps.set(DeviceId::from_uuid(fields.uuid()?), fields.unsigned()?);
        }
        for row in users.read(conn).await? {
            let mut fields = Fields::new(&row, "users");
            self.users.set(UserId::from_uuid(fields.uuid()?), fields.next::<i64>()? == 1);
        }
        Ok(())
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
                self.challenges.get(&challenge.id).is_none()
                    && self.users.get(&challenge.user).is_some()
                    && challenge.state == ChallengeState::Pending
            }
            Write::CloseChallenge { id, closing } => pending(id).is_some_and(|guard| {
                closing.state != ClosingState::Approved
                    || guard.enabled
                        && guard.expires_at > closing.at.as_micros()
                        && approved_by(closing).is_none_or(|device| self.steps.get(&device).is_some())
            }),
            Write::ReassignChallenge { id, from, .. } => pending(id).is_some_and(|guard| guard.login == *from),
            Write::SetLimits { scope, expected, .. } => {
                self.users.get(&scope.user()).is_some()
                    && self.limits.get(scope).copied().unwrap_or(0) == *expected
                    && i64::try_from(expected.saturating_add(1)).is_ok()
            }
            Write::BurnTotpStep { device, step } => {
                self.steps.get(device).is_some_and(|last| last < step) && i64::try_from(*step).is_ok()
            }
            Write::RequireActive(device) => self.steps.get(device).is_some(),
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
                    enabled: self.users.get(&challenge.user).copied().unwrap_or(false),
                };
                self.challenges.set(challenge.id, guard);
            }
            Write::CloseChallenge { id, .. } => {
                if let Some(guard) = self.challenges.0.get_mut(id).and_then(Option::as_mut) {
                    guard.pending = false;
                }
            }
            Write::ReassignChallenge { id, to, .. } => {
                if let Some(guard) = self.challenges.0.get_mut(id).and_then(Option::as_mut) {
                    guard.login = *to;
                }
            }
            Write::SetLimits { scope, expected, .. } => {
                self.limits.set(*scope, expected.saturating_add(1));
            }
            Write::BurnTotpStep { device, step } => {
                self.steps.set(*device, *step);
            }
            _ => {}
        }
    }
}

/// The device that lets a login in; it must be active, and its user may log on.
fn approved_by(closing: &Closing) -> Option<DeviceId> {
    closing.decision.as_ref().filter(|_| closing.state == ClosingState::Approved).map(|decision| decision.device)
}

fn octets(id: &uuid::Uuid) -> Vec<u8> {
    id.as_bytes().to_vec()
}

/// Empty for the scope that is everywhere.
fn resource(scope: LimitScope) -> Vec<u8> {
    scope.resource().map_or_else(Vec::new, |resource| octets(resource.as_uuid()))
}

static OPEN_CHALLENGES: Template = Template::new(
    "INSERT INTO challenges (id, login, user, resource, nonce, context, number_mode, user_verification, devices, \
     created_at, expires_at, state) SELECT column1, column2, column3, column4, column5, column6, column7, column8, \
     column9, column10, column11, 'pending' FROM ",
    11,
    " WHERE column1 IS NOT NULL",
);
// The unary plus keeps the state a condition of the row found by its key: without it the planner would go through the
// index of all that are pending.
static CLOSE_CHALLENGES: Template = Template::new(
    "UPDATE challenges SET state = j.column2, closed_at = j.column3, decision = j.column4 FROM ",
    5,
    " j WHERE challenges.id = j.column1 AND +challenges.state = 'pending' \
     AND (j.column2 <> 'approved' OR (challenges.expires_at > j.column3 \
     AND EXISTS (SELECT 1 FROM users WHERE id = challenges.user AND enabled = 1) \
     AND (j.column5 IS NULL OR EXISTS (SELECT 1 FROM devices WHERE id = j.column5 AND state = 'active'))))",
);
static REASSIGN_CHALLENGES: Template = Template::new(
    "UPDATE challenges SET login = j.column3 FROM ",
    3,
    " j WHERE challenges.id = j.column1 AND +challenges.state = 'pending' AND challenges.login = j.column2",
);
static NEW_LIMITS: Template = Template::new(
    "INSERT INTO limits (user, resource, version, state) SELECT column1, column2, 1, column3 FROM ",
    3,
    " WHERE column1 IS NOT NULL",
);
static SET_LIMITS: Template = Template::new(
    "UPDATE limits SET version = version + 1, state = j.column4 FROM ",
    4,
    " j WHERE limits.user = j.column1 AND limits.resource = j.column2 AND limits.version = j.column3",
);
static BURN_STEPS: Template = Template::new(
    "UPDATE totp_steps SET last_step = j.column2 FROM ",
    2,
    " j WHERE totp_steps.device = j.column1 AND totp_steps.last_step < j.column2 \
     AND EXISTS (SELECT 1 FROM devices d CROSS JOIN users u ON u.id = d.user AND u.enabled = 1 \
     WHERE d.id = totp_steps.device AND d.state = 'active')",
);
static APPEND_AUDIT: Template = Template::new(
    "INSERT INTO audit (seq, time, event, login, user_id, user_typed, actor, resource, client, door, source, \
     source_trust, factor, device, number_mode, result, reason, binding, detail, prev, hash) SELECT * FROM ",
    21,
    " WHERE column1 IS NOT NULL",
);

/// Hot writes that hold and wait for their statements.
pub(crate) struct Pending {
    targets: HashSet<Target>,
    opens: Rows,
    closes: Rows,
    reassigns: Rows,
    new_limits: Rows,
    limits: Rows,
    steps: Rows,
}

impl Pending {
    pub(crate) fn new() -> Self {
        Self {
            targets: HashSet::new(),
            opens: Rows::new(&OPEN_CHALLENGES),
            closes: Rows::new(&CLOSE_CHALLENGES),
            reassigns: Rows::new(&REASSIGN_CHALLENGES),
            new_limits: Rows::new(&NEW_LIMITS),
            limits: Rows::new(&SET_LIMITS),
            steps: Rows::new(&BURN_STEPS),
        }
    }

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
                Write::ReassignChallenge { id, from, to } => self
                    .reassigns
                    .push(|row| bind!(row; id.as_octets().to_vec(), octets(from.as_uuid()), octets(to.as_uuid())))?,
                Write::SetLimits { scope, expected, limits } => self.set_limits(*scope, *expected, limits)?,
                Write::BurnTotpStep { device, step } => {
                    self.steps.push(|row| bind!(row; octets(device.as_uuid()), i64::try_from(*step)?))?;
                }
                // Judged, and there is nothing to write.
                Write::RequireActive(_) => {}
                _ => return Err(unavailable(&"a write is not of the kind that is made in bulk")),
            }
        }
        Ok(())
    }

    fn open(&mut self, challenge: &Challenge) -> Result<(), StoreError> {
        let devices: Vec<u8> = challenge.devices.iter().flat_map(|id| *id.as_uuid().as_bytes()).collect();
        self.opens.push(|row| {
            bind!(row;
                challenge.id.as_octets().to_vec(),
                octets(challenge.login.as_uuid()),
                octets(challenge.user.as_uuid()),
                octets(challenge.resource.as_uuid()),
                challenge.nonce.to_vec(),
                challenge.context.clone(),
                challenge.number_mode.as_str(),
                challenge.user_verification.as_str(),
                devices,
                challenge.created_at.as_micros(),
                challenge.expires_at.as_micros(),
            )
        })
    }

    fn close(&mut self, id: &ChallengeId, closing: &Closing) -> Result<(), StoreError> {
        let decision = closing.decision.as_ref().map(|decision| serde_json::to_string(&StoredDecision::from(decision)));
        self.closes.push(|row| {
            bind!(row;
                id.as_octets().to_vec(),
                closing.state.as_str(),
                closing.at.as_micros(),
                decision.transpose()?,
                approved_by(closing).map(|device| octets(device.as_uuid())),
            )
        })
    }

    fn set_limits(&mut self, scope: LimitScope, expected: u64, limits: &Limits) -> Result<(), StoreError> {
        let (user, resource, state) = (octets(scope.user().as_uuid()), resource(scope), serde_json::to_string(limits));
        if expected == 0 {
            self.new_limits.push(|row| bind!(row; user, resource, state?))
        } else {
            self.limits.push(|row| bind!(row; user, resource, i64::try_from(expected)?, state?))
        }
    }

    /// Writes all that wait.
    pub(crate) async fn flush(&mut self, conn: &mut SqliteConnection) -> Result<(), StoreError> {
        self.targets.clear();
        self.opens.write(conn, "challenges").await?;
        self.reassigns.write(conn, "challenges").await?;
        self.closes.write(conn, "challenges").await?;
        self.new_limits.write(conn, "limits").await?;
        self.limits.write(conn, "limits").await?;
        self.steps.write(conn, "totp_steps").await
    }
}

/// Appends audit records.
pub(crate) async fn append_audit(conn: &mut SqliteConnection, records: Vec<AuditRecord>) -> Result<(), StoreError> {
    let mut rows = Rows::new(&APPEND_AUDIT);
    for record in records {
        rows.push(|row| {
            bind!(row;
                record.seq,
                record.time,
                record.event,
                record.login,
                record.user_id,
                record.user_typed,
                record.actor,
                record.resource,
                record.client,
                record.door,
                record.source,
                record.source_trust,
                record.factor,
                record.device,
                record.number_mode,
                record.result,
                record.reason,
                record.binding,
                record.detail,
                record.prev.0.to_vec(),
                record.hash.0.to_vec(),
            )
        })?;
    }
    rows.write(conn, "audit").await
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Connection as _};

    use super::*;

    #[tokio::test]
    async fn statements_over_many_rows_go_by_key() {
        let mut conn = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        sqlx::raw_sql(include_str!("../migrations/0001_first.sql")).execute(&mut conn).await.unwrap();
        for template in [
            &FIND_CHALLENGES,
            &FIND_LIMITS,
            &FIND_STEPS,
            &FIND_USERS,
            &OPEN_CHALLENGES,
            &CLOSE_CHALLENGES,
            &REASSIGN_CHALLENGES,
            &NEW_LIMITS,
            &SET_LIMITS,
            &BURN_STEPS,
            &APPEND_AUDIT,
        ] {
            let sql = format!("EXPLAIN QUERY PLAN {}", template.largest());
            let rows: Vec<(i64, i64, i64, String)> =
                sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&mut conn).await.unwrap();
            for (.., step) in rows {
                // What was bound is gone through; tables are searched.
                let bound = step == "SCAN j" || step.contains("-ROW VALUES CLAUSE") || step.contains("subquery");
                assert!(!step.starts_with("SCAN") || bound, "{step}");
            }
        }
    }
}
