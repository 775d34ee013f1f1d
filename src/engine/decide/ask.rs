//! What people ask for while a trial is on its way to promotion.

use super::back::abort;
use super::forward::after;
use super::gates;
use super::promote::{full_part, is_handing_over};
use super::still;
use super::turn::{About, Turn};
use crate::observed::{Ask, What};
use crate::reason::Reason;
use crate::state::{Cause, PausedBy, Promotion, Skip, Stage, Trial};

/// What became of a person's request.
pub(super) enum Answered {
    /// Nothing was asked, or nothing that ends the turn.
    Go(Trial),
    /// It was the turn's transition.
    Done(Trial),
}

/// A person comes before the plan. A request is answered once: one that must wait for a later
/// stage stays unanswered, what does not apply is answered by doing nothing.
pub(super) fn answer(turn: &mut Turn<'_>, mut trial: Trial) -> Answered {
    let asked = turn.take_ask(&About::from(&trial), |ask| !must_wait(ask, &trial.stage));
    let Some(ask) = asked else { return Answered::Go(trial) };
    let was_kept = ask.what.leads_on() && still::failed_sibling(turn, &trial).is_some();
    trial.alone |= was_kept;
    match ask.what {
        What::Pause => pause(turn, trial, &ask),
        What::Resume if was_kept && !matches!(trial.stage, Stage::Paused { .. }) => {
            resumed(turn, &ask);
            Answered::Done(trial)
        }
        What::Resume => resume(turn, trial, &ask),
        What::Promote => promote(turn, trial, &ask),
        What::PromoteFull => promote_full(turn, trial, &ask),
        What::Abort { hold } if !is_handing_over(&trial.stage) => {
            turn.grant(Reason::AbortedByPerson);
            Answered::Done(abort(turn, trial, Cause::Person { who: ask.who, hold }))
        }
        What::Abort { .. } | What::Retry => Answered::Go(trial),
    }
}

/// A pause that is asked for before the first step pauses at the first step.
fn must_wait(ask: &Ask, stage: &Stage) -> bool {
    ask.what == What::Pause
        && matches!(
            stage,
            Stage::Settling { .. } | Stage::Starting { .. } | Stage::FastForward { .. }
        )
}

fn pause(turn: &mut Turn<'_>, mut trial: Trial, ask: &Ask) -> Answered {
    let Some(step) = step_of(&trial.stage) else { return Answered::Go(trial) };
    turn.grant(Reason::PausedByPerson);
    turn.say(Reason::PausedByPerson, format!("{} paused the trial", ask.who));
    trial.stage = Stage::Paused { step, since: turn.now, by: PausedBy::Person };
    Answered::Done(trial)
}

fn resume(turn: &mut Turn<'_>, mut trial: Trial, ask: &Ask) -> Answered {
    let was_held = gates::ask_anew(turn, &mut trial);
    if let Stage::Paused { step, by, .. } = trial.stage {
        trial.stage = match by {
            PausedBy::Step => after(turn, step),
            PausedBy::Person | PausedBy::Inconclusive => Stage::Shifting { step, since: turn.now },
        };
    } else if !was_held {
        return Answered::Go(trial);
    }
    resumed(turn, ask);
    Answered::Done(trial)
}

fn resumed(turn: &mut Turn<'_>, ask: &Ask) {
    turn.grant(Reason::ResumedByPerson);
    turn.say(Reason::ResumedByPerson, format!("{} resumed the trial", ask.who));
}

fn promote(turn: &mut Turn<'_>, mut trial: Trial, ask: &Ask) -> Answered {
    if let Some(step) = step_of(&trial.stage) {
        trial.stage = after(turn, step);
        turn.say(Reason::PromotedByPerson, format!("{} took the step as passed", ask.who));
    } else if trial.at_gates().is_some() && gates::open_all(&mut trial) {
        turn.say(Reason::PromotedByPerson, format!("{} took the gates as open", ask.who));
    } else {
        return Answered::Go(trial);
    }
    turn.grant(Reason::PromotedByPerson);
    Answered::Done(trial)
}

/// Before there are canary pods the steps are only marked to be left out: settling, holding and
/// pinning are not optional.
fn promote_full(turn: &mut Turn<'_>, mut trial: Trial, ask: &Ask) -> Answered {
    let since = turn.now;
    let stage = match trial.stage {
        Stage::Settling { .. } => None,
        Stage::Starting { .. } => Some(Stage::FastForward { since }),
        Stage::Shifting { .. } | Stage::Baking { .. } | Stage::Paused { .. } => {
            let part = |work| full_part(turn.plan, work);
            let part = turn.seen.workload.as_ref().map_or(Promotion::Filling, part);
            Some(Stage::Promoting { part, since })
        }
        Stage::FastForward { .. }
        | Stage::Promoting { .. }
        | Stage::Aborting { .. }
        | Stage::Reverting { .. }
        | Stage::Restoring { .. }
        | Stage::Aborted { .. }
        | Stage::Watching { .. } => return Answered::Go(trial),
    };
    trial.skip = trial.skip.or(Some(Skip::Person));
    if let Some(stage) = stage {
        trial.stage = stage;
    }
    turn.grant(Reason::PromotedByPerson);
    turn.say(Reason::PromotedByPerson, format!("{} left out all steps", ask.who));
    Answered::Done(trial)
}

fn step_of(stage: &Stage) -> Option<usize> {
    if let Stage::Shifting { step, .. } | Stage::Baking { step, .. } | Stage::Paused { step, .. } =
        stage
    {
        Some(*step)
    } else {
        None
    }
}
