//! The real program on a folder of its own, driven by its command line.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "these are tests")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    time::Duration,
};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::Value;
use sqlx::{Connection as _, sqlite::SqliteConnectOptions};

const PROGRAM: &str = env!("CARGO_BIN_EXE_countersign");
/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

fn command() -> Command {
    let mut command = Command::new(PROGRAM);
    command.env_remove("COUNTERSIGN_DATA").env_remove("COUNTERSIGN_LOG").env_remove("NOTIFY_SOCKET");
    command
}

fn run(mut command: Command, stdin: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Who does not read its input may have gone.
    let _gone = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

/// A folder with the file for free ports.
struct Folder {
    _temporary: tempfile::TempDir,
    data: PathBuf,
    radius: u16,
    app: u16,
}

struct Running {
    child: Child,
    log: mpsc::Receiver<String>,
}

impl Folder {
    fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let data = temporary.path().join("data");
        fs::create_dir(&data).unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
        let radius = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let app = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = Self { _temporary: temporary, data, radius, app };
        folder.configure("");
        folder
    }

    fn configure(&self, more: &str) {
        let text = format!(
            "[radius]\nlisten = \"127.0.0.1:{}\"\n[app]\nlisten = \"127.0.0.1:{}\"\n{more}",
            self.radius, self.app
        );
        fs::write(self.data.join("countersign.toml"), text).unwrap();
    }

    fn serve(&self) -> Command {
        let mut serve = command();
        serve.arg("serve").arg("--data").arg(&self.data);
        serve
    }

    fn start(&self) -> Running {
        Self::started(self.serve())
    }

    /// The same under other limits of open files.
    fn start_with_files(&self, soft: u64, hard: u64) -> Running {
        let mut shell = Command::new("sh");
        let serve = self.serve();
        shell.arg("-c").arg(format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$@\"")).arg("sh");
        shell.arg(serve.get_program()).args(serve.get_args());
        Self::started(shell)
    }

    fn started(mut serve: Command) -> Running {
        let mut child = serve.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, log) = mpsc::channel();
        let streams: [Box<dyn std::io::Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for stream in streams {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let _gone = sender.send(line);
                }
            });
        }
        let mut seen = Vec::new();
        loop {
            let line = log.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("it is not ready: {seen:?}"));
            if line.starts_with("ready: ") {
                break;
            }
            seen.push(line);
        }
        Running { child, log }
    }

    /// What `serve` says when it must not start.
    fn not_started(&self) -> String {
        let output = run(self.serve(), "");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{said}");
        assert!(said.starts_with("error: ") || said.contains("\nerror: "), "{said}");
        said
    }

    fn cli(&self, arguments: &[&str], stdin: &str) -> Output {
        let mut command = command();
        command.arg("--data").arg(&self.data).args(arguments);
        run(command, stdin)
    }

    /// What a command that must succeed prints.
    fn done(&self, arguments: &[&str], stdin: &str) -> String {
        let output = self.cli(arguments, stdin);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn ask(&self, arguments: &[&str], stdin: &str) -> Value {
        let text = self.done(&[arguments, &["--json"]].concat(), stdin);
        serde_json::from_str(&text).unwrap_or_else(|fault| panic!("{arguments:?}: {fault}: {text}"))
    }

    /// What a command that must be refused says.
    fn refused(&self, arguments: &[&str], stdin: &str) -> String {
        let output = self.cli(arguments, stdin);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{arguments:?}: {said}");
        said
    }

    /// Changes the database behind the back of a stopped server.
    fn tamper(&self, sql: &'static str) {
        let path = self.data.join("countersign.db");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let options = SqliteConnectOptions::new().filename(path);
            let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
            sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        });
    }
}

impl Running {
    fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    fn stop(mut self) -> Vec<String> {
        self.signal("TERM");
        let status = self.child.wait().unwrap();
        let log: Vec<String> = self.log.iter().collect();
        assert!(status.success(), "{status}: {log:?}");
        log
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _gone = self.child.kill();
            let _gone = self.child.wait();
        }
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn users_activations_resources_and_audit_from_beginning_to_end() {
    let folder = Folder::new();
    let server = folder.start();

    folder.done(&["user", "add", "alice", "--password-stdin", "--display-name", "Alice A."], "canary-password\n");
    folder.done(&["user", "add", "bob", "--no-password"], "");
    let users = folder.ask(&["user", "list"], "");
    assert_eq!([&users[0]["name"], &users[1]["name"]], ["alice", "bob"]);
    assert_eq!((&users[0]["has_password"], &users[1]["has_password"]), (&true.into(), &false.into()));
    let table = folder.done(&["user", "list"], "");
    assert!(table.contains("Alice A.") && table.lines().count() == 3, "{table}");
    assert!(folder.done(&["user", "show", "ALICE"], "").contains("Alice A."));
    assert!(folder.refused(&["user", "add", "Alice", "--password-stdin"], "x").contains("exists"));
    assert!(folder.refused(&["user", "add", "carol", "--password-stdin"], "\n").contains("empty"));
    assert!(folder.refused(&["user", "add", "carol"], "").contains("--password-stdin"));
    assert_eq!(folder.ask(&["user", "disable", "bob"], "")["enabled"], false);
    assert_eq!(folder.ask(&["user", "enable", "bob"], "")["enabled"], true);
    folder.ask(&["user", "unlock", "bob", "--reason", "he called"], "");
    folder.ask(&["user", "remove", "bob"], "");
    let said = folder.refused(&["user", "show", "bob"], "");
    assert!(said.contains("no user bob") && said.contains("user list"), "{said}");
    let problem: Value = serde_json::from_str(&folder.refused(&["user", "show", "bob", "--json"], "")).unwrap();
    assert_eq!(problem["code"], "user_unknown");

    let kept = folder.cli(&["user", "set", "alice", "--chap", "--password-stdin"], "canary-password\n");
    let (said, note) = (String::from_utf8(kept.stdout).unwrap(), String::from_utf8(kept.stderr).unwrap());
    assert!(
        said.contains("can log on by CHAP") && note.contains("whoever has the database and the key file"),
        "{said}{note}"
    );
    assert!(
        folder.refused(&["user", "set", "alice", "--chap", "--password-stdin"], "wrong").contains("not the password")
    );
    assert!(folder.done(&["user", "show", "alice"], "").contains("yes: the password is kept"));
    assert!(folder.done(&["user", "set", "alice", "--no-chap"], "").contains("no password is kept"));

    let picture = folder.data.join("qr.png");
    let issued = folder.ask(&["activation", "issue", "alice", "--png", picture.to_str().unwrap()], "");
    assert_eq!(issued["url"], format!("http://localhost:{}", folder.app));
    assert!(issued["qr"].as_str().unwrap().starts_with(&format!("http://localhost:{}/activate#v=1&t=", folder.app)));
    assert!(issued["expires_at"].as_str().unwrap().ends_with('Z') && issued["code"].as_str().unwrap().len() == 14);
    assert_eq!((&fs::read(&picture).unwrap()[..4], mode(&picture)), (&b"\x89PNG"[..], 0o600));
    // What cannot be written is found out before anything is handed out; what is refused leaves no file.
    let said = folder.refused(&["activation", "issue", "alice", "--png", "/no/such/folder/qr.png"], "");
    assert!(said.contains("/no/such/folder/qr.png cannot be written"), "{said}");
    let records = folder.ask(&["audit", "list", "--event", "activation.issued"], "");
    assert_eq!(records.as_array().unwrap().len(), 1);
    let none = folder.data.join("none.png");
    folder.refused(&["activation", "issue", "nobody", "--png", none.to_str().unwrap()], "");
    assert!(!none.exists());
    let shown = folder.done(&["activation", "issue", "alice"], "");
    assert!(shown.contains('█') && shown.contains("code") && shown.contains("http://localhost"), "{shown}");
    assert!(folder.refused(&["activation", "issue", "alice", "--expires", "25h"], "").contains("24 hours"));
    assert_eq!(folder.ask(&["device", "list"], ""), Value::Array(Vec::new()));

    // s47
    let made = folder.ask(&["resource", "add", "vpn", "--client", "127.0.0.1", "--generate-secret"], "");
    let secret = made["secret"].as_str().unwrap().to_owned();
    assert_eq!(secret.len(), 32);
    let said = folder.refused(&["resource", "add", "b", "--client", "10.0.0.1", "--secret-stdin"], "short\n");
    assert!(said.contains("5 octets, at least 16"), "{said}");
    let said = folder.refused(&["resource", "add", "b", "--client", "10.0.0.1", "--secret-stdin"], &secret);
    assert!(said.contains("another client") && !said.contains(&secret), "{said}");
    for arguments in [&["resource", "show", "vpn"][..], &["resource", "list"], &["resource", "show", "vpn", "--json"]] {
        let shown = folder.done(arguments, "");
        assert!(shown.contains("127.0.0.1/32") && !shown.contains(&secret), "{shown}");
    }
    let shown = folder.done(&["resource", "set", "vpn", "--user-verification", "preferred"], "");
    assert!(shown.contains("user verification") && shown.contains("preferred"), "{shown}");
    let shown = folder.done(&["resource", "set", "vpn", "--prompt", "code-to-phone,totp"], "");
    assert!(shown.contains("prompt") && shown.contains("code-to-phone, totp"), "{shown}");
    let set = folder.ask(&["resource", "set", "vpn", "--no-prompt"], "");
    assert_eq!(set["prompt"], Value::Array(Vec::new()));
    let set = folder.ask(&["resource", "set", "vpn", "--answer-by", "30", "--no-require-message-authenticator"], "");
    assert_eq!(set["user_verification"], "preferred");
    assert_eq!((&set["answer_by"], &set["require_message_authenticator"]), (&30.into(), &false.into()));
    assert!(set["warnings"][0].as_str().unwrap().contains("CVE-2024-3596"));

    let doctor = folder.cli(&["doctor"], "");
    let said = String::from_utf8(doctor.stdout).unwrap();
    assert_eq!(doctor.status.code(), Some(0), "{said}");
    assert!(said.contains("answers Status-Server") && said.contains("nothing is wrong"), "{said}");

    // s100
    let records = folder.ask(&["audit", "list"], "");
    let records = records.as_array().unwrap();
    let mut events: Vec<_> = records.iter().map(|record| record["event"].as_str().unwrap()).collect();
    events.dedup();
    assert_eq!(
        events,
        [
            "server.started",
            "user.added",
            "user.disabled",
            "user.enabled",
            "user.unlocked",
            "user.removed",
            "user.changed",
            "activation.issued",
            "resource.added",
            "resource.changed",
        ]
    );
    for record in records.iter().skip(1) {
        let actor = record["actor"].as_str().unwrap();
        assert!(actor.starts_with("uid:"), "{actor}");
        let detail: Value = serde_json::from_str(record["detail"].as_str().unwrap()).unwrap();
        assert!(record["event"] == "activation.issued" || detail.get("before").is_some(), "{detail}");
    }
    assert_eq!(folder.ask(&["audit", "list", "--user", "bob", "--limit", "2"], "").as_array().unwrap().len(), 2);
    assert!(folder.done(&["audit", "list"], "").contains("vpn"));

    let export = folder.done(&["audit", "export"], "");
    let first = export.lines().next().unwrap();
    let members = "seq time event login user_id user_typed actor resource client door source source_trust factor device \
                   number_mode result reason binding detail prev hash";
    let mut rest = first;
    for member in members.split_whitespace() {
        let at = rest.find(&format!("\"{member}\":")).unwrap_or_else(|| panic!("{member}: {first}"));
        rest = rest.split_at(at).1;
    }
    let report = folder.ask(&["audit", "verify"], "");
    assert_eq!(report["records"].as_u64().unwrap(), u64::try_from(export.lines().count()).unwrap());

    let log = server.stop().join("\n");
    for canary in ["canary-password", &secret, issued["code"].as_str().unwrap()] {
        assert!(!log.contains(canary));
        for entry in fs::read_dir(&folder.data).unwrap() {
            let path = entry.unwrap().path();
            let octets = fs::read(&path).unwrap();
            let found = octets.windows(canary.len()).any(|part| part == canary.as_bytes());
            assert!(!found, "{canary} is in {}", path.display());
        }
    }
}

#[test]
fn s47_clients_and_reply_attributes_are_set_and_shown() {
    let folder = Folder::new();
    let server = folder.start();
    let alone = folder.ask(&["resource", "add", "strict", "--no-client", "--primary", "local"], "");
    assert_eq!(alone["client_names"], Value::Array(Vec::new()));
    let reply = ["--reply", "Session-Timeout = 28800", "--reply", "cisco-avpair = shell:priv-lvl=15"];
    let add = ["resource", "add", "open", "--client", "10.0.0.1", "--secret-stdin", "--primary", "none"];
    let made =
        folder.ask(&[&add[..], &reply, &["--charset", "windows-1252"]].concat(), "canary-secret of the first one");
    assert_eq!(made["reply"], serde_json::json!(["Session-Timeout = 28800", "Cisco-AVPair = shell:priv-lvl=15"]));
    let shown = folder.done(&["resource", "show", "open"], "");
    assert!(shown.contains("Cisco-AVPair = shell:priv-lvl=15") && shown.contains("windows-1252"), "{shown}");
    let said = folder.refused(&["resource", "set", "open", "--reply", "Fliter-Id = staff"], "");
    assert!(said.contains("did you mean Filter-Id?"), "{said}");
    let none = folder.ask(&["resource", "set", "open", "--no-reply"], "");
    assert_eq!(none["reply"], Value::Array(Vec::new()));

    let rule = ["--match", "NAS-Identifier = vpn1 -> strict"];
    let further = ["client", "add", "second", "--address", "10.0.0.2", "--resource", "open", "--generate-secret"];
    let made = folder.ask(&[&further[..], &rule].concat(), "");
    let secret = made["secret"].as_str().unwrap().to_owned();
    assert_eq!((secret.len(), &made["rules"][0]), (32, &"NAS-Identifier = vpn1 -> strict".into()));
    for arguments in [&["client", "show", "second"][..], &["client", "list"], &["client", "list", "--json"]] {
        let shown = folder.done(arguments, "");
        assert!(shown.contains("10.0.0.2/32") && !shown.contains(&secret) && !shown.contains("canary"), "{shown}");
    }
    let back = ["client", "set", "second", "--resource", "strict", "--match", "NAS-Port-Type = Virtual -> open"];
    let said = folder.refused(&back, "");
    assert!(said.contains("let in more easily") && said.contains("first factor"), "{said}");
    let said = folder.refused(&["resource", "remove", "strict"], "");
    assert!(said.contains("client set second"), "{said}");
    assert_eq!(folder.ask(&["client", "set", "second", "--no-match"], "")["rules"], Value::Array(Vec::new()));
    assert!(folder.done(&["client", "remove", "second"], "").contains("second is removed"));
    assert!(folder.refused(&["client", "show", "second"], "").contains("client list"));
    folder.done(&["resource", "remove", "strict"], "");
    let log = server.stop().join("\n");
    assert!(!log.contains(&secret) && !log.contains("canary-secret"), "{log}");
}

#[test]
fn usage_errors_are_told_apart() {
    for arguments in [
        &[][..],
        &["no-such-command"],
        &["user"],
        &["user", "add"],
        &["user", "unlock", "bob"],
        &["resource", "add", "x", "--client", "10.0.0.1"],
        &["resource", "add", "x", "--client", "10.0.0.1", "--generate-secret", "--secret-stdin"],
        &["resource", "add", "x", "--client", "10.0.0.1", "--generate-secret", "--primary", "maybe"],
        &["resource", "set", "x"],
        &["resource", "add", "x", "--no-client", "--generate-secret"],
        &["resource", "add", "x"],
        &["client", "add", "x", "--address", "10.0.0.1", "--generate-secret"],
        &["client", "set", "x"],
        &["activation", "issue", "x", "--expires", "soon"],
        &["audit", "list", "--limit", "0"],
    ] {
        let mut command = command();
        command.args(arguments);
        let output = run(command, "");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {said}");
        assert!(said.contains("Usage:") || said.contains("--help"), "{arguments:?}: {said}");
    }
    let mut help = command();
    help.arg("--help");
    let help = run(help, "");
    assert!(help.status.success() && String::from_utf8(help.stdout).unwrap().contains("/var/lib/countersign"));
}

#[test]
fn without_a_server_a_command_and_the_doctor_say_so() {
    let folder = Folder::new();
    let said = folder.refused(&["user", "list"], "");
    assert!(said.contains("no server is running") && said.contains("countersign serve --data"), "{said}");
    let doctor = folder.cli(&["doctor", "--json"], "");
    assert_eq!(doctor.status.code(), Some(1));
    let findings: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    assert!(
        findings.as_array().unwrap().iter().any(|finding| finding["level"] == "wrong" && finding["about"] == "server")
    );
}

#[test]
fn the_doctor_tells_of_pushes_and_sends_one_where_it_is_asked_to() {
    let folder = Folder::new();
    let running = folder.start();
    folder.done(&["user", "add", "alice", "--no-password"], "");
    let about_pushes = |arguments: &[&str]| {
        let output = folder.cli(&[&["--json", "doctor"], arguments].concat(), "");
        let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
        let said: Vec<String> = findings
            .as_array()
            .unwrap()
            .iter()
            .filter(|finding| finding["about"].as_str().unwrap().contains("push"))
            .map(|finding| format!("{}: {}", finding["level"].as_str().unwrap(), finding["text"].as_str().unwrap()))
            .collect();
        (output.status.code(), said)
    };
    let (code, said) = about_pushes(&[]);
    assert!(said.len() == 1 && said[0].starts_with("note: off") && said[0].contains("[push] contact"), "{said:?}");
    assert_eq!(code, Some(0));
    running.stop();

    folder.configure("[push]\ncontact = \"mailto:mfa@countersign.dev\"\n");
    let running = folder.start();
    let (code, said) = about_pushes(&["--push", "alice"]);
    assert!(said[0].starts_with("ok: 0 pushes sent"), "{said:?}");
    assert!(said[1].starts_with("wrong: alice has no device"), "{said:?}");
    assert_eq!((code, said.len()), (Some(1), 2));
    running.stop();

    folder.configure("[push]\ncontact = \"mailto:mfa@countersign.local\"\n");
    assert!(folder.not_started().contains("no public domain"));
}

#[test]
fn a_first_start_writes_a_commented_file_and_private_files() {
    let folder = Folder::new();
    let data = folder.data.join("new");
    // With the defaults its ports may be taken; the file is there all the same.
    let mut serve = command();
    let mut child =
        serve.arg("serve").arg("--data").arg(&data).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let file = data.join("countersign.toml");
    let mut tries = 0;
    while !file.exists() && tries < 3000 {
        tries += 1;
        let _ = mpsc::channel::<()>().1.recv_timeout(Duration::from_millis(10));
    }
    let _gone = child.kill();
    child.wait().unwrap();
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("# listen = \"0.0.0.0:1812\"") && text.contains("[audit]"), "{text}");
    assert_eq!((mode(&data), mode(&file)), (0o700, 0o600));
}

#[test]
fn s99_files_and_socket_are_their_owners_only() {
    let folder = Folder::new();
    let server = folder.start();
    folder.done(&["user", "add", "alice", "--no-password"], "");
    let mut seen = Vec::new();
    for entry in fs::read_dir(&folder.data).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name != "countersign.toml" {
            assert_eq!(mode(&path), 0o600, "{name}");
        }
        seen.push(name);
    }
    for name in ["admin.sock", "countersign.key", "countersign.db", "countersign.db-wal"] {
        assert!(seen.iter().any(|seen| seen == name), "{name}: {seen:?}");
    }
    fs::set_permissions(folder.data.join("countersign.db"), fs::Permissions::from_mode(0o644)).unwrap();
    let doctor = folder.cli(&["doctor"], "");
    let said = String::from_utf8(doctor.stdout).unwrap();
    assert!(doctor.status.code() == Some(1) && said.contains("chmod 600"), "{said}");
    server.stop();
    assert!(!folder.data.join("admin.sock").exists());
}

#[test]
fn s93_a_key_file_that_others_can_read_or_that_is_missing_ends_the_start() {
    let folder = Folder::new();
    folder.start().stop();
    let key = folder.data.join("countersign.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let said = folder.not_started();
    assert!(said.contains("countersign.key") && said.contains("chmod 600"), "{said}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    // s92: under another key the database is not opened.
    let right = fs::read(&key).unwrap();
    fs::write(&key, [7; 32]).unwrap();
    let said = folder.not_started();
    assert!(said.contains("wrong key file"), "{said}");
    fs::remove_file(&key).unwrap();
    let said = folder.not_started();
    assert!(said.contains("is missing") && !key.exists(), "{said}");
    // Neither the database nor what is beside it holds the key.
    for entry in fs::read_dir(&folder.data).unwrap() {
        let octets = fs::read(entry.unwrap().path()).unwrap();
        assert!(!octets.windows(right.len()).any(|part| part == right));
    }
    fs::write(&key, right).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o400)).unwrap();
    folder.start().stop();
}

#[test]
fn a_start_that_cannot_be_says_why() {
    let folder = Folder::new();
    fs::write(folder.data.join("countersign.toml"), "[radius]\nlisten = \"127.0.0.1:1812\"\nlisten_too = 1\n").unwrap();
    let said = folder.not_started();
    assert!(said.contains("countersign.toml: line 3: unknown field `listen_too`"), "{said}");
    folder.configure("tls_cert = \"none.pem\"\ntls_key = \"none.key\"\nurl = \"https://mfa.example.com\"\n");
    let said = folder.not_started();
    assert!(said.contains("none.pem"), "{said}");
    folder.configure("");

    let taken = UdpSocket::bind(("127.0.0.1", folder.radius)).unwrap();
    let said = folder.not_started();
    assert!(said.contains(&folder.radius.to_string()) && said.contains("in use"), "{said}");
    drop(taken);
    let taken = TcpListener::bind(("127.0.0.1", folder.app)).unwrap();
    let said = folder.not_started();
    assert!(said.contains(&folder.app.to_string()) && said.contains("in use"), "{said}");
    drop(taken);

    let server = folder.start();
    let said = folder.not_started();
    assert!(said.contains("running") && said.contains("already"), "{said}");
    server.stop();
    folder.tamper(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (99999999999999, 'from the future', TRUE, x'00', 0)",
    );
    assert!(folder.not_started().contains("newer countersign"));
}

#[test]
fn a_killed_server_leaves_nothing_that_is_in_the_way() {
    let folder = Folder::new();
    let server = folder.start();
    folder.done(&["user", "add", "alice", "--no-password"], "");
    server.signal("KILL");
    drop(server);
    assert!(folder.data.join("admin.sock").exists());
    let said = folder.refused(&["user", "list"], "");
    assert!(said.contains("no server is running"), "{said}");
    let server = folder.start();
    assert_eq!(folder.ask(&["user", "list"], "")[0]["name"], "alice");
    server.signal("INT");
    drop(server.stop_after_signal());
    let server = folder.start();
    let events = folder.ask(&["audit", "list"], "");
    let last = events.as_array().unwrap().iter().rev().nth(1).unwrap();
    assert_eq!(last["event"], "server.stopped");
    server.stop();
}

impl Running {
    fn stop_after_signal(mut self) -> Vec<String> {
        assert!(self.child.wait().unwrap().success());
        self.log.iter().collect()
    }
}

/// Ten users, so ten records and more, a server that has stopped in order, and so a checkpoint of its last record.
fn with_records() -> Folder {
    let folder = Folder::new();
    let server = folder.start();
    for number in 0..10 {
        folder.done(&["user", "add", &format!("user{number}"), "--no-password"], "");
    }
    server.stop();
    folder
}

fn verify(folder: &Folder) -> (Value, String) {
    let server = folder.start();
    let output = folder.cli(&["audit", "verify", "--json"], "");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let code = i32::from(report["ok"] != true);
    assert_eq!(output.status.code(), Some(code), "{report}");
    let said = String::from_utf8(folder.cli(&["audit", "verify"], "").stdout).unwrap();
    server.stop();
    (report, said)
}

#[test]
fn s102_what_was_changed_removed_inserted_or_swapped_is_found_and_located() {
    let cases = [
        ("UPDATE audit SET user_typed = x'6d' WHERE seq = 5", 5, "changed"),
        ("UPDATE audit SET time = time + 1 WHERE seq = 3", 3, "changed"),
        ("DELETE FROM audit WHERE seq = 6", 7, "gap"),
        ("DELETE FROM audit WHERE seq = 1", 2, "gap"),
        (
            "UPDATE audit SET seq = -1 WHERE seq = 4; UPDATE audit SET seq = 4 WHERE seq = 5; \
             UPDATE audit SET seq = 5 WHERE seq = -1",
            4,
            "changed",
        ),
        (
            "UPDATE audit SET seq = seq + 1000 WHERE seq > 7; UPDATE audit SET seq = seq - 999 WHERE seq > 1000; \
             INSERT INTO audit (seq, time, event, actor, prev, hash) SELECT 8, time, 'user.added', actor, hash, hash \
             FROM audit WHERE seq = 7",
            8,
            "changed",
        ),
        ("UPDATE audit SET hash = x'00' WHERE seq = 9", 9, "unreadable"),
    ];
    for (sql, seq, fault) in cases {
        let folder = with_records();
        assert_eq!(verify(&folder).0["ok"], true);
        folder.tamper(sql);
        let (report, said) = verify(&folder);
        assert_eq!(
            (&report["break"]["seq"], &report["break"]["fault"]),
            (&seq.into(), &fault.into()),
            "{sql}: {report}"
        );
        assert!(said.contains(&format!("BROKEN at record {seq}")), "{said}");
    }
}

#[test]
fn s102_a_cut_tail_and_an_older_database_show_by_the_checkpoints() {
    let folder = with_records();
    let database = folder.data.join("countersign.db");
    let older = fs::read(&database).unwrap();
    folder.tamper("DELETE FROM audit WHERE seq > 8");
    let (report, said) = verify(&folder);
    // What the server wrote since stands in the place of what was cut off.
    assert_eq!(report["break"], Value::Null);
    let faults = report["checkpoints"]["faults"].as_array().unwrap();
    assert!(faults.iter().any(|fault| fault["fault"] == "cut" || fault["fault"] == "differs"), "{report}");
    assert!(said.contains("CHECKPOINT"), "{said}");

    let folder = with_records();
    let newer = fs::read(folder.data.join("audit-checkpoints.jsonl")).unwrap();
    // A copy of the checkpoints elsewhere tells what the server's own file, cut as well, does not.
    let copy = folder.data.join("copy.jsonl");
    fs::write(&copy, newer).unwrap();
    fs::remove_file(folder.data.join("audit-checkpoints.jsonl")).unwrap();
    folder.tamper("DELETE FROM audit WHERE seq > 5");
    let server = folder.start();
    assert_eq!(folder.ask(&["audit", "verify"], "")["ok"], true);
    let output = folder.cli(&["audit", "verify", "--checkpoints", copy.to_str().unwrap(), "--json"], "");
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["checkpoints"]["faults"][0]["fault"], "cut", "{report}");
    server.stop();
    drop(older);
}

#[test]
fn a_database_that_was_lost_beside_its_key_shows() {
    let folder = with_records();
    for file in ["countersign.db", "countersign.db-wal", "countersign.db-shm"] {
        let _absent = fs::remove_file(folder.data.join(file));
    }
    let doctor = || {
        let output = folder.cli(&["doctor"], "");
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    // Also when the new one has checkpoints of its own.
    for _ in 0..2 {
        let server = folder.start();
        let (code, said) = doctor();
        assert!(code == Some(1) && said.contains("was lost or replaced"), "{said}");
        server.stop();
    }
    let checkpoints = folder.data.join("audit-checkpoints.jsonl");
    fs::rename(&checkpoints, folder.data.join("elsewhere.jsonl")).unwrap();
    let server = folder.start();
    let (code, said) = doctor();
    assert!(code == Some(0) && said.contains("nothing is wrong"), "{said}");
    server.stop();
}

#[test]
fn the_verifier_in_the_guide_agrees() {
    if Command::new("python3").arg("--version").stdout(Stdio::null()).status().is_err() {
        return;
    }
    let guide = include_str!("../../../docs/guide/audit.md");
    let verifier = guide.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let folder = Folder::new();
    let program = folder.data.join("check.py");
    fs::write(&program, verifier).unwrap();
    let python = |input: &str| {
        let mut python = Command::new("python3");
        python.arg(&program);
        run(python, input)
    };
    let server = folder.start();
    let name = "Kölbel \\ \"x\"";
    folder.done(&["user", "add", name, "--no-password"], "");
    folder.done(&["user", "unlock", &name.to_lowercase(), "--reason", "line\nend \u{202e} \u{7f} \u{e0041}"], "");
    let export = folder.done(&["audit", "export"], "");
    server.stop();
    let good = python(&export);
    let said = String::from_utf8(good.stdout).unwrap();
    assert!(good.status.success() && said.starts_with("3 records are right"), "{said}{:?}", good.stderr);
    let headless: Vec<&str> = export.lines().skip(1).collect();
    for changed in [export.replace("user.added", "user.removed"), headless.join("\n")] {
        assert_eq!(python(&changed).status.code(), Some(1), "{changed}");
    }
}

#[test]
fn s101_a_hostile_name_at_the_door_is_harmless_on_the_screen_and_in_the_export() {
    let folder = Folder::new();
    let server = folder.start();
    let made = folder.ask(&["resource", "add", "vpn", "--client", "127.0.0.1", "--generate-secret"], "");
    let stdin = format!("{}\nx", made["secret"].as_str().unwrap());
    let names = ["bob\n2026-11-25 ACCEPT alice", "\x1b[2J\x1b]0;x\x07", "\u{202e}gnp.exe", "<script>alert(1)</script>"];
    let at = format!("127.0.0.1:{}", folder.radius);
    for name in names {
        let output = folder.cli(&["radius-login", name, "--server", &at, "--secret-stdin", "--password-stdin"], &stdin);
        assert_eq!(output.status.code(), Some(1), "{:?}", output.stderr);
    }
    for arguments in [&["audit", "list"][..], &["audit", "list", "--json"], &["audit", "export"]] {
        let text = folder.done(arguments, "");
        assert!(text.chars().all(|c| c == '\n' || c == '…' || c.is_ascii_graphic() || c == ' '), "{text}");
        assert_eq!(text.matches("user_unknown").count(), names.len(), "{text}");
    }
    let found = folder.ask(&["audit", "list", "--user", names[0]], "");
    assert_eq!(found[0]["user_typed"], "bob\\u{a}2026-11-25 ACCEPT alice");
    // A long name stretches no table, and is whole for scripts.
    let long = "\u{202e}".repeat(80);
    let login = ["radius-login", &long, "--server", &at, "--secret-stdin", "--password-stdin", "--json"];
    let report: Value = serde_json::from_slice(&folder.cli(&login, &stdin).stdout).unwrap();
    assert_eq!((&report["result"], &report["user"]), (&"rejected".into(), &"\\u{202e}".repeat(80).into()));
    let table = folder.done(&["audit", "list"], "");
    assert!(table.lines().all(|line| line.chars().count() < 220) && table.contains("\\u{202e}\\u{202e}"), "{table}");
    let all = folder.ask(&["audit", "list", "--limit", "1"], "");
    assert_eq!(all[0]["user_typed"], "\\u{202e}".repeat(80));
    let log = server.stop().join("\n");
    assert!(!log.contains('\x1b') && !log.contains('\u{202e}') && !log.contains("\n2026-11-25 ACCEPT"), "{log}");
}

/// Connections that say nothing.
fn silent(port: u16, count: usize) -> Vec<TcpStream> {
    let address = ([127, 0, 0, 1], port).into();
    (0..count).filter_map(|_| TcpStream::connect_timeout(&address, Duration::from_secs(5)).ok()).collect()
}

#[test]
fn many_connections_leave_file_descriptors_for_the_command_line() {
    let folder = Folder::new();
    let server = folder.start_with_files(64, 256);
    let pid = Pid::from_raw(i32::try_from(server.child.id()).unwrap());
    let limit = prlimit(pid, Resource::Nofile, Rlimit { current: Some(256), maximum: Some(256) }).unwrap();
    assert_eq!((limit.current, limit.maximum), (Some(256), Some(256)), "the soft limit was raised");
    // More than are taken, and few enough that the rest fits into the queue of a small system.
    let connections = silent(folder.app, 220);
    assert_eq!(connections.len(), 220);
    let begin = tokio::time::Instant::now();
    folder.done(&["user", "add", "alice", "--no-password"], "");
    folder.done(&["user", "list"], "");
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    drop(connections);
    let log = server.stop();
    let told = |words: &str| log.iter().filter(|line| line.contains(words)).count();
    assert_eq!((told("128 connections are taken"), told("connection not taken")), (1, 0), "{log:?}");
}

#[test]
fn a_lack_of_file_descriptors_is_told_once_a_minute() {
    let folder = Folder::new();
    let server = folder.start();
    let pid = Pid::from_raw(i32::try_from(server.child.id()).unwrap());
    let maximum = getrlimit(Resource::Nofile).maximum;
    let set = |current| prlimit(pid, Resource::Nofile, Rlimit { current, maximum }).unwrap();
    let before = set(Some(1));
    let connections = silent(folder.app, 3);
    let _two_seconds = mpsc::channel::<()>().1.recv_timeout(Duration::from_secs(2));
    set(before.current);
    folder.done(&["user", "list"], "");
    drop(connections);
    let log = server.stop();
    assert_eq!(log.iter().filter(|line| line.contains("connection not taken")).count(), 1, "{log:?}");
}

#[test]
fn s108_a_database_that_takes_no_writes_lets_nobody_in_and_does_not_fill_the_log() {
    let folder = Folder::new();
    let server = folder.start();
    let made = folder.ask(&["resource", "add", "vpn", "--client", "127.0.0.1", "--generate-secret"], "");
    let stdin = format!("{}\nx", made["secret"].as_str().unwrap());
    let at = format!("127.0.0.1:{}", folder.radius);
    let (database, elsewhere) = (folder.data.join("countersign.db"), folder.data.join("elsewhere"));
    for times in ["the last time nothing", "the last 2 times nothing", "the last 3 times nothing"] {
        fs::rename(&database, &elsewhere).unwrap();
        let login = ["radius-login", "alice", "--server", &at, "--secret-stdin", "--password-stdin"];
        assert_eq!(folder.cli(&login, &stdin).status.code(), Some(1));
        fs::rename(&elsewhere, &database).unwrap();
        let doctor = String::from_utf8(folder.cli(&["doctor"], "").stdout).unwrap();
        assert!(doctor.contains(times), "{doctor}");
    }
    folder.done(&["user", "add", "alice", "--no-password"], "");
    let log = server.stop();
    let told = |words: &str| log.iter().filter(|line| line.contains(words)).count();
    let words = ["nothing of a batch was written", "login.commit failed", "takes writes again"];
    assert_eq!(words.map(told), [1, 1, 1], "{log:?}");
}

#[test]
fn a_login_that_a_killed_server_left_ends_after_the_next_start() {
    let folder = Folder::new();
    let server = folder.start();
    let made =
        folder.ask(&["resource", "add", "vpn", "--client", "127.0.0.1", "--generate-secret", "--primary", "none"], "");
    folder.done(&["user", "add", "alice", "--no-password"], "");
    let issued = folder.ask(&["activation", "issue", "alice"], "");
    let state = folder.data.join("phone");
    let phone = ["phone", "--state", state.to_str().unwrap()];
    let (url, code) = (issued["url"].as_str().unwrap(), issued["code"].as_str().unwrap());
    folder.done(&[&phone[..], &["activate", url, code]].concat(), "");
    let codes = folder.ask(&[&phone[..], &["codes"]].concat(), "");
    let code = codes[0]["code"].as_str().unwrap();
    assert!(code.len() == 6 && code.bytes().all(|octet| octet.is_ascii_digit()), "{codes}");
    assert!(
        (1..=30).contains(&codes[0]["seconds_left"].as_u64().unwrap()) && codes[0]["account"].is_string(),
        "{codes}"
    );

    let mut login = command();
    let at = format!("127.0.0.1:{}", folder.radius);
    login.args(["radius-login", "alice", "--server", &at, "--secret-stdin"]).stdout(Stdio::null());
    let mut login = login.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    login.stdin.take().unwrap().write_all(made["secret"].as_str().unwrap().as_bytes()).unwrap();
    let events = || -> Vec<String> {
        let records = folder.ask(&["audit", "list"], "");
        records.as_array().unwrap().iter().map(|record| record["event"].as_str().unwrap().to_owned()).collect()
    };
    let mut tries = 0;
    while events().last().unwrap() != "login.challenged" {
        tries += 1;
        assert!(tries < 1000, "nobody is asked: {:?}", events());
    }
    server.signal("KILL");
    drop(server);
    login.kill().unwrap();
    login.wait().unwrap();
    let server = folder.start();
    let events = events();
    assert_eq!(events[events.len() - 3..], ["login.challenged", "server.started", "login.ended"]);
    assert_eq!(folder.ask(&["audit", "list", "--reason", "cancelled"], "").as_array().unwrap().len(), 1);
    server.stop();
}

#[test]
fn systemd_is_told_of_ready_and_stopping() {
    let folder = Folder::new();
    let path = folder.data.join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut child = folder
        .serve()
        .env("NOTIFY_SOCKET", &path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let told = || {
        let mut octets = [0; 256];
        let length = socket.recv(&mut octets).unwrap();
        String::from_utf8_lossy(&octets[..length]).trim_end().to_owned()
    };
    assert_eq!(told(), "READY=1");
    let sent = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(sent.success());
    assert_eq!(told(), "STOPPING=1");
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_demo_begins_goes_on_and_ends() {
    let folder = Folder::new();
    let data = folder.data.join("demo");
    fs::create_dir(&data).unwrap();
    let settings = fs::read_to_string(folder.data.join("countersign.toml")).unwrap();
    fs::write(data.join("countersign.toml"), &settings).unwrap();
    let said = folder.refused(&["demo", "--data", data.to_str().unwrap()], "");
    assert!(said.contains("no demo") && !data.join("countersign.db").exists(), "{said}");
    fs::write(data.join("countersign.toml"), format!("# A countersign demo\n{settings}")).unwrap();
    let mut shown = Vec::new();
    for _ in 0..2 {
        let mut child = command()
            .args(["demo", "--data"])
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        while !text.contains("\nready: ") {
            assert_ne!(out.read_line(&mut text).unwrap(), 0, "{text}");
        }
        let interrupted = Command::new("kill").arg("-INT").arg(child.id().to_string()).status().unwrap();
        assert!(interrupted.success());
        out.read_to_string(&mut text).unwrap();
        assert!(child.wait().unwrap().success(), "{text}");
        for part in [
            "█",
            "phone --state",
            "activate http://localhost",
            "watch",
            "radius-login alice --server 127.0.0.1:",
            "Try it",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        shown.push(text);
    }
    let password = |text: &str| text.split("password ").nth(1).unwrap().lines().next().unwrap().to_owned();
    assert_eq!(password(&shown[0]), password(&shown[1]));
    for name in ["alice-password", "radius-secret"] {
        assert_eq!(mode(&data.join(name)), 0o600);
    }
}
