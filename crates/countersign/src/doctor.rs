//! `countersign doctor`: what is wrong, in plain words, and what to do.

use std::{
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use countersign_api::admin::{
    push::PushTried,
    status::{Finding, Level},
};
use serde_json::json;

use crate::{
    client::Client,
    config::{self, Config},
    output::{Failure, Output},
};

pub(crate) async fn doctor(data: &Path, push: Option<&str>, output: Output) -> Result<(), Failure> {
    let mut findings = Vec::new();
    match Config::load(data) {
        Err(fault) => findings.push(Finding::wrong("configuration", format!("{fault:#}"))),
        Ok(config) => {
            let path = config::path(data);
            findings.push(if path.exists() {
                Finding::ok("configuration", format!("{}", path.display()))
            } else {
                Finding::note("configuration", format!("{} is not there: the defaults hold", path.display()))
            });
            findings.extend(files(data, &config));
            let client = Client::new(data)?;
            match client.get::<Vec<Finding>>("doctor").await {
                Ok(more) => {
                    findings.push(Finding::ok("server", format!("answers at {}", config.socket.display())));
                    findings.extend(more);
                    if let Some(to) = push {
                        findings.extend(try_push(&client, to).await?);
                    }
                }
                Err(Failure::Local { fault, .. }) => findings.push(Finding::wrong("server", format!("{fault:#}"))),
                Err(Failure::Problem(problem)) => findings.push(Finding::wrong("server", problem.detail)),
                Err(Failure::Reported) => {}
            }
        }
    }
    let wrong = findings.iter().filter(|finding| finding.level == Level::Wrong).count();
    if output.is_json() {
        output.document(&findings);
    } else {
        for finding in &findings {
            let mark = match finding.level {
                Level::Ok => "ok   ",
                Level::Note => "note ",
                Level::Wrong => "WRONG",
            };
            output.line(&format!("{mark}  {}: {}", finding.about, finding.text));
        }
        output.line(&match wrong {
            0 => "nothing is wrong".to_owned(),
            1 => "1 thing is wrong".to_owned(),
            more => format!("{more} things are wrong"),
        });
    }
    if wrong == 0 { Ok(()) } else { Err(Failure::Reported) }
}

/// Sends a push, and says what came back.
async fn try_push(client: &Client, to: &str) -> Result<Vec<Finding>, Failure> {
    const ABOUT: &str = "test push";
    let tried: Vec<PushTried> = match client.post("push-test", &json!({ "to": to })).await {
        Ok(tried) => tried,
        Err(Failure::Problem(problem)) => return Ok(vec![Finding::wrong(ABOUT, problem.detail)]),
        Err(failure) => return Err(failure),
    };
    let finding = |tried: PushTried| {
        let text = format!("{} of {} ({}): {}", tried.name, tried.user, tried.device, tried.answer.words);
        if tried.answer.taken { Finding::ok(ABOUT, text) } else { Finding::wrong(ABOUT, text) }
    };
    Ok(tried.into_iter().map(finding).collect())
}

/// Whether others can get at what is the server's only (S99).
fn files(data: &Path, config: &Config) -> Vec<Finding> {
    let mut out = Vec::new();
    match std::fs::metadata(data) {
        Err(fault) => out.push(Finding::wrong("data folder", format!("{}: {fault}", data.display()))),
        Ok(about) if about.permissions().mode() & 0o077 != 0 => out.push(Finding::note(
            "data folder",
            format!(
                "{} can be opened by other accounts (mode {:03o}): chmod 700 {}",
                data.display(),
                about.permissions().mode() & 0o777,
                data.display()
            ),
        )),
        Ok(about) => {
            out.push(Finding::ok("data folder", format!("{}, owned by uid {}", data.display(), about.uid())));
        }
    }
    let journal = |end: &str| {
        let mut path = config.database.clone().into_os_string();
        path.push(end);
        path.into()
    };
    let mut private = vec![config.keys.clone(), config.database.clone(), journal("-wal"), journal("-shm")];
    private.push(config.socket.clone());
    private.push(config.checkpoints.clone());
    private.extend(config.tls.as_ref().map(|tls| tls.key.clone()));
    for path in private {
        let Ok(about) = std::fs::metadata(&path) else { continue };
        let mode = about.permissions().mode() & 0o777;
        let allowed = if config.tls.as_ref().is_some_and(|tls| tls.key == path) { 0o770 } else { 0o700 };
        if mode & !allowed != 0 {
            out.push(Finding::wrong(
                "files",
                format!(
                    "{} can be used by other accounts (mode {mode:03o}): chmod 600 {}",
                    path.display(),
                    path.display()
                ),
            ));
        }
    }
    if !config.keys.exists() && config.database.exists() {
        out.push(Finding::wrong(
            "files",
            format!("key file {} is missing: put it back from your copy", config.keys.display()),
        ));
    }
    if let Some(tls) = &config.tls
        && !tls.cert.exists()
    {
        out.push(Finding::wrong("files", format!("[app] tls_cert {} is missing", tls.cert.display())));
    }
    out
}
