//! What must hold at every turn of every test, whatever the world does. Each rule keeps its number
//! for good, so that a failure can be looked up in old reports.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use tidegate_engine::effect::{Effect, RevertOrder};
use tidegate_engine::judge::Verdict;
use tidegate_engine::observed::{Observed, Pinned, RouteView};
use tidegate_engine::plan::{Gate, GateAt, Mode, Plan, Traffic, Weight};
use tidegate_engine::report::check_conditions;
use tidegate_engine::sim::Cluster;
use tidegate_engine::state::{
    Cause, GateAnswer, Outcome, Place, Promotion, Revision, Stage, State, Trial, TrialId,
};
use tidegate_engine::{Decision, questions, report};

/// Remembers what a single turn cannot show.
#[derive(Clone, Default)]
pub(crate) struct Watch {
    /// Trials that turned around.
    aborted: BTreeSet<TrialId>,
    /// The one order each trial may give.
    orders: BTreeMap<TrialId, RevertOrder>,
    /// Every stage that was reached, for the tests that want to reach all.
    pub(crate) reached: BTreeSet<String>,
}

impl Watch {
    /// Holds one decision to the invariants.
    pub(crate) fn check(
        &mut self,
        plan: &Plan,
        state: &State,
        seen: &Observed,
        decision: &Decision,
        now: DateTime<Utc>,
    ) {
        let Decision { next, effects, .. } = decision;
        self.reached.insert(format!("{:?}", next.phase()));
        check_conditions(&report(plan, seen, decision)).unwrap();
        never_open_to_the_unjudged(next, seen, effects);
        traffic_comes_first(next, seen, effects);
        self.an_aborted_trial_never_rises(state, next, effects);
        one_trial_at_a_time(state, next, seen);
        only_pass_or_a_person_goes_on(plan, state, next, seen);
        what_is_suspended_takes_no_step(plan, state, next, seen);
        self.a_revert_is_always_the_same(effects);
        reverts_only_the_guilty(next, effects);
        quarantined_stays_out(state, next, seen);
        weights_follow_the_plan(plan, next, seen, effects);
        pods_leave_after_their_requests(plan, next, seen, effects, now);
        gates_are_not_passed_by(plan, state, next, seen);
        nobody_is_asked_on_the_way_home(plan, next, now);
        never_more_pods_than_there_is_room_for(plan, seen, effects);
        if plan.mode == Mode::Observe && state.trial.is_none() {
            let touched =
                effects.iter().any(|e| !matches!(e, Effect::Announce(_) | Effect::Release));
            assert!(!touched, "Observe touches nothing: {effects:?}");
        }
        if let Some(ask) = &seen.ask
            && decision.next.answered.as_ref() == Some(&ask.token)
            && state.answered == next.answered
            && state.trial.is_none()
        {
            assert!(
                next.trial.as_ref().is_none_or(
                    |trial| trial.skip.is_none() || next.promoted.contains(&trial.canary)
                ),
                "an answered request acts again"
            );
        }
    }

    /// I7: after Aborted nothing of the trial rises again.
    fn an_aborted_trial_never_rises(&mut self, state: &State, next: &State, effects: &[Effect]) {
        if let Some(trial) = &state.trial
            && is_going_back(&trial.stage)
        {
            self.aborted.insert(trial.id.clone());
        }
        let Some(trial) = &next.trial else { return };
        if !self.aborted.contains(&trial.id) {
            return;
        }
        assert!(is_going_back(&trial.stage), "an aborted trial went on: {:?}", trial.stage);
        for effect in effects {
            match effect {
                Effect::Raise { .. } | Effect::HandOver { .. } | Effect::RunGate(_) => {
                    panic!("rises: {effect:?}")
                }
                Effect::Route { weight } => assert_eq!(*weight, Weight::ZERO),
                Effect::Pin { revision } => assert_ne!(*revision, trial.canary),
                _ => {}
            }
        }
    }

    /// I8: the idempotency key always stands for the same revert.
    fn a_revert_is_always_the_same(&mut self, effects: &[Effect]) {
        for effect in effects {
            if let Effect::Revert(order) = effect {
                let known = self.orders.entry(order.trial.clone()).or_insert_with(|| order.clone());
                assert_eq!(known, order);
                assert_ne!(order.good, order.bad);
            }
        }
    }
}

/// Holds the world after one effect to the invariants.
pub(crate) fn check_world(plan: &Plan, state: &State, cluster: &Cluster) {
    // I8: exactly one commit with a given trailer.
    let mut trials: Vec<_> =
        cluster.branch.commits().iter().filter_map(|commit| commit.trial.as_ref()).collect();
    let all = trials.len();
    trials.sort();
    trials.dedup();
    assert_eq!(all, trials.len(), "a trial was reverted twice: {:?}", cluster.branch);
    // I23: with a switch the Services never select both sets.
    if plan.traffic == Traffic::Switch
        && let Some(Trial { stage: Stage::Baking { .. } | Stage::Paused { .. }, .. }) = &state.trial
    {
        assert!(matches!(cluster.pinned, Pinned::To(_)), "{:?}", cluster.pinned);
    }
}

pub(crate) fn is_going_back(stage: &Stage) -> bool {
    matches!(
        stage,
        Stage::Aborting { .. }
            | Stage::Reverting { .. }
            | Stage::Restoring { .. }
            | Stage::Aborted { .. }
    )
}

fn is_bypassed(trial: &Trial) -> bool {
    matches!(trial.stage, Stage::Aborting { cause: Cause::Bypassed | Cause::WorkloadGone, .. })
}

/// Never `Unpause` while the template is neither stable nor adopted, and each write says which
/// template it was decided on.
pub(crate) fn never_open_to_the_unjudged(next: &State, seen: &Observed, effects: &[Effect]) {
    let Some(work) = &seen.workload else {
        let touches =
            |effect: &Effect| matches!(effect, Effect::Unpause { .. } | Effect::Restore { .. });
        assert!(!effects.iter().any(touches), "writes to a Deployment that is gone");
        return;
    };
    for effect in effects {
        match effect {
            Effect::Unpause { revision } => {
                assert_eq!(*revision, work.template, "decided on the template that was seen");
                let stable = next.stable.as_ref().unwrap();
                let adopted = work.adopted.as_ref() == Some(revision);
                assert!(stable.revision == *revision || adopted, "{revision} is unjudged");
            }
            Effect::Restore { revision, over } => {
                assert_eq!(*over, work.template);
                assert_eq!(*revision, next.stable.as_ref().unwrap().revision);
                assert_eq!(*over, next.trial.as_ref().unwrap().canary);
            }
            Effect::HandOver { revision, replicas } => {
                assert_eq!(*revision, work.template);
                let pinned = &seen.traffic.pinned;
                let early = *replicas <= work.surge && *replicas < work.desired;
                let spread = early && matches!(pinned, Pinned::All | Pinned::NoService);
                assert!(pinned.is_only(revision) || spread, "traffic first, owner second");
            }
            _ => {}
        }
    }
}

/// On every way home what moves traffic comes before everything else, and what rests on it waits.
fn traffic_comes_first(next: &State, seen: &Observed, effects: &[Effect]) {
    let Some(trial) = &next.trial else { return };
    if !is_going_back(&trial.stage) {
        return;
    }
    let is_traffic = |effect: &Effect| {
        matches!(
            effect,
            Effect::Route { .. } | Effect::Pin { .. } | Effect::Unpin | Effect::RouteHome
        )
    };
    let first_other = effects.iter().position(|effect| !is_traffic(effect));
    let last_traffic = effects.iter().rposition(is_traffic);
    if let (Some(other), Some(traffic)) = (first_other, last_traffic) {
        assert!(traffic < other, "traffic first: {effects:?}");
    }
    let exposed = matches!(seen.traffic.route, Some(RouteView::Split(weight)) if weight > Weight::ZERO)
        || seen.traffic.pinned.is(&trial.canary);
    if exposed && !is_bypassed(trial) && seen.workload.is_some() {
        assert!(effects.first().is_some_and(is_traffic), "{:?}: {effects:?}", trial.stage);
    }
    if let Stage::Aborting { cause: Cause::Bypassed, .. } = trial.stage
        && matches!(seen.traffic.pinned, Pinned::To(_) | Pinned::Mixed)
    {
        assert_eq!(effects.first(), Some(&Effect::Unpin), "unpin first");
    }
}

/// I20: the old trial ends, with its pods gone, before the next begins.
fn one_trial_at_a_time(state: &State, next: &State, seen: &Observed) {
    if let (Some(before), Some(after)) = (&state.trial, &next.trial) {
        assert_eq!(before.id, after.id);
        assert_eq!(before.canary, after.canary);
        assert_eq!(before.origin, after.origin);
    }
    let began = state.trial.is_none() && next.trial.is_some();
    let promoted = matches!(&next.last, Some(last) if last.outcome == Outcome::Promoted);
    assert!(!began || !seen.canary.exists || promoted, "the old canary is still there");
}

/// I2, I19: a step passes on Pass, or on what a person or the plan said in so many words.
fn only_pass_or_a_person_goes_on(plan: &Plan, state: &State, next: &State, seen: &Observed) {
    let (Some(before), Some(after)) = (&state.trial, &next.trial) else { return };
    let rises = after.stage.weight(plan) > before.stage.weight(plan);
    let from_step = matches!(
        before.stage,
        Stage::Shifting { .. } | Stage::Baking { .. } | Stage::Paused { .. }
    );
    if !rises || !from_step {
        return;
    }
    let before_switch = before.stage.weight(plan) == Weight::ZERO;
    let person = next.answered != state.answered;
    let unproven = next.outbox.len() > state.outbox.len()
        && plan.on_low_traffic == tidegate_engine::plan::OnLowTraffic::PromoteUnproven
        && matches!(seen.verdict, Verdict::NeedMoreData { .. });
    let pause_over = matches!(before.stage, Stage::Paused { .. });
    let measured = !plan.analysis.criteria.is_empty();
    assert!(
        seen.verdict == Verdict::Pass
            || before_switch
            || person
            || unproven
            || pause_over
            || !measured,
        "{:?} went on with {:?}",
        before.stage,
        seen.verdict
    );
    // At weight 0 nobody asked for a verdict: requests there are people's who try it out.
    let failed = matches!(seen.verdict, Verdict::Fail(_)) && !before_switch;
    assert!(!failed || person, "went on with Fail");
}

/// I26: what is suspended starts no trial, takes no step and begins no hand-over; a hand-over that
/// began is finished.
fn what_is_suspended_takes_no_step(plan: &Plan, state: &State, next: &State, seen: &Observed) {
    if seen.fleet.suspended.is_empty() {
        return;
    }
    let Some(after) = &next.trial else { return };
    let Some(before) = &state.trial else {
        let watches = matches!(after.stage, Stage::Watching { .. });
        assert!(watches, "began while suspended: {after:?}");
        return;
    };
    let (was, is) = (before.stage.weight(plan), after.stage.weight(plan));
    assert!(is <= was, "rose from {was} to {is} while suspended");
    let hands_over = |trial: &Trial| {
        let part = Promotion::HandingOver;
        matches!(&trial.stage, Stage::Promoting { part: at, .. } if *at == part)
    };
    assert!(!hands_over(after) || hands_over(before), "a hand-over began while suspended");
}

/// I10: only a release that is to blame is reverted, never a template that is not Git's.
fn reverts_only_the_guilty(next: &State, effects: &[Effect]) {
    for effect in effects {
        let Effect::Revert(order) = effect else { continue };
        let trial = next.trial.as_ref().unwrap();
        let Stage::Reverting { cause, .. } = &trial.stage else {
            panic!("reverts in {:?}", trial.stage)
        };
        assert!(cause.is_blame(), "reverts for {cause:?}");
        assert!(!matches!(cause, Cause::Person { hold: true, .. }));
        assert_eq!(order.trial, trial.id);
    }
}

/// I11: what failed is not tried again by itself.
fn quarantined_stays_out(state: &State, next: &State, seen: &Observed) {
    let (None, Some(trial)) = (&state.trial, &next.trial) else { return };
    let failed = state.quarantine.iter().any(|failed| failed.revision == trial.canary);
    let asked = state.answered != next.answered;
    let deliberate = seen.workload.as_ref().is_some_and(|work| work.deliberate);
    let watching = matches!(trial.stage, Stage::Watching { .. });
    assert!(!failed || asked || deliberate || watching, "{} failed before", trial.canary);
}

/// I1, I2, I4: never a weight above the step's, never one for pods that are not ready.
fn weights_follow_the_plan(plan: &Plan, next: &State, seen: &Observed, effects: &[Effect]) {
    for effect in effects {
        match effect {
            Effect::Route { weight } => {
                let trial = next.trial.as_ref().unwrap();
                assert!(*weight <= trial.stage.weight(plan), "{weight} in {:?}", trial.stage);
                assert!(*weight == Weight::ZERO || seen.canary.ready > 0, "nobody is there");
            }
            Effect::Pin { revision } => {
                let trial = next.trial.as_ref().unwrap();
                let switches = *revision == trial.canary;
                let full = trial.stage.weight(plan) == Weight::FULL;
                assert!(!switches || (full && seen.canary.ready > 0), "nobody is there");
                let stable = &next.stable.as_ref().unwrap().revision;
                assert!(switches || revision == stable, "pinned to a third revision");
            }
            Effect::Raise { replicas, .. } => assert!(*replicas > 0),
            _ => {}
        }
    }
}

/// By Surge the canary is never larger than what a rolling update could have beside stable.
fn never_more_pods_than_there_is_room_for(plan: &Plan, seen: &Observed, effects: &[Effect]) {
    let Some(work) = seen.workload.as_ref().filter(|work| plan.is_surge(work)) else { return };
    for effect in effects {
        if let Effect::Raise { replicas, .. } = effect {
            assert!(*replicas <= work.surge.max(1), "{effect:?} beside {}", work.desired);
        }
    }
}

/// No `Retire` before the traffic is home and its requests had their time.
fn pods_leave_after_their_requests(
    plan: &Plan,
    next: &State,
    seen: &Observed,
    effects: &[Effect],
    now: DateTime<Utc>,
) {
    let retires = effects.iter().any(|effect| matches!(effect, Effect::Retire { .. }));
    if !retires || seen.workload.is_none() {
        return;
    }
    let trial = next.trial.as_ref().unwrap();
    assert!(is_going_back(&trial.stage), "retires in {:?}", trial.stage);
    let home = trial.home.unwrap();
    let drained = seen.traffic.pinned == Pinned::NoService
        || home.checked_add_signed(plan.limits.drain).is_none_or(|at| now >= at);
    assert!(drained, "requests are still running");
}

/// A place is left only when each of its gates has answered, and that was written down before; but
/// for a person's word, and for trials that leave out the steps.
fn gates_are_not_passed_by(plan: &Plan, state: &State, next: &State, seen: &Observed) {
    let (Some(before), Some(after)) = (&state.trial, &next.trial) else { return };
    if before.skip.is_some() || after.skip.is_some() || next.answered != state.answered {
        return;
    }
    let has = |at: GateAt| plan.gates.iter().any(|gate| gate.at == at);
    let place = match (&before.stage, &after.stage) {
        (Stage::Starting { .. }, Stage::Shifting { .. } | Stage::Paused { .. }) => Place::Start,
        (Stage::Baking { step, .. }, Stage::Shifting { step: to, .. })
        | (Stage::Baking { step, .. }, Stage::Paused { step: to, .. })
            if to > step =>
        {
            Place::Step(*step)
        }
        (Stage::Baking { step, .. }, Stage::Promoting { .. }) => {
            if has(GateAt::Promotion) {
                Place::Promotion
            } else {
                Place::Step(*step)
            }
        }
        (
            Stage::Promoting { part: Promotion::Waiting, .. },
            Stage::Promoting { part: Promotion::HandingOver, .. },
        ) => Place::Promoted,
        _ => return,
    };
    let answers = |gate: &Gate| {
        let at = before.gates.as_ref().filter(|at| at.place == place);
        let asked = at.and_then(|at| at.asked.iter().find(|asked| asked.gate == gate.name));
        asked.and_then(|asked| asked.answer)
    };
    for gate in plan.gates.iter().filter(|gate| gate.at == place.at()) {
        let passed = answers(gate).is_some_and(|answer| answer != GateAnswer::Held);
        assert!(passed, "{} was passed by at {place:?}: {:?}, {:?}", gate.name, before, seen.gates);
    }
}

/// Nothing stands between a Fail and weight 0.
fn nobody_is_asked_on_the_way_home(plan: &Plan, next: &State, now: DateTime<Utc>) {
    let goes_back = next.trial.as_ref().is_none_or(|trial| is_going_back(&trial.stage));
    let asked = questions(plan, next, now).gates;
    assert!(!goes_back || asked.is_empty(), "{asked:?}");
}

/// At rest all requests reach the stable revision, and nothing is held.
pub(crate) fn all_is_stable(plan: &Plan, state: &State, cluster: &Cluster) {
    let stable = &state.stable.as_ref().unwrap().revision;
    let shares: Vec<(Revision, f64)> = cluster.shares(plan.traffic).into_iter().collect();
    assert!(!cluster.held, "Services and routes are still held");
    assert!(matches!(cluster.pinned, Pinned::All | Pinned::NoService), "{:?}", cluster.pinned);
    assert_eq!(cluster.written, RouteView::Home);
    assert!(cluster.canary.is_none(), "the canary's set is still there");
    if cluster.ready(stable) > 0 && cluster.pinned != Pinned::NoService {
        assert_eq!(shares, vec![(stable.clone(), 1.0)]);
    }
    if cluster.exists && cluster.template == *stable {
        assert!(!cluster.paused, "paused at rest");
    }
}
