#![expect(clippy::needless_pass_by_value, reason = "`json!` reads better without `&`")]

use super::*;
use serde_json::json;
use tidegate_engine::plan::Weight;
use tidegate_engine::state::Revision;

use crate::kubernetes::{CanaryService, revision_of};

fn target() -> Target {
    Target {
        namespace: "shop".to_owned(),
        rollout: "web".to_owned(),
        uid: "r".to_owned(),
        workload: "web".to_owned(),
        services: vec!["web".to_owned(), "web-grpc".to_owned()],
        canary_service: CanaryService { name: "web-canary".to_owned(), ours: true },
        routes: vec!["web".to_owned()],
    }
}

/// A route as Contour leaves it: taken by its one gateway at its generation.
fn route(rules: Value) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "web", "namespace": "shop", "generation": 4},
        "spec": {
            "parentRefs": [{
                "group": "gateway.networking.k8s.io", "kind": "Gateway",
                "name": "contour", "namespace": "projectcontour",
            }],
            "hostnames": ["web.local"],
            "rules": rules,
        },
        "status": {"parents": [parent("contour", 4, "True", "True")]},
    })
}

fn parent(gateway: &str, generation: i64, accepted: &str, resolved: &str) -> Value {
    json!({
        "controllerName": "projectcontour.io/gateway-controller",
        "parentRef": {
            "group": "gateway.networking.k8s.io", "kind": "Gateway",
            "name": gateway, "namespace": "projectcontour",
        },
        "conditions": [
            {"type": "Accepted", "status": accepted, "observedGeneration": generation},
            {"type": "ResolvedRefs", "status": resolved, "observedGeneration": generation},
        ],
    })
}

fn backend(name: &str, weight: u64) -> Value {
    json!({"group": "", "kind": "Service", "name": name, "port": 80, "weight": weight})
}

fn rule(stable: u64, canary: u64) -> Value {
    json!({"backendRefs": [backend("web", stable), backend("web-canary", canary)]})
}

fn weight(percent: u8) -> Option<RouteView> {
    Weight::new(percent).map(RouteView::Split)
}

fn read(routes: &[Value]) -> Option<RouteView> {
    super::route(&target(), routes)
}

#[test]
fn a_route_without_the_canary_is_home() {
    let rules = json!([{"backendRefs": [backend("web", 1)]}]);
    assert_eq!(read(&[route(rules)]), Some(RouteView::Home));
    assert_eq!(read(&[route(json!([{"backendRefs": []}]))]), Some(RouteView::Home));
}

#[test]
fn the_weight_is_the_canarys_share_of_both() {
    assert_eq!(read(&[route(json!([rule(80, 20)]))]), weight(20));
    assert_eq!(read(&[route(json!([rule(100, 0)]))]), weight(0));
    assert_eq!(read(&[route(json!([rule(0, 100)]))]), weight(100));
    assert_eq!(read(&[route(json!([rule(0, 0)]))]), None, "nobody gets anything");
    assert_eq!(read(&[route(json!([rule(9, 1)]))]), weight(10));
}

#[test]
fn other_backends_and_other_rules_are_other_peoples() {
    let rules = json!([
        {"backendRefs": [backend("web", 60), backend("other", 40), backend("web-canary", 20)]},
        {"backendRefs": [backend("docs", 1)]},
        {"filters": [{"type": "RequestRedirect"}]},
    ]);
    assert_eq!(read(&[route(rules)]), weight(25));
}

#[test]
fn rules_that_disagree_are_no_answer() {
    assert_eq!(read(&[route(json!([rule(80, 20), rule(50, 50)]))]), None);
    let half_way = json!([rule(80, 20), {"backendRefs": [backend("web", 1)]}]);
    assert_eq!(read(&[route(half_way)]), None);
}

#[test]
fn a_backend_of_the_same_name_elsewhere_is_not_the_service() {
    let mut elsewhere = backend("web-canary", 50);
    elsewhere["namespace"] = json!("other");
    let mut bucket = backend("web-canary", 50);
    bucket["kind"] = json!("Bucket");
    let rules = json!([{"backendRefs": [backend("web", 50), elsewhere, bucket]}]);
    assert_eq!(read(&[route(rules)]), Some(RouteView::Home));
}

#[test]
fn only_what_the_gateway_took_at_this_generation_counts() {
    let with = |parents: Value| {
        let mut route = route(json!([rule(80, 20)]));
        route["status"]["parents"] = parents;
        read(&[route])
    };
    assert_eq!(with(json!([parent("contour", 3, "True", "True")])), None, "an old generation");
    assert_eq!(with(json!([parent("contour", 4, "True", "False")])), None, "a missing backend");
    assert_eq!(with(json!([parent("contour", 4, "False", "True")])), None, "refused");
    assert_eq!(with(json!([parent("gone", 4, "True", "True")])), None, "not named any more");
    assert_eq!(with(json!([])), None, "nobody");
    assert_eq!(with(json!([parent("contour", 5, "True", "True")])), weight(20));
}

#[test]
fn of_two_gateways_both_take_it_or_one_refuses() {
    let with = |second: Value| {
        let mut route = route(json!([rule(80, 20)]));
        let named = json!({"name": "inside", "namespace": "projectcontour"});
        route["spec"]["parentRefs"].as_array_mut().expect("a list").push(named);
        route["status"]["parents"].as_array_mut().expect("a list").push(second);
        read(&[route])
    };
    assert_eq!(with(parent("inside", 4, "True", "True")), weight(20));
    assert_eq!(with(parent("inside", 4, "False", "True")), weight(20));
    assert_eq!(with(parent("inside", 3, "True", "True")), None, "not seen yet");
    assert_eq!(with(parent("inside", 3, "False", "True")), None, "refused before, now unknown");
}

#[test]
fn every_route_must_be_there_and_say_the_same() {
    let one = route(json!([rule(80, 20)]));
    let other = route(json!([rule(50, 50)]));
    assert_eq!(read(&[]), None);
    assert_eq!(read(&[one.clone(), other]), None);
    assert_eq!(read(&[one.clone(), one]), weight(20));
}

fn service(hash: Option<&str>) -> Value {
    let mut service = json!({
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"selector": {"app": "web"}},
    });
    if let Some(hash) = hash {
        service["spec"]["selector"][POD_TEMPLATE_HASH] = json!(hash);
    }
    service
}

fn sets() -> (Value, Vec<Value>, Revision) {
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}});
    let deployment = json!({"metadata": {"uid": "d"}, "spec": {"template": template}});
    let set = json!({
        "metadata": {
            "name": "web-5d1", "uid": "s", "labels": {POD_TEMPLATE_HASH: "5d1"},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "Deployment", "uid": "d", "controller": true,
            }],
        },
        "spec": {"template": template},
    });
    let revision = revision_of(&template);
    (deployment, vec![set], revision)
}

#[test]
fn a_pin_is_told_as_the_revision_of_the_set_behind_it() {
    let (deployment, all, revision) = sets();
    let target = target();
    let sets = Sets::new(Some(&deployment), &target, &all);
    let stable = service(Some("5d1"));
    assert_eq!(pinned(&[service(None), service(None)], &sets), Pinned::All);
    assert_eq!(pinned(&[stable.clone(), stable.clone()], &sets), Pinned::To(revision));
    assert_eq!(pinned(&[stable, service(None)], &sets), Pinned::Mixed);
    assert_eq!(pinned(&[service(Some("5d2"))], &sets), Pinned::Mixed, "nobody's pods");
    assert_eq!(pinned(&[], &sets), Pinned::NoService);
}

#[test]
fn a_service_that_is_free_does_not_keep_the_others_from_agreeing() {
    let (deployment, all, revision) = sets();
    let target = target();
    let sets = Sets::new(Some(&deployment), &target, &all);
    let free = |hash| {
        let mut service = service(hash);
        service["metadata"]["annotations"] = json!({"tidegate.dev/break-glass": "incident 7"});
        service
    };
    let seen = |services: &[Value]| {
        let seen = view(&target, (services, &[], &[]), &sets, &State::default());
        (seen.pinned, seen.freed)
    };
    let stable = service(Some("5d1"));
    assert_eq!(seen(&[free(None), stable.clone()]), (Pinned::To(revision.clone()), true));
    assert_eq!(seen(&[free(None)]), (Pinned::All, true));
    // Left where it is, it still sends its requests there alone.
    assert_eq!(seen(&[free(Some("5d1"))]), (Pinned::To(revision), false));
    assert_eq!(seen(&[service(None), stable]), (Pinned::Mixed, false));
}

#[test]
fn on_the_way_forward_all_must_be_held_and_on_the_way_home_one_is_enough() {
    use tidegate_engine::state::{Origin, Trial, TrialId};
    let (deployment, all, revision) = sets();
    let target = target();
    let sets = Sets::new(Some(&deployment), &target, &all);
    let mut held = service(None);
    held["metadata"]["labels"] = json!({HELD_LABEL: "web"});
    let mut others = service(None);
    others["metadata"]["labels"] = json!({HELD_LABEL: "somebody"});
    let since = "2026-05-01T10:00:00Z".parse().expect("a time");
    let state = |stage| State {
        trial: Some(Trial {
            id: TrialId::new("t"),
            canary: revision.clone(),
            origin: Origin::Unknown,
            started: since,
            ready: None,
            shared: None,
            home: None,
            skip: None,
            handed: false,
            gates: None,
            class: None,
            stands: None,
            alone: false,
            surged: false,
            told: Vec::new(),
            stage,
        }),
        ..State::default()
    };
    let is_held =
        |services: &[Value], state: &State| view(&target, (services, &[], &[]), &sets, state).held;
    let forward = state(Stage::Starting { since });
    let home = state(Stage::Promoting { part: Promotion::Releasing, since });
    let half = [held.clone(), service(None)];
    assert!(!is_held(&half, &forward));
    assert!(is_held(&half, &home));
    assert!(is_held(&half, &State::default()), "at rest a label that is left is ours to take");
    assert!(is_held(&[held.clone(), held], &forward));
    assert!(!is_held(&[others], &State::default()));
    assert!(!is_held(&[], &forward));
    let canary = [service(None)];
    let whole = view(&target, (&half[..1], &[], &canary), &sets, &forward);
    assert!(!whole.held, "a user's own canary Service is held too");
}
