//! The scraper against real pods.

use std::time::Duration;

use chrono::Utc;
use tidegate::demo::scrape::{Scraper, Target};

use crate::support::{get, pods, revision, status_when, template, until};

#[tokio::test]
async fn it_sees_exactly_what_the_pods_counted() {
    let (pods, v2) = (pods(), revision("abc"));
    let knobs = [("START_DELAY_MS", "0"), ("LATENCY_MEDIAN_MS", "1"), ("ERROR_RATE", "0.5")];
    let began = Utc::now();
    pods.ensure(&v2, &template("v2", &knobs), 1).unwrap();
    let status = status_when(&pods, &v2, |status| status.ready == 1).await;
    let (pod, address) = (status.pods[0].name.clone(), status.addresses[0]);
    let scraper = Scraper::start(Duration::from_millis(250));
    scraper.set_targets(vec![Target { pod: pod.clone(), address }], Utc::now());
    let mut errors = 0;
    for _ in 0..40 {
        errors += u64::from(get(address, "/").await.0.is_server_error());
    }
    until("all 40 are read", || {
        scraper.readings(&pod).last().is_some_and(|reading| reading.total == 40)
    })
    .await;
    let readings = scraper.readings(&pod);
    let last = readings.last().unwrap();
    assert_eq!((last.total, last.errors), (40, errors));
    assert_eq!(last.buckets.last(), Some(&(f64::INFINITY, 40)));
    assert!(last.start_time.is_some_and(|start| start > began && start < Utc::now()));
    assert!(readings.is_sorted_by_key(|reading| reading.at));
}

#[tokio::test]
async fn a_pod_that_is_gone_has_missing_readings_and_keeps_those_it_had() {
    let (pods, v1) = (pods(), revision("abc"));
    let fast = [("START_DELAY_MS", "0"), ("DRAIN_DELAY_MS", "0")];
    pods.ensure(&v1, &template("v1", &fast), 1).unwrap();
    let status = status_when(&pods, &v1, |status| status.ready == 1).await;
    let (pod, address) = (status.pods[0].name.clone(), status.addresses[0]);
    let scraper = Scraper::start(Duration::from_millis(500));
    scraper.set_targets(vec![Target { pod: pod.clone(), address }], Utc::now());
    until("a reading", || !scraper.readings(&pod).is_empty()).await;
    pods.remove(&v1).await;
    let before = scraper.readings(&pod).len();
    scraper.scrape_now().await;
    let series = scraper.series(&pod).unwrap();
    assert!(series.failures >= 1, "{series:?}");
    assert_eq!(series.readings.len(), before);
    assert_eq!(series.trouble.as_deref(), Some("the request failed"));
}
