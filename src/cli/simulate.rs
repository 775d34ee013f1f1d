//! `tidegate simulate`: a Rollout against made-up traffic, in virtual time.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::resolve::Invalid;
use crate::simulate::{World, show, statistics};

/// Exit code when a file is not what it should be.
const BAD_INPUT: u8 = 2;
/// Below this nobody needs to be told that it goes on.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often progress is told.
const PROGRESS: Duration = Duration::from_millis(200);

/// Run a Rollout against made-up traffic, in virtual time
#[derive(Clone, Debug, clap::Args)]
pub struct SimulateArgs {
    /// Files with one Rollout, and its class, templates and repository where it names some
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Scenario: traffic, laws of both versions, bursts, events [default: a bad release]
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,
    /// Run this many times, and show shares and times instead of one story
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub runs: Option<u32>,
    /// The dice of the first run; run N+1 has the next
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs it and prints what came of it. Exit code 2: a file is not what it should be.
pub fn run(args: &SimulateArgs) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let world = match World::read(&args.files, args.scenario.as_deref()) {
        Ok(world) => world,
        Err(wrong) => {
            complain(&wrong)?;
            return Ok(ExitCode::from(BAD_INPUT));
        }
    };
    let (title, seed) = (&world.scenario.title, args.seed);
    let text = match args.runs {
        None => {
            let run = world.run(seed);
            if args.json {
                json!({"scenario": title, "seed": seed, "run": run}).to_string() + "\n"
            } else {
                show::story(&world.scenario, seed, &run)
            }
        }
        Some(runs) => {
            let progress = Progress::new(runs);
            let sum = statistics::many(&world, seed, runs as usize, &|done| progress.tell(done));
            progress.clear();
            if args.json {
                json!({"scenario": title, "seed": seed, "statistics": sum}).to_string() + "\n"
            } else {
                show::statistics(&world.scenario, &sum)
            }
        }
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// A line for each thing that is wrong.
fn complain(wrong: &[Invalid]) -> std::io::Result<()> {
    let mut out = std::io::stderr().lock();
    wrong.iter().try_for_each(|invalid| writeln!(out, "{invalid}"))
}

/// How far it is, on a terminal, when it takes long.
struct Progress {
    runs: u32,
    is_shown: bool,
    start: Instant,
    /// When it was told last; `None`: never.
    last: Mutex<Option<Instant>>,
}

impl Progress {
    fn new(runs: u32) -> Self {
        let is_shown = std::io::stderr().is_terminal();
        Self { runs, is_shown, start: Instant::now(), last: Mutex::new(None) }
    }

    fn tell(&self, done: usize) {
        if !self.is_shown || self.start.elapsed() < PATIENCE {
            return;
        }
        let Ok(mut last) = self.last.lock() else { return };
        if last.is_some_and(|last| last.elapsed() < PROGRESS) {
            return;
        }
        *last = Some(Instant::now());
        // When standard error is closed there is nobody to tell.
        let _ = write!(std::io::stderr(), "\r{done} of {} runs", self.runs);
    }

    /// Leaves an empty line for what follows.
    fn clear(&self) {
        if self.last.lock().is_ok_and(|last| last.is_some()) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
