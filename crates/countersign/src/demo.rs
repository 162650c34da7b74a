//! `countersign demo`: a server to try things out with, in a folder of its own.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Write as _},
    net::{Ipv4Addr, TcpListener, UdpSocket},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};
use countersign_api::{
    admin::{
        devices::DeviceView,
        resources::{ResourceChanged, ResourceView},
        users::UserView,
    },
    app::AppFiles,
};
use countersign_device_protocol::encoding::encode;
use countersign_domain::Entropy;
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    client::Client,
    commands::activation,
    config::Config,
    logging::{self, LogFormat},
    output::{Failure, Output},
    runtime::{SystemEntropy, guard_process},
    serve::{Server, Stop},
};

/// The folder unless somebody says otherwise.
pub(crate) const DATA: &str = "demo-data";

/// How the file of a demo begins.
const MARK: &str = "# A countersign demo";

const USER: &str = "alice";
const RESOURCE: &str = "demo";
/// Above 1024 and beside the usual 1812, so that a real server on the same machine is not in the way.
const RADIUS: u16 = 18_120;
const APP: u16 = 8080;
/// Seconds; longer than usual, for people who read first.
const ACTIVATION: u64 = 3600;

pub(crate) async fn demo(data: &Path, output: Output) -> Result<(), Failure> {
    guard_process();
    logging::start(LogFormat::Text, "warn")?;
    let mut stop = Stop::new()?;
    match fs::read_to_string(crate::config::path(data)) {
        // COUNTERSIGN_DATA may name a real installation.
        Ok(text) if !text.starts_with(MARK) => {
            return Err(anyhow!(
                "{} holds an installation that is no demo: name another folder with --data",
                data.display()
            )
            .into());
        }
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => Config::create(data, &config()?)?,
        _ => {}
    }
    let server = Server::start(data, Config::load(data)?).await?;
    let shown = show(&server, data, output).await;
    if shown.is_ok() {
        output.line(&server.ready());
        output.line("Ctrl-C ends the demo; started again it goes on with the same data.");
    }
    // It is closed in order, also where showing failed.
    match shown {
        Ok(()) => server.run(&mut stop).await?,
        Err(failure) => {
            server.close().await;
            return Err(failure);
        }
    }
    Ok(())
}

/// The file of a new demo: everything on this machine only, on ports that are free.
fn config() -> Result<String> {
    let radius = UdpSocket::bind((Ipv4Addr::LOCALHOST, RADIUS))
        .or_else(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)))
        .and_then(|socket| socket.local_addr())
        .context("no port is free for RADIUS")?;
    let app = TcpListener::bind((Ipv4Addr::LOCALHOST, APP))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .and_then(|socket| socket.local_addr())
        .context("no port is free for the app")?;
    Ok(format!(
        "{MARK}: reached from this machine only.\n\n[server]\norganization = \"countersign demo\"\n\n[radius]\nlisten = \
         \"{radius}\"\n\n[app]\nlisten = \"{app}\"\nurl = \"http://localhost:{}\"\n",
        app.port()
    ))
}

async fn show(server: &Server, data: &Path, output: Output) -> Result<(), Failure> {
    let client = Client::new(data)?;
    let (password_file, secret_file) = (data.join("alice-password"), data.join("radius-secret"));
    let password = user(&client, &password_file).await?;
    resource(&client, &secret_file).await?;
    let devices: Vec<DeviceView> = client.get(&format!("devices?user={USER}")).await?;
    let active = devices.iter().any(|device| device.state == "active");

    let program = program();
    let phone = format!("{program} phone --state {}", quoted(data.join("phone.json").as_os_str()));
    let anew = format!("{program} --data {} activation issue {USER}", quoted(data.as_os_str()));
    let issued = if active { None } else { Some(activation::issue(&client, USER, ACTIVATION).await?) };
    match &issued {
        Some(issued) => activation::print(issued, None, output)?,
        None => output.line(&format!("{USER} has a device already. A code for one more: {anew}")),
    }
    output.line("");
    output.facts(&[
        ("  user", format!("{USER}, password {}", *password)),
        ("  resource", format!("{RESOURCE}, for RADIUS from 127.0.0.1, its secret is in {}", secret_file.display())),
    ]);
    output.line("");
    let radius = server.radius().map(|address| address.to_string()).unwrap_or_default();
    let login = format!(
        "cat {} {} | {program} radius-login {USER} --server {radius} --secret-stdin --password-stdin",
        quoted(secret_file.as_os_str()),
        quoted(password_file.as_os_str()),
    );
    let has_app = !AppFiles::embedded().is_empty();
    if has_app {
        output.line("Try it:");
        output.line("");
        output.line(&match &issued {
            Some(_) => format!(
                "  1. Open {} in a browser on this machine. Tap +, scan the QR code above or type the code, tap Activate.",
                server.url()
            ),
            None => format!("  1. Open {} in the browser that has the account.", server.url()),
        });
        output.line("  2. Log on from another terminal. It waits for the app:");
        output.line(&format!("       {login}"));
        output.line("  3. Tap Verify in the app.");
        output.line("");
        output.line(
            "A phone needs an https address with a certificate that it trusts: docs/guide/phone-app.md says how.",
        );
        output.line("Without a browser, with a phone in the terminal instead (each line in one of its own):");
    } else {
        output.line(
            "This build has no phone app: `make run` builds it, with Node. Try it with a phone in the terminal, each",
        );
        output.line("line in one of its own:");
    }
    output.line("");
    output.line(&match &issued {
        Some(issued) => format!("  {phone} activate {} {}", issued.url, issued.code),
        None => format!("  {anew}"),
    });
    output.line(&format!("  {phone} watch"));
    if !has_app {
        output.line(&format!("  {login}"));
    }
    output.line("");
    Ok(())
}

/// The user of the demo; the password, which is kept in a file so that the login above can be repeated.
async fn user(client: &Client, file: &Path) -> Result<Zeroizing<String>, Failure> {
    let path = format!("users/{USER}");
    match client.get::<UserView>(&path).await {
        Ok(_) => {
            if let Some(password) = read(file)? {
                return Ok(password);
            }
            // Nobody knows it any more: begin again.
            client.delete(&path).await?;
        }
        Err(Failure::Problem(problem)) if problem.code == "user_unknown" => {}
        Err(failure) => return Err(failure),
    }
    let entropy: &dyn Entropy = &*SystemEntropy::new();
    let password = Zeroizing::new(format!("demo-{}", encode(&entropy.octets::<6>())));
    let body = json!({"name": USER, "display_name": "Alice Demo", "password": *password});
    client.post::<UserView>("users", &body).await?;
    write(file, &password)?;
    Ok(password)
}

/// The resource of the demo, its secret in a file.
async fn resource(client: &Client, file: &Path) -> Result<(), Failure> {
    let path = format!("resources/{RESOURCE}");
    let changed: ResourceChanged = match client.get::<ResourceView>(&path).await {
        Ok(_) if read(file)?.is_some() => return Ok(()),
        Ok(_) => client.patch(&path, &json!({"generate_secret": true})).await?,
        Err(Failure::Problem(problem)) if problem.code == "resource_unknown" => {
            let body = json!({
                "name": RESOURCE,
                "clients": ["127.0.0.1/32"],
                "generate_secret": true,
                "primary": "local",
            });
            client.post("resources", &body).await?
        }
        Err(failure) => return Err(failure),
    };
    Ok(write(file, &changed.secret.unwrap_or_default())?)
}

fn read(file: &Path) -> Result<Option<Zeroizing<String>>> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(Zeroizing::new(text.trim_end_matches('\n').to_owned()))),
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(fault) => Err(fault).with_context(|| format!("{} cannot be read", file.display())),
    }
}

fn write(file: &Path, text: &str) -> Result<()> {
    let opened = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file);
    opened
        .and_then(|mut to| to.write_all(format!("{text}\n").as_bytes()))
        .with_context(|| format!("{} cannot be written", file.display()))
}

/// How the program was called, to be called again in another terminal.
fn program() -> String {
    let name = std::env::args_os().next().unwrap_or_default();
    if Path::new(&name).components().count() > 1 {
        quoted(PathBuf::from(name).as_os_str())
    } else {
        "countersign".to_owned()
    }
}

/// As a shell takes it.
fn quoted(text: &OsStr) -> String {
    let text = text.to_string_lossy();
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c)) {
        return text.into_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_quoted_where_a_shell_needs_it() {
        assert_eq!(quoted(OsStr::new("demo-data/phone.json")), "demo-data/phone.json");
        assert_eq!(quoted(OsStr::new("it's here/x")), "'it'\\''s here/x'");
    }

    #[test]
    fn the_file_of_a_demo_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("demo");
        Config::create(&data, &config().unwrap()).unwrap();
        let config = Config::load(&data).unwrap();
        assert!(config.app_listen.ip().is_loopback() && config.radius_listen.iter().all(|at| at.ip().is_loopback()));
        assert_eq!(config.url.as_str(), format!("http://localhost:{}", config.app_listen.port()));
    }
}
