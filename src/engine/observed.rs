//! Facts at one look. What could not be asked is an error of the caller, not a value in here;
//! what was asked and has no answer is `None`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::effect::RevertOutcome;
use crate::fleet::Fleet;
use crate::judge::Verdict;
use crate::plan::Weight;
use crate::reason::Reason;
use crate::state::{Cause, GitRevision, Revision};

/// Facts at one look, never older than the state they are compared with.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// The Deployment. `None`: it does not exist.
    pub workload: Option<Workload>,
    /// Pods of the stable revision.
    pub stable: Pods,
    /// Nobody would see what the canary does: its pods are up, but not read yet by the metric source
    /// that reads stable's. `false` where it is of no use to wait.
    pub is_blind: bool,
    /// Pods of the set we made for the canary, until the Deployment controller took it. Pods that
    /// the Deployment itself made of the same template do not count.
    pub canary: Pods,
    /// Pods of the set that the Deployment itself has of the canary's template, once it took ours.
    pub taken: Pods,
    /// What Services and routes say, read back.
    pub traffic: TrafficView,
    /// What `judge` made of the samples; only looked at while the canary is judged.
    pub verdict: Verdict,
    /// What a person wants.
    pub ask: Option<Ask>,
    /// The latest answer to the trial's revert order, if one was asked for.
    pub revert: Option<RevertOutcome>,
    /// Notices that were delivered, by id.
    pub delivered: Vec<u64>,
    /// What the gates that are asked now say, by name. Not in here: nothing yet.
    pub gates: BTreeMap<String, GateSeen>,
    /// What decides nothing, and people should know.
    pub around: Around,
    /// Who suspends the Rollout, and what is known of the others.
    pub fleet: Fleet,
}

/// What a gate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateSeen {
    /// In one word.
    pub says: GateSays,
    /// The same for people, cleaned; empty: nothing.
    pub line: String,
}

/// What a gate says, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateSays {
    /// Yes.
    Open,
    /// No.
    Refused,
    /// Neither, or it could not be asked.
    NotYet,
    /// There is no Job of it yet.
    NotRun,
}

/// What decides nothing, and people should know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Around {
    /// What the GitOps engine is in the middle of. `None`: nothing, or it was not asked.
    pub engine: Option<EngineWork>,
    /// What stable's pods need and does not exist any more, such as `ConfigMap web-5f2`.
    pub gone: Vec<String>,
}

/// What a GitOps engine is in the middle of: until it is done it applies nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineWork {
    /// Its object, such as `Application argocd/web`.
    pub engine: String,
    /// The commit that it works on.
    pub revision: GitRevision,
    /// Since when. `None`: it does not say.
    pub since: Option<DateTime<Utc>>,
    /// What a person can do to end it.
    pub remedy: String,
}

/// The Deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Workload {
    /// Its template.
    pub template: Revision,
    /// Pods it wants.
    pub desired: u32,
    /// Pods it may have on top while it rolls out: its `maxSurge`, rounded as Kubernetes does.
    pub surge: u32,
    /// The gate is closed: the Deployment does not roll out its template.
    pub paused: bool,
    /// Where the template came from.
    pub deployed: Deployed,
    /// One stable set, its status current, nothing that could be taken for the canary.
    pub settled: bool,
    /// The newest revision the Deployment controller says it took.
    pub adopted: Option<Revision>,
    /// A person, not an image updater, committed this template after it failed.
    pub deliberate: bool,
    /// The template differs from stable's in nothing but annotations of a restart.
    pub restart: bool,
}

/// Where a template came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deployed {
    /// The GitOps engine rendered it from this revision.
    Git {
        /// The commit.
        revision: GitRevision,
        /// The engine is done with it: what runs is what it rendered.
        applied: bool,
    },
    /// Somebody wrote to the cluster.
    OutOfBand {
        /// The field manager, when it can be told.
        writer: Option<String>,
    },
    /// It cannot be told.
    Unknown,
}

/// The pods of one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    /// The set exists.
    pub exists: bool,
    /// Pods asked for.
    pub desired: u32,
    /// Pods ready.
    pub ready: u32,
    /// The worst thing that keeps pods from being ready.
    pub trouble: Option<Trouble>,
}

/// What keeps pods from being ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// Which kind.
    pub kind: TroubleKind,
    /// What Kubernetes says, cleaned.
    pub message: String,
}

/// What keeps pods from being ready, by who is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TroubleKind {
    /// Containers exit again and again.
    CrashLoop,
    /// The readiness probe fails.
    ProbeFails,
    /// The image does not exist.
    ImageMissing,
    /// A ConfigMap, Secret or key that the template names is missing, or a field is invalid.
    Configuration,
    /// Admission or a security policy refuses the pods.
    Refused,
    /// No node has room.
    Unschedulable,
    /// A quota is used up.
    Quota,
    /// The registry does not answer.
    Registry,
    /// A node is lost.
    Node,
}

impl TroubleKind {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::CrashLoop,
        Self::ProbeFails,
        Self::ImageMissing,
        Self::Configuration,
        Self::Refused,
        Self::Unschedulable,
        Self::Quota,
        Self::Registry,
        Self::Node,
    ];

    /// It will not get better by waiting: crashing pods do harm at once.
    pub const fn is_certain(self) -> bool {
        matches!(self, Self::CrashLoop)
    }
}

impl Trouble {
    /// The cause of an abort that rests on this trouble.
    pub fn cause(&self) -> Cause {
        let message = self.message.clone();
        match self.kind {
            TroubleKind::CrashLoop | TroubleKind::ProbeFails | TroubleKind::ImageMissing => {
                Cause::BrokenPods { message }
            }
            TroubleKind::Configuration => Cause::BadConfiguration { message },
            TroubleKind::Refused => Cause::Permission { message },
            TroubleKind::Unschedulable
            | TroubleKind::Quota
            | TroubleKind::Registry
            | TroubleKind::Node => Cause::Environment { message },
        }
    }
}

/// What Services and routes say, read back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficView {
    /// What every route says and its gateway accepted for the current generation.
    /// `None`: not accepted (yet), routes disagree, or there are none.
    pub route: Option<RouteView>,
    /// Whose pods every Service selects.
    pub pinned: Pinned,
    /// Services or routes carry our hold.
    pub held: bool,
    /// A person has set a Service free, and it selects all pods: it stays so, pinned or not.
    pub freed: bool,
}

/// What every route says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteView {
    /// As in Git: everything goes to the Service.
    Home,
    /// This share goes to the canary's Service, the rest to the Service.
    Split(Weight),
}

/// Whose pods every Service selects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pinned {
    /// All pods of the workload, as in Git.
    #[default]
    All,
    /// One revision's.
    To(Revision),
    /// They disagree.
    Mixed,
    /// There is no Service: nothing to pin, and no requests to drain.
    NoService,
}

impl Pinned {
    /// Every Service selects exactly this revision.
    pub fn is(&self, revision: &Revision) -> bool {
        matches!(self, Self::To(pinned) if pinned == revision)
    }

    /// Every Service there is selects exactly this revision.
    pub fn is_only(&self, revision: &Revision) -> bool {
        *self == Self::NoService || self.is(revision)
    }
}

/// What a person wants, told once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Tells this request from the one before.
    pub token: String,
    /// Who.
    pub who: String,
    /// What.
    pub what: What,
    /// Which revision is meant: the hash of its pods, or the commit that brought it, at least seven
    /// digits of it.
    #[serde(default)]
    pub revision: Option<String>,
}

impl Ask {
    /// Why it cannot be meant for this revision: a request that comes late must not meet the next
    /// release. `None`: it is meant for this one.
    pub fn fault(&self, revision: &Revision, git: Option<&GitRevision>) -> Option<Reason> {
        let Some(named) = &self.revision else {
            return self.what.names_revision().then_some(Reason::RequestNamesNoRevision);
        };
        let is_commit = named.len() >= SHORTEST_COMMIT
            && git.is_some_and(|git| git.as_str().starts_with(named.as_str()));
        let is_meant = named == revision.as_str() || is_commit;
        (!is_meant).then_some(Reason::RequestForOtherRevision)
    }
}

/// Fewer digits of a commit name it by accident.
const SHORTEST_COMMIT: usize = 7;

/// What a person wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// Keep the weight until `Resume`.
    Pause,
    /// Go on from a pause.
    Resume,
    /// Take this step as passed.
    Promote,
    /// Leave out all remaining steps.
    PromoteFull,
    /// Traffic back; `hold`: and Git untouched.
    Abort {
        /// Git untouched.
        hold: bool,
    },
    /// Try a failed template again.
    Retry,
}

impl What {
    /// It does something to a revision, which must be named. Keeping a weight, and going on from
    /// there, harms none.
    pub const fn names_revision(self) -> bool {
        match self {
            Self::Pause | Self::Resume => false,
            Self::Promote | Self::PromoteFull | Self::Abort { .. } | Self::Retry => true,
        }
    }

    /// It leads forward, which nobody may while the Rollout is suspended.
    pub const fn leads_on(self) -> bool {
        match self {
            Self::Resume | Self::Promote | Self::PromoteFull | Self::Retry => true,
            Self::Pause | Self::Abort { .. } => false,
        }
    }

    /// What people write, and what rights are given for.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Promote => "promote",
            Self::PromoteFull => "promote-full",
            Self::Abort { hold: false } => "abort",
            Self::Abort { hold: true } => "abort-hold",
            Self::Retry => "retry",
        }
    }

    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Pause,
        Self::Resume,
        Self::Promote,
        Self::PromoteFull,
        Self::Abort { hold: false },
        Self::Abort { hold: true },
        Self::Retry,
    ];
}
