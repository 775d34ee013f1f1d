//! What people and engines do to a release in mid-trial: delete, set, replace, revert, break glass.
//! Whatever it is, no request is lost and nothing of ours is left where it does not belong.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tidegate_testbed::{
    components::Program,
    world::{World, eventually},
};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::{
    releases::{everything_is_as_in_git, nothing_more_happens, phases_until},
    runner::Story,
    shop::{SOON, Shop},
};

const APPS: &str = "apps/v1";
const GATEWAY: &str = "gateway.networking.k8s.io/v1";
const LABEL: &str = "tidegate.dev/rollout";
const HELD: &str = "tidegate.dev/held";
const HASH: &str = "pod-template-hash";
/// Flux takes back what was written under kubectl's own name.
const PERSON: &str = "--field-manager=break-glass";

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::smoke("deleted_in_the_background_all_is_freed", |world| {
            a_deleted_rollout_frees_all(world, "background")
        }),
        Story::matrix("deleted_in_the_foreground_all_is_freed", |world| {
            a_deleted_rollout_frees_all(world, "foreground")
        }),
        Story::matrix("deleted_without_its_dependents_all_is_freed", |world| {
            a_deleted_rollout_frees_all(world, "orphan")
        }),
        Story::matrix(
            "a_template_set_by_hand_is_written_back",
            a_template_set_by_hand_is_written_back,
        ),
        Story::matrix("break_glass_frees_in_one_write", break_glass_frees_in_one_write),
        Story::matrix("one_freed_object_ends_the_trial", one_freed_object_ends_the_trial),
        Story::matrix("a_freed_service_holds_nothing_up", a_freed_service_holds_nothing_up),
        Story::matrix(
            "an_engine_that_replaces_loses_no_hold",
            an_engine_that_replaces_loses_no_hold,
        ),
        Story::smoke(
            "a_revert_by_hand_ends_the_trial_quietly",
            a_revert_by_hand_ends_the_trial_quietly,
        ),
        Story::matrix("kubectl_tells_the_story", kubectl_tells_the_story),
    ]
}

/// A Rollout that is deleted in mid-trial sets its workload free, whichever way it is deleted: the
/// canary's set is not its dependent, so that no garbage collector is faster than we are.
async fn a_deleted_rollout_frees_all(world: &'static World, cascade: &str) -> Result<()> {
    let shop = Shop::open(world, cascade).await?;
    shop.release("v2", 0.0).await?;
    shop.wait_phase("Baking", SOON).await?;
    canary_serves(&shop, "v2").await?;
    // It would bring back the Rollout, and what is in Git.
    shop.flux.suspend().await?;
    let start = shop.load.mark();
    let way = format!("--cascade={cascade}");
    shop.kubectl(&["delete", "rollouts.tidegate.dev", "web", &way, "--timeout=60s"]).await?;
    everything_is_as_in_git(&shop, "v1").await?;
    nothing_of_ours_is_left(&shop).await?;
    shop.load.snapshot().assert_none_failed(start, Instant::now())
}

/// A template that somebody set past Git and that fails: traffic home, stable's template written
/// back, people told; nothing is committed, since no commit brought it.
pub(crate) async fn a_template_set_by_hand_is_written_back(world: &'static World) -> Result<()> {
    let shop = Shop::open(world, "set-image").await?;
    let commits = shop.repository.log().await?.len();
    // As people do in an incident; else the engine is faster than any verdict.
    shop.flux.suspend().await?;
    let container = json!([{
        "name": "web", "image": "registry.example.com/shop/app:v2",
        "env": [{"name": "ERROR_RATE", "value": "0.34"}],
    }]);
    let patch = json!({"spec": {"template": {"spec": {"containers": container}}}}).to_string();
    shop.kubectl(&["patch", "deployment", "web", "--field-manager=kubectl-set", "-p", &patch])
        .await?;
    let told = phases_until(&shop, 1, SOON * 2).await?;
    println!("{}: {}", shop.namespace, told.join(" -> "));
    ensure!(shop.outcome(1).await?.as_deref() == Some("Aborted"), "{}", shop.rollout().await?);
    everything_is_as_in_git(&shop, "v1").await?;
    ensure!(shop.repository.log().await?.len() == commits, "somebody wrote to Git");
    eventually("people are told", SOON, async || {
        Ok((shop.firing("TidegateAborted") > 0).then_some(()))
    })
    .await?;
    events_tell(&shop, &["NotFromGit", "kubectl-set"]).await?;
    shop.flux.resume().await?;
    nothing_more_happens(&shop).await
}

/// The three commands of `deploy/README.md`, in mid-trial: each frees its object in the write that
/// repairs it, the controller lets go and says so, and from then on it is a plain Deployment.
pub(crate) async fn break_glass_frees_in_one_write(world: &'static World) -> Result<()> {
    let shop = Shop::open(world, "glass").await?;
    shop.release("v2", 0.0).await?;
    shop.wait_phase("Baking", SOON).await?;
    canary_serves(&shop, "v2").await?;
    let start = shop.load.mark();
    let why = json!({"tidegate.dev/break-glass": "incident 7"});
    let service =
        json!({"metadata": {"annotations": why}, "spec": {"selector": {HASH: Value::Null}}});
    let service = service.to_string();
    shop.kubectl(&[&glass("service")[..], &["-p", &service]].concat()).await?;
    let freed = shop.get("v1", "Service", "web").await?.context("no Service")?;
    ensure!(freed["spec"]["selector"] == json!({"app": "web"}), "{}", freed["spec"]["selector"]);
    let backends = json!([{"backendRefs": [{"name": "web", "port": 80}]}]);
    let route = json!({"metadata": {"annotations": why}, "spec": {"rules": backends}}).to_string();
    shop.kubectl(&[&glass("httproute")[..], &["-p", &route]].concat()).await?;
    let freed = shop.get(GATEWAY, "HTTPRoute", "web").await?.context("no HTTPRoute")?;
    let backends = &freed["spec"]["rules"][0]["backendRefs"];
    ensure!(backends.as_array().is_some_and(|all| all.len() == 1), "{backends}");
    let plain = json!({"metadata": {"annotations": why}, "spec": {"paused": false}}).to_string();
    shop.kubectl(&[&glass("deployment")[..], &["-p", &plain]].concat()).await?;
    rolls_out(&shop, "v2").await?;
    eventually("the controller lets go and says so", SOON, async || {
        let status = shop.rollout().await?["status"].take();
        let message = status["message"].as_str().unwrap_or_default();
        ensure!(status["phase"] == "Idle", "{status}");
        ensure!(message.contains("break-glass") && message.contains("incident 7"), "{message}");
        ensure!(canaries(&shop).await?.is_empty(), "the canary's set is left");
        Ok(Some(()))
    })
    .await?;
    // As long as the annotation stands there is no gate.
    shop.release("v3", 0.0).await?;
    rolls_out(&shop, "v3").await?;
    let web = shop.get(APPS, "Deployment", "web").await?.context("no Deployment")?;
    ensure!(web["spec"]["paused"].as_bool() != Some(true), "it was held");
    shop.load.snapshot().assert_none_failed(start, Instant::now())?;
    for kind in ["service", "httproute", "deployment"] {
        shop.kubectl(&["annotate", kind, "web", "tidegate.dev/break-glass-"]).await?;
    }
    everything_is_as_in_git(&shop, "v3").await?;
    // And from then on there is one again.
    shop.release("v4", 0.0).await?;
    shop.wait_phase("Baking", SOON).await
}

/// A person frees the Service alone and leaves all else as it is: the trial does not go on.
pub(crate) async fn one_freed_object_ends_the_trial(world: &'static World) -> Result<()> {
    let shop = Shop::open(world, "glass-one").await?;
    let commits = shop.repository.log().await?.len();
    shop.release("v2", 0.0).await?;
    shop.wait_phase("Baking", SOON).await?;
    let start = shop.load.mark();
    let annotate = ["annotate", "service", "web", "tidegate.dev/break-glass=incident 8", PERSON];
    shop.kubectl(&annotate).await?;
    shop.wait_phase("Aborted", SOON).await?;
    let message = shop.rollout().await?["status"]["message"].to_string();
    ensure!(message.contains("break-glass") && message.contains("incident 8"), "{message}");
    ensure!(shop.repository.log().await?.len() == commits + 1, "somebody wrote to Git");
    let web = shop.get(APPS, "Deployment", "web").await?.context("no Deployment")?;
    ensure!(web["spec"]["paused"] == true, "v2 rolls out unjudged");
    shop.load.snapshot().assert_none_failed(start, Instant::now())
}

/// A person frees the Service and repairs it in the same write, and leaves the Deployment paused: the
/// canary's pods serve with stable's until they leave, and no request is lost.
pub(crate) async fn a_freed_service_holds_nothing_up(world: &'static World) -> Result<()> {
    let shop = Shop::open(world, "glass-service").await?;
    shop.release("v2", 0.0).await?;
    shop.wait_phase("Baking", SOON).await?;
    canary_serves(&shop, "v2").await?;
    let start = shop.load.mark();
    let free = json!({
        "metadata": {"annotations": {"tidegate.dev/break-glass": "incident 9"}},
        "spec": {"selector": {HASH: Value::Null}},
    });
    shop.kubectl(&[&glass("service")[..], &["-p", &free.to_string()]].concat()).await?;
    shop.wait_phase("Aborted", SOON).await?;
    eventually("the canary leaves", SOON, async || {
        ensure!(canaries(&shop).await?.is_empty(), "the canary's set is left");
        Ok(Some(()))
    })
    .await?;
    let web = shop.get(APPS, "Deployment", "web").await?.context("no Deployment")?;
    ensure!(web["spec"]["paused"] == true, "v2 rolls out unjudged");
    let service = shop.get("v1", "Service", "web").await?.context("no Service")?;
    ensure!(service["spec"]["selector"] == json!({"app": "web"}), "{}", service["spec"]);
    shop.load.snapshot().assert_none_failed(start, Instant::now())?;
    // The Service selects all pods: as long as the canary's are there, they have a share.
    eventually("the share is told to be gone", SOON, async || {
        let weight = shop.rollout().await?["status"]["weight"].take();
        Ok((weight.is_null() || weight == 0).then_some(()))
    })
    .await?;
    nothing_more_happens(&shop).await
}

/// An engine that replaces whole objects, and knows nothing of our label: three times in mid-trial
/// it changes nothing that is held, and the release is promoted all the same.
pub(crate) async fn an_engine_that_replaces_loses_no_hold(world: &'static World) -> Result<()> {
    let shop = Shop::open(world, "put").await?;
    shop.kubectl(&["create", "serviceaccount", "engine"]).await?;
    let account = format!("{}:engine", shop.namespace);
    let given = format!("--serviceaccount={account}");
    let bind = ["create", "rolebinding", "engine", "--clusterrole=cluster-admin", &given];
    shop.kubectl(&bind).await?;
    let engine = format!("--as=system:serviceaccount:{account}");
    let start = shop.load.mark();
    shop.release("v2", 0.0).await?;
    shop.wait_phase("Baking", SOON).await?;
    let folder = world.folder().join(format!("{}-put", shop.namespace));
    tokio::fs::create_dir_all(&folder).await?;
    for file in ["deployment.yaml", "service.yaml"] {
        let text = shop.repository.read(&format!("apps/web/{file}")).await?.context(file)?;
        tokio::fs::write(folder.join(file), text).await?;
    }
    let before = held(&shop).await?;
    for _ in 0..3 {
        shop.kubectl(&[&engine, "replace", "-f", &folder.to_string_lossy()]).await?;
        let after = held(&shop).await?;
        ensure!(after == before, "replaced: {before} to {after}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    ensure!(shop.outcome(1).await?.is_none(), "it ended: {}", shop.rollout().await?);
    let told = phases_until(&shop, 1, SOON * 3).await?;
    println!("{}: {}", shop.namespace, told.join(" -> "));
    ensure!(shop.outcome(1).await?.as_deref() == Some("Promoted"), "{}", shop.rollout().await?);
    everything_is_as_in_git(&shop, "v2").await?;
    shop.load.snapshot().assert_none_failed(start, Instant::now())
}

/// Ada takes her commit back in mid-trial: that was the revert. Nobody else makes one, and nobody
/// is woken up.
pub(crate) async fn a_revert_by_hand_ends_the_trial_quietly(world: &'static World) -> Result<()> {
    let shop = Shop::open(world, "by-hand").await?;
    shop.wait_for_no_health().await?;
    let commits = shop.repository.log().await?.len();
    let start = shop.load.mark();
    shop.release("v2", 0.0).await?;
    shop.wait_phase("Baking", SOON).await?;
    shop.release("v1", 0.0).await?;
    phases_until(&shop, 1, SOON).await?;
    let last = shop.rollout().await?["status"]["state"]["last"].take();
    ensure!(last["outcome"]["Aborted"]["cause"] == "RevertedByHand", "{last}");
    everything_is_as_in_git(&shop, "v1").await?;
    ensure!(shop.repository.log().await?.len() == commits + 2, "a revert of a revert");
    shop.load.snapshot().assert_none_failed(start, Instant::now())?;
    nothing_more_happens(&shop).await?;
    ensure!(shop.firing("TidegateAborted") == 0, "people were told");
    Ok(())
}

/// Whoever watches with kubectl sees the whole story of a bad release.
pub(crate) async fn kubectl_tells_the_story(world: &'static World) -> Result<()> {
    let shop = Shop::open(world, "watch").await?;
    let mut watch = tokio::process::Command::new(world.program(Program::Kubectl))
        .arg("--kubeconfig")
        .arg(world.kubeconfig())
        .args(["--namespace", &shop.namespace, "get", "rollouts.tidegate.dev", "web", "-w"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = BufReader::new(watch.stdout.take().context("no output")?).lines();
    let header = lines.next_line().await?.context("no header")?;
    for column in ["NAME", "PHASE", "STEP", "WEIGHT", "VERDICT", "SYNCED", "REVISION", "MESSAGE"] {
        ensure!(header.contains(column), "{column} is not in {header}");
    }
    shop.release("v2", 1.0 / 3.0).await?;
    let mut phases: Vec<String> = Vec::new();
    let mut seen = Vec::new();
    let read = async {
        while let Some(line) = lines.next_line().await? {
            let phase = line.split_whitespace().nth(1).unwrap_or_default().to_owned();
            seen.push(line);
            if phases.last() != Some(&phase) {
                phases.push(phase);
            }
            if phases.last().is_some_and(|phase| phase == "Aborted") {
                break;
            }
        }
        anyhow::Ok(())
    };
    let end = tokio::time::timeout(SOON * 2, read).await;
    watch.kill().await?;
    println!("{}: {header}\n{}", shop.namespace, seen.join("\n"));
    end.with_context(|| format!("no end: {phases:?}"))??;
    let mut story = phases.iter();
    for phase in ["Idle", "Baking", "Aborting", "Reverting", "Restoring", "Aborted"] {
        ensure!(story.any(|seen| seen == phase), "{phase} is missing in {phases:?}");
    }
    Ok(())
}

const fn glass(kind: &str) -> [&str; 5] {
    ["patch", kind, "web", "--type=merge", PERSON]
}

/// What must not change in mid-trial.
async fn held(shop: &Shop) -> Result<Value> {
    let web = shop.get(APPS, "Deployment", "web").await?.context("no Deployment")?;
    let service = shop.get("v1", "Service", "web").await?.context("no Service")?;
    let selector = &service["spec"]["selector"];
    ensure!(!selector[HASH].is_null(), "it is not pinned: {selector}");
    Ok(json!({
        "label": web["metadata"]["labels"][LABEL],
        "paused": web["spec"]["paused"],
        "template": web["spec"]["template"],
        "held": service["metadata"]["labels"][HELD],
        "selector": selector,
    }))
}

pub(crate) async fn canary_serves(shop: &Shop, version: &str) -> Result<()> {
    let start = shop.load.mark();
    eventually("the canary has its share", SOON, async || {
        Ok(shop.load.snapshot().since(start).share(version).filter(|share| *share > 0.0).map(drop))
    })
    .await
}

/// The sets that are ours, by their owner.
async fn canaries(shop: &Shop) -> Result<Vec<String>> {
    let sets = shop.list(APPS, "ReplicaSet").await?;
    let ours = sets
        .iter()
        .filter(|set| set["metadata"]["ownerReferences"][0]["kind"].as_str() != Some("Deployment"));
    Ok(ours.map(|set| set["metadata"]["name"].to_string()).collect())
}

async fn rolls_out(shop: &Shop, version: &str) -> Result<()> {
    eventually(&format!("{version} serves alone"), SOON, async || {
        let web = shop.get(APPS, "Deployment", "web").await?.context("no Deployment")?;
        let image = &web["spec"]["template"]["spec"]["containers"][0]["image"];
        ensure!(image.as_str().is_some_and(|image| image.ends_with(version)), "{image}");
        let status = &web["status"];
        ensure!(status["updatedReplicas"] == 3 && status["replicas"] == 3, "{status}");
        ensure!(status["availableReplicas"] == 3, "{status}");
        Ok(Some(()))
    })
    .await
}

/// Not even the label, which stays at rest as long as there is a Rollout.
async fn nothing_of_ours_is_left(shop: &Shop) -> Result<()> {
    let web = shop.get(APPS, "Deployment", "web").await?.context("no Deployment")?;
    let meta = &web["metadata"];
    ensure!(meta["labels"][LABEL].is_null(), "{}", meta["labels"]);
    let mut managers = meta["managedFields"].as_array().into_iter().flatten();
    ensure!(!managers.any(|entry| entry["manager"] == "tidegate"), "fields of ours: {meta}");
    let records = shop.list(APPS, "ControllerRevision").await?;
    ensure!(records.is_empty(), "{records:?}");
    ensure!(canaries(shop).await?.is_empty(), "the canary's set is left");
    let rollout = shop.get("tidegate.dev/v1alpha1", "Rollout", "web").await?;
    ensure!(rollout.is_none(), "the Rollout is left: {rollout:?}");
    Ok(())
}

async fn events_tell(shop: &Shop, words: &[&str]) -> Result<()> {
    eventually("the Events say it", SOON, async || {
        let events = shop.kubectl(&["get", "events", "-o", "wide"]).await?;
        Ok(words.iter().all(|word| events.contains(word)).then_some(()))
    })
    .await
}
