//! What people do with Rollouts, by their own rights: ask, look, wait, release. The same binary is
//! `kubectl tidegate …` where it is installed as `kubectl-tidegate`.

mod ask;
mod connect;
mod explain;
mod get;
mod history;
mod release;
mod status;
mod table;
mod tree;

use std::io::Write;
use std::process::ExitCode;

use clap::Subcommand;
use tidegate_engine::observed::What;

pub(super) use connect::CommandError;

/// The commands.
#[derive(Debug, Subcommand)]
pub(super) enum RolloutCommand {
    /// Keep the weight of a trial until resume
    Pause(ask::AskArgs),
    /// Go on from a pause
    Resume(ask::AskArgs),
    /// Take the step of a trial as passed
    Promote(ask::AskArgs),
    /// Leave out all remaining steps of a trial
    PromoteFull(ask::AskArgs),
    /// Send traffic back to stable and revert in Git
    Abort(ask::AbortArgs),
    /// Try a failed revision again
    Retry(ask::AskArgs),
    /// Show Rollouts; -w follows them
    Get(get::GetArgs),
    /// Show where a Rollout stands; --wait waits for the end of its trial
    Status(status::StatusArgs),
    /// Show why a trial stands, or ended, as it did: both arms, evidence, queries
    Explain(explain::ExplainArgs),
    /// Show the trials of a Rollout
    History(history::HistoryArgs),
    /// Break glass: set free what is held, without the controller
    Release(release::ReleaseArgs),
}

/// Exit code: a trial was aborted, a request refused.
const REFUSED: u8 = 1;
/// Exit code: what was asked for cannot be done at all.
const WRONG: u8 = 2;
/// Exit code: no answer, no end within the time.
const LATE: u8 = 3;

/// Carries one of them out.
pub(super) async fn run(
    command: RolloutCommand,
    out: &mut (dyn Write + Send),
) -> Result<ExitCode, CommandError> {
    crate::git::init_tls();
    match command {
        RolloutCommand::Pause(args) => ask::run(&args, What::Pause, out).await,
        RolloutCommand::Resume(args) => ask::run(&args, What::Resume, out).await,
        RolloutCommand::Promote(args) => ask::run(&args, What::Promote, out).await,
        RolloutCommand::PromoteFull(args) => ask::run(&args, What::PromoteFull, out).await,
        RolloutCommand::Abort(args) => {
            ask::run(&args.ask, What::Abort { hold: args.hold }, out).await
        }
        RolloutCommand::Retry(args) => ask::run(&args, What::Retry, out).await,
        RolloutCommand::Get(args) => get::run(&args, out).await,
        RolloutCommand::Status(args) => status::run(&args, out).await,
        RolloutCommand::Explain(args) => explain::run(&args, out).await,
        RolloutCommand::History(args) => history::run(&args, out).await,
        RolloutCommand::Release(args) => release::run(&args, out).await,
    }
}
