//! How the world comes up.

use std::{
    collections::BTreeMap,
    env, fs,
    net::Ipv4Addr,
    path::PathBuf,
    sync::{Mutex, PoisonError, atomic::AtomicU32},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use kube::Client;

use super::{
    World, WorldOptions, account_exists, control_plane,
    control_plane::Identities,
    gateway, monitoring, ports,
    server::{Ready, Server},
};
use crate::{
    components::Components,
    gitops::{ArgoCd, Flux, Forge},
    kubelet::{Image, Kubelet, KubeletOptions, NodeOptions},
    receiver::Receiver,
    sandbox::{ROLE, RUN, Sandbox},
};

/// The image of the test application; its tag is its version.
const IMAGE: &str = "app";
/// Two, so that a story can lose one.
const NODES: [&str; 2] = ["node-1", "node-2"];

/// Where a run keeps what.
#[derive(Debug, Clone)]
pub(super) struct Folders {
    pub(super) run: PathBuf,
    pub(super) configs: PathBuf,
    pub(super) data: PathBuf,
    pub(super) logs: PathBuf,
}

impl Folders {
    fn make(sandbox: &Sandbox) -> Result<Self> {
        let run = sandbox.folder().to_owned();
        let (configs, logs) = (run.join("config"), run.join("logs"));
        let folders = Self { run, configs, data: sandbox.data(), logs };
        for path in [&folders.configs, &folders.data, &folders.logs] {
            fs::create_dir_all(path).with_context(|| format!("make {}", path.display()))?;
        }
        Ok(folders)
    }
}

/// What all parts are started with.
struct Start<'a> {
    components: &'a Components,
    folders: &'a Folders,
    identities: &'a Identities,
    kube: &'a Client,
    clock: Clock,
}

/// What needs an API server that answers.
struct Cluster {
    controller_manager: Server,
    scheduler: Server,
    kubelet: Kubelet,
    contour: Server,
    envoy: Server,
    flux: Flux,
    argocd: Option<ArgoCd>,
}

/// What does not.
struct Beside {
    prometheus: Server,
    alertmanager: Server,
    receiver: Receiver,
    forge: Forge,
}

pub(super) async fn start(
    components: &Components,
    sandbox: &Sandbox,
    options: &WorldOptions,
) -> Result<World> {
    let clock = Clock::new();
    let folders = Folders::make(sandbox)?;
    let Folders { data, logs, .. } = &folders;
    let identities = Identities::make(&folders.configs)?;
    let kube = identities.admin.client().await?;
    let etcd = control_plane::etcd(components, data, logs)?;
    let launch = control_plane::api_server(components, &identities, options.policy_api, data);
    let api_server = Server::launch(launch, logs, Ready::Api(kube.clone()))?;
    let start =
        Start { components, folders: &folders, identities: &identities, kube: &kube, clock };
    let cluster = async {
        start.clock.time("API server", api_server.ready()).await?;
        Box::pin(start.cluster(options)).await
    };
    let (cluster, beside) = futures::try_join!(cluster, start.beside())
        .with_context(|| format!("the world does not come up; logs: {}", logs.display()))?;
    let times = start.clock.line();
    println!("{times}");
    Ok(World {
        argocd: cluster.argocd,
        flux: cluster.flux,
        forge: beside.forge,
        kubelet: cluster.kubelet,
        prometheus: beside.prometheus,
        alertmanager: beside.alertmanager,
        receiver: beside.receiver,
        envoy: cluster.envoy,
        contour: cluster.contour,
        scheduler: cluster.scheduler,
        controller_manager: cluster.controller_manager,
        api_server,
        etcd,
        components: components.clone(),
        kube,
        identities,
        folders,
        namespaces: AtomicU32::new(0),
        times,
    })
}

impl Start<'_> {
    async fn cluster(&self, options: &WorldOptions) -> Result<Cluster> {
        let Folders { data, logs, .. } = self.folders;
        let (components, identities) = (self.components, self.identities);
        let admin = &identities.admin_file;
        let controller_manager =
            control_plane::controller_manager(components, identities, data, logs)?;
        let scheduler = control_plane::scheduler(components, identities, data, logs)?;
        let accounts = self.clock.time("controllers", async {
            controller_manager.ready().await?;
            account_exists(self.kube, "default").await
        });
        let kubelet = self.clock.time("kubelet", self.kubelet());
        let flux =
            self.clock.time("Flux", Flux::start(components, self.kube.clone(), admin, data, logs));
        let argocd = async {
            if !options.argocd {
                return Ok(None);
            }
            let argocd = ArgoCd::start(components, self.kube.clone(), admin, data, logs);
            self.clock.time("Argo CD", argocd).await.map(Some)
        };
        let ((), kubelet, (contour, envoy), flux, argocd) =
            futures::try_join!(accounts, kubelet, self.gateway(), flux, argocd)?;
        Ok(Cluster { controller_manager, scheduler, kubelet, contour, envoy, flux, argocd })
    }

    async fn gateway(&self) -> Result<(Server, Server)> {
        let Folders { configs, data, logs, .. } = self.folders;
        self.clock.time("kinds", gateway::define(self.components, self.kube)).await?;
        let contour = gateway::contour(self.components, self.identities, configs, logs)?;
        gateway::create(self.kube).await?;
        self.clock.time("Contour", contour.ready()).await?;
        // Started before Contour, it would wait for its own next attempt to connect.
        let envoy = gateway::envoy(self.components, configs, data, logs).await?;
        futures::try_join!(
            self.clock.time("Gateway", gateway::programmed(self.kube)),
            self.clock.time("Envoy", envoy.ready()),
        )?;
        Ok((contour, envoy))
    }

    /// Pods of the test application are this very executable.
    async fn kubelet(&self) -> Result<Kubelet> {
        let variables = [(ROLE, "app".to_owned()), (RUN, self.folders.run.display().to_string())];
        let image = Image {
            program: env::current_exe().context("find this executable")?,
            arguments: Vec::new(),
            env: variables.map(|(name, value)| (name.to_owned(), value)).into(),
        };
        let images = BTreeMap::from([(IMAGE.to_owned(), image)]);
        let mut options = KubeletOptions::new(images, &self.folders.logs.join("pods"));
        options.nodes = NODES.map(NodeOptions::named).into();
        Kubelet::start(self.kube.clone(), options).await
    }

    async fn beside(&self) -> Result<Beside> {
        let Folders { configs, data, logs, .. } = self.folders;
        let components = self.components;
        let receiver = Receiver::start((Ipv4Addr::LOCALHOST, ports::RECEIVER).into()).await?;
        let prometheus = monitoring::prometheus(components, self.identities, configs, data, logs)?;
        let alertmanager = monitoring::alertmanager(components, configs, data, logs)?;
        let (forge, (), ()) = futures::try_join!(
            self.clock.time("forge", Forge::start(components, data, logs)),
            self.clock.time("Prometheus", prometheus.ready()),
            self.clock.time("Alertmanager", alertmanager.ready()),
        )?;
        Ok(Beside { prometheus, alertmanager, receiver, forge })
    }
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
