//! A desk over a database of its own, with users, devices and resources.
#![expect(clippy::expect_used, reason = "what fails here fails the test that uses it")]

use core::time::Duration;
use std::sync::Arc;

use countersign_desk::{Desk, DeskConfig, Directories, Peers, hash_password};
use countersign_domain::{
    AuditEvent, AuditRecord, ClientId, Clock, Commit, Entropy, EventKind, LoginName, Methods, Primary, RadiusClient,
    Resource, ResourceId, Secret, User, UserId, UserOrigin, Write,
};
use countersign_storage::Vault;
use countersign_storage_sqlite::{Location, Options, SqliteStore};

use crate::{FakeClock, SeededEntropy, SoftDevice};

/// Everything that a server has behind its doors.
pub struct Site {
    /// The desk.
    pub desk: Arc<Desk>,
    /// The clock, which stands still until it is turned.
    pub clock: Arc<FakeClock>,
    /// Everything random follows from its seed.
    pub entropy: Arc<SeededEntropy>,
}

/// A resource to be added; the defaults are those of the command line.
#[derive(Debug, Clone, Copy)]
pub struct NewResource<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its client's secret.
    pub secret: &'a str,
    /// Its client's addresses.
    pub networks: &'a [&'a str],
    /// Who checks the first factor.
    pub primary: Primary,
    /// How long its client waits.
    pub answer_by: Duration,
    /// Whether its client must send Message-Authenticator.
    pub require_message_authenticator: bool,
    /// What may be asked at its prompt.
    pub prompt: Option<Methods>,
}

impl Default for NewResource<'_> {
    fn default() -> Self {
        Self {
            name: "vpn",
            secret: "a secret of the vpn and the server",
            networks: &["127.0.0.1/32"],
            primary: Primary::None,
            answer_by: Resource::ANSWER_BY_DEFAULT,
            require_message_authenticator: true,
            prompt: None,
        }
    }
}

impl Site {
    /// Opens a site that has nobody and nothing yet.
    pub async fn open(seed: u64) -> Self {
        Self::open_with(seed, DeskConfig::default()).await
    }

    /// The same with a desk of other bounds.
    pub async fn open_with(seed: u64, config: DeskConfig) -> Self {
        Self::opened(seed, config, Peers::default()).await
    }

    /// A site whose desk speaks to directories.
    pub async fn with_directories(seed: u64, directories: Arc<dyn Directories>) -> Self {
        Self::with_peers(seed, Peers { directories, ..Peers::default() }).await
    }

    /// A site whose desk asks others.
    pub async fn with_peers(seed: u64, peers: Peers) -> Self {
        Self::opened(seed, DeskConfig::default(), peers).await
    }

    async fn opened(seed: u64, config: DeskConfig, peers: Peers) -> Self {
        let (clock, entropy) = (Arc::new(FakeClock::default()), Arc::new(SeededEntropy::new(seed)));
        let (as_clock, as_entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) = (clock.clone(), entropy.clone());
        let vault = Vault::from_key(&as_entropy.octets()).expect("a vault from random octets");
        // The names of the files must differ between tests that have the same seed.
        let options = Options::new(as_clock.clone(), Arc::new(OfTheSystem));
        let store = SqliteStore::open(Location::Temporary, Arc::new(vault), options).await.expect("a new database");
        let store = Arc::new(store);
        let desk = Desk::open_with(store, as_clock, as_entropy, config, peers).await.expect("a new desk");
        Self { desk, clock, entropy }
    }

    /// Lets time pass, by both clocks at once. In a test on one thread only.
    pub async fn pass(&self, span: Duration) {
        self.clock.advance(span);
        tokio::time::pause();
        tokio::time::advance(span).await;
        tokio::time::resume();
    }

    /// Lets users open sign-in windows for a resource.
    pub async fn allow_windows(&self, id: ResourceId) -> Arc<Resource> {
        let resources = self.desk.store().resources().await.expect("the resources can be read");
        let found = resources.into_iter().find(|(resource, _)| resource.id == id).expect("the resource is there");
        let (mut resource, client) = (found.0, found.1.into_iter().next().expect("it has a client"));
        resource.policy.windows = true;
        self.write(Write::SetResource { resource: Box::new(resource.clone()), client: Box::new(client) }).await;
        Arc::new(resource)
    }

    /// Adds a user.
    pub async fn user(&self, name: &str, password: Option<&str>) -> UserId {
        let id = UserId::new(self.clock.now(), &*self.entropy);
        let hash = |password: &str| {
            hash_password(&Secret::new(password.as_bytes().to_vec()), &*self.entropy).expect("a password")
        };
        let user = User {
            id,
            origin: UserOrigin::Local,
            name: LoginName::new(name).expect("a login name"),
            display_name: name.to_owned(),
            enabled: true,
            held: None,
            password: password.map(hash),
            created_at: self.clock.now(),
        };
        self.write(Write::AddUser(user)).await;
        id
    }

    /// Disables a user.
    pub async fn disable(&self, user: UserId) {
        self.write(Write::SetUserEnabled { id: user, enabled: false }).await;
    }

    /// Adds a device of a user.
    pub async fn device(&self, user: UserId) -> SoftDevice {
        let (device, row) = SoftDevice::new(user, self.clock.now(), &*self.entropy);
        self.write(Write::AddDevice(Box::new(row))).await;
        device
    }

    /// Adds a resource with its client.
    pub async fn resource(&self, new: NewResource<'_>) -> (ResourceId, ClientId) {
        let (resource, client) = self.rows(new);
        let ids = (resource.id, client.id);
        self.write(Write::AddResource { resource: Box::new(resource), client: Box::new(client) }).await;
        ids
    }

    /// The rows of a new resource.
    pub fn rows(&self, new: NewResource<'_>) -> (Resource, RadiusClient) {
        let now = self.clock.now();
        let id = ResourceId::new(now, &*self.entropy);
        let mut resource = Resource { answer_by: new.answer_by, ..Resource::new(id, new.name, new.primary, now) };
        resource.policy.prompt = new.prompt;
        let client = RadiusClient {
            id: ClientId::new(now, &*self.entropy),
            name: new.name.to_owned(),
            resource: resource.id,
            rules: Vec::new(),
            networks: new.networks.iter().map(|network| network.parse().expect("a network")).collect(),
            secret: Secret::new(new.secret.as_bytes().to_vec()),
            previous: None,
            tls: None,
            require_message_authenticator: new.require_message_authenticator,
        };
        (resource, client)
    }

    /// Removes a resource with its client.
    pub async fn remove_resource(&self, resource: ResourceId) {
        self.write(Write::RemoveResource(resource)).await;
    }

    /// Writes one thing as an administrator does.
    pub async fn write(&self, write: Write) {
        let event = AuditEvent::new(self.clock.now(), EventKind::ResourceChanged, "test");
        self.desk.write(Commit { writes: vec![write], audit: vec![event] }).await.expect("it can be written");
    }

    /// The audit trail.
    pub async fn audit(&self) -> Vec<AuditRecord> {
        self.desk.store().audit(0, 1_000_000).await.expect("the audit can be read")
    }

    /// How each login ended, as `result reason`, in order.
    pub async fn ends(&self) -> Vec<String> {
        let ended = |record: &AuditRecord| record.event == EventKind::LoginEnded.as_str();
        let word = |text: &Option<String>| text.clone().unwrap_or_default();
        let records = self.audit().await;
        records.iter().filter(|r| ended(r)).map(|r| format!("{} {}", word(&r.result), word(&r.reason))).collect()
    }
}

/// Randomness that nobody repeats.
struct OfTheSystem;

impl Entropy for OfTheSystem {
    fn fill(&self, out: &mut [u8]) {
        aws_lc_rs::rand::fill(out).expect("the system has random octets");
    }
}
