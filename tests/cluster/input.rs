//! Input that no schema can refuse: the Rollout stalls and says which field, what was found and
//! what was expected; nothing that serves is touched; mended, it goes on by itself.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tidegate_testbed::world::{World, apply, eventually, ports};

use crate::{
    releases::everything_is_as_in_git,
    runner::Story,
    shop::{SOON, Shop},
};

pub(crate) fn stories() -> Vec<Story> {
    vec![
        Story::smoke("what_is_wrong_is_said_and_mended", what_is_wrong_is_said_and_mended),
        Story::matrix(
            "a_workload_that_cannot_be_had_is_said",
            a_workload_that_cannot_be_had_is_said,
        ),
        Story::matrix(
            "a_source_that_is_silent_decides_nothing",
            a_source_that_is_silent_decides_nothing,
        ),
    ]
}

/// One way to get it wrong.
struct Case {
    /// What is merged into the Rollout's spec.
    wrong: Value,
    /// What mends it.
    right: Value,
    /// The condition's reason.
    reason: &'static str,
    /// Field, found, expected.
    says: &'static [&'static str],
}

/// What the Rollout says of Services, routes, paths and sources is checked against the cluster.
pub(crate) async fn what_is_wrong_is_said_and_mended(world: &'static World) -> Result<()> {
    let shop = Shop::open(world, "input").await?;
    shop.flux.suspend().await?;
    somebody_elses(&shop).await?;
    let before = shop.rollout().await?["status"]["state"].take();
    let start = shop.load.mark();
    for case in cases(&shop.namespace) {
        patch(&shop, &case.wrong).await?;
        stalls(&shop, "web", case.reason, case.says).await?;
        patch(&shop, &case.right).await?;
        goes_on(&shop, "web").await.context(case.reason)?;
    }
    ensure!(shop.rollout().await?["status"]["state"] == before, "the state changed");
    everything_is_as_in_git(&shop, "v1").await?;
    shop.load.snapshot().assert_none_failed(start, Instant::now())
}

/// A Rollout for a Deployment that is not there waits for it; a second one for a Deployment that
/// another has waits until that one is gone.
pub(crate) async fn a_workload_that_cannot_be_had_is_said(world: &'static World) -> Result<()> {
    let shop = Shop::open(world, "workload").await?;
    let start = shop.load.mark();
    let early = rollout(&shop, "early", "worker");
    apply(&world.kube(), &early, None).await?;
    let says = ["spec.workloadRef.name", "\"worker\"", "a Deployment that exists"];
    stalls(&shop, "early", "WorkloadMissing", &says).await?;
    let worker = format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: worker, namespace: {}}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: worker}}}}
  template:
    metadata: {{labels: {{app: worker}}}}
    spec: {{containers: [{{name: worker, image: 'registry.example.com/shop/app:v1'}}]}}
",
        shop.namespace
    );
    apply(&world.kube(), &worker, None).await?;
    goes_on(&shop, "early").await?;
    apply(&world.kube(), &rollout(&shop, "second", "web"), None).await?;
    let says = ["spec.workloadRef.name", "\"web\"", "Rollout web", "no older Rollout"];
    stalls(&shop, "second", "WorkloadTaken", &says).await?;
    let first = shop.rollout().await?["status"].take();
    ensure!(first["phase"] == "Idle" && !is_stalled(&first), "{first}");
    let web = shop.get("apps/v1", "Deployment", "web").await?.context("no Deployment")?;
    ensure!(web["metadata"]["labels"]["tidegate.dev/rollout"] == "web", "{web}");
    shop.flux.suspend().await?;
    shop.kubectl(&["delete", "rollouts.tidegate.dev", "web", "--timeout=60s"]).await?;
    goes_on(&shop, "second").await?;
    shop.load.snapshot().assert_none_failed(start, Instant::now())
}

/// Numbers that cannot be had decide nothing: no promotion, no abort. Once they can, it goes on.
pub(crate) async fn a_source_that_is_silent_decides_nothing(world: &'static World) -> Result<()> {
    let shop = Shop::open(world, "silent").await?;
    let silent = format!("silent-{}", shop.namespace);
    let source = format!(
        "
apiVersion: tidegate.dev/v1alpha1
kind: MetricSource
metadata: {{name: {silent}}}
spec: {{url: 'http://127.0.0.1:9', allowedNamespaces: ['*'], scrapeInterval: 2s, delay: 3s}}
"
    );
    apply(&world.kube(), &source, None).await?;
    let path = "apps/web/rollout.yaml";
    let text = shop.repository.read(path).await?.context(path)?;
    let text = text.replace("source: prometheus", &format!("source: {silent}"));
    let files = [(path, Some(text.as_str()))];
    let commit = shop.repository.commit("Ada Lovelace", "web: other numbers", &files).await?;
    shop.flux.reconcile().await?;
    shop.flux.wait_ready(&commit, SOON).await?;
    shop.release("v2", 0.0).await?;
    shop.wait_phase("Baking", SOON).await?;
    let start = shop.load.mark();
    eventually("it says that the source is silent", SOON, async || {
        let status = shop.rollout().await?["status"].take();
        let words = status.to_string();
        ensure!(status["verdict"] == "Error", "{status}");
        ensure!(words.contains("MetricsUnavailable"), "{status}");
        ensure!(words.contains("127.0.0.1:9") || words.contains(&silent), "{status}");
        Ok(Some(()))
    })
    .await?;
    tokio::time::sleep(std::time::Duration::from_secs(20)).await;
    let status = shop.rollout().await?["status"].take();
    ensure!(status["phase"] == "Baking" && status["weight"] == 10, "{status}");
    let url = json!({"spec": {"url": format!("http://127.0.0.1:{}", ports::PROMETHEUS)}});
    let url = url.to_string();
    let mend = ["patch", "metricsources.tidegate.dev", &silent, "--type=merge", "-p", &url];
    shop.kubectl(&mend).await?;
    eventually("it goes on", SOON * 2, async || {
        let status = shop.rollout().await?["status"].take();
        ensure!(status["weight"].as_u64() > Some(10), "{status}");
        Ok(Some(()))
    })
    .await?;
    shop.load.snapshot().assert_none_failed(start, Instant::now())
}

fn cases(namespace: &str) -> Vec<Case> {
    let none = Value::Null;
    let case = |wrong, right, reason, says| Case { wrong, right, reason, says };
    vec![
        case(
            json!({"services": ["wbe"]}),
            json!({"services": none}),
            "ServiceMissing",
            &["spec.services[0]", "\"wbe\"", "did you mean"],
        ),
        case(
            json!({"services": ["web", "other"]}),
            json!({"services": none}),
            "ServiceSelectsOthers",
            &["spec.services[1]", "\"other\"", "does not select the pods"],
        ),
        case(
            json!({"routes": [{"name": "other"}]}),
            json!({"routes": none}),
            "RouteWithoutService",
            &["HTTPRoute", "other", "spec.rules", "web as a backend"],
        ),
        case(
            json!({"git": {"paths": ["apps/web", "infra/web"]}}),
            json!({"git": {"paths": ["apps/web"]}}),
            "InvalidSpec",
            &["spec.git.paths[1]", "\"infra/web\"", "allows the namespace"],
        ),
        case(
            json!({"analysis": {"source": "prometeus"}}),
            json!({"analysis": {"source": "prometheus"}}),
            "InvalidSpec",
            &["spec.analysis.source", "\"prometeus\"", "allows the namespace"],
        ),
        case(
            json!({"analysis": {"templates": [{"name": "wbe"}]}}),
            json!({"analysis": {"templates": [{"name": "web"}]}}),
            "InvalidSpec",
            &["spec.analysis.templates[0]", "\"wbe\"", "web"],
        ),
        case(
            json!({"git": {"repository": "nowhere"}}),
            json!({"git": {"repository": namespace}}),
            "InvalidSpec",
            &["spec.git.repository", "\"nowhere\""],
        ),
    ]
}

async fn patch(shop: &Shop, spec: &Value) -> Result<()> {
    let text = json!({"spec": spec}).to_string();
    let patch = ["patch", "rollouts.tidegate.dev", "web", "--type=merge", "-p", &text];
    shop.kubectl(&patch).await.map(drop)
}

async fn somebody_elses(shop: &Shop) -> Result<()> {
    let namespace = &shop.namespace;
    let text = format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: other, namespace: {namespace}}}
spec: {{selector: {{app: other}}, ports: [{{name: http, port: 80}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: other, namespace: {namespace}}}
spec:
  parentRefs: [{{name: contour, namespace: projectcontour}}]
  hostnames: [other.{namespace}.example.com]
  rules: [{{backendRefs: [{{name: other, port: 80}}]}}]
"
    );
    apply(&shop.world.kube(), &text, None).await
}

fn rollout(shop: &Shop, name: &str, workload: &str) -> String {
    format!(
        "
apiVersion: tidegate.dev/v1alpha1
kind: Rollout
metadata: {{name: {name}, namespace: {}}}
spec: {{workloadRef: {{name: {workload}}}}}
",
        shop.namespace
    )
}

fn is_stalled(status: &Value) -> bool {
    stalled(status).is_some_and(|found| found["status"] == "True")
}

fn stalled(status: &Value) -> Option<&Value> {
    status["conditions"].as_array()?.iter().find(|found| found["type"] == "Stalled")
}

async fn status(shop: &Shop, name: &str) -> Result<Value> {
    let found = shop.get("tidegate.dev/v1alpha1", "Rollout", name).await?;
    Ok(found.with_context(|| format!("there is no Rollout {name}"))?["status"].take())
}

/// The condition says it, and so does the column that people see first.
async fn stalls(shop: &Shop, name: &str, reason: &str, says: &[&str]) -> Result<()> {
    eventually(&format!("{name} stalls: {reason}"), SOON, async || {
        let status = status(shop, name).await?;
        let found = stalled(&status).context("no condition")?;
        ensure!(found["status"] == "True" && found["reason"] == reason, "{status}");
        for (part, text) in [("condition", &found["message"]), ("message", &status["message"])] {
            let text = text.as_str().unwrap_or_default();
            for word in says {
                ensure!(text.contains(word), "the {part} lacks {word:?}: {text}");
            }
        }
        println!("{}: {reason}: {}", shop.namespace, found["message"]);
        Ok(Some(()))
    })
    .await
}

async fn goes_on(shop: &Shop, name: &str) -> Result<()> {
    eventually(&format!("{name} goes on"), SOON, async || {
        let status = status(shop, name).await?;
        ensure!(!is_stalled(&status) && status["phase"] == "Idle", "{status}");
        Ok(Some(()))
    })
    .await
}
