//! Upstreams, the RADIUS servers that check the first factor: list, add, show, test, set, remove. Secrets go in and never
//! come out, but for those that were generated here, once (S47).

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use axum::{extract::State, http::StatusCode, response::Response};
use countersign_domain::{
    Commit, EventKind, HostileText, Secret, TlsIdentity, Upstream, UpstreamId, UpstreamServer, Write, radsec_secret,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Actor, AdminApi, AdminCode, AdminProblem, check_shown,
    identity::{server_text, tls_server},
    json::{Body, Name, answer, ok, secret},
    status::Finding,
};

/// What to do about servers that send back to us what they get from us.
pub const END_OF_LOOP: &str = "On NPS copy the connection request policy that sends to this server, give the copy the \
     condition Client Friendly Name with the name that this server has there as a RADIUS client, let the copy authenticate \
     requests on the NPS itself, and put it above the original";

/// Most servers of one upstream.
const MOST: usize = 16;
/// RFC 2865 section 3.
const PORT: u16 = 1812;
/// RFC 2866 section 3.
const ACCOUNTING_PORT: u16 = 1813;

/// An upstream as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamView {
    /// Immutable identifier.
    pub id: String,
    /// What administrators see.
    pub name: String,
    /// Its servers, in the order in which they are asked.
    pub servers: Vec<UpstreamServerView>,
    /// Where accounting goes on to, in the order in which they are asked.
    #[serde(default)]
    pub accounting: Vec<UpstreamServerView>,
    /// Resources that use it.
    pub resources: Vec<String>,
    /// When it was added.
    pub created_at: String,
}

/// A server of an upstream, and how it does.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UpstreamServerView {
    /// Where it listens.
    pub address: String,
    /// Seconds since it stopped answering; `null`: it answers, as far as is known.
    pub down_seconds: Option<u64>,
    /// Seconds since it last answered; `null`: it has not yet.
    pub heard_seconds: Option<u64>,
    /// Whether it has answered Status-Server (RFC 5997).
    pub answers_status: bool,
    /// Logins that wait for its answer.
    pub waiting: usize,
    /// What has happened since the server's start, or since the upstream was changed.
    pub counters: BTreeMap<String, u64>,
}

/// The answer to a change.
#[derive(Clone, Serialize, Deserialize)]
pub struct UpstreamChanged {
    /// As it is now.
    #[serde(flatten)]
    pub upstream: UpstreamView,
    /// Shared secrets that were generated here, by address: shown this once.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, String>,
    /// What is allowed and not good.
    pub warnings: Vec<String>,
}

/// A step of a walk to the servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamStep {
    /// Which server.
    pub server: String,
    /// What was tried: `status`, `login`, `accounting`.
    pub step: String,
    /// Whether it went well.
    pub ok: bool,
    /// What came back, or what is wrong.
    pub text: String,
    /// What to do about it.
    pub advice: Option<String>,
}

/// The answer to a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamTested {
    /// Whether all steps went well.
    pub ok: bool,
    /// One after the other.
    pub steps: Vec<UpstreamStep>,
    /// How long all of it took.
    pub milliseconds: u64,
}

/// A login to try.
#[derive(Debug, Clone)]
pub struct TrialLogin {
    /// User-Name.
    pub user: String,
    /// User-Password; without one there is none in the request.
    pub password: Option<Secret>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewServer {
    address: String,
    /// Without one that of the same address before, or a generated one.
    #[serde(default, deserialize_with = "secret")]
    secret: Option<Secret>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AddUpstream {
    name: String,
    servers: Vec<NewServer>,
    /// Without a secret each has that of the server on the same machine.
    #[serde(default)]
    accounting: Vec<NewServer>,
    #[serde(default)]
    generate_secrets: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SetUpstream {
    #[serde(default)]
    name: Option<String>,
    /// All servers, in the place of those before.
    #[serde(default)]
    servers: Option<Vec<NewServer>>,
    /// All accounting servers, in the place of those before.
    #[serde(default)]
    accounting: Option<Vec<NewServer>>,
    /// For every server that is named without one; without servers for all of them.
    #[serde(default)]
    generate_secrets: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Test {
    #[serde(default)]
    user: Option<String>,
    #[serde(default, deserialize_with = "secret")]
    password: Option<Secret>,
}

/// What a record says of an upstream; `secrets` says what became of them.
fn facts(upstream: &Upstream, secrets: &str) -> Value {
    let texts = |servers: &[UpstreamServer]| -> Vec<String> { servers.iter().map(server_text).collect() };
    json!({
        "name": upstream.name, "servers": texts(&upstream.servers), "accounting": texts(&upstream.accounting),
        "secrets": secrets,
    })
}

/// Reads a server: an address, or one over TLS with what its certificate has to be.
fn server(text: &str) -> Result<(SocketAddr, Option<TlsIdentity>), AdminProblem> {
    match tls_server(text, address) {
        Some(read) => read.map(|(address, identity)| (address, Some(identity))),
        None => Ok((address(text, PORT)?, None)),
    }
}

/// Reads an address with or without a port.
fn address(text: &str, port: u16) -> Result<SocketAddr, AdminProblem> {
    let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let parsed = text.parse::<SocketAddr>().or_else(|_| bracketed.parse().map(|ip| SocketAddr::new(ip, port)));
    let refuse = |why: &str| {
        let shown = HostileText::from(text);
        Err(AdminProblem::new(AdminCode::UpstreamRefused, format!("{shown} {why}")))
    };
    match parsed {
        Ok(address) if address.ip().is_unspecified() || address.ip().is_multicast() || address.port() == 0 => {
            refuse("is no address that a server can have")
        }
        Ok(address) => Ok(address),
        Err(_) => refuse(
            "is no address: write 192.0.2.7, 192.0.2.7:1812 or [2001:db8::7]:1812 (accounting: 1813). Names are not looked up, so that nobody who \
             answers for them says where passwords go",
        ),
    }
}

struct Servers {
    /// Those that check logins, and behind them those that keep accounting.
    all: Vec<UpstreamServer>,
    /// How many keep accounting.
    accounting: usize,
    shown: BTreeMap<String, String>,
    warnings: Vec<String>,
}

impl Servers {
    /// Those that check logins, and those that keep accounting.
    fn split(&self) -> (Vec<UpstreamServer>, Vec<UpstreamServer>) {
        let (logins, accounting) = self.all.split_at(self.all.len().saturating_sub(self.accounting));
        (logins.to_vec(), accounting.to_vec())
    }
}

impl AdminApi {
    /// The upstream with a name in any letter case.
    pub(super) async fn upstream(&self, name: &str) -> Result<Upstream, AdminProblem> {
        let folded = name.to_lowercase();
        let all = self.desk.store().upstreams().await?;
        all.into_iter().find(|upstream| upstream.name.to_lowercase() == folded).ok_or_else(|| {
            let name = HostileText::from(name);
            AdminProblem::new(
                AdminCode::UpstreamUnknown,
                format!("there is no upstream {name}: `countersign upstream list` shows all"),
            )
        })
    }

    async fn resources_behind(&self, upstream: UpstreamId) -> Result<Vec<String>, AdminProblem> {
        let all = self.desk.store().resources().await?;
        let its = all.into_iter().filter(|(resource, _)| resource.upstream == Some(upstream));
        Ok(its.map(|(resource, _)| resource.name).collect())
    }

    async fn upstream_view(&self, upstream: &Upstream) -> Result<UpstreamView, AdminProblem> {
        let (mut servers, mut accounting) = self.facts.upstream_servers(upstream.id);
        if servers.len() != upstream.servers.len() || accounting.len() != upstream.accounting.len() {
            let bare = |server: &UpstreamServer| UpstreamServerView {
                address: server_text(server),
                ..UpstreamServerView::default()
            };
            servers = upstream.servers.iter().map(bare).collect();
            accounting = upstream.accounting.iter().map(bare).collect();
        }
        Ok(UpstreamView {
            id: upstream.id.to_string(),
            name: upstream.name.clone(),
            servers,
            accounting,
            resources: self.resources_behind(upstream.id).await?,
            created_at: upstream.created_at.to_rfc3339(),
        })
    }

    /// Servers as they were written, first those that check logins, then those that keep accounting. One without a secret
    /// keeps that which its address had, or gets a generated one; one that keeps accounting and is on the machine of one
    /// that checks logins has its secret, since a server knows its clients by their machine.
    async fn servers(
        &self,
        (new, accounting): (Vec<NewServer>, Vec<NewServer>),
        (logins_before, accounting_before): (&[UpstreamServer], &[UpstreamServer]),
        generate: bool,
    ) -> Result<Servers, AdminProblem> {
        let refuse = |detail: String| Err(AdminProblem::new(AdminCode::UpstreamRefused, detail));
        if new.is_empty() {
            return refuse("an upstream needs a server: --server 192.0.2.7".to_owned());
        }
        if new.len() > MOST || accounting.len() > MOST {
            return refuse(format!("{} servers are more than {MOST}", new.len().max(accounting.len())));
        }
        let mut out = Servers { all: Vec::new(), accounting: 0, shown: BTreeMap::new(), warnings: Vec::new() };
        out.accounting = accounting.len();
        let logins = new.len();
        let new = new.into_iter().map(|one| (one, logins_before, PORT));
        let accounting = accounting.into_iter().map(|one| (one, accounting_before, ACCOUNTING_PORT));
        for (one, before, port) in new.chain(accounting) {
            let keeps_accounting = port == ACCOUNTING_PORT;
            let (address, tls) =
                if keeps_accounting { (address(&one.address, port)?, None) } else { server(&one.address)? };
            if out.all.iter().any(|server| server.address == address) {
                return refuse(format!("{address} is named twice"));
            }
            let kept = before.iter().find(|server| server.address == address && server.tls.is_none() && !generate);
            let neighbour = out.all.iter().take(logins);
            let neighbour = neighbour.filter(|server| keeps_accounting && server.tls.is_none());
            let neighbour = neighbour.into_iter().find(|server| server.address.ip() == address.ip());
            // One that had the secret of its neighbour goes with it.
            let followed = |kept: &&UpstreamServer| {
                let same = |login: &UpstreamServer| (login.address.ip(), &login.secret) == (address.ip(), &kept.secret);
                keeps_accounting && logins_before.iter().any(same)
            };
            let known = kept.filter(|kept| !followed(kept)).or(neighbour).or(kept);
            let secret = match (one.secret, known.map(|server| server.secret.clone())) {
                (Some(_), _) if tls.is_some() => {
                    let text = format!("{} is asked over TLS, where there is no shared secret (RFC 6614)", one.address);
                    return Err(AdminProblem::new(AdminCode::SecretRefused, text));
                }
                (None, _) if tls.is_some() => radsec_secret(),
                (None, Some(known)) => known,
                (given, _) => {
                    let Some(made) = self.new_secret(given, generate)? else {
                        return Err(AdminProblem::new(
                            AdminCode::SecretRefused,
                            format!(
                                "{address} needs a shared secret: --secret-stdin reads one, --generate-secret makes one"
                            ),
                        ));
                    };
                    out.shown.extend(made.shown.map(|shown| (address.to_string(), shown)));
                    out.warnings.extend(made.warning);
                    made.secret
                }
            };
            out.all.push(UpstreamServer { address, secret, tls });
        }
        let clients = self.desk.store().resources().await?;
        let shared = |server: &&UpstreamServer| {
            let mut clients = clients.iter().flat_map(|(_, clients)| clients).filter(|client| client.tls.is_none());
            server.tls.is_none() && clients.any(|client| client.secret == server.secret)
        };
        out.warnings.extend(out.all.iter().find(shared).map(|server| {
            format!(
                "{} has the shared secret of a client: give each direction its own, so that one that leaks opens one door \
                 only",
                server.address
            )
        }));
        out.warnings.dedup();
        Ok(out)
    }

    async fn tested_upstream(&self, upstream: &Upstream, login: Option<TrialLogin>) -> UpstreamTested {
        let begin = tokio::time::Instant::now();
        let steps = self.facts.test_upstream(upstream, login).await;
        let milliseconds = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        UpstreamTested { ok: steps.iter().all(|step| step.ok), steps, milliseconds }
    }

    /// What there is to say of every upstream.
    pub(super) async fn examine_upstreams(&self) -> Result<Vec<Finding>, AdminProblem> {
        let mut out = Vec::new();
        for upstream in self.desk.store().upstreams().await? {
            let about = format!("upstream {}", upstream.name);
            let servers = self.upstream_view(&upstream).await?.servers;
            let down = servers.iter().filter(|server| server.down_seconds.is_some()).count();
            for server in &servers {
                out.extend(examine(&about, &upstream.name, server, down == servers.len()));
            }
            out.extend(examine_accounting(&about, &upstream.name, &self.upstream_view(&upstream).await?.accounting));
            if down == 0 {
                out.push(Finding::ok(&about, format!("{} servers, none of them known to be silent", servers.len())));
            }
        }
        Ok(out)
    }
}

fn examine(about: &str, name: &str, server: &UpstreamServerView, all_down: bool) -> Vec<Finding> {
    let address = &server.address;
    let count = |word| server.counters.get(word).copied().unwrap_or(0);
    let mut out = Vec::new();
    if let Some(seconds) = server.down_seconds {
        let text = format!(
            "{address} has not answered for {seconds} s; {}. `countersign upstream test {name}` says more",
            if all_down { "nobody can log on through it" } else { "the others are asked instead" }
        );
        out.push(if all_down { Finding::wrong(about, text) } else { Finding::note(about, text) });
    }
    let (unsigned, unproven, loops) = (count("without_message_authenticator"), count("unproven"), count("loops"));
    if unsigned > 0 {
        out.push(Finding::wrong(
            about,
            format!(
                "{unsigned} replies of {address} had no Message-Authenticator and were dropped, for anybody on the way could \
                 have made them (CVE-2024-3596). {SIGN_REPLIES}"
            ),
        ));
    }
    if unproven > 0 {
        out.push(Finding::wrong(
            about,
            format!(
                "{unproven} replies of {address} were not made with the shared secret that is set here, and were dropped: set \
                 the same one on both sides"
            ),
        ));
    }
    if loops > 0 {
        out.push(Finding::wrong(
            about,
            format!("{address} sent back to us {loops} logins that it got from us. {END_OF_LOOP}"),
        ));
    }
    out
}

/// What there is to say of the servers that keep accounting: while none of them answers, nothing is kept.
fn examine_accounting(about: &str, name: &str, servers: &[UpstreamServerView]) -> Vec<Finding> {
    let silent: Vec<&str> =
        servers.iter().filter(|server| server.down_seconds.is_some()).map(|server| server.address.as_str()).collect();
    let unproven = |server: &&UpstreamServerView| server.counters.get("unproven").is_some_and(|count| *count > 0);
    let mut out: Vec<Finding> = servers
        .iter()
        .filter(unproven)
        .map(|server| {
            let text = format!(
                "replies of the accounting server {} were not made with the shared secret that is set here, and were dropped: \
                 set the same one on both sides",
                server.address
            );
            Finding::wrong(about, text)
        })
        .collect();
    if silent.is_empty() {
        return out;
    }
    let (consequence, all) = if silent.len() == servers.len() {
        ("clients get no answer to accounting and ask again", true)
    } else {
        ("the others are asked instead", false)
    };
    let text = format!(
        "accounting server {} does not answer; {consequence}. `countersign upstream test {name}` says more",
        silent.join(", ")
    );
    out.push(if all { Finding::wrong(about, text) } else { Finding::note(about, text) });
    out
}

/// What to do about a server whose replies carry no Message-Authenticator.
pub const SIGN_REPLIES: &str = "On NPS install the updates of July 2024 or later; FreeRADIUS does it from 3.2.5 on, an older one \
     where its policy adds `update reply { Message-Authenticator := 0x00 }` to post-auth, for rejects too";

fn exists(name: &str) -> AdminProblem {
    AdminProblem::new(
        AdminCode::UpstreamExists,
        format!("an upstream {name} exists already: choose another name, or change it with `countersign upstream set`"),
    )
}

pub(super) async fn list(State(api): State<Arc<AdminApi>>) -> Result<Response, AdminProblem> {
    let mut out = Vec::new();
    for upstream in api.desk.store().upstreams().await? {
        out.push(api.upstream_view(&upstream).await?);
    }
    Ok(ok(&out))
}

pub(super) async fn show(State(api): State<Arc<AdminApi>>, Name(name): Name) -> Result<Response, AdminProblem> {
    let upstream = api.upstream(&name).await?;
    Ok(ok(&api.upstream_view(&upstream).await?))
}

pub(super) async fn test(
    State(api): State<Arc<AdminApi>>,
    Name(name): Name,
    Body(body): Body<Test>,
) -> Result<Response, AdminProblem> {
    let upstream = api.upstream(&name).await?;
    if body.password.as_ref().is_some_and(Secret::is_empty) {
        return Err(AdminProblem::new(
            AdminCode::PasswordMissing,
            "the password is empty, and an empty one is never sent: leave it out to ask as an RD Gateway does, without one",
        ));
    }
    let login = body.user.map(|user| TrialLogin { user, password: body.password });
    Ok(ok(&api.tested_upstream(&upstream, login).await))
}

pub(super) async fn add(
    State(api): State<Arc<AdminApi>>,
    actor: Actor,
    Body(new): Body<AddUpstream>,
) -> Result<Response, AdminProblem> {
    check_shown("name of the upstream", &new.name)?;
    let _one = api.changes.lock().await;
    let made = api.servers((new.servers, new.accounting), (&[], &[]), new.generate_secrets).await?;
    let (servers, accounting) = made.split();
    let now = api.desk.clock().now();
    let upstream = Upstream {
        id: UpstreamId::new(now, &**api.desk.entropy()),
        name: new.name,
        servers,
        accounting,
        created_at: now,
    };
    let event = api.change(actor, EventKind::UpstreamAdded, None::<&()>, Some(&facts(&upstream, "(set)")));
    let write = Write::AddUpstream(Box::new(upstream.clone()));
    api.desk
        .write(Commit { writes: vec![write], audit: vec![event] })
        .await
        .map_err(|fault| AdminProblem::of_commit(fault, |_| exists(&upstream.name)))?;
    let view = api.upstream_view(&upstream).await?;
    Ok(answer(StatusCode::CREATED, &UpstreamChanged { upstream: view, secrets: made.shown, warnings: made.warnings }))
}

pub(super) async fn set(
    State(api): State<Arc<AdminApi>>,
    actor: Actor,
    Name(name): Name,
    Body(new): Body<SetUpstream>,
) -> Result<Response, AdminProblem> {
    let _one = api.changes.lock().await;
    let before = api.upstream(&name).await?;
    let mut upstream = before.clone();
    if let Some(name) = new.name {
        check_shown("name of the upstream", &name)?;
        upstream.name = name;
    }
    let same = |server: &UpstreamServer| NewServer { address: server_text(server), secret: None };
    let servers = new.servers.unwrap_or_else(|| before.servers.iter().map(same).collect());
    let accounting = new.accounting.unwrap_or_else(|| before.accounting.iter().map(same).collect());
    let known = (before.servers.as_slice(), before.accounting.as_slice());
    let made = api.servers((servers, accounting), known, new.generate_secrets).await?;
    (upstream.servers, upstream.accounting) = made.split();
    if upstream != before {
        let mut all = upstream.servers.iter().chain(&upstream.accounting);
        let kept = all.all(|server| before.servers.iter().chain(&before.accounting).any(|old| old == server));
        let after = if kept { "(set)" } else { "(replaced)" };
        let event = api.change(
            actor,
            EventKind::UpstreamChanged,
            Some(&facts(&before, "(set)")),
            Some(&facts(&upstream, after)),
        );
        let write = Write::SetUpstream(Box::new(upstream.clone()));
        api.desk
            .write(Commit { writes: vec![write], audit: vec![event] })
            .await
            .map_err(|fault| AdminProblem::of_commit(fault, |_| exists(&upstream.name)))?;
    }
    let view = api.upstream_view(&upstream).await?;
    Ok(ok(&UpstreamChanged { upstream: view, secrets: made.shown, warnings: made.warnings }))
}

pub(super) async fn remove(
    State(api): State<Arc<AdminApi>>,
    actor: Actor,
    Name(name): Name,
) -> Result<StatusCode, AdminProblem> {
    let _one = api.changes.lock().await;
    let upstream = api.upstream(&name).await?;
    let resources = api.resources_behind(upstream.id).await?;
    if !resources.is_empty() {
        return Err(AdminProblem::new(
            AdminCode::UpstreamInUse,
            format!(
                "{} checks the first factor for {}: give them another first, or remove them",
                upstream.name,
                resources.join(", ")
            ),
        ));
    }
    let event = api.change(actor, EventKind::UpstreamRemoved, Some(&facts(&upstream, "(set)")), None::<&()>);
    let commit = Commit { writes: vec![Write::RemoveUpstream(upstream.id)], audit: vec![event] };
    api.desk.write(commit).await.map_err(|fault| AdminProblem::of_commit(fault, |_| AdminProblem::conflict()))?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_the_port_of_radius_unless_they_say_another() {
        for (text, means) in [
            ("192.0.2.7", "192.0.2.7:1812"),
            ("192.0.2.7:1645", "192.0.2.7:1645"),
            ("2001:db8::7", "[2001:db8::7]:1812"),
            ("[2001:db8::7]", "[2001:db8::7]:1812"),
            ("[2001:db8::7]:1645", "[2001:db8::7]:1645"),
        ] {
            assert_eq!(address(text, PORT).unwrap().to_string(), means);
        }
        for text in
            ["", "nps.example.org", "192.0.2.7:0", "0.0.0.0", "::", "224.0.0.1", "192.0.2.0/24", "1.2.3.4:99999"]
        {
            assert_eq!(address(text, PORT).unwrap_err().code, "upstream_refused", "{text}");
        }
    }

    #[test]
    fn s48_a_server_over_tls_says_whose_certificate_it_has() {
        let print = format!("sha256:{}", "ab".repeat(32));
        for (text, means) in [
            ("tls://192.0.2.7/Radius.example.org", "tls://192.0.2.7:2083/radius.example.org".to_owned()),
            (&format!("tls://[2001:db8::7]:2084/{print}"), format!("tls://[2001:db8::7]:2084/{print}")),
        ] {
            let (address, tls) = server(text).unwrap();
            let server = UpstreamServer { address, secret: radsec_secret(), tls };
            assert_eq!(server_text(&server), means);
        }
        for text in [
            "tls://192.0.2.7",
            "tls://192.0.2.7/",
            "tls://192.0.2.7/*.example.org",
            "tls://192.0.2.7/192.0.2.7",
            "tls://radius.example.org/radius.example.org",
            "tls://192.0.2.7/sha256:ab",
            "tls:///a",
            "TLS://192.0.2.7/a",
        ] {
            assert_eq!(server(text).unwrap_err().code, "upstream_refused", "{text}");
        }
    }
}
