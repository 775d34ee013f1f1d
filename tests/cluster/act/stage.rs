//! One application in a namespace of its own, as an engine would bring it, and hands to play the
//! parts that are not tested: who makes pods ready, and who closes the gate.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use kube::Client;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch,
    PatchParams, PostParams,
};
use serde_json::{Value, json};
use tidegate::act::{self, ActError};
use tidegate::kubernetes::{CanaryService, Cluster, Kind, Target, json, names, sets};
use tidegate_engine::effect::Effect;
use tidegate_engine::state::{Revision, TrialId};
use tidegate_testbed::world::World;

/// How often an effect is asked for where somebody else was faster.
const TRIES: u32 = 5;
/// The manager of what Git says, as Flux has it.
const ENGINE: &str = "kustomize-controller";
const POLICY: &str = "MutatingAdmissionPolicy";
const BINDING: &str = "MutatingAdmissionPolicyBinding";
const WITHIN: Duration = Duration::from_secs(30);

pub(super) struct Stage {
    client: Client,
    pub(super) cluster: Cluster,
    pub(super) target: Target,
    trial: TrialId,
}

impl Stage {
    /// The engine is an administrator; we are the account that the policies let through.
    pub(super) async fn new(world: &World, prefix: &str) -> Result<Self> {
        let target = Target {
            namespace: world.namespace(prefix).await?,
            rollout: "web".to_owned(),
            uid: "0".to_owned(),
            workload: "web".to_owned(),
            services: vec!["web".to_owned(), "metrics".to_owned()],
            canary_service: CanaryService { name: "web-canary".to_owned(), ours: true },
            routes: vec!["web".to_owned(), "admin".to_owned()],
        };
        let file = kube::config::Kubeconfig::read_from(world.kubeconfig())?;
        let options = kube::config::KubeConfigOptions::default();
        let mut config = kube::Config::from_custom_kubeconfig(file, &options).await?;
        config.auth_info.impersonate =
            Some("system:serviceaccount:tidegate-system:tidegate".to_owned());
        config.auth_info.impersonate_groups = Some(vec!["system:masters".to_owned()]);
        let cluster = Cluster::connect(config)?;
        Ok(Self { client: world.kube(), cluster, target, trial: TrialId::new("web-1") })
    }

    /// The same, claimed: from here on a gate may close.
    pub(super) async fn set_up(&self, version: &str) -> Result<Revision> {
        let revision = self.bring(version).await?;
        self.claim().await?;
        Ok(revision)
    }

    /// The application with three pods of this version, ready.
    pub(super) async fn bring(&self, version: &str) -> Result<Revision> {
        for name in ["web", "metrics"] {
            self.engine(
                Kind::Service,
                &json!({
                    "metadata": {"name": name, "labels": {"app": "web"}},
                    "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}]},
                }),
            )
            .await?;
        }
        let rule = |backends: Value| json!({"backendRefs": backends});
        let web = json!({"name": "web", "port": 80});
        self.engine(Kind::HttpRoute, &route("web", &json!([rule(json!([web]))]))).await?;
        let other = json!({"name": "other", "port": 80, "weight": 10});
        let heavy = json!({"name": "web", "port": 80, "weight": 90});
        let rules = json!([rule(json!([other])), rule(json!([heavy, other]))]);
        self.engine(Kind::HttpRoute, &route("admin", &rules)).await?;
        self.deploy(version).await?;
        let revision = self.revision().await?;
        self.pods_of(&revision, 3).await?;
        Ok(revision)
    }

    /// Applies an object as the engine does.
    async fn engine(&self, kind: Kind, object: &Value) -> Result<Value> {
        let mut object = object.clone();
        object["apiVersion"] = json!(kind.api_version());
        object["kind"] = json!(kind.as_str());
        let name = json::name(&object).context("a name")?.to_owned();
        let api: Api<DynamicObject> = self.api(kind);
        let params = PatchParams::apply(ENGINE).force();
        let stored = api.patch(&name, &params, &Patch::Apply(&object)).await?;
        Ok(serde_json::to_value(stored)?)
    }

    /// The engine applies this version. Only v1 has the variable `OLD`.
    pub(super) async fn deploy(&self, version: &str) -> Result<Value> {
        let env = if version == "v1" { json!([{"name": "OLD", "value": "1"}]) } else { json!([]) };
        let deployment = json!({
            "metadata": {"name": "web", "labels": {"app": "web"}},
            "spec": {
                "replicas": 3,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {
                        // Nobody runs these pods: they are ready when we say so.
                        "schedulingGates": [{"name": "test/gate"}],
                        "terminationGracePeriodSeconds": 0,
                        "containers": [{
                            "name": "web", "image": format!("web:{version}"), "env": env,
                        }],
                    },
                },
            },
        });
        self.engine(Kind::Deployment, &deployment).await
    }

    /// The same with the gate closed, as the API server does it: `paused` belongs to nobody.
    pub(super) async fn deploy_gated(&self, version: &str) -> Result<Revision> {
        self.patch(Kind::Deployment, "web", "gate", &json!({"spec": {"paused": true}})).await?;
        self.deploy(version).await?;
        let managers = self.get(Kind::Deployment, "web").await?["metadata"]["managedFields"].take();
        let left = managers.as_array().into_iter().flatten().filter(|one| one["manager"] != "gate");
        let patch = json!({"metadata": {"managedFields": left.collect::<Vec<_>>()}});
        self.patch(Kind::Deployment, "web", "gate", &patch).await?;
        self.observed().await?;
        self.revision().await
    }

    pub(super) async fn patch(
        &self,
        kind: Kind,
        name: &str,
        manager: &str,
        patch: &Value,
    ) -> Result<()> {
        let params = PatchParams { field_manager: Some(manager.to_owned()), ..Default::default() };
        self.api(kind).patch(name, &params, &Patch::Merge(patch)).await?;
        Ok(())
    }

    pub(super) fn api(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.target.namespace, &kind.resource())
    }

    pub(super) async fn find(&self, kind: Kind, name: &str) -> Result<Option<Value>> {
        Ok(self.cluster.get(kind, &self.target.namespace, name).await?)
    }

    pub(super) async fn get(&self, kind: Kind, name: &str) -> Result<Value> {
        self.find(kind, name).await?.with_context(|| format!("{kind} {name} is not there"))
    }

    pub(super) async fn revision(&self) -> Result<Revision> {
        let deployment = self.get(Kind::Deployment, "web").await?;
        sets::revision(&deployment).context("the Deployment has a template")
    }

    pub(super) async fn act(&self, effect: &Effect) -> Result<(), ActError> {
        let trial = Some(&self.trial);
        patiently(async || act::act(&self.cluster, &self.target, effect, trial).await).await
    }

    /// The Deployment, its Services and routes are ours.
    pub(super) async fn claim(&self) -> Result<(), ActError> {
        patiently(async || act::claim(&self.cluster, &self.target, None).await).await
    }

    /// Nothing is ours any more.
    pub(super) async fn disclaim(&self) -> Result<(), ActError> {
        patiently(async || act::disclaim(&self.cluster, &self.target).await).await
    }

    pub(super) async fn all(&self, effects: &[Effect]) -> Result<()> {
        for effect in effects {
            self.act(effect).await.with_context(|| format!("{effect:?}"))?;
            if matches!(effect, Effect::Route { .. }) {
                // Asked for until it is seen: the first time the canary is only named.
                self.gateways_take_the_routes().await?;
                self.act(effect).await.with_context(|| format!("{effect:?}, again"))?;
            }
        }
        Ok(())
    }

    /// Says what a gateway says of routes that it has taken; these name one that is not there.
    async fn gateways_take_the_routes(&self) -> Result<()> {
        for name in &self.target.routes {
            let live = self.get(Kind::HttpRoute, name).await?;
            let generation = live["metadata"]["generation"].clone();
            let says = |kind: &str| {
                json!({"type": kind, "status": "True", "reason": kind, "message": "",
                    "observedGeneration": generation, "lastTransitionTime": "2026-01-01T00:00:00Z"})
            };
            let parent = json!({"parentRef": {"name": "gateway"},
                "controllerName": "example.com/gateway",
                "conditions": [says("Accepted"), says("ResolvedRefs")]});
            let status = json!({"status": {"parents": [parent]}});
            let (params, patch) = (PatchParams::default(), Patch::Merge(status));
            self.api(Kind::HttpRoute).patch_status(name, &params, &patch).await?;
        }
        Ok(())
    }

    /// The Deployment controller has seen the newest generation.
    async fn observed(&self) -> Result<()> {
        eventually("the Deployment is observed", async || {
            Ok(json::is_observed(&self.get(Kind::Deployment, "web").await?).then_some(()))
        })
        .await
    }

    /// The name that a set of the canary has.
    pub(super) fn set_name(&self, revision: &Revision) -> String {
        names::set_name(&self.target.workload, revision)
    }

    /// Makes pods ready until so many of this revision are available; answers their uids.
    pub(super) async fn pods_of(&self, revision: &Revision, wanted: u32) -> Result<Vec<String>> {
        let namespace = Some(self.target.namespace.as_str());
        eventually(&format!("{wanted} pods of {revision}"), async || {
            self.make_ready().await?;
            let sets = self.cluster.list(Kind::ReplicaSet, namespace, "app=web").await?;
            let set = sets.iter().find(|set| {
                sets::revision(set).as_ref() == Some(revision)
                    && json::count(set, "/status/availableReplicas").unwrap_or(0) == wanted
                    && json::is_observed(set)
            });
            let Some(hash) = set.and_then(sets::hash) else { return Ok(None) };
            let selector = format!("pod-template-hash={hash}");
            let pods = self.cluster.list(Kind::Pod, namespace, &selector).await?;
            let alive = pods.iter().filter(|pod| !json::is_deleted(pod));
            let mut uids: Vec<_> = alive.filter_map(json::uid).map(str::to_owned).collect();
            uids.sort();
            Ok((uids.len() == wanted as usize).then_some(uids))
        })
        .await
    }

    async fn make_ready(&self) -> Result<()> {
        let namespace = Some(self.target.namespace.as_str());
        for pod in self.cluster.list(Kind::Pod, namespace, "app=web").await? {
            if pod["status"]["phase"] == "Running" || json::is_deleted(&pod) {
                continue;
            }
            let patch = json!({"status": {"phase": "Running", "conditions": [{
                "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z",
            }]}});
            let name = json::name(&pod).context("a name")?;
            let params = PatchParams::default();
            let _ = self.api(Kind::Pod).patch_status(name, &params, &Patch::Merge(patch)).await;
        }
        Ok(())
    }

    /// The API server knows our kinds.
    pub(super) async fn define_rollouts(&self) -> Result<()> {
        let kind = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
        let api: Api<DynamicObject> =
            Api::all_with(self.client.clone(), &ApiResource::from_gvk(&kind));
        for definition in tidegate_api::crds() {
            let name = definition.metadata.name.clone().context("a name")?;
            let params = PatchParams::apply("tidegate-test").force();
            api.patch(&name, &params, &Patch::Apply(&definition)).await?;
        }
        eventually("Rollouts are served", async || {
            Ok(self.api(Kind::Rollout).list(&ListParams::default()).await.is_ok().then_some(()))
        })
        .await
    }

    /// From soon on, sets of this namespace get an annotation into their template.
    pub(super) async fn mutate_sets(&self) -> Result<String> {
        let name = format!("{}.test.tidegate.dev", self.target.namespace);
        let change = r#"[JSONPatch{op: "add", path: "/spec/template/metadata/annotations",
            value: {"test/mutated": "yes"}}]"#;
        let policy = json!({"metadata": {"name": name}, "spec": {
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {
                    "kubernetes.io/metadata.name": self.target.namespace,
                }},
                "resourceRules": [{
                    "apiGroups": ["apps"], "apiVersions": ["v1"],
                    "operations": ["CREATE"], "resources": ["replicasets"],
                }],
            },
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": change}}],
        }});
        let binding = json!({"metadata": {"name": name}, "spec": {"policyName": name}});
        for (kind, object) in [(POLICY, policy), (BINDING, binding)] {
            let object: DynamicObject = serde_json::from_value(object)?;
            self.admission(kind).create(&PostParams::default(), &object).await?;
        }
        Ok(name)
    }

    pub(super) async fn stop_mutating(&self, name: &str) -> Result<()> {
        for kind in [BINDING, POLICY] {
            self.admission(kind).delete(name, &DeleteParams::default()).await?;
        }
        Ok(())
    }

    fn admission(&self, kind: &str) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
        Api::all_with(self.client.clone(), &ApiResource::from_gvk(&kind))
    }

    /// What Git says of everything it has: metadata that is kept, and `spec`.
    pub(super) async fn as_in_git(&self) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        for (kind, name) in GIT {
            let object = self.get(kind, name).await?;
            let metadata = &object["metadata"];
            let mut annotations = metadata["annotations"].clone();
            if let Some(annotations) = annotations.as_object_mut() {
                annotations.remove("deployment.kubernetes.io/revision");
            }
            if annotations == json!({}) {
                annotations = Value::Null;
            }
            all.push(json!([name, metadata["labels"], annotations, object["spec"]]));
        }
        Ok(all)
    }

    /// No managed field is ours, but for the label on the Deployment; and what we borrowed is the
    /// engine's again.
    pub(super) async fn check_fields(&self) -> Result<()> {
        let label = json!({"f:metadata": {"f:labels": {"f:tidegate.dev/rollout": {}}}});
        for (kind, name) in GIT {
            let object = self.get(kind, name).await?;
            let entries = json::list(&object, "/metadata/managedFields");
            let ours = entries.iter().filter(|one| one["manager"] == "tidegate");
            for entry in ours {
                let is_label = kind == Kind::Deployment && entry["fieldsV1"] == label;
                ensure!(is_label, "{kind} {name} has a field of ours: {entry}");
            }
            let engine = entries.iter().find(|one| one["manager"] == ENGINE).context("engine")?;
            let spec = &engine["fieldsV1"]["f:spec"];
            let borrowed = match kind {
                Kind::Service => spec.get("f:selector"),
                Kind::HttpRoute => spec.get("f:rules"),
                _ => spec.get("f:template"),
            };
            ensure!(borrowed.is_some(), "{kind} {name}: not the engine's again: {entries:?}");
        }
        Ok(())
    }

    /// The versions of everything: equal when nothing was written.
    pub(super) async fn versions(&self) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for (kind, name) in GIT {
            let object = self.get(kind, name).await?;
            all.push(json::resource_version(&object).unwrap_or_default().to_owned());
        }
        Ok(all)
    }
}

/// What Git brings.
const GIT: [(Kind, &str); 5] = [
    (Kind::Service, "web"),
    (Kind::Service, "metrics"),
    (Kind::HttpRoute, "web"),
    (Kind::HttpRoute, "admin"),
    (Kind::Deployment, "web"),
];

fn route(name: &str, rules: &Value) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"parentRefs": [{"name": "gateway"}], "rules": rules},
    })
}

/// Asks again where somebody was faster, as the controller does: Kubernetes' own controllers write
/// to the same objects.
async fn patiently(mut act: impl AsyncFnMut() -> Result<(), ActError>) -> Result<(), ActError> {
    let mut tries = 1;
    loop {
        match act().await {
            Err(error) if error.is_conflict() && tries < TRIES => tries += 1,
            done => return done,
        }
    }
}

/// Asks until there is an answer.
pub(super) async fn eventually<T>(
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let until = tokio::time::Instant::now() + WITHIN;
    loop {
        if let Some(answer) = probe().await? {
            return Ok(answer);
        }
        if tokio::time::Instant::now() >= until {
            bail!("{what}: not within {} s", WITHIN.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
