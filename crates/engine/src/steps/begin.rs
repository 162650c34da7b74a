//! A login begins: its first factor.

use countersign_domain::{
    ChapResponse, Commit, Credential, LimitScope, LoginId, Primary, Reason, Secret, UserOrigin, UserSnapshot, is_code,
    split_appended_code,
};

use super::{
    After, NOTHING, Refusal, Step, View, code, counters::Counters, refuse, refuse_because, refuse_for, second, unasked,
    upstream,
};
use crate::{
    Against, PrimaryOutcome,
    live::{First, Live},
    record,
    windows::Part,
};

pub(super) fn begin(view: &View<'_>, live: &Live) -> Step {
    if live.part == Part::Spoils {
        return refuse(view, live, Reason::Collision, Vec::new());
    }
    let resource = &live.request.resource;
    if view.snapshot.is_some_and(|snapshot| snapshot.user.origin.directory() != resource.directory) {
        // Whoever has the name elsewhere is somebody else.
        return refuse(view, live, Reason::UserUnknown, Vec::new());
    }
    if live.first == First::Proven {
        return password(view, live, PrimaryOutcome::Right);
    }
    match (resource.primary, &live.request.credential) {
        // Rounds of a talk that has not ended prove nothing, and do not come here.
        (_, Credential::Eap) => refuse_because(view, live, Reason::PasswordWrong, Some("credential_not_expected")),
        (Primary::Local | Primary::Directory, Credential::None) => {
            refuse(view, live, Reason::PasswordWrong, Vec::new())
        }
        (Primary::Local | Primary::Directory, Credential::Password(password)) => first(view, live, password),
        (Primary::Local, Credential::Chap(response)) => chap(view, live, response),
        // Nobody here has the password itself, and a directory does not say it.
        (Primary::Directory, Credential::Chap(_))
        | (Primary::Local | Primary::Directory, Credential::MsChap { .. }) => {
            refuse_because(view, live, Reason::PasswordWrong, Some("chap_not_possible"))
        }
        (Primary::Radius, _) => upstream::begin(view, live),
        (Primary::None, credential) => {
            let Some(snapshot) = view.snapshot else { return refuse(view, live, Reason::UserUnknown, Vec::new()) };
            if !snapshot.user.enabled {
                return refuse(view, live, Reason::UserDisabled, Vec::new());
            }
            let typed = match credential {
                Credential::Password(typed) => typed.expose(),
                Credential::None | Credential::Chap(_) | Credential::Eap | Credential::MsChap { .. } => &[],
            };
            if !typed.is_empty()
                && let Some(step) = unasked::instead_of_code(view, live, snapshot, typed)
            {
                return step;
            }
            match credential {
                Credential::None => second::ask(view, live, snapshot, Counters::of(snapshot)),
                Credential::Password(code) if is_code(code.expose()) => {
                    code::code(view, live, snapshot, code.expose(), Counters::of(snapshot))
                }
                // Not a code, so it is not compared with one and does not count as a wrong one.
                Credential::Password(_) | Credential::Chap(_) | Credential::Eap | Credential::MsChap { .. } => {
                    refuse(view, live, Reason::CodeWrong, Vec::new())
                }
            }
        }
    }
}

/// A password that we check ourselves, or have somebody else check.
pub(super) fn first(view: &View<'_>, live: &Live, typed: &Secret) -> Step {
    let (password, _) = split(view.snapshot, typed);
    if is_empty(password) {
        return refuse(view, live, Reason::PasswordWrong, Vec::new());
    }
    counted(view, live, password)
}

/// One whose wrong ones count.
pub(super) fn counted(view: &View<'_>, live: &Live, password: &[u8]) -> Step {
    let Some(snapshot) = view.snapshot else {
        // Nobody has the name, or the user has gone: the same work as for somebody (S107).
        return check(view, live, None, password);
    };
    if view.open.iter().any(|pending| pending.is_retried_by(live)) && snapshot.user.enabled {
        // The credential equals the one that was checked for the pending login.
        return second::ask(view, live, snapshot, Counters::of(snapshot));
    }
    let (_, limits) = snapshot.limits(LimitScope::User(snapshot.user.id));
    let left = limits.password().left(&live.policy, view.now.wall);
    // A directory counts every wrong one, also those that we do not know of yet.
    let under_way = view.checks.under_way(snapshot.user.id);
    if left == 0 || under_way >= left {
        return refuse(view, live, Reason::Limited, Vec::new());
    }
    check(view, live, Some(snapshot), password)
}

/// A CHAP response, which takes no time to check (RFC 2865 section 2.2). Only those answer it whose password is kept.
fn chap(view: &View<'_>, live: &Live, response: &ChapResponse) -> Step {
    let Some(snapshot) = view.snapshot else { return refuse(view, live, Reason::UserUnknown, Vec::new()) };
    if view.open.iter().any(|pending| pending.is_retried_by(live)) && snapshot.user.enabled {
        return second::ask(view, live, snapshot, Counters::of(snapshot));
    }
    let Some(secret) = &snapshot.chap_secret else {
        return refuse_because(view, live, Reason::PasswordWrong, Some("chap_not_enabled"));
    };
    password(view, live, if response.is_of(secret) { PrimaryOutcome::Right } else { PrimaryOutcome::Wrong })
}

pub(super) fn check(view: &View<'_>, live: &Live, snapshot: Option<&UserSnapshot>, password: &[u8]) -> Step {
    let resource = &live.request.resource;
    let against = match (resource.primary, resource.directory) {
        (Primary::Directory, Some(directory)) => Against::Directory {
            directory,
            name: live.request.user_typed.clone(),
            entry: snapshot.and_then(|snapshot| match &snapshot.user.origin {
                UserOrigin::Directory { entry, .. } => Some(entry.clone()),
                UserOrigin::Local => None,
            }),
        },
        (Primary::Directory, None) => return refuse(view, live, Reason::Unavailable, Vec::new()),
        (Primary::Radius, _) => match upstream::against(view, live, snapshot) {
            Some(against) => against,
            None => return refuse_because(view, live, Reason::Unavailable, Some("no_upstream")),
        },
        (Primary::Local | Primary::None, _) => {
            Against::Local { hash: snapshot.and_then(|snapshot| snapshot.user.password.clone()) }
        }
    };
    let password = Secret::new(password.to_vec());
    Step::Free(vec![After::CheckPrimary { login: live.id(), against, password }])
}

/// A password was checked.
pub(super) fn password(view: &View<'_>, live: &Live, outcome: PrimaryOutcome) -> Step {
    match outcome {
        PrimaryOutcome::Unavailable(word) => return refuse_because(view, live, Reason::Unavailable, Some(word)),
        PrimaryOutcome::Looped => return refuse(view, live, Reason::Loop, Vec::new()),
        _ => {}
    }
    let counts = live.request.resource.proves_user();
    let Some(snapshot) = view.snapshot else {
        let reason = if outcome == PrimaryOutcome::Busy { Reason::Limited } else { Reason::UserUnknown };
        return refuse(view, live, reason, Vec::new());
    };
    let mut counters = Counters::of(snapshot);
    let scope = counters.everywhere();
    if counts && !counters.get(scope).password().allows(&live.policy, view.now.wall) {
        // Passwords are checked side by side: of many that were sent at once, those behind the last one that counts tell
        // nothing (S21).
        return refuse(view, live, Reason::Limited, Vec::new());
    }
    match outcome {
        PrimaryOutcome::Busy => refuse(view, live, Reason::Limited, Vec::new()),
        PrimaryOutcome::Wrong => wrong(view, live, counters, None),
        PrimaryOutcome::Rejected if counts => wrong(view, live, counters, Some("primary_rejected")),
        PrimaryOutcome::Rejected => refuse_because(view, live, Reason::NotAllowed, Some("primary_rejected")),
        PrimaryOutcome::SomebodyElse => refuse(view, live, Reason::EapIdentityUnproven, Vec::new()),
        PrimaryOutcome::Looped => refuse(view, live, Reason::Loop, Vec::new()),
        PrimaryOutcome::Refused(word) => refuse_because(view, live, Reason::AccountRefused, Some(word)),
        PrimaryOutcome::Unavailable(word) => refuse_because(view, live, Reason::Unavailable, Some(word)),
        PrimaryOutcome::Right if !snapshot.user.enabled => refuse(view, live, Reason::UserDisabled, Vec::new()),
        PrimaryOutcome::Right => {
            // Of a wrong one that was counted in the meantime nobody knows whether others saw it before or after.
            let newest = counters.get(scope).password().newest();
            let first = live.request.resource.primary == Primary::Local
                || newest.is_none_or(|newest| newest < live.started.wall);
            if counts && first {
                counters.change_if(scope, |limits| limits.password_mut().succeeded());
            }
            let appended = match &live.request.credential {
                Credential::Password(typed) => split(Some(snapshot), typed).1,
                Credential::Chap(_) | Credential::Eap | Credential::MsChap { .. } | Credential::None => None,
            };
            match appended {
                Some(code) => code::code(view, live, snapshot, code, counters),
                None => second::ask(view, live, snapshot, counters),
            }
        }
    }
}

/// Counts a wrong password.
fn wrong(view: &View<'_>, live: &Live, mut counters: Counters<'_>, detail: Option<&'static str>) -> Step {
    let scope = counters.everywhere();
    let pauses = counters.change(scope, |limits| limits.password_mut().failed(&live.policy, view.now.wall));
    let refusal = Refusal { reason: Reason::PasswordWrong, detail };
    let mut step = refuse_for(view, live, refusal, counters.writes());
    if let (true, Step::Commit { commit, .. }) = (pauses, &mut step) {
        commit.audit.push(record::alert(live, view.now.wall, "password_paused"));
    }
    step
}

/// A password was checked whose login has ended. If it was wrong, whoever checked it has counted it all the same.
pub(super) fn late(view: &View<'_>, login: LoginId, outcome: PrimaryOutcome) -> Step {
    let (Some(snapshot), Some((_, policy)), PrimaryOutcome::Wrong | PrimaryOutcome::Rejected) =
        (view.snapshot, view.checks.of(login), outcome)
    else {
        return NOTHING;
    };
    let mut counters = Counters::of(snapshot);
    counters.change(counters.everywhere(), |limits| limits.password_mut().failed(&policy, view.now.wall));
    let commit = Commit { writes: counters.writes(), audit: Vec::new() };
    Step::Commit { commit, after: Vec::new() }
}

/// Password and appended code. Only somebody who has codes can append one; for all others the whole is the password.
fn split<'a>(snapshot: Option<&UserSnapshot>, typed: &'a Secret) -> (&'a [u8], Option<&'a [u8]>) {
    let has_codes = snapshot.is_some_and(|snapshot| snapshot.active_devices().next().is_some());
    match split_appended_code(typed.expose()) {
        Some((password, code)) if has_codes => (password, Some(code)),
        _ => (typed.expose(), None),
    }
}

/// No password, or one that some directory or hash would take for none (S56).
fn is_empty(password: &[u8]) -> bool {
    password.first().is_none_or(|octet| *octet == 0)
}
