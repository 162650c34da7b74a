//! `phone activate`: a key of our own becomes a device of the account.

use core::time::Duration;
use std::path::Path;

use anyhow::{Context as _, Result};
use aws_lc_rs::rand::SystemRandom;
use countersign_device_protocol::{
    code::{ActivationCode, ActivationLink},
    encoding::encode,
    endpoint::Endpoint,
    ids::Name,
    keys::{SigningKey, Thumbprint, sha256},
    messages::{ActivationAnswer, ActivationRequest, ActivationSecret, DeviceInfo, ServerInfo},
    origin::Origin,
};

use super::{
    accounts::{Account, Begun, PhoneState, PrivateKey},
    line::{Line, Trouble},
};
use crate::output::Output;

/// A lost answer is asked for so often.
const TRIES: u8 = 3;
/// Clocks that differ by more than this are worth a word.
const WORTH_A_WORD: i64 = 30;

/// Activates an account with the address and the code that the administrator handed out.
pub(crate) async fn activate(state_file: &Path, url: &str, code: &str) -> Result<()> {
    let origin = Origin::parse(url.trim()).with_context(|| format!("{url:?} is no address of a server"))?;
    let code = ActivationCode::parse(code).context("that is no activation code")?;
    run(state_file, origin, ActivationSecret::Code(code), None).await
}

/// Activates an account with the text of a QR code.
pub(crate) async fn activate_qr(state_file: &Path, text: &str) -> Result<()> {
    let link = ActivationLink::parse(text.trim()).context("that is not the text of an activation's QR code")?;
    run(state_file, link.origin, ActivationSecret::Token(link.token), Some(link.key)).await
}

async fn run(state_file: &Path, origin: Origin, secret: ActivationSecret, pinned: Option<Thumbprint>) -> Result<()> {
    // Before anything is used up: can the file be read and written at all?
    PhoneState::update(state_file, |_| ())?;
    let mut line = Line::new(origin.clone(), 0)?;
    let server = line.server(pinned.as_ref()).await?;
    let private_key = begin(state_file, &origin, &secret)?;
    let key = private_key.open()?;
    let request = ActivationRequest { secret, device: device_info()?, push: None };
    let answer = ask(&mut line, &key, &serde_json::to_vec(&request)?).await?;
    agrees(&answer, &server)?;
    let account = Account {
        origin,
        deployment_id: server.deployment_id,
        id: answer.account.id,
        device_id: answer.device_id,
        user: answer.account.user,
        display_name: answer.account.display_name,
        organization: answer.account.organization,
        signing_key: server.signing_key,
        private_key,
        totp: answer.totp,
        clock_ahead_ms: line.ahead_ms(),
    };
    let replaced = keep(state_file, account.clone())?;
    let output = Output::new(false);
    output.line(&format!("Activated: {} ({}), on {}.", account.name(), account.display_name, account.origin));
    if pinned.is_none() {
        output.line(&format!("The server's key was taken on trust: {}.", account.signing_key.thumbprint()));
    }
    if line.ahead.as_secs().abs() > WORTH_A_WORD {
        let (seconds, which) =
            (line.ahead.as_secs().abs(), if line.ahead.is_positive() { "behind" } else { "ahead of" });
        output.line(&format!("This machine's clock is {seconds} seconds {which} the server's; that is made up for."));
    }
    for older in replaced {
        output.line("It takes the place of the device that this phone had for the account.");
        // Whether or not the server still knows it.
        let _gone = line.send(&older.key()?, Endpoint::RemoveDevice, Vec::new()).await;
    }
    Ok(())
}

/// The key for this activation: the one that was made for it before, if its answer never came.
fn begin(state_file: &Path, origin: &Origin, secret: &ActivationSecret) -> Result<PrivateKey> {
    let secret = match secret {
        ActivationSecret::Code(code) => sha256(code.expose().as_bytes()),
        ActivationSecret::Token(token) => sha256(token.expose_bytes()),
    };
    let secret = encode(&secret);
    let (_, document) = SigningKey::generate(&SystemRandom::new()).context("no key can be made")?;
    PhoneState::update(state_file, |state| {
        if let Some(begun) = state.begun.as_ref().filter(|begun| begun.origin == *origin && begun.secret == secret) {
            return begun.private_key.clone();
        }
        let private_key = PrivateKey::new(document);
        state.begun = Some(Begun { origin: origin.clone(), secret, private_key: private_key.clone() });
        private_key
    })
}

async fn ask(line: &mut Line, key: &SigningKey, body: &[u8]) -> Result<ActivationAnswer, Trouble> {
    let mut left = TRIES;
    loop {
        left = left.saturating_sub(1);
        let lost = match line.send(key, Endpoint::Activate, body.to_vec()).await {
            Ok(response) => match line.json(response).await {
                Err(lost @ Trouble::Unreachable(..)) => lost,
                other => return other,
            },
            Err(lost @ Trouble::Unreachable(..)) => lost,
            Err(other) => return Err(other),
        };
        if left == 0 {
            return Err(lost);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The server must be the one that was looked at before the secret was sent.
fn agrees(answer: &ActivationAnswer, server: &ServerInfo) -> Result<()> {
    let same = answer.server.deployment_id == server.deployment_id
        && answer.server.origin == server.origin
        && answer.server.signing_key == server.signing_key;
    anyhow::ensure!(same, "the server changed who it is while the account was activated: trust nothing of it");
    Ok(())
}

/// Keeps the account, and gives those that it takes the place of.
fn keep(state_file: &Path, account: Account) -> Result<Vec<Account>> {
    PhoneState::update(state_file, |state| {
        let same = |old: &Account| {
            old.deployment_id == account.deployment_id && old.origin == account.origin && old.id == account.id
        };
        let (replaced, mut kept): (Vec<_>, Vec<_>) = std::mem::take(&mut state.accounts).into_iter().partition(same);
        kept.push(account);
        state.accounts = kept;
        state.begun = None;
        replaced.into_iter().collect()
    })
}

fn device_info() -> Result<DeviceInfo> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host.trim().chars().take(40).collect();
    let name = if host.is_empty() { "terminal".to_owned() } else { format!("terminal on {host}") };
    Ok(DeviceInfo { name: Name::new(name)?, platform: Name::new("terminal")? })
}
