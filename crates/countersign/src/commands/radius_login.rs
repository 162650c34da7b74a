//! `countersign radius-login`: from the command line to what is asked.

use core::time::Duration;
use std::{
    fs::OpenOptions,
    io::{self, BufRead as _, BufReader, IsTerminal as _, Write as _},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use zeroize::Zeroizing;

use crate::{
    cli::RadiusLogin,
    commands::octets_from_stdin,
    output::{Failure, Output},
    radius_login::{self, Answers, Args, Reader},
};

pub(crate) async fn run(login: RadiusLogin, output: Output) -> Result<ExitCode, Failure> {
    let (secret, password) = match secrets(login.secret_stdin, login.password_stdin) {
        Ok(secrets) => secrets,
        Err(fault) => {
            // Not 1, which says that the server rejected the login.
            output.failure(&fault.into());
            return Ok(ExitCode::from(radius_login::USAGE));
        }
    };
    let args = Args {
        server: login.server,
        secret,
        user: login.user,
        password,
        calling_station: login.calling_station,
        state: login.state.map(|state| state.0),
        timeout: login.timeout.map_or(radius_login::DEFAULT_TIMEOUT, Duration::from_secs),
        resend_every: login.resend_every.map(Duration::from_secs),
    };
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let reader = match (output.is_json(), err.is_terminal()) {
        (true, _) => Reader::Script,
        (false, true) => Reader::Watching,
        (false, false) => Reader::Person,
    };
    let mut answers = Terminal { there: reader == Reader::Watching };
    let code = Box::pin(radius_login::run(args, &mut answers, &mut out, &mut err, reader)).await?;
    Ok(ExitCode::from(code))
}

type Octets = Zeroizing<Vec<u8>>;

/// Somebody before a terminal, who is asked there also where the secrets came by standard input.
struct Terminal {
    there: bool,
}

impl Answers for Terminal {
    fn answer(&mut self, question: &str, echo: bool) -> Option<Octets> {
        if !self.there {
            return None;
        }
        let question = format!("{question} ");
        let typed = if echo {
            let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").ok()?;
            terminal.write_all(question.as_bytes()).ok()?;
            let mut line = Zeroizing::new(String::new());
            BufReader::new(terminal).read_line(&mut line).ok().filter(|octets| *octets > 0)?;
            line
        } else {
            Zeroizing::new(rpassword::prompt_password(question).ok()?)
        };
        Some(Zeroizing::new(typed.trim_end_matches(['\r', '\n']).as_bytes().to_vec()))
    }
}

/// The shared secret and, if one is to be sent, the password.
fn secrets(secret_stdin: bool, password_stdin: bool) -> anyhow::Result<(Octets, Option<Octets>)> {
    match (secret_stdin, password_stdin) {
        (true, false) => Ok((octets_from_stdin("shared secret")?, None)),
        (true, true) => {
            let both = octets_from_stdin("shared secret and password")?;
            let (secret, password) = split_line(&both)
                .context("standard input must hold the shared secret, an end of line, and the password")?;
            Ok((secret, Some(password)))
        }
        (false, _) => {
            let password = password_stdin.then(|| octets_from_stdin("password")).transpose()?;
            if !io::stdin().is_terminal() && !password_stdin {
                bail!("there is no terminal to ask for the shared secret on: use --secret-stdin");
            }
            let secret = rpassword::prompt_password("Shared secret: ")
                .context("there is no terminal to ask for the shared secret on: use --secret-stdin")?;
            Ok((Zeroizing::new(secret.into_bytes()), password))
        }
    }
}

/// What stands before the first end of line, and what stands behind it.
fn split_line(octets: &[u8]) -> Option<(Octets, Octets)> {
    let at = octets.iter().position(|octet| *octet == b'\n')?;
    let (first, rest) = octets.split_at_checked(at)?;
    Some((Zeroizing::new(first.to_vec()), Zeroizing::new(rest.get(1..)?.to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_secret_and_the_rest_the_password() {
        let (secret, password) = split_line(b"the secret\npass\nword").unwrap();
        assert_eq!((secret.as_slice(), password.as_slice()), (&b"the secret"[..], &b"pass\nword"[..]));
        assert!(split_line(b"only the secret").is_none());
    }
}
