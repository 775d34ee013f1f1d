//! A trial that is as it must be breaks no rule, and each way to break one is seen.

use serde_json::{Value, json};

use super::{Event, Kind, violations};

/// A namespace's life, one revision after the other.
#[derive(Default)]
struct Life(Vec<Event>);

impl Life {
    fn put(&mut self, kind: Kind, name: &str, object: Value) -> &mut Self {
        self.push(kind, name, Some(object))
    }

    fn push(&mut self, kind: Kind, name: &str, object: Option<Value>) -> &mut Self {
        let revision = self.0.len() as u64 + 1;
        self.0.push(Event { revision, kind, name: name.to_owned(), object });
        self
    }

    /// The Rollout, with a stage of trial `t1` of canary `a1`.
    fn stage(&mut self, stage: &Value) -> &mut Self {
        self.trial(&json!({"id": "t1", "canary": "a1", "stage": stage}))
    }

    fn trial(&mut self, trial: &Value) -> &mut Self {
        self.rollout("web", trial)
    }

    fn rollout(&mut self, name: &str, trial: &Value) -> &mut Self {
        let steps = json!([{"weight": 10}, {"pause": {}}, {"weight": 50}]);
        self.put(
            Kind::Rollout,
            name,
            json!({
                "metadata": {"name": name},
                "spec": {"workloadRef": {"name": "web"}, "strategy": {"canary": {"steps": steps}}},
                "status": {"state": {"trial": trial}},
            }),
        )
    }

    fn step(&mut self, stage: &str, step: u64) -> &mut Self {
        self.stage(&json!({stage: {"step": step}}))
    }

    fn pod(&mut self, name: &str, hash: &str, ready: bool) -> &mut Self {
        let ready = if ready { "True" } else { "False" };
        self.put(
            Kind::Pod,
            name,
            json!({
                "metadata": {"labels": {"app": "web", "pod-template-hash": hash}},
                "status": {"conditions": [{"type": "Ready", "status": ready}]},
            }),
        )
    }

    fn set(&mut self, hash: &str, replicas: u64) -> &mut Self {
        self.put(
            Kind::ReplicaSet,
            &format!("web-{hash}"),
            json!({
                "metadata": {"labels": {"pod-template-hash": hash}},
                "spec": {"replicas": replicas},
            }),
        )
    }

    fn service(&mut self, name: &str, hash: Option<&str>) -> &mut Self {
        let mut selector = json!({"app": "web"});
        if let Some(hash) = hash {
            selector["pod-template-hash"] = hash.into();
        }
        self.put(Kind::Service, name, json!({"spec": {"selector": selector}}))
    }

    fn route(&mut self, canary: u64) -> &mut Self {
        self.backends(&json!([
            {"name": "web", "weight": 100 - canary}, {"name": "web-canary", "weight": canary},
        ]))
    }

    fn backends(&mut self, backends: &Value) -> &mut Self {
        let route = json!({"spec": {"rules": [{"backendRefs": backends}]}});
        self.put(Kind::HttpRoute, "web", route)
    }

    /// Three pods serve, a canary is up, and the trial is about to give it its first share.
    fn begun() -> Self {
        let mut life = Self::default();
        life.put(
            Kind::Deployment,
            "web",
            json!({"spec": {
                "replicas": 3,
                "template": {"metadata": {"labels": {"app": "web"}}},
                "strategy": {"rollingUpdate": {"maxUnavailable": "25%"}},
            }}),
        );
        life.trial(&Value::Null).set("s", 3);
        for name in ["s1", "s2", "s3"] {
            life.pod(name, "s", true);
        }
        life.service("web", None).backends(&json!([{"name": "web"}]));
        life.stage(&json!({"Starting": {}})).service("web", Some("s"));
        life.set("a1", 0).service("web-canary", Some("a1")).set("a1", 1).pod("a1-1", "a1", true);
        life.route(0).step("Shifting", 0);
        life
    }

    fn broken(&self) -> Vec<&'static str> {
        violations(self.0.clone()).iter().map(|one| one.rule).collect()
    }
}

#[test]
fn a_trial_that_goes_home_breaks_nothing() {
    let mut life = Life::begun();
    life.route(10).step("Baking", 0).step("Paused", 1).step("Shifting", 2).route(50);
    life.stage(&json!({"Aborting": {}})).route(0).set("a1", 0).push(Kind::Pod, "a1-1", None);
    life.backends(&json!([{"name": "web"}])).service("web", None).trial(&Value::Null);
    assert_eq!(violations(life.0), []);
}

#[test]
fn a_hand_over_breaks_nothing() {
    let mut life = Life::begun();
    life.route(10).stage(&json!({"Promoting": {"part": "Filling"}})).set("a1", 3);
    life.pod("a1-2", "a1", true).pod("a1-3", "a1", true).route(100);
    life.service("web", Some("a1")).backends(&json!([{"name": "web"}]));
    life.stage(&json!({"Promoting": {"part": "HandingOver"}})).set("s", 0);
    for name in ["s1", "s2", "s3"] {
        life.push(Kind::Pod, name, None);
    }
    life.service("web", None).trial(&Value::Null);
    assert_eq!(violations(life.0), []);
}

#[test]
fn a_share_comes_after_its_step_its_sum_and_its_pods() {
    let mut life = Life::begun();
    assert_eq!(life.route(50).broken(), ["WeightAboveStep"]);
    let mut life = Life::begun();
    life.backends(&json!([{"name": "web", "weight": 80}, {"name": "web-canary", "weight": 10}]));
    assert_eq!(life.broken(), ["WeightsSum"]);
    let mut life = Life::begun();
    assert_eq!(life.pod("a1-1", "a1", false).route(10).broken(), ["ShareWithoutPods"]);
}

#[test]
fn what_leaves_does_not_rise() {
    let mut life = Life::begun();
    life.stage(&json!({"Aborting": {}})).route(10).set("a1", 2);
    assert_eq!(life.broken(), ["RisesWhileLeaving", "RisesWhileLeaving"]);
}

#[test]
fn a_trial_leaves_no_share_and_no_pin_behind() {
    let mut life = Life::begun();
    life.route(10).trial(&Value::Null);
    assert_eq!(life.broken(), ["ShareAtRest"]);
    let mut life = Life::begun();
    life.service("web", Some("a1")).trial(&Value::Null);
    assert!(life.broken().contains(&"ShareAtRest"), "{:?}", life.broken());
    let mut life = Life::begun();
    life.route(10).trial(&json!({"id": "t2", "canary": "a2", "stage": {"Settling": {}}}));
    assert_eq!(life.broken(), ["OneTrial"]);
}

#[test]
fn those_who_serve_are_enough_at_every_revision() {
    let mut life = Life::begun();
    assert_eq!(life.pod("s1", "s", false).broken(), ["TooFewServe"]);
    let mut life = Life::begun();
    assert_eq!(life.service("web", Some("dead")).broken(), ["NobodyServes"]);
    let mut life = Life::begun();
    for (replicas, ready) in [(0, true), (0, false), (3, false), (3, true)] {
        let labels = json!({"metadata": {"labels": {"app": "web"}}});
        let spec = json!({"spec": {"replicas": replicas, "template": labels}});
        life.put(Kind::Deployment, "web", spec);
        for name in ["s1", "s2", "s3"] {
            life.pod(name, "s", ready);
        }
    }
    assert_eq!(life.broken(), Vec::<&str>::new(), "it slept, and is woken up");
    let mut life = Life::begun();
    assert_eq!(life.set("s", 0).broken(), ["StableLetGo"]);
    let mut life = Life::begun();
    let freed = json!({"annotations": {"tidegate.dev/break-glass": "incident 7"}});
    life.put(Kind::Deployment, "web", json!({"metadata": freed, "spec": {"replicas": 3}}));
    assert_eq!(life.set("s", 0).broken(), Vec::<&str>::new(), "it rolls out by itself");
}

#[test]
fn without_room_for_two_sets_there_are_never_more_pods_than_in_a_rolling_update() {
    let surge = |part: &str, pods: u64| {
        let mut life = Life::begun();
        life.put(
            Kind::Deployment,
            "web",
            json!({"spec": {
                "replicas": 3,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}},
                "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"}},
            }}),
        );
        let stage = json!({"Promoting": {"part": part}});
        life.put(
            Kind::Rollout,
            "web",
            json!({
                "metadata": {"name": "web"},
                "spec": {"workloadRef": {"name": "web"}, "promotion": "Surge"},
                "status": {"state": {"trial": {"id": "t1", "canary": "a1", "stage": stage}}},
            }),
        );
        for (hash, replicas) in [("s", 3), ("a1", 1), ("a1", pods)] {
            let labels = json!({"app": "web", "pod-template-hash": hash});
            let set = json!({"metadata": {"labels": labels}, "spec": {"replicas": replicas}});
            life.put(Kind::ReplicaSet, &format!("web-{hash}"), set);
        }
        life.broken()
    };
    assert_eq!(surge("Spreading", 1), Vec::<&str>::new());
    assert_eq!(surge("Spreading", 2), ["TooManyPods"]);
}

#[test]
fn a_workload_has_one_rollout_that_acts() {
    let mut life = Life::begun();
    life.rollout("other", &json!({"id": "t", "canary": "a2", "stage": {"Baking": {"step": 0}}}));
    assert_eq!(life.broken(), ["OneWorkload"]);
}

#[test]
fn nothing_flaps_and_nothing_is_written_twice() {
    let mut life = Life::begun();
    for _ in 0..10 {
        life.route(10).route(0);
    }
    assert_eq!(life.broken(), ["Flapping"]);
    let route = |time: &str, field: &str| {
        json!({
            "metadata": {"managedFields": [
                {"manager": "tidegate", "time": time, "fieldsV1": {"f:spec": {field: {}}}}]},
            "spec": {"rules": []},
        })
    };
    let mut life = Life::default();
    life.put(Kind::HttpRoute, "web", route("10:00", "f:rules"));
    life.put(Kind::HttpRoute, "web", route("10:01", "f:rules"));
    assert_eq!(life.broken(), ["WrittenTwice"]);
    let mut life = Life::default();
    life.put(Kind::HttpRoute, "web", route("10:00", "f:hostnames"));
    assert_eq!(life.broken(), ["FieldTaken"]);
}

#[test]
fn a_preview_waits_for_its_turn() {
    let blue_green = |step: u64| {
        json!({
            "metadata": {"name": "web"},
            "spec": {"workloadRef": {"name": "web"}, "strategy": {"blueGreen": {}}},
            "status": {"state": {"trial":
                {"id": "t1", "canary": "a1", "stage": {"Shifting": {"step": step}}}}},
        })
    };
    let mut life = Life::begun();
    life.put(Kind::Rollout, "web", blue_green(0)).service("web", Some("a1"));
    life.pod("a1-2", "a1", true).pod("a1-3", "a1", true);
    assert!(life.broken().contains(&"NotOneSet"), "{:?}", life.broken());
    let mut life = Life::begun();
    life.pod("a1-2", "a1", true).pod("a1-3", "a1", true);
    life.put(Kind::Rollout, "web", blue_green(1)).service("web", Some("a1"));
    assert_eq!(life.broken(), Vec::<&str>::new());
    assert_eq!(life.service("web", None).broken(), ["NotOneSet"]);
}

#[test]
fn the_order_is_that_of_the_store() {
    let mut life = Life::begun();
    life.route(10);
    let mut shuffled = life.0.clone();
    shuffled.reverse();
    shuffled.extend(life.0.clone());
    assert_eq!(violations(shuffled), []);
}
