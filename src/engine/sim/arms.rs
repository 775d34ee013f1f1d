//! Both arms of a simulated trial: what their pods counted, as the judge reads it.

use chrono::{DateTime, TimeDelta, Utc};

use super::cluster::Cluster;
use super::scenario::{Happening, Scenario};
use super::traffic::{Answers, Arm, Hits, Interval, Law, Traffic};
use crate::judge::{
    Context, CountSeries, Counts, GuardSample, History, Judgement, Kind, Running, Window,
};
use crate::plan::Plan;
use crate::state::Revision;

/// Windows of the hour before a trial are taken as known, at most this many.
const HISTORY_WINDOWS: i64 = 240;

/// What a criterion measures in a simulated world.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measure {
    /// Failed requests.
    Errors,
    /// Requests slower than this, in seconds.
    Slow(f64),
    /// A number that is always the same: a simulated world knows no others.
    Value(f64),
}

/// Whether a release is worse, as its laws say it. Chance has no part in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Truth {
    /// No worse than stable in anything that is measured.
    NoWorse,
    /// Worse than a criterion's Fail margin.
    Worse,
    /// Neither: a little worse, or only now and then.
    Between,
}

/// What the laws say of the release.
pub fn truth(plan: &Plan, measures: &[Measure], scenario: &Scenario) -> Truth {
    let mut is_no_worse = scenario.canary.pod_spread <= scenario.stable.pod_spread
        && !scenario.bursts.iter().any(|burst| match burst.arm {
            Hits::Canary | Hits::CanaryPod => true,
            Hits::Both | Hits::StablePod => false,
        })
        && !scenario.events.iter().any(|event| matches!(event.what, Happening::Trouble { .. }));
    for (criterion, measure) in plan.analysis.criteria.iter().zip(measures) {
        let Kind::Ratio(ratio) = &criterion.kind else { continue };
        let rate = |law: &Law| match measure {
            Measure::Errors => law.errors,
            Measure::Slow(bound) => law.slower_than(*bound),
            Measure::Value(_) => 0.0,
        };
        let (canary, stable) = (rate(&scenario.canary), rate(&scenario.stable));
        if canary > ratio.fail.allows(stable) {
            return Truth::Worse;
        }
        is_no_worse &= canary <= stable;
    }
    if is_no_worse { Truth::NoWorse } else { Truth::Between }
}

/// The traffic of both arms, and the judge that reads it.
pub(super) struct Arms<'a> {
    plan: &'a Plan,
    measures: &'a [Measure],
    scenario: &'a Scenario,
    traffic: Traffic,
    /// Bounds of what is slow, in ascending order.
    bounds: Vec<f64>,
    window: TimeDelta,
    plan_time: TimeDelta,
    evidence: Option<Collected<'a>>,
}

/// What was counted since the evidence began, pod by pod.
struct Collected<'a> {
    running: Running<'a>,
    /// When the window that is open began.
    begin: DateTime<Utc>,
    canary: Vec<Pod>,
    stable: Vec<Pod>,
}

/// One pod's counters, now and when the window that is open began.
#[derive(Clone, Default)]
struct Pod {
    now: Answers,
    before: Answers,
}

impl<'a> Arms<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        measures: &'a [Measure],
        scenario: &'a Scenario,
        seed: u64,
    ) -> Self {
        let mut bounds: Vec<_> = measures
            .iter()
            .filter_map(|measure| match measure {
                Measure::Slow(bound) => Some(*bound),
                Measure::Errors | Measure::Value(_) => None,
            })
            .collect();
        bounds.sort_by(f64::total_cmp);
        bounds.dedup();
        // As the controller: a window holds two scrapes at least.
        let window = plan.analysis.window.max(scenario.scrape * 2);
        let span = (-TimeDelta::hours(1), scenario.lasts);
        Self {
            plan,
            measures,
            scenario,
            traffic: Traffic::befallen(seed, scenario.unrest, span, scenario.replicas),
            bounds,
            window,
            plan_time: plan.time(),
            evidence: None,
        }
    }

    /// Evidence begins: the canary has its first ready pod.
    pub(super) fn begin(&mut self, since: DateTime<Utc>, pods: u32) {
        let before = self.history(pods);
        let running = Running::new(&self.plan.analysis, &before, since, self.plan_time);
        // Stable's pods answer when they are asked, also those without a request.
        let (canary, stable) = (Vec::new(), vec![Pod::default(); pods as usize]);
        self.evidence = Some(Collected { running, begin: since, canary, stable });
    }

    /// The trial is over.
    pub(super) fn end(&mut self) {
        self.evidence = None;
    }

    /// What is known of stable from before the trial: a day in sum, the last hour in windows.
    fn history(&mut self, pods: u32) -> Vec<CountSeries> {
        let windows =
            TimeDelta::hours(1).num_milliseconds() / self.window.num_milliseconds().max(1);
        let law = &self.scenario.stable;
        let arm = Arm { law, pods, canary: false, rate: self.scenario.rate };
        let windows = i32::try_from(windows.min(HISTORY_WINDOWS)).unwrap_or_default();
        let windows: Vec<_> = (0..windows)
            .map(|index| {
                let end = self.window * (index + 1 - windows);
                self.traffic.answers(&arm, &before(end, self.window, &self.bounds))
            })
            .collect();
        let mut day = Answers::default();
        // The day is long before: what befell a pod then does not matter to its sum.
        let day_before = before(-TimeDelta::hours(1), TimeDelta::days(1), &self.bounds);
        for pod in self.traffic.answers(&arm, &day_before) {
            day += &pod;
        }
        let of = |measure: &Measure| {
            let counts = |answers: &Answers| self.counts(measure, answers);
            let windows = windows.iter().map(|pods| pods.iter().filter_map(counts).collect());
            let day = counts(&day)?;
            Some(History { day, windows: windows.collect() })
        };
        let series = |measure| CountSeries { history: of(measure), ..CountSeries::default() };
        self.measures.iter().map(series).collect()
    }

    /// What a criterion counts. `None`: it counts nothing.
    fn counts(&self, measure: &Measure, answers: &Answers) -> Option<Counts> {
        let bad = match measure {
            Measure::Errors => answers.errors,
            Measure::Slow(bound) => {
                let index = self.bounds.iter().position(|known| known >= bound)?;
                answers.slow.get(index).copied().unwrap_or(0)
            }
            Measure::Value(_) => return None,
        };
        Some(Counts { total: answers.total, bad })
    }

    /// Requests are answered for a while, as traffic is split now. Answers the number of those
    /// that the canary failed.
    pub(super) fn answer(
        &mut self,
        cluster: &Cluster,
        canary: &Revision,
        end: TimeDelta,
        lasts: TimeDelta,
    ) -> u64 {
        let mut failed = 0;
        let bursts = self.scenario.bursts.as_slice();
        let during = Interval { end, lasts, bursts, bounds: &self.bounds };
        for (revision, share) in cluster.shares(self.plan.traffic) {
            let is_canary = revision == *canary;
            let pods = cluster.ready(&revision);
            let rate = share * self.scenario.rate;
            let law = self.scenario.law_of(&revision);
            let arm = Arm { law, pods, canary: is_canary, rate };
            let answers = self.traffic.answers(&arm, &during);
            if is_canary {
                failed += answers.iter().map(|pod| pod.errors).sum::<u64>();
            }
            if let Some(evidence) = &mut self.evidence {
                evidence.add(is_canary, &answers);
            }
        }
        failed
    }

    /// All pods are scraped.
    pub(super) fn scrape(&mut self, at: DateTime<Utc>) {
        let Some(mut evidence) = self.evidence.take() else { return };
        let closes = at - evidence.begin >= self.window;
        for (index, measure) in self.measures.iter().enumerate() {
            if let Measure::Value(value) = measure {
                evidence.running.value(index, at, Some(*value));
                continue;
            }
            let now =
                |pods: &[Pod]| sum(pods.iter().filter_map(|pod| self.counts(measure, &pod.now)));
            let sample =
                GuardSample { at, canary: now(&evidence.canary), stable: now(&evidence.stable) };
            evidence.running.sample(index, &sample);
            if closes {
                let since = |pods: &[Pod]| -> Vec<_> {
                    pods.iter()
                        .filter_map(|pod| {
                            let before = self.counts(measure, &pod.before)?;
                            Some(self.counts(measure, &pod.now)?.since(before))
                        })
                        .collect()
                };
                let stable_pods = since(&evidence.stable);
                let window = Window {
                    end: at,
                    canary: sum(since(&evidence.canary).into_iter()),
                    stable: sum(stable_pods.iter().copied()),
                    stable_pods,
                };
                evidence.running.window(index, &window);
            }
        }
        if closes {
            evidence.begin = at;
            for pod in evidence.canary.iter_mut().chain(&mut evidence.stable) {
                pod.before = pod.now.clone();
            }
        }
        self.evidence = Some(evidence);
    }

    /// What the judge makes of it. `None`: no evidence yet.
    pub(super) fn judge(&self, now: DateTime<Utc>, share: f64) -> Option<Judgement> {
        let context = Context { now, share, plan_time: self.plan_time };
        self.evidence.as_ref().map(|evidence| evidence.running.judge(&context))
    }
}

impl Collected<'_> {
    fn add(&mut self, is_canary: bool, answers: &[Answers]) {
        let pods = if is_canary { &mut self.canary } else { &mut self.stable };
        if pods.len() < answers.len() {
            pods.resize_with(answers.len(), Pod::default);
        }
        for (pod, more) in pods.iter_mut().zip(answers) {
            pod.now += more;
        }
    }
}

/// `None`: nobody answered, which is not zero.
fn sum(pods: impl Iterator<Item = Counts>) -> Option<Counts> {
    pods.reduce(Counts::plus)
}

/// A stretch of time before the scenario: without its bursts.
fn before(end: TimeDelta, lasts: TimeDelta, bounds: &[f64]) -> Interval<'_> {
    Interval { end, lasts, bursts: &[], bounds }
}
