//! Readings of pods to samples for the judge: windows for the evidence lane, cumulative counts
//! for the guard lane. What could not be read is left out, never put in as zero.

use chrono::{DateTime, TimeDelta, Utc};
use tidegate_engine::SamplesWanted;
use tidegate_engine::judge::{
    Context, CountSeries, Counts, Criterion, GuardSample, Kind, Samples, Series, Window,
};
use tidegate_engine::plan::Plan;
use tidegate_engine::state::{Revision, State};

use super::local::Local;
use super::reading::{self, Baseline, Increments, Reading};
use super::story::SCRAPE;

/// Answers that take longer are slow, in seconds; one of the service's buckets ends here.
pub const SLOW: f64 = 0.25;

/// Both arms' samples since the evidence began, and what the judge must know beside them.
pub fn gather(
    local: &Local,
    plan: &Plan,
    state: &State,
    wanted: &SamplesWanted,
    now: DateTime<Utc>,
) -> (Samples, Context) {
    let arms = Arms::read(local, state);
    let spans = spans(wanted.since, now, plan.analysis.window);
    let mut samples = Samples::empty(wanted.since);
    for criterion in &plan.analysis.criteria {
        if let Kind::Ratio(_) = criterion.kind {
            let series = arms.series(wanted.since, now, &spans, bad_of(criterion));
            samples.series.insert(criterion.name.clone(), Series::Counts(series));
        }
    }
    let context = Context { now, share: wanted.share, plan_time: time_left(plan) };
    (samples, context)
}

/// What counts as bad: for a latency criterion slow answers, else failed ones.
fn bad_of(criterion: &Criterion) -> fn(&Increments) -> Counts {
    if criterion.name.contains("latency") { slow } else { failed }
}

fn failed(increments: &Increments) -> Counts {
    Counts { total: increments.requests, bad: increments.errors }
}

fn slow(increments: &Increments) -> Counts {
    let fast = increments.buckets.iter().find(|(bound, _)| *bound >= SLOW);
    let fast = fast.map_or(increments.requests, |(_, count)| *count);
    Counts { total: increments.requests, bad: increments.requests.saturating_sub(fast) }
}

/// Time the plan has for all of its weights.
fn time_left(plan: &Plan) -> TimeDelta {
    plan.steps.iter().fold(TimeDelta::zero(), |sum, step| match step {
        tidegate_engine::plan::Step::Weight { bake, .. } => sum + *bake + plan.limits.verdict,
        tidegate_engine::plan::Step::Pause { .. } => sum,
    })
}

/// Aligned windows that are over, and whose last sample had time to arrive.
fn spans(
    since: DateTime<Utc>,
    now: DateTime<Utc>,
    length: TimeDelta,
) -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
    let late = now - scrape();
    let mut spans = Vec::new();
    let mut from = since;
    while from + length <= late {
        spans.push((from, from + length));
        from += length;
    }
    spans
}

fn scrape() -> TimeDelta {
    TimeDelta::from_std(SCRAPE).unwrap_or(TimeDelta::seconds(1))
}

/// The readings of both arms, pod by pod.
struct Arms {
    stable: Vec<Vec<Reading>>,
    canary: Vec<Vec<Reading>>,
}

impl Arms {
    fn read(local: &Local, state: &State) -> Self {
        let of = |revision: Option<&Revision>| {
            revision.map_or_else(Vec::new, |revision| {
                let names = local.pod_names(revision);
                names.iter().map(|name| local.scraper.readings(name)).collect()
            })
        };
        Self {
            stable: of(state.stable.as_ref().map(|stable| &stable.revision)),
            canary: of(state.trial.as_ref().map(|trial| &trial.canary)),
        }
    }

    fn series(
        &self,
        since: DateTime<Utc>,
        now: DateTime<Utc>,
        spans: &[(DateTime<Utc>, DateTime<Utc>)],
        bad: fn(&Increments) -> Counts,
    ) -> CountSeries {
        let windows = spans
            .iter()
            .map(|(from, to)| {
                let stable_pods = counts(&self.stable, Baseline::FirstReading, *from, *to, bad);
                let canary_pods = counts(&self.canary, Baseline::Zero, *from, *to, bad);
                Window {
                    end: *to,
                    canary: sum(&canary_pods),
                    stable: sum(&stable_pods),
                    stable_pods,
                }
            })
            .collect();
        let canary = sum(&counts(&self.canary, Baseline::Zero, since, now, bad));
        let stable = sum(&counts(&self.stable, Baseline::FirstReading, since, now, bad));
        let guard = vec![GuardSample { at: now, canary, stable }];
        CountSeries { windows, guard, history: None }
    }
}

/// What each pod counted in a span; a pod without readings there is left out.
fn counts(
    pods: &[Vec<Reading>],
    baseline: Baseline,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    bad: fn(&Increments) -> Counts,
) -> Vec<Counts> {
    let window = reading::Window { from, to, max_age: scrape() * 4 };
    pods.iter()
        .filter_map(|readings| reading::increments(readings, baseline, window))
        .map(|increments| bad(&increments))
        .collect()
}

/// `None`: nobody answered, which is not zero.
fn sum(pods: &[Counts]) -> Option<Counts> {
    pods.iter().copied().reduce(Counts::plus)
}
