//! What brings a shop's files into the cluster.

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use tidegate_testbed::{
    gitops::{Application, ArgoOptions, FluxOptions, Following, Repository},
    world::{Daemon, World, eventually},
};

use super::{SOON, kubectl};

/// Where the team's files are.
const PATH: &str = "apps/web";

/// Who brings the files into the cluster.
#[derive(Clone, Debug, Default)]
pub(crate) enum Engine {
    /// Flux, which waits for health.
    #[default]
    Flux,
    /// Argo CD, by an Application that is called as the namespace.
    ArgoCd(ArgoOptions),
    /// `tidegate sync`, every second.
    Sync,
    /// A pipeline: `kubectl apply`, and the commit in an annotation.
    Pipeline,
}

/// One of them at work.
pub(crate) enum Follower {
    Flux(Box<Following>),
    ArgoCd(Application),
    Sync { maps: Api<ConfigMap>, _process: Daemon },
    Pipeline { world: &'static World, namespace: String, repository: Repository },
}

impl Follower {
    pub(super) async fn start(
        world: &'static World,
        namespace: &str,
        repository: &Repository,
        engine: &Engine,
    ) -> Result<Self> {
        Ok(match engine {
            Engine::Flux => {
                let options = FluxOptions {
                    timeout: Some(Duration::from_mins(3)),
                    interval: Duration::from_secs(10),
                    source_interval: Duration::from_secs(1),
                    ..FluxOptions::waiting()
                };
                let path = format!("./{PATH}");
                let flux =
                    world.flux().follow(namespace, "web", repository, &path, options).await?;
                Self::Flux(Box::new(flux))
            }
            Engine::ArgoCd(options) => {
                let argocd = world.argocd()?;
                let name = namespace;
                let made = argocd.application(name, repository, PATH, namespace, options);
                Self::ArgoCd(made.await?)
            }
            Engine::Sync => Self::Sync {
                maps: Api::namespaced(world.kube(), namespace),
                _process: sync(world, namespace, repository)?,
            },
            Engine::Pipeline => Self::Pipeline {
                world,
                namespace: namespace.to_owned(),
                repository: repository.clone(),
            },
        })
    }

    /// Asks it to look at the repository now.
    pub(crate) async fn look(&self) -> Result<()> {
        match self {
            Self::Flux(flux) => flux.reconcile().await,
            Self::ArgoCd(application) => application.refresh().await,
            Self::Sync { .. } => Ok(()),
            Self::Pipeline { world, namespace, repository } => {
                deploy(world, namespace, repository).await
            }
        }
    }

    /// Waits until it has applied a commit to the end.
    pub(crate) async fn wait_applied(&self, sha: &str, within: Duration) -> Result<()> {
        match self {
            Self::Flux(flux) => {
                let status = flux.wait_ready(sha, within).await?;
                ensure!(status.attempted.as_deref() == Some(sha), "{status:?}");
                Ok(())
            }
            // Forges tell Argo CD of a push; by itself it asks each three minutes.
            Self::ArgoCd(application) => {
                application.refresh().await?;
                application.wait_synced(sha, within).await.map(drop)
            }
            Self::Sync { maps, .. } => {
                eventually(&format!("{sha} is synced"), within, async || {
                    let map = maps.get("tidegate-sync-web").await?;
                    let revision = map.data.and_then(|mut data| data.remove("revision"));
                    ensure!(revision.as_deref() == Some(sha), "it is at {revision:?}");
                    Ok(Some(()))
                })
                .await
            }
            // Each commit on the branch starts a pipeline.
            Self::Pipeline { repository, .. } => {
                ensure!(repository.head().await? == sha, "the branch has moved on");
                self.look().await
            }
        }
    }
}

/// Runs our own sync with the team's login.
fn sync(world: &World, namespace: &str, repository: &Repository) -> Result<Daemon> {
    let login = repository.credentials();
    let password: PathBuf = world.folder().join(format!("{namespace}.password"));
    std::fs::write(&password, &login.token).context("the password file")?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command
        .args(["sync", "--repo", &repository.url(), "--path", PATH, "--interval", "1s"])
        .args(["--name", "web", "--namespace", namespace, "--username", &login.user])
        .arg("--password-file")
        .arg(password)
        .env("KUBECONFIG", world.kubeconfig());
    Daemon::start(&format!("sync-{namespace}"), world.logs(), command)
}

/// What a pipeline runs: the files of the branch, and which commit they are of.
async fn deploy(world: &World, namespace: &str, repository: &Repository) -> Result<()> {
    let commit = repository.head().await?;
    let folder = world.folder().join(format!("{namespace}-pipeline"));
    tokio::fs::create_dir_all(&folder).await?;
    for file in ["deployment.yaml", "service.yaml", "route.yaml", "rollout.yaml"] {
        let text = repository.read_at(&commit, &format!("{PATH}/{file}")).await?.context(file)?;
        let name = "metadata: {name: web, ";
        let stamped = format!("{name}annotations: {{tidegate.dev/revision: {commit}}}, ");
        let is_deployment = file == "deployment.yaml";
        let text = if is_deployment { text.replacen(name, &stamped, 1) } else { text };
        tokio::fs::write(folder.join(file), text).await?;
    }
    let folder = folder.to_string_lossy();
    let apply = ["apply", "--server-side", "--field-manager=pipeline", "-f", &folder];
    eventually("the pipeline succeeds", SOON, async || {
        kubectl(world, &apply).await.map(|_| Some(()))
    })
    .await
}
