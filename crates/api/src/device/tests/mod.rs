//! The device API from outside: through its router, over a desk and a database of its own.

mod activations;
mod decisions;
mod openapi;
mod prompts;
mod proofs;
mod streams;
mod this_device;
mod user_verification;
mod windows;

use core::time::Duration;
use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{HeaderMap, Request, StatusCode},
};
use countersign_desk::{DoorVerdict, Notice};
use countersign_device_protocol::{
    messages::{Challenge, Challenges, Decision},
    origin::Origin,
};
use countersign_domain::{
    AuditRecord, ClientId, Clock as _, Credential, DeviceId, Door, HostileText, LoginRequest, Resource, RetryKey,
    Source, UserId, Verdict,
};
use countersign_storage::Vault;
use countersign_testkit::{NewResource, Site, SoftPhone};
use serde_json::Value;
use tokio::{sync::mpsc, time::timeout};
use tower::ServiceExt as _;

use super::{DeviceApi, PushServices, router};
use crate::activation::{IssuedActivation, issue_activation};

const PATIENCE: Duration = Duration::from_secs(20);
const PEER: &str = "192.0.2.1:4711";

/// Pushes go to one service, or are off.
pub(crate) struct Services {
    on: bool,
}

impl Services {
    pub(crate) fn on() -> Arc<Self> {
        Arc::new(Self { on: true })
    }
}

impl PushServices for Services {
    fn is_on(&self) -> bool {
        self.on
    }

    fn check(&self, endpoint: &str) -> Result<(), String> {
        if endpoint.starts_with("https://push.example.net/") { Ok(()) } else { Err("not one of ours".to_owned()) }
    }
}

/// A server with one user, `ada`, and one resource, `VPN`.
struct World {
    site: Site,
    api: DeviceApi,
    router: Router,
    vault: Arc<Vault>,
    ada: UserId,
    resource: Arc<Resource>,
    client: ClientId,
    verdicts: mpsc::UnboundedReceiver<DoorVerdict>,
}

/// An answer, read whole.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    json: Value,
}

impl Answer {
    /// Status and code in one text, which is what most tests compare.
    fn short(&self) -> String {
        let word = ["code", "state"].iter().find_map(|name| self.json[*name].as_str()).unwrap_or_default();
        format!("{} {word}", self.status.as_u16()).trim_end().to_owned()
    }
}

impl World {
    async fn new() -> Self {
        Self::behind(&[]).await
    }

    /// With these trusted proxies.
    async fn behind(proxies: &[&str]) -> Self {
        Self::with(proxies, Services::on()).await
    }

    /// With these and with these push services.
    async fn with(proxies: &[&str], push: Arc<dyn PushServices>) -> Self {
        let site = Site::open(1).await;
        let vault = Arc::new(Vault::from_key(&[7; 32]).unwrap());
        let origin = Origin::parse("https://mfa.example.com").unwrap();
        let proxies = proxies.iter().map(|network| network.parse().unwrap()).collect();
        let organization = "Example Ltd".to_owned();
        let api = DeviceApi::new(site.desk.clone(), origin, organization, vault.clone(), proxies, push).await.unwrap();
        let ada = site.user("ada", None).await;
        let (id, client) = site.resource(NewResource { name: "VPN Zürich", ..NewResource::default() }).await;
        let (resource, _) = site.desk.store().resources().await.unwrap().into_iter().find(|(r, _)| r.id == id).unwrap();
        let verdicts = site.desk.register(Door::Radius);
        Self { router: router(api.clone()), api, vault, ada, resource: Arc::new(resource), client, verdicts, site }
    }

    fn now(&self) -> i64 {
        self.site.clock.now().as_seconds()
    }

    /// A request with a good proof.
    fn request(&self, phone: &SoftPhone, method: &str, path: &str, body: impl Into<Vec<u8>>) -> Request<Body> {
        let body = body.into();
        let path = format!("/device/v1/{path}");
        let proof = phone.proof(self.api.origin(), method, &path, &body, self.now(), Some(&self.api.nonce()));
        Self::with_proof(method, &path, &body, &proof)
    }

    fn with_proof(method: &str, path: &str, body: &[u8], proof: &str) -> Request<Body> {
        Self::from(Request::builder().method(method).uri(path).header("DPoP", proof), PEER, body.to_vec())
    }

    fn from(builder: axum::http::request::Builder, peer: &str, body: Vec<u8>) -> Request<Body> {
        let mut request = builder.header("Host", "mfa.example.com").body(Body::from(body)).unwrap();
        request.extensions_mut().insert(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
        request
    }

    async fn call(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let json = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
        assert!(parts.headers.contains_key("dpop-nonce"), "no nonce");
        assert_eq!(parts.headers["cache-control"], "no-store");
        assert_eq!(parts.headers["x-content-type-options"], "nosniff");
        for header in ["set-cookie", "access-control-allow-origin"] {
            assert!(!parts.headers.contains_key(header), "{header}");
        }
        if parts.status.as_u16() >= 400 {
            assert_eq!(parts.headers["content-type"], "application/problem+json");
            assert_eq!(json["status"], parts.status.as_u16());
        }
        Answer { status: parts.status, headers: parts.headers, json }
    }

    async fn send(&self, phone: &SoftPhone, method: &str, path: &str, body: impl Into<Vec<u8>>) -> Answer {
        self.call(self.request(phone, method, path, body)).await
    }

    async fn get(&self, phone: &SoftPhone, path: &str) -> Answer {
        self.send(phone, "GET", path, "").await
    }

    async fn issue(&self, user: UserId) -> IssuedActivation {
        self.issue_for(user, Duration::from_secs(600)).await
    }

    async fn issue_for(&self, user: UserId, lifetime: Duration) -> IssuedActivation {
        let key = self.api.signing_thumbprint();
        issue_activation(&self.site.desk, &self.vault, self.api.origin(), key, user, lifetime, "admin").await.unwrap()
    }

    /// An activated phone.
    async fn phone(&self, user: UserId) -> SoftPhone {
        let issued = self.issue(user).await;
        let mut phone = SoftPhone::new();
        let body = phone.activation_by_code(&issued.code);
        let answer = self.send(&phone, "POST", "activations", body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        phone.account = Some(serde_json::from_value(answer.json).unwrap());
        phone
    }

    fn id(phone: &SoftPhone) -> DeviceId {
        phone.account().device_id.as_str().parse().unwrap()
    }

    fn login(&self, user: &str) {
        self.login_from(user, None);
    }

    fn login_from(&self, user: &str, address: Option<&str>) {
        self.login_with(user, address, Credential::None);
    }

    fn login_with(&self, user: &str, address: Option<&str>, credential: Credential) {
        self.login_as(user, address, credential, None);
    }

    /// A request; the answer to a question, where it has a State.
    fn login_as(&self, user: &str, address: Option<&str>, credential: Credential, state: Option<Vec<u8>>) {
        self.site.desk.login(LoginRequest {
            id: self.site.desk.new_login_id(),
            resource: self.resource.clone(),
            client: self.client,
            client_name: "nas".to_owned(),
            peer: [192, 0, 2, 1].into(),
            door: Door::Radius,
            user_typed: HostileText::from(user),
            credential,
            source: Source { address: address.map(HostileText::from) },
            retry: RetryKey::default(),
            state,
            forward: None,
        });
    }

    /// Begins a login of `ada` and gives the challenge as the phone gets it.
    async fn asked(&self, phone: &SoftPhone) -> Challenge {
        self.login("ada");
        self.pending(phone).await
    }

    /// Waits until something is pending for a phone.
    async fn pending(&self, phone: &SoftPhone) -> Challenge {
        let mut notices = self.site.desk.subscribe(Self::id(phone));
        while !matches!(timeout(PATIENCE, notices.recv()).await.unwrap().unwrap(), Notice::Opened(_)) {}
        let answer = self.get(phone, "challenges").await;
        let mut list: Challenges = serde_json::from_value(answer.json).unwrap();
        assert_eq!(list.challenges.len(), 1);
        list.challenges.remove(0)
    }

    async fn decide(&self, phone: &SoftPhone, challenge: &Challenge, decision: Decision) -> Answer {
        let body = serde_json::to_vec(&phone.decide(challenge, decision)).unwrap();
        self.send(phone, "POST", &format!("challenges/{}/decision", challenge.id), body).await
    }

    async fn verdict(&mut self) -> Verdict {
        timeout(PATIENCE, self.verdicts.recv()).await.unwrap().unwrap().verdict
    }

    /// Waits until there are so many records of this kind.
    async fn settle(&self, kind: &str, count: usize) {
        for _ in 0..1000 {
            if self.records(kind).await.len() >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("there are not {count} records of {kind}");
    }

    /// The records of this kind.
    async fn records(&self, kind: &str) -> Vec<AuditRecord> {
        self.site.audit().await.into_iter().filter(|record| record.event == kind).collect()
    }
}
