//! The way to promotion: every stage from Settling to Promoting.

use chrono::{DateTime, TimeDelta, Utc};

use super::back::{abort, is_taken};
use super::gates::{self, Passage, say_beside};
use super::promote;
use super::read_back::is_at;
use super::still;
use super::surge;
use super::turn::Turn;
use crate::effect::Severity;
use crate::judge::{Unclear, Verdict, words};
use crate::observed::{Pods, Trouble, Workload};
use crate::plan::{OnInconclusive, OnLowTraffic, Plan, Step, Traffic, Weight};
use crate::reason::Reason;
use crate::state::{Cause, PausedBy, Place, Promotion, Skip, Stage, Trial};

/// One turn of a trial that is on its way to promotion.
pub(super) fn forward(turn: &mut Turn<'_>, mut trial: Trial, work: &Workload) -> Option<Trial> {
    if let Some(cause) = harm(turn, &trial, work) {
        return Some(abort(turn, trial, cause));
    }
    let is_first = trial.ready.is_none() && turn.seen.canary.ready > 0;
    if is_first && !matches!(trial.stage, Stage::Starting { .. }) {
        trial.ready = Some(turn.now);
    }
    if !is_final(turn, &trial, work)
        && let Some(keeps) = still::keeps(turn, &trial)
    {
        return Some(still::stand(turn, trial, keeps));
    }
    still::go_on(turn, &mut trial);
    match trial.stage {
        Stage::Settling { since } => Some(settling(turn, trial, work, since)),
        Stage::Starting { since } => Some(starting(turn, trial, work, since)),
        Stage::Shifting { step, since } => Some(shifting(turn, trial, work, step, since)),
        Stage::Baking { step, since } => Some(baking(turn, trial, work, step, since)),
        Stage::Paused { step, since, by } => Some(paused(turn, trial, step, since, by)),
        Stage::FastForward { since } => Some(promote::fast_forward(turn, trial, work, since)),
        Stage::Promoting { part: Promotion::Spreading, since } => {
            Some(surge::spreading(turn, trial, work, since))
        }
        Stage::Promoting { part: Promotion::Surging, since } => {
            surge::surging(turn, trial, work, since)
        }
        Stage::Promoting { part: Promotion::Surged, since } => {
            surge::surged(turn, trial, work, since)
        }
        Stage::Promoting { part, since } => promote::promoting(turn, trial, work, part, since),
        Stage::Aborting { .. }
        | Stage::Reverting { .. }
        | Stage::Restoring { .. }
        | Stage::Aborted { .. }
        | Stage::Watching { .. } => Some(trial),
    }
}

/// The Deployment has the tested pods, or was asked to take them now.
fn is_final(turn: &Turn<'_>, trial: &Trial, work: &Workload) -> bool {
    promote::is_handing_over(&trial.stage) || is_taken(turn.seen, trial, work)
}

/// What aborts at once, from any stage that could still go back.
fn harm(turn: &Turn<'_>, trial: &Trial, work: &Workload) -> Option<Cause> {
    if surge::is_under_way(turn.seen, trial, work) || surge::is_out(turn.seen, trial) {
        return surge::harm(turn, trial);
    }
    if is_final(turn, trial, work) || promote::is_stable_down(turn, trial) {
        return None; // no way back, or nothing to go back to
    }
    let canary = &turn.seen.canary;
    if let Some(trouble) = &canary.trouble
        && trouble.kind.is_certain()
    {
        return Some(trouble.cause());
    }
    let weighs = trial.stage.weight(turn.plan) > Weight::ZERO
        && !matches!(trial.stage, Stage::FastForward { .. });
    if weighs && canary.ready == 0 && work.desired > 0 {
        return Some(canary.trouble.as_ref().map_or_else(
            || Cause::Environment { message: "no canary pod is ready any more".to_owned() },
            Trouble::cause,
        ));
    }
    if let Verdict::Fail(failure) = &turn.seen.verdict
        && trial.stage.is_judged(turn.plan)
    {
        return Some(Cause::BadArtifact { message: failure.message.clone() });
    }
    None
}

fn settling(turn: &mut Turn<'_>, mut trial: Trial, work: &Workload, since: DateTime<Utc>) -> Trial {
    if !turn.seen.stable.exists && work.adopted.as_ref() == Some(&trial.canary) {
        // Nothing of stable is left, and what the Deployment runs is this template already.
        return abort(turn, trial, Cause::Bypassed);
    }
    if turn.seen.stable.ready == 0 {
        trial.skip = Some(Skip::StableDown);
        turn.say(Reason::StableDown, "stable has no available pod: the canary takes over");
        trial.stage = Stage::FastForward { since: turn.now };
        return trial;
    }
    if work.settled {
        turn.say(Reason::CanaryStarting, "canary pods start at weight 0");
        trial.stage = match trial.skip {
            Some(Skip::PromotedBefore) => {
                let text = "the revision was promoted before: it comes back without steps";
                turn.say(Reason::PromotedBefore, text);
                Stage::FastForward { since: turn.now }
            }
            Some(Skip::Person | Skip::StableDown) => Stage::FastForward { since: turn.now },
            None => Stage::Starting { since: turn.now },
        };
        return trial;
    }
    if turn.is_over(since, turn.plan.limits.settle) {
        let message = "the Deployment did not settle in time".to_owned();
        return abort(turn, trial, Cause::Environment { message });
    }
    turn.say(Reason::Settling, "waiting for one settled stable set");
    trial
}

fn starting(turn: &mut Turn<'_>, mut trial: Trial, work: &Workload, since: DateTime<Utc>) -> Trial {
    let size = turn.plan.canary_size(turn.plan.weight_at(0), work);
    let is_up = turn.seen.canary.ready >= size && trial_is_pinned_home(turn);
    let is_late = turn.is_over(since, turn.plan.limits.ready);
    if is_up && turn.seen.is_blind && !is_late {
        let text = "the metric source does not read the canary's pods yet: no traffic before";
        turn.say(Reason::CanaryStarting, text);
        return trial;
    }
    if is_up {
        match gates::pass(turn, &mut trial, Place::Start, TimeDelta::zero()) {
            Passage::Open => {
                // Before there was no traffic, and so no evidence.
                trial.ready = Some(turn.now);
                trial.stage = enter(turn, 0);
            }
            Passage::Waits(reason, message) => turn.say(reason, message),
            Passage::Ends(cause) => return abort(turn, trial, cause),
        }
        return trial;
    }
    if trial.gates.is_some() {
        let (reason, message) = gates::begin_again(turn, &mut trial);
        turn.say(reason, message);
        return trial;
    }
    if is_late {
        let cause = if turn.seen.canary.ready < size {
            late(&turn.seen.canary, size)
        } else {
            let message = "the Services could not be pinned to stable in time".to_owned();
            Cause::Environment { message }
        };
        return abort(turn, trial, cause);
    }
    turn.say(
        Reason::CanaryStarting,
        format!("{} of {size} canary pods are ready", turn.seen.canary.ready),
    );
    trial
}

/// Every Service selects stable alone.
fn trial_is_pinned_home(turn: &Turn<'_>) -> bool {
    let pinned = &turn.seen.traffic.pinned;
    turn.next.stable.as_ref().is_some_and(|stable| pinned.is_only(&stable.revision))
}

/// The cause of pods that are not ready in time.
pub(super) fn late(pods: &Pods, size: u32) -> Cause {
    pods.trouble.as_ref().map_or_else(
        || Cause::BrokenPods {
            message: format!("only {} of {size} canary pods became ready in time", pods.ready),
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
) -> Trial {
    let weight = turn.plan.weight_at(step);
    let size = turn.plan.canary_size(weight, work);
    if has_share(turn, &trial, weight) {
        trial.stage = Stage::Baking { step, since: turn.now };
        turn.say(Reason::Baking, format!("weight {weight} is read back{}", by_pods(turn, weight)));
        return trial;
    }
    let ready = turn.seen.canary.ready >= size;
    let limit = if ready { turn.plan.limits.shift } else { turn.plan.limits.ready };
    if turn.is_over(since, limit) {
        let cause = if ready {
            let message = format!("weight {weight} was not accepted in time");
            Cause::Environment { message }
        } else {
            late(&turn.seen.canary, size)
        };
        return abort(turn, trial, cause);
    }
    turn.say(Reason::WeightShifting, format!("weight {weight} is asked for"));
    trial
}

/// The weight is what the world shows, read back.
fn has_share(turn: &Turn<'_>, trial: &Trial, weight: Weight) -> bool {
    turn.next
        .stable
        .as_ref()
        .is_some_and(|stable| is_at(turn.plan, &stable.revision, turn.seen, trial, weight))
}

fn baking(
    turn: &mut Turn<'_>,
    mut trial: Trial,
    work: &Workload,
    step: usize,
    since: DateTime<Utc>,
) -> Trial {
    let weight = turn.plan.weight_at(step);
    let bake = bake_of(turn.plan, step);
    let size = turn.plan.canary_size(weight, work);
    let has_share = has_share(turn, &trial, weight);
    let proven = is_proven(turn, weight) && turn.seen.canary.ready >= size && has_share;
    let baked = turn.is_over(since, bake);
    let passage = match gates::at_step(turn, &mut trial, step, proven && baked, bake) {
        Passage::Ends(cause) => return abort(turn, trial, cause),
        passage @ (Passage::Open | Passage::Waits(..)) => passage,
    };
    if proven && baked {
        if may_leave(turn, step, &passage) {
            trial.stage = after(turn, step);
        }
        return trial;
    }
    if proven {
        let (reason, message) = not_baked(turn, weight);
        say_beside(turn, &passage, reason, message);
        return trial;
    }
    let (reason, mut message) = if !has_share {
        (Reason::WeightShifting, format!("weight {weight} is not read back any more"))
    } else if is_proven(turn, weight) {
        (
            Reason::CanaryStarting,
            format!("{} of {size} canary pods are ready", turn.seen.canary.ready),
        )
    } else {
        waiting_for(&turn.seen.verdict)
    };
    let limit = bake.checked_add(&turn.plan.limits.verdict).unwrap_or(TimeDelta::MAX);
    if baked && turn.is_over(since, limit) {
        let starved = has_share && matches!(turn.seen.verdict, Verdict::NeedMoreData { .. });
        let starved = starved.then_some(passage);
        return undecided(turn, trial, step, message, starved);
    }
    message.push_str(&by_pods(turn, weight));
    say_beside(turn, &passage, reason, message);
    trial
}

/// Whether gates and window let the trial leave a step that has passed; if not, why is said.
fn may_leave(turn: &mut Turn<'_>, step: usize, passage: &Passage) -> bool {
    match passage {
        Passage::Open => !must_wait(turn, step),
        Passage::Waits(reason, message) => {
            turn.say(*reason, message.clone());
            false
        }
        Passage::Ends(_) => false,
    }
}

fn not_baked(turn: &Turn<'_>, weight: Weight) -> (Reason, String) {
    if weight == Weight::ZERO {
        let message = "no traffic before the switch: pods are watched";
        return (Reason::NoTrafficByDesign, message.to_owned());
    }
    let is_measured = !turn.plan.analysis.criteria.is_empty();
    let what = if is_measured { "proven" } else { "nothing is measured" };
    let share = by_pods(turn, weight);
    (Reason::BakeTime, format!("{what} at {weight}{share}; the minimum time is not over"))
}

/// By pods the share is another than the weight, and that of both arms' pods.
fn by_pods(turn: &Turn<'_>, weight: Weight) -> String {
    let Some(work) = &turn.seen.workload else { return String::new() };
    if turn.plan.traffic != Traffic::Pods || matches!(weight, Weight::ZERO | Weight::FULL) {
        return String::new();
    }
    let (canary, share) =
        (turn.plan.canary_size(weight, work), turn.plan.effective_share(weight, work));
    let all = work.desired.saturating_add(canary);
    format!(" ({canary} of {all} pods: {:.0} %)", share * 100.0)
}

/// The minimum time of a step; a pause has its own end.
fn bake_of(plan: &Plan, step: usize) -> TimeDelta {
    match plan.steps.get(step) {
        Some(Step::Weight { bake, .. }) => *bake,
        Some(Step::Pause { .. }) | None => TimeDelta::zero(),
    }
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
            format!("{metric} needs more data, about {}", words::duration(*eta)),
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
/// name of its own and happens only where the plan says so and the traffic is what is missing:
/// `starved`, with what the gates say.
fn undecided(
    turn: &mut Turn<'_>,
    mut trial: Trial,
    step: usize,
    message: String,
    starved: Option<Passage>,
) -> Trial {
    if let Some(mut passage) = starved
        && turn.plan.on_low_traffic == OnLowTraffic::PromoteUnproven
    {
        if passage == Passage::Open {
            let bake = bake_of(turn.plan, step);
            passage = gates::at_step(turn, &mut trial, step, true, bake);
        }
        if !may_leave(turn, step, &passage) {
            return trial;
        }
        trial.stage = after(turn, step);
        let message = format!("went on unproven: {message}");
        turn.notify(Severity::Warning, Reason::PromotedUnproven, message.clone());
        turn.say(Reason::PromotedUnproven, message);
        return trial;
    }
    match turn.plan.on_inconclusive {
        OnInconclusive::Pause => {
            let message = format!("no verdict in time: {message}");
            turn.notify(Severity::Warning, Reason::PausedInconclusive, message.clone());
            turn.say(Reason::PausedInconclusive, message);
            trial.stage = Stage::Paused { step, since: turn.now, by: PausedBy::Inconclusive };
            trial
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

/// A promotion waits for its window, at the last step: judged as before, and the way back as short.
fn must_wait(turn: &mut Turn<'_>, step: usize) -> bool {
    let is_last = step.saturating_add(1) >= turn.plan.steps.len();
    is_last && turn.is_outside_window("the canary is promoted")
}

/// The stage that follows a step that passed.
pub(super) fn after(turn: &mut Turn<'_>, step: usize) -> Stage {
    let next = step.saturating_add(1);
    if next < turn.plan.steps.len() {
        enter(turn, next)
    } else {
        turn.say(Reason::Promoting, "all steps passed: the canary takes over");
        Stage::Promoting { part: promote::first_part(turn), since: turn.now }
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
