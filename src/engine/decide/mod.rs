//! The machine. One look at the world in, one decision out: no clock, no I/O, no panics, and the
//! same inputs give the same answer.
//!
//! A decision is made in two halves. First the *next state*: at most one transition of the
//! diagram in the crate's documentation. Then the *effects*: what that state wants and the world
//! does not show yet. So an effect is asked for until it is observed, and a state whose ends are
//! all met asks for nothing.

mod ask;
mod back;
pub(crate) mod caution;
mod ends;
mod forward;
mod gates;
mod promote;
mod read_back;
mod rest;
mod revert;
mod still;
mod surge;
mod turn;
mod watch;

use chrono::{DateTime, TimeDelta, Utc};

use crate::effect::Effect;
use crate::observed::{Observed, Pinned, Workload};
use crate::plan::{Plan, Weight};
use crate::reason::Reason;
use crate::state::{Cause, Promotion, Stage, State, Trial};
use turn::Turn;

/// What to write down and then to do.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a decision does nothing until it is recorded and carried out"]
pub struct Decision {
    /// To be recorded before any effect.
    pub next: State,
    /// To be carried out in this order. One that fails stops those after it, since they rest on
    /// it; only `Revert`, `RunGate` and `Announce` stop nothing.
    pub effects: Vec<Effect>,
    /// When to look again if nothing happens.
    pub wake: Wake,
    /// Why.
    pub reason: Reason,
    /// The same for people, with numbers.
    pub message: String,
}

/// When to look again if nothing happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// A change of the world will tell.
    OnChange,
    /// At this time at the latest.
    At(DateTime<Utc>),
}

/// Decides what follows from the plan, the recorded state and one look at the world.
pub fn decide(plan: &Plan, state: &State, seen: &Observed, now: DateTime<Utc>) -> Decision {
    let mut turn = Turn::new(plan, seen, state, now);
    turn.forget_delivered();
    let waited = turn.next.waiting.take();
    match (state.trial.clone(), &seen.workload) {
        (None, None) => turn.say(Reason::WorkloadMissing, "the Deployment does not exist"),
        (None, Some(workload)) => rest::rest(&mut turn, workload, waited.as_ref()),
        (Some(trial), None) => turn.next.trial = back::orphaned(&mut turn, trial),
        (Some(trial), Some(workload)) => {
            let mut next = on_trial(&mut turn, trial, workload);
            if let Some(trial) = &mut next
                && trial.shared.is_none()
                && trial.stage.weight(plan) > Weight::ZERO
            {
                trial.shared = Some(now);
            }
            turn.next.trial = next;
        }
    }
    if let Some(mut trial) = turn.next.trial.take() {
        gates::forget(&mut trial);
        caution::on_trial(&mut turn, &mut trial);
        turn.next.trial = Some(trial);
    }
    let effects = ends::ends(plan, &turn.next, seen, now);
    turn.finish(effects)
}

/// One turn of a trial: `None` ends it.
fn on_trial(turn: &mut Turn<'_>, trial: Trial, workload: &Workload) -> Option<Trial> {
    if let Stage::Watching { .. } = trial.stage {
        return watch::watch(turn, trial, workload);
    }
    if is_going_back(&trial.stage) {
        return back::back(turn, trial, workload);
    }
    if let Some(cause) = interruption(turn, &trial, workload) {
        return Some(back::abort(turn, trial, cause));
    }
    match ask::answer(turn, trial) {
        ask::Answered::Go(trial) => forward::forward(turn, trial, workload),
        ask::Answered::Done(trial) => Some(trial),
    }
}

/// From here on the trial only goes home.
fn is_going_back(stage: &Stage) -> bool {
    match stage {
        Stage::Aborting { .. }
        | Stage::Reverting { .. }
        | Stage::Restoring { .. }
        | Stage::Aborted { .. } => true,
        Stage::Settling { .. }
        | Stage::Starting { .. }
        | Stage::Shifting { .. }
        | Stage::Baking { .. }
        | Stage::Paused { .. }
        | Stage::FastForward { .. }
        | Stage::Promoting { .. }
        | Stage::Watching { .. } => false,
    }
}

/// What ends a trial from outside, whatever stage it is in, before any verdict is looked at.
fn interruption(turn: &Turn<'_>, trial: &Trial, workload: &Workload) -> Option<Cause> {
    if surge::is_under_way(turn.seen, trial, workload) {
        return surge::interruption(turn, trial, workload);
    }
    let is_releasing = matches!(trial.stage, Stage::Promoting { part: Promotion::Releasing, .. });
    if is_releasing && workload.adopted.as_ref().is_some_and(|newest| *newest != trial.canary) {
        // It took the tested pods, and something else since.
        return Some(Cause::Bypassed);
    }
    if is_releasing || back::is_taken(turn.seen, trial, workload) {
        // The tested pods are the Deployment's: the promotion is finished first.
        return None;
    }
    if turn.is_stable(&workload.template) {
        return Some(surge::taken_back(turn, trial));
    }
    if !workload.paused {
        return Some(Cause::Bypassed);
    }
    if workload.template != trial.canary {
        return Some(Cause::Superseded);
    }
    if workload.desired == 0 {
        return Some(Cause::ScaledToZero);
    }
    None
}

/// How long requests in flight on the canary may take: none come where there is no Service.
fn drain(plan: &Plan, seen: &Observed) -> TimeDelta {
    if seen.traffic.pinned == Pinned::NoService { TimeDelta::zero() } else { plan.limits.drain }
}
