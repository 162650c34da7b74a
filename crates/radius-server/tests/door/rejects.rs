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

#[tokio::test]
async fn s52_s107_time_does_not_tell_an_unknown_name_from_a_wrong_password() {
    const SAMPLES: usize = 40;
    const AT_ONCE: usize = 10;
    let house = House::bare(52).await;
    house.add(NewResource { primary: Primary::Local, ..NewResource::default() }).await;
    for n in 0..SAMPLES {
        house.site.user(&format!("user{n}"), Some("right")).await;
    }
    let mut nas = house.nas(52).await;
    let (mut unknown, mut wrong) = (Vec::new(), Vec::new());
    for round in 0..SAMPLES / AT_ONCE {
        let names = (round * AT_ONCE)..((round + 1) * AT_ONCE);
        let asks = names
            .flat_map(|n| [format!("nobody{n}"), format!("user{n}")])
            .map(|name| Ask::login(name).password("wrong"))
            .collect::<Vec<_>>();
        for pair in together(&mut nas, &asks).await.chunks(2) {
            unknown.push(pair[0].after);
            wrong.push(pair[1].after);
        }
    }
    assert!(unknown.iter().chain(&wrong).all(|after| *after >= DELAY));
    let seconds =
        |times: &[core::time::Duration]| times.iter().map(core::time::Duration::as_secs_f64).collect::<Vec<_>>();
    let z = rank_sum_z(&seconds(&unknown), &seconds(&wrong));
    assert!(z.abs() < 4.0, "{z} standard deviations apart: {unknown:?} {wrong:?}");
    let ends = house.ends(2 * SAMPLES).await;
    assert_eq!(ends.iter().filter(|end| *end == "reject password_wrong").count(), SAMPLES);
    assert_eq!(ends.iter().filter(|end| *end == "reject user_unknown").count(), SAMPLES);
    house.stop().await;
}
