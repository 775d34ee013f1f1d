//! What only the gateway sees: pods that answer too late count no error themselves.

use anyhow::{Context as _, Result, ensure};
use tidegate_testbed::world::World;

use crate::{
    releases::{Before, it_was_reverted_once, nothing_more_happens, phases_until},
    runner::Story,
    shop::{DEPLOYMENT, SOON, Setting, Shop},
};

pub(crate) fn stories() -> Vec<Story> {
    vec![Story::matrix(
        "pods_that_answer_too_late_are_stopped",
        pods_that_answer_too_late_are_stopped,
    )]
}

/// Version 2 is ready, counts no error and needs four seconds for an answer; the gateway waits for
/// one. The template that ships for Contour finds it.
async fn pods_that_answer_too_late_are_stopped(world: &'static World) -> Result<()> {
    let setting = Setting { edit: Some(judged_at_the_gateway), ..Setting::default() };
    let shop = Shop::open_as(world, "late", setting).await?;
    let before = Before::of(&shop).await?;
    let start = shop.load.mark();
    let text = shop.repository.read(DEPLOYMENT).await?.context(DEPLOYMENT)?;
    let text = text
        .replace("app:v1", "app:v2")
        .replace("env: [", "env: [{name: LATENCY_MEDIAN_MS, value: '4000'}, ");
    let late = shop.commit("web: release v2", DEPLOYMENT, &text).await?;
    let told = phases_until(&shop, 1, SOON * 3).await?;
    println!("{}: {}", shop.namespace, told.join(" -> "));
    let last = shop.rollout().await?["status"]["state"]["last"].take();
    println!("{}: {last}", shop.namespace);
    ensure!(last.to_string().contains("gateway-errors"), "stopped for another reason: {last}");
    let record = shop.load.snapshot().since(start);
    println!("{}: {} requests failed of {}", shop.namespace, record.failed().len(), record.len());
    it_was_reverted_once(&shop, &before, &late).await?;
    nothing_more_happens(&shop).await
}

fn judged_at_the_gateway(path: &str, text: &str) -> String {
    match path {
        "apps/web/route.yaml" => {
            text.replace("rules: [{backendRefs", "rules: [{timeouts: {request: 1s}, backendRefs")
        }
        "apps/web/rollout.yaml" => text.replace(
            "templates: [{name: web}]",
            "templates: [{name: web}, {name: contour-errors}]",
        ),
        _ => text.to_owned(),
    }
}
