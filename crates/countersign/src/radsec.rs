//! What there is to say of RADIUS over TLS, for `doctor`.

use countersign_api::admin::status::Finding;
use countersign_domain::TlsIdentity;

use crate::{facts::Program, upkeep};

/// What a finding is about.
const ABOUT: &str = "radius over tls";

/// Nothing where neither clients nor settings have to do with it.
pub(crate) fn findings(program: &Program) -> Vec<Finding> {
    let table = program.desk.resources().borrow().clone();
    let peers = table.seats().iter().filter_map(|seat| Some((seat.client.name.as_str(), seat.client.tls.as_ref()?)));
    let peers: Vec<_> = peers.collect();
    let named: Vec<&str> = peers
        .iter()
        .filter(|(_, peer)| matches!(peer.identity, TlsIdentity::Name(_)))
        .map(|(client, _)| *client)
        .collect();
    let listens = !program.radius_tls.is_empty();
    let mut out = Vec::new();
    if listens {
        let addresses: Vec<_> = program.radius_tls.iter().map(ToString::to_string).collect();
        let text = format!("listens on {}", addresses.join(" and "));
        out.push(if peers.is_empty() {
            let text = format!("{text}, and no client speaks it: `countersign client add NAME --tls-name …` adds one");
            Finding::note(ABOUT, text)
        } else {
            Finding::ok(ABOUT, text)
        });
    } else if let Some((client, _)) = peers.first() {
        out.push(Finding::wrong(
            ABOUT,
            format!(
                "client {client} speaks RADIUS over TLS only, and the server listens nowhere for it: set [radius] tls_listen and \
                 [radius.tls], and restart"
            ),
        ));
    }
    let Some(credentials) = &program.credentials else { return out };
    if let Some(client) = named.first().filter(|_| !credentials.follow().borrow().has_ca()) {
        out.push(Finding::wrong(
            ABOUT,
            format!("client {client} is known by a name in its certificate, and no CA says whose that is: set [radius.tls] ca"),
        ));
    }
    out.extend(credentials.fault().map(|fault| {
        let text = format!("{fault}. The files changed, and the certificate before is still shown: mend the files");
        Finding::wrong(ABOUT, text)
    }));
    let now = program.desk.clock().now();
    let who = ("clients and servers do not connect", "no RADIUS client or server connects");
    out.extend(credentials.ends().map(|ends| upkeep::certificate(ABOUT, who, ends, now)));
    out
}
