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

use super::accounts::{Account, PhoneState};
use crate::{
    output::{Output, harmless},
    runtime::SystemClock,
};

/// Shows the code of each account and how long it is good: once, or on a terminal until Ctrl-C.
pub(crate) async fn codes(state_file: &Path) -> Result<()> {
    let accounts = PhoneState::load_some(state_file)?.accounts;
    let output = Output::new(false);
    let lines = |accounts: &[Account]| -> Vec<String> {
        let now = SystemClock.now().to_jiff();
        accounts.iter().map(|account| code(account, now)).collect()
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

/// `123 456  17 s  ada at Example Ltd`
fn code(account: &Account, now: jiff::Timestamp) -> String {
    let Some(seed) = &account.totp else { return format!("no codes      {}", account.name()) };
    let known = seed.algorithm == TotpAlgorithm::Sha1 && usize::from(seed.digits) == CODE_DIGITS && seed.period > 0;
    let Some(octets) = seed.secret.to_bytes().filter(|_| known) else {
        return format!("codes of a kind that this program cannot make  {}", account.name());
    };
    let server = now.checked_add(SignedDuration::from_millis(account.clock_ahead_ms)).unwrap_or(now);
    let seconds = u64::try_from(server.as_second()).unwrap_or(0);
    let period = u64::from(seed.period);
    let code = totp(&Secret::new(octets.to_vec()), seconds / period);
    let (left, right) = code.split_at_checked(CODE_DIGITS / 2).unwrap_or((&code, ""));
    format!("{left} {right}  {:2} s  {}", period - seconds % period, account.name())
}

#[cfg(test)]
mod tests {
    use countersign_device_protocol::messages::{Totp, TotpSecret};

    use super::*;
    use crate::phone::accounts::tests::account;

    #[test]
    fn rfc6238_codes_are_shown_with_what_is_left_by_the_servers_clock() {
        let mut ada = account("ada");
        assert_eq!(code(&ada, jiff::Timestamp::UNIX_EPOCH), "no codes      ada at Example Ltd");
        let secret = TotpSecret::from_bytes(b"12345678901234567890");
        ada.totp = Some(Totp { secret, algorithm: TotpAlgorithm::Sha1, digits: 6, period: 30 });
        let at = |second| jiff::Timestamp::from_second(second).unwrap();
        assert_eq!(code(&ada, at(59)), "287 082   1 s  ada at Example Ltd");
        ada.clock_ahead_ms = -1_000;
        assert_eq!(code(&ada, at(60)), "287 082   1 s  ada at Example Ltd");
        assert_eq!(code(&ada, at(1_111_111_110)), "081 804   1 s  ada at Example Ltd");
    }
}
