//! Which client speaks for which resource.

use std::{net::IpAddr, sync::Arc};

use countersign_domain::{RadiusClient, Resource};

/// All resources and clients as they are now; replaced as a whole when one changes.
#[derive(Debug, Clone, Default)]
pub struct ResourceTable {
    seats: Vec<Arc<Seat>>,
}

/// A client and the resource that its logins are for.
#[derive(Debug, Clone)]
pub struct Seat {
    /// Whose packets.
    pub client: RadiusClient,
    /// What for.
    pub resource: Arc<Resource>,
}

impl ResourceTable {
    /// From what storage holds.
    pub fn new(resources: Vec<(Resource, Vec<RadiusClient>)>) -> Self {
        let mut seats = Vec::new();
        for (resource, clients) in resources {
            let resource = Arc::new(resource);
            seats.extend(clients.into_iter().map(|client| Arc::new(Seat { client, resource: Arc::clone(&resource) })));
        }
        Self { seats }
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
