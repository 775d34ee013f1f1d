//! The rules by which readings become counts, one fixture each.

use super::*;

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
}

fn reading(second: i64, total: u64, bad: Option<u64>) -> Reading {
    Reading { at: at(second), total: Some(total), bad, started: None }
}

fn pod(side: Side, created: i64, readings: Vec<Reading>) -> Pod {
    Pod { side, created: at(created), gone: None, readings }
}

fn spacing() -> Spacing {
    Spacing {
        since: at(0),
        window: TimeDelta::seconds(10),
        stale: TimeDelta::seconds(10),
        forget: TimeDelta::seconds(60),
    }
}

fn folded(readings: &[Reading], from_zero: bool) -> (Counts, bool) {
    let mut counter = Counter::default();
    for reading in readings {
        counter.fold(reading, from_zero);
    }
    (counter.counts().unwrap(), counter.is_skewed())
}

fn counts(total: u64, bad: u64) -> Counts {
    Counts { total, bad }
}

#[test]
fn a_new_pods_first_reading_counts_in_full_and_an_old_ones_does_not() {
    let readings = [reading(0, 100, Some(5)), reading(10, 110, Some(7))];
    assert_eq!(folded(&readings, true), (counts(110, 7), false));
    assert_eq!(folded(&readings, false), (counts(10, 2), false));
}

#[test]
fn errors_without_a_series_are_none_and_the_first_one_counts() {
    let readings = [reading(0, 100, None), reading(10, 110, None), reading(20, 120, Some(3))];
    assert_eq!(folded(&readings, false), (counts(20, 3), false));
}

#[test]
fn a_pod_without_a_series_of_requests_has_no_counts() {
    let mut counter = Counter::default();
    counter.fold(&Reading { at: at(0), total: None, bad: Some(3), started: None }, true);
    assert_eq!(counter.counts(), None);
}

#[test]
fn a_restart_starts_again_at_zero_and_loses_nothing() {
    let readings = [reading(0, 1000, Some(10)), reading(10, 30, None), reading(20, 40, Some(1))];
    assert_eq!(folded(&readings, false), (counts(40, 1), false));
}

#[test]
fn another_start_of_the_process_is_a_restart_even_when_the_counter_is_higher() {
    let started = |reading: Reading, second| Reading { started: Some(at(second)), ..reading };
    let readings = [started(reading(0, 10, Some(1)), -100), started(reading(10, 12, Some(2)), 5)];
    assert_eq!(folded(&readings, false), (counts(12, 2), false));
}

#[test]
fn two_scrapers_that_take_turns_count_nothing_twice() {
    let readings = [
        reading(0, 1000, Some(10)),
        reading(10, 1100, Some(12)),
        reading(20, 1090, Some(11)),
        reading(30, 1110, Some(12)),
    ];
    assert_eq!(folded(&readings, false), (counts(110, 2), true));
}

#[test]
fn an_error_series_that_vanishes_for_a_while_counts_nothing_twice() {
    let readings = [reading(0, 100, Some(5)), reading(10, 110, None), reading(20, 120, Some(6))];
    assert_eq!(folded(&readings, false), (counts(20, 1), false));
}

#[test]
fn windows_hold_what_both_arms_counted_between_their_ends() {
    let pods = [
        pod(Side::Canary, -5, vec![reading(1, 10, Some(2)), reading(9, 20, Some(4))]),
        pod(Side::Stable, -900, vec![reading(0, 500, None), reading(8, 600, Some(1))]),
        pod(Side::Stable, -900, vec![reading(-1, 700, Some(3)), reading(9, 900, Some(3))]),
    ];
    let found = windows(&pods, &spacing(), at(12));
    let expected = Window {
        end: at(10),
        canary: Some(counts(20, 4)),
        stable: Some(counts(300, 1)),
        stable_pods: vec![counts(100, 1), counts(200, 0)],
    };
    assert_eq!(found, vec![expected]);
}

#[test]
fn a_missing_reading_makes_the_window_longer_and_loses_nothing() {
    let canary = vec![reading(0, 0, None), reading(10, 10, None), reading(30, 30, Some(3))];
    let stable: Vec<_> =
        (0..4_u32).map(|i| reading(i64::from(i) * 10, 100 * u64::from(i), None)).collect();
    let pods = [pod(Side::Canary, -5, canary), pod(Side::Stable, -900, stable)];
    let spacing = Spacing { stale: TimeDelta::seconds(5), ..spacing() };
    let found = windows(&pods, &spacing, at(30));
    let ends: Vec<_> = found.iter().map(|window| window.end).collect();
    assert_eq!(ends, vec![at(10), at(30)]);
    assert_eq!(found[1].canary, Some(counts(20, 3)));
    assert_eq!(found[1].stable, Some(counts(200, 0)));
}

#[test]
fn a_pod_that_went_keeps_its_counts_and_holds_nobody_up() {
    let gone = Pod {
        gone: Some(at(15)),
        ..pod(Side::Canary, -5, vec![reading(0, 0, None), reading(10, 10, Some(1))])
    };
    let readings = |n: u32| (0..n).map(|i| reading(i64::from(i) * 10, 0, None)).collect();
    let pods = [gone, pod(Side::Stable, -900, readings(5))];
    let found = windows(&pods, &spacing(), at(40));
    assert_eq!(found.len(), 4);
    let canary: Vec<_> = found.iter().map(|window| window.canary).collect();
    assert_eq!(canary[0], Some(counts(10, 1)));
    assert!(canary[1..].iter().all(|canary| *canary == Some(counts(0, 0))));
}

#[test]
fn a_silent_pod_holds_the_others_up_only_for_a_while() {
    let silent = pod(Side::Stable, -900, vec![reading(0, 50, None)]);
    let canary = (0..20_u32).map(|i| reading(i64::from(i) * 10, u64::from(i), None)).collect();
    let found = windows(&[silent, pod(Side::Canary, -5, canary)], &spacing(), at(190));
    // 10 s: the reading is fresh. 20 to 60 s: it is not, and not forgotten.
    let ends: Vec<_> = found.iter().map(|window| (window.end - at(0)).num_seconds()).collect();
    assert_eq!(ends, [10].into_iter().chain((7..=19).map(|i| i * 10)).collect::<Vec<_>>());
    let total: u64 = found.iter().map(|window| window.canary.unwrap().total).sum();
    assert_eq!(total, 19);
}

#[test]
fn an_arm_without_a_series_is_absent_not_zero() {
    let stable = (0..3_u32).map(|i| reading(i64::from(i) * 10, 100, None)).collect();
    let pods = [pod(Side::Stable, -900, stable), pod(Side::Canary, 0, Vec::new())];
    let found = windows(&pods, &spacing(), at(20));
    assert_eq!(found.first().map(|window| window.canary), Some(None));
    assert_eq!(found.first().map(|window| window.stable), Some(Some(counts(0, 0))));
}

#[test]
fn the_guard_sees_every_reading_at_once() {
    let pods = [
        pod(Side::Canary, -5, vec![reading(-1, 1, None), reading(3, 5, Some(4))]),
        pod(Side::Canary, -5, vec![reading(4, 2, Some(2))]),
        pod(Side::Stable, -900, vec![reading(3, 70, Some(1)), reading(4, 80, Some(1))]),
    ];
    let sample = |second, canary, stable| GuardSample {
        at: at(second),
        canary: Some(canary),
        stable: Some(stable),
    };
    assert_eq!(
        guard(&pods, at(0)),
        vec![sample(3, counts(4, 4), counts(0, 0)), sample(4, counts(6, 6), counts(10, 0)),]
    );
}

#[test]
fn a_window_of_no_length_gives_no_windows() {
    let pods = [pod(Side::Canary, 0, vec![reading(0, 1, None)])];
    let spacing = Spacing { window: TimeDelta::zero(), ..spacing() };
    assert_eq!(windows(&pods, &spacing, at(1000)), Vec::new());
    assert_eq!(windows(&[], &spacing, at(1000)), Vec::new());
}
