//! `countersign.toml`: what the server needs to start. Everything else is in the database.

use std::{
    fmt, fs,
    io::{self, Write as _},
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context as _, Result, anyhow, bail};
use countersign_desk::{Bounds, DeskConfig};
use countersign_device_protocol::origin::Origin;
use countersign_push::PushConfig;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};

/// The path is written out because the fuzz target takes this file from another crate.
#[cfg(any(test, feature = "oracles"))]
#[path = "config/oracle.rs"]
pub(crate) mod oracle;

/// Name of the file in the data folder.
const FILE: &str = "countersign.toml";
const ADMIN_SOCKET: &str = "admin.sock";

/// What is written where there is no file: every setting with its default, as a comment.
const DEFAULT: &str = r##"# countersign: what the server needs to start. Users, devices and resources are not here: they are in the database and
# changed by the command line, while the server runs. Each line that begins with "# " and a name shows the default.
# After a change: restart the server. `countersign doctor` explains what is wrong.

[server]
# Shown in the phone app, for people to know whose server it is.
# organization = "countersign"

[radius]
# Where VPN, RD Gateway and other RADIUS clients send to; several as ["192.0.2.1:1812", "[2001:db8::1]:1812"].
# listen = "0.0.0.0:1812"

# Where accounting is taken from the same clients, as "0.0.0.0:1813" (OpenVPN's RADIUS plugin needs it); off while the list is
# empty. It is sent on to upstreams that keep it (`countersign upstream set NAME --accounting ADDRESS`), else only answered:
# nothing of it is kept here. Where it is taken, it is taken over TLS too, by the port below.
# accounting = []

# Where RADIUS over TLS (RadSec, RFC 6614) is spoken, as "0.0.0.0:2083"; nowhere where this is not set. Needs [radius.tls].
# tls_listen = []

[radius.tls]
# What this server shows of itself to RADIUS clients and servers over TLS (PEM), and the CA of those who are known by a name
# in their certificate. The files are read again when they change.
# cert = "/etc/countersign/radius-chain.pem"
# key = "/etc/countersign/radius-key.pem"
# ca = "/etc/countersign/radius-ca.pem"

[app]
# Where phones, or the reverse proxy before this server, connect to.
# listen = "127.0.0.1:8080"

# The public address that phones use, without a path. It goes into every QR code and every signature: once phones are
# activated, do not change it. It must be https, except on localhost.
# url = "http://localhost:8080"

# Certificate chain and private key (PEM), if this server does TLS itself.
# tls_cert = "/etc/countersign/fullchain.pem"
# tls_key = "/etc/countersign/privkey.pem"

# Reverse proxies whose X-Forwarded-For is believed, as ["192.0.2.10", "10.0.0.0/8"].
# trusted_proxies = []

[push]
# Web Push wakes phones whose app is not open. Without a contact no pushes are sent, and phones are asked only while the
# app is open. The contact is told to the browser vendors' push services, who write to it when something is wrong with our
# pushes: "mailto:" and a mail address, or an "https://" page.
# contact = ""

# Push services beside those of the browsers, as ["push.corp.com", "*.push.corp.com"].
# hosts = []

# Whether the services named in hosts may have private addresses, other ports than 443 and plain HTTP; entries may then be
# addresses and name a port, as ["10.0.0.7:8443"].
# allow_private = false

# The HTTP proxy to the push services, if there is one. The environment (HTTPS_PROXY) is not asked.
# proxy = "http://proxy.corp.com:3128"

[limits]
# Logins that may wait at the same time, for a phone or for a code; more are refused.
# logins = 10000

# Of these, logins of one RADIUS client.
# logins_per_client = 500

# Users kept in memory after they have logged on, about two kilobytes each; others are read from the database.
# cached_users = 100000

[admin]
# The socket of the command line. Only the server's own account and root can open it.
# socket = "admin.sock"

[database]
# An SQLite file; a relative path begins in this folder.
# url = "sqlite:countersign.db"

[keys]
# The key that secrets in the database are encrypted with. Keep a copy of it somewhere else, and not with the copies of
# the database: whoever has both has the secrets, and without it the database cannot be used.
# file = "countersign.key"

[audit]
# Signed checkpoints of the audit. Have them copied to another machine: then `countersign audit verify --checkpoints COPY`
# shows it when the end of the audit was cut off.
# checkpoints = "audit-checkpoints.jsonl"
"##;

/// One address, or several.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Addresses(Vec<SocketAddr>);

/// The same, or none.
#[derive(Debug)]
struct AddressesOrNone(Addresses);

impl<'de> Deserialize<'de> for AddressesOrNone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Addresses::read(deserializer, true).map(Self)
    }
}

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(deserializer, false)
    }
}

impl Addresses {
    fn read<'de, D: Deserializer<'de>>(deserializer: D, may_be_none: bool) -> Result<Self, D::Error> {
        struct Visitor {
            may_be_none: bool,
        }
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Addresses;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address with a port such as \"0.0.0.0:1812\", or a list of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Addresses, E> {
                Ok(Addresses(vec![address(text).map_err(E::custom)?]))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Addresses, A::Error> {
                let mut out = Vec::new();
                while let Some(text) = seq.next_element::<String>()? {
                    out.push(address(&text).map_err(de::Error::custom)?);
                }
                if out.is_empty() && !self.may_be_none {
                    return Err(de::Error::custom("the list is empty: at least one address is needed"));
                }
                Ok(Addresses(out))
            }
        }
        deserializer.deserialize_any(Visitor { may_be_none })
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!(
            "{text:?} is no address with a port: write for example \"0.0.0.0:1812\" or \"[::]:1812\" (no host name)"
        )
    })
}

/// Something that is read from a text, with an error of its own.
#[derive(Debug, Clone)]
struct Text<T>(T);

trait Explained: Sized {
    fn read(text: &str) -> Result<Self, String>;
}

impl<'de, T: Explained> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::read(&String::deserialize(deserializer)?).map(Self).map_err(de::Error::custom)
    }
}

impl Explained for SocketAddr {
    fn read(text: &str) -> Result<Self, String> {
        address(text)
    }
}

impl Explained for Origin {
    fn read(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|fault| format!("{text:?} cannot be the address for phones: {fault}"))
    }
}

impl Explained for IpNet {
    fn read(text: &str) -> Result<Self, String> {
        Self::from_str(text)
            .or_else(|_| text.parse::<IpAddr>().map(Self::from))
            .map_err(|_| format!("{text:?} is no address and no network"))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Sections {
    server: ServerSection,
    radius: RadiusSection,
    app: AppSection,
    push: PushConfig,
    limits: LimitsSection,
    admin: AdminSection,
    database: DatabaseSection,
    keys: KeysSection,
    audit: AuditSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ServerSection {
    organization: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RadiusSection {
    listen: Option<Addresses>,
    accounting: Option<AddressesOrNone>,
    tls_listen: Option<AddressesOrNone>,
    tls: RadiusTlsSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RadiusTlsSection {
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    ca: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AppSection {
    listen: Option<Text<SocketAddr>>,
    url: Option<Text<Origin>>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    trusted_proxies: Vec<Text<IpNet>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsSection {
    logins: Option<NonZeroUsize>,
    logins_per_client: Option<NonZeroUsize>,
    cached_users: Option<NonZeroUsize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AdminSection {
    socket: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DatabaseSection {
    url: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct KeysSection {
    file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AuditSection {
    checkpoints: Option<PathBuf>,
}

/// Certificate and key of the app's listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tls {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// Certificate and key of RADIUS over TLS, and the CA of the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RadiusTls {
    pub(crate) own: Tls,
    pub(crate) ca: Option<PathBuf>,
}

/// How much is done and kept at the same time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) logins: usize,
    pub(crate) logins_per_client: usize,
    pub(crate) cached_users: NonZeroUsize,
}

impl From<LimitsSection> for Limits {
    fn from(section: LimitsSection) -> Self {
        let desk = DeskConfig::default();
        Self {
            logins: section.logins.map_or(desk.bounds.logins, NonZeroUsize::get),
            logins_per_client: section.logins_per_client.map_or(desk.bounds.logins_per_client, NonZeroUsize::get),
            cached_users: section.cached_users.unwrap_or(desk.cached_users),
        }
    }
}

impl Limits {
    pub(crate) fn desk(self) -> DeskConfig {
        let default = DeskConfig::default();
        let bounds = Bounds { logins: self.logins, logins_per_client: self.logins_per_client, ..default.bounds };
        DeskConfig { bounds, cached_users: self.cached_users, ..default }
    }

    pub(crate) fn radius(self) -> countersign_radius_server::Limits {
        countersign_radius_server::Limits {
            pending: self.logins,
            pending_per_client: self.logins_per_client,
            ..countersign_radius_server::Limits::default()
        }
    }
}

/// The settings, checked, with absolute meanings.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) organization: String,
    pub(crate) radius_listen: Vec<SocketAddr>,
    /// Empty: no accounting.
    pub(crate) accounting_listen: Vec<SocketAddr>,
    /// Nowhere where it is empty.
    pub(crate) radius_tls_listen: Vec<SocketAddr>,
    pub(crate) radius_tls: Option<RadiusTls>,
    pub(crate) app_listen: SocketAddr,
    pub(crate) url: Origin,
    pub(crate) tls: Option<Tls>,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) push: PushConfig,
    pub(crate) limits: Limits,
    pub(crate) socket: PathBuf,
    pub(crate) database: PathBuf,
    pub(crate) keys: PathBuf,
    pub(crate) checkpoints: PathBuf,
}

/// The file of a data folder.
pub(crate) fn path(data: &Path) -> PathBuf {
    data.join(FILE)
}

impl Config {
    /// Reads the file of a data folder; folder and file are made where they are not there.
    pub(crate) fn load_or_create(data: &Path) -> Result<Self> {
        Self::create(data, DEFAULT)?;
        Self::load(data)
    }

    /// Makes the folder, and a file that says `text` where there is none.
    pub(crate) fn create(data: &Path, text: &str) -> Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(data).with_context(|| {
            format!(
                "the data folder {} cannot be made; choose another with --data, or run as an account that may",
                data.display()
            )
        })?;
        let path = path(data);
        match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut file) => {
                file.write_all(text.as_bytes()).with_context(|| format!("{} cannot be written", path.display()))
            }
            Err(fault) if fault.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(fault) => Err(fault).with_context(|| format!("{} cannot be written", path.display())),
        }
    }

    /// Reads the file of a data folder; where there is none, the defaults.
    pub(crate) fn load(data: &Path) -> Result<Self> {
        let path = path(data);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => String::new(),
            Err(fault) => return Err(fault).with_context(|| format!("{} cannot be read", path.display())),
        };
        Self::parse(data, &text).with_context(|| format!("{}", path.display()))
    }

    /// The same from a text.
    pub(crate) fn parse(data: &Path, text: &str) -> Result<Self> {
        let sections: Sections = toml::from_str(text).map_err(|fault| {
            let at = fault.span().map_or(0, |span| span.start);
            let line = text.as_bytes().iter().take(at).filter(|octet| **octet == b'\n').count().saturating_add(1);
            anyhow!("line {line}: {}", fault.message().replace('\n', ", "))
        })?;
        let within = |path: Option<PathBuf>, default: &str| data.join(path.unwrap_or_else(|| default.into()));
        let AppSection { listen, url, tls_cert, tls_key, trusted_proxies } = sections.app;
        let trusted_proxies: Vec<IpNet> = trusted_proxies.into_iter().map(|proxy| proxy.0).collect();
        let tls = match (tls_cert, tls_key) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some(Tls { cert: data.join(cert), key: data.join(key) }),
            (Some(_), None) => bail!("[app] tls_cert is set and tls_key is not: TLS needs both"),
            (None, Some(_)) => bail!("[app] tls_key is set and tls_cert is not: TLS needs both"),
        };
        let RadiusTlsSection { cert, key, ca } = sections.radius.tls;
        let radius_tls = match (cert, key) {
            (Some(cert), Some(key)) => {
                let own = Tls { cert: data.join(cert), key: data.join(key) };
                Some(RadiusTls { own, ca: ca.map(|ca| data.join(ca)) })
            }
            (None, None) if ca.is_none() => None,
            (Some(_), None) => bail!("[radius.tls] cert is set and key is not: TLS needs both"),
            (None, _) => bail!("[radius.tls] cert is not set: over TLS both sides show a certificate"),
        };
        let radius_tls_listen =
            sections.radius.tls_listen.map(|AddressesOrNone(Addresses(all))| all).unwrap_or_default();
        if radius_tls.is_none() && !radius_tls_listen.is_empty() {
            bail!("[radius] tls_listen is set and [radius.tls] is not: set cert and key there");
        }
        let listen = listen.map_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080)), |listen| listen.0);
        if tls.is_none() && !listen.ip().is_loopback() && trusted_proxies.is_empty() {
            bail!(
                "[app] listen = \"{listen}\" would be reached from other machines without encryption: set tls_cert and \
                 tls_key, or listen on 127.0.0.1 behind a reverse proxy, or name the proxy in trusted_proxies"
            );
        }
        let url = match url {
            Some(url) => url.0,
            None => Origin::parse(&format!("http://localhost:{}", listen.port()))
                .map_err(|fault| anyhow!("[app] url is missing: {fault}"))?,
        };
        if tls.is_some() && !url.is_https() {
            bail!("[app] url = \"{url}\" is not https, and tls_cert is set: phones would not find the server");
        }
        let push = sections.push;
        if push.is_on() {
            push.validate()?;
        } else {
            push.endpoints().map(drop)?;
        }
        let organization = sections.server.organization.unwrap_or_else(|| "countersign".to_owned());
        if organization.is_empty()
            || organization.chars().count() > 64
            || !organization.chars().all(countersign_api::admin::is_harmless)
        {
            bail!("[server] organization must be 1 to 64 visible characters");
        }
        let database = sections.database.url.unwrap_or_else(|| "sqlite:countersign.db".to_owned());
        let file = database
            .strip_prefix("sqlite:")
            .filter(|file| !file.is_empty())
            .with_context(|| format!("[database] url = {database:?} is not supported: write \"sqlite:FILE\""))?;
        Ok(Self {
            organization,
            accounting_listen: sections.radius.accounting.map(|listen| listen.0.0).unwrap_or_default(),
            radius_listen: sections
                .radius
                .listen
                .map_or_else(|| vec![SocketAddr::from(([0, 0, 0, 0], 1812))], |listen| listen.0),
            radius_tls_listen,
            radius_tls,
            app_listen: listen,
            url,
            tls,
            trusted_proxies,
            push,
            limits: sections.limits.into(),
            socket: within(sections.admin.socket, ADMIN_SOCKET),
            database: data.join(file.strip_prefix("//").unwrap_or(file)),
            keys: within(sections.keys.file, "countersign.key"),
            checkpoints: within(sections.audit.checkpoints, "audit-checkpoints.jsonl"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config> {
        Config::parse(Path::new("/data"), text)
    }

    fn fault(text: &str) -> String {
        format!("{:#}", parse(text).unwrap_err())
    }

    #[test]
    fn the_written_file_says_what_holds_without_it() {
        let (written, nothing) = (parse(DEFAULT).unwrap(), parse("").unwrap());
        assert_eq!(format!("{written:?}"), format!("{nothing:?}"));
        // Taken at its word, line by line.
        let named: Vec<&str> = DEFAULT
            .lines()
            .filter(|line| !line.contains("tls_") && !line.contains("proxy = ") && !line.contains(".pem\""))
            .map(|line| line.strip_prefix("# ").filter(|bare| bare.split(' ').nth(1) == Some("=")).unwrap_or(line))
            .collect();
        let named = named.join("\n");
        assert!(named.contains("\nlisten = \"0.0.0.0:1812\"\n"), "{named}");
        assert_eq!(format!("{:?}", parse(&named).unwrap()), format!("{nothing:?}"));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, parts) in [
            ("[radius]\nlisten = \"0.0.0.0:1812\"\nlisten_too = 1\n", &["line 3", "listen_too"][..]),
            ("[radios]\n", &["line 1", "radios"]),
            ("[radius]\nlisten = \"vpn.example.com:1812\"\n", &["line 2", "vpn.example.com", "no host name"]),
            ("[radius]\naccounting = \"vpn:1813\"\n", &["line 2", "vpn:1813", "no host name"]),
            ("[radius]\nlisten = []\n", &["line 2", "at least one"]),
            ("[radius]\ntls_listen = \"vpn.example.com:2083\"\n", &["line 2", "no host name"]),
            ("[radius]\ntls_listen = \"0.0.0.0:2083\"\n", &["[radius.tls]", "cert and key"]),
            ("[radius.tls]\ncert = \"a\"\n", &["[radius.tls]", "key"]),
            ("[radius.tls]\nca = \"a\"\n", &["[radius.tls]", "cert"]),
            ("[app]\n\nurl = \"http://mfa.example.com\"\n", &["line 3", "http://mfa.example.com"]),
            ("[app]\nurl = \"https://mfa.example.com/app\"\n", &["line 2"]),
            ("[app]\nlisten = \"0.0.0.0:443\"\n", &["[app] listen", "tls_cert"]),
            ("[app]\ntls_cert = \"a\"\n", &["tls_key"]),
            ("[app]\ntls_cert = \"a\"\ntls_key = \"b\"\n", &["https"]),
            ("[app]\ntrusted_proxies = [\"proxy\"]\n", &["line 2", "proxy"]),
            ("[limits]\nlogins = 0\n", &["line 2", "nonzero"]),
            ("[push]\nhost = []\n", &["line 2", "host"]),
            ("[push]\ncontact = \"admin@corp.de\"\n", &["[push] contact", "admin@corp.de"]),
            ("[push]\ncontact = \"mailto:mfa@corp.local\"\n", &["corp.local", "no public domain"]),
            ("[push]\nhosts = [\"10.0.0.7\"]\n", &["10.0.0.7", "allow_private"]),
            ("[push]\nallow_private = true\n", &["hosts is empty"]),
            ("[push]\nproxy = \"u:hunter2@proxy:1/x\"\n", &["[push] proxy"]),
            ("[database]\nurl = \"postgres://x\"\n", &["sqlite:FILE"]),
            ("[server]\norganization = \"a\\u202eb\"\n", &["organization"]),
            ("[app\n", &["line 1"]),
        ] {
            let said = fault(text);
            assert!(parts.iter().all(|part| said.contains(part)) && !said.contains('\n'), "{text}: {said}");
        }
    }

    #[test]
    fn relative_paths_begin_in_the_data_folder() {
        let config = parse("[keys]\nfile = \"/etc/key\"\n[admin]\nsocket = \"run/a.sock\"\n").unwrap();
        assert_eq!(config.keys, Path::new("/etc/key"));
        assert_eq!(config.socket, Path::new("/data/run/a.sock"));
        assert_eq!(config.database, Path::new("/data/countersign.db"));
        let config =
            parse("[radius]\nlisten = [\"0.0.0.0:1\", \"[::1]:2\"]\n[database]\nurl = \"sqlite:///x.db\"").unwrap();
        assert_eq!((config.radius_listen.len(), config.accounting_listen.len()), (2, 0));
        for (text, count) in [("\"[::]:1813\"", 1), ("[]", 0), ("[\"0.0.0.0:1813\", \"[::1]:1813\"]", 2)] {
            let config = parse(&format!("[radius]\naccounting = {text}")).unwrap();
            assert_eq!(config.accounting_listen.len(), count);
        }
        assert_eq!(config.database, Path::new("/x.db"));
    }
}
