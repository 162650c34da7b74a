//! What a proxy sends on: the attributes of a request, each in its place (RFC 2865 section 2.3).

use core::fmt;
use std::{net::SocketAddr, sync::Arc};

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    AttributeList, AttributeType, Attributes, Authenticator, Code, EncodeError, Identifier, PacketView, SharedSecret,
    UserPassword, encode_accounting_request, encode_request,
};

/// What this deployment's Proxy-State values begin with, which it adds to what it sends on. A request that comes in with
/// one has come back: somebody sends us what we sent to him.
///
/// INVARIANT: 16 of its octets are random and the same for all nodes of one deployment, so no other's value begins so.
#[derive(Clone)]
pub struct ProxyMark([u8; 28]);

/// Which of the requests that were sent on it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyTag(pub [u8; 8]);

impl ProxyMark {
    /// So that whoever looks at a packet sees whose it is.
    const NAME: &[u8; 12] = b"countersign/";

    /// From what is kept for the deployment.
    pub fn new(octets: [u8; 16]) -> Self {
        let mut value = [0; 28];
        value.iter_mut().zip(Self::NAME.iter().chain(&octets)).for_each(|(to, from)| *to = *from);
        Self(value)
    }

    /// If a request carries it, it has come back: the tag with which it was sent on.
    pub fn find(&self, packet: &PacketView<'_>) -> Option<ProxyTag> {
        packet.attributes(AttributeType::PROXY_STATE).find_map(|value| {
            let (mark, tag) = value.split_first_chunk::<28>()?;
            if bool::from(mark.ct_eq(&self.0)) { tag.try_into().ok().map(ProxyTag) } else { None }
        })
    }

    fn value(&self, tag: ProxyTag) -> Vec<u8> {
        [self.0.as_slice(), &tag.0].concat()
    }
}

impl fmt::Debug for ProxyMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProxyMark(redacted)")
    }
}

/// The attributes of a request that go on, as they stand on the wire: all of them in their order but
/// Message-Authenticator. User-Password is an empty attribute in its place, for it is hidden anew for each server.
/// CHAP-Password without CHAP-Challenge gets the Request Authenticator as one, for ours is another (RFC 2865 section 5.40).
///
/// # Errors
/// They would be longer than a packet.
pub fn forwarded(packet: &PacketView<'_>) -> Result<Vec<u8>, EncodeError> {
    let mut list = AttributeList::new();
    let has_challenge = packet.attribute(AttributeType::CHAP_CHALLENGE).is_some();
    for attribute in packet {
        match attribute.kind {
            AttributeType::MESSAGE_AUTHENTICATOR => {}
            AttributeType::USER_PASSWORD => list.push(attribute.kind, &[])?,
            AttributeType::CHAP_PASSWORD if !has_challenge => {
                list.push(attribute.kind, attribute.value)?;
                list.push(AttributeType::CHAP_CHALLENGE, packet.authenticator().octets())?;
            }
            kind => list.push(kind, attribute.value)?,
        }
    }
    Ok(list.octets().to_vec())
}

/// A request to be sent on.
#[derive(Clone)]
pub struct Forward {
    attributes: Arc<[u8]>,
    password: Option<Zeroizing<Vec<u8>>>,
    only: Option<SocketAddr>,
}

impl Forward {
    /// From what [`forwarded`] gave, with the password that belongs in the place of User-Password. Without one, or with
    /// an empty one, User-Password is left out: an empty password is never sent.
    pub fn new(attributes: Arc<[u8]>, password: Option<&[u8]>) -> Self {
        let password = password.filter(|password| !password.is_empty());
        Self { attributes, password: password.map(|password| Zeroizing::new(password.to_vec())), only: None }
    }

    /// To be sent to the server at this address and to no other: it belongs to a talk with that one (RFC 2865 section 5.24).
    #[must_use]
    pub const fn only_to(mut self, server: SocketAddr) -> Self {
        self.only = Some(server);
        self
    }

    pub(super) fn may_go_to(&self, server: SocketAddr) -> bool {
        self.only.is_none_or(|only| only == server)
    }

    /// The packet for one server, our Proxy-State last (RFC 2865 section 5.33).
    pub(super) fn encode(
        &self,
        identifier: Identifier,
        authenticator: &Authenticator,
        secret: &SharedSecret,
        mark: &ProxyMark,
        tag: ProxyTag,
    ) -> Result<Vec<u8>, EncodeError> {
        let mut list = AttributeList::new();
        for attribute in Attributes::over(&self.attributes) {
            if attribute.kind != AttributeType::USER_PASSWORD {
                list.push(attribute.kind, attribute.value)?;
            } else if let Some(password) = &self.password {
                let too_long = |_| EncodeError::ValueTooLong { kind: attribute.kind, octets: password.len() };
                list.push(attribute.kind, &UserPassword::hide(password, secret, authenticator).map_err(too_long)?)?;
            }
        }
        list.push(AttributeType::PROXY_STATE, &mark.value(tag))?;
        encode_request(Code::AccessRequest, identifier, authenticator, secret, &list)
    }
}

impl Forward {
    /// The Accounting-Request for one server with its Request Authenticator: all attributes as they came, and our
    /// Proxy-State last (RFC 2866 section 2.3).
    pub(super) fn encode_accounting(
        &self,
        identifier: Identifier,
        secret: &SharedSecret,
        mark: &ProxyMark,
        tag: ProxyTag,
    ) -> Result<(Authenticator, Vec<u8>), EncodeError> {
        let mut list = AttributeList::from_octets(&self.attributes).ok_or(EncodeError::PacketTooLong)?;
        list.push(AttributeType::PROXY_STATE, &mark.value(tag))?;
        encode_accounting_request(identifier, secret, &list)
    }
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward").field("octets", &self.attributes.len()).finish_non_exhaustive()
    }
}
