//! Bad input: file, line, field, what was found and what was expected; exit code 2.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use tidegate::simulate::{World, read};

use crate::support::{rollout, root, scenario, simulate};

const SCENARIO: &str = "\
title: a story
lasts: 10m
traffic: {rate: 50}
stable: {errors: 0.1%, latency: {median: 80ms, sigma: 0.6}}
canary: {errors: 0.1%, latency: {median: 80ms, sigma: 0.6}}
events:
  - {at: 1m, commit: v2}
";

/// What is changed in `SCENARIO`, and what is said of it.
const TABLE: &[(&str, &str, &str)] = &[
    (
        "rate: 50",
        "rate: fast",
        "s.yaml:3: traffic.rate: found \"fast\", expected a number from 0 to 1000000",
    ),
    (
        "rate: 50",
        "rate: -1",
        "s.yaml:3: traffic.rate: found -1, expected a number from 0 to 1000000",
    ),
    (
        "rate: 50",
        "replicas: 4",
        "s.yaml:3: traffic.rate: found nothing, expected a number from 0 to 1000000",
    ),
    (
        "rate: 50",
        "rate: 50, replicas: 0",
        "s.yaml:3: traffic.replicas: found 0, expected a whole number from 1 to 500",
    ),
    (
        "rate: 50",
        "rate: 50, scrap: 5s",
        "s.yaml:3: traffic.scrap: found an unknown field, expected scrape (did you \
         mean it?)",
    ),
    (
        "lasts: 10m",
        "lasts: 10",
        "s.yaml:2: lasts: found 10, expected a time span such as 90s or 1h30m, 1s to \
         31d",
    ),
    (
        "lasts: 10m",
        "lasts: 10 minutes",
        "s.yaml:2: lasts: found \"10 minutes\", expected a time span such as 90s or \
         1h30m, 1s to 31d",
    ),
    (
        "errors: 0.1%, latency: {median: 80ms, sigma: 0.6}}\nevents",
        "errors: 101%, latency: {median: 80ms, sigma: 0.6}}\nevents",
        "s.yaml:5: canary.errors: found \"101%\", expected a share such as 0.1%, at \
         most 100%",
    ),
    (
        "commit: v2",
        "commit: v2, metrics: down",
        "s.yaml:7: events[0]: found commit and metrics, expected exactly one of ask, \
         commit, crashLoop, forge, gateway, metrics, replicas, revertByHand",
    ),
    (
        "commit: v2",
        "metrics: off",
        "s.yaml:7: events[0].metrics: found \"off\", expected up or down",
    ),
    (
        "commit: v2",
        "comit: v2",
        "s.yaml:7: events[0]: found nothing, expected exactly one of ask, commit, \
         crashLoop, forge, gateway, metrics, replicas, revertByHand\ns.yaml:7: \
         events[0].comit: found an unknown field, expected commit (did you mean it?)",
    ),
    (
        "events:",
        "bursts:\n  - {at: 1m, for: 1m, hits: all}\nevents:",
        "s.yaml:7: bursts[0].hits: found \"all\", expected both, canary, stablePod or \
         canaryPod",
    ),
    (
        "title: a story",
        "values: {queue: 3}\ntitle: a story",
        "s.yaml:1: values.queue: found an unknown metric, expected the name of a \
         metric with a threshold",
    ),
    (
        "title: a story",
        "title: a story\ntitle: another",
        "s.yaml:2: found \"title\" again, expected it once; the first is on line 1",
    ),
];

fn told(text: &str) -> (Option<i32>, String, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("s.yaml"), text).unwrap();
    let rollout = rollout();
    let out = simulate(folder.path(), &[rollout.to_str().unwrap(), "--scenario", "s.yaml"]);
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing is written");
    (out.status.code(), String::from_utf8(out.stderr).unwrap(), out.stdout)
}

#[test]
fn what_is_wrong_in_a_scenario_is_told_by_line_and_field() {
    let (code, complaint, _) = told(SCENARIO);
    assert_eq!((code, complaint.as_str()), (Some(0), ""));
    for (from, to, expected) in TABLE {
        assert!(SCENARIO.contains(from), "{from}");
        let (code, complaint, printed) = told(&SCENARIO.replacen(from, to, 1));
        assert_eq!(complaint.trim_end(), *expected);
        assert_eq!(code, Some(2), "{complaint}");
        assert_eq!(printed, b"");
    }
}

#[test]
fn a_scenario_of_too_many_scrapes_is_refused() {
    let text = SCENARIO.replace("lasts: 10m", "lasts: 31d").replace("50", "50, scrape: 1s");
    let (code, complaint, _) = told(&text);
    let expected = "s.yaml:2: lasts: found 2678400 s, expected at most 600000 times traffic.scrape";
    assert_eq!((code, complaint.trim_end()), (Some(2), expected));
}

const ROLLOUT: &str = "\
apiVersion: tidegate.dev/v1alpha1
kind: Rollout
metadata: {name: web}
spec:
  workloadRef: {name: web}
  strategy:
    canary:
      steps:
        - {weight: 25, bake: 1m}
        - {weight: 50}
  analysis:
    templates:
      - {name: own}
---
apiVersion: tidegate.dev/v1alpha1
kind: AnalysisTemplate
metadata: {name: own}
spec:
  metrics:
    - name: queue
      threshold: {query: 'sum(queue_length)', op: '<', limit: '10'}
";

#[test]
fn what_is_wrong_in_a_rollout_is_told_by_line_and_field() {
    let table = [
        ("weight: 50", "weight: 101", "r.yaml:10: spec.strategy.canary.steps[1].weight: found 101"),
        ("weight: 50", "weight: 20", "r.yaml:10: spec.strategy.canary.steps[1].weight: found 20"),
        ("bake: 1m", "bake: 1 m", "r.yaml:9: spec.strategy.canary.steps[0].bake: found \"1 m\""),
        (
            "weight: 50",
            "wait: 50",
            "r.yaml:10: spec.strategy.canary.steps[1].wait: found an unknown",
        ),
        (
            "sum(queue_length)",
            "sum(queue_length",
            "r.yaml:21: spec.metrics[0].threshold.query: found",
        ),
        (
            "{name: own}\n---",
            "{name: other}\n---",
            "r.yaml:13: spec.analysis.templates[0].name: found",
        ),
        ("name: web}", "name: web", "r.yaml:"),
        ("kind: Rollout", "kind: Rollouts", "r.yaml:2: kind: found \"Rollouts\", expected"),
    ];
    for (from, to, expected) in table {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("r.yaml"), ROLLOUT.replacen(from, to, 1)).unwrap();
        let out = simulate(folder.path(), &["r.yaml"]);
        let complaint = String::from_utf8(out.stderr).unwrap();
        assert!(complaint.starts_with(expected), "{to}: {complaint}");
        assert!(complaint.lines().all(|line| line.contains(", expected ")), "{complaint}");
        assert_eq!((out.status.code(), out.stdout), (Some(2), Vec::new()));
    }
}

#[test]
fn a_threshold_needs_a_value_and_is_judged_by_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("r.yaml"), ROLLOUT).unwrap();
    let out = simulate(folder.path(), &["r.yaml"]);
    let expected = "bad-release.yaml (built in):4: values.queue: found nothing, \
                    expected a number: what this metric of the analysis measures\n";
    let complaint = String::from_utf8(out.stderr).unwrap();
    assert_eq!(complaint.split_once(": ").unwrap().1, expected.split_once(": ").unwrap().1);
    for (value, serves) in [(3, "v2"), (30, "v1")] {
        let text = format!("{SCENARIO}values: {{queue: {value}}}\n").replace("10m", "1h");
        fs::write(folder.path().join("s.yaml"), text).unwrap();
        let files = [folder.path().join("r.yaml")];
        let world = World::read(&files, Some(&folder.path().join("s.yaml"))).unwrap();
        let run = world.run(1);
        assert_eq!(run.serves.unwrap().as_str(), serves, "queue {value}");
    }
}

#[test]
fn files_that_are_not_there_are_named() {
    let out = simulate(root(), &["nowhere.yaml", "--scenario", "neither.yaml"]);
    let complaint = String::from_utf8(out.stderr).unwrap();
    let lines: Vec<_> = complaint.lines().collect();
    assert_eq!(lines.len(), 2, "{complaint}");
    assert!(lines[0].starts_with("nowhere.yaml: found "), "{complaint}");
    assert!(lines[1].ends_with("expected a file that can be read"), "{complaint}");
    assert_eq!(out.status.code(), Some(2));
}

#[test]
fn files_without_a_rollout_are_refused() {
    let out = simulate(root(), &["analysis-templates/http-errors.yaml"]);
    let complaint = String::from_utf8(out.stderr).unwrap();
    let file = "analysis-templates/http-errors.yaml";
    assert_eq!(complaint, format!("{file}: found 0 Rollouts in all files, expected exactly one\n"));
    assert_eq!(out.status.code(), Some(2));
}

/// A piece of a scenario, and what may stand in its place.
fn hostile() -> impl Strategy<Value = String> {
    let good = fs::read_to_string(scenario("shared-incident")).unwrap();
    let pieces: Vec<String> =
        good.split_inclusive([' ', ',', ':', '\n']).map(str::to_owned).collect();
    let other = prop_oneof![
        Just(String::new()),
        Just("-1".to_owned()),
        Just("1e308".to_owned()),
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        Just("&a *a".to_owned()),
        Just("999999999999h".to_owned()),
        any::<f64>().prop_map(|number| number.to_string()),
        "\\PC{0,12}",
    ];
    prop::collection::vec((0..pieces.len(), other), 1..4).prop_map(move |changes| {
        let mut pieces = pieces.clone();
        for (index, other) in changes {
            pieces[index] = other;
        }
        pieces.concat()
    })
}

proptest! {
    #[test]
    fn a_hostile_scenario_is_refused_or_run_and_never_panics(text in hostile()) {
        match read::text(Path::new("s.yaml"), &text) {
            Ok(read) => {
                let mut world = crate::support::world("good-release");
                world.scenario = read.scenario;
                world.scenario.lasts = world.scenario.lasts.min(chrono::TimeDelta::minutes(5));
                let run = world.run(1);
                prop_assert!(run.timeline.iter().all(|line| line.at <= world.scenario.lasts));
            }
            Err(wrong) => {
                prop_assert!(!wrong.is_empty());
                for invalid in wrong {
                    let line = invalid.to_string();
                    prop_assert!(line.starts_with("s.yaml") && !line.contains('\n'), "{}", line);
                }
            }
        }
    }
}
