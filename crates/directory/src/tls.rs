//! TLS to a directory server: chain and name are always checked, and there is no switch for it.

use std::{path::Path, sync::Arc};

use tokio_rustls::{
    TlsConnector,
    rustls::{
        self, CertificateError, ClientConfig, Error as RustlsError, RootCertStore,
        pki_types::{CertificateDer, pem::PemObject as _},
    },
};

use crate::{config::ConfigError, error::TlsFault};

/// Trusts the CAs of `ca_file`, or those of the system.
pub(crate) fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, ConfigError> {
    let roots = match ca_file {
        Some(path) => from_file(path)?,
        None => from_system()?,
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ConfigError::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn from_file(path: &Path) -> Result<RootCertStore, ConfigError> {
    let fault = |fault: String| ConfigError::CaFile { path: path.to_owned(), fault };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| fault(error.to_string()))? {
        let certificate = certificate.map_err(|error| fault(error.to_string()))?;
        roots.add(certificate).map_err(|error| fault(error.to_string()))?;
    }
    if roots.is_empty() { Err(fault("it holds no PEM certificate".to_owned())) } else { Ok(roots) }
}

fn from_system() -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    // A certificate of the system that cannot be read is one CA less, not a reason to stop.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(ConfigError::NoSystemRoots) } else { Ok(roots) }
}

/// What a failed handshake means.
pub(crate) fn fault(error: &std::io::Error) -> TlsFault {
    let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<RustlsError>()) else {
        return TlsFault::Handshake(format!("handshake failed: {error}"));
    };
    match error {
        RustlsError::InvalidCertificate(fault) => match fault {
            // A bad signature is what a CA leaves behind that was made anew under its old name.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsFault::UnknownCa,
            CertificateError::NotValidForName => TlsFault::WrongName(Vec::new()),
            CertificateError::NotValidForNameContext { presented, .. } => {
                TlsFault::WrongName(presented.iter().map(|name| plain(name)).collect())
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsFault::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => TlsFault::NotYetValid,
            other => TlsFault::Certificate(other.to_string()),
        },
        other => TlsFault::Handshake(other.to_string()),
    }
}

/// `DnsName("example.com")` as rustls shows it, without what only programmers like.
fn plain(name: &str) -> String {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    inner.trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_certificates_are_shown_plainly() {
        assert_eq!(plain("DnsName(\"dc1.example.test\")"), "dc1.example.test");
        assert_eq!(plain("IpAddress(127.0.0.1)"), "127.0.0.1");
        assert_eq!(plain("something else"), "something else");
    }
}
