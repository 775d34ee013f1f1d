//! Effects to those who carry them out: the cluster, Git, people.

use serde_json::Value;
use tidegate_engine::effect::{Effect, Notice, RevertOrder};
use tidegate_engine::plan::Mode;
use tidegate_engine::state::{Stage, State};

use super::Key;
use super::error::{Part, TurnError, Why};
use super::reconcile::{Followed, has_finalizer};
use super::turns::Turns;
use crate::act::{self, ActError};

impl Turns {
    /// In order. An effect that fails stops those after it, since they rest on it; only Git, gates
    /// and people do not.
    pub(super) async fn carry_out(
        &self,
        key: &Key,
        live: &Value,
        followed: &Followed,
        effects: &[Effect],
        next: &State,
    ) -> Result<(), TurnError> {
        let mut done = Ok(());
        for effect in effects {
            self.may_write(Part::Act)?;
            match effect {
                Effect::Revert(order) => self.revert(key, followed, order).await,
                Effect::Announce(notice) => self.announce(key, live, notice).await,
                Effect::RunGate(call) => self.run_gate(key, followed, call).await,
                _ if done.is_err() => {}
                effect => done = self.change(key, followed, effect, next).await,
            }
        }
        done
    }

    /// An effect on the cluster. One that was refused a moment ago is refused still: to try it at
    /// every change would be a change each time.
    async fn change(
        &self,
        key: &Key,
        followed: &Followed,
        effect: &Effect,
        next: &State,
    ) -> Result<(), TurnError> {
        if let Some(object) = self.refused(key, effect) {
            return Err(failed(name(effect), ActError::TemplateMutated { object }));
        }
        let trial = Self::trial_of(next);
        let acted = act::act(&self.cluster, &followed.target, effect, trial).await;
        tracing::debug!(rollout = %key, ?effect, ok = acted.is_ok(), "acted");
        if let Err(ActError::TemplateMutated { object }) = &acted {
            self.metrics.error(Part::Act.as_str(), "template_mutated");
            self.refuse(key, effect, object);
        }
        acted.map_err(|source| failed(name(effect), source))
    }

    /// Starts the revert; its answer is seen by a later turn.
    async fn revert(&self, key: &Key, followed: &Followed, order: &RevertOrder) {
        let Some(git) = &followed.resolved.plan.git else { return };
        let referred = match self.references.of(&key.namespace).await {
            Ok(referred) => referred,
            Err(error) => {
                self.metrics.error(Part::Act.as_str(), error.label());
                tracing::warn!(rollout = %key, %error, "the repository cannot be looked up");
                return;
            }
        };
        let Some(repository) = referred.repository(&git.repository) else {
            tracing::warn!(rollout = %key, repository = git.repository, "there is no repository");
            return;
        };
        let (touch, touched) = (self.touch.clone(), key.clone());
        let answered = Box::new(move || {
            // Nobody listens any more: the process ends.
            let _ = touch.send(touched.clone());
        });
        self.reverts.ask(&git.repository, &repository.spec, order, answered);
    }

    /// A notice that is not told stays in the outbox, and comes again.
    pub(super) async fn announce(&self, key: &Key, live: &Value, notice: &Notice) {
        match self.notifier.announce(key, live, notice).await {
            Ok(()) => self.metrics.notice(notice.reason.as_str()),
            Err(error) => {
                self.metrics.error(Part::Tell.as_str(), error.label());
                tracing::warn!(rollout = %key, %error, "a notice is not told");
            }
        }
    }

    /// At rest the Deployment carries our label, which is what the gate looks at, and while a failed
    /// template is held one that says so. In mode Observe nothing of ours is left on it.
    pub(super) async fn keep_claim(
        &self,
        key: &Key,
        live: &Value,
        followed: &Followed,
        next: &State,
    ) -> Result<(), TurnError> {
        let is_watching =
            next.trial.as_ref().is_some_and(|trial| matches!(trial.stage, Stage::Watching { .. }));
        let at_rest = next.trial.is_none() && next.stable.is_some();
        let phase = held_phase(next);
        let is_settling =
            next.trial.as_ref().is_some_and(|trial| matches!(trial.stage, Stage::Settling { .. }));
        match followed.resolved.plan.mode {
            Mode::Enforce if at_rest || is_settling || phase.is_some() => {
                self.may_write(Part::Act)?;
                match act::claim(&self.cluster, &followed.target, phase).await {
                    // Its absence is a fact of the next look.
                    Ok(()) | Err(ActError::Missing { .. }) => Ok(()),
                    Err(source) => Err(failed("Claim", source)),
                }
            }
            Mode::Observe if (at_rest || is_watching) && has_finalizer(live) => {
                self.may_write(Part::Act)?;
                let disclaimed = act::disclaim(&self.cluster, &followed.target).await;
                disclaimed.map_err(|source| failed("Disclaim", source))?;
                self.put_finalizer(key, live, false).await.map(drop)
            }
            Mode::Enforce | Mode::Observe => Ok(()),
        }
    }
}

/// What the Deployment says while a failed template is held: an engine that waits for its health
/// must not wait for ever.
fn held_phase(next: &State) -> Option<&'static str> {
    match next.trial.as_ref()?.stage {
        Stage::Reverting { .. } => Some("Reverting"),
        Stage::Aborted { .. } => Some("Aborted"),
        _ => None,
    }
}

pub(super) fn failed(effect: &str, source: ActError) -> TurnError {
    TurnError { part: Part::Act, why: Why::Act { effect: effect.to_owned(), source } }
}

/// The effect in one word.
const fn name(effect: &Effect) -> &'static str {
    match effect {
        Effect::Settle { .. } => "Settle",
        Effect::Hold => "Hold",
        Effect::Pin { .. } => "Pin",
        Effect::Unpin => "Unpin",
        Effect::Raise { .. } => "Raise",
        Effect::Route { .. } => "Route",
        Effect::RouteHome => "RouteHome",
        Effect::HandOver { .. } => "HandOver",
        Effect::Retire { .. } => "Retire",
        Effect::Restore { .. } => "Restore",
        Effect::Unpause { .. } => "Unpause",
        Effect::Revert(_) => "Revert",
        Effect::Release => "Release",
        Effect::RunGate(_) => "RunGate",
        Effect::Announce(_) => "Announce",
    }
}
