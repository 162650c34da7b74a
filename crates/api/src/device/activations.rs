//! `POST activations`: a new key shows the secret of an activation and becomes a device.

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{Request, StatusCode},
};
use countersign_device_protocol::{
    messages::{
        Account, ActivationAnswer, ActivationRequest, ActivationSecret, DeviceState as WireDeviceState, Totp,
        TotpAlgorithm, TotpSecret,
    },
    problem::ErrorCode,
    proof::Proven,
};
use countersign_domain::{
    Activation, ActivationState, AuditEvent, CODE_DIGITS, Commit, Device, DeviceId, DevicePublicKey, DeviceState,
    EventKind, HostileText, PushSubscription, STEP_SECONDS, Timestamp, TotpSeed, User, Write,
};
use countersign_storage::CommitError;
use subtle::ConstantTimeEq as _;
use tracing::{info, warn};

use super::{DeviceApi, Refusal, api::Names, push, request::Received, source::Source};
use crate::activation::{hash_code, hash_token};

/// Devices of a user, suspended ones included.
const DEVICES: usize = 5;
/// A redemption that others got in the way of is judged anew so often.
const TRIES: u8 = 4;

pub(super) async fn post(
    State(api): State<DeviceApi>,
    request: Request<Body>,
) -> Result<(StatusCode, Json<ActivationAnswer>), Refusal> {
    let received = Received::read(request).await?;
    let checked = received.check(&api)?;
    let source = Source::of(&received.parts, api.trusted_proxies());
    let now = api.desk().clock().now();
    if let Err(wait) = api.attempts().take(source, now) {
        info!(source = %source.address, "activation.limited");
        return Err(Refusal::TooMany(wait));
    }
    let proven = api.spend_of_stranger(checked).map_err(|fault| Refusal::of_proof(fault, now))?;
    let request: ActivationRequest = received.json()?;
    let push = request.push.as_ref().map(|push| push::subscription(&api, push)).transpose()?;
    let claim = Claim { api: &api, source, proven, request, push };
    for _ in 0..TRIES {
        if let Judged::Done(answer) = claim.judge().await? {
            api.attempts().give_back(source);
            return Ok((StatusCode::CREATED, Json(*answer)));
        }
    }
    Err(ErrorCode::Unavailable.into())
}

/// One request for a device.
struct Claim<'a> {
    api: &'a DeviceApi,
    source: Source,
    proven: Proven,
    request: ActivationRequest,
    push: Option<PushSubscription>,
}

/// An activation and whose it is.
struct Found {
    activation: Activation,
    user: User,
}

/// What came of a write.
#[derive(Debug, PartialEq, Eq)]
enum Written {
    Done,
    /// A condition did not hold any more.
    Overtaken,
}

/// What came of a claim that is not refused.
enum Judged {
    Done(Box<ActivationAnswer>),
    /// What was read does not hold any more.
    Again,
}

impl Claim<'_> {
    async fn judge(&self) -> Result<Judged, Refusal> {
        let store = self.api.desk().store();
        let found = match &self.request.secret {
            ActivationSecret::Code(code) => store.activation_by_handle(code.handle()).await?,
            ActivationSecret::Token(token) => store.activation_by_token(&hash_token(self.api.vault(), token)).await?,
        };
        let Some(activation) = found else {
            info!(source = %self.source.address, "activation.refused: nothing has this handle or token");
            return Err(ErrorCode::ActivationUnknown.into());
        };
        // A user who was removed took the activation along.
        let Some(user) = store.user(activation.user).await? else { return Err(ErrorCode::ActivationUnknown.into()) };
        let found = Found { activation, user };
        let now = self.api.desk().clock().now();
        if !self.is_right(&found.activation) {
            self.count_wrong(&found, now).await?;
            return Err(ErrorCode::ActivationUnknown.into());
        }
        match found.activation.state {
            ActivationState::Open if found.activation.is_open(now) => self.redeem(&found, now).await,
            ActivationState::Open => self.refuse(&found, now, "expired", ErrorCode::ActivationUnknown).await,
            ActivationState::Burnt => self.refuse(&found, now, "burnt", ErrorCode::ActivationUnknown).await,
            ActivationState::Redeemed { device, .. } => self.shown_again(&found, device, now).await,
        }
    }

    fn is_right(&self, activation: &Activation) -> bool {
        match &self.request.secret {
            ActivationSecret::Code(code) => hash_code(self.api.vault(), code).ct_eq(&activation.secret_hash).into(),
            ActivationSecret::Token(token) => hash_token(self.api.vault(), token).ct_eq(&activation.token_hash).into(),
        }
    }

    /// A wrong secret under the handle of an open activation: the fifth burns it (S31).
    async fn count_wrong(&self, found: &Found, now: Timestamp) -> Result<(), Refusal> {
        let activation = &found.activation;
        if !activation.is_open(now) {
            info!(source = %self.source.address, "activation.refused: wrong secret, nothing open");
            return Ok(());
        }
        let event = self.about(found, now, EventKind::ActivationRefused, "secret_wrong");
        if self.write(vec![Write::CountWrongSecret(activation.id)], vec![event]).await? == Written::Overtaken {
            // It was burnt or used in between, and there is nothing left to guess.
            return Ok(());
        }
        let after = self.api.desk().store().activation_by_handle(&activation.handle).await?;
        if after.is_some_and(|after| after.id == activation.id && after.state == ActivationState::Burnt) {
            let alert = self.about(found, now, EventKind::Alert, "activation_guessed");
            self.write(Vec::new(), vec![alert]).await?;
        }
        Ok(())
    }

    async fn redeem(&self, found: &Found, now: Timestamp) -> Result<Judged, Refusal> {
        let activation = &found.activation;
        let store = self.api.desk().store();
        let thumbprint = self.proven.thumbprint().to_string();
        let Some(snapshot) = store.snapshot(activation.user).await? else {
            return Err(ErrorCode::ActivationUnknown.into());
        };
        if !snapshot.user.enabled {
            return self.refuse(found, now, "user_disabled", ErrorCode::AccountDisabled).await;
        }
        if store.device_by_thumbprint(&thumbprint).await?.is_some() {
            return self.refuse(found, now, "key_known", ErrorCode::KeyAlreadyKnown).await;
        }
        if snapshot.devices.len() >= DEVICES {
            return self.refuse(found, now, "device_limit", ErrorCode::DeviceLimit).await;
        }
        let entropy = &**self.api.desk().entropy();
        let device = Device {
            id: DeviceId::new(now, entropy),
            user: activation.user,
            name: HostileText::from(self.request.device.name.as_str()),
            platform: HostileText::from(self.request.device.platform.as_str()),
            key: DevicePublicKey { sec1: *self.proven.key().uncompressed(), thumbprint },
            state: DeviceState::Active,
            totp: TotpSeed::new(entropy),
            totp_last_step: 0,
            push: self.push.clone(),
            passkey: None,
            created_at: now,
            seen: false,
        };
        let answer = self.answer(&snapshot.user, &device)?;
        let detail = serde_json::json!({
            "activation": activation.id,
            "name": device.name.to_string(),
            "platform": device.platform.to_string(),
        });
        let event = AuditEvent {
            device: Some(device.id),
            reason: None,
            detail: Some(detail.to_string()),
            ..self.about(found, now, EventKind::ActivationRedeemed, "")
        };
        let redeem = Write::RedeemActivation { id: activation.id, device: device.id, at: now };
        match self.write(vec![redeem, Write::AddDevice(Box::new(device))], vec![event]).await? {
            Written::Done => Ok(Judged::Done(Box::new(answer))),
            Written::Overtaken => Ok(Judged::Again),
        }
    }

    /// The secret is right and was used. From the same key that is a lost answer; from another, somebody else has it too.
    async fn shown_again(&self, found: &Found, made: DeviceId, now: Timestamp) -> Result<Judged, Refusal> {
        let store = self.api.desk().store();
        let Some(device) = store.device(made).await? else { return Err(ErrorCode::ActivationUnknown.into()) };
        let own = device.key.thumbprint == self.proven.thumbprint().to_string();
        if own && !device.seen && device.state == DeviceState::Active {
            return Ok(Judged::Done(Box::new(self.answer(&found.user, &device)?)));
        }
        if own || now >= found.activation.expires_at || device.state != DeviceState::Active {
            return self.refuse(found, now, "used", ErrorCode::ActivationUnknown).await;
        }
        let suspend = Write::SetDeviceState { id: made, from: DeviceState::Active, to: DeviceState::Suspended };
        let about = |kind| AuditEvent { device: Some(made), ..self.about(found, now, kind, "activation_shared") };
        let audit = vec![
            AuditEvent { reason: Some("used"), ..about(EventKind::ActivationRefused) },
            AuditEvent { actor: "server".to_owned(), ..about(EventKind::DeviceSuspended) },
            AuditEvent { actor: "server".to_owned(), ..about(EventKind::Alert) },
        ];
        match self.write(vec![suspend], audit).await? {
            Written::Done => Err(ErrorCode::ActivationUnknown.into()),
            Written::Overtaken => Ok(Judged::Again),
        }
    }

    /// Records why somebody with the right secret got nothing.
    async fn refuse(
        &self,
        found: &Found,
        now: Timestamp,
        reason: &'static str,
        code: ErrorCode,
    ) -> Result<Judged, Refusal> {
        let event = self.about(found, now, EventKind::ActivationRefused, reason);
        self.write(Vec::new(), vec![event]).await?;
        Err(code.into())
    }

    async fn write(&self, writes: Vec<Write>, audit: Vec<AuditEvent>) -> Result<Written, Refusal> {
        let alerts: Vec<_> = audit.iter().filter(|event| event.kind == EventKind::Alert).cloned().collect();
        match self.api.desk().write(Commit { writes, audit }).await {
            Ok(()) => {}
            Err(CommitError::Conflict(_)) => return Ok(Written::Overtaken),
            Err(fault @ CommitError::Store(_)) => return Err(fault.into()),
        }
        for alert in alerts {
            let user = alert.user_id.map(|id| id.to_string()).unwrap_or_default();
            warn!(reason = alert.reason.unwrap_or_default(), user.id = user, source = %self.source.address, "alert");
        }
        Ok(Written::Done)
    }

    /// What all records about this claim say.
    fn about(&self, found: &Found, now: Timestamp, kind: EventKind, reason: &'static str) -> AuditEvent {
        AuditEvent {
            user_id: Some(found.user.id),
            user_typed: Some(HostileText::from(found.user.name.as_str())),
            source: Some(self.source.text()),
            source_trust: Some(self.source.trust()),
            reason: Some(reason),
            detail: Some(serde_json::json!({"activation": found.activation.id}).to_string()),
            ..AuditEvent::new(now, kind, "device")
        }
    }

    fn answer(&self, user: &User, device: &Device) -> Result<ActivationAnswer, Refusal> {
        let names = Names::of(device).ok_or(ErrorCode::Internal)?;
        Ok(ActivationAnswer {
            device_id: names.device().clone(),
            account: Account {
                id: names.account().clone(),
                user: user.name.to_string(),
                display_name: user.display_name.clone(),
                organization: self.api.organization().to_owned(),
            },
            server: self.api.server_info(),
            totp: Some(Totp {
                secret: TotpSecret::from_bytes(device.totp.secret().expose()),
                algorithm: TotpAlgorithm::Sha1,
                digits: u8::try_from(CODE_DIGITS).map_err(|_| ErrorCode::Internal)?,
                period: u32::try_from(STEP_SECONDS).map_err(|_| ErrorCode::Internal)?,
            }),
            state: WireDeviceState::Active,
        })
    }
}
