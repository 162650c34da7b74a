//! A server to ask.

use core::time::Duration;
use std::{net::SocketAddr, sync::Arc};

use countersign_desk::DeskConfig;
use countersign_domain::Decision;
use countersign_radius::Limits;
use countersign_radius_server::{AccountingGiver, Config, Counts, Figures, ProxyMark, RadiusServer, TlsConfig};
use countersign_testkit::{Nas, NewResource, Site, SoftDevice};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The secret that [`NewResource::default`] has.
pub(crate) const SECRET: &str = "a secret of the vpn and the server";
/// Longer than any reply takes.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// So long nothing must come for "no reply".
pub(crate) const SILENCE: Duration = Duration::from_millis(150);
/// Earlier than this no delayed reject comes.
pub(crate) const DELAY: Duration = Duration::from_secs(1);

pub(crate) struct House {
    pub(crate) site: Site,
    pub(crate) address: SocketAddr,
    pub(crate) tls_address: Option<SocketAddr>,
    pub(crate) figures: Arc<Figures>,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

impl House {
    /// A server on 127.0.0.1 with nobody and nothing.
    pub(crate) async fn bare(seed: u64) -> Self {
        Self::with(Site::open(seed).await, "127.0.0.1:0", Limits::default())
    }

    /// The same with one resource of primary `none`.
    pub(crate) async fn vpn(seed: u64) -> Self {
        let house = Self::bare(seed).await;
        house.add(NewResource::default()).await;
        house
    }

    /// The same where as many pushes may come to nothing as a test wants, each after a second.
    pub(crate) async fn patient(seed: u64) -> Self {
        let mut config = DeskConfig::default();
        config.bounds.unapproved_per_resource = usize::MAX;
        let house = Self::with(Site::open_with(seed, config).await, "127.0.0.1:0", Limits::default());
        house.add(NewResource { answer_by: Duration::from_secs(1), ..NewResource::default() }).await;
        house
    }

    pub(crate) fn with(site: Site, listen: &str, limits: Limits) -> Self {
        Self::with_tls(site, listen, limits, None, None)
    }

    /// The same that speaks TLS too, and takes accounting there where it knows what to do with it.
    pub(crate) fn with_tls(
        site: Site,
        listen: &str,
        limits: Limits,
        tls: Option<TlsConfig>,
        accounting: Option<AccountingGiver>,
    ) -> Self {
        let mark = ProxyMark::new([7; 16]);
        let config = Config { listen: vec![listen.parse().unwrap()], limits, mark, tls, accounting };
        let server = RadiusServer::bind(config, Arc::clone(&site.desk)).unwrap();
        let (address, figures) = (server.local_addr().unwrap(), server.figures());
        let tls_address = server.tls_addrs().next();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(server.run(shutdown.clone()));
        Self { site, address, tls_address, figures, shutdown, running }
    }

    /// Adds a resource and waits until the door knows it.
    pub(crate) async fn add(&self, new: NewResource<'_>) -> countersign_domain::ClientId {
        let (_, client) = self.site.resource(new).await;
        self.settled(|house| house.figures.clients().iter().any(|(known, _)| *known == client)).await;
        client
    }

    pub(crate) async fn nas(&self, seed: u64) -> Nas {
        Nas::new(self.address, SECRET, seed).await
    }

    /// A user with one device.
    pub(crate) async fn user(&self, name: &str, password: Option<&str>) -> SoftDevice {
        let user = self.site.user(name, password).await;
        self.site.device(user).await
    }

    /// What the device is asked next, decided at once.
    pub(crate) async fn decide(&self, device: &mut SoftDevice, decision: Decision) {
        let challenge = device.asked(&self.site.desk, SOON).await.expect("the device is asked");
        device.decide(&self.site.desk, &challenge, decision).await;
    }

    pub(crate) fn counts(&self) -> Counts {
        self.figures.counts()
    }

    /// Waits until something that happens by itself has happened.
    pub(crate) async fn settled(&self, done: impl Fn(&Self) -> bool) {
        for _ in 0..1000 {
            if done(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it does not happen: {:?}", self.counts());
    }

    /// Waits until so many logins have their record, and says how they ended.
    pub(crate) async fn ends(&self, count: usize) -> Vec<String> {
        for _ in 0..1000 {
            let ends = self.site.ends().await;
            if ends.len() >= count {
                return ends;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not {count} logins have ended: {:?}", self.site.ends().await);
    }

    /// How many challenges were opened.
    pub(crate) async fn challenges(&self) -> usize {
        self.site.audit().await.iter().filter(|record| record.event == "login.challenged").count()
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap();
    }
}
