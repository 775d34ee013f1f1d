//! Blue-green, and canaries whose share is a share of pods.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use futures::TryStreamExt as _;
use kube::api::{WatchEvent, WatchParams};
use serde_json::Value;
use tidegate_testbed::{
    load::{Load, LoadOptions},
    world::{World, apply, eventually},
};
use tokio::task::JoinHandle;

use crate::{
    causes::{cause, it_was_reverted_for},
    releases::{
        Before, everything_is_as_in_git, it_was_handed_over, it_was_reverted_once,
        nothing_happens_for, phases_until,
    },
    runner::Story,
    shop::{DEPLOYMENT, ROLLOUT, SOON, Setting, Shop, host},
};

const HASH: &str = "/spec/selector/pod-template-hash";
const QUIET: Duration = Duration::from_secs(8);
/// People who try a preview out, each second.
const TRIED: f64 = 20.0;

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::smoke(
            "a_good_preview_is_switched_to_at_once",
            a_good_preview_is_switched_to_at_once,
        ),
        Story::smoke(
            "a_switch_that_does_harm_is_taken_back",
            a_switch_that_does_harm_is_taken_back,
        ),
        Story::matrix("a_good_share_of_pods_is_promoted", a_good_share_of_pods_is_promoted),
        Story::smoke("a_bad_share_of_pods_is_reverted", a_bad_share_of_pods_is_reverted),
        Story::matrix("a_preview_that_crashes_is_never_switched_to", |world| {
            a_broken_preview_is_never_switched_to(world, "green-crash", |path, text| {
                broken(path, text, "CRASH_ON_START", "true")
            })
        }),
        Story::matrix("a_preview_that_never_gets_ready_is_never_switched_to", |world| {
            a_broken_preview_is_never_switched_to(world, "green-late", |path, text| {
                broken(path, text, "READY", "false")
            })
        }),
    ]
}

/// The preview gets no traffic but that of people who try it out, whose failures mean nothing; the
/// switch is one write; the pods that were tried are the pods that serve.
async fn a_good_preview_is_switched_to_at_once(world: &'static World) -> Result<()> {
    let shop = Shop::open_as(world, "green", Setting::edited(blue_green)).await?;
    let (before, selectors) = (Before::of(&shop).await?, Selectors::watch(&shop).await?);
    let visitors = try_the_preview(&shop).await?;
    let start = shop.load.mark();
    shop.release("v3", 0.0).await?;
    let status = eventually("the preview is there", SOON, async || {
        let status = shop.rollout().await?["status"].take();
        ensure!(status["step"] == "1/2", "{} {}", status["phase"], status["message"]);
        Ok((status["phase"] == "Baking").then_some(status))
    })
    .await?;
    println!("{}: {}", shop.namespace, status["message"]);
    ensure!(status["weight"].as_u64().unwrap_or(0) == 0, "{status}");
    ensure!(status["verdict"].is_null(), "{status}");
    let ready = preview_pods(&shop).await?;
    ensure!(ready.len() == 3, "expected 3 preview pods, found {ready:?}");
    ensure!(ready.is_disjoint(&before.pods), "stable's pods are in the preview: {ready:?}");
    eventually("the preview answers", SOON, async || {
        let tried = visitors.snapshot();
        Ok((tried.share("v3").is_some() && tried.failed().len() > 20).then_some(()))
    })
    .await?;
    let tried = visitors.stop().await;
    ensure!(tried.share("v3") == Some(1.0), "not only the preview: {:?}", tried.by_version());
    let users = shop.load.snapshot().since(start);
    ensure!(users.share("v3") == Some(0.0), "before the switch: {:?}", users.by_version());

    let told = phases_until(&shop, 1, SOON * 2).await?;
    println!("{}: {}", shop.namespace, told.join(" -> "));
    ensure!(!told.iter().any(|phase| phase == "Paused"), "{told:?}");
    it_was_handed_over(&shop, &before).await?;
    shop.load.snapshot().assert_none_failed(start, Instant::now())?;
    let (stable, canary) = ("stable", "canary");
    ensure!(selectors.seen() == ["", stable, canary, ""], "{:?}", selectors.seen());
    nothing_happens_for(&shop, QUIET).await
}

/// Errors that only traffic shows: the guard lane sees them, back is one write as well, and Git is
/// put right.
async fn a_switch_that_does_harm_is_taken_back(world: &'static World) -> Result<()> {
    let shop = Shop::open_as(world, "green-bad", Setting::edited(blue_green)).await?;
    let (before, selectors) = (Before::of(&shop).await?, Selectors::watch(&shop).await?);
    let start = shop.load.mark();
    let bad = shop.release("v2", 1.0 / 3.0).await?;
    let told = phases_until(&shop, 1, SOON * 2).await?;
    println!("{}: {}", shop.namespace, told.join(" -> "));
    let since = shop.load.snapshot().since(start);
    println!("{}: {} responses were bad of {}", shop.namespace, since.failed().len(), since.len());
    let judged = |request: &&_| is_of(request, "v2");
    ensure!(since.failed().iter().all(judged), "lost: {:?}", since.by_outcome());
    ensure!(
        cause(&shop).await?.starts_with("BadArtifact: errors: canary "),
        "{}",
        cause(&shop).await?
    );
    let (stable, canary) = ("stable", "canary");
    ensure!(selectors.seen() == ["", stable, canary, stable, ""], "{:?}", selectors.seen());
    it_was_reverted_once(&shop, &before, &bad).await?;
    nothing_happens_for(&shop, QUIET).await
}

/// Its pods are broken before they get any traffic: users notice nothing, and Git is put right.
async fn a_broken_preview_is_never_switched_to(
    world: &'static World,
    name: &str,
    edit: fn(&str, &str) -> String,
) -> Result<()> {
    let shop = Shop::open_as(world, name, Setting::edited(edit)).await?;
    let (before, selectors) = (Before::of(&shop).await?, Selectors::watch(&shop).await?);
    let start = shop.load.mark();
    let bad = shop.release("v2", 0.0).await?;
    let told = phases_until(&shop, 1, SOON * 2).await?;
    println!("{}: {}: {}", shop.namespace, told.join(" -> "), cause(&shop).await?);
    ensure!(cause(&shop).await?.starts_with("BrokenPods: "), "{}", cause(&shop).await?);
    it_was_reverted_once(&shop, &before, &bad).await?;
    ensure!(selectors.seen() == ["", "stable", ""], "{:?}", selectors.seen());
    shop.load.snapshot().assert_none_failed(start, Instant::now())?;
    nothing_happens_for(&shop, QUIET).await
}

/// Weight 10 of three pods is one pod more: a quarter of the traffic, and that is what people see.
async fn a_good_share_of_pods_is_promoted(world: &'static World) -> Result<()> {
    let shop = Shop::open_as(world, "pods", Setting::edited(by_pods)).await?;
    a_share_that_pods_cannot_give_is_refused(&shop).await?;
    let before = Before::of(&shop).await?;
    let start = shop.load.mark();
    shop.release("v3", 0.0).await?;
    let status = eventually("the share is told", SOON, async || {
        let status = shop.rollout().await?["status"].take();
        ensure!(status["phase"] == "Baking" && status["step"] == "1/2", "{}", status["message"]);
        Ok((status["weight"] == 25).then_some(status))
    })
    .await?;
    let message = status["message"].as_str().unwrap_or_default();
    println!("{}: {message}", shop.namespace);
    ensure!(message.contains("(1 of 4 pods: 25 %)"), "{message}");
    let now = shop.load.mark();
    eventually("it has that share", SOON, async || {
        let share = shop.load.snapshot().since(now).share("v3").context("nobody answered")?;
        ensure!(shop.phase().await? == "Baking", "it went on");
        Ok((0.15..0.35).contains(&share).then_some(()))
    })
    .await?;
    let told = phases_until(&shop, 1, SOON * 2).await?;
    println!("{}: {}", shop.namespace, told.join(" -> "));
    it_was_handed_over(&shop, &before).await?;
    shop.load.snapshot().assert_none_failed(start, Instant::now())?;
    nothing_happens_for(&shop, QUIET).await
}

/// The same with a bad release: every Service is pinned to stable again.
async fn a_bad_share_of_pods_is_reverted(world: &'static World) -> Result<()> {
    let shop = Shop::open_as(world, "pods-bad", Setting::edited(by_pods)).await?;
    let (before, start) = (Before::of(&shop).await?, shop.load.mark());
    let bad = shop.release("v2", 1.0 / 3.0).await?;
    let told = phases_until(&shop, 1, SOON * 2).await?;
    println!("{}: {}", shop.namespace, told.join(" -> "));
    let since = shop.load.snapshot().since(start);
    println!("{}: {} responses were bad of {}", shop.namespace, since.failed().len(), since.len());
    it_was_reverted_for(&shop, &before, &bad, "BadArtifact: errors: canary ").await?;
    everything_is_as_in_git(&shop, "v1").await?;
    nothing_happens_for(&shop, QUIET).await
}

async fn a_share_that_pods_cannot_give_is_refused(shop: &Shop) -> Result<()> {
    let text = shop.repository.read(ROLLOUT).await?.context(ROLLOUT)?;
    let text = text.replace("weight: 10", "weight: 75");
    let said = match apply(&shop.world.kube(), &text, None).await {
        Ok(()) => anyhow::bail!("weight 75 by pods was taken"),
        Err(error) => format!("{error:#}"),
    };
    ensure!(said.contains("up to 50, or 100"), "{said}");
    Ok(())
}

fn is_of(request: &tidegate_testbed::load::Request, version: &str) -> bool {
    request.version.as_deref() == Some(version)
}

/// A team that wants all traffic to go over at once.
fn blue_green(path: &str, text: &str) -> String {
    strategy(path, text, "  strategy:\n    blueGreen: {preview: 6s, bake: 5s}\n")
}

/// A team without a gateway in front of its workload, as far as Tidegate is concerned.
fn by_pods(path: &str, text: &str) -> String {
    let steps = "[{weight: 10, bake: 6s}, {weight: 100, bake: 3s}]";
    strategy(path, text, &format!("  routes: []\n  strategy: {{canary: {{steps: {steps}}}}}\n"))
}

/// The same, and version 2 is broken.
fn broken(path: &str, text: &str, variable: &str, value: &str) -> String {
    let text = blue_green(path, text).replace("limits: {", "limits: {ready: 15s, ");
    if path == DEPLOYMENT && text.contains(":v2") {
        let more = format!("env: [{{name: {variable}, value: '{value}'}}, ");
        return text.replace("env: [", &more);
    }
    text
}

/// The Rollout with another strategy; its windows are short, so that the story is.
pub(crate) fn strategy(path: &str, text: &str, strategy: &str) -> String {
    let parts = text.split_once("  strategy:\n").zip(text.split_once("  analysis:\n"));
    match parts {
        Some(((head, _), (_, tail))) if path == ROLLOUT => {
            format!("{head}{strategy}  analysis:\n    window: 5s\n{tail}")
        }
        _ => text.to_owned(),
    }
}

/// People who try the preview out, by a route of their own: every request of theirs fails.
async fn try_the_preview(shop: &Shop) -> Result<Load> {
    let host = format!("preview.{}", host(&shop.namespace));
    let route = format!(
        "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: preview, namespace: {}}}
spec:
  parentRefs: [{{name: contour, namespace: projectcontour}}]
  hostnames: [{host}]
  rules: [{{backendRefs: [{{name: web-preview, port: 80}}]}}]
",
        shop.namespace
    );
    apply(&shop.world.kube(), &route, None).await?;
    let mut options = LoadOptions::new(shop.world.gateway(), host, TRIED);
    options.headers.push(("x-bed-fail".to_owned(), "500".to_owned()));
    Load::start(options).await
}

/// Names of the pods that the preview's Service reaches.
async fn preview_pods(shop: &Shop) -> Result<BTreeSet<String>> {
    let slices = shop.list("discovery.k8s.io/v1", "EndpointSlice").await?;
    let is_its =
        |slice: &&Value| slice["metadata"]["labels"]["kubernetes.io/service-name"] == "web-preview";
    let endpoints = slices.iter().filter(is_its).filter_map(|slice| slice["endpoints"].as_array());
    let names = endpoints.flatten().filter_map(|endpoint| endpoint["targetRef"]["name"].as_str());
    Ok(names.map(str::to_owned).collect())
}

/// Whose pods the Service selected, one write after the other.
struct Selectors {
    hashes: Arc<Mutex<Vec<String>>>,
    watch: JoinHandle<()>,
}

impl Selectors {
    async fn watch(shop: &Shop) -> Result<Self> {
        let service = shop.get("v1", "Service", "web").await?.context("no Service")?;
        let version =
            service["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        let hashes = Arc::new(Mutex::new(vec![hash(&service)]));
        let (api, seen) = (shop.api("v1", "Service"), Arc::clone(&hashes));
        let watch = tokio::spawn(async move {
            let only = WatchParams::default().fields("metadata.name=web").timeout(290);
            let Ok(events) = api.watch(&only, &version).await else { return };
            let mut events = Box::pin(events);
            while let Ok(Some(event)) = events.try_next().await {
                let WatchEvent::Modified(service) = event else { continue };
                let Ok(service) = serde_json::to_value(service) else { continue };
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                if seen.last() != Some(&hash(&service)) {
                    seen.push(hash(&service));
                }
            }
        });
        Ok(Self { hashes, watch })
    }

    /// In the order in which they were written; the hashes by whose they are.
    fn seen(&self) -> Vec<&'static str> {
        let hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        let first = hashes.iter().find(|hash| !hash.is_empty());
        let whose = |hash: &String| match hash.as_str() {
            "" => "",
            hash if Some(hash) == first.map(String::as_str) => "stable",
            _ => "canary",
        };
        hashes.iter().map(whose).collect()
    }
}

impl Drop for Selectors {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

fn hash(service: &Value) -> String {
    service.pointer(HASH).and_then(Value::as_str).unwrap_or_default().to_owned()
}
