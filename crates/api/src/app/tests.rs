//! The app's address from outside: files, headers, names.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{HeaderMap, Request, StatusCode},
};
use bytes::Bytes;
use countersign_device_protocol::origin::Origin;
use countersign_storage::Vault;
use countersign_testkit::Site;
use tower::ServiceExt as _;

use super::{AppFiles, router};
use crate::device::{DeviceApi, tests::Services};

const STRANGER: &str = "192.0.2.1:4711";
const NEIGHBOUR: &str = "127.0.0.1:4711";

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }

    /// Each directive of the policy.
    fn policy(&self) -> BTreeSet<&str> {
        self.header("content-security-policy").split("; ").collect()
    }
}

fn files() -> AppFiles {
    let files = [
        ("/index.html", "<!doctype html>"),
        ("/index.html.br", "page, brotli"),
        ("/index.html.gz", "page, gzip"),
        ("/sw.js", "worker"),
        ("/manifest.webmanifest", "{}"),
        ("/assets/index-DAEBNkm5.js", "script"),
        ("/assets/index-DAEBNkm5.js.br", "script, brotli"),
        ("/assets/index-Dtqpga_y.css", "style"),
        ("/icons/icon.svg", "<svg/>"),
        ("/icons/icon-192.png", "png"),
    ];
    AppFiles::new(files.map(|(path, text)| (path.to_owned(), Bytes::from_static(text.as_bytes()))))
}

async fn world_at(url: &str, files: AppFiles) -> Router {
    let site = Site::open(1).await;
    let vault = Arc::new(Vault::from_key(&[7; 32]).unwrap());
    let origin = Origin::parse(url).unwrap();
    router(
        DeviceApi::new(site.desk, origin, "Example Ltd".to_owned(), vault, Vec::new(), Services::on()).await.unwrap(),
        files,
    )
}

async fn world() -> Router {
    world_at("https://mfa.example.com", files()).await
}

async fn call(router: &Router, peer: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::empty()).unwrap();
    request.extensions_mut().insert(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
    let (parts, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    Answer { status: parts.status, headers: parts.headers, body }
}

async fn ask(router: &Router, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let headers: Vec<_> = [("host", "mfa.example.com")].into_iter().chain(headers.iter().copied()).collect();
    call(router, STRANGER, method, path, &headers).await
}

async fn get(router: &Router, path: &str) -> Answer {
    ask(router, "GET", path, &[]).await
}

#[tokio::test]
async fn each_file_has_its_type_and_its_time_to_live() {
    let router = world().await;
    for (path, content_type, cache) in [
        ("/", "text/html; charset=utf-8", "no-cache"),
        ("/index.html", "text/html; charset=utf-8", "no-cache"),
        ("/sw.js", "text/javascript; charset=utf-8", "no-cache"),
        ("/manifest.webmanifest", "application/manifest+json", "no-cache"),
        ("/assets/index-DAEBNkm5.js", "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"),
        ("/assets/index-Dtqpga_y.css", "text/css; charset=utf-8", "public, max-age=31536000, immutable"),
        ("/icons/icon.svg", "image/svg+xml", "no-cache"),
        ("/icons/icon-192.png", "image/png", "no-cache"),
    ] {
        let answer = get(&router, path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!((answer.header("content-type"), answer.header("cache-control")), (content_type, cache), "{path}");
        assert_eq!(answer.header("content-length"), answer.body.len().to_string());
    }
}

#[tokio::test]
async fn every_screen_begins_with_the_page_and_a_missing_file_is_missing() {
    let router = world().await;
    for path in ["/", "/activate", "/activate?x=1", "/add", "/request/abc", "/a/b/c", "/devices"] {
        let answer = get(&router, path).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "<!doctype html>"), "{path}");
    }
    for path in [
        "/assets/index-old.js",
        "/robots.txt",
        "/x/../etc/passwd.txt",
        "/index.html.br",
        "/device",
        "/device/",
        "/device/v2/x",
    ] {
        let answer = get(&router, path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("content-type")),
            (404, "text/plain; charset=utf-8"),
            "{path}"
        );
        assert!(!answer.text().contains(path), "reflected");
    }
    let answer = get(&router, "/device/v1/nothing").await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (404, "application/problem+json"));
    let answer = ask(&router, "POST", "/activate", &[]).await;
    assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, "GET, HEAD"));
}

#[tokio::test]
async fn the_smallest_form_that_the_browser_can_read_is_sent() {
    let router = world().await;
    for (accepted, body, encoding) in [
        ("gzip, deflate, br, zstd", "page, brotli", "br"),
        ("gzip", "page, gzip", "gzip"),
        ("br;q=0, gzip", "page, gzip", "gzip"),
        ("identity", "<!doctype html>", ""),
    ] {
        let answer = ask(&router, "GET", "/", &[("accept-encoding", accepted)]).await;
        assert_eq!((answer.text(), answer.header("content-encoding")), (body, encoding), "{accepted}");
        assert_eq!(answer.header("vary"), "accept-encoding");
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    }
    let answer = ask(&router, "GET", "/icons/icon-192.png", &[("accept-encoding", "br")]).await;
    assert_eq!((answer.header("content-encoding"), answer.header("vary")), ("", ""));
}

#[tokio::test]
async fn what_the_browser_has_is_not_sent_again() {
    let router = world().await;
    let first = get(&router, "/").await;
    let packed = ask(&router, "GET", "/", &[("accept-encoding", "br")]).await;
    assert_ne!(first.header("etag"), packed.header("etag"), "two forms, one tag");
    let again = ask(&router, "GET", "/", &[("if-none-match", first.header("etag"))]).await;
    assert_eq!((again.status.as_u16(), again.text()), (304, ""));
    for name in ["etag", "cache-control", "vary", "content-security-policy"] {
        assert_eq!(again.header(name), first.header(name), "{name}");
    }
    let other = ask(&router, "GET", "/", &[("if-none-match", packed.header("etag"))]).await;
    assert_eq!(other.status, 200);
    let head = ask(&router, "HEAD", "/", &[]).await;
    assert_eq!((head.status.as_u16(), head.text(), head.header("content-length")), (200, "", "15"));
}

#[tokio::test]
async fn a_build_without_the_app_says_so() {
    let router = world_at("https://mfa.example.com", AppFiles::default()).await;
    for path in ["/", "/activate"] {
        let answer = get(&router, path).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (404, "text/plain; charset=utf-8"));
        assert!(answer.text().contains("no phone app") && answer.text().contains("npm run build"));
    }
    assert_eq!(get(&router, "/device/v1/server").await.status, 200);
}

#[test]
fn the_build_holds_a_whole_app_or_none() {
    let files = AppFiles::embedded();
    let named = format!("{files:?}");
    assert!(files.is_empty() || named.contains("/sw.js") && named.contains("/manifest.webmanifest"));
}

/// One of each kind of answer.
const ANY: [(&str, &str, u16); 8] = [
    ("GET", "/", 200),
    ("GET", "/sw.js", 200),
    ("GET", "/assets/index-DAEBNkm5.js", 200),
    ("GET", "/missing.js", 404),
    ("DELETE", "/", 405),
    ("GET", "/device/v1/server", 200),
    ("GET", "/device/v1/challenges", 401),
    ("PUT", "/device/v1/server", 405),
];

#[tokio::test]
async fn s79_the_policy_of_the_app_allows_its_own_files_and_nothing_inline() {
    let router = world().await;
    for (method, path, status) in ANY {
        let answer = ask(&router, method, path, &[]).await;
        assert_eq!(answer.status, status, "{method} {path}");
        let policy = answer.policy();
        for directive in ["default-src 'none'", "base-uri 'none'", "form-action 'none'"] {
            assert!(policy.contains(directive), "{path}: {directive}");
        }
        let text = answer.header("content-security-policy");
        assert!(!text.contains("unsafe") && !text.contains('*') && !text.contains("http"), "{path}: {text}");
    }
    let page = get(&router, "/").await;
    for directive in
        ["script-src 'self'", "style-src 'self'", "connect-src 'self'", "require-trusted-types-for 'script'"]
    {
        assert!(page.policy().contains(directive), "{directive}");
    }
    // The API's answers are no pages: nothing at all.
    assert!(!get(&router, "/device/v1/server").await.header("content-security-policy").contains("self"));
}

#[tokio::test]
async fn s81_no_answer_can_be_framed() {
    let router = world().await;
    for (method, path, _) in ANY {
        let answer = ask(&router, method, path, &[]).await;
        assert!(answer.policy().contains("frame-ancestors 'none'"), "{path}");
        assert_eq!(answer.header("cross-origin-opener-policy"), "same-origin", "{path}");
    }
}

#[tokio::test]
async fn s84_scripts_are_files_of_the_build_and_the_worker_has_no_wider_scope() {
    let router = world().await;
    let worker = get(&router, "/sw.js").await;
    assert_eq!(
        (worker.header("content-type"), worker.header("cache-control")),
        ("text/javascript; charset=utf-8", "no-cache")
    );
    assert!(worker.policy().contains("worker-src 'self'"));
    for (method, path, _) in ANY {
        let answer = ask(&router, method, path, &[]).await;
        assert!(!answer.headers.contains_key("service-worker-allowed"), "{path}");
        let script = answer.header("content-type").contains("javascript");
        assert_eq!(script, matches!(path, "/sw.js" | "/assets/index-DAEBNkm5.js"), "{path}");
    }
    // Nothing that somebody says comes back as a script.
    for path in ["/sw.js/x.js", "/device/v1/sw.js", "/%73w.js", "/assets/alert(1).js", "/?callback=alert(1)//.js"] {
        assert!(!get(&router, path).await.header("content-type").contains("javascript"), "{path}");
    }
}

#[tokio::test]
async fn s85_the_app_is_given_nothing_to_sign_with_by_others() {
    // The key is made and used by the app's own files (its tests hold that): what the server adds is that no other script
    // runs beside them, and that no answer is for pages of other origins.
    let router = world().await;
    for origin in ["https://evil.example", "null", "https://mfa.example.com.evil.example"] {
        for (method, path, _) in ANY {
            let answer = ask(&router, method, path, &[("origin", origin)]).await;
            let cors = answer.headers.keys().any(|name| name.as_str().starts_with("access-control-"));
            assert!(!cors, "{path}");
        }
        let preflight = [("origin", origin), ("access-control-request-method", "POST")];
        let answer = ask(&router, "OPTIONS", "/device/v1/activations", &preflight).await;
        assert_eq!(answer.status, 405);
    }
    let page = get(&router, "/").await;
    assert!(page.policy().contains("script-src 'self'") && page.policy().contains("default-src 'none'"));
    // Nor do the scripts of this build, if there are any, keep anything where every script of the origin reads it.
    for (path, octets) in super::files::EMBEDDED.iter().filter(|(path, _)| super::files::extension(path) == Some("js"))
    {
        let script = str::from_utf8(octets).unwrap();
        for word in ["localStorage", "sessionStorage", "pkcs8", "eval("] {
            assert!(!script.contains(word), "{path}: {word}");
        }
    }
}

#[tokio::test]
async fn s86_every_answer_carries_the_hardening_set() {
    let router = world().await;
    for (method, path, _) in ANY {
        let answer = ask(&router, method, path, &[]).await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
            ("strict-transport-security", "max-age=63072000"),
        ] {
            assert_eq!(answer.header(name), value, "{path}");
        }
        let permissions = answer.header("permissions-policy");
        for given in ["camera=(self)", "publickey-credentials-create=(self)", "publickey-credentials-get=(self)"] {
            assert!(permissions.contains(given) && permissions.contains("microphone=()"), "{path}");
        }
        assert!(!answer.headers.contains_key("set-cookie") && !answer.headers.contains_key("server"), "{path}");
        if path.starts_with("/device/") || answer.status != 200 {
            assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        }
    }
    let plain = world_at("http://localhost:8080", files()).await;
    let answer = call(&plain, NEIGHBOUR, "GET", "/", &[("host", "localhost:8080")]).await;
    assert_eq!((answer.status.as_u16(), answer.header("strict-transport-security")), (200, ""));
}

#[tokio::test]
async fn c107_a_request_under_another_name_is_refused_and_no_name_is_taken_over() {
    let router = world().await;
    let from = async |peer: &str, host: &str| call(&router, peer, "GET", "/device/v1/server", &[("host", host)]).await;
    for host in ["mfa.example.com", "MFA.example.com", "mfa.example.com:443"] {
        assert_eq!(from(STRANGER, host).await.status, 200, "{host}");
    }
    for host in [
        "evil.example",
        "mfa.example.com.evil.example",
        "mfa.example.com:8443",
        "mfa.example.com:80",
        "mfa.example.com@evil.example",
        "localhost",
        "127.0.0.1:8080",
        "",
    ] {
        let answer = from(STRANGER, host).await;
        assert_eq!(answer.status, 421, "{host}");
        assert!(host.is_empty() || !answer.text().contains(host), "reflected");
    }
    // This machine may use its own names for itself, and no others: a page that had its name led here cannot read.
    for host in ["localhost:8080", "127.0.0.1", "[::1]:1"] {
        assert_eq!(from(NEIGHBOUR, host).await.status, 200, "{host}");
    }
    for host in ["rebound.example", "localhost.evil.example", "localhost:x", "127.0.0.10"] {
        assert_eq!(from(NEIGHBOUR, host).await.status, 421, "{host}");
    }
    // What a proxy says about the name changes nothing, and the origin is the configured one.
    let misled =
        [("host", "mfa.example.com"), ("x-forwarded-host", "evil.example"), ("forwarded", "host=evil.example")];
    let answer = call(&router, STRANGER, "GET", "/device/v1/server", &misled).await;
    assert!(answer.text().contains(r#""origin":"https://mfa.example.com""#) && !answer.text().contains("evil"));
    let target = "https://evil.example/device/v1/server";
    assert_eq!(call(&router, STRANGER, "GET", target, &[("host", "mfa.example.com")]).await.status, 421);
    assert_eq!(call(&router, STRANGER, "GET", target, &[]).await.status, 421);
    let ours = "https://mfa.example.com/device/v1/server";
    assert_eq!(call(&router, STRANGER, "GET", ours, &[]).await.status, 200);
    let two = [("host", "mfa.example.com"), ("host", "mfa.example.com")];
    assert_eq!(call(&router, STRANGER, "GET", "/", &two).await.status, 400);
    assert_eq!(call(&router, STRANGER, "GET", "/", &[]).await.status, 400);
}
