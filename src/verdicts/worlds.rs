//! The made-up services in which the promises are measured.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use tidegate_engine::judge::{Analysis, Bounds, Criterion, Kind, Op, Ratio, Threshold};
use tidegate_engine::plan::{
    GitPlan, GitWrite, Limits, Mode, OnFailure, OnInconclusive, OnLowTraffic, OnRestart, Plan,
    PromoteBy, Step, Traffic, Weight,
};
use tidegate_engine::sim::{Event, Happening, Incidents, Law, Measure, Scenario, Unrest};
use tidegate_engine::windows::Windows;

use crate::simulate::World;

/// Stable pods: at weight 5 one canary pod carries as much as each of them.
const PODS: u32 = 19;
/// How often pods are scraped.
pub(super) const SCRAPE: TimeDelta = TimeDelta::seconds(5);
/// When the commit comes.
const COMMIT: TimeDelta = TimeDelta::seconds(10);
/// From the commit to the canary's first traffic: settled, ready, read back.
const FIRST_TRAFFIC: TimeDelta = TimeDelta::seconds(10);
/// How slow a request may be, in seconds.
const SLO: f64 = 0.25;

/// How a version answers, beside how often it errs.
const LAW: Law = Law { errors: 0.0, latency_median: 0.08, latency_sigma: 0.6, pod_spread: 0.0 };

/// What may befall a healthy service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weather {
    /// Every error by itself.
    Calm,
    /// Twice an hour, for five minutes, both versions err twenty times as often.
    SharedIncidents,
    /// Errors come ten at a time, on one pod.
    PodBursts,
    /// Once an hour one of the pods errs thirty times as often, for five minutes.
    PodIncidents,
    /// No two pods are alike, in errors or in speed.
    SlowPods,
}

impl Weather {
    pub(super) const ALL: [Self; 5] =
        [Self::Calm, Self::SharedIncidents, Self::PodBursts, Self::PodIncidents, Self::SlowPods];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Calm => "every error by itself, .5 %",
            Self::SharedIncidents => "shared incidents, .5 %",
            Self::PodBursts => "single-pod bursts, .5 %",
            Self::PodIncidents => "long pod incidents, .1 %",
            Self::SlowPods => "slow pods, .5 %",
        }
    }

    /// Errors of both versions. An incident on one pod stays below the hard limit: what is above
    /// it the guard lane stops, whoever is to blame.
    const fn errors(self) -> f64 {
        match self {
            Self::Calm | Self::SharedIncidents | Self::PodBursts | Self::SlowPods => 0.005,
            Self::PodIncidents => 0.001,
        }
    }

    fn unrest(self) -> Unrest {
        let lasts = TimeDelta::minutes(5);
        match self {
            Self::Calm => Unrest::NONE,
            Self::SharedIncidents => {
                let shared = Some(Incidents { per_hour: 2.0, lasts, times: 20.0 });
                Unrest { shared, ..Unrest::NONE }
            }
            Self::PodBursts => Unrest { burst: 10.0, ..Unrest::NONE },
            Self::PodIncidents => {
                let per_hour = 1.0 / f64::from(PODS + 1);
                let of_pods = Some(Incidents { per_hour, lasts, times: 30.0 });
                Unrest { of_pods, ..Unrest::NONE }
            }
            Self::SlowPods => Unrest { speed_spread: 0.05, ..Unrest::NONE },
        }
    }

    const fn pod_spread(self) -> f64 {
        match self {
            Self::SlowPods => 0.3,
            Self::Calm | Self::SharedIncidents | Self::PodBursts | Self::PodIncidents => 0.0,
        }
    }
}

/// A release as good as what runs, an hour at weight 5.
pub(super) fn healthy(weather: Weather, bounds: Bounds, rate: f64) -> World {
    let law = Law { errors: weather.errors(), pod_spread: weather.pod_spread(), ..LAW };
    let plan = plan(bounds, Traffic::Routes, vec![weight(5, 60)]);
    world(plan, Scenario { unrest: weather.unrest(), ..scenario(rate, 60, law, law) })
}

/// A release that errs more often, an hour at weight 5.
pub(super) fn worse(bounds: Bounds, rate: f64, stable: f64, canary: f64) -> World {
    let plan = plan(bounds, Traffic::Routes, vec![weight(5, 60)]);
    world(plan, scenario(rate, 60, errs(stable), errs(canary)))
}

/// The same, judged by errors alone.
pub(super) fn by_errors(mut world: World) -> World {
    world.plan.analysis.criteria.truncate(1);
    world.measures.truncate(1);
    world
}

/// A release that errs more often, on the steps that a canary has when nothing is said.
pub(super) fn stepped(bounds: Bounds, rate: f64, stable: f64, canary: f64) -> World {
    let plan = plan(bounds, Traffic::Routes, default_steps());
    world(plan, scenario(rate, 300, errs(stable), errs(canary)))
}

/// A release that errs more often, all traffic switched to it at once.
pub(super) fn switched(bounds: Bounds, rate: f64, stable: f64, canary: f64) -> World {
    let plan = plan(bounds, Traffic::Switch, vec![weight(100, 60)]);
    world(plan, scenario(rate, 60, errs(stable), errs(canary)))
}

/// A healthy release of a service with nearly no traffic: its pods are watched by a threshold, and
/// the plan says to go on unproven.
pub(super) fn quiet(bounds: Bounds, rate: f64) -> World {
    let mut plan = plan(bounds, Traffic::Routes, default_steps());
    plan.on_low_traffic = OnLowTraffic::PromoteUnproven;
    plan.limits.verdict = TimeDelta::minutes(5);
    let mut world = world(plan, scenario(rate, 60, errs(0.001), errs(0.001)));
    if let Ok(ready) = Threshold::new(Op::AtLeast, 0.9, 3, 5, 5) {
        let kind = Kind::Threshold(ready);
        world.plan.analysis.criteria.push(Criterion {
            name: "ready".to_owned(),
            weight: None,
            kind,
        });
        world.measures.push(Measure::Value(1.0));
    }
    world
}

/// The criteria of `http-errors` and `http-latency`, as shipped.
pub(super) fn analysis(bounds: Bounds) -> Analysis {
    let criterion = |name: &str, ratio| Criterion {
        name: name.to_owned(),
        weight: None,
        kind: Kind::Ratio(ratio),
    };
    Analysis {
        criteria: vec![criterion("errors", Ratio::ERRORS), criterion("latency", Ratio::SLOW)],
        bounds,
        ..Analysis::default()
    }
}

fn world(plan: Plan, scenario: Scenario) -> World {
    World { plan, measures: vec![Measure::Errors, Measure::Slow(SLO)], scenario }
}

const fn errs(errors: f64) -> Law {
    Law { errors, ..LAW }
}

fn weight(percent: u8, minutes: i64) -> Step {
    let weight = Weight::new(percent).unwrap_or(Weight::FULL);
    Step::Weight { weight, bake: TimeDelta::minutes(minutes) }
}

fn default_steps() -> Vec<Step> {
    let bake = tidegate_engine::defaults::BAKE.num_minutes();
    tidegate_engine::defaults::WEIGHTS.map(|percent| weight(percent, bake)).to_vec()
}

fn plan(bounds: Bounds, traffic: Traffic, steps: Vec<Step>) -> Plan {
    Plan {
        rollout: "shop/web".to_owned(),
        uid: "verdicts".to_owned(),
        mode: Mode::Enforce,
        class: None,
        max_trials: None,
        traffic,
        promotion: PromoteBy::HandOver,
        steps,
        analysis: analysis(bounds),
        on_failure: OnFailure::Revert,
        on_inconclusive: OnInconclusive::Pause,
        on_low_traffic: OnLowTraffic::Pause,
        on_restart: OnRestart::Pass,
        windows: Windows::default(),
        gates: Vec::new(),
        limits: Limits::default(),
        git: Some(GitPlan {
            repository: "fleet".to_owned(),
            branch: "main".to_owned(),
            paths: vec!["apps/web".to_owned()],
            write: GitWrite::Push,
        }),
    }
}

/// `minutes`: how long it goes on from the canary's first traffic.
fn scenario(rate: f64, minutes: i64, stable: Law, canary: Law) -> Scenario {
    Scenario {
        title: "a release".to_owned(),
        lasts: COMMIT + FIRST_TRAFFIC + TimeDelta::minutes(minutes),
        rate,
        replicas: PODS,
        start_up: TimeDelta::seconds(3),
        scrape: SCRAPE,
        stable,
        canary,
        values: BTreeMap::new(),
        bursts: Vec::new(),
        unrest: Unrest::NONE,
        events: vec![Event { at: COMMIT, what: Happening::Commit { template: "v2".to_owned() } }],
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_is_measured_is_what_is_shipped() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/rollout.yaml");
        let shipped = World::read(&[file], None).unwrap();
        assert_eq!(shipped.plan.analysis, analysis(Bounds::STANDARD));
        let law = errs(0.0);
        let made = world(shipped.plan.clone(), scenario(1.0, 1, law, law));
        assert_eq!(shipped.measures, made.measures);
        assert_eq!(shipped.plan.limits, made.plan.limits);
    }
}
