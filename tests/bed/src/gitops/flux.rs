//! Flux: the source-controller fetches, the kustomize-controller applies.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Context;
use kube::Client;

use super::{
    account,
    following::{FluxOptions, Following},
    repository::Repository,
};
use crate::{
    components::{Components, Folder, Program},
    world::{Daemon, apply_definitions, eventually},
};

/// Where Flux lives, as in every installation of it.
pub const NAMESPACE: &str = "flux-system";

const SOURCE: &str = "source-controller";
const KUSTOMIZE: &str = "kustomize-controller";

/// The artifact server, from which the kustomize-controller downloads.
const ARTIFACTS: &str = "127.0.0.1:9790";

/// Both controllers are ready within two seconds on an idle machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);

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
    source: Running,
    kustomize: Running,
}

impl Flux {
    /// Installs Flux's kinds and starts its controllers, with data and logs in `folder`.
    ///
    /// `kubeconfig` is the administrator's; each controller gets one of its own.
    pub async fn start(
        components: &Components,
        kube: Client,
        kubeconfig: &Path,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        Self::launch(&FluxPrograms::of(components), kube, kubeconfig, folder).await
    }

    /// Like [`Flux::start`], with programs from elsewhere.
    pub async fn launch(
        programs: &FluxPrograms,
        kube: Client,
        kubeconfig: &Path,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let folder = folder.join("flux");
        for part in ["tmp", "artifacts"] {
            std::fs::create_dir_all(folder.join(part))
                .with_context(|| format!("Flux's folder {}", folder.display()))?;
        }
        account::namespace(&kube, NAMESPACE).await?;
        let account = |name| account::administrator(&kube, NAMESPACE, name, kubeconfig, &folder);
        let (source_config, kustomize_config, (), ()) = tokio::try_join!(
            account(SOURCE),
            account(KUSTOMIZE),
            apply_definitions(&kube, &programs.source_crds),
            apply_definitions(&kube, &programs.kustomize_crds),
        )?;
        let source = Controller {
            name: SOURCE,
            program: programs.source.clone(),
            kubeconfig: source_config,
            arguments: source_arguments(&folder),
            health: "127.0.0.1:9440",
            folder: folder.clone(),
        };
        let kustomize = Controller {
            name: KUSTOMIZE,
            program: programs.kustomize.clone(),
            kubeconfig: kustomize_config,
            arguments: kustomize_arguments(),
            health: "127.0.0.1:9444",
            folder,
        };
        let (source, kustomize) = tokio::try_join!(source.start(), kustomize.start())?;
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

    /// Ends the source-controller as a power cut does.
    pub fn kill_source(&mut self) {
        self.source.daemon.kill();
    }

    /// Ends the kustomize-controller as a power cut does.
    pub fn kill_kustomize(&mut self) {
        self.kustomize.daemon.kill();
    }

    /// Starts again whichever controller does not run.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        for running in [&mut self.source, &mut self.kustomize] {
            if running.daemon.has_exited().is_some() {
                *running = running.controller.clone().start().await?;
            }
        }
        Ok(())
    }

    /// The processes (source, kustomize), for tests that count their memory.
    pub fn pids(&self) -> [u32; 2] {
        [self.source.daemon.pid(), self.kustomize.daemon.pid()]
    }
}

/// How one controller is started.
#[derive(Clone, Debug)]
struct Controller {
    name: &'static str,
    program: PathBuf,
    kubeconfig: PathBuf,
    arguments: Vec<String>,
    health: &'static str,
    folder: PathBuf,
}

struct Running {
    controller: Controller,
    daemon: Daemon,
}

impl Controller {
    async fn start(self) -> anyhow::Result<Running> {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("HOME", &self.folder)
            .env("TMPDIR", self.folder.join("tmp"))
            .env("KUBECONFIG", &self.kubeconfig)
            .env("RUNTIME_NAMESPACE", NAMESPACE)
            .args(&self.arguments)
            .args(["--events-addr=", "--enable-leader-election=false"])
            .arg(format!("--health-addr={}", self.health))
            .current_dir(&self.folder);
        let mut daemon = Daemon::start(self.name, &self.folder, command)?;
        let http = super::api::client()?;
        let url = format!("http://{}/readyz", self.health);
        let ready = eventually(&format!("{} is ready", self.name), START_TIMEOUT, async || {
            if daemon.has_exited().is_some() {
                return Ok(Some(false));
            }
            let answer = http.get(&url).send().await?;
            Ok(answer.status().is_success().then_some(true))
        })
        .await?;
        if !ready {
            daemon.still_runs()?;
        }
        Ok(Running { controller: self, daemon })
    }
}

fn source_arguments(folder: &Path) -> Vec<String> {
    vec![
        format!("--storage-path={}", folder.join("artifacts").display()),
        format!("--storage-addr={ARTIFACTS}"),
        format!("--storage-adv-addr={ARTIFACTS}"),
        "--metrics-addr=127.0.0.1:9441".to_owned(),
    ]
}

fn kustomize_arguments() -> Vec<String> {
    vec![DEPENDENCY_INTERVAL.to_owned(), "--metrics-addr=127.0.0.1:9445".to_owned()]
}
