//! The way home: weight 0 first, then Git, then the template, then rest.

use super::read_back::{is_free, is_home};
use super::rest::deployed_revision;
use super::revert::{NOT_ALONE, Next, being_reverted, disposition, reverting, told};
use super::surge;
use super::turn::{About, Turn};
use crate::defaults;
use crate::effect::{RevertOutcome, Severity};
use crate::fleet::{NAMED, named};
use crate::observed::{Deployed, Observed, What, Workload};
use crate::reason::Reason;
use crate::state::{Cause, Failed, GitRevision, Origin, Outcome, Quarantined, Stage, Trial};

/// Turns a trial around. The effects of this very decision already ask for weight 0.
pub(super) fn abort(turn: &mut Turn<'_>, mut trial: Trial, cause: Cause) -> Trial {
    if cause.is_blame() {
        quarantine(turn, &trial);
    }
    let siblings = if cause.is_fail() { failed(turn, &trial) } else { String::new() };
    if cause.is_failure() {
        let message = format!("traffic goes back to stable: {}{siblings}", cause.message());
        turn.notify(Severity::Warning, cause.reason(), message);
    }
    turn.say(cause.reason(), format!("{}{siblings}", cause.message()));
    if cause == Cause::Bypassed {
        bypassed(turn, &trial);
    }
    roll_back(turn, &trial);
    trial.stage = Stage::Aborting { cause, since: turn.now };
    trial.home = None;
    trial
}

/// The Deployment has pods of the canary: its template is written over at once, before Git says so.
/// An engine that brings it again meanwhile is answered in the same way.
fn roll_back(turn: &mut Turn<'_>, trial: &Trial) {
    if let Some(work) = &turn.seen.workload
        && surge::is_out(turn.seen, trial)
        && work.template == trial.canary
        && !turn.is_stable(&trial.canary)
    {
        write_over(turn, trial, work, None);
    }
}

/// The Deployment rolls a template out by itself: it is stable now, and the first thing to do is
/// to let the Services see its pods.
fn bypassed(turn: &mut Turn<'_>, trial: &Trial) {
    let Some(work) = &turn.seen.workload else { return };
    let template = match &work.adopted {
        Some(adopted) if work.paused => adopted.clone(), // it has what we handed over
        Some(_) | None => work.template.clone(),
    };
    let git = match (&work.deployed, &trial.origin) {
        (Deployed::Git { revision, .. }, _) if template == work.template => Some(revision.clone()),
        (_, Origin::Git { bad, .. }) if template == trial.canary => Some(bad.clone()),
        _ => None,
    };
    turn.say_bypassed(&template);
    turn.now_stable(&template, git);
}

/// The commit that brought the canary, if one did.
fn commit(trial: &Trial) -> Option<GitRevision> {
    match &trial.origin {
        Origin::Git { bad, .. } => Some(bad.clone()),
        Origin::OutOfBand { .. } | Origin::Unknown => None,
    }
}

/// The others are to know of it, and people of the others: who is on trial with the same commit.
fn failed(turn: &mut Turn<'_>, trial: &Trial) -> String {
    let commit = commit(trial);
    let siblings = commit.as_ref().map(|commit| turn.seen.fleet.siblings(commit));
    let siblings = siblings.unwrap_or_default();
    let told = if siblings.is_empty() {
        String::new()
    } else {
        format!("; held, for they are on trial with the same commit: {}", named(&siblings))
    };
    let siblings = siblings.into_iter().take(NAMED).map(str::to_owned).collect();
    turn.next.failed = Some(Failed { at: turn.now, commit, siblings });
    told
}

fn quarantine(turn: &mut Turn<'_>, trial: &Trial) {
    let git = commit(trial);
    let failed = &mut turn.next.quarantine;
    failed.retain(|known| known.revision != trial.canary);
    failed.push(Quarantined { revision: trial.canary.clone(), git, at: turn.now });
    let excess = failed.len().saturating_sub(defaults::QUARANTINE_SIZE);
    failed.drain(..excess);
    turn.next.promoted.retain(|known| known != &trial.canary);
}

/// One turn of a trial on its way home.
pub(super) fn back(turn: &mut Turn<'_>, mut trial: Trial, work: &Workload) -> Option<Trial> {
    if is_rolling_out(turn, &trial, work) {
        return Some(abort(turn, trial, Cause::Bypassed));
    }
    if !matches!(trial.stage, Stage::Restoring { .. }) {
        roll_back(turn, &trial); // Restoring notes its own
    }
    let is_free_again = matches!(trial.stage, Stage::Aborting { cause: Cause::Bypassed, .. });
    let home = if is_free_again {
        is_free(turn.plan, turn.seen)
    } else {
        is_home(turn.plan, turn.seen, &trial)
    };
    if home && trial.home.is_none() {
        trial.home = Some(turn.now);
    }
    if let (Some(at), true) = (trial.home, turn.seen.canary.exists) {
        let drain = super::drain(turn.plan, turn.seen);
        let _ = turn.is_over(at, drain); // wakes to retire the pods
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

/// The Deployment brings up pods of a template that is not stable's, or has taken the canary's
/// after all: stable's pods are leaving, and a Service pinned to them would have nobody.
fn is_rolling_out(turn: &Turn<'_>, trial: &Trial, work: &Workload) -> bool {
    if trial.surged && work.template == trial.canary {
        return false; // it was asked to, and is about to be asked back
    }
    let rolls = !work.paused && !turn.is_stable(&work.template);
    let has_it = !trial.surged && is_taken(turn.seen, trial, work);
    rolls || (has_it && !turn.is_stable(&trial.canary))
}

/// The Deployment controller took the set that it was asked to take. Before a promotion, an old set
/// of the same template can look like it; and while ours is there, it made one of its own.
pub(super) fn is_taken(seen: &Observed, trial: &Trial, work: &Workload) -> bool {
    let asked = trial.handed || matches!(trial.stage, Stage::Promoting { .. });
    asked && !seen.canary.exists && work.adopted.as_ref() == Some(&trial.canary)
}

fn aborting(turn: &mut Turn<'_>, mut trial: Trial, work: &Workload, cause: Cause) -> Option<Trial> {
    turn.refuse_ask(&About::from(&trial));
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
        Next::Revert(order) => {
            turn.say(Reason::Reverting, being_reverted(&order));
            Stage::Reverting { cause, order, since: turn.now, waiting: None }
        }
        Next::Restore => {
            let message = not_from_git(&trial);
            turn.notify(Severity::Critical, Reason::NotFromGit, message.clone());
            turn.say(Reason::NotFromGit, message);
            Stage::Restoring { cause, revert: None, since: turn.now }
        }
        Next::Rest(told, revert) => {
            turn.say(Reason::Held, format!("traffic is on stable; held: {}", cause.message()));
            if let Some((severity, reason, message)) = told {
                turn.notify_once(&mut trial, severity, reason, message.clone());
                turn.say(reason, message);
            }
            Stage::Aborted { cause, revert, since: turn.now }
        }
    };
    Some(trial)
}

fn not_from_git(trial: &Trial) -> String {
    let by = match &trial.origin {
        Origin::OutOfBand { writer: Some(writer) } => format!(", {writer} wrote it"),
        Origin::OutOfBand { writer: None } | Origin::Git { .. } | Origin::Unknown => String::new(),
    };
    format!("{} did not come from Git{by}: stable's template is written back", trial.canary)
}

fn restoring(
    turn: &mut Turn<'_>,
    mut trial: Trial,
    work: &Workload,
    cause: Cause,
    revert: Option<RevertOutcome>,
) -> Option<Trial> {
    turn.refuse_ask(&About::from(&trial));
    let deployed = deployed_revision(work);
    if turn.is_stable(&work.template) {
        turn.say(Reason::Restoring, "the template is stable's again; the canary leaves");
        // The engine may have moved on between our last look and our write.
        if turn.next.overwritten.is_some() && deployed != reverted_at(revert.as_ref()) {
            turn.next.overwritten = deployed;
        }
        return leave(turn, trial, cause, revert);
    }
    if work.template != trial.canary {
        turn.say(Reason::Superseded, "a newer template came");
        return leave(turn, trial, cause, revert);
    }
    turn.say(Reason::Restoring, "stable's template is being written back");
    write_over(turn, &trial, work, revert.as_ref());
    if turn.is_over(trial.stage.since(), defaults::REVERT_ALARM) {
        let message = "stable's template could not be written back".to_owned();
        turn.notify_once(&mut trial, Severity::Critical, Reason::Restoring, message);
    }
    Some(trial)
}

/// Stable's template goes over the failed one: what is deployed by name does not run any more, and
/// is no good revision when its engine says that it is applied. To be noted in the very decision
/// that asks for the write: at the next look it is done.
pub(super) fn write_over(
    turn: &mut Turn<'_>,
    trial: &Trial,
    work: &Workload,
    revert: Option<&RevertOutcome>,
) {
    let deployed = match (&work.deployed, &trial.origin) {
        (Deployed::Git { revision, .. }, _) => Some(revision.clone()),
        (Deployed::Unknown, Origin::Git { bad, .. }) => Some(bad.clone()),
        (Deployed::Unknown | Deployed::OutOfBand { .. }, _) => None,
    };
    let good = turn.next.stable.as_ref().and_then(|stable| stable.git.clone());
    if deployed.is_some() && deployed != good && deployed != reverted_at(revert) {
        turn.next.overwritten = deployed;
    }
}

/// The revision that renders stable again.
fn reverted_at(revert: Option<&RevertOutcome>) -> Option<GitRevision> {
    revert.and_then(RevertOutcome::restores).cloned()
}

fn aborted(
    turn: &mut Turn<'_>,
    trial: Trial,
    work: &Workload,
    cause: Cause,
    revert: Option<RevertOutcome>,
) -> Option<Trial> {
    if work.template != trial.canary {
        turn.refuse_ask(&About::from(&trial));
        if trial.surged && turn.is_stable(&work.template) {
            turn.say(Reason::Restoring, "stable's template is written back; the canary leaves");
        } else {
            turn.say(Reason::Superseded, "the failed template is gone");
        }
        return leave(turn, trial, cause, revert);
    }
    let is_gone = !turn.seen.canary.exists;
    let about = About::from(&trial);
    if let Some(ask) = turn.take_ask(&about, |ask| ask.what != What::Retry || is_gone)
        && ask.what == What::Retry
    {
        turn.grant(Reason::Retried);
        turn.next.quarantine.retain(|failed| failed.revision != trial.canary);
        turn.say(Reason::Retried, format!("{} asked for a retry", ask.who));
        return leave(turn, trial, cause, revert);
    }
    let (reason, message) = match &revert {
        Some(outcome) => told(outcome),
        None if trial.told.contains(&Reason::FleetHold) => {
            (Reason::FleetHold, format!("{}; {NOT_ALONE}", cause.message()))
        }
        None => (Reason::Held, cause.message()),
    };
    turn.say(reason, format!("traffic is on stable; held: {message}"));
    Some(trial)
}

/// Ends the trial once the canary is gone; what comes next, rest decides.
fn leave(
    turn: &mut Turn<'_>,
    trial: Trial,
    cause: Cause,
    revert: Option<RevertOutcome>,
) -> Option<Trial> {
    // What rolls out past the gate takes all other pods away itself.
    let is_out = surge::is_out(turn.seen, &trial) && cause != Cause::Bypassed;
    if turn.seen.canary.exists || trial.home.is_none() || is_out {
        return Some(trial);
    }
    turn.end(&trial, Outcome::Aborted { cause, revert });
    None
}

/// The Deployment is gone in the middle of a trial: nothing is left to protect or to revert, only
/// what is ours to take away.
pub(super) fn orphaned(turn: &mut Turn<'_>, mut trial: Trial) -> Option<Trial> {
    turn.refuse_ask(&About::from(&trial));
    turn.say(Reason::WorkloadMissing, "the Deployment was deleted during the trial");
    trial.home.get_or_insert(turn.now);
    if turn.seen.canary.exists || turn.seen.traffic.held {
        if !matches!(trial.stage, Stage::Aborting { cause: Cause::WorkloadGone, .. }) {
            trial.stage = Stage::Aborting { cause: Cause::WorkloadGone, since: turn.now };
        }
        return Some(trial);
    }
    turn.end(&trial, Outcome::Aborted { cause: Cause::WorkloadGone, revert: None });
    None
}
