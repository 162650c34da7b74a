//! The file in which a phone keeps its accounts and their private keys.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use countersign_device_protocol::{
    encoding::{decode, encode},
    ids::{AccountId, DeploymentId, DeviceId},
    keys::{PublicKey, SigningKey},
    messages::Totp,
    origin::Origin,
    signed::Party,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroizing;

/// The form of the file.
const VERSION: u32 = 1;

/// All that a phone keeps.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct PhoneState {
    version: u32,
    pub(super) accounts: Vec<Account>,
    /// An activation whose answer has not come: the same key may ask for it again.
    #[serde(default)]
    pub(super) begun: Option<Begun>,
}

/// One account on one server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) origin: Origin,
    pub(super) deployment_id: DeploymentId,
    pub(super) id: AccountId,
    pub(super) device_id: DeviceId,
    pub(super) user: String,
    pub(super) display_name: String,
    pub(super) organization: String,
    /// The key that signs challenges, pinned.
    pub(super) signing_key: PublicKey,
    pub(super) private_key: PrivateKey,
    pub(super) totp: Option<Totp>,
    /// Milliseconds that the server's clock is ahead of ours.
    pub(super) clock_ahead_ms: i64,
}

impl Account {
    /// Fields 2 to 5 of what is signed.
    pub(super) const fn party(&self) -> Party<'_> {
        Party { origin: &self.origin, deployment: &self.deployment_id, account: &self.id, device: &self.device_id }
    }

    pub(super) fn key(&self) -> Result<SigningKey> {
        self.private_key.open()
    }

    /// `ada at Example Ltd`.
    pub(super) fn name(&self) -> String {
        format!("{} at {}", self.user, self.organization)
    }
}

/// See [`PhoneState::begun`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Begun {
    pub(super) origin: Origin,
    /// SHA-256 of the secret, to know it again.
    pub(super) secret: String,
    pub(super) private_key: PrivateKey,
}

/// A private key, PKCS#8, base64url in the file.
#[derive(Clone)]
pub(super) struct PrivateKey(Zeroizing<Vec<u8>>);

impl PrivateKey {
    pub(super) const fn new(document: Zeroizing<Vec<u8>>) -> Self {
        Self(document)
    }

    pub(super) fn open(&self) -> Result<SigningKey> {
        SigningKey::from_pkcs8(&self.0).context("a private key in the state file cannot be used")
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

impl Serialize for PrivateKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(encode(&self.0)))
    }
}

impl<'de> Deserialize<'de> for PrivateKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        decode(&text).map(|octets| Self(Zeroizing::new(octets))).map_err(|_| de::Error::custom("not a private key"))
    }
}

impl PhoneState {
    /// Reads the file; nothing where there is none.
    pub(super) fn load(path: &Path) -> Result<Self> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { version: VERSION, ..Self::default() });
            }
            Err(fault) => return Err(fault).with_context(|| format!("cannot read {}", path.display())),
        };
        let mode = file.metadata().map_or(0, |about| about.permissions().mode()) & 0o777;
        if mode & 0o077 != 0 {
            bail!("{path} can be used by others (mode {mode:03o}): chmod 600 {path}", path = path.display());
        }
        let text = Zeroizing::new(io::read_to_string(file).with_context(|| format!("cannot read {}", path.display()))?);
        let read: Self =
            serde_json::from_str(&text).with_context(|| format!("{} is no state of a phone", path.display()))?;
        if read.version != VERSION {
            bail!("{} was written by another version of countersign (form {})", path.display(), read.version);
        }
        Ok(read)
    }

    /// The accounts in the file.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn load_some(path: &Path) -> Result<Self> {
        let read = Self::load(path)?;
        if read.accounts.is_empty() {
            bail!("{} holds no account: activate one first, `countersign phone activate URL CODE`", path.display());
        }
        Ok(read)
    }

    /// Changes the file; several phones may have it open.
    pub(super) fn update<T>(path: &Path, change: impl FnOnce(&mut Self) -> T) -> Result<T> {
        let broken = || format!("cannot write {}", path.display());
        let lock = beside(path, "lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock);
        let lock = lock.with_context(broken)?;
        lock.lock().with_context(broken)?;
        let mut state = Self::load(path)?;
        let result = change(&mut state);
        state.write(path).with_context(broken)?;
        Ok(result)
    }

    /// Writes a new file and puts it in the place of the old one: whoever reads sees one or the other.
    fn write(&self, path: &Path) -> Result<()> {
        let new = beside(path, "new");
        let text = Zeroizing::new(serde_json::to_string_pretty(self)?);
        match fs::remove_file(&new) {
            Err(fault) if fault.kind() != io::ErrorKind::NotFound => return Err(fault.into()),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        Ok(())
    }
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(end);
    name.into()
}

#[cfg(test)]
pub(super) mod tests {
    use aws_lc_rs::rand::SystemRandom;

    use super::*;

    pub(in crate::phone) fn account(user: &str) -> Account {
        let (key, document) = SigningKey::generate(&SystemRandom::new()).unwrap();
        Account {
            origin: Origin::parse("https://mfa.example.com").unwrap(),
            deployment_id: DeploymentId::new("d").unwrap(),
            id: AccountId::new(user).unwrap(),
            device_id: DeviceId::new("x").unwrap(),
            user: user.to_owned(),
            display_name: user.to_owned(),
            organization: "Example Ltd".to_owned(),
            signing_key: key.public().clone(),
            private_key: PrivateKey::new(document),
            totp: None,
            clock_ahead_ms: 0,
        }
    }

    #[test]
    fn a_file_is_its_owners_only_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("phone.json");
        assert!(PhoneState::load_some(&path).unwrap_err().to_string().contains("activate"));
        for user in ["ada", "bob"] {
            PhoneState::update(&path, |state| state.accounts.push(account(user))).unwrap();
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let read = PhoneState::load_some(&path).unwrap();
        assert_eq!(read.accounts[1].name(), "bob at Example Ltd");
        read.accounts[1].key().unwrap();
        assert!(!format!("{read:?}").contains(&encode(&read.accounts[0].private_key.0)));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_cure() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("phone.json");
        PhoneState::update(&path, |state| state.accounts.push(account("ada"))).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(PhoneState::load(&path).unwrap_err().to_string().contains("chmod 600"));
    }
}
