use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::rand::SystemRandom;
use countersign_desk::Desk;
use countersign_device_protocol::{
    PROTOCOL_VERSION,
    ids::{AccountId, DeploymentId, DeviceId as WireDeviceId},
    keys::{KeyError, PublicKey, PushKey, Signature, SigningKey, Thumbprint},
    messages::ServerInfo,
    origin::Origin,
    proof::{CheckedProof, JtiCache, NonceKey, ProofError, Proven},
    signed::Party,
};
use countersign_domain::Device;
use countersign_storage::{StoreError, Vault};
use ipnet::IpNet;
use tokio::sync::watch;

use super::{credential::Registrations, push::PushServices, relying_party::RelyingParty, source::Attempts};
use crate::server_keys::{ServerKey, ServerKeyError};

/// Proofs that are remembered: of devices, so many of one device, and of keys that belong to no device yet.
const PROOFS: usize = 200_000;
const PROOFS_OF_ONE: usize = 600;
const PROOFS_OF_STRANGERS: usize = 20_000;

/// Why the device API cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum DeviceApiError {
    /// The database did not give deployment or keys.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key cannot be made or read.
    #[error(transparent)]
    Key(#[from] ServerKeyError),
    /// The deployment's identifier in the database is none.
    #[error("the database holds no usable deployment identifier")]
    Deployment,
}

/// Everything that the device API works with. Cheap to clone.
#[derive(Clone)]
pub struct DeviceApi(Arc<Inner>);

struct Inner {
    desk: Arc<Desk>,
    vault: Arc<Vault>,
    origin: Origin,
    organization: String,
    deployment: DeploymentId,
    trusted_proxies: Vec<IpNet>,
    signing_key: SigningKey,
    signing_thumbprint: Thumbprint,
    push_key: PublicKey,
    push: Arc<dyn PushServices>,
    random: SystemRandom,
    nonces: NonceKey,
    used: Mutex<JtiCache>,
    used_by_strangers: Mutex<JtiCache>,
    attempts: Attempts,
    relying_party: Option<RelyingParty>,
    registrations: Registrations,
    closing: watch::Sender<bool>,
}

impl DeviceApi {
    /// Reads the server's keys, or makes them the first time.
    ///
    /// # Errors
    /// [`DeviceApiError`].
    pub async fn new(
        desk: Arc<Desk>,
        origin: Origin,
        organization: String,
        vault: Arc<Vault>,
        trusted_proxies: Vec<IpNet>,
        push: Arc<dyn PushServices>,
    ) -> Result<Self, DeviceApiError> {
        let store = Arc::clone(desk.store());
        let deployment = DeploymentId::new(store.deployment().await?.id).map_err(|_| DeviceApiError::Deployment)?;
        let signing_key = ServerKey::Signing.open(&*store).await?;
        let push_key = ServerKey::Push.open(&*store).await?.public().clone();
        let nonces = NonceKey::new(&desk.entropy().octets());
        Ok(Self(Arc::new(Inner {
            vault,
            relying_party: RelyingParty::new(&origin),
            registrations: Registrations::new(),
            origin,
            organization,
            deployment,
            trusted_proxies,
            signing_thumbprint: signing_key.public().thumbprint(),
            signing_key,
            push_key,
            push,
            random: SystemRandom::new(),
            nonces,
            used: Mutex::new(JtiCache::new(PROOFS, PROOFS_OF_ONE)),
            used_by_strangers: Mutex::new(JtiCache::new(PROOFS_OF_STRANGERS, PROOFS_OF_ONE)),
            attempts: Attempts::new(),
            closing: watch::Sender::new(false),
            desk,
        })))
    }

    /// The thumbprint of the key that signs challenges: goes into the QR code of an activation.
    pub fn signing_thumbprint(&self) -> Thumbprint {
        self.0.signing_thumbprint
    }

    /// Ends all streams, and those that begin afterwards: for a server that stops.
    pub fn close(&self) {
        self.0.closing.send_replace(true);
    }

    pub(super) fn desk(&self) -> &Arc<Desk> {
        &self.0.desk
    }

    pub(super) fn vault(&self) -> &Vault {
        &self.0.vault
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.0.origin
    }

    pub(super) fn organization(&self) -> &str {
        &self.0.organization
    }

    pub(super) fn trusted_proxies(&self) -> &[IpNet] {
        &self.0.trusted_proxies
    }

    pub(super) fn push_services(&self) -> &dyn PushServices {
        &*self.0.push
    }

    pub(super) fn attempts(&self) -> &Attempts {
        &self.0.attempts
    }

    /// `None` where the server's address is no name.
    pub(super) fn relying_party(&self) -> Option<&RelyingParty> {
        self.0.relying_party.as_ref()
    }

    pub(super) fn registrations(&self) -> &Registrations {
        &self.0.registrations
    }

    pub(super) fn nonces(&self) -> &NonceKey {
        &self.0.nonces
    }

    /// True once the server stops.
    pub(super) fn closing(&self) -> watch::Receiver<bool> {
        self.0.closing.subscribe()
    }

    /// Unix seconds by the server's clock.
    pub(super) fn seconds(&self) -> i64 {
        self.desk().clock().now().as_seconds()
    }

    /// The nonce of this moment.
    pub(super) fn nonce(&self) -> String {
        self.0.nonces.issue(self.seconds())
    }

    /// Uses up the proof of a device.
    pub(super) fn spend(&self, proof: CheckedProof) -> Result<Proven, ProofError> {
        proof.spend(&mut self.0.used.lock().unwrap_or_else(PoisonError::into_inner), self.seconds())
    }

    /// Uses up the proof of a key that may belong to nobody: strangers cannot fill the memory that devices need.
    pub(super) fn spend_of_stranger(&self, proof: CheckedProof) -> Result<Proven, ProofError> {
        proof.spend(&mut self.0.used_by_strangers.lock().unwrap_or_else(PoisonError::into_inner), self.seconds())
    }

    /// Signs as the server.
    pub(super) fn sign(&self, octets: &[u8]) -> Result<Signature, KeyError> {
        self.0.signing_key.sign(octets, &self.0.random)
    }

    /// The body of `GET server`.
    pub(super) fn server_info(&self) -> ServerInfo {
        ServerInfo {
            protocol: PROTOCOL_VERSION,
            organization: self.0.organization.clone(),
            deployment_id: self.0.deployment.clone(),
            origin: self.0.origin.clone(),
            time: self.desk().clock().now().to_jiff(),
            push_key: self.0.push.is_on().then(|| PushKey(self.0.push_key.clone())),
            signing_key: self.0.signing_key.public().clone(),
            endorsements: Vec::new(),
        }
    }
}

/// How a device and its account are called on the wire.
#[derive(Debug, Clone)]
pub(super) struct Names {
    account: AccountId,
    device: WireDeviceId,
}

impl Names {
    /// `None` when an identifier of ours does not have the form of the protocol, which none lacks.
    pub(super) fn of(device: &Device) -> Option<Self> {
        Some(Self {
            account: AccountId::new(device.user.to_string()).ok()?,
            device: WireDeviceId::new(device.id.to_string()).ok()?,
        })
    }

    /// Fields 2 to 5 of what is signed.
    pub(super) fn party<'a>(&'a self, api: &'a DeviceApi) -> Party<'a> {
        Party { origin: &api.0.origin, deployment: &api.0.deployment, account: &self.account, device: &self.device }
    }

    pub(super) fn account(&self) -> &AccountId {
        &self.account
    }

    pub(super) fn device(&self) -> &WireDeviceId {
        &self.device
    }
}
