//! Git is put right: what is reverted, what never is, and what the answers lead to.

use chrono::{DateTime, Utc};

use super::back::write_over;
use super::rest::deployed_revision;
use super::turn::{About, Turn};
use crate::defaults;
use crate::effect::{RevertOrder, RevertOutcome, Severity};
use crate::fleet::named;
use crate::observed::{What, Workload};
use crate::plan::{GitPlan, OnFailure};
use crate::reason::Reason;
use crate::state::{Cause, GitRevision, Origin, Stage, Trial};

/// Said of a release that is not reverted since others failed with it.
pub(super) const NOT_ALONE: &str = "nothing is reverted, for it is not alone";

/// Where a failure leads once traffic is home.
pub(super) enum Next {
    /// Git first, then the template.
    Revert(RevertOrder),
    /// Git never had it: only the template.
    Restore,
    /// Nothing is reverted; what people are told when that is not what the plan or a person said.
    Rest(Option<(Severity, Reason, String)>, Option<RevertOutcome>),
}

/// Never revert the innocent: only what the release is to blame for, only what Git brought.
pub(super) fn disposition(turn: &Turn<'_>, trial: &Trial, work: &Workload, cause: &Cause) -> Next {
    let hold = match cause {
        Cause::BadArtifact { .. }
        | Cause::BrokenPods { .. }
        | Cause::BadConfiguration { .. }
        | Cause::GateRefused { .. } => turn.plan.on_failure == OnFailure::Hold,
        Cause::Person { hold, .. } => *hold,
        Cause::Permission { .. }
        | Cause::Environment { .. }
        | Cause::Inconclusive { .. }
        | Cause::GateTimedOut { .. }
        | Cause::Superseded
        | Cause::RevertedByHand
        | Cause::ScaledToZero
        | Cause::Bypassed
        | Cause::WorkloadGone => true,
    };
    // Where the Deployment goes back by itself the template is stable's by our own hand.
    let is_gone = work.template != trial.canary && !is_rolled_back(turn, trial, work);
    if hold || is_gone {
        return Next::Rest(None, None);
    }
    match (&trial.origin, &turn.plan.git) {
        (Origin::OutOfBand { .. }, _) => Next::Restore,
        (Origin::Git { .. } | Origin::Unknown, None) => {
            let why = "nothing is reverted: the Rollout has no repository".to_owned();
            Next::Rest(Some((Severity::Critical, Reason::NoRepository, why)), None)
        }
        (Origin::Unknown, Some(_)) => {
            let why = "nothing is reverted: no commit explains the template".to_owned();
            let told = (Severity::Critical, Reason::CulpritUnknown, why);
            Next::Rest(Some(told), Some(RevertOutcome::CulpritUnknown))
        }
        (Origin::Git { good, bad }, Some(git)) => {
            if let Some(hold) = turn.fleet_hold().filter(|_| cause.is_fail()) {
                let failed = named(&hold.rollouts);
                let why = format!("{NOT_ALONE}: releases of {failed} failed at once");
                // One alert tells people of all of them.
                return Next::Rest(Some((Severity::Warning, Reason::FleetHold, why)), None);
            }
            let at = trial.stage.since();
            Next::Revert(order(turn, trial, git, (good, bad), cause.message(), at))
        }
    }
}

/// Stable's template came back with the pods, before Git said so. What Git says is its own question
/// then: a revert by somebody else is found there.
fn is_rolled_back(turn: &Turn<'_>, trial: &Trial, work: &Workload) -> bool {
    trial.surged && turn.is_stable(&work.template)
}

/// Mode Observe: the revert that a failure would be followed by.
pub(super) fn would_revert(turn: &Turn<'_>, trial: &Trial, why: &str) -> Option<RevertOrder> {
    match (&trial.origin, &turn.plan.git) {
        (Origin::Git { good, bad }, Some(git)) if turn.plan.on_failure == OnFailure::Revert => {
            Some(order(turn, trial, git, (good, bad), why.to_owned(), turn.now))
        }
        _ => None,
    }
}

fn order(
    turn: &Turn<'_>,
    trial: &Trial,
    git: &GitPlan,
    (good, bad): (&GitRevision, &GitRevision),
    why: String,
    at: DateTime<Utc>,
) -> RevertOrder {
    RevertOrder {
        trial: trial.id.clone(),
        rollout: turn.plan.rollout.clone(),
        branch: git.branch.clone(),
        paths: git.paths.clone(),
        good: good.clone(),
        bad: bad.clone(),
        why,
        at,
    }
}

/// One turn of Reverting.
pub(super) fn reverting(
    turn: &mut Turn<'_>,
    mut trial: Trial,
    work: &Workload,
    cause: Cause,
    order: &RevertOrder,
) -> Trial {
    let Stage::Reverting { since, waiting, .. } = trial.stage.clone() else { return trial };
    // The adapter's memory may be shorter than ours: after a restart it has no answer yet.
    let outcome = turn.seen.revert.clone().or(waiting);
    let is_merged = matches!(outcome, Some(RevertOutcome::PullRequest { .. }))
        && deployed_revision(work).is_some_and(|at| at != order.bad);
    let is_rolled_back = is_rolled_back(turn, &trial, work) && !is_merged;
    if turn.is_stable(&work.template) && !is_rolled_back {
        turn.say(Reason::AlreadyReverted, "the template is stable's again");
        let by_hand = || deployed_revision(work).map(|tip| RevertOutcome::AlreadyReverted { tip });
        let revert = outcome.filter(is_final).or_else(by_hand);
        trial.stage = Stage::Restoring { cause, revert, since: turn.now };
        return trial;
    }
    if work.template != trial.canary && !is_rolled_back {
        turn.say(Reason::Superseded, "a newer template came before the revert");
        let revert = outcome.filter(is_final);
        trial.stage = Stage::Aborted { cause, revert, since: turn.now };
        return trial;
    }
    if let Some(ask) = turn.take_ask(&About::from(&trial), |_| true)
        && ask.what == (What::Abort { hold: true })
    {
        turn.grant(Reason::AbortedByPerson);
        turn.say(Reason::AbortedByPerson, format!("{} keeps Git as it is", ask.who));
        let cause = Cause::Person { who: ask.who, hold: true };
        let revert = outcome.filter(is_final);
        trial.stage = Stage::Aborted { cause, revert, since: turn.now };
        return trial;
    }
    let Some(outcome) = outcome else {
        turn.say(Reason::Reverting, being_reverted(order));
        return trial;
    };
    let (reason, message) = told(&outcome);
    turn.say(reason, message.clone());
    match outcome {
        RevertOutcome::Pushed { .. } | RevertOutcome::AlreadyReverted { .. } => {
            turn.notify(Severity::Info, reason, message);
            write_over(turn, &trial, work, Some(&outcome));
            trial.stage = Stage::Restoring { cause, revert: Some(outcome), since: turn.now };
        }
        RevertOutcome::PullRequest { .. } | RevertOutcome::Retry { .. } => {
            turn.notify_once(&mut trial, Severity::Warning, reason, message);
            let is_late = matches!(outcome, RevertOutcome::Retry { .. });
            if is_late && turn.is_over(since, defaults::REVERT_ALARM) {
                let message = "the revert is not on the branch yet".to_owned();
                turn.notify_once(&mut trial, Severity::Critical, Reason::Reverting, message);
            }
            let order = order.clone();
            trial.stage = Stage::Reverting { cause, order, since, waiting: Some(outcome) };
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

/// `Retry` says nothing about the branch.
fn is_final(outcome: &RevertOutcome) -> bool {
    !matches!(outcome, RevertOutcome::Retry { .. })
}

/// The range, as `git log` takes it.
pub(super) fn being_reverted(order: &RevertOrder) -> String {
    format!("{}..{} is being reverted", order.good.short(), order.bad.short())
}

/// What became of a revert, for people.
pub(super) fn told(outcome: &RevertOutcome) -> (Reason, String) {
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
            format!("nothing is forced: a later commit changed {}", paths.join(", ")),
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
