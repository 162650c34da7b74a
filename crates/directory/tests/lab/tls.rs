//! The server must be the one that is meant, before anything is said to it.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use countersign_directory::{AuthError, DirectoryConfig, DirectoryError, ServerFault, TlsFault};
use tokio::{io::AsyncReadExt as _, net::TcpListener};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

use crate::support::{PASSWORD, Relay, directory, lab, login};

/// What is wrong with the only server.
async fn fault(config: &DirectoryConfig) -> ServerFault {
    match login(&directory(config), "alice", PASSWORD).await {
        Err(AuthError::Directory(DirectoryError::Unavailable { tried })) if tried.len() == 1 => tried[0].1.clone(),
        other => panic!("{other:?}"),
    }
}

/// A server with a certificate of the lab, which counts the octets that come through TLS.
async fn serve(folder: &Path, name: &str) -> (u16, Arc<AtomicUsize>) {
    let chain =
        CertificateDer::pem_file_iter(folder.join(format!("{name}.pem"))).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key"))).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let octets = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&octets);
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let acceptor = TlsAcceptor::from(Arc::new(config.clone()));
            let Ok(mut stream) = acceptor.accept(tcp).await else { continue };
            while let Ok(count @ 1..) = stream.read(&mut [0; 512]).await {
                counted.fetch_add(count, Ordering::SeqCst);
            }
        }
    });
    (port, octets)
}

#[tokio::test]
async fn c081_s59_the_certificate_must_be_trusted_and_for_this_host() {
    let Some(lab) = lab() else { return };
    let _shared = lab.shared().await;
    for (config, port, scheme, other) in [
        (lab.ad(), lab.samba("LDAPS_PORT"), "ldaps", "slapd/tls/ca.pem"),
        (lab.ad(), lab.samba("LDAP_PORT"), "ldap", "samba/tls/other-ca.pem"),
        (lab.ldap(), lab.slapd("LDAPS_PORT"), "ldaps", "slapd/tls/other-ca.pem"),
        (lab.ldap(), lab.slapd("LDAP_PORT"), "ldap", "samba/tls/ca.pem"),
    ] {
        let at = |host: &str| DirectoryConfig { servers: vec![format!("{scheme}://{host}:{port}")], ..config.clone() };
        // By an address that the certificate has.
        assert!(login(&directory(&at("127.0.0.1")), "alice", PASSWORD).await.is_ok(), "{scheme} {port}");
        let wrong_ca = DirectoryConfig { ca_file: Some(lab.file(other)), ..at("127.0.0.1") };
        assert_eq!(fault(&wrong_ca).await, ServerFault::Tls(TlsFault::UnknownCa), "{scheme} {port}");
        let no_ca = DirectoryConfig { ca_file: None, ..at("127.0.0.1") };
        assert_eq!(fault(&no_ca).await, ServerFault::Tls(TlsFault::UnknownCa), "{scheme} {port}");
        match fault(&at("localhost")).await {
            ServerFault::Tls(TlsFault::WrongName(names)) => {
                assert!(names.iter().any(|name| name.contains("dc1.example.test")), "{names:?}");
            }
            other => panic!("{scheme} {port}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn c081_nothing_is_said_to_a_server_with_a_wrong_certificate() {
    let Some(lab) = lab() else { return };
    for (name, right) in [
        ("dns-only", "not for this host name or address"),
        ("cn-only", "not for this host name or address"),
        ("expired", "has expired"),
        ("other", "not signed by a CA that is trusted here"),
    ] {
        let (port, octets) = serve(&lab.file("slapd/tls"), name).await;
        let config = DirectoryConfig { servers: vec![format!("ldaps://127.0.0.1:{port}")], ..lab.ldap() };
        let fault = fault(&config).await;
        assert!(matches!(fault, ServerFault::Tls(_)) && fault.to_string().contains(right), "{name}: {fault}");
        assert_eq!(octets.load(Ordering::SeqCst), 0, "{name}");
    }
}

#[tokio::test]
async fn s59_c081_where_start_tls_is_refused_nothing_else_is_said() {
    let Some(lab) = lab() else { return };
    let relay = Relay::to(lab.slapd("PLAIN_PORT")).await;
    let config = DirectoryConfig { servers: vec![relay.url("ldap")], ..lab.ldap() };
    let fault = fault(&config).await;
    assert!(matches!(fault, ServerFault::StartTlsRefused { .. }), "{fault:?}");
    let sent = relay.sent();
    assert!(sent.len() == 31 && sent.ends_with(b"1.3.6.1.4.1.1466.20037"), "{sent:?}");
    assert_eq!(relay.connections(), 1);
}

#[tokio::test]
async fn ldaps_and_start_tls_taken_for_each_other_are_errors() {
    let Some(lab) = lab() else { return };
    let ldaps_at_389 =
        DirectoryConfig { servers: vec![format!("ldaps://127.0.0.1:{}", lab.slapd("LDAP_PORT"))], ..lab.ldap() };
    let start_tls_at_636 = DirectoryConfig {
        servers: vec![format!("ldap://127.0.0.1:{}", lab.slapd("LDAPS_PORT"))],
        connect_timeout_ms: 500,
        ..lab.ldap()
    };
    for config in [ldaps_at_389, start_tls_at_636] {
        let fault = fault(&config).await;
        assert!(
            matches!(
                fault,
                ServerFault::Tls(_) | ServerFault::Closed | ServerFault::Malformed | ServerFault::TimedOut(_)
            ),
            "{fault:?}"
        );
    }
}
