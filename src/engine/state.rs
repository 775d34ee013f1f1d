//! Where a rollout stands. All of it lives in the Rollout's own `.status`, written before the
//! effects it asks for: a crash at any point, and two leaders at once, are both safe.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::effect::{Notice, RevertOrder, RevertOutcome};
use crate::plan::{Plan, Weight};
use crate::reason::Reason;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes the text as it is.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id! {
    /// A pod template, by hash.
    Revision
}
id! {
    /// A commit of the config repository: 40 hex digits.
    GitRevision
}
id! {
    /// A canary's life, by name; the idempotency key of its revert.
    TrialId
}

impl GitRevision {
    /// The first ten digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..10).unwrap_or(&self.0)
    }
}

/// Where a rollout stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct State {
    /// The revision that serves. `None`: the workload was never seen.
    pub stable: Option<Stable>,
    /// The canary on trial. `None`: stable serves all, a new template starts one.
    pub trial: Option<Trial>,
    /// How the last trial ended.
    pub last: Option<Ended>,
    /// Revisions that failed: not tried again without a change or a person's word. Newest last.
    pub quarantine: Vec<Quarantined>,
    /// Revisions promoted before: the way back to one of them is fast. Newest last.
    pub promoted: Vec<Revision>,
    /// The Git revision whose template we wrote over: it is deployed, but does not render stable.
    pub overwritten: Option<GitRevision>,
    /// The quarantined template people were told about, so that they are told once.
    pub warned: Option<Revision>,
    /// Told to people soon. Written with the transition, removed when delivered.
    pub outbox: Vec<Notice>,
    /// The last request of a person that was answered, by its token.
    pub answered: Option<String>,
    /// Trials so far; part of the next trial's id.
    pub trials: u64,
    /// Notices so far; the next notice's id.
    pub notices: u64,
}

/// The revision that serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stable {
    /// Its template.
    pub revision: Revision,
    /// The last Git revision known to render it: the good end of the next trial's range.
    pub git: Option<GitRevision>,
}

/// A canary's life, start to end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trial {
    /// Its name.
    pub id: TrialId,
    /// The revision on trial.
    pub canary: Revision,
    /// Where its template came from, pinned when the trial started.
    pub origin: Origin,
    /// When it started.
    pub started: DateTime<Utc>,
    /// When its pods first were ready: evidence counts from here.
    pub ready: Option<DateTime<Utc>>,
    /// When the way home was read back after an abort: requests drain from here.
    pub home: Option<DateTime<Utc>>,
    /// Steps are left out, and why.
    pub skip: Option<Skip>,
    /// The Deployment was asked to take the tested pods: it may have them at any time since.
    #[serde(default)]
    pub handed: bool,
    /// What people were already told about this trial, so that they are told once.
    pub told: Vec<Reason>,
    /// Where in its life it is.
    pub stage: Stage,
}

/// Where a template came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// Commits after `good`, up to `bad`, brought it.
    Git {
        /// Last revision whose template was stable.
        good: GitRevision,
        /// The revision that was deployed when the template was seen.
        bad: GitRevision,
    },
    /// Not a commit: `kubectl set image`, a restart, an updater that writes to the cluster.
    OutOfBand {
        /// The field manager that wrote the template, when it can be told.
        writer: Option<String>,
    },
    /// Nobody could say which commit was deployed.
    Unknown,
}

/// Where in its life a trial is. The diagram is in the crate's documentation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Stage {
    /// Waits until there is one stable set and nothing could be taken for the canary; then
    /// Starting. Stable without an available pod leads to `FastForward`.
    Settling {
        /// When it began.
        since: DateTime<Utc>,
    },
    /// Services held and pinned, canary pods rise at weight 0; ready leads to Shifting.
    Starting {
        /// When it began.
        since: DateTime<Utc>,
    },
    /// A weight is asked for; once it is read back, Baking.
    Shifting {
        /// Index into the plan's steps.
        step: usize,
        /// When it began.
        since: DateTime<Utc>,
    },
    /// Judged at its weight. Pass and minimum time: the next step. Fail: Aborting.
    Baking {
        /// Index into the plan's steps.
        step: usize,
        /// When it began.
        since: DateTime<Utc>,
    },
    /// A pause step, a person or an inconclusive verdict stopped it; still judged.
    Paused {
        /// Index into the plan's steps.
        step: usize,
        /// When it began.
        since: DateTime<Utc>,
        /// Who ends it.
        by: PausedBy,
    },
    /// No steps: the canary goes to full size and takes all traffic; judged after.
    FastForward {
        /// When it began.
        since: DateTime<Utc>,
    },
    /// The tested pods become the Deployment's own; ends the trial.
    Promoting {
        /// How far it is.
        part: Promotion,
        /// When the part began.
        since: DateTime<Utc>,
    },
    /// Weight 0 first, at once; read back, it leads on by cause.
    Aborting {
        /// Why.
        cause: Cause,
        /// When it began.
        since: DateTime<Utc>,
    },
    /// Git is put right; then Restoring.
    Reverting {
        /// Why.
        cause: Cause,
        /// What to revert.
        order: RevertOrder,
        /// When it began.
        since: DateTime<Utc>,
        /// The last answer, while there is no final one (`Retry`, `PullRequest`).
        waiting: Option<RevertOutcome>,
    },
    /// We write stable's template back ourselves; then the trial ends.
    Restoring {
        /// Why.
        cause: Cause,
        /// What became of the revert; `None`: there was nothing to revert.
        revert: Option<RevertOutcome>,
        /// When it began.
        since: DateTime<Utc>,
    },
    /// Rest, with the failed template held: only a newer template or a person leads on.
    Aborted {
        /// Why.
        cause: Cause,
        /// What became of the revert; `None`: none was wanted.
        revert: Option<RevertOutcome>,
        /// When it began.
        since: DateTime<Utc>,
    },
    /// Mode Observe: the plain rolling update is judged, nothing is touched.
    Watching {
        /// When it began.
        since: DateTime<Utc>,
    },
}

/// Who ends a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PausedBy {
    /// A pause step of the plan.
    Step,
    /// A person asked for it.
    Person,
    /// The step's deadline passed without a verdict.
    Inconclusive,
}

/// Why the steps are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Skip {
    /// Stable has no available pod: there is nothing to protect.
    StableDown,
    /// The revision was promoted before: a way back.
    PromotedBefore,
    /// A person said `promote --full`.
    Person,
}

/// How far a promotion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Promotion {
    /// Canary to full size, weight 100 read back.
    Filling,
    /// Services pinned to the canary.
    Pinning,
    /// The way back is one write until `scale_down_delay` is over.
    Waiting,
    /// The Deployment takes the tested pods. No way back from here but Git.
    HandingOver,
    /// Deployment unpaused, holds released.
    Releasing,
}

/// Why a trial ends without promotion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// The release does harm: a verdict of Fail. Reverts.
    BadArtifact {
        /// One sentence with numbers.
        message: String,
    },
    /// The release's pods crash, or never become ready by their own fault. Reverts.
    BrokenPods {
        /// What Kubernetes says of them.
        message: String,
    },
    /// Its configuration keeps its pods from starting. Reverts.
    BadConfiguration {
        /// What is missing or wrong.
        message: String,
    },
    /// The API server refuses a write of ours, or the release's pods. Holds.
    Permission {
        /// What was refused.
        message: String,
    },
    /// Unschedulable, quota, registry or gateway trouble, stable sick too. Holds.
    Environment {
        /// What is wrong.
        message: String,
    },
    /// No verdict in time, and the plan says abort. Holds.
    Inconclusive {
        /// What could not be told.
        message: String,
    },
    /// A person said abort; reverts unless they said hold.
    Person {
        /// Who.
        who: String,
        /// Traffic back only, Git untouched.
        hold: bool,
    },
    /// A newer template came. Nothing is reverted; the new one is tried.
    Superseded,
    /// The template is stable's again: somebody reverted by hand. Ends quietly.
    RevertedByHand,
    /// The workload was scaled to 0. Tried again when it is not.
    ScaledToZero,
    /// The gate was passed by: the template rolled out unjudged and is stable now.
    Bypassed,
    /// The Deployment is gone.
    WorkloadGone,
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// Which.
    pub trial: TrialId,
    /// Its revision.
    pub canary: Revision,
    /// When.
    pub at: DateTime<Utc>,
    /// How.
    pub outcome: Outcome,
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The canary is stable now.
    Promoted,
    /// Traffic went home.
    Aborted {
        /// Why.
        cause: Cause,
        /// What became of the revert.
        revert: Option<RevertOutcome>,
    },
    /// Mode Observe: what would have happened.
    Watched {
        /// The failure, if there was one.
        would_abort: Option<String>,
    },
}

/// A revision that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quarantined {
    /// Its template.
    pub revision: Revision,
    /// The Git revision that brought it, if one did.
    pub git: Option<GitRevision>,
    /// When it failed.
    pub at: DateTime<Utc>,
}

impl Stage {
    /// The weight the stage asks for.
    pub fn weight(&self, plan: &Plan) -> Weight {
        match self {
            Self::Shifting { step, .. } | Self::Baking { step, .. } | Self::Paused { step, .. } => {
                plan.weight_at(*step)
            }
            Self::FastForward { .. } | Self::Promoting { .. } => Weight::FULL,
            Self::Settling { .. }
            | Self::Starting { .. }
            | Self::Aborting { .. }
            | Self::Reverting { .. }
            | Self::Restoring { .. }
            | Self::Aborted { .. }
            | Self::Watching { .. } => Weight::ZERO,
        }
    }

    /// When the stage, or the part of it, began.
    pub fn since(&self) -> DateTime<Utc> {
        match self {
            Self::Settling { since }
            | Self::Starting { since }
            | Self::Shifting { since, .. }
            | Self::Baking { since, .. }
            | Self::Paused { since, .. }
            | Self::FastForward { since }
            | Self::Promoting { since, .. }
            | Self::Aborting { since, .. }
            | Self::Reverting { since, .. }
            | Self::Restoring { since, .. }
            | Self::Aborted { since, .. }
            | Self::Watching { since } => *since,
        }
    }
}

/// Where a rollout stands in one word, for `kubectl get`: the stage without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Stable serves all.
    Idle,
    /// See [`Stage::Settling`].
    Settling,
    /// See [`Stage::Starting`].
    Starting,
    /// See [`Stage::Shifting`].
    Shifting,
    /// See [`Stage::Baking`].
    Baking,
    /// See [`Stage::Paused`].
    Paused,
    /// See [`Stage::FastForward`].
    FastForward,
    /// See [`Stage::Promoting`].
    Promoting,
    /// See [`Stage::Aborting`].
    Aborting,
    /// See [`Stage::Reverting`].
    Reverting,
    /// See [`Stage::Restoring`].
    Restoring,
    /// See [`Stage::Aborted`]; also at rest after a trial that was aborted.
    Aborted,
    /// See [`Stage::Watching`].
    Watching,
}

impl Phase {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Idle,
        Self::Settling,
        Self::Starting,
        Self::Shifting,
        Self::Baking,
        Self::Paused,
        Self::FastForward,
        Self::Promoting,
        Self::Aborting,
        Self::Reverting,
        Self::Restoring,
        Self::Aborted,
        Self::Watching,
    ];
}

impl State {
    /// Where the rollout stands in one word.
    pub fn phase(&self) -> Phase {
        let Some(trial) = &self.trial else {
            let aborted = matches!(
                self.last,
                Some(Ended { outcome: Outcome::Aborted { ref cause, .. }, .. }) if cause.is_failure()
            );
            return if aborted { Phase::Aborted } else { Phase::Idle };
        };
        match trial.stage {
            Stage::Settling { .. } => Phase::Settling,
            Stage::Starting { .. } => Phase::Starting,
            Stage::Shifting { .. } => Phase::Shifting,
            Stage::Baking { .. } => Phase::Baking,
            Stage::Paused { .. } => Phase::Paused,
            Stage::FastForward { .. } => Phase::FastForward,
            Stage::Promoting { .. } => Phase::Promoting,
            Stage::Aborting { .. } => Phase::Aborting,
            Stage::Reverting { .. } => Phase::Reverting,
            Stage::Restoring { .. } => Phase::Restoring,
            Stage::Aborted { .. } => Phase::Aborted,
            Stage::Watching { .. } => Phase::Watching,
        }
    }
}

impl Cause {
    /// The release is to blame, or a person said so: its revision is not tried again by itself,
    /// and Git is put right where the plan allows it.
    pub const fn is_blame(&self) -> bool {
        match self {
            Self::BadArtifact { .. }
            | Self::BrokenPods { .. }
            | Self::BadConfiguration { .. }
            | Self::Person { .. } => true,
            Self::Permission { .. }
            | Self::Environment { .. }
            | Self::Inconclusive { .. }
            | Self::Superseded
            | Self::RevertedByHand
            | Self::ScaledToZero
            | Self::Bypassed
            | Self::WorkloadGone => false,
        }
    }

    /// Something went wrong; the others end a trial quietly.
    pub const fn is_failure(&self) -> bool {
        match self {
            Self::BadArtifact { .. }
            | Self::BrokenPods { .. }
            | Self::BadConfiguration { .. }
            | Self::Person { .. }
            | Self::Permission { .. }
            | Self::Environment { .. }
            | Self::Inconclusive { .. } => true,
            Self::Superseded
            | Self::RevertedByHand
            | Self::ScaledToZero
            | Self::Bypassed
            | Self::WorkloadGone => false,
        }
    }

    /// The documented why.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::BadArtifact { .. } => Reason::AnalysisFailed,
            Self::BrokenPods { .. } => Reason::CanaryUnhealthy,
            Self::BadConfiguration { .. } => Reason::BadConfiguration,
            Self::Permission { .. } => Reason::PermissionDenied,
            Self::Environment { .. } => Reason::EnvironmentUnhealthy,
            Self::Inconclusive { .. } => Reason::InconclusiveAborted,
            Self::Person { .. } => Reason::AbortedByPerson,
            Self::Superseded => Reason::Superseded,
            Self::RevertedByHand => Reason::RevertedByHand,
            Self::ScaledToZero => Reason::Asleep,
            Self::Bypassed => Reason::GateBypassed,
            Self::WorkloadGone => Reason::WorkloadMissing,
        }
    }

    /// One sentence for people.
    pub fn message(&self) -> String {
        match self {
            Self::BadArtifact { message }
            | Self::BrokenPods { message }
            | Self::BadConfiguration { message }
            | Self::Permission { message }
            | Self::Environment { message }
            | Self::Inconclusive { message } => message.clone(),
            Self::Person { who, hold: true } => format!("{who} aborted the trial and keeps Git"),
            Self::Person { who, hold: false } => format!("{who} aborted the trial"),
            Self::Superseded => "a newer template came".to_owned(),
            Self::RevertedByHand => "the template is stable's again".to_owned(),
            Self::ScaledToZero => "the workload was scaled to 0".to_owned(),
            Self::Bypassed => "the template rolled out past the gate".to_owned(),
            Self::WorkloadGone => "the Deployment is gone".to_owned(),
        }
    }
}
