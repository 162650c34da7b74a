//! The server's side: whose connection it is.

use core::time::Duration;
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use countersign_domain::{Network, TlsIdentity};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, CertificateError, DigitallySignedStruct, DistinguishedName, Error as RustlsError, ServerConfig,
        SignatureScheme,
        client::danger::HandshakeSignatureValid,
        crypto::{verify_tls12_signature, verify_tls13_signature},
        pki_types::{CertificateDer, UnixTime},
        server::{
            NoServerSessionStorage,
            danger::{ClientCertVerified, ClientCertVerifier},
        },
    },
};

use crate::{
    Credentials, Fault, RADIUS_1_0, ServerStream,
    certificate::{self, Purpose},
};

/// Who is known, and from where each may come; anywhere, where no network is named.
pub type Known = HashMap<TlsIdentity, Vec<Network>>;

/// Whose connection it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// By what it is known.
    pub identity: TlsIdentity,
    /// How long its certificate holds still.
    pub left: Duration,
}

/// Takes a client's connection, and says whose it is.
///
/// # Errors
/// A [`Fault`] where it is nobody's who is known. The other side has been told by an alert.
pub async fn accept(
    stream: TcpStream,
    source: IpAddr,
    credentials: &Arc<Credentials>,
    known: &Arc<Known>,
) -> Result<(ServerStream, Peer), Fault> {
    let verifier = Arc::new(Verifier {
        credentials: Arc::clone(credentials),
        known: Arc::clone(known),
        source: source.to_canonical(),
        judged: OnceLock::new(),
    });
    let dynamic: Arc<dyn ClientCertVerifier> = verifier.clone();
    // The safe defaults are TLS 1.2 and 1.3.
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&credentials.provider))
        .with_safe_default_protocol_versions()
        .map_err(|fault| Fault::Other(fault.to_string()))?
        .with_client_cert_verifier(dynamic)
        .with_cert_resolver(credentials.own.clone());
    config.alpn_protocols = vec![RADIUS_1_0.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    let shaken = TlsAcceptor::from(Arc::new(config)).accept(stream).await;
    match (shaken, verifier.judged.get()) {
        (Ok(stream), Some(Ok(peer))) => Ok((stream, peer.clone())),
        // Without a verdict there is no way in, whatever TLS says.
        (_, Some(Err(fault))) => Err(fault.clone()),
        (Ok(_), None) => Err(Fault::NoCertificate),
        (Err(error), _) => Err(Fault::from(&error)),
    }
}

/// Judges the certificate of one connection.
#[derive(Debug)]
struct Verifier {
    credentials: Arc<Credentials>,
    known: Arc<Known>,
    source: IpAddr,
    judged: OnceLock<Result<Peer, Fault>>,
}

impl Verifier {
    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Peer, Fault> {
        let fault = |fault: &CertificateError| Fault::of_certificate(fault, certificate::describe(certificate));
        let pinned = TlsIdentity::Fingerprint(certificate::fingerprint(certificate));
        let (identity, left) = if self.known.contains_key(&pinned) {
            let left = certificate::holds(certificate, Purpose::Client, now).map_err(|error| fault(&error))?;
            (pinned, left)
        } else {
            let chain = self.credentials.clients.as_ref().ok_or_else(|| fault(&CertificateError::UnknownIssuer))?;
            chain.verify_client_cert(certificate, intermediates, now).map_err(|error| match &error {
                RustlsError::InvalidCertificate(error) => fault(error),
                other => Fault::Other(other.to_string()),
            })?;
            let names = certificate::names(certificate).map_err(|error| fault(&error))?;
            let mut fits = names.into_iter().map(TlsIdentity::Name).filter(|name| self.known.contains_key(name));
            let identity = fits.next().ok_or_else(|| Fault::Stranger(certificate::describe(certificate)))?;
            if fits.next().is_some() {
                return Err(Fault::Ambiguous(certificate::describe(certificate)));
            }
            (identity, certificate::left(certificate, now).unwrap_or_default())
        };
        let networks = self.known.get(&identity).map(Vec::as_slice).unwrap_or_default();
        if !networks.is_empty() && !networks.iter().any(|network| network.contains(&self.source)) {
            return Err(Fault::Place(certificate::describe(certificate)));
        }
        Ok(Peer { identity, left })
    }
}

impl ClientCertVerifier for Verifier {
    /// None: those who are known by a fingerprint may have any CA, or none.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, RustlsError> {
        let judged = self.judged.get_or_init(|| self.judge(end_entity, intermediates, now));
        judged.as_ref().map(|_| ClientCertVerified::assertion()).map_err(|fault| fault.for_tls().into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.credentials.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.credentials.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.credentials.provider.signature_verification_algorithms.supported_schemes()
    }
}
