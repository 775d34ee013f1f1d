//! Services and routes are as in Git, and none of our fields is left on them.

use tidegate_api::HELD_LABEL;

use super::error::ActError;
use super::hold::held_services;
use super::live::{Live, on_each};
use super::{pin, retire, route};
use crate::kubernetes::{Cluster, Kind, Target, patch};

/// Releases what is held. Services first, so that nothing points at pods that may go, then routes.
/// The label is the last thing to go: as long as it is there, this is asked for again.
pub(super) async fn release(cluster: &Cluster, target: &Target) -> Result<(), ActError> {
    pin::unpin_all(cluster, target).await?;
    route::home(cluster, target).await?;
    retire::clear_leftovers(cluster, target).await?;
    on_each(held_services(target), |name| let_go(cluster, target, Kind::Service, name)).await?;
    on_each(target.routes.iter().map(String::as_str), |name| {
        let_go(cluster, target, Kind::HttpRoute, name)
    })
    .await
}

async fn let_go(
    cluster: &Cluster,
    target: &Target,
    kind: Kind,
    name: &str,
) -> Result<(), ActError> {
    let Some(live) = Live::find(cluster, target, kind, name).await? else { return Ok(()) };
    let decide = |live: &Live| {
        let mut operations = Vec::new();
        if target.is_labelled(&live.object, HELD_LABEL) {
            operations.extend(patch::entry(&live.object, "labels", HELD_LABEL, None));
            operations.extend(patch::entry(&live.object, "annotations", HELD_LABEL, None));
        }
        Ok(live.giving_back(operations, None))
    };
    live.write(cluster, decide).await.map(drop)
}
