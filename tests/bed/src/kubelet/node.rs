//! A node: its object, its heartbeat, its pods.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat, Utc};
use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::handle::{Handle, Host};
use super::{held, pod};

/// A kubelet renews its lease so often.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Heartbeats per full status of the node.
const STATUS_EVERY: u64 = 6;

/// Seconds for which a lease counts, as in Kubernetes.
const LEASE: u32 = 40;

const MANAGER: &str = "kubelet";

/// A node of the cluster. Its capacity is a claim: nothing is measured.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Its name and its label `kubernetes.io/hostname`.
    pub name: String,
    /// How many pods it takes.
    pub pods: u32,
    /// How much CPU the scheduler may give away, as a quantity.
    pub cpu: String,
    /// How much memory the scheduler may give away, as a quantity.
    pub memory: String,
    /// More labels.
    pub labels: BTreeMap<String, String>,
}

impl NodeOptions {
    /// A node that has room for all that tests start.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            pods: 500,
            cpu: "64".to_owned(),
            memory: "256Gi".to_owned(),
            labels: BTreeMap::new(),
        }
    }
}

/// The pods of all nodes, by uid.
pub(super) type Registry = Arc<Mutex<BTreeMap<String, Arc<Handle>>>>;

/// Makes the node known to the API server, with a first status.
pub(super) async fn register(
    kube: &Client,
    options: &NodeOptions,
    address: &str,
) -> anyhow::Result<()> {
    let api: Api<Node> = Api::all(kube.clone());
    let mut labels = options.labels.clone();
    labels.insert("kubernetes.io/hostname".to_owned(), options.name.clone());
    labels.insert("kubernetes.io/os".to_owned(), "linux".to_owned());
    labels.insert("kubernetes.io/arch".to_owned(), "amd64".to_owned());
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": options.name, "labels": labels},
    });
    let node: Node = serde_json::from_value(node)?;
    match api.create(&PostParams::default(), &node).await {
        Ok(_) => {}
        // A node of an earlier kubelet: its status is replaced.
        Err(kube::Error::Api(error)) if error.code == 409 => {}
        Err(error) => {
            return Err(error).with_context(|| format!("node {} is not created", options.name));
        }
    }
    write_status(kube, options, address, Utc::now())
        .await
        .with_context(|| format!("the status of node {} is not written", options.name))
}

/// Keeps the node ready in the eyes of the node controller, for ever.
pub(super) async fn beat(host: Arc<Host>, options: NodeOptions, since: DateTime<Utc>) {
    let mut ticks = interval(HEARTBEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for beat in 0_u64.. {
        ticks.tick().await;
        host.reachable().await;
        // The namespace of leases comes a moment after the API server; one that is late by less
        // than its duration does no harm.
        while let Err(error) = renew(&host.kube, &options.name).await {
            if beat > 0 {
                eprintln!("kubelet: the lease of node {} is not renewed: {error}", options.name);
            }
            sleep(Duration::from_secs(1)).await;
            host.reachable().await;
        }
        if beat % STATUS_EVERY == 0
            && let Err(error) = write_status(&host.kube, &options, &host.address, since).await
        {
            eprintln!("kubelet: the status of node {} is not written: {error}", options.name);
        }
    }
}

async fn renew(kube: &Client, name: &str) -> kube::Result<()> {
    let api: Api<Lease> = Api::namespaced(kube.clone(), "kube-node-lease");
    let now = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": LEASE, "renewTime": now},
    });
    api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&lease)).await.map(drop)
}

async fn write_status(
    kube: &Client,
    options: &NodeOptions,
    address: &str,
    since: DateTime<Utc>,
) -> kube::Result<()> {
    let api: Api<Node> = Api::all(kube.clone());
    let patch = json!({"status": status(options, address, since, Utc::now())});
    let params = PatchParams::default();
    api.patch_status(&options.name, &params, &Patch::Strategic(&patch)).await.map(drop)
}

/// The status of a healthy node.
fn status(options: &NodeOptions, address: &str, since: DateTime<Utc>, now: DateTime<Utc>) -> Value {
    let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": time(now), "lastTransitionTime": time(since),
        })
    };
    let room =
        json!({"pods": options.pods.to_string(), "cpu": options.cpu, "memory": options.memory});
    json!({
        "capacity": room,
        "allocatable": room,
        "addresses": [
            {"type": "InternalIP", "address": address},
            {"type": "Hostname", "address": options.name},
        ],
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory",
                "kubelet has sufficient memory available"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure",
                "kubelet has no disk pressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID",
                "kubelet has sufficient PID available"),
            condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        ],
        "nodeInfo": {
            "architecture": "amd64", "operatingSystem": "linux", "osImage": "test bed",
            "kernelVersion": "", "machineID": options.name, "systemUUID": options.name,
            "bootID": options.name, "containerRuntimeVersion": "process://1",
            "kubeletVersion": "v1.36.3", "kubeProxyVersion": "",
        },
    })
}

/// Follows the pods that are bound to the node and runs them, for ever. Dropping the future ends
/// all their processes.
pub(super) async fn follow(host: Arc<Host>, node: String, registry: Registry) {
    let api: Api<Pod> = Api::all(host.kube.clone());
    let config = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
    let mut events = watcher(api, config).default_backoff().boxed();
    let mut workers = JoinSet::new();
    let mut ours: BTreeMap<String, Arc<Handle>> = BTreeMap::new();
    let mut listed: BTreeMap<String, Arc<Handle>> = BTreeMap::new();
    while let Some(event) = events.next().await {
        while workers.try_join_next().is_some() {}
        // A node that is cut off hears of nothing.
        host.reachable().await;
        let mut take = |pod: Pod| {
            let uid = pod.uid().unwrap_or_default();
            let pod = Arc::new(pod);
            let handle = ours.entry(uid.clone()).or_insert_with(|| {
                let handle = Arc::new(Handle::new(host.clone(), pod.clone(), Utc::now()));
                held(&registry).insert(uid.clone(), handle.clone());
                workers.spawn(pod::run(handle.clone()));
                handle
            });
            handle.show(pod);
            (uid, handle.clone())
        };
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(pod)) => {
                let (uid, handle) = take(pod);
                listed.insert(uid, handle);
            }
            Ok(Event::InitDone) => {
                let known = std::mem::replace(&mut ours, std::mem::take(&mut listed));
                for (uid, handle) in known {
                    if !ours.contains_key(&uid) {
                        lose(&registry, &uid, &handle);
                    }
                }
            }
            Ok(Event::Apply(pod)) => {
                take(pod);
            }
            Ok(Event::Delete(pod)) => {
                let uid = pod.uid().unwrap_or_default();
                if let Some(handle) = ours.remove(&uid) {
                    lose(&registry, &uid, &handle);
                }
            }
            Err(error) => eprintln!("kubelet: pods of node {node} are not seen: {error}"),
        }
    }
}

fn lose(registry: &Registry, uid: &str, handle: &Handle) {
    held(registry).remove(uid);
    handle.lose();
}
