//! The running whole: control plane, pods, gateway, metrics, alerts, forge, Flux.
//!
//! [`World::start`] starts in parallel what does not depend on each other, and waits by asking:
//!
//! ```text
//! etcd ─ API server ┬ kinds of the gateway ─ Contour ─ Gateway, Envoy ─┐
//!                   ├ controllers, scheduler, kubelet ─ accounts, nodes ┤
//!                   └ Flux (Argo CD) ───────────────────────────────────┼─ up
//! Prometheus, Alertmanager, receiver, Gitea ────────────────────────────┘
//! ```

mod access;
mod apply;
mod certificates;
mod control_plane;
mod gateway;
mod monitoring;
pub mod ports;
pub mod process;
mod server;
mod start;
pub mod wait;

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::{Api, Client, api::PostParams};

pub use access::Access;
pub use apply::{apply, apply_definitions};
pub use process::Daemon;
pub use server::{Launch, Ready, Server};
pub use wait::eventually;

use crate::{
    components::{Components, Program},
    gitops::{ArgoCd, Flux, Forge},
    kubelet::Kubelet,
    receiver::Receiver,
    sandbox::Sandbox,
};
use control_plane::Identities;

/// What a world consists of.
#[derive(Debug, Clone)]
pub struct WorldOptions {
    /// Whether the cluster has `MutatingAdmissionPolicy` (Kubernetes 1.36 and later).
    pub policy_api: bool,
    /// Whether Argo CD runs beside Flux.
    pub argocd: bool,
}

impl Default for WorldOptions {
    fn default() -> Self {
        Self { policy_api: true, argocd: false }
    }
}

/// A cluster that is up, with all that belongs to it. Dropping it kills every server.
///
/// The fields are in the order in which they are dropped: who asks goes before who answers.
pub struct World {
    argocd: Option<ArgoCd>,
    flux: Flux,
    forge: Forge,
    kubelet: Kubelet,
    prometheus: Server,
    alertmanager: Server,
    receiver: Receiver,
    envoy: Server,
    contour: Server,
    scheduler: Server,
    controller_manager: Server,
    api_server: Server,
    etcd: Server,
    kube: Client,
    components: Components,
    identities: Identities,
    folders: start::Folders,
    namespaces: AtomicU32,
    times: String,
}

impl World {
    /// Starts everything and waits until it is ready. Prints one line with the times.
    ///
    /// # Errors
    /// Fails with the end of the log of the server that did not come up.
    pub async fn start(
        components: &Components,
        sandbox: &Sandbox,
        options: &WorldOptions,
    ) -> Result<Self> {
        Box::pin(start::start(components, sandbox, options)).await
    }

    /// A client that may do everything.
    pub fn kube(&self) -> Client {
        self.kube.clone()
    }

    /// The kubeconfig of the same, valid inside the namespaces.
    pub fn kubeconfig(&self) -> &Path {
        &self.identities.admin_file
    }

    /// The identity of the same, to be sent through a proxy.
    pub fn admin(&self) -> &Access {
        &self.identities.admin
    }

    /// The identity of a service account, with exactly its rights.
    ///
    /// # Errors
    /// Fails when there is no such account.
    pub async fn account(&self, namespace: &str, name: &str) -> Result<Access> {
        self.identities.admin.of_account(namespace, name).await
    }

    /// A kubeconfig with the rights of a service account.
    ///
    /// # Errors
    /// Fails when there is no such account.
    pub async fn kubeconfig_for(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let path = self.folders.configs.join(format!("{namespace}.{name}.kubeconfig"));
        self.account(namespace, name).await?.write(&path)
    }

    /// The folder of this run.
    pub fn folder(&self) -> &Path {
        &self.folders.run
    }

    /// The folder with the logs of all servers.
    pub fn logs(&self) -> &Path {
        &self.folders.logs
    }

    /// How long each part took, as it was printed.
    pub fn times(&self) -> &str {
        &self.times
    }

    /// A program of the bed, for example `kubectl`.
    pub fn program(&self, program: Program) -> PathBuf {
        self.components.program(program)
    }

    /// Where the gateway takes requests; the header `Host` chooses the route.
    pub fn gateway(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, ports::GATEWAY).into()
    }

    /// A fresh namespace, ready for pods: its default service account exists.
    ///
    /// # Errors
    /// Fails when the controllers do not make the account within 30 s.
    pub async fn namespace(&self, prefix: &str) -> Result<String> {
        let number = self.namespaces.fetch_add(1, Ordering::Relaxed);
        let name = format!("{prefix}-{number}");
        namespace(&self.kube, &name).await?;
        Ok(name)
    }

    /// The API server.
    pub fn api_server(&self) -> &Server {
        &self.api_server
    }

    /// Starts the API server again, with or without `MutatingAdmissionPolicy`. Objects stay.
    ///
    /// # Errors
    /// Fails when it does not become ready.
    pub async fn serve_policy_api(&self, policy_api: bool) -> Result<()> {
        let data = &self.folders.data;
        let launch =
            control_plane::api_server(&self.components, &self.identities, policy_api, data);
        self.api_server().start_as(launch).await
    }

    /// The API server's store.
    pub fn etcd(&self) -> &Server {
        &self.etcd
    }

    /// The controllers of Kubernetes.
    pub fn controller_manager(&self) -> &Server {
        &self.controller_manager
    }

    /// The scheduler.
    pub fn scheduler(&self) -> &Server {
        &self.scheduler
    }

    /// The gateway's controller.
    pub fn contour(&self) -> &Server {
        &self.contour
    }

    /// The gateway's data plane.
    pub fn envoy(&self) -> &Server {
        &self.envoy
    }

    /// Prometheus.
    pub fn prometheus(&self) -> &Server {
        &self.prometheus
    }

    /// Alertmanager.
    pub fn alertmanager(&self) -> &Server {
        &self.alertmanager
    }

    /// What Alertmanager sends notifications to.
    pub fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    /// What runs the pods, on two nodes.
    pub fn kubelet(&self) -> &Kubelet {
        &self.kubelet
    }

    /// The forge with the configuration repositories.
    pub fn forge(&self) -> &Forge {
        &self.forge
    }

    /// The engine that follows them.
    pub fn flux(&self) -> &Flux {
        &self.flux
    }

    /// The other engine.
    ///
    /// # Errors
    /// Fails when the world was started without it.
    pub fn argocd(&self) -> Result<&ArgoCd> {
        self.argocd.as_ref().ok_or_else(|| anyhow!("this world has no Argo CD"))
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("folder", &self.folders.run).finish_non_exhaustive()
    }
}

async fn namespace(kube: &Client, name: &str) -> Result<()> {
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(name.to_owned());
    let namespaces: Api<Namespace> = Api::all(kube.clone());
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .with_context(|| format!("create the namespace {name}"))?;
    account_exists(kube, name).await
}

/// Waits until the controllers have given the namespace its default account.
async fn account_exists(kube: &Client, namespace: &str) -> Result<()> {
    let accounts: Api<ServiceAccount> = Api::namespaced(kube.clone(), namespace);
    let what = format!("the account of the namespace {namespace}");
    eventually(&what, Duration::from_secs(30), async || {
        Ok(accounts.get_opt("default").await?.map(drop))
    })
    .await
}
