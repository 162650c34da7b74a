//! What the running program says of itself to the admin API, and how it asks its own listeners.

use core::time::Duration;
use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use async_trait::async_trait;
use countersign_api::admin::{
    directories::DirectoryStep,
    rotation::SecretUse,
    status::{Facts, Finding, PushAnswer, ServerFacts},
    upstreams::{TrialLogin, UpstreamServerView, UpstreamStep},
};
use countersign_desk::Desk;
use countersign_domain::{ClientId, DeviceId, Directory, Secret, SyncRule, Upstream, UpstreamId};
use countersign_radius::{
    AttributeList, Authenticator, Code, Identifier, MessageAuthenticatorRule, SharedSecret, encode_request,
    verify_reply,
};
use countersign_radius_server::Figures;
use countersign_storage::StoreError;
use tokio::{
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use crate::{
    config::Config,
    directories::Clients,
    push::Push,
    radius_clients::{self, Seen},
    radsec, rotation,
    tls::{Certificate, RadiusCredentials},
    upkeep,
    upstreams::Forwarders,
};

/// How long a listener may take to answer its own server.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the program knows.
pub(crate) struct Program {
    pub(crate) config: Config,
    pub(crate) started_at: String,
    pub(crate) radius: Vec<SocketAddr>,
    /// Nowhere unless it is set.
    pub(crate) accounting: Vec<SocketAddr>,
    pub(crate) radius_tls: Vec<SocketAddr>,
    /// `None` without [radius.tls].
    pub(crate) credentials: Option<Arc<RadiusCredentials>>,
    pub(crate) app: SocketAddr,
    pub(crate) figures: Arc<Figures>,
    /// `None` without TLS.
    pub(crate) certificate: Option<Arc<Certificate>>,
    /// `None` where pushes are off.
    pub(crate) push: Option<Push>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) directories: Arc<Clients>,
    pub(crate) upstreams: Arc<Forwarders>,
}

/// Counts by their names, as they are told.
fn named(counts: impl Iterator<Item = (&'static str, u64)>) -> BTreeMap<String, u64> {
    counts.map(|(name, count)| (name.to_owned(), count)).collect()
}

#[async_trait]
impl ServerFacts for Program {
    fn facts(&self) -> Facts {
        let table = Arc::clone(&self.desk.resources().borrow());
        let client_counters = table
            .seats()
            .iter()
            .map(|seat| {
                let (counts, waits) = (self.figures.client(seat.client.id), self.figures.waits(seat.client.id));
                let mut told = named(counts.named());
                told.extend(waits.intervals().map(|(seconds, count)| (format!("repeated_after_{seconds}_s"), count)));
                told.insert("longest_wait_ms".to_owned(), u64::try_from(waits.longest.as_millis()).unwrap_or(u64::MAX));
                (seat.client.name.clone(), told)
            })
            .collect();
        Facts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.started_at.clone(),
            radius: self.radius.iter().map(ToString::to_string).collect(),
            app: self.app.to_string(),
            url: self.config.url.to_string(),
            organization: self.config.organization.clone(),
            accounting: self.accounting.iter().map(ToString::to_string).collect(),
            accounting_counters: named(self.figures.accounting().named()),
            radius_counters: named(self.figures.counts().named()),
            client_counters,
            push_counters: self
                .push
                .as_ref()
                .map(|push| {
                    let counts = push.figures();
                    let told = [
                        ("sent", counts.sent),
                        ("gone", counts.gone),
                        ("failed", counts.failed),
                        ("retried", counts.retried),
                        ("dropped", counts.dropped),
                    ];
                    named(told.into_iter())
                })
                .unwrap_or_default(),
        }
    }

    async fn probe(&self) -> Vec<Finding> {
        let mut out = vec![self.probe_app().await];
        for address in &self.radius {
            out.push(self.probe_radius(*address).await);
        }
        out.extend(self.accounting());
        out.extend(self.certificate());
        out.extend(radsec::findings(self));
        out.extend(upkeep::disk(&self.config.database));
        out.extend(self.address_for_phones());
        out.push(self.pushing());
        out.extend(self.clients());
        out
    }

    fn pushes(&self) -> bool {
        self.push.is_some()
    }

    async fn test_push(&self, device: DeviceId) -> Option<Result<PushAnswer, StoreError>> {
        match &self.push {
            Some(push) => Some(push.test(device).await),
            None => None,
        }
    }

    fn check_directory(
        &self,
        settings: &serde_json::Value,
        password: &Secret,
        rules: &[SyncRule],
    ) -> Result<String, String> {
        self.directories.check(settings, password, rules)
    }

    async fn test_directory(&self, directory: &Directory, user: Option<&str>) -> Vec<DirectoryStep> {
        self.directories.test(directory, user).await
    }

    async fn find_group(&self, directory: &Directory, group: &str) -> Result<(), String> {
        self.directories.find_group(directory, group).await
    }

    fn upstream_servers(&self, upstream: UpstreamId) -> (Vec<UpstreamServerView>, Vec<UpstreamServerView>) {
        self.upstreams.servers(upstream)
    }

    fn secret_use(&self, client: ClientId) -> Option<SecretUse> {
        let used = self.figures.secrets(client)?;
        Some(SecretUse {
            packets: used.previous.packets,
            last: used.previous.last,
            packets_by_new: used.new.packets,
            last_by_new: used.new.last,
        })
    }

    async fn test_upstream(&self, upstream: &Upstream, login: Option<TrialLogin>) -> Vec<UpstreamStep> {
        self.upstreams.test(upstream, login).await
    }
}

impl Program {
    async fn probe_app(&self) -> Finding {
        let address = reachable(self.app);
        match timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(_)) => Finding::ok("app", format!("listens on {}", self.app)),
            Ok(Err(fault)) => Finding::wrong("app", format!("{address} does not answer: {fault}. Restart the server")),
            Err(_) => Finding::wrong("app", format!("{address} does not answer within 2 s. Restart the server")),
        }
    }

    /// Asks the RADIUS door by Status-Server (RFC 5997), where a client with the machine's own address is known.
    async fn probe_radius(&self, address: SocketAddr) -> Finding {
        let to = reachable(address);
        let table = Arc::clone(&self.desk.resources().borrow());
        let Some(seat) = table.find(to.ip()) else {
            return Finding::ok(
                "radius",
                format!("listens on {address} (not asked: no resource has {} as its client)", to.ip()),
            );
        };
        let secret = SharedSecret::new(seat.client.secret.expose());
        match timeout(PATIENCE, self.status_server(to, &secret)).await {
            Ok(Ok(true)) => Finding::ok("radius", format!("{address} answers Status-Server")),
            Ok(Ok(false)) => Finding::wrong("radius", format!("{address} answers Status-Server with something else")),
            Ok(Err(fault)) => Finding::wrong("radius", format!("{address} cannot be asked: {fault}")),
            Err(_) => Finding::wrong("radius", format!("{address} does not answer within 2 s. Restart the server")),
        }
    }

    async fn status_server(&self, to: SocketAddr, secret: &SharedSecret) -> io::Result<bool> {
        let authenticator = Authenticator(self.desk.entropy().octets());
        let none = AttributeList::new();
        let request = encode_request(Code::StatusServer, Identifier(0), &authenticator, secret, &none);
        let request = request.map_err(io::Error::other)?;
        let socket = UdpSocket::bind((to.ip(), 0)).await?;
        socket.connect(to).await?;
        socket.send(&request).await?;
        let mut answer = [0; 4096];
        let length = socket.recv(&mut answer).await?;
        let answer = answer.get(..length).unwrap_or_default();
        let rule = MessageAuthenticatorRule::Required;
        Ok(verify_reply(answer, &authenticator, Identifier(0), secret, rule).is_ok())
    }

    /// What there is to say of accounting.
    fn accounting(&self) -> Vec<Finding> {
        let counts = self.figures.accounting();
        if self.accounting.is_empty() {
            let kept = |upstream: &Upstream| !upstream.accounting.is_empty();
            let upstreams = Arc::clone(&self.desk.upstreams().borrow());
            let names: Vec<&str> = upstreams.values().filter(|one| kept(one)).map(|one| one.name.as_str()).collect();
            let text = format!(
                "upstream {} keeps accounting, and none is taken here: set [radius] accounting = \"0.0.0.0:1813\"",
                names.join(", ")
            );
            return if names.is_empty() { Vec::new() } else { vec![Finding::note("accounting", text)] };
        }
        let addresses: Vec<_> = self.accounting.iter().map(ToString::to_string).collect();
        let mut out = vec![Finding::ok(
            "accounting",
            format!(
                "listens on {}; {} records answered since start, {} sent on",
                addresses.join(", "),
                counts.responses,
                counts.forwarded
            ),
        )];
        let unanswered = counts.unanswered;
        if unanswered > 0 {
            out.push(Finding::note(
                "accounting",
                format!(
                    "{unanswered} times no server of an upstream took a record, so its client got no answer and asks again"
                ),
            ));
        }
        out
    }

    fn address_for_phones(&self) -> Vec<Finding> {
        let url = &self.config.url;
        let behind = !self.config.trusted_proxies.is_empty();
        if !url.is_https() {
            return vec![Finding::note(
                "url",
                format!(
                    "{url} works on this machine only: phones need https and a certificate that they trust. Set [app] url"
                ),
            )];
        }
        if self.config.tls.is_none() && !behind {
            return vec![Finding::note(
                "url",
                format!(
                    "{url} is served by a reverse proxy that [app] trusted_proxies does not name: all phones seem to come \
                     from one address, and share its limits"
                ),
            )];
        }
        vec![Finding::ok("url", url.to_string())]
    }

    fn certificate(&self) -> Vec<Finding> {
        let Some(certificate) = &self.certificate else { return Vec::new() };
        let fault = certificate.fault().map(|fault| {
            format!("{fault}. The files changed, and phones are still shown the certificate before: mend the files")
        });
        let mut out: Vec<_> = fault.map(|fault| Finding::wrong("tls", fault)).into_iter().collect();
        out.extend(
            certificate.ends().map(|ends| upkeep::certificate("tls", upkeep::PHONES, ends, self.desk.clock().now())),
        );
        out
    }

    fn pushing(&self) -> Finding {
        let Some(push) = &self.push else {
            return Finding::note(
                "push",
                "off, so that phones are asked only while the app is open: set [push] contact to switch it on",
            );
        };
        let counts = push.figures();
        let told = format!(
            "{} pushes sent since start, {} under way, {} tried again; {} subscriptions had ended and were removed",
            counts.sent, counts.under_way, counts.retried, counts.gone
        );
        if counts.failed == 0 && counts.dropped == 0 {
            return Finding::ok("push", told);
        }
        Finding::note(
            "push",
            format!(
                "{told}; {} were given up and {} challenges had none: the log says why, and `countersign doctor --push \
                 USER` sends one now",
                counts.failed, counts.dropped
            ),
        )
    }

    fn clients(&self) -> Vec<Finding> {
        let mut out = Vec::new();
        let counts = self.figures.counts();
        if counts.unknown_source > 0 {
            out.push(Finding::note(
                "radius",
                format!(
                    "{} packets came from addresses that belong to no client, and were dropped; the log names them. \
                     `countersign client set NAME --address …` adds an address",
                    counts.unknown_source
                ),
            ));
        }
        if counts.malformed > 0 {
            out.push(Finding::note("radius", format!("{} datagrams were no RADIUS packets", counts.malformed)));
        }
        for seat in self.desk.resources().borrow().seats() {
            out.extend(radius_clients::misled(seat));
            let used = self.figures.secrets(seat.client.id);
            out.extend(rotation::finding(&seat.client, used, self.desk.clock().now()));
            let seen = Seen {
                resource: &seat.resource,
                client: &seat.client,
                counts: self.figures.client(seat.client.id),
                waits: self.figures.waits(seat.client.id),
            };
            out.extend(seen.findings());
        }
        out
    }
}

/// Where this machine reaches a listener that listens on `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        other => other,
    };
    SocketAddr::new(ip, address.port())
}
