//! Resources whose first factor other RADIUS servers check, which are played here.

use core::time::Duration;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use countersign_desk::{Peers, SentOn, UpstreamAnswer, UpstreamTable, Upstreams};
use countersign_domain::{
    Charset, Clock as _, Decision, Expects, HostileText, Policy, Primary, Resource, Secret, Upstream,
    UpstreamAttributes, UpstreamId, UpstreamServer, Write,
};
use countersign_radius::{AttributeList, AttributeType, Code, Limits};
use countersign_testkit::{Ask, Nas, NewResource, Site, SoftDevice};

use crate::house::{DELAY, House, SOON};

pub(crate) struct Played {
    answer: Mutex<UpstreamAnswer>,
    pub(crate) sent_on: Mutex<Vec<SentOn>>,
    looped: Mutex<Vec<[u8; 8]>>,
}

#[async_trait]
impl Upstreams for Played {
    fn set(&self, _: &UpstreamTable) {}

    async fn ask(&self, login: SentOn) -> UpstreamAnswer {
        self.sent_on.lock().unwrap().push(login);
        self.answer.lock().unwrap().clone()
    }

    fn looped(&self, tag: [u8; 8]) {
        self.looped.lock().unwrap().push(tag);
    }
}

/// Type and value of each.
pub(crate) type Attributes = Vec<(u8, Vec<u8>)>;

pub(crate) struct Relay {
    pub(crate) house: House,
    pub(crate) played: Arc<Played>,
    pub(crate) phone: SoftDevice,
    pub(crate) nas: Nas,
}

impl Relay {
    pub(crate) async fn with(seed: u64, policy: Policy) -> Self {
        let played = Arc::new(Played {
            answer: Mutex::new(UpstreamAnswer::Reject),
            sent_on: Mutex::default(),
            looped: Mutex::default(),
        });
        let peers = Peers { upstreams: played.clone(), ..Peers::default() };
        let house = House::with(Site::with_peers(seed, peers).await, "127.0.0.1:0", Limits::default());
        let site = &house.site;
        let server = UpstreamServer {
            tls: None,
            address: "192.0.2.7:1812".parse().unwrap(),
            secret: Secret::new(b"a secret of the upstream".to_vec()),
        };
        let id = UpstreamId::new(site.clock.now(), &*site.entropy);
        let (accounting, created_at) = (Vec::new(), site.clock.now());
        let upstream = Upstream { id, name: "NPS".to_owned(), servers: vec![server], accounting, created_at };
        site.write(Write::AddUpstream(Box::new(upstream))).await;
        let (resource, client) = site.rows(NewResource { primary: Primary::Radius, ..NewResource::default() });
        let resource = Resource { upstream: Some(id), policy, ..resource };
        let known = client.id;
        site.write(Write::AddResource { resource: Box::new(resource), client: Box::new(client) }).await;
        house.settled(|house| house.figures.clients().iter().any(|(client, _)| *client == known)).await;
        let phone = house.user("alice", None).await;
        let nas = house.nas(seed).await;
        Self { house, played, phone, nas }
    }

    async fn expecting(seed: u64, credential: Expects) -> Self {
        Self::with(seed, Policy { credential, ..Policy::default() }).await
    }

    pub(crate) fn says(&self, answer: UpstreamAnswer) {
        *self.played.answer.lock().unwrap() = answer;
    }

    pub(crate) fn accepts(&self, attributes: &[(AttributeType, &[u8])], user: Option<&str>) {
        let mut list = AttributeList::new();
        for (kind, value) in attributes {
            list.push(*kind, value).unwrap();
        }
        let attributes = UpstreamAttributes::new(list.octets().to_vec());
        self.says(UpstreamAnswer::Accept { attributes, user: user.map(HostileText::from) });
    }

    /// A login that a tap lets in; the attributes of its Accept.
    pub(crate) async fn accepted(&mut self, ask: &Ask) -> Attributes {
        let packet = self.nas.pack(ask);
        self.nas.send(&packet).await;
        self.house.decide(&mut self.phone, Decision::Verify).await;
        let reply = self.nas.reply(&packet, SOON).await.expect("an answer");
        assert_eq!(reply.code(), Code::AccessAccept);
        reply.view().iter().skip(1).map(|attribute| (attribute.kind.0, attribute.value.to_vec())).collect()
    }

    /// The newest login that was sent on: its attributes, and the password.
    pub(crate) fn sent_on(&self) -> (Attributes, Option<Vec<u8>>) {
        let login = self.played.sent_on.lock().unwrap().pop().expect("a login was sent on");
        let list = AttributeList::from_octets(login.attributes.expose()).unwrap();
        let attributes = list.iter().map(|attribute| (attribute.kind.0, attribute.value.to_vec())).collect();
        (attributes, login.password.map(|password| password.expose().to_vec()))
    }

    async fn reason(&self, ends: usize) -> String {
        self.house.ends(ends).await.pop().unwrap()
    }
}

#[tokio::test]
async fn attributes_go_on_and_come_back_as_they_are() {
    let mut at = Relay::expecting(1, Expects::Password).await;
    let granted: &[(AttributeType, &[u8])] = &[
        (AttributeType::CLASS, b"one"),
        (AttributeType::VENDOR_SPECIFIC, &[0, 0, 1, 55, 63, 6, 0, 0, 0, 4]),
        (AttributeType(250), b"\0unknown"),
        (AttributeType::CLASS, b"two"),
    ];
    at.accepts(granted, None);
    let ask = Ask::login("alice")
        .with(AttributeType::PROXY_STATE, "one")
        .with(AttributeType(250), "not echoed")
        .with_vendor(9, 1, "shell:priv-lvl=15")
        .with(AttributeType::CLASS, "of the request")
        .with(AttributeType::PROXY_STATE, "two")
        .password("right");
    let came_back = at.accepted(&ask).await;
    let expected: Vec<(u8, Vec<u8>)> = granted
        .iter()
        .map(|(kind, value)| (kind.0, value.to_vec()))
        .chain([(33, b"one".to_vec()), (33, b"two".to_vec())])
        .collect();
    assert_eq!(came_back, expected, "what the upstream granted, then Proxy-State in order, and nothing of the request");

    let (attributes, password) = at.sent_on();
    let vendor = [&[0, 0, 0, 9, 1, 19][..], b"shell:priv-lvl=15"].concat();
    let expected: Vec<(u8, Vec<u8>)> = vec![
        (1, b"alice".to_vec()),
        (33, b"one".to_vec()),
        (250, b"not echoed".to_vec()),
        (26, vendor),
        (25, b"of the request".to_vec()),
        (33, b"two".to_vec()),
        (2, Vec::new()),
    ];
    assert_eq!((attributes, password.as_deref()), (expected, Some(&b"right"[..])));
    at.house.stop().await;
}

#[tokio::test]
async fn c016_c017_name_and_password_go_on_octet_for_octet() {
    let policy = Policy { charset: Charset::Windows1252, ..Policy::default() };
    let mut at = Relay::with(2, policy).await;
    at.accepts(&[], None);
    at.phone = at.house.user("kölbel", None).await;
    at.accepted(&Ask::login(b"k\xf6lbel").password(b"Az\xe9rt\xe8")).await;
    let (attributes, password) = at.sent_on();
    assert_eq!(attributes[0], (1, b"k\xf6lbel".to_vec()));
    assert_eq!(password.as_deref(), Some(&b"Az\xe9rt\xe8"[..]));
    at.house.stop().await;
}

#[tokio::test]
async fn a_chap_response_goes_on_with_what_it_answers() {
    let mut at = Relay::expecting(3, Expects::Password).await;
    at.accepts(&[], None);
    let packet = at.nas.pack(&Ask::login("alice").with(AttributeType::CHAP_PASSWORD, [9; 17]));
    at.nas.send(&packet).await;
    at.house.decide(&mut at.phone, Decision::Verify).await;
    assert_eq!(at.nas.reply(&packet, SOON).await.unwrap().code(), Code::AccessAccept);
    let (attributes, password) = at.sent_on();
    let challenge = packet.authenticator.octets().to_vec();
    assert_eq!((attributes, password), (vec![(1, b"alice".to_vec()), (3, vec![9; 17]), (60, challenge)], None));
    at.house.stop().await;
}

#[tokio::test]
async fn s56_an_empty_password_goes_nowhere_and_a_gateways_request_has_none() {
    let mut at = Relay::expecting(4, Expects::Password).await;
    at.accepts(&[], None);
    for ask in [Ask::login("alice"), Ask::login("alice").password(""), Ask::login("alice").password("\0")] {
        assert_eq!(at.nas.ask(&ask, SOON).await.unwrap().code(), Code::AccessReject);
    }
    assert_eq!(at.played.sent_on.lock().unwrap().len(), 0);
    at.house.stop().await;

    let mut at = Relay::expecting(5, Expects::Nothing).await;
    at.accepts(&[], None);
    let gateway = Ask::login("alice").with(AttributeType::CALLED_STATION_ID, "UserAuthType:PW");
    at.accepted(&gateway).await;
    let (attributes, password) = at.sent_on();
    assert_eq!((attributes.len(), password), (2, None));
    assert_eq!(at.nas.ask(&gateway.password("a password"), SOON).await.unwrap().code(), Code::AccessReject);
    assert_eq!(at.played.sent_on.lock().unwrap().len(), 0, "what is not expected is not sent on");
    at.house.stop().await;
}

#[tokio::test]
async fn c027_s52_a_reject_of_the_upstream_asks_nobody_and_looks_like_any_other() {
    let mut at = Relay::expecting(6, Expects::Password).await;
    at.says(UpstreamAnswer::Reject);
    let wrong = at.nas.ask(&Ask::login("alice").password("wrong"), SOON).await.unwrap();
    let unknown = at.nas.ask(&Ask::login("nobody").password("wrong"), SOON).await.unwrap();
    assert_eq!(wrong.code(), Code::AccessReject);
    assert_eq!(wrong.without_authenticators(), unknown.without_authenticators());
    for reply in [wrong, unknown] {
        assert!((DELAY..DELAY * 2).contains(&reply.after), "{:?}", reply.after);
    }
    assert_eq!(at.house.ends(2).await, ["reject password_wrong", "reject user_unknown"]);
    assert_eq!((at.house.challenges().await, at.played.sent_on.lock().unwrap().len()), (0, 1));
    at.house.stop().await;
}

#[tokio::test]
async fn the_user_is_the_one_whom_the_accept_names() {
    let mut at = Relay::expecting(7, Expects::Password).await;
    let _other = at.house.user("bob", None).await;
    for named in [None, Some("alice"), Some("ALICE")] {
        at.accepts(&[], named);
        at.accepted(&Ask::login("alice").password("right")).await;
    }
    for named in ["bob", "nobody", "EXAMPLE\\alice", "", "alice "] {
        at.accepts(&[], Some(named));
        let reply = at.nas.ask(&Ask::login("alice").password("right"), SOON).await.unwrap();
        assert_eq!(reply.code(), Code::AccessReject, "{named}");
    }
    let ends = at.house.ends(8).await;
    assert!(ends[3..].iter().all(|end| end == "reject eap_identity_unproven"), "{ends:?}");
    assert_eq!(at.house.challenges().await, 3);
    at.house.stop().await;
}

#[tokio::test]
async fn s43_a_challenge_of_the_upstream_is_no_yes() {
    let mut at = Relay::expecting(8, Expects::Password).await;
    at.says(UpstreamAnswer::Challenge);
    let reply = at.nas.ask(&Ask::login("alice").password("right"), SOON).await.unwrap();
    assert_eq!(reply.code(), Code::AccessReject);
    assert_eq!((at.reason(1).await.as_str(), at.house.challenges().await), ("reject account_refused", 0));
    at.house.stop().await;
}

#[tokio::test]
async fn a_login_that_comes_back_is_refused_at_once_and_goes_nowhere() {
    let mut at = Relay::expecting(9, Expects::Password).await;
    at.accepts(&[], None);
    let mark = [&b"countersign/"[..], &[7; 16], b"the tag."].concat();
    let ask = Ask::login("alice").with(AttributeType::PROXY_STATE, "the NPS's").with(AttributeType::PROXY_STATE, &mark);
    let reply = at.nas.ask(&ask.password("right"), SOON).await.unwrap();
    assert_eq!(reply.code(), Code::AccessReject);
    assert!(reply.after < Duration::from_millis(500), "{:?}", reply.after);
    let states: Vec<_> = reply.view().attributes(AttributeType::PROXY_STATE).map(<[u8]>::to_vec).collect();
    assert_eq!(states, [b"the NPS's".to_vec(), mark]);
    assert_eq!(at.reason(1).await, "reject loop");
    assert_eq!(*at.played.looped.lock().unwrap(), [*b"the tag."]);
    assert_eq!((at.house.counts().loops, at.played.sent_on.lock().unwrap().len()), (1, 0));
    // Another deployment's mark is only a Proxy-State.
    let theirs = [&b"countersign/"[..], &[8; 16], b"the tag."].concat();
    at.accepted(&Ask::login("alice").with(AttributeType::PROXY_STATE, &theirs).password("right")).await;
    at.house.stop().await;
}
