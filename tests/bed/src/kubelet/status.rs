//! The status of a pod from what its kubelet knows. Pure.
//!
//! The rules are those of the kubelet: `getPhase` in `pkg/kubelet/kubelet_pods.go` and the
//! conditions in `pkg/kubelet/status/generate.go`.

use chrono::{DateTime, SecondsFormat, Utc};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Map, Value, json};

use super::record::{ContainerRecord, ContainerState, PodRecord, Role, Terminated};

/// One condition of a pod, with the time of its last change.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condition {
    pub(super) kind: &'static str,
    pub(super) status: bool,
    reason: Option<&'static str>,
    message: Option<String>,
    since: DateTime<Utc>,
}

/// A condition without its time.
struct Finding {
    kind: &'static str,
    status: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Finding {
    fn yes(kind: &'static str) -> Self {
        Self { kind, status: true, reason: None, message: None }
    }

    fn no(kind: &'static str, reason: &'static str, message: String) -> Self {
        Self { kind, status: false, reason: Some(reason), message: Some(message) }
    }
}

/// Whether a process that ended with this code is to be started again.
pub(super) fn restarts(policy: &str, role: Role, exit_code: i32) -> bool {
    match (role, policy) {
        (Role::Sidecar, _) | (Role::Main, "Always") => true,
        (Role::Init | Role::Main, "Never") => false,
        _ => exit_code != 0,
    }
}

/// The restart policy of a pod; the API server writes the default.
pub(super) fn restart_policy(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always")
}

/// The phase, by the kubelet's `getPhase`.
pub(super) fn phase(record: &PodRecord, policy: &str) -> &'static str {
    let of = |role| record.containers.iter().filter(move |container| container.role == role);
    let waits = |container: &&ContainerRecord| {
        matches!(container.state, ContainerState::Waiting { .. }) && container.last.is_none()
    };
    let runs =
        |container: &&ContainerRecord| matches!(container.state, ContainerState::Running { .. });
    let failed_for_good = of(Role::Init)
        .filter_map(ContainerRecord::ended)
        .any(|end| end.exit_code != 0 && !restarts(policy, Role::Init, end.exit_code));
    if failed_for_good {
        return "Failed";
    }
    let begun = of(Role::Main).any(|container| !waits(&container));
    let pending_init = of(Role::Init).any(|container| container.ended().is_none());
    let pending_sidecar = of(Role::Sidecar)
        .any(|container| waits(&container) || (runs(&container) && !container.started));
    let waiting = of(Role::Main).chain(of(Role::Sidecar)).any(|container| waits(&container));
    if pending_init || (pending_sidecar && !begun) || waiting {
        return "Pending";
    }
    if of(Role::Main).chain(of(Role::Sidecar)).any(|container| runs(&container)) {
        return "Running";
    }
    let ends: Vec<&Terminated> = of(Role::Main).filter_map(ContainerRecord::ended).collect();
    let succeeded = ends.iter().all(|end| end.exit_code == 0);
    let again = ends.iter().any(|end| restarts(policy, Role::Main, end.exit_code));
    match (ends.is_empty(), !record.terminal && again, succeeded) {
        (true, _, _) => "Pending",
        (false, true, _) => "Running",
        (false, false, true) => "Succeeded",
        (false, false, false) => "Failed",
    }
}

/// The conditions that a kubelet owns. A condition whose status is as it was keeps its time.
pub(super) fn conditions(
    pod: &Pod,
    record: &PodRecord,
    before: &[Condition],
    now: DateTime<Utc>,
) -> Vec<Condition> {
    let phase = phase(record, restart_policy(pod));
    let containers_ready = containers_ready(record, phase);
    let ready = pod_ready(pod, &containers_ready);
    let sandbox = match (phase, &record.pod_ip) {
        (phase, Some(_)) if phase != "Succeeded" && phase != "Failed" => {
            Finding::yes("PodReadyToStartContainers")
        }
        _ => Finding { status: false, ..Finding::yes("PodReadyToStartContainers") },
    };
    let found = [
        sandbox,
        initialized(record, phase),
        ready,
        containers_ready,
        Finding::yes("PodScheduled"),
    ];
    found.into_iter().map(|finding| dated(finding, pod, before, now)).collect()
}

fn dated(finding: Finding, pod: &Pod, before: &[Condition], now: DateTime<Utc>) -> Condition {
    let Finding { kind, status, reason, message } = finding;
    let known = before.iter().find(|old| old.kind == kind && old.status == status);
    let since = known.map(|old| old.since).or_else(|| written(pod, kind, status)).unwrap_or(now);
    Condition { kind, status, reason, message, since }
}

/// The time of a condition that is in the API already: the scheduler writes `PodScheduled`.
fn written(pod: &Pod, kind: &str, status: bool) -> Option<DateTime<Utc>> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| condition.type_ == kind)?;
    let time = found.last_transition_time.as_ref()?;
    let same = found.status == truth(status);
    same.then(|| DateTime::from_timestamp(time.0.as_second(), 0)).flatten()
}

/// Names as Go prints a list of strings.
fn names<'a>(containers: impl Iterator<Item = &'a ContainerRecord>) -> Option<String> {
    let names: Vec<&str> = containers.map(|container| container.name.as_str()).collect();
    (!names.is_empty()).then(|| format!("[{}]", names.join(" ")))
}

fn containers_ready(record: &PodRecord, phase: &str) -> Finding {
    const KIND: &str = "ContainersReady";
    match phase {
        "Succeeded" => {
            return Finding { status: false, reason: Some("PodCompleted"), ..Finding::yes(KIND) };
        }
        "Failed" => {
            return Finding { status: false, reason: Some("PodFailed"), ..Finding::yes(KIND) };
        }
        _ => {}
    }
    let lasting = record.containers.iter().filter(|container| container.role != Role::Init);
    match names(lasting.filter(|container| !container.ready)) {
        None => Finding::yes(KIND),
        Some(names) => Finding::no(
            KIND,
            "ContainersNotReady",
            format!("containers with unready status: {names}"),
        ),
    }
}

fn pod_ready(pod: &Pod, containers_ready: &Finding) -> Finding {
    const KIND: &str = "Ready";
    if !containers_ready.status {
        let message = containers_ready.message.clone();
        return Finding { kind: KIND, status: false, reason: containers_ready.reason, message };
    }
    let gates = pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_deref());
    let present = pod.status.as_ref().and_then(|status| status.conditions.as_deref());
    let complaints: Vec<String> = gates
        .unwrap_or_default()
        .iter()
        .filter_map(|gate| {
            let kind = &gate.condition_type;
            let found = present.unwrap_or_default().iter().find(|found| found.type_ == *kind);
            match found.map(|found| found.status.as_str()) {
                Some("True") => None,
                Some(status) => Some(format!(
                    "the status of pod readiness gate \"{kind}\" is not \"True\", but {status}"
                )),
                None => Some(format!(
                    "corresponding condition of pod readiness gate \"{kind}\" does not exist."
                )),
            }
        })
        .collect();
    if complaints.is_empty() {
        return Finding::yes(KIND);
    }
    Finding::no(KIND, "ReadinessGatesNotReady", complaints.join(", "))
}

fn initialized(record: &PodRecord, phase: &str) -> Finding {
    const KIND: &str = "Initialized";
    if phase == "Succeeded" {
        return Finding { reason: Some("PodCompleted"), ..Finding::yes(KIND) };
    }
    let begun = record.containers.iter().any(|container| {
        container.role == Role::Main
            && (container.ended().is_some()
                || matches!(container.state, ContainerState::Running { .. }))
    });
    let incomplete = record.containers.iter().filter(|container| match container.role {
        Role::Init => !container.ready,
        Role::Sidecar => !container.started,
        Role::Main => false,
    });
    match names(incomplete) {
        Some(names) if !begun => Finding::no(
            KIND,
            "ContainersNotInitialized",
            format!("containers with incomplete status: {names}"),
        ),
        _ => Finding::yes(KIND),
    }
}

fn truth(status: bool) -> &'static str {
    if status { "True" } else { "False" }
}

fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The whole status, as it is written to the API.
pub(super) fn render(pod: &Pod, record: &PodRecord, conditions: &[Condition]) -> Value {
    let generation = pod.metadata.generation;
    let conditions: Vec<Value> = conditions
        .iter()
        .map(|condition| {
            // The patch merges conditions by their type: what is gone must be said to be null.
            json!({
                "type": condition.kind,
                "status": truth(condition.status),
                "reason": condition.reason,
                "message": condition.message,
                "lastProbeTime": null,
                "lastTransitionTime": time(condition.since),
                "observedGeneration": generation,
            })
        })
        .collect();
    let of = |wanted: fn(Role) -> bool| -> Vec<Value> {
        record.containers.iter().filter(|known| wanted(known.role)).map(container).collect()
    };
    let mut status = json!({
        "phase": phase(record, restart_policy(pod)),
        "observedGeneration": generation,
        "conditions": conditions,
        "hostIP": record.host_ip,
        "hostIPs": [{"ip": record.host_ip}],
        "startTime": time(record.start_time),
        "containerStatuses": of(|role| role == Role::Main),
    });
    let init = of(|role| role != Role::Main);
    if !init.is_empty() {
        status["initContainerStatuses"] = init.into();
    }
    if let Some(address) = &record.pod_ip {
        status["podIP"] = json!(address);
        status["podIPs"] = json!([{"ip": address}]);
    }
    status
}

fn container(record: &ContainerRecord) -> Value {
    let state = match &record.state {
        ContainerState::Waiting { reason, message } => {
            json!({"waiting": without_null(json!({"reason": reason, "message": message}))})
        }
        ContainerState::Running { since } => json!({"running": {"startedAt": time(*since)}}),
        ContainerState::Terminated(end) => json!({"terminated": terminated(end)}),
    };
    let last = record.last.as_ref().map(|end| json!({"terminated": terminated(end)}));
    let image_id =
        if record.container_id.is_empty() { String::new() } else { image_id(&record.image) };
    without_null(json!({
        "name": record.name,
        "image": record.image,
        "imageID": image_id,
        "containerID": (!record.container_id.is_empty()).then_some(&record.container_id),
        "state": state,
        "lastState": last.unwrap_or_else(|| json!({})),
        "ready": record.ready,
        "started": record.started,
        "restartCount": record.restarts,
    }))
}

fn terminated(end: &Terminated) -> Value {
    without_null(json!({
        "exitCode": end.exit_code,
        "reason": end.reason,
        "message": end.message,
        "startedAt": end.started_at.map(time),
        "finishedAt": time(end.finished_at),
        "containerID": (!end.container_id.is_empty()).then_some(&end.container_id),
    }))
}

/// An identity per image name and tag, as a digest would be.
fn image_id(image: &str) -> String {
    use sha2::{Digest as _, Sha256};
    use std::fmt::Write as _;
    let mut digest = String::new();
    for byte in Sha256::digest(image.as_bytes()) {
        let _ = write!(digest, "{byte:02x}");
    }
    format!("{}@sha256:{digest}", super::image::name(image))
}

fn without_null(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept: Map<String, Value> =
                fields.into_iter().filter(|(_, value)| !value.is_null()).collect();
            Value::Object(kept)
        }
        other => other,
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
