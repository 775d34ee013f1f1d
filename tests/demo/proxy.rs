//! The splitting proxy between real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use hyper::StatusCode;
use tidegate::demo::load::{Load, LoadSettings};
use tidegate::demo::proxy::{Arm, Proxy};
use tidegate::demo::recorder::Recorder;
use tidegate_engine::plan::Weight;
use tokio::time::sleep;

use crate::support::{backend, get, until};

fn weight(percent: u8) -> Weight {
    Weight::new(percent).unwrap()
}

async fn arms(delay: Duration) -> (Proxy, SocketAddr) {
    let (proxy, address) = Proxy::start(42).await.unwrap();
    proxy.set_backends(Arm::Stable, vec![backend("v1", 200, delay).await]);
    proxy.set_backends(Arm::Canary, vec![backend("v2", 200, delay).await]);
    (proxy, address)
}

/// How many of `requests` the canary got by this weight and seed.
async fn canary_share(seed: u64, percent: u8, requests: usize) -> usize {
    let (proxy, address) = Proxy::start(seed).await.unwrap();
    proxy.set_backends(Arm::Stable, vec![backend("v1", 200, Duration::ZERO).await]);
    proxy.set_backends(Arm::Canary, vec![backend("v2", 200, Duration::ZERO).await]);
    proxy.set_weight(weight(percent));
    let mut canary = 0;
    for _ in 0..requests {
        canary += usize::from(get(address, "/").await.1 == "v2");
    }
    canary
}

#[tokio::test]
async fn the_split_follows_the_weight_and_is_the_same_for_the_same_seed() {
    // Binomial(1000, .1) has a standard deviation of 9.5: four of them.
    let first = canary_share(7, 10, 1_000).await;
    assert!((62..=138).contains(&first), "{first} of 1000");
    assert_eq!(canary_share(7, 10, 1_000).await, first);
    assert_eq!(canary_share(7, 0, 200).await, 0);
    assert_eq!(canary_share(7, 100, 200).await, 200);
}

#[tokio::test]
async fn the_weight_is_read_back() {
    let (proxy, _) = Proxy::start(1).await.unwrap();
    assert_eq!(proxy.weight(), Weight::ZERO);
    proxy.set_weight(weight(25));
    assert_eq!(proxy.weight(), weight(25));
}

#[tokio::test]
async fn backends_of_an_arm_take_turns() {
    let (proxy, address) = Proxy::start(1).await.unwrap();
    let pods = [
        backend("a", 200, Duration::ZERO).await,
        backend("b", 200, Duration::ZERO).await,
        backend("c", 200, Duration::ZERO).await,
    ];
    proxy.set_backends(Arm::Stable, pods.to_vec());
    assert_eq!(proxy.backends(Arm::Stable), pods);
    let mut answered = String::new();
    for _ in 0..6 {
        answered.push_str(&get(address, "/").await.1);
    }
    assert_eq!(answered, "abcabc");
}

#[tokio::test]
async fn an_empty_arm_says_nothing_about_its_revision() {
    let (proxy, address) = Proxy::start(1).await.unwrap();
    proxy.set_weight(Weight::FULL);
    assert_eq!(get(address, "/").await.0, StatusCode::SERVICE_UNAVAILABLE);
    let counts = proxy.counts(Arm::Canary);
    assert_eq!((counts.requests, counts.errors, counts.no_backend), (0, 0, 1));
    assert_eq!(proxy.in_flight(Arm::Canary), 0);
}

#[tokio::test]
async fn what_backends_do_is_counted_to_their_arm() {
    let (proxy, address) = Proxy::start(1).await.unwrap();
    let sick = backend("v2", 500, Duration::ZERO).await;
    let nobody = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    proxy.set_weight(Weight::FULL);
    proxy.set_backends(Arm::Canary, vec![sick, nobody]);
    assert_eq!(get(address, "/").await.0, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(get(address, "/").await.0, StatusCode::BAD_GATEWAY);
    let counts = proxy.counts(Arm::Canary);
    assert_eq!((counts.requests, counts.errors, counts.unreachable), (2, 2, 1));
    let reading = proxy.reading(Arm::Canary, Utc::now());
    assert_eq!((reading.total, reading.errors), (2, 2));
    assert_eq!(reading.buckets.last(), Some(&(f64::INFINITY, 2)));
    assert_eq!(proxy.counts(Arm::Stable).requests, 0);
}

#[tokio::test]
async fn after_weight_0_the_canary_drains_and_nothing_follows() {
    let (proxy, address) = arms(Duration::from_millis(300)).await;
    proxy.set_weight(Weight::FULL);
    let open: Vec<_> = (0..5).map(|_| tokio::spawn(get(address, "/"))).collect();
    until("five requests are in flight", || proxy.in_flight(Arm::Canary) == 5).await;
    proxy.set_weight(Weight::ZERO);
    let late = tokio::spawn(get(address, "/"));
    until("the canary is drained", || proxy.in_flight(Arm::Canary) == 0).await;
    for request in open {
        assert_eq!(request.await.unwrap(), (StatusCode::OK, "v2".to_owned()));
    }
    assert_eq!(late.await.unwrap().1, "v1");
    assert_eq!(proxy.counts(Arm::Canary).requests, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_lost_while_weight_and_backends_change() {
    let (proxy, address) = arms(Duration::from_millis(3)).await;
    let recorder = Arc::new(Recorder::default());
    let settings = LoadSettings { rate: 300.0, ..LoadSettings::default() };
    let load = Load::start(address, settings, recorder.clone()).unwrap();
    for round in 0_u8..15 {
        let fresh = backend("v2", 200, Duration::from_millis(3)).await;
        proxy.set_backends(Arm::Canary, vec![fresh]);
        proxy.set_weight(if round % 3 == 0 { Weight::ZERO } else { Weight::FULL });
        sleep(Duration::from_millis(100)).await;
    }
    proxy.set_weight(Weight::ZERO);
    load.stop().await;
    assert_eq!(recorder.failures(), []);
    assert_eq!(recorder.overflows(), 0);
    let totals = recorder.totals();
    let seen = proxy.counts(Arm::Stable).requests + proxy.counts(Arm::Canary).requests;
    assert_eq!(totals.requests, seen);
    assert!(totals.requests > 100, "{totals:?}");
}
