//! The app's listener: HTTP/1.1 over TCP, with TLS and then HTTP/2 as well where certificate files are set, and with limits
//! on slow clients and on many connections.

mod connection;
mod places;
#[cfg(test)]
mod tests;

use core::time::Duration;
use std::{future::pending, io, net::SocketAddr, pin::pin, sync::Arc};

use anyhow::{Context as _, Result, anyhow};
use axum::Router;
use countersign_domain::Seldom;
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_http::timeout::RequestBodyTimeoutLayer;

use crate::{
    config::Config,
    runtime::file_limit,
    tls::{Certificate, LOOK},
};
use connection::{Connections, Patience};
use places::{Bounds, CONNECTIONS, Sources};

/// After the system refuses a connection, for example for want of file descriptors.
const REST: Duration = Duration::from_millis(100);

/// The listener, bound and not yet running.
pub(crate) struct AppListener {
    listener: TcpListener,
    address: SocketAddr,
    certificate: Option<Arc<Certificate>>,
    patience: Patience,
    bounds: Bounds,
    look: Duration,
}

impl AppListener {
    /// Opens the port and reads the certificate.
    pub(crate) async fn bind(config: &Config) -> Result<Self> {
        let certificate = config.tls.as_ref().map(Certificate::open).transpose()?;
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
        let bounds = Bounds::within(file_limit(), &config.trusted_proxies);
        if bounds.all < CONNECTIONS {
            tracing::warn!(
                "app: the system's limit of open files leaves room for {} connections of phones instead of {CONNECTIONS}: \
                 raise it (LimitNOFILE= in the systemd unit, `ulimit -Hn` elsewhere)",
                bounds.all
            );
        }
        Ok(Self { listener, address, certificate, patience: Patience::default(), bounds, look: LOOK })
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate that it shows, where it does TLS.
    pub(crate) fn certificate(&self) -> Option<Arc<Certificate>> {
        self.certificate.clone()
    }

    /// Serves until `stop` is cancelled, and lets what is under way end.
    pub(crate) async fn run(self, router: Router, stop: CancellationToken) {
        let router = router.layer(RequestBodyTimeoutLayer::new(self.patience.slow));
        let room = Arc::new(Semaphore::new(self.bounds.all));
        let sources = Sources::new(&self.bounds);
        let begin = Instant::now();
        let (mut full, mut untaken, mut crowded) = (Seldom::default(), Seldom::default(), Seldom::default());
        let tasks = TaskTracker::new();
        let connections = Connections { router, patience: self.patience, stop: stop.clone(), tasks: tasks.clone() };
        let mut watching = pin!(async {
            match &self.certificate {
                Some(certificate) => certificate.watch(self.look).await,
                None => pending().await,
            }
        });
        loop {
            if room.available_permits() == 0
                && let Some(times) = full.happens(begin.elapsed())
            {
                tracing::warn!(times, "app: all {} connections are taken, more wait", self.bounds.all);
            }
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                () = &mut watching => break,
                accepted = async {
                    // The semaphore is never closed.
                    let place = Arc::clone(&room).acquire_owned().await.ok();
                    (place, self.listener.accept().await)
                } => accepted,
            };
            let (place, (stream, peer)) = match accepted {
                (place, Ok(accepted)) => (place, accepted),
                (_, Err(fault)) => {
                    if let Some(times) = untaken.happens(begin.elapsed()) {
                        tracing::warn!(error = %fault, times, "app.connection not taken");
                    }
                    sleep(REST).await;
                    continue;
                }
            };
            let Some(seat) = sources.admit(peer.ip()) else {
                if let Some(times) = crowded.happens(begin.elapsed()) {
                    tracing::warn!(
                        client.address = %peer.ip(),
                        times,
                        "app.connection refused: its address has {} already. If that is a reverse proxy, name it in [app] \
                         trusted_proxies",
                        self.bounds.of_one_source
                    );
                }
                continue;
            };
            let acceptor = self.certificate.as_ref().map(|certificate| certificate.acceptor());
            let connection = connections.clone().serve(stream, peer, acceptor);
            tasks.spawn(async move {
                connection.await;
                drop((place, seat));
            });
        }
        tasks.close();
        tasks.wait().await;
    }
}
