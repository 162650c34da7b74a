use core::net::IpAddr;
use std::sync::Arc;

use crate::{ClientId, HostileText, LoginId, ReplyAttribute, Resource, Secret, Trust};

/// What every door makes of a request, whatever its protocol.
#[derive(Debug, Clone)]
pub struct LoginRequest {
    /// Made by the door.
    pub id: LoginId,
    /// Where the login is.
    pub resource: Arc<Resource>,
    /// Which client asked.
    pub client: ClientId,
    /// The client as an administrator knows it: its address.
    pub client_name: String,
    /// The address that the request came from.
    pub peer: IpAddr,
    /// By which door.
    pub door: Door,
    /// The user name as it came.
    pub user_typed: HostileText,
    /// What the request proves.
    pub credential: Credential,
    /// Where the person sits, as far as known.
    pub source: Source,
    /// What a retry of the same login repeats.
    pub retry: RetryKey,
    /// Of an answer to a [`Question`]: State as it came (RFC 2865 section 5.24). It may hold anything.
    pub state: Option<Vec<u8>>,
    /// Its attributes as they go on to the servers that check the first factor, where some do. The password is not among
    /// them; its place is.
    pub forward: Option<UpstreamAttributes>,
}

/// A protocol front end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// RFC 2865.
    Radius,
}

impl Door {
    /// The word for audit and context.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Radius => "radius",
        }
    }
}

/// What a request carries to prove something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// Nothing: no User-Password, or an empty one.
    None,
    /// A password, a code, or a password with a code behind it; what it is depends on the resource.
    Password(Secret),
    /// Proof of a password that does not show it.
    Chap(ChapResponse),
    /// One round of an EAP conversation (RFC 3579), whose packet is among the attributes that go on. By itself it proves
    /// nothing.
    Eap,
    /// An MS-CHAP-V2 exchange (RFC 2759), which only the servers that it is sent on to can check.
    MsChap {
        /// What the client asked.
        challenge: [u8; 16],
        /// What it was answered.
        response: Secret,
    },
}

/// A CHAP response (RFC 1994 section 4.1): only somebody who has the password itself can check it.
#[derive(Clone)]
pub struct ChapResponse {
    octets: Secret,
    matches: Arc<MatchesPassword>,
}

type MatchesPassword = dyn Fn(&[u8]) -> bool + Send + Sync;

impl ChapResponse {
    /// From the octets of the response with what it answers, and a function that says whether it is the response of
    /// somebody who has a password.
    pub fn new(octets: Secret, matches: impl Fn(&[u8]) -> bool + Send + Sync + 'static) -> Self {
        Self { octets, matches: Arc::new(matches) }
    }

    /// What tells one response from another.
    pub const fn octets(&self) -> &Secret {
        &self.octets
    }

    /// Whether it is the response of somebody who has this password.
    pub fn is_of(&self, password: &Secret) -> bool {
        (self.matches)(password.expose())
    }
}

impl PartialEq for ChapResponse {
    fn eq(&self, other: &Self) -> bool {
        self.octets == other.octets
    }
}

impl Eq for ChapResponse {}

impl core::fmt::Debug for ChapResponse {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("ChapResponse(…)")
    }
}

/// Where the person who logs on sits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    /// As the client reports it (Calling-Station-Id, RFC 2865 section 5.31).
    pub address: Option<HostileText>,
}

impl Source {
    /// How far the address is known: a client's word is `reported`, nothing is `unknown`.
    pub const fn trust(&self) -> Trust {
        match self.address {
            Some(_) => Trust::Reported,
            None => Trust::Unknown,
        }
    }
}

/// What a retry of one login repeats and another login does not, beside user, resource, client and credential.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetryKey {
    /// NAS-Port (RFC 2865 section 5.5).
    pub nas_port: Option<Vec<u8>>,
    /// NAS-Port-Id (RFC 2869 section 5.17).
    pub nas_port_id: Option<Vec<u8>>,
    /// Acct-Session-Id (RFC 2866 section 5.5).
    pub acct_session_id: Option<Vec<u8>>,
    /// NAS-Identifier (RFC 2865 section 5.32).
    pub nas_identifier: Option<Vec<u8>>,
    /// NAS-IP-Address (RFC 2865 section 5.4).
    pub nas_ip_address: Option<Vec<u8>>,
}

impl RetryKey {
    /// Whether the marks are enough to tell one login from another.
    pub const fn tells_logins_apart(&self) -> bool {
        self.nas_port.is_some() || self.nas_port_id.is_some() || self.acct_session_id.is_some()
    }
}

/// What a door tells its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Let in.
    Accept(Grant),
    /// Nothing yet: the user is asked for more first. The answer comes as a request of its own.
    Ask(Question),
    /// Nothing yet: what another server wants to know first, octet for octet, State and all (RFC 2865 section 2.3). The
    /// answer comes as a request of its own.
    Relay(UpstreamAttributes),
    /// Not let in.
    Reject {
        /// Why; for the record, never for the client.
        reason: Reason,
        /// Whether somebody was asked first: such a reject is not delayed, all others are.
        after_challenge: bool,
    },
    /// Say nothing: a newer request speaks for this login, or the client has gone.
    Unanswered {
        /// Why.
        reason: Reason,
    },
}

impl Verdict {
    /// Let in, and given nothing beside.
    pub fn accept() -> Self {
        Self::Accept(Grant::default())
    }
}

/// What an accepted login is given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grant {
    /// By the policy of the resource.
    pub named: Vec<ReplyAttribute>,
    /// Attributes of the server that checked the first factor.
    pub upstream: UpstreamAttributes,
}

/// Attributes that go on to other servers, or come back from them, in the form of the door's protocol in which they pass from
/// one hop to the next. There may be proofs of a password among them, and keys in plain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamAttributes(Arc<Secret>);

impl UpstreamAttributes {
    /// Takes them over.
    pub fn new(octets: Vec<u8>) -> Self {
        Self(Arc::new(Secret::new(octets)))
    }

    /// The octets, for the door.
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&[u8]> for UpstreamAttributes {
    fn from(octets: &[u8]) -> Self {
        Self::new(octets.to_vec())
    }
}

impl Default for UpstreamAttributes {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

/// What the user is asked at the login itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Question {
    /// By which the answer is known (State, RFC 2865 section 5.24). Whoever has it and the client's secret can answer.
    pub state: [u8; 16],
    /// What is shown.
    pub message: String,
    /// Whether what is typed may be seen (Prompt, RFC 2869 section 5.10).
    pub echo: bool,
}

impl core::fmt::Debug for Question {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Question").field("echo", &self.echo).finish_non_exhaustive()
    }
}

/// How a login ended, for the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginResult {
    /// Accepted.
    Accept,
    /// Rejected.
    Reject,
    /// Left without an answer.
    Unanswered,
}

impl LoginResult {
    /// The word for the record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Reject => "reject",
            Self::Unanswered => "unanswered",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// Why a login ended as it did. For audit and administrators; a client never sees it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The word for the record.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

reasons! {
    /// A device said Verify, or a code was right.
    Approved = "approved",
    /// A device said Deny.
    Denied = "denied",
    /// A device said that it was somebody else.
    DeniedReported = "denied_reported",
    /// Nobody answered in time.
    Expired = "expired",
    /// The client had given up.
    Cancelled = "cancelled",
    /// A newer request of the client took its place.
    Superseded = "superseded",
    /// Two logins of one user at once.
    Collision = "collision",
    /// Let in without a second factor, by leave of an administrator.
    Bypass = "bypass",
    /// Let in without being asked, because an approval of a moment before counts once more.
    Remembered = "remembered",
    /// A request that was seen before.
    Replayed = "replayed",
    /// The first factor was wrong or missing.
    PasswordWrong = "password_wrong",
    /// The typed code was wrong.
    CodeWrong = "code_wrong",
    /// The typed code was right and had been used.
    CodeUsed = "code_used",
    /// There is no device that could be asked.
    NoDevice = "no_device",
    /// Nobody has this name.
    UserUnknown = "user_unknown",
    /// The user is disabled.
    UserDisabled = "user_disabled",
    /// A limit was reached.
    Limited = "limited",
    /// Something that the decision needs could not be reached; nobody is let in.
    Unavailable = "unavailable",
    /// The directory does not let the account log on: disabled, expired, locked, or its password is to be changed.
    AccountRefused = "account_refused",
    /// The user is in no group that may log on at the resource, or the servers that were asked do not let the user in.
    NotAllowed = "not_allowed",
    /// The servers that were asked let in somebody else than the one whose name was typed.
    EapIdentityUnproven = "eap_identity_unproven",
    /// The servers that were asked sent the login back to us.
    Loop = "loop",
}

impl core::str::FromStr for Reason {
    type Err = ();
    fn from_str(word: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == word).ok_or(())
    }
}
