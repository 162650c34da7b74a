//! A login whose first factor other RADIUS servers check.

use countersign_domain::{Credential, Expects, Reason, UserSnapshot};

use super::{Step, View, begin, counters::Counters, refuse, refuse_because, second};
use crate::{Against, live::Live};

/// Nobody is asked about users whom we do not know: their wrong passwords are not counted here, so that whoever types them
/// could lock accounts there (S109). The door lets no reject leave within the time that servers take to say no.
pub(super) fn begin(view: &View<'_>, live: &Live) -> Step {
    let Some(snapshot) = view.snapshot else { return refuse(view, live, Reason::UserUnknown, Vec::new()) };
    match (live.request.resource.policy.credential, &live.request.credential) {
        (Expects::Password, Credential::None) => refuse(view, live, Reason::PasswordWrong, Vec::new()),
        (Expects::Password, Credential::Password(typed)) => begin::first(view, live, typed),
        // It is among the attributes.
        (Expects::Password, Credential::Chap(_)) => begin::counted(view, live, &[]),
        (Expects::Password, Credential::MsChap { .. }) if live.request.resource.policy.ms_chap => {
            begin::counted(view, live, &[])
        }
        (Expects::Password, Credential::MsChap { .. }) => {
            refuse_because(view, live, Reason::PasswordWrong, Some("ms_chap_not_allowed"))
        }
        (Expects::Nothing, Credential::None) => {
            if view.open.iter().any(|open| open.is_retried_by(live)) && snapshot.user.enabled {
                second::ask(view, live, snapshot, Counters::of(snapshot))
            } else {
                begin::check(view, live, Some(snapshot), &[])
            }
        }
        (_, Credential::Eap)
        | (Expects::Nothing, Credential::Password(_) | Credential::Chap(_) | Credential::MsChap { .. }) => {
            refuse_because(view, live, Reason::PasswordWrong, Some("credential_not_expected"))
        }
    }
}

/// Whom to ask, and until when: the last third of the client's time is the phone's.
pub(super) fn against(view: &View<'_>, live: &Live, snapshot: Option<&UserSnapshot>) -> Option<Against> {
    let user = &snapshot?.user;
    let left = live.answer_by().saturating_sub(view.now.monotonic);
    Some(Against::Upstream {
        upstream: live.request.resource.upstream?,
        attributes: live.request.forward.clone()?,
        budget: left.saturating_sub(left.checked_div(3).unwrap_or_default()),
        name: live.request.user_typed.clone(),
        user: user.id,
        origin: user.origin.clone(),
    })
}
