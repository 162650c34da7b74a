//! What `doctor` says of clients whose shared secret is being changed.

use core::time::Duration;

use countersign_api::admin::status::Finding;
use countersign_domain::{RadiusClient, Timestamp};
use countersign_radius_server::SecretsInUse;

/// So long before the end it is time to hurry.
const SOON: Duration = Duration::from_hours(24);

/// Whether the client still uses the secret before, and until when it can.
pub(crate) fn finding(client: &RadiusClient, used: Option<SecretsInUse>, now: Timestamp) -> Option<Finding> {
    let previous = client.previous.as_ref().filter(|previous| previous.is_valid(now))?;
    let used = used?;
    let (name, until) = (&client.name, previous.until.to_rfc3339());
    let about = format!("client {name}");
    let uses_the_new_one = used.new.last > used.previous.last;
    Some(match used.previous.last {
        None if uses_the_new_one => Finding::note(
            &about,
            format!(
                "it uses its new shared secret, and the one before is valid until {until}: `countersign client set {name} \
                 --end-overlap` ends that now"
            ),
        ),
        None => Finding::note(
            &about,
            format!(
                "its shared secret was changed and it has sent nothing since: the one before is valid until {until}"
            ),
        ),
        Some(last) => {
            let mut text = format!(
                "it still uses its shared secret of before, last at {}, which is valid until {until}: set the new one there",
                last.to_rfc3339()
            );
            if uses_the_new_one {
                text.push_str(" on every machine; others use it already");
            }
            if previous.until.since(now) < SOON { Finding::wrong(&about, text) } else { Finding::note(&about, text) }
        }
    })
}

#[cfg(test)]
mod tests {
    use countersign_api::admin::status::Level;
    use countersign_domain::{Clock as _, PreviousSecret, Secret};
    use countersign_radius_server::Proven;
    use countersign_testkit::{NewResource, Site};

    use super::*;

    #[tokio::test]
    async fn s94_doctor_tells_who_still_uses_the_secret_before_and_louder_on_the_last_day() {
        let site = Site::open(1).await;
        let (_, mut client) = site.rows(NewResource::default());
        let now = site.clock.now();
        let at = |seconds| Proven { packets: 1, last: Some(now.plus(Duration::from_secs(seconds))) };
        let none = Proven::default();
        let said = |client: &RadiusClient, new, previous, later| {
            let now = now.plus(Duration::from_hours(later));
            finding(client, Some(SecretsInUse { until: now, new, previous }), now)
        };
        assert_eq!(said(&client, at(1), at(2), 0), None);
        let until = now.plus(PreviousSecret::LONGEST);
        client.previous = Some(PreviousSecret { secret: Secret::new(b"before".to_vec()), until });
        for (new, previous, later, level, words) in [
            (none, none, 0, Level::Note, "nothing since"),
            (at(1), none, 0, Level::Note, "--end-overlap"),
            (none, at(1), 0, Level::Note, "still uses"),
            (at(2), at(1), 0, Level::Note, "every machine"),
            (none, at(1), 6 * 24 + 1, Level::Wrong, "still uses"),
        ] {
            let found = said(&client, new, previous, later).unwrap();
            assert!(found.level == level && found.text.contains(words), "{found:?}");
        }
        assert_eq!(said(&client, none, at(1), 7 * 24), None, "its time is over");
    }
}
