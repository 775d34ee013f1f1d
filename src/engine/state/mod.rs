//! Where a rollout stands. All of it lives in the Rollout's own `.status`, written before the
//! effects it asks for: a crash at any point, and two leaders at once, are both safe.

mod cause;
mod gates;
mod request;
mod stage;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use cause::Cause;
pub use gates::{AskedGate, AtGates, GateAnswer, GateCall, Place};
pub use request::{Answer, Request};
pub use stage::{PausedBy, Phase, Promotion, Skip, Stage};

use crate::effect::{Notice, RevertOrder, RevertOutcome};
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
    /// A new template waits at the gate.
    pub waiting: Option<Waiting>,
    /// A release failed, and none was promoted since.
    pub failed: Option<Failed>,
    /// The last request of a person, and what became of it. It stays when an engine takes it back
    /// from where it was written.
    pub request: Option<Request>,
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
    /// When its pods were ready for the first step.
    pub ready: Option<DateTime<Utc>>,
    /// When it was first given a share of the traffic: evidence counts from here.
    #[serde(default)]
    pub shared: Option<DateTime<Utc>>,
    /// When the way home was read back after an abort: requests drain from here.
    pub home: Option<DateTime<Utc>>,
    /// Steps are left out, and why.
    pub skip: Option<Skip>,
    /// The Deployment was asked to take the tested pods: it may have them at any time since.
    #[serde(default)]
    pub handed: bool,
    /// What the gates of the place where the trial is have said.
    #[serde(default)]
    pub gates: Option<AtGates>,
    /// The class that it is counted in.
    #[serde(default)]
    pub class: Option<String>,
    /// Since when it stands still: it takes no step, and its deadlines wait.
    #[serde(default)]
    pub stands: Option<DateTime<Utc>>,
    /// A person said to go on though another release of the same commit failed.
    #[serde(default)]
    pub alone: bool,
    /// It was asked to take them early, and to bring the rest itself: from then on the way back is a
    /// rolling update of its own.
    #[serde(default)]
    pub surged: bool,
    /// What people were already told about this trial, so that they are told once.
    pub told: Vec<Reason>,
    /// Where in its life it is.
    pub stage: Stage,
}

/// Where a template came from.
#[derive(Clone, Default, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    #[default]
    Unknown,
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// Which.
    pub trial: TrialId,
    /// Its revision.
    pub canary: Revision,
    /// Where its template came from.
    #[serde(default)]
    pub origin: Origin,
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
        /// The revert that would have followed.
        #[serde(default)]
        would_revert: Option<RevertOrder>,
    },
}

/// A new template that waits at the gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// Since when. A newer template keeps the place of the one before.
    pub since: DateTime<Utc>,
    /// For what.
    pub reason: Reason,
    /// The class that its trial will be counted in.
    pub class: Option<String>,
}

/// A release that failed by itself: no person ended it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failed {
    /// When.
    pub at: DateTime<Utc>,
    /// The commit that brought it, if one did.
    pub commit: Option<GitRevision>,
    /// Who else was on trial with that commit then, the first few.
    #[serde(default)]
    pub siblings: Vec<String>,
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
        if trial.held_by().is_some() {
            return Phase::Paused;
        }
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
