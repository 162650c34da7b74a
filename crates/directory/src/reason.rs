//! What a refused bind means.

use crate::{
    config::Kind,
    error::Refusal,
    wire::{Outcome, code},
};

/// The reason that Active Directory hides in the text of a result 49: `…, data 52e, v1db1` (C034).
///
/// The text has other hexadecimal numbers in it, so only a word `data` with a whole number behind it counts.
fn sub_code(text: &[u8]) -> Option<u32> {
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    let mut words = text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty());
    words.find(|word| *word == "data")?;
    let number = words.next()?;
    if number.len() > 8 || !number.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(number, 16).ok()
}

/// What a result of a bind says about the account; `None` when it says nothing about it.
pub(crate) fn of_bind(kind: Kind, outcome: &Outcome) -> Option<Refusal> {
    if kind == Kind::Ldap
        && let Some(refusal) = of_policy(outcome)
    {
        return Some(refusal);
    }
    match outcome.code {
        code::INVALID_CREDENTIALS if kind == Kind::Ad => Some(match sub_code(outcome.text.as_octets()) {
            // The codes of Windows: ERROR_NO_SUCH_USER, ERROR_LOGON_FAILURE and so on.
            Some(0x525) => Refusal::NameUnknown,
            Some(0x52e) | None => Refusal::WrongPassword,
            Some(0x530) => Refusal::Hours,
            Some(0x531 | 0x534) => Refusal::Place,
            Some(0x532) => Refusal::PasswordExpired,
            Some(0x533) => Refusal::Disabled,
            Some(0x701) => Refusal::AccountExpired,
            Some(0x773) => Refusal::MustChange,
            Some(0x775) => Refusal::Locked,
            Some(other) => Refusal::Other(other),
        }),
        code::INVALID_CREDENTIALS => Some(Refusal::WrongPassword),
        // So 389 and FreeIPA say that an account is locked, or switched off.
        code::CONSTRAINT_VIOLATION if kind == Kind::Ldap => Some(Refusal::Locked),
        code::UNWILLING if kind == Kind::Ldap => Some(Refusal::NoPassword),
        code::INAPPROPRIATE_AUTHENTICATION => Some(Refusal::NoPassword),
        _ => None,
    }
}

/// What a password policy says, also beside a success.
fn of_policy(outcome: &Outcome) -> Option<Refusal> {
    match outcome.controls.policy_error() {
        Ok(None) => None,
        Ok(Some(0)) => Some(Refusal::PasswordExpired),
        Ok(Some(1)) => Some(Refusal::Locked),
        Ok(Some(2)) => Some(Refusal::MustChange),
        Ok(Some(other)) => Some(Refusal::Other(u32::from(other))),
        // Not to be taken for a yes.
        Err(_) => Some(Refusal::Other(u32::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use countersign_domain::HostileText;

    use super::*;
    use crate::wire::Controls;

    fn refused(text: &str) -> Option<Refusal> {
        let outcome = Outcome { code: 49, text: HostileText::from(text), controls: Controls::default() };
        of_bind(Kind::Ad, &outcome)
    }

    #[test]
    fn c034_reasons_of_active_directory_are_told_apart() {
        for (data, refusal) in [
            ("525", Refusal::NameUnknown),
            ("52e", Refusal::WrongPassword),
            ("52E", Refusal::WrongPassword),
            ("530", Refusal::Hours),
            ("531", Refusal::Place),
            ("532", Refusal::PasswordExpired),
            ("533", Refusal::Disabled),
            ("701", Refusal::AccountExpired),
            ("773", Refusal::MustChange),
            ("775", Refusal::Locked),
            ("52f", Refusal::Other(0x52f)),
        ] {
            let text =
                format!("80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data {data}, v1db1");
            assert_eq!(refused(&text), Some(refusal), "{text}");
            assert_eq!(refused(&text.to_uppercase()), Some(refusal), "{text}");
            assert_eq!(refusal.is_wrong_password(), refusal == Refusal::WrongPassword);
        }
    }

    #[test]
    fn c034_digits_elsewhere_are_no_reason() {
        for text in [
            "80090308: LdapErr: DSID-0C090532, comment: AcceptSecurityContext error, data 52e, v1db1",
            "80090308: LdapErr: DSID-0C090775, comment: metadata 775",
            "data",
            "data 5321234567, v1",
            "data 53x, 532",
            "",
        ] {
            assert_eq!(refused(text), Some(Refusal::WrongPassword), "{text}");
        }
    }

    #[test]
    fn other_results_say_nothing_about_the_account() {
        for code in [0, 1, 8, 10, 32, 51, 52, 80] {
            let outcome = Outcome { code, text: HostileText::default(), controls: Controls::default() };
            assert_eq!(of_bind(Kind::Ad, &outcome), None);
            assert_eq!(of_bind(Kind::Ldap, &outcome), None);
        }
    }
}
