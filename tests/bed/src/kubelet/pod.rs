//! One pod from its first sight to its deletion.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::container::Runner;
use super::handle::{Handle, containers};
use super::record::{ContainerState, Role};
use super::status::{restart_policy, restarts};

/// How often a pod looks whether its sidecar has started.
const LOOK: Duration = Duration::from_millis(50);

/// Sidecars get at least so long after the other containers have ended.
const LEAST_GRACE: Duration = Duration::from_secs(2);

/// Runs a pod. Ends when it has been deleted and none of its processes is left.
pub(super) async fn run(pod: Arc<Handle>) {
    if !ended_before(&pod) {
        tokio::select! {
            () = live(&pod) => {}
            never = pod.keep_written() => match never {},
        }
        pod.update(|record| record.terminal = true);
        pod.write().await;
    }
    // A pod that has ended stays until somebody deletes it.
    let _ = pod.stop.subscribe().wait_for(Option::is_some).await;
    pod.delete().await;
}

/// A pod that had ended before this kubelet saw it is not run again.
fn ended_before(pod: &Handle) -> bool {
    let shown = pod.look();
    let phase = shown.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// From the first container to the end of the last.
async fn live(pod: &Arc<Handle>) {
    let Some(address) = address(pod) else {
        pod.host.events.warning(
            &pod.look(),
            "FailedCreatePodSandBox",
            "Failed to create pod sandbox: no addresses left",
        );
        let _ = pod.stop.subscribe().wait_for(Option::is_some).await;
        return;
    };
    pod.update(|record| record.pod_ip = Some(address.clone()));
    let stop_sidecars = watch::Sender::new(None);
    let mut sidecars = JoinSet::new();
    let mut mains = JoinSet::new();
    for (index, (spec, role)) in containers(&pod.look()).into_iter().enumerate() {
        let stop = match role {
            Role::Sidecar => stop_sidecars.subscribe(),
            Role::Init | Role::Main => pod.stop.subscribe(),
        };
        let (handle, address) = (pod.clone(), address.clone());
        let runner = Runner { pod: handle, index, spec, role, address, stop };
        match role {
            Role::Init => runner.run().await,
            Role::Sidecar => {
                sidecars.spawn(runner.run());
                started(pod, index).await;
            }
            Role::Main => {
                mains.spawn(runner.run());
            }
        }
        if role != Role::Main && (pod.stop.borrow().is_some() || failed(pod, index)) {
            break;
        }
        show_creating(pod);
    }
    while mains.join_next().await.is_some() {}
    let least = Instant::now() + LEAST_GRACE;
    let deadline = pod.stop.borrow().map_or(least, |stop| stop.max(least));
    stop_sidecars.send_replace(Some(deadline));
    while sidecars.join_next().await.is_some() {}
}

/// A pod of the host's network has the host's address.
fn address(pod: &Handle) -> Option<String> {
    let host = pod.look().spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
    if host { Some(pod.host.address.clone()) } else { pod.host.addresses.pod() }
}

/// Resolves when the sidecar has started, or the pod is to stop.
async fn started(pod: &Handle, index: usize) {
    while pod.stop.borrow().is_none() && !pod.record().containers[index].started {
        sleep(LOOK).await;
    }
}

/// Whether an init container has ended and will not be tried again.
fn failed(pod: &Handle, index: usize) -> bool {
    let record = pod.record();
    let container = &record.containers[index];
    let shown = pod.look();
    container.role == Role::Init
        && container.ended().is_some_and(|end| {
            end.exit_code != 0 && !restarts(restart_policy(&shown), Role::Init, end.exit_code)
        })
}

/// Once all init containers are done, the others do not wait for them any more.
fn show_creating(pod: &Handle) {
    pod.update(|record| {
        let done = |role: Role, container: &super::record::ContainerRecord| match role {
            Role::Init => container.ready,
            Role::Sidecar => container.started,
            Role::Main => true,
        };
        if record.containers.iter().all(|container| done(container.role, container)) {
            for container in &mut record.containers {
                let waits = matches!(&container.state,
                    ContainerState::Waiting { reason, .. } if reason == "PodInitializing");
                if waits {
                    container.wait("ContainerCreating", None);
                }
            }
        }
    });
}
