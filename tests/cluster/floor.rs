//! The floor: what every other story stands on, from a commit to a notification.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use serde_json::{Value, json};
use tidegate_testbed::{
    gitops::FluxOptions,
    load::{Load, LoadOptions, Record},
    world::{World, eventually, ports},
};

/// Generous: two cores may be busy with a build beside this.
const SOON: Duration = Duration::from_mins(1);
/// Requests per second.
const RATE: f64 = 200.0;
/// How long requests are counted: 1000 of them.
const COUNTED: Duration = Duration::from_secs(5);

/// Where the story plays.
struct Place {
    namespace: String,
    host: String,
}

impl Place {
    /// The application: two versions behind one host, weights in percent.
    fn manifests(&self, version: &str, weights: (u32, u32)) -> String {
        let documents = [
            self.deployment("stable", version),
            self.service("stable"),
            self.deployment("canary", "v2"),
            self.service("canary"),
            self.route(weights),
        ];
        documents.map(|document| document.to_string()).join("\n---\n")
    }

    fn deployment(&self, name: &str, version: &str) -> Value {
        let labels = json!({"app": name});
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": labels},
                "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
                "template": {
                    "metadata": {"labels": labels, "annotations": {
                        "prometheus.io/scrape": "true", "prometheus.io/port": "8080",
                    }},
                    "spec": {"containers": [{
                        "name": "app",
                        "image": format!("app:{version}"),
                        "ports": [{"containerPort": 8080}],
                        "readinessProbe": {
                            "httpGet": {"path": "/readyz", "port": 8080},
                            "periodSeconds": 1,
                        },
                        // Endpoints must have left Envoy before the process ends.
                        "lifecycle": {"preStop": {"sleep": {"seconds": 3}}},
                        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {
                            "fieldPath": "status.podIP",
                        }}}],
                    }]},
                },
            },
        })
    }

    fn service(&self, name: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]},
        })
    }

    fn route(&self, (stable, canary): (u32, u32)) -> Value {
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": "app", "namespace": self.namespace},
            "spec": {
                "parentRefs": [{"name": "contour", "namespace": "projectcontour"}],
                "hostnames": [self.host],
                "rules": [{"backendRefs": [
                    {"name": "stable", "port": 80, "weight": stable},
                    {"name": "canary", "port": 80, "weight": canary},
                ]}],
            },
        })
    }
}

/// A commit is applied, pods get ready, requests flow, weights are kept, metrics are there, and a
/// rolling update loses no request.
pub(crate) async fn a_commit_becomes_traffic(world: &'static World) -> Result<()> {
    let namespace = world.namespace("floor").await?;
    let host = format!("{namespace}.example.com");
    let place = Place { namespace, host };
    let repository = world.forge().repository(&place.namespace).await?;
    let commit = async |message: &str, text: &str| {
        repository.commit("Ada Lovelace", message, &[("shop/app.yaml", Some(text))]).await
    };
    let sha = commit("Add the shop", &place.manifests("v1", (100, 0))).await?;
    let options = FluxOptions::default();
    let shop =
        world.flux().follow(&place.namespace, "shop", &repository, "./shop", options).await?;
    shop.wait_ready(&sha, SOON).await?;
    for name in ["stable", "canary"] {
        ready(world, &place.namespace, name).await?;
    }

    let load = Load::start(LoadOptions::new(world.gateway(), &place.host, RATE)).await?;
    served(&load, "stable alone answers", |record| record.share("v1") == Some(1.0)).await?;
    let flows = load.mark();
    counted(&load, flows).await?;

    let sha = commit("Try the canary", &place.manifests("v1", (90, 10))).await?;
    shop.reconcile().await?;
    shop.wait_ready(&sha, SOON).await?;
    served(&load, "the canary answers", |record| record.share("v2") > Some(0.0)).await?;
    let split = load.mark();
    let share = counted(&load, split).await?.share("v2").context("no pod answered")?;
    // 1000 requests: 10 percent is 100 of them, with a standard deviation of 9.5.
    ensure!((0.06..=0.14).contains(&share), "the canary answers {share} of the requests");
    counters_per_pod(&place.namespace).await?;

    let sha = commit("Release v3", &place.manifests("v3", (100, 0))).await?;
    shop.reconcile().await?;
    shop.wait_ready(&sha, SOON).await?;
    served(&load, "v3 alone answers", |record| record.share("v3") == Some(1.0)).await?;
    ready(world, &place.namespace, "stable").await?;
    let end = load.mark();
    let record = load.stop().await;
    record.assert_none_failed(flows, end)?;
    let versions = record.since(flows).by_version();
    ensure!(versions.len() == 3, "answered by {versions:?}");
    Ok(())
}

/// Waits until all replicas of the newest template are available.
async fn ready(world: &World, namespace: &str, name: &str) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(world.kube(), namespace);
    eventually(&format!("{name} is ready"), SOON, async || {
        let deployment = deployments.get(name).await?;
        let generation = deployment.metadata.generation;
        let status = deployment.status.unwrap_or_default();
        ensure!(status.observed_generation == generation, "its controller has not seen it");
        let available = (status.updated_replicas, status.available_replicas, status.replicas);
        ensure!(available == (Some(2), Some(2), Some(2)), "its replicas are {available:?}");
        Ok(Some(()))
    })
    .await
}

/// Waits until this holds for the requests of a second.
async fn served(load: &Load, what: &str, holds: impl Fn(&Record) -> bool) -> Result<()> {
    eventually(what, SOON, async || {
        let from = load.mark();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let record = load.snapshot().since(from);
        ensure!(holds(&record), "{:?}, {:?}", record.by_version(), record.by_outcome());
        Ok(Some(()))
    })
    .await
}

/// The requests of the next seconds: as many as were to be sent, and none failed.
async fn counted(load: &Load, from: Instant) -> Result<Record> {
    tokio::time::sleep_until((from + COUNTED).into()).await;
    let record = load.snapshot().between(from, from + COUNTED);
    record.assert_none_failed(from, from + COUNTED)?;
    let least = RATE * COUNTED.as_secs_f64() * 0.9;
    ensure!(record.len() as f64 >= least, "only {} requests were answered", record.len());
    Ok(record)
}

/// Prometheus has the counters of every pod under its name and the hash of its template.
async fn counters_per_pod(namespace: &str) -> Result<()> {
    let query = format!(
        "sum by (app, pod, pod_template_hash) (http_requests_total{{namespace=\"{namespace}\"}})"
    );
    eventually("the counters of four pods", SOON, async || {
        let answer = super::servers::ask_prometheus(&query).await?;
        let results = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        let mut pods: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for result in &results {
            let label = |name: &str| result["metric"][name].as_str().map(str::to_owned);
            let (app, pod, hash) = (label("app"), label("pod"), label("pod_template_hash"));
            let (Some(app), Some(pod), Some(hash)) = (app, pod, hash) else { continue };
            let value: f64 = result["value"][1].as_str().unwrap_or_default().parse()?;
            if value > 0.0 && pod.starts_with(&format!("{app}-{hash}-")) {
                pods.entry(app).or_default().push(pod);
            }
        }
        let two = |app: &str| pods.get(app).is_some_and(|pods| pods.len() == 2);
        ensure!(two("stable") && two("canary"), "Prometheus answers {answer}");
        Ok(Some(()))
    })
    .await
}

/// An alert that is posted reaches people after Alertmanager's waiting time, once.
pub(crate) async fn an_alert_reaches_people(world: &'static World) -> Result<()> {
    let name = world.namespace("alert").await?;
    let url = format!("http://127.0.0.1:{}/api/v2/alerts", ports::ALERTMANAGER);
    let alert = json!([{
        "labels": {"alertname": "Floor", "namespace": name},
        "annotations": {"summary": "the floor is there"},
    }]);
    let posted = Instant::now();
    let answer = reqwest::Client::new()
        .post(&url)
        .header("content-type", "application/json")
        .body(alert.to_string())
        .send()
        .await?;
    ensure!(answer.status().is_success(), "POST {url}: {}", answer.status());
    let labels = [("alertname", "Floor"), ("namespace", name.as_str())];
    let notification = world
        .receiver()
        .wait_for("the alert", Duration::from_mins(1), |notification| notification.fires(&labels))
        .await?;
    let took = notification.at.duration_since(posted);
    ensure!(took >= Duration::from_secs(29), "it did not wait for its group: {took:?}");
    let many = world.receiver().notifications().iter().filter(|one| one.fires(&labels)).count();
    ensure!(many == 1, "people were told {many} times");
    Ok(())
}
