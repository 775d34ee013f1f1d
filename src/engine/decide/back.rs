//! The way home: weight 0 first, then Git, then the template, then rest.

use super::ends::is_home;
use super::turn::Turn;
use crate::defaults;
use crate::effect::{RevertOrder, RevertOutcome, Severity};
use crate::observed::{What, Workload};
use crate::plan::OnFailure;
use crate::reason::Reason;
use crate::state::{Cause, Origin, Outcome, Quarantined, Stable, Stage, Trial};

/// Turns a trial around. The effects of this very decision already ask for weight 0.
pub(super) fn abort(turn: &mut Turn<'_>, mut trial: Trial, cause: Cause) -> Option<Trial> {
    if cause == Cause::Bypassed {
        return bypassed(turn, &trial);
    }
    if cause.is_blame() {
        quarantine(turn, &trial);
    }
    if cause.is_failure() {
        let message = format!("traffic goes back to stable: {}", cause.message());
        turn.notify(Severity::Warning, cause.reason(), message);
    }
    turn.say(cause.reason(), cause.message());
    trial.stage = Stage::Aborting { cause, since: turn.now };
    trial.home = None;
    Some(trial)
}

/// The Deployment rolled the canary's template out by itself: it is stable now, and the first
/// thing to do is to let the Services see its pods.
fn bypassed(turn: &mut Turn<'_>, trial: &Trial) -> Option<Trial> {
    let message = format!("{} rolled out past the gate, unjudged; it is stable now", trial.canary);
    turn.notify(Severity::Critical, Reason::GateBypassed, message.clone());
    turn.say(Reason::GateBypassed, message);
    turn.end(trial, Outcome::Aborted { cause: Cause::Bypassed, revert: None });
    let git = match &trial.origin {
        Origin::Git { bad, .. } => Some(bad.clone()),
        Origin::OutOfBand { .. } | Origin::Unknown => None,
    };
    turn.next.stable = Some(Stable { revision: trial.canary.clone(), git });
    None
}

fn quarantine(turn: &mut Turn<'_>, trial: &Trial) {
    let git = match &trial.origin {
        Origin::Git { bad, .. } => Some(bad.clone()),
        Origin::OutOfBand { .. } | Origin::Unknown => None,
    };
    let failed = &mut turn.next.quarantine;
    failed.retain(|known| known.revision != trial.canary);
    failed.push(Quarantined { revision: trial.canary.clone(), git, at: turn.now });
    let excess = failed.len().saturating_sub(defaults::QUARANTINE_SIZE);
    failed.drain(..excess);
    turn.next.promoted.retain(|known| known != &trial.canary);
}

/// One turn of a trial on its way home.
pub(super) fn back(turn: &mut Turn<'_>, mut trial: Trial, work: &Workload) -> Option<Trial> {
    let home = is_home(turn.plan, turn.seen, &trial);
    if home && trial.home.is_none() {
        trial.home = Some(turn.now);
    }
    if let (Some(at), true) = (trial.home, turn.seen.canary.exists) {
        let _ = turn.is_over(at, turn.plan.limits.drain); // wakes to retire the pods
    }
    match trial.stage.clone() {
        Stage::Aborting { cause, .. } => aborting(turn, trial, work, cause),
        Stage::Reverting { cause, order, .. } => Some(reverting(turn, trial, work, cause, &order)),
        Stage::Restoring { cause, revert, .. } => restoring(turn, trial, work, cause, revert),
        Stage::Aborted { cause, revert, .. } => aborted(turn, trial, work, cause, revert),
        Stage::Settling { .. }
        | Stage::Starting { .. }
        | Stage::Shifting { .. }
        | Stage::Baking { .. }
        | Stage::Paused { .. }
        | Stage::FastForward { .. }
        | Stage::Promoting { .. }
        | Stage::Watching { .. } => Some(trial),
    }
}

fn aborting(turn: &mut Turn<'_>, mut trial: Trial, work: &Workload, cause: Cause) -> Option<Trial> {
    if trial.home.is_none() {
        turn.say(Reason::TrafficReturning, format!("weight 0 is asked for: {}", cause.message()));
        if turn.is_over(trial.stage.since(), defaults::HOME_ALARM) {
            let message = "traffic is not back on stable".to_owned();
            turn.notify_once(&mut trial, Severity::Critical, Reason::TrafficReturning, message);
        }
        return Some(trial);
    }
    turn.say(cause.reason(), cause.message());
    if !cause.is_failure() {
        return leave(turn, trial, cause, None);
    }
    trial.stage = match disposition(turn, &trial, work, &cause) {
        Next::Revert(order) => Stage::Reverting { cause, order, since: turn.now, waiting: None },
        Next::Restore => Stage::Restoring { cause, revert: None, since: turn.now },
        Next::Rest(reason, revert) => {
            if let Some(reason) = reason {
                let message = format!("nothing is reverted: {}", cause.message());
                turn.notify(Severity::Critical, reason, message.clone());
                turn.say(reason, message);
            }
            Stage::Aborted { cause, revert, since: turn.now }
        }
    };
    Some(trial)
}

/// Where a failure leads once traffic is home.
enum Next {
    Revert(RevertOrder),
    Restore,
    Rest(Option<Reason>, Option<RevertOutcome>),
}

/// Never revert the innocent: only what the release is to blame for, only what Git brought.
fn disposition(turn: &Turn<'_>, trial: &Trial, work: &Workload, cause: &Cause) -> Next {
    let hold = match cause {
        Cause::BadArtifact { .. } | Cause::BadConfiguration { .. } => {
            turn.plan.on_failure == OnFailure::Hold
        }
        Cause::Person { hold, .. } => *hold,
        Cause::Permission { .. }
        | Cause::Environment { .. }
        | Cause::Inconclusive { .. }
        | Cause::Superseded
        | Cause::RevertedByHand
        | Cause::ScaledToZero
        | Cause::Bypassed
        | Cause::WorkloadGone => true,
    };
    if hold || work.template != trial.canary {
        return Next::Rest(None, None);
    }
    match (&trial.origin, &turn.plan.git) {
        (Origin::OutOfBand { .. }, _) => Next::Restore,
        (Origin::Unknown, _) => {
            Next::Rest(Some(Reason::CulpritUnknown), Some(RevertOutcome::CulpritUnknown))
        }
        (Origin::Git { .. }, None) => Next::Rest(Some(Reason::NoRepository), None),
        (Origin::Git { good, bad }, Some(git)) => Next::Revert(RevertOrder {
            trial: trial.id.clone(),
            rollout: turn.plan.rollout.clone(),
            branch: git.branch.clone(),
            paths: git.paths.clone(),
            good: good.clone(),
            bad: bad.clone(),
            why: cause.message(),
            at: trial.stage.since(),
        }),
    }
}

fn reverting(
    turn: &mut Turn<'_>,
    mut trial: Trial,
    work: &Workload,
    cause: Cause,
    order: &RevertOrder,
) -> Trial {
    let since = trial.stage.since();
    if is_stable(turn, work) {
        turn.say(Reason::AlreadyReverted, "the template is stable's again");
        trial.stage = Stage::Restoring { cause, revert: turn.seen.revert.clone(), since: turn.now };
        return trial;
    }
    if work.template != trial.canary {
        turn.say(Reason::Superseded, "a newer template came before the revert");
        trial.stage = Stage::Aborted { cause, revert: None, since: turn.now };
        return trial;
    }
    let Some(outcome) = turn.seen.revert.clone() else {
        turn.say(Reason::Reverting, format!("{} is being reverted", order.bad.short()));
        return trial;
    };
    let (reason, message) = told(&outcome);
    turn.say(reason, message.clone());
    match outcome {
        RevertOutcome::Pushed { .. } | RevertOutcome::AlreadyReverted { .. } => {
            turn.notify(Severity::Info, reason, message);
            trial.stage = Stage::Restoring { cause, revert: Some(outcome), since: turn.now };
        }
        RevertOutcome::PullRequest { .. } | RevertOutcome::Retry { .. } => {
            turn.notify_once(&mut trial, Severity::Warning, reason, message);
            if let Stage::Reverting { waiting, .. } = &mut trial.stage
                && waiting.as_ref() != Some(&outcome)
            {
                *waiting = Some(outcome);
            }
            if turn.is_over(since, defaults::REVERT_ALARM) {
                let message = "the revert is not on the branch yet".to_owned();
                turn.notify_once(&mut trial, Severity::Critical, Reason::Reverting, message);
            }
        }
        RevertOutcome::Conflict { .. }
        | RevertOutcome::CulpritUnknown
        | RevertOutcome::NoBaseline
        | RevertOutcome::NotOnBranch
        | RevertOutcome::Refused { .. } => {
            turn.notify(Severity::Critical, reason, message);
            trial.stage = Stage::Aborted { cause, revert: Some(outcome), since: turn.now };
        }
    }
    trial
}

/// What became of a revert, for people.
fn told(outcome: &RevertOutcome) -> (Reason, String) {
    match outcome {
        RevertOutcome::Pushed { commit } => {
            (Reason::Reverted, format!("revert commit {} is on the branch", commit.short()))
        }
        RevertOutcome::AlreadyReverted { tip } => (
            Reason::AlreadyReverted,
            format!("the branch has the old content already, at {}", tip.short()),
        ),
        RevertOutcome::PullRequest { url } => {
            (Reason::PullRequestOpen, format!("the revert waits for people: {url}"))
        }
        RevertOutcome::Conflict { paths } => (
            Reason::RevertConflict,
            format!("conflict with a later commit in {}", paths.join(", ")),
        ),
        RevertOutcome::CulpritUnknown => {
            (Reason::CulpritUnknown, "no commit of the range touches the paths".to_owned())
        }
        RevertOutcome::NoBaseline => {
            (Reason::NoBaseline, "the paths have no older state to go back to".to_owned())
        }
        RevertOutcome::NotOnBranch => {
            (Reason::NotOnBranch, "the deployed revision is not on the branch".to_owned())
        }
        RevertOutcome::Refused { message } => {
            (Reason::RevertRefused, format!("the Git server refuses the revert: {message}"))
        }
        RevertOutcome::Retry { message } => {
            (Reason::GitUnavailable, format!("the revert is tried again: {message}"))
        }
    }
}

fn restoring(
    turn: &mut Turn<'_>,
    mut trial: Trial,
    work: &Workload,
    cause: Cause,
    revert: Option<RevertOutcome>,
) -> Option<Trial> {
    if is_stable(turn, work) {
        turn.say(Reason::Restoring, "the template is stable's again; the canary leaves");
        return leave(turn, trial, cause, revert);
    }
    if work.template != trial.canary {
        turn.say(Reason::Superseded, "a newer template came");
        return leave(turn, trial, cause, revert);
    }
    let reason = if revert.is_some() { Reason::Restoring } else { Reason::NotFromGit };
    turn.say(reason, "stable's template is being written back");
    if turn.is_over(trial.stage.since(), defaults::REVERT_ALARM) {
        let message = "stable's template could not be written back".to_owned();
        turn.notify_once(&mut trial, Severity::Critical, Reason::Restoring, message);
    }
    Some(trial)
}

fn aborted(
    turn: &mut Turn<'_>,
    trial: Trial,
    work: &Workload,
    cause: Cause,
    revert: Option<RevertOutcome>,
) -> Option<Trial> {
    if work.template != trial.canary {
        turn.say(Reason::Superseded, "the failed template is gone");
        return leave(turn, trial, cause, revert);
    }
    if let Some(ask) = &turn.seen.ask
        && turn.next.answered.as_ref() != Some(&ask.token)
        && !turn.seen.canary.exists
    {
        turn.next.answered = Some(ask.token.clone());
        if ask.what == What::Retry {
            turn.next.quarantine.retain(|failed| failed.revision != trial.canary);
            turn.say(Reason::Retried, format!("{} asked for a retry", ask.who));
            return leave(turn, trial, cause, revert);
        }
    }
    turn.say(Reason::Held, format!("traffic is on stable; held: {}", cause.message()));
    Some(trial)
}

fn is_stable(turn: &Turn<'_>, work: &Workload) -> bool {
    turn.next.stable.as_ref().is_some_and(|stable| stable.revision == work.template)
}

/// Ends the trial once the canary is gone; what comes next, rest decides.
fn leave(
    turn: &mut Turn<'_>,
    trial: Trial,
    cause: Cause,
    revert: Option<RevertOutcome>,
) -> Option<Trial> {
    if turn.seen.canary.exists || trial.home.is_none() {
        return Some(trial);
    }
    turn.end(&trial, Outcome::Aborted { cause, revert });
    None
}
