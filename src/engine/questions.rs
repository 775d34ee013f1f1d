//! What must be asked of the world before the next decision.

use chrono::{DateTime, Utc};

use crate::effect::RevertOrder;
use crate::plan::Plan;
use crate::state::{GateCall, Revision, Stage, State};

/// What must be asked of the world before the next decision. What is not asked for need not be
/// known: the decision does not look at it.
#[derive(Clone, Debug, PartialEq)]
pub struct Questions {
    /// Whose pods and whose traffic, beside stable's.
    pub canary: Option<Revision>,
    /// Both arms' samples, from this instant on.
    pub samples: Option<SamplesWanted>,
    /// What became of this order.
    pub revert: Option<RevertOrder>,
    /// What these gates say. Never any on the way home.
    pub gates: Vec<GateCall>,
}

/// Both arms' samples, from an instant on.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplesWanted {
    /// Evidence counts from here: the canary's first share of the traffic, or its first ready pod.
    pub since: DateTime<Utc>,
    /// The canary's share as far as the plan goes, 0 to 1.
    pub share: f64,
}

/// What must be asked before `decide`.
pub fn questions(plan: &Plan, state: &State, now: DateTime<Utc>) -> Questions {
    let Some(trial) = &state.trial else {
        return Questions { canary: None, samples: None, revert: None, gates: Vec::new() };
    };
    let revert =
        if let Stage::Reverting { order, .. } = &trial.stage { Some(order.clone()) } else { None };
    Questions {
        canary: Some(trial.canary.clone()),
        samples: trial.stage.is_judged(plan).then(|| SamplesWanted {
            since: trial.ready.max(trial.shared).unwrap_or(now),
            share: f64::from(trial.stage.weight(plan).percent()) / 100.0,
        }),
        revert,
        gates: trial.calls(plan).into_iter().map(|(_, call)| call).collect(),
    }
}
