//! Whose pods the Services select.

use serde_json::Value;
use tidegate_engine::state::Revision;

use super::error::ActError;
use super::hold::held_services;
use super::live::{self, Live, on_each};
use crate::kubernetes::{Cluster, Kind, POD_TEMPLATE_HASH, Target, json, patch, sets};

/// Every Service selects only the pods of this revision.
pub(super) async fn pin(
    cluster: &Cluster,
    target: &Target,
    revision: &Revision,
) -> Result<(), ActError> {
    let deployment = live::deployment(cluster, target).await?;
    let sets = live::all_sets(cluster, target, &deployment).await?;
    let hash = hash_of(&sets, target, &deployment.object, revision).ok_or_else(|| {
        ActError::NoSet { workload: target.workload.clone(), revision: revision.clone() }
    })?;
    on_each(target.services.iter().map(String::as_str), |name| {
        select(cluster, target, name, Some(hash))
    })
    .await
}

/// Every Service selects all pods of the workload.
pub(super) async fn unpin(cluster: &Cluster, target: &Target) -> Result<(), ActError> {
    on_each(target.services.iter().map(String::as_str), |name| select(cluster, target, name, None))
        .await
}

/// The same for a user's own canary Service too: nothing in flight is left.
pub(super) async fn unpin_all(cluster: &Cluster, target: &Target) -> Result<(), ActError> {
    on_each(held_services(target), |name| select(cluster, target, name, None)).await
}

/// One Service selects the pods with this hash alone; without one, all of the workload.
pub(super) async fn select(
    cluster: &Cluster,
    target: &Target,
    name: &str,
    hash: Option<&str>,
) -> Result<(), ActError> {
    let found = Live::find(cluster, target, Kind::Service, name).await?;
    let Some(live) = found else {
        // One that is gone needs no unpinning.
        let object = Box::new(target.object(Kind::Service, name));
        return if hash.is_none() { Ok(()) } else { Err(ActError::Missing { object }) };
    };
    let decide =
        |live: &Live| selecting(&live.object, hash).ok_or_else(|| live.unfit("it has no selector"));
    live.write(cluster, decide).await.map(drop)
}

/// The operations that make a Service select the pods with this hash; `None`: it selects none at
/// all, and is filled by somebody else.
fn selecting(service: &Value, hash: Option<&str>) -> Option<Vec<Value>> {
    let selector = service.pointer("/spec/selector").and_then(Value::as_object);
    let found = selector.and_then(|selector| selector.get(POD_TEMPLATE_HASH));
    let path = format!("/spec/selector/{POD_TEMPLATE_HASH}");
    match (selector, hash) {
        (None, Some(_)) => None,
        (_, hash) if found.and_then(Value::as_str) == hash => Some(Vec::new()),
        (_, Some(hash)) => Some(vec![patch::add(&path, hash)]),
        (_, None) => Some(vec![patch::remove(&path)]),
    }
}

/// The hash of a revision's pods: of the set with most available ones, where the Deployment and we
/// have one each; ours on a tie.
fn hash_of<'a>(
    sets: &'a [Value],
    target: &Target,
    deployment: &Value,
    revision: &Revision,
) -> Option<&'a str> {
    let available = |set: &Value| json::count(set, "/status/availableReplicas").unwrap_or(0);
    let theirs = sets::of_deployment(sets, deployment, revision);
    let ours = sets.iter().find(|set| sets::is_canary(set, &target.workload, revision));
    let set = match (theirs, ours) {
        (Some(theirs), Some(ours)) if available(theirs) > available(ours) => theirs,
        (_, Some(ours)) => ours,
        (theirs, None) => theirs?,
    };
    sets::hash(set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_our_key_of_a_selector_comes_and_goes() {
        let free = json!({"spec": {"selector": {"app": "web"}}});
        let pinned = json!({"spec": {"selector": {"app": "web", POD_TEMPLATE_HASH: "1"}}});
        let none = json!({"spec": {}});
        let path = "/spec/selector/pod-template-hash";
        assert_eq!(selecting(&free, Some("1")), Some(vec![patch::add(path, "1")]));
        assert_eq!(selecting(&pinned, Some("2")), Some(vec![patch::add(path, "2")]));
        assert_eq!(selecting(&pinned, None), Some(vec![patch::remove(path)]));
        assert_eq!(selecting(&pinned, Some("1")), Some(vec![]));
        assert_eq!(selecting(&free, None), Some(vec![]));
        assert_eq!(selecting(&none, None), Some(vec![]));
        assert_eq!(selecting(&none, Some("1")), None);
    }
}
