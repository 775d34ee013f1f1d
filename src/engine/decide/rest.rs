//! Without a trial: stable serves all, and a new template starts one.

use super::caution;
use super::still;
use super::turn::{About, Turn};
use crate::defaults;
use crate::effect::Severity;
use crate::fleet::named;
use crate::observed::{Deployed, What, Workload};
use crate::plan::{Mode, OnRestart};
use crate::reason::Reason;
use crate::state::{
    Ended, GitRevision, Origin, Outcome, Revision, Skip, Stable, Stage, Trial, TrialId, Waiting,
};

/// `waited`: the template waited at the gate before.
pub(super) fn rest(turn: &mut Turn<'_>, workload: &Workload, waited: Option<&Waiting>) {
    let Some(stable) = turn.next.stable.clone() else {
        first_sight(turn, workload);
        return;
    };
    let retry = asked_for_retry(turn, workload);
    if workload.template == stable.revision {
        turn.refuse_ask(&About::from(workload)); // nothing is on trial
        keep_good_revision(turn, workload);
        let (last, suspended) = (last(turn), suspended(turn));
        turn.say(
            Reason::Stable,
            format!("{} serves all traffic{last}{suspended}", stable.revision),
        );
        caution::at_rest(turn);
        return;
    }
    if workload.restart && turn.plan.on_restart == OnRestart::Pass {
        restarted(turn, workload, stable);
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
    if workload.paused && watch {
        turn.say(Reason::Watching, "the Deployment is paused: there is no update to watch");
        return;
    }
    if is_quarantined(turn, workload) && !retry && !workload.deliberate {
        turn.refuse_ask(&About::from(workload));
        stay_quarantined(turn, workload);
        return;
    }
    if !watch && let Some(reason) = must_wait(turn, workload, retry, waited) {
        let since = waited.map_or(turn.now, |waited| waited.since);
        let class = turn.plan.class.clone();
        turn.next.waiting = Some(Waiting { since, reason, class });
        return;
    }
    start(turn, workload, &stable, retry);
}

/// What was wrong with the last trial stays for people to read.
fn last(turn: &Turn<'_>) -> String {
    let Some(Ended { canary, outcome, .. }) = &turn.next.last else { return String::new() };
    match outcome {
        Outcome::Aborted { cause, .. } if cause.is_failure() => {
            format!("; {canary} was aborted: {}", cause.message())
        }
        Outcome::Watched { would_abort: Some(why), .. } => {
            format!("; {canary} would have been aborted: {why}")
        }
        Outcome::Aborted { .. } | Outcome::Watched { .. } | Outcome::Promoted => String::new(),
    }
}

/// The same version in new pods: there is nothing to judge, and what was promoted stays so.
fn restarted(turn: &mut Turn<'_>, workload: &Workload, stable: Stable) {
    turn.refuse_ask(&About::from(workload)); // nothing is on trial
    let template = &workload.template;
    turn.say(Reason::Restarted, format!("{template} is {} restarted", stable.revision));
    if turn.next.promoted.contains(&stable.revision) {
        remember_promoted(turn, template.clone());
    }
    turn.now_stable(template, stable.git);
}

/// People see it before a release has to wait for it.
fn suspended(turn: &Turn<'_>) -> String {
    let by = turn.seen.fleet.suspended_by();
    by.map_or_else(String::new, |by| format!("; suspended by {by}: no trial starts"))
}

/// Why no trial starts, which is said. Nothing starts what is suspended. Windows and others are not
/// waited for by what helps at once: a revision that was promoted before, or any where stable is
/// down; nor by a person's word.
fn must_wait(
    turn: &mut Turn<'_>,
    workload: &Workload,
    retry: bool,
    waited: Option<&Waiting>,
) -> Option<Reason> {
    let template = &workload.template;
    if let Some(by) = turn.seen.fleet.suspended_by() {
        turn.say(Reason::Suspended, format!("{template} waits: suspended by {by}"));
        return Some(Reason::Suspended);
    }
    let helps = turn.next.promoted.contains(template) || turn.seen.stable.ready == 0;
    if helps || retry || is_wanted(turn, workload) {
        return None;
    }
    if turn.is_outside_window(&format!("{template} starts")) {
        return Some(Reason::OutsideWindow);
    }
    if let Some(why) = still::failed_before(turn, workload) {
        let message = format!("{template} waits: {why}; `retry` starts it all the same");
        turn.say(Reason::SiblingFailed, message);
        return Some(Reason::SiblingFailed);
    }
    is_one_too_many(turn, workload, waited).then_some(Reason::TooManyTrials)
}

/// A person says to go on with what waits.
fn is_wanted(turn: &Turn<'_>, workload: &Workload) -> bool {
    let about = About::from(workload);
    turn.seen.ask.as_ref().is_some_and(|ask| {
        let goes_on = matches!(ask.what, What::Promote | What::PromoteFull);
        let is_new = turn.next.answered.as_ref() != Some(&ask.token);
        goes_on && is_new && ask.fault(&about.revision, about.git.as_ref()).is_none()
    })
}

/// As many trials of the class run as may, or are about to.
fn is_one_too_many(turn: &mut Turn<'_>, workload: &Workload, waited: Option<&Waiting>) -> bool {
    let plan = turn.plan;
    let (Some(class), Some(most)) = (&plan.class, plan.max_trials) else { return false };
    let since = waited.map_or(turn.now, |waited| waited.since);
    let before = turn.seen.fleet.before(&plan.rollout, class, since);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    if before.len() < most {
        return false;
    }
    let message = format!(
        "{} waits for {} of class {class}, {most} at a time: {}",
        workload.template,
        before.len(),
        named(&before),
    );
    turn.say(Reason::TooManyTrials, message);
    true
}

/// The template came again: by automation that does not know, or an engine that lags.
fn stay_quarantined(turn: &mut Turn<'_>, workload: &Workload) {
    let template = &workload.template;
    let message = format!("{template} failed before; commit a newer version or ask for a retry");
    if turn.next.warned.as_ref() != Some(template) {
        turn.next.warned = Some(template.clone());
        turn.notify(Severity::Warning, Reason::Quarantined, message.clone());
    }
    turn.say(Reason::Quarantined, message);
}

/// What runs is the baseline, never a trial. In a paused Deployment that is not its template but
/// what its controller took last.
fn first_sight(turn: &mut Turn<'_>, workload: &Workload) {
    let runs = match &workload.adopted {
        Some(adopted) if workload.paused => adopted,
        Some(_) | None => &workload.template,
    };
    turn.say(Reason::FirstSight, format!("{runs} is the baseline"));
    remember_promoted(turn, runs.clone());
    let git = (*runs == workload.template).then(|| deployed_revision(workload)).flatten();
    turn.now_stable(runs, git);
}

pub(super) fn deployed_revision(workload: &Workload) -> Option<GitRevision> {
    match &workload.deployed {
        Deployed::Git { revision, .. } => Some(revision.clone()),
        Deployed::OutOfBand { .. } | Deployed::Unknown => None,
    }
}

/// The good end of the next range moves on with every revision that is fully applied and leaves
/// the template alone. Not with one that is still being applied: it could be a bad one already.
/// Nor with one that we wrote over: the template is stable's because of us, not because this
/// revision renders it.
fn keep_good_revision(turn: &mut Turn<'_>, workload: &Workload) {
    if let Deployed::Git { revision, applied: true } = &workload.deployed
        && let Some(stable) = &mut turn.next.stable
        && stable.git.as_ref() != Some(revision)
        && turn.next.overwritten.as_ref() != Some(revision)
    {
        stable.git = Some(revision.clone());
        turn.next.overwritten = None;
    }
}

/// Other requests stay for the trial that may start in this very turn.
fn asked_for_retry(turn: &mut Turn<'_>, workload: &Workload) -> bool {
    let about = About::from(workload);
    let retry = turn.take_ask(&about, |ask| ask.what == What::Retry).is_some()
        && !turn.is_stable(&workload.template);
    if retry {
        turn.grant(Reason::Retried);
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
    turn.say_bypassed(&workload.template);
    turn.now_stable(&workload.template, deployed_revision(workload));
}

fn start(turn: &mut Turn<'_>, workload: &Workload, stable: &Stable, retry: bool) {
    turn.next.trials = turn.next.trials.saturating_add(1);
    turn.next.quarantine.retain(|failed| failed.revision != workload.template);
    turn.next.warned = None;
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
        shared: None,
        home: None,
        skip,
        handed: false,
        gates: None,
        class: turn.plan.class.clone(),
        stands: None,
        alone: retry,
        surged: false,
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
