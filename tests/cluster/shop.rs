//! A shop whose releases Tidegate looks after: what a team and its platform engineers would have
//! set up, with load on it and a controller that can be killed.

#[path = "shop/engine.rs"]
mod engine;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use kube::{
    Api,
    api::{DynamicObject, ListParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::Value;
use tidegate_testbed::{
    components::Program,
    fault::{FaultProxy, Upstream},
    gitops::{Following, Repository},
    load::{Load, LoadOptions},
    observer,
    world::{Daemon, World, apply, eventually, ports},
};
use tokio::sync::OnceCell;

pub(crate) use engine::{Engine, Follower};

/// The controller's namespace, as `deploy/` has it.
const HOME: &str = "tidegate-system";
/// The metric source of everybody.
const SOURCE: &str = "prometheus";
/// The file that a release changes.
pub(crate) const DEPLOYMENT: &str = "apps/web/deployment.yaml";
/// The team's Rollout.
pub(crate) const ROLLOUT: &str = "apps/web/rollout.yaml";
/// Requests a second.
pub(crate) const RATE: f64 = 200.0;
/// Flux, pods and Envoy need seconds; beside a build they need more.
pub(crate) const SOON: Duration = Duration::from_mins(1);

static INSTALLED: OnceCell<()> = OnceCell::const_new();
static LISTEN: AtomicU16 = AtomicU16::new(18080);

/// How a shop differs from the usual one. Servers are given as `http://host:port`, such as that of
/// a proxy with faults; `None`: the controller asks them itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setting {
    pub(crate) api_server: Option<String>,
    pub(crate) forge: Option<String>,
    pub(crate) prometheus: Option<String>,
    pub(crate) alertmanager: Option<String>,
    pub(crate) engine: Engine,
    /// What becomes of a file, by its path, before it is committed.
    pub(crate) edit: Option<fn(&str, &str) -> String>,
}

impl Setting {
    /// The team has other files in Git.
    pub(crate) fn edited(edit: fn(&str, &str) -> String) -> Self {
        Self { edit: Some(edit), ..Self::default() }
    }
}

/// One team's application, followed by Flux or another engine, served by the gateway, looked after
/// by Tidegate.
pub(crate) struct Shop {
    pub(crate) world: &'static World,
    pub(crate) namespace: String,
    pub(crate) repository: Repository,
    pub(crate) follower: Follower,
    /// Of a shop that Flux follows.
    pub(crate) flux: Following,
    pub(crate) load: Load,
    setting: Setting,
    controller: Option<Daemon>,
    kubeconfig: PathBuf,
}

impl Shop {
    /// Version 1 serves under load, and Tidegate has seen it.
    pub(crate) async fn open(world: &'static World, name: &str) -> Result<Self> {
        Self::open_through(world, name, None).await
    }

    /// The same, with a proxy between the controller and the API server.
    pub(crate) async fn open_through(
        world: &'static World,
        name: &str,
        proxy: Option<&str>,
    ) -> Result<Self> {
        let api_server = proxy.map(str::to_owned);
        Self::open_as(world, name, Setting { api_server, ..Setting::default() }).await
    }

    /// The same, in another setting.
    pub(crate) async fn open_as(
        world: &'static World,
        name: &str,
        setting: Setting,
    ) -> Result<Self> {
        installed(world).await?;
        let namespace = world.namespace(name).await?;
        observer::watch(&world.kube(), &namespace);
        let repository = world.forge().repository(&namespace).await?;
        admin_objects(world, &namespace, &repository, &setting).await?;
        let source = if setting.prometheus.is_some() { &namespace } else { SOURCE };
        let files: Vec<_> = first_files(&namespace, source)
            .into_iter()
            .map(|(path, text)| (path, edited(&setting, path, &text)))
            .collect();
        let files: Vec<_> = files.iter().map(|(path, text)| (*path, Some(text.as_str()))).collect();
        let first = repository.commit("Ada Lovelace", "web: first release, v1", &files).await?;
        let follower = Follower::start(world, &namespace, &repository, &setting.engine).await?;
        follower.wait_applied(&first, SOON).await?;
        let flux = world.flux().followed(&namespace, "web");
        let load = Load::start(LoadOptions::new(world.gateway(), host(&namespace), RATE)).await?;
        let kubeconfig = kubeconfig(world, &namespace, setting.api_server.as_deref()).await?;
        let mut shop = Self {
            world,
            namespace,
            repository,
            follower,
            flux,
            load,
            setting,
            controller: None,
            kubeconfig,
        };
        shop.start_controller()?;
        shop.wait_phase("Idle", SOON).await?;
        eventually("the first request is served", SOON, async || {
            Ok(shop.load.snapshot().last(|request| !request.failed()).map(drop))
        })
        .await?;
        Ok(shop)
    }

    /// Starts `tidegate run` with exactly the rights that `deploy/` gives.
    pub(crate) fn start_controller(&mut self) -> Result<()> {
        ensure!(self.controller.is_none(), "the controller runs already");
        let alertmanager = self.setting.alertmanager.as_deref();
        let (name, kubeconfig) = (&self.namespace, &self.kubeconfig);
        let started = controller(self.world, name, Some(name), kubeconfig, alertmanager);
        self.controller = Some(started?);
        Ok(())
    }

    /// SIGKILL, and a new one at once.
    pub(crate) fn kill_controller(&mut self) -> Result<()> {
        self.stop_controller();
        self.start_controller()
    }

    /// SIGKILL, and nobody looks after the shop.
    pub(crate) fn stop_controller(&mut self) {
        if let Some(mut controller) = self.controller.take() {
            controller.kill();
        }
    }

    /// Commits another version of the application and asks its engine to look.
    pub(crate) async fn release(&self, version: &str, error_rate: f64) -> Result<String> {
        let text = deployment(&self.namespace, version, error_rate);
        let message = format!("web: release {version}");
        self.commit(&message, DEPLOYMENT, &text).await
    }

    /// Commits a file and asks the engine to look.
    pub(crate) async fn commit(&self, message: &str, path: &str, text: &str) -> Result<String> {
        let text = edited(&self.setting, path, text);
        let files = [(path, Some(text.as_str()))];
        let commit = self.repository.commit("Ada Lovelace", message, &files).await?;
        self.follower.look().await?;
        Ok(commit)
    }

    /// The Rollout as it is now.
    pub(crate) async fn rollout(&self) -> Result<Value> {
        self.get("tidegate.dev/v1alpha1", "Rollout", "web").await?.context("there is no Rollout")
    }

    /// The phase that status shows.
    pub(crate) async fn phase(&self) -> Result<String> {
        let rollout = self.rollout().await?;
        Ok(rollout["status"]["phase"].as_str().unwrap_or("none").to_owned())
    }

    /// Waits for a phase.
    pub(crate) async fn wait_phase(&self, phase: &str, within: Duration) -> Result<()> {
        eventually(&format!("the Rollout is {phase}"), within, async || {
            let status = self.rollout().await?["status"].take();
            if status["phase"] == phase {
                return Ok(Some(()));
            }
            bail!("{} {} {}", status["phase"], status["verdict"], status["message"])
        })
        .await
    }

    /// How the trial of this number ended, once it has.
    pub(crate) async fn outcome(&self, trials: u64) -> Result<Option<String>> {
        let state = self.rollout().await?["status"]["state"].take();
        let is_over = state["trials"].as_u64() >= Some(trials) && state["trial"].is_null();
        let outcome = &state["last"]["outcome"];
        let word = outcome
            .as_str()
            .map(str::to_owned)
            .or_else(|| outcome.as_object().and_then(|outcome| outcome.keys().next().cloned()));
        Ok(if is_over { word } else { None })
    }

    /// An object of the shop; `None`: there is none of that name.
    pub(crate) async fn get(&self, api: &str, kind: &str, name: &str) -> Result<Option<Value>> {
        let found = self.api(api, kind).get_opt(name).await?;
        found.map(serde_json::to_value).transpose().context("an object to JSON")
    }

    /// All objects of a kind in the shop.
    pub(crate) async fn list(&self, api: &str, kind: &str) -> Result<Vec<Value>> {
        let found = self.api(api, kind).list(&ListParams::default()).await?;
        found.items.iter().map(|object| Ok(serde_json::to_value(object)?)).collect()
    }

    pub(crate) fn api(&self, api: &str, kind: &str) -> Api<DynamicObject> {
        let (group, version) = api.split_once('/').unwrap_or(("", api));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::namespaced_with(self.world.kube(), &self.namespace, &resource)
    }

    /// Flux does not wait for health: one that does applies nothing newer until the held Deployment
    /// goes on.
    pub(crate) async fn wait_for_no_health(&self) -> Result<()> {
        let kind = "kustomizations.kustomize.toolkit.fluxcd.io";
        let patch = r#"{"spec": {"wait": false}}"#;
        self.kubectl(&["patch", kind, "web", "--type=merge", "-p", patch]).await.map(drop)
    }

    /// What `kubectl` prints.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let all: Vec<_> =
            ["--namespace", &self.namespace].iter().chain(arguments).copied().collect();
        kubectl(self.world, &all).await
    }

    /// Firing notifications about this shop that reached people.
    pub(crate) fn firing(&self, alert: &str) -> usize {
        let told = self.world.receiver().notifications();
        let ours = [("namespace", self.namespace.as_str()), ("alertname", alert)];
        told.iter().filter(|notification| notification.fires(&ours)).count()
    }
}

/// In front of the API server, for a controller alone: it numbers and keeps what is written.
pub(crate) async fn proxy(world: &World) -> Result<FaultProxy> {
    let admin = world.admin();
    FaultProxy::start(Upstream::kubernetes(&admin.server, admin.ca_pem.as_bytes())).await
}

/// What `kubectl` prints, for the whole cluster.
pub(crate) async fn kubectl(world: &World, arguments: &[&str]) -> Result<String> {
    let output = tokio::process::Command::new(world.program(Program::Kubectl))
        .arg("--kubeconfig")
        .arg(world.kubeconfig())
        .args(arguments)
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "kubectl {}: {said}", arguments.join(" "));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn edited(setting: &Setting, path: &str, text: &str) -> String {
    setting.edit.map_or_else(|| text.to_owned(), |edit| edit(path, text))
}

pub(crate) fn host(namespace: &str) -> String {
    format!("{namespace}.example.com")
}

/// Runs the controller, for one namespace or for all; alerts go where they are told to.
pub(crate) fn controller(
    world: &World,
    name: &str,
    namespace: Option<&str>,
    kubeconfig: &Path,
    alertmanager: Option<&str>,
) -> Result<Daemon> {
    let straight = format!("http://127.0.0.1:{}", ports::ALERTMANAGER);
    let listen = SocketAddr::from(([127, 0, 0, 1], LISTEN.fetch_add(1, Ordering::Relaxed)));
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command
        .args(["run", "--leader-elect", "false"])
        .args(namespace.into_iter().flat_map(|namespace| ["--namespace", namespace]))
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(["--alertmanager", alertmanager.unwrap_or(&straight)])
        .args(["--listen", &listen.to_string()])
        .arg("--data")
        .arg(world.folder().join(format!("{name}-git")))
        .env("RUST_LOG", "info,tidegate=debug");
    Daemon::start(&format!("tidegate-{name}"), world.logs(), command)
}

/// The controller's identity, by way of a proxy where one is given.
pub(crate) async fn kubeconfig(
    world: &World,
    namespace: &str,
    proxy: Option<&str>,
) -> Result<PathBuf> {
    let Some(url) = proxy else { return world.kubeconfig_for(HOME, "tidegate").await };
    let account = world.account(HOME, "tidegate").await?.through(url);
    account.write(&world.folder().join(format!("{namespace}.kubeconfig")))
}

/// Waits until the cluster has what belongs into it.
pub(crate) async fn installed(world: &World) -> Result<()> {
    INSTALLED.get_or_try_init(|| install(world)).await.map(drop)
}

/// What a platform engineer does once in a cluster: `kubectl apply -k deploy`.
async fn install(world: &World) -> Result<()> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    for (flag, path) in [
        ("-k", "crds"),
        ("-f", "deploy/controller/namespace.yaml"),
        ("-f", "deploy/controller/rbac.yaml"),
        ("-k", "deploy/policies"),
    ] {
        let path = root.join(path);
        let arguments = ["apply", "--server-side", flag, &path.to_string_lossy()];
        kubectl(world, &arguments).await?;
    }
    eventually("our kinds are served", SOON, async || {
        kubectl(world, &["get", "rollouts.tidegate.dev,metricsources,configrepositories", "-A"])
            .await
            .map(|_| Some(()))
    })
    .await?;
    let template = root.join("analysis-templates/contour-errors.yaml");
    kubectl(world, &["apply", "--server-side", "-f", &template.to_string_lossy()]).await?;
    metric_source(world, SOURCE, &format!("http://127.0.0.1:{}", ports::PROMETHEUS)).await
}

async fn metric_source(world: &World, name: &str, url: &str) -> Result<()> {
    let source = format!(
        "
apiVersion: tidegate.dev/v1alpha1
kind: MetricSource
metadata: {{name: {name}}}
spec:
  url: {url}
  allowedNamespaces: ['*']
  scrapeInterval: 2s
  delay: 3s
"
    );
    apply(&world.kube(), &source, None).await
}

/// What a platform engineer does for a team: its repository may be written, below its path.
async fn admin_objects(
    world: &World,
    namespace: &str,
    repository: &Repository,
    setting: &Setting,
) -> Result<()> {
    if let Some(url) = &setting.prometheus {
        metric_source(world, namespace, url).await?;
    }
    let credentials = repository.credentials();
    let url = setting.forge.as_ref().map_or_else(|| repository.url(), |at| repository.url_at(at));
    let (user, token) = (credentials.user, credentials.token);
    let text = format!(
        "
apiVersion: v1
kind: Secret
metadata: {{name: git-{namespace}, namespace: {HOME}}}
stringData: {{username: {user}, password: {token}}}
---
apiVersion: tidegate.dev/v1alpha1
kind: ConfigRepository
metadata: {{name: {namespace}}}
spec:
  url: {url}
  branch: main
  credentials: git-{namespace}
  write: Push
  allow:
    - {{namespaces: [{namespace}], paths: ['apps/**']}}
"
    );
    apply(&world.kube(), &text, None).await
}

/// What the team has in Git.
fn first_files(namespace: &str, source: &str) -> Vec<(&'static str, String)> {
    let host = host(namespace);
    let service = format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: {namespace}}}
spec:
  selector: {{app: web}}
  ports: [{{name: http, port: 80, targetPort: http}}]
"
    );
    let route = format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: web, namespace: {namespace}}}
spec:
  parentRefs: [{{name: contour, namespace: projectcontour}}]
  hostnames: [{host}]
  rules: [{{backendRefs: [{{name: web, port: 80}}]}}]
"
    );
    vec![
        (DEPLOYMENT, deployment(namespace, "v1", 0.0)),
        ("apps/web/service.yaml", service),
        ("apps/web/route.yaml", route),
        (ROLLOUT, rollout(namespace, source)),
    ]
}

/// The application; errors are in the version, as bugs are.
fn deployment(namespace: &str, version: &str, error_rate: f64) -> String {
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: {namespace}}}
spec:
  replicas: 3
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata:
      labels: {{app: web}}
      annotations: {{prometheus.io/scrape: 'true', prometheus.io/port: '8080'}}
    spec:
      terminationGracePeriodSeconds: 10
      containers:
        - name: web
          image: registry.example.com/shop/app:{version}
          env: [{{name: ERROR_RATE, value: '{error_rate}'}}]
          ports: [{{name: http, containerPort: 8080}}]
          readinessProbe: {{httpGet: {{path: /readyz, port: http}}, periodSeconds: 1}}
"
    )
}

/// A Rollout that wants its proof within seconds: it promises one percentage point.
fn rollout(namespace: &str, source: &str) -> String {
    format!(
        "
apiVersion: tidegate.dev/v1alpha1
kind: AnalysisTemplate
metadata: {{name: web, namespace: {namespace}}}
spec:
  metrics:
    - name: errors
      by: pod
      ratio:
        total: http_requests_total
        bad: http_requests_total{{code=~\"5..\"}}
        passIfNotWorseThan: {{relative: 50%, absolute: 1pp}}
---
apiVersion: tidegate.dev/v1alpha1
kind: Rollout
metadata: {{name: web, namespace: {namespace}}}
spec:
  workloadRef: {{name: web}}
  strategy:
    canary:
      steps:
        - {{weight: 10, bake: 5s}}
        - {{weight: 50, bake: 5s}}
        - {{weight: 100, bake: 5s}}
  analysis:
    source: {source}
    templates: [{{name: web}}]
  onFailure: Revert
  limits: {{drain: 3s, scaleDownDelay: 5s}}
  git: {{repository: {namespace}, paths: [apps/web]}}
"
    )
}
