//! How a Rollout leaves: stable serves, the Deployment is its owner's again, nothing of ours is
//! left. Pure, and without a plan: a Rollout that was never valid must be able to go as well.
//!
//! ```text
//!  stable's template back ─▶ Services on stable ─▶ routes home ─▶ drained ─▶ canary gone ─▶ released
//! ```
//! The template goes back first: freed with the failed one, the Deployment would roll it out.

use chrono::{DateTime, TimeDelta, Utc};
use tidegate_engine::defaults;
use tidegate_engine::effect::Effect;
use tidegate_engine::observed::{Observed, Pinned, RouteView, Workload};
use tidegate_engine::state::{Cause, Revision, Stage, State, Trial};

/// Who ended the trial, for status and notices.
const WHO: &str = "the deletion of the Rollout";

/// What is left to do before the Rollout may go.
#[derive(Clone, Debug, PartialEq)]
pub struct Farewell {
    /// To be recorded before the effects.
    pub next: State,
    /// In this order; empty when nothing of ours is left but the label on the Deployment.
    pub effects: Vec<Effect>,
    /// The Rollout may go once the Deployment's label is gone too.
    pub done: bool,
}

/// What follows from one look at the world while the Rollout is being deleted. `has_routes`: a
/// gateway splits the traffic, so that its answer is waited for.
pub fn farewell(seen: &Observed, state: &State, has_routes: bool, now: DateTime<Utc>) -> Farewell {
    let mut next = state.clone();
    if let Some(trial) = &mut next.trial {
        if matches!(trial.stage, Stage::Watching { .. }) {
            // Mode Observe touched nothing.
            return Farewell { next, effects: Vec::new(), done: true };
        }
        if !is_going_back(&trial.stage) && !is_taken(seen, trial) {
            let cause = Cause::Person { who: WHO.to_owned(), hold: true };
            trial.stage = Stage::Aborting { cause, since: now };
        }
    }
    let Some(home) = home_of(&next, seen) else {
        // Never seen at rest: nothing was pinned, raised or restored.
        let effects = if seen.traffic.held { vec![Effect::Release] } else { Vec::new() };
        let done = effects.is_empty();
        return Farewell { next, effects, done };
    };
    let rolls = next.trial.as_ref().is_some_and(is_rolled_back);
    let mut way = Way { seen, home: &home, rolls, effects: Vec::new() };
    way.restore();
    let trial = next.trial.as_mut();
    way.traffic(has_routes);
    let canary = seen.canary.exists.then_some(trial).flatten();
    if let Some(trial) = canary {
        if way.is_home(has_routes, &trial.stage, now) && trial.home.is_none() {
            trial.home = Some(now);
        }
        if trial.home.is_some_and(|at| now - at >= defaults::DRAIN) {
            way.effects.push(Effect::Retire { revision: trial.canary.clone() });
        }
    } else {
        way.release();
    }
    way.unpause();
    let done = way.effects.is_empty() && !seen.canary.exists;
    Farewell { effects: way.effects, next, done }
}

/// The revision that serves when all is done: stable, or a canary whose tested pods the Deployment
/// has already and does not give up again.
fn home_of(state: &State, seen: &Observed) -> Option<Revision> {
    if let Some(trial) = &state.trial
        && is_taken(seen, trial)
        && !is_rolled_back(trial)
    {
        return Some(trial.canary.clone());
    }
    state.stable.as_ref().map(|stable| stable.revision.clone())
}

fn is_taken(seen: &Observed, trial: &Trial) -> bool {
    seen.workload.as_ref().is_some_and(|work| work.adopted.as_ref() == Some(&trial.canary))
}

/// It failed while the Deployment was rolling it out: what it has of it is to leave.
fn is_rolled_back(trial: &Trial) -> bool {
    trial.surged && is_going_back(&trial.stage)
}

const fn is_going_back(stage: &Stage) -> bool {
    matches!(
        stage,
        Stage::Aborting { .. }
            | Stage::Reverting { .. }
            | Stage::Restoring { .. }
            | Stage::Aborted { .. }
    )
}

struct Way<'a> {
    seen: &'a Observed,
    home: &'a Revision,
    /// The failed template may be rolling out.
    rolls: bool,
    effects: Vec<Effect>,
}

impl Way<'_> {
    /// The Deployment, while it is held.
    fn held(&self) -> Option<&Workload> {
        self.seen.workload.as_ref().filter(|work| work.paused)
    }

    fn restore(&mut self) {
        let work = self.seen.workload.as_ref().filter(|work| work.paused || self.rolls);
        let over = work.filter(|work| work.template != *self.home).map(|work| &work.template);
        if let Some(over) = over.cloned() {
            self.effects.push(Effect::Restore { revision: self.home.clone(), over });
        }
    }

    /// Away from the canary. Where stable has no pods its Service stays as it is.
    fn traffic(&mut self, has_routes: bool) {
        let seen = self.seen;
        let shared = seen.traffic.pinned == Pinned::All && seen.canary.exists;
        let away = match &seen.traffic.pinned {
            Pinned::To(revision) => revision != self.home,
            Pinned::Mixed => true,
            Pinned::All => shared,
            Pinned::NoService => false,
        };
        if away && seen.canary.exists && seen.stable.ready > 0 {
            if !seen.traffic.held {
                self.effects.push(Effect::Hold);
            }
            self.effects.push(Effect::Pin { revision: self.home.clone() });
        }
        if has_routes && seen.canary.exists && seen.traffic.route != Some(RouteView::Home) {
            self.effects.push(Effect::RouteHome);
        }
    }

    /// Nothing goes to the canary any more. A gateway that never answers is not waited for for
    /// ever: the route itself was written.
    fn is_home(&self, has_routes: bool, stage: &Stage, now: DateTime<Utc>) -> bool {
        let seen = self.seen;
        let pinned = match &seen.traffic.pinned {
            Pinned::To(revision) => revision == self.home,
            Pinned::NoService => true,
            Pinned::All | Pinned::Mixed => false,
        };
        let late = now - stage.since() >= TimeDelta::max(defaults::SHIFT_DEADLINE, defaults::DRAIN);
        let routed = !has_routes || seen.traffic.route == Some(RouteView::Home) || late;
        (pinned || late || seen.stable.ready == 0) && routed
    }

    fn release(&mut self) {
        let traffic = &self.seen.traffic;
        if traffic.held || matches!(traffic.pinned, Pinned::To(_) | Pinned::Mixed) {
            self.effects.push(Effect::Release);
        }
    }

    fn unpause(&mut self) {
        let is_home = self.held().is_some_and(|work| work.template == *self.home);
        if is_home {
            self.effects.push(Effect::Unpause { revision: self.home.clone() });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use tidegate_engine::fleet::Fleet;
    use tidegate_engine::judge::Verdict;
    use tidegate_engine::observed::{Around, Deployed, Pods, TrafficView};
    use tidegate_engine::plan::Weight;
    use tidegate_engine::state::{Origin, Stable, TrialId};

    const START: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn revision(text: &str) -> Revision {
        Revision::new(text)
    }

    fn state(stage: Option<Stage>) -> State {
        State {
            stable: Some(Stable { revision: revision("astable"), git: None }),
            trial: stage.map(|stage| Trial {
                id: TrialId::new("t1"),
                canary: revision("acanary"),
                origin: Origin::Unknown,
                started: START,
                ready: None,
                shared: None,
                home: None,
                skip: None,
                handed: false,
                gates: None,
                class: None,
                stands: None,
                alone: false,
                surged: false,
                told: Vec::new(),
                stage,
            }),
            ..State::default()
        }
    }

    /// In the middle of a trial at 20 %.
    fn in_trial() -> Observed {
        Observed {
            is_blind: false,
            workload: Some(Workload {
                template: revision("acanary"),
                desired: 4,
                surge: 1,
                paused: true,
                deployed: Deployed::Unknown,
                settled: true,
                adopted: Some(revision("astable")),
                deliberate: false,
                restart: false,
            }),
            stable: Pods { exists: true, desired: 4, ready: 4, trouble: None },
            canary: Pods { exists: true, desired: 1, ready: 1, trouble: None },
            taken: Pods::default(),
            traffic: TrafficView {
                route: Weight::new(20).map(RouteView::Split),
                pinned: Pinned::To(revision("astable")),
                held: true,
                freed: false,
            },
            verdict: Verdict::NeedMoreData { eta: None, metric: String::new() },
            ask: None,
            revert: None,
            delivered: Vec::new(),
            gates: BTreeMap::new(),
            around: Around::default(),
            fleet: Fleet::default(),
        }
    }

    /// Carries an effect out on what was seen.
    fn carry_out(seen: &mut Observed, effect: &Effect) {
        match effect {
            Effect::Restore { revision, over } => {
                let work = seen.workload.as_mut().unwrap();
                assert_eq!(work.template, *over);
                work.template = revision.clone();
            }
            Effect::Hold => seen.traffic.held = true,
            Effect::Pin { revision } => {
                assert!(seen.traffic.held);
                seen.traffic.pinned = Pinned::To(revision.clone());
            }
            Effect::RouteHome => seen.traffic.route = Some(RouteView::Home),
            Effect::Retire { .. } => {
                assert_eq!(seen.traffic.route, Some(RouteView::Home));
                seen.canary = Pods::default();
            }
            Effect::Release => {
                assert!(!seen.canary.exists, "the canary would get requests");
                seen.traffic.pinned = Pinned::All;
                seen.traffic.held = false;
            }
            Effect::Unpause { revision } => {
                let work = seen.workload.as_mut().unwrap();
                assert_eq!(work.template, *revision, "what is freed rolls out");
                work.paused = false;
            }
            other => panic!("{other:?} is no part of leaving"),
        }
    }

    /// Leaves in turns of 5 s; the names of all effects in order.
    fn leave(mut seen: Observed, mut state: State) -> (Observed, Vec<String>) {
        let (mut told, mut now) = (Vec::new(), START);
        for _ in 0..100 {
            let Farewell { next, effects, done } = farewell(&seen, &state, true, now);
            state = next;
            if done {
                return (seen, told);
            }
            for effect in &effects {
                carry_out(&mut seen, effect);
                let text = format!("{effect:?}");
                told.push(text.split([' ', '{']).next().unwrap().to_owned());
            }
            now += TimeDelta::seconds(5);
        }
        panic!("never done: {seen:?}");
    }

    fn is_as_in_git(seen: &Observed) -> bool {
        let free = seen.workload.as_ref().is_none_or(|work| !work.paused);
        free && !seen.canary.exists
            && !seen.traffic.held
            && seen.traffic.pinned == Pinned::All
            && seen.traffic.route == Some(RouteView::Home)
    }

    #[test]
    fn in_a_trial_stables_template_goes_back_first_and_the_deployment_is_freed_with_it() {
        let baking = Stage::Baking { step: 0, since: START };
        let (seen, told) = leave(in_trial(), state(Some(baking)));
        assert_eq!(told[0], "Restore");
        assert_eq!(told, ["Restore", "RouteHome", "Unpause", "Retire", "Release"]);
        assert_eq!(seen.workload.as_ref().unwrap().template, revision("astable"));
        assert!(is_as_in_git(&seen));
    }

    #[test]
    fn a_held_failure_is_put_back_before_it_could_roll_out() {
        let mut seen = in_trial();
        seen.canary = Pods::default();
        seen.traffic.route = Some(RouteView::Home);
        let cause = Cause::Permission { message: "no".to_owned() };
        let aborted = Stage::Aborted { cause, revert: None, since: START };
        let (seen, told) = leave(seen, state(Some(aborted)));
        assert_eq!(told, ["Restore", "Release", "Unpause"]);
        assert!(is_as_in_git(&seen));
    }

    #[test]
    fn pods_that_the_deployment_has_taken_stay() {
        let mut seen = in_trial();
        let work = seen.workload.as_mut().unwrap();
        work.adopted = Some(revision("acanary"));
        seen.canary = Pods::default();
        seen.traffic.route = Some(RouteView::Home);
        seen.traffic.pinned = Pinned::To(revision("acanary"));
        let part = tidegate_engine::state::Promotion::HandingOver;
        let (seen, told) = leave(seen, state(Some(Stage::Promoting { part, since: START })));
        assert_eq!(told, ["Release", "Unpause"]);
        assert_eq!(seen.workload.as_ref().unwrap().template, revision("acanary"));
    }

    #[test]
    fn what_rolls_out_and_has_failed_is_rolled_back() {
        let mut seen = in_trial();
        let work = seen.workload.as_mut().unwrap();
        (work.adopted, work.paused) = (Some(revision("acanary")), false);
        seen.taken = std::mem::take(&mut seen.canary);
        seen.traffic.route = Some(RouteView::Home);
        seen.traffic.pinned = Pinned::All;
        let part = tidegate_engine::state::Promotion::Surging;
        let mut good = state(Some(Stage::Promoting { part, since: START }));
        let mut bad = state(Some(Stage::Aborting {
            cause: Cause::BadArtifact { message: "errors".to_owned() },
            since: START,
        }));
        for state in [&mut good, &mut bad] {
            state.trial.as_mut().unwrap().surged = true;
        }
        let (end, told) = leave(seen.clone(), bad);
        assert_eq!(told, ["Restore", "Release"]);
        assert_eq!(end.workload.as_ref().unwrap().template, revision("astable"));
        let (end, told) = leave(seen, good);
        assert_eq!(told, ["Release"]);
        assert_eq!(end.workload.as_ref().unwrap().template, revision("acanary"));
    }

    #[test]
    fn by_pods_the_canary_loses_its_share_before_it_goes() {
        let mut seen = in_trial();
        seen.traffic = TrafficView { route: None, pinned: Pinned::All, held: false, freed: false };
        let mut state = state(Some(Stage::Baking { step: 0, since: START }));
        let first = farewell(&seen, &state, false, START);
        let stable = revision("astable");
        let pin = Effect::Pin { revision: stable.clone() };
        assert!(first.effects.contains(&Effect::Hold) && first.effects.contains(&pin));
        assert!(!first.effects.contains(&Effect::Release));
        seen.traffic =
            TrafficView { route: None, pinned: Pinned::To(stable), held: true, freed: false };
        state = farewell(&seen, &first.next, false, START).next;
        let later = farewell(&seen, &state, false, START + defaults::DRAIN);
        assert!(matches!(later.effects.last(), Some(Effect::Retire { .. })), "{later:?}");
    }

    #[test]
    fn without_a_deployment_what_is_left_of_ours_goes_too() {
        let mut seen = in_trial();
        seen.workload = None;
        seen.stable = Pods::default();
        let (seen, told) = leave(seen, state(Some(Stage::Baking { step: 0, since: START })));
        assert_eq!(told, ["RouteHome", "Retire", "Release"]);
        assert!(is_as_in_git(&seen));
    }

    #[test]
    fn a_silent_gateway_keeps_nobody_from_leaving() {
        let mut seen = in_trial();
        seen.traffic.route = None;
        let mut state = state(Some(Stage::Baking { step: 0, since: START }));
        state = farewell(&seen, &state, true, START).next;
        let late = START + TimeDelta::hours(1);
        state = farewell(&seen, &state, true, late).next;
        let last = farewell(&seen, &state, true, late + defaults::DRAIN);
        assert!(last.effects.iter().any(|effect| matches!(effect, Effect::Retire { .. })));
    }

    #[test]
    fn at_rest_and_in_mode_observe_there_is_nothing_to_do() {
        let mut seen = in_trial();
        seen.canary = Pods::default();
        seen.traffic = TrafficView {
            route: Some(RouteView::Home),
            pinned: Pinned::All,
            held: false,
            freed: false,
        };
        seen.workload.as_mut().unwrap().paused = false;
        seen.workload.as_mut().unwrap().template = revision("astable");
        assert!(farewell(&seen, &state(None), true, START).done);
        assert!(farewell(&seen, &State::default(), true, START).done);
        let watching = state(Some(Stage::Watching { since: START }));
        assert!(farewell(&in_trial(), &watching, true, START).done);
    }
}
