//! The MS-CHAP challenges that clients have used. A client that uses one twice takes an answer that somebody has heard before
//! for a new one (S49). In memory only.

use std::num::NonZeroUsize;

use countersign_domain::{ClientId, Credential, LoginId};
use lru::LruCache;

/// Challenges that are remembered; of more, the oldest are forgotten.
const MOST: NonZeroUsize = NonZeroUsize::new(100_000).unwrap();

/// The first exchange with a challenge: the fingerprint of challenge and response, and its login.
type First = ([u8; 32], LoginId);

pub(crate) struct Exchanges(LruCache<(ClientId, [u8; 16]), First>);

impl Default for Exchanges {
    fn default() -> Self {
        Self(LruCache::new(MOST))
    }
}

impl Exchanges {
    /// A login came; whether its challenge belongs to another exchange. One that is sent again while it waits, under a new
    /// identifier, is the same one.
    pub(crate) fn is_repeated(
        &mut self,
        client: ClientId,
        credential: &Credential,
        now: First,
        is_open: impl Fn(LoginId) -> bool,
    ) -> bool {
        let Credential::MsChap { challenge, .. } = credential else { return false };
        let (fingerprint, first) = *self.0.get_or_insert((client, *challenge), || now);
        first != now.1 && (fingerprint != now.0 || !is_open(first))
    }
}

#[cfg(test)]
mod tests {
    use countersign_domain::{Secret, Timestamp};
    use countersign_testkit::SeededEntropy;

    use super::*;

    #[test]
    fn s49_a_challenge_is_good_for_one_exchange_of_one_client() {
        let (at, entropy) = (Timestamp::from_seconds(1_800_000_000), SeededEntropy::new(1));
        let [client, other] = [(), ()].map(|()| ClientId::new(at, &entropy));
        let logins = [(); 4].map(|()| LoginId::new(at, &entropy));
        let ask = |challenge| Credential::MsChap { challenge: [challenge; 16], response: Secret::new(vec![0; 50]) };
        let mut exchanges = Exchanges::default();
        let mut repeated = |client, challenge, fingerprint, login: usize, open| {
            exchanges.is_repeated(client, &ask(challenge), ([fingerprint; 32], logins[login]), |_| open)
        };
        assert!(!repeated(client, 7, 1, 0, true));
        assert!(!repeated(client, 7, 1, 1, true), "the same, while the first waits");
        assert!(repeated(client, 7, 2, 2, true), "another response");
        assert!(repeated(client, 7, 1, 3, false), "the same, after the first has ended");
        assert!(!repeated(other, 7, 2, 2, false) && !repeated(client, 8, 2, 2, false));
        for credential in [Credential::None, Credential::Password(Secret::new(b"a".to_vec()))] {
            assert!(!exchanges.is_repeated(client, &credential, ([1; 32], logins[0]), |_| false));
        }
    }
}
