//! What servers answer in EAP conversations: passed on as it is, once its two layers say the same (RFC 3579 section 2.6.3).

use std::net::SocketAddr;

use countersign_desk::UpstreamAnswer;
use countersign_domain::{HostileText, UpstreamAttributes};
use countersign_radius::{AttributeType, EapCode, EapMessage, OpenAttributes};
use countersign_radius_client::Answer;

use super::trouble;

/// An Access-Accept with EAP-Success, and whom it names.
pub(super) fn accept(answer: &Answer) -> UpstreamAnswer {
    let list = &answer.relayed.attributes;
    let mut names = list.iter().filter(|one| one.kind == AttributeType::USER_NAME);
    let user = names.next().map(|one| HostileText::new(one.value));
    if code(list) != Some(EapCode::Success) || names.next().is_some() {
        return conflict("an Access-Accept");
    }
    UpstreamAnswer::Accept { attributes: UpstreamAttributes::new(list.expose().to_vec()), user }
}

/// An Access-Challenge with an EAP request and one State, which says from now on whose conversation it is.
pub(super) fn challenge(answer: &Answer, server: Option<SocketAddr>) -> UpstreamAnswer {
    let list = &answer.relayed.attributes;
    let mut states = list.iter().filter(|one| one.kind == AttributeType::STATE && !one.value.is_empty());
    let state = states.next().map(|one| one.value.to_vec());
    match (code(list), state, states.next(), server) {
        (Some(EapCode::Request), Some(state), None, Some(server)) => {
            UpstreamAnswer::Round { attributes: UpstreamAttributes::new(list.expose().to_vec()), state, server }
        }
        _ => conflict("an Access-Challenge"),
    }
}

fn code(list: &OpenAttributes) -> Option<EapCode> {
    EapMessage::of(list.iter()).ok().flatten().map(|message| message.code)
}

fn conflict(what: &str) -> UpstreamAnswer {
    let text = format!(
        "{what} in an EAP conversation without the EAP packet, the State or the one User-Name that belong to it"
    );
    UpstreamAnswer::Unavailable(trouble("upstream_eap_conflict", &text))
}

#[cfg(test)]
mod tests {
    use core::time::Duration;
    use std::{collections::HashMap, net::SocketAddr, sync::Arc};

    use countersign_desk::{Exchange, SentOn, Upstreams as _};
    use countersign_domain::{Entropy, Secret, Timestamp, Upstream, UpstreamId, UpstreamServer};
    use countersign_radius::{AttributeList, Code};
    use countersign_radius_client::ProxyMark;
    use countersign_testkit::{Says, ScriptedServer, SeededEntropy};

    use super::*;
    use crate::upstreams::Forwarders;

    const IDENTITY: &[u8] = &[79, 8, 2, 7, 0, 6, 1, b'a'];
    const SUCCESS: (AttributeType, &[u8]) = (AttributeType::EAP_MESSAGE, &[3, 7, 0, 4]);
    const REQUEST: (AttributeType, &[u8]) = (AttributeType::EAP_MESSAGE, &[1, 8, 0, 5, 25]);
    const STATE: (AttributeType, &[u8]) = (AttributeType::STATE, b"theirs");
    const ALICE: (AttributeType, &[u8]) = (AttributeType::USER_NAME, b"alice");

    async fn server(code: Code, attributes: &[(AttributeType, &[u8])]) -> ScriptedServer {
        let mut list = AttributeList::new();
        for (kind, value) in attributes {
            list.push(*kind, value).unwrap();
        }
        ScriptedServer::new(move |request| vec![Says::Here(ScriptedServer::reply(code, request, &list))]).await
    }

    /// What is said of a round that goes to the first of these, or to the one that it belongs to.
    async fn asked(servers: &[&ScriptedServer], with: Option<SocketAddr>, attributes: Vec<u8>) -> UpstreamAnswer {
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(1));
        let id = UpstreamId::new(Timestamp::from_seconds(0), &*entropy);
        let servers = servers.iter().map(|server| UpstreamServer {
            address: server.address(),
            secret: Secret::new(ScriptedServer::SECRET.to_vec()),
            tls: None,
        });
        let (name, servers, created_at) = ("radius".to_owned(), servers.collect(), Timestamp::from_seconds(0));
        let upstream = Upstream { id, name, servers, accounting: Vec::new(), created_at };
        let forwarders = Forwarders::new(ProxyMark::new([7; 16]), entropy, None);
        forwarders.set(&HashMap::from([(id, Arc::new(upstream))]));
        let exchange = Exchange::Eap { with };
        let budget = Duration::from_secs(2);
        forwarders
            .ask(SentOn { upstream: id, attributes: attributes.as_slice().into(), password: None, budget, exchange })
            .await
    }

    async fn answered(code: Code, attributes: &[(AttributeType, &[u8])]) -> UpstreamAnswer {
        asked(&[&server(code, attributes).await], None, IDENTITY.to_vec()).await
    }

    fn word(answer: &UpstreamAnswer) -> &'static str {
        match answer {
            UpstreamAnswer::Unavailable(trouble) => trouble.word,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn s43_s51_an_accept_says_success_in_eap_and_one_name_at_most() {
        let UpstreamAnswer::Accept { attributes, user } = answered(Code::AccessAccept, &[ALICE, SUCCESS]).await else {
            panic!("not let in");
        };
        assert_eq!((attributes.expose(), user), (&b"\x01\x07alice\x4f\x06\x03\x07\0\x04"[..], Some("alice".into())));
        let UpstreamAnswer::Accept { user: None, .. } = answered(Code::AccessAccept, &[SUCCESS]).await else {
            panic!("not let in");
        };
        let failure = (AttributeType::EAP_MESSAGE, &[4, 7, 0, 4][..]);
        let bob = (AttributeType::USER_NAME, &b"bob"[..]);
        for odd in
            [&[ALICE][..], &[ALICE, failure], &[ALICE, REQUEST], &[ALICE, bob, SUCCESS], &[ALICE, ALICE, SUCCESS]]
        {
            assert_eq!(word(&answered(Code::AccessAccept, odd).await), "upstream_eap_conflict", "{odd:?}");
        }
    }

    #[tokio::test]
    async fn s43_s51_a_challenge_asks_in_eap_under_one_state() {
        let at = server(Code::AccessChallenge, &[STATE, REQUEST]).await;
        let UpstreamAnswer::Round { attributes, state, server } = asked(&[&at], None, IDENTITY.to_vec()).await else {
            panic!("no round");
        };
        assert_eq!((state.as_slice(), server), (&b"theirs"[..], at.address()));
        assert_eq!(attributes.expose(), b"\x18\x08theirs\x4f\x07\x01\x08\0\x05\x19");
        let empty = (AttributeType::STATE, &b""[..]);
        for odd in [&[STATE][..], &[REQUEST], &[empty, REQUEST], &[STATE, STATE, REQUEST], &[STATE, SUCCESS]] {
            assert_eq!(word(&answered(Code::AccessChallenge, odd).await), "upstream_eap_conflict", "{odd:?}");
        }
        assert_eq!(answered(Code::AccessReject, &[REQUEST]).await, UpstreamAnswer::Reject);
    }

    #[tokio::test]
    async fn s51_a_round_goes_to_the_server_that_it_belongs_to_or_nowhere() {
        let first = server(Code::AccessChallenge, &[STATE, REQUEST]).await;
        let second = server(Code::AccessAccept, &[ALICE, SUCCESS]).await;
        let both = [&first, &second];
        let answer = asked(&both, Some(second.address()), IDENTITY.to_vec()).await;
        assert!(matches!(answer, UpstreamAnswer::Accept { .. }) && first.logins().is_empty());
        let silent = ScriptedServer::silent().await;
        let answer = asked(&[&silent, &second], Some(silent.address()), IDENTITY.to_vec()).await;
        assert_eq!((word(&answer), second.logins().len()), ("upstream_silent", 1));
        let gone = Some(SocketAddr::from(([192, 0, 2, 1], 1812)));
        assert_eq!(word(&asked(&both, gone, IDENTITY.to_vec()).await), "no_upstream");
    }

    #[tokio::test]
    async fn a_round_that_is_too_long_with_our_proxy_state_is_refused_and_not_cut() {
        let at = server(Code::AccessAccept, &[ALICE, SUCCESS]).await;
        let long: Vec<u8> = (0..15).flat_map(|_| [&[79, 255][..], &[0; 253]].concat()).collect();
        let spare = |room: usize| [long.clone(), vec![[25, 2]; room].concat()].concat();
        assert_eq!(word(&asked(&[&at], None, spare(130)).await), "request_too_long");
        assert!(at.logins().is_empty());
    }
}
