//! One client that speaks for several resources, and clients that write text in their own way.

use countersign_domain::{
    AuditRecord, Charset, ClientId, Decision, MatchAttribute, MatchRule, Primary, RadiusClient, ReplyAttribute,
    ReplyRule, Resource, ResourceId, Write,
};
use countersign_radius::{AttributeType, Code, vendor};
use countersign_testkit::{Ask, NewResource};

use crate::house::{House, SOON};

/// Adds a resource as it is changed, and waits until the door knows its client.
async fn add(
    house: &House,
    new: NewResource<'_>,
    change: impl FnOnce(&mut Resource, &mut RadiusClient),
) -> (ResourceId, ClientId) {
    let (mut resource, mut client) = house.site.rows(new);
    change(&mut resource, &mut client);
    let ids = (resource.id, client.id);
    house.site.write(Write::AddResource { resource: Box::new(resource), client: Box::new(client) }).await;
    house.settled(|house| house.figures.clients().iter().any(|(known, _)| *known == ids.1)).await;
    ids
}

fn elsewhere<'a>(name: &'a str, secret: &'a str, networks: &'a [&'a str], primary: Primary) -> NewResource<'a> {
    NewResource { name, secret, networks, primary, ..NewResource::default() }
}

fn rule(attribute: MatchAttribute, value: &str, resource: ResourceId) -> MatchRule {
    MatchRule { attribute, value: value.to_owned(), resource }
}

type Change<'a> = Box<dyn Fn(Ask) -> Ask + 'a>;

async fn last_end(house: &House, count: usize) -> AuditRecord {
    house.ends(count).await;
    let audit = house.site.audit().await;
    audit.into_iter().rev().find(|record| record.event == "login.ended").unwrap()
}

#[tokio::test]
async fn the_first_rule_that_fits_says_what_a_request_is_for() {
    let house = House::bare(80).await;
    let vpn = elsewhere("vpn", "a secret of the vpn and of nobody else", &["192.0.2.1/32"], Primary::Local);
    let wlan = elsewhere("wlan", "a secret of the wlan and of nobody else", &["192.0.2.2/32"], Primary::Local);
    let (vpn, _) = add(&house, vpn, |_, _| {}).await;
    let (wlan, _) = add(&house, wlan, |_, _| {}).await;
    let nps = NewResource { name: "gateway", ..NewResource::default() };
    let (gateway, client) = add(&house, nps, |_, client| {
        client.rules = vec![
            rule(MatchAttribute::NasIdentifier, "vpn1", vpn),
            rule(MatchAttribute::NasPortType, "Wireless-802.11", wlan),
            rule(MatchAttribute::MsNetworkAccessServerType, "2", vpn),
        ];
    })
    .await;
    let mut nas = house.nas(80).await;
    let server_type = |kind| (vendor::MICROSOFT, vendor::MS_NETWORK_ACCESS_SERVER_TYPE, [0, 0, 0, kind]);
    let of_type = |ask: Ask, (vendor, kind, value): (u32, u8, [u8; 4])| ask.with_vendor(vendor, kind, value);
    let vpn1 = |ask: Ask| ask.with(AttributeType::NAS_IDENTIFIER, "VPN1");
    let wireless = |ask: Ask| ask.with(AttributeType::NAS_PORT_TYPE, [0, 0, 0, 19]);
    let requests: Vec<(Change<'_>, ResourceId)> = vec![
        (Box::new(|ask| of_type(ask, server_type(1))), gateway),
        (Box::new(|ask| vpn1(ask).password("correct horse")), vpn),
        (Box::new(|ask| wireless(ask).password("correct horse")), wlan),
        (Box::new(|ask| of_type(ask, server_type(2)).password("correct horse")), vpn),
        // Where two fit, the first counts.
        (Box::new(|ask| vpn1(wireless(ask)).password("correct horse")), vpn),
    ];
    for (count, (change, resource)) in (1..).zip(requests) {
        let name = format!("user{count}");
        let mut phone = house.user(&name, Some("correct horse")).await;
        let packet = nas.pack(&change(Ask::login(&name)));
        nas.send(&packet).await;
        house.decide(&mut phone, Decision::Verify).await;
        assert_eq!(nas.reply(&packet, SOON).await.unwrap().code(), Code::AccessAccept);
        let end = last_end(&house, count).await;
        assert_eq!((end.resource, end.client), (Some(resource.to_string()), Some(client.to_string())), "{name}");
    }
    // The password that the gateway needs not is needed where a rule leads.
    assert_eq!(nas.ask(&vpn1(Ask::login("user1")), SOON).await.unwrap().code(), Code::AccessReject);
    let end = last_end(&house, 6).await;
    assert_eq!((end.resource, end.reason.as_deref()), (Some(vpn.to_string()), Some("password_wrong")));
    assert_eq!(house.challenges().await, 5);
    house.stop().await;
}

#[tokio::test]
async fn s55_an_accept_says_what_the_policy_says_and_nothing_of_the_request() {
    let house = House::bare(83).await;
    let attribute = |name: &str, value: &str| ReplyAttribute { name: name.to_owned(), value: value.to_owned() };
    add(&house, NewResource::default(), |resource, _| {
        let everybody = vec![attribute("Class", "vpn-users"), attribute("Session-Timeout", "28800")];
        let admins = vec![attribute("Cisco-AVPair", "shell:priv-lvl=15")];
        resource.policy.reply = vec![
            ReplyRule { group: None, attributes: everybody },
            // Who was added here is in no group, whatever the request says.
            ReplyRule { group: Some("admins".to_owned()), attributes: admins },
        ];
    })
    .await;
    let mut phone = house.user("alice", None).await;
    let mut nas = house.nas(83).await;
    let ask = Ask::login("alice")
        .with_vendor(9, 1, "shell:priv-lvl=15")
        .with(AttributeType::CLASS, "admins")
        .with(AttributeType::FILTER_ID, "all")
        .with(AttributeType::SESSION_TIMEOUT, [0xff; 4])
        .with(AttributeType::PROXY_STATE, "p");
    for (decision, expected) in [
        (Decision::Verify, vec![(25, b"vpn-users".to_vec()), (27, vec![0, 0, 0x70, 0x80]), (33, b"p".to_vec())]),
        (Decision::Deny, vec![(33, b"p".to_vec())]),
    ] {
        let packet = nas.pack(&ask);
        nas.send(&packet).await;
        house.decide(&mut phone, decision).await;
        let reply = nas.reply(&packet, SOON).await.unwrap();
        let behind: Vec<_> = reply.view().iter().skip(1).map(|a| (a.kind.0, a.value.to_vec())).collect();
        assert_eq!(behind, expected);
        // And the same octets again.
        nas.send(&packet).await;
        assert_eq!(nas.reply(&packet, SOON).await.unwrap().octets, reply.octets);
    }
    house.stop().await;
}

#[tokio::test]
async fn s50_a_rule_that_would_weaken_lets_nobody_in_by_what_a_request_says() {
    let house = House::bare(81).await;
    let open = elsewhere("gateway", "a secret of the gateway and no other", &["192.0.2.1/32"], Primary::None);
    let (open, _) = add(&house, open, |_, _| {}).await;
    let vpn = NewResource { primary: Primary::Local, ..NewResource::default() };
    // As an older database, or somebody with an editor, could have it.
    add(&house, vpn, |_, client| client.rules = vec![rule(MatchAttribute::NasIdentifier, "gateway", open)]).await;
    let mut phone = house.user("alice", Some("correct horse")).await;
    let mut nas = house.nas(81).await;
    let asks = Ask::login("alice").with(AttributeType::NAS_IDENTIFIER, "gateway");
    for ask in [asks.clone(), asks.password("correct horse")] {
        assert_eq!(nas.ask(&ask, SOON).await.unwrap().code(), Code::AccessReject);
    }
    let end = last_end(&house, 2).await;
    assert_eq!(end.reason.as_deref(), Some("unavailable"));
    assert!(end.detail.is_some_and(|detail| detail.contains("gateway") && detail.contains("first factor")));
    assert_eq!(house.challenges().await, 0);
    // What the rule does not fit goes on.
    let packet = nas.pack(&Ask::login("alice").password("correct horse"));
    nas.send(&packet).await;
    house.decide(&mut phone, Decision::Verify).await;
    assert_eq!(nas.reply(&packet, SOON).await.unwrap().code(), Code::AccessAccept);
    house.stop().await;
}

#[tokio::test]
async fn c016_a_client_that_sends_latin_1_is_understood_where_that_is_set() {
    let house = House::bare(82).await;
    let vpn = NewResource { primary: Primary::Local, ..NewResource::default() };
    add(&house, vpn, |resource, _| resource.policy.charset = Charset::Windows1252).await;
    let mut phone = house.user("kölbel", Some("Azértè01")).await;
    let mut nas = house.nas(82).await;
    let latin = [0x41, 0x7A, 0xE9, 0x72, 0x74, 0xE8, 0x30, 0x31];
    let packet = nas.pack(&Ask::login(b"K\xd6LBEL").password(latin));
    nas.send(&packet).await;
    house.decide(&mut phone, Decision::Verify).await;
    assert_eq!(nas.reply(&packet, SOON).await.unwrap().code(), Code::AccessAccept);
    let end = last_end(&house, 1).await;
    assert_eq!(end.user_typed.as_deref(), Some("KÖLBEL".as_bytes()));
    // UTF-8 is now something else, and nothing becomes of a name that would not fit.
    let twice = Ask::login("kölbel").password("Azértè01");
    let long = Ask::login([0xFC; 200]).password(latin);
    for ask in [twice, long] {
        assert_eq!(nas.ask(&ask, SOON).await.unwrap().code(), Code::AccessReject);
    }
    assert_eq!(house.ends(3).await[1..], ["reject user_unknown", "reject user_unknown"]);
    house.stop().await;
}
