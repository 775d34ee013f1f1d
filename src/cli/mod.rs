//! The command line.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::demo::service::{self, ServiceArgs};

/// Progressive delivery for Kubernetes that keeps Git true.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve as a pod of the demo
    #[command(hide = true)]
    SampleService(ServiceArgs),
}

/// Parses the command line and carries it out.
pub fn run() -> ExitCode {
    let Cli { command } = Cli::parse();
    let ended = match command {
        Command::SampleService(args) => sample_service(args),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&*error);
            ExitCode::FAILURE
        }
    }
}

/// One thread is enough for a pod, and there are many of them.
fn sample_service(args: ServiceArgs) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(service::run(args))?)
}

/// The error and what caused it, on one line of standard error.
fn complain(error: &dyn std::error::Error) {
    let mut line = format!("tidegate: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line.push('\n');
    // When standard error is closed there is nobody to tell.
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}
