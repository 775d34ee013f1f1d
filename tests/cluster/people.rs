//! What people and autoscalers do while a release is on trial: ask, scale, bring a newer one, break
//! the glass. People use the command line, by their own rights.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tidegate_testbed::{
    load::Request,
    world::{World, eventually},
};

use crate::{
    hands::canary_serves,
    releases::{everything_is_as_in_git, phases_until},
    runner::Story,
    shop::{SOON, Shop},
};

const APPS: &str = "apps/v1";
const OURS: &str = "tidegate.dev/v1alpha1";

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::smoke(
            "an_autoscaler_changes_the_number_in_mid_trial",
            an_autoscaler_changes_the_number_in_mid_trial,
        ),
        Story::smoke(
            "a_newer_template_takes_the_place_of_the_one_on_trial",
            a_newer_template_takes_the_place_of_the_one_on_trial,
        ),
        Story::smoke("people_ask_and_are_answered", people_ask_and_are_answered),
        Story::smoke(
            "a_release_without_the_controller_sets_all_free",
            a_release_without_the_controller_sets_all_free,
        ),
        Story::matrix(
            "scaled_to_zero_in_mid_trial_nothing_wrong_serves",
            scaled_to_zero_in_mid_trial_nothing_wrong_serves,
        ),
    ]
}

/// An autoscaler wants five pods in Baking and four in Promoting: both arms follow, so that each pod
/// has the same load, and exactly four tested pods are handed over. No request is lost.
async fn an_autoscaler_changes_the_number_in_mid_trial(world: &'static World) -> Result<()> {
    let shop = Shop::open(world, "scale").await?;
    let start = shop.load.mark();
    shop.release("v2", 0.0).await?;
    shop.wait_phase("Baking", SOON).await?;
    // It would write the number that Git has.
    shop.flux.suspend().await?;
    granted(&shop, &["promote", "web"]).await?;
    ready(&shop, [("v1", 3), ("v2", 3)]).await?;
    shop.kubectl(&["scale", "deployment/web", "--replicas=5"]).await?;
    ready(&shop, [("v1", 5), ("v2", 5)]).await?;
    let weight = shop.rollout().await?["status"]["weight"].take();
    ensure!(weight == 50, "the weight is {weight}");
    granted(&shop, &["promote-full", "web"]).await?;
    shop.wait_phase("Promoting", SOON).await?;
    // The number is held for the moment of the hand-over; an autoscaler tries again.
    eventually("the number is taken", SOON, async || {
        shop.kubectl(&["scale", "deployment/web", "--replicas=4"]).await.map(Some)
    })
    .await?;
    let told = phases_until(&shop, 1, SOON * 2).await?;
    println!("{}: {}", shop.namespace, told.join(" -> "));
    ensure!(shop.outcome(1).await?.as_deref() == Some("Promoted"), "{}", shop.rollout().await?);
    ready(&shop, [("v1", 0), ("v2", 4)]).await?;
    everything_is_as_in_git(&shop, "v2").await?;
    shop.load.snapshot().assert_none_failed(start, Instant::now())
}

/// The number goes to zero and back while v2 is on trial: the trial ends, and what comes up is v1,
/// before v2 is tried again.
async fn scaled_to_zero_in_mid_trial_nothing_wrong_serves(world: &'static World) -> Result<()> {
    let shop = Shop::open(world, "zero").await?;
    shop.release("v2", 0.0).await?;
    shop.wait_phase("Baking", SOON).await?;
    canary_serves(&shop, "v2").await?;
    shop.flux.suspend().await?;
    shop.kubectl(&["scale", "deployment/web", "--replicas=0"]).await?;
    phases_until(&shop, 1, SOON).await?;
    let last = shop.rollout().await?["status"]["state"]["last"].take();
    ensure!(last["outcome"]["Aborted"]["cause"] == "ScaledToZero", "{last}");
    ready(&shop, [("v1", 0), ("v2", 0)]).await?;
    let asleep = shop.load.mark();
    shop.kubectl(&["scale", "deployment/web", "--replicas=3"]).await?;
    ready(&shop, [("v1", 3)]).await?;
    let record = shop.load.snapshot().since(asleep);
    let first = record.first(|request| !request.failed()).context("nobody answered")?;
    ensure!(first.version.as_deref() == Some("v1"), "{}", record.describe(first));
    shop.wait_phase("Baking", SOON).await?;
    ensure!(shop.rollout().await?["status"]["state"]["trials"] == 2, "it is not tried again");
    Ok(())
}

/// Git brings v3 while v2 is on trial: v2 gets its last request before v3 gets its first, nothing is
/// reverted, and v3 has a trial of its own.
async fn a_newer_template_takes_the_place_of_the_one_on_trial(world: &'static World) -> Result<()> {
    let shop = Shop::open(world, "newer").await?;
    shop.wait_for_no_health().await?;
    let commits = shop.repository.log().await?.len();
    let start = shop.load.mark();
    shop.release("v2", 0.0).await?;
    shop.wait_phase("Baking", SOON).await?;
    canary_serves(&shop, "v2").await?;
    shop.release("v3", 0.0).await?;
    phases_until(&shop, 1, SOON).await?;
    let last = shop.rollout().await?["status"]["state"]["last"].take();
    ensure!(last["outcome"]["Aborted"]["cause"] == "Superseded", "{last}");
    canary_serves(&shop, "v3").await?;
    shop.wait_phase("Baking", SOON).await?;
    ensure!(shop.rollout().await?["status"]["state"]["trials"] == 2, "no trial of its own");
    ensure!(shop.repository.log().await?.len() == commits + 2, "somebody wrote to Git");
    let record = shop.load.snapshot().since(start);
    let is = |request: &Request, version: &str| request.version.as_deref() == Some(version);
    let last = record.last(|request| is(request, "v2")).context("v2 never served")?.ended();
    let first = record.first(|request| is(request, "v3")).context("v3 never served")?.ended();
    ensure!(last < first, "v2 served {:?} after v3's first answer", last - first);
    ensure!(shop.firing("TidegateAborted") == 0, "people were told");
    record.assert_none_failed(start, Instant::now())
}

/// Ann may ask and Bob may only change Rollouts. A request for another revision is refused, a forged
/// name is not believed, and a late promote does not hit what comes next.
async fn people_ask_and_are_answered(world: &'static World) -> Result<()> {
    let shop = Shop::open(world, "people").await?;
    let commits = shop.repository.log().await?.len();
    let (ann, bob) = (person(&shop, "ann").await?, person(&shop, "bob").await?);
    let start = shop.load.mark();
    let commit = shop.release("v2", 0.0).await?;
    shop.wait_phase("Baking", SOON).await?;
    let canary = shop.rollout().await?["status"]["canary"]["revision"].take();
    let canary = canary.as_str().context("no canary")?.to_owned();
    let (code, said) = tidegate(&shop, &bob, &["promote", "web"]).await?;
    ensure!(code == 1 && said.contains("may not ask Tidegate for promote"), "{code}: {said}");
    let other = ["promote-full", "web", "--revision", "abcdef0"];
    let (code, said) = tidegate(&shop, &ann, &other).await?;
    ensure!(code == 1 && said.contains("RequestForOtherRevision"), "{code}: {said}");
    let (code, said) = tidegate(&shop, &ann, &["pause", "web"]).await?;
    ensure!(code == 0 && said.contains("granted"), "{code}: {said}");
    shop.wait_phase("Paused", SOON).await?;
    // Kubectl's own words, and somebody else's name beside them.
    let annotate = ["annotate", "rollouts.tidegate.dev", "web", "--overwrite"];
    let forged = ["tidegate.dev/request=resume", "tidegate.dev/requested-by=eve"];
    shop.kubectl(&[&annotate[..], &forged[..]].concat()).await?;
    let asked = answered(&shop, "resume").await?;
    ensure!(asked["answer"] == "Granted" && asked["reason"] == "ResumedByPerson", "{asked}");
    let who = asked["who"].as_str().unwrap_or_default();
    ensure!(!who.is_empty() && who != "eve" && !who.starts_with("kubectl"), "{asked}");
    // By the commit, as people see it in the column.
    let named = ["abort", "web", "--hold", "--revision", &commit[..10]];
    let (code, said) = tidegate(&shop, &ann, &named).await?;
    ensure!(code == 0 && said.contains("granted"), "{code}: {said}");
    let asked = answered(&shop, "abort-hold").await?;
    let who = format!("system:serviceaccount:{}:ann", shop.namespace);
    ensure!(asked["who"] == *who && asked["reason"] == "AbortedByPerson", "{asked}");
    let (code, said) = tidegate(&shop, &ann, &["status", "web", "--wait"]).await?;
    ensure!(code == 1 && said.contains("Aborted"), "{code}: {said}");
    ensure!(shop.repository.log().await?.len() == commits + 1, "somebody wrote to Git");
    it_is_in_the_record(&shop, &who, &canary).await?;
    let (code, said) = tidegate(&shop, &ann, &["history", "web"]).await?;
    ensure!(code == 0 && said.contains(&canary) && said.contains(&who), "{code}: {said}");
    // The fix comes, and somebody presses return on what they had typed before.
    shop.release("v1", 0.0).await?;
    eventually("the held template is gone", SOON, async || {
        Ok(shop.rollout().await?["status"]["canary"].is_null().then_some(()))
    })
    .await?;
    let late = ["promote-full", "web", "--revision", &canary];
    let (code, said) = tidegate(&shop, &ann, &late).await?;
    ensure!(code == 1 && said.contains("RequestForOtherRevision"), "{code}: {said}");
    everything_is_as_in_git(&shop, "v1").await?;
    ensure!(shop.rollout().await?["status"]["state"]["trials"] == 1, "another trial");
    shop.load.snapshot().assert_none_failed(start, Instant::now())
}

async fn it_is_in_the_record(shop: &Shop, who: &str, canary: &str) -> Result<()> {
    eventually("the record says who asked for what", SOON, async || {
        let trials = shop.list(OURS, "Trial").await?;
        let its = trials.iter().find(|trial| trial["spec"]["canary"] == canary);
        let its = its.with_context(|| format!("no Trial of {canary}"))?;
        let notes = its["status"]["notes"].as_array().context("no notes")?;
        for reason in ["RequestForOtherRevision", "PausedByPerson", "AbortedByPerson"] {
            let found = notes.iter().any(|note| note["who"] == who && note["reason"] == reason);
            ensure!(found, "{reason} is not in {notes:?}");
        }
        Ok(Some(()))
    })
    .await
}

/// The controller is gone in mid-trial, and somebody breaks the glass: what served serves on, every
/// object is as before v2 came, and a controller that comes back leaves them alone.
async fn a_release_without_the_controller_sets_all_free(world: &'static World) -> Result<()> {
    let mut shop = Shop::open(world, "free").await?;
    shop.release("v2", 0.0).await?;
    shop.wait_phase("Baking", SOON).await?;
    canary_serves(&shop, "v2").await?;
    shop.flux.suspend().await?;
    shop.stop_controller();
    let start = shop.load.mark();
    let release = ["release", "web", "--why", "incident 7"];
    let (code, said) = tidegate(&shop, world.kubeconfig(), &release).await?;
    ensure!(code == 0 && said.contains("Deployment web is free"), "{code}: {said}");
    ready(&shop, [("v1", 3), ("v2", 0)]).await?;
    is_free(&shop).await?;
    shop.load.snapshot().assert_none_failed(start, Instant::now())?;
    shop.start_controller()?;
    eventually("the controller says what it leaves alone", SOON, async || {
        let status = shop.rollout().await?["status"].take();
        let message = status["message"].as_str().unwrap_or_default();
        ensure!(message.contains("break-glass") && message.contains("incident 7"), "{message}");
        Ok((status["phase"] == "Idle").then_some(()))
    })
    .await?;
    is_free(&shop).await?;
    shop.load.snapshot().assert_none_failed(start, Instant::now())
}

async fn is_free(shop: &Shop) -> Result<()> {
    let web = shop.get(APPS, "Deployment", "web").await?.context("no Deployment")?;
    ensure!(web["spec"]["paused"].as_bool() != Some(true), "it is paused");
    let service = shop.get("v1", "Service", "web").await?.context("no Service")?;
    ensure!(service["spec"]["selector"] == json!({"app": "web"}), "{}", service["spec"]);
    let route = shop.get("gateway.networking.k8s.io/v1", "HTTPRoute", "web").await?;
    let route = route.context("no HTTPRoute")?;
    let backends = &route["spec"]["rules"][0]["backendRefs"];
    ensure!(backends.as_array().is_some_and(|all| all.len() == 1), "{backends}");
    Ok(())
}

/// The real binary as a person runs it: exit code, and what it said.
pub(crate) async fn tidegate(shop: &Shop, who: &Path, arguments: &[&str]) -> Result<(i32, String)> {
    let command = tokio::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(arguments)
        .args(["--namespace", &shop.namespace, "--kubeconfig"])
        .arg(who)
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(SOON, command).await??;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    println!("{}: tidegate {}: {}", shop.namespace, arguments.join(" "), said.trim());
    Ok((output.status.code().unwrap_or(-1), said))
}

/// Asked by the admin, and granted.
async fn granted(shop: &Shop, arguments: &[&str]) -> Result<()> {
    let (code, said) = tidegate(shop, shop.world.kubeconfig(), arguments).await?;
    ensure!(code == 0 && said.contains("granted"), "{code}: {said}");
    Ok(())
}

/// What became of the last request, once it is this one.
async fn answered(shop: &Shop, what: &str) -> Result<Value> {
    eventually(&format!("{what} is answered"), SOON, async || {
        let request = shop.rollout().await?["status"]["request"].take();
        Ok((request["what"] == what && request["answer"] != "Waiting").then_some(request))
    })
    .await
}

/// A person with a kubeconfig: Ann is an operator, everybody else may change Rollouts.
async fn person(shop: &Shop, name: &str) -> Result<PathBuf> {
    shop.kubectl(&["create", "serviceaccount", name]).await?;
    let account = format!("--serviceaccount={}:{name}", shop.namespace);
    let role = if name == "ann" {
        "--clusterrole=tidegate-operator"
    } else {
        let verbs = "--verb=get,list,watch,patch,update";
        shop.kubectl(&["create", "role", name, verbs, "--resource=rollouts.tidegate.dev"]).await?;
        &format!("--role={name}")
    };
    shop.kubectl(&["create", "rolebinding", name, role, &account]).await?;
    shop.world.kubeconfig_for(&shop.namespace, name).await
}

/// So many pods of each version are ready, and no others of them are there.
async fn ready<const N: usize>(shop: &Shop, wanted: [(&str, usize); N]) -> Result<()> {
    eventually(&format!("pods are {wanted:?}"), Duration::from_mins(2), async || {
        let pods = shop.list("v1", "Pod").await?;
        for (version, wanted) in wanted {
            let is_its = |pod: &&Value| {
                let image = pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
                image.ends_with(&format!(":{version}"))
            };
            let its: Vec<_> = pods.iter().filter(is_its).collect();
            let is_ready = |pod: &&&Value| {
                let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
                conditions.any(|found| found["type"] == "Ready" && found["status"] == "True")
            };
            let ready = its.iter().filter(is_ready).count();
            if (its.len(), ready) != (wanted, wanted) {
                bail!("{ready} of {} pods of {version} are ready", its.len());
            }
        }
        Ok(Some(()))
    })
    .await
}
