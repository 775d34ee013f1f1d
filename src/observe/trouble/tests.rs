#![expect(clippy::needless_pass_by_value, reason = "`json!` reads better without `&`")]

use super::*;
use serde_json::json;

fn now() -> DateTime<Utc> {
    "2026-05-01T10:00:00Z".parse().expect("a time")
}

fn at(seconds_ago: i64) -> String {
    (now() - TimeDelta::seconds(seconds_ago)).to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// A pod that was made two minutes ago and placed at once, with one container in this state.
fn pod(container: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web-a1-x", "uid": "u", "creationTimestamp": at(120)},
        "spec": {
            "nodeName": "one",
            "containers": [{"name": "web", "image": "web:2", "readinessProbe": {
                "httpGet": {"path": "/", "port": 80}, "periodSeconds": 5, "failureThreshold": 3,
            }}],
        },
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": at(120)},
                {"type": "Ready", "status": "False", "lastTransitionTime": at(120)},
            ],
            "containerStatuses": [container],
        },
    })
}

fn waiting(reason: &str, message: &str) -> Value {
    json!({
        "name": "web", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": reason, "message": message}},
    })
}

fn running(seconds: i64) -> Value {
    json!({
        "name": "web", "ready": false, "restartCount": 0, "started": true,
        "state": {"running": {"startedAt": at(seconds)}},
    })
}

fn sound(_: &str) -> Option<String> {
    None
}

fn kind(pod: &Value) -> Option<TroubleKind> {
    of_pod(pod, &sound, now()).map(|trouble| trouble.kind)
}

#[test]
fn what_the_kubelet_waits_for_is_told_apart_by_who_is_to_blame() {
    let cases = [
        ("CrashLoopBackOff", "back-off 10s restarting", Some(TroubleKind::CrashLoop)),
        (
            "ErrImagePull",
            "code = NotFound desc = web:3: not found",
            Some(TroubleKind::ImageMissing),
        ),
        ("ImagePullBackOff", "Back-off: manifest unknown", Some(TroubleKind::ImageMissing)),
        ("ImagePullBackOff", "Back-off pulling image \"web:3\"", Some(TroubleKind::Registry)),
        ("ErrImagePull", "429 Too Many Requests", Some(TroubleKind::Registry)),
        ("ErrImagePull", "503 Service Unavailable", Some(TroubleKind::Registry)),
        ("ErrImagePull", "lookup registry: no such host", Some(TroubleKind::Registry)),
        ("ErrImagePull", "access denied, or does not exist", Some(TroubleKind::Registry)),
        ("InvalidImageName", "couldn't parse image name", Some(TroubleKind::ImageMissing)),
        ("CreateContainerConfigError", "configmap not found", Some(TroubleKind::Configuration)),
        ("CreateContainerError", "no command specified", Some(TroubleKind::Configuration)),
        ("CreateContainerError", "context deadline exceeded", Some(TroubleKind::Node)),
        ("RunContainerError", "exec: \"/web\": no such file", Some(TroubleKind::Configuration)),
        ("SignatureValidationFailed", "policy rejects it", Some(TroubleKind::Refused)),
        ("SomethingNew", "of a later release", None),
    ];
    for (reason, message, expected) in cases {
        assert_eq!(kind(&pod(waiting(reason, message))), expected, "{reason}: {message}");
    }
}

#[test]
fn a_crash_says_how_the_container_ended() {
    let mut status = waiting("CrashLoopBackOff", "back-off 20s");
    status["restartCount"] = json!(3);
    status["lastState"] = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
    let found = of_pod(&pod(status), &sound, now()).expect("a trouble");
    let expected = "web-a1-x: container web: CrashLoopBackOff: OOMKilled, exit code 137";
    assert_eq!(found.message, expected);
}

#[test]
fn between_two_crashes_it_still_crashes_and_one_restart_is_no_loop() {
    let mut status = running(2);
    status["restartCount"] = json!(2);
    status["lastState"] = json!({"terminated": {"exitCode": 1}});
    assert_eq!(kind(&pod(status.clone())), Some(TroubleKind::CrashLoop));
    status["restartCount"] = json!(1);
    assert_eq!(kind(&pod(status)), None);
}

#[test]
fn a_probe_fails_when_its_own_patience_is_over() {
    assert_eq!(kind(&pod(running(14))), None);
    assert_eq!(kind(&pod(running(16))), Some(TroubleKind::ProbeFails));
    let mut slow = pod(running(16));
    slow["spec"]["containers"][0]["startupProbe"] = json!({"failureThreshold": 30});
    assert_eq!(kind(&slow), None, "a slow start is allowed for");
}

#[test]
fn a_pod_that_was_ready_and_is_not_any_more_fails_its_probe_at_once() {
    let mut lost = pod(running(10));
    lost["status"]["conditions"][1]["lastTransitionTime"] = json!(at(1));
    assert_eq!(kind(&lost), Some(TroubleKind::ProbeFails));
}

#[test]
fn a_ready_pod_and_one_that_leaves_have_no_trouble() {
    let mut ready = pod(running(500));
    ready["status"]["conditions"][1]["status"] = json!("True");
    assert!(is_ready(&ready));
    assert_eq!(kind(&ready), None);
    let mut leaving = pod(waiting("CrashLoopBackOff", ""));
    leaving["metadata"]["deletionTimestamp"] = json!(at(1));
    assert_eq!(kind(&leaving), None);
    let mut evicted = pod(waiting("CrashLoopBackOff", ""));
    evicted["status"]["phase"] = json!("Failed");
    assert_eq!(kind(&evicted), None);
}

#[test]
fn a_pod_without_a_node_is_the_clusters_trouble_unless_its_volume_is_not_there() {
    let unplaced = |message: &str| {
        json!({
            "metadata": {"name": "web-a1-x", "creationTimestamp": at(5)},
            "spec": {"containers": [{"name": "web"}]},
            "status": {"phase": "Pending", "conditions": [{
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": message,
            }]},
        })
    };
    for full in ["0/3 nodes are available: 3 Insufficient cpu.", "no nodes available"] {
        assert_eq!(kind(&unplaced(full)), Some(TroubleKind::Unschedulable));
    }
    let claim = "0/1 nodes are available: persistentvolumeclaim \"data-2\" not found. not found";
    assert_eq!(kind(&unplaced(claim)), Some(TroubleKind::Configuration));
}

#[test]
fn a_pod_that_is_set_up_for_too_long_is_the_nodes_trouble() {
    let mut young = pod(waiting("ContainerCreating", ""));
    assert_eq!(kind(&young), Some(TroubleKind::Node));
    young["status"]["conditions"][0]["lastTransitionTime"] = json!(at(30));
    assert_eq!(kind(&young), None);
}

#[test]
fn a_lost_node_explains_whatever_its_pods_say() {
    let lost = |node: &str| Some(format!("node {node} is not ready"));
    let found = of_pod(&pod(waiting("CrashLoopBackOff", "")), &lost, now()).expect("a trouble");
    assert_eq!(found.kind, TroubleKind::Node);
    assert_eq!(found.message, "web-a1-x: node one is not ready");
}

#[test]
fn a_container_of_the_start_that_fails_is_told_and_one_that_is_done_is_not() {
    let mut starts = pod(waiting("PodInitializing", ""));
    starts["spec"]["initContainers"] = json!([{"name": "migrate"}]);
    starts["status"]["initContainerStatuses"] = json!([{
        "name": "migrate", "ready": false, "restartCount": 4,
        "state": {"terminated": {"exitCode": 2, "reason": "Error"}},
    }]);
    let found = of_pod(&starts, &sound, now()).expect("a trouble");
    assert_eq!(found.kind, TroubleKind::CrashLoop);
    assert!(found.message.contains("migrate") && found.message.contains("exit code 2"));
    let done = json!({"terminated": {"exitCode": 0, "reason": "Completed"}});
    starts["status"]["initContainerStatuses"][0]["state"] = done;
    starts["status"]["containerStatuses"] = json!([running(3)]);
    assert_eq!(kind(&starts), None);
}

#[test]
fn refused_pods_are_told_apart_by_who_refused() {
    let cases = [
        (
            "pods \"web-a7fc15daaa-g4v8s\" is forbidden: exceeded quota: q, requested: pods=1, \
             used: pods=3, limited: pods=3",
            TroubleKind::Quota,
        ),
        (
            "pods \"web-bbff8b5fc-hgg8d\" is forbidden: violates PodSecurity \
             \"restricted:latest\": allowPrivilegeEscalation != false",
            TroubleKind::Refused,
        ),
        ("admission webhook \"policy\" denied the request: no", TroubleKind::Refused),
        (
            "pods \"web-bbff8b5fc-d8gs6\" is forbidden: maximum cpu usage per Container is \
             500m, but limit is 1",
            TroubleKind::Refused,
        ),
        (
            "pods \"web-5b8cc995d9-\" is forbidden: no PriorityClass with name nope was found",
            TroubleKind::Configuration,
        ),
        (
            "pods \"web\" is forbidden: error looking up service account shop/web: \
             serviceaccount \"web\" not found",
            TroubleKind::Configuration,
        ),
        (
            "Pod \"web\" is invalid: spec.containers[0].image: Required value",
            TroubleKind::Configuration,
        ),
        (
            "Internal error occurred: failed calling webhook \"mesh\": connection refused",
            TroubleKind::Unschedulable,
        ),
    ];
    for (message, kind) in cases {
        let set = json!({"status": {"conditions": [{
            "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
            "message": message,
        }]}});
        assert_eq!(of_set(&set).map(|trouble| trouble.kind), Some(kind), "{message}");
    }
    assert_eq!(of_set(&json!({"status": {}})), None);
}

#[test]
fn the_worst_of_several_is_told() {
    let both = [
        trouble(TroubleKind::Unschedulable, "no room"),
        trouble(TroubleKind::CrashLoop, "crashes"),
    ];
    assert_eq!(worst(both.into_iter()).map(|found| found.message), Some("crashes".to_owned()));
    assert_eq!(worst(std::iter::empty()), None);
}

#[test]
fn messages_are_one_line_and_end() {
    assert_eq!(clean("a\n\tb\u{7}  c"), "a b c");
    assert_eq!(clean(&"x".repeat(1000)).chars().count(), MESSAGE_LENGTH + 1);
}
