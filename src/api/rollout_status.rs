//! What a Rollout says back.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::RepositoryPath;
use crate::condition::Condition;
use crate::metric_status::MetricStatus;

/// Where the rollout stands. It stays below 16 kB; evidence and history are in Trials.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// The generation of the spec this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Progressing, Stalled, Synced, `ChangesHeld`, `EngineWaits`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Where in its life the trial is, or Idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Which step of how many, such as `2/5`. Absent at rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub step: Option<String>,
    /// The share of traffic the canary has in whole percent, as read back. By pods it is the share
    /// of pods, which may differ from the step's weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub weight: Option<u8>,
    /// What the judge says of the canary now. Absent without a trial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<VerdictWord>,
    /// The Git revision that runs or is on trial, short.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub revision: Option<String>,
    /// One sentence for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
    /// The revision that serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<RevisionStatus>,
    /// The revision on trial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<RevisionStatus>,
    /// Name of the Trial with the evidence.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub trial: Option<String>,
    /// The metrics of the trial: counts, evidence, how far they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub metrics: Vec<MetricStatus>,
    /// What a person asked for last, and what became of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestStatus>,
    /// Mode Observe: the revert that would have been pushed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_revert: Option<WouldRevert>,
    /// What keeps a new template from rolling out by itself on this cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateKind>,
    /// The controller's memory. Written by the controller alone and of no fixed form: read the
    /// other fields instead.
    // `default`: `schema_with` hides from the schema that the field may be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "free_form")]
    pub state: Option<serde_json::Value>,
}

fn free_form(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

/// Where in its life a trial is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// No trial: stable serves all.
    Idle,
    /// Waits for one settled stable set.
    Settling,
    /// Canary pods rise at weight 0.
    Starting,
    /// A weight is asked for and not yet read back.
    Shifting,
    /// The canary is judged at its weight.
    Baking,
    /// A pause step, a person, an inconclusive verdict or a gate without an answer stopped it.
    Paused,
    /// The canary takes all traffic without steps.
    FastForward,
    /// The tested pods become the Deployment's own.
    Promoting,
    /// Traffic goes back to stable.
    Aborting,
    /// Git is put right.
    Reverting,
    /// Stable's template is written back.
    Restoring,
    /// At rest on stable, the failed template held.
    Aborted,
    /// Mode Observe: the rolling update is watched.
    Watching,
}

/// What the judge says, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VerdictWord {
    /// Every criterion is proven.
    Pass,
    /// The canary does harm.
    Fail,
    /// Not enough evidence yet.
    NeedMoreData,
    /// More of the same data would not help.
    Inconclusive,
    /// The data could not be had.
    Error,
}

/// A revision: a pod template, by hash, and the commit that brought it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionStatus {
    /// The hash of its pods.
    #[schemars(length(max = 63))]
    pub revision: String,
    /// The Git revision, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub git: Option<String>,
}

/// What a person asked for, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestStatus {
    /// What: `pause`, `resume`, `promote`, `promote-full`, `abort`, `abort-hold` or `retry`.
    #[schemars(length(max = 32))]
    pub what: String,
    /// Who, as the API server knows them.
    #[schemars(length(max = 253))]
    pub who: String,
    /// The revision that was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub revision: Option<String>,
    /// What tells this request from others.
    #[schemars(length(max = 253))]
    pub token: String,
    /// What became of it.
    pub answer: RequestAnswer,
    /// Why, one of `docs/reasons.md`. Absent while it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub reason: Option<String>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RequestAnswer {
    /// A later stage answers it.
    Waiting,
    /// It was done.
    Granted,
    /// It was not, and will not be.
    Refused,
}

/// Mode Observe: the revert that would have been pushed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WouldRevert {
    /// The last good Git revision.
    #[schemars(length(max = 64))]
    pub good: String,
    /// The Git revision that brought the canary.
    #[schemars(length(max = 64))]
    pub bad: String,
    /// The paths that would be touched.
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub paths: Vec<RepositoryPath>,
}

/// What keeps a new template from rolling out by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GateKind {
    /// A `MutatingAdmissionPolicy` (Kubernetes 1.36 and later).
    Policy,
    /// Our webhook.
    Webhook,
}
