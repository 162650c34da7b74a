//! `countersign resource`.

use std::path::Path;

use countersign_api::admin::resources::{ResourceChanged, ResourceView};
use serde_json::{Map, Value, json};

use crate::{
    cli::{
        AddResource, Charset, Expects, Primary, ResourceCommand, ResourceName, SetResource, Switch, UserVerification,
        Way,
    },
    client::{Client, piece},
    commands::from_stdin,
    output::{Failure, Output},
};

pub(crate) async fn run(command: ResourceCommand, data: &Path, output: Output) -> Result<(), Failure> {
    let client = Client::new(data)?;
    match command {
        ResourceCommand::Add(new) => add(&client, new, output).await,
        ResourceCommand::List => list(&client, output).await,
        ResourceCommand::Show(ResourceName { name }) => {
            let resource: ResourceView = client.get(&format!("resources/{}", piece(&name))).await?;
            if output.is_json() {
                output.document(&resource);
            } else {
                print(&resource, output);
            }
            Ok(())
        }
        ResourceCommand::Set(new) => set(&client, new, output).await,
        ResourceCommand::Remove(ResourceName { name }) => {
            client.delete(&format!("resources/{}", piece(&name))).await?;
            if output.is_json() {
                output.document(&json!({"removed": name}));
            } else {
                output.line(&format!("resource {name} and its clients are removed"));
            }
            Ok(())
        }
    }
}

async fn add(client: &Client, new: AddResource, output: Output) -> Result<(), Failure> {
    let mut body = json!({
        "name": new.resource.name,
        "kind": new.kind.word(),
        "clients": new.clients,
        "generate_secret": new.generate_secret,
        "primary": new.primary.map(Primary::word),
        "directory": new.directory,
        "upstream": new.upstream,
        "expects": new.expects.map(Expects::word),
        "ms_chap": new.ms_chap.map(Switch::is_on),
        "eap": new.eap.map(Switch::is_on),
        "allow_groups": new.allow_groups,
        "require_groups": new.require_groups,
        "reply": new.reply,
        "charset": new.charset.map(Charset::word),
        "require_message_authenticator": !new.no_require_message_authenticator,
        "answer_by": new.answer_by,
        "retries": new.retries.word(),
        "user_verification": new.user_verification.map(UserVerification::word),
        "remember": new.remember,
        "windows": windows(new.windows, new.no_windows),
        "prompt": if new.prompt.is_empty() { Value::Null } else { words(&new.prompt) },
    });
    if let Some(template) = new.template {
        template.fill(&mut body);
    }
    if let (true, Some(body)) = (new.secret_stdin, body.as_object_mut()) {
        body.insert("secret".to_owned(), Value::String(from_stdin("shared secret")?.to_string()));
    }
    let changed: ResourceChanged = client.post("resources", &body).await?;
    say(&changed, "added", output);
    if let (Some(template), false) = (new.template, output.is_json()) {
        output.line("");
        for (number, step) in (1..).zip(template.next_steps()) {
            output.line(&format!("{number}. {step}"));
        }
    }
    Ok(())
}

async fn set(client: &Client, new: SetResource, output: Output) -> Result<(), Failure> {
    let mut body = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    put("name", new.rename.map(Value::String));
    put("clients", (!new.clients.is_empty()).then(|| new.clients.into()));
    put("primary", new.primary.map(|primary| primary.word().into()));
    put("directory", new.directory.map(Value::String));
    put("upstream", new.upstream.map(Value::String));
    put("expects", new.expects.map(|expects| expects.word().into()));
    put("ms_chap", new.ms_chap.map(|switch| switch.is_on().into()));
    put("eap", new.eap.map(|switch| switch.is_on().into()));
    put("directory", new.no_directory.then(|| Value::String(String::new())));
    put("allow_groups", (!new.allow_groups.is_empty()).then(|| new.allow_groups.into()));
    put("allow_groups", new.allow_all_groups.then(|| Value::Array(Vec::new())));
    put("require_groups", (!new.require_groups.is_empty()).then(|| new.require_groups.into()));
    put("require_groups", new.no_require_groups.then(|| Value::Array(Vec::new())));
    put("reply", (!new.reply.is_empty()).then(|| new.reply.into()));
    put("reply", new.no_reply.then(|| Value::Array(Vec::new())));
    put("charset", new.charset.map(|charset| charset.word().into()));
    put("answer_by", new.answer_by.map(Value::from));
    put("retries", new.retries.map(|retries| retries.word().into()));
    put("remember", new.remember.map(Value::from));
    put("user_verification", new.user_verification.map(|asks| asks.word().into()));
    put("prompt", (!new.prompt.is_empty()).then(|| words(&new.prompt)));
    put("prompt", new.no_prompt.then(|| Value::Array(Vec::new())));
    put("windows", windows(new.windows, new.no_windows).map(Value::Bool));
    put("require_message_authenticator", new.require_message_authenticator.then_some(Value::Bool(true)));
    put("require_message_authenticator", new.no_require_message_authenticator.then_some(Value::Bool(false)));
    put("generate_secret", new.generate_secret.then_some(Value::Bool(true)));
    if new.secret_stdin {
        put("secret", Some(Value::String(from_stdin("shared secret")?.to_string())));
    }
    let path = format!("resources/{}", piece(&new.resource.name));
    let changed: ResourceChanged = client.patch(&path, &Value::Object(body)).await?;
    say(&changed, "changed", output);
    Ok(())
}

fn words(ways: &[Way]) -> Value {
    ways.iter().map(|way| way.word()).collect()
}

/// What was said of sign-in windows, if anything.
const fn windows(on: bool, off: bool) -> Option<bool> {
    if on || off { Some(on) } else { None }
}

fn say(changed: &ResourceChanged, verb: &str, output: Output) {
    if output.is_json() {
        output.document(changed);
        return;
    }
    output.line(&format!("resource {} is {verb}", changed.resource.name));
    print(&changed.resource, output);
    if let Some(secret) = &changed.secret {
        output.line(&format!("secret                 {secret}"));
        output.line("The secret is shown this once: type it into the client now.");
    }
    for warning in &changed.warnings {
        output.aside(&format!("note: {warning}"));
    }
}

fn print(resource: &ResourceView, output: Output) {
    let mut facts = vec![
        ("name", resource.name.clone()),
        ("kind", resource.kind.clone()),
        ("clients", resource.client_names.join(", ")),
        ("addresses", resource.clients.join(", ")),
        ("primary", resource.primary.clone()),
    ];
    if let Some(directory) = &resource.directory {
        let groups = if resource.allow_groups.is_empty() {
            "everybody in it".to_owned()
        } else {
            resource.allow_groups.join(", ")
        };
        facts.push(("directory", directory.clone()));
        facts.push(("allowed", groups));
        if !resource.require_groups.is_empty() {
            facts.push(("required", resource.require_groups.join(" and ")));
        }
    }
    if let (Some(upstream), Some(expects)) = (&resource.upstream, &resource.expects) {
        facts.push(("upstream", upstream.clone()));
        facts.push(("expects", expects.clone()));
        facts.push(("MS-CHAP", if resource.ms_chap { "allowed" } else { "refused" }.to_owned()));
        facts.push(("EAP", if resource.eap { "allowed" } else { "refused" }.to_owned()));
    }
    facts.extend(resource.reply.iter().map(|attribute| ("reply", attribute.clone())));
    facts.extend([
        ("charset", resource.charset.clone()),
        ("message-authenticator", required(resource).to_owned()),
        ("answer by", format!("{} s", resource.answer_by)),
        ("retries", resource.retries.clone()),
        ("user verification", resource.user_verification.clone()),
        (
            "remembers",
            match resource.remember {
                0 => "no approvals".to_owned(),
                seconds => format!("an approval for {seconds} s, for one further login"),
            },
        ),
        ("prompt", if resource.prompt.is_empty() { "none".to_owned() } else { resource.prompt.join(", ") }),
        ("sign-in windows", if resource.windows { "yes" } else { "no" }.to_owned()),
        ("added", resource.created_at.clone()),
        ("id", resource.id.clone()),
    ]);
    output.facts(&facts);
}

const fn required(resource: &ResourceView) -> &'static str {
    if resource.require_message_authenticator { "required" } else { "not required" }
}

async fn list(client: &Client, output: Output) -> Result<(), Failure> {
    let resources: Vec<ResourceView> = client.get("resources").await?;
    if output.is_json() {
        output.document(&resources);
        return Ok(());
    }
    let rows: Vec<_> = resources
        .iter()
        .map(|resource| {
            vec![
                resource.name.clone(),
                resource.kind.clone(),
                resource.clients.join(" "),
                match &resource.directory {
                    Some(directory) => format!("{} ({directory})", resource.primary),
                    None => resource.primary.clone(),
                },
                required(resource).to_owned(),
                format!("{} s", resource.answer_by),
            ]
        })
        .collect();
    output.table(
        &["NAME", "KIND", "CLIENTS", "PRIMARY", "MESSAGE-AUTHENTICATOR", "ANSWER BY"],
        &rows,
        "no resources: countersign resource add NAME --client ADDRESS --generate-secret adds one",
    );
    Ok(())
}
