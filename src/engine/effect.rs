//! What must become true. An effect names an end, never a delta, and is asked for again until it
//! is observed: carrying one out twice is always safe.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::plan::Weight;
use crate::reason::Reason;
use crate::state::{GateCall, GitRevision, Revision, TrialId};

/// One end the engine wants. In a `Decision` they are in the order in which to carry them out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[must_use = "an effect does nothing until it is carried out"]
pub enum Effect {
    /// Sets that are neither stable nor canary are at 0; podless ones that could be taken for the
    /// canary are gone.
    Settle {
        /// The set that stays.
        keep: Revision,
    },
    /// Hold Services and routes: from here on their selector and weights are ours alone.
    Hold,
    /// Every Service selects only the pods of this revision.
    Pin {
        /// Whose pods.
        revision: Revision,
    },
    /// Every Service selects all pods of the workload again.
    Unpin,
    /// The canary's set exists with this many pods.
    Raise {
        /// The canary.
        revision: Revision,
        /// Pods, never 0; `Retire` is the way down.
        replicas: u32,
    },
    /// The gateway sends this share to the canary.
    Route {
        /// The canary's share.
        weight: Weight,
    },
    /// The route names the Service alone again, as in Git.
    RouteHome,
    /// The tested pods become the Deployment's own: one patch, decided on live reads.
    HandOver {
        /// The canary, about to be stable.
        revision: Revision,
        /// So many pods, no more and no less: all that the Deployment wants, or what its
        /// `maxSurge` allows beside them.
        replicas: u32,
    },
    /// The set and the Service that we made for the canary are gone. Only ever those: after a
    /// bypass the Deployment has pods of the same template of its own.
    Retire {
        /// The canary that was.
        revision: Revision,
    },
    /// The Deployment carries this revision's template again, written by us.
    Restore {
        /// Stable.
        revision: Revision,
        /// The template it replaces; any other is left alone, somebody was faster.
        over: Revision,
    },
    /// The Deployment is not paused.
    Unpause {
        /// Stable, or the canary that the Deployment took over. With any other template the
        /// Deployment stays paused: it would roll out unjudged.
        revision: Revision,
    },
    /// Git says what runs: the revert is on the branch, or there is a named reason why not.
    Revert(RevertOrder),
    /// Services and routes are as in Git and none of our fields is left on them: Services
    /// first, so that nothing points at pods that may go. The Deployment has `Unpause`.
    Release,
    /// The Job of a gate was started. What rests on it is seen by what the gate says.
    RunGate(GateCall),
    /// People are told, once.
    Announce(Notice),
}

/// A revert, complete: carried out today or after a crash it gives the same commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevertOrder {
    /// The idempotency key: goes into the trailer `Tidegate-Trial`.
    pub trial: TrialId,
    /// `namespace/name`.
    pub rollout: String,
    /// The branch to write to.
    pub branch: String,
    /// Only these paths are touched.
    pub paths: Vec<String>,
    /// Last revision whose template was stable.
    pub good: GitRevision,
    /// The revision that brought the canary.
    pub bad: GitRevision,
    /// Why, in one or two sentences with numbers; goes into the message.
    pub why: String,
    /// When the trial was aborted: author and committer time, so that a retry gives the same id.
    pub at: DateTime<Utc>,
}

/// What became of a revert. Only `Retry` is asked again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RevertOutcome {
    /// Our commit is on the branch (pushed now, or found there by its trailer).
    Pushed {
        /// Our commit.
        commit: GitRevision,
    },
    /// The branch has the old content already; nothing was written.
    AlreadyReverted {
        /// The tip that was looked at.
        tip: GitRevision,
    },
    /// A pull request waits for people.
    PullRequest {
        /// Where.
        url: String,
    },
    /// Somebody's later commit changed the same lines: nothing is forced.
    Conflict {
        /// Files with conflicts.
        paths: Vec<String>,
    },
    /// No commit of the range touches our paths: the template is not explained by Git.
    CulpritUnknown,
    /// The paths did not exist at the good revision: there is nothing to go back to.
    NoBaseline,
    /// The bad revision is not on the branch (force-push, other branch).
    NotOnBranch,
    /// The server refuses (hook, protected branch, rights).
    Refused {
        /// What it said, cleaned.
        message: String,
    },
    /// Could not ask; try again later.
    Retry {
        /// What went wrong, without secrets.
        message: String,
    },
}

impl RevertOutcome {
    /// The revision of the branch that renders stable again, if there is one.
    pub const fn restores(&self) -> Option<&GitRevision> {
        match self {
            Self::Pushed { commit: at } | Self::AlreadyReverted { tip: at } => Some(at),
            Self::PullRequest { .. }
            | Self::Conflict { .. }
            | Self::CulpritUnknown
            | Self::NoBaseline
            | Self::NotOnBranch
            | Self::Refused { .. }
            | Self::Retry { .. } => None,
        }
    }
}

/// One thing told to people (event, alert). Delivered at least once, told apart by `id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Counts up within one Rollout.
    pub id: u64,
    /// When it was decided.
    pub at: DateTime<Utc>,
    /// How loud.
    pub severity: Severity,
    /// Which of the documented whys.
    pub reason: Reason,
    /// One sentence with numbers, no secrets.
    pub message: String,
}

/// How loud a notice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    /// Good to know.
    Info,
    /// The loop is closed; look in the morning.
    Warning,
    /// A person is needed now.
    Critical,
}
