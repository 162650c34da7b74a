//! Local passwords: Argon2id, as many at once as there are cores, behind a short queue (S106).

use core::time::Duration;
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version,
    password_hash::phc::{PasswordHash as Phc, Salt},
};
use countersign_domain::{Entropy, PasswordHash, Secret};
use countersign_engine::PrimaryOutcome;
use tokio::{sync::Semaphore, time::timeout};

/// Octets of a password; longer ones are refused before any work is done for them.
const LONGEST: usize = 256;
const QUEUE: usize = 64;
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a password cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// There is none.
    #[error("the password is empty or starts with a NUL octet")]
    Empty,
    /// RADIUS cannot carry it (RFC 2865 section 5.2), so it could never be used there (C014).
    #[error("the password is longer than 128 octets, the most that RADIUS can carry")]
    TooLong,
    /// The hash could not be made.
    #[error("the password could not be hashed")]
    Hash,
}

fn argon2() -> Argon2<'static> {
    // 19 MiB, two passes, one lane: OWASP's floor, and the figures that the limits of `docs/` are written for.
    let params = Params::new(19 * 1024, 2, 1, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Hashes a new password. Takes about 16 ms of a core.
///
/// # Errors
/// [`PasswordError`] when it is empty or cannot be carried by RADIUS.
pub fn hash_password(password: &Secret, entropy: &dyn Entropy) -> Result<PasswordHash, PasswordError> {
    let octets = password.expose();
    if octets.first().is_none_or(|first| *first == 0) {
        return Err(PasswordError::Empty);
    }
    if octets.len() > 128 {
        return Err(PasswordError::TooLong);
    }
    let salt = Salt::new(&entropy.octets::<16>()).map_err(|_| PasswordError::Hash)?;
    let hash = argon2().hash_password_with_salt(octets, salt.as_ref()).map_err(|_| PasswordError::Hash)?;
    Ok(PasswordHash::from_phc(hash.to_string()))
}

/// The fence around slow hashing.
#[derive(Clone)]
pub(crate) struct Passwords {
    cores: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    /// A hash that no password has, for users who do not exist.
    dummy: Arc<OnceLock<Option<PasswordHash>>>,
    entropy: Arc<dyn Entropy>,
}

impl Passwords {
    pub(crate) fn new(cores: usize, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            cores: Arc::new(Semaphore::new(cores.max(1))),
            waiting: Arc::new(AtomicUsize::new(0)),
            dummy: Arc::default(),
            entropy,
        }
    }

    /// Checks a password; without a hash the same work is done and the answer is wrong.
    pub(crate) async fn check(&self, hash: Option<PasswordHash>, password: Secret) -> PrimaryOutcome {
        if password.expose().len() > LONGEST {
            return PrimaryOutcome::Wrong;
        }
        if self.waiting.fetch_add(1, Ordering::SeqCst) >= QUEUE {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            return PrimaryOutcome::Busy;
        }
        let permit = timeout(PATIENCE, Arc::clone(&self.cores).acquire_owned()).await;
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        let Ok(Ok(permit)) = permit else { return PrimaryOutcome::Busy };
        let (dummy, entropy) = (Arc::clone(&self.dummy), Arc::clone(&self.entropy));
        let checked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let known = hash.is_some();
            let hash = hash.or_else(|| {
                dummy.get_or_init(|| hash_password(&Secret::new(b"nobody".to_vec()), &*entropy).ok()).clone()
            });
            let Some(hash) = hash else { return false };
            let Ok(phc) = Phc::new(hash.as_phc()) else { return false };
            let right = argon2().verify_password(password.expose(), &phc).is_ok();
            right && known
        });
        if checked.await.unwrap_or(false) { PrimaryOutcome::Right } else { PrimaryOutcome::Wrong }
    }
}
