//! A login begins: its first factor.

use countersign_domain::{
    Credential, LimitScope, PASSWORD_POLICY, Primary, Reason, Secret, UserSnapshot, Write, is_code, split_appended_code,
};

use super::{After, NOTHING, Step, View, refuse, refuse_and, second};
use crate::{PasswordOutcome, live::Live, record};

pub(super) fn begin(view: &View<'_>, live: &Live) -> Step {
    match (live.request.resource.primary, &live.request.credential) {
        (Primary::Local, Credential::None) => refuse(view, live, Reason::PasswordWrong, Vec::new()),
        (Primary::Local, Credential::Password(password)) => local(view, live, password),
        (Primary::Directory, _) => refuse(view, live, Reason::Unavailable, Vec::new()),
        (Primary::None, credential) => {
            let Some(snapshot) = view.snapshot else { return refuse(view, live, Reason::UserUnknown, Vec::new()) };
            if !snapshot.user.enabled {
                return refuse(view, live, Reason::UserDisabled, Vec::new());
            }
            match credential {
                Credential::None => second::push(view, live, snapshot, Vec::new()),
                Credential::Password(code) if is_code(code.expose()) => {
                    second::code(view, live, snapshot, code.expose(), None)
                }
                // Not a code, so it is not compared with one and does not count as a wrong one.
                Credential::Password(_) => refuse(view, live, Reason::CodeWrong, Vec::new()),
            }
        }
    }
}

/// A password that we check ourselves.
fn local(view: &View<'_>, live: &Live, typed: &Secret) -> Step {
    let (password, _) = split(view.snapshot, typed);
    if is_empty(password) {
        return refuse(view, live, Reason::PasswordWrong, Vec::new());
    }
    let Some(snapshot) = view.snapshot else {
        // Nobody has the name, or the user has gone: the same work as for somebody (S107).
        return verify(live, None, password);
    };
    if view.pending.is_some_and(|pending| pending.is_retried_by(live)) && snapshot.user.enabled {
        // The credential equals the one that was checked for the pending login.
        return second::push(view, live, snapshot, Vec::new());
    }
    let (_, limits) = snapshot.limits(LimitScope::User(snapshot.user.id));
    if !limits.password().allows(&PASSWORD_POLICY, view.now.wall) {
        return refuse(view, live, Reason::Limited, Vec::new());
    }
    verify(live, Some(snapshot), password)
}

fn verify(live: &Live, snapshot: Option<&UserSnapshot>, password: &[u8]) -> Step {
    Step::Free(vec![After::VerifyPassword {
        login: live.id(),
        hash: snapshot.and_then(|snapshot| snapshot.user.password.clone()),
        password: Secret::new(password.to_vec()),
    }])
}

/// A password was checked.
pub(super) fn password(view: &View<'_>, live: &Live, outcome: PasswordOutcome) -> Step {
    let Credential::Password(typed) = &live.request.credential else { return NOTHING };
    let Some(snapshot) = view.snapshot else { return refuse(view, live, Reason::UserUnknown, Vec::new()) };
    let scope = LimitScope::User(snapshot.user.id);
    let (expected, mut limits) = snapshot.limits(scope);
    if !limits.password().allows(&PASSWORD_POLICY, view.now.wall) {
        // Passwords are checked side by side: of many that were sent at once, those behind the last one that counts tell
        // nothing (S21).
        return refuse(view, live, Reason::Limited, Vec::new());
    }
    match outcome {
        PasswordOutcome::Busy => refuse(view, live, Reason::Limited, Vec::new()),
        PasswordOutcome::Wrong => {
            let pauses = limits.password_mut().failed(&PASSWORD_POLICY, view.now.wall);
            let alert = pauses.then(|| record::alert(live, view.now.wall, "password_paused"));
            let writes = vec![Write::SetLimits { scope, expected, limits }];
            refuse_and(view, live, Reason::PasswordWrong, writes, alert.into_iter().collect())
        }
        PasswordOutcome::Right if !snapshot.user.enabled => refuse(view, live, Reason::UserDisabled, Vec::new()),
        PasswordOutcome::Right => {
            let forgiven = limits.password_mut().succeeded().then_some((expected, limits));
            match split(Some(snapshot), typed).1 {
                Some(code) => second::code(view, live, snapshot, code, forgiven),
                None => second::push(view, live, snapshot, forgiven.into_iter().collect()),
            }
        }
    }
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
