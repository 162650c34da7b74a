//! Encryption at rest: what the database may not show to somebody who has a copy of it.
//!
//! One key of 32 octets lives in a file of its own, neither in the database nor in its backups (S93). From it come a key
//! that seals values (AES-256-GCM, the place of the value as associated data, S92) and a key for keyed hashes.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use countersign_domain::{Entropy, Secret};
use zeroize::Zeroizing;

use crate::StoreError;

/// Octets in a key file.
pub const KEY_OCTETS: usize = 32;
/// The present version of key and format; first octet of every sealed value.
const VERSION: u8 = 1;

/// Why there is no vault.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The key file cannot be read or made.
    #[error("key file {}: {fault}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        fault: io::Error,
    },
    /// Others than its owner can get at it.
    #[error("key file {path} can be used by its group or by others (mode {mode:03o}): run `chmod 600 {path}`", path = path.display())]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It holds something else.
    #[error("key file {}: a key has {KEY_OCTETS} octets, this file has {found}", path.display())]
    Length {
        /// Which.
        path: PathBuf,
        /// How many there are, counted up to one more than wanted.
        found: usize,
    },
    /// The cryptographic library refuses; nothing was sealed.
    #[error("the cryptographic library refused to work")]
    Refused,
}

/// Where a sealed value stands. It opens nowhere else.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Table.
    pub table: &'static str,
    /// Row: its identifier.
    pub row: &'a str,
    /// Column.
    pub column: &'static str,
}

impl Place<'_> {
    /// `table|row|column|version`. Tables and columns are names out of our own schema and hold no `|`; so a row that
    /// does cannot make two places look the same.
    fn associated(self, version: u8) -> Vec<u8> {
        format!("{}|{}|{}|{version}", self.table, self.row, self.column).into_bytes()
    }

    /// That the value there cannot be opened.
    fn sealed(self) -> StoreError {
        StoreError::Sealed { table: self.table, column: self.column, row: self.row.to_owned() }
    }
}

/// The keys for what is stored.
pub struct Vault {
    seal: LessSafeKey,
    hash: hmac::Key,
}

impl Vault {
    /// Takes the key that everything is derived from.
    ///
    /// # Errors
    /// [`VaultError::Refused`] when the cryptographic library does not take it.
    pub fn from_key(key: &[u8; KEY_OCTETS]) -> Result<Self, VaultError> {
        let root = hmac::Key::new(hmac::HMAC_SHA256, key);
        let seal = hmac::sign(&root, b"countersign-vault-seal-v1");
        let seal = UnboundKey::new(&AES_256_GCM, seal.as_ref()).map_err(|_| VaultError::Refused)?;
        let hash = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, b"countersign-vault-hash-v1").as_ref());
        Ok(Self { seal: LessSafeKey::new(seal), hash })
    }

    /// Loads the key file `path`. That only its owner may use it is required, so who can read it at all is its owner
    /// (or root).
    ///
    /// # Errors
    /// [`VaultError`] when it cannot be read, group or others have any right to it, or it is no key.
    pub fn load(path: &Path) -> Result<Self, VaultError> {
        let broken = |fault| VaultError::File { path: path.to_owned(), fault };
        let mut file = File::open(path).map_err(broken)?;
        let about = file.metadata().map_err(broken)?;
        if !about.is_file() {
            return Err(broken(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
        }
        let mode = about.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(VaultError::Exposed { path: path.to_owned(), mode });
        }
        // One octet more than wanted shows a file that is too long.
        let mut read = Zeroizing::new([0; KEY_OCTETS + 1]);
        let mut found = 0;
        while let Some(rest) = read.get_mut(found..).filter(|rest| !rest.is_empty()) {
            match file.read(rest) {
                Ok(0) => break,
                Ok(more) => found += more,
                Err(fault) if fault.kind() == io::ErrorKind::Interrupted => {}
                Err(fault) => return Err(broken(fault)),
            }
        }
        match read.first_chunk::<KEY_OCTETS>() {
            Some(key) if found == KEY_OCTETS => Self::from_key(key),
            _ => Err(VaultError::Length { path: path.to_owned(), found }),
        }
    }

    /// Makes the key file `path`, mode 0600, with a new key. It is on disk when this returns.
    ///
    /// # Errors
    /// [`VaultError::File`] when there is a file already or it cannot be written.
    pub fn create(path: &Path, entropy: &dyn Entropy) -> Result<Self, VaultError> {
        let broken = |fault| VaultError::File { path: path.to_owned(), fault };
        let key = Zeroizing::new(entropy.octets::<KEY_OCTETS>());
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(broken)?;
        let written = file.write_all(key.as_slice()).and_then(|()| file.sync_all()).and_then(|()| sync_parent(path));
        if let Err(fault) = written {
            // Half a key would be in the way of the next try.
            drop(std::fs::remove_file(path));
            return Err(broken(fault));
        }
        Self::from_key(&key)
    }

    /// [`Self::load`], or [`Self::create`] where there is no file.
    ///
    /// # Errors
    /// As those two.
    pub fn load_or_create(path: &Path, entropy: &dyn Entropy) -> Result<Self, VaultError> {
        match Self::load(path) {
            Err(VaultError::File { fault, .. }) if fault.kind() == io::ErrorKind::NotFound => {
                Self::create(path, entropy)
            }
            other => other,
        }
    }

    /// Encrypts `plain` for `place`: version octet, nonce, ciphertext with its tag.
    ///
    /// # Errors
    /// [`VaultError::Refused`]; the cryptographic library does this for values of many gigabytes only.
    pub fn seal(&self, place: Place<'_>, plain: &[u8], entropy: &dyn Entropy) -> Result<Vec<u8>, VaultError> {
        let nonce = entropy.octets::<NONCE_LEN>();
        let mut text = Zeroizing::new(plain.to_vec());
        let tag = self
            .seal
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place.associated(VERSION)),
                &mut text,
            )
            .map_err(|_| VaultError::Refused)?;
        Ok([&[VERSION], nonce.as_slice(), text.as_slice(), tag.as_ref()].concat())
    }

    /// Decrypts what [`Self::seal`] made for the same place.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] when the key is another, the value was changed, or it was made for another place.
    pub fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Secret, StoreError> {
        let refused = || place.sealed();
        let (&version, rest) = sealed.split_first().ok_or_else(refused)?;
        if version != VERSION {
            return Err(refused());
        }
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(refused)?;
        let mut text = Zeroizing::new(text.to_vec());
        let plain = self
            .seal
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(place.associated(version)),
                text.as_mut_slice(),
            )
            .map_err(|_| refused())?;
        Ok(Secret::new(plain.to_vec()))
    }

    /// HMAC-SHA-256 of `data` under a key of its own for each `label`: lets equal secrets be found without storing them.
    pub fn keyed_hash(&self, label: &str, data: &[u8]) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&self.hash, label.as_bytes()).as_ref());
        let mut out = [0; 32];
        for (to, from) in out.iter_mut().zip(hmac::sign(&key, data).as_ref()) {
            *to = *from;
        }
        out
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(…)")
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;

    struct Counting(AtomicU8);
    impl Entropy for Counting {
        fn fill(&self, out: &mut [u8]) {
            out.fill_with(|| self.0.fetch_add(1, Ordering::Relaxed));
        }
    }

    fn place(row: &str) -> Place<'_> {
        Place { table: "devices", row, column: "totp" }
    }

    #[test]
    fn s92_a_value_opens_in_its_place_under_its_key_and_nowhere_else() {
        let entropy = Counting(AtomicU8::new(0));
        let vault = Vault::from_key(&[7; 32]).unwrap();
        let sealed = vault.seal(place("a"), b"seed of alice", &entropy).unwrap();
        assert_eq!(vault.open(place("a"), &sealed).unwrap().expose(), b"seed of alice");
        assert_ne!(vault.seal(place("a"), b"seed of alice", &entropy).unwrap(), sealed, "the nonce is new each time");
        assert!(!sealed.windows(4).any(|part| part == b"seed"));

        assert!(matches!(vault.open(place("b"), &sealed), Err(StoreError::Sealed { row, .. }) if row == "b"));
        let column = Place { column: "push_auth", ..place("a") };
        assert!(vault.open(column, &sealed).is_err());
        assert!(Vault::from_key(&[8; 32]).unwrap().open(place("a"), &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(vault.open(place("a"), &changed).is_err(), "octet {at}");
            assert!(vault.open(place("a"), &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn keyed_hashes_differ_by_key_label_and_data() {
        let (one, other) = (Vault::from_key(&[1; 32]).unwrap(), Vault::from_key(&[2; 32]).unwrap());
        let hash = one.keyed_hash("token", b"x");
        assert_eq!(hash, one.keyed_hash("token", b"x"));
        assert_ne!(hash, one.keyed_hash("token", b"y"));
        assert_ne!(hash, one.keyed_hash("toke", b"nx"));
        assert_ne!(hash, other.keyed_hash("token", b"x"));
        assert_eq!(format!("{one:?}"), "Vault(…)");
    }

    #[test]
    fn s93_a_key_file_is_private_and_whole() {
        let entropy = Counting(AtomicU8::new(0));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        let made = Vault::load_or_create(&path, &entropy).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Vault::load_or_create(&path, &entropy).unwrap();
        assert_eq!(made.keyed_hash("x", b"y"), again.keyed_hash("x", b"y"));
        assert!(matches!(Vault::create(&path, &entropy), Err(VaultError::File { .. })), "an old key is never replaced");

        for mode in [0o644, 0o640, 0o604, 0o660, 0o610] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let refused = Vault::load_or_create(&path, &entropy).unwrap_err();
            assert!(matches!(refused, VaultError::Exposed { mode: found, .. } if found == mode));
            let text = refused.to_string();
            assert!(text.contains(&format!("chmod 600 {}", path.display())), "{text}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
        Vault::load(&path).unwrap();

        for octets in [0, 31, 33, 64] {
            let path = dir.path().join(format!("{octets}.key"));
            std::fs::write(&path, vec![1; octets]).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            let refused = Vault::load_or_create(&path, &entropy).unwrap_err();
            assert!(matches!(refused, VaultError::Length { found, .. } if found == octets.min(33)));
        }
        let missing = Vault::load(&dir.path().join("none")).unwrap_err().to_string();
        assert!(missing.contains("none"), "{missing}");
        assert!(matches!(Vault::load(dir.path()), Err(VaultError::File { .. } | VaultError::Exposed { .. })));
    }
}
