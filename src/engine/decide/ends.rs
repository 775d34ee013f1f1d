//! What a state wants of the world, less what the world shows already.

use chrono::{DateTime, Utc};

use super::back::is_taken;
use super::read_back::{at_weight, is_free, is_home, is_route_home, is_shared};
use super::surge;
use crate::effect::{Effect, RevertOutcome};
use crate::observed::{GateSays, Observed, Pinned, RouteView, Workload};
use crate::plan::{GateKind, Mode, Plan, Traffic, Weight};
use crate::state::{Cause, Promotion, Revision, Skip, Stage, State, Trial};

/// The effects of a state, in the order in which to carry them out: traffic, pods, Git, people.
pub(super) fn ends(plan: &Plan, next: &State, seen: &Observed, now: DateTime<Utc>) -> Vec<Effect> {
    let mut wants = Wants { plan, seen, now, effects: Vec::new() };
    let stable = next.stable.as_ref().map(|stable| &stable.revision);
    match (&next.trial, &seen.workload, stable) {
        (Some(trial), Some(work), Some(stable)) => wants.on_trial(trial, stable, work),
        (Some(trial), _, _) => wants.orphaned(trial),
        (None, Some(work), Some(stable)) => wants.at_rest(stable, work),
        (None, _, _) => wants.release(),
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
        self.release();
        if self.plan.mode == Mode::Enforce && work.template == *stable {
            self.unpause(stable, work);
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
                self.hold();
                self.pin(stable);
                let first = self.plan.weight_at(0);
                self.raise(trial, self.plan.canary_size(first, work));
            }
            Stage::Shifting { .. } | Stage::Baking { .. } | Stage::Paused { .. } => {
                let weight = trial.stage.weight(self.plan);
                self.hold();
                if self.plan.traffic == Traffic::Routes {
                    self.pin(stable);
                }
                self.raise(trial, self.plan.canary_size(weight, work));
                self.give_share(trial, stable, weight, work);
            }
            Stage::FastForward { .. } => {
                self.hold();
                // Where nothing serves, the canary's pods help as soon as they are ready.
                if trial.skip != Some(Skip::StableDown) {
                    self.pin(stable);
                }
                self.raise(trial, self.plan.full_size(work));
            }
            Stage::Promoting { part, .. } => self.promote(trial, work, *part),
            Stage::Aborting { cause: Cause::Bypassed, .. } => {
                self.unpin();
                self.route_home();
                self.retire(trial);
            }
            Stage::Aborting { .. } | Stage::Aborted { .. } => self.go_home(trial, stable, work),
            Stage::Reverting { order, waiting, .. } => {
                self.go_home(trial, stable, work);
                // A pull request waits for people; asking again would not hurry them.
                if !matches!(waiting, Some(RevertOutcome::PullRequest { .. })) {
                    self.effects.push(Effect::Revert(order.clone()));
                }
            }
            Stage::Restoring { .. } => {
                self.go_home(trial, stable, work);
                if !surge::is_out(self.seen, trial) {
                    self.restore(trial, stable, work);
                }
            }
            Stage::Watching { .. } => {}
        }
        self.run_gates(trial);
    }

    /// After all that moves traffic: nothing rests on it but what the gate says.
    fn run_gates(&mut self, trial: &Trial) {
        let jobs = trial.calls(self.plan).into_iter().filter(|(kind, _)| *kind == GateKind::Job);
        for (_, call) in jobs {
            let seen = self.seen.gates.get(&call.gate);
            if seen.is_none_or(|seen| seen.says == GateSays::NotRun) {
                self.effects.push(Effect::RunGate(call));
            }
        }
    }

    /// The Deployment is gone: everything of ours leaves.
    fn orphaned(&mut self, trial: &Trial) {
        if matches!(trial.stage, Stage::Watching { .. }) {
            return;
        }
        self.release();
        if self.seen.canary.exists {
            self.effects.push(Effect::Retire { revision: trial.canary.clone() });
        }
    }

    fn hold(&mut self) {
        if !self.seen.traffic.held && self.seen.traffic.pinned != Pinned::NoService {
            self.effects.push(Effect::Hold);
        }
    }

    fn pin(&mut self, revision: &Revision) {
        if !self.seen.traffic.pinned.is_only(revision) {
            self.effects.push(Effect::Pin { revision: revision.clone() });
        }
    }

    fn unpin(&mut self) {
        if !matches!(self.seen.traffic.pinned, Pinned::All | Pinned::NoService) {
            self.effects.push(Effect::Unpin);
        }
    }

    fn unpause(&mut self, revision: &Revision, work: &Workload) {
        if work.paused {
            self.effects.push(Effect::Unpause { revision: revision.clone() });
        }
    }

    /// Stable's template again, and free to roll out.
    fn restore(&mut self, trial: &Trial, stable: &Revision, work: &Workload) {
        if work.template == trial.canary && trial.canary != *stable {
            let (revision, over) = (stable.clone(), trial.canary.clone());
            self.effects.push(Effect::Restore { revision, over });
        } else if work.template == *stable {
            self.unpause(stable, work);
        }
    }

    fn raise(&mut self, trial: &Trial, replicas: u32) {
        // Never lowered on the way: a set that was larger once serves the way back as well.
        if replicas > 0 && (!self.seen.canary.exists || self.seen.canary.desired < replicas) {
            self.effects.push(Effect::Raise { revision: trial.canary.clone(), replicas });
        }
    }

    /// Before the hand-over the set gets exactly the size that the Deployment takes: a larger one
    /// would not be taken.
    fn fit(&mut self, trial: &Trial, replicas: u32, part: Promotion) {
        let is_too_large = self.seen.canary.exists && self.seen.canary.desired > replicas;
        let is_last = matches!(part, Promotion::Waiting | Promotion::Spreading);
        if is_last && replicas > 0 && is_too_large {
            self.effects.push(Effect::Raise { revision: trial.canary.clone(), replicas });
        } else {
            self.raise(trial, replicas);
        }
    }

    /// The share follows the pods: never a weight for pods that are not there.
    fn give_share(&mut self, trial: &Trial, stable: &Revision, weight: Weight, work: &Workload) {
        if self.seen.canary.ready < self.plan.canary_size(weight, work) {
            return;
        }
        match self.plan.traffic {
            Traffic::Routes => self.route(weight),
            Traffic::Pods | Traffic::Switch if weight == Weight::FULL => self.pin(&trial.canary),
            Traffic::Pods if weight > Weight::ZERO => self.unpin(),
            Traffic::Pods | Traffic::Switch => self.pin(stable),
        }
    }

    fn route(&mut self, weight: Weight) {
        if !at_weight(self.seen.traffic.route, weight) {
            self.effects.push(Effect::Route { weight });
        }
    }

    fn route_home(&mut self) {
        if self.plan.traffic == Traffic::Routes && self.seen.traffic.route != Some(RouteView::Home)
        {
            self.effects.push(Effect::RouteHome);
        }
    }

    fn promote(&mut self, trial: &Trial, work: &Workload, part: Promotion) {
        match part {
            Promotion::Filling => {
                self.hold();
                self.raise(trial, work.desired);
                let enough = if trial.skip == Some(Skip::StableDown) { 1 } else { work.desired };
                if self.seen.canary.ready < enough {
                    return;
                }
                match self.plan.traffic {
                    Traffic::Routes => self.route(Weight::FULL),
                    Traffic::Pods | Traffic::Switch => self.pin(&trial.canary),
                }
            }
            Promotion::Pinning | Promotion::Waiting => {
                self.hold();
                self.pin(&trial.canary);
                if self.seen.traffic.pinned.is_only(&trial.canary) {
                    self.route_home();
                }
                self.fit(trial, work.desired, part);
            }
            Promotion::HandingOver => {
                if work.adopted.as_ref() == Some(&trial.canary) {
                    // It has them.
                } else if self.seen.traffic.pinned.is_only(&trial.canary) {
                    self.hand_over(trial, work.desired);
                } else {
                    // Somebody set a Service free meanwhile: traffic first, owner second.
                    self.hold();
                    self.pin(&trial.canary);
                }
            }
            Promotion::Spreading | Promotion::Surging | Promotion::Surged => {
                self.surge(trial, work, part);
            }
            Promotion::Releasing => {
                self.release();
                // Should its controller not have our set, unpausing would make new, untested pods.
                if work.template == trial.canary && is_taken(self.seen, trial, work) {
                    self.unpause(&trial.canary, work);
                }
            }
        }
    }

    /// By Surge the Service selects stable and canary, as it does in any rolling update.
    fn surge(&mut self, trial: &Trial, work: &Workload, part: Promotion) {
        let size = self.plan.full_size(work);
        if is_taken(self.seen, trial, work) {
            if work.template == trial.canary {
                self.unpause(&trial.canary, work);
            } else if self.seen.stable.desired > 0 {
                self.settle(&trial.canary, work);
            }
        } else if surge::is_out(self.seen, trial) {
            // It has them, and its controller has not said so yet.
        } else if part == Promotion::Surging && is_free(self.plan, self.seen) {
            self.hand_over(trial, size);
        } else {
            self.hold();
            self.fit(trial, size, Promotion::Spreading);
            if self.seen.canary.ready < size {
                return;
            }
            // Home to stable first: both ways to the canary at once would be more than its share.
            self.route_home();
            if self.plan.traffic != Traffic::Routes
                || self.seen.traffic.route == Some(RouteView::Home)
            {
                self.unpin();
            }
        }
    }

    /// A newer template waits: a paused Deployment brings the one set it has to full size.
    fn settle(&mut self, keep: &Revision, work: &Workload) {
        if work.paused {
            self.effects.push(Effect::Settle { keep: keep.clone() });
        }
    }

    fn hand_over(&mut self, trial: &Trial, replicas: u32) {
        let revision = trial.canary.clone();
        self.effects.push(Effect::HandOver { revision, replicas });
    }

    /// Traffic first. Where the Service points at the canary, turning it is what moves traffic;
    /// everywhere else the route's weight is. Pods after their requests, the holds last.
    fn go_home(&mut self, trial: &Trial, stable: &Revision, work: &Workload) {
        let pinned = &self.seen.traffic.pinned;
        let away = pinned.is(&trial.canary) || *pinned == Pinned::Mixed;
        if away || is_shared(self.seen) {
            self.pin(stable);
        }
        let home = is_home(self.plan, self.seen, trial);
        let routed = !is_route_home(self.seen.traffic.route);
        if trial.surged && !self.seen.canary.exists {
            self.route_home(); // the canary's own Service went with its set
        } else if self.plan.traffic == Traffic::Routes && routed && !home {
            self.effects.push(Effect::Route { weight: Weight::ZERO });
        }
        // Pods of the Deployment leave by its own rolling update, as they came.
        let is_out = surge::is_out(self.seen, trial);
        if is_out && (work.template == trial.canary || work.template == *stable) {
            self.restore(trial, stable, work);
        } else if is_out {
            self.settle(stable, work);
        }
        self.retire(trial);
        if !self.seen.canary.exists && home && !is_out {
            self.release();
        }
    }

    /// Only after requests in flight had time to end.
    fn retire(&mut self, trial: &Trial) {
        let drain = super::drain(self.plan, self.seen);
        let drained = trial
            .home
            .is_some_and(|home| home.checked_add_signed(drain).is_none_or(|at| self.now >= at));
        if drained && self.seen.canary.exists {
            self.effects.push(Effect::Retire { revision: trial.canary.clone() });
        }
    }

    fn release(&mut self) {
        if super::read_back::is_held(self.seen) {
            self.effects.push(Effect::Release);
        }
    }
}
