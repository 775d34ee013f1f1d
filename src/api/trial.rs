//! The record of one trial: for people, never read for decisions.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ObjectName;
use crate::rollout_status::MetricStatus;

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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
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
    /// The metrics as they stood at the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub metrics: Vec<MetricStatus>,
    /// The queries that were asked, in full, so that the decision can be made again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 8192)))]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub queries: Vec<String>,
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
