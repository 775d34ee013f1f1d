//! What the sources answered, as the judge reads it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Requests, and how many of them were bad: failed, or slower than a bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// All requests.
    pub total: u64,
    /// Bad ones.
    pub bad: u64,
}

impl Counts {
    /// Bad ones per request; `None` without requests. More bad ones than requests count as all.
    pub fn rate(self) -> Option<f64> {
        (self.total > 0).then(|| self.bad.min(self.total) as f64 / self.total as f64)
    }

    /// The sum; at the end of the numbers it stays there.
    #[must_use = "the counts themselves do not change"]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            total: self.total.saturating_add(other.total),
            bad: self.bad.saturating_add(other.bad),
        }
    }

    /// What came on top of `before`; where a counter fell, nothing.
    #[must_use = "the counts themselves do not change"]
    pub const fn since(self, before: Self) -> Self {
        Self {
            total: self.total.saturating_sub(before.total),
            bad: self.bad.saturating_sub(before.bad),
        }
    }
}

/// All answers for one look, by name of the criterion. A criterion that is not in it was not
/// answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Samples {
    /// Evidence counts from here: the canary's first share of the traffic, or its first ready pod.
    pub since: DateTime<Utc>,
    /// By name of the criterion.
    pub series: BTreeMap<String, Series>,
}

impl Samples {
    /// Nothing yet.
    pub const fn empty(since: DateTime<Utc>) -> Self {
        Self { since, series: BTreeMap::new() }
    }
}

/// The answer for one criterion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Series {
    /// For a ratio: counts of both arms.
    Counts(CountSeries),
    /// For a threshold: values in order of time. `None`: no value, which is no number either.
    Scalar(Vec<(DateTime<Utc>, Option<f64>)>),
    /// The source could not be asked.
    Unavailable {
        /// What it said, without secrets.
        message: String,
    },
}

/// Counts of both arms.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CountSeries {
    /// Evidence lane: windows in order of time. A window that could not be had is not in here; one
    /// that ends no later than the one before it is not looked at.
    pub windows: Vec<Window>,
    /// Guard lane: cumulative counts at each new sample, in order of time. Empty: the windows are
    /// taken.
    pub guard: Vec<GuardSample>,
    /// What is known of stable from before the trial.
    pub history: Option<History>,
}

/// What came in one stretch of time. All windows are about equally long; one that follows a gap may
/// be longer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Its end; it begins where the one before it ends.
    pub end: DateTime<Utc>,
    /// The canary's counts. `None`: the source knows no series of the canary.
    pub canary: Option<Counts>,
    /// Stable's counts. `None`: the source knows no series of stable.
    pub stable: Option<Counts>,
    /// Stable's counts pod by pod, when the source tells pods apart.
    pub stable_pods: Vec<Counts>,
}

/// Cumulative counts since the evidence began. Counts that fall are taken as unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardSample {
    /// When.
    pub at: DateTime<Utc>,
    /// The canary's counts. `None`: no sample of it.
    pub canary: Option<Counts>,
    /// Stable's counts. `None`: no sample of it.
    pub stable: Option<Counts>,
}

/// Stable before the trial.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Its counts of the last day.
    pub day: Counts,
    /// Its pods' counts in each of the windows of the last hour.
    pub windows: Vec<Vec<Counts>>,
}
