#![expect(clippy::needless_pass_by_value, reason = "`json!` reads better without `&`")]

use super::*;
use serde_json::json;

use crate::resolve::{References, resolve};

fn rollout(spec: Value) -> Rollout {
    let mut all = json!({"workloadRef": {"name": "web"}});
    let own = spec.as_object().cloned().unwrap_or_default();
    all.as_object_mut().expect("an object").extend(own);
    serde_json::from_value(json!({
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": "web", "namespace": "shop", "uid": "r1"},
        "spec": all,
    }))
    .expect("a Rollout")
}

fn deployment() -> Value {
    json!({
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "uid": "d"},
        "spec": {
            "strategy": {"type": "RollingUpdate"},
            "template": {"metadata": {"labels": {"app": "web", "tier": "front"}}},
        },
    })
}

fn service(name: &str, selector: Value) -> Value {
    json!({
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"selector": selector},
    })
}

fn route(name: &str, service: &str) -> Value {
    json!({
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"rules": [{"backendRefs": [{"name": service, "port": 80}]}]},
    })
}

/// A Deployment with one Service behind one route, beside somebody else's.
fn shop() -> Survey {
    Survey {
        deployment: Some(deployment()),
        services: vec![
            service("web", json!({"app": "web"})),
            service("api", json!({"app": "api"})),
            json!({"metadata": {"name": "outside"}, "spec": {"externalName": "example.com"}}),
        ],
        routes: vec![route("front", "web"), route("back", "api")],
        policies: Vec::new(),
        rollouts: Vec::new(),
    }
}

fn find(survey: &Survey, rollout: &Rollout) -> Result<Target, TargetFault> {
    let references =
        References { routes_found: survey.routes_found(rollout), ..References::default() };
    let resolved = resolve(rollout, &references).expect("a plan");
    survey.target(rollout, &resolved)
}

fn problems(survey: &Survey, spec: Value) -> Vec<(Problem, String)> {
    match find(survey, &rollout(spec)) {
        Err(TargetFault::Unfit(unfit)) => {
            unfit.faults.into_iter().map(|(problem, fault)| (problem, fault.to_string())).collect()
        }
        Err(TargetFault::Cluster(error)) => panic!("{error}"),
        Ok(target) => panic!("no fault: {target:?}"),
    }
}

/// The one problem there is, told with these words.
fn only(survey: &Survey, spec: Value, problem: Problem, words: &[&str]) {
    let found = problems(survey, spec);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, problem, "{found:?}");
    for word in words {
        assert!(found[0].1.contains(word), "{word} in {}", found[0].1);
    }
}

#[test]
fn services_and_routes_are_found_by_what_they_select() {
    let target = find(&shop(), &rollout(json!({}))).expect("a target");
    assert_eq!(target.services, ["web"]);
    assert_eq!(target.routes, ["front"]);
    assert_eq!(target.canary_service.name, "web-canary");
    assert!(target.canary_service.ours);
    assert_eq!((target.namespace.as_str(), target.uid.as_str()), ("shop", "r1"));
}

#[test]
fn a_service_that_is_deleted_is_missed_and_one_that_selects_others_now_is_not() {
    let before = find(&shop(), &rollout(json!({}))).expect("a target");
    let mut survey = shop();
    assert!(!survey.misses_a_service_of(&before));
    survey.services[0] = service("web", json!({"app": "other"}));
    assert!(!survey.misses_a_service_of(&before), "it is there, and somebody else's");
    survey.services.remove(0);
    assert!(survey.misses_a_service_of(&before));
}

#[test]
fn all_services_are_pinned_and_the_one_behind_the_route_is_first() {
    let mut shop = shop();
    shop.services.push(service("a-headless", json!({"app": "web", "tier": "front"})));
    let target = find(&shop, &rollout(json!({}))).expect("a target");
    assert_eq!(target.services, ["web", "a-headless"]);
    let named = rollout(json!({"services": ["a-headless", "web"]}));
    assert_eq!(find(&shop, &named).expect("a target").services, ["web", "a-headless"]);
}

#[test]
fn without_routes_the_weight_is_a_share_of_pods() {
    let mut shop = shop();
    shop.routes.clear();
    assert!(!shop.routes_found(&rollout(json!({}))));
    let target = find(&shop, &rollout(json!({}))).expect("a target");
    assert_eq!(target.routes, Vec::<String>::new());
    shop.services.clear();
    let target = find(&shop, &rollout(json!({}))).expect("a target");
    assert_eq!(target.services, Vec::<String>::new());
}

#[test]
fn in_flight_the_target_stays_what_it_was() {
    let mut shop = shop();
    let pinned = json!({"app": "web", "pod-template-hash": "5d1"});
    shop.services[0]["spec"]["selector"] = pinned.clone();
    let mut canary = service("web-canary", pinned);
    canary["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "apps/v1", "kind": "ControllerRevision", "controller": true, "uid": "c",
    }]);
    shop.services.push(canary);
    assert_eq!(find(&shop, &rollout(json!({}))).expect("a target").services, ["web"]);
    // The canary's labels may be others; what is held stays ours until it is free.
    shop.deployment = Some(json!({"spec": {"template": {"metadata": {"labels": {"app": "2"}}}}}));
    shop.services[0]["metadata"]["labels"] = json!({HELD_LABEL: "web"});
    assert_eq!(find(&shop, &rollout(json!({}))).expect("a target").services, ["web"]);
}

#[test]
fn what_does_not_exist_is_named_with_the_nearest_that_does() {
    let mut empty = shop();
    empty.deployment = None;
    let found = problems(&empty, json!({}));
    assert_eq!(found[0].0, Problem::WorkloadMissing);
    let words = ["Rollout shop/web", "spec.workloadRef.name", "\"web\"", "Deployment"];
    assert!(words.iter().all(|word| found[0].1.contains(word)), "{}", found[0].1);
    let named = json!({"services": ["web", "wep"]});
    let words = ["spec.services[1]", "\"wep\"", "web (did you mean it?)"];
    only(&shop(), named, Problem::ServiceMissing, &words);
    let named = json!({"routes": [{"name": "frnt"}]});
    let words = ["spec.routes[0].name", "\"frnt\"", "front (did you mean it?)"];
    only(&shop(), named, Problem::RouteMissing, &words);
    let named = json!({"canaryService": "web-test"});
    only(&shop(), named, Problem::ServiceMissing, &["spec.canaryService", "\"web-test\""]);
}

#[test]
fn what_is_named_must_have_to_do_with_the_pods() {
    let named = json!({"services": ["web", "api"]});
    let words = ["spec.services[1]", "\"api\"", "does not select the pods"];
    only(&shop(), named, Problem::ServiceSelectsOthers, &words);
    let named = json!({"routes": [{"name": "back"}]});
    let words = ["HTTPRoute shop/back", "spec.rules", "web as a backend"];
    only(&shop(), named, Problem::RouteWithoutService, &words);
}

#[test]
fn a_service_that_selects_the_pods_is_named_or_shared() {
    let mut shop = shop();
    shop.services.push(service("metrics", json!({"app": "web"})));
    let named = json!({"services": ["web"]});
    let words = ["spec.services", "\"metrics\"", "sharedServices"];
    only(&shop, named, Problem::ServiceNotHeld, &words);
    let shared = rollout(json!({"services": ["web"], "sharedServices": ["metrics"]}));
    assert_eq!(find(&shop, &shared).expect("a target").services, ["web"]);
    let found = rollout(json!({"sharedServices": ["metrics"]}));
    assert_eq!(find(&shop, &found).expect("a target").services, ["web"]);
    let watched = rollout(json!({"services": ["web"], "mode": "Observe"}));
    assert!(find(&shop, &watched).is_ok(), "who only watches sends nothing anywhere");
}

#[test]
fn the_canarys_name_may_be_taken() {
    let mut shop = shop();
    shop.services.push(service("web-canary", json!({"app": "other"})));
    let words = ["spec.canaryService", "web-canary"];
    only(&shop, json!({}), Problem::CanaryServiceTaken, &words);
    let own = rollout(json!({"canaryService": "web-canary"}));
    let target = find(&shop, &own).expect("a target");
    assert!(!target.canary_service.ours);
}

#[test]
fn a_preview_has_a_service_by_its_own_name_and_no_routes() {
    let switch = rollout(json!({"strategy": {"blueGreen": {}}}));
    let target = find(&shop(), &switch).expect("a target");
    assert_eq!(target.canary_service.name, "web-preview");
    assert!(target.canary_service.ours && target.routes.is_empty());
    let mut shop = shop();
    shop.services.push(service("web-preview", json!({"app": "other"})));
    let words = ["spec.strategy.blueGreen.previewService", "web-preview"];
    only(&shop, json!({"strategy": {"blueGreen": {}}}), Problem::CanaryServiceTaken, &words);
    let named = json!({"strategy": {"blueGreen": {"previewService": "web-preview"}}});
    assert!(!find(&shop, &rollout(named)).expect("a target").canary_service.ours);
}

#[test]
fn a_users_own_canary_service_may_select_the_pods() {
    let mut shop = shop();
    shop.services.push(service("web-canary", json!({"app": "web"})));
    let own = rollout(json!({"canaryService": "web-canary"}));
    assert_eq!(find(&shop, &own).expect("a target").services, ["web"]);
}

#[test]
fn a_workload_that_must_not_run_twice_or_that_waits_for_a_person_is_refused() {
    let mut recreate = shop();
    recreate.deployment.as_mut().expect("one")["spec"]["strategy"]["type"] = json!("Recreate");
    let words = ["Deployment shop/web", "spec.strategy.type", "Recreate", "RollingUpdate"];
    only(&recreate, json!({}), Problem::StrategyRecreate, &words);
    let mut paused = shop();
    paused.deployment.as_mut().expect("one")["spec"]["paused"] = json!(true);
    let words = ["Deployment shop/web", "spec.paused", "resume"];
    only(&paused, json!({}), Problem::WorkloadPaused, &words);
    let labels = json!({ROLLOUT_LABEL: "web"});
    paused.deployment.as_mut().expect("one")["metadata"]["labels"] = labels;
    assert!(find(&paused, &rollout(json!({}))).is_ok(), "our gate paused it");
}

#[test]
fn as_many_pods_as_max_surge_allows_must_carry_the_weights() {
    let shop = |replicas: u32, surge: Value| {
        let mut shop = shop();
        let spec = &mut shop.deployment.as_mut().expect("one")["spec"];
        spec["replicas"] = json!(replicas);
        spec["strategy"]["rollingUpdate"] = json!({"maxSurge": surge});
        shop
    };
    let with = |weight: u32, promotion: &str| {
        let steps = json!([{"weight": weight}]);
        json!({"promotion": promotion, "strategy": {"canary": {"steps": steps}}})
    };
    // Twice the load of each of 10 pods on each of 3: 60 of 160.
    let ten = shop(10, json!("25%"));
    assert!(find(&ten, &rollout(with(37, "Surge"))).is_ok());
    assert!(find(&ten, &rollout(with(38, "HandOver"))).is_ok());
    let words = ["Deployment shop/web", "maxSurge", "25%", "weight 38", "at most weight 37"];
    only(&ten, with(38, "Surge"), Problem::SurgeTooSmall, &words);
    let words = ["rollingUpdate.maxSurge", "0 beside 10", "at least 1 pod"];
    only(&shop(10, json!(0)), with(1, "Surge"), Problem::SurgeTooSmall, &words);
    assert!(find(&shop(10, json!("100%")), &rollout(with(99, "Surge"))).is_ok(), "there is room");
    let mut by_pods = with(50, "Surge");
    by_pods["routes"] = json!([]);
    assert!(find(&ten, &rollout(by_pods)).is_ok(), "the share is that of the pods");
}

#[test]
fn of_two_rollouts_the_older_one_has_the_workload() {
    let of = |name: &str, uid: &str, day: u32, workload: &str| {
        let created = format!("2026-05-{day:02}T10:00:00Z");
        json!({
            "metadata": {"name": name, "uid": uid, "creationTimestamp": created},
            "spec": {"workloadRef": {"name": workload}},
        })
    };
    let mut shop = shop();
    let labels = json!({ROLLOUT_LABEL: "first"});
    shop.deployment.as_mut().expect("one")["metadata"]["labels"] = labels;
    shop.rollouts = vec![of("web", "r1", 2, "web"), of("first", "r0", 1, "web")];
    only(&shop, json!({}), Problem::WorkloadTaken, &["Rollout first", "older"]);
    shop.rollouts[1] = of("first", "r2", 3, "web");
    assert!(find(&shop, &rollout(json!({}))).is_ok(), "the other one is younger");
    shop.rollouts[1] = of("first", "r0", 1, "other");
    assert!(find(&shop, &rollout(json!({}))).is_ok(), "the label is left over");
}

#[test]
fn with_a_fault_there_is_still_what_is_there() {
    let mut shop = shop();
    shop.services.push(service("metrics", json!({"app": "web"})));
    let named = rollout(json!({"services": ["web", "gone"]}));
    let Err(TargetFault::Unfit(unfit)) = find(&shop, &named) else { panic!("no fault") };
    assert_eq!(unfit.target.services, ["web"]);
    assert_eq!(unfit.target.routes, ["front"]);
    let mut told: Vec<_> = unfit.faults.iter().map(|(problem, _)| problem.as_str()).collect();
    told.sort_unstable();
    assert_eq!(told, ["ServiceMissing", "ServiceNotHeld"]);
}

#[test]
fn a_policy_that_names_the_service_must_name_the_canary_s_too() {
    let policy = |name: &str, target: Value| {
        json!({
            "kind": "BackendTLSPolicy", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"targetRefs": [target]},
        })
    };
    let of = |name: &str| json!({"group": "", "kind": "Service", "name": name});
    let mut shop = shop();
    shop.policies = vec![policy("tls", of("web")), policy("other", of("api"))];
    let words =
        ["spec.canaryService", "BackendTLSPolicy tls", "web alone", "a Service of your own"];
    only(&shop, json!({}), Problem::PolicyNotOnCanary, &words);
    let by_pods = rollout(json!({"routes": []}));
    assert!(find(&shop, &by_pods).is_ok(), "the canary has no Service of its own");
    let observed = rollout(json!({"mode": "Observe"}));
    assert!(find(&shop, &observed).is_ok(), "nothing is sent to a canary");
    shop.policies.push(policy("canary", of("web-canary")));
    assert!(find(&shop, &rollout(json!({}))).is_ok(), "it is named");
    // Another kind says something else.
    shop.policies[2]["kind"] = json!("HealthCheckPolicy");
    shop.policies[2]["spec"] = json!({"targetRef": of("web-canary")});
    only(&shop, json!({}), Problem::PolicyNotOnCanary, &["BackendTLSPolicy tls"]);
    let gateway = json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "web"});
    shop.policies = vec![policy("tls", gateway)];
    assert!(find(&shop, &rollout(json!({}))).is_ok(), "it is about a gateway");
}
