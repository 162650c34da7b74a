//! What we show of ourselves, and whom we take certificates from.

use core::fmt;
use std::sync::Arc;

use countersign_domain::Timestamp;
use data_encoding::HEXLOWER;
use thiserror::Error;
use tokio_rustls::rustls::{
    RootCertStore,
    client::WebPkiServerVerifier,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
};

use crate::certificate;

/// Our certificate with its key, and the CA of those who are known by a name.
pub struct Credentials {
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) own: Arc<SingleCertAndKey>,
    pub(crate) clients: Option<Arc<dyn ClientCertVerifier>>,
    pub(crate) servers: Option<Arc<WebPkiServerVerifier>>,
    ca: Vec<CertificateDer<'static>>,
    fingerprint: [u8; 32],
    ends: Option<Timestamp>,
}

/// Why files cannot be used.
#[derive(Debug, Error)]
pub enum CredentialsError {
    /// The file of the certificate.
    #[error("the certificate: {0}")]
    Certificate(String),
    /// The file of the key. What stands in it is not shown.
    #[error("the key: it holds no private key in PEM form")]
    Key,
    /// They are of two pairs.
    #[error("certificate and key do not go together: {0}")]
    Pair(String),
    /// The file of the CA.
    #[error("the ca: {0}")]
    Ca(String),
}

impl Credentials {
    /// From what the files hold, in PEM form: a chain that begins with our certificate, its key, and where there is one the CA.
    ///
    /// # Errors
    /// A [`CredentialsError`] that says which file is of no use, and why.
    pub fn from_pem(chain: &[u8], key: &[u8], ca: Option<&[u8]>) -> Result<Self, CredentialsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = certificates(chain).map_err(CredentialsError::Certificate)?;
        let ends = chain.iter().filter_map(certificate::ends).min();
        let fingerprint = chain.first().map(certificate::fingerprint).unwrap_or_default();
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| CredentialsError::Key)?;
        let own = CertifiedKey::from_der(chain, key, &provider);
        let own = own.map_err(|fault| CredentialsError::Pair(fault.to_string()))?;
        let ca = ca.map_or_else(|| Ok(Vec::new()), certificates).map_err(CredentialsError::Ca)?;
        let mut roots = RootCertStore::empty();
        for certificate in &ca {
            roots.add(certificate.clone()).map_err(|fault| CredentialsError::Ca(fault.to_string()))?;
        }
        let roots = (!roots.is_empty()).then(|| Arc::new(roots));
        let no_verifier = |fault: &dyn fmt::Display| CredentialsError::Ca(fault.to_string());
        let clients = roots
            .clone()
            .map(|roots| WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build());
        let servers =
            roots.map(|roots| WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build());
        Ok(Self {
            own: Arc::new(SingleCertAndKey::from(own)),
            clients: clients.transpose().map_err(|fault| no_verifier(&fault))?,
            servers: servers.transpose().map_err(|fault| no_verifier(&fault))?,
            provider,
            ca,
            fingerprint,
            ends,
        })
    }

    /// Whether there is a CA, without which nobody is known by a name.
    pub const fn has_ca(&self) -> bool {
        !self.ca.is_empty()
    }

    /// Whether the CA of both is the same.
    pub fn has_same_ca(&self, other: &Self) -> bool {
        self.ca == other.ca
    }

    /// The fingerprint of our own certificate, for the other side's configuration.
    pub fn fingerprint(&self) -> String {
        HEXLOWER.encode(&self.fingerprint)
    }

    /// When the first certificate of our chain ends.
    pub const fn ends(&self) -> Option<Timestamp> {
        self.ends
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("fingerprint", &self.fingerprint()).finish_non_exhaustive()
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = read.map_err(|fault| fault.to_string())?;
    if all.is_empty() { Err("it holds no certificate in PEM form".to_owned()) } else { Ok(all) }
}
