//! What gates were asked, and what they said. Only of the place where a trial is: what lies behind
//! it has let it pass.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{GitRevision, Origin, Promotion, Revision, Stage, Trial, TrialId};
use crate::plan::{Gate, GateAt, GateKind, Plan, Weight};

/// Where in a trial gates are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Place {
    /// See [`GateAt::Start`].
    Start,
    /// See [`GateAt::Step`]; index into the plan's steps.
    Step(usize),
    /// See [`GateAt::Promotion`].
    Promotion,
    /// See [`GateAt::Promoted`].
    Promoted,
}

impl Place {
    /// Which gates of a plan are asked here.
    pub const fn at(self) -> GateAt {
        match self {
            Self::Start => GateAt::Start,
            Self::Step(_) => GateAt::Step,
            Self::Promotion => GateAt::Promotion,
            Self::Promoted => GateAt::Promoted,
        }
    }
}

/// The gates of one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AtGates {
    /// Where.
    pub place: Place,
    /// Those that were asked.
    pub asked: Vec<AskedGate>,
}

/// A gate that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AskedGate {
    /// Its name.
    pub gate: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// What came of it. `None`: it is asked again and again.
    pub answer: Option<GateAnswer>,
}

/// What came of asking a gate. One that refuses ends the trial, and is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GateAnswer {
    /// It lets the trial go on.
    Open,
    /// It did not answer in time, and the trial goes on without its word.
    LeftOut,
    /// It did not answer in time: a person decides.
    Held,
    /// A person decided to go on.
    ByPerson,
}

/// One gate, asked at one place of one trial: the same each time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateCall {
    /// The gate's name.
    pub gate: String,
    /// Where.
    pub place: Place,
    /// The trial.
    pub trial: TrialId,
    /// The revision on trial.
    pub revision: Revision,
    /// The commit that brought it, where one did.
    pub git: Option<GitRevision>,
    /// The share that the trial has asked for.
    pub weight: Weight,
    /// Which step of the plan, from 1; 0 before the first.
    pub step: usize,
}

impl Trial {
    /// What the gates have said, while the stage is one in which they are asked.
    pub fn at_gates(&self) -> Option<&AtGates> {
        let at = self.gates.as_ref()?;
        let waits = match (&self.stage, at.place) {
            (Stage::Starting { .. }, Place::Start)
            | (Stage::Baking { .. }, Place::Promotion)
            | (Stage::Promoting { part: Promotion::Waiting, .. }, Place::Promoted) => true,
            (Stage::Baking { step, .. }, Place::Step(of)) => *step == of,
            _ => false,
        };
        waits.then_some(at)
    }

    /// Whether what was said at a place still counts.
    pub(crate) fn is_still_at(&self, place: Place) -> bool {
        match (&self.stage, place) {
            (
                Stage::Shifting { step, .. }
                | Stage::Baking { step, .. }
                | Stage::Paused { step, .. },
                Place::Step(of),
            ) => *step == of,
            (Stage::Starting { .. }, Place::Start)
            | (
                Stage::Shifting { .. } | Stage::Baking { .. } | Stage::Paused { .. },
                Place::Promotion,
            )
            | (Stage::Promoting { .. }, Place::Promoted) => true,
            _ => false,
        }
    }

    /// The gate that did not answer in time, where a person decides.
    pub fn held_by(&self) -> Option<&str> {
        let mut asked = self.at_gates()?.asked.iter();
        let held = asked.find(|asked| asked.answer == Some(GateAnswer::Held));
        held.map(|held| held.gate.as_str())
    }

    /// The gates that are asked now, with their kinds.
    pub fn calls(&self, plan: &Plan) -> Vec<(GateKind, GateCall)> {
        let Some(at) = self.at_gates() else { return Vec::new() };
        let waiting = at.asked.iter().filter(|asked| asked.answer.is_none());
        let known = waiting.filter_map(|asked| {
            let here = |gate: &&Gate| gate.name == asked.gate && gate.at == at.place.at();
            plan.gates.iter().find(here)
        });
        known.map(|gate| (gate.kind, self.call(plan, gate, at.place))).collect()
    }

    fn call(&self, plan: &Plan, gate: &Gate, place: Place) -> GateCall {
        let git = match &self.origin {
            Origin::Git { bad, .. } => Some(bad.clone()),
            Origin::OutOfBand { .. } | Origin::Unknown => None,
        };
        GateCall {
            gate: gate.name.clone(),
            place,
            trial: self.id.clone(),
            revision: self.canary.clone(),
            git,
            weight: self.stage.weight(plan),
            step: match place {
                Place::Start => 0,
                Place::Step(step) => step.saturating_add(1),
                Place::Promotion | Place::Promoted => plan.steps.len(),
            },
        }
    }
}
