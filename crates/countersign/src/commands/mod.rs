//! Commands that ask a running server.

pub(crate) mod activation;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod client;
pub(crate) mod device;
pub(crate) mod directory;
pub(crate) mod key;
pub(crate) mod phone;
pub(crate) mod radius_login;
pub(crate) mod resource;
pub(crate) mod restore;
pub(crate) mod synchronisation;
pub(crate) mod template;
pub(crate) mod upstream;
pub(crate) mod user;

use std::io::{IsTerminal as _, Read as _};

use anyhow::{Context as _, Result, bail};
use zeroize::Zeroizing;

/// Octets of a secret that are read at most; longer ones are refused by whoever gets them.
const MOST: u64 = 4096;

/// Reads a secret from standard input, but for one newline at its end.
pub(crate) fn from_stdin(what: &str) -> Result<Zeroizing<String>> {
    let octets = octets_from_stdin(what)?;
    let text =
        std::str::from_utf8(&octets).ok().with_context(|| format!("the {what} on standard input is not UTF-8"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// The same for what need not be text.
pub(crate) fn octets_from_stdin(what: &str) -> Result<Zeroizing<Vec<u8>>> {
    let mut octets = Zeroizing::new(Vec::new());
    std::io::stdin()
        .take(MOST.saturating_add(1))
        .read_to_end(&mut octets)
        .with_context(|| format!("the {what} cannot be read from standard input"))?;
    if octets.last() == Some(&b'\n') {
        octets.pop();
    }
    if u64::try_from(octets.len()).unwrap_or(u64::MAX) > MOST {
        bail!("the {what} on standard input is longer than {MOST} octets");
    }
    Ok(octets)
}

/// Asks for a password that is set already.
pub(crate) fn ask_password(name: &str) -> Result<Zeroizing<String>> {
    if !std::io::stdin().is_terminal() {
        bail!("there is no terminal to ask for the password on: use --password-stdin");
    }
    let prompt = format!("Password of {}: ", crate::output::harmless(name));
    rpassword::prompt_password(prompt).map(Zeroizing::new).context("the password cannot be read from the terminal")
}

/// Asks for a new password, twice.
pub(crate) fn ask_new_password(name: &str) -> Result<Zeroizing<String>> {
    if !std::io::stdin().is_terminal() {
        bail!("there is no terminal to ask for a password on: use --password-stdin, or --no-password");
    }
    let ask = |prompt: String| {
        rpassword::prompt_password(prompt).map(Zeroizing::new).context("the password cannot be read from the terminal")
    };
    let password = ask(format!("Password for {}: ", crate::output::harmless(name)))?;
    if *ask("Once more: ".to_owned())? != *password {
        bail!("the two are not the same: nothing was changed");
    }
    Ok(password)
}
