//! A walk through everything that a login needs, one step after the other, in words for whoever sets it up.

use tokio::time::Instant;

use crate::{
    config::{Kind, ServerAddress},
    connection::Connection,
    directory::Directory,
    error::{DirectoryError, LookupError, Phase, Refusal, ServerFault, TlsFault},
    filter::Filter,
    pool,
    wire::{Scope, Search, code},
};

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepName {
    /// Is there a server?
    Connect,
    /// Is it the right one?
    Tls,
    /// Does it let the service account in?
    Bind,
    /// Can that account find users?
    Search,
    /// Is one user found?
    User,
    /// Can his groups be read?
    Groups,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What was tried.
    pub name: StepName,
    /// With which server; `None` where any will do.
    pub server: Option<String>,
    /// How it went.
    pub outcome: Outcome,
}

/// How a step went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Well, and what was found.
    Ok(String),
    /// Not well.
    Failed {
        /// What is wrong.
        what: String,
        /// What to do.
        advice: String,
    },
}

impl Step {
    /// Whether it went well.
    pub const fn is_ok(&self) -> bool {
        matches!(self.outcome, Outcome::Ok(_))
    }
}

impl Directory {
    /// Walks through every server, and through user and groups if `user` is given. A server's walk ends with its first
    /// step that fails.
    ///
    /// Connections are fresh ones: what is pooled says nothing about the configuration.
    pub async fn test(&self, user: Option<&str>) -> Vec<Step> {
        let mut steps = Vec::new();
        for server in &self.settings.servers {
            let url = Some(server.url.to_string());
            let walked = self.walk_server(server).await;
            steps.extend(walked.into_iter().map(|(name, outcome)| Step { name, server: url.clone(), outcome }));
            // Each further try with the same wrong password may lock the account.
            if steps.last().is_some_and(|step| step.name == StepName::Bind && !step.is_ok()) {
                return steps;
            }
        }
        if let Some(user) = user
            && steps.iter().any(|step| step.name == StepName::Search && step.is_ok())
        {
            self.walk_user(user, &mut steps).await;
        }
        steps
    }

    async fn walk_server(&self, server: &ServerAddress) -> Vec<(StepName, Outcome)> {
        let mut steps = Vec::new();
        let limit = self.settings.connect;
        let tcp = match Connection::connect(server, limit).await {
            Ok(tcp) => tcp,
            Err(fault) => return vec![(StepName::Connect, failed(&fault, server))],
        };
        let peer = tcp.peer_addr().map(|address| address.to_string()).unwrap_or_default();
        steps.push((StepName::Connect, Outcome::Ok(format!("connected to {peer}"))));
        let mut connection = match Connection::secure(tcp, server, self.pool.tls(), limit).await {
            Ok(connection) => connection,
            Err(fault) => {
                steps.push((StepName::Tls, failed(&fault, server)));
                return steps;
            }
        };
        let how = if server.start_tls { "StartTLS" } else { "TLS" };
        steps.push((StepName::Tls, Outcome::Ok(format!("{how}, the certificate is for {}", server.host))));
        let deadline = Instant::now() + self.settings.call;
        let bound = pool::bind_service(&mut connection, &self.settings, deadline).await;
        let good = matches!(bound, Ok(Ok(())));
        steps.push((StepName::Bind, self.bind_outcome(bound, server)));
        if good {
            steps.push((StepName::Search, self.search_outcome(&mut connection, server, deadline).await));
        }
        connection.close().await;
        steps
    }

    fn bind_outcome(
        &self,
        bound: Result<Result<(), (Refusal, crate::wire::Outcome)>, ServerFault>,
        server: &ServerAddress,
    ) -> Outcome {
        let name = &self.settings.bind_name;
        match bound {
            Ok(Ok(())) => Outcome::Ok(format!("logged on as {name}")),
            Err(fault) => failed(&fault, server),
            Ok(Err((why, outcome))) => Outcome::Failed {
                what: format!("the directory refuses {name} (result {}: {})", outcome.code, outcome.text),
                advice: match (outcome.code, why) {
                    (code::INVALID_CREDENTIALS, Refusal::WrongPassword) => {
                        "check bind_name and bind_password; try it seldom, or the directory locks the account"
                            .to_owned()
                    }
                    (code::INVALID_CREDENTIALS, why) => {
                        format!("{why}: an administrator of the directory must change that")
                    }
                    (code::INVALID_DN | code::NO_SUCH_OBJECT, _) => {
                        "bind_name is no entry of this directory".to_owned()
                    }
                    _ => format!("{name} must be an account that may log on with a password over TLS"),
                },
            },
        }
    }

    async fn search_outcome(&self, connection: &mut Connection, server: &ServerAddress, deadline: Instant) -> Outcome {
        let settings = &self.settings;
        let search = Search {
            base: settings.base.clone(),
            scope: Scope::Subtree,
            filter: Filter::And(vec![settings.user_filter.clone(), Filter::Present(settings.login.clone())]),
            attributes: vec![settings.id.clone(), settings.login.clone()],
            limit: 5,
            page: None,
            show_deleted: false,
        };
        let found = match connection.search(&search, deadline).await {
            Ok(found) => found,
            Err(fault) => return failed(&fault, server),
        };
        let trouble = |what: String, advice: String| Outcome::Failed { what, advice };
        match (found.outcome.code, found.entries.first()) {
            (code::SUCCESS | code::SIZE_LIMIT, Some(first)) => match crate::entry::id(first, settings) {
                Ok(_) => Outcome::Ok(format!("users are found below {}", settings.base)),
                Err(fault) => trouble(
                    fault.to_string(),
                    format!("give {} the right to read {}, or set id_attribute", settings.bind_name, settings.id),
                ),
            },
            (code::SUCCESS | code::SIZE_LIMIT, None) => trouble(
                format!("no user with {} below {} matches {}", settings.login, settings.base, settings.user_filter),
                format!(
                    "check base_dn, user_filter and login_attribute, and whether {} may read users",
                    settings.bind_name
                ),
            ),
            (code::NO_SUCH_OBJECT, _) => trouble(
                format!("there is no {}", settings.base),
                "check base_dn; or the account may not see it".to_owned(),
            ),
            (code::REFERRAL, _) => trouble(
                format!("the server does not hold {} and names another one", settings.base),
                "check base_dn, or name the servers that hold it".to_owned(),
            ),
            (other, _) => trouble(
                format!("the search ends with result {other}: {}", found.outcome.text),
                format!("check the rights of {}", settings.bind_name),
            ),
        }
    }

    async fn walk_user(&self, user: &str, steps: &mut Vec<Step>) {
        let mut push = |name, outcome| steps.push(Step { name, server: None, outcome });
        let entry = match self.lookup(user).await {
            Ok(entry) => entry,
            Err(error) => {
                let advice = match &error {
                    LookupError::Unusable(_) => "type the name as the user would",
                    LookupError::Unknown => {
                        "check the name, base_dn and user_filter; DOMAIN\\name needs the domain in netbios_domains, a mail address needs mail_login"
                    }
                    LookupError::Ambiguous => "names must be unique: see which entries have it, or narrow user_filter",
                    LookupError::Directory(_) => "see the steps before",
                };
                push(StepName::User, Outcome::Failed { what: error.to_string(), advice: advice.to_owned() });
                return;
            }
        };
        push(
            StepName::User,
            match entry.state.refusal() {
                None => Outcome::Ok(format!("{} is {} with id {}", user, entry.dn, entry.id)),
                Some(refusal) => Outcome::Failed {
                    what: format!("{} is {}: {refusal}", user, entry.dn),
                    advice: "logins of this user are refused until the directory says otherwise".to_owned(),
                },
            },
        );
        push(
            StepName::Groups,
            match self.groups_of(&entry).await {
                Ok(groups) => {
                    let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
                    Outcome::Ok(format!("in {} groups: {}", names.len(), names.join(", ")))
                }
                Err(error @ DirectoryError::Entry { .. }) if self.settings.kind == Kind::Ad => Outcome::Failed {
                    what: error.to_string(),
                    advice: format!(
                        "make {} a member of Windows Authorization Access Group, or allow it to read tokenGroups",
                        self.settings.bind_name
                    ),
                },
                Err(error) => Outcome::Failed {
                    what: error.to_string(),
                    advice: "check group_base_dn and group_filter, and whether the account may read groups".to_owned(),
                },
            },
        );
    }
}

/// What to do about a server's fault.
fn failed(fault: &ServerFault, server: &ServerAddress) -> Outcome {
    let (host, port) = (&server.host, server.port);
    let advice = match fault {
        ServerFault::HostUnknown(_) => format!("check the name {host}, and which DNS servers this machine asks"),
        ServerFault::Connect(_) => {
            format!("does a directory listen on {host} port {port}? 636 is ldaps://, 389 is ldap://")
        }
        ServerFault::TimedOut(Phase::Connect) => {
            format!("something swallows packets to {host} port {port}: a firewall, or a host that is down")
        }
        ServerFault::TimedOut(Phase::Tls | Phase::StartTls) if server.start_tls => {
            format!("port {port} answers no StartTLS: for ldaps write ldaps://{host}")
        }
        ServerFault::TimedOut(Phase::Tls | Phase::StartTls) => {
            format!("port {port} speaks no TLS: for StartTLS write ldap://{host}")
        }
        ServerFault::TimedOut(Phase::Bind | Phase::Search) | ServerFault::Busy(_) => {
            "the directory is too slow: look at its load".to_owned()
        }
        ServerFault::StartTlsRefused { .. } => {
            "install a certificate on the server; without TLS no password is sent to it".to_owned()
        }
        ServerFault::Tls(TlsFault::UnknownCa) => {
            "set ca_file to the CA that signed the server's certificate (not to that certificate itself)".to_owned()
        }
        ServerFault::Tls(TlsFault::WrongName(_)) => {
            format!(
                "write a name that is in the certificate instead of {host}, or have one issued with it as subjectAltName"
            )
        }
        ServerFault::Tls(TlsFault::Expired) => "renew the server's certificate".to_owned(),
        ServerFault::Tls(TlsFault::NotYetValid) => "set the clocks right".to_owned(),
        ServerFault::Tls(TlsFault::Certificate(_)) => {
            "have the server's certificate issued anew, as X.509 version 3 with subjectAltName".to_owned()
        }
        ServerFault::Tls(TlsFault::Handshake(_)) => {
            "does the server speak TLS 1.2 or 1.3 on this port? 636 is ldaps://, 389 is ldap://".to_owned()
        }
        ServerFault::Closed => format!("look into the log of {host}: it closed the connection"),
        ServerFault::Malformed | ServerFault::TooLarge => format!("is {host} port {port} really a directory?"),
        ServerFault::NotTried => "see what is wrong with the servers before it".to_owned(),
    };
    Outcome::Failed { what: fault.to_string(), advice }
}
