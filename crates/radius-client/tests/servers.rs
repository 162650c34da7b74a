//! The client against servers that behave well, badly, or not at all.
#![cfg(test)]

use core::time::Duration;
use std::{collections::HashSet, sync::Arc};

use countersign_radius::{
    AttributeList, AttributeType, Code, MessageAuthenticatorRule, PacketView, SharedSecret, encode_reply,
    upstream::{Timing, forwarded},
    verify_request,
};
use countersign_radius_client::{
    Client, Forward, NoAnswer, Outcome, ProxyMark, Server,
    trial::{self, Finding, Question},
};
use countersign_testkit::{Says, ScriptedServer, SeededEntropy};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

/// Ten times as fast as in life.
const FAST: Timing = Timing {
    retransmit: Duration::from_millis(100),
    longest_retransmit: Duration::from_millis(1600),
    patience: Duration::from_millis(500),
    watchdog: Duration::from_secs(3),
    status_wait: Duration::from_millis(200),
    status_tries: 2,
    first_back_off: Duration::from_millis(100),
    longest_back_off: Duration::from_secs(3),
    longest_blind_back_off: Duration::from_secs(30),
    forget_status: Duration::from_secs(60),
};
const BUDGET: Duration = Duration::from_millis(900);

fn server(server: &ScriptedServer) -> Server {
    Server::udp(server.address(), SharedSecret::new(ScriptedServer::SECRET))
}

fn client(servers: &[&ScriptedServer]) -> Client {
    let servers = servers.iter().map(|one| server(one)).collect();
    Client::with_timing("test", servers, ProxyMark::new([7; 16]), Arc::new(SeededEntropy::new(1)), FAST)
}

/// A login as a NAS sends it.
fn login() -> Forward {
    let mut list = AttributeList::new();
    list.push_text(AttributeType::USER_NAME, "alice").unwrap();
    list.push(AttributeType::USER_PASSWORD, &[]).unwrap();
    Forward::new(list.octets().into(), Some(b"a password"))
}

async fn ask(client: &Client) -> Outcome {
    client.ask(login(), BUDGET).await
}

fn silence() -> Outcome {
    Outcome::NoAnswer(NoAnswer::Silent)
}

#[tokio::test]
async fn attributes_of_an_accept_come_back_as_they_were_sent() {
    let mut attributes = AttributeList::new();
    attributes.push(AttributeType::CLASS, b"one").unwrap();
    attributes.push(AttributeType(250), &[0, 255]).unwrap();
    attributes.push(AttributeType::CLASS, b"two").unwrap();
    let sent = attributes.clone();
    let server =
        ScriptedServer::new(move |request| vec![Says::Here(ScriptedServer::reply(Code::AccessAccept, request, &sent))])
            .await;
    let Outcome::Accept(answer) = ask(&client(&[&server])).await else { panic!("an accept") };
    assert_eq!(answer.relayed.attributes.expose(), attributes.octets());
    let [request] = server.logins().try_into().unwrap();
    let request = PacketView::parse(&request).unwrap();
    let secret = SharedSecret::new(ScriptedServer::SECRET);
    assert!(verify_request(&request, &secret, MessageAuthenticatorRule::Required).is_ok());
    assert!(ProxyMark::new([7; 16]).find(&request).is_some());
    assert!(forwarded(&request).is_ok());
}

type Script = fn(&PacketView<'_>) -> Vec<Says>;

#[tokio::test]
async fn s42_replies_that_prove_nothing_count_as_none() {
    let scripts: &'static [(&'static str, Script)] = &[
        ("wrong secret", |request| {
            let secret = SharedSecret::new(*b"another secret than the one set");
            let none = AttributeList::new();
            vec![Says::Here(encode_reply(Code::AccessAccept, request, &secret, &none).unwrap())]
        }),
        ("without Message-Authenticator", |request| vec![Says::Here(bare(request))]),
        ("from another port", |request| {
            vec![Says::Elsewhere(ScriptedServer::reply(Code::AccessAccept, request, &AttributeList::new()))]
        }),
        ("with another identifier", |request| {
            let mut reply = ScriptedServer::reply(Code::AccessAccept, request, &AttributeList::new());
            reply[1] ^= 1;
            vec![Says::Here(reply)]
        }),
        ("too late", |request| {
            let reply = ScriptedServer::reply(Code::AccessAccept, request, &AttributeList::new());
            vec![Says::Later(Duration::from_millis(1100), reply)]
        }),
        ("a reject that was altered", |request| {
            let mut reply = ScriptedServer::reply(Code::AccessReject, request, &AttributeList::new());
            reply[0] = 2;
            vec![Says::Here(reply)]
        }),
        ("the request itself", |request| vec![Says::Here(request.octets().to_vec())]),
        ("noise", |_| vec![Says::Here(vec![2; 40]), Says::Here(Vec::new()), Says::Here(vec![2; 5000])]),
        ("nothing", |_| Vec::new()),
    ];
    let mut trials = JoinSet::new();
    for (what, script) in scripts {
        trials.spawn(hostile(what, *script));
    }
    while let Some(done) = trials.join_next().await {
        done.unwrap();
    }
}

async fn hostile(what: &str, script: Script) {
    let hostile = ScriptedServer::new(script).await;
    let begin = Instant::now();
    assert_eq!(ask(&client(&[&hostile])).await, silence(), "{what}");
    assert!((BUDGET..BUDGET * 3).contains(&begin.elapsed()), "{what}: {:?}", begin.elapsed());
    let logins = hostile.logins();
    assert!(logins.len() >= 3, "{what}: asked again");
    assert!(logins.iter().all(|login| *login == logins[0]), "{what}: byte-identical");
    // Where somebody honest is next, he is asked.
    let honest = ScriptedServer::answering(Code::AccessAccept).await;
    let both = client(&[&hostile, &honest]);
    let Outcome::Accept(answer) = ask(&both).await else { panic!("{what}: an accept") };
    assert_eq!(answer.server, 1, "{what}");
}

/// An Access-Accept with Proxy-State and a right Response Authenticator, but nothing else that proves it.
fn bare(request: &PacketView<'_>) -> Vec<u8> {
    use md5::{Digest as _, Md5};
    let states: Vec<u8> = request
        .attributes(AttributeType::PROXY_STATE)
        .flat_map(|state| [&[33, u8::try_from(state.len() + 2).unwrap()][..], state].concat())
        .collect();
    let length = u16::try_from(20 + states.len()).unwrap().to_be_bytes();
    let head = [&[2, request.identifier().0][..], &length].concat();
    let digest = Md5::new().chain_update(&head).chain_update(request.authenticator().octets());
    let digest = digest.chain_update(&states).chain_update(ScriptedServer::SECRET).finalize();
    [&head[..], &digest, &states].concat()
}

#[tokio::test]
async fn s43_no_code_but_access_accept_is_a_yes() {
    for code in [0, 1, 3, 4, 5, 11, 12, 40, 52, 255].map(Code::from) {
        let server = ScriptedServer::new(move |request| vec![Says::Here(any_code(code, request))]).await;
        let outcome = ask(&client(&[&server])).await;
        match code {
            Code::AccessReject => assert!(matches!(outcome, Outcome::Reject(_))),
            Code::AccessChallenge => assert!(matches!(outcome, Outcome::Challenge(_))),
            Code::ProtocolError => assert_eq!(outcome, Outcome::NoAnswer(NoAnswer::ProtocolError)),
            _ => assert_eq!(outcome, silence(), "{code:?}"),
        }
    }
    let server = ScriptedServer::new(|request| vec![Says::Here(any_code(Code::AccessAccept, request))]).await;
    assert!(matches!(ask(&client(&[&server])).await, Outcome::Accept(_)));
}

/// A reply that is right in everything, whatever its code.
fn any_code(code: Code, request: &PacketView<'_>) -> Vec<u8> {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    use md5::{Digest as _, Md5};
    let head = [code.octet(), request.identifier().0, 0, 38];
    let first = [80, 18];
    let mac = Hmac::<Md5>::new_from_slice(ScriptedServer::SECRET).unwrap();
    let mac = mac.chain_update(head).chain_update(request.authenticator().octets()).chain_update(first);
    let value = mac.chain_update([0; 16]).finalize().into_bytes();
    let digest = Md5::new().chain_update(head).chain_update(request.authenticator().octets());
    let digest = digest.chain_update(first).chain_update(value).chain_update(ScriptedServer::SECRET).finalize();
    [&head[..], &digest, &first, &value].concat()
}

#[tokio::test]
async fn c083_the_next_server_is_asked_and_the_first_is_used_again_when_it_is_back() {
    let first = ScriptedServer::answering(Code::AccessAccept).await;
    let second = ScriptedServer::answering(Code::AccessAccept).await;
    let client = client(&[&first, &second]);
    let by = async |client: &Client| match ask(client).await {
        Outcome::Accept(answer) => answer.server,
        other => panic!("{other:?}"),
    };
    assert_eq!(by(&client).await, 0);
    // The system says that nobody listens: the next is asked at once.
    let address = first.address();
    drop(first);
    let begin = Instant::now();
    assert_eq!(by(&client).await, 1);
    assert!(begin.elapsed() < FAST.patience, "{:?}", begin.elapsed());
    assert!(client.servers()[0].1.down_since.is_some());
    let begin = Instant::now();
    for _ in 0..5 {
        assert_eq!(by(&client).await, 1);
    }
    assert!(begin.elapsed() < FAST.patience, "it is not asked in vain each time");
    let first = ScriptedServer::at(address, |request| {
        vec![Says::Here(ScriptedServer::reply(Code::AccessAccept, request, &AttributeList::new()))]
    })
    .await;
    let mut waited = 0;
    while client.servers()[0].1.down_since.is_some() {
        sleep(Duration::from_millis(50)).await;
        waited += 1;
        assert!(waited < 200, "it is not found again");
    }
    assert!(!first.probes().is_empty());
    assert_eq!(by(&client).await, 0);
}

#[tokio::test]
async fn more_than_256_logins_wait_at_once_and_all_get_their_own_answer() {
    let server = ScriptedServer::new(|request| {
        let mut attributes = AttributeList::new();
        if let Some(name) = request.attribute(AttributeType::USER_NAME) {
            attributes.push(AttributeType::CLASS, name).unwrap();
        }
        let reply = ScriptedServer::reply(Code::AccessAccept, request, &attributes);
        vec![Says::Later(Duration::from_millis(300), reply)]
    })
    .await;
    let client = client(&[&server]);
    let mut logins = JoinSet::new();
    for number in 0..700_u32 {
        let client = client.clone();
        logins.spawn(async move {
            let name = number.to_be_bytes();
            let attributes = [&[1, 6][..], &name].concat();
            let outcome = client.ask(Forward::new(attributes.into(), None), Duration::from_secs(20)).await;
            let Outcome::Accept(answer) = outcome else { panic!("{outcome:?}") };
            assert_eq!(answer.relayed.attributes.expose(), [&[25, 6][..], &name].concat());
        });
    }
    while let Some(done) = logins.join_next().await {
        done.unwrap();
    }
    let identifiers: HashSet<_> = server.logins().iter().map(|login| login[1]).collect();
    assert_eq!(identifiers.len(), 256);
}

#[tokio::test]
async fn a_client_that_is_dropped_closes_its_sockets_and_answers_whoever_waits() {
    let server = ScriptedServer::silent().await;
    let client = client(&[&server]);
    let waiting = client.clone();
    let waits = tokio::spawn(async move { waiting.ask(login(), BUDGET).await });
    drop(client);
    assert_eq!(waits.await.unwrap(), silence());
    // What was on its way arrives.
    sleep(Duration::from_millis(50)).await;
    let heard = server.logins().len() + server.probes().len();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(server.logins().len() + server.probes().len(), heard, "nothing is sent any more");
}

#[tokio::test]
async fn counts_tell_what_happened() {
    let server = ScriptedServer::new(|request| vec![Says::Here(bare(request))]).await;
    let client = client(&[&server]);
    assert_eq!(ask(&client).await, silence());
    let [(_, state)] = client.servers().try_into().unwrap();
    let counts = state.counts;
    assert_eq!((counts.asked, counts.accepts, counts.unanswered), (1, 0, 1));
    assert!(counts.retransmissions >= 2 && counts.without_message_authenticator >= 3, "{counts:?}");
    assert!(state.down_since.is_some() && !state.answers_status);
}

#[tokio::test]
async fn a_trial_says_what_came_and_what_did_not() {
    let entropy = SeededEntropy::new(1);
    let login = Question::Login { user: "alice", password: Some(b"a password") };
    let right = ScriptedServer::answering(Code::AccessReject).await;
    let found = trial::ask(&server(&right), Question::Status, &entropy).await;
    assert_eq!(found, Finding::Reply { code: Code::AccessAccept, attributes: Vec::new() });
    let found = trial::ask(&server(&right), login, &entropy).await;
    assert_eq!(found, Finding::Reply { code: Code::AccessReject, attributes: Vec::new() });

    let unsigned = ScriptedServer::new(|request| vec![Says::Here(bare(request))]).await;
    let silent = ScriptedServer::silent().await;
    let gone = Server::udp(
        std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap(),
        SharedSecret::new(ScriptedServer::SECRET),
    );
    let other = Server::udp(server(&right).address, SharedSecret::new(*b"not its secret at all ......"));
    let (unsigned_at, silent_at) = (server(&unsigned), server(&silent));
    let (unsigned, silent, gone, other) = tokio::join!(
        trial::ask(&unsigned_at, login, &entropy),
        trial::ask(&silent_at, Question::Status, &entropy),
        trial::ask(&gone, Question::Status, &entropy),
        trial::ask(&other, login, &entropy),
    );
    assert!(matches!(unsigned, Finding::Unproven(fault) if fault.to_string() == "no message-authenticator"));
    assert_eq!(silent, Finding::Silence);
    assert_eq!(gone, Finding::Refused);
    assert!(matches!(other, Finding::Unproven(fault) if fault.to_string() == "invalid response authenticator"));
    let found =
        trial::ask(&server(&right), Question::Login { user: "alice", password: Some(&[b'x'; 129]) }, &entropy).await;
    assert!(matches!(found, Finding::Unsent(_)), "c013: never cut");
}
