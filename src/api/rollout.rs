//! The Rollout: one per workload.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::gate::Gate;
use crate::rollout_status::RolloutStatus;
use crate::{Duration, Fraction, Name, ObjectName, RepositoryPath, Strategy, TimeOfDay};

/// What is asked for: which workload, how fast, and what must hold.
#[derive(
    CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema,
)]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "Rollout",
    doc = "A Rollout watches one Deployment: a new template is tried on a part of the traffic, \
           judged, and promoted, or sent back and reverted in Git.",
    namespaced,
    status = "RolloutStatus",
    derive = "PartialEq",
    shortname = "tgr",
    category = "tidegate",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.step"),
    printcolumn(name = "Weight", type_ = "integer", json_path = ".status.weight"),
    printcolumn(name = "Verdict", type_ = "string", json_path = ".status.verdict"),
    printcolumn(
        name = "Synced",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Synced\")].status"
    ),
    printcolumn(name = "Revision", type_ = "string", json_path = ".status.revision"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(
    "!has(self.routes) || self.routes.size() > 0 || !has(self.strategy) || \
     !has(self.strategy.canary) || self.strategy.canary.steps.all(s, \
     !has(s.weight) || s.weight <= 50 || s.weight == 100)")
    .message("without routes the weight is a share of pods: up to 50, or 100"))]
#[x_kube(validation = Rule::new(
    "!has(self.promotion) || self.promotion != 'Surge' || !has(self.strategy) || \
     (!has(self.strategy.blueGreen) && (!has(self.strategy.canary) || \
     self.strategy.canary.steps.all(s, !has(s.weight) || s.weight < 100)))")
    .message("promotion Surge has neither blueGreen nor a weight of 100: it rolls the rest out"))]
#[x_kube(validation = Rule::new(
    "!has(self.promotion) || self.promotion != 'Surge' || !has(self.gates) || \
     self.gates.all(g, g.at != 'Promoted')")
    .message("promotion Surge has no gate at Promoted: the way back is not one write then"))]
#[x_kube(validation = Rule::new(
    "!has(self.services) || !has(self.sharedServices) || \
     self.services.all(s, !(s in self.sharedServices))")
    .message("a Service is in services or in sharedServices, not in both"))]
#[x_kube(validation = Rule::new("self.workloadRef.name == oldSelf.workloadRef.name")
    .message("workloadRef.name cannot change: make a Rollout for the other workload"))]
pub struct RolloutSpec {
    /// The workload to watch.
    pub workload_ref: WorkloadRef,
    /// The `RolloutClass` whose settings hold where this Rollout says nothing. Default: the class
    /// marked default, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<ObjectName>,
    /// Whether Tidegate acts or only watches. Default: Enforce.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Suspended, no trial starts, and one that runs takes no step: it is judged still, and goes home
    /// when it fails. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// The Services pinned to one revision while a trial runs. Default: every Service that
    /// selects the pods. `[]` for workloads without a Service.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub services: Option<Vec<Name>>,
    /// Services that select the pods and may reach the canary at any weight, such as one for
    /// metrics.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub shared_services: Vec<Name>,
    /// Your own Service for the canary; its selector is ours while a trial runs. Default: we
    /// create `<service>-canary`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary_service: Option<Name>,
    /// The routes that split the traffic. Default: every HTTPRoute with one of the Services as a
    /// backend. `[]`: the weight is a share of pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub routes: Option<Vec<RouteRef>>,
    /// How the canary gets its traffic. Default: the class's, else 5, 25 and 50 percent, 2m each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// How the tested pods become the Deployment's own. Default: `HandOver`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promotion: Option<Promotion>,
    /// What a template that differs only in annotations of a restart gets. Default: Pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_restart: Option<OnRestart>,
    /// What is measured and how sure the verdict must be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub analysis: Option<Analysis>,
    /// What follows a failed canary. Default: Revert.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// What follows when a step's deadline passes without a verdict. Default: Pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_inconclusive: Option<OnInconclusive>,
    /// What follows when the traffic cannot prove a step within its deadline. Default: Pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_low_traffic: Option<OnLowTraffic>,
    /// How long each stage may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// When trials may start and be promoted. Abort and revert are always allowed. Default: any
    /// time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub windows: Option<Vec<Window>>,
    /// Who has a say before a trial goes on: tests, approvals, load. Default: the class's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub gates: Option<Vec<Gate>>,
    /// Where the manifests live. Default: found from the GitOps engine's own object when its path
    /// holds this application alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git: Option<GitPaths>,
}

/// The workload to watch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadRef {
    /// Group and version of the workload.
    #[serde(default)]
    pub api_version: WorkloadApiVersion,
    /// Kind of the workload.
    #[serde(default)]
    pub kind: WorkloadKind,
    /// Its name, in the Rollout's namespace.
    pub name: ObjectName,
}

/// Group and version of a workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WorkloadApiVersion {
    /// Deployments.
    #[default]
    #[serde(rename = "apps/v1")]
    AppsV1,
}

/// Kind of a workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WorkloadKind {
    /// A Deployment with the strategy `RollingUpdate`.
    #[default]
    Deployment,
}

/// Whether Tidegate acts or only watches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// Gate, route, promote, revert.
    #[default]
    Enforce,
    /// Touch nothing: the verdict, and the revert that would be pushed, are in status.
    Observe,
}

/// A route that splits the traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteRef {
    /// Kind of the route.
    #[serde(default)]
    pub kind: RouteKind,
    /// Its name, in the Rollout's namespace.
    pub name: ObjectName,
}

/// Kind of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RouteKind {
    /// `gateway.networking.k8s.io/v1`.
    #[default]
    #[serde(rename = "HTTPRoute")]
    HttpRoute,
}

/// How the tested pods become the Deployment's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Promotion {
    /// The canary grows to full size beside stable, then the Deployment takes it over.
    #[default]
    HandOver,
    /// For clusters without room for two full sets: the canary never has more pods than the
    /// Deployment's `maxSurge` allows; the Deployment takes those and rolls the rest out, watched.
    Surge,
}

/// What a template that differs only in annotations of a restart gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnRestart {
    /// A plain rolling update.
    #[default]
    Pass,
    /// A trial, as any other template.
    Trial,
}

/// What follows a failed canary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnFailure {
    /// Traffic back, then a revert in Git.
    #[default]
    Revert,
    /// Traffic back, Git untouched, alert.
    Hold,
}

/// What follows when a step's deadline passes without a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnInconclusive {
    /// Keep the weight and wait for a person.
    #[default]
    Pause,
    /// Traffic back to stable, Git untouched.
    Abort,
}

/// What follows when the traffic cannot prove a step within its deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnLowTraffic {
    /// Keep the weight and wait for a person.
    #[default]
    Pause,
    /// Go on unproven, and say so. Never called Pass.
    PromoteUnproven,
}

/// What is measured and how sure the verdict must be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.sensitivity) || !has(self.falseRollback)")
    .message("expected sensitivity or falseRollback, not both"))]
pub struct Analysis {
    /// Templates whose metrics are judged, all of them. Default: the class's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub templates: Option<Vec<TemplateRef>>,
    /// The `MetricSource` that is asked. Default: the class's, else the one named `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<ObjectName>,
    /// Preset of the false-rollback bound. Default: Standard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensitivity: Option<Sensitivity>,
    /// At most this share of good releases is sent back by noise, per trial, above 0% and up to
    /// 10%. Default: by `sensitivity`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub false_rollback: Option<Fraction>,
    /// At most this share of releases that are worse than the margin passes, per metric, above 0%
    /// and up to 20%. Default: 5%.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrong_promote: Option<Fraction>,
    /// Length of a window of the evidence lane, 1s to 10m. Two scrapes should lie in it.
    /// Default: 15s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Duration>,
}

/// Preset of the false-rollback bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Sensitivity {
    /// 1 in 1000 good releases is sent back by noise at most.
    #[default]
    Standard,
    /// 1 in 20: finds smaller harm, sooner.
    Sensitive,
}

/// A template whose metrics are judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateRef {
    /// Its name.
    pub name: ObjectName,
    /// Its kind. Default: the `AnalysisTemplate` of that name in the Rollout's namespace, else the
    /// `ClusterAnalysisTemplate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<TemplateKind>,
    /// Values of its arguments, each taken literally.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub args: BTreeMap<String, String>,
}

/// Kind of a template.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum TemplateKind {
    /// Of the Rollout's namespace.
    AnalysisTemplate,
    /// Of the cluster.
    ClusterAnalysisTemplate,
}

/// How long each stage may take. Each has a default, see `docs/defaults.md`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// One settled stable set before the trial starts. Default: 10m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settle: Option<Duration>,
    /// Canary pods ready after they were asked for. Default: 10m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<Duration>,
    /// A weight read back after it was written. Default: 2m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shift: Option<Duration>,
    /// A verdict, on top of a step's minimum time. Default: 1h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Duration>,
    /// The Deployment taking over the tested pods. Default: 2m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hand_over: Option<Duration>,
    /// Requests in flight on the canary after its weight went to 0. Default: 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Duration>,
    /// How long the way back stays one write after the traffic was promoted. Default: 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_down_delay: Option<Duration>,
}

/// A time of the week, in UTC, in which trials may start and be promoted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.from < self.to")
    .message("from is before to; a window over midnight is two windows"))]
pub struct Window {
    /// The days it opens on. Default: every day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 7), extend("x-kubernetes-list-type" = "set"))]
    pub days: Vec<Weekday>,
    /// When it opens, in UTC.
    pub from: TimeOfDay,
    /// When it closes, in UTC.
    pub to: TimeOfDay,
}

/// A day of the week.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[expect(missing_docs, reason = "a day is a day")]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// Where the manifests live.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GitPaths {
    /// Name of the `ConfigRepository`.
    pub repository: ObjectName,
    /// Paths that hold this application alone. Only these are ever touched.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(p, p.split('/').all(s, !(s in ['', '.', '..'])))")
        .message("a path has no empty part, no . and no .."))]
    pub paths: Vec<RepositoryPath>,
}

/// How people are told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Notify {
    /// Labels added to every alert, such as `team`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub labels: BTreeMap<String, String>,
}
