//! Accounting ports, beside a door with logins.

use core::time::Duration;
use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use countersign_domain::{Decision, Primary, Resource, Secret, Upstream, UpstreamId, UpstreamServer, Write};
use countersign_radius::{
    AttributeList, AttributeType, Authenticator, Code, Identifier, Limits, MessageAuthenticatorRule, PacketView,
    SharedSecret, encode_accounting_request, encode_request, verify_accounting_response,
};
use countersign_radius_server::{AccountingConfig, AccountingServer, AccountingTaker, BindError, ProxyMark, Recorders};
use countersign_testkit::{Ask, NewResource, Site};
use tokio::{
    net::UdpSocket,
    sync::Semaphore,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::house::{House, SECRET, SILENCE, SOON};

const ACCT_STATUS_TYPE: AttributeType = AttributeType(40);
const ACCT_DELAY_TIME: AttributeType = AttributeType(41);
const ACCT_SESSION_ID: AttributeType = AttributeType(44);

/// An upstream that answers as often as a test lets it.
pub(crate) struct Played {
    keeps: bool,
    answers: Semaphore,
    says: Mutex<VecDeque<bool>>,
    recorded: Mutex<Vec<Vec<u8>>>,
    looped: Mutex<usize>,
}

impl Played {
    pub(crate) fn new(keeps: bool) -> Arc<Self> {
        let (says, recorded, looped) = (Mutex::default(), Mutex::default(), Mutex::default());
        Arc::new(Self { keeps, answers: Semaphore::new(0), says, recorded, looped })
    }

    /// Lets one record end.
    pub(crate) fn says(&self, recorded: bool) {
        self.says.lock().unwrap().push_back(recorded);
        self.answers.add_permits(1);
    }

    pub(crate) fn count(&self) -> usize {
        self.recorded.lock().unwrap().len()
    }
}

#[async_trait]
impl Recorders for Played {
    fn keeps(&self, _: UpstreamId) -> bool {
        self.keeps
    }

    async fn record(&self, _: UpstreamId, attributes: Arc<[u8]>) -> bool {
        self.recorded.lock().unwrap().push(attributes.to_vec());
        self.answers.acquire().await.unwrap().forget();
        self.says.lock().unwrap().pop_front().unwrap()
    }

    fn looped(&self, _: [u8; 8]) {
        *self.looped.lock().unwrap() += 1;
    }
}

/// The accounting ports of a house.
pub(crate) fn bind(
    house: &House,
    listen: &str,
    played: Arc<Played>,
    limits: Limits,
    connections: Option<AccountingTaker>,
) -> Result<AccountingServer, BindError> {
    let (listen, mark) = (vec![listen.parse().unwrap()], ProxyMark::new([7; 16]));
    let config = AccountingConfig { listen, limits, mark, clock: house.site.clock.clone(), connections };
    AccountingServer::bind(config, house.site.desk.resources(), played, Arc::clone(&house.figures))
}

/// Adds an upstream with a server for accounting.
pub(crate) async fn upstream(site: &Site) -> UpstreamId {
    let server = |port| UpstreamServer {
        address: SocketAddr::from(([192, 0, 2, 7], port)),
        secret: Secret::new(b"a secret of the upstream".to_vec()),
        tls: None,
    };
    let now = countersign_domain::Clock::now(&*site.clock);
    let id = UpstreamId::new(now, &*site.entropy);
    let (servers, accounting) = (vec![server(1812)], vec![server(1813)]);
    let upstream = Upstream { id, name: "NPS".to_owned(), servers, accounting, created_at: now };
    site.write(Write::AddUpstream(Box::new(upstream))).await;
    id
}

/// A house with an accounting port.
struct Books {
    house: House,
    played: Arc<Played>,
    address: SocketAddr,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
}

impl Books {
    fn of(house: House, played: Arc<Played>, limits: Limits) -> Self {
        let server = bind(&house, "127.0.0.1:0", played.clone(), limits, None).unwrap();
        let address = server.local_addrs().next().unwrap();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(server.run(shutdown.clone()));
        Self { house, played, address, shutdown, running }
    }

    /// Behind whose client there is nobody.
    async fn plain(seed: u64) -> Self {
        Self::of(House::vpn(seed).await, Played::new(false), Limits::default())
    }

    /// Whose client's resource has an upstream that keeps accounting.
    async fn with_upstream(seed: u64, limits: Limits) -> Self {
        let house = House::bare(seed).await;
        let site = &house.site;
        let id = upstream(site).await;
        let (resource, client) = site.rows(NewResource { primary: Primary::Radius, ..NewResource::default() });
        let resource = Resource { upstream: Some(id), ..resource };
        let known = client.id;
        site.write(Write::AddResource { resource: Box::new(resource), client: Box::new(client) }).await;
        house.settled(|house| house.figures.clients().iter().any(|(client, _)| *client == known)).await;
        Self::of(house, Played::new(true), limits)
    }

    async fn client(&self) -> Client {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(self.address).await.unwrap();
        Client { socket, secret: SharedSecret::new(SECRET), next: 0 }
    }

    fn counts(&self) -> countersign_radius_server::AccountingCounts {
        self.house.figures.accounting()
    }

    async fn settled(&self, done: impl Fn(&Self) -> bool) {
        for _ in 0..1000 {
            if done(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it does not happen: {:?}", self.counts());
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap();
        self.house.stop().await;
    }
}

struct Client {
    socket: UdpSocket,
    secret: SharedSecret,
    next: u8,
}

struct Record {
    identifier: Identifier,
    authenticator: Authenticator,
    octets: Vec<u8>,
}

impl Client {
    fn pack(&mut self, attributes: &AttributeList) -> Record {
        let identifier = Identifier(self.next);
        self.next = self.next.wrapping_add(1);
        let (authenticator, octets) = encode_accounting_request(identifier, &self.secret, attributes).unwrap();
        Record { identifier, authenticator, octets }
    }

    async fn send(&self, octets: &[u8]) {
        self.socket.send(octets).await.unwrap();
    }

    async fn any(&self, within: Duration) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 4096];
        let length = timeout(within, self.socket.recv(&mut buffer)).await.ok()?.unwrap();
        buffer.truncate(length);
        Some(buffer)
    }

    /// The response to a record, checked, with the values of its attributes.
    async fn response(&self, record: &Record, within: Duration) -> Option<Vec<(u8, Vec<u8>)>> {
        let octets = self.any(within).await?;
        let view = verify_accounting_response(&octets, &record.authenticator, record.identifier, &self.secret).unwrap();
        Some(view.iter().map(|attribute| (attribute.kind.0, attribute.value.to_vec())).collect())
    }
}

/// Start or stop of a session of alice.
pub(crate) fn record(status: u8) -> AttributeList {
    let mut list = AttributeList::new();
    list.push(ACCT_STATUS_TYPE, &[0, 0, 0, status]).unwrap();
    list.push(AttributeType::USER_NAME, b"alice").unwrap();
    list.push(ACCT_SESSION_ID, b"42-a").unwrap();
    list.push_vendor(65_535, 7, b"nobody knows").unwrap();
    list.push(AttributeType::PROXY_STATE, b"one").unwrap();
    list.push(AttributeType::PROXY_STATE, b"two").unwrap();
    list
}

pub(crate) fn proxy_states() -> Vec<(u8, Vec<u8>)> {
    vec![(33, b"one".to_vec()), (33, b"two".to_vec())]
}

#[tokio::test]
async fn a_record_is_answered_with_its_proxy_state_and_nothing_else_and_again_when_it_comes_again() {
    let books = Books::plain(200).await;
    let mut client = books.client().await;
    let start = client.pack(&record(1));
    client.send(&start.octets).await;
    assert_eq!(client.response(&start, SOON).await, Some(proxy_states()));
    client.send(&start.octets).await;
    assert_eq!(client.response(&start, SOON).await, Some(proxy_states()));
    let counts = books.counts();
    assert_eq!((counts.requests, counts.responses, counts.cached_resent, counts.forwarded), (1, 1, 1, 0));
    // The same session with another Acct-Delay-Time is a record of its own.
    let mut later = record(1);
    later.push(ACCT_DELAY_TIME, &[0, 0, 0, 5]).unwrap();
    let later = client.pack(&later);
    client.send(&later.octets).await;
    assert_eq!(client.response(&later, SOON).await, Some(proxy_states()));
    assert_eq!(books.counts().requests, 2);
    books.stop().await;
}

#[tokio::test]
async fn status_server_is_answered_with_an_accounting_response() {
    let books = Books::plain(201).await;
    let client = books.client().await;
    let authenticator = Authenticator([9; 16]);
    let none = AttributeList::new();
    let octets = encode_request(Code::StatusServer, Identifier(3), &authenticator, &client.secret, &none).unwrap();
    client.send(&octets).await;
    let status = Record { identifier: Identifier(3), authenticator, octets };
    assert_eq!(client.response(&status, SOON).await, Some(Vec::new()));
    let mut unsigned = status.octets.clone();
    unsigned[30] ^= 1;
    client.send(&unsigned).await;
    assert_eq!(client.any(SILENCE).await, None);
    assert_eq!((books.counts().status_server, books.counts().bad_authenticator), (1, 1));
    books.stop().await;
}

#[tokio::test]
async fn s54_what_does_not_belong_on_a_port_is_dropped_and_counted() {
    let books = Books::plain(202).await;
    let mut client = books.client().await;
    // Logins and changes of authorisation on the accounting port, right but for that.
    let login = list_of_login();
    let login =
        encode_request(Code::AccessRequest, Identifier(1), &Authenticator([5; 16]), &client.secret, &login).unwrap();
    client.send(&login).await;
    for code in [40, 43] {
        let mut octets = client.pack(&record(1)).octets;
        octets[0] = code;
        client.send(&octets).await;
    }
    assert_eq!(client.any(SILENCE).await, None);
    assert_eq!(books.counts().unexpected_code, 3);

    // Accounting and changes of authorisation on the door's.
    let door = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    door.connect(books.house.address).await.unwrap();
    let start = client.pack(&record(1));
    for code in [4, 40, 43] {
        let mut octets = start.octets.clone();
        octets[0] = code;
        door.send(&octets).await.unwrap();
    }
    books.settled(|books| books.house.counts().unexpected_code == 3).await;
    let mut buffer = [0; 4096];
    assert!(timeout(SILENCE, door.recv(&mut buffer)).await.is_err());
    assert_eq!((books.house.counts().requests, books.counts().requests), (0, 0));
    assert!(books.house.site.ends().await.is_empty());
    books.stop().await;
}

fn list_of_login() -> AttributeList {
    let mut list = AttributeList::new();
    list.push(AttributeType::USER_NAME, b"alice").unwrap();
    list
}

#[tokio::test]
async fn s54_a_forged_record_is_dropped_and_so_is_one_of_a_stranger() {
    let books = Books::with_upstream(203, Limits::default()).await;
    let mut client = books.client().await;
    let start = client.pack(&record(1));
    for at in 4..start.octets.len() {
        let mut forged = start.octets.clone();
        forged[at] ^= 0x80;
        client.send(&forged).await;
    }
    let sent = u64::try_from(start.octets.len() - 4).unwrap();
    let stranger = UdpSocket::bind("127.0.0.9:0").await.unwrap();
    stranger.send_to(&start.octets, books.address).await.unwrap();
    books.settled(|books| books.counts().packets == sent + 1).await;
    assert_eq!(client.any(SILENCE).await, None);
    let counts = books.counts();
    assert_eq!((counts.unknown_source, counts.bad_authenticator + counts.malformed), (1, sent));
    assert_eq!((counts.requests, books.played.count()), (0, 0));
    books.stop().await;
}

#[tokio::test]
async fn a_record_goes_on_octet_for_octet_and_is_answered_when_the_upstream_has_answered() {
    let books = Books::with_upstream(204, Limits::default()).await;
    let mut client = books.client().await;
    let start = client.pack(&record(1));
    client.send(&start.octets).await;
    books.settled(|books| books.played.count() == 1).await;
    // A retransmission in the meantime goes nowhere.
    client.send(&start.octets).await;
    books.settled(|books| books.counts().duplicates == 1).await;
    assert_eq!(client.any(SILENCE).await, None, "not before the upstream has it");
    assert_eq!(*books.played.recorded.lock().unwrap(), [record(1).octets()]);
    books.played.says(true);
    assert_eq!(client.response(&start, SOON).await, Some(proxy_states()));
    client.send(&start.octets).await;
    assert_eq!(client.response(&start, SOON).await, Some(proxy_states()));
    assert_eq!((books.played.count(), books.counts().forwarded), (1, 1));
    books.stop().await;
}

#[tokio::test]
async fn without_an_answer_of_the_upstream_there_is_none_and_the_next_try_goes_on_again() {
    let books = Books::with_upstream(205, Limits::default()).await;
    let mut client = books.client().await;
    let stop = client.pack(&record(2));
    client.send(&stop.octets).await;
    books.played.says(false);
    books.settled(|books| books.counts().unanswered == 1).await;
    assert_eq!(client.any(SILENCE).await, None);
    client.send(&stop.octets).await;
    books.played.says(true);
    assert_eq!(client.response(&stop, SOON).await, Some(proxy_states()));
    assert_eq!((books.played.count(), books.counts().responses), (2, 1));
    books.stop().await;
}

#[tokio::test]
async fn a_record_that_comes_back_to_us_is_neither_answered_nor_sent_on() {
    let books = Books::with_upstream(206, Limits::default()).await;
    let mut client = books.client().await;
    let mut looped = record(1);
    looped.push(AttributeType::PROXY_STATE, &[&b"countersign/"[..], &[7; 16], &[1; 8]].concat()).unwrap();
    let looped = client.pack(&looped);
    client.send(&looped.octets).await;
    assert_eq!(client.any(SILENCE).await, None);
    assert_eq!((books.counts().loops, *books.played.looped.lock().unwrap(), books.played.count()), (1, 1, 0));
    books.stop().await;
}

#[tokio::test]
async fn s105_one_client_has_no_more_than_its_share_under_way_however_it_asks() {
    let limits = Limits { pending_per_client: 4, ..Limits::default() };
    let books = Books::with_upstream(207, limits).await;
    let mut client = books.client().await;
    for delay in 0..20 {
        // Under one identifier, so that each takes the place of the one before.
        client.next = 0;
        let mut again = record(3);
        again.push(ACCT_DELAY_TIME, &[0, 0, 0, delay]).unwrap();
        let again = client.pack(&again);
        client.send(&again.octets).await;
    }
    books.settled(|books| books.counts().packets == 20).await;
    assert_eq!((books.played.count(), books.counts().full), (4, 16));
    for _ in 0..4 {
        books.played.says(true);
    }
    assert_eq!(client.any(SILENCE).await, None, "all four were begun anew");
    let stop = client.pack(&record(2));
    client.send(&stop.octets).await;
    books.played.says(true);
    assert_eq!(client.response(&stop, SOON).await, Some(proxy_states()), "there is room again");
    books.stop().await;
}

#[tokio::test]
async fn s54_a_record_opens_ends_and_approves_no_login() {
    let books = Books::plain(208).await;
    let house = &books.house;
    let mut phone = house.user("alice", None).await;
    let mut nas = house.nas(208).await;
    let waiting = nas.pack(&Ask::login("alice"));
    nas.send(&waiting).await;
    let challenge = phone.asked(&house.site.desk, SOON).await.unwrap();
    let before = house.site.audit().await.len();
    let mut client = books.client().await;
    for status in [1, 2, 3, 7, 8] {
        let record = client.pack(&record(status));
        client.send(&record.octets).await;
        assert!(client.response(&record, SOON).await.is_some());
    }
    assert_eq!(house.site.audit().await.len(), before, "nothing is written of it");
    assert_eq!(nas.reply(&waiting, SILENCE).await, None, "the login still waits");
    phone.decide(&house.site.desk, &challenge, Decision::Verify).await;
    assert_eq!(nas.reply(&waiting, SOON).await.unwrap().code(), Code::AccessAccept);
    assert_eq!(house.ends(1).await, ["accept approved"]);
    books.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn s54_a_flood_of_records_holds_no_login_up() {
    let books = Books::plain(209).await;
    let house = &books.house;
    let mut phone = house.user("alice", None).await;
    let mut client = books.client().await;
    let forged = {
        let mut octets = client.pack(&record(1)).octets;
        octets[10] ^= 1;
        octets
    };
    let flood = async {
        loop {
            for _ in 0..32 {
                client.send(&forged).await;
            }
            tokio::task::yield_now().await;
        }
    };
    let login = async {
        let mut nas = house.nas(209).await;
        let begin = Instant::now();
        for _ in 0..3 {
            let packet = nas.pack(&Ask::login("alice"));
            nas.send(&packet).await;
            house.decide(&mut phone, Decision::Verify).await;
            assert_eq!(nas.reply(&packet, SOON).await.unwrap().code(), Code::AccessAccept);
        }
        begin.elapsed()
    };
    tokio::select! {
        () = flood => {}
        took = login => assert!(took < Duration::from_secs(20), "{took:?}"),
    }
    assert!(books.counts().bad_authenticator > 100, "{:?}", books.counts());
    assert_eq!(house.counts().unexpected_code + house.counts().malformed, 0);
    books.stop().await;
}

#[tokio::test]
async fn a_signed_record_is_taken_and_its_client_need_not_sign() {
    let books = Books::plain(210).await;
    let mut client = books.client().await;
    let mut wrong = record(1);
    wrong.push(AttributeType::MESSAGE_AUTHENTICATOR, &[3; 16]).unwrap();
    let wrong = client.pack(&wrong);
    client.send(&wrong.octets).await;
    assert_eq!(client.any(SILENCE).await, None);
    assert_eq!(books.counts().bad_authenticator, 1);
    let view = PacketView::parse(&wrong.octets).unwrap();
    let rule = MessageAuthenticatorRule::Optional;
    assert!(countersign_radius::verify_request(&view, &client.secret, rule).is_err(), "and is no login either");
    books.stop().await;
}

#[tokio::test]
async fn a_port_that_cannot_be_had_is_named_with_the_setting_that_has_it() {
    let books = Books::plain(211).await;
    let address = books.address.to_string();
    let fault = bind(&books.house, &address, Played::new(false), Limits::default(), None).err().unwrap().to_string();
    assert!(fault.contains(&address) && fault.contains("[radius] accounting") && !fault.contains("listen"), "{fault}");
    books.stop().await;
}
