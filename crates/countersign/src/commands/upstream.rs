//! `countersign upstream`.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use countersign_api::admin::upstreams::{UpstreamChanged, UpstreamServerView, UpstreamTested, UpstreamView};
use serde_json::{Map, Value, json};

use crate::{
    cli::{AddUpstream, SetUpstream, TestUpstream, UpstreamCommand, UpstreamName},
    client::{Client, piece},
    commands::from_stdin,
    output::{Failure, Output},
};

pub(crate) async fn run(command: UpstreamCommand, data: &Path, output: Output) -> Result<(), Failure> {
    let client = Client::new(data)?;
    match command {
        UpstreamCommand::Add(new) => add(&client, new, output).await,
        UpstreamCommand::List => list(&client, output).await,
        UpstreamCommand::Show(UpstreamName { name }) => {
            let upstream: UpstreamView = client.get(&format!("upstreams/{}", piece(&name))).await?;
            if output.is_json() {
                output.document(&upstream);
            } else {
                print(&upstream, output);
            }
            Ok(())
        }
        UpstreamCommand::Test(how) => test(&client, how, output).await,
        UpstreamCommand::Set(new) => set(&client, new, output).await,
        UpstreamCommand::Remove(UpstreamName { name }) => {
            client.delete(&format!("upstreams/{}", piece(&name))).await?;
            if output.is_json() {
                output.document(&json!({"removed": name}));
            } else {
                output.line(&format!("upstream {name} is removed"));
            }
            Ok(())
        }
    }
}

/// Servers with the secrets that were typed: one line for all of them, or one for each, those that keep accounting last;
/// they may be left out.
fn with_secrets(servers: &[String], accounting: &[String]) -> Result<(Vec<Value>, Vec<Value>), Failure> {
    let typed = from_stdin("shared secret")?;
    let lines: Vec<&str> = typed.split('\n').collect();
    let logins = servers.iter().filter(|server| !is_over_tls(server)).count();
    let all = logins.saturating_add(accounting.len());
    if ![1, logins, all].contains(&lines.len()) {
        let fault = anyhow!(
            "{} shared secrets on standard input for {all} servers: write one line for all of them, or one for each in their order",
            lines.len(),
        );
        return Err(fault.into());
    }
    let each = if lines.len() == 1 { all } else { lines.len() };
    let mut secrets = lines.iter().cycle().take(each);
    let mut with_secret = |server: &String| {
        if is_over_tls(server) {
            json!({"address": server})
        } else {
            json!({"address": server, "secret": secrets.next()})
        }
    };
    let servers = servers.iter().map(&mut with_secret).collect();
    Ok((servers, accounting.iter().map(with_secret).collect()))
}

fn is_over_tls(server: &str) -> bool {
    server.starts_with("tls://")
}

fn without_secrets(servers: &[String]) -> Vec<Value> {
    servers.iter().map(|server| json!({"address": server})).collect()
}

async fn add(client: &Client, new: AddUpstream, output: Output) -> Result<(), Failure> {
    let (servers, accounting) = if new.secret_stdin {
        with_secrets(&new.servers, &new.accounting)?
    } else {
        (without_secrets(&new.servers), without_secrets(&new.accounting))
    };
    let body = json!({
        "name": new.upstream.name,
        "servers": servers,
        "accounting": accounting,
        "generate_secrets": new.generate_secret,
    });
    let changed: UpstreamChanged = client.post("upstreams", &body).await?;
    say(&changed, "added", output);
    if !output.is_json() {
        output.line(&format!("Next, to see whether it works: countersign upstream test {}", changed.upstream.name));
    }
    Ok(())
}

async fn set(client: &Client, new: SetUpstream, output: Output) -> Result<(), Failure> {
    let path = format!("upstreams/{}", piece(&new.upstream.name));
    let mut body = Map::new();
    if let Some(name) = new.rename {
        body.insert("name".to_owned(), name.into());
    }
    let mut servers = new.servers;
    if new.secret_stdin && servers.is_empty() {
        let before: UpstreamView = client.get(&path).await?;
        servers = before.servers.into_iter().map(|server| server.address).collect();
    }
    let (servers, accounting) = if new.secret_stdin {
        with_secrets(&servers, &new.accounting)?
    } else {
        (without_secrets(&servers), without_secrets(&new.accounting))
    };
    if !servers.is_empty() {
        body.insert("servers".to_owned(), servers.into());
    }
    if !accounting.is_empty() || new.no_accounting {
        body.insert("accounting".to_owned(), accounting.into());
    }
    body.insert("generate_secrets".to_owned(), new.generate_secret.into());
    let changed: UpstreamChanged = client.patch(&path, &Value::Object(body)).await?;
    say(&changed, "changed", output);
    Ok(())
}

async fn test(client: &Client, how: TestUpstream, output: Output) -> Result<(), Failure> {
    let password = match (&how.user, how.no_password, how.password_stdin) {
        (None, ..) | (_, true, _) => None,
        (Some(_), false, true) => Some(from_stdin("password")?),
        (Some(user), false, false) => Some(zeroize::Zeroizing::new(
            rpassword::prompt_password(format!("Password of {}: ", crate::output::harmless(user)))
                .context("there is no terminal to ask for the password on: use --password-stdin, or --no-password")?,
        )),
    };
    let body = json!({"user": how.user, "password": password.map(|password| password.to_string())});
    let path = format!("upstreams/{}/test", piece(&how.upstream.name));
    let tested: UpstreamTested = client.post(&path, &body).await?;
    if output.is_json() {
        output.document(&tested);
    } else {
        for step in &tested.steps {
            let mark = if step.ok { "ok   " } else { "WRONG" };
            output.line(&format!("{mark}  {}: {}", step.server, step.text));
            if let Some(advice) = &step.advice {
                output.line(&format!("       {advice}"));
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

fn say(changed: &UpstreamChanged, verb: &str, output: Output) {
    if output.is_json() {
        output.document(changed);
        return;
    }
    output.line(&format!("upstream {} is {verb}", changed.upstream.name));
    print(&changed.upstream, output);
    for (address, secret) in &changed.secrets {
        output.line(&format!("secret for {address}  {secret}"));
    }
    if !changed.secrets.is_empty() {
        output.line("Secrets are shown this once: type them into the servers now, for this machine as their client.");
    }
    for warning in &changed.warnings {
        output.aside(&format!("note: {warning}"));
    }
}

fn print(upstream: &UpstreamView, output: Output) {
    let mut facts = vec![("name", upstream.name.clone())];
    facts.extend(upstream.servers.iter().map(|server| ("server", format!("{}: {}", server.address, state(server)))));
    let kept =
        |server: &UpstreamServerView| ("accounting", format!("{}: {}", server.address, accounting_state(server)));
    facts.extend(upstream.accounting.iter().map(kept));
    facts.extend([
        ("resources", upstream.resources.join(", ")),
        ("added", upstream.created_at.clone()),
        ("id", upstream.id.clone()),
    ]);
    output.facts(&facts);
}

/// How a server does, in one line.
fn state(server: &UpstreamServerView) -> String {
    let count = |word| server.counters.get(word).copied().unwrap_or(0);
    let (asked, accepts, rejects) = (count("asked"), count("accepts"), count("rejects"));
    format!("{}; {asked} asked, {accepts} accepted, {rejects} rejected", health(server))
}

/// The same of one that keeps accounting.
fn accounting_state(server: &UpstreamServerView) -> String {
    let count = |word| server.counters.get(word).copied().unwrap_or(0);
    format!("{}; {} asked, {} recorded", health(server), count("asked"), count("recorded"))
}

fn health(server: &UpstreamServerView) -> String {
    match (server.down_seconds, server.heard_seconds) {
        (Some(seconds), _) => format!("has not answered for {seconds} s"),
        (None, Some(seconds)) => format!("answered {seconds} s ago"),
        (None, None) => "not heard yet".to_owned(),
    }
}

async fn list(client: &Client, output: Output) -> Result<(), Failure> {
    let upstreams: Vec<UpstreamView> = client.get("upstreams").await?;
    if output.is_json() {
        output.document(&upstreams);
        return Ok(());
    }
    let mut rows = Vec::new();
    for upstream in &upstreams {
        for (place, server) in upstream.servers.iter().enumerate() {
            let name = if place == 0 { upstream.name.clone() } else { String::new() };
            rows.push(vec![name, server.address.clone(), state(server), upstream.resources.join(" ")]);
        }
    }
    output.table(
        &["NAME", "SERVER", "STATE", "RESOURCES"],
        &rows,
        "no upstreams: countersign upstream add NAME --server ADDRESS --generate-secret adds one",
    );
    Ok(())
}
