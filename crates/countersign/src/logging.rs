//! Logs: lines on standard error, filtered by `COUNTERSIGN_LOG`.

use std::io::IsTerminal as _;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, fmt};

/// The variable with the filter, for example `info,countersign_radius_server=debug`.
const FILTER: &str = "COUNTERSIGN_LOG";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// Begins to log.
pub(crate) fn start(format: LogFormat, otherwise: &str) -> Result<()> {
    let wanted = std::env::var(FILTER).unwrap_or_default();
    let wanted = if wanted.is_empty() { otherwise } else { &wanted };
    let filter = EnvFilter::try_new(wanted)
        .with_context(|| format!("{FILTER}={wanted} is no filter, write for example info"))?;
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|fault| anyhow::anyhow!("the log cannot be started: {fault}"))
}
