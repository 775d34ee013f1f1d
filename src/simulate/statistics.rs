//! What many runs say together.

use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::TimeDelta;
use serde::Serialize;
use tidegate_engine::reason::Reason;
use tidegate_engine::sim::{Run, Truth, Turned};
use tidegate_engine::state::Outcome;

use super::World;

/// Shares and times over many runs of one scenario.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Statistics {
    /// How many runs.
    pub runs: usize,
    /// Whether the release is worse, as its laws say it.
    pub truth: Truth,
    /// Runs in which the new version was promoted.
    pub promoted: usize,
    /// Runs in which it was promoted and a step went on unproven.
    pub unproven: usize,
    /// Runs in which it was aborted and blamed.
    pub aborted: usize,
    /// Runs that ended otherwise: paused, held without blame, or not over.
    pub undecided: usize,
    /// Runs in which a release that is no worse was aborted. `None`: this one is not.
    pub false_rollbacks: Option<Share>,
    /// Runs in which a release that is worse was promoted. `None`: this one is not.
    pub wrong_promotions: Option<Share>,
    /// Seconds from the canary's first traffic to the abort, sorted.
    pub seconds_to_detect: Vec<f64>,
    /// Seconds from the commit to the end of the last step, sorted.
    pub seconds_to_promotion: Vec<f64>,
    /// Failed answers of the canary on trial, a run each, sorted.
    pub harmed: Vec<u64>,
}

/// How often something happened, and how often it may happen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    /// How often it happened.
    pub count: usize,
    /// Of how many.
    pub of: usize,
    /// The share it may really have, 0 to 1, with 95 % confidence: from here ...
    pub low: f64,
    /// ... to here.
    pub high: f64,
}

impl Share {
    /// With the interval of Wilson, "Probable inference", 1927: right also where nothing happened.
    pub fn new(count: usize, of: usize) -> Self {
        // The normal law's 97.5 % point.
        const Z: f64 = 1.959_963_984_540_054;
        let n = of.max(1) as f64;
        let p = count as f64 / n;
        let scale = 1.0 + Z * Z / n;
        let center = (p + Z * Z / (2.0 * n)) / scale;
        let half = Z / scale * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        let low = if count == 0 { 0.0 } else { (center - half).max(0.0) };
        let high = if count >= of { 1.0 } else { (center + half).min(1.0) };
        Self { count, of, low, high }
    }
}

/// Runs the scenario with the seeds `first .. first + runs`, on all cores; `done` is called after
/// each run with the number of those that are done. The result does not depend on the cores.
pub fn many(world: &World, first: u64, runs: usize, done: &(dyn Fn(usize) + Sync)) -> Statistics {
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(runs.max(1));
    let (next, over) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        let mut mine = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= runs {
                return mine;
            }
            mine.push(Brief::of(&world.run(first.wrapping_add(index as u64))));
            done(over.fetch_add(1, Ordering::Relaxed) + 1);
        }
    };
    let briefs: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        // The engine does not panic; should it ever, the run counts as undecided.
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    Statistics::of(&briefs, runs, world.truth())
}

/// What is kept of a run.
struct Brief {
    harmed: u64,
    end: End,
    /// A step went on unproven.
    is_unproven: bool,
    /// From the commit to the decision.
    after_commit: Option<TimeDelta>,
    /// From the canary's first traffic to the decision.
    after_traffic: Option<TimeDelta>,
}

enum End {
    Promoted,
    Aborted,
    Undecided,
}

impl Brief {
    /// The first trial is what counts: later ones are the scenario's sequel.
    fn of(run: &Run) -> Self {
        let trial = run.trials.first();
        let end = match trial.map(|trial| &trial.outcome) {
            Some(Outcome::Promoted) => End::Promoted,
            Some(Outcome::Aborted { cause, .. }) if cause.is_blame() => End::Aborted,
            Some(Outcome::Watched { would_abort: Some(_), .. }) => End::Aborted,
            Some(Outcome::Aborted { .. } | Outcome::Watched { would_abort: None, .. }) | None => {
                End::Undecided
            }
        };
        let is_unproven = run.timeline.iter().any(|line| match &line.turned {
            Turned::Decision { reason, .. } => *reason == Reason::PromotedUnproven,
            Turned::Event(_) | Turned::Verdict { .. } => false,
        });
        Self {
            harmed: run.harmed,
            end,
            is_unproven,
            after_commit: trial.and_then(|trial| trial.after_commit),
            after_traffic: trial.and_then(|trial| trial.after_traffic),
        }
    }
}

impl Statistics {
    fn of(briefs: &[Brief], runs: usize, truth: Truth) -> Self {
        let count = |is: fn(&End) -> bool| briefs.iter().filter(|brief| is(&brief.end)).count();
        let promoted = count(|end| matches!(end, End::Promoted));
        let aborted = count(|end| matches!(end, End::Aborted));
        let times = |is: fn(&End) -> bool, of: fn(&Brief) -> Option<TimeDelta>| {
            let mine = briefs.iter().filter(|brief| is(&brief.end));
            let mut times: Vec<_> = mine.filter_map(of).map(seconds).collect();
            times.sort_by(f64::total_cmp);
            times
        };
        let mut harmed: Vec<_> = briefs.iter().map(|brief| brief.harmed).collect();
        harmed.sort_unstable();
        Self {
            runs,
            truth,
            promoted,
            unproven: briefs
                .iter()
                .filter(|brief| brief.is_unproven && matches!(brief.end, End::Promoted))
                .count(),
            aborted,
            undecided: runs - promoted - aborted,
            false_rollbacks: (truth == Truth::NoWorse).then(|| Share::new(aborted, runs)),
            wrong_promotions: (truth == Truth::Worse).then(|| Share::new(promoted, runs)),
            seconds_to_detect: times(
                |end| matches!(end, End::Aborted),
                |brief| brief.after_traffic,
            ),
            seconds_to_promotion: times(
                |end| matches!(end, End::Promoted),
                |brief| brief.after_commit,
            ),
            harmed,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_wilsons() {
        // 5 of 100: 0.0215 to 0.1118, from the literature's worked example.
        let share = Share::new(5, 100);
        assert!((share.low - 0.021_543).abs() < 1e-5, "{share:?}");
        assert!((share.high - 0.111_75).abs() < 1e-4, "{share:?}");
        // Nothing of 1000: up to z^2 / (n + z^2).
        let none = Share::new(0, 1000);
        assert!(none.low.abs() < 1e-12);
        assert!((none.high - 0.003_826_8).abs() < 1e-6, "{none:?}");
        assert!((Share::new(7, 7).high - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        assert_eq!(quantile(&[1, 2, 3, 4, 5], 0.5), Some(3));
        assert_eq!(quantile(&[1, 2, 3, 4, 5], 1.0), Some(5));
        assert_eq!(quantile::<u64>(&[], 0.5), None);
    }
}
