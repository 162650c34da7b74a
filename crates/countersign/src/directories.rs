//! The directories that the desk and the admin API ask, over the directory crate.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use countersign_api::admin::directories::DirectoryStep;
use countersign_desk::{
    Directories, FindFault, PasswordAnswer, Person, Trouble,
    sync::{ReadUser, UserPage, UserPages},
};
use countersign_directory::{
    AccountState, AuthError, ConfigError, Directory as Client, DirectoryConfig, DirectoryError, Entry, LookupError,
    Membership as InGroup, NameFault, Place, Refusal,
    sync::{Deletions, Placed, SyncQuery},
    trial::{Outcome, Step, StepName},
};
use countersign_domain::{
    Clock, Directory, DirectoryId, Entropy, EntryId, HoldReason, HostileText, Secret, SyncPlace, SyncRule,
};
use serde_json::Value;

/// Clients of directories, made when they are first asked and anew when their settings change.
pub(crate) struct Clients {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    made: Mutex<HashMap<DirectoryId, (Directory, Arc<Client>)>>,
}

impl Clients {
    pub(crate) fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { clock, entropy, made: Mutex::default() }
    }

    /// The settings with their defaults, if they make sense and the CA file can be read.
    pub(crate) fn check(&self, settings: &Value, password: &Secret, rules: &[SyncRule]) -> Result<String, String> {
        let mut config = DirectoryConfig::deserialize_from(settings)?;
        config.bind_password = password.clone();
        self.make(&config).map_err(|fault| fault.to_string())?;
        let places: Vec<_> = rules.iter().map(place).collect();
        config.check_places(&places).map_err(|fault| fault.to_string())?;
        serde_json::to_string(&config).map_err(|fault| fault.to_string())
    }

    fn make(&self, config: &DirectoryConfig) -> Result<Client, ConfigError> {
        Client::new(config, Arc::clone(&self.clock), Arc::clone(&self.entropy))
    }

    fn client(&self, directory: &Directory) -> Result<Arc<Client>, Trouble> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((as_it_was, client)) = made.get(&directory.id)
            && as_it_was == directory
        {
            return Ok(Arc::clone(client));
        }
        let unusable = |text: String| Trouble { word: "directory_settings", text };
        let settings: Value = serde_json::from_str(&directory.settings).map_err(|fault| unusable(fault.to_string()))?;
        let mut config = DirectoryConfig::deserialize_from(&settings).map_err(unusable)?;
        config.bind_password = directory.password.clone();
        let client = Arc::new(self.make(&config).map_err(|fault| unusable(fault.to_string()))?);
        made.insert(directory.id, (directory.clone(), Arc::clone(&client)));
        Ok(client)
    }

    /// Walks through a directory, over connections of its own.
    pub(crate) async fn test(&self, directory: &Directory, user: Option<&str>) -> Vec<DirectoryStep> {
        match self.client(directory) {
            Ok(client) => client.test(user).await.into_iter().map(step).collect(),
            Err(trouble) => vec![DirectoryStep {
                step: "settings".to_owned(),
                server: None,
                ok: false,
                text: trouble.text,
                advice: Some(format!("change it with `countersign directory set {}`", directory.name)),
            }],
        }
    }

    /// Whether there is such a group.
    pub(crate) async fn find_group(&self, directory: &Directory, group: &str) -> Result<(), String> {
        let client = self.client(directory).map_err(|trouble| trouble.text)?;
        client.group(group).await.map(drop).map_err(|fault| fault.to_string())
    }
}

trait DeserializeFrom: Sized {
    fn deserialize_from(settings: &Value) -> Result<Self, String>;
}

impl DeserializeFrom for DirectoryConfig {
    /// The password does not come with the settings.
    fn deserialize_from(settings: &Value) -> Result<Self, String> {
        if settings.get("bind_password").is_some() {
            return Err("bind_password is no setting: the password comes apart from them".to_owned());
        }
        serde_json::from_value(settings.clone()).map_err(|fault| fault.to_string())
    }
}

#[async_trait]
impl Directories for Clients {
    async fn find(&self, directory: &Directory, typed: &str, groups: &[String]) -> Result<Person, FindFault> {
        let client = self.client(directory).map_err(FindFault::Unavailable)?;
        let entry = client.lookup(typed).await.map_err(|fault| match fault {
            LookupError::Unknown
            | LookupError::Unusable(NameFault::Empty | NameFault::TooLong | NameFault::Invisible) => {
                FindFault::Unknown(None)
            }
            LookupError::Unusable(NameFault::ForeignDomain) => FindFault::Unknown(Some("foreign_domain")),
            LookupError::Ambiguous => FindFault::Unknown(Some("ambiguous")),
            LookupError::Directory(fault) => FindFault::Unavailable(trouble(&fault)),
        })?;
        let among =
            client.memberships(&entry, groups).await.map_err(|fault| FindFault::Unavailable(trouble(&fault)))?;
        let those = |wanted: Option<InGroup>| {
            groups.iter().zip(&among).filter(|(_, found)| **found == wanted).map(|(group, _)| group.clone()).collect()
        };
        let (groups, no_groups) = (those(Some(InGroup::Member)), those(None));
        Ok(Person { groups, no_groups, ..person(entry) })
    }

    async fn users(&self, directory: &Directory, mark: Option<&str>) -> Result<Box<dyn UserPages>, Trouble> {
        let client = self.client(directory)?;
        // One that cannot be read is no mark.
        let since = mark.and_then(|mark| serde_json::from_str(mark).ok());
        let query = SyncQuery { places: directory.sync.rules.iter().map(place).collect(), since };
        Ok(Box::new(Pages(client.list_users(&query).await.map_err(|fault| trouble(&fault))?)))
    }

    async fn check(&self, directory: &Directory, typed: &str, password: &Secret) -> PasswordAnswer {
        let client = match self.client(directory) {
            Ok(client) => client,
            Err(trouble) => return PasswordAnswer::Unavailable(trouble),
        };
        match client.authenticate(typed, password).await {
            Ok(right) => PasswordAnswer::Right(entry_id(&right.entry)),
            Err(AuthError::Refused { refusal, .. }) if refusal.is_wrong_password() => PasswordAnswer::Wrong,
            Err(AuthError::Refused { refusal, .. }) => PasswordAnswer::Refused(word(refusal)),
            Err(AuthError::Directory(fault)) => PasswordAnswer::Unavailable(trouble(&fault)),
        }
    }
}

fn place(rule: &SyncRule) -> Place {
    match &rule.place {
        SyncPlace::Container(dn) => Place::Below(dn.clone()),
        SyncPlace::Group(group) => Place::Group(group.clone()),
    }
}

/// Users as the directory crate reads them.
struct Pages(countersign_directory::sync::UserPages);

#[async_trait]
impl UserPages for Pages {
    async fn next(&mut self) -> Result<Option<UserPage>, Trouble> {
        let Some(page) = self.0.next().await.map_err(|fault| trouble(&fault))? else { return Ok(None) };
        let unusable = page.unusable.iter().map(|(dn, fault)| format!("{}: {fault}", HostileText::from(dn.as_str())));
        let read = |Placed { entry, place }| ReadUser {
            name: entry.names.login().unwrap_or_else(|| entry.id.as_str()).to_owned(),
            hold: match entry.state {
                AccountState { disabled: true, .. } => Some(HoldReason::Disabled),
                AccountState { expired: true, .. } => Some(HoldReason::Expired),
                // These pass; the directory is asked about them with each login.
                _ => None,
            },
            rule: place,
            entry: entry_id(&entry),
            display_name: entry.display,
        };
        Ok(Some(UserPage {
            unusable: unusable.collect(),
            users: page.users.into_iter().map(read).collect(),
            deleted: page.deleted.iter().map(|id| EntryId::from_text(id.as_str().to_owned())).collect(),
        }))
    }

    fn is_everything(&self) -> bool {
        self.0.is_everything()
    }

    fn tells_deletions(&self) -> bool {
        self.0.deletions() == Deletions::Told
    }

    fn mark(&self) -> Option<String> {
        serde_json::to_string(&self.0.mark()?).ok()
    }
}

fn entry_id(entry: &Entry) -> EntryId {
    EntryId::from_text(entry.id.as_str().to_owned())
}

fn person(entry: Entry) -> Person {
    Person {
        name: entry.names.login().unwrap_or_else(|| entry.id.as_str()).to_owned(),
        refused: entry.state.refusal().map(word),
        groups: Vec::new(),
        no_groups: Vec::new(),
        entry: entry_id(&entry),
        display_name: entry.display,
    }
}

/// What the record says of an account that may not log on.
const fn word(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::PasswordEmpty => "password_empty",
        Refusal::PasswordNotUtf8 => "password_not_utf8",
        Refusal::PasswordTooLong => "password_too_long",
        Refusal::NameUnusable(_) | Refusal::NameUnknown => "name_unknown",
        Refusal::NameAmbiguous => "ambiguous",
        Refusal::WrongPassword => "password_wrong",
        Refusal::NoPassword => "no_password",
        Refusal::Disabled => "disabled",
        Refusal::AccountExpired => "expired",
        Refusal::Locked => "locked",
        Refusal::PasswordExpired => "password_expired",
        Refusal::MustChange => "must_change",
        Refusal::Hours => "hours",
        Refusal::Place => "place",
        Refusal::Other(_) => "other",
    }
}

fn trouble(fault: &DirectoryError) -> Trouble {
    let word = match fault {
        DirectoryError::Unavailable { .. } => "directory_unreachable",
        DirectoryError::Overloaded => "directory_overloaded",
        DirectoryError::ServiceAccount { .. } | DirectoryError::ServiceAccountRefused { .. } => {
            "service_account_refused"
        }
        DirectoryError::Referral { .. } | DirectoryError::Answer { .. } | DirectoryError::Entry { .. } => {
            "directory_answer"
        }
        DirectoryError::TooMany { .. } => "directory_limit",
        DirectoryError::NoSuchGroup(_) => "group_unknown",
    };
    Trouble { word, text: fault.to_string() }
}

fn step(step: Step) -> DirectoryStep {
    let ok = step.is_ok();
    let (text, advice) = match step.outcome {
        Outcome::Ok(text) => (text, None),
        Outcome::Failed { what, advice } => (what, Some(advice)),
    };
    let name = match step.name {
        StepName::Connect => "connect",
        StepName::Tls => "tls",
        StepName::Bind => "bind",
        StepName::Search => "search",
        StepName::User => "user",
        StepName::Groups => "groups",
    };
    DirectoryStep { step: name.to_owned(), server: step.server, ok, text, advice }
}
