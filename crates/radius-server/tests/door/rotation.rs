//! Shared secrets that are changed while logins go on.

use core::time::Duration;

use countersign_domain::{Clock as _, Decision, PreviousSecret, RadiusClient, Secret, Write};
use countersign_radius::{AttributeType, Code};
use countersign_testkit::{Ask, Nas, NewResource};

use crate::house::{DELAY, House, SECRET, SILENCE, SOON};

const NEW: &str = "another secret of the vpn, set today";
const DAY: Duration = Duration::from_hours(24);

impl House {
    /// Changes the secret of the only client, and waits until the door knows it.
    async fn rotate(&self, to: &str, overlap: Option<Duration>) -> RadiusClient {
        self.site.clock.advance(Duration::from_secs(1));
        let (resource, mut clients) = self.site.desk.store().resources().await.unwrap().remove(0);
        let mut client = clients.remove(0);
        let until = overlap.map(|overlap| self.site.clock.now().plus(overlap));
        let before = core::mem::replace(&mut client.secret, Secret::new(to.as_bytes().to_vec()));
        client.previous = until.map(|until| PreviousSecret { secret: before, until });
        let write = Write::SetClient(Box::new(client.clone()));
        self.site.write(write).await;
        let id = client.id;
        self.settled(|house| house.figures.secrets(id).map(|used| used.until) == until).await;
        assert_eq!(client.resource, resource.id);
        client
    }

    async fn speaking(&self, secret: &str, seed: u64) -> Nas {
        Nas::new(self.address, secret, seed).await
    }
}

fn in_one(password: &str) -> Ask {
    Ask::login("alice").password(password)
}

#[tokio::test]
async fn s94_both_secrets_are_valid_until_the_time_is_over_and_then_the_new_one_is() {
    let house = House::bare(300).await;
    let vpn = NewResource { primary: countersign_domain::Primary::Local, ..NewResource::default() };
    let client = house.add(vpn).await;
    let mut phone = house.user("alice", Some("a good password")).await;
    let mut old = house.nas(300).await;
    house.rotate(NEW, Some(DAY)).await;
    let mut new = house.speaking(NEW, 301).await;
    // The password is hidden with the secret, so that it is read by the one that was used, and the reply is signed by it.
    for nas in [&mut old, &mut new] {
        let packet = nas.pack(&in_one("a good password"));
        nas.send(&packet).await;
        house.decide(&mut phone, Decision::Verify).await;
        assert_eq!(nas.reply(&packet, SOON).await.unwrap().code(), Code::AccessAccept);
    }
    let used = house.figures.secrets(client).unwrap();
    assert_eq!((used.previous.packets, used.new.packets), (1, 1));
    assert!(used.previous.last.is_some() && used.new.last.is_some());
    // A third one is neither.
    let mut third = house.speaking("a secret that nobody ever set here", 302).await;
    assert_eq!(third.ask(&in_one("a good password"), SILENCE).await, None);

    house.site.clock.advance(DAY);
    assert_eq!(old.ask(&in_one("a good password"), SILENCE).await, None);
    assert_eq!(house.figures.client(client).bad_authenticator, 2);
    let packet = new.pack(&in_one("a good password"));
    new.send(&packet).await;
    house.decide(&mut phone, Decision::Verify).await;
    assert_eq!(new.reply(&packet, SOON).await.unwrap().code(), Code::AccessAccept);
    house.stop().await;
}

#[tokio::test]
async fn s94_a_login_that_waits_while_the_secret_changes_is_answered_by_the_one_that_it_used() {
    let house = House::vpn(303).await;
    let mut phone = house.user("alice", None).await;
    let mut old = house.nas(303).await;
    let packet = old.pack(&Ask::login("alice"));
    old.send(&packet).await;
    let challenge = phone.asked(&house.site.desk, SOON).await.unwrap();
    let client = house.rotate(NEW, Some(DAY)).await;
    // A retransmission in the meantime belongs to it still.
    old.send(&packet).await;
    house.settled(|house| house.figures.client(client.id).duplicates == 1).await;
    phone.decide(&house.site.desk, &challenge, Decision::Verify).await;
    assert_eq!(old.reply(&packet, SOON).await.unwrap().code(), Code::AccessAccept);
    old.send(&packet).await;
    assert_eq!(old.reply(&packet, SOON).await.unwrap().code(), Code::AccessAccept);
    assert_eq!(house.ends(1).await, ["accept approved"]);
    house.stop().await;
}

#[tokio::test]
async fn s94_without_an_overlap_the_secret_before_is_worth_nothing_at_once() {
    let house = House::vpn(304).await;
    let _phone = house.user("alice", None).await;
    let mut old = house.nas(304).await;
    house.rotate(NEW, Some(DAY)).await;
    house.rotate("a third one, for the second leaked", None).await;
    assert_eq!(old.ask(&Ask::login("alice"), SILENCE).await, None);
    let mut new = house.speaking(NEW, 305).await;
    assert_eq!(new.ask(&Ask::login("alice"), SILENCE).await, None);
    assert_eq!((house.counts().requests, house.challenges().await), (0, 0));
    house.stop().await;
}

/// Without Message-Authenticator nothing tells which secret a packet was made with: it counts as made with the new one, and
/// never gets through by the other.
#[tokio::test]
async fn s94_an_unsigned_request_is_read_by_the_new_secret_alone() {
    let house = House::bare(306).await;
    let client = house
        .add(NewResource {
            primary: countersign_domain::Primary::Local,
            require_message_authenticator: false,
            ..NewResource::default()
        })
        .await;
    let mut phone = house.user("alice", Some("a good password")).await;
    house.rotate(NEW, Some(DAY)).await;
    let old = house.nas(306).await;
    let mut new = house.speaking(NEW, 307).await;
    let mut other = house.speaking(SECRET, 306).await;
    let ask = in_one("a good password").without_message_authenticator();
    let packet = other.pack(&ask);
    other.send(&packet).await;
    house.settled(|house| house.counts().rejects == 1).await;
    assert_eq!(house.ends(1).await, ["reject password_wrong"]);
    let packet = new.pack(&ask);
    new.send(&packet).await;
    house.decide(&mut phone, Decision::Verify).await;
    assert_eq!(new.reply(&packet, SOON + DELAY).await.unwrap().code(), Code::AccessAccept);
    let used = house.figures.secrets(client).unwrap();
    assert_eq!((used.new.packets, used.previous.packets), (0, 0), "they prove nothing");
    drop(old);
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn s94_no_login_fails_while_secrets_change_under_load() {
    const LOGINS: u64 = 100;
    let house = House::patient(308).await;
    let client = house.site.desk.store().resources().await.unwrap().remove(0).1.remove(0).id;
    // Users without a device are turned away; what counts is that each request has its reply, under the secret of whoever asks.
    let secrets: Vec<String> = (0..4).map(|number| format!("secret number {number} of the vpn and us")).collect();
    let load = |from: Option<usize>, seed: u64| {
        let secret = from.map_or(SECRET, |from| secrets[from].as_str());
        let house = &house;
        async move {
            let mut nas = house.speaking(secret, seed).await;
            let mut sent = Vec::new();
            for number in 0..LOGINS {
                let ask = Ask::login(format!("user{seed}-{number}")).with(AttributeType::NAS_PORT, [0, 0, 0, 1]);
                let packet = nas.pack(&ask);
                nas.send(&packet).await;
                sent.push(packet);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            for packet in sent {
                assert_eq!(nas.reply(&packet, SOON).await.expect("a reply").code(), Code::AccessReject);
            }
        }
    };
    for (turn, secret) in secrets.iter().enumerate() {
        let before = turn.checked_sub(1);
        let seed = u64::try_from(turn).unwrap() * 10 + 400;
        let change = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            house.rotate(secret, Some(DAY)).await;
            load(Some(turn), seed + 5).await;
        };
        tokio::join!(change, load(before, seed + 1), load(before, seed + 2));
    }
    assert_eq!(house.figures.client(client).bad_authenticator, 0);
    assert_eq!(house.counts().rejects, 4 * 3 * LOGINS);
    let used = house.figures.secrets(client).unwrap();
    assert!(used.previous.packets > 0 && used.new.packets > 0, "{used:?}");
    house.stop().await;
}
