//! Handshakes between the two sides, and with programs that want something else.
#![expect(clippy::unwrap_used, reason = "what fails here fails a test")]

use std::{net::IpAddr, sync::Arc};

use countersign_domain::{Network, TlsIdentity};
use countersign_radius_tls::{ClientStream, Credentials, Fault, Known, Peer, ServerStream, accept, connect};
use countersign_testkit::pki::{MadeFor, Pair, TestCa, self_signed};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    },
};

const SERVER: &str = "radius.example.org";

fn credentials(pair: &Pair, ca: Option<&TestCa>) -> Arc<Credentials> {
    let ca = ca.map(TestCa::cert);
    let read = Credentials::from_pem(pair.cert.as_bytes(), pair.key.as_bytes(), ca.as_ref().map(String::as_bytes));
    Arc::new(read.unwrap())
}

fn pinned(pair: &Pair) -> TlsIdentity {
    TlsIdentity::Fingerprint(Sha256::digest(&pair.der).into())
}

fn known(all: &[(TlsIdentity, &[&str])]) -> Arc<Known> {
    let networks = |texts: &[&str]| texts.iter().map(|text| text.parse::<Network>().unwrap()).collect();
    Arc::new(all.iter().map(|(identity, texts)| (identity.clone(), networks(texts))).collect())
}

fn name(text: &str) -> TlsIdentity {
    TlsIdentity::name(text).unwrap()
}

/// Both ends of a connection over loopback.
async fn wire() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (here, there) = tokio::join!(TcpStream::connect(address), listener.accept());
    (here.unwrap(), there.unwrap().0)
}

type Shaken = (Result<ClientStream, Fault>, Result<(ServerStream, Peer), Fault>);

async fn shake(
    client: &Arc<Credentials>,
    expected: &TlsIdentity,
    server: &Arc<Credentials>,
    known: &Arc<Known>,
) -> Shaken {
    let (here, there) = wire().await;
    let source = IpAddr::from([127, 0, 0, 1]);
    tokio::join!(connect(here, expected, client), accept(there, source, server, known))
}

struct House {
    ca: TestCa,
    server: Arc<Credentials>,
}

impl House {
    fn new() -> Self {
        let ca = TestCa::new("house");
        let server = credentials(&ca.issue(&[SERVER], MadeFor::Servers), Some(&ca));
        Self { ca, server }
    }

    /// How the server takes a client with this certificate, and what the client hears of it.
    async fn visit(&self, client: &Pair, known: &Arc<Known>) -> (Result<Peer, Fault>, Option<Fault>) {
        let client = credentials(client, Some(&self.ca));
        let (here, there) = shake(&client, &name(SERVER), &self.server, known).await;
        let heard = match here {
            Err(fault) => Some(fault),
            // With TLS 1.3 it shows with the first octet.
            Ok(mut stream) if there.is_err() => Some(Fault::from(&stream.read_u8().await.unwrap_err())),
            Ok(_) => None,
        };
        (there.map(|(_, peer)| peer), heard)
    }
}

#[tokio::test]
async fn s48_whoever_is_known_comes_in_and_octets_go_both_ways() {
    let house = House::new();
    let client = house.ca.issue(&["other.example.org", "VPN.example.org"], MadeFor::Clients);
    let known = known(&[(name("vpn.example.org"), &[])]);
    let (here, there) = shake(&credentials(&client, Some(&house.ca)), &name(SERVER), &house.server, &known).await;
    let (mut here, (mut there, peer)) = (here.unwrap(), there.unwrap());
    assert_eq!(peer.identity, name("vpn.example.org"));
    assert!(peer.left > core::time::Duration::from_hours(24));
    here.write_all(b"ping").await.unwrap();
    let mut octets = [0; 4];
    there.read_exact(&mut octets).await.unwrap();
    assert_eq!(&octets, b"ping");
    assert_eq!(here.get_ref().1.alpn_protocol(), Some(&b"radius/1.0"[..]));
}

#[tokio::test]
async fn s48_a_certificate_of_the_same_ca_lets_nobody_in_who_is_not_known() {
    let house = House::new();
    let known_names = known(&[(name("vpn.example.org"), &[])]);
    for names in [&["other.example.org"][..], &["*.example.org"], &["vpn.example.org.evil.org"], &[]] {
        let (there, here) = house.visit(&house.ca.issue(names, MadeFor::Clients), &known_names).await;
        assert!(matches!(there, Err(Fault::Stranger(_))), "{names:?}: {there:?}");
        let heard = here.unwrap().to_string();
        assert!(heard.contains("knows nobody with our certificate"), "{heard}");
    }
    let two = known(&[(name("vpn.example.org"), &[]), (name("rdg.example.org"), &[])]);
    let both = house.ca.issue(&["vpn.example.org", "rdg.example.org"], MadeFor::Clients);
    assert!(matches!(house.visit(&both, &two).await.0, Err(Fault::Ambiguous(_))));
    let place = known(&[(name("vpn.example.org"), &["192.0.2.0/24"])]);
    let right = house.ca.issue(&["vpn.example.org"], MadeFor::Clients);
    assert!(matches!(house.visit(&right, &place).await.0, Err(Fault::Place(_))));
    assert!(house.visit(&right, &known_names).await.0.is_ok());
}

#[tokio::test]
async fn s48_expired_for_servers_self_signed_or_of_another_ca_is_refused() {
    let house = House::new();
    let known_names = known(&[(name("vpn.example.org"), &[])]);
    let other_ca = TestCa::new("house");
    let names = &["vpn.example.org"];
    let (there, here) = house.visit(&house.ca.issue_until(names, MadeFor::Clients, 2020), &known_names).await;
    assert!(matches!(there, Err(Fault::Expired(_))), "{there:?}");
    assert!(here.unwrap().to_string().contains("has expired"));
    let (there, _) = house.visit(&house.ca.issue(names, MadeFor::Servers), &known_names).await;
    assert!(matches!(there, Err(Fault::Purpose(_))), "{there:?}");
    for stranger in [self_signed(names, MadeFor::Clients, 2075), other_ca.issue(names, MadeFor::Clients)] {
        let (there, here) = house.visit(&stranger, &known_names).await;
        assert!(matches!(there, Err(Fault::UnknownCa(_))), "{there:?}");
        assert!(here.unwrap().to_string().contains("does not know the CA"));
    }
}

#[tokio::test]
async fn s48_a_fingerprint_is_one_certificate_and_needs_no_ca() {
    let house = House::new();
    let names = &["vpn.example.org"];
    let own = self_signed(names, MadeFor::Anything, 2075);
    let same_names = self_signed(names, MadeFor::Anything, 2075);
    let only = known(&[(pinned(&own), &[])]);
    assert_eq!(house.visit(&own, &only).await.0.unwrap().identity, pinned(&own));
    assert!(matches!(house.visit(&same_names, &only).await.0, Err(Fault::UnknownCa(_))));
    let over = self_signed(names, MadeFor::Anything, 2020);
    let (there, _) = house.visit(&over, &known(&[(pinned(&over), &[])])).await;
    assert!(matches!(there, Err(Fault::Expired(_))), "{there:?}");
    let server_only = self_signed(names, MadeFor::Servers, 2075);
    let (there, _) = house.visit(&server_only, &known(&[(pinned(&server_only), &[])])).await;
    assert!(matches!(there, Err(Fault::Purpose(_))), "{there:?}");
    // The fingerprint goes before a name that is another client's.
    let of_ca = house.ca.issue(names, MadeFor::Clients);
    let both = known(&[(pinned(&of_ca), &[]), (name("vpn.example.org"), &[])]);
    assert_eq!(house.visit(&of_ca, &both).await.0.unwrap().identity, pinned(&of_ca));
}

#[tokio::test]
async fn s48_the_server_has_to_be_the_one_that_is_meant() {
    let house = House::new();
    let client = credentials(&house.ca.issue(&["vpn.example.org"], MadeFor::Clients), Some(&house.ca));
    let bare = credentials(&house.ca.issue(&["vpn.example.org"], MadeFor::Clients), None);
    let known = known(&[(name("vpn.example.org"), &[])]);
    let server = house.ca.issue(&[SERVER], MadeFor::Servers);
    let another = TestCa::new("another");
    let of = |pair: &Pair| credentials(pair, Some(&house.ca));
    for (shows, expected, fault) in [
        (of(&server), name(SERVER), None),
        (of(&server), pinned(&server), None),
        (of(&server), name("other.example.org"), Some("not the one that is expected")),
        (of(&server), TlsIdentity::Fingerprint([1; 32]), Some("not the one that is expected")),
        (of(&another.issue(&[SERVER], MadeFor::Servers)), name(SERVER), Some("not from the configured CA")),
        (of(&house.ca.issue_until(&[SERVER], MadeFor::Servers, 2020)), name(SERVER), Some("has expired")),
        (of(&house.ca.issue(&[SERVER], MadeFor::Clients)), name(SERVER), Some("not made for this")),
    ] {
        let (here, _) = shake(&client, &expected, &shows, &known).await;
        match fault {
            None => assert!(here.is_ok(), "{here:?}"),
            Some(fault) => {
                let said = here.unwrap_err().to_string();
                assert!(said.contains(fault), "{said}");
            }
        }
    }
    assert_eq!(shake(&bare, &name(SERVER), &house.server, &known).await.0.unwrap_err(), Fault::NoCa);
}

/// A client of rustls as somebody else would write it.
async fn foreign(house: &House, with_certificate: bool, alpn: &[&[u8]]) -> (std::io::Result<()>, Result<Peer, Fault>) {
    let mut roots = RootCertStore::empty();
    let ca = house.ca.cert();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let own = house.ca.issue(&["vpn.example.org"], MadeFor::Clients);
    let mut config = if with_certificate {
        let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
        builder.with_client_auth_cert(vec![CertificateDer::from(own.der.clone())], key).unwrap()
    } else {
        builder.with_no_client_auth()
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let (here, there) = wire().await;
    let known = known(&[(name("vpn.example.org"), &[])]);
    let client = async {
        let mut stream =
            TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(SERVER).unwrap(), here).await?;
        // Whether the server has taken us shows with what it sends.
        stream.read_u8().await.map(drop)
    };
    let server = async {
        let (mut stream, peer) = accept(there, [127, 0, 0, 1].into(), &house.server, &known).await?;
        stream.write_all(b"!").await.unwrap();
        stream.flush().await.unwrap();
        Ok(peer)
    };
    tokio::join!(client, server)
}

#[tokio::test]
async fn s48_without_a_certificate_nobody_comes_in() {
    let (here, there) = foreign(&House::new(), false, &[]).await;
    assert!(here.is_err());
    assert_eq!(there.unwrap_err(), Fault::NoCertificate);
}

/// RFC 9765 section 3.3: no ALPN is RADIUS/1.0, and who wants RADIUS/1.1 only hears `no_application_protocol`.
#[tokio::test]
async fn s48_radius_1_0_is_offered_and_1_1_alone_is_refused() {
    let house = House::new();
    let (old, new): (&[u8], &[u8]) = (b"radius/1.0", b"radius/1.1");
    for alpn in [&[][..], &[old], &[new, old]] {
        let (here, there) = foreign(&house, true, alpn).await;
        assert!(here.is_ok() && there.is_ok(), "{alpn:?}: {here:?} {there:?}");
    }
    let (here, there) = foreign(&house, true, &[new]).await;
    assert!(here.unwrap_err().to_string().contains("NoApplicationProtocol"));
    assert!(there.unwrap_err().to_string().contains("RADIUS/1.1"));
}

#[tokio::test]
async fn s48_what_is_not_tls_is_said_to_be_that() {
    let house = House::new();
    let known = known(&[]);
    for octets in [&b"\x01\x01\0\x14aaaaaaaaaaaaaaaa"[..], b"GET / HTTP/1.1\r\n\r\n"] {
        let (mut here, there) = wire().await;
        here.write_all(octets).await.unwrap();
        let refused = accept(there, [127, 0, 0, 1].into(), &house.server, &known).await.unwrap_err();
        assert_eq!(refused, Fault::NotTls);
    }
    let (here, there) = wire().await;
    drop(here);
    assert_eq!(accept(there, [127, 0, 0, 1].into(), &house.server, &known).await.unwrap_err(), Fault::Closed);
}

#[test]
fn files_that_cannot_be_used_are_told_apart() {
    let (ca, other) = (TestCa::new("a"), TestCa::new("b"));
    let (pair, another) =
        (ca.issue(&["a.example.org"], MadeFor::Anything), other.issue(&["b.example.org"], MadeFor::Anything));
    let read = |cert: &str, key: &str, ca: Option<&str>| {
        Credentials::from_pem(cert.as_bytes(), key.as_bytes(), ca.map(str::as_bytes)).map_err(|fault| fault.to_string())
    };
    let good = read(&pair.cert, &pair.key, Some(&ca.cert())).unwrap();
    assert!(good.has_ca() && good.ends().is_some() && good.fingerprint().len() == 64);
    assert!(!good.has_same_ca(&read(&pair.cert, &pair.key, Some(&other.cert())).unwrap()));
    assert!(!format!("{good:?}").contains("PRIVATE"));
    for (fault, part) in [
        (read("", &pair.key, None), "the certificate"),
        (read(&pair.cert, &pair.cert, None), "the key"),
        (read(&pair.cert, &another.key, None), "do not go together"),
        (read(&pair.cert, &pair.key, Some("")), "the ca"),
    ] {
        let fault = fault.unwrap_err();
        assert!(fault.contains(part), "{fault}");
    }
}
