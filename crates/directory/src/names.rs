//! What people type to say who they are, and what it is looked up as.

use crate::{
    config::{Kind, Settings},
    error::NameFault,
    filter::Filter,
};

/// Searches for a typed name, one after the other until one finds something.
///
/// - `alice`: the short name.
/// - `EXAMPLE\alice`, `example.test\alice`: the short name, if the domain is one of ours.
/// - `alice@example.test`: exactly this as user principal name, which administrators give out. Only if nobody has it:
///   the short name before the `@`, if the domain is one of ours, and the mail address, if people may type it. Those two
///   are one search, so that whoever gives himself another's name as mail address makes it ambiguous and nothing else.
pub(crate) fn searches(typed: &str, settings: &Settings) -> Result<Vec<Filter>, NameFault> {
    let name = checked(typed)?;
    let ours = |domain: &str| {
        let domain = domain.strip_suffix('.').unwrap_or(domain).to_lowercase();
        settings.domains.contains(&domain)
    };
    let short = |name: &str| Filter::equals(&settings.login, name);
    if let Some((domain, name)) = name.split_once('\\') {
        return match name.trim() {
            "" => Err(NameFault::Empty),
            name if ours(domain.trim()) => Ok(vec![short(name)]),
            _ => Err(NameFault::ForeignDomain),
        };
    }
    let Some((before, domain)) = name.rsplit_once('@') else { return Ok(vec![short(name)]) };
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut rest = Vec::new();
    if ours(domain) && !before.trim().is_empty() {
        rest.push(short(before.trim()));
    }
    if settings.kind == Kind::Ldap {
        // Some have whole addresses there.
        rest.push(short(name));
    }
    if settings.mail_login {
        rest.push(Filter::equals(&settings.mail, name));
    }
    let mut searches = Vec::new();
    if let Some(principal) = &settings.principal {
        searches.push(Filter::equals(principal, name));
    }
    match rest.len() {
        0 => {}
        1 => searches.extend(rest),
        _ => searches.push(Filter::Or(rest)),
    }
    if searches.is_empty() { Err(NameFault::ForeignDomain) } else { Ok(searches) }
}

/// The name without the spaces around it, if it can be one at all.
fn checked(typed: &str) -> Result<&str, NameFault> {
    let name = typed.trim_matches(' ');
    if name.is_empty() {
        return Err(NameFault::Empty);
    }
    match countersign_domain::LoginName::new(name) {
        Ok(_) => Ok(name),
        Err(countersign_domain::NameError::TooLong) => Err(NameFault::TooLong),
        Err(countersign_domain::NameError::Empty) => Err(NameFault::Empty),
        Err(countersign_domain::NameError::Invisible) => Err(NameFault::Invisible),
    }
}

#[cfg(test)]
mod tests {
    use countersign_domain::Secret;

    use super::*;
    use crate::config::DirectoryConfig;

    fn settings(kind: Kind, mail_login: bool) -> Settings {
        let mut config: DirectoryConfig = toml::from_str(
            r#"
            servers = ["ldaps://dc1.example.test"]
            kind = "ad"
            base_dn = "DC=example,DC=test"
            bind_name = "cn=svc"
            netbios_domains = ["EXAMPLE"]
            "#,
        )
        .unwrap();
        config.kind = kind;
        config.mail_login = mail_login;
        config.bind_password = Secret::new(b"x".to_vec());
        config.settings().unwrap()
    }

    fn found(typed: &str, kind: Kind, mail_login: bool) -> Result<Vec<String>, NameFault> {
        searches(typed, &settings(kind, mail_login)).map(|all| all.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn s63_spellings_become_searches() {
        let short = Ok(vec!["(sAMAccountName=alice)".to_owned()]);
        for typed in
            ["alice", " alice ", "EXAMPLE\\alice", "example\\alice", "Example.Test\\alice", "example.test.\\ alice"]
        {
            assert_eq!(found(typed, Kind::Ad, false), short, "{typed}");
        }
        assert_eq!(
            found("alice@EXAMPLE.test.", Kind::Ad, false),
            Ok(vec!["(userPrincipalName=alice@EXAMPLE.test)".to_owned(), "(sAMAccountName=alice)".to_owned()])
        );
        assert_eq!(found("a@other.test", Kind::Ad, false), Ok(vec!["(userPrincipalName=a@other.test)".to_owned()]));
        assert_eq!(
            found("alice@example.test", Kind::Ad, true),
            Ok(vec![
                "(userPrincipalName=alice@example.test)".to_owned(),
                "(|(sAMAccountName=alice)(mail=alice@example.test))".to_owned()
            ])
        );
        assert_eq!(found("alice", Kind::Ldap, true), Ok(vec!["(uid=alice)".to_owned()]));
        assert_eq!(found("a@other.test", Kind::Ldap, false), Ok(vec!["(uid=a@other.test)".to_owned()]));
    }

    #[test]
    fn c033_what_is_typed_stays_a_value() {
        assert_eq!(found("*", Kind::Ad, true), Ok(vec!["(sAMAccountName=\\2a)".to_owned()]));
        assert_eq!(found("x)(|(uid=*", Kind::Ldap, true), Ok(vec!["(uid=x\\29\\28|\\28uid=\\2a)".to_owned()]));
    }

    #[test]
    fn names_that_are_nobodys_are_refused_before_anybody_is_asked() {
        for (typed, fault) in [
            ("", NameFault::Empty),
            ("   ", NameFault::Empty),
            ("EXAMPLE\\", NameFault::Empty),
            ("EXAMPLE\\  ", NameFault::Empty),
            ("OTHER\\alice", NameFault::ForeignDomain),
            ("\\alice", NameFault::ForeignDomain),
            ("al\0ice", NameFault::Invisible),
            ("alice\n", NameFault::Invisible),
            ("al\u{200b}ice", NameFault::Invisible),
        ] {
            assert_eq!(found(typed, Kind::Ad, true), Err(fault), "{typed:?}");
        }
        assert_eq!(found(&"x".repeat(254), Kind::Ad, true), Err(NameFault::TooLong));
    }
}
