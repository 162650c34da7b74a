//! Reading users for synchronisation: page by page, all of them or those that changed since a mark.
//!
//! What is done with them, and what happens when many are gone, is decided elsewhere.

use core::time::Duration;
use std::sync::Arc;

use countersign_domain::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{
    config::Kind,
    connection::Found,
    directory::Directory,
    entry::{self, Entry, EntryId, filetime_of_seconds},
    error::{DirectoryError, EntryFault},
    filter::Filter,
    places::{Area, Place},
    pool::Lease,
    wire::{Page as PageOf, RawEntry, Scope, Search, code},
};

/// Users in one page.
const PAGE: u32 = 250;
/// The same where each comes with the groups that he names himself: a page must fit into one answer.
const PAGE_WITH_GROUPS: u32 = 50;
/// Users that are read at most.
pub(crate) const MAX_USERS: usize = 200_000;

/// Up to where users were read. With Active Directory each domain controller counts for itself, so a mark belongs to one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// Active Directory.
    Usn {
        /// Which database of which domain controller: its invocationId.
        database: String,
        /// The highest change number that was there when reading began.
        usn: u64,
        /// When that was, seconds since 1970: an account that expires later changes by that alone.
        at: i64,
    },
    /// Others: a modifyTimestamp; whatever was changed before it has been read.
    Modified {
        /// For example `20270115080000Z`.
        at: String,
    },
}

/// What to read.
#[derive(Debug, Clone, Default)]
pub struct SyncQuery {
    /// Places to look for each user in.
    pub places: Vec<Place>,
    /// Only what changed since. Everything where the mark does not belong to the server that answers, and where a place
    /// is a group: who comes into one is not changed by that.
    pub since: Option<Mark>,
}

/// A user, and where he is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Who.
    pub entry: Entry,
    /// The first of the places that has him, by its number.
    pub place: Option<usize>,
}

/// Some of the users.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Those that are there.
    pub users: Vec<Placed>,
    /// Entries that could not be used, by DN, and why. A reader that reckons with what is missing must not take these for
    /// gone.
    pub unusable: Vec<(String, EntryFault)>,
    /// Those that were deleted since the mark; only with Active Directory, and only when not everything is read.
    pub deleted: Vec<EntryId>,
}

/// Whether deletions are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletions {
    /// In the pages, where not everything is read.
    Told,
    /// Not at all: who is gone shows only when everything is read.
    NotTold,
}

enum State {
    Users(Vec<u8>),
    Deleted(Vec<u8>),
    Done,
}

/// Users, page by page. All pages come over one connection from one server.
pub struct UserPages {
    directory: Arc<Directory>,
    lease: Lease,
    state: State,
    areas: Vec<Area>,
    users: Search,
    size: u32,
    read: usize,
    deleted: Option<Search>,
    deletions: Deletions,
    everything: bool,
    began: Instant,
    mark: Option<Mark>,
    latest: Option<Timestamp>,
}

impl Directory {
    /// Begins to read users.
    ///
    /// # Errors
    /// [`DirectoryError`] when no server answers, or a group is not there.
    pub async fn list_users(self: &Arc<Self>, query: &SyncQuery) -> Result<UserPages, DirectoryError> {
        let began = Instant::now();
        let mut lease = {
            let call = self.pool.call().await?;
            self.pool.lease(&call).await?
        };
        let (mark, domain) = match self.settings.kind {
            Kind::Ad => self.usn(&mut lease).await?,
            Kind::Ldap => (None, None),
        };
        let groups = query.places.iter().any(|place| matches!(place, Place::Group(_)));
        let since = query.since.as_ref().filter(|_| !groups);
        let changed = match (since, &mark) {
            (Some(Mark::Usn { database, usn, at }), Some(Mark::Usn { database: here, at: now, .. }))
                if database == here =>
            {
                let since = Filter::at_least("uSNChanged", &usn.saturating_add(1).to_string());
                let expired = Filter::And(vec![
                    Filter::at_least("accountExpires", &filetime_of_seconds(*at).to_string()),
                    Filter::at_most("accountExpires", &filetime_of_seconds(*now).to_string()),
                ]);
                Some((Filter::Or(vec![since.clone(), expired]), since))
            }
            (Some(Mark::Modified { at }), _) if self.settings.kind == Kind::Ldap => {
                let since = Filter::at_least("modifyTimestamp", at);
                Some((since.clone(), since))
            }
            _ => None,
        };
        let everything = changed.is_none();
        let (changed, since) = changed.unzip();
        let mut all = vec![self.settings.user_filter.clone()];
        all.extend(changed);
        let mut attributes = Entry::attributes(&self.settings);
        if self.settings.kind == Kind::Ldap {
            attributes.retain(|name| groups || name != "memberOf");
            attributes.push("modifyTimestamp".to_owned());
        }
        let users = Search {
            base: self.settings.base.clone(),
            scope: Scope::Subtree,
            filter: Filter::And(all),
            attributes,
            limit: 0,
            page: None,
            show_deleted: false,
        };
        let mut container = domain.map(|domain| format!("CN=Deleted Objects,{domain}"));
        if let Some(place) = &container
            && !self.sees_deleted(&mut lease, place).await?
        {
            container = None;
        }
        let deletions = if container.is_some() { Deletions::Told } else { Deletions::NotTold };
        let deleted = since.zip(container).map(|(since, base)| Search {
            base,
            scope: Scope::Subtree,
            filter: Filter::And(vec![
                Filter::equals("isDeleted", "TRUE"),
                Filter::equals("objectClass", "user"),
                since,
            ]),
            attributes: vec![self.settings.id.clone()],
            limit: 0,
            page: None,
            show_deleted: true,
        });
        let areas = self.areas(&mut lease, &query.places).await?;
        // Where there are no change numbers, the mark is found while reading; until then it stays as it was.
        let mark = mark.or_else(|| query.since.clone().filter(|_| !everything));
        Ok(UserPages {
            directory: Arc::clone(self),
            lease,
            state: State::Users(Vec::new()),
            areas,
            users,
            size: if groups { PAGE_WITH_GROUPS } else { PAGE },
            read: 0,
            deleted,
            deletions,
            everything,
            began,
            mark,
            latest: None,
        })
    }

    /// Whether the service account may see what was deleted. One that may not gets no error, only nothing.
    async fn sees_deleted(&self, lease: &mut Lease, container: &str) -> Result<bool, DirectoryError> {
        let search = Search {
            base: container.to_owned(),
            scope: Scope::Base,
            filter: Filter::equals("isDeleted", "TRUE"),
            attributes: vec!["isDeleted".to_owned()],
            limit: 1,
            page: None,
            show_deleted: true,
        };
        let found = self.pool.search_leased(lease, &search).await?;
        Ok(found.outcome.code == code::SUCCESS && found.entries.iter().any(|raw| raw.is_true("isDeleted")))
    }

    /// The mark of the domain controller as it is now, and the DN of its domain.
    async fn usn(&self, lease: &mut Lease) -> Result<(Option<Mark>, Option<String>), DirectoryError> {
        let base = |base: &str, attributes: &[&str]| Search {
            base: base.to_owned(),
            scope: Scope::Base,
            filter: Filter::Present("objectClass".to_owned()),
            attributes: attributes.iter().map(|name| (*name).to_owned()).collect(),
            limit: 1,
            page: None,
            show_deleted: false,
        };
        let about_itself = base("", &["highestCommittedUSN", "dsServiceName", "defaultNamingContext"]);
        let found = self.pool.search_leased(lease, &about_itself).await?;
        let Some(root) = found.entries.first() else { return Ok((None, None)) };
        let domain = root.text("defaultNamingContext").map(str::to_owned);
        let (Some(usn), Some(service)) = (root.number("highestCommittedUSN"), root.text("dsServiceName")) else {
            return Ok((None, domain));
        };
        // The same domain controller has another one after it was restored from a backup.
        let found = self.pool.search_leased(lease, &base(service, &["invocationId"])).await?;
        let database = found
            .entries
            .first()
            .and_then(|raw| raw.first("invocationId"))
            .and_then(|octets| uuid::Uuid::from_slice_le(octets).ok());
        let at = self.clock.now().as_seconds();
        Ok((database.map(|database| Mark::Usn { database: database.to_string(), usn, at }), domain))
    }
}

impl UserPages {
    /// The next page; `None` after the last one.
    ///
    /// # Errors
    /// [`DirectoryError`]: reading has to begin again, and what was read so far must not be taken for everything.
    pub async fn next(&mut self) -> Result<Option<Page>, DirectoryError> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Done => Ok(None),
            State::Users(cookie) => {
                let users = self.users.clone();
                let found = self.read(&users, cookie).await?;
                if found.outcome.code != code::SUCCESS {
                    return Err(self.directory.fault_of(&self.lease, found));
                }
                self.read = self.read.saturating_add(found.entries.len());
                if self.read > MAX_USERS {
                    return Err(DirectoryError::TooMany { what: "users", limit: MAX_USERS });
                }
                self.state = match (found.outcome.controls.cookie(), &self.deleted) {
                    (Some(cookie), _) => State::Users(cookie),
                    (None, Some(_)) => State::Deleted(Vec::new()),
                    (None, None) => State::Done,
                };
                let mut page = Page::default();
                for raw in &found.entries {
                    self.note(raw);
                    let now = self.directory.clock.now();
                    match Entry::read(raw, &self.directory.settings, now) {
                        Ok(entry) => {
                            let place = self.areas.iter().position(|area| area.has(&entry));
                            page.users.push(Placed { entry, place });
                        }
                        Err(fault) => page.unusable.push((raw.dn.clone(), fault)),
                    }
                }
                Ok(Some(page))
            }
            State::Deleted(cookie) => {
                let Some(search) = self.deleted.clone() else { return Ok(None) };
                let found = self.read(&search, cookie).await?;
                match found.outcome.code {
                    code::SUCCESS => {}
                    // Ordinary accounts have no right to see them.
                    code::NO_SUCH_OBJECT | code::INSUFFICIENT_ACCESS => {
                        (self.deleted, self.deletions) = (None, Deletions::NotTold);
                        return Ok(None);
                    }
                    _ => return Err(self.directory.fault_of(&self.lease, found)),
                }
                if let Some(cookie) = found.outcome.controls.cookie() {
                    self.state = State::Deleted(cookie);
                }
                let settings = &self.directory.settings;
                let deleted = found.entries.iter().filter_map(|raw| entry::id(raw, settings).ok()).collect();
                Ok(Some(Page { deleted, ..Page::default() }))
            }
        }
    }

    /// Whether everything is read and not only what changed. Who does not come then, is not there any more.
    pub const fn is_everything(&self) -> bool {
        self.everything
    }

    /// Whether deletions are told where not everything is read: not to an account that may not see them.
    pub const fn deletions(&self) -> Deletions {
        self.deletions
    }

    /// Where to go on the next time; to be kept only after the last page.
    pub fn mark(&self) -> Option<Mark> {
        if self.directory.settings.kind == Kind::Ad {
            return self.mark.clone();
        }
        // What was changed while the pages were read may have been on one that was read already. So much earlier than
        // the latest time that was seen, nothing can have been.
        let slack = self.began.elapsed().saturating_add(Duration::from_secs(1));
        let safe = self.latest.map(|latest| latest.minus(slack));
        let before = match &self.mark {
            Some(Mark::Modified { at }) => time(at),
            _ => None,
        };
        safe.max(before).map(|at| Mark::Modified { at: text(at) })
    }

    async fn read(&mut self, search: &Search, cookie: Vec<u8>) -> Result<Found, DirectoryError> {
        let search = Search { page: Some(PageOf { size: self.size, cookie }), ..search.clone() };
        self.directory.pool.search_leased(&mut self.lease, &search).await
    }

    /// Keeps the latest time of change.
    fn note(&mut self, raw: &RawEntry) {
        if self.directory.settings.kind == Kind::Ldap {
            self.latest = self.latest.max(raw.text("modifyTimestamp").and_then(time));
        }
    }
}

/// Reads a generalized time in UTC, with or without a fraction (RFC 4517 section 3.3.13), to the second.
fn time(text: &str) -> Option<Timestamp> {
    let digits = text.strip_suffix('Z')?;
    let whole = digits.split_once(['.', ',']).map_or(digits, |(whole, _)| whole);
    if whole.len() != 14 || !whole.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    let part = |from, to| whole.get(from..to).unwrap_or_default();
    Timestamp::from_rfc3339(&format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(8, 10),
        part(10, 12),
        part(12, 14)
    ))
}

/// Writes one, to the second.
fn text(at: Timestamp) -> String {
    let whole = Timestamp::from_seconds(at.as_seconds()).to_rfc3339();
    whole.chars().filter(char::is_ascii_digit).chain(['Z']).collect()
}

impl std::fmt::Debug for UserPages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserPages").field("everything", &self.everything).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generalized_times_are_read_and_written() {
        let at = Timestamp::from_rfc3339("2027-01-15T08:00:59Z").unwrap();
        for written in ["20270115080059Z", "20270115080059.25Z", "20270115080059,999999Z"] {
            assert_eq!(time(written), Some(at), "{written}");
        }
        assert_eq!(text(at.plus(Duration::from_millis(900))), "20270115080059Z");
        for other in
            ["", "Z", "20270115080059", "202701150800Z", "20271315080059Z", "2027011508005xZ", "20270115080059+0100"]
        {
            assert_eq!(time(other), None, "{other}");
        }
    }
}
