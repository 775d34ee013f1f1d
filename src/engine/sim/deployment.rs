//! The toy cluster's Deployment controller.

use std::collections::BTreeMap;

use super::cluster::{Cluster, Set};
use crate::state::Revision;

impl Cluster {
    /// Pods the Deployment may have on top while it rolls out: Kubernetes' default, a quarter.
    pub const fn surge(&self) -> u32 {
        self.desired.div_ceil(4)
    }

    /// An autoscaler or a person scales. A paused Deployment scales the set it has; where there are
    /// two, its rolling update comes to the new number.
    pub fn scale(&mut self, desired: u32) {
        self.desired = desired;
        if self.sets.len() == 1 {
            self.sets.values_mut().for_each(|set| *set = Set::full(desired));
        }
    }

    /// No pod of a canary is ready any more, whoever has it.
    pub fn lose(&mut self, canary: &Revision) {
        let ours = self.canary.iter_mut().filter(|(revision, _)| revision == canary);
        let is_one_of_two = self.sets.len() > 1;
        let taken = self.sets.get_mut(canary).filter(|_| is_one_of_two);
        for set in ours.map(|(_, set)| set).chain(taken) {
            set.ready = 0;
            set.ready_at = None;
        }
    }

    /// Takes over what it was handed if it is its template. An unpaused Deployment runs its template:
    /// at once, or where it has a set of it beside another, step by step.
    pub(super) fn control(&mut self) {
        if !self.controller || !self.exists {
            return;
        }
        self.take();
        let template = self.template.clone();
        if !self.sets.contains_key(&template) && self.emptied.remove(&template) {
            self.sets.insert(template.clone(), Set::default());
        }
        if self.sets.len() > 1 && self.sets.contains_key(&template) {
            self.adopted = Some(template);
        } else if !self.paused && self.adopted.as_ref() != Some(&template) {
            self.sets = BTreeMap::from([(template.clone(), Set::full(self.desired))]);
            self.adopted = Some(template);
        }
    }

    fn take(&mut self) {
        if !self.handed {
            return;
        }
        let taken = self.canary.take_if(|(revision, _)| *revision == self.template);
        if let Some((revision, set)) = taken {
            self.handed = false;
            if set.desired >= self.desired {
                self.sets.clear(); // it is saturated: all others go in the same moment
            }
            self.sets.insert(revision.clone(), set);
            self.adopted = Some(revision);
        }
    }

    /// One patch, decided on live reads: only a set of the template that is wanted, with all pods, or
    /// with exactly as many as may be there on top.
    pub(super) fn hand_over(&mut self, revision: &Revision, replicas: u32) {
        let fits = replicas == self.desired || replicas == self.surge();
        let full = self.canary.as_ref().is_some_and(|(known, set)| {
            fits && known == revision && set.ready >= replicas && set.desired == replicas
        });
        if self.exists && full && self.template == *revision {
            self.handed = true;
            self.control();
        }
    }

    /// All other sets are at 0 or gone. The one that is left gets all pods, paused or not.
    pub(super) fn settle(&mut self, keep: &Revision) {
        self.sets.retain(|revision, _| revision == keep);
        self.emptied.clear();
        // The set it took last may be gone: then it cannot be told any more.
        self.adopted = self.adopted.take().filter(|taken| self.sets.contains_key(taken));
        if let Some(set) = self.sets.get_mut(keep).filter(|set| set.desired != self.desired) {
            *set = Set::full(self.desired);
        }
    }

    /// One step of a rolling update: never more pods than `maxSurge` on top, never
    /// fewer that are ready than are wanted.
    pub(super) fn roll(&mut self) {
        let own = self.sets.get(&self.template);
        let is_rolling = own.is_some_and(|set| self.sets.len() > 1 || set.desired != self.desired);
        if self.paused || !self.controller || !self.exists || !is_rolling {
            return;
        }
        let (desired, most) = (self.desired, self.desired.saturating_add(self.surge()));
        let all: u32 = self.sets.values().map(|set| set.desired).sum();
        let ready: u32 = self.sets.values().map(|set| set.ready).sum();
        let delay = self.start_up.get(&self.template).copied();
        let ready_at = delay.and_then(|delay| self.now.checked_add_signed(delay));
        let mut spare = ready.saturating_sub(desired);
        for (revision, set) in &mut self.sets {
            if *revision == self.template {
                let wanted = set.desired.saturating_add(most.saturating_sub(all)).min(desired);
                if wanted > set.desired {
                    set.ready_at = ready_at;
                }
                set.desired = wanted;
                set.ready = set.ready.min(wanted);
            } else {
                let kept = set.ready.saturating_sub(spare);
                spare = spare.saturating_sub(set.ready);
                *set = Set::full(kept); // those that are not ready are no loss
            }
        }
        let template = &self.template;
        let is_left = |revision: &Revision, set: &Set| revision == template || set.desired > 0;
        let empty = self.sets.iter().filter(|(revision, set)| !is_left(revision, set));
        self.emptied.extend(empty.map(|(revision, _)| revision.clone()));
        self.sets.retain(|revision, set| is_left(revision, set));
    }
}
