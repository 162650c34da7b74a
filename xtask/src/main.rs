//! Development tasks: `cargo xtask ci`, `cargo xtask check-deps`, `cargo xtask soak`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a development tool talks to the terminal it was started from"
)]

mod command;
mod deps;
mod parsers;
mod soak;
mod text;

use std::process::ExitCode;

use anyhow::Result;

use crate::command::{installed, run};

const USAGE: &str = "\
usage: cargo xtask TASK

  ci                         format, lints, edges between crates, texts, Rust tests
  check-deps                 only the edges between crates
  check-text                 only the texts: ARCHITECTURE.md is complete, nothing names a machine or a registry's host
  soak [PART] [--seeds N] [--inputs N] [--target TEXT] [--logins N] [--kills N]
                             the long runs, all or one PART: `model`, N seeds of the model test; `parsers`, N inputs
                             for each fuzz target with TEXT in its name; `kills`, N logins with a phone under kill -9, and
                             N times kill -9 while codes come as fast as they are taken";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["ci"] => ci(),
        ["check-deps"] => deps::check(),
        ["check-text"] => text::check(),
        ["soak", options @ ..] => soak::soak(options),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(64);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn ci() -> Result<()> {
    run("cargo", &["fmt", "--all", "--check"])?;
    deps::check()?;
    text::check()?;
    run("cargo", &["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    if installed("cargo-deny") {
        run("cargo", &["deny", "check", "bans", "licenses", "sources"])?;
    } else {
        println!("cargo-deny is not installed: deny.toml not checked");
    }
    if installed("cargo-nextest") {
        run("cargo", &["nextest", "run", "--locked", "--workspace"])?;
        run("cargo", &["test", "--locked", "--workspace", "--doc"])
    } else {
        run("cargo", &["test", "--locked", "--workspace"])
    }
}
