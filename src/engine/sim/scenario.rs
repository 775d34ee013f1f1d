//! What happens in a simulated world, and when.

use std::collections::BTreeMap;
use std::fmt;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::run::FIRST;
use super::traffic::{Burst, Law};
use super::unrest::Unrest;
use crate::effect::RevertOutcome;
use crate::observed::{Trouble, What};
use crate::state::Revision;

/// A story in virtual time: traffic, how both versions answer, and what happens when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// One line for people.
    pub title: String,
    /// How long it lasts.
    #[serde(with = "crate::seconds")]
    pub lasts: TimeDelta,
    /// Requests per second to the whole service.
    pub rate: f64,
    /// Pods the Deployment wants.
    pub replicas: u32,
    /// How long a pod takes to be ready.
    #[serde(with = "crate::seconds")]
    pub start_up: TimeDelta,
    /// How often the pods are scraped.
    #[serde(with = "crate::seconds")]
    pub scrape: TimeDelta,
    /// How the version that serves answers.
    pub stable: Law,
    /// How the new version answers.
    pub canary: Law,
    /// What thresholds measure, by name of the metric.
    pub values: BTreeMap<String, f64>,
    /// Times in which things are worse.
    pub bursts: Vec<Burst>,
    /// What befalls pods by chance.
    pub unrest: Unrest,
    /// What happens, in the order of time.
    pub events: Vec<Event>,
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, from the start.
    #[serde(with = "crate::seconds")]
    pub at: TimeDelta,
    /// What.
    pub what: Happening,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Happening {
    /// A commit changes the template and the engine applies it.
    Commit {
        /// The template's name, such as `v2`.
        template: String,
    },
    /// Somebody reverts the last commit by hand, and the engine applies it.
    RevertByHand,
    /// A person asks for something.
    Ask(What),
    /// The gateway stops, or starts again, to accept weights.
    Gateway {
        /// It accepts.
        up: bool,
    },
    /// The forge answers like this; `None`: as it should.
    Forge(Option<RevertOutcome>),
    /// Pods of a template have trouble from here on.
    Trouble {
        /// The template's name.
        template: String,
        /// Which.
        trouble: Trouble,
    },
    /// The workload is scaled.
    Replicas(u32),
    /// Metrics are gone, or back.
    Metrics {
        /// They are there.
        up: bool,
    },
}

impl Scenario {
    /// How a revision answers: the one that serves at the beginning as `stable`, all others as
    /// `canary`.
    pub fn law_of(&self, revision: &Revision) -> &Law {
        if revision.as_str() == FIRST { &self.stable } else { &self.canary }
    }
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let back = |up: &bool| if *up { "is back" } else { "is gone" };
        match self {
            Self::Commit { template } => write!(f, "a commit brings {template}"),
            Self::RevertByHand => f.write_str("a person reverts the last commit"),
            Self::Ask(What::Pause) => f.write_str("a person says pause"),
            Self::Ask(What::Resume) => f.write_str("a person says resume"),
            Self::Ask(What::Promote) => f.write_str("a person says promote"),
            Self::Ask(What::PromoteFull) => f.write_str("a person says promote --full"),
            Self::Ask(What::Abort { hold: false }) => f.write_str("a person says abort"),
            Self::Ask(What::Abort { hold: true }) => f.write_str("a person says abort --hold"),
            Self::Ask(What::Retry) => f.write_str("a person says retry"),
            Self::Gateway { up } => write!(f, "the gateway {}", back(up)),
            Self::Forge(None) => f.write_str("the forge is back"),
            Self::Forge(Some(_)) => f.write_str("the forge is gone"),
            Self::Trouble { template, trouble } => {
                write!(f, "pods of {template}: {}", trouble.message)
            }
            Self::Replicas(desired) => write!(f, "the workload is scaled to {desired}"),
            Self::Metrics { up } => write!(f, "the metrics source {}", back(up)),
        }
    }
}
