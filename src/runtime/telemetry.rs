//! Logs on standard error: for people, or one JSON object a line.
//!
//! Secrets never get here: no type that holds one shows it, and no error repeats what was sent.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// How logs look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Logs to standard error; `RUST_LOG` says how much of it, ours from `info` on.
pub fn log(format: LogFormat) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,tidegate=info"));
    let colours = std::io::stderr().is_terminal();
    let logger = tracing_subscriber::fmt()
        .with_ansi(colours)
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // A logger that somebody installed before stays.
    let _ = match format {
        LogFormat::Text => logger.try_init(),
        LogFormat::Json => logger.json().flatten_event(true).try_init(),
    };
}
