//! Users of a directory who are read ahead of their logins: what can be set, what came of it, and who is disabled for it.

use core::time::Duration;
use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{DirectoryId, Timestamp};

/// What can be set for the synchronisation of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SyncSettings {
    /// Seconds from the start of a run to the start of the next; without it only who asks for a run gets one.
    pub interval: Option<u32>,
    /// Who is added, in the order in which rules are looked at; without any nobody is.
    pub rules: Vec<SyncRule>,
    /// When more users than this would be disabled or vanish, nothing is written.
    pub brake: u16,
    /// Users who have been gone from the directory for so many days are removed; without it they stay, disabled.
    pub remove_after_days: Option<u16>,
}

impl Default for SyncSettings {
    fn default() -> Self {
        Self { interval: None, rules: Vec::new(), brake: 5, remove_after_days: None }
    }
}

/// Settings that make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyncSettingsError {
    /// Out of range.
    #[error("the interval is {0} s: it must be from 1 minute to 24 hours")]
    Interval(u32),
    /// Out of range.
    #[error("the brake is {0}: it must be from 1 to 999 users")]
    Brake(u16),
    /// Out of range.
    #[error("users are to be removed after {0} days: it must be from 1 to 3650")]
    RemoveAfter(u16),
    /// More than anybody overlooks.
    #[error("{0} rules are too many: 100 at most")]
    Rules(usize),
}

impl SyncSettings {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`SyncSettingsError`]: the first thing that makes no sense.
    pub fn check(&self) -> Result<(), SyncSettingsError> {
        match self {
            Self { interval: Some(interval), .. } if !(60..=86_400).contains(interval) => {
                Err(SyncSettingsError::Interval(*interval))
            }
            Self { brake, .. } if !(1..=999).contains(brake) => Err(SyncSettingsError::Brake(*brake)),
            Self { remove_after_days: Some(days), .. } if !(1..=3650).contains(days) => {
                Err(SyncSettingsError::RemoveAfter(*days))
            }
            Self { rules, .. } if rules.len() > 100 => Err(SyncSettingsError::Rules(rules.len())),
            _ => Ok(()),
        }
    }

    /// How long users who are gone are kept.
    pub fn remove_after(&self) -> Option<Duration> {
        self.remove_after_days.map(|days| Timestamp::DAY.saturating_mul(days.into()))
    }
}

/// What becomes of users in a place. The first rule whose place has a user counts. Written and read as one text:
/// `add:container:OU=Staff,DC=example,DC=com`, `skip:group:GG-Service`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SyncRule {
    /// What.
    pub action: SyncAction,
    /// Which place.
    pub place: SyncPlace,
}

/// What becomes of users who are not here yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncAction {
    /// They are added.
    Add,
    /// They are not.
    Skip,
}

/// Where users are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncPlace {
    /// Below this DN.
    Container(String),
    /// In this group, directly or through others.
    Group(String),
}

/// A text that is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no rule: write add:container:DN, add:group:GROUP, skip:container:DN or skip:group:GROUP")]
pub struct SyncRuleError(String);

impl FromStr for SyncRule {
    type Err = SyncRuleError;

    fn from_str(text: &str) -> Result<Self, SyncRuleError> {
        let wrong = || SyncRuleError(text.to_owned());
        let (action, rest) = text.split_once(':').ok_or_else(wrong)?;
        let (sort, place) = rest.split_once(':').ok_or_else(wrong)?;
        let place = place.trim();
        let action = match action {
            "add" => SyncAction::Add,
            "skip" => SyncAction::Skip,
            _ => return Err(wrong()),
        };
        let place = match sort {
            "container" if !place.is_empty() => SyncPlace::Container(place.to_owned()),
            "group" if !place.is_empty() => SyncPlace::Group(place.to_owned()),
            _ => return Err(wrong()),
        };
        Ok(Self { action, place })
    }
}

impl fmt::Display for SyncRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match self.action {
            SyncAction::Add => "add",
            SyncAction::Skip => "skip",
        };
        match &self.place {
            SyncPlace::Container(dn) => write!(f, "{action}:container:{dn}"),
            SyncPlace::Group(group) => write!(f, "{action}:group:{group}"),
        }
    }
}

impl TryFrom<String> for SyncRule {
    type Error = SyncRuleError;

    fn try_from(text: String) -> Result<Self, SyncRuleError> {
        text.parse()
    }
}

impl From<SyncRule> for String {
    fn from(rule: SyncRule) -> Self {
        rule.to_string()
    }
}

/// That a user is disabled because of the directory, and not by an administrator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// What the directory says.
    pub why: HoldReason,
    /// When a synchronisation found it.
    pub since: Timestamp,
}

/// What a directory says of a user who is disabled for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HoldReason {
    /// The account is switched off.
    Disabled,
    /// The account's end date has passed.
    Expired,
    /// The entry is not among the users of the directory any more.
    Gone,
}

impl HoldReason {
    /// The word for storage and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Expired => "expired",
            Self::Gone => "gone",
        }
    }

    /// The reason that a word means.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Disabled, Self::Expired, Self::Gone].into_iter().find(|why| why.as_str() == word)
    }
}

/// What is known of the synchronisation of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncState {
    /// Which directory.
    pub directory: DirectoryId,
    /// Up to where its users were read, and under which settings. Whoever reads them knows what is in there.
    pub mark: Option<String>,
    /// When all of them were read last.
    pub whole_at: Option<Timestamp>,
    /// When a run last went well.
    pub done_at: Option<Timestamp>,
    /// The last run.
    pub last: SyncRun,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncRun {
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How it ended.
    pub outcome: SyncOutcome,
    /// Whether all users were read, and not only those that changed.
    pub whole: bool,
    /// What was written; of one that was held, what would have been.
    pub counts: SyncCounts,
    /// What is wrong, or worth knowing, for people.
    pub text: Option<String>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncOutcome {
    /// All that was to be written is.
    Done,
    /// Too many users would be disabled or vanish: nothing was written.
    Held,
    /// Something went wrong. What was not written comes with the next run.
    Failed,
}

impl SyncOutcome {
    /// The word for storage and output.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Held => "held",
            Self::Failed => "failed",
        }
    }

    /// The outcome that a word means.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Done, Self::Held, Self::Failed].into_iter().find(|outcome| outcome.as_str() == word)
    }
}

/// Users by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncCounts {
    /// Read from the directory.
    pub read: usize,
    /// Added.
    pub added: usize,
    /// Called otherwise.
    pub renamed: usize,
    /// Disabled.
    pub disabled: usize,
    /// Enabled again.
    pub enabled: usize,
    /// Removed.
    pub removed: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_as_they_are_written() {
        for text in
            ["add:container:OU=Staff,DC=example,DC=com", "skip:group:GG:with:colons", "add:group:S-1-5-21-1-2-3"]
        {
            assert_eq!(text.parse::<SyncRule>().unwrap().to_string(), text);
        }
        for wrong in
            ["", "add", "add:group", "add:group:", "add:container: ", "allow:group:x", "add:user:x", "Add:group:x"]
        {
            assert!(wrong.parse::<SyncRule>().unwrap_err().to_string().contains("add:container:DN"), "{wrong}");
        }
    }

    #[test]
    fn settings_are_bounded_and_members_have_defaults() {
        let settings: SyncSettings = serde_json::from_str(r#"{"rules":["add:group:GG-MFA"],"interval":60}"#).unwrap();
        assert_eq!((settings.check(), settings.brake, settings.remove_after()), (Ok(()), 5, None));
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<SyncSettings>(&text).unwrap(), settings);
        for wrong in [
            r#"{"interval":59}"#,
            r#"{"interval":86401}"#,
            r#"{"brake":0}"#,
            r#"{"brake":1000}"#,
            r#"{"remove_after_days":0}"#,
        ] {
            assert!(serde_json::from_str::<SyncSettings>(wrong).unwrap().check().is_err(), "{wrong}");
        }
        assert!(serde_json::from_str::<SyncSettings>(r#"{"breake":5}"#).is_err());
    }
}
