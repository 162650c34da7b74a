//! The RADIUS servers that check the first factor for a resource.

use core::time::Duration;
use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use countersign_domain::{
    HostileText, LoginName, Secret, Upstream, UpstreamAttributes, UpstreamId, UserId, UserOrigin,
};
use countersign_engine::PrimaryOutcome;
use tracing::warn;

use crate::{Desk, FindFault, Trouble};

/// Sends logins on to other RADIUS servers; the program brings one.
#[async_trait]
pub trait Upstreams: Send + Sync + 'static {
    /// These are all upstreams from now on. Whoever waits for an answer of one that is gone still gets it.
    fn set(&self, upstreams: &UpstreamTable);

    /// What the servers say. Ends by itself when the login's time is over.
    async fn ask(&self, login: SentOn) -> UpstreamAnswer;

    /// A login that was sent on under this tag has come back to one of our own doors.
    fn looped(&self, tag: [u8; 8]);
}

/// A login that is sent on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentOn {
    /// To whom.
    pub upstream: UpstreamId,
    /// The attributes of its request, as the door gave them.
    pub attributes: UpstreamAttributes,
    /// The password that belongs in its place among them. Never empty.
    pub password: Option<Secret>,
    /// The answer is there by then, or there is none.
    pub budget: Duration,
    /// In what kind of talk.
    pub exchange: Exchange,
}

/// How many requests a login takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exchange {
    /// One.
    Single,
    /// A round of an EAP conversation: whoever lets in says so in EAP too, and whoever does not yet, asks in EAP.
    Eap {
        /// The only server that may be asked: the one that has answered the round before.
        with: Option<SocketAddr>,
    },
}

/// What servers say of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamAnswer {
    /// Yes.
    Accept {
        /// The attributes that belong to it.
        attributes: UpstreamAttributes,
        /// Whom it names.
        user: Option<HostileText>,
    },
    /// No.
    Reject,
    /// They want to know more, which nobody here can ask the user.
    Challenge,
    /// They have answered a round of an EAP conversation, and the next one is the client's.
    Round {
        /// Their attributes.
        attributes: UpstreamAttributes,
        /// The State among them, by which the next round is known (RFC 2865 section 5.24).
        state: Vec<u8>,
        /// Which server it was.
        server: SocketAddr,
    },
    /// They sent the login back to us.
    Loop,
    /// Nothing is known.
    Unavailable(Trouble),
}

impl UpstreamAnswer {
    /// There is nobody to ask.
    pub(crate) fn no_upstream() -> Self {
        let text = "this program sends no logins on".to_owned();
        Self::Unavailable(Trouble { word: "no_upstream", text })
    }
}

/// Where there are none.
pub(crate) struct NoUpstreams;

#[async_trait]
impl Upstreams for NoUpstreams {
    fn set(&self, _: &UpstreamTable) {}

    async fn ask(&self, _: SentOn) -> UpstreamAnswer {
        UpstreamAnswer::no_upstream()
    }

    fn looped(&self, _: [u8; 8]) {}
}

/// All upstreams as they are now; replaced as a whole when one changes.
pub type UpstreamTable = HashMap<UpstreamId, Arc<Upstream>>;

pub(crate) fn table(upstreams: Vec<Upstream>) -> Arc<UpstreamTable> {
    Arc::new(upstreams.into_iter().map(|upstream| (upstream.id, Arc::new(upstream))).collect())
}

impl Desk {
    /// The name of an upstream.
    pub fn upstream_name(&self, id: UpstreamId) -> Option<String> {
        self.upstreams().borrow().get(&id).map(|upstream| upstream.name.clone())
    }

    /// What the servers say of a login, and what they grant it if they let it in. A yes counts only if it names nobody
    /// but the user.
    pub(crate) async fn send_on(
        &self,
        login: SentOn,
        typed: &HostileText,
        user: UserId,
        origin: &UserOrigin,
    ) -> (PrimaryOutcome, Option<UpstreamAttributes>) {
        let upstream = login.upstream;
        match self.peers().upstreams.ask(login).await {
            UpstreamAnswer::Accept { attributes, user: named } => {
                let named = named.filter(|named| named != typed);
                match self.names(named.as_ref(), user, origin).await {
                    PrimaryOutcome::Right => (PrimaryOutcome::Right, Some(attributes)),
                    other => (other, None),
                }
            }
            UpstreamAnswer::Reject => (PrimaryOutcome::Rejected, None),
            UpstreamAnswer::Challenge | UpstreamAnswer::Round { .. } => {
                (PrimaryOutcome::Refused("upstream_challenge"), None)
            }
            UpstreamAnswer::Loop => (PrimaryOutcome::Looped, None),
            UpstreamAnswer::Unavailable(trouble) => {
                warn!(
                    upstream.name = self.upstream_name(upstream).unwrap_or_default(),
                    error = trouble.text,
                    "upstream.ask failed: a login is refused"
                );
                (PrimaryOutcome::Unavailable(trouble.word), None)
            }
        }
    }

    /// Whether a name that was typed nowhere is this user's all the same, in another spelling.
    async fn names(&self, named: Option<&HostileText>, user: UserId, origin: &UserOrigin) -> PrimaryOutcome {
        let Some(named) = named else { return PrimaryOutcome::Right };
        let Some(text) = named.as_utf8() else { return PrimaryOutcome::SomebodyElse };
        let same = match origin {
            UserOrigin::Local => {
                let Ok(name) = LoginName::new(text) else { return PrimaryOutcome::SomebodyElse };
                match self.store().user_by_name(&name).await {
                    Ok(found) => found.is_some_and(|found| found.id == user),
                    Err(fault) => {
                        self.lost(&fault);
                        return PrimaryOutcome::Unavailable("database");
                    }
                }
            }
            UserOrigin::Directory { directory, entry } => {
                let Some(directory) = self.directory(*directory) else {
                    return PrimaryOutcome::Unavailable("no_directory");
                };
                match self.peers().directories.find(&directory, text, &[]).await {
                    Ok(person) => person.entry == *entry,
                    Err(FindFault::Unknown(_)) => false,
                    Err(FindFault::Unavailable(trouble)) => return PrimaryOutcome::Unavailable(trouble.word),
                }
            }
        };
        if same { PrimaryOutcome::Right } else { PrimaryOutcome::SomebodyElse }
    }

    /// A login that was sent on under this tag has come back to a door.
    pub fn looped(&self, tag: [u8; 8]) {
        self.peers().upstreams.looped(tag);
    }
}
