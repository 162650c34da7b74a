//! Measures the writer: logins with a code (one burnt step, one record) from many tasks at a time.
//!
//! `cargo run --release -p countersign-storage-sqlite --example writer -- [COMMITS] [TASKS] [DEVICES] [DIRECTORY]`
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement for the terminal")]

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use countersign_domain::{
    AuditEvent, Clock, Commit, Device, DeviceId, DevicePublicKey, DeviceState, Entropy, EventKind, LimitScope, Limits,
    LoginId, LoginName, Reason, Timestamp, TotpSeed, User, UserId, UserOrigin, Write,
};
use countersign_storage::{Store, Vault};
use countersign_storage_sqlite::{Location, Options, SqliteStore};
use tokio::task::JoinSet;

type Failure = Box<dyn Error + Send + Sync>;

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000)
    }
}

/// Numbers that differ; nobody is protected by them.
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let number = self.0.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
            for (to, from) in chunk.iter_mut().zip(number) {
                *to = from;
            }
        }
    }
}

/// Processor time of this process so far, in hundredths of a second.
fn ticks() -> Result<u64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |at: usize| fields.get(at).copied().unwrap_or_default().parse::<u64>();
    Ok(field(11)? + field(12)?)
}

fn device(user: UserId, now: Timestamp, entropy: &dyn Entropy) -> Device {
    let id = DeviceId::new(now, entropy);
    Device {
        id,
        user,
        name: "phone".into(),
        platform: "Android".into(),
        key: DevicePublicKey { sec1: [4; 65], thumbprint: id.to_string() },
        state: DeviceState::Active,
        totp: TotpSeed::new(entropy),
        totp_last_step: 0,
        passkey: None,
        push: None,
        created_at: now,
        seen: true,
    }
}

fn record(now: Timestamp, user: UserId, device: DeviceId, entropy: &dyn Entropy) -> AuditEvent {
    AuditEvent {
        login: Some(LoginId::new(now, entropy)),
        user_id: Some(user),
        user_typed: Some("somebody".into()),
        door: Some("radius"),
        source: Some("192.0.2.17".into()),
        source_trust: Some("reported"),
        factor: Some("totp"),
        device: Some(device),
        result: Some("accept"),
        ..AuditEvent::new(now, EventKind::LoginEnded, "server").because(Reason::Approved)
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse::<u64>());
    let (commits, tasks, devices) = (number(200_000)?, number(1000)?, number(10_000)?);
    let location = arguments.next().map_or(Location::Temporary, |dir| {
        Location::File(PathBuf::from(dir).join(format!("writer-{}.db", std::process::id())))
    });
    let (clock, entropy) = (Arc::new(Still), Arc::new(Counting(AtomicU64::new(1))));
    let vault = Arc::new(Vault::from_key(&[1; 32])?);
    let store = Arc::new(SqliteStore::open(location, vault, Options::new(clock.clone(), entropy.clone())).await?);
    let now = clock.now();

    let mut people = Vec::new();
    let mut commit = Commit::default();
    for at in 0..devices {
        let user = User {
            id: UserId::new(now, &*entropy),
            origin: UserOrigin::Local,
            name: LoginName::new(&format!("user{at}"))?,
            display_name: String::new(),
            enabled: true,
            held: None,
            password: None,
            created_at: now,
        };
        let device = device(user.id, now, &*entropy);
        people.push((user.id, device.id));
        commit.writes.extend([Write::AddUser(user), Write::AddDevice(Box::new(device))]);
    }
    store.commit(commit).await?;
    let people = Arc::new(people);

    for (what, limits) in [("burn a step, one record", false), ("burn a step, set counters, one record", true)] {
        let (before, cpu, started) = (store.writer_figures(), ticks()?, Instant::now());
        let next = Arc::new(AtomicU64::new(0));
        let mut running = JoinSet::new();
        for _ in 0..tasks {
            let (store, people, entropy, next) =
                (Arc::clone(&store), Arc::clone(&people), Arc::clone(&entropy), Arc::clone(&next));
            running.spawn(async move {
                let mut waits = Vec::new();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= commits {
                        return Ok::<_, Failure>(waits);
                    }
                    let Some(&(user, device)) =
                        usize::try_from(at % devices)?.checked_rem(people.len()).and_then(|at| people.get(at))
                    else {
                        return Ok(waits);
                    };
                    let round = at / devices;
                    let step = round + 1 + if limits { commits } else { 0 };
                    let mut writes = vec![Write::BurnTotpStep { device, step }];
                    if limits {
                        let scope = LimitScope::User(user);
                        writes.push(Write::SetLimits { scope, expected: round, limits: Limits::default() });
                    }
                    let audit = vec![record(now, user, device, &*entropy)];
                    let asked = Instant::now();
                    store.commit(Commit { writes, audit }).await?;
                    waits.push(asked.elapsed());
                }
            });
        }
        let mut waits = Vec::new();
        while let Some(done) = running.join_next().await {
            waits.extend(done??);
        }
        let (took, cpu, after) = (started.elapsed(), ticks()? - cpu, store.writer_figures());
        let batches = after.batches - before.batches;
        waits.sort_unstable();
        let percentile = |percent: usize| {
            let wait = waits.get(waits.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default();
            wait.as_secs_f64() * 1000.0
        };
        let rate = Duration::from_secs(1).as_micros() * u128::from(commits) / took.as_micros().max(1);
        println!(
            "{what}: {rate}/s, {} us CPU each, {} commits a batch (largest so far {}), wait p50 {:.1} ms, p99 {:.1} ms",
            cpu * 10_000 / commits.max(1),
            commits / batches.max(1),
            after.largest,
            percentile(50),
            percentile(99),
        );
    }
    read(&store, &people, commits).await?;
    store.close().await;
    Ok(())
}

/// Snapshots of all users in turn, from sixteen tasks.
async fn read(store: &Arc<SqliteStore>, people: &Arc<Vec<(UserId, DeviceId)>>, reads: u64) -> Result<(), Failure> {
    let (cpu, started) = (ticks()?, Instant::now());
    let mut running = JoinSet::new();
    for task in 0..16 {
        let (store, people) = (Arc::clone(store), Arc::clone(people));
        running.spawn(async move {
            for at in (task..reads).step_by(16) {
                let Some((user, _)) = usize::try_from(at)?.checked_rem(people.len()).and_then(|at| people.get(at))
                else {
                    break;
                };
                store.snapshot(*user).await?;
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    let rate = Duration::from_secs(1).as_micros() * u128::from(reads) / started.elapsed().as_micros().max(1);
    println!("read a snapshot: {rate}/s, {} us CPU each", (ticks()? - cpu) * 10_000 / reads.max(1));
    Ok(())
}
