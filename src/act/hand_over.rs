//! The tested pods become the Deployment's own.
//!
//! One patch: the owner is swapped, never taken away first, since a set without an owner is
//! anybody's. The Deployment controller cuts sets it did not size: with both of its annotations
//! exact and stable no smaller than the canary, the canary is never touched. A set of as many pods as
//! `maxSurge` allows on top makes what is there what may be there: nothing is rescaled at all.

use serde_json::{Value, json};
use tidegate_engine::state::Revision;

use super::error::ActError;
use super::live::{self, Live};
use crate::kubernetes::{Cluster, Kind, Target, json, max_surge, names, patch, sets, surge};

/// What the Deployment controller notes on a set: the pods that the Deployment wanted.
const DESIRED_ANNOTATION: &str = "deployment.kubernetes.io/desired-replicas";
/// The same: the most pods it may have while it rolls out.
const MAX_ANNOTATION: &str = "deployment.kubernetes.io/max-replicas";

/// Hands the canary's set to the Deployment, if all that must hold holds right now.
pub(super) async fn hand_over(
    cluster: &Cluster,
    target: &Target,
    revision: &Revision,
    replicas: u32,
) -> Result<(), ActError> {
    let name = names::set_name(&target.workload, revision);
    let (deployment, canary) = tokio::try_join!(
        live::deployment(cluster, target),
        Live::need(cluster, target, Kind::ReplicaSet, &name),
    )?;
    if deployment.is_left_alone() || canary.is_left_alone() {
        return Ok(());
    }
    if sets::is_owned(&canary.object, &deployment.object) {
        return Ok(());
    }
    let sets = live::all_sets(cluster, target, &deployment).await?;
    if !sets::is_canary(&canary.object, &target.workload, revision) {
        return Err(canary.not_ours());
    }
    if let Err((of_canary, condition)) =
        conditions(&deployment.object, &canary.object, &sets, (revision, replicas))
    {
        return Err(if of_canary { &canary } else { &deployment }.not_yet(condition));
    }
    let operations = swap(&deployment.object, &canary.object).map_err(|what| {
        deployment.unfit(what) // a form of maxSurge that the API server would not have taken
    })?;
    // Decided on three objects: whoever was faster, all of them must be looked at again.
    cluster.patch_json(&canary.at, operations, canary.version()).await?;
    Ok(())
}

/// What must hold at the swap of this revision with so many pods. `Err`: whether it is about the
/// canary, and what does not hold.
fn conditions(
    deployment: &Value,
    canary: &Value,
    sets: &[Value],
    (revision, replicas): (&Revision, u32),
) -> Result<(), (bool, String)> {
    let desired = json::replicas(deployment);
    let spare = surge(deployment).unwrap_or(0);
    let require = |holds: bool, of_canary: bool, condition: String| {
        if holds { Ok(()) } else { Err((of_canary, condition)) }
    };
    let of_deployment = |holds, condition: &str| require(holds, false, condition.to_owned());
    of_deployment(
        sets::revision(deployment).as_ref() == Some(revision),
        "its template is not the canary's any more",
    )?;
    of_deployment(json::is_paused(deployment), "it must be paused")?;
    of_deployment(json::is_observed(deployment), "its newest generation is not observed yet")?;
    of_deployment(desired > 0, "it wants no pods")?;
    require(
        replicas == desired || replicas == spare,
        false,
        format!("it takes {desired} pods, or {spare} early, and is asked to take {replicas}"),
    )?;
    require(
        sets::revision(canary).as_ref() == Some(revision),
        true,
        "its template was changed".to_owned(),
    )?;
    require(
        json::is_observed(canary),
        true,
        "its newest generation is not observed yet".to_owned(),
    )?;
    let (size, available) =
        (json::replicas(canary), json::count(canary, "/status/availableReplicas"));
    require(size == replicas, true, format!("it asks for {size} pods, expected {replicas}"))?;
    let available = available.unwrap_or(0);
    require(available == replicas, true, format!("{available} of {replicas} pods are available"))?;
    let mut active = Vec::new();
    for set in sets.iter().filter(|set| sets::is_owned(set, deployment)) {
        let name = json::name(set).unwrap_or("?");
        if sets::revision(set).as_ref() == Some(revision) {
            let condition =
                format!("set {name} has the canary's template and would be taken for it");
            return Err((false, condition));
        }
        if json::replicas(set) > 0 {
            require(json::is_observed(set), false, format!("set {name} is not observed yet"))?;
            active.push((name, json::replicas(set)));
        }
    }
    match active.as_slice() {
        [] => Ok(()),
        [(_, size)] if *size == desired => Ok(()),
        [(name, size)] => {
            Err((false, format!("set {name} asks for {size} pods, expected {desired}")))
        }
        more => Err((false, format!("{} sets have pods, expected one", more.len()))),
    }
}

/// The one patch.
fn swap(deployment: &Value, canary: &Value) -> Result<Vec<Value>, String> {
    let desired = json::replicas(deployment);
    let spare = surge(deployment).ok_or_else(|| {
        format!("maxSurge {} is neither a count nor a percentage", max_surge(deployment))
    })?;
    let most = desired.saturating_add(spare);
    let owner = json!({
        "apiVersion": Kind::Deployment.api_version(),
        "kind": Kind::Deployment.as_str(),
        "name": json::name(deployment),
        "uid": json::uid(deployment),
        "controller": true,
        "blockOwnerDeletion": true,
    });
    let mut operations = vec![patch::add("/metadata/ownerReferences", json!([owner]))];
    if canary.pointer("/metadata/annotations").is_none() {
        operations.push(patch::add("/metadata/annotations", json!({})));
    }
    for (key, value) in [(DESIRED_ANNOTATION, desired), (MAX_ANNOTATION, most)] {
        let path = format!("/metadata/annotations/{}", patch::escaped(key));
        operations.push(patch::add(&path, value.to_string()));
    }
    let seconds = json::count(deployment, "/spec/minReadySeconds").unwrap_or(0);
    operations.push(patch::add("/spec/minReadySeconds", seconds));
    Ok(operations)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment() -> Value {
        json!({
            "metadata": {"name": "web", "uid": "d", "generation": 2},
            "spec": {
                "replicas": 3, "paused": true, "minReadySeconds": 5,
                "strategy": {"rollingUpdate": {"maxSurge": "25%"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"image": "v2"}},
            },
            "status": {"observedGeneration": 2},
        })
    }

    fn set(name: &str, image: &str, owner: &Value, replicas: u32) -> Value {
        json!({
            "metadata": {
                "name": name, "uid": name, "generation": 1, "resourceVersion": "7",
                "ownerReferences": [owner],
            },
            "spec": {
                "replicas": replicas,
                "template": {
                    "metadata": {"labels": {"app": "web", "pod-template-hash": name}},
                    "spec": {"image": image},
                },
            },
            "status": {"observedGeneration": 1, "availableReplicas": replicas},
        })
    }

    fn stable(image: &str, replicas: u32) -> Value {
        let owner = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "uid": "d", "controller": true,
        });
        set("stable", image, &owner, replicas)
    }

    fn canary(replicas: u32) -> Value {
        let owner = json!({"kind": "ControllerRevision", "name": "c", "controller": true});
        set("canary", "v2", &owner, replicas)
    }

    fn refused(deployment: &Value, canary: &Value, sets: &[Value]) -> Option<String> {
        refused_of(3, deployment, canary, sets)
    }

    fn refused_of(
        replicas: u32,
        deployment: &Value,
        canary: &Value,
        sets: &[Value],
    ) -> Option<String> {
        let revision = sets::revision(&self::deployment()).expect("a template");
        let asked = (&revision, replicas);
        conditions(deployment, canary, sets, asked).err().map(|(_, condition)| condition)
    }

    #[test]
    fn what_does_not_hold_is_named() {
        let (good, full, old) = (deployment(), canary(3), stable("v1", 3));
        assert_eq!(refused(&good, &full, std::slice::from_ref(&old)), None);
        assert_eq!(refused(&good, &full, &[]), None, "nothing of stable is left to be cut");

        let with = |pointer: &str, value: Value| {
            let mut changed = deployment();
            *changed.pointer_mut(pointer).expect("a field") = value;
            changed
        };
        let mut late = canary(3);
        late["status"]["availableReplicas"] = json!(2);
        let mut changed = canary(3);
        changed["spec"]["template"]["spec"]["image"] = json!("v3");
        let mut unseen = canary(3);
        unseen["metadata"]["generation"] = json!(2);
        let olds = [old.clone()];
        let cases = [
            (
                with("/spec/template/spec/image", json!("v3")),
                full.clone(),
                olds.to_vec(),
                "not the",
            ),
            (with("/spec/paused", json!(false)), full.clone(), olds.to_vec(), "must be paused"),
            (with("/metadata/generation", json!(3)), full.clone(), olds.to_vec(), "observed yet"),
            (with("/spec/replicas", json!(0)), full.clone(), olds.to_vec(), "wants no pods"),
            (with("/spec/replicas", json!(2)), full.clone(), olds.to_vec(), "takes 2 pods"),
            (good.clone(), late, olds.to_vec(), "2 of 3 pods are available"),
            (good.clone(), changed, olds.to_vec(), "template was changed"),
            (good.clone(), unseen, olds.to_vec(), "observed yet"),
            (good.clone(), full.clone(), vec![stable("v1", 2)], "asks for 2 pods, expected 3"),
            (good.clone(), full.clone(), vec![old.clone(), stable("v2", 0)], "taken for it"),
            (good, full, vec![old, stable("v0", 1)], "2 sets have pods"),
        ];
        for (deployment, canary, sets, expected) in cases {
            let found = refused(&deployment, &canary, &sets).unwrap_or_default();
            assert!(found.contains(expected), "{found:?} does not say {expected:?}");
        }
    }

    #[test]
    fn early_it_takes_exactly_what_max_surge_allows() {
        // 25 % of 3 are 1.
        let (good, old) = (deployment(), [stable("v1", 3)]);
        assert_eq!(refused_of(1, &good, &canary(1), &old), None);
        let cases = [
            (2, canary(2), &old, "it takes 3 pods, or 1 early"),
            (1, canary(2), &old, "asks for 2 pods, expected 1"),
            (1, canary(1), &[stable("v1", 2)], "asks for 2 pods, expected 3"),
        ];
        for (replicas, canary, sets, expected) in cases {
            let found = refused_of(replicas, &good, &canary, sets).unwrap_or_default();
            assert!(found.contains(expected), "{found:?} does not say {expected:?}");
        }
    }

    #[test]
    fn the_swap_is_one_patch_with_owner_and_both_annotations() {
        let operations = swap(&deployment(), &canary(3)).expect("a patch");
        let owner = json!([{
            "apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d",
            "controller": true, "blockOwnerDeletion": true,
        }]);
        assert_eq!(
            operations,
            [
                patch::add("/metadata/ownerReferences", owner),
                patch::add("/metadata/annotations", json!({})),
                patch::add("/metadata/annotations/deployment.kubernetes.io~1desired-replicas", "3"),
                patch::add("/metadata/annotations/deployment.kubernetes.io~1max-replicas", "4"),
                patch::add("/spec/minReadySeconds", 5),
            ]
        );
    }
}
