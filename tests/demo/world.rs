//! All parts together: pods, proxy, load and scraper.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tidegate::demo::load::{Load, LoadSettings};
use tidegate::demo::processes::{Pods, PodsStatus};
use tidegate::demo::proxy::{Arm, Proxy};
use tidegate::demo::recorder::Recorder;
use tidegate::demo::scrape::{Scraper, Target};
use tidegate_engine::plan::Weight;
use tidegate_engine::state::Revision;

use crate::support::{pods, revision, status_when, template, until};

const KNOBS: [(&str, &str); 2] = [("START_DELAY_MS", "50"), ("LATENCY_MEDIAN_MS", "5")];

/// As many ready pods as asked for, and their arm's backends.
async fn serve(pods: &Pods, proxy: &Proxy, arm: Arm, revision: &Revision, replicas: u32) {
    pods.ensure(revision, &template(revision.as_str(), &KNOBS), replicas).unwrap();
    let complete = |status: &PodsStatus| (status.desired, status.ready) == (replicas, replicas);
    let status = status_when(pods, revision, complete).await;
    proxy.set_backends(arm, status.addresses);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_lost_from_a_canarys_start_to_its_end() {
    let (pods, v1, v2) = (pods(), revision("v1"), revision("v2"));
    let (proxy, address) = Proxy::start(3).await.unwrap();
    serve(&pods, &proxy, Arm::Stable, &v1, 2).await;
    let recorder = Arc::new(Recorder::default());
    let settings = LoadSettings { rate: 300.0, ..LoadSettings::default() };
    let load = Load::start(address, settings, recorder.clone()).unwrap();

    serve(&pods, &proxy, Arm::Canary, &v2, 1).await;
    proxy.set_weight(Weight::new(50).unwrap());
    until("the canary answers", || proxy.counts(Arm::Canary).requests > 20).await;
    proxy.set_weight(Weight::FULL);
    tokio::time::sleep(Duration::from_millis(200)).await;
    proxy.set_weight(Weight::ZERO);
    until("the canary is drained", || proxy.in_flight(Arm::Canary) == 0).await;
    proxy.set_backends(Arm::Canary, Vec::new());
    pods.remove(&v2).await;
    // A pod of stable leaves while it has traffic; it serves on until the proxy has followed.
    serve(&pods, &proxy, Arm::Stable, &v1, 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    load.stop().await;

    assert_eq!(recorder.failures(), []);
    let by_version = recorder.by_version();
    assert_eq!(by_version.len(), 2, "{by_version:?}");
    let canary = by_version[&Some("v2".to_owned())];
    assert_eq!(canary.requests, proxy.counts(Arm::Canary).requests);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_gateway_and_pods_count_the_same() {
    let (pods, v1) = (pods(), revision("v1"));
    let (proxy, address) = Proxy::start(4).await.unwrap();
    serve(&pods, &proxy, Arm::Stable, &v1, 2).await;
    let scraper = Scraper::start(Duration::from_millis(250));
    let status = pods.status(&v1).unwrap();
    let targets = status
        .pods
        .iter()
        .map(|pod| Target { pod: pod.name.clone(), address: pod.address.unwrap() });
    scraper.set_targets(targets.collect(), Utc::now());
    let recorder = Arc::new(Recorder::default());
    let load = Load::start(address, LoadSettings::default(), recorder.clone()).unwrap();
    until("200 requests", || recorder.totals().requests >= 200).await;
    load.stop().await;
    scraper.scrape_now().await;

    // The pods are new: what they have counted is what they counted in this test.
    let last = |pod: &String| scraper.readings(pod).last().unwrap().total;
    let counted: u64 = scraper.pods().iter().map(last).sum();
    let totals = recorder.totals();
    assert_eq!(counted, totals.requests);
    assert_eq!(proxy.reading(Arm::Stable, Utc::now()).total, totals.requests);
}
