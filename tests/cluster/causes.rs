//! Releases that fail in ways of their own, each named where people look; and what the cluster is
//! to blame for, which reverts nothing.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tidegate_testbed::world::World;

use crate::{
    releases::{Before, everything_is_as_in_git, people_are_told, phases_until},
    runner::Story,
    shop::{DEPLOYMENT, ROLLOUT, SOON, Setting, Shop},
    strategies::strategy,
};

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::smoke("a_release_that_crashes_is_reverted", |world| {
            a_broken_release_is_reverted(world, "crash", crashes, "BrokenPods: web-")
        }),
        Story::matrix("a_release_that_never_gets_ready_is_reverted", |world| {
            a_broken_release_is_reverted(world, "late", never_ready, "BrokenPods: web-")
        }),
        Story::matrix("a_release_that_is_slow_is_reverted", |world| {
            a_broken_release_is_reverted(world, "slow", slow, "BadArtifact: latency: canary ")
        }),
        Story::matrix("a_release_that_finds_no_node_is_held", |world| {
            a_release_without_a_place_is_held(world, "no-node", no_node)
        }),
        Story::matrix("a_release_that_the_registry_keeps_back_is_held", |world| {
            a_release_without_a_place_is_held(world, "registry", registry_busy)
        }),
    ]
}

/// No request fails, and status, Trial and the revert's message name the cause.
async fn a_broken_release_is_reverted(
    world: &'static World,
    name: &str,
    edit: fn(&str, &str) -> String,
    why: &str,
) -> Result<()> {
    let shop = Shop::open_as(world, name, Setting::edited(edit)).await?;
    let (before, start) = (Before::of(&shop).await?, shop.load.mark());
    let bad = shop.release("v2", 0.0).await?;
    let told = phases_until(&shop, 1, SOON * 2).await?;
    println!("{}: {}: {}", shop.namespace, told.join(" -> "), cause(&shop).await?);
    it_was_reverted_for(&shop, &before, &bad, why).await?;
    everything_is_as_in_git(&shop, "v1").await?;
    shop.load.snapshot().assert_none_failed(start, Instant::now())
}

/// The commit is innocent: it is held, people are told, and Git stays as it is.
async fn a_release_without_a_place_is_held(
    world: &'static World,
    name: &str,
    edit: fn(&str, &str) -> String,
) -> Result<()> {
    let shop = Shop::open_as(world, name, Setting::edited(edit)).await?;
    let (before, start) = (Before::of(&shop).await?, shop.load.mark());
    shop.release("v2", 0.0).await?;
    shop.wait_phase("Aborted", SOON).await?;
    let status = shop.rollout().await?["status"].take();
    println!("{}: {}", shop.namespace, status["message"]);
    let stage = &status["state"]["trial"]["stage"]["Aborted"];
    ensure!(stage["cause"].get("Environment").is_some(), "{status}");
    let said = stage["cause"]["Environment"]["message"].as_str().unwrap_or("nothing");
    ensure!(status["message"].as_str().is_some_and(|told| told.contains(said)), "{status}");
    people_are_told(&shop).await?;
    ensure!(shop.repository.log().await?.len() == before.commits + 1, "somebody wrote to Git");
    let web = shop.get("apps/v1", "Deployment", "web").await?.context("no Deployment")?;
    ensure!(web["spec"]["paused"] == true, "v2 is not held");
    ensure!(shop.phase().await? == "Aborted", "it went on");
    shop.load.snapshot().assert_none_failed(start, Instant::now())
}

/// The one revert there is says why; so do status and Trial.
pub(crate) async fn it_was_reverted_for(
    shop: &Shop,
    before: &Before,
    bad: &str,
    why: &str,
) -> Result<()> {
    ensure!(shop.outcome(1).await?.as_deref() == Some("Aborted"), "{}", shop.rollout().await?);
    let cause = cause(shop).await?;
    ensure!(cause.starts_with(why), "expected {why}, found {cause}");
    let (_, said) = cause.split_once(": ").context("a cause without words")?;
    let log = shop.repository.log().await?;
    ensure!(log.len() == before.commits + 2, "{log:#?}");
    let revert = log.first().context("an empty log")?;
    ensure!(revert.message.contains(&format!("Tidegate-Reverts: {bad}")), "{revert:#?}");
    let words: Vec<_> = revert.message.split_whitespace().collect();
    let said_words: Vec<_> = said.split_whitespace().collect();
    ensure!(words.join(" ").contains(&said_words.join(" ")), "{said}: {revert:#?}");
    tidegate_testbed::world::eventually("status and Trial name the cause", SOON, async || {
        let message = shop.rollout().await?["status"]["message"].to_string();
        let trials = shop.list("tidegate.dev/v1alpha1", "Trial").await?;
        let trial = trials.first().context("there is no Trial")?;
        ensure!(trial["status"]["outcome"] == "Aborted", "{}", trial["status"]);
        ensure!(is_said(&trial["status"]["notes"], said), "{said}: {}", trial["status"]);
        ensure!(is_said(&Value::String(message.clone()), said), "{said}: {message}");
        Ok(Some(()))
    })
    .await
}

/// JSON texts have quotes of their own escaped.
fn is_said(value: &Value, said: &str) -> bool {
    match value {
        Value::String(text) => text.replace("\\\"", "\"").contains(said),
        Value::Array(all) => all.iter().any(|one| is_said(one, said)),
        Value::Object(all) => all.values().any(|one| is_said(one, said)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Why the last trial was aborted, as `Cause: message`.
pub(crate) async fn cause(shop: &Shop) -> Result<String> {
    let last = shop.rollout().await?["status"]["state"]["last"].take();
    let cause = last["outcome"]["Aborted"]["cause"].as_object().context("no cause with words")?;
    let (kind, words) = cause.iter().next().context("an empty cause")?;
    Ok(format!("{kind}: {}", words["message"].as_str().unwrap_or_default()))
}

/// Version 2 exits as soon as it starts.
fn crashes(path: &str, text: &str) -> String {
    broken(path, text, "env: [", "env: [{name: CRASH_ON_START, value: 'true'}, ")
}

/// Version 2 never answers its probe.
fn never_ready(path: &str, text: &str) -> String {
    let text = text.replace("limits: {", "limits: {ready: 15s, ");
    broken(path, &text, "env: [", "env: [{name: READY, value: 'false'}, ")
}

/// Version 2 answers well, and late.
fn slow(path: &str, text: &str) -> String {
    let text = broken(path, text, "env: [", "env: [{name: LATENCY_MEDIAN_MS, value: '400'}, ");
    if path != ROLLOUT {
        return text;
    }
    let steps = "[{weight: 10, bake: 5s}, {weight: 100, bake: 5s}]";
    let text = strategy(path, &text, &format!("  strategy: {{canary: {{steps: {steps}}}}}\n"));
    let latency = "
    - name: latency
      latency: {histogram: http_request_duration_seconds, slo: 250ms}
---";
    text.replacen("\n---", latency, 1)
}

/// No node is what version 2 wants.
fn no_node(path: &str, text: &str) -> String {
    let text = text.replace("limits: {", "limits: {ready: 10s, ");
    broken(path, &text, "      containers:", "      nodeSelector: {disk: gone}\n      containers:")
}

/// The registry of version 2 limits its rate.
fn registry_busy(path: &str, text: &str) -> String {
    let text = text.replace("limits: {", "limits: {ready: 10s, ");
    broken(path, &text, "registry.example.com/shop/app", "busy/app")
}

fn broken(path: &str, text: &str, what: &str, with: &str) -> String {
    if path == DEPLOYMENT && text.contains(":v2") {
        text.replace(what, with)
    } else {
        text.to_owned()
    }
}
