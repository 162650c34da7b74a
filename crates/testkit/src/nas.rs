//! A scripted NAS: asks as a RADIUS client does, and checks every reply as a strict one would.
#![expect(clippy::expect_used, clippy::panic, reason = "what fails here fails the test that uses it")]

use core::time::Duration;
use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
};

use countersign_domain::Entropy;
use countersign_radius::{
    AttributeList, AttributeType, Authenticator, Code, Identifier, MessageAuthenticatorRule, PacketView, SharedSecret,
    UserPassword, encode_request, verify_reply,
};
use tokio::{
    net::UdpSocket,
    time::{Instant, timeout_at},
};

use crate::SeededEntropy;

/// A request to be sent.
#[derive(Debug, Clone)]
pub struct Ask {
    code: Code,
    password: Option<Vec<u8>>,
    attributes: AttributeList,
    message_authenticator: bool,
}

impl Ask {
    /// An Access-Request for a user, with nothing but the name.
    pub fn login(user: impl AsRef<[u8]>) -> Self {
        Self::nobody().with(AttributeType::USER_NAME, user)
    }

    /// An Access-Request without User-Name.
    pub const fn nobody() -> Self {
        Self {
            code: Code::AccessRequest,
            password: None,
            attributes: AttributeList::new(),
            message_authenticator: true,
        }
    }

    /// A Status-Server request.
    pub fn status() -> Self {
        Self { code: Code::StatusServer, ..Self::nobody() }
    }

    /// With User-Password.
    #[must_use]
    pub fn password(mut self, password: impl AsRef<[u8]>) -> Self {
        self.password = Some(password.as_ref().to_vec());
        self
    }

    /// With an attribute, behind those that are there.
    #[must_use]
    pub fn with(mut self, kind: AttributeType, value: impl AsRef<[u8]>) -> Self {
        self.attributes.push(kind, value.as_ref()).expect("the attribute fits");
        self
    }

    /// With a vendor's attribute.
    #[must_use]
    pub fn with_vendor(mut self, vendor: u32, kind: u8, value: impl AsRef<[u8]>) -> Self {
        self.attributes.push_vendor(vendor, kind, value.as_ref()).expect("the attribute fits");
        self
    }

    /// As a client from before 2024 sends it.
    #[must_use]
    pub const fn without_message_authenticator(mut self) -> Self {
        self.message_authenticator = false;
        self
    }
}

/// A request as it goes over the wire; sent again, it is a retransmission.
#[derive(Debug, Clone)]
pub struct Packet {
    /// All of it.
    pub octets: Vec<u8>,
    /// Its Identifier.
    pub identifier: Identifier,
    /// Its Request Authenticator.
    pub authenticator: Authenticator,
    /// When it was made.
    pub made: Instant,
}

/// A reply that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// All of it.
    pub octets: Vec<u8>,
    /// How long after its request was made it came.
    pub after: Duration,
}

impl Reply {
    /// Its type.
    pub fn code(&self) -> Code {
        self.view().code()
    }

    /// To look inside.
    pub fn view(&self) -> PacketView<'_> {
        PacketView::parse(&self.octets).expect("it was checked")
    }

    /// The reply without what differs between two otherwise equal ones: identifier and both authenticators.
    pub fn without_authenticators(&self) -> Vec<u8> {
        let mut octets = self.octets.clone();
        // Header after the code and the identifier; Message-Authenticator is the first attribute.
        for (at, octet) in octets.iter_mut().enumerate() {
            if at == 1 || (4..20).contains(&at) || (22..38).contains(&at) {
                *octet = 0;
            }
        }
        octets
    }
}

/// The client.
#[derive(Debug)]
pub struct Nas {
    socket: UdpSocket,
    secret: SharedSecret,
    entropy: SeededEntropy,
    next: u8,
    stash: HashMap<u8, VecDeque<Vec<u8>>>,
}

impl Nas {
    /// Asks `server` from a port of 127.0.0.1. Only what comes from exactly that address is heard.
    pub async fn new(server: SocketAddr, secret: &str, seed: u64) -> Self {
        Self::at(IpAddr::from([127, 0, 0, 1]), server, secret, seed).await
    }

    /// The same from another address of this machine.
    pub async fn at(local: IpAddr, server: SocketAddr, secret: &str, seed: u64) -> Self {
        let socket = UdpSocket::bind((local, 0)).await.expect("a port is free");
        socket.connect(server).await.expect("the server's address can be reached");
        let secret = SharedSecret::new(secret.as_bytes());
        Self { socket, secret, entropy: SeededEntropy::new(seed), next: 0, stash: HashMap::new() }
    }

    /// Makes a request under a fresh identifier and authenticator.
    pub fn pack(&mut self, ask: &Ask) -> Packet {
        let identifier = self.next;
        self.next = self.next.wrapping_add(1);
        self.pack_as(ask, Identifier(identifier))
    }

    /// The same under an identifier that may be in use.
    pub fn pack_as(&mut self, ask: &Ask, identifier: Identifier) -> Packet {
        let entropy: &dyn Entropy = &self.entropy;
        let authenticator = Authenticator(entropy.octets());
        self.pack_under(ask, identifier, authenticator)
    }

    /// The same under identifier and authenticator of a packet that is not sent.
    pub fn pack_with(&mut self, ask: &Ask, instead: &Packet) -> Packet {
        self.pack_under(ask, instead.identifier, instead.authenticator)
    }

    fn pack_under(&mut self, ask: &Ask, identifier: Identifier, authenticator: Authenticator) -> Packet {
        let mut attributes = ask.attributes.clone();
        if let Some(password) = &ask.password {
            let hidden = UserPassword::hide(password, &self.secret, &authenticator).expect("the password fits");
            attributes.push(AttributeType::USER_PASSWORD, &hidden).expect("the password fits");
        }
        let octets = if ask.message_authenticator {
            encode_request(ask.code, identifier, &authenticator, &self.secret, &attributes).expect("the request fits")
        } else {
            let length = u16::try_from(20 + attributes.octets().len()).expect("the request fits");
            let head = [[ask.code.octet(), identifier.0], length.to_be_bytes()].concat();
            [head.as_slice(), authenticator.octets(), attributes.octets()].concat()
        };
        Packet { octets, identifier, authenticator, made: Instant::now() }
    }

    /// Hides a password as a client would, for requests with two of them.
    pub fn hide(&self, password: &[u8], authenticator: &Authenticator) -> Vec<u8> {
        UserPassword::hide(password, &self.secret, authenticator).expect("the password fits")
    }

    /// Sends a request, for the first time or again.
    pub async fn send(&self, packet: &Packet) {
        self.send_octets(&packet.octets).await;
    }

    /// Sends anything.
    pub async fn send_octets(&self, octets: &[u8]) {
        // A server that is not there yet or any more may be reported here; that is silence too.
        let _ = self.socket.send(octets).await;
    }

    /// Waits for the reply to a request.
    ///
    /// # Panics
    /// Where the reply is not one that a strict client takes: Message-Authenticator first and right, Response
    /// Authenticator right.
    pub async fn reply(&mut self, packet: &Packet, within: Duration) -> Option<Reply> {
        let octets = self.octets(packet.identifier, Instant::now() + within).await?;
        let rule = MessageAuthenticatorRule::Required;
        if let Err(fault) = verify_reply(&octets, &packet.authenticator, packet.identifier, &self.secret, rule) {
            panic!("a reply that no client takes ({fault}): {octets:02x?}");
        }
        assert_eq!(octets.get(20), Some(&80), "Message-Authenticator comes first");
        Some(Reply { octets, after: packet.made.elapsed() })
    }

    async fn octets(&mut self, identifier: Identifier, until: Instant) -> Option<Vec<u8>> {
        if let Some(octets) = self.stash.get_mut(&identifier.0).and_then(VecDeque::pop_front) {
            return Some(octets);
        }
        let mut buffer = vec![0; 4096];
        loop {
            let received = timeout_at(until, self.socket.recv(&mut buffer)).await.ok()?;
            let Ok(length) = received else { continue };
            let octets = buffer.get(..length).unwrap_or_default().to_vec();
            match octets.get(1).copied() {
                Some(found) if found == identifier.0 => return Some(octets),
                found => self.stash.entry(found.unwrap_or(0)).or_default().push_back(octets),
            }
        }
    }

    /// Sends a request and waits for its reply.
    pub async fn ask(&mut self, ask: &Ask, within: Duration) -> Option<Reply> {
        let packet = self.pack(ask);
        self.send(&packet).await;
        self.reply(&packet, within).await
    }
}
