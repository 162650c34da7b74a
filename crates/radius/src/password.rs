//! User-Password, hidden and uncovered (RFC 2865 section 5.2).

use core::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::{Authenticator, SharedSecret};

const BLOCK: usize = 16;
const LONGEST: usize = 128;

/// Why a password cannot be hidden or uncovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PasswordError {
    /// The attribute's value is not 16 to 128 octets in whole blocks of 16.
    #[error("hidden password of {0} octets")]
    HiddenLength(usize),
    /// A password of more than 128 octets cannot be carried.
    #[error("password of {0} octets, 128 can be carried")]
    TooLong(usize),
}

/// What kind of octets a password is, so that NUL can be refused where it would cut a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordForm {
    /// No octets: the value was one block of padding. On the wire a password of NULs alone looks the same.
    Empty,
    /// No NUL anywhere.
    Plain,
    /// It begins with NUL: a program that reads it as a C string takes it for empty. Several blocks of NULs count too.
    LeadingNul,
    /// It has a NUL inside: a program that reads it as a C string cuts it there.
    EmbeddedNul,
}

/// An uncovered password. Zeroized when dropped, redacted in `Debug`.
#[derive(Clone)]
pub struct UserPassword {
    octets: Zeroizing<Vec<u8>>,
    form: PasswordForm,
}

impl UserPassword {
    /// Uncovers the value of a User-Password attribute and takes the padding off its end.
    ///
    /// With a wrong secret the result is noise: the caller has verified the packet before, where it can.
    ///
    /// # Errors
    /// [`PasswordError::HiddenLength`] where the value is not 16 to 128 octets in whole blocks.
    pub fn unhide(hidden: &[u8], secret: &SharedSecret, request: &Authenticator) -> Result<Self, PasswordError> {
        if hidden.is_empty() || !hidden.len().is_multiple_of(BLOCK) || hidden.len() > LONGEST {
            return Err(PasswordError::HiddenLength(hidden.len()));
        }
        let mut octets = Zeroizing::new(hidden.to_vec());
        secret.uncover(request.octets(), &mut octets);
        let length = octets.iter().rposition(|octet| *octet != 0).map_or(0, |last| last.saturating_add(1));
        octets.truncate(length);
        let form = match octets.iter().position(|octet| *octet == 0) {
            Some(0) => PasswordForm::LeadingNul,
            Some(_) => PasswordForm::EmbeddedNul,
            None if !octets.is_empty() => PasswordForm::Plain,
            None if hidden.len() > BLOCK => PasswordForm::LeadingNul,
            None => PasswordForm::Empty,
        };
        Ok(Self { octets, form })
    }

    /// Hides a password for a request with the given authenticator. An empty one becomes one block.
    ///
    /// # Errors
    /// [`PasswordError::TooLong`] above 128 octets.
    pub fn hide(password: &[u8], secret: &SharedSecret, request: &Authenticator) -> Result<Vec<u8>, PasswordError> {
        if password.len() > LONGEST {
            return Err(PasswordError::TooLong(password.len()));
        }
        let blocks = password.len().div_ceil(BLOCK).max(1);
        let mut hidden = Vec::with_capacity(LONGEST);
        hidden.extend_from_slice(password);
        hidden.resize(blocks.saturating_mul(BLOCK), 0);
        secret.cover(request.octets(), &mut hidden);
        Ok(hidden)
    }

    /// The octets, without padding. They need not be UTF-8.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// What kind of octets they are.
    pub const fn form(&self) -> PasswordForm {
        self.form
    }
}

impl fmt::Debug for UserPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserPassword(redacted)")
    }
}
