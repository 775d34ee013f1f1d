//! What is around a trial: restarts, what stable's pods need, policies, and what a held Deployment
//! says.

use super::*;

#[tokio::test]
async fn a_restart_rolls_out_at_once_and_is_no_trial() {
    let world = World::new();
    world.rest().await;
    world.release("web:1");
    world.api.change(DEPLOYMENT, |deployment| {
        let mark = json!({"kubectl.kubernetes.io/restartedAt": "2026-05-01T10:00:00Z"});
        deployment["spec"]["template"]["metadata"]["annotations"] = mark;
    });
    world.turn().await;
    assert_eq!(world.progress(), "Restarted");
    let after = world.rest().await;
    assert_eq!(after["status"]["state"]["trial"], Value::Null);
    assert_eq!(world.condition("GateBypassed")["status"], "False");
    assert_ne!(world.api.get(DEPLOYMENT)["spec"]["paused"], true);
    assert_eq!(world.api.below(TRIALS).len(), 0);
}

#[tokio::test]
async fn people_are_told_when_what_stable_needs_is_gone() {
    let world = World::new();
    let needs = json!([{"configMapRef": {"name": "web-1"}}]);
    for path in [DEPLOYMENT, &format!("{SETS}web-5d8f")] {
        world.api.change(path, |object| {
            let container = &mut object["spec"]["template"]["spec"]["containers"][0];
            container["envFrom"] = needs.clone();
        });
    }
    world.rest().await;
    assert_eq!(world.condition("StableConfigGone")["status"], "False", "there is no trial");
    world.release("web:2");
    world.turn().await;
    world.turn().await;
    let told = world.condition("StableConfigGone");
    assert_eq!(told["status"], "True", "{told}");
    assert!(told["message"].as_str().unwrap().contains("ConfigMap web-1"), "{told}");
    // It is there: another process looks, and finds it.
    let map = json!({"metadata": {"name": "web-1", "namespace": "shop"}});
    world.api.put("/api/v1/namespaces/shop/configmaps/web-1", map);
    let other = World::of(world.api.clone(), Leading::always());
    other.turn().await;
    assert_eq!(other.condition("StableConfigGone")["status"], "False");
}

#[tokio::test]
async fn a_policy_that_does_not_name_the_canary_s_service_keeps_trials_from_starting() {
    let world = World::new();
    world.rest().await;
    let routes = "/apis/gateway.networking.k8s.io/v1/namespaces/shop";
    let front = json!({"kind": "HTTPRoute", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"rules": [{"backendRefs": [{"name": "web", "port": 80}]}]}});
    world.api.put(&format!("{routes}/httproutes/web"), front);
    let policy = |service: &str| {
        json!({"metadata": {"name": "tls", "namespace": "shop"},
            "spec": {"targetRefs": [{"group": "", "kind": "Service", "name": service}]}})
    };
    world.api.put(&format!("{routes}/backendtlspolicies/tls"), policy("web"));
    world.release("web:2");
    world.turn().await;
    let stalled = world.condition("Stalled");
    assert_eq!(stalled["reason"], "PolicyNotOnCanary", "{stalled}");
    assert!(stalled["message"].as_str().unwrap().contains("BackendTLSPolicy tls"), "{stalled}");
    assert_eq!(world.rollout()["status"]["state"]["trial"], Value::Null);
    // Named, it goes on by itself.
    world.api.put(&format!("{routes}/backendtlspolicies/both"), policy("web-canary"));
    world.turn().await;
    assert_eq!(world.condition("Stalled")["status"], "False");
    assert_ne!(world.rollout()["status"]["state"]["trial"], Value::Null);
}

#[tokio::test]
async fn a_deployment_says_that_its_failed_template_is_held_until_it_is_gone() {
    let world = World::new();
    world.rest().await;
    world.release("web:2");
    world.turn().await;
    let since = "2026-01-01T00:00:00Z";
    world.api.change(ROLLOUT, |rollout| {
        let trial = &mut rollout["status"]["state"]["trial"];
        trial["home"] = json!(since);
        let cause = json!({"Person": {"who": "ann", "hold": true}});
        trial["stage"] = json!({"Aborted": {"cause": cause, "since": since}});
    });
    world.rest().await;
    let label = || world.api.get(DEPLOYMENT)["metadata"]["labels"]["tidegate.dev/phase"].clone();
    assert_eq!(label(), "Aborted");
    assert_eq!(world.api.get(DEPLOYMENT)["spec"]["paused"], true);
    world.api.change(DEPLOYMENT, |deployment| deployment["spec"]["template"] = template("web:1"));
    world.rest().await;
    assert_eq!(label(), Value::Null);
    let deployment = world.api.get(DEPLOYMENT);
    assert_eq!(deployment["metadata"]["labels"]["tidegate.dev/rollout"], "web");
    assert_ne!(deployment["spec"]["paused"], true);
}
