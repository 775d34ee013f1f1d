//! What is around a trial: a restart, what stable's pods need, and what Argo CD makes of a Deployment
//! that is held.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tidegate::kubernetes::{CanaryService, Cluster, Target};
use tidegate::observe;
use tidegate_testbed::{
    components::Program,
    world::{World, apply, eventually},
};

use crate::{
    releases::{everything_is_as_in_git, nothing_more_happens},
    runner::Story,
    shop::{SOON, Shop},
};

const APPS: &str = "apps/v1";

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::matrix("a_restart_is_a_rolling_update", a_restart_is_a_rolling_update),
        Story::matrix(
            "what_stable_needs_is_looked_for_by_name",
            what_stable_needs_is_looked_for_by_name,
        ),
        Story::matrix("argo_cd_waits_for_no_held_template", argo_cd_waits_for_no_held_template)
            .with_argocd(),
    ]
}

/// `kubectl rollout restart`: new pods of the same version, at once, and no trial.
pub(crate) async fn a_restart_is_a_rolling_update(world: &'static World) -> Result<()> {
    let shop = Shop::open(world, "restart").await?;
    // It takes back what was written under kubectl's name.
    shop.flux.suspend().await?;
    let before = pods(&shop).await?;
    let start = shop.load.mark();
    shop.kubectl(&["rollout", "restart", "deployment/web"]).await?;
    eventually("three new pods serve", SOON, async || {
        let after = pods(&shop).await?;
        ensure!(after.len() == 3 && after.is_disjoint(&before), "{after:?}");
        Ok(Some(()))
    })
    .await?;
    let state = shop.rollout().await?["status"]["state"].take();
    ensure!(state["trial"].is_null() && state["trials"].as_u64().unwrap_or(0) == 0, "{state}");
    everything_is_as_in_git(&shop, "v1").await?;
    shop.load.snapshot().assert_none_failed(start, Instant::now())?;
    nothing_more_happens(&shop).await
}

async fn pods(shop: &Shop) -> Result<BTreeSet<String>> {
    let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    Ok(shop.list("v1", "Pod").await?.iter().map(name).collect())
}

/// With the rights that `deploy/` gives, and of each `ConfigMap` no more than its name.
pub(crate) async fn what_stable_needs_is_looked_for_by_name(world: &'static World) -> Result<()> {
    let shop = Shop::open(world, "needs").await?;
    let namespace = &shop.namespace;
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web-1}\ndata: {a: b}\n";
    apply(&world.kube(), map, Some(namespace)).await?;
    let account = world.kubeconfig_for("tidegate-system", "tidegate").await?;
    let file = kube::config::Kubeconfig::read_from(account)?;
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(file, &options).await?;
    let cluster = Cluster::connect(config)?;
    let target = Target {
        namespace: namespace.clone(),
        rollout: "web".to_owned(),
        uid: String::new(),
        workload: "web".to_owned(),
        services: Vec::new(),
        canary_service: CanaryService { name: "web-canary".to_owned(), ours: true },
        routes: Vec::new(),
    };
    let needed = BTreeSet::from(["web-1".to_owned(), "web-0".to_owned()]);
    let gone = observe::missing_config_maps(&cluster, &target, &needed).await?;
    ensure!(gone == ["ConfigMap web-0"], "{gone:?}");
    Ok(())
}

/// The health check of `deploy/argocd/argocd-cm.yaml`, by Argo CD's own program.
pub(crate) async fn argo_cd_waits_for_no_held_template(world: &'static World) -> Result<()> {
    let (ours, held) = ("tidegate.dev/rollout", "tidegate.dev/phase");
    let cases = [
        ("on-trial", json!({ours: "web"}), true, 0, "Healthy"),
        ("held", json!({ours: "web", held: "Reverting"}), true, 0, "Degraded"),
        ("written-back", json!({ours: "web", held: "Reverting"}), false, 3, "Healthy"),
        ("paused-by-a-person", json!({"app": "web"}), true, 3, "Suspended"),
        ("at-rest", json!({"app": "web"}), false, 3, "Healthy"),
        ("rolling-out", json!({"app": "web"}), false, 1, "Progressing"),
    ];
    let settings = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/argocd/argocd-cm.yaml");
    for (name, labels, paused, updated, expected) in cases {
        let deployment = json!({
            "apiVersion": APPS, "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop", "generation": 2, "labels": labels},
            "spec": {"replicas": 3, "paused": paused},
            "status": {"observedGeneration": 2, "replicas": 3, "updatedReplicas": updated,
                "availableReplicas": 3},
        });
        let file = world.folder().join(format!("health-{name}.yaml"));
        tokio::fs::write(&file, deployment.to_string()).await?;
        let output = tokio::process::Command::new(world.program(Program::ArgoCd))
            .env("ARGOCD_BINARY_NAME", "argocd")
            .args(["admin", "settings", "resource-overrides", "health"])
            .arg(&file)
            .args(["--argocd-cm-path", settings])
            .output()
            .await?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let status = said.lines().find_map(|line| line.strip_prefix("STATUS: "));
        let status =
            status.with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        ensure!(status.trim() == expected, "{name}: {said}");
    }
    Ok(())
}
