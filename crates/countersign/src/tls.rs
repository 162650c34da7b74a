//! Certificates and keys, of the app's listener and of RADIUS over TLS, read again when the files change.

use core::time::Duration;
use std::{
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result, anyhow, bail};
use countersign_domain::Timestamp;
use countersign_radius_tls::Credentials;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig, crypto,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

use crate::config::{RadiusTls, Tls};

/// How often it is looked whether the files are others.
pub(crate) const LOOK: Duration = Duration::from_secs(2);

/// What files hold, as it was when they were last good.
pub(crate) struct Watched<T> {
    /// What to call it in the log.
    about: &'static str,
    paths: Vec<PathBuf>,
    load: Box<dyn Fn() -> Result<(T, Option<Timestamp>)> + Send + Sync>,
    current: watch::Sender<T>,
    state: Mutex<State>,
}

/// The certificate that the app's listener shows.
pub(crate) type Certificate = Watched<Arc<ServerConfig>>;
/// What is shown to RADIUS clients and servers over TLS.
pub(crate) type RadiusCredentials = Watched<Arc<Credentials>>;

struct State {
    /// When the first certificate of the chain ends; `None` where it does not say so.
    ends: Option<Timestamp>,
    /// What is wrong with the files as they are now.
    fault: Option<String>,
    /// The files that what is current, or `fault`, is about.
    judged: Stamps,
    /// The files at the last look.
    seen: Stamps,
}

/// What tells one version of all files from another.
type Stamps = Vec<Option<Stamp>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

impl Certificate {
    /// Reads the files, which must be good at the start.
    pub(crate) fn open(files: &Tls) -> Result<Arc<Self>> {
        let (paths, files) = (vec![files.cert.clone(), files.key.clone()], files.clone());
        Self::new("app.tls", paths, move || load(&files))
    }

    /// For one handshake.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.borrow()))
    }
}

impl RadiusCredentials {
    /// Reads the files, which must be good at the start.
    pub(crate) fn open_radius(files: &RadiusTls) -> Result<Arc<Self>> {
        let own = [files.own.cert.clone(), files.own.key.clone()];
        let (paths, files) = (own.into_iter().chain(files.ca.clone()).collect(), files.clone());
        Self::new("radius.tls", paths, move || load_radius(&files))
    }
}

impl<T: Clone + Send + Sync + 'static> Watched<T> {
    fn new(
        about: &'static str,
        paths: Vec<PathBuf>,
        load: impl Fn() -> Result<(T, Option<Timestamp>)> + Send + Sync + 'static,
    ) -> Result<Arc<Self>> {
        // Taken first: a change during the reading is seen at the next look.
        let stamps = stamps(&paths);
        let (current, ends) = load()?;
        let state = Mutex::new(State { ends, fault: None, judged: stamps.clone(), seen: stamps });
        Ok(Arc::new(Self { about, paths, load: Box::new(load), current: watch::Sender::new(current), state }))
    }

    /// What holds now, and each that comes after.
    pub(crate) fn follow(&self) -> watch::Receiver<T> {
        self.current.subscribe()
    }

    /// What is wrong with the files, while what was before still holds.
    pub(crate) fn fault(&self) -> Option<String> {
        self.state().fault.clone()
    }

    /// When what is shown is worth nothing any more.
    pub(crate) fn ends(&self) -> Option<Timestamp> {
        self.state().ends
    }

    /// Looks again and again; never ends.
    pub(crate) async fn watch(self: &Arc<Self>, every: Duration) {
        let mut look = interval(every);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let watched = Arc::clone(self);
            let _panicked = tokio::task::spawn_blocking(move || watched.look()).await;
        }
    }

    /// Takes files that changed and have been the same for two looks: who replaces both writes one after the other.
    fn look(&self) {
        let now = stamps(&self.paths);
        {
            let mut state = self.state();
            let settled = std::mem::replace(&mut state.seen, now.clone()) == now;
            if now == state.judged || !settled {
                return;
            }
            state.judged = now;
        }
        let loaded = (self.load)();
        let mut state = self.state();
        match loaded {
            Ok((current, ends)) => {
                self.current.send_replace(current);
                state.ends = ends;
                state.fault = None;
                let cert = self.paths.first().map(|path| path.display().to_string()).unwrap_or_default();
                tracing::info!(tls.cert = cert, "{}: the new certificate is shown from now on", self.about);
            }
            Err(fault) => {
                let fault = format!("{fault:#}");
                tracing::error!(
                    error = %fault, "{}: the changed files cannot be used, the certificate before stays", self.about
                );
                state.fault = Some(fault);
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamps(paths: &[PathBuf]) -> Stamps {
    let stamp = |path: &PathBuf| {
        let about = std::fs::metadata(path).ok()?;
        Some(Stamp { inode: about.ino(), length: about.len(), changed: (about.ctime(), about.ctime_nsec()) })
    };
    paths.iter().map(stamp).collect()
}

fn load_radius(files: &RadiusTls) -> Result<(Arc<Credentials>, Option<Timestamp>)> {
    let read = |name: &str, path: &Path| {
        std::fs::read(path).map_err(|fault| anyhow!("[radius.tls] {name} {}: {fault}", path.display()))
    };
    check_private("[radius.tls] key", &files.own.key)?;
    let chain = read("cert", &files.own.cert)?;
    let key = zeroize::Zeroizing::new(read("key", &files.own.key)?);
    let ca = files.ca.as_ref().map(|ca| read("ca", ca)).transpose()?;
    let made = Credentials::from_pem(&chain, &key, ca.as_deref());
    let made = made.map_err(|fault| anyhow!("[radius.tls] {}: {fault}", files.own.cert.display()))?;
    let ends = made.ends();
    Ok((Arc::new(made), ends))
}

fn load(files: &Tls) -> Result<(Arc<ServerConfig>, Option<Timestamp>)> {
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|fault| anyhow!("[app] tls_cert {}: {fault}", files.cert.display()))?;
    if chain.is_empty() {
        bail!("[app] tls_cert {} holds no certificate in PEM form", files.cert.display());
    }
    let ends = chain.iter().filter_map(ends).min();
    check_private("[app] tls_key", &files.key)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|_| anyhow!("[app] tls_key {} holds no private key in PEM form", files.key.display()))?;
    // The safe defaults are TLS 1.2 and 1.3.
    let mut config = ServerConfig::builder_with_provider(Arc::new(crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .context("TLS cannot be set up")?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|fault| {
            anyhow!(
                "[app] tls_cert {} and tls_key {} do not go together: {fault}",
                files.cert.display(),
                files.key.display()
            )
        })?;
    config.alpn_protocols = vec![HTTP_2.to_vec(), b"http/1.1".to_vec()];
    Ok((Arc::new(config), ends))
}

/// The end of a certificate (RFC 5280 section 4.1.2.5).
fn ends(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, read) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(Timestamp::from_seconds(read.validity().not_after.timestamp()))
}

/// The name of HTTP/2 in a handshake (RFC 9113 section 3.2).
pub(crate) const HTTP_2: &[u8] = b"h2";

fn check_private(name: &str, key: &Path) -> Result<()> {
    let about = std::fs::metadata(key).map_err(|fault| anyhow!("{name} {}: {fault}", key.display()))?;
    let mode = about.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        bail!("{name} {} can be read by others (mode {mode:03o}): run `chmod o= {}`", key.display(), key.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_that_of_the_first_in_its_chain_to_end() {
        let dir = tempfile::tempdir().unwrap();
        let files = Tls { cert: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
        let key = KeyPair::generate().unwrap();
        let until = |year| {
            let mut params = CertificateParams::new(vec!["mfa.example.com".to_owned()]).unwrap();
            params.not_after = date_time_ymd(year, 3, 1);
            params.self_signed(&key).unwrap().pem()
        };
        for chain in [[2031, 2044], [2044, 2031]] {
            std::fs::write(&files.cert, chain.map(until).concat()).unwrap();
            std::fs::write(&files.key, key.serialize_pem()).unwrap();
            std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o600)).unwrap();
            let certificate = Certificate::open(&files).unwrap();
            assert_eq!(certificate.ends(), Timestamp::from_rfc3339("2031-03-01T00:00:00Z"));
        }
    }
}
