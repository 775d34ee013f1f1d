//! Counters of one process for both arms, told apart by the backend that it sent a request to.

use serde_json::json;
use tidegate_engine::judge::Counts;

use super::{Asking, SINCE, Store, counts, line, matrix, sum};

const ERRORS: &str = "{name: gateway, by: backend, ratio: {\
    total: 'envoy_cluster_upstream_rq_completed{envoy_cluster_name=~\"$(namespace)_$(backend)_.*\"}', \
    bad: 'envoy_cluster_upstream_rq_xx{envoy_response_code_class=\"5\",envoy_cluster_name=~\"$(namespace)_$(backend)_.*\"}'}}";

/// One counter at one instant.
struct Counter {
    is_canary: bool,
    is_bad: bool,
    /// Since the evidence begins.
    second: i64,
}

/// A gateway that is read each second; `None`: it has no such series yet.
async fn gateway(count: impl Fn(&Counter) -> Option<i64> + Send + Sync + 'static) -> Store {
    Store::start(move |asked| {
        let is_canary = asked.query.contains("shop_web-canary_");
        let is_bad = asked.query.contains("_xx");
        if !asked.query.contains("envoy_cluster") {
            return matrix(&[]);
        }
        let one = line(asked, &json!({"instance": "10.0.0.9:8002"}), |instant| {
            let counted = count(&Counter { is_canary, is_bad, second: instant - SINCE })?;
            let is_time = asked.query.contains("timestamp(");
            Some((if is_time { instant } else { counted }) as f64)
        });
        matrix(one.as_slice())
    })
    .await
}

/// Canary and stable as the guard lane saw them last.
async fn newest(store: &Store) -> (Option<Counts>, Option<Counts>) {
    let samples = Asking::new(store, ERRORS).look(62).await;
    let last = counts(&samples, "gateway").guard.last().copied().unwrap();
    (last.canary, last.stable)
}

#[tokio::test]
async fn a_gateway_counts_for_both_arms() {
    let store = gateway(|counter| {
        // The canary's requests of an earlier trial are counted too; they are not new.
        let rate = if counter.is_canary { 5 } else { 20 };
        let total = 7_000 + (counter.second + 1_000_000) * rate;
        match counter {
            Counter { is_bad: false, .. } => Some(total),
            Counter { is_canary: true, .. } => Some(total / 10),
            Counter { is_canary: false, .. } => None,
        }
    })
    .await;
    let samples = Asking::new(&store, ERRORS).look(62).await;
    let (canary, stable) = sum(counts(&samples, "gateway"));
    assert_eq!(canary, Counts { total: 300, bad: 30 });
    assert_eq!(stable, Counts { total: 1200, bad: 0 });
}

#[tokio::test]
async fn a_gateways_counts_from_before_it_was_read_are_not_the_canarys() {
    // Read only from the 20th second on; the canary's errors begin with the 40th.
    let store = gateway(|counter| match counter {
        Counter { is_bad: true, is_canary, second } => {
            (*is_canary && *second >= 40).then(|| second - 38)
        }
        Counter { second, .. } => (*second >= 20).then(|| 9_000 + second * 5),
    })
    .await;
    let (canary, stable) = newest(&store).await;
    assert_eq!(canary, Some(Counts { total: 215, bad: 25 }));
    assert_eq!(stable, Some(Counts { total: 215, bad: 0 }));
}

#[tokio::test]
async fn a_canarys_first_requests_at_a_gateway_that_was_read_before_all_count() {
    // The gateway has no series of a backend before its first answer. All of them are bad.
    let store = gateway(|counter| {
        (!counter.is_canary || counter.second >= 10).then(|| counter.second * 5 + 100)
    })
    .await;
    let (canary, stable) = newest(&store).await;
    assert_eq!(canary, Some(Counts { total: 415, bad: 415 }));
    assert_eq!(stable, Some(Counts { total: 315, bad: 315 }));
}
