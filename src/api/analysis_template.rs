//! Metrics and what they must satisfy, with arguments.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ArgumentName, DurationOrArgument, FractionOrArgument, Name, NumberOrArgument, PointsOrArgument,
    PromQl,
};

/// Metrics for the Rollouts of a namespace.
#[derive(
    CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema,
)]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "AnalysisTemplate",
    doc = "An AnalysisTemplate names metrics and what they must satisfy, for the Rollouts of its \
           namespace.",
    namespaced,
    derive = "PartialEq",
    shortname = "tgat",
    category = "tidegate",
    printcolumn(name = "Metrics", type_ = "string", json_path = ".spec.metrics[*].name"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct AnalysisTemplateSpec {
    /// Values a Rollout gives. `$(name)` stands for one; `$(namespace)` and `$(workload)` are
    /// always there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub args: Vec<Argument>,
    /// The metrics; all of them are judged.
    #[schemars(length(min = 1, max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub metrics: Vec<Metric>,
}

/// Metrics for the Rollouts of all namespaces.
#[derive(
    CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema,
)]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "ClusterAnalysisTemplate",
    doc = "A ClusterAnalysisTemplate names metrics and what they must satisfy, for the Rollouts \
           of all namespaces.",
    derive = "PartialEq",
    shortname = "tgcat",
    category = "tidegate",
    printcolumn(name = "Metrics", type_ = "string", json_path = ".spec.metrics[*].name"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterAnalysisTemplateSpec {
    /// Values a Rollout gives. `$(name)` stands for one; `$(namespace)` and `$(workload)` are
    /// always there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub args: Vec<Argument>,
    /// The metrics; all of them are judged.
    #[schemars(length(min = 1, max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub metrics: Vec<Metric>,
}

/// A value a Rollout gives. It is taken literally: it can stand for a label's value or a number,
/// never for a piece of PromQL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Argument {
    /// Its name.
    #[x_kube(validation = Rule::new("!(self in ['namespace', 'workload', 'pods', 'backend'])")
        .message("namespace, workload, pods and backend are always there"))]
    pub name: ArgumentName,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub description: Option<String>,
    /// Its value where a Rollout gives none. Without one it must be given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub default: Option<String>,
}

/// One metric: exactly one of `ratio`, `latency` and `threshold`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "[has(self.ratio), has(self.latency), has(self.threshold)].filter(x, x).size() == 1")
    .message("expected exactly one of ratio, latency and threshold"))]
pub struct Metric {
    /// Its name, in status and alerts.
    pub name: Name,
    /// Who counts. Default: pod.
    #[serde(default)]
    pub by: MeasuredBy,
    /// A share of bad ones among all, compared between canary and stable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Ratio>,
    /// The share of requests slower than a bound, compared between canary and stable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// A number against a fixed limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<Threshold>,
}

/// Who counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MeasuredBy {
    /// The pods themselves: their series have a pod label, and Kubernetes says which are canary.
    #[default]
    #[serde(rename = "pod")]
    Pod,
    /// The gateway: its series name the Service it sent requests to, which the selector says with
    /// `$(backend)`. A pod that hangs counts no errors itself; a gateway does.
    #[serde(rename = "backend")]
    Backend,
}

/// A share of bad ones among all, from two counters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ratio {
    /// The counter of all, as a metric with label matchers. Pod and namespace are added.
    pub total: PromQl,
    /// The counter of the bad ones, as a metric with label matchers.
    pub bad: PromQl,
    /// Harm below this is tolerated: beyond it the canary fails. Default: half as many again as
    /// stable, and 0.02pp.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail_if_worse_than: Option<Margin>,
    /// Proven to be no worse than this, the canary passes. Default: the tightest of 0.1pp, 0.2pp,
    /// 0.5pp and 1pp that the traffic affords.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pass_if_not_worse_than: Option<Margin>,
    /// The share of good ones that was promised, such as `99.9%`: a margin never takes more than
    /// half of what it leaves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slo: Option<FractionOrArgument>,
    /// The share no release may have, 0.01% to 80%: more than it, and more than three times
    /// stable's share of the last day, fails at once. Default: 5%.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hard_limit: Option<FractionOrArgument>,
}

/// The share of requests slower than a bound, from a classic histogram.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// The histogram, as a metric with label matchers, without `_bucket`.
    pub histogram: PromQl,
    /// Slower than this is bad. It must be the bound of one of the histogram's buckets.
    pub slo: DurationOrArgument,
    /// The unit of the histogram's bounds. Default: Seconds.
    #[serde(default)]
    pub unit: TimeUnit,
    /// Harm below this is tolerated: beyond it the canary fails. Default: half as many again as
    /// stable, and 0.02pp.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail_if_worse_than: Option<Margin>,
    /// Proven to be no worse than this, the canary passes. Default: half as many again as stable,
    /// and 1pp.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pass_if_not_worse_than: Option<Margin>,
    /// The share of slow ones no release may have, 0.01% to 80%: more than it, and more than three
    /// times stable's share of the last day, fails at once. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hard_limit: Option<FractionOrArgument>,
}

/// The unit of a histogram's bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TimeUnit {
    /// As Prometheus recommends.
    #[default]
    Seconds,
    /// As Istio counts.
    Milliseconds,
}

/// How much worse than stable: a part of stable's share, a fixed difference, or both added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.relative) || has(self.absolute)")
    .message("expected relative, absolute or both"))]
pub struct Margin {
    /// Of stable's own share: `50%` is half as many again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relative: Option<FractionOrArgument>,
    /// In percentage points, on top of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absolute: Option<PointsOrArgument>,
}

/// A number against a fixed limit. Missing data neither passes nor fails.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "(has(self.failures) ? self.failures : 3) <= (has(self.of) ? self.of : 5)")
    .message("failures is at most of"))]
pub struct Threshold {
    /// Any PromQL with one number as its answer. `$(pods)` is a regular expression that matches
    /// the canary's pods, `$(backend)` the canary's Service.
    pub query: PromQl,
    /// How the number must stand to the limit.
    pub op: Comparison,
    /// The limit, a number in quotes.
    pub limit: NumberOrArgument,
    /// So many violations of the last `of` samples fail the canary. Default: 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub failures: Option<u32>,
    /// How many of the last valid samples are looked at. Default: 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub of: Option<u32>,
    /// So many valid samples are needed to pass. Default: 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub min_samples: Option<u32>,
}

/// How a number must stand to its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Comparison {
    /// Less than the limit.
    #[serde(rename = "<")]
    Below,
    /// Less than the limit, or equal.
    #[default]
    #[serde(rename = "<=")]
    AtMost,
    /// More than the limit.
    #[serde(rename = ">")]
    Above,
    /// More than the limit, or equal.
    #[serde(rename = ">=")]
    AtLeast,
}
