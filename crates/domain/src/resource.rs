use core::time::Duration;

use ipnet::IpNet;

use crate::{
    ClientId, DirectoryId, Expects, MatchRule, Policy, PreviousSecret, ResourceId, Secret, Timestamp, TlsPeer,
    UpstreamId,
};

/// What a login is for, with the rules that hold there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Immutable.
    pub id: ResourceId,
    /// What administrators and users see.
    pub name: String,
    /// Which door leads to it.
    pub kind: ResourceKind,
    /// Who checks the first factor.
    pub primary: Primary,
    /// Where its users are looked up; without one they are those who were added here. With [`Primary::Directory`] this
    /// directory also checks the password.
    pub directory: Option<DirectoryId>,
    /// The RADIUS servers that check the first factor, with [`Primary::Radius`].
    pub upstream: Option<UpstreamId>,
    /// Groups of the directory whose members may log on; empty: everybody in the directory.
    pub allow_groups: Vec<String>,
    /// What else holds there.
    pub policy: Policy,
    /// What becomes of a request that repeats a pending login under a new identifier.
    pub retries: Retries,
    /// The client gives up after so long, so the answer is there before: 5 to 300 s.
    pub answer_by: Duration,
    /// When it was added.
    pub created_at: Timestamp,
}

impl Resource {
    /// Lifetime of a push challenge where nothing asks for less (`security.md` section 4).
    pub const ANSWER_BY_DEFAULT: Duration = Duration::from_secs(60);
    /// The shortest answer-by that still leaves time to take a phone out of a pocket.
    pub const ANSWER_BY_MIN: Duration = Duration::from_secs(5);
    /// The ceiling of a challenge's lifetime.
    pub const ANSWER_BY_MAX: Duration = Duration::from_secs(300);

    /// A resource of RADIUS clients with the settings that hold where nothing is said.
    pub fn new(id: ResourceId, name: &str, primary: Primary, created_at: Timestamp) -> Self {
        Self {
            id,
            name: name.to_owned(),
            kind: ResourceKind::Radius,
            primary,
            directory: None,
            upstream: None,
            allow_groups: Vec::new(),
            policy: Policy::default(),
            retries: Retries::Join,
            answer_by: Self::ANSWER_BY_DEFAULT,
            created_at,
        }
    }

    /// The groups of the directory that matter for a login here, each once: those that let in, and those that something is
    /// given for.
    pub fn groups(&self) -> Vec<String> {
        let given = self.policy.reply.iter().filter_map(|rule| rule.group.as_ref());
        let mut groups: Vec<String> = Vec::new();
        for group in self.policy.require_groups.iter().chain(&self.allow_groups).chain(given) {
            if !groups.contains(group) {
                groups.push(group.clone());
            }
        }
        groups
    }

    /// Whether the groups of somebody let him in: all that are required have him, and one of those that are allowed; and
    /// whether it can be said what he is given.
    pub fn admits(&self, is_in: impl Fn(&str) -> InGroup) -> Admission {
        let mut unknown = false;
        for group in &self.policy.require_groups {
            match is_in(group) {
                InGroup::Yes => {}
                InGroup::No => return Admission::OutsideRequired,
                InGroup::Unknown => unknown = true,
            }
        }
        let allowed: Vec<InGroup> = self.allow_groups.iter().map(|group| is_in(group)).collect();
        if !allowed.is_empty() && !allowed.contains(&InGroup::Yes) {
            if !allowed.contains(&InGroup::Unknown) {
                return Admission::OutsideAllowed;
            }
            unknown = true;
        }
        // What is given by group may restrict, and must not be missing because a group was renamed.
        let mut given = self.policy.reply.iter().filter_map(|rule| rule.group.as_deref());
        if unknown || given.any(|group| is_in(group) == InGroup::Unknown) {
            Admission::Unknown
        } else {
            Admission::Admitted
        }
    }

    /// Whether users may open sign-in windows here: where nothing can be shown and the client has checked the password
    /// itself. Elsewhere whoever types any password could use a window up.
    pub fn has_windows(&self) -> bool {
        self.policy.windows && self.policy.prompt.is_none() && !self.proves_user()
    }

    /// Whether a login here has proved who the user is before anybody is asked: a client that only says a name, or asks
    /// for an authorisation without a password, has not.
    pub fn proves_user(&self) -> bool {
        match self.primary {
            Primary::Local | Primary::Directory => true,
            Primary::Radius => self.policy.credential == Expects::Password,
            Primary::None => false,
        }
    }
}

/// Whether somebody is in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InGroup {
    /// Directly, through other groups, or as primary group.
    Yes,
    /// Not at all.
    No,
    /// There is no such group, or no unique one.
    Unknown,
}

/// What the groups of somebody say about a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// They let in.
    Admitted,
    /// A group that is required has not got him.
    OutsideRequired,
    /// None of those that are allowed has him.
    OutsideAllowed,
    /// It cannot be said without a group that is not there.
    Unknown,
}

/// Which door leads to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceKind {
    /// RADIUS clients.
    Radius,
}

impl ResourceKind {
    /// The word for storage, command line and context.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Radius => "radius",
        }
    }

    /// The kind that a word means.
    pub fn from_word(word: &str) -> Option<Self> {
        (word == "radius").then_some(Self::Radius)
    }
}

/// Who checks the first factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Primary {
    /// We do, against the user's own password here.
    Local,
    /// The directory of the resource.
    Directory,
    /// The RADIUS servers of the resource.
    Radius,
    /// The client has done it, or it is a second-factor-only client.
    None,
}

impl Primary {
    /// The word for storage and command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Directory => "directory",
            Self::Radius => "radius",
            Self::None => "none",
        }
    }

    /// The setting that a word means.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Local, Self::Directory, Self::Radius, Self::None].into_iter().find(|primary| primary.as_str() == word)
    }
}

/// What becomes of a request that repeats a pending login under a new identifier (`docs/design/concurrent-logins.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retries {
    /// When every mark of it is equal it takes the pending challenge over.
    Join,
    /// It is another login: a collision.
    Collide,
}

impl Retries {
    /// The word for storage and command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Collide => "collide",
        }
    }

    /// The setting that a word means.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Join, Self::Collide].into_iter().find(|retries| retries.as_str() == word)
    }
}

/// Who speaks RADIUS to us, and the resource that the logins are for: addresses that share a secret with us, or the owner of a
/// certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RadiusClient {
    /// Immutable.
    pub id: ClientId,
    /// What administrators see; no other client has it in any spelling.
    pub name: String,
    /// The resource of its requests that no rule says otherwise of.
    pub resource: ResourceId,
    /// Which requests are for other resources; the first that fits counts.
    pub rules: Vec<MatchRule>,
    /// Where its datagrams come from; none of a client that speaks TLS.
    pub networks: Vec<Network>,
    /// The shared secret (RFC 2865 section 3); that of everybody where it speaks TLS ([`crate::radsec_secret`]).
    pub secret: Secret,
    /// The secret before that one, where it was changed and the client may not know yet; never of one that speaks TLS.
    pub previous: Option<PreviousSecret>,
    /// By which certificate it is known, where it speaks TLS; `None`: it speaks UDP.
    pub tls: Option<TlsPeer>,
    /// Whether a request without Message-Authenticator is dropped. When it is off, requests with Proxy-State but
    /// without Message-Authenticator still are (S41, CVE-2024-3596).
    pub require_message_authenticator: bool,
}

/// An address or a network.
pub type Network = IpNet;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Entropy, ReplyRule};

    struct Zero;

    impl Entropy for Zero {
        fn fill(&self, out: &mut [u8]) {
            out.fill(0);
        }
    }

    fn resource(allow: &[&str], require: &[&str]) -> Resource {
        let at = Timestamp::from_seconds(0);
        let mut resource = Resource::new(ResourceId::new(at, &Zero), "vpn", Primary::Directory, at);
        let groups = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        resource.allow_groups = groups(allow);
        resource.policy.require_groups = groups(require);
        resource
    }

    #[test]
    fn c115_every_required_group_and_one_that_is_allowed_and_none_that_is_not_there() {
        let is_in = |group: &str| match group {
            "a" | "b" => InGroup::Yes,
            "gone" => InGroup::Unknown,
            _ => InGroup::No,
        };
        for (allow, require, admission) in [
            (&[][..], &[][..], Admission::Admitted),
            (&["a"], &[], Admission::Admitted),
            (&["x", "gone", "b"], &["a", "b"], Admission::Admitted),
            (&["x"], &[], Admission::OutsideAllowed),
            (&[], &["a", "x"], Admission::OutsideRequired),
            (&["a"], &["x"], Admission::OutsideRequired),
            (&["a"], &["gone"], Admission::Unknown),
            (&["x", "gone"], &["a"], Admission::Unknown),
            (&["gone"], &["x"], Admission::OutsideRequired),
            (&["x"], &["gone"], Admission::OutsideAllowed),
        ] {
            assert_eq!(resource(allow, require).admits(is_in), admission, "allow {allow:?}, require {require:?}");
        }
    }

    #[test]
    fn what_is_given_by_a_group_that_is_not_there_lets_nobody_in_without_it() {
        let is_in = |group: &str| if group == "gone" { InGroup::Unknown } else { InGroup::No };
        let mut resource = resource(&[], &[]);
        let rule = |group: Option<&str>| ReplyRule { group: group.map(str::to_owned), attributes: Vec::new() };
        resource.policy.reply = vec![rule(None), rule(Some("a"))];
        assert_eq!(resource.admits(is_in), Admission::Admitted);
        resource.policy.reply.push(rule(Some("gone")));
        assert_eq!(resource.admits(is_in), Admission::Unknown);
    }

    #[test]
    fn each_group_is_asked_about_once() {
        let mut resource = resource(&["a", "b"], &["b", "c"]);
        let rule = |group: Option<&str>| ReplyRule { group: group.map(str::to_owned), attributes: Vec::new() };
        resource.policy.reply = vec![rule(None), rule(Some("d")), rule(Some("a"))];
        assert_eq!(resource.groups(), ["b", "c", "a", "d"]);
    }
}
