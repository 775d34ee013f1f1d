//! What keeps pods from being ready, told from what their status says.
//!
//! The kind decides whether a commit is reverted, so in doubt it is the cluster's fault: a hold and
//! an alert cost a person's minute, a revert of an innocent commit costs trust.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use tidegate_engine::observed::{Trouble, TroubleKind};

use crate::kubernetes::json;

/// Exits of one container from which on it crashes again and again: the first may be a node's.
const CRASHES: u32 = 2;
/// A container may take at least this long to get ready, whatever its probes say.
const PROBE_PATIENCE: TimeDelta = TimeDelta::seconds(10);
/// Sandbox, volumes and network of a pod are there after this time, or something is wrong.
const SETUP_PATIENCE: TimeDelta = TimeDelta::seconds(60);
/// The longest message that is kept.
const MESSAGE_LENGTH: usize = 300;

/// What is wrong with a node, if anything; `None` when it is ready or was not asked for.
pub(super) type NodeTrouble<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The worst of several troubles.
pub(super) fn worst(troubles: impl Iterator<Item = Trouble>) -> Option<Trouble> {
    troubles.min_by_key(|trouble| trouble.kind)
}

/// What keeps a pod from being ready; `None` where it is ready, leaving, or simply young.
pub(super) fn of_pod(pod: &Value, node: NodeTrouble<'_>, now: DateTime<Utc>) -> Option<Trouble> {
    if is_ready(pod) || is_gone(pod) {
        return None;
    }
    let name = json::name(pod).unwrap_or_default();
    if let Some(why) = json::text(pod, "/spec/nodeName").and_then(node) {
        // Whatever else its status says is from before the node was lost.
        return Some(trouble(TroubleKind::Node, &format!("{name}: {why}")));
    }
    let place = unplaced(pod);
    let containers = containers(pod).filter_map(|container| of_container(pod, container, now));
    let setup = slow_setup(pod, now);
    worst(place.into_iter().chain(containers).chain(setup)).map(|mut found| {
        found.message = clean(&format!("{name}: {}", found.message));
        found
    })
}

/// What keeps a set from creating its pods.
pub(super) fn of_set(set: &Value) -> Option<Trouble> {
    let failure = condition(set, "ReplicaFailure").filter(|found| found["status"] == "True")?;
    let message = failure["message"].as_str().unwrap_or_default();
    Some(trouble(refusal(message), message))
}

/// The pod serves.
pub(super) fn is_ready(pod: &Value) -> bool {
    !is_gone(pod) && condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True")
}

/// The pod ends or has ended: no new request is for it, and its set makes another one.
pub(super) fn is_gone(pod: &Value) -> bool {
    json::is_deleted(pod)
        || matches!(json::text(pod, "/status/phase"), Some("Failed" | "Succeeded"))
}

/// A condition of a status, by type.
pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    json::list(object, "/status/conditions").iter().find(|found| found["type"] == kind)
}

/// A time as the API server writes it.
pub(super) fn time(object: &Value, pointer: &str) -> Option<DateTime<Utc>> {
    let text = json::text(object, pointer)?;
    Some(DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc))
}

/// Why the API server refused a pod of the template.
fn refusal(message: &str) -> TroubleKind {
    let text = message.to_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    if says(&["exceeded quota", "insufficient quota", "failed quota"]) {
        TroubleKind::Quota
    } else if says(&[
        "failed calling webhook",
        "failed to call webhook",
        "internal error",
        "timeout",
        "timed out",
        "connection refused",
        "being terminated",
        "too many requests",
        "try again",
    ]) {
        // Nobody said no: somebody could not answer. There is no place for the pod now.
        TroubleKind::Unschedulable
    } else if says(&["service account", "serviceaccount", "priorityclass", " is invalid"]) {
        TroubleKind::Configuration
    } else {
        TroubleKind::Refused
    }
}

fn unplaced(pod: &Value) -> Option<Trouble> {
    let scheduled = condition(pod, "PodScheduled").filter(|found| found["status"] == "False")?;
    let message = scheduled["message"].as_str().unwrap_or("no node was found yet");
    let claim = message.contains("persistentvolumeclaim") && message.contains("not found");
    let kind = if claim { TroubleKind::Configuration } else { TroubleKind::Unschedulable };
    Some(trouble(kind, message))
}

/// A volume that cannot be mounted or a network that is not made shows in nothing but time.
fn slow_setup(pod: &Value, now: DateTime<Utc>) -> Option<Trouble> {
    let placed = condition(pod, "PodScheduled").filter(|found| found["status"] == "True")?;
    let since = time(placed, "/lastTransitionTime")?;
    let waits = containers(pod).any(|container| {
        matches!(
            json::text(container.status, "/state/waiting/reason"),
            Some("ContainerCreating" | "PodInitializing")
        )
    });
    let started = containers(pod).any(|container| {
        container.status["state"].get("waiting").is_none()
            || json::count(container.status, "/restartCount").unwrap_or(0) > 0
    });
    (waits && !started && now - since > SETUP_PATIENCE).then(|| {
        let node = json::text(pod, "/spec/nodeName").unwrap_or("its node");
        trouble(TroubleKind::Node, &format!("volumes or network are not set up on {node}"))
    })
}

/// A container, with what the template says of it.
#[derive(Clone, Copy)]
struct Container<'a> {
    status: &'a Value,
    spec: Option<&'a Value>,
}

/// All containers with a status, those of the start first.
fn containers(pod: &Value) -> impl Iterator<Item = Container<'_>> {
    let parts = [
        ("/status/initContainerStatuses", "/spec/initContainers"),
        ("/status/containerStatuses", "/spec/containers"),
    ];
    parts.into_iter().flat_map(move |(statuses, specs)| {
        json::list(pod, statuses).iter().map(move |status| {
            let spec = json::list(pod, specs).iter().find(|spec| spec["name"] == status["name"]);
            Container { status, spec }
        })
    })
}

fn of_container(pod: &Value, container: Container<'_>, now: DateTime<Utc>) -> Option<Trouble> {
    let Container { status, spec } = container;
    let name = json::text(status, "/name").unwrap_or_default();
    if let Some(waiting) = status.pointer("/state/waiting") {
        let reason = waiting["reason"].as_str().unwrap_or_default();
        let message = waiting["message"].as_str().unwrap_or(reason);
        if let Some(kind) = waiting_kind(reason, message) {
            let said = if kind == TroubleKind::CrashLoop { exit(status) } else { None };
            let said = said.unwrap_or_else(|| message.to_owned());
            return Some(trouble(kind, &format!("container {name}: {reason}: {said}")));
        }
    }
    let restarts = json::count(status, "/restartCount").unwrap_or(0);
    let is_start = json::list(pod, "/spec/initContainers").iter().any(|init| init["name"] == name);
    let is_ready = status["ready"] == true || (is_start && is_done(status));
    if restarts >= CRASHES && !is_ready {
        let said = exit(status).unwrap_or_else(|| "it ended".to_owned());
        let message = format!("container {name}: {restarts} restarts: {said}");
        return Some(trouble(TroubleKind::CrashLoop, &message));
    }
    if is_start || is_ready {
        return None;
    }
    let started = time(status, "/state/running/startedAt")?;
    let lost = lost_readiness(pod).is_some_and(|at| at > started);
    let late = now - started > patience(spec);
    (lost || late).then(|| {
        let seconds = (now - started).num_seconds();
        let message = format!("container {name}: runs for {seconds} s and is not ready");
        trouble(TroubleKind::ProbeFails, &message)
    })
}

/// A container of the start that has ended well.
fn is_done(status: &Value) -> bool {
    status.pointer("/state/terminated/exitCode").and_then(Value::as_i64) == Some(0)
}

/// When the pod ceased to be ready. A pod that never was says when it was made: before any of its
/// containers ran.
fn lost_readiness(pod: &Value) -> Option<DateTime<Utc>> {
    condition(pod, "Ready").and_then(|ready| time(ready, "/lastTransitionTime"))
}

/// How long the container's own probes let it take.
fn patience(spec: Option<&Value>) -> TimeDelta {
    let Some(spec) = spec else { return PROBE_PATIENCE };
    let of = |probe: &str| {
        let probe = &spec[probe];
        let field = |name: &str, default: i64| probe[name].as_i64().unwrap_or(default);
        if probe.is_null() {
            return 0;
        }
        field("initialDelaySeconds", 0)
            .saturating_add(field("periodSeconds", 10).saturating_mul(field("failureThreshold", 3)))
    };
    let seconds = of("startupProbe").saturating_add(of("readinessProbe"));
    TimeDelta::try_seconds(seconds).unwrap_or(TimeDelta::MAX).max(PROBE_PATIENCE)
}

/// How the container ended the last time.
fn exit(status: &Value) -> Option<String> {
    let ended =
        status.pointer("/state/terminated").or_else(|| status.pointer("/lastState/terminated"))?;
    let code = ended["exitCode"].as_i64()?;
    let reason = ended["reason"].as_str().unwrap_or("Error");
    Some(format!("{reason}, exit code {code}"))
}

/// The kubelet's reasons. `None`: nothing is wrong with it, or not yet.
fn waiting_kind(reason: &str, message: &str) -> Option<TroubleKind> {
    let text = message.to_lowercase();
    match reason {
        "CrashLoopBackOff" => Some(TroubleKind::CrashLoop),
        "ErrImagePull" | "ImagePullBackOff" => Some(pull(&text)),
        "InvalidImageName" => Some(TroubleKind::ImageMissing),
        "RegistryUnavailable" => Some(TroubleKind::Registry),
        "ImageInspectError" | "CreatePodSandboxError" => Some(TroubleKind::Node),
        "SignatureValidationFailed" => Some(TroubleKind::Refused),
        "CreateContainerConfigError" | "ErrImageNeverPull" | "RunContainerError" => {
            Some(TroubleKind::Configuration)
        }
        // The runtime's own trouble has the same reason as a wrong field.
        "CreateContainerError" if text.contains("deadline") || text.contains("reserved") => {
            Some(TroubleKind::Node)
        }
        "CreateContainerError" => Some(TroubleKind::Configuration),
        _ => None,
    }
}

/// Why an image could not be pulled. "Denied" is what registries say of a missing image and of an
/// expired credential alike, and servers before 1.32 do not say why while they back off: both are
/// taken as the registry's.
fn pull(text: &str) -> TroubleKind {
    let says = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    let asked = says(&["denied", "unauthorized", "authentication", "401", "403"]);
    let busy = says(&["429", "too many", "toomany", "no such host", "timeout", "refused"]);
    let missing = says(&["not found", "manifest unknown", "name unknown", "does not exist"]);
    if missing && !asked && !busy { TroubleKind::ImageMissing } else { TroubleKind::Registry }
}

fn trouble(kind: TroubleKind, message: &str) -> Trouble {
    Trouble { kind, message: clean(message) }
}

/// On one line, and not endless.
pub(super) fn clean(message: &str) -> String {
    let line: Vec<_> = message.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let line = line.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    if line.chars().count() <= MESSAGE_LENGTH {
        return line;
    }
    let mut start: String = line.chars().take(MESSAGE_LENGTH).collect();
    start.push('…');
    start
}

#[cfg(test)]
mod tests;
