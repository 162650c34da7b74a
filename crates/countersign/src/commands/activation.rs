//! `countersign activation`.

use std::{io::IsTerminal as _, path::Path};

use countersign_api::admin::activations::IssuedView;
use serde_json::json;

use crate::{
    cli::ActivationCommand,
    client::{Client, piece},
    output::{Failure, Output},
    qr,
};

pub(crate) async fn run(command: ActivationCommand, data: &Path, output: Output) -> Result<(), Failure> {
    let ActivationCommand::Issue { user, expires, png } = command;
    let client = Client::new(data)?;
    // Before anything is handed out, for that would end an older activation.
    let picture = png.as_deref().map(qr::Picture::open).transpose()?;
    let issued = match (issue(&client, &user, expires).await, picture) {
        (Ok(issued), Some(picture)) => {
            picture.write(&issued.qr)?;
            issued
        }
        (Ok(issued), None) => issued,
        (Err(failure), picture) => {
            picture.into_iter().for_each(qr::Picture::give_up);
            return Err(failure);
        }
    };
    if output.is_json() {
        output.document(&issued);
    } else {
        print(&issued, png.as_deref(), output)?;
    }
    Ok(())
}

/// Has an activation handed out that lives so many seconds.
pub(crate) async fn issue(client: &Client, user: &str, expires: u64) -> Result<IssuedView, Failure> {
    client.post(&format!("users/{}/activations", piece(user)), &json!({"expires_in": expires})).await
}

/// Shows an activation: the QR code, or where it was written to, and what can be typed instead.
pub(crate) fn print(issued: &IssuedView, png: Option<&Path>, output: Output) -> Result<(), Failure> {
    match png {
        Some(path) => output
            .line(&format!("The QR code is in {}: a secret; delete the file when it was scanned.", path.display())),
        None => output.drawing(&qr::terminal(&issued.qr, std::io::stdout().is_terminal())?),
    }
    output.line(&format!("Scan the code in the app of {}, or type there:", issued.user));
    output.line("");
    output.facts(&[
        ("  code", issued.code.clone()),
        ("  URL", issued.url.clone()),
        ("  until", issued.expires_at.clone()),
    ]);
    Ok(())
}
