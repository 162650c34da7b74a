//! In which groups somebody is, and which group a text names.

use std::collections::BTreeSet;

use crate::{
    config::{Kind, Settings},
    directory::Directory,
    dn::Dn,
    entry::{self, Entry, Group, GroupId, Groups},
    error::{DirectoryError, EntryFault},
    filter::Filter,
    pool::Call,
    wire::{RawEntry, Scope, Search, code},
};

/// How many groups one user may be in.
pub(crate) const MAX_GROUPS: usize = 1024;
/// How deep groups may be in groups, where we have to walk ourselves.
pub(crate) const MAX_DEPTH: usize = 16;
/// How many groups are asked for at once.
pub(crate) const CHUNK: usize = 64;

/// Whether somebody is in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// Directly, through other groups, or as primary group.
    Member,
    /// Not at all.
    NotMember,
}

impl Directory {
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

    /// For each of `groups`, named as [`Self::group`] takes it, whether a user is in it; `None` where there is no such
    /// group, or no unique one: that is never the same as not being in it (C115).
    ///
    /// # Errors
    /// [`DirectoryError`] when it cannot be known.
    pub async fn memberships(
        &self,
        entry: &Entry,
        groups: &[String],
    ) -> Result<Vec<Option<Membership>>, DirectoryError> {
        if groups.is_empty() {
            return Ok(Vec::new());
        }
        let call = self.pool.call().await?;
        let known = self.wanted(&call, groups).await?;
        let ids: BTreeSet<GroupId> = match self.settings.kind {
            Kind::Ad => self.token_groups(&call, entry).await?,
            Kind::Ldap => self.walk(&call, entry).await?.into_iter().map(|group| group.id).collect(),
        };
        let member = |group: Group| if ids.contains(&group.id) { Membership::Member } else { Membership::NotMember };
        Ok(known.into_iter().map(|group| group.map(member)).collect())
    }

    /// The group that a text names: a DN, a SID, or its short name (`GG-VPN`, `EXAMPLE\GG-VPN`; `cn` outside of Active
    /// Directory).
    ///
    /// # Errors
    /// [`DirectoryError::NoSuchGroup`] when there is none or more than one; others when nothing can be said.
    pub async fn group(&self, text: &str) -> Result<Group, DirectoryError> {
        let call = self.pool.call().await?;
        let found = self.wanted(&call, &[text.to_owned()]).await?.pop().flatten();
        found.ok_or_else(|| DirectoryError::NoSuchGroup(text.to_owned()))
    }

    /// The groups that texts name; those that are named by more than a DN in one search.
    async fn wanted(&self, call: &Call<'_>, texts: &[String]) -> Result<Vec<Option<Group>>, DirectoryError> {
        let wanted: Vec<Wanted> = texts.iter().map(|text| Wanted::of(text.trim(), &self.settings)).collect();
        let filters: Vec<Filter> = wanted.iter().filter_map(|wanted| wanted.filter(&self.settings)).collect();
        let mut found = Vec::new();
        for chunk in filters.chunks(CHUNK) {
            let search = self.groups(Filter::Or(chunk.to_vec()), MAX_GROUPS);
            let (answer, server) = self.pool.search(call, &search, None).await?;
            found.extend(self.entries(answer, server)?);
        }
        // One that is named in two ways may have been found twice.
        found.sort_by(|one, other| one.dn.cmp(&other.dn));
        found.dedup_by(|one, other| one.dn == other.dn);
        let mut groups = Vec::new();
        for wanted in &wanted {
            let by_dn;
            let among = if let Wanted::Dn(dn) = wanted {
                by_dn = self.group_at(call, dn).await?;
                &by_dn
            } else {
                &found
            };
            let mut fits = among.iter().filter(|raw| wanted.fits(raw, &self.settings));
            groups.push(match (fits.next(), fits.next()) {
                (Some(one), None) => self.read_group(one),
                _ => None,
            });
        }
        Ok(groups)
    }

    async fn group_at(&self, call: &Call<'_>, dn: &str) -> Result<Vec<RawEntry>, DirectoryError> {
        let mut search = self.groups(Filter::Present("objectClass".to_owned()), 1);
        dn.clone_into(&mut search.base);
        search.scope = Scope::Base;
        let (found, server) = self.pool.search(call, &search, None).await?;
        match found.outcome.code {
            // A referral: it is not here, and nobody goes elsewhere (S60).
            code::NO_SUCH_OBJECT | code::INVALID_DN | code::REFERRAL => Ok(Vec::new()),
            _ => self.entries(found, server),
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

/// A text that names a group.
enum Wanted {
    Dn(String),
    Sid(Vec<u8>),
    Name(String),
    /// Nothing that a group can be called, or a domain that is not ours.
    Nothing,
}

impl Wanted {
    fn of(text: &str, settings: &Settings) -> Self {
        let ad = settings.kind == Kind::Ad;
        if text.is_empty() {
            return Self::Nothing;
        }
        if ad && let Some(sid) = GroupId::from_text(text).sid() {
            return Self::Sid(sid);
        }
        if text.contains('=') && Dn::parse(text).is_some() {
            return Self::Dn(text.to_owned());
        }
        match text.split_once('\\') {
            Some((domain, name)) if settings.domains.contains(&domain.to_lowercase()) => Self::Name(name.to_owned()),
            Some(_) => Self::Nothing,
            None => Self::Name(text.to_owned()),
        }
    }

    fn filter(&self, settings: &Settings) -> Option<Filter> {
        match self {
            Self::Sid(sid) => Some(Filter::equals("objectSid", sid)),
            Self::Name(name) => Some(Filter::equals(group_name(settings.kind), name)),
            Self::Dn(_) | Self::Nothing => None,
        }
    }

    /// Whether an entry that was found is one that this asked for.
    fn fits(&self, raw: &RawEntry, settings: &Settings) -> bool {
        match self {
            Self::Dn(_) => true,
            Self::Sid(sid) => raw.first("objectSid") == Some(sid),
            // As directories compare names: letter case and runs of spaces count for nothing (RFC 4518 section 2.6.1).
            Self::Name(name) => {
                let folded = |text: &str| text.to_lowercase().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
                raw.texts(group_name(settings.kind)).any(|found| folded(found) == folded(name))
            }
            Self::Nothing => false,
        }
    }
}

const fn group_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Ad => "sAMAccountName",
        Kind::Ldap => "cn",
    }
}
