//! Objects in a namespace of their own, and three who write them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};
use tidegate::kubernetes::{Kind, json as read};
use tidegate_testbed::world::{World, apply, apply_definitions};

pub(super) const HOME: &str = "tidegate-system";
pub(super) const POLICIES: [&str; 7] = [
    "policies/gate",
    "policies/hold-service",
    "policies/hold-route",
    "policies/request",
    "hold-scale/hold-scale",
    "requests/request",
    "requests/roles",
];

#[derive(Clone, Copy, Debug)]
pub(super) enum Who {
    /// Applies what is in Git.
    Engine,
    /// At a keyboard.
    Person,
    /// Ours, with its own rights and no others.
    Controller,
}

pub(super) struct Stand {
    pub(super) namespace: String,
    engine: Client,
    person: Client,
    controller: Client,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn text(file: &str) -> Result<String> {
    let path = root().join(format!("deploy/{file}.yaml"));
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// Applies files below `deploy/`, and the definitions of our objects.
pub(super) async fn install(world: &World, files: &[&str]) -> Result<()> {
    apply_definitions(&world.kube(), &root().join("crds")).await?;
    for file in files {
        apply(&world.kube(), &text(file)?, None).await.with_context(|| (*file).to_owned())?;
    }
    Ok(())
}

/// The webhook configurations, asked by address: there are no Services here for the API server.
pub(super) async fn install_webhooks(world: &World, at: SocketAddr) -> Result<()> {
    let mut yaml = text("webhook/webhooks")?;
    for path in ["mutate", "validate"] {
        let service = format!(
            "    service:\n      name: tidegate-webhook\n      namespace: {HOME}\n      path: /{path}\n"
        );
        anyhow::ensure!(yaml.contains(&service), "webhooks.yaml has another form");
        yaml = yaml.replace(&service, &format!("    url: https://{at}/{path}\n"));
    }
    apply(&world.kube(), &yaml, None).await
}

/// Deletes an object of the cluster; fine if there is none, or no such kind.
pub(super) async fn remove(world: &World, kind: Kind, name: &str) -> Result<()> {
    delete(Api::all_with(world.kube(), &kind.resource()), name).await
}

/// The policies' part that older servers have too: here the webhook must do without it.
pub(super) async fn remove_explanation(world: &World) -> Result<()> {
    let kind = "ValidatingAdmissionPolicyBinding";
    let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
    let api = Api::all_with(world.kube(), &ApiResource::from_gvk(&kind));
    delete(api, "gate.tidegate.dev").await
}

async fn delete(api: Api<DynamicObject>, name: &str) -> Result<()> {
    match api.delete(name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop).with_context(|| format!("delete {name}")),
    }
}

pub(super) async fn controller(world: &World) -> Result<Client> {
    world.account(HOME, "tidegate").await?.client().await
}

/// It was refused, with these words.
pub(super) fn refused<T>(answer: Result<T>, words: &str) -> Result<()> {
    let Err(error) = answer else { bail!("it was not refused, expected {words:?}") };
    let told = format!("{error:#}");
    if told.contains(words) { Ok(()) } else { bail!("expected {words:?}, got {told}") }
}

/// The weights of one rule of a route.
pub(super) fn weights(route: &Value, rule: usize) -> Vec<u64> {
    let backends = route["spec"]["rules"][rule]["backendRefs"].as_array();
    backends.into_iter().flatten().filter_map(|backend| backend["weight"].as_u64()).collect()
}

impl Stand {
    pub(super) async fn new(world: &World, prefix: &str) -> Result<Self> {
        let namespace = world.namespace(prefix).await?;
        let rights = format!(
            "
apiVersion: v1
kind: ServiceAccount
metadata: {{name: engine, namespace: {namespace}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: engine, namespace: {namespace}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}}
subjects: [{{kind: ServiceAccount, name: engine, namespace: {namespace}}}]
"
        );
        apply(&world.kube(), &rights, Some(&namespace)).await?;
        Ok(Self {
            engine: world.account(&namespace, "engine").await?.client().await?,
            person: world.kube(),
            controller: controller(world).await?,
            namespace,
        })
    }

    fn api(&self, who: Who, kind: Kind) -> Api<DynamicObject> {
        let client = match who {
            Who::Engine => &self.engine,
            Who::Person => &self.person,
            Who::Controller => &self.controller,
        };
        Api::namespaced_with(client.clone(), &self.namespace, &kind.resource())
    }

    /// What Git has: none of our labels, and the Service's selector and the route's backends as at
    /// rest.
    pub(super) fn of_git(&self, kind: Kind, version: &str) -> Value {
        let mut object = match kind {
            Kind::Service => json!({"spec": {
                "selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}],
            }}),
            Kind::HttpRoute => json!({"spec": {"rules": [
                {
                    "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                    "backendRefs": [{"name": "web", "port": 80}],
                },
                {
                    "matches": [{"path": {"type": "PathPrefix", "value": "/other"}}],
                    "backendRefs": [{"name": "other", "port": 80}],
                },
            ]}}),
            _ => json!({"spec": {
                "replicas": 0,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "web", "image": format!("web:{version}")}]},
                },
            }}),
        };
        object["apiVersion"] = json!(kind.api_version());
        object["kind"] = json!(kind.as_str());
        object["metadata"] = json!({"name": "web", "namespace": self.namespace});
        object
    }

    /// The Deployment at rest, with our label.
    pub(super) async fn deployment(&self, version: &str) -> Result<Value> {
        let mut object = self.of_git(Kind::Deployment, version);
        object["metadata"]["labels"] = json!({"tidegate.dev/rollout": "web"});
        self.create(Kind::Deployment, object).await
    }

    /// A Service; with a hash it is pinned and held.
    pub(super) async fn service(&self, name: &str, hash: Option<&str>) -> Result<Value> {
        let mut object = self.of_git(Kind::Service, "");
        object["metadata"]["name"] = json!(name);
        if let Some(hash) = hash {
            object["metadata"]["labels"] = json!({"tidegate.dev/held": "web"});
            object["spec"]["selector"]["pod-template-hash"] = json!(hash);
        }
        self.create(Kind::Service, object).await
    }

    /// The route of a trial at 20 percent.
    pub(super) async fn route(&self) -> Result<Value> {
        let mut object = self.of_git(Kind::HttpRoute, "");
        object["metadata"]["labels"] = json!({"tidegate.dev/held": "web"});
        object["metadata"]["annotations"] =
            json!({"tidegate.dev/held": "web", "tidegate.dev/weight": "20"});
        object["spec"]["rules"][0]["backendRefs"] = json!([
            {"name": "web", "port": 80, "weight": 80},
            {"name": "web-canary", "port": 80, "weight": 20},
        ]);
        self.create(Kind::HttpRoute, object).await
    }

    /// A Rollout that nobody looks after.
    pub(super) async fn rollout(&self) -> Result<Value> {
        let object = json!({
            "apiVersion": Kind::Rollout.api_version(), "kind": Kind::Rollout.as_str(),
            "metadata": {"name": "web", "namespace": self.namespace},
            "spec": {"workloadRef": {"name": "web"}},
        });
        self.create(Kind::Rollout, object).await
    }

    async fn create(&self, kind: Kind, object: Value) -> Result<Value> {
        let object = serde_json::from_value(object)?;
        let api = self.api(Who::Person, kind);
        Ok(serde_json::to_value(api.create(&PostParams::default(), &object).await?)?)
    }

    /// Puts a whole object in the place of the stored one, as the engine.
    pub(super) async fn replace(&self, kind: Kind, mut object: Value) -> Result<Value> {
        let api = self.api(Who::Engine, kind);
        let live = api.get("web").await?;
        object["metadata"]["resourceVersion"] = json!(live.metadata.resource_version);
        let object = serde_json::from_value(object)?;
        Ok(serde_json::to_value(api.replace("web", &PostParams::default(), &object).await?)?)
    }

    pub(super) async fn apply(&self, who: Who, kind: Kind, object: &Value) -> Result<Value> {
        let mut object = object.clone();
        object["apiVersion"] = json!(kind.api_version());
        object["kind"] = json!(kind.as_str());
        let how = PatchParams::apply("engine").force();
        let stored = self.api(who, kind).patch("web", &how, &Patch::Apply(&object)).await?;
        Ok(serde_json::to_value(stored)?)
    }

    pub(super) async fn patch(
        &self,
        who: Who,
        kind: Kind,
        name: &str,
        patch: &Value,
    ) -> Result<Value> {
        let how = PatchParams::default();
        let stored = self.api(who, kind).patch(name, &how, &Patch::Merge(patch)).await?;
        Ok(serde_json::to_value(stored)?)
    }

    pub(super) async fn new_template(&self, who: Who, version: &str) -> Result<Value> {
        let spec = self.of_git(Kind::Deployment, version)["spec"]["template"].take();
        self.patch(who, Kind::Deployment, "web", &json!({"spec": {"template": spec}})).await
    }

    pub(super) async fn pause(&self, who: Who, paused: bool) -> Result<Value> {
        let patch = json!({"spec": {"paused": paused}});
        self.patch(who, Kind::Deployment, "web", &patch).await
    }

    pub(super) async fn scale(&self, who: Who, replicas: u32) -> Result<()> {
        let patch = json!({"spec": {"replicas": replicas}});
        let api = self.api(who, Kind::Deployment);
        api.patch_scale("web", &PatchParams::default(), &Patch::Merge(&patch)).await?;
        Ok(())
    }

    pub(super) async fn replicas(&self) -> Result<u32> {
        let live = self.api(Who::Person, Kind::Deployment).get("web").await?;
        Ok(read::replicas(&serde_json::to_value(live)?))
    }
}
