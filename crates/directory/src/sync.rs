//! Reading users for synchronisation: page by page, all of them or those that changed since a mark.
//!
//! What is done with them, and what happens when many are gone, is decided elsewhere.

use serde::{Deserialize, Serialize};

use crate::{
    config::{FilterText, Kind},
    connection::Found,
    directory::{Directory, answer},
    entry::{self, Entry, EntryId},
    error::{DirectoryError, EntryFault},
    filter::Filter,
    pool::Lease,
    wire::{Page as PageOf, RawEntry, Scope, Search, code},
};

/// Users in one page.
const PAGE: u32 = 250;

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
    },
    /// Others: the latest modifyTimestamp that was seen, as the directory writes it.
    Modified {
        /// For example `20270115080000Z`.
        at: String,
    },
}

/// What to read.
#[derive(Debug, Clone, Default)]
pub struct SyncQuery {
    /// Below which DN; without it the configured base. It must be below that.
    pub base: Option<String>,
    /// Which users, beside the configured filter.
    pub filter: Option<FilterText>,
    /// Only what changed since; everything where the mark does not belong to the server that answers.
    pub since: Option<Mark>,
}

/// Some of the users.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Those that are there.
    pub users: Vec<Entry>,
    /// Entries that could not be used, by DN, and why. A reader that reckons with what is missing must not take these for
    /// gone.
    pub unusable: Vec<(String, EntryFault)>,
    /// Those that were deleted since the mark; only with Active Directory, and only when not everything is read.
    pub deleted: Vec<EntryId>,
}

/// Whether deletions are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletions {
    /// In the pages.
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
pub struct UserPages<'a> {
    directory: &'a Directory,
    lease: Lease,
    state: State,
    users: Search,
    deleted: Option<Search>,
    everything: bool,
    mark: Option<Mark>,
}

impl Directory {
    /// Begins to read users.
    ///
    /// # Errors
    /// [`DirectoryError`] when no server answers.
    pub async fn list_users(&self, query: &SyncQuery) -> Result<UserPages<'_>, DirectoryError> {
        let mut lease = {
            let call = self.pool.call().await?;
            self.pool.lease(&call).await?
        };
        let (mark, domain) = match self.settings.kind {
            Kind::Ad => self.usn(&mut lease).await?,
            Kind::Ldap => (None, None),
        };
        let since = match (&query.since, &mark) {
            (Some(Mark::Usn { database, usn }), Some(Mark::Usn { database: here, .. })) if database == here => {
                Some(Filter::at_least("uSNChanged", &usn.saturating_add(1).to_string()))
            }
            (Some(Mark::Modified { at }), _) if self.settings.kind == Kind::Ldap => {
                Some(Filter::at_least("modifyTimestamp", at))
            }
            _ => None,
        };
        let everything = since.is_none();
        let mut all = vec![self.settings.user_filter.clone()];
        all.extend(query.filter.as_ref().map(|text| text.0.clone()));
        all.extend(since.clone());
        let users = Search {
            base: query.base.clone().unwrap_or_else(|| self.settings.base.clone()),
            scope: Scope::Subtree,
            filter: Filter::And(all),
            attributes: Entry::attributes(&self.settings),
            limit: 0,
            page: None,
            show_deleted: false,
        };
        let mut container = domain.map(|domain| format!("CN=Deleted Objects,{domain}"));
        if let Some(place) = &container
            && !(since.is_some() && self.sees_deleted(&mut lease, place).await?)
        {
            container = None;
        }
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
        // Where there are no change numbers, the mark is found while reading; until then it stays as it was.
        let mark = mark.or_else(|| query.since.clone().filter(|_| !everything));
        Ok(UserPages { directory: self, lease, state: State::Users(Vec::new()), users, deleted, everything, mark })
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
        Ok((database.map(|database| Mark::Usn { database: database.to_string(), usn }), domain))
    }
}

impl UserPages<'_> {
    /// The next page; `None` after the last one.
    ///
    /// # Errors
    /// [`DirectoryError`]: reading has to begin again, and what was read so far must not be taken for everything.
    pub async fn next(&mut self) -> Result<Option<Page>, DirectoryError> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Done => Ok(None),
            State::Users(cookie) => {
                let found = self.read(&self.users.clone(), cookie).await?;
                if found.outcome.code != code::SUCCESS {
                    return Err(self.fault(found));
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
                        Ok(entry) => page.users.push(entry),
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
                        self.deleted = None;
                        return Ok(None);
                    }
                    _ => return Err(self.fault(found)),
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

    /// Whether deletions are told: not to an account that may not see them.
    pub const fn deletions(&self) -> Deletions {
        if self.deleted.is_some() { Deletions::Told } else { Deletions::NotTold }
    }

    /// Where to go on the next time; to be kept only after the last page.
    pub const fn mark(&self) -> Option<&Mark> {
        self.mark.as_ref()
    }

    async fn read(&mut self, search: &Search, cookie: Vec<u8>) -> Result<Found, DirectoryError> {
        let search = Search { page: Some(PageOf { size: PAGE, cookie }), ..search.clone() };
        self.directory.pool.search_leased(&mut self.lease, &search).await
    }

    fn fault(&self, found: Found) -> DirectoryError {
        answer(self.directory.pool.leased_from(&self.lease), "a search", found.outcome.code, found.outcome.text)
    }

    /// Keeps the latest time of change.
    fn note(&mut self, raw: &RawEntry) {
        if self.directory.settings.kind == Kind::Ad {
            return;
        }
        let Some(at) = raw.text("modifyTimestamp") else { return };
        match &self.mark {
            Some(Mark::Modified { at: latest }) if latest.as_str() >= at => {}
            _ => self.mark = Some(Mark::Modified { at: at.to_owned() }),
        }
    }
}

impl std::fmt::Debug for UserPages<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserPages").field("everything", &self.everything).finish_non_exhaustive()
    }
}
