//! RADIUS clients: list, add, show, set, remove. A shared secret goes in and never comes out, but for one that was
//! generated here, once (S47).

use core::time::Duration;
use std::sync::Arc;

use axum::{extract::State, http::StatusCode, response::Response};
use countersign_domain::{
    ClientId, Commit, EventKind, HostileText, MatchAttribute, MatchRule, Network, RadiusClient, Resource, Secret,
    Write, radsec_secret,
};
use countersign_radius::{RequestTest, SecretPolicyError, SecretStrength, SharedSecret};
use countersign_storage::CommitError;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Actor, AdminApi, AdminCode, AdminProblem, check_shown, identity,
    json::{Body, Name, answer, ok, secret},
    resources::{WithClients, named},
    rotation::{self, PreviousSecretView},
};

/// A client as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientView {
    /// Immutable identifier.
    pub id: String,
    /// What administrators see.
    pub name: String,
    /// Addresses and networks that its packets come from; of one that speaks TLS none means anywhere.
    pub addresses: Vec<String>,
    /// Where it speaks RADIUS over TLS, and never UDP: by which certificate it is known, `sha256:` and a fingerprint, or a DNS
    /// name.
    #[serde(default)]
    pub tls: Option<String>,
    /// The resource of its requests that no rule fits.
    pub resource: String,
    /// Which requests are for other resources, as `ATTRIBUTE = VALUE -> RESOURCE`; the first that fits counts.
    pub rules: Vec<String>,
    /// Whether packets without Message-Authenticator are dropped; never over TLS.
    pub require_message_authenticator: bool,
    /// Where its secret is being changed: the one before.
    #[serde(default)]
    pub previous_secret: Option<PreviousSecretView>,
}

/// The answer to a change.
#[derive(Clone, Serialize, Deserialize)]
pub struct ClientChanged {
    /// As it is now.
    #[serde(flatten)]
    pub client: ClientView,
    /// The shared secret, if it was generated here: shown this once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// What is allowed and not good.
    pub warnings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AddClient {
    name: String,
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default)]
    tls_fingerprint: Option<String>,
    #[serde(default)]
    tls_name: Option<String>,
    resource: String,
    #[serde(default)]
    rules: Vec<String>,
    #[serde(default, deserialize_with = "secret")]
    secret: Option<Secret>,
    #[serde(default)]
    generate_secret: bool,
    #[serde(default)]
    require_message_authenticator: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SetClient {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    addresses: Option<Vec<String>>,
    #[serde(default)]
    tls_fingerprint: Option<String>,
    #[serde(default)]
    tls_name: Option<String>,
    #[serde(default)]
    resource: Option<String>,
    #[serde(default)]
    rules: Option<Vec<String>>,
    #[serde(default, deserialize_with = "secret")]
    secret: Option<Secret>,
    #[serde(default)]
    generate_secret: bool,
    /// For so long the secret before is valid as well; without this it is worth nothing at once.
    #[serde(default)]
    overlap_seconds: Option<u64>,
    /// The secret before is worth nothing from now on.
    #[serde(default)]
    end_overlap: bool,
    #[serde(default)]
    require_message_authenticator: Option<bool>,
}

/// Everything there is, to look names up in.
type All = [WithClients];

fn view(client: &RadiusClient, all: &All) -> ClientView {
    ClientView {
        id: client.id.to_string(),
        name: client.name.clone(),
        addresses: addresses(client).iter().map(ToString::to_string).collect(),
        tls: client.tls.as_ref().map(|peer| peer.identity.to_string()),
        resource: resource_name(client.resource, all),
        rules: rule_texts(client, all),
        require_message_authenticator: client.require_message_authenticator && client.tls.is_none(),
        previous_secret: None,
    }
}

/// Where its packets come from, datagrams or connections.
fn addresses(client: &RadiusClient) -> &[Network] {
    client.tls.as_ref().map_or(&client.networks, |peer| &peer.networks)
}

/// What a record says of a client; `secret` says what became of the secret.
fn facts(client: &RadiusClient, all: &All, secret: &str) -> serde_json::Value {
    json!({
        "name": client.name,
        "addresses": addresses(client),
        "tls": client.tls.as_ref().map(|peer| peer.identity.to_string()),
        "resource": resource_name(client.resource, all),
        "rules": rule_texts(client, all),
        "secret": secret,
        "previous_secret_until": client.previous.as_ref().map(|previous| previous.until.to_rfc3339()),
        "require_message_authenticator": client.require_message_authenticator,
    })
}

fn resource_name(id: countersign_domain::ResourceId, all: &All) -> String {
    let found = all.iter().find(|(resource, _)| resource.id == id);
    found.map_or_else(|| id.to_string(), |(resource, _)| resource.name.clone())
}

fn rule_text(rule: &MatchRule, all: &All) -> String {
    format!("{} = {} -> {}", rule.attribute.as_str(), rule.value, resource_name(rule.resource, all))
}

fn rule_texts(client: &RadiusClient, all: &All) -> Vec<String> {
    client.rules.iter().map(|rule| rule_text(rule, all)).collect()
}

/// Reads rules, `ATTRIBUTE = VALUE -> RESOURCE` each.
fn rules(texts: &[String], all: &All) -> Result<Vec<MatchRule>, AdminProblem> {
    /// Every request of the client is compared with all of them.
    const MOST: usize = 64;
    let refuse = |detail: String| AdminProblem::new(AdminCode::RuleRefused, detail);
    if texts.len() > MOST {
        return Err(refuse(format!("{} rules are more than {MOST} of one client", texts.len())));
    }
    let read = |text: &String| {
        let shown = HostileText::from(text.as_str());
        let form = || {
            refuse(format!(
                "{shown} is no rule: write ATTRIBUTE = VALUE -> RESOURCE, as in NAS-Identifier = vpn1 -> vpn"
            ))
        };
        let (test, resource) = text.rsplit_once("->").ok_or_else(form)?;
        let (attribute, value) = test.split_once('=').ok_or_else(form)?;
        let (attribute, value) = (attribute.trim(), value.trim());
        let test = RequestTest::new(attribute, value).map_err(|fault| refuse(fault.to_string()))?;
        let attribute = MatchAttribute::from_name(attribute).ok_or_else(form)?;
        let value = test.to_string();
        if !value.chars().all(super::is_harmless) {
            return Err(refuse(format!("{shown} holds a control or invisible character")));
        }
        Ok(MatchRule { attribute, value, resource: named(resource.trim(), all)?.0.id })
    };
    texts.iter().map(read).collect()
}

/// Refuses rules of a client that would let somebody in more easily than its own resource does.
fn never_weaken(client: &RadiusClient, all: &All, what_to_do: &str) -> Result<(), AdminProblem> {
    let of = |id| all.iter().map(|(resource, _)| resource).find(|resource| resource.id == id);
    let Some(own) = of(client.resource) else { return Ok(()) };
    for rule in &client.rules {
        if let Some(how) = of(rule.resource).and_then(|resource| resource.weakens(own)) {
            return Err(AdminProblem::new(
                AdminCode::RuleRefused,
                format!(
                    "the rule {} of client {} would let in more easily than {} does: {how}. Whoever has the client's secret \
                     can send what the rule looks at, so it may lead to a resource that asks as much or more: {what_to_do}",
                    rule_text(rule, all),
                    client.name,
                    own.name,
                ),
            ));
        }
    }
    Ok(())
}

/// Refuses a change of a resource after which a rule would weaken.
pub(super) fn rules_still_hold(changed: &Resource, all: &All) -> Result<(), AdminProblem> {
    let after: Vec<WithClients> = all
        .iter()
        .map(|(resource, clients)| {
            let resource = if resource.id == changed.id { changed } else { resource };
            (resource.clone(), clients.clone())
        })
        .collect();
    let mut clients = after.iter().flat_map(|(_, clients)| clients);
    clients.try_for_each(|client| {
        let first = format!("change the rules first: `countersign client set {} --match …`", client.name);
        never_weaken(client, &after, &first)
    })
}

/// A rule of another resource's client that leads to a resource.
pub(super) fn rule_to<'a>(resource: &Resource, all: &'a All) -> Option<(&'a RadiusClient, &'a MatchRule)> {
    let clients = all.iter().flat_map(|(_, clients)| clients).filter(|client| client.resource != resource.id);
    clients
        .flat_map(|client| client.rules.iter().map(move |rule| (client, rule)))
        .find(|(_, rule)| rule.resource == resource.id)
}

impl AdminApi {
    /// Networks as written; none may be another client's, for then nobody could say whose a packet is.
    pub(super) fn networks(texts: &[String], own: Option<ClientId>, all: &All) -> Result<Vec<Network>, AdminProblem> {
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
                "a client needs the address that its packets come from: 192.0.2.7 or 192.0.2.0/24",
            ));
        }
        for client in all.iter().flat_map(|(_, clients)| clients).filter(|client| own != Some(client.id)) {
            if let Some(taken) = client.networks.iter().find(|network| networks.contains(network)) {
                return Err(AdminProblem::new(
                    AdminCode::NetworkInUse,
                    format!(
                        "{taken} is the address of client {}: a packet from there can be one client's only. Use a narrower \
                         network, or `countersign client set {} --address …` first",
                        client.name, client.name
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

    /// Explains why storage did not take a client.
    pub(super) async fn client_refused(&self, client: &RadiusClient) -> AdminProblem {
        let all = match self.desk.store().resources().await {
            Ok(all) => all,
            Err(fault) => return fault.into(),
        };
        let mut others = all.iter().flat_map(|(_, clients)| clients).filter(|other| other.id != client.id);
        let folded = client.name.to_lowercase();
        if others.clone().any(|other| other.name.to_lowercase() == folded) {
            return AdminProblem::new(
                AdminCode::ClientExists,
                format!(
                    "a client {} exists already: choose another name, or change it with `countersign client set`",
                    client.name
                ),
            );
        }
        if let Some(problem) = identity::taken(client, others.clone().cloned()) {
            return problem;
        }
        if client.tls.is_none() && others.any(|other| other.tls.is_none() && other.secret == client.secret) {
            return AdminProblem::new(
                AdminCode::SecretInUse,
                "another client has the same shared secret: each needs its own, so that one that leaks opens one door only; \
                 --generate-secret makes one",
            );
        }
        AdminProblem::conflict()
    }
}

/// A secret that can be used.
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
pub(super) fn network(text: &str) -> Result<Network, AdminProblem> {
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

/// What is allowed and not good.
pub(super) fn warnings(client: &RadiusClient) -> Vec<String> {
    let mut out = Vec::new();
    if client.tls.is_none() && !client.require_message_authenticator {
        out.push(
            "packets without Message-Authenticator are taken: somebody between client and server can alter them \
             (CVE-2024-3596). Keep the two on one trusted network, and switch it on when the client can send it"
                .to_owned(),
        );
    }
    if client.networks.iter().any(|network| network.prefix_len() == 0) {
        out.push("the client is the whole internet: name the addresses that packets come from".to_owned());
    }
    out
}

/// The client with a name in any spelling.
fn client_named<'a>(name: &str, all: &'a All) -> Result<&'a RadiusClient, AdminProblem> {
    let folded = name.to_lowercase();
    let mut clients = all.iter().flat_map(|(_, clients)| clients);
    clients.find(|client| client.name.to_lowercase() == folded).ok_or_else(|| {
        let name = HostileText::from(name);
        AdminProblem::new(
            AdminCode::ClientUnknown,
            format!("there is no client {name}: `countersign client list` shows all"),
        )
    })
}

pub(super) async fn list(State(api): State<Arc<AdminApi>>) -> Result<Response, AdminProblem> {
    let all = api.desk.store().resources().await?;
    let clients = all.iter().flat_map(|(_, clients)| clients);
    Ok(ok(&clients.map(|client| view(client, &all)).collect::<Vec<_>>()))
}

pub(super) async fn show(State(api): State<Arc<AdminApi>>, Name(name): Name) -> Result<Response, AdminProblem> {
    let all = api.desk.store().resources().await?;
    let client = client_named(&name, &all)?;
    Ok(ok(&ClientView { previous_secret: api.previous_view(client), ..view(client, &all) }))
}

const LEAD_ELSEWHERE: &str = "lead it there, or let the client's own resource be the one that asks least";

pub(super) async fn add(
    State(api): State<Arc<AdminApi>>,
    actor: Actor,
    Body(new): Body<AddClient>,
) -> Result<Response, AdminProblem> {
    check_shown("name of the client", &new.name)?;
    let _one = api.changes.lock().await;
    let all = api.desk.store().resources().await?;
    let mut client = RadiusClient {
        id: ClientId::new(api.desk.clock().now(), &**api.desk.entropy()),
        name: new.name,
        resource: named(&new.resource, &all)?.0.id,
        rules: rules(&new.rules, &all)?,
        networks: Vec::new(),
        secret: radsec_secret(),
        previous: None,
        tls: None,
        require_message_authenticator: new.require_message_authenticator.unwrap_or(true),
    };
    let (mut shown, mut warning) = (None, None);
    if let Some(identity) = identity::read(new.tls_fingerprint.as_deref(), new.tls_name.as_deref())? {
        let has_secret = new.secret.is_some() || new.generate_secret;
        let bounds = identity::bounds(&new.addresses)?;
        identity::over_tls(&mut client, identity, bounds, has_secret, new.require_message_authenticator)?;
    } else {
        let made = api.new_secret(new.secret, new.generate_secret)?.ok_or_else(|| {
            AdminProblem::new(
                AdminCode::SecretRefused,
                "a client needs a shared secret: --generate-secret makes one, --secret-stdin reads one; or a certificate: \
                 --tls-name, --tls-fingerprint",
            )
        })?;
        client.networks = AdminApi::networks(&new.addresses, None, &all)?;
        (client.secret, shown, warning) = (made.secret, made.shown, made.warning);
    }
    never_weaken(&client, &all, LEAD_ELSEWHERE)?;
    let mut event = api.change(actor, EventKind::ClientAdded, None::<&()>, Some(&facts(&client, &all, "(set)")));
    (event.resource, event.client) = (Some(client.resource), Some(client.id));
    let mut warnings = warnings(&client);
    warnings.extend(warning);
    let changed = ClientChanged { client: view(&client, &all), secret: shown, warnings };
    let write = Write::AddClient(Box::new(client.clone()));
    match api.desk.write(Commit { writes: vec![write], audit: vec![event] }).await {
        Ok(()) => Ok(answer(StatusCode::CREATED, &changed)),
        Err(CommitError::Conflict(_)) => Err(api.client_refused(&client).await),
        Err(CommitError::Store(fault)) => Err(fault.into()),
    }
}

pub(super) async fn set(
    State(api): State<Arc<AdminApi>>,
    actor: Actor,
    Name(name): Name,
    Body(new): Body<SetClient>,
) -> Result<Response, AdminProblem> {
    let _one = api.changes.lock().await;
    let all = api.desk.store().resources().await?;
    let before = client_named(&name, &all)?;
    let mut client = before.clone();
    if let Some(name) = new.name {
        check_shown("name of the client", &name)?;
        client.name = name;
    }
    if let Some(name) = new.resource {
        client.resource = named(&name, &all)?.0.id;
    }
    let identity = identity::read(new.tls_fingerprint.as_deref(), new.tls_name.as_deref())?;
    if let Some(peer) = &mut client.tls {
        identity::only_tls(new.secret.is_some() || new.generate_secret, new.require_message_authenticator)?;
        if let Some(identity) = identity {
            peer.identity = identity;
        }
        if let Some(texts) = new.addresses {
            peer.networks = identity::bounds(&texts)?;
        }
    } else if identity.is_some() {
        return Err(AdminProblem::new(
            AdminCode::IdentityRefused,
            format!(
                "client {} speaks UDP, and a client never speaks both: add another one for TLS, and remove this one when it is \
                 not used any more",
                before.name
            ),
        ));
    } else if let Some(texts) = new.addresses {
        client.networks = AdminApi::networks(&texts, Some(client.id), &all)?;
    }
    if let Some(texts) = new.rules {
        client.rules = rules(&texts, &all)?;
    }
    if let Some(required) = new.require_message_authenticator {
        client.require_message_authenticator = required;
    }
    never_weaken(&client, &all, LEAD_ELSEWHERE)?;
    let (mut shown, mut said) = (None, warnings(&client));
    let now = api.desk.clock().now();
    let overlap = new.overlap_seconds.map(Duration::from_secs);
    if new.end_overlap || client.previous.as_ref().is_some_and(|previous| !previous.is_valid(now)) {
        client.previous = None;
    }
    if let Some(made) = api.new_secret(new.secret, new.generate_secret)? {
        said.extend(rotation::warning(&client, now));
        rotation::replace(&mut client, made.secret, overlap, now)?;
        said.extend(rotation::unproven(&client));
        shown = made.shown;
        said.extend(made.warning);
    } else if overlap.is_some() {
        return Err(rotation::without_secret());
    }
    let replaced = if client.secret == before.secret { "(set)" } else { "(replaced)" };
    let seen = ClientView { previous_secret: api.previous_view(&client), ..view(&client, &all) };
    let changed = ClientChanged { client: seen, secret: shown, warnings: said };
    if client == *before {
        return Ok(ok(&changed));
    }
    let (was, is) = (facts(before, &all, "(set)"), facts(&client, &all, replaced));
    let mut event = api.change(actor, EventKind::ClientChanged, Some(&was), Some(&is));
    (event.resource, event.client) = (Some(client.resource), Some(client.id));
    let write = Write::SetClient(Box::new(client.clone()));
    match api.desk.write(Commit { writes: vec![write], audit: vec![event] }).await {
        Ok(()) => Ok(ok(&changed)),
        Err(CommitError::Conflict(_)) => Err(api.client_refused(&client).await),
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
    let client = client_named(&name, &all)?;
    let before = facts(client, &all, "(set)");
    let mut event = api.change(actor, EventKind::ClientRemoved, Some(&before), None::<&()>);
    (event.resource, event.client) = (Some(client.resource), Some(client.id));
    api.desk
        .write(Commit { writes: vec![Write::RemoveClient(client.id)], audit: vec![event] })
        .await
        .map_err(|fault| AdminProblem::of_commit(fault, |_| AdminProblem::conflict()))?;
    Ok(StatusCode::NO_CONTENT)
}
