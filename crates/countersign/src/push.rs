//! Pushes: what is configured, given to those who ask.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use countersign_api::{admin::status::PushAnswer, device::PushServices, server_keys::ServerKey};
use countersign_desk::Desk;
use countersign_domain::{Clock, DeviceId, Entropy};
use countersign_push::{Dispatcher, Endpoints, PushConfig, PushFigures, PushSender, VapidKey, test_push};
use countersign_storage::{Store, StoreError};

/// What is known before there is anything to send with.
pub(crate) struct Services {
    endpoints: Endpoints,
    on: bool,
}

impl Services {
    pub(crate) fn new(config: &PushConfig) -> Result<Arc<Self>> {
        Ok(Arc::new(Self { endpoints: config.endpoints()?, on: config.is_on() }))
    }
}

impl PushServices for Services {
    fn is_on(&self) -> bool {
        self.on
    }

    fn check(&self, endpoint: &str) -> Result<(), String> {
        self.endpoints.check(endpoint).map(drop).map_err(|fault| fault.to_string())
    }
}

/// Sends, and reads how that went.
#[derive(Clone)]
pub(crate) struct Push {
    desk: Arc<Desk>,
    sender: Arc<PushSender>,
    figures: countersign_push::FiguresOf,
}

impl Push {
    /// With the key of this server; challenges that are opened from now on get pushes once the dispatcher runs. `None`
    /// where pushes are off.
    pub(crate) async fn open(
        config: &PushConfig,
        store: &dyn Store,
        desk: &Arc<Desk>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Option<(Self, Dispatcher)>> {
        if !config.is_on() {
            tracing::info!(
                "push is off: [push] contact is not set in countersign.toml. Phones are asked only while the app is open"
            );
            return Ok(None);
        }
        let document = ServerKey::Push.document(store).await?;
        let key = VapidKey::from_pkcs8(document.expose())?;
        let sender = Arc::new(PushSender::new(config, key, clock, entropy).context("[push]")?);
        let dispatcher = Dispatcher::new(Arc::clone(desk), Arc::clone(&sender));
        let push = Self { desk: Arc::clone(desk), sender, figures: dispatcher.figures() };
        Ok(Some((push, dispatcher)))
    }

    pub(crate) fn figures(&self) -> PushFigures {
        self.figures.read()
    }

    pub(crate) async fn test(&self, device: DeviceId) -> Result<PushAnswer, StoreError> {
        let test = test_push(&self.desk, &self.sender, device).await?;
        Ok(PushAnswer { taken: test.taken, words: test.words })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use countersign_device_protocol::encoding::{decode, encode};
    use countersign_domain::{PushSubscription, Secret, Write};
    use countersign_testkit::Site;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        time::timeout,
    };

    use super::*;

    const BROWSER: &str = "BDCgQkzSHClEg4otdckrN-duog2fAIk6O07uijwKr-w-4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM";

    async fn open(site: &Site, config: &PushConfig) -> Option<(Push, Dispatcher)> {
        let (clock, entropy) = (site.clock.clone(), site.entropy.clone());
        Push::open(config, &**site.desk.store(), &site.desk, clock, entropy).await.unwrap()
    }

    #[tokio::test]
    async fn s90_a_push_goes_out_under_the_key_that_devices_are_told() {
        let site = Site::open(1).await;
        let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = service.local_addr().unwrap();
        let config = PushConfig {
            contact: "mailto:mfa@countersign.dev".to_owned(),
            hosts: vec![address.to_string()],
            allow_private: true,
            proxy: None,
        };
        let endpoint = format!("http://{address}/send/abc");
        assert_eq!(Services::new(&config).unwrap().check(&endpoint), Ok(()));
        let (push, _dispatcher) = open(&site, &config).await.unwrap();
        let ada = site.user("ada", None).await;
        let device = site.device(ada).await.id;
        assert!(!push.test(device).await.unwrap().taken, "without a subscription");
        let subscription =
            PushSubscription { endpoint, p256dh: decode(BROWSER).unwrap(), auth: Secret::new(vec![1; 16]) };
        site.write(Write::SetPush { id: device, push: Some(subscription) }).await;

        let taken = tokio::spawn(async move {
            let (mut stream, _) = service.accept().await.unwrap();
            let mut request = Vec::new();
            while !String::from_utf8_lossy(&request).contains("\r\n\r\n") {
                stream.read_buf(&mut request).await.unwrap();
            }
            stream.write_all(b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            String::from_utf8_lossy(&request).into_owned()
        });
        let answer = timeout(Duration::from_secs(20), push.test(device)).await.unwrap().unwrap();
        assert!(answer.taken && answer.words.contains("201"), "{answer:?}");
        let request = taken.await.unwrap();
        let told = ServerKey::Push.open(&**site.desk.store()).await.unwrap();
        let key = format!(", k={}", encode(told.public().uncompressed().as_slice()));
        assert!(request.starts_with("POST /send/abc ") && request.contains(&key), "{request}");
    }

    #[tokio::test]
    async fn without_a_contact_pushes_are_off_and_endpoints_are_looked_at_all_the_same() {
        let site = Site::open(1).await;
        let config = PushConfig::default();
        assert!(open(&site, &config).await.is_none());
        let services = Services::new(&config).unwrap();
        assert!(!services.is_on());
        assert!(services.check("https://fcm.googleapis.com/fcm/send/abc").is_ok());
        assert!(services.check("https://fcm.googleapis.com.evil.example/x").unwrap_err().contains("evil.example"));
    }
}
