//! The way to promotion: every stage from Settling to Promoting.

use chrono::{DateTime, Utc};

use super::back::abort;
use super::rest::remember_promoted;
use super::turn::Turn;
use crate::effect::Severity;
use crate::judge::{Unclear, Verdict};
use crate::observed::{Trouble, What, Workload};
use crate::plan::{OnInconclusive, OnLowTraffic, Step, Weight};
use crate::reason::Reason;
use crate::state::{Cause, Origin, Outcome, PausedBy, Promotion, Skip, Stable, Stage, Trial};

/// What became of a person's request.
pub(super) enum Answered {
    /// Nothing was asked, or nothing that ends the turn.
    Go(Trial),
    /// It was the turn's transition.
    Done(Option<Trial>),
}

/// A person comes before the plan. A request is answered once; one that must wait stays unanswered.
pub(super) fn answer(turn: &mut Turn<'_>, mut trial: Trial) -> Answered {
    let Some(ask) = turn.seen.ask.clone() else { return Answered::Go(trial) };
    if turn.next.answered.as_ref() == Some(&ask.token) {
        return Answered::Go(trial);
    }
    let since = turn.now;
    let step = step_of(&trial.stage);
    let no_way_back = is_handing_over(&trial.stage);
    let stage = match (ask.what, step) {
        (What::Pause, None) if !matches!(trial.stage, Stage::Promoting { .. }) => {
            return Answered::Go(trial); // waits for the first step
        }
        (What::Pause, Some(step)) => Some(Stage::Paused { step, since, by: PausedBy::Person }),
        (What::Promote, Some(step)) => {
            turn.say(Reason::PromotedByPerson, format!("{} took the step as passed", ask.who));
            Some(after(turn, step))
        }
        (What::PromoteFull, _) if !no_way_back => {
            trial.skip = Some(Skip::Person);
            turn.say(Reason::PromotedByPerson, format!("{} left out all steps", ask.who));
            Some(Stage::FastForward { since })
        }
        (What::Abort { hold }, _) if !no_way_back => {
            turn.next.answered = Some(ask.token);
            return Answered::Done(abort(turn, trial, Cause::Person { who: ask.who, hold }));
        }
        (What::Resume, _) => resumed(turn, &trial.stage),
        // What does not apply here is answered by doing nothing.
        (What::Pause | What::Promote | What::PromoteFull | What::Abort { .. } | What::Retry, _) => {
            None
        }
    };
    turn.next.answered = Some(ask.token);
    match stage {
        Some(stage) => {
            if let Stage::Paused { .. } = stage {
                turn.say(Reason::PausedByPerson, format!("{} paused the trial", ask.who));
            }
            trial.stage = stage;
            Answered::Done(Some(trial))
        }
        None => Answered::Go(trial),
    }
}

fn resumed(turn: &mut Turn<'_>, stage: &Stage) -> Option<Stage> {
    let Stage::Paused { step, by, .. } = *stage else { return None };
    Some(match by {
        PausedBy::Step => after(turn, step),
        PausedBy::Person | PausedBy::Inconclusive => Stage::Shifting { step, since: turn.now },
    })
}

fn is_handing_over(stage: &Stage) -> bool {
    matches!(stage, Stage::Promoting { part: Promotion::HandingOver | Promotion::Releasing, .. })
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

/// One turn of a trial that is on its way to promotion.
pub(super) fn forward(turn: &mut Turn<'_>, mut trial: Trial, work: &Workload) -> Option<Trial> {
    if let Some(cause) = harm(turn, &trial, work) {
        return abort(turn, trial, cause);
    }
    if trial.ready.is_none() && turn.seen.canary.ready > 0 {
        trial.ready = Some(turn.now);
    }
    match trial.stage {
        Stage::Settling { since } => settling(turn, trial, work, since),
        Stage::Starting { since } => starting(turn, trial, work, since),
        Stage::Shifting { step, since } => shifting(turn, trial, work, step, since),
        Stage::Baking { step, since } => baking(turn, trial, work, step, since),
        Stage::Paused { step, since, by } => Some(paused(turn, trial, step, since, by)),
        Stage::FastForward { since } => fast_forward(turn, trial, work, since),
        Stage::Promoting { part, since } => promoting(turn, trial, work, part, since),
        Stage::Aborting { .. }
        | Stage::Reverting { .. }
        | Stage::Restoring { .. }
        | Stage::Aborted { .. }
        | Stage::Watching { .. } => Some(trial),
    }
}

/// What aborts at once, from any stage that could still go back.
fn harm(turn: &Turn<'_>, trial: &Trial, work: &Workload) -> Option<Cause> {
    if is_handing_over(&trial.stage) || trial.skip == Some(Skip::StableDown) {
        return None; // no way back, or nothing to go back to
    }
    let canary = &turn.seen.canary;
    if let Some(trouble) = &canary.trouble
        && trouble.kind.is_certain()
    {
        return Some(trouble.cause());
    }
    let weighs = trial.stage.weight(turn.plan) > Weight::ZERO
        && !matches!(trial.stage, Stage::Shifting { .. } | Stage::FastForward { .. });
    if weighs && canary.ready == 0 && work.desired > 0 {
        return Some(canary.trouble.as_ref().map_or_else(
            || Cause::Environment { message: "no canary pod is ready any more".to_owned() },
            Trouble::cause,
        ));
    }
    if let Verdict::Fail(failure) = &turn.seen.verdict
        && is_judged(&trial.stage)
    {
        return Some(Cause::BadArtifact { message: failure.message.clone() });
    }
    None
}

/// Whether the canary may have traffic, so that a verdict means this trial.
fn is_judged(stage: &Stage) -> bool {
    matches!(
        stage,
        Stage::Shifting { .. }
            | Stage::Baking { .. }
            | Stage::Paused { .. }
            | Stage::Promoting { .. }
    )
}

fn settling(
    turn: &mut Turn<'_>,
    mut trial: Trial,
    work: &Workload,
    since: DateTime<Utc>,
) -> Option<Trial> {
    if turn.seen.stable.ready == 0 {
        trial.skip = Some(Skip::StableDown);
        turn.say(Reason::StableDown, "stable has no available pod: the canary takes over");
        trial.stage = Stage::FastForward { since: turn.now };
        return Some(trial);
    }
    if work.settled {
        turn.say(Reason::CanaryStarting, "canary pods start at weight 0");
        trial.stage = match trial.skip {
            Some(Skip::PromotedBefore) => {
                let text = "the revision was promoted before: it comes back without steps";
                turn.say(Reason::PromotedBefore, text);
                Stage::FastForward { since: turn.now }
            }
            _ => Stage::Starting { since: turn.now },
        };
        return Some(trial);
    }
    if turn.is_over(since, turn.plan.limits.settle) {
        let message = "the Deployment did not settle in time".to_owned();
        return abort(turn, trial, Cause::Environment { message });
    }
    turn.say(Reason::Settling, "waiting for one settled stable set");
    Some(trial)
}

fn starting(
    turn: &mut Turn<'_>,
    mut trial: Trial,
    work: &Workload,
    since: DateTime<Utc>,
) -> Option<Trial> {
    let size = turn.plan.canary_size(turn.plan.weight_at(0), work.desired);
    let stable_pinned = trial_is_pinned_home(turn);
    if turn.seen.canary.ready >= size && stable_pinned {
        trial.stage = enter(turn, 0);
        return Some(trial);
    }
    if turn.is_over(since, turn.plan.limits.ready) {
        let cause = late(turn, size);
        return abort(turn, trial, cause);
    }
    turn.say(
        Reason::CanaryStarting,
        format!("{} of {size} canary pods are ready", turn.seen.canary.ready),
    );
    Some(trial)
}

/// Every Service selects stable alone.
fn trial_is_pinned_home(turn: &Turn<'_>) -> bool {
    turn.next.stable.as_ref().is_some_and(|stable| turn.seen.traffic.pinned.is(&stable.revision))
}

/// The cause of pods that are not ready in time.
fn late(turn: &Turn<'_>, size: u32) -> Cause {
    let canary = &turn.seen.canary;
    canary.trouble.as_ref().map_or_else(
        || Cause::BadArtifact {
            message: format!("only {} of {size} canary pods became ready in time", canary.ready),
        },
        Trouble::cause,
    )
}

fn shifting(
    turn: &mut Turn<'_>,
    mut trial: Trial,
    work: &Workload,
    step: usize,
    since: DateTime<Utc>,
) -> Option<Trial> {
    let weight = turn.plan.weight_at(step);
    let size = turn.plan.canary_size(weight, work.desired);
    if super::ends::is_at(turn.plan, &turn.next, turn.seen, &trial, weight) {
        trial.stage = Stage::Baking { step, since: turn.now };
        turn.say(Reason::Baking, format!("weight {weight} is read back"));
        return Some(trial);
    }
    let ready = turn.seen.canary.ready >= size;
    let limit = if ready { turn.plan.limits.shift } else { turn.plan.limits.ready };
    if turn.is_over(since, limit) {
        let cause = if ready {
            let message = format!("weight {weight} was not accepted in time");
            Cause::Environment { message }
        } else {
            late(turn, size)
        };
        return abort(turn, trial, cause);
    }
    turn.say(Reason::WeightShifting, format!("weight {weight} is asked for"));
    Some(trial)
}

fn baking(
    turn: &mut Turn<'_>,
    mut trial: Trial,
    work: &Workload,
    step: usize,
    since: DateTime<Utc>,
) -> Option<Trial> {
    let weight = turn.plan.weight_at(step);
    let bake = match turn.plan.steps.get(step) {
        Some(Step::Weight { bake, .. }) => *bake,
        Some(Step::Pause { .. }) | None => chrono::TimeDelta::zero(),
    };
    let size = turn.plan.canary_size(weight, work.desired);
    let proven = is_proven(turn, weight) && turn.seen.canary.ready >= size;
    let baked = turn.is_over(since, bake);
    if proven && baked {
        trial.stage = after(turn, step);
        return Some(trial);
    }
    if proven {
        turn.say(Reason::BakeTime, format!("proven at {weight}; the minimum time is not over"));
        return Some(trial);
    }
    if baked && turn.is_over(since, bake + turn.plan.limits.verdict) {
        return undecided(turn, trial, step);
    }
    let (reason, message) = waiting_for(&turn.seen.verdict);
    turn.say(reason, message);
    Some(trial)
}

/// Whether the step may pass. Only Pass passes, but for what has no traffic by design, or nothing
/// to measure by the user's choice: there the pods' health is all there is.
fn is_proven(turn: &Turn<'_>, weight: Weight) -> bool {
    weight == Weight::ZERO
        || turn.plan.analysis.criteria.is_empty()
        || matches!(turn.seen.verdict, Verdict::Pass)
}

fn waiting_for(verdict: &Verdict) -> (Reason, String) {
    match verdict {
        Verdict::NeedMoreData { eta: Some(eta), metric } => (
            Reason::NeedMoreData,
            format!("{metric} needs more data, about {} s", eta.num_seconds()),
        ),
        Verdict::NeedMoreData { eta: None, metric } => {
            (Reason::NeedMoreData, format!("{metric} needs more data"))
        }
        Verdict::Error { metric, message } => {
            (Reason::MetricsUnavailable, format!("{metric}: {message}"))
        }
        Verdict::Inconclusive { why: Unclear::EnvironmentUnhealthy, metric } => {
            (Reason::EnvironmentUnhealthy, format!("{metric}: stable breaks the limit too"))
        }
        Verdict::Inconclusive { why: Unclear::PodSuspect, metric } => {
            (Reason::Baking, format!("{metric}: the effect rests on one pod"))
        }
        Verdict::Pass | Verdict::Fail(_) => (Reason::Baking, "judged".to_owned()),
    }
}

/// The step's deadline passed without a verdict. Never a pass; promotion without proof has a
/// name of its own and happens only where the plan says so and the traffic is what is missing.
fn undecided(turn: &mut Turn<'_>, mut trial: Trial, step: usize) -> Option<Trial> {
    let (_, message) = waiting_for(&turn.seen.verdict);
    let low_traffic = matches!(turn.seen.verdict, Verdict::NeedMoreData { .. });
    if low_traffic && turn.plan.on_low_traffic == OnLowTraffic::PromoteUnproven {
        trial.stage = after(turn, step);
        let message = format!("went on unproven: {message}");
        turn.notify(Severity::Warning, Reason::PromotedUnproven, message.clone());
        turn.say(Reason::PromotedUnproven, message);
        return Some(trial);
    }
    match turn.plan.on_inconclusive {
        OnInconclusive::Pause => {
            let message = format!("no verdict in time: {message}");
            turn.notify(Severity::Warning, Reason::PausedInconclusive, message.clone());
            turn.say(Reason::PausedInconclusive, message);
            trial.stage = Stage::Paused { step, since: turn.now, by: PausedBy::Inconclusive };
            Some(trial)
        }
        OnInconclusive::Abort => abort(turn, trial, Cause::Inconclusive { message }),
    }
}

fn paused(
    turn: &mut Turn<'_>,
    mut trial: Trial,
    step: usize,
    since: DateTime<Utc>,
    by: PausedBy,
) -> Trial {
    match by {
        PausedBy::Person => turn.say(Reason::PausedByPerson, "waits for a person"),
        PausedBy::Inconclusive => {
            turn.say(Reason::PausedInconclusive, "no verdict: waits for a person");
        }
        PausedBy::Step => {
            turn.say(Reason::PauseStep, "the plan waits here");
            if let Some(Step::Pause { resume_after: Some(limit) }) = turn.plan.steps.get(step)
                && turn.is_over(since, *limit)
            {
                trial.stage = after(turn, step);
            }
        }
    }
    trial
}

/// The stage that follows a step that passed.
fn after(turn: &mut Turn<'_>, step: usize) -> Stage {
    if step + 1 < turn.plan.steps.len() {
        enter(turn, step + 1)
    } else {
        turn.say(Reason::Promoting, "all steps passed: the canary takes over");
        Stage::Promoting { part: Promotion::Filling, since: turn.now }
    }
}

fn enter(turn: &mut Turn<'_>, step: usize) -> Stage {
    let since = turn.now;
    match turn.plan.steps.get(step) {
        Some(Step::Pause { .. }) => {
            turn.say(Reason::PauseStep, "the plan waits here");
            Stage::Paused { step, since, by: PausedBy::Step }
        }
        Some(Step::Weight { weight, .. }) => {
            turn.say(Reason::StepPassed, format!("weight {weight} is next"));
            Stage::Shifting { step, since }
        }
        None => Stage::Promoting { part: Promotion::Filling, since },
    }
}

fn fast_forward(
    turn: &mut Turn<'_>,
    mut trial: Trial,
    work: &Workload,
    since: DateTime<Utc>,
) -> Option<Trial> {
    let size = needed(&trial, work);
    if turn.seen.canary.ready >= size {
        turn.say(Reason::Promoting, "the canary takes all traffic");
        trial.stage = Stage::Promoting { part: Promotion::Filling, since: turn.now };
        return Some(trial);
    }
    if turn.is_over(since, turn.plan.limits.ready) {
        let cause = late(turn, size);
        return abort(turn, trial, cause);
    }
    let reason = match trial.skip {
        Some(Skip::PromotedBefore) => Reason::PromotedBefore,
        Some(Skip::Person) => Reason::PromotedByPerson,
        Some(Skip::StableDown) | None => Reason::StableDown,
    };
    turn.say(reason, format!("{} of {size} canary pods are ready", turn.seen.canary.ready));
    Some(trial)
}

/// Pods before the canary may take everything: all of them, or one where nothing serves.
fn needed(trial: &Trial, work: &Workload) -> u32 {
    if trial.skip == Some(Skip::StableDown) { 1 } else { work.desired }
}

fn promoting(
    turn: &mut Turn<'_>,
    mut trial: Trial,
    work: &Workload,
    part: Promotion,
    since: DateTime<Utc>,
) -> Option<Trial> {
    let limits = turn.plan.limits;
    let (done, limit) = match part {
        Promotion::Filling => {
            let full = turn.seen.canary.ready >= needed(&trial, work);
            let at = super::ends::is_at(turn.plan, &turn.next, turn.seen, &trial, Weight::FULL);
            (full && at, Some(limits.ready + limits.shift))
        }
        Promotion::Pinning => {
            (super::ends::is_promoted(turn.plan, turn.seen, &trial), Some(limits.shift))
        }
        Promotion::Waiting => {
            let over = turn.is_over(since, limits.scale_down_delay);
            let full = turn.seen.canary.ready >= work.desired;
            (over && full, Some(limits.scale_down_delay + limits.ready))
        }
        Promotion::HandingOver => (work.adopted.as_ref() == Some(&trial.canary), None),
        Promotion::Releasing => (!work.paused && !turn.seen.traffic.held, None),
    };
    if done {
        return promotion_after(turn, trial, part);
    }
    if let Some(limit) = limit
        && turn.is_over(since, limit)
    {
        let message = "the traffic did not follow the promotion in time".to_owned();
        return abort(turn, trial, Cause::Environment { message });
    }
    match part {
        Promotion::Filling | Promotion::Pinning => {
            turn.say(Reason::Promoting, "the canary is taking over");
        }
        Promotion::Waiting => turn.say(Reason::ScaleDownDelay, "the way back is one write"),
        Promotion::HandingOver | Promotion::Releasing => {
            turn.say(Reason::HandingOver, "the Deployment is taking over the tested pods");
            if turn.is_over(since, limits.hand_over) {
                let message = "the Deployment has not taken over the tested pods".to_owned();
                turn.say(Reason::HandOverSlow, message.clone());
                turn.notify_once(&mut trial, Severity::Critical, Reason::HandOverSlow, message);
            }
        }
    }
    Some(trial)
}

fn promotion_after(turn: &mut Turn<'_>, mut trial: Trial, part: Promotion) -> Option<Trial> {
    let part = match part {
        Promotion::Filling => Promotion::Pinning,
        Promotion::Pinning => Promotion::Waiting,
        Promotion::Waiting => Promotion::HandingOver,
        Promotion::HandingOver => Promotion::Releasing,
        Promotion::Releasing => {
            promoted(turn, &trial);
            return None;
        }
    };
    turn.say(
        if part == Promotion::Waiting { Reason::ScaleDownDelay } else { Reason::Promoting },
        match part {
            Promotion::Waiting => "all traffic is on the new revision; the way back is one write",
            Promotion::HandingOver => "the Deployment is asked to take over the tested pods",
            Promotion::Releasing => "the Deployment has the tested pods; holds are released",
            Promotion::Filling | Promotion::Pinning => "Services are pinned to the new revision",
        },
    );
    trial.stage = Stage::Promoting { part, since: turn.now };
    Some(trial)
}

fn promoted(turn: &mut Turn<'_>, trial: &Trial) {
    let message = format!("{} is stable now", trial.canary);
    turn.notify(Severity::Info, Reason::Promoted, message.clone());
    turn.say(Reason::Promoted, message);
    turn.end(trial, Outcome::Promoted);
    let git = match &trial.origin {
        Origin::Git { bad, .. } => Some(bad.clone()),
        Origin::OutOfBand { .. } | Origin::Unknown => {
            turn.next.stable.as_ref().and_then(|stable| stable.git.clone())
        }
    };
    remember_promoted(turn, trial.canary.clone());
    turn.next.stable = Some(Stable { revision: trial.canary.clone(), git });
}
