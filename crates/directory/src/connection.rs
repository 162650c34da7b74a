//! One connection to one server: TLS first, then one question at a time.

use core::time::Duration;
use std::future::Future;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, lookup_host},
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    ber::{self, SEQUENCE},
    config::ServerAddress,
    error::{Phase, ServerFault},
    tls,
    wire::{self, Outcome, RawEntry, Request, Response, Search, code},
};

/// How much a server may answer to one question.
pub(crate) const MAX_REPLY: usize = 1 << 20;

/// Speaks LDAP over whatever carries octets.
#[derive(Debug)]
pub(crate) struct Messages<S> {
    stream: S,
    received: Vec<u8>,
    last_id: u32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Messages<S> {
    pub(crate) const fn new(stream: S) -> Self {
        Self { stream, received: Vec::new(), last_id: 0 }
    }

    async fn send(&mut self, request: &Request<'_>) -> Result<u32, ServerFault> {
        self.last_id = self.last_id % 0x7fff_ffff + 1;
        let octets = request.encode(self.last_id);
        self.stream.write_all(&octets).await.map_err(|_| ServerFault::Closed)?;
        self.stream.flush().await.map_err(|_| ServerFault::Closed)?;
        Ok(self.last_id)
    }

    /// The next message to question `id`. It and those before it may be `budget` octets together.
    pub(crate) async fn receive(&mut self, id: u32, budget: &mut usize) -> Result<Response, ServerFault> {
        let whole = loop {
            if let Some(header) = ber::header(&self.received).map_err(|_| ServerFault::Malformed)? {
                if header.tag != SEQUENCE {
                    return Err(ServerFault::Malformed);
                }
                let whole = header.size.saturating_add(header.length);
                *budget = match budget.checked_sub(whole) {
                    Some(_) if self.received.len() < whole => *budget,
                    Some(rest) => {
                        *budget = rest;
                        break whole;
                    }
                    None => return Err(ServerFault::TooLarge),
                };
            }
            self.received.reserve(8192);
            match self.stream.read_buf(&mut self.received).await {
                Ok(0) | Err(_) => return Err(ServerFault::Closed),
                Ok(_) => {}
            }
        };
        let octets: Vec<u8> = self.received.drain(..whole).collect();
        match wire::decode(&octets).map_err(|_| ServerFault::Malformed)? {
            (_, Response::Disconnection) => Err(ServerFault::Closed),
            (found, response) if found == id => Ok(response),
            _ => Err(ServerFault::Malformed),
        }
    }

    async fn start_tls(&mut self) -> Result<(), ServerFault> {
        let id = self.send(&Request::StartTls).await?;
        // Before TLS anybody on the way can answer: a few octets are all that is listened to.
        match self.receive(id, &mut 4096).await? {
            Response::Extended(Outcome { code: code::SUCCESS, .. }) => {}
            Response::Extended(Outcome { code, text, .. }) => return Err(ServerFault::StartTlsRefused { code, text }),
            _ => return Err(ServerFault::Malformed),
        }
        // What came in the clear behind the answer must not be taken for something that came through TLS.
        if self.received.is_empty() { Ok(()) } else { Err(ServerFault::Malformed) }
    }
}

/// What a search found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) entries: Vec<RawEntry>,
    pub(crate) outcome: Outcome,
}

/// A connection that is encrypted and whose server has proven who it is.
#[derive(Debug)]
pub(crate) struct Connection {
    messages: Messages<TlsStream<TcpStream>>,
    used: Instant,
}

impl Connection {
    /// Connects and sets up TLS within `limit`.
    pub(crate) async fn open(server: &ServerAddress, tls: &TlsConnector, limit: Duration) -> Result<Self, ServerFault> {
        let tcp = Self::connect(server, limit).await?;
        Self::secure(tcp, server, tls, limit).await
    }

    /// Only connects.
    pub(crate) async fn connect(server: &ServerAddress, limit: Duration) -> Result<TcpStream, ServerFault> {
        let deadline = Instant::now() + limit;
        let addresses = within(deadline, Phase::Connect, async {
            lookup_host((server.host.as_str(), server.port))
                .await
                .map_err(|error| ServerFault::HostUnknown(error.to_string()))
        });
        let addresses: Vec<_> = addresses.await?.collect();
        let mut last = ServerFault::HostUnknown("it has no address".to_owned());
        for (position, address) in addresses.iter().enumerate() {
            // Each address gets its share, so that one that swallows everything does not take it all.
            let left = u32::try_from(addresses.len() - position).unwrap_or(u32::MAX);
            let share = deadline.saturating_duration_since(Instant::now()) / left.max(1);
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Questions are small and wait for their answer.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => last = ServerFault::Connect(error.to_string()),
                Err(_) => last = ServerFault::TimedOut(Phase::Connect),
            }
        }
        Err(last)
    }

    /// Sets up TLS, after asking for it where the server wants to be asked.
    pub(crate) async fn secure(
        tcp: TcpStream,
        server: &ServerAddress,
        tls: &TlsConnector,
        limit: Duration,
    ) -> Result<Self, ServerFault> {
        let deadline = Instant::now() + limit;
        let tcp = if server.start_tls {
            let mut clear = Messages::new(tcp);
            within(deadline, Phase::StartTls, clear.start_tls()).await?;
            clear.stream
        } else {
            tcp
        };
        let stream = within(deadline, Phase::Tls, async {
            let handshake = tls.connect(server.tls_name.clone(), tcp).await;
            handshake.map_err(|error| ServerFault::Tls(tls::fault(&error)))
        });
        Ok(Self { messages: Messages::new(stream.await?), used: Instant::now() })
    }

    /// Binds. Never without a password (S56), whatever the caller has checked.
    pub(crate) async fn bind(
        &mut self,
        name: &str,
        password: &[u8],
        ask_policy: bool,
        deadline: Instant,
    ) -> Result<Outcome, ServerFault> {
        if name.is_empty() || password.is_empty() || password.first() == Some(&0) {
            return Err(ServerFault::Malformed);
        }
        let outcome = within(deadline, Phase::Bind, async {
            let id = self.messages.send(&Request::Bind { name, password, ask_policy }).await?;
            let mut budget = MAX_REPLY;
            match self.messages.receive(id, &mut budget).await? {
                Response::Bind(outcome) => checked(outcome),
                _ => Err(ServerFault::Malformed),
            }
        })
        .await?;
        self.used = Instant::now();
        Ok(outcome)
    }

    pub(crate) async fn search(&mut self, search: &Search, deadline: Instant) -> Result<Found, ServerFault> {
        let found = within(deadline, Phase::Search, async {
            let id = self.messages.send(&Request::Search(search)).await?;
            let mut budget = MAX_REPLY;
            let mut entries = Vec::new();
            loop {
                match self.messages.receive(id, &mut budget).await? {
                    Response::Entry(entry) => entries.push(entry),
                    // Not followed (S60), and no reason to doubt what else was found (C053).
                    Response::Reference | Response::Intermediate => {}
                    Response::Done(outcome) => return Ok(Found { entries, outcome: checked(outcome)? }),
                    _ => return Err(ServerFault::Malformed),
                }
            }
        })
        .await?;
        self.used = Instant::now();
        Ok(found)
    }

    /// Whether nothing speaks against using it: it is not older than `idle`, not closed, and says nothing unasked.
    pub(crate) async fn is_fresh(&mut self, idle: Duration) -> bool {
        if self.used.elapsed() > idle || !self.messages.received.is_empty() {
            return false;
        }
        // A look that does not wait: whatever can be read now is an end or a notice of one.
        timeout(Duration::ZERO, self.messages.stream.read(&mut [0])).await.is_err()
    }

    /// Whether an answer that does not come may be due to the connection and not to the server.
    pub(crate) fn may_be_cut(&self) -> bool {
        self.used.elapsed() > Duration::from_secs(10)
    }

    /// Says goodbye, without waiting for long.
    pub(crate) async fn close(mut self) {
        let _ = timeout(Duration::from_millis(100), async {
            let _ = self.messages.send(&Request::Unbind).await;
            let _ = self.messages.stream.shutdown().await;
        })
        .await;
    }
}

/// A server that cannot is like one that is not there.
fn checked(outcome: Outcome) -> Result<Outcome, ServerFault> {
    match outcome.code {
        code::BUSY | code::UNAVAILABLE => Err(ServerFault::Busy(outcome.code)),
        _ => Ok(outcome),
    }
}

async fn within<T>(
    deadline: Instant,
    phase: Phase,
    work: impl Future<Output = Result<T, ServerFault>>,
) -> Result<T, ServerFault> {
    timeout_at(deadline, work).await.unwrap_or(Err(ServerFault::TimedOut(phase)))
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    async fn answered(octets: Vec<u8>) -> Result<Response, ServerFault> {
        let (client, mut server) = duplex(1 << 16);
        let mut messages = Messages::new(client);
        let sent = async {
            let _ = server.write_all(&octets).await;
            drop(server);
        };
        let mut budget = MAX_REPLY;
        tokio::join!(messages.receive(1, &mut budget), sent).0
    }

    #[tokio::test]
    async fn s65_a_reply_that_is_too_large_is_not_read() {
        assert_eq!(answered(vec![0x30, 0x83, 0x10, 0, 0]).await, Err(ServerFault::TooLarge));
        assert_eq!(answered(vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff]).await, Err(ServerFault::TooLarge));
    }

    #[tokio::test]
    async fn what_is_no_ldap_is_known_at_once() {
        assert_eq!(answered(b"HTTP/1.1 400 Bad Request\r\n".to_vec()).await, Err(ServerFault::Malformed));
        assert_eq!(answered(vec![]).await, Err(ServerFault::Closed));
        // An answer to another question.
        assert_eq!(answered(vec![0x30, 5, 2, 1, 2, 0x73, 0]).await, Err(ServerFault::Malformed));
    }

    #[tokio::test]
    async fn s59_nothing_may_follow_the_answer_to_start_tls_in_the_clear() {
        let yes = [0x30, 12, 2, 1, 1, 0x78, 7, 0x0a, 1, 0, 4, 0, 4, 0];
        for (behind, right) in [(&[][..], Ok(())), (&[0x30], Err(ServerFault::Malformed))] {
            let (client, mut server) = duplex(4096);
            let mut messages = Messages::new(client);
            server.write_all(&[&yes[..], behind].concat()).await.unwrap();
            assert_eq!(messages.start_tls().await, right);
        }
    }
}
