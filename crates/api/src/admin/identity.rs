//! Who clients and servers are that speak RADIUS over TLS (S48).

use std::net::SocketAddr;

use countersign_domain::{HostileText, Network, RadiusClient, TlsIdentity, TlsPeer, UpstreamServer, radsec_secret};

use super::{AdminCode, AdminProblem, clients::network};

/// What servers of RADIUS over TLS are asked by: the address in front, the identity behind.
const SCHEME: &str = "tls://";
/// RFC 6614 section 2.1.
const PORT: u16 = 2083;

/// By which certificate a client is known, as it was written; `None`: it speaks UDP.
pub(super) fn read(fingerprint: Option<&str>, name: Option<&str>) -> Result<Option<TlsIdentity>, AdminProblem> {
    let read = match (fingerprint, name) {
        (None, None) => return Ok(None),
        (Some(text), None) => TlsIdentity::fingerprint(text.strip_prefix("sha256:").unwrap_or(text)),
        (None, Some(text)) => TlsIdentity::name(text),
        (Some(_), Some(_)) => {
            return Err(AdminProblem::new(
                AdminCode::IdentityRefused,
                "a fingerprint and a name were given: a client is known by one of the two",
            ));
        }
    };
    read.map(Some).map_err(|fault| AdminProblem::new(AdminCode::IdentityRefused, fault.to_string()))
}

/// Where connections may come from; the same network may be that of several clients, since each has a certificate.
pub(super) fn bounds(texts: &[String]) -> Result<Vec<Network>, AdminProblem> {
    let mut networks = Vec::new();
    for text in texts {
        let network = network(text)?;
        if !networks.contains(&network) {
            networks.push(network);
        }
    }
    Ok(networks)
}

/// Makes a client one that speaks TLS. What belongs to a shared secret has no place there.
pub(super) fn over_tls(
    client: &mut RadiusClient,
    identity: TlsIdentity,
    networks: Vec<Network>,
    has_secret: bool,
    rule: Option<bool>,
) -> Result<(), AdminProblem> {
    only_tls(has_secret, rule)?;
    client.tls = Some(TlsPeer { identity, networks });
    client.secret = radsec_secret();
    Ok(())
}

/// Refuses what only a client has that speaks UDP.
pub(super) fn only_tls(has_secret: bool, rule: Option<bool>) -> Result<(), AdminProblem> {
    if has_secret {
        return Err(AdminProblem::new(
            AdminCode::SecretRefused,
            "a client that is known by its certificate has no shared secret: type \"radsec\" where it wants one (RFC 6614)",
        ));
    }
    if rule.is_some() {
        return Err(AdminProblem::new(
            AdminCode::Malformed,
            "a client that speaks TLS is not asked for Message-Authenticator: TLS proves what it sends",
        ));
    }
    Ok(())
}

/// Explains that another client has the certificate; `None` where none has.
pub(super) fn taken(client: &RadiusClient, mut others: impl Iterator<Item = RadiusClient>) -> Option<AdminProblem> {
    let own = &client.tls.as_ref()?.identity;
    let other = others.find(|other| other.tls.as_ref().is_some_and(|peer| peer.identity == *own))?;
    Some(AdminProblem::new(
        AdminCode::IdentityInUse,
        format!("client {} is known by {own} already: a certificate can be one client's only", other.name),
    ))
}

/// A server as it is written: its address, with what its certificate has to be where it is asked over TLS.
pub fn server_text(server: &UpstreamServer) -> String {
    match &server.tls {
        None => server.address.to_string(),
        Some(identity) => format!("{SCHEME}{}/{identity}", server.address),
    }
}

/// Reads a server that is asked over TLS; `None` where the text is not of one.
pub(super) fn tls_server(
    text: &str,
    address: impl Fn(&str, u16) -> Result<SocketAddr, AdminProblem>,
) -> Option<Result<(SocketAddr, TlsIdentity), AdminProblem>> {
    let rest = text.strip_prefix(SCHEME)?;
    let refuse = |why: &str| {
        let shown = HostileText::from(text);
        AdminProblem::new(AdminCode::UpstreamRefused, format!("{shown}: {why}"))
    };
    Some(match rest.split_once('/') {
        None => Err(refuse(
            "say whose certificate it has, as in tls://192.0.2.7/radius.example.org or tls://192.0.2.7:2083/sha256:…",
        )),
        Some((host, identity)) => identity
            .parse::<TlsIdentity>()
            .map_err(|fault| refuse(&fault.to_string()))
            .and_then(|identity| Ok((address(host, PORT)?, identity))),
    })
}
