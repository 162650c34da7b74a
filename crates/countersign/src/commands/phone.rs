//! `countersign phone`: from the command line to what the phone does.

use std::path::Path;

use countersign_domain::Decision;

use crate::{
    cli::{Answer, PhoneCommand},
    output::{Failure, Output},
    phone::{self, Standing},
};

pub(crate) async fn run(command: PhoneCommand, state: &Path, output: Output) -> Result<(), Failure> {
    match command {
        PhoneCommand::Activate { address, code: Some(code) } => {
            Box::pin(phone::activate(state, &address, &code)).await?;
        }
        PhoneCommand::Activate { address, code: None } => Box::pin(phone::activate_qr(state, &address)).await?,
        PhoneCommand::Watch { answer, number, once } => {
            let answer = answer.map(|answer| Standing { decision: decision(answer), number });
            Box::pin(phone::watch(state, answer, once)).await?;
        }
        PhoneCommand::Codes => phone::codes(state, output).await?,
        PhoneCommand::Applications => Box::pin(phone::applications(state, output)).await?,
        PhoneCommand::Open { application } => Box::pin(phone::open_window(state, &application, output)).await?,
    }
    Ok(())
}

const fn decision(answer: Answer) -> Decision {
    match answer {
        Answer::Verify => Decision::Verify,
        Answer::Deny => Decision::Deny,
        Answer::DenyReport => Decision::DenyReport,
    }
}
