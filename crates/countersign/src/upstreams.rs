//! The RADIUS servers that the desk sends logins on to, over the client crate.

mod eap;
mod ms_chap;
mod words;

use core::time::Duration;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use countersign_api::admin::{
    identity::server_text,
    upstreams::{END_OF_LOOP, TrialLogin, UpstreamServerView, UpstreamStep},
};
use countersign_desk::{Exchange, SentOn, Trouble, UpstreamAnswer, UpstreamTable, Upstreams};
use countersign_domain::{
    Entropy, HostileText, Secret, Seldom, Upstream, UpstreamAttributes, UpstreamId, UpstreamServer,
};
use countersign_radius::{AttributeType, SharedSecret};
use countersign_radius_client::{
    Answer, Client, Credentials, Forward, NoAnswer, Outcome, Over, ProxyMark, ProxyTag, Server, ServerState, Tls,
    trial::{self, Question},
};
use countersign_radius_server::Recorders;
use countersign_storage::{Store, StoreError};
use tokio::{sync::watch, time::Instant};
use tracing::warn;

/// A record waits so long for a server; then its client may ask again. Shorter than most clients take to give a record up.
const RECORD: Duration = Duration::from_secs(10);

/// Clients of all upstreams, made when they are added and anew when their settings change.
pub(crate) struct Forwarders {
    mark: ProxyMark,
    entropy: Arc<dyn Entropy>,
    started: Instant,
    made: Mutex<HashMap<UpstreamId, Made>>,
    loops: Mutex<Seldom>,
    /// What is shown to servers over TLS; `None` without [radius.tls].
    credentials: Option<watch::Receiver<Arc<Credentials>>>,
}

struct Made {
    as_it_was: Arc<Upstream>,
    client: Client,
    /// Where it keeps accounting.
    accounting: Option<Client>,
    left_out: Seldom,
}

impl Forwarders {
    /// Without any yet.
    pub(crate) fn new(
        mark: ProxyMark,
        entropy: Arc<dyn Entropy>,
        credentials: Option<watch::Receiver<Arc<Credentials>>>,
    ) -> Arc<Self> {
        let (made, loops) = (Mutex::default(), Mutex::default());
        Arc::new(Self { mark, entropy, started: Instant::now(), made, loops, credentials })
    }

    /// A server as it is asked.
    fn server(&self, server: &UpstreamServer) -> Server {
        let over = match &server.tls {
            None => Over::Udp(SharedSecret::new(server.secret.expose())),
            Some(identity) => Over::Tls(Tls { identity: identity.clone(), credentials: self.credentials.clone() }),
        };
        Server { address: server.address, over }
    }

    fn made(&self) -> MutexGuard<'_, HashMap<UpstreamId, Made>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The servers of an upstream, in their order, and those that keep accounting.
    pub(crate) fn servers(&self, upstream: UpstreamId) -> (Vec<UpstreamServerView>, Vec<UpstreamServerView>) {
        let made = self.made();
        let Some(made) = made.get(&upstream) else { return (Vec::new(), Vec::new()) };
        let views = |client: &Client, servers: &[UpstreamServer]| -> Vec<UpstreamServerView> {
            servers.iter().zip(client.servers()).map(|(server, (_, state))| view(server, &state)).collect()
        };
        let accounting = made.accounting.as_ref().map(|client| views(client, &made.as_it_was.accounting));
        (views(&made.client, &made.as_it_was.servers), accounting.unwrap_or_default())
    }

    fn accounting(&self, upstream: UpstreamId) -> Option<Client> {
        self.made().get(&upstream)?.accounting.clone()
    }

    /// Tells of what has come back to us, once a minute.
    fn complain_of_loop(&self, what: &str, looped: impl Fn(&Made) -> bool) {
        let looped = |made: &Made| looped(made).then(|| made.as_it_was.name.clone());
        let name = self.made().values().find_map(looped);
        let mut loops = self.loops.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(times) = loops.happens(self.started.elapsed()) else { return };
        let name = name.as_deref().unwrap_or("one that is gone");
        warn!(
            upstream.name = name,
            times,
            "{what} came back to us: the servers of upstream {name} send to us what they get from us, instead of deciding \
             it. {END_OF_LOOP}"
        );
    }

    /// Asks each server of an upstream, from sockets of their own.
    pub(crate) async fn test(&self, upstream: &Upstream, login: Option<TrialLogin>) -> Vec<UpstreamStep> {
        let mut steps = Vec::new();
        for one in &upstream.servers {
            let question = login.as_ref().map_or(Question::Status, |login| Question::Login {
                user: &login.user,
                password: login.password.as_ref().map(Secret::expose),
            });
            let begin = Instant::now();
            let found = trial::ask(&self.server(one), question, &*self.entropy).await;
            steps.push(words::step(&server_text(one), login.as_ref(), &found, begin.elapsed()));
        }
        for one in &upstream.accounting {
            let begin = Instant::now();
            let found = trial::ask(&self.server(one), Question::AccountingStatus, &*self.entropy).await;
            steps.push(words::accounting(&server_text(one), &found, begin.elapsed()));
        }
        steps
    }

    /// Tells once a minute that something of an Accept does not reach the client.
    fn complain(&self, upstream: UpstreamId, answer: &Answer) {
        if answer.relayed.left_out == 0 {
            return;
        }
        let now = self.started.elapsed();
        let mut made = self.made();
        let Some(made) = made.get_mut(&upstream) else { return };
        if let Some(times) = made.left_out.happens(now) {
            warn!(
                upstream.name = made.as_it_was.name,
                times,
                "{} attributes of an Access-Accept of upstream {} are encrypted for us in a way that is not known, or malformed, \
                 and were left out: a client that needs them cannot log on through here",
                answer.relayed.left_out,
                made.as_it_was.name
            );
        }
    }
}

/// By which this deployment knows what it has sent on.
pub(crate) async fn mark(store: &dyn Store, entropy: &dyn Entropy) -> Result<ProxyMark, StoreError> {
    let fresh = Secret::new(entropy.octets::<16>().to_vec());
    let kept = store.server_secret("radius-proxy-mark", fresh).await?;
    let octets = kept.expose().try_into().map_err(|_| StoreError::Inconsistent {
        table: "server_secrets",
        fault: "the mark of requests that are sent on has not 16 octets".to_owned(),
    })?;
    Ok(ProxyMark::new(octets))
}

fn view(server: &UpstreamServer, state: &ServerState) -> UpstreamServerView {
    let counts = state.counts;
    let counters = [
        ("asked", counts.asked),
        ("retransmissions", counts.retransmissions),
        ("accepts", counts.accepts),
        ("rejects", counts.rejects),
        ("challenges", counts.challenges),
        ("recorded", counts.recorded),
        ("protocol_errors", counts.protocol_errors),
        ("unanswered", counts.unanswered),
        ("loops", counts.loops),
        ("not_awaited", counts.not_awaited),
        ("without_message_authenticator", counts.without_message_authenticator),
        ("unproven", counts.unproven),
    ];
    UpstreamServerView {
        address: server_text(server),
        down_seconds: state.down_since.map(|span| span.as_secs()),
        heard_seconds: state.heard.map(|span| span.as_secs()),
        answers_status: state.answers_status,
        waiting: state.waiting,
        counters: counters.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
    }
}

#[async_trait]
impl Upstreams for Forwarders {
    fn set(&self, upstreams: &UpstreamTable) {
        let mut made = self.made();
        made.retain(|id, _| upstreams.contains_key(id));
        for (id, upstream) in upstreams {
            if made.get(id).is_some_and(|made| made.as_it_was == *upstream) {
                continue;
            }
            let servers = upstream.servers.iter().map(|server| self.server(server)).collect();
            let client = Client::new(&upstream.name, servers, self.mark.clone(), Arc::clone(&self.entropy));
            let accounting: Vec<Server> = upstream.accounting.iter().map(|server| self.server(server)).collect();
            let accounting = (!accounting.is_empty())
                .then(|| Client::accounting(&upstream.name, accounting, self.mark.clone(), Arc::clone(&self.entropy)));
            let left_out = Seldom::default();
            made.insert(*id, Made { as_it_was: Arc::clone(upstream), client, accounting, left_out });
        }
    }

    async fn ask(&self, login: SentOn) -> UpstreamAnswer {
        let client = self.made().get(&login.upstream).map(|made| made.client.clone());
        let Some(client) = client else {
            return UpstreamAnswer::Unavailable(trouble("no_upstream", "there is no such upstream any more"));
        };
        let exchange = ms_chap::Asked::of(login.attributes.expose());
        let mut forward = Forward::new(login.attributes.expose().into(), login.password.as_ref().map(Secret::expose));
        if let Exchange::Eap { with: Some(server) } = login.exchange {
            forward = forward.only_to(server);
        }
        match client.ask(forward, login.budget).await {
            Outcome::Accept(answer) if matches!(login.exchange, Exchange::Eap { .. }) => {
                self.complain(login.upstream, &answer);
                eap::accept(&answer)
            }
            Outcome::Challenge(answer) if matches!(login.exchange, Exchange::Eap { .. }) => {
                eap::challenge(&answer, client.address(answer.server))
            }
            Outcome::Accept(answer) if exchange.is_unproven_by(&answer.relayed.attributes) => ms_chap::unproven(),
            Outcome::Accept(answer) => {
                self.complain(login.upstream, &answer);
                let attributes = answer.relayed.attributes;
                let mut names = attributes.iter().filter(|one| one.kind == AttributeType::USER_NAME);
                let user = names.next().map(|one| HostileText::new(one.value));
                let attributes = UpstreamAttributes::new(attributes.expose().to_vec());
                UpstreamAnswer::Accept { attributes, user }
            }
            Outcome::Reject(_) => UpstreamAnswer::Reject,
            Outcome::Challenge(_) => UpstreamAnswer::Challenge,
            // No login ends so.
            Outcome::Recorded => UpstreamAnswer::Unavailable(trouble("upstream_silent", "the answer is no verdict")),
            Outcome::NoAnswer(NoAnswer::Loop) => UpstreamAnswer::Loop,
            Outcome::NoAnswer(fault) => {
                let word = match fault {
                    NoAnswer::Silent | NoAnswer::Loop => "upstream_silent",
                    NoAnswer::NoServer => "no_upstream",
                    NoAnswer::Full => "upstream_full",
                    NoAnswer::TooLong => "request_too_long",
                    NoAnswer::ProtocolError => "upstream_protocol_error",
                };
                UpstreamAnswer::Unavailable(trouble(word, &fault.to_string()))
            }
        }
    }

    fn looped(&self, tag: [u8; 8]) {
        self.complain_of_loop("a login", |made| made.client.looped(ProxyTag(tag)));
    }
}

#[async_trait]
impl Recorders for Forwarders {
    fn keeps(&self, upstream: UpstreamId) -> bool {
        self.made().get(&upstream).is_some_and(|made| made.accounting.is_some())
    }

    async fn record(&self, upstream: UpstreamId, attributes: Arc<[u8]>) -> bool {
        let Some(client) = self.accounting(upstream) else { return false };
        let outcome = client.ask(Forward::new(attributes, None), RECORD).await;
        outcome == Outcome::Recorded
    }

    fn looped(&self, tag: [u8; 8]) {
        let looped = |client: &Client| client.looped(ProxyTag(tag));
        self.complain_of_loop("an accounting record", |made| made.accounting.as_ref().is_some_and(looped));
    }
}

fn trouble(word: &'static str, text: &str) -> Trouble {
    Trouble { word, text: text.to_owned() }
}
