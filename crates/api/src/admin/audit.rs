//! The audit: list, export, verify.

use std::{path::PathBuf, sync::Arc};

use axum::{
    body::{Body as HttpBody, Bytes},
    extract::State,
    http::{HeaderValue, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use countersign_domain::{AuditHash, AuditRecord, ChainFault, HostileText, LoginName, Timestamp, UserId, verify_chain};
use countersign_storage::{Store, StoreError};
use futures_util::stream;
use serde::{Deserialize, Serialize};

use super::{
    AdminApi, AdminProblem,
    checkpoints::{CheckpointFault, CheckpointReport, Checkpoints, RestoreSeen, Watch},
    json::{Body, Query, ok, to_vec},
};

/// Records read at once.
const PAGE: u32 = 1000;
/// Copies and restores that are looked at where a checkpoint does not fit.
const MILESTONES: u32 = 10_000;
/// Records listed unless the request says otherwise, and the most that it may ask for.
const LISTED: u32 = 50;
const LISTED_MOST: u32 = 100_000;

/// A record as listed and exported. The members and their order are fixed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLine {
    /// 1, 2, 3, …
    pub seq: i64,
    /// RFC 3339, UTC, microseconds where there are any.
    pub time: String,
    /// What happened.
    pub event: String,
    /// The login.
    pub login: Option<String>,
    /// The user.
    pub user_id: Option<String>,
    /// The name as typed, escaped.
    pub user_typed: Option<String>,
    /// Who did it.
    pub actor: String,
    /// The resource.
    pub resource: Option<String>,
    /// The client.
    pub client: Option<String>,
    /// The door.
    pub door: Option<String>,
    /// Where the person sits, as reported, escaped.
    pub source: Option<String>,
    /// How far that is known.
    pub source_trust: Option<String>,
    /// The factor.
    pub factor: Option<String>,
    /// The device.
    pub device: Option<String>,
    /// The number mode.
    pub number_mode: Option<String>,
    /// The result.
    pub result: Option<String>,
    /// The reason.
    pub reason: Option<String>,
    /// What ties the approval to the session.
    pub binding: Option<String>,
    /// Before and after of a change, JSON in a text.
    pub detail: Option<String>,
    /// Hash of the record before, hexadecimal.
    pub prev: String,
    /// Hash of this record, hexadecimal.
    pub hash: String,
}

impl From<AuditRecord> for AuditLine {
    fn from(record: AuditRecord) -> Self {
        // The whole of it, however long it is: a record that was changed by hand is shown as it is.
        let escaped = |octets: Vec<u8>| {
            let parts = octets.utf8_chunks();
            let mut out = String::new();
            for part in parts {
                for piece in part.valid().chars() {
                    out.push_str(&HostileText::from(&*piece.encode_utf8(&mut [0; 4])).to_string());
                }
                out.push_str(&HostileText::new(part.invalid()).to_string());
            }
            out
        };
        Self {
            seq: record.seq,
            time: Timestamp::from_micros(record.time).to_rfc3339(),
            event: record.event,
            login: record.login,
            user_id: record.user_id,
            user_typed: record.user_typed.map(escaped),
            actor: record.actor,
            resource: record.resource,
            client: record.client,
            door: record.door,
            source: record.source.map(escaped),
            source_trust: record.source_trust,
            factor: record.factor,
            device: record.device,
            number_mode: record.number_mode,
            result: record.result,
            reason: record.reason,
            binding: record.binding,
            detail: record.detail,
            prev: record.prev.to_string(),
            hash: record.hash.to_string(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    limit: Option<u32>,
    user: Option<String>,
    login: Option<String>,
    reason: Option<String>,
    event: Option<String>,
}

/// What a user filter matches: the users who have the name now, the user with that identifier, and the name as it was typed.
struct Whose {
    ids: Vec<String>,
    folded: String,
}

impl Filter {
    fn keeps(&self, record: &AuditRecord, whose: Option<&Whose>) -> bool {
        let same = |wanted: &Option<String>, found: Option<&String>| {
            wanted.as_ref().is_none_or(|wanted| found.is_some_and(|found| found == wanted))
        };
        same(&self.login, record.login.as_ref())
            && same(&self.reason, record.reason.as_ref())
            && same(&self.event, Some(&record.event))
            && whose.is_none_or(|whose| {
                record.user_id.as_ref().is_some_and(|id| whose.ids.contains(id))
                    || record
                        .user_typed
                        .as_deref()
                        .and_then(|typed| std::str::from_utf8(typed).ok())
                        .is_some_and(|typed| typed.to_lowercase() == whose.folded)
            })
    }

    const fn is_open(&self) -> bool {
        self.user.is_none() && self.login.is_none() && self.reason.is_none() && self.event.is_none()
    }
}

/// The newest records that match, oldest first.
pub(super) async fn list(
    State(api): State<Arc<AdminApi>>,
    Query(filter): Query<Filter>,
) -> Result<Response, AdminProblem> {
    let store = api.desk.store();
    let limit = filter.limit.unwrap_or(LISTED).clamp(1, LISTED_MOST);
    let mut found = if filter.is_open() {
        store.audit_newest(limit).await?
    } else {
        search(&**store, &filter, usize::try_from(limit).unwrap_or(usize::MAX)).await?
    };
    found.reverse();
    Ok(ok(&found.into_iter().map(AuditLine::from).collect::<Vec<_>>()))
}

/// The newest `limit` records that the filter keeps, newest first.
async fn search(store: &dyn Store, filter: &Filter, limit: usize) -> Result<Vec<AuditRecord>, AdminProblem> {
    let whose = match &filter.user {
        None => None,
        Some(name) => {
            let mut ids = match LoginName::new(name) {
                Ok(name) => store.users_named(&name).await?.into_iter().map(|user| user.id.to_string()).collect(),
                Err(_) => Vec::new(),
            };
            ids.extend(name.parse::<UserId>().ok().map(|id| id.to_string()));
            Some(Whose { ids, folded: name.to_lowercase() })
        }
    };
    let mut found = Vec::new();
    let (mut end, _) = store.audit_head().await?;
    while end > 0 && found.len() < limit {
        let begin = end.saturating_sub(i64::from(PAGE)).max(0);
        let page = store.audit(begin, PAGE).await?;
        let page = page.into_iter().filter(|record| record.seq <= end);
        let kept: Vec<_> = page.filter(|record| filter.keeps(record, whose.as_ref())).collect();
        found.extend(kept.into_iter().rev());
        end = begin;
    }
    found.truncate(limit);
    Ok(found)
}

/// All records as JSON lines, oldest first, page by page.
pub(super) async fn export(State(api): State<Arc<AdminApi>>) -> Response {
    let pages = stream::try_unfold(0, move |after| {
        let store = Arc::clone(api.desk.store());
        async move {
            let page = store.audit(after, PAGE).await.inspect_err(|fault| {
                tracing::error!(error = %fault, "audit.export broke off");
            })?;
            let Some(last) = page.last().map(|record| record.seq) else { return Ok::<_, StoreError>(None) };
            let mut lines = Vec::new();
            for record in page {
                lines.extend(to_vec(&AuditLine::from(record)));
                lines.push(b'\n');
            }
            Ok(Some((Bytes::from(lines), last)))
        }
    });
    let mut response = HttpBody::from_stream(pages).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/jsonl"));
    response
}

/// What a check of the whole audit found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Nothing is wrong.
    pub ok: bool,
    /// Records that were checked and are right.
    pub records: i64,
    /// Hash of the last of them.
    pub hash: String,
    /// Where the chain breaks.
    #[serde(rename = "break")]
    pub broken: Option<BreakReport>,
    /// Where the database was put back from a copy.
    pub restores: Vec<RestoreSeen>,
    /// What the checkpoints say.
    pub checkpoints: CheckpointReport,
}

/// Where and how a chain breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakReport {
    /// The number of the record at which it shows.
    pub seq: i64,
    /// `changed`, `gap`, `unlinked` or `unreadable`.
    pub fault: String,
    /// In words.
    pub detail: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Verify {
    /// A copy of the checkpoints to check against, instead of the server's own file.
    #[serde(default)]
    checkpoints: Option<PathBuf>,
}

pub(super) async fn verify(
    State(api): State<Arc<AdminApi>>,
    Body(body): Body<Verify>,
) -> Result<Response, AdminProblem> {
    let path = body.checkpoints.as_deref().unwrap_or_else(|| api.checkpoints.path());
    Ok(ok(&check(&**api.desk.store(), &api.checkpoints, path).await?))
}

/// Checks every record, and every checkpoint in the file `path` against them.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn check(
    store: &dyn Store,
    checkpoints: &Checkpoints,
    path: &std::path::Path,
) -> Result<VerifyReport, StoreError> {
    let mut watch = Watch::open(checkpoints, path).await;
    let Walked { last, broken } = walk(store, |records| watch.passes(checkpoints, records)).await?;
    let (checkpoints, restores) = watch.end(last.0, broken.is_none());
    Ok(VerifyReport {
        ok: broken.is_none() && checkpoints.faults.is_empty() && restores.iter().all(|restore| restore.signed),
        records: last.0,
        hash: last.1.to_string(),
        broken,
        restores,
        checkpoints,
    })
}

/// How far a chain is right.
pub(crate) struct Walked {
    /// Number and hash of the last record that is.
    pub(crate) last: (i64, AuditHash),
    /// Where it breaks.
    pub(crate) broken: Option<BreakReport>,
}

/// Goes through the chain from its beginning to its end, or to where it breaks; `see` gets the records that are right.
pub(crate) async fn walk(store: &dyn Store, mut see: impl FnMut(&[AuditRecord]) + Send) -> Result<Walked, StoreError> {
    let mut last = (0, AuditHash::START);
    loop {
        let page = match store.audit(last.0, PAGE).await {
            Ok(page) => page,
            Err(StoreError::Inconsistent { table, fault }) => {
                // Somewhere in this page; find the first record that cannot be read.
                while let Ok(one) = store.audit(last.0, 1).await {
                    match verify_chain(last, &one) {
                        Ok(next) if next != last => {
                            see(&one);
                            last = next;
                        }
                        _ => break,
                    }
                }
                let broken = BreakReport {
                    seq: last.0.saturating_add(1),
                    fault: "unreadable".to_owned(),
                    detail: format!("a record cannot be read: {table}: {fault}"),
                };
                return Ok(Walked { last, broken: Some(broken) });
            }
            Err(fault) => return Err(fault),
        };
        if page.is_empty() {
            return Ok(Walked { last, broken: None });
        }
        match verify_chain(last, &page) {
            Ok(next) => {
                see(&page);
                last = next;
            }
            Err(fault) => {
                let good = page.iter().take_while(|record| record.seq < fault.seq).count();
                let good = page.get(..good).unwrap_or_default();
                see(good);
                if let Some(record) = good.last() {
                    last = (record.seq, record.hash);
                }
                let word = match fault.fault {
                    ChainFault::Changed => "changed",
                    ChainFault::Gap => "gap",
                    ChainFault::Unlinked => "unlinked",
                };
                let broken = BreakReport { seq: fault.seq, fault: word.to_owned(), detail: fault.fault.to_string() };
                return Ok(Walked { last, broken: Some(broken) });
            }
        }
    }
}

/// Whether the checkpoints are of this database, and the newest of them and the chain agree: quick enough for every start and every `doctor`.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn check_newest(store: &dyn Store, checkpoints: &Checkpoints) -> Result<Option<CheckpointFault>, StoreError> {
    if let Some(fault) = checkpoints.of_another(store.deployment().await?.created_at).await {
        return Ok(Some(fault));
    }
    let Some(newest) = checkpoints.newest().await else { return Ok(None) };
    let record = store.audit(newest.seq.saturating_sub(1), 1).await?.into_iter().next();
    let Some(fault) = newest.compare(record.map(|record| (record.seq, record.hash))) else { return Ok(None) };
    let seams = store.milestones(MILESTONES).await?;
    let explained = seams.iter().filter_map(|record| checkpoints.seam(record)).any(|seam| newest.went(&seam));
    Ok((!explained).then_some(fault))
}
