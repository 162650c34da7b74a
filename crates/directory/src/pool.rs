//! The servers of a directory: which of them is asked, and over which connection.
//!
//! Connections of the service account only search, those that check passwords only bind: no search ever runs under the
//! identity that somebody's password left behind.

use core::time::Duration;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use countersign_domain::Entropy;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsConnector;

use crate::{
    config::{Kind, ServerAddress, Settings},
    connection::{Connection, Found},
    error::{DirectoryError, Refusal, ServerFault},
    reason,
    wire::{Outcome, Search, code},
};

/// How long a connection that searches may lie idle. Active Directory closes after fifteen minutes, firewalls sooner.
const SEARCH_IDLE: Duration = Duration::from_secs(240);
/// How long one that binds may lie idle. A bind that is lost on the way cannot be told from one that was counted, so
/// those are kept for a short time only.
const BIND_IDLE: Duration = Duration::from_secs(30);
/// How long an answer is waited for on a connection that may have been cut by somebody in between.
const STALE_WAIT: Duration = Duration::from_millis(1500);
/// How many idle connections of a sort are kept for each server.
const MAX_IDLE: usize = 4;
/// A server that failed is asked again after this, after twice this, and so on.
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);
/// A refused service account is not tried for this long, so that our own tries do not lock it.
const ACCOUNT_PAUSE: Duration = Duration::from_secs(30);
/// At least this much of a call's time is for one server.
const LEAST_SHARE: Duration = Duration::from_secs(1);
/// One password is sent this often at most, however often connections break: the directory may count each.
const MAX_BINDS: u8 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Search,
    Bind,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    not_before: Option<Instant>,
    searching: Vec<Connection>,
    binding: Vec<Connection>,
}

impl State {
    const fn idle(&mut self, sort: Sort) -> &mut Vec<Connection> {
        match sort {
            Sort::Search => &mut self.searching,
            Sort::Bind => &mut self.binding,
        }
    }
}

#[derive(Debug)]
struct Server {
    address: ServerAddress,
    state: Mutex<State>,
}

impl Server {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waits(&self, now: Instant) -> bool {
        self.state().not_before.is_some_and(|not_before| not_before > now)
    }

    /// One at a time finds out whether a server that failed is back; all others go on to the next one.
    fn begin(&self, share: Duration) {
        let mut state = self.state();
        if state.failures > 0 {
            state.not_before = Some(Instant::now() + share);
        }
    }

    fn well(&self) {
        let mut state = self.state();
        let failures = std::mem::take(&mut state.failures);
        state.not_before = None;
        drop(state);
        if failures > 0 {
            tracing::info!(directory.server = %self.address.url, failures, "directory server answers again");
        }
    }

    fn failed(&self, fault: &ServerFault, jitter: u8) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        let back_off = FIRST_BACK_OFF * 2_u32.saturating_pow((state.failures - 1).min(6));
        // Up to a quarter less, so that many servers of ours do not come back as one.
        let back_off = back_off.min(LONGEST_BACK_OFF).mul_f64(1.0 - f64::from(jitter) / 1024.0);
        state.not_before = Some(Instant::now() + back_off);
        let stale = (std::mem::take(&mut state.searching), std::mem::take(&mut state.binding));
        let failures = state.failures;
        drop(state);
        drop(stale);
        if failures == 1 {
            tracing::warn!(directory.server = %self.address.url, %fault, "directory server failed");
        }
    }

    async fn take_idle(&self, sort: Sort) -> Option<Connection> {
        let idle = match sort {
            Sort::Search => SEARCH_IDLE,
            Sort::Bind => BIND_IDLE,
        };
        loop {
            let mut connection = self.state().idle(sort).pop()?;
            if connection.is_fresh(idle).await {
                return Some(connection);
            }
        }
    }

    fn keep(&self, sort: Sort, connection: Connection) {
        let mut state = self.state();
        let idle = state.idle(sort);
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
    }
}

/// Why one server gave no answer.
enum Trouble {
    /// The next one may.
    Fault(ServerFault),
    /// No other is to be asked.
    Stop(DirectoryError),
}

impl From<ServerFault> for Trouble {
    fn from(fault: ServerFault) -> Self {
        Self::Fault(fault)
    }
}

/// A call's turn and the end of its time.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    deadline: Instant,
    _turn: SemaphorePermit<'a>,
}

/// A connection that a reader of many pages keeps.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) connection: Connection,
    server: usize,
}

/// All servers.
pub(crate) struct Pool {
    settings: Arc<Settings>,
    tls: TlsConnector,
    servers: Vec<Server>,
    turns: Semaphore,
    entropy: Arc<dyn Entropy>,
    account_refused: Mutex<Option<Instant>>,
}

impl Pool {
    pub(crate) fn new(settings: Arc<Settings>, tls: TlsConnector, entropy: Arc<dyn Entropy>) -> Self {
        let servers = settings.servers.iter().cloned();
        Self {
            servers: servers.map(|address| Server { address, state: Mutex::default() }).collect(),
            turns: Semaphore::new(settings.max_connections),
            tls,
            settings,
            entropy,
            account_refused: Mutex::new(None),
        }
    }

    pub(crate) const fn tls(&self) -> &TlsConnector {
        &self.tls
    }

    /// Waits for a turn. All that is done in it takes no longer than a call may.
    pub(crate) async fn call(&self) -> Result<Call<'_>, DirectoryError> {
        let deadline = Instant::now() + self.settings.call;
        match timeout_at(deadline, self.turns.acquire()).await {
            Ok(Ok(turn)) => Ok(Call { deadline, _turn: turn }),
            _ => Err(DirectoryError::Overloaded),
        }
    }

    /// As configured.
    pub(crate) fn url(&self, server: usize) -> String {
        self.servers.get(server).map(|server| server.address.url.to_string()).unwrap_or_default()
    }

    /// Those that are well in their order, then those that failed a moment ago; `first` before all of them.
    fn order(&self, first: Option<usize>) -> Vec<(usize, &Server)> {
        let now = Instant::now();
        let mut order: Vec<_> = self.servers.iter().enumerate().collect();
        order.sort_by_key(|(position, server)| (server.waits(now), Some(*position) != first, *position));
        order
    }

    /// Searches as the service account, at the first server that answers.
    pub(crate) async fn search(
        &self,
        call: &Call<'_>,
        search: &Search,
        first: Option<usize>,
    ) -> Result<(Found, usize), DirectoryError> {
        let mut tried = Vec::new();
        let order = self.order(first);
        for (position, (index, server)) in order.iter().enumerate() {
            let Some(share) = share(call.deadline, order.len() - position) else { break };
            server.begin(share);
            match self.search_at(server, search, Instant::now() + share).await {
                Ok(found) => {
                    server.well();
                    return Ok((found, *index));
                }
                Err(Trouble::Fault(fault)) => self.note(server, fault, &mut tried),
                Err(Trouble::Stop(error)) => return Err(error),
            }
        }
        Err(self.unavailable(tried))
    }

    async fn search_at(&self, server: &Server, search: &Search, deadline: Instant) -> Result<Found, Trouble> {
        if let Some(mut connection) = server.take_idle(Sort::Search).await {
            let wait = if connection.may_be_cut() { deadline.min(Instant::now() + STALE_WAIT) } else { deadline };
            match connection.search(search, wait).await {
                Ok(found) => {
                    server.keep(Sort::Search, connection);
                    return Ok(found);
                }
                Err(fault) if fault.may_be_stale() => {}
                Err(fault) => return Err(fault.into()),
            }
        }
        let mut connection = self.open_for_search(server, deadline).await?;
        let found = connection.search(search, deadline).await?;
        server.keep(Sort::Search, connection);
        Ok(found)
    }

    async fn open_for_search(&self, server: &Server, deadline: Instant) -> Result<Connection, Trouble> {
        let pause = *self.account_refused.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(left) = pause.and_then(|until| until.checked_duration_since(Instant::now())) {
            return Err(Trouble::Stop(DirectoryError::ServiceAccountRefused { seconds: left.as_secs() + 1 }));
        }
        let mut connection = self.open(server, deadline).await?;
        match bind_service(&mut connection, &self.settings, deadline).await? {
            Ok(()) => Ok(connection),
            Err((why, outcome)) => {
                *self.account_refused.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(Instant::now() + ACCOUNT_PAUSE);
                tracing::error!(directory.server = %server.address.url, result = outcome.code, "service account refused: {why}");
                Err(Trouble::Stop(DirectoryError::ServiceAccount {
                    server: server.address.url.to_string(),
                    why,
                    code: outcome.code,
                    text: outcome.text,
                }))
            }
        }
    }

    async fn open(&self, server: &Server, deadline: Instant) -> Result<Connection, ServerFault> {
        let left = deadline.saturating_duration_since(Instant::now());
        Connection::open(&server.address, &self.tls, left.min(self.settings.connect)).await
    }

    /// Checks a password, at the server `first` if it is well. The result as the server gave it, and which server.
    pub(crate) async fn check_password(
        &self,
        call: &Call<'_>,
        dn: &str,
        password: &[u8],
        first: usize,
    ) -> Result<(Outcome, usize), DirectoryError> {
        let mut tried = Vec::new();
        let mut binds = 0;
        let order = self.order(Some(first));
        for (position, (index, server)) in order.iter().enumerate() {
            let Some(share) = share(call.deadline, order.len() - position) else { break };
            server.begin(share);
            match self.check_at(server, dn, password, Instant::now() + share, &mut binds).await {
                Ok(outcome) => {
                    server.well();
                    return Ok((outcome, *index));
                }
                Err(fault) => self.note(server, fault, &mut tried),
            }
            if binds >= MAX_BINDS {
                break;
            }
        }
        Err(self.unavailable(tried))
    }

    async fn check_at(
        &self,
        server: &Server,
        dn: &str,
        password: &[u8],
        deadline: Instant,
        binds: &mut u8,
    ) -> Result<Outcome, ServerFault> {
        let ask_policy = self.settings.kind == Kind::Ldap;
        if let Some(mut connection) = server.take_idle(Sort::Bind).await {
            *binds += 1;
            match connection.bind(dn, password, ask_policy, deadline).await {
                Ok(outcome) => {
                    server.keep(Sort::Bind, connection);
                    return Ok(outcome);
                }
                // Cut since the last time: once more over a fresh one (C082).
                Err(ServerFault::Closed) if *binds < MAX_BINDS => {}
                Err(fault) => return Err(fault),
            }
        }
        let mut connection = self.open(server, deadline).await?;
        *binds += 1;
        let outcome = connection.bind(dn, password, ask_policy, deadline).await?;
        server.keep(Sort::Bind, connection);
        Ok(outcome)
    }

    /// A connection of the service account for a reader of many pages.
    pub(crate) async fn lease(&self, call: &Call<'_>) -> Result<Lease, DirectoryError> {
        let mut tried = Vec::new();
        let order = self.order(None);
        for (position, (index, server)) in order.iter().enumerate() {
            let Some(share) = share(call.deadline, order.len() - position) else { break };
            server.begin(share);
            match self.open_for_search(server, Instant::now() + share).await {
                Ok(connection) => {
                    server.well();
                    return Ok(Lease { connection, server: *index });
                }
                Err(Trouble::Fault(fault)) => self.note(server, fault, &mut tried),
                Err(Trouble::Stop(error)) => return Err(error),
            }
        }
        Err(self.unavailable(tried))
    }

    /// A search over a leased connection; it is not tried elsewhere, since pages belong to a connection.
    pub(crate) async fn search_leased(&self, lease: &mut Lease, search: &Search) -> Result<Found, DirectoryError> {
        let deadline = Instant::now() + self.settings.call;
        lease.connection.search(search, deadline).await.map_err(|fault| {
            let mut tried = Vec::new();
            if let Some(server) = self.servers.get(lease.server) {
                self.note(server, fault, &mut tried);
            }
            DirectoryError::Unavailable { tried }
        })
    }

    pub(crate) fn leased_from(&self, lease: &Lease) -> String {
        self.url(lease.server)
    }

    fn note(&self, server: &Server, fault: ServerFault, tried: &mut Vec<(String, ServerFault)>) {
        let [jitter] = self.entropy.octets::<1>();
        server.failed(&fault, jitter);
        tried.push((server.address.url.to_string(), fault));
    }

    /// Says of the servers that there was no time for that they were not tried.
    fn unavailable(&self, mut tried: Vec<(String, ServerFault)>) -> DirectoryError {
        for server in &self.servers {
            if !tried.iter().any(|(url, _)| **url == *server.address.url) {
                tried.push((server.address.url.to_string(), ServerFault::NotTried));
            }
        }
        DirectoryError::Unavailable { tried }
    }
}

/// How much of the time until `deadline` one of `servers` may take; `None` when it is over.
fn share(deadline: Instant, servers: usize) -> Option<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    let equal = left / u32::try_from(servers.max(1)).unwrap_or(u32::MAX);
    Some(equal.max(LEAST_SHARE).min(left)).filter(|share| !share.is_zero())
}

/// Logs the service account on: anything but a plain yes is a no (S57).
pub(crate) async fn bind_service(
    connection: &mut Connection,
    settings: &Settings,
    deadline: Instant,
) -> Result<Result<(), (Refusal, Outcome)>, ServerFault> {
    let ask_policy = settings.kind == Kind::Ldap;
    let outcome = connection.bind(&settings.bind_name, settings.bind_password.expose(), ask_policy, deadline).await?;
    Ok(match reason::of_bind(settings.kind, &outcome) {
        None if outcome.code == code::SUCCESS => Ok(()),
        why => Err((why.unwrap_or(Refusal::NoPassword), outcome)),
    })
}
