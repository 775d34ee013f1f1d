//! Why a trial ends without promotion, and what that means for Git.

use serde::{Deserialize, Serialize};

use crate::reason::Reason;

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
    /// A gate says no. Reverts.
    GateRefused {
        /// Which, and what it said.
        message: String,
    },
    /// A gate did not answer in time, and the plan says abort. Holds.
    GateTimedOut {
        /// Which, and what it said last.
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

impl Cause {
    /// The release is to blame, or a person said so: its revision is not tried again by itself,
    /// and Git is put right where the plan allows it.
    pub const fn is_blame(&self) -> bool {
        match self {
            Self::BadArtifact { .. }
            | Self::BrokenPods { .. }
            | Self::BadConfiguration { .. }
            | Self::GateRefused { .. }
            | Self::Person { .. } => true,
            Self::Permission { .. }
            | Self::Environment { .. }
            | Self::Inconclusive { .. }
            | Self::GateTimedOut { .. }
            | Self::Superseded
            | Self::RevertedByHand
            | Self::ScaledToZero
            | Self::Bypassed
            | Self::WorkloadGone => false,
        }
    }

    /// The release is to blame by itself: no person said so.
    pub const fn is_fail(&self) -> bool {
        self.is_blame() && !matches!(self, Self::Person { .. })
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
            | Self::Inconclusive { .. }
            | Self::GateRefused { .. }
            | Self::GateTimedOut { .. } => true,
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
            Self::GateRefused { .. } => Reason::GateRefused,
            Self::GateTimedOut { .. } => Reason::GateTimedOut,
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
            | Self::Inconclusive { message }
            | Self::GateRefused { message }
            | Self::GateTimedOut { message } => message.clone(),
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
