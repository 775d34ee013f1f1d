//! Holds: our label on Services and routes, by which the policies know that their selector and
//! weights are ours.

use tidegate_api::HELD_LABEL;

use super::error::ActError;
use super::live::{Live, on_each};
use crate::kubernetes::{Cluster, Kind, Target, patch};

/// The Services whose selector is ours in flight.
pub(super) fn held_services(target: &Target) -> Vec<&str> {
    let mut names: Vec<_> = target.services.iter().map(String::as_str).collect();
    if !target.canary_service.ours {
        names.push(&target.canary_service.name);
    }
    names
}

/// Holds Services and routes. The label names the Rollout; on a route, an annotation of the same
/// name says which Service's rules are held.
pub(super) async fn hold(cluster: &Cluster, target: &Target) -> Result<(), ActError> {
    on_each(held_services(target), |name| put(cluster, target, Kind::Service, name)).await?;
    on_each(target.routes.iter().map(String::as_str), |name| {
        put(cluster, target, Kind::HttpRoute, name)
    })
    .await
}

async fn put(cluster: &Cluster, target: &Target, kind: Kind, name: &str) -> Result<(), ActError> {
    let live = Live::need(cluster, target, kind, name).await?;
    let label = target.label();
    let decide = |live: &Live| {
        live.free_of_others(HELD_LABEL, &label)?;
        let mut operations = patch::entry(&live.object, "labels", HELD_LABEL, Some(&label));
        if kind == Kind::HttpRoute {
            let service = target.service();
            operations.extend(patch::entry(&live.object, "annotations", HELD_LABEL, service));
        }
        Ok(operations)
    };
    live.write(cluster, decide).await.map(drop)
}
