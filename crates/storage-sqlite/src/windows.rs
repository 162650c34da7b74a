//! Sign-in windows.

use countersign_domain::{
    ClosingState, DeviceId, ResourceId, SignInWindow, UserId, UserVerificationReached, WindowClosing, WindowId,
    WindowState,
};
use countersign_storage::StoreError;
use sqlx::SqliteConnection;

use crate::error::inconsistent;
use crate::rare::{changed, id, run};
use crate::rows::Fields;

pub(crate) const TABLE: &str = "sign_in_windows";
const OPEN: &str = "open";

macro_rules! window_columns {
    () => {
        "device, id, user, resource, application, user_verification, device_time, opened_at, expires_at, state, closed_at"
    };
}
pub(crate) use window_columns;

pub(crate) async fn open(conn: &mut SqliteConnection, window: &SignInWindow) -> Result<u64, StoreError> {
    if window.state != WindowState::Open {
        return Ok(0);
    }
    Ok(changed!(
        conn,
        concat!(
            "INSERT INTO sign_in_windows (",
            window_columns!(),
            ") SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, NULL WHERE EXISTS (SELECT 1 FROM devices d \
             CROSS JOIN users u ON u.id = d.user AND u.enabled = 1 WHERE d.id = ?1 AND d.user = ?3 \
             AND d.state = 'active') ON CONFLICT DO NOTHING"
        ),
        id!(window.device),
        window.id.as_str(),
        id!(window.user),
        id!(window.resource),
        window.application.as_str(),
        window.user_verification.as_str(),
        window.device_time.as_str(),
        window.opened_at.as_micros(),
        window.expires_at.as_micros(),
        OPEN,
    ))
}

pub(crate) async fn close(
    conn: &mut SqliteConnection,
    device: DeviceId,
    window: &WindowId,
    closing: WindowClosing,
) -> Result<u64, StoreError> {
    Ok(changed!(
        conn,
        "UPDATE sign_in_windows SET state = ?3, closed_at = ?4 WHERE device = ?1 AND id = ?2 AND state = ?5 \
         AND (?3 <> ?6 OR EXISTS (SELECT 1 FROM devices d CROSS JOIN users u ON u.id = d.user AND u.enabled = 1 \
         WHERE d.id = ?1 AND d.state = 'active'))",
        id!(device),
        window.as_str(),
        closing.state.as_str(),
        closing.at.as_micros(),
        OPEN,
        ClosingState::Approved.as_str(),
    ))
}

pub(crate) fn read(fields: &mut Fields<'_>) -> Result<SignInWindow, StoreError> {
    let device = DeviceId::from_uuid(fields.uuid()?);
    let id = WindowId::new(fields.next::<String>()?).map_err(|_| inconsistent(TABLE, "not an identifier"))?;
    let user = UserId::from_uuid(fields.uuid()?);
    let resource = ResourceId::from_uuid(fields.uuid()?);
    let application = fields.next()?;
    let user_verification = fields.word(UserVerificationReached::from_text)?;
    let device_time = fields.next()?;
    let (opened_at, expires_at) = (fields.time()?, fields.time()?);
    let closed = fields.word(|word| if word == OPEN { Some(None) } else { ClosingState::from_text(word).map(Some) })?;
    let state = match closed {
        None => WindowState::Open,
        Some(state) => WindowState::Closed(WindowClosing { state, at: fields.time()? }),
    };
    Ok(SignInWindow {
        device,
        id,
        user,
        resource,
        application,
        user_verification,
        device_time,
        opened_at,
        expires_at,
        state,
    })
}
