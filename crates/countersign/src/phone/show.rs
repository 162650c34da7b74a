//! What a person is shown of a sign-in, and how it ended.

use countersign_device_protocol::messages::{ClosingState, ContextDocument, NumberMode, Trust, UserVerification};

use super::accounts::Account;

/// The request, line by line.
pub(super) fn request(account: &Account, context: &ContextDocument, now: jiff::Timestamp) -> Vec<String> {
    let mut lines = vec![
        String::new(),
        format!("Sign-in request for {}", account.name()),
        format!("  who          {}", context.user),
        format!("  application  {} ({})", context.application.name, context.application.kind),
    ];
    let from = context.client.as_ref().map_or_else(
        || "not known".to_owned(),
        |client| match client.trust {
            Trust::Verified => format!("{}, seen by the server", client.address),
            Trust::Reported => format!("{}, as reported to the server", client.address),
            Trust::Unknown => format!("{}, nobody knows how far that is true", client.address),
        },
    );
    lines.push(format!("  from         {from}"));
    if let Some(place) = &context.place {
        lines.push(format!("  place        {place}"));
    }
    lines.push(format!("  when         {}", clock(context.requested_at)));
    lines.push(format!("  expires in   {} s", seconds_until(context.expires_at, now)));
    if let Some(recent) = &context.recent_approval {
        let ago = seconds_until(now, recent.at);
        lines.push(format!("  ! You let in a sign-in to {} {ago} s ago.", recent.application));
        lines.push("  ! Unless you have just begun another one yourself, this is not yours: deny it.".to_owned());
    }
    lines
}

/// What can be answered. Deny comes first where an approval was given a moment ago.
pub(super) fn question(context: &ContextDocument, mode: NumberMode) -> &'static str {
    match (context.recent_approval.is_some(), mode) {
        (true, _) => "  d = deny, r = it wasn't me (deny and report), v = verify: ",
        (false, NumberMode::None) => "  v = verify, d = deny, r = it wasn't me (deny and report): ",
        (false, NumberMode::Typed) => "  v = verify (a number is asked for next), d = deny, r = it wasn't me: ",
        (false, NumberMode::CodeToPhone) => "  v = verify (shows a code to type there), d = deny, r = it wasn't me: ",
    }
}

/// Why this program cannot verify a challenge; `None` when it can.
pub(super) fn beyond_us(wanted: UserVerification) -> Option<&'static str> {
    (wanted == UserVerification::Required)
        .then_some("this sign-in asks for user verification, which a terminal cannot give: it can only be denied here")
}

/// How a sign-in ended.
pub(super) fn ending(state: ClosingState) -> &'static str {
    match state {
        ClosingState::Approved => "Verified: the sign-in goes on.",
        ClosingState::Denied => "Denied: the sign-in was turned away.",
        ClosingState::Expired => "Expired: nobody answered in time.",
        ClosingState::Cancelled => "Cancelled: the side that asked has given up.",
        ClosingState::Superseded => "Superseded: a newer request of the same client took its place.",
        ClosingState::Collision => {
            "Two sign-ins came at once, and neither was let in: at most one of them is yours. If you began only one, \
             start it once more, and answer r (it wasn't me) if it happens again or you began none."
        }
    }
}

fn clock(time: jiff::Timestamp) -> String {
    time.to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%H:%M:%S %Z").to_string()
}

pub(super) fn seconds_until(then: jiff::Timestamp, now: jiff::Timestamp) -> i64 {
    then.duration_since(now).as_secs().max(0)
}

#[cfg(test)]
mod tests {
    use countersign_device_protocol::{
        ids::ApplicationId,
        messages::{ContextApplication, ContextClient, RecentApproval},
    };

    use super::*;
    use crate::phone::accounts::tests::account;

    fn at(second: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(1_769_850_300 + second).unwrap()
    }

    fn context() -> ContextDocument {
        ContextDocument {
            application: ContextApplication {
                id: ApplicationId::new("vpn").unwrap(),
                name: "VPN Zürich".to_owned(),
                kind: "radius".to_owned(),
            },
            user: "EXAMPLE\\ada".to_owned(),
            protocol: "radius".to_owned(),
            client: Some(ContextClient { address: "203.0.113.7".to_owned(), trust: Trust::Reported }),
            place: None,
            requested_at: at(0),
            expires_at: at(60),
            recent_approval: None,
        }
    }

    #[test]
    fn a_request_says_who_where_from_when_and_how_long() {
        let text = request(&account("ada"), &context(), at(3)).join("\n");
        for part in ["ada at Example Ltd", "EXAMPLE\\ada", "VPN Zürich", "203.0.113.7, as reported", "57 s"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(question(&context(), NumberMode::None).trim().starts_with("v = verify"));
        let nobody = ContextDocument { client: None, ..context() };
        assert!(request(&account("ada"), &nobody, at(0)).join("\n").contains("from         not known"));
    }

    #[test]
    fn after_an_approval_deny_comes_first() {
        let recent_approval = Some(RecentApproval { application: "Mail".to_owned(), at: at(-20) });
        let again = ContextDocument { recent_approval, ..context() };
        assert!(request(&account("ada"), &again, at(0)).join("\n").contains("You let in a sign-in to Mail 20 s ago"));
        assert!(question(&again, NumberMode::None).trim().starts_with("d = deny"));
    }
}
