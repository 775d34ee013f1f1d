//! Many Deployments, each with a Service and, later, a Rollout; ten to a namespace.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};
use tidegate_testbed::world::{Daemon, World, apply};

use crate::shop;

/// How many share a namespace.
const NEIGHBOURS: usize = 10;
/// Pods of each Deployment.
const PODS: usize = 2;
/// Requests of ours on their way at once.
const AT_ONCE: usize = 16;
/// How often it is looked whether something has come.
const LOOK: Duration = Duration::from_secs(1);
/// How long two processors may take for all of them.
const WITHIN: Duration = Duration::from_mins(15);
/// What the metric source is read by: a look at each Rollout on trial is a quarter of it.
const SCRAPE: &str = "8s";

/// What pins a Service to one set.
const PIN: &str = "pod-template-hash";

/// Below 1 is well.
const HARM: &str = "
apiVersion: tidegate.dev/v1alpha1
kind: AnalysisTemplate
metadata: {name: harm}
spec:
  metrics:
    - name: harm
      threshold: {query: vector(0), op: '<', limit: '1', failures: 1, of: 1}
";

/// What each of the fleet consists of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Deployment,
    Service,
    Rollout,
}

impl Kind {
    fn resource(self) -> ApiResource {
        let (group, version, kind) = match self {
            Self::Deployment => ("apps", "v1", "Deployment"),
            Self::Service => ("", "v1", "Service"),
            Self::Rollout => ("tidegate.dev", "v1alpha1", "Rollout"),
        };
        ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
    }
}

/// Services of some namespaces.
pub(crate) struct Fleet {
    world: &'static World,
    name: &'static str,
    namespaces: Vec<String>,
    size: usize,
    /// The steps that each Rollout takes, and what judges them.
    spec: Value,
}

impl Fleet {
    /// Namespaces for so many.
    pub(crate) async fn new(
        world: &'static World,
        name: &'static str,
        size: usize,
    ) -> Result<Self> {
        let mut namespaces = Vec::new();
        for _ in 0..size.div_ceil(NEIGHBOURS) {
            namespaces.push(world.namespace(name).await?);
        }
        let steps = json!([{"weight": 50, "bake": "5s"}, {"weight": 100, "bake": "5s"}]);
        let spec = json!({"strategy": {"canary": {"steps": steps}}});
        Ok(Self { world, name, namespaces, size, spec })
    }

    /// From now on Rollouts stay on trial, and are judged by a number that this source gives.
    pub(crate) async fn judge(&mut self, source: &str) -> Result<()> {
        let name = self.name;
        let numbers = format!(
            "
apiVersion: tidegate.dev/v1alpha1
kind: MetricSource
metadata: {{name: {name}}}
spec: {{url: '{source}', allowedNamespaces: ['*'], scrapeInterval: {SCRAPE}, delay: 0s}}
"
        );
        apply(&self.world.kube(), &numbers, None).await?;
        for namespace in &self.namespaces {
            apply(&self.world.kube(), HARM, Some(namespace)).await?;
        }
        self.spec = json!({
            "strategy": {"canary": {"steps": [{"weight": 50, "bake": "1h"}]}},
            "analysis": {"templates": [{"name": "harm"}], "source": name},
            "onFailure": "Hold",
        });
        Ok(())
    }

    /// The controller, for all namespaces.
    pub(crate) async fn controller(&self, proxy: Option<&str>) -> Result<Daemon> {
        let kubeconfig = shop::kubeconfig(self.world, self.name, proxy).await?;
        shop::controller(self.world, self.name, None, &kubeconfig, None)
    }

    /// One object of this kind for each.
    pub(crate) async fn create(&self, kind: Kind) -> Result<()> {
        let create = async |number: usize| -> Result<()> {
            let object: DynamicObject = serde_json::from_value(self.object(kind, number))?;
            let api = self.api(kind, number);
            api.create(&PostParams::default(), &object).await.context("create an object")?;
            Ok(())
        };
        self.each(&format!("create {kind:?}s"), create).await
    }

    /// Another image for each, as an engine would bring it.
    pub(crate) async fn release(&self, version: &str) -> Result<()> {
        let container = json!({"name": "web", "image": image(version)});
        let template = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
        let patch = Patch::Strategic(template);
        let release = async |number: usize| -> Result<()> {
            let params = PatchParams::default();
            let api = self.api(Kind::Deployment, number);
            api.patch(&name(number), &params, &patch).await.context("release a version")?;
            Ok(())
        };
        self.each(&format!("release {version}"), release).await
    }

    /// Every Deployment has this version, ready, and nothing else.
    pub(crate) async fn wait_rolled_out(&self, version: &str) -> Result<()> {
        let image = image(version);
        let what = format!("{version} is rolled out");
        self.wait(&what, Kind::Deployment, |object| {
            let (spec, status) = (&object["spec"], &object["status"]);
            let generation = object["metadata"]["generation"].as_u64();
            let counts = ["replicas", "updatedReplicas", "availableReplicas"];
            spec["template"]["spec"]["containers"][0]["image"] == image.as_str()
                && status["observedGeneration"].as_u64() >= generation
                && counts.iter().all(|count| status[*count] == PODS)
        })
        .await
    }

    /// Every Rollout is in this phase.
    pub(crate) async fn wait_phase(&self, phase: &str) -> Result<()> {
        let is_in = |object: &Value| object["status"]["phase"] == phase;
        self.wait(&format!("all are {phase}"), Kind::Rollout, is_in).await
    }

    /// Every Rollout has promoted its canary, and is at rest.
    pub(crate) async fn wait_promoted(&self) -> Result<()> {
        self.wait("all are promoted", Kind::Rollout, |object| {
            let state = &object["status"]["state"];
            object["status"]["phase"] == "Idle" && state["last"]["outcome"] == "Promoted"
        })
        .await
    }

    /// Every canary has its share: no Service leads to stable alone.
    pub(crate) async fn wait_shared(&self) -> Result<()> {
        let is = |object: &Value| object["spec"]["selector"][PIN].is_null();
        self.wait("all have their share", Kind::Service, is).await
    }

    /// How many Services lead to stable alone.
    async fn home(&self) -> Result<usize> {
        let found = self.list(Kind::Service).await?;
        let pin = |service: &&DynamicObject| !service.data["spec"]["selector"][PIN].is_null();
        // The canary's own Service is pinned as long as there is one, and labelled as the user's.
        let is_users = |service: &&DynamicObject| {
            !service.metadata.name.iter().any(|name| name.ends_with("-canary"))
        };
        Ok(found.iter().filter(is_users).filter(pin).count())
    }

    /// Every Service leads to stable alone; answers when the first did.
    pub(crate) async fn wait_home(&self) -> Result<Instant> {
        let (start, mut first) = (Instant::now(), None);
        loop {
            let home = self.home().await?;
            if home > 0 {
                first.get_or_insert_with(Instant::now);
                eprintln!("  {home} home after {:.1} s", start.elapsed().as_secs_f64());
            }
            match first {
                Some(first) if home == self.size => return Ok(first),
                _ => ensure!(start.elapsed() < WITHIN, "{home} of {} are home", self.size),
            }
            tokio::time::sleep(LOOK / 4).await;
        }
    }

    /// Makes room for the next fleet.
    pub(crate) async fn delete(&self) -> Result<()> {
        for kind in [Kind::Rollout, Kind::Deployment, Kind::Service] {
            for number in (0..self.size).step_by(NEIGHBOURS) {
                let (delete, all) = (DeleteParams::background(), ListParams::default());
                let api = self.api(kind, number);
                api.delete_collection(&delete, &all).await.context("delete a fleet")?;
            }
        }
        let pods = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod"));
        let pods: Api<DynamicObject> = Api::all_with(self.world.kube(), &pods);
        let (start, ours) = (Instant::now(), self.ours());
        loop {
            let left = pods.list_metadata(&ours).await?.items.len();
            if left == 0 {
                return Ok(());
            }
            ensure!(start.elapsed() < WITHIN, "{left} pods are left");
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn each(&self, what: &str, act: impl AsyncFn(usize) -> Result<()>) -> Result<()> {
        let start = Instant::now();
        let all = stream::iter(0..self.size).map(|number| act(number)).buffer_unordered(AT_ONCE);
        all.try_collect::<()>().await.with_context(|| what.to_owned())?;
        eprintln!("  {what}: {} in {:.0} s", self.size, start.elapsed().as_secs_f64());
        Ok(())
    }

    async fn wait(&self, what: &str, kind: Kind, is: impl Fn(&Value) -> bool) -> Result<()> {
        let (start, mut told) = (Instant::now(), Instant::now());
        loop {
            let found = self.list(kind).await?;
            let values = found.iter().map(serde_json::to_value);
            let values = values.collect::<Result<Vec<_>, _>>()?;
            let count = values.iter().filter(|value| is(value)).count();
            if count == self.size {
                eprintln!("  {what}: {count} after {:.0} s", start.elapsed().as_secs_f64());
                return Ok(());
            }
            if told.elapsed() > 5 * LOOK {
                told = Instant::now();
                eprintln!("  {what}: {count} of {}", self.size);
            }
            let status = || values.iter().find(|value| !is(value)).map(|one| one["status"].clone());
            ensure!(start.elapsed() < WITHIN, "{what}: {count} of {}: {:?}", self.size, status());
            tokio::time::sleep(LOOK).await;
        }
    }

    fn api(&self, kind: Kind, number: usize) -> Api<DynamicObject> {
        let namespace = self.namespaces.get(number / NEIGHBOURS).map_or("", String::as_str);
        Api::namespaced_with(self.world.kube(), namespace, &kind.resource())
    }

    async fn list(&self, kind: Kind) -> Result<Vec<DynamicObject>> {
        let api: Api<DynamicObject> = Api::all_with(self.world.kube(), &kind.resource());
        Ok(api.list(&self.ours()).await?.items)
    }

    fn ours(&self) -> ListParams {
        ListParams::default().labels(&format!("fleet={}", self.name))
    }

    fn object(&self, kind: Kind, number: usize) -> Value {
        let name = name(number);
        let selector = json!({"app": name});
        let labels = json!({"app": name, "fleet": self.name});
        let spec = match kind {
            Kind::Deployment => json!({
                "replicas": PODS,
                "selector": {"matchLabels": selector},
                "template": {"metadata": {"labels": labels}, "spec": {
                    "nodeSelector": {"type": "kwok"},
                    "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}],
                    "containers": [{"name": "web", "image": image("v1")}],
                }},
            }),
            Kind::Service => json!({"selector": selector, "ports": [{"name": "http", "port": 80}]}),
            Kind::Rollout => {
                let mut spec = self.spec.clone();
                spec["workloadRef"] = json!({"name": name});
                spec
            }
        };
        let resource = kind.resource();
        json!({
            "apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": {"name": name, "labels": labels}, "spec": spec,
        })
    }
}

fn name(number: usize) -> String {
    format!("web-{number}")
}

fn image(version: &str) -> String {
    format!("registry.example.com/shop/app:{version}")
}
