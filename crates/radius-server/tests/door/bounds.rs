//! Bounds, and clients that come and go.

use countersign_domain::Decision;
use countersign_radius::{AttributeType, Code, Limits};
use countersign_testkit::{Ask, Nas, NewResource, Site};

use crate::house::{House, SECRET, SILENCE, SOON};

const OTHER: NewResource<'_> = NewResource {
    name: "other",
    secret: "the secret of the other client",
    networks: &["127.0.0.2/32"],
    primary: countersign_domain::Primary::None,
    answer_by: core::time::Duration::from_secs(60),
    require_message_authenticator: true,
    prompt: None,
};

#[tokio::test]
async fn s105_a_client_that_is_full_is_turned_away_and_takes_nothing_from_the_others() {
    let limits = Limits { pending: 8, pending_per_client: 3, ..Limits::default() };
    let house = House::with(Site::open(70).await, "127.0.0.1:0", limits);
    let full = house.add(NewResource::default()).await;
    house.add(OTHER).await;
    let mut nas = house.nas(70).await;
    let mut waiting = Vec::new();
    for name in ["alice", "bob", "carol"] {
        let mut phone = house.user(name, None).await;
        let packet = nas.pack(&Ask::login(name));
        nas.send(&packet).await;
        let challenge = phone.asked(&house.site.desk, SOON).await.unwrap();
        waiting.push((packet, phone, challenge));
    }
    let mut dave = house.user("dave", None).await;
    let fourth = nas.pack(&Ask::login("dave"));
    nas.send(&fourth).await;
    assert_eq!(nas.reply(&fourth, SILENCE).await, None);
    assert_eq!(house.figures.client(full).full, 1);

    let mut other = Nas::at([127, 0, 0, 2].into(), house.address, OTHER.secret, 71).await;
    let packet = other.pack(&Ask::login("dave"));
    other.send(&packet).await;
    house.decide(&mut dave, Decision::Verify).await;
    assert_eq!(other.reply(&packet, SOON).await.unwrap().code(), Code::AccessAccept);

    // Those that waited were not dropped, and there is room again.
    for (packet, phone, challenge) in &waiting {
        phone.decide(&house.site.desk, challenge, Decision::Verify).await;
        assert_eq!(nas.reply(packet, SOON).await.unwrap().code(), Code::AccessAccept);
    }
    nas.send(&fourth).await;
    house.decide(&mut dave, Decision::Verify).await;
    assert_eq!(nas.reply(&fourth, SOON).await.unwrap().code(), Code::AccessAccept);
    house.stop().await;
}

#[tokio::test]
async fn s105_a_request_whose_login_was_taken_over_takes_no_room() {
    let limits = Limits { pending_per_client: 2, ..Limits::default() };
    let house = House::with(Site::open(75).await, "127.0.0.1:0", limits);
    house.add(NewResource::default()).await;
    let mut alice = house.user("alice", None).await;
    let mut bob = house.user("bob", None).await;
    let mut nas = house.nas(75).await;
    let retry = Ask::login("alice").with(AttributeType::CALLING_STATION_ID, "x").with(AttributeType::NAS_PORT, [0; 4]);
    let older = nas.pack(&retry);
    nas.send(&older).await;
    let challenge = alice.asked(&house.site.desk, SOON).await.unwrap();
    let newer = nas.pack(&retry);
    nas.send(&newer).await;
    assert_eq!(house.ends(1).await, ["unanswered superseded"]);
    let packet = nas.pack(&Ask::login("bob"));
    nas.send(&packet).await;
    house.decide(&mut bob, Decision::Verify).await;
    assert_eq!(nas.reply(&packet, SOON).await.unwrap().code(), Code::AccessAccept);
    alice.decide(&house.site.desk, &challenge, Decision::Verify).await;
    assert_eq!(nas.reply(&newer, SOON).await.unwrap().code(), Code::AccessAccept);
    house.stop().await;
}

#[tokio::test]
async fn a_client_that_is_removed_is_a_stranger_at_once_and_its_logins_end() {
    let house = House::bare(72).await;
    let (resource, client) = house.site.rows(NewResource::default());
    let add = |resource: &countersign_domain::Resource, client: &countersign_domain::RadiusClient| {
        countersign_domain::Write::AddResource {
            resource: Box::new(resource.clone()),
            client: Box::new(client.clone()),
        }
    };
    house.site.write(add(&resource, &client)).await;
    house.settled(|house| house.figures.clients().len() == 1).await;
    let mut phone = house.user("alice", None).await;
    let mut nas = house.nas(72).await;
    let packet = nas.pack(&Ask::login("alice"));
    nas.send(&packet).await;
    let challenge = phone.asked(&house.site.desk, SOON).await.unwrap();

    // Another secret: what is pending cannot be answered any more in a way that the client believes.
    let mut changed = client.clone();
    changed.secret = countersign_domain::Secret::new(b"the secret after the change".to_vec());
    let set =
        countersign_domain::Write::SetResource { resource: Box::new(resource.clone()), client: Box::new(changed) };
    house.site.write(set).await;
    assert_eq!(house.ends(1).await, ["unanswered superseded"]);
    phone.decide(&house.site.desk, &challenge, Decision::Verify).await;
    assert_eq!(nas.reply(&packet, SILENCE).await, None);
    assert_eq!(nas.ask(&Ask::status(), SILENCE).await, None);
    let mut after = Nas::new(house.address, "the secret after the change", 73).await;
    assert_eq!(after.ask(&Ask::status(), SOON).await.unwrap().code(), Code::AccessAccept);

    house.site.remove_resource(resource.id).await;
    house.settled(|house| house.figures.clients().is_empty()).await;
    let strangers = house.counts().unknown_source;
    assert_eq!(after.ask(&Ask::status(), SILENCE).await, None);
    assert_eq!(house.counts().unknown_source, strangers + 1);
    house.stop().await;
}

#[tokio::test]
async fn a_verdict_that_is_there_when_the_door_closes_still_leaves() {
    let house = House::vpn(74).await;
    let mut phone = house.user("alice", None).await;
    let mut nas = Nas::new(house.address, SECRET, 74).await;
    let packet = nas.pack(&Ask::login("alice"));
    nas.send(&packet).await;
    house.decide(&mut phone, Decision::Verify).await;
    // The decision is durable; whether or not the door has sent the reply yet, it does before it ends.
    house.stop().await;
    assert_eq!(nas.reply(&packet, SOON).await.unwrap().code(), Code::AccessAccept);
}

/// Wrong passwords of many users at once: a bounded number is hashed, the others are refused unseen, and a login that
/// needs no hash is through before them.
#[tokio::test]
async fn s106_slow_hashing_is_fenced_and_holds_nobody_else_up() {
    const FLOOD: usize = 150;
    let house = House::bare(76).await;
    house.add(NewResource { primary: countersign_domain::Primary::Local, ..NewResource::default() }).await;
    house.add(OTHER).await;
    let mut nas = house.nas(76).await;
    for number in 0..FLOOD {
        let name = format!("nobody{number}");
        let packet = nas.pack(&Ask::login(&name).password("x".repeat(128)));
        nas.send(&packet).await;
    }
    let mut dave = house.user("dave", None).await;
    let mut other = Nas::at([127, 0, 0, 2].into(), house.address, OTHER.secret, 77).await;
    let packet = other.pack(&Ask::login("dave"));
    other.send(&packet).await;
    house.decide(&mut dave, Decision::Verify).await;
    assert_eq!(other.reply(&packet, SOON).await.unwrap().code(), Code::AccessAccept);
    let ends = house.ends(FLOOD + 1).await;
    let count = |end: &str| ends.iter().filter(|other| *other == end).count();
    assert_eq!((count("accept approved"), count("reject user_unknown") + count("reject limited")), (1, FLOOD));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    assert!(count("reject user_unknown") < FLOOD && count("reject limited") >= FLOOD - 64 - 8 * cores, "{ends:?}");
    house.stop().await;
}
