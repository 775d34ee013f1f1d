//! The command line.

pub mod crd;
mod fetch;
mod rollouts;
mod run;
pub mod simulate;
pub mod sync;
pub mod verdicts;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::crd::CrdArgs;
use self::fetch::BadRepository;
use self::rollouts::{CommandError, RolloutCommand};
use self::run::RunArgs;
use self::simulate::SimulateArgs;
use self::sync::SyncArgs;
use self::verdicts::VerdictsArgs;
use crate::demo::run::{self as demo, DemoArgs, DemoError};
use crate::demo::service::{self, ServiceArgs};
use crate::runtime::telemetry::{self, LogFormat};

/// Progressive delivery for Kubernetes that keeps Git true.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the controller
    Run(RunArgs),
    /// Show the closed loop on this machine: a bad release reverted, a good one promoted
    Demo(DemoArgs),
    #[command(flatten)]
    Rollouts(RolloutCommand),
    /// Run a Rollout against made-up traffic, in virtual time
    Simulate(SimulateArgs),
    /// Count how often the judge is wrong, and how fast it is, in made-up services
    Verdicts(VerdictsArgs),
    /// Apply a path of a repository to the current cluster, prune, and say what differs
    Sync(SyncArgs),
    /// Print the custom resource definitions, or write them into a directory
    Crd(CrdArgs),
    /// Serve as a pod of the demo
    #[command(hide = true)]
    SampleService(ServiceArgs),
}

/// The exit code for input that cannot be used: then nothing was written.
const BAD_INPUT: u8 = 2;

fn is_bad_input(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<DemoError>().is_some_and(DemoError::is_bad_input)
        || error.is::<BadRepository>()
        || error.downcast_ref::<CommandError>().is_some_and(CommandError::is_bad_input)
}

type Ended = Result<ExitCode, Box<dyn std::error::Error>>;

/// Parses the command line and carries it out.
pub fn run() -> ExitCode {
    let Cli { command } = Cli::parse();
    telemetry::log(if let Command::Run(args) = &command {
        args.log_format
    } else {
        LogFormat::Text
    });
    let ended = match command {
        Command::Run(args) => controller(args),
        Command::Demo(args) => demo(args),
        Command::Sync(args) => sync(args),
        Command::Crd(args) => crd(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Rollouts(command) => rollouts(command),
        Command::Verdicts(args) => verdicts::run(&args),
        Command::SampleService(args) => sample_service(args),
    };
    match ended {
        Ok(code) => code,
        Err(error) => {
            complain(&*error);
            if is_bad_input(&*error) { ExitCode::from(BAD_INPUT) } else { ExitCode::FAILURE }
        }
    }
}

/// Ends with a signal, or with an error when the lease is lost: whoever runs it starts it again.
fn controller(args: RunArgs) -> Ended {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(run::run(args));
    // A fetch that is still running has a deadline of its own; nobody waits for it.
    runtime.shutdown_background();
    ended?;
    Ok(ExitCode::SUCCESS)
}

/// Exit code 1 when the story did not come true.
fn demo(args: DemoArgs) -> Ended {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let came_true = runtime.block_on(demo::run(args))?;
    Ok(if came_true { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn crd(args: &CrdArgs) -> Ended {
    crd::run(args, &mut std::io::stdout())?;
    Ok(ExitCode::SUCCESS)
}

fn sync(args: SyncArgs) -> Ended {
    crate::git::init_tls();
    fetch::check(&args.repo)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(sync::run(args, fetch::checkout, &mut std::io::stdout()));
    // A fetch that is still running has a deadline of its own; nobody waits for it.
    runtime.shutdown_background();
    done?;
    Ok(ExitCode::SUCCESS)
}

/// One request at a time.
fn rollouts(command: RolloutCommand) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(rollouts::run(command, &mut std::io::stdout()))?)
}

/// One thread is enough for a pod, and there are many of them.
fn sample_service(args: ServiceArgs) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(service::run(args))?;
    Ok(ExitCode::SUCCESS)
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
