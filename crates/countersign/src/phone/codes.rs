//! `phone codes`: the six-digit codes, which need no network.

use core::time::Duration;
use std::{
    io::{self, IsTerminal as _},
    path::Path,
};

use anyhow::Result;
use countersign_device_protocol::messages::TotpAlgorithm;
use countersign_domain::{CODE_DIGITS, Clock as _, Secret, totp};
use jiff::SignedDuration;
use serde::Serialize;

use super::accounts::{Account, PhoneState};
use crate::{
    output::{Output, harmless},
    runtime::SystemClock,
};

/// Shows the code of each account and how long it is good: once, or on a terminal until Ctrl-C.
pub(crate) async fn codes(state_file: &Path, output: Output) -> Result<()> {
    let accounts = PhoneState::load_some(state_file)?.accounts;
    if output.is_json() {
        let now = SystemClock.now().to_jiff();
        output.document(&accounts.iter().map(|account| Row::new(account, now)).collect::<Vec<_>>());
        return Ok(());
    }
    let lines = |accounts: &[Account]| -> Vec<String> {
        let now = SystemClock.now().to_jiff();
        accounts.iter().map(|account| line(account, now)).collect()
    };
    if !io::stdout().is_terminal() {
        for line in lines(&accounts) {
            output.line(&line);
        }
        return Ok(());
    }
    let up = format!("\x1b[{}A", accounts.len());
    let mut first = true;
    loop {
        let mut drawing = if std::mem::take(&mut first) { String::new() } else { up.clone() };
        for line in lines(&accounts) {
            drawing.push_str("\r\x1b[2K");
            drawing.push_str(&harmless(&line));
            drawing.push('\n');
        }
        output.drawing(&drawing);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// What a script reads of an account; no code where there are none, or none that this program can make.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    account: String,
    code: Option<String>,
    seconds_left: Option<u64>,
}

impl Row {
    fn new(account: &Account, now: jiff::Timestamp) -> Self {
        let (code, seconds_left) = code(account, now).ok().unzip();
        Self { account: account.name(), code, seconds_left }
    }
}

/// `123 456  17 s  ada at Example Ltd`
fn line(account: &Account, now: jiff::Timestamp) -> String {
    match code(account, now) {
        Ok((code, left)) => {
            let (first, second) = code.split_at_checked(CODE_DIGITS / 2).unwrap_or((&code, ""));
            format!("{first} {second}  {left:2} s  {}", account.name())
        }
        Err(none) => format!("{none}  {}", account.name()),
    }
}

/// The code and how many seconds it is good for, or why there is none.
fn code(account: &Account, now: jiff::Timestamp) -> Result<(String, u64), &'static str> {
    let seed = account.totp.as_ref().ok_or("no codes    ")?;
    let known = seed.algorithm == TotpAlgorithm::Sha1 && usize::from(seed.digits) == CODE_DIGITS && seed.period > 0;
    let octets = seed.secret.to_bytes().filter(|_| known).ok_or("codes of a kind that this program cannot make")?;
    let server = now.checked_add(SignedDuration::from_millis(account.clock_ahead_ms)).unwrap_or(now);
    let seconds = u64::try_from(server.as_second()).unwrap_or(0);
    let period = u64::from(seed.period);
    Ok((totp(&Secret::new(octets.to_vec()), seconds / period), period - seconds % period))
}

#[cfg(test)]
mod tests {
    use countersign_device_protocol::messages::{Totp, TotpSecret};

    use super::*;
    use crate::phone::accounts::tests::account;

    #[test]
    fn rfc6238_codes_are_shown_with_what_is_left_by_the_servers_clock() {
        let mut ada = account("ada");
        assert_eq!(line(&ada, jiff::Timestamp::UNIX_EPOCH), "no codes      ada at Example Ltd");
        let row = |code: Option<&str>, seconds_left| Row {
            account: "ada at Example Ltd".to_owned(),
            code: code.map(str::to_owned),
            seconds_left,
        };
        assert_eq!(Row::new(&ada, jiff::Timestamp::UNIX_EPOCH), row(None, None));
        let secret = TotpSecret::from_bytes(b"12345678901234567890");
        ada.totp = Some(Totp { secret, algorithm: TotpAlgorithm::Sha1, digits: 6, period: 30 });
        let at = |second| jiff::Timestamp::from_second(second).unwrap();
        assert_eq!(line(&ada, at(59)), "287 082   1 s  ada at Example Ltd");
        assert_eq!(Row::new(&ada, at(59)), row(Some("287082"), Some(1)));
        ada.clock_ahead_ms = -1_000;
        assert_eq!(line(&ada, at(60)), "287 082   1 s  ada at Example Ltd");
        assert_eq!(line(&ada, at(1_111_111_110)), "081 804   1 s  ada at Example Ltd");
    }
}
