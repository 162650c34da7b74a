//! Rejects cannot be told apart.

use countersign_domain::{Decision, Primary};
use countersign_radius::{AttributeType, Code};
use countersign_testkit::{Ask, Nas, NewResource, Reply};

use crate::house::{DELAY, House, SOON};

/// Sends all at once and waits for all.
async fn together(nas: &mut Nas, asks: &[Ask]) -> Vec<Reply> {
    let mut packets = Vec::new();
    for ask in asks {
        let packet = nas.pack(ask);
        nas.send(&packet).await;
        packets.push(packet);
    }
    let mut replies = Vec::new();
    for packet in &packets {
        let reply = nas.reply(packet, SOON).await.expect("a reject");
        assert_eq!(reply.code(), Code::AccessReject);
        replies.push(reply);
    }
    replies
}

#[tokio::test]
async fn s52_rejects_before_anybody_was_asked_are_equal_and_take_a_second() {
    let house = House::bare(50).await;
    house.add(NewResource { primary: Primary::Local, ..NewResource::default() }).await;
    let _alice = house.user("alice", Some("right")).await;
    house.site.user("bob", Some("right")).await;
    let carol = house.user("carol", Some("right")).await;
    house.site.disable(carol.user).await;
    let mut nas = house.nas(50).await;
    let replies = together(
        &mut nas,
        &[
            Ask::login("nobody").password("right"),
            Ask::login("alice").password("wrong"),
            Ask::login("alice").password("right,000000"),
            Ask::login("alice"),
            Ask::login("bob").password("right"),
            Ask::login("carol").password("right"),
            Ask::login("carol").password("wrong"),
            Ask::login("alice").password("right").with(AttributeType::STATE, "x"),
            Ask::login("alice").with(AttributeType::CHAP_PASSWORD, [1; 17]),
        ],
    )
    .await;
    for reply in &replies {
        assert_eq!(reply.without_authenticators(), replies[0].without_authenticators());
        assert_eq!(reply.octets.len(), 38);
        assert!(reply.after >= DELAY, "{:?}", reply.after);
    }
    let ends = house.ends(9).await;
    let reasons = ["code_wrong", "expired", "no_device", "password_wrong", "user_disabled", "user_unknown"];
    for reason in reasons {
        assert!(ends.contains(&format!("reject {reason}")), "{reason} is missing in {ends:?}");
    }
    house.stop().await;
}

#[tokio::test]
async fn s52_a_reject_after_a_decision_is_not_delayed() {
    let house = House::vpn(51).await;
    let mut phone = house.user("alice", None).await;
    let mut nas = house.nas(51).await;
    let packet = nas.pack(&Ask::login("alice"));
    nas.send(&packet).await;
    house.decide(&mut phone, Decision::Deny).await;
    let denied = nas.reply(&packet, SOON).await.unwrap();
    assert_eq!(denied.code(), Code::AccessReject);
    assert!(denied.after < DELAY, "{:?}", denied.after);
    let unknown = nas.ask(&Ask::login("nobody"), SOON).await.unwrap();
    assert_eq!(denied.without_authenticators(), unknown.without_authenticators());
    house.stop().await;
}

/// Mann-Whitney U as the number of standard deviations from what chance gives.
fn rank_sum_z(a: &[f64], b: &[f64]) -> f64 {
    let wins: f64 = a.iter().map(|x| b.iter().filter(|y| x > *y).fold(0.0, |sum, _| sum + 1.0)).sum();
    let (n, m) = (a.iter().fold(0.0, |sum, _| sum + 1.0), b.iter().fold(0.0, |sum, _| sum + 1.0));
    let mean: f64 = n * m / 2.0;
    let deviation: f64 = f64::sqrt(n * m * (n + m + 1.0) / 12.0);
    (wins - mean) / deviation
}

/// So far apart, in standard deviations, two kinds of samples lie by chance once in fifteen thousand times.
const APART: f64 = 4.0;
/// How often they must lie apart, each time the same way, to be called different.
const TIMES: usize = 3;

/// Whether one kind takes longer than the other: in every one of so many measurements, since what else the machine does may
/// spoil one of them, and does not spoil three in the same direction.
fn differ(z: &[f64]) -> bool {
    z.len() == TIMES && (z.iter().all(|z| *z > APART) || z.iter().all(|z| *z < -APART))
}

#[test]
fn s107_a_difference_that_is_there_is_found() {
    // What a noisy machine adds: from nothing to 40 ms, the same for both, in an order of its own.
    let noise = |n: u32| f64::from(n.wrapping_mul(2_654_435_761) >> 8) / f64::from(1 << 24) * 0.04;
    let samples = |begin: u32, more: f64| (begin..begin + 40).map(|n| 1.0 + more + noise(n)).collect::<Vec<_>>();
    let measured = |more: f64| (0..3).map(|n| rank_sum_z(&samples(n, 0.0), &samples(n + 7, more))).collect::<Vec<_>>();
    assert!(!differ(&measured(0.0)), "{:?}", measured(0.0));
    assert!(differ(&measured(0.03)) && differ(&measured(-0.03)), "{:?}", measured(0.03));
    assert!(!differ(&[5.0, 5.0, -5.0]) && !differ(&[9.0, 9.0]) && !differ(&[5.0, 5.0, 3.9]));
}

/// So many samples of each kind: `COUNTERSIGN_SOAK_SAMPLES`, as 300.
fn samples() -> usize {
    std::env::var("COUNTERSIGN_SOAK_SAMPLES").ok().and_then(|text| text.parse().ok()).unwrap_or(40)
}

#[tokio::test]
async fn s52_s107_time_does_not_tell_an_unknown_name_from_a_wrong_password() {
    const AT_ONCE: usize = 10;
    let rounds = samples().div_ceil(AT_ONCE);
    let house = House::bare(52).await;
    house.add(NewResource { primary: Primary::Local, ..NewResource::default() }).await;
    let (mut all, mut doubts) = (0, Vec::new());
    while doubts.len() < TIMES {
        let (mut unknown, mut wrong) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let mut asks = Vec::new();
            for n in (0..AT_ONCE).map(|n| (doubts.len() * rounds + round) * AT_ONCE + n) {
                house.site.user(&format!("user{n}"), Some("right")).await;
                // Who comes first has the shorter way; each kind does in half of the pairs.
                let mut pair = [format!("nobody{n}"), format!("user{n}")];
                pair.rotate_left(n % 2);
                asks.extend(pair.map(|name| Ask::login(name).password("wrong")));
            }
            let replies = together(&mut nas_of(&house, all).await, &asks).await;
            for (n, pair) in replies.chunks(2).enumerate() {
                assert!(pair.iter().all(|reply| reply.after >= DELAY), "{pair:?}");
                unknown.push(pair[n % 2].after.as_secs_f64());
                wrong.push(pair[(n + 1) % 2].after.as_secs_f64());
            }
            all += AT_ONCE;
        }
        let z = rank_sum_z(&unknown, &wrong);
        println!("{} samples of each kind: {z:.2} standard deviations apart", unknown.len());
        if z.abs() < APART {
            break;
        }
        doubts.push(z);
        assert!(!differ(&doubts), "{doubts:?} standard deviations apart: {unknown:?} {wrong:?}");
    }
    let ends = house.ends(2 * all).await;
    assert_eq!(ends.iter().filter(|end| *end == "reject password_wrong").count(), all);
    assert_eq!(ends.iter().filter(|end| *end == "reject user_unknown").count(), all);
    house.stop().await;
}

/// A client of its own identifiers, so that none is used twice while its reply is kept.
async fn nas_of(house: &House, number: usize) -> Nas {
    house.nas(520 + u64::try_from(number).unwrap()).await
}
