//! A push without a challenge, for somebody who wants to know whether pushes work.

use core::time::Duration;

use countersign_desk::Desk;
use countersign_domain::{ChallengeId, DeviceId};
use countersign_storage::{CommitError, StoreError};

use crate::{
    hosts::EndpointError,
    sender::{Outcome, PushSender, Trouble},
};

/// How long a push service keeps it for a phone that is off.
const LIFE: Duration = Duration::from_secs(60);

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestPush {
    /// Whether the push service took it.
    pub taken: bool,
    /// What came back and what to do about it, in plain words.
    pub words: String,
}

/// Sends a push that names no challenge there is, so that the app shows a notification without a request behind it.
/// A subscription that has ended is removed, as after any push.
///
/// # Errors
/// [`StoreError`] when the device cannot be looked up.
pub async fn test_push(desk: &Desk, sender: &PushSender, device: DeviceId) -> Result<TestPush, StoreError> {
    let not_sent = |words: &str| TestPush { taken: false, words: words.to_owned() };
    let Some(device) = desk.store().device(device).await? else {
        return Ok(not_sent("there is no such device"));
    };
    let Some(push) = &device.push else {
        return Ok(not_sent(
            "the device has no push subscription: open the app on it and allow notifications; until then it is asked only while the app is open",
        ));
    };
    let challenge = ChallengeId::new(sender.entropy());
    let outcome = sender.send(push, device.user, challenge, sender.now().plus(LIFE)).await;
    let host = sender.check(&push.endpoint).map(|endpoint| endpoint.host().to_owned()).unwrap_or_default();
    let taken = matches!(outcome, Outcome::Delivered(_));
    let words = match outcome {
        Outcome::Delivered(answer) => {
            format!("{host} took the push ({answer}); the phone shows a notification when it is on and online")
        }
        Outcome::Gone(answer) => match desk.drop_push(device.id, &push.endpoint).await {
            Ok(_) => format!(
                "{host} says that the subscription has ended ({answer}); it was removed. Open the app on the phone, which makes a new one"
            ),
            Err(CommitError::Store(fault)) => return Err(fault),
            Err(fault @ CommitError::Conflict(_)) => {
                format!("{host} says that the subscription has ended ({answer}), and it could not be removed: {fault}")
            }
        },
        Outcome::Retry { trouble: Trouble::Busy(answer), after } => {
            let patience = after.map_or_else(String::new, |after| format!(" for {} s", after.as_secs()));
            format!("{host} is busy or ill ({answer}) and wants to be left alone{patience}; try again later")
        }
        Outcome::Retry { trouble: Trouble::Unreachable(why), .. } => format!(
            "{host} cannot be reached ({why}): this server needs HTTPS to it, through [push] proxy where there is one"
        ),
        Outcome::Misconfigured(answer) => format!(
            "{host} does not accept this server ({answer}): look at [push] contact, which is {}, and at this server's clock; if both are right, the VAPID key is another than when the app subscribed: open the app on the phone",
            sender.contact()
        ),
        Outcome::Refused(answer) if (300..400).contains(&answer.status) => {
            format!("{host} sends us elsewhere ({answer}), and redirections are not followed")
        }
        Outcome::Refused(answer) => format!("{host} does not take the push ({answer})"),
        Outcome::NotAllowed(fault @ EndpointError::NotPublic(_)) => format!(
            "not sent: {fault}; if it is your own push service, name it in [push] hosts and set allow_private = true"
        ),
        Outcome::NotAllowed(fault) => format!("not sent: {fault}"),
        Outcome::Unusable(fault) => format!("not sent: {fault}; open the app on the phone, which subscribes anew"),
        Outcome::Late => "not sent: this server's clock jumped meanwhile; try again".to_owned(),
    };
    Ok(TestPush { taken, words })
}
