//! Clusters without room for two full sets: the Deployment takes the tested pods early and rolls the
//! rest out. The observer sees to it that there are never more pods than in any rolling update.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tidegate_testbed::{
    load::Request,
    world::{World, apply, eventually},
};

use crate::{
    causes::it_was_reverted_for,
    hands::canary_serves,
    releases::{
        Before, GOOD, everything_is_as_in_git, it_was_handed_over, nothing_more_happens,
        phases_until,
    },
    runner::Story,
    shop::{DEPLOYMENT, ROLLOUT, SOON, Setting, Shop},
    strategies::strategy,
};

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::matrix("a_good_release_surges", a_good_release_surges),
        Story::matrix("harm_in_a_surge_is_rolled_back", |world| {
            harm_in_a_surge_is_rolled_back(world, "surge-bad", false)
        }),
        Story::matrix("harm_in_a_surge_is_rolled_back_after_a_kill", |world| {
            harm_in_a_surge_is_rolled_back(world, "surge-kill", true)
        }),
    ]
}

/// Three pods and one more: the one that was tested stays and is joined by two others, no request is
/// lost, and there were never five pods.
async fn a_good_release_surges(world: &'static World) -> Result<()> {
    let shop = Shop::open_as(world, "surge", Setting::edited(surge)).await?;
    a_last_step_is_refused(&shop).await?;
    let before = Before::of(&shop).await?;
    let start = shop.load.mark();
    shop.release("v3", 0.0).await?;
    canary_serves(&shop, "v3").await?;
    let tested: BTreeSet<_> = pods_of(&shop, "v3").await?.into_keys().collect();
    ensure!(tested.len() == 1, "tested: {tested:?}");
    let told = phases_until(&shop, 1, GOOD).await?;
    println!("{}: {}", shop.namespace, told.join(" -> "));
    it_was_handed_over(&shop, &before).await?;
    let serving: BTreeSet<_> = pods_of(&shop, "v3").await?.into_keys().collect();
    ensure!(tested.is_subset(&serving), "tested {tested:?}, serving {serving:?}");
    shop.load.snapshot().assert_none_failed(start, Instant::now())?;
    nothing_more_happens(&shop).await
}

/// It turns bad when the Deployment rolls it out already: the Deployment rolls back, Git is put
/// right, and nothing but its own answers was bad. With a kill, another controller does that.
async fn harm_in_a_surge_is_rolled_back(
    world: &'static World,
    name: &str,
    kill: bool,
) -> Result<()> {
    let mut shop = Shop::open_as(world, name, Setting::edited(slow_surge)).await?;
    let before = Before::of(&shop).await?;
    let start = shop.load.mark();
    let bad = shop.release("v2", 0.0).await?;
    eventually("the rest rolls out", GOOD, async || {
        let status = shop.rollout().await?["status"].take();
        let pods = pods_of(&shop, "v2").await?;
        let placed = pods.values().filter(|address| !address.is_empty()).count();
        ensure!(placed >= 2, "{pods:?}: {} {}", status["phase"], status["message"]);
        Ok(Some(()))
    })
    .await?;
    let left = turn_bad(&shop, "v2").await?;
    if kill {
        shop.kill_controller()?;
    }
    let told = phases_until(&shop, 1, SOON * 2).await?;
    println!("{}: {} pods turned bad: {}", shop.namespace, left, told.join(" -> "));
    it_was_reverted_for(&shop, &before, &bad, "BadArtifact: errors: canary ").await?;
    everything_is_as_in_git(&shop, "v1").await?;
    eventually("three pods of v1 serve", SOON, async || {
        let (old, new) = (pods_of(&shop, "v1").await?, pods_of(&shop, "v2").await?);
        ensure!(new.is_empty(), "v2 is left: {new:?}");
        Ok((old.len() == 3).then_some(()))
    })
    .await?;
    let since = shop.load.snapshot().since(start);
    println!("{}: {} responses were bad of {}", shop.namespace, since.failed().len(), since.len());
    let judged = |request: &&Request| request.version.as_deref() == Some("v2");
    ensure!(since.failed().iter().all(judged), "lost: {:?}", since.by_outcome());
    nothing_more_happens(&shop).await
}

/// The definition itself says no.
async fn a_last_step_is_refused(shop: &Shop) -> Result<()> {
    let text = shop.repository.read(ROLLOUT).await?.context(ROLLOUT)?;
    let text = text.replace("weight: 25", "weight: 100");
    let said = match apply(&shop.world.kube(), &text, None).await {
        Ok(()) => anyhow::bail!("weight 100 by Surge was taken"),
        Err(error) => format!("{error:#}"),
    };
    ensure!(said.contains("promotion Surge has neither"), "{said}");
    Ok(())
}

/// Pods of a version that are not on their way out, each with its address.
async fn pods_of(shop: &Shop, version: &str) -> Result<BTreeMap<String, String>> {
    let pods = shop.list("v1", "Pod").await?;
    let is_its = |pod: &&Value| {
        let image = pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
        image.ends_with(&format!(":{version}")) && pod["metadata"]["deletionTimestamp"].is_null()
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let named = |pod: &Value| (text(&pod["metadata"]["name"]), text(&pod["status"]["podIP"]));
    Ok(pods.iter().filter(is_its).map(named).collect())
}

/// From now on every other request to the pods of a version fails; says how many pods that are.
async fn turn_bad(shop: &Shop, version: &str) -> Result<usize> {
    let mut turned = 0;
    for address in pods_of(shop, version).await?.into_values().filter(|it| !it.is_empty()) {
        let url = format!("http://{address}:8080/bed/knobs");
        let asked = reqwest::Client::new().put(url).json(&json!({"error_rate": 0.5}));
        // One that does not listen yet stays good.
        let answer = asked.timeout(Duration::from_secs(2)).send().await;
        turned += usize::from(answer.is_ok_and(|answer| answer.status().is_success()));
    }
    ensure!(turned > 0, "no pod of {version} turned bad");
    Ok(turned)
}

/// A team whose nodes have room for one pod more than it has.
fn surge(path: &str, text: &str) -> String {
    let steps = "[{weight: 10, bake: 5s}, {weight: 25, bake: 5s}]";
    let text = strategy(
        path,
        text,
        &format!("  promotion: Surge\n  strategy: {{canary: {{steps: {steps}}}}}\n"),
    );
    if path != DEPLOYMENT {
        return text;
    }
    let rolling = "{rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}";
    text.replace("  replicas: 3\n", &format!("  replicas: 3\n  strategy: {rolling}\n"))
}

/// The same, and each pod takes its time to be ready: a rolling update that can be met in the middle.
fn slow_surge(path: &str, text: &str) -> String {
    let text = surge(path, text).replace("scaleDownDelay: 5s", "scaleDownDelay: 20s");
    if path == DEPLOYMENT && text.contains(":v2") {
        return text.replace("env: [", "env: [{name: READY_DELAY_MS, value: '6000'}, ");
    }
    text
}
