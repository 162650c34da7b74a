//! The behaviours that every backend shows, one function each.
//!
//! A backend says how it opens a database in a [`Backend`] and runs all of them with [`conformance_tests!`].
//!
//! [`conformance_tests!`]: crate::conformance_tests
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "the suite runs in tests only"
)]

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use countersign_domain::{
    Activation, ActivationId, ActivationState, AuditEvent, AuditHash, Bypass, Challenge, ChallengeId, ChallengeState,
    ClientId, Closing, ClosingState, Commit, Decision, DecisionRecord, Device, DeviceId, DevicePublicKey, DeviceState,
    Directory, DirectoryId, Entropy, EntryId, EventKind, Hold, HoldReason, HostileText, LimitScope, Limits, Lockout,
    LoginId, LoginName, NumberMode, PasswordHash, PreviousSecret, Primary, PushSubscription, RadiusClient, Reason,
    Resource, ResourceId, Retries, Secret, SyncCounts, SyncOutcome, SyncRun, SyncSettings, SyncState, Timestamp,
    TotpSeed, User, UserId, UserOrigin, UserVerification, UserVerificationReached, Write, verify_chain,
};
use tokio::task::JoinSet;

use crate::{CommitError, Store, StoreError};

mod company;
mod many;
mod windows;

pub use company::*;
pub use many::*;
pub use windows::*;

/// How a backend opens the database of one test.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Opens it, and makes it when called for the first time. A test closes it before it opens it again.
    async fn open(&self) -> Arc<dyn Store>;
}

/// Makes a test of each behaviour; the argument is an expression that makes a new [`Backend`].
///
/// [`Backend`]: crate::conformance::Backend
#[macro_export]
macro_rules! conformance_tests {
    ($backend:expr) => {
        $crate::conformance_tests! { $backend;
            every_write_is_all_or_nothing
            an_empty_commit_holds
            the_place_of_the_first_failed_condition_is_told
            s15_who_may_not_log_on_any_more_is_told_from_who_may
            s01_one_decision_closes_a_challenge_once
            s97_of_many_closings_one_wins
            s14_nothing_is_approved_after_its_end
            s15_nobody_is_let_in_once_disabled_or_removed
            reports_are_taken_once_and_after_the_end
            retries_take_a_pending_challenge_over
            s22_of_many_burns_of_one_step_one_wins
            c040_an_older_or_equal_step_is_refused
            of_two_changes_of_one_version_one_wins
            limits_of_scopes_are_apart
            verdicts_are_those_of_one_commit_after_the_other
            c028_names_are_unique_in_every_spelling
            a_removed_user_takes_everything_along
            a_commit_for_a_removed_user_is_refused_alone
            a_key_is_bound_once
            a_removed_device_is_known_without_its_secrets
            devices_are_changed_under_their_conditions
            s31_the_fifth_wrong_secret_burns_an_activation
            activations_are_used_once_and_in_time
            activations_are_found_by_handle_and_token
            resources_have_names_and_secrets_of_their_own
            directories_have_names_and_passwords_of_their_own
            upstreams_have_names_and_secrets_of_their_own
            clients_have_names_and_secrets_and_rules
            a_resource_stands_alone
            a_bypass_is_used_once_and_in_time
            s18_a_window_is_opened_once_and_ends_once
            s18_a_window_lets_nobody_in_once_disabled_or_removed
            chap_secrets_and_passkeys_come_back_whole
            s63_an_entry_is_one_user_for_good
            who_is_held_is_told_from_who_was_disabled
            users_of_a_directory_come_by_pages
            a_synchronisation_is_noted
            snapshots_are_complete
            snapshots_of_all_come_by_pages
            those_who_are_wanted_come_in_order
            commits_handed_in_together_are_one_after_the_other
            challenges_come_back_whole_and_in_order
            c090_audit_keeps_every_octet_in_order
            s102_the_chain_holds_after_everything
            s95_a_new_epoch_ends_what_was_open
            milestones_are_found_among_others
            logins_that_nobody_was_asked_about_are_found_by_user
            server_secrets_are_stored_once
            everything_is_there_after_a_restart
            a_closed_database_says_so
        }
    };
    ($backend:expr; $($behaviour:ident)*) => {
        $(
            #[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                $crate::conformance::$behaviour(&$backend).await;
            }
        )*
    };
}

/// The time at which the suite takes place.
pub const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// `NOW` and so many seconds.
pub fn at(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

/// Octets that look random and are the same in each run (SplitMix64).
#[derive(Debug, Default)]
pub struct Seeded(AtomicU64);

impl Seeded {
    /// From a seed.
    pub const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// The next number.
    pub fn next(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let state = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

impl Entropy for Seeded {
    fn fill(&self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let octets = self.next().to_le_bytes();
            chunk.copy_from_slice(&octets[..chunk.len()]);
        }
    }
}

/// Makes what the suite stores.
#[derive(Debug, Default)]
pub struct Maker {
    seeded: Seeded,
}

impl Maker {
    /// Makes other things than makers from other seeds.
    pub const fn new(seed: u64) -> Self {
        Self { seeded: Seeded::new(seed) }
    }

    fn entropy(&self) -> &dyn Entropy {
        &self.seeded
    }

    /// A user with this name and a password.
    pub fn user(&self, name: &str) -> User {
        User {
            id: UserId::new(NOW, self.entropy()),
            origin: UserOrigin::Local,
            name: LoginName::new(name).unwrap(),
            display_name: format!("{name} in full"),
            enabled: true,
            held: None,
            password: Some(PasswordHash::from_phc(format!("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA${name}"))),
            created_at: NOW,
        }
    }

    /// An active device of a user, with a push subscription.
    pub fn device(&self, user: UserId) -> Device {
        let mut sec1: [u8; 65] = self.entropy().octets();
        sec1[0] = 4;
        let thumbprint = hex(&self.entropy().octets::<32>());
        Device {
            id: DeviceId::new(NOW, self.entropy()),
            user,
            name: HostileText::new(b"phone\n\xff\0"),
            platform: "Android".into(),
            key: DevicePublicKey { sec1, thumbprint },
            state: DeviceState::Active,
            totp: TotpSeed::new(self.entropy()),
            totp_last_step: 0,
            passkey: None,
            push: Some(self.push()),
            created_at: NOW,
            seen: false,
        }
    }

    /// A push subscription.
    pub fn push(&self) -> PushSubscription {
        PushSubscription {
            endpoint: format!("https://push.example/{}", hex(&self.entropy().octets::<16>())),
            p256dh: self.entropy().octets::<65>().to_vec(),
            auth: Secret::new(self.entropy().octets::<16>().to_vec()),
        }
    }

    /// A pending challenge of a user, a minute long.
    pub fn challenge(&self, user: UserId, created_at: Timestamp) -> Challenge {
        Challenge {
            id: ChallengeId::new(self.entropy()),
            login: LoginId::new(NOW, self.entropy()),
            user,
            resource: ResourceId::new(NOW, self.entropy()),
            nonce: self.entropy().octets(),
            context: b"{\"user\":\"\\u0000 \xf0\x9f\x94\x91\"}".to_vec(),
            number_mode: NumberMode::None,
            user_verification: UserVerification::Preferred,
            devices: vec![DeviceId::new(NOW, self.entropy()), DeviceId::new(NOW, self.entropy())],
            created_at,
            expires_at: created_at.plus(Duration::from_secs(60)),
            reported: false,
            state: ChallengeState::Pending,
        }
    }

    /// An activation for a user, ten minutes long.
    pub fn activation(&self, user: UserId, handle: &str, issued_at: Timestamp) -> Activation {
        Activation {
            id: ActivationId::new(issued_at, self.entropy()),
            user,
            handle: handle.to_owned(),
            secret_hash: self.entropy().octets(),
            token_hash: self.entropy().octets(),
            issuer: "root".to_owned(),
            issued_at,
            expires_at: issued_at.plus(Activation::LIFETIME),
            wrong_secrets: 0,
            state: ActivationState::Open,
        }
    }

    /// A directory.
    pub fn directory(&self, name: &str) -> Directory {
        Directory {
            id: DirectoryId::new(NOW, self.entropy()),
            name: name.to_owned(),
            settings: format!("{{\"base_dn\":\"DC={name}\"}}"),
            password: Secret::new(format!("password of {name}").into_bytes()),
            lockout: Lockout { threshold: 10, window: Duration::from_secs(600) },
            sync: SyncSettings {
                interval: Some(900),
                rules: vec![
                    "skip:group:GG-Service".parse().unwrap(),
                    format!("add:container:OU=Staff,DC={name}").parse().unwrap(),
                ],
                brake: 7,
                remove_after_days: Some(30),
            },
            created_at: NOW,
        }
    }

    /// What is known of the synchronisation of a directory.
    pub fn sync_state(&self, directory: DirectoryId) -> SyncState {
        SyncState {
            directory,
            mark: Some("up to here".to_owned()),
            whole_at: Some(at(1)),
            done_at: None,
            last: SyncRun {
                started_at: at(2),
                ended_at: at(3),
                outcome: SyncOutcome::Held,
                whole: false,
                counts: SyncCounts { read: 9, added: 1, renamed: 2, disabled: 3, enabled: 4, removed: 5 },
                text: Some("too many".to_owned()),
            },
        }
    }

    /// A user who is an entry of a directory.
    pub fn user_of(&self, directory: &Directory, entry: &str, name: &str) -> User {
        let entry = EntryId::from_text(entry.to_owned());
        User { origin: UserOrigin::Directory { directory: directory.id, entry }, password: None, ..self.user(name) }
    }

    /// A resource with its client.
    pub fn resource(&self, name: &str, secret: &str) -> (Resource, RadiusClient) {
        let id = ResourceId::new(NOW, self.entropy());
        let resource = Resource {
            retries: Retries::Collide,
            answer_by: Duration::from_millis(45_500),
            ..Resource::new(id, name, Primary::Local, NOW)
        };
        let client = RadiusClient {
            id: ClientId::new(NOW, self.entropy()),
            name: name.to_owned(),
            resource: id,
            rules: Vec::new(),
            networks: vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::7/128".parse().unwrap()],
            secret: Secret::new(secret.as_bytes().to_vec()),
            previous: None,
            tls: None,
            require_message_authenticator: true,
        };
        (resource, client)
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut out, octet| {
        write!(out, "{octet:02x}").unwrap();
        out
    })
}

/// A closing of the given kind at the given time.
pub fn closing(state: ClosingState, at: Timestamp) -> Closing {
    Closing { state, at, decision: None }
}

fn event() -> AuditEvent {
    AuditEvent::new(NOW, EventKind::LoginEnded, "server").because(Reason::Approved)
}

fn commit(writes: Vec<Write>) -> Commit {
    Commit { writes, audit: vec![event()] }
}

/// Commits with a record, which must hold.
async fn holds(store: &dyn Store, writes: Vec<Write>) {
    let shown = format!("{writes:?}");
    if let Err(fault) = store.commit(commit(writes)).await {
        panic!("{fault}: {shown}");
    }
}

/// Commits with a record, which must be refused at this place and leave no record.
async fn refused(store: &dyn Store, writes: Vec<Write>, place: usize) {
    let shown = format!("{writes:?}");
    let head = store.audit_head().await.unwrap();
    match store.commit(commit(writes)).await {
        Err(CommitError::Conflict(found)) => assert_eq!(found, place, "{shown}"),
        other => panic!("{other:?}: {shown}"),
    }
    assert_eq!(store.audit_head().await.unwrap(), head, "a refused commit left a record: {shown}");
}

/// Starts all futures in their order before it waits for any, so that their commits share batches.
async fn all_at_once<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    poll_fn(|context| {
        let mut waiting = false;
        for (future, output) in &mut futures {
            if output.is_none() {
                match Pin::as_mut(future).poll(context) {
                    Poll::Ready(value) => *output = Some(value),
                    Poll::Pending => waiting = true,
                }
            }
        }
        if waiting { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    futures.into_iter().filter_map(|(_, output)| output).collect()
}

/// Commits from many tasks at a time: how many held, the others having been refused.
async fn race(store: &Arc<dyn Store>, writes: Vec<Write>) -> usize {
    let mut tasks = JoinSet::new();
    for write in writes {
        let store = Arc::clone(store);
        tasks.spawn(async move { store.commit(commit(vec![write])).await });
    }
    let mut held = 0;
    while let Some(outcome) = tasks.join_next().await {
        match outcome.unwrap() {
            Ok(()) => held += 1,
            Err(CommitError::Conflict(0)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    held
}

/// All that can be read, as text; secrets as their octets.
pub async fn dump(store: &dyn Store) -> String {
    let mut out = String::new();
    for user in store.users().await.unwrap() {
        let snapshot = store.snapshot(user.id).await.unwrap().unwrap();
        writeln!(out, "{:?} {:?}", snapshot.user, snapshot.user.password.as_ref().map(PasswordHash::as_phc)).unwrap();
        for device in &snapshot.devices {
            let auth = device.push.as_ref().map(|push| push.auth.expose());
            writeln!(out, "{device:?} {:?} {auth:?}", device.totp.secret().expose()).unwrap();
        }
        writeln!(out, "{:?}", snapshot.limits).unwrap();
        for challenge in store.history(user.id, 1000).await.unwrap() {
            writeln!(out, "{challenge:?}").unwrap();
        }
    }
    for challenge in store.pending_challenges().await.unwrap() {
        writeln!(out, "{challenge:?}").unwrap();
    }
    for (resource, clients) in store.resources().await.unwrap() {
        writeln!(out, "{resource:?} {clients:?}").unwrap();
        for client in clients {
            writeln!(out, "{:?}", client.secret.expose()).unwrap();
        }
    }
    for directory in store.directories().await.unwrap() {
        writeln!(out, "{directory:?} {:?}", directory.password.expose()).unwrap();
    }
    writeln!(out, "{:?}", store.sync_states().await.unwrap()).unwrap();
    for handle in ["AAAA", "BBBB", "CCCC"] {
        writeln!(out, "{:?}", store.activation_by_handle(handle).await.unwrap()).unwrap();
    }
    for record in store.audit(0, u32::MAX).await.unwrap() {
        writeln!(out, "{record:?}").unwrap();
    }
    out
}

struct Peopled {
    maker: Maker,
    store: Arc<dyn Store>,
    user: User,
    device: Device,
}

/// A database with a user who has a device.
async fn peopled(backend: &dyn Backend) -> Peopled {
    let (maker, store) = (Maker::default(), backend.open().await);
    let user = maker.user("alice");
    let device = maker.device(user.id);
    holds(&*store, vec![Write::AddUser(user.clone()), Write::AddDevice(Box::new(device.clone()))]).await;
    Peopled { maker, store, user, device }
}

/// Every kind of write, alone and beside another whose condition does not hold.
pub async fn every_write_is_all_or_nothing(backend: &dyn Backend) {
    let Peopled { maker, store, user, device } = peopled(backend).await;
    let (pending, taken, closed) =
        (maker.challenge(user.id, NOW), maker.challenge(user.id, NOW), maker.challenge(user.id, NOW));
    let (open, spare) = (maker.activation(user.id, "AAAA", NOW), maker.activation(user.id, "BBBB", NOW));
    let (resource, client) = maker.resource("vpn", "secret of the vpn");
    let corp = maker.directory("corp");
    let (kept, gone) = (maker.user_of(&corp, "e1", "kept"), maker.user_of(&corp, "e2", "gone"));
    let hold = Hold { why: HoldReason::Gone, since: at(4) };
    let other = maker.user("bob");
    let bobs = maker.device(other.id);
    holds(
        &*store,
        vec![
            Write::OpenChallenge(Box::new(pending.clone())),
            Write::OpenChallenge(Box::new(taken.clone())),
            Write::OpenChallenge(Box::new(closed.clone())),
            Write::CloseChallenge { id: closed.id, closing: closing(ClosingState::Denied, at(1)) },
            Write::AddActivation(Box::new(open.clone())),
            Write::AddUser(other.clone()),
            Write::AddActivation(Box::new(maker.activation(other.id, "CCCC", NOW))),
            Write::AddResource { resource: Box::new(resource.clone()), client: Box::new(client.clone()) },
            Write::AddDirectory(Box::new(corp.clone())),
            Write::AddUser(kept.clone()),
            Write::AddUser(User { enabled: false, held: Some(hold), ..gone.clone() }),
        ],
    )
    .await;

    let renamed = Resource { name: "gateway".to_owned(), ..resource.clone() };
    let (secret, until) = (client.secret.clone(), NOW.plus(PreviousSecret::LONGEST));
    let previous = Some(PreviousSecret { secret, until });
    let resecreted = RadiusClient { secret: Secret::new(b"another secret".to_vec()), previous, ..client.clone() };
    let (desk, desk_client) = maker.resource("desk", "secret of the desk");
    let mut limits = Limits::default();
    limits.push_sent(NOW);
    let writes = vec![
        Write::OpenChallenge(Box::new(maker.challenge(user.id, NOW))),
        Write::CloseChallenge { id: pending.id, closing: closing(ClosingState::Approved, at(1)) },
        Write::ReassignChallenge { id: taken.id, from: taken.login, to: pending.login },
        Write::ReportChallenge { id: closed.id, device: device.id, at: at(2) },
        Write::SetLimits { scope: LimitScope::User(user.id), expected: 0, limits },
        Write::BurnTotpStep { device: device.id, step: 7 },
        Write::AddUser(maker.user("carol")),
        Write::SetUserEnabled { id: other.id, enabled: false },
        Write::HoldUser { id: kept.id, from: None, hold },
        Write::ReleaseUser(gone.id),
        Write::SetSyncState(Box::new(maker.sync_state(corp.id))),
        Write::AddDevice(Box::new(bobs.clone())),
        Write::SetDeviceState { id: device.id, from: DeviceState::Active, to: DeviceState::Suspended },
        Write::MarkDeviceSeen(device.id),
        Write::RenameDevice { id: device.id, name: "old phone".into() },
        Write::SetPush { id: device.id, push: None },
        Write::CountWrongSecret(open.id),
        Write::RedeemActivation { id: open.id, device: device.id, at: at(3) },
        Write::AddActivation(Box::new(spare)),
        Write::SetResource { resource: Box::new(renamed), client: Box::new(resecreted) },
        Write::AddResource { resource: Box::new(desk), client: Box::new(desk_client) },
        Write::RemoveResource(resource.id),
        Write::BeginEpoch { at: at(4), step: 8 },
        Write::RemoveUser(other.id),
    ];
    let nobody = DeviceId::new(NOW, maker.entropy());
    let impossible = [Write::BurnTotpStep { device: nobody, step: 9 }, Write::MarkDeviceSeen(nobody)];
    for write in writes {
        let before = dump(&*store).await;
        for no in &impossible {
            refused(&*store, vec![write.clone(), no.clone()], 1).await;
            refused(&*store, vec![no.clone(), write.clone()], 0).await;
        }
        assert_eq!(dump(&*store).await, before, "a refused commit left something behind: {write:?}");
        let again = write.clone();
        holds(&*store, vec![write]).await;
        let (body, _) = before.split_once("AuditRecord").unwrap();
        assert!(!dump(&*store).await.starts_with(body), "nothing was written: {again:?}");
        // Those whose condition their own effect ends, once more.
        if !matches!(
            again,
            Write::SetUserEnabled { .. }
                | Write::SetSyncState(_)
                | Write::MarkDeviceSeen(_)
                | Write::RenameDevice { .. }
                | Write::SetPush { .. }
                | Write::CountWrongSecret(_)
                | Write::SetResource { .. }
                | Write::BeginEpoch { .. }
        ) {
            refused(&*store, vec![again], 0).await;
        }
    }
    // And those whose object there is not.
    let (nobody, nothing) = (maker.user("nobody"), maker.resource("none", "no secret"));
    let orphan = maker.device(nobody.id);
    for write in [
        Write::OpenChallenge(Box::new(maker.challenge(nobody.id, NOW))),
        Write::CloseChallenge { id: ChallengeId::new(maker.entropy()), closing: closing(ClosingState::Denied, NOW) },
        Write::ReassignChallenge { id: ChallengeId::new(maker.entropy()), from: taken.login, to: pending.login },
        Write::ReportChallenge { id: ChallengeId::new(maker.entropy()), device: device.id, at: NOW },
        Write::SetLimits { scope: LimitScope::User(nobody.id), expected: 0, limits: Limits::default() },
        Write::SetUserEnabled { id: nobody.id, enabled: true },
        Write::HoldUser { id: nobody.id, from: None, hold },
        Write::ReleaseUser(nobody.id),
        Write::SetSyncState(Box::new(maker.sync_state(DirectoryId::new(NOW, maker.entropy())))),
        Write::RemoveUser(nobody.id),
        Write::AddDevice(Box::new(orphan.clone())),
        Write::SetDeviceState { id: orphan.id, from: DeviceState::Active, to: DeviceState::Suspended },
        Write::RenameDevice { id: orphan.id, name: "x".into() },
        Write::SetPush { id: orphan.id, push: None },
        Write::AddActivation(Box::new(maker.activation(nobody.id, "DDDD", NOW))),
        Write::CountWrongSecret(ActivationId::new(NOW, maker.entropy())),
        Write::RedeemActivation { id: ActivationId::new(NOW, maker.entropy()), device: device.id, at: NOW },
        Write::SetResource { resource: Box::new(nothing.0.clone()), client: Box::new(nothing.1.clone()) },
        Write::RemoveResource(nothing.0.id),
    ] {
        refused(&*store, vec![write], 0).await;
    }
    store.close().await;
}

/// Nothing to write is written, with and without a record.
pub async fn an_empty_commit_holds(backend: &dyn Backend) {
    let store = backend.open().await;
    store.commit(Commit::default()).await.unwrap();
    assert_eq!(store.audit_head().await.unwrap(), (0, AuditHash::START));
    store.commit(Commit::record(event())).await.unwrap();
    assert_eq!(store.audit_head().await.unwrap().0, 1);
    let figures = store.writer_figures();
    assert!(figures.commits >= 2 && figures.batches >= 1 && figures.largest >= 1, "{figures:?}");
    store.close().await;
}

/// `Conflict` names the first write whose condition does not hold.
pub async fn the_place_of_the_first_failed_condition_is_told(backend: &dyn Backend) {
    let Peopled { maker, store, user, device } = peopled(backend).await;
    let burn = |step| Write::BurnTotpStep { device: device.id, step };
    let limits = |expected| Write::SetLimits { scope: LimitScope::User(user.id), expected, limits: Limits::default() };
    refused(&*store, vec![burn(5), limits(3)], 1).await;
    refused(&*store, vec![limits(0), burn(5), Write::RemoveUser(maker.user("x").id), burn(0)], 2).await;
    holds(&*store, vec![limits(0), burn(5)]).await;
    // Two writes for one row are judged one after the other.
    refused(&*store, vec![burn(6), burn(6)], 1).await;
    holds(&*store, vec![burn(6), burn(7), limits(1), limits(2)]).await;
    let snapshot = store.snapshot(user.id).await.unwrap().unwrap();
    assert_eq!((snapshot.devices[0].totp_last_step, snapshot.limits[0].version), (7, 3));
    store.close().await;
}

/// A condition without a change: the device is active, and its user enabled.
pub async fn s15_who_may_not_log_on_any_more_is_told_from_who_may(backend: &dyn Backend) {
    let Peopled { maker, store, user, device } = peopled(backend).await;
    let require = || vec![Write::RequireActive(device.id)];
    holds(&*store, require()).await;
    // Beside a change of its row, and beside what is not written in bulk.
    holds(&*store, vec![Write::BurnTotpStep { device: device.id, step: 5 }, Write::RequireActive(device.id)]).await;
    holds(&*store, vec![Write::MarkDeviceSeen(device.id), Write::RequireActive(device.id)]).await;
    refused(&*store, vec![Write::RequireActive(DeviceId::new(NOW, maker.entropy()))], 0).await;
    for (shut, open) in [
        (Write::SetUserEnabled { id: user.id, enabled: false }, Write::SetUserEnabled { id: user.id, enabled: true }),
        (
            Write::SetDeviceState { id: device.id, from: DeviceState::Active, to: DeviceState::Suspended },
            Write::SetDeviceState { id: device.id, from: DeviceState::Suspended, to: DeviceState::Active },
        ),
    ] {
        holds(&*store, vec![shut]).await;
        refused(&*store, require(), 0).await;
        holds(&*store, vec![open]).await;
        holds(&*store, require()).await;
    }
    store.close().await;
}

/// A decision closes a challenge once, and what was decided is kept.
pub async fn s01_one_decision_closes_a_challenge_once(backend: &dyn Backend) {
    let Peopled { maker, store, user, device } = peopled(backend).await;
    let challenge = maker.challenge(user.id, NOW);
    holds(&*store, vec![Write::OpenChallenge(Box::new(challenge.clone()))]).await;
    let decision = DecisionRecord {
        device: device.id,
        decision: Decision::Verify,
        number: "0042".to_owned(),
        user_verification: UserVerificationReached::None,
        device_time: "2027-01-15T08:00:00.\u{0}\"Z".to_owned(),
    };
    let verified = Closing { state: ClosingState::Approved, at: at(5), decision: Some(decision) };
    holds(&*store, vec![Write::CloseChallenge { id: challenge.id, closing: verified.clone() }]).await;
    for state in [ClosingState::Approved, ClosingState::Denied, ClosingState::Expired] {
        refused(&*store, vec![Write::CloseChallenge { id: challenge.id, closing: closing(state, at(6)) }], 0).await;
    }
    let found = store.challenge(challenge.id).await.unwrap().unwrap();
    assert_eq!(found.state, ChallengeState::Closed(verified));
    assert!(store.pending_challenges().await.unwrap().is_empty());
    store.close().await;
}

/// Of all that close one challenge at the same time, one does.
pub async fn s97_of_many_closings_one_wins(backend: &dyn Backend) {
    let Peopled { maker, store, user, .. } = peopled(backend).await;
    for _ in 0..10 {
        let challenge = maker.challenge(user.id, NOW);
        holds(&*store, vec![Write::OpenChallenge(Box::new(challenge.clone()))]).await;
        let closings: Vec<_> = ClosingState::ALL
            .iter()
            .cycle()
            .take(48)
            .map(|state| Write::CloseChallenge { id: challenge.id, closing: closing(*state, at(1)) })
            .collect();
        let before = store.audit_head().await.unwrap().0;
        assert_eq!(race(&store, closings).await, 1);
        assert_eq!(store.audit_head().await.unwrap().0, before + 1, "only what held is recorded");
    }
    store.close().await;
}

/// At and after its end a challenge is approved by nothing, and everything else still closes it.
pub async fn s14_nothing_is_approved_after_its_end(backend: &dyn Backend) {
    let Peopled { maker, store, user, .. } = peopled(backend).await;
    let close =
        |challenge: &Challenge, state, at| Write::CloseChallenge { id: challenge.id, closing: closing(state, at) };
    for (state, after, allowed) in [
        (ClosingState::Approved, 60_000_000 - 1, true),
        (ClosingState::Approved, 60_000_000, false),
        (ClosingState::Approved, 60_000_001, false),
        (ClosingState::Denied, 60_000_000, true),
        (ClosingState::Expired, 60_000_001, true),
    ] {
        let challenge = maker.challenge(user.id, NOW);
        let open = Write::OpenChallenge(Box::new(challenge.clone()));
        let when = NOW.plus(Duration::from_micros(after));
        holds(&*store, vec![open]).await;
        if allowed {
            holds(&*store, vec![close(&challenge, state, when)]).await;
        } else {
            refused(&*store, vec![close(&challenge, state, when)], 0).await;
            holds(&*store, vec![close(&challenge, ClosingState::Expired, when)]).await;
        }
    }
    store.close().await;
}

/// Neither a decision nor a code lets in a user who is disabled or by a device that is not active, whatever was read
/// before; everything else still closes the challenge.
pub async fn s15_nobody_is_let_in_once_disabled_or_removed(backend: &dyn Backend) {
    let Peopled { maker, store, user, device } = peopled(backend).await;
    let verify = |challenge: &Challenge| {
        let decision = DecisionRecord {
            device: device.id,
            decision: Decision::Verify,
            number: String::new(),
            user_verification: UserVerificationReached::None,
            device_time: String::new(),
        };
        let closing = Closing { state: ClosingState::Approved, at: at(1), decision: Some(decision) };
        Write::CloseChallenge { id: challenge.id, closing }
    };
    let burn = |step| Write::BurnTotpStep { device: device.id, step };
    let enable = |enabled| Write::SetUserEnabled { id: user.id, enabled };
    let (active, suspended, removed) = (DeviceState::Active, DeviceState::Suspended, DeviceState::Removed);
    let state = |from, to| Write::SetDeviceState { id: device.id, from, to };
    let shut = [(enable(false), Some(enable(true))), (state(active, suspended), Some(state(suspended, active)))];
    for (step, (shut, open)) in (1..).zip(shut.into_iter().chain([(state(active, removed), None)])) {
        let challenges = [maker.challenge(user.id, NOW), maker.challenge(user.id, NOW)];
        let asked: Vec<_> = challenges.iter().map(|each| Write::OpenChallenge(Box::new(each.clone()))).collect();
        holds(&*store, asked).await;
        // They arrive together, and the first comes first.
        let verdicts = [&shut, &verify(&challenges[0]), &burn(step)].map(|write| commit(vec![write.clone()]));
        let verdicts = all_at_once(verdicts.into_iter().map(|commit| store.commit(commit)).collect()).await;
        assert!(verdicts[0].is_ok(), "{verdicts:?}");
        for verdict in &verdicts[1..] {
            assert!(matches!(verdict, Err(CommitError::Conflict(0))), "{shut:?}: {verdict:?}");
        }
        // Later, from what is remembered and from what is read again.
        for _ in 0..2 {
            refused(&*store, vec![verify(&challenges[0])], 0).await;
            refused(&*store, vec![burn(step)], 0).await;
        }
        let deny = Write::CloseChallenge { id: challenges[0].id, closing: closing(ClosingState::Denied, at(1)) };
        holds(&*store, vec![deny]).await;
        if let Some(open) = open {
            holds(&*store, vec![open]).await;
            holds(&*store, vec![verify(&challenges[1]), burn(step)]).await;
        }
    }
    store.close().await;
}

/// A report needs a closed challenge and is taken once.
pub async fn reports_are_taken_once_and_after_the_end(backend: &dyn Backend) {
    let Peopled { maker, store, user, device } = peopled(backend).await;
    let challenge = maker.challenge(user.id, NOW);
    let report = Write::ReportChallenge { id: challenge.id, device: device.id, at: at(9) };
    holds(&*store, vec![Write::OpenChallenge(Box::new(challenge.clone()))]).await;
    refused(&*store, vec![report.clone()], 0).await;
    let close = Write::CloseChallenge { id: challenge.id, closing: closing(ClosingState::Approved, at(1)) };
    holds(&*store, vec![close]).await;
    assert!(!store.challenge(challenge.id).await.unwrap().unwrap().reported);
    assert_eq!(race(&store, vec![report; 8]).await, 1);
    assert!(store.challenge(challenge.id).await.unwrap().unwrap().reported);
    assert!(store.history(user.id, 1).await.unwrap()[0].reported);
    store.close().await;
}

/// A pending challenge goes from the login that has it to another, and no closed one does.
pub async fn retries_take_a_pending_challenge_over(backend: &dyn Backend) {
    let Peopled { maker, store, user, .. } = peopled(backend).await;
    let challenge = maker.challenge(user.id, NOW);
    let [second, third] = [LoginId::new(NOW, maker.entropy()), LoginId::new(NOW, maker.entropy())];
    let reassign = |from, to| Write::ReassignChallenge { id: challenge.id, from, to };
    holds(&*store, vec![Write::OpenChallenge(Box::new(challenge.clone()))]).await;
    refused(&*store, vec![reassign(second, third)], 0).await;
    holds(&*store, vec![reassign(challenge.login, second)]).await;
    assert_eq!(store.challenge(challenge.id).await.unwrap().unwrap().login, second);
    refused(&*store, vec![reassign(challenge.login, third)], 0).await;
    let close = Write::CloseChallenge { id: challenge.id, closing: closing(ClosingState::Cancelled, at(1)) };
    holds(&*store, vec![close]).await;
    refused(&*store, vec![reassign(second, third)], 0).await;
    let found = store.challenge(challenge.id).await.unwrap().unwrap();
    assert_eq!((found.login, found.expires_at), (second, challenge.expires_at));
    store.close().await;
}

/// Of all that use one time step at the same time, one does.
pub async fn s22_of_many_burns_of_one_step_one_wins(backend: &dyn Backend) {
    let Peopled { store, device, .. } = peopled(backend).await;
    for step in 1..=20 {
        assert_eq!(race(&store, vec![Write::BurnTotpStep { device: device.id, step }; 32]).await, 1);
    }
    assert_eq!(store.device(device.id).await.unwrap().unwrap().totp_last_step, 20);
    store.close().await;
}

/// A step counts when it is newer than the last one and the device is active.
pub async fn c040_an_older_or_equal_step_is_refused(backend: &dyn Backend) {
    let Peopled { store, device, .. } = peopled(backend).await;
    let burn = |step| vec![Write::BurnTotpStep { device: device.id, step }];
    holds(&*store, burn(60_000_000)).await;
    for step in [60_000_000, 59_999_999, 0, u64::MAX] {
        refused(&*store, burn(step), 0).await;
    }
    holds(&*store, burn(60_000_001)).await;
    let state = |from, to| vec![Write::SetDeviceState { id: device.id, from, to }];
    holds(&*store, state(DeviceState::Active, DeviceState::Suspended)).await;
    refused(&*store, burn(60_000_002), 0).await;
    holds(&*store, state(DeviceState::Suspended, DeviceState::Active)).await;
    holds(&*store, burn(60_000_002)).await;
    holds(&*store, state(DeviceState::Active, DeviceState::Removed)).await;
    refused(&*store, burn(60_000_003), 0).await;
    store.close().await;
}

/// Counters are changed from the version that was read, or not.
pub async fn of_two_changes_of_one_version_one_wins(backend: &dyn Backend) {
    let Peopled { store, user, .. } = peopled(backend).await;
    let scope = LimitScope::User(user.id);
    for expected in 0..20 {
        let mut limits = Limits::default();
        limits.push_sent(at(expected));
        let writes = vec![Write::SetLimits { scope, expected, limits: limits.clone() }; 16];
        assert_eq!(race(&store, writes).await, 1);
        let snapshot = store.snapshot(user.id).await.unwrap().unwrap();
        assert_eq!(snapshot.limits(scope), (expected + 1, limits));
    }
    for expected in [0, 19, 21, u64::MAX] {
        refused(&*store, vec![Write::SetLimits { scope, expected, limits: Limits::default() }], 0).await;
    }
    store.close().await;
}

/// Counters of a user and of a user at a resource are not the same; those at a resource go with it.
pub async fn limits_of_scopes_are_apart(backend: &dyn Backend) {
    let Peopled { maker, store, user, .. } = peopled(backend).await;
    let (resource, client) = maker.resource("vpn", "secret of the vpn");
    let id = resource.id;
    holds(&*store, vec![Write::AddResource { resource: Box::new(resource), client: Box::new(client) }]).await;
    let everywhere = LimitScope::User(user.id);
    let there = LimitScope::UserAt(user.id, id);
    let elsewhere = LimitScope::UserAt(user.id, ResourceId::new(NOW, maker.entropy()));
    let mut frozen = Limits::default();
    frozen.freeze();
    let set = |scope, expected, limits| Write::SetLimits { scope, expected, limits };
    holds(&*store, vec![set(everywhere, 0, Limits::default()), set(there, 0, frozen.clone())]).await;
    holds(&*store, vec![set(there, 1, frozen.clone())]).await;
    refused(&*store, vec![set(elsewhere, 1, Limits::default())], 0).await;
    let snapshot = store.snapshot(user.id).await.unwrap().unwrap();
    assert_eq!(snapshot.limits(everywhere), (1, Limits::default()));
    assert_eq!(snapshot.limits(there), (2, frozen));
    assert_eq!(snapshot.limits(elsewhere), (0, Limits::default()));
    holds(&*store, vec![Write::RemoveResource(id)]).await;
    let snapshot = store.snapshot(user.id).await.unwrap().unwrap();
    assert_eq!((snapshot.limits.len(), snapshot.limits(everywhere).0), (1, 1));
    store.close().await;
}

/// What the hot writes may do, written down plainly: one commit after the other, one write after the other.
#[derive(Clone, Default)]
struct Model {
    challenges: HashMap<ChallengeId, (LoginId, Option<ClosingState>, Timestamp)>,
    limits: HashMap<LimitScope, u64>,
    steps: BTreeMap<DeviceId, u64>,
    suspended: BTreeMap<DeviceId, bool>,
}

impl Model {
    fn commit(&mut self, writes: &[Write]) -> Result<(), usize> {
        let mut next = self.clone();
        for (place, write) in writes.iter().enumerate() {
            if !next.write(write) {
                return Err(place);
            }
        }
        *self = next;
        Ok(())
    }

    fn write(&mut self, write: &Write) -> bool {
        match write {
            Write::OpenChallenge(new) => self.challenges.insert(new.id, (new.login, None, new.expires_at)).is_none(),
            Write::CloseChallenge { id, closing } => match self.challenges.get_mut(id) {
                Some((_, state @ None, expires))
                    if closing.state != ClosingState::Approved || closing.at < *expires =>
                {
                    *state = Some(closing.state);
                    true
                }
                _ => false,
            },
            Write::ReassignChallenge { id, from, to } => match self.challenges.get_mut(id) {
                Some((login, None, _)) if login == from => {
                    *login = *to;
                    true
                }
                _ => false,
            },
            Write::SetLimits { scope, expected, .. } => {
                let version = self.limits.entry(*scope).or_default();
                let held = version == expected;
                *version += u64::from(held);
                held
            }
            Write::BurnTotpStep { device, step } => {
                let last = self.steps.entry(*device).or_default();
                let held = !self.suspended.get(device).copied().unwrap_or(false) && *last < *step;
                if held {
                    *last = *step;
                }
                held
            }
            Write::SetDeviceState { id, from, .. } => {
                let suspended = self.suspended.entry(*id).or_default();
                let held = (*from == DeviceState::Suspended) == *suspended;
                *suspended ^= held;
                held
            }
            _ => false,
        }
    }
}

/// However commits share batches, each gets the verdict that it would get if all came one after the other.
pub async fn verdicts_are_those_of_one_commit_after_the_other(backend: &dyn Backend) {
    let Peopled { maker, store, user, device } = peopled(backend).await;
    let second = maker.device(user.id);
    holds(&*store, vec![Write::AddDevice(Box::new(second.clone()))]).await;
    let devices = [device.id, second.id];
    let challenges: Vec<_> = (0..12).map(|_| maker.challenge(user.id, NOW)).collect();
    let logins: Vec<_> = challenges.iter().take(3).map(|challenge| challenge.login).collect();
    let scopes = [LimitScope::User(user.id), LimitScope::UserAt(user.id, challenges[0].resource)];
    let random = Seeded::new(42);
    let below = |bound: usize| usize::try_from(random.next() % u64::try_from(bound).unwrap()).unwrap();
    let mut model = Model::default();
    for _ in 0..30 {
        let commits: Vec<Vec<Write>> = (0..=below(60))
            .map(|_| {
                (0..=below(3))
                    .map(|_| {
                        let challenge = &challenges[below(challenges.len())];
                        match below(13) {
                            0..4 => Write::OpenChallenge(Box::new(challenge.clone())),
                            4..6 => {
                                let state = ClosingState::ALL[below(ClosingState::ALL.len())];
                                let at = at(u64::try_from(below(120)).unwrap());
                                Write::CloseChallenge { id: challenge.id, closing: closing(state, at) }
                            }
                            6..8 => {
                                let [from, to] = [logins[below(3)], logins[below(3)]];
                                Write::ReassignChallenge { id: challenge.id, from, to }
                            }
                            8..10 => {
                                let scope = scopes[below(2)];
                                let version = model.limits.get(&scope).copied().unwrap_or(0);
                                let expected = version + u64::try_from(below(3)).unwrap();
                                Write::SetLimits { scope, expected, limits: Limits::default() }
                            }
                            10..12 => {
                                let device = devices[below(2)];
                                let last = model.steps.get(&device).copied().unwrap_or(0);
                                Write::BurnTotpStep { device, step: last + u64::try_from(below(4)).unwrap() }
                            }
                            _ => {
                                let mut states = [DeviceState::Active, DeviceState::Suspended];
                                states.rotate_left(below(2));
                                Write::SetDeviceState { id: devices[below(2)], from: states[0], to: states[1] }
                            }
                        }
                    })
                    .collect()
            })
            .collect();
        let expected: Vec<_> = commits.iter().map(|writes| model.commit(writes)).collect();
        let before = store.audit_head().await.unwrap().0;
        let futures = commits.iter().map(|writes| store.commit(commit(writes.clone()))).collect();
        let verdicts: Vec<_> = all_at_once(futures)
            .await
            .into_iter()
            .map(|verdict: Result<(), CommitError>| match verdict {
                Ok(()) => Ok(()),
                Err(CommitError::Conflict(place)) => Err(place),
                Err(CommitError::Store(fault)) => panic!("{fault}"),
            })
            .collect();
        assert_eq!(verdicts, expected, "{commits:?}");
        let held = expected.iter().filter(|verdict| verdict.is_ok()).count();
        assert_eq!(store.audit_head().await.unwrap().0, before + i64::try_from(held).unwrap());
        for challenge in &challenges {
            let found = store.challenge(challenge.id).await.unwrap().map(|found| {
                let state = match found.state {
                    ChallengeState::Pending => None,
                    ChallengeState::Closed(closing) => Some(closing.state),
                };
                (found.login, state, found.expires_at)
            });
            assert_eq!(found, model.challenges.get(&challenge.id).copied());
        }
        let snapshot = store.snapshot(user.id).await.unwrap().unwrap();
        for device in &snapshot.devices {
            assert_eq!(device.totp_last_step, model.steps.get(&device.id).copied().unwrap_or(0));
        }
        for scope in scopes {
            assert_eq!(snapshot.limits(scope).0, model.limits.get(&scope).copied().unwrap_or(0));
        }
    }
    let figures = store.writer_figures();
    assert!(figures.largest > 1, "commits that wait together share a batch: {figures:?}");
    check_chain(&*store).await;
    store.close().await;
}

/// No two users whose names differ in case only.
pub async fn c028_names_are_unique_in_every_spelling(backend: &dyn Backend) {
    let Peopled { maker, store, user, .. } = peopled(backend).await;
    refused(&*store, vec![Write::AddUser(maker.user("ALICE"))], 0).await;
    let same_id = User { name: LoginName::new("x").unwrap(), ..user.clone() };
    refused(&*store, vec![Write::AddUser(same_id)], 0).await;
    assert_eq!(race(&store, (0..8).map(|_| Write::AddUser(maker.user("Bob"))).collect()).await, 1);
    let found = store.user_by_name(&LoginName::new("aLiCe").unwrap()).await.unwrap().unwrap();
    assert_eq!((found.name.as_str(), &found), ("alice", &user));
    assert_eq!(store.user_by_name(&LoginName::new("alic").unwrap()).await.unwrap(), None);
    assert_eq!(store.user(user.id).await.unwrap(), Some(user));
    assert_eq!(store.user(maker.user("x").id).await.unwrap(), None);
    let names: Vec<_> = store.users().await.unwrap().iter().map(|user| user.name.to_string()).collect();
    assert_eq!(names, ["alice", "Bob"]);
    store.close().await;
}

/// Devices, activations, challenges and counters of a removed user are gone; those of others stay.
pub async fn a_removed_user_takes_everything_along(backend: &dyn Backend) {
    let Peopled { maker, store, user, device } = peopled(backend).await;
    let bob = maker.user("bob");
    let bobs = maker.device(bob.id);
    let [mine, closed, his] =
        [maker.challenge(user.id, NOW), maker.challenge(user.id, NOW), maker.challenge(bob.id, NOW)];
    let activation = maker.activation(user.id, "AAAA", NOW);
    let limits = |user| Write::SetLimits { scope: LimitScope::User(user), expected: 0, limits: Limits::default() };
    holds(
        &*store,
        vec![
            Write::AddUser(bob.clone()),
            Write::AddDevice(Box::new(bobs.clone())),
            Write::OpenChallenge(Box::new(mine.clone())),
            Write::OpenChallenge(Box::new(closed.clone())),
            Write::CloseChallenge { id: closed.id, closing: closing(ClosingState::Denied, at(1)) },
            Write::OpenChallenge(Box::new(his.clone())),
            Write::AddActivation(Box::new(activation.clone())),
            limits(user.id),
            limits(bob.id),
        ],
    )
    .await;
    holds(&*store, vec![Write::RemoveUser(user.id)]).await;
    assert!(store.snapshot(user.id).await.unwrap().is_none());
    assert!(store.device(device.id).await.unwrap().is_none());
    assert!(store.device_by_thumbprint(&device.key.thumbprint).await.unwrap().is_none());
    assert!(store.challenge(mine.id).await.unwrap().is_none());
    assert!(store.history(user.id, 10).await.unwrap().is_empty());
    assert!(store.activation_by_token(&activation.token_hash).await.unwrap().is_none());
    let snapshot = store.snapshot(bob.id).await.unwrap().unwrap();
    assert_eq!((snapshot.devices.len(), snapshot.limits.len()), (1, 1));
    assert_eq!(store.pending_challenges().await.unwrap().len(), 1);
    // The name and the key are free again, under another identity.
    let again = maker.user("alice");
    holds(&*store, vec![Write::AddUser(again.clone())]).await;
    holds(&*store, vec![Write::AddDevice(Box::new(Device { user: again.id, ..device }))]).await;
    let snapshot = store.snapshot(again.id).await.unwrap().unwrap();
    assert_eq!((snapshot.devices.len(), snapshot.limits.len()), (1, 0));
    store.close().await;
}

/// A login whose user goes away in the same moment is refused and takes nobody along.
pub async fn a_commit_for_a_removed_user_is_refused_alone(backend: &dyn Backend) {
    let Peopled { maker, store, user, .. } = peopled(backend).await;
    let bob = maker.user("bob");
    holds(&*store, vec![Write::AddUser(bob.clone())]).await;
    let open = |user| Write::OpenChallenge(Box::new(maker.challenge(user, NOW)));
    let limits = |user| Write::SetLimits { scope: LimitScope::User(user), expected: 0, limits: Limits::default() };
    let commits =
        [open(bob.id), Write::RemoveUser(user.id), open(user.id), limits(user.id), open(bob.id), limits(bob.id)];
    let verdicts = all_at_once(commits.into_iter().map(|write| store.commit(commit(vec![write]))).collect()).await;
    let held: Vec<_> = verdicts.iter().map(Result::is_ok).collect();
    assert_eq!(held, [true, true, false, false, true, true], "{verdicts:?}");
    assert_eq!(store.pending_challenges().await.unwrap().len(), 2);
    store.close().await;
}

/// A key that was bound once, also to a device that was removed, is bound to no other.
pub async fn a_key_is_bound_once(backend: &dyn Backend) {
    let Peopled { maker, store, user, device } = peopled(backend).await;
    let copy = Device { key: device.key.clone(), ..maker.device(user.id) };
    refused(&*store, vec![Write::AddDevice(Box::new(copy.clone()))], 0).await;
    let removal = Write::SetDeviceState { id: device.id, from: DeviceState::Active, to: DeviceState::Removed };
    holds(&*store, vec![removal]).await;
    refused(&*store, vec![Write::AddDevice(Box::new(copy))], 0).await;
    let suspended = Device { state: DeviceState::Suspended, ..maker.device(user.id) };
    refused(&*store, vec![Write::AddDevice(Box::new(suspended))], 0).await;
    let key = maker.device(user.id).key;
    let rivals = (0..8).map(|_| Write::AddDevice(Box::new(Device { key: key.clone(), ..maker.device(user.id) })));
    assert_eq!(race(&store, rivals.collect()).await, 1);
    store.close().await;
}

/// The app of a removed device can be told so, and that is all that is left.
pub async fn a_removed_device_is_known_without_its_secrets(backend: &dyn Backend) {
    let Peopled { store, user, device, .. } = peopled(backend).await;
    let state = |from, to| vec![Write::SetDeviceState { id: device.id, from, to }];
    refused(&*store, state(DeviceState::Suspended, DeviceState::Removed), 0).await;
    holds(&*store, state(DeviceState::Active, DeviceState::Removed)).await;
    let found = store.device_by_thumbprint(&device.key.thumbprint).await.unwrap().unwrap();
    assert_eq!((found.id, found.state, found.push), (device.id, DeviceState::Removed, None));
    assert!(found.totp.secret().is_empty());
    assert!(store.snapshot(user.id).await.unwrap().unwrap().devices.is_empty());
    for to in [DeviceState::Active, DeviceState::Suspended] {
        refused(&*store, state(DeviceState::Removed, to), 0).await;
    }
    refused(&*store, vec![Write::RenameDevice { id: device.id, name: "x".into() }], 0).await;
    refused(&*store, vec![Write::SetPush { id: device.id, push: device.push.clone() }], 0).await;
    store.close().await;
}

/// Name, push subscription and first sight of a device.
pub async fn devices_are_changed_under_their_conditions(backend: &dyn Backend) {
    let Peopled { maker, store, device, .. } = peopled(backend).await;
    let (name, push) = (HostileText::new(b"\x1b[2J\xe2\x80\xae\0"), maker.push());
    holds(
        &*store,
        vec![
            Write::RenameDevice { id: device.id, name: name.clone() },
            Write::SetPush { id: device.id, push: Some(push.clone()) },
            Write::MarkDeviceSeen(device.id),
        ],
    )
    .await;
    let found = store.device(device.id).await.unwrap().unwrap();
    assert_eq!((found.name, found.push, found.seen), (name, Some(push), true));
    holds(&*store, vec![Write::SetPush { id: device.id, push: None }]).await;
    assert_eq!(store.device(device.id).await.unwrap().unwrap().push, None);
    store.close().await;
}

/// Four wrong secrets do no harm, the fifth ends the activation.
pub async fn s31_the_fifth_wrong_secret_burns_an_activation(backend: &dyn Backend) {
    let Peopled { maker, store, user, device } = peopled(backend).await;
    let activation = maker.activation(user.id, "AAAA", NOW);
    holds(&*store, vec![Write::AddActivation(Box::new(activation.clone()))]).await;
    assert_eq!(race(&store, vec![Write::CountWrongSecret(activation.id); 4]).await, 4);
    let found = store.activation_by_handle("AAAA").await.unwrap().unwrap();
    assert_eq!((found.wrong_secrets, found.state), (4, ActivationState::Open));
    assert_eq!(race(&store, vec![Write::CountWrongSecret(activation.id); 4]).await, 1);
    let found = store.activation_by_handle("AAAA").await.unwrap().unwrap();
    assert_eq!((found.wrong_secrets, found.state), (5, ActivationState::Burnt));
    refused(&*store, vec![Write::RedeemActivation { id: activation.id, device: device.id, at: NOW }], 0).await;
    store.close().await;
}

/// An activation makes one device, before its end.
pub async fn activations_are_used_once_and_in_time(backend: &dyn Backend) {
    let Peopled { maker, store, user, .. } = peopled(backend).await;
    let activation = maker.activation(user.id, "AAAA", NOW);
    holds(&*store, vec![Write::AddActivation(Box::new(activation.clone()))]).await;
    let redeem = |at| {
        let device = maker.device(user.id);
        vec![Write::RedeemActivation { id: activation.id, device: device.id, at }, Write::AddDevice(Box::new(device))]
    };
    refused(&*store, redeem(activation.expires_at), 0).await;
    let last = Timestamp::from_micros(activation.expires_at.as_micros() - 1);
    let futures = (0..8).map(|_| store.commit(commit(redeem(last)))).collect();
    let verdicts = all_at_once(futures).await;
    assert_eq!(verdicts.iter().filter(|verdict| verdict.is_ok()).count(), 1);
    let devices = store.snapshot(user.id).await.unwrap().unwrap().devices;
    assert_eq!(devices.len(), 2);
    let found = store.activation_by_token(&activation.token_hash).await.unwrap().unwrap();
    let ActivationState::Redeemed { device, at } = found.state else { panic!("{found:?}") };
    assert!(devices.iter().any(|found| found.id == device) && at == last);
    refused(&*store, vec![Write::CountWrongSecret(activation.id)], 0).await;
    store.close().await;
}

/// A new activation ends the open ones of its user; a handle has one open activation.
pub async fn activations_are_found_by_handle_and_token(backend: &dyn Backend) {
    let Peopled { maker, store, user, device } = peopled(backend).await;
    let bob = maker.user("bob");
    holds(&*store, vec![Write::AddUser(bob.clone())]).await;
    let add = |activation: &Activation| vec![Write::AddActivation(Box::new(activation.clone()))];
    let first = maker.activation(user.id, "AAAA", NOW);
    holds(&*store, add(&first)).await;
    assert_eq!(store.activation_by_handle("AAAA").await.unwrap(), Some(first.clone()));
    refused(&*store, add(&maker.activation(bob.id, "AAAA", at(1))), 0).await;
    assert_eq!(store.activation_by_handle("AAAA").await.unwrap(), Some(first.clone()), "left as it was");

    // Another of the same user, first under another handle, then under the same.
    let second = maker.activation(user.id, "BBBB", at(2));
    holds(&*store, add(&second)).await;
    let burnt = Activation { state: ActivationState::Burnt, ..first };
    assert_eq!(store.activation_by_handle("AAAA").await.unwrap(), Some(burnt.clone()));
    let third = maker.activation(user.id, "BBBB", at(3));
    holds(&*store, add(&third)).await;
    assert_eq!(store.activation_by_handle("BBBB").await.unwrap(), Some(third.clone()));

    // A burnt one that is newer does not hide one that was used.
    holds(&*store, vec![Write::RedeemActivation { id: third.id, device: device.id, at: at(4) }]).await;
    let fourth = maker.activation(user.id, "BBBB", at(5));
    holds(&*store, add(&fourth)).await;
    holds(&*store, add(&maker.activation(user.id, "CCCC", at(6)))).await;
    let found = store.activation_by_handle("BBBB").await.unwrap().unwrap();
    assert_eq!((found.id, found.state), (third.id, ActivationState::Redeemed { device: device.id, at: at(4) }));

    // One that has run out does not keep its handle.
    let late = at(7).plus(Activation::LIFETIME);
    holds(&*store, add(&maker.activation(bob.id, "CCCC", late))).await;
    assert_eq!(store.activation_by_handle("CCCC").await.unwrap().unwrap().user, bob.id);

    assert_eq!(store.activation_by_token(&burnt.token_hash).await.unwrap(), Some(burnt));
    assert_eq!(store.activation_by_token(&[0; 32]).await.unwrap(), None);
    assert_eq!(store.activation_by_handle("ZZZZ").await.unwrap(), None);
    store.close().await;
}

/// No two resources with one name, no two clients with one secret, also not by a change.
pub async fn resources_have_names_and_secrets_of_their_own(backend: &dyn Backend) {
    let (maker, store) = (Maker::default(), backend.open().await);
    let add = |(resource, client): &(Resource, RadiusClient)| Write::AddResource {
        resource: Box::new(resource.clone()),
        client: Box::new(client.clone()),
    };
    let set = |(resource, client): &(Resource, RadiusClient)| Write::SetResource {
        resource: Box::new(resource.clone()),
        client: Box::new(client.clone()),
    };
    let (mut vpn, desk) = (maker.resource("vpn", "first secret"), maker.resource("Desk", "second secret"));
    holds(&*store, vec![add(&vpn), add(&desk)]).await;
    refused(&*store, vec![add(&maker.resource("vpn", "third secret"))], 0).await;
    refused(&*store, vec![add(&maker.resource("DESK", "third secret"))], 0).await;
    refused(&*store, vec![add(&maker.resource("web", "second secret"))], 0).await;
    let mut foreign = maker.resource("web", "third secret");
    foreign.1.resource = vpn.0.id;
    refused(&*store, vec![add(&foreign)], 0).await;

    // Its own name and secret are no hindrance.
    holds(&*store, vec![set(&vpn)]).await;
    vpn.0 = Resource { name: "VPN".to_owned(), primary: Primary::None, retries: Retries::Join, ..vpn.0 };
    vpn.0.answer_by = Duration::from_secs(5);
    vpn.1.secret = Secret::new(b"third secret".to_vec());
    vpn.1.networks = vec!["198.51.100.1/32".parse().unwrap()];
    vpn.1.require_message_authenticator = false;
    holds(&*store, vec![set(&vpn)]).await;
    let mut taken = vpn.clone();
    "desk".clone_into(&mut taken.0.name);
    refused(&*store, vec![set(&taken)], 0).await;
    let mut taken = vpn.clone();
    taken.1.secret = desk.1.secret.clone();
    refused(&*store, vec![set(&taken)], 0).await;
    let foreign = (vpn.0.clone(), RadiusClient { resource: vpn.0.id, ..desk.1.clone() });
    refused(&*store, vec![set(&foreign)], 0).await;
    assert_eq!(
        store.resources().await.unwrap(),
        [(desk.0.clone(), vec![desk.1.clone()]), (vpn.0.clone(), vec![vpn.1.clone()])]
    );

    // What is gone is free again.
    holds(&*store, vec![Write::RemoveResource(vpn.0.id), add(&maker.resource("vpn", "third secret"))]).await;
    assert_eq!(store.resources().await.unwrap().len(), 2);
    store.close().await;
}

/// Directories have unique names, come back whole, and stay while somebody needs them.
pub async fn directories_have_names_and_passwords_of_their_own(backend: &dyn Backend) {
    let (maker, store) = (Maker::default(), backend.open().await);
    let (mut corp, lab) = (maker.directory("corp"), maker.directory("Lab"));
    let add = |directory: &Directory| Write::AddDirectory(Box::new(directory.clone()));
    let set = |directory: &Directory| Write::SetDirectory(Box::new(directory.clone()));
    holds(&*store, vec![add(&corp), add(&lab)]).await;
    refused(&*store, vec![add(&maker.directory("CORP"))], 0).await;
    refused(&*store, vec![set(&maker.directory("other"))], 0).await;
    refused(&*store, vec![set(&Directory { name: "lab".to_owned(), ..corp.clone() })], 0).await;
    corp = Directory {
        name: "Corp".to_owned(),
        settings: "{}".to_owned(),
        password: Secret::new(b"another".to_vec()),
        lockout: Lockout { threshold: 0, window: Duration::from_secs(60) },
        ..corp
    };
    holds(&*store, vec![set(&corp)]).await;
    assert_eq!(store.directories().await.unwrap(), [corp.clone(), lab.clone()]);

    // A resource and a user hold it; neither comes without it.
    let (mut vpn, client) = maker.resource("vpn", "a secret");
    let resource =
        |vpn: &Resource| Write::AddResource { resource: Box::new(vpn.clone()), client: Box::new(client.clone()) };
    vpn.directory = Some(maker.directory("nowhere").id);
    refused(&*store, vec![resource(&vpn)], 0).await;
    vpn = Resource {
        primary: Primary::Directory,
        directory: Some(corp.id),
        allow_groups: vec!["GG-VPN".to_owned(), "CN=\"x\",DC=y".to_owned()],
        ..vpn
    };
    holds(&*store, vec![resource(&vpn)]).await;
    assert_eq!(store.resources().await.unwrap()[0].0, vpn);
    let nowhere = Resource { directory: Some(maker.directory("nowhere").id), ..vpn.clone() };
    let change = Write::SetResource { resource: Box::new(nowhere), client: Box::new(client.clone()) };
    refused(&*store, vec![change], 0).await;
    refused(&*store, vec![Write::RemoveDirectory(corp.id)], 0).await;
    let alice = maker.user_of(&corp, "e1", "alice");
    refused(&*store, vec![Write::AddUser(maker.user_of(&maker.directory("nowhere"), "e1", "alice"))], 0).await;
    holds(&*store, vec![Write::AddUser(alice.clone()), Write::RemoveResource(vpn.id)]).await;
    refused(&*store, vec![Write::RemoveDirectory(corp.id)], 0).await;
    holds(&*store, vec![Write::RemoveUser(alice.id), Write::RemoveDirectory(corp.id)]).await;
    refused(&*store, vec![Write::RemoveDirectory(corp.id)], 0).await;
    assert_eq!(store.directories().await.unwrap(), [lab]);
    store.close().await;
}

/// A user whom the directory had disabled and one whom an administrator had stay apart.
pub async fn who_is_held_is_told_from_who_was_disabled(backend: &dyn Backend) {
    let (maker, store) = (Maker::default(), backend.open().await);
    let corp = maker.directory("corp");
    let (alice, local) = (maker.user_of(&corp, "e1", "alice"), maker.user("local"));
    let add = [Write::AddDirectory(Box::new(corp)), Write::AddUser(alice.clone()), Write::AddUser(local.clone())];
    holds(&*store, add.to_vec()).await;
    let hold = |from, why| Write::HoldUser { id: alice.id, from, hold: Hold { why, since: at(5) } };
    let set = |enabled| Write::SetUserEnabled { id: alice.id, enabled };
    let state = async || {
        let user = store.user(alice.id).await.unwrap().unwrap();
        assert_eq!(store.snapshot(alice.id).await.unwrap().unwrap().user, user);
        (user.enabled, user.held.map(|hold| hold.why))
    };
    refused(&*store, vec![Write::ReleaseUser(alice.id)], 0).await;
    refused(&*store, vec![hold(Some(HoldReason::Disabled), HoldReason::Gone)], 0).await;
    refused(
        &*store,
        vec![Write::HoldUser { id: local.id, from: None, hold: Hold { why: HoldReason::Gone, since: NOW } }],
        0,
    )
    .await;
    holds(&*store, vec![hold(None, HoldReason::Disabled)]).await;
    assert_eq!(state().await, (false, Some(HoldReason::Disabled)));
    refused(&*store, vec![hold(None, HoldReason::Gone)], 0).await;
    refused(&*store, vec![hold(Some(HoldReason::Expired), HoldReason::Gone)], 0).await;
    holds(&*store, vec![hold(Some(HoldReason::Disabled), HoldReason::Gone)]).await;
    holds(&*store, vec![Write::ReleaseUser(alice.id)]).await;
    assert_eq!(state().await, (true, None));
    // An administrator says so, whatever was before: from then on it is not the directory's affair.
    for enabled in [false, true] {
        holds(&*store, vec![hold(None, HoldReason::Gone), set(enabled)]).await;
        assert_eq!(state().await, (enabled, None));
        refused(&*store, vec![Write::ReleaseUser(alice.id)], 0).await;
        holds(&*store, vec![set(true)]).await;
    }
    holds(&*store, vec![set(false)]).await;
    refused(&*store, vec![hold(None, HoldReason::Gone)], 0).await;
    store.close().await;
}

/// All users of a directory, and of no other, once each.
pub async fn users_of_a_directory_come_by_pages(backend: &dyn Backend) {
    let (maker, store) = (Maker::default(), backend.open().await);
    let (corp, other) = (maker.directory("corp"), maker.directory("other"));
    let mut writes = vec![Write::AddDirectory(Box::new(corp.clone())), Write::AddDirectory(Box::new(other.clone()))];
    writes.push(Write::AddUser(maker.user("local")));
    for n in 0..7 {
        writes.push(Write::AddUser(maker.user_of(&corp, &format!("e{n}"), "same")));
        writes.push(Write::AddUser(maker.user_of(&other, &format!("e{n}"), "same")));
    }
    holds(&*store, writes).await;
    let (mut entries, mut after) = (Vec::new(), None);
    loop {
        let page = store.users_from(corp.id, after, 3).await.unwrap();
        assert!(page.len() <= 3 && page.iter().all(|user| user.origin.directory() == Some(corp.id)));
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        entries.extend(page.into_iter().filter_map(|user| match user.origin {
            UserOrigin::Directory { entry, .. } => Some(entry.as_str().to_owned()),
            UserOrigin::Local => None,
        }));
    }
    entries.sort_unstable();
    assert_eq!(entries, ["e0", "e1", "e2", "e3", "e4", "e5", "e6"]);
    store.close().await;
}

/// What is known of a synchronisation is replaced as a whole, and goes with its directory.
pub async fn a_synchronisation_is_noted(backend: &dyn Backend) {
    let (maker, store) = (Maker::default(), backend.open().await);
    let corp = maker.directory("corp");
    holds(&*store, vec![Write::AddDirectory(Box::new(corp.clone()))]).await;
    assert_eq!(store.sync_states().await.unwrap(), []);
    let first = maker.sync_state(corp.id);
    let mut second = SyncState { mark: None, whole_at: None, done_at: Some(at(9)), ..first.clone() };
    second.last = SyncRun { outcome: SyncOutcome::Done, whole: true, text: None, ..second.last };
    for state in [first, second] {
        holds(&*store, vec![Write::SetSyncState(Box::new(state.clone()))]).await;
        assert_eq!(store.sync_states().await.unwrap(), [state]);
    }
    holds(&*store, vec![Write::RemoveDirectory(corp.id)]).await;
    assert_eq!(store.sync_states().await.unwrap(), []);
    store.close().await;
}

/// Users of directories are found by their entry; names are only shown, and those of local users stay theirs.
pub async fn s63_an_entry_is_one_user_for_good(backend: &dyn Backend) {
    let Peopled { maker, store, user, .. } = peopled(backend).await;
    let (corp, lab) = (maker.directory("corp"), maker.directory("lab"));
    holds(&*store, [&corp, &lab].map(|d| Write::AddDirectory(Box::new(d.clone()))).into()).await;
    // Two logins at once bring the same entry in.
    let together = (0..8).map(|_| Write::AddUser(maker.user_of(&corp, "e1", "Alice"))).collect();
    assert_eq!(race(&store, together).await, 1);
    let entry = |text: &str| EntryId::from_text(text.to_owned());
    let first = store.user_by_entry(corp.id, &entry("e1")).await.unwrap().unwrap();
    let (second, third) = (maker.user_of(&corp, "e2", "alice"), maker.user_of(&lab, "e1", "alice"));
    holds(&*store, vec![Write::AddUser(second.clone()), Write::AddUser(third.clone())]).await;
    assert_eq!(store.user_by_entry(lab.id, &entry("e1")).await.unwrap(), Some(third.clone()));
    assert_eq!(store.user_by_entry(lab.id, &entry("e2")).await.unwrap(), None);
    let alice = LoginName::new("ALICE").unwrap();
    assert_eq!(store.user_by_name(&alice).await.unwrap(), Some(user.clone()), "only who was added here");
    let ids = |users: Vec<User>| users.iter().map(|user| user.id).collect::<std::collections::BTreeSet<_>>();
    let all = [user.id, first.id, second.id, third.id].into();
    assert_eq!(ids(store.users_named(&alice).await.unwrap()), all);
    refused(&*store, vec![Write::AddUser(maker.user("alice"))], 0).await;

    // Another name, the same user.
    let renamed = |id| Write::SetUserName { id, name: LoginName::new("Ann").unwrap(), display_name: "Ann".to_owned() };
    holds(&*store, vec![renamed(first.id)]).await;
    refused(&*store, vec![renamed(user.id)], 0).await;
    let found = store.user_by_entry(corp.id, &entry("e1")).await.unwrap().unwrap();
    assert_eq!((found.id, found.name.as_str(), found.display_name.as_str()), (first.id, "Ann", "Ann"));
    assert_eq!(store.snapshot(first.id).await.unwrap().unwrap().user, found);
    store.close().await;
}

/// A snapshot has the user, all devices that are not removed, and all counters.
pub async fn snapshots_are_complete(backend: &dyn Backend) {
    let Peopled { maker, store, user, device } = peopled(backend).await;
    let other = maker.user("bob");
    let later = Device { created_at: at(9), push: None, ..maker.device(user.id) };
    let gone = Device { created_at: at(10), ..maker.device(user.id) };
    let there = LimitScope::UserAt(user.id, ResourceId::new(NOW, maker.entropy()));
    let mut limits = Limits::default();
    limits.push_approved("VPN \u{0}\"\\ \u{1F511}", NOW);
    holds(
        &*store,
        vec![
            Write::AddDevice(Box::new(gone.clone())),
            Write::AddDevice(Box::new(later.clone())),
            Write::SetDeviceState { id: gone.id, from: DeviceState::Active, to: DeviceState::Removed },
            Write::SetDeviceState { id: later.id, from: DeviceState::Active, to: DeviceState::Suspended },
            Write::AddUser(other.clone()),
            Write::AddDevice(Box::new(maker.device(other.id))),
            Write::SetLimits { scope: LimitScope::User(other.id), expected: 0, limits: Limits::default() },
            Write::SetLimits { scope: there, expected: 0, limits: limits.clone() },
            Write::BurnTotpStep { device: device.id, step: 3 },
        ],
    )
    .await;
    let snapshot = store.snapshot(user.id).await.unwrap().unwrap();
    assert_eq!((&snapshot.user, snapshot.user.password.as_ref()), (&user, user.password.as_ref()));
    let ids: Vec<_> = snapshot.devices.iter().map(|device| (device.id, device.state)).collect();
    assert_eq!(ids, [(device.id, DeviceState::Active), (later.id, DeviceState::Suspended)]);
    let found = &snapshot.devices[0];
    assert_eq!((&found.totp, found.totp_last_step, &found.push), (&device.totp, 3, &device.push));
    assert_eq!((&found.key, &found.name, &found.platform), (&device.key, &device.name, &device.platform));
    assert_eq!((found.user, found.created_at, found.seen), (user.id, NOW, false));
    assert_eq!(snapshot.devices[1].push, None);
    assert_eq!(snapshot.limits.len(), 1);
    assert_eq!(snapshot.limits(there), (1, limits));
    assert!(store.snapshot(maker.user("x").id).await.unwrap().is_none());
    store.close().await;
}

/// Page by page everybody comes once, as each alone.
pub async fn snapshots_of_all_come_by_pages(backend: &dyn Backend) {
    let Peopled { maker, store, user, .. } = peopled(backend).await;
    let mut ids = vec![user.id];
    for number in 0..7 {
        let user = maker.user(&format!("user{number}"));
        ids.push(user.id);
        let mut writes = vec![Write::AddUser(user.clone())];
        for seconds in (0..number % 3).rev() {
            let device = Device { created_at: at(seconds), ..maker.device(user.id) };
            let (id, from) = (device.id, DeviceState::Active);
            writes.push(Write::AddDevice(Box::new(device)));
            if number == 5 && seconds == 1 {
                writes.push(Write::SetDeviceState { id, from, to: DeviceState::Removed });
            }
        }
        for scope in [LimitScope::User(user.id), LimitScope::UserAt(user.id, ResourceId::new(NOW, maker.entropy()))] {
            if number % 2 == 0 {
                let mut limits = Limits::default();
                limits.push_sent(at(number));
                writes.push(Write::SetLimits { scope, expected: 0, limits });
            }
        }
        holds(&*store, writes).await;
    }
    ids.sort();
    let mut expected = Vec::new();
    for id in ids {
        expected.push(format!("{:?}", store.snapshot(id).await.unwrap().unwrap()));
    }
    for limit in [1, 3, 4, 8, 1000] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = store.snapshots(after, limit).await.unwrap();
            assert!(page.len() <= usize::try_from(limit).unwrap());
            let Some(last) = page.last() else { break };
            after = Some(last.user.id);
            found.extend(page.iter().map(|snapshot| format!("{snapshot:?}")));
        }
        assert_eq!(found, expected, "{limit} at a time");
    }
    store.close().await;
}

/// Challenges are read as they were written; pending ones oldest first, closed ones newest first.
pub async fn challenges_come_back_whole_and_in_order(backend: &dyn Backend) {
    let Peopled { maker, store, user, .. } = peopled(backend).await;
    let mut challenges: Vec<_> = [30, 10, 20].map(|second| maker.challenge(user.id, at(second))).into();
    challenges[0].number_mode = NumberMode::Typed;
    challenges[0].user_verification = UserVerification::Required;
    challenges[1].devices.clear();
    challenges[2].context = vec![0xff, 0, b'"', b'\\'];
    let opens: Vec<_> = challenges.iter().map(|new| Write::OpenChallenge(Box::new(new.clone()))).collect();
    holds(&*store, opens).await;
    let pending = store.pending_challenges().await.unwrap();
    challenges.sort_by_key(|challenge| challenge.created_at);
    assert_eq!(format!("{pending:?}"), format!("{challenges:?}"));
    for (challenge, second) in challenges.iter().zip([42, 41, 43]) {
        let closing = closing(ClosingState::Superseded, at(second));
        holds(&*store, vec![Write::CloseChallenge { id: challenge.id, closing }]).await;
    }
    let history: Vec<_> = store.history(user.id, 2).await.unwrap().iter().map(|challenge| challenge.id).collect();
    assert_eq!(history, [challenges[2].id, challenges[0].id]);
    assert!(store.pending_challenges().await.unwrap().is_empty());
    assert!(store.challenge(ChallengeId::new(maker.entropy())).await.unwrap().is_none());
    store.close().await;
}

/// S95: what was open in a copy is not open in what comes of it, and no code that was seen meanwhile counts.
pub async fn s95_a_new_epoch_ends_what_was_open(backend: &dyn Backend) {
    let Peopled { maker, store, user, device } = peopled(backend).await;
    let ahead = maker.device(user.id);
    let [pending, denied] = [maker.challenge(user.id, NOW), maker.challenge(user.id, NOW)];
    let words = |text: &str| text.to_owned();
    let bypass = Bypass { until: at(300), reason: words("lost phone"), issuer: words("uid:0"), issued_at: NOW };
    let [open, used] = ["AAAA", "BBBB"].map(|handle| maker.activation(user.id, handle, NOW));
    holds(
        &*store,
        vec![
            Write::AddDevice(Box::new(ahead.clone())),
            Write::BurnTotpStep { device: device.id, step: 7 },
            Write::BurnTotpStep { device: ahead.id, step: 70 },
            Write::OpenChallenge(Box::new(pending.clone())),
            Write::OpenChallenge(Box::new(denied.clone())),
            Write::CloseChallenge { id: denied.id, closing: closing(ClosingState::Denied, at(1)) },
            Write::AddActivation(Box::new(used.clone())),
            Write::RedeemActivation { id: used.id, device: device.id, at: at(1) },
            Write::AddActivation(Box::new(open.clone())),
            Write::SetBypass { user: user.id, bypass: Some(bypass) },
            Write::OpenWindow(Box::new(maker.window(&device, NOW))),
        ],
    )
    .await;
    holds(&*store, vec![Write::BeginEpoch { at: at(5), step: 50 }]).await;
    assert!(store.pending_challenges().await.unwrap().is_empty());
    assert_eq!(store.snapshot(user.id).await.unwrap().unwrap().bypass, None);
    assert_eq!(store.open_windows().await.unwrap(), []);
    assert_eq!(store.past_windows(user.id, 10).await.unwrap().len(), 1);
    let state = async |id| store.challenge(id).await.unwrap().unwrap().state;
    let cancelled = Closing { state: ClosingState::Cancelled, at: at(5), decision: None };
    assert!(matches!(state(pending.id).await, ChallengeState::Closed(closing) if closing == cancelled));
    assert!(matches!(state(denied.id).await, ChallengeState::Closed(closing) if closing.state == ClosingState::Denied));
    let late = Write::RedeemActivation { id: open.id, device: device.id, at: at(6) };
    refused(&*store, vec![late], 0).await;
    let kept = store.activation_by_handle("BBBB").await.unwrap().unwrap();
    assert_eq!(kept.state, ActivationState::Redeemed { device: device.id, at: at(1) });
    for (device, last) in [(device.id, 50), (ahead.id, 70)] {
        assert_eq!(store.device(device).await.unwrap().unwrap().totp_last_step, last);
        refused(&*store, vec![Write::BurnTotpStep { device, step: last }], 0).await;
        holds(&*store, vec![Write::BurnTotpStep { device, step: last + 1 }]).await;
    }
    store.close().await;
}

/// What happened to the database as a whole is found among everything else.
pub async fn milestones_are_found_among_others(backend: &dyn Backend) {
    let store = backend.open().await;
    let kinds = EventKind::ALL.iter().chain(&EventKind::MILESTONES);
    for kind in kinds.clone() {
        store.commit(Commit::record(AuditEvent::new(NOW, *kind, "server"))).await.unwrap();
    }
    let expected: Vec<_> = (1..)
        .zip(kinds)
        .filter(|(_, kind)| EventKind::MILESTONES.contains(kind))
        .map(|(seq, kind)| (seq, kind.as_str()))
        .collect();
    assert_eq!(expected.len(), 4);
    let found = store.milestones(10).await.unwrap();
    let found: Vec<_> = found.iter().rev().map(|record| (record.seq, record.event.as_str())).collect();
    assert_eq!(found, expected);
    assert_eq!(store.milestones(1).await.unwrap()[0].seq, expected[3].0);
    store.close().await;
}

/// The history of a user shows them, so they are found without reading the whole audit.
pub async fn logins_that_nobody_was_asked_about_are_found_by_user(backend: &dyn Backend) {
    let Peopled { maker, store, user, .. } = peopled(backend).await;
    let other = maker.user("bob");
    for (of, factor) in [
        (user.id, "bypass"),
        (user.id, "push"),
        (other.id, "bypass"),
        (user.id, "remembered"),
        (user.id, "totp"),
        (other.id, "remembered"),
        (user.id, "bypass"),
    ] {
        let event = AuditEvent { user_id: Some(of), factor: Some(factor), ..event() };
        store.commit(Commit::record(event)).await.unwrap();
    }
    let found = async |user, limit| -> Vec<String> {
        let found = store.unasked(user, limit).await.unwrap();
        assert!(found.iter().all(|record| record.user_id == Some(UserId::to_string(&user))));
        found.into_iter().filter_map(|record| record.factor).collect()
    };
    assert_eq!(found(user.id, 10).await, ["bypass", "remembered", "bypass"]);
    assert_eq!(found(user.id, 2).await, ["bypass", "remembered"]);
    assert_eq!(found(other.id, 10).await, ["remembered", "bypass"]);
    assert!(found(maker.user("carol").id, 10).await.is_empty());
    store.close().await;
}

async fn check_chain(store: &dyn Store) {
    let mut head = (0, AuditHash::START);
    loop {
        let page = store.audit(head.0, 100).await.unwrap();
        if page.is_empty() {
            break;
        }
        head = verify_chain(head, &page).unwrap();
    }
    assert_eq!(store.audit_head().await.unwrap(), head);
}

/// Records come back octet for octet in the order of the commits.
pub async fn c090_audit_keeps_every_octet_in_order(backend: &dyn Backend) {
    let (maker, store) = (Maker::default(), backend.open().await);
    let mut full = AuditEvent::new(Timestamp::from_micros(-1), EventKind::ActivationRefused, "root \u{0}\u{2028}\"");
    full.login = Some(LoginId::new(NOW, maker.entropy()));
    full.user_id = Some(maker.user("x").id);
    full.user_typed = Some(HostileText::new(&(0..=250).collect::<Vec<u8>>()));
    full.resource = Some(ResourceId::new(NOW, maker.entropy()));
    full.client = Some(ClientId::new(NOW, maker.entropy()));
    full.door = Some("radius");
    full.source = Some(HostileText::new(b"\xff\xfe\0 10.0.0.1"));
    full.source_trust = Some("reported");
    full.factor = Some("push");
    full.device = Some(DeviceId::new(NOW, maker.entropy()));
    full.number_mode = Some("none");
    full.result = Some("reject");
    full.reason = Some("denied");
    full.binding = Some("none");
    full.detail = Some("{\"after\":\"\\u0000\"}\u{0} kölbel \u{1F511}\u{FFFF}".to_owned());
    let empty = AuditEvent {
        user_typed: Some(HostileText::new(b"")),
        detail: Some(String::new()),
        ..AuditEvent::new(NOW, EventKind::Alert, "")
    };
    let events = [full, empty, AuditEvent::alert(NOW, "mail"), event()];
    let mut head = (0, AuditHash::START);
    let mut expected = Vec::new();
    for event in &events {
        let record = countersign_domain::AuditRecord::chain(event.clone(), head.0 + 1, head.1);
        head = (record.seq, record.hash);
        expected.push(record);
    }
    let [one, two, three, four] = events;
    store.commit(Commit { writes: Vec::new(), audit: vec![one, two] }).await.unwrap();
    let last = vec![Commit::record(three), Commit::record(four)];
    all_at_once(last.into_iter().map(|commit| store.commit(commit)).collect()).await;
    assert_eq!(store.audit(0, 100).await.unwrap(), expected);
    assert_eq!(store.audit(1, 2).await.unwrap(), expected[1..3]);
    expected.reverse();
    assert_eq!(store.audit_newest(3).await.unwrap(), expected[..3]);
    assert_eq!(store.audit_head().await.unwrap(), head);
    store.close().await;
}

/// After many commits at a time, held and refused, the chain has one record for each that held and no break.
pub async fn s102_the_chain_holds_after_everything(backend: &dyn Backend) {
    let Peopled { maker, store, user, device } = peopled(backend).await;
    let mut tasks = JoinSet::new();
    for number in 0..200_u64 {
        let store = Arc::clone(&store);
        let writes = match number % 4 {
            0 => vec![Write::BurnTotpStep { device: device.id, step: number }],
            1 => vec![Write::OpenChallenge(Box::new(maker.challenge(user.id, NOW)))],
            2 => vec![Write::MarkDeviceSeen(device.id)],
            _ => vec![Write::RemoveUser(maker.user("x").id)],
        };
        let audit = vec![event(); usize::try_from(number % 3).unwrap()];
        tasks.spawn(async move { store.commit(Commit { writes, audit }).await.map(|()| number % 3) });
    }
    let mut records = store.audit_head().await.unwrap().0;
    while let Some(outcome) = tasks.join_next().await {
        records += i64::try_from(outcome.unwrap().unwrap_or(0)).unwrap();
    }
    assert_eq!(store.audit_head().await.unwrap().0, records);
    check_chain(&*store).await;
    store.close().await;
    let store = backend.open().await;
    check_chain(&*store).await;
    holds(&*store, Vec::new()).await;
    check_chain(&*store).await;
    assert_eq!(store.audit_head().await.unwrap().0, records + 1);
    store.close().await;
}

/// The first secret under a name stays, whoever comes later with another, and over a restart.
pub async fn server_secrets_are_stored_once(backend: &dyn Backend) {
    let store = backend.open().await;
    let secret = |octet: u8| Secret::new(vec![octet; 32]);
    let futures = (0..8).map(|octet| store.server_secret("signing", secret(octet))).collect();
    let answers: Vec<_> = all_at_once(futures).await.into_iter().map(Result::unwrap).collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]), "all get the same");
    assert_eq!(store.server_secret("nonces", secret(99)).await.unwrap(), secret(99));
    store.close().await;
    let store = backend.open().await;
    assert_eq!(store.server_secret("signing", secret(100)).await.unwrap(), answers[0]);
    assert_eq!(store.server_secret("nonces", secret(100)).await.unwrap(), secret(99));
    store.close().await;
}

/// Closing and opening again loses nothing, and the deployment stays the same.
pub async fn everything_is_there_after_a_restart(backend: &dyn Backend) {
    let Peopled { maker, store, user, device } = peopled(backend).await;
    let [pending, closed] = [maker.challenge(user.id, NOW), maker.challenge(user.id, NOW)];
    let (resource, client) = maker.resource("vpn", "secret of the vpn");
    let mut limits = Limits::default();
    limits.freeze();
    holds(
        &*store,
        vec![
            Write::OpenChallenge(Box::new(pending)),
            Write::OpenChallenge(Box::new(closed.clone())),
            Write::CloseChallenge { id: closed.id, closing: closing(ClosingState::Denied, at(1)) },
            Write::AddActivation(Box::new(maker.activation(user.id, "AAAA", NOW))),
            Write::AddResource { resource: Box::new(resource), client: Box::new(client) },
            Write::SetLimits { scope: LimitScope::User(user.id), expected: 0, limits },
            Write::BurnTotpStep { device: device.id, step: 60_000_000 },
        ],
    )
    .await;
    // What waits when the database is closed is written.
    let waiting: Vec<_> = (0..50).map(|_| store.commit(Commit::record(event()))).collect();
    assert!(all_at_once(waiting).await.iter().all(Result::is_ok));
    let (before, deployment) = (dump(&*store).await, store.deployment().await.unwrap());
    store.close().await;
    drop(store);
    let store = backend.open().await;
    assert_eq!(dump(&*store).await, before);
    assert_eq!(store.deployment().await.unwrap(), deployment);
    assert_eq!(deployment.id.len(), 22, "128 bits, base64url");
    refused(&*store, vec![Write::BurnTotpStep { device: device.id, step: 60_000_000 }], 0).await;
    store.close().await;
}

/// After its end a database answers with an error, and closing it again does no harm.
pub async fn a_closed_database_says_so(backend: &dyn Backend) {
    let Peopled { store, user, .. } = peopled(backend).await;
    store.close().await;
    store.close().await;
    let refused = store.commit(Commit::record(event())).await;
    assert!(matches!(refused, Err(CommitError::Store(StoreError::Unavailable(_)))), "{refused:?}");
    assert!(matches!(store.snapshot(user.id).await, Err(StoreError::Unavailable(_))));
}
