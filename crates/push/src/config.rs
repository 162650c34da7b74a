//! `[push]` of the configuration.

use std::{fmt, sync::Arc};

use reqwest::Url;
use serde::Deserialize;

use crate::hosts::{Endpoints, Hosts, RuleError};

/// What can be set.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PushConfig {
    /// Whom a push service may write to about our pushes: `mailto:` with an address or an `https:` URL (RFC 8292
    /// section 2.1).
    pub contact: String,
    /// Push services beside those of the browser vendors: `push.example.com`, `*.push.example.com`.
    pub hosts: Vec<String>,
    /// Whether the hosts named in `hosts` may have private addresses, other ports than 443 and plain HTTP. Then an
    /// entry may be an address, and may name the one port that is meant: `10.0.0.7:8443`, `[fd00::7]:8443`.
    pub allow_private: bool,
    /// The proxy through which push services are reached, `http://proxy.example.com:3128`. The environment is never
    /// asked. Hosts that `allow_private` is about are reached without it.
    pub proxy: Option<String>,
}

impl fmt::Debug for PushConfig {
    /// A proxy's URL may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushConfig")
            .field("contact", &self.contact)
            .field("hosts", &self.hosts)
            .field("allow_private", &self.allow_private)
            .field("proxy", &self.proxy.as_ref().map(|_| "…"))
            .finish()
    }
}

/// What is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// There is no contact.
    #[error(
        "[push] contact is missing: push services want to know whom to write to, for example mailto:mfa@your-company.com"
    )]
    ContactMissing,
    /// The contact is neither of the two forms.
    #[error("[push] contact {0:?} is neither mailto: with one plain mail address nor an https:// URL")]
    ContactForm(String),
    /// The contact is in a domain that does not exist for others.
    #[error(
        "[push] contact {contact:?}: {domain:?} is no public domain, Apple answers 403 BadJwtToken to such; use an address that people can write to"
    )]
    ContactDomain {
        /// The contact.
        contact: String,
        /// Its domain.
        domain: String,
    },
    /// An entry of `hosts` cannot be used.
    #[error("[push] hosts: {entry:?}: {fault}")]
    Host {
        /// The entry.
        entry: String,
        /// Why not.
        fault: RuleError,
    },
    /// `allow_private` without a host that it is about.
    #[error("[push] allow_private is set and hosts is empty: it is about the hosts named there and no others")]
    NothingPrivate,
    /// The proxy is no URL of a proxy. Its text is not repeated: it may hold a password.
    #[error("[push] proxy is no http:// or https:// URL with host, and nothing behind the port")]
    Proxy,
}

/// A configuration that makes sense.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) contact: String,
    pub(crate) hosts: Arc<Hosts>,
    pub(crate) proxy: Option<Url>,
}

impl PushConfig {
    /// Checks the configuration.
    ///
    /// # Errors
    /// [`ConfigError`]: the first thing that is wrong, and what to do about it.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.settings().map(drop)
    }

    /// Whether pushes are to be sent: without a contact they are not.
    pub fn is_on(&self) -> bool {
        !self.contact.is_empty()
    }

    /// Which endpoints are taken; the same with and without a contact.
    ///
    /// # Errors
    /// [`ConfigError`], about everything but the contact.
    pub fn endpoints(&self) -> Result<Endpoints, ConfigError> {
        if self.allow_private && self.hosts.is_empty() {
            return Err(ConfigError::NothingPrivate);
        }
        self.proxy.as_deref().map(proxy_url).transpose()?;
        let hosts = Hosts::new(&self.hosts, self.allow_private);
        hosts.map(Endpoints::new).map_err(|(entry, fault)| ConfigError::Host { entry, fault })
    }

    pub(crate) fn settings(&self) -> Result<Settings, ConfigError> {
        check_contact(&self.contact)?;
        let hosts = self.endpoints()?.into_hosts();
        let proxy = self.proxy.as_deref().map(proxy_url).transpose()?;
        Ok(Settings { contact: self.contact.clone(), hosts, proxy })
    }
}

fn check_contact(contact: &str) -> Result<(), ConfigError> {
    if contact.is_empty() {
        return Err(ConfigError::ContactMissing);
    }
    let form = || ConfigError::ContactForm(contact.to_owned());
    let domain = if let Some(address) = contact.strip_prefix("mailto:") {
        let (local, domain) = address.split_once('@').ok_or_else(form)?;
        // Percent signs, question marks and commas would make it more than one plain address (RFC 6068 section 2).
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"!#$'*+-/=^_`{|}~.".contains(&b);
        if local.is_empty() || !local.bytes().all(plain) {
            return Err(form());
        }
        domain.to_owned()
    } else if contact.starts_with("https://") && contact.bytes().all(|b| b.is_ascii_graphic()) {
        let url = Url::parse(contact).map_err(|_| form())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(form());
        }
        url.host_str().ok_or_else(form)?.to_owned()
    } else {
        return Err(form());
    };
    if !domain
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'[' || b == b']' || b == b':')
    {
        return Err(form());
    }
    if is_public_domain(&domain) {
        return Ok(());
    }
    Err(ConfigError::ContactDomain { contact: contact.to_owned(), domain })
}

/// Whether others can reach the domain, as far as its name says.
fn is_public_domain(domain: &str) -> bool {
    /// Not in the public DNS (RFC 6761, RFC 6762, RFC 8375, RFC 9476 and habit).
    const NOT_PUBLIC: [&str; 14] = [
        "localhost",
        "localdomain",
        "local",
        "invalid",
        "test",
        "example",
        "internal",
        "intranet",
        "lan",
        "home",
        "corp",
        "private",
        "arpa",
        "alt",
    ];
    /// Left standing from a manual (RFC 2606 section 3).
    const PLACEHOLDERS: [&str; 3] = ["example.com", "example.net", "example.org"];

    let domain = domain.to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let Some((_, top)) = domain.rsplit_once('.') else { return false };
    domain.split('.').all(label)
        && !top.bytes().all(|b| b.is_ascii_digit())
        && !NOT_PUBLIC.contains(&top)
        && !PLACEHOLDERS.iter().any(|placeholder| {
            domain.strip_suffix(placeholder).is_some_and(|before| before.is_empty() || before.ends_with('.'))
        })
}

fn proxy_url(text: &str) -> Result<Url, ConfigError> {
    let url = Url::parse(text).map_err(|_| ConfigError::Proxy)?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.host_str().is_some_and(|host| !host.is_empty())
        && matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none();
    if plain { Ok(url) } else { Err(ConfigError::Proxy) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_contact(contact: &str) -> Result<(), ConfigError> {
        PushConfig { contact: contact.to_owned(), ..PushConfig::default() }.validate()
    }

    #[test]
    fn c065_a_contact_that_a_vendor_would_refuse_is_refused_at_once() {
        for good in [
            "mailto:mfa@countersign.dev",
            "mailto:first.last+mfa@it.corp.co.uk",
            "https://countersign.dev",
            "https://it.corp.de/contact?x=1",
        ] {
            assert_eq!(with_contact(good), Ok(()), "{good}");
        }
        assert_eq!(with_contact(""), Err(ConfigError::ContactMissing));
        for form in [
            "admin@corp.de",
            "mailto: a@corp.de",
            " mailto:a@corp.de",
            "mailto:a@corp.de ",
            "mailto:corp.de",
            "mailto:@corp.de",
            "mailto:a@corp.de,b@corp.de",
            "mailto:a@corp.de?subject=x",
            "mailto:a%40corp.de",
            "MAILTO:a@corp.de",
            "http://corp.de",
            "https://user@corp.de",
            "https://",
            "tel:+49",
        ] {
            assert_eq!(with_contact(form), Err(ConfigError::ContactForm(form.to_owned())), "{form}");
        }
        for domain in [
            "mailto:admin@localhost",
            "mailto:a@b.invalid",
            "mailto:relay@host.local",
            "mailto:a@corp.test",
            "mailto:a@example.com",
            "mailto:a@mail.example.org",
            "mailto:a@host",
            "mailto:a@[192.0.2.1]",
            "mailto:a@corp.de.",
            "https://localhost:8443",
            "https://192.0.2.1/",
            "https://[2001:db8::1]/",
            "https://mfa.corp.internal",
        ] {
            let refused = with_contact(domain);
            assert!(matches!(refused, Err(ConfigError::ContactDomain { .. })), "{domain}: {refused:?}");
        }
        assert_eq!(with_contact("mailto:a@myexample.com"), Ok(()));
    }

    #[test]
    fn read_from_a_file() {
        let text = r#"
            contact = "mailto:mfa@countersign.dev"
            hosts = ["push.corp.de", "*.push.corp.de"]
            proxy = "http://proxy.corp.de:3128"
        "#;
        let config: PushConfig = toml::from_str(text).unwrap();
        assert_eq!(config.validate(), Ok(()));
        assert!(toml::from_str::<PushConfig>("host = []").is_err());
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        let good = PushConfig { contact: "mailto:mfa@countersign.dev".to_owned(), ..PushConfig::default() };
        let with_hosts = |hosts: &[&str], allow_private| {
            let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
            PushConfig { hosts, allow_private, ..good.clone() }.validate()
        };
        assert_eq!(with_hosts(&[], true), Err(ConfigError::NothingPrivate));
        assert_eq!(
            with_hosts(&["127.0.0.1"], false).unwrap_err().to_string(),
            "[push] hosts: \"127.0.0.1\": an address, which needs allow_private = true"
        );
        for proxy in ["proxy:3128", "socks5://proxy", "http://", "http://proxy/path", "nonsense"] {
            let config = PushConfig { proxy: Some(proxy.to_owned()), ..good.clone() };
            assert_eq!(config.validate(), Err(ConfigError::Proxy), "{proxy}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_also_while_pushes_are_off() {
        let off = PushConfig::default();
        assert!(!off.is_on());
        let endpoints = off.endpoints().unwrap();
        assert!(endpoints.check("https://fcm.googleapis.com/fcm/send/abc").is_ok());
        assert!(endpoints.check("https://push.corp.de/abc").is_err());
        assert!(PushConfig { hosts: vec!["*.de".to_owned()], ..off.clone() }.endpoints().is_err());
        assert!(PushConfig { proxy: Some("proxy:3128".to_owned()), ..off.clone() }.endpoints().is_err());
        assert!(PushConfig { allow_private: true, ..off }.endpoints().is_err());
    }

    #[test]
    fn s98_the_password_of_a_proxy_is_not_shown() {
        let config = PushConfig { proxy: Some("http://u:hunter2@proxy.corp.de".to_owned()), ..PushConfig::default() };
        assert!(!format!("{config:?}").contains("hunter2"));
        let config = PushConfig { proxy: Some("http://u:hunter2@proxy/x".to_owned()), ..config };
        let config = PushConfig { contact: "mailto:mfa@countersign.dev".to_owned(), ..config };
        assert!(!format!("{:?}", config.validate()).contains("hunter2"));
    }
}
