//! Addresses and ports.

use std::sync::Arc;

use countersign_domain::Decision;
use countersign_radius::{Code, Limits};
use countersign_radius_server::{BindError, Config, ProxyMark, RadiusServer};
use countersign_testkit::{Ask, Nas, NewResource, Site};

use crate::house::{House, SECRET, SOON};

#[tokio::test]
async fn c076_a_reply_leaves_from_the_address_that_was_asked() {
    let house = House::with(Site::open(60).await, "0.0.0.0:0", Limits::default());
    house.add(NewResource::default()).await;
    let mut phone = house.user("alice", None).await;
    for last in [1, 2, 77] {
        // The socket hears nothing that comes from another address.
        let asked = ([127, 0, 0, last], house.address.port()).into();
        let mut nas = Nas::new(asked, SECRET, 60 + u64::from(last)).await;
        assert_eq!(nas.ask(&Ask::status(), SOON).await.expect("an answer at once").code(), Code::AccessAccept);
        let packet = nas.pack(&Ask::login("alice"));
        nas.send(&packet).await;
        house.decide(&mut phone, Decision::Verify).await;
        assert_eq!(nas.reply(&packet, SOON).await.expect("an answer later").code(), Code::AccessAccept);
        nas.send(&packet).await;
        assert_eq!(nas.reply(&packet, SOON).await.expect("the same again").code(), Code::AccessAccept);
    }
    house.stop().await;
}

#[tokio::test]
async fn one_socket_may_serve_both_families() {
    let house = House::with(Site::open(61).await, "[::]:0", Limits::default());
    house.add(NewResource { networks: &["127.0.0.1/32", "::1/128"], ..NewResource::default() }).await;
    let mut phone = house.user("alice", None).await;
    for (seed, local, asked) in [(61, "127.0.0.1", "127.0.0.2"), (62, "::1", "::1")] {
        let asked = std::net::SocketAddr::new(asked.parse().unwrap(), house.address.port());
        let mut nas = Nas::at(local.parse().unwrap(), asked, SECRET, seed).await;
        let packet = nas.pack(&Ask::login("alice").with(countersign_radius::AttributeType::NAS_PORT, [9; 4]));
        nas.send(&packet).await;
        house.decide(&mut phone, Decision::Verify).await;
        assert_eq!(nas.reply(&packet, SOON).await.expect("an answer").code(), Code::AccessAccept);
    }
    house.stop().await;
}

#[tokio::test]
async fn a_port_that_cannot_be_had_is_named_with_what_to_do() {
    let house = House::bare(62).await;
    let refused = |listen: &[&str]| {
        let listen = listen.iter().map(|address| address.parse().unwrap()).collect();
        let config =
            Config { listen, limits: Limits::default(), mark: ProxyMark::new([7; 16]), tls: None, accounting: None };
        RadiusServer::bind(config, Arc::clone(&house.site.desk)).err().expect("it cannot be bound")
    };
    let taken = refused(&[&house.address.to_string()]);
    assert!(matches!(taken, BindError::Taken { address, .. } if address == house.address));
    assert!(taken.to_string().contains(&house.address.to_string()) && taken.to_string().contains("[radius] listen"));
    assert!(matches!(refused(&["192.0.2.1:1812"]), BindError::NotHere { .. }));
    assert!(matches!(refused(&[]), BindError::NoAddress { .. }));
    // A port that is free now.
    let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let twice = refused(&[&format!("0.0.0.0:{port}"), &format!("127.0.0.1:{port}")]);
    assert!(matches!(twice, BindError::Covered { .. }), "{twice}");
    house.stop().await;
}

#[tokio::test]
async fn several_sockets_serve_side_by_side() {
    let site = Site::open(63).await;
    let listen = ["127.0.0.1:0", "127.0.0.2:0"].map(|address| address.parse().unwrap()).to_vec();
    let server = RadiusServer::bind(
        Config { listen, limits: Limits::default(), mark: ProxyMark::new([7; 16]), tls: None, accounting: None },
        Arc::clone(&site.desk),
    )
    .unwrap();
    let addresses = server.local_addrs().collect::<Vec<_>>();
    site.resource(NewResource::default()).await;
    let shutdown = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(server.run(shutdown.clone()));
    for (seed, address) in (0..).zip(&addresses) {
        let mut nas = Nas::new(*address, SECRET, seed).await;
        assert_eq!(nas.ask(&Ask::status(), SOON).await.expect("an answer").code(), Code::AccessAccept);
        assert_eq!(nas.ask(&Ask::login("nobody"), SOON).await.expect("an answer").code(), Code::AccessReject);
    }
    shutdown.cancel();
    running.await.unwrap();
}
