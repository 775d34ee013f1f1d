//! The servers of the world are the real ones, and can fail as real ones do.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod, ServiceAccount},
};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, ListParams, PostParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};
use tidegate_testbed::world::{Server, World, apply, eventually, ports};

const SOON: Duration = Duration::from_secs(30);

fn object<T: serde::de::DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).context("read an object of this test")
}

fn refused<T: std::fmt::Debug>(answer: kube::Result<T>, code: u16) -> Result<String> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == code => Ok(status.message),
        other => anyhow::bail!("expected {code}, got {other:?}"),
    }
}

/// Rights of an account in one namespace: ConfigMaps, and nothing of their owners.
fn account_with_rights(namespace: &str) -> String {
    format!(
        "
apiVersion: v1
kind: ServiceAccount
metadata: {{name: limited, namespace: {namespace}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: limited, namespace: {namespace}}}
rules:
- {{apiGroups: [''], resources: [configmaps], verbs: [get, list, create]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: limited, namespace: {namespace}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: limited}}
subjects: [{{kind: ServiceAccount, name: limited, namespace: {namespace}}}]
"
    )
}

async fn limited(world: &World, namespace: &str) -> Result<Client> {
    apply(&world.kube(), &account_with_rights(namespace), Some(namespace)).await?;
    world.account(namespace, "limited").await?.client().await
}

pub(crate) async fn a_token_has_the_rights_of_its_account_only(
    world: &'static World,
) -> Result<()> {
    let namespace = world.namespace("account").await?;
    let client = limited(world, &namespace).await?;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    maps.list(&ListParams::default()).await.context("list what is allowed")?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    refused(pods.list(&ListParams::default()).await, 403)?;
    let elsewhere: Api<ConfigMap> = Api::namespaced(client, "default");
    refused(elsewhere.list(&ListParams::default()).await, 403)?;
    // The same identity as a file, for programs that want one.
    let file = world.kubeconfig_for(&namespace, "limited").await?;
    let kubectl = world.program(tidegate_testbed::components::Program::Kubectl);
    let output = tokio::process::Command::new(kubectl)
        .arg("--kubeconfig")
        .arg(file)
        .args(["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"])
        .output()
        .await?;
    let name = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(name == format!("system:serviceaccount:{namespace}:limited"), "{name:?} {output:?}");
    Ok(())
}

/// `OwnerReferencesPermissionEnforcement`: to block an owner's deletion needs rights on the owner.
pub(crate) async fn owner_references_are_guarded(world: &'static World) -> Result<()> {
    let namespace = world.namespace("owner").await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(world.kube(), &namespace);
    let owner = accounts.get("default").await?.metadata.uid.context("the account has no uid")?;
    let map = |blocks: bool| -> Result<ConfigMap> {
        object(json!({"metadata": {"name": format!("owned-{blocks}"), "ownerReferences": [{
            "apiVersion": "v1", "kind": "ServiceAccount", "name": "default", "uid": owner,
            "blockOwnerDeletion": blocks,
        }]}}))
    };
    let maps: Api<ConfigMap> = Api::namespaced(limited(world, &namespace).await?, &namespace);
    let message = refused(maps.create(&PostParams::default(), &map(true)?).await, 403)?;
    ensure!(message.contains("blockOwnerDeletion"), "{message}");
    maps.create(&PostParams::default(), &map(false)?).await.context("one that does not block")?;
    Ok(())
}

/// Controllers answer when a Deployment gets its ReplicaSet.
async fn controllers_work(world: &World) -> Result<()> {
    let namespace = world.namespace("controllers").await?;
    let deployments: Api<Deployment> = Api::namespaced(world.kube(), &namespace);
    let labels = json!({"app": "nothing"});
    let deployment = object(json!({
        "metadata": {"name": "nothing"},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "app", "image": "none"}]},
        }},
    }))?;
    deployments.create(&PostParams::default(), &deployment).await?;
    eventually("a ReplicaSet", SOON, async || {
        let status = deployments.get("nothing").await?.status.unwrap_or_default();
        Ok((status.observed_generation == Some(1)).then_some(()))
    })
    .await
}

async fn prometheus_answers(_: &World) -> Result<()> {
    eventually("the target envoy is up in Prometheus", SOON, async || {
        let answer = ask_prometheus("up").await?;
        let results = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        let up = |result: &Value| result["metric"]["job"] == "envoy" && result["value"][1] == "1";
        Ok(results.iter().any(up).then_some(()))
    })
    .await
}

/// The answer of Prometheus to an instant query.
pub(crate) async fn ask_prometheus(query: &str) -> Result<Value> {
    let mut url = reqwest::Url::parse(&format!("http://127.0.0.1:{}", ports::PROMETHEUS))?;
    url.set_path("/api/v1/query");
    url.query_pairs_mut().append_pair("query", query);
    let answer = reqwest::get(url).await?.error_for_status()?;
    Ok(answer.json().await?)
}

pub(crate) async fn the_world_works(world: &'static World) -> Result<()> {
    futures::try_join!(controllers_work(world), prometheus_answers(world)).map(drop)
}

async fn dies_and_returns(server: &Server, world: &World) -> Result<()> {
    let before = server.pid();
    server.kill();
    server.start().await.with_context(|| format!("start {} again", server.name()))?;
    ensure!(server.pid() != before, "{} was not killed", server.name());
    futures::try_join!(controllers_work(world), prometheus_answers(world))
        .with_context(|| format!("after the death of {}", server.name()))
        .map(drop)
}

pub(crate) async fn killed_servers_come_back(world: &'static World) -> Result<()> {
    let servers = [
        world.api_server(),
        world.etcd(),
        world.controller_manager(),
        world.prometheus(),
        world.alertmanager(),
        world.envoy(),
        world.contour(),
    ];
    for server in servers {
        dies_and_returns(server, world).await?;
    }
    Ok(())
}

const POLICY: &str = "
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: marks}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}
  failurePolicy: Fail
  reinvocationPolicy: Never
  mutations:
  - patchType: JSONPatch
    jsonPatch: {expression: '[JSONPatch{op: \"add\", path: \"/data\", value: {\"marked\": \"yes\"}}]'}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: marks}
spec:
  policyName: marks
  matchResources:
    namespaceSelector: {matchLabels: {marked: 'yes'}}
";

pub(crate) async fn the_policy_api_can_be_off(world: &'static World) -> Result<()> {
    let kube = world.kube();
    let namespace = world.namespace("policy").await?;
    let label = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}, labels: {{marked: 'yes'}}}}\n"
    );
    apply(&kube, &label, None).await?;
    apply(&kube, POLICY, None).await.context("create a policy where the API is on")?;
    let maps: Api<ConfigMap> = Api::namespaced(kube.clone(), &namespace);
    let mut number = 0;
    let mut marked = async || {
        number += 1;
        let map = object(json!({"metadata": {"name": format!("map-{number}")}}))?;
        let map: ConfigMap = maps.create(&PostParams::default(), &map).await?;
        anyhow::Ok(map.data.is_some())
    };
    eventually("the policy is in force", SOON, async || Ok(marked().await?.then_some(()))).await?;

    world.serve_policy_api(false).await?;
    let kind =
        GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", "MutatingAdmissionPolicy");
    let policies: Api<DynamicObject> = Api::all_with(kube.clone(), &ApiResource::from_gvk(&kind));
    refused(policies.list(&ListParams::default()).await, 404)?;
    ensure!(apply(&kube, POLICY, None).await.is_err(), "a policy was taken");
    ensure!(!marked().await?, "a policy is in force that nobody can see");

    world.serve_policy_api(true).await?;
    eventually("the policy is in force again", SOON, async || Ok(marked().await?.then_some(())))
        .await?;
    policies.delete("marks", &kube::api::DeleteParams::default()).await?;
    Ok(())
}
