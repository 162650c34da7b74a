//! TLS towards one server (RFC 6614).

use core::time::Duration;
use std::sync::Arc;

use countersign_domain::TlsIdentity;
use countersign_radius::{FrameError, Framer, limits};
use countersign_radius_tls::{ClientStream, Credentials, Fault, connect};
use thiserror::Error;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{mpsc, watch},
    time::timeout,
};

use crate::client::Server;

/// A connection is there after this, its handshake included, or it is not had.
const CONNECT: Duration = Duration::from_secs(5);
/// A server takes what it is sent within this.
const WRITE: Duration = Duration::from_secs(5);
/// Packets that may wait for a connection: one for each identifier, and some to spare.
pub(crate) const WAITING: usize = 512;

/// What a server over TLS is known by, and what we show it.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Whose its certificate has to be.
    pub identity: TlsIdentity,
    /// Our certificate and the CA of servers as they are now; `None` where there are none, and then it is not asked at all.
    pub credentials: Option<watch::Receiver<Arc<Credentials>>>,
}

/// Why a connection could not be had, or is over.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Broken {
    /// Nothing is configured that we could show.
    #[error("this server has no certificate to show: set [radius.tls] cert and key")]
    NoCredentials,
    /// There is no way to it, or nobody listens.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// It does not answer.
    #[error("it does not answer in time")]
    Timeout,
    /// TLS does not come about, or has ended.
    #[error(transparent)]
    Tls(#[from] Fault),
    /// What it sent is no reply to what it was asked (RFC 6613 section 2.6.4).
    #[error("it sent a reply that is not proven: the shared secret over TLS is \"radsec\" on both sides (RFC 6614)")]
    Unproven,
    /// What it sent is no packet.
    #[error("it sent {0}")]
    Garbage(#[from] FrameError),
}

/// A connection whose handshake is over.
pub(crate) async fn open(server: &Server, tls: &Tls) -> Result<ClientStream, Broken> {
    let Some(credentials) = &tls.credentials else { return Err(Broken::NoCredentials) };
    let credentials = Arc::clone(&credentials.borrow());
    let opening = async {
        let stream = TcpStream::connect(server.address).await;
        let stream = stream.map_err(|fault| Broken::Unreachable(fault.to_string()))?;
        // A request is one small write; without this it could wait for the next.
        let _ = stream.set_nodelay(true);
        Ok(connect(stream, &tls.identity, &credentials).await?)
    };
    timeout(CONNECT, opening).await.unwrap_or(Err(Broken::Timeout))
}

/// Sends what there is to be sent and hands on what comes, until the connection is over, or something comes that is not believed;
/// why. Nothing, when we have closed it.
pub(crate) async fn converse(
    stream: ClientStream,
    mut outgoing: mpsc::Receiver<Arc<[u8]>>,
    mut received: impl FnMut(&[u8]) -> bool,
) -> Option<Broken> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let reading = async {
        let mut framer = Framer::new();
        let mut buffer = vec![0; limits::PACKET];
        loop {
            match reader.read(&mut buffer).await {
                Ok(0) => return Broken::Tls(Fault::Closed),
                Err(fault) => return Broken::Tls(Fault::from(&fault)),
                Ok(length) => framer.push(buffer.get(..length).unwrap_or_default()),
            }
            loop {
                match framer.next_packet() {
                    Ok(Some(packet)) if received(packet) => {}
                    Ok(Some(_)) => return Broken::Unproven,
                    Ok(None) => break,
                    Err(fault) => return Broken::Garbage(fault),
                }
            }
        }
    };
    let writing = async {
        while let Some(packet) = outgoing.recv().await {
            let sending = async {
                writer.write_all(&packet).await?;
                writer.flush().await
            };
            match timeout(WRITE, sending).await {
                Err(_) => return Some(Broken::Timeout),
                // Why it is closed is what can still be read.
                Ok(Err(_)) => core::future::pending::<()>().await,
                Ok(Ok(())) => {}
            }
        }
        let _ = timeout(WRITE, writer.shutdown()).await;
        None
    };
    tokio::select! {
        broken = reading => Some(broken),
        ended = writing => ended,
    }
}
