//! Where in its life a trial is.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Cause;
use crate::effect::{RevertOrder, RevertOutcome};
use crate::plan::{Plan, Weight};

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
    /// By Surge: the canary at the size of `maxSurge`, routes home, Services select both sets.
    Spreading,
    /// By Surge: the Deployment takes the tested pods, and its rolling update brings the rest. The
    /// way back is a rolling update too.
    Surging,
    /// By Surge: all pods are of the new revision. The way back stays until `scale_down_delay` is
    /// over.
    Surged,
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

    /// The canary may have traffic and there is a way back, so that a verdict means this trial.
    /// Requests at weight 0 are people's who try it out: they mean nothing.
    pub fn is_judged(&self, plan: &Plan) -> bool {
        match self {
            Self::Shifting { .. } | Self::Baking { .. } | Self::Paused { .. } => {
                self.weight(plan) > Weight::ZERO
            }
            Self::Watching { .. }
            | Self::Promoting {
                part:
                    Promotion::Filling
                    | Promotion::Pinning
                    | Promotion::Waiting
                    | Promotion::Spreading
                    | Promotion::Surging
                    | Promotion::Surged,
                ..
            } => true,
            Self::Settling { .. }
            | Self::Starting { .. }
            | Self::FastForward { .. }
            | Self::Promoting { part: Promotion::HandingOver | Promotion::Releasing, .. }
            | Self::Aborting { .. }
            | Self::Reverting { .. }
            | Self::Restoring { .. }
            | Self::Aborted { .. } => false,
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

impl Stage {
    /// As if it, or the part of it, had begun at this time.
    pub(crate) fn begin_at(&mut self, at: DateTime<Utc>) {
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
            | Self::Watching { since } => *since = at,
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
