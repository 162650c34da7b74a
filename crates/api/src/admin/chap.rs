//! Passwords that are kept themselves, for users whose clients speak CHAP: set and forgotten, one user at a time.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use countersign_domain::{Commit, EventKind, HostileText, Secret, User, UserOrigin, Write};
use serde::Deserialize;
use serde_json::json;

use super::{
    Actor, AdminApi, AdminCode, AdminProblem,
    json::{Body, Name, ok, secret},
    users::Nothing,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keep {
    #[serde(deserialize_with = "secret")]
    password: Option<Secret>,
}

/// Keeps a user's password itself. It must be the one that is set: a user has one password, whatever the client speaks.
pub(super) async fn keep(
    State(api): State<Arc<AdminApi>>,
    actor: Actor,
    Name(name): Name,
    Body(body): Body<Keep>,
) -> Result<Response, AdminProblem> {
    let refuse = |text: String| Err(AdminProblem::new(AdminCode::PasswordRefused, text));
    let _one = api.changes.lock().await;
    let user = api.user(&name).await?;
    let shown = HostileText::from(user.name.as_str());
    if !matches!(user.origin, UserOrigin::Local) {
        return refuse(format!(
            "{shown} comes from a directory, which does not say passwords: CHAP is for users who were added here"
        ));
    }
    let Some(hash) = user.password.clone() else {
        return refuse(format!("{shown} has no password here, and none can be kept"));
    };
    let Some(password) = body.password.filter(|password| !password.is_empty()) else {
        return refuse(format!("to keep the password of {shown} it must be given"));
    };
    if !api.desk.check_password(Some(hash), password.clone()).await {
        return refuse(format!("that is not the password of {shown}: nothing was changed"));
    }
    set(&api, actor, &name, user, Some(password)).await
}

/// Forgets it.
pub(super) async fn forget(
    State(api): State<Arc<AdminApi>>,
    actor: Actor,
    Name(name): Name,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Response, AdminProblem> {
    let _one = api.changes.lock().await;
    let user = api.user(&name).await?;
    set(&api, actor, &name, user, None).await
}

async fn set(
    api: &AdminApi,
    actor: Actor,
    name: &str,
    user: User,
    password: Option<Secret>,
) -> Result<Response, AdminProblem> {
    let before = api.snapshot(user.id, name).await?.chap_secret;
    if before != password {
        let kept =
            |secret: &Option<Secret>| json!({"chap_password": if secret.is_some() { "(set)" } else { "(none)" }});
        let mut event = api.change(actor, EventKind::UserChanged, Some(&kept(&before)), Some(&kept(&password)));
        event.user_id = Some(user.id);
        event.user_typed = Some(HostileText::from(user.name.as_str()));
        let write = Write::SetChapSecret { user: user.id, secret: password };
        let commit = Commit { writes: vec![write], audit: vec![event] };
        api.desk.write(commit).await.map_err(|fault| AdminProblem::of_commit(fault, |_| AdminProblem::conflict()))?;
    }
    Ok(ok(&api.view_of(name).await?))
}
