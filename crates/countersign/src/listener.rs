//! The app's listener: HTTP/1.1 over TCP, with TLS where certificate files are set, and with limits on slow clients.

use core::time::Duration;
use std::{io, net::SocketAddr, os::unix::fs::PermissionsExt as _, path::Path, pin::pin, sync::Arc};

use anyhow::{Context as _, Result, anyhow, bail};
use axum::{Router, extract::ConnectInfo};
use hyper::{Request, body::Incoming, server::conn::http1, service::Service as _, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig, crypto,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_http::timeout::RequestBodyTimeoutLayer;

use crate::config::{Config, Tls};

/// A TLS handshake, the head of a request, and each piece of its body take no longer (`security.md` section 4).
const SLOW: Duration = Duration::from_secs(10);
/// Request line and headers together.
const HEAD: usize = 16 * 1024;
/// Connections at a time; more wait in the system's queue.
const CONNECTIONS: usize = 8192;
/// What is under way when the server stops may take so long.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// After the system refuses a connection, for example for want of file descriptors.
const REST: Duration = Duration::from_millis(100);

/// The listener, bound and not yet running.
pub(crate) struct AppListener {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
}

impl AppListener {
    /// Opens the port and reads the certificate.
    pub(crate) async fn bind(config: &Config) -> Result<Self> {
        let tls = config.tls.as_ref().map(acceptor).transpose()?;
        let wanted = config.app_listen;
        let listener = TcpListener::bind(wanted).await.map_err(|fault| match fault.kind() {
            io::ErrorKind::AddrInUse => anyhow!(
                "app address {wanted} (TCP) is in use by another program: stop that program (`ss -ltnp sport = :{}` names \
                 it) or set [app] listen to another port",
                wanted.port()
            ),
            io::ErrorKind::PermissionDenied => anyhow!(
                "app address {wanted} may not be opened by this account: set [app] listen to a port from 1024 on, or give \
                 the program the capability CAP_NET_BIND_SERVICE"
            ),
            io::ErrorKind::AddrNotAvailable => anyhow!(
                "app address {wanted} is not one of this machine: set [app] listen to one that `ip address` shows"
            ),
            _ => anyhow!("app address {wanted} cannot be opened: {fault}"),
        })?;
        let address = listener.local_addr().context("the app's address is not known")?;
        Ok(Self { listener, address, tls })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is cancelled, and lets what is under way end.
    pub(crate) async fn run(self, router: Router, stop: CancellationToken) {
        let router = router.layer(RequestBodyTimeoutLayer::new(SLOW));
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let tasks = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = async {
                    // The semaphore is never closed.
                    let place = Arc::clone(&room).acquire_owned().await.ok();
                    (place, self.listener.accept().await)
                } => accepted,
            };
            let (place, (stream, peer)) = match accepted {
                (place, Ok(accepted)) => (place, accepted),
                (_, Err(fault)) => {
                    tracing::warn!(error = %fault, "app.connection not taken");
                    sleep(REST).await;
                    continue;
                }
            };
            let connection = connection(stream, peer, self.tls.clone(), router.clone(), stop.clone());
            tasks.spawn(async move {
                connection.await;
                drop(place);
            });
        }
        tasks.close();
        tasks.wait().await;
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    stop: CancellationToken,
) {
    let _best_effort = stream.set_nodelay(true);
    match tls {
        None => http(stream, peer, router, stop).await,
        Some(tls) => match timeout(SLOW, tls.accept(stream)).await {
            Ok(Ok(stream)) => http(stream, peer, router, stop).await,
            Ok(Err(fault)) => tracing::debug!(client.address = %peer, error = %fault, "app.tls: no handshake"),
            Err(_) => tracing::debug!(client.address = %peer, "app.tls: handshake too slow"),
        },
    }
}

async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    router: Router,
    stop: CancellationToken,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(SLOW)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            timeout(LAST_WORDS, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(fault) = ended {
        tracing::debug!(client.address = %peer, error = %fault, "app.connection ended early");
    }
}

fn acceptor(files: &Tls) -> Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|fault| anyhow!("[app] tls_cert {}: {fault}", files.cert.display()))?;
    if chain.is_empty() {
        bail!("[app] tls_cert {} holds no certificate in PEM form", files.cert.display());
    }
    check_private(&files.key)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|_| anyhow!("[app] tls_key {} holds no private key in PEM form", files.key.display()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .context("TLS cannot be set up")?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|fault| {
            anyhow!(
                "[app] tls_cert {} and tls_key {} do not go together: {fault}",
                files.cert.display(),
                files.key.display()
            )
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn check_private(key: &Path) -> Result<()> {
    let about = std::fs::metadata(key).map_err(|fault| anyhow!("[app] tls_key {}: {fault}", key.display()))?;
    let mode = about.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        bail!(
            "[app] tls_key {} can be read by others (mode {mode:03o}): run `chmod o= {}`",
            key.display(),
            key.display()
        );
    }
    Ok(())
}
