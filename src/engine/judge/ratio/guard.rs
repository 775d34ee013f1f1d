//! The guard lane of one ratio: every sample against the limit, for both arms.

use chrono::{DateTime, Utc};

use super::learnt;
use crate::defaults;
use crate::judge::evidence::Limit;
use crate::judge::{CountSeries, Counts, GuardSample, Ratio};

/// The guard lane of one ratio.
#[derive(Clone, Copy, Debug)]
pub(in crate::judge) struct Guard {
    /// The rate no release may exceed.
    pub(in crate::judge) limit: f64,
    /// Evidence that the canary exceeds it.
    pub(in crate::judge) canary: f64,
    /// Evidence that stable does.
    pub(in crate::judge) stable: f64,
    /// The canary's counts in the guard lane.
    pub(in crate::judge) counts: Counts,
    /// Stable's.
    pub(in crate::judge) stable_counts: Counts,
}

/// The guard lane, folded as samples come.
pub(super) struct GuardLane {
    limit: f64,
    /// One sample suffices.
    calm: bool,
    canary: Arm,
    stable: Arm,
}

impl GuardLane {
    /// `None`: there is no guard lane.
    pub(super) fn new(ratio: &Ratio, series: &CountSeries) -> Option<Self> {
        let limit = limit(ratio, series)?;
        let (dispersion, calm) = borne(series);
        // Stable is not to be blamed for anything, so it bears with nothing.
        let stable = Arm::new(limit, 1.0);
        Some(Self { limit, calm, canary: Arm::new(limit, dispersion), stable })
    }

    pub(super) fn sample(&mut self, sample: &GuardSample) {
        self.canary.cumulative(sample.canary);
        self.stable.cumulative(sample.stable);
        // Both evidences fall alike when an incident of both is over: who is first is chance.
        if self.stable.evidence.log_e() >= -defaults::ENVIRONMENT_BOUND.ln() {
            self.canary.evidence.forget();
        }
    }

    pub(super) fn finish(&self) -> Guard {
        let evidence = &self.canary.evidence;
        Guard {
            limit: self.limit,
            canary: if self.calm { evidence.log_e() } else { evidence.without_worst() },
            stable: self.stable.evidence.log_e(),
            counts: self.canary.counts,
            stable_counts: self.stable.counts,
        }
    }
}

/// The guard lane of all samples; without any, of all windows.
pub(super) fn guard(ratio: &Ratio, series: &CountSeries, since: DateTime<Utc>) -> Option<Guard> {
    let mut lane = GuardLane::new(ratio, series)?;
    for sample in &series.guard {
        lane.sample(sample);
    }
    if series.guard.is_empty() {
        let mut last = since;
        for window in &series.windows {
            if window.end > last {
                last = window.end;
                lane.canary.increment(window.canary.unwrap_or_default());
                lane.stable.increment(window.stable.unwrap_or_default());
            }
        }
    }
    Some(lane.finish())
}

/// As much dispersion as stable showed in the hour before, and whether it is known to have none:
/// then what fails within one sample is no burst of the service's kind, and need not come again.
fn borne(series: &CountSeries) -> (f64, bool) {
    let dispersion = learnt(series.history.as_ref()).0.estimate();
    let windows = series.history.iter().flat_map(|history| &history.windows);
    let requests = windows.flatten().fold(0_u64, |sum, pod| sum.saturating_add(pod.total));
    let known = requests >= defaults::KNOWN_REQUESTS;
    let calm = known && dispersion <= defaults::CALM_DISPERSION;
    (dispersion.min(defaults::GUARD_DISPERSION), calm)
}

/// The rate no release may exceed. `None`: there is no guard lane.
fn limit(ratio: &Ratio, series: &CountSeries) -> Option<f64> {
    let day = series.history.as_ref().map_or_else(Counts::default, |history| history.day);
    let known = (day.total >= defaults::KNOWN_REQUESTS).then(|| day.rate()).flatten();
    ratio.guard.map(|hard| hard.of(known))
}

/// One arm in the guard lane.
struct Arm {
    evidence: Limit,
    dispersion: f64,
    counts: Counts,
}

impl Arm {
    fn new(limit: f64, dispersion: f64) -> Self {
        Self { evidence: Limit::new(limit), dispersion, counts: Counts::default() }
    }

    fn cumulative(&mut self, counts: Option<Counts>) {
        let Some(counts) = counts else { return };
        self.evidence.fold(counts.since(self.counts), self.dispersion);
        self.counts = Counts {
            total: counts.total.max(self.counts.total),
            bad: counts.bad.max(self.counts.bad),
        };
    }

    fn increment(&mut self, counts: Counts) {
        self.evidence.fold(counts, self.dispersion);
        self.counts = self.counts.plus(counts);
    }
}
