//! The seam in the audit where a database was put back from a copy: the record that says so, signed, so that it can be told
//! from one by which somebody who has the database alone would explain a cut.

use aws_lc_rs::rand::SystemRandom;
use countersign_device_protocol::keys::{KeyError, PublicKey, Signature, SigningKey};
use countersign_domain::{AuditHash, AuditRecord, EventKind, Timestamp};
use serde::{Deserialize, Serialize};

/// First line of what is signed.
const LABEL: &str = "countersign-audit-restore-v1";

/// What a record of a restore says beside that it took place; the first members of its `detail`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeamMark {
    /// What was signed as a checkpoint up to this time may be of the database that is gone. It is the time of the restore,
    /// unless something was found that is later: then a clock stood ahead.
    pub until: String,
    /// Over label, deployment, number and hash of the last record that was kept, time of the restore and `until`, each with a
    /// line end; base64url of `r ‖ s`.
    pub signature: String,
}

impl SeamMark {
    /// The mark for the record that comes behind `kept`.
    ///
    /// # Errors
    /// [`KeyError`] when the cryptographic library does not sign.
    pub fn make(
        key: &SigningKey,
        deployment: &str,
        kept: (i64, AuditHash),
        at: Timestamp,
        until: Timestamp,
    ) -> Result<Self, KeyError> {
        let until = until.to_rfc3339();
        let signature = key.sign(&octets(deployment, kept, at, &until), &SystemRandom::new())?.to_string();
        Ok(Self { until, signature })
    }
}

fn octets(deployment: &str, (seq, hash): (i64, AuditHash), at: Timestamp, until: &str) -> Vec<u8> {
    format!("{LABEL}\n{deployment}\n{seq}\n{hash}\n{at}\n{until}\n").into_bytes()
}

/// A seam in a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seam {
    /// Number of the record that says it; those before it were kept.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// [`SeamMark::until`]; `None` when the mark is not signed by this server, and then the seam explains nothing.
    pub until: Option<Timestamp>,
}

impl Seam {
    /// The seam that `record` is, if it is one.
    pub fn of(record: &AuditRecord, key: &PublicKey, deployment: &str) -> Option<Self> {
        if record.event != EventKind::ServerRestored.as_str() {
            return None;
        }
        let at = Timestamp::from_micros(record.time);
        let mark = record.detail.as_deref().and_then(|detail| serde_json::from_str::<SeamMark>(detail).ok());
        let until = mark.and_then(|mark| {
            let signature = Signature::parse(&mark.signature).ok()?;
            let kept = (record.seq.saturating_sub(1), record.prev);
            key.verify(&octets(deployment, kept, at, &mark.until), &signature).ok()?;
            Timestamp::from_rfc3339(&mark.until)
        });
        Some(Self { seq: record.seq, at, until })
    }

    /// Whether a record with this number, that somebody saw at this time, went with the database before.
    pub fn took(&self, seq: i64, seen: Timestamp) -> bool {
        seq >= self.seq && self.until.is_some_and(|until| seen <= until)
    }
}

#[cfg(test)]
mod tests {
    use countersign_domain::AuditEvent;

    use super::*;

    fn record(detail: Option<String>, seq: i64, prev: AuditHash) -> AuditRecord {
        let event =
            AuditEvent { detail, ..AuditEvent::new(Timestamp::from_seconds(1000), EventKind::ServerRestored, "uid:0") };
        AuditRecord::chain(event, seq, prev)
    }

    #[test]
    fn s95_s102_a_seam_holds_where_it_was_signed_and_nowhere_else() {
        let (key, _) = SigningKey::generate(&SystemRandom::new()).unwrap();
        let (other, _) = SigningKey::generate(&SystemRandom::new()).unwrap();
        let (at, until, prev) = (Timestamp::from_seconds(1000), Timestamp::from_seconds(1010), AuditHash([7; 32]));
        let mark = SeamMark::make(&key, "d", (4, prev), at, until).unwrap();
        let detail = Some(serde_json::to_string(&mark).unwrap());
        let seam = |detail: &Option<String>, seq, prev, key: &SigningKey, deployment| {
            Seam::of(&record(detail.clone(), seq, prev), key.public(), deployment).unwrap()
        };
        let good = seam(&detail, 5, prev, &key, "d");
        assert_eq!(good, Seam { seq: 5, at, until: Some(until) });
        assert!(good.took(5, at) && good.took(90, until));
        assert!(!good.took(4, at), "what was kept must still fit");
        assert!(!good.took(5, Timestamp::from_seconds(1011)), "what was seen afterwards must be there");
        let later = SeamMark { until: "2100-01-01T00:00:00Z".to_owned(), ..mark };
        for bad in [
            seam(&detail, 6, prev, &key, "d"),
            seam(&detail, 5, AuditHash([8; 32]), &key, "d"),
            seam(&detail, 5, prev, &other, "d"),
            seam(&detail, 5, prev, &key, "e"),
            seam(&Some(serde_json::to_string(&later).unwrap()), 5, prev, &key, "d"),
            seam(&Some("{}".to_owned()), 5, prev, &key, "d"),
            seam(&None, 5, prev, &key, "d"),
        ] {
            assert_eq!(bad.until, None);
            assert!(!bad.took(90, at));
        }
        let started = AuditEvent::new(at, EventKind::ServerStarted, "server");
        assert_eq!(Seam::of(&AuditRecord::chain(started, 5, prev), key.public(), "d"), None);
    }
}
