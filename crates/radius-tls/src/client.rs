//! The client's side: whether it is the server that is meant.

use std::sync::{Arc, OnceLock};

use countersign_domain::TlsIdentity;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    rustls::{
        self, CertificateError, ClientConfig, DigitallySignedStruct, Error as RustlsError, SignatureScheme,
        client::{
            Resumption,
            danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        },
        crypto::{verify_tls12_signature, verify_tls13_signature},
        pki_types::{CertificateDer, ServerName, UnixTime},
    },
};

use crate::{
    ClientStream, Credentials, Fault, RADIUS_1_0,
    certificate::{self, Purpose},
};

/// Begins to speak TLS on a connection to a server, which has to be `expected`. That the server takes our certificate is known
/// when its first octet has come: with TLS 1.3 it judges it later (RFC 8446 section 4.4.2.4).
///
/// # Errors
/// A [`Fault`] where it is not the server, or did not want us.
pub async fn connect(
    stream: TcpStream,
    expected: &TlsIdentity,
    credentials: &Arc<Credentials>,
) -> Result<ClientStream, Fault> {
    let name = match expected {
        TlsIdentity::Name(_) if !credentials.has_ca() => return Err(Fault::NoCa),
        TlsIdentity::Name(name) => ServerName::try_from(name.as_str().to_owned()),
        // It is not asked for by a name; the address is what a client without one sends (RFC 6066 section 3: nothing).
        TlsIdentity::Fingerprint(_) => match stream.peer_addr() {
            Ok(address) => Ok(ServerName::from(address.ip())),
            Err(fault) => return Err(Fault::from(&fault)),
        },
    };
    let name = name.map_err(|fault| Fault::Other(fault.to_string()))?;
    let verifier =
        Arc::new(Verifier { expected: expected.clone(), credentials: Arc::clone(credentials), fault: OnceLock::new() });
    let dynamic: Arc<dyn ServerCertVerifier> = verifier.clone();
    // The safe defaults are TLS 1.2 and 1.3.
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&credentials.provider))
        .with_safe_default_protocol_versions()
        .map_err(|fault| Fault::Other(fault.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(dynamic)
        .with_client_cert_resolver(credentials.own.clone());
    config.alpn_protocols = vec![RADIUS_1_0.to_vec()];
    config.resumption = Resumption::disabled();
    let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    shaken.map_err(|error| verifier.fault.get().cloned().unwrap_or_else(|| Fault::from(&error)))
}

/// Judges the certificate of one connection.
#[derive(Debug)]
struct Verifier {
    expected: TlsIdentity,
    credentials: Arc<Credentials>,
    fault: OnceLock<Fault>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        let judged = match (&self.expected, &self.credentials.servers) {
            (TlsIdentity::Fingerprint(expected), _) if certificate::fingerprint(end_entity) == *expected => {
                certificate::holds(end_entity, Purpose::Server, now).map(drop)
            }
            (TlsIdentity::Fingerprint(_), _) => Err(CertificateError::ApplicationVerificationFailure),
            (TlsIdentity::Name(_), None) => Err(CertificateError::UnknownIssuer),
            (TlsIdentity::Name(_), Some(chain)) => {
                match chain.verify_server_cert(end_entity, intermediates, server_name, &[], now) {
                    Ok(_) => Ok(()),
                    Err(RustlsError::InvalidCertificate(fault)) => Err(fault),
                    Err(other) => return Err(other),
                }
            }
        };
        let Err(fault) = judged else { return Ok(ServerCertVerified::assertion()) };
        let described = certificate::describe(end_entity);
        let words = match &fault {
            CertificateError::ApplicationVerificationFailure => Fault::Stranger(described),
            other => Fault::of_certificate(other, described),
        };
        self.fault.get_or_init(|| words);
        Err(fault.into())
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
