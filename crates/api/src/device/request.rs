//! From an HTTP request to a device that proved to have sent it.

use core::{str::FromStr, time::Duration};

use axum::{
    body::Body,
    extract::{FromRequest, OriginalUri},
    http::{HeaderMap, Request, header, request::Parts},
};
use bytes::{Bytes, BytesMut};
use countersign_device_protocol::{
    endpoint::BASE_PATH,
    keys::PublicKey,
    problem::ErrorCode,
    proof::{self, CheckedProof},
};
use countersign_domain::{Commit, Device, DeviceState, Write};
use countersign_storage::CommitError;
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tracing::debug;

use super::{DeviceApi, Refusal, api::Names};

/// The longest body that is read.
pub(super) const LONGEST_BODY: usize = 64 * 1024;
/// How long a body may take, from its first octet to its last: one that comes octet by octet holds a connection for days.
const SLOWEST_BODY: Duration = Duration::from_secs(10);

/// A request that has been read whole, and nothing more is known of it.
pub(super) struct Received {
    pub(super) parts: Parts,
    path: String,
    pub(super) body: Bytes,
}

impl Received {
    pub(super) async fn read(request: Request<Body>) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let path = match parts.extensions.get::<OriginalUri>() {
            Some(original) => original.path().to_owned(),
            None => parts.uri.path().to_owned(),
        };
        let body = timeout(SLOWEST_BODY, read_body(&parts.headers, body))
            .await
            .map_err(|_| Refusal::Malformed("the body did not arrive within 10 seconds".to_owned()))??;
        Ok(Self { parts, path, body })
    }

    /// Checks the proof as far as it can be checked without remembering it.
    pub(super) fn check(&self, api: &DeviceApi) -> Result<CheckedProof, Refusal> {
        let headers: Vec<&[u8]> =
            self.parts.headers.get_all(proof::HEADER).iter().map(axum::http::HeaderValue::as_bytes).collect();
        let htu = api.origin().htu(&self.path);
        let request = proof::Request { method: self.parts.method.as_str(), htu: &htu, body: &self.body };
        let now = api.desk().clock().now();
        proof::check(&headers, request, api.nonces(), now.as_seconds()).map_err(|fault| {
            debug!(reason = %fault, method = %self.parts.method, path = %self.path, "device.proof refused");
            Refusal::of_proof(fault, now)
        })
    }

    /// The body as JSON that holds what the page names and nothing else.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        parse(&self.body)
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|fault| Refusal::Malformed(fault.to_string()))
}

async fn read_body(headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
    let said = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if said.is_some_and(|length| length > LONGEST_BODY) {
        return Err(ErrorCode::BodyTooLarge.into());
    }
    let mut stream = body.into_data_stream();
    let mut whole = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| Refusal::Malformed("the body ended too soon".to_owned()))?;
        if whole.len() + chunk.len() > LONGEST_BODY {
            return Err(ErrorCode::BodyTooLarge.into());
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

/// A device that proved to have sent this request, may act, and has an account that may.
pub(super) struct Caller {
    pub(super) device: Device,
    pub(super) names: Names,
    pub(super) key: PublicKey,
    path: String,
    body: Bytes,
}

impl Caller {
    /// The body as JSON that holds what the page names and nothing else.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        parse(&self.body)
    }

    /// The challenge or window that the path names.
    pub(super) fn named<T: FromStr>(&self) -> Result<T, Refusal> {
        let id = self.path.strip_prefix(BASE_PATH).and_then(|path| path.split('/').nth(2));
        id.and_then(|id| id.parse().ok()).ok_or_else(|| ErrorCode::NotFound.into())
    }
}

impl FromRequest<DeviceApi> for Caller {
    type Rejection = Refusal;

    async fn from_request(request: Request<Body>, api: &DeviceApi) -> Result<Self, Refusal> {
        match AnyAccount::from_request(request, api).await? {
            AnyAccount { caller, enabled: true } => Ok(caller),
            AnyAccount { enabled: false, .. } => Err(ErrorCode::AccountDisabled.into()),
        }
    }
}

/// The same with an account that may be disabled: for decisions, which then end the login at once.
pub(super) struct AnyAccount {
    pub(super) caller: Caller,
    pub(super) enabled: bool,
}

impl FromRequest<DeviceApi> for AnyAccount {
    type Rejection = Refusal;

    async fn from_request(request: Request<Body>, api: &DeviceApi) -> Result<Self, Refusal> {
        let received = Received::read(request).await?;
        let checked = received.check(api)?;
        let store = api.desk().store();
        let thumbprint = checked.thumbprint().to_string();
        let device = store.device_by_thumbprint(&thumbprint).await?.ok_or(ErrorCode::DeviceUnknown)?;
        if device.state != DeviceState::Active {
            return Err(ErrorCode::DeviceRemoved.into());
        }
        let user = store.user(device.user).await?.ok_or(ErrorCode::DeviceUnknown)?;
        let proven = api.spend(checked).map_err(|fault| {
            debug!(reason = %fault, device.id = %device.id, "device.proof refused");
            Refusal::of_proof(fault, api.desk().clock().now())
        })?;
        if !device.seen {
            mark_seen(api, &device).await?;
        }
        let names = Names::of(&device).ok_or(ErrorCode::Internal)?;
        let caller = Caller { device, names, key: proven.key().clone(), path: received.path, body: received.body };
        Ok(Self { caller, enabled: user.enabled })
    }
}

/// The device has its answer: from now on its activation gives nothing to anybody.
async fn mark_seen(api: &DeviceApi, device: &Device) -> Result<(), Refusal> {
    let commit = Commit { writes: vec![Write::MarkDeviceSeen(device.id)], audit: Vec::new() };
    match api.desk().write(commit).await {
        Ok(()) => Ok(()),
        // It went away in between.
        Err(CommitError::Conflict(_)) => Err(ErrorCode::DeviceUnknown.into()),
        Err(fault @ CommitError::Store(_)) => Err(fault.into()),
    }
}

#[cfg(test)]
mod tests {
    use core::convert::Infallible;

    use futures_util::stream;
    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_comes_octet_by_octet_is_not_waited_for() {
        let drops = stream::unfold((), |()| async {
            sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, Infallible>(Bytes::from_static(b" ")), ()))
        });
        let began = Instant::now();
        let read = Received::read(Request::new(Body::from_stream(drops))).await;
        assert!(matches!(read, Err(Refusal::Malformed(_))));
        assert_eq!(began.elapsed(), SLOWEST_BODY);
    }
}
