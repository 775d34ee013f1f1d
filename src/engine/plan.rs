//! What the user asked for, already parsed: nothing in here can be wrong.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::defaults;
use crate::judge::Analysis;
use crate::observed::Workload;
use crate::windows::Windows;

/// A share of the traffic in whole percent, 0 to 100.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "u8", into = "u8")]
pub struct Weight(u8);

impl Weight {
    /// Everything goes to stable.
    pub const ZERO: Self = Self(0);
    /// Everything goes to the canary.
    pub const FULL: Self = Self(100);

    /// `None` above 100.
    pub const fn new(percent: u8) -> Option<Self> {
        if percent <= 100 { Some(Self(percent)) } else { None }
    }

    /// Whole percent, 0 to 100.
    pub const fn percent(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Weight {
    type Error = String;

    fn try_from(percent: u8) -> Result<Self, Self::Error> {
        Self::new(percent).ok_or_else(|| format!("weight {percent}: expected 0 to 100"))
    }
}

impl From<Weight> for u8 {
    fn from(weight: Weight) -> Self {
        weight.0
    }
}

impl std::fmt::Display for Weight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// Everything the engine needs to know about one Rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// `namespace/name`, for messages and commit trailers.
    pub rollout: String,
    /// Makes trial ids of two Rollouts of one name (re-created, or in two clusters) differ.
    pub uid: String,
    /// Whether we act or only watch. Looked at when a trial starts: one that runs is finished.
    pub mode: Mode,
    /// The class that trials are counted in. `None`: no class.
    pub class: Option<String>,
    /// How many trials of the class may run at once. `None`: no limit.
    pub max_trials: Option<u32>,
    /// How the canary gets its traffic.
    pub traffic: Traffic,
    /// How the tested pods become the Deployment's own.
    pub promotion: PromoteBy,
    /// The way to 100 %. Never empty; weights never fall; the last weight is 100, and by `Surge` one
    /// below: the rolling update is what leads to 100 there.
    pub steps: Vec<Step>,
    /// What is measured and what it must satisfy.
    pub analysis: Analysis,
    /// What follows an abort that the release is to blame for.
    pub on_failure: OnFailure,
    /// What follows when a step's deadline passes without a verdict.
    pub on_inconclusive: OnInconclusive,
    /// What follows when the traffic cannot prove a step within its deadline.
    pub on_low_traffic: OnLowTraffic,
    /// What a template that differs from stable's only by a restart gets.
    pub on_restart: OnRestart,
    /// When trials may start and be promoted; the way home never waits.
    pub windows: Windows,
    /// Who has a say before a trial goes on. Names are unique.
    pub gates: Vec<Gate>,
    /// How long each stage may take.
    pub limits: Limits,
    /// Where the manifests live. `None`: nothing can be reverted.
    pub git: Option<GitPlan>,
}

/// Whether we act or only watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Gate, route, promote, revert.
    #[default]
    Enforce,
    /// Touch nothing: say what the verdict is and what would be reverted.
    Observe,
}

/// The mechanism that gives the canary its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Traffic {
    /// A gateway splits by weight; Services are pinned to stable.
    Routes,
    /// The Service selects both sets; the share is the share of pods. Weights up to 50, and 100.
    Pods,
    /// Blue-green: the Services' selector is switched in one write. Weights 0 and 100.
    Switch,
}

/// How the tested pods become the Deployment's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PromoteBy {
    /// The canary grows to full size beside stable and takes all traffic; then the Deployment takes
    /// it over.
    #[default]
    HandOver,
    /// Where there is no room for two full sets: the canary never has more pods than `maxSurge`
    /// allows, the Deployment takes those, and its own rolling update brings the rest.
    Surge,
}

/// One entry of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Give the canary this weight and judge it for at least `bake`.
    Weight {
        /// The canary's share while the step lasts.
        weight: Weight,
        /// Minimum time at this weight.
        #[serde(with = "crate::seconds")]
        bake: TimeDelta,
    },
    /// Keep the weight and wait for a person, or for `resume_after`.
    Pause {
        /// `None`: only a person ends the pause.
        #[serde(with = "crate::seconds_option")]
        resume_after: Option<TimeDelta>,
    },
}

/// What follows an abort that the release is to blame for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnFailure {
    /// Traffic back, then a revert commit (or pull request).
    #[default]
    Revert,
    /// Traffic back, Git untouched, alert.
    Hold,
}

/// What follows when a step's deadline passes without a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnInconclusive {
    /// Keep the weight, tell people, wait for one.
    #[default]
    Pause,
    /// Traffic back to stable, Git untouched: nothing was proven against the release.
    Abort,
}

/// What follows when the traffic cannot prove a step within its deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnLowTraffic {
    /// As an inconclusive step.
    #[default]
    Pause,
    /// Go on unproven, with a reason of its own; never called Pass.
    PromoteUnproven,
}

/// What a template that differs from stable's only by a restart gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnRestart {
    /// A plain rolling update: nothing new is in it.
    #[default]
    Pass,
    /// A trial, as any other template.
    Trial,
}

/// Somebody outside who has a say before a trial goes on: a test, a person's approval, a load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Its name, unique in the plan.
    pub name: String,
    /// Before what it is asked.
    pub at: GateAt,
    /// How it is asked.
    pub kind: GateKind,
    /// How long its answer is waited for; at a step beyond the minimum time.
    pub timeout: TimeDelta,
    /// What follows then.
    pub on_timeout: OnTimeout,
}

/// Before what a gate is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum GateAt {
    /// Before the canary gets traffic: its pods are ready at weight 0.
    Start,
    /// At each weight, while it is held: before the next one.
    Step,
    /// Before the promotion, when the last step has passed.
    Promotion,
    /// After it, while the way back is one write: before the Deployment takes the pods.
    Promoted,
}

impl GateAt {
    /// As people write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "Start",
            Self::Step => "Step",
            Self::Promotion => "Promotion",
            Self::Promoted => "Promoted",
        }
    }
}

/// How a gate is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GateKind {
    /// By a request, again and again.
    Http,
    /// By a Job that is run once at each place.
    Job,
}

/// What follows when a gate has not answered in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnTimeout {
    /// Go no further, tell people, wait for one.
    #[default]
    Pause,
    /// Traffic back to stable, Git untouched: nobody said no.
    Abort,
    /// Go on without its word, and say so.
    Proceed,
}

/// How long each stage may take. Every stage that waits for machines has one; see `defaults`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// One settled stable set before the trial starts.
    #[serde(with = "crate::seconds")]
    pub settle: TimeDelta,
    /// Canary pods ready after they were asked for.
    #[serde(with = "crate::seconds")]
    pub ready: TimeDelta,
    /// A weight read back after it was written.
    #[serde(with = "crate::seconds")]
    pub shift: TimeDelta,
    /// A verdict, on top of a step's minimum time.
    #[serde(with = "crate::seconds")]
    pub verdict: TimeDelta,
    /// The Deployment taking over the tested pods.
    #[serde(with = "crate::seconds")]
    pub hand_over: TimeDelta,
    /// Requests in flight on the canary after its weight went to 0.
    #[serde(with = "crate::seconds")]
    pub drain: TimeDelta,
    /// How long the way back stays one write after the promotion of the traffic.
    #[serde(with = "crate::seconds")]
    pub scale_down_delay: TimeDelta,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            settle: defaults::SETTLE_DEADLINE,
            ready: defaults::READY_DEADLINE,
            shift: defaults::SHIFT_DEADLINE,
            verdict: defaults::VERDICT_DEADLINE,
            hand_over: defaults::HAND_OVER_DEADLINE,
            drain: defaults::DRAIN,
            scale_down_delay: defaults::SCALE_DOWN_DELAY,
        }
    }
}

/// Where the manifests live and how they may be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitPlan {
    /// Name of the `ConfigRepository`.
    pub repository: String,
    /// The branch the engine follows.
    pub branch: String,
    /// Paths that hold this application alone.
    pub paths: Vec<String>,
    /// How a revert may be written.
    pub write: GitWrite,
}

/// How a revert reaches the branch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum GitWrite {
    /// A commit pushed to the branch.
    #[default]
    Push,
    /// A branch and a pull request; the Deployment stays held until it is merged.
    PullRequest,
    /// A push; when the branch refuses it, a pull request.
    PushThenPullRequest,
}

impl Plan {
    /// How long the plan may take, from the first weight to the last; pauses are not counted.
    pub fn time(&self) -> TimeDelta {
        self.steps.iter().fold(TimeDelta::zero(), |sum, step| match step {
            Step::Weight { bake, .. } => sum
                .checked_add(bake)
                .and_then(|sum| sum.checked_add(&self.limits.verdict))
                .unwrap_or(TimeDelta::MAX),
            Step::Pause { .. } => sum,
        })
    }

    /// The weight a step holds: its own, or for a pause that of the last weight before it.
    pub fn weight_at(&self, step: usize) -> Weight {
        self.steps
            .iter()
            .take(step.saturating_add(1))
            .rev()
            .find_map(|step| match step {
                Step::Weight { weight, .. } => Some(*weight),
                Step::Pause { .. } => None,
            })
            .unwrap_or(Weight::ZERO)
    }

    /// The canary is promoted by Surge. Where `maxSurge` allows a full set there is room for two,
    /// and it is handed over whole.
    pub fn is_surge(&self, work: &Workload) -> bool {
        self.promotion == PromoteBy::Surge && work.surge < work.desired
    }

    /// How many canary pods there are when the Deployment takes them.
    pub fn full_size(&self, work: &Workload) -> u32 {
        // One that is set to 0 in mid-trial allows no pod, and lets none be taken.
        if self.is_surge(work) { work.surge.max(1) } else { work.desired }
    }

    /// How many canary pods a weight needs beside the `D` stable ones.
    ///
    /// By routes: `min(D, ceil(D*w/(100-w)))`, so that the load per pod is equal in both arms.
    /// By pods: the same, at least 1, since the share of pods is the share of traffic.
    /// By switch: all of them, since the switch takes all traffic at once.
    /// Promoted by Surge, never more than `maxSurge`.
    pub fn canary_size(&self, weight: Weight, work: &Workload) -> u32 {
        let (desired, full) = (work.desired, self.full_size(work));
        let w = u64::from(weight.percent());
        let wanted = (u64::from(desired) * w).div_ceil(100_u64.saturating_sub(w).max(1));
        let share = u32::try_from(wanted).map_or(desired, |wanted| wanted.min(desired));
        match self.traffic {
            Traffic::Routes | Traffic::Pods => share.max(1).min(full),
            Traffic::Switch => full,
        }
    }

    /// The share of traffic a weight really gives: by pods only `c/(D+c)` can be reached.
    pub fn effective_share(&self, weight: Weight, work: &Workload) -> f64 {
        match self.traffic {
            Traffic::Routes | Traffic::Switch => f64::from(weight.percent()) / 100.0,
            Traffic::Pods if weight == Weight::FULL => 1.0,
            Traffic::Pods if weight == Weight::ZERO => 0.0,
            Traffic::Pods => {
                let canary = f64::from(self.canary_size(weight, work));
                canary / (f64::from(work.desired) + canary).max(1.0)
            }
        }
    }
}

/// The highest weight at which each of `surge` canary pods gets at most [`defaults::SURGE_LOAD`]
/// times what each of `desired` stable ones gets: `L*c / (D + L*c)`, rounded down.
pub fn heaviest(desired: u32, surge: u32) -> Weight {
    let carried = u64::from(surge).saturating_mul(u64::from(defaults::SURGE_LOAD));
    let all = carried.saturating_add(u64::from(desired));
    let percent = carried.saturating_mul(100).checked_div(all).unwrap_or(100);
    u8::try_from(percent).ok().and_then(Weight::new).unwrap_or(Weight::FULL)
}
