//! A cluster on this machine, as far as one Deployment needs it: an object store with the gate,
//! processes for pods, a proxy for the gateway, a scraper for Prometheus. The controllers of
//! Kubernetes that matter are played by [`Local::settle`]; what Tidegate sees and does is in
//! `observe` and `act`.

mod act;
mod images;
mod objects;
mod observe;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use serde_json::Value;
use tidegate_engine::effect::RevertOutcome;
use tidegate_engine::plan::Weight;
use tidegate_engine::state::{GitRevision, Revision, TrialId};

use super::processes::{Pods, PodsStatus};
use super::proxy::{Arm, Proxy};
use super::scrape::{Scraper, Target};
use crate::git::Remote;
pub use crate::kubernetes::revision_of;
use crate::sync::{LocalCluster, TargetError};
pub use images::with_image;

/// What can go wrong in the local cluster.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The object store refused a write.
    #[error("the local cluster refused a write")]
    Write(#[from] TargetError),
    /// A pod template cannot be run.
    #[error("the pod template cannot be run")]
    Template(#[from] super::template::TemplateError),
    /// An object is not there or not as it should be.
    #[error("{0}")]
    Object(String),
}

/// The pods of one template, as a `ReplicaSet` would keep them.
#[derive(Clone, Debug)]
struct Set {
    template: Value,
    replicas: u32,
    /// The Deployment owns it; a canary's set is Tidegate's until the hand-over.
    owned: bool,
}

/// A cluster on this machine.
pub struct Local {
    /// The objects.
    pub api: LocalCluster,
    /// The gateway.
    pub proxy: Proxy,
    /// What reads the pods' counters.
    pub scraper: Scraper,
    pods: Pods,
    sets: BTreeMap<Revision, Set>,
    /// The revision that the Deployment controller took as its newest.
    adopted: Option<Revision>,
    /// Every revision that was seen, by the tag of its image.
    versions: BTreeMap<Revision, String>,
    /// The revision that the sync applied last.
    pub deployed: Option<GitRevision>,
    /// The config repository, for reverts.
    repository: Remote,
    revert: Arc<Mutex<Revert>>,
    delivered: Vec<u64>,
}

/// The revert that is running, or its answer.
#[derive(Debug, Default)]
struct Revert {
    running: Option<TrialId>,
    answer: Option<(TrialId, RevertOutcome)>,
}

impl Local {
    /// An empty cluster.
    pub fn new(
        api: LocalCluster,
        pods: Pods,
        proxy: Proxy,
        scraper: Scraper,
        repository: Remote,
    ) -> Self {
        Self {
            api,
            proxy,
            scraper,
            pods,
            sets: BTreeMap::new(),
            adopted: None,
            versions: BTreeMap::new(),
            deployed: None,
            repository,
            revert: Arc::default(),
            delivered: Vec::new(),
        }
    }

    /// One turn of the controllers that Kubernetes would run: Deployment, endpoints, gateway.
    pub fn settle(&mut self, now: DateTime<Utc>) -> Result<(), LocalError> {
        self.roll_out()?;
        for (revision, set) in &self.sets {
            self.pods.ensure(revision, &with_image(&set.template), set.replicas)?;
        }
        self.route();
        let mut targets = Vec::new();
        for revision in self.pods.revisions() {
            let Some(status) = self.pods.status(&revision) else { continue };
            targets.extend(
                status.pods.iter().filter_map(|pod| {
                    Some(Target { pod: pod.name.clone(), address: pod.address? })
                }),
            );
        }
        self.scraper.set_targets(targets, now);
        Ok(())
    }

    /// The Deployment controller: an unpaused Deployment runs its template, and its newest set
    /// has as many pods as it wants.
    fn roll_out(&mut self) -> Result<(), LocalError> {
        let Some(deployment) = objects::deployment(&self.api) else { return Ok(()) };
        let template = objects::template(&deployment)?;
        let revision = revision_of(&template);
        let replicas = objects::replicas(&deployment);
        if let Some(tag) = objects::image_tag(&template) {
            self.versions.insert(revision.clone(), tag.to_owned());
        }
        if !objects::is_paused(&deployment) {
            let set = self.sets.entry(revision.clone()).or_insert_with(|| Set {
                template,
                replicas,
                owned: true,
            });
            set.owned = true;
            self.adopted = Some(revision);
        }
        let Some(adopted) = self.adopted.clone() else { return Ok(()) };
        if let Some(set) = self.sets.get_mut(&adopted) {
            set.replicas = replicas;
        }
        let full = self.pods.status(&adopted).is_some_and(|status| status.ready >= replicas);
        if full {
            let old: Vec<_> = self
                .sets
                .iter()
                .filter(|(revision, set)| **revision != adopted && set.owned)
                .map(|(revision, _)| revision.clone())
                .collect();
            for revision in old {
                self.leave(&revision);
            }
        }
        Ok(())
    }

    /// A set goes: no new requests at once, its processes end in order.
    fn leave(&mut self, revision: &Revision) {
        self.sets.remove(revision);
        self.pods.scale(revision, 0);
    }

    /// Endpoints and gateway: backends by the Services' selectors, the weight by the route.
    fn route(&self) {
        let stable = self.selected_by(objects::service(&self.api).as_ref());
        let canary = self.selected_by(objects::canary_service(&self.api).as_ref());
        let weight = objects::route(&self.api).map_or(Weight::ZERO, |route| {
            let weight = objects::canary_weight(&route);
            // A backend without endpoints gets nothing, as gateways do.
            if canary.is_empty() { Weight::ZERO } else { weight.unwrap_or(Weight::ZERO) }
        });
        if weight < self.proxy.weight() {
            self.proxy.set_weight(weight);
        }
        self.proxy.set_backends(Arm::Stable, stable);
        self.proxy.set_backends(Arm::Canary, canary);
        self.proxy.set_weight(weight);
    }

    fn selected_by(&self, service: Option<&Value>) -> Vec<std::net::SocketAddr> {
        let Some(service) = service else { return Vec::new() };
        let wanted = objects::selected_revision(service);
        self.sets
            .keys()
            .filter(|revision| wanted.as_ref().is_none_or(|wanted| wanted == *revision))
            .filter_map(|revision| self.pods.status(revision))
            .flat_map(|status| status.addresses)
            .collect()
    }

    fn status(&self, revision: &Revision) -> PodsStatus {
        self.pods.status(revision).unwrap_or_default()
    }

    fn revert(&self) -> std::sync::MutexGuard<'_, Revert> {
        self.revert.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
