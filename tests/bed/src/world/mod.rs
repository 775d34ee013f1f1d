//! The running whole: control plane, gateway, metrics, alerts.
//!
//! [`World::start`] starts in parallel what does not depend on each other, and waits by asking:
//!
//! ```text
//! etcd ─ API server ─┬ kinds of the gateway ─ Contour ─ Gateway programmed ┐
//!                    ├ controllers, scheduler ─ a namespace gets its account ┼─ up
//! Envoy, Prometheus, Alertmanager ───────────────────────────────────────────┘
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
pub mod wait;

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::{Api, Client, api::PostParams};

pub use access::Access;
pub use apply::{apply, apply_definitions};
pub use process::Daemon;
pub use server::{Launch, Ready, Server};
pub use wait::eventually;

use crate::{
    components::{Components, Program},
    sandbox::Sandbox,
};
use control_plane::Identities;

/// What a world consists of.
#[derive(Debug, Clone)]
pub struct WorldOptions {
    /// Whether the cluster has MutatingAdmissionPolicy (Kubernetes 1.36 and later).
    pub policy_api: bool,
}

impl Default for WorldOptions {
    fn default() -> Self {
        Self { policy_api: true }
    }
}

/// A cluster that is up, with all that belongs to it. Dropping it kills every server.
pub struct World {
    components: Components,
    folder: PathBuf,
    data: PathBuf,
    identities: Identities,
    kube: Client,
    servers: Servers,
    namespaces: AtomicU32,
    times: String,
}

/// In the order in which they are dropped: who asks goes before who answers.
struct Servers {
    prometheus: Server,
    alertmanager: Server,
    envoy: Server,
    contour: Server,
    scheduler: Server,
    controller_manager: Server,
    api_server: Server,
    etcd: Server,
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
        let folder = sandbox.folder();
        let (configs, data, logs) = (folder.join("config"), sandbox.data(), folder.join("logs"));
        for path in [&configs, &data, &logs] {
            std::fs::create_dir_all(path).with_context(|| format!("make {}", path.display()))?;
        }
        let clock = Clock::new();
        let identities = Identities::make(&configs)?;
        let kube = identities.admin.client().await?;
        let etcd = control_plane::etcd(components, &data, &logs)?;
        let launch = control_plane::api_server(components, &identities, options.policy_api, &data);
        let api_server = Server::launch(launch, &logs, Ready::Api(kube.clone()))?;
        let api = async {
            clock.time("API server", api_server.ready()).await?;
            cluster(components, &identities, &kube, (&configs, &data, &logs), &clock).await
        };
        let beside = async {
            let prometheus =
                monitoring::prometheus(components, &identities, &configs, &data, &logs)?;
            let alertmanager = monitoring::alertmanager(components, &configs, &data, &logs)?;
            let envoy = gateway::envoy(components, &configs, &data, &logs).await?;
            futures::try_join!(
                clock.time("Prometheus", prometheus.ready()),
                clock.time("Alertmanager", alertmanager.ready()),
                clock.time("Envoy", envoy.ready()),
            )?;
            Ok((prometheus, alertmanager, envoy))
        };
        let (cluster, (prometheus, alertmanager, envoy)) = futures::try_join!(api, beside)
            .with_context(|| format!("the world does not come up; logs: {}", logs.display()))?;
        let (controller_manager, scheduler, contour) = cluster;
        let servers = Servers {
            prometheus,
            alertmanager,
            envoy,
            contour,
            scheduler,
            controller_manager,
            api_server,
            etcd,
        };
        let times = clock.line();
        println!("{times}");
        Ok(Self {
            components: components.clone(),
            folder: folder.to_owned(),
            data,
            identities,
            kube,
            servers,
            namespaces: AtomicU32::new(0),
            times,
        })
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
        let path = self.folder.join("config").join(format!("{namespace}.{name}.kubeconfig"));
        self.account(namespace, name).await?.write(&path)
    }

    /// The folder of this run.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder with the logs of all servers.
    pub fn logs(&self) -> PathBuf {
        self.folder.join("logs")
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
        &self.servers.api_server
    }

    /// Starts the API server again, with or without MutatingAdmissionPolicy. Objects stay.
    ///
    /// # Errors
    /// Fails when it does not become ready.
    pub async fn serve_policy_api(&self, policy_api: bool) -> Result<()> {
        let launch =
            control_plane::api_server(&self.components, &self.identities, policy_api, &self.data);
        self.api_server().start_as(launch).await
    }

    /// The API server's store.
    pub fn etcd(&self) -> &Server {
        &self.servers.etcd
    }

    /// The controllers of Kubernetes.
    pub fn controller_manager(&self) -> &Server {
        &self.servers.controller_manager
    }

    /// The scheduler.
    pub fn scheduler(&self) -> &Server {
        &self.servers.scheduler
    }

    /// The gateway's controller.
    pub fn contour(&self) -> &Server {
        &self.servers.contour
    }

    /// The gateway's data plane.
    pub fn envoy(&self) -> &Server {
        &self.servers.envoy
    }

    /// Prometheus.
    pub fn prometheus(&self) -> &Server {
        &self.servers.prometheus
    }

    /// Alertmanager.
    pub fn alertmanager(&self) -> &Server {
        &self.servers.alertmanager
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// What needs an API server that answers.
async fn cluster(
    components: &Components,
    identities: &Identities,
    kube: &Client,
    (configs, data, logs): (&Path, &Path, &Path),
    clock: &Clock,
) -> Result<(Server, Server, Server)> {
    let controllers = control_plane::controller_manager(components, identities, data, logs)?;
    let scheduler = control_plane::scheduler(components, identities, data, logs)?;
    let gateway = async {
        clock.time("kinds", gateway::define(components, kube)).await?;
        let contour = gateway::contour(components, identities, configs, logs)?;
        gateway::create(kube).await?;
        clock
            .time("Contour", async {
                contour.ready().await?;
                gateway::programmed(kube).await
            })
            .await?;
        Ok(contour)
    };
    let accounts = clock.time("controllers", async {
        controllers.ready().await?;
        account_exists(kube, "default").await.with_context(|| "the controllers")
    });
    let (contour, ()) = futures::try_join!(gateway, accounts)?;
    Ok((controllers, scheduler, contour))
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

/// When each part was ready, counted from the start.
struct Clock {
    start: Instant,
    parts: Mutex<Vec<(&'static str, Duration)>>,
}

impl Clock {
    fn new() -> Self {
        Self { start: Instant::now(), parts: Mutex::default() }
    }

    async fn time<T>(
        &self,
        part: &'static str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let value = work.await.with_context(|| format!("start of {part}"))?;
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.push((part, self.start.elapsed()));
        Ok(value)
    }

    fn line(&self) -> String {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let parts: Vec<_> =
            parts.iter().map(|(name, at)| format!("{name} {:.1}", at.as_secs_f64())).collect();
        let whole = self.start.elapsed().as_secs_f64();
        format!("world up in {whole:.1} s (ready after: {} s)", parts.join(", "))
    }
}
