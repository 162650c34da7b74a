//! What can go wrong, and how it is said.

use countersign_domain::HostileText;

use crate::entry::Entry;

/// Why a login is not accepted, or why nothing is known about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The directory was asked, or did not have to be: the login is to be rejected.
    #[error("{refusal}")]
    Refused {
        /// Why.
        refusal: Refusal,
        /// Whose entry it is, where one was found.
        entry: Option<Box<Entry>>,
    },
    /// Nothing is known about the password: never to be counted, or shown, as a wrong one.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// Why a login is not accepted. For the audit and for administrators; whoever logs on learns none of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A bind without a password succeeds as nobody (RFC 4513 section 5.1.2): the directory is not even asked.
    #[error("the password is empty")]
    PasswordEmpty,
    /// LDAP takes UTF-8 only (RFC 4513 section 5.1.1).
    #[error("the password is not UTF-8")]
    PasswordNotUtf8,
    /// Longer than any directory allows.
    #[error("the password is longer than 1024 octets")]
    PasswordTooLong,
    /// The typed text can be nobody's name.
    #[error("the name cannot be looked up: {0}")]
    NameUnusable(NameFault),
    /// Nobody has that name.
    #[error("nobody in the directory has this name")]
    NameUnknown,
    /// Several have it.
    #[error("several entries of the directory have this name")]
    NameAmbiguous,
    /// The only refusal that counts as a wrong password.
    #[error("wrong password")]
    WrongPassword,
    /// The entry cannot log on with a password: it has none, or may not.
    #[error("the directory does not let this entry log on with a password")]
    NoPassword,
    /// The account is switched off.
    #[error("the account is disabled")]
    Disabled,
    /// The account's end date has passed.
    #[error("the account has expired")]
    AccountExpired,
    /// Locked after wrong passwords, by the directory itself.
    #[error("the directory has locked the account")]
    Locked,
    /// The password is right and too old.
    #[error("the password has expired")]
    PasswordExpired,
    /// The password is right and must be changed first.
    #[error("the password must be changed first")]
    MustChange,
    /// Outside of the hours that the account may log on.
    #[error("the account may not log on at this time")]
    Hours,
    /// Not from here, or not in this way.
    #[error("the account may not log on from here")]
    Place,
    /// A reason of Active Directory that is none of the above.
    #[error("the directory refused the logon, reason {0:x}")]
    Other(u32),
}

impl Refusal {
    /// Whether a wrong password was given. Everything else is no guess at a password and is not counted as one (C034).
    pub const fn is_wrong_password(self) -> bool {
        matches!(self, Self::WrongPassword)
    }
}

/// Why a typed text can be nobody's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// Nothing in it.
    #[error("it is empty")]
    Empty,
    /// More than 253 octets.
    #[error("it is longer than 253 octets")]
    TooLong,
    /// Characters that people cannot see.
    #[error("it holds control or invisible characters")]
    Invisible,
    /// `DOMAIN\name` with a domain that is not ours.
    #[error("its domain is not one of this directory")]
    ForeignDomain,
}

/// Why a name leads to no entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The typed text can be nobody's name.
    #[error("the name cannot be looked up: {0}")]
    Unusable(NameFault),
    /// Nobody has it.
    #[error("nobody in the directory has this name")]
    Unknown,
    /// Several have it.
    #[error("several entries of the directory have this name")]
    Ambiguous,
    /// Nothing is known.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

impl From<LookupError> for AuthError {
    fn from(error: LookupError) -> Self {
        let refusal = match error {
            LookupError::Unusable(fault) => Refusal::NameUnusable(fault),
            LookupError::Unknown => Refusal::NameUnknown,
            LookupError::Ambiguous => Refusal::NameAmbiguous,
            LookupError::Directory(error) => return Self::Directory(error),
        };
        Self::Refused { refusal, entry: None }
    }
}

/// The directory gave no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// No server could be asked.
    #[error("no directory server answers: {}", shown(.tried))]
    Unavailable {
        /// Each server that was tried, and what was wrong with it.
        tried: Vec<(String, ServerFault)>,
    },
    /// Too many calls at once: there was no turn within the time.
    #[error("too many directory calls at once: none became free in time")]
    Overloaded,
    /// The service account cannot log on. Then nobody can.
    #[error("{server} refuses the service account: {why} (result {code}: {text})")]
    ServiceAccount {
        /// Which server.
        server: String,
        /// In words.
        why: Refusal,
        /// LDAP result code.
        code: u32,
        /// What the server added.
        text: HostileText,
    },
    /// The service account was refused a moment ago, and is not tried again yet, so that it is not locked.
    #[error("the service account was refused a moment ago; it is tried again in {seconds} s")]
    ServiceAccountRefused {
        /// Until then.
        seconds: u64,
    },
    /// The answer is somewhere else. It is not followed: passwords go to configured servers only (S60).
    #[error("{server} answers with a referral, which is not followed: is the base DN one that this server holds?")]
    Referral {
        /// Which server.
        server: String,
    },
    /// A result that says that something is wrong with the question or the rights.
    #[error("{server} answers {what} with result {code}: {text}")]
    Answer {
        /// Which server.
        server: String,
        /// What was asked.
        what: &'static str,
        /// LDAP result code.
        code: u32,
        /// What the server added.
        text: HostileText,
    },
    /// An entry that cannot be used.
    #[error("{server} returned an entry that cannot be used: {fault}")]
    Entry {
        /// Which server.
        server: String,
        /// Why not.
        fault: EntryFault,
    },
    /// More than is reasonable.
    #[error("more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A group that rules name is not there, or more than once.
    #[error("there is no group {0:?}, or no unique one")]
    NoSuchGroup(String),
}

/// Why an entry cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    /// A bind with an empty DN is a bind as nobody (S57).
    #[error("it has no DN")]
    NoDn,
    /// Not below the base DN.
    #[error("its DN is not below the base DN")]
    OutsideBase,
    /// Not a single value that can be read.
    #[error("attribute {0} is missing or unreadable: does the service account have the right to read it?")]
    NoId(String),
    /// Without the entry's groups nothing can be said about them.
    #[error("attribute tokenGroups is missing or unreadable: does the service account have the right to read it?")]
    NoGroups,
}

/// What was going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Looking up the host, connecting.
    Connect,
    /// Asking for TLS.
    StartTls,
    /// TLS handshake.
    Tls,
    /// Logging on.
    Bind,
    /// Searching.
    Search,
}

/// What is wrong with one server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerFault {
    /// The host's name leads nowhere.
    #[error("the host name cannot be resolved: {0}")]
    HostUnknown(String),
    /// Nothing listens, or no way leads there.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// Too slow.
    #[error("no answer in time while {}", match .0 {
        Phase::Connect => "connecting",
        Phase::StartTls => "asking for TLS",
        Phase::Tls => "setting up TLS",
        Phase::Bind => "logging on",
        Phase::Search => "searching",
    })]
    TimedOut(Phase),
    /// The server offers no TLS on this port. Nothing is ever sent in the clear instead.
    #[error("the server refuses StartTLS (result {code}: {text})")]
    StartTlsRefused {
        /// LDAP result code.
        code: u32,
        /// What the server added.
        text: HostileText,
    },
    /// Not the server that it should be, or none can be found out.
    #[error("TLS: {0}")]
    Tls(TlsFault),
    /// Closed or cut.
    #[error("the connection was closed")]
    Closed,
    /// Something else than LDAP, or wrong LDAP.
    #[error("the server's answer is not valid LDAP")]
    Malformed,
    /// More than one MiB for one question.
    #[error("the server's answer is larger than 1 MiB")]
    TooLarge,
    /// Says itself that it cannot.
    #[error("the server says that it is busy or not available (result {0})")]
    Busy(u32),
    /// Others took all the time.
    #[error("not tried: no time was left")]
    NotTried,
}

impl ServerFault {
    /// Whether a connection may have been cut while nobody looked, so that a fresh one may work.
    pub(crate) const fn may_be_stale(&self) -> bool {
        matches!(self, Self::Closed | Self::TimedOut(_))
    }
}

/// Why a server's certificate is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsFault {
    /// Signed by nobody who is trusted.
    #[error("the certificate is not signed by a CA that is trusted here")]
    UnknownCa,
    /// Another host's.
    #[error("the certificate is not for this host name or address{}", names(.0))]
    WrongName(Vec<String>),
    /// Too late.
    #[error("the certificate has expired")]
    Expired,
    /// Too early.
    #[error("the certificate is not valid yet: compare the clocks")]
    NotYetValid,
    /// Not usable for other reasons.
    #[error("the certificate cannot be used: {0}")]
    Certificate(String),
    /// No common ground.
    #[error("{0}")]
    Handshake(String),
}

fn names(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!(", only for {}", names.join(", ")) }
}

fn shown(tried: &[(String, ServerFault)]) -> String {
    tried.iter().map(|(server, fault)| format!("{server}: {fault}")).collect::<Vec<_>>().join("; ")
}
