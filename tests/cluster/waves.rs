//! Releases that Argo CD brings, in waves: a settings map, then the application with its Rollout,
//! then a map that waits for it.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use tidegate_testbed::{
    gitops::{Application, ApplicationHealth, ApplicationStatus, ArgoOptions},
    world::{World, eventually},
};

use crate::{
    releases::{
        Before, GOOD, it_was_handed_over, it_was_reverted_once, nothing_more_happens, phases_until,
    },
    runner::Story,
    shop::{DEPLOYMENT, Engine, Follower, SOON, Setting, Shop, kubectl},
};

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::matrix("argocd_is_synced_to_the_revert", |world| {
            a_bad_release_in_waves_is_reverted(world, ArgoOptions::default())
        })
        .with_argocd(),
        Story::matrix("argocd_is_synced_to_the_revert_by_the_server", |world| {
            a_bad_release_in_waves_is_reverted(world, by_the_server())
        })
        .with_argocd(),
        Story::matrix("a_good_release_in_waves_is_handed_over", |world| {
            a_good_release_in_waves_is_handed_over(world, ArgoOptions::default())
        })
        .with_argocd(),
    ]
}

fn by_the_server() -> ArgoOptions {
    ArgoOptions { server_side_diff: true, ..ArgoOptions::default() }
}

/// A commit that comes in mid-trial brings the bad template again, as it stands on it. The bad one
/// alone is reverted, and Argo CD ends synced to the revert, with nothing left to do.
async fn a_bad_release_in_waves_is_reverted(
    world: &'static World,
    options: ArgoOptions,
) -> Result<()> {
    let shop = open(world, "waves-bad", options).await?;
    let application = application(&shop)?;
    let mut before = Before::of(&shop).await?;
    let bad = shop.release("v2", 1.0 / 3.0).await?;
    eventually(
        "the trial starts",
        SOON,
        async || Ok((shop.phase().await? != "Idle").then_some(())),
    )
    .await?;
    let path = "apps/web/service.yaml";
    let service = shop.repository.read(path).await?.context(path)?;
    let innocent = shop.commit("web: say more", path, &format!("{service}# One port.\n")).await?;
    before.commits += 1;
    let told = phases_until(&shop, 1, SOON * 2).await?;
    println!("{}: {}", shop.namespace, told.join(" -> "));
    let status = application.status().await?;
    println!("{}: the trial is over, {status:?}", shop.namespace);
    it_was_reverted_once(&shop, &before, &bad).await?;
    let log = shop.repository.log().await?;
    let revert = log.first().context("an empty log")?;
    ensure!(!revert.message.contains(&innocent), "{}", revert.message);
    let service = shop.repository.read(path).await?.context(path)?;
    ensure!(service.ends_with("# One port.\n"), "the innocent commit was reverted");
    is_at_rest(&shop, application, &revert.sha, "v1").await?;
    nothing_more_happens(&shop).await?;
    is_at_rest(&shop, application, &revert.sha, "v1").await
}

/// A held Deployment stops no wave: what comes behind it is there before the verdict.
async fn a_good_release_in_waves_is_handed_over(
    world: &'static World,
    options: ArgoOptions,
) -> Result<()> {
    let shop = open(world, "waves-good", options).await?;
    let application = application(&shop)?;
    let before = Before::of(&shop).await?;
    let start = shop.load.mark();
    let good = shop.release("v3", 0.0).await?;
    shop.wait_phase("Baking", SOON).await?;
    let status = application.status().await?;
    println!("{}: in trial, {status:?}", shop.namespace);
    is_at_rest(&shop, application, &good, "v3").await?;
    ensure!(shop.outcome(1).await?.is_none(), "it is over: {}", shop.rollout().await?);
    let told = phases_until(&shop, 1, GOOD).await?;
    println!("{}: {}", shop.namespace, told.join(" -> "));
    it_was_handed_over(&shop, &before).await?;
    is_at_rest(&shop, application, &good, "v3").await?;
    shop.load.snapshot().assert_none_failed(start, Instant::now())?;
    nothing_more_happens(&shop).await
}

/// A shop of Argo CD's, which judges held Deployments as `deploy/` has it.
async fn open(world: &'static World, name: &str, options: ArgoOptions) -> Result<Shop> {
    let patch = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/argocd/argocd-cm.yaml");
    let patch = ["patch", "configmap", "argocd-cm", "--namespace=argocd", "--patch-file", patch];
    kubectl(world, &patch).await?;
    let engine = Engine::ArgoCd(options);
    Shop::open_as(world, name, Setting { engine, edit: Some(in_waves), ..Setting::default() }).await
}

fn application(shop: &Shop) -> Result<&Application> {
    match &shop.follower {
        Follower::ArgoCd(application) => Ok(application),
        Follower::Flux(_) | Follower::Sync { .. } | Follower::Pipeline { .. } => {
            anyhow::bail!("another engine")
        }
    }
}

/// Synced, healthy, nothing under way, and all waves of one version.
async fn is_at_rest(
    shop: &Shop,
    application: &Application,
    sha: &str,
    version: &str,
) -> Result<()> {
    let at_rest = |status: &ApplicationStatus| {
        status.synced == Some(true)
            && status.compared.as_deref() == Some(sha)
            && status.phase.as_deref() == Some("Succeeded")
            && status.health == ApplicationHealth::Healthy
    };
    let status = application.wait("Argo CD is at rest", SOON * 2, at_rest).await?;
    println!("{}: {status:?}", shop.namespace);
    for name in ["early", "late"] {
        let found = map(shop, name).await?;
        ensure!(found.as_deref() == Some(version), "{name} is of {found:?}");
    }
    Ok(())
}

async fn map(shop: &Shop, name: &str) -> Result<Option<String>> {
    let found = shop.get("v1", "ConfigMap", name).await?;
    Ok(found.and_then(|map| Some(map["data"]["version"].as_str()?.to_owned())))
}

/// Everything is of the second of three waves; beside the Deployment come maps of its version.
fn in_waves(path: &str, text: &str) -> String {
    let wave = |wave| format!("annotations: {{argocd.argoproj.io/sync-wave: '{wave}'}}");
    let mut text =
        text.replace("metadata: {name: web, ", &format!("metadata: {{name: web, {}, ", wave(1)));
    let version = text.split("shop/app:").nth(1).and_then(|rest| rest.lines().next());
    if let Some(version) = version.map(str::to_owned).filter(|_| path == DEPLOYMENT) {
        for (name, wave) in [("early", wave(0)), ("late", wave(2))] {
            let map = format!(
                "
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: {name}, {wave}}}
data: {{version: {version}}}
"
            );
            text.push_str(&map);
        }
    }
    text
}
