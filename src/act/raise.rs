//! The canary's set, with so many pods, and the Service that selects them alone.

use std::time::Duration;

use serde_json::Value;
use tidegate_engine::state::{Revision, TrialId};
use tokio::time::Instant;

use super::error::ActError;
use super::live::{self, Live};
use super::{canary, pin};
use crate::kubernetes::{Cluster, Kind, Propagation, Target, json, names, patch, sets};

/// A controller that has not looked at a new set after this is not waited for.
const SILENT: Duration = Duration::from_secs(1);
/// How often is looked whether it has.
const ASKED_EVERY: Duration = Duration::from_millis(20);

/// The canary's set exists with this many pods. The Service is there before: a route must never
/// name one that is not.
pub(super) async fn raise(
    cluster: &Cluster,
    target: &Target,
    revision: &Revision,
    replicas: u32,
    trial: Option<&TrialId>,
) -> Result<(), ActError> {
    let deployment = live::deployment(cluster, target).await?;
    if deployment.is_left_alone() {
        return Ok(());
    }
    if !json::is_paused(&deployment.object) {
        return Err(deployment.not_yet("it is rolling out by itself; it must be paused"));
    }
    if deployment.revision().as_ref() != Some(revision) {
        return Err(deployment.not_yet(format!("its template is not {revision} any more")));
    }
    let owner = owner(cluster, target, revision, trial).await?;
    canary_service(cluster, target, revision, &owner.object, trial).await?;
    let set = set(cluster, target, revision, &deployment.object, &owner.object).await?;
    let decide = |set: &Live| {
        if !sets::is_canary(&set.object, &target.workload, revision) {
            return Err(set.not_ours());
        }
        let is_so = json::replicas(&set.object) == replicas;
        Ok(if is_so { Vec::new() } else { vec![patch::add("/spec/replicas", replicas)] })
    };
    set.write(cluster, decide).await.map(drop)
}

async fn create(
    cluster: &Cluster,
    target: &Target,
    kind: Kind,
    object: Value,
) -> Result<Live, ActError> {
    let object = cluster.create(kind, &object).await?;
    Ok(Live::of(target, kind, object))
}

async fn owner(
    cluster: &Cluster,
    target: &Target,
    revision: &Revision,
    trial: Option<&TrialId>,
) -> Result<Live, ActError> {
    let name = names::set_name(&target.workload, revision);
    match Live::find(cluster, target, Kind::ControllerRevision, &name).await? {
        Some(live) if !target.is_labelled(&live.object, tidegate_api::ROLLOUT_LABEL) => {
            Err(live.not_ours())
        }
        Some(live) if json::is_deleted(&live.object) => {
            Err(live.not_yet("it is being deleted with all it owns"))
        }
        Some(live) => Ok(live),
        None => {
            let object = canary::owner(target, revision, trial);
            create(cluster, target, Kind::ControllerRevision, object).await
        }
    }
}

async fn canary_service(
    cluster: &Cluster,
    target: &Target,
    revision: &Revision,
    owner: &Value,
    trial: Option<&TrialId>,
) -> Result<(), ActError> {
    let Some(service) = target.service() else { return Ok(()) };
    let (name, hash) = (&target.canary_service.name, revision.as_str());
    if !target.canary_service.ours {
        return pin::select(cluster, target, name, Some(hash)).await;
    }
    match Live::find(cluster, target, Kind::Service, name).await? {
        Some(live) if !target.is_labelled(&live.object, tidegate_api::ROLLOUT_LABEL) => {
            Err(live.not_ours())
        }
        Some(live) if json::is_deleted(&live.object) => Err(live.not_yet("it is being deleted")),
        Some(live) => {
            let uid = json::uid(owner).unwrap_or_default();
            if !json::is_controlled_by(&live.object, Kind::ControllerRevision, uid) {
                return Err(live.not_yet("it still belongs to an earlier trial"));
            }
            pin::select(cluster, target, name, Some(hash)).await
        }
        None => {
            let live = Live::need(cluster, target, Kind::Service, service).await?;
            let object = canary::service(target, &live.object, hash, owner, trial);
            create(cluster, target, Kind::Service, object).await.map(drop)
        }
    }
}

/// The set, with a template that is the Deployment's to the letter.
async fn set(
    cluster: &Cluster,
    target: &Target,
    revision: &Revision,
    deployment: &Value,
    owner: &Value,
) -> Result<Live, ActError> {
    let name = names::set_name(&target.workload, revision);
    let (live, is_new) = match Live::find(cluster, target, Kind::ReplicaSet, &name).await? {
        Some(live) if !sets::is_canary(&live.object, &target.workload, revision) => {
            return Err(live.not_ours());
        }
        Some(live) if json::is_deleted(&live.object) => {
            return Err(live.not_yet("it is being deleted"));
        }
        Some(live) => (live, false),
        None => {
            let object = canary::set(target, revision, deployment, owner);
            (create(cluster, target, Kind::ReplicaSet, object).await?, true)
        }
    };
    if live.revision().as_ref() == Some(revision) {
        return if is_new { observed(cluster, target, live).await } else { Ok(live) };
    }
    if is_new {
        cluster.delete(&live.at, live.uid(), None, Propagation::Background).await?;
    }
    Err(ActError::TemplateMutated { object: Box::new(live.at) })
}

/// A new set once its controller has noted that it looked at it: it does so within milliseconds,
/// and a write that was decided before is refused.
async fn observed(cluster: &Cluster, target: &Target, mut live: Live) -> Result<Live, ActError> {
    let until = Instant::now() + SILENT;
    while !json::is_observed(&live.object) && Instant::now() < until {
        tokio::time::sleep(ASKED_EVERY).await;
        live = Live::need(cluster, target, Kind::ReplicaSet, &live.at.name).await?;
    }
    Ok(live)
}
