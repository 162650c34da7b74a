//! Several logins of one user at once.

use core::time::Duration;
use std::sync::Arc;

use countersign_domain::{Clock as _, Decision, Entropy};
use countersign_radius::{AttributeType, Code};
use countersign_testkit::{Ask, Nas, NewResource, SeededEntropy, SoftDevice};
use tokio::task::JoinSet;

use crate::house::{House, SOON};

#[tokio::test]
async fn c112_of_five_logins_at_once_each_gets_an_answer() {
    let house = House::bare(80).await;
    house.add(NewResource { answer_by: Duration::from_millis(700), ..NewResource::default() }).await;
    let _phone = house.user("alice", None).await;
    let mut nas = house.nas(80).await;
    let mut packets = Vec::new();
    for port in 0..5 {
        let packet = nas.pack(&Ask::login("alice").with(AttributeType::NAS_PORT, [0, 0, 0, port]));
        nas.send(&packet).await;
        packets.push(packet);
    }
    for packet in &packets {
        assert_eq!(nas.reply(packet, SOON).await.expect("an answer").code(), Code::AccessReject);
    }
    assert_eq!(house.ends(5).await.len(), 5);
    house.stop().await;
}

#[tokio::test]
async fn c040_one_code_from_two_places_lets_one_in() {
    let house = House::vpn(81).await;
    let mut codes = JoinSet::new();
    let house = Arc::new(house);
    for n in 0..20 {
        let phone = house.user(&format!("user{n}"), None).await;
        let code = phone.code(house.site.clock.now());
        let house = Arc::clone(&house);
        codes.spawn(async move {
            let (mut a, mut b) = (house.nas(n).await, house.nas(n + 100).await);
            let ask = Ask::login(format!("user{n}")).password(code);
            let (a, b) = tokio::join!(a.ask(&ask, SOON), b.ask(&ask, SOON));
            let accepted = [a, b].into_iter().flatten().filter(|reply| reply.code() == Code::AccessAccept).count();
            assert_eq!(accepted, 1);
        });
    }
    codes.join_all().await;
}

/// How the two requests differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Other {
    /// Somebody else, from elsewhere.
    Elsewhere,
    /// Somebody else who says that they sit where the user does.
    SameSource,
    /// No mark tells them apart, and none says that they are one.
    Unmarked,
}

impl Other {
    fn ask(self, user: &str, mine: bool) -> Ask {
        let ask = Ask::login(user);
        let port = [0, 0, 0, u8::from(mine)];
        match self {
            Self::Elsewhere => {
                let address = if mine { "203.0.113.7" } else { "198.51.100.9" };
                ask.with(AttributeType::CALLING_STATION_ID, address).with(AttributeType::NAS_PORT, port)
            }
            Self::SameSource => {
                ask.with(AttributeType::CALLING_STATION_ID, "203.0.113.7").with(AttributeType::NAS_PORT, port)
            }
            Self::Unmarked => ask,
        }
    }
}

/// One run: the user's login and another one, apart by up to `2 * SPREAD` either way, and a Verify some time after the
/// user's own login.
async fn run(house: Arc<House>, seed: u64, mut phone: SoftDevice, user: String) -> (bool, bool) {
    const SPREAD: u64 = 60;
    let entropy = SeededEntropy::new(seed);
    let random = |bound: u64| {
        let octets = <dyn Entropy>::octets::<8>(&entropy);
        Duration::from_millis(u64::from_le_bytes(octets) % (bound + 1))
    };
    let other = [Other::Elsewhere, Other::SameSource, Other::Unmarked][usize::try_from(seed % 3).unwrap()];
    let (mine_after, others_after, verify_after) = (random(SPREAD), random(2 * SPREAD), random(SPREAD));

    let ask = |mine: bool, after: Duration| {
        let (house, user) = (Arc::clone(&house), user.clone());
        async move {
            let mut nas: Nas = house.nas(seed * 2 + u64::from(mine)).await;
            tokio::time::sleep(after).await;
            let reply = nas.ask(&other.ask(&user, mine), SOON).await.expect("each gets an answer");
            reply.code() == Code::AccessAccept
        }
    };
    let decide = async {
        // The user looks at the phone after having logged on, and takes what is there for the own login.
        tokio::time::sleep(mine_after + verify_after).await;
        let Some(challenge) = phone.asked(&house.site.desk, Duration::from_millis(500)).await else { return };
        let own = other != Other::Elsewhere || String::from_utf8_lossy(&challenge.context).contains("203.0.113.7");
        let decision = if own { Decision::Verify } else { Decision::Deny };
        phone.decide(&house.site.desk, &challenge, decision).await;
    };
    let (mine, others, ()) = tokio::join!(ask(true, mine_after), ask(false, others_after), decide);
    assert!(!(mine && others), "seed {seed}: both were accepted");
    if other == Other::Elsewhere {
        assert!(!others, "seed {seed}: the other one was accepted");
    }
    (mine, others)
}

#[tokio::test]
async fn s02_of_two_logins_at_once_the_other_one_is_never_accepted() {
    const RUNS: u64 = 300;
    let house = Arc::new(House::patient(82).await);
    let mut phones = Vec::new();
    for seed in 0..RUNS {
        let user = format!("user{seed}");
        phones.push((seed, house.user(&user, None).await, user));
    }
    let (mut mine_alone, mut neither) = (0, 0);
    let mut runs = JoinSet::new();
    for (seed, phone, user) in phones {
        runs.spawn(run(Arc::clone(&house), seed, phone, user));
        if runs.len() >= 60 {
            tally(runs.join_next().await, &mut mine_alone, &mut neither);
        }
    }
    while let Some(done) = runs.join_next().await {
        tally(Some(done), &mut mine_alone, &mut neither);
    }
    // Both kinds of outcome were met, or the delays prove nothing.
    assert!(mine_alone > 10 && neither > 10, "{mine_alone} accepted, {neither} collided");
}

fn tally(done: Option<Result<(bool, bool), tokio::task::JoinError>>, mine_alone: &mut u32, neither: &mut u32) {
    match done.expect("a run").expect("no run fails") {
        (true, _) => *mine_alone += 1,
        (false, false) => *neither += 1,
        (false, true) => {}
    }
}
