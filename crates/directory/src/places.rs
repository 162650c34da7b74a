//! Places of the directory that users are in: containers and groups. Of several the first one counts.

use std::collections::{HashMap, HashSet};

use crate::{
    config::{ConfigError, DirectoryConfig, Kind},
    connection::Found,
    directory::{Directory, answer},
    dn::{Dn, DnKey},
    entry::{self, Entry, EntryId, Group},
    error::{DirectoryError, EntryFault},
    filter::Filter,
    groups::{CHUNK, MAX_DEPTH, MAX_GROUPS},
    pool::Lease,
    sync::MAX_USERS,
    wire::{Page, RawEntry, Scope, Search, code},
};

/// Entries of which nothing but a name is read, in one page.
const PAGE: u32 = 1000;
/// Groups that a directory may have, where all of them must be known to tell groups from users.
const MAX_LISTED: usize = 50_000;

/// Where users are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Below a DN, or that entry itself.
    Below(String),
    /// In a group, directly, through other groups, or as primary group. Named as [`Directory::group`] takes it.
    Group(String),
}

impl DirectoryConfig {
    /// Checks that users of this directory can be in each place. Asks no server.
    ///
    /// # Errors
    /// [`ConfigError`]: the first place that makes no sense.
    pub fn check_places(&self, places: &[Place]) -> Result<(), ConfigError> {
        let base = Dn::parse(&self.base_dn).unwrap_or_default();
        for place in places {
            match place {
                Place::Below(text) => {
                    let dn = Dn::parse(text)
                        .filter(|dn| !dn.is_empty())
                        .ok_or_else(|| ConfigError::Base { field: "container of a rule", value: text.clone() })?;
                    if !dn.is_within(&base) && !base.is_within(&dn) {
                        return Err(ConfigError::PlaceOutside { place: text.clone(), base: self.base_dn.clone() });
                    }
                }
                Place::Group(text) if text.trim().is_empty() => return Err(ConfigError::NoGroup),
                Place::Group(_) => {}
            }
        }
        Ok(())
    }
}

/// A place as it is now.
pub(crate) enum Area {
    Below(Dn),
    /// Who is in a group of Active Directory.
    Ids(HashSet<EntryId>),
    /// Who is in a group elsewhere.
    Named(Members),
}

/// All that groups elsewhere say of whom they have.
#[derive(Default)]
pub(crate) struct Members {
    dns: HashSet<DnKey>,
    names: HashSet<String>,
    gids: HashSet<String>,
    groups: HashSet<DnKey>,
}

impl Area {
    pub(crate) fn has(&self, entry: &Entry) -> bool {
        match self {
            Self::Below(base) => Dn::parse(&entry.dn).is_some_and(|dn| dn.is_within(base)),
            Self::Ids(ids) => ids.contains(&entry.id),
            Self::Named(members) => members.have(entry),
        }
    }
}

impl Members {
    fn have(&self, entry: &Entry) -> bool {
        let key = |dn: &str| Dn::parse(dn).map(|dn| dn.key());
        key(&entry.dn).is_some_and(|key| self.dns.contains(&key))
            || entry.names.short.iter().any(|name| self.names.contains(name))
            || entry.seeds.gid.as_ref().is_some_and(|gid| self.gids.contains(gid))
            || entry.seeds.member_of.iter().any(|dn| key(dn).is_some_and(|key| self.groups.contains(&key)))
    }
}

impl Directory {
    /// The places as they are now, groups with whom they have.
    pub(crate) async fn areas(&self, lease: &mut Lease, places: &[Place]) -> Result<Vec<Area>, DirectoryError> {
        let mut areas = Vec::new();
        for place in places {
            areas.push(match place {
                Place::Below(text) => Area::Below(Dn::parse(text).unwrap_or_default()),
                Place::Group(text) => {
                    let group = self.group(text).await?;
                    match self.settings.kind {
                        Kind::Ad => Area::Ids(self.ids_in(lease, group).await?),
                        Kind::Ldap => Area::Named(self.named_in(lease, group).await?),
                    }
                }
            });
        }
        Ok(areas)
    }

    /// Users of a group of Active Directory: those of all groups in it, and those whose primary group is one of them.
    async fn ids_in(&self, lease: &mut Lease, group: Group) -> Result<HashSet<EntryId>, DirectoryError> {
        let mut groups = vec![group];
        let mut done = 0;
        while let Some(fresh) = groups.get(done..).filter(|fresh| !fresh.is_empty()) {
            let fresh: Vec<Filter> = fresh.iter().filter_map(member_of).collect();
            done = groups.len();
            for chunk in fresh.chunks(CHUNK) {
                for raw in self.all(lease, self.groups(Filter::Or(chunk.to_vec()), 0), MAX_LISTED).await? {
                    let group = self
                        .read_group(&raw)
                        .ok_or_else(|| self.unusable(lease, EntryFault::NoId(self.settings.id.clone())))?;
                    if !groups.iter().any(|known| known.id == group.id) {
                        groups.push(group);
                    }
                }
            }
            if groups.len() > MAX_GROUPS {
                return Err(DirectoryError::TooMany { what: "groups", limit: MAX_GROUPS });
            }
        }
        let primary = |group: &Group| group.id.relative().map(|id| Filter::equals("primaryGroupID", id));
        let filters: Vec<Filter> =
            groups.iter().flat_map(|group| member_of(group).into_iter().chain(primary(group))).collect();
        let mut ids = HashSet::new();
        for chunk in filters.chunks(CHUNK) {
            let search = Search {
                base: self.settings.base.clone(),
                scope: Scope::Subtree,
                filter: Filter::And(vec![self.settings.user_filter.clone(), Filter::Or(chunk.to_vec())]),
                attributes: vec![self.settings.id.clone()],
                limit: 0,
                page: None,
                show_deleted: false,
            };
            for raw in self.all(lease, search, MAX_USERS).await? {
                ids.insert(entry::id(&raw, &self.settings).map_err(|fault| self.unusable(lease, fault))?);
            }
        }
        Ok(ids)
    }

    /// Whom a group elsewhere has, and the groups in it.
    async fn named_in(&self, lease: &mut Lease, group: Group) -> Result<Members, DirectoryError> {
        let anything = || Filter::Present("objectClass".to_owned());
        let mut listed = self.groups(anything(), 0);
        listed.attributes = vec!["1.1".to_owned()];
        let listed = self.all(lease, listed, MAX_LISTED).await?;
        let groups: HashMap<DnKey, String> =
            listed.into_iter().filter_map(|raw| Dn::parse(&raw.dn).map(|dn| (dn.key(), raw.dn))).collect();
        let mut members = Members::default();
        let mut level: Vec<String> = group.dn.into_iter().collect();
        for _ in 0..MAX_DEPTH {
            let mut next = Vec::new();
            for dn in level {
                if !Dn::parse(&dn).is_some_and(|dn| members.groups.insert(dn.key())) {
                    continue;
                }
                if members.groups.len() > MAX_GROUPS {
                    return Err(DirectoryError::TooMany { what: "groups", limit: MAX_GROUPS });
                }
                let search = Search {
                    base: dn,
                    scope: Scope::Base,
                    filter: anything(),
                    attributes: ["member", "uniqueMember", "memberUid", "gidNumber", "objectClass"]
                        .map(str::to_owned)
                        .to_vec(),
                    limit: 1,
                    page: None,
                    show_deleted: false,
                };
                let found = self.pool.search_leased(lease, &search).await?;
                match found.outcome.code {
                    code::SUCCESS => {}
                    // Removed in this moment.
                    code::NO_SUCH_OBJECT => continue,
                    _ => return Err(self.fault_of(lease, found)),
                }
                for raw in &found.entries {
                    next.extend(members.take(raw, &groups));
                }
            }
            if next.is_empty() {
                return Ok(members);
            }
            level = next;
        }
        Err(DirectoryError::TooMany { what: "groups within each other", limit: MAX_DEPTH })
    }

    /// Everything that a search finds, page by page, `limit` entries at most.
    async fn all(&self, lease: &mut Lease, mut search: Search, limit: usize) -> Result<Vec<RawEntry>, DirectoryError> {
        let mut all = Vec::new();
        let mut cookie = Some(Vec::new());
        while let Some(from) = cookie {
            search.page = Some(Page { size: PAGE, cookie: from });
            let found = self.pool.search_leased(lease, &search).await?;
            if found.outcome.code != code::SUCCESS {
                return Err(self.fault_of(lease, found));
            }
            cookie = found.outcome.controls.cookie();
            all.extend(found.entries);
            if all.len() > limit {
                return Err(DirectoryError::TooMany { what: "entries", limit });
            }
        }
        Ok(all)
    }

    pub(crate) fn fault_of(&self, lease: &Lease, found: Found) -> DirectoryError {
        answer(self.pool.leased_from(lease), "a search", found.outcome.code, found.outcome.text)
    }

    fn unusable(&self, lease: &Lease, fault: EntryFault) -> DirectoryError {
        DirectoryError::Entry { server: self.pool.leased_from(lease), fault }
    }
}

fn member_of(group: &Group) -> Option<Filter> {
    group.dn.as_ref().map(|dn| Filter::equals("memberOf", dn))
}

impl Members {
    /// Notes whom a group has; the groups among them, that is those of `groups`.
    fn take(&mut self, raw: &RawEntry, groups: &HashMap<DnKey, String>) -> Vec<String> {
        let mut inner = Vec::new();
        for dn in raw.texts("member").chain(raw.texts("uniqueMember")) {
            let Some(key) = Dn::parse(dn).map(|dn| dn.key()) else { continue };
            inner.extend(groups.get(&key).cloned());
            self.dns.insert(key);
        }
        self.names.extend(raw.texts("memberUid").map(str::to_owned));
        if raw.texts("objectClass").any(|class| class.eq_ignore_ascii_case("posixGroup")) {
            self.gids.extend(raw.text("gidNumber").map(str::to_owned));
        }
        inner
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Kind, entry::Names};

    fn entry(dn: &str, name: &str) -> Entry {
        Entry {
            id: EntryId::from_text(name),
            dn: dn.to_owned(),
            names: Names { short: vec![name.to_owned()], principal: None },
            display: None,
            mail: None,
            state: crate::AccountState::default(),
            seeds: entry::GroupSeeds::default(),
        }
    }

    #[test]
    fn a_container_has_whoever_is_below_it_in_any_spelling() {
        let area = Area::Below(Dn::parse("ou=STAFF, dc=example,dc=test").unwrap());
        assert!(area.has(&entry("CN=Doe\\, Jane,OU=Staff,DC=example,DC=test", "jane")));
        assert!(area.has(&entry("CN=a,OU=Inner,OU=Staff,DC=example,DC=test", "a")));
        assert!(!area.has(&entry("CN=a,OU=Staff2,DC=example,DC=test", "a")));
        assert!(!area.has(&entry("CN=a,OU=x\\,OU=Staff,DC=example,DC=test", "a")), "a comma that is part of a name");
    }

    #[test]
    fn a_group_has_whom_it_names_in_whatever_way() {
        let group = RawEntry::of(
            "cn=all,ou=groups,dc=t",
            &[
                ("member", &[b"uid=alice,ou=people,dc=t", b"cn=inner,ou=groups,dc=t", b"no dn"]),
                ("uniqueMember", &[b"UID=Bob,ou=people,dc=t"]),
                ("memberUid", &[b"carol"]),
                ("gidNumber", &[b"7"]),
                ("objectClass", &[b"top", b"PosixGroup"]),
            ],
        );
        let inner = "CN=Inner,ou=groups,dc=t";
        let groups = HashMap::from([(Dn::parse(inner).unwrap().key(), inner.to_owned())]);
        let mut members = Members::default();
        members.groups.insert(Dn::parse("cn=all,ou=groups,dc=t").unwrap().key());
        assert_eq!(members.take(&group, &groups), [inner]);
        for (dn, name) in [("uid=ALICE,ou=people,dc=t", "a"), ("uid=bob,ou=people,dc=t", "b"), ("uid=x,dc=t", "carol")]
        {
            assert!(members.have(&entry(dn, name)), "{dn}");
        }
        assert!(!members.have(&entry("uid=dave,ou=people,dc=t", "dave")));
        let mut by_number = entry("uid=dave,ou=people,dc=t", "dave");
        by_number.seeds.gid = Some("7".to_owned());
        assert!(members.have(&by_number));
        let mut by_own_word = entry("uid=dave,ou=people,dc=t", "dave");
        by_own_word.seeds.member_of = vec!["cn=ALL,ou=groups,dc=t".to_owned()];
        assert!(members.have(&by_own_word));
    }

    #[test]
    fn places_must_be_where_users_can_be() {
        let config = DirectoryConfig { kind: Kind::Ad, ..crate::config::tests::good() };
        let below = |dn: &str| Place::Below(dn.to_owned());
        for good in ["OU=Staff,DC=example,DC=test", "ou=inner,ou=staff,dc=EXAMPLE,dc=test", "DC=example,DC=test"] {
            assert_eq!(config.check_places(&[below(good)]), Ok(()), "{good}");
        }
        for bad in ["", "Staff", "OU=Staff,DC=other,DC=test", "OU=Others,DC=example,DC=test"] {
            assert!(config.check_places(&[below(bad)]).is_err(), "{bad}");
        }
        assert_eq!(config.check_places(&[Place::Group(" ".to_owned())]), Err(ConfigError::NoGroup));
    }
}
