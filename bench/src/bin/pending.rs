//! Many pushes that wait at the same time: all are answered, none is lost, and what each costs in memory.
//!
//! `pending --countersign BIN --users 100000` makes a server of its own in a directory of its own, with a user and a device
//! for each login; sends all logins, waits, verifies all of them by the device protocol over HTTP, and counts the
//! Access-Accepts. RADIUS requests leave from as many ports as they need identifiers.

use std::{
    fs,
    net::{SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, bail, ensure};
use clap::Parser;
use countersign_device_protocol::{
    ids::{AccountId, DeviceId as WireDeviceId},
    messages::{Account, ActivationAnswer, Challenges, Decision, DeviceState as WireState, ServerInfo},
    origin::Origin,
};
use countersign_domain::{
    AuditEvent, Clock, Commit, Device, DeviceId, DevicePublicKey, DeviceState, Entropy, EventKind, LoginName,
    Timestamp, TotpSeed, User, UserId, UserOrigin, Write,
};
use countersign_radius::Code;
use countersign_storage::{Store as _, Vault};
use countersign_storage_sqlite::{Location, Options, SqliteStore};
use countersign_testkit::{Ask, Nas, Packet, SoftPhone};
use reqwest::{Client, Method, StatusCode};
use tokio::{sync::Semaphore, task::JoinSet};

const SECRET: &str = "a secret between generator and server";
/// Users that the server keeps in memory beside what waits, which is what is measured.
const CACHED: usize = 10_000;
/// Logins of one port: as many as RADIUS has identifiers.
const OF_ONE_PORT: usize = 256;

#[derive(Parser)]
struct Args {
    /// The program
    #[arg(long)]
    countersign: PathBuf,
    /// Logins that wait at the same time
    #[arg(long, default_value_t = 100_000)]
    users: usize,
    /// Phones that answer at the same time
    #[arg(long, default_value_t = 64)]
    phones: usize,
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

/// A server that ends with this program.
struct Server {
    binary: PathBuf,
    data: PathBuf,
    child: Option<Child>,
}

impl Server {
    fn start(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(&self.binary);
        let log = fs::File::create(self.data.join("log"))?;
        command.arg("--data").arg(&self.data).arg("serve").stderr(log.try_clone()?).stdout(log);
        self.child = Some(command.spawn()?);
        for _ in 0..600 {
            if self.run(&["resource", "list"], "").is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("the server does not start: see {}", self.data.join("log").display())
    }

    fn run(&self, words: &[&str], stdin: &str) -> anyhow::Result<()> {
        use std::io::Write as _;
        let mut command = Command::new(&self.binary);
        command.arg("--data").arg(&self.data).args(words).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::null()).spawn()?;
        child.stdin.take().context("a pipe")?.write_all(stdin.as_bytes())?;
        ensure!(child.wait()?.success(), "{words:?} fails");
        Ok(())
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            let _ = child.wait();
        }
    }

    /// MiB that the program holds now.
    fn memory(&self) -> anyhow::Result<f64> {
        let id = self.child.as_ref().context("it runs")?.id();
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.data);
    }
}

/// A phone in the database, and what it needs to answer.
struct Phone {
    soft: SoftPhone,
    user: UserId,
    device: DeviceId,
}

async fn furnish(data: &Path, users: usize) -> anyhow::Result<Vec<Phone>> {
    let system = Arc::new(System);
    let vault = Vault::load(&data.join("countersign.key")).context("the key file of the data directory")?;
    let file = Location::File(data.join("countersign.db"));
    let store = Arc::new(SqliteStore::open(file, Arc::new(vault), Options::new(system.clone(), system.clone())).await?);
    let mut phones = Vec::with_capacity(users);
    let mut commits = Vec::new();
    for number in 0..users {
        let (now, entropy): (_, &dyn Entropy) = (system.now(), &*system);
        let name = format!("user{number}");
        let user = UserId::new(now, entropy);
        let phone = Phone { soft: SoftPhone::new(), user, device: DeviceId::new(now, entropy) };
        let key = phone.soft.public();
        let device = Device {
            id: phone.device,
            user,
            name: "bench".into(),
            platform: "bench".into(),
            key: DevicePublicKey { sec1: *key.uncompressed(), thumbprint: key.thumbprint().to_string() },
            state: DeviceState::Active,
            totp: TotpSeed::new(entropy),
            totp_last_step: 0,
            push: None,
            passkey: None,
            created_at: now,
            seen: true,
        };
        let user = User {
            id: user,
            origin: UserOrigin::Local,
            name: LoginName::new(&name)?,
            display_name: name,
            enabled: true,
            password: None,
            held: None,
            created_at: now,
        };
        let audit = vec![AuditEvent { user_id: Some(user.id), ..AuditEvent::new(now, EventKind::UserAdded, "bench") }];
        commits.push(Commit { writes: vec![Write::AddUser(user), Write::AddDevice(Box::new(device))], audit });
        phones.push(phone);
        if commits.len() == 1000 || number + 1 == users {
            for outcome in store.commit_all(std::mem::take(&mut commits)).await {
                outcome?;
            }
        }
    }
    store.close().await;
    Ok(phones)
}

/// Sends a request of a phone until the server has given it a nonce.
async fn send(
    http: &Client,
    soft: &SoftPhone,
    origin: &Origin,
    (method, path, body): (Method, &str, Vec<u8>),
    nonce: &mut Option<String>,
) -> anyhow::Result<(StatusCode, Vec<u8>)> {
    for _ in 0..2 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let path = format!("/device/v1/{path}");
        let proof = soft.proof(origin, method.as_str(), &path, &body, i64::try_from(now)?, nonce.as_deref());
        let request = http.request(method.clone(), format!("{}{path}", origin.as_str())).header("DPoP", proof);
        let answer = request.header("Content-Type", "application/json").body(body.clone()).send().await?;
        if let Some(fresh) = answer.headers().get("DPoP-Nonce") {
            *nonce = Some(fresh.to_str()?.to_owned());
        }
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok((answer.status(), answer.bytes().await?.to_vec()));
        }
    }
    bail!("the server wants no nonce that it gives")
}

/// Verifies what the phone is asked.
async fn verify(http: &Client, phone: Phone, server: &ServerInfo) -> anyhow::Result<()> {
    let account = Account {
        id: AccountId::new(phone.user.to_string()).context("an identifier")?,
        user: String::new(),
        display_name: String::new(),
        organization: String::new(),
    };
    let device_id = WireDeviceId::new(phone.device.to_string()).context("an identifier")?;
    let mut soft = phone.soft;
    let origin = server.origin.clone();
    soft.account =
        Some(ActivationAnswer { device_id, account, server: server.clone(), totp: None, state: WireState::Active });
    let mut nonce = None;
    let (_, body) = send(http, &soft, &origin, (Method::GET, "challenges", Vec::new()), &mut nonce).await?;
    let mut asked: Challenges =
        serde_json::from_slice(&body).with_context(|| String::from_utf8_lossy(&body).into_owned())?;
    let challenge = asked.challenges.pop().context("the phone is asked nothing")?;
    let decision = serde_json::to_vec(&soft.decide(&challenge, Decision::Verify))?;
    let path = format!("challenges/{}/decision", challenge.id.as_str());
    let (status, body) = send(http, &soft, &origin, (Method::POST, &path, decision), &mut nonce).await?;
    ensure!(status == StatusCode::OK, "{status}: {}", String::from_utf8_lossy(&body));
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let data = std::env::temp_dir().join(format!("countersign-pending-{}", std::process::id()));
    fs::create_dir_all(&data)?;
    let radius = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
    let web = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let url = format!("http://localhost:{}", web.port());
    fs::write(
        data.join("countersign.toml"),
        format!(
            "[radius]\nlisten = \"{radius}\"\n[app]\nlisten = \"{web}\"\nurl = \"{url}\"\n\
             [limits]\nlogins = {0}\nlogins_per_client = {0}\ncached_users = {CACHED}\n",
            args.users
        ),
    )?;
    let mut server = Server { binary: args.countersign, data: data.clone(), child: None };
    server.start()?;
    let words = "resource add bench --client 127.0.0.1 --secret-stdin --primary none --answer-by 300";
    server.run(&words.split(' ').collect::<Vec<_>>(), SECRET)?;
    server.stop();
    println!("making {} users with a device each", args.users);
    let phones = furnish(&data, args.users).await?;
    let began = Instant::now();
    server.start()?;
    println!("start: {:.2} s, {:.0} MiB", began.elapsed().as_secs_f64(), server.memory()?);
    let before = server.memory()?;

    let (sent, clients) = ask_all(radius, args.users).await;
    let waits = server.memory()?;
    println!(
        "{} logins sent in {:.1} s; {:.0} MiB, {:.0} MiB more, {:.2} KiB for each",
        args.users,
        sent.as_secs_f64(),
        waits,
        waits - before,
        (waits - before) * 1024.0 / args.users as f64
    );

    let http = Client::builder().pool_max_idle_per_host(args.phones).build()?;
    let info: ServerInfo =
        serde_json::from_slice(&http.get(format!("{url}/device/v1/server")).send().await?.bytes().await?)?;
    let accepts = tokio::spawn(accepts(clients));
    let began = Instant::now();
    let (info, turns, done) = (Arc::new(info), Arc::new(Semaphore::new(args.phones)), Arc::new(AtomicUsize::new(0)));
    let mut tasks = JoinSet::new();
    for phone in phones {
        let turn = Arc::clone(&turns).acquire_owned().await?;
        let (http, info, done) = (http.clone(), Arc::clone(&info), Arc::clone(&done));
        tasks.spawn(async move {
            verify(&http, phone, &info).await?;
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if done % 10_000 == 0 {
                println!("{done} verified");
            }
            drop(turn);
            anyhow::Ok(())
        });
        while let Some(ended) = tasks.try_join_next() {
            ended??;
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let decided = began.elapsed();
    let accepted = accepts.await?;
    println!(
        "{} verified in {:.1} s, {:.0} a second; {accepted} accepted, {} lost; {:.0} MiB",
        args.users,
        decided.as_secs_f64(),
        args.users as f64 / decided.as_secs_f64(),
        args.users - accepted,
        server.memory()?
    );
    println!(
        "{}",
        serde_json::json!({
            "users": args.users, "before_mib": before, "waiting_mib": waits, "accepted": accepted,
            "kib_each": (waits - before) * 1024.0 / args.users as f64,
            "verified_a_second": args.users as f64 / decided.as_secs_f64(),
        })
    );
    ensure!(accepted == args.users, "logins were lost");
    Ok(())
}

/// Sends a login of each user and looks that nothing comes back.
async fn ask_all(radius: SocketAddr, users: usize) -> (Duration, Vec<(Nas, Vec<Packet>)>) {
    let began = Instant::now();
    let mut clients = Vec::new();
    for first in (0..users).step_by(OF_ONE_PORT) {
        // Authenticators that were used before are taken for replays.
        let seed = (u64::from(std::process::id()) << 32) | first as u64;
        let mut nas = Nas::new(radius, SECRET, seed).await;
        let mut packets = Vec::with_capacity(OF_ONE_PORT);
        for number in first..users.min(first + OF_ONE_PORT) {
            let packet = nas.pack(&Ask::login(format!("user{number}")));
            nas.send(&packet).await;
            packets.push(packet);
        }
        clients.push((nas, packets));
        // A burst that no server's socket holds would only be lost.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let sent = began.elapsed();
    tokio::time::sleep(Duration::from_secs(5)).await;
    // A client sends again what it has no answer to; the server knows it.
    for (nas, packets) in &clients {
        for packet in packets {
            nas.send(packet).await;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    (sent, clients)
}

/// How many are accepted.
async fn accepts(clients: Vec<(Nas, Vec<Packet>)>) -> usize {
    let mut tasks = JoinSet::new();
    for (mut nas, packets) in clients {
        tasks.spawn(async move {
            let mut accepted = 0;
            for packet in packets {
                let reply = nas.reply(&packet, Duration::from_secs(290)).await;
                accepted += usize::from(reply.is_some_and(|reply| reply.code() == Code::AccessAccept));
            }
            accepted
        });
    }
    tasks.join_all().await.into_iter().sum()
}
