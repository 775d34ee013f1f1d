//! Trials that stand still: they take no step forward, and are judged as before. Whatever leads
//! home is not asked here, nor is a hand-over that has begun.

use super::turn::Turn;
use crate::effect::Severity;
use crate::observed::Workload;
use crate::reason::Reason;
use crate::state::{GitRevision, Origin, PausedBy, Stage, Trial};

/// What keeps a trial from going on: the documented why, and the same for people.
pub(super) struct Keeps {
    reason: Reason,
    message: String,
}

/// What keeps this trial where it is. `None`: nothing, or a person does already.
pub(super) fn keeps(turn: &Turn<'_>, trial: &Trial) -> Option<Keeps> {
    let waits =
        matches!(trial.stage, Stage::Paused { by: PausedBy::Person | PausedBy::Inconclusive, .. });
    if waits {
        return None;
    }
    if let Some(by) = turn.seen.fleet.suspended_by() {
        let message = format!("suspended by {by}: no step is taken");
        return Some(Keeps { reason: Reason::Suspended, message });
    }
    let message = failed_sibling(turn, trial)?;
    let message = format!("{message}: no step is taken until somebody says `resume`");
    Some(Keeps { reason: Reason::SiblingFailed, message })
}

/// The same commit brought a release that failed elsewhere, and nobody said to go on with this one.
pub(super) fn failed_sibling(turn: &Turn<'_>, trial: &Trial) -> Option<String> {
    if trial.alone {
        return None;
    }
    match &trial.origin {
        Origin::Git { bad, .. } => failed_with(turn, bad),
        Origin::OutOfBand { .. } | Origin::Unknown => None,
    }
}

/// Another Rollout's release of this commit failed.
fn failed_with(turn: &Turn<'_>, commit: &GitRevision) -> Option<String> {
    let other = turn.seen.fleet.failed_with(commit)?;
    Some(format!("{other} failed with the same commit {}", commit.short()))
}

/// The same for a template that waits at the gate.
pub(super) fn failed_before(turn: &Turn<'_>, workload: &Workload) -> Option<String> {
    failed_with(turn, &super::rest::deployed_revision(workload)?)
}

/// One turn of a trial that stands still.
pub(super) fn stand(turn: &mut Turn<'_>, mut trial: Trial, keeps: Keeps) -> Trial {
    trial.stands.get_or_insert(turn.now);
    if keeps.reason == Reason::SiblingFailed {
        let message = keeps.message.clone();
        turn.notify_once(&mut trial, Severity::Warning, Reason::SiblingFailed, message);
    }
    turn.say(keeps.reason, keeps.message);
    trial
}

/// It goes on where it was: its deadlines stood still as well.
pub(super) fn go_on(turn: &Turn<'_>, trial: &mut Trial) {
    let Some(stood) = trial.stands.take() else { return };
    let age = (stood - trial.stage.since()).max(chrono::TimeDelta::zero());
    let since = turn.now.checked_sub_signed(age).unwrap_or(turn.now);
    trial.stage.begin_at(since);
}
