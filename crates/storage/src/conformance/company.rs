//! What larger installations have: upstreams, further clients with rules, policies, bypasses, passkeys.

use core::time::Duration;

use countersign_domain::{
    Bypass, Charset, Expects, MatchAttribute, MatchRule, Methods, Passkey, Policy, PreviousSecret, ReplyAttribute,
    ReplyRule, TlsIdentity, TlsPeer, Upstream, UpstreamId, UpstreamServer, UserVerification, radsec_secret,
};

use super::{
    Arc, Backend, DeviceState, Maker, NOW, Primary, RadiusClient, Resource, Secret, Store, Write, at, holds, race,
    refused,
};

impl Maker {
    /// An upstream of two servers.
    pub fn upstream(&self, name: &str) -> Upstream {
        let server = |address: &str, secret: &str| UpstreamServer {
            address: address.parse().unwrap(),
            secret: Secret::new(secret.as_bytes().to_vec()),
            tls: None,
        };
        Upstream {
            id: UpstreamId::new(NOW, self.entropy()),
            name: name.to_owned(),
            servers: vec![server("192.0.2.10:1812", "first"), server("[2001:db8::1]:1645", "second")],
            accounting: vec![server("192.0.2.11:1813", "third"), server("192.0.2.10:1813", "fourth")],
            created_at: NOW,
        }
    }
}

/// Clients that speak TLS have all the same secret, and each a certificate of its own (S48).
async fn a_certificate_is_one_clients(maker: &Maker, store: &dyn Store, resource: &Resource) {
    let client = |name: &str, identity: TlsIdentity, networks: &[&str]| RadiusClient {
        resource: resource.id,
        networks: Vec::new(),
        secret: radsec_secret(),
        previous: None,
        tls: Some(TlsPeer { identity, networks: networks.iter().map(|text| text.parse().unwrap()).collect() }),
        ..maker.resource(name, "unused").1
    };
    let add = |client: &RadiusClient| Write::AddClient(Box::new(client.clone()));
    let set = |client: &RadiusClient| Write::SetClient(Box::new(client.clone()));
    let named = client("named", "vpn.example.org".parse().unwrap(), &["192.0.2.0/24"]);
    let mut pinned = client("pinned", TlsIdentity::Fingerprint([7; 32]), &[]);
    holds(store, vec![add(&named), add(&pinned)]).await;
    refused(store, vec![add(&client("twin", TlsIdentity::Fingerprint([7; 32]), &[]))], 0).await;
    let peer = named.tls.clone();
    refused(store, vec![set(&RadiusClient { tls: peer, ..pinned.clone() })], 0).await;
    pinned.tls = Some(TlsPeer { identity: TlsIdentity::Fingerprint([8; 32]), networks: Vec::new() });
    holds(store, vec![set(&pinned)]).await;
    let all = store.resources().await.unwrap();
    let found = |id| all.iter().flat_map(|(_, clients)| clients).find(|client| client.id == id).cloned();
    assert_eq!((found(named.id), found(pinned.id)), (Some(named.clone()), Some(pinned.clone())));
    holds(store, vec![Write::RemoveClient(named.id), Write::RemoveClient(pinned.id)]).await;
}

/// A policy that has something everywhere.
fn policy() -> Policy {
    let reply = ReplyRule {
        group: Some("GG-VPN".to_owned()),
        attributes: vec![ReplyAttribute { name: "Class".to_owned(), value: "\"x\"\u{e9}".to_owned() }],
    };
    Policy {
        require_groups: vec!["CN=\"x\",DC=y".to_owned()],
        credential: Expects::Nothing,
        ms_chap: true,
        eap: true,
        prompt: Some(Methods { code_to_phone: true, typed: true, totp: false }),
        user_verification: UserVerification::Required,
        windows: true,
        remember: 30,
        charset: Charset::Windows1252,
        reply: vec![reply],
    }
}

/// Upstreams have unique names, come back whole and in order, and stay while a resource needs them.
pub async fn upstreams_have_names_and_secrets_of_their_own(backend: &dyn Backend) {
    let (maker, store) = (Maker::default(), backend.open().await);
    let (mut nps, other) = (maker.upstream("NPS"), maker.upstream("Another"));
    let add = |upstream: &Upstream| Write::AddUpstream(Box::new(upstream.clone()));
    let set = |upstream: &Upstream| Write::SetUpstream(Box::new(upstream.clone()));
    holds(&*store, vec![add(&nps), add(&other)]).await;
    refused(&*store, vec![add(&maker.upstream("nps"))], 0).await;
    refused(&*store, vec![add(&Upstream { servers: Vec::new(), ..maker.upstream("empty") })], 0).await;
    refused(&*store, vec![set(&maker.upstream("new"))], 0).await;
    refused(&*store, vec![set(&Upstream { name: "ANOTHER".to_owned(), ..nps.clone() })], 0).await;
    nps.servers.reverse();
    nps.servers[1].tls = Some("radius.example.org".parse().unwrap());
    nps.servers[0].tls = Some(TlsIdentity::Fingerprint([7; 32]));
    nps.accounting.pop();
    "nps".clone_into(&mut nps.name);
    holds(&*store, vec![set(&nps)]).await;
    assert_eq!(store.upstreams().await.unwrap(), [other.clone(), nps.clone()]);

    let (mut gateway, client) = maker.resource("gateway", "a secret");
    let change = |gateway: &Resource| Write::AddResource {
        resource: Box::new(gateway.clone()),
        client: Box::new(client.clone()),
    };
    gateway.upstream = Some(maker.upstream("nowhere").id);
    refused(&*store, vec![change(&gateway)], 0).await;
    gateway = Resource { primary: Primary::Radius, upstream: Some(nps.id), policy: policy(), ..gateway };
    holds(&*store, vec![change(&gateway)]).await;
    assert_eq!(store.resources().await.unwrap()[0].0, gateway);
    refused(&*store, vec![Write::RemoveUpstream(nps.id)], 0).await;
    gateway = Resource { primary: Primary::None, upstream: None, policy: Policy::default(), ..gateway };
    holds(&*store, vec![Write::SetResource { resource: Box::new(gateway.clone()), client: Box::new(client.clone()) }])
        .await;
    assert_eq!(store.resources().await.unwrap()[0].0, gateway);
    holds(&*store, vec![Write::RemoveUpstream(nps.id)]).await;
    refused(&*store, vec![Write::RemoveUpstream(nps.id)], 0).await;
    assert_eq!(store.upstreams().await.unwrap(), [other]);
    store.close().await;
}

/// A resource has several clients; their rules keep their order and lead to resources that there are.
pub async fn clients_have_names_and_secrets_and_rules(backend: &dyn Backend) {
    let (maker, store) = (Maker::default(), backend.open().await);
    let (vpn, desk) = (maker.resource("vpn", "first secret"), maker.resource("desk", "second secret"));
    let both = |(resource, client): &(Resource, RadiusClient)| Write::AddResource {
        resource: Box::new(resource.clone()),
        client: Box::new(client.clone()),
    };
    holds(&*store, vec![both(&vpn), both(&desk)]).await;
    let rule = |value: &str, resource| MatchRule {
        attribute: MatchAttribute::NasIdentifier,
        value: value.to_owned(),
        resource,
    };
    let mut nps = RadiusClient {
        name: "nps".to_owned(),
        resource: vpn.0.id,
        rules: vec![rule("b", desk.0.id), rule("a", vpn.0.id)],
        ..maker.resource("none", "third secret").1
    };
    let add = |client: &RadiusClient| Write::AddClient(Box::new(client.clone()));
    let set = |client: &RadiusClient| Write::SetClient(Box::new(client.clone()));
    holds(&*store, vec![add(&nps)]).await;
    refused(&*store, vec![add(&RadiusClient { name: "NPS".to_owned(), ..maker.resource("x", "another").1 })], 0).await;
    let mut twin = maker.resource("x", "third secret").1;
    twin.resource = vpn.0.id;
    refused(&*store, vec![add(&twin)], 0).await;
    refused(&*store, vec![add(&maker.resource("nowhere", "fourth secret").1)], 0).await;
    let nowhere = maker.resource("nowhere", "fifth secret").0.id;
    refused(&*store, vec![set(&RadiusClient { rules: vec![rule("c", nowhere)], ..nps.clone() })], 0).await;
    refused(&*store, vec![set(&RadiusClient { name: "Desk".to_owned(), ..nps.clone() })], 0).await;
    refused(&*store, vec![set(&RadiusClient { secret: vpn.1.secret.clone(), ..nps.clone() })], 0).await;
    // The oldest comes first; these two are of one moment.
    let found = |store: Arc<dyn Store>| async move {
        let mut found = store.resources().await.unwrap();
        for (_, clients) in &mut found {
            clients.sort_by(|a, b| b.name.cmp(&a.name));
        }
        found
    };
    let all = [(desk.0.clone(), vec![desk.1.clone()]), (vpn.0.clone(), vec![vpn.1.clone(), nps.clone()])];
    assert_eq!(found(Arc::clone(&store)).await, all);

    // A resource that a rule of another's client leads to stays.
    refused(&*store, vec![Write::RemoveResource(desk.0.id)], 0).await;
    nps.rules.remove(0);
    let before = core::mem::replace(&mut nps.secret, Secret::new(b"sixth secret".to_vec()));
    nps.previous = Some(PreviousSecret { secret: before, until: at(9) });
    nps.networks = vec!["198.51.100.1/32".parse().unwrap()];
    holds(&*store, vec![set(&nps), Write::RemoveResource(desk.0.id)]).await;
    assert_eq!(found(Arc::clone(&store)).await, [(vpn.0.clone(), vec![vpn.1.clone(), nps.clone()])]);
    a_certificate_is_one_clients(&maker, &*store, &vpn.0).await;
    holds(&*store, vec![Write::RemoveClient(vpn.1.id)]).await;
    refused(&*store, vec![Write::RemoveClient(vpn.1.id), set(&vpn.1)], 0).await;
    // Its own rules go along with a resource.
    holds(&*store, vec![Write::RemoveResource(vpn.0.id)]).await;
    assert!(store.resources().await.unwrap().is_empty());
    refused(&*store, vec![Write::RemoveClient(nps.id)], 0).await;
    store.close().await;
}

/// A resource needs no client of its own, and can be changed without touching those that it has.
pub async fn a_resource_stands_alone(backend: &dyn Backend) {
    let (maker, store) = (Maker::default(), backend.open().await);
    let (vpn, client) = maker.resource("vpn", "first secret");
    let wlan = maker.resource("wlan", "no secret").0;
    let add = |resource: &Resource| Write::AddBareResource(Box::new(resource.clone()));
    let set = |resource: &Resource| Write::SetBareResource(Box::new(resource.clone()));
    refused(&*store, vec![set(&wlan)], 0).await;
    holds(&*store, vec![add(&wlan)]).await;
    refused(&*store, vec![add(&wlan)], 0).await;
    refused(&*store, vec![add(&Resource { name: "WLAN".to_owned(), ..maker.resource("x", "x").0 })], 0).await;
    holds(&*store, vec![Write::AddResource { resource: Box::new(vpn.clone()), client: Box::new(client.clone()) }])
        .await;
    refused(&*store, vec![set(&Resource { name: "Wlan".to_owned(), ..vpn.clone() })], 0).await;
    refused(&*store, vec![set(&Resource { directory: Some(maker.directory("gone").id), ..vpn.clone() })], 0).await;
    let renamed = Resource { name: "VPN".to_owned(), answer_by: Duration::from_secs(30), ..vpn.clone() };
    holds(&*store, vec![set(&renamed)]).await;
    assert_eq!(store.resources().await.unwrap(), [(renamed, vec![client]), (wlan.clone(), Vec::new())]);
    holds(&*store, vec![Write::RemoveResource(vpn.id), Write::RemoveResource(wlan.id)]).await;
    assert!(store.resources().await.unwrap().is_empty());
    store.close().await;
}

/// A bypass is used once, in time, by somebody who may log on.
pub async fn a_bypass_is_used_once_and_in_time(backend: &dyn Backend) {
    let (maker, store) = (Maker::default(), backend.open().await);
    let alice = maker.user("alice");
    let bypass =
        |until| Bypass { until, reason: "lost phone".to_owned(), issuer: "root".to_owned(), issued_at: at(10) };
    let give = |until| Write::SetBypass { user: alice.id, bypass: Some(bypass(until)) };
    let take = |seconds| Write::UseBypass { user: alice.id, at: at(seconds) };
    refused(&*store, vec![give(at(20))], 0).await;
    refused(&*store, vec![Write::SetBypass { user: alice.id, bypass: None }], 0).await;
    holds(&*store, vec![Write::AddUser(alice.clone())]).await;
    refused(&*store, vec![take(15)], 0).await;
    holds(&*store, vec![give(at(20)), give(at(30))]).await;
    assert_eq!(store.snapshot(alice.id).await.unwrap().unwrap().bypass, Some(bypass(at(30))));
    assert_eq!(store.snapshots(None, 9).await.unwrap()[0].bypass, Some(bypass(at(30))));
    refused(&*store, vec![take(9)], 0).await;
    refused(&*store, vec![take(30)], 0).await;
    holds(&*store, vec![Write::SetUserEnabled { id: alice.id, enabled: false }]).await;
    refused(&*store, vec![take(15)], 0).await;
    holds(&*store, vec![Write::SetUserEnabled { id: alice.id, enabled: true }]).await;
    assert_eq!(race(&store, vec![take(15); 8]).await, 1);
    assert_eq!(store.snapshot(alice.id).await.unwrap().unwrap().bypass, None);
    holds(&*store, vec![give(at(30)), Write::SetBypass { user: alice.id, bypass: None }]).await;
    refused(&*store, vec![take(15)], 0).await;
    holds(&*store, vec![give(at(30)), Write::RemoveUser(alice.id)]).await;
    refused(&*store, vec![take(15)], 0).await;
    store.close().await;
}

/// A password kept for CHAP belongs to a user who was added here; a passkey to an active device.
pub async fn chap_secrets_and_passkeys_come_back_whole(backend: &dyn Backend) {
    let (maker, store) = (Maker::default(), backend.open().await);
    let corp = maker.directory("corp");
    let (alice, bob) = (maker.user("alice"), maker.user_of(&corp, "e1", "bob"));
    let device = maker.device(alice.id);
    holds(
        &*store,
        vec![
            Write::AddDirectory(Box::new(corp)),
            Write::AddUser(alice.clone()),
            Write::AddUser(bob.clone()),
            Write::AddDevice(Box::new(device.clone())),
        ],
    )
    .await;
    let secret = Secret::new(b"in clear\xff".to_vec());
    let keep = |user, secret: Option<&Secret>| Write::SetChapSecret { user, secret: secret.cloned() };
    refused(&*store, vec![keep(bob.id, Some(&secret))], 0).await;
    refused(&*store, vec![keep(maker.user("nobody").id, None)], 0).await;
    holds(&*store, vec![keep(alice.id, Some(&Secret::new(b"older".to_vec()))), keep(alice.id, Some(&secret))]).await;
    assert_eq!(store.snapshot(alice.id).await.unwrap().unwrap().chap_secret, Some(secret.clone()));
    assert_eq!(store.snapshots(None, 9).await.unwrap().iter().filter(|user| user.chap_secret.is_some()).count(), 1);
    holds(&*store, vec![keep(alice.id, None)]).await;
    assert_eq!(store.snapshot(alice.id).await.unwrap().unwrap().chap_secret, None);

    let passkey = Passkey { credential_id: vec![0, 255, 1], credential: "{\"counter\":1}".to_owned() };
    let set = |passkey: Option<&Passkey>| Write::SetPasskey { id: device.id, passkey: passkey.cloned() };
    holds(&*store, vec![set(Some(&passkey))]).await;
    assert_eq!(store.device(device.id).await.unwrap().unwrap().passkey, Some(passkey.clone()));
    assert_eq!(store.snapshot(alice.id).await.unwrap().unwrap().devices[0].passkey, Some(passkey.clone()));
    holds(&*store, vec![set(None), set(Some(&passkey))]).await;
    let used = Passkey { credential: "{\"counter\":2}".to_owned(), ..passkey.clone() };
    let uses = |before: &Passkey, after: &Passkey| Write::UsePasskey {
        id: device.id,
        before: before.clone(),
        after: after.clone(),
    };
    holds(&*store, vec![uses(&passkey, &used)]).await;
    assert_eq!(store.device(device.id).await.unwrap().unwrap().passkey, Some(used.clone()));
    // Of two checks against the same state the second does not count; nor does one of a passkey that was removed since.
    refused(&*store, vec![uses(&passkey, &used)], 0).await;
    let other = Passkey { credential_id: vec![7], ..used.clone() };
    refused(&*store, vec![uses(&other, &passkey)], 0).await;
    holds(&*store, vec![set(None)]).await;
    refused(&*store, vec![uses(&used, &used)], 0).await;
    holds(&*store, vec![set(Some(&passkey))]).await;
    holds(&*store, vec![Write::SetDeviceState { id: device.id, from: DeviceState::Active, to: DeviceState::Removed }])
        .await;
    refused(&*store, vec![set(Some(&passkey))], 0).await;
    refused(&*store, vec![uses(&passkey, &used)], 0).await;
    assert_eq!(store.device(device.id).await.unwrap().unwrap().passkey, None);
    store.close().await;
}
