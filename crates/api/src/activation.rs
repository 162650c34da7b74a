//! Activations: how one is handed out, and by which hashes it is found again.

use core::time::Duration;
use std::sync::Arc;

use countersign_desk::Desk;
use countersign_device_protocol::{
    code::{ActivationCode, ActivationLink, ActivationToken},
    keys::Thumbprint,
    origin::Origin,
};
use countersign_domain::{
    Activation, ActivationId, ActivationState, AuditEvent, Commit, EventKind, HostileText, Timestamp, UserId, Write,
};
use countersign_storage::{CommitError, StoreError, Vault};
use zeroize::Zeroizing;

/// Another code is drawn so often when an open activation has the handle already.
const DRAWS: u8 = 8;

/// An activation as the administrator hands it out. Code, token and QR text are secrets; nothing but their hashes is kept.
#[derive(Debug)]
pub struct IssuedActivation {
    /// The typed form, 12 characters; [`ActivationCode::expose_grouped`] is what people are shown.
    pub code: ActivationCode,
    /// The secret of the QR code.
    pub token: ActivationToken,
    /// The address that goes with the code.
    pub url: String,
    /// The text of the QR code.
    pub qr: Zeroizing<String>,
    /// From this time on it is good for nothing.
    pub expires_at: Timestamp,
}

/// Why no activation was handed out.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// There is no such user.
    #[error("there is no such user")]
    UserUnknown,
    /// The lifetime is zero or longer than [`Activation::LIFETIME_MAX`].
    #[error("an activation lives between 1 second and 24 hours")]
    Lifetime,
    /// The database did not answer, or no free handle was found.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Hands out an activation for one device of `user`; an older open one of the same user is burnt. `signing_key` is the
/// thumbprint of the key that signs challenges, `issuer` the administrator as the record names them.
///
/// # Errors
/// [`IssueError`]; then nothing was written.
pub async fn issue_activation(
    desk: &Arc<Desk>,
    vault: &Vault,
    origin: &Origin,
    signing_key: Thumbprint,
    user: UserId,
    lifetime: Duration,
    issuer: &str,
) -> Result<IssuedActivation, IssueError> {
    if lifetime.is_zero() || lifetime > Activation::LIFETIME_MAX {
        return Err(IssueError::Lifetime);
    }
    let Some(whose) = desk.store().user(user).await? else { return Err(IssueError::UserUnknown) };
    let entropy = &**desk.entropy();
    let mut refused = None;
    for _ in 0..DRAWS {
        let now = desk.clock().now();
        let expires_at = now.plus(lifetime);
        let code = ActivationCode::from_bytes(entropy.octets());
        let token = ActivationToken::from_bytes(entropy.octets());
        let id = ActivationId::new(now, entropy);
        let activation = Activation {
            id,
            user,
            handle: code.handle().to_owned(),
            secret_hash: hash_code(vault, &code),
            token_hash: hash_token(vault, &token),
            issuer: issuer.to_owned(),
            issued_at: now,
            expires_at,
            wrong_secrets: 0,
            state: ActivationState::Open,
        };
        let event = AuditEvent {
            user_id: Some(user),
            user_typed: Some(HostileText::from(whose.name.as_str())),
            detail: Some(serde_json::json!({"activation": id, "expires_at": expires_at.to_rfc3339()}).to_string()),
            ..AuditEvent::new(now, EventKind::ActivationIssued, issuer)
        };
        let commit = Commit { writes: vec![Write::AddActivation(Box::new(activation))], audit: vec![event] };
        match desk.write(commit).await {
            Ok(()) => {
                let qr = ActivationLink { origin: origin.clone(), token: token.clone(), key: signing_key }.expose();
                return Ok(IssuedActivation { code, token, url: origin.to_string(), qr, expires_at });
            }
            // The handle is taken: 20 bits are few enough that this happens.
            Err(fault @ CommitError::Conflict(_)) => refused = Some(StoreError::Unavailable(fault.to_string())),
            Err(CommitError::Store(fault)) => return Err(fault.into()),
        }
    }
    Err(refused.map_or(IssueError::UserUnknown, IssueError::Store))
}

/// What is kept of a typed code's secret half.
pub(crate) fn hash_code(vault: &Vault, code: &ActivationCode) -> [u8; 32] {
    vault.keyed_hash("activation code", code.expose_secret().as_bytes())
}

/// What is kept of a token.
pub(crate) fn hash_token(vault: &Vault, token: &ActivationToken) -> [u8; 32] {
    vault.keyed_hash("activation token", token.expose_bytes())
}
