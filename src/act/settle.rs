//! One stable set, and nothing that could be taken for the canary.

use serde_json::Value;
use tidegate_engine::state::Revision;

use super::error::ActError;
use super::live::{self, Live};
use crate::kubernetes::{Cluster, Kind, Propagation, Target, json, patch, sets};

/// The Deployment controller's number of the newest template, on the Deployment and on its set.
pub(super) const REVISION_ANNOTATION: &str = "deployment.kubernetes.io/revision";

/// Sets that are not `keep` are at 0; podless ones are gone if they could be taken for the canary
/// or would come up instead of stable.
pub(super) async fn settle(
    cluster: &Cluster,
    target: &Target,
    keep: &Revision,
) -> Result<(), ActError> {
    let deployment = live::deployment(cluster, target).await?;
    if deployment.is_left_alone() {
        return Ok(());
    }
    if !json::is_paused(&deployment.object) {
        return Err(deployment.not_yet("it is rolling out by itself; it must be paused"));
    }
    let sets = live::all_sets(cluster, target, &deployment).await?;
    let stable = sets::of_deployment(&sets, &deployment.object, keep).ok_or_else(|| {
        ActError::NoSet { workload: target.workload.clone(), revision: keep.clone() }
    })?;
    for set in sets.iter().filter(|set| sets::is_owned(set, &deployment.object)) {
        if json::uid(set) == json::uid(stable) || json::is_deleted(set) {
            continue;
        }
        let live = Live::of(target, Kind::ReplicaSet, set.clone());
        if json::replicas(set) > 0 {
            live.write(cluster, |_| Ok(vec![patch::add("/spec/replicas", 0)])).await?;
        } else if is_podless(set) && is_in_the_way(set, stable, &deployment.object) {
            let (uid, version) = (live.uid(), live.version());
            cluster.delete(&live.at, uid, Some(version), Propagation::Background).await?;
        }
    }
    Ok(())
}

fn is_podless(set: &Value) -> bool {
    json::count(set, "/status/replicas").unwrap_or(0) == 0 && json::is_observed(set)
}

/// The Deployment controller takes the oldest set with an equal template, and says by its number
/// which one that is. A paused Deployment that is scaled up from 0 gets the pods of its youngest.
fn is_in_the_way(set: &Value, stable: &Value, deployment: &Value) -> bool {
    let created = |set| json::text(set, "/metadata/creationTimestamp");
    let number = |object| json::annotation(object, REVISION_ANNOTATION);
    let is_equal = sets::revision(set) == sets::revision(deployment);
    let is_taken = number(set).is_some() && number(set) == number(deployment);
    let is_younger = created(set) >= created(stable);
    is_equal || is_taken || is_younger
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(image: &str, created: &str, number: &str) -> Value {
        json!({
            "metadata": {"creationTimestamp": created, "annotations": {REVISION_ANNOTATION: number}},
            "spec": {"template": {"spec": {"image": image}}},
        })
    }

    #[test]
    fn what_could_be_taken_for_the_canary_or_come_up_for_stable_is_in_the_way() {
        let stable = object("v2", "2026-01-02T00:00:00Z", "2");
        let deployment = object("v3", "2026-01-01T00:00:00Z", "3");
        // Template, when it was made, its number, whether it is in the way.
        let cases = [
            ("v1", "2026-01-01T00:00:00Z", "1", false),
            ("v3", "2026-01-01T00:00:00Z", "1", true),
            ("v1", "2026-01-01T00:00:00Z", "3", true),
            ("v1", "2026-01-02T00:00:00Z", "1", true),
            ("v1", "2026-01-03T00:00:00Z", "1", true),
        ];
        for (image, created, number, expected) in cases {
            let set = object(image, created, number);
            assert_eq!(is_in_the_way(&set, &stable, &deployment), expected, "{set}");
        }
    }
}
