//! The objects of `tidegate.dev/v1alpha1` as they travel: types and schemas, no logic.
//!
//! Every field's documentation is its description in the schema. What a schema or a validation
//! rule can reject, the API server rejects; what it cannot, `resolve` does. Lists and texts have
//! upper bounds everywhere, so that the cost of each validation rule has one too.

#![expect(clippy::duplicated_attributes, reason = "two printer columns may be of one type")]
#![expect(unreachable_pub, reason = "KubeSchema repeats each struct within a function")]

mod analysis_template;
mod condition;
mod config_repository;
mod crds;
mod gate;
mod metric_source;
mod metric_status;
mod rollout;
mod rollout_class;
mod rollout_status;
mod strategy;
mod text;
mod trial;

pub use analysis_template::{
    AnalysisTemplate, AnalysisTemplateSpec, Argument, ClusterAnalysisTemplate,
    ClusterAnalysisTemplateSpec, Comparison, Latency, Margin, MeasuredBy, Metric, Ratio, Threshold,
    TimeUnit,
};
pub use condition::{Condition, ConditionType};
pub use config_repository::{
    AllowedPaths, Author, ConfigRepository, ConfigRepositorySpec, ConfigRepositoryStatus, Forge,
    GitWrite, PullRequests,
};
pub use crds::crds;
pub use gate::{Gate, GateAt, HttpGate, HttpMethod, JobGate, OnTimeout};
pub use metric_source::{
    MetricLabels, MetricSource, MetricSourceSpec, MetricSourceStatus, SecretKey,
};
pub use metric_status::{
    ArmCounts, AtWeight, Between, BothArms, EvidenceStatus, MarginStatus, MetricStatus, Needs,
    Standing,
};
pub use rollout::{
    Analysis, GitPaths, Limits, Mode, Notify, OnFailure, OnInconclusive, OnLowTraffic, OnRestart,
    Promotion, Rollout, RolloutSpec, RouteKind, RouteRef, Sensitivity, TemplateKind, TemplateRef,
    Weekday, Window, WorkloadApiVersion, WorkloadKind, WorkloadRef,
};
pub use rollout_class::{RolloutClass, RolloutClassSpec};
pub use rollout_status::{
    GateKind, Phase, RequestAnswer, RequestStatus, RevisionStatus, RolloutStatus, VerdictWord,
    WouldRevert,
};
pub use strategy::{BlueGreen, Canary, Pause, Step, Strategy};
pub use text::{
    ArgumentName, Duration, DurationOrArgument, Fraction, FractionOrArgument, Host, Name,
    NumberOrArgument, ObjectName, Points, PointsOrArgument, PromQl, RepositoryPath, TEXT_FORMS,
    TimeOfDay, UrlPath,
};
pub use trial::{
    StepMetric, StepRecord, TimedNote, Trial, TrialCause, TrialOutcome, TrialQuery, TrialSpec,
    TrialStatus,
};

/// The group of all our objects.
pub const GROUP: &str = "tidegate.dev";
/// Their version.
pub const VERSION: &str = "v1alpha1";
/// Group and version as an object's `apiVersion` has them.
pub const API_VERSION: &str = "tidegate.dev/v1alpha1";

/// The field manager of every write. It must not begin with `kubectl`: Flux takes back the fields
/// of managers named so.
pub const FIELD_MANAGER: &str = "tidegate";
/// On a Rollout: its workload is set free before it goes.
pub const FINALIZER: &str = "tidegate.dev/release";

/// Label on the Deployment, value: name of its Rollout. The gate looks only at objects with it.
pub const ROLLOUT_LABEL: &str = "tidegate.dev/rollout";
/// Label on Services and routes while a trial holds them, value: name of the Rollout.
pub const HELD_LABEL: &str = "tidegate.dev/held";
/// Label on the Deployment while a failed template is held, value: the phase. Health checks of GitOps
/// engines read it; a label, since annotations are copied to sets and come back with `undo`.
pub const PHASE_LABEL: &str = "tidegate.dev/phase";
/// Label on pods, not on templates: `stable` or `canary`.
pub const ROLE_LABEL: &str = "tidegate.dev/role";
/// Label on everything that belongs to one trial, value: its name.
pub const TRIAL_LABEL: &str = "tidegate.dev/trial";
/// Label on a `CronJob` that may be run as a gate; on the Job of a gate, value: the gate's name.
pub const GATE_LABEL: &str = "tidegate.dev/gate";

/// Annotation: frees the object it is put on in the same write; the value says why.
pub const BREAK_GLASS_ANNOTATION: &str = "tidegate.dev/break-glass";
/// Annotation on a Rollout: what a person asks for (promote, abort, pause, resume, retry).
pub const REQUEST_ANNOTATION: &str = "tidegate.dev/request";
/// Annotation on a Rollout: who asked. The API server writes it over whatever somebody says.
pub const REQUESTED_BY_ANNOTATION: &str = "tidegate.dev/requested-by";
/// Annotation on a Namespace, value `"true"`: its Rollouts are suspended; on the controller's own,
/// all Rollouts are.
pub const SUSPEND_ANNOTATION: &str = "tidegate.dev/suspend";
/// Annotation on one `RolloutClass`, value `"true"`: it serves Rollouts that name no class.
pub const DEFAULT_CLASS_ANNOTATION: &str = "tidegate.dev/is-default-class";
