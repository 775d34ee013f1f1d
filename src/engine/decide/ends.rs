//! What a state wants of the world, less what the world shows already.

use chrono::{DateTime, Utc};

use crate::effect::Effect;
use crate::observed::{Observed, Pinned, RouteView, Workload};
use crate::plan::{Mode, Plan, Traffic, Weight};
use crate::state::{Promotion, Revision, Skip, Stage, State, Trial};

/// The effects of a state, in the order in which to carry them out.
pub(super) fn ends(plan: &Plan, next: &State, seen: &Observed, now: DateTime<Utc>) -> Vec<Effect> {
    let mut wants = Wants { plan, seen, now, effects: Vec::new() };
    if let (Some(work), Some(stable)) = (&seen.workload, &next.stable)
        && plan.mode == Mode::Enforce
    {
        match &next.trial {
            Some(trial) => wants.on_trial(trial, &stable.revision, work),
            None => wants.at_rest(&stable.revision, work),
        }
    }
    let mut effects = wants.effects;
    let undelivered =
        next.outbox.iter().filter(|notice| !seen.delivered.contains(&notice.id)).cloned();
    effects.extend(undelivered.map(Effect::Announce));
    effects
}

struct Wants<'a> {
    plan: &'a Plan,
    seen: &'a Observed,
    now: DateTime<Utc>,
    effects: Vec<Effect>,
}

impl Wants<'_> {
    /// As in Git, with nothing held. A template that is not stable's stays held by its gate.
    fn at_rest(&mut self, stable: &Revision, work: &Workload) {
        if work.template == *stable && (work.paused || self.seen.traffic.held) {
            self.effects.push(Effect::Release);
        }
    }

    fn on_trial(&mut self, trial: &Trial, stable: &Revision, work: &Workload) {
        match &trial.stage {
            Stage::Settling { .. } => {
                if !work.settled {
                    self.effects.push(Effect::Settle { keep: stable.clone() });
                }
            }
            Stage::Starting { .. } => {
                self.hold(stable);
                let first = self.plan.weight_at(0);
                self.raise(trial, self.plan.canary_size(first, work.desired));
            }
            Stage::Shifting { .. } | Stage::Baking { .. } | Stage::Paused { .. } => {
                let weight = trial.stage.weight(self.plan);
                self.raise(trial, self.plan.canary_size(weight, work.desired));
                self.give_share(trial, stable, weight, work);
            }
            Stage::FastForward { .. } => {
                if trial.skip == Some(Skip::StableDown) {
                    self.hold_only();
                } else {
                    self.hold(stable);
                }
                self.raise(trial, work.desired);
            }
            Stage::Promoting { part, .. } => self.promote(trial, stable, work, *part),
            Stage::Aborting { .. } => self.go_home(trial, stable),
            Stage::Reverting { order, .. } => {
                self.go_home(trial, stable);
                self.effects.push(Effect::Revert(order.clone()));
                self.retire(trial);
            }
            Stage::Restoring { .. } => {
                self.go_home(trial, stable);
                if work.template == trial.canary {
                    self.effects.push(Effect::Restore { revision: stable.clone() });
                } else if work.template == *stable && work.paused {
                    self.effects.push(Effect::Unpause);
                }
                self.retire(trial);
            }
            Stage::Aborted { .. } => {
                self.go_home(trial, stable);
                self.retire(trial);
            }
            Stage::Watching { .. } => {}
        }
        // A trial that ends without a failure still has to leave the field.
        if let Stage::Aborting { .. } = trial.stage
            && trial.home.is_some()
        {
            self.retire(trial);
        }
    }

    fn hold_only(&mut self) {
        if !self.seen.traffic.held {
            self.effects.push(Effect::Hold);
        }
    }

    /// Our hold first, so that nobody undoes the pin.
    fn hold(&mut self, stable: &Revision) {
        self.hold_only();
        if !self.seen.traffic.pinned.is(stable) {
            self.effects.push(Effect::Pin { revision: stable.clone() });
        }
    }

    fn raise(&mut self, trial: &Trial, replicas: u32) {
        // Never lowered on the way: a set that was larger once serves the way back as well.
        if replicas > 0 && (!self.seen.canary.exists || self.seen.canary.desired < replicas) {
            self.effects.push(Effect::Raise { revision: trial.canary.clone(), replicas });
        }
    }

    /// The share follows the pods: never a weight for pods that are not there.
    fn give_share(&mut self, trial: &Trial, stable: &Revision, weight: Weight, work: &Workload) {
        if self.seen.canary.ready < self.plan.canary_size(weight, work.desired) {
            return;
        }
        match self.plan.traffic {
            Traffic::Routes => self.route(weight),
            Traffic::Pods | Traffic::Switch if weight == Weight::FULL => self.pin(&trial.canary),
            Traffic::Pods if weight > Weight::ZERO => {
                if self.seen.traffic.pinned != Pinned::All {
                    self.effects.push(Effect::Unpin);
                }
            }
            Traffic::Pods | Traffic::Switch => self.pin(stable),
        }
    }

    fn route(&mut self, weight: Weight) {
        if self.seen.traffic.route != Some(RouteView::Split(weight)) {
            self.effects.push(Effect::Route { weight });
        }
    }

    fn pin(&mut self, revision: &Revision) {
        if !self.seen.traffic.pinned.is(revision) {
            self.effects.push(Effect::Pin { revision: revision.clone() });
        }
    }

    fn promote(&mut self, trial: &Trial, stable: &Revision, work: &Workload, part: Promotion) {
        self.raise(trial, work.desired);
        match part {
            Promotion::Filling => {
                let enough = if trial.skip == Some(Skip::StableDown) { 1 } else { work.desired };
                if self.seen.canary.ready < enough {
                    return;
                }
                if self.plan.traffic == Traffic::Routes {
                    self.route(Weight::FULL);
                } else {
                    self.give_share(trial, stable, Weight::FULL, work);
                }
            }
            Promotion::Pinning | Promotion::Waiting => {
                self.pin(&trial.canary);
                let pinned = self.seen.traffic.pinned.is(&trial.canary);
                if self.plan.traffic == Traffic::Routes
                    && pinned
                    && self.seen.traffic.route != Some(RouteView::Home)
                {
                    self.effects.push(Effect::RouteHome);
                }
            }
            Promotion::HandingOver => {
                if work.adopted.as_ref() != Some(&trial.canary) {
                    self.effects.push(Effect::HandOver { revision: trial.canary.clone() });
                }
            }
            Promotion::Releasing => {
                if work.paused || self.seen.traffic.held {
                    self.effects.push(Effect::Release);
                }
            }
        }
    }

    /// Traffic first. Where the Service points at the canary, turning it is what moves traffic;
    /// everywhere else the route's weight is.
    fn go_home(&mut self, trial: &Trial, stable: &Revision) {
        let traffic = &self.seen.traffic;
        let pinned_away = traffic.pinned.is(&trial.canary) || traffic.pinned == Pinned::Mixed;
        let shared = self.plan.traffic != Traffic::Routes && traffic.pinned == Pinned::All;
        if pinned_away || (shared && self.seen.canary.exists) {
            self.effects.push(Effect::Pin { revision: stable.clone() });
        }
        if self.plan.traffic == Traffic::Routes && !is_route_home(traffic.route) {
            self.effects.push(Effect::Route { weight: Weight::ZERO });
        }
    }

    /// Only after requests in flight had time to end.
    fn retire(&mut self, trial: &Trial) {
        let drained = trial
            .home
            .and_then(|home| home.checked_add_signed(self.plan.limits.drain))
            .is_some_and(|at| self.now >= at);
        if drained && self.seen.canary.exists {
            self.effects.push(Effect::Retire { revision: trial.canary.clone() });
        }
    }
}

fn is_route_home(route: Option<RouteView>) -> bool {
    matches!(route, Some(RouteView::Home | RouteView::Split(Weight::ZERO)))
}

/// The weight is what the world shows, read back.
pub(super) fn is_at(
    plan: &Plan,
    next: &State,
    seen: &Observed,
    trial: &Trial,
    weight: Weight,
) -> bool {
    let Some(stable) = &next.stable else { return false };
    match plan.traffic {
        Traffic::Routes if weight == Weight::ZERO => is_route_home(seen.traffic.route),
        Traffic::Routes => seen.traffic.route == Some(RouteView::Split(weight)),
        Traffic::Pods | Traffic::Switch if weight == Weight::FULL => {
            seen.traffic.pinned.is(&trial.canary)
        }
        Traffic::Pods if weight > Weight::ZERO => {
            let desired = seen.workload.as_ref().map_or(0, |work| work.desired);
            seen.traffic.pinned == Pinned::All
                && seen.canary.ready >= plan.canary_size(weight, desired)
        }
        Traffic::Pods | Traffic::Switch => seen.traffic.pinned.is(&stable.revision),
    }
}

/// Services select the canary and the routes name the Service alone: the way back is one write.
pub(super) fn is_promoted(plan: &Plan, seen: &Observed, trial: &Trial) -> bool {
    seen.traffic.pinned.is(&trial.canary)
        && (plan.traffic != Traffic::Routes || seen.traffic.route == Some(RouteView::Home))
}

/// No request can reach the canary any more.
pub(super) fn is_home(plan: &Plan, seen: &Observed, trial: &Trial) -> bool {
    if !seen.canary.exists {
        return true;
    }
    let away = seen.traffic.pinned.is(&trial.canary) || seen.traffic.pinned == Pinned::Mixed;
    let shared = plan.traffic != Traffic::Routes && seen.traffic.pinned == Pinned::All;
    let routed = plan.traffic == Traffic::Routes && !is_route_home(seen.traffic.route);
    !away && !shared && !routed
}
