//! Users who come from directories: whose name was typed, and who comes in on demand.
//!
//! Nothing of an answer is kept: who is disabled, or in another group, is refused from the next login on (S62, S64).

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use async_trait::async_trait;
use countersign_domain::{
    Admission, AuditEvent, Commit, Directory, DirectoryId, EntryId, EventKind, HostileText, InGroup, LoginName,
    LoginRequest, Primary, Reason, Secret, User, UserId, UserOrigin, Write,
};
use countersign_engine::{PrimaryOutcome, Subject};
use countersign_storage::{CommitError, StoreError};
use tracing::warn;

use crate::{Desk, sync::UserPages};

/// Speaks to directories; the program brings one.
#[async_trait]
pub trait Directories: Send + Sync + 'static {
    /// Whose name `typed` is, and which of `groups` have the person.
    async fn find(&self, directory: &Directory, typed: &str, groups: &[String]) -> Result<Person, FindFault>;

    /// Begins to read users: all of them, or those that changed since `mark`, which an earlier reading gave.
    async fn users(&self, directory: &Directory, mark: Option<&str>) -> Result<Box<dyn UserPages>, Trouble>;

    /// Whether `password` is that of the person whose name `typed` is.
    async fn check(&self, directory: &Directory, typed: &str, password: &Secret) -> PasswordAnswer;
}

/// Somebody whom a directory knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Whose entry it is, for good.
    pub entry: EntryId,
    /// What the directory calls the person, to be shown.
    pub name: String,
    /// The name on screens.
    pub display_name: Option<String>,
    /// Why the account may not log on, one word; `None` when it may.
    pub refused: Option<&'static str>,
    /// Those of the groups that were asked about that have the person, directly or through others.
    pub groups: Vec<String>,
    /// Those that are not there, or more than once.
    pub no_groups: Vec<String>,
}

impl Person {
    fn is_in(&self, group: &str) -> InGroup {
        let among = |groups: &[String]| groups.iter().any(|one| one == group);
        match (among(&self.groups), among(&self.no_groups)) {
            (_, true) => InGroup::Unknown,
            (true, false) => InGroup::Yes,
            (false, false) => InGroup::No,
        }
    }
}

/// Why nobody was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FindFault {
    /// It is nobody's name; a word where there is more to say: `ambiguous`, `foreign_domain`.
    Unknown(Option<&'static str>),
    /// The directory gave no usable answer.
    Unavailable(Trouble),
}

/// Why a directory gave no usable answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// One word for the record.
    pub word: &'static str,
    /// For the log.
    pub text: String,
}

/// What a directory says of a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordAnswer {
    /// It is right, and this is whose it is.
    Right(EntryId),
    /// It is wrong.
    Wrong,
    /// The account may not log on, one word says why.
    Refused(&'static str),
    /// Nothing is known.
    Unavailable(Trouble),
}

/// Where there are no directories.
pub(crate) struct NoDirectories;

#[async_trait]
impl Directories for NoDirectories {
    async fn find(&self, _: &Directory, _: &str, _: &[String]) -> Result<Person, FindFault> {
        Err(FindFault::Unavailable(none()))
    }

    async fn users(&self, _: &Directory, _: Option<&str>) -> Result<Box<dyn UserPages>, Trouble> {
        Err(none())
    }

    async fn check(&self, _: &Directory, _: &str, _: &Secret) -> PasswordAnswer {
        PasswordAnswer::Unavailable(none())
    }
}

fn none() -> Trouble {
    Trouble { word: "no_directory", text: "this program speaks to no directories".to_owned() }
}

/// All directories as they are now; replaced as a whole when one changes.
pub(crate) type DirectoryTable = HashMap<DirectoryId, Arc<Directory>>;

pub(crate) fn table(directories: Vec<Directory>) -> Arc<DirectoryTable> {
    Arc::new(directories.into_iter().map(|directory| (directory.id, Arc::new(directory))).collect())
}

impl Desk {
    /// The name of a directory.
    pub fn directory_name(&self, id: DirectoryId) -> Option<String> {
        self.directory(id).map(|directory| directory.name.clone())
    }

    pub(crate) fn directory(&self, id: DirectoryId) -> Option<Arc<Directory>> {
        self.directory_table().get(&id).map(Arc::clone)
    }

    /// Who the login is about.
    pub(crate) async fn subject_in(self: &Arc<Self>, id: DirectoryId, request: &LoginRequest) -> Subject {
        let refused = |user, reason, detail: Option<&'static str>| Subject::Refused {
            user,
            reason,
            detail: detail.map(Cow::Borrowed),
        };
        let Some(directory) = self.directory(id) else {
            return refused(None, Reason::Unavailable, Some("no_directory"));
        };
        let Some(typed) = request.user_typed.as_utf8() else { return Subject::Unknown };
        let resource = &request.resource;
        let person = match self.directories().find(&directory, typed, &resource.groups()).await {
            Ok(person) => person,
            // The directory is asked about the password all the same, as it would be for somebody (S107).
            Err(FindFault::Unknown(None)) => return Subject::Unknown,
            Err(FindFault::Unknown(word)) => return refused(None, Reason::UserUnknown, word),
            Err(FindFault::Unavailable(trouble)) => {
                warn!(
                    directory.name = directory.name,
                    error = trouble.text,
                    "directory.find failed: a login is refused"
                );
                return refused(None, Reason::Unavailable, Some(trouble.word));
            }
        };
        let known = match self.store().user_by_entry(id, &person.entry).await {
            Ok(known) => known,
            Err(fault) => return self.lost(&fault),
        };
        let user = known.as_ref().map(|user| user.id);
        match resource.admits(|group| person.is_in(group)) {
            Admission::Admitted => {}
            Admission::OutsideAllowed => return refused(user, Reason::NotAllowed, None),
            Admission::OutsideRequired => return refused(user, Reason::NotAllowed, Some("required_group")),
            // One that is not there is no reason to let anybody in, and none to say that he is outside (C115).
            Admission::Unknown => {
                warn!(
                    directory.name = directory.name,
                    groups = ?person.no_groups,
                    "directory.find: groups that a resource names are not there: a login is refused"
                );
                return refused(user, Reason::Unavailable, Some("group_unknown"));
            }
        }
        // Where a password is checked the directory says itself what it thinks of the account, and only to those who
        // have it right.
        if let Some(word) = person.refused.filter(|_| resource.primary != Primary::Directory || user.is_none()) {
            return refused(user, Reason::AccountRefused, Some(word));
        }
        let user = match known {
            Some(user) => {
                self.follow_name(&user, &person).await;
                self.let_back(&user, &person).await;
                user.id
            }
            None => match self.bring_in(&directory, &person).await {
                Ok(user) => user,
                Err(fault) => return self.lost(&fault),
            },
        };
        Subject::Entry { user, policy: directory.lockout.policy(), groups: person.groups }
    }

    /// Adds a user who logs on for the first time. Of several logins at once one adds, and all are about the same user.
    async fn bring_in(self: &Arc<Self>, directory: &Directory, person: &Person) -> Result<UserId, StoreError> {
        let now = self.clock().now();
        let name = login_name(&person.name, &person.entry);
        let display_name = display_name(person.display_name.as_deref(), &person.name);
        let user = self.new_user(directory.id, &person.entry, &name, &display_name, now);
        let event = added(&user, directory, "directory");
        let id = user.id;
        match self.write(Commit { writes: vec![Write::AddUser(user)], audit: vec![event] }).await {
            Ok(()) => Ok(id),
            Err(CommitError::Store(fault)) => Err(fault),
            Err(CommitError::Conflict(_)) => {
                let there = self.store().user_by_entry(directory.id, &person.entry).await?;
                there.map(|user| user.id).ok_or_else(|| {
                    StoreError::Unavailable(format!("the directory {} was removed at the same time", directory.name))
                })
            }
        }
    }

    /// Notes another name of somebody who was renamed; whoever is shown a list should find them.
    async fn follow_name(self: &Arc<Self>, user: &User, person: &Person) {
        let name = login_name(&person.name, &person.entry);
        let shown = display_name(person.display_name.as_deref(), &person.name);
        if user.name.as_str() == name.as_str() && user.display_name == shown {
            return;
        }
        let mut event = AuditEvent::new(self.clock().now(), EventKind::UserChanged, "directory");
        event.user_id = Some(user.id);
        event.user_typed = Some(HostileText::from(name.as_str()));
        event.detail = serde_json::to_string(&serde_json::json!({
            "before": {"name": user.name.as_str(), "display_name": user.display_name},
            "after": {"name": name.as_str(), "display_name": shown},
        }))
        .ok();
        let write = Write::SetUserName { id: user.id, name, display_name: shown };
        if let Err(fault) = self.write(Commit { writes: vec![write], audit: vec![event] }).await {
            warn!(error = %fault, user.id = %user.id, "directory.rename was not written: it comes with the next login");
        }
    }

    /// Enables somebody whom a synchronisation had disabled and who the directory says now may log on: nobody waits for the
    /// next run, which there may not be.
    async fn let_back(self: &Arc<Self>, user: &User, person: &Person) {
        let Some(hold) = user.held.filter(|_| person.refused.is_none()) else { return };
        let write = Write::ReleaseUser(user.id);
        let audit = vec![crate::sync::released(self.clock().now(), user.id, &user.name, hold, "directory")];
        if let Err(fault) = self.write(Commit { writes: vec![write], audit }).await {
            warn!(error = %fault, user.id = %user.id, "directory.release was not written: it comes with the next login");
        }
    }

    /// What a directory says of a password: right only if it is that of `entry`.
    pub(crate) async fn check_in(
        &self,
        id: DirectoryId,
        name: &HostileText,
        entry: Option<EntryId>,
        password: &Secret,
    ) -> PrimaryOutcome {
        let Some(directory) = self.directory(id) else { return PrimaryOutcome::Unavailable("no_directory") };
        let Some(typed) = name.as_utf8() else { return PrimaryOutcome::Wrong };
        match self.directories().check(&directory, typed, password).await {
            PasswordAnswer::Right(found) if Some(&found) == entry.as_ref() => PrimaryOutcome::Right,
            // The name has become somebody else's in this moment.
            PasswordAnswer::Right(_) => PrimaryOutcome::Refused("renamed"),
            PasswordAnswer::Wrong => PrimaryOutcome::Wrong,
            PasswordAnswer::Refused(word) => PrimaryOutcome::Refused(word),
            PasswordAnswer::Unavailable(trouble) => {
                warn!(
                    directory.name = directory.name,
                    error = trouble.text,
                    "directory.check failed: a login is refused"
                );
                PrimaryOutcome::Unavailable(trouble.word)
            }
        }
    }
}

/// The record of a user who came in.
pub(crate) fn added(user: &User, directory: &Directory, actor: &str) -> AuditEvent {
    let mut event = AuditEvent::new(user.created_at, EventKind::UserAdded, actor);
    event.user_id = Some(user.id);
    event.user_typed = Some(HostileText::from(user.name.as_str()));
    let entry = match &user.origin {
        UserOrigin::Directory { entry, .. } => Some(entry.as_str()),
        UserOrigin::Local => None,
    };
    event.detail = serde_json::to_string(&serde_json::json!({"before": null, "after": {
        "name": user.name.as_str(),
        "display_name": user.display_name,
        "enabled": user.enabled,
        "directory": directory.name,
        "entry": entry,
    }}))
    .ok();
    event
}

/// The name to be shown; of an entry whose name people could not see, its identifier.
pub(crate) fn login_name(name: &str, entry: &EntryId) -> LoginName {
    let text = |text: &str| LoginName::new(text).ok();
    text(name).or_else(|| text(entry.as_str())).unwrap_or_else(LoginName::nobody)
}

/// The name on screens.
pub(crate) fn display_name(given: Option<&str>, name: &str) -> String {
    let given = given.map(str::trim).filter(|text| !text.is_empty());
    HostileText::from(given.unwrap_or(name)).shown(64)
}
