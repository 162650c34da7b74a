//! Reply attributes as administrators write them: `Name = value`, or `GROUP -> Name = value`.

use countersign_domain::{ReplyAttribute, ReplyRule};
use countersign_radius::{NamedAttribute, NamedError, reply_attributes};

use super::{AdminCode, AdminProblem};

/// Reads the attributes of a resource. Each text is one, in its order.
pub(super) fn rules(texts: &[String]) -> Result<Vec<ReplyRule>, AdminProblem> {
    let mut out: Vec<ReplyRule> = Vec::new();
    let mut all = Vec::new();
    for text in texts {
        let (group, attribute) = rule(text)?;
        let named = ReplyAttribute { name: attribute.name(), value: attribute.value().to_owned() };
        all.push(attribute);
        match out.last_mut() {
            Some(last) if last.group == group => last.attributes.push(named),
            _ => out.push(ReplyRule { group, attributes: vec![named] }),
        }
    }
    // Somebody may be in all of the groups.
    reply_attributes(&all).map_err(|fault| refused(&fault))?;
    Ok(out)
}

/// A text that begins with the name of an attribute has no group.
fn rule(text: &str) -> Result<(Option<String>, NamedAttribute), AdminProblem> {
    let fault = match text.parse::<NamedAttribute>() {
        Ok(attribute) => return Ok((None, attribute)),
        Err(fault) => fault,
    };
    match (&fault, text.split_once("->")) {
        (NamedError::Unknown { .. } | NamedError::NoEquals(_), Some((group, attribute))) => {
            let group = super::resources::group(group)?;
            let attribute = attribute.parse().map_err(|fault: NamedError| refused(&fault))?;
            Ok((Some(group), attribute))
        }
        _ => Err(refused(&fault)),
    }
}

fn refused(fault: &NamedError) -> AdminProblem {
    AdminProblem::new(AdminCode::ReplyRefused, fault.to_string())
}

/// The attributes in the form in which they are read.
pub(super) fn texts(rules: &[ReplyRule]) -> Vec<String> {
    let one = |rule: &ReplyRule, attribute: &ReplyAttribute| match &rule.group {
        Some(group) => format!("{group} -> {} = {}", attribute.name, attribute.value),
        None => format!("{} = {}", attribute.name, attribute.value),
    };
    rules.iter().flat_map(|rule| rule.attributes.iter().map(|attribute| one(rule, attribute))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Result<Vec<ReplyRule>, String> {
        rules(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).map_err(|problem| problem.detail)
    }

    #[test]
    fn what_is_shown_is_what_was_written_and_can_be_written_again() {
        let written = [
            "Session-Timeout = 28800",
            "GG-VPN -> Class = vpn-users",
            "GG-VPN -> Filter-Id = a -> b",
            "CN=VPN Admins,OU=Groups,DC=example,DC=com -> Class = \" x \"",
            "Class -> Tunnel-Type:1 = VLAN",
            "Reply-Message = this -> that",
        ];
        let rules = read(&written).unwrap();
        let groups: Vec<_> = rules.iter().map(|rule| (rule.group.as_deref(), rule.attributes.len())).collect();
        let dn = "CN=VPN Admins,OU=Groups,DC=example,DC=com";
        assert_eq!(groups, [(None, 1), (Some("GG-VPN"), 2), (Some(dn), 1), (Some("Class"), 1), (None, 1)]);
        assert_eq!(texts(&rules), written);
        assert_eq!(
            texts(&read(&["gg-vpn->class=x", "26.9.1=y"]).unwrap()),
            ["gg-vpn -> Class = x", "Cisco-AVPair = y"]
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, said) in [
            ("Fliter-Id = staff", "did you mean Filter-Id?"),
            ("GG-VPN -> Fliter-Id = staff", "did you mean Filter-Id?"),
            ("GG-VPN -> Class", "has no \"=\""),
            ("Session-Timeout = never -> ever", "no number"),
            (" -> Class = x", "no name of a group"),
            ("State = x", "cannot be a reply attribute"),
            ("26.311.16 = 0x00", "MS-MPPE-Send-Key cannot be a reply attribute"),
        ] {
            let fault = read(&[text]).unwrap_err();
            assert!(fault.contains(said), "{text}: {fault}");
        }
        let long = format!("a -> Class = {}", "x".repeat(253));
        assert!(read(&[long.as_str(); 6]).unwrap_err().contains("at most 1500"));
        read(&[long.as_str(); 5]).unwrap();
    }
}
