//! `countersign directory`.

use std::path::Path;

use anyhow::Context as _;
use countersign_api::admin::directories::{DirectoryTested, DirectoryView};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::{
    cli::{AddDirectory, DirectoryCommand, DirectoryName, DirectorySettings, SetDirectory},
    client::{Client, piece},
    commands::from_stdin,
    output::{Failure, Output},
};

pub(crate) async fn run(command: DirectoryCommand, data: &Path, output: Output) -> Result<(), Failure> {
    let client = Client::new(data)?;
    match command {
        DirectoryCommand::Add(new) => add(&client, *new, output).await,
        DirectoryCommand::List => list(&client, output).await,
        DirectoryCommand::Show(DirectoryName { name }) => {
            let directory: DirectoryView = client.get(&format!("directories/{}", piece(&name))).await?;
            say(&directory, None, output);
            Ok(())
        }
        DirectoryCommand::Test { directory, user } => test(&client, &directory.name, user, output).await,
        DirectoryCommand::Sync { directory, full, dry_run, accept_removals } => {
            let how = json!({"full": full, "dry_run": dry_run, "accept_removals": accept_removals});
            super::synchronisation::run(&client, &directory.name, &how, dry_run, output).await
        }
        DirectoryCommand::Set(new) => set(&client, *new, output).await,
        DirectoryCommand::Remove { directory, with_users } => {
            let how = if with_users { "?with_users=true" } else { "" };
            client.delete(&format!("directories/{}{how}", piece(&directory.name))).await?;
            if output.is_json() {
                output.document(&json!({"removed": directory.name}));
            } else {
                let users = if with_users { ", and all users who came from it, with their devices," } else { "" };
                output.line(&format!("directory {}{users} is removed", directory.name));
            }
            Ok(())
        }
    }
}

/// The settings that were named.
fn named(settings: DirectorySettings) -> Result<Map<String, Value>, Failure> {
    let mut out = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            out.insert(name.to_owned(), value);
        }
    };
    let text = |text: Option<String>| text.map(Value::String);
    let some = |list: Vec<String>| (!list.is_empty()).then(|| Value::from(list));
    put("servers", some(settings.servers));
    put("kind", settings.kind.map(|kind| kind.word().into()));
    put("base_dn", text(settings.base));
    put("group_base_dn", text(settings.group_base));
    put("bind_name", text(settings.bind_name));
    put("netbios_domains", some(settings.netbios_domains));
    put("dns_domains", some(settings.dns_domains));
    put("login_attribute", text(settings.login_attribute));
    put("id_attribute", text(settings.id_attribute));
    put("user_filter", text(settings.user_filter));
    put("group_filter", text(settings.group_filter));
    put("mail_login", settings.mail_login.then_some(Value::Bool(true)));
    put("mail_login", settings.no_mail_login.then_some(Value::Bool(false)));
    if let Some(file) = settings.ca_file {
        // The server has another working folder.
        let file = std::path::absolute(&file).with_context(|| format!("{}", file.display()))?;
        let file = file.to_str().with_context(|| format!("{} is not UTF-8", file.display()))?;
        put("ca_file", Some(file.into()));
    }
    put("ca_file", settings.system_cas.then_some(Value::Null));
    Ok(out)
}

/// The rest of what can be set.
fn body(settings: DirectorySettings, password: Option<Zeroizing<String>>) -> Result<Map<String, Value>, Failure> {
    let mut body = Map::new();
    if let Some(threshold) = settings.lockout_threshold {
        body.insert("lockout_threshold".to_owned(), threshold.into());
    }
    if let Some(window) = settings.lockout_window {
        body.insert("lockout_window".to_owned(), window.into());
    }
    if let Some(password) = password {
        body.insert("password".to_owned(), Value::String(password.to_string()));
    }
    body.insert("sync".to_owned(), Value::Object(synced(&settings)));
    body.insert("settings".to_owned(), Value::Object(named(settings)?));
    Ok(body)
}

/// The settings of the synchronisation that were named.
fn synced(settings: &DirectorySettings) -> Map<String, Value> {
    let mut out = Map::new();
    if let Some(interval) = settings.sync_interval {
        out.insert("interval".to_owned(), interval.0.into());
    }
    if settings.no_sync_rules || !settings.sync_rules.is_empty() {
        out.insert("rules".to_owned(), settings.sync_rules.clone().into());
    }
    if let Some(brake) = settings.sync_brake {
        out.insert("brake".to_owned(), brake.into());
    }
    if let Some(days) = settings.sync_remove_after {
        out.insert("remove_after_days".to_owned(), days.0.into());
    }
    out
}

async fn add(client: &Client, new: AddDirectory, output: Output) -> Result<(), Failure> {
    let name = new.directory.name;
    let password = if new.settings.bind_password_stdin {
        from_stdin("password of the account")?
    } else {
        Zeroizing::new(
            rpassword::prompt_password("Password of the account that searches: ")
                .context("there is no terminal to ask for the password on: use --bind-password-stdin")?,
        )
    };
    let mut body = body(new.settings, Some(password))?;
    body.insert("name".to_owned(), name.into());
    let directory: DirectoryView = client.post("directories", &Value::Object(body)).await?;
    say(&directory, Some("added"), output);
    if !output.is_json() {
        output
            .line(&format!("Next, to see whether it works: countersign directory test {} --user NAME", directory.name));
    }
    Ok(())
}

async fn set(client: &Client, new: SetDirectory, output: Output) -> Result<(), Failure> {
    let password = new.settings.bind_password_stdin.then(|| from_stdin("password of the account")).transpose()?;
    let mut body = body(new.settings, password)?;
    if let Some(name) = new.rename {
        body.insert("name".to_owned(), name.into());
    }
    let path = format!("directories/{}", piece(&new.directory.name));
    let directory: DirectoryView = client.patch(&path, &Value::Object(body)).await?;
    say(&directory, Some("changed"), output);
    Ok(())
}

async fn test(client: &Client, name: &str, user: Option<String>, output: Output) -> Result<(), Failure> {
    let body = json!({ "user": user });
    let tested: DirectoryTested = client.post(&format!("directories/{}/test", piece(name)), &body).await?;
    if output.is_json() {
        output.document(&tested);
    } else {
        let mut server = None;
        for step in &tested.steps {
            if step.server != server {
                server.clone_from(&step.server);
                output.line(server.as_deref().unwrap_or("any of them"));
            }
            let mark = if step.ok { "ok   " } else { "WRONG" };
            output.line(&format!("  {mark}  {}: {}", step.step, step.text));
            if let Some(advice) = &step.advice {
                output.line(&format!("         {advice}"));
            }
        }
        output.line(&format!(
            "{} after {} ms",
            if tested.ok { "nothing is wrong" } else { "something is wrong" },
            tested.milliseconds
        ));
    }
    if tested.ok { Ok(()) } else { Err(Failure::Reported) }
}

fn say(directory: &DirectoryView, verb: Option<&str>, output: Output) {
    if output.is_json() {
        output.document(directory);
        return;
    }
    if let Some(verb) = verb {
        output.line(&format!("directory {} is {verb}", directory.name));
    }
    let mut facts = vec![("name", directory.name.clone())];
    for (name, value) in &directory.settings {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Array(list) if list.is_empty() => continue,
            Value::Array(list) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
            other => other.to_string(),
        };
        facts.push((name, value));
    }
    facts.push(("password", "set".to_owned()));
    facts.push(("locks accounts", lockout(directory)));
    facts.extend(super::synchronisation::facts(directory));
    facts.push(("resources", directory.resources.join(", ")));
    facts.push(("users", directory.users.to_string()));
    facts.push(("added", directory.created_at.clone()));
    facts.push(("id", directory.id.clone()));
    output.facts(&facts);
}

fn lockout(directory: &DirectoryView) -> String {
    match directory.lockout_threshold {
        0 => "never".to_owned(),
        threshold => {
            format!("at {threshold} wrong passwords, counted for {} min", directory.lockout_window.div_ceil(60))
        }
    }
}

async fn list(client: &Client, output: Output) -> Result<(), Failure> {
    let directories: Vec<DirectoryView> = client.get("directories").await?;
    if output.is_json() {
        output.document(&directories);
        return Ok(());
    }
    let text = |directory: &DirectoryView, name: &str| match directory.settings.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        _ => String::new(),
    };
    let rows: Vec<_> = directories
        .iter()
        .map(|directory| {
            vec![
                directory.name.clone(),
                text(directory, "kind"),
                text(directory, "servers"),
                text(directory, "base_dn"),
                directory.users.to_string(),
                super::synchronisation::short(directory),
                directory.resources.join(" "),
            ]
        })
        .collect();
    output.table(
        &["NAME", "KIND", "SERVERS", "BASE", "USERS", "SYNCHRONISED", "RESOURCES"],
        &rows,
        "no directories: countersign directory add NAME --server ldaps://DC --base DN --bind-name ACCOUNT adds one",
    );
    Ok(())
}
