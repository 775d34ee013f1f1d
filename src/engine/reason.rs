//! Why the engine decided what it decided: a closed list, for conditions, events and metrics.
//! `docs/reasons.md` is generated from this file.

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Why the engine decided what it decided.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// All of them, in the order of this file.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The `PascalCase` name: condition reason, event reason, metric label.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// What it means and what to do about it.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),+),)+
                }
            }
        }
    };
}

reasons! {
    /// The workload was seen for the first time: what runs is the baseline, never a trial.
    FirstSight,
    /// Stable serves all traffic and the template is stable's.
    Stable,
    /// The Deployment does not exist (any more).
    WorkloadMissing,
    /// The workload is scaled to 0: the template is tried when it is not.
    Asleep,
    /// The template is stable's but for annotations of a restart: a plain rolling update.
    Restarted,
    /// Trials start, and are promoted, in windows: the next one opens later. Abort and revert never
    /// wait, nor does a person's word.
    OutsideWindow,
    /// The Rollout, its namespace or the whole cluster is suspended: no trial starts, and one that
    /// runs takes no step. It is judged still; abort, weight 0 and revert are never suspended.
    Suspended,
    /// As many trials of the class run as may at once: those that wait longest go first.
    TooManyTrials,
    /// A release of the same commit failed elsewhere: this one takes no step until `resume`.
    SiblingFailed,
    /// The template failed before: it is not tried again without a newer commit or `retry`.
    Quarantined,
    /// A new template was seen and a trial began.
    TrialStarted,
    /// Waiting for one settled stable set.
    Settling,
    /// Waiting for canary pods to become ready.
    CanaryStarting,
    /// Waiting until the new weight is read back.
    WeightShifting,
    /// The weight is held while the canary is judged.
    Baking,
    /// The step is proven but its minimum time is not over.
    BakeTime,
    /// The verdict needs more data.
    NeedMoreData,
    /// Before a blue-green switch the canary has no traffic: only its pods are judged.
    NoTrafficByDesign,
    /// The metrics cannot be had; nothing is decided on missing data.
    MetricsUnavailable,
    /// A pause step waits for a person or for its time.
    PauseStep,
    /// A person paused the trial.
    PausedByPerson,
    /// No verdict within the step's deadline: waiting for a person.
    PausedInconclusive,
    /// The step passed; the next weight follows.
    StepPassed,
    /// The traffic cannot prove the step in time and the plan says to go on: unproven.
    PromotedUnproven,
    /// A gate has not answered yet.
    GateWaiting,
    /// A gate lets the trial go on.
    GateOpened,
    /// A gate says no: the release is taken back as one that does harm.
    GateRefused,
    /// A gate did not answer in time: the trial waits for a person, goes back without a revert, or
    /// goes on without its word, as the gate has it.
    GateTimedOut,
    /// A person ended a pause.
    ResumedByPerson,
    /// A person said to go on.
    PromotedByPerson,
    /// Stable has no available pod: the canary takes over without steps.
    StableDown,
    /// A revision that was promoted before comes back without steps.
    PromotedBefore,
    /// The canary is on its way to full size and all traffic.
    Promoting,
    /// Traffic is promoted; the way back is still one write.
    ScaleDownDelay,
    /// The Deployment is taking over the tested pods.
    HandingOver,
    /// The Deployment did not take over the pods in time; it is asked again.
    HandOverSlow,
    /// The Deployment has the tested pods, and its own rolling update brings the rest. They are
    /// judged; harm sends it back.
    Surging,
    /// The canary is stable now.
    Promoted,
    /// The canary does harm: traffic goes back to stable.
    AnalysisFailed,
    /// The canary's pods crash or never become ready: traffic goes back to stable.
    CanaryUnhealthy,
    /// The canary's configuration keeps its pods from starting.
    BadConfiguration,
    /// The API server refuses what the trial needs. Nothing is reverted.
    PermissionDenied,
    /// The API server refuses what the controller asks for: the message names verb and resource.
    /// Either `deploy/` is older than the controller, or a quota or a policy says no.
    Forbidden,
    /// Something in the cluster changes pod templates on their way in: what would be tested is not
    /// what the Deployment would run. The message names the object. Tried again each 30 s.
    TemplateMutated,
    /// The cluster, not the release, keeps the trial from going on. Nothing is reverted.
    EnvironmentUnhealthy,
    /// No verdict in time and the plan says abort. Nothing is reverted.
    InconclusiveAborted,
    /// A person aborted the trial.
    AbortedByPerson,
    /// A newer template came: the old canary leaves before the new one gets traffic.
    Superseded,
    /// The template is stable's again: somebody reverted by hand.
    RevertedByHand,
    /// The template rolled out past the gate: it is stable now, unjudged.
    GateBypassed,
    /// Weight 0 is asked for and not yet read back.
    TrafficReturning,
    /// The revert is being written.
    Reverting,
    /// The revert commit is on the branch.
    Reverted,
    /// The branch has the old content already.
    AlreadyReverted,
    /// A pull request with the revert waits for people.
    PullRequestOpen,
    /// A later commit changed the same lines: nothing is forced, a person must look.
    RevertConflict,
    /// No commit explains the template: nothing is reverted.
    CulpritUnknown,
    /// There is no older state of the paths to go back to.
    NoBaseline,
    /// The deployed revision is not on the branch: a person must look.
    NotOnBranch,
    /// The Git server refuses the revert: a person must look.
    RevertRefused,
    /// Git cannot be reached; the revert is tried again. Traffic is on stable.
    GitUnavailable,
    /// The Rollout has no repository: traffic is on stable, nothing is reverted.
    NoRepository,
    /// The template did not come from Git: stable's is written back, nothing is reverted.
    NotFromGit,
    /// The GitOps engine is still in the middle of the commit that failed, and applies nothing else
    /// until that ends: the message says what ends it.
    EngineBlocked,
    /// A ConfigMap or Secret that stable's pods need is gone: none of them could be replaced. Nothing
    /// is reverted for that alone.
    StableConfigGone,
    /// Stable's template is being written back.
    Restoring,
    /// Traffic is on stable and the failed template is held.
    Held,
    /// Releases of several Rollouts failed at once, which has a cause in common: traffic is on stable,
    /// nothing is reverted. A newer commit or `retry` leads on.
    FleetHold,
    /// A person asked for a retry of a failed template.
    Retried,
    /// A request was refused: it names another revision than the one that is meant by now.
    RequestForOtherRevision,
    /// A request was refused: it must name the revision that it is for.
    RequestNamesNoRevision,
    /// A request was refused: where the Rollout stands there is nothing for it to do.
    RequestNotNow,
    /// Mode Observe: the rolling update is watched, nothing is touched.
    Watching,
    /// Mode Observe: this release would have been aborted.
    WouldAbort,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
