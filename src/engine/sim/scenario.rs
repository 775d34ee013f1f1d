//! What happens in a simulated world, and when.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use super::traffic::{Burst, Law};
use crate::effect::RevertOutcome;
use crate::observed::{Trouble, What};

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
    /// Latency above which an answer is slow, in seconds.
    pub slow: f64,
    /// Times in which things are worse.
    pub bursts: Vec<Burst>,
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
    /// Pods of a template have trouble, or no longer.
    Trouble {
        /// The template's name.
        template: String,
        /// `None`: no longer.
        trouble: Option<Trouble>,
    },
    /// The workload is scaled.
    Replicas(u32),
    /// Metrics are gone, or back.
    Metrics {
        /// They are there.
        up: bool,
    },
}
