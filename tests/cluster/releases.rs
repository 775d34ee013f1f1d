//! The main job: a bad release is reverted, a good one is handed over, and a controller that dies
//! on the way changes neither.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tidegate_testbed::{
    fault::Exchange,
    world::{World, eventually},
};

use crate::people::{OURS, tidegate};
use crate::shop::{SOON, Shop, proxy};

/// A good release waits for evidence at each step, and windows are of 15 s.
pub(crate) const GOOD: Duration = Duration::from_mins(4);
/// What a good release may cost the API server.
const MOST_WRITES: usize = 40;
const APPS: &str = "apps/v1";

/// Version 2 fails one request in three: traffic home, one revert commit, Flux content with it,
/// people told once, every object as in Git.
pub(crate) async fn a_bad_release_is_reverted(world: &'static World) -> Result<()> {
    let shop = Shop::open(world, "bad").await?;
    let before = Before::of(&shop).await?;
    let start = shop.load.mark();
    let bad = shop.release("v2", 1.0 / 3.0).await?;
    let told = phases_until(&shop, 1, SOON * 2).await?;
    println!("{}: {}", shop.namespace, told.join(" -> "));
    it_was_reverted_once(&shop, &before, &bad).await?;
    let record = shop.load.snapshot();
    let since = record.since(start);
    println!("{}: {} requests failed of {}", shop.namespace, since.failed().len(), since.len());
    let why = ["aborted after", "because of AnalysisFailed: ", "revert: commit "];
    let asked = ["(http_requests_total{", ", each 2 s from 20"];
    it_is_explained(&shop, &[&why[..], &asked].concat()).await?;
    nothing_more_happens(&shop).await
}

/// The page names both arms and has all of these.
async fn it_is_explained(shop: &Shop, parts: &[&str]) -> Result<()> {
    let trials = shop.list(OURS, "Trial").await?;
    let spec = &trials.first().context("no Trial")?["spec"];
    let revision = |arm: &str| spec[arm].as_str().unwrap_or_default().to_owned();
    let arms = format!(": canary {}", revision("canary"));
    let against = format!(" against stable {}", revision("stable"));
    let parts = [&[&*arms, &*against, "REQUESTS", "Guard "], parts].concat();
    eventually("the record is whole", SOON, async || {
        let explain = ["explain", "web", "--queries"];
        let (code, said) = tidegate(shop, shop.world.kubeconfig(), &explain).await?;
        ensure!(code == 0, "{code}: {said}");
        for part in &parts {
            ensure!(said.contains(part), "{part} is not in {said}");
        }
        Ok(Some(()))
    })
    .await
}

/// Version 3 is no worse: the tested pods are the ones that serve, no request is lost, and the API
/// server has little to do.
pub(crate) async fn a_good_release_is_handed_over(world: &'static World) -> Result<()> {
    let proxy = proxy(world).await?;
    let shop = Shop::open_through(world, "good", Some(&proxy.url())).await?;
    let before = Before::of(&shop).await?;
    proxy.start_over();
    let start = shop.load.mark();
    shop.release("v3", 0.0).await?;
    let told = phases_until(&shop, 1, GOOD).await?;
    println!("{}: {}", shop.namespace, told.join(" -> "));
    it_was_handed_over(&shop, &before).await?;
    shop.load.snapshot().assert_none_failed(start, Instant::now())?;
    let sure = "difference of the rates: 95 % sure from -";
    it_is_explained(&shop, &["promoted after", "Pass, proven no worse than", sure]).await?;
    nothing_more_happens(&shop).await?;
    writes_are_few(&shop, &proxy.writes())
}

/// No more than are promised, and no set is written before its controller has looked at it.
fn writes_are_few(shop: &Shop, writes: &[Exchange]) -> Result<()> {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for target in writes.iter().filter_map(|write| write.target.as_ref()) {
        let part = target.subresource.as_ref().map(|part| format!("/{part}")).unwrap_or_default();
        *kinds.entry(format!("{} {}{part}", target.verb, target.resource)).or_default() += 1;
    }
    println!("{}: {} writes: {kinds:?}", shop.namespace, writes.len());
    let trace: Vec<_> = writes.iter().map(ToString::to_string).collect();
    let (found, trace) = (writes.len(), trace.join("\n"));
    ensure!(found <= MOST_WRITES, "{found} writes, at most {MOST_WRITES}: {kinds:#?}\n{trace}");
    let is_early = |write: &Exchange| write.is_about("replicasets") && write.status == Some(409);
    ensure!(!writes.iter().any(is_early), "a set was written too early:\n{trace}");
    Ok(())
}

/// SIGKILL of the controller once in every phase of a bad release: the same end, one revert.
pub(crate) async fn a_bad_release_survives_kills(world: &'static World) -> Result<()> {
    let mut shop = Shop::open(world, "bad-kills").await?;
    let before = Before::of(&shop).await?;
    let bad = shop.release("v2", 1.0 / 3.0).await?;
    let killed = kill_in_every_phase(&mut shop, 1, SOON * 3).await?;
    println!("{}: killed in {}", shop.namespace, killed.join(", "));
    it_was_reverted_once(&shop, &before, &bad).await?;
    nothing_more_happens(&shop).await
}

/// SIGKILL of the controller once in every phase of a good release: the same end.
pub(crate) async fn a_good_release_survives_kills(world: &'static World) -> Result<()> {
    let mut shop = Shop::open(world, "good-kills").await?;
    let before = Before::of(&shop).await?;
    let start = shop.load.mark();
    shop.release("v3", 0.0).await?;
    let killed = kill_in_every_phase(&mut shop, 1, GOOD * 2).await?;
    println!("{}: killed in {}", shop.namespace, killed.join(", "));
    it_was_handed_over(&shop, &before).await?;
    shop.load.snapshot().assert_none_failed(start, Instant::now())?;
    nothing_more_happens(&shop).await
}

/// What the cluster and Git had before the release.
pub(crate) struct Before {
    pub(crate) commits: usize,
    pub(crate) pods: BTreeSet<String>,
}

impl Before {
    pub(crate) async fn of(shop: &Shop) -> Result<Self> {
        let pods = shop.list("v1", "Pod").await?;
        let commits = shop.repository.log().await?.len();
        Ok(Self { commits, pods: pods.iter().map(name).collect() })
    }
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

/// The phases that were seen until the trial was over.
pub(crate) async fn phases_until(
    shop: &Shop,
    trials: u64,
    within: Duration,
) -> Result<Vec<String>> {
    let mut phases: Vec<String> = Vec::new();
    eventually("the trial ends", within, async || {
        let rollout = shop.rollout().await?;
        let phase = rollout["status"]["phase"].as_str().unwrap_or("none").to_owned();
        let message = rollout["status"]["message"].as_str().unwrap_or_default();
        if phases.last() != Some(&phase) {
            phases.push(phase.clone());
        }
        if shop.outcome(trials).await?.is_some() {
            return Ok(Some(()));
        }
        anyhow::bail!("{phase}: {message}")
    })
    .await?;
    Ok(phases)
}

/// Kills the controller the first time each phase is seen.
async fn kill_in_every_phase(
    shop: &mut Shop,
    trials: u64,
    within: Duration,
) -> Result<Vec<String>> {
    let mut killed: Vec<String> = Vec::new();
    let deadline = Instant::now() + within;
    loop {
        if shop.outcome(trials).await?.is_some() {
            return Ok(killed);
        }
        let phase = shop.phase().await?;
        if phase != "Idle" && !killed.contains(&phase) {
            shop.kill_controller()?;
            killed.push(phase);
        }
        ensure!(Instant::now() < deadline, "not over in time; killed in {}", killed.join(", "));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) async fn it_was_reverted_once(shop: &Shop, before: &Before, bad: &str) -> Result<()> {
    ensure!(shop.outcome(1).await?.as_deref() == Some("Aborted"), "{}", shop.rollout().await?);
    let log = shop.repository.log().await?;
    ensure!(log.len() == before.commits + 2, "{log:#?}");
    let revert = log.first().context("an empty log")?;
    ensure!(revert.message.contains(&format!("Tidegate-Reverts: {bad}")), "{revert:#?}");
    shop.follower.wait_applied(&revert.sha, SOON).await?;
    people_are_told(shop).await?;
    everything_is_as_in_git(shop, "v1").await?;
    let pods: BTreeSet<_> = shop.list("v1", "Pod").await?.iter().map(name).collect();
    ensure!(pods == before.pods, "stable's pods changed: {:?} to {pods:?}", before.pods);
    Ok(())
}

pub(crate) async fn people_are_told(shop: &Shop) -> Result<()> {
    eventually("people are told", SOON, async || {
        Ok((shop.firing("TidegateAborted") > 0).then_some(()))
    })
    .await
}

pub(crate) async fn it_was_handed_over(shop: &Shop, before: &Before) -> Result<()> {
    ensure!(shop.outcome(1).await?.as_deref() == Some("Promoted"), "{}", shop.rollout().await?);
    eventually("three tested pods serve", SOON, async || {
        let pods = shop.list("v1", "Pod").await?;
        let names: BTreeSet<_> = pods.iter().map(name).collect();
        ensure!(names.is_disjoint(&before.pods), "v1 leaves: {names:?}");
        ensure!(names.len() == 3, "expected 3 pods, found {names:?}");
        let restarts = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"] != 0;
        ensure!(!pods.iter().any(restarts), "a tested pod was restarted");
        Ok(Some(()))
    })
    .await?;
    let history = shop.kubectl(&["rollout", "history", "deployment/web"]).await?;
    ensure!(history.lines().any(|line| line.starts_with('2')), "{history}");
    ensure!(shop.repository.log().await?.len() == before.commits + 1, "somebody wrote to Git");
    everything_is_as_in_git(shop, "v3").await
}

/// No hold, no pin, no weight, no set, no Service and no field of ours is left but the claim.
pub(crate) async fn everything_is_as_in_git(shop: &Shop, version: &str) -> Result<()> {
    eventually("every object is as in Git", SOON, async || {
        let deployment = shop.get(APPS, "Deployment", "web").await?.context("no Deployment")?;
        let image = &deployment["spec"]["template"]["spec"]["containers"][0]["image"];
        ensure!(image.as_str().is_some_and(|image| image.ends_with(version)), "{image}");
        ensure!(deployment["spec"]["paused"].as_bool() != Some(true), "it is paused");
        let phase = &deployment["metadata"]["labels"]["tidegate.dev/phase"];
        ensure!(phase.is_null(), "it still says {phase}");
        let service = shop.get("v1", "Service", "web").await?.context("no Service")?;
        let selector = serde_json::json!({"app": "web"});
        ensure!(service["spec"]["selector"] == selector, "{}", service["spec"]["selector"]);
        let route = shop.get("gateway.networking.k8s.io/v1", "HTTPRoute", "web").await?;
        let route = route.context("no HTTPRoute")?;
        let backends = &route["spec"]["rules"][0]["backendRefs"];
        ensure!(backends.as_array().is_some_and(|all| all.len() == 1), "{backends}");
        for object in [&service, &route] {
            let labels = &object["metadata"]["labels"]["tidegate.dev/held"];
            ensure!(labels.is_null(), "held: {labels}");
            let managers = object["metadata"]["managedFields"].as_array();
            let ours = managers.into_iter().flatten().any(|entry| entry["manager"] == "tidegate");
            ensure!(!ours, "fields of ours: {}", object["metadata"]["managedFields"]);
        }
        for name in ["web-canary", "web-preview"] {
            ensure!(shop.get("v1", "Service", name).await?.is_none(), "{name} is left");
        }
        let alive = |set: &Value| set["spec"]["replicas"].as_u64() != Some(0);
        let sets = shop.list(APPS, "ReplicaSet").await?;
        let sets: Vec<_> = sets.iter().filter(|set| alive(set)).map(name).collect();
        ensure!(sets.len() == 1, "more than one set: {sets:?}");
        Ok(Some(()))
    })
    .await
}

/// And then: half a minute without a write, a commit or a further notification of an abort.
pub(crate) async fn nothing_more_happens(shop: &Shop) -> Result<()> {
    nothing_happens_for(shop, Duration::from_secs(30)).await
}

/// The same for so long.
pub(crate) async fn nothing_happens_for(shop: &Shop, quiet: Duration) -> Result<()> {
    let versions = async || -> Result<Vec<(String, String)>> {
        let mut all = vec![shop.rollout().await?];
        for (api, kind) in
            [(APPS, "Deployment"), ("v1", "Service"), ("gateway.networking.k8s.io/v1", "HTTPRoute")]
        {
            all.extend(shop.list(api, kind).await?);
        }
        let version = |object: &Value| object["metadata"]["resourceVersion"].to_string();
        Ok(all.iter().map(|object| (name(object), version(object))).collect())
    };
    // The trial's end is told to people, and the GitOps engine says that it is done.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (objects, commits) = (versions().await?, shop.repository.log().await?.len());
    tokio::time::sleep(quiet).await;
    ensure!(versions().await? == objects, "written: {objects:?} to {:?}", versions().await?);
    ensure!(shop.repository.log().await?.len() == commits, "a commit");
    ensure!(shop.firing("TidegateAborted") <= 1, "told {} times", shop.firing("TidegateAborted"));
    Ok(())
}
