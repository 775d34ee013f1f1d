//! `tidegate verdicts`: how often the judge is wrong and how fast it is, against what is promised.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::verdicts::{Held, Line, cases, measure, report};

/// Runs of a rare event with `--quick`.
const QUICK: u32 = 100;

/// Count how often the judge is wrong, and how fast it is, in made-up services
#[derive(Clone, Debug, clap::Args)]
pub struct VerdictsArgs {
    /// Runs for each share that may only be small; medians get a fifth
    #[arg(long, value_name = "N", default_value_t = 2000,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub runs: u32,
    /// A hundred runs: a first idea, most bars stay open
    #[arg(long, conflicts_with = "runs")]
    pub quick: bool,
    /// The dice
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Write the document there instead of printing it
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Measures, and writes the document. Exit code 1: a bar is not held.
pub fn run(args: &VerdictsArgs) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let runs = if args.quick { QUICK } else { args.runs } as usize;
    let cases = cases();
    let lines = measure(&cases, runs, args.seed, &mut |done, line| {
        tell(done, cases.len(), line);
    });
    let text = report::document(&lines, runs, args.seed);
    match &args.output {
        Some(file) => std::fs::write(file, text)?,
        None => std::io::stdout().lock().write_all(text.as_bytes())?,
    }
    let is_broken = lines.iter().any(|line| line.held() == Held::No);
    Ok(if is_broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// One line of standard error a case.
fn tell(done: usize, of: usize, line: &Line) {
    let held = match line.held() {
        Held::Yes => "held",
        Held::No => "NOT HELD",
        Held::Open => "open",
        Held::NotPromised => "no bar",
    };
    // When standard error is closed there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{done}/{of} {held}: {}", line.name);
}
