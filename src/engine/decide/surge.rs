//! Promotion where there is no room for two full sets.
//!
//! The Deployment takes the tested pods early, as many as its `maxSurge` allows beside stable's: so
//! many it may have anyhow while it rolls out, and it rescales nothing. Its own rolling update then
//! brings the rest, and is judged until it is over. The way back is a rolling update as well: no pod
//! that serves leaves before another does.

use chrono::{DateTime, TimeDelta, Utc};

use super::back::{abort, is_taken};
use super::forward::late;
use super::promote::{is_stable_down, nothing_serves, promoted, sum};
use super::read_back::is_free;
use super::turn::Turn;
use crate::effect::Severity;
use crate::judge::Verdict;
use crate::observed::{Observed, Workload};
use crate::reason::Reason;
use crate::state::{Cause, Promotion, Stage, Trial};

/// The Deployment has the tested pods, and rolls out or has rolled out. Which set it took last cannot
/// be told while its controller has not looked at the newest write, such as ours that lets it go on.
pub(super) fn is_under_way(seen: &Observed, trial: &Trial, work: &Workload) -> bool {
    let is_asked = matches!(
        trial.stage,
        Stage::Promoting { part: Promotion::Surging | Promotion::Surged, .. }
    );
    let is_unknown = work.adopted.is_none() && is_out(seen, trial);
    is_asked && (is_unknown || is_taken(seen, trial, work))
}

/// Pods of the canary are the Deployment's own: only it can take them away without a gap.
pub(super) fn is_out(seen: &Observed, trial: &Trial) -> bool {
    trial.surged && (seen.taken.desired > 0 || seen.taken.ready > 0)
}

/// The Deployment does not bring any more pods of the canary, but is on its way to others.
pub(super) fn is_turned(seen: &Observed, trial: &Trial) -> bool {
    seen.workload.as_ref().is_none_or(|work| work.template != trial.canary)
}

/// What ends it from outside.
pub(super) fn interruption(turn: &Turn<'_>, trial: &Trial, work: &Workload) -> Option<Cause> {
    if turn.is_stable(&work.template) {
        return Some(taken_back(turn, trial));
    }
    if work.template == trial.canary || is_mostly_rolled_out(turn.seen) {
        return None;
    }
    Some(if work.paused { Cause::Superseded } else { Cause::Bypassed })
}

/// Of two sets that a newer template found, the one with more pods stays and is tried against.
fn is_mostly_rolled_out(seen: &Observed) -> bool {
    seen.taken.ready >= seen.stable.ready || seen.stable.desired == 0
}

/// What sends it back. Not what the cluster is to blame for: what serves already goes on serving.
pub(super) fn harm(turn: &Turn<'_>, trial: &Trial) -> Option<Cause> {
    let has_way_back = turn.seen.stable.exists && !is_turned(turn.seen, trial);
    if !has_way_back || is_stable_down(turn, trial) {
        return None;
    }
    seen_harm(turn)
}

/// The template is stable's again. With harm in sight that was its abort, by whomever: Git is asked
/// whether it says so too. A status that was restored from a copy may not know of our own.
pub(super) fn taken_back(turn: &Turn<'_>, trial: &Trial) -> Cause {
    let harm = if is_out(turn.seen, trial) { seen_harm(turn) } else { None };
    harm.unwrap_or(Cause::RevertedByHand)
}

fn seen_harm(turn: &Turn<'_>) -> Option<Cause> {
    if let Some(trouble) = &turn.seen.taken.trouble
        && trouble.kind.is_certain()
    {
        return Some(trouble.cause());
    }
    match &turn.seen.verdict {
        Verdict::Fail(failure) => Some(Cause::BadArtifact { message: failure.message.clone() }),
        Verdict::Pass
        | Verdict::NeedMoreData { .. }
        | Verdict::Inconclusive { .. }
        | Verdict::Error { .. } => None,
    }
}

/// As many pods as `maxSurge` allows, reached by the Service that selects stable's too.
pub(super) fn spreading(
    turn: &mut Turn<'_>,
    mut trial: Trial,
    work: &Workload,
    since: DateTime<Utc>,
) -> Trial {
    let is_taken = is_taken(turn.seen, &trial, work) || is_out(turn.seen, &trial);
    if !turn.plan.is_surge(work) && !is_taken {
        turn.say(Reason::Promoting, "there is room for two full sets: the canary takes over");
        trial.stage = Stage::Promoting { part: Promotion::Filling, since: turn.now };
        return trial;
    }
    if is_taken || is_spread(turn, work) {
        turn.say(Reason::HandingOver, "the Deployment is asked to take over the tested pods");
        (trial.handed, trial.surged) = (true, true);
        trial.stage = Stage::Promoting { part: Promotion::Surging, since: turn.now };
        return trial;
    }
    let (ready, size) = (turn.seen.canary.ready, turn.plan.full_size(work));
    let limits = turn.plan.limits;
    let (limit, message) = if ready < size {
        (limits.ready, format!("{ready} of {size} canary pods are ready"))
    } else {
        let message = "Services are asked to select both sets".to_owned();
        (sum(limits.ready, limits.shift), message)
    };
    turn.say(Reason::Promoting, message.clone());
    if !turn.is_over(since, limit) {
        return trial;
    }
    if is_stable_down(turn, &trial) {
        nothing_serves(turn, &mut trial);
        return trial;
    }
    let cause = if ready < size {
        late(&turn.seen.canary, size)
    } else {
        Cause::Environment { message: format!("not in time: {message}") }
    };
    abort(turn, trial, cause)
}

/// A set of exactly the right size, and no request that goes another way than by the Service.
fn is_spread(turn: &Turn<'_>, work: &Workload) -> bool {
    let (canary, size) = (&turn.seen.canary, turn.plan.full_size(work));
    canary.ready >= size && canary.desired == size && is_free(turn.plan, turn.seen)
}

/// The Deployment takes the pods, then rolls out.
pub(super) fn surging(
    turn: &mut Turn<'_>,
    mut trial: Trial,
    work: &Workload,
    since: DateTime<Utc>,
) -> Option<Trial> {
    if !is_under_way(turn.seen, &trial, work) {
        return Some(handing_over(turn, trial, work, since));
    }
    if work.template != trial.canary {
        return superseded(turn, trial);
    }
    let (taken, stable) = (&turn.seen.taken, &turn.seen.stable);
    let is_complete = taken.desired >= work.desired && taken.ready >= work.desired;
    if is_complete && stable.desired == 0 && stable.ready == 0 {
        turn.say(Reason::ScaleDownDelay, "all pods are of the new revision; it is still judged");
        trial.stage = Stage::Promoting { part: Promotion::Surged, since: turn.now };
        return Some(trial);
    }
    let (ready, left) = (taken.ready, stable.ready);
    let message =
        format!("{ready} of {} pods are of the new revision, {left} of the old", work.desired);
    turn.say(Reason::Surging, message.clone());
    if !turn.is_over(since, roll_out_limit(turn, work)) {
        return Some(trial);
    }
    let cause = late(&turn.seen.taken, work.desired);
    let is_late = turn.seen.taken.ready < work.desired && cause.is_blame();
    let has_way_back = turn.seen.stable.exists && !is_stable_down(turn, &trial);
    // Going back would meet the same cluster; once that was in the way, it is not the release's time
    // any more that is over.
    if is_late && has_way_back && !trial.told.contains(&Reason::HandOverSlow) {
        return Some(abort(turn, trial, cause));
    }
    let message = format!("not in time: {message}");
    turn.notify_once(&mut trial, Severity::Critical, Reason::HandOverSlow, message);
    Some(trial)
}

fn handing_over(
    turn: &mut Turn<'_>,
    mut trial: Trial,
    work: &Workload,
    since: DateTime<Utc>,
) -> Trial {
    // What the Deployment has already, its controller has only not said so yet.
    let is_ready = turn.plan.is_surge(work) && is_spread(turn, work);
    if !is_ready && !is_out(turn.seen, &trial) {
        turn.say(Reason::Promoting, "not all is as it must be: the hand-over waits");
        trial.stage = Stage::Promoting { part: Promotion::Spreading, since: turn.now };
        return trial;
    }
    let message = "the Deployment is taking over the tested pods";
    turn.say(Reason::HandingOver, message);
    if turn.is_over(since, turn.plan.limits.hand_over) {
        let message = format!("not in time: {message}");
        turn.say(Reason::HandOverSlow, message.clone());
        turn.notify_once(&mut trial, Severity::Critical, Reason::HandOverSlow, message);
    }
    trial
}

/// Pods come in waves of `maxSurge`; each may take as long as the first.
fn roll_out_limit(turn: &Turn<'_>, work: &Workload) -> TimeDelta {
    let waves = work.desired.div_ceil(work.surge.max(1));
    let waves = i32::try_from(waves).unwrap_or(i32::MAX);
    turn.plan.limits.ready.checked_mul(waves.saturating_add(1)).unwrap_or(TimeDelta::MAX)
}

/// All of it carries all of the traffic: what only shows then is seen now.
pub(super) fn surged(
    turn: &mut Turn<'_>,
    mut trial: Trial,
    work: &Workload,
    since: DateTime<Utc>,
) -> Option<Trial> {
    if work.template != trial.canary {
        return superseded(turn, trial);
    }
    turn.say(Reason::ScaleDownDelay, "all pods are of the new revision; it is still judged");
    if turn.is_over(since, turn.plan.limits.scale_down_delay) {
        turn.say(Reason::HandingOver, "the rolling update is complete; holds are released");
        trial.stage = Stage::Promoting { part: Promotion::Releasing, since: turn.now };
    }
    Some(trial)
}

/// The newer template is tried against this one, which passed all that it was asked: pods of the old
/// revision leave, and a paused Deployment brings its only set to full size.
fn superseded(turn: &mut Turn<'_>, trial: Trial) -> Option<Trial> {
    turn.say(Reason::Superseded, "a newer template came: the rest of the old revision leaves");
    if turn.seen.stable.desired > 0 || turn.seen.stable.ready > 0 {
        return Some(trial);
    }
    promoted(turn, &trial);
    None
}
