//! Turns of the controller against an API server in memory.

mod around;
mod fleet;
mod gates;

use std::sync::Arc;

use serde_json::{Value, json};
use tidegate::kubernetes::revision_of;
use tidegate::runtime::lease::{Leading, Lease};
use tidegate::runtime::metrics::Metrics;
use tidegate::runtime::notify::Alertmanagers;
use tidegate::runtime::queue::Next;
use tidegate::runtime::revert::Reverts;
use tidegate::runtime::secrets::Secrets;
use tidegate::runtime::{Key, Parts, Turns};
use tokio::sync::mpsc::unbounded_channel;

use crate::api_server::ApiServer;

const ROLLOUT: &str = "/apis/tidegate.dev/v1alpha1/namespaces/shop/rollouts/web";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/shop/deployments/web";
const SETS: &str = "/apis/apps/v1/namespaces/shop/replicasets/";
const SERVICE: &str = "/api/v1/namespaces/shop/services/web";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/shop/events/";
const TRIALS: &str = "/apis/tidegate.dev/v1alpha1/namespaces/shop/trials/";

struct World {
    api: ApiServer,
    turns: Turns,
    _folder: tempfile::TempDir,
}

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": image}]}})
}

fn key() -> Key {
    Key { namespace: "shop".to_owned(), name: "web".to_owned() }
}

impl World {
    /// A Deployment with one settled set, a Service, and a Rollout that nobody looked at yet.
    fn new() -> Self {
        let api = ApiServer::default();
        api.put(
            ROLLOUT,
            json!({
                "apiVersion": "tidegate.dev/v1alpha1", "kind": "Rollout",
                "metadata": {"name": "web", "namespace": "shop", "uid": "rollout", "generation": 1},
                "spec": {"workloadRef": {"name": "web"}},
            }),
        );
        api.put(DEPLOYMENT, json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop", "uid": "deployment", "generation": 1,
                "annotations": {"deployment.kubernetes.io/revision": "1"}},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}},
                "template": template("web:1")},
            "status": {"observedGeneration": 1, "replicas": 2, "readyReplicas": 2,
                "availableReplicas": 2, "updatedReplicas": 2},
        }));
        let mut stable = template("web:1");
        stable["metadata"]["labels"]["pod-template-hash"] = json!("5d8f");
        api.put(&format!("{SETS}web-5d8f"), json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": "web-5d8f", "namespace": "shop", "uid": "stable", "generation": 1,
                "labels": {"app": "web", "pod-template-hash": "5d8f"},
                "annotations": {"deployment.kubernetes.io/revision": "1"},
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment",
                    "name": "web", "uid": "deployment", "controller": true}]},
            "spec": {"replicas": 2, "template": stable, "selector":
                {"matchLabels": {"app": "web", "pod-template-hash": "5d8f"}}},
            "status": {"observedGeneration": 1, "replicas": 2, "readyReplicas": 2,
                "availableReplicas": 2},
        }));
        for name in ["one", "two"] {
            api.put(
                &format!("/api/v1/namespaces/shop/pods/{name}"),
                json!({
                    "apiVersion": "v1", "kind": "Pod",
                    "metadata": {"name": name, "namespace": "shop", "uid": name,
                        "labels": {"app": "web", "pod-template-hash": "5d8f"},
                        "creationTimestamp": "2026-01-01T00:00:00Z",
                        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet",
                            "name": "web-5d8f", "uid": "stable", "controller": true}]},
                    "status": {"phase": "Running", "podIP": "10.0.0.1",
                        "conditions": [{"type": "Ready", "status": "True"}]},
                }),
            );
        }
        api.put(
            SERVICE,
            json!({
                "apiVersion": "v1", "kind": "Service",
                "metadata": {"name": "web", "namespace": "shop"},
                "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
            }),
        );
        Self::of(api, Leading::always())
    }

    fn of(api: ApiServer, leading: Leading) -> Self {
        let (cluster, metrics) = (api.cluster(), Arc::new(Metrics::default()));
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::new(&cluster, "tidegate-system");
        let (touch, _) = unbounded_channel();
        let turns = Turns::new(Parts {
            reverts: Reverts::new(secrets.clone(), folder.path(), metrics.clone()),
            alertmanagers: Arc::new(Alertmanagers::new(&[]).unwrap()),
            cluster,
            leading,
            metrics,
            secrets,
            identity: "test".to_owned(),
            cluster_name: String::new(),
            gate: tokio::sync::watch::channel(None).1,
            touch,
            namespaces: Vec::new(),
            home: "tidegate-system".to_owned(),
        });
        api.take_writes();
        Self { api, turns, _folder: folder }
    }

    async fn turn(&self) -> (Next, Vec<String>) {
        let next = self.turns.turn(&key()).await;
        (next, self.api.take_writes())
    }

    /// Turns until nothing is written any more.
    async fn rest(&self) -> Value {
        for _ in 0..20 {
            if self.turn().await.1.is_empty() {
                return self.rollout();
            }
        }
        panic!("writes never end: {:#}", self.rollout());
    }

    fn rollout(&self) -> Value {
        self.api.get(ROLLOUT)
    }

    fn condition(&self, kind: &str) -> Value {
        let rollout = self.rollout();
        let all = rollout["status"]["conditions"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|found| found["type"] == kind).unwrap_or_default()
    }

    /// There is something to tell.
    fn notice(&self, id: u64) {
        let notice = json!({"id": id, "at": "2026-01-01T00:00:00Z", "severity": "Warning",
            "reason": "Stable", "message": "look here"});
        self.api.change(ROLLOUT, |rollout| {
            rollout["status"]["state"]["outbox"] = json!([notice]);
        });
    }

    fn events(&self, id: u64) -> Vec<Value> {
        let mut all = self.api.below(EVENTS);
        let end = format!(".{id}");
        all.retain(|event| event["metadata"]["name"].as_str().unwrap().ends_with(&end));
        all
    }

    fn progress(&self) -> Value {
        self.condition("Progressing")["reason"].clone()
    }

    /// A new template comes, and the gate closes in the same write.
    fn release(&self, image: &str) {
        self.api.change(DEPLOYMENT, |deployment| {
            deployment["spec"]["template"] = template(image);
            deployment["spec"]["paused"] = json!(true);
            deployment["metadata"]["generation"] = json!(2);
            deployment["status"]["observedGeneration"] = json!(2);
        });
    }
}

#[tokio::test]
async fn first_sight_is_recorded_before_the_deployment_is_claimed() {
    let world = World::new();
    let (next, writes) = world.turn().await;
    assert!(matches!(next, Next::After { urgent: false, .. }), "{next:?}");
    let status = format!("{ROLLOUT}/status");
    assert_eq!(
        writes,
        [format!("PATCH {ROLLOUT}"), format!("PATCH {status}"), format!("PATCH {DEPLOYMENT}"),]
    );
    let rollout = world.rest().await;
    let stable = revision_of(&template("web:1"));
    assert_eq!(rollout["status"]["state"]["stable"]["revision"], stable.as_str());
    assert_eq!(rollout["status"]["phase"], "Idle");
    assert_eq!(rollout["status"]["observedGeneration"], 1);
    assert_eq!(world.condition("Ready")["status"], "True");
    assert_eq!(rollout["metadata"]["finalizers"], json!(["tidegate.dev/release"]));
    let deployment = world.api.get(DEPLOYMENT);
    assert_eq!(deployment["metadata"]["labels"]["tidegate.dev/rollout"], "web");
    // And then nothing more happens, in this process and in the next one.
    let (_, writes) = World::of(world.api.clone(), Leading::always()).turn().await;
    assert_eq!(writes, [""; 0]);
}

#[tokio::test]
async fn a_conflict_at_the_record_begins_again_and_nothing_was_done() {
    let world = World::new();
    world.rest().await;
    world.release("web:2");
    world.api.fail(&format!("PATCH {ROLLOUT}/status"), 409);
    let (next, writes) = world.turn().await;
    assert_eq!(next, Next::Again { urgent: false });
    assert_eq!(writes, [format!("PATCH {ROLLOUT}/status")]);
    let (_, writes) = world.turn().await;
    assert_eq!(writes[0], format!("PATCH {ROLLOUT}/status"));
    assert_ne!(world.rollout()["status"]["state"]["trial"], Value::Null);
}

#[tokio::test]
async fn who_does_not_lead_writes_nothing() {
    let world = World::new();
    let leading = Lease::new(&world.api.cluster(), "tidegate-system", "other").leading();
    let (next, writes) = World::of(world.api.clone(), leading).turn().await;
    assert_eq!(next, Next::Failed { urgent: false });
    assert_eq!(writes, [""; 0]);
}

#[tokio::test]
async fn a_wrong_spec_is_stalled_with_all_faults_and_loses_nothing() {
    let world = World::new();
    let before = world.rest().await;
    world.api.change(ROLLOUT, |rollout| {
        rollout["metadata"]["generation"] = json!(2);
        rollout["spec"]["class"] = json!("gone");
        rollout["spec"]["git"] = json!({"repository": "nowhere", "paths": ["apps/web"]});
    });
    let after = world.rest().await;
    let stalled = world.condition("Stalled");
    assert_eq!(stalled["status"], "True");
    assert_eq!(stalled["reason"], "InvalidSpec");
    let message = stalled["message"].as_str().unwrap();
    for part in ["spec.class", "\"gone\"", "RolloutClass", "spec.git.repository", "\"nowhere\""] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert_eq!(after["status"]["state"], before["status"]["state"]);
    assert_eq!(after["status"]["observedGeneration"], 2);
    assert_eq!(world.condition("Ready")["status"], "True");
    world.api.change(ROLLOUT, |rollout| {
        rollout["metadata"]["generation"] = json!(3);
        rollout["spec"] = json!({"workloadRef": {"name": "web"}});
    });
    // References are kept for some seconds; another process has none.
    World::of(world.api.clone(), Leading::always()).rest().await;
    assert_eq!(world.condition("Stalled")["status"], "False");
}

#[tokio::test]
async fn a_state_that_cannot_be_read_is_kept_and_nothing_is_touched() {
    let world = World::new();
    world.rest().await;
    let state = json!({"trials": "many", "trial": {"stage": {"FromTheFuture": {}}}});
    world.api.change(ROLLOUT, |rollout| rollout["status"]["state"] = state.clone());
    world.release("web:2");
    let (_, writes) = world.turn().await;
    assert_eq!(writes, [format!("PATCH {ROLLOUT}/status")]);
    let after = world.rest().await;
    assert_eq!(after["status"]["state"], state);
    assert_eq!(world.condition("Stalled")["reason"], "UnreadableState");
    assert_eq!(world.condition("Progressing")["status"], "False");
}

#[tokio::test]
async fn an_effect_that_fails_stops_those_after_it_but_not_the_notices() {
    let world = World::new();
    world.rest().await;
    world.release("web:2");
    // Until the trial holds the Service: that is refused, and comes before the canary's pods.
    let hold = format!("PATCH {SERVICE}");
    world.api.fail(&hold, 500);
    let mut id = 100;
    let writes = loop {
        id += 1;
        assert!(id < 110, "{:#}", world.rollout());
        world.notice(id);
        let (next, writes) = world.turn().await;
        if writes.contains(&hold) {
            assert_eq!(next, Next::Failed { urgent: false });
            break writes;
        }
    };
    let pods = writes.iter().find(|write| write.contains("replicasets"));
    assert_eq!(pods, None, "{writes:?}");
    assert!(!world.events(id).is_empty(), "people are told all the same");
    // What failed is said where people look, and then it is done.
    world.turn().await;
    let rollout = world.rollout();
    let message = rollout["status"]["message"].as_str().unwrap();
    assert!(message.contains("Hold: "), "{message}");
    world.turn().await;
    assert_eq!(world.api.get(SERVICE)["metadata"]["labels"]["tidegate.dev/held"], "web");
    assert_eq!(world.api.below(SETS).len(), 2);
}

/// Until the canary's set is asked for, and the turn after, which says what became of it.
async fn until_a_set_is_asked_for(world: &World) -> Next {
    for _ in 0..10 {
        let (_, writes) = world.turn().await;
        if writes.iter().any(|write| write.starts_with("POST") && write.ends_with("replicasets")) {
            return world.turn().await.0;
        }
    }
    panic!("no set was asked for: {:#}", world.rollout());
}

#[tokio::test]
async fn a_right_that_is_missing_is_named_until_it_is_there() {
    let world = World::new();
    world.rest().await;
    world.release("web:2");
    world.api.fail("POST /apis/apps/v1/namespaces/shop/replicasets", 403);
    until_a_set_is_asked_for(&world).await;
    let stalled = world.condition("Stalled");
    assert_eq!((&stalled["status"], &stalled["reason"]), (&json!("True"), &json!("Forbidden")));
    let message = stalled["message"].as_str().unwrap();
    assert!(message.contains("create of ReplicaSet shop/web-"), "{message}");
    assert!(message.contains("`replicasets.apps`"), "{message}");
    assert_eq!(world.condition("Progressing")["status"], "False");
    // That turn had it; the next one knows.
    world.turn().await;
    assert_eq!(world.condition("Stalled")["status"], "False");
    assert_eq!(world.api.below(SETS).len(), 2);
    // The same where nothing could be looked at.
    world.api.fail("GET /apis/apps/v1/namespaces/shop/replicasets", 403);
    assert_eq!(world.turn().await.0, Next::Failed { urgent: false });
    let stalled = world.condition("Stalled");
    assert_eq!(stalled["reason"], "Forbidden");
    assert!(stalled["message"].as_str().unwrap().contains("list of ReplicaSet"), "{stalled}");
    world.turn().await;
    assert_eq!(world.condition("Stalled")["status"], "False");
}

#[tokio::test]
async fn a_template_that_is_changed_on_its_way_in_stalls_and_is_left_for_a_while() {
    let world = World::new();
    world.rest().await;
    world.release("web:2");
    world.api.mutate("POST /apis/apps/v1/namespaces/shop/replicasets", |set| {
        set["spec"]["template"]["spec"]["containers"][0]["image"] = json!("mirror/web:2");
    });
    let next = until_a_set_is_asked_for(&world).await;
    let stalled = world.condition("Stalled");
    assert_eq!(
        (&stalled["status"], &stalled["reason"]),
        (&json!("True"), &json!("TemplateMutated"))
    );
    assert!(stalled["message"].as_str().unwrap().contains("ReplicaSet shop/web-"), "{stalled}");
    assert!(matches!(next, Next::After { urgent: false, .. }), "{next:?}");
    // And then nothing more happens for a while, whatever tells it to look.
    for _ in 0..3 {
        assert_eq!(world.turn().await.1, [""; 0]);
    }
    assert_eq!(world.api.below(SETS).len(), 1, "stable's alone");
}

#[tokio::test]
async fn a_notice_is_told_once_and_leaves_the_outbox_with_the_next_write() {
    let world = World::new();
    world.rest().await;
    world.notice(7);
    world.api.fail("POST /apis/events.k8s.io", 500);
    world.turn().await;
    let waiting = || world.rollout()["status"]["state"]["outbox"].as_array().unwrap().len();
    assert_eq!((world.events(7).len(), waiting()), (0, 1));
    world.turn().await;
    assert_eq!((world.events(7).len(), waiting()), (1, 1));
    let event = &world.events(7)[0];
    assert_eq!(event["reportingController"], "tidegate.dev");
    assert_eq!(event["regarding"]["name"], "web");
    // A process that does not remember finds the Event there already.
    let other = World::of(world.api.clone(), Leading::always());
    let (_, writes) = other.turn().await;
    assert_eq!(writes, [format!("POST {}", EVENTS.trim_end_matches('/'))]);
    // And then nothing more happens, until there is something else to write.
    assert_eq!(other.turn().await.1, [""; 0]);
    world.release("web:2");
    other.turn().await;
    assert_eq!((world.events(7).len(), waiting()), (1, 0));
}

#[tokio::test]
async fn a_trial_has_a_record_for_people() {
    let world = World::new();
    world.rest().await;
    world.release("web:2");
    world.turn().await;
    let records = world.api.below(TRIALS);
    assert_eq!(records.len(), 1, "{records:#?}");
    let canary = revision_of(&template("web:2"));
    assert_eq!(records[0]["spec"]["canary"], canary.as_str());
    assert_eq!(records[0]["metadata"]["ownerReferences"][0]["uid"], "rollout");
    // What a person asked for is written at once, with all that was decided before.
    let first = world.progress();
    world.api.change(ROLLOUT, |rollout| {
        let asked = format!("abort-hold {canary}");
        rollout["metadata"]["annotations"] = json!({"tidegate.dev/request": asked});
    });
    world.turn().await;
    let status = &world.api.below(TRIALS)[0]["status"];
    assert_eq!(status["notes"][0]["reason"], first);
    assert_eq!(status["notes"][1]["reason"], "AbortedByPerson", "{status:#}");
    assert_ne!(status["notes"][1]["who"], Value::Null);
}

#[tokio::test]
async fn a_deleted_rollout_sets_its_deployment_free_before_it_goes() {
    let world = World::new();
    world.rest().await;
    world.release("web:2");
    world.turn().await;
    world.api.change(ROLLOUT, |rollout| {
        rollout["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
    });
    for _ in 0..10 {
        if world.turn().await.0 == Next::Gone {
            break;
        }
    }
    assert_eq!(world.rollout(), Value::Null);
    let deployment = world.api.get(DEPLOYMENT);
    assert_eq!(deployment["spec"]["template"], template("web:1"));
    assert_ne!(deployment["spec"]["paused"], true);
    assert_eq!(deployment["metadata"]["labels"]["tidegate.dev/rollout"], Value::Null);
    // And then nothing more happens.
    assert_eq!(world.turn().await, (Next::Gone, Vec::new()));
}

#[tokio::test]
async fn what_is_left_of_a_rollout_that_is_gone_is_set_free() {
    let world = World::new();
    world.rest().await;
    world.release("web:2");
    world.turn().await;
    // Somebody took the finalizer off.
    world.api.remove(ROLLOUT);
    let (next, writes) = world.turn().await;
    assert_eq!(next, Next::Gone, "{writes:?}");
    let deployment = world.api.get(DEPLOYMENT);
    assert_eq!(deployment["spec"]["template"], template("web:1"));
    assert_ne!(deployment["spec"]["paused"], true);
    assert_eq!(deployment["metadata"]["labels"]["tidegate.dev/rollout"], Value::Null);
    // And then nothing more happens.
    assert_eq!(world.turn().await, (Next::Gone, Vec::new()));
}
