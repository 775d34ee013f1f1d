//! One turn of one Rollout.
//!
//! ```text
//!  resolve ─▶ questions ─▶ observe ─▶ decide ─▶ record ─▶ act
//! ```
//! The state is read first, then the world: facts are never older than the state they are compared
//! with. What was decided is recorded before it is done, with the version it was decided on: who
//! was slower stops at the record, and begins anew.

use chrono::{DateTime, Utc};
use serde_json::Value;
use tidegate_api::{FINALIZER, Rollout};
use tidegate_engine::observed::Observed;
use tidegate_engine::plan::{Mode, Traffic};
use tidegate_engine::state::{Stage, State};
use tidegate_engine::{Decision, Wake, decide, questions};
use tokio::time::Instant;

use super::Key;
use super::error::{Part, TurnError, chain};
use super::pace::Mood;
use super::queue::Next;
use super::status::{self, INVALID_SPEC, Told, UNREADABLE_STATE};
use super::trouble::PATIENCE;
use super::turns::{Measured, Turns};
use crate::kubernetes::{Target, json as read};
use crate::observe::{self, Problem, Survey, TargetFault};
use crate::resolve::{self, Resolved};

/// While traffic goes home, and after a step, the world is looked at again this soon.
pub(super) const SOON: std::time::Duration = std::time::Duration::from_millis(500);

/// A Rollout that can be followed: what it asks for, and which objects are its own.
pub(super) struct Followed {
    pub(super) resolved: Resolved,
    pub(super) target: Target,
    /// It goes on with what it was before; the spec of today is wrong in this way.
    pub(super) wrong: Option<String>,
}

impl Turns {
    /// One turn; says when the next one is due.
    pub async fn turn(&self, key: &Key) -> Next {
        let start = Instant::now();
        // Boxed: all of a turn's requests in one future would fill a thread's stack.
        let (next, result) = match Box::pin(self.reconcile(key)).await {
            Ok(next) => (next, "done"),
            Err(error) if error.is_conflict() => {
                (Next::Again { urgent: self.is_urgent(key) }, "conflict")
            }
            Err(error) if error.is_refusal() => {
                (Next::After { wait: PATIENCE, urgent: self.is_urgent(key) }, "failed")
            }
            Err(error) => {
                self.fleet.stand_back(key);
                self.metrics.error(error.part.as_str(), error.label());
                tracing::warn!(rollout = %key, error = error.chain(), "a turn failed");
                self.tell_refusal(key, &error).await;
                (Next::Failed { urgent: self.is_urgent(key) }, "failed")
            }
        };
        self.metrics.turn(result, start.elapsed());
        next
    }

    /// A right that is missing before anything is decided is said in the status all the same. What
    /// an effect lacks is said by the next turn.
    async fn tell_refusal(&self, key: &Key, error: &TurnError) {
        let (Some(reason), Part::Resolve | Part::Observe) = (error.reason(), error.part) else {
            return;
        };
        let told = match self.live(key).await {
            Ok(Some(live)) => {
                self.stall(key, &live, reason.as_str(), &error.chain()).await.map(drop)
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = told {
            tracing::debug!(rollout = %key, error = error.chain(), "the refusal is not told");
        }
    }

    async fn reconcile(&self, key: &Key) -> Result<Next, TurnError> {
        let Some(live) = self.live(key).await? else { return self.release_orphans(key).await };
        let state = match status::read_state(&live) {
            Ok(state) => state,
            Err(error) => return self.stall(key, &live, UNREADABLE_STATE, &chain(&error)).await,
        };
        self.fleet.fill(&self.cluster).await.map_err(Part::Resolve.cluster())?;
        if read::is_deleted(&live) {
            self.fleet.stand_back(key);
            return Box::pin(self.leave(key, &live, &state)).await;
        }
        let followed = match self.resolve(key, &live, &state).await? {
            Ok(followed) => followed,
            Err(wrong) => return self.stall(key, &live, wrong.reason, &wrong.message).await,
        };
        let now = Utc::now();
        let asked = questions(&followed.resolved.plan, &state, now);
        let look = self.observe(key, &live, &followed, &state, &asked, now);
        let (mut seen, measured) = Box::pin(look).await?;
        let plan = &followed.resolved.plan;
        let decision = self.fleet.decide(key, |others| {
            seen.fleet.others =
                others.filter(|other| other.matters_to(plan, &state, &seen)).cloned().collect();
            decide(plan, &state, &seen, now)
        });
        let live = self.record(key, &live, &followed, &seen, &decision, &measured, now).await;
        let live = live.inspect_err(|_| self.fleet.put(key, &state))?;
        // Traffic first: nothing that is told stands between a Fail and weight 0.
        let acted = self.act(key, &live, &followed, &decision).await;
        self.tell(key, &live, &followed, &state, &decision, &measured, now).await;
        acted?;
        let stepped = has_stepped(&state, &decision.next);
        Ok(next_look(&decision, stepped, measured.again, now))
    }

    /// What the Rollout asks for, and the objects it asks it of.
    async fn resolve(
        &self,
        key: &Key,
        live: &Value,
        state: &State,
    ) -> Result<Result<Followed, Wrong>, TurnError> {
        let rollout = match rollout_of(live) {
            Ok(rollout) => rollout,
            Err(error) => return Ok(self.as_before(key, state, Wrong::spec(chain(&error)))),
        };
        let referred = self.references.of(&key.namespace).await.map_err(Part::Resolve.cluster())?;
        let survey = observe::survey(&self.cluster, &rollout).await;
        let survey = survey.map_err(Part::Resolve.cluster())?;
        if let Some(followed) = self.with_what_is_gone(key, &rollout, state, &survey) {
            return Ok(Ok(followed));
        }
        let references = referred.references(survey.routes_found(&rollout));
        let resolved = match resolve::resolve(&rollout, &references) {
            Ok(resolved) => resolved,
            Err(faults) => {
                let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
                return Ok(self.as_before(key, state, Wrong::spec(faults.join("; "))));
            }
        };
        // They only keep trials from starting, and by routes alone.
        let survey = if state.trial.is_none() && resolved.plan.traffic == Traffic::Routes {
            let whole = survey.with_policies(&self.cluster, &key.namespace).await;
            whole.map_err(Part::Resolve.cluster())?
        } else {
            survey
        };
        let followed = match survey.target(&rollout, &resolved) {
            Ok(target) => Followed { resolved, target, wrong: None },
            Err(TargetFault::Cluster(error)) => return Err(Part::Resolve.cluster()(error)),
            // A trial goes on, or home, with what there is; that a Deployment is gone is a fact
            // that the engine knows what to do about. One that never was there is not.
            Err(TargetFault::Unfit(unfit)) => {
                let missing = |problem: &Problem| *problem == Problem::WorkloadMissing;
                let is_gone =
                    state.stable.is_some() && unfit.faults.iter().all(|(what, _)| missing(what));
                if state.trial.is_none() && !is_gone {
                    let reason =
                        unfit.faults.first().map_or(INVALID_SPEC, |(what, _)| what.as_str());
                    return Ok(Err(Wrong { reason, message: unfit.to_string() }));
                }
                Followed { resolved, target: unfit.target, wrong: None }
            }
        };
        self.remember(key, &followed);
        Ok(Ok(followed))
    }

    /// Services that are found by their selector and deleted in mid-trial are missed, not forgotten:
    /// an engine brings them again, and what is decided until then is decided of the same target.
    fn with_what_is_gone(
        &self,
        key: &Key,
        rollout: &Rollout,
        state: &State,
        survey: &Survey,
    ) -> Option<Followed> {
        let is_found = rollout.spec.services.is_none() && state.trial.is_some();
        let (resolved, target) = self.remembered(key).filter(|_| is_found)?;
        let is_gone = survey.misses_a_service_of(&target);
        is_gone.then_some(Followed { resolved, target, wrong: None })
    }

    /// A trial whose spec became wrong goes on with the one it had: the canary may have traffic.
    fn as_before(&self, key: &Key, state: &State, wrong: Wrong) -> Result<Followed, Wrong> {
        let before = state.trial.as_ref().and_then(|_| self.remembered(key));
        match before {
            Some((resolved, target)) => {
                Ok(Followed { resolved, target, wrong: Some(wrong.message) })
            }
            None => Err(wrong),
        }
    }

    /// Facts, and what the judge makes of the samples.
    async fn observe(
        &self,
        key: &Key,
        live: &Value,
        followed: &Followed,
        state: &State,
        asked: &tidegate_engine::Questions,
        now: DateTime<Utc>,
    ) -> Result<(Observed, Measured), TurnError> {
        let look = observe::look(&self.cluster, &followed.target, asked, state, now);
        let (seen, suspended) = futures::join!(look, self.suspended(key, live, state));
        let seen = seen.map_err(TurnError::observe)?;
        let measured = self.measure(followed, &seen, asked, state, now).await;
        let around = self.around(key, followed, state, &seen).await;
        let mut observed = self.observed(key, live, state, asked, seen, &measured);
        observed.around = around;
        let (target, queries) = (&followed.target, &followed.resolved.gates);
        observed.gates = self.gates.look(key, target, queries, &asked.gates, &self.touch);
        observed.fleet.suspended = suspended;
        Ok((observed, measured))
    }

    /// The status, whole or not at all; the finalizer before it, where something is about to be
    /// held. Answers the Rollout as it stands then.
    #[expect(clippy::too_many_arguments, reason = "all that a status is made of")]
    async fn record(
        &self,
        key: &Key,
        live: &Value,
        followed: &Followed,
        seen: &Observed,
        decision: &Decision,
        measured: &Measured,
        now: DateTime<Utc>,
    ) -> Result<Value, TurnError> {
        self.may_write(Part::Record)?;
        let plan = &followed.resolved.plan;
        let mut live = live.clone();
        if holds(&decision.next, plan.mode) && !has_finalizer(&live) {
            live = self.put_finalizer(key, &live, true).await?;
        }
        let told = Told {
            plan,
            seen,
            decision,
            judgement: measured.judgement.as_ref(),
            gate: *self.gate.borrow(),
            generation: read::number(&live, "/metadata/generation"),
            wrong: followed.wrong.as_deref(),
            trouble: self.trouble(key),
        };
        let new = status::whole(&told, &live["status"], now);
        self.metrics.phase(key, decision.next.phase());
        // What waits for a person is at rest, too.
        let at_rest = matches!(
            decision.next.trial.as_ref().map(|trial| &trial.stage),
            None | Some(Stage::Aborted { .. })
        );
        let in_trouble = told.trouble.as_ref().is_some_and(|trouble| !trouble.is_passing);
        let mood = Mood { at_rest, in_trouble };
        self.write_status(key, &live, &new, mood).await
    }

    /// Effects in order; one that fails stops those that rest on it, and those are all but Git
    /// and people.
    async fn act(
        &self,
        key: &Key,
        live: &Value,
        followed: &Followed,
        decision: &Decision,
    ) -> Result<(), TurnError> {
        let done = self.carry_out(key, live, followed, &decision.effects, &decision.next).await;
        let done = match done {
            Ok(()) => self.keep_claim(key, live, followed, &decision.next).await,
            failed => failed,
        };
        self.set_trouble(key, done.as_ref().err());
        done
    }
}

/// Why a Rollout cannot be followed.
pub(super) struct Wrong {
    reason: &'static str,
    message: String,
}

impl Wrong {
    fn spec(message: String) -> Self {
        Self { reason: INVALID_SPEC, message }
    }
}

/// The Rollout without its status: what a newer version wrote there must not matter here.
pub(super) fn rollout_of(live: &Value) -> Result<Rollout, serde_json::Error> {
    let mut object = live.clone();
    if let Some(object) = object.as_object_mut() {
        object.remove("status");
    }
    serde_json::from_value(object)
}

pub(super) fn has_finalizer(live: &Value) -> bool {
    read::list(live, "/metadata/finalizers").iter().any(|name| name == FINALIZER)
}

/// The Deployment, or more, is ours to set free.
fn holds(next: &State, mode: Mode) -> bool {
    match &next.trial {
        Some(trial) => !matches!(trial.stage, Stage::Watching { .. }),
        None => mode == Mode::Enforce && next.stable.is_some(),
    }
}

/// Traffic is on its way home.
pub(super) fn is_urgent(state: &State) -> bool {
    matches!(state.trial.as_ref().map(|trial| &trial.stage), Some(Stage::Aborting { .. }))
}

/// That people were told is no step: it is written with the next one.
fn has_stepped(state: &State, next: &State) -> bool {
    let bare = |state: &State| State { outbox: Vec::new(), ..state.clone() };
    bare(state) != bare(next)
}

/// After a step the world is looked at again soon: it may be there already, where the next one
/// leads. While there is something to judge, no later than there may be more of it.
fn next_look(
    decision: &Decision,
    stepped: bool,
    again: Option<std::time::Duration>,
    now: DateTime<Utc>,
) -> Next {
    let urgent = is_urgent(&decision.next);
    match decision.wake {
        Wake::OnChange => Next::OnChange,
        Wake::At(at) => {
            let wait = (at - now).to_std().unwrap_or_default();
            let wait = again.map_or(wait, |again| wait.min(again));
            let wait = if urgent || stepped { wait.min(SOON) } else { wait };
            Next::After { wait, urgent }
        }
    }
}
