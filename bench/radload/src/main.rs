//! radload - a small RADIUS load generator.
//!
//! One plain thread per `--threads`, each driving its own UDP sockets with ppoll (no async
//! runtime: the generator must cost little on a machine it shares with the server).
//! Every outstanding request owns one (source port, identifier) pair; identifiers are reused
//! oldest first, every request has a fresh Request Authenticator, and every reply's Response
//! Authenticator and Message-Authenticator are checked, so a late reply to a reused
//! identifier counts as `bad`, never as an answer.
//!
//! Load models:
//!   default     closed loop: keep `--concurrency` requests outstanding.
//!   --rate R    open loop: start R transactions/s; latency counts from the moment a
//!               transaction was DUE (no coordinated omission); at most --concurrency outstanding.
//!   --hold      pending-push capacity: ramp to --concurrency outstanding over --ramp seconds,
//!               then keep that many outstanding for --duration; prints a line each second.
//!
//! A transaction is one Access-Request, plus one more with State when `--on-challenge` is set
//! and the server answers Access-Challenge; its latency covers both.
use clap::Parser;
use hdrhistogram::Histogram;
use radload::*;
use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

#[derive(Parser, Clone)]
#[command(version, about = "RADIUS load generator: PAP, CHAP, MS-CHAPv2, OTP, challenge, hold")]
struct Args {
    /// Server address; must be loopback unless --allow-non-loopback
    #[arg(long, default_value = "127.0.0.1:1812")]
    server: SocketAddr,
    #[arg(long, default_value = "testing123")]
    secret: String,
    /// User names are PREFIX0 .. PREFIX(N-1), taken in turn; with --users 0 PREFIX itself
    #[arg(long, default_value = "user")]
    user_prefix: String,
    #[arg(long, default_value_t = 1000)]
    users: u64,
    /// First user number
    #[arg(long, default_value_t = 0)]
    first_user: u64,
    /// Password; "{n}" becomes the user number, "{user}" the user name
    #[arg(long, default_value = "")]
    password: String,
    /// One-time password appended to --password: a literal code, or "totp" / "hotp" (see --otp-key)
    #[arg(long)]
    otp: Option<String>,
    /// OTP key in hex (SHA-1, 6 digits, 30 s)
    #[arg(long, default_value = "3132333435363738393031323334353637383930")]
    otp_key: String,
    /// Give each user its own key: HMAC-SHA1(--otp-key, user name)
    #[arg(long)]
    otp_key_per_user: bool,
    /// Codes of so many time steps later, or with a negative number earlier
    #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
    otp_offset: i64,
    /// Take users in an order in which neighbours are far apart, as in life, and not by their numbers
    #[arg(long)]
    scatter: bool,
    /// Leave out so many users at the beginning of that order
    #[arg(long, default_value_t = 0)]
    skip: u64,
    /// First HOTP counter of each user; goes up by one for each code sent
    #[arg(long, default_value_t = 0)]
    hotp_start: u64,
    #[arg(long, value_enum, default_value = "pap")]
    proto: Proto,
    /// On Access-Challenge send a second request with State and this text
    /// (a literal, or "totp" / "hotp"); without it a challenge ends the transaction
    #[arg(long)]
    on_challenge: Option<String>,
    /// Outstanding transactions (with --rate: the cap)
    #[arg(long, default_value_t = 64)]
    concurrency: usize,
    /// Open loop: transactions started per second
    #[arg(long)]
    rate: Option<f64>,
    /// Ramp to --concurrency outstanding and hold it there
    #[arg(long)]
    hold: bool,
    /// Seconds to ramp up in --hold
    #[arg(long, default_value_t = 5.0)]
    ramp: f64,
    /// Measured seconds (with --hold: seconds after the ramp)
    #[arg(long, default_value_t = 10.0)]
    duration: f64,
    /// Seconds before measuring starts (not used by --hold)
    #[arg(long, default_value_t = 2.0)]
    warmup: f64,
    /// Stop after this many transactions, counting those of the warm-up
    #[arg(long)]
    count: Option<u64>,
    /// Seconds after which an unanswered request is lost [default: 5, with --hold 60]
    #[arg(long)]
    timeout: Option<f64>,
    /// Resend the same packet every so many seconds, as an access device does (0: never)
    #[arg(long, default_value_t = 0.0)]
    retransmit: f64,
    /// Wanted answer; others count as `unexpected` and make the exit status 1
    #[arg(long, default_value = "accept", value_parser = ["accept", "reject", "challenge", "any"])]
    expect: String,
    /// Count a reply without Message-Authenticator as bad
    #[arg(long)]
    require_ma: bool,
    /// Do not check replies at all: floor measurement against `udpecho --mode raw`
    #[arg(long)]
    raw: bool,
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// UDP sockets (source ports) [default: one for 64 outstanding, at least one a thread]
    #[arg(long)]
    sockets: Option<usize>,
    /// Spread the sockets over source addresses 127.0.0.1 .. 127.0.0.N (N access devices)
    #[arg(long, default_value_t = 1)]
    source_ips: u8,
    /// Before the load, probe every 5 ms until the server answers; print how long it took
    #[arg(long)]
    wait_ready: Option<f64>,
    /// Print one line of JSON instead of text
    #[arg(long)]
    json: bool,
    /// Allow a server that is not on loopback (your own network namespace only)
    #[arg(long)]
    allow_non_loopback: bool,
}

/// Where one-time passwords come from.
#[derive(Clone)]
enum Otp {
    None,
    Literal(String),
    Totp,
    Hotp,
}
impl Otp {
    fn parse(s: &Option<String>) -> Otp {
        match s.as_deref() {
            None => Otp::None,
            Some("totp") => Otp::Totp,
            Some("hotp") => Otp::Hotp,
            Some(s) => Otp::Literal(s.into()),
        }
    }
}

#[derive(Default)]
struct Shared {
    seq: AtomicU64,
    outstanding: AtomicI64,
    answered: AtomicU64,
    lost: AtomicU64,
}

struct Slot {
    start: Instant,
    deadline: Instant,
    resend: Option<Instant>,
    ra: [u8; 16],
    pkt: Vec<u8>,
    user: u64,
    second: bool,
}

struct Sock {
    s: UdpSocket,
    free: VecDeque<u8>,
    slots: Vec<Option<Slot>>,
}

struct Stats {
    hist: Histogram<u64>, // microseconds, transactions finished inside the window
    in_window: u64,
    codes: [u64; 256], // final answers, whole run
    packets: u64,
    resent: u64,
    bad: u64,
    lost: u64,
    send_errors: u64,
}
impl Stats {
    fn new() -> Self {
        Stats {
            hist: Histogram::new_with_bounds(1, 600_000_000, 3).unwrap(),
            in_window: 0,
            codes: [0; 256],
            packets: 0,
            resent: 0,
            bad: 0,
            lost: 0,
            send_errors: 0,
        }
    }
    fn merge(&mut self, o: &Stats) {
        self.hist.add(&o.hist).unwrap();
        self.in_window += o.in_window;
        (0..256).for_each(|i| self.codes[i] += o.codes[i]);
        self.packets += o.packets;
        self.resent += o.resent;
        self.bad += o.bad;
        self.lost += o.lost;
        self.send_errors += o.send_errors;
    }
}

struct Worker {
    a: Args,
    cap: usize, // this worker's share of --concurrency
    socks: Vec<Sock>,
    secret: Secret,
    rng: Rng,
    key: Vec<u8>,
    otp: Otp,
    challenge: Otp,
    nt: Option<[u8; 16]>, // NT hash when the password is the same for all
    hotp_next: Arc<std::sync::Mutex<HashMap<u64, u64>>>,
    shared: Arc<Shared>,
    st: Stats,
    inflight: usize,
    next_sock: usize,
}

impl Worker {
    fn user_name(&self, n: u64) -> String {
        if self.a.users == 0 { self.a.user_prefix.clone() } else { format!("{}{}", self.a.user_prefix, n) }
    }

    fn otp_text(&self, o: &Otp, n: u64, user: &str) -> String {
        let key = || if self.a.otp_key_per_user { user_key(&self.key, user) } else { self.key.clone() };
        match o {
            Otp::None => String::new(),
            Otp::Literal(s) => s.clone(),
            Otp::Totp => {
                let t = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
                hotp(&key(), (t / 30).saturating_add_signed(self.a.otp_offset), 6)
            }
            Otp::Hotp => {
                let c = {
                    let mut m = self.hotp_next.lock().unwrap();
                    let e = m.entry(n).or_insert(self.a.hotp_start);
                    *e += 1;
                    *e - 1
                };
                hotp(&key(), c, 6)
            }
        }
    }

    /// Send a request for user `n`. `prev`: (transaction start, State) of a challenge.
    fn send(&mut self, start: Instant, n: u64, prev: Option<Option<Vec<u8>>>) -> bool {
        let k = self.socks.len();
        let Some(si) = (0..k).map(|i| (self.next_sock + i) % k).find(|&i| !self.socks[i].free.is_empty()) else {
            return false;
        };
        self.next_sock = (si + 1) % k;
        let user = self.user_name(n);
        let second = prev.is_some();
        let (pw, proto) = match &prev {
            Some(_) => (self.otp_text(&self.challenge, n, &user), Proto::Pap),
            None => {
                let mut p = self.a.password.clone();
                if p.contains('{') {
                    p = p.replace("{n}", &n.to_string()).replace("{user}", &user);
                }
                p.push_str(&self.otp_text(&self.otp, n, &user));
                (p, self.a.proto)
            }
        };
        let state = prev.flatten();
        let id = self.socks[si].free.pop_front().unwrap();
        let mut pkt = Vec::with_capacity(160);
        let ra = build(
            &mut pkt,
            id,
            &mut self.rng,
            &self.secret,
            proto,
            &user,
            pw.as_bytes(),
            self.nt.as_ref(),
            state.as_deref(),
        );
        let now = Instant::now();
        if self.socks[si].s.send(&pkt).is_err() {
            self.st.send_errors += 1; // left to time out or to be resent
        }
        self.st.packets += 1;
        self.socks[si].slots[id as usize] = Some(Slot {
            start,
            deadline: now + Duration::from_secs_f64(self.a.timeout.unwrap()),
            resend: (self.a.retransmit > 0.0).then(|| now + Duration::from_secs_f64(self.a.retransmit)),
            ra,
            pkt,
            user: n,
            second,
        });
        if !second {
            self.inflight += 1;
            self.shared.outstanding.fetch_add(1, Relaxed);
        }
        true
    }

    fn finish(&mut self) {
        self.inflight -= 1;
        self.shared.outstanding.fetch_sub(1, Relaxed);
    }

    fn receive(&mut self, si: usize, win: (Instant, Instant)) {
        let mut b = [0u8; 4096];
        while let Ok(n) = self.socks[si].s.recv(&mut b) {
            if n < 20 {
                self.st.bad += 1;
                continue;
            }
            let id = b[1] as usize;
            let Some(slot) = self.socks[si].slots[id].as_ref() else {
                self.st.bad += 1; // duplicate or late
                continue;
            };
            let code = if self.a.raw {
                ACCESS_ACCEPT
            } else {
                match check_reply(&mut b[..n], &slot.ra, &self.secret, self.a.require_ma) {
                    Reply::Code(c) => c,
                    Reply::Bad => {
                        self.st.bad += 1;
                        continue;
                    }
                }
            };
            let slot = self.socks[si].slots[id].take().unwrap();
            self.socks[si].free.push_back(id as u8);
            if code == ACCESS_CHALLENGE && !slot.second && self.a.on_challenge.is_some() {
                let st = state_of(&b[..n]);
                if self.send(slot.start, slot.user, Some(st)) {
                    continue;
                }
            }
            let now = Instant::now();
            self.st.codes[code as usize] += 1;
            if self.a.hold || (now >= win.0 && now < win.1) {
                self.st.in_window += (now >= win.0 && now < win.1) as u64;
                self.st.hist.saturating_record((now - slot.start).as_micros() as u64);
            }
            self.shared.answered.fetch_add(1, Relaxed);
            self.finish();
        }
    }

    /// Resend and expire.
    fn timers(&mut self, now: Instant) {
        for si in 0..self.socks.len() {
            for id in 0..256 {
                let s = &mut self.socks[si];
                let Some(slot) = s.slots[id].as_mut() else { continue };
                if now >= slot.deadline {
                    s.slots[id] = None;
                    s.free.push_back(id as u8);
                    self.st.lost += 1;
                    self.shared.lost.fetch_add(1, Relaxed);
                    self.finish();
                } else if slot.resend.is_some_and(|r| now >= r) {
                    slot.resend = Some(now + Duration::from_secs_f64(self.a.retransmit));
                    let _ = s.s.send(&slot.pkt);
                    self.st.resent += 1;
                }
            }
        }
    }

    fn run(mut self, t0: Instant, win: (Instant, Instant)) -> Stats {
        unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1u64) };
        let users = self.a.users.max(1);
        let stride = stride(users);
        let share = 1.0 / self.a.threads as f64;
        let period = self.a.rate.map(|r| Duration::from_secs_f64(1.0 / (r * share)));
        let mut due = Instant::now();
        let mut next_scan = Instant::now();
        let mut out_of_work = false;
        loop {
            let now = Instant::now();
            let ended = now >= win.1 || out_of_work;
            if ended && self.inflight == 0 {
                return self.st;
            }
            // How many may be outstanding now
            let mut target = self.cap;
            if self.a.hold && self.a.ramp > 0.0 {
                target = (self.cap as f64 * ((now - t0).as_secs_f64() / self.a.ramp).min(1.0)) as usize;
            }
            let mut burst = 0;
            while !ended && self.inflight < target && burst < 64 {
                let start = match period {
                    Some(p) if due <= now => {
                        let d = due;
                        due += p;
                        d
                    }
                    Some(_) => break,
                    None => Instant::now(),
                };
                let seq = self.shared.seq.fetch_add(1, Relaxed);
                if self.a.count.is_some_and(|c| seq >= c) {
                    out_of_work = true;
                    break;
                }
                let place = (self.a.skip + seq) % users;
                let number = if self.a.scatter { place * stride % users } else { place };
                if !self.send(start, self.a.first_user + number, None) {
                    break;
                }
                burst += 1;
            }
            if now >= next_scan {
                self.timers(now);
                next_scan = now + Duration::from_millis(20);
            }
            // Sleep until something arrives, is due, or the next scan
            let mut wait = next_scan.saturating_duration_since(now);
            if !ended && self.inflight < target {
                wait = if period.is_some() { wait.min(due.saturating_duration_since(now)) } else { Duration::ZERO };
            } else if !ended && self.a.hold && target < self.cap {
                wait = wait.min(Duration::from_millis(1));
            }
            let mut fds: Vec<libc::pollfd> = self
                .socks
                .iter()
                .map(|s| libc::pollfd { fd: s.s.as_raw_fd(), events: libc::POLLIN, revents: 0 })
                .collect();
            let ts = libc::timespec { tv_sec: wait.as_secs() as _, tv_nsec: wait.subsec_nanos() as _ };
            let n = unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as _, &ts, std::ptr::null()) };
            if n > 0 {
                for (i, f) in fds.iter().enumerate() {
                    if f.revents != 0 {
                        self.receive(i, win);
                    }
                }
            }
        }
    }
}

/// A step through `users` that comes to each of them once: near their number times the golden ratio, and prime to it.
fn stride(users: u64) -> u64 {
    let divides = |mut a: u64, mut b: u64| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let near = (users as f64 * 0.618_034) as u64;
    (near.max(1)..).find(|step| divides(*step, users) == 1).unwrap_or(1)
}

fn open_socket(a: &Args, i: usize) -> std::io::Result<UdpSocket> {
    let ip: IpAddr = match a.server.ip() {
        IpAddr::V4(ip) if ip.is_loopback() => [127, 0, 0, 1 + (i % a.source_ips.max(1) as usize) as u8].into(),
        IpAddr::V4(_) => [0, 0, 0, 0].into(),
        IpAddr::V6(_) => "::".parse().unwrap(),
    };
    let s = UdpSocket::bind((ip, 0))?;
    s.connect(a.server)?;
    s.set_nonblocking(true)?;
    let _ = socket2::SockRef::from(&s).set_recv_buffer_size(4 << 20);
    Ok(s)
}

/// Probe with a fresh Status-Server every 5 ms until any valid answer comes back.
fn wait_ready(a: &Args, limit: f64) -> Option<Duration> {
    let (t0, secret) = (Instant::now(), Secret::new(a.secret.as_bytes()));
    let mut rng = Rng(nanos());
    let s = open_socket(a, 0).ok()?;
    let mut sent: HashMap<u8, [u8; 16]> = HashMap::new();
    let (mut p, mut id) = (Vec::new(), 0u8);
    while t0.elapsed().as_secs_f64() < limit {
        let ra = build_status(&mut p, id, &mut rng, &secret);
        sent.insert(id, ra);
        id = id.wrapping_add(1);
        let _ = s.send(&p);
        std::thread::sleep(Duration::from_millis(5));
        let mut b = [0u8; 4096];
        while let Ok(n) = s.recv(&mut b) {
            if n >= 20
                && (a.raw
                    || sent.get(&b[1]).is_some_and(|ra| check_reply(&mut b[..n], ra, &secret, false) != Reply::Bad))
            {
                return Some(t0.elapsed());
            }
        }
    }
    None
}

fn nanos() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

fn fail(m: &str) -> ! {
    eprintln!("radload: {m}");
    std::process::exit(2)
}

fn main() {
    let mut a = Args::parse();
    if !a.server.ip().is_loopback() && !a.allow_non_loopback {
        fail("the server is not on loopback; this tool loads only what runs on this machine");
    }
    a.timeout = Some(a.timeout.unwrap_or(if a.hold { 60.0 } else { 5.0 }));
    a.threads = a.threads.clamp(1, a.concurrency.max(1));
    if let Some(limit) = a.wait_ready {
        match wait_ready(&a, limit) {
            Some(d) => println!("ready_ms {:.0}", d.as_secs_f64() * 1e3),
            None => fail("server not ready in time"),
        }
        if a.count == Some(0) {
            return;
        }
    }
    let key: Vec<u8> = (0..a.otp_key.len() / 2)
        .map(|i| u8::from_str_radix(&a.otp_key[2 * i..2 * i + 2], 16).unwrap_or_else(|_| fail("--otp-key is not hex")))
        .collect();
    let constant = a.otp.is_none() && !a.password.contains('{');
    let nt = (a.proto == Proto::Mschapv2 && constant).then(|| nt_password_hash(a.password.as_bytes()));
    let total =
        a.sockets.unwrap_or(0).max(a.concurrency.div_ceil(if a.sockets.is_some() { 256 } else { 64 })).max(a.threads);
    let shared = Arc::new(Shared::default());
    let hotp_next = Arc::new(std::sync::Mutex::new(HashMap::new()));
    let t0 = Instant::now();
    let warm = Duration::from_secs_f64(if a.hold { a.ramp } else { a.warmup });
    let win = (t0 + warm, t0 + warm + Duration::from_secs_f64(a.duration));
    let mut handles = vec![];
    for t in 0..a.threads {
        let socks: Vec<Sock> = (0..total)
            .filter(|i| i % a.threads == t)
            .map(|i| Sock {
                s: open_socket(&a, i).unwrap_or_else(|e| fail(&format!("socket: {e}"))),
                free: (0..=255).collect(),
                slots: (0..256).map(|_| None).collect(),
            })
            .collect();
        let w = Worker {
            cap: (a.concurrency + a.threads - 1 - t) / a.threads,
            a: a.clone(),
            socks,
            secret: Secret::new(a.secret.as_bytes()),
            rng: Rng(nanos() ^ (t as u64) << 56),
            key: key.clone(),
            otp: Otp::parse(&a.otp),
            challenge: Otp::parse(&a.on_challenge),
            nt,
            hotp_next: hotp_next.clone(),
            shared: shared.clone(),
            st: Stats::new(),
            inflight: 0,
            next_sock: 0,
        };
        handles.push(std::thread::spawn(move || w.run(t0, win)));
    }
    let (mut held_min, mut held_max) = (i64::MAX, 0);
    if a.hold {
        while Instant::now() < win.1 && handles.iter().any(|h| !h.is_finished()) {
            std::thread::sleep(Duration::from_secs(1).min(win.1.saturating_duration_since(Instant::now())));
            let o = shared.outstanding.load(Relaxed);
            if Instant::now() > win.0 {
                held_min = held_min.min(o);
            }
            held_max = held_max.max(o);
            eprintln!(
                "t={:.0}s outstanding={o} answered={} lost={}",
                t0.elapsed().as_secs_f64(),
                shared.answered.load(Relaxed),
                shared.lost.load(Relaxed)
            );
        }
    }
    let mut st = Stats::new();
    handles.into_iter().for_each(|h| st.merge(&h.join().unwrap()));
    let elapsed = Instant::now().min(win.1).saturating_duration_since(win.0).as_secs_f64().max(1e-9);

    let q = |p: f64| st.hist.value_at_quantile(p) as f64 / 1e3;
    let c = |i: u8| st.codes[i as usize];
    let (acc, rej, cha) = (c(ACCESS_ACCEPT), c(ACCESS_REJECT), c(ACCESS_CHALLENGE));
    let all: u64 = st.codes.iter().sum();
    let unexpected = match a.expect.as_str() {
        "accept" => all - acc,
        "reject" => all - rej,
        "challenge" => all - cha,
        _ => 0,
    };
    let rps = st.in_window as f64 / elapsed;
    let loss = 100.0 * st.lost as f64 / ((all + st.lost).max(1)) as f64;
    let max = st.hist.max() as f64 / 1e3;
    if a.json {
        println!(
            "{{\"req_s\":{rps:.1},\"p50_ms\":{:.3},\"p95_ms\":{:.3},\"p99_ms\":{:.3},\"max_ms\":{max:.3},\"answered\":{all},\"accept\":{acc},\"reject\":{rej},\"challenge\":{cha},\"unexpected\":{unexpected},\"lost\":{},\"loss_pct\":{loss:.3},\"bad\":{},\"resent\":{},\"send_errors\":{},\"packets\":{},\"held_min\":{},\"held_max\":{held_max}}}",
            q(0.5),
            q(0.95),
            q(0.99),
            st.lost,
            st.bad,
            st.resent,
            st.send_errors,
            st.packets,
            if a.hold && held_min != i64::MAX { held_min } else { 0 }
        );
    } else {
        println!("req/s {rps:.0}   (window {elapsed:.1} s, {} of {all} transactions in it)", st.in_window);
        println!("latency ms  p50 {:.3}  p95 {:.3}  p99 {:.3}  max {max:.3}", q(0.5), q(0.95), q(0.99));
        println!("answers     accept {acc}  reject {rej}  challenge {cha}  unexpected {unexpected}");
        println!(
            "loss        {} ({loss:.3} %)  bad {}  resent {}  send errors {}  packets {}",
            st.lost, st.bad, st.resent, st.send_errors, st.packets
        );
        if a.hold {
            println!(
                "held        min {} max {held_max} outstanding during the hold",
                if held_min == i64::MAX { 0 } else { held_min }
            );
        }
    }
    if unexpected > 0 || st.bad > 0 && all == 0 || all == 0 {
        std::process::exit(1);
    }
}
