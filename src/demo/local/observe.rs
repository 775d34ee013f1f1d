//! What Tidegate sees of the local cluster. No policy in here: facts at one look.

use std::collections::BTreeMap;

use tidegate_engine::Questions;
use tidegate_engine::fleet::Fleet;
use tidegate_engine::judge::Verdict;
use tidegate_engine::observed::{
    Around, Deployed, Observed, Pinned, Pods, RouteView, TrafficView, Trouble, TroubleKind,
    Workload,
};
use tidegate_engine::state::{Revision, State};

use super::objects;
use super::{Local, LocalError};
use crate::demo::processes::Pod;
use crate::kubernetes::revision_of;
use crate::sync::HELD_LABEL;

impl Local {
    /// Facts at one look, with the verdict that the samples gave.
    pub fn observe(
        &self,
        asked: &Questions,
        state: &State,
        verdict: Verdict,
    ) -> Result<Observed, LocalError> {
        let stable = state.stable.as_ref().map(|stable| &stable.revision);
        let canary = asked.canary.as_ref().filter(|canary| Some(*canary) != stable);
        let revert = asked.revert.as_ref().and_then(|order| {
            let revert = self.revert();
            let (trial, outcome) = revert.answer.as_ref()?;
            (*trial == order.trial).then(|| outcome.clone())
        });
        Ok(Observed {
            is_blind: false,
            workload: self.workload(stable, canary)?,
            stable: stable.map_or_else(Pods::default, |revision| self.pods_of(revision)),
            canary: canary
                .filter(|revision| !self.is_owned(revision))
                .map_or_else(Pods::default, |revision| self.pods_of(revision)),
            taken: canary
                .filter(|revision| self.is_owned(revision))
                .map_or_else(Pods::default, |revision| self.pods_of(revision)),
            traffic: self.traffic(),
            verdict,
            ask: None,
            revert,
            delivered: self.delivered.clone(),
            gates: BTreeMap::new(),
            around: Around::default(),
            fleet: Fleet::default(),
        })
    }

    fn workload(
        &self,
        stable: Option<&Revision>,
        canary: Option<&Revision>,
    ) -> Result<Option<Workload>, LocalError> {
        let Some(deployment) = objects::deployment(&self.api) else { return Ok(None) };
        let known = |revision: &Revision| Some(revision) == stable || Some(revision) == canary;
        let full = stable
            .is_some_and(|revision| self.status(revision).ready >= objects::replicas(&deployment));
        Ok(Some(Workload {
            template: revision_of(&objects::template(&deployment)?),
            desired: objects::replicas(&deployment),
            surge: objects::replicas(&deployment), // there is room for two full sets here
            paused: objects::is_paused(&deployment),
            deployed: self.deployed.clone().map_or(Deployed::Unknown, |revision| {
                // The sync answers when it is done: what it names is applied.
                Deployed::Git { revision, applied: true }
            }),
            settled: full && self.sets.keys().all(known),
            adopted: self.adopted.clone(),
            deliberate: false,
            restart: false,
        }))
    }

    /// The Deployment's own set: after the hand-over there is no canary any more.
    fn is_owned(&self, revision: &Revision) -> bool {
        self.sets.get(revision).is_some_and(|set| set.owned)
    }

    fn pods_of(&self, revision: &Revision) -> Pods {
        let Some(set) = self.sets.get(revision) else { return Pods::default() };
        let status = self.status(revision);
        let trouble = status.crash_looping.then(|| Trouble {
            kind: TroubleKind::CrashLoop,
            message: format!("pods of {revision} crash again and again"),
        });
        Pods { exists: true, desired: set.replicas, ready: status.ready, trouble }
    }

    /// Read back from the gateway itself, not from what was asked of it.
    fn traffic(&self) -> TrafficView {
        let service = objects::service(&self.api);
        let route = objects::route(&self.api).map(|route| match objects::canary_weight(&route) {
            None => RouteView::Home,
            Some(_) => RouteView::Split(self.proxy.weight()),
        });
        let pinned =
            service.as_ref().and_then(objects::selected_revision).map_or(Pinned::All, Pinned::To);
        let held = service.is_some_and(|service| objects::label(&service, HELD_LABEL).is_some());
        TrafficView { route, pinned, held, freed: false }
    }

    /// The pods of a revision, for the samples.
    pub fn pods_of_revision(&self, revision: &Revision) -> Vec<Pod> {
        self.status(revision).pods
    }

    /// Stable's pods are ready and the Service has them.
    pub fn is_serving(&self) -> bool {
        self.adopted.as_ref().is_some_and(|adopted| {
            let status = self.status(adopted);
            status.desired > 0 && status.ready >= status.desired
        })
    }

    /// Nothing is held, nothing is paused, and only stable's pods are there.
    pub fn is_as_in_git(&self) -> bool {
        let traffic = self.traffic();
        let paused =
            objects::deployment(&self.api).is_none_or(|deployment| objects::is_paused(&deployment));
        !traffic.held
            && !paused
            && traffic.pinned == Pinned::All
            && traffic.route == Some(RouteView::Home)
            && self.sets.keys().all(|revision| Some(revision) == self.adopted.as_ref())
    }

    /// Every revision that was seen, with the tag of its image.
    pub fn versions(&self) -> &BTreeMap<Revision, String> {
        &self.versions
    }
}
