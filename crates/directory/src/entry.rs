//! Users and groups as the directory has them.

use std::fmt;

use countersign_domain::Timestamp;
use uuid::Uuid;

use crate::{
    config::{Kind, Settings},
    error::{EntryFault, Refusal},
    wire::RawEntry,
};

/// What never changes about an entry, whatever it is renamed to and wherever it is moved (C089).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(String);

impl EntryId {
    /// From the text that [`Self::as_str`] gave.
    pub fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// As text, to be kept: a GUID as Windows shows it, an entryUUID, or `#` and hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn read(octets: &[u8], kind: Kind) -> Option<Self> {
        if kind == Kind::Ad
            && let Ok(guid) = <[u8; 16]>::try_from(octets)
        {
            return Some(Self(Uuid::from_bytes_le(guid).to_string()));
        }
        match std::str::from_utf8(octets) {
            Ok("") => None,
            // Not to be taken for the octets of a GUID.
            Ok(text) if kind == Kind::Ad && Uuid::parse_str(text).is_ok() => Some(Self(format!("#{}", hex(octets)))),
            Ok(text) if text.bytes().all(|octet| octet.is_ascii_graphic()) && !text.starts_with('#') => {
                Some(Self(text.to_ascii_lowercase()))
            }
            _ => Some(Self(format!("#{}", hex(octets)))),
        }
    }

    /// What to search for.
    pub(crate) fn value(&self, kind: Kind) -> Vec<u8> {
        if let Some(digits) = self.0.strip_prefix('#') {
            let pairs = digits.as_bytes().chunks(2).filter_map(|pair| std::str::from_utf8(pair).ok());
            return pairs.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect();
        }
        match Uuid::parse_str(&self.0) {
            Ok(guid) if kind == Kind::Ad => guid.to_bytes_le().to_vec(),
            _ => self.0.clone().into_bytes(),
        }
    }

    /// What stands for the entry's DN wherever it is now, with Active Directory (MS-ADTS section 3.1.1.3.1.2.4).
    pub(crate) fn as_base(&self) -> String {
        format!("<GUID={}>", self.0)
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |text, octet| text + &format!("{octet:02x}"))
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whose it is: the key for everything.
    pub id: EntryId,
    /// Where it is now, exactly as the directory writes it.
    pub dn: String,
    /// The names to log on with.
    pub names: Names,
    /// What to show.
    pub display: Option<String>,
    /// Mail address.
    pub mail: Option<String>,
    /// What the directory says about the account.
    pub state: AccountState,
    /// What a walk over groups begins with outside of Active Directory.
    pub(crate) seeds: GroupSeeds,
}

/// Names to log on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// `alice`. Where there are several, in alphabetical order.
    pub short: Vec<String>,
    /// `alice@example.com`.
    pub principal: Option<String>,
}

impl Names {
    /// The name to show and to compare with others.
    pub fn login(&self) -> Option<&str> {
        self.short.first().or(self.principal.as_ref()).map(String::as_str)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct GroupSeeds {
    pub(crate) member_of: Vec<String>,
    pub(crate) gid: Option<String>,
}

/// What the directory says about an account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AccountState {
    /// Switched off.
    pub disabled: bool,
    /// Locked after wrong passwords.
    pub locked: bool,
    /// Past its end date.
    pub expired: bool,
    /// With a password that is too old.
    pub password_expired: bool,
    /// With a password that must be changed first.
    pub must_change: bool,
}

impl AccountState {
    /// Why the account may not log on, if so.
    pub const fn refusal(self) -> Option<Refusal> {
        match self {
            Self { disabled: true, .. } => Some(Refusal::Disabled),
            Self { expired: true, .. } => Some(Refusal::AccountExpired),
            Self { locked: true, .. } => Some(Refusal::Locked),
            Self { must_change: true, .. } => Some(Refusal::MustChange),
            Self { password_expired: true, .. } => Some(Refusal::PasswordExpired),
            _ => None,
        }
    }

    fn read(raw: &RawEntry, kind: Kind, now: Timestamp) -> Self {
        match kind {
            Kind::Ad => Self::of_active_directory(raw, now),
            Kind::Ldap => Self {
                // 389 and FreeIPA.
                disabled: raw.is_true("nsAccountLock"),
                // This value means for good; with any other only the server knows until when.
                locked: raw.text("pwdAccountLockedTime") == Some("000001010000Z"),
                expired: raw
                    .number::<i64>("shadowExpire")
                    .is_some_and(|days| days >= 0 && now.as_seconds() >= days.saturating_mul(86_400)),
                password_expired: false,
                must_change: raw.is_true("pwdReset"),
            },
        }
    }

    fn of_active_directory(raw: &RawEntry, now: Timestamp) -> Self {
        /// Bits of userAccountControl (MS-ADTS section 2.2.16).
        const DISABLED: i64 = 0x2;
        const LOCKED: i64 = 0x10;
        const PASSWORD_NEVER_EXPIRES: i64 = 0x1_0000;
        const PASSWORD_EXPIRED: i64 = 0x80_0000;

        let control = raw.number::<i64>("userAccountControl").unwrap_or(0);
        let computed = raw.number::<i64>("msDS-User-Account-Control-Computed").unwrap_or(0);
        // Zero and the largest number mean never.
        let ends = raw.number::<i64>("accountExpires").filter(|ends| *ends > 0 && *ends < i64::MAX);
        let never_changed = raw.number::<i64>("pwdLastSet") == Some(0) && control & PASSWORD_NEVER_EXPIRES == 0;
        Self {
            disabled: control & DISABLED != 0,
            locked: computed & LOCKED != 0,
            expired: ends.is_some_and(|ends| now.as_seconds() >= seconds_of_filetime(ends)),
            // Set as well when the password must be changed.
            password_expired: computed & PASSWORD_EXPIRED != 0 && !never_changed,
            must_change: never_changed,
        }
    }
}

/// Seconds from 1601, where Windows begins to count, to 1970.
const SINCE_1601: i64 = 11_644_473_600;

/// Windows counts tenths of microseconds since 1601.
const fn seconds_of_filetime(time: i64) -> i64 {
    (time / 10_000_000).saturating_sub(SINCE_1601)
}

/// The same the other way round.
pub(crate) const fn filetime_of_seconds(seconds: i64) -> i64 {
    seconds.saturating_add(SINCE_1601).saturating_mul(10_000_000)
}

impl Entry {
    /// Which attributes to ask for.
    pub(crate) fn attributes(settings: &Settings) -> Vec<String> {
        let of_kind: &[&str] = match settings.kind {
            Kind::Ad => &["userAccountControl", "msDS-User-Account-Control-Computed", "accountExpires", "pwdLastSet"],
            Kind::Ldap => {
                &["cn", "nsAccountLock", "pwdAccountLockedTime", "pwdReset", "shadowExpire", "memberOf", "gidNumber"]
            }
        };
        let named = [&settings.id, &settings.login, &settings.mail, &settings.display];
        named
            .into_iter()
            .chain(&settings.principal)
            .cloned()
            .chain(of_kind.iter().map(|name| (*name).to_owned()))
            .collect()
    }

    pub(crate) fn read(raw: &RawEntry, settings: &Settings, now: Timestamp) -> Result<Self, EntryFault> {
        let dn = usable_dn(raw, settings)?;
        let mut short: Vec<String> = raw.texts(&settings.login).map(str::to_owned).collect();
        short.sort();
        Ok(Self {
            id: id(raw, settings)?,
            dn,
            names: Names {
                short,
                principal: settings.principal.as_deref().and_then(|name| raw.text(name)).map(str::to_owned),
            },
            display: raw.text(&settings.display).or_else(|| raw.text("cn")).map(str::to_owned),
            mail: raw.text(&settings.mail).map(str::to_owned),
            state: AccountState::read(raw, settings.kind, now),
            seeds: GroupSeeds {
                member_of: raw.texts("memberOf").map(str::to_owned).collect(),
                gid: raw.text("gidNumber").map(str::to_owned),
            },
        })
    }
}

/// The DN, if it can be bound with (S57) and is where we look (S58).
pub(crate) fn usable_dn(raw: &RawEntry, settings: &Settings) -> Result<String, EntryFault> {
    let parts = crate::dn::Dn::parse(&raw.dn).ok_or(EntryFault::OutsideBase)?;
    if parts.is_empty() {
        return Err(EntryFault::NoDn);
    }
    if parts.is_within(&settings.base_parts) { Ok(raw.dn.clone()) } else { Err(EntryFault::OutsideBase) }
}

/// The id, which must be there exactly once.
pub(crate) fn id(raw: &RawEntry, settings: &Settings) -> Result<EntryId, EntryFault> {
    match raw.values(&settings.id) {
        [only] => EntryId::read(only, settings.kind),
        _ => None,
    }
    .ok_or_else(|| EntryFault::NoId(settings.id.clone()))
}

/// What identifies a group: with Active Directory its SID, elsewhere its immutable id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(String);

impl GroupId {
    /// From the text that [`Self::as_str`] gave.
    pub fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// As text, to be kept.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// From a SID's octets (MS-DTYP section 2.4.2.2).
    pub(crate) fn of_sid(octets: &[u8]) -> Option<Self> {
        let [1, count, authority @ ..] = octets else { return None };
        let (authority, parts) = authority.split_at_checked(6)?;
        if parts.len() != usize::from(*count) * 4 || *count > 15 {
            return None;
        }
        let authority = authority.iter().fold(0_u64, |number, octet| number << 8 | u64::from(*octet));
        let parts = parts.chunks_exact(4).filter_map(|part| <[u8; 4]>::try_from(part).ok());
        let begin = format!("S-1-{authority}");
        Some(Self(parts.fold(begin, |text, part| text + &format!("-{}", u32::from_le_bytes(part)))))
    }

    /// Of a SID of a domain, its last part: what `primaryGroupID` names (MS-ADTS section 3.1.1.3.1.2).
    pub(crate) fn relative(&self) -> Option<&str> {
        self.0.strip_prefix("S-1-5-21-").and_then(|rest| rest.rsplit('-').next())
    }

    /// The octets of a SID.
    pub(crate) fn sid(&self) -> Option<Vec<u8>> {
        let mut parts = self.0.strip_prefix("S-1-")?.split('-');
        let authority = parts.next()?.parse::<u64>().ok()?.to_be_bytes();
        let parts: Vec<u32> = parts.map(|part| part.parse().ok()).collect::<Option<_>>()?;
        let count = u8::try_from(parts.len()).ok().filter(|count| *count <= 15)?;
        let mut octets = vec![1, count];
        octets.extend(authority.get(2..)?);
        octets.extend(parts.iter().flat_map(|part| part.to_le_bytes()));
        Some(octets)
    }
}

impl From<EntryId> for GroupId {
    fn from(id: EntryId) -> Self {
        Self(id.0)
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What it is compared by.
    pub id: GroupId,
    /// Its DN, unless it is somewhere else, in another domain for example.
    pub dn: Option<String>,
    /// Its name, or its id where that is all that is known.
    pub name: String,
}

/// All groups of a user, groups of groups and the primary group included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Groups(pub(crate) Vec<Group>);

impl Groups {
    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = &Group> {
        self.0.iter()
    }

    /// Whether `group` is one of them.
    pub fn contains(&self, group: &GroupId) -> bool {
        self.0.iter().any(|one| one.id == *group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_is_shown_as_windows_shows_it() {
        let octets = [0x78, 0x56, 0x34, 0x12, 0xbc, 0x9a, 0xf0, 0xde, 1, 2, 3, 4, 5, 6, 7, 8];
        let id = EntryId::read(&octets, Kind::Ad).unwrap();
        assert_eq!(id.as_str(), "12345678-9abc-def0-0102-030405060708");
        assert_eq!(EntryId::from_text(id.as_str()).value(Kind::Ad), octets);
    }

    #[test]
    fn other_ids_come_back_as_they_were() {
        let id = EntryId::read(b"A0EE1C9E-0000-103F-8000-1234567890AB", Kind::Ldap).unwrap();
        assert_eq!(id.value(Kind::Ldap), b"a0ee1c9e-0000-103f-8000-1234567890ab");
        let octets = [0, 0xff, b'#', 7];
        assert_eq!(EntryId::read(&octets, Kind::Ldap).unwrap().value(Kind::Ldap), octets);
        assert_eq!(EntryId::read(b"", Kind::Ldap), None);
    }

    #[test]
    fn sids_are_read_and_written() {
        let octets = [1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0];
        let sid = GroupId::of_sid(&octets).unwrap();
        assert_eq!(sid.as_str(), "S-1-5-32-544");
        assert_eq!(sid.sid().unwrap(), octets);
        for bad in [&octets[..15], &[2, 0, 0, 0, 0, 0, 0, 5], &[1, 16, 0, 0, 0, 0, 0, 5], &[]] {
            assert_eq!(GroupId::of_sid(bad), None);
        }
        assert_eq!(GroupId::from_text("GG-RDP").sid(), None);
    }

    fn state(attributes: &[(&str, &[&[u8]])]) -> AccountState {
        AccountState::read(&RawEntry::of("cn=x", attributes), Kind::Ad, Timestamp::from_seconds(1_800_000_000))
    }

    #[test]
    fn s62_the_state_of_an_account_is_read() {
        let none = AccountState::default();
        assert_eq!(state(&[("userAccountControl", &[b"512"]), ("accountExpires", &[b"9223372036854775807"])]), none);
        assert_eq!(state(&[("userAccountControl", &[b"514"])]).refusal(), Some(Refusal::Disabled));
        assert_eq!(state(&[("msDS-User-Account-Control-Computed", &[b"16"])]).refusal(), Some(Refusal::Locked));
        assert_eq!(state(&[("accountExpires", &[b"132223104000000000"])]).refusal(), Some(Refusal::AccountExpired));
        assert_eq!(state(&[("accountExpires", &[b"0"])]), none);
        assert_eq!(state(&[("pwdLastSet", &[b"0"])]).refusal(), Some(Refusal::MustChange));
        assert_eq!(state(&[("pwdLastSet", &[b"0"]), ("userAccountControl", &[b"66048"])]), none);
        for (attribute, value, right) in [
            ("nsAccountLock", "TRUE", Some(Refusal::Disabled)),
            ("pwdReset", "TRUE", Some(Refusal::MustChange)),
            ("pwdAccountLockedTime", "000001010000Z", Some(Refusal::Locked)),
            ("pwdAccountLockedTime", "20270101000000Z", None),
            ("shadowExpire", "20000", Some(Refusal::AccountExpired)),
            ("shadowExpire", "30000", None),
            ("shadowExpire", "-1", None),
        ] {
            let raw = RawEntry::of("cn=x", &[(attribute, &[value.as_bytes()])]);
            let state = AccountState::read(&raw, Kind::Ldap, Timestamp::from_seconds(1_800_000_000));
            assert_eq!(state.refusal(), right, "{attribute}: {value}");
        }
        let old = state(&[("msDS-User-Account-Control-Computed", &[b"8388608"])]);
        assert_eq!(old.refusal(), Some(Refusal::PasswordExpired));
    }
}
