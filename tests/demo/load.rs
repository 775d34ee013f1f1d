//! The load through real sockets.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tidegate::demo::load::{Load, LoadSettings};
use tidegate::demo::recorder::{Recorder, Totals};

use crate::support::{backend, until};

#[tokio::test]
async fn every_request_is_recorded_with_its_version() {
    let began = Utc::now();
    let target = backend("v1", 200, Duration::ZERO).await;
    let recorder = Arc::new(Recorder::default());
    let load = Load::start(target, LoadSettings::default(), recorder.clone()).unwrap();
    until("200 requests", || recorder.totals().requests >= 200).await;
    load.stop().await;
    let totals = recorder.totals();
    assert_eq!(recorder.by_version()[&Some("v1".to_owned())], totals);
    assert_eq!(recorder.failures_between(began, Utc::now()), 0);
    // And then nothing more happens.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(recorder.totals(), totals);
}

#[tokio::test]
async fn a_slow_service_does_not_slow_down_the_load() {
    // Three answers a second and place would be possible if requests waited for one another.
    let target = backend("v1", 200, Duration::from_millis(300)).await;
    let recorder = Arc::new(Recorder::default());
    let settings = LoadSettings { rate: 200.0, ..LoadSettings::default() };
    let load = Load::start(target, settings, recorder.clone()).unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    load.stop().await;
    let totals = recorder.totals();
    assert_eq!(totals.failures, 0);
    assert!(totals.requests > 20, "{totals:?}");
}

#[tokio::test]
async fn what_cannot_be_sent_is_counted() {
    let target = backend("v1", 200, Duration::from_mins(10)).await;
    let recorder = Arc::new(Recorder::default());
    let settings =
        LoadSettings { rate: 200.0, max_in_flight: 3, patience: Duration::from_millis(500) };
    let load = Load::start(target, settings, recorder.clone()).unwrap();
    until("two overflows", || recorder.overflows() >= 2).await;
    load.stop().await;
    let totals = recorder.totals();
    assert_eq!(totals.failures, totals.requests, "no answer is a failure");
    assert_eq!(recorder.by_version()[&None], totals);
    assert_ne!(totals, Totals::default());
}
