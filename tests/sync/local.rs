//! The cluster in memory: owners of fields, versions, the gate, the file.

use serde_json::{Value, json};
use tidegate::sync::target::{Applied, TargetError};
use tidegate::sync::{LocalCluster, ObjectRef};

use super::support::reference;

fn object(kind: &str, rest: &Value) -> Value {
    let api_version = if kind == "Deployment" { "apps/v1" } else { "v1" };
    let mut object = json!({"apiVersion": api_version, "kind": kind,
        "metadata": {"name": "web", "namespace": "shop"}});
    for (name, value) in rest.as_object().unwrap() {
        if name == "metadata" {
            let metadata = object["metadata"].as_object_mut().unwrap();
            metadata.extend(value.as_object().unwrap().clone());
        } else {
            object[name] = value.clone();
        }
    }
    object
}

fn apply(cluster: &LocalCluster, manager: &str, rest: &Value) -> (Applied, Value) {
    let outcome = cluster.apply(&object("ConfigMap", rest), manager, false).unwrap();
    (outcome.applied, outcome.object)
}

#[test]
fn an_apply_keeps_the_fields_of_others_and_drops_its_own() {
    let cluster = LocalCluster::new();
    assert_eq!(apply(&cluster, "a", &json!({"data": {"x": "1", "y": "1"}})).0, Applied::Created);
    assert_eq!(apply(&cluster, "b", &json!({"data": {"z": "2"}})).0, Applied::Changed);
    let (applied, stored) = apply(&cluster, "a", &json!({"data": {"x": "1"}}));
    assert_eq!((applied, &stored["data"]), (Applied::Changed, &json!({"x": "1", "z": "2"})));
    let version = cluster.version();
    assert_eq!(apply(&cluster, "a", &json!({"data": {"x": "1"}})).0, Applied::Unchanged);
    assert_eq!(cluster.version(), version, "and then nothing is written");
}

#[test]
fn a_field_of_another_manager_is_a_conflict_unless_forced_or_equal() {
    let cluster = LocalCluster::new();
    let _ = apply(&cluster, "a", &json!({"data": {"x": "1"}}));
    let theirs = object("ConfigMap", &json!({"data": {"x": "2"}}));
    let before = cluster.version();
    let Err(TargetError::Owned { fields, .. }) = cluster.apply(&theirs, "b", false) else {
        panic!("no conflict")
    };
    assert_eq!(fields, ["data.x (owned by a)"]);
    assert_eq!(cluster.version(), before);
    // An equal value is owned by both, and stays until both have given it up.
    let _ = apply(&cluster, "c", &json!({"data": {"x": "1"}}));
    assert_eq!(apply(&cluster, "c", &json!({"data": {}})).1["data"], json!({"x": "1"}));
    let forced = cluster.apply(&theirs, "b", true).unwrap();
    assert_eq!(forced.object["data"], json!({"x": "2"}));
    // It belongs to b now: a, which names it no more, does not remove it.
    assert_eq!(apply(&cluster, "a", &json!({})).1["data"], json!({"x": "2"}));
    let owners = cluster.owners(&reference("ConfigMap", "web"));
    assert_eq!(owners["b"], ["data.x"]);
}

#[test]
fn containers_of_two_managers_stand_beside_each_other() {
    let cluster = LocalCluster::new();
    let containers = |list: &Value| {
        object("Deployment", &json!({"spec": {"template": {"spec": {"containers": list}}}}))
    };
    let ours = containers(&json!([{"name": "app", "image": "a", "env": [{"name": "X"}]}]));
    let _ = cluster.apply(&ours, "a", false).unwrap();
    let sidecar = containers(&json!([{"name": "log", "image": "l"}]));
    let _ = cluster.apply(&sidecar, "b", false).unwrap();
    let _ =
        cluster.apply(&containers(&json!([{"name": "new", "image": "n"}])), "a", false).unwrap();
    let stored = cluster.get(&reference("Deployment", "web")).unwrap();
    let names: Vec<_> = stored["spec"]["template"]["spec"]["containers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].clone())
        .collect();
    assert_eq!(names, ["log", "new"]);
}

#[test]
fn a_service_selector_is_one_value() {
    let cluster = LocalCluster::new();
    let service = |selector: &Value| object("Service", &json!({"spec": {"selector": selector}}));
    let _ = cluster.apply(&service(&json!({"app": "x"})), "a", false).unwrap();
    let pinned = cluster.apply(&service(&json!({"app": "x", "hash": "1"})), "tidegate", false);
    assert!(matches!(pinned, Err(TargetError::Owned { .. })), "one key cannot be co-owned");
    let pinned = cluster.apply(&service(&json!({"hash": "1"})), "tidegate", true).unwrap();
    assert_eq!(pinned.object["spec"]["selector"], json!({"hash": "1"}));
}

#[test]
fn a_patch_with_an_old_version_conflicts_and_changes_nothing() {
    let cluster = LocalCluster::new();
    let (_, first) = apply(&cluster, "a", &json!({"data": {"x": "1"}}));
    let old = first["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let at = reference("ConfigMap", "web");
    let patch = json!({"data": {"x": "2"}});
    let second = cluster.patch(&at, "p", &patch, Some(&old)).unwrap();
    assert_eq!(second.applied, Applied::Changed);
    let late = cluster.patch(&at, "p", &json!({"data": {"x": "3"}}), Some(&old));
    assert_eq!(late, Err(TargetError::Conflict { object: Box::new(at.clone()) }));
    assert_eq!(cluster.get(&at).unwrap(), second.object);
    // The update took the field over.
    assert_eq!(cluster.owners(&at)["p"], ["data.x"]);
    assert!(cluster.patch(&at, "p", &json!({"metadata": {"name": "other"}}), None).is_err());
}

#[test]
fn only_content_makes_a_new_generation_and_a_new_object_has_a_new_uid() {
    let cluster = LocalCluster::new();
    let at = reference("ConfigMap", "web");
    let generation = |o: &Value| o["metadata"]["generation"].as_u64().unwrap();
    let (_, first) = apply(&cluster, "a", &json!({"data": {"x": "1"}}));
    let labelled = cluster.patch(&at, "p", &json!({"metadata": {"labels": {"l": "1"}}}), None);
    let status = cluster.patch(&at, "p", &json!({"status": {"ready": true}}), None).unwrap();
    assert_eq!(generation(&labelled.unwrap().object), generation(&first));
    assert_eq!(generation(&status.object), generation(&first));
    let (_, changed) = apply(&cluster, "a", &json!({"data": {"x": "2"}}));
    assert_eq!(generation(&changed), generation(&first) + 1);
    let uid = |o: &Value| o["metadata"]["uid"].as_str().unwrap().to_owned();
    assert!(cluster.delete(&at, Some("another")).is_err());
    assert_eq!(cluster.delete(&at, Some(&uid(&changed))), Ok(true));
    assert_eq!(cluster.delete(&at, None), Ok(false), "and then nothing is there");
    assert_ne!(uid(&apply(&cluster, "a", &json!({})).1), uid(&first));
}

#[test]
fn a_subscriber_sees_each_write_and_no_other() {
    let cluster = LocalCluster::new();
    let (other, mut changes) = (cluster.clone(), cluster.subscribe());
    let _ = apply(&other, "a", &json!({"data": {"x": "1"}}));
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    let _ = apply(&cluster, "a", &json!({"data": {"x": "1"}}));
    assert!(!changes.has_changed().unwrap());
}

fn gated(image: &str, paused: Option<bool>) -> Value {
    let mut object = object(
        "Deployment",
        &json!({
        "metadata": {"labels": {"tidegate.dev/rollout": "web"}},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [
            {"name": "app", "image": image}]}}}}),
    );
    if let Some(paused) = paused {
        object["spec"]["paused"] = json!(paused);
    }
    object
}

fn paused(cluster: &LocalCluster) -> Option<bool> {
    cluster.get(&reference("Deployment", "web")).unwrap()["spec"]["paused"].as_bool()
}

#[test]
fn a_changed_template_of_a_gated_deployment_is_paused_in_the_same_write() {
    let cluster = LocalCluster::new();
    let sync = |desired: &Value| cluster.apply(desired, "tidegate-sync", true).unwrap();
    let _ = sync(&gated("app:1", None));
    assert_eq!(paused(&cluster), None, "creation is not gated");
    let _ = cluster
        .patch(&reference("Deployment", "web"), "hpa", &json!({"spec": {"replicas": 5}}), None)
        .unwrap();
    assert_eq!(paused(&cluster), None, "replicas are not the template");
    let mut two = gated("app:2", None);
    two["spec"].as_object_mut().unwrap().remove("replicas");
    let before = cluster.version();
    let written = sync(&two);
    assert_eq!(
        (written.object["spec"]["paused"].clone(), cluster.version()),
        (json!(true), before + 1)
    );
    let owners = cluster.owners(&reference("Deployment", "web"));
    assert!(owners.values().flatten().all(|path| path != "spec.paused"), "{owners:?}");
    // Nobody but the controller resumes it, and repeating the apply writes nothing.
    assert_eq!(sync(&two).applied, Applied::Unchanged);
    let mut resumed = two.clone();
    resumed["spec"]["paused"] = json!(false);
    let _ = sync(&resumed);
    assert_eq!(paused(&cluster), Some(true));
    let at = reference("Deployment", "web");
    let _ = cluster.patch(&at, "tidegate", &json!({"spec": {"paused": null}}), None).unwrap();
    assert_eq!(paused(&cluster), None);
}

#[test]
fn the_label_of_the_gate_stays_and_break_glass_opens_it() {
    let cluster = LocalCluster::new();
    let at = reference("Deployment", "web");
    let _ = cluster.apply(&gated("app:1", None), "tidegate-sync", true).unwrap();
    let mut bare = gated("app:2", None);
    bare["metadata"].as_object_mut().unwrap().remove("labels");
    let _ = cluster.apply(&bare, "tidegate-sync", true).unwrap();
    assert_eq!(paused(&cluster), Some(true), "dropping the label does not open the gate");
    let glass = json!({"metadata": {"annotations": {"tidegate.dev/break-glass": "x"}},
        "spec": {"paused": null}});
    let _ = cluster.patch(&at, "someone", &glass, None).unwrap();
    assert_eq!(paused(&cluster), None);
}

#[test]
fn a_deployment_without_the_label_is_never_paused() {
    let cluster = LocalCluster::new();
    for image in ["app:1", "app:2"] {
        let mut free = gated(image, None);
        free["metadata"].as_object_mut().unwrap().remove("labels");
        let _ = cluster.apply(&free, "tidegate-sync", true).unwrap();
    }
    assert_eq!(paused(&cluster), None);
}

#[test]
fn the_file_brings_everything_back_owners_too() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cluster.json");
    let cluster = LocalCluster::open(&file).unwrap();
    let _ = apply(&cluster, "a", &json!({"data": {"x": "1", "y": "1"}}));
    let again = LocalCluster::open(&file).unwrap();
    assert_eq!((again.all(), again.version()), (cluster.all(), cluster.version()));
    assert_eq!(apply(&again, "a", &json!({"data": {"x": "1"}})).1["data"], json!({"x": "1"}));
    std::fs::write(&file, "{").unwrap();
    assert!(matches!(LocalCluster::open(&file), Err(TargetError::Store { .. })));
}

#[test]
fn a_write_that_cannot_be_saved_did_not_happen() {
    let directory = tempfile::tempdir().unwrap();
    let gone = directory.path().join("sub");
    std::fs::create_dir(&gone).unwrap();
    let cluster = LocalCluster::open(&gone.join("cluster.json")).unwrap();
    std::fs::remove_dir_all(&gone).unwrap();
    let failed = cluster.apply(&object("ConfigMap", &json!({})), "a", false);
    assert!(matches!(failed, Err(TargetError::Store { .. })));
    assert_eq!((cluster.all().len(), cluster.version()), (0, 0));
}

#[test]
fn a_list_is_of_one_kind_and_namespace() {
    let cluster = LocalCluster::new();
    let _ = apply(&cluster, "a", &json!({}));
    let _ = cluster.apply(&gated("app:1", None), "a", false).unwrap();
    let names = |objects: Vec<Value>| -> Vec<ObjectRef> {
        objects.iter().map(|o| ObjectRef::of(o).unwrap()).collect()
    };
    let all = names(cluster.list("apps", "Deployment", None));
    assert_eq!(all, [reference("Deployment", "web")]);
    assert!(cluster.list("apps", "Deployment", Some("other")).is_empty());
}
