//! MS-CHAP-V2 by proxy: what goes on, what is refused, and in which words.

use countersign_desk::UpstreamAnswer;
use countersign_domain::{Expects, Policy};
use countersign_radius::{AttributeType, Code, vendor};
use countersign_testkit::{Ask, Reply};

use crate::{
    house::{DELAY, SOON},
    upstream::Relay,
};

const CHALLENGE: [u8; 16] = *b"of the client...";
const IDENTIFIER: u8 = 7;

fn response() -> [u8; 50] {
    let mut response = [9; 50];
    response[0] = IDENTIFIER;
    response
}

fn microsoft(ask: Ask, kind: u8, value: impl AsRef<[u8]>) -> Ask {
    ask.with_vendor(vendor::MICROSOFT, kind, value)
}

fn exchange(user: &str, challenge: &[u8], response: &[u8]) -> Ask {
    let ask = microsoft(Ask::login(user), vendor::MS_CHAP_CHALLENGE, challenge);
    microsoft(ask, vendor::MS_CHAP2_RESPONSE, response)
}

async fn vpn(seed: u64) -> Relay {
    Relay::with(seed, Policy { ms_chap: true, ..Policy::default() }).await
}

/// What a reject says beside its code, without the random digits in it.
fn said(reply: &Reply) -> Vec<u8> {
    assert_eq!(reply.code(), Code::AccessReject);
    let view = reply.view();
    let attributes: Vec<_> = view.iter().filter(|one| one.kind != AttributeType::MESSAGE_AUTHENTICATOR).collect();
    assert!(attributes.len() <= 1);
    let Some(error) = view.vendor_attributes(vendor::MICROSOFT, vendor::MS_CHAP_ERROR).next() else {
        return Vec::new();
    };
    let (before, rest) = error.split_at(13);
    let (digits, after) = rest.split_at(32);
    assert!(digits.iter().all(|digit| digit.is_ascii_digit() || (b'A'..=b'F').contains(digit)));
    [before, after].concat()
}

const ERROR: &[u8] = b"\x07E=691 R=0 C= V=3";

#[tokio::test]
async fn s49_the_exchange_goes_on_octet_for_octet_and_success_comes_from_the_upstream() {
    let mut at = vpn(40).await;
    let success = [&vendor::MICROSOFT.to_be_bytes()[..], &[26, 45, IDENTIFIER], &[b'S'; 42]].concat();
    at.accepts(&[(AttributeType::VENDOR_SPECIFIC, &success)], None);
    let granted = at.accepted(&exchange("alice", &CHALLENGE, &response())).await;
    assert_eq!(granted, [(26, success)]);
    let (attributes, password) = at.sent_on();
    let sent = |kind: u8, value: &[u8]| {
        let length = u8::try_from(value.len() + 2).unwrap();
        (26, [&vendor::MICROSOFT.to_be_bytes(), &[kind, length][..], value].concat())
    };
    let exchange = [sent(vendor::MS_CHAP_CHALLENGE, &CHALLENGE), sent(vendor::MS_CHAP2_RESPONSE, &response())];
    assert_eq!((attributes[1..].to_vec(), password), (exchange.to_vec(), None));
    at.house.stop().await;
}

#[tokio::test]
async fn s49_s52_all_rejects_of_an_exchange_say_the_same_and_nobody_is_asked() {
    let mut at = vpn(41).await;
    at.says(UpstreamAnswer::Reject);
    let empty = [&response()[..26], &[0; 24]].concat();
    let challenge = |last: u8| [&CHALLENGE[..15], &[last]].concat();
    let once = exchange("alice", &challenge(1), &response());
    let asks = [
        once.clone(),
        exchange("nobody", &challenge(2), &response()),
        // Malformed, or with another credential beside it.
        exchange("alice", &challenge(3), &response()[..49]),
        exchange("alice", &challenge(4), &[&response()[..], &[9]].concat()),
        exchange("alice", &challenge(5), &empty),
        microsoft(Ask::login("alice"), vendor::MS_CHAP2_RESPONSE, response()),
        exchange("alice", &challenge(6), &response()).password("right"),
        // The challenge of the first.
        once,
        microsoft(Ask::login("alice"), vendor::MS_CHAP2_CPW, [&[7, IDENTIFIER][..], &[9; 66]].concat()),
    ];
    for ask in &asks {
        let reply = at.nas.ask(ask, SOON).await.unwrap();
        assert_eq!(said(&reply), ERROR);
        assert!((DELAY..DELAY * 2).contains(&reply.after), "{:?}", reply.after);
    }
    // Without a response there is no exchange that a word could belong to.
    let half = at.nas.ask(&microsoft(Ask::login("alice"), vendor::MS_CHAP_CHALLENGE, CHALLENGE), SOON).await.unwrap();
    assert_eq!(said(&half), b"");
    let ends = at.house.ends(asks.len() + 1).await;
    assert_eq!((&*ends[0], &*ends[1], &*ends[7]), ("reject password_wrong", "reject user_unknown", "reject replayed"));
    let details: Vec<_> = at.house.site.audit().await.into_iter().filter_map(|record| record.detail).collect();
    assert!(details.iter().any(|detail| detail.contains("MS-CHAP2-CPW")), "{details:?}");
    assert_eq!((at.house.challenges().await, at.played.sent_on.lock().unwrap().len()), (0, 1));
    at.house.stop().await;
}

#[tokio::test]
async fn s49_it_is_refused_where_nobody_has_allowed_it() {
    for (seed, policy) in
        [(42, Policy::default()), (43, Policy { ms_chap: true, credential: Expects::Nothing, ..Policy::default() })]
    {
        let mut at = Relay::with(seed, policy).await;
        at.accepts(&[], None);
        let reply = at.nas.ask(&exchange("alice", &CHALLENGE, &response()), SOON).await.unwrap();
        assert_eq!(said(&reply), ERROR);
        assert_eq!(at.house.ends(1).await, ["reject password_wrong"]);
        assert_eq!((at.house.challenges().await, at.played.sent_on.lock().unwrap().len()), (0, 0));
        at.house.stop().await;
    }
    // The first version of MS-CHAP is refused everywhere.
    let mut at = vpn(44).await;
    at.accepts(&[], None);
    let ask = microsoft(Ask::login("alice"), vendor::MS_CHAP_CHALLENGE, &CHALLENGE[..8]);
    let reply = at.nas.ask(&microsoft(ask, vendor::MS_CHAP_RESPONSE, response()), SOON).await.unwrap();
    assert_eq!(said(&reply), b"");
    assert_eq!(at.played.sent_on.lock().unwrap().len(), 0);
    at.house.stop().await;
}
