//! Those who have a say before a release goes on: a Service that is asked, a Job that is run.

use std::{collections::BTreeSet, time::Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tidegate_testbed::world::{World, apply, eventually};

use crate::{
    causes::{cause, it_was_reverted_for},
    people::granted,
    releases::{Before, everything_is_as_in_git, nothing_more_happens, phases_until},
    runner::Story,
    shop::{ROLLOUT, SOON, Setting, Shop},
    strategies::strategy,
};

const BATCH: &str = "batch/v1";

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::matrix(
            "a_gate_that_refuses_lets_no_request_through",
            a_gate_that_refuses_lets_no_request_through,
        ),
        Story::matrix("a_job_opens_each_step", a_job_opens_each_step),
        Story::matrix("a_job_that_fails_is_a_no", a_job_that_fails_is_a_no),
        Story::matrix("a_fail_waits_for_no_job", a_fail_waits_for_no_job),
        Story::matrix(
            "a_gate_that_does_not_answer_waits_for_a_person",
            a_gate_that_does_not_answer_waits_for_a_person,
        ),
    ]
}

/// The release is as good as any, but a test says no: no user ever met it, and Git is put right.
async fn a_gate_that_refuses_lets_no_request_through(world: &'static World) -> Result<()> {
    let asked = |path: &str, text: &str| {
        gated(path, text, "at: Start, http: {service: tester, port: 80, method: POST}")
    };
    let shop = Shop::open_as(world, "gate-no", Setting::edited(asked)).await?;
    tester(&shop, 409).await?;
    let (before, start) = (Before::of(&shop).await?, shop.load.mark());
    let bad = shop.release("v2", 0.0).await?;
    let told = phases_until(&shop, 1, SOON * 2).await?;
    println!("{}: {}", shop.namespace, told.join(" -> "));
    it_was_reverted_for(&shop, &before, &bad, "GateRefused: gate tests refused").await?;
    everything_is_as_in_git(&shop, "v1").await?;
    let since = shop.load.snapshot().since(start);
    ensure!(since.share("v2").unwrap_or(0.0) == 0.0, "v2 was met: {:?}", since.by_version());
    shop.load.snapshot().assert_none_failed(start, Instant::now())?;
    nothing_more_happens(&shop).await
}

/// One Job for each step, which knows where it is; the trial goes on when it is complete, and takes
/// it along when it is over.
async fn a_job_opens_each_step(world: &'static World) -> Result<()> {
    let asked = |path: &str, text: &str| {
        let steps = "[{weight: 10, bake: 5s}, {weight: 100, bake: 5s}]";
        let text = strategy(path, text, &format!("  strategy: {{canary: {{steps: {steps}}}}}\n"));
        gated(path, &text, "at: Step, job: {cronJob: load}")
    };
    let shop = Shop::open_as(world, "gate-job", Setting::edited(asked)).await?;
    let run = "test $TIDEGATE_CANARY_SERVICE = web-canary && sleep 2";
    cron_job(&shop, run).await?;
    let start = shop.load.mark();
    shop.release("v3", 0.0).await?;
    let mut jobs = BTreeSet::new();
    eventually("the trial ends", SOON * 3, async || {
        for job in shop.list(BATCH, "Job").await? {
            jobs.insert(place(&job));
        }
        let message = shop.rollout().await?["status"]["message"].take();
        ensure!(shop.outcome(1).await?.is_some(), "{message}");
        Ok(Some(()))
    })
    .await?;
    ensure!(shop.outcome(1).await?.as_deref() == Some("Promoted"), "{}", shop.rollout().await?);
    let text = |text: &str| text.to_owned();
    let expected = [(text("1"), text("10")), (text("2"), text("100"))];
    ensure!(jobs == BTreeSet::from(expected), "{jobs:?}");
    let trials = shop.list("tidegate.dev/v1alpha1", "Trial").await?;
    let notes = trials.first().context("there is no Trial")?["status"]["notes"].to_string();
    ensure!(notes.matches(r#""GateOpened""#).count() == 2, "{notes}");
    everything_is_as_in_git(&shop, "v3").await?;
    no_job_is_left(&shop).await?;
    shop.load.snapshot().assert_none_failed(start, Instant::now())?;
    nothing_more_happens(&shop).await
}

/// What the Job ended with is what people read, and why Git is put right.
async fn a_job_that_fails_is_a_no(world: &'static World) -> Result<()> {
    let asked = |path: &str, text: &str| gated(path, text, "at: Start, job: {cronJob: load}");
    let shop = Shop::open_as(world, "gate-fails", Setting::edited(asked)).await?;
    cron_job(&shop, "exit 3").await?;
    let (before, start) = (Before::of(&shop).await?, shop.load.mark());
    let bad = shop.release("v2", 0.0).await?;
    phases_until(&shop, 1, SOON * 2).await?;
    let why = cause(&shop).await?;
    println!("{}: {why}", shop.namespace);
    ensure!(why.ends_with(": BackoffLimitExceeded: exit code 3"), "{why}");
    it_was_reverted_for(&shop, &before, &bad, "GateRefused: gate tests refused: Job web-").await?;
    no_job_is_left(&shop).await?;
    everything_is_as_in_git(&shop, "v1").await?;
    let since = shop.load.snapshot().since(start);
    ensure!(since.share("v2").unwrap_or(0.0) == 0.0, "v2 was met: {:?}", since.by_version());
    Ok(())
}

/// Harm that users meet brings traffic home while a Job runs, and the Job ends with the trial.
async fn a_fail_waits_for_no_job(world: &'static World) -> Result<()> {
    let asked = |path: &str, text: &str| gated(path, text, "at: Step, job: {cronJob: load}");
    let shop = Shop::open_as(world, "gate-harm", Setting::edited(asked)).await?;
    cron_job(&shop, "sleep 600").await?;
    let before = Before::of(&shop).await?;
    let bad = shop.release("v2", 1.0 / 3.0).await?;
    let told = phases_until(&shop, 1, SOON * 2).await?;
    println!("{}: {}: {}", shop.namespace, told.join(" -> "), cause(&shop).await?);
    no_job_is_left(&shop).await?;
    it_was_reverted_for(&shop, &before, &bad, "BadArtifact: errors: canary ").await?;
    everything_is_as_in_git(&shop, "v1").await?;
    nothing_more_happens(&shop).await
}

/// Neither yes nor no: people are told, the controller may die, and when one of them says so it is
/// asked anew.
async fn a_gate_that_does_not_answer_waits_for_a_person(world: &'static World) -> Result<()> {
    let asked = |path: &str, text: &str| {
        let steps = "[{weight: 100, bake: 5s}]";
        let text = strategy(path, text, &format!("  strategy: {{canary: {{steps: {steps}}}}}\n"));
        gated(path, &text, "at: Start, timeout: 5s, http: {service: tester, port: 80}")
    };
    let mut shop = Shop::open_as(world, "gate-late", Setting::edited(asked)).await?;
    tester(&shop, 503).await?;
    let start = shop.load.mark();
    shop.release("v3", 0.0).await?;
    shop.wait_phase("Paused", SOON).await?;
    let message = shop.rollout().await?["status"]["message"].to_string();
    println!("{}: {message}", shop.namespace);
    ensure!(message.contains("gate tests did not answer in time"), "{message}");
    shop.kill_controller()?;
    tester(&shop, 200).await?;
    eventually("people are told", SOON, async || {
        Ok((shop.firing("TidegatePaused") > 0).then_some(()))
    })
    .await?;
    ensure!(shop.phase().await? == "Paused", "it went on by itself");
    let since = shop.load.snapshot().since(start);
    ensure!(since.share("v3").unwrap_or(0.0) == 0.0, "v3 was met: {:?}", since.by_version());
    granted(&shop, &["resume", "web"]).await?;
    let told = phases_until(&shop, 1, SOON * 2).await?;
    println!("{}: {}", shop.namespace, told.join(" -> "));
    ensure!(shop.outcome(1).await?.as_deref() == Some("Promoted"), "{}", shop.rollout().await?);
    everything_is_as_in_git(&shop, "v3").await?;
    shop.load.snapshot().assert_none_failed(start, Instant::now())
}

/// The team's Rollout with a gate of this kind.
fn gated(path: &str, text: &str, how: &str) -> String {
    if path != ROLLOUT {
        return text.to_owned();
    }
    let gates = format!("  gates: [{{name: tests, {how}}}]\n  onFailure: Revert\n");
    text.replace("  onFailure: Revert\n", &gates)
}

/// Step and weight that a Job was told.
fn place(job: &Value) -> (String, String) {
    let env = job["spec"]["template"]["spec"]["containers"][0]["env"].as_array();
    let told = |name: &str| {
        let found = env.into_iter().flatten().find(|variable| variable["name"] == name);
        found.and_then(|found| found["value"].as_str()).unwrap_or("nothing").to_owned()
    };
    (told("TIDEGATE_STEP"), told("TIDEGATE_WEIGHT"))
}

/// Who is asked answers with this status, whatever it is asked. A pod of nobody's: only the web has
/// sets.
async fn tester(shop: &Shop, status: u16) -> Result<()> {
    shop.kubectl(&["delete", "pod", "--selector=app=tester", "--wait"]).await?;
    let text = format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: tester}}
spec:
  selector: {{app: tester}}
  ports: [{{port: 80, targetPort: http}}]
---
apiVersion: v1
kind: Pod
metadata: {{name: tester-{status}, labels: {{app: tester}}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: tester
      image: registry.example.com/shop/app:v1
      env: [{{name: ERROR_RATE, value: '1'}}, {{name: ERROR_STATUS, value: '{status}'}}]
      ports: [{{name: http, containerPort: 8080}}]
      readinessProbe: {{httpGet: {{path: /readyz, port: http}}, periodSeconds: 1}}
"
    );
    apply(&shop.world.kube(), &text, Some(&shop.namespace)).await?;
    let name = format!("tester-{status}");
    eventually("the tester is ready", SOON, async || {
        let pod = shop.get("v1", "Pod", &name).await?.context("no tester")?;
        let conditions = pod["status"]["conditions"].as_array();
        let is_ready = |one: &Value| one["type"] == "Ready" && one["status"] == "True";
        Ok(conditions.is_some_and(|all| all.iter().any(is_ready)).then_some(()))
    })
    .await
}

/// What the team may run as a gate.
async fn cron_job(shop: &Shop, run: &str) -> Result<()> {
    let text = format!(
        "
apiVersion: batch/v1
kind: CronJob
metadata: {{name: load, labels: {{tidegate.dev/gate: 'true'}}}}
spec:
  suspend: true
  schedule: '0 0 1 1 *'
  jobTemplate:
    spec:
      backoffLimit: 0
      template:
        spec:
          restartPolicy: Never
          terminationGracePeriodSeconds: 0
          containers:
            - name: load
              image: registry.example.com/shop/app:v1
              command: [/bin/sh, -c, '{run}']
"
    );
    apply(&shop.world.kube(), &text, Some(&shop.namespace)).await
}

/// They go with their trial, and their pods with them: three are the web's.
async fn no_job_is_left(shop: &Shop) -> Result<()> {
    eventually("the Jobs are gone, and their pods", SOON, async || {
        let jobs = shop.list(BATCH, "Job").await?.len();
        let pods = shop.list("v1", "Pod").await?.len();
        ensure!((jobs, pods) == (0, 3), "{jobs} Jobs, {pods} pods");
        Ok(Some(()))
    })
    .await
}
