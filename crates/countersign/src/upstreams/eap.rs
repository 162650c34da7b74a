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
