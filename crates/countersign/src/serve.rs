//! `countersign serve`: opens everything, in an order in which whatever is wrong shows before anybody is served, and
//! closes it again.

use core::time::Duration;
use std::{
    io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result, anyhow, bail};
use countersign_api::{
    admin::{self, AdminApi, activations::Issuer, audit::check_newest, checkpoints::Checkpoints},
    app::{self, AppFiles},
    device::DeviceApi,
};
use countersign_desk::{Desk, Peers};
use countersign_domain::{AuditEvent, Clock, Commit, Entropy, EventKind};
use countersign_radius_server::{
    AccountingConfig, AccountingServer, BindError, Config as RadiusConfig, RadiusServer, StreamBounds, TlsConfig,
    accounting_over_connections,
};
use countersign_storage::{Store, Vault, VaultError};
use countersign_storage_sqlite::{Location, Options, SqliteStore};
use sd_notify::NotifyState;
use tokio::{
    net::{UnixListener, UnixStream},
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    commands,
    config::Config,
    directories::Clients,
    facts::Program,
    listener::AppListener,
    logging::{self, LogFormat},
    output::{Failure, Output},
    push::{self, Push},
    runtime::{SystemClock, SystemEntropy, guard_process, raise_file_limit},
    tls::{LOOK, RadiusCredentials},
    upstreams::{self, Forwarders},
};

/// Listeners may take so long to end,
const LISTENERS: Duration = Duration::from_secs(3);
/// and the last writes so long.
const LAST_WRITES: Duration = Duration::from_secs(2);

/// Runs a server until it is told to stop.
pub(crate) async fn serve(data: &Path, log_format: LogFormat, output: Output) -> Result<(), Failure> {
    guard_process();
    logging::start(log_format, "info")?;
    let mut stop = Stop::new()?;
    let config = Config::load_or_create(data)?;
    let server = Server::start(data, config).await?;
    output.line(&server.ready());
    server.run(&mut stop).await?;
    Ok(())
}

/// Waits for the signals that end a server.
pub(crate) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    pub(crate) fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("signals cannot be waited for");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A running server.
pub(crate) struct Server {
    url: String,
    radius: Vec<SocketAddr>,
    radius_tls: Vec<SocketAddr>,
    app: SocketAddr,
    socket: PathBuf,
    desk: Arc<Desk>,
    device_api: DeviceApi,
    checkpoints: Arc<Checkpoints>,
    /// Ends the listeners.
    closing: CancellationToken,
    listeners: JoinSet<&'static str>,
}

impl Server {
    /// Opens everything. When it returns, everybody is served.
    pub(crate) async fn start(data: &Path, config: Config) -> Result<Self> {
        raise_file_limit();
        if UnixStream::connect(&config.socket).await.is_ok() {
            bail!(
                "a server is running on {} already (it answers at {}): stop that one first",
                data.display(),
                config.socket.display()
            );
        }
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let entropy: Arc<dyn Entropy> = SystemEntropy::new();
        let vault = Arc::new(open_vault(&config, &*entropy)?);
        let options = Options::new(Arc::clone(&clock), Arc::clone(&entropy));
        let store = SqliteStore::open(Location::File(config.database.clone()), Arc::clone(&vault), options)
            .await
            .with_context(|| format!("database {}", config.database.display()))?;
        let store: Arc<dyn Store> = Arc::new(store);
        let checkpoints = Checkpoints::open(config.checkpoints.clone(), &*store, Arc::clone(&clock)).await?;
        let checkpoints = Arc::new(checkpoints);
        if let Some(fault) = check_newest(&*store, &checkpoints).await? {
            tracing::error!(detail = fault.detail, "audit.checkpoint does not fit: run `countersign audit verify`");
        }
        let directories = Arc::new(Clients::new(Arc::clone(&clock), Arc::clone(&entropy)));
        let mark = upstreams::mark(&*store, &*entropy).await?;
        let credentials = config.radius_tls.as_ref().map(RadiusCredentials::open_radius).transpose()?;
        let shown = credentials.as_ref().map(|credentials| credentials.follow());
        let upstreams = Forwarders::new(mark.clone(), Arc::clone(&entropy), shown);
        let peers = Peers { directories: directories.clone(), upstreams: upstreams.clone() };
        let bounds = config.limits.desk();
        let desk = Desk::open_with(Arc::clone(&store), Arc::clone(&clock), Arc::clone(&entropy), bounds, peers).await?;
        // Before anything opens challenges.
        let push = Push::open(&config.push, &*store, &desk, Arc::clone(&clock), entropy).await?;
        let (push, dispatcher) = push.unzip();

        let limits = config.limits.radius();
        let (listen, clock_of_secrets) = (config.accounting_listen.clone(), Arc::clone(&clock));
        let (giver, taker) = (!listen.is_empty()).then(accounting_over_connections).unzip();
        let accounting =
            AccountingConfig { listen, limits, mark: mark.clone(), clock: clock_of_secrets, connections: taker };
        let over_tls =
            credentials.as_ref().filter(|_| !config.radius_tls_listen.is_empty()).map(|credentials| TlsConfig {
                listen: config.radius_tls_listen.clone(),
                credentials: credentials.follow(),
                bounds: StreamBounds::default(),
            });
        let listen = config.radius_listen.clone();
        let radius = RadiusConfig { listen, limits, mark, tls: over_tls, accounting: giver };
        let cannot_listen = |fault| match fault {
            BindError::Taken { .. } | BindError::Covered { .. } => anyhow!(fault).context("address in use"),
            other => other.into(),
        };
        let radius = RadiusServer::bind(radius, Arc::clone(&desk)).map_err(cannot_listen)?;
        let accounting = if accounting.listen.is_empty() {
            None
        } else {
            let (resources, figures) = (desk.resources(), radius.figures());
            let bound = AccountingServer::bind(accounting, resources, upstreams.clone(), figures);
            Some(bound.map_err(cannot_listen)?)
        };
        let listener = AppListener::bind(&config).await?;
        let device_api = DeviceApi::new(
            Arc::clone(&desk),
            config.url.clone(),
            config.organization.clone(),
            Arc::clone(&vault),
            config.trusted_proxies.clone(),
            push::Services::new(&config.push)?,
        )
        .await?;
        let socket = bind_socket(&config.socket)?;

        let now = clock.now();
        let mut event = AuditEvent::new(now, EventKind::ServerStarted, "server");
        event.detail = Some(format!("{{\"version\":\"{}\"}}", env!("CARGO_PKG_VERSION")));
        desk.begin(event).await.context("the start cannot be recorded")?;

        let facts = Program {
            config: config.clone(),
            started_at: now.to_rfc3339(),
            radius: radius.local_addrs().collect(),
            accounting: accounting.iter().flat_map(AccountingServer::local_addrs).collect(),
            radius_tls: radius.tls_addrs().collect(),
            credentials: credentials.clone(),
            app: listener.address(),
            figures: radius.figures(),
            certificate: listener.certificate(),
            push,
            desk: Arc::clone(&desk),
            directories,
            upstreams,
        };
        let issuer = Issuer { vault, origin: config.url.clone(), signing_key: device_api.signing_thumbprint() };
        let (radius_at, radius_tls_at, app_at) = (facts.radius.clone(), facts.radius_tls.clone(), facts.app);
        let api = AdminApi::new(Arc::clone(&desk), Arc::new(facts), Arc::clone(&checkpoints), Arc::new(issuer));

        let closing = CancellationToken::new();
        let mut listeners = JoinSet::new();
        let token = closing.clone();
        listeners.spawn(async move {
            radius.run(token).await;
            "the RADIUS door"
        });
        if let Some(accounting) = accounting {
            let token = closing.clone();
            listeners.spawn(async move {
                accounting.run(token).await;
                "accounting"
            });
        }
        if let Some(credentials) = credentials {
            let token = closing.clone();
            listeners.spawn(async move {
                tokio::select! {
                    () = token.cancelled() => {}
                    () = credentials.watch(LOOK) => {}
                }
                "the watch over [radius.tls]"
            });
        }
        let files = AppFiles::embedded();
        if files.is_empty() {
            tracing::warn!("app: this build has no phone app in it; the app's address says how to build it");
        }
        let (token, router) = (closing.clone(), app::router(device_api.clone(), files));
        listeners.spawn(async move {
            listener.run(router, token).await;
            "the app's listener"
        });
        if let Some(dispatcher) = dispatcher {
            let token = closing.clone();
            listeners.spawn(async move {
                dispatcher.run(token).await;
                "the sending of pushes"
            });
        }
        let token = closing.clone();
        listeners.spawn(async move {
            if let Err(fault) = admin::serve(socket, api, token.cancelled_owned()).await {
                tracing::error!(error = %fault, "admin.socket ended");
            }
            "the admin socket"
        });
        let (token, synchronised) = (closing.clone(), Arc::clone(&desk));
        listeners.spawn(async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = synchronised.keep_synchronised() => {}
            }
            "the synchronisation of directories"
        });
        let (token, keeper, kept) = (closing.clone(), Arc::clone(&checkpoints), store);
        listeners.spawn(async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = keeper.keep(&*kept) => {}
            }
            "the checkpoints"
        });
        let server = Self {
            url: config.url.to_string(),
            radius: radius_at,
            radius_tls: radius_tls_at,
            app: app_at,
            socket: config.socket,
            desk,
            device_api,
            checkpoints,
            closing,
            listeners,
        };
        tracing::info!("ready");
        let _not_under_systemd = sd_notify::notify(&[NotifyState::Ready]);
        Ok(server)
    }

    /// The line that says that everybody is served.
    pub(crate) fn ready(&self) -> String {
        let mut radius: Vec<_> = self.radius.iter().map(ToString::to_string).collect();
        radius.extend(self.radius_tls.iter().map(|address| format!("{address} (TLS)")));
        format!(
            "ready: RADIUS on {}, app on {} as {}, commands on {}",
            radius.join(" and "),
            self.app,
            self.url,
            self.socket.display()
        )
    }

    /// The public address.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Where RADIUS is reached.
    pub(crate) fn radius(&self) -> Option<SocketAddr> {
        self.radius.first().copied()
    }

    /// Serves until a signal comes or a part fails, and closes everything.
    pub(crate) async fn run(mut self, stop: &mut Stop) -> Result<()> {
        let failed = tokio::select! {
            () = stop.wait() => None,
            ended = self.listeners.join_next() => Some(match ended {
                Some(Ok(part)) => anyhow!("{part} ended by itself: the log above says why"),
                Some(Err(fault)) => anyhow!("a part of the server failed: {fault}"),
                None => anyhow!("nothing serves any more"),
            }),
        };
        self.close().await;
        failed.map_or(Ok(()), Err)
    }

    pub(crate) async fn close(mut self) {
        tracing::info!("stopping");
        let _not_under_systemd = sd_notify::notify(&[NotifyState::Stopping]);
        self.device_api.close();
        self.closing.cancel();
        let ended = async { while self.listeners.join_next().await.is_some() {} };
        if timeout(LISTENERS, ended).await.is_err() {
            tracing::warn!("a listener did not end in time");
            self.listeners.abort_all();
        }
        let _gone = std::fs::remove_file(&self.socket);
        let last_writes = async {
            let event = AuditEvent::new(self.desk.clock().now(), EventKind::ServerStopped, "server");
            if let Err(fault) = self.desk.write(Commit::record(event)).await {
                tracing::error!(error = %fault, "the stop was not recorded");
            }
            let store = self.desk.store();
            if let Err(fault) = self.checkpoints.make(&**store).await {
                tracing::error!(error = %fault, "audit.checkpoint was not made");
            }
            store.close().await;
        };
        if timeout(LAST_WRITES, last_writes).await.is_err() {
            tracing::error!("the database was not closed in time");
        }
        tracing::info!("stopped");
    }
}

/// The key file; made where there is no database yet, for without its own key a database is lost.
fn open_vault(config: &Config, entropy: &dyn Entropy) -> Result<Vault> {
    let waiting = commands::key::waiting(&config.keys);
    if waiting.exists() {
        bail!(
            "the key was being changed when that was interrupted ({} is there): run `countersign key rotate`, which goes on",
            waiting.display()
        );
    }
    match Vault::load(&config.keys) {
        Err(VaultError::File { fault, .. }) if fault.kind() == io::ErrorKind::NotFound => {
            if config.database.exists() {
                bail!(
                    "key file {} is missing, and the database {} was made with it: put it back from your copy. Without it \
                     the secrets in the database cannot be read",
                    config.keys.display(),
                    config.database.display()
                );
            }
            Ok(Vault::create(&config.keys, entropy)?)
        }
        loaded => Ok(loaded?),
    }
}

/// Opens the socket, in the place of one that a killed server left.
fn bind_socket(path: &Path) -> Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(fault) if fault.kind() != io::ErrorKind::NotFound => {
            return Err(fault).with_context(|| format!("an old socket {} cannot be removed", path.display()));
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).with_context(|| {
        format!(
            "the socket {} cannot be made; a path has at most 107 octets, and its folder must exist: set [admin] socket",
            path.display()
        )
    })?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .with_context(|| format!("the socket {} cannot be made private", path.display()))?;
    Ok(listener)
}
