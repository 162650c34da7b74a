//! What the door has seen, counted since its start; for `doctor` and metrics.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use countersign_domain::{ClientId, Timestamp};

use crate::{
    patience::{Patience, Waits},
    rotation::{Rotation, SecretsInUse},
};

/// Goes up only.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($(#[$outer:meta])* $counters:ident => $counts:ident { $($(#[$doc:meta])* $name:ident,)* }) => {
        #[derive(Debug, Default)]
        pub(crate) struct $counters {
            $(pub(crate) $name: Counter,)*
        }

        impl $counters {
            pub(crate) fn read(&self) -> $counts {
                $counts { $($name: self.$name.get(),)* }
            }
        }

        impl $counts {
            /// Each with its name.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }

        $(#[$outer])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $counts {
            $($(#[$doc])* pub $name: u64,)*
        }
    };
}

counters! {
    /// Counts of the whole door.
    Counters => Counts {
        /// Datagrams.
        packets,
        /// Datagrams from addresses that belong to no client.
        unknown_source,
        /// Datagrams that are no packet, and requests whose User-Password has an impossible length.
        malformed,
        /// Packets of a type that does not belong on this port.
        unexpected_code,
        /// Requests with a wrong Message-Authenticator: another shared secret, or forged.
        bad_authenticator,
        /// Requests without Message-Authenticator, whether or not they were taken.
        missing_message_authenticator,
        /// Requests dropped for their Proxy-State: unprotected, or too much of it (CVE-2024-3596).
        proxy_state_refused,
        /// Status-Server requests that were answered.
        status_server,
        /// Access-Requests heard for the first time.
        requests,
        /// Of these, such as took the place of one that was pending.
        superseding,
        /// Retransmissions heard while there was no answer.
        duplicates,
        /// Retransmissions that got their old reply.
        cached_resent,
        /// Authenticators used again after the reply was forgotten, or elsewhere.
        replays,
        /// Requests dropped because there was no room for them.
        full,
        /// Access-Accept sent, without repetitions.
        accepts,
        /// Access-Reject sent, without repetitions.
        rejects,
        /// Access-Challenge sent, without repetitions.
        challenges,
        /// Replies that the system did not take.
        unsent,
        /// Requests that we had sent on and that came back to us.
        loops,
        /// Connections of clients that speak TLS.
        tls_connections,
        /// Connections that were not taken: another certificate than those of clients, no TLS, or too many.
        tls_refused,
    }
}

counters! {
    /// Counts of all accounting ports together.
    AccountingCounters => AccountingCounts {
        /// Datagrams.
        packets,
        /// Datagrams from addresses that belong to no client.
        unknown_source,
        /// Datagrams that are no packet, and requests with a password or too much Proxy-State.
        malformed,
        /// Packets of a type that does not belong on this port.
        unexpected_code,
        /// Requests with a wrong Request Authenticator or Message-Authenticator: another shared secret, or forged.
        bad_authenticator,
        /// Status-Server requests that were answered.
        status_server,
        /// Accounting-Requests heard for the first time.
        requests,
        /// Of these, such as were sent on to an upstream.
        forwarded,
        /// Of those, such as no server has answered.
        unanswered,
        /// Retransmissions heard while there was no answer.
        duplicates,
        /// Retransmissions that got their old response.
        cached_resent,
        /// Requests dropped because there was no room for them.
        full,
        /// Requests that a rule of their client leads nowhere.
        misled,
        /// Requests that we had sent on and that came back to us.
        loops,
        /// Accounting-Response sent, without repetitions.
        responses,
        /// Responses that the system did not take.
        unsent,
    }
}

counters! {
    /// Counts of one client.
    ClientCounters => ClientCounts {
        /// Requests with a valid Message-Authenticator.
        proven,
        /// Requests with a wrong Message-Authenticator.
        bad_authenticator,
        /// Requests without Message-Authenticator, whether or not they were taken.
        missing_message_authenticator,
        /// Retransmissions heard while there was no answer.
        duplicates,
        /// Logins that the client began anew under another identifier while they waited.
        begun_anew,
        /// Logins that were refused as two at once.
        collided,
        /// Logins whose client fell silent before there was an answer.
        given_up,
        /// Replays.
        replays,
        /// Requests dropped because there was no room for them.
        full,
        /// Requests that we had sent on and that came back to us.
        loops,
        /// Accounting-Requests heard for the first time.
        accounting,
        /// Accounting-Requests with a wrong authenticator.
        bad_accounting,
        /// Accounting-Requests that no server of their upstream has answered.
        accounting_unanswered,
    }
}

/// Reads the counts of a door while it runs.
#[derive(Debug, Default)]
pub struct Figures {
    pub(crate) all: Counters,
    pub(crate) accounting: AccountingCounters,
    clients: Mutex<HashMap<ClientId, OfClient>>,
}

/// What is kept of one client.
#[derive(Debug, Clone, Default)]
pub(crate) struct OfClient {
    pub(crate) counters: Arc<ClientCounters>,
    pub(crate) patience: Arc<Patience>,
    /// Where its secret is being changed.
    pub(crate) rotation: Option<Rotation>,
}

impl Figures {
    /// All clients together.
    pub fn counts(&self) -> Counts {
        self.all.read()
    }

    /// All accounting.
    pub fn accounting(&self) -> AccountingCounts {
        self.accounting.read()
    }

    /// Counts of one client; zeros for one that does not exist.
    pub fn client(&self, client: ClientId) -> ClientCounts {
        self.lock().get(&client).map(|of| of.counters.read()).unwrap_or_default()
    }

    /// How one client waits; nothing for one that does not exist.
    pub fn waits(&self, client: ClientId) -> Waits {
        self.lock().get(&client).map(|of| of.patience.read()).unwrap_or_default()
    }

    /// Counts of each client.
    pub fn clients(&self) -> Vec<(ClientId, ClientCounts)> {
        self.lock().iter().map(|(client, of)| (*client, of.counters.read())).collect()
    }

    /// Which of its two secrets a client uses; nothing where it has one.
    pub fn secrets(&self, client: ClientId) -> Option<SecretsInUse> {
        self.lock().get(&client)?.rotation.as_ref().map(Rotation::read)
    }

    /// What is kept of a client, which goes on from where it was. `previous` is until when its secret before is valid.
    pub(crate) fn of(&self, client: ClientId, previous: Option<Timestamp>) -> OfClient {
        let mut clients = self.lock();
        let of = clients.entry(client).or_default();
        of.rotation = previous.map(|until| Rotation::of(until, of.rotation.take()));
        of.clone()
    }

    /// Forgets clients that do not exist any more.
    pub(crate) fn keep(&self, exists: impl Fn(ClientId) -> bool) {
        self.lock().retain(|client, _| exists(*client));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ClientId, OfClient>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
