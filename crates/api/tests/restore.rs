//! A database that was put back from a copy: what ends, what is forbidden again, and what the audit shows of it.
#![expect(clippy::unwrap_used, reason = "these are tests")]

use core::time::Duration;
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use countersign_api::{
    admin::{
        audit::{AuditLine, VerifyReport, check, check_newest},
        checkpoints::Checkpoints,
        to_vec,
    },
    restore::{Before, Restoration, RestoreError, Restored, begin_epoch, examine},
};
use countersign_domain::{
    Activation, ActivationId, ActivationState, AuditEvent, Bypass, Challenge, ChallengeId, ChallengeState, Clock as _,
    Commit, Device, DeviceId, DeviceState, Directory, DirectoryId, EntryId, EventKind, Hold, HoldReason, LimitScope,
    Limits, Lockout, LoginId, LoginName, NumberMode, OTP_POLICY, PushVerdict, Reason, ResourceId, Secret, SyncSettings,
    Timestamp, User, UserId, UserOrigin, UserVerification, Write, newest_step,
};
use countersign_storage::{Store, Vault};
use countersign_storage_sqlite::{Copy, Label, Location, Options, SqliteStore, back_up};
use countersign_testkit::{FakeClock, SeededEntropy, SoftDevice};

/// A server without its doors, and the folder of its files.
struct House {
    dir: tempfile::TempDir,
    clock: Arc<FakeClock>,
    entropy: Arc<SeededEntropy>,
    store: Arc<dyn Store>,
    unpacked: AtomicU32,
}

impl House {
    async fn new() -> Self {
        let (clock, entropy) = (Arc::new(FakeClock::default()), Arc::new(SeededEntropy::new(11)));
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir.path().join("db"), &clock, &entropy).await;
        let house = Self { dir, clock, entropy, store, unpacked: AtomicU32::new(0) };
        house.checkpoints(&*house.store).await;
        house
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn checkpoints(&self, store: &dyn Store) -> Checkpoints {
        Checkpoints::open(self.path("checkpoints"), store, self.clock.clone()).await.unwrap()
    }

    async fn write(&self, kind: EventKind, writes: Vec<Write>, about: impl FnOnce(&mut AuditEvent)) {
        self.clock.advance(Duration::from_secs(1));
        let mut event = AuditEvent::new(self.clock.now(), kind, "uid:0");
        about(&mut event);
        self.store.commit(Commit { writes, audit: vec![event] }).await.unwrap();
    }

    async fn user(&self, name: &str) -> UserId {
        self.user_from(name, UserOrigin::Local).await
    }

    async fn user_from(&self, name: &str, origin: UserOrigin) -> UserId {
        let now = self.clock.now();
        let user = User {
            id: UserId::new(now, &*self.entropy),
            origin,
            name: LoginName::new(name).unwrap(),
            display_name: name.to_owned(),
            enabled: true,
            password: None,
            held: None,
            created_at: now,
        };
        let id = user.id;
        self.write(EventKind::UserAdded, vec![Write::AddUser(user)], |event| event.user_id = Some(id)).await;
        id
    }

    async fn device(&self, user: UserId) -> Device {
        let (_, device) = SoftDevice::new(user, self.clock.now(), &*self.entropy);
        let write = Write::AddDevice(Box::new(device.clone()));
        self.write(EventKind::ActivationRedeemed, vec![write], |event| event.device = Some(device.id)).await;
        device
    }

    async fn enable(&self, id: UserId, enabled: bool) {
        let kind = if enabled { EventKind::UserEnabled } else { EventKind::UserDisabled };
        self.write(kind, vec![Write::SetUserEnabled { id, enabled }], |event| event.user_id = Some(id)).await;
    }

    async fn device_state(&self, id: DeviceId, from: DeviceState, to: DeviceState) {
        let kind = match to {
            DeviceState::Active => EventKind::DeviceResumed,
            DeviceState::Suspended => EventKind::DeviceSuspended,
            DeviceState::Removed => EventKind::DeviceRemoved,
        };
        self.write(kind, vec![Write::SetDeviceState { id, from, to }], |event| event.device = Some(id)).await;
    }

    async fn limits(&self, scope: LimitScope, change: impl FnOnce(&mut Limits)) {
        let (expected, mut limits) = self.store.snapshot(scope.user()).await.unwrap().unwrap().limits(scope);
        change(&mut limits);
        let write = Write::SetLimits { scope, expected, limits };
        self.write(EventKind::LoginEnded, vec![write], |event| event.reason = Some("code_wrong")).await;
    }

    async fn copy(&self, name: &str) -> PathBuf {
        let to = self.path(name);
        let label = Label { made_at: self.clock.now(), program: String::new(), settings: String::new() };
        back_up(&self.path("db"), &to, &label, &mut |_, _| {}).await.unwrap();
        to
    }

    /// Where a copy is a database that was unpacked last.
    fn unpacked_to(&self, copy: &Path) -> PathBuf {
        copy.with_extension(format!("{}.db", self.unpacked.load(Ordering::Relaxed)))
    }

    /// The copy as a database.
    async fn unpacked(&self, copy: &Path) -> Arc<dyn Store> {
        self.unpacked.fetch_add(1, Ordering::Relaxed);
        let to = self.unpacked_to(copy);
        Copy::open(copy).await.unwrap().unpack(&to, &mut |_, _| {}).await.unwrap();
        open(&to, &self.clock, &self.entropy).await
    }

    async fn restored(&self, copy: &Path, before: Before, export: Option<&Path>) -> (Arc<dyn Store>, Restored) {
        self.clock.advance(Duration::from_secs(60));
        let store = self.unpacked(copy).await;
        let report = self.begin(&*store, before, export).await.unwrap();
        (store, report)
    }

    async fn begin(&self, store: &dyn Store, before: Before, export: Option<&Path>) -> Result<Restored, RestoreError> {
        let newest = self.checkpoints(store).await.newest().await;
        let what = Restoration {
            now: self.clock.now(),
            actor: "uid:0 (root)",
            file: "/backup",
            made_at: None,
            before,
            export,
            newest_checkpoint: newest.and_then(|newest| Timestamp::from_rfc3339(&newest.time)),
        };
        begin_epoch(store, &what).await
    }

    fn here(&self) -> Before {
        Before::Known(Arc::clone(&self.store))
    }

    async fn export(&self, name: &str) -> PathBuf {
        let mut lines = Vec::new();
        for record in self.store.audit(0, u32::MAX).await.unwrap() {
            lines.extend(to_vec(&AuditLine::from(record)));
            lines.push(b'\n');
        }
        let to = self.path(name);
        std::fs::write(&to, lines).unwrap();
        to
    }

    async fn verify(&self, store: &dyn Store, file: &str) -> VerifyReport {
        check(store, &self.checkpoints(store).await, &self.path(file)).await.unwrap()
    }

    /// Makes a checkpoint as a server does now and then.
    async fn checkpoint(&self, store: &dyn Store) {
        self.clock.advance(Duration::from_secs(1));
        self.checkpoints(store).await.make(store).await.unwrap();
    }
}

async fn open(path: &Path, clock: &Arc<FakeClock>, entropy: &Arc<SeededEntropy>) -> Arc<dyn Store> {
    let vault = Arc::new(Vault::from_key(&[7; 32]).unwrap());
    let options = Options::new(clock.clone(), entropy.clone());
    Arc::new(SqliteStore::open(Location::File(path.to_owned()), vault, options).await.unwrap())
}

async fn device_state(store: &dyn Store, id: DeviceId) -> DeviceState {
    store.device(id).await.unwrap().unwrap().state
}

async fn enabled(store: &dyn Store, id: UserId) -> bool {
    store.user(id).await.unwrap().unwrap().enabled
}

fn words(report: &Restored) -> Vec<String> {
    report.again.iter().map(|again| format!("{} {}", again.what, again.user)).collect()
}

#[tokio::test]
async fn s95_nothing_that_was_open_in_a_copy_is_open_afterwards() {
    let house = House::new().await;
    let alice = house.user("alice").await;
    let device = house.device(alice).await;
    let now = house.clock.now();
    let challenge = Challenge {
        id: ChallengeId::new(&*house.entropy),
        login: LoginId::new(now, &*house.entropy),
        user: alice,
        resource: ResourceId::new(now, &*house.entropy),
        nonce: [1; 32],
        context: b"{}".to_vec(),
        number_mode: NumberMode::None,
        user_verification: UserVerification::None,
        devices: vec![device.id],
        created_at: now,
        expires_at: now.plus(Duration::from_secs(300)),
        reported: false,
        state: ChallengeState::Pending,
    };
    let activation = Activation {
        id: ActivationId::new(now, &*house.entropy),
        user: alice,
        handle: "AAAA".to_owned(),
        secret_hash: [1; 32],
        token_hash: [2; 32],
        issuer: "uid:0".to_owned(),
        issued_at: now,
        expires_at: now.plus(Timestamp::DAY),
        wrong_secrets: 0,
        state: ActivationState::Open,
    };
    let bypass =
        Bypass { until: now.plus(Timestamp::DAY), reason: "x".to_owned(), issuer: "x".to_owned(), issued_at: now };
    let writes = vec![
        Write::OpenChallenge(Box::new(challenge.clone())),
        Write::AddActivation(Box::new(activation.clone())),
        Write::SetBypass { user: alice, bypass: Some(bypass) },
    ];
    house.write(EventKind::ActivationIssued, writes, |_| {}).await;
    let copy = house.copy("copy").await;
    // A code is used after the copy was made.
    let used = newest_step(house.clock.now().plus(Duration::from_secs(59)));
    house.write(EventKind::LoginEnded, vec![Write::BurnTotpStep { device: device.id, step: used }], |_| {}).await;

    let (store, report) = house.restored(&copy, Before::None, None).await;
    assert_eq!(report.challenges_ended, 1);
    assert!(store.pending_challenges().await.unwrap().is_empty());
    assert!(matches!(store.challenge(challenge.id).await.unwrap().unwrap().state, ChallengeState::Closed(_)));
    assert_eq!(store.activation_by_handle("AAAA").await.unwrap().unwrap().state, ActivationState::Burnt);
    assert_eq!(store.snapshot(alice).await.unwrap().unwrap().bypass, None);
    for step in [used, newest_step(house.clock.now())] {
        let burn = Commit { writes: vec![Write::BurnTotpStep { device: device.id, step }], audit: Vec::new() };
        assert!(store.commit(burn).await.is_err(), "a code of step {step} counts again");
    }
    let next = newest_step(house.clock.now().plus(Duration::from_secs(30)));
    let burn = Commit { writes: vec![Write::BurnTotpStep { device: device.id, step: next }], audit: Vec::new() };
    store.commit(burn).await.unwrap();
    // The server's own keys stay, or no phone would know it any more.
    let key = countersign_api::server_keys::ServerKey::Signing;
    assert_eq!(key.document(&*store).await.unwrap().expose(), key.document(&*house.store).await.unwrap().expose());
}

#[tokio::test]
async fn s95_the_owners_are_told() {
    let house = House::new().await;
    house.user("alice").await;
    let copy = house.copy("copy").await;
    let (store, report) = house.restored(&copy, house.here(), None).await;
    let records = store.audit(report.kept, 10).await.unwrap();
    assert_eq!(records[0].event, "server.restored");
    assert_eq!(records[0].actor, "uid:0 (root)");
    let detail = records[0].detail.clone().unwrap();
    assert!(detail.contains("/backup"), "{detail}");
    assert_eq!((records[1].event.as_str(), records[1].reason.as_deref()), ("alert", Some("restored")));
    assert_eq!(store.milestones(5).await.unwrap()[0].seq, records[0].seq);
}

#[tokio::test]
async fn s95_what_was_forbidden_since_is_forbidden_again_and_what_was_allowed_is_not() {
    let house = House::new().await;
    let mut users = Vec::new();
    for name in ["disabled", "removed", "back", "stays", "reported"] {
        let user = house.user(name).await;
        users.push((user, house.device(user).await));
    }
    let [gone, suspended, resumed, was_suspended] = [
        house.device(users[3].0).await,
        house.device(users[3].0).await,
        house.device(users[3].0).await,
        house.device(users[3].0).await,
    ];
    house.device_state(was_suspended.id, DeviceState::Active, DeviceState::Suspended).await;
    let was_disabled = house.user("was disabled").await;
    house.enable(was_disabled, false).await;
    let copy = house.copy("copy").await;

    house.enable(users[0].0, false).await;
    house
        .write(EventKind::UserRemoved, vec![Write::RemoveUser(users[1].0)], |event| event.user_id = Some(users[1].0))
        .await;
    house.enable(users[2].0, false).await;
    house.enable(users[2].0, true).await;
    house.enable(was_disabled, true).await;
    house.device_state(gone.id, DeviceState::Active, DeviceState::Removed).await;
    house.device_state(suspended.id, DeviceState::Active, DeviceState::Suspended).await;
    house.device_state(resumed.id, DeviceState::Active, DeviceState::Suspended).await;
    house.device_state(resumed.id, DeviceState::Suspended, DeviceState::Active).await;
    house.device_state(was_suspended.id, DeviceState::Suspended, DeviceState::Active).await;
    let reported = users[4].0;
    house
        .write(EventKind::LoginEnded, Vec::new(), |event| {
            event.user_id = Some(reported);
            event.reason = Some(Reason::DeniedReported.as_str());
        })
        .await;
    let late = house.user("late").await;
    let lates = house.device(late).await;
    let export = house.export("export").await;

    for (before, export) in [(house.here(), None), (Before::None, Some(&*export)), (house.here(), Some(&*export))] {
        let (store, report) = house.restored(&copy, before, export).await;
        let expected = [
            "device_removed stays",
            "device_suspended stays",
            "limits reported",
            "user_disabled disabled",
            "user_removed removed",
        ];
        assert_eq!(words(&report), expected);
        let states = [users[0].0, users[1].0, users[2].0, was_disabled];
        let mut found = Vec::new();
        for user in states {
            found.push(enabled(&*store, user).await);
        }
        // Who was removed is back for the case that it was a mistake, and may not log on for the case that it was none.
        assert_eq!(found, [false, false, true, false]);
        assert_eq!(device_state(&*store, gone.id).await, DeviceState::Removed);
        assert_eq!(device_state(&*store, suspended.id).await, DeviceState::Suspended);
        assert_eq!(device_state(&*store, resumed.id).await, DeviceState::Active);
        assert_eq!(device_state(&*store, was_suspended.id).await, DeviceState::Suspended);
        let snapshot = store.snapshot(reported).await.unwrap().unwrap();
        let limits = snapshot.limits(LimitScope::User(reported)).1;
        assert_eq!(limits.push_verdict(house.clock.now()), PushVerdict::Frozen);
        // What was added is not there, and is told.
        assert!(store.user(late).await.unwrap().is_none() && store.device(lates.id).await.unwrap().is_none());
        let missing: Vec<_> = report.missing.iter().map(|missing| missing.event.as_str()).collect();
        let expected =
            ["user.enabled", "user.enabled", "device.resumed", "device.resumed", "user.added", "activation.redeemed"];
        assert_eq!(missing, expected);
        assert!(report.known_until.is_some());
        // Each with a record of its own.
        let records = store.audit(report.kept, 100).await.unwrap();
        let kinds: Vec<_> = records.iter().map(|record| record.event.as_str()).collect();
        assert_eq!(kinds.iter().filter(|kind| **kind == "user.disabled").count(), 2, "{kinds:?}");
        assert_eq!(kinds.iter().filter(|kind| kind.starts_with("device.")).count(), 2, "{kinds:?}");
    }
}

/// A synchronisation may enable again whom one disabled; whom an administrator disabled, it may not.
#[tokio::test]
async fn s95_who_was_disabled_for_the_directory_stays_the_directorys_to_enable() {
    let house = House::new().await;
    let now = house.clock.now();
    let directory = Directory {
        id: DirectoryId::new(now, &*house.entropy),
        name: "corp".to_owned(),
        settings: "{}".to_owned(),
        password: Secret::new(b"x".to_vec()),
        lockout: Lockout { threshold: 5, window: Duration::from_secs(1800) },
        sync: SyncSettings::default(),
        created_at: now,
    };
    let origin =
        |entry: &str| UserOrigin::Directory { directory: directory.id, entry: EntryId::from_text(entry.to_owned()) };
    house.write(EventKind::DirectoryAdded, vec![Write::AddDirectory(Box::new(directory.clone()))], |_| {}).await;
    let (by_sync, by_admin) = (house.user_from("ann", origin("a")).await, house.user_from("ben", origin("b")).await);
    let copy = house.copy("copy").await;
    let hold = Hold { why: HoldReason::Expired, since: house.clock.now() };
    for user in [by_sync, by_admin] {
        let write = Write::HoldUser { id: user, from: None, hold };
        let held = |event: &mut AuditEvent| {
            event.user_id = Some(user);
            event.detail = Some(
                r#"{"before":{"enabled":true,"held":null},"after":{"enabled":false,"held":"expired"}}"#.to_owned(),
            );
        };
        house.write(EventKind::UserDisabled, vec![write], held).await;
    }
    house.enable(by_admin, false).await;
    let (store, report) = house.restored(&copy, house.here(), None).await;
    assert_eq!(words(&report), ["user_disabled ann", "user_disabled ben"]);
    let held = async |id| store.user(id).await.unwrap().unwrap().held.map(|hold| hold.why);
    assert_eq!((held(by_sync).await, held(by_admin).await), (Some(HoldReason::Expired), None));
    assert!(!enabled(&*store, by_sync).await && !enabled(&*store, by_admin).await);
}

#[tokio::test]
async fn s95_counters_are_at_least_as_strict_as_both() {
    let house = House::new().await;
    let (alice, bob) = (house.user("alice").await, house.user("bob").await);
    let (alices, bobs) = (LimitScope::User(alice), LimitScope::User(bob));
    house.limits(bobs, Limits::freeze).await;
    let copy = house.copy("copy").await;
    house
        .limits(alices, |limits| {
            for _ in 0..OTP_POLICY.failures {
                limits.otp_mut().failed(&OTP_POLICY, house.clock.now());
            }
        })
        .await;
    house.limits(bobs, Limits::unlock).await;
    let (store, report) = house.restored(&copy, house.here(), None).await;
    let limits = async |scope: LimitScope| store.snapshot(scope.user()).await.unwrap().unwrap().limits(scope).1;
    assert!(!limits(alices).await.otp().allows(&OTP_POLICY, house.clock.now()));
    assert_eq!(limits(bobs).await.push_verdict(house.clock.now()), PushVerdict::Frozen);
    assert!(report.counters_known);
    assert_eq!(words(&report), ["limits alice"]);
}

#[tokio::test]
async fn what_cannot_be_known_is_said() {
    let house = House::new().await;
    let alice = house.user("alice").await;
    let copy = house.copy("copy").await;
    house.enable(alice, false).await;
    for (before, word) in [(Before::None, "none"), (Before::Unknown("it is damaged".to_owned()), "unknown")] {
        let (store, report) = house.restored(&copy, before, None).await;
        assert_eq!(report.before, word);
        assert_eq!(report.before_fault.is_some(), word == "unknown");
        assert_eq!((report.known_until.clone(), report.counters_known, report.gone), (None, false, 0));
        assert!(enabled(&*store, alice).await && report.again.is_empty());
    }
}

/// A copy may be newer than what is there, or of another branch: what the older one says of later times is nothing.
#[tokio::test]
async fn only_what_came_after_the_common_past_is_applied() {
    let house = House::new().await;
    let alice = house.user("alice").await;
    house.enable(alice, false).await;
    let old = house.copy("old").await;
    house.enable(alice, true).await;
    let device = house.device(alice).await;
    let new = house.copy("new").await;

    // The newer copy in the place of the older.
    let older = house.unpacked(&old).await;
    let (store, report) = house.restored(&new, Before::Known(older), None).await;
    assert!(enabled(&*store, alice).await && device_state(&*store, device.id).await == DeviceState::Active);
    assert_eq!((report.gone, report.known_until), (0, None));
    assert!(!report.counters_known);

    // Another branch: alice is disabled in what came of the older one.
    let (branch, _) = house.restored(&old, Before::None, None).await;
    let event =
        AuditEvent { user_id: Some(alice), ..AuditEvent::new(house.clock.now(), EventKind::UserDisabled, "uid:0") };
    branch.commit(Commit::record(event)).await.unwrap();
    let (store, report) = house.restored(&new, Before::Known(branch), None).await;
    assert!(!enabled(&*store, alice).await);
    assert_eq!(words(&report), ["user_disabled alice"]);
    assert_eq!(device_state(&*store, device.id).await, DeviceState::Active);
}

#[tokio::test]
async fn exports_of_others_and_broken_ones_are_refused() {
    let (house, other) = (House::new().await, House::new().await);
    other.clock.advance(Duration::from_secs(5));
    house.user("alice").await;
    other.user("mallory").await;
    let copy = house.copy("copy").await;
    let store = house.unpacked(&copy).await;
    let before = store.audit_head().await.unwrap();
    let foreign = other.export("export").await;
    let refused = house.begin(&*store, Before::None, Some(&foreign)).await.unwrap_err();
    assert!(matches!(refused, RestoreError::Foreign(_)), "{refused}");
    let broken = house.path("broken");
    for text in ["", "{}\n", "no json\n"] {
        std::fs::write(&broken, text).unwrap();
        let refused = house.begin(&*store, Before::None, Some(&broken)).await.unwrap_err().to_string();
        assert!(refused.contains("broken"), "{refused}");
    }
    assert!(house.begin(&*store, Before::None, Some(Path::new("/no/such/export"))).await.is_err());
    assert_eq!(store.audit_head().await.unwrap(), before, "nothing was written");
}

#[tokio::test]
async fn s102_the_seam_of_a_restore_is_told_and_cries_no_wolf() {
    let house = House::new().await;
    for name in ["a", "b", "c"] {
        house.user(name).await;
    }
    house.checkpoint(&*house.store).await;
    let copy = house.copy("copy").await;
    for name in ["d", "e"] {
        house.user(name).await;
        house.checkpoint(&*house.store).await;
    }
    std::fs::copy(house.path("checkpoints"), house.path("elsewhere")).unwrap();
    let (store, report) = house.restored(&copy, house.here(), None).await;
    // Whether the chain has come as far as the old checkpoints, or not yet.
    for round in 0..2 {
        for file in ["checkpoints", "elsewhere"] {
            let found = house.verify(&*store, file).await;
            assert!(found.ok, "{round} {file}: {found:?}");
            assert_eq!(found.restores.len(), 1);
            let seam = &found.restores[0];
            assert_eq!((seam.seq, seam.signed, seam.set_aside), (report.kept + 1, true, 2), "{file}");
            assert_eq!(seam.newest_set_aside, Some(report.kept + 2));
        }
        assert_eq!(check_newest(&*store, &house.checkpoints(&*store).await).await.unwrap(), None);
        for _ in 0..3 {
            let event = AuditEvent::new(house.clock.now(), EventKind::LoginEnded, "server");
            store.commit(Commit::record(event)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn s102_tampering_is_still_found_before_and_behind_a_seam() {
    let house = House::new().await;
    house.user("a").await;
    house.checkpoint(&*house.store).await;
    let early = house.copy("early").await;
    house.user("b").await;
    house.checkpoint(&*house.store).await;
    let copy = house.copy("copy").await;
    house.user("c").await;
    house.checkpoint(&*house.store).await;
    let (store, _) = house.restored(&copy, house.here(), None).await;
    let restored = house.unpacked_to(&copy);
    house.checkpoint(&*store).await;
    let at = house.path("at this moment");
    let label = Label { made_at: house.clock.now(), program: String::new(), settings: String::new() };
    back_up(&restored, &at, &label, &mut |_, _| {}).await.unwrap();
    let event = AuditEvent::new(house.clock.now(), EventKind::LoginEnded, "server");
    store.commit(Commit::record(event)).await.unwrap();
    house.checkpoint(&*store).await;
    assert!(house.verify(&*store, "checkpoints").await.ok);

    // An older database in its place, without a restore: the checkpoints behind the seam are not there.
    let older = house.unpacked(&early).await;
    let found = house.verify(&*older, "checkpoints").await;
    assert_eq!(found.checkpoints.faults[0].fault, "cut", "{found:?}");
    // What came behind the seam is cut off.
    let cut = house.unpacked(&at).await;
    let found = house.verify(&*cut, "checkpoints").await;
    assert_eq!(found.checkpoints.faults[0].fault, "cut", "{found:?}");
    // Somebody with the database alone explains a cut by a restore that never was.
    let forged = house.unpacked(&early).await;
    let detail = store.milestones(1).await.unwrap()[0].detail.clone();
    let event = AuditEvent { detail, ..AuditEvent::new(house.clock.now(), EventKind::ServerRestored, "uid:0") };
    forged.commit(Commit::record(event)).await.unwrap();
    let found = house.verify(&*forged, "checkpoints").await;
    assert!(!found.ok && !found.restores[0].signed, "{found:?}");
    assert!(!found.checkpoints.faults.is_empty());
    assert!(check_newest(&*forged, &house.checkpoints(&*forged).await).await.unwrap().is_some());
}

/// A machine whose clock stood ahead made checkpoints of times that are still to come.
#[tokio::test]
async fn s95_s96_a_clock_that_is_behind_lets_no_code_count_twice_and_no_checkpoint_cry() {
    let house = House::new().await;
    let alice = house.user("alice").await;
    let device = house.device(alice).await;
    let copy = house.copy("copy").await;
    house.clock.advance(Duration::from_secs(86_400));
    let used = newest_step(house.clock.now());
    house.write(EventKind::LoginEnded, vec![Write::BurnTotpStep { device: device.id, step: used }], |_| {}).await;
    house.checkpoint(&*house.store).await;
    let ahead = house.clock.now();
    house.clock.set(ahead.minus(Duration::from_secs(86_000)));
    for before in [house.here(), Before::None] {
        let (store, report) = house.restored(&copy, before, None).await;
        assert!(report.ahead.is_some());
        let burn = Commit { writes: vec![Write::BurnTotpStep { device: device.id, step: used }], audit: Vec::new() };
        assert!(store.commit(burn).await.is_err());
        assert!(house.verify(&*store, "checkpoints").await.ok);
    }
}

#[tokio::test]
async fn a_copy_of_a_copy_that_was_restored_may_be_restored_again() {
    let house = House::new().await;
    house.user("a").await;
    let first = house.copy("first").await;
    house.user("b").await;
    house.checkpoint(&*house.store).await;
    let (second, _) = house.restored(&first, house.here(), None).await;
    house.checkpoint(&*second).await;
    let (third, report) = house.restored(&first, Before::Known(second), None).await;
    assert_eq!(report.missing, [], "a restore that is undone is nothing to be done again");
    let found = house.verify(&*third, "checkpoints").await;
    assert!(found.ok && found.restores.len() == 1, "{found:?}");
    assert_eq!(found.restores[0].set_aside, 2);
}

#[tokio::test]
async fn s102_a_copy_with_a_broken_audit_is_taken_only_by_somebody_who_says_so() {
    let house = House::new().await;
    let alice = house.user("alice").await;
    house.device(alice).await;
    let copy = house.copy("copy").await;
    let (contents, broken) = examine(&*house.unpacked(&copy).await, false).await.unwrap();
    assert_eq!((contents.users, contents.devices, contents.records, broken), (1, 1, 2, None));

    let mut octets = std::fs::read(&copy).unwrap();
    let at = octets.windows(10).position(|window| window == b"user.added").unwrap();
    octets[at + 9] = b'r';
    std::fs::write(&copy, octets).unwrap();
    house.clock.advance(Duration::from_secs(1));
    let store = house.unpacked(&copy).await;
    let refused = examine(&*store, false).await.unwrap_err();
    assert!(matches!(&refused, RestoreError::Broken(broken) if broken.seq == 1), "{refused}");
    let (_, broken) = examine(&*store, true).await.unwrap();
    assert_eq!(broken.unwrap().fault, "changed");
    house.begin(&*store, Before::None, None).await.unwrap();
    assert!(!house.verify(&*store, "checkpoints").await.ok, "it is not made whole by this");
}

/// A kind of record that is new has to be thought about: whether an administrator must do again what it tells of.
#[tokio::test]
async fn what_has_to_be_done_again_is_what_somebody_did_and_no_login() {
    let house = House::new().await;
    house.user("alice").await;
    let copy = house.copy("copy").await;
    for kind in EventKind::ALL {
        house.write(*kind, Vec::new(), |_| {}).await;
    }
    let (_, report) = house.restored(&copy, house.here(), None).await;
    for missing in &report.missing {
        let of_itself = ["login.", "challenge.", "window.", "bypass.", "server.", "backup.", "alert"];
        assert!(!of_itself.iter().any(|prefix| missing.event.starts_with(prefix)), "{}", missing.event);
    }
    let again: Vec<_> = report.missing.iter().map(|missing| missing.event.as_str()).collect();
    for wanted in ["user.added", "activation.redeemed", "resource.changed", "client.added", "upstream.changed"] {
        assert!(again.contains(&wanted), "{wanted} in {again:?}");
    }
}
