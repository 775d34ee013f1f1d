use super::*;
use serde_json::json;
use tidegate_engine::observed::Deployed;

use crate::kubernetes::{CanaryService, POD_TEMPLATE_HASH, revision_of};

fn target() -> Target {
    Target {
        namespace: "shop".to_owned(),
        rollout: "web".to_owned(),
        uid: "r".to_owned(),
        workload: "web".to_owned(),
        services: vec!["web".to_owned()],
        canary_service: CanaryService { name: "web-canary".to_owned(), ours: true },
        routes: Vec::new(),
    }
}

fn template(image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": image}]},
    })
}

fn revision(image: &str) -> Revision {
    revision_of(&template(image))
}

/// A paused Deployment with this template, which took the set number 1 last.
fn deployment(image: &str) -> Value {
    json!({
        "metadata": {
            "name": "web", "uid": "d", "generation": 7,
            "annotations": {TAKEN_ANNOTATION: "1"},
        },
        "spec": {
            "replicas": 3, "paused": true, "template": template(image),
            "selector": {"matchLabels": {"app": "web"}},
        },
        "status": {"observedGeneration": 7},
    })
}

/// A set of the Deployment, made in this minute.
fn set(image: &str, number: &str, replicas: u32, minute: u32) -> Value {
    let mut template = template(image);
    let hash = format!("5d{number}");
    template["metadata"]["labels"][POD_TEMPLATE_HASH] = json!(hash);
    json!({
        "metadata": {
            "name": format!("web-{hash}"), "uid": format!("s{number}"), "generation": 1,
            "creationTimestamp": format!("2026-05-01T10:{minute:02}:00Z"),
            "annotations": {TAKEN_ANNOTATION: number},
            "labels": {"app": "web", POD_TEMPLATE_HASH: hash},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d",
                "controller": true,
            }],
        },
        "spec": {"replicas": replicas, "template": template},
        "status": {"replicas": replicas, "availableReplicas": replicas, "observedGeneration": 1},
    })
}

fn canary(image: &str, replicas: u32) -> Value {
    let mut canary = set(image, "9", replicas, 9);
    let revision = revision(image);
    let name = format!("web-{revision}");
    canary["metadata"]["name"] = json!(name);
    canary["metadata"]["labels"][POD_TEMPLATE_HASH] = json!(revision.as_str());
    canary["metadata"]["annotations"] = json!({});
    canary["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "apps/v1", "kind": "ControllerRevision", "name": name, "uid": "c",
        "controller": true,
    }]);
    canary
}

fn work(deployment: &Value, sets: &[Value], stable: &str) -> Workload {
    let (stable, target) = (revision(stable), target());
    let sets = Sets::new(Some(deployment), &target, sets);
    facts(deployment, &sets, Some(&stable), Deployed::Unknown).expect("a template")
}

#[test]
fn a_gated_template_waits_beside_the_set_that_serves() {
    let seen = work(&deployment("web:2"), &[set("web:1", "1", 3, 0)], "web:1");
    assert_eq!(seen.template, revision("web:2"));
    assert_eq!(seen.adopted, Some(revision("web:1")));
    assert_eq!(seen.desired, 3);
    assert!(seen.paused && seen.settled);
}

#[test]
fn what_may_be_there_on_top_is_counted_in_pods() {
    let mut deployment = deployment("web:2");
    assert_eq!(work(&deployment, &[], "web:1").surge, 1, "a quarter of 3, rounded up");
    deployment["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": 2}});
    assert_eq!(work(&deployment, &[], "web:1").surge, 2);
}

#[test]
fn without_replicas_the_default_is_one() {
    let mut deployment = deployment("web:2");
    deployment["spec"]["replicas"].take();
    assert_eq!(work(&deployment, &[], "web:1").desired, 1);
}

#[test]
fn an_empty_set_that_equals_the_template_is_not_settled() {
    let sets = [set("web:2", "1", 0, 0), set("web:1", "2", 3, 5)];
    let mut deployment = deployment("web:2");
    deployment["metadata"]["annotations"][TAKEN_ANNOTATION] = json!("2");
    assert!(!work(&deployment, &sets, "web:1").settled);
}

#[test]
fn an_empty_set_that_is_younger_than_stable_is_not_settled() {
    let younger = [set("web:1", "1", 3, 0), set("web:0", "2", 0, 5)];
    assert!(!work(&deployment("web:2"), &younger, "web:1").settled);
    let older = [set("web:0", "0", 0, 0), set("web:1", "1", 3, 5)];
    assert!(work(&deployment("web:2"), &older, "web:1").settled);
}

#[test]
fn two_sets_with_pods_or_another_ones_pods_are_not_settled() {
    let two = [set("web:1", "1", 2, 0), set("web:0", "0", 1, 0)];
    assert!(!work(&deployment("web:2"), &two, "web:1").settled);
    let other = [set("web:0", "1", 3, 0)];
    assert!(!work(&deployment("web:2"), &other, "web:1").settled);
}

#[test]
fn pods_that_still_end_count_as_pods() {
    let mut ends = set("web:0", "0", 0, 0);
    ends["status"]["replicas"] = json!(1);
    assert!(!work(&deployment("web:2"), &[set("web:1", "1", 3, 1), ends], "web:1").settled);
}

#[test]
fn what_the_controller_has_not_looked_at_says_nothing() {
    let mut deployment = deployment("web:2");
    deployment["status"]["observedGeneration"] = json!(6);
    let seen = work(&deployment, &[set("web:1", "1", 3, 0)], "web:1");
    assert_eq!(seen.adopted, None);
    assert!(!seen.settled);
}

#[test]
fn a_set_that_the_controller_takes_for_the_template_is_not_settled() {
    let mut deployment = deployment("web:2");
    deployment["metadata"]["annotations"][TAKEN_ANNOTATION] = json!("0");
    let sets = [set("web:0", "0", 0, 0), set("web:1", "1", 3, 5)];
    assert!(!work(&deployment, &sets, "web:1").settled);
}

#[test]
fn the_canary_is_ours_until_the_deployment_controls_it() {
    let deployment = deployment("web:2");
    let (canary, target) = (canary("web:2", 1), target());
    let mut all = vec![set("web:1", "1", 3, 0), canary];
    let revision = revision("web:2");
    let sets = Sets::new(Some(&deployment), &target, &all);
    assert!(sets.canary(&revision).is_some() && sets.of_deployment(&revision).is_none());
    assert_eq!(sets.labelled(revision.as_str()), Some(revision.clone()));
    assert!(work(&deployment, &all, "web:1").settled, "the canary's set is no obstacle");
    all[1]["metadata"]["ownerReferences"] = all[0]["metadata"]["ownerReferences"].clone();
    all[1]["metadata"]["annotations"][TAKEN_ANNOTATION] = json!("1");
    all[0]["metadata"]["annotations"][TAKEN_ANNOTATION] = json!("0");
    let sets = Sets::new(Some(&deployment), &target, &all);
    assert!(sets.canary(&revision).is_none() && sets.of_deployment(&revision).is_some());
    assert_eq!(sets.labelled(revision.as_str()), Some(revision.clone()));
    assert_eq!(sets.adopted(), Some(revision));
}

#[test]
fn a_canary_whose_template_was_changed_on_the_way_is_still_ours() {
    let mut changed = canary("web:2", 0);
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = json!("mirror/web:2");
    let (all, target) = ([changed], target());
    assert!(Sets::new(None, &target, &all).canary(&revision("web:2")).is_some());
}

#[test]
fn a_set_of_somebody_else_is_neither() {
    let mut other = canary("web:2", 1);
    other["metadata"]["ownerReferences"][0]["kind"] = json!("Rollout");
    let (all, target) = ([other], target());
    let sets = Sets::new(None, &target, &all);
    assert!(sets.canary(&revision("web:2")).is_none());
    assert_eq!(sets.labelled(revision("web:2").as_str()), None);
}

#[test]
fn an_empty_selector_is_never_sent() {
    let selected = |selector: Value| selector_of(&json!({"spec": {"selector": selector}}));
    assert_eq!(selected(json!({"matchLabels": {"app": "web"}})).as_deref(), Some("app=web"));
    assert_eq!(selected(json!({})), None, "it would mean everything");
}

fn selector_of(deployment: &Value) -> Option<String> {
    selector(deployment)
}

#[test]
fn a_restart_is_what_differs_in_nothing_but_its_mark() {
    let stable = [set("web:1", "1", 3, 1)];
    let marked = |image: &str, key: &str| {
        let mut deployment = deployment(image);
        deployment["spec"]["template"]["metadata"]["annotations"] = json!({key: "2026-05-02"});
        work(&deployment, &stable, "web:1").restart
    };
    assert!(marked("web:1", "kubectl.kubernetes.io/restartedAt"));
    assert!(marked("web:1", "cattle.io/timestamp"));
    assert!(!marked("web:2", "kubectl.kubernetes.io/restartedAt"), "it is a new version too");
    assert!(!marked("web:1", "reloader.stakater.com/last-reloaded-from"), "something changed");
    assert!(!work(&deployment("web:1"), &stable, "web:1").restart, "nothing changed");
}
