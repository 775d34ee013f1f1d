//! A thousand simulated hours: `cargo bench --bench simulate -- [--json]`. The promise is 20 s on
//! two cores.
#![expect(clippy::print_stdout, reason = "a benchmark prints its numbers")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use chrono::TimeDelta;
use tidegate::simulate::World;
use tidegate::simulate::statistics::many;

const RUNS: usize = 1000;
const PROMISED_SECONDS: f64 = 20.0;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let as_json = std::env::args().any(|argument| argument == "--json");
    let rollout: PathBuf = root.join("examples/rollout.yaml");
    for name in ["good-release", "shared-incident", "slow-release"] {
        let scenario = root.join("examples/scenarios").join(name).with_extension("yaml");
        let Ok(mut world) = World::read(std::slice::from_ref(&rollout), Some(&scenario)) else {
            println!("{name}: the example cannot be read");
            std::process::exit(1);
        };
        world.scenario.lasts = TimeDelta::hours(1);
        let start = Instant::now();
        let sum = many(&world, 1, RUNS, &|_| ());
        let seconds = start.elapsed().as_secs_f64();
        if as_json {
            let line = serde_json::json!({
                "bench": "simulate", "scenario": name, "runs": sum.runs, "seconds": seconds,
                "promisedSeconds": PROMISED_SECONDS,
            });
            println!("{line}");
        } else {
            println!(
                "{name}: {} runs of an hour in {seconds:.2} s (promised: {PROMISED_SECONDS} s); \
                 {} promoted, {} aborted",
                sum.runs, sum.promoted, sum.aborted
            );
        }
    }
}
