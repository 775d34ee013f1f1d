//! The record of one trial: for people, never read for decisions.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ObjectName;
use crate::metric_status::{ArmCounts, MetricStatus, Standing};
use crate::rollout_status::VerdictWord;

/// What is known when a trial starts. It never changes.
#[derive(
    CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema,
)]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "Trial",
    doc = "A Trial records a canary's life: evidence, decisions, who asked what. The controller \
           writes it, never reads it, and keeps the last 20 of each Rollout.",
    namespaced,
    status = "TrialStatus",
    derive = "PartialEq",
    shortname = "tgt",
    category = "tidegate",
    printcolumn(name = "Rollout", type_ = "string", json_path = ".spec.rollout"),
    printcolumn(name = "Outcome", type_ = "string", json_path = ".status.outcome"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.spec == oldSelf.spec").message("a Trial's spec never changes")
)]
#[serde(rename_all = "camelCase")]
pub struct TrialSpec {
    /// The Rollout it belongs to.
    pub rollout: ObjectName,
    /// The revision that served.
    #[schemars(length(min = 1, max = 63))]
    pub stable: String,
    /// The revision on trial.
    #[schemars(length(min = 1, max = 63))]
    pub canary: String,
    /// The last Git revision whose template was stable.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub good: Option<String>,
    /// The Git revision that brought the canary.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub bad: Option<String>,
    /// When it started, as RFC 3339.
    #[schemars(length(min = 1, max = 40))]
    pub started: String,
}

/// What became of it. What was written once never changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "!has(oldSelf.outcome) || (has(self.outcome) && self.outcome == oldSelf.outcome)")
    .message("outcome is written once"))]
#[x_kube(validation = Rule::new(
    "!has(oldSelf.ended) || (has(self.ended) && self.ended == oldSelf.ended)")
    .message("ended is written once"))]
#[x_kube(validation = Rule::new(
    "!has(oldSelf.revert) || (has(self.revert) && self.revert == oldSelf.revert)")
    .message("revert is written once"))]
pub struct TrialStatus {
    /// How it ended. Absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<TrialOutcome>,
    /// When it ended, as RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    pub ended: Option<String>,
    /// Why traffic went back; in mode Observe, why it would have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<TrialCause>,
    /// The last decision's reason, one of `docs/reasons.md`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub reason: Option<String>,
    /// One sentence for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// The commit of the revert, or where its pull request is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub revert: Option<String>,
    /// The metrics as they stood when it was written last: at the end as they stood then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub metrics: Vec<MetricStatus>,
    /// The metrics at the end of each step, the last ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["step"]))]
    pub steps: Vec<StepRecord>,
    /// The queries that were asked last, in full, so that the decision can be made again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "atomic"))]
    pub queries: Vec<TrialQuery>,
    /// Decisions and requests of people, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "atomic"))]
    pub notes: Vec<TimedNote>,
}

/// How a trial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TrialOutcome {
    /// The canary is stable now.
    Promoted,
    /// Traffic went back to stable.
    Aborted,
    /// Mode Observe: nothing was touched.
    Watched,
}

/// Why a trial ended without promotion.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrialCause {
    /// One of `docs/reasons.md`.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// One sentence with numbers.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// The metrics as they stood when a step was judged last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepRecord {
    /// Which step of how many, such as `2/5`.
    #[schemars(length(max = 16))]
    pub step: String,
    /// Its weight, in whole percent.
    #[schemars(range(min = 0, max = 100))]
    pub weight: u8,
    /// When, as RFC 3339.
    #[schemars(length(max = 40))]
    pub at: String,
    /// What all metrics said together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<VerdictWord>,
    /// Each of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub metrics: Vec<StepMetric>,
}

/// One metric at the end of a step. Counts are of the trial until then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepMetric {
    /// Its name.
    #[schemars(length(max = 127))]
    pub name: String,
    /// What its samples said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
    /// The canary's counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<ArmCounts>,
    /// Stable's counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<ArmCounts>,
}

/// A range query: the same one gives the same samples.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrialQuery {
    /// The metric it was asked for.
    #[schemars(length(max = 127))]
    pub metric: String,
    /// `PromQL`.
    #[schemars(length(max = 8192))]
    pub query: String,
    /// The first instant that was read, as RFC 3339.
    #[schemars(length(max = 40))]
    pub from: String,
    /// The last one.
    #[schemars(length(max = 40))]
    pub to: String,
    /// The time between two of them.
    pub step_seconds: u64,
}

/// A decision, or what a person asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TimedNote {
    /// When, as RFC 3339.
    #[schemars(length(max = 40))]
    pub at: String,
    /// Which of `docs/reasons.md`, or what was asked for.
    #[schemars(length(max = 64))]
    pub reason: String,
    /// Who asked, when it was a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub who: Option<String>,
    /// One sentence with numbers.
    #[schemars(length(max = 1024))]
    pub message: String,
}
