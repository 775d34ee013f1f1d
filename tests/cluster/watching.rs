//! Mode Observe: what a trial would have come to, and nothing is touched.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tidegate_testbed::world::{World, eventually};

use crate::{
    releases::{Before, nothing_happens_for},
    runner::Story,
    shop::{ROLLOUT, SOON, Setting, Shop},
};

const APPS: &str = "apps/v1";
const GATEWAY: &str = "gateway.networking.k8s.io/v1";

pub(crate) fn stories() -> Vec<Story> {
    vec![Story::smoke("a_bad_release_is_only_watched", a_bad_release_is_only_watched)]
}

/// The Deployment rolls as it does without us; status, Trial and an Event say what is wrong with
/// the release, and which revert there would be. Nobody is woken up.
async fn a_bad_release_is_only_watched(world: &'static World) -> Result<()> {
    let shop = Shop::open_as(world, "observe", Setting::edited(observe)).await?;
    let (before, untouched) = (Before::of(&shop).await?, untouched(&shop).await?);
    let good = shop.repository.head().await?;
    let bad = shop.release("v2", 1.0 / 3.0).await?;
    let told = eventually("it is told", SOON, async || {
        let status = shop.rollout().await?["status"].take();
        ensure!(status["wouldRevert"].is_object(), "{} {}", status["phase"], status["message"]);
        Ok(Some(status))
    })
    .await?;
    let paths = ["apps/web"];
    let revert = json!({"good": good, "bad": bad, "paths": paths});
    ensure!(told["wouldRevert"] == revert, "{}", told["wouldRevert"]);
    println!("{}: {}", shop.namespace, told["message"]);
    ensure!(is_said(&told["message"], "would have been aborted: errors: canary "), "{told}");
    it_rolled_out(&shop).await?;
    eventually("Trial and Event say it", SOON, async || {
        let trials = shop.list("tidegate.dev/v1alpha1", "Trial").await?;
        let status = &trials.first().context("there is no Trial")?["status"];
        ensure!(status["outcome"] == "Watched", "{status}");
        ensure!(is_said(&status["message"], "would have been aborted: errors"), "{status}");
        let events = shop.kubectl(&["get", "events", "-o", "wide"]).await?;
        Ok(events.contains("WouldAbort").then_some(()))
    })
    .await?;
    nothing_happens_for(&shop, Duration::from_secs(8)).await?;
    ensure!(self::untouched(&shop).await? == untouched, "Service or route were written");
    nothing_is_ours(&shop).await?;
    ensure!(shop.repository.log().await?.len() == before.commits + 1, "somebody wrote to Git");
    ensure!(shop.firing("TidegateAborted") == 0, "somebody was woken up");
    let status = shop.rollout().await?["status"].take();
    ensure!(status["wouldRevert"] == revert, "it is not told any more: {status}");
    ensure!(is_said(&status["message"], "would have been aborted: errors: canary "), "{status}");
    Ok(())
}

fn is_said(value: &Value, words: &str) -> bool {
    value.as_str().is_some_and(|text| text.contains(words))
}

fn observe(path: &str, text: &str) -> String {
    if path == ROLLOUT {
        text.replace("onFailure: Revert", "mode: Observe\n  onFailure: Revert")
    } else {
        text.to_owned()
    }
}

/// Objects of the traffic, to the last field.
async fn untouched(shop: &Shop) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    for (api, kind) in [("v1", "Service"), (GATEWAY, "HTTPRoute")] {
        all.extend(shop.list(api, kind).await?);
    }
    Ok(all)
}

/// The Deployment was never paused, and all of its pods are of version 2.
async fn it_rolled_out(shop: &Shop) -> Result<()> {
    eventually("v2 serves alone", SOON, async || {
        let web = shop.get(APPS, "Deployment", "web").await?.context("no Deployment")?;
        let status = &web["status"];
        // One write of the template, and none of ours.
        ensure!(web["metadata"]["generation"] == 2, "{}", web["metadata"]["generation"]);
        ensure!(status["updatedReplicas"] == 3 && status["replicas"] == 3, "{status}");
        Ok((status["availableReplicas"] == 3).then_some(()))
    })
    .await
}

/// Neither fields nor labels, nor objects but the record.
async fn nothing_is_ours(shop: &Shop) -> Result<()> {
    for (api, kind) in
        [(APPS, "Deployment"), (APPS, "ReplicaSet"), ("v1", "Service"), (GATEWAY, "HTTPRoute")]
    {
        for object in shop.list(api, kind).await? {
            let meta = &object["metadata"];
            let mut managers = meta["managedFields"].as_array().into_iter().flatten();
            ensure!(
                !managers.any(|entry| entry["manager"] == "tidegate"),
                "fields of ours: {meta}"
            );
            let ours = |key: &&String| key.starts_with("tidegate.dev/");
            let mut labels = meta["labels"].as_object().into_iter().flatten();
            ensure!(!labels.any(|(key, _)| ours(&key)), "labels of ours: {meta}");
        }
    }
    let records = shop.list(APPS, "ControllerRevision").await?;
    ensure!(records.is_empty(), "{records:?}");
    let web = shop.get(APPS, "Deployment", "web").await?.context("no Deployment")?;
    ensure!(web["spec"]["paused"].is_null(), "it was paused");
    let rollout = shop.rollout().await?;
    ensure!(rollout["metadata"]["finalizers"].is_null(), "{}", rollout["metadata"]);
    Ok(())
}
