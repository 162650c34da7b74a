//! Logins by EAP: a talk of many rounds between a client and the servers behind a resource, of which only the Accept at
//! its end makes a login (RFC 3579). The talk is passed on here and not looked into; what it has proven is the user whom
//! that Accept names, and never whom the client named.

mod conversations;

use core::time::Duration;
use std::{borrow::Cow, net::SocketAddr, sync::Arc};

use countersign_domain::{DirectoryId, HostileText, LoginName, LoginRequest, Reason, Verdict};
use countersign_engine::{Event, Subject};
use tracing::warn;

use crate::{
    Desk, FindFault,
    upstreams::{Exchange, SentOn, UpstreamAnswer},
};

pub(crate) use conversations::Conversations;

/// Why a login is refused, and one word more for the record.
type Refusal = (Reason, Option<Cow<'static, str>>);

impl Desk {
    /// Takes a round of an EAP conversation.
    pub(crate) fn converse(self: &Arc<Self>, request: LoginRequest) {
        let arrived = self.now().monotonic;
        let with = match self.conversations().go_on(arrived, &request) {
            Ok(with) => with,
            Err(word) => return self.turn_away(request, arrived, (Reason::Expired, Some(Cow::Borrowed(word)))),
        };
        let login = request.id;
        self.others_are_asked(login);
        let desk = Arc::clone(self);
        tokio::spawn(async move {
            desk.round(request, with, arrived).await;
            desk.others_have_answered(login);
        });
    }

    async fn round(self: &Arc<Self>, request: LoginRequest, with: Option<SocketAddr>, arrived: Duration) {
        let refused = |reason, word| (reason, Some(Cow::Borrowed(word)));
        let refusal = match self.ask_servers(&request, with).await {
            UpstreamAnswer::Round { attributes, state, server } => {
                let now = self.now().monotonic;
                if self.conversations().keep(now, &request, state, server) {
                    return self.tell(request.door, request.id, Verdict::Relay(attributes));
                }
                refused(Reason::Limited, "too_many_conversations")
            }
            UpstreamAnswer::Accept { attributes, user } => match self.proven_name(&request, user).await {
                Ok(user_typed) => {
                    let request = Box::new(LoginRequest { user_typed, ..request });
                    let subject = self.subject_of(&request).await;
                    return self.drive(Event::Proven { request, subject, arrived, attributes });
                }
                Err(refusal) => refusal,
            },
            UpstreamAnswer::Reject => refused(Reason::PasswordWrong, "primary_rejected"),
            UpstreamAnswer::Challenge => refused(Reason::AccountRefused, "upstream_challenge"),
            UpstreamAnswer::Loop => (Reason::Loop, None),
            UpstreamAnswer::Unavailable(trouble) => {
                warn!(
                    upstream.name = request.resource.upstream.and_then(|id| self.upstream_name(id)).unwrap_or_default(),
                    error = trouble.text,
                    "upstream.ask failed: a login by EAP is refused"
                );
                refused(Reason::Unavailable, trouble.word)
            }
        };
        self.turn_away(request, arrived, refusal);
    }

    /// Sends a round on. The last third of the client's time is the phone's, if it is the last round.
    async fn ask_servers(&self, request: &LoginRequest, with: Option<SocketAddr>) -> UpstreamAnswer {
        let resource = &request.resource;
        let (Some(upstream), Some(attributes)) = (resource.upstream, request.forward.clone()) else {
            return UpstreamAnswer::no_upstream();
        };
        let budget = resource.answer_by.saturating_sub(resource.answer_by.checked_div(3).unwrap_or_default());
        let exchange = Exchange::Eap { with };
        self.peers().upstreams.ask(SentOn { upstream, attributes, password: None, budget, exchange }).await
    }

    /// The name of the one who is proven: what the Accept says. The client's own word, the outer identity, is nobody in
    /// particular or the same user, for otherwise somebody has the password of one and the phone of another.
    async fn proven_name(&self, request: &LoginRequest, named: Option<HostileText>) -> Result<HostileText, Refusal> {
        let unproven = |word| (Reason::EapIdentityUnproven, Some(word));
        let Some(named) = named else { return Err(unproven(Cow::Borrowed("no_name"))) };
        if is_anonymous(&named) {
            return Err(unproven(Cow::Borrowed("anonymous_name")));
        }
        let outer = &request.user_typed;
        if is_anonymous(outer) || *outer == named {
            return Ok(named);
        }
        match self.are_one(outer, &named, request.resource.directory).await {
            Ok(true) => Ok(named),
            Ok(false) => Err(unproven(Cow::Owned(format!("other_name: {}", named.shown(64))))),
            Err(word) => Err((Reason::Unavailable, Some(Cow::Borrowed(word)))),
        }
    }

    /// Whether two spellings are the same user.
    async fn are_one(
        &self,
        outer: &HostileText,
        named: &HostileText,
        directory: Option<DirectoryId>,
    ) -> Result<bool, &'static str> {
        let (Some(outer), Some(named)) = (outer.as_utf8(), named.as_utf8()) else { return Ok(false) };
        let Some(directory) = directory else {
            let (Ok(outer), Ok(named)) = (LoginName::new(outer), LoginName::new(named)) else { return Ok(false) };
            let id = async |name| match self.store().user_by_name(name).await {
                Ok(found) => Ok(found.map(|user| user.id)),
                Err(fault) => {
                    self.lost(&fault);
                    Err("database")
                }
            };
            let first = id(&outer).await?;
            return Ok(first.is_some() && first == id(&named).await?);
        };
        let directory = self.directory(directory).ok_or("no_directory")?;
        let entry = async |name| match self.directories().find(&directory, name, &[]).await {
            Ok(person) => Ok(Some(person.entry)),
            Err(FindFault::Unknown(_)) => Ok(None),
            Err(FindFault::Unavailable(trouble)) => Err(trouble.word),
        };
        let first = entry(outer).await?;
        Ok(first.is_some() && first == entry(named).await?)
    }

    /// Whom a request names.
    async fn subject_of(self: &Arc<Self>, request: &LoginRequest) -> Subject {
        if let Some(directory) = request.resource.directory {
            return self.subject_in(directory, request).await;
        }
        let name = request.user_typed.as_utf8().and_then(|typed| LoginName::new(typed).ok());
        let Some(name) = name else { return Subject::Unknown };
        match self.store().user_by_name(&name).await {
            Ok(found) => found.map_or(Subject::Unknown, |user| Subject::Known(user.id)),
            Err(fault) => self.lost(&fault),
        }
    }

    /// The conversation ends, and nobody was asked. There is a record of it, in the name that the client gave; whose
    /// password it was is not known, so no wrong one is counted.
    fn turn_away(self: &Arc<Self>, request: LoginRequest, arrived: Duration, (reason, detail): Refusal) {
        let subject = Subject::Refused { user: None, reason, detail };
        self.drive(Event::Start { request: Box::new(request), subject, arrived });
    }
}

/// Whether an outer identity hides who somebody is (RFC 7542 section 2.4): nothing, nothing before the realm, or the word that
/// supplicants put there.
fn is_anonymous(name: &HostileText) -> bool {
    let octets = name.as_octets();
    let user = octets.split(|octet| *octet == b'@').next().unwrap_or_default();
    user.is_empty() || user.eq_ignore_ascii_case(b"anonymous")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s51_an_outer_identity_that_hides_somebody_is_known() {
        for name in ["", "@", "@example.com", "anonymous", "Anonymous", "anonymous@example.com", "anonymous@a@b"] {
            assert!(is_anonymous(&HostileText::from(name)), "{name}");
        }
        for name in ["alice", "anonymous2", "alice@anonymous", " ", "DOMAIN\\anonymous"] {
            assert!(!is_anonymous(&HostileText::from(name)), "{name}");
        }
    }
}
