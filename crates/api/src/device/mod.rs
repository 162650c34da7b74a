//! The device API, `/device/v1/`: what phones say to the server and hear from it.
//!
//! The protocol is written down in `docs/reference/device-protocol.md`. One file for each endpoint, the tests beside them; what
//! they share is the [`DeviceApi`], the proof of each request (`request`) and its refusal (`refusal`).
//!
//! The server that this router is put into must give each request a `ConnectInfo<SocketAddr>` extension: without it all
//! activations count as coming from one source.

mod activations;
mod api;
mod challenges;
mod credential;
mod decision;
mod events;
mod history;
mod push;
mod refusal;
mod relying_party;
mod request;
mod server;
mod source;
#[cfg(test)]
pub(crate) mod tests;
mod this_device;
mod windows;

use axum::{
    Router,
    extract::State,
    http::{HeaderName, HeaderValue, header},
    middleware,
    response::Response,
    routing::{self, MethodRouter},
};
use countersign_device_protocol::{endpoint::BASE_PATH, problem::ErrorCode, proof};

pub use api::{DeviceApi, DeviceApiError};
pub use push::PushServices;
use refusal::Refusal;
pub(crate) use relying_party::can_verify_users;

/// One path and what it takes.
type Route = (&'static str, fn() -> MethodRouter<DeviceApi>);

/// All paths. `docs/reference/device-v1.openapi.json` describes the same ones, which a test sees to.
const ROUTES: [Route; 14] = [
    ("/server", || routing::get(server::get)),
    ("/activations", || routing::post(activations::post)),
    ("/challenges", || routing::get(challenges::list)),
    ("/challenges/{id}", || routing::get(challenges::get)),
    ("/challenges/{id}/decision", || routing::post(decision::post)),
    ("/events", || routing::get(events::get)),
    ("/push", || routing::put(push::put)),
    ("/device", || routing::patch(this_device::patch).delete(this_device::delete)),
    ("/webauthn/registrations", || routing::post(credential::begin)),
    ("/webauthn/credential", || routing::put(credential::put).delete(credential::delete)),
    ("/history", || routing::get(history::get)),
    ("/applications", || routing::get(windows::applications)),
    ("/windows", || routing::post(windows::post)),
    ("/windows/{id}", || routing::get(windows::get)),
];

/// The routes of the device API; everything else under `/device/v1/` is answered with a problem document.
pub fn router(state: DeviceApi) -> Router {
    let routes = ROUTES
        .into_iter()
        .fold(Router::new(), |router, (path, methods)| router.route(path, methods()))
        .method_not_allowed_fallback(async || Refusal::from(ErrorCode::MethodNotAllowed))
        .fallback(async || Refusal::from(ErrorCode::NotFound))
        .layer(middleware::map_response_with_state(state.clone(), finish))
        .with_state(state);
    Router::new().nest(BASE_PATH, routes)
}

/// What every answer carries, errors too.
async fn finish(State(api): State<DeviceApi>, mut response: Response) -> Response {
    let headers = response.headers_mut();
    if let Ok(nonce) = HeaderValue::from_str(&api.nonce()) {
        headers.insert(HeaderName::from_static("dpop-nonce"), nonce);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

const _: () = assert!(proof::NONCE_HEADER.eq_ignore_ascii_case("dpop-nonce"));
