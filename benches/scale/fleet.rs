//! Many Deployments of one namespace, each with a Service and, later, a Rollout.

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

/// Services of one namespace.
pub(crate) struct Fleet {
    world: &'static World,
    namespace: String,
    size: usize,
    /// The steps that each Rollout takes, and what judges them.
    spec: Value,
}

impl Fleet {
    /// A namespace for so many.
    pub(crate) async fn new(world: &'static World, name: &str, size: usize) -> Result<Self> {
        let namespace = world.namespace(name).await?;
        let steps = json!([{"weight": 50, "bake": "5s"}, {"weight": 100, "bake": "5s"}]);
        let spec = json!({"strategy": {"canary": {"steps": steps}}});
        Ok(Self { world, namespace, size, spec })
    }

    /// From now on Rollouts stay on trial, and are judged by a number that this source gives.
    pub(crate) async fn judge(&mut self, source: &str) -> Result<()> {
        let name = &self.namespace;
        let text = format!(
            "
apiVersion: tidegate.dev/v1alpha1
kind: MetricSource
metadata: {{name: {name}}}
spec: {{url: '{source}', allowedNamespaces: [{name}], scrapeInterval: {SCRAPE}, delay: 0s}}
---
apiVersion: tidegate.dev/v1alpha1
kind: AnalysisTemplate
metadata: {{name: harm}}
spec:
  metrics:
    - name: harm
      threshold: {{query: vector(0), op: '<', limit: '1', failures: 1, of: 1}}
"
        );
        apply(&self.world.kube(), &text, Some(&self.namespace)).await?;
        self.spec = json!({
            "strategy": {"canary": {"steps": [{"weight": 50, "bake": "1h"}]}},
            "analysis": {"templates": [{"name": "harm"}], "source": self.namespace},
            "onFailure": "Hold",
        });
        Ok(())
    }

    /// The controller for this namespace alone.
    pub(crate) async fn controller(&self, proxy: Option<&str>) -> Result<Daemon> {
        let kubeconfig = shop::kubeconfig(self.world, &self.namespace, proxy).await?;
        shop::controller(self.world, &self.namespace, &kubeconfig, None)
    }

    /// One object of this kind for each.
    pub(crate) async fn create(&self, kind: Kind) -> Result<()> {
        let api = self.api(kind);
        let create = async |number: usize| -> Result<()> {
            let object: DynamicObject = serde_json::from_value(self.object(kind, number))?;
            api.create(&PostParams::default(), &object).await.context("create an object")?;
            Ok(())
        };
        self.each(&format!("create {kind:?}s"), create).await
    }

    /// Another image for each, as an engine would bring it.
    pub(crate) async fn release(&self, version: &str) -> Result<()> {
        let api = self.api(Kind::Deployment);
        let container = json!({"name": "web", "image": image(version)});
        let template = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
        let patch = Patch::Strategic(template);
        let release = async |number: usize| -> Result<()> {
            let params = PatchParams::default();
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

    /// How many canaries have pods.
    pub(crate) async fn canaries(&self) -> Result<usize> {
        let kind = GroupVersionKind::gvk("apps", "v1", "ReplicaSet");
        let sets = self.api_of(&ApiResource::from_gvk(&kind));
        let found = sets.list(&ListParams::default()).await?;
        let is_canary = |set: &&DynamicObject| {
            let owners = set.metadata.owner_references.iter().flatten();
            owners.into_iter().all(|owner| owner.kind != "Deployment")
        };
        let with_pods = |set: &DynamicObject| set.data["spec"]["replicas"] != 0;
        Ok(found.items.iter().filter(is_canary).filter(|set| with_pods(set)).count())
    }

    /// No canary has pods any more.
    pub(crate) async fn wait_no_canaries(&self) -> Result<()> {
        let start = Instant::now();
        loop {
            let left = self.canaries().await?;
            eprintln!("  {left} canaries after {:.1} s", start.elapsed().as_secs_f64());
            if left == 0 {
                return Ok(());
            }
            ensure!(start.elapsed() < WITHIN, "{left} canaries have pods");
        }
    }

    /// Makes room for the next fleet.
    pub(crate) async fn delete(&self) -> Result<()> {
        for kind in [Kind::Rollout, Kind::Deployment, Kind::Service] {
            let (delete, list) = (DeleteParams::background(), ListParams::default());
            self.api(kind).delete_collection(&delete, &list).await.context("delete a fleet")?;
        }
        self.wait_gone().await
    }

    async fn wait_gone(&self) -> Result<()> {
        let pods = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod"));
        let start = Instant::now();
        loop {
            let left = self.api_of(&pods).list_metadata(&ListParams::default()).await?.items.len();
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
        let (start, mut told, api) = (Instant::now(), Instant::now(), self.api(kind));
        loop {
            let found = api.list(&ListParams::default()).await?;
            let values = found.items.iter().map(serde_json::to_value);
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

    fn api(&self, kind: Kind) -> Api<DynamicObject> {
        self.api_of(&kind.resource())
    }

    fn api_of(&self, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.world.kube(), &self.namespace, resource)
    }

    fn object(&self, kind: Kind, number: usize) -> Value {
        let name = name(number);
        let labels = json!({"app": name});
        let spec = match kind {
            Kind::Deployment => json!({
                "replicas": PODS,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {
                    "nodeSelector": {"type": "kwok"},
                    "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}],
                    "containers": [{"name": "web", "image": image("v1")}],
                }},
            }),
            Kind::Service => json!({"selector": labels, "ports": [{"name": "http", "port": 80}]}),
            Kind::Rollout => {
                let mut spec = self.spec.clone();
                spec["workloadRef"] = json!({"name": name});
                spec
            }
        };
        let resource = kind.resource();
        json!({
            "apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": {"name": name}, "spec": spec,
        })
    }
}

fn name(number: usize) -> String {
    format!("web-{number}")
}

fn image(version: &str) -> String {
    format!("registry.example.com/shop/app:{version}")
}
