use serde::{Deserialize, Serialize};

use crate::{ResourceId, UserVerification};

/// What holds at a resource beside who checks the first factor and who may log on. Stored as it serialises; what is
/// missing there has its default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Groups of the directory; whoever logs on must be in every one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub require_groups: Vec<String>,
    /// What a request carries, with [`crate::Primary::Radius`].
    pub credential: Expects,
    /// Whether that may be an MS-CHAP-V2 exchange. Whoever sees one can break it (S49), so it is off
    /// unless somebody says so.
    pub ms_chap: bool,
    /// Whether the servers that check the first factor may do so by EAP (RFC 3579), with [`crate::Primary::Radius`]. Off unless
    /// somebody says so: it stands and falls with servers that name in their Accept whom they have let in, and not whom the
    /// client had named.
    pub eap: bool,
    /// What may be asked at the login itself (Access-Challenge, RFC 2865 section 4.4). `None`: nothing ever is, for the
    /// client cannot show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Methods>,
    /// Whether the phone verifies its user before a Verify.
    pub user_verification: UserVerification,
    /// Whether a user may open a sign-in window there.
    pub windows: bool,
    /// Seconds for which an approval lets in one further login of the same user from the same source; zero: it does not.
    pub remember: u32,
    /// How the client writes names and passwords.
    pub charset: Charset,
    /// Attributes of an Access-Accept; those of all rules that fit, in their order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reply: Vec<ReplyRule>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            require_groups: Vec::new(),
            credential: Expects::Password,
            ms_chap: false,
            eap: false,
            prompt: None,
            user_verification: UserVerification::None,
            windows: false,
            remember: 0,
            charset: Charset::Utf8,
            reply: Vec::new(),
        }
    }
}

impl Policy {
    /// No approval is remembered for longer, in seconds.
    pub const REMEMBER_MAX: u32 = 300;

    /// What somebody is given who is in the groups that `is_in` says.
    pub fn reply_to(&self, is_in: impl Fn(&str) -> bool) -> Vec<ReplyAttribute> {
        let fits = |rule: &&ReplyRule| rule.group.as_deref().is_none_or(&is_in);
        self.reply.iter().filter(fits).flat_map(|rule| rule.attributes.iter().cloned()).collect()
    }
}

/// What a request carries for the servers that check the first factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expects {
    /// A password, or proof of one.
    Password,
    /// Nothing: the client has checked the user itself and asks whether the user may come in, as an RD Gateway does.
    Nothing,
}

/// What a user may answer a prompt with; at least one is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Methods {
    /// A code that the phone shows for this login, typed at the prompt.
    pub code_to_phone: bool,
    /// A number that the prompt shows, typed into the phone.
    pub typed: bool,
    /// A six-digit code of the account list, typed at the prompt.
    pub totp: bool,
}

/// How a client writes User-Name and User-Password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Charset {
    /// As RFC 2865 sections 5.1 and 5.2 say.
    #[serde(rename = "utf-8")]
    Utf8,
    /// Western European Windows, a superset of Latin-1's printable characters.
    #[serde(rename = "windows-1252")]
    Windows1252,
}

/// Attributes for some.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplyRule {
    /// For members of this group of the directory; `None`: for everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// What they get, in order.
    pub attributes: Vec<ReplyAttribute>,
}

/// One attribute of an Access-Accept, as an administrator writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplyAttribute {
    /// Its name in the dictionary.
    pub name: String,
    /// Its value as text.
    pub value: String,
}

/// Requests of a client that are for another resource than its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatchRule {
    /// What is looked at.
    pub attribute: MatchAttribute,
    /// What it must be, as text.
    pub value: String,
    /// What the request is for then.
    pub resource: ResourceId,
}

/// What tells one kind of request of a client from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MatchAttribute {
    /// RFC 2865 section 5.32.
    #[serde(rename = "NAS-Identifier")]
    NasIdentifier,
    /// RFC 2865 section 5.4.
    #[serde(rename = "NAS-IP-Address")]
    NasIpAddress,
    /// RFC 2865 section 5.30.
    #[serde(rename = "Called-Station-Id")]
    CalledStationId,
    /// RFC 2865 section 5.41.
    #[serde(rename = "NAS-Port-Type")]
    NasPortType,
    /// Microsoft, vendor 311, type 47.
    #[serde(rename = "MS-Network-Access-Server-Type")]
    MsNetworkAccessServerType,
}

impl MatchAttribute {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::NasIdentifier,
        Self::NasIpAddress,
        Self::CalledStationId,
        Self::NasPortType,
        Self::MsNetworkAccessServerType,
    ];

    /// Its name in RFCs and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NasIdentifier => "NAS-Identifier",
            Self::NasIpAddress => "NAS-IP-Address",
            Self::CalledStationId => "Called-Station-Id",
            Self::NasPortType => "NAS-Port-Type",
            Self::MsNetworkAccessServerType => "MS-Network-Access-Server-Type",
        }
    }

    /// The attribute that a name means, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|attribute| attribute.as_str().eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_gets_what_all_rules_that_fit_say_in_their_order() {
        let rule = |group: Option<&str>, value: &str| ReplyRule {
            group: group.map(str::to_owned),
            attributes: vec![ReplyAttribute { name: "Class".to_owned(), value: value.to_owned() }],
        };
        let reply = vec![rule(Some("admins"), "a"), rule(None, "all"), rule(Some("staff"), "s")];
        let policy = Policy { reply, ..Policy::default() };
        let given = |groups: &[&str]| -> Vec<String> {
            policy.reply_to(|group| groups.contains(&group)).into_iter().map(|attribute| attribute.value).collect()
        };
        assert_eq!(given(&[]), ["all"]);
        assert_eq!(given(&["staff"]), ["all", "s"]);
        assert_eq!(given(&["staff", "admins"]), ["a", "all", "s"]);
    }

    #[test]
    fn what_is_not_stored_has_its_default_and_what_is_unknown_is_refused() {
        assert_eq!(serde_json::from_str::<Policy>("{}").unwrap(), Policy::default());
        let policy = Policy {
            prompt: Some(Methods { code_to_phone: true, typed: false, totp: true }),
            user_verification: UserVerification::Preferred,
            charset: Charset::Windows1252,
            remember: 30,
            ..Policy::default()
        };
        let text = serde_json::to_string(&policy).unwrap();
        assert!(text.contains(r#""charset":"windows-1252""#), "{text}");
        assert_eq!(serde_json::from_str::<Policy>(&text).unwrap(), policy);
        // A policy of a later edition may ask for more than this one can hold.
        assert!(serde_json::from_str::<Policy>(r#"{"surprise":true}"#).is_err());
    }
}
