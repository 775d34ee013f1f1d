//! Flux: the source-controller fetches, the kustomize-controller applies.

use std::path::{Path, PathBuf};

use anyhow::Context;
use kube::Client;

use super::{
    account,
    following::{FluxOptions, Following},
    repository::Repository,
};
use crate::{
    components::{Components, Folder, Program},
    world::{Launch, Ready, Server, apply_definitions},
};

/// Where Flux lives, as in every installation of it.
pub const NAMESPACE: &str = "flux-system";

const SOURCE: &str = "source-controller";
const KUSTOMIZE: &str = "kustomize-controller";

/// The artifact server, from which the kustomize-controller downloads.
const ARTIFACTS: &str = "127.0.0.1:9790";

/// How often a Kustomization looks whether what it depends on has become ready. People run 30 s;
/// the answer is the same, a test only gets it sooner.
const DEPENDENCY_INTERVAL: &str = "--requeue-dependency=2s";

/// The programs and folders Flux is made of.
#[derive(Clone, Debug)]
pub struct FluxPrograms {
    /// The executable of the source-controller.
    pub source: PathBuf,
    /// The executable of the kustomize-controller.
    pub kustomize: PathBuf,
    /// The folder with the source-controller's definitions.
    pub source_crds: PathBuf,
    /// The folder with the kustomize-controller's definition.
    pub kustomize_crds: PathBuf,
}

impl FluxPrograms {
    /// Those of the component cache.
    pub fn of(components: &Components) -> Self {
        Self {
            source: components.program(Program::FluxSource),
            kustomize: components.program(Program::FluxKustomize),
            source_crds: components.folder(Folder::FluxSourceCrds),
            kustomize_crds: components.folder(Folder::FluxKustomizeCrds),
        }
    }
}

/// Two running controllers; they end with this value.
pub struct Flux {
    kube: Client,
    source: Server,
    kustomize: Server,
}

impl Flux {
    /// Installs Flux's kinds and starts its controllers, with data in `data` and logs in `logs`.
    ///
    /// `kubeconfig` is the administrator's; each controller gets one of its own.
    pub async fn start(
        components: &Components,
        kube: Client,
        kubeconfig: &Path,
        data: &Path,
        logs: &Path,
    ) -> anyhow::Result<Self> {
        Self::launch(&FluxPrograms::of(components), kube, kubeconfig, data, logs).await
    }

    /// Like [`Flux::start`], with programs from elsewhere.
    pub async fn launch(
        programs: &FluxPrograms,
        kube: Client,
        kubeconfig: &Path,
        data: &Path,
        logs: &Path,
    ) -> anyhow::Result<Self> {
        let data = data.join("flux");
        for part in ["tmp", "artifacts"] {
            std::fs::create_dir_all(data.join(part))
                .with_context(|| format!("Flux's folder {}", data.display()))?;
        }
        account::namespace(&kube, NAMESPACE).await?;
        let account = |name| account::administrator(&kube, NAMESPACE, name, kubeconfig, &data);
        let (source_config, kustomize_config, (), ()) = tokio::try_join!(
            account(SOURCE),
            account(KUSTOMIZE),
            apply_definitions(&kube, &programs.source_crds),
            apply_definitions(&kube, &programs.kustomize_crds),
        )?;
        let source = controller(SOURCE, &programs.source, &source_config, &data)
            .path("--storage-path=", &data.join("artifacts"))
            .arg(format!("--storage-addr={ARTIFACTS}"))
            .arg(format!("--storage-adv-addr={ARTIFACTS}"))
            .args(&["--health-addr=127.0.0.1:9440", "--metrics-addr=127.0.0.1:9441"]);
        let kustomize = controller(KUSTOMIZE, &programs.kustomize, &kustomize_config, &data)
            .args(&["--health-addr=127.0.0.1:9444", "--metrics-addr=127.0.0.1:9445"])
            .arg(DEPENDENCY_INTERVAL);
        let source = Server::launch(source, logs, ready("127.0.0.1:9440"))?;
        let kustomize = Server::launch(kustomize, logs, ready("127.0.0.1:9444"))?;
        tokio::try_join!(source.ready(), kustomize.ready())?;
        Ok(Self { kube, source, kustomize })
    }

    /// Lets Flux keep `path` of the repository's branch `main` applied.
    ///
    /// A `GitRepository`, a `Secret` with the product's credentials and a `Kustomization`, all of
    /// them called `name`, are created in `namespace`.
    pub async fn follow(
        &self,
        namespace: &str,
        name: &str,
        repository: &Repository,
        path: &str,
        options: FluxOptions,
    ) -> anyhow::Result<Following> {
        Following::create(&self.kube, namespace, name, repository, path, &options).await
    }

    /// What was created by an earlier [`Flux::follow`].
    pub fn followed(&self, namespace: &str, name: &str) -> Following {
        Following::existing(&self.kube, namespace, name)
    }

    /// The source-controller, to be killed and started again.
    pub fn source(&self) -> &Server {
        &self.source
    }

    /// The kustomize-controller, to be killed and started again.
    pub fn kustomize(&self) -> &Server {
        &self.kustomize
    }
}

fn controller(name: &'static str, program: &Path, kubeconfig: &Path, data: &Path) -> Launch {
    Launch::new(name, program.to_owned())
        .env("HOME", data)
        .env("TMPDIR", data.join("tmp"))
        .env("KUBECONFIG", kubeconfig)
        .env("RUNTIME_NAMESPACE", NAMESPACE)
        .args(&["--events-addr=", "--enable-leader-election=false"])
}

fn ready(address: &str) -> Ready {
    Ready::Http(format!("http://{address}/readyz"))
}
