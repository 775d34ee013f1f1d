//! Argo CD without its user interface: application controller, repo server and Redis.

use std::{
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::Context;
use kube::Client;

use super::{
    account,
    application::{Application, ArgoOptions},
    argocd_settings::settings,
    objects::{apply, merge, objects},
    repository::Repository,
};
use crate::{
    components::{Components, Folder, Program},
    world::{Launch, Ready, Server, apply_definitions},
};

/// Where Argo CD and its Applications live.
pub const NAMESPACE: &str = "argocd";

const CONTROLLER: &str = "argocd-application-controller";
const REPO_SERVER: &str = "argocd-repo-server";
const REDIS: &str = "127.0.0.1:6379";

/// The programs and folders Argo CD is made of.
#[derive(Clone, Debug)]
pub struct ArgoPrograms {
    /// Argo CD's one executable; it plays the part its name says.
    pub argocd: PathBuf,
    /// Redis' server.
    pub redis: PathBuf,
    /// The `git` that the repo server runs.
    pub git: PathBuf,
    /// The folder with Argo CD's definitions.
    pub crds: PathBuf,
    /// The folder with the scripts the repo server runs.
    pub hack: PathBuf,
}

impl ArgoPrograms {
    /// Those of the component cache, which has them in [`crate::components::Tier::All`] only.
    pub fn of(components: &Components) -> Self {
        Self {
            argocd: components.program(Program::ArgoCd),
            redis: components.program(Program::Redis),
            git: components.program(Program::Git),
            crds: components.folder(Folder::ArgoCdCrds),
            hack: components.folder(Folder::ArgoCdHack),
        }
    }
}

/// A running Argo CD; it ends with this value.
pub struct ArgoCd {
    kube: Client,
    controller: Server,
    repo_server: Server,
    redis: Server,
    /// The path of a socket must be shorter than that of a test's folder may be.
    _sockets: tempfile::TempDir,
}

impl ArgoCd {
    /// Installs Argo CD's kinds and settings, and starts it with data in `data` and logs in
    /// `logs`.
    ///
    /// `kubeconfig` is the administrator's; the controller gets one of its own.
    pub async fn start(
        components: &Components,
        kube: Client,
        kubeconfig: &Path,
        data: &Path,
        logs: &Path,
    ) -> anyhow::Result<Self> {
        Self::launch(&ArgoPrograms::of(components), kube, kubeconfig, data, logs).await
    }

    /// Like [`ArgoCd::start`], with programs from elsewhere.
    pub async fn launch(
        programs: &ArgoPrograms,
        kube: Client,
        kubeconfig: &Path,
        data: &Path,
        logs: &Path,
    ) -> anyhow::Result<Self> {
        let folder = data.join("argocd");
        let sockets = tempfile::tempdir().context("a folder for Argo CD's sockets")?;
        let layout = Layout::create(programs, &folder, sockets.path())?;
        account::namespace(&kube, NAMESPACE).await?;
        let (config, ()) = tokio::try_join!(
            account::administrator(&kube, NAMESPACE, CONTROLLER, kubeconfig, &folder),
            apply_definitions(&kube, &programs.crds),
        )?;
        for object in settings() {
            apply(&kube, NAMESPACE, &object).await?;
        }

        let redis = redis(&programs.redis);
        let redis = Server::launch(redis, logs, Ready::Seen)?;
        let arguments = repo_server_arguments();
        let repo_server = layout.launch(REPO_SERVER, &config).args(&arguments);
        let repo_server = Server::launch(repo_server, logs, healthy("127.0.0.1:8184"))?;
        let arguments = controller_arguments();
        let controller = layout.launch(CONTROLLER, &config).args(&arguments);
        let controller = Server::launch(controller, logs, healthy("127.0.0.1:8182"))?;
        tokio::try_join!(repo_server.ready(), controller.ready())?;
        Ok(Self { kube, controller, repo_server, redis, _sockets: sockets })
    }

    /// Lets Argo CD keep `path` of the repository's branch `main` applied to `namespace`.
    ///
    /// The path must hold plain manifests: a `kustomization.yaml` would need a program that is
    /// not part of the test bed.
    pub async fn application(
        &self,
        name: &str,
        repository: &Repository,
        path: &str,
        namespace: &str,
        options: &ArgoOptions,
    ) -> anyhow::Result<Application> {
        Application::create(&self.kube, name, repository, path, namespace, options).await
    }

    /// The application controller, to be killed and started again.
    pub fn controller(&self) -> &Server {
        &self.controller
    }

    /// The repo server, which fetches and renders.
    pub fn repo_server(&self) -> &Server {
        &self.repo_server
    }

    /// Redis, which both share.
    pub fn redis(&self) -> &Server {
        &self.redis
    }

    /// Overrides how Argo CD judges the health of a kind, by a Lua script in `argocd-cm`; `kind`
    /// is `group/Kind`, or `Kind` for the core group.
    pub async fn judge_health_by(&self, kind: &str, script: &str) -> anyhow::Result<()> {
        let key = format!("resource.customizations.health.{}", kind.replace('/', "_"));
        let maps = objects(&self.kube, "v1", "ConfigMap", NAMESPACE);
        merge(&maps, "argocd-cm", &serde_json::json!({ "data": { key: script } })).await
    }
}

/// The folders Argo CD works in.
struct Layout {
    folder: PathBuf,
    path: String,
    socket: PathBuf,
}

impl Layout {
    fn create(programs: &ArgoPrograms, folder: &Path, sockets: &Path) -> anyhow::Result<Self> {
        for part in ["bin", "home", "tmp", "tls", "ssh", "plugins"] {
            std::fs::create_dir_all(folder.join(part))
                .with_context(|| format!("Argo CD's folder {}", folder.display()))?;
        }
        let bin = folder.join("bin");
        // The repo server runs `argocd` for Git's question for a password.
        for name in [CONTROLLER, REPO_SERVER, "argocd"] {
            symlink(&programs.argocd, bin.join(name))
                .with_context(|| format!("a link to Argo CD in {}", bin.display()))?;
        }
        let git = programs.git.parent().context("the path of git has no folder")?;
        let path = format!(
            "{}:{}:{}:/usr/local/bin:/usr/bin:/bin",
            bin.display(),
            programs.hack.display(),
            git.display()
        );
        Ok(Self { folder: folder.to_owned(), path, socket: sockets.join("ask-pass") })
    }

    fn launch(&self, name: &'static str, kubeconfig: &Path) -> Launch {
        Launch::new(name, self.folder.join("bin").join(name))
            .env("PATH", &self.path)
            .env("HOME", self.folder.join("home"))
            .env("TMPDIR", self.folder.join("tmp"))
            .env("HOSTNAME", format!("{name}-0"))
            .env("NO_PROXY", "*")
            .env("KUBECONFIG", kubeconfig)
            // The cluster that Argo CD runs in is the one of the kubeconfig.
            .env("ARGOCD_FAKE_IN_CLUSTER", "true")
            .env("ARGOCD_GPG_ENABLED", "false")
            .env("ARGOCD_TLS_DATA_PATH", self.folder.join("tls"))
            .env("ARGOCD_SSH_DATA_PATH", self.folder.join("ssh"))
            .env("ARGOCD_PLUGINSOCKFILEPATH", self.folder.join("plugins"))
            .env("ARGOCD_ASK_PASS_SOCK", &self.socket)
            .args(&["--redis", REDIS])
    }
}

fn redis(program: &Path) -> Launch {
    Launch::new("redis", program.to_owned()).args(&[
        "--bind",
        "127.0.0.1",
        "--port",
        "6379",
        "--save",
        "",
        "--appendonly",
        "no",
    ])
}

fn repo_server_arguments() -> [&'static str; 9] {
    [
        "--address",
        "127.0.0.1",
        "--port",
        "8181",
        "--metrics-address",
        "127.0.0.1",
        "--metrics-port",
        "8184",
        "--disable-tls",
    ]
}

/// People look every two to three minutes, or are told by the forge; a test looks more often.
fn controller_arguments() -> [&'static str; 9] {
    [
        "--namespace",
        NAMESPACE,
        "--repo-server",
        "127.0.0.1:8181",
        "--repo-server-plaintext",
        "--metrics-port",
        "8182",
        "--app-resync=10",
        "--app-resync-jitter=0",
    ]
}

fn healthy(address: &str) -> Ready {
    Ready::Http(format!("http://{address}/healthz"))
}
