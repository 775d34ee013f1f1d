//! The answer of the judge. Data that is missing is a value of its own, never Pass, never Fail.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

/// What the samples of all criteria say together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use = "a verdict that is not looked at promotes or kills nothing"]
pub enum Verdict {
    /// Every criterion is proven: no worse than its margin.
    Pass,
    /// The canary does harm.
    Fail(Failure),
    /// Not enough evidence either way yet.
    NeedMoreData {
        /// Expected time to a verdict if the canary is healthy; `None`: cannot be told yet.
        #[serde(with = "crate::seconds_option")]
        eta: Option<TimeDelta>,
        /// The criterion that takes longest.
        metric: String,
    },
    /// The data cannot tell the two apart, however long we wait.
    Inconclusive {
        /// Which of the known whys.
        why: Unclear,
        /// The criterion.
        metric: String,
    },
    /// The data could not be had, or makes no sense.
    Error {
        /// The criterion.
        metric: String,
        /// What is wrong with it.
        message: String,
    },
}

/// Why a verdict is Fail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// Which lane saw it.
    pub lane: Lane,
    /// The criterion.
    pub metric: String,
    /// One sentence with the numbers, for people.
    pub message: String,
}

/// The two ways to a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Lane {
    /// Every new sample, absolute limits, at once. Says Fail or nothing.
    Guard,
    /// Aligned windows, both arms compared. Alone can say Pass.
    Evidence,
}

/// Why more of the same data would not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unclear {
    /// Stable breaks the absolute limit too: not the release's doing.
    EnvironmentUnhealthy,
    /// The effect rests on a single pod.
    PodSuspect,
}
