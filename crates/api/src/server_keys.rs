//! The server's own keys, which are in the database under a name each.

use aws_lc_rs::rand::SystemRandom;
use countersign_device_protocol::keys::{KeyError, SigningKey};
use countersign_domain::Secret;
use countersign_storage::{Store, StoreError};

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerKey {
    /// Signs challenges and checkpoints of the audit.
    Signing,
    /// Says to push services who we are (VAPID).
    Push,
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ServerKeyError {
    /// The database did not give it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be made or read.
    #[error("{what}: {fault}")]
    Key {
        /// Which.
        what: &'static str,
        /// Why.
        fault: KeyError,
    },
}

impl ServerKey {
    /// The name in the database. It is part of what the key is sealed with: a key that is renamed is lost.
    const fn name(self) -> &'static str {
        match self {
            Self::Signing => "signing_key",
            Self::Push => "push_key",
        }
    }

    /// Its PKCS#8 document; the key is made and stored the first time.
    ///
    /// # Errors
    /// [`ServerKeyError`].
    pub async fn document(self, store: &dyn Store) -> Result<Secret, ServerKeyError> {
        let broken = |fault| ServerKeyError::Key { what: self.name(), fault };
        let (_, fresh) = SigningKey::generate(&SystemRandom::new()).map_err(broken)?;
        Ok(store.server_secret(self.name(), Secret::new(fresh.to_vec())).await?)
    }

    /// The key itself.
    ///
    /// # Errors
    /// [`ServerKeyError`].
    pub async fn open(self, store: &dyn Store) -> Result<SigningKey, ServerKeyError> {
        let document = self.document(store).await?;
        SigningKey::from_pkcs8(document.expose()).map_err(|fault| ServerKeyError::Key { what: self.name(), fault })
    }
}
