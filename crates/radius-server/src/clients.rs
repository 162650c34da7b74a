//! Which client a packet comes from, with everything that can be prepared once.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use countersign_desk::{ResourceTable, Route, Seat};
use countersign_domain::{ClientId, Clock, Resource, Timestamp, TlsIdentity};
use countersign_radius::{MessageAuthenticatorRule, PacketView, RequestTest, SharedSecret};
use countersign_radius_tls::Known;
use ipnet::IpNet;

use crate::{
    figures::{ClientCounters, Figures, OfClient},
    patience::Patience,
    rotation::Proofs,
};

/// A client as the door needs it.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) seat: Arc<Seat>,
    /// With the key set-up of HMAC and MD5 done.
    pub(crate) secret: SharedSecret,
    pub(crate) rule: MessageAuthenticatorRule,
    pub(crate) counters: Arc<ClientCounters>,
    pub(crate) patience: Arc<Patience>,
    /// Where the secret is being changed: what was proven with this one.
    proofs: Option<Arc<Proofs>>,
    /// And the client as it is known by the one before, until then.
    pub(crate) before: Option<(Timestamp, Arc<Self>)>,
    /// Of the client's rules, in their order. A rule that cannot be read fits every request.
    tests: Arc<[Option<RequestTest>]>,
}

impl Client {
    /// A packet was proven with this secret.
    pub(crate) fn note_proof(&self, clock: &dyn Clock) {
        if let Some(proofs) = &self.proofs {
            proofs.note(clock.now());
        }
    }

    pub(crate) fn id(&self) -> ClientId {
        self.seat.client.id
    }

    /// Whether what is pending for this client still makes sense for the other.
    fn is_same_as(&self, other: &Self) -> bool {
        let (old, new) = (&self.seat.client, &other.seat.client);
        // What is pending by the one before is answered with it.
        let goes_on = new.previous.as_ref().is_some_and(|previous| previous.secret == old.secret);
        (old.secret == new.secret || goes_on)
            && old.networks == new.networks
            && old.tls == new.tls
            && old.resource == new.resource
            && old.rules == new.rules
    }

    /// What a request is for: where the first rule that fits leads, and otherwise the client's own resource.
    ///
    /// # Errors
    /// The rule leads nowhere; in words for the record.
    pub(crate) fn resource_of(&self, request: &PacketView<'_>) -> Result<&Arc<Resource>, String> {
        let fits = |(_, test): &(&Route, &Option<RequestTest>)| test.as_ref().is_none_or(|test| test.holds(request));
        let Some((Route { rule, to }, test)) = self.seat.routes.iter().zip(self.tests.iter()).find(fits) else {
            return Ok(&self.seat.resource);
        };
        match (to, test) {
            (Ok(resource), Some(_)) => Ok(resource),
            (Ok(_), None) => Err(format!("the rule for {} cannot be read", rule.attribute.as_str())),
            (Err(why), _) => Err(format!("the rule {} = {} {why}", rule.attribute.as_str(), rule.value)),
        }
    }
}

/// All clients, found by address in a step for each length of prefix that is in use.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    all: HashMap<ClientId, Arc<Client>>,
    /// By length of prefix.
    networks: BTreeMap<u8, HashMap<IpNet, Arc<Client>>>,
    /// Of those who speak TLS; they have no networks above, so no datagram is theirs.
    certificates: HashMap<TlsIdentity, Arc<Client>>,
}

impl Clients {
    pub(crate) fn new(table: &ResourceTable, figures: &Figures) -> Self {
        let mut clients = Self::default();
        for seat in table.seats() {
            let (rule, secret) = match (&seat.client.tls, seat.client.require_message_authenticator) {
                (Some(_), _) => (MessageAuthenticatorRule::Connection, SharedSecret::radsec()),
                (None, true) => (MessageAuthenticatorRule::Required, secret_of(seat)),
                (None, false) => (MessageAuthenticatorRule::Optional, secret_of(seat)),
            };
            let previous = seat.client.previous.as_ref().filter(|_| seat.client.tls.is_none());
            let OfClient { counters, patience, rotation } =
                figures.of(seat.client.id, previous.map(|previous| previous.until));
            let read = |Route { rule, .. }: &Route| RequestTest::new(rule.attribute.as_str(), &rule.value).ok();
            let tests: Arc<[_]> = seat.routes.iter().map(read).collect();
            let known_by = |secret: SharedSecret, proofs, before| {
                Arc::new(Client {
                    seat: Arc::clone(seat),
                    secret,
                    rule,
                    counters: Arc::clone(&counters),
                    patience: Arc::clone(&patience),
                    proofs,
                    before,
                    tests: Arc::clone(&tests),
                })
            };
            let (by_new, by_previous) = rotation.map(|rotation| (rotation.by_new, rotation.by_previous)).unzip();
            let before = previous.map(|previous| {
                let secret = SharedSecret::new(previous.secret.expose());
                (previous.until, known_by(secret, by_previous, None))
            });
            let client = known_by(secret, by_new, before);
            if let Some(peer) = &seat.client.tls {
                clients.certificates.insert(peer.identity.clone(), Arc::clone(&client));
                clients.all.insert(client.id(), client);
                continue;
            }
            for network in &seat.client.networks {
                let of_prefix = clients.networks.entry(network.prefix_len()).or_default();
                of_prefix.insert(network.trunc(), Arc::clone(&client));
            }
            clients.all.insert(client.id(), client);
        }
        figures.keep(|client| clients.all.contains_key(&client));
        clients
    }

    /// The client of the narrowest network around an address; the same as [`ResourceTable::find`].
    pub(crate) fn find(&self, address: IpAddr) -> Option<&Arc<Client>> {
        let address = address.to_canonical();
        self.networks.iter().rev().find_map(|(prefix, of_prefix)| {
            let network = IpNet::new(address, *prefix).ok()?;
            of_prefix.get(&network.trunc())
        })
    }

    /// The client with a certificate that comes from an address.
    pub(crate) fn with_certificate(&self, identity: &TlsIdentity, address: IpAddr) -> Option<&Arc<Client>> {
        let client = self.certificates.get(identity)?;
        let networks = client.seat.client.tls.as_ref().map(|peer| peer.networks.as_slice()).unwrap_or_default();
        let address = address.to_canonical();
        let is_there = networks.is_empty() || networks.iter().any(|network| network.contains(&address));
        is_there.then_some(client)
    }

    /// Those who speak TLS, and from where.
    pub(crate) fn known(&self) -> Known {
        let peers = self.certificates.values().filter_map(|client| client.seat.client.tls.as_ref());
        peers.map(|peer| (peer.identity.clone(), peer.networks.clone())).collect()
    }

    pub(crate) fn by_id(&self, client: ClientId) -> Option<&Arc<Client>> {
        self.all.get(&client)
    }

    pub(crate) fn exists(&self, client: ClientId) -> bool {
        self.all.contains_key(&client)
    }

    /// The clients that are not there any more in `newer`, or have another secret, another certificate, other networks or another resource.
    pub(crate) fn gone_in(&self, newer: &Self) -> Vec<ClientId> {
        let stays = |old: &Client| newer.all.get(&old.id()).is_some_and(|new| old.is_same_as(new));
        self.all.values().filter(|old| !stays(old)).map(|old| old.id()).collect()
    }
}

fn secret_of(seat: &Seat) -> SharedSecret {
    SharedSecret::new(seat.client.secret.expose())
}

#[cfg(test)]
mod tests {
    use countersign_domain::{Entropy, Primary, RadiusClient, ResourceId, Secret};
    use countersign_testkit::SeededEntropy;
    use proptest::prelude::*;

    use super::*;

    fn seat(secret: &str, networks: &[IpNet], entropy: &dyn Entropy) -> (Resource, Vec<RadiusClient>) {
        let now = Timestamp::from_seconds(1_800_000_000);
        let resource = Resource::new(ResourceId::new(now, entropy), secret, Primary::None, now);
        let client = RadiusClient {
            id: ClientId::new(now, entropy),
            name: secret.to_owned(),
            resource: resource.id,
            rules: Vec::new(),
            networks: networks.to_vec(),
            secret: Secret::new(secret.as_bytes().to_vec()),
            previous: None,
            tls: None,
            require_message_authenticator: true,
        };
        (resource, vec![client])
    }

    /// Addresses close together, so that networks overlap.
    fn address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            (0_u8..4, 0_u8..4).prop_map(|(c, d)| IpAddr::from([192, 0, c, d])),
            (0_u16..4).prop_map(|d| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, d])),
            (0_u8..4).prop_map(|d| IpAddr::from(std::net::Ipv4Addr::from([192, 0, 0, d]).to_ipv6_mapped())),
        ]
    }

    fn network() -> impl Strategy<Value = IpNet> {
        (address(), 0_u8..=32).prop_map(|(address, from_end)| {
            let longest = if address.is_ipv4() { 32 } else { 128 };
            IpNet::new(address, longest - from_end).unwrap().trunc()
        })
    }

    proptest! {
        #[test]
        fn the_narrowest_network_wins_as_in_the_desks_own_table(
            networks in prop::collection::btree_set(network(), 0..12), asked in address(),
        ) {
            let entropy = SeededEntropy::new(1);
            let rows = networks.iter().enumerate();
            let rows = rows.map(|(index, network)| seat(&format!("secret {index}"), &[*network], &entropy)).collect();
            let table = ResourceTable::new(rows);
            let clients = Clients::new(&table, &Figures::default());
            let ours = clients.find(asked).map(|client| client.id());
            prop_assert_eq!(ours, table.find(asked).map(|seat| seat.client.id));
        }
    }

    #[test]
    fn a_client_with_another_secret_is_another_client_and_its_counts_go_on() {
        let entropy = SeededEntropy::new(2);
        let figures = Figures::default();
        let home: IpNet = "192.0.2.0/24".parse().unwrap();
        let (resource, rows) = seat("one", &[home], &entropy);
        let before = Clients::new(&ResourceTable::new(vec![(resource.clone(), rows.clone())]), &figures);
        before.find("192.0.2.9".parse().unwrap()).unwrap().counters.full.count();

        let mut looser = rows.clone();
        looser[0].require_message_authenticator = false;
        let after = Clients::new(&ResourceTable::new(vec![(resource.clone(), looser)]), &figures);
        assert!(before.gone_in(&after).is_empty());

        let mut changed = rows.clone();
        changed[0].secret = Secret::new(b"two".to_vec());
        let after = Clients::new(&ResourceTable::new(vec![(resource, changed)]), &figures);
        assert_eq!(before.gone_in(&after), [rows[0].id]);
        assert_eq!(figures.client(rows[0].id).full, 1);

        let none = Clients::new(&ResourceTable::default(), &figures);
        assert_eq!(after.gone_in(&none), [rows[0].id]);
        assert!(figures.clients().is_empty());
    }
}
