//! `countersign client …`.

use std::path::Path;

use countersign_api::admin::clients::{ClientChanged, ClientView};
use countersign_domain::PreviousSecret;
use serde_json::{Map, Value, json};

use crate::{
    cli::{AddClient, ClientCommand, ClientName, SetClient},
    client::{Client, piece},
    commands::from_stdin,
    output::{Failure, Output},
};

pub(crate) async fn run(command: ClientCommand, data: &Path, output: Output) -> Result<(), Failure> {
    let server = Client::new(data)?;
    match command {
        ClientCommand::Add(new) => add(&server, new, output).await,
        ClientCommand::List => list(&server, output).await,
        ClientCommand::Show(ClientName { name }) => {
            let client: ClientView = server.get(&format!("clients/{}", piece(&name))).await?;
            if output.is_json() {
                output.document(&client);
            } else {
                print(&client, output);
            }
            Ok(())
        }
        ClientCommand::Set(new) => set(&server, new, output).await,
        ClientCommand::Remove(ClientName { name }) => {
            server.delete(&format!("clients/{}", piece(&name))).await?;
            if output.is_json() {
                output.document(&json!({"removed": name}));
            } else {
                output.line(&format!("client {name} is removed"));
            }
            Ok(())
        }
    }
}

async fn add(server: &Client, new: AddClient, output: Output) -> Result<(), Failure> {
    let mut body = json!({
        "name": new.client.name,
        "addresses": new.addresses,
        "resource": new.resource,
        "rules": new.rules,
        "generate_secret": new.generate_secret,
        "tls_fingerprint": new.tls_fingerprint,
        "tls_name": new.tls_name,
    });
    if let (true, Some(body)) = (new.secret_stdin, body.as_object_mut()) {
        body.insert("secret".to_owned(), Value::String(from_stdin("shared secret")?.to_string()));
    }
    if let (true, Some(body)) = (new.no_require_message_authenticator, body.as_object_mut()) {
        body.insert("require_message_authenticator".to_owned(), Value::Bool(false));
    }
    let changed: ClientChanged = server.post("clients", &body).await?;
    say(&changed, "added", output);
    Ok(())
}

async fn set(server: &Client, new: SetClient, output: Output) -> Result<(), Failure> {
    let mut body = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    put("name", new.rename.map(Value::String));
    put("addresses", (!new.addresses.is_empty()).then(|| new.addresses.into()));
    put("tls_fingerprint", new.tls_fingerprint.map(Value::String));
    put("tls_name", new.tls_name.map(Value::String));
    put("resource", new.resource.map(Value::String));
    put("rules", (!new.rules.is_empty()).then(|| new.rules.into()));
    put("rules", new.no_match.then(|| Value::Array(Vec::new())));
    put("require_message_authenticator", new.require_message_authenticator.then_some(Value::Bool(true)));
    put("require_message_authenticator", new.no_require_message_authenticator.then_some(Value::Bool(false)));
    put("generate_secret", (new.generate_secret || new.new_secret).then_some(Value::Bool(true)));
    let overlap = new.overlap.or(new.new_secret.then_some(PreviousSecret::LONGEST));
    put("overlap_seconds", overlap.map(|overlap| overlap.as_secs().into()));
    put("end_overlap", new.end_overlap.then_some(Value::Bool(true)));
    if new.secret_stdin {
        put("secret", Some(Value::String(from_stdin("shared secret")?.to_string())));
    }
    let path = format!("clients/{}", piece(&new.client.name));
    let changed: ClientChanged = server.patch(&path, &Value::Object(body)).await?;
    say(&changed, "changed", output);
    Ok(())
}

fn say(changed: &ClientChanged, verb: &str, output: Output) {
    if output.is_json() {
        output.document(changed);
        return;
    }
    output.line(&format!("client {} is {verb}", changed.client.name));
    print(&changed.client, output);
    if let Some(secret) = &changed.secret {
        output.line(&format!("secret                 {secret}"));
        output.line("The secret is shown this once: type it into the client now.");
    }
    for warning in &changed.warnings {
        output.aside(&format!("note: {warning}"));
    }
}

fn print(client: &ClientView, output: Output) {
    let mut facts = vec![
        ("name", client.name.clone()),
        ("addresses", addresses(client, ", ")),
        ("resource", client.resource.clone()),
    ];
    facts.extend(client.tls.iter().map(|identity| ("tls certificate", identity.clone())));
    facts.extend(client.rules.iter().map(|rule| ("match", rule.clone())));
    facts.push(("message-authenticator", required(client).to_owned()));
    if let Some(previous) = &client.previous_secret {
        let used = |packets: u64, last: &Option<String>| match last {
            Some(last) => format!("{packets} packets, the last at {last}"),
            None => "no packet yet".to_owned(),
        };
        facts.push(("new secret", used(previous.packets_by_new, &previous.last_by_new)));
        let before = used(previous.packets, &previous.last);
        facts.push(("secret before", format!("valid until {}; {before}", previous.until)));
    }
    facts.push(("id", client.id.clone()));
    output.facts(&facts);
}

const fn required(client: &ClientView) -> &'static str {
    match (&client.tls, client.require_message_authenticator) {
        (Some(_), _) => "over TLS",
        (None, true) => "required",
        (None, false) => "not required",
    }
}

fn addresses(client: &ClientView, between: &str) -> String {
    if client.addresses.is_empty() { "anywhere".to_owned() } else { client.addresses.join(between) }
}

async fn list(server: &Client, output: Output) -> Result<(), Failure> {
    let clients: Vec<ClientView> = server.get("clients").await?;
    if output.is_json() {
        output.document(&clients);
        return Ok(());
    }
    let rows: Vec<_> = clients
        .iter()
        .map(|client| {
            vec![
                client.name.clone(),
                addresses(client, " "),
                client.resource.clone(),
                client.rules.len().to_string(),
                required(client).to_owned(),
            ]
        })
        .collect();
    output.table(
        &["NAME", "ADDRESSES", "RESOURCE", "RULES", "MESSAGE-AUTHENTICATOR"],
        &rows,
        "no clients: countersign resource add NAME --client ADDRESS --generate-secret adds a resource and one",
    );
    Ok(())
}
