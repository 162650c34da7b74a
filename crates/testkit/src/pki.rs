//! Certificates for tests: a CA, and what it makes for clients and servers.
#![expect(clippy::expect_used, reason = "what fails here fails the test that uses it")]

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

/// What a certificate is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MadeFor {
    /// Clients (RFC 5280: clientAuth).
    Clients,
    /// Servers (serverAuth).
    Servers,
    /// It does not say.
    Anything,
}

/// A certificate with its key.
#[derive(Debug, Clone)]
pub struct Pair {
    /// In PEM form.
    pub cert: String,
    /// In PEM form.
    pub key: String,
    /// The certificate's octets.
    pub der: Vec<u8>,
}

/// A CA.
pub struct TestCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl TestCa {
    /// A new one of this name.
    ///
    /// # Panics
    /// Where no key can be made.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("a certificate") }
    }

    /// Its certificate in PEM form.
    pub fn cert(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate with these DNS names.
    pub fn issue(&self, names: &[&str], made_for: MadeFor) -> Pair {
        self.issue_until(names, made_for, 2075)
    }

    /// One that holds from 2000 to the first day of a year.
    ///
    /// # Panics
    /// Where no key can be made, or a name is none.
    pub fn issue_until(&self, names: &[&str], made_for: MadeFor, year: i32) -> Pair {
        let (params, key) = leaf(names, made_for, year);
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        Pair { cert: cert.pem(), key: key.serialize_pem(), der: cert.der().to_vec() }
    }
}

/// A certificate of nobody but itself.
///
/// # Panics
/// Where no key can be made, or a name is none.
pub fn self_signed(names: &[&str], made_for: MadeFor, year: i32) -> Pair {
    let (params, key) = leaf(names, made_for, year);
    let cert = params.self_signed(&key).expect("a certificate");
    Pair { cert: cert.pem(), key: key.serialize_pem(), der: cert.der().to_vec() }
}

fn leaf(names: &[&str], made_for: MadeFor, year: i32) -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, names.first().copied().unwrap_or("nobody"));
    let name = |name: &&str| SanType::DnsName((*name).try_into().expect("a name"));
    params.subject_alt_names = names.iter().map(name).collect();
    params.extended_key_usages = match made_for {
        MadeFor::Clients => vec![ExtendedKeyUsagePurpose::ClientAuth],
        MadeFor::Servers => vec![ExtendedKeyUsagePurpose::ServerAuth],
        MadeFor::Anything => Vec::new(),
    };
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(year, 1, 1);
    (params, KeyPair::generate().expect("a key"))
}
