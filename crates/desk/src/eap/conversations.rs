//! Conversations that wait for their next round, by the State that a server gave.

use core::time::Duration;
use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
};

use countersign_domain::{ClientId, HostileText, LoginRequest, ResourceId};

/// No State is good for longer (S46).
const LIFE: Duration = Duration::from_secs(120);
/// Conversations that wait, all clients together, and of one client. A client's share is what its users leave unfinished in
/// that time, so that one does not keep the others out (S105).
const MOST: usize = 10_000;
const MOST_OF_CLIENT: usize = 1_000;

/// Where the next round comes from, and where it goes.
#[derive(Debug, PartialEq, Eq)]
struct Conversation {
    serial: u64,
    until: Duration,
    client: ClientId,
    peer: IpAddr,
    outer: HostileText,
    resource: ResourceId,
    server: SocketAddr,
}

impl Conversation {
    /// Whether the next round comes from where this one's answer went, in the same name and for the same (S46).
    fn is_of(&self, request: &LoginRequest) -> bool {
        self.client == request.client
            && self.peer == request.peer
            && self.outer == request.user_typed
            && self.resource == request.resource.id
    }
}

/// The table. A State belongs to the client that got it, and is good once.
///
/// INVARIANT: `by_age` names each conversation of `by_state` once, `of_client` counts them, and none of the lists is empty.
#[derive(Debug, Default)]
pub(crate) struct Conversations {
    /// Servers make their State without knowing of each other, so one may be that of several clients.
    by_state: HashMap<Vec<u8>, Vec<Conversation>>,
    by_age: BTreeMap<(Duration, u64), Vec<u8>>,
    of_client: HashMap<ClientId, usize>,
    made: u64,
}

impl Conversations {
    /// The server that a round belongs to; `None` for a first one. It is the only round that may follow with its State.
    ///
    /// # Errors
    /// One word that says why the round belongs nowhere; then nothing has changed.
    pub(crate) fn go_on(&mut self, now: Duration, request: &LoginRequest) -> Result<Option<SocketAddr>, &'static str> {
        let Some(state) = request.state.as_deref() else { return Ok(None) };
        self.expire(now);
        let listed = self.by_state.get(state).ok_or("unknown_state")?;
        let found = listed.iter().find(|one| one.is_of(request)).ok_or("foreign_state")?;
        let (until, serial, server) = (found.until, found.serial, found.server);
        self.remove(until, serial);
        Ok(Some(server))
    }

    /// Keeps what is needed for the next round of a request that `server` answers with `state`; whether there is room. An
    /// older one that has the same State at the same client is forgotten: that server speaks to somebody else by now.
    pub(crate) fn keep(&mut self, now: Duration, request: &LoginRequest, state: Vec<u8>, server: SocketAddr) -> bool {
        self.expire(now);
        let mut listed = self.by_state.get(&state).into_iter().flatten();
        let before = listed.find(|one| one.client == request.client).map(|one| (one.until, one.serial));
        if let Some((until, serial)) = before {
            self.remove(until, serial);
        }
        let of_client = self.of_client.get(&request.client).copied().unwrap_or_default();
        if self.by_age.len() >= MOST || of_client >= MOST_OF_CLIENT {
            return false;
        }
        let (until, serial) = (now.saturating_add(LIFE), self.made);
        self.made = self.made.wrapping_add(1);
        self.of_client.insert(request.client, of_client.saturating_add(1));
        self.by_age.insert((until, serial), state.clone());
        self.by_state.entry(state).or_default().push(Conversation {
            serial,
            until,
            client: request.client,
            peer: request.peer,
            outer: request.user_typed.clone(),
            resource: request.resource.id,
            server,
        });
        true
    }

    fn expire(&mut self, now: Duration) {
        while let Some((until, serial)) = self.by_age.first_key_value().map(|(age, _)| *age)
            && until <= now
        {
            self.remove(until, serial);
        }
    }

    fn remove(&mut self, until: Duration, serial: u64) {
        let Some(state) = self.by_age.remove(&(until, serial)) else { return };
        let Some(listed) = self.by_state.get_mut(&state) else { return };
        if let Some(at) = listed.iter().position(|one| one.serial == serial) {
            let client = listed.swap_remove(at).client;
            if let Some(count) = self.of_client.get_mut(&client) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.of_client.remove(&client);
                }
            }
        }
        if listed.is_empty() {
            self.by_state.remove(&state);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use countersign_domain::{Credential, Door, Entropy, LoginId, Primary, Resource, RetryKey, Source, Timestamp};
    use countersign_testkit::SeededEntropy;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    struct World {
        entropy: SeededEntropy,
        resource: Arc<Resource>,
        table: Conversations,
    }

    impl World {
        fn new() -> Self {
            let entropy = SeededEntropy::new(1);
            let now = Timestamp::from_seconds(0);
            let resource = Resource::new(ResourceId::new(now, &entropy), "Wi-Fi", Primary::Radius, now);
            Self { entropy, resource: Arc::new(resource), table: Conversations::default() }
        }

        fn client(&self) -> ClientId {
            ClientId::new(Timestamp::from_seconds(0), &self.entropy)
        }

        fn request(&self, client: ClientId, state: Option<&[u8]>) -> LoginRequest {
            LoginRequest {
                id: LoginId::new(Timestamp::from_seconds(0), &self.entropy),
                resource: Arc::clone(&self.resource),
                client,
                client_name: "192.0.2.1".to_owned(),
                peer: [192, 0, 2, 1].into(),
                door: Door::Radius,
                user_typed: "anonymous".into(),
                credential: Credential::Eap,
                source: Source::default(),
                retry: RetryKey::default(),
                state: state.map(<[u8]>::to_vec),
                forward: None,
            }
        }

        fn keep(&mut self, now: Duration, client: ClientId, state: &[u8], server: u8) -> bool {
            let request = self.request(client, None);
            let kept = self.table.keep(now, &request, state.to_vec(), address(server));
            self.check();
            kept
        }

        fn go_on(&mut self, now: Duration, client: ClientId, state: &[u8]) -> Result<Option<SocketAddr>, &'static str> {
            let request = self.request(client, Some(state));
            let found = self.table.go_on(now, &request);
            self.check();
            found
        }

        fn check(&self) {
            let table = &self.table;
            let all: usize = table.by_state.values().map(Vec::len).sum();
            assert_eq!((all, table.of_client.values().sum()), (table.by_age.len(), all));
            assert!(table.by_state.values().all(|list| !list.is_empty()));
            assert!(table.of_client.values().all(|count| (1..=MOST_OF_CLIENT).contains(count)));
            assert!(all <= MOST);
        }
    }

    fn address(server: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, server], 1812))
    }

    #[test]
    fn s46_s51_a_state_leads_to_its_server_once_and_not_for_long() {
        let mut world = World::new();
        let client = world.client();
        assert_eq!(world.table.go_on(SECOND, &world.request(client, None)), Ok(None));
        assert_eq!(world.go_on(SECOND, client, b"s"), Err("unknown_state"));
        assert!(world.keep(SECOND, client, b"s", 1) && world.keep(SECOND, client, b"t", 2));
        assert_eq!(world.go_on(SECOND * 2, client, b"t"), Ok(Some(address(2))));
        assert_eq!(world.go_on(SECOND * 2, client, b"t"), Err("unknown_state"), "it is good once");
        assert_eq!(world.go_on(SECOND * 120, client, b"s"), Ok(Some(address(1))));
        assert!(world.keep(SECOND, client, b"s", 1));
        assert_eq!(world.go_on(SECOND * 121, client, b"s"), Err("unknown_state"));
        assert!(world.table.by_age.is_empty());
    }

    #[test]
    fn s46_s51_a_state_from_elsewhere_is_refused_and_stays_good_where_it_belongs() {
        let mut world = World::new();
        let (one, other) = (world.client(), world.client());
        world.keep(SECOND, one, b"s", 1);
        assert_eq!(world.go_on(SECOND, other, b"s"), Err("foreign_state"));
        let mut changed = [(); 3].map(|()| world.request(one, Some(b"s")));
        changed[0].peer = [192, 0, 2, 9].into();
        changed[1].user_typed = "alice".into();
        let entropy: &dyn Entropy = &world.entropy;
        let id = ResourceId::new(Timestamp::from_seconds(0), entropy);
        changed[2].resource = Arc::new(Resource { id, ..(*world.resource).clone() });
        for request in changed {
            assert_eq!(world.table.go_on(SECOND, &request), Err("foreign_state"));
        }
        assert_eq!(world.go_on(SECOND, one, b"s"), Ok(Some(address(1))));
    }

    #[test]
    fn s51_two_clients_may_have_one_state_of_two_servers() {
        let mut world = World::new();
        let (one, other) = (world.client(), world.client());
        assert!(world.keep(SECOND, one, b"s", 1) && world.keep(SECOND, other, b"s", 2));
        assert!(world.keep(SECOND, one, b"s", 3), "the newer one counts");
        assert_eq!(world.go_on(SECOND, other, b"s"), Ok(Some(address(2))));
        assert_eq!(world.go_on(SECOND, one, b"s"), Ok(Some(address(3))));
        assert_eq!(world.go_on(SECOND, one, b"s"), Err("unknown_state"));
    }

    #[test]
    fn s105_a_client_has_its_share_and_all_have_an_end() {
        let mut world = World::new();
        let state = |number: usize| number.to_be_bytes();
        for client in 0..MOST / MOST_OF_CLIENT {
            let id = world.client();
            for number in 0..MOST_OF_CLIENT {
                let request = world.request(id, None);
                assert!(world.table.keep(SECOND, &request, state(number).to_vec(), address(1)), "{client} {number}");
            }
            assert!(!world.keep(SECOND, id, b"one more", 1));
            assert!(world.keep(SECOND, id, &state(0), 2), "in the place of its own");
        }
        let another = world.client();
        assert!(!world.keep(SECOND, another, b"s", 1), "nobody's is dropped for it");
        assert!(world.keep(SECOND * 121, another, b"s", 1), "time makes room");
        assert_eq!(world.table.by_age.len(), 1);
    }
}
