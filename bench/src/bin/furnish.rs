//! Fills the database of a stopped server with users for a measurement.
//!
//! `furnish --data DIR --users 100000`: users `user0`, `user1`, …, each with the password `bench-password` and one
//! device whose seed is HMAC-SHA1(KEY, user name), so that a load generator can make everybody's codes from one key.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use anyhow::Context as _;
use clap::Parser;
use countersign_desk::hash_password;
use countersign_domain::{
    AuditEvent, Clock, Commit, Device, DeviceId, DevicePublicKey, DeviceState, Entropy, EventKind, LoginName, Secret,
    Timestamp, TotpSeed, User, UserId, UserOrigin, Write,
};
use countersign_storage::{Store as _, Vault};
use countersign_storage_sqlite::{Location, Options, SqliteStore};
use hmac::{Hmac, KeyInit as _, Mac as _};

#[derive(Parser)]
struct Args {
    /// Data directory of a server that is not running
    #[arg(long)]
    data: PathBuf,
    /// How many users
    #[arg(long, default_value_t = 1000)]
    users: u32,
    /// Number of the first user
    #[arg(long, default_value_t = 0)]
    first: u32,
    /// Key of all seeds
    #[arg(long, default_value = "12345678901234567890")]
    key: String,
}

struct System;

impl Clock for System {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(0))
    }
}

impl Entropy for System {
    fn fill(&self, out: &mut [u8]) {
        getrandom::fill(out).expect("the system has a random source");
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let system = Arc::new(System);
    let vault = Vault::load(&args.data.join("countersign.key")).context("the key file of the data directory")?;
    let file = Location::File(args.data.join("countersign.db"));
    let store = Arc::new(SqliteStore::open(file, Arc::new(vault), Options::new(system.clone(), system.clone())).await?);
    let password = hash_password(&Secret::new(b"bench-password".to_vec()), &*system)?;
    let mut tasks = tokio::task::JoinSet::new();
    for number in args.first..args.first + args.users {
        let name = format!("user{number}");
        let now = system.now();
        let entropy: &dyn Entropy = &*system;
        let user = User {
            id: UserId::new(now, entropy),
            origin: UserOrigin::Local,
            name: LoginName::new(&name)?,
            display_name: name.clone(),
            enabled: true,
            password: Some(password.clone()),
            held: None,
            created_at: now,
        };
        let mut mac = Hmac::<sha1::Sha1>::new_from_slice(args.key.as_bytes())?;
        mac.update(name.as_bytes());
        let seed = TotpSeed::from_secret(Secret::new(mac.finalize().into_bytes().to_vec()));
        let id = DeviceId::new(now, entropy);
        let device = Device {
            id,
            user: user.id,
            name: "bench".into(),
            platform: "bench".into(),
            // Never used: these devices only have codes.
            key: DevicePublicKey { sec1: [4; 65], thumbprint: id.to_string() },
            state: DeviceState::Active,
            totp: seed,
            totp_last_step: 0,
            passkey: None,
            push: None,
            created_at: now,
            seen: true,
        };
        let audit = vec![AuditEvent { user_id: Some(user.id), ..AuditEvent::new(now, EventKind::UserAdded, "bench") }];
        let commit = Commit { writes: vec![Write::AddUser(user), Write::AddDevice(Box::new(device))], audit };
        let store = Arc::clone(&store);
        tasks.spawn(async move { store.commit(commit).await });
        if tasks.len() >= 1000 {
            while let Some(done) = tasks.join_next().await {
                done??;
            }
        }
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    store.close().await;
    println!("{} users", args.users);
    Ok(())
}
