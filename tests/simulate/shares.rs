//! How often the judge is wrong, counted.

use tidegate::simulate::statistics::{Share, Statistics, many};
use tidegate_engine::sim::Truth;

use crate::support::world;

const RUNS: usize = 200;

fn count(name: &str) -> Statistics {
    many(&world(name), 1, RUNS, &|_| ())
}

/// The bound, and three standard errors on top: more is no accident.
fn at_most(bound: f64, share: Share) {
    let rate = share.count as f64 / share.of as f64;
    let limit = bound + 3.0 * (bound * (1.0 - bound) / share.of as f64).sqrt();
    assert!(rate <= limit, "{share:?}, at most {limit}");
}

#[test]
fn a_good_release_is_rolled_back_no_more_often_than_stated() {
    let sum = count("good-release");
    assert_eq!(sum.truth, Truth::NoWorse);
    assert_eq!(sum.wrong_promotions, None);
    at_most(0.001, sum.false_rollbacks.unwrap());
    assert!(sum.promoted > RUNS * 8 / 10, "{}", sum.promoted);
    assert_eq!(sum.seconds_to_promotion.len(), sum.promoted);
}

#[test]
fn an_incident_of_both_blames_nobody() {
    let sum = count("shared-incident");
    assert_eq!(sum.truth, Truth::NoWorse);
    at_most(0.001, sum.false_rollbacks.unwrap());
}

#[test]
fn a_bad_release_is_never_promoted_and_found_within_a_minute() {
    let sum = count("bad-release");
    assert_eq!(sum.truth, Truth::Worse);
    assert_eq!(sum.false_rollbacks, None);
    assert_eq!((sum.promoted, sum.aborted), (0, RUNS));
    assert!(sum.seconds_to_detect.iter().all(|time| *time < 60.0), "{:?}", sum.seconds_to_detect);
}

#[test]
fn a_slow_release_is_never_promoted() {
    let sum = count("slow-release");
    assert_eq!(sum.truth, Truth::Worse);
    at_most(0.05, sum.wrong_promotions.unwrap());
    assert!(sum.aborted > RUNS * 9 / 10, "{}", sum.aborted);
}

#[test]
fn every_run_is_counted_once_and_its_time_with_it() {
    let mut done = std::sync::Mutex::new(Vec::new());
    let sum = many(&world("bad-release"), 5, 9, &|count| done.lock().unwrap().push(count));
    assert_eq!(sum.promoted + sum.aborted + sum.undecided, 9);
    assert_eq!(sum.harmed.len(), 9);
    assert_eq!(sum.seconds_to_detect.len(), sum.aborted);
    let done = done.get_mut().unwrap();
    done.sort_unstable();
    assert_eq!(*done, (1..=9).collect::<Vec<_>>());
}
