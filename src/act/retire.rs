//! What we made for a canary goes. Only ever that: a set that the Deployment took is the
//! Deployment's.

use tidegate_api::ROLLOUT_LABEL;
use tidegate_engine::state::Revision;

use super::error::ActError;
use super::live::Live;
use crate::kubernetes::{Cluster, Kind, Propagation, Target, json, names, patch, sets};

/// The set goes to 0 pods first; asked again when it is there, it is deleted with all that was made
/// for it.
pub(super) async fn retire(
    cluster: &Cluster,
    target: &Target,
    revision: &Revision,
) -> Result<(), ActError> {
    let name = names::set_name(&target.workload, revision);
    let found = Live::find(cluster, target, Kind::ReplicaSet, &name).await?;
    let set = found.filter(|set| sets::is_canary(&set.object, &target.workload, revision));
    let Some(set) = set else { return remove_made_for(cluster, target, &name).await };
    if set.is_left_alone() {
        return Ok(());
    }
    if json::replicas(&set.object) > 0 {
        return down(cluster, target, revision, set).await;
    }
    let is_empty = json::count(&set.object, "/status/replicas") == Some(0);
    if !(is_empty && json::is_observed(&set.object)) {
        return Ok(()); // its pods are on their way out
    }
    // The set goes last: as long as it is there, this is asked for again.
    remove_made_for(cluster, target, &name).await?;
    remove(cluster, &set).await
}

async fn down(
    cluster: &Cluster,
    target: &Target,
    revision: &Revision,
    set: Live,
) -> Result<(), ActError> {
    let decide = |set: &Live| {
        let is_ours = sets::is_canary(&set.object, &target.workload, revision);
        Ok(if is_ours { vec![patch::add("/spec/replicas", 0)] } else { Vec::new() })
    };
    set.write(cluster, decide).await.map(drop)
}

/// What is left of canaries whose set is gone or is the Deployment's now.
pub(super) async fn clear_leftovers(cluster: &Cluster, target: &Target) -> Result<(), ActError> {
    let selector = format!("{ROLLOUT_LABEL}={}", target.label());
    let owners = cluster.list(Kind::ControllerRevision, Some(&target.namespace), &selector).await?;
    for owner in owners {
        let owner = Live::of(target, Kind::ControllerRevision, owner);
        let set = Live::find(cluster, target, Kind::ReplicaSet, &owner.at.name).await?;
        let uid = owner.uid();
        let is_in_use = set
            .is_some_and(|set| json::is_controlled_by(&set.object, Kind::ControllerRevision, uid));
        if !is_in_use {
            // The canary's Service goes with its owner; nothing sends requests to it any more.
            remove(cluster, &owner).await?;
        }
    }
    Ok(())
}

/// The canary's Service, and the object that owns what was made.
async fn remove_made_for(cluster: &Cluster, target: &Target, name: &str) -> Result<(), ActError> {
    let found = Live::find(cluster, target, Kind::ControllerRevision, name).await?;
    let is_ours = |live: &Live| target.is_labelled(&live.object, ROLLOUT_LABEL);
    let Some(owner) = found.filter(is_ours) else { return Ok(()) };
    if target.canary_service.ours {
        let service = &target.canary_service.name;
        let service = Live::find(cluster, target, Kind::Service, service).await?;
        if let Some(service) = service
            && json::is_controlled_by(&service.object, Kind::ControllerRevision, owner.uid())
        {
            remove(cluster, &service).await?;
        }
    }
    remove(cluster, &owner).await
}

async fn remove(cluster: &Cluster, live: &Live) -> Result<(), ActError> {
    if live.is_left_alone() {
        return Ok(());
    }
    cluster.delete(&live.at, live.uid(), None, Propagation::Background).await?;
    Ok(())
}
