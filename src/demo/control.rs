//! The controller's turn, as it is in a cluster: resolve, ask, observe, judge, decide, record, act.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use tidegate_engine::judge::{Judgement, Verdict, judge};
use tidegate_engine::state::State;
use tidegate_engine::{Decision, decide, questions};

use super::local::{Local, LocalError};
use super::plan::Planned;
use super::samples;

/// What can go wrong in a turn.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The local cluster.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// The state cannot be written down: then nothing may be done.
    #[error("the state cannot be written to {file}")]
    Record {
        /// Where to.
        file: String,
        /// Why not.
        source: std::io::Error,
    },
}

/// What one turn came to.
#[derive(Debug)]
pub struct Turn {
    /// The state before.
    pub before: State,
    /// What was decided.
    pub decision: Decision,
    /// What the judge made of the samples; `None`: nothing was to be judged.
    pub judgement: Option<Judgement>,
}

/// The controller of one Rollout.
pub struct Control {
    /// What the user asked for.
    pub planned: Planned,
    /// Where it stands; the file has the same.
    pub state: State,
    file: PathBuf,
}

impl Control {
    /// Starts from nothing; the state will be kept in `file`.
    pub fn new(planned: Planned, file: PathBuf) -> Self {
        Self { planned, state: State::default(), file }
    }

    /// One turn.
    pub fn turn(&mut self, local: &mut Local, now: DateTime<Utc>) -> Result<Turn, ControlError> {
        let plan = &self.planned.plan;
        let asked = questions(plan, &self.state, now);
        let judgement = asked.samples.as_ref().map(|wanted| {
            let (samples, context) =
                samples::gather(local, &self.planned, &self.state, wanted, now);
            judge(&plan.analysis, &samples, &context)
        });
        let verdict = judgement.as_ref().map_or_else(
            || Verdict::NeedMoreData { eta: None, metric: String::new() },
            |judgement| judgement.verdict.clone(),
        );
        let seen = local.observe(&asked, &self.state, verdict)?;
        let decision = decide(plan, &self.state, &seen, now);
        if decision.next != self.state {
            self.record(&decision.next)?;
        }
        let before = std::mem::replace(&mut self.state, decision.next.clone());
        for effect in &decision.effects {
            local.act(effect)?;
        }
        Ok(Turn { before, decision, judgement })
    }

    /// Intent first: whole or not at all, before any effect.
    fn record(&self, state: &State) -> Result<(), ControlError> {
        let fail = |source: std::io::Error| ControlError::Record {
            file: self.file.display().to_string(),
            source,
        };
        let text = serde_json::to_vec_pretty(state).map_err(|error| fail(error.into()))?;
        let new = self.file.with_extension("new");
        std::fs::write(&new, text).map_err(fail)?;
        std::fs::rename(&new, &self.file).map_err(fail)
    }
}
