//! `phone applications` and `phone open`: sign-in windows.

use core::time::Duration;
use std::path::Path;

use anyhow::{Result, bail};
use aws_lc_rs::rand::SystemRandom;
use countersign_device_protocol::{
    endpoint::Endpoint,
    ids::{ApplicationId, DeviceTime, WindowId},
    keys::{Signature, SigningKey},
    messages::{Applications, UserVerificationReached, WindowAnswer, WindowRequest, WindowState, WindowStateAnswer},
};
use serde_json::json;
use tokio::time::sleep;

use super::{
    accounts::{Account, PhoneState},
    line::Line,
};
use crate::output::Output;

/// How often it is asked what became of a window.
const ASK: Duration = Duration::from_millis(500);

/// What one account can open windows for.
struct Offer {
    account: Account,
    key: SigningKey,
    line: Line,
    applications: Applications,
}

async fn offers(state_file: &Path) -> Result<Vec<Offer>> {
    let mut out = Vec::new();
    for account in PhoneState::load_some(state_file)?.accounts {
        let key = account.key()?;
        let mut line = Line::new(account.origin.clone(), account.clock_ahead_ms)?;
        line.server(Some(&account.signing_key.thumbprint())).await?;
        let response = line.send(&key, Endpoint::Applications, Vec::new()).await?;
        let applications = line.json(response).await?;
        out.push(Offer { account, key, line, applications });
    }
    Ok(out)
}

/// Lists what windows can be opened for, account by account.
pub(crate) async fn applications(state_file: &Path, output: Output) -> Result<()> {
    let offers = offers(state_file).await?;
    let rows = offers.iter().flat_map(|offer| {
        let name = offer.account.name();
        offer.applications.applications.iter().map(move |application| (name.clone(), application))
    });
    let rows: Vec<_> = rows.collect();
    if output.is_json() {
        let documents: Vec<_> = rows
            .iter()
            .map(|(account, application)| json!({"account": account, "id": application.id, "name": application.name}))
            .collect();
        output.document(&documents);
        return Ok(());
    }
    if rows.is_empty() {
        output.line("there is nothing that a sign-in window can be opened for");
    }
    for (account, application) in rows {
        output.line(&format!("{}  ({account})", application.name));
    }
    Ok(())
}

/// Opens a window and waits for its end; an error where nobody was let in by it.
pub(crate) async fn open_window(state_file: &Path, wanted: &str, output: Output) -> Result<()> {
    let mut found = Vec::new();
    for offer in offers(state_file).await? {
        let matching = offer.applications.applications.iter().find(|application| {
            application.id.as_str() == wanted || application.name.to_lowercase() == wanted.to_lowercase()
        });
        if let Some(application) = matching.cloned() {
            found.push((offer, application));
        }
    }
    let Some((Offer { account, key, mut line, .. }, application)) = found.pop().filter(|_| found.is_empty()) else {
        bail!("{wanted:?} is not one application that a sign-in window can be opened for: see `phone applications`");
    };
    let request = request(&account, &key, &line, application.id)?;
    let response = line.send(&key, Endpoint::OpenWindow, serde_json::to_vec(&request)?).await?;
    let answer: WindowAnswer = line.json(response).await?;
    if !output.is_json() {
        output.line(&format!("The window is open until {}: sign in to {} now.", answer.expires_at, application.name));
    }
    let state = end(&mut line, &key, &request.window_id, answer.expires_at).await?;
    if output.is_json() {
        output.document(&json!({"application": application.name, "expires_at": answer.expires_at, "state": state}));
    }
    match state {
        WindowState::Approved if output.is_json() => Ok(()),
        WindowState::Approved => {
            output.line("The sign-in was let in.");
            Ok(())
        }
        WindowState::Open | WindowState::Expired => bail!("nobody signed in, and the window is closed"),
        WindowState::Collision => {
            bail!("two sign-ins came at once, so neither was let in: at most one is yours. Tell your administrator")
        }
        WindowState::Cancelled => bail!("the sign-in ended without being let in"),
    }
}

fn request(account: &Account, key: &SigningKey, line: &Line, application: ApplicationId) -> Result<WindowRequest> {
    let mut random = [0; 16];
    if aws_lc_rs::rand::fill(&mut random).is_err() {
        bail!("the system gives no random numbers");
    }
    let mut request = WindowRequest {
        window_id: WindowId::from_bytes(random),
        application,
        user_verification: UserVerificationReached::None,
        device_time: DeviceTime::from(line.now()),
        assertion: None,
        signature: Signature::new([0; 64]),
    };
    request.signature = key.sign(&request.signed(account.party()).octets(), &SystemRandom::new())?;
    Ok(request)
}

/// A login that came in the last moment is held a little longer.
async fn end(line: &mut Line, key: &SigningKey, id: &WindowId, expires_at: jiff::Timestamp) -> Result<WindowState> {
    const LONGER: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);
    loop {
        let response = line.send(key, Endpoint::Window(id), Vec::new()).await?;
        let WindowStateAnswer { state } = line.json(response).await?;
        if state != WindowState::Open || line.now().duration_since(expires_at) > LONGER {
            return Ok(state);
        }
        sleep(ASK).await;
    }
}
