//! The lab, and what can be put between it and the library.

use std::{
    collections::HashMap,
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use countersign_directory::{AuthError, Authenticated, Directory, DirectoryConfig, Kind, Refusal};
use countersign_domain::{Clock, Entropy, Secret, Timestamp};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::{Notify, RwLock, RwLockReadGuard, RwLockWriteGuard, watch},
    task::JoinHandle,
};

pub(crate) const PASSWORD: &str = "Passw0rd-1";

pub(crate) struct Lab {
    folder: PathBuf,
    samba: HashMap<String, u16>,
    slapd: HashMap<String, u16>,
}

/// One test stops the domain controller; all others share it.
static CONTROLLER: RwLock<()> = RwLock::const_new(());

static LAB: LazyLock<Option<Lab>> = LazyLock::new(|| {
    let folder = PathBuf::from(std::env::var_os("COUNTERSIGN_LAB_DIRECTORY")?);
    let ports = |name: &str| {
        let text = std::fs::read_to_string(folder.join(name).join("environment")).unwrap();
        let pairs = text.split_whitespace().map(|pair| pair.split_once('=').unwrap());
        pairs.map(|(name, port)| (name.to_owned(), port.parse().unwrap())).collect()
    };
    Some(Lab { samba: ports("samba"), slapd: ports("slapd"), folder })
});

/// The lab, where there is one.
pub(crate) fn lab() -> Option<&'static Lab> {
    LAB.as_ref()
}

impl Lab {
    pub(crate) fn samba(&self, port: &str) -> u16 {
        self.samba[port]
    }

    pub(crate) fn slapd(&self, port: &str) -> u16 {
        self.slapd[port]
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) async fn shared(&self) -> RwLockReadGuard<'static, ()> {
        CONTROLLER.read().await
    }

    pub(crate) async fn alone(&self) -> RwLockWriteGuard<'static, ()> {
        CONTROLLER.write().await
    }

    /// Active Directory over LDAPS.
    pub(crate) fn ad(&self) -> DirectoryConfig {
        DirectoryConfig {
            servers: vec![format!("ldaps://127.0.0.1:{}", self.samba("LDAPS_PORT"))],
            ca_file: Some(self.file("samba/tls/ca.pem")),
            kind: Kind::Ad,
            base_dn: "DC=example,DC=test".to_owned(),
            group_base_dn: None,
            bind_name: "svc-mfa@example.test".to_owned(),
            bind_password: Secret::new(PASSWORD.into()),
            netbios_domains: vec!["EXAMPLE".to_owned()],
            dns_domains: vec![],
            login_attribute: None,
            principal_attribute: None,
            mail_login: false,
            mail_attribute: None,
            display_attribute: None,
            id_attribute: None,
            user_filter: None,
            group_filter: None,
            connect_timeout_ms: 2_000,
            call_timeout_ms: 5_000,
            max_connections: 16,
        }
    }

    /// OpenLDAP over StartTLS.
    pub(crate) fn ldap(&self) -> DirectoryConfig {
        DirectoryConfig {
            servers: vec![format!("ldap://127.0.0.1:{}", self.slapd("LDAP_PORT"))],
            ca_file: Some(self.file("slapd/tls/ca.pem")),
            kind: Kind::Ldap,
            bind_name: "cn=svc,dc=example,dc=test".to_owned(),
            ..self.ad()
        }
    }

    /// `samba-dc.sh` with `arguments`, and `input`.
    pub(crate) async fn controller(&self, argument: &str, input: &str) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/lab/samba-dc.sh");
        let mut child = Command::new(script)
            .arg(argument)
            .env("LAB", &self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        assert!(child.wait().await.unwrap().success(), "samba-dc.sh {argument}");
    }
}

/// A clock that stands in 2027, and chance that is none. (Testkit would bring the whole house along.)
struct Standing;

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000)
    }
}

impl Entropy for Standing {
    fn fill(&self, out: &mut [u8]) {
        out.fill(7);
    }
}

pub(crate) fn directory(config: &DirectoryConfig) -> Arc<Directory> {
    Arc::new(Directory::new(config, Arc::new(Standing), Arc::new(Standing)).unwrap())
}

pub(crate) async fn login(directory: &Directory, name: &str, password: &str) -> Result<Authenticated, AuthError> {
    directory.authenticate(name, &Secret::new(password.into())).await
}

/// Why a login was refused; fails where nothing was known.
pub(crate) fn refusal(result: Result<Authenticated, AuthError>) -> Refusal {
    match result {
        Err(AuthError::Refused { refusal, .. }) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

/// Carries connections to a server, counts, and can be made to fail like a network.
pub(crate) struct Relay {
    pub(crate) port: u16,
    connections: Arc<AtomicUsize>,
    octets: Arc<AtomicUsize>,
    sent: Arc<Mutex<Vec<u8>>>,
    cut: Arc<Notify>,
    swallow: watch::Sender<bool>,
    listening: JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn to(port: u16) -> Self {
        Self::listening(TcpListener::bind(("127.0.0.1", 0)).await.unwrap(), port)
    }

    fn listening(listener: TcpListener, to: u16) -> Self {
        let (swallow, swallowing) = watch::channel(false);
        let (connections, octets) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (cut, sent) = (Arc::new(Notify::new()), Arc::new(Mutex::new(Vec::new())));
        let port = listener.local_addr().unwrap().port();
        let task = {
            let (connections, octets, cut, sent) =
                (Arc::clone(&connections), Arc::clone(&octets), Arc::clone(&cut), Arc::clone(&sent));
            async move {
                loop {
                    let (client, _) = listener.accept().await.unwrap();
                    connections.fetch_add(1, Ordering::SeqCst);
                    let (octets, sent) = (Arc::clone(&octets), Arc::clone(&sent));
                    let (cut, mut swallowing) = (Arc::clone(&cut), swallowing.clone());
                    tokio::spawn(async move {
                        let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { return };
                        let (mut from_client, mut to_client) = client.into_split();
                        let (mut from_server, mut to_server) = server.into_split();
                        let back = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
                        let mut chunk = vec![0; 4096];
                        loop {
                            tokio::select! {
                                () = cut.notified() => break,
                                _ = async { swallowing.wait_for(|swallow| *swallow).await.is_ok() } => {
                                    // The client's octets go nowhere, and it is told nothing.
                                    back.abort();
                                    std::future::pending::<()>().await;
                                }
                                read = from_client.read(&mut chunk) => match read {
                                    Ok(count @ 1..) => {
                                        octets.fetch_add(count, Ordering::SeqCst);
                                        sent.lock().unwrap().extend_from_slice(&chunk[..count]);
                                        if to_server.write_all(&chunk[..count]).await.is_err() { break }
                                    }
                                    _ => break,
                                }
                            }
                        }
                        back.abort();
                    });
                }
            }
        };
        Self { port, connections, octets, sent, cut, swallow, listening: tokio::spawn(task) }
    }

    pub(crate) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn octets(&self) -> usize {
        self.octets.load(Ordering::SeqCst)
    }

    /// What clients have sent.
    pub(crate) fn sent(&self) -> Vec<u8> {
        self.sent.lock().unwrap().clone()
    }

    /// Closes all connections.
    pub(crate) async fn cut(&self) {
        self.cut.notify_waiters();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    /// Loses what is sent over the connections that are there, as a firewall does that has forgotten them.
    pub(crate) fn swallow(&self) {
        self.swallow.send_replace(true);
    }

    /// Carries new connections again.
    pub(crate) fn carry(&self) {
        self.swallow.send_replace(false);
    }

    /// Closes everything, the port too.
    pub(crate) async fn stop(&self) {
        self.listening.abort();
        self.cut().await;
    }

    /// Listens again on the port.
    pub(crate) async fn start_again(&self, to: u16) -> Self {
        for _ in 0..50 {
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", self.port)).await {
                return Self::listening(listener, to);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("port {} is taken", self.port)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.listening.abort();
    }
}
