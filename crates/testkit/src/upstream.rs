//! A scripted RADIUS server: answers what a test tells it to, right or wrong.
#![expect(clippy::expect_used, reason = "what fails here fails the test that uses it")]

use core::time::Duration;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use countersign_radius::{AttributeList, Code, PacketView, SharedSecret, encode_reply};
use tokio::{net::UdpSocket, task::JoinHandle, time::sleep};

/// What it sends.
#[derive(Debug, Clone)]
pub enum Says {
    /// From where it was asked.
    Here(Vec<u8>),
    /// From another port of its machine.
    Elsewhere(Vec<u8>),
    /// From where it was asked, later.
    Later(Duration, Vec<u8>),
}

/// The server.
pub struct ScriptedServer {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
    task: JoinHandle<()>,
}

impl ScriptedServer {
    /// The secret of all of them.
    pub const SECRET: &[u8] = b"the secret of a scripted server";

    /// Listens on a port of the system's choice and answers each packet as the script says.
    pub async fn new(script: impl FnMut(&PacketView<'_>) -> Vec<Says> + Send + 'static) -> Self {
        Self::at("127.0.0.1:0".parse().expect("an address"), script).await
    }

    /// The same at an address.
    pub async fn at(
        address: SocketAddr,
        mut script: impl FnMut(&PacketView<'_>) -> Vec<Says> + Send + 'static,
    ) -> Self {
        let socket = Arc::new(UdpSocket::bind(address).await.expect("a port"));
        let other = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let address = socket.local_addr().expect("an address");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            let mut buffer = vec![0; 4096];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.expect("a datagram");
                let octets = buffer.get(..length).expect("that much");
                list.lock().unwrap_or_else(PoisonError::into_inner).push(octets.to_vec());
                let Ok(request) = PacketView::parse(octets) else { continue };
                for said in script(&request) {
                    match said {
                        Says::Here(reply) => drop(socket.send_to(&reply, from).await),
                        Says::Elsewhere(reply) => drop(other.send_to(&reply, from).await),
                        Says::Later(after, reply) => {
                            let socket = Arc::clone(&socket);
                            tokio::spawn(async move {
                                sleep(after).await;
                                drop(socket.send_to(&reply, from).await);
                            });
                        }
                    }
                }
            }
        });
        Self { address, heard, task }
    }

    /// One that answers everything with this code, and Status-Server with Access-Accept.
    pub async fn answering(code: Code) -> Self {
        Self::new(move |request| vec![Says::Here(Self::reply(code, request, &AttributeList::new()))]).await
    }

    /// One that hears and says nothing.
    pub async fn silent() -> Self {
        Self::new(|_| Vec::new()).await
    }

    /// The right reply to a request; to Status-Server Access-Accept, whatever the code.
    pub fn reply(code: Code, request: &PacketView<'_>, attributes: &AttributeList) -> Vec<u8> {
        let secret = SharedSecret::new(Self::SECRET);
        let status = request.code() == Code::StatusServer;
        let none = AttributeList::new();
        let (code, attributes) = if status { (Code::AccessAccept, &none) } else { (code, attributes) };
        encode_reply(code, request, &secret, attributes).expect("a reply")
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The Access-Requests that it has heard, oldest first.
    pub fn logins(&self) -> Vec<Vec<u8>> {
        self.heard_with(Code::AccessRequest)
    }

    /// The Status-Server requests that it has heard, oldest first.
    pub fn probes(&self) -> Vec<Vec<u8>> {
        self.heard_with(Code::StatusServer)
    }

    fn heard_with(&self, code: Code) -> Vec<Vec<u8>> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.iter().filter(|octets| octets.first() == Some(&code.octet())).cloned().collect()
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
