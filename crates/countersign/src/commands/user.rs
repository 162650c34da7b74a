//! `countersign user`.

use std::path::Path;

use countersign_api::admin::{bypasses::BypassIssued, devices::DeviceView, users::UserView};
use serde_json::{Value, json};

use crate::{
    cli::{AddUser, SetUser, UserCommand, UserName},
    client::{Client, piece},
    commands::{ask_new_password, ask_password, from_stdin},
    output::{Failure, Output},
};

pub(crate) async fn run(command: UserCommand, data: &Path, output: Output) -> Result<(), Failure> {
    let client = Client::new(data)?;
    match command {
        UserCommand::Add(new) => add(&client, new, output).await,
        UserCommand::List => list(&client, output).await,
        UserCommand::Show(UserName { name }) => show(&client, &name, output).await,
        UserCommand::Disable(UserName { name }) => change(&client, &name, "disable", &json!({}), output).await,
        UserCommand::Enable(UserName { name }) => change(&client, &name, "enable", &json!({}), output).await,
        UserCommand::Unlock { user: UserName { name }, reason } => {
            change(&client, &name, "unlock", &json!({"reason": reason}), output).await
        }
        UserCommand::Set(new) => set(&client, new, output).await,
        UserCommand::Bypass { user: UserName { name }, cancel: true, .. } => {
            client.delete(&format!("users/{}/bypass", piece(&name))).await?;
            if output.is_json() {
                output.document(&json!({"user": name, "bypass": null}));
            } else {
                output.line(&format!("user {name} has no bypass"));
            }
            Ok(())
        }
        UserCommand::Bypass { user: UserName { name }, seconds, reason, .. } => {
            bypass(&client, &name, &json!({"seconds": seconds, "reason": reason.unwrap_or_default()}), output).await
        }
        UserCommand::Remove(UserName { name }) => {
            client.delete(&format!("users/{}", piece(&name))).await?;
            if output.is_json() {
                output.document(&json!({"removed": name}));
            } else {
                output.line(&format!("user {name} and all devices of the user are removed"));
            }
            Ok(())
        }
    }
}

async fn add(client: &Client, new: AddUser, output: Output) -> Result<(), Failure> {
    let name = new.user.name;
    let password = match (new.password_stdin, new.no_password) {
        (true, _) => Some(from_stdin("password")?),
        (false, true) => None,
        (false, false) => Some(ask_new_password(&name)?),
    };
    let mut body = json!({"name": name, "display_name": new.display_name, "chap": new.chap});
    if let (Some(password), Some(body)) = (password, body.as_object_mut()) {
        body.insert("password".to_owned(), Value::String(password.to_string()));
    }
    let user: UserView = client.post("users", &body).await?;
    if output.is_json() {
        output.document(&user);
    } else {
        if user.chap {
            output.aside(KEPT);
        }
        output.line(&format!(
            "user {} is added. Next, for a device: countersign activation issue {}",
            user.name, user.name
        ));
    }
    Ok(())
}

/// What it means that a password is kept.
const KEPT: &str = "note: the password itself is kept now, sealed under the key file: whoever has the database and the key file \
                    can read it. Use PAP where the client can, and `countersign user set NAME --no-chap` then";

async fn set(client: &Client, new: SetUser, output: Output) -> Result<(), Failure> {
    let name = new.user.name;
    let user: UserView = if new.chap {
        let password = if new.password_stdin { from_stdin("password")? } else { ask_password(&name)? };
        client.post(&format!("users/{}/chap", piece(&name)), &json!({"password": password.as_str()})).await?
    } else {
        client.post(&format!("users/{}/no-chap", piece(&name)), &json!({})).await?
    };
    if output.is_json() {
        output.document(&user);
    } else if user.chap {
        output.line(&format!("user {} can log on by CHAP", user.name));
        output.aside(KEPT);
    } else {
        output.line(&format!("user {} cannot log on by CHAP; no password is kept", user.name));
    }
    Ok(())
}

async fn bypass(client: &Client, name: &str, body: &Value, output: Output) -> Result<(), Failure> {
    let issued: BypassIssued = client.post(&format!("users/{}/bypass", piece(name)), body).await?;
    if output.is_json() {
        output.document(&issued);
        return Ok(());
    }
    output.line(&format!(
        "The next login of {} until {} is let in without a second factor, once. It raises an alert, and the user's phones show \
         it. Take it back with: countersign user bypass {} --cancel",
        issued.user, issued.bypass.until, issued.user
    ));
    if !issued.unproved_at.is_empty() {
        output.line(&format!(
            "WARNING: nobody here checks a password for {}. There it is used up by whoever the client lets ask as {}: make \
             sure that the client checks the password itself",
            issued.unproved_at.join(", "),
            issued.user
        ));
    }
    Ok(())
}

fn limits(user: &UserView) -> String {
    if user.limits.is_empty() { "none".to_owned() } else { user.limits.join("; ") }
}

fn enabled(user: &UserView) -> String {
    match (&user.held, user.enabled) {
        (_, true) => "yes".to_owned(),
        (None, false) => "no".to_owned(),
        (Some(why), false) => format!("no ({why})"),
    }
}

async fn list(client: &Client, output: Output) -> Result<(), Failure> {
    let users: Vec<UserView> = client.get("users").await?;
    if output.is_json() {
        output.document(&users);
        return Ok(());
    }
    let rows: Vec<_> = users
        .iter()
        .map(|user| {
            vec![
                user.name.clone(),
                user.display_name.clone(),
                user.directory.clone().unwrap_or_else(|| "-".to_owned()),
                enabled(user),
                user.devices.to_string(),
                limits(user),
            ]
        })
        .collect();
    output.table(
        &["NAME", "DISPLAY NAME", "DIRECTORY", "ENABLED", "DEVICES", "LIMITED"],
        &rows,
        "no users: countersign user add NAME adds one",
    );
    Ok(())
}

async fn show(client: &Client, name: &str, output: Output) -> Result<(), Failure> {
    let user: UserView = client.get(&format!("users/{}", piece(name))).await?;
    if output.is_json() {
        output.document(&user);
        return Ok(());
    }
    print(&user, output);
    let devices: Vec<DeviceView> = client.get(&format!("devices?user={}", piece(&user.name))).await?;
    if !devices.is_empty() {
        output.line("");
        super::device::table(&devices, output);
    }
    Ok(())
}

fn print(user: &UserView, output: Output) {
    let suspended = match user.devices_suspended {
        0 => String::new(),
        some => format!(", and {some} suspended"),
    };
    let mut facts = vec![("name", user.name.clone()), ("display name", user.display_name.clone())];
    if let (Some(directory), Some(entry)) = (&user.directory, &user.entry) {
        facts.push(("directory", format!("{directory}, entry {entry}")));
    }
    facts.extend([
        (
            "enabled",
            match (&user.held, &user.held_since) {
                (Some(why), Some(since)) => format!("no: {why} in the directory, found at {since}"),
                _ => enabled(user),
            },
        ),
        (
            "password",
            match (&user.directory, user.has_password) {
                (Some(_), _) => "that of the directory",
                (None, true) => "set",
                (None, false) => "none",
            }
            .to_owned(),
        ),
        ("CHAP", if user.chap { "yes: the password is kept" } else { "no" }.to_owned()),
        ("devices", format!("{}{suspended}", user.devices)),
        ("limited", limits(user)),
        (
            "bypass",
            match &user.bypass {
                None => "none".to_owned(),
                Some(bypass) if bypass.open => {
                    format!("the next login until {}, by {}: {}", bypass.until, bypass.issuer, bypass.reason)
                }
                Some(bypass) => format!("none; one of {} expired unused at {}", bypass.issuer, bypass.until),
            },
        ),
        ("added", user.created_at.clone()),
        ("id", user.id.clone()),
    ]);
    output.facts(&facts);
}

async fn change(client: &Client, name: &str, verb: &str, body: &Value, output: Output) -> Result<(), Failure> {
    let user: UserView = client.post(&format!("users/{}/{verb}", piece(name)), body).await?;
    if output.is_json() {
        output.document(&user);
    } else {
        output.line(&match verb {
            "disable" => format!("user {} is disabled: no login is taken", user.name),
            "enable" => format!("user {} is enabled", user.name),
            _ => format!("user {} is unlocked; limited: {}", user.name, limits(&user)),
        });
    }
    Ok(())
}
