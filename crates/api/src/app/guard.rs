//! What holds for every answer on the app's address: which name it is given under, and what browsers may do with it.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    body::Body,
    extract::{ConnectInfo, State},
    http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header},
    middleware::Next,
    response::Response,
};
use countersign_device_protocol::origin::Origin;

use super::files::{text, under_device};

/// For the app: its own files, its own server, and nothing else (S79, S81, S84). Pictures may be `data:` since the app draws
/// some itself.
const APP_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; manifest-src 'self'; worker-src 'self'; form-action 'none'; frame-ancestors 'none'; \
    base-uri 'none'; require-trusted-types-for 'script'; trusted-types countersign";
/// For answers of the API, which are no pages.
const API_POLICY: &str = "default-src 'none'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'";
/// The camera reads QR codes, authenticators verify users; nothing else is used.
const PERMISSIONS: &str = "accelerometer=(), autoplay=(), bluetooth=(), camera=(self), display-capture=(), \
    encrypted-media=(), fullscreen=(), geolocation=(), gyroscope=(), hid=(), idle-detection=(), magnetometer=(), \
    microphone=(), midi=(), payment=(), picture-in-picture=(), publickey-credentials-create=(self), \
    publickey-credentials-get=(self), screen-wake-lock=(), serial=(), usb=(), xr-spatial-tracking=()";
/// Two years; this host only, since the others of the domain are not ours to speak for.
const STRICT_TRANSPORT: &str = "max-age=63072000";

/// What is let through.
pub(super) struct Guard {
    /// Host, and port where it is not the default, of the public URL.
    authority: String,
    https: bool,
}

/// Why a request is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    /// It says no host, or two.
    Unclear,
    /// It is for somebody else.
    Elsewhere,
}

impl Guard {
    pub(super) fn new(origin: &Origin) -> Self {
        let authority = origin.as_str().split_once("://").map_or("", |(_, authority)| authority);
        Self { authority: authority.to_owned(), https: origin.is_https() }
    }

    /// No answer is made from the name that a request carries, and one for another name gets none (C107): what a page of
    /// another name, led to this address, asks for stays out of its reach. From this machine the names of the machine
    /// will do: a reverse proxy or a health check uses them.
    fn check(&self, request: &Request<Body>) -> Result<(), Refused> {
        let mut named = request.headers().get_all(header::HOST).iter();
        let host = match (named.next(), named.next()) {
            (Some(host), None) => Some(host.to_str().map_err(|_| Refused::Elsewhere)?),
            (None, None) => None,
            _ => return Err(Refused::Unclear),
        };
        // HTTP/2 and the absolute form of HTTP/1.1; where both are there, both must be ours.
        let target = request.uri().authority().map(axum::http::uri::Authority::as_str);
        if host.is_none() && target.is_none() {
            return Err(Refused::Unclear);
        }
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let near = peer.is_some_and(|ConnectInfo(peer)| peer.ip().to_canonical().is_loopback());
        let ours = |name: &str| self.is_ours(name) || (near && is_this_machine(name));
        if [host, target].into_iter().flatten().all(ours) { Ok(()) } else { Err(Refused::Elsewhere) }
    }

    fn is_ours(&self, name: &str) -> bool {
        let default = if self.https { ":443" } else { ":80" };
        name.strip_suffix(default).unwrap_or(name).eq_ignore_ascii_case(&self.authority)
    }

    fn mark(&self, path: &str, headers: &mut HeaderMap) {
        let policy = if under_device(path) { API_POLICY } else { APP_POLICY };
        for (name, value) in [
            (header::CONTENT_SECURITY_POLICY, policy),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
            (HeaderName::from_static("permissions-policy"), PERMISSIONS),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if self.https {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(STRICT_TRANSPORT));
        }
        if !headers.contains_key(header::CACHE_CONTROL) {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
    }
}

/// Whether a name, with or without a port, is one that every machine has for itself.
fn is_this_machine(name: &str) -> bool {
    let port = |rest: &str| rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    let name = name.to_ascii_lowercase();
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|own| name.strip_prefix(own).is_some_and(port))
}

pub(super) async fn guard(State(guard): State<Arc<Guard>>, request: Request<Body>, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = match guard.check(&request) {
        Ok(()) => next.run(request).await,
        Err(Refused::Unclear) => text(StatusCode::BAD_REQUEST, "The request does not say for which host it is.\n"),
        Err(Refused::Elsewhere) => text(
            StatusCode::MISDIRECTED_REQUEST,
            "This server is not called that. Use the address that [app] url names; a reverse proxy must pass the Host \
             header on unchanged.\n",
        ),
    };
    guard.mark(&path, response.headers_mut());
    response
}
