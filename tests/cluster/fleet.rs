//! What brakes a release that is not its own doing: a suspension, and other releases.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tidegate_testbed::world::{Daemon, World, apply, eventually};

use crate::{
    hands::canary_serves,
    many::list,
    people::tidegate,
    releases::{Before, it_was_reverted_once, phases_until},
    runner::Story,
    shop::{self, SOON, Shop, kubectl},
};

/// Rollouts that are released at once, one trial at a time.
const BOTH: [&str; 2] = ["api", "web"];
/// As many as are too many when they fail at once.
const THREE: [&str; 3] = ["api", "cart", "web"];

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::matrix(
            "what_is_suspended_stands_still_and_still_goes_home",
            what_is_suspended_stands_still_and_still_goes_home,
        ),
        Story::matrix("trials_of_a_class_go_one_after_another", one_after_another),
        Story::matrix(
            "three_that_fail_at_once_are_one_alert",
            three_that_fail_at_once_are_one_alert,
        ),
    ]
}

/// The namespace is suspended while v2 is on trial: it takes no step, nobody talks it into one, and
/// when it begins to fail it goes home and is reverted. v3 waits until the suspension ends.
async fn what_is_suspended_stands_still_and_still_goes_home(world: &'static World) -> Result<()> {
    let shop = Shop::open(world, "suspend").await?;
    let before = Before::of(&shop).await?;
    let bad = shop.release("v2", 0.0).await?;
    shop.wait_phase("Baking", SOON).await?;
    canary_serves(&shop, "v2").await?;
    annotate(&shop, "tidegate.dev/suspend=true").await?;
    says(&shop, &format!("suspended by Namespace {}: no step", shop.namespace)).await?;
    let (code, said) = tidegate(&shop, shop.world.kubeconfig(), &["promote", "web"]).await?;
    ensure!(code == 1 && said.contains("Suspended"), "{code}: {said}");
    let status = shop.rollout().await?["status"].take();
    ensure!(status["step"] == "1/3" && status["weight"] == 10, "{status}");
    canary_fails(&shop).await?;
    let told = phases_until(&shop, 1, SOON * 2).await?;
    println!("{}: {}", shop.namespace, told.join(" -> "));
    it_was_reverted_once(&shop, &before, &bad).await?;
    shop.release("v3", 0.0).await?;
    says(&shop, &format!("waits: suspended by Namespace {}", shop.namespace)).await?;
    ensure!(shop.rollout().await?["status"]["trial"].is_null(), "a trial began");
    annotate(&shop, "tidegate.dev/suspend-").await?;
    shop.wait_phase("Baking", SOON).await
}

/// A namespace is nobody's in Git: Flux does not take this back.
async fn annotate(shop: &Shop, annotation: &str) -> Result<()> {
    let all = ["annotate", "namespace", &shop.namespace, "--overwrite", annotation];
    kubectl(shop.world, &all).await.map(drop)
}

async fn says(shop: &Shop, words: &str) -> Result<()> {
    eventually(words, SOON, async || {
        let message = shop.rollout().await?["status"]["message"].take();
        ensure!(message.as_str().is_some_and(|message| message.contains(words)), "{message}");
        Ok(Some(()))
    })
    .await
}

/// From now on all requests of version 2 fail.
async fn canary_fails(shop: &Shop) -> Result<()> {
    let pods = shop.list("v1", "Pod").await?;
    let is_canary = |pod: &&Value| {
        let image = pod["spec"]["containers"][0]["image"].as_str();
        image.is_some_and(|image| image.ends_with(":v2"))
    };
    for pod in pods.iter().filter(is_canary) {
        let address = pod["status"]["podIP"].as_str().context("a pod without an address")?;
        let url = format!("http://{address}:8080/bed/knobs");
        let knobs = json!({"error_rate": 1.0}).to_string();
        let put = reqwest::Client::new().put(url).header("content-type", "application/json");
        put.body(knobs).send().await?.error_for_status()?;
    }
    Ok(())
}

/// Two Rollouts of a class that allows one trial at a time are released in the same second: both are
/// promoted, and never are both on trial.
async fn one_after_another(world: &'static World) -> Result<()> {
    let (namespace, _controller) = workers(world, "queue", &BOTH, 1).await?;
    let image = "web=registry.example.com/shop/app:v2";
    let set = ["--namespace", &namespace, "set", "image", "deployment", "--all", image];
    kubectl(world, &set).await?;
    let (mut waited, mut most) = (String::new(), 0);
    eventually("both are promoted", SOON, async || {
        let found = list(world, &namespace, "rollouts.tidegate.dev").await?;
        let on_trial = found.iter().filter(|found| found["status"]["trial"].is_string()).count();
        most = most.max(on_trial);
        let status = |found: &Value| found["status"]["message"].to_string();
        let messages: Vec<_> = found.iter().map(status).collect();
        if let Some(waits) = messages.iter().find(|message| message.contains("1 at a time")) {
            waited.clone_from(waits);
        }
        let promoted = found.iter().filter(|found| {
            found["status"]["state"]["last"]["outcome"] == "Promoted"
                && found["status"]["trial"].is_null()
        });
        ensure!(promoted.count() == BOTH.len(), "{}", messages.join(", "));
        Ok(Some(()))
    })
    .await?;
    println!("{namespace}: {waited}");
    ensure!(most == 1, "{most} were on trial at once");
    ensure!(waited.contains(&format!("{namespace}/")), "nobody was said to wait: {waited}");
    let left = list(world, &namespace, "rollouts.tidegate.dev").await?;
    let waits = |found: &Value| found["status"]["state"].get("waiting").is_some();
    ensure!(!left.iter().any(waits), "one still waits: {left:#?}");
    Ok(())
}

/// Three releases crash in the same second: people get one alert for all of them, beside what each
/// has to say.
async fn three_that_fail_at_once_are_one_alert(world: &'static World) -> Result<()> {
    let (namespace, _controller) = workers(world, "many-fail", &THREE, 3).await?;
    let crash = "CRASH_ON_START=true";
    let set = ["--namespace", &namespace, "set", "env", "deployment", "--all", crash];
    kubectl(world, &set).await?;
    eventually("all have failed", SOON, async || {
        let found = list(world, &namespace, "rollouts.tidegate.dev").await?;
        let failed = |found: &&Value| found["status"]["state"]["failed"]["at"].is_string();
        let count = found.iter().filter(failed).count();
        ensure!(count == THREE.len(), "{count} have failed: {found:#?}");
        Ok(Some(()))
    })
    .await?;
    let names: Vec<_> = THREE.iter().map(|name| format!("{namespace}/{name}")).collect();
    let fleet = eventually("people are told of all of them", SOON, async || {
        let told = world.receiver().notifications();
        let alerts = told.into_iter().flat_map(|notification| notification.payload.alerts);
        let mut fleet = alerts.filter(|alert| {
            let rollouts = alert.annotations.get("rollouts");
            rollouts.is_some_and(|rollouts| names.iter().all(|name| rollouts.contains(name)))
        });
        Ok(fleet.next())
    })
    .await?;
    println!("{namespace}: {:?} {:?}", fleet.labels, fleet.annotations);
    let labels = ["alertname", "severity"].map(|label| fleet.labels.get(label));
    let labels = labels.map(|label| label.map(String::as_str));
    ensure!(labels == [Some("TidegateFleetHold"), Some("critical")], "{:?}", fleet.labels);
    ensure!(!fleet.labels.contains_key("rollout"), "one for each: {:?}", fleet.labels);
    Ok(())
}

/// Workers with a Rollout each, seen and gated; of their class so many may be on trial at once.
async fn workers(world: &World, name: &str, names: &[&str], most: u32) -> Result<(String, Daemon)> {
    shop::installed(world).await?;
    let namespace = world.namespace(name).await?;
    let class = format!(
        "
apiVersion: tidegate.dev/v1alpha1
kind: RolloutClass
metadata: {{name: {namespace}}}
spec: {{maxConcurrentTrials: {most}}}
"
    );
    apply(&world.kube(), &class, None).await?;
    for name in names {
        apply(&world.kube(), &worker(name, &namespace), Some(&namespace)).await?;
    }
    let kubeconfig = shop::kubeconfig(world, &namespace, None).await?;
    let controller = shop::controller(world, &namespace, Some(&namespace), &kubeconfig, None)?;
    eventually("all are gated", SOON, async || {
        let found = list(world, &namespace, "deployments").await?;
        let label = |found: &Value| found["metadata"]["labels"]["tidegate.dev/rollout"].is_string();
        Ok((found.len() == names.len() && found.iter().all(label)).then_some(()))
    })
    .await?;
    Ok((namespace, controller))
}

/// Nothing is measured, so that a trial takes seconds.
fn worker(name: &str, class: &str) -> String {
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{{name: web, image: 'registry.example.com/shop/app:v1'}}]
---
apiVersion: tidegate.dev/v1alpha1
kind: Rollout
metadata: {{name: {name}}}
spec:
  workloadRef: {{name: {name}}}
  class: {class}
  services: []
  routes: []
  strategy: {{canary: {{steps: [{{weight: 50, bake: 3s}}, {{weight: 100, bake: 1s}}]}}}}
  limits: {{drain: 1s, scaleDownDelay: 1s}}
"
    )
}
