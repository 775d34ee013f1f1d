//! One look.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::{join_all, try_join, try_join_all, try_join5};
use serde_json::Value;
use tidegate_engine::Questions;
use tidegate_engine::observed::{Deployed, EngineWork, Pods, TrafficView, Workload};
use tidegate_engine::state::{Revision, Stage, State};

use super::deployed::{self, Answer, Engine};
use super::pods::{self, PodSeen};
use super::workload::{self, Sets};
use super::{around, traffic, trouble};
use crate::kubernetes::{Cluster, ClusterError, Kind, POD_TEMPLATE_HASH, Target, json, sets};

/// Nodes that are asked for in one look: more that are lost at once would say the same.
const NODES: usize = 8;
/// A pod that is not ready after this time lets its node be asked for.
const YOUNG: TimeDelta = TimeDelta::seconds(20);

/// The objects of a Rollout at one look.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// The Deployment. `None`: it does not exist.
    pub workload: Option<Workload>,
    /// The Deployment's uid: another one under the same name was created anew.
    pub workload_uid: Option<String>,
    /// Pods of the stable revision.
    pub stable: Pods,
    /// Pods of the set that we made for the canary, until the Deployment controller took it. Of a
    /// trial that only watches: of the set that the Deployment made itself.
    pub canary: Pods,
    /// Pods of the set that the Deployment itself has of the canary's template.
    pub taken: Pods,
    /// What Services and routes say, read back.
    pub traffic: TrafficView,
    /// Stable's pods, those that end too.
    pub stable_pods: Vec<PodSeen>,
    /// The canary's pods, those that end too; once the Deployment took them, all that it has of them.
    pub canary_pods: Vec<PodSeen>,
    /// The `ConfigMap`s without which no pod of stable starts.
    pub config_maps: BTreeSet<String>,
    /// What the GitOps engine is in the middle of. `None`: nothing, or it does not matter.
    pub engine: Option<EngineWork>,
    /// Objects that a person has freed by annotation, as `Kind name: why`. We leave them alone.
    pub freed: Vec<String>,
}

/// Why there are no facts.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The API server could not be asked.
    #[error("the cluster cannot be looked at")]
    Cluster(#[from] ClusterError),
    /// An object lacks what it must have.
    #[error("{object}: {field} is missing")]
    Unreadable {
        /// Which object.
        object: String,
        /// Which field.
        field: &'static str,
    },
    /// A new template waits at the gate, and its engine has not said yet which commit it is.
    #[error("{engine} applies a commit and has not said yet which")]
    EngineMidway {
        /// The engine's object.
        engine: String,
    },
}

/// One consistent look at the objects of a Rollout.
pub async fn look(
    cluster: &Cluster,
    target: &Target,
    asked: &Questions,
    state: &State,
    now: DateTime<Utc>,
) -> Result<Seen, ObserveError> {
    let stable = state.stable.as_ref().map(|stable| &stable.revision);
    let canary = asked.canary.as_ref();
    let before = cluster.get(Kind::Deployment, &target.namespace, &target.workload).await?;
    let source = match &before {
        Some(deployment) => Some(Source::ask(cluster, target, deployment, state).await?),
        None => None,
    };
    let found = Found::read(cluster, target, before.as_ref(), canary).await?;
    let source = match (source, &before, &found.deployment) {
        (Some(source), Some(before), Some(after)) => {
            Some(source.again(cluster, target, before, after, state).await?)
        }
        (None, _, Some(after)) => Some(Source::ask(cluster, target, after, state).await?),
        (source, _, _) => source,
    };
    let nodes = found.nodes(cluster, now).await;
    let mut seen = found.seen(target, (stable, canary), state, &nodes, now);
    if let (Some(deployment), Some(source)) = (&found.deployment, source) {
        let sets = Sets::new(Some(deployment), target, &found.sets);
        let deployed = source.deployed(deployment, state)?;
        seen.workload = Some(workload::facts(deployment, &sets, stable, deployed)?);
        if around::matters(state) {
            seen.engine = around::engine_work(cluster, deployment).await;
        }
    }
    Ok(seen)
}

/// Who brings the Deployment, and what was said of it.
struct Source {
    engine: Engine,
    answer: Answer,
}

impl Source {
    async fn ask(
        cluster: &Cluster,
        target: &Target,
        deployment: &Value,
        state: &State,
    ) -> Result<Self, ObserveError> {
        let engine = deployed::engine_of(deployment);
        let answer = match deployed::ask(cluster, target, &engine, deployment).await {
            Ok(answer) => answer,
            // In flight it decides nothing, and no engine's outage may delay an abort.
            Err(error) if is_in_flight(state) => {
                tracing::warn!(rollout = target.rollout, %error, "the engine cannot be asked");
                Answer::Nothing
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self { engine, answer })
    }

    /// If the template changed between the two looks, which commit that was is asked once more.
    /// Whether it is applied cannot be told at this look.
    async fn again(
        self,
        cluster: &Cluster,
        target: &Target,
        before: &Value,
        after: &Value,
        state: &State,
    ) -> Result<Self, ObserveError> {
        if json::template(before) == json::template(after) {
            return Ok(self);
        }
        let mut source = Self::ask(cluster, target, after, state).await?;
        if let Answer::At { applied, .. } = &mut source.answer {
            *applied = false;
        }
        Ok(source)
    }

    /// A template at the gate can wait until its commit is known; nothing else has to.
    fn deployed(self, deployment: &Value, state: &State) -> Result<Deployed, ObserveError> {
        let is_new = sets::revision(deployment).is_some_and(|template| {
            state.stable.as_ref().is_some_and(|stable| stable.revision != template)
        });
        match self.answer {
            Answer::NotYet { engine } if is_new && state.trial.is_none() => {
                Err(ObserveError::EngineMidway { engine })
            }
            answer => Ok(deployed::deployed(deployment, &self.engine, answer)),
        }
    }
}

/// A trial is running, and where its template came from is pinned already. While stable is written
/// back the engine's revision counts again.
fn is_in_flight(state: &State) -> bool {
    state.trial.as_ref().is_some_and(|trial| !matches!(trial.stage, Stage::Restoring { .. }))
}

/// What was read.
struct Found {
    deployment: Option<Value>,
    sets: Vec<Value>,
    pods: Vec<Value>,
    services: Vec<Value>,
    /// The user's own Service for the canary, if there is one.
    canary_services: Vec<Value>,
    routes: Vec<Value>,
}

impl Found {
    async fn read(
        cluster: &Cluster,
        target: &Target,
        deployment: Option<&Value>,
        canary: Option<&Revision>,
    ) -> Result<Self, ObserveError> {
        // Without a Deployment there is at most what we made for the canary.
        let selector = deployment
            .and_then(workload::selector)
            .or_else(|| canary.map(|canary| format!("{POD_TEMPLATE_HASH}={canary}")));
        let own_canary = if target.canary_service.ours {
            &[]
        } else {
            std::slice::from_ref(&target.canary_service.name)
        };
        let (deployment, sets, pods, services, routes) = try_join5(
            cluster.get(Kind::Deployment, &target.namespace, &target.workload),
            listed(cluster, target, Kind::ReplicaSet, selector.as_deref()),
            listed(cluster, target, Kind::Pod, selector.as_deref()),
            try_join(
                named(cluster, target, Kind::Service, &target.services),
                named(cluster, target, Kind::Service, own_canary),
            ),
            named(cluster, target, Kind::HttpRoute, &target.routes),
        )
        .await?;
        let (services, canary_services) = services;
        Ok(Self { deployment, sets, pods, services, canary_services, routes })
    }

    /// What is wrong with the nodes of pods that should be ready by now. A node that cannot be
    /// asked for is taken as sound.
    async fn nodes(&self, cluster: &Cluster, now: DateTime<Utc>) -> BTreeMap<String, String> {
        let doubtful = pods::doubtful_nodes(&self.pods, now - YOUNG);
        let each = doubtful.into_iter().take(NODES).map(|name| node_trouble(cluster, name));
        join_all(each).await.into_iter().flatten().collect()
    }

    /// Everything but the Deployment itself.
    fn seen(
        &self,
        target: &Target,
        (stable, canary): (Option<&Revision>, Option<&Revision>),
        state: &State,
        nodes: &BTreeMap<String, String>,
        now: DateTime<Utc>,
    ) -> Seen {
        let sets = Sets::new(self.deployment.as_ref(), target, &self.sets);
        let watches =
            state.trial.as_ref().is_some_and(|trial| matches!(trial.stage, Stage::Watching { .. }));
        // After a bypass both are of one template: the Deployment's own set is stable's, and ours is
        // still to be taken away.
        let own = canary.filter(|canary| Some(*canary) != stable);
        let own = own.and_then(|canary| sets.of_deployment(canary));
        let ours = canary.and_then(|canary| sets.canary(canary));
        let (canary, taken) = if watches { (own, None) } else { (ours, own) };
        let stable = stable.and_then(|revision| sets.of_deployment(revision));
        let template = stable.and_then(json::template);
        let node = |name: &str| nodes.get(name).cloned();
        let arm = |set: Option<&Value>| {
            let own = set.map(|set| pods::of_set(set, &self.pods)).unwrap_or_default();
            let seen: Vec<_> = own.iter().filter_map(|pod| pods::seen(pod)).collect();
            (pods::count(set, &own, &node, now), seen)
        };
        let (stable, stable_pods) = arm(stable);
        let (canary, ours) = arm(canary);
        let (taken, theirs) = arm(taken);
        let canary_pods = if canary.exists { ours } else { theirs };
        let held = self.services.iter().chain(&self.canary_services).chain(&self.routes);
        Seen {
            workload: None,
            workload_uid: self.deployment.as_ref().and_then(json::uid).map(str::to_owned),
            stable,
            canary,
            taken,
            traffic: traffic::view(
                target,
                (&self.services, &self.routes, &self.canary_services),
                &sets,
                state,
            ),
            stable_pods,
            canary_pods,
            config_maps: template.map(around::config_maps).unwrap_or_default(),
            engine: None,
            freed: held.chain(&self.deployment).filter_map(freed).collect(),
        }
    }
}

async fn listed(
    cluster: &Cluster,
    target: &Target,
    kind: Kind,
    selector: Option<&str>,
) -> Result<Vec<Value>, ClusterError> {
    match selector {
        Some(selector) => cluster.list(kind, Some(&target.namespace), selector).await,
        None => Ok(Vec::new()),
    }
}

/// Those of the named objects that exist.
async fn named(
    cluster: &Cluster,
    target: &Target,
    kind: Kind,
    names: &[String],
) -> Result<Vec<Value>, ClusterError> {
    let each = names.iter().map(|name| cluster.get(kind, &target.namespace, name));
    Ok(try_join_all(each).await?.into_iter().flatten().collect())
}

async fn node_trouble(cluster: &Cluster, name: &str) -> Option<(String, String)> {
    let node = cluster.get(Kind::Node, "", name).await.ok()?;
    Some((name.to_owned(), pods::node_trouble(name, node.as_ref())?))
}

fn freed(object: &Value) -> Option<String> {
    let why = json::break_glass(object)?;
    let kind = json::text(object, "/kind")?;
    Some(format!("{kind} {}: {}", json::name(object)?, trouble::clean(why)))
}

#[cfg(test)]
mod tests;
