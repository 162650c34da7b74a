//! Resources: list, add, show, set, remove. One client can be added and set along with a resource; what else there is of
//! clients is in `clients`.

mod fields;

use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use countersign_domain::{
    Charset, ClientId, Commit, Directory, DirectoryId, EventKind, Expects, HostileText, Primary, RadiusClient,
    Resource, ResourceId, ResourceKind, Retries, Secret, UserVerification, Write,
};
use countersign_storage::CommitError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(super) use self::fields::group;
use self::fields::{
    answer_by, charset, expects, expects_word, goes_together, groups, primary, prompt, prompt_words, remember, retries,
    verification, verification_word,
};
use super::{
    Actor, AdminApi, AdminCode, AdminProblem, check_shown, clients,
    json::{Body, Name, answer, ok, secret},
    replies,
};
use crate::device::can_verify_users;

/// A resource as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceView {
    /// Immutable identifier.
    pub id: String,
    /// What people see.
    pub name: String,
    /// `radius`.
    pub kind: String,
    /// Addresses and networks that packets of its clients come from.
    pub clients: Vec<String>,
    /// The clients whose own resource it is.
    #[serde(default)]
    pub client_names: Vec<String>,
    /// Who checks the first factor: `local`, `directory`, `radius` or `none`.
    pub primary: String,
    /// Where its users are looked up; `null`: they are those who were added here.
    #[serde(default)]
    pub directory: Option<String>,
    /// The servers that check the first factor, with primary `radius`.
    #[serde(default)]
    pub upstream: Option<String>,
    /// What a request carries for them: `password` or `nothing`.
    #[serde(default)]
    pub expects: Option<String>,
    /// Whether that may be an MS-CHAP-V2 exchange.
    #[serde(default)]
    pub ms_chap: bool,
    /// Whether they may hold EAP conversations with the client.
    #[serde(default)]
    pub eap: bool,
    /// Groups of the directory whose members may log on; empty: everybody in it.
    #[serde(default)]
    pub allow_groups: Vec<String>,
    /// Groups of the directory in every one of which whoever logs on must be.
    #[serde(default)]
    pub require_groups: Vec<String>,
    /// Attributes of an Access-Accept, `Name = value`, or `GROUP -> Name = value` for members of a group.
    #[serde(default)]
    pub reply: Vec<String>,
    /// How names and passwords are written: `utf-8` or `windows-1252`.
    #[serde(default)]
    pub charset: String,
    /// Whether packets without Message-Authenticator are dropped, by all of its clients.
    pub require_message_authenticator: bool,
    /// The client gives up after so many seconds.
    pub answer_by: u64,
    /// What becomes of a retry under a new identifier: `join` or `collide`.
    pub retries: String,
    /// Whether the phone verifies its user before a Verify: `off`, `preferred` or `required`.
    pub user_verification: String,
    /// Seconds for which an approval lets in one further login of the same user from the same place.
    #[serde(default)]
    pub remember: u32,
    /// What may be asked at the client's prompt: `code-to-phone`, `typed`, `totp`; empty: nothing.
    #[serde(default)]
    pub prompt: Vec<String>,
    /// Whether users may open sign-in windows.
    #[serde(default)]
    pub windows: bool,
    /// When it was added.
    pub created_at: String,
}

/// The answer to a change.
#[derive(Clone, Serialize, Deserialize)]
pub struct ResourceChanged {
    /// As it is now.
    #[serde(flatten)]
    pub resource: ResourceView,
    /// The shared secret, if it was generated here: shown this once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// What is allowed and not good.
    pub warnings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AddResource {
    name: String,
    #[serde(default)]
    kind: Option<String>,
    /// None: it has no client of its own, and only rules of others lead to it.
    #[serde(default)]
    clients: Vec<String>,
    #[serde(default, deserialize_with = "secret")]
    secret: Option<Secret>,
    #[serde(default)]
    generate_secret: bool,
    #[serde(default)]
    primary: Option<String>,
    #[serde(default)]
    directory: Option<String>,
    #[serde(default)]
    upstream: Option<String>,
    #[serde(default)]
    expects: Option<String>,
    #[serde(default)]
    ms_chap: Option<bool>,
    #[serde(default)]
    eap: Option<bool>,
    #[serde(default)]
    allow_groups: Vec<String>,
    #[serde(default)]
    require_groups: Vec<String>,
    #[serde(default)]
    reply: Vec<String>,
    #[serde(default)]
    charset: Option<String>,
    #[serde(default)]
    require_message_authenticator: Option<bool>,
    #[serde(default)]
    answer_by: Option<u64>,
    #[serde(default)]
    retries: Option<String>,
    #[serde(default)]
    user_verification: Option<String>,
    #[serde(default)]
    remember: Option<u64>,
    #[serde(default)]
    prompt: Option<Vec<String>>,
    #[serde(default)]
    windows: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SetResource {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    clients: Option<Vec<String>>,
    #[serde(default, deserialize_with = "secret")]
    secret: Option<Secret>,
    #[serde(default)]
    generate_secret: bool,
    #[serde(default)]
    primary: Option<String>,
    /// Empty: none any more.
    #[serde(default)]
    directory: Option<String>,
    #[serde(default)]
    upstream: Option<String>,
    #[serde(default)]
    expects: Option<String>,
    #[serde(default)]
    ms_chap: Option<bool>,
    #[serde(default)]
    eap: Option<bool>,
    #[serde(default)]
    allow_groups: Option<Vec<String>>,
    #[serde(default)]
    require_groups: Option<Vec<String>>,
    #[serde(default)]
    reply: Option<Vec<String>>,
    #[serde(default)]
    charset: Option<String>,
    #[serde(default)]
    require_message_authenticator: Option<bool>,
    #[serde(default)]
    answer_by: Option<u64>,
    #[serde(default)]
    retries: Option<String>,
    #[serde(default)]
    user_verification: Option<String>,
    #[serde(default)]
    remember: Option<u64>,
    #[serde(default)]
    prompt: Option<Vec<String>>,
    #[serde(default)]
    windows: Option<bool>,
}

/// A resource, and the clients whose own it is.
pub(super) type WithClients = (Resource, Vec<RadiusClient>);

fn view(api: &AdminApi, (resource, clients): &WithClients) -> ResourceView {
    ResourceView {
        id: resource.id.to_string(),
        name: resource.name.clone(),
        kind: resource.kind.as_str().to_owned(),
        clients: clients.iter().flat_map(|client| &client.networks).map(ToString::to_string).collect(),
        client_names: clients.iter().map(|client| client.name.clone()).collect(),
        primary: resource.primary.as_str().to_owned(),
        directory: api.directory_of(resource),
        upstream: api.upstream_of(resource),
        expects: (resource.primary == Primary::Radius).then(|| expects_word(resource.policy.credential).to_owned()),
        ms_chap: resource.policy.ms_chap,
        eap: resource.policy.eap,
        allow_groups: resource.allow_groups.clone(),
        require_groups: resource.policy.require_groups.clone(),
        reply: replies::texts(&resource.policy.reply),
        charset: resource.policy.charset.as_str().to_owned(),
        require_message_authenticator: clients.iter().all(|client| client.require_message_authenticator),
        answer_by: resource.answer_by.as_secs(),
        retries: resource.retries.as_str().to_owned(),
        user_verification: verification_word(resource.policy.user_verification).to_owned(),
        remember: resource.policy.remember,
        prompt: prompt_words(resource.policy.prompt),
        windows: resource.policy.windows,
        created_at: resource.created_at.to_rfc3339(),
    }
}

/// What a record says of a resource, and of the client that is added or set along with it; `secret` says what became of
/// the client's secret.
fn facts(api: &AdminApi, resource: &Resource, client: Option<&RadiusClient>, secret: &str) -> Value {
    let mut facts = json!({
        "name": resource.name,
        "kind": resource.kind.as_str(),
        "primary": resource.primary.as_str(),
        "directory": api.directory_of(resource),
        "upstream": api.upstream_of(resource),
        "allow_groups": resource.allow_groups,
        "answer_by": resource.answer_by.as_secs(),
        "retries": resource.retries.as_str(),
    });
    if let (Value::Object(policy), Some(facts)) = (json!(resource.policy), facts.as_object_mut()) {
        facts.extend(policy);
        facts.insert("user_verification".to_owned(), json!(verification_word(resource.policy.user_verification)));
        facts.insert("prompt".to_owned(), json!(prompt_words(resource.policy.prompt)));
    }
    if let (Some(client), Some(facts)) = (client, facts.as_object_mut()) {
        facts.insert("client".to_owned(), json!(client.name));
        facts.insert("clients".to_owned(), json!(client.networks));
        facts.insert("secret".to_owned(), json!(secret));
        facts.insert("require_message_authenticator".to_owned(), json!(client.require_message_authenticator));
    }
    facts
}

/// The resource with a name in any spelling.
pub(super) fn named<'a>(name: &str, all: &'a [WithClients]) -> Result<&'a WithClients, AdminProblem> {
    let folded = name.to_lowercase();
    all.iter().find(|(resource, _)| resource.name.to_lowercase() == folded).ok_or_else(|| {
        let name = HostileText::from(name);
        AdminProblem::new(
            AdminCode::ResourceUnknown,
            format!("there is no resource {name}: `countersign resource list` shows all"),
        )
    })
}

impl AdminApi {
    /// The name of a resource's directory.
    fn directory_of(&self, resource: &Resource) -> Option<String> {
        let id = resource.directory?;
        Some(self.desk.directory_name(id).unwrap_or_else(|| id.to_string()))
    }

    /// The name of the servers that check its first factor.
    fn upstream_of(&self, resource: &Resource) -> Option<String> {
        let id = resource.upstream?;
        Some(self.desk.upstream_name(id).unwrap_or_else(|| id.to_string()))
    }

    async fn directory_id(&self, name: Option<&str>) -> Result<Option<DirectoryId>, AdminProblem> {
        match name {
            None | Some("") => Ok(None),
            Some(name) => self.directory(name).await.map(|directory| Some(directory.id)),
        }
    }

    /// Groups that the directory does not have, or cannot be asked about now.
    async fn group_warnings(&self, resource: &Resource) -> Result<Vec<String>, AdminProblem> {
        let directories = self.desk.store().directories().await?;
        let Some(directory) = directories.iter().find(|directory| Some(directory.id) == resource.directory) else {
            return Ok(Vec::new());
        };
        Ok(self.group_faults(resource, directory).await)
    }

    /// The same, where the directory is known.
    pub(super) async fn group_faults(&self, resource: &Resource, directory: &Directory) -> Vec<String> {
        let allowed = resource.allow_groups.iter().map(|group| (group, "", "through it"));
        let required = resource.policy.require_groups.iter();
        let required = required.map(|group| (group, ", which is required", "until it is there"));
        let given = resource.policy.reply.iter().filter_map(|rule| rule.group.as_ref());
        let given = given.map(|group| (group, " of a reply attribute", "until it is there"));
        let mut out = Vec::new();
        for (group, what, how) in allowed.chain(required).chain(given) {
            if let Err(fault) = self.facts.find_group(directory, group).await {
                out.push(format!("group {group}{what}: {fault}. Nobody can log on {how}"));
            }
        }
        out
    }

    /// Phones can verify nobody for a server that has no name.
    fn verification_warning(&self, resource: &Resource) -> Option<String> {
        let asks = resource.policy.user_verification != UserVerification::None;
        (asks && !can_verify_users(&self.issuer.origin)).then(|| {
            "user verification needs a name in [app] url: under an IP address no phone can verify its user, and with \
             required nobody gets in by phone"
                .to_owned()
        })
    }

    /// Explains why storage did not take a resource, or the client along with it.
    async fn refused(&self, resource: &Resource, client: Option<&RadiusClient>) -> AdminProblem {
        let folded = resource.name.to_lowercase();
        match self.desk.store().resources().await {
            Err(fault) => fault.into(),
            Ok(all) if all.iter().any(|(other, _)| other.id != resource.id && other.name.to_lowercase() == folded) => {
                AdminProblem::new(
                    AdminCode::ResourceExists,
                    format!(
                        "a resource {} exists already: choose another name, or change it with `countersign resource set`",
                        resource.name
                    ),
                )
            }
            Ok(_) => match client {
                Some(client) => self.client_refused(client).await,
                None => AdminProblem::conflict(),
            },
        }
    }
}

/// What is allowed and not good.
fn warnings(resource: &Resource, client: Option<&RadiusClient>) -> Vec<String> {
    let mut out = client.map(clients::warnings).unwrap_or_default();
    if resource.primary == Primary::None {
        out.push(
            "primary none: countersign checks no password here; whoever can send packets with the secret can make phones \
             ring. The client must have checked the user first, or ask for codes only"
                .to_owned(),
        );
    }
    if resource.policy.prompt.is_some() && !resource.proves_user() {
        out.push(
            "prompt: an RD Gateway, NPS before one, and clients that speak MS-CHAP only cannot show a prompt. They take every \
             challenge for a reject, and nobody gets in: `countersign resource set --no-prompt`"
                .to_owned(),
        );
    }
    if resource.policy.ms_chap {
        out.push(
            "ms-chap: whoever sees an exchange between user and client can break it and log on as the user. Only where the client \
             speaks it inside of a tunnel (TLS, IPsec)"
                .to_owned(),
        );
    }
    if resource.policy.remember > 0 && !resource.proves_user() {
        out.push(format!(
            "remember {}: for so many seconds after an approval, one login of the user from the same place is let in without \
             asking, and nobody here checks a password for it",
            resource.policy.remember
        ));
    }
    if resource.policy.eap {
        out.push(
            "eap: the servers must name in their Access-Accept whom they have let in. FreeRADIUS as it comes names whom the \
             client names, and then one user's password and another user's phone are enough: see docs/guide/eap.md, and try \
             it"
                .to_owned(),
        );
        if resource.policy.remember > 0 {
            out.push(
                "remember: on Wi-Fi the place is an address that whoever is near can hear and take. He who has the password too \
                 is let in without asking, for so many seconds after the user"
                    .to_owned(),
            );
        }
    }
    out
}

pub(super) async fn list(State(api): State<Arc<AdminApi>>) -> Result<Response, AdminProblem> {
    let all = api.desk.store().resources().await?;
    Ok(ok(&all.iter().map(|one| view(&api, one)).collect::<Vec<_>>()))
}

pub(super) async fn show(State(api): State<Arc<AdminApi>>, Name(name): Name) -> Result<Response, AdminProblem> {
    let all = api.desk.store().resources().await?;
    Ok(ok(&view(&api, named(&name, &all)?)))
}

pub(super) async fn add(
    State(api): State<Arc<AdminApi>>,
    actor: Actor,
    Body(new): Body<AddResource>,
) -> Result<Response, AdminProblem> {
    check_shown("name of the resource", &new.name)?;
    let kind = new.kind.as_deref().unwrap_or("radius");
    let kind = ResourceKind::from_word(kind).ok_or_else(|| {
        AdminProblem::new(AdminCode::Malformed, format!("kind is radius, not {}", HostileText::from(kind)))
    })?;
    let _one = api.changes.lock().await;
    let all = api.desk.store().resources().await?;
    let now = api.desk.clock().now();
    let entropy = &**api.desk.entropy();
    let primary = new.primary.as_deref().map_or(Ok(Primary::Local), primary)?;
    let mut resource = Resource {
        kind,
        directory: api.directory_id(new.directory.as_deref()).await?,
        allow_groups: groups(new.allow_groups)?,
        retries: new.retries.as_deref().map_or(Ok(Retries::Join), retries)?,
        answer_by: new.answer_by.map_or(Ok(Resource::ANSWER_BY_DEFAULT), answer_by)?,
        ..Resource::new(ResourceId::new(now, entropy), &new.name, primary, now)
    };
    if let Some(name) = &new.upstream {
        resource.upstream = Some(api.upstream(name).await?.id);
    }
    resource.policy.credential = new.expects.as_deref().map_or(Ok(Expects::Password), expects)?;
    resource.policy.ms_chap = new.ms_chap.unwrap_or(false);
    resource.policy.eap = new.eap.unwrap_or(false);
    resource.policy.user_verification =
        new.user_verification.as_deref().map_or(Ok(UserVerification::None), verification)?;
    resource.policy.prompt = prompt(&new.prompt.unwrap_or_default())?;
    resource.policy.windows = new.windows.unwrap_or(false);
    resource.policy.require_groups = groups(new.require_groups)?;
    resource.policy.remember = new.remember.map_or(Ok(0), remember)?;
    resource.policy.reply = replies::rules(&new.reply)?;
    resource.policy.charset = new.charset.as_deref().map_or(Ok(Charset::Utf8), charset)?;
    goes_together(&resource)?;
    let made = api.new_secret(new.secret, new.generate_secret)?;
    let (client, shown, warning) = match (new.clients.is_empty(), made) {
        (true, None) => (None, None, None),
        (true, Some(_)) => {
            let text =
                "a secret is that of a client, which needs the address that its packets come from: --client 192.0.2.7";
            return Err(AdminProblem::new(AdminCode::NetworkRefused, text));
        }
        (false, None) => {
            let text = "a resource needs a shared secret: --generate-secret makes one, --secret-stdin reads one";
            return Err(AdminProblem::new(AdminCode::SecretRefused, text));
        }
        (false, Some(made)) => {
            let client = RadiusClient {
                id: ClientId::new(now, entropy),
                name: resource.name.clone(),
                resource: resource.id,
                rules: Vec::new(),
                networks: AdminApi::networks(&new.clients, None, &all)?,
                secret: made.secret,
                previous: None,
                tls: None,
                require_message_authenticator: new.require_message_authenticator.unwrap_or(true),
            };
            (Some(client), made.shown, made.warning)
        }
    };
    let after = facts(&api, &resource, client.as_ref(), "(set)");
    let mut event = api.change(actor, EventKind::ResourceAdded, None::<&()>, Some(&after));
    (event.resource, event.client) = (Some(resource.id), client.as_ref().map(|client| client.id));
    let mut warnings = warnings(&resource, client.as_ref());
    warnings.extend(api.verification_warning(&resource));
    warnings.extend(api.group_warnings(&resource).await?);
    warnings.extend(warning);
    let shown = ResourceChanged {
        resource: view(&api, &(resource.clone(), client.iter().cloned().collect())),
        secret: shown,
        warnings,
    };
    let write = match &client {
        Some(client) => Write::AddResource { resource: Box::new(resource.clone()), client: Box::new(client.clone()) },
        None => Write::AddBareResource(Box::new(resource.clone())),
    };
    match api.desk.write(Commit { writes: vec![write], audit: vec![event] }).await {
        Ok(()) => Ok(answer(StatusCode::CREATED, &shown)),
        Err(CommitError::Conflict(_)) => Err(api.refused(&resource, client.as_ref()).await),
        Err(CommitError::Store(fault)) => Err(fault.into()),
    }
}

pub(super) async fn set(
    State(api): State<Arc<AdminApi>>,
    actor: Actor,
    Name(name): Name,
    Body(new): Body<SetResource>,
) -> Result<Response, AdminProblem> {
    let _one = api.changes.lock().await;
    let all = api.desk.store().resources().await?;
    let (before, clients) = named(&name, &all)?;
    let mut resource = before.clone();
    if let Some(name) = new.name {
        check_shown("name of the resource", &name)?;
        resource.name = name;
    }
    if let Some(word) = new.primary {
        resource.primary = primary(&word)?;
        if resource.primary == Primary::Local && new.directory.is_none() {
            resource.directory = None;
            resource.allow_groups.clear();
            resource.policy.require_groups.clear();
            resource.policy.reply.retain(|rule| rule.group.is_none());
        }
    }
    if resource.primary != Primary::Radius {
        resource.upstream = None;
        resource.policy.credential = Expects::Password;
        resource.policy.ms_chap = false;
        resource.policy.eap = false;
    }
    if let Some(name) = new.upstream {
        resource.upstream = Some(api.upstream(&name).await?.id);
    }
    if let Some(word) = new.expects {
        resource.policy.credential = expects(&word)?;
    }
    if let Some(on) = new.ms_chap {
        resource.policy.ms_chap = on;
    }
    if let Some(name) = new.directory {
        resource.directory = api.directory_id(Some(&name)).await?;
    }
    if let Some(on) = new.eap {
        resource.policy.eap = on;
    }
    if let Some(named) = new.allow_groups {
        resource.allow_groups = groups(named)?;
    }
    if let Some(named) = new.require_groups {
        resource.policy.require_groups = groups(named)?;
    }
    if let Some(texts) = new.reply {
        resource.policy.reply = replies::rules(&texts)?;
    }
    if let Some(word) = new.charset {
        resource.policy.charset = charset(&word)?;
    }
    if let Some(word) = new.retries {
        resource.retries = retries(&word)?;
    }
    if let Some(word) = new.user_verification {
        resource.policy.user_verification = verification(&word)?;
    }
    if let Some(words) = new.prompt {
        resource.policy.prompt = prompt(&words)?;
    }
    if let Some(windows) = new.windows {
        resource.policy.windows = windows;
    }
    if let Some(seconds) = new.remember {
        resource.policy.remember = remember(seconds)?;
    }
    if let Some(seconds) = new.answer_by {
        resource.answer_by = answer_by(seconds)?;
    }
    goes_together(&resource)?;
    clients::rules_still_hold(&resource, &all)?;

    let made = api.new_secret(new.secret, new.generate_secret)?;
    let of_client = made.is_some() || new.clients.is_some() || new.require_message_authenticator.is_some();
    let client_before = match clients.as_slice() {
        [client] => Some(client),
        _ if !of_client => None,
        others => {
            let text = format!(
                "the resource {} has {} clients: `countersign client set NAME …` changes one, `countersign client list` shows \
                 all",
                before.name,
                others.len()
            );
            return Err(AdminProblem::new(AdminCode::ClientUnknown, text));
        }
    };
    if let Some(client) = client_before.filter(|client| of_client && client.tls.is_some()) {
        let text = format!(
            "client {} speaks TLS, and has neither a secret nor rules for datagrams: `countersign client set {} …` changes it",
            client.name, client.name
        );
        return Err(AdminProblem::new(AdminCode::IdentityRefused, text));
    }
    let mut client = client_before.cloned();
    let (mut shown, mut warning) = (None, None);
    if let Some(client) = &mut client {
        if client.name == before.name {
            client.name.clone_from(&resource.name);
        }
        if let Some(texts) = new.clients {
            client.networks = AdminApi::networks(&texts, Some(client.id), &all)?;
        }
        if let Some(required) = new.require_message_authenticator {
            client.require_message_authenticator = required;
        }
        if let Some(made) = made {
            (client.secret, shown, warning) = (made.secret, made.shown, made.warning);
            client.previous = None;
        }
    }
    let mut said = warnings(&resource, client.as_ref());
    said.extend(warning);
    said.extend(api.verification_warning(&resource));
    said.extend(api.group_warnings(&resource).await?);
    let now = match &client {
        Some(client) => vec![client.clone()],
        None => clients.clone(),
    };
    let changed = ResourceChanged { resource: view(&api, &(resource.clone(), now)), secret: shown, warnings: said };
    // A client that stays as it is belongs neither into the record nor into the write.
    let touched = client.as_ref() != client_before;
    if resource == *before && !touched {
        return Ok(ok(&changed));
    }
    let (client, client_before) = (client.filter(|_| touched), client_before.filter(|_| touched));
    let replaced = client.as_ref().zip(client_before).is_some_and(|(now, before)| now.secret != before.secret);
    let mut event = api.change(
        actor,
        EventKind::ResourceChanged,
        Some(&facts(&api, before, client_before, "(set)")),
        Some(&facts(&api, &resource, client.as_ref(), if replaced { "(replaced)" } else { "(set)" })),
    );
    (event.resource, event.client) = (Some(resource.id), client.as_ref().map(|client| client.id));
    let write = match &client {
        Some(client) => Write::SetResource { resource: Box::new(resource.clone()), client: Box::new(client.clone()) },
        None => Write::SetBareResource(Box::new(resource.clone())),
    };
    match api.desk.write(Commit { writes: vec![write], audit: vec![event] }).await {
        Ok(()) => Ok(ok(&changed)),
        Err(CommitError::Conflict(_)) => Err(api.refused(&resource, client.as_ref()).await),
        Err(CommitError::Store(fault)) => Err(fault.into()),
    }
}

pub(super) async fn remove(
    State(api): State<Arc<AdminApi>>,
    actor: Actor,
    Name(name): Name,
) -> Result<StatusCode, AdminProblem> {
    let _one = api.changes.lock().await;
    let all = api.desk.store().resources().await?;
    let (resource, clients) = named(&name, &all)?;
    if let Some((client, _)) = clients::rule_to(resource, &all) {
        let text = format!(
            "a rule of client {} leads to {}: take it away first, `countersign client set {} --match …`",
            client.name, resource.name, client.name
        );
        return Err(AdminProblem::new(AdminCode::ResourceInUse, text));
    }
    let before = facts(&api, resource, clients.first(), "(set)");
    let mut event = api.change(actor, EventKind::ResourceRemoved, Some(&before), None::<&()>);
    event.resource = Some(resource.id);
    event.client = clients.first().map(|client| client.id);
    api.desk
        .write(Commit { writes: vec![Write::RemoveResource(resource.id)], audit: vec![event] })
        .await
        .map_err(|fault| AdminProblem::of_commit(fault, |_| AdminProblem::conflict()))?;
    Ok(StatusCode::NO_CONTENT)
}
