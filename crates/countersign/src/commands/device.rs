//! `countersign device`.

use std::path::Path;

use countersign_api::admin::devices::DeviceView;
use serde_json::json;

use crate::{
    cli::{DeviceCommand, DeviceId},
    client::{Client, piece},
    output::{Failure, Output},
};

pub(crate) async fn run(command: DeviceCommand, data: &Path, output: Output) -> Result<(), Failure> {
    let client = Client::new(data)?;
    match command {
        DeviceCommand::List { user } => {
            let query = user.map(|user| format!("?user={}", piece(&user))).unwrap_or_default();
            let devices: Vec<DeviceView> = client.get(&format!("devices{query}")).await?;
            if output.is_json() {
                output.document(&devices);
            } else {
                table(&devices, output);
            }
        }
        DeviceCommand::Resume(DeviceId { id }) => {
            let device: DeviceView = client.post(&format!("devices/{}/resume", piece(&id)), &json!({})).await?;
            if output.is_json() {
                output.document(&device);
            } else {
                output.line(&format!("device {} of {} may answer again", device.name, device.user));
            }
        }
        DeviceCommand::Remove(DeviceId { id }) => {
            client.delete(&format!("devices/{}", piece(&id))).await?;
            if output.is_json() {
                output.document(&json!({"removed": id}));
            } else {
                output.line(&format!("device {id} is removed"));
            }
        }
    }
    Ok(())
}

fn yes(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}

pub(super) fn table(devices: &[DeviceView], output: Output) {
    let rows: Vec<_> = devices
        .iter()
        .map(|device| {
            vec![
                device.id.clone(),
                device.user.clone(),
                device.name.clone(),
                device.platform.clone(),
                device.state.clone(),
                yes(device.push),
                yes(device.user_verification),
                device.created_at.clone(),
            ]
        })
        .collect();
    output.table(
        &["DEVICE", "USER", "NAME", "PLATFORM", "STATE", "PUSH", "VERIFIES USER", "ADDED"],
        &rows,
        "no devices: countersign activation issue USER adds one",
    );
}
