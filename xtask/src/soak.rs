//! The runs that are too long for every change: many seeds of the model test, many logins under kill -9.

use anyhow::{Context, Result, bail};

use crate::command::{root, run, run_with};

pub(crate) fn soak(options: &[&str]) -> Result<()> {
    let Options { seeds, logins } = parse(options)?;
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
    )?;

    crashes(logins)
}

fn crashes(logins: u64) -> Result<()> {
    run("scripts/setup-tests", &[])?;
    run("cargo", &["build", "--locked", "--release", "-p", "countersign"])?;
    let binary = root()?.join("target/release/countersign");
    let binary = binary.to_str().context("the path of the workspace is not UTF-8")?;
    run_with(
        ".venv/bin/python",
        &["-m", "pytest", "tests/e2e/test_kill.py"],
        &[("COUNTERSIGN_SOAK_LOGINS", &logins.to_string()), ("COUNTERSIGN_BIN", binary)],
    )
}

#[derive(Debug, PartialEq, Eq)]
struct Options {
    seeds: u64,
    logins: u64,
}

fn parse(mut options: &[&str]) -> Result<Options> {
    let mut parsed = Options { seeds: 100_000, logins: 5_000 };
    while let [name, value, rest @ ..] = options {
        let number = value.parse().with_context(|| format!("{name} {value}: not a number"))?;
        match *name {
            "--seeds" => parsed.seeds = number,
            "--logins" => parsed.logins = number,
            _ => bail!("unknown option {name}"),
        }
        options = rest;
    }
    if let [left] = options {
        bail!("{left}: an option and its number, such as --seeds 1000");
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        assert_eq!(parse(&[]).unwrap(), Options { seeds: 100_000, logins: 5_000 });
        assert_eq!(parse(&["--logins", "7", "--seeds", "9"]).unwrap(), Options { seeds: 9, logins: 7 });
        assert!(parse(&["--seeds"]).is_err());
        assert!(parse(&["--seeds", "many"]).is_err());
        assert!(parse(&["--loops", "1"]).is_err());
    }
}
