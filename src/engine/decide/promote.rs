//! The canary becomes stable: all traffic first, then the Deployment takes the tested pods.

use chrono::{DateTime, TimeDelta, Utc};

use super::back::{abort, is_taken};
use super::forward::late;
use super::gates::{self, Passage, say_beside};
use super::read_back::{is_filled, is_held, is_promoted};
use super::rest::remember_promoted;
use super::surge;
use super::turn::Turn;
use crate::effect::Severity;
use crate::observed::Workload;
use crate::plan::Plan;
use crate::reason::Reason;
use crate::state::{Cause, Origin, Outcome, Promotion, Skip, Stage, Trial};

/// The Deployment has been asked to take the pods: from here on the way back is a new commit.
pub(super) fn is_handing_over(stage: &Stage) -> bool {
    matches!(stage, Stage::Promoting { part: Promotion::HandingOver | Promotion::Releasing, .. })
}

/// There is nothing to go back to, so nothing is aborted for being slow or bad.
pub(super) fn is_stable_down(turn: &Turn<'_>, trial: &Trial) -> bool {
    trial.skip == Some(Skip::StableDown) && turn.seen.stable.ready == 0
}

/// No steps: the canary goes to full size at once.
pub(super) fn fast_forward(
    turn: &mut Turn<'_>,
    mut trial: Trial,
    work: &Workload,
    since: DateTime<Utc>,
) -> Trial {
    let ready = turn.seen.canary.ready;
    let size = needed(turn.plan, &trial, work);
    if ready >= size {
        let part = full_part(turn.plan, work);
        let share = if part == Promotion::Filling { "all" } else { "its part of the" };
        turn.say(Reason::Promoting, format!("the canary takes {share} traffic"));
        trial.stage = Stage::Promoting { part, since: turn.now };
        return trial;
    }
    let was_down = trial.skip == Some(Skip::StableDown);
    if was_down && turn.seen.stable.ready > 0 && ready == 0 {
        turn.say(Reason::CanaryStarting, "stable serves again: the canary takes its steps");
        trial.skip = None;
        trial.stage = Stage::Starting { since: turn.now };
        return trial;
    }
    let reason = match trial.skip {
        Some(Skip::PromotedBefore) => Reason::PromotedBefore,
        Some(Skip::Person) => Reason::PromotedByPerson,
        Some(Skip::StableDown) | None => Reason::StableDown,
    };
    turn.say(reason, format!("{ready} of {size} canary pods are ready"));
    if turn.is_over(since, turn.plan.limits.ready) {
        if is_stable_down(turn, &trial) {
            nothing_serves(turn, &mut trial);
            return trial;
        }
        let cause = late(&turn.seen.canary, size);
        return abort(turn, trial, cause);
    }
    trial
}

/// Neither revision gets its pods ready: going back would help nobody, people can.
pub(super) fn nothing_serves(turn: &mut Turn<'_>, trial: &mut Trial) {
    let message = format!("stable is down and {} does not get ready either", trial.canary);
    turn.say(Reason::StableDown, message.clone());
    turn.notify_once(trial, Severity::Critical, Reason::StableDown, message);
}

/// Pods before the canary may take over: all that the Deployment takes, or one where nothing serves.
fn needed(plan: &Plan, trial: &Trial, work: &Workload) -> u32 {
    if trial.skip == Some(Skip::StableDown) { 1 } else { plan.full_size(work) }
}

/// Where a promotion without further steps begins.
pub(super) fn full_part(plan: &Plan, work: &Workload) -> Promotion {
    if plan.is_surge(work) { Promotion::Spreading } else { Promotion::Filling }
}

/// Where the last step gave the canary everything already, Services follow at once.
pub(super) fn first_part(turn: &Turn<'_>) -> Promotion {
    let (Some(trial), Some(work)) = (&turn.next.trial, &turn.seen.workload) else {
        return Promotion::Filling;
    };
    let is_full = turn.seen.canary.ready >= needed(turn.plan, trial, work);
    if !turn.plan.is_surge(work) && is_full && is_filled(turn.plan, turn.seen, trial) {
        Promotion::Pinning
    } else {
        full_part(turn.plan, work)
    }
}

pub(super) fn promoting(
    turn: &mut Turn<'_>,
    mut trial: Trial,
    work: &Workload,
    part: Promotion,
    since: DateTime<Utc>,
) -> Option<Trial> {
    // Exactly: an autoscaler may have wanted fewer since, and a set that is too large is not handed
    // over either.
    let canary = &turn.seen.canary;
    let is_full = canary.ready >= work.desired && canary.desired == work.desired;
    if is_taken(turn.seen, &trial, work) && part != Promotion::Releasing {
        return promotion_after(turn, trial, Promotion::HandingOver);
    }
    let goes_by_itself = matches!(part, Promotion::HandingOver | Promotion::Releasing);
    if !goes_by_itself && turn.plan.is_surge(work) && canary.desired < work.desired {
        // More pods are wanted than before: there is no room for two full sets any more.
        let stage = Stage::Promoting { part: Promotion::Spreading, since };
        return Some(surge::spreading(turn, Trial { stage, ..trial }, work, since));
    }
    if part == Promotion::HandingOver && !is_full {
        return Some(wait_again(turn, trial));
    }
    if part == Promotion::Waiting {
        let is_up = is_full && is_promoted(turn.plan, turn.seen, &trial);
        match gates::at_promoted(turn, &mut trial, is_up) {
            Passage::Open => {}
            Passage::Ends(cause) => return Some(abort(turn, trial, cause)),
            Passage::Waits(reason, message) => {
                wait_for_gates(turn, since, reason, message);
                return Some(trial);
            }
        }
    }
    let done = match part {
        Promotion::Filling => {
            turn.seen.canary.ready >= needed(turn.plan, &trial, work)
                && is_filled(turn.plan, turn.seen, &trial)
        }
        Promotion::Pinning => is_promoted(turn.plan, turn.seen, &trial),
        Promotion::Waiting => {
            let over = turn.is_over(since, turn.plan.limits.scale_down_delay);
            over && is_full && is_promoted(turn.plan, turn.seen, &trial)
        }
        Promotion::HandingOver | Promotion::Spreading | Promotion::Surging | Promotion::Surged => {
            false
        }
        // A newer template has closed the gate again: that is the next trial's.
        Promotion::Releasing => {
            !is_held(turn.seen) && (!work.paused || work.template != trial.canary)
        }
    };
    if done {
        return promotion_after(turn, trial, part);
    }
    Some(match part {
        Promotion::Filling | Promotion::Pinning | Promotion::Waiting => {
            with_way_back(turn, trial, work, part, since)
        }
        Promotion::HandingOver
        | Promotion::Releasing
        | Promotion::Spreading
        | Promotion::Surging
        | Promotion::Surged => without_way_back(turn, trial, part, since),
    })
}

fn wait_for_gates(turn: &mut Turn<'_>, since: DateTime<Utc>, reason: Reason, message: String) {
    if turn.is_over(since, turn.plan.limits.scale_down_delay) {
        turn.say(reason, message);
    } else {
        let passage = Passage::Waits(reason, message);
        say_beside(turn, &passage, Reason::ScaleDownDelay, "the way back is one write".to_owned());
    }
}

/// All of these can still go back with one write, and do when they take too long.
fn with_way_back(
    turn: &mut Turn<'_>,
    mut trial: Trial,
    work: &Workload,
    part: Promotion,
    since: DateTime<Utc>,
) -> Trial {
    let limits = turn.plan.limits;
    let (ready, size) = (turn.seen.canary.ready, work.desired);
    let (limit, reason, message) = match part {
        Promotion::Filling if ready < needed(turn.plan, &trial, work) => {
            (limits.ready, Reason::Promoting, format!("{ready} of {size} canary pods are ready"))
        }
        Promotion::Waiting if ready < size => (
            sum(limits.scale_down_delay, limits.ready),
            Reason::ScaleDownDelay,
            format!("{ready} of {size} pods are ready; the way back is one write"),
        ),
        Promotion::Waiting => (
            sum(limits.scale_down_delay, limits.shift),
            Reason::ScaleDownDelay,
            "the way back is one write".to_owned(),
        ),
        Promotion::Filling => (
            sum(limits.ready, limits.shift),
            Reason::Promoting,
            "all traffic is asked for".to_owned(),
        ),
        Promotion::Pinning
        | Promotion::HandingOver
        | Promotion::Releasing
        | Promotion::Spreading
        | Promotion::Surging
        | Promotion::Surged => {
            (limits.shift, Reason::Promoting, "Services are asked to follow".to_owned())
        }
    };
    turn.say(reason, message.clone());
    if !turn.is_over(since, limit) {
        return trial;
    }
    if is_stable_down(turn, &trial) {
        nothing_serves(turn, &mut trial);
        return trial;
    }
    let cause = if ready < size && part != Promotion::Pinning {
        late(&turn.seen.canary, size)
    } else {
        Cause::Environment { message: format!("not in time: {message}") }
    };
    abort(turn, trial, cause)
}

fn without_way_back(
    turn: &mut Turn<'_>,
    mut trial: Trial,
    part: Promotion,
    since: DateTime<Utc>,
) -> Trial {
    let message = match part {
        Promotion::Releasing => "holds are being released",
        Promotion::Filling
        | Promotion::Pinning
        | Promotion::Waiting
        | Promotion::HandingOver
        | Promotion::Spreading
        | Promotion::Surging
        | Promotion::Surged => "the Deployment is taking over the tested pods",
    };
    turn.say(Reason::HandingOver, message);
    if turn.is_over(since, turn.plan.limits.hand_over) {
        let message = format!("not in time: {message}");
        turn.say(Reason::HandOverSlow, message.clone());
        turn.notify_once(&mut trial, Severity::Critical, Reason::HandOverSlow, message);
    }
    trial
}

/// A set that is not of the right size is never handed over: it is waited for where harm is seen.
fn wait_again(turn: &mut Turn<'_>, mut trial: Trial) -> Trial {
    turn.say(Reason::ScaleDownDelay, "not all pods are ready: the hand-over waits");
    trial.stage = Stage::Promoting { part: Promotion::Waiting, since: turn.now };
    trial
}

pub(super) fn sum(one: TimeDelta, other: TimeDelta) -> TimeDelta {
    one.checked_add(&other).unwrap_or(TimeDelta::MAX)
}

fn promotion_after(turn: &mut Turn<'_>, mut trial: Trial, part: Promotion) -> Option<Trial> {
    let (part, reason, message) = match part {
        Promotion::Filling => (
            Promotion::Pinning,
            Reason::Promoting,
            "all traffic is on the new revision; Services follow",
        ),
        Promotion::Pinning => (
            Promotion::Waiting,
            Reason::ScaleDownDelay,
            "all traffic is on the new revision; the way back is one write",
        ),
        Promotion::Waiting => (
            Promotion::HandingOver,
            Reason::HandingOver,
            "the Deployment is asked to take over the tested pods",
        ),
        Promotion::HandingOver => (
            Promotion::Releasing,
            Reason::HandingOver,
            "the Deployment has the tested pods; holds are released",
        ),
        Promotion::Spreading | Promotion::Surging | Promotion::Surged => return Some(trial),
        Promotion::Releasing => {
            promoted(turn, &trial);
            return None;
        }
    };
    turn.say(reason, message);
    trial.handed |= part == Promotion::HandingOver;
    trial.stage = Stage::Promoting { part, since: turn.now };
    Some(trial)
}

/// What was on trial is stable from here on.
pub(super) fn promoted(turn: &mut Turn<'_>, trial: &Trial) {
    let message = format!("{} is stable now", trial.canary);
    turn.notify(Severity::Info, Reason::Promoted, message.clone());
    turn.say(Reason::Promoted, message);
    turn.end(trial, Outcome::Promoted);
    turn.next.failed = None;
    let git = match &trial.origin {
        Origin::Git { bad, .. } => Some(bad.clone()),
        Origin::OutOfBand { .. } | Origin::Unknown => {
            turn.next.stable.as_ref().and_then(|stable| stable.git.clone())
        }
    };
    remember_promoted(turn, trial.canary.clone());
    turn.now_stable(&trial.canary, git);
}
