//! Pods that are processes.

use std::time::Duration;

use hyper::StatusCode;

use crate::support::{PATIENCE, get, pods, revision, status_when, template};

const FAST: [(&str, &str); 3] =
    [("START_DELAY_MS", "0"), ("LATENCY_MEDIAN_MS", "1"), ("DRAIN_DELAY_MS", "0")];

#[tokio::test]
async fn pods_of_a_revision_become_ready_and_answer_with_its_version() {
    let (pods, v1) = (pods(), revision("abc"));
    pods.ensure(&v1, &template("v1", &FAST), 2).unwrap();
    let status = status_when(&pods, &v1, |status| status.ready == 2).await;
    assert_eq!((status.desired, status.running, status.restarts), (2, 2, 0));
    assert_eq!(status.addresses.len(), 2);
    for (pod, address) in status.pods.iter().zip(&status.addresses) {
        assert!(pod.name.starts_with("shop-abc-"), "{}", pod.name);
        assert_eq!(get(*address, "/").await, (StatusCode::OK, format!("v1 {}\n", pod.name)));
    }
    // And then nothing more happens.
    pods.ensure(&v1, &template("v1", &FAST), 2).unwrap();
    assert_eq!(pods.status(&v1), Some(status));
}

#[tokio::test]
async fn a_pod_that_is_too_much_leaves_the_addresses_at_once_and_serves_on() {
    let (pods, v1) = (pods(), revision("abc"));
    let slow = [("START_DELAY_MS", "0"), ("LATENCY_MEDIAN_MS", "1"), ("DRAIN_DELAY_MS", "60000")];
    pods.ensure(&v1, &template("v1", &slow), 2).unwrap();
    let before = status_when(&pods, &v1, |status| status.ready == 2).await;
    assert!(pods.scale(&v1, 1));
    let after = pods.status(&v1).unwrap();
    assert_eq!((after.desired, &after.addresses[..]), (1, &before.addresses[..1]));
    assert_eq!(get(before.addresses[1], "/").await.0, StatusCode::OK);
}

#[tokio::test]
async fn removed_pods_are_gone_when_it_returns() {
    let (pods, v1) = (pods(), revision("abc"));
    pods.ensure(&v1, &template("v1", &FAST), 2).unwrap();
    let status = status_when(&pods, &v1, |status| status.ready == 2).await;
    tokio::time::timeout(PATIENCE, pods.remove(&v1)).await.unwrap();
    assert_eq!(pods.status(&v1), None);
    assert_eq!(pods.revisions(), []);
    for address in status.addresses {
        assert!(tokio::net::TcpStream::connect(address).await.is_err());
    }
    // And then nothing more happens.
    pods.remove(&v1).await;
    assert!(!pods.scale(&v1, 3));
}

#[tokio::test]
async fn dropped_pods_are_killed() {
    let (pods, v1) = (pods(), revision("abc"));
    let slow = [("START_DELAY_MS", "0"), ("DRAIN_DELAY_MS", "60000")];
    pods.ensure(&v1, &template("v1", &slow), 1).unwrap();
    let status = status_when(&pods, &v1, |status| status.ready == 1).await;
    drop(pods);
    let gone = async {
        while tokio::net::TcpStream::connect(status.addresses[0]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
}

#[tokio::test]
async fn a_crash_loop_is_seen_with_what_the_process_said() {
    let (pods, v2) = (pods(), revision("bad"));
    pods.ensure(&v2, &template("v2", &[("CRASH_AFTER_MS", "5")]), 1).unwrap();
    let status = status_when(&pods, &v2, |status| status.crash_looping).await;
    assert!(status.restarts >= 1, "{status:?}");
    let said = status.pods[0].message.as_deref();
    assert_eq!(said, Some("tidegate: crashed after 5 ms, as it was told"));
}

#[tokio::test]
async fn a_knob_that_makes_no_sense_crashes_the_pods() {
    let (pods, v2) = (pods(), revision("bad"));
    pods.ensure(&v2, &template("v2", &[("ERROR_RATE", "lots")]), 1).unwrap();
    let status = status_when(&pods, &v2, |status| status.crash_looping).await;
    assert_eq!((status.ready, &status.addresses[..]), (0, &[][..]));
}
