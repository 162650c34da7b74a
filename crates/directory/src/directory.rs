//! Who somebody is, whether the password is right, and in which groups he is.

use std::{collections::BTreeSet, sync::Arc};

use countersign_domain::{Clock, Entropy, Secret};

use crate::{
    config::{ConfigError, DirectoryConfig, Kind, Settings},
    connection::Found,
    dn::Dn,
    entry::{self, Entry, EntryId, Group, GroupId, Groups},
    error::{AuthError, DirectoryError, EntryFault, LookupError, Refusal},
    filter::Filter,
    names,
    pool::{Call, Pool},
    reason, tls,
    wire::{RawEntry, Scope, Search, code},
};

/// How many groups one user may be in.
pub(crate) const MAX_GROUPS: usize = 1024;
/// How deep groups may be in groups, where we have to walk ourselves.
pub(crate) const MAX_DEPTH: usize = 16;
/// How many groups are asked for at once.
pub(crate) const CHUNK: usize = 64;
/// Longer than any password that a directory takes.
const MAX_PASSWORD: usize = 1024;

/// A directory: several servers that hold the same entries.
pub struct Directory {
    pub(crate) settings: Arc<Settings>,
    pub(crate) pool: Pool,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Somebody whose password is right and whose account may log on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authenticated {
    /// Who.
    pub entry: Entry,
    /// The server that checked the password.
    pub server: String,
}

/// Whether somebody is in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// Directly, through other groups, or as primary group.
    Member,
    /// Not at all.
    NotMember,
}

impl Directory {
    /// Checks the configuration and reads the trusted CAs; connects to nothing yet.
    ///
    /// # Errors
    /// [`ConfigError`] when it makes no sense or the CA file cannot be used.
    pub fn new(
        config: &DirectoryConfig,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, ConfigError> {
        let settings = Arc::new(config.settings()?);
        let tls = tls::connector(config.ca_file.as_deref())?;
        Ok(Self { pool: Pool::new(Arc::clone(&settings), tls, entropy), settings, clock })
    }

    /// Finds whose name `typed` is and whether `password` is right.
    ///
    /// # Errors
    /// [`AuthError::Refused`] when the login is to be rejected, [`AuthError::Directory`] when nothing can be said about
    /// it. A password that is empty, in whatever way, is refused before anybody is asked (S56).
    pub async fn authenticate(&self, typed: &str, password: &Secret) -> Result<Authenticated, AuthError> {
        check_password_form(password.expose()).map_err(|refusal| AuthError::Refused { refusal, entry: None })?;
        let searches = names::searches(typed, &self.settings).map_err(LookupError::Unusable)?;
        let call = self.pool.call().await?;
        let (entry, server) = self.find(&call, searches).await?;
        // The DN goes back exactly as it came (C031); it is not empty and not outside of the base (S57).
        let (outcome, server) = self.pool.check_password(&call, &entry.dn, password.expose(), server).await?;
        let refusal = match reason::of_bind(self.settings.kind, &outcome) {
            // Says no to any password, and keeps why to itself.
            Some(Refusal::WrongPassword) if self.settings.kind == Kind::Ldap && entry.state.locked => {
                Some(Refusal::Locked)
            }
            Some(refusal) => Some(refusal),
            None if outcome.code == code::SUCCESS => entry.state.refusal(),
            None => return Err(self.fault(server, "a bind", outcome.code, outcome.text).into()),
        };
        match refusal {
            None => Ok(Authenticated { entry, server: self.pool.url(server) }),
            Some(refusal) => Err(AuthError::Refused { refusal, entry: Some(Box::new(entry)) }),
        }
    }

    /// Finds whose name `typed` is.
    ///
    /// # Errors
    /// [`LookupError`]: nobody's, several people's, or nothing can be said.
    pub async fn lookup(&self, typed: &str) -> Result<Entry, LookupError> {
        let searches = names::searches(typed, &self.settings).map_err(LookupError::Unusable)?;
        let call = self.pool.call().await?;
        self.find(&call, searches).await.map(|(entry, _)| entry)
    }

    /// The entry with this id, wherever it is now; `None` when it is not there any more, or no user any more.
    ///
    /// # Errors
    /// [`DirectoryError`] when nothing can be said.
    pub async fn find_by_id(&self, id: &EntryId) -> Result<Option<Entry>, DirectoryError> {
        let call = self.pool.call().await?;
        let filter = Filter::equals(&self.settings.id, id.value(self.settings.kind));
        match self.find(&call, vec![filter]).await {
            Ok((entry, _)) => Ok(Some(entry)),
            Err(LookupError::Unknown | LookupError::Unusable(_)) => Ok(None),
            Err(LookupError::Ambiguous) => Err(DirectoryError::TooMany { what: "entries with the same id", limit: 1 }),
            Err(LookupError::Directory(error)) => Err(error),
        }
    }

    /// The only entry that the first of `searches` with a result finds.
    async fn find(&self, call: &Call<'_>, searches: Vec<Filter>) -> Result<(Entry, usize), LookupError> {
        for filter in searches {
            let search = self.users(filter);
            let (found, server) = self.pool.search(call, &search, None).await?;
            let cut = found.outcome.code == code::SIZE_LIMIT;
            let entries = if cut { found.entries } else { self.entries(found, server)? };
            return match entries.as_slice() {
                [] if !cut => continue,
                [one] if !cut => Ok((self.read(one, server)?, server)),
                _ => Err(LookupError::Ambiguous),
            };
        }
        Err(LookupError::Unknown)
    }

    fn users(&self, filter: Filter) -> Search {
        Search {
            base: self.settings.base.clone(),
            scope: Scope::Subtree,
            filter: Filter::And(vec![self.settings.user_filter.clone(), filter]),
            attributes: Entry::attributes(&self.settings),
            // One is right, two are too many, and more are of no use.
            limit: 2,
            page: None,
            show_deleted: false,
        }
    }

    pub(crate) fn read(&self, raw: &RawEntry, server: usize) -> Result<Entry, DirectoryError> {
        Entry::read(raw, &self.settings, self.clock.now())
            .map_err(|fault| DirectoryError::Entry { server: self.pool.url(server), fault })
    }

    /// What was found, if the search came to its end.
    fn entries(&self, found: Found, server: usize) -> Result<Vec<RawEntry>, DirectoryError> {
        match found.outcome.code {
            code::SUCCESS => Ok(found.entries),
            other => Err(self.fault(server, "a search", other, found.outcome.text)),
        }
    }

    fn fault(
        &self,
        server: usize,
        what: &'static str,
        code: u32,
        text: countersign_domain::HostileText,
    ) -> DirectoryError {
        answer(self.pool.url(server), what, code, text)
    }

    /// All groups of a user: groups of groups and the primary group included (C079).
    ///
    /// # Errors
    /// [`DirectoryError`] when they cannot be known for certain; never a part of them.
    pub async fn groups_of(&self, entry: &Entry) -> Result<Groups, DirectoryError> {
        let call = self.pool.call().await?;
        match self.settings.kind {
            Kind::Ad => {
                let sids = self.token_groups(&call, entry).await?;
                self.named(&call, sids).await.map(Groups)
            }
            Kind::Ldap => self.walk(&call, entry).await.map(Groups),
        }
    }

    /// Whether a user is in the group that `group` names, as [`Self::group`] takes it.
    ///
    /// # Errors
    /// [`DirectoryError`] when it cannot be known, or when there is no such group: that is never the same as not being
    /// in it (C115).
    pub async fn is_member(&self, entry: &Entry, group: &str) -> Result<Membership, DirectoryError> {
        let group = self.group(group).await?;
        let call = self.pool.call().await?;
        let is_in = match self.settings.kind {
            Kind::Ad => self.token_groups(&call, entry).await?.contains(&group.id),
            Kind::Ldap => self.walk(&call, entry).await?.iter().any(|one| one.id == group.id),
        };
        Ok(if is_in { Membership::Member } else { Membership::NotMember })
    }

    /// The group that a text names: a DN, a SID, or its short name (`GG-VPN`, `EXAMPLE\GG-VPN`; `cn` outside of Active
    /// Directory).
    ///
    /// # Errors
    /// [`DirectoryError::NoSuchGroup`] when there is none or more than one; others when nothing can be said.
    pub async fn group(&self, text: &str) -> Result<Group, DirectoryError> {
        let no_such = || DirectoryError::NoSuchGroup(text.to_owned());
        let ad = self.settings.kind == Kind::Ad;
        let call = self.pool.call().await?;
        let text = text.trim();
        if text.is_empty() {
            return Err(no_such());
        }
        let is_dn = text.contains('=') && Dn::parse(text).is_some();
        let filter = match GroupId::from_text(text).sid() {
            Some(sid) if ad => Filter::equals("objectSid", sid),
            _ if is_dn => self.settings.group_filter.clone(),
            _ => {
                let name = match text.split_once('\\') {
                    Some((domain, name)) if self.settings.domains.contains(&domain.to_lowercase()) => name,
                    Some(_) => return Err(no_such()),
                    None => text,
                };
                Filter::equals(if ad { "sAMAccountName" } else { "cn" }, name)
            }
        };
        let mut search = self.groups(filter, 2);
        if is_dn {
            text.clone_into(&mut search.base);
            search.scope = Scope::Base;
        }
        let (found, server) = self.pool.search(&call, &search, None).await?;
        if matches!(found.outcome.code, code::NO_SUCH_OBJECT | code::INVALID_DN | code::SIZE_LIMIT) {
            return Err(no_such());
        }
        match self.entries(found, server)?.as_slice() {
            [one] => self.read_group(one).ok_or_else(no_such),
            _ => Err(no_such()),
        }
    }

    pub(crate) fn groups(&self, filter: Filter, limit: usize) -> Search {
        let ad = self.settings.kind == Kind::Ad;
        let attributes: &[&str] = if ad { &["objectSid", "sAMAccountName"] } else { &["cn"] };
        let mut attributes: Vec<String> = attributes.iter().map(|name| (*name).to_owned()).collect();
        attributes.push(self.settings.id.clone());
        Search {
            base: self.settings.group_base.clone(),
            scope: Scope::Subtree,
            filter: Filter::And(vec![self.settings.group_filter.clone(), filter]),
            attributes,
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
            page: None,
            show_deleted: false,
        }
    }

    pub(crate) fn read_group(&self, raw: &RawEntry) -> Option<Group> {
        let (id, name) = match self.settings.kind {
            Kind::Ad => (raw.first("objectSid").and_then(GroupId::of_sid)?, raw.text("sAMAccountName")),
            Kind::Ldap => (entry::id(raw, &self.settings).ok()?.into(), raw.text("cn")),
        };
        let name = name.unwrap_or_else(|| id.as_str()).to_owned();
        Some(Group { id, dn: Some(raw.dn.clone()), name })
    }

    /// What Active Directory itself would put into the user's token.
    async fn token_groups(&self, call: &Call<'_>, entry: &Entry) -> Result<BTreeSet<GroupId>, DirectoryError> {
        // By its GUID, since it may have been moved in the meantime.
        let base = if self.settings.id == "objectGUID" { entry.id.as_base() } else { entry.dn.clone() };
        let search = Search {
            base,
            scope: Scope::Base,
            filter: Filter::Present("objectClass".to_owned()),
            attributes: vec!["tokenGroups".to_owned()],
            limit: 1,
            page: None,
            show_deleted: false,
        };
        let (found, server) = self.pool.search(call, &search, None).await?;
        let entries = self.entries(found, server)?;
        let sids = entries.first().map(|raw| raw.values("tokenGroups")).unwrap_or_default();
        let read: Option<BTreeSet<GroupId>> = sids.iter().map(|sid| GroupId::of_sid(sid)).collect();
        match read {
            _ if sids.len() > MAX_GROUPS => Err(DirectoryError::TooMany { what: "groups", limit: MAX_GROUPS }),
            // Everybody has a primary group, so none at all means that they could not be read.
            Some(read) if !read.is_empty() => Ok(read),
            _ => Err(DirectoryError::Entry { server: self.pool.url(server), fault: EntryFault::NoGroups }),
        }
    }

    /// Adds names and DNs to SIDs, as far as those are in this domain.
    async fn named(&self, call: &Call<'_>, sids: BTreeSet<GroupId>) -> Result<Vec<Group>, DirectoryError> {
        let mut groups = Vec::new();
        let all: Vec<&GroupId> = sids.iter().collect();
        for chunk in all.chunks(CHUNK) {
            let sids = chunk.iter().filter_map(|id| id.sid()).map(|sid| Filter::equals("objectSid", sid)).collect();
            let (found, server) = self.pool.search(call, &self.groups(Filter::Or(sids), CHUNK), None).await?;
            groups.extend(self.entries(found, server)?.iter().filter_map(|raw| self.read_group(raw)));
        }
        for id in sids {
            if !groups.iter().any(|group| group.id == id) {
                groups.push(Group { name: id.as_str().to_owned(), id, dn: None });
            }
        }
        groups.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(groups)
    }

    /// From the user to the groups that have him, from those to the groups that have them, and so on.
    async fn walk(&self, call: &Call<'_>, entry: &Entry) -> Result<Vec<Group>, DirectoryError> {
        let mut groups: Vec<Group> = Vec::new();
        let has = |dn: &str| ["member", "uniqueMember"].map(|attribute| Filter::equals(attribute, dn));
        let mut asked: Vec<Filter> = has(&entry.dn).to_vec();
        asked.extend(entry.names.short.iter().map(|name| Filter::equals("memberUid", name)));
        asked.extend(entry.seeds.gid.iter().map(|gid| {
            Filter::And(vec![Filter::equals("objectClass", "posixGroup"), Filter::equals("gidNumber", gid)])
        }));
        let mut seeds = entry.seeds.member_of.as_slice();
        for _ in 0..MAX_DEPTH {
            let mut fresh = Vec::new();
            for chunk in asked.chunks(CHUNK) {
                let search = self.groups(Filter::Or(chunk.to_vec()), MAX_GROUPS + 1);
                fresh.extend(self.found_groups(call, &search).await?);
            }
            // Groups that say of themselves that he is in them, which no search for members finds.
            for dn in std::mem::take(&mut seeds) {
                let parts = Dn::parse(dn);
                let known = |group: &Group| group.dn.as_deref().and_then(Dn::parse) == parts;
                if !fresh.iter().any(known) {
                    let mut search = self.groups(Filter::Present("objectClass".to_owned()), 1);
                    search.base.clone_from(dn);
                    search.scope = Scope::Base;
                    fresh.extend(self.found_groups(call, &search).await?);
                }
            }
            asked.clear();
            for group in fresh {
                if !groups.iter().any(|known| known.id == group.id) {
                    asked.extend(group.dn.iter().flat_map(|dn| has(dn)));
                    groups.push(group);
                }
            }
            if groups.len() > MAX_GROUPS {
                return Err(DirectoryError::TooMany { what: "groups", limit: MAX_GROUPS });
            }
            if asked.is_empty() {
                groups.sort_by(|a, b| a.name.cmp(&b.name));
                return Ok(groups);
            }
        }
        Err(DirectoryError::TooMany { what: "groups within each other", limit: MAX_DEPTH })
    }

    async fn found_groups(&self, call: &Call<'_>, search: &Search) -> Result<Vec<Group>, DirectoryError> {
        let (found, server) = self.pool.search(call, search, None).await?;
        if found.outcome.code == code::NO_SUCH_OBJECT && search.scope == Scope::Base {
            return Ok(Vec::new());
        }
        let raw = self.entries(found, server)?;
        let unreadable = || DirectoryError::Entry {
            server: self.pool.url(server),
            fault: EntryFault::NoId(self.settings.id.clone()),
        };
        raw.iter().map(|raw| self.read_group(raw).ok_or_else(unreadable)).collect()
    }
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory").field("base", &self.settings.base).finish_non_exhaustive()
    }
}

/// What a result other than success means.
pub(crate) fn answer(
    server: String,
    what: &'static str,
    code: u32,
    text: countersign_domain::HostileText,
) -> DirectoryError {
    match code {
        code::REFERRAL => DirectoryError::Referral { server },
        _ => DirectoryError::Answer { server, what, code, text },
    }
}

/// Whether a password can be asked about at all.
fn check_password_form(password: &[u8]) -> Result<(), Refusal> {
    let Ok(text) = std::str::from_utf8(password) else { return Err(Refusal::PasswordNotUtf8) };
    match text.chars().next() {
        None | Some('\0') => Err(Refusal::PasswordEmpty),
        _ if text.chars().all(vanishes) => Err(Refusal::PasswordEmpty),
        _ if text.len() > MAX_PASSWORD => Err(Refusal::PasswordTooLong),
        _ => Ok(()),
    }
}

/// Characters of which nothing is left when a password is prepared for comparison (RFC 3454 table B.1).
const fn vanishes(c: char) -> bool {
    matches!(c,
        '\0' | '\u{ad}' | '\u{34f}' | '\u{1806}' | '\u{180b}'..='\u{180d}' | '\u{200b}'..='\u{200d}' | '\u{2060}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s56_a_password_that_is_or_becomes_empty_is_none() {
        for empty in ["", "\0", "\0secret", "\u{ad}", "\u{feff}\u{200b}\0"] {
            assert_eq!(check_password_form(empty.as_bytes()), Err(Refusal::PasswordEmpty), "{empty:?}");
        }
        assert_eq!(check_password_form(b"pass\xe9"), Err(Refusal::PasswordNotUtf8));
        assert_eq!(check_password_form(&[b'x'; 1025]), Err(Refusal::PasswordTooLong));
        for good in [" ", "x", "p\u{ad}", "p\0"] {
            assert_eq!(check_password_form(good.as_bytes()), Ok(()), "{good:?}");
        }
    }
}
