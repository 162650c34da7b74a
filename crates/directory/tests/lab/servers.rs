//! Servers that go and come back, connections that are cut, referrals to others.

use std::time::{Duration, Instant};

use countersign_directory::{
    AuthError, Authenticated, DirectoryConfig, DirectoryError, Kind, LookupError, ServerFault,
};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::support::{PASSWORD, Relay, directory, lab, login};

#[expect(clippy::disallowed_methods, reason = "how long a real server takes is the question")]
fn now() -> Instant {
    Instant::now()
}

fn is_unavailable(result: &Result<Authenticated, AuthError>) -> bool {
    matches!(result, Err(AuthError::Directory(DirectoryError::Unavailable { .. })))
}

#[tokio::test]
async fn c083_a_domain_controller_that_stops_and_comes_back() {
    let Some(lab) = lab() else { return };
    let _alone = lab.alone().await;
    let directory = directory(&lab.ad());
    assert!(login(&directory, "alice", PASSWORD).await.is_ok());
    lab.controller("stop", "").await;
    let begun = now();
    for _ in 0..3 {
        let result = login(&directory, "alice", PASSWORD).await;
        assert!(is_unavailable(&result), "not there is not wrong: {result:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(15));
    lab.controller("start", "").await;
    assert!(login(&directory, "alice", PASSWORD).await.is_ok(), "at once, as there is no other");
}

#[tokio::test]
async fn c083_each_server_is_asked_again_when_it_is_back() {
    let Some(lab) = lab() else { return };
    let port = lab.slapd("LDAP_PORT");
    let (a, b) = (Relay::to(port).await, Relay::to(port).await);
    let config = DirectoryConfig { servers: vec![a.url("ldap"), b.url("ldap")], ..lab.ldap() };
    let directory = directory(&config);
    let answered_by = async || login(&directory, "alice", PASSWORD).await.map(|found| found.server);
    assert_eq!(answered_by().await, Ok(a.url("ldap")));
    a.stop().await;
    assert_eq!(answered_by().await, Ok(b.url("ldap")));
    b.stop().await;
    let a = a.start_again(port).await;
    assert_eq!(answered_by().await, Ok(a.url("ldap")), "although it failed a moment ago");
    let b = b.start_again(port).await;
    assert_eq!(answered_by().await, Ok(a.url("ldap")), "in the order of the configuration");
    a.stop().await;
    assert_eq!(answered_by().await, Ok(b.url("ldap")));
}

/// A port where connections are neither accepted nor refused.
async fn black_hole() -> (u16, Vec<TcpStream>, TcpListener) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        waiting.push(stream);
        assert!(waiting.len() < 100, "no black hole to be had here");
    }
    (address.port(), waiting, listener)
}

#[tokio::test]
async fn c083_s65_a_host_that_swallows_everything_does_not_take_all_the_time() {
    let Some(lab) = lab() else { return };
    let good = format!("ldap://127.0.0.1:{}", lab.slapd("LDAP_PORT"));
    let (hole, _waiting, _listener) = black_hole().await;
    // This one accepts and then says nothing.
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mute = (mute.local_addr().unwrap().port(), mute);
    for bad in [
        format!("ldap://127.0.0.1:{hole}"),
        format!("ldaps://127.0.0.1:{hole}"),
        format!("ldaps://127.0.0.1:{}", mute.0),
    ] {
        let config = DirectoryConfig { servers: vec![bad.clone(), good.clone()], ..lab.ldap() };
        let directory = directory(&config);
        let begun = now();
        let first = login(&directory, "alice", PASSWORD).await;
        assert_eq!(first.map(|found| found.server), Ok(good.clone()), "{bad}");
        assert!(begun.elapsed() < Duration::from_millis(2_500), "{bad}: {:?}", begun.elapsed());
        let begun = now();
        assert!(login(&directory, "alice", PASSWORD).await.is_ok());
        assert!(begun.elapsed() < Duration::from_millis(300), "{bad}: {:?}", begun.elapsed());
        let alone = DirectoryConfig { servers: vec![bad.clone()], ..lab.ldap() };
        let begun = now();
        let result = login(&crate::support::directory(&alone), "alice", PASSWORD).await;
        assert!(is_unavailable(&result), "{bad}: {result:?}");
        assert!(begun.elapsed() < Duration::from_millis(2_500), "{bad}: {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn c082_connections_that_were_closed_while_idle_are_noticed() {
    let Some(lab) = lab() else { return };
    let _shared = lab.shared().await;
    for (mut config, port, scheme) in
        [(lab.ldap(), lab.slapd("LDAP_PORT"), "ldap"), (lab.ad(), lab.samba("LDAPS_PORT"), "ldaps")]
    {
        let relay = Relay::to(port).await;
        config.servers = vec![relay.url(scheme)];
        let directory = directory(&config);
        for connections in [2, 4, 6] {
            assert!(login(&directory, "alice", PASSWORD).await.is_ok());
            assert!(login(&directory, "alice", PASSWORD).await.is_ok(), "over the same ones");
            assert_eq!(relay.connections(), connections);
            relay.cut().await;
        }
    }
}

#[tokio::test]
async fn c082_connections_that_were_forgotten_on_the_way_are_replaced() {
    let Some(lab) = lab() else { return };
    let relay = Relay::to(lab.slapd("LDAP_PORT")).await;
    let config = DirectoryConfig { servers: vec![relay.url("ldap")], ..lab.ldap() };
    let directory = directory(&config);
    assert!(directory.lookup("alice").await.is_ok());
    relay.swallow();
    tokio::time::sleep(Duration::from_secs(11)).await;
    relay.carry();
    let begun = now();
    assert!(login(&directory, "alice", PASSWORD).await.is_ok());
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn s60_c053_referrals_are_not_followed() {
    let Some(lab) = lab() else { return };
    let _shared = lab.shared().await;
    let attacker = TcpListener::bind(("127.0.0.1", lab.slapd("REFERRAL_PORT"))).await.unwrap();
    // Beside the entry comes a reference to another server, in both directories.
    assert!(login(&directory(&lab.ldap()), "alice", PASSWORD).await.is_ok());
    assert!(login(&directory(&lab.ad()), "alice", PASSWORD).await.is_ok());
    // A name that is nowhere here stays unknown.
    assert_eq!(directory(&lab.ldap()).lookup("nobody").await, Err(LookupError::Unknown));
    assert_eq!(directory(&lab.ad()).lookup("nobody").await, Err(LookupError::Unknown));
    // A base that this server does not hold: an error, and not "nobody has this name".
    for config in [lab.ldap(), lab.ad()] {
        let elsewhere = DirectoryConfig { base_dn: "dc=else,dc=where".to_owned(), ..config };
        let result = directory(&elsewhere).lookup("alice").await;
        let Err(LookupError::Directory(error)) = result else { panic!("{result:?}") };
        // OpenLDAP refers, Samba knows no such object.
        let right = match elsewhere.kind {
            Kind::Ldap => matches!(error, DirectoryError::Referral { .. }),
            Kind::Ad => matches!(error, DirectoryError::Answer { code: 32, .. }),
        };
        assert!(right, "{error:?}");
    }
    let asked = tokio::time::timeout(Duration::from_millis(200), attacker.accept()).await;
    assert!(asked.is_err(), "somebody connected");
}

#[tokio::test]
async fn many_logins_at_once_share_connections() {
    let Some(lab) = lab() else { return };
    let _shared = lab.shared().await;
    for (mut config, port, scheme) in
        [(lab.ldap(), lab.slapd("LDAP_PORT"), "ldap"), (lab.ad(), lab.samba("LDAPS_PORT"), "ldaps")]
    {
        let relay = Relay::to(port).await;
        config.servers = vec![relay.url(scheme)];
        config.max_connections = 4;
        let directory = std::sync::Arc::new(directory(&config));
        let begun = now();
        let mut logins = tokio::task::JoinSet::new();
        for _ in 0..60 {
            let directory = std::sync::Arc::clone(&directory);
            logins.spawn(async move { login(&directory, "alice", PASSWORD).await });
        }
        while let Some(result) = logins.join_next().await {
            assert!(matches!(&result, Ok(Ok(_))), "{result:?}");
        }
        println!("{scheme}: 60 logins in {:?} over {} connections", begun.elapsed(), relay.connections());
        assert!(relay.connections() <= 16, "{}", relay.connections());
    }
}

#[tokio::test]
async fn a_port_that_is_closed_is_told_at_once() {
    let Some(lab) = lab() else { return };
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let config = DirectoryConfig {
        servers: vec![format!("ldaps://127.0.0.1:{closed}"), "ldaps://no-such-host.invalid".to_owned()],
        ..lab.ldap()
    };
    match directory(&config).lookup("alice").await {
        Err(LookupError::Directory(DirectoryError::Unavailable { tried })) => {
            assert!(matches!(tried[0].1, ServerFault::Connect(_)), "{tried:?}");
            assert!(matches!(tried[1].1, ServerFault::HostUnknown(_) | ServerFault::TimedOut(_)), "{tried:?}");
        }
        other => panic!("{other:?}"),
    }
}
