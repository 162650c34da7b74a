//! What runs out unless somebody looks after it: the certificate, and the disk.

use core::time::Duration;
use std::path::Path;

use countersign_api::admin::status::Finding;
use countersign_domain::Timestamp;

use crate::space;

/// So long before its end a certificate should have been replaced,
const SOON: Duration = Duration::from_secs(21 * 86_400);
/// and so long before it, it must be.
const AT_ONCE: Duration = Duration::from_secs(7 * 86_400);
/// Octets on the disk of the database below which somebody should look,
const LITTLE: u64 = 1_000_000_000;
/// and below which it is nearly over.
const HARDLY: u64 = 200_000_000;

/// To whom the app's certificate is shown.
pub(crate) const PHONES: (&str, &str) = ("phones do not connect", "no phone connects");

/// A certificate that is shown to others, and what happens when it ends: said of now and of then.
pub(crate) fn certificate(
    about: &str,
    (happens, would_happen): (&str, &str),
    ends: Timestamp,
    now: Timestamp,
) -> Finding {
    const WHAT: &str = "renew it; the server takes the new files without a restart";
    let left = ends.since(now);
    if ends <= now {
        return Finding::wrong(about, format!("the certificate ended at {ends}: {happens} any more. {WHAT}"));
    }
    let days = left.as_secs() / Timestamp::DAY.as_secs();
    let in_days = match days {
        0 => "in less than a day".to_owned(),
        1 => "in 1 day".to_owned(),
        more => format!("in {more} days"),
    };
    let text = format!("the certificate ends {in_days}, at {ends}");
    if left < AT_ONCE {
        Finding::wrong(about, format!("{text}, and then {would_happen}: {WHAT}"))
    } else if left < SOON {
        Finding::note(about, format!("{text}: {WHAT}"))
    } else {
        Finding::ok(about, text)
    }
}

/// Room for what is written with every login.
pub(crate) fn disk(database: &Path) -> Option<Finding> {
    let folder = database.parent()?;
    let (free, _) = space::free(folder)?;
    Some(left(folder, free))
}

fn left(folder: &Path, free: u64) -> Finding {
    let text = format!("{} are left where {} is", space::size(free), folder.display());
    if free < HARDLY {
        Finding::wrong(
            "disk",
            format!("{text}: when it is full, nobody is let in, since nothing can be recorded. Make room"),
        )
    } else if free < LITTLE {
        Finding::note("disk", format!("{text}: make room before it is full, for then nobody is let in"))
    } else {
        Finding::ok("disk", text)
    }
}

#[cfg(test)]
mod tests {
    use countersign_api::admin::status::Level;

    use super::*;

    #[test]
    fn a_certificate_is_told_of_three_weeks_before_its_end_and_is_wrong_in_the_last() {
        let now = Timestamp::from_seconds(1_800_000_000);
        let days = |days: u32| now.plus(days * Timestamp::DAY);
        for (ends, level, words) in [
            (days(90), Level::Ok, "in 90 days"),
            (days(21), Level::Ok, "in 21 days"),
            (days(20), Level::Note, "in 20 days"),
            (days(7), Level::Note, "in 7 days"),
            (days(6), Level::Wrong, "in 6 days"),
            (now.plus(Duration::from_secs(60)), Level::Wrong, "less than a day"),
            (now, Level::Wrong, "do not connect"),
            (now.minus(Duration::from_secs(86_400)), Level::Wrong, "do not connect"),
        ] {
            let found = certificate("tls", PHONES, ends, now);
            assert_eq!(found.level, level, "{}", found.text);
            assert!(found.text.contains(words), "{}", found.text);
        }
    }

    #[test]
    fn a_disk_is_told_of_before_it_is_full() {
        let level = |free| left(Path::new("/data"), free).level;
        assert_eq!([level(5 << 30), level(900_000_000), level(100_000_000)], [Level::Ok, Level::Note, Level::Wrong]);
        let dir = tempfile::tempdir().unwrap();
        assert!(disk(&dir.path().join("countersign.db")).is_some());
    }
}
