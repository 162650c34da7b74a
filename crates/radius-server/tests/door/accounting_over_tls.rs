//! Accounting over connections (RFC 6614 section 2.1: one port for all).

use core::time::Duration;
use std::sync::Arc;

use countersign_domain::{Decision, Primary, Resource, Write};
use countersign_radius::{
    AttributeList, Authenticator, Code, Identifier, Limits, SharedSecret, encode_accounting_request,
    verify_accounting_response,
};
use countersign_radius_server::{AccountingCounts, StreamBounds, accounting_over_connections};
use countersign_testkit::Ask;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    accounting::{Played, bind, proxy_states, record, upstream},
    house::{SILENCE, SOON},
    streams::{Caller, Secure},
};

/// A house that takes accounting over TLS.
struct Books {
    secure: Secure,
    played: Arc<Played>,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

impl Books {
    async fn of(seed: u64, keeps: bool, bounds: StreamBounds) -> Self {
        let (giver, taker) = accounting_over_connections();
        let secure = Secure::with_accounting(seed, Limits::default(), bounds, Some(giver)).await;
        let played = Played::new(keeps);
        let server = bind(&secure.house, "127.0.0.1:0", played.clone(), Limits::default(), Some(taker)).unwrap();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(server.run(shutdown.clone()));
        Self { secure, played, shutdown, running }
    }

    /// Behind whose client there is nobody.
    async fn plain(seed: u64) -> Self {
        Self::of(seed, false, StreamBounds::default()).await
    }

    /// Whose client's resource has an upstream that keeps accounting.
    async fn with_upstream(seed: u64) -> Self {
        let books = Self::of(seed, true, StreamBounds::default()).await;
        let site = &books.secure.house.site;
        let id = upstream(site).await;
        let (resource, client) = books.secure.client.clone();
        let resource = Resource { upstream: Some(id), primary: Primary::Radius, ..resource };
        site.write(Write::SetResource { resource: Box::new(resource), client: Box::new(client) }).await;
        // The door looks at this before it takes another packet.
        let mut known = site.desk.resources();
        let is_known = known.wait_for(|table| table.seats().iter().all(|seat| seat.resource.upstream == Some(id)));
        drop(timeout(SOON, is_known).await.expect("the desk knows it").unwrap());
        books
    }

    fn counts(&self) -> AccountingCounts {
        self.secure.house.figures.accounting()
    }

    async fn settled(&self, done: impl Fn(AccountingCounts) -> bool) {
        self.secure.house.settled(|house| done(house.figures.accounting())).await;
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap();
        self.secure.house.stop().await;
    }
}

/// A record under the secret of all who speak TLS.
struct Record {
    identifier: Identifier,
    authenticator: Authenticator,
    octets: Vec<u8>,
}

impl Record {
    fn new(identifier: u8, attributes: &AttributeList) -> Self {
        let identifier = Identifier(identifier);
        let (authenticator, octets) =
            encode_accounting_request(identifier, &SharedSecret::radsec(), attributes).unwrap();
        Self { identifier, authenticator, octets }
    }

    /// The values of the attributes of its response, which comes next.
    async fn response(&self, caller: &mut Caller) -> Vec<(u8, Vec<u8>)> {
        let (_, _, octets) = caller.next().await.expect("a response");
        let secret = SharedSecret::radsec();
        let view = verify_accounting_response(&octets, &self.authenticator, self.identifier, &secret).unwrap();
        view.iter().map(|attribute| (attribute.kind.0, attribute.value.to_vec())).collect()
    }
}

#[tokio::test]
async fn s54_a_record_over_tls_is_answered_beside_logins_and_ends_none() {
    let books = Books::plain(320).await;
    let house = &books.secure.house;
    let mut alice = house.user("alice", None).await;
    let mut vpn = books.secure.vpn().await;
    let login = vpn.pack(&Ask::login("alice"));
    vpn.send(&login.octets).await;
    let challenge = alice.asked(&house.site.desk, SOON).await.unwrap();
    let before = house.site.audit().await.len();
    // Under the identifier of the login that waits, and twice.
    let stop = Record::new(login.identifier.0, &record(2));
    for _ in 0..2 {
        vpn.send(&stop.octets).await;
        assert_eq!(stop.response(&mut vpn).await, proxy_states());
    }
    let counts = books.counts();
    assert_eq!((counts.packets, counts.requests, counts.responses, counts.cached_resent), (2, 1, 1, 1));
    assert_eq!(house.figures.client(books.secure.client.1.id).accounting, 1);
    assert_eq!((house.site.audit().await.len(), house.counts().requests), (before, 1), "nothing is written of it");
    alice.decide(&house.site.desk, &challenge, Decision::Verify).await;
    let (code, identifier, _) = vpn.next().await.unwrap();
    assert_eq!((code, identifier), (Code::AccessAccept, login.identifier.0));
    assert_eq!(house.ends(1).await, ["accept approved"]);
    // Changes of authorisation are not taken here either.
    for (asks, answers) in [(40, 42), (43, 45)] {
        vpn.send(&[&[asks, 9, 0, 20][..], &[7; 16]].concat()).await;
        assert_eq!(vpn.next().await.unwrap().0, Code::from(answers));
    }
    books.stop().await;
}

#[tokio::test]
async fn a_record_over_tls_goes_on_and_its_response_comes_by_its_own_connection() {
    let books = Books::with_upstream(321).await;
    let (mut one, mut two) = (books.secure.vpn().await, books.secure.vpn().await);
    let start = Record::new(7, &record(1));
    one.send(&start.octets).await;
    books.settled(|counts| counts.forwarded == 1).await;
    // A retransmission in the meantime goes nowhere; the same octets over another connection are another record.
    one.send(&start.octets).await;
    books.settled(|counts| counts.duplicates == 1).await;
    two.send(&start.octets).await;
    books.settled(|counts| counts.forwarded == 2).await;
    assert!(timeout(SILENCE, one.next()).await.is_err(), "not before the upstream has it");
    books.secure.house.settled(|_| books.played.count() == 2).await;
    books.played.says(true);
    assert_eq!(start.response(&mut one).await, proxy_states());
    assert!(timeout(SILENCE, two.next()).await.is_err(), "that was the other's");
    books.played.says(false);
    books.settled(|counts| counts.unanswered == 1).await;
    // Nobody has it, so its client asks again.
    two.send(&start.octets).await;
    books.played.says(true);
    assert_eq!(start.response(&mut two).await, proxy_states());
    assert_eq!((books.played.count(), books.counts().responses), (3, 2));
    books.stop().await;
}

#[tokio::test]
async fn a_record_whose_connection_is_gone_is_answered_to_nobody() {
    let books = Books::with_upstream(322).await;
    let mut gone = books.secure.vpn().await;
    let start = Record::new(7, &record(1));
    gone.send(&start.octets).await;
    books.settled(|counts| counts.forwarded == 1).await;
    drop(gone);
    let mut next = books.secure.vpn().await;
    assert!(next.is_served().await);
    books.played.says(true);
    books.settled(|counts| counts.responses == 1).await;
    assert!(timeout(SILENCE, next.next()).await.is_err(), "it is not the one that asked");
    next.send(&start.octets).await;
    books.played.says(true);
    assert_eq!(start.response(&mut next).await, proxy_states());
    assert_eq!(books.counts().unsent, 0);
    books.stop().await;
}

#[tokio::test]
async fn s54_a_forged_record_over_tls_ends_its_connection_and_nothing_else() {
    let books = Books::plain(323).await;
    let (mut good, mut bad) = (books.secure.vpn().await, books.secure.vpn().await);
    let start = Record::new(7, &record(1));
    let mut forged = start.octets.clone();
    forged[10] ^= 1;
    bad.send(&[forged, start.octets.clone()].concat()).await;
    assert_eq!(bad.next().await, None);
    good.send(&start.octets).await;
    assert_eq!(start.response(&mut good).await, proxy_states());
    let counts = books.counts();
    assert_eq!((counts.bad_authenticator, counts.requests), (1, 1), "what came behind it counts for nothing");
    books.stop().await;
}

#[tokio::test]
async fn s105_where_records_are_not_taken_as_fast_as_they_come_they_are_dropped_and_logins_go_on() {
    // Nobody takes any.
    let (giver, taker) = accounting_over_connections();
    let secure = Secure::with_accounting(324, Limits::default(), StreamBounds::default(), Some(giver)).await;
    let (mut flooding, mut vpn) = (secure.vpn().await, secure.vpn().await);
    let start = Record::new(7, &record(1));
    for _ in 0..20 {
        flooding.send(&start.octets.repeat(100)).await;
    }
    secure.house.settled(|house| house.figures.accounting().full > 900).await;
    assert!(secure.house.figures.accounting().full <= 2000 - 1024, "the others wait");
    assert!(vpn.is_served().await && flooding.is_served().await);
    drop(taker);
    secure.house.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn s54_a_flood_of_records_over_one_connection_holds_no_login_of_another_up() {
    let books = Books::plain(325).await;
    let house = &books.secure.house;
    let mut alice = house.user("alice", None).await;
    let burst: Vec<u8> = (0..=u8::MAX).flat_map(|identifier| Record::new(identifier, &record(3)).octets).collect();
    let flood = async {
        loop {
            let (mut from, mut to) = tokio::io::split(books.secure.vpn().await.stream);
            let reads = async {
                let mut buffer = vec![0; 1 << 16];
                while from.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
            };
            let writes = async { while to.write_all(&burst).await.is_ok() {} };
            // Whoever is cut off calls again.
            tokio::join!(reads, writes);
        }
    };
    let logins = async {
        let mut vpn = books.secure.vpn().await;
        let begin = Instant::now();
        for _ in 0..3 {
            let packet = vpn.pack(&Ask::login("alice"));
            vpn.send(&packet.octets).await;
            house.decide(&mut alice, Decision::Verify).await;
            assert_eq!(vpn.next().await.unwrap().0, Code::AccessAccept);
        }
        begin.elapsed()
    };
    tokio::select! {
        () = flood => {}
        took = logins => assert!(took < Duration::from_secs(20), "{took:?}"),
    }
    assert!(books.counts().packets > 100, "{:?}", books.counts());
    assert_eq!(house.counts().accepts, 3);
    books.stop().await;
}

#[tokio::test]
async fn s105_a_client_that_takes_no_responses_is_cut_off() {
    let bounds =
        StreamBounds { write: Duration::from_millis(300), replies: 16, per_client: 1, ..StreamBounds::default() };
    let books = Books::of(326, false, bounds).await;
    let mut deaf = books.secure.vpn().await;
    let burst: Vec<u8> = (0..=u8::MAX).flat_map(|identifier| Record::new(identifier, &record(3)).octets).collect();
    let flood = async { while deaf.stream.write_all(&burst).await.is_ok() {} };
    timeout(SOON * 3, flood).await.expect("the server has closed it");
    let counts = books.counts();
    assert!(counts.responses > 0 && counts.unsent + counts.cached_resent > 0, "{counts:?}");
    // Its one place is free again.
    let mut served = false;
    for _ in 0..100 {
        served = served || books.secure.vpn().await.is_served().await;
    }
    assert!(served);
    books.stop().await;
}
