//! What stands in a certificate.

use core::time::Duration;

use countersign_domain::{DnsName, Timestamp};
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use tokio_rustls::rustls::{
    CertificateError,
    pki_types::{CertificateDer, UnixTime},
};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName};

/// What a certificate is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Client,
    Server,
}

/// SHA-256 over all of it.
pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    Sha256::digest(certificate).into()
}

fn read<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, CertificateError> {
    match x509_parser::parse_x509_certificate(certificate) {
        Ok(([], read)) => Ok(read),
        _ => Err(CertificateError::BadEncoding),
    }
}

/// Its DNS names (RFC 5280 section 4.2.1.6), but such as stand for several.
pub(crate) fn names(certificate: &CertificateDer<'_>) -> Result<Vec<DnsName>, CertificateError> {
    let read = read(certificate)?;
    let names = read.subject_alternative_name().map_err(|_| CertificateError::BadEncoding)?;
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    let mut out: Vec<DnsName> = Vec::new();
    for name in names {
        if let GeneralName::DNSName(name) = name
            && let Ok(name) = DnsName::new(name)
            && !out.contains(&name)
        {
            out.push(name);
        }
    }
    Ok(out)
}

/// Whether it holds now and may be used for this (RFC 5280 sections 4.1.2.5 and 4.2.1.12), of one that is known by its fingerprint;
/// and for how long still.
pub(crate) fn holds(
    certificate: &CertificateDer<'_>,
    purpose: Purpose,
    now: UnixTime,
) -> Result<Duration, CertificateError> {
    let read = read(certificate)?;
    let now_seconds = i64::try_from(now.as_secs()).map_err(|_| CertificateError::BadEncoding)?;
    if now_seconds < read.validity().not_before.timestamp() {
        return Err(CertificateError::NotValidYet);
    }
    let left = left(certificate, now).filter(|left| !left.is_zero()).ok_or(CertificateError::Expired)?;
    let usage = read.extended_key_usage().map_err(|_| CertificateError::BadEncoding)?;
    let fits = usage.is_none_or(|usage| {
        usage.value.any
            || match purpose {
                Purpose::Client => usage.value.client_auth,
                Purpose::Server => usage.value.server_auth,
            }
    });
    if fits { Ok(left) } else { Err(CertificateError::InvalidPurpose) }
}

/// How long it holds still; nothing of one that is over or cannot be read.
pub(crate) fn left(certificate: &CertificateDer<'_>, now: UnixTime) -> Option<Duration> {
    let ends = u64::try_from(read(certificate).ok()?.validity().not_after.timestamp()).ok()?;
    Some(Duration::from_secs(ends.checked_sub(now.as_secs())?))
}

/// When it is over.
pub(crate) fn ends(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    Some(Timestamp::from_seconds(read(certificate).ok()?.validity().not_after.timestamp()))
}

/// The certificate for an administrator who has to find out which one it is.
pub(crate) fn describe(certificate: &CertificateDer<'_>) -> String {
    /// So many names are written out.
    const NAMED: usize = 5;
    let print = HEXLOWER.encode(&fingerprint(certificate));
    let names = names(certificate).unwrap_or_default();
    let shown: Vec<&str> = names.iter().take(NAMED).map(DnsName::as_str).collect();
    if shown.is_empty() { format!("sha256:{print}") } else { format!("sha256:{print} ({})", shown.join(", ")) }
}
