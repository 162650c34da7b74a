//! What stands in a reply.

use std::sync::Arc;

use countersign_domain::{Entropy, Grant, Question, UpstreamAttributes};
use countersign_radius::{
    AttributeList, AttributeType, Code, EncodeError, NamedAttribute, OpenAttributes, PacketView, encode_reply,
    ms_chap_v2_error, reply_attributes, vendor,
};
use tracing::error;

use crate::{clients::Client, request::Words};

/// A reply that carries nothing but what it must: Message-Authenticator, Proxy-State of the request, and in a reject the
/// EAP-Failure that a peer waits for. So no attribute of a request comes back as an attribute of a reply (S55).
pub(crate) fn bare(code: Code, kernel: &[u8], client: &Client) -> Option<Arc<[u8]>> {
    with(code, kernel, client, &AttributeList::new())
}

fn with(code: Code, kernel: &[u8], client: &Client, attributes: &AttributeList) -> Option<Arc<[u8]>> {
    let request = PacketView::parse(kernel).ok()?;
    let mut attributes = attributes.clone();
    if let (Code::AccessReject, Some(failure)) = (code, request.attribute(AttributeType::EAP_MESSAGE)) {
        attributes.push(AttributeType::EAP_MESSAGE, failure).ok()?;
    }
    match encode_reply(code, &request, &client.secret, &attributes) {
        Ok(reply) => Some(Arc::from(reply)),
        Err(fault) => {
            error!(error = %fault, "a reply could not be made");
            None
        }
    }
}

/// An Access-Reject: as [`bare`], with what the request's way of logging on wants to hear.
pub(crate) fn reject(kernel: &[u8], client: &Client, words: Words, entropy: &dyn Entropy) -> Option<Arc<[u8]>> {
    let mut attributes = AttributeList::new();
    if let Words::MsChapV2(identifier) = words {
        let error = ms_chap_v2_error(identifier, &entropy.octets());
        attributes.push_vendor(vendor::MICROSOFT, vendor::MS_CHAP_ERROR, &error).ok()?;
    }
    with(Code::AccessReject, kernel, client, &attributes)
}

/// An Access-Accept with what the login is given: what the policy names, in its order, and behind it what an upstream
/// sent, but for what the policy names and may stand once: octet for octet, or encrypted for this client and its request.
/// Nothing comes from the request (S55).
///
/// Attributes may restrict. So where one cannot be made, or all do not fit a packet, it is an Access-Reject.
pub(crate) fn accept(
    kernel: &[u8],
    client: &Client,
    words: Words,
    grant: &Grant,
    entropy: &dyn Entropy,
) -> (Code, Option<Arc<[u8]>>) {
    let refused = |fault: &dyn core::fmt::Display| {
        error!(
            client.name = client.seat.client.name, error = %fault,
            "an accepted login is rejected, for its reply attributes cannot be sent: `countersign resource show` and \
             `resource set --reply`"
        );
        (Code::AccessReject, reject(kernel, client, words, entropy))
    };
    let Ok(request) = PacketView::parse(kernel) else { return refused(&"the request is not there any more") };
    let attributes = match attributes(grant, &request, client, entropy) {
        Ok(attributes) => attributes,
        Err(fault) => return refused(&fault),
    };
    match encode_reply(Code::AccessAccept, &request, &client.secret, &attributes) {
        Ok(reply) => (Code::AccessAccept, Some(Arc::from(reply))),
        Err(fault) => refused(&fault),
    }
}

/// An Access-Challenge: one State, one Reply-Message, and whether what is typed may be seen (RFC 2865 section 4.4,
/// RFC 2869 section 5.10).
pub(crate) fn challenge(kernel: &[u8], client: &Client, question: &Question) -> Option<Arc<[u8]>> {
    let made = || {
        let mut attributes = AttributeList::new();
        attributes.push(AttributeType::REPLY_MESSAGE, question.message.as_bytes())?;
        attributes.push(AttributeType::STATE, &question.state)?;
        attributes.push(AttributeType::PROMPT, &u32::from(question.echo).to_be_bytes())?;
        Ok::<_, EncodeError>(attributes)
    };
    let request = PacketView::parse(kernel).ok()?;
    match made().and_then(|attributes| encode_reply(Code::AccessChallenge, &request, &client.secret, &attributes)) {
        Ok(reply) => Some(Arc::from(reply)),
        Err(fault) => {
            error!(error = %fault, "a challenge could not be made");
            None
        }
    }
}

/// An Access-Challenge of another server, octet for octet: State, and EAP-Message in as many attributes as came and in
/// their order (RFC 2865 section 2.3, RFC 3579 section 3.1). What does not fit with the Proxy-State of this hop ends the login.
pub(crate) fn relay(
    kernel: &[u8],
    client: &Client,
    attributes: &UpstreamAttributes,
    entropy: &dyn Entropy,
) -> (Code, Option<Arc<[u8]>>) {
    let made = || {
        let request = PacketView::parse(kernel).ok()?;
        let open = OpenAttributes::from_octets(attributes.expose())?;
        let attributes = open.seal(&client.secret, &request.authenticator(), entropy.octets())?;
        encode_reply(Code::AccessChallenge, &request, &client.secret, &attributes).ok()
    };
    let Some(reply) = made() else {
        error!(
            client.name = client.seat.client.name,
            "an Access-Challenge of an upstream is too long to be passed on: a login is rejected"
        );
        return (Code::AccessReject, bare(Code::AccessReject, kernel, client));
    };
    (Code::AccessChallenge, Some(Arc::from(reply)))
}

fn attributes(
    grant: &Grant,
    request: &PacketView<'_>,
    client: &Client,
    entropy: &dyn Entropy,
) -> Result<AttributeList, String> {
    let named = grant.named.iter().map(|attribute| NamedAttribute::new(&attribute.name, &attribute.value));
    let named: Vec<_> = named.collect::<Result<_, _>>().map_err(|fault| fault.to_string())?;
    let mut all = reply_attributes(&named).map_err(|fault| fault.to_string())?;
    let once: Vec<AttributeType> = named.iter().filter(|named| named.stands_once()).map(NamedAttribute::kind).collect();
    let upstream = OpenAttributes::from_octets(grant.upstream.expose())
        .and_then(|open| open.seal(&client.secret, &request.authenticator(), entropy.octets()))
        .ok_or("what the upstream sent is not whole")?;
    for attribute in upstream.iter().filter(|attribute| !once.contains(&attribute.kind)) {
        all.push(attribute.kind, attribute.value).map_err(|fault: EncodeError| fault.to_string())?;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use countersign_domain::{ReplyAttribute, UpstreamAttributes};
    use countersign_radius::{Authenticator, Identifier, MessageAuthenticatorRule, SharedSecret, limits, verify_reply};
    use countersign_testkit::{NewResource, Site};

    use super::*;
    use crate::{clients::Clients, figures::Figures, request};

    const REQUEST: Authenticator = Authenticator([7; 16]);

    /// The code of the reply to a request with Proxy-State, and its attributes behind Message-Authenticator.
    async fn reply(named: &[(&str, &str)], upstream: &[(AttributeType, &[u8])]) -> (Code, Vec<(u8, Vec<u8>)>) {
        let site = Site::open(1).await;
        site.resource(NewResource::default()).await;
        let clients = Clients::new(&site.desk.resources().borrow(), &Figures::default());
        let client = clients.find([127, 0, 0, 1].into()).unwrap();
        let secret = SharedSecret::new(NewResource::default().secret.as_bytes());
        let mut attributes = AttributeList::new();
        attributes.push_vendor(9, 1, b"shell:priv-lvl=15").unwrap();
        attributes.push(AttributeType::CLASS, b"of the request").unwrap();
        attributes.push(AttributeType::PROXY_STATE, b"p").unwrap();
        let id = Identifier(9);
        let packet =
            countersign_radius::encode_request(Code::AccessRequest, id, &REQUEST, &secret, &attributes).unwrap();
        let kernel = request::kernel(&PacketView::parse(&packet).unwrap(), true);

        let attribute = |(name, value): &(&str, &str)| ReplyAttribute { name: (*name).into(), value: (*value).into() };
        let mut sent = AttributeList::new();
        for (kind, value) in upstream {
            sent.push(*kind, value).unwrap();
        }
        let grant = Grant {
            named: named.iter().map(attribute).collect(),
            upstream: UpstreamAttributes::new(sent.octets().to_vec()),
        };
        let (code, octets) = accept(&kernel, client, Words::None, &grant, &*site.entropy);
        let octets = octets.unwrap();
        let view = verify_reply(&octets, &REQUEST, id, &secret, MessageAuthenticatorRule::Required).unwrap();
        assert_eq!(view.code(), code);
        (code, view.iter().skip(1).map(|attribute| (attribute.kind.0, attribute.value.to_vec())).collect())
    }

    #[tokio::test]
    async fn s55_policy_then_upstream_then_proxy_state_and_nothing_of_the_request() {
        let upstream: &[(AttributeType, &[u8])] = &[
            (AttributeType::CLASS, b"u"),
            (AttributeType::SESSION_TIMEOUT, &[0, 0, 0, 9]),
            (AttributeType(250), b"unknown"),
            (AttributeType::CLASS, b"u"),
        ];
        let named = [("Class", "a"), ("Session-Timeout", "60"), ("Class", "b"), ("Session-Timeout", "90")];
        let (code, attributes) = reply(&named, upstream).await;
        assert_eq!(code, Code::AccessAccept);
        let expected: &[(u8, &[u8])] =
            &[(25, b"a"), (27, &[0, 0, 0, 60]), (25, b"b"), (25, b"u"), (250, b"unknown"), (25, b"u"), (33, b"p")];
        assert!(attributes.iter().map(|(kind, value)| (*kind, value.as_slice())).eq(expected.iter().copied()));
        // What no policy names once more is the upstream's.
        let (_, attributes) = reply(&[("Class", "a")], upstream).await;
        assert!(attributes.contains(&(27, vec![0, 0, 0, 9])));
    }

    #[tokio::test]
    async fn c094_what_an_upstream_encrypted_is_encrypted_for_the_client_and_its_request() {
        let plain = |kind| [&[0, 0, 1, 55, kind, 36, 0, 0, 16][..], &[kind; 31]].concat();
        let upstream: &[(AttributeType, &[u8])] = &[
            (AttributeType::CLASS, b"before"),
            (AttributeType::VENDOR_SPECIFIC, &plain(16)),
            (AttributeType::VENDOR_SPECIFIC, &plain(17)),
            (AttributeType::TUNNEL_PASSWORD, &[&[1, 0, 0, 9][..], &[7; 15]].concat()),
            (AttributeType::CLASS, b"behind"),
        ];
        let (code, attributes) = reply(&[("Session-Timeout", "60")], upstream).await;
        assert_eq!((code, attributes.len()), (Code::AccessAccept, 7));
        let mut sealed = AttributeList::new();
        for (kind, value) in &attributes[1..6] {
            sealed.push(AttributeType(*kind), value).unwrap();
        }
        assert!(!sealed.octets().windows(16).any(|part| part == [16; 16] || part == [17; 16]));
        let secret = SharedSecret::new(NewResource::default().secret.as_bytes());
        let (open, left_out) = OpenAttributes::open(&mut sealed.iter(), &secret, &REQUEST);
        assert!(open.iter().map(|one| (one.kind, one.value)).eq(upstream.iter().copied()));
        assert_eq!(left_out, 0);
        // What cannot be read is not sent on as it is.
        let (code, _) = reply(&[], &[(AttributeType::TUNNEL_PASSWORD, &[1, 0x80, 0, 9])]).await;
        assert_eq!(code, Code::AccessReject);
    }

    #[tokio::test]
    async fn what_cannot_be_said_in_full_is_a_reject() {
        let long = "x".repeat(253);
        let much = vec![("Class", long.as_str()); 6];
        let most = vec![(AttributeType::CLASS, long.as_bytes()); 15];
        let kept = |attributes: &[(u8, Vec<u8>)]| attributes == [(33, b"p".to_vec())];
        for (named, upstream) in [
            (&[("Fliter-Id", "a")][..], &[][..]),
            (&[("State", "a")], &[]),
            (&[("Session-Timeout", "soon")], &[]),
            (&much, &[]),
            (&much[..5], &most),
            (&[], &[(AttributeType::MESSAGE_AUTHENTICATOR, &[0; 16][..])]),
            (&[], &[(AttributeType::PROXY_STATE, &b"q"[..])]),
        ] {
            let (code, attributes) = reply(named, upstream).await;
            assert!(code == Code::AccessReject && kept(&attributes), "{named:?}");
        }
        let (code, attributes) = reply(&much[..5], &most[..9]).await;
        assert_eq!((code, attributes.len()), (Code::AccessAccept, 15));
        assert!(attributes.len() * 255 < limits::PACKET);
    }
}
