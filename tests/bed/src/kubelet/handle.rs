//! What the tasks of one pod share, and the one place where its status is written.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use super::address::Addresses;
use super::event::Events;
use super::held;
use super::image::Image;
use super::process::kill_group;
use super::record::{ContainerRecord, PodRecord, Role};
use super::status::{self, Condition};

/// Wait after a request that failed.
const RETRY: Duration = Duration::from_secs(1);

/// What all pods of a node share.
pub(super) struct Host {
    pub(super) kube: Client,
    pub(super) address: String,
    pub(super) addresses: Arc<Addresses>,
    pub(super) images: BTreeMap<String, Image>,
    pub(super) logs: PathBuf,
    pub(super) back_off: Duration,
    pub(super) slow_pull: Duration,
    pub(super) events: Events,
    /// While it is true, the node is cut off from the API server.
    pub(super) frozen: watch::Receiver<bool>,
}

impl Host {
    /// Resolves when the node can reach the API server.
    pub(super) async fn reachable(&self) {
        let _ = self.frozen.clone().wait_for(|frozen| !frozen).await;
    }
}

/// A process that is alive.
#[derive(Clone, Copy, Debug)]
struct Live {
    group: i32,
    /// It is killed for its use of memory.
    out_of_memory: bool,
}

/// What was written last.
#[derive(Debug, Default)]
struct Written {
    status: Option<Value>,
    conditions: Vec<Condition>,
    version: u64,
}

/// A pod of this kubelet.
pub(super) struct Handle {
    pub(super) host: Arc<Host>,
    /// As the API server showed it last.
    pub(super) pod: watch::Sender<Arc<Pod>>,
    /// When its processes must have ended, once it is to stop.
    pub(super) stop: watch::Sender<Option<Instant>>,
    /// The API server does not have it any more.
    gone: watch::Sender<bool>,
    record: Mutex<PodRecord>,
    live: Mutex<BTreeMap<String, Live>>,
    changed: Notify,
    written: tokio::sync::Mutex<Written>,
}

impl Handle {
    pub(super) fn new(host: Arc<Host>, pod: Arc<Pod>, now: DateTime<Utc>) -> Self {
        let record = record(&pod, &host.address, now);
        Self {
            host,
            pod: watch::Sender::new(pod),
            stop: watch::Sender::new(None),
            gone: watch::Sender::new(false),
            record: Mutex::new(record),
            live: Mutex::default(),
            changed: Notify::new(),
            written: tokio::sync::Mutex::default(),
        }
    }

    /// The pod as the API server showed it last.
    pub(super) fn look(&self) -> Arc<Pod> {
        self.pod.borrow().clone()
    }

    /// The API server shows the pod as it is now.
    pub(super) fn show(&self, pod: Arc<Pod>) {
        if let Some(grace) = deletion_grace(&pod) {
            self.stop_within(grace);
        }
        self.pod.send_replace(pod);
        self.changed.notify_one();
    }

    /// The API server does not have the pod any more: it was deleted by force, or by us.
    pub(super) fn lose(&self) {
        self.gone.send_replace(true);
        self.stop_within(grace(&self.look()));
    }

    /// A later request can only shorten the time that is left.
    fn stop_within(&self, grace: Duration) {
        let deadline = Instant::now() + grace;
        self.stop.send_if_modified(|stop| {
            let earlier = stop.is_none_or(|known| deadline < known);
            if earlier {
                *stop = Some(deadline);
            }
            earlier
        });
    }

    fn lock(&self) -> MutexGuard<'_, PodRecord> {
        held(&self.record)
    }

    /// What is known now.
    pub(super) fn record(&self) -> PodRecord {
        self.lock().clone()
    }

    /// Changes what is known; a change is written soon.
    pub(super) fn update(&self, change: impl FnOnce(&mut PodRecord)) {
        let mut record = self.lock();
        let before = record.clone();
        change(&mut record);
        let changed = *record != before;
        drop(record);
        if changed {
            self.changed.notify_one();
        }
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<String, Live>> {
        held(&self.live)
    }

    /// A container's process is alive.
    pub(super) fn born(&self, container: &str, group: i32) {
        self.live().insert(container.to_owned(), Live { group, out_of_memory: false });
    }

    /// A container's process has ended; says whether for its use of memory.
    pub(super) fn buried(&self, container: &str) -> bool {
        self.live().remove(container).is_some_and(|live| live.out_of_memory)
    }

    /// How many processes are alive.
    pub(super) fn alive(&self) -> usize {
        self.live().len()
    }

    /// Kills the processes of a container, or of all of them; says how many there were.
    pub(super) fn kill(&self, container: Option<&str>, out_of_memory: bool) -> usize {
        let mut live = self.live();
        let mut killed = 0;
        for (name, process) in &mut *live {
            if container.is_none_or(|wanted| wanted == name) {
                process.out_of_memory = out_of_memory;
                kill_group(process.group);
                killed += 1;
            }
        }
        killed
    }

    /// Writes changes for ever.
    pub(super) async fn keep_written(&self) -> std::convert::Infallible {
        loop {
            self.changed.notified().await;
            self.write().await;
        }
    }

    /// Writes the status when it is not what was written last. Returns when that is done or the
    /// pod is gone.
    pub(super) async fn write(&self) {
        let mut written = self.written.lock().await;
        while !*self.gone.borrow() {
            self.host.reachable().await;
            let (pod, record) = (self.look(), self.record());
            let conditions = status::conditions(&pod, &record, &written.conditions, Utc::now());
            let status = status::render(&pod, &record, &conditions);
            if written.status.as_ref() == Some(&status) && !drifted(&pod, &written) {
                return;
            }
            // The uid keeps a new pod of the same name from getting the status of the old one.
            let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": status});
            let (params, patch) = (PatchParams::default(), Patch::Strategic(&patch));
            match self.api().patch_status(&pod.name_any(), &params, &patch).await {
                Ok(answer) => {
                    *written =
                        Written { status: Some(status), conditions, version: version(&answer) };
                    return;
                }
                Err(kube::Error::Api(error)) if error.code == 404 || error.code == 409 => return,
                Err(error) => {
                    eprintln!("kubelet: status of pod {} is not written: {error}", pod.name_any());
                    sleep(RETRY).await;
                }
            }
        }
    }

    /// Deletes the pod for good, once its processes have ended.
    pub(super) async fn delete(&self) {
        let pod = self.look();
        let preconditions = Preconditions { uid: pod.uid(), resource_version: None };
        let params = DeleteParams::default().grace_period(0).preconditions(preconditions);
        while !*self.gone.borrow() {
            self.host.reachable().await;
            match self.api().delete(&pod.name_any(), &params).await {
                Ok(_) => return,
                Err(kube::Error::Api(error)) if error.code == 404 || error.code == 409 => return,
                Err(error) => {
                    eprintln!("kubelet: pod {} is not deleted: {error}", pod.name_any());
                    sleep(RETRY).await;
                }
            }
        }
    }

    fn api(&self) -> Api<Pod> {
        let namespace = self.look().namespace().unwrap_or_default();
        Api::namespaced(self.host.kube.clone(), &namespace)
    }
}

/// Whether somebody else has changed what we wrote: the node controller calls the pods of a lost
/// node not ready, and they are again when the node is back.
fn drifted(pod: &Pod, written: &Written) -> bool {
    let shown = pod.status.as_ref().and_then(|status| status.conditions.as_deref());
    version(pod) > written.version
        && written.conditions.iter().any(|ours| {
            let same = shown.unwrap_or_default().iter().find(|shown| shown.type_ == ours.kind);
            same.is_none_or(|shown| (shown.status == "True") != ours.status)
        })
}

fn version(pod: &Pod) -> u64 {
    pod.resource_version().and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// The pod's own grace period; at least a second, as in the kubelet.
pub(super) fn grace(pod: &Pod) -> Duration {
    let seconds = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
    seconds_of(seconds.unwrap_or(30))
}

/// The grace period that whoever deleted the pod asked for; `None`: nobody did.
fn deletion_grace(pod: &Pod) -> Option<Duration> {
    pod.metadata.deletion_timestamp.as_ref()?;
    Some(pod.metadata.deletion_grace_period_seconds.map_or_else(|| grace(pod), seconds_of))
}

fn seconds_of(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0).max(1))
}

/// The containers of a pod in the order in which they start, with what each is.
pub(super) fn containers(pod: &Pod) -> Vec<(Container, Role)> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let init = spec.init_containers.iter().flatten().map(|container| {
        let sidecar = container.restart_policy.as_deref() == Some("Always");
        (container.clone(), if sidecar { Role::Sidecar } else { Role::Init })
    });
    init.chain(spec.containers.iter().map(|container| (container.clone(), Role::Main))).collect()
}

fn record(pod: &Pod, host_ip: &str, now: DateTime<Utc>) -> PodRecord {
    let containers = containers(pod);
    let init = containers.iter().any(|(_, role)| *role != Role::Main);
    let reason = if init { "PodInitializing" } else { "ContainerCreating" };
    let known = containers.iter().map(|(container, role)| {
        let image = container.image.as_deref().unwrap_or_default();
        ContainerRecord::new(&container.name, image, *role, reason)
    });
    PodRecord {
        containers: known.collect(),
        start_time: now,
        pod_ip: None,
        host_ip: host_ip.to_owned(),
        terminal: false,
    }
}
