//! Who somebody is, and whether the password is right.

use std::sync::Arc;

use countersign_domain::{Clock, Entropy, Secret};

use crate::{
    config::{ConfigError, DirectoryConfig, Kind, Settings},
    connection::Found,
    entry::{Entry, EntryId},
    error::{AuthError, DirectoryError, LookupError, Refusal},
    filter::Filter,
    names,
    pool::{Call, Pool},
    reason, tls,
    wire::{RawEntry, Scope, Search, code},
};

/// Longer than any password that a directory takes.
const MAX_PASSWORD: usize = 1024;

/// A directory: several servers that hold the same entries.
pub struct Directory {
    pub(crate) settings: Arc<Settings>,
    pub(crate) pool: Pool,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Somebody whose password is right and whose account may log on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authenticated {
    /// Who.
    pub entry: Entry,
    /// The server that checked the password.
    pub server: String,
}

impl Directory {
    /// Checks the configuration and reads the trusted CAs; connects to nothing yet.
    ///
    /// # Errors
    /// [`ConfigError`] when it makes no sense or the CA file cannot be used.
    pub fn new(
        config: &DirectoryConfig,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, ConfigError> {
        let settings = Arc::new(config.settings()?);
        let tls = tls::connector(config.ca_file.as_deref())?;
        Ok(Self { pool: Pool::new(Arc::clone(&settings), tls, entropy), settings, clock })
    }

    /// Finds whose name `typed` is and whether `password` is right.
    ///
    /// # Errors
    /// [`AuthError::Refused`] when the login is to be rejected, [`AuthError::Directory`] when nothing can be said about
    /// it. A password that is empty, in whatever way, is refused before anybody is asked (S56).
    pub async fn authenticate(&self, typed: &str, password: &Secret) -> Result<Authenticated, AuthError> {
        check_password_form(password.expose()).map_err(|refusal| AuthError::Refused { refusal, entry: None })?;
        let searches = names::searches(typed, &self.settings).map_err(LookupError::Unusable)?;
        let call = self.pool.call().await?;
        let (entry, server) = self.find(&call, searches).await?;
        // The DN goes back exactly as it came (C031); it is not empty and not outside of the base (S57).
        let (outcome, server) = self.pool.check_password(&call, &entry.dn, password.expose(), server).await?;
        let refusal = match reason::of_bind(self.settings.kind, &outcome) {
            // Says no to any password, and keeps why to itself.
            Some(Refusal::WrongPassword) if self.settings.kind == Kind::Ldap && entry.state.locked => {
                Some(Refusal::Locked)
            }
            Some(refusal) => Some(refusal),
            None if outcome.code == code::SUCCESS => entry.state.refusal(),
            None => return Err(self.fault(server, "a bind", outcome.code, outcome.text).into()),
        };
        match refusal {
            None => Ok(Authenticated { entry, server: self.pool.url(server) }),
            Some(refusal) => Err(AuthError::Refused { refusal, entry: Some(Box::new(entry)) }),
        }
    }

    /// Finds whose name `typed` is.
    ///
    /// # Errors
    /// [`LookupError`]: nobody's, several people's, or nothing can be said.
    pub async fn lookup(&self, typed: &str) -> Result<Entry, LookupError> {
        let searches = names::searches(typed, &self.settings).map_err(LookupError::Unusable)?;
        let call = self.pool.call().await?;
        self.find(&call, searches).await.map(|(entry, _)| entry)
    }

    /// The entry with this id, wherever it is now; `None` when it is not there any more, or no user any more.
    ///
    /// # Errors
    /// [`DirectoryError`] when nothing can be said.
    pub async fn find_by_id(&self, id: &EntryId) -> Result<Option<Entry>, DirectoryError> {
        let call = self.pool.call().await?;
        let filter = Filter::equals(&self.settings.id, id.value(self.settings.kind));
        match self.find(&call, vec![filter]).await {
            Ok((entry, _)) => Ok(Some(entry)),
            Err(LookupError::Unknown | LookupError::Unusable(_)) => Ok(None),
            Err(LookupError::Ambiguous) => Err(DirectoryError::TooMany { what: "entries with the same id", limit: 1 }),
            Err(LookupError::Directory(error)) => Err(error),
        }
    }

    /// The only entry that the first of `searches` with a result finds.
    async fn find(&self, call: &Call<'_>, searches: Vec<Filter>) -> Result<(Entry, usize), LookupError> {
        for filter in searches {
            let search = self.users(filter);
            let (found, server) = self.pool.search(call, &search, None).await?;
            let cut = found.outcome.code == code::SIZE_LIMIT;
            let entries = if cut { found.entries } else { self.entries(found, server)? };
            return match entries.as_slice() {
                [] if !cut => continue,
                [one] if !cut => Ok((self.read(one, server)?, server)),
                _ => Err(LookupError::Ambiguous),
            };
        }
        Err(LookupError::Unknown)
    }

    fn users(&self, filter: Filter) -> Search {
        Search {
            base: self.settings.base.clone(),
            scope: Scope::Subtree,
            filter: Filter::And(vec![self.settings.user_filter.clone(), filter]),
            attributes: Entry::attributes(&self.settings),
            // One is right, two are too many, and more are of no use.
            limit: 2,
            page: None,
            show_deleted: false,
        }
    }

    pub(crate) fn read(&self, raw: &RawEntry, server: usize) -> Result<Entry, DirectoryError> {
        Entry::read(raw, &self.settings, self.clock.now())
            .map_err(|fault| DirectoryError::Entry { server: self.pool.url(server), fault })
    }

    /// What was found, if the search came to its end.
    pub(crate) fn entries(&self, found: Found, server: usize) -> Result<Vec<RawEntry>, DirectoryError> {
        match found.outcome.code {
            code::SUCCESS => Ok(found.entries),
            other => Err(self.fault(server, "a search", other, found.outcome.text)),
        }
    }

    fn fault(
        &self,
        server: usize,
        what: &'static str,
        code: u32,
        text: countersign_domain::HostileText,
    ) -> DirectoryError {
        answer(self.pool.url(server), what, code, text)
    }
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory").field("base", &self.settings.base).finish_non_exhaustive()
    }
}

/// What a result other than success means.
pub(crate) fn answer(
    server: String,
    what: &'static str,
    code: u32,
    text: countersign_domain::HostileText,
) -> DirectoryError {
    match code {
        code::REFERRAL => DirectoryError::Referral { server },
        _ => DirectoryError::Answer { server, what, code, text },
    }
}

/// Whether a password can be asked about at all.
fn check_password_form(password: &[u8]) -> Result<(), Refusal> {
    let Ok(text) = std::str::from_utf8(password) else { return Err(Refusal::PasswordNotUtf8) };
    match text.chars().next() {
        None | Some('\0') => Err(Refusal::PasswordEmpty),
        _ if text.chars().all(vanishes) => Err(Refusal::PasswordEmpty),
        _ if text.len() > MAX_PASSWORD => Err(Refusal::PasswordTooLong),
        _ => Ok(()),
    }
}

/// Characters of which nothing is left when a password is prepared for comparison (RFC 3454 table B.1).
const fn vanishes(c: char) -> bool {
    matches!(c,
        '\0' | '\u{ad}' | '\u{34f}' | '\u{1806}' | '\u{180b}'..='\u{180d}' | '\u{200b}'..='\u{200d}' | '\u{2060}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s56_a_password_that_is_or_becomes_empty_is_none() {
        for empty in ["", "\0", "\0secret", "\u{ad}", "\u{feff}\u{200b}\0"] {
            assert_eq!(check_password_form(empty.as_bytes()), Err(Refusal::PasswordEmpty), "{empty:?}");
        }
        assert_eq!(check_password_form(b"pass\xe9"), Err(Refusal::PasswordNotUtf8));
        assert_eq!(check_password_form(&[b'x'; 1025]), Err(Refusal::PasswordTooLong));
        for good in [" ", "x", "p\u{ad}", "p\0"] {
            assert_eq!(check_password_form(good.as_bytes()), Ok(()), "{good:?}");
        }
    }
}
