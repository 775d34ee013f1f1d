//! What is known of one metric of a trial, in a Rollout's status and in a Trial.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One metric of the trial. Numbers are of the whole trial so far, rounded to four digits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricStatus {
    /// Its name.
    #[schemars(length(max = 127))]
    pub name: String,
    /// Counts, evidence and what is proven, in one line.
    #[schemars(length(max = 512))]
    pub message: String,
    /// What its samples say. A Rollout's status has this and what follows of the first eight metrics
    /// alone; its Trial has all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
    /// The canary's counts, in the windows in which both arms had requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<ArmCounts>,
    /// Stable's; where it has no requests any more, those of its past that were compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<ArmCounts>,
    /// The canary's rate over stable's. Absent where stable has no bad requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// Between what the ratio is: 95 % always-valid, however often one looks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Between>,
    /// Where stable has no bad requests, between what the canary's rate less stable's is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<Between>,
    /// Evidence of a regression, against what it takes for Fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regression: Option<EvidenceStatus>,
    /// Evidence of safety, against what it takes for Pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub safety: Option<EvidenceStatus>,
    /// Evidence that the hard limit is broken, against what it takes for Fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guard: Option<EvidenceStatus>,
    /// The hard limit: a rate of bad requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hard_limit: Option<f64>,
    /// Both arms' counts in the guard lane: also what no window has yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guarded: Option<BothArms>,
    /// The canary fails when its rate is above this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fails_above: Option<MarginStatus>,
    /// The canary passes when its rate is proven to be below this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passes_below: Option<MarginStatus>,
    /// It is proven to be below this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proven: Option<MarginStatus>,
    /// How much more stable's bad requests vary than single ones would.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dispersion: Option<f64>,
    /// What a Pass still takes if the canary is healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needs: Option<Needs>,
    /// The canary's share of the requests at this weight, where it is off by more than half, and not
    /// by chance. No verdict rests on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_off: Option<f64>,
    /// The latest value of a threshold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
}

/// What the samples of one metric say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Standing {
    /// It is proven.
    Pass,
    /// The canary does harm.
    Fail,
    /// Not enough either way.
    NeedMoreData,
    /// Stable breaks the hard limit too.
    EnvironmentUnhealthy,
    /// The data could not be had.
    Error,
}

/// Requests of one arm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArmCounts {
    /// All of them.
    pub requests: u64,
    /// Those that were bad.
    pub bad: u64,
}

/// Requests of both arms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BothArms {
    /// The canary's.
    pub canary: ArmCounts,
    /// Stable's.
    pub stable: ArmCounts,
}

/// An interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Between {
    /// No less than this.
    pub low: f64,
    /// No more than this. Absent: without bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
}

/// Evidence, as natural logarithms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EvidenceStatus {
    /// What there is.
    pub found: f64,
    /// What it takes, for this metric alone.
    pub limit: f64,
}

/// A rate: so many times stable's, and so much on top.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MarginStatus {
    /// The factor.
    pub relative: f64,
    /// What is on top, from 0 to 1.
    pub absolute: f64,
}

/// What a Pass still takes if the canary is healthy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Needs {
    /// So many requests to the canary.
    pub requests: u64,
    /// It gets so many per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<f64>,
    /// That is so many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// And so many at other weights of the plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub at_weights: Vec<AtWeight>,
}

/// The time to a Pass at another weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AtWeight {
    /// The canary's share in whole percent.
    #[schemars(range(min = 0, max = 100))]
    pub weight: u8,
    /// So many seconds.
    pub seconds: u64,
}
