//! Clusters without Flux and Argo CD: where a template came from is noted by our own sync, or by
//! whoever deploys.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tidegate_testbed::world::{World, eventually};

use crate::{
    releases::{Before, it_was_reverted_once, nothing_more_happens, phases_until},
    runner::Story,
    shop::{Engine, SOON, Setting, Shop},
};

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::matrix("a_bad_release_by_our_own_sync_is_reverted", |world| {
            a_bad_release_is_reverted(world, "sync", Engine::Sync)
        }),
        Story::matrix("a_bad_release_by_a_pipeline_is_reverted", |world| {
            a_bad_release_is_reverted(world, "pipeline", Engine::Pipeline)
        }),
    ]
}

/// The trial knows its commit, and the revert arrives the way the release came.
async fn a_bad_release_is_reverted(
    world: &'static World,
    name: &str,
    engine: Engine,
) -> Result<()> {
    let shop = Shop::open_as(world, name, Setting { engine, ..Setting::default() }).await?;
    let before = Before::of(&shop).await?;
    let bad = shop.release("v2", 1.0 / 3.0).await?;
    let origin = eventually("a trial starts", SOON, async || {
        let state = shop.rollout().await?["status"]["state"].take();
        let origin = state["trial"]["origin"].clone();
        Ok((origin != Value::Null).then_some(origin))
    })
    .await?;
    println!("{}: {origin}", shop.namespace);
    ensure!(origin["Git"]["bad"] == bad.as_str(), "{origin}");
    let told = phases_until(&shop, 1, SOON * 2).await?;
    println!("{}: {}", shop.namespace, told.join(" -> "));
    it_was_reverted_once(&shop, &before, &bad).await?;
    let state = shop.rollout().await?["status"]["state"].take();
    let log = shop.repository.log().await?;
    let revert = log.first().context("an empty log")?;
    println!("{}: at {} after the revert {}", shop.namespace, state["last"], revert.sha);
    nothing_more_happens(&shop).await
}
