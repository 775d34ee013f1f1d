//! Gates: what is asked beside the turns, and what becomes of it.

use std::time::Duration;

use super::*;

const JOBS: &str = "/apis/batch/v1/namespaces/shop/jobs";
const CRON_JOB: &str = "/apis/batch/v1/namespaces/shop/cronjobs/smoke";
const PODS: &str = "/api/v1/namespaces/shop/pods/";

/// Turns until it is so; answers come between them.
async fn until(world: &World, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..100 {
        world.turn().await;
        let rollout = world.rollout();
        if is_so(&rollout["status"]) {
            return rollout["status"].clone();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never {what}: {:#}", world.rollout());
}

fn says(status: &Value, words: &str) -> bool {
    status["message"].as_str().is_some_and(|message| message.contains(words))
}

/// A world in which a gate of this kind is asked about a canary that is ready at weight 0.
async fn at_the_gate(how: Value) -> World {
    let world = World::new();
    world.api.change(ROLLOUT, |rollout| {
        let mut gate = json!({"name": "smoke", "at": "Start"});
        gate.as_object_mut().unwrap().extend(how.as_object().unwrap().clone());
        rollout["spec"]["gates"] = json!([gate]);
    });
    world.rest().await;
    world.release("web:2");
    until_a_set_is_asked_for(&world).await;
    let canary = revision_of(&template("web:2"));
    let set = format!("{SETS}web-{canary}");
    world.api.change(&set, |set| {
        set["status"] = json!({"replicas": 1, "readyReplicas": 1});
    });
    let uid = world.api.get(&set)["metadata"]["uid"].clone();
    world.api.put(
        &format!("{PODS}canary"),
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "canary", "namespace": "shop",
                "labels": {"app": "web", "pod-template-hash": canary.as_str()},
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet",
                    "name": format!("web-{canary}"), "uid": uid, "controller": true}]},
            "status": {"phase": "Running", "podIP": "10.0.0.9",
                "conditions": [{"type": "Ready", "status": "True"}]},
        }),
    );
    world
}

#[tokio::test]
async fn a_job_that_cannot_be_started_is_waited_for_and_one_that_fails_ends_the_trial() {
    let world = at_the_gate(json!({"job": {"cronJob": "smoke"}})).await;
    until(&world, "asked", |status| says(status, "gate smoke")).await;
    assert_eq!(world.progress(), "GateWaiting");
    let template = json!({"spec": {"template": {"spec": {"containers": [{"name": "smoke"}]}}}});
    let cron_job = |labels: Value| {
        json!({"apiVersion": "batch/v1", "kind": "CronJob",
            "metadata": {"name": "smoke", "namespace": "shop", "labels": labels},
            "spec": {"jobTemplate": template}})
    };
    // Another process each time: it asks at once, and knows from the status alone what it asks.
    for cron_job in [None, Some(cron_job(json!({})))] {
        if let Some(cron_job) = cron_job {
            world.api.put(CRON_JOB, cron_job);
        }
        let world = World::of(world.api.clone(), Leading::always());
        for _ in 0..20 {
            world.turn().await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(world.api.below(JOBS).len(), 0, "nobody said that it may be run");
        assert_eq!(world.rollout()["status"]["phase"], "Starting");
    }
    world.api.put(CRON_JOB, cron_job(json!({"tidegate.dev/gate": "true"})));
    let world = World::of(world.api.clone(), Leading::always());
    until(&world, "a Job", |_| world.api.below(JOBS).len() == 1).await;
    let job = world.api.below(JOBS).remove(0);
    assert_eq!(job["metadata"]["labels"]["tidegate.dev/gate"], "smoke");
    assert_eq!(job["metadata"]["ownerReferences"][0]["kind"], "ControllerRevision");
    assert_eq!(world.rollout()["status"]["phase"], "Starting");
    let at = format!("{JOBS}/{}", job["metadata"]["name"].as_str().unwrap());
    world.api.change(&at, |job| {
        let failed = json!({"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"});
        job["status"]["conditions"] = json!([failed]);
    });
    let world = World::of(world.api.clone(), Leading::always());
    let status = until(&world, "over", |status| status["phase"] == "Aborted").await;
    let cause = &status["state"]["trial"]["stage"]["Aborted"]["cause"]["GateRefused"];
    let expected = format!(
        "gate smoke refused: Job {}: BackoffLimitExceeded",
        job["metadata"]["name"].as_str().unwrap()
    );
    assert_eq!(cause["message"], expected);
    assert_eq!(world.api.below(JOBS).len(), 1, "it is run once");
    let selected = &world.api.get(SERVICE)["spec"]["selector"]["pod-template-hash"];
    assert_eq!(selected, "5d8f", "stable alone");
}

#[tokio::test]
async fn a_service_without_pods_is_neither_yes_nor_no_and_a_person_goes_on() {
    let how = json!({"http": {"service": "tester", "port": 80}});
    let world = at_the_gate(how).await;
    until(&world, "asked", |status| says(status, "gate smoke")).await;
    assert_eq!(world.progress(), "GateWaiting");
    let canary = revision_of(&template("web:2"));
    world.api.change(ROLLOUT, |rollout| {
        let asked = format!("promote {canary}");
        rollout["metadata"]["annotations"] = json!({"tidegate.dev/request": asked});
    });
    let status = until(&world, "on", |status| status["phase"] == "Baking").await;
    assert_eq!(status["request"]["answer"], "Granted", "{status:#}");
    assert_eq!(status["step"], "1/4");
}
