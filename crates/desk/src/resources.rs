//! Which client speaks for which resource.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use countersign_domain::{MatchRule, RadiusClient, Resource, ResourceId};

/// All resources and clients as they are now; replaced as a whole when one changes.
#[derive(Debug, Clone, Default)]
pub struct ResourceTable {
    all: HashMap<ResourceId, Arc<Resource>>,
    seats: Vec<Arc<Seat>>,
}

/// A client and the resources that its logins are for.
#[derive(Debug, Clone)]
pub struct Seat {
    /// Whose packets.
    pub client: RadiusClient,
    /// What for, where no rule says otherwise.
    pub resource: Arc<Resource>,
    /// Where the client's rules lead, in their order.
    pub routes: Vec<Route>,
}

/// A rule of a client, and where it leads.
#[derive(Debug, Clone)]
pub struct Route {
    /// The rule.
    pub rule: MatchRule,
    /// The resource; where it asks less than the client's own, or is not there, the words for it. Then a request that the
    /// rule fits is for no resource at all.
    pub to: Result<Arc<Resource>, String>,
}

impl ResourceTable {
    /// From what storage holds.
    pub fn new(resources: Vec<(Resource, Vec<RadiusClient>)>) -> Self {
        let rows: Vec<_> = resources.into_iter().map(|(resource, clients)| (Arc::new(resource), clients)).collect();
        let all: HashMap<ResourceId, Arc<Resource>> =
            rows.iter().map(|(resource, _)| (resource.id, Arc::clone(resource))).collect();
        let mut seats = Vec::new();
        for (resource, clients) in rows {
            for client in clients {
                let routes = client.rules.iter().map(|rule| route(rule, &resource, &all)).collect();
                seats.push(Arc::new(Seat { client, resource: Arc::clone(&resource), routes }));
            }
        }
        Self { all, seats }
    }

    /// The resource with an identifier.
    pub fn resource(&self, id: ResourceId) -> Option<&Arc<Resource>> {
        self.all.get(&id)
    }

    /// All seats.
    pub fn seats(&self) -> &[Arc<Seat>] {
        &self.seats
    }

    /// The client that an address belongs to: that of the narrowest network around it.
    pub fn find(&self, address: IpAddr) -> Option<&Arc<Seat>> {
        let address = address.to_canonical();
        self.seats
            .iter()
            .flat_map(|seat| seat.client.networks.iter().map(move |network| (network, seat)))
            .filter(|(network, _)| network.contains(&address))
            .max_by_key(|(network, _)| network.prefix_len())
            .map(|(_, seat)| seat)
    }
}

fn route(rule: &MatchRule, own: &Resource, all: &HashMap<ResourceId, Arc<Resource>>) -> Route {
    let to = match all.get(&rule.resource) {
        None => Err("leads to a resource that is not there".to_owned()),
        Some(resource) => match resource.weakens(own) {
            None => Ok(Arc::clone(resource)),
            Some(how) => Err(format!("leads to {}, which lets in more easily than {}: {how}", resource.name, own.name)),
        },
    };
    Route { rule: rule.clone(), to }
}

#[cfg(test)]
mod tests {
    use countersign_domain::{Clock, Entropy, MatchAttribute, Primary, ResourceId};
    use countersign_testkit::{FakeClock, SeededEntropy};

    use super::*;

    #[test]
    fn a_rule_that_would_weaken_leads_nowhere() {
        let (now, entropy) = (FakeClock::default().now(), SeededEntropy::new(1));
        let entropy: &dyn Entropy = &entropy;
        let new = |name, primary| Resource::new(ResourceId::new(now, entropy), name, primary, now);
        let (gateway, vpn) = (new("gateway", Primary::None), new("vpn", Primary::Local));
        let leading = |own: &Resource, to: ResourceId| RadiusClient {
            id: countersign_domain::ClientId::new(now, entropy),
            name: own.name.clone(),
            resource: own.id,
            rules: vec![MatchRule { attribute: MatchAttribute::NasIdentifier, value: "a".to_owned(), resource: to }],
            networks: Vec::new(),
            secret: countersign_domain::Secret::new(own.name.as_bytes().to_vec()),
            previous: None,
            tls: None,
            require_message_authenticator: true,
        };
        let gone = ResourceId::new(now, entropy);
        let table = ResourceTable::new(vec![
            (gateway.clone(), vec![leading(&gateway, vpn.id), leading(&gateway, gone)]),
            (vpn.clone(), vec![leading(&vpn, gateway.id)]),
        ]);
        let to = |seat: usize| table.seats()[seat].routes[0].to.as_ref().map(|resource| resource.name.as_str());
        assert_eq!(to(0), Ok("vpn"));
        assert!(to(1).is_err_and(|why| why.contains("not there")));
        assert!(to(2).is_err_and(|why| why.contains("gateway") && why.contains("first factor")));
    }
}
