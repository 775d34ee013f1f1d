//! Pods are processes, and feel like pods: they crash, drain, and stay unscheduled.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};
use tidegate_testbed::world::{World, eventually};

const SOON: Duration = Duration::from_secs(30);

/// How long the hook of the draining pod takes.
const HOOK: Duration = Duration::from_secs(2);

/// Creates a pod that runs a shell script. The image is one that the bed knows; its program is
/// replaced by the command.
async fn shell(pods: &Api<Pod>, name: &str, script: &str, more: Value) -> Result<()> {
    let mut container = json!({
        "name": "main", "image": "app:1", "command": ["/bin/sh", "-c", script],
    });
    if let (Some(container), Value::Object(more)) = (container.as_object_mut(), more) {
        container.extend(more);
    }
    let pod = json!({"metadata": {"name": name}, "spec": {"containers": [container]}});
    let pod = serde_json::from_value(pod).context("read the pod of this test")?;
    pods.create(&PostParams::default(), &pod).await?;
    Ok(())
}

fn container(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// A condition as `status reason: message`.
fn condition(pod: &Pod, kind: &str) -> Option<String> {
    let found = pod.status.as_ref()?.conditions.as_ref()?.iter().find(|it| it.type_ == kind)?;
    let (reason, message) = (found.reason.as_deref(), found.message.as_deref());
    Some(format!(
        "{} {}: {}",
        found.status,
        reason.unwrap_or_default(),
        message.unwrap_or_default()
    ))
}

/// A container that ends again and again waits longer each time, and says so.
pub(crate) async fn a_crash_loop_is_seen_with_its_back_off(world: &World) -> Result<()> {
    let namespace = world.namespace("crash").await?;
    let pods: Api<Pod> = Api::namespaced(world.kube(), &namespace);
    shell(&pods, "crash", "exit 3", json!({})).await?;
    let message = eventually("a crash loop", SOON, async || {
        let pod = pods.get("crash").await?;
        let waiting = container(&pod)
            .and_then(|container| container.state.as_ref()?.waiting.as_ref())
            .filter(|waiting| waiting.reason.as_deref() == Some("CrashLoopBackOff"));
        Ok(waiting.and_then(|waiting| waiting.message.clone()))
    })
    .await?;
    let expected = "restarting failed container=main pod=crash_";
    ensure!(message.starts_with("back-off ") && message.contains(expected), "{message}");
    let pod = pods.get("crash").await?;
    ensure!(phase(&pod) == "Running", "the phase is {}", phase(&pod));
    let status = container(&pod).context("the pod has no container status")?;
    ensure!(status.restart_count >= 1, "no restart is counted");
    let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let last = last.context("the last end is not told")?;
    let end = (last.exit_code, last.reason.as_deref());
    ensure!(end == (3, Some("Error")), "it ended with {end:?}");
    let ready = condition(&pod, "Ready").unwrap_or_default();
    ensure!(ready.starts_with("False ContainersNotReady"), "Ready is {ready}");
    Ok(())
}

/// A deleted pod runs its hook, hears `SIGTERM`, and is gone when its process has ended.
pub(crate) async fn a_drain_waits_for_the_hook_and_then_for_the_process(
    world: &World,
) -> Result<()> {
    let namespace = world.namespace("drain").await?;
    let pods: Api<Pod> = Api::namespaced(world.kube(), &namespace);
    let script = "trap 'exit 0' TERM; while true; do sleep 0.1; done";
    let hook = json!({"lifecycle": {"preStop": {"sleep": {"seconds": HOOK.as_secs()}}}});
    shell(&pods, "drain", script, hook).await?;
    eventually("a ready pod", SOON, async || {
        let pod = pods.get("drain").await?;
        let ready = condition(&pod, "Ready").unwrap_or_default();
        Ok(ready.starts_with("True").then_some(()))
    })
    .await?;
    let asked = Instant::now();
    pods.delete("drain", &DeleteParams::default()).await?;
    tokio::time::sleep(HOOK / 2).await;
    let draining = pods.get("drain").await?;
    ensure!(draining.metadata.deletion_timestamp.is_some(), "it is not asked to stop");
    let runs = container(&draining).and_then(|it| it.state.as_ref()?.running.as_ref());
    ensure!(runs.is_some(), "its process has ended before its hook");
    eventually("the end of the pod", SOON, async || {
        Ok(pods.get_opt("drain").await?.is_none().then_some(()))
    })
    .await?;
    let took = asked.elapsed();
    ensure!(took >= HOOK, "the hook was cut off after {took:?}");
    // The grace period is 30 s: it is not used up, since the process hears the signal.
    ensure!(took < Duration::from_secs(15), "the process did not hear the signal: {took:?}");
    Ok(())
}

/// A pod that asks for more than any node has is told so, and no process is started.
pub(crate) async fn a_pod_that_fits_nowhere_is_unschedulable(world: &World) -> Result<()> {
    let namespace = world.namespace("large").await?;
    let pods: Api<Pod> = Api::namespaced(world.kube(), &namespace);
    let resources = json!({"resources": {"requests": {"cpu": "1000"}}});
    shell(&pods, "large", "sleep 60", resources).await?;
    let scheduled = eventually("a word of the scheduler", SOON, async || {
        Ok(condition(&pods.get("large").await?, "PodScheduled"))
    })
    .await?;
    let told = scheduled.starts_with("False Unschedulable") && scheduled.contains("cpu");
    ensure!(told, "PodScheduled is {scheduled}");
    let pod = pods.get("large").await?;
    ensure!(phase(&pod) == "Pending", "the phase is {}", phase(&pod));
    ensure!(container(&pod).is_none(), "a container is told of");
    Ok(())
}
