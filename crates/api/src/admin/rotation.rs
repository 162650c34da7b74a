//! Changing the shared secret of a client with a time in which the one before is valid as well (S94).

use core::time::Duration;

use countersign_domain::{ClientId, HostileText, PreviousSecret, RadiusClient, Secret, Timestamp};
use serde::{Deserialize, Serialize};

use super::{AdminApi, AdminCode, AdminProblem};

/// Shorter than that nobody can change a secret on the other side.
const SHORTEST: Duration = Duration::from_secs(60);

/// The secret before, as shown: never itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousSecretView {
    /// From then on it proves nothing.
    pub until: String,
    /// Packets that were proven with it, since the change or the server's start.
    pub packets: u64,
    /// The last of them.
    pub last: Option<String>,
    /// Packets that were proven with the new one.
    pub packets_by_new: u64,
    /// The last of them.
    pub last_by_new: Option<String>,
}

/// Which of its two secrets a client uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SecretUse {
    /// So many packets were proven with the secret before,
    pub packets: u64,
    /// the last of them then.
    pub last: Option<Timestamp>,
    /// So many with the new one,
    pub packets_by_new: u64,
    /// the last of them then.
    pub last_by_new: Option<Timestamp>,
}

/// Gives a client another secret. Without an overlap the one before is worth nothing at once.
///
/// # Errors
/// The overlap is too long or too short, or the secret is the same.
pub(super) fn replace(
    client: &mut RadiusClient,
    secret: Secret,
    overlap: Option<Duration>,
    now: Timestamp,
) -> Result<(), AdminProblem> {
    client.previous = match overlap {
        None => None,
        Some(overlap) if !(SHORTEST..=PreviousSecret::LONGEST).contains(&overlap) => {
            return Err(refuse("two secrets can be valid for one minute at least, and for 7 days at most"));
        }
        Some(_) if secret == client.secret => {
            return Err(refuse("the new shared secret is the one that the client has: there is nothing to change"));
        }
        Some(overlap) => Some(PreviousSecret { secret: client.secret.clone(), until: now.plus(overlap) }),
    };
    client.secret = secret;
    Ok(())
}

/// What is said of an overlap that helps the client's logins in nothing: what carries no Message-Authenticator proves neither
/// secret, so its password is read by the new one.
pub(super) fn unproven(client: &RadiusClient) -> Option<String> {
    let helps_nothing = client.previous.is_some() && !client.require_message_authenticator;
    helps_nothing.then(|| {
        "what the client sends without Message-Authenticator is read by the new secret alone: such logins fail until the client \
         has it"
            .to_owned()
    })
}

/// What is said of a change while another one is under way.
pub(super) fn warning(before: &RadiusClient, now: Timestamp) -> Option<String> {
    let previous = before.previous.as_ref().filter(|previous| previous.is_valid(now))?;
    Some(format!(
        "the secret was being changed already, and the one of before that, which was valid until {}, is worth nothing now",
        previous.until.to_rfc3339()
    ))
}

/// An overlap where no secret is given.
pub(super) fn without_secret() -> AdminProblem {
    refuse("an overlap is that of a new secret and the one before: --new-secret makes one, --secret-stdin reads one")
}

fn refuse(detail: &str) -> AdminProblem {
    AdminProblem::new(AdminCode::SecretRefused, HostileText::from(detail).to_string())
}

impl AdminApi {
    /// The secret before, where there is one that is valid.
    pub(super) fn previous_view(&self, client: &RadiusClient) -> Option<PreviousSecretView> {
        let previous = client.previous.as_ref().filter(|previous| previous.is_valid(self.desk.clock().now()))?;
        let used: SecretUse = self.secret_use(client.id);
        Some(PreviousSecretView {
            until: previous.until.to_rfc3339(),
            packets: used.packets,
            last: used.last.map(Timestamp::to_rfc3339),
            packets_by_new: used.packets_by_new,
            last_by_new: used.last_by_new.map(Timestamp::to_rfc3339),
        })
    }

    fn secret_use(&self, client: ClientId) -> SecretUse {
        self.facts.secret_use(client).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use countersign_testkit::{NewResource, Site};

    use super::*;

    #[tokio::test]
    async fn s94_two_secrets_are_valid_for_seven_days_at_most() {
        let now = Timestamp::from_seconds(1_800_000_000);
        let secret = |text: &str| Secret::new(text.as_bytes().to_vec());
        let (_, mut client) = Site::open(1).await.rows(NewResource { secret: "one", ..NewResource::default() });
        for wrong in [Duration::ZERO, Duration::from_secs(59), PreviousSecret::LONGEST + Duration::from_secs(1)] {
            assert_eq!(replace(&mut client, secret("two"), Some(wrong), now).unwrap_err().code, "secret_refused");
        }
        assert!(replace(&mut client, secret("one"), Some(SHORTEST), now).is_err());
        replace(&mut client, secret("two"), Some(PreviousSecret::LONGEST), now).unwrap();
        let previous = client.previous.clone().unwrap();
        assert_eq!((&previous.secret, &client.secret), (&secret("one"), &secret("two")));
        assert!(previous.is_valid(now.plus(PreviousSecret::LONGEST).minus(Duration::from_micros(1))));
        assert!(!previous.is_valid(now.plus(PreviousSecret::LONGEST)));
        assert!(warning(&client, now).is_some() && warning(&client, previous.until).is_none());
        // Without an overlap nothing of it is left.
        replace(&mut client, secret("three"), None, now).unwrap();
        assert_eq!(client.previous, None);
    }
}
