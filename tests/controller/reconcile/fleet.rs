//! Who suspends a Rollout, and what it knows of others.

use serde_json::{Value, json};
use tidegate::runtime::lease::Leading;

use super::{ROLLOUT, World};

const OURS: &str = "/apis/tidegate.dev/v1alpha1";

fn suspend(world: &World, name: &str, value: &str) {
    let annotations = json!({"tidegate.dev/suspend": value});
    let object = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "annotations": annotations}});
    world.api.put(&format!("/api/v1/namespaces/{name}"), object);
}

fn says(rollout: &Value, words: &str) {
    let message = rollout["status"]["message"].as_str().unwrap();
    assert!(message.contains(words), "{message}");
}

#[tokio::test]
async fn a_namespace_suspends_its_own_and_the_controller_s_all() {
    let suspended = [
        ("shop", "waits: suspended by Namespace shop"),
        ("tidegate-system", "suspended by Namespace tidegate-system, for the whole cluster"),
    ];
    for (name, words) in suspended {
        let world = World::new();
        world.rest().await;
        suspend(&world, name, "true");
        // That it was not is remembered for some seconds; another process knows nothing of it.
        let world = World::of(world.api, Leading::always());
        world.release("web:2");
        let rollout = world.rest().await;
        assert_eq!(rollout["status"]["state"]["trial"], Value::Null);
        assert_eq!(rollout["status"]["state"]["waiting"]["reason"], "Suspended");
        assert_eq!(world.progress(), "Suspended");
        says(&rollout, words);
        suspend(&world, name, "false");
        world.turn().await;
        assert_ne!(world.rollout()["status"]["state"]["trial"], Value::Null);
        assert_eq!(world.rollout()["status"]["state"].get("waiting"), None);
    }
}

#[tokio::test]
async fn what_cannot_be_asked_is_no_reason_to_go_on() {
    let world = World::new();
    world.rest().await;
    world.release("web:2");
    let world = World::of(world.api, Leading::always());
    world.api.fail("GET /api/v1/namespaces/tidegate-system", 403);
    world.turn().await;
    let rollout = world.rollout();
    assert_eq!(rollout["status"]["state"]["trial"], Value::Null);
    says(&rollout, "suspended by Namespace tidegate-system, as far as is known");
    world.turn().await;
    assert_ne!(world.rollout()["status"]["state"]["trial"], Value::Null);
}

#[tokio::test]
async fn a_class_that_is_full_keeps_a_release_at_the_gate() {
    let world = World::new();
    let class = json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": "RolloutClass",
        "metadata": {"name": "standard"}, "spec": {"maxConcurrentTrials": 1}});
    world.api.put(&format!("{OURS}/rolloutclasses/standard"), class);
    world.api.change(ROLLOUT, |rollout| rollout["spec"]["class"] = json!("standard"));
    let since = "2026-01-01T00:00:00Z";
    let trial = json!({"id": "t1", "canary": "a1", "origin": "Unknown", "started": since,
        "told": [], "class": "standard", "stage": {"Baking": {"step": 0, "since": since}}});
    let other = format!("{OURS}/namespaces/shop/rollouts/api");
    let object = json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "api", "namespace": "shop"},
        "spec": {"workloadRef": {"name": "api"}}, "status": {"state": {"trial": trial}}});
    world.api.put(&other, object);
    world.rest().await;
    world.release("web:2");
    let rollout = world.rest().await;
    assert_eq!(rollout["status"]["state"]["waiting"]["reason"], "TooManyTrials");
    assert_eq!(rollout["status"]["state"]["trial"], Value::Null);
    says(&rollout, "waits for 1 of class standard, 1 at a time: shop/api");
    assert_eq!(world.progress(), "TooManyTrials");
    world.api.remove(&other);
    let next = World::of(world.api.clone(), Leading::always());
    next.turn().await;
    assert_eq!(world.rollout()["status"]["state"]["trial"]["class"], "standard");
    assert_eq!(world.rollout()["status"]["state"].get("waiting"), None);
}
