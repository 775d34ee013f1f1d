//! Stories about Argo CD alone: a real forge, a real Argo CD, no product.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tidegate_testbed::{
    gitops::{ApplicationHealth, ApplicationStatus, ArgoOptions},
    world::{World, eventually},
};

/// Argo CD works in rounds of seconds; beside a build it needs more.
const SOON: Duration = Duration::from_mins(2);

/// A commit is applied in the order of its waves, drift is put right, and what is gone from Git
/// is gone from the cluster; compared by Argo CD itself.
pub(crate) async fn argocd_applies_waves_and_heals(world: &World) -> Result<()> {
    applies_and_heals(world, ArgoOptions::default()).await
}

/// The same, compared by the API server.
pub(crate) async fn argocd_compares_by_the_server(world: &World) -> Result<()> {
    applies_and_heals(world, ArgoOptions { server_side_diff: true, ..ArgoOptions::default() }).await
}

async fn applies_and_heals(world: &World, options: ArgoOptions) -> Result<()> {
    let namespace = world.namespace("argocd").await?;
    let repository = world.forge().repository(&namespace).await?;
    let (early, late) = (config_map("early", "1", "hello"), config_map("late", "2", "hello"));
    let files = [("shop/a.yaml", Some(late.as_str())), ("shop/b.yaml", Some(early.as_str()))];
    let first = repository.commit("Ada Lovelace", "Add two maps", &files).await?;
    let argocd = world.argocd()?;
    let shop = argocd.application(&namespace, &repository, "shop", &namespace, &options).await?;
    shop.wait_synced(&first, SOON).await?;
    let healthy = |status: &ApplicationStatus| status.health == ApplicationHealth::Healthy;
    let status = shop.wait("the shop is healthy", SOON, healthy).await?;
    ensure!(status.applied.as_deref() == Some(first.as_str()), "{status:?}");
    let maps: Api<ConfigMap> = Api::namespaced(world.kube(), &namespace);
    let (early, late) = (maps.get("early").await?, maps.get("late").await?);
    let order = (created(&early)?, created(&late)?);
    ensure!(order.0 < order.1, "the second wave did not wait: {order:?}");

    let drift = json!({ "data": { "text": "drift" } });
    maps.patch("early", &PatchParams::default(), &Patch::Merge(&drift)).await?;
    eventually("the drift is put right", SOON, async || {
        Ok((text_of(&maps.get("early").await?) == Some("hello")).then_some(()))
    })
    .await?;

    let louder = config_map("early", "1", "HELLO");
    let files = [("shop/a.yaml", None), ("shop/b.yaml", Some(louder.as_str()))];
    let second = repository.commit("Grace Hopper", "Only one, but louder", &files).await?;
    shop.refresh().await?;
    shop.wait_synced(&second, SOON).await?;
    ensure!(text_of(&maps.get("early").await?) == Some("HELLO"));
    ensure!(maps.get_opt("late").await?.is_none(), "the deleted object is still there");

    let before = maps.get("early").await?.metadata.resource_version;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = maps.get("early").await?.metadata.resource_version;
    ensure!(after == before, "it was written again");
    Ok(())
}

/// When an object was written first, as a number that grows: the version is etcd's revision, and
/// nothing has written to the object since it was created.
fn created(map: &ConfigMap) -> Result<u64> {
    let version = map.metadata.resource_version.as_deref().context("no resource version")?;
    version.parse().with_context(|| format!("the resource version {version}"))
}

fn text_of(map: &ConfigMap) -> Option<&str> {
    map.data.as_ref()?.get("text").map(String::as_str)
}

/// Without a namespace of its own: it goes where the Application says.
fn config_map(name: &str, wave: &str, text: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: ConfigMap
metadata:
  name: {name}
  annotations: {{argocd.argoproj.io/sync-wave: "{wave}"}}
data: {{text: {text}}}
"#
    )
}
