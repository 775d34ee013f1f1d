//! What many runs say together.

use chrono::TimeDelta;
use serde::Serialize;
use tidegate_engine::plan::Plan;
use tidegate_engine::sim::{self, Run, Scenario};
use tidegate_engine::state::Outcome;

/// Shares and times over many runs of one scenario.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Statistics {
    /// How many runs.
    pub runs: usize,
    /// Runs in which the new version was promoted.
    pub promoted: usize,
    /// Runs in which it was aborted.
    pub aborted: usize,
    /// Runs that ended without a decision.
    pub undecided: usize,
    /// Seconds from the commit to the abort, sorted.
    pub seconds_to_abort: Vec<f64>,
    /// Seconds from the commit to the promotion, sorted.
    pub seconds_to_promotion: Vec<f64>,
    /// Failed answers of the new version per run, sorted.
    pub harmed: Vec<u64>,
}

/// Runs the scenario with the seeds `first .. first + runs`, on all cores; `done` is called after
/// each run.
pub fn many(
    plan: &Plan,
    scenario: &Scenario,
    first: u64,
    runs: usize,
    done: &(dyn Fn() + Sync),
) -> Statistics {
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(runs.max(1));
    let mut results: Vec<Run> = Vec::with_capacity(runs);
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..workers)
            .map(|worker| {
                scope.spawn(move || {
                    let mut mine = Vec::new();
                    for index in (worker..runs).step_by(workers) {
                        mine.push(sim::run(plan, scenario, first + index as u64));
                        done();
                    }
                    mine
                })
            })
            .collect();
        for handle in handles {
            // A worker cannot fail: the engine does not panic.
            results.extend(handle.join().unwrap_or_default());
        }
    });
    Statistics::of(&results)
}

impl Statistics {
    /// Sums up runs.
    pub fn of(runs: &[Run]) -> Self {
        let mut sum = Self { runs: runs.len(), ..Self::default() };
        for run in runs {
            sum.harmed.push(run.harmed);
            let Some(trial) = run.trials.first() else {
                sum.undecided += 1;
                continue;
            };
            let after = trial.decided_after.map(seconds);
            match &trial.outcome {
                Outcome::Promoted => {
                    sum.promoted += 1;
                    sum.seconds_to_promotion.extend(after);
                }
                Outcome::Aborted { cause, .. } if cause.is_failure() => {
                    sum.aborted += 1;
                    sum.seconds_to_abort.extend(after);
                }
                Outcome::Aborted { .. } | Outcome::Watched { .. } => sum.undecided += 1,
            }
        }
        sum.harmed.sort_unstable();
        sum.seconds_to_abort.sort_by(f64::total_cmp);
        sum.seconds_to_promotion.sort_by(f64::total_cmp);
        sum
    }
}

/// The value below which a share `q` of the sorted values lies.
pub fn quantile<T: Copy>(sorted: &[T], q: f64) -> Option<T> {
    let last = sorted.len().checked_sub(1)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the index of the last value"
    )]
    let index = (q.clamp(0.0, 1.0) * last as f64).round() as usize;
    sorted.get(index).copied()
}

fn seconds(delta: TimeDelta) -> f64 {
    delta.num_milliseconds() as f64 / 1000.0
}
