//! What happened, who did it and why, in a chain that shows where it was changed.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::{ClientId, DeviceId, HostileText, LoginId, Reason, ResourceId, Timestamp, UserId};

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// What happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum EventKind {
            $($(#[$doc])* $name,)*
        }

        impl EventKind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The word for storage and output.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// The kind that a stored word means.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|kind| kind.as_str() == word)
            }
        }
    };
}

kinds! {
    /// A login waits for a device, or for an answer at its prompt.
    LoginChallenged = "login.challenged",
    /// What was typed at the prompt of a login was wrong, and the login goes on; `reason` says how.
    LoginAskedAgain = "login.asked_again",
    /// A login ended: `result` and `reason` say how.
    LoginEnded = "login.ended",
    /// A device said Verify and got the code that is to be typed at the prompt.
    ChallengeCodeShown = "challenge.code_shown",
    /// A device said Verify with the right number; the login goes on when its prompt is answered.
    ChallengeApproved = "challenge.approved",
    /// A challenge was reported after its end.
    ChallengeReported = "challenge.reported",
    /// A user opened a sign-in window; `detail` holds its identifier, here and below.
    WindowOpened = "window.opened",
    /// A sign-in window was not opened: `reason` says why.
    WindowRefused = "window.refused",
    /// A sign-in window is over: `reason` says how.
    WindowClosed = "window.closed",
    /// Something that an administrator should look at; `reason` says what.
    Alert = "alert",
    /// A user was added.
    UserAdded = "user.added",
    /// A user has another name in the directory, or was changed by an administrator.
    UserChanged = "user.changed",
    /// A user was enabled.
    UserEnabled = "user.enabled",
    /// A user was disabled.
    UserDisabled = "user.disabled",
    /// A user was removed.
    UserRemoved = "user.removed",
    /// Pauses and freezes of a user were lifted; `detail` holds the administrator's reason.
    UserUnlocked = "user.unlocked",
    /// A user was given leave to log on once without a second factor.
    BypassIssued = "bypass.issued",
    /// That leave was taken back before it was used.
    BypassCancelled = "bypass.cancelled",
    /// An activation was handed out.
    ActivationIssued = "activation.issued",
    /// A device was activated.
    ActivationRedeemed = "activation.redeemed",
    /// A wrong or used secret was shown.
    ActivationRefused = "activation.refused",
    /// A device was suspended.
    DeviceSuspended = "device.suspended",
    /// A device was resumed.
    DeviceResumed = "device.resumed",
    /// A device has an authenticator that verifies its user.
    PasskeyAdded = "device.passkey_added",
    /// A device has none any more.
    PasskeyRemoved = "device.passkey_removed",
    /// A device was removed.
    DeviceRemoved = "device.removed",
    /// A resource was added.
    ResourceAdded = "resource.added",
    /// A resource was changed.
    ResourceChanged = "resource.changed",
    /// A resource was removed.
    ResourceRemoved = "resource.removed",
    /// A RADIUS client was added.
    ClientAdded = "client.added",
    /// A RADIUS client was changed.
    ClientChanged = "client.changed",
    /// A RADIUS client was removed.
    ClientRemoved = "client.removed",
    /// A directory was added.
    DirectoryAdded = "directory.added",
    /// A directory was changed.
    DirectoryChanged = "directory.changed",
    /// A directory was removed.
    DirectoryRemoved = "directory.removed",
    /// A synchronisation wrote something, or was held; `detail` says what came of it.
    DirectorySynced = "directory.synced",
    /// An upstream was added.
    UpstreamAdded = "upstream.added",
    /// An upstream was changed.
    UpstreamChanged = "upstream.changed",
    /// An upstream was removed.
    UpstreamRemoved = "upstream.removed",
    /// The server started.
    ServerStarted = "server.started",
    /// The server stopped in order.
    ServerStopped = "server.stopped",
    /// The database was put back from a copy: what was recorded after that copy, until now, is gone.
    ServerRestored = "server.restored",
    /// Everything that is encrypted in the database was encrypted anew, under another key.
    KeyRotated = "key.rotated",
    /// A copy of the database was made.
    BackupMade = "backup.made",
}

impl EventKind {
    /// What happened to the database as a whole; few, and found without reading the others.
    pub const MILESTONES: [Self; 2] = [Self::BackupMade, Self::ServerRestored];
}

/// One thing that happened, before it has its place in the chain.
#[derive(Debug, Clone)]
pub struct AuditEvent {
    /// When.
    pub time: Timestamp,
    /// What.
    pub kind: EventKind,
    /// The login.
    pub login: Option<LoginId>,
    /// The user, once known.
    pub user_id: Option<UserId>,
    /// The user name as it was typed.
    pub user_typed: Option<HostileText>,
    /// Who did it: `device`, `directory`, `sync`, `server`, or the administrator.
    pub actor: String,
    /// The resource.
    pub resource: Option<ResourceId>,
    /// The client.
    pub client: Option<ClientId>,
    /// By which door.
    pub door: Option<&'static str>,
    /// Where the person sits, as reported.
    pub source: Option<HostileText>,
    /// `verified`, `reported` or `unknown`.
    pub source_trust: Option<&'static str>,
    /// `push`, `totp`, `window`.
    pub factor: Option<&'static str>,
    /// The device.
    pub device: Option<DeviceId>,
    /// `none`, `typed`, `code_to_phone`.
    pub number_mode: Option<&'static str>,
    /// `accept`, `reject`, `unanswered`.
    pub result: Option<&'static str>,
    /// A [`Reason`] of a login, or the word of an alert.
    pub reason: Option<&'static str>,
    /// What ties the approval to the session: `none` where nothing does.
    pub binding: Option<&'static str>,
    /// Before and after of a change, JSON, secrets left out; or what a directory said of an account, one word.
    pub detail: Option<String>,
}

impl AuditEvent {
    /// An event with nothing but its time, kind and actor.
    pub fn new(time: Timestamp, kind: EventKind, actor: impl Into<String>) -> Self {
        Self {
            time,
            kind,
            login: None,
            user_id: None,
            user_typed: None,
            actor: actor.into(),
            resource: None,
            client: None,
            door: None,
            source: None,
            source_trust: None,
            factor: None,
            device: None,
            number_mode: None,
            result: None,
            reason: None,
            binding: None,
            detail: None,
        }
    }

    /// An alert: `word` says of what.
    pub fn alert(time: Timestamp, word: &'static str) -> Self {
        Self { reason: Some(word), ..Self::new(time, EventKind::Alert, "server") }
    }

    /// With the reason of a login.
    #[must_use]
    pub fn because(mut self, reason: Reason) -> Self {
        self.reason = Some(reason.as_str());
        self
    }
}

/// SHA-256 over a record and, through its `prev`, over all before it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AuditHash(pub [u8; 32]);

impl AuditHash {
    /// What the first record names as its predecessor.
    pub const START: Self = Self([0; 32]);
}

impl fmt::Display for AuditHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for AuditHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A record in its place: what is stored, field by field as stored, so that a change of any of them shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// 1, 2, 3, … without a gap.
    pub seq: i64,
    /// Microseconds since the epoch.
    pub time: i64,
    /// The word of an [`EventKind`].
    pub event: String,
    /// The login.
    pub login: Option<String>,
    /// The user.
    pub user_id: Option<String>,
    /// The user name as typed, octets.
    pub user_typed: Option<Vec<u8>>,
    /// Who did it.
    pub actor: String,
    /// The resource.
    pub resource: Option<String>,
    /// The client.
    pub client: Option<String>,
    /// The door.
    pub door: Option<String>,
    /// The source, octets.
    pub source: Option<Vec<u8>>,
    /// How far it is known.
    pub source_trust: Option<String>,
    /// The factor.
    pub factor: Option<String>,
    /// The device.
    pub device: Option<String>,
    /// The number mode.
    pub number_mode: Option<String>,
    /// The result.
    pub result: Option<String>,
    /// The reason.
    pub reason: Option<String>,
    /// The binding.
    pub binding: Option<String>,
    /// Before and after, or a reason in words.
    pub detail: Option<String>,
    /// Hash of the record before.
    pub prev: AuditHash,
    /// Hash of this record.
    pub hash: AuditHash,
}

impl AuditRecord {
    /// Gives `event` its place behind the record `prev` with number `seq - 1`.
    pub fn chain(event: AuditEvent, seq: i64, prev: AuditHash) -> Self {
        let text = |word: Option<&'static str>| word.map(str::to_owned);
        let mut record = Self {
            seq,
            time: event.time.as_micros(),
            event: event.kind.as_str().to_owned(),
            login: event.login.map(|id| id.to_string()),
            user_id: event.user_id.map(|id| id.to_string()),
            user_typed: event.user_typed.map(|typed| typed.as_octets().to_vec()),
            actor: event.actor,
            resource: event.resource.map(|id| id.to_string()),
            client: event.client.map(|id| id.to_string()),
            door: text(event.door),
            source: event.source.map(|source| source.as_octets().to_vec()),
            source_trust: text(event.source_trust),
            factor: text(event.factor),
            device: event.device.map(|id| id.to_string()),
            number_mode: text(event.number_mode),
            result: text(event.result),
            reason: text(event.reason),
            binding: text(event.binding),
            detail: event.detail,
            prev,
            hash: AuditHash::START,
        };
        record.hash = record.compute_hash();
        record
    }

    /// The hash that this record should have: SHA-256 over the label `countersign-audit-v1`, then every field but
    /// `hash` in the order of this struct: one octet 0 for an absent one, or 1, the length as four octets big-endian,
    /// and the octets (numbers as eight octets big-endian, texts UTF-8).
    pub fn compute_hash(&self) -> AuditHash {
        let mut hasher = Sha256::new();
        hasher.update(b"countersign-audit-v1");
        let mut field = |octets: Option<&[u8]>| match octets {
            None => hasher.update([0]),
            Some(octets) => {
                hasher.update([1]);
                hasher.update(u32::try_from(octets.len()).unwrap_or(u32::MAX).to_be_bytes());
                hasher.update(octets);
            }
        };
        field(Some(&self.seq.to_be_bytes()));
        field(Some(&self.time.to_be_bytes()));
        field(Some(self.event.as_bytes()));
        field(octets(self.login.as_deref()));
        field(octets(self.user_id.as_deref()));
        field(self.user_typed.as_deref());
        field(Some(self.actor.as_bytes()));
        field(octets(self.resource.as_deref()));
        field(octets(self.client.as_deref()));
        field(octets(self.door.as_deref()));
        field(self.source.as_deref());
        for more in [
            &self.source_trust,
            &self.factor,
            &self.device,
            &self.number_mode,
            &self.result,
            &self.reason,
            &self.binding,
            &self.detail,
        ] {
            field(octets(more.as_deref()));
        }
        field(Some(&self.prev.0));
        AuditHash(hasher.finalize().into())
    }
}

fn octets(text: Option<&str>) -> Option<&[u8]> {
    text.map(str::as_bytes)
}

/// Where a chain is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("audit record {seq}: {fault}")]
pub struct ChainBreak {
    /// The number at which it shows.
    pub seq: i64,
    /// What shows.
    pub fault: ChainFault,
}

/// What is wrong with a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    /// The hash is not that of the fields.
    #[error("the record was changed")]
    Changed,
    /// The number does not follow the one before.
    #[error("one or more records before it are missing, or it was inserted")]
    Gap,
    /// It does not name the hash of the record before.
    #[error("it does not follow the record before it: records were swapped, inserted or removed")]
    Unlinked,
}

/// Checks records that follow the record `after` (number and hash; [`AuditHash::START`] and 0 before the first) and
/// returns the number and hash of the last one.
///
/// # Errors
/// The first [`ChainBreak`].
pub fn verify_chain(after: (i64, AuditHash), records: &[AuditRecord]) -> Result<(i64, AuditHash), ChainBreak> {
    let (mut last, mut prev) = after;
    for record in records {
        let broken = |fault| Err(ChainBreak { seq: record.seq, fault });
        if record.compute_hash() != record.hash {
            return broken(ChainFault::Changed);
        }
        if record.seq != last.saturating_add(1) {
            return broken(ChainFault::Gap);
        }
        if record.prev != prev {
            return broken(ChainFault::Unlinked);
        }
        (last, prev) = (record.seq, record.hash);
    }
    Ok((last, prev))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(n: i64) -> Vec<AuditRecord> {
        let mut prev = AuditHash::START;
        (1..=n)
            .map(|seq| {
                let mut event = AuditEvent::new(Timestamp::from_seconds(seq), EventKind::LoginEnded, "server");
                event.user_typed = Some("alice".into());
                let record = AuditRecord::chain(event.because(Reason::Approved), seq, prev);
                prev = record.hash;
                record
            })
            .collect()
    }

    #[test]
    fn s102_change_removal_insertion_and_swap_are_found_and_located() {
        let good = chain(20);
        assert_eq!(verify_chain((0, AuditHash::START), &good).unwrap().0, 20);
        let broken_at = |records: &[AuditRecord]| verify_chain((0, AuditHash::START), records).unwrap_err();

        let mut changed = good.clone();
        changed[6].reason = Some("denied".to_owned());
        assert_eq!(broken_at(&changed), ChainBreak { seq: 7, fault: ChainFault::Changed });
        changed[6].hash = changed[6].compute_hash();
        assert_eq!(broken_at(&changed), ChainBreak { seq: 8, fault: ChainFault::Unlinked });

        let mut removed = good.clone();
        removed.remove(6);
        assert_eq!(broken_at(&removed), ChainBreak { seq: 8, fault: ChainFault::Gap });

        let mut swapped = good.clone();
        swapped.swap(3, 4);
        assert_eq!(broken_at(&swapped).seq, 5);

        let mut inserted = good.clone();
        inserted.insert(5, good[5].clone());
        assert_eq!(broken_at(&inserted), ChainBreak { seq: 6, fault: ChainFault::Gap });
    }

    #[test]
    fn absent_and_empty_fields_have_different_hashes() {
        let mut a = chain(1).remove(0);
        let before = a.compute_hash();
        a.detail = Some(String::new());
        assert_ne!(a.compute_hash(), before);
    }
}
