//! Resources with their RADIUS client: list, add, show, set, remove. A shared secret goes in and never comes out, but
//! for one that was generated here, once (S47).

use core::time::Duration;
use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use countersign_domain::{
    ClientId, Commit, DirectoryId, EventKind, HostileText, Network, Primary, RadiusClient, Resource, ResourceId,
    ResourceKind, Retries, Secret, UserVerification, Write,
};
use countersign_radius::{SecretPolicyError, SecretStrength, SharedSecret};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::device::can_verify_users;

use super::{
    Actor, AdminApi, AdminCode, AdminProblem, check_shown,
    json::{Body, Name, answer, ok, secret},
};

/// A resource as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceView {
    /// Immutable identifier.
    pub id: String,
    /// What people see.
    pub name: String,
    /// `radius`.
    pub kind: String,
    /// Addresses and networks that its packets come from.
    pub clients: Vec<String>,
    /// Who checks the first factor: `local`, `directory` or `none`.
    pub primary: String,
    /// Where its users are looked up; `null`: they are those who were added here.
    #[serde(default)]
    pub directory: Option<String>,
    /// Groups of the directory whose members may log on; empty: everybody in it.
    #[serde(default)]
    pub allow_groups: Vec<String>,
    /// Whether packets without Message-Authenticator are dropped.
    pub require_message_authenticator: bool,
    /// The client gives up after so many seconds.
    pub answer_by: u64,
    /// What becomes of a retry under a new identifier: `join` or `collide`.
    pub retries: String,
    /// Whether the phone verifies its user before a Verify: `off`, `preferred` or `required`.
    pub user_verification: String,
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
    allow_groups: Vec<String>,
    #[serde(default)]
    require_message_authenticator: Option<bool>,
    #[serde(default)]
    answer_by: Option<u64>,
    #[serde(default)]
    retries: Option<String>,
    #[serde(default)]
    user_verification: Option<String>,
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
    allow_groups: Option<Vec<String>>,
    #[serde(default)]
    require_message_authenticator: Option<bool>,
    #[serde(default)]
    answer_by: Option<u64>,
    #[serde(default)]
    retries: Option<String>,
    #[serde(default)]
    user_verification: Option<String>,
}

type WithClients = (Resource, Vec<RadiusClient>);

fn view(api: &AdminApi, (resource, clients): &WithClients) -> ResourceView {
    ResourceView {
        id: resource.id.to_string(),
        name: resource.name.clone(),
        kind: resource.kind.as_str().to_owned(),
        clients: clients.iter().flat_map(|client| &client.networks).map(ToString::to_string).collect(),
        primary: resource.primary.as_str().to_owned(),
        directory: api.directory_of(resource),
        allow_groups: resource.allow_groups.clone(),
        require_message_authenticator: clients.iter().all(|client| client.require_message_authenticator),
        answer_by: resource.answer_by.as_secs(),
        retries: resource.retries.as_str().to_owned(),
        user_verification: verification_word(resource.policy.user_verification).to_owned(),
        created_at: resource.created_at.to_rfc3339(),
    }
}

/// What a record says of a resource; `secret` says what became of the secret.
fn facts(api: &AdminApi, resource: &Resource, client: &RadiusClient, secret: &str) -> serde_json::Value {
    json!({
        "name": resource.name,
        "kind": resource.kind.as_str(),
        "clients": client.networks,
        "secret": secret,
        "primary": resource.primary.as_str(),
        "directory": api.directory_of(resource),
        "allow_groups": resource.allow_groups,
        "require_message_authenticator": client.require_message_authenticator,
        "answer_by": resource.answer_by.as_secs(),
        "retries": resource.retries.as_str(),
        "user_verification": verification_word(resource.policy.user_verification),
    })
}

impl AdminApi {
    /// The name of a resource's directory.
    fn directory_of(&self, resource: &Resource) -> Option<String> {
        let id = resource.directory?;
        Some(self.desk.directory_name(id).unwrap_or_else(|| id.to_string()))
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
        let mut out = Vec::new();
        for group in &resource.allow_groups {
            if let Err(fault) = self.facts.find_group(directory, group).await {
                out.push(format!("group {group}: {fault}. Nobody can log on through it"));
            }
        }
        Ok(out)
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

    async fn resource(&self, name: &str) -> Result<WithClients, AdminProblem> {
        let folded = name.to_lowercase();
        let all = self.desk.store().resources().await?;
        all.into_iter().find(|(resource, _)| resource.name.to_lowercase() == folded).ok_or_else(|| {
            let name = HostileText::from(name);
            AdminProblem::new(
                AdminCode::ResourceUnknown,
                format!("there is no resource {name}: `countersign resource list` shows all"),
            )
        })
    }

    /// Networks as written; none may be another resource's, for then nobody could say whose a packet is.
    async fn networks(&self, texts: &[String], own: Option<ResourceId>) -> Result<Vec<Network>, AdminProblem> {
        let mut networks = Vec::new();
        for text in texts {
            let network = network(text)?;
            if !networks.contains(&network) {
                networks.push(network);
            }
        }
        if networks.is_empty() {
            return Err(AdminProblem::new(
                AdminCode::NetworkRefused,
                "a resource needs the address of its client: --client 192.0.2.7 or --client 192.0.2.0/24",
            ));
        }
        for (resource, clients) in self.desk.store().resources().await? {
            if own == Some(resource.id) {
                continue;
            }
            let theirs = clients.iter().flat_map(|client| &client.networks);
            if let Some(taken) = theirs.into_iter().find(|network| networks.contains(network)) {
                return Err(AdminProblem::new(
                    AdminCode::NetworkInUse,
                    format!(
                        "{taken} is the client of resource {}: a packet from there can be for one resource only. Use a \
                         narrower network, or `countersign resource set {} --client …` first",
                        resource.name, resource.name
                    ),
                ));
            }
        }
        Ok(networks)
    }

    /// The secret to use, the same as text if it was made here, and what is to be said about it.
    pub(super) fn new_secret(&self, given: Option<Secret>, generate: bool) -> Result<Option<NewSecret>, AdminProblem> {
        match (given, generate) {
            (Some(_), true) => Err(AdminProblem::new(
                AdminCode::SecretRefused,
                "a secret was given and one is to be generated: choose one of the two",
            )),
            (Some(given), false) => checked(given).map(Some),
            (None, true) => {
                // 24 octets are 32 characters of base64url and 192 bits.
                let made = countersign_device_protocol::encoding::encode(&self.desk.entropy().octets::<24>());
                Ok(Some(NewSecret { secret: Secret::new(made.clone().into_bytes()), shown: Some(made), warning: None }))
            }
            (None, false) => Ok(None),
        }
    }

    /// Explains why storage did not take a resource.
    async fn refused(&self, resource: &Resource) -> AdminProblem {
        let folded = resource.name.to_lowercase();
        match self.desk.store().resources().await {
            Err(fault) => fault.into(),
            Ok(all) => {
                if all.iter().any(|(other, _)| other.id != resource.id && other.name.to_lowercase() == folded) {
                    AdminProblem::new(
                        AdminCode::ResourceExists,
                        format!(
                            "a resource {} exists already: choose another name, or change it with `countersign resource set`",
                            resource.name
                        ),
                    )
                } else {
                    AdminProblem::new(
                        AdminCode::SecretInUse,
                        "another client has the same shared secret: each needs its own, so that one that leaks opens one \
                         door only; --generate-secret makes one",
                    )
                }
            }
        }
    }
}

pub(super) struct NewSecret {
    pub(super) secret: Secret,
    pub(super) shown: Option<String>,
    pub(super) warning: Option<String>,
}

fn checked(given: Secret) -> Result<NewSecret, AdminProblem> {
    let refuse = |detail: String| Err(AdminProblem::new(AdminCode::SecretRefused, detail));
    if given.is_empty() {
        return refuse(
            "the shared secret is empty: at least 16 octets are needed; --generate-secret makes a good one".to_owned(),
        );
    }
    let warning = match SharedSecret::check_policy(given.expose()) {
        Ok(SecretStrength::Recommended) => None,
        Ok(SecretStrength::Short) => Some(
            "the shared secret has fewer than 24 octets, which is less than recommended; --generate-secret makes one of 32"
                .to_owned(),
        ),
        Err(fault @ (SecretPolicyError::WellKnown | SecretPolicyError::TooShort(_) | SecretPolicyError::Repetitive)) => {
            return refuse(format!("{fault}: --generate-secret makes a good one"));
        }
    };
    Ok(NewSecret { secret: given, shown: None, warning })
}

/// Reads an address or a network.
fn network(text: &str) -> Result<Network, AdminProblem> {
    let refuse = |detail: String| Err(AdminProblem::new(AdminCode::NetworkRefused, detail));
    let shown = HostileText::from(text);
    let parsed = text.parse::<Network>().or_else(|_| text.parse::<std::net::IpAddr>().map(Network::from));
    let Ok(network) = parsed else {
        return refuse(format!("{shown} is no address and no network: write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/64"));
    };
    if network.trunc() != network {
        return refuse(format!(
            "{shown} has bits behind its prefix: write {} for the network, or {} for the one address",
            network.trunc(),
            network.addr()
        ));
    }
    if matches!(network, Network::V6(v6) if v6.addr().to_ipv4_mapped().is_some()) {
        return refuse(format!("{shown} is an IPv4 address in IPv6 form: write it as IPv4"));
    }
    Ok(network)
}

fn primary(word: &str) -> Result<Primary, AdminProblem> {
    Primary::from_word(word).ok_or_else(|| {
        AdminProblem::new(
            AdminCode::Malformed,
            format!("primary is local, directory, radius or none, not {}", HostileText::from(word)),
        )
    })
}

const fn verification_word(asks: UserVerification) -> &'static str {
    match asks {
        UserVerification::None => "off",
        UserVerification::Preferred => "preferred",
        UserVerification::Required => "required",
    }
}

fn verification(word: &str) -> Result<UserVerification, AdminProblem> {
    let all = [UserVerification::None, UserVerification::Preferred, UserVerification::Required];
    all.into_iter().find(|asks| verification_word(*asks) == word).ok_or_else(|| {
        let shown = HostileText::from(word);
        AdminProblem::new(AdminCode::Malformed, format!("user verification is off, preferred or required, not {shown}"))
    })
}

/// Names of groups, each once.
fn groups(named: Vec<String>) -> Result<Vec<String>, AdminProblem> {
    const MOST: usize = 32;
    let mut out: Vec<String> = Vec::new();
    for name in named {
        let name = name.trim().to_owned();
        if name.is_empty() || name.len() > 1024 || !name.chars().all(super::is_harmless) {
            let shown = HostileText::from(name.as_str());
            return Err(AdminProblem::new(AdminCode::NameInvalid, format!("{shown} is no name of a group")));
        }
        if !out.contains(&name) {
            out.push(name);
        }
    }
    if out.len() > MOST {
        let text = format!("{} groups are more than {MOST}: make one in the directory that has them", out.len());
        return Err(AdminProblem::new(AdminCode::NameInvalid, text));
    }
    Ok(out)
}

/// Who checks the password and where the users are must fit.
fn goes_together(resource: &Resource) -> Result<(), AdminProblem> {
    let refuse = |detail| Err(AdminProblem::new(AdminCode::PrimaryRefused, detail));
    match (resource.primary, resource.directory) {
        (Primary::Directory, None) => refuse("primary directory needs one: --directory NAME"),
        (Primary::Local, Some(_)) => refuse(
            "primary local checks passwords of users who were added here, who are in no directory: with --directory it is \
             --primary directory, or --primary none where the client has checked the password",
        ),
        (Primary::Radius, _) if resource.upstream.is_none() => {
            refuse("primary radius needs the servers that check the password: --upstream NAME")
        }
        (_, None) if !resource.allow_groups.is_empty() => refuse("groups are those of a directory: --directory NAME"),
        _ => Ok(()),
    }
}

fn retries(word: &str) -> Result<Retries, AdminProblem> {
    Retries::from_word(word).ok_or_else(|| {
        AdminProblem::new(AdminCode::Malformed, format!("retries is join or collide, not {}", HostileText::from(word)))
    })
}

fn answer_by(seconds: u64) -> Result<Duration, AdminProblem> {
    let span = Duration::from_secs(seconds);
    if (Resource::ANSWER_BY_MIN..=Resource::ANSWER_BY_MAX).contains(&span) {
        return Ok(span);
    }
    Err(AdminProblem::new(
        AdminCode::AnswerByRefused,
        format!(
            "answer-by is {seconds} s: it must be from {} to {} seconds, and a little less than the client waits",
            Resource::ANSWER_BY_MIN.as_secs(),
            Resource::ANSWER_BY_MAX.as_secs()
        ),
    ))
}

/// What is allowed and not good.
fn warnings(resource: &Resource, client: &RadiusClient) -> Vec<String> {
    let mut out = Vec::new();
    if !client.require_message_authenticator {
        out.push(
            "packets without Message-Authenticator are taken: somebody between client and server can alter them \
             (CVE-2024-3596). Keep the two on one trusted network, and switch it on when the client can send it"
                .to_owned(),
        );
    }
    if client.networks.iter().any(|network| network.prefix_len() == 0) {
        out.push("the client is the whole internet: name the addresses that packets come from".to_owned());
    }
    if resource.primary == Primary::None {
        out.push(
            "primary none: countersign checks no password here; whoever can send packets with the secret can make phones \
             ring. The client must have checked the user first, or ask for codes only"
                .to_owned(),
        );
    }
    out
}

pub(super) async fn list(State(api): State<Arc<AdminApi>>) -> Result<Response, AdminProblem> {
    let all = api.desk.store().resources().await?;
    Ok(ok(&all.iter().map(|one| view(&api, one)).collect::<Vec<_>>()))
}

pub(super) async fn show(State(api): State<Arc<AdminApi>>, Name(name): Name) -> Result<Response, AdminProblem> {
    Ok(ok(&view(&api, &api.resource(&name).await?)))
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
    let made = api.new_secret(new.secret, new.generate_secret)?.ok_or_else(|| {
        AdminProblem::new(
            AdminCode::SecretRefused,
            "a resource needs a shared secret: --generate-secret makes one, --secret-stdin reads one",
        )
    })?;
    let now = api.desk.clock().now();
    let entropy = &**api.desk.entropy();
    let primary = new.primary.as_deref().map_or(Ok(Primary::Local), primary)?;
    let asks = new.user_verification.as_deref().map_or(Ok(UserVerification::None), verification)?;
    let mut resource = Resource {
        kind,
        directory: api.directory_id(new.directory.as_deref()).await?,
        allow_groups: groups(new.allow_groups)?,
        retries: new.retries.as_deref().map_or(Ok(Retries::Join), retries)?,
        answer_by: new.answer_by.map_or(Ok(Resource::ANSWER_BY_DEFAULT), answer_by)?,
        ..Resource::new(ResourceId::new(now, entropy), &new.name, primary, now)
    };
    resource.policy.user_verification = asks;
    let client = RadiusClient {
        id: ClientId::new(now, entropy),
        name: resource.name.clone(),
        resource: resource.id,
        rules: Vec::new(),
        networks: api.networks(&new.clients, None).await?,
        secret: made.secret,
        require_message_authenticator: new.require_message_authenticator.unwrap_or(true),
    };
    goes_together(&resource)?;
    let mut event =
        api.change(actor, EventKind::ResourceAdded, None::<&()>, Some(&facts(&api, &resource, &client, "(set)")));
    (event.resource, event.client) = (Some(resource.id), Some(client.id));
    let mut warnings = warnings(&resource, &client);
    warnings.extend(api.verification_warning(&resource));
    warnings.extend(api.group_warnings(&resource).await?);
    warnings.extend(made.warning);
    let changed = ResourceChanged {
        resource: view(&api, &(resource.clone(), vec![client.clone()])),
        secret: made.shown,
        warnings,
    };
    let write = Write::AddResource { resource: Box::new(resource.clone()), client: Box::new(client) };
    match api.desk.write(Commit { writes: vec![write], audit: vec![event] }).await {
        Ok(()) => Ok(answer(StatusCode::CREATED, &changed)),
        Err(countersign_storage::CommitError::Conflict(_)) => Err(api.refused(&resource).await),
        Err(countersign_storage::CommitError::Store(fault)) => Err(fault.into()),
    }
}

pub(super) async fn set(
    State(api): State<Arc<AdminApi>>,
    actor: Actor,
    Name(name): Name,
    Body(new): Body<SetResource>,
) -> Result<Response, AdminProblem> {
    let _one = api.changes.lock().await;
    let (before, clients) = api.resource(&name).await?;
    let Some(client_before) = clients.into_iter().next() else {
        return Err(AdminProblem::new(AdminCode::Internal, format!("the resource {} has no client", before.name)));
    };
    let mut resource = before.clone();
    let mut client = client_before.clone();
    if let Some(name) = new.name {
        check_shown("name of the resource", &name)?;
        resource.name = name;
    }
    if let Some(word) = new.primary {
        resource.primary = primary(&word)?;
        if resource.primary == Primary::Local && new.directory.is_none() {
            resource.directory = None;
            resource.allow_groups.clear();
        }
    }
    if let Some(name) = new.directory {
        resource.directory = api.directory_id(Some(&name)).await?;
    }
    if let Some(named) = new.allow_groups {
        resource.allow_groups = groups(named)?;
    }
    goes_together(&resource)?;
    if let Some(word) = new.retries {
        resource.retries = retries(&word)?;
    }
    if let Some(word) = new.user_verification {
        resource.policy.user_verification = verification(&word)?;
    }
    if let Some(seconds) = new.answer_by {
        resource.answer_by = answer_by(seconds)?;
    }
    if let Some(texts) = new.clients {
        client.networks = api.networks(&texts, Some(resource.id)).await?;
    }
    if let Some(required) = new.require_message_authenticator {
        client.require_message_authenticator = required;
    }
    let made = api.new_secret(new.secret, new.generate_secret)?;
    let (mut shown, mut said) = (None, warnings(&resource, &client));
    if let Some(made) = made {
        client.secret = made.secret;
        shown = made.shown;
        said.extend(made.warning);
    }
    said.extend(api.verification_warning(&resource));
    said.extend(api.group_warnings(&resource).await?);
    let replaced = client.secret != client_before.secret;
    let changed = ResourceChanged {
        resource: view(&api, &(resource.clone(), vec![client.clone()])),
        secret: shown,
        warnings: said,
    };
    if resource == before && client == client_before {
        return Ok(ok(&changed));
    }
    let mut event = api.change(
        actor,
        EventKind::ResourceChanged,
        Some(&facts(&api, &before, &client_before, "(set)")),
        Some(&facts(&api, &resource, &client, if replaced { "(replaced)" } else { "(set)" })),
    );
    (event.resource, event.client) = (Some(resource.id), Some(client.id));
    let write = Write::SetResource { resource: Box::new(resource.clone()), client: Box::new(client) };
    match api.desk.write(Commit { writes: vec![write], audit: vec![event] }).await {
        Ok(()) => Ok(ok(&changed)),
        Err(countersign_storage::CommitError::Conflict(_)) => Err(api.refused(&resource).await),
        Err(countersign_storage::CommitError::Store(fault)) => Err(fault.into()),
    }
}

pub(super) async fn remove(
    State(api): State<Arc<AdminApi>>,
    actor: Actor,
    Name(name): Name,
) -> Result<StatusCode, AdminProblem> {
    let _one = api.changes.lock().await;
    let (resource, clients) = api.resource(&name).await?;
    let before = clients.first().map(|client| facts(&api, &resource, client, "(set)"));
    let mut event = api.change(actor, EventKind::ResourceRemoved, before.as_ref(), None::<&()>);
    event.resource = Some(resource.id);
    event.client = clients.first().map(|client| client.id);
    api.desk
        .write(Commit { writes: vec![Write::RemoveResource(resource.id)], audit: vec![event] })
        .await
        .map_err(|fault| AdminProblem::of_commit(fault, |_| AdminProblem::conflict()))?;
    Ok(StatusCode::NO_CONTENT)
}
