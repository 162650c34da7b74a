//! What can be set for a directory, and whether it makes sense.

use core::time::Duration;
use std::{net::Ipv6Addr, path::PathBuf, sync::Arc};

use countersign_domain::Secret;
use serde::{Deserialize, Deserializer, Serialize};
use tokio_rustls::rustls::pki_types::ServerName;

use crate::{
    dn::Dn,
    filter::{Filter, FilterError},
};

/// What kind of directory it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Active Directory, or Samba as its domain controller.
    Ad,
    /// Any other LDAP directory: OpenLDAP, 389, FreeIPA.
    Ldap,
}

/// A directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectoryConfig {
    /// In the order in which they are asked: `ldaps://dc1.example.com`, or `ldap://dc2.example.com` for StartTLS. There
    /// is no way to do without TLS.
    pub servers: Vec<String>,
    /// PEM file with the CA that signed the servers' certificates; without it those of the system are trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// What kind it is.
    pub kind: Kind,
    /// Below which users and groups are looked for: `DC=example,DC=com`.
    pub base_dn: String,
    /// Below which groups are looked for; without it below the whole domain with Active Directory, else below `base_dn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_base_dn: Option<String>,
    /// The account that searches: a DN; with Active Directory also `name@example.com` or `EXAMPLE\name`.
    pub bind_name: String,
    /// Its password. It is read and never written.
    #[serde(default = "no_secret", deserialize_with = "secret", skip_serializing)]
    pub bind_password: Secret,
    /// What users may type before a backslash: `EXAMPLE` for `EXAMPLE\alice`.
    #[serde(default)]
    pub netbios_domains: Vec<String>,
    /// What may stand behind the `@` of a short name, beside what follows from the base DN (`example.com`).
    #[serde(default)]
    pub dns_domains: Vec<String>,
    /// The attribute with the short name: `sAMAccountName`, or `uid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_attribute: Option<String>,
    /// The attribute with the name that has an `@`: `userPrincipalName`; none outside of Active Directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal_attribute: Option<String>,
    /// Whether users may type their mail address. Off: in some directories people write it themselves.
    #[serde(default)]
    pub mail_login: bool,
    /// The attribute with the mail address: `mail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail_attribute: Option<String>,
    /// The attribute with the name that is shown: `displayName`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_attribute: Option<String>,
    /// The attribute that never changes: `objectGUID`, or `entryUUID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_attribute: Option<String>,
    /// Which entries are users, as an LDAP filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_filter: Option<String>,
    /// Which entries are groups, as an LDAP filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_filter: Option<String>,
    /// For connecting to one server, TLS included.
    #[serde(default = "connect_timeout")]
    pub connect_timeout_ms: u64,
    /// For one call, all servers together.
    #[serde(default = "call_timeout")]
    pub call_timeout_ms: u64,
    /// How many calls are made at once.
    #[serde(default = "max_connections")]
    pub max_connections: usize,
}

const fn connect_timeout() -> u64 {
    2_000
}

const fn call_timeout() -> u64 {
    5_000
}

const fn max_connections() -> usize {
    16
}

fn no_secret() -> Secret {
    Secret::new(Vec::new())
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    String::deserialize(deserializer).map(|text| Secret::new(text.into_bytes()))
}

/// What is wrong with the configuration, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// None.
    #[error("servers is empty: name at least one, for example ldaps://dc1.example.com")]
    NoServer,
    /// More than anybody has.
    #[error("servers names {0} servers: 8 at most")]
    TooManyServers(usize),
    /// Not a server's URL.
    #[error("server {0:?} is neither ldaps://HOST nor ldap://HOST (with StartTLS), each with or without :PORT")]
    Server(String),
    /// The same host and port again.
    #[error("server {0:?} is named twice")]
    ServerTwice(String),
    /// No base DN.
    #[error("{field} {value:?} is no DN: write it as DC=example,DC=com")]
    Base {
        /// Which field.
        field: &'static str,
        /// What it has.
        value: String,
    },
    /// The service account is missing: nobody may search anonymously.
    #[error("bind_name is empty: name the account that searches, for example CN=svc-mfa,OU=Service,DC=example,DC=com")]
    NoAccount,
    /// Only Active Directory takes other names than DNs.
    #[error("bind_name {0:?} is no DN, which this kind of directory wants: uid=svc-mfa,ou=people,dc=example,dc=com")]
    Account(String),
    /// An empty password would be a bind as nobody.
    #[error("bind_password is empty: without it the directory would take us for nobody and still say yes")]
    NoPassword,
    /// Not a password that LDAP can carry.
    #[error("bind_password is not UTF-8, or begins with a zero octet")]
    Password,
    /// Not the name of a domain.
    #[error("{field} {value:?} is no name of a domain: write EXAMPLE or example.com, without backslash and @")]
    Domain {
        /// Which field.
        field: &'static str,
        /// What it has.
        value: String,
    },
    /// Not an attribute's name.
    #[error("{field} {value:?} is no name of an attribute")]
    Attribute {
        /// Which field.
        field: &'static str,
        /// What it has.
        value: String,
    },
    /// Not a filter.
    #[error("{field} {value:?} is no LDAP filter: {fault}")]
    Filter {
        /// Which field.
        field: &'static str,
        /// What it has.
        value: String,
        /// What is wrong with it.
        fault: FilterError,
    },
    /// Out of range.
    #[error("{field} is {value}: from {low} to {high}")]
    Range {
        /// Which field.
        field: &'static str,
        /// What it has.
        value: u64,
        /// At least.
        low: u64,
        /// At most.
        high: u64,
    },
    /// Cannot be used.
    #[error("ca_file {}: {fault}", .path.display())]
    CaFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// Nobody of this directory can be there.
    #[error("{place} is neither below {base} nor above it: no user of this directory can be there")]
    PlaceOutside {
        /// Which place.
        place: String,
        /// The base DN.
        base: String,
    },
    /// A group without a name.
    #[error("a rule names no group: write its short name, its DN or its SID")]
    NoGroup,
    /// A machine without CAs.
    #[error("this machine has no trusted CAs: install ca-certificates, or set ca_file")]
    NoSystemRoots,
    /// Should not happen.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// A server to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerAddress {
    /// As configured, to be shown.
    pub(crate) url: Arc<str>,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) start_tls: bool,
    pub(crate) tls_name: ServerName<'static>,
}

impl ServerAddress {
    fn parse(text: &str) -> Option<Self> {
        let (start_tls, rest) = match (text.strip_prefix("ldaps://"), text.strip_prefix("ldap://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return None,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = if let Some(rest) = rest.strip_prefix('[') {
            let (host, port) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        } else {
            rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)))
        };
        let port = match port {
            None if start_tls => 389,
            None => 636,
            Some(port) if port.bytes().all(|digit| digit.is_ascii_digit()) => {
                port.parse().ok().filter(|port| *port > 0)?
            }
            Some(_) => return None,
        };
        let tls_name = ServerName::try_from(host.to_owned()).ok()?;
        Some(Self { url: Arc::from(text), host: host.to_owned(), port, start_tls, tls_name })
    }
}

/// A configuration that makes sense, with all that follows from it.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) servers: Vec<ServerAddress>,
    pub(crate) kind: Kind,
    pub(crate) base: String,
    pub(crate) base_parts: Dn,
    pub(crate) group_base: String,
    pub(crate) bind_name: String,
    pub(crate) bind_password: Secret,
    /// Folded.
    pub(crate) domains: Vec<String>,
    pub(crate) login: String,
    pub(crate) principal: Option<String>,
    pub(crate) mail: String,
    pub(crate) mail_login: bool,
    pub(crate) display: String,
    pub(crate) id: String,
    pub(crate) user_filter: Filter,
    pub(crate) group_filter: Filter,
    pub(crate) connect: Duration,
    pub(crate) call: Duration,
    pub(crate) max_connections: usize,
}

impl DirectoryConfig {
    /// Checks the configuration; asks no server and reads no file.
    ///
    /// # Errors
    /// [`ConfigError`]: the first thing that is wrong.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.settings().map(drop)
    }

    pub(crate) fn settings(&self) -> Result<Settings, ConfigError> {
        let servers = self.server_addresses()?;
        let base_parts = base("base_dn", &self.base_dn)?;
        if self.bind_name.trim().is_empty() {
            return Err(ConfigError::NoAccount);
        }
        if self.kind == Kind::Ldap && Dn::parse(&self.bind_name).is_none() {
            return Err(ConfigError::Account(self.bind_name.clone()));
        }
        match self.bind_password.expose() {
            [] => return Err(ConfigError::NoPassword),
            password if password.first() == Some(&0) || std::str::from_utf8(password).is_err() => {
                return Err(ConfigError::Password);
            }
            _ => {}
        }
        let ad = self.kind == Kind::Ad;
        let group_base = match &self.group_base_dn {
            Some(given) => base("group_base_dn", given).map(|_| given.trim().to_owned())?,
            None => base_parts
                .domain()
                .filter(|_| ad)
                .map_or_else(|| self.base_dn.trim().to_owned(), |domain| format!("DC={}", domain.replace('.', ",DC="))),
        };
        let range = |field, value: u64, low, high| match value {
            value if (low..=high).contains(&value) => Ok(value),
            value => Err(ConfigError::Range { field, value, low, high }),
        };
        let connections = u64::try_from(self.max_connections).unwrap_or(u64::MAX);
        range("max_connections", connections, 1, 256)?;
        Ok(Settings {
            servers,
            kind: self.kind,
            base: self.base_dn.trim().to_owned(),
            group_base,
            domains: self.domains(&base_parts)?,
            base_parts,
            bind_name: self.bind_name.trim().to_owned(),
            bind_password: self.bind_password.clone(),
            login: attribute(
                "login_attribute",
                self.login_attribute.as_deref(),
                if ad { "sAMAccountName" } else { "uid" },
            )?,
            principal: match (self.principal_attribute.as_deref(), ad) {
                (None, false) => None,
                (given, _) => Some(attribute("principal_attribute", given, "userPrincipalName")?),
            },
            mail: attribute("mail_attribute", self.mail_attribute.as_deref(), "mail")?,
            mail_login: self.mail_login,
            display: attribute("display_attribute", self.display_attribute.as_deref(), "displayName")?,
            id: attribute("id_attribute", self.id_attribute.as_deref(), if ad { "objectGUID" } else { "entryUUID" })?,
            user_filter: filter(
                "user_filter",
                self.user_filter.as_deref(),
                if ad { "(&(objectCategory=person)(objectClass=user))" } else { "(objectClass=person)" },
            )?,
            group_filter: filter(
                "group_filter",
                self.group_filter.as_deref(),
                if ad {
                    "(objectClass=group)"
                } else {
                    "(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=posixGroup))"
                },
            )?,
            connect: Duration::from_millis(range("connect_timeout_ms", self.connect_timeout_ms, 100, 10_000)?),
            call: Duration::from_millis(range("call_timeout_ms", self.call_timeout_ms, 500, 30_000)?),
            max_connections: self.max_connections,
        })
    }

    fn server_addresses(&self) -> Result<Vec<ServerAddress>, ConfigError> {
        match self.servers.len() {
            0 => return Err(ConfigError::NoServer),
            1..=8 => {}
            count => return Err(ConfigError::TooManyServers(count)),
        }
        let mut servers: Vec<ServerAddress> = Vec::new();
        for text in &self.servers {
            let server = ServerAddress::parse(text).ok_or_else(|| ConfigError::Server(text.clone()))?;
            if servers.iter().any(|other| (&other.host, other.port) == (&server.host, server.port)) {
                return Err(ConfigError::ServerTwice(text.clone()));
            }
            servers.push(server);
        }
        Ok(servers)
    }

    /// All names of the domain, folded.
    fn domains(&self, base: &Dn) -> Result<Vec<String>, ConfigError> {
        let given = [("netbios_domains", &self.netbios_domains), ("dns_domains", &self.dns_domains)];
        let mut domains: Vec<String> = base.domain().into_iter().collect();
        for (field, names) in given {
            for name in names {
                if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || "-._".contains(c)) {
                    return Err(ConfigError::Domain { field, value: name.clone() });
                }
                domains.push(name.to_lowercase());
            }
        }
        Ok(domains)
    }
}

fn base(field: &'static str, text: &str) -> Result<Dn, ConfigError> {
    let parts = Dn::parse(text).filter(|dn| !dn.is_empty());
    parts.ok_or_else(|| ConfigError::Base { field, value: text.to_owned() })
}

fn attribute(field: &'static str, given: Option<&str>, default: &str) -> Result<String, ConfigError> {
    let name = given.unwrap_or(default);
    let good = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
    if good { Ok(name.to_owned()) } else { Err(ConfigError::Attribute { field, value: name.to_owned() }) }
}

fn filter(field: &'static str, given: Option<&str>, default: &str) -> Result<Filter, ConfigError> {
    let text = given.unwrap_or(default);
    Filter::parse(text).map_err(|fault| ConfigError::Filter { field, value: text.to_owned(), fault })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn good() -> DirectoryConfig {
        toml::from_str(
            r#"
            servers = ["ldaps://dc1.example.test", "ldap://[fd00::2]:1389/"]
            kind = "ad"
            base_dn = "OU=Staff,DC=example,DC=test"
            bind_name = "svc-mfa@example.test"
            bind_password = "correct horse"
            netbios_domains = ["EXAMPLE"]
            "#,
        )
        .unwrap()
    }

    #[test]
    fn defaults_are_those_of_the_kind() {
        let settings = good().settings().unwrap();
        assert_eq!((settings.login.as_str(), settings.id.as_str()), ("sAMAccountName", "objectGUID"));
        assert_eq!(settings.domains, ["example.test", "example"]);
        assert_eq!((settings.connect, settings.call), (Duration::from_secs(2), Duration::from_secs(5)));
        let [first, second] = settings.servers.as_slice() else { panic!("{:?}", settings.servers) };
        assert_eq!((first.port, first.start_tls), (636, false));
        assert_eq!((second.host.as_str(), second.port, second.start_tls), ("fd00::2", 1389, true));

        let ldap = DirectoryConfig { kind: Kind::Ldap, bind_name: "cn=svc,dc=example,dc=test".to_owned(), ..good() };
        let settings = ldap.settings().unwrap();
        assert_eq!((settings.login.as_str(), settings.principal), ("uid", None));
    }

    #[test]
    fn s98_the_password_is_neither_shown_nor_written() {
        let config = good();
        assert!(!format!("{config:?}").contains("horse"));
        assert!(!toml::to_string(&config).unwrap().contains("horse"));
    }

    #[test]
    fn s59_there_is_no_way_without_tls() {
        for server in [
            "dc1.example.test",
            "ldapi:///run/x",
            "http://dc1",
            "LDAP+plain://dc1",
            "ldap://",
            "ldaps://dc1:0",
            "ldaps://dc1:+636",
            "ldaps://user@dc1",
            "ldaps://dc1/dc=example",
            "ldaps://[dc1]",
            "ldaps://fd00::1",
        ] {
            let config = DirectoryConfig { servers: vec![server.to_owned()], ..good() };
            assert_eq!(config.validate(), Err(ConfigError::Server(server.to_owned())));
        }
    }

    #[test]
    fn faults_are_named() {
        let cases: Vec<(DirectoryConfig, &str)> = vec![
            (DirectoryConfig { servers: vec![], ..good() }, "servers is empty"),
            (DirectoryConfig { servers: vec!["ldap://a:1".to_owned(), "ldaps://a:1".to_owned()], ..good() }, "twice"),
            (DirectoryConfig { base_dn: "example.test".to_owned(), ..good() }, "is no DN"),
            (DirectoryConfig { base_dn: String::new(), ..good() }, "is no DN"),
            (DirectoryConfig { bind_name: " ".to_owned(), ..good() }, "bind_name is empty"),
            (DirectoryConfig { kind: Kind::Ldap, ..good() }, "is no DN, which this kind"),
            (DirectoryConfig { bind_password: Secret::new(vec![]), ..good() }, "bind_password is empty"),
            (DirectoryConfig { bind_password: Secret::new(vec![0, 1]), ..good() }, "zero octet"),
            (DirectoryConfig { bind_password: Secret::new(vec![0xff]), ..good() }, "not UTF-8"),
            (DirectoryConfig { netbios_domains: vec!["EXAMPLE\\".to_owned()], ..good() }, "no name of a domain"),
            (DirectoryConfig { login_attribute: Some("uid)(x".to_owned()), ..good() }, "no name of an attribute"),
            (DirectoryConfig { user_filter: Some("(a=b".to_owned()), ..good() }, "is no LDAP filter"),
            (DirectoryConfig { call_timeout_ms: 60_000, ..good() }, "from 500 to 30000"),
            (DirectoryConfig { max_connections: 0, ..good() }, "from 1 to 256"),
        ];
        for (config, text) in cases {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }
}
