//! The files of the app, as they are answered with.

use std::{collections::HashMap, sync::Arc};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use countersign_device_protocol::{encoding::encode, keys::sha256};

/// The page that every screen of the app begins with.
const INDEX: &str = "/index.html";
/// Vite names these after their contents.
const NAMED_BY_CONTENTS: &str = "/assets/";

/// Path and contents; compressed ones beside those that they are made of, as `….br` and `….gz`.
pub(super) static EMBEDDED: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/app_files.rs"));

const NO_APP: &str = "This build of countersign has no phone app in it.\n\n\
    Build the app, then the program again (Node 20 or later):\n\n    \
    cd web && npm ci && npm run build && cd .. && cargo build --release\n\n\
    `make run` does both. Other authenticators, such as `countersign phone`, work without it.\n";

/// The files of the phone app.
#[derive(Debug, Default)]
pub struct AppFiles(HashMap<String, File>);

#[derive(Debug)]
struct File {
    content_type: &'static str,
    cache: &'static str,
    plain: Form,
    brotli: Option<Form>,
    gzip: Option<Form>,
}

/// A file as it travels.
#[derive(Debug, Clone)]
struct Form {
    octets: Bytes,
    etag: String,
}

impl AppFiles {
    /// Those that were built into this program: none where the app had not been built before.
    pub fn embedded() -> Self {
        Self::new(EMBEDDED.iter().map(|(path, octets)| ((*path).to_owned(), Bytes::from_static(octets))))
    }

    /// Files by path; compressed forms have the path of the file and `.br` or `.gz`.
    pub fn new(files: impl IntoIterator<Item = (String, Bytes)>) -> Self {
        let mut all: HashMap<String, Bytes> = files.into_iter().collect();
        let mut paths: Vec<String> =
            all.keys().filter(|path| !matches!(extension(path), Some("br" | "gz"))).cloned().collect();
        paths.sort();
        let mut out = HashMap::new();
        for path in paths {
            let Some(octets) = all.remove(&path) else { continue };
            let tag = encode(sha256(&octets).get(..16).unwrap_or_default());
            let mut compressed = |end: &str| {
                let octets = all.remove(&format!("{path}.{end}"))?;
                Some(Form { octets, etag: format!("\"{tag}-{end}\"") })
            };
            let (brotli, gzip) = (compressed("br"), compressed("gz"));
            let named_by_contents = path.starts_with(NAMED_BY_CONTENTS);
            let file = File {
                content_type: content_type(&path),
                cache: if named_by_contents { "public, max-age=31536000, immutable" } else { "no-cache" },
                plain: Form { octets, etag: format!("\"{tag}\"") },
                brotli,
                gzip,
            };
            out.insert(path, file);
        }
        Self(out)
    }

    /// Whether there is an app at all.
    pub fn is_empty(&self) -> bool {
        !self.0.contains_key(INDEX)
    }

    /// The file that a path means: itself, or the app's page for what has no extension.
    fn find(&self, path: &str) -> Option<&File> {
        if let Some(file) = self.0.get(path) {
            return Some(file);
        }
        let is_page = !under_device(path) && !path.rsplit('/').next().unwrap_or_default().contains('.');
        if is_page { self.0.get(INDEX) } else { None }
    }
}

/// Whether a path belongs to the device API.
pub(super) fn under_device(path: &str) -> bool {
    path == "/device" || path.starts_with("/device/")
}

pub(super) fn extension(path: &str) -> Option<&str> {
    path.rsplit_once('.').map(|(_, extension)| extension)
}

fn content_type(path: &str) -> &'static str {
    match extension(path) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// Answers what is not for the device API.
pub(super) async fn serve(
    State(files): State<Arc<AppFiles>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if method != Method::GET && method != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD are taken here.\n");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let response = if let Some(file) = files.find(uri.path()) {
        answer(file, &headers)
    } else if files.is_empty() && !under_device(uri.path()) {
        text(StatusCode::NOT_FOUND, NO_APP)
    } else {
        text(StatusCode::NOT_FOUND, "There is nothing here.\n")
    };
    if method == Method::HEAD { without_body(response) } else { response }
}

/// The same head, and how long the body would be.
fn without_body(response: Response) -> Response {
    let (parts, _) = response.into_parts();
    Response::from_parts(parts, Body::empty())
}

pub(super) fn text(status: StatusCode, text: &'static str) -> Response {
    let length = HeaderValue::from(text.len());
    let mut response = (status, text).into_response();
    response.headers_mut().insert(header::CONTENT_LENGTH, length);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn answer(file: &File, asked: &HeaderMap) -> Response {
    let accepted = Accepted::of(asked);
    let (form, encoding) = match (&file.brotli, &file.gzip) {
        (Some(form), _) if accepted.brotli => (form, Some("br")),
        (_, Some(form)) if accepted.gzip => (form, Some("gzip")),
        _ => (&file.plain, None),
    };
    let known = asked.get_all(header::IF_NONE_MATCH).iter().any(|value| names(value, &form.etag));
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = Response::new(Body::from(form.octets.clone()));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.content_type));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(form.octets.len()));
        if let Some(encoding) = encoding {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        response
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(file.cache));
    if let Ok(etag) = HeaderValue::from_str(&form.etag) {
        headers.insert(header::ETAG, etag);
    }
    if file.brotli.is_some() || file.gzip.is_some() {
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    response
}

/// Whether an If-None-Match names this entity tag, compared weakly (RFC 9110 section 13.1.2).
fn names(value: &HeaderValue, etag: &str) -> bool {
    let Ok(value) = value.to_str() else { return false };
    value.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// What a client can decode (RFC 9110 section 12.5.3).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Accepted {
    brotli: bool,
    gzip: bool,
}

impl Accepted {
    fn of(headers: &HeaderMap) -> Self {
        let (mut brotli, mut gzip, mut rest) = (None, None, false);
        let values = headers.get_all(header::ACCEPT_ENCODING).iter();
        for item in values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')) {
            let mut parts = item.split(';').map(str::trim);
            let coding = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            // What cannot be read is not wanted.
            let wanted = weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0));
            match coding.as_str() {
                "br" => brotli = Some(wanted),
                "gzip" | "x-gzip" => gzip = Some(wanted),
                "*" => rest = wanted,
                _ => {}
            }
        }
        Self { brotli: brotli.unwrap_or(rest), gzip: gzip.unwrap_or(rest) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(values: &[&str]) -> (bool, bool) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::ACCEPT_ENCODING, value.parse().unwrap());
        }
        let accepted = Accepted::of(&headers);
        (accepted.brotli, accepted.gzip)
    }

    #[test]
    fn only_codings_that_the_client_wants_are_sent() {
        assert_eq!(accepted(&[]), (false, false));
        assert_eq!(accepted(&["gzip, deflate, br, zstd"]), (true, true));
        assert_eq!(accepted(&["gzip", "br"]), (true, true));
        assert_eq!(accepted(&["br;q=0, gzip;q=0.5"]), (false, true));
        assert_eq!(accepted(&["*"]), (true, true));
        assert_eq!(accepted(&["*, br;q=0"]), (false, true));
        assert_eq!(accepted(&["*;q=0, GZIP"]), (false, true));
        assert_eq!(accepted(&["br;q=nonsense, brotli, xgzip"]), (false, false));
    }

    #[test]
    fn an_entity_tag_is_found_in_a_list() {
        let named = |value: &'static str| names(&HeaderValue::from_static(value), "\"abc\"");
        assert!(named("\"abc\"") && named("W/\"abc\"") && named("\"x\", \"abc\"") && named("*"));
        assert!(!named("abc") && !named("\"abc-br\"") && !named(""));
    }
}
