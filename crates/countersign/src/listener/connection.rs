//! One connection, from the handshake to its end.

use core::{
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};
use std::net::SocketAddr;

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::ConnectInfo,
};
use hyper::{
    Request,
    body::{Frame, Incoming, SizeHint},
    rt::Executor,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::tls::HTTP_2;

/// Request line and headers together.
const HEAD: usize = 16 * 1024;
/// The same for HTTP/2, after decompression.
const HEADERS: u32 = 16 * 1024;
/// Requests at once on one connection of HTTP/2; an app has a stream open and asks for a few things beside it.
const STREAMS: u32 = 64;
/// Requests that a client began and gave up, and that are still being cleared away; more end the connection (CVE-2023-44487).
const RESETS: usize = 32;
/// Octets of bodies that are taken in before somebody reads them, of one request and of a connection.
const WINDOW: u32 = 64 * 1024;
const WINDOWS: u32 = 256 * 1024;
/// Octets of an answer that wait for the client.
const ANSWER: usize = 64 * 1024;
/// What is under way when the server stops may take so long.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long a client is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For a TLS handshake, the head of a request, and each piece of its body (`security.md` section 4).
    pub(super) slow: Duration,
    /// With no request under way, before HTTP/2 is ended; HTTP/1.1 waits for the next head no longer than `slow`.
    pub(super) idle: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { slow: Duration::from_secs(10), idle: Duration::from_secs(60) }
    }
}

/// What all connections have in common.
#[derive(Clone)]
pub(super) struct Connections {
    pub(super) router: Router,
    pub(super) patience: Patience,
    pub(super) stop: CancellationToken,
    /// Whoever stops waits for these.
    pub(super) tasks: TaskTracker,
}

impl Connections {
    pub(super) async fn serve(self, stream: TcpStream, peer: SocketAddr, tls: Option<TlsAcceptor>) {
        let _best_effort = stream.set_nodelay(true);
        let Some(tls) = tls else {
            return self.http(stream, peer, false).await;
        };
        match timeout(self.patience.slow, tls.accept(stream)).await {
            Ok(Ok(stream)) => {
                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP_2);
                self.http(stream, peer, is_http2).await;
            }
            Ok(Err(fault)) => tracing::debug!(client.address = %peer, error = %fault, "app.tls: no handshake"),
            Err(_) => tracing::debug!(client.address = %peer, "app.tls: handshake too slow"),
        }
    }

    /// The handshake has said which version it is; guessing it from the first octets would have to wait for them.
    async fn http(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
        is_http2: bool,
    ) {
        let (busy, idle) = watch::channel(0);
        let router = TowerToHyperService::new(self.router);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            let busy = Busy::begin(&busy);
            let answer = router.call(request);
            async move { answer.await.map(|answer| answer.map(|body| Body::new(Counted { body, _busy: busy }))) }
        });
        let builder = auto::Builder::new(Tracked(self.tasks));
        let mut builder = if is_http2 { builder.http2_only() } else { builder.http1_only() };
        builder.http1().timer(TokioTimer::new()).header_read_timeout(self.patience.slow).max_buf_size(HEAD);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(self.patience.idle)
            .keep_alive_timeout(self.patience.slow)
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HEADERS)
            .max_pending_accept_reset_streams(RESETS)
            .max_local_error_reset_streams(RESETS)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOWS)
            .max_send_buf_size(ANSWER);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = ending(&self.stop, idle, self.patience, is_http2) => {
                connection.as_mut().graceful_shutdown();
                timeout(LAST_WORDS, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(fault) = ended {
            tracing::debug!(client.address = %peer, error = %fault, "app.connection ended early");
        }
    }
}

/// Waits until a connection is to end: the server stops, or nobody asks for anything on it. HTTP/1.1 sees to the latter
/// itself.
async fn ending(stop: &CancellationToken, mut busy: watch::Receiver<usize>, patience: Patience, is_http2: bool) {
    if !is_http2 {
        return stop.cancelled().await;
    }
    let unused = async {
        let mut wait = patience.slow;
        loop {
            match timeout(wait, busy.wait_for(|requests| *requests > 0)).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => return,
            }
            if busy.wait_for(|requests| *requests == 0).await.is_err() {
                return;
            }
            wait = patience.idle;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = unused => {}
    }
}

/// A request under way, until its answer has been read to the end.
struct Busy(watch::Sender<usize>);

impl Busy {
    fn begin(all: &watch::Sender<usize>) -> Self {
        all.send_modify(|requests| *requests = requests.saturating_add(1));
        Self(all.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_modify(|requests| *requests = requests.saturating_sub(1));
    }
}

/// A body that counts as under way.
struct Counted {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Runs the requests of HTTP/2 as tasks that are waited for.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> Executor<F> for Tracked
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, request: F) {
        self.0.spawn(request);
    }
}
