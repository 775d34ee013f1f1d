//! Without a trial: stable serves all, and a new template starts one. And mode Observe, which
//! never leaves rest as far as the world is concerned.

use super::turn::Turn;
use crate::defaults;
use crate::effect::Severity;
use crate::judge::Verdict;
use crate::observed::{Deployed, What, Workload};
use crate::plan::Mode;
use crate::reason::Reason;
use crate::state::{GitRevision, Origin, Outcome, Revision, Skip, Stable, Stage, Trial, TrialId};

pub(super) fn rest(turn: &mut Turn<'_>, workload: &Workload) {
    let Some(stable) = turn.next.stable.clone() else {
        first_sight(turn, workload);
        return;
    };
    let retry = asked_for_retry(turn, workload);
    if workload.template == stable.revision {
        keep_good_revision(turn, workload);
        turn.say(Reason::Stable, format!("{} serves all traffic", stable.revision));
        return;
    }
    let watch = turn.plan.mode == Mode::Observe;
    if !workload.paused && !watch {
        bypassed(turn, workload);
        return;
    }
    if workload.desired == 0 {
        turn.say(Reason::Asleep, "scaled to 0: the new template is tried when it is not");
        return;
    }
    if is_quarantined(turn, workload) && !retry && !workload.deliberate {
        turn.say(
            Reason::Quarantined,
            format!(
                "{} failed before; commit a newer version or ask for a retry",
                workload.template
            ),
        );
        return;
    }
    start(turn, workload, &stable, retry);
}

/// What runs is the baseline, never a trial.
fn first_sight(turn: &mut Turn<'_>, workload: &Workload) {
    let git = match &workload.deployed {
        Deployed::Git { revision, .. } => Some(revision.clone()),
        Deployed::OutOfBand { .. } | Deployed::Unknown => None,
    };
    turn.say(Reason::FirstSight, format!("{} is the baseline", workload.template));
    remember_promoted(turn, workload.template.clone());
    turn.next.stable = Some(Stable { revision: workload.template.clone(), git });
}

/// The good end of the next range moves on with every revision that is fully applied and leaves
/// the template alone. Not with one that is still being applied: it could be a bad one already.
/// Nor with one that failed: the template is stable's because we wrote it back, not because this
/// revision renders it.
fn keep_good_revision(turn: &mut Turn<'_>, workload: &Workload) {
    if let Deployed::Git { revision, applied: true } = &workload.deployed
        && let Some(stable) = &mut turn.next.stable
        && stable.git.as_ref() != Some(revision)
        && !turn.next.quarantine.iter().any(|failed| failed.git.as_ref() == Some(revision))
    {
        stable.git = Some(revision.clone());
    }
}

fn asked_for_retry(turn: &mut Turn<'_>, workload: &Workload) -> bool {
    let Some(ask) = &turn.seen.ask else { return false };
    if turn.next.answered.as_ref() == Some(&ask.token) {
        return false;
    }
    turn.next.answered = Some(ask.token.clone());
    let retry = ask.what == What::Retry;
    if retry {
        turn.next.quarantine.retain(|failed| failed.revision != workload.template);
    }
    retry
}

/// A template that failed is not tried again, unless a newer commit brings it back on purpose.
fn is_quarantined(turn: &Turn<'_>, workload: &Workload) -> bool {
    turn.next.quarantine.iter().any(|failed| failed.revision == workload.template)
}

/// The template rolled out ungated: pods of it serve, so it is what is stable now.
fn bypassed(turn: &mut Turn<'_>, workload: &Workload) {
    let message =
        format!("{} rolled out past the gate, unjudged; it is stable now", workload.template);
    turn.notify(Severity::Critical, Reason::GateBypassed, message.clone());
    turn.say(Reason::GateBypassed, message);
    let git = match &workload.deployed {
        Deployed::Git { revision, .. } => Some(revision.clone()),
        Deployed::OutOfBand { .. } | Deployed::Unknown => None,
    };
    turn.next.stable = Some(Stable { revision: workload.template.clone(), git });
}

fn start(turn: &mut Turn<'_>, workload: &Workload, stable: &Stable, retry: bool) {
    turn.next.trials += 1;
    let id = trial_id(&turn.plan.uid, turn.next.trials, &workload.template);
    let since = turn.now;
    let skip = turn.next.promoted.contains(&workload.template).then_some(Skip::PromotedBefore);
    let stage = match turn.plan.mode {
        Mode::Enforce => Stage::Settling { since },
        Mode::Observe => Stage::Watching { since },
    };
    let reason = if retry { Reason::Retried } else { Reason::TrialStarted };
    turn.say(reason, format!("{} is on trial against {}", workload.template, stable.revision));
    turn.next.trial = Some(Trial {
        id,
        canary: workload.template.clone(),
        origin: origin(stable.git.as_ref(), &workload.deployed),
        started: since,
        ready: None,
        home: None,
        skip,
        told: Vec::new(),
        stage,
    });
}

/// Unique across Rollouts of one name and across retries, and the same after a crash.
fn trial_id(uid: &str, trials: u64, canary: &Revision) -> TrialId {
    TrialId::new(format!("{uid}-{trials}-{canary}"))
}

/// An empty range means that no commit brought the template.
fn origin(good: Option<&GitRevision>, deployed: &Deployed) -> Origin {
    match (good, deployed) {
        (Some(good), Deployed::Git { revision, .. }) if good != revision => {
            Origin::Git { good: good.clone(), bad: revision.clone() }
        }
        (Some(_), Deployed::Git { .. }) => Origin::OutOfBand { writer: None },
        (_, Deployed::OutOfBand { writer }) => Origin::OutOfBand { writer: writer.clone() },
        (_, Deployed::Git { .. } | Deployed::Unknown) => Origin::Unknown,
    }
}

/// Newest last, without repetition, bounded.
pub(super) fn remember_promoted(turn: &mut Turn<'_>, revision: Revision) {
    let promoted = &mut turn.next.promoted;
    promoted.retain(|known| known != &revision);
    promoted.push(revision);
    let excess = promoted.len().saturating_sub(defaults::PROMOTED_SIZE);
    promoted.drain(..excess);
}

/// Mode Observe: the plain rolling update is judged, nothing is touched.
pub(super) fn watch(turn: &mut Turn<'_>, trial: Trial, workload: &Workload) -> Option<Trial> {
    if workload.template != trial.canary {
        turn.say(Reason::Superseded, "a newer template came");
        turn.end(&trial, Outcome::Watched { would_abort: None });
        settle_watched(turn, &trial);
        return None;
    }
    if let Verdict::Fail(failure) = &turn.seen.verdict {
        let message = format!("would have been aborted: {}", failure.message);
        turn.notify(Severity::Warning, Reason::WouldAbort, message.clone());
        turn.say(Reason::WouldAbort, message);
        turn.end(&trial, Outcome::Watched { would_abort: Some(failure.message.clone()) });
        settle_watched(turn, &trial);
        return None;
    }
    let passed = matches!(turn.seen.verdict, Verdict::Pass);
    if passed || turn.is_over(trial.started, turn.plan.limits.verdict) {
        let message = if passed { "would have been promoted" } else { "no verdict in time" };
        turn.say(Reason::Watching, message);
        turn.end(&trial, Outcome::Watched { would_abort: None });
        settle_watched(turn, &trial);
        return None;
    }
    turn.say(Reason::Watching, "the rolling update is watched; nothing is touched");
    Some(trial)
}

/// What was watched serves now, whatever it was worth.
fn settle_watched(turn: &mut Turn<'_>, trial: &Trial) {
    let git = match &trial.origin {
        Origin::Git { bad, .. } => Some(bad.clone()),
        Origin::OutOfBand { .. } | Origin::Unknown => None,
    };
    turn.next.stable = Some(Stable { revision: trial.canary.clone(), git });
}
