//! Readings of pods to samples for the judge. What could not be read is left out, never put in as
//! zero.

use chrono::{DateTime, TimeDelta, Utc};
use tidegate_engine::SamplesWanted;
use tidegate_engine::judge::counter::{self, Pod, Side, Spacing};
use tidegate_engine::judge::{Context, CountSeries, Kind, Samples, Series};
use tidegate_engine::state::{Revision, State};

use super::local::Local;
use super::plan::Planned;
use super::reading::Reading;
use super::story::SCRAPE;

/// Answers that take longer are slow, in seconds; one of the service's buckets ends here.
pub const SLOW: f64 = 0.25;
/// A reading older than two scrapes is no reading.
const STALE: i32 = 2;
/// A pod silent for this many scrapes is gone.
const FORGET: i32 = 20;

/// Both arms' samples since the evidence began, and what the judge must know beside them.
pub fn gather(
    local: &Local,
    planned: &Planned,
    state: &State,
    wanted: &SamplesWanted,
    now: DateTime<Utc>,
) -> (Samples, Context) {
    let analysis = &planned.plan.analysis;
    let scrape = TimeDelta::from_std(SCRAPE).unwrap_or(TimeDelta::seconds(1));
    let spacing = Spacing {
        since: wanted.since,
        window: analysis.window,
        stale: scrape * STALE,
        forget: scrape * FORGET,
    };
    let mut samples = Samples::empty(wanted.since);
    for criterion in &analysis.criteria {
        if let Kind::Ratio(_) = criterion.kind {
            let slow = planned.slow.contains(&criterion.name);
            let pods = pods(local, state, if slow { slow_answers } else { failed_answers });
            let series = CountSeries {
                windows: counter::windows(&pods, &spacing, now),
                guard: counter::guard(&pods, wanted.since),
                history: None,
            };
            samples.series.insert(criterion.name.clone(), Series::Counts(series));
        }
    }
    let context = Context { now, share: wanted.share, plan_time: planned.plan.time() };
    (samples, context)
}

fn failed_answers(reading: &Reading) -> u64 {
    reading.errors
}

fn slow_answers(reading: &Reading) -> u64 {
    let fast = reading.buckets.iter().find(|(bound, _)| *bound >= SLOW);
    fast.map_or(0, |(_, fast)| reading.total.saturating_sub(*fast))
}

/// The readings of both arms, pod by pod.
fn pods(local: &Local, state: &State, bad: fn(&Reading) -> u64) -> Vec<Pod> {
    let stable = state.stable.as_ref().map(|stable| (Side::Stable, &stable.revision));
    let canary = state.trial.as_ref().map(|trial| (Side::Canary, &trial.canary));
    let of = |(side, revision): (Side, &Revision)| {
        let pods = local.pods_of_revision(revision);
        pods.into_iter().map(move |pod| (side, pod)).collect::<Vec<_>>()
    };
    let both = stable.into_iter().chain(canary).flat_map(of);
    both.map(|(side, pod)| Pod {
        side,
        created: pod.created,
        gone: None,
        readings: local.scraper.readings(&pod.name).iter().map(|read| count(read, bad)).collect(),
    })
    .collect()
}

fn count(reading: &Reading, bad: fn(&Reading) -> u64) -> counter::Reading {
    counter::Reading {
        at: reading.at,
        total: Some(reading.total),
        bad: Some(bad(reading)),
        started: reading.start_time,
    }
}
