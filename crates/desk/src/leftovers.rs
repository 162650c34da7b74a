//! What a server before this one left open, and cannot answer any more.

use countersign_domain::{
    AuditEvent, Challenge, Closing, ClosingState, Commit, EventKind, LimitScope, LoginResult, Reason, SignInWindow,
    WindowClosing, Write,
};
use countersign_storage::{CommitError, Store};

use crate::Desk;

/// Ends as cancelled what is pending or open.
///
/// # Errors
/// [`CommitError`] when the database does not answer.
pub(crate) async fn close(desk: &Desk) -> Result<(), CommitError> {
    let store = &**desk.store();
    for challenge in store.pending_challenges().await? {
        let commit = of_challenge(desk, &challenge).await?;
        write(store, commit).await?;
    }
    for window in store.open_windows().await? {
        write(store, of_window(desk, window)).await?;
    }
    Ok(())
}

/// Somebody else has closed it where the condition does not hold.
async fn write(store: &dyn Store, commit: Commit) -> Result<(), CommitError> {
    match store.commit(commit).await {
        Ok(()) | Err(CommitError::Conflict(_)) => Ok(()),
        Err(fault @ CommitError::Store(_)) => Err(fault),
    }
}

async fn of_challenge(desk: &Desk, challenge: &Challenge) -> Result<Commit, CommitError> {
    let now = desk.clock().now();
    let closing = Closing { state: ClosingState::Cancelled, at: now, decision: None };
    let mut writes = vec![Write::CloseChallenge { id: challenge.id, closing }];
    let has_windows =
        |id| desk.resources().borrow().seats().iter().any(|seat| seat.resource.id == id && seat.resource.has_windows());
    if has_windows(challenge.resource)
        && let Some(snapshot) = desk.store().snapshot(challenge.user).await?
    {
        let scope = LimitScope::UserAt(challenge.user, challenge.resource);
        let (expected, mut limits) = snapshot.limits(scope);
        limits.note_unapproved(now);
        writes.push(Write::SetLimits { scope, expected, limits });
    }
    let event = AuditEvent {
        login: Some(challenge.login),
        user_id: Some(challenge.user),
        resource: Some(challenge.resource),
        factor: Some("push"),
        result: Some(LoginResult::Unanswered.as_str()),
        ..AuditEvent::new(now, EventKind::LoginEnded, "server")
    };
    Ok(Commit { writes, audit: vec![event.because(Reason::Cancelled)] })
}

fn of_window(desk: &Desk, window: SignInWindow) -> Commit {
    let (at, state) = (desk.clock().now(), ClosingState::Cancelled);
    let event = AuditEvent {
        user_id: Some(window.user),
        resource: Some(window.resource),
        device: Some(window.device),
        factor: Some("window"),
        binding: Some("none"),
        detail: Some(window.id.as_str().to_owned()),
        ..AuditEvent::new(at, EventKind::WindowClosed, "server")
    };
    let closing = WindowClosing { state, at };
    let write = Write::CloseWindow { device: window.device, id: window.id, closing };
    Commit { writes: vec![write], audit: vec![event.because(Reason::Cancelled)] }
}
