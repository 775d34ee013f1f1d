//! The whole demo, as a newcomer runs it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::disallowed_methods, reason = "tests run our binary, and `git` to check it")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn demo(arguments: &[&str]) -> Output {
    let binary = env!("CARGO_BIN_EXE_tidegate");
    Command::new(binary).arg("demo").args(arguments).output().unwrap()
}

fn git(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git").arg("--git-dir").arg(dir).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The values of a field, in order, of all events of a kind.
fn all<'a>(events: &'a [Value], kind: &str, field: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == kind).map(|event| &event[field]).collect()
}

#[test]
fn a_bad_release_is_reverted_and_a_good_one_promoted() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("config.git");
    let output = demo(&["--json", "--seed", "7", "--repo", dir.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let events: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();

    // v2 got ten percent, then nothing; v3 went all the way.
    assert_eq!(all(&events, "weight", "weight"), [10, 0, 10, 50, 100]);
    let stages = all(&events, "stage", "stage");
    for stage in ["Starting", "Shifting", "Baking", "Aborting", "Reverting", "Restoring"] {
        assert!(stages.iter().any(|found| *found == stage), "{stage}: {stages:?}");
    }
    assert_eq!(all(&events, "promoted", "version"), ["v3"]);
    assert_eq!(all(&events, "restored", "version"), ["v1"]);
    let summary = events.last().unwrap();
    assert_eq!((&summary["event"], &summary["succeeded"]), (&"summary".into(), &true.into()));

    // Git says the same: one revert, of v2 alone, and v3 on top.
    git(&dir, &["fsck", "--strict"]);
    let subjects = git(&dir, &["log", "--format=%s", "main"]);
    let subjects: Vec<_> = subjects.lines().collect();
    assert_eq!(subjects[0], "web: release v3 (was v1)");
    assert_eq!(subjects[1], "Revert \"web: release v2 (was v1)\"");
    assert_eq!(subjects.iter().filter(|subject| subject.starts_with("Revert")).count(), 1);
    let trailers = git(&dir, &["log", "-1", "--format=%(trailers:only)", "main~1"]);
    assert!(trailers.contains("Tidegate-Trial: ") && trailers.contains("Rollout: shop/web"));
    assert_eq!(git(&dir, &["diff", "--stat", "main~1", "main~3"]), "");

    // The bad release harmed few: it had a tenth of the traffic for about a second.
    let failures = |version: &str| {
        let lines = summary["lines"].as_array().unwrap();
        let line = lines.iter().find(|l| l.as_str().unwrap().starts_with(version)).unwrap();
        line.as_str().unwrap().to_owned()
    };
    assert!(failures("v2: ").contains("requests"), "{summary}");
}

#[test]
fn a_directory_that_is_in_use_is_refused_and_left_alone() {
    let scratch = tempfile::tempdir().unwrap();
    std::fs::write(scratch.path().join("mine"), "precious").unwrap();
    let output = demo(&["--repo", scratch.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("found files in it, expected a new or empty directory"), "{text}");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1);
}

#[test]
fn a_rate_without_sense_is_refused() {
    let output = demo(&["--rate", "0"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text, "tidegate: --rate: found 0, expected 50 to 2000 requests per second\n");
}
