//! The runs that are too long for every change: many seeds of the model test, many inputs for each parser, many logins
//! under kill -9.

use anyhow::{Context, Result, bail};

use crate::{
    command::{root, run, run_with},
    parsers,
};

pub(crate) fn soak(options: &[&str]) -> Result<()> {
    let Options { part, seeds, logins, kills, inputs, target } = parse(options)?;
    if matches!(part, Part::All | Part::Model) {
        model(seeds)?;
    }
    if matches!(part, Part::All | Part::Parsers) {
        parsers::soak(inputs, &target)?;
    }
    if matches!(part, Part::All | Part::Kills) {
        crashes(logins, kills)?;
    }
    Ok(())
}

fn model(seeds: u64) -> Result<()> {
    run_with(
        "cargo",
        &[
            "test",
            "--locked",
            "--release",
            "-p",
            "countersign-engine",
            "--test",
            "engine",
            "model",
            "--",
            "--nocapture",
        ],
        &[("COUNTERSIGN_SOAK_SEEDS", &seeds.to_string())],
    )
}

fn crashes(logins: u64, kills: u64) -> Result<()> {
    run("scripts/setup-tests", &[])?;
    run("cargo", &["build", "--locked", "--release", "-p", "countersign"])?;
    let binary = root()?.join("target/release/countersign");
    let binary = binary.to_str().context("the path of the workspace is not UTF-8")?;
    run_with(
        ".venv/bin/python",
        &["-m", "pytest", "-rP", "tests/e2e/test_kill.py", "tests/e2e/test_kill_load.py"],
        &[
            ("COUNTERSIGN_SOAK_LOGINS", &logins.to_string()),
            ("COUNTERSIGN_SOAK_KILLS", &kills.to_string()),
            ("COUNTERSIGN_BIN", binary),
        ],
    )
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    All,
    Model,
    Parsers,
    Kills,
}

#[derive(Debug, PartialEq, Eq)]
struct Options {
    part: Part,
    seeds: u64,
    logins: u64,
    kills: u64,
    inputs: u64,
    /// Only targets with this in their names.
    target: String,
}

fn parse(mut options: &[&str]) -> Result<Options> {
    let mut parsed = Options {
        part: Part::All,
        seeds: 100_000,
        logins: 5_000,
        kills: 100,
        inputs: 10_000_000,
        target: String::new(),
    };
    if let [word, rest @ ..] = options
        && !word.starts_with('-')
    {
        parsed.part = match *word {
            "model" => Part::Model,
            "parsers" => Part::Parsers,
            "kills" => Part::Kills,
            _ => bail!("{word}: the parts are model, parsers and kills"),
        };
        options = rest;
    }
    while let [name, value, rest @ ..] = options {
        let number = || value.parse().with_context(|| format!("{name} {value}: not a number"));
        match *name {
            "--seeds" => parsed.seeds = number()?,
            "--logins" => parsed.logins = number()?,
            "--kills" => parsed.kills = number()?,
            "--inputs" => parsed.inputs = number()?,
            "--target" => (*value).clone_into(&mut parsed.target),
            _ => bail!("unknown option {name}"),
        }
        options = rest;
    }
    if let [left] = options {
        bail!("{left}: an option and its value, such as --seeds 1000");
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let usual = || parse(&[]).unwrap();
        assert_eq!((usual().part, usual().inputs), (Part::All, 10_000_000));
        assert_eq!(parse(&["--logins", "7", "--seeds", "9"]).unwrap(), Options { seeds: 9, logins: 7, ..usual() });
        let one = parse(&["parsers", "--inputs", "3", "--target", "ldap"]).unwrap();
        assert_eq!(one, Options { part: Part::Parsers, inputs: 3, target: "ldap".to_owned(), ..usual() });
        assert!(parse(&["--seeds"]).is_err());
        assert!(parse(&["--seeds", "many"]).is_err());
        assert!(parse(&["--loops", "1"]).is_err());
        assert!(parse(&["phones"]).is_err());
    }
}
