//! What a handshake that fails means, in plain words.

use std::io;

use thiserror::Error;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error as RustlsError};

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// The other side shows no certificate.
    #[error("it shows no certificate")]
    NoCertificate,
    /// It is not from the configured CA, and not known by its fingerprint.
    #[error("its certificate {0} is not from the configured CA, and not one that is known by its fingerprint")]
    UnknownCa(String),
    /// It is somebody else's.
    #[error("its certificate {0} is not the one that is expected")]
    Stranger(String),
    /// Several clients are known by names in it, so nobody could say whose connection it is.
    #[error("its certificate {0} carries the names of several clients")]
    Ambiguous(String),
    /// Its owner may not come from there.
    #[error("its certificate {0} is known, and may not be used from this address")]
    Place(String),
    /// It is over.
    #[error("its certificate {0} has expired")]
    Expired(String),
    /// It is not valid yet.
    #[error("its certificate {0} is not valid yet; or the clock is wrong")]
    NotValidYet(String),
    /// It is made for something else.
    #[error("its certificate {0} is not made for this: clientAuth for clients, serverAuth for servers (RFC 5280)")]
    Purpose(String),
    /// Something else is wrong with it.
    #[error("its certificate {certificate} cannot be used: {fault}")]
    Certificate {
        /// Which.
        certificate: String,
        /// What.
        fault: String,
    },
    /// It does not take our certificate, or not our version of TLS or RADIUS.
    #[error("it refused us ({0})")]
    Refused(String),
    /// It closed the connection.
    #[error("it closed the connection without a word")]
    Closed,
    /// It does not speak TLS.
    #[error("it does not speak TLS")]
    NotTls,
    /// A server is known by a name, and there is no CA to have that from.
    #[error("no CA is configured, and the server is known by a name")]
    NoCa,
    /// Something else.
    #[error("{0}")]
    Other(String),
}

impl Fault {
    /// From what TLS says of a certificate.
    pub(crate) fn of_certificate(fault: &CertificateError, certificate: String) -> Self {
        match fault {
            // A bad signature is what a CA leaves behind that was made anew under its old name.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownCa(certificate),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::Stranger(certificate)
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired(certificate),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotValidYet(certificate)
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Self::Purpose(certificate)
            }
            other => Self::Certificate { certificate, fault: other.to_string() },
        }
    }

    /// What is sent to the other side in its place.
    pub(crate) const fn for_tls(&self) -> CertificateError {
        match self {
            Self::UnknownCa(_) => CertificateError::UnknownIssuer,
            Self::Expired(_) => CertificateError::Expired,
            Self::NotValidYet(_) => CertificateError::NotValidYet,
            Self::Purpose(_) => CertificateError::InvalidPurpose,
            Self::Certificate { .. } => CertificateError::BadEncoding,
            // Access denied, as an alert (RFC 8446 section 6.2).
            _ => CertificateError::ApplicationVerificationFailure,
        }
    }
}

/// Of an error of a handshake, or of reading and writing behind one.
impl From<&io::Error> for Fault {
    fn from(error: &io::Error) -> Self {
        let Some(fault) = error.get_ref().and_then(|error| error.downcast_ref::<RustlsError>()) else {
            return match error.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe => Self::Closed,
                _ => Self::Other(error.to_string()),
            };
        };
        match fault {
            RustlsError::NoCertificatesPresented => Self::NoCertificate,
            RustlsError::InvalidMessage(_) => Self::NotTls,
            RustlsError::AlertReceived(alert) => Self::Refused(alert_words(*alert)),
            RustlsError::NoApplicationProtocol => {
                Self::Other("it wants RADIUS/1.1 (RFC 9765), and we speak RADIUS/1.0".to_owned())
            }
            RustlsError::PeerIncompatible(fault) => {
                Self::Other(format!("it speaks no version or cipher of TLS that we speak: {fault:?}"))
            }
            other => Self::Other(other.to_string()),
        }
    }
}

fn alert_words(alert: AlertDescription) -> String {
    let means = match alert {
        AlertDescription::UnknownCA => "it does not know the CA of our certificate",
        AlertDescription::AccessDenied => "it knows nobody with our certificate",
        AlertDescription::CertificateExpired => "our certificate has expired",
        AlertDescription::CertificateRequired => "it wants a certificate of ours",
        AlertDescription::UnsupportedCertificate => "our certificate is not made for this",
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => "it does not take our certificate",
        AlertDescription::NoApplicationProtocol => "it wants RADIUS/1.1, and we speak RADIUS/1.0",
        AlertDescription::ProtocolVersion => "it speaks no version of TLS that we speak",
        AlertDescription::HandshakeFailure => "the two sides have no cipher in common, or it wants another certificate",
        _ => return format!("TLS alert {alert:?}"),
    };
    means.to_owned()
}
