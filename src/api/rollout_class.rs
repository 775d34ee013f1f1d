//! The `RolloutClass`: what holds for a fleet.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::gate::Gate;
use crate::rollout::{
    Analysis, Limits, Mode, Notify, OnFailure, OnInconclusive, OnLowTraffic, OnRestart, Promotion,
    Window,
};
use crate::strategy::Strategy;

/// Settings that hold for every Rollout of the class that does not say otherwise itself.
#[derive(
    CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema,
)]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "RolloutClass",
    plural = "rolloutclasses",
    doc = "A RolloutClass holds settings for many Rollouts. The one annotated \
           tidegate.dev/is-default-class: \"true\" serves Rollouts that name no class.",
    derive = "PartialEq",
    shortname = "tgrc",
    category = "tidegate",
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(
        name = "Default",
        type_ = "string",
        json_path = r".metadata.annotations.tidegate\.dev/is-default-class"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "!has(self.promotion) || self.promotion != 'Surge' || !has(self.strategy) || \
     (!has(self.strategy.blueGreen) && (!has(self.strategy.canary) || \
     self.strategy.canary.steps.all(s, !has(s.weight) || s.weight < 100)))")
    .message("promotion Surge has neither blueGreen nor a weight of 100: it rolls the rest out"))]
#[x_kube(validation = Rule::new(
    "!has(self.promotion) || self.promotion != 'Surge' || !has(self.gates) || \
     self.gates.all(g, g.at != 'Promoted')")
    .message("promotion Surge has no gate at Promoted: the way back is not one write then"))]
pub struct RolloutClassSpec {
    /// Whether Tidegate acts or only watches. Default: Enforce.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// How canaries get their traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// How the tested pods become the Deployment's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promotion: Option<Promotion>,
    /// What a template that differs only in annotations of a restart gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_restart: Option<OnRestart>,
    /// What is measured and how sure the verdict must be. Field by field a Rollout may say
    /// otherwise; its templates replace these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analysis: Option<Analysis>,
    /// What follows a failed canary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// What follows when a step's deadline passes without a verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_inconclusive: Option<OnInconclusive>,
    /// What follows when the traffic cannot prove a step within its deadline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_low_traffic: Option<OnLowTraffic>,
    /// How long each stage may take. Field by field a Rollout may say otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// When trials may start and be promoted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub windows: Option<Vec<Window>>,
    /// Who has a say before a trial goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub gates: Option<Vec<Gate>>,
    /// How many trials of the class may run at once: others wait, the oldest goes first. Default: no
    /// limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_concurrent_trials: Option<u32>,
    /// How people are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
}
