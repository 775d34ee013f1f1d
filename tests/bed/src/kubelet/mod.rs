//! Pods as local processes: a kubelet that lives inside this process.
//!
//! It registers nodes, follows the pods that the scheduler binds to them, and runs each of their
//! containers as a process. Whatever a rollout can feel is as in Kubernetes: phases, conditions
//! and reasons, probes, restarts with back-off, hooks and grace periods, lost nodes. What it does
//! not do: images (a name stands for a program of this machine), volumes, limits of CPU and
//! memory, users, network namespaces (a pod has an address of its own, but a program must be told
//! to listen on it), service account tokens.
//!
//! | module | what it is |
//! |---|---|
//! | `node` | a node: object, lease, its pods |
//! | `pod` | one pod, from its first sight to its deletion |
//! | `handle` | what the tasks of a pod share; the status is written here |
//! | `container` | image, configuration and restarts of one container |
//! | `live` | one process of a container: probes, hooks, end |
//! | `process`, `probing`, `event` | I/O: processes, questions, events |
//! | `record`, `status`, `env`, `image`, `probe`, `backoff`, `address` | pure |

mod address;
mod backoff;
mod container;
mod env;
mod event;
mod handle;
mod image;
mod live;
mod node;
mod pod;
mod probe;
mod probing;
mod process;
mod record;
mod status;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use chrono::Utc;
use k8s_openapi::api::core::v1::Pod;
use kube::{Client, ResourceExt as _};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::address::Addresses;
use self::event::Events;
use self::handle::{Handle, Host};
pub use self::image::Image;
pub use self::node::NodeOptions;
use self::node::Registry;

/// What a kubelet runs, and how.
#[derive(Clone, Debug)]
pub struct KubeletOptions {
    /// Programs by the name of their image, without tag and digest. An image is looked up by its
    /// whole name, then by the last part of it. Its tag is given to the program as `IMAGE_TAG`.
    pub images: BTreeMap<String, Image>,
    /// Folder for the output of containers: `<namespace>_<pod>_<container>.log`.
    pub logs: PathBuf,
    /// The nodes; at least one.
    pub nodes: Vec<NodeOptions>,
    /// First wait before a container is started again, and before an image is pulled again.
    pub back_off: Duration,
    /// How long a pull takes of an image whose name begins with `slow/`.
    pub slow_pull: Duration,
}

impl KubeletOptions {
    /// One large node with the waits of Kubernetes.
    pub fn new(images: BTreeMap<String, Image>, logs: &Path) -> Self {
        Self {
            images,
            logs: logs.to_owned(),
            nodes: vec![NodeOptions::named("node-1")],
            back_off: Duration::from_secs(10),
            slow_pull: Duration::from_secs(10),
        }
    }
}

/// Runs the pods of its nodes. Dropping it kills all their processes at once.
pub struct Kubelet {
    kube: Client,
    options: KubeletOptions,
    addresses: Arc<Addresses>,
    registry: Registry,
    /// Whether each is frozen.
    nodes: Mutex<BTreeMap<String, watch::Sender<bool>>>,
    tasks: Mutex<JoinSet<()>>,
}

impl Kubelet {
    /// Registers the nodes and begins to run the pods that are bound to them.
    pub async fn start(kube: Client, options: KubeletOptions) -> anyhow::Result<Self> {
        process::make_folder(&options.logs)
            .with_context(|| format!("no folder for logs: {}", options.logs.display()))?;
        let kubelet = Self {
            kube,
            options: options.clone(),
            addresses: Arc::default(),
            registry: Registry::default(),
            nodes: Mutex::default(),
            tasks: Mutex::default(),
        };
        for node in options.nodes {
            kubelet.add_node(node).await?;
        }
        Ok(kubelet)
    }

    /// Adds a node while the cluster runs.
    pub async fn add_node(&self, node: NodeOptions) -> anyhow::Result<()> {
        let known = held(&self.nodes).contains_key(&node.name);
        ensure!(!known, "node {} is there already", node.name);
        let address = self.addresses.node().context("there is no address left for a node")?;
        node::register(&self.kube, &node, &address).await?;
        let frozen = watch::Sender::new(false);
        let (events, writing) = Events::new(self.kube.clone(), &node.name);
        let host = Arc::new(Host {
            kube: self.kube.clone(),
            address,
            addresses: self.addresses.clone(),
            images: self.options.images.clone(),
            logs: self.options.logs.clone(),
            back_off: self.options.back_off,
            slow_pull: self.options.slow_pull,
            events,
            frozen: frozen.subscribe(),
        });
        held(&self.nodes).insert(node.name.clone(), frozen);
        let mut tasks = held(&self.tasks);
        tasks.spawn(writing);
        tasks.spawn(node::follow(host.clone(), node.name.clone(), self.registry.clone()));
        tasks.spawn(node::beat(host, node, Utc::now()));
        Ok(())
    }

    /// Cuts a node off from the API server: heartbeats stop, it hears of no change, and no status
    /// of its pods is written. Its processes run on.
    pub fn freeze_node(&self, name: &str) -> anyhow::Result<()> {
        self.set_frozen(name, true)
    }

    /// Ends what [`Self::freeze_node`] began.
    pub fn thaw_node(&self, name: &str) -> anyhow::Result<()> {
        self.set_frozen(name, false)
    }

    fn set_frozen(&self, name: &str, frozen: bool) -> anyhow::Result<()> {
        let nodes = held(&self.nodes);
        let node = nodes.get(name).with_context(|| format!("there is no node {name}"))?;
        node.send_replace(frozen);
        Ok(())
    }

    /// Kills all containers of a pod as the kernel does when their memory is used up: exit code
    /// 137, reason `OOMKilled`.
    pub fn oom(&self, namespace: &str, pod: &str) -> anyhow::Result<()> {
        self.kill(namespace, pod, None, true)
    }

    /// Kills the process of one container: exit code 137, reason `Error`.
    pub fn kill_container(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
    ) -> anyhow::Result<()> {
        self.kill(namespace, pod, Some(container), false)
    }

    fn kill(
        &self,
        namespace: &str,
        pod: &str,
        container: Option<&str>,
        out_of_memory: bool,
    ) -> anyhow::Result<()> {
        let named = |shown: &Pod| {
            shown.namespace().as_deref() == Some(namespace) && shown.name_any() == pod
        };
        let registry = held(&self.registry);
        let found = registry.values().find(|handle| named(&handle.look()));
        let handle = found.with_context(|| format!("there is no pod {namespace}/{pod}"))?;
        if handle.kill(container, out_of_memory) == 0 {
            bail!("no such container of pod {namespace}/{pod} runs");
        }
        Ok(())
    }

    /// How many processes of containers are alive.
    pub fn processes(&self) -> usize {
        held(&self.registry).values().map(|handle: &Arc<Handle>| handle.alive()).sum()
    }

    /// Where the output of a container is.
    pub fn log(&self, namespace: &str, pod: &str, container: &str) -> PathBuf {
        self.options.logs.join(format!("{namespace}_{pod}_{container}.log"))
    }
}

/// What a mutex holds; a panic of another task does not spoil it.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
