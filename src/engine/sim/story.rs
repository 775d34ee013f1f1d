//! What became of a simulated run.

use chrono::TimeDelta;
use serde::Serialize;

use crate::effect::Effect;
use crate::plan::Weight;
use crate::reason::Reason;
use crate::state::{Outcome, Phase, Revision};

/// What became of one run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Everything that changed, in order.
    pub timeline: Vec<Line>,
    /// How long each step took, in order.
    pub steps: Vec<StepTime>,
    /// How each trial ended, in order.
    pub trials: Vec<Told>,
    /// Requests that failed because a canary on trial answered them.
    pub harmed: u64,
    /// Where it stands at the end.
    pub phase: Phase,
    /// The revision that serves at the end.
    pub serves: Option<Revision>,
}

/// One line of the timeline.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// From the start, in seconds.
    #[serde(with = "crate::seconds")]
    pub at: TimeDelta,
    /// What changed.
    #[serde(flatten)]
    pub turned: Turned,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Turned {
    /// Something happened, as the scenario has it.
    Event(String),
    /// The machine decided something else than before.
    Decision {
        /// Where it stands after the turn.
        phase: Phase,
        /// Why.
        reason: Reason,
        /// The same for people.
        message: String,
        /// What is asked for.
        effects: Vec<Effect>,
    },
    /// The verdict is another one than before.
    Verdict {
        /// Its name.
        verdict: &'static str,
        /// What it rests on, a line a criterion.
        text: Vec<String>,
    },
}

/// How long a step took.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepTime {
    /// The revision on trial.
    pub canary: Revision,
    /// Its weight.
    pub weight: Weight,
    /// When the weight was read back, from the start, in seconds.
    #[serde(with = "crate::seconds")]
    pub read_back: TimeDelta,
    /// From then to the pass, in seconds. `None`: it never passed.
    #[serde(with = "crate::seconds_option")]
    pub took: Option<TimeDelta>,
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// The revision on trial.
    pub canary: Revision,
    /// From the commit to the decision, in seconds: weight 0 asked for, or all steps passed.
    #[serde(with = "crate::seconds_option")]
    pub after_commit: Option<TimeDelta>,
    /// From the canary's first traffic to the decision, in seconds. `None`: it never had any.
    #[serde(with = "crate::seconds_option")]
    pub after_traffic: Option<TimeDelta>,
    /// How it ended.
    pub outcome: Outcome,
}
