//! Many logins that wait at the same time.

use core::time::Duration;

use countersign_desk::{Bounds, DeskConfig};
use countersign_domain::{
    AuditEvent, Commit, Decision, EventKind, LoginName, Primary, User, UserId, UserOrigin, Write,
};
use countersign_radius::{Code, Limits};
use countersign_testkit::{Ask, Nas, NewResource, Site, SoftDevice};
use tokio::time::Instant;

use crate::house::{House, SECRET, SOON};

const OTHER: NewResource<'_> = NewResource {
    name: "other",
    secret: "the secret of the other client",
    networks: &["127.0.0.2/32"],
    primary: Primary::None,
    answer_by: Duration::from_secs(60),
    require_message_authenticator: true,
    prompt: None,
};
/// Logins of one socket at once: fewer than it has identifiers.
const OF_A_SOCKET: usize = 200;

/// How many: `COUNTERSIGN_SOAK_HELD`, as 50000.
fn many() -> usize {
    std::env::var("COUNTERSIGN_SOAK_HELD").ok().and_then(|text| text.parse().ok()).unwrap_or(3_000)
}

/// Users with a device each, which nobody looks at.
async fn furnish(site: &Site, count: usize) {
    let now = countersign_domain::Clock::now(&*site.clock);
    for begin in (0..count).step_by(500) {
        let mut writes = Vec::new();
        for number in begin..count.min(begin + 500) {
            let id = UserId::new(now, &*site.entropy);
            let name = format!("held{number}");
            writes.push(Write::AddUser(User {
                id,
                origin: UserOrigin::Local,
                name: LoginName::new(&name).unwrap(),
                display_name: name,
                enabled: true,
                held: None,
                password: None,
                created_at: now,
            }));
            writes.push(Write::AddDevice(Box::new(SoftDevice::new(id, now, &*site.entropy).1)));
        }
        let audit = vec![AuditEvent::new(now, EventKind::UserAdded, "test")];
        site.desk.write(Commit { writes, audit }).await.unwrap();
    }
}

/// Sends a login of each user and waits until all of them wait for a phone; the clients that asked.
async fn hold(house: &House, count: usize, seed: u64) -> Vec<Nas> {
    let mut clients = Vec::new();
    for begin in (0..count).step_by(OF_A_SOCKET) {
        let mut nas = Nas::new(house.address, SECRET, seed * 1_000_000 + u64::try_from(begin).unwrap()).await;
        for number in begin..count.min(begin + OF_A_SOCKET) {
            let packet = nas.pack(&Ask::login(format!("held{number}")));
            nas.send(&packet).await;
        }
        let sent = count.min(begin + OF_A_SOCKET);
        house.settled(|house| house.site.desk.figures().pending == sent).await;
        clients.push(nas);
    }
    clients
}

#[tokio::test]
async fn s105_thousands_of_logins_wait_others_are_served_and_all_end_and_nothing_stays() {
    let many = many();
    let limits = Limits { pending: many + 10, pending_per_client: many, ..Limits::default() };
    let bounds = Bounds { logins: many + 10, logins_per_client: many, unapproved_per_resource: usize::MAX };
    let config = DeskConfig { bounds, ..DeskConfig::default() };
    let house = House::with(Site::open_with(78, config).await, "127.0.0.1:0", limits);
    house.add(NewResource { answer_by: Duration::from_secs(300), ..NewResource::default() }).await;
    house.add(OTHER).await;
    furnish(&house.site, many).await;
    let mut dave = house.user("dave", None).await;

    // The second round finds nothing of the first.
    for round in 1..=2 {
        let begun = Instant::now();
        let clients = hold(&house, many, round).await;
        let held_after = begun.elapsed();
        let figures = house.site.desk.figures();
        assert_eq!((figures.logins, figures.pending), (many, many));

        // There is no room for one more of this client, and room for another client.
        let mut nas = Nas::new(house.address, SECRET, 79 + round).await;
        let refused = house.counts().full;
        let packet = nas.pack(&Ask::login("dave"));
        nas.send(&packet).await;
        house.settled(|house| house.counts().full == refused + 1).await;
        let mut other = Nas::at([127, 0, 0, 2].into(), house.address, OTHER.secret, 80 + round).await;
        let packet = other.pack(&Ask::login("dave"));
        other.send(&packet).await;
        house.decide(&mut dave, Decision::Verify).await;
        let reply = other.reply(&packet, SOON).await.unwrap();
        assert_eq!(reply.code(), Code::AccessAccept);

        // All end by their time, each with its reject and its record; none stays.
        let rejects = house.counts().rejects + u64::try_from(many).unwrap();
        house.site.pass(Duration::from_secs(301)).await;
        // As long as it goes on, it may take its time.
        while house.counts().rejects < rejects {
            let before = house.counts().rejects;
            house.settled(|house| house.counts().rejects > before).await;
        }
        let figures = house.site.desk.figures();
        assert_eq!((figures.logins, figures.pending), (0, 0));
        println!("round {round}: {many} wait after {held_after:.1?}; another client's login takes {:.1?}", reply.after);
        drop(clients);
        // What a user may be asked in a day is forgotten, and so are replies and authenticators.
        house.site.pass(Duration::from_hours(25)).await;
    }
    let ends = house.site.ends().await;
    assert_eq!(ends.iter().filter(|end| *end == "reject expired").count(), 2 * many);
    assert_eq!(ends.iter().filter(|end| *end == "accept approved").count(), 2);
    house.stop().await;
}

#[tokio::test]
async fn s105_a_client_that_begins_anew_again_and_again_has_its_share_in_that_too() {
    const SHARE: u64 = 5;
    let limits = Limits { pending_per_client: usize::try_from(SHARE).unwrap(), ..Limits::default() };
    let house = House::with(Site::open(81).await, "127.0.0.1:0", limits);
    let client = house.add(NewResource::default()).await;
    house.add(OTHER).await;
    let mut nas = house.nas(81).await;
    let first = nas.pack(&Ask::login("nobody"));
    nas.send(&first).await;
    for number in 0..4 * SHARE {
        let anew = nas.pack_as(&Ask::login(format!("nobody{number}")), first.identifier);
        nas.send(&anew).await;
    }
    house.settled(|house| house.counts().packets == 4 * SHARE + 1).await;
    let counts = house.counts();
    // On a slow machine the packets may come in more than one second.
    assert!((SHARE..4 * SHARE).contains(&counts.superseding), "{counts:?}");
    assert_eq!(counts.full, 4 * SHARE - counts.superseding);
    assert_eq!(house.figures.client(client).full, counts.full);
    // The others have theirs, and after a second this one has it again.
    let mut other = Nas::at([127, 0, 0, 2].into(), house.address, OTHER.secret, 82).await;
    assert_eq!(other.ask(&Ask::login("nobody"), SOON).await.unwrap().code(), Code::AccessReject);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut again = house.nas(83).await;
    let older = again.pack(&Ask::login("nobody"));
    again.send(&older).await;
    let newer = again.pack_as(&Ask::login("nobody"), older.identifier);
    again.send(&newer).await;
    assert_eq!(again.reply(&newer, SOON).await.unwrap().code(), Code::AccessReject);
    assert_eq!(house.counts().superseding, counts.superseding + 1);
    house.stop().await;
}
